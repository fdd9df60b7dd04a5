"""One training step of a TopK SAE against those of dictionary_learning and sae-lens, interleaved in one run.

    .venv/bin/python -m pip install --no-deps --target /tmp/dl dictionary-learning==0.1.0
    .venv/bin/python bench/train_step.py --dictionary-learning /tmp/dl

Each contender is a process of its own, as its users have it, on the same random activations; they take turns, one step each,
while the others are idle. Shown are the medians of a contender's steps, by the clock and by the processor time of all its
threads; the latter says more on a busy machine, with --threads 1.
Ours is `experiment.py`'s TrainerTopK.update. `dl` is dictionary_learning's TopKTrainer.update as it is shipped; `dl*` is the
same with its one slow line on CPUs, the einsum that projects the decoder's gradient, written elementwise. Ratios are to
`dl*`. Only dictionary_learning's trainer is imported, so none of what else it depends on is needed. sae-lens is that of the
extra `sae`.

With --device cuda a GPU is measured, at 2304 x 16384, and a step's share of the measured ceiling of bfloat16 products is
shown, counting the 12 batch d_in d_sae operations of a dense step. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHAPES = {  # d_in, d_sae, k, batch
    "small": (128, 1024, 16, 1024),
    "medium": (512, 8192, 32, 2048),
    "synthsaebench": (768, 4096, 25, 1024),
    "large": (2304, 16384, 40, 2048),
}
NEVER_DEAD = 1_000_000
"""Steps that training is said to have: so none comes to count latents as dead, and all learning rates are warm."""
WARM_UP = 3

Step = Callable[[Any], Any]


# --- contenders ----------------------------------------------------------------------------------------------------------


def ours(shape: tuple[int, int, int, int], device: str, autocast: bool) -> Step:
    sys.path.insert(0, str(ROOT))
    import experiment
    import saelab

    d_in, d_sae, k, batch = shape
    saelab.keep_memory()
    settings = saelab.load_settings(ROOT, {"HARNESS_PROFILE": "synthetic"})
    data = replace(settings.synthetic, train_rows=batch)
    size = {"d_in": d_in, "dict_size": d_sae, "k": k, "batch_size": batch, "lr": 3e-4}
    settings = replace(settings, **size, steps=NEVER_DEAD, autocast=autocast, data=data)
    with saelab.torch_device(device):
        trainer: Any = experiment.build(settings)
    return lambda x: float(trainer.update(x)["loss"])


def dictionary_learning(shape: tuple[int, int, int, int], device: str, autocast: bool, folder: str, mended: bool) -> Step:
    import torch

    # The package itself would import nnsight, umap and more that no trainer needs.
    package = types.ModuleType("dictionary_learning")
    package.__path__ = [str(Path(folder) / "dictionary_learning")]
    sys.modules["dictionary_learning"] = package
    top_k = import_module("dictionary_learning.trainers.top_k")
    if mended:
        top_k.remove_gradient_parallel_to_decoder_directions = _elementwise
    d_in, d_sae, k, _ = shape
    trainer = top_k.TopKTrainer(
        steps=NEVER_DEAD, activation_dim=d_in, dict_size=d_sae, k=k, layer=0, lm_name="none", lr=3e-4, device=device
    )
    steps = iter(range(1, 1000))  # 0 would look for the geometric median first

    def step(x: Any) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            return trainer.update(next(steps), x)

    return step


def _elementwise(weight: Any, grad: Any, d_in: int, d_sae: int) -> Any:
    """What dictionary_learning's function of this place does, without its einsum."""
    unit = weight.detach() / (weight.detach().norm(dim=0, keepdim=True) + 1e-6)
    grad -= (grad * unit).sum(dim=0, keepdim=True) * unit
    return grad


def sae_lens(shape: tuple[int, int, int, int], device: str, autocast: bool) -> Step:
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    d_in, d_sae, k, batch = shape
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=d_sae, k=k, device=device))
    total = NEVER_DEAD * batch
    config = SAETrainerConfig(
        total_training_samples=total, train_batch_size_samples=batch, lr_end=3e-4, device=device, autocast=autocast
    )
    trainer = SAETrainer(cfg=config, sae=sae, data_provider=iter(()))
    return lambda x: float(trainer.step(x).loss.detach())


CONTENDERS: dict[str, tuple[str, dict[str, bool]]] = {
    "ours": ("ours", {"autocast": False}),
    "ours, bf16 encoder": ("ours", {"autocast": True}),
    "dl*": ("dl", {"autocast": False, "mended": True}),
    "dl* with bf16 autocast": ("dl", {"autocast": True, "mended": True}),
    "dl as shipped": ("dl", {"autocast": False, "mended": False}),
    "sae-lens": ("sae-lens", {"autocast": False}),
    "sae-lens, bf16 autocast": ("sae-lens", {"autocast": True}),
}
ON_GPU = tuple(name for name in CONTENDERS if name != "dl as shipped")


def made(kind: str, shape: tuple[int, int, int, int], device: str, folder: str, options: dict[str, bool]) -> Step:
    """A contender of CONTENDERS."""
    if kind == "ours":
        return ours(shape, device, **options)
    if kind == "dl":
        return dictionary_learning(shape, device, **options, folder=folder)
    return sae_lens(shape, device, **options)


def contend(name: str, shape_name: str, device: str, threads: int, folder: str) -> None:
    """A contender's process: one step for each line of input; the answer is its time and its peak memory."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    kind, options = CONTENDERS[name]
    shape = SHAPES[shape_name]
    step = made(kind, shape, device, folder, options)
    d_in, _, _, batch = shape
    x = torch.randn(batch, d_in, device=device)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print
    for _ in sys.stdin:
        start, started = time.perf_counter(), time.process_time()
        step(x)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds, processor = time.perf_counter() - start, time.process_time() - started
        peak = torch.cuda.max_memory_allocated() if device == "cuda" else _peak_memory()
        print(json.dumps([seconds, processor, peak]), file=answer, flush=True)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# --- measuring -----------------------------------------------------------------------------------------------------------


class Contender:
    def __init__(self, name: str, shape: str, given: argparse.Namespace) -> None:
        self.name = name
        command = [sys.executable, __file__, "--contend", name, "--shapes", shape, "--device", given.device]
        command += ["--threads", str(given.threads), "--dictionary-learning", given.dictionary_learning or ""]
        environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "MKL_NUM_THREADS": str(given.threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.steps: list[tuple[float, float]] = []
        self.peak = 0

    def step(self) -> tuple[float, float]:
        """Seconds by the clock and of the processor."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name}: ended with exit code {self.process.wait()}; its message is above.")
        seconds, processor, self.peak = json.loads(answer)
        return seconds, processor

    def close(self) -> None:
        self.process.communicate()


def compare(shape: str, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median milliseconds, tokens a second and peak memory of each contender that can be had here."""
    names = [name for name in (ON_GPU if given.device == "cuda" else CONTENDERS) if _can_be_had(name, given)]
    contenders = [Contender(name, shape, given) for name in names]
    for contender in contenders:
        for _ in range(WARM_UP):
            contender.step()
    for _ in range(given.rounds):
        for contender in contenders:
            contender.steps.append(contender.step())
    for contender in contenders:
        contender.close()
    figures = {}
    for contender in contenders:
        seconds, processor = (statistics.median(times) for times in zip(*contender.steps, strict=True))
        figures[contender.name] = {
            "ms": 1000 * seconds,
            "processor_ms": 1000 * processor,
            "tokens_per_second": SHAPES[shape][3] / seconds,
            "peak_gb": contender.peak / 1e9,
        }
    return figures


def _can_be_had(name: str, given: argparse.Namespace) -> bool:
    kind, options = CONTENDERS[name]
    return (kind != "dl" or bool(given.dictionary_learning)) and (given.bf16 or not options["autocast"])


def ceilings(device: str, threads: int) -> dict[str, float]:
    """Operations a second of a large matrix product, in units of 1e9: what no step can go beyond."""
    import torch

    torch.set_num_threads(threads)
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        size = 8192 if device == "cuda" else 2048
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds: list[float] = []
        while len(seconds) < 5 and sum(seconds) < 60:
            start = time.perf_counter()
            a @ b
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        found[name] = 2 * size**3 / min(seconds) / 1e9
    return found


def show(shape: str, figures: dict[str, dict[str, float]], ceiling: dict[str, float], device: str) -> None:
    d_in, d_sae, k, batch = SHAPES[shape]
    print(f"\n{shape}: d_in {d_in}, d_sae {d_sae}, k {k}, batch {batch}")
    print(
        f"{'':24}{'ms a step':>11}{'CPU ms':>10}{'tokens/s':>10}{'peak GB':>9}{'against dl*':>13}{'by CPU':>8}"
        + "  of the ceiling" * (device == "cuda")
    )
    base = figures.get("dl*")
    for name, figure in figures.items():
        line = f"{name:24}{figure['ms']:11.1f}{figure['processor_ms']:10.1f}{figure['tokens_per_second']:10,.0f}"
        ratios = [f"{base[of] / figure[of]:.2f}" if base else "-" for of in ("ms", "processor_ms")]
        line += f"{figure['peak_gb']:9.2f}{ratios[0]:>13}{ratios[1]:>8}"
        if device == "cuda":
            line += f"{12 * batch * d_in * d_sae / figure['ms'] / 1e6 / ceiling['bf16']:16.1%}"
        print(line, flush=True)


def main(given: argparse.Namespace) -> None:
    if given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            print("There is no GPU here (torch.cuda.is_available() is false), so nothing was measured on one.")
            print(json.dumps({"device": "cuda", "available": False}))
            return
    if not given.dictionary_learning:
        print("Without --dictionary-learning FOLDER there are no ratios to it; the top of this file says how to get it.")
    ceiling = ceilings(given.device, given.threads)
    print("matrix products: " + ", ".join(f"{name} {value:,.0f} GFLOP/s" for name, value in ceiling.items()))
    print(f"load before: {os.getloadavg()[0]:.1f}, threads {given.threads}")
    given.bf16 = ceiling["bf16"] > ceiling["fp32"] / 10  # else a step takes minutes
    if not given.bf16:
        print("This processor has no units for bfloat16: what computes in it is left out.")
    figures = {}
    for shape in given.shapes:
        figures[shape] = compare(shape, given)
        show(shape, figures[shape], ceiling, given.device)
    print(json.dumps({"device": given.device, "threads": given.threads, "ceiling_gflops": ceiling, "shapes": figures}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, help="default: all, or large on a GPU")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9, help="steps of each contender that are measured")
    parser.add_argument("--dictionary-learning", metavar="FOLDER", help="where pip put dictionary-learning")
    parser.add_argument("--contend", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.shapes = arguments.shapes or (["large"] if arguments.device == "cuda" else ["small", "medium", "large"])
    if arguments.contend:
        folder = arguments.dictionary_learning
        contend(arguments.contend, arguments.shapes[0], arguments.device, arguments.threads, folder)
    else:
        main(arguments)
