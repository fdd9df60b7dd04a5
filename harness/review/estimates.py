"""Numbers as a write-up prints them: with their noise, and with no digit more than it allows.

What follows ± is the standard error of a mean over seeds. The spread behind it is pooled over all runs that are evidence,
as the verdicts pool it, so a run of one seed has one too; where no run has two seeds the noise is unknown and nothing
follows.
"""

from __future__ import annotations

import math

from ..evidence import decimals
from ..judging import Judging
from ..noise import Noise, NoiseProfile, NoiseUnknown, pool
from ..record import ComparisonRecord
from ..sentence import p_in_words
from ..table import number, row
from .account import Account, Run

NONE = "–"
_STANDARD_ERRORS = 6.0  # that the limits of a difference lie apart, about: enough to say how many digits it is worth


class Estimates:
    """All numbers of one campaign."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._primary = account.primary.name if account.primary else ""
        self.profile = str(account.standing.options.get("profile", ""))
        self.judging = Judging(account.contract, self.profile, account.planned, [run.record for run in account.runs])
        self._pooled: dict[str, Noise | NoiseUnknown] = {}

    def error(self, run: Run, metric: str) -> float | None:
        """Standard error of the run's mean; None where the noise is unknown or the run is no evidence."""
        deviation = self._deviation(run, metric)
        return None if deviation is None else deviation / math.sqrt(seeds_of(run, metric))

    def mean(self, run: Run, metric: str) -> str:
        """`0.112 ± 0.008`, `0.1124` where the noise is unknown, a dash where there is no number."""
        return with_error(run.value(metric), self.error(run, metric))

    def reference(self, run: Run, metric: str) -> str:
        """What the run's number is held against, the baseline's or its control's, in the same way."""
        found = run.record.metrics.get(metric)
        deviation = self._deviation(run, metric)
        if found is None or found.baseline is None:
            return NONE
        if deviation is None:
            return row([found.value, found.baseline])[1]
        return with_error(found.baseline, deviation / math.sqrt(self._reference_seeds(run, metric)))

    def difference(self, run: Run, metric: str) -> str:
        """From what it is held against."""
        found = run.record.metrics.get(metric)
        if found is None or found.difference is None:
            return NONE
        deviation = self._deviation(run, metric)
        if not deviation:
            return signed(found.difference)
        error = deviation * math.sqrt(1 / seeds_of(run, metric) + 1 / self._reference_seeds(run, metric))
        places = decimals(error)
        return f"{rounded(found.difference, places, '+')} ± {error:.{places}f}"

    def _deviation(self, run: Run, metric: str) -> float | None:
        """Standard deviation between seeds."""
        if not run.is_evidence:
            return None
        if metric == self._primary:
            noise = self.judging.noise(run.record.run)
        else:
            if metric not in self._pooled:
                self._pooled[metric] = self._pool(metric)
            noise = self._pooled[metric]
        return noise.sd if isinstance(noise, Noise) else None

    def _pool(self, metric: str) -> Noise | NoiseUnknown:
        profile = self._account.contract.profiles.get(self.profile)
        stored = profile.noise.get(metric) if profile else None
        groups = [run.values(metric) for run in self._account.runs if run.is_evidence and run.values(metric)]
        return pool(groups, NoiseProfile(stored.sd, stored.seeds, stored.skew) if stored else None)

    def _reference_seeds(self, run: Run, metric: str) -> int:
        control = run.record.control
        if control and has_control(run) and control.metrics.get(metric):
            return len(control.metrics[metric])
        return seeds_of(self._account.runs[0], metric)


def counted(count: int, noun: str) -> str:
    """`1 run`, `1,200 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def has_control(run: Run) -> bool:
    """Whether the baseline's code at the run's settings answers for it, instead of the baseline."""
    return run.record.control is not None and not run.record.control.why_none


def seeds_of(run: Run, metric: str) -> int:
    """How many seeds the run's number is a mean over."""
    return len(run.values(metric)) or 1


def with_error(value: float | None, error: float | None) -> str:
    """A number and its standard error."""
    if value is None:
        return NONE
    if not error:
        return number(value).replace("-", "−")
    places = decimals(error)
    return f"{rounded(value, places)} ± {error:.{places}f}"


def rounded(value: float, places: int, sign: str = "-") -> str:
    """With so many decimals and a minus that is one; what is rounded to nothing has no sign."""
    text = f"{value:{sign}.{places}f}"
    return (text if text.strip("+-0.") else text.lstrip("+-")).replace("-", "−")


def signed(difference: float) -> str:
    """With its sign, and a minus that is one."""
    return ("+" if difference > 0 else "−" if difference < 0 else "") + number(abs(difference), 3)


def compared(found: ComparisonRecord | None) -> tuple[str, str, str]:
    """Difference, its limits, and p: as they are on record, with the digits that they are worth."""
    if found is None or found.difference is None or found.low is None or found.high is None:
        return NONE, NONE, NONE
    places = decimals((found.high - found.low) / _STANDARD_ERRORS)
    difference, low, high = (rounded(value, places, "+") for value in (found.difference, found.low, found.high))
    p = NONE if found.p_corrected is None else p_in_words(found.p_corrected)
    return difference, f"{low} to {high}", p
