"""The contract of the experiment in a folder: read from `experiment.toml`, or what applies without one; and whether what it
names is there and can be edited."""

from __future__ import annotations

import json
import os
import shlex
import tokenize
import tomllib
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError

from .contract import CONTRACT_FILE, ENTRY, Contract, Profile
from .errors import InputError
from .experiment_folder import top_level
from .files import read_text
from .text import clip, in_toml

PROMPT_FILE = "prompt.json"
"""In it AI-Scientist's templates say what their experiment is."""
MAX_DESCRIPTION = 4_000  # characters of that
_EXPECTED = {
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("dict_type", "model_type"), "a table"),
    "finite_number": "a finite number",
    "list_type": "a list",
    "string_type": "a text",
}
"""What is wanted, by the kind of a mistake."""


def load_contract(folder: Path, out: Path | None = None, toml: Path | None = None) -> Contract:
    """The contract of the experiment in `folder`, the default one where it has none. Raises InputError.

    `out` is where its campaigns are made; it must not lie in what goes along into each of them. `toml` is a file elsewhere
    that is to be read in place of the folder's own.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. --experiment names a folder with {ENTRY}.")
    path = toml or folder / CONTRACT_FILE
    code = {CONTRACT_FILE}
    if not path.exists():
        contract = default_contract(folder)
        contract = contract.model_copy(update={"files": top_level(folder, code.union(contract.code), out)})
    else:
        try:
            data = tomllib.loads(read_text(path))
            contract = Contract.model_validate(data)
            if "files" not in data:
                contract = Contract.model_validate(data | {"files": top_level(folder, code.union(contract.code), out)})
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}. Make it a file that you can read.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not TOML: {error}.") from error
        except RecursionError as error:
            raise InputError(f"{path}: nested too deep to be a contract.") from error
        except ValidationError as error:
            raise InputError(f"{path}: {_explain(error)}") from error
    if not contract.description:
        contract = contract.model_copy(update={"description": _task_description(folder / PROMPT_FILE)})
    for key in ("editable", "auxiliary", "files", "readable"):
        for name in getattr(contract, key):
            if set("*?[") & set(name) and not os.path.lexists(folder / name):
                raise InputError(f"{path}: {key}: {name} is no file, and a pattern is not read. Name each file.")
    if "command" not in contract.model_fields_set and not os.path.lexists(folder / ENTRY):
        raise InputError(_nothing_to_execute(folder, contract.editable))
    there = [name for name in contract.editable if (folder / name).exists()]
    # The agent may be meant to make one; what is executed has to be there.
    missing = [name for name in contract.editable if name not in there and (not there or name in contract.command)]
    for name in [*missing, *contract.files]:
        if not os.path.lexists(folder / name):
            raise InputError(f"{folder / name}: no such file; the contract names it.")
    for name in [CONTRACT_FILE, *contract.code]:
        if (folder / name).is_symlink():
            raise InputError(f"{folder / name}: a link, which an agent cannot edit. Put the file itself there.")
    for name in contract.editable:
        _check_text(folder / name)
    for name in contract.files:
        if out is not None and out.resolve().is_relative_to(os.path.realpath(folder / name)):
            raise InputError(
                f"--out {out}: lies in {name}, which is copied into each campaign with all that it holds. Choose a folder "
                f"outside it, or name the files that the experiment needs in {CONTRACT_FILE}."
            )
    return contract


def _nothing_to_execute(folder: Path, editable: Sequence[str]) -> str:
    """What to do about a folder that has no `experiment.py` and does not say what is executed in its place."""
    names = [*editable, "train.py", "main.py", "run.py", *sorted(path.name for path in folder.glob("*.py"))]
    packages = sorted(f"{path.parent.name}/{path.name}" for path in folder.glob("*/__main__.py"))
    names += [*packages, *sorted(path.name for path in folder.glob("*.sh"))]
    name = next((name for name in names if (folder / name).is_file()), "")
    said = f"{folder / ENTRY}: no such file, and no command in {CONTRACT_FILE} says what is executed."
    if not name:
        return f"{said} `harness init DIR` makes an experiment; --experiment DIR names the folder of one."
    started = [in_toml("python"), in_toml(name), '"--out_dir={out_dir}"']
    if name in packages:
        started[1:2] = [in_toml("-m"), in_toml(name.partition("/")[0])]
    elif name.endswith(".sh"):
        started = [in_toml("bash"), in_toml(name), '"{out_dir}"']
    command = f"command = [{', '.join(started)}]"
    return f"{said} Write into {folder / CONTRACT_FILE}: {command}, and editable = [{in_toml(name)}]."


def _task_description(path: Path) -> str:
    """What AI-Scientist's templates say of their experiment; empty where they do not, or not so that it can be read."""
    try:
        found = json.loads(read_text(path))["task_description"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return clip(found.strip(), MAX_DESCRIPTION) if isinstance(found, str) else ""


def _check_text(path: Path) -> None:
    """Raises InputError where an agent could not read the file: Python takes sources of any encoding, agents UTF-8."""
    content = path.read_bytes() if path.is_file() else b""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        try:
            encoding, _ = tokenize.detect_encoding(BytesIO(content).readline)
        except SyntaxError:
            encoding = "iso-8859-1"
        encoding = "iso-8859-1" if encoding.startswith("utf-8") else encoding
        old, new = shlex.quote(str(path)), shlex.quote(f"{path}.new")
        raise InputError(
            f"{path}: line {number}: not UTF-8 text, which is what agents read and write. "
            f"`iconv -f {encoding} -t UTF-8 {old} > {new} && mv {new} {old}` converts it; a line in it that names its "
            "encoding (`# coding: …`) has to go, too."
        ) from error


def default_contract(folder: Path) -> Contract:
    """What applies to a folder with just `experiment.py`: `plot.py` may be edited too."""
    plot = folder / "plot.py"
    return Contract(editable=[ENTRY], auxiliary=[plot.name] if plot.is_file() and not plot.is_symlink() else [])


def _explain(error: ValidationError) -> str:
    """The first mistake in one sentence: the key, what was found, and what is expected there."""
    first = error.errors()[0]
    place = first["loc"]
    if first["type"] == "extra_forbidden":
        if len(place) == 1 and place[0] in Profile.model_fields:
            return f"{place[0]}: belongs into a profile: [profiles.NAME], then {place[0]} = ..."
        return f"{_key(place)}: unknown key. Known here: {', '.join(_model_at(place[:-1]).model_fields)}."
    if first["type"] in ("value_error", "missing"):
        return f"{_key(place)}: {first['msg'].removeprefix('Value error, ')}."
    # Of a value that may be of several kinds, there is a mistake for each of these, and its place ends with the kind.
    kinds = [each for each in error.errors() if each["loc"][:-1] == place[:-1] and each["input"] is first["input"]]
    expected = list(
        dict.fromkeys(_EXPECTED.get(each["type"], each["msg"].removeprefix("Input should be ")) for each in kinds)
    )
    wanted = " or ".join(filter(None, (", ".join(expected[:-1]), expected[-1])))
    key = _key(place[:-1] if len(kinds) > 1 else place)
    return f"{key}: found {clip(in_toml(first['input']), 80)}, expected {wanted}."


def _key(place: Iterable[int | str]) -> str:
    return ".".join(map(str, place)) or "contract"


def _model_at(place: Sequence[int | str]) -> type[BaseModel]:
    """What the table at this place of a contract is read as."""
    model: type[BaseModel] = Contract
    parts = iter(place)
    for part in parts:
        annotation = model.model_fields[str(part)].annotation
        if get_origin(annotation) in (dict, list):
            next(parts, None)  # the name of a profile, or a number
        model = next(each for each in (annotation, *get_args(annotation)) if hasattr(each, "model_fields"))
    return model
