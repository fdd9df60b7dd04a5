"""What is lost of a campaign or edited in it is said, never used, and put back."""

from __future__ import annotations

import codecs
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.campaign import integrity
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.idea import Idea
from harness.campaign.protocols import Silent
from harness.campaign.repository import Repository
from harness.campaign.stop import Stop
from harness.cli.main import cli
from harness.continuation import go_on
from harness.execution.executors import EXECUTORS
from tests.quick_executor import QUICK

pytestmark = pytest.mark.usefixtures("quick")

SMALL = Path(__file__).parent / "small"

Edit = Callable[[list[bytes]], list[bytes]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    change = {"text": "HYPOTHESIS: less.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]}
    said = {"text": "INTERPRETATION: it fell.\nALL_COMPLETED"}
    return executed(folder, {"run 1, attempt 1": change, "run 2, attempt 1": said}, runs=2)


def executed(folder: Path, script: dict[str, object], *, runs: int) -> Path:
    """A campaign of the small experiment in `folder` that has ended, whose agent says what stands in `script`."""
    (folder / "script.json").write_text(json.dumps(script))
    campaign = create_campaign(
        folder,
        Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
        SMALL,
        Options(agent="tests.scripted:ScriptedAgent", max_runs=runs),
        python=sys.executable,
        session=folder / "script.json",
    )
    assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    return campaign.root


@pytest.fixture
def root(recorded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recorded, tmp_path / "small", symlinks=True))


@pytest.fixture(scope="module")
def long_recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose journal and notes are in several files, as those of a thousand runs are."""
    folder = tmp_path_factory.mktemp("long")
    source = (SMALL / "experiment.py").read_text()
    script = {
        f"run {run}, attempt 1": {
            "text": "HYPOTHESIS: less.",
            "files": {"experiment.py": source.replace("0.05", f"0.1{run}")},
        }
        for run in range(1, 5)
    }
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(EXECUTORS, "local", QUICK)
        patched.setattr("harness.campaign.journal._LONG", 2_500)
        patched.setattr("harness.report.notes._TOGETHER", 1)
        return executed(folder, script | {"run 5, attempt 1": {"text": "ALL_COMPLETED"}}, runs=5)


def harness(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


def git(root: Path, *arguments: str, **environment: str) -> str:
    identity = {f"GIT_{who}_{what}": "you@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | identity | environment
    ).stdout


def goes_on(root: Path) -> list[str]:
    """What is said while the campaign is continued."""
    said: list[str] = []

    class Listens(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    assert go_on(Campaign(root), view=Listens(), stop=Stop()).exit_code == 0
    return said


def lie(file: Path) -> None:
    record = json.loads(file.read_text())
    record["verdict"]["kind"] = "improved"
    record["metrics"]["loss"]["value"] = 0.0001
    file.write_text(json.dumps(record))


def words_for_numbers(file: Path) -> None:
    file.write_text(file.read_text().replace('"value": 0', '"value": "0').replace('"seconds": 0', '"seconds": "0'))


def empty(file: Path) -> None:
    file.write_text("")


SPOIL = {"missing": Path.unlink, "empty": empty, "changed since": lie, "changed": words_for_numbers}
COMMANDS = (
    ("status", "{}", "--json"),
    ("log", "{}", "--json"),
    ("show", "{}", "1", "--json"),
    ("compare", "{}", "--csv"),
    ("check", "{}"),
    ("diff", "{}", "1", "--stat"),
    ("notes", "{}"),
)


def test_what_nobody_touched_is_not_complained_of(root: Path) -> None:
    for command in COMMANDS:
        done = harness(*(part.format(root) for part in command))
        assert done.exit_code == 0 and not done.stderr, (command, done.output)
    assert json.loads((root / "run_1" / "record.json").read_text())["interpretation"] == "it fell."


@pytest.mark.parametrize("how", SPOIL)
def test_a_record_that_is_lost_or_edited_is_said_and_gits_is_used(root: Path, how: str) -> None:
    before = [harness(*(part.format(root) for part in command)).stdout for command in COMMANDS]
    SPOIL[how](root / "run_1" / "record.json")
    said = f"run_1/record.json {'was' if 'changed' in how else 'is'} {how}"
    for command, shown in zip(COMMANDS, before, strict=True):
        done = harness(*(part.format(root) for part in command))
        assert done.exit_code == 5, (command, done.output)
        assert said in done.stderr
        assert done.stdout == shown or command[0] == "status", command  # which tells how long ago


@pytest.mark.parametrize(
    "path",
    [
        "run_0/final_info.json",
        "run_1/final_info.json",
        "run_1/train_log.jsonl",
        "run_1/attempts/1/session.md",
        "notes.txt",
        "campaign.json",
        "idea.json",
    ],
)
def test_results_and_notes_that_are_lost_are_said_and_put_back(root: Path, path: str) -> None:
    before = (root / path).read_bytes()
    (root / path).unlink()
    done = harness("log", root)
    assert done.exit_code == 5 and f"{path} is missing" in done.stderr
    assert go_on(Campaign(root), view=Silent(), stop=Stop()).exit_code == 0
    assert (root / path).read_bytes() == before
    assert harness("log", root).exit_code == 0


def test_an_edited_record_is_put_back_on_resume_and_the_edited_one_is_kept(root: Path) -> None:
    file = root / "run_1" / "record.json"
    before = file.read_bytes()
    lie(file)
    edited = file.read_bytes()
    said = goes_on(root)
    assert file.read_bytes() == before
    assert (root / ".harness" / "edited" / "run_1" / "record.json").read_bytes() == edited
    assert any(each.startswith("run_1/record.json was changed") for each in said)
    file.write_text("another edit")
    goes_on(root)
    assert (root / ".harness" / "edited" / "run_1" / "record.json").read_bytes() == edited
    assert (root / ".harness" / "edited" / "run_1" / "record.json.2").read_text() == "another edit"


@pytest.mark.parametrize("edited", ["mine\n", "{}mine\n", "mine\n{}", None])
def test_an_edited_session_is_kept_and_said_and_one_that_is_lost_is_back(root: Path, edited: str | None) -> None:
    session = root / "session.md"
    before = session.read_text()
    if edited is None:
        session.unlink()
    else:
        session.write_text(edited.replace("{}", before))
    said = [each for each in goes_on(root) if each.startswith("session.md was changed")]
    assert session.read_text() == before
    assert len(said) == (edited is not None)
    if edited is not None:
        assert ".harness/edited/session.md" in said[0]
        assert (root / ".harness" / "edited" / "session.md").read_text() == edited.replace("{}", before)
    assert not [each for each in goes_on(root) if "session.md" in each]


def test_a_turn_of_no_run_that_somebody_made_no_text_of_ends_no_campaign(root: Path) -> None:
    (root / "run_2" / "attempts" / "1" / "session.md").write_bytes(b"\xff\x00")
    goes_on(root)
    assert "\ufffd" in (root / "session.md").read_text()


def test_a_session_that_a_killed_process_left_shorter_is_nobodys_edit(root: Path) -> None:
    session = root / "session.md"
    before = session.read_text()
    session.write_text(before[: len(before) // 2])
    assert not [each for each in goes_on(root) if "session.md" in each]
    assert session.read_text() == before


def test_a_persons_part_of_the_notes_is_no_difference(root: Path) -> None:
    with (root / "notes.txt").open("a") as notes:
        notes.write("\nWhat I think of it.\n")
    assert harness("status", root).exit_code == 0


EDITS = {
    "campaign.json": ('"better": "lower"', '"better": "higher"'),
    "idea.json": ("smaller", "larger"),
    "experiment.toml": ("lower", "higher"),
    "notes.txt": ("Verdict: inconclusive", "Verdict: improved"),
}


@pytest.mark.parametrize("path", EDITS)
def test_what_a_campaign_rests_on_and_what_is_said_of_it_is_not_rewritten(root: Path, path: str) -> None:
    """A contract whose direction is turned round in the middle would turn later verdicts round."""
    file = root / path
    before, shown = file.read_bytes(), [harness(*(part.format(root) for part in command)).stdout for command in COMMANDS]
    old, new = EDITS[path]
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    for command, text in zip(COMMANDS, shown, strict=True):
        done = harness(*(part.format(root) for part in command))
        assert done.exit_code == 5 and f"{path} was changed" in done.stderr, (command, done.output)
        assert done.stdout == text or command[0] == "status", command
    assert go_on(Campaign(root), view=Silent(), stop=Stop()).exit_code == 0
    assert file.read_bytes() == before


def test_a_persons_words_survive_where_the_notes_around_them_are_put_back(root: Path) -> None:
    notes = root / "notes.txt"
    text = notes.read_text().replace("Verdict: inconclusive", "Verdict: improved")
    notes.write_text(text + "\nWhat I think of it.\n")
    assert "What I think of it." in harness("notes", root).stdout
    assert go_on(Campaign(root), view=Silent(), stop=Stop()).exit_code == 0
    assert "What I think of it." in notes.read_text() and "Verdict: improved" not in notes.read_text()


def test_what_git_has_no_more_is_told_and_nothing_is_made_of_it(root: Path) -> None:
    (root / "run_1" / "record.json").unlink()
    shutil.rmtree(root / ".git")
    done = harness("log", root)
    assert done.exit_code == 4 and "run_1/record.json: missing, and git has no version of it" in done.stderr


@pytest.mark.parametrize("file", ["run_1/record.json", "campaign.json"])
def test_a_record_whose_id_was_edited_in_the_journal_too_is_not_believed(root: Path, file: str) -> None:
    edited = (root / file).read_text().replace("loss", "gain")
    (root / file).write_text(edited)
    journal = root / "journal.jsonl"
    whole = journal.read_text()
    events = [json.loads(line) for line in whole.splitlines()]
    for event in events:
        if event["event"] == "wrote" and file in event["files"]:
            event["files"][file] = Repository(root, root / ".harness").store(edited.encode())
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    for command in ("status", "log", "resume"):
        said = harness(command, root)
        assert said.exit_code != 0 and "journal.jsonl: was edited" in said.output
    repair = said.output.split("done again: ")[1].split()
    subprocess.run(repair, check=True)
    assert journal.read_text() == whole
    assert f"{file} was changed since the harness wrote it" in harness("status", root).output


def without_a_line(lines: list[bytes]) -> list[bytes]:
    return lines[:9] + lines[10:]


def with_a_line_twice(lines: list[bytes]) -> list[bytes]:
    return lines[:9] + lines[8:]


def with_another_result(lines: list[bytes]) -> list[bytes]:
    return [line.replace(b'"status": "completed"', b'"status": "failed"') for line in lines]


def of_an_earlier_commit(lines: list[bytes]) -> list[bytes]:
    return lines[:9]


def gone(lines: list[bytes]) -> list[bytes]:
    return []


@pytest.mark.parametrize(
    "edit", [without_a_line, with_a_line_twice, with_another_result, sorted, of_an_earlier_commit, gone, None]
)
def test_a_journal_that_does_not_begin_as_git_has_it_is_said_and_nothing_is_begun_again(
    root: Path, edit: Edit | None
) -> None:
    """Without a journal a campaign would begin again, and its repository would be made anew."""
    journal = root / "journal.jsonl"
    whole, head = journal.read_bytes(), git(root, "rev-parse", "main")
    if edit:
        journal.write_bytes(b"".join(edit(whole.splitlines(keepends=True))))
    else:
        journal.unlink()
    for command in ("status", "log", "brief", "resume"):
        said = harness(command, root)
        assert said.exit_code == 4 and f"{journal}: {'is' if edit in (gone, None) else 'was'} " in said.stderr, command
    assert git(root, "rev-parse", "main") == head
    subprocess.run(said.stderr.split("done again: ")[1].split(), check=True)
    assert journal.read_bytes() == whole
    assert harness("status", root).exit_code == 0


def test_files_that_nobody_changed_are_not_read_again_and_every_change_of_one_is_seen(
    long_recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the campaign was made: a copy has other change times, and all of it is read."""
    read: list[str] = []
    as_it_is = integrity._read

    def noted(path: Path | str) -> bytes | None:
        read.append(str(path))
        return as_it_is(path)

    monkeypatch.setattr(integrity, "_read", noted)
    root, file = long_recorded, long_recorded / "run_1" / "final_info.json"
    assert harness("log", root).exit_code == 0
    assert not [path for path in read if "/run_" in path]
    content, status = file.read_bytes(), file.stat()
    file.write_bytes(content.replace(b"0", b"1"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "run_1/final_info.json was changed" in harness("log", root).stderr
    file.write_bytes(content)
    assert harness("log", root).exit_code == 0
    aside = root / "aside"
    for first, second in (("run_2", "run_3"), ("run_2/final_info.json", "run_3/final_info.json")):
        for is_back in (False, True):
            (root / first).rename(aside)
            (root / second).rename(root / first)
            aside.rename(root / second)
            told = harness("log", root).stderr
            assert ("run_3/final_info.json was changed" in told) is not is_back


def test_a_file_that_was_changed_before_others_were_seen_to_be_whole_is_not_taken_for_one_of_them(
    root: Path, tmp_path: Path
) -> None:
    """A copy that gets the journal of later, a clock that was set back, and what a link leads to."""
    file, elsewhere, clone = Path("run_1", "final_info.json"), tmp_path / "elsewhere.json", tmp_path / "clone"
    git(root, "clone", "-q", str(root), str(clone))
    whole = (clone / file).read_bytes()
    (clone / file).write_bytes(whole.replace(b"0", b"1"))
    (root / file).rename(elsewhere)
    (root / file).symlink_to(elsewhere)
    assert goes_on(root) == []
    git(clone, "pull", "-q")
    assert harness("log", root).exit_code == 0
    assert f"{file} was changed" in harness("log", clone).stderr
    elsewhere.write_bytes(whole.replace(b"0", b"1"))
    assert f"{file} was changed" in harness("log", root).stderr
    assert [each for each in goes_on(root) if f"{file} was changed" in each]
    (root / file).write_bytes(whole.replace(b"0", b"1"))
    with (root / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps({"time": "2026-01-01T00:00:00Z", "event": "verified", "at": 2**63}) + "\n")
    assert f"{file} was changed" in harness("log", root).stderr


def test_a_long_journal_and_long_notes_lie_in_several_files_and_what_is_lost_of_them_is_said(
    long_recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(long_recorded, tmp_path / "small", symlinks=True))
    monkeypatch.setattr("harness.report.notes._TOGETHER", 1)
    parts, told = sorted((root / "journal.parts").iterdir()), sorted((root / "notes.parts").iterdir())
    assert len(parts) > 2 and [path.name for path in told] == ["0001-0001.txt", "0002-0002.txt"]
    assert git(root, "status", "--porcelain") == ""
    said = harness("notes", root)
    sections = [line.split()[2] for line in said.stdout.splitlines() if line.startswith("=== Run ")]
    assert said.exit_code == 0 and sections == ["0", "3", "4", "1", "2"]
    assert "Runs 1 to 2 are in the folder notes.parts." in said.stdout
    shown = harness("log", root, "--json").stdout
    for spoil in (
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes().replace(b'"seconds": 0', b'"seconds": 1')),
        empty,
    ):
        for part in (parts[0], parts[-1]):
            spoil(part)
            for command in ("log", "resume"):
                done = harness(command, root)
                assert done.exit_code == 4 and f"{part}: " in done.stderr
            subprocess.run(done.stderr.split("git -C ")[1].join(["git -C ", ""]).split(), check=True)
            assert harness("log", root, "--json").stdout == shown
    shutil.copy(parts[0], parts[0].with_name("0001 (copy).jsonl"))
    shutil.copy(parts[0], parts[0].with_name("._0001.jsonl"))
    (root / "journal.parts" / "mine.txt").write_text("mine")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "Mine")
    assert goes_on(root) == [] and harness("log", root, "--json").stdout == shown
    told[0].write_text("all is well\n")
    assert harness("notes", root).stdout == said.stdout
    assert [each for each in goes_on(root) if each.startswith("notes.parts/0001-0001.txt was changed")]
    assert "all is well" not in told[0].read_text()
    shutil.rmtree(root / "notes.parts")
    (root / "notes.parts").write_text("mine")
    assert [each for each in goes_on(root) if each.startswith("notes.parts/0001-0001.txt was missing")]
    assert (root / ".harness" / "edited" / "notes.parts" / "notes.parts").read_text() == "mine"
    assert harness("notes", root).stdout == said.stdout


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_a_journal_whose_lines_end_as_another_system_ends_them_is_the_same(root: Path, mark: bytes) -> None:
    journal = root / "journal.jsonl"
    journal.write_bytes(mark + journal.read_bytes().replace(b"\n", b"\r\n"))
    for _ in range(2):  # the second time it is what git has
        assert harness("log", root).exit_code == 0
        assert go_on(Campaign(root), view=Silent(), stop=Stop()).exit_code == 0


@pytest.mark.parametrize("arguments", [["main~2"], ["--detach"], ["-b", "mine"], ["-b", "mine", "main~2"]])
def test_a_campaign_in_whose_folder_something_else_is_checked_out_is_not_continued(root: Path, arguments: list[str]) -> None:
    commits, code = git(root, "rev-list", "main"), (root / "experiment.py").read_bytes()
    git(root, "checkout", "-q", *arguments)
    refused = harness("resume", root)
    said = refused.stdout + refused.stderr
    assert refused.exit_code == 4 and "checkout main" in said
    way_back = next(line for line in said.splitlines() if "checkout main" in line)
    subprocess.run([*way_back[way_back.index("git -C") :].split(), "-q"], check=True)
    assert git(root, "rev-list", "main") == commits and (root / "experiment.py").read_bytes() == code
    assert go_on(Campaign(root), view=Silent(), stop=Stop()).exit_code == 0
    assert harness("log", root).exit_code == 0


@pytest.mark.parametrize("how", ["--hard", "--mixed", "--soft"])
@pytest.mark.parametrize("to", ["tags/run_0", "main~2", "start"])
def test_a_campaign_that_somebody_set_back_with_git_says_which_runs_are_gone_and_how_they_come_back(
    root: Path, how: str, to: str
) -> None:
    """Set back to its first commit, where git has no journal, it would begin again and make its repository anew."""
    last, code = git(root, "rev-parse", "main").strip(), (root / "experiment.py").read_bytes()
    shown = harness("log", root).stdout
    git(root, "reset", "-q", how, git(root, "rev-list", "--max-parents=0", "main").strip() if to == "start" else to)
    gone = {"tags/run_0": "run 1", "main~2": "run 1", "start": "runs 0, 1"}[to]
    for command in ("status", "log", "resume"):
        refused = harness(command, root)
        assert refused.exit_code == 4 and f"which lacks {gone}" in refused.stderr, (command, refused.output)
    assert git(root, "rev-parse", "refs/harness/last").strip() == last
    subprocess.run(refused.stderr.split("bring them back: ")[1].split(". ")[0].split(), check=True)
    assert git(root, "rev-parse", "main").strip() == last and (root / "experiment.py").read_bytes() == code
    assert harness("log", root).stdout == shown
    assert go_on(Campaign(root), view=Silent(), stop=Stop()).exit_code == 0
    assert git(root, "status", "--porcelain") == ""


def test_what_you_committed_after_you_set_a_campaign_back_is_kept_and_its_runs_come_back(root: Path) -> None:
    records = [file.read_bytes() for file in sorted(root.glob("run_?/record.json"))]
    git(root, "reset", "-q", "--hard", "tags/run_0")
    (root / "mine.txt").write_text("mine")
    git(root, "add", "mine.txt")
    git(root, "commit", "-qm", "Mine")
    refused = harness("resume", root)
    assert refused.exit_code == 4 and "journal.jsonl: was edited" in refused.stderr
    subprocess.run(refused.stderr.split("done again: ")[1].split(), check=True, capture_output=True)
    assert "run_1/record.json is missing" in harness("log", root).stderr
    assert go_on(Campaign(root), view=Silent(), stop=Stop()).exit_code == 0
    assert [file.read_bytes() for file in sorted(root.glob("run_?/record.json"))] == records
    assert (root / "mine.txt").read_text() == "mine" and "Mine" in git(root, "log", "--format=%s")


def test_a_rebase_that_has_not_ended_is_told_by_how_it_is_given_up(root: Path) -> None:
    git(root, "rebase", "-q", "-i", "--root", GIT_SEQUENCE_EDITOR="sed -i 1s/^pick/edit/")
    said = harness("resume", root)
    assert said.exit_code == 4 and f"git -C {root} rebase --abort" in said.stderr
    git(root, "rebase", "--abort")
    assert harness("log", root).exit_code == 0


def test_report_and_paper_are_those_of_a_campaign_that_has_lost_nothing(root: Path, tmp_path: Path) -> None:
    paper = ("writeup", root, "--format", "md", "--out", tmp_path / "paper.md")
    assert harness(*paper).exit_code == 0
    before = (tmp_path / "paper.md").read_text()
    for path in ("campaign.json", "idea.json", "notes.txt", "run_1/record.json"):
        (root / path).unlink()
    assert harness(*paper).exit_code == 5
    assert (tmp_path / "paper.md").read_text() == before
    assert harness("report", root, "--out", tmp_path / "report.html").exit_code == 5
    assert "A small idea" in (tmp_path / "report.html").read_text()


def test_a_record_that_the_harness_never_wrote_is_no_run(root: Path) -> None:
    shown = harness("log", root).stdout
    (root / "run_2" / "record.json").write_text((root / "run_1" / "record.json").read_text().replace('"run": 1', '"run": 2'))
    assert harness("log", root).stdout == shown and harness("show", root, "2").exit_code != 0
    goes_on(root)
    assert harness("log", root).stdout == shown
    shutil.rmtree(root / "run_2")
    (root / "run_2").write_text("mine")
    assert harness("log", root).stdout == shown


def test_what_stands_in_the_place_of_a_record_is_kept_and_the_record_is_back(root: Path) -> None:
    file = root / "run_1" / "record.json"
    before = file.read_bytes()
    file.unlink()
    file.mkdir()
    (file / "mine.txt").write_text("mine")
    assert go_on(Campaign(root), view=Silent(), stop=Stop()).exit_code == 0
    assert file.read_bytes() == before
    assert (root / ".harness" / "edited" / "run_1" / "record.json" / "mine.txt").read_text() == "mine"


def test_a_campaign_whose_repository_is_lost_can_be_read_and_says_so_where_it_is_continued(root: Path) -> None:
    shutil.rmtree(root / ".git")
    assert harness("log", root).exit_code == 0
    said = harness("resume", root)
    assert said.exit_code == 4 and ".git, is missing. Put it back from a copy of the campaign." in said.stdout + said.stderr


def test_a_campaign_that_cannot_be_read_hides_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = root.parent / "runs"
    shutil.copytree(root, runs / "whole", symlinks=True)
    shutil.copytree(root, runs / "damaged", symlinks=True)
    (runs / "damaged" / "journal.jsonl").write_text("{}\n")
    monkeypatch.chdir(root.parent)
    for arguments in (("--all",), ("--all", "--json")):
        said = harness("status", *arguments)
        assert said.exit_code == 5 and "damaged/journal.jsonl: line 1 is damaged" in said.stderr
        assert "whole" in said.stdout and "damaged" not in said.stdout
