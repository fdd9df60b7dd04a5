"""What was executed as a run's reference: the baseline's code at other settings, as controls and points of a frontier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..campaign.contract import Setting
from ..campaign.record import ControlRecord
from .campaign_data import CampaignData, Run


@dataclass(frozen=True)
class Reference:
    """The baseline's code at `overrides`; `values` are its numbers by metric, one a seed."""

    name: str
    overrides: Mapping[str, Setting]
    values: Mapping[str, list[float]]
    why_none: str = ""

    def mean(self, metric: str) -> float | None:
        values = self.values.get(metric)
        return sum(values) / len(values) if values else None


def references_of(campaign: CampaignData, run: Run) -> list[Reference]:
    """Those that were executed for the run, and those between which it stands on the frontier."""
    record, known = run.record, _known(campaign)
    compared = record.verdict.against_baseline
    names = [each.name for each in (record.control, *record.frontier) if each]
    if compared and compared.frontier:
        names += [point.name for point in compared.frontier.points]
    own = {each.name: _of(each) for each in (record.control, *record.frontier) if each}
    return [found for name in dict.fromkeys(names) if (found := own.get(name) or known.get(name))]


def all_references(campaign: CampaignData) -> list[Reference]:
    """All that were executed in the campaign and are evidence, the baseline not among them."""
    return [each for name, each in _known(campaign).items() if name != "run_0" and each.values and not each.why_none]


def _known(campaign: CampaignData) -> dict[str, Reference]:
    found: dict[str, Reference] = {}
    for run in campaign.runs:
        if run.record.run == 0:
            values = {name: each.values or [each.value] for name, each in run.record.metrics.items()}
            found["run_0"] = Reference("run_0", {}, values)
        for control in (run.record.control, *run.record.frontier):
            if control is not None and not (control.name in found and control.why_none):
                found[control.name] = _of(control)
    return found


def _of(control: ControlRecord) -> Reference:
    return Reference(control.name, control.overrides, control.metrics, control.why_none)
