"""The held-out evaluation: what selects is not what is reported."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from harness.campaign.campaign import Campaign
from harness.campaign.contract import Contract
from harness.campaign.holdout_record import HoldoutRecord
from harness.campaign.journal import Journal, read_events
from harness.campaign.layout import Layout
from harness.campaign.protocols import Silent
from harness.campaign.record import ComparisonRecord, MetricRecord, Record, VerdictRecord
from harness.campaign.stop import Stop
from harness.cli.main import cli
from harness.continuation import go_on
from harness.execution import holdout
from harness.report.campaign_data import read_campaign_data
from harness.report.html.report import render
from harness.report.paper.render_md import render_md
from harness.report.paper.writeup import compose
from harness.report.terminal.held_out import scope
from harness.results.reading import Results
from harness.results.values import Value
from harness.statistics.holdout import Pair, evaluate, selected, why_none_accepted
from harness.statistics.judge import next_parent

pytestmark = pytest.mark.usefixtures("quick")

Make = Callable[..., Campaign]

# --- the statistics ---------------------------------------------------------------------------------------------------

CONTRACT = Contract.model_validate(
    {
        "metric": [
            {"name": "loss", "better": "lower", "primary": True, "moves_with": "l0"},
            {"name": "l0"},
            {"name": "speed", "better": "higher", "guard": 0.5, "required": False},
        ],
        "sanity": [{"value": "loss", "at_most": 9}],
        "comparable": ["k"],
    }
)
PLANNED = HoldoutRecord(
    number=1,
    status="not_evaluated",
    run=2,
    after_run=3,
    comparison=ComparisonRecord(reference="run_0", mean=0, reference_mean=0, seeds=0, reference_seeds=0),
)
THERE = [1.0, 1.2, 0.9, 1.1, 1.05, 0.97]


def left(loss: float, l0: float = 5.0, speed: float | None = 3.0, k: int = 5) -> Results:
    numbers = {"loss": loss, "l0": l0} | ({} if speed is None else {"speed": speed})
    return Results({name: Value(name, number, "f", name) for name, number in numbers.items()}, {"k": k}, [], [])


def judged(runs: list[Results | str], references: list[Results | str] | None = None) -> HoldoutRecord:
    references = references or [left(loss) for loss in THERE]
    pairs = [Pair(seed, *both) for seed, both in enumerate(zip(runs, references, strict=True))]
    return evaluate(CONTRACT, "", pairs, (), PLANNED)


def test_one_paired_one_sided_test_at_five_percent_decides() -> None:
    from scipy.stats import ttest_rel

    better = [loss - gain for loss, gain in zip(THERE, [0.1, 0.02, 0.08, 0.03, 0.05, -0.01], strict=True)]
    found = judged([left(loss) for loss in better])
    expected = ttest_rel(better, THERE, alternative="less")
    assert found.status == "confirmed"
    assert found.comparison is not None and found.comparison.p == pytest.approx(expected.pvalue)
    assert found.comparison.p_adjusted == found.comparison.p
    assert found.comparison.estimate == found.comparison.difference == pytest.approx(-0.045)
    assert found.comparison.low == pytest.approx(expected.confidence_interval(0.9).low) or found.comparison.high < 0
    little = [loss - gain for loss, gain in zip(THERE, [0.1, -0.09, 0.08, -0.03, 0.05, -0.01], strict=True)]
    assert judged([left(loss) for loss in little]).status == "not_confirmed"


@pytest.mark.parametrize(
    ("runs", "references", "status", "why"),
    [
        (
            ["it crashed", *(left(loss - 1) for loss in THERE[1:])],
            None,
            "not_confirmed",
            "the run failed in 1 of 6 pairs: it",
        ),
        ([left(99), *(left(loss - 1) for loss in THERE[1:])], None, "not_confirmed", "loss is 99"),
        ([left(loss - 1) for loss in THERE], ["no"] * 6, "not_evaluated", "its reference failed in 6 of 6 pairs: no"),
        ([left(loss - 0.1 * i, l0=6.0) for i, loss in enumerate(THERE)], None, "not_evaluated", "l0 6 against 5"),
        ([left(loss - 0.1 * i, k=9) for i, loss in enumerate(THERE)], None, "not_evaluated", "k 9 against 5"),
        ([left(loss - 0.5 - 0.1 * i, speed=2.0) for i, loss in enumerate(THERE)], None, "not_confirmed", "speed −1 "),
        ([left(loss - 0.1 * i, speed=None) for i, loss in enumerate(THERE)], None, "not_confirmed", "speed is missing"),
        ([left(loss) for loss in THERE], None, "not_evaluated", "same difference"),
    ],
)
def test_nothing_is_confirmed_by_leaving_out_where_it_does_badly(
    runs: list[Any], references: list[Any] | None, status: str, why: str
) -> None:
    found = judged(runs, references)
    assert found.status == status
    assert why in found.why


@pytest.mark.parametrize(
    ("spent", "status", "why"),
    [
        ([(10.0, 10.0)] * 6, "confirmed", ""),
        ([(10.0, None)] * 6, "confirmed", ""),
        ([(90.0, 10.0)] * 2 + [(10.0, 10.0)] * 4, "not_confirmed", "at 3.7x compute"),
        ([(None, 10.0)] + [(10.0, 10.0)] * 5, "not_confirmed", "its compute was not measured in each pair"),
    ],
)
def test_a_run_spends_no_more_compute_where_it_is_held_out_than_its_reference(
    spent: list[tuple[float | None, float | None]], status: str, why: str
) -> None:
    """By its seed an execution knows that it is held out: it could train for longer there, and nowhere else."""
    gains = [0.1, 0.02, 0.08, 0.03, 0.05, -0.01]
    pairs = [
        Pair(seed, left(loss - gain), left(loss), *spent[seed])
        for seed, (loss, gain) in enumerate(zip(THERE, gains, strict=True))
    ]
    found = evaluate(CONTRACT, "", pairs, (), PLANNED)
    assert (found.status, why in found.why) == (status, True)


def test_compute_of_held_out_executions_is_measured_for_each_pair(
    held: Path, make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.statistics.compute.TOO_SHORT", 0.5)
    burn = (
        "import time\nwhile int(os.environ['HARNESS_SEED']) > 999 and time.process_time() < 1: pass\n"
        "rng.random()\nloss, speed = 0.8 + rng"
    )
    campaign = make_campaign(
        {
            "run 1, attempt 1": BETTER | {"edits": [["experiment.py", "loss, speed = 1.0 + rng", burn]]},
            "run 2, attempt 1": DONE,
        }
    )
    run(campaign)
    assert campaign.read_records()[1].verdict.kind == "improved"
    found = campaign.holdouts()[0]
    assert found["status"] == "not_confirmed" and "x compute (" in found["why"]


def record(run: int, kind: str, loss: float, p: float = 0.001) -> Record:
    compared = ComparisonRecord(
        reference="run_0", mean=loss, reference_mean=1, seeds=3, reference_seeds=3, difference=loss - 1, p_adjusted=p
    )
    verdict = VerdictRecord.model_validate({"kind": kind, "against_baseline": compared if run else None})
    return Record(run=run, status="completed", verdict=verdict, commit="", metrics={"loss": MetricRecord(value=loss)})


def test_the_last_accepted_run_is_selected_and_the_best_valid_one_only_where_asked_for() -> None:
    primary = CONTRACT.primary
    assert primary is not None
    baseline = record(0, "baseline", 1.0)
    others = [record(1, "not_significant", 0.9), record(2, "invalid", 0.1), record(3, "trade_off", 0.8)]
    accepted = [record(4, "improved", 0.7), record(5, "improved", 0.75), record(6, "improved", 1.2, p=0.9)]
    assert selected([baseline, *others], primary, best_valid=False) is None
    assert selected([baseline, *others], primary, best_valid=True) is others[2]
    assert selected([baseline, *others, *accepted], primary, best_valid=True) is accepted[1]
    assert selected([baseline], primary, best_valid=True) is None
    assert next_parent([baseline, accepted[2]], "", primary) is baseline, "improved on a run that is worse than the baseline"
    assert next_parent([baseline, *accepted], "", primary) is accepted[0]
    of_three_seeds = [record(run, "inconclusive", 1.0).model_copy(update={"seeds": [0, 1, 2]}) for run in (1, 2)]
    assert of_three_seeds[0].seed_count == 3
    assert next_parent([baseline, *of_three_seeds, record(3, "invalid", 0.1)], "", primary) is baseline
    assert next_parent([baseline, *of_three_seeds, record(3, "invalid", 0.1)], "", None) is of_three_seeds[1], "none decides"


def test_a_contract_holds_out_settings_that_it_has_and_five_pairs_at_least() -> None:
    profile = {"settings": {"world": "a"}, "holdout": {"generate": "world"}}
    assert Contract.model_validate({"profiles": {"p": profile}}).profiles["p"].holdout
    for held, why in (
        ({"generate": "planet"}, "planet is not one"),
        ({"number": 4}, "number"),
        ({"settings": {"world": []}}, "no value"),
    ):
        with pytest.raises(ValueError, match=why):
            Contract.model_validate({"profiles": {"p": profile | {"holdout": held}}})


# --- campaigns --------------------------------------------------------------------------------------------------------

PLACE = "world = settings.get('world', 'public')\nloss, speed = 1.0 + rng.gauss(0, 0.02) + 0.3 * (len(world) > 9), 5.0"
BETTER = {
    "text": "HYPOTHESIS: the loss falls.",
    "edits": [["experiment.py", "loss, speed = 1.0 + rng", "rng.random()\nloss, speed = 0.8 + rng"]],
}
LUCKY = {
    "text": "HYPOTHESIS: luck.",
    "edits": [
        ["experiment.py", "loss, speed = 1.0 + rng", "rng.random()\nloss, speed = 1.0 - 0.2 * (world == 'public') + rng"]
    ],
}
DONE = {"text": "ALL_COMPLETED"}


@pytest.fixture
def held(experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small noisy experiment that holds out worlds."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    names = iter(f"{number:016x}" for number in range(1, 99))
    monkeypatch.setattr(holdout, "secrets", SimpleNamespace(token_hex=lambda size: next(names)))  # no folders' names
    code = (experiment / "experiment.py").read_text()
    code = code.replace('"metrics": {"loss": x * x, "distance": abs(x)}', '"metrics": {"loss": loss, "speed": speed}')
    code = code.replace('print("done", x * x)', f"{PLACE}\nprint('done', loss)")
    (experiment / "experiment.py").write_text(code)
    contract = (experiment / "experiment.toml").read_text()
    contract = contract.replace('name = "distance"\nbetter = "lower"', 'name = "speed"\nbetter = "higher"\nguard = 0.5')
    contract = contract.replace("rate = 0.05 }", 'rate = 0.05, world = "public" }')
    contract += (
        "baseline_seeds = 4\nrun_seeds = [1, 3]\nfinal_seeds = 0\n[profiles.small.holdout]\ngenerate = 'world'\nnumber = 5\n"
    )
    (experiment / "experiment.toml").write_text(contract)
    return experiment


def run(campaign: Campaign, **how: Any) -> None:
    ending = go_on(campaign, view=Silent(), stop=Stop(), **how)
    assert ending.exit_code == 0, ending


def the_end(campaign: Campaign) -> str:
    return " ".join(campaign.notes.read_text().split("=== The end")[1].split())


def started(campaign: Campaign) -> list[str]:
    return [e["step"] for e in read_events(campaign.journal) if e["event"] == "started" and e["step"].startswith("holdout_")]


def pages(campaign: Campaign) -> dict[str, str]:
    data = read_campaign_data(campaign)
    shown = {name: CliRunner().invoke(cli, [name, str(campaign.root)]).output for name in ("status", "log")}
    paper = render_md(compose(data, ""), "figures")
    report = render([data]).replace("</strong>", "")
    return {name: " ".join(text.split()) for name, text in (shown | {"paper": paper, "report": report}).items()}


def test_the_end_of_a_campaign_that_somebody_drives_evaluates_what_their_tries_selected(
    held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(held)
    (held / "idea.json").write_text('{"Name": "small", "Title": "A small idea", "Experiment": "Make the loss smaller."}')

    def typed(*words: str) -> dict[str, Any]:
        done = CliRunner().invoke(cli, [*words, "--json"])
        assert done.exit_code == 0, done.output
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    typed("open", "idea.json", "--profile", "small", "--max-runs", "2")
    campaign = Campaign(held / "runs" / "small")
    file, old, new = BETTER["edits"][0]
    (campaign.root / file).write_text((campaign.root / file).read_text().replace(old, new))
    assert typed("try", "small", "--hypothesis", "a lower loss")["verdict"] == "improved"
    assert not campaign.holdouts()
    append = Journal.append

    def cut(journal: Journal, event: str, **facts: Any) -> None:
        append(journal, event, **facts)
        if event == "done" and facts["step"].startswith("holdout_"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", cut)
        assert CliRunner().invoke(cli, ["end", "small"]).exit_code == 130
    assert not campaign.holdouts()
    resumed = typed("resume", "small")
    assert (resumed["outcome"], resumed["reason"], len(campaign.holdouts())) == ("ended", "all_completed", 1)
    conclusion = typed("end", "small")["conclusion"]
    assert HoldoutRecord.of(campaign.holdouts()[0]).status == "confirmed"
    assert conclusion.startswith("Supported: run 1 improves loss in 5 new worlds")


def test_a_real_improvement_is_confirmed_in_worlds_drawn_at_the_end_and_each_page_says_so(
    held: Path, make_campaign: Make
) -> None:
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE})
    run(campaign)
    found = HoldoutRecord.of(campaign.holdouts()[0])
    assert (found.status, found.run, found.accepted, found.unit) == ("confirmed", 1, True, "world")
    assert len({pair.seed for pair in found.pairs}) == len({pair.settings["world"] for pair in found.pairs}) == 5
    assert all(value > 1.25 for value in found.metrics["loss"].reference)  # it is harder there
    assert found.comparison is not None and found.comparison.difference == pytest.approx(-0.2, abs=0.05)
    decided = started(campaign).index("holdout_1/decide")
    assert decided == 0 and len(started(campaign)) == 1 + 10 + 1
    headline = "Supported: run 1 improves loss in 5 new worlds, a fresh seed in each, 1."
    assert headline in the_end(campaign)
    assert "; when it was selected, 0." in the_end(campaign)
    shown = pages(campaign)
    assert all(headline in shown[page] for page in ("paper", "report"))
    assert shown["paper"].count(headline) == 2  # abstract, results
    assert all("Held-out evaluation, confirmed: run 1 in 5 new worlds" in shown[page] for page in ("paper", "report"))
    assert shown["paper"].index(headline) < shown["paper"].index(
        "Introduction" if "Introduction" in shown["paper"] else "Idea"
    )
    assert "confirmed. Run 1 in 5 new worlds" in shown["status"]
    assert "Held-out evaluation: confirmed. Run 1 in 5 new worlds" in shown["log"]
    # kept as records are: committed, and compared with what was written
    tracked = subprocess.run(["git", "ls-files"], cwd=campaign.root, capture_output=True, text=True).stdout
    assert "holdout_1/record.json" in tracked and f"holdout_1/held_out/{found.pairs[0].seed}/final_info.json" in tracked
    file = campaign.root / "holdout_1" / "record.json"
    file.write_text(file.read_text().replace('"confirmed"', '"not_confirmed"'))
    lost = CliRunner().invoke(cli, ["status", str(campaign.root)])
    assert lost.exit_code == 5 and "holdout_1/record.json" in lost.output
    assert Layout(campaign.root).holdouts()[0]["status"] == "confirmed"


def test_what_was_lucky_where_it_was_selected_is_not_confirmed(held: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": LUCKY, "run 2, attempt 1": DONE})
    run(campaign)
    assert campaign.read_records()[1].verdict.kind == "improved"
    assert campaign.holdouts()[0]["status"] == "not_confirmed"
    assert "Not confirmed: run 1 does not significantly improve loss in 5 new worlds, a fresh seed in each, 1." in the_end(
        campaign
    )
    assert "Supported" not in the_end(campaign)
    shown = pages(campaign)
    assert all("Not confirmed: run 1 does not significantly improve loss" in shown[page] for page in ("paper", "report"))
    assert all("Supported:" not in shown[page] for page in ("paper", "report"))


def test_nothing_is_drawn_again_or_executed_again_after_an_interruption(
    held: Path, make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE})
    append = Journal.append

    def until_the_third(self: Journal, event: str, **facts: Any) -> None:
        append(self, event, **facts)
        if event == "started" and len(started(campaign)) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", until_the_third)
        assert go_on(campaign, view=Silent(), stop=Stop()).reason == "interrupted"
    before = started(campaign)
    assert "not evaluated, the campaign has not ended" in pages(campaign)["log"]
    assert "Improved, not evaluated on held-out data: run 1 improves loss" in pages(campaign)["report"]
    run(campaign)
    assert sorted(set(started(campaign))) == sorted(
        [*started(campaign)][: len(before) - 1] + started(campaign)[len(before) :]
    )
    assert len(set(started(campaign))) == 12
    assert campaign.holdouts()[0]["status"] == "confirmed"
    run(campaign)
    assert len(campaign.holdouts()) == 1


def test_the_agent_never_sees_held_out_numbers_and_going_on_after_they_were_shown_spends_them(
    held: Path, make_campaign: Make
) -> None:
    look = BETTER | {"edits": [["experiment.py", "loss, speed = 0.8 + rng", "rng.random()\nloss, speed = 0.6 + rng"]]}
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": look}, max_runs=1)
    run(campaign)
    first = HoldoutRecord.of(campaign.holdouts()[0])
    assert first.comparison is not None
    hidden = [*first.metrics["loss"].run, *first.metrics["loss"].reference, first.comparison.mean]
    run(campaign, changes={"max_runs": 2})
    said = (campaign.run_folder(2) / "attempts" / "1" / "session.md").read_text()
    briefs = [path.read_text() for path in campaign.run_folder(2).rglob("*.txt")] + [said]
    for number in hidden:
        assert not any(f"{number:.6g}"[:7] in text for text in briefs)
    assert all(pair.settings["world"] not in text for pair in first.pairs for text in briefs)
    second = HoldoutRecord.of(campaign.holdouts()[1])
    assert (second.run, second.after_run, second.status) == (2, 2, "confirmed")
    used = {pair.seed for pair in first.pairs} | {str(pair.settings["world"]) for pair in first.pairs}
    assert used.isdisjoint({pair.seed for pair in second.pairs} | {str(pair.settings["world"]) for pair in second.pairs})
    assert "Spent, because later runs were made when it had been shown: held-out evaluation: confirmed. Run 1" in the_end(
        campaign
    )
    assert "Supported: run 2 improves loss in 5 new worlds" in the_end(campaign)


def test_without_an_accepted_run_the_best_valid_one_is_evaluated_only_where_the_contract_says_so(
    held: Path, make_campaign: Make
) -> None:
    nothing = {
        "text": "HYPOTHESIS: no.",
        "edits": [["experiment.py", "loss, speed = 1.0 + rng", "rng.random()\nloss, speed = 1.02 + rng"]],
    }
    campaign = make_campaign({"run 1, attempt 1": nothing, "run 2, attempt 1": DONE})
    run(campaign)
    assert campaign.holdouts()[0]["why"] == "no run was accepted"
    assert "Held-out evaluation: not evaluated, no run was accepted." in the_end(campaign)
    assert len(started(campaign)) == 2
    toml = held / "experiment.toml"
    toml.write_text(toml.read_text() + "best_valid = true\n")
    campaign = make_campaign({"run 1, attempt 1": nothing, "run 2, attempt 1": DONE})
    run(campaign)
    assert (campaign.holdouts()[0]["status"], campaign.holdouts()[0]["accepted"]) == ("not_confirmed", False)
    assert "Not supported: " in the_end(campaign) and "It is not confirmed in 5 new worlds" in the_end(campaign)


def test_an_evaluation_is_switched_off_and_on_and_keeps_the_budget(held: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE}, holdout=False)
    run(campaign)
    assert campaign.holdouts() == [] == started(campaign)
    assert "Improved, not evaluated on held-out data: run 1" in the_end(
        campaign
    ) and "switched off by --no-holdout" in the_end(campaign)
    ending = go_on(campaign, view=Silent(), stop=Stop(), changes={"holdout": True, "max_hours": 1e-6})
    assert ending.reason == "budget" and campaign.holdouts() == []
    run(campaign, changes={"max_hours": None})
    assert campaign.holdouts()[0]["status"] == "confirmed"


def test_fixed_held_out_settings_are_named_and_their_uses_are_counted_for_the_experiment(
    held: Path, make_campaign: Make
) -> None:
    toml = held / "experiment.toml"
    toml.write_text(toml.read_text().replace("generate = 'world'", "settings = { world = ['another'] }"))
    for before in ("never", "1 time"):
        campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE})
        run(campaign)
        found = campaign.holdouts()[0]
        assert found["status"] == "confirmed"
        assert scope(found) == "5 fresh seeds, one world (another)"
        assert f"The held-out settings of this experiment had been used {before} before." in the_end(campaign)
    same = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE}, overrides={"world": "another"})
    run(same)
    assert same.holdouts()[0]["why"] == "the runs were executed at the held-out setting (world another) too"


def test_where_no_run_was_accepted_those_are_named_that_look_as_if() -> None:
    def record(run: int, kind: Any, parent: int, p: float, tested: bool = True) -> Record:
        found = ComparisonRecord(
            reference="run_0", mean=0.8, reference_mean=1.0, seeds=10, reference_seeds=10, p_adjusted=p, tested=tested
        )
        verdict = VerdictRecord(kind=kind, against_baseline=found)
        return Record(run=run, status="completed", verdict=verdict, commit="", parent=parent)

    runs = [
        record(2, "trade_off", 0, 0.01),
        record(3, "not_significant", 2, 0.01),
        record(4, "not_significant", 0, 0.4),
        record(5, "inconclusive", 0, 0.01, tested=False),
    ]
    assert why_none_accepted(runs) == (
        ": run 2 is better than the baseline, but trade-off; run 3 is better than the baseline, but not significant against "
        "run 2, from which it started"
    )
    assert why_none_accepted(runs[2:]) == ""
    assert why_none_accepted(runs[:1] * 5).endswith("; so are 2 more")
