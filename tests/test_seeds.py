"""Campaigns whose verdicts rest on measured noise: seeds of the baseline, of promising runs, and controls."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.errors import InputError
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal, read_events
from harness.campaign.layout import Layout
from harness.campaign.open_campaign import OpenCampaign
from harness.campaign.protocols import Silent
from harness.campaign.repository import Repository
from harness.campaign.stop import Stop
from harness.continuation import go_on, next_brief
from harness.execution.executors import EXECUTORS
from harness.execution.measurements import Measurements
from harness.report.conclusion import NOTHING_HELD_OUT
from harness.report.terminal.run_table import log
from harness.report.terminal.status import read_status
from harness.report.terminal.status_page import next_steps
from tests.quick_executor import QUICK
from tests.waiting import HANGS

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "tests" / "small"
Make = Callable[..., Campaign]
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def kept_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the seeds of the noisy experiment's baseline are kept, as of an earlier campaign."""
    folder = tmp_path_factory.mktemp("earlier")
    experiment = make_noisy(Path(shutil.copytree(SMALL, folder / "experiment", ignore=shutil.ignore_patterns("__py*"))))
    (folder / "script.json").write_text(json.dumps({"run 1, attempt 1": DONE}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        patch.setitem(EXECUTORS, "local", QUICK)
        campaign = create_campaign(
            folder / "runs",
            Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
            experiment,
            Options(agent="tests.scripted:ScriptedAgent", max_runs=2),
            python=sys.executable,
            session=folder / "script.json",
        )
        run(campaign)
    return folder / "cache"


@pytest.fixture
def noisy(experiment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept_seeds: Path) -> Path:
    """The small experiment with seeds: ten of the baseline, up to ten of a run. Those of the baseline were executed by an
    earlier campaign (that a campaign without one executes its own: `fresh`)."""
    monkeypatch.setenv("HARNESS_CACHE", str(shutil.copytree(kept_seeds, tmp_path / "cache")))
    return make_noisy(experiment)


@pytest.fixture
def fresh(experiment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The same without an earlier campaign."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return make_noisy(experiment)


def make_noisy(experiment: Path) -> Path:
    code = (experiment / "experiment.py").read_text()
    code = code.replace('"metrics": {"loss": x * x, "distance": abs(x)}', '"metrics": {"loss": loss, "speed": speed}')
    code = code.replace('print("done", x * x)', "loss, speed = 1.0 + rng.gauss(0, 0.02), 5.0\nprint('done', loss)")
    (experiment / "experiment.py").write_text(code)
    contract = (experiment / "experiment.toml").read_text()
    contract = contract.replace('name = "distance"\nbetter = "lower"', 'name = "speed"\nbetter = "higher"\nguard = 0.5')
    (experiment / "experiment.toml").write_text(contract + "baseline_seeds = 10\nrun_seeds = [1, 3]\nfinal_seeds = 0\n")
    return experiment


def few_baseline_seeds(experiment: Path) -> None:
    """For what rests on no number of them."""
    contract = experiment / "experiment.toml"
    contract.write_text(contract.read_text().replace("baseline_seeds = 10", "baseline_seeds = 4"))


def edit(old: str, new: str, text: str = "HYPOTHESIS: the loss falls.") -> dict[str, Any]:
    return {"text": text, "edits": [["experiment.py", old, new]]}


def run(campaign: Campaign) -> list[Any]:
    ending = go_on(campaign, view=Silent(), stop=Stop())
    assert ending.exit_code == 0, ending
    return campaign.read_records()


BETTER = edit("loss, speed = 1.0 +", "loss, speed = 0.8 +")
NOTHING = edit("loss, speed = 1.0 +", "rng.random()\nloss, speed = 1.0 +")
DONE = {"text": "ALL_COMPLETED"}


def test_a_real_improvement_is_found_and_a_nothing_on_top_of_it_is_not(fresh: Path, make_campaign: Make) -> None:
    nothing = edit("loss, speed = 0.8 +", "rng.random()\nloss, speed = 0.8 +")
    baseline, first, second = run(make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": nothing}))
    assert len(baseline.seeds) == len(baseline.metrics["loss"].values) == 10
    assert (first.verdict.kind, first.seeds) == ("improved", [0, 1, 2])
    assert first.verdict.against_baseline.p < 0.001
    assert first.verdict.against_baseline.low < -0.2 < first.verdict.against_baseline.high
    # far above the baseline, and nothing on top of its parent
    assert second.parent == 1
    assert second.verdict.kind in ("not_significant", "worse")


def test_a_change_that_does_nothing_is_not_called_better(noisy: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": NOTHING, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    assert first.verdict.kind == "not_significant"
    assert "Not supported" in campaign.notes.read_text()


def test_an_improvement_that_costs_too_much_is_traded_off(noisy: Path, make_campaign: Make) -> None:
    paid = edit("loss, speed = 1.0 + rng.gauss(0, 0.02), 5.0", "loss, speed = 0.8 + rng.gauss(0, 0.02), 4.0")
    campaign = make_campaign({"run 1, attempt 1": paid, "run 2, attempt 1": NOTHING})
    _, first, second = run(campaign)
    assert "Trade-off: run 1 improves loss" in " ".join(campaign.notes.read_text().split())
    assert first.verdict.kind == "trade_off"
    assert first.verdict.guard_violations == ["speed −1 (limit −0.5)"]
    assert second.parent == 0  # not accepted, so not built upon


def test_one_seed_of_three_that_crashes_leaves_no_improvement(noisy: Path, make_campaign: Make) -> None:
    crash = edit("loss, speed = 1.0 +", 'assert os.environ["HARNESS_SEED"] != "1", "seed 1 crashes"\nloss, speed = 0.8 +')
    campaign = make_campaign({"run 1, attempt 1": crash, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    end = " ".join(campaign.notes.read_text().split("=== The end")[1].split())
    assert "Inconclusive: run 1 improves loss" in end and ", but seed 1: " in end and "upported" not in end
    assert first.seeds == [0, 2]
    assert first.verdict.kind == "inconclusive"
    assert any("seed 1 crashes" in warning for warning in first.warnings)


def test_seeds_that_are_executed_at_another_scale_than_the_first_are_invalid(noisy: Path, make_campaign: Make) -> None:
    edits = [
        *BETTER["edits"],
        ["experiment.py", '"steps": 40', '"steps": 40 + 20 * min(int(os.environ["HARNESS_SEED"]), 1)'],
    ]
    _, first = run(make_campaign({"run 1, attempt 1": {"text": "", "edits": edits}, "run 2, attempt 1": DONE}))
    assert first.verdict.kind == "invalid"
    assert first.verdict.why == "its seeds are not one experiment: steps is 60 at seed 1 and 40 at seed 0"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (('"steps": 40', '"steps": 40 + int(os.environ["HARNESS_SEED"]) // 2'), "steps is 41 at seed 2 and 40 at seed 0"),
        (("= 1.0 +", '= (1.0, 1.0, 99.0)[int(os.environ["HARNESS_SEED"])] +'), "seed 2: loss is 99"),
    ],
)
def test_every_seed_of_the_baseline_is_checked(fresh: Path, make_campaign: Make, change: tuple[str, str], why: str) -> None:
    code, contract = fresh / "experiment.py", fresh / "experiment.toml"
    code.write_text(code.read_text().replace(*change))
    contract.write_text(contract.read_text().replace("baseline_seeds = 10", "baseline_seeds = 3"))
    ending = go_on(make_campaign({}), view=Silent(), stop=Stop())
    assert ending.reason == "baseline_failed"
    assert why in ending.message


# --- final seeds ------------------------------------------------------------------------------------------------------


@pytest.fixture
def final(noisy: Path) -> Path:
    """The noisy experiment with a run's final seeds, fewer than are usual."""
    contract = noisy / "experiment.toml"
    contract.write_text(contract.read_text().replace("final_seeds = 0", "final_seeds = 6"))
    return noisy


def test_a_verdict_rests_on_seeds_that_no_run_used_before(final: Path, make_campaign: Make) -> None:
    nothing = edit("loss, speed = 0.8 +", "rng.random()\nloss, speed = 0.7 +")
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": nothing})
    baseline, first, second = run(campaign)
    assert (first.verdict.kind, second.verdict.kind) == ("improved", "improved")
    assert (first.stage_seeds, second.stage_seeds, second.parent) == ([0, 1, 2], [0, 1, 2], 1)
    drawn = [*first.seeds, *second.seeds]
    assert len({*drawn, *baseline.seeds}) == len(drawn) + len(baseline.seeds) == 22
    assert min(drawn) >= 1_000
    assert [each.name for each in first.final_references] == ["run_0"]
    assert [each.name for each in second.final_references] == ["run_0", "run_1"]
    assert all(each.seeds == second.seeds for each in second.final_references)
    compared = second.verdict.against_parent
    assert (compared.reference, compared.paired, compared.seeds) == ("run_1", True, 6)
    assert compared.difference == pytest.approx(-0.1, abs=0.03)
    assert second.metrics["loss"].value == pytest.approx(compared.mean)
    decided = {
        e["step"]: e["result"] for e in read_events(campaign.journal) if e["event"] == "done" and "decide" in e["step"]
    }
    assert sorted({seed for _, seed in decided["run_2/decide_final"]}) == second.seeds
    assert "Supported: run 2 improves loss" in the_end(campaign) and NOTHING_HELD_OUT in the_end(campaign)
    said = " ".join(log(read_status(campaign), 1000).split())
    assert "Verdict and difference: from the baseline, as executed at each run's final seeds." in said
    assert first.verdict.error_share == pytest.approx(0.9)  # of two planned runs one is expected to get so far


def test_a_table_of_lucky_seeds_is_of_no_use_at_final_seeds_which_stay_drawn_after_a_crash(
    final: Path, make_campaign: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    lucky = edit(
        "loss, speed = 1.0 + rng.gauss(0, 0.02), 5.0",
        'START = {0: -0.08, 1: -0.09, 2: -0.1}\nloss, speed = 1.0 + START.get(int(os.environ["HARNESS_SEED"]), '
        "rng.gauss(0, 0.02)), 5.0",
    )
    campaign = make_campaign({"run 1, attempt 1": lucky, "run 2, attempt 1": DONE})
    append = Journal.append

    def until_the_second(self: Journal, event: str, **facts: Any) -> None:
        append(self, event, **facts)
        if event == "started" and facts["step"].startswith("run_1/baseline_"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", until_the_second)
        assert go_on(campaign, view=Silent(), stop=Stop()).reason == "interrupted"
    drawn = [e["result"] for e in read_events(campaign.journal) if e.get("step") == "run_1/decide_final" and "result" in e]
    first = run(campaign)[1]
    assert {seed for _, seed in drawn[0]} == {*first.seeds}
    assert first.stage_seeds == [0, 1, 2]
    assert first.verdict.kind == "not_significant"


def test_a_run_that_stops_at_its_stages_spends_nothing_and_can_be_confirmed(final: Path, make_campaign: Make) -> None:
    worse = edit("loss, speed = 1.0 +", "loss, speed = 1.01 +")
    campaign = make_campaign({"run 1, attempt 1": worse, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    assert (first.verdict.error_share, first.stage_seeds, first.final_references) == (0, [], [])
    assert "Not supported" in the_end(campaign)
    again = confirm(campaign, 1, 6)
    assert (len(again.seeds), len(again.final_references[0].seeds), again.stage_seeds) == (6, 6, first.seeds)
    assert again.verdict.error_share == pytest.approx(0.9)
    more = confirm(campaign, 1, 8)
    assert {*again.seeds} < {*more.seeds} and len(more.seeds) == 8
    assert more.verdict.error_share == pytest.approx(0.05)


def test_a_fixed_seed_hides_the_noise_and_is_not_called_better(noisy: Path, make_campaign: Make) -> None:
    fixed = edit('rng = random.Random(int(os.environ.get("HARNESS_SEED", "0")))', "rng = random.Random(137)")
    lucky = edit("loss, speed = 1.0 +", "loss, speed = 0.99 +")
    script = {"run 1, attempt 1": {"text": "", "edits": [*fixed["edits"], *lucky["edits"]]}, "run 2, attempt 1": DONE}
    _, first = run(make_campaign(script))
    assert first.verdict.kind in ("inconclusive", "not_significant", "worse")
    if len(first.seeds) > 1:
        assert "noise is unknown" in first.verdict.why


def test_a_control_has_as_many_seeds_as_it_takes(noisy: Path, make_campaign: Make) -> None:
    more = {"text": "HYPOTHESIS: more steps.", "edits": [*BETTER["edits"], ["experiment.py", '"steps": 40', '"steps": 60']]}
    _, first = run(make_campaign({"run 1, attempt 1": more, "run 2, attempt 1": DONE}))
    assert first.control.seeds == [0, 1, 2]
    assert first.verdict.against_baseline.reference == "control steps=60"
    assert first.verdict.kind == "improved"


def test_an_idea_may_vary_a_setting_if_it_says_so(noisy: Path, make_campaign: Make) -> None:
    vary = edit('"steps": 40', '"steps": 60', "HYPOTHESIS: more steps are better.\nVARIES: steps")
    _, first = run(make_campaign({"run 1, attempt 1": vary, "run 2, attempt 1": DONE}))
    assert first.control is None
    assert first.verdict.against_baseline.reference == "run_0"


def test_baseline_seeds_are_kept_for_the_next_campaign(fresh: Path, make_campaign: Make) -> None:
    few_baseline_seeds(fresh)
    first = make_campaign({"run 1, attempt 1": DONE})
    second = make_campaign({"run 1, attempt 1": DONE})
    values = run(first)[0].metrics["loss"].values
    assert run(second)[0].metrics["loss"].values == values

    def kept(campaign: Campaign) -> int:
        done = [e for e in read_events(campaign.journal) if e["event"] == "done" and "/seed_" in e["step"]]
        assert len(done) == 3
        return sum(e["result"].get("from_cache", False) for e in done)

    assert (kept(first), kept(second)) == (0, 3)


def test_another_code_has_other_kept_seeds(fresh: Path, make_campaign: Make) -> None:
    few_baseline_seeds(fresh)
    values = run(make_campaign({"run 1, attempt 1": DONE}))[0].metrics["loss"].values
    code = fresh / "experiment.py"
    code.write_text(code.read_text().replace("speed = 1.0 +", "speed = 2.0 +"))
    other = run(make_campaign({"run 1, attempt 1": DONE}))[0].metrics["loss"].values
    assert all(b == pytest.approx(a + 1) for a, b in zip(values, other, strict=True))


def test_the_agent_says_where_the_next_run_starts(noisy: Path, make_campaign: Make) -> None:
    stay = NOTHING | {"text": "HYPOTHESIS: x.\n\nSTART FROM: run 1"}
    back = edit("loss, speed = 1.0 +", "rng.random()\nloss, speed = 1.0 +", "HYPOTHESIS: y.\n**START FROM: baseline**")
    plain = edit("loss, speed = 1.0 +", "rng.random()\nrng.random()\nrng.random()\nloss, speed = 1.0 +")
    script = {"run 1, attempt 1": stay, "run 2, attempt 1": back, "run 3, attempt 1": plain}
    records = run(make_campaign(script, max_runs=3))
    assert [record.parent for record in records] == [None, 0, 1, 0]


def test_the_conclusion_stands_at_the_end_of_the_notes(noisy: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE})
    run(campaign)
    end = campaign.notes.read_text().split("=== The end")[1]
    assert "Supported: run 1 improves loss, 0.8" in " ".join(end.split())
    assert "1 improved" in end
    assert json.loads((campaign.run_folder(1) / "record.json").read_text())["verdict"]["kind"] == "improved"


def test_more_seeds_can_be_asked_for_later(noisy: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": NOTHING, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    seeds = len(first.seeds)
    ending = go_on(campaign, view=Silent(), stop=Stop(), confirm=(1, 6))
    assert (ending.reason, ending.exit_code) == ("confirmed", 0)
    again = campaign.read_records()[1]
    assert (len(again.seeds), again.earlier_verdicts) == (6, [first.verdict])
    assert seeds == 3
    assert again.seconds > first.seconds
    assert next_steps(read_status(Layout(campaign.root)), "small")[0] == ("harness resume small", "goes on")
    assert again.verdict.kind == "not_significant"
    with pytest.raises(InputError, match="only a run that was completed here"):
        go_on(campaign, view=Silent(), stop=Stop(), confirm=(7, 6))
    assert go_on(campaign, view=Silent(), stop=Stop()).reason == "all_completed"  # it goes on as before


# --- second looks -----------------------------------------------------------------------------------------------------


def confirm(campaign: Campaign, run: int, seeds: int) -> Any:
    ending = go_on(campaign, view=Silent(), stop=Stop(), confirm=(run, seeds))
    assert ending.reason == "confirmed", ending
    return campaign.read_records()[run]


def the_end(campaign: Campaign) -> str:
    """What the notes close with."""
    return " ".join(campaign.notes.read_text().split("=== The end")[1].split())


def executed(campaign: Campaign) -> list[str]:
    return [e["step"] for e in read_events(campaign.journal) if e["event"] == "done" and "outcome" in str(e["result"])]


def nothings(count: int) -> dict[str, Any]:
    """Runs that do nothing, each in another way."""
    return {
        f"run {n}, attempt 1": edit(
            "loss, speed = 1.0 +", "rng.random()\n" * n + "loss, speed = 1.0 +", "HYPOTHESIS: x.\nSTART FROM: baseline"
        )
        for n in range(1, count + 1)
    }


def test_second_looks_never_cost_more_than_the_reserve_in_whatever_order(noisy: Path, make_campaign: Make) -> None:
    campaign = make_campaign(nothings(3), max_runs=3)
    run(campaign)
    shares = [confirm(campaign, each, 4).verdict.error_share for each in (3, 2, 1)]
    assert shares == pytest.approx([0.05, 0.1 / 6, 0.1 / 12])
    looks = [look for record in campaign.read_records() for look in (*record.earlier_verdicts, record.verdict)]
    assert sum(look.error_share for look in looks) <= 1


def test_more_seeds_of_the_baseline_decide_nothing_again(noisy: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    before = the_end(campaign)
    assert len(confirm(campaign, 0, 14).seeds) == 14
    assert the_end(campaign).split("Verdicts")[0] == before.split("Verdicts")[0]
    again = confirm(campaign, 1, 3)  # no new seed of its own; those of the baseline make it another look
    assert (again.earlier_verdicts, again.verdict.error_share) == ([first.verdict], pytest.approx(0.05))
    assert again.verdict.against_baseline.reference_seeds == 14
    assert confirm(campaign, 1, 3) == again  # and nothing is new here


def test_a_look_that_could_compare_nothing_costs_nothing_ever(noisy: Path, make_campaign: Make) -> None:
    contract = noisy / "experiment.toml"
    contract.write_text(contract.read_text().replace("baseline_seeds = 10\nrun_seeds = [1, 3]", "run_seeds = [1]"))
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    assert (first.verdict.kind, first.verdict.error_share) == ("inconclusive", 0)
    confirm(campaign, 0, 6)
    assert "Inconclusive" in the_end(campaign)
    again = confirm(campaign, 1, 3)
    assert (again.verdict.kind, again.verdict.error_share) == ("improved", pytest.approx(0.45))


def test_an_improvement_that_more_seeds_take_back_is_taken_back_in_the_conclusion(noisy: Path, make_campaign: Make) -> None:
    lucky = edit("loss, speed = 1.0 +", 'loss, speed = (0.8, 1.1)[int(os.environ["HARNESS_SEED"]) > 2] +')
    campaign = make_campaign({"run 1, attempt 1": lucky, "run 2, attempt 1": DONE})
    assert run(campaign)[1].verdict.kind == "improved"
    assert confirm(campaign, 1, 9).verdict.kind == "not_significant"
    assert "Not supported: the only valid run does not significantly improve loss; run 1 has" in the_end(campaign)


def test_an_improvement_that_is_confirmed_is_told_once(noisy: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": DONE})
    run(campaign)
    assert confirm(campaign, 1, 5).verdict.kind == "improved"
    assert the_end(campaign).count("run 1 improves loss") == 1


ALMOST = edit("loss, speed = 1.0 +", "loss, speed = 0.95 +")
"""More than one seed can show."""


def one_seed_a_run(experiment: Path) -> None:
    contract = experiment / "experiment.toml"
    contract.write_text(contract.read_text().replace("run_seeds = [1, 3]", "run_seeds = [1]"))


def started_from(campaign: Campaign, record: Any) -> bool:
    """Whether the code that a run's agent was given is that of the run that is named as its parent."""
    repository = Repository(campaign.root, campaign.local)
    base = next(
        e for e in read_events(campaign.journal) if e.get("step") == f"run_{record.run}/attempt_1/turn" and "result" in e
    )
    parent = campaign.read_records()[record.parent]
    return repository.files(base["result"]["base"], ["experiment.py"]) == repository.files(parent.commit, ["experiment.py"])


@pytest.mark.parametrize("script", ["better from the start", "taken back"])
def test_after_a_second_look_the_next_run_starts_from_what_is_the_best_now(
    noisy: Path, make_campaign: Make, script: str
) -> None:
    lucky = edit("loss, speed = 1.0 +", 'loss, speed = (0.8, 1.1)[int(os.environ["HARNESS_SEED"]) > 0] +')
    change, before, after = (ALMOST, 0, 1) if script == "better from the start" else (lucky, 1, 0)
    one_seed_a_run(noisy)
    further = edit("rng.gauss(0, 0.02)", "rng.gauss(0, 0.021)")
    campaign = make_campaign({"run 1, attempt 1": change, "run 2, attempt 1": further}, max_runs=1)
    _, first = run(campaign)
    assert (first.verdict.kind == "improved") == (before == 1)
    assert (confirm(campaign, 1, 10).verdict.kind == "improved") == (after == 1)
    assert f"The code is that of run {after}" in next_brief_of(campaign)
    assert go_on(campaign, view=Silent(), stop=Stop(), changes={"max_runs": 2}).exit_code == 0
    second = campaign.read_records()[2]
    assert second.parent == after
    assert started_from(campaign, second)
    assert (
        Measurements(OpenCampaign.begin(campaign, Journal(campaign.journal), Silent(), Stop())).measured_run(2).parent.run
        == after
    )


def next_brief_of(campaign: Campaign) -> str:
    Journal(campaign.journal).append("options", changes={"max_runs": 2})
    return next_brief(campaign)


def test_a_run_that_has_begun_keeps_the_parent_that_it_started_from(noisy: Path, make_campaign: Make) -> None:
    one_seed_a_run(noisy)
    nothing = {"text": "I thought about it."}
    campaign = make_campaign({"run 1, attempt 1": ALMOST, "run 2, attempt 1": nothing})
    assert go_on(campaign, view=Silent(), stop=Stop()).reason == "session_over"
    assert confirm(campaign, 1, 10).verdict.kind == "improved"
    session = json.loads(campaign.replayed.read_text()) | {"run 2, attempt 2": NOTHING}
    campaign.replayed.write_text(json.dumps(session))
    second = run(campaign)[2]
    assert second.parent == 0
    assert started_from(campaign, second)


@pytest.mark.parametrize("committed", [False, True])
def test_a_persons_change_stays_with_the_code_that_it_was_made_in(noisy: Path, make_campaign: Make, committed: bool) -> None:
    one_seed_a_run(noisy)
    script = {"run 1, attempt 1": ALMOST, "run 2, attempt 1": {"text": "HYPOTHESIS: x."}}
    campaign = make_campaign(script, max_runs=1)
    run(campaign)
    code = campaign.root / "experiment.py"
    theirs = code.read_text().replace("rng.gauss(0, 0.02)", "rng.gauss(0, 0.021)")
    code.write_text(theirs)
    if committed:
        git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "commit", "--quiet", "-a", "-m", "mine"]
        subprocess.run(git, cwd=campaign.root, check=True)
    assert confirm(campaign, 1, 10).verdict.kind == "improved"
    assert code.read_text() == theirs
    assert go_on(campaign, view=Silent(), stop=Stop(), changes={"max_runs": 2}).exit_code == 0
    second = campaign.read_records()[2]
    assert (second.parent, second.attempts[0].by_person) == (0, True)


@pytest.mark.slow
def test_a_second_look_that_is_killed_leaves_no_run_with_a_wrong_parent(
    noisy: Path, make_campaign: Make, tmp_path: Path
) -> None:
    one_seed_a_run(noisy)
    further = edit("rng.gauss(0, 0.02)", "rng.gauss(0, 0.021)")
    campaign = make_campaign({"run 1, attempt 1": ALMOST, "run 2, attempt 1": further}, max_runs=1)
    run(campaign)
    seen = tmp_path / "seen"
    later = [
        *(f"after close {what}" for what in ("blob", "tree", "commit")),
        *(f"{when} close {what}" for when in ("before", "after") for what in ("update-ref", "read-tree")),
    ]
    seen.write_text("".join(f"{point}\n" for point in later[1:]))
    copies = tmp_path / "copies"
    command = [sys.executable, "-m", "tests.drive", str(campaign.root), str(seen), "git", "1", "10", str(copies)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stdout + done.stderr
    points = seen.read_text().splitlines()
    assert len(list(copies.iterdir())) == int(done.stdout.split()[-1]) > 0
    for folder in copies.iterdir():
        copy = Campaign(folder)
        assert go_on(copy, view=Silent(), stop=Stop(), changes={"max_runs": 2}).exit_code == 0
        second = copy.read_records()[2]
        assert started_from(copy, second)
    assert any("start_code/run_2/0" in point for point in points)


def test_a_recorded_run_is_executed_no_more(noisy: Path, make_campaign: Make) -> None:
    more = edit('"steps": 40', '"steps": 60', "HYPOTHESIS: more steps.")
    campaign = make_campaign({"run 1, attempt 1": more, "run 2, attempt 1": DONE}, controls=False)
    _, first = run(campaign)
    assert first.verdict.kind == "not_comparable"
    confirm(campaign, 1, 2)
    before = executed(campaign)
    assert go_on(campaign, view=Silent(), stop=Stop(), changes={"controls": True}).reason == "all_completed"
    assert executed(campaign) == before


def test_a_promising_run_that_was_confirmed_gets_no_seeds_that_no_record_holds(noisy: Path, make_campaign: Make) -> None:
    contract = noisy / "experiment.toml"
    contract.write_text(contract.read_text().replace("run_seeds = [1, 3]", "run_seeds = [1, 8]"))
    worse = edit("loss, speed = 1.0 +", 'loss, speed = (1.1, 0.8)[int(os.environ["HARNESS_SEED"]) > 0] +')
    campaign = make_campaign({"run 1, attempt 1": worse, "run 2, attempt 1": DONE})
    assert len(run(campaign)[1].seeds) == 1
    assert len(confirm(campaign, 1, 3).seeds) == 3
    before = executed(campaign)
    assert go_on(campaign, view=Silent(), stop=Stop()).reason == "all_completed"
    assert executed(campaign) == before


# --- what a run gives away --------------------------------------------------------------------------------------------


def test_small_falls_of_a_guard_do_not_add_up_unseen(noisy: Path, make_campaign: Make) -> None:
    step = edit("1.0 + rng.gauss(0, 0.02), 5.0", "0.8 + rng.gauss(0, 0.02), 4.6")
    further = edit("0.8 + rng.gauss(0, 0.02), 4.6", "0.6 + rng.gauss(0, 0.02), 4.2")
    _, first, second = run(make_campaign({"run 1, attempt 1": step, "run 2, attempt 1": further}))
    assert (first.verdict.kind, first.verdict.guard_violations, second.parent) == ("improved", [], 1)
    assert (second.verdict.kind, second.verdict.guard_violations) == (
        "trade_off",
        ["speed −0.8 against the baseline (limit −0.5)"],
    )
    assert "speed −0.8 against the baseline (limit −0.5)" in second.verdict.why


def test_what_a_run_gave_away_is_not_free_for_the_one_that_starts_from_it(noisy: Path, make_campaign: Make) -> None:
    paid = edit("1.0 + rng.gauss(0, 0.02), 5.0", "0.8 + rng.gauss(0, 0.02), 4.0", "HYPOTHESIS: x.\n\nSTART FROM: run 1")
    further = edit("0.8 + rng.gauss(0, 0.02), 4.0", "0.6 + rng.gauss(0, 0.02), 4.0")
    campaign = make_campaign({"run 1, attempt 1": paid, "run 2, attempt 1": further})
    _, first, second = run(campaign)
    assert (first.verdict.kind, second.parent) == ("trade_off", 1)
    assert (second.verdict.kind, second.verdict.guard_violations) == (
        "trade_off",
        ["speed −1 against the baseline (limit −0.5)"],
    )
    assert "Trade-off: run " in the_end(campaign)


# --- seeds that are none ----------------------------------------------------------------------------------------------


def test_a_seed_that_is_fixed_in_a_part_holds_back_improved_there_and_in_what_starts_from_it(
    noisy: Path, make_campaign: Make
) -> None:
    part = edit(
        "loss, speed = 1.0 + rng.gauss(0, 0.02)",
        "loss, speed = 0.8 + rng.gauss(0, 0.01) + random.Random(3).gauss(0, 0.01)",
        "HYPOTHESIS: x.\n\nSTART FROM: run 1",
    )
    nothing = edit("loss, speed = 0.8 +", "rng.random()\nloss, speed = 0.8 +")
    campaign = make_campaign({"run 1, attempt 1": part, "run 2, attempt 1": nothing})
    _, first, second = run(campaign)
    assert (first.verdict.kind, second.parent) == ("inconclusive", 1)
    assert "but inconclusive: experiment.py, line" in first.verdict.why and "is a fixed seed" in first.verdict.why
    assert any("random.Random(3)" in warning for warning in second.warnings)
    assert "Inconclusive: run 2 improves loss" in the_end(campaign)


# --- where nothing can be said ----------------------------------------------------------------------------------------


def test_a_setting_that_a_run_does_not_report_gets_no_control(noisy: Path, make_campaign: Make) -> None:
    silent = edit('"settings": settings | {"steps": steps}', '"settings": {"rate": settings["rate"]}')
    silent["edits"] += BETTER["edits"]
    campaign = make_campaign({"run 1, attempt 1": silent, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    assert first.control is None
    assert (first.verdict.kind, first.verdict.why) == ("not_comparable", "steps not reported against 40 (run 0)")
    assert not any("control" in step for step in executed(campaign))


def test_a_noise_profile_that_no_longer_fits_is_said_in_the_record(noisy: Path, make_campaign: Make) -> None:
    few_baseline_seeds(noisy)
    contract = noisy / "experiment.toml"
    stored = contract.read_text() + "noise = { loss = { sd = 0.002, seeds = 60 } }\n"
    contract.write_text(stored)
    script = {"run 1, attempt 1": NOTHING, "run 2, attempt 1": DONE}
    method = run(make_campaign(script))[1].verdict.against_baseline.method
    assert "the stored noise profile does not fit the baseline's seeds and is left out" in method
    contract.write_text(stored.replace("0.002", "0.02"))
    method = run(make_campaign(script))[1].verdict.against_baseline.method
    assert "with the stored noise profile" in method and "left out" not in method


def test_where_noise_is_unknown_the_next_run_starts_from_the_best_number(noisy: Path, make_campaign: Make) -> None:
    contract = noisy / "experiment.toml"
    contract.write_text(contract.read_text().replace("baseline_seeds = 10\nrun_seeds = [1, 3]", "run_seeds = [1]"))
    script = {
        "run 1, attempt 1": edit("loss, speed = 1.0 +", "loss, speed = 1.3 +"),
        "run 2, attempt 1": BETTER,
        "run 3, attempt 1": edit("loss, speed = 0.8 +", "loss, speed = 0.9 +"),
        "run 4, attempt 1": edit("loss, speed = 0.8 +", "loss, speed = 0.7 +"),
    }
    campaign = make_campaign(script, max_runs=4)
    records = run(campaign)
    assert {record.verdict.kind for record in records[1:]} == {"inconclusive"}
    assert [record.parent for record in records] == [None, 0, 0, 2, 2]
    said = (campaign.attempt_folder(4, 1) / "brief.md").read_text()
    assert "The code is that of run 2, whose verdict is inconclusive." in said
