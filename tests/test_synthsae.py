"""Worlds of SynthSAEBench's generator, and scores by its own code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import saelab
from harness.campaign.contract_file import load_contract
from saelab import hand_over, synthsae, worlds
from saelab.errors import CannotPrepare
from saelab.scorer import __main__ as scorer
from saelab.settings import Settings, SettingsError

from .waiting import HANGS

ROOT = Path(__file__).parents[1]
SMALL = {
    "d_in": 16,
    "dict_size": 12,
    "k": 3,
    "steps": 30,
    "batch_size": 128,
    "warmup_steps": 5,
    "features": 40,
    "roots": 2,
    "branching": 3,
    "depth": 2,
    "train_rows": 2048,
    "eval_rows": 1500,
}


@pytest.fixture(scope="module")
def bench():
    """sae_lens.synthetic, which takes ten seconds to import."""
    return pytest.importorskip("sae_lens.synthetic", reason="`make sae` installs sae-lens")


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_PROFILE", "synthsae")
    monkeypatch.setenv("HARNESS_LAB_CACHE", str(tmp_path / "lab"))
    return tmp_path / "lab"


def settings(**changed: object) -> Settings:
    given = {"HARNESS_PROFILE": "synthsae", "HARNESS_OVERRIDES": json.dumps(SMALL | changed)}
    return saelab.load_settings(ROOT, given)


def experiment():
    sys.path.insert(0, str(ROOT))
    try:
        import experiment
    finally:
        sys.path.remove(str(ROOT))
    return experiment


def test_scores_are_those_of_the_benchmark_on_the_same_sae(bench, tmp_path: Path, monkeypatch) -> None:
    from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
    from sae_lens.synthetic.evals import eval_sae_on_synthetic_data

    small = settings()
    worlds.ensure(small, print)
    torch.manual_seed(0)
    trainer = experiment().build(small)
    for x in saelab.activations(small):
        trainer.update(x)
    mine = trainer.sae
    monkeypatch.setenv("HARNESS_SCORER_FOLLOWS", "1")
    monkeypatch.setenv("HARNESS_OVERRIDES", json.dumps(SMALL))
    hand_over(tmp_path, mine, {"d_in": 16, "dict_size": 12, "k": 3, "architecture": "matryoshka"}, {})
    monkeypatch.chdir(ROOT)
    scorer.main(tmp_path / "sae", tmp_path / "scores")
    scores = json.loads((tmp_path / "scores" / "synthsae.json").read_text())["eval_result_metrics"]["scores"]

    # The same SAE as sae-lens has it: a latent fires above its threshold.
    theirs = JumpReLUSAE(JumpReLUSAEConfig(d_in=16, d_sae=12, apply_b_dec_to_input=True, device="cpu"))
    with torch.no_grad():
        for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
            getattr(theirs, name).copy_(getattr(mine, name))
        theirs.threshold.fill_(float(mine.threshold))
    arrays = worlds.truth(small).arrays
    dictionary = bench.FeatureDictionary(40, 16, initializer=None)
    dictionary.feature_vectors.data = torch.from_numpy(arrays["directions"])

    class Stored:
        def sample(self, rows: int) -> torch.Tensor:
            return torch.from_numpy(arrays["magnitudes"][:rows])

    found = eval_sae_on_synthetic_data(theirs, dictionary, Stored(), num_samples=1500)
    expected = {
        "f1": found.classification.f1_score,
        "precision": found.classification.precision,
        "recall": found.classification.recall,
        "mcc": found.mcc,
        "uniqueness": found.uniqueness,
        "shrinkage": found.shrinkage,
        "explained_variance": found.explained_variance,
        "l0": found.sae_l0,
        "dead_latents": found.dead_latents / 12,
        "true_l0": found.true_l0,
    }
    assert 0.1 < expected["f1"] < 1 and expected["l0"] > 1
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    facts = json.loads((tmp_path / "scores" / "facts.json").read_text())
    assert facts["scored_with"]["sae-lens"] and facts["scored_with"]["truth"] == "can be rebuilt from data_seed"


def test_children_fire_with_their_parent_and_without_siblings(bench) -> None:
    small = settings()
    model = synthsae.build_model(small, "")
    arrays = synthsae.truth(small, "")
    fires = arrays["magnitudes"] > 0
    groups = []

    def walk(node) -> None:
        if node.children:
            groups.append((node.feature_index, [child.feature_index for child in node.children]))
            assert node.mutually_exclusive_children
        for child in node.children:
            walk(child)

    for root in model.hierarchy.roots:
        walk(root)
    assert len(groups) == 2 * (1 + 3)
    for parent, children in groups:
        assert not fires[~fires[:, parent]][:, children].any()
        assert fires[:, children].sum(axis=1).max() <= 1
    assert np.allclose(np.linalg.norm(arrays["directions"], axis=1), 1, atol=1e-5)
    assert fires.any(axis=0).mean() > 0.9


def test_the_same_bits_are_the_same_world_and_each_bit_another(bench) -> None:
    small = settings(world="mine")
    bits = ["00" * 15 + "01", "80" + "00" * 14 + "01"]  # equal in the 32 bits that torch would keep
    one, other = (synthsae.truth(small, each)["directions"] for each in bits)
    assert np.array_equal(one, synthsae.truth(small, bits[0])["directions"])
    assert np.array_equal(synthsae.training_rows(small, bits[0]), synthsae.training_rows(small, bits[0]))
    assert np.abs(one @ other.T).max() < 0.999
    magnitudes = synthsae.truth(small, bits[0])["magnitudes"]
    rows = {row.tobytes() for row in synthsae.training_rows(small, bits[0]) if row.any()}
    assert rows.isdisjoint(row.tobytes() for row in magnitudes @ one)


def test_an_execution_imports_nothing_of_the_generator(bench, tmp_path: Path) -> None:
    small = settings()
    worlds.ensure(small, print)
    code = (
        "import runpy, sys; sys.argv = ['experiment.py', '--out_dir=" + str(tmp_path / "run") + "'];"
        "runpy.run_path('experiment.py', run_name='__main__');"
        "print([name for name in sys.modules if name.startswith('sae_lens')])"
    )
    environment = {"HARNESS_PROFILE": "synthsae", "HARNESS_OVERRIDES": json.dumps(SMALL), "HARNESS_SCORER_FOLLOWS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "", "HARNESS_LAB_CACHE": str(tmp_path / "lab"), **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"roots": 4}, "4 trees with 3 children a feature and 2 levels below the root have 52"),
        ({"branching": 1}, "branching 1: expected at least 2"),
        ({"least_firing": 0.5}, "expected shares of rows, rising"),
    ],
)
def test_a_world_that_cannot_be_is_refused_by_name(changed: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        settings(**changed)


def test_without_sae_lens_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    with pytest.raises(CannotPrepare, match=r"profile synthsae: sae-lens.*`make sae`"):
        worlds.ensure(settings(), print)


def test_f1_decides_and_explained_variance_guards_nothing() -> None:
    contract = load_contract(ROOT).of_profile("synthsae")
    assert [metric.name for metric in contract.metric if metric.primary] == ["f1"]
    assert {m.name: m.guard for m in contract.metric if m.guard is not None} == {
        "mcc": 0.02,
        "uniqueness": 0.05,
        "ce_recovered": 0.01,
    }
    assert "absorption" not in [metric.name for metric in contract.metrics_of("synthsae")]
