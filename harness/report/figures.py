"""The figures of a campaign, drawn with matplotlib: for the report as SVG inside the page, for a write-up as they are.

The one place for plots. Colours are those of PALETTE; in a page each becomes a class, so that the style sheet gives it in
light and in dark. Nothing is told by colour alone: shapes, line styles and labels say it too.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.image
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from PIL import Image

from ..campaign.campaign import PLOTTED
from ..campaign.metric import Metric
from ..campaign.numbers import number, titled
from ..campaign.protocols import Curve
from ..campaign.text import clip, line
from .campaign_data import CampaignData, Run
from .references import all_references
from .summary import TONES, is_better
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
_STYLE: Any = {
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
_FAR = 1.5
"""A target further from the values than so many times their range is named at the edge instead of drawn to scale."""
_SHORT_LEGEND = 30  # letters that fit beside each other with four symbols
_MOST_POINTS = 150
"""Of a training curve."""
_MOST_LABELS = 24
_STILL = 0.05
"""A quantity that moves by less of its size while training is not drawn."""
_SAME = 0.1
"""Context metrics (L0) that lie so near to each other count as the same, and the axis shows them so."""
_MOST_IN_ALT = 15
_MOST_CURVES = 2
_MOST_PLOTTED = 6
_LONGEST_LABEL = 40
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

    @property
    def legend(self) -> str:
        """Title and caption: what stands below it on paper."""
        return f"{self.title}. {self.caption}".strip()

    def svg(self) -> str:
        """A file of its own, in the colours of PALETTE."""
        return _drawn(self.figure)

    def pdf(self) -> bytes:
        """A file of its own for paper; the same bytes each time."""
        file = io.BytesIO()
        with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that matplotlib's own font lacks
            self.figure.savefig(file, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})
        return file.getvalue()

    def inline(self, prefix: str) -> Markup:
        """An element for an HTML page: colours as classes (`fill-accent`, `line-muted`), no style, and ids that begin with
        `prefix`, which no other figure of the page may have."""
        return inline_svg(self.svg(), prefix, f"{self.title}. {self.alt}", PALETTE)


def plots(campaign: CampaignData) -> list[Plot]:
    """All figures that the campaign has data for: the primary metric over the runs, its frontiers, training curves."""
    found: list[Plot] = []
    primary = campaign.primary
    with matplotlib.rc_context(_STYLE):
        if primary is not None and any(run.value(primary.name) is not None for run in campaign.runs):
            title = f"{line(primary.name)} over the runs ({primary.better} is better)"
            found.append(_tried("primary", title, partial(_over_runs, campaign, primary)))
            for other in campaign.context:
                title = f"{line(primary.name)} against {line(other.name)}"
                found.append(
                    _tried(f"frontier-{other.better or 'context'}", title, partial(_frontier, campaign, primary, other))
                )
        for number, key in enumerate(_worth_drawing(campaign)):
            title = f"{clip(line(key), _LONGEST_LABEL)} while training"
            found.append(_tried(f"training-{number}", title, partial(_training, campaign, key)))
        found += [_tried(f"plotted-{number}", *each) for number, each in enumerate(_plotted(campaign))]
    return found


def _plotted(campaign: CampaignData) -> Iterator[tuple[str, Callable[[], Drawing]]]:
    """What the experiment's own plot.py drew after the last run for which it drew anything: title, and how it is shown."""
    folders = [campaign.status.folder / f"run_{run.record.run}" / PLOTTED for run in campaign.runs]
    last = next((folder for folder in reversed(folders) if folder.is_dir()), None)
    for path in sorted(last.glob("*.png"))[:_MOST_PLOTTED] if last else ():
        yield f"{clip(line(path.name), _LONGEST_LABEL)}, drawn by plot.py", partial(_picture, path)


def _picture(path: Path) -> Drawing:
    """A picture that a program of the experiment drew, as it is but for its size."""
    try:
        pixels = matplotlib.image.imread(path)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(SIZE[0], max(0.5, min(2 * SIZE[0], SIZE[0] * height / width))))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(pixels, aspect="auto")
    run = path.parent.parent.name.replace("_", " ")
    caption = f"Drawn by the experiment’s own code after {run}; not checked by the harness."
    return figure, caption, caption


def _tried(name: str, title: str, draw: Callable[[], Drawing]) -> Plot:
    """The figure or, where matplotlib cannot draw these numbers, one that says so."""
    try:
        figure, caption, alt = draw()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as below
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # everything has its place now
    except (ValueError, ArithmeticError, RuntimeError) as error:
        figure, axes = _figure()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "This figure cannot be drawn.", ha="center")
        caption = alt = f"It cannot be drawn: {clip(line(str(error)), _LONGEST_ERROR).rstrip('.')}."
    return Plot(name, title, caption, alt, figure)


def _over_runs(campaign: CampaignData, primary: Metric) -> Drawing:
    figure, axes = _figure()
    valued = [(run, value) for run in campaign.runs if (value := run.value(primary.name)) is not None]
    baseline = campaign.baseline
    notes = []
    if baseline is not None and (level := baseline.value(primary.name)) is not None:
        axes.axhline(level, color=PALETTE["muted"], linestyle="--", linewidth=1.2, label="baseline")
        if (deviation := baseline.deviation(primary.name)) is not None:
            seeds = len(baseline.values(primary.name))
            band = (level - deviation, level + deviation)
            axes.axhspan(*band, color=PALETTE["muted"], alpha=0.18, linewidth=0, label="baseline ± 1 sd")
            notes.append(f"The band is one standard deviation of the baseline's {seeds} seeds about their mean.")
        else:
            notes.append("There is no noise band: the baseline has one seed, so the noise is unknown.")
    references = [
        (run.record.run, compared.reference_mean)
        for run, _ in valued
        if (compared := run.record.verdict.against_baseline) and not compared.reference.startswith("run_0")
    ]
    if references:
        look: dict[str, Any] = {"marker": "_", "s": 160, "color": PALETTE["muted"], "zorder": 2}
        axes.scatter(*zip(*references, strict=True), label="its reference", **look)
        notes.append("A short line is a run's reference where that is not the baseline: a matched control, or the frontier.")
    for run, _ in valued:
        values = run.values(primary.name)
        axes.scatter([run.record.run] * len(values), values, s=9, color=PALETTE["other"], zorder=2)
    _points(axes, campaign, [(run, float(run.record.run), value) for run, value in valued])
    _target(axes, primary, [value for run, value in valued])
    without = [run.record for run in campaign.runs if run.value(primary.name) is None]
    for record in without:
        axes.plot(record.run, 0.03, marker="x", color=PALETTE["muted"], transform=axes.get_xaxis_transform(), clip_on=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axes.set_xlim(-0.5, max(len(campaign.runs) - 0.5, 1.5))
    axes.set_xlabel("run")
    axes.set_ylabel(_label(primary))
    _legend(figure)
    if without:
        notes.append(f"A cross at the bottom is a run without a value ({_runs([r.run for r in without])}).")
    if any(run.values(primary.name) for run, _ in valued):
        notes.append("Small dots are single seeds, large marks their means.")
    if primary.label:
        notes.insert(0, f"{line(primary.name)}: {line(primary.label)}.")
    shown = [f"run {run.record.run} {number(value)}" for run, value in valued]
    return figure, " ".join(notes), _listed(shown, [value for _, value in valued])


def _frontier(campaign: CampaignData, primary: Metric, other: Metric) -> Drawing:
    figure, axes = _figure()
    points = [
        (run, x, y)
        for run in campaign.runs
        if (x := run.value(other.name)) is not None and (y := run.value(primary.name)) is not None
    ]
    front = _front([p for p in points if p[0].is_evidence], primary, other)
    elsewhere = sorted(
        (x, y)
        for each in all_references(campaign)
        if (x := each.mean(other.name)) is not None and (y := each.mean(primary.name)) is not None
    )
    if elsewhere:
        untouched = [(x, y) for run, x, y in points if run.record.run == 0]
        axes.plot(
            *zip(*sorted([*elsewhere, *untouched]), strict=True),
            color=PALETTE["muted"],
            linestyle=":",
            linewidth=1.2,
            zorder=1,
        )
        look: dict[str, Any] = {"marker": "D", "facecolors": "none", "edgecolors": PALETTE["muted"], "s": 30}
        axes.scatter(*zip(*elsewhere, strict=True), label="baseline elsewhere", zorder=2, **look)
    if len(front) > 1:
        xs, ys = [x for _, x, _ in front], [y for _, _, y in front]
        axes.plot(xs, ys, color=PALETTE["accent"], linewidth=1, linestyle="-", alpha=0.6, label="frontier", zorder=1)
    _points(axes, campaign, points)
    _numbered(axes, points, {run.record.run for run, _, _ in front})
    axes.margins(0.12)
    if other.better is None:
        _not_narrow(axes, [*(x for _, x, _ in points), *(x for x, _ in elsewhere)])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel(_label(other))
    axes.set_ylabel(_label(primary))
    _legend(figure)
    caption = "Numbers are runs; 0 is the baseline. "
    if other.better is None:
        caption += f"{line(other.name)} has no better direction: compare runs at the same value of it."
    else:
        caption += (
            "The frontier joins the valid, comparable runs that no other such run beats in both."
            if len(front) > 1
            else (
                f"Of the valid, comparable runs, run {front[0][0].record.run} is best in both." if front else "No valid run."
            )
        )
        if out := [run.record.run for run, *_ in points if not run.is_evidence]:
            caption += f" It leaves out {_runs(out)}: invalid, not comparable or without effect."
    if elsewhere:
        caption += " Open diamonds are the baseline’s code at other settings, with a line through what it reaches."
    shown = [f"run {run.record.run} at {number(x)}, {number(y)}" for run, x, y in points]
    shown += [f"the baseline elsewhere at {number(x)}, {number(y)}" for x, y in elsewhere]
    return figure, caption, _listed(shown, [*(y for _, _, y in points), *(y for _, y in elsewhere)])


def _worth_drawing(campaign: CampaignData) -> list[str]:
    """Of the quantities in the training logs those that the abort rules watch, then the others that differ between runs."""
    watched = [rule.key for rule in campaign.contract.abort]
    keys = dict.fromkeys([*watched, *(key for run in campaign.runs for key in run.curves)])
    found = []
    for key in keys:
        curves = [curve for _, curve in _curves(campaign, key)]
        differ = len({curve.values for curve in curves}) > 1 or len(curves) == 1
        if differ and any(_range(curve.values) > _STILL for curve in curves):
            found.append(key)
    return found[:_MOST_CURVES]


def _curves(campaign: CampaignData, key: str) -> list[tuple[Run, Curve]]:
    return [(run, run.curves[key]) for run in campaign.runs if key in run.curves and len(run.curves[key].values) > 1]


def _training(campaign: CampaignData, key: str) -> Drawing:
    curves, best = _curves(campaign, key), campaign.best
    figure, axes = _figure()
    for run, curve in sorted(curves, key=lambda pair: (pair[0] is best, pair[0].record.run == 0)):
        is_best = best is not None and run.record.run == best.record.run
        named = {0: "baseline"}.get(run.record.run, f"run {run.record.run}, the best" if is_best else "other runs")
        style: dict[str, Any] = {"color": PALETTE["other"], "linewidth": 0.9, "zorder": 1}
        if run.record.run == 0:
            style = {"color": PALETTE["muted"], "linewidth": 1.4, "linestyle": "--", "zorder": 2}
        elif is_best:
            style = {"color": PALETTE["accent"], "linewidth": 1.6, "zorder": 3}
        steps, values = _thinned(curve.steps, curve.values)
        axes.plot(steps, values, label=named, **style)
    every = [value for _, curve in curves for value in curve.values]
    if min(every) > 0 and max(every) / min(every) > 50:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel(clip(_xml(line(key)), _LONGEST_LABEL))
    _legend(figure)
    last = [f"run {run.record.run} ends at {number(curve.values[-1])}" for run, curve in curves]
    caption = "As each run logged it: where the code of the quantity itself was changed, levels do not compare."
    return figure, caption, _listed(last, [curve.values[-1] for _, curve in curves])


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    figure.patch.set_visible(False)
    axes = figure.subplots()
    axes.patch.set_visible(False)
    return figure, axes


def _points(axes: Axes, campaign: CampaignData, points: Sequence[tuple[Run, float, float]]) -> None:
    """Runs by what may be said of them."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for run, x, y in points:
        if run.record.run == 0:
            kind = "baseline"
        elif not run.is_evidence:
            kind = "no evidence"
        else:
            kind = "improved" if TONES.get(campaign.verdict(run)) == "good" else "run"
        groups.setdefault(kind, []).append((x, y))
    looks: dict[str, dict[str, Any]] = {
        "baseline": {"marker": "D", "color": PALETTE["muted"], "s": 30},
        "run": {"marker": "o", "color": PALETTE["accent"], "s": 34},
        "improved": {"marker": "^", "color": PALETTE["good"], "s": 46},
        "no evidence": {"marker": "s", "facecolors": "none", "edgecolors": PALETTE["muted"], "s": 38},
    }
    for kind, look in looks.items():
        if kind in groups:
            axes.scatter(*zip(*groups[kind], strict=True), label=kind, zorder=3, **look)
    best = campaign.best
    found = [(x, y) for run, x, y in points if best is not None and run.record.run == best.record.run]
    if found:
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": PALETTE["ink"], "s": 110, "linewidths": 1.1}
        axes.scatter(*zip(*found, strict=True), label="best", zorder=4, **ring)


def _target(axes: Axes, primary: Metric, values: Sequence[float]) -> None:
    if primary.target is None:
        return
    low, high = min(values), max(values)
    reach = (high - low) or abs(high) or 1.0
    if low - _FAR * reach <= primary.target <= high + _FAR * reach:
        axes.axhline(primary.target, color=PALETTE["good"], linestyle=":", linewidth=1.6, label="target")
        return
    below = primary.target < low
    axes.annotate(
        f"target {number(primary.target)} is far {'below' if below else 'above'}",
        (0.99, 0.08 if below else 0.98),
        xycoords="axes fraction",
        ha="right",
        va="bottom" if below else "top",
        color=PALETTE["good"],
        fontsize=9.5,
    )


def _numbered(axes: Axes, points: Sequence[tuple[Run, float, float]], front: set[int]) -> None:
    """The numbers of the runs beside their points; of many only the baseline's and the frontier's."""
    few = len(points) <= _MOST_LABELS
    xs, ys = [x for _, x, _ in points], [y for _, _, y in points]
    wide, high = (max(xs) - min(xs)) or 1.0, (max(ys) - min(ys)) or 1.0
    placed: list[tuple[float, float]] = []
    for run, x, y in points:
        at = ((x - min(xs)) / wide, (y - min(ys)) / high)
        close = sum(abs(at[0] - a) < 0.06 and abs(at[1] - b) < 0.06 for a, b in placed)
        if (not few and run.record.run and run.record.run not in front) or close > 1:
            continue
        placed.append(at)
        side: Any = {"xytext": (6, 3), "ha": "left"} if not close else {"xytext": (-6, 3), "ha": "right"}
        axes.annotate(str(run.record.run), (x, y), textcoords="offset points", fontsize=9.5, **side)


def _front(points: Sequence[tuple[Run, float, float]], primary: Metric, other: Metric) -> list[tuple[Run, float, float]]:
    """The points that no other beats in both metrics, from left to right; none where `other` has no direction."""
    if other.better is None:
        return []

    def beats(a: tuple[Run, float, float], b: tuple[Run, float, float]) -> bool:
        here, there = is_better(other, a[1], b[1]), is_better(primary, a[2], b[2])
        return (here or there) and not is_better(other, b[1], a[1]) and not is_better(primary, b[2], a[2])

    kept = [point for point in points if not any(beats(each, point) for each in points)]
    return sorted(kept, key=lambda point: point[1])


def _thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Every n-th point and the last one."""
    stride = math.ceil(len(steps) / _MOST_POINTS)
    kept = [*range(0, len(steps) - 1, stride), len(steps) - 1]
    return [steps[i] for i in kept], [values[i] for i in kept]


def _range(values: Sequence[float]) -> float:
    """The range of the values as a share of their size."""
    size = max(map(abs, values))
    return (max(values) - min(values)) / size if size else 0.0


def _not_narrow(axes: Axes, values: Sequence[float]) -> None:
    middle = (min(values) + max(values)) / 2
    if _range(values) < _SAME and middle:
        axes.set_xlim(middle - abs(middle) * _SAME, middle + abs(middle) * _SAME)


def _legend(figure: Figure) -> None:
    """One entry a label, above the axes."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if len(found) > 1:
        figure.legend(
            found.values(), found.keys(), loc="outside upper left", ncols=4 if sum(map(len, found)) < _SHORT_LEGEND else 3
        )


def _label(metric: Metric) -> str:
    return titled(clip(_xml(line(metric.name)), _LONGEST_LABEL), _xml(line(metric.unit)))


def _listed(shown: Sequence[str], values: Sequence[float]) -> str:
    if len(shown) <= _MOST_IN_ALT:
        return "; ".join(shown) + "."
    return f"{len(shown)} runs from {number(min(values))} to {number(max(values))}; the table of runs has the numbers."


def _runs(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MOST_IN_ALT]))
    return f"run{'s' if len(numbers) > 1 else ''} {shown}" + (" and more" if len(numbers) > _MOST_IN_ALT else "")


def _xml(text: str) -> str:
    """Without what no XML file may hold."""
    return _NOT_XML.sub("\ufffd", text)


def _drawn(figure: Figure) -> str:
    file = io.StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that matplotlib's own font lacks: a browser has others
        # Not by savefig, which draws everything once more for a layout that it has by now.
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return file.getvalue()
