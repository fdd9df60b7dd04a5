"""What becomes the record of a run: what was measured, reported and said, brought together from what its attempts left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..agents.listing import is_search
from ..agents.search import EXHAUSTED, search_of
from ..campaign.code_identity import code_differs
from ..campaign.errors import BaselineFailed
from ..campaign.given_runs import THEIR_BASELINE, GivenRuns, earlier_kept
from ..campaign.metric_names import is_cost
from ..campaign.numbers import setting
from ..campaign.open_campaign import CampaignPart, OpenCampaign
from ..campaign.protocols import HOW_TO_READ_SEED, OF_THE_MACHINE
from ..campaign.record import AttemptRecord, MetricRecord, ObservedRecord, Record, VerdictKind, VerdictRecord
from ..campaign.text import in_words
from ..campaign.turn import Turn, description, latest, turn_key
from ..campaign.usage import Usage
from ..execution.executions import Executions
from ..execution.measurements import Measurements, compute
from ..results.reading import Results
from ..results.result_files import MAX_NAMED
from ..results.run_results import read_run
from ..results.sanity import broken_where_known
from ..statistics.comparability import compare_metrics, compare_settings
from ..statistics.references import MeasuredRun, usable

OVERRIDES = "HARNESS_OVERRIDES"


class RunRecords(CampaignPart):
    """Makes records, and writes none."""

    def __init__(self, opened: OpenCampaign, executions: Executions, measurements: Measurements) -> None:
        super().__init__(opened)
        self._executions, self._measurements = executions, measurements

    def baseline(self) -> Record:
        """That of run 0. Raises BaselineFailed when the contract's own rules say that it is no baseline."""
        given = self._journal.result("start")["given"]
        folder = self._campaign.run_folder(0)
        results = read_run(folder, self._campaign.contract)
        contract = self._campaign.contract
        if given:
            broken = broken_where_known(contract, results.numbers, results.settings)
        else:
            by_seed, seeds = self._measurements.baseline_by_seed()
            broken = self._measurements.problems(dict(zip(seeds, by_seed, strict=True)), None)
        if broken:
            raise BaselineFailed(
                "the baseline is invalid, so nothing could be compared with it: "
                + "; ".join(broken)
                + f". Fix the experiment or its contract; what it left is in {folder}."
            )
        execution = {} if given else self._journal.result("run_0/execute")
        others = [] if given else self._measurements.executed(0, "seed")
        facts = self._measurements.baseline_facts()
        search = search_of(self._campaign)
        unread = [self._unread(len(facts["seeds"]))] if facts["ignores_seed"] else []
        unread += self._lists_of_one_seed(results, facts["metrics"])
        unread += [] if given else self._unread_settings(results)
        for sentence in unread:
            self._view.say(sentence)
        lost = [f"seed {seed} is missing: {result['failure']['why']}" for seed, result in others if result["failure"]]
        return Record(
            run=0,
            status="completed",
            verdict=VerdictRecord(
                kind="baseline", why="Given, not executed here." if given else "The unmodified experiment."
            ),
            commit=self._journal.result("start")["commit"],
            command=self._executions.command(0),
            given=given,
            seed=None if given else self._campaign.contract.seed,
            searched={**search.begun_with()} if search else {},
            settings=compare_settings(results, None),
            warnings=[*map(str, results.findings), *execution.get("warnings", []), *lost, *unread],
            seconds=self._measurements.seconds_beside(0),
            started=self._measurements.started(0),
            environment={} if given else self._environment(results),
            **(facts | ({"seeds": []} if given else {})),
        )

    def run(self, run: int) -> Record:
        """That of `run`, from what its attempts left."""
        turns = self._measurements.turns(run)
        last = turns[-1]
        attempts = [self._attempt(turn) for turn in turns]
        done = attempts[-1].status == "completed"
        usage = Usage()
        for turn in turns:
            usage += turn.usage
        facts: dict[str, Any] = {
            "run": run,
            "commit": last.commit or last.base,
            "overrides": last.overrides,
            "searched": last.searched,
            "parent": self._measurements.parent(run).run,
            **self._round(run),
            "hypothesis": latest(turn.hypothesis for turn in turns),
            "plan": latest(turn.plan for turn in turns),
            "description": description(turns),
            "command": self._executions.command(run),
            "attempts": attempts,
            "usage": usage,
            "agent": latest(turn.agent for turn in turns),
            "models": list(dict.fromkeys(model for turn in turns for model in turn.models)),
            "agent_sandbox": latest(turn.sandbox for turn in turns),
            "started": self._measurements.started(run),
            "environment": self._environment(),
            "messages": [text for turn in turns for text in turn.messages],
            "seconds": sum(attempt.seconds for attempt in attempts) + self._measurements.seconds_beside(run),
        }
        if not done:
            why = _why_none_completed(attempts, gave_up=len(turns) > 1 and self._wants_no_run(last))
            return Record(status="failed", verdict=VerdictRecord(kind="failed", why=why), **facts)
        execution = self._journal.result(f"{turn_key(run, last.attempt)}/execute")
        start = self._measurements.at_start_of_round(run)
        measured = start.measured_run(run)
        results, seed, baseline = measured.results, self._campaign.contract.seed, self._measurements.records[0]
        facts["environment"] = self._environment(results)
        verdict, idle = self._measurements.judge(len(start.records)).judge(measured), self._idle(last)
        without_effect = verdict.kind == "no_effect"
        return Record(
            status="completed",
            verdict=verdict,
            seed=seed,
            control=measured.control,
            frontier=list(measured.frontier),
            settings=compare_settings(results, baseline),
            warnings=[
                *map(str, results.findings),
                *execution["warnings"],
                *_unconfined(execution),
                *measured.failed_seeds,
                *measured.fixed_seeds,
                *(idle if without_effect else []),
            ],
            advice=[] if without_effect else idle,
            **(facts | self._numbers(measured)),
        )

    def given(self, run: int, given: GivenRuns, commit: str) -> Record:
        """That of a run of a loop that was observed: what it left and says, and what it repeats. Nothing is judged."""
        each, contract = given.runs[run], self._campaign.contract
        records = self._measurements.records
        results = read_run(self._campaign.run_folder(run), contract)
        metrics = compare_metrics([results], records[0])
        same_code = self._same_code(given, run, records)
        theirs = [self._metrics_of_their_baseline(), *(other.metrics for other in records[1:])]
        primary = contract.primary.name if contract.primary else None
        same = (number for number, other in enumerate(theirs) if _same_numbers(metrics, other, primary))
        same_numbers = next(same, None)
        observed = ObservedRecord(
            loop=given.loop,
            name=each.name,
            kept=each.kept,
            has_code=each.code is not None,
            same_code_as=same_code,
            same_numbers_as=same_numbers,
        )
        broken = broken_where_known(contract, results.numbers, results.settings) if metrics else []
        why = "Given by the loop that was observed, not executed here"
        if same_numbers is not None:
            why += f"; its numbers are those of run {same_numbers}"
        kind: VerdictKind = "given"
        if not metrics or not each.completed:
            kind, why = "failed", "Given, not executed here: its loop has no result of it"
        elif broken:
            kind, why = "invalid", f"{'; '.join(broken)}. {why}"
        elif same_code is not None:
            kind, why = "no_effect", f"a no-op: the code of run {same_code}, apart from comments and layout. {why}"
        return Record(
            run=run,
            status="failed" if kind == "failed" else "completed",
            verdict=VerdictRecord(kind=kind, why=f"{why}."),
            commit=commit,
            parent=earlier_kept(given.runs, run),
            description=each.claim,
            given=True,
            observed=observed,
            settings={name: each for name, each in compare_settings(results, records[0]).items() if each.value is not None},
            metrics=metrics,
            warnings=[*map(str, results.findings)] if metrics else [],
            usage=Usage(cost=None),
            agent=f"the loop in {given.loop}",
        )

    def _metrics_of_their_baseline(self) -> Mapping[str, MetricRecord]:
        """As the loop left it, also where it was executed here too."""
        baseline = self._measurements.records[0]
        if baseline.given:
            return baseline.metrics
        return compare_metrics([read_run(self._campaign.given / THEIR_BASELINE, self._campaign.contract)], None)

    def _same_code(self, given: GivenRuns, run: int, records: list[Record]) -> int | None:
        """An earlier run whose code can behave no differently; of the baseline that is what was begun with."""
        mine = given.runs[run].code
        if mine is None:
            return None
        begun_with = self._repository.files(records[0].commit, [given.code_file]).get(given.code_file)
        known = [(0, begun_with), *((number, each.code) for number, each in enumerate(given.runs[:run]))]
        return next((number for number, code in known if code is not None and not code_differs(code, mine)), None)

    def judged_again(self, run: int) -> Record:
        """That of a recorded run with the seeds that it has now."""
        old = self._measurements.records[run]
        if run == 0:
            facts: dict[str, Any] = self._measurements.baseline_facts()
        else:
            measured = self._measurements.measured_run(run)
            facts = self._numbers(measured) | {
                "warnings": [*old.warnings, *(text for text in measured.failed_seeds if text not in old.warnings)]
            }
            verdict = self._measurements.judge().judge(measured)
            if facts["seeds"] != old.seeds or _rests_on(verdict) != _rests_on(old.verdict):
                facts |= {"verdict": verdict, "earlier_verdicts": [*old.earlier_verdicts, old.verdict]}
        seconds = sum(attempt.seconds for attempt in old.attempts) + self._measurements.seconds_beside(run)
        return old.model_copy(update=facts | {"seconds": seconds})

    def scored(self, run: int, skipped: list[str]) -> Record:
        """That of a recorded run with what a further scoring left."""
        old = self._opened.records[run]
        if run:
            measured = self._measurements.measured_run(run)
            metrics, findings = self._numbers(measured)["metrics"], next(iter(measured.rests_on.values())).findings
        else:
            by_seed, _ = self._measurements.baseline_by_seed()
            metrics = compare_metrics(by_seed, None, own_seeds=self._measurements.own_seeds)
            findings = by_seed[0].findings
        found = [*map(str, findings), *skipped]
        warnings = [*old.warnings, *(text for text in found if text not in old.warnings)]
        return old.model_copy(update={"metrics": metrics, "warnings": warnings})

    def _round(self, run: int) -> dict[str, Any]:
        """Of a run that was proposed with others."""
        rounds = self._measurements.rounds
        siblings = rounds.recorded_with(run)
        return {"round": rounds.number(run), "siblings": siblings} if siblings or self._options.width > 1 else {}

    def _numbers(self, measured: MeasuredRun) -> dict[str, Any]:
        """What of a run's record rests on its seeds."""
        references = {each.name: each.metrics for each in measured.final_references if usable(each)}
        return {
            "seeds": list(measured.rests_on),
            "stage_seeds": list(measured.by_seed) if measured.final else [],
            "final_references": list(measured.final_references),
            **compute(self._measurements.outcomes(measured.run)),
            "metrics": compare_metrics(
                list(measured.rests_on.values()),
                self._measurements.records[0],
                own_seeds=self._measurements.own_seeds,
                stages=list(measured.by_seed.values()) if measured.final else [],
                beside=references.get("run_0"),
            ),
        }

    def _unread(self, seeds: int) -> str:
        """That the baseline's seeds are all the same, and what would fix it."""
        read = "HARNESS_SEED changes nothing" if self._measurements.names_seed else "HARNESS_SEED is not read"
        return (
            f"the {seeds} seeds of the baseline gave the same numbers, times aside: {read}, so no others are executed. "
            f"For its noise to be measured, {HOW_TO_READ_SEED}"
        )

    @staticmethod
    def _lists_of_one_seed(results: Results, metrics: Mapping[str, MetricRecord]) -> list[str]:
        """That the experiment's own seeds are no seeds of the run, since it reads those of the harness."""
        known = metrics.items()
        names = [name for name, each in known if len(results.metrics[name].seeds) > 1 and not each.self_reported]
        if not names:
            return []
        more = f" and {len(names) - MAX_NAMED} more" if names[MAX_NAMED:] else ""
        return [
            f"{', '.join(names[:MAX_NAMED])}{more}: reported with a value for each of several own seeds of the experiment. "
            "It reads HARNESS_SEED too, so the mean of them is one value, that of the harness's seed"
        ]

    def _unread_settings(self, results: Results) -> list[str]:
        """Of what was set for the campaign, what the baseline's results do not show, a sentence each."""
        found = []
        for name, value in self._options.overrides.items():
            if name in results.settings and results.settings[name] != value:
                found.append(f"--set {name}={setting(value)}: the results report {name} {setting(results.settings[name])}")
            elif name not in results.settings and not self._measurements.names(OVERRIDES):
                found.append(
                    f"--set {name}={setting(value)}: nothing shows that the experiment reads it. The results report no "
                    f"setting {name}, and no file of the experiment names {OVERRIDES}, which holds what --set says as JSON"
                )
        return found

    def _environment(self, results: Results | None = None) -> dict[str, str]:
        """What the numbers of a run depend on, with the GPU that it was executed on where no other is known."""
        gpu = results.settings.get(f"{OF_THE_MACHINE}gpu") if results else None
        return ({"gpu": str(gpu)} if gpu else {}) | dict(self._journal.result("environment"))

    def _idle(self, turn: Turn) -> list[str]:
        """What of the change the smoke test did not execute, in a sentence."""
        smoke = self._journal.result(f"{turn.key}/smoke_test") or {}
        lines = smoke.get("never_ran")
        return [f"these changed lines never ran in the smoke test: {lines}"] if lines else []

    def _wants_no_run(self, turn: Turn) -> bool:
        return turn.all_completed and self._journal.result(f"{turn.key}/pre_check") is None

    def _attempt(self, turn: Turn) -> AttemptRecord:
        """What became of a turn: the first thing in its way, or that it was executed."""
        pre_check = self._journal.result(f"{turn.key}/pre_check")
        smoke = self._journal.result(f"{turn.key}/smoke_test")
        executed = self._journal.result(f"{turn.key}/execute")
        status: Any = "completed"
        why, seconds = "", 0.0
        if pre_check and pre_check["rejected"]:
            status, why = ("no_answer" if turn.no_answer else "rejected"), pre_check["rejected"]
        for result in filter(None, (smoke, executed)):
            seconds += result["outcome"]["seconds"]
            if result["failure"]:
                status, why = result["failure"]["status"], result["failure"]["why"]
        # Of what the agent's machinery says the first lines are for people; an example of an edit is for the model.
        notices = [notice.partition("\n")[0] for notice in turn.notices]
        if status == "rejected":
            why, notices = " ".join([why, *notices]), []
        if self._wants_no_run(turn):
            said = EXHAUSTED if is_search(self._options.agent) else "the agent said ALL_COMPLETED"
            status, why = "no_answer", said
        return AttemptRecord(
            number=turn.attempt,
            status=status,
            why=why,
            commit=turn.commit,
            searched=turn.searched,
            by_person=turn.by_person,
            forced=turn.forced,
            restored=[*turn.restored, *notices],
            usage=turn.usage,
            seconds=round(seconds, 3),
        )


def _why_none_completed(attempts: Sequence[AttemptRecord], gave_up: bool) -> str:
    """What was in the way of the last attempt; who `gave_up` with an answer more has made none with that."""
    made = attempts[:-1] if gave_up else attempts
    tried = "the only attempt" if len(made) == 1 else f"none of {len(made)} attempts completed; the last"
    ended = f"; after that: {attempts[-1].why}" if gave_up else ""
    return f"{tried}: {in_words(made[-1].status)}: {made[-1].why.rstrip('.') if gave_up else made[-1].why}{ended}"


def _same_numbers(metrics: Mapping[str, MetricRecord], other: Mapping[str, MetricRecord], primary: str | None) -> bool:
    """Whether both have the same numbers, times aside, what decides among them. Whole numbers agree without meaning it."""
    mine, theirs = ({name: each.value for name, each in of.items() if not is_cost(name)} for of in (metrics, other))
    telling = any(not value.is_integer() for value in mine.values())
    return telling and mine == theirs and (primary is None or primary in mine)


def _rests_on(verdict: VerdictRecord) -> list[Any]:
    """What a verdict was formed from: how many seeds, beside what, and what was doubted."""
    compared = [each for each in (verdict.against_parent, verdict.against_baseline) if each]
    return [verdict.caveats, *((each.reference, each.seeds, each.reference_seeds) for each in compared)]


def _unconfined(execution: dict[str, Any]) -> list[str]:
    if execution["outcome"]["confined"]:
        return []
    return ["This system could not hold the experiment to its own folders; it could have written elsewhere."]
