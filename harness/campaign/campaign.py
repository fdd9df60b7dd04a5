"""A campaign: one idea taken through an experiment, a folder under `runs/`. Every path in it is a property here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import __version__
from . import recorded_baselines
from .contract import CONTRACT_FILE, Contract, Profile, Setting, load_contract
from .errors import CannotGoOn, InputError
from .files import read_text, write_atomically
from .idea import Idea
from .journal import now, read_events
from .layout import Layout
from .record import RECORD_FILE, Record
from .schema import SCHEMA

NOTES = "notes.txt"
ATTEMPTS = "attempts"
RESERVED = frozenset({RECORD_FILE, ATTEMPTS, "seeds", "controls", "frontier"})
"""Names in a run's folder that belong to the harness."""
MAX_NAMED = 5  # links in one line
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
    agent_config: bool = False
    """Give a command-line agent all of the person's configuration."""
    max_runs: int = Field(default=5, ge=1)
    max_attempts: int = Field(default=4, ge=1)
    baseline: Literal["given", "own"] | None = None
    """Begin with recorded results or execute the untouched experiment; None takes a `run_0` without a contract."""
    controls: bool = True
    """Execute the baseline's code at a run's settings where these differ."""
    track: str | None = None
    """The tracker that is told of each run."""
    max_cost: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    max_hours: float | None = Field(default=None, gt=0)


class Campaign(Layout):
    """The folder of a campaign with what is in it. Making one reads nothing; it may be of another machine and read-only."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.session = root / "session.md"
        """The campaign's own session, in the form that `replay` reads."""
        self.replayed = root / "replayed.md"
        """The recorded session that this campaign replays."""
        self.given = root / "given"
        """Recorded baselines that are context for the agent."""
        self.machine_file = self.local / "machine.json"
        self.inbox = self.local / "inbox"
        """What people told the agent and no brief has carried yet."""
        self.agent_home = self.local / "agent_home"
        """Where a command-line agent has its configuration and its conversations."""
        self.history = self.local / "history.json"
        """The agent's own memory of the conversation of the current run."""

    def run_folder(self, run: int) -> Path:
        return self.root / f"run_{run}"

    def attempt_folder(self, run: int, attempt: int) -> Path:
        return self.run_folder(run) / ATTEMPTS / str(attempt)

    @cached_property
    def idea(self) -> Idea:
        try:
            return Idea.model_validate_json(read_text(self.idea_file))
        except (OSError, ValidationError) as error:
            raise CannotGoOn(f"{self.idea_file}: cannot be read: {error}") from error

    @cached_property
    def contract(self) -> Contract:
        """The contract as it was when the campaign began."""
        try:
            return Contract.model_validate(self._facts["contract"])
        except ValidationError as error:
            raise CannotGoOn(f"{self.options_file}: the contract in it cannot be read: {error}") from error

    @cached_property
    def _facts(self) -> dict[str, Any]:
        try:
            facts = self.facts()
            return {key: facts[key] for key in ("schema", "contract", "options", "created")}
        except KeyError as error:
            raise CannotGoOn(f"{self.options_file}: cannot be read: {error}") from error

    def options(self, events: Iterable[dict[str, Any]] | None = None) -> Options:
        """The options in force: those it was made with, changed by each resume."""
        changes: dict[str, Any] = {}
        for event in read_events(self.journal) if events is None else events:
            if event["event"] == "options":
                changes |= event["changes"]
        return Options.model_validate(self._facts["options"] | changes)

    def check_can_go_on(self) -> None:
        """Raises CannotGoOn for a campaign of an earlier schema, which every other command reads."""
        if (schema := self._facts["schema"]) < SCHEMA:
            raise CannotGoOn(
                f"{self.name}: made by an earlier version of the harness (schema {schema}, now {SCHEMA}). It can be read "
                "and not continued; `harness run` starts a new campaign."
            )

    @property
    def planned_runs(self) -> int:
        """The runs that were planned when the campaign began: what its error is shared among."""
        return Options.model_validate(self._facts["options"]).max_runs

    def spec(self, profile: str) -> Profile:
        return self.contract.profiles.get(profile, Profile())

    def seeds(self, count: int) -> list[int]:
        """The first `count` seeds; the contract's own comes first."""
        return [self.contract.seed + i for i in range(count)]

    def seed_folder(self, run: int, seed: int) -> Path:
        return self.run_folder(run) / "seeds" / str(seed)

    def control_folder(self, run: int, seed: int) -> Path:
        return self.run_folder(run) / "controls" / str(seed)

    def frontier_folder(self, run: int, point: int, seed: int) -> Path:
        return self.run_folder(run) / "frontier" / str(point) / str(seed)

    @property
    def code(self) -> list[str]:
        """The files that the agent may edit."""
        return [*self.contract.editable, *self.contract.auxiliary]

    @property
    def experiment_files(self) -> list[str]:
        """Everything that a working copy holds."""
        contract_file = [CONTRACT_FILE] if (self.root / CONTRACT_FILE).exists() else []
        return [*self.code, *self.contract.files, *contract_file]

    def read_records(self) -> list[Record]:
        """The records of all runs so far, in order."""
        return [Record.of(record) for record in self.records()]

    def machine(self) -> dict[str, Any]:
        """Facts of this machine (the experiment's Python); empty on another one."""
        try:
            return dict(json.loads(self.machine_file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}


def create_campaign(
    out: Path,
    idea: Idea,
    experiment: Path,
    options: Options,
    *,
    python: str,
    session: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Campaign:
    """A new campaign folder in `out`, named after the idea: the idea, the options and a copy of the experiment.

    `say` gets a line for a person where not all of the experiment goes along.
    """
    contract = load_contract(experiment, out)
    profile, spec = contract.profile(options.profile or None)
    options = options.model_copy(update={"profile": profile})
    for key in options.overrides:
        if spec.settings and key not in spec.settings:
            raise InputError(f"--set {key}: profile {profile} has no such setting. It has: {', '.join(spec.settings)}.")
    given = recorded_baselines.find(experiment, contract, profile, options.baseline)
    try:
        out.mkdir(parents=True, exist_ok=True)
        root = _new_folder(out, idea.Name)
        campaign = Campaign(root)
        campaign.local.mkdir()
        copied = [*contract.editable, *contract.auxiliary, *contract.files, CONTRACT_FILE]
        pairs = [(experiment / name, root / name) for name in copied]
        if given is not None:
            pairs.append((given / recorded_baselines.RUN_0, campaign.run_folder(0)))
            pairs += [(each, campaign.given / each.name) for each in recorded_baselines.context(given)]
        links = [link for source, target in pairs for link in _copy(source, target)]
        if not (experiment / CONTRACT_FILE).exists():
            links += [path for path in sorted(experiment.iterdir()) if path.is_symlink()]
        if links:
            more = f" and {len(links) - MAX_NAMED:,} more" if links[MAX_NAMED:] else ""
            say(
                f"Links do not go along with an experiment: {', '.join(map(str, links[:MAX_NAMED]))}{more}. Where it needs "
                "one, put what it leads to in its place."
            )
        if session is not None:
            shutil.copyfile(session, campaign.replayed)
        write_atomically(campaign.idea_file, idea.model_dump_json(indent=1, exclude_none=True) + "\n")
        facts = {
            "schema": SCHEMA,
            "harness": __version__,
            "created": now(),
            "options": options.model_dump(),
            "contract": contract.model_dump(),
        }
        write_atomically(campaign.machine_file, json.dumps({"python": python}) + "\n")
        write_atomically(campaign.options_file, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        problem = f"{error.filename or out}: cannot be written: {error.strerror}."
        raise CannotGoOn(f"{problem} `--out DIR` names another folder for campaigns.") from error
    return campaign


def _new_folder(out: Path, name: str) -> Path:
    number = 1
    while True:
        root = out / (name if number == 1 else f"{name}-{number}")
        try:
            root.mkdir()
            return root
        except FileExistsError:
            number += 1


def _copy(source: Path, target: Path) -> list[Path]:
    """Copy a file or a folder, without caches and anything hidden; its size is bounded. Returns the links, left out too."""
    if source.is_symlink():
        return [source]
    if source.is_dir():
        size = sum(f.lstat().st_size for f in source.rglob("*") if not f.is_symlink())
        if size > MAX_COPIED:
            raise InputError(
                f"{source}: {size / 1e6:.0f} MB. An experiment's folder is copied into each campaign; keep data elsewhere."
            )
        shown = (each for each in sorted(source.iterdir()) if not each.name.startswith(".") and each.name != "__pycache__")
        return [link for child in shown for link in _copy(child, target / child.name)]
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return []
