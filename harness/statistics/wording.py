"""One comparison as a record holds it, and in plain words, with numbers rounded by their noise.

What follows ± is the standard error of a mean, from the pooled spread of seeds.
"""

from __future__ import annotations

import math

from ..campaign.numbers import p_in_words, row
from ..campaign.record import ComparisonRecord
from ..campaign.text import in_words, run_in_words
from .comparison import Comparison, Uncompared
from .ledger import ALPHA, Judgement
from .noise import decimals, rounded, with_noise


def as_record(found: Comparison | Uncompared, reference: str) -> ComparisonRecord:
    """What is kept of a comparison."""
    record = ComparisonRecord(
        reference=reference,
        mean=found.mean,
        reference_mean=found.reference,
        seeds=found.n,
        reference_seeds=found.n_reference,
    )
    if isinstance(found, Uncompared):
        return record.model_copy(update={"why": found.why})
    low, high = found.interval
    # Of a line what gives its standard error again when it is divided by the root of its number of seeds.
    alone, spread = found.mixture is None, found.reference_error * found.n_reference**0.5
    numbers = {
        "difference": found.difference,
        "error": found.error,
        "paired": found.paired is not None,
        "estimate": found.estimate,
        "low": low,
        "high": high,
        "p": found.p,
        "p_adjusted": found.p_adjusted,
        "p_worse_adjusted": found.p_worse_adjusted,
        "sd": found.noise.sd,
        "reference_sd": found.reference_noise.sd if found.paired else found.reference_sd if alone else spread,
        "method": found.method,
    }
    return record.model_copy(update=numbers)


def is_better(found: ComparisonRecord) -> bool:
    """Whether the run was tested and is better, after correction for all that its campaign may test."""
    return found.tested and found.p_adjusted is not None and found.p_adjusted <= ALPHA


def adjusted_p(found: ComparisonRecord) -> str:
    """Of a gain; where it is a loss that was found, of that: `0.012`, `0.003 of a loss`. Empty where there is none."""
    if found.p_worse_adjusted is not None and found.p_worse_adjusted <= ALPHA:
        return f"{p_in_words(found.p_worse_adjusted)} of a loss"
    return "" if found.p_adjusted is None else p_in_words(found.p_adjusted)


def sentence(metric: str, judgement: Judgement, runs: int) -> str:
    """A run beside its parent, and what that means: "absorption 0.112 ± 0.008 against 0.143 ± 0.006 (baseline, 10 seeds; 3
    here): improved, p 0.01 after correction for 6 runs". `runs`: as many as were planned."""
    is_baseline = judgement.parent == judgement.baseline and not judgement.parent.startswith(("control", "frontier"))
    parent = "baseline" if is_baseline else judgement.parent
    compared = judgement.against_parent
    record = as_record(compared, judgement.parent)
    head = beside(metric, record, parent)
    if isinstance(compared, Uncompared):
        return f"{head}: inconclusive, {compared.why}"
    verdict = in_words(judgement.kind)
    if judgement.kind == "not_significant":
        # About half of the interval: a difference of more than that would leave 0 outside.
        reach = max(map(abs, compared.interval)) - abs(compared.difference)
        return f"{head}: not significant (90 % CI half-width {reach:.2g})"
    if judgement.kind == "inconclusive":
        return f"{head}: inconclusive, better so far, in too few seeds to say so"
    said = f"{head}: {verdict}, p {adjusted_p(record)} after correction for {runs} run{'s' if runs > 1 else ''}"
    return "; ".join([said, *map(str, judgement.guard_violations)])


def beside(metric: str, found: ComparisonRecord, reference: str) -> str:
    """The two means, with their standard errors where these are known; that of a run that it is held against stands with
    that run."""
    if found.sd is None:
        here, there = (text.replace("-", "−") for text in row([found.mean, found.reference_mean]))
    else:
        mine = found.sd / math.sqrt(found.seeds)
        here, there = with_noise(found.mean, mine), rounded(found.reference_mean, decimals(mine))
        if found.reference_sd:
            there = with_noise(found.reference_mean, found.reference_sd / math.sqrt(found.reference_seeds))
    reference = run_in_words(reference)
    if found.paired:
        return f"{metric} {here} against {there} ({reference}; {_seeds(found.seeds)}, paired)"
    return f"{metric} {here} against {there} ({reference}, {_seeds(found.reference_seeds)}; {found.seeds} here)"


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"
