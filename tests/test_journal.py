"""The journal: a line that is damaged is told by its number, whatever its shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.campaign.errors import CannotGoOn
from harness.campaign.journal import Journal, read_events

TIME = '"time": "2026-11-20T07:00:00Z"'


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{}", "event: expected str, found nothing"),
        ("[]", "expected an object, found list"),
        ("7", "expected an object, found int"),
        ("[" * 100_000, "recursion"),
        ("{\\xff", "Expecting property name"),
        (f'{{{TIME}, "event": "done", "step": "start", "seconds": 1}}', "result: expected .*, found nothing"),
        (f'{{{TIME}, "event": "done", "step": 3, "seconds": 1, "result": null}}', "step: expected str, found int"),
        (
            f'{{{TIME}, "event": "done", "step": "start", "seconds": "1", "result": null}}',
            "seconds: expected int or float, found str",
        ),
        (
            f'{{{TIME}, "event": "done", "step": "start", "seconds": 1, "result": {{"outcome": {{"seconds": "1"}}}}}}',
            "outcome.seconds: expected a number, found str",
        ),
        (f'{{{TIME}, "event": "turn_failed", "step": "x", "usage": []}}', "usage: expected dict, found list"),
        (f'{{{TIME}, "event": "options", "changes": "max_runs"}}', "changes: expected dict, found str"),
        ('{"event": "opened"}', "time: expected str, found nothing"),
    ],
)
def test_a_damaged_line_of_any_shape_is_one_sentence_with_its_number(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append("opened")
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(
        CannotGoOn, match=f"(?s)journal.jsonl: line 2 is damaged \\(.*{what}.*checkout main -- journal.jsonl"
    ):
        read_events(path)


def test_what_the_journal_writes_it_reads(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for result in (
        None,
        [],
        [1],
        {"usage": {"cost": None}},
        {"outcome": {"seconds": 1.5}},
        "text",
        True,
        {"name": "\udcff.json"},
    ):
        journal.once(f"step {json.dumps(result)}", lambda result=result: result)
    assert read_events(tmp_path / "journal.jsonl") == journal.events


def test_a_journal_that_cannot_be_read_is_one_sentence_too(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(
        CannotGoOn, match=r"journal.jsonl: cannot be read: Is a directory\. .*checkout main -- journal.jsonl"
    ):
        read_events(tmp_path / "journal.jsonl")
