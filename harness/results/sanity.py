"""Whether results are evidence at all: what must be there, the contract's sanity rules, and what its metrics can be.

A healthy result may still be a bad one; which of two is better is for `verdict` to say.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeGuard

from ..campaign.contract import Contract, SanityRule, Setting
from ..campaign.metric import Metric
from ..campaign.metric_names import words_of
from ..campaign.numbers import number, setting
from ..campaign.protocols import FINAL_INFO
from .reading import Results
from .result_files import MAX_NAMED, WANTED
from .values import Finding

_ZERO = {
    **dict.fromkeys(("steps", "training_steps", "train_steps", "num_steps", "steps_done", "epochs"), "nothing was trained"),
    "l0": "no latent is ever active",
}
_NO_SINGLE_VALUE = re.compile("a list|an object")
_NO_NUMBER = re.compile("null|NaN|infinite").match
_BOUNDS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "above": (operator.gt, "not above"),
    "below": (operator.lt, "not below"),
    "at_least": (operator.ge, "less than"),
    "at_most": (operator.le, "more than"),
}


def check_sanity(contract: Contract, profile: str, results: Results) -> list[str]:
    """Why these results are no evidence, a sentence each; empty when they are.

    What the reader could not believe counts where it concerns a metric that must be there or that decides, a value that a
    rule is about, or a setting that says which runs are comparable.
    """
    rules = [rule for rule in contract.sanity if _applies(rule, results.settings)]
    whys = {rule.value: rule.why for rule in rules}
    bounds = {bound for rule in rules for name in _BOUNDS if isinstance(bound := getattr(rule, name), str)}
    watched = {metric.name for metric in contract.metrics_of(profile)} | bounds | {*whys, *contract.comparable}
    if contract.primary is not None:
        watched.add(contract.primary.name)
    found = [finding for finding in results.findings if finding.name in watched]
    problems = [_with_why(str(finding), whys.get(finding.name, "")) for finding in found]
    missing = missing_metrics(contract, profile, results)
    if not results.metrics and not problems:
        problems = [no_number(results, missing)]
    missing = [name for name in missing if all(each.name != name for each in found)]
    problems += [f"{name} is missing: no result file has it" for name in missing if results.metrics]
    if missing and results.metrics:
        problems[-1] += _there(missing[-1], results)
    problems += broken_rules(contract, results.numbers, results.settings)
    if not contract.sanity and results.metrics:
        problems += [each for each in _broken_anyway(results) if each not in problems]
    return problems


def _broken_anyway(results: Results) -> list[str]:
    """What no contract needs to say: where nothing was trained, or the loss is no number, numbers are no evidence."""
    values: dict[str, Setting] = {**results.settings, **results.numbers}
    zero = {name: _ZERO.get(name.rpartition(".")[2].lower()) for name, value in values.items() if value == 0}
    problems = [f"{name} is 0: {why}" for name, why in zero.items() if why and values[name] is not False]
    return problems + [str(each) for each in results.findings if "loss" in words_of(each.name) and _NO_NUMBER(each.problem)]


def no_number(results: Results, missing: Sequence[str] = ()) -> str:
    """Which metrics are wanted, what was found in place of numbers, and where the shape is to blame, which one is wanted."""
    found = "; ".join(map(str, results.findings)) or f"{FINAL_INFO} holds none"
    wanted = f", and {', '.join(missing[:MAX_NAMED])} must be there" if missing else ""
    return f"no number was read{wanted}: {found}{_wanted(results.findings)}"


def without(missing: Sequence[str], results: Results) -> str:
    """Which metrics that are wanted no result file has, and which there are."""
    findings = "; ".join(map(str, results.findings))
    said = f"no result file has a number for {', '.join(missing)}{_there(missing[-1], results)}"
    return said + (f" ({findings}{_wanted(each for each in results.findings if each.name in missing)})" if findings else "")


def _wanted(findings: Iterable[Finding]) -> str:
    """The shape that is wanted where that of what was found is to blame, and not a single value."""
    found = list(findings)
    shape = not any(each.name for each in found) or any(_NO_SINGLE_VALUE.match(each.problem) for each in found)
    return f"; {WANTED}" if found and shape else ""


def _there(name: str, results: Results) -> str:
    """The names that are there in its place, those like it first."""
    near = difflib.get_close_matches(name, results.metrics, n=MAX_NAMED, cutoff=0.5)
    names = list(dict.fromkeys([*near, *results.metrics]))
    if not names:
        return ""
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return f"; there {'are' if names[1:] else 'is'} {', '.join(names[:MAX_NAMED])}{more}"


def missing_metrics(contract: Contract, profile: str, results: Results, *, evals: Collection[str] = ()) -> list[str]:
    """The names of metrics that a run under `profile` must have and these results do not.

    `evals`: where they are fewer than a run's, as a smoke test's are, those that were scored; others' metrics do not miss.
    """

    def is_others(metric: Metric) -> bool:
        return bool(evals and metric.sources) and not any(name.split(".")[0] in evals for name in metric.sources)

    wanted = [metric for metric in contract.metrics_of(profile) if not is_others(metric)]
    return [metric.name for metric in wanted if metric.name not in results.metrics]


def broken_rules(contract: Contract, metrics: Mapping[str, float], settings: Mapping[str, Setting]) -> list[str]:
    """The contract's rules and ranges that these values break, a sentence each: value, bound and what it means.

    A value that is absent breaks a rule only if it says `present`, and so does a bound that is absent. Where a metric and a
    setting have one name, the metric is meant.
    """
    values: dict[str, Setting] = {**settings, **metrics}
    problems = [
        _with_why(problem, rule.why)
        for rule in contract.sanity
        if _applies(rule, settings)
        for problem in _broken(rule, values)
    ]
    for metric in contract.metric:
        value = metrics.get(metric.name)
        if value is not None and metric.minimum is not None and value < metric.minimum:
            problems.append(f"{metric.name} is {number(value)} and can be no less than {number(metric.minimum)}")
        if value is not None and metric.maximum is not None and value > metric.maximum:
            problems.append(f"{metric.name} is {number(value)} and can be no more than {number(metric.maximum)}")
    return problems


def broken_where_known(contract: Contract, metrics: Mapping[str, float], settings: Mapping[str, Setting]) -> list[str]:
    """As `broken_rules`, of results that were made elsewhere: what they do not have is not asked of them."""
    rules = [rule.model_copy(update={"present": False}) for rule in contract.sanity]
    return broken_rules(contract.model_copy(update={"sanity": rules}), metrics, settings)


def _applies(rule: SanityRule, settings: Mapping[str, Setting]) -> bool:
    return all(settings.get(name) in values for name, values in rule.cases.items())


def _broken(rule: SanityRule, values: Mapping[str, Setting]) -> Iterator[str]:
    value = values.get(rule.value)
    bounds = [(name, bound) for name in _BOUNDS if (bound := getattr(rule, name)) is not None]
    if value is None:
        if rule.present:
            yield f"{rule.value} is missing"
    elif (rule.finite or bounds) and not _is_number(value):
        yield f"{rule.value} is {setting(value)}, not a finite number"
    elif _is_number(value):
        for name, bound in bounds:
            holds, words = _BOUNDS[name]
            limit = values.get(bound) if isinstance(bound, str) else bound
            if not _is_number(limit):
                if limit is not None or rule.present:
                    yield f"{rule.value} cannot be checked: its bound {bound} is {setting(limit)}"
            elif not holds(value, limit * rule.times):
                yield f"{rule.value} is {number(value)}, {words} {_in_words(bound, limit, rule.times)}"


def _is_number(value: Setting) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _in_words(bound: float | str, limit: float, times: float) -> str:
    reached = number(limit * times)
    if not isinstance(bound, str):
        return reached
    return f"{bound} ({reached})" if times == 1 else f"{number(times)} x {bound} ({reached})"


def _with_why(problem: str, why: str) -> str:
    return f"{problem}: {why}" if why else problem
