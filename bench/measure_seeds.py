"""The seed-to-seed spread of an experiment: the untouched code executed under many seeds, one after another.

    python bench/measure_seeds.py --seeds 60

Executes `experiment.py` as the last commit has it, with one thread, and writes each seed's metrics to
`bench/data/synthetic_seeds.json` as they come, so that it can be stopped and started again; seeds that are there are not
measured twice. Times of execution are left out: they belong to the machine. About 8 seconds a seed on one idle core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "bench" / "data" / "synthetic_seeds.json"
EXPERIMENT = ("experiment.py", "experiment.toml", "saelab")
PROFILE = "synthetic"
TIMES = ("train_seconds", "step_ms")


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """What one execution in `folder` wrote, and the scores of what it handed over: settings and metrics."""
    with tempfile.TemporaryDirectory() as out_dir:
        environment = {**os.environ, "HARNESS_PROFILE": PROFILE, "HARNESS_SEED": str(seed), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "experiment.py", f"--out_dir={out_dir}"]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        results: dict[str, Any] = json.loads((Path(out_dir) / "final_info.json").read_text(encoding="utf-8"))
        scored = json.loads((Path(out_dir) / "eval_results" / "synthetic.json").read_text(encoding="utf-8"))
    return {**results, "metrics": {**scored["eval_result_metrics"]["scores"], **results["metrics"]}}


def check_out(folder: Path) -> str:
    """The committed experiment in `folder`; returns a digest of its files."""
    archive = subprocess.run(["git", "archive", "HEAD", *EXPERIMENT], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def main(seeds: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        digest = check_out(folder)
        known = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
        if known and known["experiment"] != digest:
            print("The experiment has changed since these seeds were measured; all are measured again.")
        measured: dict[str, dict[str, float]] = known["seeds"] if known.get("experiment") == digest else {}
        for seed in range(seeds):
            if str(seed) in measured:
                continue
            results = measure(folder, seed)
            measured[str(seed)] = {name: value for name, value in results["metrics"].items() if name not in TIMES}
            data = {"experiment": digest, "profile": PROFILE, "settings": results["settings"], "seeds": measured}
            DATA.parent.mkdir(exist_ok=True)
            beside = DATA.with_suffix(".new")
            beside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            beside.replace(DATA)
            print(f"seed {seed}: {measured[str(seed)]}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=60, help="seeds 0 to this, not included")
    main(parser.parse_args().seeds)
