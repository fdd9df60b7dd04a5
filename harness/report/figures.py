"""The figures of a campaign: what each shows. `drawing` has how they look."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from ..campaign.campaign import PLOTTED
from ..campaign.metric import Metric
from ..campaign.metric_names import as_written
from ..campaign.numbers import number
from ..campaign.protocols import Curve
from ..campaign.record import ComparisonRecord
from ..campaign.text import clip, in_words, line
from .campaign_data import CampaignData, Run
from .drawing import LONGEST_LABEL, PALETTE, SIZE, STYLE, Drawing, Plot, label, legend, new_figure, tried, xml
from .references import all_references
from .summary import TONES, is_better
from .terminal.difference import PLUS_MINUS
from .terminal.held_out import scope

_FAR = 1.5
"""A target further from the values than so many times their range is named at the edge instead of drawn to scale."""
_MOST_POINTS = 150
"""Of a training curve."""
_MOST_LABELS = 24
_STILL = 0.05
"""A quantity that moves by less of its size while training is not drawn."""
_LINES: tuple[Any, ...] = ("-", ":", "-.", (0, (8, 2, 1, 2, 1, 2)))
"""Of runs that are neither the baseline nor the best: so many are told apart."""
_WIDE = 5
"""From so many times its lowest value on a quantity is drawn on a logarithmic axis: where it ends, runs are told apart."""
_MANY_DECADES = 1_000
_BESIDE = 0.2
"""Of the step from run to run, so far left of a run its reference is drawn."""
_SAME = 0.1
"""Values of a metric without a better direction (L0) that lie so near to each other show nothing."""
_MOST_IN_ALT = 15
_MOST_CURVES = 2
_MOST_LINES = 50
"""In a figure of training: of more runs the last ones, beside baseline and best."""
_MOST_PLOTTED = 6


def plots(campaign: CampaignData, *, curves: int = _MOST_CURVES) -> list[Plot]:
    """All figures that there are data for: the primary metric over the runs, its frontiers, so many training curves."""
    found: list[Plot] = []
    primary = campaign.primary
    with matplotlib.rc_context(STYLE):
        if primary is not None and any(run.value(primary.name) is not None for run in campaign.runs):
            title = f"{as_written(line(primary.name))} over the runs ({primary.better} is better)"
            found.append(tried("primary", title, partial(_over_runs, campaign, primary)))
            for other in campaign.context:
                if other.better is None and is_same(campaign, other):
                    continue
                title = f"{as_written(line(primary.name))} against {as_written(line(other.name))}"
                found.append(
                    tried(f"frontier-{other.better or 'context'}", title, partial(_frontier, campaign, primary, other))
                )
        for number, key in enumerate(_worth_drawing(campaign)[:curves]):
            title = f"{clip(as_written(line(key)), LONGEST_LABEL)} while training"
            found.append(tried(f"training-{number}", title, partial(_training, campaign, key)))
        found += [tried(f"plotted-{number}", *each) for number, each in enumerate(_plotted(campaign))]
    return found


def held_out_plots(campaign: CampaignData) -> list[Plot]:
    """The pairs of the held-out evaluation; none where nothing was evaluated."""
    primary, found = campaign.primary, campaign.status.held_out
    last = found.last if found else None
    if primary is None or last is None or primary.name not in last["metrics"]:
        return []
    title = f"{as_written(line(primary.name))}, held out ({primary.better} is better)"
    with matplotlib.rc_context(STYLE):
        return [tried("held-out", title, partial(_pairs, last, primary))]


def _pairs(evaluation: Mapping[str, Any], primary: Metric) -> Drawing:
    """Each pair as a line from the reference to the run, and both means."""
    figure, axes = new_figure()
    both = evaluation["metrics"][primary.name]
    pairs = list(zip(both["reference"], both["run"], strict=True))
    for pair in pairs:
        axes.plot((0, 1), pair, color=PALETTE["other"], linewidth=0.9, marker="o", markersize=3.5, zorder=1)
    before, after = (sum(values) / len(values) for values in zip(*pairs, strict=True))
    axes.plot((0, 1), (before, after), color=PALETTE["accent"], linewidth=1.8, linestyle="--", zorder=2)
    axes.scatter(0, before, marker="D", color=PALETTE["muted"], s=40, zorder=3)
    axes.scatter(1, after, marker="o", color=PALETTE["accent"], s=46, zorder=3)
    reference = "baseline" if evaluation["comparison"]["reference"] == "run_0" else "control"
    axes.set_xticks((0, 1), (reference, f"run {evaluation['run']}"))
    axes.set_xlim(-0.4, 1.4)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(label(primary))
    status = in_words(evaluation["status"]).capitalize()
    caption = f"A thin line for each of {scope(evaluation)}; the dashed line joins the means. {status}."
    return (
        figure,
        caption,
        _listed([f"{number(a)} and {number(b)}" for a, b in pairs], [each for pair in pairs for each in pair]),
    )


def _plotted(campaign: CampaignData) -> Iterator[tuple[str, Callable[[], Drawing]]]:
    """What the experiment's own plot.py drew after the last run for which it drew anything: title, and how it is shown."""
    folders = [campaign.status.folder / f"run_{run.record.run}" / PLOTTED for run in campaign.runs]
    last = next((folder for folder in reversed(folders) if folder.is_dir()), None)
    for path in sorted(last.iterdir())[:_MOST_PLOTTED] if last else ():
        yield f"{clip(line(path.name), LONGEST_LABEL)}, drawn by plot.py", partial(_picture, path)


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


def _over_runs(campaign: CampaignData, primary: Metric) -> Drawing:
    figure, axes = new_figure()
    valued = [(run, value) for run in campaign.runs if (value := run.value(primary.name)) is not None]
    baseline = campaign.baseline
    level = None
    notes = []
    if baseline is not None and (level := baseline.value(primary.name)) is not None:
        axes.axhline(level, color=PALETTE["muted"], linestyle="--", linewidth=1.2, label="baseline")
        if (deviation := baseline.deviation(primary.name)) is not None:
            seeds = len(baseline.values(primary.name))
            band = (level - deviation, level + deviation)
            axes.axhspan(*band, color=PALETTE["muted"], alpha=0.18, linewidth=0, label="baseline ± 1 sd")
            notes.append(f"Band: one standard deviation of the baseline's {seeds} seeds.")
        else:
            notes.append("There is no noise band: the baseline has one seed, so the noise is unknown.")
    references = [
        (run.record.run - _BESIDE, compared.reference_mean, _error_of(compared))
        for run, _ in valued
        if (compared := run.record.verdict.against_baseline)
        and (not compared.reference.startswith("run_0") or compared.reference_mean != level)
    ]
    if references:
        places, means = [at for at, *_ in references], [mean for _, mean, _ in references]
        look: dict[str, Any] = {"marker": "D", "facecolors": "none", "edgecolors": PALETTE["muted"], "s": 26, "zorder": 3}
        axes.scatter(places, means, label="its reference", **look)
        _bars(axes, [each for each in references if each[2]], "muted")
        notes.append(
            "A reference is drawn where it is not the dashed line: the baseline at the run's final seeds, or a control."
        )
    single = [(run.record.run, value) for run, _ in valued for value in run.values(primary.name)]
    if single:
        runs, values = zip(*single, strict=True)
        axes.scatter(runs, values, s=9, color=PALETTE["other"], label="one seed", zorder=2)
    errors = {row.run: row.error for row in campaign.status.rows if row.attempt is None and row.error}
    known = [(run.record.run, value, errors[run.record.run]) for run, value in valued if run.record.run in errors]
    if known:
        _bars(axes, known, "ink")
    _points(axes, campaign, [(run, float(run.record.run), value) for run, value in valued])
    target = _target(axes, primary, [value for run, value in valued])
    without = [run.record for run in campaign.runs if run.value(primary.name) is None]
    for record in without:
        axes.plot(record.run, 0.03, marker="x", color=PALETTE["muted"], transform=axes.get_xaxis_transform(), clip_on=False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    axes.set_xlim(-0.5, max(len(campaign.runs) - 0.5, 1.5))
    axes.set_xlabel("run")
    axes.set_ylabel(label(primary))
    legend(figure)
    if target:
        notes.append(target)
    if without:
        notes.append(f"A cross at the bottom is a run without a value ({_runs([r.run for r in without])}).")
    if known:
        notes.append(PLUS_MINUS.replace("± is", "Error bars are"))
    if primary.label:
        notes.insert(0, f"{line(primary.label)[:1].upper()}{line(primary.label)[1:]}.")
    shown = [f"run {run.record.run} {number(value)}" for run, value in valued]
    return figure, " ".join(notes), _listed(shown, [value for _, value in valued])


def _error_of(compared: ComparisonRecord) -> float | None:
    """Standard error of the reference's mean."""
    return compared.reference_sd / math.sqrt(compared.reference_seeds) if compared.reference_sd else None


def _bars(axes: Axes, points: Sequence[tuple[float, float, float | None]], colour: str) -> None:
    """Error bars of points, each with its error."""
    if points:
        xs, ys, errors = zip(*points, strict=True)
        axes.errorbar(xs, ys, yerr=errors, fmt="none", ecolor=PALETTE[colour], elinewidth=1.1, capsize=3, zorder=2)


def _frontier(campaign: CampaignData, primary: Metric, other: Metric) -> Drawing:
    figure, axes = new_figure()
    points = [
        (run, x, y)
        for run in campaign.runs
        if (x := run.value(other.name)) is not None and (y := run.value(primary.name)) is not None
    ]
    front = _front([p for p in points if _stands_out(campaign, p[0])], primary, other)
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
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.set_xlabel(label(other))
    axes.set_ylabel(label(primary))
    legend(figure)
    caption = "Numbers are runs; 0 is the baseline. "
    if other.better is None and (other.name == primary.moves_with or other.guard is not None):
        caption += f"{as_written(line(other.name))} is a constraint, not an objective: compare runs at the same value."
    elif other.better is None:
        caption += f"{as_written(line(other.name))} has no direction in the contract: it is context."
    else:
        better = [run.record.run for run, *_ in front if run.record.run]
        if len(front) > 1:
            caption += (
                "The frontier joins the baseline and the runs significantly better than it, but for those that another one "
                "beats in both."
            )
        elif better:
            caption += f"Run {better[0]} is significantly better than the baseline, and no such run beats it in either."
        else:
            caption += "No frontier is drawn, since no run is significantly better than the baseline."
    if elsewhere:
        caption += " Open diamonds are the baseline’s code at other settings, with a line through what it reaches."
    shown = [f"run {run.record.run} at {number(x)}, {number(y)}" for run, x, y in points]
    shown += [f"the baseline elsewhere at {number(x)}, {number(y)}" for x, y in elsewhere]
    return figure, caption, _listed(shown, [*(y for _, _, y in points), *(y for _, y in elsewhere)])


def _worth_drawing(campaign: CampaignData) -> list[str]:
    """Of the quantities in the training logs those that the abort rules watch, then what a run logs and the baseline does
    not, which its idea is about, then the others that differ between runs."""
    watched = [rule.key for rule in campaign.contract.abort]
    logged = [key for run in campaign.runs for key in run.curves]
    of_ideas = [key for key in logged if key not in campaign.runs[0].curves]
    keys = dict.fromkeys([*watched, *of_ideas, *logged])
    found = []
    for key in keys:
        curves = [curve for _, curve in _curves(campaign, key)]
        differ = len({curve.values for curve in curves}) > 1 or len(curves) == 1
        if differ and any(_range(curve.values) > _STILL for curve in curves):
            found.append(key)
    return found


def _curves(campaign: CampaignData, key: str) -> list[tuple[Run, Curve]]:
    return [(run, run.curves[key]) for run in campaign.runs if key in run.curves and len(run.curves[key].values) > 1]


def _training(campaign: CampaignData, key: str) -> Drawing:
    curves, best = _curves(campaign, key), campaign.best
    figure, axes = new_figure()
    others = [run.record.run for run, _ in curves if run.record.run and run is not best]
    left_out, others = others[:-_MOST_LINES], others[-_MOST_LINES:]
    curves = [(run, curve) for run, curve in curves if run.record.run not in left_out]
    for run, curve in sorted(curves, key=lambda pair: (pair[0] is best, pair[0].record.run == 0)):
        is_best = best is not None and run.record.run == best.record.run
        named = {0: "baseline"}.get(run.record.run, f"run {run.record.run}, the best" if is_best else "other runs")
        style: dict[str, Any] = {"color": PALETTE["other"], "linewidth": 0.9, "zorder": 1}
        if run.record.run in others and len(others) <= len(_LINES):
            named, style["linestyle"] = f"run {run.record.run}", _LINES[others.index(run.record.run)]
        if run.record.run == 0:
            style = {"color": PALETTE["muted"], "linewidth": 1.4, "linestyle": "--", "zorder": 2}
        elif is_best:
            style = {"color": PALETTE["accent"], "linewidth": 1.6, "zorder": 3}
        steps, values = _thinned(curve.steps, curve.values)
        axes.plot(steps, values, label=named, **style)
    every = [value for _, curve in curves for value in curve.values]
    if min(every) > 0 and max(every) / min(every) > _WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(every) / min(every) < _MANY_DECADES else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel(clip(xml(as_written(line(key))), LONGEST_LABEL))
    legend(figure)
    last = [f"run {run.record.run} ends at {number(curve.values[-1])}" for run, curve in curves]
    caption = "As each run logged it: where a run changed what the quantity is, levels do not compare."
    if axes.get_yscale() == "log":
        caption += " Logarithmic axis."
    if left_out:
        caption += f" Of other runs the last {len(others)} are drawn."
    return figure, caption, _listed(last, [curve.values[-1] for _, curve in curves])


def _points(axes: Axes, campaign: CampaignData, points: Sequence[tuple[Run, float, float]]) -> None:
    """Runs by what may be said of them."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for run, x, y in points:
        if run.record.run == 0:
            kind = "baseline"
        elif not run.is_evidence:
            kind = "not judged"
        else:
            kind = "improved" if TONES.get(campaign.verdict(run)) == "good" else "run"
        groups.setdefault(kind, []).append((x, y))
    looks: dict[str, dict[str, Any]] = {
        "baseline": {"marker": "D", "color": PALETTE["muted"], "s": 30},
        "run": {"marker": "o", "color": PALETTE["accent"], "s": 34},
        "improved": {"marker": "^", "color": PALETTE["good"], "s": 46},
        "not judged": {"marker": "s", "facecolors": "none", "edgecolors": PALETTE["muted"], "s": 38},
    }
    for kind, look in looks.items():
        if kind in groups:
            axes.scatter(*zip(*groups[kind], strict=True), label=kind, zorder=3, **look)
    best = campaign.best
    found = [(x, y) for run, x, y in points if best is not None and run.record.run == best.record.run]
    if found:
        ring: dict[str, Any] = {"facecolors": "none", "edgecolors": PALETTE["ink"], "s": 110, "linewidths": 1.1}
        axes.scatter(*zip(*found, strict=True), label="best", zorder=4, **ring)


def _target(axes: Axes, primary: Metric, values: Sequence[float]) -> str:
    """Draws the target where it is near enough; else what to say of it."""
    if primary.target is None:
        return ""
    low, high = min(values), max(values)
    reach = (high - low) or abs(high) or 1.0
    if low - _FAR * reach <= primary.target <= high + _FAR * reach:
        axes.axhline(primary.target, color=PALETTE["good"], linestyle=":", linewidth=1.6, label="target")
        return ""
    return f"The target, {number(primary.target)}, lies far {'below' if primary.target < low else 'above'} what is drawn."


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
        side: Any = {"xytext": (8, 4), "ha": "left"} if not close else {"xytext": (-8, 4), "ha": "right"}
        axes.annotate(str(run.record.run), (x, y), textcoords="offset points", fontsize=9.5, **side)


def _stands_out(campaign: CampaignData, run: Run) -> bool:
    """Whether a frontier may rest on it: the baseline, and what is significantly better than it."""
    return run.record.run == 0 or (run.is_evidence and campaign.verdict(run) in ("improved", "trade_off"))


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


def is_same(campaign: CampaignData, metric: Metric) -> bool:
    """Whether all runs, and the baseline elsewhere, have about the same value."""
    values = [value for run in campaign.runs if (value := run.value(metric.name)) is not None]
    values += [value for each in all_references(campaign) if (value := each.mean(metric.name)) is not None]
    return not values or _range(values) < _SAME


def _listed(shown: Sequence[str], values: Sequence[float]) -> str:
    if len(shown) <= _MOST_IN_ALT:
        return "; ".join(shown) + "."
    return f"{len(shown)} runs from {number(min(values))} to {number(max(values))}; the table of runs has the numbers."


def _runs(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MOST_IN_ALT]))
    return f"run{'s' if len(numbers) > 1 else ''} {shown}" + (" and more" if len(numbers) > _MOST_IN_ALT else "")
