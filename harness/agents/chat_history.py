"""Chat histories: the format in which aider logs a conversation, and in which the harness records its sessions.

In an aider log `#### ` begins the lines of a prompt, `> ` the tool's own lines, and the rest is the reply. aider's lines
end with two spaces; a heading or a quotation in a reply that does not end so is part of the reply. aider does not say
where one reply of a turn ends and the next begins: they are told apart by the tool's lines between them.

A session recorded by the harness is read back exactly. Its turns look like this, with two spaces at the ends of all lines
that begin with `#### ` or `> `:

    #### # run 2, attempt 1
    #### the prompt's lines
    > reply 1 of 2

    the reply; a line that looks like a marker gets a backslash in front

aider's other log (`--llm-history-file`) holds each request and each reply, their lines after the role that they belong to.

A session written by hand needs only `#### # run 1, attempt 1` and the reply below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..campaign.errors import InputError
from ..campaign.text import decoded

LABEL = re.compile(r"# (run \d+, attempt \d+)\s*")
PROMPT = re.compile(r"####(?: (.*))?  ", re.DOTALL)
REPLY = re.compile(r"> (?:reply \d+ of \d+|no reply)  ")
TOOL = re.compile(r">.*  ", re.DOTALL)
REQUEST = re.compile(r"TO LLM \d{4}-\S+")
RESPONSE = re.compile(r"LLM RESPONSE \d{4}-\S+")
CORRECTION = re.compile(r"\A(?:# \d+ SEARCH/REPLACE blocks? failed|# Fix any errors below|UnifiedDiff\w+: )|^\^\^\^ ", re.M)
# How aider begins what it asks a model to mend, or ends what it could not read.
STARTED = re.compile(r"# aider chat started at .*")
REPORT = re.compile(r"> # \d+ SEARCH/REPLACE blocks? failed to match!")
REPORT_END = re.compile(r".*(?:docstrings, etc|above that failed to match\.)  ")


@dataclass(frozen=True)
class Turn:
    """One prompt and the replies to it: more than one where aider asked for a correction."""

    label: str | None
    prompt: str
    replies: tuple[str, ...]
    unanswered: int = 0
    """Prompts before it that have no reply and are not among the turns."""


def render_turn(label: str | None, prompt: str, replies: Sequence[str]) -> str:
    """The turn as text that `parse_session` reads back exactly. `label` is one line."""
    lines = [f"# {' '.join((label or '').split())}".rstrip(), *prompt.split("\n")]
    text = "".join(f"#### {line}  \n" for line in lines)
    for number, reply in enumerate(replies, 1):
        body = "\n".join("\\" + line if _looks_like_marker(line) else line for line in reply.split("\n"))
        text += f"> reply {number} of {len(replies)}  \n\n{body}\n\n"
    return text if replies else text + "> no reply  \n\n"


def read_session(path: Path) -> list[Turn]:
    """The turns of a recorded session or an aider log. Raises InputError if it cannot be read or has none."""
    try:
        text = decoded(path.read_bytes(), "replace")
    except OSError as error:
        raise InputError(f"--session {path}: cannot be read: {error.strerror}.") from error
    turns = parse_session(text)
    if not turns:
        raise InputError(
            f"--session {path}: holds no turn. A session is an aider chat history, or `#### # run 1, attempt 1` with the "
            "reply below it."
        )
    return turns


def parse_session(text: str) -> list[Turn]:
    """The turns in `text`: recorded by the harness, by aider of today or older, or written by hand."""
    lines = text.split("\n")
    first = next((line for line in lines if line.startswith("#")), "")
    if first.endswith("\r"):
        lines = text.replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    if any(REQUEST.fullmatch(line) for line in lines[:3]):
        return list(_of_requests(lines))
    turns: list[Turn] = []
    unanswered = 0
    for prompt, body in _split(lines):
        if body and REPLY.fullmatch(body[0]):
            turns.append(_recorded(prompt, body))
            continue
        turn = _foreign(prompt, body)
        if turns and turn.replies and _is_plan(turn.prompt, turns[-1].replies):
            # In architect mode aider logs the plan once more, as the prompt of the model that edits.
            *before, plan = turns[-1].replies
            turns[-1] = replace(turns[-1], replies=(*before, f"{plan}\n\n{turn.replies[0]}", *turn.replies[1:]))
        elif turn.replies or turn.label:
            turns.append(replace(turn, unanswered=unanswered))
            unanswered = 0
        elif not turn.prompt.startswith(("/", "!")):  # aider's commands ask nobody
            unanswered += 1
    return turns


def _of_requests(lines: list[str]) -> Iterator[Turn]:
    """The turns of aider's log of requests. A request for a correction belongs to the turn before it."""
    starts = [number for number, line in enumerate(lines) if REQUEST.fullmatch(line)]
    turn: Turn | None = None
    lost: list[str] = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        body = lines[start + 1 : end]
        answered = next((number for number, line in enumerate(body) if RESPONSE.fullmatch(line)), len(body))
        last = max((number for number, line in enumerate(body[:answered]) if line.startswith("USER")), default=-1)
        first = max((number for number, line in enumerate(body[: last + 1]) if line == "-------"), default=-1) + 1
        prompt = "\n".join(line.removeprefix("USER").removeprefix(" ") for line in body[first : last + 1])
        reply = "\n".join(line.removeprefix("ASSISTANT").removeprefix(" ") for line in body[answered + 1 :])
        if not reply.strip():
            lost.append(prompt)
        elif turn and CORRECTION.search(prompt):
            turn = replace(turn, replies=(*turn.replies, reply))
        else:
            if turn:
                yield turn
            turn = Turn(None, prompt, (reply,), sum(each != prompt for each in lost))
            lost = []
    if turn:
        yield turn


def _split(lines: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Each prompt's lines, without their marker, and the lines below it."""
    prompt: list[str] | None = None
    body: list[str] = []
    in_prompt = False
    for line in lines:
        # An editor may have removed the spaces at the ends of lines: below a prompt's line another one is told without.
        if _begins_prompt(line) or (in_prompt and re.match(r"####(?: |$)", line)):
            if not in_prompt:
                if prompt is not None:
                    yield prompt, body
                prompt, body, in_prompt = [], [], True
            assert prompt is not None
            marked = PROMPT.fullmatch(line)
            prompt.append((marked.group(1) or "") if marked else line[5:].rstrip())
        else:
            in_prompt = False
            body.append(line)
    if prompt is not None:
        yield prompt, body


def _begins_prompt(line: str) -> bool:
    return PROMPT.fullmatch(line) is not None or (line.startswith("#### ") and LABEL.fullmatch(line[5:]) is not None)


def _looks_like_marker(line: str) -> bool:
    bare = line.lstrip("\\")
    return _begins_prompt(bare) or REPLY.fullmatch(bare) is not None


def _recorded(prompt: list[str], body: list[str]) -> Turn:
    """A turn that `render_turn` wrote."""
    replies: list[list[str]] = []
    for line in body:
        if REPLY.fullmatch(line):
            if "no reply" not in line:
                replies.append([])
        elif replies:
            replies[-1].append(line[1:] if line.startswith("\\") and _looks_like_marker(line) else line)
    label = prompt[0].removeprefix("#").strip() or None
    return Turn(label, "\n".join(prompt[1:]), tuple("\n".join(_unframed(reply)) for reply in replies))


def _unframed(lines: list[str]) -> list[str]:
    """Without the empty line above the text and the one below it, which a person may have removed."""
    lines = lines[1:] if lines and not lines[0] else lines
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def _foreign(prompt: list[str], body: list[str]) -> Turn:
    """A turn in an aider log or written by hand."""
    marked = LABEL.fullmatch(prompt[0])
    label = marked.group(1) if marked else None
    replies: list[list[str]] = [[]]
    message_end: re.Pattern[str] | None = None
    after_tool = False
    for number, line in enumerate(body):
        following = body[number + 1] if number + 1 < len(body) else ""
        if message_end:
            # Inside a message of several lines, of which aider marks only the first.
            if message_end.fullmatch(line) and (not following or following.startswith((">", "####"))):
                message_end, after_tool = None, True
        elif TOOL.fullmatch(line):
            after_tool = True
            replies.append([])
        elif REPORT.fullmatch(line) or (after_tool and line.startswith("> ")):
            message_end = REPORT_END if REPORT.fullmatch(line) else re.compile(r".*  ", re.DOTALL)
            replies.append([])
        elif STARTED.fullmatch(line):
            break
        else:
            after_tool = False
            replies[-1].append(line)
    texts = ("\n".join(reply).strip("\n") for reply in replies)
    return Turn(label, "\n".join(prompt[1:] if label else prompt), tuple(text for text in texts if text.strip()))


def _is_plan(prompt: str, replies: tuple[str, ...]) -> bool:
    if not replies:
        return False
    said, asked = ([line.strip() for line in text.strip().split("\n")] for text in (replies[-1], prompt))
    return said == asked
