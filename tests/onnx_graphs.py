"""Small ONNX graphs, rows of WIDTH to rows of WIDTH: each operation that torch executes, in the ways that opsets have it."""

# ruff: noqa: RUF005  (graphs are put together of lists of nodes)

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from saelab.scorer import operations

WIDTH = 8


def proto(nodes, constants, opset=20, width=WIDTH, width_out=WIDTH):
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", width_out])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def rows(n=12):
    """With equal numbers, zeros, and both signs."""
    return np.round(np.random.default_rng(4).standard_normal((n, WIDTH)) * 4).astype(np.float32) / 2


def node(kind, inputs, outputs=("y",), **attributes):
    return helper.make_node(kind, inputs, list(outputs), **attributes)


def int64(*numbers):
    return np.array(numbers, dtype=np.int64)


AXIS_1, HALF = int64(1), np.float32(0.5)
COLUMN = np.arange(WIDTH, dtype=np.float32) - 3
SQUARE = np.random.default_rng(0).standard_normal((WIDTH, WIDTH)).astype(np.float32)
BACK = node("Expand", ["r", "shape_of_x"])
"""From one number a row to rows of full width."""


def reduced(kind, opset, keepdims=1, axis=1):
    """The rows with what `kind` makes of each beside them."""
    since = 13 if kind == "ReduceSum" else 18
    first = (
        node(kind, ["x", "axes"], ["r"], keepdims=keepdims)
        if opset >= since
        else node(kind, ["x"], ["r"], axes=[axis], keepdims=keepdims)
    )
    again = [] if keepdims else [node("Reshape", ["r", "column"], ["r1"])]
    return (
        [first, *again, node("Sub", ["x", "r" if keepdims else "r1"])],
        {"axes": int64(axis), "column": int64(-1, 1)},
        opset,
    )


def cast(kind, *inputs, to=TensorProto.FLOAT, **attributes):
    return [node(kind, list(inputs), ["raw"], **attributes), node("Cast", ["raw"], to=to)]


UNARY = [
    *[(kind, {}) for kind in sorted(operations.UNARY - {"Cast", "Not", "IsNaN", "IsInf", "Log", "Sqrt", "Gelu", "Mish"})],
    *[("Elu", {"alpha": 0.3}), ("LeakyRelu", {"alpha": 0.2}), ("HardSigmoid", {"alpha": 0.4, "beta": 0.1})],
    *[("Selu", {"alpha": 1.5, "gamma": 1.2}), ("ThresholdedRelu", {"alpha": 0.5}), ("Gelu", {}), ("Mish", {})],
    ("Gelu", {"approximate": "tanh"}),
]
GRAPHS = {
    **{f"{kind} {given or ''}": ([node(kind, ["x"], **given)], {}, 20) for kind, given in UNARY},
    "Log and Sqrt of what is above 0": (
        [node("Abs", ["x"], ["a"]), node("Add", ["a", "h"], ["b"]), node("Log", ["b"], ["c"]), node("Sqrt", ["b"], ["d"])]
        + [node("Add", ["c", "d"])],
        {"h": HALF},
        20,
    ),
    "IsNaN and IsInf": (
        [node("Log", ["x"], ["l"]), node("IsNaN", ["l"], ["n"]), node("IsInf", ["l"], ["i"], detect_positive=0)]
        + [node("Or", ["n", "i"], ["e"]), *cast("Not", "e")],
        {},
        20,
    ),
    **{
        f"{kind} with a row, a column and a number": (
            [node(kind, ["x", "v"], ["a"]), node("Slice", ["a", "o", "t", "o"], ["c"]), node(kind, ["a", "c"], ["b"])]
            + [node(kind, ["b", "h"])],
            {"v": COLUMN + 0.25, "o": int64(1), "t": int64(2), "h": HALF},
            opset,
        )
        for kind in ("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean")
        for opset in (8, 20)
    },
    "Div, Pow, PRelu": (
        [node("Div", ["x", "v"], ["a"]), node("Abs", ["a"], ["b"]), node("Pow", ["b", "h"], ["c"])]
        + [node("PRelu", ["x", "s"], ["d"]), node("Add", ["c", "d"])],
        {"v": COLUMN + 0.25, "h": HALF, "s": np.full((1, WIDTH), 0.3, np.float32)},
        20,
    ),
    **{
        kind: (cast(kind, "x", "v"), {"v": np.round(COLUMN)}, 20)
        for kind in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")
    },
    "And, Or, Xor": (
        [node("Greater", ["x", "h"], ["a"]), node("Less", ["x", "v"], ["b"]), node("And", ["a", "b"], ["c"])]
        + [node("Or", ["c", "b"], ["d"]), *cast("Xor", "a", "d")],
        {"h": HALF, "v": COLUMN},
        20,
    ),
    "Where, by a column": (
        [node("Slice", ["x", "o", "t", "o"], ["c"]), node("Greater", ["c", "h"], ["b"]), node("Where", ["b", "x", "v"])],
        {"o": int64(1), "t": int64(2), "h": HALF, "v": COLUMN},
        20,
    ),
    "whole numbers: divided towards 0, remainders of both kinds": (
        [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Div", ["i", "two"], ["a"])]
        + [node("Mod", ["i", "three"], ["b"]), node("Mod", ["i", "three"], ["c"], fmod=1)]
        + [node("Mul", ["b", "ten"], ["d"]), node("Add", ["a", "d"], ["e"]), *cast("Add", "e", "c")],
        {"two": int64(2), "three": int64(-3), "ten": int64(10)},
        20,
    ),
    **{
        f"Cast to {name}": ([node("Cast", ["x"], ["i"], to=kind), node("Cast", ["i"], to=TensorProto.FLOAT)], {}, 20)
        for name, kind in (
            ("int32", TensorProto.INT32),
            ("bool", TensorProto.BOOL),
            ("float16", TensorProto.FLOAT16),
            ("double", TensorProto.DOUBLE),
        )
    },
    "CastLike": ([node("CastLike", ["x", "i"], ["a"]), node("Cast", ["a"], to=TensorProto.FLOAT)], {"i": int64(1)}, 20),
    "Clip by attributes": ([node("Clip", ["x"], min=-0.5, max=1.0)], {}, 9),
    "Clip by inputs": ([node("Clip", ["x", "l", "h"])], {"l": np.float32(-0.5), "h": HALF}, 13),
    "Clip from above alone": ([node("Clip", ["x", "", "h"])], {"h": HALF}, 13),
    "Clip whose limits cross": ([node("Clip", ["x", "l", "h"])], {"l": np.float32(2), "h": HALF}, 13),
    **{f"{kind} of opset {opset}": reduced(kind, opset) for kind in sorted(operations.REDUCE) for opset in (9, 13, 18)},
    **{f"{kind} along the last axis": reduced(kind, 20, axis=-1) for kind in ("ReduceMax", "ReduceL2")},
    **{f"{kind} whose axis goes": reduced(kind, opset, keepdims=0) for kind in ("ReduceMean",) for opset in (13, 20)},
    "ReduceSum of nothing": ([node("ReduceSum", ["x"], noop_with_empty_axes=1)], {}, 13),
    "ReduceSum of all": ([node("ReduceSum", ["x"], ["r"]), node("Add", ["x", "r"])], {}, 13),
    "ReduceMean of all": ([node("ReduceMean", ["x"], ["r"]), node("Add", ["x", "r"])], {}, 18),
    **{
        f"{kind} down the columns": ([node(kind, ["x"], ["r"], axes=[0]), node("Sub", ["x", "r"])], {}, 13)
        for kind in ("ReduceMax", "ReduceMin")
    },
    "ReduceSum of whole numbers": (
        [node("Cast", ["x"], ["i"], to=TensorProto.INT32), node("ReduceSum", ["i", "a"], ["s"]), *cast("Add", "i", "s")],
        {"a": AXIS_1},
        20,
    ),
    **{
        f"{kind} of opset {opset}{axis}": ([node(kind, ["x"], **axis)], {}, opset)
        for kind in ("Softmax", "LogSoftmax", "Hardmax")
        for opset, axis in ((9, {}), (11, {"axis": -1}), (11, {"axis": 0}), (13, {}), (13, {"axis": 0}), (20, {"axis": -1}))
    },
    **{
        f"{kind}{given}": (
            [*cast(kind, "x", **given)][:-1]
            + [node("Cast", ["raw"], ["r"], to=TensorProto.FLOAT)]
            + [node("Sub", ["x", "r"])],
            {},
            13,
        )
        for kind in ("ArgMax", "ArgMin")
        for given in ({"axis": 1}, {"axis": -1, "select_last_index": 1}, {"axis": 0})
    },
    **{
        f"TopK of {k}, opset {opset}{given}": (
            [node("TopK", ["x", "k"], ["v", "i"], **given) if opset >= 10 else node("TopK", ["x"], ["v", "i"], k=k, **given)]
            + [node("Sub", ["x", "x"], ["z"]), node("ScatterElements", ["z", "i", "v"], axis=1)]
            if opset >= 11
            else [node("TopK", ["x"], ["v", "i"], k=k, **given), node("Cast", ["i"], ["f"], to=TensorProto.FLOAT)]
            + [node("Concat", ["v", "f"], axis=1)],
            {"k": int64(k)},
            opset,
        )
        for k, opset, given in (
            (1, 11, {}),
            (3, 11, {}),
            (3, 20, {"largest": 0}),
            (8, 20, {"axis": 1}),
            (1, 20, {"sorted": 0}),
            (4, 7, {}),
        )
    },
    "TopK's indices, of one and of many": (
        [node("TopK", ["x", "one"], ["v1", "i1"]), node("TopK", ["x", "seven"], ["v7", "i7"], largest=0)]
        + [node("Concat", ["i1", "i7"], ["i"], axis=1), *cast("Identity", "i")],
        {"one": int64(1), "seven": int64(7)},
        20,
    ),
    "TopK along the rows": (
        [node("TopK", ["x", "k"], ["v", "i"], axis=0), node("ReduceSum", ["v", "a"], ["s"]), node("Add", ["x", "s"])],
        {"k": int64(2), "a": int64(0)},
        20,
    ),
    **{
        f"CumSum{given}": ([node("CumSum", ["x", "a"], **given)], {"a": np.int64(axis)}, 20)
        for given, axis in (({}, 1), ({"exclusive": 1}, -1), ({"reverse": 1}, 1), ({"reverse": 1, "exclusive": 1}, 0))
    },
    "LayerNormalization": ([node("LayerNormalization", ["x", "s", "b"], epsilon=1e-3)], {"s": COLUMN, "b": COLUMN + 1}, 17),
    "MatMul of three axes": (
        [node("Reshape", ["x", "parts"], ["p"]), node("MatMul", ["p", "w"], ["q"]), node("Reshape", ["q", "back"])],
        {"parts": int64(0, 2, 4), "w": SQUARE[:4, :4], "back": int64(0, -1)},
        20,
    ),
    "Gemm": ([node("Gemm", ["x", "w", "c"], alpha=0.5, beta=2.0, transB=1)], {"w": SQUARE, "c": COLUMN}, 9),
    "Gemm without a constant": ([node("Gemm", ["x", "w"])], {"w": SQUARE}, 13),
    "Reshape, Transpose, Flatten": (
        [node("Reshape", ["x", "s"], ["a"]), node("Transpose", ["a"], ["b"], perm=[0, 2, 1]), node("Flatten", ["b"])],
        {"s": int64(-1, 4, 2)},
        20,
    ),
    "Transpose twice, without saying how": ([node("Transpose", ["x"], ["a"]), node("Transpose", ["a"])], {}, 20),
    "Flatten at a negative axis": ([node("Flatten", ["x"], axis=-1)], {}, 11),
    "Squeeze and Unsqueeze by attributes": (
        [node("Unsqueeze", ["x"], ["a"], axes=[0, 3]), node("Squeeze", ["a"], axes=[0, 3])],
        {},
        11,
    ),
    "Squeeze and Unsqueeze by inputs": (
        [node("Unsqueeze", ["x", "a"], ["b"]), node("Squeeze", ["b", "c"])],
        {"a": int64(-1, 1), "c": int64(1, -1)},
        13,
    ),
    "Squeeze of all that is 1": ([node("Unsqueeze", ["x", "a"], ["b"]), node("Squeeze", ["b"])], {"a": int64(0)}, 13),
    "Expand and Tile": (
        [node("ReduceMax", ["x", "a"], ["m"]), node("Shape", ["x"], ["s"]), node("Expand", ["m", "s"], ["e"])]
        + [node("Slice", ["e", "z", "four", "a"], ["h"]), node("Tile", ["h", "twice"])],
        {"a": AXIS_1, "z": int64(0), "four": int64(4), "twice": int64(1, 2)},
        20,
    ),
    "Split by attribute": (
        [node("Split", ["x"], ["a", "b"], axis=1, split=[3, 5]), node("Concat", ["b", "a"], axis=-1)],
        {},
        11,
    ),
    "Split by input": (
        [node("Split", ["x", "s"], ["a", "b"], axis=1), node("Concat", ["b", "a"], axis=1)],
        {"s": int64(3, 5)},
        13,
    ),
    "Split into equal parts": ([node("Split", ["x"], ["a", "b"], axis=-1), node("Concat", ["b", "a"], axis=1)], {}, 13),
    "Split into parts of which the last is smaller": (
        [node("Split", ["x"], ["a", "b", "c"], axis=1, num_outputs=3), node("Concat", ["c", "b", "a"], axis=1)],
        {},
        18,
    ),
    "Slice by attributes": (
        [node("Slice", ["x"], ["a"], starts=[1, -4], ends=[1000, 9], axes=[0, 1]), node("Concat", ["a", "a"], axis=1)],
        {},
        9,
    ),
    "Slice backwards": (
        [node("Slice", ["x", "s", "e", "a", "t"])],
        {"s": int64(-1), "e": int64(-(2**63)), "a": AXIS_1, "t": int64(-1)},
        20,
    ),
    "Slice in steps, without axes": (
        [node("Slice", ["x", "s", "e", "", "t"], ["a"]), node("Concat", ["a", "a"], axis=1)],
        {"s": int64(0, 1), "e": int64(2**62, 8), "t": int64(1, 2)},
        20,
    ),
    "Slice of nothing": (
        [node("Slice", ["x", "s", "e", "a"], ["n"]), node("Concat", ["x", "n"], axis=1)],
        {"s": int64(5), "e": int64(3), "a": int64(-1)},
        20,
    ),
    "Pad": (
        [node("Slice", ["x", "z", "five", "a"], ["h"]), node("Pad", ["h", "p", "v"])],
        {"z": int64(0), "five": int64(5), "a": AXIS_1, "p": int64(0, 1, 0, 2), "v": HALF},
        13,
    ),
    "Pad of one axis": (
        [node("Slice", ["x", "z", "five", "a"], ["h"]), node("Pad", ["h", "p", "", "a"])],
        {"z": int64(0), "five": int64(5), "a": AXIS_1, "p": int64(1, 2)},
        18,
    ),
    "Shape, Size, Range and OneHot": (
        [node("Shape", ["x"], ["w"], start=1), node("Squeeze", ["w"], ["d"]), node("Range", ["z", "d", "one"], ["r"])]
        + [node("ArgMax", ["x"], ["i"], axis=1, keepdims=0), node("OneHot", ["i", "w", "v"], ["h"])]
        + [node("Cast", ["r"], ["f"], to=TensorProto.FLOAT), node("Size", ["x"], ["n"]), node("Cast", ["n"], ["m"], to=1)]
        + [node("Add", ["h", "f"], ["g"]), node("Div", ["g", "m"])],
        {"z": np.int64(0), "one": np.int64(1), "v": np.array([-1, 2], np.float32)},
        20,
    ),
    "OneHot at the first axis, with indices that are none": (
        [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Slice", ["i", "o", "t", "o"], ["c"])]
        + [node("Squeeze", ["c", "o"], ["s"]), node("OneHot", ["s", "d", "v"], ["h"], axis=0), node("Transpose", ["h"])],
        {"o": AXIS_1, "t": int64(2), "d": int64(8), "v": np.array([0, 1], np.float32)},
        20,
    ),
    "Trilu": ([node("Trilu", ["w", "k"], ["u"], upper=0), node("MatMul", ["x", "u"])], {"w": SQUARE, "k": np.int64(-1)}, 20),
    "ConstantOfShape and Constant": (
        [node("Shape", ["x"], ["s"])]
        + [node("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(np.array([2], np.float32)))]
        + [node("Constant", [], ["k"], value_float=3.0), node("Constant", [], ["l"], value_floats=COLUMN.tolist())]
        + [node("Mul", ["c", "k"], ["m"]), node("Add", ["m", "l"], ["n"]), node("Add", ["n", "x"])],
        {},
        20,
    ),
    "Gather of columns, negative ones too": (
        [node("Gather", ["x", "i"], axis=1)],
        {"i": int64(7, -1, 0, 0, 1, 2, 3, -8)},
        20,
    ),
    "Gather by each row's own indices": (
        [node("TopK", ["x", "k"], ["v", "i"]), node("Gather", ["w", "i"], ["g"]), node("ReduceSum", ["g", "a"], keepdims=0)],
        {"k": int64(1), "w": SQUARE, "a": AXIS_1},
        20,
    ),
    "GatherElements from the end": (
        [
            node("ArgMax", ["x"], ["i"], axis=1),
            node("Sub", ["i", "eight"], ["j"]),
            node("GatherElements", ["x", "j"], ["g"], axis=1),
        ]
        + [node("Sub", ["x", "g"])],
        {"eight": int64(8)},
        20,
    ),
    **{
        f"ScatterElements twice to one place, {reduction}": (
            [node("Shape", ["x"], ["s"]), node("Sub", ["x", "x"], ["z"]), node("Expand", ["i", "t"], ["e0"])]
            + [node("Slice", ["s", "o", "one", "o"], ["n"]), node("Concat", ["n", "three"], ["ns"], axis=0)]
            + [node("Expand", ["i", "ns"], ["e"]), node("Slice", ["x", "o", "three", "one"], ["u"])]
            + [node("ScatterElements", ["x", "e", "u"], axis=-1, reduction=reduction)],
            {"i": int64([2, -6, 5]), "t": int64(1, 3), "o": int64(0), "one": int64(1), "three": int64(3)},
            18,
        )
        for reduction in ("none", "add", "mul", "max", "min")
    },
    "an input named twice, and an output that nobody takes": (
        [node("TopK", ["x", "k"], ["v", "i"]), node("Mul", ["x", "x"], ["s"]), node("Add", ["s", "v"])],
        {"k": int64(1)},
        20,
    ),
}
