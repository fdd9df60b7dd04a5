"""What people read of a campaign: the renderings of `status`, `log`, `show` and `diff`, and the same facts as JSON.

Text with colours; whoever prints it drops them where there is no terminal. Ideas, hypotheses and outputs were written by
others, so all of them pass through `harness.text`.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from .agents import Usage
from .layout import RUNS, Layout
from .standing import Primary, Row, Standing, seconds_since
from .table import number
from .text import clean, duration, line

COLOURS = {
    "completed": "green",
    "failed": "red",
    "in_hand": "cyan",
    "running": "cyan",
    "all_completed": "green",
    "crashed": "red",
}
_OTHER = "yellow"
_LAST = ("baseline", "tokens", "time", "cost", "verdict", "hypothesis")
"""Columns of the table of runs in the order in which they make room in a narrow terminal."""
_LEFT = ("run", "status", "verdict", "hypothesis")
_NUMBERS = ("value", "baseline", "difference")
_LEAST_WORDS = 12  # columns under which a hypothesis says nothing
_LONGEST_TITLE = 18
_GAP = 2


def table(rows: Sequence[Row], primary: Primary | None, width: int) -> list[str]:
    """A header and a line for each row, none wider than `width`; columns that do not fit are left out."""
    header, cells = _cells(rows, primary)
    widths = {name: max(len_of(title), *(len_of(each[name]) for each in cells), 1) for name, title in header.items()}
    shown = list(header)
    for dropped in ("", *_LAST):
        shown = [name for name in shown if name != dropped]
        fixed = sum(widths[name] + _GAP for name in shown if name != "hypothesis")
        room = width - fixed
        if "hypothesis" not in shown:
            if fixed - _GAP <= width:
                break
        elif room >= min(_LEAST_WORDS, widths["hypothesis"]):
            widths["hypothesis"] = min(widths["hypothesis"], room)
            break
    lines = [click.style(_joined(header, shown, widths, width), bold=True)]
    for row, each in zip(rows, cells, strict=True):
        text = _joined(each, shown, widths, width)
        before, found, after = text.partition(each["status"])
        colour = COLOURS.get(row.status, _OTHER)
        lines.append(before + click.style(found, fg=colour, dim=row.attempt is not None) + after)
    return lines


def len_of(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def cut(text: str, width: int) -> str:
    """The beginning of one line of `text`, at most `width` columns, marked where something is left out."""
    text = line(text)
    if len_of(text) <= width:
        return text
    kept, used = "", 1
    for character in text:
        used += _columns(character)
        if used > width:
            break
        kept += character
    return f"{kept}…" if width > 0 else ""


def wrap(text: str, width: int, first: str, rest: str) -> list[str]:
    """One line of `text` in lines of at most `width` columns, `first` before it and `rest` before its continuations."""
    lines, current = [], first + text[: len(text) - len(text.lstrip())]
    is_empty = True
    for word in text.split():
        if not is_empty and len_of(current) + 1 + len_of(word) > width:
            lines.append(current)
            current, is_empty = rest, True
        current += word if is_empty else f" {word}"
        is_empty = False
        while len_of(current) > width:  # a word longer than a line
            head = current
            while len_of(head) > width and len(head) > len(rest) + 1:
                head = head[:-1]
            if head == current:
                break
            lines.append(head)
            current = rest + current[len(head) :]
    return [each.rstrip() for each in (*lines, current)]


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


def typed(layout: Layout) -> str:
    """What a person types to name a campaign in the folder that they are in."""
    at_home = layout.root.resolve().parent == RUNS.resolve()
    return shlex.quote(layout.name if at_home else str(layout.root))


def status(standing: Standing, name: str, width: int) -> str:
    """Where a campaign stands, some lines. `name` is what a person types for it."""
    lines = [click.style(standing.name, bold=True) + f"  {cut(standing.title, width - len_of(standing.name) - 2)}"]
    facts = [("state", _state(standing))]
    if standing.step is not None and standing.state == "running" and standing.last_line:
        facts.append(("last output", standing.last_line))
    facts.append(("runs", _runs(standing)))
    facts.append(("spent", spent(standing)))
    if standing.primary is not None:
        facts.append(("best so far", _best(standing)))
    facts.append(("folder", str(standing.folder)))
    if standing.state != "running":
        facts.append(("next", next_step(standing, name)))
    margin = max(len(key) for key, _ in facts) + 3
    for key, text in facts:
        lines += wrap(line(text), width, f" {key:<{margin - 2}} ", " " * margin)
    return "\n".join(lines)


def overview(standings: Sequence[Standing], width: int) -> list[str]:
    """A line a campaign."""
    rows = []
    for each in standings:
        state = _words(each.reason) if each.state == "ended" else _words(each.state)
        title = each.primary.name if each.primary else ""
        best = f"run {each.best.run}: {title} {number(each.best.value)}" if each.best else ""
        rows.append((each.name, state, f"{each.runs} of {each.max_runs}", cost(each.usage.cost), best))
    return _columned(("Campaign", "state", "runs", "cost", "best so far"), rows, width)


def status_facts(standing: Standing) -> dict[str, Any]:
    """The same facts for programs."""
    facts = asdict(standing)
    facts["folder"] = str(standing.folder)
    facts["runs"] = standing.runs
    facts["max_runs"] = standing.max_runs
    facts["age"] = round(seconds_since(standing.since), 1)
    facts["limits"] = {key: standing.options[key] for key in ("max_cost", "max_tokens", "max_hours")}
    return facts


def log(standing: Standing, width: int) -> str:
    """A line for each attempt and run."""
    if not standing.rows:
        return f"{standing.name}: no run yet."
    return "\n".join(table(standing.rows, standing.primary, width))


def log_facts(standing: Standing) -> list[dict[str, Any]]:
    """The same facts for programs, an object a row; `metric` names what `value` and `baseline` are of."""
    metric = standing.primary.name if standing.primary else None
    return [asdict(row) | {"metric": metric} for row in standing.rows]


def spent(standing: Standing) -> str:
    """Tokens, dollars and hours, each with its limit where there is one."""
    used, limits = standing.usage, standing.options
    count = used.sent + used.received
    parts = [
        f"{tokens(count)} tokens" + _of(limits["max_tokens"] and tokens(limits["max_tokens"])),
        (f"cost {cost(used.cost)}" if used.cost is None else cost(used.cost))
        + _of(limits["max_cost"] and cost(limits["max_cost"])),
        duration(standing.seconds) + _of(limits["max_hours"] and f"{limits['max_hours']:g} h"),
    ]
    return ", ".join(parts)


def next_step(standing: Standing, name: str) -> str:
    """What a person can do now, in a sentence."""
    resume = f"`harness resume {name}"
    if standing.state == "new":
        return f"{resume}` begins."
    if standing.state == "crashed":
        return f"The process that ran it ended without a word. {resume}` goes on; no finished run is repeated."
    if standing.state == "interrupted":
        return f"{resume}` goes on."
    if standing.reason == "budget":
        return f"{resume} --max-cost USD` (or --max-tokens, --max-hours) goes on with a larger budget."
    if standing.reason == "runs_spent":
        return f"`harness notes {name}` is the write-up so far; {resume} --max-runs N` goes on with more runs."
    if standing.reason == "session_over":
        return f"`harness notes {name}` is the write-up so far; {resume} --model M` goes on with a model."
    if standing.reason == "all_completed":
        return f'`harness notes {name}` is the write-up; `harness tell {name} "..."` and {resume}` ask for more.'
    return f"{resume}` goes on when that is mended."


def record(data: Mapping[str, Any], width: int) -> str:
    """The whole record of a run. What the agent and the reviewer said is marked as theirs."""
    width = max(width, 40)
    verdict, status = data["verdict"], data["status"]
    lines = [
        click.style(f"Run {data['run']}: ", bold=True)
        + click.style(status, fg=COLOURS.get(status, _OTHER))
        + f", {_words(verdict['kind'])}",
        *_wrapped(verdict["why"], width),
    ]
    review_usage = data["review"]["usage"] if data["review"] else None
    facts = {
        "commit": data["commit"][:12],
        "started from": "" if data["parent"] is None else f"run {data['parent']}",
        "command": data["command"],
        "seed": "" if data["seed"] is None else str(data["seed"]),
        "begun": data["started"],
        "executed": duration(data["seconds"]) if not data["given"] else "no: given with the experiment",
        "agent": _usage(data["usage"]) if data["attempts"] else "",
        "reviewer": _usage(review_usage) if review_usage else "",
    }
    lines += [""] + [f"  {key:<13} {cut(text, width - 16)}" for key, text in facts.items() if text]
    lines += _section("Hypothesis, as the agent stated it before the run", data["hypothesis"], width)
    lines += _metrics(data["metrics"], width)
    lines += _settings(data["settings"], width)
    if data["attempts"]:
        lines += ["", click.style("Attempts", bold=True)]
        for attempt in data["attempts"]:
            lines += _attempt(attempt, width)
    lines += _list("Warnings", data["warnings"], width)
    lines += _section("The agent's description", data["description"], width)
    lines += _section("The agent's interpretation of the results", data["interpretation"], width)
    lines += _section("The agent's plan", data["plan"], width)
    if data["review"]:
        lines += _section(f"Advice of the reviewer ({line(data['review']['model'])})", data["review"]["text"], width)
    lines += _list("Told by a person", data["told"], width)
    lines += _list("Environment", [f"{key}: {value}" for key, value in data["fingerprint"].items()], width)
    return "\n".join(lines)


def diff(text: str) -> str:
    """A unified diff in colours."""
    colours = {"+": "green", "-": "red", "@": "cyan"}
    lines = []
    for each in clean(text).rstrip("\n").split("\n"):
        if each.startswith(("diff ", "index ", "+++", "---")):
            lines.append(click.style(each, bold=True))
        else:
            lines.append(click.style(each, fg=colours[each[0]]) if each[:1] in colours else each)
    return "\n".join(lines)


def _cells(rows: Sequence[Row], primary: Primary | None) -> tuple[dict[str, str], list[dict[str, str]]]:
    header = {"run": "run", "status": "status", "verdict": "verdict"}
    if primary is not None:
        header |= {"metric": cut(primary.name, _LONGEST_TITLE), "baseline": "baseline"}
    header |= {"tokens": "tokens", "cost": "cost", "time": "time", "hypothesis": "hypothesis"}
    cells = []
    for row in rows:
        own = row.attempt is None
        used = row.usage.sent + row.usage.received
        cells.append(
            {
                "run": str(row.run) if own else f"{row.run}.{row.attempt}",
                "status": _words(row.status),
                "verdict": _words(row.verdict),
                "metric": number(row.value) if own else "",
                "baseline": number(row.baseline) if own and row.baseline is not None else "",
                "tokens": tokens(used),
                "cost": cost(row.usage.cost),
                "time": duration(row.seconds),
                "hypothesis": line(row.words),
            }
        )
    return header, cells


def _joined(cells: Mapping[str, str], shown: Sequence[str], widths: Mapping[str, int], width: int) -> str:
    parts = []
    for name in shown:
        text = cut(cells[name], widths[name])
        blanks = " " * (widths[name] - len_of(text))
        parts.append(text + blanks if name in _LEFT else blanks + text)
    return cut_right((" " * _GAP).join(parts), width)


def cut_right(text: str, width: int) -> str:
    """`text` without trailing blanks and, in a terminal narrower than any table, without what hangs over."""
    text = text.rstrip()
    while len_of(text) > width:
        text = text[:-1]
    return text


def _state(standing: Standing) -> str:
    if standing.state == "running":
        if standing.step is None:
            return "running, between two steps"
        since = duration(round(seconds_since(standing.since), 1))
        about = f" of about {duration(round(standing.expected, 1))}" if standing.expected is not None else ""
        return f"running: {_place(standing)}, for {since}{about}"
    if standing.state == "new":
        return "not begun"
    if standing.state == "crashed":
        return f"no process on this machine runs it; it was at: {_place(standing)} ({standing.since})"
    word = "interrupted" if standing.state == "interrupted" else f"ended: {_words(standing.reason)}"
    return f"{word}. {standing.message} ({standing.since})"


def _place(standing: Standing) -> str:
    step = standing.step
    if step is None:
        return "between two steps"
    if step.run is None:
        return step.phase
    attempt = f", attempt {step.attempt}" if step.attempt else ""
    of = "the baseline" if step.run == 0 else f"of {standing.max_runs}"
    return f"run {step.run} {of if step.run else f'({of})'}{attempt}: {step.phase}"


def _runs(standing: Standing) -> str:
    runs = [row for row in standing.rows if row.attempt is None and row.run > 0]
    completed = sum(row.status == "completed" for row in runs)
    failed = f", {len(runs) - completed} failed" if completed < len(runs) else ""
    return f"{completed} completed{failed}, of {standing.max_runs}"


def _best(standing: Standing) -> str:
    primary, found = standing.primary, standing.best
    assert primary is not None
    if found is None:
        return "no run with evidence yet"
    return (
        f"run {found.run}: {primary.name} {number(found.value)}, baseline {number(found.baseline)} "
        f"({primary.better} is better); {_words(found.verdict)}"
    )


def _metrics(metrics: Mapping[str, Mapping[str, Any]], width: int) -> list[str]:
    if not metrics:
        return ["", "No metrics."]
    rows = [
        (line(name), number(each["value"]), number(each["baseline"]), number(each["difference"]))
        for name, each in metrics.items()
    ]
    return ["", *_columned(("Metric", "value", "baseline", "difference"), rows, width)]


def _settings(settings: Mapping[str, Mapping[str, Any]], width: int) -> list[str]:
    changed = [
        (line(name), line(str(each["value"])), line(str(each["baseline"])), each["source"])
        for name, each in settings.items()
        if each["value"] != each["baseline"]
    ]
    if not changed:
        return ["", "No setting differs from the baseline's."] if settings else []
    return ["", *_columned(("Setting that differs", "value", "baseline", "says"), changed, width)]


def _columned(header: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """A table whose first column gives way where `width` is short."""
    widths = [max(len_of(cells[i]) for cells in [header, *rows]) for i in range(len(header))]
    widths = [widths[0], *(min(each, (width - 16) // 3 - _GAP) for each in widths[1:])]
    widths[0] = min(widths[0], width - sum(each + _GAP for each in widths[1:]))
    lines = []
    for cells in [header, *rows]:
        padded = []
        for title, cell, room in zip(header, cells, widths, strict=True):
            text = cut(cell, room)
            blanks = " " * (room - len_of(text))
            padded.append(blanks + text if title in _NUMBERS else text + blanks)
        lines.append((" " * _GAP).join(padded).rstrip())
    return [click.style(lines[0], bold=True), *lines[1:]]


def _attempt(attempt: Mapping[str, Any], width: int) -> list[str]:
    marks = [_words(name) for name in ("by_person", "forced") if attempt[name]]
    commit = f", commit {attempt['commit'][:12]}" if attempt["commit"] else ""
    head = f"{_words(attempt['status'])}{commit}"
    head += f" ({', '.join(marks)})" if marks else ""
    head += f", {_usage(attempt['usage'])}, executed {duration(attempt['seconds'])}"
    lines = wrap(head, width, f"  {attempt['number']}  ", "     ")
    lines += _wrapped(attempt["why"], width, "     ")
    if attempt["put_back"]:
        lines += _wrapped("put back: " + "; ".join(attempt["put_back"]), width, "     ")
    return lines


def _section(title: str, text: str, width: int) -> list[str]:
    return ["", click.style(title, bold=True), *_wrapped(text, width, "  | ")] if text else []


def _list(title: str, items: Sequence[str], width: int) -> list[str]:
    if not items:
        return []
    lines = ["", click.style(title, bold=True)]
    for each in items:
        lines += wrap(line(each), width, "  - ", "    ")
    return lines


def _wrapped(text: str, width: int, margin: str = "") -> list[str]:
    lines: list[str] = []
    for each in clean(text).expandtabs(4).strip("\n").split("\n") if text else []:
        lines += wrap(each, width, margin, margin)
    return lines


def _usage(data: Mapping[str, Any]) -> str:
    usage = Usage(**data)
    dollars = "cost unknown" if usage.cost is None else cost(usage.cost)
    return f"{tokens(usage.sent)} tokens sent, {tokens(usage.received)} received, {dollars}, {duration(usage.seconds)}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _of(limit: Any) -> str:
    return f" of {limit}" if limit else ""


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
