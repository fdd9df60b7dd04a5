"""Works that an idea or a contract cites: BibTeX files, and the citations in free text, `[@key]` or `\\cite{key}`.

An idea's file has the name of the idea's own, `ideas/first.bib`; an experiment's is `experiment.bib` beside its contract.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .files import read_text
from .text import line

if TYPE_CHECKING:
    from pybtex.database import Entry, Person

_CITATION = re.compile(
    r"[ \t]?(?:\[(@[^\s\[\],;]+(?:[ \t]*[;,][ \t]*@[^\s\[\],;]+)*)\]|\\cite[a-z]*\*?(?:\[[^\]]*\])*\{([^{}]+)\})"
)
_MOST_AUTHORS = 6
_VENUES = ("journal", "booktitle", "howpublished", "school", "institution", "publisher", "note")


@dataclass(frozen=True)
class Work:
    """An entry as one line of a list of references."""

    key: str
    text: str


def read_works(*files: Path) -> dict[str, Work]:
    """The entries of BibTeX files by their keys; the first file that has a key counts, and one that is not there has none.
    Raises InputError where one cannot be read."""
    return {key: work for file in reversed(files) if file.is_file() for key, work in _read(file).items()}


def unknown(idea: Mapping[str, Any], *files: Path) -> str:
    """In a sentence, the keys that an idea cites and `files` do not have; empty where they have all. Raises InputError where
    one cannot be read."""
    keys = dict.fromkeys(key for text in _texts(idea) for key in _cited(text))
    works = read_works(*files) if keys else {}
    missing = [key for key in keys if key not in works]
    if not missing:
        return ""
    listed, where = line(", ".join(missing)), " nor ".join(map(str, files))
    return f"The idea cites {listed}, which neither {where} has: in the paper it stays as it is written."


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def _cited(text: str) -> Iterator[str]:
    for match in _CITATION.finditer(text):
        yield from _keys(match)


def _read(file: Path) -> dict[str, Work]:
    from pybtex.database import parse_string
    from pybtex.exceptions import PybtexError

    try:
        entries = parse_string(read_text(file), "bibtex").entries
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text (byte {error.start}).") from error
    except PybtexError as error:
        place = f"line {error.lineno}: " if getattr(error, "lineno", None) else ""
        raise InputError(f"{file}: {place}not BibTeX: {line(str(error.args[0] if error.args else error))}.") from error
    return {key: Work(key, _in_a_line(entry)) for key, entry in entries.items()}


def with_citations(text: str, label: Callable[[str], str | None]) -> str:
    """`text` with each citation in the form ` [1, 2]`; `label` gives a key's number, None for one that is unknown, and
    leaves a citation with such a key as it was written."""

    def replaced(match: re.Match[str]) -> str:
        labels = [label(key) for key in _keys(match)]
        known = [each for each in labels if each is not None]
        return match[0] if len(known) < len(labels) else f" [{', '.join(known)}]"

    return _CITATION.sub(replaced, text)


def without_citations(text: str) -> str:
    """`text` for a reader who has no list of references."""
    return _CITATION.sub("", text)


def _keys(match: re.Match[str]) -> list[str]:
    return [key.strip().removeprefix("@") for key in re.split("[;,]", match[1] or match[2])]


def _in_a_line(entry: Entry) -> str:
    """`Leo Gao, Tom Dupré la Tour et al. Scaling and evaluating sparse autoencoders. ICLR, 2025. https://…`"""
    fields = {name.lower(): plain for name, value in entry.fields.items() if (plain := _plain(value))}
    venue = next((fields[name] for name in _VENUES if name in fields), "")
    where = ", ".join(filter(None, [venue, fields.get("year", "") if fields.get("year", "-") not in venue else ""]))
    parts = [_authors([_name(each) for each in entry.persons.get("author", entry.persons.get("editor", []))])]
    parts += [fields.get("title", ""), where]
    return " ".join([*(f"{part.rstrip('.')}." for part in parts if part), *_link(fields)]) or "An entry without any field."


def _authors(names: list[str]) -> str:
    shown = [name for name in names if name != "others"]
    if len(shown) < len(names) or len(shown) > _MOST_AUTHORS:
        return f"{', '.join(shown[:_MOST_AUTHORS])} et al"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def _name(person: Person) -> str:
    parts = (person.first_names, person.middle_names, person.prelast_names, person.last_names, person.lineage_names)
    return _plain(" ".join(name for names in parts for name in names))


def _link(fields: Mapping[str, str]) -> Iterator[str]:
    if "doi" in fields:
        yield f"https://doi.org/{fields['doi'].removeprefix('https://doi.org/')}"
    elif "url" in fields:
        yield fields["url"]
    elif "eprint" in fields:
        yield f"arXiv:{fields['eprint'].removeprefix('arXiv:')}"


def _plain(latex: str) -> str:
    """What LaTeX shows of a field: accents as letters, no braces."""
    from pybtex.richtext import Text

    return line(str(Text.from_latex(latex)))
