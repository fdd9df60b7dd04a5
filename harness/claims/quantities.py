"""Numbers in a sentence: of what, of which run, in which unit, and whether a value, a change or a ratio."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .mentions import Mention, Reading, Runs
from .vocabulary import (
    ABOUT,
    ABOVE,
    BEFORE_NOUN,
    BELOW,
    BREAKS,
    COMPARATIVES,
    COURSES,
    DERIVED,
    DESCRIBED,
    GAINED,
    LABELS,
    LINKS,
    NARROWING,
    NOUNS,
    OF_TIME,
    PHASES,
    TIMES,
    WENT,
    WHOLE,
    Unit,
)

Role = Literal["value", "amount", "change", "ratio", "target", "seeds"]
Bound = Literal["", "above", "below", "about"]

_DIRECT = frozenset(["=", ":", "|", "of", "is", "was", "(", "at", "to", "≈", "~", "'"])
_BEHIND = frozenset(["of", "in", "for", "the", "its", "-", "mean"])
_TO_DIFFERENCE = frozenset(["to", "from", "over", "against", "the", "is", "was", "only", "just", "about"])
_TARGETS = frozenset(["target", "goal"])
_TO_TARGET = frozenset(["of", "is", "was", "at", "for", "=", ":", "the"])
_HOLDING = (
    ["against"],
    [">"],
    ["<"],
    ["vs"],
    ["versus"],
    ["from"],
    ["than"],
    ["instead"],
    ["instead", "of"],
    ["place", "of"],
    ["vs", "."],
    ["compares", "with"],
    ["compares", "to"],
    ["compared", "to"],
    ["compared", "with"],
)
_SIGNS = str.maketrans({"−": "-", ",": ""})


@dataclass(frozen=True)
class Quantity:
    """A number and what it is said to be. `step` is the unit of its last digit."""

    text: str
    value: float
    step: float
    unit: Unit
    role: Role
    bound: Bound
    names: tuple[str, ...]
    """What it may be of; nothing where the words do not say."""
    runs: Runs
    reference: Runs
    other: bool
    """The number that another is held against, of which the words do not say whose it is."""
    sure: bool
    """It is certain what the number is of; otherwise nothing contradicts it."""
    tight: bool
    """Nothing but verbs and prepositions stands between it and the name of what it is of."""
    strict: bool
    """Also whose it is and what it says of it; otherwise nothing contradicts what another reading explains."""
    listed: bool
    """One of several that stand in a row, such as those of the seeds."""
    of_run: bool
    """The words right beside it say which run's value it is."""
    mentioned: tuple[str, ...]
    """All that the sentence names, for other readings."""


def quantities(sentence: Reading) -> list[tuple[int, Quantity]]:
    """The numbers that may be claims, each with its place."""
    pairs = _in_order(sentence)
    found = [(i, _quantity(sentence, i, pairs.get(i))) for i in sentence.numbers if not _is_label(sentence, i)]
    words = [i for i, word in enumerate(sentence.low) if word in TIMES and sentence.after(i, 1) in (["times"], ["seeds"])]
    return found + [(i, _quantity(sentence, i, None)) for i in words]


def written(text: str) -> tuple[float, float]:
    """The value of a number as it is written, and the unit of its last digit."""
    plain = text.translate(_SIGNS)
    factor = {"k": 1e3, "K": 1e3, "M": 1e6}.get(plain[-1], 1.0)
    plain = plain.rstrip("kKM")
    mantissa, _, exponent = plain.lower().partition("e")
    power = int(exponent) if exponent else 0
    return float(plain) * factor, float(f"1e{power - len(mantissa.partition('.')[2])}") * factor


def _is_label(s: Reading, i: int) -> bool:
    """List numbers, years, lines, versions, `3-level`: numbers that count or measure nothing of a run."""
    before, after = s.before(i, 1), s.after(i, 1)
    if after == ["-"] and s.tokens[i + 1].start == s.tokens[i].end:
        return i + 2 not in s.metric_at and s.after(i, 2)[1:] != ["fold"]
    if (before and before[0] in LABELS) or s.before(i, 2) in (["et", "al"], ["arxiv", ":"]):
        return i - 1 not in s.metric_at
    if re.fullmatch(r"(?:19|20)[0-9][0-9]", s.tokens[i].text) and before in (["in"], ["since"], ["("], ["al"], ["."]):
        return i + 1 not in s.metric_at
    return before in (["±"], ["^"], ["/"], ["*"], ["$"]) or after in (["*"], ["^"])


def _in_order(s: Reading) -> dict[int, tuple[Mention | None, Runs | None]]:
    """Lists that are read in parallel: two metrics and two numbers, four numbers and four runs."""
    found: dict[int, tuple[Mention | None, Runs | None]] = {}
    groups: list[list[int]] = []
    for i in s.numbers:
        if groups and s.joined(groups[-1][-1], i):
            groups[-1].append(i)
        else:
            groups.append([i])
    for group in groups:
        if len(group) == 1:
            continue
        metrics: list[Mention] = []
        for metric in reversed(s.metrics_before(group[0])):
            if metrics and not s.joined(metric.last, metrics[0].first):
                break
            metrics.insert(0, metric)
        behind = next((run for run in s.runs if run.first > group[-1]), None)
        before = next((run for run in reversed(s.runs) if run.last < group[0]), None)
        runs: tuple[int, ...] = ()
        if behind is not None and _links(s, group[-1], behind.first):
            runs = behind.runs.numbers
        elif before is not None and _links(s, before.last, group[0]):
            runs = before.runs.numbers
        for n, i in enumerate(group):
            metric_of = metrics[n] if len(metrics) == len(group) else None
            found[i] = (metric_of, Runs((runs[n],)) if len(runs) == len(group) else None)
    return found


def _links(s: Reading, left: int, right: int) -> bool:
    return all(s.low[j] in LINKS or j in s.metric_at for j in range(left + 1, right))


def _quantity(s: Reading, i: int, pairs: tuple[Mention | None, Runs | None] | None) -> Quantity:
    metric, whose = pairs or (None, None)
    token = s.tokens[i]
    value, step = written(token.text) if token.kind == "number" else (float(TIMES[token.low]), 0.5)
    unit, end = s.unit(i)
    role, bound = _role(s, i, end, unit)
    names, sure, tight = (metric.names, True, True) if metric else _name_of(s, i, end)
    counted = s.after(end, 1) in (["seeds"], ["seed"]) or s.before(i, 2) in (["seeds", ":"], ["seeds", "="])
    if names == ("seed",) and counted:
        role = "seeds"
    runs, other, firm = (whose, False, True) if whose else _runs_of(s, i, end, role)
    sure = sure and bool(runs.numbers) and not (s.planned[i] or s.sentence.table or _is_special(s, i, end, role))
    listed = pairs is not None and metric is None
    of_run = role in ("value", "seeds") and s.is_of_run(i)
    own = of_run and i not in s.owners and len({each.names for each in s.metrics}) == 1
    tight = tight or own  # "absorption: 0.299 (run 2: 0.239)"
    strict = (
        sure
        and tight
        and not listed
        and not _is_of_another(s, i, names)
        and (firm if role in ("value", "amount") else _is_plain_change(s, i, end))
    )
    mentioned = tuple(dict.fromkeys(name for each in s.metrics for name in each.names))
    said = (value, step, unit, role, bound, names, runs, s.reference(i), other, sure, tight, strict)
    return Quantity(s.text(i, end), *said, pairs is not None, of_run, mentioned)


def _is_of_another(s: Reading, i: int, names: tuple[str, ...]) -> bool:
    """`twice the steps of run 2 make the loss ...`: the run is named for another metric than the number's."""
    before = [run for run in s.runs if run.last < i and not run.against]
    if not before or s.before(before[-1].first, 1) != ["of"]:
        return False
    owned = s.metric_at.get(before[-1].first - 2)
    return owned is not None and owned.names != names


def _is_plain_change(s: Reading, i: int, end: int) -> bool:
    """`fell by 11%`, `11% lower`: a change that a word of direction says is one."""
    course = _is_moved(s, i, end)
    beside = s.after(end, 1) != [] and s.after(end, 1)[0] in COMPARATIVES | NOUNS | {"above", "below"}
    return (course and ("by" in s.before(i, 3) or beside)) or (s.unit(i)[0] != "x" and not GAINED.isdisjoint(s.before(i, 1)))


def _is_moved(s: Reading, i: int, end: int) -> bool:
    """Whether a word of direction stands near: `fell by 11%`, `cuts the step time by 11%`, `11% lower`."""
    plain = [s.low[j] for j in range(max(0, i - 10), i) if j not in s.run_at and j not in s.metric_at and s.low[j] != "the"]
    return any(word in COURSES for word in [*plain[-4:], *s.after(end, 1)])


def _is_special(s: Reading, i: int, end: int, role: Role) -> bool:
    """Whether it is not the metric or setting itself that the number is of: a part of it, or something computed."""
    before = s.metrics_before(i)
    first = before[-1].first if before else i
    if (
        s.before(i, 2) == ["of", "which"]
        or "between" in s.before(i, 4)
        or "neither" in s.low[:i]
        or s.before(i, 2) in (["at", "least"], ["at", "most"])
    ):
        return True
    if s.before(i, 2) == ["up", "to"] and not (i > 2 and (s.low[i - 3] in COURSES or s.low[i - 3] in WENT)):
        return True
    if s.after(end, 1) == ["to"] and "from" not in s.before(i, 3) and i + 2 in s.numbers:
        return True  # "0.912 to 0.913"
    derived = role != "seeds" and any(
        s.low[j] in DERIVED and j not in s.metric_at and not (s.low[j : j + 2] == ["share", "of"] and j + 2 in s.metric_at)
        for j in range(i)
    )
    if (derived and not (s.before(i, 1) == ["="] and i - 2 in s.metric_at)) or not PHASES.isdisjoint(s.before(i, 2)):
        return True
    if before and (set(s.after(end, 1)) & DESCRIBED or s.before(first, 1) in _HOLDING or s.before(first, 2) in _HOLDING):
        return True  # "the k=40 model", "compared with k=40"
    if s.after(end, 1) == ["after"] and end + 2 in s.numbers and s.low.count("after") > 1:
        return True  # "3.0 after 488 steps and 2.48 after 2,441"
    if s.unit(i)[0] == "x" and s.after(end, 1) == ["the"] and not {end + 2} & {*s.run_at, *s.metric_at}:
        return True  # "gains 0.1 times the mean over rows"
    if s.after(end, 1) == ["of"] and (role == "ratio" or s.tokens[min(end + 2, len(s.tokens) - 1)].kind == "number"):
        # "21% of the baseline's" is certain, "5% of the loss" and "4 of 96" are not
        return end + 2 not in s.run_at and end + 3 not in s.run_at
    count = i - 2 - (s.before(i, 1) == ["the"])
    if s.before(i, 1) == ["="] and s.tokens[i - 2].kind == "word" and i - 2 not in s.metric_at:
        return True  # "x = 0.0142"
    if s.before(i, 2) == ["of", "the"] and s.tokens[count].kind == "number":
        return True  # "488 of the 2441 steps"
    if s.before(i, 1) == ["of"] and (s.before(i, 2) == ["out", "of"] or s.tokens[i - 2].kind == "number"):
        return True
    if role in ("change", "ratio") and not _TARGETS.isdisjoint(s.low):
        return True  # "missed by a factor of 2"
    counted = s.metric_at.get(end + 1)
    if counted is not None and s.after(counted.last, 1) in (["between"], ["apart"]):
        return True  # "the 50 steps between updates"
    if (end + 1 < len(s.tokens) and s.tokens[end + 1].kind == "number") or _is_at_setting(s, end):
        return True
    if "by" in s.before(i, 2) and not _is_moved(s, i, end):
        return True  # "contracts by 0.8"
    for j in range(before[-1].last + 1 if before else i, i - 1):
        if s.low[j] in NARROWING:
            n = j + 1 + (s.low[j + 1] in ("the", "its", "our", "this", "a"))
            if n < i and s.tokens[n].kind == "word" and n not in s.run_at and s.low[n] not in LINKS | WHOLE:
                return True
    return False


def _is_at_setting(s: Reading, end: int) -> bool:
    """`0.143 at k=40`: of the run with that setting, whichever that is."""
    at = s.metric_at.get(end + 2)
    return s.after(end, 1) in (["at"], ["with"], ["for"]) and at is not None and s.low[at.last + 1 : at.last + 2] == ["="]


def _role(s: Reading, i: int, end: int, unit: Unit) -> tuple[Role, Bound]:
    before, after = s.before(i, 4), s.after(end, 1)
    bound = _bound(s, i, before)
    if _is_target(s, i):
        return "target", bound
    if unit == "x" or "factor" in before:
        return "ratio", bound
    if unit == "%" and after == ["of"]:
        return "ratio", bound
    compared = bool(after) and after[0] in COMPARATIVES | NOUNS | {"below", "above"}
    again = before[-2:] == ["and", "of"] and not NOUNS.isdisjoint(s.low[:i])
    named = again or (before[-1:] == ["of"] and not NOUNS.isdisjoint(before))
    metric = s.metrics_before(i)[-1:]
    if metric and s.before(metric[0].first, 1) in (["in"], ["of"]) and s.before(metric[0].first, 2)[:1][0] in NOUNS:
        return "change", bound  # "the drop in absorption is 0.06"
    if _is_difference(s, i):
        return "change", bound
    moved = "by" in before[-2:] or before[-1:] in (["up"], ["down"]) or not GAINED.isdisjoint(before[-1:])
    if unit == "points" or compared or named or moved or s.tokens[i].text[0] in "+-−":
        return "change", bound
    behind = s.metric_at.get(end + 2) or (s.metric_at.get(end + 3) if s.after(end, 2)[1:] in (["the"], ["its"]) else None)
    return ("amount" if behind and after in (["in"], ["of"]) else "value"), bound


def _is_difference(s: Reading, i: int) -> bool:
    """`the difference to the baseline is only 0.06`."""
    if s.before(i, 1) == ["and"]:  # "the cost is 0.005 in explained variance and 0.3 ms a step"
        earlier = [n for n in s.numbers if n < i]
        return bool(earlier) and _is_difference(s, earlier[-1])
    j = i - 1
    while j > 1 and (
        s.low[j] in _TO_DIFFERENCE or j in s.run_at or {"of", "in"} & {*s.before(j, 2)} or s.low[j] in ("of", "in")
    ):
        j -= 1
    return j >= 0 and s.low[j] in NOUNS and s.low[i - 1] not in ("to", "from", "than")


def _is_target(s: Reading, i: int) -> bool:
    """`the target of 0.01`, `the target of absorption is 0.01`."""
    for j in range(i - 1, max(-1, i - 8), -1):
        if s.low[j] in _TARGETS:
            return True
        if s.low[j] not in _TO_TARGET and j not in s.metric_at:
            return False
    return False


def _bound(s: Reading, i: int, before: list[str]) -> Bound:
    tail = [word for word in before if word not in ("the", "a", "an", "of", "our")]
    if (tail and tail[-1] in ABOUT) or before[-2:] == ["close", "to"]:
        return "about"
    if not tail or i in s.owners:
        return ""
    than = tail[-1] == "than" and len(tail) > 1
    word = tail[-2] if than else tail[-1]
    if word in BELOW and (than or word in ("below", "under")):
        return "below"
    return "above" if word in ABOVE and (than or word not in ("more", "greater")) else ""


def _name_of(s: Reading, i: int, end: int) -> tuple[tuple[str, ...], bool, bool]:
    """What the number is of, whether the words leave no doubt, and whether they stand close together."""
    before = s.metrics_before(i)
    # "the loss after 40 steps is": the steps have their number
    free = [m for m in before if not _has_its_number(s, m)]
    before = free or before
    if before and all(word in _DIRECT for word in s.low[before[-1].last + 1 : i]):
        return before[-1].names, True, True
    for j in range(end + 1, min(end + 5, len(s.low))):
        if j in s.metric_at:
            return s.metric_at[j].names, True, True
        if s.low[j] not in _BEHIND | COMPARATIVES | NOUNS:
            break
    if not before and s.before(i, 1) in (["with"], ["at"]) and s.after(end, 1) == [","]:
        j = end + 2 + (s.after(end, 2)[1:] == ["the"])
        return (s.metric_at[j].names, True, False) if j in s.metric_at else ((), False, False)
    if not before:
        return (), False, False
    last, after = i - 1, end + 1 + (not OF_TIME.isdisjoint(s.after(end, 1)))
    while last > before[-1].last and s.tokens[last].kind == "mark":
        last -= 1
    linked = (
        last <= before[-1].last
        or last in s.run_at
        or s.low[last] in LINKS
        or (s.tokens[last].kind == "number" and last < i - 1)
    )
    alone = after >= len(s.tokens) or s.tokens[after].kind == "mark" or after in s.run_at or s.low[after] in LINKS
    between = range(before[-1].last + 1, i)
    tight = not any(_loosens(s, j) and (s.tokens[j].kind == "word" or j > between[0]) for j in between)
    several = not {"they", "both", "these"}.isdisjoint(s.low[j] for j in between)
    return before[-1].names, linked and alone and not several, tight


def _loosens(s: Reading, j: int) -> bool:
    """Whether what a number is of may have changed at `j`: a bracket, a colon, a noun."""
    if s.tokens[j].kind == "mark":
        return s.low[j] in (":", "(") and j - 1 not in s.run_at
    known = j in s.run_at or s.low[j] in LINKS | BEFORE_NOUN
    return s.tokens[j].kind == "word" and not known and s.low[j - 1] in BEFORE_NOUN


def _has_its_number(s: Reading, metric: Mention) -> bool:
    """`40 steps`, but not `k = 40 absorption`."""
    i = metric.first - 1
    if i < 0 or (s.tokens[i].kind != "number" and s.low[i] not in TIMES):
        return False
    return s.low[i] in TIMES or not (s.before(i, 1) == ["="] or i - 1 in s.metric_at)


def _runs_of(s: Reading, i: int, end: int, role: Role) -> tuple[Runs, bool, bool]:
    """Whose the number is; whether it is the one that another is held against; whether the words bind it to them."""
    subject = s.subject(i)
    if role in ("change", "ratio"):
        return subject, False, True
    if i in s.owners:
        return s.owners[i].runs, False, True
    if s.after(end, 1) in (["→"], ["->"]):
        return s.reference(i), True, False
    before = [run for run in s.runs if run.last < i]
    if before and s.precedes(before[-1], i):
        return before[-1].runs, False, True
    words = [word for word in s.before(i, 4) if word not in ("the", ",", "a")]
    bound = words[-1:] == ["than"] and not (ABOVE | BELOW).isdisjoint(words[-2:-1])
    if not bound and (words[-1:] in _HOLDING or words[-2:] in _HOLDING):
        return s.reference(i), True, s.reference(i).named
    inside = _run_of_bracket(s, i)
    if inside is not None:
        return Runs((*inside.numbers, *subject.numbers)), False, False
    owning = {run.first for n, run in s.owners.items() if n < i}
    if before and before[-1].first in owning and not any(r.first not in owning and not r.against for r in before):
        # "0.527 in run 1, and an MSE of 3.0": of run 1 still, or of the run in hand
        return Runs((*subject.numbers, *before[-1].runs.numbers)), False, False
    return subject, False, _is_firm(s, i, subject)


def _run_of_bracket(s: Reading, i: int) -> Runs | None:
    """`the baseline (k=40, absorption 0.143)`: the run before the bracket that the number stands in."""
    j = i - 1
    while j >= max(0, i - 20) and s.low[j] not in ("(", ")") and j not in s.run_at:
        j -= 1
    is_one = j > 0 and s.low[j] == "(" and j - 1 in s.run_at
    return s.run_at[j - 1].runs if is_one else None


def _is_firm(s: Reading, i: int, subject: Runs) -> bool:
    """Whether nothing stands between the metric, or the run, and the number that could make it another run's."""
    if s.before(i, 1) in (["→"], ["->"]):
        return True
    before = s.metrics_before(i)
    own = [run for run in s.runs if run.last < i and run.runs == subject]
    if own and before and own[-1].first > before[-1].last:
        return not any(s.low[j] in BREAKS or s.tokens[j].kind == "number" for j in range(own[-1].last + 1, i))
    start = before[-1].last + 1 if before else i
    start += s.low[start : start + 1] == ["("]  # "absorption (0.225)"
    if any(s.tokens[j].kind == "number" or s.low[j] in ("(", ";") for j in range(start, i)):
        return False
    several = before and sum(m.names == before[-1].names and s.after(m.last, 1) == ["="] for m in s.metrics) > 1
    if not own:
        return not several
    first = own[-1].last + 1 + (s.after(own[-1].last, 1) == [":"])
    return not several and BREAKS.isdisjoint(s.low[first:i])
