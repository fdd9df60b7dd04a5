"""Whatever an experiment leaves on the disk, the campaign goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.files import remove
from harness.campaign.protocols import Silent
from harness.campaign.repository import Repository
from harness.campaign.stop import Stop
from harness.continuation import go_on
from tests.unprivileged import unprivileged

Make = Callable[..., Campaign]

DEEP = """
here = os.open(out, os.O_RDONLY)
for _ in range(3000):
    os.mkdir("d", dir_fd=here)
    here, before = os.open("d", os.O_RDONLY, dir_fd=here), here
    os.close(before)
os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
"""
LEFT = {
    "a name with a newline": ('(out / "new\\nline \\\\").write_text("x")', "completed", "new\nline \\"),
    "a name that ends in a carriage return": ('(out / "name\\r").write_text("x")', "completed", "name\r"),
    "a name that is no text": ('open(os.fsencode(out) + b"/\\xff\\xfe", "w")', "completed", "\udcff\udcfe"),
    "results in a file whose name is no text": ('open(os.fsencode(out) + b"/\\xff.json", "w")', "completed", "\udcff.json"),
    "a repository": ('(out / ".git").mkdir(); (out / ".git" / "HEAD").write_text("x")', "completed", ".git/HEAD"),
    "what some systems take for a repository": (
        '(out / "a" / "GIT~1").mkdir(parents=True); (out / "a" / "GIT~1" / "HEAD").write_text("x")',
        "completed",
        "a/GIT~1/HEAD",
    ),
    "what others do, to whom a backslash parts folders, and git": (
        r'(out / "b\\.git").write_text("x")',
        "completed",
        r"b\.git",
    ),
    "more folders in each other than git is given": (
        DEEP.replace("3000", "1200"),
        "completed",
        f"{'/'.join('d' * 1200)}/file",
    ),
    "a file that nobody may read": ('(out / "secret").write_text("x"); (out / "secret").chmod(0)', "completed", "secret"),
    "a folder that nobody may read": (
        '(out / "in").mkdir(); (out / "in" / "file").write_text("x"); (out / "in").chmod(0)',
        "completed",
        "in/file",
    ),
    "folders deeper than a path is long": (DEEP, "completed", None),
    "no out_dir": ("import shutil; shutil.rmtree(out)", "left_no_result", None),
    "a file in place of the out_dir": ('import shutil; shutil.rmtree(out); out.write_text("x")', "left_no_result", None),
    "an out_dir that nobody may read": ("out.chmod(0)", "completed", None),
    "a working copy that nobody may read": ("Path().absolute().chmod(0)", "completed", None),
}


@pytest.mark.parametrize("left", LEFT)
def test_what_an_experiment_leaves_does_not_end_the_campaign(make_campaign: Make, left: str) -> None:
    code, status, file = LEFT[left]
    script: dict[str, Any] = {
        "run 1, attempt 1": {
            "text": "HYPOTHESIS: odd.",
            "files": {"experiment.py": _EXPERIMENT + '\nif not os.environ.get("HARNESS_SMOKE"):\n' + _indented(code)},
        },
        "run 1, attempt 2": {"text": "ALL_COMPLETED"},
        "run 2, attempt 1": {"text": "ALL_COMPLETED"},
    }
    campaign = make_campaign(script)

    def goes_on() -> None:
        ending = go_on(campaign, view=Silent(), stop=Stop())
        assert ending.reason == "all_completed", ending.message
        record = campaign.read_records()[1]
        assert record.attempts[0].status == status
        assert not any((campaign.local / "executions").iterdir()), "working copies are removed"
        in_git = Repository(campaign.root, campaign.local).files("HEAD", ["run_1"])
        assert any("too deep to look into" in warning for warning in record.warnings) == ("deeper" in left)
        if file is None:
            return
        if "git" in left or "repository" in left:
            assert f"run_1/{file}" not in in_git
            assert any(file.partition("/")[0] in warning and "git" in warning for warning in record.warnings)
        else:
            assert in_git[f"run_1/{file}"] == (b"" if "no text" in left else b"x")
        assert (campaign.run_folder(1) / file).exists()

    try:
        unprivileged(goes_on)
        assert remove(campaign.run_folder(1)) == ""
        subprocess.run(["git", "fsck", "--strict"], cwd=campaign.root, check=True)
    finally:
        remove(campaign.root)  # which pytest could not where it is deep, and then no later session would end well


_EXPERIMENT = (__import__("pathlib").Path(__file__).parent / "small" / "experiment.py").read_text().replace("0.05", "0.1")


def _indented(code: str) -> str:
    return "".join(f"    {line}\n" for line in code.strip().splitlines())
