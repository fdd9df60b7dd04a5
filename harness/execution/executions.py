"""Commits of a campaign are executed, each in a working copy of its own, and what they hand over is scored.

Each execution is a step of its own, so it is found again after a crash: still running, ended, or never begun.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..campaign.errors import CannotGoOn, Interrupted
from ..campaign.files import make_writable, read_end, remove
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.paths import without_local_paths
from ..campaign.protocols import EVALS, FINAL_INFO, HANDED, Execution, Executor, Job, Limits, Outcome
from ..results.result_files import CLOCK_GRAIN, summary_file
from . import caches, coverage, working_copy
from .commands import filled, with_python
from .environment import describe_environment
from .executors import RepeatedExecution
from .feed import Feed, check_executor
from .feed import said as said_of_rows
from .jobs import Jobs, Variant
from .prepared_data import PreparedData
from .refusals import why_refused
from .scoring import Laboratory, Scoring, is_real, settings_key
from .served_code import ServedCode
from .visible import make_home

_THERE = "(?:File|already) exists"
"""What an experiment says whose out_dir must not be there yet."""
_SOON = 30
"""Seconds in which the unmodified code has looked whether it is there."""
_ITS_OWN = "the experiment takes no out_dir that is there already: it was executed a second time, without one"


@dataclass(frozen=True)
class ExecutionResult:
    """How one execution of a commit ended and where what it left is now."""

    outcome: Outcome
    folder: Path
    """Its out_dir, as the experiment left it."""
    log: Path
    coverage: Path
    """Where what ran of the watched statements is noted."""
    begun: float
    """Seconds since the epoch, by the file system's clock: what is older was not written by it."""
    scoring: Scoring | None
    """Where the contract names a scorer, the execution ended well and nothing is spoiled."""
    spoiled: str = ""
    """Why what it left is no evidence, however it ended."""
    remarks: tuple[str, ...] = ()
    """What a person should know of how it was left."""


class Executions(CampaignPart):
    """Executes commits of a campaign."""

    def __init__(self, opened: OpenCampaign, executor: Executor) -> None:
        super().__init__(opened)
        self._executor = executor
        self._jobs = Jobs(opened)
        self._laboratory = Laboratory(opened, executor, self._jobs.python)
        self._inputs: dict[str, PreparedData] = {}
        """What was prepared by this process, by the settings that it was prepared for."""
        self._preparing = threading.Lock()
        self.meanwhile: Callable[[], Sequence[Callable[[], object]]] | None = None
        """Asked again and again, while some are in hand, for what is to be done beside them."""

    @property
    def python(self) -> str:
        return self._jobs.python

    def execute(
        self,
        step: str,
        commit: str,
        run: int,
        variant: Variant,
        watched: Mapping[str, Sequence[coverage.Lines]] | None = None,
    ) -> ExecutionResult:
        """Execute `commit` as `step`, or go on with an execution of it that is already there. Raises Interrupted.

        What it hands over is then scored. `watched` are statements of which is noted whether they ran.
        """
        place = self._campaign.execution(step)
        inputs = self._inputs.get(self._key(variant))
        job = self._jobs.job(place, run, variant)
        outcome = self._outcome(step, commit, job, variant, watched)
        ended = place / "ended"
        # Where it was there before, what was left may be filed already, and so the out_dir empty.
        if not ended.exists() and self._makes_out_dir_itself(commit, job, outcome, place / "job" / outcome.log):
            self.forget(step)  # before it is remembered: after a crash in between it is found again
            self._remember(commit)
            self._view.say(
                f"the experiment left {job.out_dir.name} empty, which it may want to make itself: executed again without it"
            )
            outcome = self._outcome(step, commit, job, variant, watched)
        if not os.path.lexists(job.out_dir):  # that was not why, or it failed before it made one
            self._mark_of(commit).unlink(missing_ok=True)
        log, out_dir, noted, mark = place / "job" / outcome.log, job.out_dir, job.scratch / "coverage", place / "begun"
        make_writable(place)  # what the experiment made unreadable is evidence all the same
        missing = working_copy.why_missing(outcome.why, job.folder, self._campaign.experiment)
        if outcome.ended in ("crashed", "not_started") and not missing:
            own = (job.folder, job.scratch, *job.writable)
            missing = why_refused(outcome.why, own, self._jobs.runs, job.scratch / "home")
        outcome = replace(outcome, why="; ".join(filter(None, [outcome.why, missing])))
        outcome = without_local_paths(outcome, log, job)
        ended.touch()
        if outcome.ended == "ok" and commit == self._opened.first_commit:
            caches.keep(job.scratch / "home", self._jobs.kept)
        begun = oldest(mark.stat().st_mtime, ended.stat().st_mtime, outcome.seconds)
        spoiled = self._changed("executed", inputs, joined=True)
        if not (is_real(out_dir, place.resolve()) and out_dir.is_dir()):  # a job has resolved paths
            if os.path.lexists(out_dir):
                spoiled = f"{out_dir.name}: the out_dir was replaced by a link or a file, so nothing in it is the run's."
            out_dir = place / "nothing"
            out_dir.mkdir(exist_ok=True)
        makes_it = [_ITS_OWN] if self._mark_of(commit).exists() else []
        remarks = (*makes_it, *self._take_in(job.folder, out_dir, commit, begun), *said_of_rows(place))
        scoring = None
        if outcome.ended == "ok" and not spoiled and self._campaign.contract.scorer:
            scoring = self._score(place / "scoring", commit, out_dir, variant, inputs)
        return ExecutionResult(outcome, out_dir, log, noted, begun, scoring, spoiled, remarks)

    def _outcome(
        self, step: str, commit: str, job: Job, variant: Variant, watched: Mapping[str, Sequence[coverage.Lines]] | None
    ) -> Outcome:
        """How `job` ended, executed now or already being executed."""
        place = self._campaign.execution(step)
        home, feed = place / "job", self._feed(place, variant)

        def begin() -> Execution:
            self.forget(step)
            working_copy.make(place / "copy", self._campaign, self._repository, commit)
            if feed:
                feed.begin()
            if not self.makes_out_dir(commit):
                job.out_dir.mkdir()
            make_home(job.scratch / "home")
            caches.make(self._jobs.library_caches, job.scratch / "home", self._jobs.kept)
            # Files as marks, because times of files come from the file system's clock, which may not be this machine's.
            (place / "begun").touch()
            if not watched:
                return self._executor.submit(job, home)
            told = coverage.plant((job.scratch / "coverage").resolve(), job.folder, watched, job.environment)
            return self._executor.submit(replace(job, environment=told), home)

        execution = RepeatedExecution(self._executor, home, begin)
        # The experiment has been started by now, so it does not wait for what the scorer imports.
        if self._campaign.contract.scorer:
            self._laboratory.warm_up(place / "scoring", self._jobs.environment(variant), self._jobs.limits, self._jobs.warm)
        outcome = execution.wait(self._view.tick, lambda: self._stop.at_once)
        outcome = feed.end(place, outcome) if feed else outcome
        if outcome.ended == "stopped":
            self.forget(step)
            raise Interrupted("stopped")
        return outcome

    def _feed(self, place: Path, variant: Variant) -> Feed | None:
        """What makes rows beside the execution in `place`."""
        jobs = self._jobs
        if not jobs.feed:
            return None
        profile = self._options.profile
        check_executor(self._campaign.spec(profile), profile, self._options.executor)
        return self._laboratory.feed(jobs.feed_folder(place), jobs.feed, jobs.environment(variant), jobs.limits)

    def execute_beside(
        self, step: str, commit: str, command: Sequence[str], results: Mapping[str, Mapping[str, Path]], time: float
    ) -> tuple[Outcome, Path]:
        """Execute a Python `command` of `commit` as `step`, within `time` seconds, in a working copy that has `results` of
        runs too, folders with files. How it ended, and the working copy. Raises Interrupted."""
        place = self._campaign.execution(step)
        job = self._jobs.job(place, 0, Variant(self._campaign.contract.seed))
        job = replace(
            job,
            command=(self._jobs.python, *command),
            environment=job.environment | {"MPLBACKEND": "Agg"},
            limits=replace(job.limits, time=time, silence=None),
            abort=(),
            training_log=None,
            part="beside",
        )

        def begin() -> Execution:
            self.forget(step)
            working_copy.make(place / "copy", self._campaign, self._repository, commit)
            for name, files in results.items():
                for path, source in files.items():
                    (job.folder / name / path).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, job.folder / name / path)
            job.out_dir.mkdir(exist_ok=True)
            make_home(job.scratch / "home")
            return self._executor.submit(job, place / "job")

        outcome = RepeatedExecution(self._executor, place / "job", begin).wait(self._view.tick, lambda: self._stop.at_once)
        if outcome.ended == "stopped":
            self.forget(step)
            raise Interrupted("stopped")
        make_writable(place)
        return without_local_paths(outcome, place / "job" / outcome.log, job), job.folder

    def makes_out_dir(self, commit: str) -> bool:
        """Whether this code makes its out_dir itself and takes none that is there (`os.makedirs(out_dir)`), or the
        baseline's does: what a run says of itself is no word on the baseline."""
        return any(self._mark_of(each).exists() for each in (self._opened.first_commit, commit))

    def _mark_of(self, commit: str) -> Path:
        return self._campaign.local / "makes_own_out_dir" / commit

    def _makes_out_dir_itself(self, commit: str, job: Job, outcome: Outcome, log: Path) -> bool:
        """Whether the experiment failed because its out_dir was there; of the unmodified code, whether it may have."""
        if outcome.ended not in ("ok", "crashed") or self.makes_out_dir(commit):
            return False
        name, end = rf"\b{job.out_dir.name}\b", read_end(log, 10_000)
        says_so = outcome.ended == "crashed" and re.search(rf"{_THERE}.*{name}|{name}.*{_THERE}", end)
        return bool(says_so) or (commit == self._opened.first_commit and self._left_at_once(job, outcome, end))

    def _remember(self, commit: str) -> None:
        self._mark_of(commit).parent.mkdir(exist_ok=True)
        self._mark_of(commit).touch()

    def _left_at_once(self, job: Job, outcome: Outcome, said: str) -> bool:
        """Whether it ended soon and left nothing, as one does that looks whether there is an out_dir, whatever it says then;
        a fault of its own, which leaves a traceback, is another matter unless it has a word on that."""
        words = re.sub(r'^ *File ".*', "", said, flags=re.M)  # whose paths name the run, and so out_dir's name
        of_its_own = "Traceback" in words and not re.search(rf"\b{job.out_dir.name}\b|exist|overwr|not empty", words)
        left = [*job.folder.glob(FINAL_INFO), *job.folder.glob(f"*/{FINAL_INFO}"), *job.out_dir.glob("*")]
        return not of_its_own and not left and outcome.seconds < _SOON and is_real(job.out_dir, job.folder.resolve())

    def _take_in(self, copy: Path, out_dir: Path, commit: str, begun: float) -> tuple[str, ...]:
        """Move a summary into `out_dir` that the experiment wrote beside its code or into a folder of its own choice, where
        there is no other; in a sentence, which."""
        if not summary_file(out_dir)[1]:
            return ()
        there = [path for path in (copy / FINAL_INFO, *sorted(copy.glob(f"*/{FINAL_INFO}"))) if is_real(path, copy)]
        new = [path for path in there if path.is_file() and path.stat().st_mtime >= begun - CLOCK_GRAIN]
        names = [str(path.relative_to(copy)) for path in new]
        known = self._repository.files(commit, names)
        written = [name for name, path in zip(names, new, strict=True) if known.get(name) != path.read_bytes()]
        if len(written) != 1:
            return ()
        (copy / written[0]).rename(out_dir / FINAL_INFO)
        return (f"{written[0]}: written outside --out_dir; it is used as the run's {FINAL_INFO}",)

    def score_again(self, step: str, commit: str, filed: Path, handed: Mapping[str, str], variant: Variant) -> Scoring:
        """Score, as `step`, what a run of `commit` handed over whose results are `filed`. Raises Interrupted, and CannotGoOn
        where that is not what was scored before: `handed` are its checksums."""
        place = self._campaign.execution(step)
        scoring = self._score(place, commit, filed, variant, self._inputs.get(self._key(variant)))
        changed = [path for path, digest in handed.items() if scoring.artifact.get(path) != digest]
        if changed and not scoring.refused:
            raise CannotGoOn(f"{filed / changed[0]}: is not what the run handed over; it was changed since.")
        return scoring

    def prepare(self, variant: Variant) -> None:
        """Have prepared what executions with these settings read, once in this process. It costs little where all is there,
        and it may be gone since an earlier process. Raises Interrupted and CannotGoOn."""
        environment = self._jobs.environment(replace(variant, seed=self._campaign.contract.seed))
        key = settings_key(environment)
        step = f"prepare/{key}"
        with self._preparing:
            if self.is_prepared(variant):
                return
            self._inputs[key] = self._laboratory.prepare(self._campaign.execution(step), environment)
            self.forget(step)

    def is_prepared(self, variant: Variant) -> bool:
        return not self._campaign.contract.prepare or self._key(variant) in self._inputs

    def data_digest(self, variant: Variant) -> str:
        """Of what was prepared for executions with these settings, "" where nothing was."""
        inputs = self._inputs.get(self._key(variant))
        return inputs.digest if inputs else ""

    def _key(self, variant: Variant) -> str:
        return settings_key(self._jobs.environment(variant))

    def _changed(self, done: str, inputs: PreparedData | None, *, joined: bool) -> str:
        """Why what was `done` is no evidence: a file of its `inputs` changed, or has `joined` others where only an
        experiment could put it. Then all is prepared again before the next."""
        path = inputs.altered(joined=joined) if inputs else None
        if path is None:
            return ""
        for key in [key for key, each in self._inputs.items() if each is inputs]:
            self._inputs.pop(key, None)
        return (
            f"{path}: changed while it was {done}, so what it read is unknown. The next execution checks all of them first."
        )

    def _score(self, place: Path, commit: str, out_dir: Path, variant: Variant, inputs: PreparedData | None) -> Scoring:
        contract = self._campaign.contract
        settings = {**self._campaign.settings(self._options), **variant.overrides}
        judged = not variant.smoke and not set(contract.judged).isdisjoint(str(settings.get(EVALS, "")).split())
        environment = self._jobs.environment(variant)
        serve = partial(self._serve, commit, variant) if contract.serve else None
        with inputs.scored() if inputs else nullcontext():
            scoring = self._laboratory.score(place, out_dir, environment, self._jobs.limits, self._jobs.warm, judged, serve)
        return replace(scoring, refused=scoring.refused or self._changed("scored", inputs, joined=False))

    def _serve(self, commit: str, variant: Variant, place: Path, handed: Path) -> ServedCode:
        """Start the code of `commit` in `place`."""
        contract, limits = self._campaign.contract, self._jobs.limits
        job = self._jobs.job(place, 0, variant)
        command = with_python([filled(part, {"{out_dir}": HANDED}) for part in contract.serve], self._jobs.python)
        within = Limits(
            time=limits.scoring_time,
            memory=limits.memory,
            output=limits.output,
            disk=limits.disk,
            processes=limits.processes,
        )
        # Its share is the scorer's, which waits for what it answers.
        job = replace(job, command=command, limits=within, abort=(), training_log=None, network=False, share=None)
        job = replace(job, part="beside")
        make = partial(working_copy.make, place / "copy", self._campaign, self._repository, commit)
        return ServedCode(self._executor, place, job, make, handed)

    def describe_environment(self) -> dict[str, str]:
        """What numbers depend on besides the code."""
        return describe_environment(self._jobs.python, self._options)

    def command(self, run: int) -> str:
        """The command line of a run, as the contract has it."""
        return " ".join(self._jobs.command(run))

    def forget(self, step: str) -> None:
        """Remove the working copy of a step, after what it left has been filed."""
        remove(self._campaign.execution(step))

    def close(self) -> None:
        """Nothing is executed any more."""
        remove(working_copy.links_of(self._campaign))


def oldest(begun: float, ended: float, seconds: float) -> float:
    """The time before which a file cannot have been written by an execution of `seconds`, which the monotonic clock counted.

    0 where the clock of the file system went back meanwhile: then no time tells, and the out_dir was empty at the start.
    """
    return begun if ended - begun > seconds - 2 else 0.0
