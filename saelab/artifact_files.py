"""Names of the files that an experiment hands over and the scorer reads."""

ARTIFACT = "sae"
ENCODE = "encode.onnx"
DECODE = "decode.onnx"
WEIGHTS = "weights.safetensors"
SETTINGS = "settings.json"
