"""Who is told that a campaign has ended, cannot go on, or waits."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import harness.cli.notify
from harness.agents.dialogue import Dialogue
from harness.campaign.campaign import Campaign
from harness.campaign.errors import CannotGoOn
from harness.campaign.layout import Layout
from harness.campaign.protocols import Share, Silent, Waits
from harness.campaign.stop import Stop
from harness.cli.notify import WaitsView, notify, state
from harness.cli.running import Request, run, take_on
from harness.execution.executors.home import Home
from harness.report.terminal.status import read_status
from harness.report.terminal.status_page import status
from tests.executing import Workshop
from tests.waiting import until

DONE = {"text": "ALL_COMPLETED"}


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """What was told to the command of `append`."""

    def read() -> list[dict[str, Any]]:
        # Moved into place whole, one file a message.
        return [
            json.loads(each.read_text())
            for each in sorted(tmp_path.glob("told-*"), key=lambda each: each.stat().st_mtime_ns)
        ]

    return read


def append(tmp_path: Path) -> str:
    folder = shlex.quote(str(tmp_path))
    return f"cat > {folder}/$$ && mv {folder}/$$ {folder}/told-$$"


class Hook(BaseHTTPRequestHandler):
    """A webhook, and an address that leads elsewhere."""

    def do_POST(self) -> None:
        assert self.headers["Content-Type"] == "application/json" and self.headers["User-Agent"].startswith("harness")
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/hook")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and what was posted there."""
    posted: list[dict[str, Any]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.posted = posted  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", posted
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("to", ["command", "address"])
def test_who_is_to_be_told_gets_the_state_once(
    tmp_path: Path, told: Callable[[], list[dict[str, Any]]], webhook: tuple[str, list[dict[str, Any]]], to: str
) -> None:
    address, posted = webhook
    root = tmp_path / "runs" / "gone"
    root.mkdir(parents=True)
    notify(append(tmp_path) if to == "command" else f"{address}/hook", state(Layout(root), 4))
    (found,) = [*told(), *posted]
    assert (found["name"], found["exit_code"]) == ("gone", 4)
    assert found["text"].startswith("gone: ")  # what chat services show


def test_that_nobody_was_told_is_a_line_without_the_address(
    capsys: pytest.CaptureFixture[str], webhook: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, posted = webhook
    monkeypatch.setattr(harness.cli.notify, "PATIENCE", 0.2)
    monkeypatch.setenv("CHAT", "secret-of-mine")
    notify("exit 3", {})
    notify("http://127.0.0.1:1/secret", {})
    notify(f"{address}/moved", {})  # followed, it would be asked for there, without what is to be told
    said = capsys.readouterr().err
    assert "--notify failed: exit code 3" in said and said.count("--notify failed") == 3 and "secret" not in said
    assert "302" in said and len(posted) == 1
    # Of a command all is named but what may hold a key.
    notify("sleep 9 # https://me:secret@chat.example/services/secret", {})
    notify("echo posting with token=secret to https://chat.example/secret $CHAT >&2; exit 4", {})
    said = capsys.readouterr().err
    assert "'sleep 9 # https://chat.example/…' timed out" in said and "secret" not in said
    assert "exit code 4: posting with token=… to https://chat.example/… [CHAT]" in said


@pytest.mark.parametrize("to", ["command", "address"])
def test_a_campaign_that_cannot_be_made_is_told_too(
    tmp_path: Path,
    experiment: Path,
    told: Callable[[], list[dict[str, Any]]],
    webhook: tuple[str, list[dict[str, Any]]],
    to: str,
) -> None:
    address, posted = webhook
    idea = {"Name": "small", "Title": "A small idea", "Experiment": "Make the loss smaller."}
    (tmp_path / "idea.json").write_text(json.dumps(idea))
    (tmp_path / "script.json").write_text(json.dumps({"run 1, attempt 1": DONE}))
    (tmp_path / "out").write_text("a file where campaigns should lie")
    agent = "tests.scripted:ScriptedAgent"
    request = Request(
        [tmp_path / "idea.json"],
        [],
        experiment,
        tmp_path / "out",
        None,
        agent,
        None,
        tmp_path / "script.json",
        notify=append(tmp_path) if to == "command" else address,
    )
    with pytest.raises(CannotGoOn) as raised:
        run(request, 80)
    assert raised.value.exit_code == 4
    (found,) = [*told(), *posted]
    assert (found["name"], found["exit_code"]) == ("small", 4) and "out" in found["message"]


def test_a_campaign_that_waits_for_a_limit_tells_it_once_and_then_how_it_ended(
    tmp_path: Path,
    make_campaign: Callable[..., Campaign],
    monkeypatch: pytest.MonkeyPatch,
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    shown: list[str] = []

    def sleep(dialogue: Dialogue, seconds: float, waits: Waits) -> None:
        dialogue._view.tick(waits)
        until(lambda: told())
        shown.append(status(read_status(Layout(campaign.root)), "small", 200))

    monkeypatch.setattr(harness.cli.notify, "LASTS", 0.0)
    monkeypatch.setattr(Dialogue, "_sleep", sleep)
    limited = DONE | {"fail": ["rate", "rate"], "limit": 3 * 3600}
    campaign = make_campaign({"run 1, attempt 1": limited}, wait_for_limits=True)
    assert take_on(campaign, Stop(), 80, append(tmp_path)) == 0
    waiting, ended = told()
    assert waiting["state"] == "running" and waiting["exit_code"] is None
    assert waiting["waits"].startswith("The limit ends at ") and "waits" in shown[0]
    assert (ended["state"], ended["reason"], ended["exit_code"], ended["waits"]) == ("ended", "all_completed", 0, "")


def test_what_is_waited_for_for_a_moment_is_not_told_and_what_lasts_is_told_once_for_all_that_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = threading.Semaphore(0)
    view = WaitsView(Silent(), told.release)
    view.tick(Waits("waiting for 1 core"))
    view.tick(Waits("waiting for 1 core"))
    view.begin(1, 1, 1, "execute")
    monkeypatch.setattr(harness.cli.notify, "LASTS", 0.0)
    view.tick("a line of output")
    assert not told.acquire(blocking=False)
    wait = threading.Thread(target=view.tick, args=[Waits("waiting for 1 core")])
    for _ in range(3):
        view.tick(Waits("waiting for 1 core"))
    wait.start()
    wait.join()
    told.acquire()
    view.end()
    view.tick(Waits("waiting for 1 core"))
    assert not told.acquire(blocking=False)  # the other one waits still


def test_an_execution_that_waits_for_a_slot_says_so_to_the_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_CORES", "1")
    first, second = Workshop(tmp_path / "first"), Workshop(tmp_path / "second")
    holder = first.submit_python(
        "import os, time\nwhile not os.path.exists('gate'): time.sleep(0.02)", share=Share("first", threads=1)
    )
    until(lambda: not Home(first.home).waits_for() and first.running())
    execution = second.submit_python("pass", share=Share("second", threads=1))
    waits: list[str] = []

    def tick(line: str) -> None:
        if isinstance(line, Waits):
            waits.append(line)
            (first.folder / "gate").touch()

    assert execution.wait(tick, lambda: False).ended == "ok"
    assert "for 1 core" in waits[0]
    assert holder.wait(lambda line: None, lambda: False).ended == "ok"
