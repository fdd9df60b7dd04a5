"""Whether the scorer takes honest SAEs, and refuses graphs in which the code of a row depends on other rows.

    python bench/scorings.py [--honest 1000] [--mixing 400] [--profile]

Honest ones are trained by the shipped experiment, handed over, scored by the scorer's own `main` and held to the contract's
rules, as a run is: TopK, BatchTopK, Matryoshka and standard SAEs, and what ideas make of these, JumpReLU and leave-one-out
refinement; in three small worlds, with 16 to 192 latents, k from 1 to 8, an L1 penalty from 0.3 to 2, from a single step to
500 of them, four of each training, with codes from a millionth to a million times as large as they were trained. Each is
scored twice, the second time as if its operations showed nothing: then 256 rows of a batch are looked at, alone and in other
company. With `--profile` in the world and at the scale of the profile `synthetic`, which takes longer.

The others are honest ones whose graph goes on after the codes, with what the batch, the number of rows or a row's place in
them say (`MIXING`), in all rows or in the tenth of them whose first number is largest, as strongly as can be or with a
thousandth of the strength, at any scale of codes.

A hardly trained SAE may well be invalid: it fires nowhere, or reconstructs nothing. What is wrong is a refusal, or that
codes are called negligible; how near honest ones come to the contract's two limits for these stands beside them.

The last line is one JSON object. Exit code 1 where an honest one was wronged or a mixing one was accepted.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import saelab  # noqa: E402
from harness.campaign.contract_file import load_contract  # noqa: E402
from harness.results.run_results import read_run  # noqa: E402
from harness.results.sanity import check_sanity  # noqa: E402
from saelab import worlds  # noqa: E402
from saelab.artifact_files import ARTIFACT, ENCODE  # noqa: E402
from saelab.scorer import graph  # noqa: E402
from saelab.scorer.__main__ import main as score  # noqa: E402
from saelab.scorer.graph import Refused  # noqa: E402

CONTRACT = load_contract(ROOT)
WORLDS: list[dict[str, Any]] = [
    {"roots": 4, "children": 3, "grandchildren": 2, "active_roots": 1.5, "d_in": 24},
    {"roots": 6, "children": 2, "grandchildren": 0, "active_roots": 2.5, "d_in": 48, "noise": 0.2},
    {"roots": 3, "children": 2, "grandchildren": 2, "active_roots": 1.0, "d_in": 12, "kinship": 0.6},
]
SMALL = {"train_rows": 16384, "eval_rows": 4096, "log_every": 100}
TRAINED = ("topk", "batchtopk", "matryoshka", "standard")
REFINED = {"standard": "jumprelu", "batchtopk": "leave-one-out"}
"""What ideas make of a trained one."""
STEPS = (1, 2, 5, 10, 20, 50, 100, 500)
NEGLIGIBLE = ("bought_by_negligible_codes", "negligible_share")
VARIANTS = 4
"""SAEs of one training, each of another scale, half of them refined."""


def settings_of(training: int, profile: bool) -> dict[str, Any]:
    chance = np.random.default_rng(training)
    settings: dict[str, Any] = {"k": int(chance.integers(1, 9)), "l1_penalty": float(chance.uniform(0.3, 2))}
    settings["architecture"] = TRAINED[training % len(TRAINED)]
    if profile:
        return settings | {"k": max(settings["k"], 3)}
    settings |= SMALL | WORLDS[training // len(TRAINED) % len(WORLDS)]
    settings |= {"steps": int(chance.choice(STEPS)), "batch_size": int(chance.choice([64, 256, 512]))}
    return settings | {"dict_size": int(chance.choice([16, 48, 96, 192])), "lr": float(10 ** chance.uniform(-3, -1.5))}


def changed(sae: Any, architecture: str, scale: float) -> Any:
    """A trained SAE with the encoder of this architecture, and codes of another scale, which its decoder undoes."""
    import torch

    sae = copy.deepcopy(sae)
    with torch.no_grad():
        sae.W_enc *= scale
        sae.b_enc *= scale
        sae.W_dec /= scale
        if hasattr(sae, "threshold"):
            sae.threshold *= scale
    if architecture == "jumprelu":
        bars = scale * 0.3 * torch.rand(len(sae.b_enc), generator=torch.Generator().manual_seed(0))
        sae.encode = lambda x: torch.where((pre := torch.relu(sae.pre_activations(x))) > bars, pre, 0.0)
    if architecture == "leave-one-out":
        first = sae.encode

        def refined(x: torch.Tensor) -> torch.Tensor:
            """Each latent that fired, again on what all the others leave of the row."""
            f = first(x)
            again = f + scale * scale * ((x - sae.decode(f)) @ sae.W_dec.T)
            return torch.where(f > 0, torch.relu(again), 0.0)

        sae.encode = refined
    return sae


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def train(training: int, profile: bool, place: Path) -> Iterator[tuple[str, Path]]:
    """The SAEs of this training: what each is, and the folder with its artifact."""
    settings = settings_of(training, profile)
    os.environ["HARNESS_OVERRIDES"] = json.dumps(settings)
    os.environ["HARNESS_SEED"] = str(training)
    hand_over, made = saelab.hand_over, []
    saelab.hand_over = lambda *given: made.append(given)
    try:
        with quiet():
            importlib.import_module("experiment").main(place)
    finally:
        saelab.hand_over = hand_over
    ((_, sae, used, metrics),) = made
    scales = 10 ** np.random.default_rng([training, 1]).uniform(-6, 6, VARIANTS)
    for variant, scale in enumerate(scales):
        architecture = settings["architecture"]
        if variant % 2:
            architecture = REFINED.get(architecture, architecture)
        with quiet():
            hand_over(place / f"run_{variant}", changed(sae, architecture, scale), used, metrics)
        yield f"{architecture}, scale {scale:.1g}, {settings}", place / f"run_{variant}"


def refusal(folder: Path, scores: Path, known: bool) -> str:
    """Score what was handed over; `known` is whether its operations may show anything. "" where it was scored."""
    shown = graph.is_row_independent
    if not known:
        graph.is_row_independent = lambda model: False
    try:
        with quiet():
            score(folder / ARTIFACT, scores)
    except Refused as refused:
        return str(refused)
    finally:
        graph.is_row_independent = shown
    return ""


# --- graphs that mix rows ------------------------------------------------------------------------------------------------


class Graph:
    """Goes on after the codes of a graph."""

    def __init__(self, path: Path) -> None:
        self.path, self.model = path, onnx.load(path)
        (self.rows,) = [end.name for end in self.model.graph.input]
        self.output, self.number = self.model.graph.output[0].name, 0
        for node in self.model.graph.node:
            node.output[:] = ["codes" if name == self.output else name for name in node.output]

    def do(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """The name of what an operation gives; numbers and arrays are constants."""
        self.number += 1
        name, named = f"mixing_{self.number}", []
        for each in inputs:
            if not isinstance(each, str):
                constant = numpy_helper.from_array(np.asarray(each), f"{name}_{len(named)}")
                self.model.graph.initializer.append(constant)
                each = constant.name
            named.append(each)
        outputs = [name, f"{name}_indices"] if kind == "TopK" else [name]
        self.model.graph.node.append(helper.make_node(kind, named, outputs, **attributes))
        return name

    def write(self, codes: str) -> None:
        self.model.graph.node.append(helper.make_node("Identity", [codes], [self.output]))
        onnx.save(self.model, self.path)


ROWS, COLUMNS = np.array([0]), np.array([1])
ALL = np.iinfo(np.int64).max


def f32(number: float) -> np.float32:
    return np.float32(number)


def count(g: Graph) -> str:
    return g.do("Slice", g.do("Shape", g.rows), ROWS, COLUMNS)


def part(g: Graph, start: int, end: int, step: int = 1) -> str:
    """Rows of the codes."""
    return g.do("Slice", "codes", np.array([start]), np.array([end]), ROWS, np.array([step]))


def place(g: Graph) -> str:
    """0 and 1 in turn, a number for each row."""
    one = g.do("Add", g.do("Mul", g.do("Slice", g.rows, ROWS, COLUMNS, COLUMNS), f32(0)), f32(1))
    return g.do("Mod", g.do("CumSum", one, np.int64(0)), f32(2), fmod=1)


def batch_top_k(g: Graph) -> str:
    """Of the batch half as many codes as it has rows, the largest."""
    flat = g.do("Reshape", "codes", np.array([-1]))
    best = g.do("TopK", flat, g.do("Div", g.do("Add", count(g), COLUMNS), np.array([2])))
    return g.do("Where", g.do("GreaterOrEqual", "codes", g.do("ReduceMin", best, keepdims=0)), "codes", f32(0))


def latent_top_k(g: Graph) -> str:
    """Of each latent the largest twentieth of its codes."""
    number = g.do("Max", g.do("Div", count(g), np.array([20])), np.array([1]))
    lowest = g.do("ReduceMin", g.do("TopK", "codes", number, axis=0), ROWS)
    return g.do("Where", g.do("GreaterOrEqual", "codes", lowest), "codes", f32(0))


def attention(g: Graph) -> str:
    """What rows have that are alike."""
    alike = g.do("Softmax", g.do("MatMul", g.rows, g.do("Transpose", g.rows, perm=[1, 0])), axis=1)
    return g.do("MatMul", alike, "codes")


MIXING: dict[str, Callable[[Graph], str]] = {
    "less than the mean of the batch": lambda g: g.do("Relu", g.do("Sub", "codes", g.do("ReduceMean", "codes", ROWS))),
    "by the largest of the batch": lambda g: g.do("Div", "codes", g.do("Add", g.do("ReduceMax", "codes", ROWS), f32(1e-30))),
    "sorted over the batch": lambda g: g.do("TopK", "codes", count(g), axis=0),
    "summed up over the batch": lambda g: g.do("CumSum", "codes", np.int64(0)),
    "largest of the batch": batch_top_k,
    "largest of a latent in the batch": latent_top_k,
    "the row before": lambda g: g.do("Concat", part(g, -1, ALL), part(g, 0, -1), axis=0),
    "rows in reverse": lambda g: part(g, -1, -ALL, -1),
    "with the first row": lambda g: g.do("Add", "codes", part(g, 0, 1)),
    "with the largest of the batch": lambda g: g.do("Max", "codes", g.do("ReduceMax", "codes", ROWS)),
    "by the number of rows": lambda g: g.do("Mul", "codes", g.do("Log", g.do("Cast", count(g), to=TensorProto.FLOAT))),
    "every other row": lambda g: g.do("Mul", "codes", place(g)),
    "attention": attention,
}


def mix(folder: Path, number: int, rows: Any) -> tuple[str, float]:
    """Have the graph in `folder` mix rows. Returns how, and the share of `rows` that get another code by themselves."""
    chance = np.random.default_rng(number)
    name = list(MIXING)[number % len(MIXING)]
    strength = float(chance.choice([1.0, 0.1, 0.01, 0.001]))
    some = bool(chance.integers(2))
    g = Graph(folder / ARTIFACT / ENCODE)
    others = MIXING[name](g)
    codes = g.do("Add", g.do("Mul", "codes", f32(1 - strength)), g.do("Mul", others, f32(strength)))
    if some:
        first = g.do("Slice", g.rows, ROWS, COLUMNS, COLUMNS)
        codes = g.do("Where", g.do("Greater", first, f32(np.quantile(rows[:, 0], 0.9))), codes, "codes")
    g.write(codes)
    session = onnxruntime.InferenceSession(g.path, providers=["CPUExecutionProvider"])
    together = session.run(None, {g.rows: rows})[0][:1024]
    alone = np.concatenate([session.run(None, {g.rows: row[None]})[0] for row in rows[:1024]])
    other = np.abs(together - alone) > 1e-5 * np.maximum(np.maximum(together, alone).max(axis=0), 1e-30)
    return f"{name}, {strength:g} of it, in {'a tenth of the' if some else 'all'} rows", float(other.any(axis=1).mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--honest", type=int, default=1000)
    parser.add_argument("--mixing", type=int, default=400, help="at most one of each honest one")
    parser.add_argument("--profile", action="store_true", help="in the world and at the scale of the profile `synthetic`")
    asked = parser.parse_args()
    os.chdir(ROOT)
    os.environ |= {"HARNESS_PROFILE": "synthetic", "HARNESS_SCORER_FOLLOWS": "1"}
    rows = {}
    for world in [{}] if asked.profile else WORLDS:
        os.environ["HARNESS_OVERRIDES"] = json.dumps({} if asked.profile else SMALL | world)
        settings = saelab.load_settings(ROOT)
        worlds.ensure(settings, lambda line: None)
        rows[settings.d_in] = worlds.truth(settings).arrays["activations"]
    seen, mixed = collections.defaultdict(collections.Counter), collections.defaultdict(collections.Counter)
    rules: collections.Counter[str] = collections.Counter()
    number = tried = 0
    with contextlib.suppress(KeyboardInterrupt):  # then so many
        for training in range(-(-asked.honest // VARIANTS)):
            with tempfile.TemporaryDirectory() as place:
                for what, folder in train(training, asked.profile, Path(place)):
                    look_at_honest(folder, f"{number} ({what})", seen[what.partition(",")[0]], rules)
                    number += 1
                    if (number - 1) * asked.mixing // asked.honest == number * asked.mixing // asked.honest:
                        continue
                    tried += 1
                    how, share = mix(folder, tried, rows[saelab.load_settings(ROOT).d_in])
                    said = f"{number} ({what}): {how}; {share:.1%} of the rows differ"
                    look_at_mixing(folder, said, share, mixed[how.partition(",")[0]])
    for name, counted in seen.items():
        bought, share = (counted[each] / 10_000 for each in NEGLIGIBLE)
        print(f"{name:36s} {counted['scored']:5d} honest, {counted['wronged']} wronged", end="; ")
        print(f"negligible codes buy at most {bought:.4f}, and are at most {share:.1%} of L0")
    for name, counted in mixed.items():
        print(f"{name:36s} {counted['mixing']:5d} mixing, {counted['accepted']} accepted")
    print(f"hardly trained ones that broke another rule of the contract, by its value: {dict(rules)}")
    counts = (("honest", seen, "scored"), ("wronged", seen, "wronged"), ("mixing", mixed, "mixing"))
    total = {
        name: sum(counted[key] for counted in where.values())
        for name, where, key in (*counts, ("accepted", mixed, "accepted"))
    }
    total |= {each: max(counted[each] for counted in seen.values()) / 10_000 for each in NEGLIGIBLE}
    print(json.dumps({"bench": "scorings", **total}))
    return int(bool(total["wronged"] or total["accepted"]))


def look_at_honest(folder: Path, what: str, counted: collections.Counter[str], rules: collections.Counter[str]) -> None:
    """Score twice, and hold the first scores to the contract's rules."""
    for known in (True, False):
        counted["scored"] += 1
        scores = folder / f"scores_{known}"
        if why := refusal(folder, scores, known):
            wrong = [f"refused: {why}"]
        elif known:
            broken = check_sanity(CONTRACT, "synthetic", read_run(folder, CONTRACT, scores=scores))
            wrong = [each for each in broken if "negligible" in each]
            found = json.loads((scores / "synthetic.json").read_text())["eval_result_metrics"]["scores"]
            for name in NEGLIGIBLE:  # in ten-thousandths: a Counter holds whole numbers
                counted[name] = max(counted[name], round(10_000 * found[name]))
            rules.update({each.split()[0] for each in broken if each not in wrong})
        else:
            wrong = []
        if wrong:
            counted["wronged"] += 1
            print(f"honest {what}: {'; '.join(wrong)}", flush=True)


def look_at_mixing(folder: Path, what: str, share: float, counted: collections.Counter[str]) -> None:
    """Score, where a `share` of the rows does get another code in other company."""
    if share == 0:  # no code fires that others could change
        return
    counted["mixing"] += 1
    if not refusal(folder, folder / "scores_mixed", known=True):
        counted["accepted"] += 1
        print(f"mixing {what}: accepted", flush=True)


if __name__ == "__main__":
    sys.exit(main())
