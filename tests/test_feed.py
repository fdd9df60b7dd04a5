"""A process makes rows beside each execution: it sees the truth, the execution its rows alone, and both end together."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.cli.doctor import diagnose
from harness.cli.main import cli
from harness.continuation import go_on
from harness.execution import feed
from harness.execution.scoring import lab_cache
from harness.loop import Ending
from tests.test_resume import drive, start
from tests.waiting import HANGS, until

CONTRACT = """
editable = ["experiment.py"]
files = ["toylab"]
comparable = ["size"]
scorer = ["python", "-m", "toylab.score", "{out_dir}/model.json", "{scores}"]
limits = { time = "20m", smoke_time = "20m" }
metric = [{ name = "error", sources = ["toy.error"], better = "lower", primary = true }]

[profiles.toy]
settings = { size = 6 }
feed = ["python", "-m", "toylab.feed"]
"""
FEED = """
import json, os, socket, time
from pathlib import Path
secret = int((Path(os.environ["HARNESS_LAB_CACHE"]) / "truth" / "secret").read_text())
with socket.socket(socket.AF_UNIX) as server:
    server.bind(".rows")
    server.listen(1)
    os.rename(".rows", "rows")
    end, _ = server.accept()
for number in range(6):
    try:
        end.sendall(bytes([secret]))
        said = end.recv(1)
    except OSError:
        said = b""
    if said == b"f":
        raise SystemExit("feed: the generator has failed")
    if not said:
        break
    Path("fed.json").write_text(json.dumps({"rows": number + 1, "planned": 6}))
"""
SCORE = """
import json, sys
from pathlib import Path
error = json.loads(Path(sys.argv[1]).read_text())["error"]
Path(sys.argv[2], "toy.json").write_text(json.dumps({"eval_type_id": "toy", "eval_result_metrics": {"scores": {"error": error}}}))
"""
EXPERIMENT = """
import json, os, socket, sys, time
from pathlib import Path
MOST = 6
here, out = os.getcwd(), Path(sys.argv[1].partition("=")[2]).absolute()
end = socket.socket(socket.AF_UNIX)
os.chdir(os.environ["HARNESS_FEED"])
while not os.path.exists("rows"):
    time.sleep(0.02)
end.connect("rows")
os.chdir(here)
rows = []
for number in range(MOST):
    rows += end.recv(1)
    end.sendall(b"t")
try:
    seen = (Path(os.environ["HARNESS_LAB_CACHE"]) / "truth" / "secret").read_text()
except OSError:
    seen = ""
(out / "model.json").write_text(json.dumps({"error": sum(rows) + bool(seen)}))
(out / "final_info.json").write_text(json.dumps({"settings": {"size": len(rows)}, "metrics": {"seen": int(bool(seen))}}))
"""


def edit(old: str, new: str) -> dict[str, object]:
    assert old in EXPERIMENT
    return {"text": "HYPOTHESIS: less.", "edits": [["experiment.py", old, new]]}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Campaign]:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_LAB_CACHE", raising=False)
    (lab_cache() / "truth").mkdir(parents=True)
    (lab_cache() / "truth" / "secret").write_text("7")

    def made(*attempts: dict[str, object], experiment: str = EXPERIMENT, **options: object) -> Campaign:
        folder = tmp_path / "experiment"
        (folder / "toylab").mkdir(parents=True)
        for name, content in (("__init__", ""), ("feed", FEED), ("score", SCORE)):
            (folder / "toylab" / f"{name}.py").write_text(content)
        (folder / "experiment.py").write_text(experiment)
        (folder / "experiment.toml").write_text(CONTRACT)
        script = {f"run {run}, attempt 1": attempt for run, attempt in enumerate(attempts, 1)}
        (tmp_path / "script.json").write_text(json.dumps(script))
        given = {"agent": "tests.scripted:ScriptedAgent", "max_runs": len(attempts) or 1, "max_attempts": 1} | options
        idea = Idea(Name="fed", Title="Less error", Experiment="Make the error smaller.")
        session = tmp_path / "script.json"
        return create_campaign(tmp_path / "runs", idea, folder, Options(**given), python=sys.executable, session=session)

    return made


def end(made: Campaign) -> Ending:
    return go_on(made, view=Silent(), stop=Stop())


def left_of(made: Campaign) -> list[Path]:
    return [path for path in (made.local / "executions").glob("*") if path.name.endswith(".feed")]


@pytest.mark.usefixtures("sandboxed")
def test_an_execution_has_its_rows_and_sees_nothing_of_what_they_are_made_from(make: Callable[..., Campaign]) -> None:
    made = make(edit("MOST = 6", "MOST = 3 + 3"))
    assert end(made).exit_code == 0
    records = made.read_records()
    assert [record.metrics["error"].value for record in records] == [42, 42]
    shown = [json.loads((made.run_folder(number) / "final_info.json").read_text())["metrics"]["seen"] for number in (0, 1)]
    assert shown == [0, 0]
    assert not any("planned rows" in warning for record in records for warning in record.warnings)
    assert left_of(made) == []


def test_how_many_rows_it_took_is_counted_by_who_made_them_and_a_feed_that_fails_is_no_result(
    make: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_LAST_WORDS", HANGS)  # here each of them ends by itself
    fails = edit(
        '    end.sendall(b"t")\n', '    end.sendall(b"f" if number == 3 else b"t")\n    if number == 3:\n        break\n'
    )
    made = make(edit("MOST = 6", "MOST = 5"), fails)
    assert end(made).exit_code == 0
    fewer, failed = made.read_records()[1:]
    assert fewer.metrics["error"].value == 35
    assert [warning for warning in fewer.warnings if "planned rows" in warning] == [
        "5 of 6 planned rows were handed over to it"
    ]
    assert [(attempt.status, attempt.why) for attempt in failed.attempts] == [
        ("crashed", "what makes its rows ended: exit code 1: feed: the generator has failed")
    ]
    assert left_of(made) == []


def test_an_execution_and_its_rows_outlive_the_harness(make: Callable[..., Campaign], counter: Path, tmp_path: Path) -> None:
    waits = f"""
    if number == 2:
        with open({str(counter)!r}, "a") as file:
            file.write("x")
        while not Path({str(tmp_path / "gate")!r}).exists():
            time.sleep(0.05)
    rows += end.recv(1)
"""
    made = make(edit("MOST = 6", "MOST = 3 + 3"), experiment=EXPERIMENT.replace("    rows += end.recv(1)\n", waits))
    harness = start(made)
    until(counter.exists)
    os.kill(harness.pid, signal.SIGKILL)
    harness.wait()
    (tmp_path / "gate").touch()
    done = drive(made)
    assert done.returncode == 0, done.stderr
    assert counter.read_text() == "xx"  # the baseline and the run, each once
    assert [record.metrics["error"].value for record in made.read_records()] == [42, 42]
    assert left_of(made) == []


def test_nothing_of_it_runs_on_where_the_execution_is_stopped(make: Callable[..., Campaign], tmp_path: Path) -> None:
    made = make(experiment=EXPERIMENT.replace("rows = []", "print('taking', flush=True)\ntime.sleep(10_000)"))
    stop = Stop()

    class Looking(Silent):
        def tick(self, line: str) -> None:
            if line == "taking":
                stop.soon = stop.at_once = True

    assert go_on(made, view=Looking(), stop=stop).reason == "interrupted"
    assert left_of(made) == []


def test_where_executions_are_elsewhere_it_is_said_before_anything_is_executed(
    make: Callable[..., Campaign], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(executor="tests.quick_executor:QuickExecutor")
    ending = end(made)
    assert ending.exit_code != 0
    why = "makes its rows, which only --executor local starts on the same machine"
    assert why in ending.message

    # By doctor, and before there is a campaign, whether or not the cluster is there.
    here = {"experiment": tmp_path / "experiment", "python": sys.executable, "runs": tmp_path / "runs", "overrides": {}}
    here |= dict.fromkeys(("profile", "model", "architect", "reviewer", "agent"))
    found = {
        check.name: check
        for check in diagnose(**here, executor={"executor": "slurm"})
        if check.name in ("slurm", "baseline")
    }
    assert (found["slurm"].state, why in found["slurm"].detail) == ("fail", True)
    assert found["baseline"].detail == "not checked, since slurm failed"

    monkeypatch.chdir(tmp_path)
    (tmp_path / "idea.json").write_text('{"Name": "a", "Title": "a", "Experiment": "a"}')
    asked = ["run", "idea.json", "--experiment", "experiment", "--out", "new", "--executor", "slurm"]
    refused = CliRunner().invoke(cli, asked)
    assert refused.exit_code == 2 and why in refused.output.replace("\n", " ")
    assert not (tmp_path / "new").exists()
