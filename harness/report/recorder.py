"""Recording: what was measured becomes the record, the notes and a commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..campaign.budget import spent
from ..campaign.campaign import ATTEMPTS
from ..campaign.contract import CONTRACT_FILE
from ..campaign.errors import BaselineFailed
from ..campaign.files import files_below, read_text, write_atomically
from ..campaign.holdout_record import HoldoutRecord
from ..campaign.integrity import WROTE, blob_id, differences, put_back, written
from ..campaign.journal import BEGUN_ANEW, CLOSE
from ..campaign.layout import HOLDOUT
from ..campaign.notes_text import NOTES, person_section
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.record import RECORD_FILE, AttemptRecord, Record, ReviewRecord, VerdictRecord
from ..campaign.text import in_words, line
from ..campaign.turn import Turn, description, latest, turn_key
from ..campaign.usage import Usage
from ..execution.executions import Executions
from ..execution.measurements import Measurements, compute, start_step
from ..results.run_results import read_run
from ..results.sanity import broken_where_known
from ..statistics.comparability import compare_metrics, compare_settings
from ..statistics.power import smallest_effect_in_words
from ..statistics.references import MeasuredRun, usable
from .conclusion import conclude, cost
from .control import control_line
from .notes import render_notes
from .terminal.held_out import evaluation, held_out

_PACKED_EVERY = 10  # runs
IN_GIT = 1_000_000  # bytes; larger files (checkpoints) stay out of git


class Recorder(CampaignPart):
    """Writes records, notes and commits of results; knows which run's code comes next."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._measurements = Measurements(opened)
        self._executions = executions
        self._sections: dict[int, tuple[Record, str]] = {}
        self._turns: list[Path] = []
        """Those that the campaign's session holds."""

    def recover(self) -> None:
        """Undo what a crash left half done in the repository."""
        if self._journal.is_done("start"):
            kept = self._journal.is_done
            self._repository.recover(lambda step: step == CLOSE or kept(step), self._campaign.code)
            for each in differences(self._campaign.root, self._journal.events):
                self._view.say(put_back(self._campaign.root, each))

    def start(self) -> None:
        """The first commit: idea, options, contract and the untouched experiment."""

        def effect() -> dict[str, Any]:
            if not any(self._journal.of(BEGUN_ANEW)):
                self._repository.create()
            root = self._campaign.root
            campaign = self._campaign
            own = (campaign.idea_file, campaign.options_file, campaign.replayed, campaign.given)
            names = [*campaign.experiment_files, *(path.name for path in own)]
            on_disk = [path for name in names for path in _files_below(root, root / name)]
            code = {path: (root / path).read_bytes() for path in on_disk if path in self._campaign.code}
            others = [path for path in on_disk if path not in code]
            begun_with = (campaign.idea_file, campaign.options_file, root / CONTRACT_FILE)
            frozen = [file for file in begun_with if file.is_file()]
            self._journal.append(WROTE, files={file.name: self._repository.store(file.read_bytes()) for file in frozen})
            commit = self._repository.commit("start", f"Start: {line(self._campaign.idea.Title)}", code, others)
            return {"commit": commit, "given": self._campaign.has_given_baseline}

        fresh = not self._journal.is_done("start")
        self._journal.once("start", effect)
        self._journal.once("environment", self._executions.describe_environment)
        missing = self._campaign.contract.not_judged
        if not fresh:  # it was said then
            return
        if not (self._campaign.root / CONTRACT_FILE).exists():
            self._view.say(f"without {CONTRACT_FILE}: {'; '.join(missing)}")
        else:
            for sentence in missing:
                self._view.say(f"the contract has {sentence}")

    def has(self, run: int) -> bool:
        """Whether `run` is recorded."""
        return self._journal.is_done(f"run_{run}/record")

    def record_baseline(self) -> Record:
        """The record of run 0. Raises BaselineFailed when the contract's own rules say that it is no baseline."""
        fresh = not self.has(0)
        record = self._once(0, self._baseline)
        primary, spec = self._campaign.contract.primary, self._campaign.spec(self._options.profile)
        if fresh and primary and primary.name not in spec.noise and len(record.by_seed(primary.name)) > 1:
            values = [*record.by_seed(primary.name).values()]  # now in the metric's unit
            self._view.say(smallest_effect_in_words(self._campaign.contract, spec, self._campaign.planned_runs, values))
        return record

    def record(self, run: int) -> Record:
        """The record of `run`, from what its attempts left."""
        return self._once(run, lambda: self._record(run))

    def judge_again(self, run: int) -> Record:
        """Judge a recorded run with the seeds that it has now. Those of the baseline change what later runs are held to."""
        records = self._measurements.records
        old = records[run]
        if run == 0:
            facts: dict[str, Any] = self._measurements.baseline_facts()
        else:
            measured = self._measurements.measured_run(run)
            facts = self._numbers(measured) | {
                "warnings": [*old.warnings, *(text for text in measured.failed_seeds if text not in old.warnings)]
            }
            verdict = self._measurements.judge().judge(measured)
            if facts["seeds"] != old.seeds or _rests_on(verdict) != _rests_on(old.verdict):
                facts |= {"verdict": verdict, "earlier_verdicts": [*old.earlier_verdicts, old.verdict]}
        seconds = sum(attempt.seconds for attempt in old.attempts) + self._measurements.seconds_beside(run)
        new = old.model_copy(update=facts | {"seconds": seconds})
        self._opened.write_record(new)
        self._commit(CLOSE, f"Run {run}: looked at again, {in_words(new.verdict.kind)}", run, {})
        self.put_start_code(len(records))
        self._view.recorded(new)
        return new

    def put_start_code(self, run: int) -> None:
        """Put the code in place that `run` is to start from, where a second look has changed which that is: not where it has
        begun, or where a person has changed the code that is there."""
        if self._measurements.turns(run):
            return
        best = self._measurements.best(self._measurements.records)
        if self._measurements.start_of(run)["from"] == best.run or self._opened.person_diff():
            return
        number = sum(e["step"].startswith(start_step(run)) for e in self._journal.of("done"))
        step = f"{start_step(run)}{number}"
        title = f"Run {run} starts from run {best.run}"

        def effect() -> dict[str, Any]:
            return {"commit": self._commit(step, title, run, self._code_of(best)), "from": best.run}

        self._journal.once(step, effect)

    def add_scores(self, run: int, evals: str, skipped: list[str]) -> Record:
        """Add to a run's record what a further scoring left. Its verdict stands: it rests on what all runs are scored by."""
        old = self._opened.records[run]
        if run:
            measured = self._measurements.measured_run(run)
            metrics, findings = self._numbers(measured)["metrics"], next(iter(measured.rests_on.values())).findings
        else:
            by_seed, _ = self._measurements.baseline_by_seed()
            metrics = compare_metrics(by_seed, None, own_seeds=self._measurements.own_seeds)
            findings = by_seed[0].findings
        found = [*map(str, findings), *skipped]
        warnings = [*old.warnings, *(text for text in found if text not in old.warnings)]
        new = old.model_copy(update={"metrics": metrics, "warnings": warnings})
        self._opened.write_record(new)
        self._write_notes()
        self._commit(CLOSE, f"Run {run}: scored by {evals}", run, {})
        self._view.recorded(new)
        return new

    def _numbers(self, measured: MeasuredRun) -> dict[str, Any]:
        """What of a run's record rests on its seeds."""
        references = {each.name: each.metrics for each in measured.final_references if usable(each)}
        return {
            "seeds": list(measured.rests_on),
            "stage_seeds": list(measured.by_seed) if measured.final else [],
            "final_references": list(measured.final_references),
            **compute(self._measurements.outcomes(measured.run)),
            "metrics": compare_metrics(
                list(measured.rests_on.values()),
                self._measurements.records[0],
                own_seeds=self._measurements.own_seeds,
                stages=list(measured.by_seed.values()) if measured.final else [],
                beside=references.get("run_0"),
            ),
        }

    def record_holdout(self, number: int, make: Callable[[], HoldoutRecord]) -> None:
        """The record of a held-out evaluation."""
        step = f"{HOLDOUT}{number}/record"
        fresh = not self._journal.is_done(step)

        def effect() -> dict[str, Any]:
            record, folder = make(), self._campaign.holdout_folder(number)
            file = folder / RECORD_FILE
            path = str(file.relative_to(self._campaign.root))
            self._journal.append(WROTE, files={path: self._repository.store(record.content)})
            folder.mkdir(exist_ok=True)
            write_atomically(file, record.content)
            title = f"Held-out evaluation: {in_words(record.status)}"
            return {"commit": self._commit(step, title, folder, {}), "status": record.status}

        self._journal.once(step, effect)
        if fresh:
            primary = self._campaign.contract.primary
            self._view.say(evaluation(self._campaign.holdouts()[number - 1], primary.name if primary else ""))

    def add_review(self, record: Record, review: ReviewRecord | None, warning: str) -> None:
        """Add the reviewer's advice, or why there is none, to the record of a run."""
        warnings = [*record.warnings, *([warning] if warning and warning not in record.warnings else [])]
        self._opened.write_record(record.model_copy(update={"review": review, "warnings": warnings}))
        self._write_notes()

    def close(self, ended: bool) -> None:
        """Render the notes and commit what came after the last record: the agent's last words, the journal's last line.

        Where the campaign has `ended`, the notes close with the harness's own conclusion.
        """
        # What ended it may have cut off a step's commit; with one on top, that step's change would look like a person's.
        self.recover()
        if not self.has(0):
            return
        records = self._opened.records
        used = spent(self._journal.events)
        words = cost(records, used.tokens, used.usage.cost, used.seconds)
        facts, options = self._campaign.facts(), self._options.model_dump()
        found = held_out(facts, options, self._campaign.holdouts(), records[-1].run)
        control = control_line(self._campaign, self._campaign.contract, records)
        self._write_notes(conclude(self._campaign.contract, records, words, found, control) if ended else "")
        self._commit(CLOSE, "Where the campaign stands", len(records), {})

    def _once(self, run: int, make: Any) -> Record:
        step = f"run_{run}/record"
        fresh = not self._journal.is_done(step)

        def effect() -> dict[str, Any]:
            record: Record = make()
            # Before the commit, which is to hold both; a crash in between has both written again, from the same results.
            self._opened.write_record(record)
            self._write_notes()
            title = f"Run {run}: {record.status}, {in_words(record.verdict.kind)}"
            # Until this step is done its record is not among `records`.
            best = self._measurements.best([*self._measurements.records, record])
            commit = self._commit(step, title, run, self._code_of(best))
            self._repository.tag(f"run_{run}", commit)
            if run % _PACKED_EVERY == 0:
                self._repository.pack()
            return {"commit": commit, "status": record.status, "verdict": record.verdict.kind, "from": best.run}

        self._journal.once(step, effect)
        record = self._opened.records[run]
        if fresh:
            self._view.recorded(record)
        return record

    def _baseline(self) -> Record:
        given = self._journal.result("start")["given"]
        folder = self._campaign.run_folder(0)
        results = read_run(folder, self._campaign.contract)
        contract = self._campaign.contract
        if given:
            broken = broken_where_known(contract, results.numbers, results.settings)
        else:
            by_seed, seeds = self._measurements.baseline_by_seed()
            broken = self._measurements.problems(dict(zip(seeds, by_seed, strict=True)), None)
        if broken:
            raise BaselineFailed(
                "the baseline is no evidence, so nothing could be compared with it: "
                + "; ".join(broken)
                + f". Mend the experiment or its contract; what it left is in {folder}."
            )
        execution = {} if given else self._journal.result("run_0/execute")
        others = [] if given else self._measurements.executed(0, "seed")
        facts = self._measurements.baseline_facts()
        unread = [self._unread(len(facts["seeds"]))] if facts["ignores_seed"] else []
        for sentence in unread:
            self._view.say(sentence)
        lost = [f"seed {seed} is missing: {result['failure']['why']}" for seed, result in others if result["failure"]]
        return Record(
            run=0,
            status="completed",
            verdict=VerdictRecord(
                kind="baseline", why="Given, not executed here." if given else "The untouched experiment."
            ),
            commit=self._journal.result("start")["commit"],
            command=self._executions.command(0),
            given=given,
            seed=None if given else self._campaign.contract.seed,
            settings=compare_settings(results, None),
            warnings=[*map(str, results.findings), *execution.get("warnings", []), *lost, *unread],
            seconds=self._measurements.seconds_beside(0),
            started=self._measurements.started("run_0/"),
            environment={} if given else self._journal.result("environment"),
            **(facts | ({"seeds": []} if given else {})),
        )

    def _unread(self, seeds: int) -> str:
        """That the baseline's seeds are all the same, and what would mend it."""
        read = "HARNESS_SEED changes nothing" if self._measurements.names_seed else "HARNESS_SEED is not read"
        return (
            f"all {seeds} seeds of the baseline gave the same numbers, times aside: {read}, so no others are executed. "
            'An experiment that seeds its random numbers with int(os.environ["HARNESS_SEED"]) has its noise measured'
        )

    def _record(self, run: int) -> Record:
        turns = self._measurements.turns(run)
        last = turns[-1]
        attempts = [self._attempt(turn) for turn in turns]
        done = attempts[-1].status == "completed"
        usage = Usage()
        for turn in turns:
            usage += turn.usage
        facts: dict[str, Any] = {
            "run": run,
            "commit": last.commit or last.base,
            "overrides": last.overrides,
            "parent": self._measurements.parent(run).run,
            "hypothesis": latest(turn.hypothesis for turn in turns),
            "plan": latest(turn.plan for turn in turns),
            "description": description(turns),
            "command": self._executions.command(run),
            "attempts": attempts,
            "usage": usage,
            "agent": latest(turn.agent for turn in turns),
            "models": list(dict.fromkeys(model for turn in turns for model in turn.models)),
            "agent_sandbox": latest(turn.sandbox for turn in turns),
            "started": self._measurements.started(f"run_{run}/"),
            "environment": self._journal.result("environment"),
            "messages": [text for turn in turns for text in turn.messages],
            "seconds": sum(attempt.seconds for attempt in attempts) + self._measurements.seconds_beside(run),
        }
        if not done:
            why = f"no attempt of {len(attempts)} could be executed well; the last: {attempts[-1].why}"
            return Record(status="failed", verdict=VerdictRecord(kind="failed", why=why), **facts)
        execution = self._journal.result(f"{turn_key(run, last.attempt)}/execute")
        measured = self._measurements.measured_run(run)
        results, seed, baseline = measured.results, self._campaign.contract.seed, self._measurements.records[0]
        verdict, idle = self._measurements.judge().judge(measured), self._idle(last)
        without_effect = verdict.kind == "no_effect"
        return Record(
            status="completed",
            verdict=verdict,
            seed=seed,
            control=measured.control,
            frontier=list(measured.frontier),
            settings=compare_settings(results, baseline),
            warnings=[
                *map(str, results.findings),
                *execution["warnings"],
                *_unconfined(execution),
                *measured.failed_seeds,
                *measured.fixed_seeds,
                *(idle if without_effect else []),
            ],
            advice=[] if without_effect else idle,
            **(facts | self._numbers(measured)),
        )

    def _idle(self, turn: Turn) -> list[str]:
        """What of the change the smoke test did not execute, in a sentence."""
        smoke = self._journal.result(f"{turn.key}/smoke_test") or {}
        lines = smoke.get("never_ran")
        return [f"these changed lines never ran in the smoke test: {lines}"] if lines else []

    def _attempt(self, turn: Turn) -> AttemptRecord:
        """What became of a turn: the first thing in its way, or that it was executed."""
        pre_check = self._journal.result(f"{turn.key}/pre_check")
        smoke = self._journal.result(f"{turn.key}/smoke_test")
        executed = self._journal.result(f"{turn.key}/execute")
        status: Any = "completed"
        why, seconds = "", 0.0
        if pre_check and pre_check["rejected"]:
            status, why = ("no_answer" if turn.no_answer else "rejected"), pre_check["rejected"]
        for result in filter(None, (smoke, executed)):
            seconds += result["outcome"]["seconds"]
            if result["failure"]:
                status, why = result["failure"]["status"], result["failure"]["why"]
        # Of what the agent's machinery says the first lines are for people; an example of an edit is for the model.
        notices = [notice.partition("\n")[0] for notice in turn.notices]
        if status == "rejected":
            why, notices = " ".join([why, *notices]), []
        if turn.all_completed and pre_check is None:
            status, why = "no_answer", "the agent said ALL_COMPLETED"
        return AttemptRecord(
            number=turn.attempt,
            status=status,
            why=why,
            commit=turn.commit,
            by_person=turn.by_person,
            forced=turn.forced,
            restored=[*turn.restored, *notices],
            usage=turn.usage,
            seconds=round(seconds, 3),
        )

    def _code_of(self, record: Record) -> dict[str, bytes | None]:
        """The code of a run; None for a file that it has not and a later run may have made."""
        code = self._repository.files(record.commit, self._campaign.code)
        return {path: code.get(path) for path in self._campaign.code}

    def _commit(self, step: str, title: str, made: int | Path, code: Mapping[str, bytes | None]) -> str:
        """Results and records of what was `made`, a run or the folder of something else, notes and journal, with `code` put
        in place; what a person edited meanwhile stays."""
        campaign = self._campaign
        root = campaign.root
        folder = made if isinstance(made, Path) else campaign.run_folder(made)
        paths = [p for p in _files_below(root, folder) if (root / p).stat().st_size <= IN_GIT]
        own = [campaign.notes, campaign.session, campaign.journal]
        own += [campaign.record_file(made - 1)] if isinstance(made, int) else []
        known = written(self._journal.events)
        ids = {
            path: blob_id((root / path).read_bytes())
            for path in paths
            if _is_result(path) and os.access(root / path, os.R_OK)
        }
        if new := {path: blob for path, blob in ids.items() if known.get(path) != blob}:
            self._journal.append(WROTE, files=new)
        paths += [str(path.relative_to(root)) for path in own if path.is_file()]
        return self._repository.commit(step, title, code, paths, keep=self._repository.edited(code))

    def _write_notes(self, closing: str = "") -> None:
        campaign = self._campaign
        old = read_text(campaign.notes, "replace") if campaign.notes.exists() else ""
        text = render_notes(
            campaign.idea,
            campaign.contract,
            self._options.profile,
            self._opened.records,
            used=spent(self._journal.events).usage,
            person=person_section(old),
            closing=closing,
            sections=self._sections,
        )
        self._journal.append(WROTE, files={NOTES: self._repository.store(text.encode())})
        write_atomically(campaign.notes, text)
        self._write_session()

    def _write_session(self) -> None:
        """All turns in one file. It is made anew by each process, and extended from then on."""
        runs = (
            [f"run_{run}" for run in range(_turn_order(self._turns[-1])[0], len(self._opened.records) + 1)]
            if self._turns
            else ["run_*"]
        )
        found = [path for run in runs for path in self._campaign.root.glob(f"{run}/attempts/*/session.md")]
        turns = sorted(set(found) - set(self._turns), key=_turn_order)
        text = "".join(path.read_text(encoding="utf-8") for path in turns)
        if self._turns:
            with self._campaign.session.open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            write_atomically(self._campaign.session, text)
        self._turns += turns


def _is_result(path: str) -> bool:
    """Whether numbers of the record stand in the file at `path` of a run's folder, or of one of its seeds or controls."""
    parts = Path(path).parts
    return path.endswith(".json") and parts[-1] != RECORD_FILE and ATTEMPTS not in parts


def _rests_on(verdict: VerdictRecord) -> list[Any]:
    """What a verdict was formed from: how many seeds, beside what, and what was doubted."""
    compared = [each for each in (verdict.against_parent, verdict.against_baseline) if each]
    return [verdict.caveats, *((each.reference, each.seeds, each.reference_seeds) for each in compared)]


def _unconfined(execution: dict[str, Any]) -> list[str]:
    if execution["outcome"]["confined"]:
        return []
    return ["This system could not hold the experiment to its own folders; it could have written elsewhere."]


def _files_below(root: Path, path: Path) -> list[str]:
    """Regular files at and below `path`, relative to `root`; links are not followed."""
    if path.is_symlink() or not path.exists():
        return []
    if path.is_file():
        return [str(path.relative_to(root))]
    return [str(file.relative_to(root)) for file in files_below(path)]


def _turn_order(path: Path) -> tuple[int, int]:
    return int(path.parts[-4].removeprefix("run_")), int(path.parts[-2])
