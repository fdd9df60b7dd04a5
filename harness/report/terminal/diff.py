"""Unified diffs: their hunks, and how a terminal shows them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from ...campaign.numbers import counted
from ...campaign.text import clean
from .columns import GAP, Cell, Column, cut, len_of, table, wrap
from .syntax import Piece, pieces

_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_HIDDEN = re.compile(r"[^\x20-\x7e]")
_STYLES: Mapping[str, Mapping[str, object]] = {
    "c": {"dim": True},
    "s": {"fg": "yellow"},
    "m": {"fg": "cyan"},
    "k": {"fg": "blue", "bold": True},
    "f": {"bold": True},
    "b": {"fg": "magenta"},
}
"""Of kinds of code. Green and red are kept for what is added and removed."""
_MOST_SIGNS = 40

Block = tuple[str, list[tuple[str, str]]]
"""A header or a hunk: the file's path, and the mark and text of each line. A header's lines have the mark `h`, a hunk's `@`,
`+`, `-`, blank or backslash."""


CSV = ("path", "added", "removed")
"""The columns of `harness diff --stat --csv`, which programs rely on."""


@dataclass(frozen=True)
class FileChange:
    """How many lines a change adds to a file and removes from it; None where the file is no text."""

    path: str
    added: int | None
    removed: int | None


def blocks(text: str) -> list[Block]:
    """The diff's headers and hunks. What a line inside a hunk looks like does not matter, since the hunk's header says how
    many there are."""
    found: list[Block] = []
    path, old, new = "", 0, 0
    for line in text.removesuffix("\n").split("\n"):
        if old > 0 or new > 0:
            mark = line[:1] or " "
            old -= mark in " -"
            new -= mark in " +"
            found[-1][1].append((mark, line[1:]))
        elif hunk := _HUNK.match(line):
            old, new = (int(count) if count is not None else 1 for count in hunk.groups())
            found.append((path, [("@", line)]))
        else:
            if line.startswith("+++ "):
                path = line[4:].removeprefix("b/")
            if not found or found[-1][1][0][0] != "h":
                found.append(("", []))
            found[-1][1].append(("\\" if line.startswith("\\") else "h", line))
    return found


def visible(text: str) -> str:
    """One line of code with control, bidirectional and other invisible characters written as escapes."""
    text = text.expandtabs(4)
    if text.isprintable():
        return text
    return _HIDDEN.sub(lambda m: m[0] if m[0].isprintable() else m[0].encode("unicode_escape").decode(), text)


def coloured_sides(path: str, block: Sequence[tuple[str, str]]) -> list[list[Piece]]:
    """The lines of a hunk in pieces. Both sides of it are read as code of their own."""
    found: list[list[Piece]] = [[("", text)] for _, text in block]
    for marks in (" -", " +"):
        places = [i for i, (mark, _) in enumerate(block) if mark in marks]
        for i, line in zip(places, pieces(path, [block[i][1] for i in places]), strict=True):
            found[i] = line
    return found


def in_colours(text: str) -> str:
    """A unified diff for a terminal, with the code's syntax in colours; what is removed is red as a whole."""
    lines = []
    for path, block in blocks(text):
        block = [(mark, visible(line.removesuffix("\r"))) for mark, line in block]
        for (mark, line), parts in zip(block, coloured_sides(path, block), strict=True):
            if mark == "h":
                lines.append(click.style(line, bold=True))
            elif mark == "@":
                lines.append(click.style(line, fg="cyan"))
            elif mark == "-":
                lines.append(click.style(f"-{line}", fg="red"))
            elif mark == "+":
                plain = {"fg": "green"}
                code = "".join(_styled(piece, _STYLES.get(kind, plain)) for kind, piece in parts)
                lines.append(click.style("+", fg="green", bold=True) + code)
            elif mark == " ":
                lines.append(" " + "".join(_styled(piece, _STYLES.get(kind, {})) for kind, piece in parts))
            else:
                lines.append(click.style(mark + line.removeprefix(mark), dim=True))
    return "\n".join(lines)


def words_in_colours(porcelain: str) -> str:
    """git's `--word-diff=porcelain` for a terminal: `[-removed-]` and `{+added+}`, also where there are no colours."""
    lines, current = [], ""
    in_hunk = False
    for each in porcelain.removesuffix("\n").split("\n"):
        if _HUNK.match(each):
            in_hunk = True
            lines.append(click.style(visible(each), fg="cyan"))
        elif each.startswith("diff --git "):
            in_hunk = False
            lines.append(click.style(visible(each), bold=True))
        elif not in_hunk:
            lines.append(click.style(visible(each), bold=True))
        elif each == "~":
            lines.append(current)
            current = ""
        else:
            mark, text = each[:1], visible(each[1:].removesuffix("\r"))
            if mark == "-":
                current += click.style(f"[-{text}-]", fg="red")
            elif mark == "+":
                current += click.style(f"{{+{text}+}}", fg="green")
            elif mark != "\\":
                current += text
    return "\n".join([*lines, *([current] if current else [])])


def changes(numstat: str) -> list[FileChange]:
    """What git's `--numstat -z` says."""
    found = []
    for entry in filter(None, numstat.split("\0")):
        added, removed, path = entry.split("\t", 2)
        found.append(FileChange(path, None if added == "-" else int(added), None if removed == "-" else int(removed)))
    return found


def stat(found: Sequence[FileChange], width: int) -> str:
    """A line a file with what is added and removed, and the sum."""
    columns = [
        Column("path", "file"),
        Column("added", "added", right=True),
        Column("removed", "removed", right=True),
        Column("signs", "", drop=1),
    ]
    rows = [
        {
            "path": Cell(cut(clean(each.path), max(width // 2, 8))),
            "added": Cell("binary" if each.added is None else f"+{each.added}", "green"),
            "removed": Cell("" if each.removed is None else f"-{each.removed}", "red"),
        }
        for each in found
    ]
    taken = [max(len_of(column.title), *(len_of(row[column.name].text) for row in rows)) for column in columns[:3]]
    room = min(_MOST_SIGNS, width - sum(taken) - 3 * GAP)
    most = max((each.added or 0) + (each.removed or 0) for each in found)
    for row, each in zip(rows, found, strict=True):
        scale = min(1.0, room / most) if most else 0.0
        signs = "+" * _at_least_one(each.added or 0, scale) + "-" * _at_least_one(each.removed or 0, scale)
        row["signs"] = Cell(signs if len(signs) <= room else signs[: max(room - 1, 0)] + signs[-1:])
    added, removed = (sum(getattr(each, name) or 0 for each in found) for name in ("added", "removed"))
    total = wrap(f"{counted(len(found), 'file')} changed, {counted(added, 'line')} added, {removed} removed", width, "", "")
    return "\n".join([*table(columns, rows, width), *total])


def _at_least_one(count: int, scale: float) -> int:
    return max(1, round(count * scale)) if count else 0


def _styled(text: str, style: Mapping[str, object]) -> str:
    return click.style(text, **style) if style else text  # type: ignore[arg-type]
