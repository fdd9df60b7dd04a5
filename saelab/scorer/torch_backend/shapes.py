"""Operations that change shapes, put tensors together and take them apart, and make new ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .node import Node, NotListed, Operation, broadcast, numbers, to_tensor


def _axes(node: Node, given: Tensor | None) -> list[int]:
    """Those of Squeeze and Unsqueeze: an input since opset 13."""
    return list(node.get("axes", ())) if given is None else numbers(given)


def _squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze(tuple(_axes(node, axes) or [axis for axis, size in enumerate(x.shape) if size == 1]))


def _unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    given = _axes(node, axes)
    for axis in sorted(axis % (x.dim() + len(given)) for axis in given):
        x = x.unsqueeze(axis)
    return x


def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sizes = numbers(shape)
    if not node.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis += x.dim() if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm") or tuple(reversed(range(x.dim()))))


def _expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    wanted = broadcast(x.shape, numbers(shape))
    node.room(wanted, x.dtype)
    return x.expand(wanted)


def _tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    times = numbers(repeats)
    node.room([size * n for size, n in zip(x.shape, times, strict=True)], x.dtype)
    return x.repeat(times)


def _concat(node: Node, *inputs: Tensor) -> Tensor:
    node.room([sum(x.numel() for x in inputs)], inputs[0].dtype)
    return torch.cat(inputs, dim=node.get("axis"))


def _split(node: Node, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    """Sizes are an input since opset 13; without any the parts are equal, but for a smaller last one."""
    axis = node.get("axis", 0)
    parts = node.get("split") if sizes is None else numbers(sizes)
    if parts is None:
        whole, number = x.shape[axis], len(node.outputs)
        each = -(-whole // number)
        parts = [min(each, max(whole - i * each, 0)) for i in range(number)]
    return torch.split(x, list(parts), dim=axis)


def _slice(node: Node, x: Tensor, *given: Tensor | None) -> Tensor:
    """starts, ends, axes, steps: inputs since opset 10, attributes before."""
    found = [None if part is None else numbers(part) for part in given]
    found = found or [node.get("starts"), node.get("ends"), node.get("axes")]
    starts, ends, axes, steps = [*found, None, None][:4]
    assert starts is not None and ends is not None
    each = zip(starts, ends, axes or range(len(starts)), steps or [1] * len(starts), strict=True)
    for start, end, axis, step in each:
        which = range(*slice(start, end, step).indices(x.shape[axis]))
        if step == 1:
            x = x.narrow(axis, which.start if which else 0, len(which))
        else:
            x = x.index_select(axis, torch.tensor(list(which), dtype=torch.int64, device=x.device))
    return x


def _pad(
    node: Node, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    if pads is None or node.get("mode", b"constant") != b"constant":
        raise NotListed("Pad that is not by a constant, or of an opset before 11")
    sizes = numbers(pads)
    along = list(range(x.dim())) if axes is None else [axis % x.dim() for axis in numbers(axes)]
    around = {axis: (sizes[i], sizes[i + len(along)]) for i, axis in enumerate(along)}
    both = [around.get(axis, (0, 0)) for axis in range(x.dim())]
    node.room([size + before + after for size, (before, after) in zip(x.shape, both, strict=True)], x.dtype)
    return functional.pad(x, [size for pair in reversed(both) for size in pair], value=0 if value is None else value.item())


def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[node.get("start", 0) : node.get("end")], dtype=torch.int64, device=node.device)


def _constant(node: Node) -> Tensor:
    if "value" in node.attributes:
        return to_tensor(node.get("value")).to(node.device)
    for name, dtype in (("value_float", torch.float32), ("value_int", torch.int64)):
        for given in (name, f"{name}s"):
            if given in node.attributes:
                return torch.tensor(node.get(given), dtype=dtype, device=node.device)
    raise NotListed("Constant of text")


def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value = to_tensor(node.get("value")) if "value" in node.attributes else torch.zeros(1)
    sizes = numbers(shape)
    node.room(sizes, value.dtype)
    return torch.full(sizes, value.item(), dtype=value.dtype, device=node.device)


def _range(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    first, last, step = (number.item() for number in (start, limit, delta))
    count = max(math.ceil((last - first) / step), 0)
    node.room([count], torch.float64)
    counted = torch.arange(count, device=node.device, dtype=torch.float64 if start.is_floating_point() else torch.int64)
    return (counted * step + first).to(start.dtype)


def _triangle(node: Node, x: Tensor, k: Tensor | None = None) -> Tensor:
    diagonal = 0 if k is None else numbers(k)[0]
    return x.triu(diagonal) if node.get("upper", 1) else x.tril(diagonal)


SHAPES: dict[str, Operation] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": lambda node, x: torch.tensor(x.numel(), device=node.device),
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
