"""Names of ONNX operations, by what they do to the shapes of tensors.

`row_independence` reasons about them, `torch_backend` executes them: each name has a rule and a function.
"""

from __future__ import annotations

UNARY = frozenset(
    [
        *("Abs", "Cast", "Ceil", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"),
        *("Log", "Mish", "Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Sqrt", "Tanh"),
        *("ThresholdedRelu", "IsNaN", "IsInf"),
    ]
)
ELEMENTWISE = frozenset(
    [
        *("Add", "And", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mod"),
        *("Mul", "Or", "PRelu", "Pow", "Sub", "Where", "Xor"),
    ]
)
"""With broadcasting, whatever the number of inputs (https://onnx.ai/onnx/repo-docs/Broadcasting.html)."""
ALONG_AN_AXIS = {"TopK": -1, "ArgMax": 0, "ArgMin": 0, "Softmax": -1, "LogSoftmax": -1, "Hardmax": -1}
"""What works along one axis, and its default (opset 13 and later)."""
REDUCE = frozenset(f"Reduce{kind}" for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"))
