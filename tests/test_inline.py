"""Code and formulas in somebody's words: what is certain is set as such, all else is shown as it was written."""

from __future__ import annotations

import pytest

from harness.report.inline import html
from harness.report.paper.document import Document, Quote, Section
from harness.report.paper.publication import make_pdf
from harness.report.paper.render_md import render_md
from harness.report.paper.render_tex import render_tex

WORDS = "Run `f1` with W_dec^T at lambda_2 <= 3; x_1.py and a@b_c.de stay, `<b>` too."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`f1` rises", "<code>f1</code> rises"),
        ("W_dec^T", "<i>W</i><sub>dec</sub><sup>T</sup>"),
        ("S_ij and f_j^2", "<i>S</i><sub>ij</sub> and <i>f</i><sub>j</sub><sup>2</sup>"),
        ("lambda * x, tau > 0, / tau", "λ · x, τ &gt; 0, / τ"),
        ("a beta version, lambda functions", "a beta version, lambda functions"),
        ("explained_variance", "<code>explained_variance</code>"),
        ("argmax_i S_ij", "<code>argmax_i</code> <i>S</i><sub>ij</sub>"),
        ("x <= 3, y -> z", "x ≤ 3, y → z"),
        ("- a list, *emphasis*, 1e-4, 10^6, a/b_c/d", "- a list, *emphasis*, 1e-4, 10^6, a/b_c/d"),
        ("one ` alone, ``two``, ` blank `", "one ` alone, ``two``, ` blank `"),
        ("`<script>`", "<code>&lt;script&gt;</code>"),
        ("", ""),
    ],
)
def test_what_is_certain_is_set(text: str, shown: str) -> None:
    assert html(text) == shown


def test_every_format_of_a_paper_sets_it() -> None:
    document = Document("T", "about", "", (), (Section("S", (Quote(WORDS, "Whose"),)),))
    assert "> Run `f1` with `W_dec^T` at `lambda_2` ≤ 3; x_1.py and a\\@b_c.de stay, `<b>` too." in render_md(document, "f")
    tex = render_tex(document, "f")
    assert r"\texttt{f1}" in tex and r"\ensuremath{W_{\mathrm{dec}}^{T}}" in tex and r"\ensuremath{λ_{2}}" in tex
    assert make_pdf(document).startswith(b"%PDF")
