"""Which runs and metrics a sentence mentions, where, and which of it is only planned."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .names import Names, Part, is_time, pieces
from .prose import Sentence, tokens
from .vocabulary import (
    AGAINST,
    BETWEEN_RUN_AND_NUMBER,
    CLAUSE,
    FUTURE,
    HELD,
    LINKS,
    NOT_FUTURE,
    NOUNS,
    OF_TIME,
    PREPOSITIONS,
    SPEED,
    TIMES,
    UNITS,
    Unit,
)

_COMMIT = re.compile(r"(?=.*[a-f])(?=.*\d)[0-9a-f]{7,40}")


@dataclass(frozen=True)
class Runs:
    """Runs that words name. `numbers`: the candidates, any of which may be meant or, with `every`, all are; -1
    stands for the parent of the run that is spoken of."""

    numbers: tuple[int, ...]
    every: bool = False
    named: bool = True
    """In the words, and not just understood."""


NO_RUNS = Runs(())
BASELINE_OR_PARENT = Runs((0, -1), named=False)


@dataclass(frozen=True)
class Mention:
    """A name or a run in the sentence; tokens `first` to `last`."""

    first: int
    last: int
    names: tuple[str, ...] = ()
    runs: Runs = NO_RUNS
    against: bool = False
    """A run that another is held against."""


class Reading:
    """One sentence. All places are indices of tokens."""

    def __init__(self, sentence: Sentence, names: Names, about: int | None) -> None:
        self.sentence = sentence
        self.tokens = tokens(sentence)
        self.low = [token.low for token in self.tokens]
        self.about = about
        self.times = names.times
        self.runs = self._find_runs()
        taken = {i for run in self.runs for i in range(run.first, run.last + 1)}
        self.metrics = self._find_names(names, taken)
        self.run_at = {i: run for run in self.runs for i in range(run.first, run.last + 1)}
        self.metric_at = {i: metric for metric in self.metrics for i in range(metric.first, metric.last + 1)}
        self.numbers = [
            i
            for i, token in enumerate(self.tokens)
            if token.kind == "number" and i not in self.run_at and i not in self.metric_at
        ]
        self.planned = self._planned()
        counts = [i for i, word in enumerate(self.low) if word in TIMES and self.after(i, 1) == ["seeds"]]
        owners = {i: self._owner(self.unit(i)[1]) for i in [*self.numbers, *counts]}
        self.owners = {i: run for i, run in owners.items() if run is not None}
        """The runs that stand right behind a number: `0.143 in the baseline`, `0.143 (run 0)`."""
        owning = {run.first for run in self.owners.values()}
        self._not_subjects = owning | {
            run.first
            for run in self.runs
            if self._is_attribute(run) or (self._is_possessive(run) and any(self.precedes(run, i) for i in self._next(run)))
        }

    def text(self, first: int, last: int) -> str:
        """The words from token `first` to token `last`, as they are written."""
        start = self.sentence.start
        return self.sentence.text[self.tokens[first].start - start : self.tokens[last].end - start]

    def before(self, i: int, count: int) -> list[str]:
        return self.low[max(0, i - count) : i]

    def after(self, i: int, count: int) -> list[str]:
        return self.low[i + 1 : i + 1 + count]

    def unit(self, i: int) -> tuple[Unit, int]:
        """The unit behind the number `i`, and its last token."""
        for words, unit in UNITS.items():
            if tuple(self.low[i + 1 : i + 1 + len(words)]) == words:
                return unit, i + len(words)
        return "", i

    def joined(self, left: int, right: int) -> bool:
        """Whether two places are neighbours in a list."""
        between = self.low[left + 1 : right]
        return 0 < len(between) <= 3 and all(word in (",", "and", "%", "/", "the") for word in between)

    def metrics_before(self, i: int) -> list[Mention]:
        return [metric for metric in self.metrics if metric.last < i]

    def subject(self, i: int) -> Runs:
        """The run that the words before `i` are about, else the one in hand."""
        before = [
            run
            for run in self.runs
            if run.last < i and not run.against and run.first not in self._not_subjects and not self._is_aside(run, i)
        ]
        if before and not {"we", "i", "ours", "us"}.isdisjoint(self.low[before[-1].last : i]) and self.about is not None:
            return Runs((self.about,), named=False)
        if before:
            return before[-1].runs
        behind = next((run for run in self.runs if run.first > i and not run.against), None)
        near = behind is not None and not any(i < n < behind.first for n in self.numbers)
        if behind is not None and near and self.low[behind.first - 1] in ("in", "for", "with"):
            return behind.runs
        return Runs(() if self.about is None else (self.about,), named=False)

    def _is_aside(self, run: Mention, i: int) -> bool:
        """`0.907 (baseline: 0.912), cosine 0.937`: named in a bracket that is closed before `i`."""
        opened = [j for j in range(run.first) if self.low[j] in "()"][-1:]
        return bool(opened) and self.low[opened[0]] == "(" and ")" in self.low[run.last : i]

    def reference(self, i: int) -> Runs:
        """The run that `i` is held against: named, or else the baseline or the parent."""
        held = [run for run in self.runs if run.against and not self.is_near(run)]
        best = next((run for run in held if run.first > i), held[-1] if held else None)
        return best.runs if best is not None else BASELINE_OR_PARENT

    def is_near(self, run: Mention) -> bool:
        """`drops to 0.34, close to the baseline`: it did not drop from there."""
        before = [word for word in self.before(run.first, 3) if word not in ("the", "that", "of")]
        return before[-2:] in (["close", "to"], ["similar", "to"]) or before[-1:] == ["near"]

    def precedes(self, run: Mention, i: int) -> bool:
        """Whether a run stands right before a number: `the baseline's 0.143`, `baseline: 0.304`."""
        if (
            run.against
            and self.after(run.last, 1) in (["("], [":"])
            and {"vs", "versus", "against", "and"} & set(self.after(i, 2))
        ):
            return False  # "lower than in run 0 (52.7% vs 60.9%)": the first is the other run's
        whose = self.after(run.last, 2)[-1:] == ["whose"]
        return run.last < i <= run.last + 12 and all(
            j in self.metric_at or self.low[j] in BETWEEN_RUN_AND_NUMBER for j in range(run.last + 1 + 2 * whose, i)
        )

    def is_of_run(self, i: int) -> bool:
        """Whether a number is said to be a run's own: `0.143 in the baseline`, `the baseline's 0.143`; not `0.1 from run 2`,
        `0.1 with run 2's schedule`."""
        owner = self.owners.get(i)
        if owner is not None:
            before = [word for word in self.before(owner.first, 2) if word != "the"]
            return before[-1:] in (["in"], ["of"], ["for"], ["("]) and not self._is_possessive(owner)
        before_it = [run for run in self.runs if run.last < i]
        return bool(before_it) and self.precedes(before_it[-1], i)

    def _owner(self, end: int) -> Mention | None:
        for j in range(end + 1, min(end + 7, len(self.low))):
            run = self.run_at.get(j)
            if run is not None:
                # "0.358 (baseline: 0.304)": the run belongs to the number behind it
                own = run.last + 1
                is_next = own < len(self.tokens) and self.tokens[own].kind == "number"
                later = is_next or self.low[own : own + 1] in ([":"], ["="])
                joined = "and" in self.low[end + 1 : j] and "both" not in self.low[end + 1 : j]
                return None if later or joined or j == end + 1 else run
            if self.low[j] not in PREPOSITIONS and self.low[j] not in ("(", ")") and j not in self.metric_at:
                return None
        return None

    def _is_attribute(self, run: Mention) -> bool:
        """`the gradient of run 2`, `half of what run 2 used`: named for something else than its results."""
        if self.before(run.first, 1) == ["what"]:
            return True
        at = run.first - 1 - (self.before(run.first, 1) == ["the"])
        if at < 1 or self.low[at] != "of" or self.low[at - 1] in LINKS - NOUNS:
            return False
        return self.tokens[at - 1].kind == "word" and at - 1 not in self.metric_at

    def _next(self, run: Mention) -> list[int]:
        """The number behind a run, if there is one near."""
        return [i for i in range(run.last + 1, min(run.last + 9, len(self.tokens))) if self.tokens[i].kind == "number"][:1]

    def _is_possessive(self, run: Mention) -> bool:
        last = self.tokens[run.last].text
        return last == "s" or last[-2:] in ("'s", "’s")

    def _find_runs(self) -> list[Mention]:
        found: list[Mention] = []
        i = 0
        while i < len(self.tokens):
            last, runs = self._named_run(i)
            if runs is None:
                i += 1
                continue
            while (joined := self._joined_run(i, last)) is not None:
                last, more = joined
                runs = Runs(tuple(dict.fromkeys([*runs.numbers, *more.numbers])), every=True)
            found.append(Mention(i, last, runs=runs, against=self._is_against(i)))
            i = last + 1
        return found

    def _joined_run(self, first: int, last: int) -> tuple[int, Runs] | None:
        """The run after an "and" that is named in one breath: `than the baseline and run 1`, `Run 0 and run 2 have`."""
        if self.low[last + 1 : last + 2] not in (["and"], [","], ["or"]):
            return None
        second = last + 2
        second += self.low[second : second + 1] == self.before(first - (self.before(first, 1) == ["the"]), 1) != ["the"]
        end, more = self._named_run(second + (self.low[second : second + 1] == ["the"]))
        if more is None:
            return None
        # "0.751 in run 3 and the baseline has 0.745": the second begins a clause of its own
        alone = end + 1 >= len(self.low) or self.tokens[end + 1].kind == "mark"
        return (end, more) if alone or first == 0 or self.low[first - 1] == "both" else None

    def _is_against(self, i: int) -> bool:
        """Whether the words before a run hold something against it."""
        if self.before(i, 2) == ["that", "of"] or self.before(i, 3) == ["that", "of", "the"]:
            return True
        j = i - 1
        while j >= max(0, i - 4) and self.low[j] in ("the", "our", "its", "in", "for", "of", "that", "both"):
            j -= 1
        if j < 0 or self.low[j] not in AGAINST:
            return False
        return self.low[j] not in ("to", "with") or self.low[j - 1] in HELD

    def _named_run(self, i: int) -> tuple[int, Runs | None]:
        """The run that the words at `i` name, and the last of them."""
        if i >= len(self.low):
            return i, None
        word = self.low[i]
        if match := re.fullmatch(r"runs?[_-](\d{1,4})", word):
            return i, Runs((int(match[1]),))
        if word in ("run", "runs"):
            last, numbers = self._run_numbers(i)
            if numbers:
                last += 2 * (self.low[last + 1 : last + 3] in (["'", "s"], ["’", "s"]))
                return last, Runs(tuple(numbers), every=len(numbers) > 1)
        before = self.low[i - 1] if i else ""
        if word == "baseline":
            # "the k=320 baseline", "the ReLU baseline": another one may be meant
            other = i > 0 and (self.tokens[i - 1].kind in ("number", "code") or self.tokens[i - 1].text[:1].isupper())
            other = other and before not in ("the", "our", "compared", "relative", "against", "in", "untouched")
            return i, Runs(()) if other else Runs((0,))
        if word in ("untouched", "unchanged", "original") and not {"experiment", "code"}.isdisjoint(self.after(i, 1)):
            return i + 1, Runs((0,))
        if word == "parent" and self.low[i + 1 : i + 2] == ["run"]:
            return i + 1, Runs(()) if self.about is None else Runs((-1,))
        if word == "run" and self.about is not None:
            if before in ("this", "current", "present"):
                return i, Runs((self.about,))
            if before in ("previous", "last", "preceding") and self.about > 0:
                return i, Runs((self.about - 1,))
            if before == "first" and self.after(i, 1) not in (["whose"], ["that"], ["with"], ["to"], ["where"], ["in"]):
                return i, Runs((1,))
        return i, None

    def _run_numbers(self, i: int) -> tuple[int, list[int]]:
        """The numbers behind "run" or "runs": one, a list, or a range; and the last token."""
        numbers: list[int] = []
        last, at = i, i + 1 + (self.after(i, 1) == ["#"])
        while at < len(self.low) and re.fullmatch(r"[0-9]{1,4}", self.low[at]):
            numbers.append(int(self.low[at]))
            last = at
            to = self.low[at + 2] if self.after(at, 1) in (["-"], ["–"], ["to"]) and at + 2 < len(self.low) else ""
            many = self.low[i] == "runs"
            if many and re.fullmatch(r"[0-9]{1,4}", to) and numbers[-1] < int(to) < numbers[-1] + 100:
                return at + 2, [*numbers, *range(numbers[-1] + 1, int(to) + 1)]
            joined = at + 1
            while joined < len(self.low) and self.low[joined] in (",", "and", "or", "&"):
                joined += 1
            if self.low[i] == "run" or joined == at + 1:
                break
            at = joined
        return last, numbers

    def _find_names(self, names: Names, taken: set[int]) -> list[Mention]:
        parts = [
            Part(piece, len(token.text) > 1 and token.text.isupper(), i)
            for i, token in enumerate(self.tokens)
            if token.kind in ("word", "number", "code") and i not in taken and not _COMMIT.fullmatch(token.low)
            for piece in (pieces(token.low) if token.kind == "word" else [token.low])
        ]
        found: list[Mention] = []
        i = 0
        while i < len(parts):
            length, known = names.at(parts, i)
            first, last = parts[i].token, parts[i + length - 1].token if length else 0
            if not length or (length > 1 and self._interrupted(first, last)):
                i += 1
                continue
            known = (self._is_timed and names.taken_by(known)) or known
            each = self.before(first, 1) in (["per"], ["each"], ["every"]) and not self._is_timed
            if not each and not self._is_one(first, last, known) and not self._is_lost(first, last):
                found.append(Mention(first, last, names=known))
            i += length
        return found

    def _is_one(self, first: int, last: int, known: tuple[str, ...]) -> bool:
        """`at step 100`, `a step from 0.1`: one of what a name counts, unless a number counts it, as in `488-step`."""
        counts = (
            first == last
            and all(name.endswith("s") and not is_time(name) for name in known)
            and not self.low[first].endswith("s")
        )
        return counts and not (first and (self.low[first - 1] == "-" or self.tokens[first - 1].kind == "number"))

    @property
    def _is_timed(self) -> bool:
        """`a step takes 1.9 ms`, `twice as long`: a number in the sentence is a time."""
        behind = {word for token, word in zip(self.tokens, self.low[1:], strict=False) if token.kind == "number"}
        return not SPEED.union(["long", "longer"]).isdisjoint(self.low) or not behind.isdisjoint(OF_TIME)

    def _is_lost(self, first: int, last: int) -> bool:
        """`a loss of 0.08 in explained variance`: what is lost, and not the loss."""
        if self.low[first : last + 2] != ["loss", "of"] or self.tokens[min(last + 2, len(self.tokens) - 1)].kind != "number":
            return False
        return self.low[self.unit(last + 2)[1] + 1 :][:1] == ["in"]

    def _interrupted(self, first: int, last: int) -> bool:
        return any(token.kind == "mark" and token.text not in "-_/–" for token in self.tokens[first : last + 1])

    def _planned(self) -> list[bool]:
        """Of each token, whether it is in a clause about what is planned, expected or possible."""
        text, start = self.sentence.text, self.sentence.start
        excused = [match.span() for match in NOT_FUTURE.finditer(text)]
        spans = []
        for match in FUTURE.finditer(text):
            if any(first <= match.start() < last for first, last in excused):
                continue
            begin = max((m.end() for m in CLAUSE.finditer(text, 0, match.start())), default=0)
            end = next((m.start() for m in re.finditer(r";\s|\bbut\b", text[match.end() :])), len(text) - match.end())
            spans.append((start + begin, start + match.end() + end))
        return [any(first <= token.start < last for first, last in spans) for token in self.tokens]
