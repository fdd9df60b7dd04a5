"""The agent's words are found in whatever shape a model writes them, and code is never taken for words."""

import re

import pytest

from harness.agents.answer import LIMIT, parse, parse_all
from harness.campaign.turn import Turn, description

EDIT = """experiment.py
```python
<<<<<<< SEARCH
k = 40
=======
# PLAN: not a plan
ALL_COMPLETED
k = 20
>>>>>>> REPLACE
```
"""


@pytest.mark.parametrize(
    "reply",
    [
        "PLAN:\n1. k=20\n2. k=80\nHYPOTHESIS: l0 falls to 20\n",
        "## Plan\n1. k=20\n2. k=80\n\n## Hypothesis\nl0 falls to 20\n",
        "**Plan:**\n1. k=20\n2. k=80\n\n**Hypothesis:** l0 falls to 20\n",
        "**Plan**:\n1. k=20\n2. k=80\n\n**Hypothesis**: l0 falls to 20",
        "Plan\n\n1. k=20\n2. k=80\nHypothesis - l0 falls to 20",
        "Revised plan (after run 1):\r\n1. k=20\r\n2. k=80\r\n\r\nHypothesis for run 2 — l0 falls to 20\r\n",
        "### 1. PLAN\n1. k=20\n2. k=80\n### 2. HYPOTHESIS\nl0 falls to 20",
        "Here it is.\n\n__Plan for the runs that are left__:\n1. k=20\n2. k=80\n# Hypothesis: l0 falls to 20",
    ],
)
def test_headings_are_found_in_every_shape(reply):
    for text in (reply, reply + "\n" + EDIT, reply + "\n" + EDIT + "\nThat is all."):
        answer = parse(text)
        assert answer.plan == "1. k=20\n2. k=80"
        assert answer.hypothesis == "l0 falls to 20"


def test_all_parts_of_one_reply_are_kept_apart():
    answer = parse(
        "INTERPRETATION: run 1 did nothing.\n\nPLAN:\n- a\n- b\n\nHYPOTHESIS: `core.mse` falls.\n\n"
        f"EDITS:\n{EDIT}\nNOTES: k is halved.\nSecond line.\n"
    )
    assert answer.interpretation == "run 1 did nothing."
    assert answer.plan == "- a\n- b"
    assert answer.hypothesis == "`core.mse` falls."
    assert answer.description == "k is halved.\nSecond line."
    assert not answer.all_completed


def test_prose_that_only_mentions_a_heading_is_no_heading():
    answer = parse("Plan to use fewer latents.\nThe plan: none.\n- Hypothesis: in a list\n2. Notes: in a list\nthe code\n")
    assert answer.hypothesis == ""
    assert answer.plan.startswith("none.")
    assert "- Hypothesis: in a list\n2. Notes: in a list" in answer.plan
    assert parse("Plan to use fewer latents.").plan == ""


def test_subheadings_stay_in_their_part_and_the_next_heading_ends_it():
    answer = parse("## Plan\n### First\nk=20\n## Implementation\nI halve k.\n")
    assert answer.plan == "### First\nk=20"
    assert answer.description == "## Implementation\nI halve k."


def test_without_headings_the_prose_is_the_description_and_edits_are_not():
    answer = parse(f"I halve k.\n\n{EDIT}\nThat makes it sparser.\n")
    assert answer.description == "I halve k.\n\nThat makes it sparser."
    assert answer.hypothesis == "" and answer.plan == ""


@pytest.mark.parametrize(
    "code",
    [
        "```python\nPLAN: no\nALL_COMPLETED\n```",
        "````\n```\nPLAN: no\nALL_COMPLETED\n```\n````",
        "~~~\nPLAN: no\n```\nALL_COMPLETED\n~~~",
        "experiment.py\n```\nPLAN: no\nALL_COMPLETED\n```",
        "<<<<<<< SEARCH\nPLAN: no\n=======\n```\nALL_COMPLETED\n>>>>>>> REPLACE",
        "```python\nexperiment.py\n<<<<<<< SEARCH\n'''\n```\nPLAN: no\n```\n'''\n=======\nALL_COMPLETED\n>>>>>>> REPLACE\n```",
        "```python\nx\nPLAN: no\nALL_COMPLETED",
    ],
)
def test_code_is_never_prose(code):
    answer = parse(f"I change k.\n{code}")
    assert answer.description == "I change k."
    assert answer.plan == ""
    assert not answer.all_completed


def test_a_fence_that_was_not_closed_after_an_edit_swallows_nothing():
    unclosed = EDIT.rstrip("`\n")
    answer = parse(f"{unclosed}\n\nNOTES: kept\n\n{EDIT}\nINTERPRETATION: kept too\nALL_COMPLETED")
    assert answer.description == "kept"
    assert answer.interpretation == "kept too"
    assert answer.all_completed


@pytest.mark.parametrize(
    "reply",
    ["ALL_COMPLETED", "Done.\n\n**ALL_COMPLETED**\n", "ALL_COMPLETED.\r\n", "PLAN: none\nALL_COMPLETED", "## ALL_COMPLETED"],
)
def test_all_completed_on_a_line_of_its_own_counts(reply):
    assert parse(reply).all_completed
    assert "ALL_COMPLETED" not in parse(reply).description


@pytest.mark.parametrize(
    "reply",
    [
        "I do not say ALL_COMPLETED yet.",
        "> ALL_COMPLETED",
        "    ALL_COMPLETED",
        "`ALL_COMPLETED`",
        '"ALL_COMPLETED"',
        "3. ALL_COMPLETED",
        "- ALL_COMPLETED",
        "ALL_COMPLETED?",
        "NOT ALL_COMPLETED",
        "all_completed",
    ],
)
def test_all_completed_elsewhere_does_not_count(reply):
    assert not parse(reply).all_completed


@pytest.mark.parametrize("reply", ["", "\n\n", "\x00\x1b[31m\ud800", "```", "PLAN:", "<<<<<<< SEARCH", ">>>>>>> REPLACE"])
def test_any_text_is_an_answer(reply):
    answer = parse(reply)
    assert answer.plan == answer.hypothesis == answer.interpretation == ""
    assert not answer.all_completed


@pytest.mark.parametrize(
    "piece",
    [
        "PLAN: x\n",
        "* " * 60 + "\n",
        " " * 119 + "\n",
        "#" * 119 + "\n",
        "```\n",
        "```python\n<<<<<<< SEARCH\n=======\n>>>>>>> REPLACE\n",
        "<<<<<<< SEARCH\n",
        "my the our plan for " + "a" * 100 + "\n",
        "a.b/" * 50 + "\n```\n",
        "\x1b[" + "0" * 100,
        "\x1b]" + "x" * 600,
        "`" * 100,
        " ",
        "*",
        "\r",
    ],
)
def test_a_hostile_reply_is_read_in_one_pass(piece):
    answer = parse(piece * (1_000_000 // len(piece)))
    assert len(answer.plan) <= LIMIT + 100
    assert len(answer.description) <= LIMIT + 100


def test_a_reply_of_ten_megabytes_is_read():
    answer = parse(f"HYPOTHESIS: it falls\n{EDIT}" + f"x = 1  # {'-' * 90}\n" * 100_000 + "NOTES: done\nALL_COMPLETED\n")
    assert (answer.hypothesis, answer.description, answer.all_completed) == ("it falls", "done", True)


def test_a_part_is_cut_at_its_limit_and_says_so():
    answer = parse("PLAN: " + "x" * (LIMIT + 5))
    assert re.search(r"\[cut: 5 characters more\]$", answer.plan)


def test_what_a_correction_repeats_counts_once():
    first = "PLAN:\n1. faster\nHYPOTHESIS: the loss falls.\n" + EDIT + "NOTES: k is halved.\nVARIES: k\n"
    answer = parse_all([first, first.replace("halved", "20").replace("VARIES: k", "")])
    assert (answer.plan, answer.hypothesis, answer.description) == ("1. faster", "the loss falls.", "k is 20.")
    assert answer.varies == ("k",) and answer.noted


def test_a_correction_without_parts_of_its_own_takes_none_away():
    answer = parse_all(["HYPOTHESIS: the loss falls.\nNOTES: k is halved.\n" + EDIT, "Sorry, here it is.\n" + EDIT])
    assert (answer.hypothesis, answer.description) == ("the loss falls.", "k is halved.")
    assert parse_all(["I halve k.\n" + EDIT, "Sorry, here it is.\n" + EDIT]).description == "I halve k."
    assert parse_all([]) == parse("")


def turn(attempt: int, text: str, words: str = "") -> Turn:
    answer = parse(text)
    return Turn(run=1, attempt=attempt, description=answer.description, noted=answer.noted, words=words)


def test_a_run_is_described_by_its_first_notes_and_what_repairs_add():
    turns = [
        turn(1, "NOTES: k is halved.\nNothing else changed."),
        turn(2, "NOTES: None."),
        turn(3, "You are right: mended."),
    ]
    assert description(turns) == "k is halved.\nNothing else changed."
    turns += [turn(4, "NOTES: K is *halved*.\nThe import was missing."), turn(5, "", "Written into notes.txt.")]
    assert description(turns) == (
        "k is halved.\nNothing else changed.\n\nThe import was missing.\n\nWritten into notes.txt."
    )


def test_a_run_without_notes_is_described_by_its_first_prose():
    assert description([turn(1, "I halve k."), turn(2, "You are right: that did nothing. Here it is.")]) == "I halve k."
    assert description([turn(1, "I halve k.", "k: 5 -> 3"), turn(2, "Mended.")]) == "k: 5 -> 3"
    assert description([turn(1, "")]) == ""
