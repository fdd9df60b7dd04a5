"""Text for people and models: the templates, and text from outside made harmless before it goes into them.

Ideas, outputs, replies and results are written by others. In a prompt or a file of notes they may say anything and look
like nothing but what they are: `fence`, `quote` and `words` mark every line of them, `line` makes one line of them.
"""

from __future__ import annotations

import codecs
import json
import re
import textwrap
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `status` and `log` answer at once, and render no template
    from jinja2 import Environment, Template

WIDTH = 100
"""Columns of what a person reads in a pager."""

# UTF-32's mark for little-endian begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_RUN = re.compile(r"\brun_(\d+)")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b]{0,500}(?:\x07|\x1b\\)|[@-Z\\^_])")
_BREAKS = dict.fromkeys(map(ord, "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), "\n")
_CONTROLS = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n"), ord("\t"), *_BREAKS})
# Characters that reorder what a terminal shows could make the agent's words look like the harness's.
_REORDERING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x061C, 0x200E, 0x200F])
# What shows nothing could hold words that nobody sees: joiners, fillers, tags, variations that no letter has.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200d\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_HARMLESS = {**_BREAKS, **_CONTROLS, **_REORDERING}
# A carriage return at the end of a line is Windows' own. Lone surrogates stand for bytes that are no UTF-8: those below
# 0xa0 are controls where a terminal takes bytes.
_COMMANDS = re.compile(
    "[" + "".join(map(chr, {*_CONTROLS, *_BREAKS, *_REORDERING} - {ord("\r")})) + "\udc80-\udc9f]|\r(?!\n)"
)
_UNSEEN = re.compile(f"{_COMMANDS.pattern}|{_INVISIBLE.pattern}|[\ud800-\udfff]")


def decoded(data: bytes, errors: str = "strict") -> str:
    """The text of a file that somebody wrote: UTF-8, or what its byte order mark says, without the mark."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    return data.decode(encoding, errors)


def clean(text: str) -> str:
    """`text` without escape sequences, control characters and lone surrogates, with characters that nobody would see
    written as escapes; of a redrawn line its last state."""
    if text.isascii() and text.isprintable():
        return text
    text = encodable(text)
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    if "\r" in text:
        text = "\n".join(row.rstrip("\r").rpartition("\r")[2] for row in text.split("\n"))
    return _INVISIBLE.sub(lambda m: m[0].encode("unicode_escape").decode(), text.translate(_HARMLESS))


def line(text: str) -> str:
    """`text` as one line."""
    return " ".join(clean(text).split())


def commands_terminal(data: bytes) -> bool:
    """Whether a terminal that shows `data` would do more than show it: move, colour, reorder, answer."""
    return _COMMANDS.search(data.decode(errors="surrogateescape")) is not None


def in_json(text: str) -> str:
    """JSON in which every character that is not plainly seen is written as an escape, which means the same."""
    return _UNSEEN.sub(lambda m: json.dumps(m[0])[1:-1], text)


def in_toml(value: Any) -> str:
    """A value that a person wrote, as it stands in TOML."""
    return line(json.dumps(value, ensure_ascii=False, default=str))


def encodable(text: str) -> str:
    """`text` without lone surrogates, which stand for bytes that are no text, and which no file and no provider takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def answered_by(agent: str, models: Iterable[str]) -> str:
    """An agent's name and version and the models that answered, in one phrase."""
    named = ", ".join(models)
    return f"{agent} with {named}" if agent and named else agent or named


def shown(path: str) -> str:
    """A file name as text that can stand in a sentence and in JSON, whatever its bytes."""
    text = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= 200 else text[:197] + "..."


def clip(text: str, limit: int) -> str:
    """At most `limit` characters of the beginning of `text`, to the end of a word where one is near, and how many were left
    out."""
    if len(text) <= limit:
        return text
    last = re.search(r"\s\S*$", text[: limit + 1])
    end = last.start() if last and last.start() > limit // 2 else limit
    return f"{text[:end].rstrip()} [cut: {len(text) - end:,} characters more]"


def fence(text: str) -> str:
    """`text` between fences longer than any inside."""
    text = clean(text).strip("\n")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    mark = "`" * max(3, longest + 1)
    return f"{mark}\n{text}\n{mark}"


def quote(text: str) -> str:
    """`text` with `> ` before every line."""
    return "\n".join(f"> {row}".rstrip() for row in clean(text).strip().split("\n"))


def words(text: str, margin: str = "    | ") -> str:
    """`text` wrapped for a pager, `margin` before every line."""
    rows: list[str] = []
    for row in clean(text).expandtabs(4).strip("\n").split("\n"):
        rows += textwrap.wrap(row, WIDTH - len(margin), break_on_hyphens=False) or [""]
    return "\n".join(f"{margin}{row}".rstrip() for row in rows)


def item(text: str, first: str = "  - ", indent: str = "    ") -> str:
    """One line of outside text wrapped for a pager, `first` before it and `indent` before its continuation."""
    wrapped = textwrap.wrap(line(text), WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(wrapped) or first.rstrip()


def in_words(name: str) -> str:
    """The name of a verdict, a status or a phase as a sentence has it: `not_significant` as "not significant"."""
    return "trade-off" if name == "trade_off" else name.replace("_", " ")


def run_in_words(name: str) -> str:
    """`run 3`, where a reference is named by its folder: `run_3`, `frontier at l0 4, between control k=3 and run_3`."""
    return _RUN.sub(r"run \1", name)


def reference_in_words(name: str) -> str:
    """The reference of a run in a sentence: `run_0`, `control k=80`."""
    return "the baseline" if name == "run_0" else f"{'' if name.startswith('run_') else 'the '}{run_in_words(name)}"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `2 h`: rounded for reading."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def of_hours(seconds: float, limit: float) -> str:
    """`12 min of 30 min`: what is spent of as many hours, both in the unit of the limit."""
    if limit >= 2:
        return f"{seconds / 3600:.3g} h of {limit:g} h"
    return f"{seconds / 60:.3g} min of {limit * 60:.3g} min"


def new_environment(**options: Any) -> Environment:
    """The templates, in which a variable that is named and not given is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parents[1]
    # An installed package carries the templates inside it, a checkout beside it.
    return Environment(
        loader=FileSystemLoader([here / "templates", here.parent / "templates"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


@cache
def _environment() -> Environment:
    environment = new_environment(autoescape=False, keep_trailing_newline=True)
    for function in (clean, line, clip, fence, quote, words, item, duration, in_words):
        environment.filters[function.__name__] = function
    return environment


def template(name: str) -> Template:
    """The template called `name`; a variable that it names and does not get is an error."""
    return _environment().get_template(name)


def verbatim(name: str) -> str:
    """The file called `name` beside the templates, as it is: a style sheet, the head of a LaTeX file."""
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
