"""Whether two states of the code are the same, apart from what cannot change what they do."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any


def code_differs(a: bytes, b: bytes) -> bool:
    """Whether two Python sources can behave differently: their syntax trees differ apart from docstrings and other
    statements that do nothing. Sources that do not parse are compared as text."""
    return a != b and _behaviour(a) != _behaviour(b)


def fingerprint(code: Mapping[str, bytes], overrides: Mapping[str, Any]) -> str:
    """The same for two proposals that cannot behave differently: these files, executed with these settings."""
    known = hashlib.sha256(json.dumps(overrides, sort_keys=True).encode())
    for path, source in sorted(code.items()):
        known.update(f"\0{path}\0".encode() + (_behaviour(source) if path.endswith(".py") else source))
    return known.hexdigest()[:32]


@lru_cache(maxsize=64)  # each proposal is held against the same few states of the code
def _behaviour(source: bytes) -> bytes:
    try:
        return _tree(source).encode(errors="surrogatepass")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source


def _tree(source: bytes) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                setattr(node, name, [item for item in value if not _does_nothing(item)])
        if isinstance(node, ast.Constant):
            node.kind = None  # u"x" is "x"
    return ast.dump(tree)


def _does_nothing(node: Any) -> bool:
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
