"""The whole record of one run as `show` prints it: verdict, numbers with their noise, settings, attempts, and whose words
are whose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import click

from ...campaign.not_confined import author, weaker
from ...campaign.numbers import number, titled
from ...campaign.text import answered_by, clean, duration, in_words, line
from ...campaign.usage import Usage
from ...statistics.compute import KINDS
from .columns import Cell, Column, table, wrap
from .difference import PLUS_MINUS, Difference, beside, set_with_errors
from .run_table import COLOURS, OTHER
from .status import baseline_verdict, parent_verdict, values_of
from .status_page import cost_of, tokens

CSV = (
    *("metric", "better", "primary", "value", "standard_error", "seeds", "reference", "reference_value"),
    *("reference_standard_error", "reference_seeds", "difference", "difference_standard_error", "word"),
)
"""The columns of `harness show --csv`, which programs rely on."""
WORD_COLOURS = {"better": "green", "worse": "red"}
SOURCES = {
    "reported": "self-reported",
    "artifact": "verified: artifact",
    "scorer": "verified: scorer",
    "harness": "set by the harness",
}
"""Where a setting is known from."""
_SAME = "They are the same to the last digit at the same seed; the baseline's mean over more seeds is another number."
"""Of a run without effect: its number stands beside that mean in tables."""
NO_REFERENCE = frozenset({"baseline", "not_comparable", "no_effect", "invalid", "failed", "given"})
"""Verdicts of runs whose numbers may not be called better or worse than another's."""
REPORTED_ERRORS = "Standard errors that the experiment reports, of an unknown number of seeds; nothing is judged by them"


def differences(
    record: Mapping[str, Any], baseline: Mapping[str, Any], contract: Mapping[str, Any]
) -> dict[str, Difference | None]:
    """Each metric of a run beside that of its reference, the baseline or a control; None where it has none.

    All are data as their files hold them. The primary metric takes the numbers and the noise that its verdict took. What is
    the same at a run's seeds differs from nothing: beside the mean over further seeds of the baseline it would, where these
    scatter.
    """
    better = {metric["name"]: metric["better"] for metric in contract["metric"]}
    primary = next((metric["name"] for metric in contract["metric"] if metric["primary"]), None)
    compared = record["verdict"].get("against_baseline") or {}
    executed = [*record.get("final_references", []), *([record["control"]] if record.get("control") else [])]
    answers = next((each for each in executed if each["name"] == compared.get("reference")), None)
    paired = bool(compared.get("paired")) and answers is not None and answers["seeds"] == record["seeds"]
    on_frontier = bool(compared.get("frontier"))
    found: dict[str, Difference | None] = {}
    for name, metric in record["metrics"].items():
        values = values_of(metric)
        if answers:
            theirs = answers["metrics"].get(name) or []
        else:
            other = baseline["metrics"].get(name)
            theirs = values_of(other) if other else []
        same = not answers and values == theirs[: len(values)] != theirs and len(set(theirs)) > 1
        if record["run"] == 0 or same or not theirs or (on_frontier and name != primary):
            found[name] = None  # on a frontier nothing was measured where the run stands
        elif name == primary:
            own = beside(values, theirs, better.get(name), paired=paired)
            if on_frontier or compared.get("sd") is not None:
                own = replace(
                    own,
                    value=compared["mean"],
                    reference=compared["reference_mean"],
                    seeds=compared["seeds"],
                    reference_seeds=compared["reference_seeds"],
                    sd=compared.get("sd") or own.sd,
                    reference_sd=compared.get("reference_sd") or own.reference_sd,
                    measured_error=compared.get("error"),
                )
            else:  # nothing was tested: that of its own seeds, as in the table of runs
                own = replace(own, sd=beside(values, values, None).sd)
            found[name] = replace(own, tested=True, low=compared.get("low"), high=compared.get("high"))
        else:
            found[name] = beside(values, theirs, better.get(name), paired=paired and len(theirs) == len(values))
    return found


def _better(contract: Mapping[str, Any]) -> str | None:
    return next((metric["better"] for metric in contract["metric"] if metric["primary"]), None)


def _heading(reference: str) -> str:
    return {"run_0": "baseline", "frontier": "frontier"}.get(reference.partition(" ")[0], line(reference))


def record(data: Mapping[str, Any], baseline: Mapping[str, Any], contract: Mapping[str, Any], width: int) -> str:
    """The whole record of a run. What the agent and the reviewer said is marked as theirs."""
    width = max(width, 40)
    lines, who = judged(data, contract, width), author(data.get("agent_sandbox", ""))
    review_usage = data["review"]["usage"] if data["review"] else None
    seeds = data.get("seeds") or ([] if data["seed"] is None else [data["seed"]])
    stages = data.get("stage_seeds", [])
    reported = max((len(each["values"]) for each in data["metrics"].values() if each.get("self_reported")), default=0)
    own = f"{reported} of the experiment's own (self-reported)" if reported else ""
    facts = {
        "commit": data["commit"][:12],
        "started from": started_from(data["parent"]),
        "round": _round(data),
        "command": data["command"],
        "stage seeds": ", ".join(map(str, stages)),
        "final seeds" if stages else "seed" if len(seeds) == 1 and not own else "seeds": own or ", ".join(map(str, seeds)),
        "begun": data["started"],
        "executed": duration(data["seconds"]) if not data["given"] else _given(data),
        "compute": compute_in_words(data),
        who: answered_by(data.get("agent", ""), data.get("models", [])),
        "agent's sandbox" if who == "agent" else "sandbox": data.get("agent_sandbox", ""),
        "used": _usage(data["usage"]) if data["attempts"] else "",
        "reviewer": _usage(review_usage) if review_usage else "",
    }
    lines.append("")
    for key, text in facts.items():
        lines += wrap(line(text), width, f"  {key:<15} ", " " * 18) if text else []
    lines += _section("Hypothesis, as it was stated before the run", data["hypothesis"], width)
    lines += metrics(data, baseline, contract, width)
    lines += _list(REPORTED_ERRORS, reported_errors(data), width)
    lines += _settings(data["settings"], width)
    if data["attempts"]:
        lines += ["", click.style("Attempts", bold=True)]
        for attempt in data["attempts"]:
            lines += _attempt(attempt, width)
    lines += _list("Warnings", data["warnings"], width)
    lines += _list("Weaker here", [each] if (each := weaker(data.get("agent_sandbox", ""))) else [], width)
    lines += _list("Advice", data.get("advice", []), width)
    lines += _section(
        "What its loop says of it" if data.get("observed") else f"The {who}'s description", data["description"], width
    )
    lines += _section(f"The {who}'s interpretation of the results", data["interpretation"], width)
    lines += _section(f"The {who}'s plan", data["plan"], width)
    if data["review"]:
        lines += _section(f"Advice of the reviewer ({line(data['review']['model'])})", data["review"]["text"], width)
    lines += _list("Told by you", data["messages"], width)
    lines += _list("Environment", [f"{key}: {value}" for key, value in data["environment"].items()], width)
    return "\n".join(lines)


def reported_errors(data: Mapping[str, Any]) -> list[str]:
    """Those of a record, with their metrics."""
    found = {name: each.get("reported_error") for name, each in data["metrics"].items()}
    return [f"{line(name)} ± {number(error)}" for name, error in found.items() if error is not None]


def started_from(parent: int | None) -> str:
    """The run that a run's code started from."""
    return "" if parent is None else f"run {parent}" if parent else "run 0, the baseline"


def compute_in_words(data: Mapping[str, Any]) -> str:
    """`4.3 s of processor time an execution, at most 0.6 GB of memory`, what of it was measured."""
    memory = data.get("peak_memory")
    known = {name: seconds for kind, name in KINDS.items() if (seconds := data.get(kind))}
    said = [f"{median(seconds):.3g} s of {name} an execution (median)" for name, seconds in known.items()]
    said += [f"at most {memory / 1e9:.2g} GB of memory"] if memory else []
    return ", ".join(said)


def judged(data: Mapping[str, Any], contract: Mapping[str, Any], width: int) -> list[str]:
    """Both verdicts on a run, and why."""
    verdict, status = data["verdict"], data["status"]
    kind, step = baseline_verdict(verdict, _better(contract)), parent_verdict(verdict)
    title, word = f"Run {data['run']}: ", in_words(kind)
    said = f"{title}{f'{status}, ' if status != kind else ''}{word}"
    said += f" against the baseline, {in_words(step)} against run {data['parent']}:" if step else ""
    first, *more = wrap(said, width, "", "")
    first = first.replace(title, click.style(title, bold=True), 1).replace(
        word, click.style(word, fg=COLOURS.get(kind, OTHER)), 1
    )
    return [
        first,
        *more,
        *_wrapped(verdict["why"], width),
        *(_wrapped(_SAME, width) if kind == "no_effect" and not data.get("given") else []),
    ]


def record_rows(data: Mapping[str, Any], baseline: Mapping[str, Any], contract: Mapping[str, Any]) -> list[list[Any]]:
    """The run's metrics under the header `CSV`."""
    metrics = {metric["name"]: metric for metric in contract["metric"]}
    reference = (data["verdict"].get("against_baseline") or {}).get("reference") or "run_0"
    rows: list[list[Any]] = []
    for name, found in differences(data, baseline, contract).items():
        known, metric = metrics.get(name, {}), data["metrics"][name]
        values = values_of(metric)
        own = found or beside(values, values, None)
        rows.append(
            [
                *(name, known.get("better"), bool(known.get("primary")), metric["value"], own.value_error, len(values)),
                *(
                    (reference, found.reference, found.reference_error, found.reference_seeds)
                    if found
                    else (None, None, None, None)
                ),
                *((found.difference, found.error, word(data, found)) if found else (None, None, None)),
            ]
        )
    return rows


def word(data: Mapping[str, Any], found: Difference) -> str:
    """What a metric's difference means; of a run that is no evidence nothing."""
    return "" if data["verdict"]["kind"] in NO_REFERENCE else found.word


def metrics(data: Mapping[str, Any], baseline: Mapping[str, Any], contract: Mapping[str, Any], width: int) -> list[str]:
    if not data["metrics"]:
        return ["", "No metrics."]
    found = differences(data, baseline, contract)
    order = {metric["name"]: place for place, metric in enumerate(contract["metric"])}
    units = {metric["name"]: metric.get("unit", "") for metric in contract["metric"]}
    primary = next((metric["name"] for metric in contract["metric"] if metric["primary"]), None)
    reference = (data["verdict"].get("against_baseline") or {}).get("reference") or "run_0"
    columns = [
        Column("name", "metric", least=20, wraps=True),
        Column("value", "value", right=True),
        Column("reference", _heading(reference), right=True, drop=1),
        Column("difference", "difference", right=True, drop=2),
        Column("word", "", drop=3),
    ]
    rows = []
    for name in sorted(data["metrics"], key=lambda name: (name != primary, order.get(name, len(order)))):
        metric, other = data["metrics"][name], found[name]
        own = other or beside(values_of(metric), values_of(metric), None)
        value, theirs = set_with_errors(
            [own.value, other.reference if other else None], [own.value_error, other.reference_error if other else None]
        )
        [difference] = set_with_errors([other.difference if other else None], [other.error if other else None], signs=True)
        said = word(data, other) if other else ""
        rows.append(
            {
                "name": Cell(titled(line(name), units.get(name, ""))),
                "value": Cell(value),
                "reference": Cell(theirs),
                "difference": Cell(difference, WORD_COLOURS.get(said)),
                "word": Cell(said, WORD_COLOURS.get(said)),
            }
        )
    lines = ["", *table(columns, rows, width)]
    if any(each is not None for each in found.values()):
        said = how_to_read(primary, [row["word"].text for row in rows])
        lines += ["", *(click.style(each, dim=True) for each in wrap(said, width, "", ""))]
    return lines


def how_to_read(primary: str | None, words: Iterable[str]) -> str:
    """What stands below a table of metrics with these words."""
    said = f"{PLUS_MINUS} " + (
        f"Only the primary metric, {line(primary)}, is tested; a word beside another one"
        if primary
        else "No metric is named to decide, so nothing is tested; a word beside a number"
    )
    said += ": two-sided p < 0.05, not corrected."
    if any(word.endswith("?") for word in words):
        said += " A question mark: not tested, or one seed each, so the noise is unknown."
    return said


def _settings(settings: Mapping[str, Mapping[str, Any]], width: int) -> list[str]:
    columns = [
        Column("name", "setting that differs", least=20, wraps=True),
        Column("value", "value", right=True),
        Column("baseline", "baseline", right=True),
        Column("source", "source", drop=1),
    ]
    rows = [
        {
            "name": Cell(name),
            "value": Cell(_setting(each["value"])),
            "baseline": Cell(_setting(each["baseline"])),
            "source": Cell(SOURCES[each["source"]]),
        }
        for name, each in settings.items()
        if each["value"] != each["baseline"]
    ]
    if not rows:
        return ["", "No setting differs from the baseline's."] if settings else []
    return ["", *table(columns, rows, width)]


def _setting(value: Any) -> str:
    """A setting as one would write it; None is one that the run or the baseline does not have."""
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _attempt(attempt: Mapping[str, Any], width: int) -> list[str]:
    marks = [in_words(name) for name in ("by_person", "forced") if attempt[name]]
    commit = f", commit {attempt['commit'][:12]}" if attempt["commit"] else ""
    head = f"{in_words(attempt['status'])}{commit}"
    head += f" ({', '.join(marks)})" if marks else ""
    head += f", {_usage(attempt['usage'])}, executed {duration(attempt['seconds'])}"
    lines = wrap(head, width, f"  {attempt['number']}  ", "     ")
    lines += _wrapped(attempt["why"], width, "     ")
    if attempt["restored"]:
        lines += _wrapped("not kept: " + "; ".join(attempt["restored"]), width, "     ")
    return lines


def _section(title: str, text: str, width: int) -> list[str]:
    return ["", *_title(title, width), *_wrapped(text, width, "  | ")] if text else []


def _title(text: str, width: int) -> list[str]:
    return [click.style(each, bold=True) for each in wrap(text, width, "", "")]


def _list(title: str, items: Sequence[str], width: int) -> list[str]:
    if not items:
        return []
    lines = ["", *_title(title, width)]
    for each in items:
        lines += wrap(line(each), width, "  - ", "    ")
    return lines


def _wrapped(text: str, width: int, margin: str = "") -> list[str]:
    lines: list[str] = []
    for each in clean(text).expandtabs(4).strip("\n").split("\n") if text else []:
        lines += wrap(each, width, margin, margin)
    return lines


def _given(data: Mapping[str, Any]) -> str:
    """Where results come from that were not executed here."""
    observed = data.get("observed")
    if not observed:
        return "no: given with the experiment"
    kept = "" if observed["kept"] else ", which did not keep it"
    code = "" if observed["has_code"] else "; its code is not known"
    return f"no: given, {line(observed['name'])} of the loop in {line(observed['loop'])}{kept}{code}"


def _usage(data: Mapping[str, Any]) -> str:
    usage = Usage(**data)
    if usage.is_unknown:
        return "tokens and cost unknown"
    dollars = f"cost {cost_of(usage)}" if usage.cost is None else cost_of(usage)
    told = f"{usage.counted(tokens(usage.sent))} tokens sent, {usage.counted(tokens(usage.received))} received"
    told = "tokens unknown" if usage.has_unknown_tokens else told
    return f"{told}, {dollars}, {duration(usage.seconds)}"


def _round(data: Mapping[str, Any]) -> str:
    """Which round the run belongs to and with whom, "" where runs were proposed one at a time."""
    if data.get("round") is None:
        return ""
    siblings = ", ".join(map(str, data["siblings"]))
    return f"{data['round']}" + (f", beside run{'s' * (len(data['siblings']) > 1)} {siblings}" if siblings else "")
