"""Where a campaign stands, put together for a brief: idea, results, records, advice, what a person said or changed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

from ..campaign import recorded_baselines
from ..campaign.contract import Contract, Setting
from ..campaign.memory import read_memory, told
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.record import Record
from ..campaign.text import in_words, line
from ..campaign.turn import AttemptFailure, description, latest
from ..execution.measurements import Measurements
from ..results.run_results import read_run
from ..results.sanity import broken_where_known
from .brief import Column, Situation
from .outside import OUTSIDE


class Situations(CampaignPart):
    """Looks up where one campaign stands. Changes nothing."""

    def __init__(self, opened: OpenCampaign) -> None:
        super().__init__(opened)
        self._measurements = Measurements.of(opened)
        self._memory = read_memory(opened.campaign)
        self._columns: dict[int, tuple[Record, Column]] = {}

    def before(
        self,
        run: int,
        attempt: int,
        messages: tuple[str, ...] = (),
        person_diff: str | None = None,
        failure: AttemptFailure | None = None,
        known: int | None = None,
    ) -> Situation:
        """Everything that a brief is rendered from. `failure` is that of the attempt before; `known`: how many records are
        told of, those from before the round of `run` where nothing else is said."""
        rounds = self._measurements.rounds
        records = self._opened.records[: rounds.first(run) if known is None else known]
        tried, start = self._tried(run)
        last = self._measurements.turns(run)[-1:] or self._measurements.turns(run - 1)[-1:]
        return Situation(
            idea=self._campaign.idea,
            contract=self._campaign.contract,
            profile=self._options.profile,
            settings=self._settings(records[0]),
            columns=(
                *recorded_columns(recorded_baselines.context(self._campaign.given), self._campaign.contract),
                *(self._column(record) for record in records if record.status == "completed"),
            ),
            records=tuple(records),
            run=run,
            attempt=attempt,
            max_runs=self._options.max_runs,
            width=self._options.width,
            siblings=tuple(self._sibling(each) for each in rounds.siblings(run)),
            plan=self._measurements.plan(),
            messages=messages,
            advice=records[-1].review.text if records[-1].review else None,
            parent=self._measurements.parent(run).run,
            best=self._measurements.best(records).run,
            person_diff=person_diff,
            memory=tuple(told(self._memory, self._options.profile)),
            tried=tried,
            taken_out_with=self._taken_out_with(start) if tried and self._options.agent == OUTSIDE else "",
            tried_with=f"harness try {self._campaign.name}" if self._options.agent == OUTSIDE else "",
            notices=(
                *([f"The attempt before this one: {in_words(failure.status)}: {failure.why}"] if failure else []),
                *(last[0].not_kept if last else ()),
            ),
        )

    def _tried(self, run: int) -> tuple[int, str]:
        """The attempt at a run whose change is in place, 0 where none is, and the commit that the run started from."""
        start, code = self._measurements.start_commit(run), self._campaign.code
        made = [turn.attempt for turn in self._measurements.turns(run) if turn.commit]
        is_there = made and self._repository.blobs(start, code) != self._repository.blobs(
            self._repository.last_of_a_step(), code
        )
        return made[-1] if is_there else 0, start

    def _taken_out_with(self, start: str) -> str:
        files = " ".join(quote(path) for path in self._repository.blobs(start, self._campaign.code))
        return f"git -C {quote(str(self._campaign.root))} checkout {start[:10]} -- {files}"

    def _column(self, record: Record) -> Column:
        """Made once: each brief tells of all runs."""
        known, column = self._columns.get(record.run, (None, None))
        if column is None or known is not record:
            column = _run_column(record, self._campaign.contract)
            self._columns[record.run] = (record, column)
        return column

    def _sibling(self, run: int) -> str:
        """What another run of the round tests, as the agent said it."""
        turns = self._measurements.turns(run)
        said = latest(turn.hypothesis for turn in turns) or description(turns)
        return f"run {run}: {line(said) or 'it gave no hypothesis'}"

    def _settings(self, baseline: Record) -> dict[str, Setting]:
        """As the campaign uses them: as the baseline was executed, or as the profile has them where it was not."""
        if baseline.given and self._campaign.spec(self._options.profile).settings:
            return self._campaign.settings(self._options)
        return {name: setting.value for name, setting in baseline.settings.items()}


def recorded_columns(folders: list[Path], contract: Contract) -> Iterator[Column]:
    """The recorded baselines that are context, with the metrics of the contract and what is wrong with them."""
    for folder in folders:
        results = read_run(folder, contract)
        broken = broken_where_known(contract, results.numbers, results.settings)
        note = "; ".join(["recorded elsewhere, context only", *broken])
        yield _recorded_column(folder.name, results.numbers, results.settings, contract, note)


def _recorded_column(
    label: str, metrics: Mapping[str, float], settings: Mapping[str, Setting], contract: Contract, note: str
) -> Column:
    """What was recorded elsewhere, with the metrics and settings that mean something here: those of the contract, where it
    has any. The others are of the code that it was recorded with, and no run would have them."""
    own = {metric.name for metric in contract.metric} or metrics.keys()
    known = {name for profile in contract.profiles.values() for name in profile.settings} | {*contract.comparable}
    return Column(
        label,
        {name: value for name, value in metrics.items() if name in own},
        {name: value for name, value in settings.items() if "." not in name and (name in known or not known)},
        note,
    )


def _run_column(record: Record, contract: Contract) -> Column:
    label = f"run_{record.run}"
    metrics = {name: metric.value for name, metric in record.metrics.items()}
    settings = {name: setting.value for name, setting in record.settings.items()}
    if record.given:
        return _recorded_column(label, metrics, settings, contract, "given, not executed here")
    compared, primary = record.verdict.against_baseline, contract.primary
    errors = {
        name: statistics.stdev(metric.values) / math.sqrt(len(metric.values))
        for name, metric in record.metrics.items()
        if len(metric.values) > 1
    }
    if compared and compared.sd is not None and primary:
        errors[primary.name] = compared.sd / math.sqrt(compared.seeds)
    return Column(label, metrics, settings, errors=errors, seeds=record.seed_count)
