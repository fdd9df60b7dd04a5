"""Where a campaign stands, in words, and the same facts as JSON.

Text with colours; whoever prints it drops them where there is no terminal. Ideas and outputs were written by others, so all
of them pass through `harness.campaign.text`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from ...campaign.layout import RUNS, Layout
from ...campaign.paths import near
from ...campaign.schema import SCHEMA
from ...campaign.text import duration, in_words, line, of_hours, reference_in_words
from ...campaign.usage import Usage
from .columns import Cell, Column, len_of, table, wrap
from .difference import set_with_errors
from .held_out import NAME, sentences
from .status import CampaignStatus, Row, seconds_since


def tokens(count: int) -> str:
    """`950`, `12.3k`, `4.56M`."""
    if count < 1000:
        return str(count)
    return f"{count / 1000:.3g}k" if count < 999_500 else f"{count / 1e6:.3g}M"


def cost(dollars: float | None) -> str:
    """Dollars; what is unknown is never 0."""
    if dollars is None:
        return "unknown"
    if dollars == 0 or dollars >= 0.1:
        return f"${dollars:.2f}"
    return "$" + f"{float(f'{dollars:.2g}'):.8f}".rstrip("0")


def cost_of(usage: Usage) -> str:
    """The same of a usage, as far as somebody said it."""
    return f"at least {cost(usage.known_cost)}" if usage.cost is None and usage.known_cost else cost(usage.cost)


def typed(layout: Layout) -> str:
    """What you type to name a campaign in the folder that you are in."""
    at_home = layout.root.resolve().parent == RUNS.resolve()
    return shlex.quote(layout.name if at_home else str(near(layout.root.absolute())))


def status(status: CampaignStatus, name: str, width: int) -> str:
    """Where a campaign stands, some lines. `name` is what a person types for it."""
    name_, *rest = wrap(line(status.title), width, " " * (len_of(status.name) + 2), "  ")
    lines = [click.style(status.name, bold=True) + name_[len_of(status.name) :], *rest]
    facts = [("state", _state(status))]
    if status.waits:
        facts.append(("waits", status.waits))
    elif status.step is not None and status.state == "running" and status.last_line:
        facts.append(("last output", status.last_line))
    facts.append(("runs", _runs(status)))
    facts.append(("spent", spent(status)))
    if status.primary is not None:
        facts.append(("best so far", _best(status)))
        facts += [
            ("held out", each.removeprefix(f"{NAME}: ")) for each in sentences(status.held_out, status.primary.name)[:1]
        ]
    facts.append(("folder", str(status.folder)))
    margin = max(len(key) for key, _ in facts) + 3
    for key, text in facts:
        lines += wrap(line(text), width, f" {key:<{margin - 2}} ", " " * margin)
    if status.state != "running":
        steps = next_lines(next_steps(status, name), width - margin)
        lines += [(f" {'next':<{margin - 2}} " if place == 0 else " " * margin) + each for place, each in enumerate(steps)]
    return "\n".join(lines)


def overview(statuses: Sequence[CampaignStatus], width: int) -> list[str]:
    """A line a campaign."""
    columns = [
        Column("name", "campaign"),
        Column("state", "state"),
        Column("runs", "runs", drop=2),
        Column("cost", "cost", right=True, drop=3),
        Column("best", "best so far", least=16, drop=1),
    ]
    rows = []
    for each in statuses:
        title = each.primary.name if each.primary else ""
        best = each.best
        facts = {
            "name": each.name,
            "state": _in_short(each),
            "runs": f"{each.runs} of {each.max_runs}",
            "cost": cost_of(each.usage),
            "best": f"run {best.run}: {title} {beside_reference(best)[0]}, {in_words(best.verdict)}" if best else "",
        }
        rows.append({name: Cell(text) for name, text in facts.items()})
    return table(columns, rows, width)


def _in_short(status: CampaignStatus) -> str:
    if status.state == "running":
        return _place(status)
    return in_words(status.reason) if status.state == "ended" else "not begun" if status.state == "new" else status.state


def status_facts(status: CampaignStatus) -> dict[str, Any]:
    """The same facts for programs."""
    facts = asdict(status)
    facts["folder"] = str(status.folder)
    facts["runs"] = status.runs
    facts["max_runs"] = status.max_runs
    facts["age"] = round(seconds_since(status.since), 1)
    facts["limits"] = {key: status.options[key] for key in ("max_cost", "max_tokens", "max_hours")}
    return facts


def spent(status: CampaignStatus) -> str:
    """Tokens, dollars and hours, each with its limit where there is one."""
    used, limits = status.usage, status.options
    parts = [
        used.in_tokens(tokens(used.tokens)) + _of(limits["max_tokens"] and tokens(limits["max_tokens"])),
        (f"cost {cost_of(used)}" if used.cost is None else cost_of(used))
        + _of(limits["max_cost"] and cost(limits["max_cost"])),
        of_hours(status.seconds, limits["max_hours"]) if limits["max_hours"] else duration(status.seconds),
    ]
    return ", ".join(parts)


def next_steps(status: CampaignStatus, name: str, about: int | None = None) -> list[tuple[str, str]]:
    """What you can type now, and what it does. `name` is what you type for the campaign, `about` the recorded run that is
    spoken of, the last one where none is. Names only what is there."""
    notes = (f"harness notes {name}", "what came of it so far")
    resume = f"harness resume {name}"
    driven = status.options.get("agent") == "outside"
    runs = [row.run for row in status.rows if row.attempt is None]
    if status.schema < SCHEMA:
        return [(notes[0], "what came of it; an earlier version made it, so it is not continued")]
    if status.state == "new":
        return [(resume, "begins")]
    if status.state == "crashed":
        return [(resume, "goes on: the process that ran it was killed; no completed run is repeated")]
    if status.state == "running":
        steps = [(f"harness status {name}", "where it is: another process runs it")]
    elif status.state == "waiting" or (driven and status.reason in ("confirmed", "scored")):
        steps = [
            (f'harness try {name} --hypothesis "..."', f"hands in what you edited in {near(status.folder)}"),
            (f"harness brief {name}", "where it stands, for whoever makes the next change"),
            (f"harness end {name}", "held-out evaluation and conclusion" if status.held_out else "conclusion"),
        ]
        if raised := more_budget(status):
            steps[:1] = [(f"{resume}{raised}", "goes on with a larger budget")]
    elif status.state == "interrupted" or status.reason in ("confirmed", "scored"):
        steps = [(resume, "goes on")]
    elif status.reason == "budget":
        option, does = _after_budget(status)
        steps = [(f"{resume} {option}", does)]
    elif status.reason == "runs_spent":
        steps = [notes, (f"{resume} --max-runs {2 * status.max_runs}{_more_patience(status)}", "goes on with more runs")]
    elif status.reason == "patience_spent":
        steps = [notes, (f"{resume}{_more_patience(status)}", "goes on with as much patience again")]
    elif status.reason == "session_over":
        steps = [notes, (f"{resume} --model sonnet", "goes on with a model, such as sonnet")]
    elif status.reason == "all_completed":
        again = [
            (f'harness tell {name} "..."', "says what else to try; then `harness resume` asks for more"),
            (resume, "asks for more"),
        ]
        if str(status.options.get("agent")).startswith("search:"):
            again = []  # nothing is left to propose
        elif driven:
            again = [(f'harness try {name} --hypothesis "..."', "goes on all the same, with a further change")]
        steps = [notes, (f"harness writeup {name}", "makes a paper of it"), *again]
    elif status.reason == "baseline_failed" and "--baseline own" in status.message:
        steps = [(f"{resume} --baseline own", "executes the baseline, in place of the given results")]
    elif status.reason == "baseline_failed":
        steps = [(resume, "executes the baseline again; first fix the experiment in its own folder, or what it needs")]
    else:
        steps = [(resume, "continues once that is fixed")]
    if runs and status.state != "interrupted":
        run = runs[-1] if about is None else about
        steps += [(f"harness log {name}", "all runs"), (f"harness show {name} {run}", "one record")]
        if run > 0:
            steps.append((f"harness diff {name} {run}", "its change of the code"))
    return steps


def _more_patience(status: CampaignStatus) -> str:
    """The option that gives as much patience again, where it is spent."""
    patience, waited = int(status.options.get("patience") or 0), _unaccepted(status)
    return f" --patience {waited + patience}" if 0 < patience <= waited else ""


def _unaccepted(status: CampaignStatus) -> int:
    """How many runs were recorded since the last accepted one."""
    runs = [row for row in status.rows if row.attempt is None and row.run > 0]
    accepted = [row.run for row in runs if row.verdict == "improved" and row.parent_verdict in ("", "improved")]
    return len(runs) - max(accepted, default=0)


def more_budget(status: CampaignStatus) -> str:
    """The option that raises a budget that is spent, "" where none is."""
    used = _used(status)
    limits = {name: status.options.get(name) for name in used}
    spent = [name for name, limit in limits.items() if limit is not None and used[name] >= limit]
    return f" {_raised(status, spent[0])}" if spent else ""


def next_lines(steps: Sequence[tuple[str, str]], width: int) -> list[str]:
    """A line a command, which is never broken, with what it does as a shell's comment; above it where there is no room."""
    wide = max((len_of(each) for each, about in steps if len_of(f"{each}  # {about}") <= width), default=0)
    lines: list[str] = []
    for command, about in steps:
        beside = f"{command}{' ' * (wide - len_of(command))}  # {about}"
        if len_of(beside) <= width:
            lines.append(beside)
        else:
            lines += [*wrap(about, width, "# ", "# "), command]
    return lines


def _used(status: CampaignStatus) -> dict[str, float]:
    return {"max_tokens": status.usage.tokens, "max_cost": status.usage.cost or 0.0, "max_hours": status.seconds / 3600}


def _after_budget(status: CampaignStatus) -> tuple[str, str]:
    """The option with which a campaign goes on that a budget ended, as its message says, and what it does."""
    name = status.message.partition(" ")[0].removeprefix("--").replace("-", "_")
    if name == "max_cost" and status.usage.cost is None:  # of which nobody knows how much is spent
        enough = max(2 * status.usage.tokens, 100_000)
        return f"--max-cost 0 --max-tokens {enough}", "goes on with a limit of tokens, not of dollars"
    return _raised(status, name), "goes on with a larger budget"


def _raised(status: CampaignStatus, name: str) -> str:
    """The option `name` with twice what is allowed, or spent."""
    wanted = 2 * max(status.options.get(name) or 0, _used(status).get(name, 0))
    shown = math.ceil(wanted) if name == "max_tokens" else f"{float(f'{wanted:.2g}'):.10g}"
    return f"--{name.replace('_', '-')} {shown}"


def _state(status: CampaignStatus) -> str:
    if status.state == "running":
        if status.step is None:
            return "running, between two steps"
        since = duration(round(seconds_since(status.since), 1))
        about = f" of about {duration(round(status.expected, 1))}" if status.expected is not None else ""
        return f"running: {_place(status)}, for {since}{about}"
    if status.state == "new":
        return "not begun"
    if status.state == "crashed":
        return f"no process on this machine runs it; it was at: {_place(status)} ({status.since})"
    why = next(iter(status.message.splitlines()), "").rstrip(".:")
    if status.state != "ended":
        head = f"{status.state}."
    elif status.reason == "cannot_go_on" or not why:
        head = f"ended: {in_words(status.reason)}."
    else:  # the message says the reason itself
        head = "ended:"
    return f"{head} {why}. ({status.since})" if why else f"{head} ({status.since})"


def _place(status: CampaignStatus) -> str:
    step = status.step
    if step is None:
        return "between two steps"
    if step.run is None:
        return step.phase
    attempt = f", attempt {step.attempt}" if step.attempt else ""
    of = "the baseline" if step.run == 0 else f"of {status.max_runs}"
    return f"run {step.run} {of if step.run else f'({of})'}{attempt}: {step.phase}"


def _runs(status: CampaignStatus) -> str:
    runs = [row for row in status.rows if row.attempt is None and row.run > 0]
    completed = sum(row.status == "completed" for row in runs)
    failed = f", {len(runs) - completed} failed" if completed < len(runs) else ""
    return f"{completed} completed{failed}, of {status.max_runs}"


def _best(status: CampaignStatus) -> str:
    primary, found = status.primary, status.best
    assert primary is not None
    if found is None:
        return "no valid run yet"
    value, *reference = beside_reference(found)
    against = f", {' '.join(reversed(reference))}" if reference else ""
    return f"run {found.run}: {primary.name} {value}{against} ({primary.better} is better); {in_words(found.verdict)}"


def beside_reference(row: Row) -> list[str]:
    """The primary metric of a run with its error; then that of what it is compared with, and what that is."""
    value, other = map(str.strip, set_with_errors([row.value, row.baseline], [row.error, row.baseline_error]))
    return [value, other, reference_in_words(row.reference or "run_0").removeprefix("the ")] if other else [value]


def _of(limit: Any) -> str:
    return f" of {limit}" if limit else ""
