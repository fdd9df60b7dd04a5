"""A campaign is looked at anywhere: copied to another machine, read-only, another user's. Real process, files and git."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.paths import PathNames, without_local_paths
from harness.campaign.protocols import Job, Limits, Outcome, Silent
from harness.campaign.stop import Stop
from harness.cli.main import cli
from harness.continuation import go_on
from tests.conftest import SMALL

SCRIPT = {
    "run 1, attempt 1": {
        "text": "HYPOTHESIS: {workspace}/experiment.py reads {workspace} better.",
        "edits": [["experiment.py", "steps = 0", "steps = 0\njson.loads('{' + str(out.absolute()))"]],
    },
    "run 1, attempt 2": {
        "text": "HYPOTHESIS: a larger rate helps.\n\nDESCRIPTION: in run 0 loss was 0.5.",
        "edits": [
            ["experiment.py", "steps = 0\njson.loads('{' + str(out.absolute()))", "steps = 0\nprint(out.absolute())"],
            ["experiment.py", '"rate": 0.05', '"rate": 0.1'],
        ],
    },
}
READING = (
    ("status",),
    ("status", "--json"),
    ("log",),
    ("log", "--csv"),
    ("show", "1"),
    ("show", "0", "--csv"),
    ("diff", "1"),
    ("diff", "0", "1", "--stat"),
    ("compare",),
    ("notes",),
    ("brief",),
)


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Campaign:
    """A campaign with an attempt that crashed and a run, which waits for a model."""
    folder = tmp_path_factory.mktemp("an other machine ä")
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT))
    campaign = create_campaign(
        folder / "runs",
        Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
        SMALL,
        Options(agent="tests.scripted:ScriptedAgent", max_runs=3),
        python=sys.executable,
        session=script,
    )
    assert go_on(campaign, view=Silent(), stop=Stop()).reason == "session_over"
    return campaign


@pytest.fixture
def elsewhere(executed, tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of it at another place, without this machine's state, that nobody may write and that another user owns."""
    root = Path(shutil.copytree(executed.root, tmp_path / "copy", ignore=shutil.ignore_patterns(".harness")))
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    everything = [root, *root.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
        if os.geteuid() == 0:
            os.chown(path, 12345, 12345)
    monkeypatch.chdir(tmp_path)
    yield root
    for path in everything:
        path.chmod(0o755 if path.is_dir() else 0o644)


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def state(root: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [root, *root.rglob("*")]}


def test_every_command_that_reads_does_so_anywhere_and_writes_nothing(elsewhere):
    before = state(elsewhere)
    for command, *arguments in READING:
        done = ask(command, elsewhere, *arguments)
        assert done.exit_code == 0, (command, done.output, done.exception)
        assert done.output.strip()
    checked = ask("check", elsewhere)
    assert checked.exit_code in (0, 4)
    assert "contradiction" in checked.output
    assert state(elsewhere) == before


def test_the_report_is_written_elsewhere_where_the_folder_is_not_writable(elsewhere, tmp_path):
    before = state(elsewhere)
    done = ask("report", elsewhere, "--out", tmp_path / "report.html")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "a larger rate helps" in (tmp_path / "report.html").read_text()
    assert state(elsewhere) == before


def test_a_copy_says_the_same_as_the_campaign(executed, elsewhere, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    for command, *arguments in (("log",), ("show", "1"), ("diff", "1"), ("notes",), ("brief",)):
        assert ask(command, elsewhere, *arguments).output == ask(command, executed.root, *arguments).output


def test_no_committed_file_names_a_place_of_the_machine(executed):
    git = ["git", "-C", str(executed.root), "-c", "core.quotePath=false"]
    files = subprocess.run([*git, "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n")
    assert "run_1/attempts/1/smoke.txt" in files
    assert "run_1/log.txt" in files
    places = rf"{re.escape(str(executed.root.parents[1]))}|{re.escape(sys.prefix)}/|/site-packages|{Path.home()}/"
    absolute = rf"(^|[ \"'(=:])(/(root|home|tmp|usr|opt|var|mnt|work|Users)/|{places})"
    found = subprocess.run([*git, "grep", "-nE", absolute, "HEAD"], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    text = (executed.root / "run_1/attempts/1/smoke.txt").read_text()
    assert 'File "experiment.py", line ' in text
    assert re.search(r'File "lib/python3\.\d+/json/decoder\.py"', text)
    assert (executed.root / "run_1/log.txt").read_text().startswith("run_1\n")
    reply = (executed.root / "run_1/attempts/1/reply.md").read_text()
    assert reply.strip() == "HYPOTHESIS: experiment.py reads . better."


def test_a_message_that_ends_a_campaign_is_written_down_without_the_place(make_campaign, experiment):
    (experiment / "experiment.toml").write_text('[[sanity]]\nvalue = "loss"\nat_most = 0\n')
    campaign = make_campaign({})
    ending = go_on(campaign, view=Silent(), stop=Stop())
    assert str(campaign.run_folder(0)) in ending.message
    said = campaign.journal.read_text()
    assert "in run_0." in said
    assert str(campaign.root) not in said


def test_only_the_folders_themselves_are_renamed():
    places = PathNames({Path("/data/runs/x"): "", Path("/data"): "~", Path("/"): "!"})
    assert places.hide("/data/runs/x/a.py /data/runs/x, /data/runs/xy /data/y. /database /mnt/data/z") == (
        "a.py ., ~/runs/xy ~/y. /database /mnt/data/z"
    )
    assert places.hide("/usr/lib/python3.11/json/x.py /a/b/lib/python3.12/site-packages/y.py") == (
        "lib/python3.11/json/x.py lib/python3.12/site-packages/y.py"
    )


def test_an_output_of_any_bytes_keeps_what_is_no_place(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"\xff\x00/work dir/copy/x.py /cache/a\r\n")
    environment = {"CACHE": "/cache", "HOME": "/work dir", "LIST": "/a:/b"}
    job = Job(("true",), Path("/work dir/copy"), Path("/work dir/copy/run_1"), Path("/work dir/s"), environment, Limits())
    outcome = Outcome("crashed", 1, "no /work dir/copy/x.py", 1.0, None, "log.txt", True)
    assert without_local_paths(outcome, log, job).why == "no x.py"
    assert log.read_bytes() == b"\xff\x00x.py $CACHE/a\r\n"
