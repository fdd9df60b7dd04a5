from __future__ import annotations

import random
from pathlib import Path

import pytest

from harness.agents.chat_history import Turn, parse_session, read_session, render_turn
from harness.campaign.errors import InputError

from .session_file import append_turn

HOSTILE = [
    "",
    " ",
    "  ",
    "plain",
    "trailing  ",
    "#### # run 1, attempt 1",
    "#### # run 1, attempt 1  ",
    "\\#### # run 1, attempt 1  ",
    "\\\\#### twice  ",
    "#### heading",
    "#### heading  ",
    "####  ",
    "####",
    "#  ",
    "# comment",
    "# run 3, attempt 1",
    "# aider chat started at 2026-01-01 00:00:00",
    "> quoted",
    "> quoted  ",
    ">  ",
    "> reply 1 of 2  ",
    "\\> reply 1 of 2  ",
    "> no reply  ",
    "> # 1 SEARCH/REPLACE block failed to match!",
    "```python",
    "<<<<<<< SEARCH",
    "=======",
    ">>>>>>> REPLACE",
    "tab\tand \x0b\x0c\x1c\x85\u2028 ends",
    "carriage\rreturn\r",
    "#### carriage  \r",
    "Größe 模型 🧪",
    "\ufeff#### bom  ",
]


def hostile_text(chance: random.Random) -> str:
    return "\n".join(chance.choice(HOSTILE) for _ in range(chance.randrange(6)))


def test_every_recorded_session_is_read_back_exactly(tmp_path: Path):
    chance = random.Random(0)
    for case in range(400):
        label = chance.choice([None, "run 1, attempt 1", "run 12, attempt 4", "write-up", "# odd  label"])
        expected = [
            Turn(label and " ".join(label.split()), hostile_text(chance), tuple(hostile_text(chance) for _ in range(count)))
            for count in chance.choices(range(4), k=chance.randrange(1, 5))
        ]
        path = tmp_path / f"{case}.md"
        for turn in expected:
            append_turn(path, turn.label, turn.prompt, turn.replies)
        assert read_session(path) == expected


def test_each_hostile_line_survives_alone_and_at_both_ends():
    for line in HOSTILE:
        for text in (line, line + "\n", "\n" + line, f"\n\n{line}\n\n", f"a\n{line}\nb"):
            turn = Turn("run 1, attempt 1", text, (text, text))
            assert parse_session(render_turn(turn.label, turn.prompt, turn.replies) * 2) == [turn, turn], text


def test_a_recorded_session_can_be_edited_by_hand():
    text = render_turn("run 1, attempt 1", "Go.", ["old", "second"])
    text = text.replace("\n\nold\n\n", "\nnew\nlines\n")
    assert parse_session(text) == [Turn("run 1, attempt 1", "Go.", ("new\nlines", "second"))]


def test_a_session_written_by_hand_needs_a_label_and_a_reply():
    text = "#### # run 1, attempt 1\n\nFirst.\n\n#### A heading\n> a quotation\n\n#### # run 1, attempt 2  \n\nSecond.\n"
    assert parse_session(text) == [
        Turn("run 1, attempt 1", "", ("First.\n\n#### A heading\n> a quotation",)),
        Turn("run 1, attempt 2", "", ("Second.",)),
    ]


def test_a_prompt_below_a_label_needs_no_spaces_at_its_ends():
    text = "#### # run 1, attempt 1\n#### Do it.\n####\n#### Now.\n\nDone.\n"
    assert parse_session(text) == [Turn("run 1, attempt 1", "Do it.\n\nNow.", ("Done.",))]


def test_a_history_of_todays_aider_is_split_into_turns_and_replies():
    text = """
# aider chat started at 2026-01-01 10:00:00

> Aider v0.86.2~
> Model: x with diff edit format~

#### First.~
#### ~
#### Do it.~

I will.

#### Step 1: a heading of mine
> quoted by me

experiment.py
```python
<<<<<<< SEARCH
a
=======
b
>>>>>>> REPLACE
```

> Tokens: 2.0k sent, 182 received.~
> The LLM did not conform to the edit format.~
> https://aider.chat/docs/troubleshooting/edit-errors.html~
> # 1 SEARCH/REPLACE block failed to match!

## SearchReplaceNoExactMatch: This SEARCH block failed to exactly match lines in experiment.py
<<<<<<< SEARCH
a~
=======
b
>>>>>>> REPLACE

The SEARCH section must exactly match an existing block of lines including all white space, comments, indentation, docstrings, etc~

Sorry.

> Tokens: 2.1k sent, 20 received.~
> Applied edit to experiment.py~
> # Fix any errors below, if possible.~
>~
> ## Running: flake8~
> Attempt to fix lint errors? (Y)es/(N)o [Yes]: y~

Fixed.

> Tokens: 2.2k sent, 20 received.~

#### Second.~

Done.

> Tokens: 3k sent, 2 received.~

# aider chat started at 2026-01-02 10:00:00

> Aider v0.86.2~

#### /run ls~
> Command output~

#### Third.~

Yes.

""".replace("~\n", "  \n")
    first, second, third = parse_session(text)
    assert first.label is None and first.prompt == "First.\n\nDo it."
    assert [reply.partition("\n")[0] for reply in first.replies] == ["I will.", "Sorry.", "Fixed."]
    assert "#### Step 1: a heading of mine\n> quoted by me" in first.replies[0]
    assert second == Turn(None, "Second.", ("Done.",))
    assert third == Turn(None, "Third.", ("Yes.",)), "a command without a reply is no turn"


def test_an_error_that_repeats_the_reply_is_not_a_reply():
    text = (
        "#### Go.  \n\nexperiment.py\n<<<<<<< SEARCH\n\n> Tokens: 1k sent, 2 received.  \n"
        "> The LLM did not conform to the edit format.  \n> experiment.py\n<<<<<<< SEARCH\n\n^^^ Expected `=======`  \n\nBetter.\n"
    )
    assert parse_session(text) == [Turn(None, "Go.", ("experiment.py\n<<<<<<< SEARCH", "Better."))]


def test_a_history_of_an_older_aider_has_its_tokens_before_the_reply():
    text = (
        "\n# aider chat started at 2024-07-31 20:52:08\n\n\n#### Your goal.  \n####   \n#### Go.  \n"
        "> 9318 prompt tokens, 1866 completion tokens, $0.055944 cost  \n\nI understand.\n\nnotes.txt\n```\n## Run 1\n# x\n```\n\n"
        "> Allow creation of new file a.py? yes  \n> Applied edit to experiment.py  \n\n#### Run 1 completed.  \n"
        "> 7311 prompt tokens, 635 completion tokens  \n\nALL_COMPLETED\n\n"
    )
    assert parse_session(text) == [
        Turn(None, "Your goal.\n\nGo.", ("I understand.\n\nnotes.txt\n```\n## Run 1\n# x\n```",)),
        Turn(None, "Run 1 completed.", ("ALL_COMPLETED",)),
    ]


def test_a_reply_logged_in_two_chunks_is_one():
    assert parse_session("#### Go.  \n\nfirst half\n\n\nsecond half\n\n> Tokens: 1 sent  \n") == [
        Turn(None, "Go.", ("first half\n\n\nsecond half",))
    ]


def test_the_plan_of_an_architect_and_the_edits_are_one_reply():
    text = (
        "#### Go.  \n\nThe plan:\n\n1. Edit.\n\n> Tokens: 1 sent  \n\n#### The plan:  \n####   \n#### 1. Edit.  \n\n"
        "edits\n\n> Tokens: 2 sent  \n> Lint  \n\nfixed\n\n> Tokens: 3 sent  \n"
    )
    assert parse_session(text) == [Turn(None, "Go.", ("The plan:\n\n1. Edit.\n\nedits", "fixed"))]


def test_a_history_with_line_ends_of_windows_reads_the_same():
    text = "#### # run 1, attempt 1  \n#### Go.  \n\nDone.\n\n> Tokens: 1 sent  \n"
    assert parse_session(text.replace("\n", "\r\n")) == parse_session(text)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_before_a_session_costs_no_turn(tmp_path: Path, encoding: str):
    path = tmp_path / "s.md"
    path.write_bytes("#### # run 1, attempt 1\r\n\r\nWörter.\r\n".encode(encoding))
    (turn,) = read_session(path)
    assert (turn.label, [reply.strip() for reply in turn.replies]) == ("run 1, attempt 1", ["Wörter."])


@pytest.mark.parametrize("content", [None, "", "No prompt at all.\n"])
def test_a_session_without_turns_is_said(tmp_path: Path, content: str | None):
    path = tmp_path / "session.md"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"session\.md"):
        read_session(path)
