"""Held-out evaluations in words. Records as plain JSON: `status` and `log` answer at once, without their models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...campaign.numbers import number, p_in_words, setting
from ...campaign.text import in_words, line
from ...statistics.noise import decimals, rounded, with_noise

NAME = "Held-out evaluation"
_Facts = Mapping[str, Any]


@dataclass(frozen=True)
class HeldOut:
    """What came of what the contract holds out."""

    records: tuple[_Facts, ...]
    last: _Facts | None
    """The evaluation that holds: no run was made after its numbers were shown."""
    why_none: str
    """Why there is none that holds."""

    @property
    def spent(self) -> list[_Facts]:
        """Evaluations whose numbers were shown before later runs were made."""
        return [each for each in self.records if each is not self.last and each["pairs"]]


def held_out(facts: _Facts, options: _Facts, records: Sequence[_Facts], last_run: int) -> HeldOut | None:
    """None where the contract holds nothing out."""
    contract = facts["contract"]
    profile = contract["profiles"].get(options.get("profile", ""), {})
    if not profile.get("holdout") or not any(metric["primary"] for metric in contract["metric"]):
        return None
    last = next((each for each in records[-1:] if each["after_run"] >= last_run), None)
    why = "" if last else "the campaign has not ended" if options.get("holdout", True) else "switched off by --no-holdout"
    return HeldOut(tuple(records), last, why)


def sentences(found: HeldOut | None, metric: str) -> list[str]:
    """What the evaluations showed, the one that holds first; none where the contract holds nothing out."""
    if found is None:
        return []
    said = [evaluation(found.last, metric)] if found.last else [f"{NAME}: not evaluated, {found.why_none}."]
    if found.last and (uses := found.last["uses"]) is not None:
        before = f"{uses} time{'s' * (uses != 1)}" if uses else "never"
        said.append(f"The held-out settings of this experiment had been used {before} before.")
    for each in found.spent:
        said.append(f"Spent, because later runs were made when it had been shown: {_begun_small(evaluation(each, metric))}")
    return said


def evaluation(record: _Facts, metric: str) -> str:
    """`Held-out evaluation: confirmed. Run 4 in 6 new worlds: absorption 0.20 ± 0.01 against …`."""
    status = in_words(record["status"])
    if not record["pairs"]:
        return f"{NAME}: {status}, {line(record['why'])}."
    why = f"; {line(record['why'])}" if record["why"] else ""
    return f"{NAME}: {status}{why}. Run {record['run']} in {scope(record)}: {metric} {numbers(record)}."


def numbers(record: _Facts) -> str:
    """`0.20 ± 0.01 against 0.26 ± 0.02 of the baseline (difference −0.06 ± 0.01, …)`; why there are none."""
    found = record["comparison"]
    if found is None or not found["seeds"]:
        return "without numbers"
    whose = "the baseline" if found["reference"] == "run_0" else f"the {line(found['reference'])}"
    if found["difference"] is None:
        return f"{number(found['mean'])} against {number(found['reference_mean'])} of {whose}"
    root = math.sqrt(found["seeds"])
    mine, theirs, error = found["sd"] / root, found["reference_sd"] / root, found["error"]
    here, there = with_noise(found["mean"], mine), with_noise(found["reference_mean"], theirs)
    low, high = (rounded(found[end], decimals(error), "+") for end in ("low", "high"))
    inside = f"difference {with_noise(found['difference'], error, '+')}, 90 % CI {low} to {high}"
    inside += f", one-sided paired p = {p_in_words(found['p'])}".replace("= below", "<")
    return f"{here} against {there} of {whose} ({inside})"


def scope(record: _Facts) -> str:
    """`6 new worlds, a fresh seed in each`, `6 fresh seeds, one layer (2)`."""
    pairs, unit = record["pairs"], record["unit"]
    drawn = f"{len(pairs)} fresh seeds" if unit == "seed" else f"{len(pairs)} new {line(unit)}s, a fresh seed in each"
    fixed = []
    for name in pairs[0]["settings"]:
        values = list(dict.fromkeys(setting(pair["settings"][name]) for pair in pairs))
        if name != unit:
            fixed.append(f"one {name} ({values[0]})" if len(values) == 1 else f"{name} {', '.join(values)}")
    return ", ".join([drawn, *fixed]) if fixed or unit != "seed" else f"{drawn}, all else as in the runs"


def _begun_small(text: str) -> str:
    return text[:1].lower() + text[1:]
