"""Numbers as a write-up prints them: with their noise, and with no digit more than it allows.

What follows ± is the standard error of a mean over seeds. The primary metric takes the noise that its verdict took, another
one the spread of the run's seeds and of those that it is held against; where neither has two seeds the noise is unknown and
nothing follows.
"""

from __future__ import annotations

from ..campaign.numbers import number, percent, row
from ..campaign.record import ComparisonRecord, MetricRecord
from ..campaign.text import line, reference_in_words
from ..statistics.ledger import ALPHA
from ..statistics.noise import decimals, rounded, with_noise
from ..statistics.wording import adjusted_p
from .campaign_data import CampaignData, Run
from .terminal.difference import Difference, beside
from .terminal.record_page import differences, word

NONE = "–"
LEVEL = percent(1 - 2 * ALPHA)
"""Of the limits of a difference: those of all runs hold together in so many campaigns."""
_STANDARD_ERRORS = 6.0  # that the limits of a difference lie apart, about: enough to say how many digits it is worth


class Estimates:
    """All numbers of one campaign."""

    def __init__(self, campaign: CampaignData) -> None:
        contract, records = campaign.contract, [run.record for run in campaign.runs]
        self._plain = {record.run: record.model_dump() for record in records}
        rules = contract.model_dump()
        self._found = {run: differences(record, self._plain[0], rules) for run, record in self._plain.items()}

    def beside(self, run: Run, metric: str) -> Difference | None:
        """The run's number beside that of its reference; None where there is none, or it has no number."""
        return self._found[run.record.run].get(metric)

    def word(self, run: Run, metric: str) -> str:
        """What the difference means, as `harness show` says it; of a run that is no evidence nothing."""
        found = self.beside(run, metric)
        return word(self._plain[run.record.run], found) if found else ""

    def mean(self, run: Run, metric: str) -> str:
        """`0.112 ± 0.008`, `0.1124` where the noise is unknown, a dash where there is no number."""
        own = run.record.metrics.get(metric)
        return NONE if own is None else mean_in_words(own, self.beside(run, metric))

    def reference(self, run: Run, metric: str) -> str:
        """What the run's number is held against, in the same way."""
        found = self.beside(run, metric)
        return NONE if found is None else reference_in_numbers(found)

    def difference(self, run: Run, metric: str) -> str:
        """From what it is held against."""
        found = self.beside(run, metric)
        return NONE if found is None else difference_in_words(found)


def mean_in_words(own: MetricRecord, found: Difference | None) -> str:
    """A run's number; `found` is it beside its reference, where it has one."""
    values = own.values or [own.value]
    return with_error(own.value, (found or beside(values, values, None)).value_error)


def reference_in_numbers(found: Difference) -> str:
    """The reference's number: where its noise is unknown, with as many digits as tell it from the run's."""
    if found.reference_error:
        return with_error(found.reference, found.reference_error)
    return row([found.value, found.reference])[1].replace("-", "−")


def difference_in_words(found: Difference) -> str:
    """`−0.03 ± 0.01`, or without an error where the noise is unknown."""
    return with_noise(found.difference, found.error, "+") if found.error else signed(found.difference)


def reference_label(run: Run) -> str:
    """The reference of a run: `the baseline`, `the control k=80` or a place on the frontier."""
    compared = run.record.verdict.against_baseline
    return reference_in_words(line(compared.reference) if compared else "run_0")


def reference_note(run: Run) -> str:
    """What the reference is where it is not run 0's number: `baseline, final seeds`, `control k=80`."""
    compared, name = run.record.verdict.against_baseline, reference_label(run).removeprefix("the ")
    if compared is None:
        return ""
    if any(each.name == compared.reference for each in run.record.final_references):
        return f"{name}, final seeds"
    return "" if name == "baseline" else name


def beside_what(run: Run, primary: str) -> str:
    """A control is a reference for all metrics, a place on the frontier for the primary one."""
    found, label = run.record.verdict.against_baseline, reference_label(run)
    if found and found.frontier:
        return f"{label}, for {primary} alone"
    return f"{label} at the same final seeds" if reference_note(run).endswith("final seeds") else label


def with_error(value: float, error: float | None) -> str:
    """A number and its standard error where that is known."""
    return with_noise(value, error) if error else number(value).replace("-", "−")


def signed(difference: float) -> str:
    """With its sign, and a minus that is one."""
    return ("+" if difference > 0 else "−" if difference < 0 else "") + number(abs(difference), 3)


def compared(found: ComparisonRecord | None) -> tuple[str, str, str]:
    """Difference, its limits, and p: as they are on record, with the digits that they are worth."""
    if found is None or found.difference is None or found.low is None or found.high is None:
        return NONE, NONE, NONE
    places = decimals(found.error or (found.high - found.low) / _STANDARD_ERRORS)
    difference, low, high = (rounded(value, places, "+") for value in (found.difference, found.low, found.high))
    return difference, f"{low} to {high}", adjusted_p(found) or NONE
