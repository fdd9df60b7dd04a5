"""What an agent changed is what the folder holds, and nothing that it left there can do harm."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from harness.agents import workspace as module
from harness.agents.workspace import Change, collect, make_workspace, restore
from harness.campaign.contract import Contract

CONTRACT = Contract(
    editable=["experiment.py", "model/sae.py"], auxiliary=["plot.py"], files=["lab", "data.bin"], readable=["lab/score.py"]
)
FILES = {
    "experiment.py": b"x = 1\n",
    "model/sae.py": b"y = 1\n",
    "plot.py": b"z = 1\n",
    "lab/score.py": b"def score(): return 0\n",
    "data.bin": b"\x00\xff" * 100,
}


@pytest.fixture
def work(tmp_path):
    return make_workspace(tmp_path / "work", FILES, CONTRACT)


def look(work) -> Change:
    return collect(work, FILES, CONTRACT)


def told(change: Change) -> str:
    return "\n".join(change.restored)


def test_a_workspace_holds_the_files_of_the_commit_and_not_the_notes_which_a_model_would_be_sent_with_each_request(work):
    assert {str(p.relative_to(work.root)): p.read_bytes() for p in work.root.rglob("*") if p.is_file()} == FILES
    assert work.editable == ("experiment.py", "model/sae.py", "plot.py")
    assert work.readable == ("lab/score.py",)


def test_a_workspace_is_never_made_over_something(work):
    with pytest.raises(FileExistsError):
        make_workspace(work.root, FILES, CONTRACT)


def test_an_untouched_workspace_has_no_change(work):
    assert look(work) == Change()


def test_edits_of_editable_and_auxiliary_files_are_the_change(work):
    (work.root / "experiment.py").write_text("x = 2\n")
    (work.root / "plot.py").write_text("z = 2\n")
    assert look(work) == Change(files={"experiment.py": b"x = 2\n", "plot.py": b"z = 2\n"})


@pytest.mark.parametrize("keeps", [True, False])
def test_a_byte_order_mark_is_not_the_agents_business_and_stays(tmp_path, keeps):
    mark, contract = b"\xef\xbb\xbf", Contract(files=["data.csv"])
    files = {"experiment.py": mark + b"rate = 1\n", "data.csv": mark + b"a,b\n"}
    work = make_workspace(tmp_path / "w", files, contract)
    assert (work.root / "experiment.py").read_bytes() == b"rate = 1\n"
    assert (work.root / "data.csv").read_bytes() == files["data.csv"]
    assert collect(work, files, contract) == Change()
    (work.root / "experiment.py").write_bytes(mark * keeps + b"rate = 2\n")
    assert collect(work, files, contract).files == {"experiment.py": mark + b"rate = 2\n"}


def test_an_auxiliary_file_may_be_new(work):
    contract = CONTRACT.model_copy(update={"auxiliary": ["plot.py", "plot2.py"]})
    assert collect(work, FILES, contract) == Change()
    (work.root / "plot2.py").write_text("z = 2\n")
    assert collect(work, FILES, contract) == Change(files={"plot2.py": b"z = 2\n"})


def test_good_edits_survive_beside_forbidden_ones(work):
    (work.root / "experiment.py").write_text("x = 2\n")
    (work.root / "lab/score.py").write_text("def score(): return 1\n")
    (work.root / "data.bin").unlink()
    (work.root / "helper.py").write_text("h = 1\n")
    change = look(work)
    assert change.files == {"experiment.py": b"x = 2\n"}
    assert change.problems == []
    for name in ("lab/score.py", "data.bin", "helper.py"):
        assert name in told(change)
    assert change.evidence == {"lab/score.py": b"def score(): return 1\n", "helper.py": b"h = 1\n"}


def test_a_protected_file_of_the_same_size_is_compared_too(work):
    (work.root / "data.bin").write_bytes(b"\x00\xfe" * 100)
    assert "data.bin" in told(look(work))


def test_a_link_in_place_of_an_editable_file_is_a_problem_and_is_not_followed(work, tmp_path):
    outside = tmp_path / "secret.py"
    outside.write_text("key = 'sk-1'\n")
    (work.root / "experiment.py").unlink()
    (work.root / "experiment.py").symlink_to(outside)
    change = look(work)
    assert change.files == {} and change.evidence == {}
    assert f"experiment.py was replaced by a symbolic link to {outside}" in change.problems[0]
    restore(work, FILES)
    assert outside.read_text() == "key = 'sk-1'\n"
    assert look(work) == Change()


def test_a_folder_of_an_editable_file_that_became_a_link_is_not_followed(work, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "sae.py").write_text("y = 2\n")
    (work.root / "model/sae.py").unlink()
    (work.root / "model").rmdir()
    (work.root / "model").symlink_to(outside)
    change = look(work)
    assert change.files == {}
    assert "model/sae.py was deleted" in change.problems[0]
    assert "model -> " in told(change)
    restore(work, FILES)
    assert (outside / "sae.py").read_text() == "y = 2\n"
    assert not (work.root / "model").is_symlink()


def test_the_working_folder_itself_may_be_gone_or_a_link(work, tmp_path):
    work.root.rename(tmp_path / "moved")
    assert "removed or replaced" in look(work).problems[0]
    work.root.symlink_to(tmp_path / "moved")
    assert "removed or replaced" in look(work).problems[0]
    (tmp_path / "moved" / "mine").write_text("kept")
    restore(work, FILES)
    assert look(work) == Change()
    assert (tmp_path / "moved" / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    ("content", "says"), [(b"x = '\xe9'\n", "not UTF-8 text any more (line 1)"), (b"x = 1\n" * 200_000, "larger than 1 MB")]
)
def test_an_editable_file_that_cannot_go_along_in_a_turn_is_a_problem(work, content, says):
    (work.root / "experiment.py").write_bytes(content)
    change = look(work)
    assert says in change.problems[0]
    assert change.files == {}
    assert content.startswith(change.evidence["experiment.py"])
    assert len(change.evidence["experiment.py"]) <= module.MAX_EVIDENCE_FILE


def test_a_deleted_or_replaced_editable_file_is_a_problem(work):
    (work.root / "experiment.py").unlink()
    (work.root / "experiment.py").mkdir()
    (work.root / "model/sae.py").unlink()
    problems = "\n".join(look(work).problems)
    assert "experiment.py was replaced by a folder" in problems
    assert "model/sae.py was deleted" in problems


def test_a_broken_auxiliary_file_does_not_cost_the_good_edit(work):
    (work.root / "experiment.py").write_text("x = 2\n")
    (work.root / "plot.py").unlink()
    change = look(work)
    assert change.files == {"experiment.py": b"x = 2\n"}
    assert change.problems == []
    assert "plot.py (it was deleted)" in told(change)


def test_special_files_do_not_block(work):
    (work.root / "experiment.py").unlink()
    os.mkfifo(work.root / "experiment.py")
    (work.root / "plot.py").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(work.root / "plot.py"))
        os.mkfifo(work.root / "pipe")
        change = look(work)
    assert "replaced by a special file" in change.problems[0]
    assert "plot.py" in told(change) and "pipe" in told(change)
    restore(work, FILES)
    assert look(work) == Change()


def test_a_repository_made_by_the_agent_is_one_sentence(work):
    subprocess.run(["git", "init", "-q", str(work.root)], check=True)
    (work.root / ".git/hooks/post-commit").write_text("#!/bin/sh\n")
    change = look(work)
    assert change.restored == ["Removed, because version control is not yours: .git."]
    restore(work, FILES)
    assert not (work.root / ".git").exists()


def test_caches_and_the_leftovers_of_aider_are_not_told(work):
    for name in ("__pycache__/experiment.pyc", ".ruff_cache/x", ".aider.tags.cache.v4/cache.db", "lab/__pycache__/a.pyc"):
        (work.root / name).parent.mkdir(exist_ok=True)
        (work.root / name).write_bytes(b"\x00")
    (work.root / ".aider.chat.history.md").write_text("hi")
    assert look(work) == Change()
    (work.root / ".aider.conf.yml").write_text("openai-api-base: http://elsewhere\n")
    assert ".aider.conf.yml" in told(look(work))


def test_odd_names_can_be_told_and_kept(work, tmp_path):
    for name in (b"new\nline", b"\xff\xfe", b"{} {0}", "naïve ü".encode(), b"a" * 255, b"\xff" * 255):
        (Path(os.fsdecode(os.fsencode(work.root) + b"/" + name))).write_bytes(b"content")
    change = look(work)
    told(change).encode()
    assert "\n" not in told(change)
    assert len(change.evidence) == 6
    for name, content in change.evidence.items():
        (tmp_path / name).write_bytes(content)
    restore(work, FILES)
    assert look(work) == Change()


def test_thousands_of_files_do_not_hide_the_change(work, monkeypatch):
    monkeypatch.setattr(module, "MAX_ENTRIES", 50)
    monkeypatch.setattr(module, "MAX_EVIDENCE", 95_000)
    (work.root / "0").mkdir()
    for number in range(200):
        (work.root / "0" / f"{number}").write_bytes(b"x" * 10_000)
        (work.root / f"a{number}").write_bytes(b"x" * 10_000)
    (work.root / "experiment.py").write_text("x = 2\n")
    (work.root / "lab/score.py").write_text("")
    change = look(work)
    assert change.files == {"experiment.py": b"x = 2\n"}
    assert "lab/score.py" in told(change)
    assert "with everything beyond: 50 files" in told(change)
    assert len(told(change)) < 1_500
    assert sum(map(len, change.evidence.values())) <= 95_000
    assert len(change.evidence) <= 12


def test_folders_deeper_than_recursion_goes_are_survived(work):
    here = os.open(work.root, os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert "d/d/d" in told(look(work))
    restore(work, FILES)
    assert look(work) == Change()


def test_folders_without_permissions_are_removed(work):
    locked = work.root / "locked"
    (locked / "in").mkdir(parents=True)
    (locked / "in" / "file").write_text("x")
    (locked / "in").chmod(0)
    locked.chmod(0)
    work.root.chmod(0o500)
    restore(work, FILES)
    assert look(work) == Change()


def test_what_the_agent_writes_into_notes_txt_is_its_words(work):
    (work.root / "notes.txt").write_text("\nReLU is better\n\n  Next: sparser parents\n")
    assert look(work) == Change(words="ReLU is better\n\n  Next: sparser parents")


def test_notes_that_are_no_file_are_told_and_no_words(work):
    (work.root / "notes.txt").symlink_to("experiment.py")
    change = look(work)
    assert change.words == ""
    assert "notes.txt (it was replaced by a symbolic link to experiment.py)" in told(change)


def test_long_and_binary_notes_end_in_bounded_words(work):
    (work.root / "notes.txt").write_bytes(b"same\n\xff\n\n" * 300_000)
    assert 0 < len(look(work).words) <= 2 * module.MAX_EVIDENCE_FILE


def test_restoring_keeps_the_folder_that_a_conversation_is_bound_to(work):
    inode = work.root.stat().st_ino
    (work.root / "lab/new.py").write_text("n = 1\n")
    after = {**FILES, "experiment.py": b"x = 2\n"}
    restore(work, after)
    assert work.root.stat().st_ino == inode
    assert collect(work, after, CONTRACT) == Change()
