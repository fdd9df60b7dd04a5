"""An ONNX graph that somebody else wrote: looked at before it is loaded, then run on rows.

What is refused: data outside the file, operations that are not of the ONNX standard or not a function of their inputs alone
(chance, loops, branches), functions, more or other inputs and outputs than one matrix of float32 each. What a graph may cost
is not seen here: the process that runs it has limits of time and memory.
"""

from __future__ import annotations

import contextlib
import os
import resource
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import AttributeProto, NodeProto, SparseTensorProto, TensorProto

from .row_independence import is_row_independent

Floats = npt.NDArray[np.float32]

LARGEST = 2**31 - 1
"""Bytes of a file: ONNX files cannot be larger."""
MOST_NODES = 10_000
WIDEST = 2**22
"""Numbers in a row."""
_ROWS_AT_ONCE = 4096
_STANDARD = ("", "ai.onnx")
_OTHERWISE = frozenset(
    [
        *("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("If", "Loop", "Scan", "SequenceMap"),
    ]
)
"""Standard operations that are chance or hold a graph of their own."""
_CUDA = ("CUDAExecutionProvider", {"use_tf32": "0"})


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
    on_gpu: bool
    is_row_independent = False
    """Whether it is known, without running it, that a row of the result depends on that row alone."""

    @abstractmethod
    def compute(self, rows: Floats) -> Floats:
        """A few thousand rows. Raises Refused."""

    def run(self, rows: Floats) -> Floats:
        """All rows, in parts. Raises Refused where it fails or answers with something else than a row each."""
        starts = range(0, max(len(rows), 1), _ROWS_AT_ONCE)
        parts = [self._checked(rows[start : start + _ROWS_AT_ONCE]) for start in starts]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _checked(self, rows: Floats) -> Floats:
        found = self.compute(rows)
        self.check(found.shape, len(rows), bool(np.isfinite(found).all()))
        return found

    def check(self, shape: tuple[int, ...], rows: int, finite: bool) -> None:
        """Raises Refused for an answer that is none."""
        if tuple(shape) != (rows, self.width_out):
            raise Refused(f"{self.name}: gave {list(shape)} for {rows} rows; expected [{rows}, {self.width_out}].")
        if not finite:
            raise Refused(f"{self.name}: gave NaN or infinity; the SAE cannot be scored.")


class Graph(Function):
    """An ONNX graph."""

    def __init__(self, content: bytes, name: str, *, threads: int, cuda: bool = False) -> None:
        """`content` of the file called `name`. Raises Refused; then nothing in it was run."""
        self.name = name
        try:
            model = onnx.load_model_from_string(content)
        except Exception as error:  # protobuf's own class
            raise Refused(f"{name}: not an ONNX file.") from error
        self._inspect(model)
        self.is_row_independent = is_row_independent(model)
        del model.metadata_props[:]  # onnxruntime can be told things there
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        on_gpu = cuda and _CUDA[0] in onnxruntime.get_available_providers()
        self._limited = contextlib.nullcontext if on_gpu else within_memory  # CUDA reserves addresses, not memory
        try:
            with self._limited():
                self.session = onnxruntime.InferenceSession(
                    model.SerializeToString(), options, providers=[*([_CUDA] if on_gpu else []), "CPUExecutionProvider"]
                )
        except Exception as error:  # onnxruntime's own classes
            raise Refused(f"{name}: onnxruntime does not load it: {_first_line(error)}") from error
        self.on_gpu = _CUDA[0] in self.session.get_providers()
        (self.input,), (self.output,) = self.session.get_inputs(), self.session.get_outputs()
        self.width_in, self.width_out = int(self.input.shape[1]), int(self.output.shape[1])

    def compute(self, rows: Floats) -> Floats:
        try:
            with self._limited():
                (found,) = self.session.run(None, {self.input.name: np.ascontiguousarray(rows, dtype=np.float32)})
        except Exception as error:  # onnxruntime's own classes
            raise Refused(f"{self.name}: fails on {len(rows)} rows: {_first_line(error)}") from error
        result: Floats = found
        return result

    def _inspect(self, model: onnx.ModelProto) -> None:
        if model.functions or model.training_info:
            raise Refused(f"{self.name}: holds functions or training information; only a plain graph is read.")
        nodes = 0
        for part in _parts(model):
            if isinstance(part, TensorProto) and (part.external_data or part.data_location == TensorProto.EXTERNAL):
                raise Refused(f"{self.name}: tensor {part.name!r} lies outside the file; nothing outside it is read.")
            if isinstance(part, SparseTensorProto):
                raise Refused(f"{self.name}: holds a sparse tensor; only dense ones are read.")
            if isinstance(part, NodeProto):
                nodes += 1
                self._inspect_node(part)
        if nodes > MOST_NODES:
            raise Refused(f"{self.name}: {nodes} operations; the most that is read is {MOST_NODES}.")
        given = {tensor.name for tensor in model.graph.initializer}
        for kind, ends in (("input", [i for i in model.graph.input if i.name not in given]), ("output", model.graph.output)):
            shapes = [_shape(end) for end in ends]
            if len(shapes) != 1 or shapes[0] is None:
                raise Refused(f"{self.name}: expected one {kind} of float32 [n, width], n free; found {_in_words(ends)}.")
            if shapes[0] > WIDEST:
                verb = "takes" if kind == "input" else "gives"
                raise Refused(
                    f"{self.name}: {verb} rows of {shapes[0]:,}; the most that is read is {WIDEST:,} numbers a row."
                )

    def _inspect_node(self, node: NodeProto) -> None:
        kind = node.op_type
        if node.domain not in _STANDARD:
            raise Refused(f"{self.name}: operation {node.domain}.{kind} is not of the ONNX standard.")
        if not onnx.defs.has(kind):
            raise Refused(f"{self.name}: operation {kind} is not of the ONNX standard.")
        if kind in _OTHERWISE or any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute):
            raise Refused(
                f"{self.name}: operation {kind}: an SAE is scored as a fixed function, without chance and branches."
            )


@contextlib.contextmanager
def within_memory() -> Iterator[None]:
    """This process gets no more memory in here than the machine has left: a few bytes of a graph can ask for any amount.

    On Linux alone, and not on a GPU."""
    available = available_memory()
    if available is None:
        yield
        return
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + available
    soft = min([wanted, *(limit for limit in before if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def available_memory() -> int | None:
    """Bytes that can be had without taking them from anybody; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
    return 1024 * (found.get("MemAvailable", 0) + found.get("SwapFree", 0)) or None


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


def _first_line(error: Exception) -> str:
    return next(filter(None, str(error).splitlines()), type(error).__name__)[:300]
