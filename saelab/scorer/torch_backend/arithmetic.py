"""Operations that work number by number, broadcasting their inputs, and products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from .node import Node, NotListed, Operation, broadcast, to_dtype


def _unary(function: Callable[[Tensor], Tensor]) -> Operation:
    return lambda node, x: function(x)


def _elementwise(function: Callable[..., Tensor]) -> Operation:
    """With any number of inputs, broadcast against each other."""

    def operation(node: Node, *inputs: Tensor) -> Tensor:
        widest = max((x.dtype for x in inputs), key=lambda dtype: dtype.itemsize)
        node.room(broadcast(*(x.shape for x in inputs)), widest)
        return function(node, *inputs)

    return operation


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return _elementwise(lambda node, a, b: function(a, b))


def _all(function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    return _elementwise(lambda node, *inputs: reduce(function, inputs))


def _cast(node: Node, x: Tensor) -> Tensor:
    dtype = to_dtype(node.get("to"))
    node.room(x.shape, dtype)
    return x.to(dtype)


def _cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    node.room(x.shape, like.dtype)
    return x.to(like.dtype)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _modulo(node: Node, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if node.get("fmod", 0) else torch.remainder(a, b)


def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Limits are inputs since opset 11. Where they cross, the upper one holds."""
    if node.opset < 11:
        below, above = node.get("min"), node.get("max")
        return x if below is None and above is None else x.clamp(below, above)
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _gelu(node: Node, x: Tensor) -> Tensor:
    approximate: bytes = node.get("approximate", b"none")
    return functional.gelu(x, approximate=approximate.decode())


def _selu(node: Node, x: Tensor) -> Tensor:
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    found: Tensor = gamma * torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))
    return found


def _is_infinite(node: Node, x: Tensor) -> Tensor:
    above = torch.isposinf(x) & bool(node.get("detect_positive", 1))
    return above | (torch.isneginf(x) & bool(node.get("detect_negative", 1)))


def _matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    if not a.is_floating_point():
        raise NotListed(f"{node.kind} of whole numbers")
    if a.dim() >= 2 and b.dim() >= 2:
        node.room((*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)
    return a @ b


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a, b = (x.T if node.get(f"trans{name}", 0) else x for name, x in (("A", a), ("B", b)))
    product = torch.mul(_matmul(node, a, b), node.get("alpha", 1.0))
    return product if c is None else torch.add(product, c, alpha=node.get("beta", 1.0))


ARITHMETIC: dict[str, Operation] = {
    "Abs": _unary(torch.abs),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _unary(torch.ceil),
    "Elu": lambda node, x: functional.elu(x, node.get("alpha", 1.0)),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Floor": _unary(torch.floor),
    "Gelu": _gelu,
    "HardSigmoid": lambda node, x: (node.get("alpha", 0.2) * x + node.get("beta", 0.5)).clamp(0, 1),
    "HardSwish": _unary(functional.hardswish),
    "Identity": _unary(lambda x: x),
    "IsInf": _is_infinite,
    "IsNaN": _unary(torch.isnan),
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, node.get("alpha", 0.01)),
    "Log": _unary(torch.log),
    "Mish": _unary(functional.mish),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Reciprocal": _unary(torch.reciprocal),
    "Relu": _unary(torch.relu),
    "Round": _unary(torch.round),
    "Selu": _selu,
    "Sigmoid": _unary(torch.sigmoid),
    "Sign": _unary(torch.sign),
    "Softplus": _unary(functional.softplus),
    "Sqrt": _unary(torch.sqrt),
    "Tanh": _unary(torch.tanh),
    "ThresholdedRelu": lambda node, x: torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x)),
    "Add": _two(torch.add),
    "And": _two(torch.logical_and),
    "Clip": _clip,
    "Div": _two(_divide),
    "Equal": _two(torch.eq),
    "Greater": _two(torch.gt),
    "GreaterOrEqual": _two(torch.ge),
    "Less": _two(torch.lt),
    "LessOrEqual": _two(torch.le),
    "Max": _all(torch.maximum),
    "Mean": _elementwise(lambda node, *inputs: reduce(torch.add, inputs) / len(inputs)),
    "Min": _all(torch.minimum),
    "Mod": _elementwise(_modulo),
    "Mul": _two(torch.mul),
    "Or": _two(torch.logical_or),
    "PRelu": _two(lambda x, slope: torch.where(x < 0, slope * x, x)),
    "Pow": _two(lambda a, b: torch.pow(a, b).to(a.dtype)),
    "Sub": _two(torch.sub),
    "Sum": _all(torch.add),
    "Where": _elementwise(lambda node, condition, a, b: torch.where(condition, a, b)),
    "Xor": _two(torch.logical_xor),
    "Gemm": _gemm,
    "MatMul": _matmul,
}
