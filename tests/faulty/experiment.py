"""A toy of an SAE run: a TopK SAE whose children's latents learn to take over their parents' directions."""

import argparse
import json
import random
from pathlib import Path

import lab

PULL = 0.6
RATE = 0.03
NOISE = 0.3


class SAE:
    def __init__(self, settings, rng):
        self.architecture, self.dict_size, self.k = settings["architecture"], settings["dict_size"], settings["k"]
        self.absorbed = [rng.gauss(0.9, 0.02) for _ in lab.FAMILIES]

    def encode(self, x):
        codes = list(x)
        for parent, children in lab.FAMILIES.items():
            codes[parent] -= self.absorbed[parent] * sum(x[child] for child in children)
        codes = [max(0.0, code) for code in codes]
        if self.architecture == "topk":
            least = sorted(codes)[-self.k]
            codes = [code if code >= least else 0.0 for code in codes]
        return codes

    def decode(self, f):
        x = list(f)
        for parent, children in lab.FAMILIES.items():
            x[parent] += self.absorbed[parent] * sum(f[child] for child in children)
        return x

    def update(self, x, rng):
        for parent, children in lab.FAMILIES.items():
            if any(x[child] > 0.4 for child in children):
                self.absorbed[parent] += RATE * (PULL + rng.gauss(0, NOISE) - self.absorbed[parent])
        return sum((a - b) ** 2 for a, b in zip(x, self.decode(self.encode(x)), strict=True)) / len(x)


def main(out_dir):
    settings = lab.load_settings()
    rng = random.Random(settings["seed"])
    sae = SAE(settings, rng)
    loss = None
    with (out_dir / "train_log.jsonl").open("a", buffering=1) as log:
        for step, rows in enumerate(lab.batches(settings)):
            loss = sum(sae.update(x, rng) for x in rows) / len(rows)
            log.write(json.dumps({"step": step, "loss": loss}) + "\n")
    lab.score(sae, settings, out_dir)
    used = settings | {"architecture": sae.architecture, "dict_size": sae.dict_size, "k": sae.k}
    lab.write_results(out_dir, used, {"final_loss": loss})
    print("done, loss", loss)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out_dir", type=Path)
    main(parser.parse_args().out_dir)
