"""Numbers by reference: `{{run 2: absorption}}` in a text of a model or of yours, filled in from the records.

A number that nobody typed cannot be wrong: it has the digits that its noise allows, and a difference from the baseline the
word that its verdict allows. Not here: numbers that somebody typed (`claims`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..campaign.errors import InputError
from ..campaign.numbers import setting
from ..campaign.text import in_words, line
from ..claims.names import Names
from ..claims.prose import Sentence
from .campaign_data import CampaignData, Run
from .estimates import LEVEL, NONE, Estimates, compared, difference_in_words, reference_label
from .terminal.difference import beside

REFERENCE = re.compile(
    r"\{\{\s*(?P<run>baseline|run[ _]\d{1,4})\s*(?:vs\.?\s*(?P<other>baseline|parent|run[ _]\d{1,4})\s*)?"
    r":\s*(?P<name>[^{}]+?)\s*\}\}"
)
_MEANT = re.compile(r"\{\{[^{}\\]*\}\}")
"""What was meant as a reference; braces around a command of LaTeX were not."""
_NUMBERED = re.compile(
    r"\b(?:runs?|tables?|figures?|fig\.|sections?|attempts?)[\s_]+#?\d{1,4}(?:\s*(?:,|and|or|to|–|-)\s*(?:and\s+)?\d{1,4}\b)*",
    re.IGNORECASE,
)
"""What is numbered: run 2, Table 3."""
_MANY_RUNS = 12
"""With more runs than this a model is given the references of the primary metric alone."""


def typed_numbers(text: str) -> list[str]:
    """The numbers in `text` that are no part of a name: L0, F1, GPT-2, top-1, run 2, Table 3."""
    text = _NUMBERED.sub(" run ", text)
    tokens = Sentence(text, 0, len(text)).tokens()
    return [token.text for token in tokens if token.text[0].isnumeric() or token.kind == "number"]


class NumberReferences:
    """The references into one campaign."""

    def __init__(self, campaign: CampaignData, estimates: Estimates) -> None:
        self._campaign, self._estimates = campaign, estimates
        self._runs = {run.record.run: run for run in campaign.runs}
        self.names = Names(campaign.contract, [run.record for run in campaign.runs])

    def fill(self, text: str, source: str) -> str:
        """`text` with each reference replaced by what it stands for. Raises InputError with those that stand for nothing."""
        problems = list(dict.fromkeys(self.problems(text)))
        if problems:
            raise InputError("\n".join(f"{source}: {problem}" for problem in problems))
        return REFERENCE.sub(lambda match: self._value(match), text)

    def problems(self, text: str) -> Iterator[str]:
        """Why references in `text` cannot be filled in, a sentence each."""
        for meant in _MEANT.finditer(text):
            match = REFERENCE.fullmatch(meant[0])
            if match is None:
                yield f"{meant[0]}: no reference. Write {{{{run 2: METRIC}}}} or {{{{run 2 vs baseline: METRIC}}}}."
                continue
            try:
                self._value(match)
            except LookupError as error:
                yield f"{meant[0]}: {error.args[0]}"

    def listed(self) -> list[tuple[str, str]]:
        """The references that a model may use, each with what it becomes."""
        metrics = [metric.name for metric in self._campaign.contract.metric] or [m.name for m in self._campaign.context]
        primary = self._campaign.primary
        if primary is not None and len(self._runs) > _MANY_RUNS:
            metrics = [primary.name]
        found = []
        for number in self._runs:
            name = f"run {number}" if number else "baseline"
            others = [" vs baseline"] if number else []
            others += [" vs parent"] if self._runs[number].record.parent else []
            for reference in (f"{name}{other}: {metric}" for other in ("", *others) for metric in metrics):
                text = f"{{{{{reference}}}}}"
                if not list(self.problems(text)):
                    found.append((text, self.fill(text, "")))
        return found

    def _value(self, match: re.Match[str]) -> str:
        run = self._run(match["run"])
        if match["other"] is None:
            return self._own(run, match["name"])
        parent = run.record.parent
        other = self._run("baseline" if parent is None else f"run {parent}") if match["other"] == "parent" else None
        other = other or self._run(match["other"])
        return self._difference(run, other, self._metric(run, match["name"]))

    def _run(self, words: str) -> Run:
        number = 0 if words == "baseline" else int(words[4:])
        if number not in self._runs:
            raise LookupError(f"there is no run {number}; there are {', '.join(map(str, self._runs))}.")
        return self._runs[number]

    def _metric(self, run: Run, name: str) -> str:
        known = [name] if name in run.record.metrics else [n for n in self.names.called(name) if n in run.record.metrics]
        if len(known) == 1:
            return known[0]
        of = "the baseline" if run.record.run == 0 else f"run {run.record.run}"
        if known:
            raise LookupError(f"{of} has several: {', '.join(map(line, known))}.")
        has = ", ".join(map(line, run.record.metrics)) or "none"
        raise LookupError(f"{of} has no metric {line(name)}; it has {has}.")

    def _own(self, run: Run, name: str) -> str:
        record = run.record
        if name == "seeds":
            return str(record.seed_count)
        if name == "verdict":
            return in_words(self._campaign.verdict(run))
        if name in record.settings and name not in record.metrics:
            return setting(record.settings[name].value)
        return self._estimates.mean(run, self._metric(run, name))

    def _difference(self, run: Run, other: Run, name: str) -> str:
        primary, verdict = self._campaign.primary, run.record.verdict
        tested = primary is not None and name == primary.name
        if other.record.run == 0:
            found, word = verdict.against_baseline, self._campaign.verdict(run)
            text = self._estimates.difference(run, name)
            held = reference_label(run) if found else "the baseline"
        else:
            is_parent = other.record.run == run.record.parent
            found, word = (verdict.against_parent if is_parent else None), verdict.kind
            text, held = self._beside(run, other, name), f"run {other.record.run}"
        if text == NONE:
            raise LookupError(f"it has no reference in {line(name)}.")
        behind = [] if held in ("the baseline", f"run {other.record.run}") else [f"against {held}"]
        difference, limits, p = compared(found) if tested else (NONE, NONE, NONE)
        if difference != NONE:
            text = difference
            behind += [f"{LEVEL} simultaneous CI {limits}", in_words(word), f"adjusted p = {p}"]
        else:
            behind.append(in_words(word) if tested and found else "not tested")
        return f"{text} ({'; '.join(behind)})".replace("p = below", "p <")

    def _beside(self, run: Run, other: Run, name: str) -> str:
        mine, theirs = run.record.metrics[name], other.record.metrics.get(name)
        if theirs is None:
            return NONE
        return difference_in_words(beside(mine.values or [mine.value], theirs.values or [theirs.value], None))
