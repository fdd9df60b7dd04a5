"""Constants of a search space that nothing of an experiment reads, as far as its files tell."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable
from pathlib import Path

from ..campaign.campaign import Options, inventory_of
from ..campaign.contract import CONTRACT_FILE
from ..campaign.contract_file import load_contract
from ..campaign.experiment_folder import MAX_FILE

_BY_NO_NAME = re.compile(
    rb"(?<![.\w])(?<!\. )(?:(?:globals|locals|exec|eval) ?\(|(?:vars|dir) ?\( ?\))|"
    rb"__dict__|import_module|runpy|\binspect\b|\bsys ?\. ?modules\b"
)
"""Ways to read a constant without its name."""


def unread_constants(experiment: Path, options: Options, out: Path | None = None) -> str:
    """Those of which it is certain, in a sentence; "" where there is none."""
    contract = load_contract(experiment, out)
    profile, spec = contract.profile(options.profile or None)
    files = inventory_of(experiment, contract.of_profile(profile)).files
    names = [name for name in contract.search_of(profile) if name not in {**spec.settings, **options.overrides}]
    unread = _unread([each for each in names if "." not in each], (experiment / name for name in files))
    if not unread:
        return ""
    one = len(unread) == 1
    return (
        f"[search] {', '.join(unread)}: nothing in the experiment reads {'it' if one else 'them'}, so other values change "
        f"nothing. Use {'it' if one else 'them'} in the code, or take {'it' if one else 'them'} out of [search]."
    )


def _unread(names: Iterable[str], files: Iterable[Path]) -> list[str]:
    """Names that stand in these files once, which is where they are assigned."""
    left = dict.fromkeys(names, 0)
    for file in files if left else ():
        if file.name == CONTRACT_FILE:
            continue
        try:
            code = _without_comments(file) if file.stat().st_size <= MAX_FILE else b""
        except OSError:
            return []
        if _BY_NO_NAME.search(code):
            return []
        for name in left:
            left[name] += len(re.findall(rf"\b{re.escape(name)}\b".encode(), code))
    return [name for name, count in left.items() if count == 1]


def _without_comments(file: Path) -> bytes:
    content = file.read_bytes()
    if file.suffix != ".py":
        return content
    try:
        found = tokenize.tokenize(io.BytesIO(content).readline)
        return " ".join(each.string for each in found if each.type != tokenize.COMMENT).encode(errors="replace")
    except (SyntaxError, ValueError, tokenize.TokenError):
        return content
