"""The table of a campaign's runs: what `log` shows, what stands above the live view, and the same as CSV and JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from ...campaign.metric_names import how_to_name
from ...campaign.numbers import row as numbers_of
from ...campaign.numbers import titled
from ...campaign.text import duration, in_words, line, reference_in_words
from .columns import Cell, Column, fitted, table, wrap
from .difference import PLUS_MINUS, beyond, set_with_errors, with_words
from .held_out import sentences
from .status import CampaignStatus, Primary, Row
from .status_page import cost_of, tokens

COLOURS = {
    "improved": "green",
    "worse": "red",
    "failed": "red",
    "crashed": "red",
    "in_hand": "cyan",
    "all_completed": "green",
    "baseline": None,
    "not_significant": None,
    "completed": None,
}
"""Of a verdict or a status; another one is something to look at."""
OTHER = "yellow"
_LONGEST_TITLE = 18

CSV = (
    *("run", "attempt", "status", "verdict", "metric", "value", "standard_error", "seeds", "baseline", "reference"),
    *("difference", "difference_standard_error", "low", "high", "parent", "commit"),
    *("tokens_sent", "tokens_received", "cost_usd", "seconds", "description", "parent_verdict", "round"),
)
"""The columns of `harness log --csv`, which programs rely on. Those of what was searched follow: `searched.lr`."""


def outcome(row: Row) -> str:
    """What became of it in one word: of a run its verdict, of an attempt its status."""
    return row.verdict or row.status


def run_table(rows: Sequence[Row], primary: Primary | None, width: int) -> list[str]:
    """A header and a line for each run, and for each attempt that was none, below what its round started from where
    there are rounds. A line is no wider than `width`."""
    return table(*_cells(rows, primary), width)


def table_and_rest(rows: Sequence[Row], primary: Primary | None, width: int, name: str) -> tuple[list[str], str]:
    """Such a table of the campaign `name`, and for which columns it has no room, in a sentence; "" where it has all."""
    lines, found = fitted(*_cells(rows, primary), width)
    return (
        lines,
        f"The terminal is too narrow for {', '.join(found)}: `harness log {name} --csv` has every column." if found else "",
    )


def _cells(rows: Sequence[Row], primary: Primary | None) -> tuple[list[Column], list[dict[str, Cell]]]:
    rows = [row for row in rows if row.attempt is None or row.status != "completed"]
    others = list(dict.fromkeys(name for row in rows for name in row.metrics))
    columns = [
        Column("run", "run"),
        Column("outcome", "verdict"),
        Column("value", titled(_end_of(primary.name), primary.unit) if primary else "", right=True),
        *(Column(name, title, right=True, drop=10 + place) for place, (name, title) in enumerate(_titles(others).items())),
        Column("reference", "reference", right=True, drop=4),
        Column("difference", "difference", right=True, drop=1),
        *([Column("parent", "vs parent", drop=2)] if any(row.parent_verdict for row in rows) else []),
        Column("seeds", "seeds", right=True, drop=3),
        Column("tokens", "tokens", right=True, drop=8),
        Column("cost", "cost", right=True, drop=6),
        Column("time", "time", right=True, drop=7),
        Column("description", "hypothesis", least=24, drop=5),
    ]
    values = set_with_errors([row.value for row in rows], [row.error for row in rows])
    differences = set_with_errors([row.difference for row in rows], [row.difference_error for row in rows], signs=True)
    of = [row.baseline if row.difference is not None else None for row in rows]
    if any(each not in (None, rows[0].value) for each in of):  # else it is the baseline's row
        references = set_with_errors(of, [row.baseline_error for row in rows])
    else:
        references = [""] * len(rows)
    description = [decided(row, primary) for row in rows]
    differences = with_words(differences, description)
    numbers = {name: numbers_of([row.metrics.get(name) for row in rows]) for name in others}
    cells: list[dict[str, Cell]] = []
    headings = _headings(rows)
    before = ""
    for place, (row, value, difference, word) in enumerate(zip(rows, values, differences, description, strict=True)):
        now = headings.get(row.run, "")
        if now != before:
            cells.append({"": Cell(now)})
            before = now
        name, colour = outcome(row), {"better": "green", "worse": "red"}.get(word)
        cells.append(
            {
                "run": Cell(str(row.run) if row.attempt is None else f"{row.run}.{row.attempt}"),
                "outcome": Cell(in_words(name), COLOURS.get(name, OTHER), dim=row.attempt is not None),
                "value": Cell(value),
                **{other: Cell(texts[place]) for other, texts in numbers.items()},
                "reference": Cell(references[place]),
                "difference": Cell(difference, colour),
                "parent": Cell(
                    f"{row.parent}: {in_words(row.parent_verdict)}" if row.parent_verdict else "",
                    COLOURS.get(row.parent_verdict, OTHER) if row.parent_verdict else None,
                ),
                "seeds": Cell(str(row.seeds) if row.seeds else ""),
                "tokens": Cell(row.usage.counted(tokens(row.usage.tokens))),
                "cost": Cell(cost_of(row.usage)),
                "time": Cell("given" if row.given else short_duration(row.seconds)),
                "description": Cell(row.description),
            }
        )
    return columns, cells


def _headings(rows: Sequence[Row]) -> dict[int, str]:
    """Of each run, where there are rounds: its round, and what it started from."""
    recorded = {row.run: row for row in rows if row.attempt is None}
    in_hand = dict.fromkeys(row.run for row in rows if row.run not in recorded)
    if not any(row.round for row in recorded.values()):
        return {}
    rounds = {run: f"round {row.round}, " if row.round else "" for run, row in recorded.items() if run}
    said = {run: f"{of_a_round}from run {recorded[run].parent}" for run, of_a_round in rounds.items()}
    return said | dict.fromkeys(in_hand, "round in hand" if len(in_hand) > 1 else "in hand")


def two_verdicts(rows: Sequence[Row]) -> str:
    """What a verdict against the baseline means beside another one against the parent; "" where they say the same."""
    differ = any(row.verdict == "improved" and row.parent_verdict not in ("", "improved") for row in rows)
    said = "The verdict is against the baseline, beside it stands that against the run that each started from (vs parent)."
    return f"{said} Accepted is a run that improved on both: the next ones start from it." if differ else ""


def naming(rows: Sequence[Row], width: int) -> list[str]:
    """How a metric is named that decides, where none does; what is to be written stands on a line of its own."""
    before, colon, toml = how_to_name(name for row in rows for name in row.metrics).partition("for example: ")
    return ["", *wrap(before + colon.rstrip(), width, "", ""), f"  {toml.removesuffix('.')}"] if toml else []


def _titles(names: Sequence[str]) -> dict[str, str]:
    """The ends of these names, of each as much as tells it from the others."""
    titles = {name: _end_of(name) for name in names}
    for room in range(_LONGEST_TITLE, max(map(len, names), default=0)):
        for name, title in titles.items():
            if any(other != name and line(other).endswith(title.removeprefix("…")) for other in names):
                titles[name] = _end_of(name, room + 1)
    return titles


def _end_of(name: str, room: int = _LONGEST_TITLE) -> str:
    """The end of a long name, which tells more than its beginning: the parts of it for which there is room."""
    parts = re.split(r"(?<=[./_])", line(name))
    while len(parts) > 1 and sum(map(len, parts)) > room:
        del parts[0]
    end = "".join(parts)
    return end if end == line(name) else f"…{end}"


def decided(row: Row, primary: Primary | None) -> str:
    """`better` or `worse` where the difference is beyond the noise, as the verdict measures it."""
    if primary is None or row.low is None or row.high is None:
        return ""
    word = beyond(row.low, row.high, primary.better)
    return "" if word == "not significant" else word


def against_baseline(row: Row, primary: Primary | None) -> str:
    """What a run's code is worth against the baseline, in a sentence; empty where it has no reference."""
    if primary is None or row.difference is None:
        return ""
    [number] = set_with_errors([row.difference], [row.difference_error], signs=True)
    word = f", {decided(row, primary)}" if decided(row, primary) else ""
    return f"Against {reference_in_words(row.reference)}: {primary.name} {number.strip()}{word}."


def log(status: CampaignStatus, width: int) -> str:
    """The table, and how to read it."""
    if not status.rows:
        return f"{status.name}: no run yet."
    primary = status.primary
    lines, unseen = table_and_rest(status.rows, primary, width, status.name)
    if primary is None:
        lines += naming(status.rows, width)
    else:
        said = f"{titled(primary.name, primary.unit)}: {primary.better} is better."
        if any(row.error is not None for row in status.rows):
            said += f" {PLUS_MINUS}"
        references = dict.fromkeys(row.reference for row in status.rows if row.reference)
        if references:
            where = ", as executed at each run's final seeds" if _has_own_baseline(status.rows) else ""
            said += f" Verdict and difference: from {' or '.join(reference_in_words(name) for name in references)}{where}."
        said += f" {two_verdicts(status.rows)}" if two_verdicts(status.rows) else ""
        said += f" {unseen}" if unseen else ""
        lines += ["", *(click.style(each, dim=True) for each in wrap(said, width, "", ""))]
        for sentence in sentences(status.held_out, primary.name):
            lines += ["", *wrap(sentence, width, "", "")]
    for sentence in status.remedies:
        lines += ["", *wrap(sentence, width, "", "")]
    return "\n".join(lines)


def _has_own_baseline(rows: Sequence[Row]) -> bool:
    """Whether a run was compared with other executions of the baseline than those of the table's first row."""
    known = {row.value for row in rows if row.run == 0}
    return any(row.reference == "run_0" and row.baseline not in (None, *known) for row in rows)


def log_facts(status: CampaignStatus) -> list[dict[str, Any]]:
    """The same facts for programs, an object a row; `metric` names what `value` and `baseline` are of."""
    metric = status.primary.name if status.primary else None
    return [asdict(row) | {"metric": metric} for row in _counted_once(status.rows)]


def _counted_once(rows: Sequence[Row]) -> list[Row]:
    """Each run, and each attempt that was none: of an attempt that became a run, all stands in the row of that."""
    recorded = {row.run for row in rows if row.attempt is None}
    return [row for row in rows if row.attempt is None or row.status != "completed" or row.run not in recorded]


def log_columns(status: CampaignStatus) -> list[str]:
    """The header of `harness log --csv`: a column for each name that a search searched, too."""
    return [*CSV, *(f"searched.{name}" for name in _searched(status))]


def _searched(status: CampaignStatus) -> list[str]:
    return list(dict.fromkeys(name for row in status.rows for name in row.searched))


def log_records(status: CampaignStatus) -> list[list[Any]]:
    """The same facts under the header `log_columns`."""
    metric, searched = status.primary.name if status.primary else None, _searched(status)
    return [
        [
            *(row.run, row.attempt, row.status, row.verdict, metric, row.value, row.error, row.seeds or None),
            *(row.baseline, row.reference, row.difference, row.difference_error, row.low, row.high),
            *(row.parent, row.commit),
            *((None, None) if row.usage.has_unknown_tokens else (row.usage.sent, row.usage.received)),
            *(row.usage.cost, row.seconds, row.description, row.parent_verdict or None, row.round),
            *(row.searched.get(name) for name in searched),
        ]
        for row in _counted_once(status.rows)
    ]


def short_duration(seconds: float) -> str:
    """`0.6 s`, `17 s`, `12 min`: for a column."""
    return duration(round(seconds) if seconds >= 10 else round(seconds, 1))
