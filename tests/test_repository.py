"""The campaign's repository: what a person wrote is theirs, and nothing of their git has a part in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.git import Git, GitKilled
from harness.campaign.repository import Repository
from tests.hindrance import Hindrance, in_a_child, killed

PERSON = ("-c", "user.name=Me", "-c", "user.email=me@here")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "campaign" / ".harness").mkdir(parents=True)
    return tmp_path / "campaign"


@pytest.fixture
def repository(root: Path) -> Repository:
    repository = Repository(root, root / ".harness")
    repository.create()
    repository.commit("start", "Start", {"experiment.py": b"rate = 1\n"})
    return repository


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *PERSON, *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("message", ["Tune the rate\n\nStep: 3 of my plan", "Step: run_9/record", "A rate\n\nStep: start"])
def test_a_commit_of_a_person_is_theirs_whatever_its_message_says(root: Path, repository: Repository, message: str) -> None:
    (root / "experiment.py").write_text("rate = 2\n")
    git(root, "commit", "-qam", message)
    assert repository.step(repository.head or "") is None
    repository.recover(lambda step: step == "start", ["experiment.py"])
    assert repository.edited(["experiment.py"]) == {"experiment.py": b"rate = 2\n"}
    assert git(root, "log", "-1", "--format=%B").strip() == message


def test_a_commit_of_ours_that_a_person_amended_keeps_their_edit(root: Path, repository: Repository) -> None:
    repository.commit("run_1/record", "Run 1", {"experiment.py": b"rate = 3\n"})
    (root / "experiment.py").write_text("rate = 4\n")
    git(root, "commit", "-qa", "--amend", "--no-edit")
    repository.recover(lambda step: True, ["experiment.py"])
    assert (root / "experiment.py").read_text() == "rate = 4\n"
    assert repository.edited(["experiment.py"]) == {"experiment.py": b"rate = 4\n"}


@pytest.mark.parametrize("title", ["Two lines\nStep: run_9/record", "A\0NUL and \x1b[31ma colour"])
def test_a_title_is_no_mark_of_ours_and_takes_any_character(root: Path, repository: Repository, title: str) -> None:
    commit = repository.commit("run_1/record", f"Start: {title}", {})
    assert repository.step(commit) == "run_1/record"


def test_a_files_name_is_no_pattern(root: Path, repository: Repository) -> None:
    names = [":(glob)x.txt", ":!experiment.py", "[a]*.py", "-n", "a.py"]
    commit = repository.commit("names", "Names", {name: name.encode() for name in names})
    assert repository.files(commit, ["[a]*.py", ":!experiment.py", "-n"]) == {
        name: name.encode() for name in ("[a]*.py", ":!experiment.py", "-n")
    }


@pytest.mark.parametrize(
    "name",
    ["GIT_GLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_QUARANTINE_PATH", "GIT_NAMESPACE", "GIT_TRACE", "GIT_COMMON_DIR"],
)
def test_no_variable_of_a_persons_git_has_a_part(
    root: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    repository = Repository(root, root / ".harness")
    commit = repository.commit("another", "Another", {"experiment.py": b"rate = 5\n"})
    assert repository.head == commit
    assert repository.files(commit, ["experiment.py"]) == {"experiment.py": b"rate = 5\n"}


LOCKS = (".git/HEAD.lock", ".git/refs/heads/main.lock", ".git/packed-refs.lock", ".git/refs/tags/run_0.lock")


def test_locks_that_a_killed_git_left_are_gone_when_the_campaign_is_opened_again(root: Path, repository: Repository) -> None:
    for lock in LOCKS:
        (root / lock).parent.mkdir(exist_ok=True)
        (root / lock).touch()
    repository.recover(lambda step: True, ["experiment.py"])
    repository.commit("run_0/record", "Run 0", {"experiment.py": b"rate = 2\n"}, tag="run_0")
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "rev-parse", "HEAD", "run_0").split() == [repository.head] * 2


def test_a_persons_git_that_holds_the_index_is_in_nobodys_way(root: Path, repository: Repository) -> None:
    lock = root / ".git" / "index.lock"
    lock.touch()
    repository.recover(lambda step: True, ["experiment.py"])
    repository.commit("run_1/record", "Run 1", {"experiment.py": b"rate = 3\n"})
    assert lock.exists()
    lock.unlink()
    repository.commit("run_2/record", "Run 2", {"experiment.py": b"rate = 4\n"})
    assert git(root, "status", "--porcelain") == ""


def test_who_looks_at_a_persons_edit_writes_no_index(root: Path, repository: Repository) -> None:
    head, index = repository.head or "", root / ".git" / "index"
    before = index.read_bytes()
    (root / "experiment.py").touch()
    assert repository.diff(head, None, ["experiment.py"]) == ""
    (root / "experiment.py").write_text("rate = 9\n")
    assert "+rate = 9" in repository.diff(head, None, ["experiment.py"])
    assert index.read_bytes() == before


FAILS_ONCE = """#!{python}
import os, sys
from pathlib import Path
count = Path({count!r})
number = int(count.read_text() or 0) + 1 if count.exists() else 1
count.write_text(str(number))
if number == {fails} and not {after}:
    sys.exit("fatal: no luck")
if number != {fails}:
    os.execv({git!r}, ["git", *sys.argv[1:]])
import subprocess
subprocess.run([{git!r}, *sys.argv[1:]])
sys.exit("fatal: no luck")
"""


@pytest.mark.parametrize("after", [False, True])
def test_a_git_call_that_fails_once_changes_nothing(
    root: Path, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    wrapper, count = tmp_path / "bin" / "git", tmp_path / "count"
    wrapper.parent.mkdir()
    facts = {"python": sys.executable, "count": str(count), "git": shutil.which("git"), "after": after}
    monkeypatch.setenv("PATH", str(wrapper.parent), prepend=os.pathsep)
    repository = Repository(root, root / ".harness")
    for fails in range(1, 12):
        count.write_text("0")
        wrapper.write_text(FAILS_ONCE.format(**facts, fails=fails))
        wrapper.chmod(0o755)
        commit = repository.commit(f"step_{fails}", "A step", {"experiment.py": b"rate = %d\n" % fails})
        if int(count.read_text()) < fails:
            break
        assert repository.step(commit) == f"step_{fails}" and repository.head == commit
        assert repository.edited(["experiment.py"]) == {}
        assert (root / "experiment.py").read_text() == f"rate = {fails}\n"
    assert fails > 2  # each call of a commit has failed once


def test_an_index_whose_git_is_killed_each_time_is_written_after_the_next_start(
    root: Path, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise `git status` in a campaign that has ended shows changes that nobody made."""
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\ncase $1 in read-tree|update-index) kill -9 $$ ;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    wrapper.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(wrapper.parent), prepend=os.pathsep)
        with pytest.raises(GitKilled):
            repository.commit("run_1/record", "Run 1", {"experiment.py": b"rate = 3\n"})
    repository.recover(lambda step: True, ["experiment.py"])
    assert git(root, "status", "--porcelain") == ""
    assert (root / "experiment.py").read_text() == "rate = 3\n"


def test_a_git_that_is_killed_when_it_is_first_looked_for_is_tried_again(root: Path, tmp_path: Path) -> None:
    """GitPython calls git when it is imported, before any call of ours: in a process of its own, which has not."""
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    git, count = shutil.which("git"), tmp_path / "count"
    wrapper.write_text(f'#!/bin/sh\necho >> {count}\n[ $(wc -l < {count}) -lt 2 ] && kill -9 $$\nexec {git} "$@"\n')
    wrapper.chmod(0o755)
    code = "import sys; from pathlib import Path; from harness.campaign.git import Git; print(Git(Path(sys.argv[1])).text('version'))"
    environment = os.environ | {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code, root], env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("git version"), done.stderr


def test_what_git_has_packed_is_read_as_before(root: Path, repository: Repository) -> None:
    data = {f"run_{number}/data.json": b"%d" % number for number in range(600)}
    old = repository.head or ""
    commit = repository.commit("run_1/record", "Run 1", data)
    repository.pack()
    assert len(list((root / ".git" / "objects").glob("??/*"))) < 10
    assert repository.files(commit, ["run_7", "experiment.py"]) == {"run_7/data.json": b"7", "experiment.py": b"rate = 1\n"}
    assert (repository.step(commit), repository.step(old)) == ("run_1/record", "start")
    repository.commit("run_2/record", "Run 2", {"run_7/data.json": None, "experiment.py": b"rate = 2\n"}, tag="run_1")
    assert repository.head == repository.commit_of("run_1") and repository.edited(["experiment.py"]) == {}
    assert repository.files(repository.head, ["run_7", "run_8"]) == {"run_8/data.json": b"8"}
    git(root, "fsck", "--strict")
    assert git(root, "status", "--porcelain") == ""


def test_packs_of_a_long_campaign_are_made_one(root: Path, repository: Repository) -> None:
    for run in range(12):
        repository.commit(
            f"run_{run}/record", f"Run {run}", {f"run_{run}/{n}.json": b"%d %d" % (run, n) for n in range(100)}
        )
        repository.pack()
    assert len(list((root / ".git" / "objects" / "pack").glob("*.pack"))) <= 8
    assert repository.files(repository.head or "", ["run_3/7.json"]) == {"run_3/7.json": b"3 7"}


def test_many_diffs_are_what_each_alone_is(root: Path, repository: Repository) -> None:
    first = repository.commit("a", "A", {"experiment.py": b"rate = 1\n" * 9 + b"\xff\n", "other.py": b"x = 1\n"})
    sha = b"0123456789012345678901234567890123456789\n"
    second = repository.commit("b", "B", {"experiment.py": b"rate = 2\n" + sha * 2, "other.py": b"x = 2\n"})
    third = repository.commit("c", "C", {"experiment.py": None, "moved.py": b"rate = 2\n" + sha * 2, "other.py": b"x = 2"})
    pairs = [(first, second), (second, third), (first, third), (second, second), (third, first), (first, second)]
    for paths in (["experiment.py", "moved.py", "other.py"], ["experiment.py"]):
        found = repository.diffs(pairs, paths)
        assert found == {pair: repository.diff(*pair, paths) for pair in pairs}
    assert repository.diffs([(first, "0" * 40)], ["experiment.py"]) == {}, "each is asked for by itself then, and says why"


def test_thousands_of_small_files_take_one_git_for_many(
    root: Path, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {f"data/{number}.txt": b"line %d\n" % (number % 580) * bool(number) for number in range(600)}
    commit = repository.commit("start", "Start", data)
    repository.pack()
    asked: list[str] = []
    once = Git.once

    def counted(self: Git, *arguments: str, **named: Any) -> tuple[int, bytes, str]:
        asked.append(arguments[0])
        return once(self, *arguments, **named)

    monkeypatch.setattr(Git, "once", counted)
    repository = Repository(root, root / ".harness")
    assert repository.files(commit, ["data", "experiment.py"]) == {**data, "experiment.py": b"rate = 1\n"}
    repository.write_to(tmp_path / "copy", commit, ["data"])
    assert {f"data/{file.name}": file.read_bytes() for file in (tmp_path / "copy" / "data").iterdir()} == data
    assert len(asked) < 20


def test_nothing_that_a_killed_process_was_writing_is_left_after_the_next_start(root: Path, repository: Repository) -> None:
    left, number = set[str](), 0
    ended = -1
    while ended:
        number += 1

        def commit(number: int = number) -> None:
            Hindrance(root, number, killed)
            Repository(root, root / ".harness").commit("run_1/record", "Run 1", {"experiment.py": b"rate = %d\n" % number})

        ended = in_a_child(commit)
        left |= {path.name[:7] for path in _being_written(root)}
        repository.recover(lambda step: step == "start", ["experiment.py"])
        assert _being_written(root) == [], number
        assert (root / "experiment.py").read_text() == "rate = 1\n"
        assert git(root, "status", "--porcelain") == ""
    assert number > 12 and left == {"tmp_obj", ".experi", "checkou"}  # of each kind of writing one was cut off


def test_what_a_killed_git_was_packing_is_gone_after_the_next_start(root: Path, repository: Repository) -> None:
    packs = root / ".git" / "objects" / "pack"
    packs.mkdir(exist_ok=True)
    for name in ("tmp_pack_x", "tmp_idx_x", ".tmp-7-pack-x.pack"):
        (packs / name).write_text("half")
    repository.recover(lambda step: True, ["experiment.py"])
    assert list(packs.iterdir()) == []


def _being_written(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith("tmp_obj_") or path.name.endswith(".new")]
