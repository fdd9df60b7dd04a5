"""One comparison in plain words, with numbers rounded by their noise.

What follows ± is the standard error of a mean, from the pooled spread of seeds.
"""

from __future__ import annotations

import math

from ..campaign.text import in_words
from .comparison import Comparison, Uncompared
from .ledger import Judgement
from .noise import decimals, signed


def sentence(metric: str, judgement: Judgement, runs: int) -> str:
    """A run beside its parent, and what that means: "absorption 0.112 ± 0.008 against 0.143 ± 0.006 (baseline, 10 seeds; 3
    here): improved, p 0.01 after correction for 6 runs". `runs`: as many as were planned."""
    is_baseline = judgement.parent == judgement.baseline and not judgement.parent.startswith(("control", "frontier"))
    parent = "baseline" if is_baseline else judgement.parent
    compared = judgement.against_parent
    head = beside(metric, compared, parent)
    if isinstance(compared, Uncompared):
        return f"{head}: inconclusive, {compared.why}"
    verdict = in_words(judgement.kind)
    if judgement.kind == "not_significant":
        # About half of the interval: a difference of more than that would leave 0 outside.
        reach = max(map(abs, compared.interval)) - abs(compared.difference)
        return f"{head}: not significant, a difference of {reach:.2g} could be chance"
    if judgement.kind == "inconclusive":
        return f"{head}: inconclusive, better so far, in too few seeds to say so"
    p = compared.p_adjusted if judgement.kind != "worse" else compared.p_worse * compared.alpha / compared.level
    said = f"{head}: {verdict}, p {p_in_words(p)} after correction for {runs} run{'s' if runs > 1 else ''}"
    return "; ".join([said, *map(str, judgement.guard_violations)])


def beside(metric: str, compared: Comparison | Uncompared, reference: str) -> str:
    """The two means, with their standard errors where these are known."""
    if isinstance(compared, Uncompared):
        places = decimals(abs(compared.mean - compared.reference)) + 1
        here, there = f"{compared.mean:.{places}f}", f"{compared.reference:.{places}f}"
    else:
        mine = compared.noise.sd / math.sqrt(compared.n)
        theirs = compared.reference_error
        places = decimals(min(mine, theirs))
        here = f"{compared.mean:.{places}f} ± {mine:.{places}f}"
        there = f"{compared.reference:.{places}f} ± {theirs:.{places}f}"
    return f"{metric} {here} against {there} ({reference}, {_seeds(compared.n_reference)}; {compared.n} here)"


def worth(compared: Comparison) -> str:
    """How large the difference is: measured, shrunk where the run was picked for it, and its interval."""
    places = decimals(compared.error)
    low, high = (signed(limit, places) for limit in compared.interval)
    said = f"difference {signed(compared.difference, places)}"
    if compared.is_better:
        said += f", {signed(compared.estimate, places)} allowing for its having been picked"
    return f"{said}; between {low} and {high}"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"


def p_in_words(p: float) -> str:
    """A p-value with the digits that it is worth: `0.01`, `below 0.0001`."""
    return "below 0.0001" if p < 0.0001 else f"{p:.1g}" if p < 0.095 else f"{p:.2g}"
