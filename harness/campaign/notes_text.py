"""Which lines of `notes.txt` are the harness's, and which a person's.

Generated lines are headings that start with `=== ` or are indented. What stands between the markers is the person's, and so
is any other line.
"""

from __future__ import annotations

import re
from collections import Counter

NOTES = "notes.txt"
NOTES_PARTS = "notes.parts"
"""The folder of what was told of runs long before the last ones."""
TITLE = "=== Notes of the campaign "
BEGIN = "=== Your notes: what stands between this line and the next one is kept "
END = "=== End of your notes "
_BEFORE = {
    BEGIN: "=== The person's words: what stands between this line and the next one is kept ",
    END: "=== End of the person's words ",
}
"""What these headings were in campaigns of before."""
_GENERATED = re.compile(r"=== (?:Notes of the campaign |The campaign =|Run \d+ =|The end =)")
_MARKER = re.compile(r"=== (?:(?:The|End of the) person's words|(?:Your|End of your) notes)\b")


def person_section(text: str) -> str:
    """What a person wrote into the notes: between the markers, and any other line that the harness did not generate.

    Where a marker was damaged or removed, everything from where the section begins to where generated text begins again
    is kept.
    """
    section, strays = _persons(_lines(text))
    return "\n\n".join(part for part in ["\n".join(section).strip("\n"), "\n".join(strays).strip("\n")] if part.strip())


def generated_lines(text: str) -> list[str]:
    """What the harness wrote into the notes, without empty lines."""
    lines = _lines(text)
    theirs = Counter(each for part in _persons(lines) for each in part)
    found = []
    for each in lines:
        if theirs[each] > 0:
            theirs[each] -= 1
        elif each.strip():
            found.append(each)
    return found


def with_persons_words(text: str, person: str) -> str:
    """Notes as the harness wrote them, with what a person wrote into them since in place of what they held."""
    lines = _lines(text)
    first, last = (next(i for i, each in enumerate(lines) if _is_heading(each, marker)) for marker in (BEGIN, END))
    return "\n".join([*lines[: first + 1], "", *([person, ""] if person else []), "", *lines[last:]])


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def _persons(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines between the markers, and those elsewhere that the harness did not generate."""
    begins = [i for i, each in enumerate(lines) if _is_heading(each, BEGIN)]
    ends = [i for i, each in enumerate(lines) if _is_heading(each, END)]
    if begins and ends and begins[0] < ends[-1]:
        first, last = begins[0] + 1, ends[-1]
        section = lines[first:last]
    else:
        first = (begins or [i for i, each in enumerate(lines) if each.startswith(TITLE)] or [-1])[0] + 1
        later = [i for i in ends if i >= first]
        generated = [i for i, each in enumerate(lines) if i >= first and _GENERATED.match(each)]
        last = (later[-1:] or generated or [len(lines)])[0]
        section = [each for each in lines[first:last] if not _MARKER.match(each)]
    return section, _strays(lines[:first]) + _strays(lines[last:])


def _strays(lines: list[str]) -> list[str]:
    """Lines outside the section that are neither headings nor indented, each paragraph of them whole."""
    found: list[str] = []
    theirs = False
    for each in lines:
        if _GENERATED.match(each) or _MARKER.match(each) or not each.strip():
            theirs = False
        elif theirs or not each.startswith(" "):
            if not theirs:
                found.append("")
            theirs = True
            found.append(each)
    return found


def _is_heading(text: str, heading: str) -> bool:
    starts = (heading.rstrip(), _BEFORE[heading].rstrip())
    return any(text.startswith(each) and not text.removeprefix(each).strip("= ") for each in starts)
