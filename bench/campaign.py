"""How much a campaign saves by sharing what its runs have in common: activations, and what SAEBench keeps of the model.

    python bench/campaign.py             ten runs of `tiny-lm` each way; about ten minutes on one core
    python bench/campaign.py --runs 3    the same with three

Both ways execute the same three commands for each run, with the runs' seeds, through the harness's own executor:
`saelab.prepare`, `experiment.py`, `saelab.scorer`. "Shared" is what a campaign does: one cache for all runs, and scorers
that are forked from a process that imports SAEBench while the first run trains. "Afresh" gives each run an empty cache and
new interpreters, as a harness does that calls a script that harvests, trains and evaluates. The language model itself is
there before, both ways. Runs of the two ways alternate, so that a machine that is busy for a while is so for both. Seconds
are the wall clock's, with one thread. The last line of the output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from harness.campaign.protocols import Executor, Job, WarmStart
from harness.execution.executors import find_executor

ROOT = Path(__file__).resolve().parents[1]
PHASES = ("prepare", "train", "score")
PROFILE = "tiny-lm"
SCORE = "import runpy, sys; sys.path.insert(0, ''); runpy.run_module('saelab.scorer', run_name='__main__', alter_sys=True)"
"""What can be forked from a process that is warm is `-c CODE`."""


def commands(out: Path) -> dict[str, list[str]]:
    return {
        "prepare": ["-m", "saelab.prepare"],
        "train": ["experiment.py", f"--out_dir={out}"],
        "score": ["-c", SCORE, f"--artifact={out / 'sae'}", f"--out={out / 'eval_results'}"],
    }


def execute(executor: Executor, copy: Path, cache: Path, out: Path, seed: int, warm: WarmStart | None) -> dict[str, float]:
    """One run in the working copy `copy`; seconds of its phases."""
    environment = os.environ | {
        "HARNESS_PROFILE": PROFILE,
        "HARNESS_SEED": str(seed),
        "HARNESS_LAB_CACHE": str(cache),
        "HARNESS_SCORER_FOLLOWS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    seconds = {}
    jobs = {
        phase: Job((sys.executable, *command), copy, out, out / "scratch", environment, warm=warm, writable=(cache, out))
        for phase, command in commands(out).items()
    }
    for phase, job in jobs.items():
        if phase == "train":
            executor.warm_up(jobs["score"])
        home = out.with_name(f"{out.name}_{phase}")
        started = time.perf_counter()
        outcome = executor.submit(job, home).wait(lambda line: None, lambda: False)
        seconds[phase] = time.perf_counter() - started
        if outcome.ended != "ok":
            sys.exit(f"{phase}: {outcome.why}:\n{(home / outcome.log).read_text(errors='replace')[-4000:]}")
    return seconds


def scores(out: Path) -> dict[str, float]:
    """Every metric of every eval, by name."""
    found = {}
    for file in sorted((out / "eval_results").rglob("*.json")):
        for name, group in json.loads(file.read_text()).get("eval_result_metrics", {}).items():
            found |= {f"{file.stem}.{name}.{key}": value for key, value in group.items()}
    return found


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        copy = place / "copy"
        copy.mkdir()
        for name in ("experiment.py", "experiment.toml"):
            shutil.copy(ROOT / name, copy / name)
        shutil.copytree(ROOT / "saelab", copy / "saelab", ignore=shutil.ignore_patterns("__pycache__"))
        models = the_model(copy, place / "shared")
        executor = find_executor("local")
        imports = tomllib.loads((ROOT / "experiment.toml").read_text())["profiles"][PROFILE]["warm"]
        warm = {"shared": WarmStart(copy, tuple(imports), place / "warm.txt"), "afresh": None}
        times: dict[str, list[dict[str, float]]] = {"shared": [], "afresh": []}
        print(f"{PROFILE}, {runs} runs each way; seconds\n")
        print(f"{'run':>4}  {'way':<7}" + "".join(f"{phase:>9}" for phase in PHASES) + f"{'all':>9}")
        for run in range(runs):
            both = {}
            for way, so_far in times.items():
                cache = place / way
                if way == "afresh":
                    shutil.rmtree(cache, ignore_errors=True)
                    shutil.copytree(models, cache / models.name)
                out = place / f"{way}_{run}"
                out.mkdir()
                so_far.append(execute(executor, copy, cache, out, run, warm[way]))
                both[way] = scores(out)
                cells = [*so_far[-1].values(), sum(so_far[-1].values())]
                print(f"{run:>4}  {way:<7}" + "".join(f"{cell:9.1f}" for cell in cells), flush=True)
            if both["shared"] != both["afresh"]:
                different = [name for name, value in both["shared"].items() if both["afresh"].get(name) != value]
                sys.exit(f"run {run}: the two ways have other scores: {', '.join(different[:5])}")
        total = {way: sum(sum(each.values()) for each in so_far) for way, so_far in times.items()}
        ratio = total["afresh"] / total["shared"]
        print(f"\nshared {total['shared']:.0f} s, afresh {total['afresh']:.0f} s: {ratio:.2f} times as fast; same scores")
        by_phase = {
            way: {phase: round(sum(each[phase] for each in so_far), 1) for phase in PHASES} for way, so_far in times.items()
        }
        print(json.dumps({"bench": "campaign", "profile": PROFILE, "runs": runs, "ratio": round(ratio, 2), **by_phase}))


def the_model(copy: Path, cache: Path) -> Path:
    """The folder of models in `cache`, with the profile's in it, and nothing else made yet."""
    environment = os.environ | {"HARNESS_PROFILE": PROFILE, "HARNESS_LAB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    print("the language model, unless this machine has trained it before ...", flush=True)
    code = "import sys, pathlib, saelab.tiny_lm as t; print(t.ensure(pathlib.Path(sys.argv[1]), lambda line: None))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache)], cwd=copy, env=environment, capture_output=True, text=True, check=True
    )
    return cache / Path(done.stdout.splitlines()[-1]).relative_to(cache).parts[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    main(parser.parse_args().runs)
