"""A small experiment of the standard library: gradient descent on a noisy quadratic."""

import argparse
import json
import os
import random
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--out_dir", required=True)
out = Path(parser.parse_args().out_dir)
settings = {"steps": 40, "rate": 0.05} | json.loads(os.environ.get("HARNESS_OVERRIDES", "{}"))
if os.environ.get("HARNESS_SMOKE"):
    settings["steps"] = 2
rng = random.Random(int(os.environ.get("HARNESS_SEED", "0")))

x = 5.0
steps = 0
for step in range(settings["steps"]):
    gradient = 2 * x + rng.gauss(0, 0.1)
    x -= settings["rate"] * gradient
    steps += 1
    with (out / "train_log.jsonl").open("a") as log:
        log.write(json.dumps({"step": step, "loss": x * x}) + "\n")
print("done", x * x)
(out / "final_info.json").write_text(
    json.dumps({"settings": settings | {"steps": steps}, "metrics": {"loss": x * x, "distance": abs(x)}})
)
