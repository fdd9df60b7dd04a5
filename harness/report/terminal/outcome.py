"""What came of a change that was handed in from outside, and where its campaign stands: one screen, or one object."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ...campaign.campaign import Campaign
from ...campaign.errors import OUTCOMES
from ...campaign.layout import Layout
from ...campaign.numbers import counted
from ...campaign.repository import Repository
from ...campaign.text import clean, in_words, line
from .columns import wrap
from .record_page import differences, judged, metrics
from .run_table import naming
from .status import baseline_verdict, parent_verdict, read_status, values_of
from .status_page import more_budget, next_lines, next_steps, spent, typed

REJECTED, FAILED = 6, 7
"""Exit codes of a try whose change was rejected before it was executed, or failed when it was."""
_OUTCOMES = {0: "judged", REJECTED: "rejected", FAILED: "failed"} | OUTCOMES
_BEFORE = frozenset({"rejected", "smoke_test_failed", "no_answer"})
"""Statuses of attempts that were not executed as a run."""
_TURN = re.compile(r"run_(\d+)/attempt_(\d+)/turn")
_PUTS = re.compile(r"run_\d+/record|start_code/.*")
"""Steps that put code of a run in place; turns put what was handed in."""
_OUTPUT = 4_000  # characters
_LINES = 15
_COMPARED = (
    "reference",
    "mean",
    "reference_mean",
    "difference",
    "error",
    "low",
    "high",
    "p_adjusted",
    "p_worse_adjusted",
    "seeds",
    "tested",
    "why",
)
_BASELINE = {0: ", the baseline"}


def try_facts(
    campaign: Campaign, message: str, exit_code: int, change: str = "", put_back: Sequence[str] = ()
) -> dict[str, Any]:
    """What came of a change, or of the last one of a campaign, and where the campaign stands then; `message` and `exit_code`
    are how the loop ended, `put_back` says what of the campaign's own files was."""
    status, events = read_status(campaign), campaign.events()
    turns = [(match, e["result"]) for e in events if e["event"] == "done" and (match := _TURN.fullmatch(e["step"]))]
    found: dict[str, Any] = {}
    taken = next((each for each in reversed(turns) if change in ("", each[1].get("submission", ""))), None)
    if taken:
        match, turn = taken
        run, attempt = int(match[1]), int(match[2])
        row = next(each for each in status.rows if (each.run, each.attempt) == (run, attempt))
        is_closed = run < len(campaign.records())
        found = {"run": run, "attempt": attempt, "put_back": [*turn["restored"], *put_back], "left_out": turn["notices"]}
        if row.status == "completed" and is_closed:
            found |= _judged(campaign, run) | {"varies": _varied(campaign, run)}
        elif row.status not in ("completed", "in_hand", "all_completed"):
            found |= {"status": row.status, "why": row.description, "output": _output(campaign, run, attempt)}
            found |= {"attempts_used_up": is_closed}
            if exit_code == 0:
                exit_code = REJECTED if row.status in _BEFORE else FAILED
    outcome = _OUTCOMES.get(exit_code, "cannot_go_on")
    said = {"message": message} if exit_code not in (0, REJECTED, FAILED) else {}
    stands = standing(campaign, _recorded(found))
    return {"campaign": campaign.name, "outcome": outcome, "exit_code": exit_code, **said, **found, **stands}


def _recorded(facts: Mapping[str, Any]) -> int | None:
    """The run that was asked about, where it has a record."""
    return facts["run"] if "verdict" in facts or facts.get("attempts_used_up") else None


def standing(campaign: Campaign, run: int | None = None) -> dict[str, Any]:
    """Where a campaign stands: its code, what is left, and what can be typed next, of `run` where one is asked about."""
    status, events = read_status(campaign), campaign.events()
    done = {e["step"]: e["result"] for e in events if e["event"] == "done"}
    following, most = len(campaign.records()), status.options["max_attempts"]
    tried = sum(f"run_{following}/attempt_{number}/turn" in done for number in range(1, most + 1))
    in_hand = any(row.run >= following and row.status in ("in_hand", "completed") for row in status.rows)
    # What put code in place, in the order in which it did.
    put = [step for step, result in done.items() if _PUTS.fullmatch(step) or (_TURN.fullmatch(step) and result["commit"])]
    begun = Repository(campaign.root, campaign.local) if "start" in done else None
    return {
        "state": status.state,
        "reason": status.reason,
        "folder": str(campaign.root.resolve()),
        "code": {
            "files": campaign.contract.editable,
            "of_run": next((done[step].get("from", 0) for step in reversed(put) if _PUTS.fullmatch(step)), 0),
            "with_failed_attempt": not in_hand and bool(put) and bool(_TURN.fullmatch(put[-1])),
            "in_hand": in_hand,
            "edited": sorted(begun.edited(campaign.code)) if begun else [],
        },
        # The baseline is none of them, which `following` may be.
        "left": {"runs": max(0, status.max_runs - max(following, 1) + 1), "attempts_at_next_run": most - tried},
        "spent": spent(status),
        "execution_seconds": (done.get("run_0/execute") or {}).get("outcome", {}).get("seconds"),
        "next": [command for command, _ in next_steps(status, typed(campaign), run)],
    }


def try_page(facts: Mapping[str, Any], layout: Layout, width: int) -> str:
    """The same as text."""
    said: list[tuple[str, str]] = []
    lines: list[str] = []
    if "verdict" in facts:
        record, baseline, contract = layout.record(facts["run"]), layout.record(0), layout.facts()["contract"]
        lines += [*judged(record, contract, width), *metrics(record, baseline, contract, width), ""]
        said += [("warning", each) for each in facts["warnings"]]
        if facts["primary"] is None:
            lines += [*naming([row for row in read_status(layout).rows if row.attempt is None], width)[1:]]
            lines += [
                *wrap("Then `harness open` again: a campaign keeps the contract that it began with.", width, "", ""),
                "",
            ]
    elif "status" in facts:
        lines.append(click.style(f"Run {facts['run']}, attempt {facts['attempt']}: {in_words(facts['status'])}", bold=True))
        lines += [row for each in facts["why"].split("\n") for row in wrap(line(each), width, "  ", "    ")]
        lines += [f"  | {line(each)}" for each in facts["output"].split("\n")[-_LINES:] if each]
    if "message" in facts:
        lines += wrap(line(facts["message"]), width, "", "")
    said += [(in_words(key), each) for key in ("put_back", "left_out") for each in facts.get(key, [])]
    if facts.get("attempts_used_up"):
        said.append(("recorded", f"run {facts['run']} has no attempt left and is recorded as failed, with each change"))
    code, left = facts["code"], facts["left"]
    stands = f"that of run {code['of_run']}{_BASELINE.get(code['of_run'], '')}"
    if code["in_hand"]:
        stands = "as you handed it in; it is in hand, and the same command goes on"
        if "verdict" in facts or "status" in facts or "run" not in facts:  # another one is
            stands = "that of a change in hand"
    elif code["with_failed_attempt"]:
        stands = "as you handed it in; fix it there"
    if code["edited"]:
        stands += f"; edited since, and not handed in: {', '.join(code['edited'])}"
    said.append(("code", f"{', '.join(code['files'])} in the campaign's folder: {stands}"))
    attempts = f", {counted(left['attempts_at_next_run'], 'attempt')} at the next" if left["runs"] else ""
    said.append(("left", f"{counted(left['runs'], 'run')}{attempts}; spent: {facts['spent']}"))
    lines += [row for key, text in said for row in wrap(line(text), width, f"{key:<9} ", " " * 10)]
    status = read_status(layout)
    steps = next_steps(status, typed(layout), _recorded(facts))
    if facts.get("verdict") == "inconclusive" and facts["primary"] and _has_one_seed(layout.record(0), facts["primary"]):
        confirm = " && ".join(f"harness confirm {typed(layout)} {run} --seeds 3" for run in (0, facts["run"]))
        steps.insert(0, (confirm, "measures the noise between seeds, and judges the run again"))
    if facts.get("varies"):
        again = f'harness diff {typed(layout)} {facts["run"]} | harness try {typed(layout)} --patch - --hypothesis "..."'
        varies = "".join(f" --varies {shlex.quote(name)}" for name in facts["varies"])
        steps.insert(0, (again + varies, "hands in the same change as one that varies this on purpose"))
    if facts.get("status") == "rejected" and code["with_failed_attempt"] and status.state != "running":
        forced = f"harness resume {typed(layout)}{more_budget(status)} --force"
        steps.insert(1, (forced, "executes it as it is; the record says so"))
    if _recorded(facts) is None:  # what else is recorded is not what was asked about
        steps = [each for each in steps if not each[0].startswith(("harness show", "harness diff"))]
    return "\n".join([*lines, "next", *(f"  {each}" for each in next_lines(steps, width - 2))])


def _varied(campaign: Campaign, run: int) -> list[str]:
    """The settings for which a run is not comparable, and would be had it said that it varies them."""
    record = campaign.record(run)
    if record["verdict"]["kind"] != "not_comparable":
        return []
    known = {name: record["settings"].get(name) for name in campaign.contract.comparable_of(campaign.options().profile)}
    return [name for name, each in known.items() if each and each["value"] != each["baseline"]]


def _has_one_seed(baseline: Mapping[str, Any], primary: str) -> bool:
    """Whether the noise of the baseline is unknown, and could be measured."""
    return not baseline["given"] and len(values_of(baseline["metrics"].get(primary, {"value": 0.0}))) == 1


def _judged(layout: Layout, run: int) -> dict[str, Any]:
    """The verdicts on a run, each beside the numbers that it rests on."""
    record, baseline, contract = layout.record(run), layout.record(0), layout.facts()["contract"]
    primary = next((metric for metric in contract["metric"] if metric["primary"]), None)
    verdict = record["verdict"]
    against = baseline_verdict(verdict, primary["better"] if primary else None)

    def compared(with_what: str, kind: str) -> dict[str, Any] | None:
        found = verdict.get(with_what)
        return {"verdict": kind} | {name: found.get(name) for name in _COMPARED} if found else None

    found = differences(record, baseline, contract)
    return {
        "verdict": against,
        "why": verdict["why"],
        "primary": primary["name"] if primary else None,
        "against_baseline": compared("against_baseline", against),
        "against_parent": compared("against_parent", parent_verdict(verdict) or verdict["kind"]),
        "parent": record["parent"],
        "metrics": {
            name: {"value": metric["value"]}
            | (
                {"reference": each.reference, "difference": each.difference, "error": each.error}
                if (each := found[name])
                else {}
            )
            for name, metric in record["metrics"].items()
        },
        "caveats": verdict.get("caveats", []),
        "guard_violations": verdict.get("guard_violations", []),
        "warnings": record["warnings"],
    }


def _output(layout: Layout, run: int, attempt: int) -> str:
    """The end of what a failed attempt printed."""
    try:
        printed = (layout.root / f"run_{run}" / "attempts" / str(attempt) / "log.txt").read_bytes()
    except OSError:
        return ""
    return clean(printed[-_OUTPUT:].decode(errors="replace")).strip()
