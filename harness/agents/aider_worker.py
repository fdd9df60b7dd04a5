"""aider behind JSON lines on stdin and stdout: one request a line, one answer a line, with events in between.

This file is executed by the Python of aider's own environment and has nothing of the harness but `failure_kinds.py`, so it
is one file, however long. aider is driven through its classes, not its command, because the command executes `!` and `/run`
in prompts, obeys `.env` and `.aider.conf.yml` in the working directory, lets the model write anywhere, and exits with 0
whatever happened.

Usage: python aider_worker.py TIMEOUT PATIENCE. A request to the model is given up after TIMEOUT seconds; failed requests
are repeated for PATIENCE seconds. The end of stdin ends the process at once, also in the middle of a turn.
"""

from __future__ import annotations

import json
import math
import os
import queue
import re
import runpy
import shutil
import signal
import stat
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


def take_stdio() -> tuple[TextIO, TextIO]:
    """The two ends of the wire. aider and litellm print freely: their stdout becomes stderr, their stdin is empty."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return requests, answers


REQUESTS, ANSWERS = take_stdio()
TIMEOUT, PATIENCE = float(sys.argv[1]), float(sys.argv[2])

import aider  # noqa: E402
import httpx  # type: ignore[import-not-found]  # noqa: E402
import litellm  # noqa: E402
from aider import models, utils  # noqa: E402
from aider.coders import ArchitectCoder, Coder, base_coder  # noqa: E402
from aider.coders.editblock_prompts import EditBlockPrompts  # noqa: E402
from aider.io import InputOutput  # noqa: E402
from aider.reasoning_tags import REASONING_TAG, remove_reasoning_content  # noqa: E402

FREE_PROVIDERS = {"ollama", "ollama_chat", "llamafile", "lm_studio"}
"""Providers on the person's own machine: a turn costs 0 dollars."""

KINDS = runpy.run_path(str(Path(__file__).with_name("failure_kinds.py")))

NOTES = "notes.txt"
"""Where AI-Scientist's agents wrote what they did, and many a model still does."""

MAX_ANSWERS = 24
"""Answers in one turn (3 reflections, each continued at the output limit) after which something is going in circles."""


def tell(event: str, notice: bool = False) -> None:
    """A line for a person, and a sign of life for the harness; a `notice` is not to be missed."""
    print(json.dumps({"event": event, "notice": notice}), file=ANSWERS, flush=True)


class Turn:
    """What happened in one turn: requests, their usage, replies, refused writes and the failure that ended it."""

    def __init__(self, root: str = "", editable: tuple[str, ...] = (), readable: tuple[str, ...] = ()) -> None:
        self.root = root
        self.editable = {str(Path(root, path)) for path in editable}
        self.readable = {str(Path(root, path)) for path in readable}
        self.replies: list[str] = []
        self.plan: str | None = None
        self.refused: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.failure: dict[str, Any] | None = None
        self.unread_answer = self.cut = False
        self.other_form = ""
        """The edit format that a reply with code is not in."""
        self.models: list[str] = []
        self.ends = math.inf
        """When the time of the turn is over, by the monotonic clock."""
        self.sent = self.received = self.requests = self.answers = self.lost = 0
        self.cost: float | None = 0.0
        self.failures_in_a_row = 0
        self.first_failure = 0.0
        self.retry_in: float | None = None

    def count(self, model: Any, messages: list[Any], completion: Any) -> None:
        """Add the usage of one answer. Counted here because aider forgets an answer that was cut at the output limit."""
        usage = getattr(completion, "usage", None)
        text = completion.choices[0].message.content
        sent = getattr(usage, "prompt_tokens", 0) or model.token_count(messages)
        received = getattr(usage, "completion_tokens", 0) or (model.token_count(text) if text else 0)
        self.models.append(str(getattr(completion, "model", None) or model.name))
        self.sent += sent
        self.received += received
        cost = price(model, completion, sent, received)
        self.cost = None if cost is None or self.cost is None else self.cost + cost

    def request_failed(self, model: str, error: Exception, timed_out: bool, begun: float) -> None:
        """Note a failed request, and in `retry_in` the seconds until it is to be repeated, None when it is final."""
        kind = "timeout" if timed_out else failure_kind(error)
        now = time.monotonic()
        if not self.failures_in_a_row:
            self.first_failure = begun  # a time-out has used the time of further ones
        self.failures_in_a_row += 1
        if is_unanswered(kind, error):
            self.lost += 1
            if model.partition("/")[0] not in FREE_PROVIDERS:
                self.cost = None
        what = f"no answer within {now - begun:.3g} s" if kind == "timeout" else " ".join(str(error).split())
        until = KINDS["limit_ends"](what, time.time()) if kind == "rate" else None
        self.failure = {"kind": kind, "message": what if len(what) <= 600 else what[:597] + "...", "until": until}
        delay = 0.125 * 2.0**self.failures_in_a_row
        next_try = max(now + delay, now + until - time.time() if until else 0.0)
        final = kind not in KINDS["PASSING"] or next_try > min(self.first_failure + PATIENCE, self.ends)
        tell(f"{model}: {self.failure['message']}" + ("" if final else f" (again in {delay:g} s)"), notice=not final)
        self.retry_in = None if final else delay

    def request_answered(self, model: Any, completion: Any) -> None:
        self.failure = None
        self.failures_in_a_row = 0
        self.answers += 1
        self.unread_answer = True
        choice = completion.choices[0]
        finish = getattr(choice, "finish_reason", None)
        # aider lets a model that can go on do so, and throws away all edits of one that cannot.
        self.cut = finish == "length" and not model.info.get("supports_assistant_prefill")
        if self.cut and choice.message.content:
            choice.finish_reason = "stop"
        elif not choice.message.content:
            self.warnings.append(f"The model's reply was empty (finish reason: {finish}).")

    def add_reply(self, text: str, is_plan: bool) -> None:
        if not self.unread_answer:
            return
        self.unread_answer = False
        if is_plan:
            self.plan = text
            if self.cut:
                self.warnings.append("The plan was cut at the model's output limit; what was there of it was followed.")
        else:
            self.replies.append(text if self.plan is None else f"{self.plan}\n\n{text}")
            self.plan = None

    def result(self) -> dict[str, Any]:
        return {
            "replies": self.replies + ([] if self.plan is None else [self.plan]),
            "refused_writes": self.refused,
            "notes": "\n".join(self.notes).strip("\n"),
            "warnings": self.warnings,
            "failure": self.failure,
            "models": self.models,
            "usage": {
                "sent": self.sent,
                "received": self.received,
                "cost": self.cost,
                "requests": self.requests,
                "lost": self.lost,
            },
        }


turn = Turn()
"""The turn in hand; aider's classes are changed to report to it."""


def failure_kind(error: Exception) -> str:
    """The kind of a failed request, in the words of the harness."""
    status, chain = getattr(error, "status_code", None), causes(error)
    # litellm leaves the provider's error code out of its own message; it is in the one below.
    text = " ".join(str(each) for each in chain).lower()
    if isinstance(error, litellm.ContextWindowExceededError):
        return "context"
    kind = str(KINDS["failure_kind"](status, text))
    if kind in ("quota", "context"):
        return kind
    if isinstance(error, litellm.Timeout) or any(isinstance(cause, httpx.TimeoutException) for cause in chain):
        return "timeout"
    if isinstance(error, litellm.AuthenticationError):
        return "auth"
    if kind == "server" and (any(isinstance(cause, httpx.TransportError) for cause in chain) or "connection error" in text):
        return "connection"
    return "server" if isinstance(error, litellm.ContentPolicyViolationError) else kind


def is_unanswered(kind: str, error: Exception) -> bool:
    """Whether a failed request may have been worked on, and paid for, though its answer never came."""
    connected = not any(isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout) for cause in causes(error))
    return kind in ("timeout", "connection") and connected


def causes(error: Exception) -> list[BaseException]:
    """An error with what lies below it."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


def price(model: Any, completion: Any, sent: int, received: int) -> float | None:
    """Dollars of one answer, None when the model's price is unknown (aider and litellm then say 0)."""
    if model.name.partition("/")[0] in FREE_PROVIDERS:
        return 0.0
    listed = litellm.model_cost.get(model.info.get("key")) or model.info
    if listed.get("input_cost_per_token") is None:
        return None
    try:
        return float(litellm.completion_cost(completion_response=completion, model=model.name))
    except Exception:  # litellm raises a bare Exception for a model that it lists under another name
        return float(listed["input_cost_per_token"] * sent + (listed.get("output_cost_per_token") or 0) * received)


@contextmanager
def deadline(limit: float) -> Iterator[list[bool]]:
    """Give a request up after `limit`, also when a server sends a byte now and then. The yielded list says if it was."""
    timed_out: list[bool] = []

    def give_up(signal_number: int, frame: Any) -> None:
        timed_out.append(True)
        raise TimeoutError(f"no answer within {limit:g} s")

    signal.signal(signal.SIGALRM, give_up)
    # The HTTP client's own time-out comes first: its connection is then closed in order.
    signal.setitimer(signal.ITIMER_REAL, limit * 1.1 + 1)
    try:
        yield timed_out
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


send_completion = models.Model.send_completion


def recorded_send_completion(self: Any, messages: Any, functions: Any, stream: Any, temperature: Any = None) -> Any:
    """Every request of every coder goes through here: aider swallows the exceptions that it raises."""
    if turn.answers >= MAX_ANSWERS:
        turn.failure = {"kind": "server", "message": f"{MAX_ANSWERS} answers in one turn without coming to an end"}
        raise RuntimeError(turn.failure["message"])
    begun = time.monotonic()
    if begun >= turn.ends:
        turn.failure = {"kind": "timeout", "message": "the time limit of the turn came between two requests"}
        raise RuntimeError(turn.failure["message"])
    limit = min(TIMEOUT, turn.ends - begun)
    models.request_timeout = limit
    turn.requests += 1
    tell(f"waiting for {self.name}")
    with deadline(limit) as timed_out:
        try:
            hashed, completion = send_completion(self, messages, functions, stream, temperature)
            if not completion.choices:
                raise litellm.APIError(502, "an answer without any choice", "", self.name)
            message = completion.choices[0].message
            if message.content:  # JSON can hold halves of surrogate pairs, which no file takes
                message.content = message.content.encode(errors="replace").decode()
        except Exception as error:
            turn.request_failed(self.name, error, bool(timed_out), begun)
            # aider doubles its delay from 0.125 s and ends when it exceeds this: so the decision is made here alone.
            base_coder.RETRY_TIMEOUT = -1 if turn.retry_in is None else math.inf
            raise
    turn.request_answered(self, completion)
    turn.count(self, messages, completion)
    return hashed, completion


class QuietIO(InputOutput):  # type: ignore[misc]
    """aider's terminal, with nobody at it; and the last gate before a file is read or written."""

    def __init__(self) -> None:
        super().__init__(pretty=False, fancy_input=False, yes=False, chat_history_file=None, input_history_file=None)

    def confirm_ask(self, question: str, *args: Any, **kwargs: Any) -> bool:
        return question == "Attempt to fix lint errors?"

    def offer_url(self, *args: Any, **kwargs: Any) -> bool:
        return False

    def assistant_output(self, *args: Any, **kwargs: Any) -> None:
        return

    def read_text(self, filename: Any, silent: bool = False) -> Any:
        if str(filename) in turn.editable | turn.readable:
            return super().read_text(filename, silent)
        return None

    def write_text(self, filename: Any, content: str, *args: Any, **kwargs: Any) -> None:
        path = Path(filename)
        if str(path) not in turn.editable:
            turn.refused.append(str(filename))
            return
        # aider reads CRLF as LF and would write LF: a change of every line.
        self.newline = "\r\n" if path.exists() and b"\r\n" in path.read_bytes() else "\n"
        super().write_text(filename, content, *args, **kwargs)


def allowed_to_edit(self: Any, path: str) -> bool:
    """Only the editable files are written, whatever aider would ask about. A refusal is silent to the model."""
    full = self.abs_root_path(path)
    if full not in turn.editable:
        if path not in turn.refused:
            turn.refused.append(path)
        return False
    if not Path(full).exists():
        utils.touch_file(full)
    return True


def is_note(edit: Any) -> bool:
    path = edit[0]
    return path is not None and Path(path).name == NOTES and str(Path(turn.root, path)) not in turn.editable


def words_of(edit: Any) -> list[str]:
    """The lines that an edit of notes.txt adds. Edits are what aider's formats make of a reply: a path, then SEARCH and
    REPLACE, or a hunk, or where the path was found and the file's lines."""
    _, *given, new = edit
    if isinstance(new, str):
        old = set(given[0].splitlines())
        return [line for line in new.splitlines() if not line.strip() or line not in old]
    lines = new if given else [line[1:] for line in new if line.startswith("+") and not line.startswith("+++")]
    return [line.rstrip("\r\n") for line in lines]


SEARCH, REPLACE = re.compile(r"^<{5,9} SEARCH>?\s*$", re.M), re.compile(r"^>{5,9} REPLACE\s*$", re.M)
FENCE = re.compile(r"^(?:`{3,}|~{3,}).*$", re.M)
CODE = re.compile(r"^(?:`{3,}|~{3,}|<{5,9} SEARCH|\*\*\* Begin Patch|@@ )", re.M)


def before_the_cut(text: str, edit_format: str) -> tuple[str, str]:
    """What of a reply that was cut is whole, and a sentence on what became of its edits."""
    if "diff-fenced" in edit_format or (edit_format.endswith("diff") and "udiff" not in edit_format):
        ends = [match.end() for match in REPLACE.finditer(text)]
        whole = len(ends)
        if len(SEARCH.findall(text)) > whole:
            text = text[: ends[-1]] if ends else ""
            lost = True
        else:
            lost = False
    else:
        fences = list(FENCE.finditer(text))
        whole, lost = len(fences) // 2, len(fences) % 2 == 1
        text = text[: fences[-1].start()] if lost else text
    kept = f"The {whole} complete edits before the cut count" if whole > 1 else "The complete edit before the cut counts"
    if not lost:
        return text, f"{kept}; none was cut off." if whole else "It held no edit until there."
    if whole:
        return text, f"{kept}; the edit that was cut off is lost: write it again."
    return text, "Its only edit was cut off, so nothing of it was applied: write it again, in small edits."


FORMS = {
    "diff": "{path}\n```python\n<<<<<<< SEARCH\n{line}\n=======\n{line}  # as it shall be\n>>>>>>> REPLACE\n```",
    "diff-fenced": "```python\n{path}\n<<<<<<< SEARCH\n{line}\n=======\n{line}  # as it shall be\n>>>>>>> REPLACE\n```",
    "udiff": "```diff\n--- {path}\n+++ {path}\n@@ ... @@\n-{line}\n+{line}  # as it shall be\n```",
    "whole": "{path}\n```python\nthe whole file, from its first line to its last\n```",
}
"""How an edit looks in each of aider's formats."""


def wanted_form(edit_format: str) -> str:
    """A sentence on the format that edits must have, and one of its edits, of a line of the first editable file."""
    name = "udiff" if "udiff" in edit_format else edit_format.removeprefix("editor-")
    path = next((path for path in sorted(turn.editable) if Path(path).exists()), "")
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines() if path else []
    line = next((each for each in lines if each.strip() and '"""' not in each), "x = 1")
    example = FORMS[name].format(path=os.path.relpath(path, turn.root) if path else "experiment.py", line=line)
    return (
        f"The reply shows code, but not as edits in the format `{name}`, so nothing of it was applied; `--edit-format` "
        f"names another format (`whole`: whole files).\nWrite each change like this one:\n\n{example}"
    )


def recorded_apply_updates(self: Any) -> Any:
    """The notes are the harness's and are not in the chat, so no edit of them could match, and a model would be asked again
    for it: their words are kept, and the other edits count. What a correction repeats counts once.

    Of a reply that was cut at the output limit the complete edits count."""

    def edits_of_files() -> list[Any]:
        if turn.cut:
            self.partial_response_content, told = before_the_cut(self.partial_response_content, self.edit_format)
            turn.warnings.append(f"A reply was cut at the model's output limit. {told}")
        edits = type(self).get_edits(self)
        if self.edit_format.endswith("whole"):
            # SEARCH/REPLACE blocks would become the file.
            edits = [edit for edit in edits if not any(SEARCH.match(line) for line in edit[2])]
        shows_code = not edits and not turn.cut and CODE.search(self.partial_response_content)
        turn.other_form = self.edit_format if shows_code else ""
        words = [line for edit in edits if is_note(edit) for line in words_of(edit)]
        turn.notes = words or turn.notes
        return [edit for edit in edits if not is_note(edit)]

    self.get_edits = edits_of_files
    return apply_updates(self)


apply_updates, check_tokens, lint_edited = Coder.apply_updates, Coder.check_tokens, Coder.lint_edited
run_one, add_reply = Coder.run_one, Coder.add_assistant_reply_to_cur_messages


def recorded_check_tokens(self: Any, messages: Any) -> bool:
    """aider drops a request that it estimates too long without an exception."""
    if check_tokens(self, messages):
        return True
    limit = self.main_model.info.get("max_input_tokens")
    message = f"the conversation does not fit: about {self.main_model.token_count(messages)} tokens, limit {limit}"
    turn.failure = {"kind": "context", "message": message}
    return False


def recorded_add_reply(self: Any) -> None:
    add_reply(self)
    turn.add_reply(self.partial_response_content or "", isinstance(self, ArchitectCoder))


def recorded_run_one(self: Any, user_message: str, preproc: bool) -> None:
    run_one(self, user_message, preproc)
    if self.reflected_message:
        turn.warnings.append(
            f"Not all edits were applied: after {self.max_reflections} corrections there was still a problem that the model "
            "has not been told:\n" + self.reflected_message[:2000]
        )


def forgiving_lint_edited(self: Any, fnames: Any) -> str:
    """aider's linter fails itself on some code (null bytes, deep nesting). The edits are made; the harness will tell."""
    try:
        return str(lint_edited(self, fnames) or "")
    except Exception:
        traceback.print_exc()
        return ""


def change_aider() -> None:
    """Make aider report to the turn in hand, ask nobody, and use no network but the model's endpoint."""
    models.Model.send_completion = recorded_send_completion
    Coder.allowed_to_edit = allowed_to_edit
    Coder.apply_updates = recorded_apply_updates
    Coder.check_tokens = recorded_check_tokens
    Coder.add_assistant_reply_to_cur_messages = recorded_add_reply
    Coder.run_one = recorded_run_one
    Coder.lint_edited = forgiving_lint_edited
    Coder.check_for_file_mentions = lambda self, content: None
    Coder.check_and_open_urls = lambda self, error, friendly_msg=None: []
    # Old turns would go to a second, uncounted model call whose result is then thrown away.
    Coder.summarize_start = Coder.summarize_end = lambda self: None
    # The root is the workspace, not the common parent of the files; also for the second coder of architect mode.
    utils.find_common_root = lambda names: turn.root
    # The price list that comes with litellm, and no look-up of a newer one or of a web page.
    models.ModelInfoManager._load_cache = models.ModelInfoManager._update_cache = lambda self: None
    models.ModelInfoManager.fetch_openrouter_model_info = lambda self, model: {}
    litellm.disable_hf_tokenizer_download = True
    litellm.telemetry = False


class ShortPrompts(EditBlockPrompts):  # type: ignore[misc]
    """What the format `diff` wants, said once. aider tells its rules twice, with two conversations as examples, in 1,700
    tokens a request; what it says of files to be added and of shell commands is nothing that a model can do here."""

    main_system = """Act as an expert software developer and follow the conventions of the code that you are shown.
{final_reminders}
Write every change of a file as *SEARCH/REPLACE* blocks, and show no code elsewhere in a reply. This is a block:

main.py
{fence[0]}python
<<<<<<< SEARCH
def area(r):
    return 3.14 * r**2
=======
import math


def area(r):
    return math.pi * r**2
>>>>>>> REPLACE
{fence[1]}

1. The full path of the file stands alone on the line before the fence, as you were shown it.
{quad_backtick_reminder}2. The SEARCH part must match whole lines of the file as it is now, exactly: every character, \
space, comment and docstring.
3. A block replaces the first match only: take enough lines that there is one match, and no more. For a large change \
write several small blocks; do not repeat long runs of lines that stay.
4. To move code write two blocks, one that deletes it and one that inserts it. A new file has an empty SEARCH part.
5. Files that are not in the chat, or are read-only, cannot be edited.
"""
    example_messages: list[dict[str, str]] = []  # noqa: RUF012
    system_reminder = ""


def make_model(name: str, editor: str | None = None, editor_format: str | None = None) -> Any:
    name = models.MODEL_ALIASES.get(name, name)
    model = models.Model(name, weak_model=name, editor_model=editor or False, editor_edit_format=editor_format)
    for each in {id(m): m for m in (model, model.editor_model) if m}.values():
        each.extra_params = {**(each.extra_params or {}), "max_retries": 0}
        each.reminder = None  # the rules of the edit format stand in the system's prompt already
    return model


class Session:
    """A conversation on a workspace. Request keys: root, editable, readable, model, architect, edit_format, history."""

    def __init__(self, request: dict[str, Any]) -> None:
        global turn
        self.root = str(Path(request["root"]).resolve())
        self.editable, self.readable = tuple(request["editable"]), tuple(request["readable"])
        model, architect, edit_format = request["model"], request["architect"], request["edit_format"]
        if architect:
            editor_format = f"editor-{edit_format}" if edit_format in ("diff", "diff-fenced", "whole") else edit_format
            main_model = make_model(architect, editor=model, editor_format=editor_format)
        else:
            main_model = make_model(model)
        history = request["history"] or {"done": [], "cur": []}
        turn = Turn(self.root, self.editable, self.readable)
        self.coder = Coder.create(
            main_model=main_model,
            edit_format="architect" if architect else edit_format,
            io=QuietIO(),
            done_messages=history["done"],
            cur_messages=history["cur"],
            stream=False,  # streamed replies carry no usage
            use_git=False,
            auto_commits=False,
            dirty_commits=False,
            map_tokens=0,
            cache_prompts=True,
            auto_lint=True,
            auto_test=False,
            suggest_shell_commands=False,
            detect_urls=False,
            chat_language="English",
            auto_accept_architect=True,
        )
        if self.coder.edit_format == "diff":
            self.coder.gpt_prompts = ShortPrompts()

    def ask(self, text: str, seconds: float) -> dict[str, Any]:
        global turn
        turn = Turn(self.root, self.editable, self.readable)
        turn.ends = time.monotonic() + seconds
        coder = self.coder
        done, cur = list(coder.done_messages), list(coder.cur_messages)
        problem = self.problem_with_files()
        if problem:
            turn.failure = {"kind": "setup", "message": problem}
        else:
            # aider drops a file that was missing once for good, and remembers where a path led.
            coder.abs_fnames = {path for path in turn.editable if Path(path).exists()}
            coder.abs_read_only_fnames = {path for path in turn.readable if Path(path).exists()}
            coder.abs_root_path_cache.clear()
            try:
                coder.run_one(text, False)
            except Exception as error:
                traceback.print_exc()
                turn.failure = {"kind": "died", "message": f"aider failed: {type(error).__name__}: {error}"}
        if turn.other_form:
            turn.warnings.append(wanted_form(turn.other_form))
            tell(turn.warnings[-1].split("\n")[0])
        if turn.unread_answer and not turn.failure:
            turn.failure = {"kind": "server", "message": "the provider's answer could not be read"}
        if turn.failure and not turn.replies:
            coder.done_messages, coder.cur_messages = done, cur
        while coder.cur_messages and coder.cur_messages[-1]["role"] == "user":
            coder.cur_messages.pop()
        return {**turn.result(), "history": {"done": coder.done_messages, "cur": coder.cur_messages}}

    def problem_with_files(self) -> str | None:
        """What is wrong with the files that would be read or written, None if nothing.

        A link is not followed: an edit would change, and a prompt would carry, what it points to.
        """
        for path in (*self.editable, *self.readable):
            full = Path(self.root, path)
            if not full.is_relative_to(self.root) or full.resolve() != full:
                return f"{path} is or goes through a symbolic link, or lies outside {self.root}: not given to the model"
            try:
                if not stat.S_ISREG(full.lstat().st_mode):
                    return f"{path} in {self.root} is not a regular file: not given to the model"
                full.read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeError) as error:
                return f"{path} in {self.root} cannot be read as UTF-8 text: {error}"
        return None


def complete(request: dict[str, Any]) -> dict[str, Any]:
    """One answer to a system and a user message, without files. Request keys: model, system, user."""
    global turn
    turn = Turn()
    model = make_model(request["model"])
    if request.get("tokens"):
        model.extra_params = {**(model.extra_params or {}), "max_tokens": request["tokens"]}
    role = "system" if model.use_system_prompt else "user"
    messages = [{"role": role, "content": request["system"]}, {"role": "user", "content": request["user"]}]
    while True:
        try:
            _, completion = model.send_completion(messages, None, False)
        except Exception:
            if turn.retry_in is None:
                break
            time.sleep(turn.retry_in)
        else:
            text = completion.choices[0].message.content or ""
            turn.replies.append(remove_reasoning_content(text, model.reasoning_tag or REASONING_TAG))
            break
    return {**turn.result(), "history": None}


def describe(name: str) -> dict[str, Any]:
    """What is known of a model before it is asked: provider, missing keys, whether its price is known."""
    name = models.MODEL_ALIASES.get(name, name)
    try:
        provider = litellm.get_llm_provider(name)[1]
    except litellm.BadRequestError:
        return {"version": aider.__version__, "provider": None, "missing": [], "priced": False}
    model = make_model(name)
    listed = litellm.model_cost.get(model.info.get("key")) or model.info
    return {
        "version": aider.__version__,
        "provider": provider,
        "missing": list(model.missing_keys or []),
        "context": listed.get("max_input_tokens") or None,
        "priced": provider in FREE_PROVIDERS or listed.get("input_cost_per_token") is not None,
    }


def answer(request: dict[str, Any], sessions: dict[int, Session]) -> dict[str, Any]:
    """One request: open, ask and close (with the number of a conversation), complete, count, describe,
    providers of models, and the variables of the environment that reach them."""
    operation = request["op"]
    if operation == "open":
        sessions[request["session"]] = Session(request)
        return {}
    if operation == "ask":
        return sessions[request["session"]].ask(request["text"], request["seconds"])
    if operation == "close":
        sessions.pop(request["session"], None)
        return {}
    if operation == "complete":
        return complete(request)
    if operation == "count":
        return {"tokens": litellm.token_counter(model=request["model"] or "gpt-4o", text=request["text"])}
    if operation == "providers":
        return {"providers": [described["provider"] or "" for described in map(describe, request["models"])]}
    if operation == "variables":
        os.environ.update(request["variables"])
        return {}
    if operation == "describe":
        return describe(request["model"])
    raise ValueError(f"unknown operation {operation}")


def read_requests(waiting: queue.SimpleQueue[str]) -> None:
    """Runs in a thread of its own, so that the end of the harness is seen in the middle of a request to a model."""
    for line in REQUESTS:
        waiting.put(line)
    shutil.rmtree(os.environ["HOME"], ignore_errors=True)
    os._exit(0)


def main() -> None:
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=read_requests, args=(waiting,), daemon=True).start()
    change_aider()
    sessions: dict[int, Session] = {}
    while True:
        request = json.loads(waiting.get())
        try:
            reply: dict[str, Any] = {"answer": answer(request, sessions)}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
