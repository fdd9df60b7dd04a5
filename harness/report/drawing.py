"""How a figure is drawn, whatever it shows: sizes, colours, legend, and the forms in which a page and a paper take it.

Colours are those of PALETTE; in a page each becomes a class, so that the style sheet gives it in light and in dark. Nothing
is told by colour alone: shapes, line styles and labels say it too.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ..campaign.metric import Metric
from ..campaign.metric_names import as_written
from ..campaign.numbers import titled
from ..campaign.text import clip, line
from .svg import inline_svg

PALETTE = {
    "ink": "#1b1f24",
    "muted": "#57606a",
    "other": "#848d97",
    "faint": "#c4cbd3",
    "accent": "#0b5cad",
    "good": "#1a7f37",
}
SIZE = (4.8, 3.1)  # inches: letters of 10 points stay legible where a phone shows the figure 350 pixels wide
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "harness",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": PALETTE["ink"],
    "axes.edgecolor": PALETTE["muted"],
    "axes.labelcolor": PALETTE["ink"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "grid.color": PALETTE["faint"],
    "grid.linewidth": 0.5,
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}
_SHORT_LEGEND = 30  # letters that fit beside each other with four symbols
LONGEST_LABEL = 40
_LONGEST_ERROR = 200
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


Drawing = tuple[Figure, str, str]
"""A figure, its caption, and in words what it shows."""


@dataclass(frozen=True)
class Plot:
    """A figure, its caption, and in words what it shows."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    svg: str
    """A file of its own, in the colours of PALETTE."""

    @property
    def legend(self) -> str:
        """Title and caption: what stands below it on paper."""
        return f"{self.title}. {self.caption}".strip()

    def pdf(self) -> bytes:
        """A file of its own for paper; the same bytes each time."""
        file = io.BytesIO()
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that matplotlib's own font lacks
            self.figure.savefig(file, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
        return file.getvalue()

    def inline(self, prefix: str) -> Markup:
        """An element for an HTML page: colours as classes (`fill-accent`, `line-muted`), no style, and ids that begin with
        `prefix`, which no other figure of the page may have."""
        return inline_svg(self.svg, prefix, f"{self.title}. {self.alt}", PALETTE)


def tried(name: str, title: str, draw: Callable[[], Drawing]) -> Plot:
    """The figure or, where matplotlib cannot draw these numbers, one that says so."""
    try:
        figure, caption, alt = draw()
        svg = _drawn(figure)
    except (ValueError, ArithmeticError, RuntimeError) as error:
        figure, axes = new_figure()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "This figure cannot be drawn.", ha="center")
        caption = alt = f"It cannot be drawn: {clip(line(str(error)), _LONGEST_ERROR).rstrip('.')}."
        svg = _drawn(figure)
    return Plot(name, title, caption, alt, figure, svg)


def new_figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    return figure, axes


def legend(figure: Figure) -> None:
    """One entry a label, above the axes."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) > 1:
        figure.legend(
            found.values(), found.keys(), loc="outside upper left", ncols=4 if sum(map(len, found)) < _SHORT_LEGEND else 3
        )


def label(metric: Metric) -> str:
    return titled(clip(xml(as_written(line(metric.name))), LONGEST_LABEL), xml(line(metric.unit)))


def xml(text: str) -> str:
    """Without what no XML file may hold."""
    return _NOT_XML.sub("\ufffd", text)


def _drawn(figure: Figure) -> str:
    file = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that matplotlib's own font lacks: a browser has others
        # Not by savefig, which draws everything once before for the layout alone.
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # everything has its place now
    return file.getvalue()
