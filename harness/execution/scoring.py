"""The laboratory's processes: what prepares data before executions, and what scores an execution after it has ended.

Both run from the files of the campaign's first commit, in which no agent had a part, in a fresh interpreter that sees no
other folder's modules. The scorer gets a copy of what the execution handed over, made when nothing of the execution ran any
more, and writes into a folder that no execution could ever write to.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..campaign.contract import CONTRACT_FILE
from ..campaign.errors import CannotGoOn, Interrupted
from ..campaign.files import files_below, read_end, remove, write_atomically, write_files
from ..campaign.limits_spec import LimitsSpec
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.paths import cache_folder, without_local_paths
from ..campaign.protocols import (
    CACHE,
    MEMORY,
    NOT_EXPORTED,
    OF_THE_SCORERS,
    READS,
    SECRET,
    SERVER,
    TRUTH,
    Ended,
    Execution,
    Executor,
    Job,
    Limits,
    Outcome,
    WarmStart,
)
from . import baseline_cache, holdout_uses, shares
from .commands import PYTHON, filled
from .executors import RepeatedExecution
from .executors.machine import all_slots
from .executors.sandbox import control_sockets
from .feed import Feed
from .prepared_data import PreparedData
from .secret_files import secret_paths
from .served_code import ServedCode
from .visible import homes, named_in, needed, plainly_there

PROXIES = tuple(spelt for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY") for spelt in (name, name.lower()))
HUB = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", *PROXIES)
"""Variables of the person's that preparing needs to download."""
JUDGE = ("OPENAI_API_KEY", "OPENAI_BASE_URL", *PROXIES)
"""Variables of the person's that a scorer gets where a language model judges."""
OFFLINE = "HF_HUB_OFFLINE"
ASKS_NVML = "PYTORCH_NVML_BASED_CUDA_CHECK"
"""Has torch ask the driver whether there is a GPU, and not CUDA: what has asked CUDA cannot be forked."""
_ARTIFACT = re.compile(r"\{out_dir\}/([\w./-]+)")
_AT_ONCE = 1 << 20
_LAST_WORDS = 5.0
"""Seconds in which code that fails while it is served has said why."""

_ISOLATED = """\
import runpy, sys
folder, how = sys.argv[1:3]
sys.path.insert(0, folder)
del sys.argv[: 3 if how == "-m" else 2]
if how == "-m":
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(how, run_name="__main__")
"""
"""Runs `-m MODULE` or a script of a folder. Python's own variables are those that the harness sets, or none."""


@dataclass(frozen=True)
class Scoring:
    """How a scoring ended."""

    refused: str
    """Why there are no scores, "" where there are."""
    ended: Ended
    scores: Path
    log: Path
    seconds: float
    artifact: dict[str, str]
    """SHA-256 of each file that was handed over, by path."""


def lab_cache() -> Path:
    """The laboratory's cache folder, as its processes are told."""
    chosen = os.environ.get(CACHE)
    return Path(chosen).absolute() if chosen else cache_folder() / "lab"


def sealed_folders() -> tuple[Path, ...]:
    """What of the caches neither an execution nor an agent sees. Made here, because only what is there can be hidden. A file
    that can be read can be locked: whoever reads slots takes them from all others."""
    found = (lab_cache() / OF_THE_SCORERS, lab_cache() / TRUTH, baseline_cache.root(), all_slots(), holdout_uses.folder())
    for folder in found:
        with suppress(OSError):  # where no cache can be made there is none to hide
            folder.mkdir(parents=True, exist_ok=True)
    return found


class Laboratory(CampaignPart):
    """Runs what the contract names as `prepare` and `scorer`."""

    def __init__(self, opened: OpenCampaign, executor: Executor, python: str) -> None:
        super().__init__(opened)
        self._executor = executor
        self._python = python
        self._warm_copies = 0
        self._making = threading.Lock()

    def prepare(self, place: Path, environment: Mapping[str, str]) -> PreparedData:
        """Run `prepare`, or go on with it. Returns what executions will read. Raises Interrupted, and CannotGoOn where it
        fails: nothing could be executed."""
        cache = lab_cache()
        cache.mkdir(parents=True, exist_ok=True)
        libraries = [Path(environment[name]) for name in ("HF_HOME", "TORCH_HOME") if name in environment]
        for folder in libraries:
            folder.mkdir(parents=True, exist_ok=True)
        command = self._campaign.contract.prepare
        reads = (place / "scratch" / "reads.json").resolve()
        told = {**environment, READS: str(reads)}
        job = self._job(place, command, told, HUB, writable=(cache, *libraries), limits=Limits())
        outcome, log = self._run(place, replace(job, part="prepare"))
        if outcome.ended != "ok":
            raise CannotGoOn(f"the data could not be prepared: {outcome.why}\n{read_end(log, 4000)}")
        return PreparedData.read(reads)

    def feed(self, folder: Path, command: Sequence[str], environment: Mapping[str, str], limits: LimitsSpec) -> Feed:
        """What makes rows by `command` in `folder`, beside an execution with this environment."""
        place = folder.parent
        within = Limits(memory=limits.memory, output=limits.output, disk=limits.disk, processes=limits.processes)
        # Its share of the machine is the execution's, which waits for what it makes.
        job = self._job(place, command, environment, (), writable=(folder,), limits=within)
        job = replace(job, part="beside", share=None, network=False)

        def make() -> None:
            write_files(folder, self._files())
            (place / "scratch" / "home").mkdir(parents=True)

        return Feed(self._executor, place, job, make)

    def score(
        self,
        place: Path,
        out_dir: Path,
        environment: Mapping[str, str],
        limits: LimitsSpec,
        imports: Sequence[str],
        judged: bool,
        serve: Callable[[Path, Path], ServedCode] | None,
    ) -> Scoring:
        """Score what an execution that has ended left in `out_dir`, or go on with it. Raises Interrupted.

        `place` is a folder for it alone; `imports` are what the scorer takes long to import. Where a language model judges
        it is started cold: only then does it get the person's key. `serve` starts, in a place, the code of what was handed
        over, where not all of that is data.
        """
        contract = self._campaign.contract
        scores, handed, whole = place / "scores", place / "handed", place / "whole"
        if not whole.exists():
            remove(place)
            refused = _copy_artifact(out_dir, handed, contract.scorer, limits.disk)
            if refused:
                return Scoring(refused, "crashed", scores, place / "none", 0.0, {})
            # Last of all: a copy that a crash cut off lacks this mark and is made again.
            whole.touch()
        (lab_cache() / OF_THE_SCORERS).mkdir(parents=True, exist_ok=True)
        before = checksums(handed)
        server = None
        if serve and any(path.name == NOT_EXPORTED for path in files_below(handed)):
            server = serve(place.with_name(f"{place.name}.server"), handed)
        told = {**environment, SERVER: str(server.folder)} if server else environment
        job = self._scoring(place, told, limits, imports, judged)
        if server:  # which it asks through a socket, so on the same machine
            job = replace(job, part="beside")
        patience = 0.0
        try:
            outcome, log = self._run(place, job, empty=scores)
            patience = 0.0 if outcome.ended == "ok" else _LAST_WORDS
        finally:
            failed = server.end(patience) if server else ""
        # Even where the scorer ended well: what answered it was not there to the end.
        if failed:
            outcome = replace(outcome, ended="crashed", why=f"its code, which was served, ended: {failed}")
        refused = "" if outcome.ended == "ok" else f"it completed, but could not be scored: {outcome.why}"
        changed = self._is_changed(place / "copy") or (job.warm and not self._is_copy(job.warm.folder))
        if not refused and (changed or checksums(handed) != before):
            raise CannotGoOn(f"{place}: files of the laboratory changed while it scored. Another process wrote there.")
        return Scoring(refused, outcome.ended, scores, log, outcome.seconds, before)

    def warm_up(self, place: Path, environment: Mapping[str, str], limits: LimitsSpec, imports: Sequence[str]) -> None:
        """Have a process begin to import what a scoring in `place` will need, while the experiment trains."""
        self._executor.warm_up(self._scoring(place, environment, limits, imports, judged=False))

    def _scoring(
        self, place: Path, environment: Mapping[str, str], limits: LimitsSpec, imports: Sequence[str], judged: bool
    ) -> Job:
        scores, evals = place / "scores", lab_cache() / OF_THE_SCORERS
        places = {"{out_dir}": str((place / "handed").resolve()), "{scores}": str(scores.resolve())}
        command = [filled(part, places) for part in self._campaign.contract.scorer]
        within = Limits(
            time=limits.scoring_time, memory=limits.scoring_memory, output=limits.output, processes=limits.processes
        )
        told = {**environment, SECRET: self._secret()}
        if OFFLINE in os.environ:
            told[OFFLINE] = os.environ[OFFLINE]
        if within.memory is not None:
            told[MEMORY] = str(within.memory)
        job = self._job(place, command, told, JUDGE if judged else (), writable=(scores, evals), limits=within)
        return replace(job, part="scorer", warm=self._warm_start(imports) if imports else None)

    def _job(
        self,
        place: Path,
        command: Sequence[str],
        environment: Mapping[str, str],
        besides: Sequence[str],
        *,
        writable: tuple[Path, ...],
        limits: Limits,
    ) -> Job:
        copy, scratch = (place / "copy").resolve(), (place / "scratch").resolve()
        own = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        own |= {"HOME": str(scratch / "home"), CACHE: str(lab_cache()), ASKS_NVML: "1"}
        program, *arguments = command
        named = named_in(self._campaign.settings(self._options))
        if program in PYTHON:
            # -I would do the same and ignore PYTHONHASHSEED, on which the order of sets and so some scores depend.
            arguments = ["-s", "-P", "-B", "-c", _ISOLATED, str(copy), *arguments]
            program = self._python
        return Job(
            (program, *arguments),
            copy,
            scratch / "none",
            scratch,
            own,
            limits,
            writable=writable,
            readable=(
                place,
                *(path for home in homes() for path in plainly_there(home)),
                *named,
                *needed(self._python, own),
            ),
            hidden=(*homes(), *secret_paths(os.environ), *control_sockets()),
            share=shares.share(self._campaign, self._options, own, place),
            secrets={name: os.environ[name] for name in besides if name in os.environ},
        )

    def _run(self, place: Path, job: Job, empty: Path | None = None) -> tuple[Outcome, Path]:
        """Run the job, or go on with it, in a new copy of the laboratory, and with the folder `empty`, which is that."""
        home = place / "job"

        def begin() -> Execution:
            for folder in (home, place / "copy", place / "scratch", *([empty] if empty else [])):
                remove(folder)
            if empty:
                empty.mkdir(parents=True)
            write_files(place / "copy", self._files())
            (place / "scratch" / "home").mkdir(parents=True)
            return self._executor.submit(job, home)

        execution = RepeatedExecution(self._executor, home, begin)
        outcome = execution.wait(self._view.tick, lambda: self._stop.at_once)
        if outcome.ended == "stopped":
            remove(place)
            raise Interrupted("stopped")
        return without_local_paths(outcome, home / outcome.log, job), home / outcome.log

    def _warm_start(self, imports: Sequence[str]) -> WarmStart:
        """Where a warm process imports from: a copy of the laboratory that stays while the campaign is at work. Where it is
        found changed another is made, and with it a process that has imported nothing else."""
        warm = self._campaign.local.resolve() / "warm"
        with self._making:
            if not self._is_copy(warm / str(self._warm_copies)):
                self._warm_copies += 1
                remove(warm)
            folder = warm / str(self._warm_copies)
            if not folder.exists():
                write_files(folder, self._files())
        return WarmStart(folder, tuple(imports), warm.with_suffix(".txt"))

    def _files(self) -> dict[str, bytes]:
        """The laboratory: what goes along with the experiment and nobody may edit, and the contract."""
        contract = self._campaign.contract
        return self._repository.files(self._opened.first_commit, [*contract.files, CONTRACT_FILE])

    def _is_changed(self, copy: Path) -> bool:
        return any((copy / path).read_bytes() != content for path, content in self._files().items())

    def _is_copy(self, folder: Path) -> bool:
        """Whether in the folder there is the laboratory and nothing else, with no link on the way to it."""
        there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
        real = is_real(folder, self._campaign.local)
        return real and there == set(self._files()) and not self._is_changed(folder)

    def _secret(self) -> str:
        file = self._campaign.local / "secret"
        with self._making:
            if not file.exists():
                write_atomically(file, secrets.token_hex(16))
        return file.read_text(encoding="ascii")


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below `folder`, by path."""
    found = {}
    for path in files_below(folder):
        with path.open("rb") as file:
            found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def is_real(path: Path, place: Path) -> bool:
    """Whether no link is on the way from `place` to `path`, nor there."""
    return os.path.realpath(path) == str(Path(os.path.realpath(place)) / path.relative_to(place))


def _copy_artifact(out_dir: Path, target: Path, scorer: Sequence[str], limit: int | None) -> str:
    """Copy what `scorer` names of the out_dir: regular files, no links. Why it cannot be, "" where it was."""
    names = [found for part in scorer for found in _ARTIFACT.findall(part)] or [""]
    left = limit if limit is not None else 2**63
    for name in names:
        if ".." in PurePosixPath(name).parts:
            raise CannotGoOn(f"scorer: {name} is not inside the out_dir")
        if not is_real(out_dir / name, out_dir.parent):
            return f"{name or out_dir.name}: only regular files are handed over, no links."
        pending = [PurePosixPath(name)]
        while pending:
            path = pending.pop()
            source = out_dir / path
            try:
                status = source.lstat()
                if stat.S_ISDIR(status.st_mode):
                    (target / path).mkdir(parents=True, exist_ok=True)
                    pending += [path / child.name for child in sorted(source.iterdir())]
                elif not stat.S_ISREG(status.st_mode):
                    return f"{path}: only regular files are handed over, no links."
                elif (left := left - status.st_size) < 0:
                    return f"{path}: what is handed over is larger than the contract's limit of disk ({limit} bytes)."
                else:
                    (target / path).parent.mkdir(parents=True, exist_ok=True)
                    # No more than was counted against the limit, whatever stands there by now.
                    _copy_file(source, target / path, status.st_size)
            except FileNotFoundError:
                return f"{path}: missing; the experiment handed nothing over."
            except OSError as error:
                return f"{path}: cannot be read: {error.strerror}"
    return ""


def _copy_file(source: Path, target: Path, size: int) -> None:
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as reading, target.open("wb") as writing:
        while size > 0 and (data := reading.read(min(_AT_ONCE, size))):
            writing.write(data)
            size -= len(data)


def settings_key(environment: Mapping[str, str]) -> str:
    """Names what `environment` asks of `prepare`: profile, overrides, and whether it is for a smoke test."""
    facts = {name: environment.get(name) for name in ("HARNESS_PROFILE", "HARNESS_OVERRIDES", "HARNESS_SMOKE")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
