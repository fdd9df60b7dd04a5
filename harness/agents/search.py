"""The agents `search:tpe` and `search:random`: no model, but values of the contract's search space that Optuna proposes.

A proposal is a change like any other: constants are edited in the code, settings go along as the run's overrides. What was
tried before is read from the campaign's own journal and records, and each proposal has a seed of its own: so a campaign that
is resumed proposes what an undisturbed one would, and nothing is kept beside its record.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from itertools import product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from ..campaign.campaign import Campaign, Options
from ..campaign.contract import Contract, Setting
from ..campaign.contract_file import load_contract
from ..campaign.errors import CannotGoOn, InputError
from ..campaign.files import write_atomically
from ..campaign.journal import DryJournal
from ..campaign.numbers import number
from ..campaign.protocols import AgentConfig, Reply, Workspace
from ..campaign.record import Record
from ..campaign.repository import Repository
from ..campaign.search_space import SearchSpec
from ..campaign.text import line
from ..campaign.turn import Turn
from ..campaign.usage import Usage
from .search_values import SearchSpace, Value

if TYPE_CHECKING:  # half a second, which only a proposal needs
    import optuna

NO_VALUE = ("invalid", "not_comparable", "failed")
"""Verdicts of runs whose number the search must not go by; they are told to it as the worst there is."""
REPEATS = 20
"""Proposals in a row that were tried before, until one is drawn from what is left of the space."""
DIGITS = 4
"""Significant digits of a proposed number: it stands in code that people read."""
_MOST_BROKEN = 1_000
"""More guards than any run breaks."""
_TURN = re.compile(r"run_(\d+)/attempt_(\d+)/turn")
_LABEL = re.compile(r"run (\d+), attempt (\d+)")


@dataclass(frozen=True)
class Tried:
    """What was tried before: its values, and the primary metric where that is a number to go by. `is_running`: it is not
    known yet."""

    values: dict[str, Value]
    outcome: float | None
    is_running: bool = False
    broken: int = 0
    """Guard metrics that fell too far: it is no solution, whatever its primary metric."""


class SearchAgent:
    """Proposes by `sampler`; each subclass is an agent."""

    sampler = ""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        if config.model is not None:
            raise InputError(f"--model {config.model}: a search asks no model; leave it out.")

    @property
    def _name(self) -> str:
        return f"search:{self.sampler}"

    def check(self) -> str:
        said = f"{self._name}, {optuna_version()}, without a model"
        if self._config.campaign is None:
            return said
        campaign = Campaign(self._config.campaign)
        space = space_of(campaign, self._name)
        return f"{said}; searches {', '.join(f'{name} ({spec})' for name, spec in space.specs.items())}"

    def open(self, workspace: Workspace, history: Any = None) -> SearchConversation:
        assert self._config.campaign is not None
        return SearchConversation(self._name, self.sampler, Campaign(self._config.campaign), workspace)

    def close(self) -> None: ...


class TPEAgent(SearchAgent):
    """The tree-structured Parzen estimator."""

    sampler = "tpe"


class RandomAgent(SearchAgent):
    """Every value is drawn from the space alone."""

    sampler = "random"


class SearchConversation:
    def __init__(self, name: str, sampler: str, campaign: Campaign, workspace: Workspace) -> None:
        self._name, self._sampler, self._campaign, self._workspace = name, sampler, campaign, workspace
        self._space = space_of(campaign, name)

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        found = _LABEL.fullmatch(label)
        run, attempt = (int(found[1]), int(found[2])) if found else (turn + 1, 1)
        agent = f"{self._name} ({optuna_version()})"
        before = self._tried(run, attempt)
        values = self._proposed([*before], run, attempt)
        if values is None:
            said = "Every combination of the search space has been tried.\nALL_COMPLETED"
            return Reply(said, Usage(), replies=(said,), agent=agent)
        files = {path: (self._workspace.root / path).read_bytes() for path in self._code if self._is_there(path)}
        for path, content in self._space.applied(files, values).items():
            if content != files[path]:
                write_atomically(self._workspace.root / path, content)
        words = ", ".join(f"{name} = {_shown(value)}" for name, value in values.items())
        known = sum(each.outcome is not None for each in before)
        why = "drawn at random from the search space"
        if self._sampler == "tpe" and len(before) >= self._startup:
            why = f"proposed by TPE from {known} results"
        said = f"HYPOTHESIS: {words}: {why}.\nNOTES: {words}; nothing else differs from the code it started from."
        overrides = self._space.overrides(values)
        return Reply(said, Usage(), replies=(said,), history=label, agent=agent, overrides=overrides)

    def close(self) -> None: ...

    @property
    def _code(self) -> list[str]:
        return self._campaign.contract.editable

    def _is_there(self, path: str) -> bool:
        return (self._workspace.root / path).is_file()

    @property
    def _startup(self) -> int:
        """How many values are drawn at random before TPE goes by results; the baseline's is one of them, and no draw."""
        return max(2, self._campaign.planned_runs // 4) + 1

    def _tried(self, run: int, attempt: int) -> list[Tried]:
        """The baseline and every proposal before this one, as journal and records have them."""
        journal, repository = DryJournal(self._campaign.journal), Repository(self._campaign.root, self._campaign.local)
        records = {record.run: record for record in self._campaign.read_records()}
        begun = repository.files(journal.result("start")["commit"], self._code)
        tried = [Tried(self._space.values(begun, {}), self._outcome(records[0]))] if 0 in records else []
        for event in journal.of("done"):
            found = _TURN.fullmatch(event["step"])
            if found is None or event["result"]["commit"] is None:
                continue
            made, result = (int(found[1]), int(found[2])), Turn.model_validate(event["result"])
            record = records.get(result.run)
            outcome = self._outcome(record) if record and record.commit == result.commit else None
            # What has no record yet is executed now, but for this run's own attempts: those have failed.
            is_running = record is None and made[0] != run
            values = self._space.values(repository.files(str(result.commit), self._code), result.overrides)
            broken = len(record.verdict.guard_violations) if record and outcome is not None else 0
            tried.append(Tried(values, outcome, is_running, broken))
        return tried

    def _outcome(self, record: Record) -> float | None:
        primary = self._campaign.contract.primary
        if primary is None or record.status != "completed" or record.verdict.kind in NO_VALUE:
            return None
        return record.metrics[primary.name].value if primary.name in record.metrics else None

    def _proposed(self, before: list[Tried], run: int, attempt: int) -> dict[str, Value] | None:
        """Values that were not tried before; None where all were."""
        known = [each.values for each in before]
        for repeat in range(REPEATS):
            seed = _seed(*self._begun, run, attempt, repeat)
            values = propose(self._space.specs, before, self._sampler, self._startup, seed, self._is_lower_better)
            if values not in known:
                return values
        left = [values for values in _combinations(self._space.specs) if values not in known]
        return Random(_seed(*self._begun, run, attempt)).choice(left) if left else None

    @property
    def _begun(self) -> tuple[str, str]:
        """What tells campaigns apart, several of one second too, and does not change when their folder is moved."""
        return str(self._campaign.created), self._campaign.idea.Name

    @property
    def _is_lower_better(self) -> bool:
        primary = self._campaign.contract.primary
        return primary is not None and primary.better == "lower"


def space_of(campaign: Campaign, agent: str) -> SearchSpace:
    """Where `agent` may search in a campaign."""
    options = campaign.options()
    return search_space(campaign.contract, options.profile, campaign.settings(options), agent)


def search_space(contract: Contract, profile: str, settings: Mapping[str, Setting], agent: str) -> SearchSpace:
    """Where `agent` may search under a profile with these settings. Raises InputError where the contract does not say it."""
    specs = contract.search_of(profile)
    if not specs:
        raise InputError(
            f"--agent {agent}: experiment.toml has no search space. Name settings or constants of {contract.editable[0]} in "
            "[search], such as `rate = { low = 0.001, high = 0.1, log = true }`."
        )
    if contract.of_profile(profile).primary is None:
        raise InputError(f"--agent {agent}: experiment.toml names no primary metric, so there is nothing to search by.")
    return SearchSpace(specs, {name: settings[name] for name in specs if name in settings})


def check_search(experiment: Path, options: Options, agent: str, out: Path | None = None) -> str:
    """What `agent` would search in the experiment of a folder. Raises InputError with what is in the way, before a campaign
    is made."""
    contract = load_contract(experiment, out)
    profile, spec = contract.profile(options.profile or None)
    space = search_space(contract.of_profile(profile), profile, {**spec.settings, **options.overrides}, agent)
    files = {path: (experiment / path).read_bytes() for path in contract.editable if (experiment / path).is_file()}
    values = space.values(files, options.overrides)
    for name, value in values.items():
        _check_kind(name, space.specs[name], value)
    return ", ".join(f"{name} ({space.specs[name]}; now {_shown(value)})" for name, value in values.items())


def _check_kind(name: str, spec: SearchSpec, value: Value) -> None:
    """Raises InputError where numbers are proposed for what is none."""
    if spec.low is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"[search] {name}: low and high are numbers, and {name} is {_shown(value)}. Name `choices` for it.")


def propose(
    specs: Mapping[str, SearchSpec], before: list[Tried], sampler: str, startup: int, seed: int, is_lower_better: bool
) -> dict[str, Value]:
    """The values that a sampler of Optuna proposes next, after all that was tried before."""
    study = study_of(specs, before, sampler, startup, seed, is_lower_better)
    proposed = study.ask({name: _distribution(spec) for name, spec in specs.items()}).params
    return {name: _rounded(specs[name], value) for name, value in proposed.items()}


def study_of(
    specs: Mapping[str, SearchSpec], before: list[Tried], sampler: str, startup: int, seed: int, is_lower_better: bool
) -> optuna.Study:
    """What was tried as a study of Optuna's, with guards as its constraints."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        samplers: dict[str, optuna.samplers.BaseSampler] = {
            "random": optuna.samplers.RandomSampler(seed=seed),
            "tpe": optuna.samplers.TPESampler(n_startup_trials=startup, constant_liar=True, seed=seed),
        }
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=samplers[sampler], direction="minimize" if is_lower_better else "maximize")
    study.add_trials(list(_trials(before, {name: _distribution(spec) for name, spec in specs.items()}, is_lower_better)))
    return study


def _trials(
    before: list[Tried], distributions: Mapping[str, optuna.distributions.BaseDistribution], is_lower_better: bool
) -> Iterator[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState, create_trial

    outcomes = [each.outcome for each in before if each.outcome is not None]
    for each in before:
        if not all(_holds(distributions[name], value) for name, value in each.values.items()):
            continue  # the baseline may lie outside
        # What failed is told as the worst and as breaking more than any guard: Optuna's TPE learns nothing of failed trials.
        failed = each.outcome is None and not each.is_running
        yield create_trial(
            state=TrialState.RUNNING if each.is_running else TrialState.COMPLETE,
            value=(max if is_lower_better else min)(outcomes, default=0.0) if failed else each.outcome,
            params=each.values,
            distributions=dict(distributions),
            constraints={} if each.is_running else {"guards": float(_MOST_BROKEN if failed else each.broken)},
        )


def _holds(distribution: optuna.distributions.BaseDistribution, value: Value) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))
    except ValueError:  # no choice, or no number
        return False


def _distribution(spec: SearchSpec) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if spec.low is None or spec.high is None:
        return CategoricalDistribution(spec.choices)
    if spec.is_whole:
        return IntDistribution(int(spec.low), int(spec.high), log=spec.log, step=int(spec.step or 1))
    return FloatDistribution(float(spec.low), float(spec.high), log=spec.log, step=spec.step)


def _combinations(specs: Mapping[str, SearchSpec]) -> Iterator[dict[str, Value]]:
    """All that a space of countable values holds."""
    for chosen in product(*map(_values, specs.values())):
        yield dict(zip(specs, chosen, strict=True))


def _values(spec: SearchSpec) -> list[Value]:
    if spec.low is None or spec.high is None:
        return [*spec.choices]
    step = spec.step or 1
    return [_rounded(spec, spec.low + i * step) for i in range(int((spec.high - spec.low) / step + 1e-9) + 1)]


def _rounded(spec: SearchSpec, value: Value) -> Value:
    if not isinstance(value, float) or spec.low is None or spec.high is None:
        return value
    if spec.step is not None:
        return round(value, 12)
    return min(max(float(f"{value:.{DIGITS}g}"), float(spec.low)), float(spec.high))


def _shown(value: Value) -> str:
    return number(value) if isinstance(value, float) else line(str(value))


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:4])


def optuna_version() -> str:
    """`Optuna 5.0.0`. Raises CannotGoOn where it is not there."""
    try:
        return f"Optuna {metadata.version('optuna')}"
    except metadata.PackageNotFoundError:
        raise CannotGoOn(
            "Optuna is not installed, which proposes what a search tries. `pip install optuna` does it."
        ) from None
