"""The harness's own conclusion at the end of a campaign: what its records show, with no word that no number carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..campaign.contract import Contract
from ..campaign.metric_names import how_to_name, telling
from ..campaign.record import Record
from ..campaign.text import duration, in_words
from ..statistics.judge import Judge
from ..statistics.ledger import Conclusion
from ..statistics.wording import beside, worth


def conclude(contract: Contract, judge: Judge, records: Sequence[Record], spent: str) -> str:
    """Whether the idea was supported, on which evidence, at what cost, and where to look first. Paragraphs of text."""
    runs = [record for record in records if record.run > 0]
    if not runs:
        return f"No run was completed, so nothing can be said of the idea. {spent}"
    return "\n\n".join(filter(None, (supported(contract, judge, runs), learnt(runs), _first(contract, runs), spent)))


def supported(contract: Contract, judge: Judge, runs: Sequence[Record]) -> str:
    """Whether the idea was supported, and on which evidence."""
    primary = contract.primary
    if primary is None:
        names = telling([run.metrics for run in runs if run.metrics])
        return " ".join(filter(None, ["Inconclusive: no primary metric is named.", how_to_name(names)]))
    found = judge.conclude()
    verdicts = {f"run_{record.run}": record.verdict for record in runs}
    better = [each for each in found if each.better]
    sure = [each for each in better if not verdicts[each.run].caveats]
    clean = [each for each in sure if not verdicts[each.run].guard_violations]
    if clean:
        return "Supported. " + " ".join(f"{_evidence(primary.name, each)}." for each in clean)
    if sure:
        guard_violations = "; ".join(violation for each in sure for violation in verdicts[each.run].guard_violations)
        return (
            "Supported at a price. "
            + " ".join(f"{_evidence(primary.name, e)}." for e in sure)
            + f" Worse: {guard_violations}."
        )
    if better:
        with_caveats = (f"{_evidence(primary.name, e)}; but {'; '.join(verdicts[e.run].caveats)}." for e in better)
        return "Inconclusive. " + " ".join(with_caveats)
    if found:
        best = min(found, key=lambda each: each.comparison.p)
        return (
            f"Not supported: no run is better than its baseline in {primary.name} beyond the noise, over "
            f"{len(found)} compared run{'s' if len(found) > 1 else ''}. Nearest: {_evidence(primary.name, best)}."
        )
    if any(record.status == "completed" for record in runs):
        return f"Inconclusive: the noise of {primary.name} is unknown, or no run could be compared."
    return "Inconclusive: no run could be executed well."


def _evidence(metric: str, found: Conclusion) -> str:
    reference = "baseline" if found.baseline == "run_0" else found.baseline
    head = beside(metric, found.comparison, reference)
    return f"{found.run}: {head}, {worth(found.comparison)}, p {found.p:.2g} (Holm, over all runs)"


def learnt(runs: Sequence[Record]) -> str:
    """How often which verdict was given, and which attempts were lost."""
    kinds = Counter(in_words(record.verdict.kind) for record in runs)
    lost = Counter(in_words(attempt.status) for run in runs for attempt in run.attempts if attempt.status != "completed")
    said = "Verdicts: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) + "."
    if lost:
        said += " Attempts that were no run: " + ", ".join(f"{count} {kind}" for kind, count in lost.most_common()) + "."
    return said


def _first(contract: Contract, runs: Sequence[Record]) -> str:
    """Where a person should look first: what was found, what it cost elsewhere, what looks broken."""
    if contract.primary is None:
        return ""
    order = ("improved", "trade_off", "inconclusive", "worse", "invalid", "no_effect", "not_comparable", "failed")
    chosen = [record for kind in order for record in runs if record.verdict.kind == kind][:3]
    names = ", ".join(f"run {record.run} ({in_words(record.verdict.kind)})" for record in chosen)
    return f"Look first at: {names}." if names else ""


def cost(runs: Sequence[Record], tokens: int, dollars: float | None, seconds: float) -> str:
    """What the campaign used."""
    attempts = sum(len(record.attempts) for record in runs)
    money = "unknown" if dollars is None else f"${dollars:.4f}"
    return (
        f"Used: {len(runs) - 1} runs in {attempts} attempts, {tokens:,} tokens, cost {money}, "
        f"{duration(seconds)} of agent and experiments."
    )
