"""How small an effect a profile's seeds can find: said before anything is spent on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..campaign.contract import Contract, Profile
from ..campaign.numbers import number, percent
from .ledger import ALPHA, PAIRS, RESERVE, planned_tests
from .noise import PROFILE_DOF, squares_of

POWER = 0.8
LARGE = 2.0
"""An effect of so many standard deviations between seeds is more than most changes have: more seeds are worth their time."""
ENOUGH = 10
"""Final seeds that find a much smaller one."""


def smallest_effect_in_words(contract: Contract, spec: Profile, planned: int, baseline: Sequence[float] = ()) -> str:
    """The smallest effect on the primary metric that a run's test finds in four of five cases, in the metric's unit where
    the noise is stored with the profile or `baseline` shows it; "" without a primary metric."""
    primary = contract.primary
    if primary is None:
        return ""
    found = smallest_effect(spec, planned, primary.name)
    if found is None:
        return (
            f"one each, so no run can be called improved in {primary.name} unless the experiment reports several of its "
            "own: give the profile ([profiles.NAME] in experiment.toml) several, such as baseline_seeds = 3 and "
            "run_seeds = [1, 3]"
        )
    squares, dof = squares_of(baseline) if baseline else (0.0, 0)
    sd = spec.noise[primary.name].sd if primary.name in spec.noise else math.sqrt(squares / dof) if squares else None
    how = f"{spec.final_seeds} final seeds" if spec.has_final_seeds else f"{_count(spec.run_seeds[-1])} a run"

    def size(effect: float) -> str:
        return f"{effect:.2g} standard deviations between seeds" if sd is None else number(effect * sd, 2)

    more = spec.model_copy(
        update={"final_seeds": ENOUGH, "run_seeds": spec.run_seeds if len(spec.run_seeds) > 1 else [1, 3]}
    )
    smaller = smallest_effect(more, planned, primary.name) or found
    stages = "" if more.run_seeds == spec.run_seeds else f"run_seeds = {more.run_seeds} and "
    return (
        f"the smallest improvement of {primary.name} that is found in {percent(POWER)} of cases, with {how} and "
        f"{planned} planned run{'s' if planned > 1 else ''}: about {size(found)}"
        + (f"; {stages}final_seeds = {ENOUGH} in the profile would find {size(smaller)}" if smaller < found > LARGE else "")
    )


def smallest_effect(spec: Profile, planned: int, metric: str) -> float | None:
    """In standard deviations between seeds, where run and baseline do not go together at a seed; None where no test is
    possible. The filter of the stages is not in it."""
    from scipy.special import nctdtrinc, stdtrit

    runs, references = spec.run_seeds[-1], spec.baseline_seeds
    if spec.has_final_seeds:
        runs = references = spec.final_seeds
    stored = PROFILE_DOF if metric in spec.noise else 0
    dof = runs - 1 if spec.has_final_seeds and runs >= PAIRS else runs + references - 2 + stored
    if dof < 1:
        return None
    level = ALPHA * (1 - RESERVE) / planned_tests(planned, final=spec.has_final_seeds)
    # The noncentrality at which Student's t exceeds its threshold in a share POWER of cases.
    noncentral = float(nctdtrinc(dof, 1 - POWER, -stdtrit(dof, level)))
    return noncentral * math.sqrt(1 / runs + 1 / references)


def _count(seeds: int) -> str:
    return f"{seeds} seed{'s' if seeds > 1 else ''}"
