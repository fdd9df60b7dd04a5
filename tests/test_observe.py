"""What loops of others left: read, held against itself, and the claimed best executed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.campaign.errors import CannotGoOn
from harness.campaign.git import Git
from harness.cli.main import cli
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
    found: dict[str, Any] = json.loads(type_(*arguments, "--json").stdout)
    return found


def test_an_ai_scientist_folder_is_read_and_what_repeats_itself_is_found(theirs: Path) -> None:
    found = look(theirs, "--metric", "quadratic.loss", "--lower")
    runs = {run["name"]: run for run in found["runs"]}
    assert len(runs) == 6
    assert runs["run_1"]["same_numbers_as"] == "run_0"
    assert runs["run_3"]["same_numbers_as"] == "run_2"
    assert (runs["run_3"]["code"], runs["run_4"]["code"]) == ("unknown", "known")
    assert runs["run_2"]["claim"] == "The rate is doubled, which lowers the loss."
    assert found["claimed_best"] == "run_2"
    page = type_(theirs, "--metric", "quadratic.loss", "--lower").stdout
    assert "5 runs beside the baseline, given and not executed here" in page
    assert "the same numbers as run_2" in page
    assert "--metric NAME" in type_(theirs).stdout


def test_its_claimed_best_is_executed_with_seeds_and_judged(
    theirs: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    for file in theirs.glob("run_*.py"):
        file.write_text(file.read_text().replace('"metrics": {"loss": x * x', '"metrics": {"quadratic.loss": x * x'))
    done = type_(theirs, "--experiment", template, "--confirm-best", "--json")
    assert done.exit_code == 0, (done.stdout, done.stderr)
    found = json.loads(done.stdout)
    confirmed = found["confirmed"]
    assert (confirmed["outcome"], confirmed["run"]) == ("judged", 1)
    against = confirmed["against_baseline"]
    assert (against["seeds"], against["tested"], against["mean"] < against["reference_mean"]) == (3, True, True)
    spread = found["spread"]
    assert (spread["baseline_seeds"], spread["kept"], spread["within"]) == (3, 5, 5)
    assert {run["name"]: run["same_code_as"] for run in found["runs"]}["run_1"] == "run_0"


def test_without_a_contract_nothing_is_executed(theirs: Path) -> None:
    done = type_(theirs, "--metric", "quadratic.loss", "--lower", "--confirm-best")
    assert (done.exit_code, "--experiment DIR names a folder" in done.stderr) == (2, True)


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
    rows.append("fffffff\t1.005\t44.0\tdiscard\tGeLU")
    (tmp_path / "results.tsv").write_text("\n".join(rows) + "\n")
    found = look(tmp_path)
    runs = found["runs"]
    assert (found["metric"], found["better"], found["claimed_best"]) == ("val_bpb", "lower", runs[2]["name"])
    assert runs[2]["same_code_as"] == runs[1]["name"]
    assert runs[3]["metrics"] == {}
    assert (runs[4]["kept"], runs[4]["code"]) == (False, "unknown")


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
    runs = observe(theirs, "experiment.py")
    assert [run.code is None for run in runs[2:4]] == [True, True] and not any(run.claim for run in runs)
    (theirs / "results.tsv").write_text(f"commit\tloss\tstatus\tdescription\nabcd\t2\tkeep\t{'a' * 200_000}\n")
    found = type_(theirs)
    assert found.exit_code == 2 and "results.tsv: cannot be read as a table" in found.output
