"""A graph that torch executes, node by node, in float32 proper (no TF32, no autocast) and without gradients."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import onnx
import torch
from onnx import helper
from torch import Tensor

from ...memory import available_memory, within_memory
from ...precision import as_sealed
from ..graph import STANDARD, Function, Graph, Refused, first_line
from ..rows import Floats
from .arithmetic import ARITHMETIC
from .axes import AXES
from .indices import INDICES
from .node import Node, NotListed, Operation, to_tensor
from .shapes import SHAPES

OPERATIONS: dict[str, Operation] = {**ARITHMETIC, **AXES, **SHAPES, **INDICES}
OLDEST, NEWEST = 7, 25
"""Opsets: the first with broadcasting as it is now, and the last whose operations were looked at."""
_PROBES = 32
_AGREES = 1e-3
"""The largest difference from onnxruntime that rounding explains, as a share of a row's largest number."""
_MAY_DIFFER = 4
"""Of the probes, those in which a latent at its threshold, or two that tie, may come out otherwise."""


def on_torch(model: onnx.ModelProto, reference: Graph, device: str) -> Function:
    """`model` executed by torch on `device`. Where torch does not, or gives something else than onnxruntime, whose the
    `reference` is, that comes back, and says so."""
    try:
        made = TorchGraph(model, reference, torch.device(device))
        why = _differs(made, reference)
    except NotListed as error:
        why = f"torch does not execute {error} here"
    except Refused as error:
        why = str(error)
    if not why:
        return made
    reference.remark = f"{reference.name} is executed by onnxruntime on the CPU: {why}."
    reference.cost = f"{reference.remark} {_speed(reference)}"
    return reference


class TorchGraph(Function):
    """The same function as `reference`."""

    def __init__(self, model: onnx.ModelProto, reference: Graph, device: torch.device) -> None:
        """Raises NotListed for what is in none of the lists."""
        self.name, self.is_row_independent = reference.name, reference.is_row_independent
        self.width_in, self.width_out = reference.width_in, reference.width_out
        self.device = device
        graph = model.graph
        opset = max((each.version for each in model.opset_import if each.domain in STANDARD), default=0)
        if not OLDEST <= opset <= NEWEST:
            raise NotListed(f"opset {opset}")
        if unknown := sorted({node.op_type for node in graph.node} - OPERATIONS.keys()):
            raise NotListed(", ".join(unknown))
        most = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory() or 2**62
        self._nodes = [_node(node, opset, device, most) for node in graph.node]
        self._constants = {tensor.name: to_tensor(tensor).to(device) for tensor in graph.initializer}
        (self._input,) = (end.name for end in graph.input if end.name not in self._constants)
        self._output = graph.output[0].name
        last = {name: place for place, node in enumerate(self._nodes) for name in (*node.inputs, *node.outputs)}
        kept = {"", self._output}
        self._done = [
            [name for name, at in last.items() if at == place and name not in kept] for place in range(len(self._nodes))
        ]

    def compute(self, rows: Floats) -> Floats:
        found: Floats = self.compute_tensor(torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))).numpy()
        return found

    def compute_tensor(self, rows: Tensor) -> Tensor:
        """Raises Refused. What a GPU does after an operation failed there is not known, so that ends the process."""
        try:
            with as_sealed(self.device.type), self._limited():
                found = self._run(rows.to(self.device))
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                return found.to(rows.device)
        except torch.AcceleratorError as error:
            raise SystemExit(
                f"saelab.scorer: {self.name}: artifact refused: it fails on the GPU: {first_line(error)}"
            ) from None
        except torch.OutOfMemoryError as error:
            raise Refused(f"{self.name}: no room on the GPU for {len(rows)} rows: {first_line(error)}") from error
        except Exception as error:  # torch has no class of its own for what does not fit together
            raise Refused(f"{self.name}: fails on {len(rows)} rows: {first_line(error)}") from error

    def _limited(self) -> contextlib.AbstractContextManager[None]:
        return within_memory() if self.device.type == "cpu" else contextlib.nullcontext()

    def _run(self, rows: Tensor) -> Tensor:
        values = {**self._constants, self._input: rows}
        for node, done in zip(self._nodes, self._done, strict=True):
            found = OPERATIONS[node.kind](node, *(values[name] if name else None for name in node.inputs))
            values.update(zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=False))
            for name in done:
                values.pop(name, None)
        return values[self._output].contiguous()


def _node(node: onnx.NodeProto, opset: int, device: torch.device, most: int) -> Node:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return Node(node.op_type, opset, attributes, tuple(node.input), tuple(node.output), device, most)


def _probes(width: int) -> Floats:
    """Rows of all sizes."""
    rows = np.random.default_rng(0).standard_normal((_PROBES, width), dtype=np.float32)
    probes: Floats = rows * np.logspace(-2, 3, _PROBES, dtype=np.float32)[:, None]
    return probes


def _differs(made: TorchGraph, reference: Graph) -> str:
    rows = _probes(reference.width_in)
    wanted, found = reference.compute(rows), made.compute(rows)
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"torch gives {found.dtype} {list(found.shape)} in place of {wanted.dtype} {list(wanted.shape)}"
    wanted, found = np.nan_to_num(wanted), np.nan_to_num(found)
    apart = np.abs(found - wanted).max(axis=1) > _AGREES * np.maximum(np.abs(wanted).max(axis=1), 1e-30)
    return f"torch gives something else in {apart.sum()} of {_PROBES} rows" if apart.sum() > _MAY_DIFFER else ""


def _speed(reference: Graph) -> str:
    rows = _probes(reference.width_in)
    started = time.perf_counter()
    with contextlib.suppress(Refused):
        reference.compute(rows)
    return f"So it computes {len(rows) / (time.perf_counter() - started):,.0f} rows a second."
