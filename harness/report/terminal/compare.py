"""Runs of several campaigns side by side, and whether their numbers may stand beside each other at all.

Each run is compared within its own campaign, with its baseline or matched control; between campaigns nothing is
tested. Campaigns are held against the first one named.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click
from pydantic import ValidationError

from ...campaign.campaign import Campaign
from ...campaign.contract import Contract
from ...campaign.errors import CannotGoOn, InputError
from ...campaign.layout import Layout
from ...campaign.numbers import setting, titled
from ...campaign.repository import Repository
from ...campaign.text import in_words, line
from ...statistics.comparability import measured_with
from .columns import Cell, Column, table, wrap
from .difference import PLUS_MINUS, Difference, beside, set_with_errors, with_words
from .record_page import NO_REFERENCE, WORD_COLOURS, differences, word
from .run_table import COLOURS, OTHER
from .status import baseline_verdict, values_of

CSV = (
    *("campaign", "comparable", "run", "status", "verdict", "metric", "value", "standard_error", "seeds"),
    *("reference", "difference", "difference_standard_error", "word", "parent", "commit", "cost_usd", "seconds"),
    "settings",
)
"""The columns of `harness compare --csv`, which programs rely on. `settings` is a JSON object of those that differ."""

_PROSE = {"description", "interface", "readable", "auxiliary", "smoke", "limits", "training_log", "default_profile"}
"""What a contract may say otherwise without another meaning of any number."""
_PROSE_OF_METRICS = {"label", "unit", "target", "guard"}
_NO_REASON = {"host", "system", "agent", "model", "sandbox", "limits", "mps"}
"""Of an environment: what no number of an experiment depends on."""
_LISTED = 6
_SETTINGS = "settings that differ"


@dataclass(frozen=True)
class Side:
    """A campaign as it is compared."""

    name: str
    folder: str
    contract: Contract
    profile: str
    records: tuple[Mapping[str, Any], ...]
    code: Mapping[str, str] | None
    """Of the untouched experiment, path by path, what tells two contents apart; None where git cannot say."""

    @property
    def baseline(self) -> Mapping[str, Any]:
        return self.records[0]

    def settings(self, run: int) -> dict[str, Any]:
        """Those that the run reported, of those that it has."""
        found = self.records[run]["settings"]
        return {name: each["value"] for name, each in found.items() if each["value"] is not None}


@dataclass(frozen=True)
class Entry:
    """One run as a line of the comparison."""

    side: Side
    record: Mapping[str, Any]
    value: float | None
    value_error: float | None
    seeds: int
    found: Difference | None
    """From the run's reference in its own campaign; None for a baseline and for a run without a reference."""
    settings: Mapping[str, Any]
    """Those that differ between any of the runs that are compared; None for one that this run does not have."""
    standard: Mapping[str, Any]
    """The same of the run's baseline, or for a baseline of the first campaign's."""

    @property
    def verdict(self) -> str:
        """Against the baseline of its campaign."""
        primary = self.side.contract.primary
        return baseline_verdict(self.record["verdict"], primary.better if primary else None)


@dataclass(frozen=True)
class Comparison:
    """What `harness compare` shows."""

    metric: str
    better: str | None
    unit: str
    sides: tuple[Side, ...]
    reasons: tuple[tuple[str, ...], ...]
    """For each campaign why it is not comparable with the first; empty where it is."""
    entries: tuple[Entry, ...]


def compare(layouts: Sequence[Layout], metric: str | None = None) -> Comparison:
    """The runs of these campaigns by `metric`, or by the first campaign's primary one.

    Raises InputError where no run has it, CannotGoOn where a campaign cannot be read.
    """
    unique = {layout.root.resolve(): layout for layout in layouts}
    names = [layout.name for layout in unique.values()]
    sides = tuple(
        _read(layout, layout.name if names.count(layout.name) == 1 else str(layout.root)) for layout in unique.values()
    )
    metric = _metric(sides, metric)
    known = [m for side in sides for m in side.contract.metric if m.name == metric]
    better = next((m.better for m in known if m.better), None)
    unit = next((m.unit for m in known if m.unit), "")
    reasons = tuple(tuple(_reasons(sides[0], side)) for side in sides)
    return Comparison(metric, better, unit, sides, reasons, tuple(_entries(sides, metric)))


def render(compared: Comparison, width: int) -> str:
    """For a terminal: which campaigns are comparable, the table of runs, and how to read it."""
    lines: list[str] = []
    for side, reasons in zip(compared.sides[1:], compared.reasons[1:], strict=True):
        first = compared.sides[0].name
        if not reasons:
            same = "same contract, profile, settings of scale, baseline code and environment"
            lines += wrap(f"{side.name} is comparable with {first}: {same}.", width, "", "  ")
            continue
        head = wrap(f"{side.name} is not comparable with {first}:", width, "", "  ")
        lines += [click.style(each, fg=OTHER) for each in head]
        for reason in reasons:
            lines += wrap(line(reason), width, "  - ", "    ")
    about = "; ".join(filter(None, [compared.unit, f"{compared.better} is better" if compared.better else ""]))
    lines += [*([""] if lines else []), click.style(titled(line(compared.metric), about), bold=True)]
    shown = _table(compared, width)
    has_settings = _SETTINGS in click.unstyle(shown[0])
    return "\n".join([*lines, "", *shown, "", *_legend(compared, has_settings, width)])


def facts(compared: Comparison) -> dict[str, Any]:
    """The same for programs."""
    return {
        "metric": compared.metric,
        "better": compared.better,
        "campaigns": [
            {"name": side.name, "folder": side.folder, "comparable": not reasons, "reasons": list(reasons)}
            for side, reasons in zip(compared.sides, compared.reasons, strict=True)
        ],
        "runs": [dict(zip(CSV, row, strict=True)) for row in _rows(compared)],
    }


def records(compared: Comparison) -> list[list[Any]]:
    """The runs under the header `CSV`."""
    return [[*row[:-1], json.dumps(row[-1], ensure_ascii=False)] for row in _rows(compared)]


def _read(layout: Layout, name: str) -> Side:
    campaign = Campaign(layout.root.absolute())
    try:
        contract, options = campaign.contract, campaign.options()
        found = [record.model_dump() for record in campaign.read_records()]
    except ValidationError as error:
        raise CannotGoOn(f"{layout.root}: its options or a record cannot be read: {error}") from error
    if not found:
        raise InputError(f"{name}: no run has a record yet, so there is nothing to compare. `harness status` says more.")
    code = None
    if (campaign.root / ".git").exists():
        try:
            repository = Repository(campaign.root, campaign.local)
            code = repository.blobs(found[0]["commit"], campaign.experiment_files)
        except CannotGoOn:
            code = None
    return Side(name, str(layout.root), contract, options.profile, tuple(found), code)


def _metric(sides: Sequence[Side], wanted: str | None) -> str:
    primary = sides[0].contract.primary
    metric = wanted or (primary.name if primary else None)
    known = dict.fromkeys(name for side in sides for record in side.records for name in record["metrics"])
    listed = f"There is: {', '.join(map(line, known)) or 'none'}."
    if metric is None:
        raise InputError(f"{sides[0].name}: no primary metric is named; choose one with --metric. {listed}")
    if metric not in known:
        raise InputError(f"--metric {metric}: no run has it. {listed}")
    return metric


def _reasons(first: Side, side: Side) -> Iterator[str]:
    """Why the numbers of `side` may not stand beside those of `first`, a sentence each."""
    if side is first:
        return
    if side.profile != first.profile:
        yield f"profile: {side.profile or 'none'} against {first.profile or 'none'}"
    other = [*_other_contract(first.contract, side.contract)]
    if other:
        yield f"contract: {_few(other)} differ{'s' if len(other) == 1 else ''}"
    mine, theirs = side.settings(0), first.settings(0)
    names = dict.fromkeys([*first.contract.comparable, *side.contract.comparable, *measured_with(theirs, mine)])
    scale = [
        f"{name} {_value(mine.get(name))} against {_value(theirs.get(name))}"
        for name in names
        if mine.get(name) != theirs.get(name)
    ]
    if scale:
        yield f"scale of the baseline: {_few(scale)}"
    without = [each.name for each in (first, side) if each.code is None]
    if without:
        yield f"baseline code: cannot be told, since {' and '.join(without)} came without the git repository"
    elif side.code != first.code and side.code is not None and first.code is not None:
        paths = sorted({*side.code, *first.code})
        yield f"baseline code: {_few([path for path in paths if side.code.get(path) != first.code.get(path)])} differ"
    here, there = side.baseline["environment"], first.baseline["environment"]
    changed = [
        name for name in dict.fromkeys([*there, *here]) if name not in _NO_REASON and here.get(name) != there.get(name)
    ]
    if changed:
        said = [f"{name} {here.get(name, 'unknown')} against {there.get(name, 'unknown')}" for name in changed]
        yield f"environment: {_few(said)}"


def _other_contract(first: Contract, other: Contract) -> Iterator[str]:
    """The keys of two contracts that decide what a number means and differ. Settings are compared as runs report them."""
    mine, theirs = (contract.model_dump(exclude=_PROSE | {"profiles", "metric"}) for contract in (other, first))
    yield from (key for key in theirs if mine[key] != theirs[key])
    metrics = [
        {metric.name: metric.model_dump(exclude=_PROSE_OF_METRICS) for metric in contract.metric}
        for contract in (other, first)
    ]
    for name in dict.fromkeys([*metrics[1], *metrics[0]]):
        if metrics[0].get(name) != metrics[1].get(name):
            yield f"metric {name}"


def _entries(sides: Sequence[Side], metric: str) -> Iterator[Entry]:
    used = {(place, run): side.settings(run) for place, side in enumerate(sides) for run in range(len(side.records))}
    reported = [settings for settings in used.values() if settings]
    names = dict.fromkeys(name for settings in reported for name in settings)
    differing = [name for name in names if len({json.dumps(each.get(name)) for each in reported}) > 1]
    for place, side in enumerate(sides):
        contract = {"metric": [{"name": m.name, "better": m.better, "primary": m.primary} for m in side.contract.metric]}
        for run, record in enumerate(side.records):
            number = record["metrics"].get(metric)
            values = values_of(number) if number else []
            found = differences(record, side.baseline, contract).get(metric)
            own = found or (beside(values, values, None) if values else None)
            yield Entry(
                side=side,
                record=record,
                value=number["value"] if number else None,
                value_error=own.value_error if own else None,
                seeds=len(values),
                found=None if record["verdict"]["kind"] in NO_REFERENCE else found,
                settings={name: used[place, run].get(name) for name in differing},
                standard={name: used[place if run else 0, 0].get(name) for name in differing},
            )


def _table(compared: Comparison, width: int) -> list[str]:
    entries = compared.entries
    columns = [
        Column("run", "run", right=True),
        Column("verdict", "verdict"),
        Column("value", "value", right=True),
        Column("difference", "difference", right=True, drop=1),
        Column("seeds", "seeds", right=True, drop=3),
        Column("settings", _SETTINGS, least=20, wraps=True, drop=2),
    ]
    values = set_with_errors([each.value for each in entries], [each.value_error for each in entries])
    found = [each.found for each in entries]
    shown = set_with_errors(
        [each.difference if each else None for each in found], [each.error if each else None for each in found], signs=True
    )
    kinds = [in_words(each.verdict) for each in entries]
    words = [word(each.record, each.found) if each.found else "" for each in entries]
    words = ["" if each == kind else each for each, kind in zip(words, kinds, strict=True)]
    shown = with_words(shown, words)
    rows = []
    for place, entry in enumerate(entries):
        if len(compared.sides) > 1 and (place == 0 or entries[place - 1].side is not entry.side):
            rows.append({"": Cell(entry.side.name)})
        rows.append(
            {
                "run": Cell(str(entry.record["run"])),
                "verdict": Cell(kinds[place], COLOURS.get(entry.verdict, OTHER)),
                "value": Cell(values[place]),
                "difference": Cell(shown[place], WORD_COLOURS.get(words[place])),
                "seeds": Cell(str(entry.seeds) if entry.seeds else ""),
                "settings": Cell(_settings(entry)),
            }
        )
    return table(columns, rows, width)


def _legend(compared: Comparison, has_settings: bool, width: int) -> list[str]:
    said = "Difference: from the baseline of the same campaign, or from the run's matched control."
    if any(entry.value_error for entry in compared.entries):
        said += f" {PLUS_MINUS}"
    primary = compared.sides[0].contract.primary
    if primary is not None and primary.name != compared.metric:
        said += f" Verdicts are about {line(primary.name)}."
        said += " better, worse: two-sided p < 0.05, not corrected."
    if len(compared.sides) > 1:
        said += " Nothing is tested between campaigns."
    if has_settings:
        said += " Settings: where a run's are not its baseline's, as it reported them"
        said += f"; of a baseline where they are not those of {compared.sides[0].name}." if compared.sides[1:] else "."
    return [click.style(each, dim=True) for each in wrap(said, width, "", "")]


def _rows(compared: Comparison) -> Iterator[list[Any]]:
    reasons = dict(zip((side.folder for side in compared.sides), compared.reasons, strict=True))
    for entry in compared.entries:
        record, found = entry.record, entry.found
        verdict = record["verdict"]
        yield [
            *(entry.side.name, not reasons[entry.side.folder], record["run"], record["status"], entry.verdict),
            *(compared.metric, entry.value, entry.value_error, entry.seeds),
            ((verdict["against_baseline"] or {}).get("reference") or "run_0") if found else None,
            *((found.difference, found.error, word(record, found)) if found else (None, None, None)),
            *(record["parent"], record["commit"], record["usage"]["cost"], record["seconds"]),
            dict(entry.settings),
        ]


def _settings(entry: Entry) -> str:
    """`rate=0.1, without mode`: where they differ from the standard."""
    if not any(value is not None for value in entry.settings.values()):
        return ""  # a run that failed reported none
    changed = {name: value for name, value in entry.settings.items() if value != entry.standard[name]}
    said = [f"{line(name)}={_value(value)}" for name, value in changed.items() if value is not None]
    without = [line(name) for name, value in changed.items() if value is None]
    return ", ".join([*said, *([f"without {', '.join(without)}"] if without else [])])


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED} more" if len(names) > _LISTED else shown


def _value(value: Any) -> str:
    return "not reported" if value is None else setting(value)
