"""What loops of others left: read, held against itself, and the claimed best executed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.campaign.campaign import Campaign
from harness.campaign.errors import CannotGoOn
from harness.campaign.git import Git
from harness.campaign.journal import Journal
from harness.campaign.metric import Metric
from harness.campaign.record import MetricRecord, Record, VerdictRecord
from harness.cli.main import cli
from harness.report.first_look import far_from_theirs
from harness.results.observed import observe
from harness.statistics.noise import prediction_interval

SMALL = Path(__file__).parent / "small"
FASTER = ('"rate": 0.05', '"rate": 0.1')
NOTES = """# Title: Rates
## Run 0: Baseline
The baseline.
## Run 1: A comment
Explained the loop.
## Run 2: A larger rate
The rate is doubled, which lowers the loss.
"""


METRIC = '[[metric]]\nsources = ["*.loss"]'


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Campaigns are made in the folder that it is typed in."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A results folder as AI-Scientist leaves it: a no-op, an improvement, one of unknown code with its numbers, two more."""
    folder = tmp_path / "20240801_rates"
    folder.mkdir()
    code = (SMALL / "experiment.py").read_text()
    faster = code.replace(*FASTER)
    codes = ["", f"# why\n{code}", faster, None, faster.replace("x = 5.0", "x = 4.0"), faster.replace("2 * x", "1.9 * x")]
    losses = [0.0066, 0.0066, 0.000201, 0.000201, 0.00035, 0.0004]
    for number, (source, loss) in enumerate(zip(codes, losses, strict=True)):
        (folder / f"run_{number}").mkdir()
        info = {"quadratic": {"means": {"loss": loss}, "stderrs": {"loss": 0.0}}}
        (folder / f"run_{number}" / "final_info.json").write_text(json.dumps(info))
        if source:
            (folder / f"run_{number}.py").write_text(source)
    (folder / "notes.txt").write_text(NOTES)
    return folder


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The experiment that they began with, with a contract and seeds."""
    folder = Path(shutil.copytree(SMALL, tmp_path / "template", ignore=shutil.ignore_patterns("__pycache__")))
    source = (folder / "experiment.py").read_text()
    (folder / "experiment.py").write_text(source.replace('"metrics": {"loss": x * x', '"metrics": {"quadratic.loss": x * x'))
    contract = (folder / "experiment.toml").read_text().replace('name = "loss"', 'name = "quadratic.loss"')
    contract = contract.replace('value = "loss"', 'value = "quadratic.loss"')
    (folder / "experiment.toml").write_text(f"{contract}baseline_seeds = 3\nrun_seeds = [1, 2]\nfinal_seeds = 3\n")
    return folder


def type_(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["observe", *map(str, arguments)])


def look(*arguments: object) -> dict[str, Any]:
    done = type_(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_ai_scientist_folder_becomes_a_campaign_and_what_repeats_itself_is_found(theirs: Path, template: Path) -> None:
    found = look(theirs, "--metric", "quadratic.loss", "--lower")
    runs = {run["name"]: run for run in found["runs"]}
    assert [run["run"] for run in found["runs"]] == [1, 2, 3, 4, 5]
    assert [run["same_numbers_as"] for run in found["runs"]] == [0, None, 2, None, None]
    assert (runs["run_3"]["code"], runs["run_4"]["code"]) == ("unknown", "known")
    assert runs["run_2"]["claim"] == "The rate is doubled, which lowers the loss."
    assert found["claimed_best"] == 2
    assert [run["same_code_as"] for run in found["runs"]] == [None] * 5  # what their baseline's code was they do not say
    known = look(theirs, "--metric", "quadratic.loss", "--lower", "--experiment", without_contract(template))
    assert [run["same_code_as"] for run in known["runs"]] == [0, None, None, None, None]
    assert [run["verdict"] for run in known["runs"]] == ["no_effect", "given", "given", "given", "given"]


def test_runs_without_what_decides_or_with_other_numbers_have_not_the_numbers_of_an_earlier_one(tmp_path: Path) -> None:
    left = ['{"loss": 1.0, "acc": 0.5}', '{"acc": 0.5}', '{"loss": 0.7, "acc": 0.5}', '{"loss": NaN, "acc": 0.5}']
    for number, means in enumerate([*left, '{"loss": 0.7}', '{"loss": 0.7, "acc": 0.5, "seconds": 3}']):
        (tmp_path / "r2" / f"run_{number}").mkdir(parents=True)
        (tmp_path / "r2" / f"run_{number}" / "final_info.json").write_text(f'{{"d": {{"means": {means}}}}}')
    found = look(tmp_path / "r2", "--metric", "loss", "--lower")["runs"]
    assert [run["same_numbers_as"] for run in found] == [None, None, None, None, 2]


def test_no_run_is_the_claimed_best_that_is_no_better_than_the_baseline(theirs: Path) -> None:
    assert look(theirs, "--metric", "quadratic.loss", "--higher")["claimed_best"] is None
    said = type_(theirs, "--metric", "quadratic.loss", "--higher").output
    assert "No run claims to be better than the baseline in quadratic.loss." in said and "--confirm-best" not in said


def test_a_metric_of_one_data_set_needs_no_name_of_it(theirs: Path) -> None:
    found = look(theirs, "--metric", "loss", "--lower")
    assert (found["metric"], found["claimed_best"]) == ("quadratic.loss", 2)
    info = {"quadratic": {"means": {"loss": 1.0}}, "cubic": {"means": {"loss": 2.0}}}
    (theirs / "run_1" / "final_info.json").write_text(json.dumps(info))
    done = type_(theirs, "--metric", "loss", "--lower")
    assert done.exit_code == 2
    assert "--metric loss: more than one data set has it. They have: quadratic.loss, cubic.loss." in " ".join(
        done.output.split()
    )


def without_contract(template: Path) -> Path:
    (template / "experiment.toml").unlink()
    shutil.copy(SMALL / "experiment.py", template)
    return template


def test_given_runs_are_marked_as_such_wherever_they_are_read(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # xdist's workers have 80
    done = type_(theirs, "--metric", "quadratic.loss", "--lower")
    assert done.exit_code == 0, done.output
    assert "the contract has no" not in done.stderr  # which nobody wrote
    name = "20240801_rates-observed"
    assert "5 runs of a loop that was observed, given and not executed here" in " ".join(done.stdout.split())

    def typed(*arguments: str) -> str:
        done = CliRunner().invoke(cli, list(arguments))
        assert done.exit_code == 0, done.output
        return " ".join(done.stdout.split())

    log = CliRunner().invoke(cli, ["log", name]).stdout
    assert len(re.findall(r"^\d +(?:given|baseline) .* given(?: |$)", log, re.MULTILINE)) == 6
    assert "unknown unknown given The rate is doubled" in " ".join(log.split())
    shown = typed("show", name, "3")
    assert "not executed here" in shown and "no: given, run_3 of the loop in 20240801_rates; its code is not known" in shown
    assert "+# The loop left no code of run_3." in typed("diff", name, "3")
    assert "no valid run yet" in typed("status", name)
    assert "Nothing to compare" in typed("check", name)
    assert "Status: completed (given, not executed here)" in typed("notes", name)
    assert "Used here so far: 0 tokens" in typed("notes", name)
    assert "What the loop that was observed used is not known" in typed("notes", name)
    typed("end", name)
    assert "0 runs besides 5 that were given (what they took is not known)" in typed("notes", name)
    assert "Inconclusive: no valid, comparable run." in typed("notes", name)
    typed("report", name)
    typed("writeup", name, "--format", "md")
    html = Path(f"runs/{name}-report.html").read_text()
    assert html.count('<span class="tag open">given</span>') >= 5 and html.count(">given</td>") == 6
    paper = " ".join(Path(f"runs/{name}-writeup.md").read_text().split())
    assert "Given: runs 1, 2, 3, 4 and 5; made by an observed loop, not executed here; no verdict rests on them" in paper
    assert "a coding agent edited the code" not in paper and "| 2 | – | 0.000201 | given | 1 |" in paper
    records = Campaign(Path("runs") / name).read_records()
    assert all(record.given and record.verdict.error_share == 0 for record in records)


def test_its_claimed_best_is_executed_with_seeds_and_judged(theirs: Path, template: Path) -> None:
    for file in theirs.glob("run_*.py"):
        file.write_text(file.read_text().replace('"metrics": {"loss": x * x', '"metrics": {"quadratic.loss": x * x'))
    done = type_(theirs, "--experiment", template, "--confirm-best", "--json")
    assert done.exit_code == 0, (done.stdout, done.stderr)
    found = json.loads(done.stdout)
    confirmed = found["confirmed"]
    assert (confirmed["outcome"], confirmed["run"], found["claimed_best"]) == ("judged", 6, 2)
    against = confirmed["against_baseline"]
    assert (against["seeds"], against["tested"], against["mean"] < against["reference_mean"]) == (3, True, True)
    assert found["left_out"] == []
    spread = found["spread"]
    assert (spread["baseline_seeds"], spread["kept"], spread["within"]) == (3, 5, 5)
    assert [run["same_code_as"] for run in found["runs"]] == [0, None, None, None, None]
    assert [run["same_numbers_as"] for run in found["runs"]] == [0, None, 2, None, None]
    assert "5 of its 5 kept changes are within the spread of 3 baseline seeds" in " ".join(found["said"])
    campaign = Campaign(Path("runs/20240801_rates-observed"))
    records = campaign.read_records()
    assert [record.given for record in records] == [False, True, True, True, True, True, False]
    assert (records[6].parent, campaign.planned_runs) == (0, 1)
    assert records[6].agent == "the loop in 20240801_rates"
    # The same numbers as what was claimed would confirm it, and not say that the change has no effect.
    assert records[6].verdict.kind != "no_effect"


def test_what_is_cut_off_while_runs_are_taken_in_goes_on(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = Journal.append

    def cut(journal: Journal, event: str, **facts: Any) -> None:
        append(journal, event, **facts)
        if event == "done" and facts["step"] == "run_3/given":
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "append", cut)
    assert type_(theirs, "--metric", "quadratic.loss", "--lower").exit_code == 130
    monkeypatch.setattr(Journal, "append", append)
    assert CliRunner().invoke(cli, ["resume", "latest"]).exit_code == 0
    assert len(Campaign(Path("runs/20240801_rates-observed")).read_records()) == 6


def test_names_of_the_contract_are_found_in_what_they_left(theirs: Path, template: Path) -> None:
    contract = template / "experiment.toml"
    contract.write_text(contract.read_text().replace('"quadratic.loss"', '"loss"').replace("[[metric]]", METRIC, 1))
    found = look(theirs, "--experiment", template)
    assert (found["metric"], found["claimed_best"]) == ("loss", 2)


def test_a_metric_that_none_of_their_runs_has_is_refused_before_anything_is_executed(theirs: Path, template: Path) -> None:
    contract = template / "experiment.toml"
    contract.write_text(contract.read_text().replace('"quadratic.loss"', '"error"'))
    done = type_(theirs, "--experiment", template, "--confirm-best")
    assert (done.exit_code, 'They have quadratic.loss; in that metric, `sources = ["quadratic.loss"]`' in done.stderr) == (
        2,
        True,
    )
    assert not Path("runs").exists()
    contract.write_text(contract.read_text().replace("[[metric]]", '[[metric]]\nsources = ["quadratic.loss"]', 1))
    assert look(theirs, "--experiment", template)["claimed_best"] == 2


def test_a_file_of_another_name_than_the_loop_edits_is_said(theirs: Path, template: Path) -> None:
    contract = template / "experiment.toml"
    assert "taken for" not in " ".join(look(theirs, "--experiment", template)["said"])
    (template / "model.py").write_text("")
    contract.write_text(contract.read_text().replace('["experiment.py"]', '["model.py", "experiment.py"]'))
    assert "taken for" not in " ".join(look(theirs, "--experiment", template)["said"])
    contract.write_text(contract.read_text().replace('["model.py", "experiment.py"]', '["model.py"]'))
    said = look(theirs, "--experiment", template)["said"][-1]
    assert said.startswith(f"run_1.py and the others are taken for versions of model.py, which is editable in {template}")


def test_without_a_contract_nothing_is_executed(theirs: Path) -> None:
    done = type_(theirs, "--metric", "quadratic.loss", "--lower", "--confirm-best")
    assert (done.exit_code, "--experiment DIR names a folder" in done.stderr) == (2, True)
    assert not Path("runs").exists()
    assert "--metric NAME" in type_(theirs).stdout
    done = type_(theirs, "--metric", "quadratic.loss", "--lower", "--higher")
    assert (done.exit_code, "--lower and --higher: choose one" in done.stderr) == (2, True)


def test_result_files_that_cannot_be_read_are_named(theirs: Path) -> None:
    (theirs / "run_3" / "final_info.json").write_text('{"quadratic": ')
    (theirs / "run_4" / "final_info.json").unlink()
    (theirs / "run_5" / "final_info.json").write_text('{"quadratic": {"means": {"loss": NaN, "note": "late"}}}')
    named = look(theirs)["left_out"]
    assert [each.split(":")[0] for each in named] == [f"run_{number}/final_info.json" for number in (3, 4, 5)]
    assert "loss" in named[2] and "nan" in named[2].lower()
    assert "Left out: run_3/final_info.json: not JSON" in type_(theirs).stdout


def test_a_claimed_best_whose_code_is_not_there_is_refused_before_anything_is_executed(theirs: Path, template: Path) -> None:
    (theirs / "run_2.py").unlink()
    done = type_(theirs, "--experiment", template, "--confirm-best", "--json")
    assert (done.exit_code, json.loads(done.stdout)["outcome"]) == (2, "wrong_input")
    assert f"the claimed best is run_2, and its code is not there: no {theirs}/run_2.py" in done.stderr
    assert not Path("runs").exists()


def test_a_baseline_that_is_executed_and_is_not_theirs_is_said() -> None:
    metric = Metric(name="loss", better="lower", primary=True)
    values = [1.0, 1.1, 1.2]
    baseline = Record(
        run=0,
        status="completed",
        verdict=VerdictRecord(kind="baseline", why=""),
        commit="0" * 40,
        seeds=[0, 1, 2],
        metrics={"loss": MetricRecord(value=1.1, values=values)},
    )
    assert far_from_theirs([baseline], metric, {"loss": 1.3}) == ""
    assert "not theirs: loss 3 there" in far_from_theirs([baseline], metric, {"loss": 3.0})
    assert far_from_theirs([baseline.model_copy(update={"given": True})], metric, {"loss": 3.0}) == ""


def test_an_autoresearch_repository_is_read_by_its_table_and_commits(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        return subprocess.check_output(["git", "-C", tmp_path, *who, *arguments], text=True).strip()

    git("init", "-q")
    rows = ["commit\tval_bpb\tmemory_gb\tstatus\tdescription"]
    sources = [("lr = 0.1\n", "0.9979\t44.0\tkeep\tbaseline"), ("lr = 0.2\n", "0.9932\t44.2\tkeep\tlarger rate")]
    sources += [("lr = 0.2  # now\n", "0.9930\t44.2\tkeep\ttidied"), ("lr = 9\n", "0.000000\t0.0\tcrash\ttoo large")]
    for source, row in sources:
        (tmp_path / "train.py").write_text(source)
        git("add", "train.py")
        git("commit", "-qm", "x")
        rows.append(f"{git('rev-parse', '--short', 'HEAD')}\t{row}")
    rows += ["fffffff\t1.005\t44.0\tdiscard\tGeLU", "garbage", "eeeeeee\tN/A\t\tdiscard\tlost"]
    (tmp_path / "results.tsv").write_text("\n".join(rows) + "\n")
    found = look(tmp_path)
    runs = found["runs"]
    assert (found["metric"], found["better"], found["claimed_best"]) == ("val_bpb", "lower", 2)
    assert runs[1]["same_code_as"] == 1
    assert (runs[2]["verdict"], runs[2]["metrics"]) == ("failed", {})
    assert (runs[3]["kept"], runs[3]["code"]) == (False, "unknown")
    assert (len(runs), runs[4]["verdict"]) == (5, "failed")
    assert found["left_out"] == [
        "results.tsv, line 7: no commit and no number",
        "results.tsv, line 8: val_bpb is no number: N/A",
        "results.tsv, line 8: memory_gb is no number: nothing",
    ]
    assert CliRunner().invoke(cli, ["diff", "latest", "1"]).stdout.count("+lr = 0.2") == 1
    # What an experiment lets edit under another name, they have nothing of.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.py").write_text("lr = 0.1\n")
    lines = ['editable = ["model.py"]', "[[metric]]", 'name = "val_bpb"', 'better = "lower"', "primary = true"]
    (tmp_path / "mine" / "experiment.toml").write_text(
        "\n".join(['command = ["python", "model.py", "{out_dir}"]', *lines]) + "\n"
    )
    said = look(tmp_path, "--experiment", tmp_path / "mine")["said"]
    assert said[-1].startswith("The code of no run is known: no commit has model.py, which is editable in ")


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    done = type_(tmp_path)
    assert (done.exit_code, "no runs of a loop here" in done.stderr) == (2, True)


def test_a_further_seed_is_expected_where_the_known_ones_scatter() -> None:
    low, high = prediction_interval([1.0, 2.0, 3.0]) or (0.0, 0.0)
    assert (round(low, 2), round(high, 2)) == (-2.97, 6.97)
    assert prediction_interval([1.0]) is prediction_interval([1.0, 1.0]) is None


def test_a_look_at_the_repository_of_somebody_else_starts_no_program_of_theirs(tmp_path: Path) -> None:
    """git fetches an object that is missing from where the repository's own settings say, by a program that they name."""
    folder = tmp_path / "loop"
    folder.mkdir()
    started = tmp_path / "started"
    for arguments in (
        ["init", "-q"],
        ["config", "core.repositoryformatversion", "1"],
        ["config", "extensions.partialClone", "origin"],
        ["config", "remote.origin.url", str(folder)],
        ["config", "remote.origin.promisor", "true"],
        ["config", "remote.origin.uploadpack", f"touch '{started}'; false"],
        ["config", "protocol.file.allow", "always"],
    ):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    missing = "deadbeef" * 5
    (folder / "results.tsv").write_text(f"commit\tloss\tstatus\tdescription\nabcd\t2\tkeep\ta\n{missing}\t1\tkeep\tb\n")
    found = type_(folder)
    assert found.exit_code == 0 and missing in found.output
    with pytest.raises(CannotGoOn):
        Git(folder).output("cat-file", "blob", missing, pauses=())
    assert not started.exists()


def test_links_and_tables_that_no_loop_leaves_are_neither_followed_nor_a_mistake_of_the_harness(
    theirs: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "key.py"
    secret.write_text("KEY = 'sk-123'\n")
    (theirs / "run_2.py").unlink()
    (theirs / "run_2.py").symlink_to(secret)
    (theirs / "notes.txt").unlink()
    (theirs / "notes.txt").symlink_to(secret)
    runs = observe(theirs, "experiment.py").runs
    assert [run.code is None for run in runs[2:4]] == [True, True] and not any(run.claim for run in runs)
    (theirs / "results.tsv").write_text(f"commit\tloss\tstatus\tdescription\nabcd\t2\tkeep\t{'a' * 200_000}\n")
    found = type_(theirs)
    assert found.exit_code == 2 and "results.tsv: cannot be read as a table" in found.output
