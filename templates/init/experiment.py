"""Recover a sparse signal: fit a linear model to few noisy samples by stochastic gradient descent, in plain Python.

Few of the true weights are not zero. Plain gradient descent fits the noise with all the others; an idea is good when the
error on unseen samples gets smaller, and the right weights are found.
"""

import argparse
import json
import math
import os
import random
import tomllib
from pathlib import Path

Rows = list[list[float]]


def load_settings() -> dict:
    """The profile of experiment.toml, with what the harness replaces and what a smoke test cuts short."""
    contract = tomllib.loads(Path("experiment.toml").read_text(encoding="utf-8"))
    profile = os.environ.get("HARNESS_PROFILE") or contract["default_profile"]
    settings = contract["profiles"][profile]["settings"]
    settings |= json.loads(os.environ.get("HARNESS_OVERRIDES") or "{}")
    if os.environ.get("HARNESS_SMOKE") == "1":
        settings["steps"] = 5
    return settings


class Data:
    """Samples x and y = x·weights + noise. The same for every seed: seeds change the training, not the task."""

    def __init__(self, settings: dict) -> None:
        rng = random.Random(settings["data_seed"])
        size = settings["features"]
        self.weights = [0.0] * size
        for i in rng.sample(range(size), settings["active"]):
            self.weights[i] = rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 2.0)
        self.train = self._sample(rng, settings["train_samples"], settings["noise"])
        self.test = self._sample(rng, settings["test_samples"], settings["noise"])

    def _sample(self, rng: random.Random, count: int, noise: float) -> tuple[Rows, list[float]]:
        xs = [[rng.gauss(0, 1) for _ in self.weights] for _ in range(count)]
        return xs, [dot(x, self.weights) + rng.gauss(0, noise) for x in xs]


class Model:
    """A linear model, its weights small and random at first."""

    def __init__(self, size: int, rng: random.Random) -> None:
        self.rng = rng
        self.weights = [rng.gauss(0, 0.01) for _ in range(size)]

    def error(self, xs: Rows, ys: list[float]) -> float:
        """Mean squared error."""
        return sum((dot(x, self.weights) - y) ** 2 for x, y in zip(xs, ys)) / len(ys)

    def step(self, xs: Rows, ys: list[float], lr: float) -> None:
        """One step of gradient descent on half the mean squared error of a random half of the samples."""
        batch = self.rng.sample(range(len(ys)), len(ys) // 2)
        gradient = [0.0] * len(self.weights)
        for i in batch:
            residual = (dot(xs[i], self.weights) - ys[i]) / len(batch)
            gradient = [g + residual * value for g, value in zip(gradient, xs[i])]
        self.weights = [w - lr * g for w, g in zip(self.weights, gradient)]


def dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b))


def train(model: Model, data: Data, settings: dict, log: Path) -> int:
    """Train the model; returns how many steps were made."""
    xs, ys = data.train
    done = 0
    with log.open("w", encoding="utf-8") as file:
        for done in range(1, settings["steps"] + 1):
            model.step(xs, ys, settings["lr"])
            if done % 20 == 0 or done == settings["steps"]:
                loss = model.error(xs, ys)
                file.write(json.dumps({"step": done, "loss": loss}) + "\n")
                file.flush()
                print(f"step {done}/{settings['steps']}  loss {loss:.4f}", flush=True)
    return done


def measure(model: Model, data: Data) -> dict[str, float]:
    """What experiment.toml says about each metric is what they mean."""
    found = {i for i, w in enumerate(model.weights) if abs(w) > 0.05}
    true = {i for i, w in enumerate(data.weights) if w}
    return {
        "test_error": model.error(*data.test),
        "train_error": model.error(*data.train),
        "support_f1": 2 * len(found & true) / (len(found) + len(true)),
        "nonzero": float(len(found)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out_dir", required=True)
    out_dir = Path(parser.parse_args().out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    settings = load_settings()
    seed = int(os.environ.get("HARNESS_SEED") or 0)

    data = Data(settings)
    model = Model(settings["features"], random.Random(seed))
    steps_done = train(model, data, settings, out_dir / "train_log.jsonl")

    used = settings | {"seed": seed, "steps_done": steps_done, "train_samples": len(data.train[1])}
    result = {"settings": used, "metrics": measure(model, data)}
    (out_dir / "final_info.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print("test error {test_error:.4f}  support F1 {support_f1:.3f}".format(**result["metrics"]))


if __name__ == "__main__":
    main()
