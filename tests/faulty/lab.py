"""The laboratory of the toy: rows with known features, the scores, and the counts of what was used. No agent edits it.

A feature is a coordinate. There are 8 parents with 3 children each; a child fires only where its parent does. Absorption is
the share of a parent's rows with a child where the parent's latent is silent and the child's fires.
It counts the steps and rows that it hands out, so a setting that was not obeyed shows. It runs in the experiment's process:
code that writes the files of results itself gets round it.
"""

import json
import math
import os
import random
import tomllib
from pathlib import Path

PARENTS, CHILDREN = 8, 3
SIZE = PARENTS * (1 + CHILDREN)
FAMILIES = {p: range(PARENTS + p * CHILDREN, PARENTS + (p + 1) * CHILDREN) for p in range(PARENTS)}
_counted = {"steps": 0, "tokens": 0, "eval_tokens": 0, "eval_rows_in_training": 0}


def load_settings():
    """The profile's settings with what the harness replaces, and the seed."""
    contract = tomllib.loads(Path("experiment.toml").read_text())
    settings = contract["profiles"][os.environ["HARNESS_PROFILE"]]["settings"]
    settings |= json.loads(os.environ.get("HARNESS_OVERRIDES", "{}"))
    if os.environ.get("HARNESS_SMOKE"):
        settings |= {"steps": 4, "tokens": 32, "eval_tokens": 60}
    return settings | {"planned_steps": settings["steps"], "seed": int(os.environ["HARNESS_SEED"])}


def batches(settings):
    """Batches of training rows; their order depends on the seed."""
    rng = random.Random(f"train {settings['data_seed']} {settings['seed']}")
    for _ in range(settings["steps"]):
        rows = _rows(rng, settings["tokens"] // settings["steps"])
        _counted["steps"] += 1
        _counted["tokens"] += len(rows)
        yield rows


def evaluation_rows(settings):
    """The rows that `score` uses, to look at afterwards."""
    rows = _rows(random.Random(f"eval {settings['data_seed']}"), settings["eval_tokens"])
    if not _counted["eval_tokens"]:
        _counted["eval_rows_in_training"] += len(rows)
    return rows


def score(sae, settings, out_dir):
    """Score `sae.encode` and `sae.decode` on the evaluation rows into `eval_results/lab.json`."""
    _counted["eval_tokens"] = settings["eval_tokens"]
    rows = evaluation_rows(settings)
    codes = [sae.encode(x) for x in rows]
    outs = [sae.decode(f) for f in codes]
    centre = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    error = sum((a - b) ** 2 for x, y in zip(rows, outs, strict=True) for a, b in zip(x, y, strict=True))
    spread = sum((a - b) ** 2 for x in rows for a, b in zip(x, centre, strict=True))
    families = [(f, p, c) for x, f in zip(rows, codes, strict=True) for p in FAMILIES for c in FAMILIES[p] if x[c] > 0.4]
    metrics = {
        "absorption": sum(f[p] == 0 and f[c] > 0 for f, p, c in families) / len(families),
        "explained_variance": 1 - error / spread,
        "l0": sum(v > 0 for f in codes for v in f) / len(codes),
        "dead_latents": sum(not any(column) for column in zip(*codes, strict=True)) / len(codes[0]),
        "cosine": sum(map(_cosine, rows, outs)) / len(rows),
    }
    evaluation = {"eval_type_id": "lab", "eval_result_metrics": {"all": metrics}, "sae_cfg_dict": {"d_sae": len(codes[0])}}
    (out_dir / "eval_results").mkdir(exist_ok=True)
    (out_dir / "eval_results" / "lab.json").write_text(json.dumps(evaluation))


def write_results(out_dir, settings, metrics):
    """Write `final_info.json`: the experiment's settings with what was counted, and its own metrics."""
    results = {"settings": settings | _counted, "metrics": metrics}
    (out_dir / "final_info.json").write_text(json.dumps(results))


def _rows(rng, count):
    rows = []
    for _ in range(count):
        x = [rng.gauss(0, 0.05) for _ in range(SIZE)]
        for parent in rng.sample(range(PARENTS), 2):
            x[parent] += rng.uniform(0.5, 1.5)
            if rng.random() < 0.7:
                x[rng.choice(FAMILIES[parent])] += rng.uniform(0.5, 1.5)
        rows.append(x)
    return rows


def _cosine(x, y):
    size = math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
    return sum(a * b for a, b in zip(x, y, strict=True)) / size if size else -1.0
