"""`harness doctor`: everything that can be wrong is looked at before any money is spent.

Each check stands for itself: one that has a fault of its own does not keep the next from being made.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..agents.aider import AiderAgent
from ..agents.aider_environment import REQUIREMENT, installed
from ..agents.listing import agents, find_agent
from ..campaign.campaign import Options, inventory_of
from ..campaign.contract import ENTRY, Contract, Setting
from ..campaign.contract_file import load_contract
from ..campaign.errors import HarnessError, InputError
from ..campaign.paths import cache_folder, near
from ..campaign.protocols import CACHE, DRY_RUN, AgentConfig, Reply
from ..execution.commands import filled, with_python
from ..execution.executors.sandbox import available
from ..execution.scoring import HUB, lab_cache
from ..execution.secret_files import secrets_around
from ..execution.variables import experiment_environment, not_passed_on
from ..execution.visible import project_around
from ..execution.working_copy import LEVELS
from ..statistics.power import smallest_effect, smallest_effect_in_words
from .gpu import visible_cards
from .model_check import AIDERS_OWN, advice, ask_command, context_size, first_brief
from .model_choice import HOW_TO, choose
from .smoke_test import smoke_test_baseline

State = Literal["ok", "warning", "fail"]

PYTHON, GIT = (3, 11), (2, 28)
"""The oldest versions that work."""
MIN_FREE, LOW_FREE = 0.5e9, 5e9
"""Bytes on a disk below which a campaign cannot go on, and below which it may fill up overnight."""
ANSWER_SECONDS = 60.0
LOCAL_TOKENS = 64
"""That a model of one's own may answer with: some do not stop by themselves."""
PREPARE_SECONDS = 300.0
NEEDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("files", "seeds", "command", "packages", "environment", "secrets", "gpu"), ("contract",)),
    "data": ("contract", "packages"),
    "baseline": ("contract", "data"),
    **dict.fromkeys(("answer", "model", "architect", "reviewer"), ("key",)),
}
"""What a check cannot be made without: its failure would only be told once more."""

_MORE_CONFINEMENT = (
    "Install bubblewrap (Debian and Ubuntu: `sudo apt install bubblewrap`). On Ubuntu 24.04 it also needs an AppArmor "
    "profile that allows /usr/bin/bwrap `userns,`; in a container or on a cluster the administrator decides whether you "
    "may have namespaces."
)
_PROBE = """
import importlib.util, json, platform, sys
missing = [name for name in json.loads(sys.argv[1]) if importlib.util.find_spec(name) is None]
print(json.dumps({"version": platform.python_version(), "missing": missing}))
"""
_PROBE_CUDA = """
import json, torch
print(json.dumps({"version": torch.__version__, "devices": torch.cuda.device_count() if torch.cuda.is_available() else 0}))
"""


@dataclass(frozen=True)
class Check:
    """What was found. `todo` says what a person does about it, where there is something to do."""

    name: str
    state: State
    detail: str
    todo: str = ""


def diagnose(
    *,
    experiment: Path,
    profile: str | None,
    model: str | None,
    architect: str | None,
    reviewer: str | None,
    agent: str | None,
    python: str,
    runs: Path,
    overrides: Mapping[str, Setting],
) -> Iterator[Check]:
    """Every check, the fast ones first. A model is asked, once, where it is named or a command-line agent is."""
    doctor = Doctor(experiment, profile, model, architect, reviewer, agent or "aider", python, runs, dict(overrides))
    failed: set[str] = set()
    try:
        for name, look in doctor.checks:
            needed = [other for other in NEEDS.get(name, ()) if other in failed]
            if needed:
                yield Check(name, "warning", f"not looked at, because of {needed[0]}")
                continue
            check = _made(name, look)
            if check.state == "fail":
                failed.add(name)
            yield check
    finally:
        doctor.close()


def _made(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except HarnessError as error:
        return Check(name, "fail", str(error))
    except Exception as error:  # a check that has a fault itself is a finding like any other
        return Check(name, "fail", f"could not be checked: {type(error).__name__}: {error}")


@dataclass(frozen=True)
class Doctor:
    """What is to be checked; each method that `checks` names makes one check, or raises what it found."""

    experiment: Path
    profile: str | None
    model: str | None
    architect: str | None
    reviewer: str | None
    agent: str
    python: str
    runs: Path
    overrides: dict[str, Setting]

    @property
    def checks(self) -> list[tuple[str, Callable[[], Check]]]:
        checks: list[tuple[str, Callable[[], Check]]] = [
            ("python", self.own_python),
            ("git", self.git),
            ("campaigns", lambda: self.folder("campaigns", self.runs)),
            ("cache", lambda: self.folder("cache", cache_folder())),
            ("contract", self.check_contract),
            ("files", self.files),
            ("seeds", self.seeds),
            ("command", self.command),
            ("packages", self.packages),
            ("environment", self.variables),
            ("confinement", self.confinement),
            ("secrets", self.secrets),
            ("agent", self.installed_agent),
            ("gpu", self.gpu),
            ("data", self.data),
            ("key", self.key),
            ("baseline", self.baseline),
        ]
        is_command = self.agent not in ("aider", "replay")
        if is_command:
            checks.append(("answer", self.agent_answers))
        named = {} if is_command else {"model": self.model, "architect": self.architect}
        named |= {"reviewer": self.reviewer}
        for role, model in named.items():
            if model is not None:
                checks.append((role, lambda role=role, model=model: self.answers(role, model)))  # type: ignore[misc]
        return checks

    @cached_property
    def contract(self) -> Contract:
        contract = load_contract(self.experiment, self.runs)
        return contract.of_profile(self.profile or contract.default_profile)

    def seeds(self) -> Check:
        """The smallest effect that could be found, which more seeds would make smaller."""
        primary, (_, spec), runs = self.contract.primary, self.contract.profile(self.profile), Options().max_runs
        if primary is None:
            return Check("seeds", "ok", "no primary metric is named, so no run is judged")
        said = smallest_effect_in_words(self.contract, spec, runs)
        return Check("seeds", "warning" if smallest_effect(spec, runs, primary.name) is None else "ok", said)

    def own_python(self) -> Check:
        version = ".".join(map(str, sys.version_info[:3]))
        if sys.version_info < PYTHON:
            return Check("python", "fail", f"{version}, too old", "Install Python 3.11 or newer.")
        return Check("python", "ok", f"{version} ({sys.executable})")

    def git(self) -> Check:
        todo = f"Install git {GIT[0]}.{GIT[1]} or newer, so that it is on PATH."
        try:
            said = _output(["git", "--version"])
        except OSError as error:
            return Check("git", "fail", f"cannot be started: {error.strerror}", todo)
        found = re.search(r"(\d+)\.(\d+)\S*", said)
        if found is None:
            return Check("git", "fail", f"says {said.strip()!r}, not its version", todo)
        old = (int(found[1]), int(found[2])) < GIT
        return Check("git", "fail", f"{found[0]}, too old", todo) if old else Check("git", "ok", found[0])

    def folder(self, name: str, path: Path) -> Check:
        """Whether `path`, or the folder that it would be made in, can be written, and how much is free there."""
        place = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        is_cache = name == "cache"
        other = "HARNESS_CACHE names another folder." if is_cache else "--out names another folder."
        shows = f"`harness {'cache' if is_cache else 'clean'}` shows what can go."
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"x")
        except OSError as error:
            return Check(name, "fail", f"{place}: cannot be written: {error.strerror}", other)
        free = shutil.disk_usage(place).free
        detail = f"{path}: {free / 1e9:.1f} GB free"
        if free < MIN_FREE:
            return Check(name, "fail", detail, f"{shows} {other}")
        if free < LOW_FREE:
            return Check(name, "warning", detail, f"It may fill up: {shows} {other}")
        return Check(name, "ok", detail)

    def check_contract(self) -> Check:
        chosen, spec = self.contract.profile(self.profile)
        unknown = [key for key in self.overrides if spec.settings and key not in spec.settings]
        if unknown:
            known = ", ".join(spec.settings)
            raise InputError(f"--set {unknown[0]}: profile {chosen} has no such setting. It has: {known}.")
        missing = self.contract.not_judged
        what = f"profile {chosen}" if chosen else "no profiles"
        primary = f", decided by {self.contract.primary.name}" if self.contract.primary else ""
        if missing:
            todo = "experiment.toml can say it; `harness init DIR` makes an example."
            return Check("contract", "warning", "; ".join(missing), todo)
        return Check("contract", "ok", what + primary)

    def files(self) -> Check:
        """What goes along into a campaign, and what does not."""
        inventory = inventory_of(self.experiment, self.contract)
        detail = f"{len(inventory.files):,} files go along"
        if inventory.sentences:
            return Check("files", "warning", "\n".join([detail, *inventory.sentences]))
        return Check("files", "ok", detail)

    def command(self) -> Check:
        """Whether the experiment knows the option that it is started with: an agent's turn is too late to find out."""
        given = next(part for part in self.contract.command if "{out_dir}" in part)
        position = self.contract.command.index(given)
        option = given.partition("=")[0] if given.startswith("-") else self.contract.command[position - 1]
        line = " ".join(self.contract.command).replace("{out_dir}", "run_0")
        if named := re.search(r"\{(?!out_dir\})\w+\}", " ".join(self.contract.command)):
            todo = "The seed is in the variable HARNESS_SEED, all settings in HARNESS_OVERRIDES and HARNESS_PROFILE."
            return Check("command", "warning", f"{line}: only {{out_dir}} is filled in, {named[0]} is passed as it is", todo)
        sources = [file for name in (*self.contract.editable, *self.contract.files) for file in self._sources(name)]
        if not option.startswith("-") or any(
            option in file.read_text(encoding="utf-8", errors="replace") for file in sources
        ):
            return Check("command", "ok", line)
        todo = f"Let {ENTRY} take {option}, or say in experiment.toml how it is started."
        return Check("command", "fail", f"{option} stands nowhere in the experiment's code", todo)

    def packages(self) -> Check:
        """Whether the experiment's Python starts and has what the experiment imports on its top level."""
        found = json.loads(self._in_experiment(_PROBE, json.dumps(sorted(self._imports))))
        detail = f"Python {found['version']} ({self.python})"
        if found["missing"]:
            names = ", ".join(found["missing"])
            return Check(
                "packages",
                "fail",
                f"{detail} cannot import {names}",
                "Install what is missing there, or name another with --python. For this repository's own experiment: "
                "`./setup.sh run`, or `make sae` for language models.",
            )
        return Check("packages", "ok", f"{detail} has what {ENTRY} imports")

    def variables(self) -> Check:
        """Variables that the experiment's code or its libraries ask for, and that it does not get."""
        code = "\n".join(
            file.read_text(encoding="utf-8", errors="replace")
            for name in (*self.contract.editable, *self.contract.files)
            for file in self._sources(name)
        )
        left = not_passed_on(self.contract, os.environ, set(re.findall(r"\w+", code)))
        if not left:
            return Check("environment", "ok", "the experiment gets the variables that it asks for")
        todo = 'Name what it needs in experiment.toml (`environment = ["NAME"]`); keys are never passed on.'
        return Check("environment", "warning", f"set here, and not passed on to the experiment: {', '.join(left)}", todo)

    def confinement(self) -> Check:
        parts = available()
        if not parts.not_guaranteed:
            return Check("confinement", "ok", f"{parts}: an experiment can write to its working copy only")
        detail = f"{parts if parts.held else 'no sandbox'} ({parts.why}). Not guaranteed of an experiment: "
        return Check("confinement", "warning", detail + "; ".join(parts.not_guaranteed), _MORE_CONFINEMENT)

    def secrets(self) -> Check:
        """Files of the project that hold a key, which no experiment reads."""
        experiment = self.experiment.resolve()
        shown = (*self.contract.readable, *self.contract.editable, *self.contract.auxiliary)
        found = secrets_around(project_around(experiment, LEVELS), shown)
        if not found:
            return Check("secrets", "ok", "no file of the project holds a key")
        names = ", ".join(str(near(path)) for path in found[:10]) + (f" and {len(found) - 10} more" if found[10:] else "")
        todo = "Where an experiment must read one, name it under readable in experiment.toml; then it goes along."
        return Check("secrets", "ok", f"hidden from experiments, for they hold a key: {names}", todo)

    def installed_agent(self) -> Check:
        known = {listed.name: listed for listed in agents()}.get(self.agent)
        if known is None:
            find_agent(self.agent)  # an import path, or a message with the known names
            return Check("agent", "ok", self.agent)
        if known.place is not None:
            return Check("agent", "ok", f"{self.agent}: {known.place}")
        if self.agent in ("aider", "replay"):
            detail = f"{REQUIREMENT.replace('==', ' ')} is not installed; the first run does it (700 MB, a minute or two)"
            return Check("agent", "warning", detail, f"`{known.how}` does it now.")
        return Check("agent", "fail", f"{known.about} is not installed", f"{known.how}")

    def gpu(self) -> Check:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        shown = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
        cards = visible_cards(visible)
        if not cards:
            return Check("gpu", "ok", f"no GPU{shown}: the experiment runs on the CPU")
        detail = "; ".join(map(str, cards)) + shown
        if "torch" in self._imports:
            found = json.loads(self._in_experiment(_PROBE_CUDA))
            if not found["devices"]:
                todo = "Install a build of torch with CUDA that fits the driver, for the Python of --python."
                return Check("gpu", "warning", f"{detail}; torch {found['version']} does not see it", todo)
        if any(card.is_busy for card in cards):
            todo = "Wait for the other process, or choose a free one with CUDA_VISIBLE_DEVICES."
            return Check("gpu", "warning", f"{detail}: another process uses it", todo)
        return Check("gpu", "ok", detail)

    def data(self) -> Check:
        """What the experiment's `prepare` would make for the profile, and whether it could; it says so itself."""
        command = self.contract.prepare
        if not command:
            return Check("data", "ok", "the contract names nothing to prepare")
        person = dict(os.environ)
        environment = experiment_environment(self.contract, person) | {
            **{name: person[name] for name in ("HOME", *HUB) if name in person},
            CACHE: str(lab_cache()),
            "HARNESS_PROFILE": self.contract.profile(self.profile)[0],
            "HARNESS_OVERRIDES": json.dumps(self.overrides),
        }
        try:
            said = _output([*with_python(command, self.python), DRY_RUN], self.experiment, environment, PREPARE_SECONDS)
        except subprocess.CalledProcessError as error:
            return Check("data", "fail", (error.stderr or error.stdout or "").strip() or f"{command[0]} fails: {error}")
        except subprocess.TimeoutExpired:
            todo = f"See where it waits: {' '.join(command)} {DRY_RUN}, in {self.experiment}."
            return Check("data", "fail", f"no answer within {PREPARE_SECONDS:.0f} s", todo)
        return Check("data", "ok", said.strip())

    def key(self) -> Check:
        """Whether the agent could reach its model, as far as that can be told without asking it."""
        if self.agent == "replay":
            return Check("key", "ok", "a recorded session needs none")
        if self.agent == "aider" and self._model is None:
            return Check("key", "warning", "no model is configured: recorded sessions are replayed", HOW_TO)
        if (self.agent == "aider" or self.reviewer) and installed() is None:
            detail = f"not looked for: {REQUIREMENT.replace('==', ' ')} knows which one, and is not installed"
            return Check("key", "warning", detail, "`harness agents install aider`, then `harness doctor` again.")
        if self.agent == "aider":
            said = self._aider.check()
        else:
            said = find_agent(self.agent)(AgentConfig(model=self.model, architect=self.architect)).check()
        if self.reviewer:
            said += f"; reviewer: {self._reviewer.check()}"
        return Check("key", "ok", said)

    def baseline(self) -> Check:
        """The untouched experiment, really executed in a working copy."""
        options = Options(profile=self.profile or "", overrides=self.overrides)
        smoke_test = smoke_test_baseline(self.experiment, options, self.python)
        if smoke_test.failure is None and self.contract.smoke:
            return Check("baseline", "ok", f"the smoke test of the untouched experiment took {smoke_test.seconds:.1f} s")
        if smoke_test.failure is None and not smoke_test.is_cut:
            return Check("baseline", "ok", f"the untouched experiment took {smoke_test.seconds:.1f} s")
        if smoke_test.failure is None:
            detail = f"no failure in {smoke_test.seconds:.0f} s; without a smoke test only the full run shows the rest"
            return Check("baseline", "warning", detail, "Let it honour HARNESS_SMOKE=1, and say `smoke = true`.")
        end = "\n".join(smoke_test.failure.output_tail.splitlines()[-15:])
        detail = f"the untouched experiment fails: {smoke_test.failure.why}" + (f"\n{end}" if end else "")
        command = with_python([filled(part, {"{out_dir}": "/tmp/try"}) for part in self.contract.command], self.python)
        smoke = "HARNESS_SMOKE=1 " if self.contract.smoke else ""
        todo = f"Make it run: cd {shlex.quote(str(self.experiment.resolve()))} && {smoke}{shlex.join(command)}"
        return Check("baseline", "fail", detail, todo)

    def answers(self, role: str, model: str) -> Check:
        """A tiny request, through the process that would make the real ones."""
        if installed() is None:
            return Check(role, "warning", f"{model}: not asked: aider is not installed", "`harness agents install aider`")
        agent = self._reviewer if role == "reviewer" else self._aider
        # A model of one's own that does not stop would be waited for: a paid one does, and may refuse the limit.
        limit = LOCAL_TOKENS if agent.is_local(model) else None
        reply = agent.complete(model, "You are asked whether you can be reached.", "Answer with the word: ready", limit)
        check = _answered(role, model, reply)
        return check if check.state == "fail" or role == "reviewer" else self._with_context(check, model)

    def agent_answers(self) -> Check:
        """A tiny question to a command-line agent, by the code and with the login that a campaign would use."""
        with_model = f"{self.agent} with {self.model}" if self.model else self.agent
        return _answered("answer", with_model, ask_command(self.agent, self.model, self.architect))

    def _with_context(self, check: Check, model: str) -> Check:
        """Whether what a first turn sends fits the model."""
        text = first_brief(self.contract, self.profile, self.experiment)
        sent = round(self._aider.count_tokens(text, model) + AIDERS_OWN, -2)
        size = context_size(self._aider, model)
        if size is None:
            said = f"{check.detail}; the first turn sends about {sent:,} tokens, and its context size is not told"
            return Check(check.name, "ok", said)
        if sent > size:
            todo = "Give it a longer context (`llama-server -c N`, LM Studio's context length), or take another model."
            return Check(check.name, "fail", f"the first turn sends about {sent:,} tokens, and {model} takes {size:,}", todo)
        return Check(check.name, "ok", f"{check.detail}; the first turn sends about {sent:,} of its {size:,} tokens")

    def close(self) -> None:
        """End the processes that asked models."""
        for name in ("_aider", "_reviewer"):
            if name in self.__dict__:
                self.__dict__[name].close()

    @cached_property
    def _model(self) -> str | None:
        """The model that a campaign would get: the named one, else what the environment stands for."""
        try:
            return self.model or choose("", self.experiment, os.environ, agent="aider").model
        except InputError:
            return None

    @cached_property
    def _aider(self) -> AiderAgent:
        return AiderAgent(AgentConfig(model=self._model, architect=self.architect, timeout=ANSWER_SECONDS))

    @cached_property
    def _reviewer(self) -> AiderAgent:
        return AiderAgent(AgentConfig(model=self.reviewer, timeout=ANSWER_SECONDS))

    @cached_property
    def _imports(self) -> set[str]:
        """What the editable Python files import on their top level. Imports inside functions may never be needed."""
        names: set[str] = set()
        for file in (file for name in self.contract.editable for file in self._sources(name)):
            try:
                tree = ast.parse(file.read_bytes())
            except (SyntaxError, ValueError) as error:
                raise InputError(f"{file}: is not Python: {error}.") from error
            for node in tree.body:
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names.add(node.module.partition(".")[0])
        return names

    def _sources(self, name: str) -> list[Path]:
        """The Python files that a name in the contract stands for."""
        path = self.experiment / name
        return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []

    def _in_experiment(self, script: str, *arguments: str) -> str:
        """What `script` prints in the experiment's Python, in its folder and with its environment. Raises HarnessError."""
        environment = experiment_environment(self.contract, dict(os.environ))
        try:
            return _output([self.python, "-c", script, *arguments], self.experiment, environment)
        except OSError as error:
            raise HarnessError(f"--python {self.python}: cannot be started: {error.strerror}.") from error
        except subprocess.CalledProcessError as error:
            lines = (error.stderr or "").strip().splitlines()
            raise HarnessError(f"--python {self.python}: fails: {lines[-1] if lines else error}.") from error


def _answered(name: str, who: str, reply: Reply) -> Check:
    usage = reply.usage
    cost = "at unknown cost" if usage.cost is None else f"for ${usage.cost:.4f}"
    if reply.failure:
        spent = f" (spent: {usage.sent + usage.received} tokens {cost})" if usage.sent else ""
        todo = advice(reply.failure, Options().turn_timeout * 60 / 3)
        return Check(name, "fail", reply.failure.message + spent, todo)
    tokens = f"{usage.sent:,} tokens sent, {usage.received:,} received"
    return Check(name, "ok", f"{who} answers after {usage.seconds:.1f} s, {tokens}, {cost}")


def _output(
    command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None, seconds: float = 120
) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=True,
    )
    return done.stdout
