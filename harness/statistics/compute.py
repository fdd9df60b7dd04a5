"""Compute is a guard: what a run spends more than its reference is no part of its idea.

Processor seconds are measured from outside, for all processes of an execution, whatever the experiment says of its steps;
where an accelerator is used, the seconds for which it had a GPU to itself, and nothing where it shared one. A loaded machine
lets the same work take up to a third longer, so the tolerance is not below that; interpreter and imports take a second or
two, which differ by as much as they take, so less than `TOO_SHORT` more is never held against a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from .comparison import GuardViolation

KINDS = {"processor_seconds": "processor time", "device_seconds": "time on a GPU of its own"}
"""Of compute, as records name them, and in words. A reference has one of them, and the run is measured by that."""
TOO_SHORT = 2.0
"""Seconds."""


class ComputeExcess(GuardViolation):
    """More compute than the contract's tolerance: `change` and `limit` are multiples of the reference's."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"at {self.change:.1f}x compute ({self.against}; limit {self.limit:g}x)"


def compute_excess(
    run: Sequence[float], reference: Sequence[float], tolerance: float, kind: str = "processor_seconds"
) -> ComputeExcess | None:
    """Seconds of executions, one a seed; None where the run stayed within, or either is not measured."""
    if not run or not reference:
        return None
    mine, theirs = _typical(run, reference)
    if mine <= tolerance * theirs or mine - theirs < TOO_SHORT:
        return None
    spent = f"{mine:.3g} s of {KINDS[kind]} against {theirs:.3g} s"
    return ComputeExcess("compute", mine / theirs if theirs else float("inf"), tolerance, spent)


def kind_of(measured: object) -> str:
    """How the compute of a reference was measured."""
    return next((kind for kind in KINDS if getattr(measured, kind)), "processor_seconds")


def multiple(run: Sequence[float], reference: Sequence[float]) -> float | None:
    """The run's seconds as a multiple of its reference's: 1 where they differ by less than `TOO_SHORT`, None where
    one of them was not measured."""
    if not run or not reference or min(reference) <= 0:
        return None
    mine, theirs = _typical(run, reference)
    return mine / theirs if abs(mine - theirs) >= TOO_SHORT else 1.0


def _typical(run: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Of the run the mean: one that spends ten times as much at a third of its seeds pays for that. Of its reference the
    median: what was compiled or fetched at the first of its seeds lets no run spend more."""
    return fmean(run), median(reference)
