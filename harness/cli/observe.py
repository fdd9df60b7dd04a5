"""`harness observe`: what a loop of somebody else left becomes a campaign, and its claimed best is executed and judged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from ..agents.outside import OUTSIDE
from ..agents.submission import Source, Words
from ..campaign.campaign import Campaign, Options, create_campaign
from ..campaign.contract import CONTRACT_FILE, ENTRY, Contract
from ..campaign.contract_file import load_contract
from ..campaign.errors import InputError
from ..campaign.given_runs import THEIR_BASELINE, GivenRun, GivenRuns
from ..campaign.idea import Idea
from ..campaign.metric import Metric
from ..campaign.numbers import number
from ..campaign.protocols import FINAL_INFO
from ..campaign.record import Record
from ..campaign.stop import Stop
from ..campaign.temporary import TemporaryFolder
from ..campaign.text import clip, in_words, line
from ..loop import Ending
from ..report.first_look import claimed_best, far_from_theirs, first_look, given, spread
from ..report.terminal.columns import Cell, Column, table, wrap
from ..report.terminal.outcome import try_facts
from ..report.terminal.status_page import typed
from ..results.observed import TABLE, Observed, ObservedRun, observe
from ..results.run_results import read_run
from ..results.sanity import broken_where_known
from .running import drive, experiment_python

_JUDGED = 1
"""Runs that are left after the given ones: one in which the claimed best is judged."""
_CODE_OF_TABLES = "train.py"
_MOST_LEFT_OUT = 5


@dataclass(frozen=True)
class Wanted:
    """What was typed."""

    folder: Path
    experiment: Path | None
    metric: str | None
    better: str | None
    executes_baseline: bool
    confirms_best: bool
    out: Path
    python: str | None


def look(wanted: Wanted) -> tuple[dict[str, Any], int]:
    """Make a campaign of what a loop left. Returns what was found, and the exit code."""
    contract = _contract(wanted)
    code_file, found = _observed(wanted, contract)
    with TemporaryFolder() as place:
        taken = _taken(wanted, code_file, found.runs, Path(place) / "runs")
        if contract and contract.primary:
            _check(wanted, contract, contract.primary, found.runs, taken)
        campaign = _campaign(wanted, contract, found.runs, taken, Path(place))
    ending = drive(campaign, Stop(), quiet=True)
    said = _of_another_name(wanted, contract, taken)
    facts = _facts(wanted, campaign, found.left_out, said)
    if ending.exit_code or not wanted.confirms_best:
        return facts | ({"message": ending.message} if ending.exit_code else {}), ending.exit_code
    ending = _judge_best(campaign)
    confirmed = try_facts(campaign, ending.message, ending.exit_code)
    facts = _facts(wanted, campaign, found.left_out, said)
    return facts | {"confirmed": confirmed}, int(confirmed["exit_code"])


def _contract(wanted: Wanted) -> Contract | None:
    """Of the experiment that was named, where it has one. Raises InputError for what does not go together."""
    has_one = wanted.experiment is not None and (wanted.experiment / CONTRACT_FILE).exists()
    contract = load_contract(wanted.experiment, wanted.out) if has_one and wanted.experiment else None
    primary = contract.primary if contract else None
    if (wanted.executes_baseline or wanted.confirms_best) and primary is None:
        raise InputError(
            f"To execute something, --experiment DIR names a folder with the code of the baseline and an {CONTRACT_FILE} "
            "that names a primary metric and seeds (baseline_seeds, run_seeds). `harness init DIR` makes one to begin with."
        )
    if contract and wanted.metric and (primary is None or primary.name != wanted.metric):
        decides = f"{primary.name} decides" if primary else "no metric is primary"
        raise InputError(
            f"--metric {wanted.metric}: in {wanted.experiment}/{CONTRACT_FILE} {decides}. Change it there, or leave one out."
        )
    return contract


def _check(wanted: Wanted, contract: Contract, primary: Metric, runs: Sequence[ObservedRun], taken: GivenRuns) -> None:
    """Raises InputError, before anything is executed, where no run has the number that decides, and where the code of the
    claimed best, which is to be executed, is not there."""
    results = {number: read_run(run.results, contract) for number, run in enumerate(taken.runs) if run.results}
    valued = {number: each for number, each in results.items() if primary.name in each.metrics}
    if not valued:
        known = list(dict.fromkeys(name for run in runs for name in run.metrics))
        raise InputError(
            f"{wanted.experiment}/{CONTRACT_FILE}: {primary.name} decides, and no run of {wanted.folder} has it. "
            + (
                f"They have {', '.join(known)}; in that metric, `sources = {json.dumps(known[:1])}` names theirs."
                if known
                else ""
            )
        )
    sound = [n for n, each in valued.items() if n and not broken_where_known(contract, each.numbers, each.settings)]
    sign = 1 if primary.better == "lower" else -1
    best = min(sound, key=lambda number: sign * results[number].numbers[primary.name], default=None)
    if wanted.confirms_best and best is not None and runs[best].code is None:
        name, is_table = runs[best].name, (wanted.folder / TABLE).is_file()
        where = (
            f"no commit {name} with {taken.code_file} in {wanted.folder}" if is_table else f"no {wanted.folder}/{name}.py"
        )
        raise InputError(
            f"--confirm-best: the claimed best is {name}, and its code is not there: {where}. Put it there; or "
            "--execute-baseline alone says what is within the baseline's spread."
        )


def _observed(wanted: Wanted, contract: Contract | None) -> tuple[str, Observed]:
    """The file that the loop edited, and its runs. Of several editable files it is the one that the loop has code of."""
    is_table = (wanted.folder / TABLE).is_file()
    usual = _CODE_OF_TABLES if is_table else ENTRY
    names = contract.editable if contract else [usual]
    if not is_table:  # whatever it is called, `run_1.py` is the code of run 1
        names = [usual if usual in names else names[0]]
    looked = [(name, observe(wanted.folder, name)) for name in names]
    return next((each for each in looked if any(run.code for run in each[1].runs)), looked[0])


def _of_another_name(wanted: Wanted, contract: Contract | None, taken: GivenRuns) -> list[str]:
    """A sentence where the file that the contract lets edit may not be the one that the loop edited."""
    if contract is None:
        return []
    has_code, named = any(run.code for run in taken.runs), f"editable in {wanted.experiment}/{CONTRACT_FILE}"
    if (wanted.folder / TABLE).is_file():
        names = ", ".join(contract.editable)
        return [] if has_code else [f"The code of no run is known: no commit has {names}, which is {named}."]
    if not has_code or taken.code_file == ENTRY:
        return []
    return [f"run_1.py and the others are taken for versions of {taken.code_file}, which is {named}; usually it is {ENTRY}."]


def _taken(wanted: Wanted, code_file: str, runs: Sequence[ObservedRun], place: Path) -> GivenRuns:
    """The runs as a campaign begins with them; `place` is for what a row of a table left."""
    given = tuple(_given(run, place / str(number)) for number, run in enumerate(runs))
    return GivenRuns(wanted.folder.resolve().name, code_file, given)


def _campaign(
    wanted: Wanted, contract: Contract | None, runs: Sequence[ObservedRun], taken: GivenRuns, place: Path
) -> Campaign:
    """A campaign that begins with these runs; `place` is for what it is made of."""
    executes = wanted.executes_baseline or wanted.confirms_best
    if not runs[0].metrics and not executes:
        raise InputError(
            f"{wanted.folder}: {runs[0].name}, the baseline, has no number, so there is nothing to compare with."
        )
    loop = taken.loop
    experiment = wanted.experiment if contract and wanted.experiment else _made_up(wanted, taken, runs, place / "experiment")
    name = re.sub(r"[^A-Za-z0-9._-]", "-", loop)[:50].strip("-._") or "loop"
    said = f"{len(runs) - 1} runs that another loop made, in {loop}: what they repeat, and what their best is worth."
    options = Options(
        agent=OUTSIDE, observed=len(runs) - 1, max_runs=len(runs) - 1 + _JUDGED, baseline="own" if executes else "given"
    )
    idea = Idea(Name=f"{name}-observed", Title=f"The runs of {loop}, observed", Experiment=said)
    return create_campaign(
        wanted.out.absolute(),
        idea,
        experiment,
        options,
        python=experiment_python(wanted.python),
        loop=taken,
        say=lambda text: click.echo(text, err=True),
    )


def _given(run: ObservedRun, place: Path) -> GivenRun:
    """A run with a folder of what it left; where that is a row of a table, one is made in `place`."""
    folder = run.folder
    if folder is None and run.metrics:
        place.mkdir(parents=True)
        (place / FINAL_INFO).write_text(json.dumps({"settings": {}, "metrics": run.metrics}))
        folder = place
    return GivenRun(run.name, run.kept, run.claim, run.code, bool(run.metrics), folder)


def _made_up(wanted: Wanted, taken: GivenRuns, runs: Sequence[ObservedRun], folder: Path) -> Path:
    """An experiment for a loop of which no contract is known: the code of its baseline, and the metric that decides."""
    folder.mkdir(parents=True)
    code, own = taken.code_of(0), wanted.experiment / taken.code_file if wanted.experiment else None
    if taken.runs[0].code is None and own is not None and own.is_file():
        code = own.read_bytes()
    (folder / taken.code_file).write_bytes(code)
    known = list(dict.fromkeys(name for run in runs for name in run.metrics))
    is_table = (wanted.folder / TABLE).is_file()
    metric = wanted.metric or (known[0] if is_table and known else None)
    if metric is not None and metric not in known:
        of_data_sets = [name for name in known if name.endswith(f".{metric}")]
        if len(of_data_sets) != 1:
            what = "more than one data set has it" if of_data_sets else "no run has it"
            raise InputError(f"--metric {metric}: {what}. They have: {', '.join(known)}.")
        [metric] = of_data_sets
    lines = [f"command = {json.dumps(['python', taken.code_file, '--out_dir={out_dir}'])}"]
    lines += [f"editable = {json.dumps([taken.code_file])}"]
    better = wanted.better or ("lower" if is_table else None)
    if metric is not None and better is None:
        raise InputError(f"--metric {metric}: --lower or --higher says which way is better.")
    if metric is not None:
        lines += ["[[metric]]", f"name = {json.dumps(metric)}", f'better = "{better}"', "primary = true", "required = false"]
    (folder / CONTRACT_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _judge_best(campaign: Campaign) -> Ending:
    """Hand the claimed best in as the next change."""
    best = claimed_best(campaign.read_records(), campaign.contract.primary)
    taken = GivenRuns.read(campaign.root)
    code = taken.runs[best.run].code if best else None
    if best is None or code is None:
        why = f"the code of {_name(best)} is not there" if best else "no run claims to be better than the baseline"
        raise InputError(f"--confirm-best: {why}.")
    said = f"{_name(best)} is better than the baseline, as its loop says. {clip(best.description, 1000)}".strip()
    with TemporaryFolder() as place:
        file = Path(place) / taken.code_file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(code)
        words = Words(said, driver=f"the loop in {taken.loop}")
        return drive(campaign, Stop(), quiet=True, hand_in=Source(words, Path(place)))


def _name(record: Record) -> str:
    return record.observed.name if record.observed else f"run {record.run}"


def _facts(wanted: Wanted, campaign: Campaign, left_out: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    records, primary = campaign.read_records(), campaign.contract.primary
    best, found = claimed_best(records, primary), spread(records, primary)
    runs = [
        {
            "run": record.run,
            "name": record.observed.name,
            "kept": record.observed.kept,
            "verdict": record.verdict.kind,
            "metrics": {name: metric.value for name, metric in record.metrics.items()},
            "claim": clip(line(record.description), 300),
            "same_code_as": record.observed.same_code_as,
            "same_numbers_as": record.observed.same_numbers_as,
            "code": "known" if record.observed.has_code else "unknown",
        }
        for record in given(records)
        if record.observed
    ]
    baseline = {name: metric.value for name, metric in records[0].metrics.items()} if records else {}
    theirs = campaign.given / THEIR_BASELINE
    far = far_from_theirs(records, primary, read_run(theirs, campaign.contract).numbers) if theirs.is_dir() else ""
    return {
        "campaign": typed(campaign),
        "folder": str(wanted.folder),
        "metric": primary.name if primary else None,
        "better": primary.better if primary else None,
        "baseline": {"metrics": baseline, "given": bool(records and records[0].given)},
        "runs": runs,
        "claimed_best": best.run if best else None,
        **({"spread": asdict(found)} if found else {}),
        "left_out": [*left_out],
        "said": [*first_look(campaign.contract, records), *([far] if far else []), *said],
    }


def page(facts: Mapping[str, Any], width: int) -> str:
    """The same as text."""
    metric, runs, name = facts["metric"], facts["runs"], facts["campaign"]
    measured = [facts["baseline"]["metrics"], *(run["metrics"] for run in runs)]
    names = [metric] if metric else list(dict.fromkeys(name for each in measured for name in each))[:4]
    columns = [
        Column("run", "run", right=True),
        Column("name", "theirs"),
        *(Column(name, name, right=True) for name in names),
        Column("found", "found", least=12),
    ]
    how = "given" if facts["baseline"]["given"] else "executed"
    rows = [{"run": Cell("0"), "name": Cell("baseline"), "found": Cell(how)}]
    for run in runs:
        repeats = {"same_code_as": "no-op: the code of run", "same_numbers_as": "the numbers of run"}
        found = [f"{said} {run[key]}" for key, said in repeats.items() if run[key] is not None]
        found += [run["verdict"]] if run["verdict"] in ("failed", "invalid") else []
        found += [] if run["kept"] else ["not kept"]
        found += ["claimed best"] if run["run"] == facts["claimed_best"] else []
        rows.append({"run": Cell(str(run["run"])), "name": Cell(line(run["name"])), "found": Cell("; ".join(found))})
    for row, values in zip(rows, measured, strict=True):
        row |= {each: Cell(number(values[each]) if each in values else "–") for each in names}
    out = facts["left_out"]
    said = [f"Left out: {each}" for each in out[:_MOST_LEFT_OUT]]
    said += [f"Left out: {len(out) - _MOST_LEFT_OUT} more; --json names all."] if out[_MOST_LEFT_OUT:] else []
    said += [*facts["said"], *([facts["message"]] if "message" in facts else [])]
    steps = [f"harness log {name}"]
    if "confirmed" in facts:
        done = facts["confirmed"]
        verdict = in_words(done.get("verdict") or done["outcome"])
        said.append(f"Run {facts['claimed_best']}, executed here: {verdict}. {done.get('why', '')}")
        steps.append(f"harness show {name} {done.get('run', len(runs) + 1)}")
    elif metric is None:
        said.append("--metric NAME with --lower or --higher says what is better; then the claimed best is named.")
    elif facts["claimed_best"] is not None:
        said.append("--confirm-best --experiment DIR executes it beside the baseline, with seeds, and judges it.")
    else:
        said.append(f"No run claims to be better than the baseline in {metric}.")
    lines = [*table(columns, rows, width), "", *(row for each in said for row in wrap(line(each), width, "", "  "))]
    steps.append(f"harness report {name} --open")
    return "\n".join([*lines, "", f"campaign  {name}", "next", *(f"  {each}" for each in steps)])
