"""One operation of a graph, with what it needs to know besides its inputs; and ONNX's types as torch has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor

TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.BOOL: torch.bool,
    TensorProto.UINT8: torch.uint8,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
}


class NotListed(Exception):
    """What of a graph is not executed here."""


class TooLarge(Exception):
    """A tensor for which there is no room."""


@dataclass(frozen=True)
class Node:
    """One operation of a graph, and where it is computed."""

    kind: str
    opset: int
    attributes: dict[str, Any]
    inputs: tuple[str, ...]
    """Names; "" for an optional one that is not given."""
    outputs: tuple[str, ...]
    device: torch.device
    most: int
    """Bytes that a tensor may have."""

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def room(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Looks before a tensor is made that may be larger than what goes in. Raises TooLarge."""
        needed = math.prod(shape) * dtype.itemsize
        if needed > self.most:
            has = f"{needed / 1e9:,.1f} GB; there are {self.most / 1e9:,.1f} GB"
            raise TooLarge(f"{self.kind} asks for a tensor of {list(shape)}, {has}")


Operation = Callable[..., Tensor | tuple[Tensor, ...]]
"""Of a Node and its inputs, None for an optional one that is not given."""


def to_dtype(kind: int) -> torch.dtype:
    """Raises NotListed."""
    if kind not in TYPES:
        raise NotListed(f"tensors of {TensorProto.DataType.Name(kind).lower()}")
    return TYPES[kind]


def to_tensor(tensor: TensorProto) -> Tensor:
    """A constant of a graph, on the CPU. Raises NotListed."""
    dtype, array = to_dtype(tensor.data_type), numpy_helper.to_array(tensor)
    if dtype == torch.bfloat16:  # numpy has no such type of its own
        array = array.astype(np.float32)
    return torch.from_numpy(array.copy()).to(dtype)


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that these have together. Raises RuntimeError."""
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def numbers(tensor: Tensor) -> list[int]:
    """Of a tensor that says shapes, axes and the like."""
    return [int(number) for number in tensor.flatten().tolist()]
