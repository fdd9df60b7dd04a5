"""`harness diff`: a patch in a file, colours and a pager on a terminal. Real processes at a real terminal."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from click import unstyle
from click.testing import CliRunner

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.record import Record, VerdictRecord
from harness.campaign.repository import Repository
from harness.cli.main import cli
from harness.report.terminal.diff import FileChange, blocks, changes, stat, words_in_colours
from harness.report.terminal.syntax import pieces
from tests.conftest import SMALL
from tests.pseudo_terminal import at_terminal

BEFORE = b"x = 1\r\n" * 9 + b"def old(a):\r\n    return a\r\nlast = 1  # \xe9"
AFTER = b"x = 1\r\n" * 9 + b'def new(a):\r\n    return a + 1  # "more"\r\nlast = 2  # \xe9'


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> Campaign:
    """One whose run 1 changes a file with Windows' line ends, a letter that is no UTF-8, and no newline at its end."""
    idea = Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller.")
    campaign = create_campaign(tmp_path_factory.mktemp("runs"), idea, SMALL, Options(), python="python3")
    repository = Repository(campaign.root, campaign.local)
    repository.create()
    for run, code in enumerate((BEFORE, AFTER)):
        verdict = VerdictRecord(kind="improved" if run else "baseline")
        commit = repository.commit(f"run_{run}", "c", {"experiment.py": code})
        record = Record(run=run, status="completed", verdict=verdict, commit=commit, parent=0 if run else None)
        campaign.run_folder(run).mkdir()
        record.write(campaign.run_folder(run))
    return campaign


def test_in_a_file_it_is_a_patch_that_git_applies_byte_by_byte(campaign, tmp_path):
    done = CliRunner().invoke(cli, ["diff", str(campaign.root), "1"])
    (tmp_path / "change.patch").write_bytes(done.stdout_bytes)
    (tmp_path / "experiment.py").write_bytes(BEFORE)
    subprocess.run(["git", "apply", "change.patch"], cwd=tmp_path, check=True)
    assert (tmp_path / "experiment.py").read_bytes() == AFTER


def test_a_terminal_has_colours_and_gits_pager(campaign, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    config = tmp_path / "gitconfig"
    config.write_text(f"[core]\n\tpager = \"cat > '{seen}'; echo by core.pager\"\n")
    assert "by GIT_PAGER" in at_terminal("diff", campaign.root, 1, GIT_PAGER=f"cat > '{seen}'; echo by GIT_PAGER")[1]
    text = seen.read_text()
    assert "\x1b[34m\x1b[1mreturn" in text
    assert unstyle(text).endswith("\n")
    both = {"GIT_CONFIG_GLOBAL": str(config), "PAGER": "echo by PAGER"}
    assert "by core.pager" in at_terminal("diff", campaign.root, 1, **both)[1]
    assert at_terminal("diff", campaign.root, 1, PAGER="cat >/dev/null; echo by PAGER")[1] == "by PAGER\n"
    code, shown = at_terminal("diff", campaign.root, 1, "--no-pager", PAGER="echo by PAGER")
    assert (code, unstyle(shown)) == (0, unstyle(text))


def test_a_pager_that_is_not_there_or_is_left_early_is_no_trouble(campaign):
    code, shown = at_terminal("diff", campaign.root, 1, PAGER="no-such-pager-anywhere")
    assert code == 0
    assert "+def new(a):" in unstyle(shown)
    assert at_terminal("diff", campaign.root, 1, PAGER="true") == (0, "")
    assert "+def new(a):" in unstyle(at_terminal("diff", campaign.root, 1, GIT_PAGER="")[1])


def test_no_color_and_a_dumb_terminal_have_none_unless_asked_for(campaign):
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        shown = at_terminal("diff", campaign.root, 1, "--no-pager", **environment)[1]
        assert "+def new(a):" in shown
        assert "\x1b" not in shown
    for arguments in (("diff", campaign.root, "1"), ("diff", campaign.root, "1", "--word-diff")):
        plain = CliRunner().invoke(cli, [*map(str, arguments)]).output
        coloured = CliRunner().invoke(cli, [*map(str, arguments), "--color", "always"]).output
        assert "\x1b" not in plain
        assert "\x1b[32m" in coloured


def test_words_are_marked_also_without_colours(campaign):
    shown = CliRunner().invoke(cli, ["diff", str(campaign.root), "1", "--word-diff"]).output
    assert "def [-old(a):-]{+new(a):+}\n" in shown
    assert 'return a {++ 1  # "more"+}' in shown
    assert shown.startswith("diff --git a/experiment.py b/experiment.py\n")


def test_the_table_of_files_is_text_json_and_csv(campaign):
    shown = CliRunner().invoke(cli, ["diff", str(campaign.root), "1", "--stat"]).output
    assert re.search(r"^experiment\.py +\+3 +-3 +\+\+\+---$", shown, re.M)
    assert "1 file changed, 3 lines added, 3 removed" in shown
    assert "1 file changed, 1 line added, 1 removed" in stat([FileChange("a.py", 1, 1)], 80)
    facts = json.loads(CliRunner().invoke(cli, ["diff", str(campaign.root), "1", "--stat", "--json"]).output)
    assert facts == [{"path": "experiment.py", "added": 3, "removed": 3}]
    for wrong in (["--json"], ["--csv"], ["--stat", "--word-diff"], ["--stat", "--csv", "--json"]):
        assert CliRunner().invoke(cli, ["diff", str(campaign.root), "1", *wrong]).exit_code == 2


def test_what_is_no_text_and_a_long_change_have_their_place_in_the_table():
    found = changes("-\t-\tdata.bin\x00900\t1\tsrc/a file\twith a tab.py\x00")
    assert found == [FileChange("data.bin", None, None), FileChange("src/a file\twith a tab.py", 900, 1)]
    lines = unstyle(stat(found, 50)).split("\n")
    assert max(map(len, lines)) <= 50
    assert "binary" in lines[1]
    assert lines[2].rstrip().endswith("+-")


def test_a_line_in_a_hunk_that_looks_like_a_header_is_a_line(campaign):
    text = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- a/y\n+++ b/y\n same\n"
    assert blocks(text)[1] == ("x", [("@", "@@ -1,2 +1,2 @@"), ("-", "-- a/y"), ("+", "++ b/y"), (" ", "same")])
    shown = words_in_colours("diff --git a/x b/x\n@@ -1 +1 @@\n-diff --git\n+~\n \x1b[2J\n~\n")
    assert unstyle(shown).endswith("[-diff --git-]{+~+}\\x1b[2J")


@pytest.mark.parametrize("lines", [["'''", "x = 1", ""], ["", "", "\tif"], ["\x0c", "é = 1\x85"], []])
def test_pieces_are_the_line_whatever_a_lexer_makes_of_it(lines):
    for path in ("a.py", "a.toml", "no extension"):
        assert ["".join(text for _, text in each) for each in pieces(path, lines)] == lines


def test_nothing_is_written_where_it_is_looked_at(campaign):
    def state() -> dict[Path, int]:
        return {path: path.lstat().st_mtime_ns for path in campaign.root.rglob("*")}

    before = state()
    assert at_terminal("diff", campaign.root, 1, "--no-pager")[0] == 0
    assert state() == before
