"""The protocols: what an agent, an executor, a tracker and a view are to the harness, and the seam to the scorer.

Whoever adds one implements these and nothing else; the rooms that use them know no more of it. A scorer is no class but a
command of the contract, so its seam is files and environment variables, at the end of this page.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .errors import InputError
from .text import encodable
from .usage import Usage

if TYPE_CHECKING:  # `status` and `log` answer at once, without the models
    from .contract import Setting
    from .record import Record

FailureKind = Literal[
    "auth",  # the key is missing or refused (401, 403)
    "quota",  # the account cannot pay (402, insufficient_quota)
    "rate",  # too many requests (429), or the limit of a session or a plan, still refused after the bounded retries
    "server",  # the provider failed (5xx) or answered garbage, after the bounded retries
    "connection",  # refused, unreachable
    "timeout",  # no answer in time
    "context",  # the conversation does not fit the model
    "cut",  # the answer was cut at the model's output limit
    "model",  # the provider does not know the model, or not for this account
    "died",  # the agent's process ended
    "diverged",  # a recorded session does not hold the turn that was asked for
    "session_over",  # a recorded session has no further turn
    "setup",  # the agent is not installed or cannot start
]


@dataclass(frozen=True)
class Failure:
    """Why a turn has no usable answer. `message` and `todo` are for a person, without any key in them."""

    kind: FailureKind
    message: str
    todo: str = ""
    """What to do about it, with this agent."""
    until: float | None = None
    """When a limit ends (kind `rate`), where the provider says so: seconds since 1970."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", encodable(self.message))

    def __str__(self) -> str:
        return f"{self.message.rstrip('.')}. {self.todo}".rstrip()


@dataclass(frozen=True)
class Reply:
    """The answer to one prompt.

    `replies` are the model's raw messages of this turn in order (more than one after a reflection); `text` is the last
    of them, or all joined where the agent speaks in parts. `history` is the agent's own memory of the conversation after
    the turn, JSON that `open` takes back after a crash. `refused_writes` are paths that the agent was kept from writing.
    `warnings` are what its machinery found wrong in this turn and did not tell the model (an edit that never matched).
    `notes` are words that it wanted written into notes.txt.
    No text holds lone surrogates: JSON can, and no file takes them.
    """

    text: str
    usage: Usage
    replies: tuple[str, ...] = ()
    failure: Failure | None = None
    refused_writes: tuple[str, ...] = ()
    history: Any = None
    warnings: tuple[str, ...] = ()
    notes: str = ""
    agent: str = ""
    """Its name and version."""
    sandbox: str = ""
    """In which its tool ran."""
    models: tuple[str, ...] = ()
    """Those that answered, as the provider or the agent's own tool names them."""
    overrides: Mapping[str, Setting] = field(default_factory=dict)
    """Settings of the experiment with which the run is to be executed, on top of those of the campaign."""
    searched: Mapping[str, Setting] = field(default_factory=dict)
    """Of a search without a model: what it proposes, by name, settings and constants of the code."""

    def __post_init__(self) -> None:
        for name in ("text", "notes"):
            object.__setattr__(self, name, encodable(getattr(self, name)))
        for name in ("replies", "refused_writes", "warnings", "models"):
            object.__setattr__(self, name, tuple(map(encodable, getattr(self, name))))


@dataclass(frozen=True)
class Workspace:
    """A disposable working copy: `root` is the agent's working directory.

    `editable` and `readable` are paths relative to `root`. Everything in the workspace that is not editable is put back
    by the harness after the turn, whatever the agent did.
    """

    root: Path
    editable: tuple[str, ...]
    readable: tuple[str, ...] = ()


@dataclass(frozen=True)
class AgentConfig:
    """What a person chose on the command line. Model strings pass through unchanged."""

    model: str | None = None
    architect: str | None = None
    edit_format: str = "diff"
    session: Path | None = None
    """A recorded session to replay (agent `replay`)."""
    submission: Path | None = None
    """What is handed in (agent `outside`)."""
    timeout: float = 600.0
    """Seconds to wait for one request to the model, by an agent whose requests are the harness's own."""
    turn_left: Callable[[], float] = field(default=lambda: 3600.0, compare=False)
    """Seconds that the turn in hand may still take: asked once before each question."""
    price: tuple[float, float] | None = None
    """Dollars per million tokens sent and received, where the agent tells no cost."""
    cost_is_limited: bool = False
    """`check` refuses a model whose cost nobody tells."""
    campaign: Path | None = None
    """The campaign's folder, for an agent that goes by its records."""
    home: Path | None = None
    """A folder for the configuration and the conversations of a command-line agent; None: one that goes with the agent."""
    persons_configuration: bool = False
    """Give it all of your own configuration, with instructions, hooks and MCP servers."""
    workspaces: Path | None = None
    """The folder in which workspaces are made; the agent's processes may write there."""
    hidden: tuple[Path, ...] = ()
    """Folders that are not there for the agent's processes, besides your home folder."""
    on_output: Callable[[str], None] = field(default=lambda line: None, compare=False)
    """Called with a line of text for a person while something slow happens."""
    on_notice: Callable[[str], None] = field(default=lambda line: None, compare=False)
    """Called with a line of text that a person should not miss: a request is repeated."""

    def priced(self, usage: Usage) -> Usage:
        """`usage` with a cost by `price`, where the agent tells none and everything was answered."""
        if usage.cost is not None or usage.lost or self.price is None:
            return usage
        sent, received = self.price
        return replace(usage, cost=(usage.sent * sent + usage.received * received) / 1e6)

    def check_price(self, model: str, is_told: bool) -> None:
        """Raises InputError where a budget in dollars could not be held."""
        if self.cost_is_limited and not is_told and self.price is None:
            raise InputError(
                f"--max-cost cannot be held: no price of {model} is known. Give --max-tokens N instead, or the price: "
                "--price IN,OUT (dollars per million tokens sent and received)."
            )


class Conversation(Protocol):
    """One conversation, for one run and its attempts."""

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        """Send `text` and wait for the answer; edits are in the workspace afterwards.

        `turn` counts the turns of the campaign from 0, `label` names this one ("run 2, attempt 1"): a recorded session
        finds its turn by them. Never raises for a model's or provider's failure: `Reply.failure` says it.
        """
        ...

    def close(self) -> None: ...


class Agent(Protocol):
    """A kind of agent, ready to open conversations."""

    def __init__(self, config: AgentConfig) -> None: ...

    def check(self) -> str:
        """One line of what this agent is (name, version, model); raises HarnessError with what to do if it cannot work."""
        ...

    def open(self, workspace: Workspace, history: Any = None) -> Conversation:
        """A conversation on `workspace`, going on after `history` (of an earlier `Reply`) where given."""
        ...

    def close(self) -> None:
        """End every process that it started."""
        ...


Ended = Literal[
    "ok",
    "crashed",
    "timed_out",
    "stalled",  # no output for `Limits.silence`
    "out_of_memory",
    "too_much_output",
    "too_much_disk",
    "too_many_processes",
    "aborted",  # an abort rule on the training log
    "killed",  # by a signal from outside
    "lost",  # what watched it was ended from outside, so that nothing is known of it
    "preempted",  # its place was taken from it: nothing is known of it, and it is begun again
    "stopped",  # by the person (Ctrl-C)
    "not_started",  # the command could not be started
]


@dataclass(frozen=True)
class Limits:
    """What an execution may use; None is no limit. Seconds and bytes."""

    time: float | None = None
    silence: float | None = None
    memory: int | None = None
    output: int | None = None
    disk: int | None = None
    processes: int | None = None
    """At once."""
    idle: float | None = None
    """How long an execution may do nothing once its results are complete; then it is ended, and has ended well."""


@dataclass(frozen=True)
class AbortRule:
    """End an execution early: `key` of the training log is not finite in `steps` consecutive lines."""

    key: str
    steps: int


@dataclass(frozen=True)
class WarmStart:
    """What a job takes long to import: it may be forked from a process that has imported it before.

    `imports` are modules, or `module:function` to call, found in `folder` first. `log` is that process's own output.
    """

    folder: Path
    imports: tuple[str, ...]
    log: Path


Part = Literal["experiment", "scorer", "prepare", "beside"]
"""What of a run a job is. `beside`: what is executed where the harness runs, whatever the executor."""


@dataclass(frozen=True)
class Share:
    """What an execution takes of the machine that it is executed on."""

    holder: str
    """Campaign and step, for who waits for what it has."""
    threads: int | None = None
    """None where it is not known."""
    gpu_memory: int | None = None
    """Bytes, where several may share a GPU; None: a whole one, where there is one; 0: none."""
    alone: bool = False
    """Nothing else may be executed there meanwhile: its time is measured."""


@dataclass(frozen=True)
class Job:
    """One execution of a command.

    `folder` is its working copy and working directory, `out_dir` a folder inside it that is empty at the start.
    `environment` is the whole environment but for TMPDIR, nothing is inherited. Where the system can hold it to that, the
    process may write to `folder`, `scratch` and what is in `writable` only, and read no file in a folder of `hidden` (nor
    one named there) but in those and what is `readable` in it. `training_log` is a JSON-lines file (relative to `out_dir`)
    for `abort`.
    """

    command: tuple[str, ...]
    folder: Path
    out_dir: Path
    scratch: Path
    environment: dict[str, str]
    limits: Limits = field(default_factory=Limits)
    abort: tuple[AbortRule, ...] = ()
    training_log: str | None = None
    results: str | None = None
    """The JSON file in `out_dir` that makes results complete, for `Limits.idle`."""
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    network: bool = True
    """Without it none, where the system can hold it to that (a namespace, or a filter of system calls)."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further variables of the environment, written nowhere."""
    part: Part = "experiment"
    """By which an executor with several places may choose one."""
    warm: WarmStart | None = None
    """Of a job whose command is a Python's `-c CODE ARGUMENTS`; an executor need not make use of it."""
    share: Share | None = None
    """It waits until the machine has this to give, and that counts in no limit. None: it takes nothing from others."""


@dataclass(frozen=True)
class Outcome:
    """How an execution ended. `why` is one sentence for a person ("no output for 60 s").

    `log` is the output (stdout and stderr together) relative to the execution's home, head and tail kept when it is huge.
    `peak_memory` in bytes over the whole process tree, None when unknown. `confined` says whether writes outside
    `folder` and `scratch` were refused by the system, `not_guaranteed` what of its confinement this system could not hold.
    """

    ended: Ended
    exit_code: int | None
    why: str
    seconds: float
    peak_memory: int | None
    log: str
    confined: bool
    not_guaranteed: tuple[str, ...] = ()
    processor_seconds: float | None = None
    """Of the whole process tree; None when unknown, or when an accelerator was used."""
    device_seconds: float | None = None
    """For which it had a GPU to itself, and used one; None where it shared one, or that is not known."""
    gpus: tuple[str, ...] | None = None
    """The models of those that it had; None where the executor does not know."""


class Waits(str):
    """A line that says for what a step waits which is none of its own doing: a provider's limit, a slot, a queue."""

    __slots__ = ()


class Execution(Protocol):
    """A submitted job."""

    home: Path

    def wait(self, tick: Callable[[str], None], stop: Callable[[], bool]) -> Outcome:
        """Block until it has ended. Calls `tick` with the last line of output, or `Waits` before it begins, a few times a
        second; ends the whole process tree and returns `stopped` when `stop()` becomes true."""
        ...


class Executor(Protocol):
    """A place to execute."""

    def submit(self, job: Job, home: Path) -> Execution:
        """Start `job`. `home` must not exist yet. The process outlives this one if this one is killed."""
        ...

    def warm_up(self, job: Job) -> None:
        """Begin with what jobs like this one take long to import (`job.warm`), where this executor makes use of it."""
        ...

    def attach(self, home: Path) -> Execution | None:
        """The execution in `home` that an earlier process submitted: still running or ended with an outcome. None when
        there is none, or when it died without an outcome (then nothing of it runs any more)."""
        ...


@dataclass(frozen=True)
class Curve:
    """A quantity of the training log over the steps of one run."""

    steps: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Tracked:
    """A recorded run, as a tracker is told of it."""

    id: str
    """The same each time that this run is told of, and no other campaign's."""
    campaign: str
    title: str
    profile: str
    record: Record
    curves: Mapping[str, Curve]
    """Of its training log; empty when the run is told of again, with more seeds or scores."""
    folder: Path
    """Where the sink may keep files."""


class Tracker(Protocol):
    """A kind of tracker."""

    def check(self) -> None:
        """Raises InputError with what to do where it cannot work. Asks no server and no person."""
        ...

    def log(self, run: Tracked) -> None:
        """Tell of a run, or tell again what is known of it now. May raise whatever it likes."""
        ...

    def close(self) -> None:
        """End every process that it started."""
        ...


class View(Protocol):
    """Told of everything that happens; decides alone what is shown and how. Each of several threads has a phase in hand."""

    def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None:
        """A phase begins: "agent", "pre_check", "smoke_test", "execute", "review", ...; `expected` seconds where known."""
        ...

    def end(self) -> None:
        """What this thread began last has ended, and nothing of it follows at once."""
        ...

    def tick(self, line: str) -> None:
        """The last line of output of what runs now, or what it `Waits` for; called a few times a second, also without a new
        line."""
        ...

    def say(self, text: str) -> None:
        """Something worth a line: a refusal, a warning, what comes next."""
        ...

    def recorded(self, record: Record) -> None:
        """A run has its record."""
        ...


class Silent:
    """Shows nothing."""

    def begin(self, run: int, max_runs: int, attempt: int, phase: str, expected: float | None = None) -> None: ...

    def end(self) -> None: ...

    def tick(self, line: str) -> None: ...

    def say(self, text: str) -> None: ...

    def recorded(self, record: Record) -> None: ...


def find_class(kind: str, option: str, name: str, known: Mapping[str, str]) -> Any:
    """The class called `name`: a short name in `known`, which gives its import path, or an import path itself.

    Raises InputError, in which `option` is what the person typed before the name.
    """
    path = known.get(name, name)
    module_name, _, attribute = path.partition(":")
    if not attribute or any(each.startswith(f"{module_name}:") for each in known):
        raise InputError(
            f"{option} {name}: unknown {kind}. Known: {', '.join(known)}; or an import path such as package.module:Class."
        )
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{option} {name}: cannot import {path}: {error}") from error


# The seam to the scorer. The contract's `prepare`, `scorer` and `serve` are commands, run from the campaign's first commit;
# these are the files and environment variables by which they and the experiment know of each other.

FINAL_INFO = "final_info.json"
"""What an experiment writes into its out_dir: its settings and metrics."""
EVAL_FOLDER = "eval_results"
"""A folder of eval results (JSON), written by a scorer or, where the contract names none, by the experiment."""
FACTS = "facts.json"
"""A scorer's: {"verified": {setting: value}, "remarks": [sentence], "scored_with": {name: value}}, what the artifact and its
scoring show, and what scores depend on besides the artifact: the scorer's version, the data. Each of the last is the setting
SCORED_WITH and its name; runs that differ in one are not comparable, whatever the contract says."""
SCORED_WITH = "scorer."
SKIPPED = "skipped.json"
"""A scorer's: {"skipped": {evaluation: reason}}."""
DRY_RUN = "--dry-run"
"""With it `prepare` makes nothing: it says what it would make, or what is in the way and ends with another code than 0."""
CACHE = "HARNESS_LAB_CACHE"
"""Tells every process of the laboratory where its cache is."""
READS = "HARNESS_READS"
"""Names the file in which `prepare` writes what executions and scorers will read: JSON, SHA-256 by absolute path."""
EVALS = "evals"
"""The setting of a profile that names what is measured, names separated by spaces."""
OF_THE_SCORERS = "evals"
"""The part of the cache that scorers write: what is the same for all runs that they score."""
TRUTH = "truth"
"""The part of the cache that `prepare` writes and scorers read. Like the scorers' own, no execution and no agent sees it."""
SECRET = "HARNESS_SECRET"
"""Tells scorers a text that no experiment can read, the same in a whole campaign."""
FOLLOWS = "HARNESS_SCORER_FOLLOWS"
"""Tells an experiment that what it hands over is scored afterwards, so that it need not."""
SERVES = "HARNESS_SERVES"
"""Tells an experiment that its code may be served."""
FEED = "HARNESS_FEED"
"""Tells an execution the folder of the process that makes its rows."""
MEMORY = "HARNESS_MEMORY"
"""Tells a scorer how many bytes it may use, where the contract limits them."""
SERVER = "HARNESS_SERVER"
"""Tells a scorer the folder with the socket."""
EXECUTED_ON = "executed_on.json"
"""The harness's own, in a run's folder: {"gpu": model}, where the executor told it. Each is a setting, OF_THE_MACHINE and
its name; runs that differ in one are not comparable, whatever the contract says."""
OF_THE_MACHINE = "executed_on."
NOT_EXPORTED = "not_exported.txt"
"""A file with this name says in what is handed over that something of it is not data, and why."""
HANDED = "handed"
"""What was handed over, in the folder of the code."""
NOT_EXITED = "the process did not exit"
"""How it begins to be said of an execution that was ended because it did nothing after its results were complete."""
HOW_TO_EXIT = (
    "A thread or a pool keeps it alive: end it (close pools, make threads daemons), or let os._exit(0) be the experiment's "
    "last line."
)
SEED = "HARNESS_SEED"
"""The variable that gives an execution its seed."""
HOW_TO_READ_SEED = f'seed its random numbers with int(os.environ["{SEED}"])'
