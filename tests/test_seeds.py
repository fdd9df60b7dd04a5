"""Campaigns whose verdicts rest on measured noise: seeds of the baseline, of promising runs, and controls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.campaign import Campaign
from harness.journal import read_events
from harness.loop import go_on
from harness.stop import Stop
from harness.view import Silent

Make = Callable[..., Campaign]


@pytest.fixture
def noisy(experiment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The small experiment with seeds: ten of the baseline, up to ten of a run."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    code = (experiment / "experiment.py").read_text()
    code = code.replace('"metrics": {"loss": x * x, "distance": abs(x)}', '"metrics": {"loss": loss, "speed": speed}')
    code = code.replace('print("done", x * x)', "loss, speed = 1.0 + rng.gauss(0, 0.02), 5.0\nprint('done', loss)")
    (experiment / "experiment.py").write_text(code)
    contract = (experiment / "experiment.toml").read_text()
    contract = contract.replace('name = "distance"\nbetter = "lower"', 'name = "speed"\nbetter = "higher"\nguard = 0.5')
    (experiment / "experiment.toml").write_text(contract + "baseline_seeds = 10\nrun_seeds = [1, 3]\n")
    return experiment


def edit(old: str, new: str, text: str = "HYPOTHESIS: the loss falls.") -> dict[str, Any]:
    return {"text": text, "edits": [["experiment.py", old, new]]}


def run(campaign: Campaign) -> list[Any]:
    ending = go_on(campaign, view=Silent(), stop=Stop())
    assert ending.exit_code == 0, ending
    return campaign.read_records()


BETTER = edit("loss, speed = 1.0 +", "loss, speed = 0.8 +")
NOTHING = edit("loss, speed = 1.0 +", "rng.random()\nloss, speed = 1.0 +")
DONE = {"text": "ALL_COMPLETED"}


def test_a_real_improvement_is_found_and_a_nothing_on_top_of_it_is_not(noisy: Path, make_campaign: Make) -> None:
    nothing = edit("loss, speed = 0.8 +", "rng.random()\nloss, speed = 0.8 +")
    baseline, first, second = run(make_campaign({"run 1, attempt 1": BETTER, "run 2, attempt 1": nothing}))
    assert len(baseline.seeds) == len(baseline.metrics["loss"].values) == 10
    assert (first.verdict.kind, first.seeds) == ("improved", [0, 1, 2])
    assert first.verdict.against_baseline.p < 0.001
    assert first.verdict.against_baseline.low < -0.2 < first.verdict.against_baseline.high
    # far above the baseline, and nothing on top of its parent
    assert second.parent == 1
    assert second.verdict.kind in ("within_noise", "worse")


def test_a_change_that_does_nothing_is_not_called_better(noisy: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": NOTHING, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    assert first.verdict.kind == "within_noise"
    assert "Not supported" in campaign.notes.read_text()


def test_an_improvement_that_costs_too_much_is_traded_off(noisy: Path, make_campaign: Make) -> None:
    paid = edit("loss, speed = 1.0 + rng.gauss(0, 0.02), 5.0", "loss, speed = 0.8 + rng.gauss(0, 0.02), 4.0")
    campaign = make_campaign({"run 1, attempt 1": paid, "run 2, attempt 1": NOTHING})
    _, first, second = run(campaign)
    assert "Supported at a price" in campaign.notes.read_text()
    assert first.verdict.kind == "traded_off"
    assert first.verdict.falls == ["speed -1.0 (limit -0.5)"]
    assert second.parent == 0  # not accepted, so not built upon


def test_one_seed_of_three_that_crashes_leaves_no_improvement(noisy: Path, make_campaign: Make) -> None:
    crash = edit(
        "loss, speed = 1.0 +", 'assert os.environ["HARNESS_SEED"] != "1", "seed 1 crashes"\nloss, speed = 0.8 +'
    )
    campaign = make_campaign({"run 1, attempt 1": crash, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    assert "Supported" not in campaign.notes.read_text()
    assert first.seeds == [0, 2]
    assert first.verdict.kind == "undecided"
    assert any("seed 1 crashes" in warning for warning in first.warnings)


def test_a_fixed_seed_hides_the_noise_and_is_not_called_better(noisy: Path, make_campaign: Make) -> None:
    fixed = edit('rng = random.Random(int(os.environ.get("HARNESS_SEED", "0")))', "rng = random.Random(137)")
    lucky = edit("loss, speed = 1.0 +", "loss, speed = 0.99 +")
    script = {"run 1, attempt 1": {"text": "", "edits": [*fixed["edits"], *lucky["edits"]]}, "run 2, attempt 1": DONE}
    _, first = run(make_campaign(script))
    assert first.verdict.kind in ("undecided", "within_noise", "worse")
    if len(first.seeds) > 1:
        assert "noise is unknown" in first.verdict.why


def test_a_control_has_as_many_seeds_as_it_takes(noisy: Path, make_campaign: Make) -> None:
    more = {
        "text": "HYPOTHESIS: more steps.",
        "edits": [*BETTER["edits"], ["experiment.py", '"steps": 40', '"steps": 60']],
    }
    _, first = run(make_campaign({"run 1, attempt 1": more, "run 2, attempt 1": DONE}))
    assert first.control.seeds == [0, 1, 2]
    assert first.verdict.against_baseline.reference == "control steps=60"
    assert first.verdict.kind == "improved"


def test_an_idea_may_vary_a_setting_if_it_says_so(noisy: Path, make_campaign: Make) -> None:
    vary = edit('"steps": 40', '"steps": 60', "HYPOTHESIS: more steps are better.\nVARIES: steps")
    _, first = run(make_campaign({"run 1, attempt 1": vary, "run 2, attempt 1": DONE}))
    assert first.control is None
    assert first.verdict.against_baseline.reference == "run_0"


def test_baseline_seeds_are_kept_for_the_next_campaign(noisy: Path, make_campaign: Make) -> None:
    first = make_campaign({"run 1, attempt 1": DONE})
    second = make_campaign({"run 1, attempt 1": DONE})
    values = run(first)[0].metrics["loss"].values
    assert run(second)[0].metrics["loss"].values == values

    def kept(campaign: Campaign) -> int:
        done = [e for e in read_events(campaign.journal) if e["event"] == "done" and "/seed_" in e["step"]]
        assert len(done) == 9
        return sum(e["result"].get("kept", False) for e in done)

    assert (kept(first), kept(second)) == (0, 9)


def test_another_code_has_other_kept_seeds(noisy: Path, make_campaign: Make) -> None:
    values = run(make_campaign({"run 1, attempt 1": DONE}))[0].metrics["loss"].values
    code = noisy / "experiment.py"
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
    assert "Supported. run_1: loss 0.8" in " ".join(end.split())
    assert "1 improved" in end
    assert json.loads((campaign.run_folder(1) / "record.json").read_text())["verdict"]["kind"] == "improved"


def test_more_seeds_can_be_asked_for_later(noisy: Path, make_campaign: Make) -> None:
    campaign = make_campaign({"run 1, attempt 1": NOTHING, "run 2, attempt 1": DONE})
    _, first = run(campaign)
    seeds = len(first.seeds)
    ending = go_on(campaign, view=Silent(), stop=Stop(), confirm=(1, 6))
    assert (ending.reason, ending.exit_code) == ("confirmed", 0)
    again = campaign.read_records()[1]
    assert (len(again.seeds), again.looks) == (6, [seeds])
    assert again.verdict.kind == "within_noise"
    assert go_on(campaign, view=Silent(), stop=Stop(), confirm=(7, 6)).exit_code == 4
    assert go_on(campaign, view=Silent(), stop=Stop()).reason == "all_completed"  # it goes on as before
