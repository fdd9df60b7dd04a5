"""The contract of an experiment, `experiment.toml`: what the harness fixes and the agent cannot change.

An experiment without one works too: `contract_file.py` says what then applies, and `Contract.not_judged` what cannot be
judged.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from .errors import InputError
from .limits_spec import AbortSpec, Bytes, LimitsSpec
from .metric import Metric, NoiseSpec
from .search_space import SearchSpec, SearchSpecs

CONTRACT_FILE = "experiment.toml"
ENTRY = "experiment.py"

Setting = str | int | float | bool | None


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts or value.startswith("~"):
        raise ValueError(f"{value!r} must be a path inside the experiment's folder")
    return str(path)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class SanityRule(_Part):
    """A condition that results must meet to be evidence.

    `value` names a metric or a setting. Any of: `present`, `finite`, `above`, `below`, `at_least`, `at_most`; a bound is a
    number or the name of another metric or setting, with `times` a factor on it. `when` limits the rule to runs whose
    settings have these values, or one of several.
    """

    value: str
    """A metric or a setting."""
    present: bool = False
    """It must be there."""
    finite: bool = False
    """It must be neither NaN nor infinite."""
    above: float | str | None = None
    """It must be greater than this."""
    below: float | str | None = None
    """It must be less than this."""
    at_least: float | str | None = None
    """It must be this or greater."""
    at_most: float | str | None = None
    """It must be this or less."""
    times: float = 1.0
    """A factor on a bound that is another metric or setting."""
    when: dict[str, Setting | list[Setting]] = {}
    """The rule holds only for runs whose settings have these values, each a value or a list of such."""
    why: str = ""
    """What it means when the rule fails; you and the agent are told."""

    @property
    def cases(self) -> dict[str, list[Setting]]:
        """The values of settings for which the rule holds."""
        return {name: value if isinstance(value, list) else [value] for name, value in self.when.items()}

    @model_validator(mode="after")
    def _has_a_condition(self) -> SanityRule:
        if not (self.present or self.finite) and all(
            b is None for b in (self.above, self.below, self.at_least, self.at_most)
        ):
            raise ValueError("a sanity rule needs one of: present, finite, above, below, at_least, at_most")
        return self


class HoldoutSpec(_Part):
    """Where the selected run and the baseline are executed once, after the last run: what neither agent nor selection has
    seen. Each pair of executions has a fresh seed besides."""

    generate: str = ""
    """A setting that takes any new name (a generator's `world`): one is drawn for each pair."""
    settings: dict[str, list[Setting]] = {}
    """Values of other settings, used in turn: `layer = [2]`. No run is executed at them, but each use shows them to you."""
    number: int = Field(default=6, ge=5)
    """Of pairs."""
    best_valid: bool = False
    """Where no run was accepted the best valid one is evaluated; without this, none is."""

    @field_validator("settings")
    @classmethod
    def _has_values(cls, value: dict[str, list[Setting]]) -> dict[str, list[Setting]]:
        for name, values in value.items():
            if not values:
                raise ValueError(f"{name} has no value")
        return value

    @property
    def unit(self) -> str:
        """What an effect is the mean over."""
        return self.generate or "seed"


MOST_COMPUTE = 1.5
"""Times the processor seconds of its reference; a loaded machine lets the same work take up to a third longer."""


class Profile(_Part):
    """One named setting of an experiment's scale and data."""

    description: str = ""
    """One line for you and the agent."""
    settings: dict[str, Setting] = {}
    """Settings that the experiment reads; `--set KEY=VALUE` replaces one. Where `threads` is one, an execution gets as many
    cores; where `device` is "cpu", no GPU."""
    gpu_memory: Bytes | None = None
    """What one execution takes of a GPU's memory (`"20GB"`), so that several share one."""
    limits: LimitsSpec = LimitsSpec()
    """Limits of this profile, in place of the contract's."""
    warm: list[str] = []
    """Modules that the scorer takes long to import, or `module:function` to call: imported once, by a process that scorers
    are forked from."""
    feed: list[str] = []
    """Makes rows while an execution trains, from what only the scorer may see: a command that runs beside it, from the
    campaign's first commit, in the folder that $HARNESS_FEED names to the execution. How many it has handed over it writes
    there, in `fed.json`: {"rows": N, "planned": N}. Only with the executor `local`."""
    metrics: list[str] = []
    """Metrics that this profile has, of those that are not required everywhere."""
    primary: str = ""
    """The metric that decides under this profile, where it is another than the contract's."""
    guards: dict[str, float | Literal[False]] = {}
    """Guards of this profile by metric, besides the contract's: how much each may get worse in a run that is called
    improved. `false` drops a guard of the contract."""
    baseline_seeds: int = Field(default=1, ge=1)
    """How often the baseline is executed, each time with another seed."""
    run_seeds: list[int] = [1]
    """The stages of a run: how many seeds it gets at first, then each time that it still looks better than parent and
    baseline (`[1, 3]`)."""
    final_seeds: int = Field(default=10, ge=0)
    """At how many seeds, drawn at random and never used before, a run is executed after the last of several stages, with
    baseline and parent: its verdict rests on these. With 0, or one stage, it rests on the seeds of the stages."""
    max_runs: int | None = Field(default=None, ge=1)
    """Runs besides the baseline, unless `--max-runs` says otherwise."""
    baselines: str = ""
    """A folder of recorded results that `--baseline given` begins with: `run_0/`, and others as context."""
    frontier: dict[str, list[int | float]] = {}
    """Settings that change L0 (the metric of `moves_with`) in the unmodified experiment, with values: where a run has
    another L0, the baseline is executed at these values and interpolated between them. Without values only controls that
    were executed anyway are used."""
    noise: dict[str, NoiseSpec] = {}
    """Stored noise profiles, by metric."""
    search: SearchSpecs = {}
    """What a search without a model may choose under this profile, besides what the contract's `search` names."""
    holdout: HoldoutSpec | None = None
    """The held-out evaluation of this profile."""
    compute: Annotated[float, Field(ge=1)] | Literal["matched"] = MOST_COMPUTE
    """How many times the processor seconds of its reference a run may take that is called improved. `"matched"`: beyond 1.5
    times, the baseline is executed with as much compute, as a matched control, and the run is compared with that."""
    compute_setting: str = ""
    """The setting that compute grows in proportion to (`"steps"`), for `compute = "matched"`."""

    @property
    def most_compute(self) -> float:
        """Beyond so many times its reference's nothing is improved."""
        return MOST_COMPUTE if self.compute == "matched" else self.compute

    @property
    def has_final_seeds(self) -> bool:
        return self.final_seeds > 0 and len(self.run_seeds) > 1

    @field_validator("baselines")
    @classmethod
    def _is_inside(cls, value: str) -> str:
        return _inside(value) if value else value

    @field_serializer("limits")
    def _only_what_is_given(self, limits: LimitsSpec) -> dict[str, Any]:
        """A campaign keeps its contract as JSON: a default written there would be read as this profile's own limit."""
        return limits.model_dump(exclude_unset=True)

    @model_validator(mode="after")
    def _compute_can_be_matched(self) -> Profile:
        value = self.settings.get(self.compute_setting)
        if (self.compute == "matched" or self.compute_setting) and not (
            type(value) in (int, float) and self.compute == "matched"
        ):
            raise ValueError(
                'compute = "matched" and compute_setting belong together: the name of a setting of this profile that is a '
                f"number, such as steps; found {self.compute!r} and {self.compute_setting!r}"
            )
        return self

    @field_validator("run_seeds")
    @classmethod
    def _stages_rise(cls, value: list[int]) -> list[int]:
        if not value or value[0] < 1 or value != sorted(set(value)):
            raise ValueError(f"run_seeds must be rising numbers of seeds, such as [1, 3, 10]; found {value}")
        return value


LOOKS_LIKE_A_KEY = re.compile(r"KEY|TOKEN(?!IZ)|SECRET|PASSW|CREDENTIAL", re.I)
"""Of a name."""


class Contract(_Part):
    """What `experiment.toml` fixes."""

    description: str = ""
    """What the experiment is and measures, one paragraph for the agent."""
    command: list[str] = ["python", ENTRY, "--out_dir={out_dir}"]
    """The command of an execution; {out_dir} is an empty folder in its working copy."""
    prepare: list[str] = []
    """A command that makes what executions read (data, models) in the laboratory's cache, before the first execution
    with the same settings. It writes into the file $HARNESS_READS which files these are (JSON, SHA-256 by absolute
    path); they are compared after each execution and scoring. With `--dry-run` it makes nothing and prints what it would
    make, or ends with another exit code than 0 and says what is in the way."""
    scorer: list[str] = []
    """A command that turns what an execution handed over into eval results, in the folder {scores}, without the agent's
    code."""
    serve: list[str] = []
    """A command that serves to the scorer what a run could not hand over as data. It is executed in the run's working
    copy, in the sandbox; {out_dir} is its folder. Without it such a run is not scored, which is safer, since code can
    remember earlier questions. A run that is scored like this has a warning."""
    editable: list[str] = [ENTRY]
    """Files that the agent may edit and that are executed."""
    auxiliary: list[str] = []
    """Files that the agent may edit and that no run executes (plots): a change to them alone is no change."""
    files: list[str] = []
    """Files and folders that are copied with the experiment and that nobody may edit; by default all that are there."""
    readable: list[str] = []
    """Those of `files` that are shown to the agent in full."""
    judged: list[str] = []
    """Those evals of the setting `evals` that ask a language model to judge: only a scorer of one of them gets your key
    (OPENAI_API_KEY, OPENAI_BASE_URL), which is written to no file."""
    interface: str = ""
    """What the agent needs to know of `files`, shown in the brief."""
    environment: list[str] = []
    """Names of environment variables of yours that the experiment gets. Never keys."""
    caches: list[str] = []
    """Names of folders in your cache folder (`~/.cache`) that the experiment reads, besides those of Hugging Face and
    torch. What it writes there only it sees, and it is gone afterwards."""
    network: bool = True
    """With `false` the experiment has no network, except between its own processes; `prepare` and the agent have one all
    the same."""
    smoke: bool = False
    """The experiment ends in seconds where HARNESS_SMOKE is 1."""
    seed: int = Field(default=0, ge=0)
    """HARNESS_SEED of each run's first execution; further seeds count up from it."""
    training_log: str = "train_log.jsonl"
    """Lines of JSON in out_dir, written during training."""
    limits: LimitsSpec = LimitsSpec()
    """What one execution may use."""
    abort: list[AbortSpec] = []
    """What ends an execution early."""
    metric: list[Metric] = []
    """The metrics; one is primary."""
    sanity: list[SanityRule] = []
    """Conditions that results must meet to be valid."""
    comparable: list[str] = []
    """Settings that decide scale: runs that differ in one are not comparable."""
    varies: list[str] = []
    """Comparable settings that the experiment's ideas are meant to vary: they make no run incomparable."""
    search: SearchSpecs = {}
    """What a search without a model (`--agent search:tpe`) may choose, by name: a setting of the profile, or a constant of
    an editable file: `RATE`, `Config.rate` of a class, `config.rate` of a dict or of a call's keywords."""
    default_profile: str = ""
    """The profile that applies without `--profile`."""
    profiles: dict[str, Profile] = {}
    """Scales and data sources of the same experiment, by name."""

    @field_validator("editable", "auxiliary", "files", "readable", "caches")
    @classmethod
    def _paths_are_inside(cls, value: list[str]) -> list[str]:
        return [_inside(path) for path in value]

    @field_validator("training_log")
    @classmethod
    def _is_in_out_dir(cls, value: str) -> str:
        return _inside(value)

    @field_validator("environment")
    @classmethod
    def _no_keys(cls, value: list[str]) -> list[str]:
        for name in value:
            if LOOKS_LIKE_A_KEY.search(name):
                raise ValueError(f"{name} looks like a key; the experiment's process never gets one")
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Contract:
        names = [metric.name for metric in self.metric]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"metric {name} is there twice")
        if sum(metric.primary for metric in self.metric) > 1:
            raise ValueError("more than one metric is primary; one decides")
        primary = self.primary
        if primary is not None and primary.better is None:
            raise ValueError(f"metric {primary.name} is primary and does not say which way is better")
        wanted = [("command", self.command, "{out_dir}")]
        if self.scorer:
            wanted += [("scorer", self.scorer, "{out_dir}"), ("scorer", self.scorer, "{scores}")]
        for key, command, place in wanted:
            if not any(place in part for part in command):
                raise ValueError(f"{key} must hold {place}")
            if place in command[0]:
                raise ValueError(f"{key} names no program before {place}")
        taken = [name for metric in self.metric for name in dict.fromkeys([metric.name, *metric.sources])]
        for name in taken:
            if taken.count(name) > 1:
                raise ValueError(f"{name} is the name or a source of two metrics")
        if not self.editable:
            raise ValueError("editable names no file")
        for path in self.readable if "files" in self.model_fields_set else ():
            if not any(PurePosixPath(path).is_relative_to(along) for along in self.files):
                raise ValueError(f"readable: {path} is not in files")
        if self.default_profile and self.default_profile not in self.profiles:
            raise ValueError(f"default_profile {self.default_profile} is not one of the profiles")
        for metric in self.metric:
            if metric.moves_with is not None and metric.moves_with not in names:
                raise ValueError(
                    f"metric {metric.name} moves_with {metric.moves_with}, which is not a metric of the contract"
                )
        spaces = {"search": self.search} | {f"profiles.{name}.search": each.search for name, each in self.profiles.items()}
        for where, space in spaces.items():
            for name in space:
                if name in self.comparable and name not in self.varies:
                    raise ValueError(
                        f"{where}: {name} is in comparable: runs that differ in it are not compared, so no verdict could "
                        "say which is better. Leave it out of one of the two, or name it in varies"
                    )
        for profile_name, profile in self.profiles.items():
            named = {"metrics": profile.metrics, "noise": profile.noise, "guards": profile.guards}
            named["primary"] = [profile.primary] if profile.primary else []
            for key, name in [(key, name) for key, members in named.items() for name in members]:
                if name not in names:
                    raise ValueError(f"profiles.{profile_name}.{key}: {name} is not a metric of the contract")
            if any(metric.name == profile.primary and metric.better is None for metric in self.metric):
                raise ValueError(f"profiles.{profile_name}.primary: {profile.primary} does not say which way is better")
            if any(guard is not False and guard < 0 for guard in profile.guards.values()):
                raise ValueError(f"profiles.{profile_name}.guards: expected numbers from 0 on")
            holdout = profile.holdout or HoldoutSpec()
            held_out = [*holdout.settings, *([holdout.generate] if holdout.generate else [])]
            for key, name in [*(("frontier", name) for name in profile.frontier), *(("holdout", name) for name in held_out)]:
                if name not in profile.settings:
                    raise ValueError(f"profiles.{profile_name}.{key}: {name} is not one of the settings")
        return self

    @property
    def code(self) -> list[str]:
        """The files that the agent may edit."""
        return [*self.editable, *self.auxiliary]

    @property
    def primary(self) -> Metric | None:
        return next((metric for metric in self.metric if metric.primary), None)

    def profile(self, name: str | None) -> tuple[str, Profile]:
        """The profile called `name`, or the default one. Raises InputError that lists them."""
        chosen = name or self.default_profile or next(iter(self.profiles), "")
        if not chosen:
            return "", Profile()
        if chosen not in self.profiles:
            known = ", ".join(self.profiles) or "none"
            raise InputError(f"--profile {chosen}: {CONTRACT_FILE} has no such profile. It has: {known}.")
        return chosen, self.profiles[chosen]

    def of_profile(self, name: str) -> Contract:
        """The contract of campaigns under a profile: with the metric that decides there, and its guards."""
        own = self.profiles.get(name, Profile())
        decides = own.primary or (self.primary.name if self.primary else "")
        guards = {metric.name: own.guards.get(metric.name, metric.guard) for metric in self.metric}
        metrics = [
            metric.model_copy(
                update={
                    "primary": metric.name == decides,
                    "guard": None if guards[metric.name] is False else guards[metric.name],
                }
            )
            for metric in self.metric
        ]
        return self.model_copy(update={"metric": metrics})

    def limits_of(self, profile: str) -> LimitsSpec:
        """The limits of an execution under `profile`."""
        own = self.profiles[profile].limits if profile in self.profiles else LimitsSpec()
        limits = self.limits.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
        of_scoring = {
            "scoring_time": limits.scoring_time or limits.time,
            "scoring_memory": limits.scoring_memory or limits.memory,
        }
        return limits.model_copy(update=of_scoring)

    def timed(self, profile: str, time: float | None) -> Contract:
        """The contract with `time` seconds for an execution under `profile`, where that is given."""
        if time is None:
            return self
        if profile not in self.profiles:
            return self.model_copy(update={"limits": self.limits.model_copy(update={"time": time})})
        own = self.profiles[profile]
        limits = own.limits.model_copy(update={"time": time})
        return self.model_copy(update={"profiles": {**self.profiles, profile: own.model_copy(update={"limits": limits})}})

    def metrics_of(self, profile: str) -> list[Metric]:
        """The metrics that a run under `profile` must have."""
        extra = self.profiles[profile].metrics if profile in self.profiles else []
        return [metric for metric in self.metric if metric.required or metric.name in extra]

    def comparable_of(self, profile: str) -> list[str]:
        """The comparable settings of a run under `profile`: without those that only other profiles have."""
        own = self.profiles[profile].settings if profile in self.profiles else {}
        others = {name for spec in self.profiles.values() for name in spec.settings if name not in own}
        return [name for name in self.comparable if name not in others]

    def search_of(self, profile: str) -> dict[str, SearchSpec]:
        """What a search without a model may choose under `profile`."""
        return {**self.search, **(self.profiles[profile].search if profile in self.profiles else {})}

    @property
    def not_judged(self) -> list[str]:
        """What cannot be judged under this contract, a sentence each."""
        missing = []
        if self.primary is None:
            missing.append("no primary metric: no run can be called better or worse")
        if not self.sanity:
            missing.append("no sanity rules: a broken result can pass for a good one")
        if not self.comparable:
            missing.append("no comparable settings: a run at another scale can pass for an improvement")
        if not self.smoke:
            missing.append("no smoke test: a crash is found only in the full run")
        return missing
