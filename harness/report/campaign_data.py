"""What a person may want to know of a campaign, read once from records, journal, results and git.

Nothing is written, nothing is executed, and nothing has to be complete: the campaign may run, may be of another machine, may
have lost its repository. What cannot be read is said where it would have stood.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..campaign.campaign import Campaign
from ..campaign.contract import Contract
from ..campaign.errors import CannotGoOn
from ..campaign.files import read_bounded
from ..campaign.journal import Event
from ..campaign.layout import Layout
from ..campaign.metric import Metric
from ..campaign.metric_names import telling
from ..campaign.numbers import number
from ..campaign.protocols import EVAL_FOLDER, Curve
from ..campaign.record import AttemptRecord, Record
from ..campaign.repository import Repository
from ..campaign.text import in_words, line
from ..campaign.usage import Usage
from ..results.curves import read_curves
from ..results.run_results import read_run
from ..results.values import Row
from ..statistics.compute import kind_of, multiple
from .terminal.status import NO_EVIDENCE, CampaignStatus, baseline_verdict, read_status

_OUTSIDE = ("../", '".."', "'..'", "pardir", ".parent.parent", "parents[")
"""What code has that leads out of its folder by a relative path."""
END_BYTES = 256 * 1024
"""Of an output, so much of its end is read."""


@dataclass(frozen=True)
class Change:
    """A unified diff of the files that the agent may edit, or why there is none to show."""

    text: str = ""
    missing: str = ""
    command: str = ""
    """That shows the same, in the campaign's folder."""


@dataclass(frozen=True)
class Attempt:
    """One try at a run, with what it changed and the end of what it printed; `hypothesis` is of the run in hand."""

    record: AttemptRecord
    change: Change
    output: str = ""
    hypothesis: str = ""


@dataclass(frozen=True)
class Detail:
    """What lies behind the means of an evaluation: a row for each letter, data set or feature."""

    evaluation: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, float]]

    def cell(self, label: str, column: str, other: Detail | None) -> str:
        """A number, with that of `other` in brackets."""
        mine = self.rows[label].get(column)
        theirs = other.rows.get(label, {}).get(column) if other else None
        return number(mine) + (f" ({number(theirs)})" if theirs is not None else "")


@dataclass(frozen=True)
class Run:
    """A recorded run and what its folder holds."""

    record: Record
    change: Change
    attempts: tuple[Attempt, ...] = ()
    output: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    details: tuple[Detail, ...] = ()

    @property
    def lost(self) -> list[Attempt]:
        """The attempts that became no run."""
        return [attempt for attempt in self.attempts if attempt.record.status != "completed"]

    @property
    def is_evidence(self) -> bool:
        """Whether its numbers may be compared; the baseline's may."""
        return self.record.status == "completed" and (self.record.run == 0 or self.record.verdict.kind not in NO_EVIDENCE)

    def value(self, metric: str) -> float | None:
        """The run's number, the mean over its seeds, None where it has none."""
        found = self.record.metrics.get(metric)
        return found.value if found else None

    def difference(self, primary: str) -> float:
        """Of its primary metric, which it has, from that of its reference."""
        compared, found = self.record.verdict.against_baseline, self.record.metrics[primary]
        if compared is not None:
            return compared.mean - compared.reference_mean
        return found.value if found.difference is None else found.difference

    def values(self, metric: str) -> list[float]:
        """The numbers of its seeds, where there is more than one."""
        found = self.record.metrics.get(metric)
        return found.values if found and len(found.values) > 1 else []

    def compute(self, baseline: Run) -> float | None:
        """Its compute as a multiple of the baseline's; None where one of them was not measured."""
        kind = kind_of(baseline.record)
        return multiple(getattr(self.record, kind), getattr(baseline.record, kind))

    def deviation(self, metric: str) -> float | None:
        """The standard deviation over its seeds, None where it has one."""
        values = self.values(metric)
        return statistics.stdev(values) if values else None


@dataclass(frozen=True)
class CampaignData:
    """One campaign. `in_hand` are the attempts at the run that has no record yet."""

    status: CampaignStatus
    idea: Mapping[str, Any]
    contract: Contract
    planned: int
    """Runs, when the campaign began."""
    created: str
    harness: str
    runs: tuple[Run, ...]
    in_hand: tuple[Attempt, ...]
    output: str
    """The end of what is being executed now, or of the baseline that failed."""
    no_baseline: str = ""
    """Why there is no baseline though it was executed."""
    experiment: Path | None = None
    """Where it was taken from, where this machine has that."""
    empty_folders: tuple[str, ...] = ()
    """What its working copies hold and git does not, as are `links` and `linked`, to what lies elsewhere on this machine."""
    links: Mapping[str, str] = field(default_factory=dict)
    linked: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.status.name

    @cached_property
    def leads_out(self) -> bool:
        """Whether the experiment's code, or what a run changed of it, may lead out of its folder by a relative path."""
        if not self.runs:
            return False
        if any(text in run.change.text for run in self.runs for text in _OUTSIDE):
            return True
        repository, paths = _repository(self.status.folder), [*self.contract.code, *self.contract.files]
        with suppress(CannotGoOn):  # no git, or no repository in this copy of the campaign
            return bool(repository and repository.mentioning(self.runs[0].record.commit, _OUTSIDE, paths))
        return False

    @property
    def primary(self) -> Metric | None:
        return self.contract.primary

    @property
    def baseline(self) -> Run | None:
        return self.runs[0] if self.runs else None

    @cached_property
    def best(self) -> Run | None:
        """The run that is best beside its reference, in the primary metric, of those that improved on it, else of those
        that did at the cost of another metric, else of those that are evidence, which does not say that it is better."""
        primary = self.primary
        sound = [run for run in self.runs[1:] if run.is_evidence and primary and run.value(primary.name) is not None]
        better = [[run for run in sound if self.verdict(run) == kind] for kind in ("improved", "trade_off")]
        improved = [run for run in better[0] if run.record.verdict.kind == "improved"] or better[0] or better[1]
        if primary is None or not sound:
            return None
        sign = 1 if primary.better == "lower" else -1
        return min(improved or sound, key=lambda run: sign * run.difference(primary.name))

    def verdict(self, run: Run) -> str:
        """The verdict on the run against the baseline; `record.verdict.kind` is the one against its parent."""
        return baseline_verdict(run.record.verdict.model_dump(), self.primary.better if self.primary else None)

    @property
    def environment(self) -> Mapping[str, str]:
        """That of the first executed run; where another's differs, that run says so."""
        return next((run.record.environment for run in self.runs if run.record.environment), {})

    @property
    def metrics(self) -> list[Metric]:
        """Those of the contract as a table lists them: the one that decides, its guards, others with a direction, the rest;
        within each in the contract's order."""
        return sorted(self.contract.metric, key=lambda each: (not each.primary, each.guard is None, each.better is None))

    @property
    def directed(self) -> list[Metric]:
        """Those of `metrics` that are better in a direction, and the one that the primary metric moves with."""
        mover = self.primary.moves_with if self.primary else None
        return [each for each in self.metrics if each.better is not None or each.name == mover]

    @property
    def context(self) -> list[Metric]:
        """What the primary metric is shown against: of the contract's others the first with a direction, and the first
        without one. The order of the contract is the order of importance. Where none is primary, what is shown instead."""
        if self.primary is None:
            return [self._metric(name) for name in telling([run.record.metrics for run in self.runs])]
        others = [m for m in self.contract.metric if not m.primary and self._has(m.name)]
        directed = [metric for metric in others if metric.better is not None]
        neutral = [metric for metric in others if metric.better is None]
        return [*neutral[:1], *directed[:1]]

    def _metric(self, name: str) -> Metric:
        return next((metric for metric in self.contract.metric if metric.name == name), Metric(name=name))

    def _has(self, metric: str) -> bool:
        return sum(run.value(metric) is not None for run in self.runs) >= 2


def read_campaign_data(layout: Layout) -> CampaignData:
    """The data of the campaign in `layout`. Raises CannotGoOn for a record, options or journal that is damaged."""
    status, campaign = read_status(layout), Campaign(layout.root)
    facts = layout.facts()
    events = layout.events()
    try:
        contract = Contract.model_validate(facts["contract"])
        records = [Record.of(data) for data in layout.records()]
    except (KeyError, ValidationError) as error:
        raise CannotGoOn(f"{layout.root}: a record or the contract in it cannot be read: {error}") from error
    reader = _Reader(layout, contract, records, events)
    step = status.step
    no_baseline = reader.no_baseline(status)
    output = ""
    if no_baseline:
        output = end_of(layout.record_file(0).parent / "log.txt")
    elif step and status.state == "running":
        output = end_of(layout.output(step.name))
    return CampaignData(
        status=status,
        idea=layout.read_idea(),
        contract=contract,
        planned=int(facts["options"]["max_runs"]),
        created=str(facts.get("created", "")),
        harness=str(facts.get("harness", "")),
        runs=tuple(reader.run(record) for record in records),
        in_hand=reader.in_hand(status),
        output=output,
        no_baseline=no_baseline,
        experiment=campaign.experiment,
        empty_folders=tuple(facts.get("empty_folders", ())),
        links=facts.get("links", {}),
        linked=campaign.linked,
    )


def change_between(campaign: CampaignData, old: Record, new: Record) -> Change:
    """What differs in the code of two runs."""
    contract = campaign.contract
    return _difference(campaign.status.folder, old.commit, new.commit, contract.code)


def end_of(path: Path) -> str:
    """The end of an output, at most END_BYTES, marked where it was cut; empty where there is none."""
    data, cut = read_bounded(path, END_BYTES, from_end=True)
    text = data.decode(errors="replace")
    return f"[…] {text}" if cut else text


class _Reader:
    """Reads runs and attempts of one campaign."""

    def __init__(self, layout: Layout, contract: Contract, records: Sequence[Record], events: Iterable[Event]) -> None:
        self._layout = layout
        self._contract = contract
        self._log = contract.training_log
        self._code = contract.code
        self._records = records
        self._results = {event["step"]: event["result"] for event in events if event["event"] == "done"}
        repository = _repository(layout.root)
        self._patches: dict[tuple[str, str], str] = {}
        with suppress(CannotGoOn):  # it is said where a change would stand
            self._patches = repository.diffs([*self._compared()], self._code) if repository else {}

    def _compared(self) -> Iterator[tuple[str, str]]:
        """The commits between which there is a change to show: a run's parent and it, and what a failed attempt tried."""
        commits = {record.run: record.commit for record in self._records}
        for record in self._records:
            if record.parent in commits:
                yield commits[record.parent], record.commit
            for attempt in record.attempts:
                if (
                    attempt.status != "completed"
                    and attempt.commit
                    and (base := self._turn(record.run, attempt.number).get("base"))
                ):
                    yield str(base), attempt.commit

    def run(self, record: Record) -> Run:
        folder = self._layout.record_file(record.run).parent
        return Run(
            record=record,
            change=self._change_of(record),
            attempts=tuple(self._attempt(record.run, attempt) for attempt in record.attempts),
            output=end_of(folder / "log.txt"),
            curves=read_curves(folder / self._log),
            details=self._details(folder) if record.status == "completed" else (),
        )

    def no_baseline(self, status: CampaignStatus) -> str:
        """Why there is no baseline though it was executed; empty where there is one, or may still be."""
        if self._records or status.state == "running":
            return ""
        failure = (self._results.get("run_0/execute") or {}).get("failure")
        if failure:
            return f"it {in_words(failure['status'])}: {line(failure['why'])}"
        return line(status.message.split("\n")[0]) if status.reason in ("cannot_go_on", "baseline_failed") else ""

    def _details(self, folder: Path) -> tuple[Detail, ...]:
        """What lies behind the means of the run's evaluations. What a scorer measures is taken from its files alone."""
        rows = read_run(folder, self._contract).rows
        is_scored = bool(self._contract.scorer)
        return _details(row for row in rows if not is_scored or row.file.startswith(f"{EVAL_FOLDER}/"))

    def in_hand(self, status: CampaignStatus) -> tuple[Attempt, ...]:
        """The attempts at the run after the last record, as far as the journal knows them."""
        found = []
        for row in status.rows:
            if row.attempt is None or row.run < len(self._records) or row.status == "all_completed":
                continue
            turn = self._turn(row.run, row.attempt)
            record = AttemptRecord.model_construct(
                number=row.attempt,
                status=row.status,
                why=row.description if row.status != "in_hand" else "",
                commit=turn.get("commit"),
                searched=row.searched,
                by_person=turn.get("by_person", False),
                forced=turn.get("forced", False),
                restored=turn.get("restored", []),
                usage=Usage(**turn.get("usage", {})),
                seconds=row.seconds,
            )
            attempt = self._attempt(row.run, record)
            found.append(replace(attempt, hypothesis=turn.get("hypothesis", "")))
        return tuple(found)

    def _attempt(self, run: int, attempt: AttemptRecord) -> Attempt:
        of_run = self._layout.record_file(run).parent
        folder = of_run / "attempts" / str(attempt.number)
        if attempt.status == "completed" and run < len(self._records):  # its change and output are the run's
            return Attempt(attempt, Change())
        base = self._turn(run, attempt.number).get("base")
        change = Change(missing="It changed no file that the agent may edit.")
        if attempt.commit:
            change = (
                self._change(str(base), attempt.commit) if base else Change(missing="The journal does not say from what.")
            )
        executed = (of_run if attempt.status == "completed" else folder) / "log.txt"
        output = next((text for path in (executed, folder / "smoke.txt") if (text := end_of(path))), "")
        return Attempt(attempt, change, output)

    def _turn(self, run: int, attempt: int) -> Mapping[str, Any]:
        found = self._results.get(f"run_{run}/attempt_{attempt}/turn")
        return found if isinstance(found, dict) else {}

    def _change_of(self, record: Record) -> Change:
        if record.parent is None:
            return Change(missing="The unmodified experiment: it has no change.")
        if record.status != "completed":
            return Change(missing="No change could be executed; what was tried is below.")
        parent = next((each for each in self._records if each.run == record.parent), None)
        if parent is None:
            return Change(missing=f"Run {record.parent}, from which it started, has no record here.")
        return self._change(parent.commit, record.commit)

    def _change(self, old: str, new: str) -> Change:
        return _difference(self._layout.root, old, new, self._code, self._patches)


def _difference(
    folder: Path, old: str, new: str, code: Sequence[str], known: Mapping[tuple[str, str], str] | None = None
) -> Change:
    """`known`: patches that were read before, many at once."""
    repository = _repository(folder)
    if repository is None:
        return Change(missing="The campaign's git repository is not in this copy of its folder.")
    try:
        text = repository.diff(old, new, code) if known is None or (old, new) not in known else known[old, new]
    except CannotGoOn as error:
        return Change(missing=f"Git cannot show it: {error}")
    return Change(text, command=f"git diff {old[:12]} {new[:12]}") if text else Change(missing="The same code.")


def _repository(folder: Path) -> Repository | None:
    """The campaign's, None where this copy of its folder has none."""
    root = folder.absolute()
    return Repository(root, root / ".harness") if (root / ".git").exists() else None


def _details(rows: Iterable[Row]) -> tuple[Detail, ...]:
    """The rows of evaluations that have a label in their key, `…[letter].metric`, as tables."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        path, bracket, metric = row.key.rpartition("].")
        label = path.rpartition("[")[2]
        if bracket and label and "." not in metric:
            found.setdefault(row.eval, {}).setdefault(label, {})[metric] = row.value
    return tuple(
        Detail(evaluation, tuple(dict.fromkeys(name for each in labels.values() for name in each)), labels)
        for evaluation, labels in found.items()
    )
