"""How far verdicts can be relied on: the shipped decisions, fed with simulated campaigns.

    python bench/verdicts.py            a few minutes on one core
    python bench/verdicts.py --quick    4 campaigns of each kind
    python bench/verdicts.py --rounds   those in rounds alone

A campaign has ten runs, its baseline ten seeds. `harness.statistics.ledger.Ledger` decides, as it does in the loop, how many
seeds a run gets, whether it is executed at final seeds, and what the verdict is. The agent builds each run on the one that
looks best so far, lucky or not; in rounds (width 4) it proposes four runs from that one before the first of them is judged.
Three rules stand beside each other:

- final: stages of 1 and 3 seeds, then 10 final seeds with baseline and parent beside (the default);
- ten: stages of 1, 3 and 10 seeds at which all runs and the baseline are executed, unpaired (`final_seeds = 0`);
- three: the same with 1 and 3 seeds, for profiles whose executions are dear.

What a seed does to a run: `correlation` is how far run and baseline go together at a seed, `kept` how much a run keeps of
its parent's own deviation at a seed. Both are correlations of normal values that are then given the shape of the noise:
Gaussian; measured (60 seeds of the synthetic experiment's absorption, `bench/data/synthetic_seeds.json`, smoothed); skewed
(lognormal, where luck looks good and where it looks bad); heavy-tailed (t, 3 degrees of freedom); widened (a run's own noise
is twice the baseline's). Effects are in standard deviations between seeds.

- False: campaigns in which a run that does nothing on top of its parent is called improved, or one that is worth no more
  than the baseline is found better than that; with the upper 95 % limit (Clopper and Pearson).
- Found: the one improvement, at a random place, is called improved or better than the baseline.
- Older way: one seed each, and a number better than the baseline's is an improvement.

The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtr, stdtrit

from harness.statistics.comparison import Comparison, Direction, Uncompared
from harness.statistics.ledger import ALPHA, FinalSeeds, Judgement, Ledger, Seeds
from harness.statistics.noise import NoiseProfile

Floats = npt.NDArray[np.float64]
Shape = Callable[[Floats], Floats]

DATA = Path(__file__).resolve().parent / "data" / "synthetic_seeds.json"
METRIC = "absorption"
RUNS, BASELINE_SEEDS, FINAL_SEEDS = 10, 10, 10
ROUND = 4
"""Runs of a round, where they are proposed in rounds."""
RULES: dict[str, tuple[int, ...]] = {"final": (1, 3), "ten": (1, 3, 10), "three": (1, 3)}
"""The stages of each rule."""
LIMIT = 0.055
CAMPAIGNS, QUICK = 1_000, 4


def gaussian(normal: Floats) -> Floats:
    return normal


def lognormal(normal: Floats) -> Floats:
    """Skew 1.75."""
    sigma2 = 0.25
    spread = math.sqrt((math.exp(sigma2) - 1) * math.exp(sigma2))
    values: Floats = (np.exp(math.sqrt(sigma2) * normal) - math.exp(sigma2 / 2)) / spread
    return values


def t3(normal: Floats) -> Floats:
    values: Floats = stdtrit(3, ndtr(normal)) / math.sqrt(3)
    return values


def measured(values: Floats) -> Shape:
    """The quantiles of seeds that were measured, smoothed with a kernel's width (Silverman), scaled to mean 0 and sd 1."""
    centred = (values - values.mean()) / values.std()
    width = 0.9 * len(values) ** -0.2
    at = np.linspace(-8, 8, 1601)
    below = ndtr((at[:, None] - centred[None, :]) / width).mean(axis=1)
    scale = math.sqrt(1 + width**2)

    def shape(normal: Floats) -> Floats:
        values: Floats = np.interp(ndtr(normal), below, at) / scale
        return values

    return shape


def measured_seeds() -> Floats:
    data = json.loads(DATA.read_text(encoding="utf-8"))
    return np.array([metrics[METRIC] for metrics in data["seeds"].values()])


@dataclass(frozen=True)
class Kind:
    """A kind of campaigns that is simulated."""

    noise: str
    shape: Shape
    effect: float = 0.0
    kept: float = 0.0
    correlation: float = 0.0
    better: Direction = "higher"
    widened: float = 1.0
    width: int = 1
    """Runs of a round: all from the run that looks best when it begins."""


@dataclass
class Tally:
    """What happened in campaigns of one kind under one rule."""

    campaigns: int
    false: int = 0
    found: int = 0
    tested: int = 0
    executions: int = 0
    older_false: int = 0
    steady: int = 0
    """Runs that are not compared because their seeds scatter too little."""
    reported: list[float] = field(default_factory=list)
    shrunk: list[float] = field(default_factory=list)
    covered: int = 0
    """Improvements that were found and whose interval holds the true effect."""

    @property
    def share_false(self) -> float:
        return self.false / self.campaigns

    @property
    def limit(self) -> float:
        """Upper 95 % limit of the share of campaigns with a false alarm."""
        return float(betaincinv(self.false + 1, self.campaigns - self.false, 0.95))


@dataclass
class _Run:
    """A run of a simulated campaign: what it is worth, its own deviations at the shared seeds, and how it looks."""

    name: str
    level: float
    own: Floats
    looks: float


class _Campaign:
    """One simulated campaign under one rule; `normal` gives its chance."""

    def __init__(self, kind: Kind, rule: str, normal: Iterator[float], place: int | None, tally: Tally) -> None:
        self.kind, self.rule, self.tally, self.place = kind, rule, tally, place
        self._normal = normal
        self._sign = -1.0 if kind.better == "lower" else 1.0
        self.ledger = Ledger(kind.better, RUNS, stages=RULES[rule], final=rule == "final")

    def play(self) -> None:
        tally = self.tally
        shared = self._draw(BASELINE_SEEDS)
        baseline = self._values(shared, None, 0.0)
        self.ledger.measure("run_0", dict(enumerate(baseline)))
        tally.executions += BASELINE_SEEDS
        runs = [_Run("run_0", 0.0, shared, sum(baseline) / len(baseline))]
        false = found = older = False
        for first in range(1, RUNS + 1, self.kind.width):
            parent = max(runs, key=lambda run: self._sign * run.looks)
            begun = [self._begin(number, parent, shared) for number in range(first, min(first + self.kind.width, RUNS + 1))]
            # What is executed for a run of a round was decided before any of them was judged.
            for run, values, got, final in begun:
                older |= not run.level and self._sign * values[0] > self._sign * baseline[0]
                judgement = self._judge(run, parent, got, final)
                tally.steady += isinstance(judgement.against_parent, Uncompared)
                improved, effect = judgement.kind == "improved", run.level - parent.level
                worth = isinstance(judgement.against_baseline, Comparison) and judgement.against_baseline.is_better
                better = bool(judgement.error_share) and worth
                false |= (improved and not effect) or (better and not run.level)
                if effect and (improved or better):
                    found = True
                    self._report(judgement, effect)
                runs.append(run)
        tally.false += false
        tally.found += found
        tally.older_false += older

    def _begin(
        self, number: int, parent: _Run, shared: Floats
    ) -> tuple[_Run, list[float], dict[int, float], FinalSeeds | None]:
        """A run, its values at the shared seeds, and those of them that it is executed at, with its final seeds."""
        effect = self._sign * self.kind.effect if number - 1 == self.place else 0.0
        run = _Run(f"run_{number}", parent.level + effect, self._own(parent, BASELINE_SEEDS), 0.0)
        values = self._values(shared, run.own, run.level)
        got: dict[int, float] = {}
        while (wanted := self.ledger.seeds_wanted(run.name, got, parent.name, "run_0")) > len(got):
            got = dict(enumerate(values[:wanted]))
        self.tally.executions += len(got)
        final = None
        if (
            self.rule == "final"
            and len(got) == RULES["final"][-1]
            and self.ledger.goes_on(run.name, got, parent.name, "run_0")
        ):
            final = self._final_seeds(run, parent)
            self.tally.executions += FINAL_SEEDS * (1 + len(final.beside))
        return run, values, got, final

    def _judge(self, run: _Run, parent: _Run, got: Seeds, final: FinalSeeds | None) -> Judgement:
        shown = [*(final.values if final else got).values()]
        run.looks = sum(shown) / len(shown)
        judgement = self.ledger.judge(run.name, got, parent=parent.name, baseline="run_0", final=final)
        self.tally.tested += judgement.error_share > 0
        return judgement

    def _final_seeds(self, run: _Run, parent: _Run) -> FinalSeeds:
        """At seeds that none used before: whatever a run has of its parent it has of the parent's deviation there."""
        base, theirs = self._draw(FINAL_SEEDS), self._draw(FINAL_SEEDS)
        from_baseline = parent.name == "run_0"
        own = self._draw(FINAL_SEEDS) if from_baseline else self._mixed(theirs, FINAL_SEEDS)
        beside = {"run_0": self._values(base, None, 0.0)}
        if not from_baseline:
            beside[parent.name] = self._values(base, theirs, parent.level)
        seeds = {name: dict(enumerate(values, 1_000)) for name, values in beside.items()}
        return FinalSeeds(dict(enumerate(self._values(base, own, run.level), 1_000)), seeds)

    def _own(self, parent: _Run, count: int) -> Floats:
        return self._draw(count) if parent.name == "run_0" else self._mixed(parent.own, count)

    def _mixed(self, parent: Floats, count: int) -> Floats:
        kept = self.kind.kept
        return kept * parent + math.sqrt(1 - kept**2) * self._draw(count)

    def _values(self, base: Floats, own: Floats | None, level: float) -> list[float]:
        """What the baseline (`own` is None) or a run shows at seeds where the baseline's chance is `base`."""
        if own is None:
            return [*map(float, self.kind.shape(base))]
        together = self.kind.correlation
        noise = self.kind.shape(together * base + math.sqrt(1 - together**2) * own)
        return [*map(float, level + self.kind.widened * noise)]

    def _draw(self, count: int) -> Floats:
        return np.fromiter(self._normal, float, count)

    def _report(self, judgement: Judgement, effect: float) -> None:
        compared = judgement.against_parent
        if isinstance(compared, Comparison) and judgement.kind == "improved":
            low, high = compared.interval
            self.tally.reported.append(abs(compared.difference))
            self.tally.shrunk.append(abs(compared.estimate))
            self.tally.covered += low <= effect <= high


def simulate(kind: Kind, rule: str, campaigns: int) -> Tally:
    """`campaigns` campaigns with one run of `kind.effect` at a random place, or none where it is 0."""
    of_rounds = [kind.width] if kind.width > 1 else []
    rng = np.random.default_rng([int(10 * kind.effect), int(10 * kind.kept), int(10 * kind.correlation), *of_rounds])
    tally = Tally(campaigns)
    for place in rng.integers(0, RUNS, campaigns).tolist():
        _Campaign(kind, rule, _normals(rng), place if kind.effect else None, tally).play()
    return tally


def _normals(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.standard_normal(512).tolist()


def kinds(seeds: Floats) -> list[Kind]:
    shapes: list[tuple[str, Shape, Direction, float]] = [
        ("gaussian", gaussian, "higher", 1.0),
        ("measured", measured(seeds), "lower", 1.0),
        ("skewed, luck looks good", lognormal, "higher", 1.0),
        ("skewed, luck looks bad", lognormal, "lower", 1.0),
        ("heavy-tailed", t3, "higher", 1.0),
        ("widened", gaussian, "higher", 2.0),
    ]
    some = (0.0, 0.5, 0.9)
    found = [
        Kind(noise, shape, 0.0, kept, correlation, better, widened)
        for noise, shape, better, widened in shapes
        for kept in some
        for correlation in some
    ]
    found += [
        Kind(noise, shape, effect, 0.5, correlation, better)
        for noise, shape, better, _ in shapes[:2]
        for effect in (1.0, 2.0, 3.0)
        for correlation in some
    ]
    in_rounds = [
        Kind(noise, shape, 0.0, kept, correlation, better, widened, ROUND)
        for noise, shape, better, widened in shapes
        for kept, correlation in ((0.0, 0.0), (0.5, 0.5), (0.9, 0.9))
    ]
    with_effect = [Kind("gaussian", gaussian, effect, 0.5, 0.5, width=ROUND) for effect in (1.0, 2.0, 3.0)]
    return found + in_rounds + with_effect


def main(quick: bool, rounds: bool) -> None:
    started = time.monotonic()
    seeds = measured_seeds()
    profile = NoiseProfile.of(seeds.tolist())
    print(f"{len(seeds)} measured seeds: {METRIC} {seeds.mean():.4f}, sd {profile.sd:.4f}, skew {profile.skew:.2f}")
    print()
    print(f"{'':31}corre-{'':15}false improved (limit)   older         found        executions")
    print(f"{'noise':<24}kept  lation effect width  final          ten  three    way   final   ten three final  ten three")
    rows: list[dict[str, Any]] = []
    for kind in kinds(seeds):
        if rounds and kind.width == 1:
            continue
        tallies = {
            rule: simulate(kind, rule, QUICK if quick else CAMPAIGNS // (1 if rule == "final" else 4)) for rule in RULES
        }
        rows.append(_row(kind, tallies))
        print(_line(rows[-1]), flush=True)
    worst = max(row["final"]["false_limit"] for row in rows)
    passed = None if quick else worst <= LIMIT
    said = {True: "Passed", False: "FAILED", None: "Not judged: too few campaigns"}[passed]
    print(
        f"\n{said}: with final seeds a run that does nothing is called improved in at most {worst:.1%} of campaigns "
        f"(upper limit); {LIMIT:.1%} are allowed."
    )
    figures = {
        "bench": "verdicts",
        "runs": RUNS,
        "baseline_seeds": BASELINE_SEEDS,
        "final_seeds": FINAL_SEEDS,
        "measured_seeds": len(seeds),
        "alpha": ALPHA,
        "passed": passed,
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    print(json.dumps(figures))
    if passed is False:
        raise SystemExit(1)


def _row(kind: Kind, tallies: dict[str, Tally]) -> dict[str, Any]:
    said = {name: value for name, value in asdict(kind).items() if name not in ("shape", "better")}
    return said | {rule: _figures(kind, tally) for rule, tally in tallies.items()}


def _figures(kind: Kind, tally: Tally) -> dict[str, Any]:
    n, found = tally.campaigns, bool(tally.reported)
    return {
        "campaigns": n,
        "false": round(tally.share_false, 4),
        "false_limit": round(tally.limit, 4),
        "found": round(tally.found / n, 4) if kind.effect else None,
        "older_false": round(tally.older_false / n, 4),
        "tested": round(tally.tested / n, 2),
        "executions": round(tally.executions / n, 1),
        "steady": round(tally.steady / n / RUNS, 5),
        "measured": round(float(np.mean(tally.reported)), 2) if found else None,
        "shrunk": round(float(np.mean(tally.shrunk)), 2) if found else None,
        "held": round(tally.covered / len(tally.reported), 4) if found else None,
    }


def _line(row: dict[str, Any]) -> str:
    false = " ".join(
        f"{row[rule]['false']:>6.1%}" + (f" ({row[rule]['false_limit']:.1%})" if rule == "final" else "") for rule in RULES
    )
    found = " ".join("    -" if row[rule]["found"] is None else f"{row[rule]['found']:>5.0%}" for rule in RULES)
    spent = " ".join(f"{row[rule]['executions']:>5.0f}" for rule in RULES)
    return (
        f"{row['noise']:<24}{row['kept']:>4} {row['correlation']:>7} {row['effect']:>6.0f} {row['width']:>5} {false}"
        f" {row['final']['older_false']:>6.0%}   {found} {spent}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 campaigns of each kind")
    parser.add_argument("--rounds", action="store_true", help="those in rounds alone")
    main(**vars(parser.parse_args()))
