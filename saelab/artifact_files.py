"""Names of the files that an experiment hands over and the scorer reads."""

ARTIFACT = "sae"
ENCODE = "encode.onnx"
DECODE = "decode.onnx"
WEIGHTS = "weights.safetensors"
SETTINGS = "settings.json"
NOT_EXPORTED = "not_exported.txt"
"""Why there is no graph, where the SAE's own code is to be served in its place."""
