"""`harness observe`: a look at what a loop of somebody else left, and its claimed best executed and judged."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..agents.outside import OUTSIDE
from ..agents.submission import Source, Words
from ..campaign.campaign import Campaign, Options, create_campaign
from ..campaign.contract import CONTRACT_FILE, ENTRY
from ..campaign.contract_file import load_contract
from ..campaign.errors import InputError
from ..campaign.idea import Idea
from ..campaign.numbers import number
from ..campaign.stop import Stop
from ..campaign.text import clip, line
from ..execution.precheck import code_differs
from ..report.terminal.columns import Cell, Column, table, wrap
from ..report.terminal.outcome import try_facts
from ..results.observed import TABLE, observe, same_numbers
from ..statistics.noise import prediction_interval
from .running import drive, experiment_python

SPENT = 1
"""Runs of a campaign in which one is judged."""


def look(folder: Path, experiment: Path | None, metric: str | None, better: str | None) -> dict[str, Any]:
    """What a loop left: its runs, what repeats an earlier one, and the best by its own numbers."""
    contract = load_contract(experiment, None) if experiment and (experiment / CONTRACT_FILE).exists() else None
    primary = contract.primary if contract else None
    is_table = (folder / TABLE).is_file()
    code_file = contract.editable[0] if contract else "train.py" if is_table else ENTRY
    runs = observe(folder, code_file)
    if runs[0].code is None and experiment is not None and (experiment / code_file).is_file():
        runs[0] = replace(runs[0], code=(experiment / code_file).read_bytes())
    if metric is None:
        metric = primary.name if primary else next(iter(runs[0].metrics), None) if is_table else None
    better = better or (primary.better if primary and primary.name == metric else "lower" if is_table else None)
    if metric is not None and not any(metric in run.metrics for run in runs):
        known = ", ".join(dict.fromkeys(name for run in runs for name in run.metrics))
        raise InputError(f"--metric {metric}: no run has it. They have: {known}.")
    facts: dict[str, Any] = {"folder": str(folder), "metric": metric, "better": better, "runs": []}
    for place, run in enumerate(runs):
        twin = same_numbers(run, runs[:place])
        codes = [each for each in runs[:place] if each.code is not None]
        same = next((each for each in codes if run.code is not None and not code_differs(each.code or b"", run.code)), None)
        facts["runs"].append(
            {
                "name": run.name,
                "kept": run.kept,
                "metrics": run.metrics,
                "claim": clip(line(run.claim), 300),
                "same_code_as": same.name if same else None,
                "same_numbers_as": twin.name if twin else None,
                "code": "known" if run.code is not None else "unknown",
            }
        )
    valued = [run for run in runs[1:] if metric in run.metrics]
    if metric is not None and better is not None and valued:
        sign = 1 if better == "lower" else -1
        facts["claimed_best"] = min(valued, key=lambda run: sign * run.metrics[metric]).name
    return facts


def confirm_best(facts: dict[str, Any], folder: Path, experiment: Path | None, out: Path, python: str | None) -> int:
    """Execute baseline and claimed best as a campaign of their own, and add what came of it. Returns the exit code."""
    if experiment is None or not (experiment / CONTRACT_FILE).exists() or load_contract(experiment, out).primary is None:
        raise InputError(
            f"--confirm-best: --experiment DIR names a folder with the code of the baseline and an {CONTRACT_FILE} that "
            "names a primary metric and seeds (baseline_seeds, run_seeds). `harness init DIR` makes one to begin with."
        )
    contract = load_contract(experiment, out)
    best = next((run for run in observe(folder, contract.editable[0]) if run.name == facts.get("claimed_best")), None)
    if best is None or best.code is None:
        raise InputError("--confirm-best: " + ("its code is not there." if best else "no run has the primary metric."))
    name = re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name)[:50].strip("-._") or "loop"
    idea = Idea(Name=f"{name}-observed", Title=f"The best of {name}, executed here", Experiment=best.claim or best.name)
    options = Options(agent=OUTSIDE, max_runs=SPENT, baseline="own")
    python = experiment_python(python)
    campaign = create_campaign(
        out.absolute(), idea, experiment, options, python=python, say=lambda text: click.echo(text, err=True)
    )
    hypothesis = f"{best.name} is better than the baseline, as its loop says. {clip(best.claim, 1000)}".strip()
    with tempfile.TemporaryDirectory(prefix="harness-observed-") as place:
        (Path(place) / contract.editable[0]).parent.mkdir(parents=True, exist_ok=True)
        (Path(place) / contract.editable[0]).write_bytes(best.code)
        source = Source(Words(hypothesis, driver="a loop that was observed"), Path(place))
        ending = drive(campaign, Stop(), quiet=True, hand_in=source)
    facts["confirmed"] = try_facts(campaign, ending.message, ending.exit_code)
    facts |= _spread(facts, campaign)
    return int(facts["confirmed"]["exit_code"])


def _spread(facts: Mapping[str, Any], campaign: Campaign) -> dict[str, Any]:
    """How many of the kept changes are where a further seed of the baseline would be too."""
    baseline = campaign.read_records()[:1]
    metric = facts["metric"]
    values = [*baseline[0].by_seed(metric).values()] if baseline and metric in baseline[0].metrics else []
    limits = prediction_interval(values)
    if limits is None:
        return {}
    kept = [run["metrics"][metric] for run in facts["runs"][1:] if run["kept"] and metric in run["metrics"]]
    inside = sum(limits[0] <= value <= limits[1] for value in kept)
    return {
        "spread": {"baseline_seeds": len(values), "low": limits[0], "high": limits[1], "kept": len(kept), "within": inside}
    }


def page(facts: Mapping[str, Any], width: int) -> str:
    """The same as text."""
    metric, runs = facts["metric"], facts["runs"]
    names = [metric] if metric else list(dict.fromkeys(name for run in runs for name in run["metrics"]))[:4]
    columns = [
        Column("name", "run"),
        *(Column(name, name, right=True) for name in names),
        Column("found", "found", least=12),
    ]
    rows = []
    for run in runs:
        repeats = {"same_code_as": "no-op: the code of", "same_numbers_as": "the same numbers as"}
        found = [f"{said} {run[key]}" for key, said in repeats.items() if run[key]]
        found += [] if run["kept"] else ["not kept"]
        found += ["claimed best"] if run["name"] == facts.get("claimed_best") else []
        values = {name: Cell(number(run["metrics"][name]) if name in run["metrics"] else "–") for name in names}
        rows.append({"name": Cell(line(run["name"])), "found": Cell("; ".join(found))} | values)
    lines = table(columns, rows, width)
    said = [f"{len(runs) - 1} runs beside the baseline, given and not executed here: {_repeats(runs)}."]
    if "spread" in facts:
        spread = facts["spread"]
        said.append(
            f"{spread['within']} of its {spread['kept']} kept changes are within the spread of {spread['baseline_seeds']} "
            f"baseline seeds: 95 % of further seeds would have {metric} {number(spread['low'])} to {number(spread['high'])}."
        )
    if "confirmed" in facts:
        done = facts["confirmed"]
        said.append(
            f"{facts['claimed_best']}, executed here: {done.get('verdict') or done['outcome']}. {done.get('why', '')}"
        )
        said.append(f"All of it: harness show {done['campaign']} 1")
    elif metric is None:
        said.append("--metric NAME with --lower or --higher says what is better; then the claimed best is named.")
    elif "claimed_best" in facts:
        said.append("--confirm-best --experiment DIR executes it beside the baseline, with seeds, and judges it.")
    return "\n".join([*lines, "", *(row for each in said for row in wrap(line(each), width, "", "  "))])


def _repeats(runs: Sequence[Mapping[str, Any]]) -> str:
    same = sum(bool(run["same_code_as"]) for run in runs)
    twins = sum(bool(run["same_numbers_as"]) for run in runs)
    unknown = sum(run["code"] == "unknown" for run in runs[1:])
    no_ops = f"{same} no-op{'' if same == 1 else 's'}"
    return f"{no_ops}, {twins} with the numbers of an earlier run, {unknown} whose code is not known"
