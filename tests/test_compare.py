"""`harness compare`, and how `log` and `show` set numbers beside each other with their noise."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner, Result
from rich.cells import cell_len

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.record import ComparisonRecord, ControlRecord, Record
from harness.campaign.repository import Repository
from harness.cli.main import cli
from harness.cli.terminal import PIPE_WIDTH
from harness.report.terminal import compare as comparison
from harness.report.terminal import record_page, run_table
from harness.report.terminal.columns import Cell, Column, table
from harness.report.terminal.difference import beside, set_with_errors
from tests.conftest import SMALL
from tests.synthetic import HOSTILE, fill, forget


@pytest.fixture(autouse=True)
def wide(monkeypatch) -> None:
    """Output is as wide as a file's, whatever terminal the tests are started in."""
    monkeypatch.setenv("COLUMNS", str(PIPE_WIDTH))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Campaign:
    """A campaign with a baseline and three runs of three seeds; run 2 is worse, run 3 failed."""
    idea = Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller.")
    campaign = create_campaign(tmp_path_factory.mktemp("runs"), idea, SMALL, Options(), python="python3")
    fill(campaign, 3, seeds=3)
    return campaign


@pytest.fixture
def copy(recorded, tmp_path) -> Callable[[str], Campaign]:
    """Makes a copy of that campaign."""

    def make(name: str) -> Campaign:
        return Campaign(Path(shutil.copytree(recorded.root, tmp_path / name)))

    return make


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def ask(*arguments: object, **named: Any) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments], **named)


def reasons(one: Campaign, other: Campaign) -> list[str]:
    done = ask("compare", one.root, other.root, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.output)["campaigns"][1]["reasons"]


def test_campaigns_of_the_same_experiment_are_comparable_and_their_runs_stand_in_one_table(recorded, copy):
    done = ask("compare", recorded.root, copy("other").root)
    assert done.exit_code == 0, done.output
    assert "other is comparable with small" in " ".join(done.output.split())
    rows = [line.split() for line in done.output.splitlines() if re.match(r" +\d ", line)]
    assert [row[0] for row in rows] == ["0", "1", "2", "3"] * 2
    assert [row[1] for row in rows[:4]] == ["baseline", "inconclusive", "worse", "failed"]
    assert "rate=0.1" in done.output
    assert "better?" in done.output, "no limits were recorded for the primary metric"


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("campaign.json", lambda d: d["options"].update(profile="large"), "profile: large against small"),
        ("campaign.json", lambda d: d["contract"].update(seed=7), "contract: seed differs"),
        ("campaign.json", lambda d: d["contract"]["metric"][1].update(better="higher"), "contract: metric distance differs"),
        (
            "campaign.json",
            lambda d: d["contract"].update(sanity=[], comparable=["steps", "mode"]),
            "contract: sanity, comparable differ",
        ),
        (
            "run_0/record.json",
            lambda d: d["environment"].update(gpu="NVIDIA H200", python="3.12.1"),
            "environment: python 3.12.1 against 3.11.7, gpu NVIDIA H200 against none",
        ),
        (
            "run_0/record.json",
            lambda d: d.update(settings={"steps": {"value": 80, "baseline": 80, "source": "reported"}}),
            "scale of the baseline: steps 80 against not reported",
        ),
        (
            "run_0/record.json",
            lambda d: d.update(settings={"scorer.version": {"value": 2, "baseline": 2, "source": "scorer"}}),
            "scale of the baseline: scorer.version 2 against not reported",
        ),
    ],
)
def test_campaigns_that_differ_in_what_decides_a_number_are_not_comparable(recorded, copy, file, change, said):
    other = copy("other")
    edit(other.root / file, change)
    assert reasons(recorded, other) == [said]
    assert "other is not comparable with small" in ask("compare", recorded.root, other.root).output


def test_words_limits_and_the_machines_name_are_no_difference(recorded, copy):
    other = copy("other")
    edit(other.options_file, lambda d: d["contract"].update(description="x", interface="y", limits={"time": 5}))
    edit(other.options_file, lambda d: d["contract"]["metric"][0].update(label="the loss"))
    edit(other.run_folder(0) / "record.json", lambda d: d["environment"].update(host="b", model="m", agent="a"))
    assert reasons(recorded, other) == []


def test_other_baseline_code_is_named_and_a_copy_without_git_cannot_tell(recorded, copy):
    other = copy("other")
    commit = Repository(other.root, other.local).commit("x", "c", {"experiment.py": b"other = 1\n"})
    edit(other.run_folder(0) / "record.json", lambda d: d.update(commit=commit))
    assert reasons(recorded, other) == ["baseline code: experiment.py differ"]
    shutil.rmtree(other.root / ".git")
    assert "cannot be told" in reasons(recorded, other)[0]


def test_the_same_campaign_twice_is_one_and_equal_names_are_told_apart_by_their_paths(recorded, copy, tmp_path):
    assert len(json.loads(ask("compare", recorded.root, recorded.root, "--json").output)["campaigns"]) == 1
    twin = tmp_path / "elsewhere" / "small"
    shutil.copytree(recorded.root, twin)
    facts = json.loads(ask("compare", recorded.root, twin, "--json").output)
    assert [each["name"] for each in facts["campaigns"]] == [str(recorded.root), str(twin)]


def test_any_metric_can_be_compared_and_an_unknown_one_lists_the_known(recorded):
    done = ask("compare", recorded.root, "--metric", "distance")
    assert "distance (lower is better)" in done.output
    assert "Verdicts are about loss" in " ".join(done.output.split())
    assert re.search(r"^ +1  inconclusive +0\.65\d? ± 0\.0\d{1,2}  \+0\.15\d? ± 0\.0\d{1,2} worse ", done.output, re.M)
    done = ask("compare", recorded.root, "--metric", "nothing")
    assert done.exit_code == 2
    assert "loss, distance, width" in done.stderr


def test_a_campaign_without_a_record_is_refused_by_name(recorded, copy):
    other = copy("other")
    for run in reversed(range(len(other.read_records()))):
        forget(other, run)
    done = ask("compare", recorded.root, other.root)
    assert done.exit_code == 2
    assert "other: no run has a record yet" in done.stderr


def test_csv_has_one_header_full_precision_and_stable_columns(recorded):
    for arguments, header in (
        (("log", recorded.root), run_table.CSV),
        (("show", recorded.root, 2), record_page.CSV),
        (("compare", recorded.root), comparison.CSV),
        (("diff", recorded.root, 2, "--stat"), ("path", "added", "removed")),
    ):
        done = ask(*arguments, "--csv")
        assert done.exit_code == 0, done.output
        assert tuple(done.output.splitlines()[0].split(",")) == header
        rows = list(csv.DictReader(io.StringIO(done.output)))
        assert rows and all(None not in row and None not in row.values() for row in rows)
    compared = list(csv.DictReader(io.StringIO(ask("compare", recorded.root, "--csv").output)))
    stored = json.loads((recorded.run_folder(1) / "record.json").read_text())
    assert float(compared[1]["value"]) == stored["metrics"]["loss"]["value"]
    assert compared[3]["value"] == ""
    assert json.loads(compared[1]["settings"]) == {"rate": 0.1}
    assert ask("log", recorded.root, "--csv", "--json").exit_code == 2


@pytest.mark.parametrize("width", [30, 60, 80, 120, 200])
def test_every_table_fits_the_terminal(recorded, copy, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in (
        ("log", recorded.root),
        ("show", recorded.root, 2),
        ("compare", recorded.root, copy(f"a copy with a long name {width}").root),
        ("diff", recorded.root, 2, "--stat"),
        ("status", recorded.root),
    ):
        # A command to be typed is never broken.
        lines = [line for line in ask(*arguments).output.splitlines() if "harness " not in line]
        assert max(map(cell_len, lines)) <= max(width, 40 if arguments[0] == "show" else 0), arguments


def test_a_difference_has_a_sign_and_a_word_as_well_as_a_colour(recorded):
    shown = ask("show", recorded.root, 2, color=True).output
    [loss] = [line for line in shown.splitlines() if unstyle(line).startswith("loss ")]
    assert re.search(r"1\.00\d? ± 0\.0\d{1,2} +−0\.12\d? ± 0\.0\d{1,2} +better$", unstyle(loss)), unstyle(loss)
    assert "\x1b[32m" in loss
    assert "\x1b" not in ask("show", recorded.root, 2).output


def test_the_primary_metrics_word_is_the_verdicts_and_no_evidence_has_no_word(recorded, copy):
    other = copy("other")
    compared = ComparisonRecord(
        reference="run_0", mean=0.88, reference_mean=1.0, seeds=3, reference_seeds=3,
        difference=-0.12, low=-0.3, high=0.06, sd=0.1, reference_sd=0.1,
    ).model_dump()  # fmt: skip
    edit(
        other.run_folder(2) / "record.json", lambda d: d["verdict"].update(kind="not_significant", against_baseline=compared)
    )
    assert re.search(r"^loss .*−0\.12\d? ± 0\.0\d{1,2} +not significant$", ask("show", other.root, 2).output, re.M)
    [row] = [row for row in csv.DictReader(io.StringIO(ask("log", other.root, "--csv").output)) if row["low"]]
    assert float(row["difference_standard_error"]) == pytest.approx(0.1 * (2 / 3) ** 0.5)
    for kind in ("invalid", "no_effect", "not_comparable"):
        edit(other.run_folder(2) / "record.json", lambda d, kind=kind: d["verdict"].update(kind=kind))
        shown = ask("show", other.root, 2).output
        assert "better" not in shown.partition("metric")[2].partition("\n\n")[0]


def test_a_run_at_other_settings_stands_beside_its_control(recorded, copy):
    other = copy("other")
    control = ControlRecord(
        name="control steps=80", overrides={"steps": 80}, run=1, seeds=[0, 1], metrics={"loss": [0.5, 0.6]}
    )
    compared = ComparisonRecord(reference=control.name, mean=0.79, reference_mean=0.55, seeds=3, reference_seeds=2)

    def answered(data: dict[str, Any]) -> None:
        data["control"] = control.model_dump()
        data["verdict"]["against_baseline"] = compared.model_dump()

    edit(other.run_folder(1) / "record.json", answered)
    shown = ask("show", other.root, 1).output
    assert "control steps=80" in shown
    assert re.search(
        r"^loss +0\.79\d? ± 0\.0\d{1,2} +0\.55\d? ± 0\.0\d{1,2} +\+0\.24\d? ± 0\.0\d{1,2} +worse\?$", shown, re.M
    )
    assert "the control steps=80" in ask("log", other.root).output


def test_a_record_of_an_older_version_is_shown(recorded, copy):
    other = copy("other")

    def older(data: dict[str, Any]) -> None:
        for name in ("seeds", "earlier_verdicts", "control"):
            data.pop(name)
        for name in ("against_parent", "against_baseline", "guard_violations"):
            data["verdict"].pop(name)
        for metric in data["metrics"].values():
            metric.pop("values")

    for run in range(4):
        edit(other.run_folder(run) / "record.json", older)
    for arguments in (("log",), ("show", 1), ("compare",), ("diff", 1)):
        done = ask(arguments[0], other.root, *arguments[1:])
        assert done.exit_code == 0, done.output
    assert re.search(r"^loss .*better\?$", ask("show", other.root, 1).output, re.M)


def test_hostile_text_is_shown_and_obeyed_nowhere(tmp_path):
    idea = Idea(Name="hostile", Title="A small idea", Experiment="Make the loss smaller.")
    campaign = create_campaign(tmp_path, idea, SMALL, Options(), python="python3")
    fill(campaign, 1, seeds=2, hostile=HOSTILE)
    for arguments in (
        ("log",), ("log", "--csv"), ("show", 1), ("show", 1, "--csv"), ("compare",), ("compare", "--csv"),
        ("diff", 1, "--color", "always"), ("diff", 1, "--word-diff", "--color", "always"), ("diff", 1, "--stat"),
    ):  # fmt: skip
        done = ask(arguments[0], campaign.root, *arguments[1:])
        assert done.exit_code == 0, (arguments, done.output, done.exception)
        text = re.sub(r"\x1b\[[\d;]*m", "", done.output)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\u2066]", text), arguments
    assert len(list(csv.reader(io.StringIO(ask("compare", campaign.root, "--csv").output)))) == 3


def test_noise_is_pooled_over_both_groups_and_unknown_with_one_seed_each():
    found = beside([1.0, 3.0], [2.0, 4.0, 6.0], "lower")
    assert found.sd == pytest.approx((10 / 3) ** 0.5)
    assert found.error == pytest.approx((10 / 3) ** 0.5 * (1 / 2 + 1 / 3) ** 0.5)
    assert found.word == "not significant"
    assert beside([0.0, 0.1, 0.2], [5.0, 5.1, 5.2], "higher").word == "worse"
    assert beside([0.0, 0.1, 0.2], [5.0, 5.1, 5.2], None).word == ""
    one = beside([1.0], [2.0], "lower")
    assert one.error is None
    assert (one.word, beside([1.0], [1.0], "lower").word) == ("better?", "same")


def test_numbers_are_rounded_by_their_noise_and_stand_below_each_other():
    assert set_with_errors([0.11241, None, 0.2], [0.0081, None, None]) == ["0.112 ± 0.008", "", "0.2        "]
    assert set_with_errors([123456.0, 99.0], [2100.0, 12.0]) == ["123456 ± 2100", "99 ± 12  "]
    assert set_with_errors([0.5, 0.25], [None, None], signs=True) == ["+0.5", "+0.25"]
    assert set_with_errors([1e-20, 3e-20], [1e-21, None]) == ["1e-20 ± 1e-21", "3e-20        "]


def test_a_wrapped_cell_keeps_its_row_and_wide_letters_take_two_columns():
    columns = [Column("a", "a"), Column("n", "n", right=True, drop=1), Column("w", "w", least=8, wraps=True)]
    rows = [{"a": Cell("学习"), "n": Cell("7"), "w": Cell("one two three four")}, {"": Cell("heading " * 5)}]
    lines = [unstyle(each) for each in table(columns, rows, 20)]
    assert lines == ["a     n  w", "学习  7  one two", "         three four", "heading heading…"]


def test_a_rendered_record_is_read_back_from_its_file(recorded):
    record = Record.read(recorded.run_folder(2)).model_dump()
    again = json.loads((recorded.run_folder(2) / "record.json").read_text())
    contract = recorded.contract.model_dump()
    baseline = Record.read(recorded.run_folder(0)).model_dump()
    assert record_page.record(record, baseline, contract, 80) == record_page.record(again, baseline, contract, 80)


def test_a_unit_stands_behind_the_name_wherever_the_contract_gives_one(recorded, copy):
    other = copy("other")
    edit(other.options_file, lambda d: d["contract"]["metric"][0].update(unit="nats"))
    assert re.search(r"^run +verdict +loss \(nats\) ", ask("log", other.root).output)
    assert re.search(r"^loss \(nats\) +0\.", ask("show", other.root, 2).output, re.M)
    assert "loss (nats; lower is better)" in ask("compare", other.root).output
    assert reasons(recorded, other) == [], "a unit is no other contract"
