"""The results of a run under a contract: what a scorer measured, and what the experiment reports about itself.

Without a scorer everything comes from the experiment. With one, a metric that has `sources` is evidence only as the scorer's
files have it; the same number in the experiment's own summary is a report, and where the two disagree that is a finding. So
are settings that the artifact contradicts. What the experiment wrote as eval results is not read at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..campaign.contract import Contract, Setting
from ..campaign.protocols import EVAL_FOLDER, EXECUTED_ON, FACTS, FINAL_INFO, OF_THE_MACHINE, SCORED_WITH, SKIPPED
from .reading import Results, read_files, read_results
from .result_files import Unusable, evaluation_files, load, summary_file
from .values import ROUNDING, Finding, Value


def read_run(folder: Path, contract: Contract, *, scores: Path | None = None, newer_than: float | None = None) -> Results:
    """The results in a run's folder, under the contract's names. Never raises on what the files are or hold.

    `scores`: the folder that the scorer wrote, where it is not filed as `eval_results` yet. `newer_than`: seconds since the
    epoch; what is older was not written by this run.
    """
    results = _read(folder, contract, scores, newer_than)
    machine, _ = _object(folder / EXECUTED_ON)
    told = {f"{OF_THE_MACHINE}{name}": value for name, value in machine.items() if _is_setting(value)}
    if not told:
        return results
    return replace(
        results, settings={**results.settings, **told}, sources={**results.sources, **dict.fromkeys(told, "harness")}
    )


def _read(folder: Path, contract: Contract, scores: Path | None, newer_than: float | None) -> Results:
    if not contract.scorer:
        return _with_the_contracts_names(read_results(folder, newer_than=newer_than), contract)
    summary, _ = summary_file(folder)
    reported = read_files(([(summary, folder / summary)], []), newer_than, summary)
    scores = scores or folder / EVAL_FOLDER
    facts, of_facts = _object(scores / FACTS)
    skipped, of_skipped = _object(scores / SKIPPED)
    scored = _with_the_contracts_names(read_files(evaluation_files(scores), newer_than), contract)
    own, contradicted = _apart(reported, scored, contract)
    verified = {name: value for name, value in _members(facts, "verified").items() if _is_setting(value)}
    scored_alone = {name: value for name, value in scored.settings.items() if name not in reported.settings}
    scored_alone |= {
        f"{SCORED_WITH}{name}": value for name, value in _members(facts, "scored_with").items() if _is_setting(value)
    }
    remarks = facts.get("remarks")
    return Results(
        metrics=scored.metrics | own,
        settings={**reported.settings, **scored_alone, **verified},
        findings=[
            *reported.findings,
            *scored.findings,
            *contradicted,
            *_unlike(reported.settings, verified),
            *of_facts,
            *of_skipped,
            *(
                Finding(f"{EVAL_FOLDER}/{FACTS}", "", str(remark))
                for remark in (remarks if isinstance(remarks, list) else [])
            ),
            *(
                Finding(f"{EVAL_FOLDER}/{SKIPPED}", name, f"not evaluated: {why}")
                for name, why in _members(skipped, "skipped").items()
            ),
        ],
        rows=[*reported.rows, *scored.rows],
        sources={name: "artifact" if name in verified else "scorer" for name in [*scored_alone, *verified]},
    )


def _with_the_contracts_names(results: Results, contract: Contract) -> Results:
    metrics, settings = dict(results.metrics), dict(results.settings)
    for metric in contract.metric:
        found = next((names for source in metric.sources if (names := _matching(source, results.metrics))), [])
        if metric.over is not None and found:
            metrics[metric.name] = _mean([results.metrics[name] for name in found], metric.name)
            settings[metric.over] = ", ".join(found)
        elif found and found[0] in metrics:
            metrics[metric.name] = metrics.pop(found[0])._replace(name=metric.name)
    return replace(
        results, metrics=metrics, settings=settings, findings=[_renamed(each, contract) for each in results.findings]
    )


def _mean(values: Sequence[Value], name: str) -> Value:
    """The mean over data sets. Seed by seed where each has the same number of the experiment's own seeds."""
    seeds = [value.seeds for value in values]
    own = tuple(math.fsum(each) / len(each) for each in zip(*seeds, strict=True)) if len(set(map(len, seeds))) == 1 else ()
    keys = ", ".join(value.key for value in values)
    return Value(name, math.fsum(value.value for value in values) / len(values), values[0].file, f"mean of {keys}", own)


def _renamed(finding: Finding, contract: Contract) -> Finding:
    for metric in contract.metric:
        if finding.name and any(_matching(source, [finding.name]) for source in metric.sources):
            return replace(finding, name=metric.name)
    return finding


def _apart(reported: Results, scored: Results, contract: Contract) -> tuple[dict[str, Value], list[Finding]]:
    """What the experiment alone can know, and what it says on things that are the scorer's to measure."""
    of_scorer = {
        name: metric.name
        for metric in contract.metric
        for source in (metric.name, *metric.sources)
        for name in _matching(source, reported.metrics)
        if metric.sources
    }
    of_scorer |= {name: name for name in scored.metrics}
    own, contradicted = {}, []
    for name, value in reported.metrics.items():
        if name not in of_scorer:
            own[name] = value
            continue
        measured = scored.metrics.get(of_scorer[name])
        if measured is None:
            problem = f"the experiment reports {value.value:.6g}; the scorer did not measure it, so it does not count"
        elif math.isclose(measured.value, value.value, rel_tol=ROUNDING, abs_tol=1e-9):
            continue
        else:
            problem = f"the experiment reports {value.value:.6g}; the scorer measured {measured.value:.6g}, which counts"
        contradicted.append(Finding(value.file, value.key, problem))
    return own, contradicted


def _unlike(reported: Mapping[str, Setting], verified: Mapping[str, Setting]) -> list[Finding]:
    return [
        Finding(FINAL_INFO, f"settings.{name}", f"{reported[name]!r} is reported; the artifact has {value!r}", name)
        for name, value in verified.items()
        if reported.get(name) is not None and reported[name] != value
    ]


def _object(path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """What a scorer's file holds, and what is wrong with it; there need be none."""
    name = f"{EVAL_FOLDER}/{path.name}"
    if not path.exists():
        return {}, []
    try:
        content = load(path, None)
    except Unusable as error:
        return {}, [Finding(name, "", str(error))]
    return (content, []) if isinstance(content, dict) else ({}, [Finding(name, "", "expected an object")])


def _members(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _is_setting(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def _matching(source: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that a source of a metric means; `*` stands for any text, and no other sign for anything."""
    pattern = re.compile(".*".join(map(re.escape, source.split("*"))))
    return [name for name in names if pattern.fullmatch(name)]
