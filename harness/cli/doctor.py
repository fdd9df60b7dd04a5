"""`harness doctor`: everything that can be wrong is looked at before any money is spent.

Each check stands for itself: one that has a fault of its own does not keep the next from being made.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Any

from ..agents.listing import is_search
from ..agents.outside import OUTSIDE
from ..agents.search import check_no_model, check_search
from ..agents.unread_constants import unread_constants
from ..campaign.campaign import Options, inventory_of
from ..campaign.contract import CONTRACT_FILE, ENTRY, Contract, Setting
from ..campaign.contract_file import load_contract
from ..campaign.errors import HarnessError, InputError
from ..campaign.not_confined import NOT_HELD
from ..campaign.numbers import counted
from ..campaign.paths import cache_folder, near
from ..campaign.protocols import CACHE, DRY_RUN, HOW_TO_EXIT, SEED, Limits
from ..execution.commands import filled, with_python
from ..execution.executors.gpu import mps, visible_cards
from ..execution.feed import check_executor
from ..execution.scoring import HUB, lab_cache
from ..execution.secret_files import secrets_around
from ..execution.seed_variable import not_named
from ..execution.variables import experiment_environment, not_passed_on
from ..execution.visible import project_around
from ..execution.working_copy import LEVELS
from ..statistics.power import smallest_effect, smallest_effect_in_words
from . import machine_check, slurm_check
from .doctor_check import Check, output
from .model_check import ModelChecks, first_brief
from .smoke_test import smoke_test_baseline

PREPARE_SECONDS = 300.0
NEEDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("files", "seeds", "command", "packages", "environment", "secrets", "gpu", "slurm", "search"), ("contract",)
    ),
    "data": ("contract", "packages"),
    "baseline": ("contract", "data", "slurm"),
    **dict.fromkeys(("answer", "model", "architect", "reviewer"), ("key",)),
}
"""What a check cannot be made without: its failure would only be told once more."""

_PROBE = """
import importlib.util, json, platform, sys
missing = [name for name in json.loads(sys.argv[1]) if importlib.util.find_spec(name) is None]
print(json.dumps({"version": platform.python_version(), "missing": missing}))
"""
_PROBE_CUDA = """
import json, torch
print(json.dumps({"version": torch.__version__, "devices": torch.cuda.device_count() if torch.cuda.is_available() else 0}))
"""


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
    executor: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Check]:
    """Every check, the fast ones first. A model is asked, once, where it is named or a command-line agent is. `executor` has
    the fields of `Options` that choose one."""
    options = Options(profile=profile or "", overrides=dict(overrides), **executor)
    doctor = Doctor(experiment, profile, model, architect, reviewer, agent or "aider", python, runs, options)
    failed: set[str] = set()
    try:
        for name, look in doctor.checks:
            needed = [other for other in NEEDS.get(name, ()) if other in failed]
            if needed:
                yield Check(name, "warning", f"not checked, since {needed[0]} failed")
                continue
            check = _made(name, look)
            if check.state == "fail":
                failed.add(name)
            yield check
    finally:
        doctor.close()


def _driven_from_outside() -> Check:
    todo = "Have your agent work in a sandbox of its own; `harness try --usage` tells what it cost."
    return Check("agent", "warning", f"a campaign of `harness open`: {NOT_HELD}", todo)


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
    options: Options

    @property
    def checks(self) -> list[tuple[str, Callable[[], Check]]]:
        checks: list[tuple[str, Callable[[], Check]]] = [
            ("python", machine_check.own_python),
            ("git", machine_check.git),
            ("campaigns", lambda: machine_check.folder("campaigns", self.runs)),
            ("cache", lambda: machine_check.folder("cache", cache_folder())),
            ("contract", self.check_contract),
            ("files", self.files),
            ("seeds", self.seeds),
            ("command", self.command),
            ("packages", self.packages),
            ("environment", self.variables),
            ("confinement", machine_check.confinement),
            ("limits", machine_check.limits),
            ("secrets", self.secrets),
            ("agent", _driven_from_outside if self.agent == OUTSIDE else self._models.installed_agent),
            ("slurm", self.slurm) if self.options.executor == "slurm" else ("gpu", self.gpu),
            ("data", self.data),
            ("key", self._models.key),
            ("baseline", self.baseline),
        ]
        if self.agent == OUTSIDE:
            return [check for check in checks if check[0] != "key"]
        if is_search(self.agent):
            checks.append(("search", self.search))
        elif self.agent not in ("aider", "replay"):
            checks.append(("answer", self._models.agent_answers))
        named = {"model": self.model, "architect": self.architect} if self.agent in ("aider", "replay") else {}
        named |= {"reviewer": self.reviewer}
        for role, model in named.items():
            if model is not None:
                checks.append((role, lambda role=role, model=model: self._models.answers(role, model)))  # type: ignore[misc]
        return checks

    @cached_property
    def _models(self) -> ModelChecks:
        def first_turn() -> str:
            return first_brief(self.contract, self.profile, self.experiment)

        return ModelChecks(self.experiment, self.model, self.architect, self.reviewer, self.agent, first_turn)

    def close(self) -> None:
        """End the processes that asked models."""
        self._models.close()

    @cached_property
    def contract(self) -> Contract:
        contract = load_contract(self.experiment, self.runs)
        return contract.of_profile(self.profile or contract.default_profile)

    def seeds(self) -> Check:
        """The smallest effect that could be found, which more seeds would make smaller."""
        primary, (_, spec) = self.contract.primary, self.contract.profile(self.profile)
        runs = spec.max_runs or Options().max_runs
        if primary is None:
            return Check("seeds", "ok", "no primary metric is named, so no run is judged")
        if unread := not_named(self.contract, self.experiment, inventory_of(self.experiment, self.contract).files):
            return Check("seeds", "warning", unread)
        said = smallest_effect_in_words(self.contract, spec, runs)
        return Check("seeds", "warning" if smallest_effect(spec, runs, primary.name) is None else "ok", said)

    def check_contract(self) -> Check:
        chosen, spec = self.contract.profile(self.profile)
        unknown = [key for key in self.options.overrides if spec.settings and key not in spec.settings]
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

    def search(self) -> Check:
        """Where a search without a model would look."""
        check_no_model(self.agent, self.model)
        options = Options(profile=self.profile or "", overrides=self.options.overrides)
        searched = check_search(self.experiment, options, self.agent)
        if unread := unread_constants(self.experiment, options):
            return Check("search", "warning", f"{searched}\n{unread}")
        return Check("search", "ok", searched)

    def files(self) -> Check:
        """What goes along into a campaign, and what does not."""
        inventory = inventory_of(self.experiment, self.contract)
        number = len(inventory.files)
        detail = f"{counted(number, 'file')} {'is' if number == 1 else 'are'} copied into each working copy"
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
        code = self._code
        if not option.startswith("-") or option in code:
            return Check("command", "ok", line)
        todo = f"Let the experiment take {option}, or say in experiment.toml how it is started."
        # What names its options ends at another; what does not may take any, or write to its own folder.
        names_options = re.search(r"\badd_argument\(|\bclick\.option\(|\bgetopt\(", code)
        is_certain = names_options and "parse_known_args" not in code
        return Check("command", "fail" if is_certain else "warning", f"the experiment's code does not name {option}", todo)

    def packages(self) -> Check:
        """Whether the experiment's Python starts and has what the experiment imports on its top level."""
        found = json.loads(self._in_experiment(_PROBE, json.dumps(sorted(self._imports))))
        detail = f"Python {found['version']} ({self.python})"
        if found["missing"]:
            names = ", ".join(found["missing"])
            how = shlex.join([self.python, "-m", "pip", "install", *found["missing"]])
            if (self.experiment / "setup.sh").is_file():  # this repository's own experiment
                how = "./setup.sh run` (`make sae` for language models), or `" + how
            todo = (
                f"Install what is missing there, `{how}` (a package may have another name than its import), or name another "
                "Python with --python."
            )
            return Check("packages", "fail", f"{detail} cannot import {names}", todo)
        return Check("packages", "ok", f"{detail} has all that {ENTRY} imports")

    def variables(self) -> Check:
        """Variables that the experiment's code or its libraries ask for, and that it does not get."""
        left = not_passed_on(self.contract, os.environ, set(re.findall(r"\w+", self._code)))
        if not left:
            return Check("environment", "ok", "the experiment gets the variables that it asks for")
        todo = 'Name what it needs in experiment.toml (`environment = ["NAME"]`); keys are never passed on.'
        return Check("environment", "warning", f"set here, and not passed on to the experiment: {', '.join(left)}", todo)

    def secrets(self) -> Check:
        """Files of the project that hold a key, which no experiment reads."""
        experiment = self.experiment.resolve()
        shown = (*self.contract.readable, *self.contract.editable, *self.contract.auxiliary)
        found = secrets_around(project_around(experiment, LEVELS), shown)
        if not found:
            return Check("secrets", "ok", "no file of the project holds a key")
        names = ", ".join(str(near(path)) for path in found[:10]) + (f" and {len(found) - 10} more" if found[10:] else "")
        todo = "An experiment that must read one has it under readable in experiment.toml; then the agent is shown it, too."
        return Check("secrets", "ok", f"hidden from experiments, for they hold a key: {names}", todo)

    def slurm(self) -> Check:
        """Whether the cluster takes what would be submitted to it; what it executes there is the baseline's check."""
        profile, spec = self.contract.profile(self.profile)
        check_executor(spec, profile, self.options.executor)
        limits = self.contract.limits_of(profile)
        return slurm_check.slurm(self.options.executor_settings, Limits(time=limits.time, memory=limits.memory))

    def gpu(self) -> Check:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        shown = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
        cards = visible_cards(visible)
        if not cards:
            return Check("gpu", "ok", f"no GPU{shown}: the experiment runs on the CPU")
        detail = "; ".join(map(str, cards)) + shown
        if daemon := mps(os.environ):
            detail += f"; shared by an MPS daemon ({daemon})"
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
            return Check("data", "ok", "the contract has no `prepare`, so nothing is prepared")
        person = dict(os.environ)
        environment = experiment_environment(self.contract, person) | {
            **{name: person[name] for name in ("HOME", *HUB) if name in person},
            CACHE: str(lab_cache()),
            "HARNESS_PROFILE": self.contract.profile(self.profile)[0],
            "HARNESS_OVERRIDES": json.dumps(self.options.overrides),
        }
        try:
            said = output([*with_python(command, self.python), DRY_RUN], self.experiment, environment, PREPARE_SECONDS)
        except subprocess.CalledProcessError as error:
            return Check("data", "fail", (error.stderr or error.stdout or "").strip() or f"{command[0]} fails: {error}")
        except subprocess.TimeoutExpired:
            todo = f"Execute it to see what it waits for: {' '.join(command)} {DRY_RUN}, in {self.experiment}."
            return Check("data", "fail", f"no answer within {PREPARE_SECONDS:.0f} s", todo)
        return Check("data", "ok", said.strip())

    def baseline(self) -> Check:
        """The unmodified experiment, really executed in a working copy."""
        smoke_test = smoke_test_baseline(self.experiment, self.options, self.python, self.runs)
        if smoke_test.failure is None and (self.contract.smoke or not smoke_test.is_cut):
            what = f"{'the smoke test of ' if self.contract.smoke else ''}the unmodified experiment"
            detail = f"{what} took {smoke_test.seconds:.1f} s"
            if smoke_test.hung:
                return Check("baseline", "warning", f"{detail}: {smoke_test.hung}", HOW_TO_EXIT)
            return Check("baseline", "ok", detail)
        if smoke_test.failure is None:
            detail = f"no failure in {smoke_test.seconds:.0f} s; without a smoke test only the full run shows the rest"
            return Check(
                "baseline",
                "warning",
                detail,
                "Let it end in seconds where HARNESS_SMOKE is 1, and write `smoke = true` into experiment.toml.",
            )
        end = "\n".join(smoke_test.failure.output_tail.splitlines()[-15:])
        detail = f"the unmodified experiment fails: {smoke_test.failure.why}" + (f"\n{end}" if end else "")
        if smoke_test.ended_well:  # what it wrote is in the way
            todo = f"Let the experiment write what is missing, or name in {CONTRACT_FILE} a metric that it writes."
            return Check("baseline", "fail", detail, todo)
        # One that makes its out_dir itself takes none that is there, also of an earlier try.
        out_dir = f"/tmp/try-{token_hex(3)}" if smoke_test.makes_out_dir else "/tmp/try"
        command = with_python([filled(part, {"{out_dir}": out_dir}) for part in self.contract.command], self.python)
        typed = f"{SEED}=0 " + ("HARNESS_SMOKE=1 " if self.contract.smoke else "") + shlex.join(command)
        made = "" if smoke_test.makes_out_dir else f"mkdir -p {out_dir} && "
        todo = f"Make it run: {made}cd {shlex.quote(str(self.experiment.resolve()))} && {typed}"
        return Check("baseline", "fail", detail, todo)

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

    @cached_property
    def _code(self) -> str:
        """All of the experiment's Python."""
        files = (file for name in (*self.contract.editable, *self.contract.files) for file in self._sources(name))
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def _sources(self, name: str) -> list[Path]:
        """The Python files that a name in the contract stands for."""
        path = self.experiment / name
        return sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []

    def _in_experiment(self, script: str, *arguments: str) -> str:
        """What `script` prints in the experiment's Python, in its folder and with its environment. Raises HarnessError."""
        environment = experiment_environment(self.contract, dict(os.environ))
        try:
            return output([self.python, "-c", script, *arguments], self.experiment, environment)
        except OSError as error:
            raise HarnessError(f"--python {self.python}: cannot be started: {error.strerror}.") from error
        except subprocess.CalledProcessError as error:
            lines = (error.stderr or "").strip().splitlines()
            raise HarnessError(f"--python {self.python}: fails: {lines[-1] if lines else error}.") from error
