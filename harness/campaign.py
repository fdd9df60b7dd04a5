"""A campaign: one idea taken through an experiment, a folder under `runs/`. Every path in it is a property here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import __version__
from .contract import FILE_NAME as CONTRACT_FILE
from .contract import Contract, Setting, load_contract
from .errors import CannotGoOn, InputError
from .idea import Idea
from .journal import is_locked, now, read_events
from .record import FILE_NAME as RECORD_FILE
from .record import Record, write_atomically

NOTES = "notes.txt"
ATTEMPTS = "attempts"
RESERVED = frozenset({RECORD_FILE, ATTEMPTS, "seeds", "controls"})
"""Names in a run's folder that belong to the harness."""
MAX_COPIED = 100 * 10**6  # bytes of an experiment's folder; more is data, which belongs in a cache


class Options(BaseModel):
    """What the person asked for. The journal's `options` events change it when a campaign is resumed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str = ""
    overrides: dict[str, Setting] = {}
    agent: str = "aider"
    model: str | None = None
    architect: str | None = None
    reviewer: str | None = None
    edit_format: str = "diff"
    max_runs: int = Field(default=5, ge=1)
    max_attempts: int = Field(default=4, ge=1)
    max_cost: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    max_hours: float | None = Field(default=None, gt=0)


class Campaign:
    """The folder of a campaign. Making one reads nothing; it may belong to another machine and be read-only."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def name(self) -> str:
        return self.root.resolve().name

    @property
    def journal(self) -> Path:
        return self.root / "journal.jsonl"

    @property
    def options_file(self) -> Path:
        return self.root / "campaign.json"

    @property
    def idea_file(self) -> Path:
        return self.root / "idea.json"

    @property
    def notes(self) -> Path:
        return self.root / NOTES

    @property
    def session(self) -> Path:
        """The campaign's own session, in the form that `replay` reads."""
        return self.root / "session.md"

    @property
    def replayed(self) -> Path:
        """The recorded session that this campaign replays."""
        return self.root / "replayed.md"

    @property
    def local(self) -> Path:
        """State of this machine only: locks, working copies, running executions. Never in git."""
        return self.root / ".harness"

    @property
    def lock(self) -> Path:
        return self.local / "lock"

    @property
    def machine_file(self) -> Path:
        return self.local / "machine.json"

    @property
    def inbox(self) -> Path:
        """What people told the agent and no brief has carried yet."""
        return self.local / "told"

    @property
    def history(self) -> Path:
        """The agent's own memory of the conversation of the current run."""
        return self.local / "history.json"

    def workspace(self, run: int) -> Path:
        return self.local / f"workspace_{run}"

    def execution(self, step: str) -> Path:
        return self.local / "executions" / step.replace("/", ".")

    def run_folder(self, run: int) -> Path:
        return self.root / f"run_{run}"

    def attempt_folder(self, run: int, attempt: int) -> Path:
        return self.run_folder(run) / ATTEMPTS / str(attempt)

    @cached_property
    def idea(self) -> Idea:
        try:
            return Idea.model_validate_json(self.idea_file.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise CannotGoOn(f"{self.idea_file}: cannot be read: {error}") from error

    @cached_property
    def contract(self) -> Contract:
        """The contract as it was when the campaign began."""
        return Contract.model_validate(self._facts["contract"])

    @cached_property
    def _facts(self) -> dict[str, Any]:
        try:
            data = json.loads(self.options_file.read_text(encoding="utf-8"))
            return {"contract": data["contract"], "options": data["options"], "created": data["created"]}
        except (OSError, ValueError, KeyError) as error:
            raise CannotGoOn(f"{self.options_file}: cannot be read: {error}") from error

    def options(self, events: Iterable[dict[str, Any]] | None = None) -> Options:
        """The options in force: those it was made with, changed by each resume."""
        changes: dict[str, Any] = {}
        for event in read_events(self.journal) if events is None else events:
            if event["event"] == "options":
                changes |= event["changes"]
        return Options.model_validate(self._facts["options"] | changes)

    @property
    def code(self) -> list[str]:
        """The files that the agent may edit."""
        return [*self.contract.editable, *self.contract.auxiliary]

    @property
    def experiment_files(self) -> list[str]:
        """Everything that a working copy holds."""
        contract_file = [CONTRACT_FILE] if (self.root / CONTRACT_FILE).exists() else []
        return [*self.code, *self.contract.files, *contract_file]

    def records(self) -> list[Record]:
        """The records of all runs so far, in order."""
        found: list[Record] = []
        while (self.run_folder(len(found)) / RECORD_FILE).exists():
            found.append(Record.read(self.run_folder(len(found))))
        return found

    def is_running(self) -> bool:
        return is_locked(self.lock)

    def machine(self) -> dict[str, Any]:
        """Facts of this machine (the experiment's Python); empty on another one."""
        try:
            return dict(json.loads(self.machine_file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}


def create_campaign(
    out: Path, idea: Idea, experiment: Path, options: Options, *, python: str, session: Path | None = None
) -> Campaign:
    """A new campaign folder in `out`, named after the idea: the idea, the options and a copy of the experiment."""
    contract = load_contract(experiment)
    profile, spec = contract.profile(options.profile or None)
    options = options.model_copy(update={"profile": profile})
    for key in options.overrides:
        if spec.settings and key not in spec.settings:
            raise InputError(f"--set {key}: profile {profile} has no such setting. It has: {', '.join(spec.settings)}.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        root = _new_folder(out, idea.Name)
        campaign = Campaign(root)
        campaign.local.mkdir()
        for name in [*contract.editable, *contract.auxiliary, *contract.files, CONTRACT_FILE]:
            _copy(experiment / name, root / name)
        given = experiment / "run_0"
        if (given / "final_info.json").is_file() and not (experiment / CONTRACT_FILE).exists():
            _copy(given, campaign.run_folder(0))
        if session is not None:
            shutil.copyfile(session, campaign.replayed)
        write_atomically(campaign.idea_file, idea.model_dump_json(indent=1, exclude_none=True) + "\n")
        facts = {
            "harness": __version__,
            "created": now(),
            "options": options.model_dump(),
            "contract": contract.model_dump(),
        }
        write_atomically(campaign.machine_file, json.dumps({"python": python}) + "\n")
        write_atomically(campaign.options_file, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise CannotGoOn(f"{error.filename or out}: cannot be written: {error.strerror}.") from error
    return campaign


def find_campaign(name: str, runs: Path) -> Campaign:
    """The campaign that `name` means: a path, a folder's name in `runs`, or `latest`."""
    known = campaigns(runs)
    if name == "latest":
        if not known:
            raise InputError(f"{runs}: no campaign yet. `harness run IDEA.json` starts one.")
        return max(known, key=_age)
    for candidate in (runs / name, Path(name)):
        if (candidate / "campaign.json").is_file():
            return Campaign(candidate)
    names = ", ".join(campaign.name for campaign in known) or "none yet"
    raise InputError(f"{name}: no such campaign. In {runs}: {names}.")


def campaigns(runs: Path) -> list[Campaign]:
    """The campaigns in `runs`, by name."""
    if not runs.is_dir():
        return []
    return [Campaign(path.parent) for path in sorted(runs.glob("*/campaign.json"))]


def _age(campaign: Campaign) -> tuple[datetime, float]:
    """When it was created, then when its folder's files were: two campaigns can begin in the same second."""
    try:
        created = json.loads(campaign.options_file.read_text(encoding="utf-8"))["created"]
        return datetime.fromisoformat(created), campaign.options_file.stat().st_mtime
    except (OSError, ValueError, KeyError):
        return datetime.fromtimestamp(0).astimezone(), 0.0


def _new_folder(out: Path, name: str) -> Path:
    number = 1
    while True:
        root = out / (name if number == 1 else f"{name}-{number}")
        try:
            root.mkdir()
            return root
        except FileExistsError:
            number += 1


def _copy(source: Path, target: Path) -> None:
    """A file or a folder, without links, caches and anything hidden; its size is bounded."""
    if source.is_symlink() or not source.exists():
        return
    if source.is_dir():
        size = sum(f.lstat().st_size for f in source.rglob("*") if not f.is_symlink())
        if size > MAX_COPIED:
            raise InputError(
                f"{source}: {size / 1e6:.0f} MB. An experiment's folder is copied into each campaign; keep data elsewhere."
            )
        for child in sorted(source.iterdir()):
            if not child.name.startswith(".") and child.name != "__pycache__":
                _copy(child, target / child.name)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
