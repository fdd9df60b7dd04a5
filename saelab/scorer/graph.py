"""An ONNX graph that somebody else wrote: looked at before it is loaded, then run on rows.

What is refused: data outside the file, operations that are not of the ONNX standard or not a function of their inputs alone
(chance, loops, branches), functions, more or other inputs and outputs than one matrix of float32 each. What a graph may cost
is not seen here: the process that runs it has limits of time and memory.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto

from ..memory import within_memory
from .row_independence import is_row_independent
from .rows import Floats, Rows, is_finite, joined, to_array

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 2**31 - 1
"""Bytes of a file: ONNX files cannot be larger."""
MOST_NODES = 10_000
WIDEST = 2**22
"""Numbers in a row."""
_ROWS_AT_ONCE = 4096
STANDARD = ("", "ai.onnx")
_OTHERWISE = frozenset(
    [
        *("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("If", "Loop", "Scan", "SequenceMap"),
    ]
)
"""Standard operations that are chance or hold a graph of their own."""


class Refused(Exception):
    """Why an artifact is not scored: file, what is wrong, what to do."""


def read_bytes(path: Path) -> bytes:
    """The content of a regular file that can be held. Raises Refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Refused(f"{path.name}: missing. `saelab.hand_over(out_dir, sae, used, metrics)` writes it.") from None
    except OSError as error:
        raise Refused(f"{path.name}: cannot be read: {error.strerror}; links are not followed.") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path.name}: not a regular file.")
        if status.st_size > LARGEST:
            raise Refused(f"{path.name}: {status.st_size / 1e9:.1f} GB; more than 2 GB is not read.")
        return file.read(LARGEST)


class Function(ABC):
    """Rows [n, width_in] to rows [n, width_out], float32."""

    name: str
    width_in: int
    width_out: int
    is_row_independent = False
    """Whether it is known, without running it, that a row of the result depends on that row alone."""
    remark = cost = ""
    """Sentences for the record and the log, where it is executed otherwise than was asked: why, and what that costs."""

    @abstractmethod
    def compute(self, rows: Floats) -> Floats:
        """A few thousand rows. Raises Refused."""

    def compute_tensor(self, rows: Tensor) -> Tensor:
        """The same for a tensor, to where it is. Raises Refused."""
        import torch

        return torch.from_numpy(self.compute(to_array(rows))).to(rows.device)

    def run(self, rows: Rows) -> Rows:
        """All rows, in parts. Raises Refused where it fails or answers with something else than a row each."""
        starts = range(0, max(len(rows), 1), _ROWS_AT_ONCE)
        return joined([self._checked(rows[start : start + _ROWS_AT_ONCE]) for start in starts])

    def _checked(self, rows: Rows) -> Rows:
        found = self.compute(rows) if isinstance(rows, np.ndarray) else self.compute_tensor(rows)
        self.check(tuple(found.shape), len(rows), is_finite(found))
        return found

    def check(self, shape: tuple[int, ...], rows: int, finite: bool) -> None:
        """Raises Refused for an answer that is none."""
        if shape != (rows, self.width_out):
            raise Refused(f"{self.name}: gave {list(shape)} for {rows} rows; expected [{rows}, {self.width_out}].")
        if not finite:
            raise Refused(f"{self.name}: gave NaN or infinity; the SAE cannot be scored.")


def read_model(content: bytes, name: str) -> onnx.ModelProto:
    """The graph in `content` of the file called `name`, after a look at all that is in it. Raises Refused."""
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own class
        raise Refused(f"{name}: not an ONNX file.") from error
    if model.functions or model.training_info:
        raise Refused(f"{name}: holds functions or training information; only a plain graph is read.")
    nodes = 0
    for part in _parts(model):
        if isinstance(part, TensorProto) and (part.external_data or part.data_location == TensorProto.EXTERNAL):
            raise Refused(f"{name}: tensor {part.name!r} lies outside the file; nothing outside it is read.")
        if isinstance(part, SparseTensorProto):
            raise Refused(f"{name}: holds a sparse tensor; only dense ones are read.")
        if isinstance(part, NodeProto):
            nodes += 1
            _inspect_node(part, name)
    if nodes > MOST_NODES:
        raise Refused(f"{name}: {nodes} operations; the most that is read is {MOST_NODES}.")
    given = {tensor.name for tensor in model.graph.initializer}
    for kind, ends in (("input", [i for i in model.graph.input if i.name not in given]), ("output", model.graph.output)):
        shapes = [_shape(end) for end in ends]
        if len(shapes) != 1 or shapes[0] is None:
            raise Refused(f"{name}: expected one {kind} of float32 [n, width], n free; found {_in_words(ends)}.")
        if shapes[0] > WIDEST:
            verb = "takes" if kind == "input" else "gives"
            raise Refused(f"{name}: {verb} rows of {shapes[0]:,}; the most that is read is {WIDEST:,} numbers a row.")
    del model.metadata_props[:]  # onnxruntime can be told things there
    return model


def _inspect_node(node: NodeProto, name: str) -> None:
    kind = node.op_type
    if node.domain not in STANDARD:
        raise Refused(f"{name}: operation {node.domain}.{kind} is not of the ONNX standard.")
    if not onnx.defs.has(kind):
        raise Refused(f"{name}: operation {kind} is not of the ONNX standard.")
    if kind in _OTHERWISE or any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
        raise Refused(f"{name}: operation {kind}: an SAE is scored as a fixed function, without chance and branches.")


class Graph(Function):
    """An ONNX graph, executed by onnxruntime on the CPU."""

    def __init__(self, model: onnx.ModelProto, name: str, *, threads: int) -> None:
        """`model` of the file called `name`, as `read_model` gives it. Raises Refused; then nothing in it was run."""
        self.name = name
        self.is_row_independent = is_row_independent(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        try:
            with within_memory():
                self.session = onnxruntime.InferenceSession(
                    model.SerializeToString(), options, providers=["CPUExecutionProvider"]
                )
        except Exception as error:  # onnxruntime's own classes
            raise Refused(f"{name}: onnxruntime does not load it: {first_line(error)}") from error
        (self.input,), (self.output,) = self.session.get_inputs(), self.session.get_outputs()
        self.width_in, self.width_out = int(self.input.shape[1]), int(self.output.shape[1])

    def compute(self, rows: Floats) -> Floats:
        try:
            with within_memory():
                (found,) = self.session.run(None, {self.input.name: np.ascontiguousarray(rows, dtype=np.float32)})
        except Exception as error:  # onnxruntime's own classes
            raise Refused(f"{self.name}: fails on {len(rows)} rows: {first_line(error)}") from error
        result: Floats = found
        return result


def _parts(message: Any) -> Iterator[Any]:
    """A protobuf message and all that are in it."""
    pending = [message]
    while pending:
        part = pending.pop()
        yield part
        for field, value in part.ListFields():
            if field.message_type is not None:
                pending += value if field.is_repeated else [value]


def _shape(end: onnx.ValueInfoProto) -> int | None:
    """The width of a matrix of float32 with a free number of rows, None for all else."""
    kind = end.type.tensor_type
    if kind.elem_type != TensorProto.FLOAT or len(kind.shape.dim) != 2:
        return None
    rows, width = kind.shape.dim
    return width.dim_value if width.dim_value > 0 and not rows.HasField("dim_value") else None


def _in_words(ends: Any) -> str:
    found = []
    for end in ends:
        kind = end.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
        found.append(f"{end.name} {TensorProto.DataType.Name(kind.elem_type).lower()} {dims}")
    return ", ".join(found) or "none"


def first_line(error: Exception) -> str:
    return next(filter(None, str(error).splitlines()), type(error).__name__)[:300]
