"""Recording: what was measured becomes the record, the notes and a commit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..agents.submission import Base
from ..campaign.campaign import ATTEMPTS, SESSION
from ..campaign.contract import CONTRACT_FILE
from ..campaign.files import files_below, read_text, write_atomically
from ..campaign.given_runs import GivenRuns
from ..campaign.holdout_record import HoldoutRecord
from ..campaign.integrity import VERIFIED, WROTE, blob_id, check_not_set_back, differences, identities, put_back, written
from ..campaign.journal import BEGUN_ANEW, CLOSE, PARTS, parts
from ..campaign.layout import HOLDOUT
from ..campaign.notes_text import NOTES, NOTES_PARTS, person_section
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.record import RECORD_FILE, Record, ReviewRecord
from ..campaign.text import in_words, line
from ..campaign.turn import turn_key
from ..execution.executions import Executions
from ..execution.measurements import Measurements
from ..execution.rounds import start_step
from ..statistics.power import smallest_effect_in_words
from .conclusion import conclude, cost
from .control import control_line
from .notes import RunNotes, part_with, parts_before, render_notes, render_part
from .run_records import RunRecords
from .session_file import SessionFile
from .terminal.held_out import evaluation, held_out

_PACKED_EVERY = 10  # runs
IN_GIT = 1_000_000  # bytes; larger files (checkpoints) stay out of git
_RECORD = re.compile(rf"run_(\d+)/{re.escape(RECORD_FILE)}")


class Recorder(CampaignPart):
    """Writes records, notes and commits of results; knows which run's code comes next."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._measurements = Measurements.of(opened)
        self._records = RunRecords(opened, executions, self._measurements)
        self._executions = executions
        self._notes_of_runs: dict[int, RunNotes] = {}
        self._notes = self._persons = ""
        """The notes as they were last written, and what of them is the person's."""
        self._written: dict[str, str] = {}
        self._read = 0
        """Events of the journal of which `_written` knows what was written."""
        self._parts: set[str] = set()
        """Parts of the notes that tell of runs as they were recorded last."""
        self._session = SessionFile(opened)

    def recover(self) -> tuple[str, ...]:
        """Undo what a crash left half done in the repository, and what somebody edited of what the harness wrote. Returns
        the latter, a sentence each."""
        check_not_set_back(self._campaign.root)  # first: what is undone then could be a run that somebody's git has undone
        if self._journal.is_done("start"):
            kept = self._journal.is_done
            self._repository.recover(lambda step: step == CLOSE or kept(step), self._campaign.code)
        begun = self._journal.is_done("start")
        found = differences(self._campaign.root, self._journal.events) if begun else []
        said = tuple(put_back(self._campaign.root, each) for each in found)
        for sentence in said:
            self._view.say(sentence)
        return said

    def start(self) -> None:
        """The first commit: idea, options, contract and the untouched experiment."""

        def effect() -> dict[str, Any]:
            if not any(self._journal.of(BEGUN_ANEW)):
                self._repository.create()
            root = self._campaign.root
            campaign = self._campaign
            told = (campaign.idea_file, campaign.options_file, campaign.given_runs_file, campaign.memory_file)
            own = (*told, campaign.replayed, campaign.given)
            names = dict.fromkeys([*campaign.experiment_files, *(path.name for path in (*own, *campaign.bibliographies))])
            on_disk = [path for name in names for path in _files_below(root, root / name)]
            code = {path: (root / path).read_bytes() for path in on_disk if path in self._campaign.code}
            others = [path for path in on_disk if path not in code]
            frozen = [file for file in (*told, root / CONTRACT_FILE) if file.is_file()]
            self._journal.append(WROTE, files={file.name: self._repository.store(file.read_bytes()) for file in frozen})
            commit = self._repository.commit("start", f"Start: {line(self._campaign.idea.Title)}", code, others)
            return {"commit": commit, "given": self._campaign.has_given_baseline}

        fresh = not self._journal.is_done("start")
        self._journal.once("start", effect)
        self._journal.once("environment", self._executions.describe_environment)
        missing = self._campaign.contract.not_judged
        if not fresh or (self._options.observed and self._campaign.has_given_baseline):  # said then; nothing is executed
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
        record = self._once(0, self._records.baseline)
        primary, spec = self._campaign.contract.primary, self._campaign.spec(self._options.profile)
        # Of seeds of its own the profile says nothing.
        known = primary is None or primary.name in spec.noise or not record.has_other_seeds
        if fresh and primary and not known and len(record.by_seed(primary.name)) > 1:
            values = [*record.by_seed(primary.name).values()]  # now in the metric's unit
            self._view.say(smallest_effect_in_words(self._campaign.contract, spec, self._campaign.planned_runs, values))
        return record

    def record_given(self) -> None:
        """The records of the runs that the campaign begins with: those of a loop that was observed."""
        missing = [run for run in range(1, self._options.observed + 1) if not self.has(run)]
        if not missing:
            return
        given = GivenRuns.read(self._campaign.root)
        for run in missing:
            step = f"run_{run}/given"
            self._campaign.run_folder(run).mkdir(exist_ok=True)  # of one that left nothing there is none
            title = f"Run {run}, given: {line(given.runs[run].name)}"
            code = {given.code_file: given.code_of(run)}
            made = self._journal.once(step, lambda: {"commit": self._repository.commit(step, title, code)})  # noqa: B023
            self._once(run, lambda: self._records.given(run, given, made["commit"]))  # noqa: B023

    def record(self, run: int) -> Record:
        """The record of `run`, from what its attempts left."""
        return self._once(run, lambda: self._records.run(run))

    def judge_again(self, run: int) -> Record:
        """Judge a recorded run with the seeds that it has now. Those of the baseline change what later runs are held to."""
        new = self._records.judged_again(run)
        self._opened.write_record(new)
        self._commit(CLOSE, f"Run {run}: looked at again, {in_words(new.verdict.kind)}", run, {})
        self.put_code(len(self._measurements.records))
        self._view.recorded(new)
        return new

    def put_code(self, run: int, attempt: int = 1, base: Base | None = None) -> None:
        """Put the code in place that this attempt starts from, where that is not there: a second look has changed which run
        is the best, a sibling's code is there, or the change was edited from other code, its `base`. What a person has
        changed of what is there stays, and without a `base` all that is there does."""
        if self._journal.is_done(f"{turn_key(run, attempt)}/turn"):
            return
        rounds, turns = self._measurements.rounds, self._measurements.turns(run)
        origin = rounds.start_of(run)["from"]
        title = f"Run {run} starts from run {origin}"
        if base:
            commit, is_there = base.commit, origin == base.run and self._is_in_place(base.commit)
            origin = base.run
            title = f"Run {run} starts from run {origin}"
        elif run == rounds.first(run) and not rounds.has_begun(run):
            best = self._measurements.best(self._measurements.records)
            commit, is_there, origin = best.commit, origin == best.run, best.run
            title = f"Run {run} starts from run {origin}"
        else:
            commit = (turns[-1].commit or turns[-1].base) if turns else self._measurements.start_commit(run)
            is_there = self._journal.is_dry or not rounds.siblings(run) or self._is_in_place(commit)
            title = f"Run {run} goes on from its attempt {len(turns)}" if turns else title
        if is_there or (base is None and self._opened.person_diff()):
            return
        number = sum(e["step"].startswith(start_step(run)) for e in self._journal.of("done"))
        step = f"{start_step(run)}{number}"

        def effect() -> dict[str, Any]:
            # Not the journal: in a round others write it meanwhile.
            code = self._code_at(commit)
            return {"commit": self._repository.commit(step, title, code, keep=self._repository.edited(code)), "from": origin}

        self._journal.once(step, effect)

    def _is_in_place(self, commit: str) -> bool:
        """Whether the code of `commit` is what the harness wrote last."""
        there, code = self._repository.last_of_a_step(), self._campaign.code
        return self._repository.blobs(there, code) == self._repository.blobs(commit, code)

    def add_scores(self, run: int, evals: str, skipped: list[str]) -> Record:
        """Add to a run's record what a further scoring left. Its verdict stands: it rests on what all runs are scored by."""
        new = self._records.scored(run, skipped)
        self._opened.write_record(new)
        self._write_notes()
        self._commit(CLOSE, f"Run {run}: scored by {evals}", run, {})
        self._view.recorded(new)
        return new

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
        before = self._campaign.journal.stat().st_ctime_ns
        files = identities(self._campaign.root, self._journal.events, before)
        if not self.recover():
            self._journal.append(VERIFIED, at=before, files=files)
        if not self.has(0):
            return
        records = self._opened.records
        used = self._budget.spent()
        words = cost(records, used.usage, used.seconds)
        facts, options = self._campaign.facts(), self._options.model_dump()
        found = held_out(facts, options, self._campaign.holdouts(), records[-1].run)
        control = control_line(self._campaign, self._campaign.contract, records)
        self._write_notes(conclude(self._campaign.contract, records, words, found, control) if ended else "")
        self._commit(CLOSE, "Where the campaign stands", len(records), {})

    def _once(self, run: int, make: Any) -> Record:
        step = f"run_{run}/record"
        fresh = not self._journal.is_done(step)

        def effect() -> dict[str, Any]:
            self._journal.turn_over()
            record: Record = make()
            # Before the commit, which is to hold both; a crash in between has both written again, from the same results.
            self._opened.write_record(record)
            self._write_notes()
            title = f"Run {run}: {record.status}, {in_words(record.verdict.kind)}"
            # Until this step is done its record is not among `records`.
            best = self._measurements.best([*self._measurements.records, record])
            commit = self._commit(step, title, run, self._code_at(best.commit), tag=f"run_{run}")
            if run % _PACKED_EVERY == 0:
                self._repository.pack()
            return {"commit": commit, "status": record.status, "verdict": record.verdict.kind, "from": best.run}

        self._journal.once(step, effect)
        record = self._opened.records[run]
        if fresh:
            self._view.recorded(record)
        return record

    def _code_at(self, commit: str) -> dict[str, bytes | None]:
        """The code of a commit; None for a file that it has not and a later run may have made."""
        code = self._repository.files(commit, self._campaign.code)
        return {path: code.get(path) for path in self._campaign.code}

    def _commit(self, step: str, title: str, made: int | Path, code: Mapping[str, bytes | None], tag: str = "") -> str:
        """Results and records of what was `made`, a run or the folder of something else, notes and journal, with `code` put
        in place; what a person edited meanwhile stays."""
        campaign = self._campaign
        root = campaign.root
        folder = made if isinstance(made, Path) else campaign.run_folder(made)
        paths = [p for p in _files_below(root, folder) if (root / p).stat().st_size <= IN_GIT]
        # A run's turns are in the folders of its attempts: all of them again for each run would take most of the disk.
        own = [campaign.notes, campaign.journal, *([campaign.session] if step == CLOSE else [])]
        own += [campaign.record_file(made - 1)] if isinstance(made, int) else []
        self._look()
        ids = {
            path: blob_id((root / path).read_bytes())
            for path in paths
            if _is_result(path) and os.access(root / path, os.R_OK)
        }
        if new := {path: blob for path, blob in ids.items() if self._written.get(path) != blob}:
            self._journal.append(WROTE, files=new)
        paths += [str(path.relative_to(root)) for path in own if path.is_file()]
        there = self._repository.blobs(self._repository.head or "", [PARTS, NOTES_PARTS])
        long_before = [*(str(path.relative_to(root)) for path in parts(root)), *sorted(self._parts)]
        paths += [path for path in long_before if path not in there or self._written.get(path, there[path]) != there[path]]
        return self._repository.commit(step, title, code, paths, keep=self._repository.edited(code), tag=tag)

    def _write_notes(self, closing: str = "") -> None:
        campaign = self._campaign
        old = read_text(campaign.notes, "replace") if campaign.notes.exists() else ""
        if old != self._notes:
            self._persons = person_section(old)
        self._write_parts()
        text = render_notes(
            campaign.idea,
            campaign.contract,
            self._options.profile,
            self._opened.records,
            used=self._budget.spent().usage,
            person=self._persons,
            closing=closing,
            known=self._notes_of_runs,
        )
        self._journal.append(WROTE, files={NOTES: self._repository.store(text.encode())})
        write_atomically(campaign.notes, text)
        self._notes = text
        self._session.write()

    def _write_parts(self) -> None:
        """What the notes tell no longer, in files that are written once, and again where a run of theirs was."""
        self._look()
        records = self._opened.records
        for first in parts_before(records):
            path = part_with(first)
            if path not in self._parts:
                text = render_part(self._campaign.contract, records, first, self._notes_of_runs)
                self._journal.append(WROTE, files={path: self._repository.store(text.encode())})
                (self._campaign.root / NOTES_PARTS).mkdir(exist_ok=True)
                write_atomically(self._campaign.root / path, text)
                self._look()

    def _look(self) -> None:
        """Take in what the journal says was written since the last look."""
        new = self._journal.events[self._read :]
        self._read += len(new)
        self._written |= written(new)
        for event in new:
            for path in event["files"] if event["event"] == WROTE else ():
                if path.startswith(f"{NOTES_PARTS}/"):
                    self._parts.add(path)
                elif found := _RECORD.fullmatch(path):
                    self._parts.discard(part_with(int(found[1])))


def _is_result(path: str) -> bool:
    """Whether numbers of the record stand in the file at `path` of a run's folder, or of one of its seeds or controls, or
    the words of one of its turns."""
    parts = Path(path).parts
    if ATTEMPTS in parts:
        return parts[-1] == SESSION
    return path.endswith((".json", ".jsonl")) and parts[-1] != RECORD_FILE


def _files_below(root: Path, path: Path) -> list[str]:
    """Regular files at and below `path`, relative to `root`; links are not followed."""
    if path.is_symlink() or not path.exists():
        return []
    if path.is_file():
        return [str(path.relative_to(root))]
    return [str(file.relative_to(root)) for file in files_below(path)]
