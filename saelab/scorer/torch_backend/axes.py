"""Operations along axes: sums and the like, the largest of a row, and what follows an order."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ..operations import ALONG_AN_AXIS
from .node import Node, NotListed, Operation, numbers

_SORT_FROM = 8
"""From this share of a row's numbers on, one in so many, all are sorted to find the largest."""


def _along(function: Callable[[Tensor, int], Tensor]) -> Operation:
    """Softmax and the like: since opset 13 along one axis; before, along all from one on, the second by default."""

    def operation(node: Node, x: Tensor) -> Tensor:
        if node.opset >= 13:
            return function(x, node.get("axis", ALONG_AN_AXIS[node.kind]))
        axis = node.get("axis", 1) % x.dim()
        return function(x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:])), -1).reshape(x.shape)

    return operation


def _hardmax(x: Tensor, axis: int) -> Tensor:
    return torch.zeros_like(x).scatter(axis, x.argmax(dim=axis, keepdim=True), 1) if x.numel() else x


def _argument(find: Callable[..., Tensor]) -> Operation:
    """Where the largest or smallest is, the first of equal ones."""

    def operation(node: Node, x: Tensor) -> Tensor:
        axis, keep = node.get("axis", ALONG_AN_AXIS[node.kind]), bool(node.get("keepdims", 1))
        if node.get("select_last_index", 0):
            from_the_end: Tensor = x.shape[axis] - 1 - find(x.flip(axis), dim=axis, keepdim=keep)
            return from_the_end
        return find(x, dim=axis, keepdim=keep)

    return operation


def _top_k(node: Node, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Of equal ones the first, and those in the order of their indices. `k` is an input since opset 10."""
    number: int = node.get("k") if k is None else numbers(k)[0]
    largest, axis = bool(node.get("largest", 1)), node.get("axis", ALONG_AN_AXIS[node.kind])
    rows = x.movedim(axis, -1)
    if not 0 <= number <= rows.shape[-1]:
        raise ValueError(f"k is {number}, for rows of {rows.shape[-1]}")
    if number * _SORT_FROM > rows.shape[-1]:
        values, indices = _sorted(rows, number, largest)
    else:
        values, indices = _largest(rows, number, largest)
    return values.movedim(-1, axis), indices.movedim(-1, axis)


def _sorted(rows: Tensor, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    values, indices = rows.sort(dim=-1, descending=largest, stable=True)
    return values[..., :k], indices[..., :k]


def _largest(rows: Tensor, k: int, largest: bool) -> tuple[Tensor, Tensor]:
    """torch's own takes any of those that equal the last one, and has equal ones in any order."""
    values, indices = rows.topk(k, dim=-1, largest=largest)
    if not values.numel():
        return values, indices
    last = values[..., -1:]
    reach = (rows >= last if largest else rows <= last).sum(dim=-1)
    if bool((tied := reach > k).any()):
        values[tied], indices[tied] = _sorted(rows[tied], k, largest)
    indices, order = indices.sort(dim=-1)
    values, order = values.gather(-1, order).sort(dim=-1, descending=largest, stable=True)
    return values, indices.gather(-1, order)


def _reduce(function: Callable[[Tensor, list[int], bool], Tensor], *, inputs_since: int = 18) -> Operation:
    """Axes are an input since some opset, an attribute before; without any all are meant, unless the node says none."""

    def operation(node: Node, x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = node.get("axes") if node.opset < inputs_since else None if given is None else numbers(given)
        if not axes and node.opset >= inputs_since and node.get("noop_with_empty_axes", 0):
            axes = []
        elif not axes:
            axes = list(range(x.dim()))
        return function(x, list(axes), bool(node.get("keepdims", 1))).to(x.dtype) if axes else x

    return operation


def _extreme(function: Callable[..., Tensor], of_nothing: float) -> Operation:
    def found(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        if any(x.shape[axis] == 0 for axis in axes):
            return torch.full_like(x.sum(dim=axes, keepdim=keep), of_nothing)
        return function(x, dim=axes, keepdim=keep)

    return _reduce(found)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return (x if x.is_floating_point() else x.double()).mean(dim=axes, keepdim=keep)


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.dim() for axis in axes), reverse=True):
        x = x.prod(dim=axis, keepdim=keep)
    return x


def _running_sum(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    """In float64: in which order a GPU adds is not fixed, and rounding hides it."""
    along, is_reverse = numbers(axis)[0], bool(node.get("reverse", 0))
    node.room(x.shape, torch.float64)
    wide = x.double() if x.is_floating_point() else x
    wide = wide.flip(along) if is_reverse else wide
    summed = wide.cumsum(dim=along)
    summed = summed - wide if node.get("exclusive", 0) else summed
    return (summed.flip(along) if is_reverse else summed).to(x.dtype)


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    if len(node.outputs) > 1 or node.get("stash_type", 1) != 1:
        raise NotListed("LayerNormalization with its statistics")
    shape = x.shape[node.get("axis", -1) % x.dim() :]
    weight, added = (None if part is None else part.expand(shape) for part in (scale, bias))
    return functional.layer_norm(x, shape, weight, added, eps=node.get("epsilon", 1e-5))


AXES: dict[str, Operation] = {
    "ArgMax": _argument(torch.argmax),
    "ArgMin": _argument(torch.argmin),
    "CumSum": _running_sum,
    "Hardmax": _along(_hardmax),
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _along(torch.log_softmax),
    "ReduceL1": _reduce(lambda x, axes, keep: x.abs().sum(dim=axes, keepdim=keep)),
    "ReduceL2": _reduce(lambda x, axes, keep: x.square().sum(dim=axes, keepdim=keep).sqrt()),
    "ReduceLogSumExp": _reduce(lambda x, axes, keep: x.logsumexp(dim=axes, keepdim=keep)),
    "ReduceMax": _extreme(torch.amax, -math.inf),
    "ReduceMean": _reduce(_mean),
    "ReduceMin": _extreme(torch.amin, math.inf),
    "ReduceProd": _reduce(_product),
    "ReduceSum": _reduce(lambda x, axes, keep: x.sum(dim=axes, keepdim=keep), inputs_since=13),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: x.square().sum(dim=axes, keepdim=keep)),
    "Softmax": _along(torch.softmax),
    "TopK": _top_k,
}
