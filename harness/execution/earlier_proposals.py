"""Proposals that were made before: in this campaign, and in others of the experiment that it knows of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..campaign.code_identity import fingerprint
from ..campaign.contract import Setting
from ..campaign.memory import metric_in_words, read_memory
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.record import Record
from ..campaign.text import clip, in_words, line
from ..campaign.turn import Turn, turn_key
from .measurements import Measurements

_PRE_CHECK = re.compile(r"run_(\d+)/attempt_(\d+)/pre_check")


@dataclass(frozen=True)
class Known:
    """What a proposal is the same as, in words; `is_measured`: executed again, it would give numbers that are here."""

    said: str
    is_measured: bool


class EarlierProposals(CampaignPart):
    """Looks up what came of proposals. Changes nothing."""

    def __init__(self, opened: OpenCampaign) -> None:
        super().__init__(opened)
        self._measurements = Measurements.of(opened)
        self._memory = read_memory(opened.campaign)

    def fingerprint(self, turn: Turn) -> str:
        """What tells the code of a turn, and its settings, from others."""
        return self._fingerprint(turn.commit or turn.base, turn.overrides)

    def same(self, turn: Turn, own: str) -> Known | None:
        """The earlier proposal that is the same as that of `turn`, whose fingerprint is `own`. None also where it is what it
        started from, or the attempt before once more: the pre-check has more to say of that."""
        parent = self._measurements.parent(turn.run)
        if own == self._fingerprint(self._measurements.start_commit(turn.run), parent.overrides):
            return None
        before = self._journal.result(f"{turn_key(turn.run, turn.attempt - 1)}/pre_check")
        if before and not before["rejected"] and before.get("code") == own:
            return None
        for run, attempt in self._made(own):
            known = self._outcome(turn, run, attempt)
            if known is not None:
                return known
        if own == self._fingerprint(self._opened.first_commit, {}):
            return self._measured(self._opened.records[0])
        return next((Known(line(each.said), False) for each in reversed(self._memory) if each.code == own), None)

    def _fingerprint(self, commit: str, overrides: Mapping[str, Setting]) -> str:
        return fingerprint(self._repository.files(commit, self._campaign.contract.editable), overrides)

    def _made(self, own: str) -> Iterator[tuple[int, int]]:
        """The runs and attempts before that proposed the same."""
        for event in self._journal.of("done", "/pre_check"):
            found = _PRE_CHECK.fullmatch(event["step"]) if event["result"].get("code") == own else None
            if found:
                yield int(found[1]), int(found[2])

    def _outcome(self, turn: Turn, run: int, attempt: int) -> Known | None:
        """What came of an attempt; None where it was not executed, or for no reason of its code, and where it was not
        comparable for a setting that `turn` varies on purpose."""
        key = turn_key(run, attempt)
        made = self._journal.result(f"{key}/turn")
        record = self._opened.records[run] if run < len(self._opened.records) else None
        if record and record.commit == made["commit"] and record.status == "completed":
            varies_more = record.verdict.kind == "not_comparable" and not set(turn.varies) <= set(made["varies"])
            return None if varies_more else self._measured(record)
        for step in ("smoke_test", "execute"):
            failure = (self._journal.result(f"{key}/{step}") or {}).get("failure")
            if failure:
                why = clip(line(failure["why"]), 200)
                return Known(f"run {run}, attempt {attempt} ({in_words(failure['status'])}: {why})", False)
        if run != turn.run and not self._journal.is_done(f"run_{run}/record"):
            return Known(f"run {run}, proposed beside this one and not measured yet", True)
        return None

    def _measured(self, record: Record) -> Known:
        primary = self._campaign.contract.primary
        metric = record.metrics.get(primary.name) if primary else None
        found = metric_in_words(primary.name, metric.value, metric.baseline) if primary and metric else ""
        return Known(f"run {record.run}: {in_words(record.verdict.kind)}{found}", not record.given)
