"""Worlds of SynthSAEBench's generator, and scores by its own code."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import saelab
from harness.campaign.contract_file import load_contract
from saelab import feed, hand_over, synthsae, synthsae_scoring, worlds
from saelab.errors import CannotPrepare
from saelab.ring import Reader, ReaderGone
from saelab.scorer import __main__ as scorer
from saelab.settings import Settings, SettingsError

from .waiting import HANGS, until

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


STREAMED = {**SMALL, "steps": 30, "train_rows": 4096, "least_firing": 0.01, "device": "cpu", "threads": 1, "autocast": False}


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


def streamed(seed: int = 0, **changed: object) -> Settings:
    """The profile synthsaebench-16k but for size and device."""
    given = {"HARNESS_PROFILE": "synthsaebench-16k", "HARNESS_OVERRIDES": json.dumps(STREAMED | changed)}
    return saelab.load_settings(ROOT, given | {"HARNESS_SEED": str(seed)})


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
    assert scores["negligible_share"] < 0.05 and scores["bought_by_negligible_codes"] < 0.01

    class Padded:
        """The same, but that its silent latents get a code that does nothing."""

        def encode(self, x: np.ndarray) -> np.ndarray:
            codes = mine.encode(torch.from_numpy(x)).detach().numpy()
            return np.where(codes > 0, codes, np.float32(1e-6))

        def decode(self, f: np.ndarray) -> np.ndarray:
            return mine.decode(torch.from_numpy(f)).detach().numpy()

    padded = synthsae_scoring.score_rows(Padded(), arrays["directions"], arrays["magnitudes"])
    assert padded["l0"] == 12
    assert padded["negligible_share"] == pytest.approx(1 - scores["l0"] / 12, abs=0.02)

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


# --- streamed worlds: the profile synthsaebench-16k, small ---


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows are made by a generator in a thread, which counts them here: a process would import sae-lens once more."""
    counted: list[int] = []

    @contextlib.contextmanager
    def reader(asked: Settings) -> Iterator[Reader]:
        mine, its = socket.socketpair()
        with mine, ThreadPoolExecutor(1) as pool:
            made = pool.submit(feed._feed, asked, its, counted.append)
            yield feed._connected(mine)
            mine.close()
            with contextlib.suppress(ReaderGone):  # where not all is taken
                made.result()

    monkeypatch.setattr(feed, "reader", reader)
    return counted


def test_rows_are_made_while_it_trains_as_many_as_planned_and_others_for_each_seed(
    bench, lab: Path, counted: list[int], monkeypatch
) -> None:
    mine = streamed(world="mine")
    monkeypatch.setattr("secrets.token_hex", lambda size: "07" * size)
    worlds.ensure(mine, print)
    assert not (lab / "rows").exists()
    monkeypatch.setattr(feed, "_ROWS_AT_ONCE", 1000)  # seven batches in a slot, and so five slots
    one, other = (list(saelab.activations(streamed(seed, world="mine"))) for seed in (0, 1))
    assert counted == 2 * [896, 1792, 2688, 3584, 30 * 128]
    assert [tuple(x.shape) for x in one] == [(128, 16)] * 30
    rows = torch.cat(one)
    assert len(rows[rows.any(dim=1)].unique(dim=0)) == len(rows[rows.any(dim=1)])
    assert not torch.equal(rows, torch.cat(other))
    assert torch.equal(rows, torch.cat(list(saelab.activations(mine))))

    truth = worlds.truth(mine)
    magnitudes, directions = (torch.from_numpy(truth.arrays[name]) for name in ("magnitudes", "directions"))
    evaluated = magnitudes @ directions + torch.from_numpy(truth.arrays["bias"])
    assert rows.mean(dim=0).numpy() == pytest.approx(evaluated.mean(dim=0).numpy(), abs=0.25)
    assert float(rows.var(dim=0).sum()) == pytest.approx(float(evaluated.var(dim=0).sum()), rel=0.1)
    assert truth.known == "is in this machine's cache alone"


def test_the_public_world_is_the_hubs_where_it_has_it_and_the_record_says_so(bench, tmp_path: Path, monkeypatch) -> None:
    public, said = streamed(), []
    synthsae.build_model(public, "07").save(tmp_path / "hub")
    copy = lambda name, local_dir, **_: shutil.copytree(tmp_path / "hub", local_dir)  # noqa: E731
    monkeypatch.setattr("huggingface_hub.snapshot_download", copy)
    worlds.ensure(public, said.append)
    truth = worlds.truth(public)
    assert "is public on the hub (decoderesearch/synth-sae-bench-16k-v1)" in worlds.told(public, truth)["truth"]
    assert np.array_equal(truth.arrays["directions"], synthsae.truth(public, "07")["directions"])
    assert said == []

    other = streamed(features=41)
    with pytest.raises(CannotPrepare, match="the public model has 40 features in 16 dimensions"):
        worlds.ensure(other, said.append)


def test_a_hub_that_does_not_have_it_is_said_and_a_private_world_is_drawn(bench, monkeypatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.snapshot_download", absent)
    public, said = streamed(), []
    worlds.ensure(public, said.append)
    assert said == [
        "decoderesearch/synth-sae-bench-16k-v1 cannot be had (ConnectionError): a world of the same configuration is drawn on "
        "this machine"
    ]
    assert worlds.told(public, worlds.truth(public))["truth"] == "is in this machine's cache alone"


def test_more_rows_than_there_are_is_refused_before_anything_is_made() -> None:
    with pytest.raises(SettingsError, match=r"steps 40, batch_size 128: more rows than train_rows 4096, each of which"):
        streamed(steps=40)


def test_only_who_asks_first_has_the_rows(tmp_path: Path) -> None:
    """And while nobody asks nothing of the generator is imported: this takes no time."""
    told = {"HARNESS_PROFILE": "synthsaebench-16k", "HARNESS_OVERRIDES": json.dumps(STREAMED)}
    for name in ("experiment.toml", "saelab"):
        (tmp_path / name).symlink_to(ROOT / name)
    process = subprocess.Popen([sys.executable, "-m", "saelab.feed"], cwd=tmp_path, env={**os.environ, **told})
    try:
        with feed._connection(tmp_path):
            until((tmp_path / "fed.json").exists)
            assert json.loads((tmp_path / "fed.json").read_text()) == {"rows": 0, "planned": 30 * 128}
            with pytest.raises(CannotPrepare, match=r"does not answer.*to who asks first"), feed._connection(tmp_path):
                pass
        assert process.wait() == 0  # it was told nothing, and found the other end closed
    finally:
        process.kill()
        process.wait()


def test_what_is_measured_on_a_gpu_runs_small_on_a_cpu(bench, counted: list[int], monkeypatch, capsys) -> None:
    for name in ("HARNESS_PROFILE", "HARNESS_OVERRIDES", "HARNESS_LAB_CACHE", "HARNESS_SCORER_FOLLOWS"):
        monkeypatch.setenv(name, "")  # put back afterwards
    monkeypatch.setitem(sys.modules, "dictionary_learning", None)
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
    monkeypatch.setattr(saelab, "keep_memory", lambda: None)  # which is for a process that ends
    import gpu

    monkeypatch.setattr(gpu, "tests", lambda given: {"exit_code": 0})  # a whole pytest, which finds no GPU
    assert gpu.main(gpu.arguments(["--small"])) == 0
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert found["device"] == "cpu" and found["failed"] == []
    assert list(found["steps"]["16x64"]) == ["ours", "ours, bf16 encoder", "sae-lens", "sae-lens, bf16 autocast"]
    assert all(figure["tokens_per_second"] > 0 for figure in found["steps"]["16x64"].values())
    assert 0 < found["worlds"]["rows"] <= 29 * 128 and counted[-1] <= 30 * 128
    assert found["scoring"]["share_of_rows_that_differ"] == 0 and found["scoring"]["executed_otherwise"] == []
    assert len([line for line in table if "tokens/s" in line]) == 4

    assert gpu.main(gpu.arguments(["--small", "--parts", "steps", "scoring", "--dictionary-learning", "/nowhere"])) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["failed"] == ["steps"] and found["scoring"]["rows_per_second_torch"] > 0  # the others go on
