"""A document as one HTML file that needs nothing else: no network, no script, figures as SVG in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

from ...campaign.text import clean, line, template, verbatim
from ..code import diff_html
from ..drawing import Plot
from ..inline import html
from .document import Block, Code, Document, Items, Paragraph, Pictures, Quote, Section, Table, Written

_MOST = 10**9  # what is left out of code was left out before


def render_html(document: Document) -> str:
    """The page."""
    return _Page().render(document)


class _Page:
    def __init__(self) -> None:
        self._tables = self._pictures = 0

    def render(self, document: Document) -> str:
        style = verbatim("report/style.css") + verbatim("writeup/style.css")
        numbered = [(f"section-{i}", f"{i}. ", section) for i, section in enumerate(document.sections, 1)]
        letters = map(chr, range(ord("A"), ord("Z") + 1))
        numbered += [
            (f"appendix-{letter}", f"Appendix {letter}. ", section)
            for letter, section in zip(letters, document.appendices, strict=False)
        ]
        body = Markup('<section class="abstract" aria-labelledby="abstract"><h2 id="abstract">Abstract</h2>\n{}</section>\n')
        parts = [body.format(self._blocks(document.abstract))]
        parts += [self._section(section, anchor, number) for anchor, number, section in numbered]
        return template("writeup/page.html.j2").render(
            title=_text(document.title),
            about=_text(document.about),
            contents=[(anchor, _text(section.title)) for anchor, _, section in numbered],
            body=Markup("").join(parts),
            style=style,
            hash="sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        )

    def _section(self, section: Section, anchor: str, number: str) -> Markup:
        inner = Markup("").join(
            Markup("<h3>{}</h3>\n{}").format(_text(each.title), self._blocks(each.blocks)) for each in section.sections
        )
        return Markup('<section aria-labelledby="{0}"><h2 id="{0}">{1}{2}</h2>\n{3}{4}</section>\n').format(
            anchor, number, _text(section.title), self._blocks(section.blocks), inner
        )

    def _blocks(self, blocks: Sequence[Block]) -> Markup:
        return Markup("").join(Markup("{}\n").format(html) for block in blocks for html in self._block(block))

    def _block(self, block: Block) -> Iterator[Markup]:
        match block:
            case Paragraph(text, lead):
                first = Markup("<strong>{}</strong> ").format(_text(lead)) if lead else ""
                yield Markup("<p>{}{}</p>").format(first, _text(text))
            case Items(items):
                rows = Markup("").join(Markup("<li>{}</li>\n").format(_text(item)) for item in items)
                yield Markup("<ul>\n{}</ul>").format(rows)
            case Quote(text, source):
                yield Markup('<p class="whose">{}:</p>').format(_text(source))
                yield Markup('<blockquote class="said">{}</blockquote>').format(html(clean(text).strip("\n")))
            case Written(text, model):
                yield Markup('<p class="written">{} <small>({})</small></p>').format(html(line(text)), _text(model))
            case Table():
                self._tables += 1
                yield _table(block, self._tables)
            case Pictures(plots):
                yield Markup('<div class="row">{}</div>').format(Markup("").join(map(self._picture, plots)))
            case Code():
                yield Markup("<p>{}</p>").format(_text(block.about))
                yield _code(block)
                if block.rest:
                    yield Markup("<p>{}</p>").format(_text(block.rest))

    def _picture(self, plot: Plot) -> Markup:
        self._pictures += 1
        svg = Markup(clean(plot.inline(f"figure-{self._pictures}")))
        return Markup("<figure>{}<figcaption><strong>Figure {}.</strong> {}</figcaption></figure>").format(
            svg, self._pictures, _text(plot.legend)
        )


def _text(text: str) -> Markup:
    return escape(line(text))


def _table(table: Table, number: int) -> Markup:
    caption = Markup("<strong>Table {}.</strong> {}").format(number, _text(table.caption))
    header = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(_side(column.kind), _text(column.title)) for column in table.columns
    )
    rows = Markup("").join(
        Markup("<tr>{}</tr>\n").format(
            Markup("").join(
                (Markup('<th scope="row"{}>{}</th>') if place == 0 else Markup("<td{}>{}</td>")).format(
                    _side(column.kind), _text(cell)
                )
                for place, (column, cell) in enumerate(zip(table.columns, cells, strict=True))
            )
        )
        for cells in table.rows
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="Table {}">\n<table>\n<caption>{}</caption>\n'
        "<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n</div>"
    ).format(number, caption, header, rows)


def _side(kind: str) -> Markup:
    return Markup(' class="{}"').format(kind) if kind != "label" else Markup("")


def _code(code: Code) -> Markup:
    text = (
        diff_html(code.text, _MOST, _MOST).html
        if code.language == "diff"
        else escape("\n".join(line for _, line in code.lines))
    )
    return Markup('<pre class="code scroll{}" tabindex="0" role="region" aria-label="{}"><code>{}</code></pre>').format(
        " diff" if code.language == "diff" else "", _text(code.about), text
    )
