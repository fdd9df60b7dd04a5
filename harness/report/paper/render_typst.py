"""A document as Typst, which becomes a PDF without any other program.

All text stands in string literals, where Typst reads no markup, so nothing of it can be any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...campaign.text import line, verbatim
from .. import inline
from ..drawing import Plot
from .document import Block, Code, Document, Items, Paragraph, Pictures, Quote, Section, Table, Written, pieces, quoted_lines


def render_typst(document: Document) -> str:
    """The source; it expects a `NAME.pdf` beside it for each of the document's pictures."""
    return verbatim("writeup/document.typ") + "".join(f"#{each}\n" for each in _document(document))


def literal(text: str) -> str:
    """A string of Typst that is exactly `text`."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def escape(text: str) -> str:
    """One line of text as an expression; long words may break."""
    return f"({_broken(line(text)) or literal('')})"


def spans(text: str) -> str:
    """One line of somebody's words as an expression, its code and formulas set as such."""
    return "(" + " + ".join(map(_span, inline.spans(line(text)))) + ")" if line(text) else literal("")


def _span(span: inline.Span) -> str:
    match span:
        case inline.Code(text):
            return f"mono({_broken(text)})"
        case inline.Formula(base, below, above):
            ends = "".join(f", {end}: {_mathematics(part)}" for end, part in (("b", below), ("t", above)) if part)
            return f"math.equation(math.attach({_mathematics(base)}{ends}))"
        case str():
            return _broken(span)


def _broken(text: str) -> str:
    return " + box() + ".join(map(literal, pieces(text)))  # a line may break at an empty box, and at no space without width


def _mathematics(part: str) -> str:
    return f"math.{'italic' if len(part) == 1 else 'upright'}({literal(part)})"


def _document(document: Document) -> Iterator[str]:
    yield f"set document(title: {literal(line(document.title))})"
    yield f"front({escape(document.title)}, {escape(document.about)}, {_body(document.abstract)})"
    for section in document.sections:
        yield from _section(section, 1)
    if document.appendices:
        yield "appendices()"
        yield 'set heading(numbering: "A.1")'
    for section in document.appendices:
        yield from _section(section, 1)


def _section(section: Section, level: int) -> Iterator[str]:
    yield f"heading(level: {level}, {escape(section.title)})"
    yield from map(_block, section.blocks)
    for inner in section.sections:
        yield from _section(inner, level + 1)


def _body(blocks: Sequence[Block]) -> str:
    return "{" + "; ".join(map(_block, blocks)) + "}"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text, lead):
            return f"par(strong({escape(lead)}) + [ ] + {escape(text)})" if lead else f"par({escape(text)})"
        case Items(items):
            return f"list({', '.join(escape(item) for item in items)})"
        case Quote(text, source):
            return f"quoted({escape(source)}, {_quoted(quoted_lines(text))})"
        case Written(text, model):
            return f"written({escape(model)}, {spans(text)})"
        case Table():
            return _table(block)
        case Pictures(plots):
            return f"pictures({', '.join(map(_picture, plots))})"
        case Code():
            rest = f" + par({escape(block.rest)})" if block.rest else ""
            return f"(code({escape(block.about)}, {_lines(block)}){rest})"


def _lines(code: Code) -> str:
    return "(" + "".join(f"({literal(mark)}, {literal(text)}),\n" for mark, text in code.folded) + ")"


def _picture(plot: Plot) -> str:
    alt = literal(line(f"{plot.title}. {plot.alt}"))
    return f"figure(image({literal(f'{plot.name}.pdf')}, alt: {alt}), caption: {escape(plot.legend)})"


def _quoted(lines: Sequence[str]) -> str:
    """Line by line, with their indents."""
    rows = []
    for each in lines:
        indent = len(each) - len(each.lstrip())
        rows.append(f"h({indent / 2:g}em) + {spans(each)}" if indent else spans(each))
    return " + linebreak() + ".join(rows)


def _table(table: Table) -> str:
    widths = ", ".join("1fr" if wraps else "auto" for wraps in table.wraps)
    sides = ", ".join("right" if column.kind == "numbers" else "left" for column in table.columns)
    header = ", ".join(f"strong({escape(column.title)})" for column in table.columns)
    kinds = [column.kind for column in table.columns]
    rows = [
        [escape(cell.replace(" ", "\u00a0") if kind == "numbers" else cell) for cell, kind in zip(row, kinds, strict=True)]
        for row in table.rows
    ]
    cells = ",\n".join(", ".join(row) for row in rows)
    body = f"table(columns: ({widths},), align: ({sides},), table.header(rule, {header}, thin), {cells}, rule)"
    if table.is_dense:
        body = f"dense({body})"
    name = "short-table" if table.is_short else "long-table"
    return f"{name}({body}, {escape(table.caption)})"
