"""A document as Markdown (CommonMark with tables), its figures as SVG files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...campaign.text import fence, line
from .. import inline
from .document import Block, Code, Document, Items, Paragraph, Pictures, Quote, Section, Table, Written, quoted_lines

_MARKUP = re.compile(r"[\\`*\[\]<>&~^$|]|(?<![^\W_])_|_(?![^\W_])")
_AT_BEGINNING = re.compile(r"#|[+-](?=\s|$)|[=-]+(?=\s*$)|\d{1,9}(?=[.)](?:\s|$))")
_LINK = re.compile(r"(?<=[a-z]):(?=//)|(?<=www)\.|(?<=\w)@(?=\w)", re.IGNORECASE)


def render_md(document: Document, figures: str) -> str:
    """The text. `figures` is the folder, relative to it, that holds a `NAME.svg` for each of the document's pictures."""
    return _Markdown(figures).render(document)


def escape(text: str) -> str:
    """One line in which every character is shown as it is."""
    return _beginning(_escaped(line(text)))


def _escaped(text: str) -> str:
    return _LINK.sub(r"\\\g<0>", _MARKUP.sub(r"\\\g<0>", text))


def _beginning(text: str) -> str:
    first = _AT_BEGINNING.match(text)
    if first is None:
        return text
    # "1." would begin a list, "#" a heading
    return f"\\{text}" if not first[0][0].isdigit() else f"{first[0]}\\{text[first.end() :]}"


def spans(text: str) -> str:
    """One line of somebody's words, with code as such; a formula as it was written, for CommonMark has none."""
    parts = [
        _escaped(span) if isinstance(span, str) else f"`{span.text if isinstance(span, inline.Code) else span.ascii}`"
        for span in inline.spans(line(text))
    ]
    return _beginning("".join(parts))


class _Markdown:
    def __init__(self, figures: str) -> None:
        self._figures = figures
        self._tables = self._pictures = 0

    def render(self, document: Document) -> str:
        parts = [f"# {escape(document.title)}", f"*{escape(document.about)}*", "## Abstract"]
        parts += self._blocks(document.abstract)
        for number, section in enumerate(document.sections, 1):
            parts += self._section(section, f"{number}. ", 2)
        for number, section in enumerate(document.appendices):
            parts += self._section(section, f"Appendix {chr(ord('A') + number)}. ", 2)
        return "\n\n".join(parts) + "\n"

    def _section(self, section: Section, number: str, level: int) -> Iterator[str]:
        yield f"{'#' * level} {number}{escape(section.title)}"
        yield from self._blocks(section.blocks)
        for inner in section.sections:
            yield from self._section(inner, "", level + 1)

    def _blocks(self, blocks: tuple[Block, ...]) -> Iterator[str]:
        for block in blocks:
            yield from self._block(block)

    def _block(self, block: Block) -> Iterator[str]:
        match block:
            case Paragraph(text, lead):
                yield f"**{escape(lead)}** {escape(text)}" if lead else escape(text)
            case Items(items):
                yield "\n".join(f"- {escape(item)}" for item in items)
            case Quote(text, source):
                yield f"{escape(source)}:"
                yield _quoted(text)
            case Written(text, model):
                yield f"> {spans(text)}\n>\n> — *written by {escape(model)}*"
            case Table():
                self._tables += 1
                yield f"**Table {self._tables}.** {escape(block.caption)}"
                yield _table(block)
            case Pictures(plots):
                for plot in plots:
                    self._pictures += 1
                    yield f"![{escape(f'{plot.title}. {plot.alt}')}]({self._figures}/{plot.name}.svg)"
                    yield f"**Figure {self._pictures}.** {escape(plot.legend)}"
            case Code():
                yield escape(block.about)
                yield fence("\n".join(text for _, text in block.lines)).replace("\n", f"{block.language}\n", 1)
                if block.rest:
                    yield escape(block.rest)


def _quoted(text: str) -> str:
    """Line by line, blank ones too; blanks at the beginning of a line are kept as no-break spaces."""
    rows = []
    for row in quoted_lines(text):
        indent = len(row) - len(row.lstrip())
        rows.append("\u00a0" * indent + spans(row) if row else "")
    return "\n".join(
        f"> {row}\\" if row and after else f"> {row}".rstrip() for row, after in zip(rows, [*rows[1:], ""], strict=True)
    )


def _table(table: Table) -> str:
    header = " | ".join(escape(column.title) for column in table.columns)
    sides = " | ".join("---:" if column.kind == "numbers" else "---" for column in table.columns)
    rows = [" | ".join(escape(cell) for cell in cells) for cells in table.rows]
    return "\n".join(f"| {row} |" for row in (header, sides, *rows))
