"""Whether an ONNX graph computes each row from that row alone, shown without running it.

The axis of the rows is followed from the input through the nodes. What is known of a value is whether it is the same for all
rows (`_CONSTANT`), one entry for each row along its first axis and made of that row alone (`_ROWS`), or the shape of such a
value (`_SHAPE`). An operation that is not in the lists below, or is used across rows, shows nothing: then the graph may
still be independent, and is looked at while it runs (`sealed`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .operations import ALONG_AN_AXIS, ELEMENTWISE, REDUCE, UNARY

_CONSTANT, _ROWS, _SHAPE = "constant", "rows", "shape"


@dataclass(frozen=True)
class _Value:
    kind: str
    rank: int | None = None
    """Of a constant or of rows; None where it is not known."""
    first: int | None = None
    """How long the first axis of a constant is."""
    array: npt.NDArray[Any] | None = None
    """Of a constant that is small enough to be looked at."""


def is_row_independent(model: onnx.ModelProto) -> bool:
    """Whether row i of the output is a function of row i of the input alone, for any number of rows. False: not shown."""
    graph = model.graph
    known = {tensor.name: _constant(tensor) for tensor in graph.initializer}
    (rows,) = [end.name for end in graph.input if end.name not in known]
    known[rows] = _Value(_ROWS, 2)
    for node in graph.node:
        values = [known.get(name) if name else _ABSENT for name in node.input]
        if any(value is None for value in values):
            return False
        found = _of(node, [value for value in values if value is not None])
        if found is None:
            return False
        known.update((name, found) for name in node.output if name)
    return known.get(graph.output[0].name, _ABSENT).kind == _ROWS


_ABSENT = _Value(_CONSTANT, 0, None)
"""An optional input that is not given."""


def _constant(tensor: TensorProto) -> _Value:
    first = tensor.dims[0] if tensor.dims else None
    return _Value(_CONSTANT, len(tensor.dims), first, numpy_helper.to_array(tensor) if _size(tensor) <= 64 else None)


def _size(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64)) if tensor.dims else 1


def _of(node: NodeProto, values: list[_Value]) -> _Value | None:
    """What is known of a node's outputs; None for nothing."""
    kind = node.op_type
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if kind == "Constant":
        return _constant(attributes["value"]) if "value" in attributes else _Value(_CONSTANT)
    if kind == "ConstantOfShape" and values[0].kind == _SHAPE:
        return _Value(_ROWS, values[0].rank)
    if all(value.kind == _CONSTANT for value in values):
        return _Value(_CONSTANT)
    if kind == "Shape":
        return _Value(_SHAPE, values[0].rank) if values[0].kind == _ROWS and not attributes else None
    if any(value.kind == _SHAPE for value in values):
        return None
    if kind in UNARY:
        return values[0]
    if kind in ELEMENTWISE:
        return _broadcast(values)
    rule = _RULES.get(kind)
    return rule(attributes, values) if rule else None


_Rule = Callable[[dict[str, object], list[_Value]], _Value | None]


def _broadcast(values: list[_Value]) -> _Value | None:
    """Axes are matched from the last one, so what is constant must not reach the axis of the rows."""
    ranks = {value.rank for value in values if value.kind == _ROWS}
    if len(ranks) != 1 or None in ranks:
        return None
    (rank,) = ranks
    assert rank is not None
    if all(value.kind == _ROWS or _is_below(value, rank) for value in values):
        return _Value(_ROWS, rank)
    return None


def _is_below(value: _Value, rank: int) -> bool:
    return value.rank is not None and (value.rank < rank or (value.rank == rank and value.first == 1))


def _matmul(attributes: dict[str, object], values: list[_Value]) -> _Value | None:
    left, right = values
    return left if left.kind == _ROWS and left.rank == 2 and right.kind == _CONSTANT and right.rank == 2 else None


def _gemm(attributes: dict[str, object], values: list[_Value]) -> _Value | None:
    left, right, *added = values
    if attributes.get("transA", 0) or left.kind != _ROWS or left.rank != 2 or right.kind != _CONSTANT:
        return None
    return _broadcast([left, *added])


def _along_an_axis(default: int) -> _Rule:
    def rule(attributes: dict[str, object], values: list[_Value]) -> _Value | None:
        first, *others = values
        if first.kind != _ROWS or any(other.kind != _CONSTANT for other in others):
            return None
        if not _is_within(attributes.get("axis", default), first.rank) or not attributes.get("keepdims", 1):
            return None
        return first

    return rule


def _elements(attributes: dict[str, object], values: list[_Value]) -> _Value | None:
    """GatherElements, ScatterElements: along the axis they go where an index says, along all others they stay."""
    ranks = {value.rank for value in values}
    if len(ranks) != 1 or any(value.kind != _ROWS for value in values):
        return None
    return values[0] if _is_within(attributes.get("axis", 0), values[0].rank) else None


def _concat(attributes: dict[str, object], values: list[_Value]) -> _Value | None:
    ranks = {value.rank for value in values}
    if len(ranks) != 1 or any(value.kind != _ROWS for value in values):
        return None
    return values[0] if _is_within(attributes.get("axis"), values[0].rank) else None


def _slice(attributes: dict[str, object], values: list[_Value]) -> _Value | None:
    first, *given = values
    axes = given[2].array if len(given) > 2 else None
    if first.kind != _ROWS or axes is None or any(value.kind != _CONSTANT for value in given):
        return None
    return first if all(_is_within(int(axis), first.rank) for axis in axes.ravel()) else None


def _reduce(attributes: dict[str, object], values: list[_Value]) -> _Value | None:
    first, *given = values
    axes = attributes.get("axes", given[0].array if given else None)
    if first.kind != _ROWS or axes is None or not attributes.get("keepdims", 1):
        return None
    found = np.asarray(axes).ravel()
    return first if len(found) and all(_is_within(int(axis), first.rank) for axis in found) else None


def _is_within(axis: object, rank: int | None) -> bool:
    """Whether an axis is another than that of the rows."""
    return isinstance(axis, int) and rank is not None and axis % rank != 0


_RULES: dict[str, _Rule] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "GatherElements": _elements,
    "ScatterElements": _elements,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _along_an_axis(0),
    **{kind: _along_an_axis(default) for kind, default in ALONG_AN_AXIS.items()},
    "CumSum": lambda attributes, values: (
        values[0]
        if values[0].kind == _ROWS and values[1].array is not None and _is_within(int(values[1].array), values[0].rank)
        else None
    ),
    **dict.fromkeys(REDUCE, _reduce),
}
