"""Which way of proposing comes nearest to the best at equal executions: a chain, rounds, independent proposals, TPE.

    python bench/search.py            some minutes on one core
    python bench/search.py --quick    2 campaigns of each kind

A campaign searches three values between 0 and 1. Its baseline is worth 0, the best is worth 1: one effect size. What a seed
adds has a standard deviation of half an effect size or of two; half of its variance is shared by all that is executed at the
seed. `harness.statistics.ledger.Ledger` decides, as it does in the loop, how many seeds a run gets, if it is executed at
final seeds with its references beside it, and whether it is accepted. A campaign ends when its executions are spent (a run
that they do not suffice for is none), so what differs is what is proposed, and from where:

- chain: each run starts from the best accepted one (`--width 1`);
- 2, 4, 8 at once: rounds of that width, which start from the best accepted run and are judged by what was known before them;
- independent: every run starts from the baseline;
- TPE: `--agent search:tpe`, by the values measured so far.

All but TPE propose alike: half of the proposals are a small step from where they start, half are anywhere.

Smooth: one hill. Step: flat, but for a fifth of the space, which is the best. Deceptive: a low hill beside the baseline
leads away from a high one. Regret is 1 minus what the selected run is worth, on average; the baseline's is 1. Rounds: how
many follow each other, which is the time that a campaign takes where there are slots for a whole round.

The recommended width is the largest whose regret, over all landscapes and noises, is not significantly above the chain's.
The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.agents.search_study import Tried, propose
from harness.campaign.search_space import SearchSpec
from harness.statistics.ledger import FinalSeeds, Ledger, Seeds

Floats = npt.NDArray[np.float64]
Landscape = Callable[[Floats], float]

BUDGET, PLANNED, BASELINE_SEEDS, FINAL_SEEDS = 120, 20, 10, 10
"""Executions beside the baseline's, and the runs among which error is shared."""
STAGES = (1, 3)
NOISES = (0.5, 2.0)
WIDTHS = {"chain": 1, "2 at once": 2, "4 at once": 4, "8 at once": 8, "independent": 8, "TPE": 1}
SHARED = 0.5
ONE_SIDED = 1.645
"""Standard errors that are significant, one-sided at 5 %."""
STEP = 0.1
CAMPAIGNS, QUICK = 250, 2
START = np.array([0.25, 0.3, 0.35])
BEST = np.array([0.8, 0.7, 0.6])
NEAR = np.array([0.15, 0.25, 0.3])
SPACE = {name: SearchSpec(low=0.0, high=1.0) for name in "abc"}


def smooth(x: Floats) -> float:
    return max(-1.0, 1.0 - float(((x - BEST) ** 2).sum() / ((START - BEST) ** 2).sum()))


def step(x: Floats) -> float:
    return float(x[0] > 0.6 and x[1] > 0.5)


def deceptive(x: Floats) -> float:
    def height(x: Floats) -> float:
        low, high = (math.exp(-float(((x - top) ** 2).sum()) / (2 * width**2)) for top, width in ((NEAR, 0.15), (BEST, 0.2)))
        return max(0.4 * low, high)

    return (height(x) - height(START)) / (1.0 - height(START))


LANDSCAPES: dict[str, Landscape] = {"smooth": smooth, "step": step, "deceptive": deceptive}


@dataclass
class _Run:
    """A run: where it is, what it is worth, and how it looks."""

    name: str
    x: Floats
    worth: float
    looks: float = 0.0
    accepted: bool = False


class _Campaign:
    """One campaign of a strategy; larger is better."""

    def __init__(self, landscape: Landscape, noise: float, strategy: str, rng: np.random.Generator) -> None:
        self.landscape, self.noise, self.strategy, self.rng = landscape, noise, strategy, rng
        self.ledger = Ledger("higher", PLANNED, stages=STAGES, final=True)
        self.seeds: dict[int, float] = {}
        self.executions = self.rounds = self.drawn = 0
        self.runs = [_Run("run_0", START, landscape(START), accepted=True)]

    def play(self) -> _Run:
        """Returns the run that is selected."""
        baseline = self._values(self.runs[0], range(BASELINE_SEEDS))
        self.runs[0].looks = sum(baseline.values()) / BASELINE_SEEDS
        self.ledger.measure("run_0", baseline)
        while self.executions <= BUDGET:
            parent = self.runs[0] if self.strategy == "independent" else self._best()
            begun: list[tuple[_Run, Seeds, FinalSeeds | None]] = []
            while len(begun) < WIDTHS[self.strategy] and self.executions <= BUDGET:
                x = self._proposal(parent)
                run = _Run(f"run_{len(self.runs) + len(begun)}", x, self.landscape(x))
                begun.append((run, *self._execute(run, parent)))
            if self.executions > BUDGET:
                begun.pop()
            # What is executed for a run of a round was decided before any of them was judged.
            for run, got, final in begun:
                shown = [*(final.values if final else got).values()]
                run.looks = sum(shown) / len(shown)
                judgement = self.ledger.judge(run.name, got, parent=parent.name, baseline="run_0", final=final)
                run.accepted = judgement.accepted
                self.runs.append(run)
            self.rounds += bool(begun)
        return self._best()

    def _best(self) -> _Run:
        accepted = [run for run in self.runs[1:] if run.accepted]
        return max(accepted, key=lambda run: run.looks, default=self.runs[0])

    def _proposal(self, parent: _Run) -> Floats:
        if self.strategy == "TPE":
            tried = [Tried(dict(zip(SPACE, map(float, run.x), strict=True)), run.looks) for run in self.runs]
            values = propose(SPACE, tried, "tpe", max(2, PLANNED // 4) + 1, int(self.rng.integers(2**31)), False)
            return np.array([float(values[name]) for name in SPACE])
        if self.rng.random() < 0.5:
            near: Floats = np.clip(parent.x + STEP * self.rng.standard_normal(3), 0.0, 1.0)
            return near
        return self.rng.random(3)

    def _execute(self, run: _Run, parent: _Run) -> tuple[Seeds, FinalSeeds | None]:
        got: dict[int, float] = {}
        while (wanted := self.ledger.seeds_wanted(run.name, got, parent.name, "run_0")) > len(got):
            more = self._values(run, range(len(got), wanted))
            self.executions += len(more)
            got |= more
        if len(got) < STAGES[-1] or not self.ledger.goes_on(run.name, got, parent.name, "run_0"):
            return got, None
        self.drawn += 1
        final = range(1_000 * self.drawn, 1_000 * self.drawn + FINAL_SEEDS)
        references = [self.runs[0]] if parent is self.runs[0] else [self.runs[0], parent]
        beside = {each.name: self._values(each, final) for each in references}
        self.executions += FINAL_SEEDS * (1 + len(beside))
        return got, FinalSeeds(self._values(run, final), beside)

    def _values(self, run: _Run, seeds: range) -> dict[int, float]:
        for seed in seeds:
            if seed not in self.seeds:
                self.seeds[seed] = float(self.rng.standard_normal())
        own = self.rng.standard_normal(len(seeds)).tolist()
        return {
            seed: run.worth + self.noise * (math.sqrt(SHARED) * self.seeds[seed] + math.sqrt(1 - SHARED) * each)
            for seed, each in zip(seeds, own, strict=True)
        }


def simulate(landscape: str, noise: float, strategy: str, campaigns: int) -> dict[str, Any]:
    """What `campaigns` campaigns of a strategy come to."""
    rng = np.random.default_rng([[*LANDSCAPES].index(landscape), int(10 * noise), [*WIDTHS].index(strategy)])
    regrets, rounds, runs = [], [], []
    for _ in range(campaigns):
        campaign = _Campaign(LANDSCAPES[landscape], noise, strategy, rng)
        regrets.append(1.0 - campaign.play().worth)
        rounds.append(campaign.rounds)
        runs.append(len(campaign.runs) - 1)
    return {
        "landscape": landscape,
        "noise": noise,
        "strategy": strategy,
        "campaigns": campaigns,
        "regret": round(float(np.mean(regrets)), 4),
        "error": round(float(np.std(regrets, ddof=1) / math.sqrt(campaigns)), 4),
        "rounds": round(float(np.mean(rounds)), 1),
        "runs": round(float(np.mean(runs)), 1),
    }


def recommended(rows: list[dict[str, Any]]) -> tuple[int, dict[str, tuple[float, float]]]:
    """The largest width that is not significantly worse than the chain, and the regret of each strategy with its error."""
    overall = {}
    for strategy in WIDTHS:
        own = [row for row in rows if row["strategy"] == strategy]
        error = math.sqrt(sum(row["error"] ** 2 for row in own)) / len(own)
        overall[strategy] = (sum(row["regret"] for row in own) / len(own), error)
    chain, error = overall["chain"]
    as_good = [
        WIDTHS[strategy]
        for strategy in ("chain", "2 at once", "4 at once", "8 at once")
        if overall[strategy][0] - chain <= ONE_SIDED * math.hypot(overall[strategy][1], error)
    ]
    return max(as_good), overall


def rows_of(campaigns: int) -> Iterator[dict[str, Any]]:
    for landscape in LANDSCAPES:
        for noise in NOISES:
            for strategy in WIDTHS:
                yield simulate(landscape, noise, strategy, campaigns)


def main(quick: bool) -> None:
    started = time.monotonic()
    rows: list[dict[str, Any]] = []
    print(f"Regret after {BUDGET} executions beside the baseline's")
    print(f"{'landscape':<10} {'noise':>5}  {'strategy':<12} {'regret':>15} {'runs':>6} {'rounds':>7}")
    for row in rows_of(QUICK if quick else CAMPAIGNS):
        rows.append(row)
        regret = f"{row['regret']:.3f} ± {row['error']:.3f}"
        where = f"{row['landscape']:<10} {row['noise']:>5}  {row['strategy']:<12}"
        print(f"{where} {regret:>15} {row['runs']:>6} {row['rounds']:>7}", flush=True)
    width, overall = recommended(rows)
    print("\nover all: " + "; ".join(f"{name} {regret:.3f} ± {error:.3f}" for name, (regret, error) in overall.items()))
    print(f"Recommended: --width {width}" if not quick else "Not judged: too few campaigns")
    figures = {
        "bench": "search",
        "budget": BUDGET,
        "recommended": None if quick else width,
        "overall": {name: [round(regret, 4), round(error, 4)] for name, (regret, error) in overall.items()},
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 campaigns of each kind")
    main(parser.parse_args().quick)
