"""The process of aider is in a sandbox, as every agent is, and nothing of it is left when it has ended. Real processes."""

from __future__ import annotations

import os
import sys

import psutil
import pytest

from harness.agents.agent_sandbox import AgentSandbox
from harness.agents.aider import AiderAgent
from harness.agents.worker import Worker, WorkerEnded
from harness.campaign.protocols import AgentConfig
from harness.execution.visible import interpreter
from tests.executing import command_line
from tests.waiting import HANGS, until

TRIES = """
import json, os, sys
places = json.loads(sys.stdin.readline())
def done(what):
    try:
        what()
        return True
    except OSError:
        return False
def write(path):
    with open(path, "a") as file:
        file.write("x")
print(json.dumps({"answer": {
    "writes a workspace": done(lambda: write(places["workspace"])),
    "writes its home": done(lambda: write(os.environ["HOME"] + "/x")),
    "reads a record": done(lambda: open(places["record"]).read()),
    "writes a record": done(lambda: open(places["record"], "r+").write("x")),
    "reads the person's files": done(lambda: open(places["secret"]).read()),
    "writes beside them": done(lambda: open(places["outside"], "r+").write("x")),
}}), flush=True)
"""


def test_aiders_process_writes_workspaces_and_its_own_home_and_sees_no_record(tmp_path, monkeypatch, sandboxed):
    home, workspaces, runs = tmp_path / "person", tmp_path / "workspaces", tmp_path / "runs"
    monkeypatch.setenv("HOME", str(home))
    places = {
        "workspace": workspaces / "run_1/experiment.py",
        "record": runs / "one/run_1/record.json",
        "secret": home / "secret.txt",
        "outside": tmp_path / "outside.txt",
    }
    for place in places.values():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("as it was")
    monkeypatch.setattr("harness.agents.aider.aider_python", lambda say: sys.executable)
    agent = AiderAgent(AgentConfig(model="openai/x", workspaces=workspaces, hidden=(runs / "one", runs)), {})
    command, path = [sys.executable, "-c", TRIES], {"PATH": os.environ["PATH"]}
    worker = Worker(command, path, HANGS, print, agent._sandbox, workspaces)
    try:
        done = worker.ask({name: str(place) for name, place in places.items()})
    finally:
        worker.close()
    assert [what for what, was_done in done.items() if was_done] == ["writes a workspace", "writes its home"]
    assert {place.read_text() for name, place in places.items() if name != "workspace"} == {"as it was"}
    assert sorted(path.name for path in workspaces.iterdir()) == ["run_1"]


CHILD = """
import json, os, subprocess, sys
child = subprocess.Popen(["sleep", sys.argv[1]])
for line in sys.stdin:
    print(json.dumps({"answer": {}}), flush=True)
    if "die" in line:
        os._exit(7)
"""


@pytest.mark.parametrize("dies", [True, False], ids=["dead", "alive"])
def test_what_a_worker_started_ends_with_it(dies, sandboxed):
    child = f"600.{os.getpid()}"
    command = [sys.executable, "-c", CHILD, child]
    readable = interpreter(sys.executable).paths
    worker = Worker(command, dict(os.environ), HANGS, print, lambda home: AgentSandbox(home, home, readable=readable))
    worker.ask({"die": 1} if dies else {})
    if dies:
        until(lambda: not worker.alive)
        with pytest.raises(WorkerEnded, match="ended with exit code 7"):
            worker.ask({})
    worker.close()
    until(lambda: not any(command_line(each) == ["sleep", child] for each in psutil.process_iter()))
