"""What a search proposes: what was tried before, as a study of Optuna's, and the values that its sampler asks for next."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from ..campaign.search_space import SearchSpec
from .search_values import Value

if TYPE_CHECKING:  # half a second, which only a proposal needs
    import optuna

DIGITS = 4
"""Significant digits of a proposed number: it stands in code that people read."""
_MOST_BROKEN = 1_000
"""More guards than any run breaks."""


@dataclass(frozen=True)
class Tried:
    """What was tried before: its values, and the primary metric where that is a number to go by. `is_running`: it is not
    known yet."""

    values: dict[str, Value]
    outcome: float | None
    is_running: bool = False
    broken: int = 0
    """Guard metrics that fell too far: it is no solution, whatever its primary metric."""
    name: str = ""
    """Of the run or attempt, in words."""

    @property
    def has_failed(self) -> bool:
        return self.outcome is None and not self.is_running


def propose(
    specs: Mapping[str, SearchSpec], before: Sequence[Tried], sampler: str, startup: int, seed: int, is_lower_better: bool
) -> dict[str, Value]:
    """The values that a sampler of Optuna proposes next, after all that was tried before."""
    study = study_of(specs, before, sampler, startup, seed, is_lower_better)
    proposed = study.ask({name: _distribution(spec) for name, spec in specs.items()}).params
    return {name: _rounded(specs[name], value) for name, value in proposed.items()}


def study_of(
    specs: Mapping[str, SearchSpec], before: Sequence[Tried], sampler: str, startup: int, seed: int, is_lower_better: bool
) -> optuna.Study:
    """What was tried as a study of Optuna's, with guards as its constraints."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        samplers: dict[str, optuna.samplers.BaseSampler] = {
            "random": optuna.samplers.RandomSampler(seed=seed),
            "tpe": optuna.samplers.TPESampler(n_startup_trials=startup, constant_liar=True, seed=seed),
        }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=samplers[sampler], direction="minimize" if is_lower_better else "maximize")
    study.add_trials(list(_trials(before, {name: _distribution(spec) for name, spec in specs.items()}, is_lower_better)))
    return study


def _trials(
    before: Sequence[Tried], distributions: Mapping[str, optuna.distributions.BaseDistribution], is_lower_better: bool
) -> Iterator[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState, create_trial

    outcomes = [each.outcome for each in before if each.outcome is not None]
    for each in before:
        if not all(_holds(distributions[name], value) for name, value in each.values.items()):
            continue  # the baseline may lie outside
        # What failed is told as the worst and as breaking more than any guard: Optuna's TPE learns nothing of failed trials.
        yield create_trial(
            state=TrialState.RUNNING if each.is_running else TrialState.COMPLETE,
            value=(max if is_lower_better else min)(outcomes, default=0.0) if each.has_failed else each.outcome,
            params=each.values,
            distributions=dict(distributions),
            constraints={} if each.is_running else {"guards": float(_MOST_BROKEN if each.has_failed else each.broken)},
        )


def _holds(distribution: optuna.distributions.BaseDistribution, value: Value) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:  # no choice, or no number
        return False


def _distribution(spec: SearchSpec) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if spec.low is None or spec.high is None:
        return CategoricalDistribution(spec.choices)
    if spec.is_whole:
        return IntDistribution(int(spec.low), int(spec.high), log=spec.log, step=int(spec.step or 1))
    return FloatDistribution(float(spec.low), float(spec.high), log=spec.log, step=spec.step)


def combinations(specs: Mapping[str, SearchSpec]) -> Iterator[dict[str, Value]]:
    """All that a space of countable values holds."""
    for chosen in product(*map(_values, specs.values())):
        yield dict(zip(specs, chosen, strict=True))


def _values(spec: SearchSpec) -> list[Value]:
    if spec.low is None or spec.high is None:
        return [*spec.choices]
    step = spec.step or 1
    return [_rounded(spec, spec.low + i * step) for i in range(int((spec.high - spec.low) / step + 1e-9) + 1)]


def _rounded(spec: SearchSpec, value: Value) -> Value:
    if not isinstance(value, float) or spec.low is None or spec.high is None:
        return value
    if spec.step is not None:
        return round(value, 12)
    return min(max(float(f"{value:.{DIGITS}g}"), float(spec.low)), float(spec.high))
