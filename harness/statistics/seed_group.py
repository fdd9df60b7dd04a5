"""Whether the executions of one code at several seeds are one group: nothing but the seed differs between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median

from ..campaign.contract import Contract, Setting
from ..campaign.metric_names import is_cost
from ..campaign.numbers import number, setting
from ..campaign.record import Record
from ..results.reading import Results
from .comparability import seed_changes_nothing
from .frontier import NEAR

BySeed = Mapping[int, Results]


def unlike_members(contract: Contract, by_seed: BySeed, baseline: Record | None) -> list[str]:
    """How seeds differ from the group that they should be, a sentence each; empty where it is one.

    Settings that decide scale, those of the profiles and what the artifact shows must be the same at each seed, and so must
    all others that the baseline has the same at each of several seeds: a path or a time may differ. `baseline` is None for
    the baseline itself.
    """
    (first, reference), *others = by_seed.items()
    fixed = {*contract.comparable, *(name for profile in contract.profiles.values() for name in profile.settings)}
    loose = baseline is None or baseline.seed_count < 2
    found = []
    for name in varying_settings(by_seed):
        if all(results.settings.get(name) == seed for seed, results in by_seed.items()):
            continue  # the seed itself
        verified = any(results.sources.get(name) in ("artifact", "harness") for results in by_seed.values())
        if name in fixed or verified or not (loose or (baseline and name in baseline.varying_settings)):
            expected = reference.settings.get(name)
            seed, other = next((s, r) for s, r in others if r.settings.get(name) != expected)
            value = _shown(other.settings.get(name))
            found.append(f"{name} is {value} at seed {seed} and {_shown(expected)} at seed {first}")
    return found + _unlike_l0(contract, by_seed, baseline)


def varying_settings(by_seed: BySeed) -> list[str]:
    """The settings that differ between seeds."""
    first, *others = by_seed.values()
    names = dict.fromkeys(name for results in by_seed.values() for name in results.settings)
    return [name for name in names if any(each.settings.get(name) != first.settings.get(name) for each in others)]


def repeated_seeds(by_seed: BySeed, untouched: Iterable[Mapping[str, Sequence[float]]] = ()) -> list[str]:
    """That seeds gave the same numbers, in a sentence; none where all are the same, which is said of the noise.

    Nor where those of `untouched` code, its values by metric, repeat themselves too: an accuracy over 97 samples is one of
    98 numbers, and ten seeds meet by chance.
    """
    if len(by_seed) < 3 or seed_changes_nothing(list(by_seed.values())) or any(map(_repeats, untouched)):
        return []
    pairs = combinations(by_seed.items(), 2)
    found = [(one, other) for (one, mine), (other, theirs) in pairs if seed_changes_nothing([mine, theirs])]
    if not found:
        return []
    more = f", and so did {len(found) - 1} other pair{'s' * (len(found) > 2)}" if len(found) > 1 else ""
    one, other = found[0]
    return [f"seeds {one} and {other} gave the same numbers{more}: the code does not use the seed that it is given"]


def _repeats(metrics: Mapping[str, Sequence[float]]) -> bool:
    """Whether two seeds have the same numbers, cost aside."""
    known = [values for name, values in metrics.items() if not is_cost(name)]
    most = max(map(len, known), default=0)
    seeds = [*zip(*(values for values in known if len(values) == most), strict=True)]
    return len({*seeds}) < len(seeds)


def _unlike_l0(contract: Contract, by_seed: BySeed, baseline: Record | None) -> list[str]:
    """Of what moves the primary metric (L0), where it scatters more than the baseline's seeds let expect."""
    name = contract.primary.moves_with if contract.primary else None
    if name is None or baseline is None or not any(name in results.metrics for results in by_seed.values()):
        return []
    values = {seed: results.metrics[name].value for seed, results in by_seed.items() if name in results.metrics}
    if len(values) < len(by_seed):
        return [f"{name} is missing at seed {next(seed for seed in by_seed if seed not in values)}"]
    theirs = baseline.metrics[name].values if name in baseline.metrics else []
    own, middle = (median(theirs) if theirs else 0.0), median(values.values())
    # Twice: the few seeds of a baseline do not show how far one may lie.
    limit = max([NEAR, *(2 * abs(value - own) / abs(own) for value in theirs if own)])
    far = next(((seed, value) for seed, value in values.items() if abs(value - middle) > limit * abs(middle)), None)
    return [f"{name} is {number(far[1])} at seed {far[0]}, and {number(middle)} is the median"] if far else []


def _shown(value: Setting) -> str:
    return "not reported" if value is None else setting(value)
