"""The held-out evaluation in numbers: all metrics of the contract, for report and paper."""

from __future__ import annotations

from ...campaign.metric_names import as_written
from ...campaign.numbers import titled
from ...campaign.text import in_words, line
from ..campaign_data import CampaignData
from ..estimates import NONE, difference_in_words, with_error
from ..terminal.difference import beside
from ..terminal.held_out import scope
from .document import Column, Table


def held_out_table(campaign: CampaignData) -> Table | None:
    """The run that was selected beside its reference, where nothing was selected; None where nothing was evaluated."""
    found = campaign.status.held_out
    last = found.last if found else None
    if last is None or not last["metrics"]:
        return None
    rows = []
    for metric in campaign.directed:
        if both := last["metrics"].get(metric.name):
            each = beside(both["run"], both["reference"], metric.better, paired=True)
            rows.append(
                (
                    titled(as_written(line(metric.name)), line(metric.unit)),
                    metric.better or NONE,
                    with_error(each.reference, each.reference_error),
                    with_error(each.value, each.value_error),
                    difference_in_words(each),
                )
            )
    columns = (
        Column("Metric", "words"),
        Column("Direction"),
        Column("Baseline" if last["comparison"]["reference"] == "run_0" else "Control", "numbers"),
        Column(f"Run {last['run']}", "numbers"),
        Column("Difference", "numbers"),
    )
    caption = (
        f"Held-out evaluation, {in_words(last['status'])}: run {last['run']} in {scope(last)}, executed once, after the "
        "last run. Only the primary metric is tested. ± is the standard error of a mean, of the difference pair by pair."
    )
    return Table(caption, columns, tuple(rows))
