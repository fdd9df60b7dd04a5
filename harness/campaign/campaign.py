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
from . import given_runs, recorded_baselines
from .contract import CONTRACT_FILE, Contract, Profile, Setting
from .contract_file import load_contract
from .errors import CannotGoOn, InputError
from .experiment_folder import Inventory, put_links, take_inventory
from .files import remove, write_atomically, write_files
from .given_runs import GivenRuns
from .idea import Idea
from .journal import now, read_events
from .layout import BIBLIOGRAPHY, HOLDOUT, Layout
from .new_folder import new_folder
from .protocols import EXECUTED_ON
from .record import RECORD_FILE, Record
from .repository import Repository
from .schema import SCHEMA
from .text import decoded

ATTEMPTS = "attempts"
SESSION = "session.md"
"""A turn of the agent as `replay` reads it, in the attempt's folder; in the campaign's, all of them."""
PLOTTED = "plotted"
"""In a run's folder: what the experiment's plot.py drew."""
RESERVED = frozenset({RECORD_FILE, EXECUTED_ON, ATTEMPTS, "seeds", "controls", "frontier", "final", PLOTTED})
"""Names in a run's folder that belong to the harness."""


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
    time: float | None = Field(default=None, gt=0)
    """Seconds that one execution may take, in place of the profile's limit."""
    max_attempts: int = Field(default=4, ge=1)
    width: int = Field(default=1, ge=1)
    """How many proposals are asked for from one parent before any of them is recorded."""
    baseline: Literal["given", "own"] | None = None
    """Begin with recorded results or execute the untouched experiment; None takes a `run_0` without a contract."""
    controls: bool = True
    """Execute the baseline's code at a run's settings where these differ."""
    holdout: bool = True
    """Evaluate the selected run where the contract holds something out."""
    control: Literal["tpe", "random"] | None = None
    """The search without a model that is made beside the campaign, with as many runs."""
    search_seed: int = Field(default=0, ge=0)
    """What a search draws with: with the same seed it proposes the same after the same results."""
    control_of: str = ""
    """The name of the campaign that this one is the control of."""
    patience: int | None = Field(default=None, ge=1)
    """How many runs in a row may not be accepted before the campaign ends."""
    observed: int = Field(default=0, ge=0)
    """How many runs of a loop that was observed it begins with; they are given, not executed."""
    track: str | None = None
    """The tracker that is told of each run."""
    max_cost: float | None = Field(default=None, gt=0)
    max_tokens: int | None = Field(default=None, gt=0)
    max_hours: float | None = Field(default=None, gt=0)
    max_gpu_hours: float | None = Field(default=None, gt=0)
    price: tuple[float, float] | None = None
    """Dollars per million tokens sent and received, where the agent tells no cost."""
    turn_timeout: float = Field(default=60, gt=0)
    """Minutes that one turn of the agent may take."""
    wait_for_limits: bool = False
    """Wait until a provider's limit ends, however long."""
    executor: str = "local"
    executor_settings: dict[str, Any] = {}
    """Of `[executor.NAME]` and the command line, when the campaign began; what each means is the executor's to say."""


class Campaign(Layout):
    """The folder of a campaign with what is in it. Making one reads nothing; it may be of another machine and read-only."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.session = root / SESSION
        """The campaign's own session, in the form that `replay` reads."""
        self.replayed = root / "replayed.md"
        """The recorded session that this campaign replays."""
        self.given = root / "given"
        """Recorded baselines that are context for the agent."""
        self.given_runs_file = root / given_runs.FILE
        self.memory_file = root / "memory.json"
        """What other campaigns of the experiment had tried when this one began."""
        self.machine_file = self.local / "machine.json"
        self.inbox = self.local / "inbox"
        """What people told the agent and no brief has carried yet."""
        self.submission = self.local / "submission.json"
        """The change that was handed in from outside and that no turn has taken up yet."""
        self.handed_in = self.local / "handed_in"
        """Those that were handed in while another process ran the campaign."""
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
            return Idea.model_validate_json(decoded(self.content(self.idea_file)))
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
    def created(self) -> str:
        """When the campaign began."""
        return str(self._facts["created"])

    @property
    def planned_runs(self) -> int:
        """The runs that were planned when the campaign began: what its error is shared among. Given ones take none."""
        options = Options.model_validate(self._facts["options"])
        return max(1, options.max_runs - options.observed)

    def spec(self, profile: str) -> Profile:
        return self.contract.profiles.get(profile, Profile())

    def settings(self, options: Options) -> dict[str, Setting]:
        """Of the experiment, as you chose them: those of the profile, and what replaces them."""
        return {**self.spec(options.profile).settings, **options.overrides}

    def seeds(self, count: int) -> list[int]:
        """The first `count` seeds; the contract's own comes first."""
        return [self.contract.seed + i for i in range(count)]

    def seed_folder(self, run: int, seed: int) -> Path:
        return self.run_folder(run) / "seeds" / str(seed)

    def control_folder(self, run: int, seed: int) -> Path:
        return self.run_folder(run) / "controls" / str(seed)

    def final_folder(self, run: int, kind: str, seed: int) -> Path:
        """Of a reference that is executed at the final seeds of a run."""
        return self.run_folder(run) / "final" / kind / str(seed)

    def frontier_folder(self, run: int, point: int, seed: int) -> Path:
        return self.run_folder(run) / "frontier" / str(point) / str(seed)

    def holdout_folder(self, number: int, kind: str = "", seed: int | None = None) -> Path:
        """Of a held-out evaluation, or of one of its executions."""
        folder = self.root / f"{HOLDOUT}{number}"
        return folder if seed is None else folder / kind / str(seed)

    @property
    def code(self) -> list[str]:
        """The files that the agent may edit."""
        return self.contract.code

    @property
    def experiment_files(self) -> list[str]:
        """Everything that a working copy holds and git keeps."""
        contract_file = [CONTRACT_FILE] if (self.root / CONTRACT_FILE).exists() else []
        return [*self.code, *self.contract.files, *contract_file]

    @property
    def has_given_baseline(self) -> bool:
        """Whether run 0 is recorded results that the campaign began with."""
        return bool(self.facts().get("given", self.run_folder(0).is_dir()))

    @property
    def linked(self) -> dict[str, str]:
        """What a working copy links to where it lies on this machine, by its path in the copy."""
        return dict(self.machine().get("linked", {}))

    def put_links(self, folder: Path) -> None:
        """Make in `folder` what a working copy holds and git does not: empty folders, and links."""
        facts = self.facts()
        put_links(folder, facts.get("empty_folders", []), facts.get("links", {}) | self.linked)

    @property
    def experiment(self) -> Path | None:
        """The folder that the experiment was taken from, where this machine has it."""
        folder = Path(self.machine().get("experiment", ""))
        return folder if folder.is_absolute() and folder.is_dir() else None

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
    bibliography: Path | None = None,
    name: str = "",
    loop: GivenRuns | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Campaign:
    """A new campaign folder in `out`, called `name` or after the idea: the idea, the options and a copy of the experiment.

    `bibliography` has the works that the idea cites. `say` gets a line where not all of the experiment goes along. It begins
    with the runs of `loop`, which was observed; where `options.baseline` is "given" with its baseline too.
    """
    contract = load_contract(experiment, out)
    profile, spec = contract.profile(options.profile or None)
    planned = {"max_runs": spec.max_runs} if spec.max_runs and "max_runs" not in options.model_fields_set else {}
    options = options.model_copy(update={"profile": profile} | planned)
    for key in options.overrides:
        if spec.settings and key not in spec.settings:
            raise InputError(f"--set {key}: profile {profile} has no such setting. It has: {', '.join(spec.settings)}.")
    given = None if loop else recorded_baselines.find(experiment, contract, profile, options.baseline)
    if shutil.which("git") is None:
        raise CannotGoOn("git is not installed or not on PATH; install git 2.28 or newer.")
    inventory = inventory_of(experiment, contract)
    try:
        with new_folder(out, name or idea.Name) as root:
            campaign = Campaign(root)
            if session is not None:
                shutil.copyfile(session, campaign.replayed)
            if bibliography is not None:
                shutil.copyfile(bibliography, campaign.bibliographies[0])
            write_atomically(campaign.idea_file, idea.model_dump_json(indent=1, exclude_none=True) + "\n")
            if loop is not None:
                _take_in(campaign, loop, options)
            _fill(campaign, experiment, contract, options, inventory, given, python)
    except OSError as error:
        problem = f"{error.filename or out}: cannot be written: {error.strerror}."
        raise CannotGoOn(f"{problem} `--out DIR` names another folder for campaigns.") from error
    for sentence in [*inventory.sentences, *recorded_baselines.unused(experiment, contract, profile, options.baseline)]:
        say(sentence)
    return campaign


def _take_in(campaign: Campaign, loop: GivenRuns, options: Options) -> None:
    """Put what the runs of a loop left into the campaign that begins with them."""
    loop.write(campaign.root)
    for number, run in enumerate(loop.runs):
        own = number > 0 or options.baseline == "given"
        goal = campaign.run_folder(number) if own else campaign.given / given_runs.THEIR_BASELINE
        if run.results is not None:
            recorded_baselines.copy(run.results, goal)


def take_anew(root: Path) -> Campaign:
    """The campaign in `root` with the experiment and its contract as they are in their own folder now, where this machine
    has it. A file that was changed in the campaign stays as it is there. What the failed baseline left becomes an attempt.

    For a campaign without a sound baseline: of its steps nothing is kept.
    """
    campaign = Campaign(root)
    repository = Repository(root, campaign.local)
    given, experiment = campaign.has_given_baseline, campaign.experiment
    left = [path for path in campaign.run_folder(0).glob("*") if path.name != ATTEMPTS]
    options = campaign.options()
    if given:
        remove(*([] if options.observed else left))  # copies of what lies in the experiment's folder
    elif left:
        number = len(list((campaign.run_folder(0) / ATTEMPTS).glob("*"))) + 1
        campaign.attempt_folder(0, number).mkdir(parents=True)
        for path in left:
            path.rename(campaign.attempt_folder(0, number) / path.name)
    if experiment is None:
        return campaign
    edited = repository.edited(repository.blobs(repository.head or "HEAD", campaign.experiment_files))
    toml = root / CONTRACT_FILE if CONTRACT_FILE in edited else None
    contract = load_contract(experiment, root.parent, toml)
    profile, _ = contract.profile(options.profile or None)
    results = None if options.observed else recorded_baselines.find(experiment, contract, profile, options.baseline)
    _fill(campaign, experiment, contract, options, inventory_of(experiment, contract), results, campaign.machine()["python"])
    write_files(root, edited)
    return Campaign(root)


def inventory_of(experiment: Path, contract: Contract) -> Inventory:
    """What goes along into a campaign of the experiment, and what does not."""
    names = [*contract.code, *contract.files, CONTRACT_FILE, BIBLIOGRAPHY]
    return take_inventory(experiment, names, contract.code, contract.readable)


def _fill(
    campaign: Campaign,
    experiment: Path,
    contract: Contract,
    options: Options,
    inventory: Inventory,
    given: Path | None,
    python: str,
) -> None:
    """Write what a campaign has of its experiment, and what it is told in `campaign.json`."""
    inventory.copy(experiment, campaign.root)
    if given is not None:
        recorded_baselines.copy(given / recorded_baselines.RUN_0, campaign.run_folder(0))
        for each in recorded_baselines.context(given):
            recorded_baselines.copy(each, campaign.given / each.name)
    facts = {
        "schema": SCHEMA,
        "harness": __version__,
        "created": now(),
        "options": options.model_dump(),
        "contract": contract.of_profile(options.profile).timed(options.profile, options.time).model_dump(),
        "given": given is not None or (options.observed > 0 and options.baseline == "given"),
        "empty_folders": inventory.empty_folders,
        "links": inventory.links,
    }
    machine = {"python": python, "experiment": str(experiment.resolve()), "linked": inventory.linked}
    # In letters that every encoding has: a name may be any bytes.
    write_atomically(campaign.machine_file, json.dumps(machine) + "\n")
    write_atomically(campaign.options_file, json.dumps(facts, indent=1) + "\n")
