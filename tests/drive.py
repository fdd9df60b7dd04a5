"""Drives a campaign in a process of its own that a test can have killed.

    python -m tests.drive CAMPAIGN [SEEN WHERE [RUN SEEDS COPIES]]      (JOBS in the environment: executions at once)

With SEEN (a file) the campaign is taken up again and again by a new process (a fork, which saves the imports), each of
which kills itself with SIGKILL at the first point of the kind WHERE that no process before it came to: `journal` after each
event, `git` after each object of a commit and before and after each git command, `turn` inside the agent's turn. Prints how
often that was, or the ending. With RUN and SEEDS each process does what `harness confirm` does, and what it leaves is copied into COPIES.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from harness.campaign import journal
from harness.campaign.campaign import Campaign
from harness.campaign.git import Git
from harness.campaign.git_objects import GitObjects
from harness.campaign.journal import Journal
from harness.campaign.protocols import Silent
from harness.campaign.repository import Repository
from harness.campaign.stop import Stop
from harness.continuation import go_on
from harness.execution import fresh_seeds
from harness.execution.executors.sandbox import available
from tests.scripted import ScriptedConversation


def die_once(seen: Path, point: str) -> None:
    known = seen.read_text().splitlines() if seen.exists() else []
    if point not in known:
        with seen.open("a") as file:
            file.write(point + "\n")
        os.kill(os.getpid(), signal.SIGKILL)


def arm(seen: Path, where: str) -> None:
    journal._LONG = 2_000  # so that it lies in several files
    if where == "journal":
        append, one_at_a_time = Journal.append, threading.Lock()

        def append_and_die(self: Journal, event: str, **facts: Any) -> None:
            append(self, event, **facts)
            with one_at_a_time:  # of several threads only one dies at a point
                die_once(seen, f"{event} {facts.get('step')}")

        Journal.append = append_and_die  # type: ignore[method-assign]
    elif where == "git":
        run, write = Git.once, GitObjects.write_from
        commit = Repository.commit
        current = [""]

        def commit_known(self: Repository, step: str, *arguments: Any, **named: Any) -> str:
            current[0] = step
            try:
                return commit(self, step, *arguments, **named)
            finally:
                current[0] = ""

        def run_and_die(self: Git, *arguments: str, **named: Any) -> Any:
            if current[0]:
                die_once(seen, f"before {current[0]} {arguments[0]}")
            out = run(self, *arguments, **named)
            if current[0]:
                die_once(seen, f"after {current[0]} {arguments[0]}")
            return out

        def write_and_die(self: GitObjects, kind: str, *arguments: Any) -> str:
            out = write(self, kind, *arguments)
            if current[0]:
                die_once(seen, f"after {current[0]} {kind}")
            return out

        GitObjects.write_from = write_and_die  # type: ignore[method-assign]
        Repository.commit = commit_known  # type: ignore[method-assign]
        Git.once = run_and_die  # type: ignore[method-assign]
    elif where == "turn":
        ask = ScriptedConversation.ask

        def ask_and_die(self: ScriptedConversation, text: str, *, turn: int, label: str) -> Any:
            reply = ask(self, text, turn=turn, label=label)
            die_once(seen, label)
            return reply

        ScriptedConversation.ask = ask_and_die  # type: ignore[method-assign]


def main(root: Path, confirm: tuple[int, int] | None = None) -> int:
    # Drawn at random, no two campaigns would be the same.
    fresh_seeds.SystemRandom = lambda: Random(1)  # type: ignore[assignment, misc]
    jobs = int(os.environ.get("JOBS", "1"))
    ending = go_on(Campaign(root), view=Silent(), stop=Stop(), confirm=confirm, jobs=jobs)
    print(ending.reason, ending.message, flush=True)
    return ending.exit_code


if __name__ == "__main__":
    if len(sys.argv) == 2:
        sys.exit(main(Path(sys.argv[1])))
    arm(Path(sys.argv[2]), sys.argv[3])
    for name in ("git", "jinja2", "platformdirs"):  # by a campaign only when it needs them; here once for all forks
        import_module(name)
    available()  # tried once for all forks
    confirm = (int(sys.argv[4]), int(sys.argv[5])) if len(sys.argv) > 4 else None
    for killed in range(300):
        child = os.fork()
        if child == 0:
            os._exit(main(Path(sys.argv[1]), confirm))
        status = os.waitpid(child, 0)[1]
        if confirm and os.WIFSIGNALED(status):
            shutil.copytree(sys.argv[1], Path(sys.argv[6]) / str(killed), symlinks=True)
        if not os.WIFSIGNALED(status):
            print(killed)
            sys.exit(os.waitstatus_to_exitcode(status))
