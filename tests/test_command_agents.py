"""Commands as agents: what they are given, what is read from them, and that nothing of them is left.

The commands here are small programs on the PATH that print what the real ones printed when they were run against a
server on loopback.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.agents import command as module
from harness.agents.listing import AGENTS, find_agent
from harness.campaign.errors import HarnessError, InputError
from harness.campaign.protocols import AgentConfig, Workspace
from harness.campaign.usage import Usage
from tests.waiting import HANGS, until

NAMES = ("claude", "codex", "gemini", "opencode")
KEY = "sk-ant-0123456789abcdef"

CLAUDE = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "api_error_status": None,
    "num_turns": 2,
    "result": "I edited experiment.py.",
    "session_id": "034a17ff-a2c2-4500-bb72-611d8a827300",
    "total_cost_usd": 0.0125,
    "usage": {
        "input_tokens": 11,
        "cache_creation_input_tokens": 3,
        "cache_read_input_tokens": 5,
        "output_tokens": 7,
        "service_tier": "standard",
    },
    "modelUsage": {"claude-opus-4-8[1m]": {"inputTokens": 19, "outputTokens": 7}, "claude-haiku-4-5": {}},
    "permission_denials": [{"tool_name": "Write", "tool_use_id": "t", "tool_input": {"file_path": "/etc/x", "content": ""}}],
}
CLAUDE_401 = CLAUDE | {
    "is_error": True,
    "api_error_status": 401,
    "result": f"Failed to authenticate. API Error: 401 invalid key {KEY}",
    "total_cost_usd": 0,
    "usage": {"input_tokens": 0, "output_tokens": 0},
    "modelUsage": {},
}
THREAD = "01a1fa1a-78bf-71a0-b7df-a676fdc16dfb"
CODEX_START = [
    {"type": "thread.started", "thread_id": THREAD},
    {"type": "item.completed", "item": {"id": "item_0", "type": "error", "message": "Model metadata not found."}},
    {"type": "turn.started"},
]


def codex(sent: int, received: int) -> list[dict]:
    return [
        *CODEX_START,
        {"type": "item.completed", "item": {"id": "item_1", "type": "agent_message", "text": "First I look."}},
        {"type": "item.completed", "item": {"id": "item_2", "type": "file_change", "changes": []}},
        {"type": "item.completed", "item": {"id": "item_3", "type": "agent_message", "text": "Edited."}},
        {
            "type": "turn.completed",
            "usage": {
                "input_tokens": sent,
                "cached_input_tokens": 40,
                "output_tokens": received,
                "reasoning_output_tokens": 4,
            },
        },
    ]


GEMINI = {
    "session_id": "eeb823bf-fa31-4610-93e7-d1830e7ac718",
    "response": "Edited.",
    "stats": {
        "models": {
            "gemini-2.5-pro": {
                "api": {"totalRequests": 2, "totalErrors": 0},
                "tokens": {"input": 21, "prompt": 21, "candidates": 8, "total": 32, "cached": 0, "thoughts": 3, "tool": 0},
            },
            "gemini-2.5-flash": {
                "api": {"totalRequests": 1, "totalErrors": 0},
                "tokens": {"input": 10, "prompt": 10, "candidates": 1, "total": 11, "cached": 0, "thoughts": 0, "tool": 0},
            },
        }
    },
}
GEMINI_401 = """Error when talking to Gemini API
    at async Turn.run (file:///x/chunk.js:333001:24) {
  status: 401
}
{
  "session_id": "2b901ed6-121b-409b-8b71-e8261e42d764",
  "error": {
    "type": "Error",
    "message": "invalid key",
    "code": 401
  }
}
"""
SESSION = "ses_e05e395e8ffe7880zGKQ7XpzoH"


def opencode_step(cost: float) -> dict:
    tokens = {"total": 36, "input": 30, "output": 4, "reasoning": 2, "cache": {"write": 1, "read": 10}}
    return {
        "type": "step_finish",
        "sessionID": SESSION,
        "part": {"type": "step-finish", "reason": "stop", "tokens": tokens, "cost": cost},
    }


def opencode(cost: float) -> list[dict]:
    return [
        {"type": "step_start", "sessionID": SESSION, "part": {"type": "step-start"}},
        {"type": "text", "sessionID": SESSION, "part": {"type": "text", "text": "First I look."}},
        opencode_step(cost),
        {"type": "step_start", "sessionID": SESSION, "part": {"type": "step-start"}},
        {"type": "text", "sessionID": SESSION, "part": {"type": "text", "text": "Edited."}},
        opencode_step(cost),
    ]


OPENCODE_401 = {
    "type": "error",
    "sessionID": SESSION,
    "error": {"name": "APIError", "data": {"message": "invalid key", "statusCode": 401, "isRetryable": False}},
}


def as_lines(events: list[dict]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


GOOD = {
    "claude": json.dumps(CLAUDE),
    "codex": as_lines(codex(100, 9)),
    "gemini": json.dumps(GEMINI, indent=2),
    "opencode": as_lines(opencode(0.001)),
}
FAILED = {
    "claude": (json.dumps(CLAUDE_401), "", 1),
    "codex": (
        as_lines([*CODEX_START, {"type": "turn.failed", "error": {"message": "unexpected status 401 Unauthorized"}}]),
        "",
        1,
    ),
    "gemini": ("", GEMINI_401, 145),
    "opencode": (as_lines([OPENCODE_401]), "", 1),
}


@pytest.fixture(autouse=True)
def person(tmp_path, monkeypatch):
    """A home folder of a person who has nothing configured."""
    home = tmp_path / "person"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "OPENCODE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def work(tmp_path):
    root = tmp_path / "work"
    root.mkdir()
    (root / "experiment.py").write_text("x = 1\n")
    return Workspace(root, ("experiment.py",))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a command on the PATH that notes how it was called and then does what it is told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def install(name: str, body: str = "", own_sandbox: str = "works") -> Path:
        program, calls = folder / name, tmp_path / "agent_home" / f"{name}.calls"
        calls.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!{sys.executable}\nimport json, os, signal, subprocess, sys, time\n"
            "if sys.argv[1:] == ['--version']:\n    print('Some Agent v2.1.197 (build 7)')\n    sys.exit()\n"
            f"if sys.argv[1] == 'sandbox':\n    sys.exit({own_sandbox!r} not in ('works', *sys.argv))\n"
            "call = {'argv': sys.argv[1:], 'cwd': os.getcwd(), 'env': dict(os.environ), 'stdin': sys.stdin.read()}\n"
            "call['terminal_session'] = os.getsid(0)\n"
            f"with open({str(calls)!r}, 'a') as file:\n    file.write(json.dumps(call) + '\\n')\n{body}\n"
        )
        program.chmod(0o755)
        return calls

    return install


def printing(stdout: str, stderr: str = "", code: int = 0) -> str:
    return f"sys.stdout.write({stdout!r})\nsys.stderr.write({stderr!r})\nsys.exit({code})"


@pytest.fixture
def prints(install, monkeypatch):
    """Has a command print something and end, without a process: for tests of what is made of it."""

    def prints(name: str, stdout: str, stderr: str = "", code: int = 0) -> None:
        install(name)
        ended = module._Ended(code, stdout, stderr, "")
        monkeypatch.setattr(module.CommandConversation, "_execute", lambda *_: ended)

    return prints


def converse(name: str, work: Workspace, history=None, **config):
    home = work.root.with_name("agent_home")
    return find_agent(name)(AgentConfig(**{"turn_left": lambda: HANGS, "home": home} | config)).open(work, history)


def ask(conversation, text="Do it."):
    return conversation.ask(text, turn=0, label="run 1, attempt 1")


def calls(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


ARGUMENTS = {
    "claude": (
        "-p --output-format json --model M --permission-mode acceptEdits --disallowedTools Bash,WebFetch,WebSearch",
        "-p --output-format json --model M --permission-mode acceptEdits --disallowedTools Bash,WebFetch,WebSearch "
        f"--resume {CLAUDE['session_id']}",
    ),
    "codex": (
        'exec -c sandbox_mode="workspace-write" --json --skip-git-repo-check -m M -',
        f'exec resume {THREAD} -c sandbox_mode="workspace-write" --json --skip-git-repo-check -m M -',
    ),
    "gemini": (
        "-m M --approval-mode auto_edit --skip-trust -o json",
        "-m M --approval-mode auto_edit --skip-trust -o json --resume latest",
    ),
    "opencode": ("run --format json -m M", f"run --format json -m M -s {SESSION}"),
}


def test_every_command_of_the_table_is_an_agent():
    assert {name for name, path in AGENTS.items() if "agents.command:" in path} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_command_gets_its_arguments_in_the_first_and_the_next_round(name, install, work):
    log = install(name, printing(GOOD[name]))
    conversation = converse(name, work, model="M")
    assert ask(conversation, "PROMPT").failure is None
    assert ask(conversation, "PROMPT").failure is None
    first, following = calls(log)
    assert (" ".join(first["argv"]), " ".join(following["argv"])) == ARGUMENTS[name]
    assert first["cwd"] == str(work.root)
    assert first["stdin"] == following["stdin"] == "PROMPT"
    assert first["terminal_session"] != os.getsid(0)  # Ctrl-C is the harness's to handle


@pytest.mark.parametrize("name", NAMES)
def test_without_a_model_the_command_chooses(name, install, work):
    log = install(name, printing(GOOD[name]))
    ask(converse(name, work))
    assert not {"-m", "--model", ""} & set(calls(log)[0]["argv"])


@pytest.mark.parametrize("name", NAMES)
def test_the_brief_is_standard_input_and_stands_in_no_argument(name, install, work):
    log = install(name, printing(GOOD[name]))
    text = "--dangerously-skip-permissions {session} $(id)\n`x` 'é' \0 end"
    ask(converse(name, work), text)
    assert calls(log)[0]["stdin"] == text
    assert not any("dangerously" in word for word in calls(log)[0]["argv"])


def test_a_brief_of_any_length_reaches_a_command(install, work):
    install("claude", f"assert len(call['stdin']) == 5_000_000\n{printing(GOOD['claude'])}")
    assert ask(converse("claude", work), "x" * 5_000_000).failure is None


@pytest.mark.parametrize("name", NAMES)
def test_a_conversation_goes_on_after_a_crash_of_the_harness(name, install, work):
    log = install(name, printing(GOOD[name]))
    history = json.loads(json.dumps(ask(converse(name, work)).history))
    ask(converse(name, work, history, model="M"), "PROMPT")
    assert " ".join(calls(log)[1]["argv"]) == ARGUMENTS[name][1]


@pytest.mark.parametrize("history", [None, [], "x", {"program": "codex", "session": "other"}, {"program": "claude"}])
def test_the_history_of_another_agent_is_not_resumed(history, install, work):
    log = install("claude", printing(GOOD["claude"]))
    ask(converse("claude", work, history))
    assert "--resume" not in calls(log)[0]["argv"]


EXPECTED = {
    "claude": ("I edited experiment.py.", ("I edited experiment.py.",), 19, 7, 0.0125, 2),
    "codex": ("First I look.\n\nEdited.", ("First I look.", "Edited."), 100, 9, None, 1),
    "gemini": ("Edited.", ("Edited.",), 31, 12, None, 3),
    "opencode": ("First I look.\n\nEdited.", ("First I look.", "Edited."), 82, 12, 0.002, 2),
}


@pytest.mark.parametrize("name", NAMES)
def test_text_usage_and_cost_are_read(name, install, work):
    install(name, printing(GOOD[name], "some warning\n"))
    reply = ask(converse(name, work))
    usage = reply.usage
    assert (reply.text, reply.replies, usage.sent, usage.received, usage.cost, usage.requests) == EXPECTED[name]
    assert usage.seconds > 0
    assert reply.failure is None


def test_writes_that_were_denied_are_told(install, work):
    install("claude", printing(GOOD["claude"]))
    assert ask(converse("claude", work)).refused_writes == ("/etc/x",)


def claude_error(status: int | None, said: str, **more) -> tuple[str, str, int]:
    """As Claude Code 2.1 prints it, in one line."""
    return json.dumps(CLAUDE_401 | {"api_error_status": status, "result": said} | more), "", 1


def codex_error(said: str) -> tuple[str, str, int]:
    return as_lines([*CODEX_START, {"type": "turn.failed", "error": {"message": said}}]), "", 1


def gemini_error(code: int, said: str) -> tuple[str, str, int]:
    error = json.dumps({"session_id": "s", "error": {"type": "Error", "message": said, "code": code}}, indent=2)
    return "", f"Attempt 1 failed\n    at async x (file:///usr/lib/node_modules/@google/gemini-cli/y.js:1:2)\n{error}\n", 1


def opencode_error(status: int | None, said: str, name: str = "APIError") -> tuple[str, str, int]:
    data = {"message": said} | ({"statusCode": status} if status else {})
    return as_lines([{"type": "error", "sessionID": SESSION, "error": {"name": name, "data": data}}]), "", 1


KINDS = [
    ("claude", claude_error(401, "Please run /login"), "auth"),
    ("claude", claude_error(429, "API Error: Request rejected (429) · This request would exceed your limit."), "rate"),
    ("claude", claude_error(400, "Credit balance is too low"), "quota"),
    ("claude", claude_error(400, "Prompt is too long · the request is ~208310 tokens (limit 200000)"), "context"),
    ("claude", claude_error(404, "There's an issue with the selected model (nope). It may not exist."), "model"),
    ("claude", claude_error(None, "API Error: Claude's response exceeded the 32000 output token maximum."), "cut"),
    ("claude", claude_error(529, "API Error: Overloaded"), "server"),
    ("codex", codex_error("exceeded retry limit, last status: 429 Too Many Requests"), "rate"),
    ("codex", codex_error("Quota exceeded. Check your plan and billing details."), "quota"),
    ("codex", codex_error("Codex ran out of room in the model's context window. Start a new thread."), "context"),
    ("codex", codex_error("The model `nope` does not exist or you do not have access to it."), "model"),
    ("codex", codex_error("unexpected status 401 Unauthorized: Incorrect API key provided, url: http://x"), "auth"),
    ("codex", codex_error("unexpected status 403 Forbidden: no"), "auth"),
    ("codex", codex_error("stream disconnected before completion: error sending request"), "connection"),
    ("gemini", gemini_error(429, "You have exhausted your daily quota on this model."), "rate"),
    ("gemini", gemini_error(400, "The input token count (1100000) exceeds the maximum number of tokens allowed"), "context"),
    ("gemini", gemini_error(404, "models/nope is not found for API version v1beta"), "model"),
    ("gemini", gemini_error(41, "Invalid auth method selected."), "auth"),
    ("opencode", opencode_error(429, "slow down"), "rate"),
    ("opencode", opencode_error(400, "the request exceeds the available context size"), "context"),
    ("opencode", opencode_error(None, "Model not found: openai/nope.", "ProviderModelNotFoundError"), "model"),
    (
        "opencode",
        opencode_error(None, "Unable to connect. Is the computer able to access the url?", "UnknownError"),
        "connection",
    ),
]


@pytest.mark.parametrize(("name", "printed", "kind"), KINDS, ids=lambda each: each if isinstance(each, str) else "")
def test_failures_are_told_apart_by_what_the_command_prints(name, printed, kind, prints, work):
    prints(name, *printed)
    reply = ask(converse(name, work))
    assert reply.failure is not None and reply.failure.kind == kind
    assert "doctor --model" not in reply.failure.todo
    # What may have been paid for and was not answered is an unknown cost, what was refused is none.
    assert (reply.usage.cost, reply.usage.lost) == ((None, 1) if kind in ("server", "connection") else (0.0, 0))


def test_the_end_of_a_limit_is_read_from_what_the_command_says(install, work):
    install("codex", printing(*codex_error("You’ve hit your usage limit. Try again in 2 hours 5 minutes.")))
    failure = ask(converse("codex", work)).failure
    assert failure.kind == "rate" and 7_000 < failure.until - time.time() <= 7_500


def test_a_stack_trace_is_shortened_to_its_message(install, work):
    install("gemini", printing("", "Error: quota\n    at async x (file:///usr/lib/node_modules/@google/y.js:1:2)\n}\n", 1))
    assert ask(converse("gemini", work)).failure.message == "gemini failed (exit code 1): Error: quota"


def test_claudes_tokens_are_those_of_subagents_and_of_a_stream_that_broke_too(install, work):
    models = {
        "opus": {"inputTokens": 1000, "cacheReadInputTokens": 900, "cacheCreationInputTokens": 100, "outputTokens": 300},
        "haiku": {"inputTokens": 2000, "outputTokens": 100},
    }
    nothing = {"input_tokens": 0, "output_tokens": 0}
    install("claude", printing(json.dumps(CLAUDE | {"usage": nothing, "modelUsage": models})))
    usage = ask(converse("claude", work)).usage
    assert (usage.sent, usage.received) == (4000, 400)


def test_an_error_of_claude_without_a_result_keeps_its_usage_and_its_words(install, work):
    said = {key: value for key, value in CLAUDE.items() if key != "result"}
    said |= {"subtype": "error_during_execution", "is_error": True, "errors": ["the stream broke"]}
    install("claude", printing(json.dumps(said), "", 1))
    reply = ask(converse("claude", work))
    assert reply.failure.message.endswith("the stream broke")
    assert (reply.usage.sent, reply.usage.received, reply.usage.cost) == (19, 7, 0.0125)


@pytest.mark.parametrize("name", ["claude", "gemini"])
def test_a_warning_before_the_answer_leaves_it_readable(name, install, work):
    install(name, printing("Warning: {an old setting}\n" + GOOD[name]))
    reply = ask(converse(name, work))
    assert reply.failure is None and reply.usage.sent == EXPECTED[name][2]


def test_a_permission_that_opencode_refused_is_told(install, work):
    state = {"status": "error", "input": {"filePath": "/etc/passwd"}, "error": "The user rejected permission to use this"}
    refused = {"type": "tool_use", "sessionID": SESSION, "part": {"type": "tool", "tool": "read", "state": state}}
    install("opencode", printing(as_lines([*opencode(0.1)[:3], refused])))
    assert ask(converse("opencode", work)).warnings == ("Not permitted, so it was not done: read /etc/passwd.",)
    asked = "! permission requested: external_directory (/etc/*); auto-rejecting\n"
    install("opencode", printing(as_lines(opencode(0.1)[:3]), asked))
    assert ask(converse("opencode", work)).warnings == ("Not permitted, so it was not done: external_directory (/etc/*).",)


def test_what_claude_was_not_permitted_besides_writing_is_told(install, work):
    denials = [
        {"tool_name": "Bash", "tool_input": {"command": "ls ~"}},
        {"tool_name": "Read", "tool_input": {"file_path": "/home/x"}},
        {"tool_name": "Edit", "tool_input": {"file_path": "/etc/x"}},
    ]
    install("claude", printing(json.dumps(CLAUDE | {"permission_denials": denials})))
    reply = ask(converse("claude", work))
    assert reply.refused_writes == ("/etc/x",)
    assert [warning.rpartition(": ")[2] for warning in reply.warnings] == ["Bash ls ~.", "Read /home/x."]


def test_a_working_folder_that_is_gone_is_no_reason_to_install_anything(install, work):
    install("codex")
    (work.root / "experiment.py").unlink()
    work.root.rmdir()
    message = ask(converse("codex", work)).failure.message
    assert "working folder" in message and "npm" not in message


def test_another_conversation_of_codex_counts_from_0(install, work):
    lost = {"program": "codex", "session": "another", "sent": 80, "received": 5}
    install("codex", printing(GOOD["codex"]))
    usage = ask(converse("codex", work, lost)).usage
    assert (usage.sent, usage.received) == (100, 9)


def test_cumulative_usage_of_codex_becomes_differences(install, work, tmp_path):
    install("codex", f"sys.stdout.write(open({str(tmp_path / 'agent_home/out')!r}).read())")
    conversation = converse("codex", work)
    spent = []
    for total in ((100, 9), (250, 20), (250, 20), (60, 5)):
        (tmp_path / "agent_home/out").write_text(as_lines(codex(*total)))
        reply = ask(conversation)
        spent.append((reply.usage.sent, reply.usage.received))
    # The last total is smaller than the one before: the count began anew.
    assert spent == [(100, 9), (150, 11), (0, 0), (60, 5)]
    (tmp_path / "agent_home/out").write_text(as_lines(codex(270, 21)))
    again = ask(converse("codex", work, reply.history))
    assert (again.usage.sent, again.usage.received) == (20, 1)


def test_a_price_of_0_for_tokens_is_an_unknown_price(install, work):
    install("opencode", printing(as_lines(opencode(0))))
    assert ask(converse("opencode", work)).usage.cost is None
    install("claude", printing(json.dumps(CLAUDE | {"total_cost_usd": 0})))
    assert ask(converse("claude", work)).usage.cost is None


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_key_is_an_auth_failure(name, install, work):
    install(name, printing(*FAILED[name]))
    reply = ask(converse(name, work))
    assert reply.failure is not None and reply.failure.kind == "auth"
    assert name in reply.failure.message
    assert reply.text == ""
    assert reply.history is None


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("Not logged in · Please run /login", "auth"),
        ("Please set an Auth method in your settings.json", "auth"),
        ("Your credit balance is too low", "quota"),
        ("500 overloaded", "server"),
        ("rate limit of this API key exceeded (429)", "rate"),
        ("", "server"),
    ],
)
def test_the_kind_of_a_failure_is_guessed_from_what_is_said(stderr, kind, prints, work):
    prints("claude", "", f"\x1b[91m{stderr}\x1b[0m", 3)
    failure = ask(converse("claude", work)).failure
    assert failure.kind == kind
    assert "exit code 3" in failure.message and "\x1b" not in failure.message


def test_an_unknown_cost_of_a_failed_turn_is_not_0(install, work):
    install("codex", printing("", "boom", 1))
    assert ask(converse("codex", work)).usage.cost is None


def test_a_claude_error_with_exit_code_0_is_a_failure(install, work):
    install("claude", printing(json.dumps(CLAUDE | {"is_error": True, "result": "overloaded"})))
    assert ask(converse("claude", work)).failure.message.endswith("overloaded")


def test_a_reconnect_of_codex_is_no_failure(install, work):
    events = codex(100, 9)
    events.insert(3, {"type": "error", "message": "Reconnecting... 1/5"})
    install("codex", printing(as_lines(events)))
    assert ask(converse("codex", work)).failure is None


def test_a_request_that_is_repeated_is_told_while_the_turn_goes_on(install, work, tmp_path):
    go = tmp_path / "work" / "go"
    events = as_lines([*CODEX_START, {"type": "error", "message": "Reconnecting... 1/5"}])
    install(
        "codex",
        f"sys.stdout.write({events!r})\nsys.stdout.flush()\n"
        f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n{printing(as_lines(codex(100, 9)[1:]))}",
    )
    told = []

    def hear(line: str) -> None:
        told.append(line)
        go.write_text("")

    assert ask(converse("codex", work, on_notice=hear)).failure is None
    assert told == ["codex: Reconnecting... 1/5"]


def test_a_session_that_the_command_has_forgotten_is_not_asked_for_again(install, work):
    log = install("claude", printing("", "No conversation found with session ID: 034a", 1))
    conversation = converse("claude", work, {"program": "claude", "session": "034a"})
    assert ask(conversation).failure.kind == "server"
    ask(conversation)
    assert ["--resume" in call["argv"] for call in calls(log)] == [True, False]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "output",
    [
        "",
        "hello\n",
        "[1, 2]",
        "null",
        "{}",
        "[" * 100_000,
        "\ufffd\x00\x1b[31m",
        '{"type": "turn.completed", "usage": [1], "result": {"a": 1}, "response": 3, "stats": {"models": [1]}}\n'
        '{"type": "step_finish", "sessionID": 3, "part": {"tokens": {"input": "many", "cache": 1}, "cost": NaN}}\n',
        json.dumps({"result": None, "usage": {"input_tokens": -1, "output_tokens": True}, "permission_denials": 7}),
        json.dumps({"response": None, "stats": {"models": {"m": {"tokens": {"prompt": 1e300}}}}}),
    ],
)
def test_garbage_is_a_failure_or_an_empty_answer(name, output, prints, work):
    prints(name, output)
    reply = ask(converse(name, work))
    assert reply.usage.sent >= 0 and reply.usage.received >= 0
    json.dumps(reply.history, allow_nan=False)
    if reply.failure:
        assert reply.failure.kind == "server"
        assert len(reply.failure.message) < 1_000


def test_bytes_that_are_no_text_are_survived(install, work):
    install("claude", "sys.stdout.buffer.write(b'\\xff\\xfe')\nsys.stderr.buffer.write(b'\\xff')\nsys.exit(1)")
    assert ask(converse("claude", work)).failure.kind == "server"


def test_text_that_no_file_takes_is_mended(install, work):
    install("claude", printing(json.dumps(CLAUDE | {"result": "half a pair: \ud83d."})))
    assert ask(converse("claude", work)).text == "half a pair: ?."


def test_huge_output_is_ended(install, work, monkeypatch):
    monkeypatch.setattr(module, "MAX_OUTPUT", 10**6)
    install("opencode", "while True:\n    sys.stdout.write('x' * 65536)")
    assert "1 MB" in ask(converse("opencode", work)).failure.message


def test_keys_are_kept_out_of_messages_and_answers(install, work, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-secret-of-no-known-shape")
    login = "sk-ant-oat01-0123456789abcdef"
    said = f"401 a-secret-of-no-known-shape and {login}"
    install("claude", printing(json.dumps(CLAUDE | {"is_error": True, "result": said}), "", 1))
    message = ask(converse("claude", work)).failure.message
    assert "a-secret" not in message and login not in message and "[ANTHROPIC_API_KEY]" in message
    install("claude", printing(json.dumps(CLAUDE | {"result": said})))
    reply = ask(converse("claude", work))
    assert "a-secret" not in repr(reply) and login not in repr(reply)


KEYS = {
    "claude": {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN"},
    "codex": {"OPENAI_API_KEY", "CODEX_API_KEY"},
    "gemini": {"GEMINI_API_KEY", "GOOGLE_API_KEY"},
    "opencode": {"DEEPSEEK_API_KEY", "OPENCODE_API_KEY"},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_command_gets_its_own_providers_variables_and_nobody_elses(name, install, work, monkeypatch):
    everyone = {variable for variables in KEYS.values() for variable in variables} | {"AWS_SECRET_ACCESS_KEY"}
    for variable in everyone | {"GITHUB_TOKEN", "PYTHONPATH", "CLAUDECODE", "LD_PRELOAD_X"}:
        monkeypatch.setenv(variable, f"value of {variable}")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    log = install(name, printing(GOOD[name]))
    ask(converse(name, work, model="deepseek/chat"))
    given = calls(log)[0]["env"]
    assert {variable for variable in everyone if variable in given} == KEYS[name]
    assert given["PATH"] == os.environ["PATH"] and given["HTTPS_PROXY"] == os.environ["HTTPS_PROXY"]
    assert not {"GITHUB_TOKEN", "PYTHONPATH", "CLAUDECODE", "LD_PRELOAD_X"} & set(given)


def test_claude_on_a_cloud_gets_that_clouds_variables(install, work, monkeypatch):
    for variable in ("CLAUDE_CODE_USE_BEDROCK", "AWS_SECRET_ACCESS_KEY", "GOOGLE_API_KEY"):
        monkeypatch.setenv(variable, "1")
    log = install("claude", printing(GOOD["claude"]))
    ask(converse("claude", work))
    given = calls(log)[0]["env"]
    assert "AWS_SECRET_ACCESS_KEY" in given and "GOOGLE_API_KEY" not in given


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("claude", ("claude-opus-4-8", "claude-haiku-4-5")),
        ("codex", ("asked-for",)),
        ("gemini", ("gemini-2.5-pro", "gemini-2.5-flash")),
        ("opencode", ("asked-for",)),
    ],
)
def test_a_reply_names_the_commands_version_and_the_models_that_answered(name, models, install, work):
    install(name, printing(GOOD[name]))
    reply = ask(converse(name, work, model="asked-for"))
    assert (reply.agent, reply.models) == (f"{name} 2.1.197", models)


LEGACY = "features.use_legacy_landlock=true"


@pytest.mark.parametrize(
    ("works", "options", "told"),
    [
        ("works", ["-c", 'sandbox_mode="workspace-write"'], "with its own sandbox"),
        (LEGACY, ["-c", 'sandbox_mode="workspace-write"', "-c", LEGACY], "with its own sandbox in legacy mode"),
        ("never", ["-c", 'sandbox_mode="danger-full-access"'], "with no sandbox of its own"),
    ],
)
def test_the_sandbox_of_codex_is_kept_where_it_works_inside_ours_and_recorded(works, options, told, install, work):
    log = install("codex", printing(GOOD["codex"]), works)
    conversation = converse("codex", work)
    for _ in range(2):
        assert ask(conversation).sandbox.endswith(told)
    assert calls(log)[0]["argv"][1 : 1 + len(options)] == options
    assert len(calls(log)) == 2


def test_codex_without_a_sandbox_around_it_keeps_its_own_whatever_the_trial_says(install, work, monkeypatch):
    monkeypatch.setenv("HARNESS_SANDBOX", "none")
    log = install("codex", printing(GOOD["codex"]), "never")
    ask(converse("codex", work))
    assert 'sandbox_mode="workspace-write"' in calls(log)[0]["argv"]


LOOK = """
import json
def tried(what):
    try:
        return what() and True
    except OSError:
        return False
result = {
    "edits": tried(lambda: open("experiment.py", "w").write("x = 2")),
    "keeps its conversation": tried(lambda: open(os.path.join(os.environ["HOME"], "kept"), "w").write("x")),
    "has a temporary folder": tried(lambda: open(os.path.join(os.environ["TMPDIR"], "x"), "w").write("x")),
    "reads the person's files": tried(lambda: open(PERSON + "/secret.txt").read()),
    "reads a record": tried(lambda: open(CAMPAIGN + "/run_1/record.json").read()),
    "reads another campaign": tried(lambda: os.listdir(CAMPAIGN + "-2") and open(CAMPAIGN + "-2/notes.txt").read()),
    "writes a record": tried(lambda: open(CAMPAIGN + "/run_1/record.json", "r+").write("x")),
    "writes beside its workspace": tried(lambda: open(OUTSIDE, "r+").write("x")),
}
print(json.dumps({"result": json.dumps(result), "num_turns": 1, "session_id": "s"}))
"""


def test_an_agent_writes_its_workspace_and_sees_neither_records_nor_the_persons_home(
    install, work, person, tmp_path, sandboxed
):
    runs = tmp_path / "runs"
    for file in (person / "secret.txt", runs / "one/run_1/record.json", runs / "one-2/notes.txt", tmp_path / "outside"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("as it was")
    places = {"PERSON": person, "CAMPAIGN": runs / "one", "OUTSIDE": tmp_path / "outside"}
    install("claude", "\n".join(f"{name} = {str(path)!r}" for name, path in places.items()) + LOOK)
    reply = ask(converse("claude", work, hidden=(runs / "one", runs)))
    assert [name for name, done in json.loads(reply.text).items() if done] == [
        "edits",
        "keeps its conversation",
        "has a temporary folder",
    ]
    assert (tmp_path / "outside").read_text() == (runs / "one/run_1/record.json").read_text() == "as it was"


def test_a_killed_harness_leaves_no_agent_and_none_of_its_children(install, work, tmp_path, sandboxed):
    pids = tmp_path / "agent_home/pids"
    install("claude", f"PIDS = {str(pids)!r}\n{CHILDREN}\ntime.sleep(600)")
    script = f"""
from pathlib import Path
from harness.agents.listing import find_agent
from harness.campaign.protocols import AgentConfig, Workspace
agent = find_agent("claude")(AgentConfig(home=Path({str(pids.parent)!r})))
agent.open(Workspace(Path({str(work.root)!r}), ("experiment.py",))).ask("x", turn=0, label="")
"""
    harness = subprocess.Popen([sys.executable, "-c", script])
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    harness.kill()
    harness.wait()
    until(lambda: not running(str(pids)) and not running(str(tmp_path / "bin/claude")))


def running(word: str) -> list[psutil.Process]:
    """The processes with `word` in their command line; numbers in a sandbox are others than outside."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        each
        for each in found
        if word in " ".join(each.info["cmdline"] or ()) and each.info["status"] != psutil.STATUS_ZOMBIE
    ]


CHILDREN = """
code = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
code += "open(sys.argv[1], 'a').write(str(os.getpid()) + ' '); time.sleep(600)"
for own_session in (False, True):
    subprocess.Popen([sys.executable, '-c', code, PIDS], start_new_session=own_session)
while not os.path.exists(PIDS) or len(open(PIDS).read().split()) < 2:
    time.sleep(0.01)
"""


def test_a_command_that_hangs_is_ended_with_all_its_children(install, work, tmp_path):
    pids = tmp_path / "agent_home/pids"
    install(
        "codex",
        f"PIDS = {str(pids)!r}\n{CHILDREN}\nsys.stdout.write({as_lines(CODEX_START)!r})\nsys.stdout.flush()\ntime.sleep(600)",
    )
    reply = ask(converse("codex", work, turn_left=lambda: 8.0))  # in which its children have begun
    assert reply.failure.kind == "timeout" and "8 s" in reply.failure.message
    assert reply.usage.cost is None
    assert len(pids.read_text().split()) == 2
    assert not running(str(pids))


def test_children_that_outlive_a_good_turn_neither_delay_nor_survive_it(install, work, tmp_path):
    pids = tmp_path / "agent_home/pids"
    install("claude", f"PIDS = {str(pids)!r}\n{CHILDREN}\n{printing(GOOD['claude'])}")
    assert ask(converse("claude", work)).failure is None
    assert pids.exists() and not running(str(pids))


def test_a_command_that_an_earlier_harness_left_is_ended_before_the_next_turn(install, work, tmp_path):
    install("claude", printing(GOOD["claude"]))
    left = subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], module.MARK: str(work.root)})
    other = subprocess.Popen(["sleep", "600"], env={"PATH": os.environ["PATH"], module.MARK: str(tmp_path / "other")})
    try:
        ask(converse("claude", work))
        assert left.wait(timeout=HANGS) < 0
        assert other.poll() is None
    finally:
        left.kill()
        other.kill()
        left.wait()
        other.wait()


def test_a_killed_command_has_died(install, work):
    install("gemini", "os.kill(os.getpid(), signal.SIGKILL)")
    failure = ask(converse("gemini", work)).failure
    assert failure.kind == "died" and "signal 9" in failure.message


PACKAGES = {
    "claude": "@anthropic-ai/claude-code",
    "codex": "@openai/codex",
    "gemini": "@google/gemini-cli",
    "opencode": "opencode-ai",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_command_says_how_to_install_it(name, work, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match=f"npm install -g {PACKAGES[name]}"):
        find_agent(name)(AgentConfig()).check()
    reply = ask(converse(name, work))
    assert reply.failure.kind == "setup" and PACKAGES[name] in reply.failure.message
    assert reply.usage.cost == 0 and reply.usage + Usage(cost=1.0) == Usage(cost=1.0, seconds=reply.usage.seconds)


def test_check_tells_version_and_model(install):
    install("claude")
    assert find_agent("claude")(AgentConfig(model="opus")).check() == "claude 2.1.197, model opus"
    with pytest.raises(InputError, match="--architect"):
        find_agent("claude")(AgentConfig(architect="opus")).check()


def test_a_command_that_cannot_run_says_so(install, tmp_path):
    install("claude")
    (tmp_path / "bin/claude").write_text("#!/nonexistent/node\n")
    with pytest.raises(HarnessError, match="npm install"):
        find_agent("claude")(AgentConfig()).check()


def test_a_program_that_the_agent_planted_is_not_run(install, work, monkeypatch):
    install("claude", printing(GOOD["claude"]))
    planted = work.root / "bin/claude"
    planted.parent.mkdir()
    planted.write_text("#!/bin/sh\ntouch planted_ran\n")
    planted.chmod(0o755)
    monkeypatch.chdir(work.root.parent)
    monkeypatch.setenv("PATH", f"bin{os.pathsep}.{os.pathsep}{os.environ['PATH']}")
    reply = ask(converse("claude", work))
    assert reply.failure is None
    assert not (work.root / "planted_ran").exists()


def test_an_interrupt_ends_the_command(install, work, tmp_path, monkeypatch):
    pids = tmp_path / "agent_home/pids"
    install("claude", f"open({str(pids)!r}, 'w').write('begun')\ntime.sleep(600)")
    conversation = converse("claude", work)

    def interrupt(file) -> int:
        if not pids.exists() or not pids.read_text():
            time.sleep(0.01)
            return 0
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_size", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ask(conversation)
    assert not running(str(tmp_path / "bin/claude"))
