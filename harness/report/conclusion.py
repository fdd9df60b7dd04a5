"""The harness's own conclusion at the end of a campaign: what its records show, with no word that no number carries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from ..campaign.contract import Contract
from ..campaign.metric import Metric
from ..campaign.metric_names import how_to_name, telling
from ..campaign.numbers import counted, number
from ..campaign.record import Record
from ..campaign.text import duration, in_words, line, reference_in_words
from ..campaign.usage import Usage
from ..statistics.holdout import is_accepted
from ..statistics.wording import is_better
from .estimates import LEVEL, NONE, with_error
from .estimates import compared as in_numbers
from .first_look import first_look
from .terminal.held_out import HeldOut, numbers, scope, sentences
from .terminal.remedies import remedies
from .terminal.status import NO_EVIDENCE, baseline_verdict
from .terminal.status_page import cost_of

NOTHING_HELD_OUT = "It was not evaluated on held-out data, for experiment.toml has no [profiles.NAME.holdout]."
_IN_FULL, _NAMED = 1, 8
"""Of improved runs besides the best: so many are told with their numbers; where there are more, so many are named."""


def conclude(
    contract: Contract, records: Sequence[Record], spent: str, held_out: HeldOut | None = None, control: str = ""
) -> str:
    """Whether the idea was supported, on which evidence, beside which `control`, at what cost, and where to look first.
    Paragraphs of text."""
    runs = [record for record in records if record.run > 0]
    if not runs:
        return f"No run was completed, so nothing can be said of the idea. {spent}"
    primary = contract.primary
    evaluated = sentences(held_out, primary.name) if primary else []
    if held_out and held_out.last and held_out.last["status"] != "not_evaluated":
        evaluated = evaluated[1:]  # the first is the headline
    beside = (control, " ".join(first_look(contract, records)))
    todo = remedies([record.model_dump() for record in records], primary.name if primary else None)
    found = (headline(contract, runs, held_out), *evaluated, *beside, learnt(contract, runs))
    said = (*found, *todo, _first(contract, runs), spent)
    return "\n\n".join(filter(None, said))


def headline(contract: Contract, runs: Sequence[Record], held_out: HeldOut | None) -> str:
    """What selects is not what is reported: where the contract holds something out, the effect there, beside the one that
    selected the run."""
    on_selection = supported(contract, runs)
    primary, last = contract.primary, held_out.last if held_out else None
    opening, _, found = on_selection.partition(": ")
    if held_out is None or primary is None:
        return f"{on_selection} {NOTHING_HELD_OUT}" if opening == "Supported" else on_selection
    if last is None or last["status"] == "not_evaluated":
        return f"Improved, not evaluated on held-out data: {found}" if opening == "Supported" else on_selection
    run = next(each for each in runs if each.run == last["run"])
    there = f"in {scope(last)}, {numbers(last)}" if last["metrics"] else f"in {scope(last)}: {line(last['why'])}"
    guards = f", but {'; '.join(last['guard_violations'])}" if last["guard_violations"] else ""
    # No correction for selection: what was measured where nothing was selected stands before it.
    here = f"when it was selected, {_evidence(run, primary.name, corrected=False)}"
    if not last["accepted"]:
        if last["status"] == "confirmed":
            return f"Inconclusive: run {run.run} improves {primary.name} {there}; not significantly {here}."
        return f"{on_selection} It is {in_words(last['status'])} {there}{guards}."
    also = [each for each in runs if each is not run and is_accepted(each)]
    others = (
        f" Improved when selected, and not evaluated: {_some(also) if len(also) > 1 else f'run {also[0].run}'}."
        if also
        else ""
    )
    if last["status"] == "confirmed":
        return f"Supported: run {run.run} improves {primary.name} {there}; {here}.{others}"
    says = "improves" if last["guard_violations"] else "does not significantly improve"
    return f"Not confirmed: run {run.run} {says} {primary.name} {there}{guards}; {here}.{others}"


def supported(contract: Contract, runs: Sequence[Record]) -> str:
    """Whether the idea was supported, and on which evidence: one sentence, the result first."""
    primary = contract.primary
    if primary is None:
        names = telling([run.metrics for run in runs if run.metrics])
        return " ".join(filter(None, ["Inconclusive: no primary metric is named.", how_to_name(names)]))
    valued = _best_first(primary, runs)
    kinds = {run.run: _worth(contract, run) for run in valued}
    for kind, opening in (("improved", "Supported"), ("trade_off", "Trade-off"), ("doubted", "Inconclusive")):
        found = [run for run in valued if kinds[run.run] == kind]
        if found:
            first, *others = found
            said = [f"run {first.run} improves {primary.name}, {_evidence(first, primary.name)}{_but(first, kind)}"]
            if len(others) <= _IN_FULL:
                said += [f"so does run {run.run}, {_evidence(run, primary.name)}{_but(run, kind)}" for run in others]
            else:
                said.append(f"so do {_some(others)}")
            return f"{opening}: {'; '.join(said)}."
    if not valued:
        return "Inconclusive: no valid, comparable run."
    best, alone = valued[0], len(valued) == 1
    subject = f"run {best.run}" if alone else f"the best valid run, run {best.run},"
    compared = best.verdict.against_baseline
    if compared is None or compared.low is None:
        why = (compared and compared.why) or "there was nothing to compare it with"
        return f"Inconclusive: {subject} has {primary.name} {_numbers(best, primary.name)}, but {why}."
    none = f"none of {len(valued)} valid runs significantly improves"
    none = "the only valid run does not significantly improve" if alone else none
    return f"Not supported: {none} {primary.name}; {subject} has {_evidence(best, primary.name)}."


def _but(run: Record, kind: str) -> str:
    """What stands against a run that is better than the baseline and not simply improved."""
    against = run.verdict.caveats or run.verdict.guard_violations
    return f", but {' and '.join(against)}" if against and kind != "improved" else ""


def _some(runs: Sequence[Record]) -> str:
    """`runs 4, 5, 7 and 12 more`."""
    shown, rest = [str(run.run) for run in runs[:_NAMED]], len(runs) - _NAMED
    return f"runs {', '.join(shown)} and {rest} more" if rest > 0 else f"runs {', '.join(shown[:-1])} and {shown[-1]}"


def best_valid(contract: Contract, runs: Sequence[Record]) -> Record | None:
    """The best run that is evidence; None where there is none."""
    valued = _best_first(contract.primary, runs) if contract.primary else []
    return valued[0] if valued else None


def _best_first(primary: Metric, runs: Sequence[Record]) -> list[Record]:
    """The runs that are evidence. Of runs that improve on the baseline those first that improve on their parent too: what
    does not may owe all to it."""
    sign = 1 if primary.better == "lower" else -1
    valued = [run for run in runs if run.verdict.kind not in NO_EVIDENCE and primary.name in run.metrics]
    return sorted(valued, key=lambda run: (run.verdict.kind != "improved", sign * _difference(run, primary.name)))


def _worth(contract: Contract, run: Record) -> str:
    """The verdict against the baseline; `doubted` where a caveat stands against better."""
    kind, verdict = _verdict(contract, run), run.verdict
    if kind in ("improved", "trade_off") or not (found := verdict.against_baseline) or not is_better(found):
        return kind
    return "doubted" if verdict.caveats else "trade_off" if verdict.guard_violations else "improved"


def _difference(run: Record, metric: str) -> float:
    found = run.verdict.against_baseline
    return found.mean - found.reference_mean if found else run.metrics[metric].difference or run.metrics[metric].value


def _evidence(run: Record, metric: str, corrected: bool = True) -> str:
    """`0.79 ± 0.01 against 0.90 ± 0.01 of the baseline (difference −0.11, …)`. `corrected`: with the effect that is left
    when one allows for the run having been selected by its number."""
    compared = run.verdict.against_baseline
    difference, limits, p = in_numbers(compared)
    if difference == NONE or compared is None:
        return _numbers(run, metric)
    shrunk = difference
    if corrected and compared.estimate is not None and compared.low is not None and compared.high is not None:
        # Just beyond its threshold the estimate is 0, though the interval, which holds for a selected run too, is not: the
        # hybrid of both (Andrews, Kitagawa and McCloskey, Inference on Winners, 2024) stays inside.
        kept = min(max(compared.estimate, compared.low), compared.high)
        shrunk = in_numbers(compared.model_copy(update={"difference": kept}))[0]
    picked = f", {shrunk} when corrected for selection" if shrunk != difference else ""
    inside = f"difference {difference}{picked}, {LEVEL} simultaneous CI {limits}, adjusted p = {p}".replace("= below", "<")
    return f"{_numbers(run, metric)} ({inside})"


def _numbers(run: Record, metric: str) -> str:
    """A run's number against that of its reference, each with its standard error."""
    found = run.verdict.against_baseline
    if found is None:
        return f"{number(run.metrics[metric].value)} against {number(run.metrics[metric].baseline)} of the baseline"
    mine = None if found.sd is None else found.sd / math.sqrt(found.seeds)
    theirs = None if found.reference_sd is None else found.reference_sd / math.sqrt(found.reference_seeds)
    of = reference_in_words(found.reference)
    return f"{with_error(found.mean, mine)} against {with_error(found.reference_mean, theirs)} of {of}"


def learnt(contract: Contract, runs: Sequence[Record]) -> str:
    """How often which verdict was given against the baseline, and which attempts were lost."""
    kinds = Counter(in_words(_verdict(contract, record)) for record in runs)
    lost = Counter(in_words(attempt.status) for run in runs for attempt in run.attempts if attempt.status != "completed")
    said = "Verdicts against the baseline: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) + "."
    if lost:
        said += " Failed attempts: " + ", ".join(f"{count} {kind}" for kind, count in lost.most_common()) + "."
    return said


def _verdict(contract: Contract, record: Record) -> str:
    return baseline_verdict(record.verdict.model_dump(), contract.primary.better if contract.primary else None)


def _first(contract: Contract, runs: Sequence[Record]) -> str:
    """Where a person should look first: what was found, what it cost elsewhere, what looks broken."""
    if contract.primary is None:
        return ""
    order = ("improved", "trade_off", "inconclusive", "worse", "invalid", "no_effect", "not_comparable", "failed", "given")
    kinds = [(_verdict(contract, record), record) for record in runs]
    chosen = [(kind, record) for wanted in order for kind, record in kinds if kind == wanted][:3]
    names = ", ".join(f"run {record.run} ({in_words(kind)})" for kind, record in chosen)
    return f"Look first at: {names}." if names else ""


def cost(runs: Sequence[Record], used: Usage, seconds: float) -> str:
    """What the campaign used."""
    attempts = sum(len(record.attempts) for record in runs)
    given = sum(record.observed is not None for record in runs)
    also = f" besides {given} that were given (what they took is not known)" if given else ""
    done = f"{counted(len(runs) - 1 - given, 'run')}{also} in {counted(attempts, 'attempt')}"
    spent = f"{used.in_tokens(f'{used.tokens:,}')}, cost {cost_of(used)}, {duration(seconds)}"
    return f"Used: {done}, {spent} of {'agent and ' if used.seconds else ''}experiments."
