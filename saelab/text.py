"""Text: documents to train on and other documents to evaluate on.

Which side a document is on is decided by its hash, so the sides share no document, whatever data set it comes from and
however often it is in there. Near duplicates are not looked for.

Data sets: `docstrings`, those of the standard library of the Python that runs this, in an order that is random and always
the same; a local file or folder (a path that begins with `/`, `.` or `~`) of `.jsonl`, `.parquet` or `.txt` files, each
`.txt` a document; anything else is a name on the hub, with a configuration after a colon where it has some
(`allenai/c4:en`), whose split `train` is read as a stream.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import platform
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from .errors import CannotPrepare
from .fingerprint import content_hash
from .hub import data_set_bytes

DOCSTRINGS = "docstrings"
COLUMNS = ("text", "content", "document")
"""Where the text of a record is looked for, in this order."""

Split = Literal["model", "train", "eval"]

EVAL_SHARE = 0.15
MODEL_SHARE = 0.4
"""Of the docstrings, what `tiny-lm` is trained on. Other data sets have no such part: their models are trained already."""

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip"}
"""Of the standard library: what not every Python has, and what is not its own."""
_VERSION = 1  # of what `documents` gives for the same data


def documents(dataset: str, split: Split) -> Iterator[str]:
    """The documents of one side of `dataset`, none of them blank. Raises CannotPrepare where they cannot be had."""
    low, high = _range(dataset, split)
    for text in _all_documents(dataset):
        if low <= _place(text) < high:
            yield text


def identity(dataset: str) -> dict[str, str | int]:
    """What decides which documents `dataset` has, for a key. Of a data set on the hub its name: it may change there."""
    if dataset == DOCSTRINGS:
        return {"docstrings of Python": platform.python_version(), "version": _VERSION}
    if is_path(dataset):
        return {"content": content_hash(_files(dataset)), "version": _VERSION}
    return {"hub": dataset, "version": _VERSION}


def files(dataset: str) -> list[Path]:
    """The files of a local data set; none of another. Raises CannotPrepare."""
    return [file.absolute() for file in _files(dataset)] if is_path(dataset) else []


def is_path(name: str) -> bool:
    """Whether a model or data set is local. A name that could be either is the hub's."""
    return name.startswith(("/", ".", "~"))


def _range(dataset: str, split: Split) -> tuple[float, float]:
    model = MODEL_SHARE if dataset == DOCSTRINGS else 0.0
    return {"model": (0.0, model), "train": (model, 1 - EVAL_SHARE), "eval": (1 - EVAL_SHARE, 1.0)}[split]


def _place(text: str) -> float:
    """Where in [0, 1) the hash of a document lies."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _all_documents(dataset: str) -> Iterator[str]:
    if dataset == DOCSTRINGS:
        yield from _docstrings()
        return
    records = _local(dataset) if is_path(dataset) else _hub(dataset)
    for text in records:
        if text.strip():
            yield text


@functools.cache
def _docstrings() -> tuple[str, ...]:
    """Those of modules, classes, functions and methods, each text once. Takes four seconds."""
    root = Path(sysconfig.get_path("stdlib"))
    found: set[str] = set()
    for path in root.rglob("*.py"):
        if _LEFT_OUT.isdisjoint(path.relative_to(root).parts):
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # a few of the library's own files are examples of bad ones
                continue
            found.update(text for node in _documented(tree) if (text := ast.get_docstring(node)) and text.strip())
    return tuple(sorted(found, key=lambda text: hashlib.blake2b(text.encode()).digest()))


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _documented(node: _Documented) -> Iterator[_Documented]:
    yield node
    for child in node.body:
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _documented(child)


def _files(dataset: str) -> list[Path]:
    path = Path(dataset).expanduser()
    kinds = (".jsonl", ".parquet", ".txt")
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.suffix in kinds)
    if not files or files[0].suffix not in kinds:
        raise CannotPrepare(
            f"dataset {dataset}: no text there. Expected a file or a folder with files that end in {', '.join(kinds)}; a "
            "name on the hub does not begin with /, . or ~."
        )
    return files


def _local(dataset: str) -> Iterator[str]:
    for path in _files(dataset):
        if path.suffix == ".txt":
            yield path.read_text(encoding="utf-8", errors="replace")
        elif path.suffix == ".jsonl":
            with path.open(encoding="utf-8", errors="replace") as lines:
                yield from _texts(_parsed(path, lines), str(path))
        else:
            yield from _texts(_parquet(path), str(path))


def _parsed(path: Path, lines: Iterable[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise CannotPrepare(f"{path}, line {number}: not JSON: {error}. Each line must be an object.") from error


def _parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise CannotPrepare(f"{path}: pyarrow is needed to read it and is not installed: `make sae`.") from error
    with parquet.ParquetFile(path) as file:
        names = [name for name in COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=1000, columns=names[:1]):
            yield from batch.to_pylist()


def _hub(dataset: str) -> Iterator[str]:
    try:
        import datasets
    except ImportError as error:
        raise CannotPrepare(f"dataset {dataset}: the package datasets is not installed: `make sae`.") from error
    name, _, configuration = dataset.partition(":")
    try:
        data_set_bytes(dataset)
        stream = datasets.load_dataset(name, configuration or None, split="train", streaming=True)
        yield from _texts(stream, dataset)
    except (OSError, ValueError, RuntimeError) as error:
        raise CannotPrepare(
            f"data set {dataset}: cannot be read from the hub: {error}\nA local copy of .parquet, .jsonl or .txt files "
            "works too: `--set dataset=PATH` for the text to train on, `--set eval_dataset=PATH` for that of scores."
        ) from error


def _texts(records: Iterable[Mapping[str, Any]], where: str) -> Iterator[str]:
    column = None
    for record in records:
        if column is None:
            column = next((name for name in COLUMNS if name in record), None)
            if column is None:
                raise CannotPrepare(
                    f"{where}: no column with text: it has {', '.join(map(str, record))}; looked for {', '.join(COLUMNS)}."
                )
        text = record.get(column)
        if isinstance(text, str):
            yield text
