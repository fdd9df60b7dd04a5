"""Functions of torch tensors as ONNX graphs with a free number of rows: data that runs without the code that made it.

What the function did on an example is written down, call by call (`_recorded`): that takes milliseconds, where
torch's own exporter takes ten seconds. It holds for functions of rows made of the calls in `_WRITERS`; whether another
number of rows gives the same calls is looked at, and whether the graph gives the same numbers. All else goes through
torch.onnx.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.overrides import TorchFunctionMode

OPSET, IR_VERSION = 20, 10
AGREES = 1e-4
"""The largest difference between function and graph, as a share of the largest value."""
TIES = 0.02
"""The share of rows that may differ by more: where two latents tie for the last of k places, rounding decides."""

Rows = Callable[[Tensor], Tensor]


class ExportError(Exception):
    """Why a function could not be written down as a graph, and what can be done."""


def to_onnx(function: Rows, name: str, examples: tuple[Tensor, Tensor], names: tuple[str, str]) -> bytes:
    """The ONNX model of `function`, rows [n, a] to rows [n, b], both float32; `names` are those of input and output.

    `examples` are rows, two different numbers of them. `name` is what messages call the function. Raises ExportError.
    """
    with torch.no_grad():
        for make in (_recorded, _exported):
            model = make(function, name, examples, names)
            if model is not None and not (why := _differs(model, function, examples)):
                return model
    raise ExportError(
        f"{name}: its ONNX graph does not give what {name} gives ({why}), so it depends on more than its rows: on their "
        "number, on chance, or on values of tensors that Python looks at. Make it a pure function of each row."
    )


def _differs(model: bytes, function: Rows, examples: tuple[Tensor, ...]) -> str:
    import onnxruntime  # here: the first to need it

    onnxruntime.set_default_logger_severity(4)
    try:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        pairs = [(function(x), session.run(None, {session.get_inputs()[0].name: _array(x)})[0]) for x in examples]
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        return str(error).strip().splitlines()[0]
    for wanted, got in pairs:
        if got.shape != tuple(wanted.shape):
            return f"shape {list(got.shape)} in place of {list(wanted.shape)}"
        expected = _array(wanted)
        apart = np.abs(got - expected).max(axis=1)
        if (apart > AGREES * max(np.abs(expected).max(), 1e-6)).mean() > TIES:
            return f"{got.shape[0]} rows differ by up to {apart.max():.2g}"
    return ""


# --- as it was done ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Call:
    """One call of torch."""

    name: str
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    result: Any

    def tensors(self) -> Iterator[Tensor]:
        """All that go in, those in lists too."""
        for value in (*self.args, *self.keywords.values()):
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, Tensor):
                    yield each

    def results(self) -> list[Tensor]:
        made = self.result if isinstance(self.result, tuple) else (self.result,)
        return [each for each in made if isinstance(each, Tensor)]

    @property
    def asks_for_shape(self) -> bool:
        """Where a number of rows goes on from there, the two examples differ in it."""
        return self.name in ("__get__", "__len__", "size", "dim") and not self.results()


class _Recording(TorchFunctionMode):  # the mode one level below would do, but torch loads its compiler with it
    """Every call of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append(_Call(getattr(func, "__name__", ""), tuple(args), dict(kwargs or {}), result))
        return result


class _Graph:
    """The graph that is being written. Tensors are known by identity; what does not come from the rows is a constant."""

    def __init__(self, x: Tensor, name: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self._names: dict[int, str] = {id(x): name}

    def comes_from_rows(self, value: Tensor) -> bool:
        return id(value) in self._names

    def name(self, value: Any) -> str:
        """Of a tensor, or of a number beside others of float32; a truth value becomes 0 or 1, as torch has it."""
        if isinstance(value, Tensor) and self.comes_from_rows(value):
            known = self._names[id(value)]
            return self.node("Cast", [known], to=TensorProto.FLOAT)[0] if value.dtype == torch.bool else known
        array = _array(value)
        return self.constant(array.astype(np.float32) if array.dtype in (np.bool_, np.float64) or array.ndim == 0 else array)

    def mask(self, value: Tensor) -> str:
        """Of a tensor of truth values, as such."""
        return self._names[id(value)] if self.comes_from_rows(value) else self.constant(_array(value))

    def constant(self, array: npt.NDArray[Any]) -> str:
        label = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, label))
        return label

    def node(self, kind: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"value_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        return names

    def write(self, call: _Call) -> bool:
        """Whether the call could be written: it is known, has no argument that its writer does not have, and stays with
        float32."""
        tensors = [*call.tensors(), *call.results()]
        if call.name not in _WRITERS or any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors):
            return False
        writer = _WRITERS[call.name]
        try:
            given = inspect.signature(writer).bind(self, *call.args, **call.keywords)
        except TypeError:
            return False
        names = writer(*given.args, **given.kwargs)
        self._names.update((id(tensor), name) for tensor, name in zip(call.results(), names, strict=True))
        return True


# The writers of single calls: parameters are torch's, the answer are the names of the results.


def _binary(kind: str) -> Callable[..., list[str]]:
    return lambda graph, input, other: graph.node(kind, [graph.name(input), graph.name(other)])


def _reversed(kind: str) -> Callable[..., list[str]]:
    return lambda graph, input, other: graph.node(kind, [graph.name(other), graph.name(input)])


def _unary(kind: str) -> Callable[..., list[str]]:
    return lambda graph, input: graph.node(kind, [graph.name(input)])


def _addmm(graph: _Graph, input: Tensor, mat1: Tensor, mat2: Tensor) -> list[str]:
    product = graph.node("MatMul", [graph.name(mat1), graph.name(mat2)])
    return graph.node("Add", [*product, graph.name(input)])


def _linear(graph: _Graph, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[str]:
    product = graph.node("MatMul", [graph.name(input), graph.constant(_array(weight).T.copy())])
    return product if bias is None else graph.node("Add", [*product, graph.name(bias)])


def _topk(graph: _Graph, input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> list[str]:
    inputs = [graph.name(input), graph.constant(np.asarray([k], dtype=np.int64))]
    return graph.node("TopK", inputs, 2, axis=dim, largest=int(largest), sorted=int(sorted))


def _zeros_like(graph: _Graph, input: Tensor, dtype: Any = None) -> list[str]:
    zero = numpy_helper.from_array(np.zeros(1, dtype=np.float32))
    return graph.node("ConstantOfShape", graph.node("Shape", [graph.name(input)]), value=zero)


def _scatter(graph: _Graph, input: Tensor, dim: int, index: Tensor, src: Tensor) -> list[str]:
    return graph.node("ScatterElements", [graph.name(input), graph.name(index), graph.name(src)], axis=dim)


def _where(graph: _Graph, condition: Tensor, input: Any, other: Any) -> list[str]:
    return graph.node("Where", [graph.mask(condition), graph.name(input), graph.name(other)])


def _masked_fill(graph: _Graph, input: Tensor, mask: Tensor, value: Any) -> list[str]:
    return graph.node("Where", [graph.mask(mask), graph.name(value), graph.name(input)])


_WRITERS: dict[str, Callable[..., list[str]]] = {
    **{name: _binary(kind) for name, kind in (("sub", "Sub"), ("add", "Add"), ("mul", "Mul"), ("div", "Div"))},
    **{
        name: _binary(kind)
        for name, kind in (("gt", "Greater"), ("ge", "GreaterOrEqual"), ("lt", "Less"), ("le", "LessOrEqual"))
    },
    **{name: _binary("MatMul") for name in ("matmul", "mm")},
    **{name: _reversed(kind) for name, kind in (("__rsub__", "Sub"), ("__radd__", "Add"), ("__rmul__", "Mul"))},
    **{name: _unary(kind) for name, kind in (("relu", "Relu"), ("abs", "Abs"), ("neg", "Neg"), ("sqrt", "Sqrt"))},
    **{name: _unary(kind) for name, kind in (("exp", "Exp"), ("sigmoid", "Sigmoid"), ("tanh", "Tanh"))},
    "detach": _unary("Identity"),
    "addmm": _addmm,
    "linear": _linear,
    "topk": _topk,
    "zeros_like": _zeros_like,
    "scatter": _scatter,
    "where": _where,
    "masked_fill": _masked_fill,
}
"""How a call is written. None of them may speak of a number of rows."""


def _recorded(function: Rows, name: str, examples: tuple[Tensor, Tensor], names: tuple[str, str]) -> bytes | None:
    """The model of what `function` did; None where it did what cannot be written, or does otherwise with other rows."""
    models = [_written(function, x, names) for x in examples]
    return models[0] if models[0] == models[1] else None


def _written(function: Rows, x: Tensor, names: tuple[str, str]) -> bytes | None:
    graph = _Graph(x, names[0])
    with _Recording() as recording:
        result = function(x)
    for call in recording.calls:
        # What is made of constants is a constant.
        is_of_rows = any(graph.comes_from_rows(tensor) for tensor in call.tensors())
        if is_of_rows and not call.asks_for_shape and not graph.write(call):
            return None
    if not graph.comes_from_rows(result):
        return None
    graph.nodes.append(helper.make_node("Identity", [graph.name(result)], [names[1]]))
    ends = [
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", rows.shape[1]])
        for end, rows in zip(names, (x, result), strict=True)
    ]
    made_graph = helper.make_graph(graph.nodes, names[1], ends[:1], ends[1:], graph.constants)
    model = helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))


# --- torch's exporter ----------------------------------------------------------------------------------------------------


class _Module(torch.nn.Module):
    """A function with the module that it is of, whose parameters the exporter then finds."""

    def __init__(self, function: Rows) -> None:
        super().__init__()
        self.function = function
        owner = getattr(function, "__self__", None)
        if isinstance(owner, torch.nn.Module):
            self.owner = owner

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _exported(function: Rows, name: str, examples: tuple[Tensor, Tensor], names: tuple[str, str]) -> bytes:
    shapes = ({0: torch.export.Dim("n", min=1, max=2**20)},)
    try:
        with _quiet():
            program = torch.onnx.export(
                _Module(function).eval(),
                (examples[0],),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=names[:1],
                output_names=names[1:],
                verbose=False,
            )
        assert program is not None
        return bytes(program.model_proto.SerializeToString())
    except Exception as error:  # torch's exporter raises classes of its own, and whatever the function does
        cause = error.__cause__ or error
        first = next(filter(None, str(cause).splitlines()), type(cause).__name__)
        raise ExportError(
            f"{name} cannot be exported to ONNX: {type(cause).__name__}: {first[:300]}. It is scored as an ONNX graph, "
            f"so {name} must be made of torch operations on whole tensors, without `if` on their values, loops over rows, "
            ".item(), numpy, or a fixed number of rows. Fix it, or keep what is needed in training alone out of it."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells about itself."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _array(value: Any) -> npt.NDArray[Any]:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
