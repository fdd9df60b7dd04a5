"""Memory: what other campaigns of an experiment had tried when a campaign of it began.

It is put into the campaign's folder once, so that what the agent is told and what the pre-check knows depend on nothing that
changes beside it. It holds runs with their verdicts and primary metric, never a number of a held-out evaluation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .campaign import Campaign
from .code_identity import fingerprint
from .errors import HarnessError, InputError
from .files import write_atomically
from .journal import read_events
from .layout import layouts
from .numbers import number
from .record import Record, VerdictKind
from .repository import Repository
from .text import clip, in_words, line

MOST = 500
"""Runs that are kept, the latest."""
LINES = 10
"""Runs that an agent is told of; the others are counted."""
A_KIND = 3
"""Runs of a verdict that it is told of."""
_PRE_CHECK = re.compile(r"(run_\d+)/attempt_\d+/pre_check")


@dataclass(frozen=True)
class Trial:
    """A run of another campaign. `code` tells what was executed from other code; "" where it was at another scale."""

    campaign: str
    profile: str
    run: int
    verdict: VerdictKind
    metric: str = ""
    value: float | None = None
    baseline: float | None = None
    hypothesis: str = ""
    code: str = ""

    @property
    def said(self) -> str:
        """`hierarchy, run 3: worse, absorption 0.3, baseline 0.25`."""
        found = metric_in_words(self.metric, self.value, self.baseline)
        return f"{self.campaign}, run {self.run}: {in_words(self.verdict)}{found}"


_TRIALS = TypeAdapter(list[Trial])


def metric_in_words(name: str, value: float | None, baseline: float | None) -> str:
    """`, loss 0.21, baseline 0.25`; "" without a value."""
    beside = f", baseline {number(baseline)}" if baseline is not None else ""
    return "" if value is None else f", {name} {number(value)}{beside}"


def remember(campaign: Campaign, folder: Path) -> int:
    """Have a campaign that has not begun know what those of its experiment in `folder` tried. Returns how many runs."""
    code = fingerprint({path: (campaign.root / path).read_bytes() for path in _editable(campaign)}, {})
    try:
        others = [Campaign(each.root) for each in layouts(folder) if each.root.resolve() != campaign.root.resolve()]
    except OSError as error:
        raise InputError(f"--memory {folder}: cannot be read: {error.strerror}.") from error
    trials = [trial for each in others for trial in _trials(each, campaign, code)]
    if trials:
        write_atomically(campaign.memory_file, _TRIALS.dump_json(trials[-MOST:], indent=1) + b"\n")
    return len(trials[-MOST:])


def read_memory(campaign: Campaign) -> list[Trial]:
    """What a campaign knows of others; nothing where its file is none."""
    try:
        return _TRIALS.validate_json(campaign.content(campaign.memory_file))
    except (OSError, ValidationError):
        return []


def told(trials: Sequence[Trial], profile: str) -> list[str]:
    """What an agent is told of them, by outcome: as long however many there are."""
    by_verdict: dict[str, list[Trial]] = defaultdict(list)
    for each in reversed(trials):
        by_verdict[each.verdict].append(each)
    lines, left = list[str](), LINES
    for verdict in sorted(by_verdict, key=get_args(VerdictKind).index):
        shown = by_verdict[verdict][: min(A_KIND, left)]
        left, more = left - len(shown), len(by_verdict[verdict]) - len(shown)
        lines.append(in_words(verdict) + (f" (and {more} more)" if shown and more else f" ({more})" if more else "") + ":")
        for each in shown:
            where = f", profile {line(each.profile)}" if each.profile != profile else ""
            found = metric_in_words(each.metric, each.value, each.baseline)
            said = f": {clip(line(each.hypothesis), 120)}" if each.hypothesis else ""
            lines.append(f"- {line(each.campaign)}, run {each.run}{where}{found}{said}")
    return lines


def _trials(other: Campaign, campaign: Campaign, code: str) -> Iterator[Trial]:
    """The runs of another campaign, where that is of the same experiment and can be read."""
    try:
        if not _is_of_the_same(other, campaign, code):
            return
        options, own = other.options(), campaign.options()
        primary, known = other.contract.primary, _fingerprints(other)
        is_alike = (options.profile, options.overrides) == (own.profile, own.overrides)
        for record in other.read_records()[1:]:
            yield _trial(other, record, primary.name if primary else "", known if is_alike else {})
    except (HarnessError, OSError, ValueError, KeyError, TypeError):
        return  # of somebody else, damaged, or of an earlier schema


def _trial(other: Campaign, record: Record, primary: str, known: Mapping[str, str]) -> Trial:
    metric = record.metrics.get(primary)
    return Trial(
        campaign=other.name,
        profile=other.options().profile,
        run=record.run,
        verdict=record.verdict.kind,
        metric=primary if metric else "",
        value=metric.value if metric else None,
        baseline=metric.baseline if metric else None,
        hypothesis=record.hypothesis,
        code=known.get(f"run_{record.run}", ""),
    )


def _is_of_the_same(other: Campaign, campaign: Campaign, code: str) -> bool:
    """Whether it was made from the same folder, or began with the same code."""
    folder = campaign.machine().get("experiment")
    if folder is not None and other.machine().get("experiment") == folder:
        return True
    begun = next((e["result"]["commit"] for e in _done(other) if e["step"] == "start"), None)
    return begun is not None and code == fingerprint(
        Repository(other.root, other.local).files(begun, campaign.contract.editable), {}
    )


def _fingerprints(campaign: Campaign) -> dict[str, str]:
    """Of what was executed last as each run."""
    found = ((_PRE_CHECK.fullmatch(e["step"]), e["result"]) for e in _done(campaign))
    return {match[1]: result.get("code", "") for match, result in found if match}


def _done(campaign: Campaign) -> Iterator[dict[str, Any]]:
    return (e for e in read_events(campaign.journal) if e["event"] == "done")


def _editable(campaign: Campaign) -> list[str]:
    return [path for path in campaign.contract.editable if (campaign.root / path).is_file()]
