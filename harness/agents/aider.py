"""The agent `aider`: any model that litellm knows, editing through SEARCH/REPLACE blocks.

aider runs in an environment and a process of its own (`environment.py`, `aider_worker.py`). One process serves all
conversations of an agent; one that died is started again with the next question, and goes on where the last answer left.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from ..campaign.errors import CannotGoOn, InputError
from ..campaign.protocols import AgentConfig, Failure, Reply, Workspace
from ..campaign.text import encodable
from ..campaign.usage import Usage
from ..execution.executors.sandbox import available
from ..execution.visible import interpreter
from .agent_sandbox import AgentSandbox
from .aider_environment import REQUIREMENT, aider_python, installed
from .keys import Redaction, certificates, provider_variables, system_variables
from .worker import Worker, WorkerEnded

EDIT_FORMATS = ("diff", "diff-fenced", "whole", "udiff", "udiff-simple")
"""aider's formats that write only through its own gate; its `patch` also moves and deletes files."""

PATIENCE = 90.0
"""Seconds for which a failed request is repeated, with growing pauses: a provider's bad minute, not its bad night."""

WORK = 180.0
"""Seconds that aider may be silent besides waiting for one request: a pause before a repetition, edits and lint."""

HINTS = {
    "auth": "Check the key ({keys}), then `harness resume`.",
    "quota": "The account cannot pay for the request: check credit and limits at the provider, then `harness resume`.",
    "rate": "The provider limits the requests: wait, then `harness resume`; --wait-for-limits waits by itself.",
    "server": "The provider failed: try again later with `harness resume`.",
    "connection": "Check the network, and OPENAI_API_BASE or OLLAMA_API_BASE where a server of your own is meant.",
    "timeout": "The provider is slow or hangs: `harness resume` tries again, --turn-timeout MINUTES gives it more time.",
    "context": "Give the model a longer context (`llama-server -c N`, LM Studio's context length, OLLAMA_CONTEXT_LENGTH=N) "
    "or resume with a --model that has one.",
    "cut": "Raise the output limit of the model's server, then `harness resume`.",
    "model": "Check the name of the model, and the address of a server of your own: `harness doctor --model M` asks it.",
    "setup": "`harness doctor --model M` asks the model with the same settings.",
    "died": "`harness resume` goes on.",
}


class AiderAgent:
    """aider with the model of `config`; in architect mode `config.architect` plans and `config.model` edits."""

    def __init__(self, config: AgentConfig, provider: Mapping[str, str] | None = None) -> None:
        """`provider`: environment variables that reach the model, instead of the person's own ones."""
        if config.edit_format not in EDIT_FORMATS:
            raise InputError(f"--edit-format {config.edit_format}: unknown. Known: {', '.join(EDIT_FORMATS)}.")
        self.config = config
        self._provider = provider
        self._worker: Worker | None = None
        self._variables: dict[str, str] = {}
        self._redact = Redaction({})
        self._numbers = count()

    def check(self) -> str:
        """aider's version and the model. Makes aider's environment where it is missing; asks no model.

        Raises InputError for a model without a key or without a known provider, CannotGoOn if aider cannot start.
        """
        if not self.config.model:
            raise InputError(
                "no model is configured: give --model M (for example --model openai/NAME with OPENAI_API_KEY, or "
                "--model ollama/NAME with OLLAMA_API_BASE), or --agent replay to replay a recorded session."
            )
        described = [self.describe(model) for model in self._models()]
        text = f"aider {described[0]['version']}, model {self.config.model} ({self.config.edit_format})"
        if self.config.architect:
            text += f", architect {self.config.architect}"
        priced = all(each["priced"] for each in described)
        self.config.check_price(f"--model {self.config.model}", priced)
        if not priced:
            text += ", cost by --price" if self.config.price else ", cost unknown (no price is listed for it)"
        return text

    def open(self, workspace: Workspace, history: Any = None) -> AiderConversation:
        if not workspace.root.is_relative_to(self.config.workspaces or workspace.root / "none"):
            raise ValueError(f"{workspace.root}: aider's process sees nothing but AgentConfig.workspaces")
        return AiderConversation(self, workspace, history)

    def complete(self, model: str, system: str, user: str, tokens: int | None = None) -> Reply:
        """One answer of `model`, of at most so many tokens, without files and without edits. Failures are in the reply."""
        texts = {"system": encodable(system), "user": encodable(user)}
        request = {"op": "complete", "model": model, **texts, "tokens": tokens}
        return self._reply(request, model, None)

    def is_local(self, model: str) -> bool:
        """Whether a server of the user's own answers for `model`."""
        own = self._variables.get("OPENAI_API_BASE") or self._variables.get("OPENAI_BASE_URL")
        provider = self.describe(model)["provider"]
        return provider in ("ollama", "ollama_chat", "llamafile", "lm_studio") or (provider == "openai" and bool(own))

    def count_tokens(self, text: str, model: str | None = None) -> int:
        """How many tokens `text` is for `model` (an OpenAI tokenizer where its own is unknown). Needs no network."""
        tokens: int = self._ask({"op": "count", "model": model or self.config.model, "text": encodable(text)})["tokens"]
        return tokens

    def close(self) -> None:
        """End aider's process. It also ends with the agent and with the harness."""
        if self._worker:
            self._worker.close()

    @property
    def pid(self) -> int | None:
        """The process of aider while it lives."""
        return self._worker.pid if self._worker and self._worker.alive else None

    def _models(self) -> list[str]:
        return [model for model in (self.config.model, self.config.architect) if model]

    def describe(self, model: str) -> dict[str, Any]:
        """What litellm knows of a model. Raises InputError for one without a key or a known provider."""
        try:
            described = self._ask({"op": "describe", "model": model})
        except WorkerEnded as error:
            raise CannotGoOn(f"aider does not start: {error}. Make it again: `harness agents install aider`.") from error
        if described["provider"] is None:
            raise InputError(
                f"--model {model}: unknown provider. Write PROVIDER/{model}, for example openai/{model} for any "
                "OpenAI-compatible server (OPENAI_API_BASE says where), or ollama/..."
            )
        if described["missing"]:
            names = ", ".join(described["missing"])
            raise InputError(
                f"--model {model}: no key in the environment (looked for {names}). Set it there; it is stored nowhere."
            )
        return described

    def _running(self) -> Worker:
        if self._worker and self._worker.alive:
            return self._worker
        if self._worker:
            self._worker.close()
        environment = {
            **system_variables(),
            "BROWSER": "/bin/true",  # aider opens URLs of error messages
            "PYTHONSAFEPATH": "1",  # its linter's working directory is the workspace
            "PYTHONIOENCODING": "utf-8",
            "LITELLM_MODE": "PRODUCTION",  # otherwise litellm reads a .env
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "AIDER_ANALYTICS": "false",
            "NO_COLOR": "1",
        }
        script = Path(__file__).with_name("aider_worker.py")
        command = [str(aider_python(self.config.on_output)), str(script), str(self.config.timeout)]
        command.append(str(min(PATIENCE, self.config.timeout)))
        silence = self.config.timeout * 1.1 + max(WORK, 2 * PATIENCE)
        try:
            self._worker = Worker(command, environment, silence, self._heard, self._sandbox, self.config.workspaces)
        except OSError as error:
            raise CannotGoOn(f"aider does not start: {error}. Make it again: `harness agents install aider`.") from error
        # litellm knows whose a model is. Only then does the process get variables, and those through its pipe.
        self._variables = self._variables_of(self._worker.ask({"op": "providers", "models": self._models()})["providers"])
        self._redact = Redaction(self._variables)
        self._worker.ask({"op": "variables", "variables": self._variables})
        return self._worker

    def _sandbox(self, home: Path) -> AgentSandbox:
        python, here = str(aider_python(self.config.on_output)), Path(__file__).parent
        scripts = [here / "aider_worker.py", here / "failure_kinds.py"]
        return AgentSandbox(
            home,
            home,
            writable=[self.config.workspaces] if self.config.workspaces else [],
            readable=[*interpreter(python).paths, *scripts, *certificates()],
            hidden=self.config.hidden,
        )

    def _heard(self, line: str, notice: bool) -> None:
        (self.config.on_notice if notice else self.config.on_output)(self._redact(line))

    def _variables_of(self, providers: list[str]) -> dict[str, str]:
        found = dict(provider_variables(providers) if self._provider is None else self._provider)
        if found.get("OPENAI_API_BASE") or found.get("OPENAI_BASE_URL"):
            # A server of one's own mostly wants no key, but the client wants to send one.
            found.setdefault("OPENAI_API_KEY", "none")
        if any(provider.startswith("ollama") for provider in providers):
            found.setdefault("OLLAMA_API_BASE", "http://localhost:11434")
        return found

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Raises WorkerEnded with a message without keys."""
        try:
            return self._running().ask(request)
        except WorkerEnded as error:
            raise WorkerEnded(self._redact(str(error)), error.silent) from None

    def _reply(self, request: Mapping[str, Any], model: str, history: Any) -> Reply:
        start = time.monotonic()
        try:
            answer = self._ask(request)
        except WorkerEnded as error:
            # What was paid for by then is not known.
            usage = Usage(cost=None, seconds=time.monotonic() - start, lost=1)
            failure = self._failure(model, {"kind": "timeout" if error.silent else "died", "message": str(error)})
            return Reply("", usage, failure=failure, history=history)
        replies = tuple(answer["replies"])
        return Reply(
            text=replies[-1] if replies else "",
            usage=self.config.priced(Usage(**answer["usage"], seconds=time.monotonic() - start)),
            replies=replies,
            failure=self._failure(model, answer["failure"]) if answer["failure"] else None,
            refused_writes=tuple(answer["refused_writes"]),
            warnings=tuple(self._redact(warning) for warning in answer["warnings"]),
            history=answer["history"],
            notes=answer["notes"],
            agent=REQUIREMENT.replace("-chat==", " "),
            models=tuple(dict.fromkeys(answer["models"])),
            sandbox=str(available()),
        )

    def _failure(self, model: str, failure: Mapping[str, Any]) -> Failure:
        kind: Any = failure["kind"]
        keys = ", ".join(sorted(name for name in self._variables if name.endswith("_API_KEY"))) or "none is set"
        message = f"{model}: {self._redact(failure['message'])}".rstrip()
        return Failure(kind, message, HINTS[kind].format(keys=keys), failure.get("until"))


class AiderConversation:
    """A conversation with aider on a workspace."""

    def __init__(self, agent: AiderAgent, workspace: Workspace, history: Any) -> None:
        self._agent = agent
        self._workspace = workspace
        self.history = history
        self._opened_in: tuple[int | None, int] | None = None

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        agent = self._agent
        model = agent.config.model or ""
        try:
            request = {"op": "ask", "session": self._session(), "text": encodable(text), "seconds": agent.config.turn_left()}
        except WorkerEnded as error:
            failure = agent._failure(model, {"kind": "died", "message": str(error)})
            return Reply("", Usage(), failure=failure, history=self.history)
        reply = agent._reply(request, model, self.history)
        self.history = reply.history
        return reply

    def files(self) -> dict[str, bytes]:
        """The editable files as they are."""
        paths = {name: self._workspace.root / name for name in self._workspace.editable}
        return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}

    def close(self) -> None:
        if self._opened_in and self._opened_in[0] == self._agent.pid:
            with suppress(WorkerEnded):  # it went away together with what was to be closed
                self._agent._ask({"op": "close", "session": self._opened_in[1]})
        self._opened_in = None

    def _session(self) -> int:
        """The number of this conversation in aider's process; opened there where that is a new process."""
        agent = self._agent
        if self._opened_in is None or self._opened_in[0] != agent.pid:
            number = next(agent._numbers)
            agent._ask(
                {
                    "op": "open",
                    "session": number,
                    "root": str(self._workspace.root.absolute()),
                    "editable": self._workspace.editable,
                    "readable": self._workspace.readable,
                    "model": agent.config.model,
                    "architect": agent.config.architect,
                    "edit_format": agent.config.edit_format,
                    "history": self.history,
                }
            )
            self._opened_in = (agent.pid, number)
        return self._opened_in[1]


def count_tokens(*texts: str, model: str | None = None) -> list[int]:
    """How many tokens each text is for `model`, counted without network; nothing while aider's environment is not made."""
    if installed() is None:
        return []
    agent = AiderAgent(replace(AgentConfig(), model=model), provider={})
    try:
        return [agent.count_tokens(text) for text in texts]
    finally:
        agent.close()
