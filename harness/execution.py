"""What is executed: a working copy of a commit, an environment without any key, and the contract's limits.

Each execution is a step of its own, so it is found again after a crash: still running, ended, or never begun.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import coverage
from .campaign import RESERVED, Campaign, Options
from .contract import Contract, Setting
from .errors import Interrupted
from .executors import AbortRule, Executor, Job, Limits, Outcome
from .layout import layouts
from .repository import Repository

PASSED_ON = ("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "VIRTUAL_ENV")
PASSED_ON_PREFIXES = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "NVIDIA_VISIBLE", "CUBLAS_", "PYTORCH_")
CACHES = {"HF_HOME": "huggingface", "TORCH_HOME": "torch"}
"""Caches of the libraries, which the experiment may read; they lie in the person's cache folder unless set."""
OF_THE_PERSON = (
    ".ssh", ".gnupg", ".aws", ".azure", ".netrc", ".git-credentials", ".pypirc", ".kaggle", ".env", ".aider.conf.yml",
    ".aider", ".claude", ".claude.json", ".codex", ".gemini", ".cache/huggingface/token", ".cache/huggingface/stored_tokens",
    ".config/gcloud", ".config/gh", ".config/harness", ".local/share/opencode", ".bash_history", ".zsh_history",
)  # fmt: skip
"""Where keys commonly are in a person's home; no experiment reads them."""


@dataclass(frozen=True)
class Execution:
    """How one execution of a commit ended and where what it left is now."""

    outcome: Outcome
    folder: Path
    """Its out_dir, as the experiment left it."""
    log: Path
    coverage: Path
    """Where what ran of the watched statements is noted."""
    begun: float
    """Seconds since the epoch, by the file system's clock: what is older was not written by it."""


class Executions:
    """Executes commits of a campaign."""

    def __init__(self, campaign: Campaign, repository: Repository, executor: Executor, options: Options) -> None:
        self._campaign = campaign
        self._repository = repository
        self._executor = executor
        self._options = options
        self._python = campaign.machine().get("python") or "python3"

    @property
    def python(self) -> str:
        return str(self._python)

    def execute(
        self,
        step: str,
        commit: str,
        run: int,
        *,
        seed: int,
        overrides: Mapping[str, Setting],
        smoke: bool = False,
        watched: Mapping[str, Sequence[coverage.Lines]] | None = None,
        tick: Callable[[str], None],
        stop: Callable[[], bool],
    ) -> Execution:
        """Execute `commit` as `step`, or go on with an execution of it that is already there. Raises Interrupted.

        `overrides` are settings of a control, on top of those of the campaign. `watched` are statements of which is noted
        whether they ran.
        """
        place = self._campaign.execution(step)
        home, copy, scratch = place / "job", place / "copy", place / "scratch"
        out_dir, noted = copy / f"run_{run}", scratch / "coverage"
        mark = place / "begun"
        execution = self._executor.attach(home) if home.exists() else None
        if execution is None:
            self.forget(step)
            for path, content in self._repository.files(commit, self._campaign.experiment_files).items():
                file = copy / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            out_dir.mkdir(parents=True)
            for name in ("home", "tmp"):
                (scratch / name).mkdir(parents=True)
            mark.touch()
            job = self._job(copy, scratch, run, seed, overrides, smoke)
            if watched:
                job = replace(job, environment=coverage.plant(noted.resolve(), job.folder, watched, job.environment))
            execution = self._executor.submit(job, home)
        outcome = execution.wait(tick, stop)
        if outcome.ended == "stopped":
            self.forget(step)
            raise Interrupted("stopped")
        ended = place / "ended"
        ended.touch()
        begun = oldest(mark.stat().st_mtime, ended.stat().st_mtime, outcome.seconds)
        return Execution(outcome, out_dir, home / outcome.log, noted, begun)

    def forget(self, step: str) -> None:
        """Remove the working copy of a step, after what it left has been filed."""
        shutil.rmtree(self._campaign.execution(step), ignore_errors=True)

    def command(self, run: int) -> list[str]:
        return [part.format(out_dir=f"run_{run}") for part in self._campaign.contract.command]

    def _job(
        self, copy: Path, scratch: Path, run: int, seed: int, overrides: Mapping[str, Setting], smoke: bool
    ) -> Job:
        contract, options = self._campaign.contract, self._options
        command = self.command(run)
        if command[0] in ("python", "python3"):
            command[0] = self.python
        environment = experiment_environment(contract, dict(os.environ)) | {
            "HOME": str(scratch.resolve() / "home"),
            "TMPDIR": str(scratch.resolve() / "tmp"),
            "HARNESS_PROFILE": options.profile,
            "HARNESS_SEED": str(seed),
            "HARNESS_OVERRIDES": json.dumps({**options.overrides, **overrides}),
            **({"HARNESS_SMOKE": "1"} if smoke else {}),
        }
        limits = contract.limits
        return Job(
            command=tuple(command),
            folder=copy.resolve(),
            out_dir=(copy / f"run_{run}").resolve(),
            scratch=scratch.resolve(),
            environment=environment,
            limits=Limits(
                time=limits.smoke_time if smoke else limits.time,
                silence=limits.silence,
                memory=limits.memory,
                output=limits.output,
                disk=limits.disk,
            ),
            abort=tuple(AbortRule(rule.key, rule.steps) for rule in contract.abort),
            training_log=contract.training_log,
            hidden=self._hidden(),
        )

    def _hidden(self) -> tuple[Path, ...]:
        """What no experiment reads: results and code of this and every other campaign beside it, and keys."""
        campaigns = [each.root for each in layouts(self._campaign.root.resolve().parent)]
        return (self._campaign.root, *campaigns, *(Path.home() / name for name in OF_THE_PERSON))


def oldest(begun: float, ended: float, seconds: float) -> float:
    """The time before which a file cannot have been written by an execution of `seconds`, which the monotonic clock counted.

    0 where the clock of the file system went back meanwhile: then no time tells, and the out_dir was empty at the start.
    """
    return begun if ended - begun > seconds - 2 else 0.0


def experiment_environment(contract: Contract, person: dict[str, str]) -> dict[str, str]:
    """The environment that an experiment gets of the person's: named variables only, so no key is among them."""
    passed = {
        name: value
        for name, value in person.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES) or name in contract.environment
    }
    cache = Path(person.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    for name, folder in CACHES.items():
        passed[name] = person.get(name) or str(cache / folder)
    return passed | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}


def file_results(source: Path, target: Path) -> list[str]:
    """Move what an execution left in its out_dir into a run's folder. Returns what was renamed, a sentence each.

    Safe to repeat after a crash in the middle. Links are not taken over: a record holds its own files.
    """
    target.mkdir(parents=True, exist_ok=True)
    warnings = []
    for child in sorted(source.iterdir()) if source.exists() else ():
        if child.is_symlink():
            warnings.append(f"{child.name}: the experiment left a link; links are not kept.")
            child.unlink()
            continue
        name = child.name
        if name in RESERVED:
            name = f"experiment_{name}"
            warnings.append(f"{child.name}: this name belongs to the harness; the experiment's is kept as {name}.")
        place = target / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        child.replace(place)
    return warnings
