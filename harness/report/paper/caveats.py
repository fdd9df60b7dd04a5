"""Threats to validity: what the verdicts could not decide, and what the records say against themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...campaign.not_confined import NOT_CONFINED, NOT_HELD
from ...campaign.record import Record
from ...campaign.text import clip, in_words, line
from ..campaign_data import CampaignData
from .document import Items, Paragraph, Section

_WHY = 500
"""Characters of one reason."""
_MOST_WARNINGS = 5
_SHORT, _MOST_NAMES = 90, 20
_OPEN = {
    "not_significant": "an effect smaller than the limits of the difference would not have been seen",
    "inconclusive": "no verdict could be given",
    "not_comparable": "the number stands beside no other",
    "invalid": "the results cannot be used",
    "given": "made by an observed loop, not executed here; no verdict rests on them",
    "no_effect": "metrics identical to an earlier run’s",
    "trade_off": "another metric exceeds its tolerance, or compute does",
}
"""Verdicts that leave something open, and what."""


def threats(campaign: CampaignData) -> Section:
    """The section of the write-up."""
    caveats = tuple(_caveats(campaign))
    if not caveats:
        return Section("Threats to validity", (Paragraph("The records hold none that the harness knows of."),))
    return Section("Threats to validity", (Items(caveats),))


def _caveats(campaign: CampaignData) -> Iterator[str]:
    """Sentences, the weightiest first."""
    records = [run.record for run in campaign.runs]
    state = campaign.status.state
    if state != "ended":
        said = "still runs" if state == "running" else "has not come to its end"
        yield f"The campaign {said}: all that is said here holds for the runs so far."
    if not records:
        return
    if records[0].given:
        yield (
            "The baseline was given with the experiment and not executed here: it may be of other code, seeds or another "
            "machine."
        )
    for kind, means in _OPEN.items():
        found = [run.record for run in campaign.runs if campaign.verdict(run) == kind]
        if found:
            whys = dict.fromkeys(clip(line(each.verdict.why), _WHY).rstrip(".") for each in found if kind == "invalid")
            said = "; ".join([means, *list(whys)[:_MOST_WARNINGS]])
            yield f"{in_words(kind).capitalize()}: {runs_in_words(each.run for each in found)}; {said}."
    yield from _seeds(campaign)
    yield from _from_outside(records)
    yield from _by_people(records)
    for record in records:
        yield from _warnings(record)
    yield from _environments(campaign)
    yield from _settings(records)
    if campaign.contract.not_judged:
        yield f"The contract leaves open: {'; '.join(campaign.contract.not_judged)}."


def _seeds(campaign: CampaignData) -> Iterator[str]:
    executed = [run.record for run in campaign.runs if run.record.observed is None]
    single = [record.run for record in executed if record.metrics and record.seed_count < 2]
    own = [run.record.run for run in campaign.runs if run.record.own_seeds]
    if own:
        whose = runs_in_words(own)
        yield f"The seeds of {whose} are the experiment’s own: how many there were and what each gave is self-reported."
    if not single:
        return
    if not any(run.record.seed_count > 1 for run in campaign.runs):
        yield "Every run has one seed, so the noise is unknown and no difference can be told from it."
    else:
        yield (f"One seed each: {runs_in_words(single)}. The standard deviation used there is pooled over the other runs.")


def _from_outside(records: Sequence[Record]) -> Iterator[str]:
    if driven := [record.run for record in records if record.agent_sandbox == NOT_CONFINED]:
        yield f"The change of {runs_in_words(driven)} was handed in from outside: {NOT_HELD}."


def _by_people(records: Sequence[Record]) -> Iterator[str]:
    changed = [record.run for record in records if any(attempt.by_person for attempt in record.attempts)]
    forced = [record.run for record in records if any(attempt.forced for attempt in record.attempts)]
    told = [record.run for record in records if record.messages]
    if changed:
        yield f"The user changed the code of {runs_in_words(changed)}."
    if forced:
        yield f"The user forced a change past the pre-check in {runs_in_words(forced)}."
    if told:
        yield f"The user told the {records[told[0]].author} something before {runs_in_words(told)}."


def _warnings(record: Record) -> Iterator[str]:
    if record.control and record.control.why_none:
        yield f"Run {record.run} has no control: {clip(line(record.control.why_none), _WHY).rstrip('.')}."
    for warning in record.warnings[:_MOST_WARNINGS]:
        yield f"Warning of run {record.run}: {clip(line(warning), _WHY).rstrip('.')}."
    if len(record.warnings) > _MOST_WARNINGS:
        yield f"More warnings of run {record.run} are in its record: {len(record.warnings) - _MOST_WARNINGS}."
    kept_back = [line(sentence) for attempt in record.attempts for sentence in attempt.restored]
    if kept_back:
        shown = "; ".join(clip(each, _WHY) for each in kept_back[:_MOST_WARNINGS])
        yield f"Of the {record.author}’s change in run {record.run} this was not kept: {shown.rstrip('.')}."


def _environments(campaign: CampaignData) -> Iterator[str]:
    common = campaign.environment
    elsewhere = [
        run.record.run
        for run in campaign.runs
        if run.record.environment and any(common.get(key) != value for key, value in run.record.environment.items())
    ]
    if elsewhere:
        yield f"Executed with another machine, package or model than the first: {runs_in_words(elsewhere)}."


def _settings(records: Sequence[Record]) -> Iterator[str]:
    every = {name: setting.source for record in records for name, setting in record.settings.items()}
    reported = [clip(line(name), _SHORT) for name, source in every.items() if source == "reported"]
    if len(reported) == len(every) and reported:
        yield "The settings are what the experiment reports about itself; nothing verified them."
    elif reported:
        more = f" and {len(reported) - _MOST_NAMES} more" if len(reported) > _MOST_NAMES else ""
        yield f"Settings that the experiment alone reports, verified by nothing: {', '.join(reported[:_MOST_NAMES])}{more}."


def runs_in_words(numbers: Iterable[int]) -> str:
    names = ["the baseline" if run == 0 else str(run) for run in numbers]
    first = names[0] if names[0] == "the baseline" else None
    rest = [name for name in names if name != "the baseline"]
    runs = f"run{'s' if len(rest) > 1 else ''} {_joined(rest)}" if rest else ""
    return " and ".join(filter(None, [first, runs]))


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
