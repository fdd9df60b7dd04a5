"""The laboratory's processes around an execution: data are prepared before it, its scores are measured after it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.contract import Contract
from harness.campaign.contract_file import load_contract
from harness.campaign.errors import InputError
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal, read_events
from harness.campaign.protocols import Silent
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution import scoring as laboratory
from harness.execution.filing import file_results
from harness.loop import Ending
from harness.results.run_results import read_run
from tests.test_resume import drive, facts, start
from tests.waiting import until

EXPERIMENT = """
import argparse, json, os
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--out_dir", type=Path)
out = parser.parse_args().out_dir
aim = json.loads((Path(os.environ["HARNESS_LAB_CACHE"]) / "data.json").read_text())["aim"]
guess = aim + 0.5 + int(os.environ["HARNESS_SEED"]) / 1000
settings = {"size": 2}
metrics = {"effort": 1.0}
(out / "model.json").write_text(json.dumps([guess, 0.0]))
(out / "final_info.json").write_text(json.dumps({"settings": settings, "metrics": metrics}))
"""
SCORER = """
import argparse, json, os, sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--artifact", type=Path)
parser.add_argument("--out", type=Path)
given = parser.parse_args()
model = json.loads(given.artifact.read_text())
if any(not isinstance(value, float) for value in model):
    sys.exit("toylab: model.json: expected numbers")
settings = {"evals": "toy"} | json.loads(os.environ["HARNESS_OVERRIDES"])
aim = json.loads((Path(os.environ["HARNESS_LAB_CACHE"]) / "data.json").read_text())["aim"]
skipped = {}
for name in settings["evals"].split()[: 1 if os.environ.get("HARNESS_SMOKE") == "1" else None]:
    if name == "dear":
        skipped[name] = "it is too dear here"
        continue
    numbers = {"error": abs(model[0] - aim), "depth": 3.25} if name == "toy" else {"width": 2.0}
    scores = {"eval_type_id": name, "eval_result_metrics": {"all": numbers}}
    (given.out / f"{name}.json").write_text(json.dumps(scores))
(given.out / "facts.json").write_text(json.dumps({"verified": {"size": len(model)}, "remarks": []}))
(given.out / "skipped.json").write_text(json.dumps({"skipped": skipped}))
"""
PREPARE = """
import hashlib, json, os
from pathlib import Path

cache = Path(os.environ["HARNESS_LAB_CACHE"])
with open(cache / "prepared.txt", "a") as log:
    print(os.environ["HARNESS_OVERRIDES"], os.environ.get("HARNESS_SMOKE"), file=log)
data = cache / "data.json"
data.write_text('{"aim": 3.0}')
reads = {str(data): hashlib.sha256(data.read_bytes()).hexdigest()}
Path(os.environ["HARNESS_READS"]).write_text(json.dumps(reads))
"""
PREPARED = 'prepare = ["python", "-m", "toylab.prepare"]\n'
CONTRACT = """
smoke = false
scorer = ["python", "-m", "toylab.score", "--artifact={out_dir}/model.json", "--out={scores}"]
editable = ["experiment.py"]
files = ["toylab"]
comparable = ["size"]
limits = { time = "20m", smoke_time = "20m", disk = "1MB" }

[[metric]]
name = "error"
sources = ["toy.error"]
better = "lower"
primary = true

[profiles.toy]
settings = { size = 2, evals = "toy" }
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the experiment, with a laboratory that nobody may edit and a cache of its own."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_LAB_CACHE", raising=False)
    folder = tmp_path / "experiment"
    (folder / "toylab").mkdir(parents=True)
    (folder / "experiment.py").write_text(EXPERIMENT)
    (folder / "experiment.toml").write_text(CONTRACT)
    laboratory.lab_cache().mkdir(parents=True)
    (laboratory.lab_cache() / "data.json").write_text('{"aim": 2.0}')
    for name, code in (("__init__", ""), ("score", SCORER), ("prepare", PREPARE)):
        (folder / "toylab" / f"{name}.py").write_text(code)
    return folder


Edits = list[tuple[str, str]]


def campaign(lab: Path, *attempts: Edits, **options: Any) -> Campaign:
    """A campaign of one run whose attempts make these edits."""
    script: dict[str, Any] = {"run 2, attempt 1": {"text": "ALL_COMPLETED"}}
    for number, edits in enumerate(attempts, 1):
        changes = [["experiment.py", *edit] for edit in edits]
        script[f"run 1, attempt {number}"] = {"text": "HYPOTHESIS: less.", "edits": changes}
    session = lab.parent / "script.json"
    session.write_text(json.dumps(script))
    return create_campaign(
        lab.parent / "runs",
        Idea(Name="toy", Title="Less error", Experiment="Make the error smaller."),
        lab,
        Options(agent="tests.scripted:ScriptedAgent", **{"max_runs": 1} | options),
        python=sys.executable,
        session=session,
    )


def end(campaign: Campaign, **how: Any) -> Ending:
    return go_on(campaign, view=Silent(), stop=Stop(), **how)


BETTER = [("aim + 0.5", "aim + 0.25")]


# --- scores --------------------------------------------------------------------------------------------------------------


def test_scores_are_the_scorers_and_what_the_experiment_reports_stands_apart(lab: Path) -> None:
    lies = [
        ('"effort": 1.0', '"effort": 1.0, "error": 0.0, "toy.error": 0.0'),
        ('(out / "model', '(out / "eval_results").mkdir()\n(out / "eval_results" / "toy.json").write_text(json.dumps('
         '{"eval_type_id": "toy", "eval_result_metrics": {"all": {"error": 0.0}}}))\n(out / "model'),
    ]  # fmt: skip
    made = campaign(lab, BETTER + lies)
    assert end(made).exit_code == 0
    baseline, run = made.read_records()
    assert (baseline.metrics["error"].value, run.metrics["error"].value) == (0.5, 0.25)
    assert run.metrics["error"].file == "eval_results/toy.json"
    assert run.metrics["effort"].file == "final_info.json"
    assert run.settings["size"].source == "artifact"
    result = next(
        e["result"] for e in read_events(made.journal) if e.get("step") == "run_1/attempt_1/execute" and "result" in e
    )
    assert result["outcome"]["seconds"] > result["scoring"]["seconds"] > 0
    warnings = "; ".join(run.warnings)
    assert "metrics.error: the experiment reports 0; the scorer measured 0.25, which counts" in warnings
    assert "the experiment wrote eval results itself; they are kept as reported and not read" in warnings
    folder = made.run_folder(1)
    assert json.loads((folder / "reported" / "toy.json").read_text())["eval_result_metrics"]["all"]["error"] == 0
    assert sorted(path.name for path in (folder / "eval_results").iterdir()) == ["facts.json", "skipped.json", "toy.json"]


def test_a_metric_of_the_scorers_is_no_evidence_when_only_reported(lab: Path) -> None:
    toml = CONTRACT + '[[metric]]\nname = "width"\nsources = ["wide.width"]\nbetter = "lower"\nrequired = false\n'
    (lab / "experiment.toml").write_text(toml)
    made = campaign(lab, [*BETTER, ('"effort": 1.0', '"effort": 1.0, "width": 1.0, "wide.width": 1.0')])
    assert end(made).exit_code == 0
    run = made.read_records()[1]
    assert {"width", "wide.width"}.isdisjoint(run.metrics)
    assert "metrics.width: the experiment reports 1; the scorer did not measure it, so it does not count" in "; ".join(
        run.warnings
    )


def test_reported_settings_that_contradict_the_artifact_are_no_evidence(lab: Path) -> None:
    made = campaign(lab, [*BETTER, ("[guess, 0.0]", "[guess, 0.0, 0.0]")])
    assert end(made).exit_code == 0
    run = made.read_records()[1]
    assert run.verdict.kind == "invalid"
    assert "settings.size: 2 is reported; the artifact has 3" in run.verdict.why
    assert (run.settings["size"].value, run.settings["size"].source) == (3, "artifact")


@pytest.mark.parametrize(
    ("said", "kind", "why"),
    [
        # Untouched code that says it was scored in another world, where the baseline does badly.
        ('"world": 33', "invalid", "settings.world: 33 is reported; the artifact has 20"),
        (
            '"steps": 5',
            "not_comparable",
            "steps 5 against 40 (run 0); no control: only the run itself reports steps; neither artifact nor scorer shows it",
        ),
    ],
)
def test_a_run_chooses_no_control_by_what_it_reports(lab: Path, said: str, kind: str, why: str) -> None:
    (lab / "experiment.toml").write_text(
        CONTRACT.replace('comparable = ["size"]', 'comparable = ["size", "world", "steps"]').replace(
            "size = 2,", "size = 2, world = 20, steps = 40,"
        )
    )
    (lab / "toylab" / "score.py").write_text(SCORER.replace('"size": len(model)', '"size": len(model), "world": 20'))
    (lab / "experiment.py").write_text(EXPERIMENT.replace('{"size": 2}', '{"size": 2, "world": 20, "steps": 40}'))
    made = campaign(lab, [("+ 0.5", "+ 0.501"), ("metrics = {", f"settings |= {{{said}}}\nmetrics = {{")])
    assert end(made).exit_code == 0
    run = made.read_records()[1]
    assert run.verdict.kind == kind
    assert why in run.verdict.why
    assert not [e for e in read_events(made.journal) if "/control_" in str(e.get("step"))]


def test_what_the_scorer_refuses_goes_back_to_the_agent(lab: Path) -> None:
    made = campaign(lab, [*BETTER, ("[guess, 0.0]", '[guess, "x"]')], [('[guess, "x"]', "[guess, 0.0]")])
    assert end(made).exit_code == 0
    run = made.read_records()[1]
    assert [attempt.status for attempt in run.attempts] == ["left_no_result", "completed"]
    assert "could not be scored: exit code 1: toylab: model.json: expected numbers" in run.attempts[0].why
    kept = made.attempt_folder(1, 1)
    assert json.loads((kept / "out" / "model.json").read_text())[1] == "x"
    assert "expected numbers" in (kept / "scoring.txt").read_text()


def test_what_the_scorer_refuses_is_found_in_the_smoke_test(lab: Path) -> None:
    (lab / "experiment.toml").write_text(CONTRACT.replace("smoke = false", "smoke = true"))
    made = campaign(lab, [*BETTER, ("[guess, 0.0]", '[guess, "x"]')], max_attempts=1)
    end(made)
    (attempt,) = made.read_records()[1].attempts
    assert (attempt.status, attempt.why[:39]) == ("smoke_test_failed", "it completed, but could not be scored: ")


def test_a_smoke_test_may_be_scored_by_fewer_evals_than_a_run(lab: Path) -> None:
    (lab / "toylab" / "score.py").write_text(SCORER.replace('{"evals": "toy"}', '{"evals": "toy wide"}'))
    wide = '[[metric]]\nname = "width"\nsources = ["wide.width"]\n\n[profiles.toy]'
    (lab / "experiment.toml").write_text(CONTRACT.replace("smoke = false", "smoke = true").replace("[profiles.toy]", wide))
    made = campaign(lab, BETTER)
    end(made)
    run = made.read_records()[1]
    assert [attempt.status for attempt in run.attempts] == ["completed"]
    assert run.metrics["width"].value == 2.0


def test_nothing_goes_on_from_a_baseline_that_cannot_be_scored(lab: Path) -> None:
    (lab / "experiment.py").write_text(EXPERIMENT.replace("[guess, 0.0]", '["x"]'))
    ending = end(campaign(lab, BETTER))
    assert ending.exit_code == 4
    assert "the baseline left no result" in ending.message
    assert "toylab: model.json: expected numbers" in ending.message


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        ("(out / 'model.json').unlink()", "model.json: missing; the experiment handed nothing over"),
        ("(out / 'model.json').rename(out / 'm'); (out / 'model.json').symlink_to(out / 'm')", "only regular files"),
        ("(out / 'model.json').unlink(); os.mkfifo(out / 'model.json')", "only regular files"),
        ("(out / 'model.json').unlink(); (out / 'model.json').symlink_to('/etc/hostname')", "only regular files"),
    ],
)
def test_only_regular_files_are_handed_over(lab: Path, instead: str, words: str) -> None:
    made = campaign(
        lab,
        [*BETTER, ("metrics = {", f"import atexit\natexit.register(lambda: [{instead.replace(';', ',')}])\nmetrics = {{")],
        max_attempts=1,
    )
    end(made)
    assert words in made.read_records()[1].attempts[0].why


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize(
    "instead", ["out.symlink_to(Path.cwd().parents[7] / 'run_0')", "out.symlink_to(OUTSIDE)", "out.touch()"]
)
def test_an_out_dir_that_was_replaced_is_not_followed(lab: Path, instead: str, scored: bool) -> None:
    """The link leads where an experiment cannot write; the harness, which files results by moving them, can."""
    outside = lab.parent / "outside"
    outside.mkdir()
    for name in ("model.json", "mine.txt"):
        (outside / name).write_text("[2.0, 0.0]")
    (outside / "final_info.json").write_text('{"settings": {"size": 2}, "metrics": {"error": 0.0, "effort": 1.0}}')
    code = f"atexit.register(lambda: [out.rename('was'), {instead.replace('OUTSIDE', repr(str(outside)))}])"
    if not scored:
        toml = CONTRACT.replace("scorer = [", "unused = [").replace('sources = ["toy.error"]\n', "")
        (lab / "experiment.toml").write_text("\n".join(line for line in toml.splitlines() if "unused" not in line))
        code_of_aim = next(line for line in EXPERIMENT.splitlines() if line.startswith("aim ="))
        (lab / "experiment.py").write_text(
            EXPERIMENT.replace(code_of_aim, "aim = 2.0").replace('"effort": 1.0', '"error": guess - aim')
        )
    made = campaign(
        lab, [("aim + 0.5", "aim + 0.25"), ("settings = {", f"import atexit\n{code}\nsettings = {{")], max_attempts=1
    )
    before = {path.name for path in outside.iterdir()}
    assert end(made).exit_code == 0
    _, run = made.read_records()
    assert [(attempt.status, attempt.why) for attempt in run.attempts] == [
        ("left_no_result", "run_1: the out_dir was replaced by a link or a file, so nothing in it is the run's.")
    ]
    assert run.metrics == {}
    assert {path.name for path in outside.iterdir()} == before
    assert (made.run_folder(0) / "final_info.json").exists() and (made.run_folder(0) / "model.json").exists()


@pytest.mark.parametrize("link", ["out", "out/sae", "out/sae/model"])
def test_nothing_is_taken_through_a_link(tmp_path: Path, link: str) -> None:
    (tmp_path / "other" / "sae" / "model").mkdir(parents=True)
    (tmp_path / "other" / "sae" / "model" / "a").touch()
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "other" / link.removeprefix("out").strip("/"))
    why = laboratory._copy_artifact(tmp_path / "out", tmp_path / "copy", ["--artifact={out_dir}/sae/model"], None)
    assert why == "sae/model: only regular files are handed over, no links."
    file_results(tmp_path / "out", tmp_path / "run_1")
    assert (tmp_path / "other" / "sae" / "model" / "a").exists()
    assert not [path for path in (tmp_path / "run_1").rglob("*") if path.is_symlink() or path.is_file()]


def test_links_pipes_and_rights_to_run_as_its_person_are_not_kept_however_deep_they_lie(lab: Path) -> None:
    code = "(out / 'a' / 'b').mkdir(parents=True), (out / 'a' / 'b' / 'link').symlink_to('/etc'), os.mkfifo(out / 'a' / 'pipe'), (out / 'a' / 'b' / 'kept').touch(), (out / 'a' / 'b' / 'kept').chmod(0o6755)"
    made = campaign(lab, [*BETTER, ("settings = {", f"{code}\nsettings = {{")])
    assert end(made).exit_code == 0
    kept = made.run_folder(1) / "a"
    assert sorted(str(path.relative_to(kept)) for path in kept.rglob("*")) == ["b", "b/kept"]
    said = "; ".join(made.read_records()[1].warnings)
    assert "a/b/link: the experiment left a link; links are not kept" in said
    assert "a/pipe: the experiment left what is no file; such are not kept" in said
    assert all(path.stat().st_mode & 0o6000 == 0 for path in made.run_folder(1).rglob("*"))
    assert (made.run_folder(1) / "a/b/kept").stat().st_mode & 0o777 == 0o755


def test_what_is_larger_than_the_limit_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "out" / "sae").mkdir(parents=True)
    with (tmp_path / "out" / "sae" / "big").open("wb") as file:
        file.truncate(50 * 10**9)
    why = laboratory._copy_artifact(tmp_path / "out", tmp_path / "copy", ["--artifact={out_dir}/sae"], 10**8)
    assert why == "sae/big: what is handed over is larger than the contract's limit of disk (100000000 bytes)."
    assert not (tmp_path / "copy" / "sae" / "big").exists()


def test_what_was_not_evaluated_is_recorded_with_its_reason(lab: Path) -> None:
    made = campaign(lab, BETTER, overrides={"evals": "toy dear"})
    end(made)
    assert "eval_results/skipped.json: dear: not evaluated: it is too dear here" in made.read_records()[1].warnings


# --- preparing -----------------------------------------------------------------------------------------------------------


def prepared() -> list[str]:
    """The settings that data were prepared for, in order."""
    return (laboratory.lab_cache() / "prepared.txt").read_text().splitlines()


def test_data_are_prepared_once_for_each_settings_and_are_read_only_to_the_experiment(lab: Path) -> None:
    (lab / "experiment.toml").write_text(PREPARED + CONTRACT.replace("smoke = false", "smoke = true"))
    write = "\ntry:\n    (Path(os.environ['HARNESS_LAB_CACHE']) / 'data.json').write_text('{\"aim\": 0}')\nexcept OSError:\n    pass\n"
    made = campaign(lab, [*BETTER, ("settings = {", write + "settings = {")])
    assert end(made).exit_code == 0
    assert prepared() == ["{} None", "{} 1"]  # for the runs, and for the smoke test
    assert made.read_records()[1].metrics["error"].value == 0.25
    assert json.loads((laboratory.lab_cache() / "data.json").read_text()) == {"aim": 3.0}
    assert not list(made.local.glob("executions/*"))


def test_a_campaign_whose_data_cannot_be_prepared_ends_with_what_was_said(lab: Path) -> None:
    (lab / "experiment.toml").write_text(PREPARED + CONTRACT)
    (lab / "toylab" / "prepare.py").write_text("import sys; sys.exit('no login for the hub; hf auth login')")
    ending = end(campaign(lab, BETTER))
    assert ending.exit_code == 4
    assert "the data could not be prepared: exit code 1: no login for the hub" in ending.message


WAITS = """import time
print("it was read", flush=True)
while not (Path(os.environ['HARNESS_LAB_CACHE']) / 'go.lock').exists():
    time.sleep(0.05)
"""


def while_run_1_is_executed(lab: Path, act: Callable[[Path], object]) -> Campaign:
    """A campaign of one run. While it is executed somebody acts on the cache: as an experiment can where the system does not
    confine it, or another campaign."""
    (lab / "experiment.toml").write_text(PREPARED + CONTRACT)
    made = campaign(lab, [*BETTER, ("guess =", WAITS + "guess =")], [("aim + 0.25", "aim + 0.2")])
    cache = laboratory.lab_cache()

    class Acting(Silent):
        def tick(self, line: str) -> None:
            if line == "it was read" and not (cache / "go.lock").exists():
                act(cache)
                (cache / "go.lock").touch()

    ending = go_on(made, view=Acting(), stop=Stop())
    assert ending.exit_code == 0, ending
    return made


@pytest.mark.parametrize(
    "act",
    [
        lambda cache: (cache / "data.json").write_text('{"aim": 9.0}'),
        lambda cache: (cache / "data.json").unlink(),
        lambda cache: (cache / "adapter.json").write_text("{}"),
    ],
    ids=["changed", "removed", "joined"],
)
def test_data_that_change_while_an_execution_reads_them_cost_an_attempt(lab: Path, act: Callable[[Path], object]) -> None:
    made = while_run_1_is_executed(lab, act)
    run = made.read_records()[1]
    assert [attempt.status for attempt in run.attempts] == ["left_no_result", "completed"]
    assert "changed while it was executed, so what it read is unknown" in run.attempts[0].why
    assert prepared() == ["{} None"] * 2  # and are prepared again


def test_what_does_not_concern_an_execution_may_change(lab: Path) -> None:
    def act(cache: Path) -> None:
        os.utime(cache / "data.json", (0, 0))
        content = (cache / "data.json").read_bytes()
        (cache / "data.json.new").write_bytes(content)
        (cache / "data.json.new").rename(cache / "data.json")
        (cache / "harvests" / "other.new").mkdir(parents=True)
        (cache / "harvests" / "other.new" / "block").touch()
        (cache / "models").mkdir()
        (cache / "models" / "another").touch()

    made = while_run_1_is_executed(lab, act)
    assert [attempt.status for attempt in made.read_records()[1].attempts] == ["completed"]
    assert prepared() == ["{} None"]


def test_another_process_prepares_again_what_was_removed_since(lab: Path) -> None:
    (lab / "experiment.toml").write_text(PREPARED + CONTRACT)
    made = campaign(lab, BETTER)
    assert end(made).exit_code == 0
    (laboratory.lab_cache() / "data.json").unlink()
    assert end(made, confirm=(1, 2)).exit_code == 0
    assert made.read_records()[1].seeds == [0, 1]
    assert prepared() == ["{} None"] * 2


def test_what_a_setting_names_is_there_for_all_processes(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "real" / "model").mkdir(parents=True)
    (tmp_path / "real" / "model" / "config.json").write_text("{}")
    (tmp_path / "model").symlink_to("real/model")
    looks = "import json, os\nfrom pathlib import Path\n(Path(json.loads(os.environ['HARNESS_OVERRIDES'])['model']) / 'config.json').read_text()\n"
    for name, code in (("experiment", EXPERIMENT), ("toylab/score", SCORER), ("toylab/prepare", PREPARE)):
        (lab / f"{name}.py").write_text(looks + code)
    (lab / "experiment.toml").write_text(PREPARED + CONTRACT.replace("{ size = 2", '{ model = "", size = 2'))
    made = campaign(lab, BETTER, overrides={"model": str(tmp_path / "model")})
    ending = end(made)
    assert ending.exit_code == 0, ending
    assert [record.status for record in made.read_records()] == ["completed"] * 2


# --- keys and secrets ---


KEY = "sk-of-the-person"
TELLS = """
import os
from pathlib import Path
told = {name: os.environ.get(name) for name in ("OPENAI_API_KEY", "HTTPS_PROXY", "HF_TOKEN", "HARNESS_SECRET")}
assert os.environ["HARNESS_MEMORY"] == "4000000000"
with open(Path(os.environ["HARNESS_LAB_CACHE"]) / "evals" / "told.txt", "a") as log:
    print(os.environ.get("HARNESS_OVERRIDES"), told, file=log)
"""


def test_a_judges_key_goes_to_scorers_that_ask_a_judge_and_into_no_file(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("HTTPS_PROXY", f"http://person:{KEY}@localhost:9")
    limited = CONTRACT.replace('disk = "1MB"', 'disk = "1MB", scoring_memory = "4GB"')
    (lab / "experiment.toml").write_text('judged = ["wide"]\n' + PREPARED + limited + 'warm = ["colorsys"]\n')
    kept: list[Path] = []

    class Looking(Silent):
        def tick(self, line: str) -> None:
            for folder, _, files in os.walk(made.root):  # what goes meanwhile is passed over
                for path in (Path(folder, name) for name in files):
                    with suppress(OSError):
                        kept.extend([path] if KEY in path.read_text(errors="replace") else [])

    looks = "import time\ntime.sleep(1)\n"
    (lab / "toylab" / "score.py").write_text(looks + TELLS + SCORER)
    (lab / "toylab" / "prepare.py").write_text(looks + PREPARE + "assert os.environ['HF_TOKEN']\n")
    made = campaign(lab, BETTER)
    assert go_on(made, view=Looking(), stop=Stop()).exit_code == 0
    assert go_on(made, view=Looking(), stop=Stop(), score=(1, "wide")).exit_code == 0
    assert kept == []
    told = (laboratory.lab_cache() / "evals" / "told.txt").read_text().splitlines()
    assert [(KEY in line, "HTTPS_PROXY': None" in line) for line in told] == [(False, True), (False, True), (True, False)]
    assert all("HF_TOKEN': None" in line for line in told)
    secrets = {line.partition("HARNESS_SECRET': ")[2] for line in told}
    assert len(secrets) == 1 and "None" not in secrets.pop()


def test_a_warm_process_imports_from_the_laboratory_alone(lab: Path) -> None:
    (lab / "experiment.toml").write_text(CONTRACT + 'warm = ["toylab"]\n')
    planted = "import os\nfrom pathlib import Path\n(Path(os.environ['HARNESS_LAB_CACHE']) / 'evals' / 'hijacked').touch()\n"
    made = campaign(lab, BETTER)
    folder = made.local / "warm" / "1"
    for place in (folder.parent, folder):
        (place / "toylab").mkdir(parents=True)
        for name in ("json.py", "argparse.py", "toylab/sub.py", "toylab/__init__.py"):
            (place / name).write_text(planted)
    assert end(made).exit_code == 0
    assert not (laboratory.lab_cache() / "evals" / "hijacked").exists()
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "experiment.toml",
        "toylab/__init__.py",
        "toylab/prepare.py",
        "toylab/score.py",
    ]


def test_no_scorer_is_forked_from_what_imported_a_planted_module(lab: Path) -> None:
    """It imports while the experiment runs, which can write there where the system does not confine it."""
    cache = laboratory.lab_cache()
    imports = f"""
import time
from pathlib import Path
while not Path({str(cache / "planted.lock")!r}).exists():
    time.sleep(0.05)
try:
    import extra
except ImportError:
    pass
"""
    (lab / "toylab" / "__init__.py").write_text(imports)
    (lab / "toylab" / "score.py").write_text("import builtins\nassert not hasattr(builtins, 'planted')\n" + SCORER)
    (lab / "experiment.toml").write_text(CONTRACT + 'warm = ["toylab"]\n')
    (lab / "experiment.py").write_text(EXPERIMENT.replace("guess =", WAITS + "guess ="))
    made = campaign(lab, BETTER)
    done = cache / "imported"

    class Planting(Silent):
        def tick(self, line: str) -> None:
            if line == "it was read" and not (cache / "go.lock").exists():
                (package,) = (made.local / "warm").rglob("toylab")
                code = f"import builtins, pathlib\nbuiltins.planted = True\npathlib.Path({str(done)!r}).touch()\n"
                (package.parent / "extra.py").write_text(code)
                (cache / "planted.lock").touch()
                until(done.exists)
                (cache / "go.lock").touch()

    ending = go_on(made, view=Planting(), stop=Stop())
    assert ending.exit_code == 0, ending
    assert done.exists()


def test_what_comes_into_the_warm_folder_is_noticed(lab: Path) -> None:
    (lab / "experiment.toml").write_text(CONTRACT + 'warm = ["toylab"]\n')

    planted = laboratory.lab_cache() / "planted.lock"

    class Planting(Silent):
        def tick(self, line: str) -> None:
            if line == "scoring":
                (made.local / "warm" / "1" / "json.py").touch()
                planted.touch()

    waits = (
        f"import time\nfrom pathlib import Path\nprint('scoring', flush=True)\nwhile not Path({str(planted)!r}).exists():\n"
    )
    (lab / "toylab" / "score.py").write_text(f"{waits}    time.sleep(0.05)\n" + SCORER)
    made = campaign(lab, BETTER)
    ending = go_on(made, view=Planting(), stop=Stop())
    assert ending.exit_code == 4
    assert "files of the laboratory changed while it scored" in ending.message


# --- crashes -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_after_every_event_the_records_are_the_same(lab: Path, tmp_path: Path) -> None:
    (lab / "experiment.toml").write_text(PREPARED + CONTRACT)
    plain = campaign(lab, BETTER)
    assert drive(plain).returncode == 0
    hit = campaign(lab, BETTER)
    done = drive(hit, str(tmp_path / "seen"), "journal")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) >= 15
    assert facts(hit) == facts(plain)


def test_a_scorer_that_outlives_the_harness_is_adopted(lab: Path, tmp_path: Path, counter: Path) -> None:
    wait = (
        f"import time\nwith open({str(counter)!r}, 'a') as file:\n    file.write('x')\n"
        f"while not Path({str(tmp_path / 'gate')!r}).exists():\n    time.sleep(0.05)\n"
    )
    (lab / "toylab" / "score.py").write_text(SCORER.replace("parser =", wait + "parser =", 1))
    made = campaign(lab, BETTER)
    harness = start(made)
    try:
        until(counter.exists)
        os.kill(harness.pid, signal.SIGKILL)
        harness.wait()
        (tmp_path / "gate").touch()
        done = drive(made)
        assert done.returncode == 0, done.stderr
        assert counter.read_text() == "xx"  # the baseline and the run, each scored once
    finally:
        counter.unlink()
    assert [record.metrics["error"].value for record in made.read_records()] == [0.5, 0.25]


# --- scoring again -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ended(lab: Path) -> Campaign:
    made = campaign(lab, BETTER)
    assert end(made).exit_code == 0
    return made


def test_a_recorded_run_is_scored_by_other_evals(ended: Campaign) -> None:
    before = ended.read_records()[1]
    ending = end(ended, score=(1, "wide toy dear"))
    assert (ending.exit_code, ending.reason) == (0, "scored")
    assert "seed 0: dear was not evaluated: it is too dear here" in ending.message
    record = ended.read_records()[1]
    assert record.metrics["wide.width"].value == 2.0
    assert record.metrics["wide.width"].file == "eval_results/wide_toy_dear/wide.json"
    assert record.metrics["error"].value == before.metrics["error"].value
    assert record.verdict == before.verdict
    subjects = subprocess.run(["git", "log", "--format=%s"], cwd=ended.root, capture_output=True, text=True, check=True)
    assert "Run 1: scored by wide toy dear" in subjects.stdout


def test_what_scores_need_is_prepared_before_a_run_is_scored_again(lab: Path) -> None:
    (lab / "experiment.toml").write_text(PREPARED + CONTRACT)
    made = campaign(lab, BETTER)
    assert end(made).exit_code == 0
    assert end(made, score=(1, "wide")).exit_code == 0
    assert prepared() == ["{} None", '{"evals": "wide"} None']


def test_what_was_changed_since_is_not_scored_again(lab: Path) -> None:
    for name in ("experiment.py", "experiment.toml"):
        (lab / name).write_text((lab / name).read_text().replace("model.json", "model.bin"))
    made = campaign(lab, BETTER)
    assert end(made).exit_code == 0
    (made.run_folder(1) / "model.bin").write_text("[2.0, 0.0]")
    ending = end(made, score=(1, "wide"))
    assert ending.exit_code == 4
    assert "is not what the run handed over; it was changed since" in ending.message
    assert "wide.width" not in made.read_records()[1].metrics


def test_a_changed_file_of_which_git_has_the_content_is_scored_as_it_was(ended: Campaign) -> None:
    model, before = ended.run_folder(1) / "model.json", ended.read_records()[1].metrics["error"].value
    handed = model.read_text()
    model.write_text("[2.0, 0.0]")
    assert end(ended, score=(1, "toy wide")).exit_code == 0
    assert model.read_text() == handed
    assert ended.read_records()[1].metrics["error"].value == before


def test_only_what_takes_evals_is_scored_again(lab: Path) -> None:
    (lab / "experiment.toml").write_text(CONTRACT.replace(', evals = "toy"', ""))
    made = campaign(lab, BETTER)
    assert end(made).exit_code == 0
    for run, why in ((1, "is not scored by evals"), (4, "only a run that was completed here can be scored")):
        with pytest.raises(InputError, match=why):
            end(made, score=(run, "wide"))
    assert [*Journal(made.journal).of("ended")][-1]["reason"] == "runs_spent"  # as it stood


# --- the contract --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('scorer = ["python", "score.py", "{out_dir}"]', "scorer must hold {scores}"),
        ('scorer = ["python", "score.py", "{scores}"]', "scorer must hold {out_dir}"),
        ('[[metric]]\nname = "a"\nsources = ["b"]\n[[metric]]\nname = "b"', "b is the name or a source of two metrics"),
    ],
)
def test_a_contract_that_cannot_be_scored_is_refused(tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "experiment.py").write_text("")
    (tmp_path / "experiment.toml").write_text(toml)
    with pytest.raises(InputError, match=words.replace("{", r"\{")):
        load_contract(tmp_path)


def test_kept_seeds_of_a_baseline_are_of_the_data_that_it_read(lab: Path) -> None:
    (lab / "experiment.toml").write_text(PREPARED + CONTRACT + "baseline_seeds = 2\n")
    aim = laboratory.lab_cache() / "aim"
    drawn = PREPARE.replace("'{\"aim\": 3.0}'", "(cache / 'aim').read_text()")
    assert drawn != PREPARE
    (lab / "toylab" / "prepare.py").write_text(drawn)
    found = []
    for content in ('{"aim": 3.0}', '{"aim": 3.0}', '{"aim": 4.0}'):
        aim.write_text(content)
        made = campaign(lab, BETTER)
        assert end(made).exit_code == 0
        (seed,) = (e["result"] for e in read_events(made.journal) if e.get("step") == "run_0/seed_1" and "result" in e)
        found.append(bool(seed.get("from_cache")))
    assert found == [False, True, False]


def test_a_profile_has_limits_of_its_own(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "small" / "experiment.py", tmp_path)
    (tmp_path / "experiment.toml").write_text(
        '[limits]\ntime = "3m"\nmemory = "4GB"\ndisk = "1MB"\n[profiles.small]\n'
        '[profiles.large.limits]\ndisk = "2GB"\nscoring_time = "3h"\nscoring_memory = "8GB"\n'
    )
    contract = load_contract(tmp_path)
    assert (contract.limits_of("small").disk, contract.limits_of("large").disk) == (10**6, 2 * 10**9)
    assert (contract.limits_of("large").time, contract.limits_of("large").scoring_time) == (180, 3 * 3600)
    assert contract.limits_of("small").scoring_time == 180, "a scoring takes no longer than an execution may"
    assert [contract.limits_of(name).scoring_memory for name in ("small", "large")] == [4 * 10**9, 8 * 10**9]
    kept = Contract.model_validate(contract.model_dump())  # as a campaign reads it
    assert all(kept.limits_of(name) == contract.limits_of(name) for name in ("small", "large"))


def test_the_first_source_that_is_found_counts(tmp_path: Path) -> None:
    contract = Contract.model_validate({"metric": [{"name": "l0", "sources": ["synthetic.l0", "core.l0"]}]})
    (tmp_path / "eval_results").mkdir()
    for name, value in (("core", 4.0), ("synthetic", 5.0)):
        (tmp_path / "eval_results" / f"{name}.json").write_text(
            json.dumps({"eval_type_id": name, "eval_result_metrics": {"all": {"l0": value}}})
        )
    (tmp_path / "final_info.json").write_text('{"metrics": {"loss": 1.0}}')
    assert read_run(tmp_path, contract).numbers == {"l0": 5.0, "core.l0": 4.0, "loss": 1.0}
    (tmp_path / "eval_results" / "synthetic.json").unlink()
    assert read_run(tmp_path, contract).numbers == {"l0": 4.0, "loss": 1.0}
