"""Numbers as they are written beside numbers as they are: rounding, units, bounds, differences and ratios."""

from __future__ import annotations

from dataclasses import replace

from .quantities import Quantity

_ABOUT = 0.1
"""How far "about" reaches, relatively."""
_HUGE = 1e9


def fits(claim: Quantity, actual: float, scale: float = 1.0) -> bool:
    """Whether a number as written is `actual * scale`, rounded, or on the side of it that the words say."""
    value, actual = claim.value, actual * scale
    if claim.text[:1] not in "+-−":
        value, actual = abs(value), abs(actual) if claim.role in ("change", "ratio") else actual
    if claim.bound == "above":
        return actual > value
    if claim.bound == "below":
        return actual < value
    near = abs(actual - value)
    if claim.bound == "about" and near <= max(claim.step, _ABOUT * abs(actual)):
        return True
    # Differences and ratios are often those of rounded numbers, which matters where they have several digits.
    exact = claim.role not in ("change", "ratio") or abs(claim.value) < 5 * claim.step
    return near <= claim.step * (0.5 if exact else 1.0) * (1 + 1e-9)


def is_value(claim: Quantity, actual: float) -> bool:
    if claim.unit:
        return fits(claim, actual, 100.0) or (claim.unit == "%" and abs(actual) > 1 and fits(claim, actual))
    if fits(claim, actual):
        return True
    if claim.bound:
        return False
    if _whole(claim, actual):
        return True
    return abs(actual) <= 1 < claim.value <= 100 and fits(claim, actual, 100.0)


def _whole(claim: Quantity, actual: float) -> bool:
    """A whole number with noughts at its end, 4,400 for 4,357.6, where the actual one is not whole itself."""
    digits = claim.text.translate({ord(","): None})
    if not digits.isdecimal() or actual.is_integer():
        return False
    noughts = len(digits) - len(digits.rstrip("0"))
    if not noughts or len(digits) - noughts < 2:
        return False
    return abs(actual - claim.value) <= 10.0**noughts / 2


def comparison(claim: Quantity, mine: float, other: float) -> list[float] | None:
    """What a number may stand for that compares two values; None where it cannot be."""
    if claim.role == "ratio":
        if claim.unit == "%":
            return [100 * mine / other] if other else None
        return [max(abs(mine / other), abs(other / mine))] if mine and other else None
    if claim.unit == "points":
        return [100 * (mine - other)]
    if claim.unit == "%":
        return [100 * (mine - other) / abs(other)] if other else None
    return [mine - other]


def is_comparison(claim: Quantity, mine: float, other: float) -> bool:
    """Whether a number may be the difference, in its unit or relatively, or the ratio of two values."""
    readings = [replace(claim, role=role) for role in ("change", "ratio") if role == "ratio" or claim.unit != "x"]
    if claim.unit == "%":
        readings.append(replace(claim, role="change", unit="points"))
    return any(
        fits(each, actual) for each in readings for actual in comparison(each, mine, other) or () if abs(actual) < _HUGE
    )


def shown(claim: Quantity, actual: float) -> str:
    if claim.role == "ratio":
        return f"{actual:.3g}%" if claim.unit == "%" else f"{actual:.3g} times"
    return f"a difference of {actual:+.3g}" + {"%": "%", "points": " points", "": ""}[claim.unit]
