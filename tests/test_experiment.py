"""The SAE experiment: what it trains, and what it leaves."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import saelab
from harness.results.run_results import read_run
from harness.results.sanity import check_sanity
from saelab.artifact_files import ARTIFACT

from .training import CONTRACT, ROOT, SOURCE, execute, load, quick_settings, train
from .waiting import HANGS

__all__ = ["execute"]


def numbers(metrics):
    return {name: value for name, value in metrics.items() if name not in ("train_seconds", "step_ms")}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return load(SOURCE, tmp_path_factory.mktemp("code"))


@pytest.fixture(params=["topk", "standard"])
def trainer(request, experiment):
    torch.manual_seed(0)
    return experiment.build(replace(quick_settings(), architecture=request.param))


# --- what goes to the agent ----------------------------------------------------------------------------------------------


def test_the_experiment_is_short_enough_to_go_along_in_every_turn():
    assert len(SOURCE.splitlines()) < 320
    # Code of this kind has 3.6 characters a token in a cl100k vocabulary; 3 is on the safe side of all in use.
    assert len(SOURCE) / 3 <= 4300
    assert len(CONTRACT.interface) / 3 <= 600


def test_the_experiment_has_the_names_of_the_field(experiment, trainer):
    for name in ("AutoEncoderTopK", "TrainerTopK", "CustomSAE", "CustomTrainer"):
        assert isinstance(getattr(experiment, name), type)
    d_in, d_sae = trainer.settings.d_in, trainer.settings.dict_size
    shapes = {name: tuple(value.shape) for name, value in trainer.sae.named_parameters()}
    assert shapes == {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_enc": (d_sae,), "b_dec": (d_in,)}


# --- training ------------------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_keeps_the_decoder_at_unit_norm(trainer):
    losses = train(trainer, 40)
    assert losses[-1] < 0.7 * losses[0]
    assert trainer.sae.W_dec.norm(dim=1).detach().numpy() == pytest.approx(1, abs=1e-5)


def test_the_gradient_that_the_normalisation_would_undo_is_removed(trainer):
    x = next(iter(saelab.activations(trainer.settings)))
    trainer.loss(x)[0].backward()
    before = trainer.sae.W_dec.grad.clone()
    trainer.sae.remove_gradient_parallel_to_decoder_directions()
    after, directions = trainer.sae.W_dec.grad, trainer.sae.W_dec.detach()
    assert (before * directions).sum(dim=1).abs().max() > 1e-3
    assert (after * directions).sum(dim=1).abs().max() < 1e-5
    across = before - (before * directions).sum(dim=1, keepdim=True) * directions
    assert torch.allclose(after, across, atol=1e-6)


def test_a_topk_sae_keeps_the_k_largest(experiment):
    sae = experiment.AutoEncoderTopK(d_in=8, d_sae=32, k=3)
    x = torch.randn(50, 8)
    pre, f = sae.pre_activations(x), sae.encode(x)
    assert (f > 0).sum(dim=1).max() <= 3
    for row, kept in zip(pre, f, strict=True):
        expected = {int(i) for i in row.topk(3).indices if row[i] > 0}
        assert set(kept.nonzero().flatten().tolist()) == expected
        assert all(kept[i] == row[i] for i in expected)


def test_dead_latents_are_revived_by_the_auxiliary_loss(experiment):
    settings = quick_settings()
    trainer = experiment.build(settings)
    trainer.sae.b_enc.data[:10] = -0.5  # these ten come last
    x = next(iter(saelab.activations(settings)))
    trainer.loss(x)[0].backward()
    residual = x - trainer.sae(x)
    assert trainer.auxk_loss(residual, trainer.sae.pre_activations(x)) == 0
    trainer.sae.zero_grad()
    trainer.rows_since_fired[:10] = int(trainer.dead_after_rows) + 1
    trainer.auxk_loss(residual, trainer.sae.pre_activations(x)).backward()
    moved = trainer.sae.W_dec.grad.abs().sum(dim=1) > 0
    assert moved[:10].any()
    assert not moved[10:].any()


def test_the_learning_rate_warms_up_and_decays(trainer):
    factors = [trainer.lr_factor(step) for step in range(trainer.settings.steps + 1)]
    assert factors[0] == pytest.approx(1 / 5)
    assert factors[4] == max(factors) == 1
    assert factors[-1] == 0
    assert factors[31] == 1 > factors[34] > factors[38] > 0


# --- what it leaves ------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(execute):
    first = numbers(execute()[1])
    assert numbers(execute()[1]) == first
    other = numbers(execute(seed=1)[1])
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in ("explained_variance", "absorption", "final_loss"))


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka", "standard"])
def test_a_run_is_evidence_under_the_contract(execute, architecture):
    settings, metrics = execute({"architecture": architecture, "steps": 200})
    assert settings["architecture"] == architecture
    assert (settings["warmup_steps"], settings["decay_share"]) == (5, 0.2)
    assert settings["l1_warmup_steps"] == (5 if architecture == "standard" else None)
    assert {metric.name for metric in CONTRACT.metrics_of("synthetic")} <= metrics.keys()
    assert set(CONTRACT.comparable_of("synthetic")) <= settings.keys()
    assert check_sanity(CONTRACT, "synthetic", read_run(execute.out_dir, CONTRACT)) == []
    assert 0.02 < metrics["absorption"] < 0.9


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 499, "planned_steps": 500}, "steps"),
        ({"l0": 0.0}, "l0"),
        ({"l0": 60.0}, "l0"),
        ({"l0": 1.0}, "l0"),
        ({"l0": 60.0, "architecture": "standard"}, "l0"),
        ({"dead_latents": 1.0}, "dead_latents"),
        ({"explained_variance": -0.1}, "explained_variance"),
        ({"cosine": -1.0}, "cosine"),
        ({"absorption": -1.0}, "absorption"),
        ({"final_loss": None}, "final_loss"),
    ],
)
def test_a_broken_result_is_no_evidence_under_the_contract(tmp_path, broken, word):
    settings = {"architecture": "topk", "steps": 500, "planned_steps": 500, "k": 5, "dict_size": 96}
    metrics = {metric.name: 0.5 for metric in CONTRACT.metrics_of("synthetic")} | {"l0": 5.0}

    def problems(changes):
        used, measured = ({name: changes.get(name, value) for name, value in part.items()} for part in (settings, metrics))
        own = {name: measured.pop(name) for name in ("final_loss", "train_seconds", "step_ms")}
        (tmp_path / "final_info.json").write_text(json.dumps({"settings": used, "metrics": own}))
        scores = {"eval_type_id": "synthetic", "eval_result_metrics": {"scores": measured}}
        (tmp_path / "eval_results").mkdir(exist_ok=True)
        (tmp_path / "eval_results" / "synthetic.json").write_text(json.dumps(scores))
        return check_sanity(CONTRACT, "synthetic", read_run(tmp_path, CONTRACT))

    assert problems({}) == []
    assert any(word in problem for problem in problems(broken))


def test_a_smoke_test_leaves_the_same_files_and_names(execute):
    settings, metrics = execute()
    files = {path.name for path in execute.out_dir.iterdir()}
    small_settings, small_metrics = execute(smoke=True)
    assert {path.name for path in execute.out_dir.iterdir()} == files
    assert small_settings.keys() == settings.keys()
    assert small_metrics.keys() == metrics.keys()
    assert small_settings["steps"] < 10


def test_settings_are_what_was_used(execute):
    overrides = {"k": 3, "dict_size": 80, "steps": 11, "batch_size": 128, "lr": 1e-3, "data_seed": 4}
    settings, metrics = execute(overrides)
    assert {name: settings[name] for name in overrides} == overrides
    assert settings["train_tokens"] == 11 * 128
    assert settings["l1_penalty"] is None
    assert metrics["l0"] <= 3
    weights = load_file(execute.out_dir / ARTIFACT / "weights.safetensors")
    assert weights["W_dec"].shape == (80, settings["d_in"])


def test_a_setting_that_the_code_does_not_obey_shows(execute):
    edited = SOURCE.replace("settings.dict_size, settings.k)", "settings.dict_size, 7)")
    assert edited != SOURCE
    assert execute({"k": 3}, source=edited)[0]["k"] == 7


def test_the_training_log_is_finite_lines(execute):
    execute({"steps": 25})
    lines = [json.loads(line) for line in (execute.out_dir / CONTRACT.training_log).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 10, 20, 25]
    assert lines[0].keys() == {"step", "loss", "l0", "dead", "lr"}
    assert all(np.isfinite(list(line.values())).all() for line in lines)


def run_as_process(out_dir, cwd=ROOT, **environment):
    env = {**os.environ, "HARNESS_SMOKE": "1", "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, str(ROOT / "experiment.py"), f"--out_dir={out_dir}"]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=HANGS)


def test_the_command_of_the_contract_works_from_anywhere(tmp_path):
    done = run_as_process("run_3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {path.name for path in (tmp_path / "run_3").iterdir()} == {
        "final_info.json", "train_log.jsonl", "sae", "eval_results",
    }  # fmt: skip
    assert 3 <= len(done.stdout.splitlines()) < 20
    assert "absorption" in done.stdout.splitlines()[-1]


def test_the_experiment_does_not_load_torchs_compiler(tmp_path):
    code = "import experiment, sys; from pathlib import Path; experiment.main(Path(sys.argv[1])); assert 'torch._dynamo' not in sys.modules"
    env = {**os.environ, "HARNESS_SMOKE": "1", "OMP_NUM_THREADS": "1", "HARNESS_SCORER_FOLLOWS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_override_ends_the_run_with_its_name(tmp_path):
    done = run_as_process(tmp_path / "run_1", HARNESS_OVERRIDES='{"depth": 3}')
    assert done.returncode == 1
    assert "unknown setting depth" in done.stderr
    assert not (tmp_path / "run_1" / "final_info.json").exists()
