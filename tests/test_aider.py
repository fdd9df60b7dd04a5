"""The real aider in its own environment, against a scripted server on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.agents import aider
from harness.agents.aider import AiderAgent, AiderConversation
from harness.agents.aider_environment import aider_python
from harness.campaign.errors import InputError
from harness.campaign.protocols import AgentConfig, Reply, Workspace

from .model_server import ModelServer, answer, drop, garbage, hang, no_choices, refuses_key, status, trickle
from .waiting import HANGS, until

KEY = "sk-proj-aB3/dE6+gH9"
UNKNOWN = "openai/some-model"
PRICED = "openai/gpt-4o"
EXPERIMENT = "import sys\n\nrate = 1\nsteps = 10\n"


def edit(search: str, replacement: str, path: str = "experiment.py") -> str:
    return f"{path}\n```python\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n```\n"


class Proxy:
    """Counts who wants to leave the machine."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked: list[bytes] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            self.asked.append(connection.recv(200))
            connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture(scope="module")
def proxy() -> Proxy:
    return Proxy()


@contextmanager
def aider_of(server: ModelServer, proxy: Proxy, timeout: float, workspaces: Path) -> Iterator[AiderAgent]:
    """A process of aider that waits for an answer for so many seconds, and works in folders of `workspaces`."""
    aider_python(lambda line: None)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    provider = {
        "OPENAI_API_BASE": server.url,
        "OLLAMA_API_BASE": nobody,
        "OPENAI_API_KEY": KEY,
        "HTTP_PROXY": proxy.address,
        "HTTPS_PROXY": proxy.address,
        "NO_PROXY": "127.0.0.1",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aider, "PATIENCE", 0.6)  # three requests
        agent = AiderAgent(AgentConfig(model=UNKNOWN, timeout=timeout, workspaces=workspaces), provider)
        yield agent
        agent.close()


@pytest.fixture(scope="module")
def shared_agent(server: ModelServer, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AiderAgent]:
    """One process of aider for this file. No answer of the server comes too late for it, however slow the machine."""
    with aider_of(server, proxy, HANGS, tmp_path_factory.getbasetemp()) as agent:
        yield agent


@pytest.fixture(scope="module")
def impatient_agent(server: ModelServer, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AiderAgent]:
    """One for servers that never answer."""
    with aider_of(server, proxy, 3, tmp_path_factory.getbasetemp()) as agent:
        agent.count_tokens("one")  # it has started
        yield agent


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def agent(shared_agent: AiderAgent, events: list[str]) -> AiderAgent:
    own = shared_agent.config
    heard = {"on_output": events.append, "on_notice": events.append}
    shared_agent.config = AgentConfig(model=UNKNOWN, timeout=HANGS, workspaces=own.workspaces, **heard)
    return shared_agent


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "work"
    root.mkdir()
    (root / "experiment.py").write_text(EXPERIMENT)
    (root / "lab.py").write_text("def secret_of_the_lab():\n    return 42\n")
    return Workspace(root, ("experiment.py", "plot.py"), ("lab.py",))


@pytest.fixture
def conversation(agent: AiderAgent, workspace: Workspace) -> Iterator[AiderConversation]:
    opened = agent.open(workspace)
    yield opened
    opened.close()


def ask(conversation: AiderConversation, text: str = "Improve it.") -> Reply:
    return conversation.ask(text, turn=0, label="run 1, attempt 1")


def code(workspace: Workspace) -> str:
    return (workspace.root / "experiment.py").read_text()


def test_an_edit_is_applied(conversation, workspace, server):
    server.says("Faster.\n\n" + edit("rate = 1\n", "rate = 2\n"))
    reply = ask(conversation)
    assert code(workspace) == EXPERIMENT.replace("rate = 1", "rate = 2")
    assert reply.failure is None and reply.refused_writes == () and reply.warnings == ()
    assert reply.text.startswith("Faster.") and reply.replies == (reply.text,)
    assert (reply.usage.sent, reply.usage.received, reply.usage.requests) == (1000, 100, 1)
    assert reply.usage.seconds > 0


def test_the_model_is_told_the_files_and_the_prompt(conversation, server):
    server.says("Ok.")
    ask(conversation, "Raise the {rate}.")
    sent = "\n".join(message["content"] for message in server.requests[0]["messages"])
    assert "Raise the {rate}." in sent and "steps = 10" in sent and "secret_of_the_lab" in sent
    assert server.keys == [KEY]
    assert server.requests[0]["model"] == "some-model"


def test_the_edit_format_is_explained_once_and_with_an_example(agent, conversation, workspace, server):
    server.says("Ok.")
    ask(conversation, "Raise the rate.")
    *_, files, _, last = server.requests[0]["messages"]
    system = server.requests[0]["messages"][0]["content"]
    assert last["content"] == "Raise the rate." and EXPERIMENT in files["content"]
    assert "main.py\n```python\n<<<<<<< SEARCH\n" in system and ">>>>>>> REPLACE\n```" in system
    assert agent.count_tokens(system, "gpt-4o") < 450
    for edit_format in aider.EDIT_FORMATS:
        agent.config = replace(agent.config, edit_format=edit_format)
        server.says("Ok.")
        ask(agent.open(workspace), "Raise the rate.")
        assert server.requests[0]["messages"][-1]["content"] == "Raise the rate."


def test_a_search_that_never_matches_ends_after_three_corrections(conversation, workspace, server):
    server.says(*[edit("no such line\n", "x = 1\n")] * 9)
    reply = ask(conversation)
    assert code(workspace) == EXPERIMENT
    assert len(reply.replies) == 4 and reply.usage.requests == 4 and reply.usage.sent == 4000
    assert reply.failure is None
    assert "no such line" in reply.warnings[-1] and "failed to match" in reply.warnings[-1]


def test_an_undefined_name_goes_back_to_the_model(conversation, workspace, server):
    server.says(edit("rate = 1\n", "rate = undefined\n"), edit("rate = undefined\n", "rate = 3\n"))
    reply = ask(conversation)
    assert "rate = 3" in code(workspace)
    assert len(reply.replies) == 2 and reply.usage.sent == 2000 and reply.usage.received == 200
    assert "F821 undefined name" in server.requests[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("edit_format", "said"),
    [
        ("diff", edit("## Run 0\nabsorption: 0.2\n", "## Run 0\n## Run 1\nIt fell.\n", "results/tiny/notes.txt")),
        ("diff", edit("", "## Run 1\nIt fell.\n", "notes.txt")),
        ("diff-fenced", "```\nnotes.txt\n<<<<<<< SEARCH\nno such line\n=======\n## Run 1\nIt fell.\n>>>>>>> REPLACE\n```\n"),
        ("whole", "notes.txt\n```\n## Run 1\nIt fell.\n```\n"),
        ("udiff", "```diff\n--- notes.txt\n+++ notes.txt\n@@ ... @@\n ## Run 0\n+## Run 1\n+It fell.\n```\n"),
    ],
)
def test_edits_of_notes_cost_nothing_and_their_words_are_kept(agent, workspace, server, edit_format, said):
    change = {
        "diff": edit("rate = 1\n", "rate = 2\n"),
        "diff-fenced": "```python\nexperiment.py\n<<<<<<< SEARCH\nrate = 1\n=======\nrate = 2\n>>>>>>> REPLACE\n```\n",
        "whole": f"experiment.py\n```\n{EXPERIMENT.replace('rate = 1', 'rate = 2')}```\n",
        "udiff": "```diff\n--- experiment.py\n+++ experiment.py\n@@ ... @@\n-rate = 1\n+rate = 2\n```\n",
    }[edit_format]
    agent.config = replace(agent.config, edit_format=edit_format)
    server.says(f"{said}\n{change}")
    reply = ask(agent.open(workspace))
    assert len(server.requests) == 1
    assert reply.notes == "## Run 1\nIt fell."
    assert code(workspace) == EXPERIMENT.replace("rate = 1", "rate = 2")
    assert reply.refused_writes == () and reply.warnings == () and not (workspace.root / "notes.txt").exists()


def test_notes_that_a_correction_repeats_are_kept_once(conversation, workspace, server):
    notes = edit("## Run 0\n", "## Run 0\nIt fell.\n", "notes.txt")
    server.says(notes + edit("rate = 7\n", "rate = 2\n"), notes + edit("rate = 1\n", "rate = 2\n"))
    assert ask(conversation).notes == "It fell."
    assert len(server.requests) == 2 and "rate = 2" in code(workspace)


def test_code_that_breaks_the_linter_is_still_edited(conversation, workspace, server):
    server.says(edit("rate = 1\n", "rate = '\0'\n"))
    reply = ask(conversation)
    assert reply.failure is None and "\0" in code(workspace)


def test_a_reply_without_an_edit_changes_nothing(conversation, workspace, server):
    server.says("ALL_COMPLETED")
    reply = ask(conversation)
    assert reply.text == "ALL_COMPLETED" and reply.failure is None and code(workspace) == EXPERIMENT


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_reply_is_said_and_leaves_no_gap_in_the_conversation(conversation, server, content):
    server.says(answer(content), "Now then.")
    reply = ask(conversation)
    assert reply.text == "" and reply.failure is None and "empty" in reply.warnings[0]
    ask(conversation, "Once more.")
    roles = [message["role"] for message in server.requests[1]["messages"]]
    assert roles[-1] == "user" and roles[-2] != "user"


def test_a_reply_cut_at_the_output_limit_is_counted_and_said(conversation, workspace, server):
    server.says(answer("experiment.py\n```python\n<<<<<<< SEARCH\nrate", finish="length"))
    reply = ask(conversation)
    assert code(workspace) == EXPERIMENT and len(server.requests) == 1
    assert reply.usage.received == 100 and reply.text.startswith("experiment.py")
    assert reply.warnings == (
        "A reply was cut at the model's output limit. Its only edit was cut off, so nothing of it was applied: write it again, "
        "in small edits.",
    )


@pytest.mark.parametrize(
    ("edit_format", "begun"),
    [
        ("diff", edit("rate = 1\n", "rate = 2\n") + "\nexperiment.py\n```python\n<<<<<<< SEARCH\nsteps = 10\n=======\nst"),
        ("whole", f"experiment.py\n```\n{EXPERIMENT.replace('rate = 1', 'rate = 2')}```\n\nplot.py\n```\nimpo"),
        (
            "udiff",
            "```diff\n--- experiment.py\n+++ experiment.py\n@@ ... @@\n-rate = 1\n+rate = 2\n```\n"
            "```diff\n--- experiment.py\n+++ experiment.py\n@@ ... @@\n-steps = 10\n+st",
        ),
    ],
)
def test_the_complete_edits_before_a_cut_count(agent, workspace, server, edit_format, begun):
    agent.config = replace(agent.config, edit_format=edit_format)
    server.says(answer(begun, finish="length"))
    reply = ask(agent.open(workspace))
    assert code(workspace) == EXPERIMENT.replace("rate = 1", "rate = 2") and len(server.requests) == 1
    assert not (workspace.root / "plot.py").exists()
    assert "The complete edit before the cut counts; the edit that was cut off is lost" in reply.warnings[0]


WHOLE_FILE = f"experiment.py\n```python\n{EXPERIMENT.replace('rate = 1', 'rate = 2')}```\n"
UDIFF = "```diff\n--- experiment.py\n+++ experiment.py\n@@ -3 +3 @@\n-rate = 1\n+rate = 2\n```\n"


@pytest.mark.parametrize(
    ("edit_format", "said", "form"),
    [
        ("diff", WHOLE_FILE, "experiment.py\n```python\n<<<<<<< SEARCH\nimport sys\n=======\nimport sys  #"),
        ("diff", UDIFF, "experiment.py\n```python\n<<<<<<< SEARCH\nimport sys\n=======\nimport sys  #"),
        ("udiff", WHOLE_FILE, "```diff\n--- experiment.py\n+++ experiment.py\n@@ ... @@\n-import sys\n+import sys  #"),
        ("whole", edit("rate = 1\n", "rate = 2\n"), "experiment.py\n```python\nthe whole file"),
    ],
)
def test_code_in_another_form_is_answered_with_the_form_that_is_wanted(
    agent, workspace, server, events, edit_format, said, form
):
    agent.config = replace(agent.config, edit_format=edit_format)
    server.says(said)
    reply = ask(agent.open(workspace))
    assert code(workspace) == EXPERIMENT and len(server.requests) == 1
    assert form in reply.warnings[0] and f"in the format `{edit_format}`" in reply.warnings[0]
    assert any("`--edit-format` names another format" in line for line in events)


@pytest.mark.parametrize(
    ("step", "kind", "requests"),
    [
        (status(401, "bad key"), "auth", 1),
        (status(403, "no access"), "auth", 1),
        (status(402, "Payment required"), "quota", 1),
        (status(429, "You exceeded your current quota", "insufficient_quota"), "quota", 1),
        (status(400, "Your credit balance is too low"), "quota", 1),
        (status(404, "The model does not exist", "model_not_found"), "model", 1),
        (status(429, "Too many requests", "rate_limit_exceeded"), "rate", 2),
        (status(500, "oops"), "server", 2),
        (status(503, "overloaded"), "server", 2),
        (garbage, "server", 2),
        (no_choices, "server", 2),
        (drop, "connection", 2),
        (status(400, "This model's maximum context length is 8 tokens", "context_length_exceeded"), "context", 1),
        (status(400, "request (8226 tokens) exceeds the available context size (8192 tokens)"), "context", 1),
        (status(400, "Trying to keep the first 5000 tokens when context the overflows"), "context", 1),
        (status(429, "Too many requests. Please try again in 2 hours"), "rate", 1),
    ],
)
def test_a_failure_of_the_provider_has_its_kind_and_few_requests(conversation, workspace, server, step, kind, requests):
    server.says(*[step] * 9)
    fails(ask(conversation), workspace, server, kind, requests)


@pytest.mark.parametrize("step", [hang, trickle])
def test_a_provider_that_never_answers_is_a_failure_of_its_kind(impatient_agent, workspace, server, step):
    server.says(*[step] * 9)
    reply = ask(impatient_agent.open(workspace))
    fails(reply, workspace, server, "timeout", 1)
    assert (reply.usage.cost, reply.usage.lost) == (None, 1)  # it may have been worked on, and paid for


def test_the_time_limit_of_a_turn_holds_between_its_requests(conversation, server):
    conversation._agent.config = replace(conversation._agent.config, turn_left=lambda: 0.0)
    server.says("Never asked for.")
    assert ask(conversation).failure.kind == "timeout" and not server.requests


def test_edits_before_a_request_that_never_came_back_are_there(impatient_agent, workspace, server):
    server.says(edit("rate = 1\n", "rate = 2\n") + edit("nothing like it\n", "rate = 3\n"), hang)
    reply = ask(impatient_agent.open(workspace))
    assert reply.failure.kind == "timeout" and "rate = 2" in code(workspace)
    assert reply.usage.received == 100 and reply.usage.cost is None


def test_a_refused_connection_costs_nothing_and_a_broken_one_an_unknown_sum(conversation, workspace, server):
    server.says(*[drop] * 9)
    assert ask(conversation).usage.cost is None
    server.says(*[status(401, "no")] * 9)
    assert ask(conversation).usage.cost == 0.0


def fails(reply: Reply, workspace: Workspace, server: ModelServer, kind: str, requests: int) -> None:
    assert reply.failure and reply.failure.kind == kind, reply.failure
    assert UNKNOWN in reply.failure.message and code(workspace) == EXPERIMENT
    assert len(server.requests) == requests
    assert reply.usage.requests == len(server.requests)
    assert reply.replies == () and reply.usage.sent == 0
    assert reply.history == {"done": [], "cur": []}


def test_a_failed_request_is_repeated_and_the_turn_goes_on(conversation, workspace, server, events):
    server.says(status(503, "overloaded"), edit("rate = 1\n", "rate = 2\n"))
    reply = ask(conversation)
    assert reply.failure is None and "rate = 2" in code(workspace) and reply.usage.requests == 2
    assert any("again in" in line for line in events)


def test_a_failure_in_a_correction_keeps_what_was_said_before(conversation, server):
    server.says(edit("rate = 1\n", "rate = undefined\n"), status(401, "expired"), "Well.")
    reply = ask(conversation)
    assert reply.failure and reply.failure.kind == "auth" and len(reply.replies) == 1
    ask(conversation, "Go on.")
    contents = [message["content"] for message in server.requests[2]["messages"]]
    assert any("rate = undefined" in content and "SEARCH" in content for content in contents)


def test_nobody_listening_is_a_connection_failure(agent, workspace):
    agent.config = replace(agent.config, model="ollama/llama3")
    reply = ask(agent.open(workspace))
    assert reply.failure and reply.failure.kind == "connection" and "OLLAMA_API_BASE" in str(reply.failure)


def test_a_conversation_too_long_for_the_model_is_told_before_a_request(agent, workspace, server):
    agent.config = replace(agent.config, model="openai/gpt-4")
    server.says("never")
    reply = ask(agent.open(workspace), "word " * 9000)
    assert reply.failure and reply.failure.kind == "context" and server.requests == []


def test_a_key_echoed_by_the_provider_is_redacted(conversation, server, events):
    server.says(refuses_key)
    reply = ask(conversation)
    assert reply.failure and "[OPENAI_API_KEY]" in reply.failure.message
    assert KEY not in repr(reply) and not any(KEY in line for line in events)


def test_the_cost_of_a_model_without_a_price_is_unknown(conversation, server):
    server.says("Hm.")
    assert ask(conversation).usage.cost is None


def test_the_cost_is_that_of_the_price_list(agent, workspace, server):
    agent.config = replace(agent.config, model=PRICED)
    server.says(answer("Hm.", sent=1_000_000, received=100_000))
    cost = ask(agent.open(workspace)).usage.cost
    assert cost == pytest.approx(2.5 + 1.0)


@pytest.mark.parametrize(
    "target", ["lab.py", "new.py", "../outside.py", "{root}/absolute.py", "{home}/absolute.py", ".git/hooks/post-commit"]
)
def test_only_editable_files_are_written(conversation, workspace, server, target, tmp_path):
    target = target.format(root=workspace.root, home=tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    server.says(edit("", "evil = True\n", target) + edit("rate = 1\n", "rate = 2\n"))
    reply = ask(conversation)
    assert reply.refused_writes == (target,)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    changed = {path for path in before | after if before.get(path) != after.get(path)}
    assert changed == {workspace.root / "experiment.py"}, "the good edit beside it is applied, and nothing else"


def test_a_read_only_file_is_not_overwritten(conversation, workspace, server):
    server.says(edit("    return 42\n", "    return 43\n", "lab.py"))
    reply = ask(conversation)
    assert "42" in (workspace.root / "lab.py").read_text() and reply.refused_writes == ("lab.py",)


@pytest.mark.parametrize("name", ["experiment.py", "lab.py"])
def test_a_link_is_neither_written_through_nor_read(conversation, workspace, server, tmp_path, name):
    outside = tmp_path / "outside.py"
    outside.write_text("rate = 1\nprivate = True\n")
    (workspace.root / name).unlink()
    (workspace.root / name).symlink_to(outside)
    server.says(edit("rate = 1\n", "rate = 2\n", name))
    reply = ask(conversation)
    assert outside.read_text() == "rate = 1\nprivate = True\n"
    assert reply.failure and reply.failure.kind == "setup" and "symbolic link" in reply.failure.message
    assert server.requests == []


def test_a_missing_editable_file_can_be_made_and_comes_back(conversation, workspace, server):
    server.says(edit("", "print(1)\n", "plot.py"), edit("print(1)\n", "print(2)\n", "plot.py"))
    ask(conversation)
    assert (workspace.root / "plot.py").read_text() == "print(1)\n"
    (workspace.root / "experiment.py").unlink()
    ask(conversation)
    (workspace.root / "experiment.py").write_text(EXPERIMENT)
    assert (workspace.root / "plot.py").read_text() == "print(2)\n"
    server.says(edit("rate = 1\n", "rate = 2\n"))
    ask(conversation)
    assert "rate = 2" in code(workspace) and "steps = 10" in str(server.requests[0]["messages"])


def test_line_ends_of_windows_survive_an_edit(conversation, workspace, server):
    (workspace.root / "experiment.py").write_bytes(EXPERIMENT.replace("\n", "\r\n").encode())
    server.says(edit("rate = 1\n", "rate = 2\n"))
    ask(conversation)
    expected = EXPERIMENT.replace("rate = 1", "rate = 2").replace("\n", "\r\n")
    assert (workspace.root / "experiment.py").read_bytes() == expected.encode()


def test_a_file_that_is_no_text_is_said(conversation, workspace, server):
    (workspace.root / "experiment.py").write_bytes(b"x = '\xff'\n")
    reply = ask(conversation)
    assert reply.failure and reply.failure.kind == "setup" and "UTF-8" in reply.failure.message


def test_files_planted_in_the_workspace_are_inert(conversation, workspace, server, tmp_path):
    root, trace = workspace.root, tmp_path / "ran"
    for name in ("json.py", "flake8.py", "sitecustomize.py", "litellm.py", "argparse.py"):
        (root / name).write_text(f"open({str(trace)!r}, 'w').write('ran')\n")
    (root / ".env").write_text("OPENAI_API_BASE=http://127.0.0.1:9/v1\nOPENAI_API_KEY=stolen\n")
    (root / ".aider.conf.yml").write_text("lint-cmd: touch ran\nauto-test: true\ntest-cmd: touch ran\n")
    server.says(edit("rate = 1\n", "rate = undefined\n"), "No.")
    reply = ask(conversation)
    assert reply.failure is None and server.keys == [KEY, KEY], "the linter ran, and the endpoint is still ours"
    assert not trace.exists() and not (root / "ran").exists()


@pytest.mark.parametrize("prompt", ["!touch ran", "/run touch ran", "/add lab.py\nhttp://127.0.0.1:9/x", "/exit"])
def test_a_prompt_that_looks_like_a_command_is_only_text(conversation, workspace, server, prompt):
    server.says("Ok.")
    reply = ask(conversation, prompt)
    assert reply.text == "Ok." and not (workspace.root / "ran").exists()
    assert server.requests[0]["messages"][-1]["content"].startswith(prompt)


def test_commands_in_a_reply_are_not_executed(conversation, workspace, server):
    server.says("```bash\ntouch ran\n```\n" + edit("rate = 1\n", "rate = 2\n") + "\n```bash\ntouch ran\n```\n")
    ask(conversation)
    assert "rate = 2" in code(workspace) and not (workspace.root / "ran").exists()


def test_a_prompt_with_what_is_no_unicode_is_sent(conversation, server):
    server.says("Ok.")
    assert ask(conversation, "bytes of a log: \udcff").failure is None


def test_a_conversation_goes_on_exactly_where_its_history_ends(agent, workspace, server):
    first = agent.open(workspace)
    server.says("Let me think.", "# A heading\n> quoted\n" + edit("rate = 1\n", "rate = 2\n"), "I would stop.", "Once more.")
    ask(first, "# Think\nfirst")
    ask(first, "Then edit.")
    history = ask(first, "And now?").history
    ask(first, "The last question.")
    undisturbed = server.requests[-1]["messages"]
    server.says("Once more.")
    ask(agent.open(workspace, history), "The last question.")
    assert server.requests[0]["messages"] == undisturbed
    assert "# A heading" in str(undisturbed)


def test_two_conversations_do_not_know_of_each_other(agent, workspace, server):
    one, other = agent.open(workspace), agent.open(workspace)
    server.says("A.", "B.", "C.")
    ask(one, "first of one")
    ask(other, "first of other")
    ask(one, "second of one")
    assert "first of other" not in str(server.requests[2]) and "first of one" in str(server.requests[2])


def test_a_killed_worker_is_a_failure_and_the_next_question_goes_on(agent, conversation, workspace, server):
    server.says("Noted.", hang)
    ask(conversation, "Remember me.")

    def kill() -> None:
        server.hanging.wait(HANGS)
        assert agent.pid is not None
        os.kill(agent.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    reply = ask(conversation, "Improve it.")
    killer.join()
    assert reply.failure and reply.failure.kind == "died" and "signal 9" in reply.failure.message
    assert reply.usage.cost is None
    server.says(edit("rate = 1\n", "rate = 2\n"))
    assert ask(conversation, "Improve it.").failure is None
    assert "rate = 2" in code(workspace) and "Remember me." in str(server.requests[0])


def test_architect_mode_plans_with_one_model_and_edits_with_the_other(agent, workspace, server):
    agent.config = replace(agent.config, architect=PRICED)
    assert f"architect {PRICED}" in agent.check()
    server.says(
        answer("The plan: double the rate.", sent=10, received=1),
        answer(edit("rate = 1\n", "rate = 2\n") + edit("", "evil = 1\n", "../outside.py"), sent=100, received=20),
    )
    reply = ask(agent.open(workspace))
    assert [request["model"] for request in server.requests] == ["gpt-4o", "some-model"]
    assert "double the rate" in server.requests[1]["messages"][-1]["content"]
    assert "rate = 2" in code(workspace) and not (workspace.root.parent / "outside.py").exists()
    assert reply.refused_writes == ("../outside.py",)
    assert (reply.usage.sent, reply.usage.received, reply.usage.requests) == (110, 21, 2)
    assert reply.usage.cost is None, "one of the two prices is unknown"
    assert len(reply.replies) == 1 and "The plan" in reply.text and "REPLACE" in reply.text


def test_a_plan_whose_editor_fails_is_not_remembered_as_done(agent, workspace, server):
    agent.config = replace(agent.config, architect=UNKNOWN)
    server.says("The plan: double the rate.", status(401, "no"))
    reply = ask(agent.open(workspace))
    assert reply.failure and reply.failure.kind == "auth" and reply.history == {"done": [], "cur": []}


@pytest.mark.parametrize("edit_format", ["whole", "udiff"])
def test_other_edit_formats_write_through_the_same_gate(agent, workspace, server, edit_format):
    agent.config = replace(agent.config, edit_format=edit_format)
    if edit_format == "whole":
        text = "experiment.py\n```\nrate = 2\n```\n\n../outside.py\n```\nevil = 1\n```\n"
    else:
        text = "```diff\n--- experiment.py\n+++ experiment.py\n@@ ... @@\n import sys\n \n-rate = 1\n+rate = 2\n```\n"
        text += "```diff\n--- /dev/null\n+++ ../outside.py\n@@ ... @@\n+evil = 1\n```\n"
    server.says(text)
    reply = ask(agent.open(workspace))
    assert "rate = 2" in code(workspace) and not (workspace.root.parent / "outside.py").exists()
    assert reply.refused_writes == ("../outside.py",)


def test_an_edit_format_that_moves_files_is_refused(agent):
    with pytest.raises(InputError, match="patch"):
        AiderAgent(replace(agent.config, edit_format="patch"))


def test_a_reviewer_gets_one_answer_with_its_usage(agent, server):
    server.says(status(503, "busy"), answer("Look at the L0.", sent=7, received=3))
    reply = agent.complete(PRICED, "You review.", "The table.")
    assert reply.text == "Look at the L0." and reply.usage.requests == 2 and reply.usage.sent == 7
    assert reply.usage.cost == pytest.approx(7 * 2.5e-6 + 3 * 1e-5)
    assert [message["content"] for message in server.requests[1]["messages"]] == ["You review.", "The table."]


def test_a_reviewer_that_fails_is_a_failure_with_its_kind(agent, server):
    server.says(*[status(500, "oops")] * 9)
    reply = agent.complete(UNKNOWN, "You review.", "The table.")
    assert reply.failure and reply.failure.kind == "server" and 1 < len(server.requests) <= 3


def test_a_slow_or_stuck_turn_shows_a_sign_of_life(conversation, server, events):
    server.says("Ok.")
    ask(conversation)
    assert f"waiting for {UNKNOWN}" in events


def test_check_names_version_and_model_and_what_is_unknown(agent):
    line = agent.check()
    assert "aider 0.86.2" in line and UNKNOWN in line and "cost unknown" in line
    agent.config = replace(agent.config, model=PRICED)
    assert "unknown" not in agent.check()


def test_check_says_what_to_do_about_a_model(agent):
    for model, words in [
        (None, "--model"),
        ("anthropic/claude-sonnet-4-20250514", "ANTHROPIC_API_KEY"),
        ("gemini/gemini-2.5-pro", "GEMINI_API_KEY"),
        ("some-model", "openai/some-model"),
    ]:
        agent.config = replace(agent.config, model=model)
        with pytest.raises(InputError, match=words):
            agent.check()


def test_tokens_are_counted_without_network(agent, proxy):
    assert 5 <= agent.count_tokens("one two three four five") <= 7
    assert agent.count_tokens("one two three", "meta/llama-3-8b") > 0
    assert agent.count_tokens("one two three", "anthropic/claude-3-haiku-20240307") > 0
    assert proxy.asked == []


def test_nothing_but_the_endpoint_is_asked(agent, workspace, server, proxy):
    for model in (UNKNOWN, PRICED):
        agent.config = replace(agent.config, model=model)
        agent.check()
        server.says(edit("rate = 1\n", "rate = undefined\n"), edit("rate = undefined\n", "rate = 1\n"))
        ask(agent.open(workspace), "See https://example.org/x")
    assert proxy.asked == []


@pytest.fixture(scope="module")
def other_harness(server, tmp_path_factory) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A harness that waits for a model, and its worker."""
    root = tmp_path_factory.mktemp("other")
    (root / "experiment.py").write_text(EXPERIMENT)
    server.says(*[hang] * 9)
    script = f"""
        from pathlib import Path
        from harness.campaign.protocols import AgentConfig, Workspace
        from harness.agents.aider import AiderAgent
        agent = AiderAgent(AgentConfig(model="openai/x", workspaces=Path({str(root)!r})))
        conversation = agent.open(Workspace(Path({str(root)!r}), ("experiment.py",)))
        agent.count_tokens("x")
        print(agent.pid, flush=True)
        conversation.ask("x", turn=0, label="run 1, attempt 1")
    """
    environment = {
        **os.environ,
        "GITHUB_TOKEN": "ghp_secret",
        "PYTHONPATH": str(root),
        "OPENAI_API_KEY": KEY,
        "OPENAI_API_BASE": server.url,
        "TOGETHERAI_API_KEY": "together-secret",
    }
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as harness:
        assert harness.stdout is not None
        worker = psutil.Process(int(harness.stdout.readline()))
        assert server.hanging.wait(HANGS)
        yield harness, worker
        harness.kill()


def test_the_process_of_aider_has_no_key_and_no_home_of_a_person_in_its_environment(other_harness, server):
    _, worker = other_harness
    seen = worker.environ()
    assert not {"OPENAI_API_KEY", "TOGETHERAI_API_KEY", "GITHUB_TOKEN", "PYTHONPATH"} & set(seen)
    assert server.keys[-1] == KEY
    home = Path(seen["HOME"])
    assert home.is_dir() and home != Path.home() and worker.cwd() == str(home)


@pytest.mark.slow
def test_aider_gets_the_variables_of_its_models_providers_and_nobody_elses(monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "TOGETHERAI_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY"):
        monkeypatch.setenv(name, "a key")
    agent = AiderAgent(AgentConfig(model="sonnet", architect="together_ai/x/y"))
    try:
        missing = {
            name: agent._ask({"op": "describe", "model": name})["missing"]
            for name in ("claude-3-haiku-20240307", "together_ai/x/y", "openai/x", "gemini/x", "groq/x")
        }
    finally:
        agent.close()
    assert [name for name, keys in missing.items() if keys] == ["openai/x", "gemini/x", "groq/x"]


def test_a_reply_names_aiders_version_and_the_model_that_answered(agent, workspace, server):
    server.says(answer("Ok.", model="served-2026-01-01"))
    reply = ask(agent.open(workspace))
    assert (reply.agent, reply.models) == ("aider 0.86.2", ("served-2026-01-01",))


def test_the_worker_dies_with_a_killed_harness_in_the_middle_of_a_request(other_harness):
    harness, worker = other_harness
    harness.kill()
    until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.slow
def test_a_closed_agent_leaves_no_process_and_no_folder():
    agent = AiderAgent(AgentConfig(model=UNKNOWN), {})
    agent.count_tokens("one")
    assert agent.pid is not None
    worker = psutil.Process(agent.pid)
    home = Path(worker.environ()["HOME"])
    agent.close()
    assert not worker.is_running() and not home.exists() and agent.pid is None
