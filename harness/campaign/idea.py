"""Ideas: the JSON spec of a hypothesis to test, validated once, here."""

from __future__ import annotations

import json
import re
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from .errors import InputError
from .files import read_text
from .text import clip, line

SCORES = ("Interestingness", "Feasibility", "Novelty", "Research_Impact", "Overall_Score")
"""Fields that grade an idea; each may have its reason in `<field>_Evaluation`. Nothing depends on them."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_TITLE = 80
_MAX_BYTES = 1_000_000  # an idea goes into a prompt; a larger file is a mistake


class Idea(BaseModel):
    """One idea. Every other field is kept and shown to the agent, whatever it holds."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    Name: str
    """Names the campaign's folder: letters, digits, `.`, `_`, `-`."""
    Title: str
    Experiment: Any
    """What to do and to measure: text, a list or an object. `Experiments` is taken for it."""

    @model_validator(mode="before")
    @classmethod
    def _of_either_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "$schema" in data:  # for editors, not for agents
            data = {key: value for key, value in data.items() if key != "$schema"}
        if isinstance(data, dict) and not data.get("Experiment") and data.get("Experiments"):
            rest = {key: value for key, value in data.items() if key not in ("Experiment", "Experiments")}
            return {**rest, "Experiment": data["Experiments"]}
        return data

    @field_validator("Name", mode="before")
    @classmethod
    def _names_a_folder(cls, value: Any) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise ValueError("a name is 1 to 64 letters, digits, '.', '_' or '-', and starts with a letter or digit")
        return value

    @field_validator("Title", mode="before")
    @classmethod
    def _is_a_title(cls, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError("expected a text that is not empty")
        return value

    @field_validator("Experiment")
    @classmethod
    def _says_something(cls, value: Any) -> Any:
        if not isinstance(value, str | list | dict) or not (value.strip() if isinstance(value, str) else value):
            raise ValueError("expected a text, a list or an object that is not empty")
        return value


@dataclass(frozen=True)
class IdeaFile:
    """A file of ideas; only one that is chosen is validated."""

    path: Path
    items: tuple[Any, ...]
    is_list: bool

    @property
    def names(self) -> list[str]:
        """What `--idea` takes, in order: names, and `NAME#2` for the second of several ideas that are called alike."""
        return list(self._positions)

    @property
    def _positions(self) -> dict[str, int]:
        """Where in the file which idea is. One that is there twice, word by word, is one."""
        positions = [i for i, item in enumerate(self.items) if _name(item) and item not in self.items[:i]]
        count, seen = Counter(_name(self.items[i]) for i in positions), Counter[str]()
        found = {}
        for place in positions:
            name = _name(self.items[place])
            seen[name] += 1
            found[name if count[name] == 1 else f"{name}#{seen[name]}"] = place
        return found

    def alike(self, name: str) -> list[str]:
        """What `--idea` takes for the ideas that are called `name`."""
        return [label for label, place in self._positions.items() if name in (label, _name(self.items[place]))]

    def choose(self, name: str | None) -> Idea:
        """The idea called `name`; without a name the only one. Raises InputError that says what can be chosen."""
        if name is None and len(self.items) == 1:
            return self._parse(0)
        listed = ", ".join(self.names) or "no idea with a Name"
        if name is None:
            raise InputError(
                f"{self.path}: holds {len(self.items)} ideas; choose with --idea NAME (may be repeated): {listed}."
            )
        alike = self.alike(name)
        if not alike:
            raise InputError(f"{self.path}: no idea called {name}; it holds: {listed}.")
        if len(alike) > 1:
            titles = "; ".join(f"--idea {each} ({self._title(each)})" for each in alike)
            raise InputError(f"{self.path}: {len(alike)} ideas are called {name}. Choose one of them: {titles}.")
        return self._parse(self._positions[alike[0]])

    def _title(self, label: str) -> str:
        return clip(line(str(self.items[self._positions[label]].get("Title"))), _LONGEST_TITLE)

    def _parse(self, place: int) -> Idea:
        where, item = f"[{place}]." if self.is_list else "", self.items[place]
        if not isinstance(item, dict):
            raise InputError(f"{self.path}: {where or 'top level'}: expected an object, found {type(item).__name__}.")
        if lone := re.search(r"[\ud800-\udfff]", json.dumps(item, ensure_ascii=False)):
            raise InputError(
                f"{self.path}: {where or 'top level'}: holds an incomplete character ({lone[0]!a}), which is no text."
            )
        try:
            return Idea.model_validate(item)
        except ValidationError as error:
            first = error.errors()[0]
            key = where + ".".join(str(part) for part in first["loc"])
            message = first["msg"].removeprefix("Value error, ")
            if first["type"] == "missing":
                has = clip(line(", ".join(map(str, item)) or "nothing"), _LONGEST_TITLE)
                message = f"missing. An idea needs Name, Title and Experiment; this one has {has}"
            raise InputError(f"{self.path}: {key}: {message[0].lower()}{message[1:]}.") from error


_SHAPE = 'An idea is {"Name": "a_name", "Title": "A title", "Experiment": "What to try"}, or a list of such.'


def load_ideas(path: Path) -> IdeaFile:
    """The file of ideas in `path`, a JSON object or a list of them. Raises InputError that names file and line."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: not a file.")
        if status.st_size > _MAX_BYTES:
            raise InputError(f"{path}: larger than {_MAX_BYTES:,} bytes; an idea is a short spec.")
        data = json.loads(read_text(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. An idea is a JSON file; `harness init DIR` makes an example.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}. Name a file of ideas that you can read.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: not JSON: {error.msg}. {_SHAPE}") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deep to be an idea.") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON that can be read: {error}.") from error
    items = data if isinstance(data, list) else [data]
    if not items:
        raise InputError(f"{path}: an empty list; expected at least one idea.")
    return IdeaFile(path, tuple(items), isinstance(data, list))


def _name(item: Any) -> str:
    name = item.get("Name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else ""
