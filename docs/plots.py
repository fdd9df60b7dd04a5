"""Draws the plots of docs/evidence.md from what was measured: docs/noise.svg from 60 seeds of the synthetic experiment
(bench/data/synthetic_seeds.json), docs/power.svg from the numbers in docs/benchmarks.md.

    .venv/bin/python docs/plots.py
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

HERE = Path(__file__).resolve().parent
SEEDS = HERE.parent / "bench" / "data" / "synthetic_seeds.json"
BLUE, GREEN, GREY, RED = "#0b5cad", "#1a7f37", "#6e7781", "#b3261e"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "harness",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
RUNS = 10


def absorption() -> list[float]:
    """Of the unmodified experiment, a number a seed."""
    return [each["absorption"] for each in json.loads(SEEDS.read_text())["seeds"].values()]


def best_of_ten(values: list[float], times: int = 4000) -> list[float]:
    """How much lower than the baseline's one seed the best of ten runs is that change nothing: drawn from `values`."""
    draw = random.Random(0)
    return [min(draw.sample(values, RUNS)) - draw.choice(values) for _ in range(times)]


def power() -> dict[str, list[int]]:
    """How often one real improvement of 1, 2 and 3 standard deviations is found, by correlation at a seed."""
    text = (HERE / "benchmarks.md").read_text()
    rows = re.findall(r"\| ten final seeds, correlation ([\d.]+) \|((?: \d+ % \|){3})", text)
    assert [correlation for correlation, _ in rows] == ["0", "0.5", "0.9"], "docs/benchmarks.md words these rows otherwise"
    return {correlation: [int(each) for each in re.findall(r"\d+", row)] for correlation, row in rows}


def error() -> list[tuple[float, float]]:
    """How many in a hundred campaigns without an effect call some run improved, from and to, by kind of noise."""
    text = (HERE / "benchmarks.md").read_text()
    rows = re.findall(
        r"^\| (?:Gaussian|measured|skewed|heavy-tailed|a change doubles it) \| ([\d.]+) to ([\d.]+) %", text, re.M
    )
    assert len(rows) == 5, "docs/benchmarks.md words these rows otherwise"
    return [(float(low), float(high)) for low, high in rows]


def noise_plot() -> Figure:
    values = absorption()
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(values, bins=14, color=GREY, alpha=0.75)
    left.axvline(sum(values) / len(values), color="black", linestyle="--", linewidth=1.2)
    left.set(xlabel="absorption", ylabel="seeds", title=f"{len(values)} seeds, nothing changed")
    differences = best_of_ten(values)
    right.hist(differences, bins=30, color=RED, alpha=0.7, weights=[100 / len(differences)] * len(differences))
    right.axvline(0, color="black", linestyle="--", linewidth=1.2)
    lower = sum(each < 0 for each in differences) / len(differences)
    right.set(
        xlabel="best of ten runs − baseline, one seed each",
        ylabel="% of campaigns",
        title=f"Best of ten: “better” in {100 * lower:.0f} % of campaigns",
    )
    return figure


def power_plot() -> Figure:
    figure = Figure(figsize=(8.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (correlation, found), colour, mark in zip(power().items(), (GREY, BLUE, GREEN), "osd", strict=True):
        left.plot((1, 2, 3), found, marker=mark, color=colour, label=f"correlation {correlation}")
    left.set(
        xlabel="true improvement, standard deviations of a seed",
        ylabel="% of campaigns that find it",
        title="Power, ten runs, ten final seeds",
        ylim=(0, 104),
        xticks=(1, 2, 3),
    )
    left.legend(loc="lower right")
    names = ("Gaussian", "measured", "skewed", "heavy tails", "doubled noise")
    for place, (low, high) in enumerate(error()):
        right.plot((low, high), (place, place), color=BLUE, linewidth=6, solid_capstyle="butt")
    right.axvline(5, color=RED, linestyle="--", linewidth=1.2)
    right.text(4.9, 4.55, "limit 5 %", color=RED, ha="right")
    right.set(
        xlabel="% of null campaigns with an “improved” run",
        title="Error, by kind of noise",
        yticks=range(len(names)),
        yticklabels=names,
        xlim=(0, 5.4),
        ylim=(-0.6, 5.1),
    )
    return figure


def main() -> None:
    with matplotlib.rc_context(STYLE):
        for name, draw in (("noise", noise_plot), ("power", power_plot)):
            draw().savefig(HERE / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
