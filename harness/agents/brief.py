"""The brief: everything the agent is told at one point.

The first brief of a run is a whole one: idea and rules first, the same bytes for every run of a campaign so that a
provider's prompt cache can hold them, then where the campaign stands. Later attempts of the run get a short one in the
same conversation.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..campaign.bibliography import without_citations
from ..campaign.contract import ENTRY, Contract, Profile, SanityRule, Setting
from ..campaign.idea import SCORES, Idea
from ..campaign.metric import Metric
from ..campaign.numbers import MISSING, compact, number, row, setting
from ..campaign.record import AttemptStatus, Record
from ..campaign.text import clean, clip, in_words, line, template
from ..campaign.turn import AttemptFailure
from ..statistics.noise import with_noise

MAX_OTHERS = 30
"""Rows of a table beyond the contract's metrics: an experiment may measure a number for each latent."""
RECENT = 2
"""Runs told in full because they are the last ones; the baseline, the parent and the best are so too."""
MAX_LINES = 10
"""Runs told in a line each; of those before them their verdicts are counted."""
MAX_SENTENCES = 5
"""Warnings and pieces of advice of one run."""

TAIL_LINES = 60
TAIL_CHARACTERS = 4_000
_READ_OF_OUTPUT = 200_000

_ENDED: dict[AttemptStatus, str] = {
    "completed": "completed, but its result was not accepted",
    "rejected": "was rejected by the pre-check",
    "smoke_test_failed": "failed the smoke test",
    "crashed": "crashed",
    "timed_out": "exceeded its time limit and was ended",
    "stalled": "printed and wrote nothing for too long and was ended",
    "out_of_memory": "ran out of memory",
    "too_much_output": "printed too much and was ended",
    "too_much_disk": "wrote too much to disk and was ended",
    "too_many_processes": "started too many processes and was ended",
    "aborted": "was ended early by a rule on its training log",
    "killed": "was killed from outside",
    "not_started": "could not be started",
    "left_no_result": "completed without a valid result",
    "no_answer": "got no usable answer",
}

_REVIEWER = """You advise a coding agent that takes a research idea through an experiment, run by run. You know the field. \
Judge what the last run shows, whether the change does what the idea asks for, and what could explain the numbers other \
than the idea. Then say what to do next, the most telling experiment first. At most 250 words. Numbers come from the \
table only; what the agent says is its opinion."""


@dataclass(frozen=True)
class Column:
    """One column of the results' table: a baseline or a run. `note` is what must be known of it to read it right."""

    label: str
    metrics: Mapping[str, float]
    settings: Mapping[str, Setting]
    note: str = ""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Standard errors of the means over seeds, where they are known."""
    seeds: int = 0


@dataclass(frozen=True)
class Situation:
    """Where a campaign stands before a run's first attempt.

    `settings` are the profile's as the campaign uses them, `columns` the baselines and then the runs, `parent` the run
    whose code the workspace holds, `best` the one that the next starts from, `messages` the user's words, `advice` the
    reviewer's, `person_diff` what the user changed in the code since, `notices` what the harness did that the agent should
    know (files put back, writes refused).
    """

    idea: Idea
    contract: Contract
    profile: str
    settings: Mapping[str, Setting]
    columns: tuple[Column, ...]
    records: tuple[Record, ...]
    run: int
    attempt: int
    max_runs: int
    plan: str = ""
    messages: tuple[str, ...] = ()
    advice: str | None = None
    parent: int = 0
    best: int = 0
    person_diff: str | None = None
    notices: tuple[str, ...] = ()
    width: int = 1
    siblings: tuple[str, ...] = ()
    """The other proposals of the round, a line each: they start from the same code, and nothing is known of them yet."""
    memory: tuple[str, ...] = ()
    """What other campaigns of the experiment tried, by outcome, a line each."""
    tried: int = 0
    """The attempt at this run whose change is in the code, 0 where none is."""
    taken_out_with: str = ""
    """The command that puts the code of `parent` back in place of it, for who drives from outside."""
    tried_with: str = ""
    """The command that hands a change in, where the campaign is driven from outside."""


def label(run: int, attempt: int) -> str:
    """What names a turn, for people and in recorded sessions."""
    return f"run {run}, attempt {attempt}"


def brief(situation: Situation) -> str:
    """The whole brief: what stays the same in a campaign, then where it stands."""
    contract = situation.contract
    comparable = contract.comparable_of(situation.profile)
    return _rendered(
        "brief.j2",
        idea=idea_in_words(situation.idea),
        contract=contract,
        description=without_citations(contract.description),
        limits=contract.limits_of(situation.profile),
        profile=situation.profile,
        about_profile=contract.profiles.get(situation.profile, Profile()).description,
        settings=settings_in_words(situation.settings, comparable),
        comparable=comparable,
        unmarked=[name for name in comparable if name not in situation.settings or "." in name],
        command=" ".join(contract.command).replace("{out_dir}", "run_i"),
        metrics=metrics_in_words(situation.contract.metrics_of(situation.profile)),
        sanity=rules_in_words(_concerned(contract.sanity, situation, comparable)),
        here=situation,
        label=label(situation.run, situation.attempt),
        **_runs_so_far(situation),
    )


def shortened(situation: Situation) -> Situation:
    """The situation with what a model of a small context can do without: only the last run besides the baseline."""
    return replace(
        situation,
        columns=situation.columns[:1] + situation.columns[1:][-1:],
        records=situation.records[-1:],
        advice=None,
        person_diff=None,
        memory=(),
    )


def repair_brief(run: int, attempt: int, attempts_left: int, failure: AttemptFailure, messages: tuple[str, ...] = ()) -> str:
    """What the agent is told after a failed attempt, in the same conversation.

    `attempt` is the one that it is now asked for, `attempts_left` counts that one too.
    """
    return _rendered(
        "repair.j2",
        failed=label(run, attempt - 1),
        ended=_ENDED[failure.status],
        failure=failure,
        output=relevant_end(failure.output_tail, failure.editable),
        messages=messages,
        run=run,
        label=label(run, attempt),
        attempts_left=attempts_left,
    )


def review_request(situation: Situation, diff: str) -> tuple[str, str]:
    """What a reviewer is asked after a run: the system's text, and idea, results, plan and the run's diff."""
    user = _rendered(
        "review.j2",
        idea=idea_in_words(situation.idea),
        metrics=metrics_in_words(situation.contract.metrics_of(situation.profile)),
        here=situation,
        diff=diff,
        **_runs_so_far(situation),
    )
    return _REVIEWER, user


def _rendered(name: str, **values: Any) -> str:
    return template(name).render(**values).strip() + "\n"


def _runs_so_far(situation: Situation) -> dict[str, Any]:
    """What the templates show of the runs so far. Its size does not grow with their number."""
    tried = [r for r in situation.records if r.verdict.kind != "baseline" or r.warnings]
    in_full = {0, situation.parent, situation.best, *(record.run for record in tried[-RECENT:])}
    beside = {f"run_{record.run}" for record in tried if record.run not in in_full}
    columns = tuple(column for column in situation.columns if column.label not in beside)
    earlier = [record for record in tried if record.run not in in_full]
    counted = Counter(in_words(record.verdict.kind) for record in earlier[:-MAX_LINES])
    primary = situation.contract.primary
    return {
        "columns": columns,
        "results": results_table(columns, [metric.name for metric in situation.contract.metric]),
        "differing": settings_table(columns),
        "history": [record for record in tried if record.run in in_full],
        "before": ", ".join(f"{number} {verdict}" for verdict, number in counted.items()),
        "others": [_in_a_line(record, primary.name if primary else "") for record in earlier[-MAX_LINES:]],
        "sentences": MAX_SENTENCES,
    }


def _in_a_line(record: Record, primary: str) -> str:
    measured = record.metrics.get(primary)
    number_of = f", {primary} {number(measured.value)}" if measured else ""
    said = f": {clip(line(record.hypothesis), 160)}" if record.hypothesis else ""
    return f"run {record.run}: {in_words(record.verdict.kind)}{number_of}{said}"


def idea_in_words(idea: Idea) -> str:
    """All fields that the idea gives, unknown ones too, each score beside its reason."""
    given = {key: value for key, value in idea.model_dump().items() if value is not None}
    scores = []
    for name in [key for key in SCORES if key in given]:
        why = given.pop(f"{name}_Evaluation", "")
        scores.append(f"{name} {field_in_words(given.pop(name))}" + (f": {field_in_words(why)}" if why else ""))
    lines = [f"{key}: {field_in_words(value)}" for key, value in given.items()]
    if scores:
        lines.append(f"Scores of 10: {field_in_words(scores)}")
    return "\n".join(lines).replace(": \n", ":\n")


def field_in_words(value: Any, indent: str = "") -> str:
    """A field of an idea: text as it is, lists and objects as lines that begin with a dash."""
    if isinstance(value, dict):
        return "".join(f"\n{indent}- {key}: {field_in_words(each, indent + '  ')}" for key, each in value.items())
    if isinstance(value, list):
        return "".join(f"\n{indent}- {field_in_words(each, indent + '  ')}" for each in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def metrics_in_words(metrics: Iterable[Metric]) -> list[str]:
    """Which direction is better, a line for each, with its metrics and their targets."""
    ways: dict[str, list[str]] = {"lower is better": [], "higher is better": [], "for context": []}
    for metric in metrics:
        about = [metric.label] if metric.label else []
        if metric.better and metric.target is not None:
            about.append(f"target: {'below' if metric.better == 'lower' else 'above'} {number(metric.target)}")
        if metric.primary:
            about.append("primary")
        way = f"{metric.better} is better" if metric.better else "for context"
        ways[way].append(f"`{metric.name}`" + (f" ({'; '.join(about)})" if about else ""))
    return [f"{way}: {', '.join(names)}" for way, names in ways.items() if names]


def _concerned(rules: Iterable[SanityRule], situation: Situation, comparable: Iterable[str]) -> list[SanityRule]:
    """Without those on a number of an evaluation (its name has a dot) that no run has: it belongs to another profile; and
    those of another value of a setting that is to stay as it is."""
    known = {name for column in situation.columns for name in (*column.metrics, *column.settings)}
    fixed = {name: situation.settings[name] for name in comparable if name in situation.settings}
    return [
        rule
        for rule in rules
        if (rule.present or "." not in rule.value or rule.value in known)
        and all(fixed.get(name, values[0]) in values for name, values in rule.cases.items())
    ]


def rules_in_words(rules: Iterable[SanityRule]) -> list[str]:
    """The sanity rules, a line for each value they are about. Why a rule is there is told when it fails."""
    lines: dict[str, dict[str, list[str]]] = {}
    for rule in rules:
        where = " and ".join(f"{key} = {' or '.join(map(setting, values))}" for key, values in rule.cases.items())
        for condition in _conditions(rule):
            cases = lines.setdefault(rule.value, {}).setdefault(condition, [])
            if where not in cases:
                cases.append(where)
    return [
        f"`{value}` {', '.join(condition + _where(cases) for condition, cases in conditions.items())}"
        for value, conditions in lines.items()
    ]


def _where(cases: Sequence[str]) -> str:
    """` where architecture = batchtopk or matryoshka`; nothing where one of the cases is all of them."""
    if "" in cases:
        return ""
    key, _, first = cases[0].partition(" = ")
    others = [each.removeprefix(f"{key} = ") if " and " not in cases[0] + each else each for each in cases[1:]]
    return f" where {' or '.join([f'{key} = {first}', *others])}"


def _conditions(rule: SanityRule) -> Iterator[str]:
    bounds = {">": rule.above, "<": rule.below, ">=": rule.at_least, "<=": rule.at_most}
    if rule.at_least is not None and rule.at_least == rule.at_most:
        bounds = {">": rule.above, "<": rule.below, "=": rule.at_least}
    if rule.finite:
        yield "is finite"
    elif rule.present and all(bound is None for bound in bounds.values()):
        yield "is there"
    for sign, bound in bounds.items():
        factor = "" if rule.times == 1 else f"{rule.times:g} x "
        if bound is not None:
            yield f"{sign} {factor}`{bound}`" if isinstance(bound, str) else f"{sign} {number(bound * rule.times)}"


def settings_in_words(settings: Mapping[str, Setting], comparable: Iterable[str] = ()) -> str:
    """The experiment's settings, those that decide comparability with a star.

    Those of an evaluation have a dot in their name; they are none of the agent's.
    """
    shown = {name: value for name, value in settings.items() if "." not in name}
    return ", ".join(f"{name}={setting(value)}{'*' if name in comparable else ''}" for name, value in shown.items())


def results_table(columns: tuple[Column, ...], contracts: Collection[str] = ()) -> str:
    """The metrics that any column has, a row each; names that begin alike stand below their beginning.

    Of those that are not the contract's some tens are shown, and how many more there are.
    """
    groups: dict[str, list[str]] = {}
    names = _names(column.metrics for column in columns)
    others = [name for name in names if name not in contracts]
    left_out = set(others[MAX_OTHERS:])
    for name in names:
        if name in left_out:
            continue
        groups.setdefault(name.partition(".")[0] if "." in name else "", []).append(name)
    rows: list[list[str]] = []
    for group, names in groups.items():
        together = group != "" and len(names) > 1
        rows += [[f"{group}."]] if together else []
        for name in names:
            numbers = _with_errors([(column.metrics.get(name), column.errors.get(name)) for column in columns])
            rows.append([name.removeprefix(group) if together else name, *numbers])
    if any(column.seeds for column in columns):
        rows.insert(0, ["seeds", *(str(column.seeds or MISSING) for column in columns)])
    return _table("metric", columns, rows, len(left_out), "metrics")


def _with_errors(cells: Sequence[tuple[float | None, float | None]]) -> list[str]:
    """`0.221±0.014`: what follows ± is a standard error over seeds."""
    plain = row([value for value, _ in cells])
    return [
        with_noise(value, error).replace(" ", "") if value is not None and error else text
        for (value, error), text in zip(cells, plain, strict=True)
    ]


def settings_table(columns: tuple[Column, ...]) -> str:
    """The settings that differ between columns.

    An evaluation's settings (with a dot) are missing where it was not run: that alone is no difference.
    """
    rows = []
    for name in _names(column.settings for column in columns):
        cells = [setting(column.settings[name]) if name in column.settings else MISSING for column in columns]
        if len({cell for cell in cells if cell != MISSING or "." not in name}) > 1:
            rows.append([name, *cells])
    return _table("setting", columns, rows[:MAX_OTHERS], len(rows[MAX_OTHERS:]), "settings")


def _table(head: str, columns: tuple[Column, ...], rows: list[list[str]], left_out: int, what: str) -> str:
    if not rows:
        return ""
    table = compact([head, *(column.label for column in columns)], rows)
    return f"{table}\nand {left_out:,} more {what}" if left_out else table


def _names(each: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in each for name in mapping))


def relevant_end(output: str, editable: tuple[str, ...] = (ENTRY,)) -> str:
    """The end of an output as far as it helps to repair the code: at most 60 lines and 4,000 characters."""
    lines = _shorten_tracebacks(clean(output[-_READ_OF_OUTPUT:]).rstrip().split("\n"), editable)
    text = "\n".join(lines[-TAIL_LINES:])
    cut = len(lines) > TAIL_LINES or len(text) > TAIL_CHARACTERS
    return ("[earlier output left out]\n" if cut else "") + text[-TAIL_CHARACTERS:]


_FRAME = re.compile(r'  File "([^"]{1,1000})", line \d+')


def _shorten_tracebacks(lines: list[str], editable: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    frames: list[list[str]] = []
    inside = False
    for each in [*lines, ""]:
        if inside and _FRAME.match(each):
            frames.append([each])
        elif inside and frames and each.startswith("  "):
            frames[-1].append(each)
        else:
            kept += _frames_that_matter(frames, editable)
            frames = []
            inside = each.startswith("Traceback (most recent call last)")
            kept.append(each)
    return kept[:-1]


def _frames_that_matter(frames: list[list[str]], editable: tuple[str, ...]) -> list[str]:
    kept: list[str] = []
    left_out = 0
    for i, frame in enumerate(frames):
        match = _FRAME.match(frame[0])
        path = f"/{match[1]}" if match else ""
        if i == len(frames) - 1 or any(path.endswith(f"/{name}") for name in editable):
            if left_out:
                kept.append(f"  [{left_out} frames in other files]")
            kept += frame
            left_out = 0
        else:
            left_out += 1
    return kept
