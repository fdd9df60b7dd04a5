"""A document as LaTeX for pdflatex, with booktabs, its figures as PDF files beside it.

No character of the document is markup: those that TeX reads are written as commands, and the others outside ASCII are
declared, so that pdflatex shows what its fonts lack by its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...campaign.text import line, verbatim
from .. import inline
from .document import Block, Code, Document, Items, Paragraph, Pictures, Quote, Section, Table, Written, pieces, quoted_lines

_ESCAPES = {
    **{character: f"\\{character}" for character in "{}$&#%_"},
    **{character: f"{{{character}}}" for character in "[]*-,!?="},  # they would be read with what stands before or behind
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\`{}",
    "'": r"\textquotesingle{}",
}
_MATHEMATICS = """
α alpha β beta γ gamma δ delta ε varepsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho σ sigma
τ tau υ upsilon φ varphi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Φ Phi Ψ Psi Ω Omega
± pm × times · cdot ≤ leq ≥ geq ≠ neq ≈ approx ∼ sim → rightarrow ← leftarrow ↔ leftrightarrow ⇒ Rightarrow ↪ hookrightarrow
∞ infty ∈ in ∑ sum ∏ prod ∂ partial ∇ nabla √ surd ‖ Vert ⟨ langle ⟩ rangle − - ⊤ top ⊥ perp ∩ cap ∪ cup ∀ forall ∃ exists
"""
_TEXT = """
– textendash — textemdash ‘ textquoteleft ’ textquoteright “ textquotedblleft ” textquotedblright … textellipsis
• textbullet § textsection ¶ textparagraph µ textmu ° textdegree £ textsterling © textcopyright ® textregistered
™ texttrademark « guillemotleft » guillemotright ¡ textexclamdown ¿ textquestiondown
"""
_PAIR = re.compile(r"(\S) (\S+)")
_DECLARED = {
    **{sign: rf"\ensuremath{{\{name}}}" for sign, name in _PAIR.findall(_MATHEMATICS)},
    **{sign: rf"\{name}{{}}" for sign, name in _PAIR.findall(_TEXT)},
    "−": r"\ensuremath{-}",
    "²": r"\ensuremath{^2}",
    "³": r"\ensuremath{^3}",
    "\u00a0": "~",
    "\u200b": r"\hspace{0pt}",
}
_LETTERS = re.compile("[ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿĄąĆćČčĎďĘęĚěŁłŃńŇňŐőŒœŘřŚśŠšŤťŮůŰűŹźŻżŽž]")
"""Those that T1 fonts hold."""
_COLOURS = {"+": "inserted", "-": "deleted", "@": "muted", "h": "muted"}
_LETTER = 0.0105
"""What a letter of a table takes of the line, and what a column takes besides."""
_GAP = 0.022
_ALONE, _IN_PAIR = "0.62", "0.49"  # of the line, for a figure
_LEAST = 0.14  # of the line, for a column of words


def render_tex(document: Document, figures: str) -> str:
    """The text. `figures` is the folder, relative to it, that holds a `NAME.pdf` for each of the document's pictures."""
    body = "\n\n".join(_document(document, figures))
    frame = verbatim("writeup/document.tex")
    return frame.replace("%DECLARATIONS%", _declarations(body)).replace("%BODY%", body)


def escape(text: str) -> str:
    """One line in which every character is shown as it is; long words may break."""
    return _broken(line(text))


def spans(text: str) -> str:
    """One line of somebody's words, its code and formulas set as such."""
    return "".join(map(_span, inline.spans(line(text))))


def _span(span: inline.Span) -> str:
    match span:
        case inline.Code(text):
            return _command("texttt", _broken(text))
        case inline.Formula(base, below, above):
            ends = "".join(f"{sign}{{{_mathematics(part)}}}" for sign, part in (("_", below), ("^", above)) if part)
            return _command("ensuremath", _mathematics(base) + ends)
        case str():
            return _broken(span)


def _mathematics(part: str) -> str:
    return part.replace("−", "-") if len(part) == 1 or "−" in part else _command("mathrm", part)


def _broken(text: str) -> str:
    return r"\allowbreak{}".join(map(_plain, pieces(text)))


def _plain(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def _command(name: str, *arguments: str) -> str:
    return f"\\{name}" + "".join(f"{{{each}}}" for each in arguments)


def _between(name: str, *lines: str, options: str = "") -> str:
    """An environment."""
    return "\n".join([_command("begin", name) + options, *lines, _command("end", name)])


def _declarations(body: str) -> str:
    """What each character outside ASCII is to pdflatex."""
    rows = []
    for character in sorted({each for each in body if ord(each) > 127 and not _LETTERS.match(each)}):
        number = f"{ord(character):04X}"
        rows.append(_command("DeclareUnicodeCharacter", number, _DECLARED.get(character, _command("unicodenumber", number))))
    return "\n".join(rows)


def _document(document: Document, figures: str) -> Iterator[str]:
    yield _command("front", escape(document.title), escape(document.about))
    yield _between("abstract", "\n\n".join(_blocks(document.abstract, figures)))
    for section in document.sections:
        yield from _section(section, figures, "section")
    if document.appendices:
        yield "\\clearpage\\appendix"
    for section in document.appendices:
        yield from _section(section, figures, "section")


def _section(section: Section, figures: str, level: str) -> Iterator[str]:
    yield _command(level, escape(section.title))
    yield from _blocks(section.blocks, figures)
    for inner in section.sections:
        yield from _section(inner, figures, f"sub{level}")


def _blocks(blocks: Sequence[Block], figures: str) -> Iterator[str]:
    for block in blocks:
        yield _block(block, figures)


def _block(block: Block, figures: str) -> str:
    match block:
        case Paragraph(text, lead):
            return f"{_command('textbf', escape(lead))} {escape(text)}" if lead else escape(text)
        case Items(items):
            return _between("items", *(f"\\item {escape(item)}" for item in items))
        case Quote(text, source):
            return f"{_command('source', escape(source))}\n\n{_quoted(quoted_lines(text))}"
        case Written(text, model):
            return _between("written", f"{spans(text)} {_command('writer', escape(model))}")
        case Table():
            return _table(block)
        case Pictures(plots):
            width = _ALONE if len(plots) == 1 else _IN_PAIR
            shown = [_command("illustration", width, f"{figures}/{plot.name}.pdf", escape(plot.legend)) for plot in plots]
            return _between("figure", "\\hfill".join(shown), options="[htbp]\\centering")
        case Code():
            found = f"{escape(block.about)}\\nopagebreak\n\n{_between('code', *_lines(block))}"
            return f"{found}\n\n{escape(block.rest)}" if block.rest else found


def _quoted(lines: Sequence[str]) -> str:
    """Line by line, with their indents."""
    rows = []
    for each in lines:
        indent = len(each) - len(each.lstrip())
        rows.append(_command("wordsline", f"{indent / 2:g}em", spans(each)) if each else "\\medskip")
    return _between("words", *rows)


def _lines(code: Code) -> Iterator[str]:
    for mark, text in code.folded:
        yield _command("codeline", _COLOURS.get(mark, "black"), _plain(text).replace(" ", "~"))


def _table(table: Table) -> str:
    header = " & ".join(_command("textbf", escape(column.title)) for column in table.columns)
    rows = [" & ".join(escape(cell) for cell in cells) for cells in table.rows]
    return _between(
        "datatable",
        f"\\caption{{{escape(table.caption)}}}\\\\",
        f"\\toprule {header} \\\\ \\midrule \\endfirsthead",
        f"\\toprule {header} \\\\ \\midrule \\endhead",
        "\\bottomrule \\endfoot",
        *(f"{row} \\\\{'*' if table.is_short else ''}" for row in rows),
        options=f"{{{_columns(table)}}}",
    )


def _columns(table: Table) -> str:
    """Columns that wrap share what the others leave of the line."""
    wraps, widths = table.wraps, table.widths
    fixed = _LETTER * sum(width for width, wrap in zip(widths, wraps, strict=True) if not wrap)
    room = 1 - fixed - _GAP * len(widths)
    width = max(_LEAST, room / max(1, sum(wraps)))
    kinds = {"label": "l", "numbers": "r", "words": "l"}
    wrapping = f">{{\\raggedright\\arraybackslash}}p{{{width:.3f}\\linewidth}}"
    shown = (wrapping if wrap else kinds[column.kind] for column, wrap in zip(table.columns, wraps, strict=True))
    return "@{}" + "".join(shown) + "@{}"
