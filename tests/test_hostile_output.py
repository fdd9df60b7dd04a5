"""What an agent or an experiment wrote, wherever people open it: no terminal and no spreadsheet takes an order from it."""

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.repository import Repository
from harness.campaign.text import commands_terminal
from harness.campaign.usage import Usage
from harness.cli.main import cli
from harness.report.notes import render_notes
from tests.conftest import SMALL
from tests.synthetic import fill

HOSTILE = "\r\x1b[2Jx\x1b]0;title\x07\x9b31m\u202egnp\u2066 \ud83d \x7f\x08"
COMMANDS = (
    ("status", "{}"),
    ("status", "{}", "--json"),
    ("log", "{}"),
    ("log", "{}", "--json"),
    ("log", "{}", "--csv"),
    ("show", "{}", "1"),
    ("show", "{}", "1", "--json"),
    ("show", "{}", "1", "--csv"),
    ("show", "{}", "3"),
    ("compare", "{}"),
    ("compare", "{}", "--json"),
    ("compare", "{}", "--csv"),
    ("diff", "{}", "1"),
    ("diff", "{}", "1", "--stat"),
    ("diff", "{}", "1", "--stat", "--json"),
    ("diff", "{}", "1", "--word-diff"),
    ("notes", "{}"),
    ("check", "{}"),
    ("adopt", "{}", "1", "--yes", "--into", "mine"),
)


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def synthetic(folder: Path, hostile: str) -> Campaign:
    utf8 = hostile.encode(errors="replace").decode()
    idea = Idea(Name="small", Title=f"A small idea{utf8}", Experiment=f"Make the loss smaller.{utf8}")
    campaign = create_campaign(folder, idea, SMALL, Options(), python="python3")
    fill(campaign, 3, hostile=hostile)
    records = campaign.read_records()
    notes = render_notes(idea, campaign.contract, "", records, used=Usage(), person="", closing=f"done{utf8}")
    assert not commands_terminal(notes.encode())
    campaign.notes.write_text(notes + f"a line of nobody{utf8}", encoding="utf-8")
    return campaign


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> Campaign:
    return synthetic(tmp_path_factory.mktemp("runs"), HOSTILE)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_passes_an_escape_sequence_on(campaign, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = Path("mine")
    mine.mkdir()
    (mine / "experiment.py").write_bytes((SMALL / "experiment.py").read_bytes())
    done = ask(*(part.format(campaign.root) for part in command))
    assert done.exit_code in (0, 4), (done.output, done.exception)
    assert done.stdout_bytes.strip()
    assert not commands_terminal(done.stdout_bytes)
    if "--json" in command:
        facts = json.loads(done.output)
        assert "\\x1b[2J" in str(facts) or "diff" in command, "the same facts, and all of them"


@pytest.mark.parametrize("form", ["md", "tex", "html"])
def test_no_document_holds_an_escape_sequence(campaign, form, tmp_path):
    assert ask("writeup", campaign.root, "--format", form, "--out", tmp_path / f"paper.{form}").exit_code == 0
    written = [path for path in tmp_path.rglob("*") if path.suffix in (".md", ".tex", ".html", ".bib")]
    assert written
    assert not [path.name for path in written if commands_terminal(path.read_bytes())]
    assert ask("report", campaign.root, "--out", tmp_path / "report.html").exit_code == 0
    assert not commands_terminal((tmp_path / "report.html").read_bytes())


def test_the_patch_of_a_hostile_change_is_letters_and_applies_byte_by_byte(campaign, tmp_path):
    before, after = b"x = 1\n" * 9, b"x = 1\n" * 8 + b"x = 2  # \x1b[2J \xe2\x80\xae\r# hidden\n"
    repository = Repository(campaign.root, campaign.local)
    old = repository.commit("a", "a", {"experiment.py": before, "plain.py": b"x = 1\n"})
    new = repository.commit("b", "b", {"experiment.py": after, "plain.py": b"x = 2\n"})
    patch = repository.patch_in_letters(old, new, ["experiment.py", "plain.py"])
    assert not commands_terminal(patch)
    assert b"+x = 2\n" in patch, "a change that is plain stays readable"
    (tmp_path / "change.patch").write_bytes(patch)
    (tmp_path / "experiment.py").write_bytes(before)
    (tmp_path / "plain.py").write_bytes(b"x = 1\n")
    subprocess.run(["git", "apply", "change.patch"], cwd=tmp_path, check=True)
    assert (tmp_path / "experiment.py").read_bytes() == after
    assert (tmp_path / "plain.py").read_bytes() == b"x = 2\n"


FORMULAS = ("=HYPERLINK(1)", "@SUM(1)*cmd|' /C calc'!A0", "+cmd|x", "-2+3", "\t=1+1", '"=1+1', "\uff1d1+1")


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_spreadsheet_executes_no_cell(formula, tmp_path, monkeypatch):
    printed = io.StringIO()
    monkeypatch.setattr("sys.stdout", printed)
    from harness.cli.options import print_csv

    print_csv(["name", "value"], [[formula, -0.5], ["-0.5", "+1e-3"], ["L0 - k", None]])
    _, first, second, third = csv.reader(io.StringIO(printed.getvalue()))
    assert first == [f"'{formula.strip()}", "-0.5"]
    assert second == ["-0.5", "+1e-3"], "numbers stay numbers"
    assert third == ["L0 - k", ""]
