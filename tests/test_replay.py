"""Recorded sessions, replayed through the real aider."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.agents.aider_environment import aider_python
from harness.agents.chat_history import parse_session, read_session
from harness.agents.replay import ReplayAgent, ReplayConversation
from harness.campaign.campaign import Options, create_campaign
from harness.campaign.errors import InputError
from harness.campaign.idea import Idea
from harness.campaign.protocols import AgentConfig, Reply, Silent, Workspace
from harness.campaign.stop import Stop
from harness.continuation import go_on

from .model_server import ModelServer
from .session_file import append_turn
from .waiting import HANGS


def edit(search: str, replacement: str, path: str = "experiment.py") -> str:
    return f"{path}\n```python\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n```"


class Campaign:
    """A workspace and a session; one process of aider serves all sessions of this file."""

    def __init__(self, folder: Path, agent: ReplayAgent, lines: list[str]) -> None:
        self.folder = folder
        self.agent = agent
        self.lines = lines
        self.session = folder / "session.md"
        self.workspace = Workspace(folder / "work", ("experiment.py",))
        self.workspace.root.mkdir()
        self.file = self.workspace.root / "experiment.py"
        self.file.write_text("rate = 1\nsteps = 10\n")

    def replay(self) -> ReplayConversation:
        """A conversation that replays the session as it is now."""
        self.agent._player.__init__(self.session, self.lines.append)
        return self.agent.open(self.workspace)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Iterator[ReplayAgent]:
    aider_python(lambda line: None)
    session = tmp_path_factory.mktemp("session") / "session.md"
    append_turn(session, "run 1, attempt 1", "", ["nothing"])
    agent = ReplayAgent(AgentConfig(session=session, workspaces=tmp_path_factory.getbasetemp()))
    yield agent
    agent.close()


@pytest.fixture
def campaign(tmp_path: Path, shared: ReplayAgent) -> Campaign:
    return Campaign(tmp_path, shared, [])


def ask(conversation: ReplayConversation, run: int, attempt: int, turn: int = 0, text: str = "Go on.") -> Reply:
    return conversation.ask(text, turn=turn, label=f"run {run}, attempt {attempt}")


def test_a_session_is_replayed_turn_by_turn_with_its_corrections(campaign):
    append_turn(
        campaign.session,
        "run 1, attempt 1",
        "Improve it.",
        [edit("no such line\n", "x\n"), edit("rate = 1\n", "rate = undefined\n"), edit("rate = undefined\n", "rate = 2\n")],
    )
    append_turn(campaign.session, "run 2, attempt 1", "Again.", [edit("steps = 10\n", "steps = 20\n")])
    conversation = campaign.replay()
    first = ask(conversation, 1, 1)
    assert campaign.file.read_text() == "rate = 2\nsteps = 10\n"
    assert first.failure is None and len(first.replies) == 3 and first.usage.requests == 3
    assert first.usage.cost == 0.0 and first.usage.sent > 0 and first.usage.received > 0
    second = ask(conversation, 2, 1, 1)
    assert campaign.file.read_text() == "rate = 2\nsteps = 20\n" and len(second.replies) == 1
    over = ask(conversation, 3, 1, 2)
    assert over.failure and over.failure.kind == "session_over"
    assert "session.md" in over.failure.message and "run 3, attempt 1" in over.failure.message


def test_what_was_recorded_from_replies_replays_to_the_same_code(campaign):
    append_turn(
        campaign.session, "run 1, attempt 1", "x", [edit("nothing like it\n", "x\n"), edit("rate = 1\n", "rate = 2\n")]
    )
    reply = ask(campaign.replay(), 1, 1)
    edited = campaign.file.read_text()
    campaign.session.unlink()
    append_turn(campaign.session, "run 1, attempt 1", "x", reply.replies)
    campaign.file.write_text("rate = 1\nsteps = 10\n")
    assert ask(campaign.replay(), 1, 1).replies == reply.replies
    assert campaign.file.read_text() == edited == "rate = 2\nsteps = 10\n"


def test_a_further_reply_than_recorded_is_a_divergence_that_says_where(campaign):
    append_turn(campaign.session, "run 1, attempt 1", "Improve it.", [edit("rate = 7\n", "rate = 8\n")])
    reply = ask(campaign.replay(), 1, 1)
    assert reply.failure and reply.failure.kind == "diverged"
    for words in ("session.md", "1 reply", "run 1, attempt 1", "rate = 7", "failed to match"):
        assert words in reply.failure.message


def test_a_reply_that_the_log_lacks_takes_nothing_from_what_was_applied(campaign):
    append_turn(
        campaign.session, "run 1, attempt 1", "", [edit("rate = 1\n", "rate = 2\n") + "\n" + edit("no such line\n", "x\n")]
    )
    append_turn(campaign.session, "run 1, attempt 2", "", [edit("steps = 10\n", "steps = undefined\n")])
    conversation = campaign.replay()
    first, second = ask(conversation, 1, 1), ask(conversation, 1, 2, 1)
    assert first.failure is None and second.failure is None
    assert campaign.file.read_text() == "rate = 2\nsteps = undefined\n"
    assert "no such line" in first.warnings[-1] and "F821" in second.warnings[-1]
    assert "What was applied until there counts." in campaign.lines[-1]


def test_a_turn_without_a_recorded_reply_is_said_and_answered_with_nothing(campaign):
    append_turn(campaign.session, "run 1, attempt 1", "Do it.", [])
    reply = ask(campaign.replay(), 1, 1)
    assert reply.failure is None and reply.replies == () and reply.usage.requests == 0
    assert campaign.lines[-1].endswith("run 1, attempt 1 got no reply when it was recorded, and gets none now")
    campaign.session.write_text("#### Lost.  \n> No answer  \n\n#### Again.  \n\n" + edit("rate = 1\n", "rate = 2\n") + "\n")
    ask(campaign.replay(), 1, 1)
    assert "1 prompt before this turn got no reply" in campaign.lines[-1]
    assert campaign.file.read_text() == "rate = 2\nsteps = 10\n"


def test_aiders_log_of_requests_is_a_session_too(campaign):
    def request(asked: str, said: str) -> str:
        sent = "".join(
            f"{role} {line}\n" for role, text in (("SYSTEM", "Rules"), ("USER", asked)) for line in text.split("\n")
        )
        answered = "\n".join(f"ASSISTANT {line}" for line in said.split("\n")) if said else ""
        first, rest = sent.split("USER", 1)
        return (
            f"TO LLM 2024-08-01T10:00:00\n-------\n{first}-------\nUSER{rest}LLM RESPONSE 2024-08-01T10:00:09\n{answered}\n"
        )

    campaign.session.write_text(
        request("Start.\n\nNow.", edit("no such line\n", "x\n"))
        + request("# 1 SEARCH/REPLACE block failed to match!", edit("rate = 1\n", "rate = 2\n"))
        + request("Run 1 completed.", "")
        + request("Run 1 completed.", edit("steps = 10\n", "steps = 20\n"))
    )
    assert [(turn.prompt, len(turn.replies), turn.unanswered) for turn in read_session(campaign.session)] == [
        ("Start.\n\nNow.", 2, 0),
        ("Run 1 completed.", 1, 0),
    ]
    conversation = campaign.replay()
    assert len(ask(conversation, 1, 1, 0).replies) == 2
    assert ask(conversation, 1, 2, 1).failure is None
    assert campaign.file.read_text() == "rate = 2\nsteps = 20\n"


def test_whether_a_session_fits_is_known_before_anything_is_executed(tmp_path, experiment, shared):
    session = tmp_path / "other.md"
    append_turn(session, "run 1, attempt 1", "", [edit("not in this experiment\n" + "word " * 300 + "\n", "x\n")])
    campaign = create_campaign(
        tmp_path / "runs",
        Idea(Name="small", Title="A small idea", Experiment="Make the loss smaller."),
        experiment,
        Options(agent="replay", max_runs=1),
        python=sys.executable,
        session=session,
    )
    said: list[str] = []
    view = Silent()
    view.say = said.append  # type: ignore[method-assign]
    ending = go_on(campaign, view=view, stop=Stop())
    assert (
        "Nothing was applied: the code is not what it was" in ending.message and "not in this experiment" in ending.message
    )
    assert ending.message.endswith("replays a copy of it, replayed.md in its folder: fix it there, then `harness resume`.")
    assert ending.message.count("not in this experiment") == 1 and "word [...]\n" in ending.message
    assert not any("not in this experiment" in line for line in said)
    assert campaign.read_records() == [] and not (campaign.root / "run_0").exists()


def test_a_turn_that_the_session_does_not_hold_is_a_divergence(campaign):
    append_turn(campaign.session, "run 1, attempt 1", "", ["one"])
    append_turn(campaign.session, "run 2, attempt 1", "", ["two"])
    conversation = campaign.replay()
    ask(conversation, 1, 1)
    reply = ask(conversation, 1, 2, 1)
    assert reply.failure and reply.failure.kind == "diverged"
    assert "run 1, attempt 2" in reply.failure.message and "run 2, attempt 1" in reply.failure.message
    assert ask(conversation, 2, 1, 2).text == "two"


def test_a_recorded_turn_that_is_not_asked_for_is_skipped_and_said(campaign):
    append_turn(campaign.session, "run 1, attempt 1", "", ["one"])
    append_turn(campaign.session, "run 1, attempt 2", "", ["never", "asked"])
    append_turn(campaign.session, "run 2, attempt 1", "", ["two", "not needed"])
    conversation = campaign.replay()
    ask(conversation, 1, 1)
    assert ask(conversation, 2, 1, 1).text == "two"
    said = [line for line in campaign.lines if "session.md" in line]
    assert "run 1, attempt 2" in said[0] and "skipped with its 2 replies" in said[0]
    assert "1 reply of run 2, attempt 1" in said[1] and "dropped" in said[1]


def test_a_turn_that_was_interrupted_is_asked_for_again(campaign):
    append_turn(campaign.session, "run 1, attempt 1", "", ["one"])
    append_turn(campaign.session, "run 2, attempt 1", "", ["two"])
    conversation = campaign.replay()
    assert [ask(conversation, *which).text for which in ((1, 1), (2, 1), (2, 1))] == ["one", "two", "two"]
    assert ask(campaign.replay(), 2, 1, 5).text == "two", "a resumed campaign starts in the middle"
    assert not any("not asked for" in line for line in campaign.lines)


def test_a_session_without_labels_is_replayed_by_number(campaign):
    campaign.session.write_text(
        "\n# aider chat started at 2024-07-31 20:52:08\n\n#### Start.  \n> 9 prompt tokens, 1 completion tokens  \n\n"
        + edit("rate = 1\n", "rate = 2\n", "results/old/experiment.py")
        + "\n\n> Applied edit to experiment.py  \n\n#### Run 1 completed.  \n\nALL_COMPLETED\n\n"
    )
    conversation = campaign.replay()
    assert ask(conversation, 1, 1, 0).failure is None
    assert campaign.file.read_text() == "rate = 2\nsteps = 10\n", "the file is found under another path"
    assert ask(conversation, 1, 2, 1).text == "ALL_COMPLETED"
    over = ask(conversation, 2, 1, 2)
    assert over.failure and over.failure.kind == "session_over"


def test_a_log_of_ai_scientist_is_replayed_though_its_notes_are_not_ours(campaign):
    notes = edit("## Run 0: Baseline\n", "## Run 0: Baseline\n## Run 1: faster\n", "notes.txt")
    first, second = (
        edit(old, new, "results/x/experiment.py")
        for old, new in (("rate = 1\n", "rate = 2\n"), ("steps = 10\n", "steps = 20\n"))
    )
    campaign.session.write_text(
        f"\n# aider chat started at 2024-07-31 20:52:08\n\n#### Your goal.  \n\nFaster.\n\n{first}\n\n{notes}\n\n"
        "> Applied edit to results/x/notes.txt  \n> Applied edit to results/x/experiment.py  \n\n"
        f"#### Run 1 completed.  \n\n{notes}\n\n{second}\n\n"
    )
    conversation = campaign.replay()
    for attempt, expected in ((1, "rate = 2\nsteps = 10\n"), (2, "rate = 2\nsteps = 20\n")):
        reply = ask(conversation, 1, attempt, attempt - 1)
        assert reply.failure is None and len(reply.replies) == 1 and reply.notes == "## Run 1: faster"
        assert campaign.file.read_text() == expected


def test_a_replayed_reply_writes_only_editable_files(campaign):
    append_turn(campaign.session, "run 1, attempt 1", "", [edit("", "evil = 1\n", "../evil.py")])
    reply = ask(campaign.replay(), 1, 1)
    assert reply.refused_writes == ("../evil.py",) and not (campaign.folder / "evil.py").exists()


def test_the_endpoint_answers_nobody_else(shared):
    request = urllib.request.Request(shared._endpoint.url + "/chat/completions", json.dumps({"messages": []}).encode())
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, timeout=HANGS)


def test_check_names_the_session_and_its_turns(shared):
    assert "session.md (1 turn)" in shared.check()


def test_a_session_is_needed(tmp_path):
    with pytest.raises(InputError, match="--session"):
        ReplayAgent(AgentConfig())
    with pytest.raises(InputError, match="cannot be read"):
        ReplayAgent(AgentConfig(session=tmp_path / "missing.md"))


def test_the_history_of_todays_aider_is_understood(tmp_path, shared):
    """aider's own log of a failed match, a lint error and a plain reply, written by the aider that is installed."""
    del shared  # aider's environment is there
    turns = parse_session(log_of_aider(tmp_path))
    assert [turn.prompt for turn in turns] == ["First.\n\nDo it.", "Second."]
    assert [len(turn.replies) for turn in turns] == [3, 1]
    assert turns[0].replies[0] == "# A heading\n\n" + edit("no such line\n", "x = 1\n")


def log_of_aider(folder: Path) -> str:
    (folder / "experiment.py").write_text("rate = 1\n")
    script = """
        import sys
        from aider.coders import Coder
        from aider.io import InputOutput
        from aider.models import Model
        model = Model("openai/x", weak_model="openai/x", editor_model=False)
        io = InputOutput(pretty=False, yes=True, fancy_input=False, chat_history_file="log.md")
        coder = Coder.create(model, "diff", io, fnames=["experiment.py"], use_git=False, stream=False)
        coder.show_announcements()
        for prompt in sys.argv[1:]:
            coder.run(prompt)
    """
    with ModelServer() as server:
        server.says(
            "# A heading\n\n" + edit("no such line\n", "x = 1\n"),
            edit("rate = 1\n", "rate = undefined\n"),
            edit("rate = undefined\n", "rate = 2\n"),
            "Done.",
        )
        environment = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "x", "HOME": str(folder), "PATH": "/usr/bin:/bin"}
        environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [aider_python(print), "-c", textwrap.dedent(script), "First.\n\nDo it.", "Second."]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=HANGS)
    return (folder / "log.md").read_text()
