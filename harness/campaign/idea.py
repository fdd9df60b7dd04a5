"""Ideas: the JSON spec of a hypothesis to test, validated once, here."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import InputError

Score = Annotated[float, Field(ge=0, le=10)]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_BYTES = 1_000_000  # an idea goes into a prompt; a larger file is a mistake


class Idea(BaseModel):
    """One idea. Unknown fields are kept and shown to the agent."""

    model_config = ConfigDict(extra="allow", frozen=True)

    Name: str
    """Names the campaign's folder: letters, digits, `.`, `_`, `-`."""
    Title: str
    Experiment: str | list[str] | dict[str, Any]
    """What to do and to measure."""
    Technical_Details: str | list[str] | dict[str, Any] | None = None
    Implementation_Plan: str | list[str] | dict[str, Any] | None = None
    Abstract: str | None = None
    Interestingness: Score | None = None
    Interestingness_Evaluation: str | None = None
    Feasibility: Score | None = None
    Feasibility_Evaluation: str | None = None
    Novelty: Score | None = None
    Novelty_Evaluation: str | None = None
    Research_Impact: Score | None = None
    Research_Impact_Evaluation: str | None = None
    Overall_Score: Score | None = None
    Overall_Score_Evaluation: str | None = None
    Expected_Research_Impact: str | None = None
    novel: bool | None = None

    @field_validator("Title", "Experiment")
    @classmethod
    def _says_something(cls, value: Any) -> Any:
        if not (value.strip() if isinstance(value, str) else value):
            raise ValueError("is empty")
        return value

    @field_validator("Name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("a name is 1 to 64 letters, digits, '.', '_' or '-', and starts with a letter or digit")
        return value


def load_ideas(path: Path) -> list[Idea]:
    """The ideas in `path`, a JSON object or a list of them. Raises InputError that names file and key."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: not a file.")
        if status.st_size > _MAX_BYTES:
            raise InputError(f"{path}: larger than {_MAX_BYTES:,} bytes; an idea is a short spec.")
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. An idea is a JSON file; `harness init DIR` makes an example.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}. Name a file of ideas that can.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: not JSON: {error.msg}.") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deep to be an idea.") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON that can be read: {error}.") from error
    items = data if isinstance(data, list) else [data]
    if not items:
        raise InputError(f"{path}: an empty list; expected at least one idea.")
    ideas = [_parse(path, item, f"[{i}]." if isinstance(data, list) else "") for i, item in enumerate(items)]
    names = [idea.Name for idea in ideas]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: two ideas are called {name}; names must differ.")
    return ideas


def choose_idea(path: Path, name: str | None) -> Idea:
    """The idea in `path` called `name`; without a name the only one. Raises InputError that lists the names."""
    ideas = load_ideas(path)
    if name is None:
        if len(ideas) > 1:
            raise InputError(f"{path}: holds {len(ideas)} ideas; choose one with --idea: {_names(ideas)}.")
        return ideas[0]
    for idea in ideas:
        if idea.Name == name:
            return idea
    raise InputError(f"{path}: no idea called {name}; it holds: {_names(ideas)}.")


def _names(ideas: list[Idea]) -> str:
    return ", ".join(idea.Name for idea in ideas)


def _parse(path: Path, item: Any, where: str) -> Idea:
    if not isinstance(item, dict):
        raise InputError(f"{path}: {where or 'top level'}: expected an object, found {type(item).__name__}.")
    if lone := re.search(r"[\ud800-\udfff]", json.dumps(item, ensure_ascii=False)):
        raise InputError(f"{path}: {where or 'top level'}: holds half a character ({lone[0]!a}); it is no text.")
    try:
        return Idea.model_validate(item)
    except ValidationError as error:
        first = error.errors()[0]
        key = where + ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: {key}: {message[0].lower()}{message[1:]}.") from error
