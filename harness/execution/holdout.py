"""The held-out evaluation: what is drawn for it once nothing more is selected, and its executions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ..campaign.contract import HoldoutSpec, Setting
from ..campaign.holdout_record import HoldoutPair, HoldoutRecord
from ..campaign.layout import HOLDOUT
from ..campaign.numbers import setting
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.record import ComparisonRecord, Record
from ..campaign.text import duration
from ..results.reading import Results
from ..results.run_results import read_run
from ..statistics.compute import KINDS
from ..statistics.holdout import Pair, evaluate, is_accepted, selected, why_none_accepted
from ..statistics.references import usable
from .execution_steps import ExecutionSteps, PlannedExecution
from .executions import Executions
from .fresh_seeds import fresh_seeds
from .holdout_uses import count_use
from .jobs import Variant
from .measurements import HELD_OUT, HELD_OUT_REFERENCE, Measurements


class Holdout(CampaignPart):
    """Has the selected run and its reference executed where neither the agent nor the selection has been."""

    def __init__(self, opened: OpenCampaign, executions: Executions) -> None:
        super().__init__(opened)
        self._measurements = Measurements.of(opened)
        self._steps = ExecutionSteps(opened, executions)

    def execute(self) -> int | None:
        """Execute what is due, after the last run. The number of the evaluation; None where there is none to record."""
        spec = self._campaign.spec(self._options.profile).holdout
        if spec is None or not self._options.holdout or self._campaign.contract.primary is None:
            return None
        number = self._number(spec)
        plan = self._journal.once(f"{HOLDOUT}{number}/decide", lambda: self._plan(spec, number))
        executions = [
            self._execution(number, plan, kind, HoldoutPair.model_validate(pair))
            for pair in plan["pairs"]
            for kind in (HELD_OUT, HELD_OUT_REFERENCE)
        ]
        left = [each for each in executions if not self._journal.is_done(each.step)]
        if left:
            expected = self._steps.expected("/execute")
            about = f", about {duration(len(left) * expected)}" if expected else ""
            what = f"{len(plan['pairs'])} {spec.unit}s that nobody has seen"
            self._view.say(f"held-out evaluation of run {plan['run']} in {what}: {len(left)} executions{about}")
        self._steps.execute_all(executions)
        return number

    def result(self, number: int) -> HoldoutRecord:
        """The record of an evaluation whose executions have ended."""
        plan = self._journal.result(f"{HOLDOUT}{number}/decide")
        pairs = [HoldoutPair.model_validate(pair) for pair in plan["pairs"]]
        reference = ComparisonRecord(reference=plan["reference"], mean=0, reference_mean=0, seeds=0, reference_seeds=0)
        planned = HoldoutRecord(
            number=number,
            status="not_evaluated",
            why=plan["why"],
            run=plan["run"],
            accepted=plan["accepted"],
            after_run=plan["after_run"],
            unit=plan["unit"],
            pairs=pairs,
            comparison=reference if pairs else None,
            uses=plan["uses"],
        )
        if not pairs:
            return planned
        steps = [self._execution(number, plan, kind, each) for each in pairs for kind in (HELD_OUT, HELD_OUT_REFERENCE)]
        left = [self._left(each) for each in steps]
        varied = self._measurements.references().free_beside(self._measurements.measured_run(plan["run"]))
        outcomes = [self._journal.result(each.step)["outcome"] for each in steps]
        # By what its references were measured: the run is to be measured so too.
        known = (kind for kind in KINDS if all(each.get(kind) is not None for each in outcomes[1::2]))
        measured = next(known, "processor_seconds")
        spent = [outcome.get(measured) for outcome in outcomes]
        found = evaluate(
            self._campaign.contract,
            self._options.profile,
            [
                Pair(pair.seed, *both, *seconds, measured)
                for pair, both, seconds in zip(
                    pairs, zip(left[::2], left[1::2], strict=True), zip(spent[::2], spent[1::2], strict=True), strict=True
                )
            ],
            varied,
            planned,
        )
        seconds = sum(outcome["seconds"] for outcome in outcomes)
        return found.model_copy(update={"seconds": round(seconds, 3)})

    def _number(self, spec: HoldoutSpec) -> int:
        """Of the evaluation that is due: the last one, or one after it where the campaign has gone on since, when
        its numbers had been shown."""
        number = 1
        while self._journal.is_done(f"{HOLDOUT}{number + 1}/decide"):
            number += 1
        last = self._journal.result(f"{HOLDOUT}{number}/decide")
        if last is None or not self._journal.is_done(f"{HOLDOUT}{number}/record"):
            return number
        chosen = self._selected(spec)
        now = self._measurements.records[-1].run, chosen.run if chosen else None
        return number if (last["after_run"], last["run"]) == now else number + 1

    def _selected(self, spec: HoldoutSpec) -> Record | None:
        primary = self._campaign.contract.primary
        assert primary is not None
        return selected(self._measurements.records, primary, best_valid=spec.best_valid)

    def _plan(self, spec: HoldoutSpec, number: int) -> dict[str, Any]:
        """What is executed, written down before anything is."""
        chosen = self._selected(spec)
        plan: dict[str, Any] = {
            "run": chosen.run if chosen else None,
            "accepted": bool(chosen and is_accepted(chosen)),
            "after_run": self._measurements.records[-1].run,
            "unit": spec.unit,
            "reference": "run_0",
            "overrides": {},
            "pairs": [],
            "uses": None,
            "why": self._why_not(spec, chosen),
        }
        if plan["why"] or chosen is None:
            return plan
        if chosen.control and usable(chosen.control):
            plan |= {"reference": chosen.control.name, "overrides": chosen.control.overrides}
        plan["pairs"] = [
            {"seed": seed, "settings": self._drawn(spec, place)}
            for place, seed in enumerate(fresh_seeds(self._opened, spec.number))
        ]
        if spec.settings:
            plan["uses"] = count_use(self._campaign, self._options.profile, spec.settings, number)
        return plan

    def _why_not(self, spec: HoldoutSpec, chosen: Record | None) -> str:
        records = self._measurements.records
        if chosen is None:
            none = f"no run was accepted{why_none_accepted(records)}"
            return none if len(records) > 1 else "there is no run besides the baseline"
        if records[0].given:
            return "the baseline was given with the experiment, not executed here"
        found = chosen.verdict.against_baseline
        if found and found.frontier:
            return f"run {chosen.run} is compared with the baseline interpolated between settings, which cannot be executed"
        if self._measurements.own_seeds and not spec.generate:
            return "HARNESS_SEED changes nothing in this experiment, so a fresh seed would give the same numbers"
        used = self._campaign.settings(self._options)
        same = [f"{name} {setting(used[name])}" for name, values in spec.settings.items() if used.get(name) in values]
        return f"the runs were executed at the held-out setting ({', '.join(same)}) too" if same else ""

    @staticmethod
    def _drawn(spec: HoldoutSpec, place: int) -> dict[str, Setting]:
        """What is held out of one pair."""
        fixed: Mapping[str, Setting] = {name: values[place % len(values)] for name, values in spec.settings.items()}
        # A name that tells nothing: what is executed there reads it.
        return {**fixed, **({spec.generate: f"w{secrets.token_hex(8)}"} if spec.generate else {})}

    def _execution(self, number: int, plan: Mapping[str, Any], kind: str, pair: HoldoutPair) -> PlannedExecution:
        place = self._campaign.holdout_folder(number, kind, pair.seed)
        own = kind == HELD_OUT
        commit = self._measurements.records[plan["run"]].commit if own else self._opened.first_commit
        variant = Variant(pair.seed, pair.settings if own else {**plan["overrides"], **pair.settings})
        return PlannedExecution(f"{HOLDOUT}{number}/{kind}_{pair.seed}", commit, plan["run"], 0, variant, place, place)

    def _left(self, execution: PlannedExecution) -> Results | str:
        failure = self._journal.result(execution.step)["failure"]
        return str(failure["why"]) if failure else read_run(execution.folder, self._campaign.contract)
