"""Operations by indices, each looked at before it is used: a GPU that is asked for what is not there ends its process."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .node import Node, Operation, numbers


def _within(indices: Tensor, size: int) -> Tensor:
    """The same, counted from 0 on. Raises IndexError."""
    if bool(((indices < -size) | (indices >= size)).any()):
        raise IndexError(f"an index lies outside an axis of {size}")
    return torch.where(indices < 0, indices + size, indices).long()


def _gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.dim()
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    node.room(shape, x.dtype)
    return x.index_select(axis, _within(indices, x.shape[axis]).flatten()).reshape(shape)


def _gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.dim()
    return x.gather(axis, _within(indices, x.shape[axis]))


def _scatter(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """What goes to the same place comes one after the other, in the order of the updates: at once, no GPU keeps it."""
    axis = node.get("axis", 0) % x.dim()
    places = _within(indices, x.shape[axis])
    reduction: bytes = node.get("reduction", b"none")
    put = _PUT[reduction.decode()]
    ordered = places.sort(dim=axis).values
    if places.shape[axis] < 2 or not bool((ordered.diff(dim=axis) == 0).any()):
        return put(x, axis, places, updates)
    for one, update in zip(torch.split(places, 1, axis), torch.split(updates, 1, axis), strict=True):
        x = put(x, axis, one, update)
    return x


def _combined(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, int, Tensor, Tensor], Tensor]:
    return lambda x, axis, places, updates: x.scatter(axis, places, function(x.gather(axis, places), updates))


_PUT: dict[str, Callable[[Tensor, int, Tensor, Tensor], Tensor]] = {
    "none": lambda x, axis, places, updates: x.scatter(axis, places, updates),
    "add": _combined(torch.add),
    "mul": _combined(torch.mul),
    "max": _combined(torch.maximum),
    "min": _combined(torch.minimum),
}
"""Where no place is named twice."""


def _one_hot(node: Node, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    (size,) = numbers(depth)
    axis = node.get("axis", -1) % (indices.dim() + 1)
    node.room((*indices.shape, size), max(values.dtype, indices.dtype, key=lambda dtype: dtype.itemsize))
    here = torch.where(indices < 0, indices + size, indices).unsqueeze(axis)
    classes = torch.arange(size, device=node.device).reshape([-1 if i == axis else 1 for i in range(here.dim())])
    return torch.where(here == classes, values[1], values[0])


INDICES: dict[str, Operation] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "OneHot": _one_hot,
    "ScatterElements": _scatter,
}
