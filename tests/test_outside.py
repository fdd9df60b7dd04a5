"""A campaign that somebody else drives: opened, told of changes, ended; the commands as they are typed."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from harness.agents.answer import composed, parse
from harness.campaign.campaign import Campaign
from harness.campaign.journal import Journal, locked
from harness.campaign.not_confined import NOT_CONFINED
from harness.cli.doctor import _driven_from_outside
from harness.cli.main import cli
from harness.report.terminal.live_view import LiveView
from harness.report.terminal.outcome import standing, try_page
from harness.report.terminal.status import read_status
from tests.waiting import HANGS

SMALL = Path(__file__).parent / "small"
IDEA = {"Name": "small", "Title": "A small idea", "Experiment": "Make the loss smaller."}
pytestmark = pytest.mark.usefixtures("quick")
FASTER = ('"rate": 0.05', '"rate": 0.1')


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment, an idea, and a campaign whose baseline is measured."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(SMALL, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "idea.json").write_text(json.dumps(IDEA))
    (folder / "data.csv").write_text("1,2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(cli, ["open", "idea.json", "--max-runs", "3", "--json"])
    assert done.exit_code == 0, done.output
    opened = json.loads(done.stdout)
    assert (opened["outcome"], opened["state"], opened["left"]["runs"]) == ("opened", "waiting", 3)
    assert any("harness try small" in command for command in opened["next"])
    return folder


@pytest.fixture
def campaign(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """The same, this test's own, in the folder that it works in."""
    shutil.copytree(begun, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here")
    return Campaign(tmp_path / "here" / "runs" / "small")


def type_(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def try_(*more: str, hypothesis: str = "it falls faster") -> tuple[int, dict[str, Any]]:
    done = type_("try", "small", "--hypothesis", hypothesis, "--json", *more)
    return done.exit_code, json.loads(done.stdout)


def edit(campaign: Campaign, *changes: tuple[str, str]) -> None:
    replace(campaign.root / "experiment.py", *changes)


def replace(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def code(campaign: Campaign) -> str:
    return (campaign.root / "experiment.py").read_text()


def test_what_was_edited_in_the_campaign_is_taken_to_a_verdict(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    status, found = try_("--notes", "The rate is doubled.", "--by", "Ada")
    assert (status, found["outcome"], found["verdict"]) == (0, "judged", "inconclusive")
    assert found["against_baseline"]["mean"] < found["against_baseline"]["reference_mean"]
    assert found["left"] == {"runs": 2, "attempts_at_next_run": 4}
    page = try_page(found, campaign, 200)
    assert "harness confirm " in page and " 0 --seeds 3 && harness confirm " in page
    record = campaign.read_records()[1]
    assert (record.hypothesis, record.description, record.agent) == ("it falls faster", "The rate is doubled.", "Ada")
    # Who drove is in no sandbox, and what it cost is unknown: show, notes and paper say so.
    assert record.agent_sandbox == NOT_CONFINED
    shown = type_("show", "small", "1").stdout
    assert "none: driven from outside" in shown and "Weaker here" in shown
    assert re.search(r"used +tokens and cost unknown", shown)
    assert "Ada: tokens and cost unknown" in campaign.notes.read_text()
    assert "handed in from outside: whoever made the changes" in type_(
        "writeup", "small", "--format", "md"
    ).stdout + "".join(path.read_text() for path in campaign.root.parent.glob("*.md"))
    assert not record.attempts[0].by_person
    assert type_("brief", "small").exit_code == 0
    for said in (shown, campaign.notes.read_text(), type_("tell", "small", "Go on.").stdout, type_("brief", "small").stdout):
        assert "agent" not in re.sub(r"- agent: outside|from an agent, a reviewer", "", said.lower()), said
    # What the next try starts from is in place: where noise is unknown, the best number.
    assert (found["code"]["of_run"], FASTER[1] in code(campaign)) == (1, True)
    assert "falls faster" in campaign.notes.read_text()
    assert "The end" not in campaign.notes.read_text()


def test_a_command_with_json_prints_one_object_whatever_happens(campaign: Campaign) -> None:
    typed = [
        (["try", "small", "--hypothesis", "nothing", "--json"], 2, "nothing differs"),
        (["try", "small", "--json"], 2, "--hypothesis"),
        (["try", "nowhere", "--hypothesis", "x", "--json"], 2, "no such campaign"),
        (["try", "small", "--json", "--jobs", "0"], 2, "'--jobs': 0 is not in the range"),
        (["open", "idea.json", "--json", "--profile", "none"], 2, "no such profile"),
        (["open", "idea.json", "idea.json", "--json"], 2, "one idea at a time"),
        (["show", "small", "7", "--json"], 2, "no record of it"),
        (["brief", "--json"], 2, "Missing argument 'CAMPAIGN'"),
        (["resume", "small", "--json", "--force"], 2, "has no rejected change"),
    ]
    for words, code, why in typed:
        done = type_(*words)
        said = json.loads(done.stdout)
        assert (done.exit_code, said["exit_code"], said["outcome"]) == (code, code, "wrong_input"), words
        assert why in said["message"] and why in " ".join(done.stderr.split()), (words, done.stderr)
    (campaign.root / "campaign.json").write_text("{}")
    (campaign.root / ".git").rename("elsewhere")
    done = type_("status", "small", "--json")
    assert (done.exit_code, json.loads(done.stdout)["outcome"]) == (4, "cannot_go_on")


def test_doctor_says_what_is_weaker_where_somebody_else_drives() -> None:
    found = _driven_from_outside()
    assert found.name == "agent" and "was not in the sandbox" in found.detail


def test_a_rejected_change_costs_an_attempt_stays_in_place_and_is_mended_there(campaign: Campaign) -> None:
    edit(campaign, FASTER, ("x = 5.0", "x = 5.0 +"))
    status, found = try_()
    assert (status, found["outcome"], found["status"]) == (6, "rejected", "rejected")
    assert "line 17 does not parse" in found["why"]
    assert found["left"] == {"runs": 3, "attempts_at_next_run": 3}
    assert found["code"]["with_failed_attempt"]
    assert "x = 5.0 +\n" in code(campaign)
    page = try_page(found, campaign, 100)
    assert "harness resume " in page and "--force" in page and "harness show" not in page
    # The brief says that it is in place, and how to go back.
    told = json.loads(type_("brief", "small", "--json").stdout)["brief"]
    [back] = re.findall("The code is that of run 0, the baseline, with the change of attempt 1, which .*`(git .*)`", told)
    rejected = code(campaign)
    subprocess.run(shlex.split(back), check=True)
    assert code(campaign) == (SMALL / "experiment.py").read_text()
    assert f"`{back}`" in " ".join(type_("brief", "small").stdout.split())
    (campaign.root / "experiment.py").write_text(rejected)
    for left in (2, 1, 0):
        edit(campaign, ("x = 5.0 +", "x = 5.0 + +"))
        status, found = try_()
        assert (status, found["attempts_used_up"]) == (6, left == 0)
    # Each command that is named then works.
    page = try_page(found, campaign, 100)
    assert "run 1 has no attempt left and is recorded as failed" in page and "--force" not in page
    assert found["next"][-1] == "harness diff small 1"
    assert "x = 5.0 + + + +" in type_(*found["next"][-1].split()[1:]).output
    # An attempt's code is shown, too, by the number that the table has.
    assert re.search(r"^-x = 5.0$\n(^.*$\n)*^\+x = 5.0 \+ \+$", type_("diff", "small", "1.2").output, re.MULTILINE)
    assert "+x = 5.0 + +" in type_("diff", "small", "1.1", "1.2").output
    assert "1.9: no such attempt. `harness log small`" in type_("diff", "small", "1.9").stderr
    assert "`harness diff small 1.2` shows its change" in type_("show", "small", "1.2").stderr
    edit(campaign, FASTER)
    status, found = try_("--start-from", "1")
    said = "the verdict on it is failed, and no run starts from such code. There are 0 and 2, this one included."
    assert (status, said in found["message"]) == (2, True), found
    status, found = try_("--start-from", "2")
    assert (status, found["run"], found["attempt"]) == (0, 2, 1)


def test_a_change_that_crashes_when_it_is_executed_has_an_exit_code_of_its_own(campaign: Campaign) -> None:
    edit(campaign, ("print(", 'if settings["steps"] > 2:\n    raise RuntimeError("late trouble")\nprint('))
    status, found = try_()
    assert (status, found["outcome"], found["status"]) == (7, "failed", "crashed")
    assert "late trouble" in found["output"]


def test_a_change_may_come_from_a_folder_or_a_patch(campaign: Campaign, tmp_path: Path) -> None:
    shutil.copy(campaign.root / "experiment.py", tmp_path / "experiment.py")
    replace(tmp_path / "experiment.py", FASTER)
    status, found = try_("--from", str(tmp_path))
    assert (status, found["run"]) == (0, 1)
    replace(tmp_path / "experiment.py", ("x = 5.0", "x = 4.0"))
    patch = tmp_path / "change.patch"
    diff = ["diff", "-u", "--label", "a/experiment.py", "--label", "b/experiment.py"]
    done = subprocess.run(
        [*diff, campaign.root / "experiment.py", tmp_path / "experiment.py"], capture_output=True, check=False
    )
    patch.write_bytes(done.stdout)
    said = ["try", "small", "--json", "--hypothesis", "start nearer", "--patch", "-"]
    piped = CliRunner().invoke(cli, said, input=done.stdout)
    status, found = piped.exit_code, json.loads(piped.stdout)
    assert (status, found["run"], found["parent"]) == (0, 2, 1)
    piped = CliRunner().invoke(cli, said, input="no patch")
    assert "--patch -: does not apply to the code that is in place" in json.loads(piped.stdout)["message"]
    status, found = try_("--patch", str(patch), hypothesis="once more")
    assert status == 2
    assert "does not apply to the code that is in place" in found["message"]
    assert len(campaign.read_records()) == 3


LINK = "diff --git a/new.py b/new.py\nnew file mode 120000\n--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+/etc/passwd\n"


def test_what_cannot_be_a_change_is_refused_and_costs_no_attempt(campaign: Campaign, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "experiment.py").symlink_to(SMALL / "experiment.py")
    (tmp_path / "outside.patch").write_text("--- a/../../x.py\n+++ b/../../x.py\n@@ -0,0 +1 @@\n+x = 1\n")
    (tmp_path / "link.patch").write_text(LINK)
    (tmp_path / "nothing.patch").write_text("")
    head = "--- a/experiment.py\n+++ b/experiment.py\n@@ -1,2 +1,2 @@\n"
    (tmp_path / "old.patch").write_text(f"{head} once\n-upon\n+a time\n")
    (tmp_path / "cut.patch").write_text(f"{head} once\n")
    (tmp_path / "elsewhere.patch").write_text(f"{head} once\n-upon\n+a\n".replace("experiment", "another"))

    def refused(*arguments: str, why: str) -> None:
        status, found = try_(*arguments)
        assert (status, why in found["message"]) == (2, True), found
        assert not re.search(r"error:|allow-empty|fragment|corrupt", found["message"]), "git's words, which say nothing here"

    refused(why="nothing differs from the code that is in place")
    refused("--from", str(SMALL), why="nothing differs from the code that is in place")
    refused("--from", str(tmp_path / "empty"), why="holds no experiment.py")
    refused("--from", str(tmp_path / "nowhere"), why="no such folder")
    refused("--from", str(tmp_path / "link"), why="holds no experiment.py")
    refused("--patch", str(tmp_path / "nowhere"), why="cannot be read")
    refused("--patch", str(tmp_path / "outside.patch"), why="invalid path '../../x.py'")
    refused("--patch", str(tmp_path / "link.patch"), why="makes a link, new.py")
    refused("--patch", str(tmp_path / "nothing.patch"), why="no change of a file was found in it")
    refused(
        "--patch", str(tmp_path / "old.patch"), why="experiment.py differs around line 1 from what the patch changes there"
    )
    refused("--patch", str(tmp_path / "cut.patch"), why="line 5 of it breaks the format")
    refused("--patch", str(tmp_path / "elsewhere.patch"), why="it changes another.py, which is not there")
    refused("--from", ".", "--patch", "x", why="choose one")
    (campaign.root / "experiment.py").rename(tmp_path / "moved.py")
    refused(why="experiment.py: is gone. `git -C")
    (campaign.root / "experiment.py").symlink_to(tmp_path / "moved.py")
    refused(why="experiment.py: a link. Put the file itself there")
    assert type_("try", "small").exit_code == 2  # no hypothesis
    assert json.loads(type_("brief", "small", "--json").stdout)["left"] == {"runs": 3, "attempts_at_next_run": 4}
    assert not (tmp_path / "x.py").exists() and not campaign.submission.exists()


def test_what_is_no_text_is_rejected_and_other_ends_of_lines_are_a_change_like_any_other(
    campaign: Campaign, tmp_path: Path
) -> None:
    (tmp_path / "experiment.py").write_bytes(b"\xff\x00" * 99)
    status, found = try_("--from", str(tmp_path))
    assert (status, "not UTF-8 text" in found["why"]) == (6, True)
    assert "--force" not in try_page(found, campaign, 200)  # no commit can hold it
    text = (SMALL / "experiment.py").read_text().replace(*FASTER).replace("\n", "\r\n")
    (tmp_path / "experiment.py").write_bytes(text.encode())
    status, found = try_("--from", str(tmp_path), "--start-from", "1")
    assert (status, found["outcome"]) == (0, "judged")
    assert subprocess.check_output(["git", "-C", campaign.root, "show", "run_1:experiment.py"]).count(b"\r\n") > 20


def test_a_campaign_that_an_agent_drives_takes_no_change_from_outside(campaign: Campaign) -> None:
    Journal(campaign.journal).append("options", changes={"agent": "aider"})
    edit(campaign, FASTER)
    status, found = try_()
    assert (status, "aider makes its changes. `harness open IDEA.json`" in found["message"]) == (2, True)


def test_what_is_edited_in_place_is_not_lost_to_a_change_from_elsewhere(campaign: Campaign, tmp_path: Path) -> None:
    shutil.copy(campaign.root / "experiment.py", tmp_path / "experiment.py")
    replace(tmp_path / "experiment.py", FASTER)
    edit(campaign, ("x = 5.0", "x = 4.0"))
    status, found = try_("--from", str(tmp_path))
    assert (status, "would be lost" in found["message"]) == (2, True)
    assert "x = 4.0" in code(campaign)


def test_files_that_are_not_to_be_edited_are_put_back(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    contract = (campaign.root / "experiment.toml").read_text()
    (campaign.root / "experiment.toml").write_text(contract.replace('better = "lower"', 'better = "higher"'))
    (campaign.root / "data.csv").write_text("0,0\n")
    (campaign.root / "helper.py").write_text("x = 1\n")
    status, found = try_()
    assert status == 0
    assert "data.csv" in found["put_back"][0] and "experiment.toml" in found["put_back"][1]
    assert "helper.py: new, and no run has it" in found["left_out"][0]
    page = try_page(found, campaign, 200)
    assert "put back  experiment.toml was changed" in page and "left out  helper.py: new" in page
    assert (campaign.root / "data.csv").read_text() == "1,2\n"
    assert (campaign.root / "experiment.toml").read_text() == contract
    # Without an edit of the code they are no change, which costs no attempt.
    left = found["left"]
    (campaign.root / "experiment.toml").write_text("")
    (campaign.root / "data.csv").write_text("0,0\n")
    status, found = try_(hypothesis="other data")
    assert (status, found["outcome"]) == (2, "wrong_input")
    assert "data.csv, helper.py differ from what is in place, and experiment.py does not." in found["message"]
    assert "experiment.toml was empty: git's version is back" in found["message"]
    assert standing(campaign)["left"] == left


def test_a_run_or_a_setting_that_is_not_there_is_refused_before_anything_is_executed(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    status, found = try_("--start-from", "2")
    assert (status, "There are 0 to 1" in found["message"]) == (2, True)
    status, found = try_("--varies", "rate")
    assert (status, "It is one of steps" in found["message"]) == (2, True)
    assert len(campaign.read_records()) == 1
    assert try_("--start-from", "1", "--varies", "steps")[0] == 0


def test_a_change_that_is_not_comparable_is_handed_in_again_as_one_that_varies_it_on_purpose(campaign: Campaign) -> None:
    assert type_("resume", "small", "--no-controls").exit_code == 0
    edit(campaign, ('range(settings["steps"])', "range(30)"))
    status, found = try_()
    assert (status, found["verdict"], found["varies"]) == (0, "not_comparable", ["steps"])
    command = 'harness diff small 1 | harness try small --patch - --hypothesis "..." --varies steps'
    assert command in try_page(found, campaign, 200)
    change = CliRunner().invoke(cli, ["diff", "small", "1"]).stdout_bytes
    again = [*shlex.split(command.partition(" | ")[2])[1:], "--json"]
    found = json.loads(CliRunner().invoke(cli, again, change).stdout)
    assert (found["run"], found["attempt"], found["verdict"], found["varies"]) == (2, 1, "inconclusive", [])


def test_the_next_try_starts_where_the_last_one_said(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    _, found = try_("--start-from", "baseline")
    assert (found["code"]["of_run"], FASTER[0] in code(campaign)) == (0, True)
    assert try_("--start-from", "nowhere")[0] == 2


def test_an_edit_that_was_committed_in_the_campaign_is_a_change_like_any_other(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", "-C", campaign.root, *who, "commit", "-qam", "faster"], check=True)
    status, found = try_()
    assert (status, found["outcome"]) == (0, "judged")


def interrupt_after_smoke_test(monkeypatch: pytest.MonkeyPatch) -> None:
    append = Journal.append

    def cut(journal: Journal, event: str, **facts: Any) -> None:
        append(journal, event, **facts)
        if event == "done" and facts["step"] == "run_1/attempt_1/smoke_test":
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "append", cut)


def test_an_interrupted_try_goes_on_with_the_same_command_and_is_not_tried_twice(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(campaign, FASTER)
    interrupt_after_smoke_test(monkeypatch)
    status, found = try_()
    assert (status, found["outcome"], found["run"]) == (130, "interrupted", 1)
    assert (found["code"]["in_hand"], found["code"]["with_failed_attempt"]) == (True, False)
    monkeypatch.undo()
    monkeypatch.chdir(campaign.root.parents[1])
    for _ in range(2):
        status, found = try_()
        assert (status, found["outcome"], found["run"], found["attempt"]) == (0, "judged", 1, 1)
    assert len(campaign.read_records()) == 2


def test_a_try_that_another_one_goes_on_with_is_named_and_an_edit_that_waits_is_told(
    campaign: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(campaign, FASTER)
    interrupt_after_smoke_test(monkeypatch)
    assert try_()[0] == 130
    monkeypatch.undo()
    monkeypatch.chdir(campaign.root.parents[1])
    edit(campaign, ("x = 5.0", "x = 4.0"))
    brief = json.loads(type_("brief", "small", "--json").stdout)
    assert (brief["brief"], brief["state"], brief["code"]["edited"]) == (None, "interrupted", ["experiment.py"])
    assert "No brief yet: run 1, attempt 1, execution, comes first." in brief["message"]
    done = type_("try", "small", "--hypothesis", "start nearer")
    assert "run 1, attempt 1 of an earlier try was interrupted: it goes on first" in done.stdout
    assert [record.hypothesis for record in campaign.read_records()[1:]] == ["it falls faster", "start nearer"]
    edit(campaign, ("x = 4.0", "x = 3.0"))
    assert standing(campaign)["code"]["edited"] == ["experiment.py"]
    shutil.copy(campaign.root / "experiment.py", tmp_path)
    _, found = try_("--from", str(tmp_path), "--start-from", "0")
    assert found["code"]["edited"] == []


def test_what_was_handed_in_outlives_the_process_that_was_killed_before_it_was_taken_up(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(campaign, FASTER)
    append = Journal.append

    def cut(journal: Journal, event: str, **facts: Any) -> None:
        if event == "started" and facts["step"] == "run_1/attempt_1/turn":
            raise KeyboardInterrupt
        append(journal, event, **facts)

    monkeypatch.setattr(Journal, "append", cut)
    assert try_()[0] == 130
    monkeypatch.undo()
    monkeypatch.chdir(campaign.root.parents[1])
    edit(campaign, ("x = 5.0", "x = 4.0"))  # the next change, begun already
    assert type_("resume", "small").exit_code == 0
    first = campaign.read_records()[1]
    assert "x = 5.0" in subprocess.check_output(
        ["git", "-C", campaign.root, "show", f"{first.commit}:experiment.py"], text=True
    )
    assert "x = 4.0" in code(campaign)
    assert try_(hypothesis="start nearer")[1]["run"] == 2


def test_a_try_waits_for_another_and_says_for_whom(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    command = [sys.executable, "-c", "from harness.cli.main import main; main()", "try", "small", "--hypothesis", "faster"]
    with locked(campaign.lock):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout
        said = process.stdout.readline()
        assert "waits for another process (pid " in said
        assert not campaign.submission.exists()
    assert "inconclusive" in process.communicate(timeout=HANGS)[0]
    assert process.returncode == 0


def test_what_was_typed_wrong_leaves_the_campaign_where_it_stood(campaign: Campaign) -> None:
    def stands() -> tuple[str, str, int | None]:
        status = read_status(campaign)
        return status.reason, status.message, status.exit_code

    before = stands()
    assert before[0] == "waiting"
    assert try_()[0] == 2  # nothing is edited
    assert stands() == before
    for typed in (["resume", "small", "--max-runs", "4", "--force"], ["score", "small", "0", "--evals", "nothing"]):
        assert type_(*typed).exit_code == 2, typed
        assert (stands(), campaign.options().max_runs) == (before, 3)
    assert type_("end", "small").exit_code == 0
    ended = stands()
    assert try_()[0] == 2
    assert stands() == ended and ended[0] == "all_completed"


def test_the_end_concludes_and_a_further_try_goes_on(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    assert try_()[0] == 0
    ended = json.loads(type_("end", "small", "--json").stdout)
    assert (ended["outcome"], ended["exit_code"]) == ("ended", 0)
    assert ended["conclusion"].startswith("Inconclusive: ")
    brief = type_("brief", "small", "--json")
    told = json.loads(brief.stdout)
    assert (brief.exit_code, told["state"], told["reason"], told["brief"]) == (0, "ended", "all_completed", None)
    assert told["left"]["runs"] == 2 and "has ended" in told["message"] and told["next"]
    assert type_("brief", "small").exit_code == 4
    assert "=== The end" in campaign.notes.read_text()
    edit(campaign, ("x = 5.0", "x = 4.0"))
    status, found = try_(hypothesis="start nearer")
    assert (status, found["run"]) == (0, 2)


def test_without_a_run_left_nothing_is_tried(campaign: Campaign) -> None:
    for number, at in enumerate(("4.0", "3.0", "2.0"), 1):
        edit(campaign, (f"x = {float(at) + 1}", f"x = {at}"))
        assert try_(hypothesis=f"try {number}")[1]["run"] == number
    edit(campaign, ("x = 2.0", "x = 1.0"))
    status, found = try_(hypothesis="too late")
    assert (status, found["outcome"], found["left"]["runs"]) == (3, "budget_spent", 0)
    assert "x = 1.0" in code(campaign)


def test_a_brief_for_who_drives_says_how_to_try_and_what_is_left(campaign: Campaign) -> None:
    found = json.loads(type_("brief", "small", "--json").stdout)
    assert "harness try small --hypothesis" in found["brief"]
    assert "ALL_COMPLETED" not in found["brief"]
    assert (found["folder"], found["code"]["files"]) == (str(campaign.root), ["experiment.py"])
    assert found["left"]["runs"] == 3
    assert found["execution_seconds"] > 0
    assert (found["state"], found["code"]["edited"]) == ("waiting", [])
    with locked(campaign.lock):
        assert json.loads(type_("brief", "small", "--json").stdout)["state"] == "running"


def test_a_budget_of_tokens_asks_for_what_a_change_cost(campaign: Campaign) -> None:
    resumed = json.loads(type_("resume", "small", "--max-tokens", "1000", "--json").stdout)
    assert (resumed["outcome"], resumed["exit_code"], resumed["state"]) == ("waiting", 0, "waiting")
    assert resumed["left"] == {"runs": 3, "attempts_at_next_run": 4} and "of 1k" in resumed["spent"]
    edit(campaign, FASTER)
    status, found = try_()
    assert (status, "--usage" in found["message"]) == (2, True)
    assert try_("--usage", '{"sent": 900, "received": 200}')[0] == 0
    assert campaign.read_records()[1].usage.sent == 900
    edit(campaign, ("x = 5.0", "x = 4.0"))
    assert try_("--usage", '{"sent": 1}', hypothesis="nearer")[0] == 3
    type_("resume", "small", "--max-tokens", "1200")
    edit(campaign, ("x = 4.0", "x = 4.0 +"))
    status, found = try_("--usage", '{"sent": 200}', hypothesis="nearest")
    # Neither that change nor a further one is taken before the budget is larger.
    assert (status, found["next"][0]) == (6, "harness resume small --max-tokens 2600")
    assert "harness resume small --max-tokens 2600 --force" in try_page(found, campaign, 100)
    assert type_("resume", "small", "--force").exit_code == 3
    assert "x = 4.0 +" in code(campaign)
    assert type_("resume", "small", "--max-tokens", "3000", "--force").exit_code == 0
    assert "forced" in campaign.journal.read_text()
    assert try_("--usage", '{"sent": true}', hypothesis="nearer")[0] == 2


def test_a_try_beyond_a_budget_has_no_verdict_and_leaves_nothing_behind(campaign: Campaign) -> None:
    assert type_("resume", "small", "--max-cost", "0.05").exit_code == 0
    edit(campaign, FASTER)
    cost = ("--usage", '{"cost": 0.06}')
    status, found = try_(*cost)
    assert (status, found["run"]) == (0, 1)
    edit(campaign, ("x = 5.0", "x = 4.0"))
    for words in ("nearer", "start nearer"):
        status, found = try_(*cost, hypothesis=words)
        assert (status, found["outcome"], found["code"]["in_hand"]) == (3, "budget_spent", False)
        assert not {"run", "attempt", "verdict", "why", "against_baseline"} & found.keys()
        assert "--max-cost 0.05 is reached" in found["message"] and "not tried" in found["message"]
        assert found["code"]["edited"] == ["experiment.py"] and not campaign.submission.exists()
    page = type_("try", "small", "--hypothesis", "nearer", *cost)
    assert (page.exit_code, "Run 1" in page.stdout) == (3, False)
    brief = type_("brief", "small", "--json")
    told = json.loads(brief.stdout)
    assert (brief.exit_code, told["brief"], told["left"]["runs"]) == (0, None, 2)
    assert "--max-cost 0.05 is reached" in told["message"]
    resumed = type_("resume", "small", "--max-cost", "0.01")
    assert (resumed.exit_code, "--max-cost 0.01 is reached" in resumed.stdout) == (3, True)
    assert type_("resume", "small", "--max-cost", "5").exit_code == 0
    assert len(campaign.read_records()) == 2 and "x = 4.0" in code(campaign)
    assert try_(*cost, hypothesis="start nearer")[1]["run"] == 2
    assert campaign.read_records()[2].hypothesis == "start nearer"
    assert type_("resume", "small", "--max-cost", "0.1").exit_code == 3
    assert type_("end", "small").exit_code == 0


@pytest.mark.parametrize("told", [(), ("--usage", '{"cost": 0.06}')], ids=["nothing", "cost"])
def test_tokens_that_nobody_told_are_unknown_in_every_total_and_those_that_were_told_a_part(
    campaign: Campaign, told: tuple[str, ...]
) -> None:
    def pages() -> list[str]:
        for command in (["report", "small"], ["writeup", "small", "--format", "md"]):
            assert type_(*command).exit_code == 0
        files = [
            next(campaign.root.parent.glob(f"small-{kind}.{suffix}"))
            for kind, suffix in (("report", "html"), ("writeup", "md"))
        ]
        view, status = LiveView(None, [], Console()), read_status(campaign)
        return [
            *(file.read_text() for file in files),
            view._spent([row for row in status.rows if row.attempt is None]),
            type_("status", "small").stdout,
        ]

    edit(campaign, FASTER)
    assert try_(*told)[0] == 0
    for page in pages():
        assert "tokens unknown" in page and "unknown tokens" not in page and not re.search(r"\b0 tokens", page)
    for page in (type_("show", "small", "1").stdout, campaign.notes.read_text().partition("Used so far")[2]):
        assert re.search("tokens (and cost )?unknown", page) and not re.search("0 (tokens|received)", page)
    html, paper, *_ = pages()
    assert all("whoever made the changes was not in the sandbox" in " ".join(page.split()) for page in (html, paper))
    edit(campaign, ("x = 5.0", "x = 4.0"))
    assert try_("--usage", '{"sent": 900, "received": 200, "cost": 0.1}', hypothesis="start nearer")[0] == 0
    for page in pages():
        assert re.search(r"at least (1,100|1.1k) tokens", page), page
        assert bool(re.search(r"at least \\?\$0\.10", page)) == (not told), page
    rows = csv.DictReader(StringIO(type_("log", "small", "--csv").stdout))
    assert [row["tokens_sent"] for row in rows if not row["attempt"]] == ["0", "", "900"]


def test_the_end_of_a_campaign_costs_nothing_that_nobody_told(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    assert try_("--usage", '{"sent": 900, "received": 200, "cost": 0.1}')[0] == 0
    assert type_("end", "small").exit_code == 0
    assert "1,100 tokens, cost $0.10" in " ".join(campaign.notes.read_text().split())


def test_words_of_a_change_are_words_whatever_lines_they_hold() -> None:
    lines = "It falls.\nPLAN: none\nALL_COMPLETED\n```\nSTART FROM: run 7\n# Notes\nVARIES: k"
    answer = parse(composed(lines, lines, "run_2", ("steps",)))
    assert (answer.plan, answer.all_completed, answer.start_from, answer.varies) == ("", False, "run_2", ("steps",))
    assert answer.hypothesis == answer.description
    assert "> ALL_COMPLETED" in answer.hypothesis


def test_an_end_after_a_further_try_ends_whatever_code_is_in_place(campaign: Campaign) -> None:
    edit(campaign, FASTER)
    assert try_()[0] == 0
    assert type_("end", "small").exit_code == 0
    edit(campaign, ("x = 5.0", "x = 9.0"))
    assert try_(hypothesis="start farther")[0] == 0  # not accepted: the code is again what it was
    ended = json.loads(type_("end", "small", "--json").stdout)
    assert (ended["outcome"], ended["exit_code"], ended["reason"]) == ("ended", 0, "all_completed")
    again = type_("end", "small")
    assert again.exit_code == 0 and "handed in" not in again.output and ended["conclusion"] in again.output


def test_an_end_is_no_attempt_and_leaves_no_run(campaign: Campaign) -> None:
    edit(campaign, ("x = 5.0", "x = 5.0  # the same"))
    left = try_()[1]["left"]
    ended = json.loads(type_("end", "small", "--json").stdout)
    assert (ended["outcome"], ended["exit_code"], ended["left"]) == ("ended", 0, left)
    rows = csv.DictReader(StringIO(type_("log", "small", "--csv").stdout))
    assert [(row["run"], row["attempt"], row["status"]) for row in rows][1:] == [("1", "1", "rejected")]
    assert "=== The end" in campaign.notes.read_text()
    told = [json.loads(type_(command, "small", "--json").stdout) for command in ("status", "brief")]
    assert [(each["state"], each["reason"]) for each in told] == [("ended", "all_completed")] * 2
    # What comes after it is the next attempt at the same run, and then it is open again.
    edit(campaign, ("x = 5.0  # the same", "x = 5.0 +"))
    status, found = try_()
    assert (status, found["run"], found["attempt"], found["state"]) == (6, 1, 2, "waiting")
    told = [json.loads(type_(command, "small", "--json").stdout) for command in ("status", "brief")]
    assert [(each["state"], each["reason"]) for each in told] == [("waiting", "waiting")] * 2


def test_an_edit_is_not_lost_to_a_change_that_is_forced(campaign: Campaign) -> None:
    edit(campaign, ("x = 5.0", "x = 5.0  # the same"))
    assert try_()[0] == 6
    edit(campaign, FASTER)
    refused = type_("resume", "small", "--force")
    assert refused.exit_code == 2 and "would be lost" in refused.output
    assert FASTER[1] in code(campaign)


def test_a_campaign_may_lie_where_dots_or_a_link_lead(campaign: Campaign) -> None:
    elsewhere = campaign.root.parents[2] / "elsewhere"
    elsewhere.mkdir()
    Path("linked").symlink_to(elsewhere)
    assert type_("open", "idea.json", "--out", "linked").exit_code == 0
    done = type_("open", "idea.json", "--out", "linked/../more")
    assert done.exit_code == 0, done.output


def test_code_that_nobody_reads_is_said_to_change_nothing(campaign: Campaign) -> None:
    edit(campaign, ("x = 5.0", "unused = 3\nx = 5.0"))
    done = type_("try", "small", "--hypothesis", "it falls faster")
    said = " ".join(done.stdout.split())
    assert (
        done.exit_code == 0 and "metrics identical to run 0: the change was not executed, or no metric depends on it" in said
    )
    assert "the same to the last digit at the same seed; the baseline's mean over more seeds is another number." in said


def test_an_opening_says_the_profile_and_which_settings_nothing_reads(campaign: Campaign) -> None:
    replace(Path("experiment.py"), ('json.loads(os.environ.get("HARNESS_OVERRIDES", "{}"))', "{}"))
    contract = Path("experiment.toml").read_text().replace("rate = 0.05 }", "rate = 0.05, depth = 2 }")
    large = '[profiles.large]\ndescription = "more of it"\nsettings = { steps = 80 }\n'
    Path("experiment.toml").write_text(f'default_profile = "small"\n{contract}{large}')
    done = type_("open", "idea.json", "--set", "rate=0.2", "--set", "depth=3", "--set", "steps=40")
    assert done.exit_code == 0, done.output
    assert "Profile: small; --profile takes large, too." in done.output
    warnings = Campaign(campaign.root.with_name("small-2")).read_records()[0].warnings
    assert [each.partition(":")[0] for each in warnings] == ["--set rate=0.2", "--set depth=3"]
    assert (
        "the results report rate 0.05" in warnings[0] and "no file of the experiment names HARNESS_OVERRIDES" in warnings[1]
    )
    assert " ".join(warnings[1].split()) in " ".join(done.output.split())


def test_a_file_of_the_experiment_does_not_stand_in_the_place_of_one_of_the_campaigns(campaign: Campaign) -> None:
    Path("idea.json").write_text('{"mine": 1}')
    Path("journal.jsonl").write_text("mine")
    Path("other.json").write_text(json.dumps(IDEA | {"Name": "other", "Title": "Another idea"}))
    done = type_("open", "other.json")
    assert done.exit_code == 0, done.output
    assert "Not copied, since a campaign has a file of its own of that name" in " ".join(done.output.split())
    assert Campaign(campaign.root.parent / "other").idea.Title == "Another idea"
