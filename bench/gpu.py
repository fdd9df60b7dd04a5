"""What this laboratory does on a GPU, in less than four minutes and without a network: `make gpu`.

    make gpu ARGS="--dictionary-learning FOLDER"          on a machine with a GPU
    .venv/bin/python bench/gpu.py --small                 the same code on a CPU, in less than a minute: no figures

What has to be carried to a bare machine: this checkout; a Python with what `make sae` and pytest install, whose torch has
CUDA (.venv of the checkout is taken, else python3); and FOLDER, which the head of bench/train_step.py says how to get.
Without FOLDER there is no comparison with dictionary_learning. No model, no data set and no cache is needed.

Four parts, one after the other; what fails in one is said, and the others go on:
tests      the tests with the mark `gpu`
steps      a training step of ours beside dictionary_learning's and sae-lens's, at 768 x 4096 and 2304 x 16384, in fp32 and
           bf16: tokens a second, peak memory, and the 12 batch d_in d_sae operations of a dense step as a share of the
           measured ceiling of matrix products of that type
worlds     training by the profile synthsaebench-16k in a world of this machine's, for 30 s: rows come from its generator, a
           process of its own, through the ring; and how long 200M rows would take
scoring    rows a second that an SAE's encoder computes: by onnxruntime on the CPU, by torch on the GPU, codes left there
The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
for place in (ROOT, ROOT / "bench"):
    sys.path.insert(0, str(place))

import train_step  # noqa: E402

PARTS = ("tests", "steps", "worlds", "scoring")
TESTS = ("tests/test_ops.py", "tests/test_torch_backend.py", "tests/test_harvest.py")
PLANNED_ROWS = 200_000_000
"""Of a training on SynthSAEBench-16k."""
WARM_UP = 10
PROFILE = "synthsaebench-16k"
SMALL_WORLD = {
    "d_in": 16, "dict_size": 12, "k": 3, "steps": 30, "batch_size": 128, "features": 40, "roots": 2, "branching": 3,
    "depth": 2, "least_firing": 0.01, "train_rows": 4096, "eval_rows": 512, "threads": 1, "autocast": False,
}  # fmt: skip

Figures = dict[str, Any]


def tests(given: argparse.Namespace) -> Figures:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rs", "-p", "no:cacheprovider", "--tb=short"]
    files = TESTS[:1] if given.small else TESTS
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, timeout=given.limit, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        print("\n".join(lines[-40:]))
    say("tests with the mark gpu", f"exit code {done.returncode}; {lines[-1] if lines else done.stderr[-200:]}")
    return {"exit_code": done.returncode}


def steps(given: argparse.Namespace) -> Figures:
    import torch

    ceiling = {"fp32": 1.0, "bf16": 1.0} if given.small else train_step.ceilings(given.device, given.threads)
    found: Figures = {"ceiling_gflops": ceiling}
    say("matrix products, TFLOP/s", ", ".join(f"{name} {value / 1000:,.1f}" for name, value in ceiling.items()))
    for name in ("small",) if given.small else ("synthsaebench", "large"):
        d_in, d_sae, _, batch = shape = (16, 64, 4, 128) if given.small else train_step.SHAPES[name]
        x = torch.randn(batch, d_in, device=given.device)
        for contender in train_step.ON_GPU:
            kind, options = train_step.CONTENDERS[contender]
            if kind == "dl" and not given.dictionary_learning:
                continue
            step: train_step.Step | None = None  # the one before and its memory, which would count in the peak of this one
            gc.collect()
            if given.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            step = train_step.made(kind, shape, given.device, given.dictionary_learning or "", options)
            seconds = timed(partial(step, x), given.device, given.rounds)
            peak = torch.cuda.max_memory_allocated() if given.device == "cuda" else None
            share = 12 * batch * d_in * d_sae / seconds / 1e9 / ceiling["bf16" if options["autocast"] else "fp32"]
            figure = {
                "ms": 1000 * seconds,
                "tokens_per_second": batch / seconds,
                "share_of_ceiling": share,
                "peak_bytes": peak,
            }
            found.setdefault(f"{d_in}x{d_sae}", {})[contender] = figure
            memory = "" if peak is None else f"{peak / 1e9:8.2f} GB"
            say(
                f"a step, {d_in} x {d_sae}: {contender}",
                f"{batch / seconds:12,.0f} tokens/s {share:7.1%} of ceiling{memory}",
            )
    return found


def worlds(given: argparse.Namespace) -> Figures:
    import experiment
    import saelab
    from saelab import worlds

    overrides = {"device": given.device, "world": "bench", **(SMALL_WORLD if given.small else {})}
    with tempfile.TemporaryDirectory() as cache:
        told = {"HARNESS_PROFILE": PROFILE, "HARNESS_OVERRIDES": json.dumps(overrides), "HARNESS_LAB_CACHE": cache}
        os.environ |= told  # which the process that makes rows has too
        settings = saelab.load_settings(ROOT)
        started = time.perf_counter()
        worlds.ensure(settings, print)
        made = time.perf_counter() - started
        with saelab.torch_device(settings.device):
            trainer = experiment.build(settings)
        batches = saelab.activations(settings)
        trainer.update(next(batches))  # before the clock: the generator has begun
        wait(given.device)
        started, rows = time.perf_counter(), 0
        for x in batches:
            trainer.update(x)
            rows += len(x)
            if time.perf_counter() - started > given.seconds:
                break
        wait(given.device)
        rate = rows / (time.perf_counter() - started)
        batches.close()  # type: ignore[attr-defined]  # a generator, which ends that process
    minutes = PLANNED_ROWS / rate / 60
    say(
        f"{settings.synthsae.features} features, {settings.d_in} x {settings.dict_size}",
        f"{rate:12,.0f} rows/s trained on: 200M rows in {minutes:,.1f} min; the world was made in {made:.0f} s",
    )
    return {"rows_per_second": rate, "rows": rows, "forecast_minutes": minutes, "seconds_to_make_the_world": made}


def scoring(given: argparse.Namespace) -> Figures:
    import torch

    import experiment
    import saelab
    from saelab.scorer.sealed import Sealed

    d_in, d_sae, k, rows = (16, 64, 4, 256) if given.small else (2304, 16384, 40, 2048)
    os.environ |= {"HARNESS_SCORER_FOLLOWS": "1"}
    with tempfile.TemporaryDirectory() as place:
        torch.manual_seed(0)
        sae = experiment.AutoEncoderTopK(d_in, d_sae, k)
        saelab.hand_over(Path(place), sae, {"architecture": "topk", "d_in": d_in, "dict_size": d_sae, "k": k}, {})
        by_cpu = Sealed(Path(place) / "sae", threads=given.threads)
        by_device = Sealed(Path(place) / "sae", threads=given.threads, torch_on=given.device)
    x = torch.randn(rows, d_in)
    codes = torch.from_numpy(by_cpu.encode(x.numpy()))
    there = x.to(given.device)
    apart = ((by_device.encode(there).cpu() - codes).abs() > 1e-5 * codes.norm(dim=1, keepdim=True)).any(dim=1)
    cpu = rows / timed(lambda: by_cpu.encode(x.numpy()), given.device, 2, warm_up=1)
    device = rows / timed(lambda: by_device.encode(there), given.device, given.rounds)
    differ = int(apart.sum()) / rows
    say(
        f"an encoder, {d_in} x {d_sae}, k {k}",
        f"{cpu:12,.0f} rows/s by onnxruntime, {device:,.0f} by torch on {given.device}; {differ:.2%} of rows differ",
    )
    found = {"rows_per_second_onnxruntime": cpu, "rows_per_second_torch": device, "share_of_rows_that_differ": differ}
    return {**found, "executed_otherwise": by_device.costs}


def say(what: str, figure: str) -> None:
    print(f"{what:58}{figure}", flush=True)


def wait(device: str) -> None:
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def timed(action: Callable[[], object], device: str, times: int, warm_up: int = WARM_UP) -> float:
    """Seconds of one time, after some that do not count."""
    for _ in range(min(times, warm_up)):
        action()
    wait(device)
    started = time.perf_counter()
    for _ in range(times):
        action()
    wait(device)
    return (time.perf_counter() - started) / times


def main(given: argparse.Namespace) -> int:
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        print(
            "There is no GPU here (torch.cuda.is_available() is false): nothing was measured. --small tries it on the CPU."
        )
        print(json.dumps({"device": "cuda", "available": False}))
        return 1
    found: Figures = {"device": torch.cuda.get_device_name() if given.device == "cuda" else "cpu", "small": given.small}
    found |= {"torch": torch.__version__, "failed": []}
    for name in given.parts:
        started = time.perf_counter()
        try:
            found[name] = globals()[name](given)
            failed = bool(found[name].get("exit_code"))
        except (Exception, SystemExit) as error:  # the other parts still have the machine
            found[name], failed = {"why": f"{type(error).__name__}: {error}"}, True
            say(name, f"failed: {found[name]['why']}")
        found[name]["seconds"] = round(time.perf_counter() - started, 1)
        found["failed"] += [name] if failed else []
        say("", f"({name}: {found[name]['seconds']:.0f} s)")
    print(json.dumps(found))
    return 1 if found["failed"] else 0


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny sizes on the CPU: whether it works, no figures")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--dictionary-learning", metavar="FOLDER", help="where pip put dictionary-learning")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU")
    parser.add_argument("--seconds", type=float, default=30, help="of training on the generator's rows")
    parser.add_argument("--rounds", type=int, default=20, help="how often a step is timed")
    parser.add_argument("--limit", type=float, default=90, help="seconds after which the tests are ended")
    found = parser.parse_args(given)
    found.device = "cpu" if found.small else "cuda"
    if found.small:
        found.seconds, found.rounds, found.threads = 1, 2, 1
    return found


if __name__ == "__main__":
    sys.exit(main(arguments()))
