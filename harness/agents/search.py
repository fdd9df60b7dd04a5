"""The agents `search:tpe` and `search:random`: no model, but values of the contract's search space that Optuna proposes.

A proposal is a change like any other: constants are edited in the code, settings go along as the run's overrides. What was
tried before is read from the campaign's own journal and records, and each proposal has a seed of its own: so a campaign that
is resumed proposes what an undisturbed one would, and nothing is kept beside its record.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from math import ceil
from pathlib import Path
from random import Random
from typing import Any

from ..campaign.campaign import Campaign, Options
from ..campaign.contract import Contract, Setting
from ..campaign.contract_file import load_contract
from ..campaign.errors import CannotGoOn, InputError
from ..campaign.files import write_atomically
from ..campaign.journal import DryJournal
from ..campaign.numbers import counted, number
from ..campaign.protocols import AgentConfig, Reply, Workspace
from ..campaign.record import Record
from ..campaign.repository import Repository
from ..campaign.search_space import SearchSpec
from ..campaign.text import line
from ..campaign.turn import Turn
from ..campaign.usage import Usage
from .answer import COMPLETED
from .listing import SEARCH, is_search
from .search_study import Tried, combinations, propose
from .search_values import SearchSpace, Value

NO_VALUE = ("invalid", "not_comparable", "failed")
"""Verdicts of runs whose number the search must not go by; they are told to it as the worst there is."""
REPEATS = 20
"""Proposals in a row that were tried before, until one is drawn from what is left of the space."""
EXHAUSTED = "Every combination of the search space has been tried."
_TURN = re.compile(r"run_(\d+)/attempt_(\d+)/turn")
_LABEL = re.compile(r"run (\d+), attempt (\d+)")


@dataclass(frozen=True)
class Proposed:
    """Values, and why these: `proposed by TPE from 3 results`."""

    values: dict[str, Value]
    why: str

    def __str__(self) -> str:
        return f"{_assigned(self.values)}: {self.why}"


class Search:
    """What is proposed in one campaign, by its options, its journal and its records alone."""

    def __init__(self, campaign: Campaign, sampler: str) -> None:
        self._campaign, self._sampler = campaign, sampler
        self._random_seed = campaign.options().search_seed
        self.space = space_of(campaign, f"{SEARCH}{sampler}")

    def __str__(self) -> str:
        """`search:tpe (Optuna 5.0.0, seed 7)`."""
        return f"{SEARCH}{self._sampler} ({optuna_version()}, seed {self._random_seed})"

    @property
    def code(self) -> list[str]:
        """The files that hold what is searched."""
        return self._campaign.contract.editable

    def proposal(self, run: int, attempt: int) -> Proposed | None:
        """What was not tried before; None where all was."""
        before = self.tried(run, attempt)
        values = self._values(before, run, attempt)
        if values is None:
            return None
        if self._sampler != "tpe" or len(before) < self._startup:
            return Proposed(values, "drawn at random from the search space")
        known = sum(each.outcome is not None for each in before)
        failed = sum(each.has_failed for each in before)
        why = f"proposed by TPE from {counted(known, 'result')}"
        return Proposed(values, f"{why} and {failed} that failed" if failed else why)

    def in_words(self) -> str:
        """Everything that it knows, and what it proposes next, where nothing is in hand of which the result comes first."""
        run = len(self._campaign.read_records())
        known = self.tried(run=0, attempt=0) if run else []
        following = "when the baseline is measured"
        if any(each.is_running for each in known):
            following = "when what is in hand is measured"
        elif known:
            following = f"run {run}, {self.proposal(run, 1) or EXHAUSTED.removesuffix('.').lower()}"
        lines = [f"No agent is asked: {self} makes the proposals.", f"The next one: {following}.", "", "Tried so far:"]
        return "\n".join([*lines, *([f"- {self._said(each)}" for each in known] or ["- nothing"])])

    def _said(self, each: Tried) -> str:
        primary = self._campaign.contract.primary
        found = f"{primary.name if primary else ''} {number(each.outcome)}"
        if each.outcome is None:
            found = "not measured yet" if each.is_running else "failed, or no number to go by: the worst there is"
        broken = f", {counted(each.broken, 'guard metric')} fell too far" if each.broken else ""
        return f"{each.name}: {_assigned(each.values)}: {found}{broken}"

    @property
    def _startup(self) -> int:
        """How many values are drawn at random before TPE goes by results; the baseline's is one of them, and no draw."""
        return max(2, self._campaign.planned_runs // 4) + 1

    def begun_with(self) -> dict[str, Value]:
        """The values that the baseline has."""
        begun = DryJournal(self._campaign.journal).result("start")["commit"]
        return self.space.values(Repository(self._campaign.root, self._campaign.local).files(begun, self.code), {})

    def tried(self, run: int, attempt: int) -> list[Tried]:
        """The baseline and every proposal before this one, as journal and records have them."""
        journal, repository = DryJournal(self._campaign.journal), Repository(self._campaign.root, self._campaign.local)
        records = {record.run: record for record in self._campaign.read_records()}
        tried = [Tried(self.begun_with(), self._outcome(records[0]), name="run 0")] if 0 in records else []
        for event in journal.of("done"):
            found = _TURN.fullmatch(event["step"])
            if found is None or event["result"]["commit"] is None:
                continue
            made, result = (int(found[1]), int(found[2])), Turn.model_validate(event["result"])
            record = records.get(result.run)
            is_run = record is not None and record.commit == result.commit
            outcome = self._outcome(record) if record and is_run else None
            # What has no record yet is executed now, but for this run's own attempts: those have failed.
            is_running = record is None and made[0] != run
            values = self.space.values(repository.files(str(result.commit), self.code), result.overrides)
            broken = len(record.verdict.guard_violations) if record and outcome is not None else 0
            name = f"run {made[0]}" if is_run else f"run {made[0]}, attempt {made[1]}"
            tried.append(Tried(values, outcome, is_running, broken, name))
        return tried

    def _outcome(self, record: Record) -> float | None:
        primary = self._campaign.contract.primary
        if primary is None or record.status != "completed" or record.verdict.kind in NO_VALUE:
            return None
        return record.metrics[primary.name].value if primary.name in record.metrics else None

    def _values(self, before: Sequence[Tried], run: int, attempt: int) -> dict[str, Value] | None:
        known = [each.values for each in before]
        for repeat in range(REPEATS):
            seed = _seed(self._random_seed, run, attempt, repeat)
            values = propose(self.space.specs, before, self._sampler, self._startup, seed, self._is_lower_better)
            if values not in known:
                return values
        left = [values for values in combinations(self.space.specs) if values not in known]
        return Random(_seed(self._random_seed, run, attempt)).choice(left) if left else None

    @property
    def _is_lower_better(self) -> bool:
        primary = self._campaign.contract.primary
        return primary is not None and primary.better == "lower"


def search_of(campaign: Campaign) -> Search | None:
    """What makes the proposals of a campaign, where that is a search."""
    agent = campaign.options().agent
    return Search(campaign, agent.removeprefix(SEARCH)) if is_search(agent) else None


class SearchAgent:
    """Proposes by `sampler`; each subclass is an agent."""

    sampler = ""

    def __init__(self, config: AgentConfig) -> None:
        check_no_model(f"{SEARCH}{self.sampler}", config.model)
        self._campaign = Campaign(config.campaign) if config.campaign else None

    def check(self) -> str:
        if self._campaign is None:
            return f"{SEARCH}{self.sampler}, {optuna_version()}, without a model"
        search = Search(self._campaign, self.sampler)
        space = ", ".join(f"{name} ({spec})" for name, spec in search.space.specs.items())
        return f"{search}, without a model; searches {space}"

    def open(self, workspace: Workspace, history: Any = None) -> SearchConversation:
        assert self._campaign is not None
        return SearchConversation(Search(self._campaign, self.sampler), workspace)

    def close(self) -> None: ...


class TPEAgent(SearchAgent):
    """The tree-structured Parzen estimator."""

    sampler = "tpe"


class RandomAgent(SearchAgent):
    """Every value is drawn from the space alone."""

    sampler = "random"


class SearchConversation:
    def __init__(self, search: Search, workspace: Workspace) -> None:
        self._search, self._workspace = search, workspace

    def ask(self, text: str, *, turn: int, label: str) -> Reply:
        found = _LABEL.fullmatch(label)
        proposed = self._search.proposal(*(map(int, found.groups()) if found else (turn + 1, 1)))
        if proposed is None:
            said = f"{EXHAUSTED}\n{COMPLETED}"
            return Reply(said, Usage(), replies=(said,), agent=str(self._search))
        root, space = self._workspace.root, self._search.space
        files = {path: (root / path).read_bytes() for path in self._search.code if (root / path).is_file()}
        for path, content in space.applied(files, proposed.values).items():
            if content != files[path]:
                write_atomically(root / path, content)
        words = f"{_assigned(proposed.values)}; nothing else differs from the code it started from."
        said = f"HYPOTHESIS: {proposed}.\nNOTES: {words}"
        return Reply(
            said,
            Usage(),
            replies=(said,),
            history=label,
            agent=str(self._search),
            overrides=space.overrides(proposed.values),
            searched=proposed.values,
        )

    def close(self) -> None: ...


def check_no_model(agent: str, model: str | None) -> None:
    """Raises InputError where a model is named for a search."""
    if model is not None:
        raise InputError(f"--model {model}: {agent} asks no model; leave it out.")


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
    return SearchSpace(specs, settings)


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
    """Raises InputError where what is proposed is of another kind than what is there: a fraction for a number of layers, or
    only 0 and 1 for a share."""
    if spec.low is None or spec.high is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"[search] {name}: low and high are numbers, and {name} is {_shown(value)}. Name `choices` for it.")
    if isinstance(value, int) and not spec.is_whole:
        raise InputError(
            f"[search] {name}: it is the whole number {value}, and between low = {spec.low} and high = {spec.high} lie "
            f"fractions. Write two whole numbers, such as low = {ceil(spec.low)}, or {value}.0 where {name} stands."
        )
    if isinstance(value, float) and spec.is_whole:
        raise InputError(
            f"[search] {name}: it is {value}, and between low = {spec.low} and high = {spec.high} only whole numbers are "
            f"proposed. Write low = {spec.low}.0, high = {spec.high}.0."
        )


def _assigned(values: Mapping[str, Value]) -> str:
    """`lr = 0.01, x = 2`."""
    return ", ".join(f"{name} = {_shown(value)}" for name, value in values.items())


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
