"""ONNX graphs executed by torch, on a GPU or a CPU: from a fixed list of operations, as data.

`graph` runs one and holds it against onnxruntime first; `arithmetic`, `axes`, `shapes` and `indices` each have a part of the
list. What is not in it is no error here: onnxruntime computes that graph.
"""
