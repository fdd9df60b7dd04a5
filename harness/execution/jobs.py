"""What one execution is given: its command, an environment without any key, limits, and what it sees of the machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..campaign.contract import Setting
from ..campaign.layout import is_report, layouts
from ..campaign.limits_spec import LimitsSpec
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.protocols import CACHE, FEED, FINAL_INFO, FOLLOWS, SERVES, AbortRule, Job, Limits
from . import caches, shares, working_copy
from .commands import filled, with_python
from .executors.sandbox import control_sockets
from .scoring import lab_cache, sealed_folders
from .secret_files import secret_paths, secrets_around
from .variables import experiment_environment
from .visible import homes, interpreter, named_in, needed, plainly_there, project_around

IDLE = 60.0
"""Seconds for which an execution with complete results may do nothing, where its limit of silence is not longer."""


@dataclass(frozen=True)
class Variant:
    """How the code of a commit is executed: `overrides` are settings of a control, on top of those of the campaign."""

    seed: int
    overrides: Mapping[str, Setting] = field(default_factory=dict)
    smoke: bool = False
    trial: bool = False
    """For the time of a smoke test only, though the experiment has none."""

    @property
    def is_brief(self) -> bool:
        return self.smoke or self.trial


class Jobs(CampaignPart):
    """Says of each execution of a campaign what it is given."""

    def __init__(self, opened: OpenCampaign) -> None:
        super().__init__(opened)
        self.python = str(opened.campaign.machine().get("python") or "python3")

    def command(self, run: int) -> list[str]:
        """Of a run, as the contract has it."""
        return [filled(part, {"{out_dir}": f"run_{run}"}) for part in self._campaign.contract.command]

    def job(self, place: Path, run: int, variant: Variant) -> Job:
        """What is executed in `place` as `run`."""
        contract, scratch = self._campaign.contract, place / "scratch"
        copy = working_copy.folder_of(place / "copy", self._campaign.experiment)
        environment, home = self.environment(variant), scratch.resolve() / "home"
        own, programs = interpreter(self.python), Path(shutil.which(self.python) or self.python).parent
        environment |= {
            "HOME": str(home),
            # `python` and what is installed beside it are the experiment's own.
            "PATH": os.pathsep.join(filter(None, [str(programs), environment.get("PATH")])),
            **caches.variables(self.library_caches, home),
            **({"PYTHONUSERBASE": own.user_base} if own.user_base else {}),
            **({FOLLOWS: "1"} if contract.scorer else {}),
            **({SERVES: "1"} if contract.serve else {}),
            **({FEED: str(self.feed_folder(place))} if self.feed else {}),
        }
        limits = self.limits
        return Job(
            command=with_python(self.command(run), self.python),
            folder=copy.resolve(),
            out_dir=(copy / f"run_{run}").resolve(),
            scratch=scratch.resolve(),
            environment=environment,
            limits=Limits(
                time=limits.smoke_time if variant.is_brief else limits.time,
                silence=limits.silence,
                memory=limits.memory,
                output=limits.output,
                disk=limits.disk,
                processes=limits.processes,
                idle=max(limits.silence or 0.0, IDLE),
            ),
            results=FINAL_INFO,
            abort=tuple(AbortRule(rule.key, rule.steps) for rule in contract.abort),
            training_log=contract.training_log,
            readable=(place / "copy", *([self.feed_folder(place)] if self.feed else []), *self._readable(variant)),
            hidden=self._hidden(),
            network=contract.network,
            share=shares.share(self._campaign, self._options, environment, place),
        )

    def environment(self, variant: Variant) -> dict[str, str]:
        """What every process of an execution is told."""
        contract, options = self._campaign.contract, self._options
        return (
            shares.told(self._campaign, options)
            | experiment_environment(contract, dict(os.environ))
            | {
                "HARNESS_PROFILE": options.profile,
                "HARNESS_SEED": str(variant.seed),
                "HARNESS_OVERRIDES": json.dumps({**options.overrides, **variant.overrides}),
                **({"HARNESS_SMOKE": "1"} if variant.smoke else {}),
                **({CACHE: str(lab_cache())} if contract.prepare or contract.scorer else {}),
            }
        )

    @property
    def limits(self) -> LimitsSpec:
        return self._campaign.contract.limits_of(self._options.profile)

    @property
    def feed(self) -> list[str]:
        """What makes rows beside an execution, "" where nothing does."""
        return self._campaign.spec(self._options.profile).feed

    def feed_folder(self, place: Path) -> Path:
        """Where that runs, beside the execution in `place`."""
        return (place.with_name(f"{place.name}.feed") / "copy").resolve()

    @property
    def warm(self) -> list[str]:
        return self._campaign.spec(self._options.profile).warm

    def _readable(self, variant: Variant) -> tuple[Path, ...]:
        """What it reads though it lies in a folder of which the rest is hidden."""
        campaigns = {each.root for each in layouts(self.runs)}
        around = [path for folder in (*homes(), self.runs) for path in plainly_there(folder)]
        around = [path for path in around if path not in campaigns and not (path.parent == self.runs and is_report(path))]
        project = [] if self._campaign.experiment is None else project_around(self._campaign.experiment, working_copy.LEVELS)
        linked = map(Path, self._campaign.linked.values())
        cached = [cache.source.resolve() for cache in self.library_caches]
        read = needed(self.python, self.environment(variant))
        named = named_in({**self._campaign.settings(self._options), **variant.overrides})
        return (*around, *project, *linked, *named, *read, *cached, self.kept)

    def _hidden(self) -> tuple[Path, ...]:
        """What no experiment reads: results and code of this and every other campaign beside it, also of one that begins
        meanwhile, what scores are made with, keys, and whatever a program keeps in a home folder."""
        own = (self.runs, self._campaign.root, *(each.root for each in layouts(self.runs)))
        return (*homes(), *own, *sealed_folders(), *secret_paths(os.environ), *self._secrets, *control_sockets())

    @cached_property
    def _secrets(self) -> list[Path]:
        """Files of the project that hold a key; looked for once in a process."""
        experiment, contract = self._campaign.experiment, self._campaign.contract
        if experiment is None:
            return []
        shown = (*contract.readable, *contract.editable, *contract.auxiliary)
        return secrets_around(project_around(experiment, working_copy.LEVELS), shown)

    @property
    def library_caches(self) -> list[caches.Cache]:
        return caches.find(os.environ, self._campaign.contract.caches)

    @property
    def kept(self) -> Path:
        """What the baseline's code compiled."""
        return self._campaign.local.resolve() / "caches"

    @property
    def runs(self) -> Path:
        return self._campaign.root.resolve().parent
