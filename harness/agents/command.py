"""Coding agents that are commands of their own: `claude`, `codex`, `gemini`, `opencode`.

One generic agent runs any of them once a turn in the workspace; what differs is in the table of command lines. The
commands keep conversations in a private home folder of the campaign, with a copy of the person's login. What a command did
to the workspace is compared by the harness as always.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from ..campaign.errors import HarnessError, InputError
from ..campaign.protocols import AgentConfig, Failure, Reply, Workspace
from ..campaign.temporary import TemporaryFolder
from ..campaign.text import duration, encodable
from ..campaign.usage import Usage
from ..execution.executors import process_tree
from . import attendant
from .agent_sandbox import AgentSandbox, installation
from .command_lines import CLAUDE, CODEX, GEMINI, OPENCODE, CommandLine, OwnSandbox
from .command_output import Answer, notices
from .failure_kinds import PASSING, failure_kind, limit_ends
from .keys import Redaction, certificates, login_files, provider_variables, system_variables
from .private_home import PrivateHome

MAX_OUTPUT = 50 * 10**6  # bytes of a turn's output
MARK = "HARNESS_WORKSPACE"
"""Environment variable by which the processes of a turn are found, also those that an earlier, killed harness left."""
UNANSWERED = PASSING - {"rate"} | {"died"}
"""Kinds of failures after which a request may have been paid for, though nothing of its answer came."""
PROBE = 60.0  # seconds in which a sandbox that a command brings has to work
GRACE = 2.0  # seconds between SIGTERM and SIGKILL
PERSONS = ("USER", "LOGNAME", "SHELL")
"""A person's variables that a command may ask for and that are no secret."""

_KEY_SHAPES = re.compile(r"\b(sk-|AIza|xai-|gsk_|eyJ)[A-Za-z0-9_\-.]{12,}")  # of logins, which no variable holds


class CommandAgent:
    """An agent that is a command."""

    command: CommandLine

    def __init__(self, config: AgentConfig) -> None:
        self.config = config
        self._own: OwnSandbox | None = None
        self._temporary = None if config.home else TemporaryFolder()
        home = config.home or Path(self._temporary.name if self._temporary else "")
        self.home = PrivateHome(home.resolve(), self.command.configuration, whole=config.persons_configuration)

    def check(self) -> str:
        if self.config.architect:
            raise InputError(f"--architect: {self.command.program} plans by itself; --agent aider takes an architect.")
        model = f"model {self.config.model}" if self.config.model else "the model that it is configured for"
        self.config.check_price(f"--agent {self.command.program}", self.command.tells_cost)
        return f"{self.name}, {model}"

    @cached_property
    def name(self) -> str:
        """The command with its version. Raises HarnessError where it does not work."""
        program = self.program()
        try:
            done = subprocess.run(
                [program, "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self.environment() | {"TMPDIR": str(self.home.root)},  # opencode leaves a folder there
                timeout=60,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise HarnessError(f"{program} --version does not work: {error}. {self.install()}") from error
        version = re.search(r"\d+(\.\d+)+", done.stdout.decode(errors="replace"))
        return f"{self.command.program} {version[0] if version else '(unknown version)'}"

    def open(self, workspace: Workspace, history: Any = None) -> CommandConversation:
        return CommandConversation(self, workspace, history)

    def close(self) -> None:
        """Nothing outlives a turn; the copy of the login goes."""
        self.home.forget_login()
        if self._temporary:
            self._temporary.cleanup()

    def install(self) -> str:
        """What a person does about a command that is missing."""
        return f"Install it with `npm install -g {self.command.package}`, and log in once by running it."

    def program(self) -> str:
        """The command's absolute path. Raises HarnessError."""
        found = shutil.which(self.command.program)
        if not found:
            raise HarnessError(f"{self.command.program} is not on the PATH. {self.install()}")
        return os.path.abspath(found)  # noqa: PTH100 (the working directory of the command is another one)

    def environment(self) -> dict[str, str]:
        """All that the command gets: the system's, its provider's and its own variables, and a home folder that holds its
        configuration, which is made ready. Raises HarnessError."""
        try:
            self.home.prepare()
        except (OSError, shutil.Error) as error:
            raise HarnessError(
                f"{self.home.root}: the configuration of {self.command.program} cannot be made: {error}"
            ) from error
        providers = self.command.providers(self.model)
        persons = {name: os.environ[name] for name in (*PERSONS, *self.command.variables) if name in os.environ}
        files = {name: str(path) for name, path in login_files(providers).items()}
        keys = provider_variables(providers)
        return {**system_variables(), **keys, **files, **persons, **self.home.variables, **self.command.environment}

    def sandbox(self, workspace: Path) -> AgentSandbox:
        """The sandbox of a turn. Raises HarnessError."""
        logins = login_files(self.command.providers(self.model)).values()
        return AgentSandbox(
            workspace,
            self.home.root,
            readable=(*installation(self.program()), *logins, *certificates()),
            hidden=self.config.hidden,
        )

    @property
    def model(self) -> str:
        """The model that is asked for, by the campaign or by the person's settings; empty where the command chooses."""
        return self.config.model or self.home.model

    def arguments(self, session: str, own: OwnSandbox | None) -> list[str]:
        """The arguments of a round; `session` is empty in the first."""
        model = [self.command.option, self.config.model] if self.config.model else []
        values = {"{session}": [session], "{model}": model, "{sandbox}": list(own.options if own else ())}
        parts = self.command.following if session else self.command.first
        return [word for part in parts for word in values.get(part, [part])]

    def own_sandbox(self, sandbox: AgentSandbox, environment: dict[str, str]) -> OwnSandbox | None:
        """The sandbox that the command brings, where it works inside `sandbox`: many do not. Tried once, and left alone
        where there is none around it. Raises OSError, HarnessError."""
        known = self.command.own_sandboxes
        if self._own is None and known:
            tried = known[:1] if not sandbox.parts.confined else known
            self._own = next((own for own in tried[:-1] if self._works(own, sandbox, environment)), tried[-1])
        return self._own

    def _works(self, own: OwnSandbox, sandbox: AgentSandbox, environment: dict[str, str]) -> bool:
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
            process = attendant.start(sandbox.sandbox, [self.program(), *own.probe], environment, stdin, output, output)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=PROBE)
            attendant.dismiss(process)
            return process.wait() == 0


class CommandConversation:
    """A conversation that the command remembers under a name; nothing runs between the turns."""

    def __init__(self, agent: CommandAgent, workspace: Workspace, history: Any) -> None:
        self._agent = agent
        self._command = agent.command
        self._workspace = workspace
        self._session, self._sent, self._received = "", 0, 0
        self._sandbox = ""
        self._limit = 0.0
        if isinstance(history, dict) and history.get("program") == self._command.program:
            self._session = str(history.get("session") or "")
            self._sent, self._received = int(history.get("sent") or 0), int(history.get("received") or 0)

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        begun = time.monotonic()
        redact: Callable[[str], str] = str
        try:
            environment = self._agent.environment() | self._command.permissions(self._workspace)
            environment[MARK] = str(self._workspace.root)
            redact = _redaction(environment, self._agent.home.secrets)
            ended = self._execute(environment, text, redact)
        except HarnessError as error:
            return self._reply(Answer(cost=0.0), Failure("setup", str(error)), begun, redact)
        except OSError as error:
            root = self._workspace.root
            message = f"{self._command.program}: cannot be started: {error.strerror}. {self._agent.install()}"
            if not root.is_dir():
                message = f"{root}: the working folder of {self._command.program} is gone."
            return self._reply(Answer(cost=0.0), Failure("setup", message), begun, redact)
        self._agent.home.take_back()
        answer = self._command.read(ended.stdout, ended.stderr)
        failure = self._failure(ended, answer)
        return self._reply(answer or Answer(), failure, begun, redact)

    def close(self) -> None:
        _end_processes(str(self._workspace.root), lambda: None)

    def _execute(self, environment: dict[str, str], brief: str, redact: Callable[[str], str]) -> _Ended:
        """Run the command to its end or its limit, with `brief` as its input; nothing that it started is left. Raises
        OSError."""
        root = self._workspace.root
        root.stat()  # where it is gone, that is what is to be said
        # Processes of an earlier harness that was killed would go on editing the workspace.
        _end_processes(str(root), lambda: None)
        broken = ""
        # Files, not pipes: a child that keeps a pipe open cannot keep the harness waiting.
        with (
            self._agent.sandbox(root) as sandbox,
            tempfile.TemporaryFile() as stdin,
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr,
        ):
            stdin.write(encodable(brief).encode())
            stdin.seek(0)
            environment = environment | sandbox.variables
            own = self._agent.own_sandbox(sandbox, environment)
            self._sandbox = ", with ".join(filter(None, [str(sandbox.parts), own.name if own else ""]))
            command = [self._agent.program(), *self._agent.arguments(self._session, own)]
            self._limit = self._agent.config.turn_left()
            deadline = time.monotonic() + self._limit
            tails, told = (_Tail(stdout), _Tail(stderr)), set[str]()
            process = attendant.start(sandbox.sandbox, command, environment, stdin, stdout, stderr)
            try:
                while not broken:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=0.05)
                        break
                    for said in (said for tail in tails for said in notices(tail.lines()) if said not in told):
                        told.add(said)
                        self._agent.config.on_notice(redact(f"{self._command.program}: {said}"))
                    if time.monotonic() > deadline:
                        broken = "timeout"
                    elif _size(stdout) + _size(stderr) > MAX_OUTPUT:
                        broken = "output"
            finally:
                _end_processes(str(root), process.poll)
                attendant.dismiss(process)  # which ends what hid its environment
                process.wait()
            return _Ended(attendant.exit_code(process.returncode), _content(stdout), _content(stderr), broken)

    def _failure(self, ended: _Ended, answer: Answer | None) -> Failure | None:
        name = self._command.program
        said = (answer.error if answer else "") or end_of(ended.stderr) or end_of(ended.stdout)
        kind: Any
        if ended.broken == "timeout":
            limit = duration(round(self._limit, 1))
            kind, message = "timeout", f"{name} did not end within {limit} and was ended. {said}"
        elif ended.broken == "output":
            kind, message = "server", f"{name} wrote more than {MAX_OUTPUT // 10**6} MB of output and was ended."
        elif ended.code < 0:
            kind, message = "died", f"{name} was killed by signal {-ended.code}. {said}"
        elif ended.code > 0 or (answer and answer.error):
            kind = failure_kind(answer.status if answer else None, said)
            message = f"{name} failed (exit code {ended.code}): {said or 'it printed nothing'}"
        elif answer is None:
            shown = f": {said}" if said else ": it is empty"
            kind, message = "server", f"{name}'s answer is not what `{name} {self._command.first[0]}` should print{shown}"
        else:
            return None
        until = limit_ends(said, time.time()) if kind == "rate" else None
        return Failure(kind, message.rstrip(), self._todo(kind), until)

    def _todo(self, kind: str) -> str:
        """What a person does about a failure, in this command's words."""
        name = self._command.program
        login = self._command.login[0].upper() + self._command.login[1:]
        return {
            "auth": f"{login}; then `harness resume`. `harness doctor --agent {name}` asks it.",
            "quota": f"The account that {name} uses cannot pay for the request: fix that, then `harness resume`.",
            "rate": "Wait, then `harness resume`; --wait-for-limits waits by itself.",
            "model": f"Name a model that {name} knows: `harness resume --model M`, in {name}'s own names.",
            "context": f"Take a model with a larger context: `harness resume --model M`, in {name}'s own names.",
            "setup": f"`harness doctor --agent {name}` asks it with the same settings.",
        }.get(kind, f"`harness resume` goes on when {name} answers again.")

    def _reply(self, answer: Answer, failure: Failure | None, begun: float, redact: Callable[[str], str]) -> Reply:
        sent, received = answer.sent, answer.received
        if self._command.cumulative:
            if answer.session != self._session:
                self._sent = self._received = 0  # another conversation counts from 0
            sent, received = _since(sent, self._sent), _since(received, self._received)
            self._sent, self._received = max(answer.sent, self._sent), max(answer.received, self._received)
        if failure is None:
            self._session = answer.session or self._session
        elif failure.kind != "timeout" and not answer.session:
            self._session = ""  # it may be one that the command does not know any more: the next round starts anew
        cost, lost = answer.cost, 0
        if cost == 0 and sent + received > 0:
            cost = None  # the command knows no price
        elif failure and sent + received == 0:
            # What a request cost whose answer broke off is not known; one that was refused cost nothing.
            lost = int(failure.kind in UNANSWERED)
            cost = None if lost else cost or 0.0
        texts = tuple(redact(text) for text in answer.texts)
        refused = [f"Not permitted, so it was not done: {redact(what)}." for what in answer.refused]
        history = {
            "program": self._command.program,
            "session": self._session,
            "sent": self._sent,
            "received": self._received,
        }
        return Reply(
            text="\n\n".join(texts),
            usage=self._agent.config.priced(Usage(sent, received, cost, time.monotonic() - begun, answer.requests, lost)),
            replies=texts,
            failure=replace(failure, message=redact(failure.message)) if failure else None,
            refused_writes=answer.refused_writes,
            history=history if self._session else None,
            agent=self._agent.name if answer.requests else "",
            sandbox=self._sandbox,
            models=answer.models or ((self._model(answer),) if self._model(answer) else ()),
            warnings=tuple(refused),
        )

    def _model(self, answer: Answer) -> str:
        """The model that answered, as far as the command tells it at all."""
        if not answer.requests:
            return ""
        return self._command.model_of_session(self._agent.home.root, answer.session) or self._agent.model


@dataclass(frozen=True)
class _Ended:
    """How a command ended; `broken` is the limit that ended it (`timeout`, `output`) or empty."""

    code: int
    stdout: str
    stderr: str
    broken: str


class _Tail:
    """The lines of a file that another process writes, as they come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._read = file, 0

    def lines(self) -> str:
        """Those that are new and whole; of a very long one parts."""
        # The other process has its position in the file from here: nothing may move it.
        data = os.pread(self._file.fileno(), 65_536, self._read)
        end = data.rfind(b"\n") + 1 or (len(data) if len(data) == 65_536 else 0)
        self._read += end
        return data[:end].decode(errors="replace")


def _end_processes(root: str, reap: Callable[[], object]) -> None:
    def wait(seconds: float) -> None:
        reap()
        time.sleep(seconds)

    # Not bubblewrap, which would end what it waits for at once.
    process_tree.ask_to_end(
        lambda: {each for each in process_tree.marked(MARK, root) if not _is_bubblewrap(each)}, GRACE, wait
    )
    process_tree.kill(lambda: process_tree.marked(MARK, root), wait)


def _is_bubblewrap(process: process_tree.Process) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(process.pid).name() == "bwrap"
    return False


def _redaction(environment: dict[str, str], secrets: dict[str, str]) -> Callable[[str], str]:
    ours = (*PERSONS, MARK, "HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "OPENCODE_PERMISSION")
    known = Redaction({name: value for name, value in environment.items() if name not in ours} | secrets)
    return lambda text: _KEY_SHAPES.sub("[key]", known(text))


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _content(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(MAX_OUTPUT).decode(errors="replace")


_TRACE = re.compile(r"^\s*at .*\(?(file:|node:|/|async ).*|.*\bnode_modules\b.*|^[\s{}\[\],]*$")


def end_of(text: str) -> str:
    """The end of an output for a person: without colours, and without the frames and paths of a stack trace."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return "\n".join(line for line in plain.split("\n") if not _TRACE.match(line)).strip()[-500:]


def _since(total: int, before: int) -> int:
    return total - before if total >= before else total


class ClaudeAgent(CommandAgent):
    command = CLAUDE


class CodexAgent(CommandAgent):
    command = CODEX


class GeminiAgent(CommandAgent):
    command = GEMINI


class OpencodeAgent(CommandAgent):
    command = OPENCODE
