"""Compute is measured from outside, and is a guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution.executors.processor_time import Counter
from harness.report.campaign_data import read_campaign_data
from harness.report.paper.render_md import render_md
from harness.report.paper.writeup import compose
from harness.report.terminal.record_page import record
from harness.statistics.compute import TOO_SHORT, compute_excess, multiple
from tests.executing import Workshop

BURN = "import time\nwhile time.process_time() < 1.5: pass\n"


@pytest.mark.parametrize(
    "code",
    [
        BURN,
        "import os\nif os.fork() == 0:\n    import time\n    while time.process_time() < 1.5: pass\nelse:\n    os.wait()",
        # what is never waited for, and its parent says that it never will be
        "import os, signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nread, write = os.pipe()\nif os.fork() == 0:\n"
        "    import time\n    while time.process_time() < 1.5: pass\nelse:\n    os.close(write)\n    os.read(read, 1)",
    ],
)
def test_processor_seconds_are_those_of_the_whole_process_tree(tmp_path: Path, sandboxed: str, code: str) -> None:
    outcome = Workshop(tmp_path).run_python(code)
    assert outcome.ended == "ok"
    assert outcome.processor_seconds is not None and outcome.processor_seconds > 0.7


@pytest.mark.skipif(not Counter().is_there, reason="the kernel lets no user count (kernel.perf_event_paranoid)")
def test_processes_that_end_between_two_looks_and_that_nobody_waits_for_are_counted(tmp_path: Path, sandboxed: str) -> None:
    code = (
        "import os, signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor i in range(60):\n"
        "    read, write = os.pipe()\n    if os.fork() == 0:\n        begun = time.process_time()\n"
        "        while time.process_time() < begun + 0.02: pass\n        os._exit(0)\n"
        "    os.close(write)\n    os.read(read, 1)\n    os.close(read)\n"
    )
    outcome = Workshop(tmp_path).run_python(code)
    assert outcome.ended == "ok"
    assert outcome.processor_seconds is not None and outcome.processor_seconds >= 1.2


def test_more_compute_than_the_tolerance_is_an_excess_unless_it_is_too_short_to_compare() -> None:
    found = compute_excess([19.0, 20.0, 18.0], [10.0, 9.0, 11.0], 1.5)
    assert str(found) == "at 1.9x compute (19 s of processor time against 10 s; limit 1.5x)"
    assert compute_excess([14.0], [10.0], 1.5) is None
    assert compute_excess([0.9 * TOO_SHORT], [0.1], 1.5) is None
    assert compute_excess([19.0], [], 1.5) is None and compute_excess([], [10.0], 1.5) is None


def test_compute_at_a_minority_of_the_seeds_counts_and_what_a_reference_compiled_once_lets_no_run_spend_more() -> None:
    """An execution knows its seed: it could train ten times as long at two of five seeds, and the median would not move."""
    assert str(compute_excess([10.0, 100.0, 10.0, 100.0, 10.0], [10.0] * 5, 1.5)).startswith("at 4.6x compute")
    assert compute_excess([10.0, 13.0, 10.0], [10.0] * 3, 1.5) is None
    assert compute_excess([20.0] * 3, [90.0, 10.0, 10.0], 1.5) is not None
    assert multiple([10.0, 40.0], [10.0, 10.0]) == 2.5
    assert multiple([], [10.0]) is None and multiple([10.0], [0.0]) is None
    assert multiple([0.9 * TOO_SHORT], [0.1]) == 1.0  # chance on a loaded machine: the paper had a column for it


def test_the_best_of_many_trainings_inside_a_run_and_hidden_epochs_are_a_trade_off(
    experiment: Path, make_campaign: Callable[..., Campaign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    toml = experiment / "experiment.toml"
    toml.write_text(toml.read_text() + "baseline_seeds = 2\nnoise = { loss = { sd = 0.02, seeds = 60 } }\n")
    code = experiment / "experiment.py"
    code.write_text(code.read_text().replace('print("done", x * x)', "x = 1.0 + rng.gauss(0, 0.01)\nprint('done', x)"))
    # Its steps are reported as they were: nothing in what the run says of itself tells of the others.
    hidden = "import time\nwhile time.process_time() < 3.5: pass\nx = 0.5 + rng.gauss"
    script = {"text": "HYPOTHESIS: x.", "edits": [["experiment.py", "x = 1.0 + rng.gauss", hidden]]}
    campaign = make_campaign({"run 1, attempt 1": script, "run 2, attempt 1": {"text": "ALL_COMPLETED"}})
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    baseline, first = campaign.read_records()
    assert first.verdict.kind == "trade_off"
    assert len(baseline.processor_seconds) == 2 and len(first.processor_seconds) == 1 and first.processor_seconds[0] >= 3
    [violation] = first.verdict.guard_violations
    assert violation.startswith("at ") and "x compute (" in violation
    end = " ".join(campaign.notes.read_text().split("=== The end")[1].split())
    assert "Trade-off: run 1 improves loss" in end and f", but {violation}" in end
    contract = campaign.facts()["contract"]
    page = record(first.model_dump(), baseline.model_dump(), contract, 100)
    assert "s of processor time an execution (median), at most" in page and "GB of memory" in page
    paper = render_md(compose(read_campaign_data(campaign), ""), "figures")
    assert "Compute" in paper and violation.split(" compute")[0].removeprefix("at ") in paper
