"""The scorer: turns the artifact of a run into eval results, without running or believing anything of the experiment.

    python -m saelab.scorer --artifact=run_1/sae --out=run_1/eval_results      in the folder of experiment.toml

`graph` looks at an ONNX file before it is loaded and runs it, `sealed` is the SAE that two graphs and a file of weights
make, with checks on everything that it computes; `torch_sae` is the same for SAEBench, with tensors. Only that one imports
torch.
"""
