"""Claims held against records: what a record says of each number and each direction.

`contradicts` is said only where it is certain which record's value is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..campaign.contract import Contract
from ..campaign.numbers import number
from ..campaign.record import Record
from ..campaign.text import in_words
from .claims import Claim
from .directions import DirectionClaim, StatusClaim
from .mentions import Runs
from .names import is_time, pieces
from .quantities import Quantity
from .rounding import comparison, fits, is_comparison, is_value, shown

Verdict = Literal["matches", "contradicts", "no_source"]
Answer = tuple[Verdict, str]
"""What the records say, and which record says it."""

_EARNED = ("improved", "trade_off")
_NO_EVIDENCE = ("invalid", "failed", "no_effect", "not_comparable")
_LOWER = frozenset(["loss", "error", "mse", "rmse", "mae", "perplexity"])
_SETTING = 0.1
"""How far a setting may be rounded, relatively."""
_FACTOR = 0.2
"""How far "doubled" may be from 2, relatively."""
_CLEAR = 0.02
"""From this relative difference on "unchanged" is wrong."""
_TELLING = 3
"""Significant digits from which on a bare number that equals a record's is taken to be it."""


@dataclass(frozen=True)
class Known:
    """A value in a record, and the file it was read from."""

    run: int
    name: str
    value: float
    file: str

    def __str__(self) -> str:
        return f"run_{self.run}: {self.name} is {number(self.value, 5)} ({self.file})"


class Matching:
    def __init__(self, records: Sequence[Record], contract: Contract, about: int | None) -> None:
        self._records = {record.run: record for record in records}
        self._metrics = {metric.name: metric for metric in contract.metric}
        self._primary = contract.primary
        self._about = about

    def judge(self, claim: Claim) -> Answer | None:
        """What the records say of a claim; None where it turns out to be none."""
        if isinstance(claim, Quantity):
            return self._quantity(claim)
        return self._status(claim) if isinstance(claim, StatusClaim) else self._direction(claim)

    # --- what is known --------------------------------------------------------------------------------------------

    def _runs(self, runs: Runs, subject: Runs | None = None) -> list[int]:
        """Numbers of runs that are on record; -1 stands for the parent of the subject."""
        found: list[int] = []
        for run in runs.numbers:
            if run == -1:
                whose = subject.numbers[0] if subject and subject.numbers and subject.numbers[0] >= 0 else self._about
                parent = self._records[whose].parent if whose in self._records else None
                found += [] if parent is None else [parent]
            else:
                found.append(run)
        return [run for run in dict.fromkeys(found) if run in self._records]

    def _known(self, names: Iterable[str], runs: Iterable[int]) -> list[Known]:
        found = []
        for run in runs:
            record = self._records[run]
            for name in names:
                metric = record.metrics.get(name)
                setting = record.settings.get(name)
                if metric is not None:
                    found.append(Known(run, name, metric.value, f"run_{run}/{metric.file or 'record.json'}"))
                elif setting is not None:
                    if isinstance(setting.value, int | float) and not isinstance(setting.value, bool):
                        found.append(Known(run, name, float(setting.value), f"run_{run}/record.json"))
                elif name == "seed" and record.seed is not None:
                    seeds = record.seeds or [record.seed]
                    found += [Known(run, name, float(seed), f"run_{run}/record.json") for seed in seeds]
        return found

    def _beside(self, known: Iterable[Known], claim: Quantity) -> list[Known]:
        """A run's value at each seed where seeds are spoken of, and, where another number is held against this one, what the
        run was compared with."""
        by_seed = claim.listed or "seed" in claim.mentioned
        found = []
        for each in known:
            metric = self._records[each.run].metrics.get(each.name)
            if metric is not None:
                found += [replace(each, value=value) for value in metric.values] if by_seed else []
                found += [replace(each, value=metric.baseline)] if claim.other and metric.baseline is not None else []
        return found

    def _is_metric(self, names: Iterable[str]) -> bool:
        return any(name in self._metrics or any(name in r.metrics for r in self._records.values()) for name in names)

    # --- numbers --------------------------------------------------------------------------------------------------

    def _quantity(self, claim: Quantity) -> Answer:
        if claim.role == "target":
            return self._target(claim)
        if not claim.names:
            return self._bare(claim)
        subjects = self._runs(claim.runs, claim.runs)
        if claim.role == "seeds":
            return self._seeds(claim, subjects)
        if claim.role in ("value", "amount"):
            return self._value(claim, subjects)
        return self._compared(claim, subjects)

    def _target(self, claim: Quantity) -> Answer:
        targets = {name: metric.target for name, metric in self._metrics.items() if metric.target is not None}
        own = {name: target for name, target in targets.items() if name in claim.names}
        for name, target in (own or targets).items():
            if is_value(claim, target):
                return "matches", f"the target of {name}"
        for name, target in own.items():
            if claim.sure:
                return "contradicts", f"the target of {name} is {number(target)} (experiment.toml)"
        return "no_source", "no such target in the contract"

    def _bare(self, claim: Quantity) -> Answer:
        if sum(c.isdigit() for c in claim.text.lstrip("+-−0.")) >= _TELLING and claim.role in ("value", "amount"):
            for record in self._records.values():
                for known in self._known([*record.metrics, *record.settings], [record.run]):
                    if is_value(claim, known.value):
                        return "matches", str(known)
        return "no_source", "it is not said of which metric or setting"

    def _seeds(self, claim: Quantity, subjects: list[int]) -> Answer:
        counts = {run: record.seed_count for run, record in self._records.items() if record.seed_count}
        known = [run for run in subjects if run in counts]
        meant = known if claim.of_run and known else counts
        if (run := next((run for run in meant if counts[run] == claim.value), None)) is not None:
            return "matches", f"run_{run}: its seeds"
        if not known or claim.value <= len({record.seed for record in self._records.values()}):
            return "no_source", "the number of seeds is not on record"
        why = f"run_{known[0]}: {counts[known[0]]} seed{'s' * (counts[known[0]] > 1)} (run_{known[0]}/record.json)"
        return self._wrong(claim, why)

    def _value(self, claim: Quantity, subjects: list[int]) -> Answer:
        own = self._about_runs()
        known = self._known(claim.names, self._runs(claim.runs, own) if claim.other else subjects)
        fitting = [each for each in known if is_value(claim, each.value) and self._is_near_enough(claim, each)]
        fitting = fitting or [each for each in self._beside(known, claim) if is_value(claim, each.value)]
        runs_that_fit = {each.run for each in fitting}
        if fitting and (not claim.runs.every or all(each.run in runs_that_fit for each in known)):
            return "matches", str(fitting[0])
        computed = claim.role == "amount" and self._is_difference(claim, known)
        computed = computed or (claim.runs.every and bool(known) and is_value(claim, _mean(known)))
        if computed:
            return "matches", "; ".join(map(str, known))
        if not claim.strict and (other := self._explained(claim)):
            return "matches", other
        if not claim.tight and not self._is_metric(claim.names):
            return "no_source", f"not close enough to {claim.names[0]}"
        failed = [run for run in subjects if self._records[run].status == "failed"]
        if failed and not known and claim.sure and self._is_metric(claim.names):
            return "contradicts", f"run_{failed[0]}: it failed and has no {claim.names[0]}"
        wrong = [each for each in known if each.run not in runs_that_fit]
        mine = self._runs(own) if claim.other and own else []
        if wrong and mine and not self._known(claim.names, mine):
            return "no_source", f"no record of {claim.names[0]} in run_{mine[0]}"
        if wrong and _is_count_of_share(claim, wrong):
            return "no_source", f"{wrong[0]}: a share, and {claim.text} is a count"
        if not wrong:
            return "no_source", f"no record of {claim.names[0]}" + (f" in run_{subjects[0]}" if subjects else "")
        return self._wrong(claim, str(wrong[0]))

    def _is_near_enough(self, claim: Quantity, known: Known) -> bool:
        """A setting is what it is: 0.006 is not 0.01, though it may be rounded to it."""
        is_metric = known.name in self._records[known.run].metrics
        return is_metric or bool(claim.bound or claim.unit) or abs(known.value - claim.value) <= _SETTING * abs(known.value)

    @staticmethod
    def _wrong(claim: Quantity, why: str) -> Answer:
        return ("contradicts" if claim.sure else "no_source"), why

    def _explained(self, claim: Quantity) -> str:
        """Another reading of a number: a value of what the sentence names, in any run, or what two runs differ by."""
        value = replace(claim, role="value")
        for name in claim.mentioned:
            known = self._known([name], self._records)
            for mine in known:
                if is_value(value, mine.value):
                    return str(mine)
            if claim.role == "value":
                continue
            for mine in (each for each in known if each.run in (*claim.runs.numbers, self._about)):
                held = self._runs(claim.reference, Runs((mine.run,)))
                held += [] if claim.reference.named else [mine.run - 1]
                for other in known:
                    if other.run in held and mine.run != other.run and is_comparison(claim, mine.value, other.value):
                        return f"{mine}, and {number(other.value, 5)} in run_{other.run}"
        return ""

    def _is_difference(self, claim: Quantity, known: list[Known]) -> bool:
        """`we lose 0.082 in explained variance`."""
        for mine in known:
            for other in self._known([mine.name], self._runs(claim.reference, Runs((mine.run,)))):
                if mine.value != other.value and is_value(claim, abs(mine.value - other.value)):
                    return True
        return False

    def _about_runs(self) -> Runs | None:
        return None if self._about is None else Runs((self._about,))

    def _compared(self, claim: Quantity, subjects: list[int]) -> Answer:
        """A difference or a ratio between two runs."""
        references = self._runs(claim.reference, claim.runs)
        why = ""
        for name in claim.names:
            for mine in self._known([name], subjects):
                for other in self._known([name], [run for run in references if run != mine.run]):
                    actual = comparison(claim, mine.value, other.value)
                    told = f"{mine}, and {number(other.value, 5)} in run_{other.run}"
                    if actual is not None and any(fits(claim, each) for each in actual):
                        return "matches", told
                    is_part = claim.role == "ratio" and claim.unit == "%"
                    if (claim.text[:1] in "+-−" or is_part) and is_value(claim, mine.value):
                        return "matches", str(mine)
                    if actual:
                        why = why or f"{told}: {' or '.join(shown(claim, each) for each in actual)}"
        known = self._known(claim.names, [*subjects, *references])
        if why and known and _is_count_of_share(claim, known):
            return "no_source", f"{known[0]}: a share, and {claim.text} is a count"
        if why and not claim.strict and (reading := self._explained(claim)):
            return "matches", reading
        if not why:
            return "no_source", f"no two records of {claim.names[0]} to compare"
        return self._wrong(claim, why)

    # --- directions -----------------------------------------------------------------------------------------------

    def _direction(self, claim: DirectionClaim) -> Answer | None:
        names = claim.names or ((self._primary.name,) if self._primary else ())
        subjects = self._runs(claim.runs, claim.runs)
        if not subjects:
            return None
        if claim.kind in ("best", "highest", "lowest"):
            return self._superlative(claim, names, subjects[0])
        if claim.kind == "same":
            return self._same(claim, subjects[0])
        if subjects == [0] and not claim.reference.named:
            return None
        failed = [run for run in subjects if self._records[run].status == "failed"]
        if failed and not claim.negated and self._is_metric(names):
            return "contradicts", f"run_{failed[0]}: it failed and has no {names[0]}"
        if claim.numbers is not None:
            before, after = claim.numbers
            wanted = self._sign(claim, names[0]) if names else None
            if wanted is not None and (after - before) * wanted <= 0 and not claim.negated:
                values = "; ".join(map(str, self._known(names, subjects)))
                return "contradicts", values or f"run_{subjects[0]}: {before:g} to {after:g} is the other way"
        return self._moved(claim, names, subjects)

    def _sign(self, claim: DirectionClaim, name: str) -> int | None:
        """+1 where the claim is that the value is larger, -1 where smaller, None where that is not known."""
        if claim.kind in ("up", "down"):
            return 1 if claim.kind == "up" else -1
        metric = self._metrics.get(name)
        better = metric.better if metric else None
        last = pieces(name.rpartition(".")[2])
        if better is None and not _LOWER.isdisjoint(last) and last[-1] != "score":
            better = "lower"
        if better is None:
            return None
        return (1 if better == "higher" else -1) * (1 if claim.kind == "improved" else -1)

    def _moved(self, claim: DirectionClaim, names: tuple[str, ...], subjects: list[int]) -> Answer | None:
        held: list[tuple[bool, str]] = []
        for name in names:
            sign = self._sign(claim, name)
            if sign is None:
                continue
            for mine in self._known([name], subjects):
                before = () if claim.reference.named else (mine.run - 1,)
                references = self._runs(Runs((*claim.reference.numbers, *before)), Runs((mine.run,)))
                for other in self._known([name], [run for run in references if run != mine.run]):
                    right = (mine.value - other.value) * sign > 0
                    if right and claim.factor is not None and other.value:
                        times = mine.value / other.value
                        near = abs(times / claim.factor - 1) <= _FACTOR
                        right = (times >= claim.factor) == (claim.factor > 1) if claim.beyond else near
                    held.append((right != claim.negated, f"{mine}, and {number(other.value, 5)} in run_{other.run}"))
        every = claim.reference.every or claim.runs.every
        verdict = self._earned(claim, names, subjects)
        if not held:
            return verdict
        if not (all if every else any)(right for right, _ in held):
            if claim.negated and verdict is not None:
                return verdict
            return "contradicts", next(why for right, why in held if not right)
        return verdict or ("matches", next(why for right, why in held if right))

    def _earned(self, claim: DirectionClaim, names: tuple[str, ...], subjects: list[int]) -> Answer | None:
        """Whether the verdict bears out a claim that a run improved; None where the claim is about values alone."""
        primary = self._primary.name if self._primary else None
        better = self._primary.better if self._primary else None
        kind = claim.kind
        if claim.significant and kind in ("up", "down") and primary in names:
            kind = "improved" if (kind == "up") == (better == "higher") else "worse"
        decides = kind == "improved" or (kind == "worse" and claim.significant)
        if not decides or (claim.unproven and not claim.negated) or (claim.names and primary not in names):
            return None
        record = self._records[subjects[0]]
        judged = {0, record.parent} if claim.significant or not claim.names else {0}
        if record.verdict.kind == "baseline" or (claim.reference.named and judged.isdisjoint(claim.reference.numbers)):
            return None
        earned = record.verdict.kind in (_EARNED if kind == "improved" else ("worse",))
        told = f"run_{record.run}: the verdict is {in_words(record.verdict.kind)}"
        if earned == claim.negated:
            return "contradicts", f"{told}: {record.verdict.why}" if record.verdict.why else told
        return "matches", told

    def _same(self, claim: DirectionClaim, subject: int) -> Answer | None:
        record = self._records[subject]
        earlier = () if claim.reference.named else (subject - 1,)
        held = Runs((*claim.reference.numbers, *earlier))
        references = [run for run in self._runs(held, Runs((subject,))) if run != subject]
        if not references or record.status == "failed":
            return None
        names = claim.names or ((self._primary.name,) if self._primary else ())
        told = f"run_{subject}: the verdict is {in_words(record.verdict.kind)}"
        of_primary = not claim.names or (self._primary is not None and self._primary.name in claim.names)
        if record.verdict.kind == "no_effect" or (record.verdict.kind == "not_significant" and of_primary):
            return ("contradicts" if claim.negated and record.verdict.kind == "no_effect" else "matches"), told
        pairs = [
            (mine, other)
            for name in names
            for mine in self._known([name], [subject])
            for other in self._known([name], references)
        ]
        if not pairs:
            return None
        equal = [mine for mine, other in pairs if mine.value == other.value]
        if equal:
            return ("contradicts" if claim.negated else "matches"), str(equal[0])
        if claim.negated:
            return "matches", str(pairs[0][0])
        if all(abs(m.value - o.value) >= _CLEAR * max(abs(m.value), abs(o.value)) for m, o in pairs):
            mine, other = pairs[0]
            return "contradicts", f"{mine}, and {number(other.value, 5)} in run_{other.run}"
        return "no_source", f"{pairs[0][0]}: nearly the same"

    def _superlative(self, claim: DirectionClaim, names: tuple[str, ...], subject: int) -> Answer | None:
        if claim.negated or not names:
            return None
        until = max(subject, self._about if self._about is not None else max(self._records))
        known = self._known(names[:1], [run for run in self._records if run <= until])
        record = self._records[subject]
        sign = {"highest": 1, "lowest": -1}.get(claim.kind)
        if sign is None:
            decides = self._primary is not None and self._primary.name in names
            if decides and record.verdict.kind in _NO_EVIDENCE and not claim.unproven:
                return "contradicts", f"run_{subject}: the verdict is {in_words(record.verdict.kind)}"
            sign = self._sign(replace(claim, kind="improved"), names[0])
            if decides:
                known = [each for each in known if self._records[each.run].verdict.kind not in _NO_EVIDENCE]
        mine = next((each for each in known if each.run == subject), None)
        if sign is None or mine is None:
            return None
        best = max(known, key=lambda each: each.value * sign)
        if best.value == mine.value:
            return "matches", str(mine)
        return "contradicts", f"{best}, and {number(mine.value, 5)} in run_{subject}"

    def _status(self, claim: StatusClaim) -> Answer | None:
        for run in self._runs(claim.runs, claim.runs):
            record = self._records[run]
            if claim.status == "failed":
                lost = record.status == "failed" or any(a.status != "completed" for a in record.attempts)
                if lost:
                    return "matches", f"run_{run}: {record.status}, {len(record.attempts)} attempts"
                return "contradicts", f"run_{run}: it completed"
            told = f"run_{run}: the verdict is {in_words(record.verdict.kind)}"
            return ("matches" if record.verdict.kind == claim.status else "contradicts"), told
        return None


def _mean(known: Sequence[Known]) -> float:
    return sum(each.value for each in known) / len(known)


def _is_count_of_share(claim: Quantity, known: Sequence[Known]) -> bool:
    """`5 dead latents` where the record has a share, and a count that is no whole number."""
    share = claim.text.isdecimal() and claim.role != "ratio" and all(abs(each.value) <= 1 for each in known)
    share = share and any(each.value != 1 for each in known)
    share = share and not is_time(known[0].name)
    return (share and claim.value > 1) or (known[0].name == "seed" and not claim.text.isdecimal())
