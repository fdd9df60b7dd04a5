"""Words of direction in a sentence: which metric is said to have moved which way, in which run, against which."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .mentions import BASELINE_OR_PARENT, Mention, Reading, Runs
from .names import is_time
from .quantities import written
from .vocabulary import (
    BARE,
    BEATS,
    BREAKS,
    COMPARATIVES,
    COURSES,
    FACTORS,
    LINKED,
    NOT,
    PLACES,
    SCOPE,
    SHOWN,
    SPEED,
    UNPROVEN,
    VERDICTS,
    WENT,
    Direction,
)

_REACH = 12
"""Tokens between a word of direction and the metric before it."""
_WORDS = [*COURSES, "times", "seeds", "same", "change", "difference", "effect", "failed", "crashed", "verdict"]
SAYS_SOMETHING = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)
_NOT_FIRST = (["at"], ["second"], ["third"], ["next"], ["2nd"], ["3rd"])
_EXPECTED = frozenset(["i", "we", "expected", "thought", "hoped", "planned", "predicted"])
_HELD_BY = frozenset(["than", "below", "above", "against"])
_TO_METRIC = frozenset(["in", "of", "the", "its", "our", "mean", "on"])
_TO_RUN = frozenset(["the", "that", "of", "in", "both"])


@dataclass(frozen=True)
class DirectionClaim:
    """Words of direction: a metric rose, a run improved, nothing changed."""

    text: str
    kind: Direction
    negated: bool
    significant: bool
    unproven: bool
    """The sentence says itself that nothing is proven."""
    names: tuple[str, ...]
    runs: Runs
    reference: Runs
    numbers: tuple[float, float] | None = None
    """`from` and `to`, where it says them."""
    factor: float | None = None
    """`doubled`."""
    beyond: bool = False
    """`more than doubled`."""


@dataclass(frozen=True)
class StatusClaim:
    """A status or verdict that a run is said to have."""

    text: str
    status: str
    runs: Runs


def direction_claims(sentence: Reading) -> list[tuple[int, DirectionClaim | StatusClaim]]:
    """What is said of directions, statuses and verdicts, outside plans and expectations, each with its place."""
    found: list[tuple[int, DirectionClaim | StatusClaim]] = []
    for i, word in enumerate(sentence.low):
        if sentence.planned[i] or i in sentence.run_at or i in sentence.metric_at:
            continue
        claim = _direction(sentence, i, word) or _status(sentence, i, word)
        if claim is not None:
            found.append((i, claim))
    return found


def _direction(s: Reading, i: int, word: str) -> DirectionClaim | None:
    kind = "same" if _is_no_change(s, i, word) else COURSES.get(word)
    if kind is None or not _is_claim(s, i, word, kind):
        return None
    names, reference, subject = _name_near(s, i, word), _reference(s, i), s.subject(i)
    if word in SPEED and not names and s.before(i, 1) in (["is"], ["was"], ["the"]):
        names = s.times  # "training is slower than in run 2"
    if names == ("seed",) or (word in SPEED and not all(is_time(name) for name in names)):
        return None
    owners = {word: s.owners[j].runs for word, j in _places(s, i).items() if j in s.owners}
    subject, reference = owners.get("to", subject), owners.get("from", reference)
    named = subject.named or reference.named
    told = named or bool(_places(s, i)) or "did" in s.before(i, 3) or not SHOWN.isdisjoint(s.low[:i])
    if (not names and (kind in ("up", "down") or not named)) or (word in BARE and not told):
        return None
    before = s.before(i, 4)
    negated = any(each in NOT or each.endswith(("n't", "n’t")) for each in before) and word in COURSES
    significant = any(each.startswith("significan") for each in [*before, *s.after(i, 2)])
    if negated and significant:
        return None  # "not significantly better" denies less than it says
    unproven = UNPROVEN.search(s.sentence.text) is not None
    if kind in ("best", "highest", "lowest"):
        subject = _who_is(s, i) or next((r.runs for r in reversed(s.runs) if r.last < i and not r.against), subject)
    said = (kind, negated, significant, unproven, names, subject, reference)
    return DirectionClaim(s.text(i, i), *said, _from_to(s, i), FACTORS.get(word), s.before(i, 2) == ["more", "than"])


def _who_is(s: Reading, i: int) -> Runs | None:
    """`the best loss is still run 1's`: the run behind a superlative that it is about."""
    of = s.metric_at.get(i + 1)
    if of is not None and of.last + 1 in s.owners:
        return s.owners[of.last + 1].runs  # "the best accuracy 0.751 (baseline)"
    linked = False
    for j in range(i + 1, min(i + 8, len(s.low))):
        linked = linked or s.low[j] in ("is", "was", "remains", "has", "goes")
        if j in s.run_at:
            return s.run_at[j].runs if linked else None
        if s.tokens[j].kind == "mark":
            return None
    return None


def _is_no_change(s: Reading, i: int, word: str) -> bool:
    if word == "same":
        of = s.metric_at.get(i + 1)
        return s.after(of.last if of else i, 1) == ["as"]
    if word in ("change", "difference", "effect") and s.before(i, 1) == ["no"]:
        return True
    return word == "change" and s.before(i, 2) in (["did", "not"], ["do", "not"], ["does", "not"])


def _is_claim(s: Reading, i: int, word: str, kind: Direction) -> bool:
    """Whether a word of direction is used as one here."""
    before, after = s.before(i, 3), s.after(i, 2)
    against = any(run.against for run in s.runs)
    judged = "better" in s.after(i, 5) and "is" in s.after(i, 4)
    if word in COMPARATIVES and (judged or (s.before(i, 1) == ["is"] and COMPARATIVES & set(s.before(i, 5)))):
        return False  # "lower absorption is better"
    if after[:1] == ["than"] and ((i + 2 in s.numbers and i + 2 not in s.owners) or after[1:] in (["one"], ["a"], ["any"])):
        return False  # "more than 10 points", "less than one standard deviation"
    if word in COMPARATIVES and before[-1:] in (["what"], ["which"], ["that"]):
        return False  # "what more latents do"
    if kind in ("best", "highest", "lowest"):
        if before[-1:] in _NOT_FIRST or (word in ("most", "least") and before[-1:] != ["the"]):
            return False
        if "variants" in s.low[i:]:
            return False  # of which, the baseline is none
        owned = i + 1 in s.metric_at and s.before(i, 2) in (["has", "the"], ["had", "the"], ["reaches", "the"])
        return owned or SCOPE.search(s.sentence.text) is not None or any(not run.against for run in s.runs)
    if word in COMPARATIVES:
        if s.after(i, 1) == ["than"] and not _EXPECTED.isdisjoint(s.after(i, 4)):
            return False
        number = bool(before) and s.tokens[i - 1].kind == "number"
        return against or "than" in s.after(i, 12) or not LINKED.isdisjoint(before) or number or before[-1:] == ["%"]
    if word in ("up", "down"):
        if before[-1:] == ["by"]:
            return False  # "by up to 0.07"
        return after[:1] in (["from"], ["to"], ["by"]) or not WENT.isdisjoint(before[-1:]) or i + 1 in s.numbers
    if word in PLACES:
        j = i + 1
        while j < len(s.low) and s.low[j] in _TO_RUN:
            j += 1
        return j in s.run_at or j in s.owners
    if word == "brought":
        return "down" in s.after(i, 7)
    if word in ("exceeds", "exceeded") and i + 1 in s.numbers and i + 1 not in s.owners:
        return False  # "latents whose cosine exceeds 0.5"
    if word in ("cut", "cuts", "gain", "gained", "beat"):
        return against
    return not (word in ("raised", "lowered", "reduced", "increased") and before[-1:] in (["i"], ["we"], ["to"]))


def _name_near(s: Reading, i: int, word: str) -> tuple[str, ...]:
    """The metric that a word of direction is about: right behind it, or before it in its clause."""
    on = False
    for j in range(i + 1, min(i + 9, len(s.low))):
        if j in s.metric_at and (on or j <= i + 4):
            return s.metric_at[j].names
        on = on or (s.low[j] == "on" and word in BEATS)
        if s.low[j] not in _TO_METRIC and (word not in BEATS or s.tokens[j].kind == "mark"):
            break
    inside = 0  # of brackets: "absorption (0.143 at k=40) falls"
    for j in range(i - 1, max(-1, i - _REACH - 1), -1):
        if s.low[j] in BREAKS:
            break
        inside += (s.low[j] == ")") - (s.low[j] == "(")
        if j in s.metric_at and inside <= 0:
            return s.metric_at[j].names
    before = s.metrics_before(i)
    return before[-1].names if before and not BREAKS.isdisjoint(s.low[before[-1].last : i]) else ()


def _reference(s: Reading, i: int) -> Runs:
    """The run that something is held against: behind the word, else before it, else the baseline or the parent."""
    for j in range(i + 1, len(s.low)):
        if j in s.owners and not _HELD_BY.isdisjoint(s.before(j, 3)):
            return s.owners[j].runs  # "higher than the 0.143 of run 2"
        run: Mention | None = s.run_at.get(j)
        if run is not None and (run.against or s.low[i] in BEATS | {"below", "above"}) and not s.is_near(run):
            return run.runs
        if s.low[j] in COURSES and j > i + 1 and j not in s.metric_at:
            break
    early = [run for run in s.runs if run.last < i and run.against and not s.is_near(run)]
    return early[-1].runs if early else BASELINE_OR_PARENT


def _places(s: Reading, i: int) -> dict[str, int]:
    """Where the numbers behind "from" and "to" stand."""
    places: dict[str, int] = {}
    for j in range(i + 1, min(i + 16, len(s.low))):
        if s.low[j] in BREAKS or (s.low[j] == "," and s.after(j, 1) not in (["from"], ["to"])):
            break
        if s.tokens[j].kind == "number" and s.low[j - 1] in ("from", "to") and j in s.numbers:
            places.setdefault(s.low[j - 1], j)
    return places


def _from_to(s: Reading, i: int) -> tuple[float, float] | None:
    """`fell from 0.143 to 0.030`, `rose to 3.0 from 2.48`."""
    places = _places(s, i)
    if len(places) < 2:
        return None
    return written(s.tokens[places["from"]].text)[0], written(s.tokens[places["to"]].text)[0]


def _status(s: Reading, i: int, word: str) -> StatusClaim | None:
    if word in ("failed", "crashed") and s.after(i, 1) != ["to"] and i - 1 in s.run_at:
        return StatusClaim(word, "failed", s.run_at[i - 1].runs)
    if word == "verdict":
        of = s.run_at.get(i + 2) if s.after(i, 1) in (["of"], ["on"], ["for"]) else None
        end = of.last if of else i
        said = s.after(end + 1, 4) if s.after(end, 1) in (["is"], ["was"], [":"]) else []
        for words, kind in VERDICTS.items():
            if any(tuple(said[at : at + len(words)]) == words for at in (0, 1)):
                return StatusClaim(f"verdict {' '.join(words)}", kind, of.runs if of else s.subject(i))
    return None
