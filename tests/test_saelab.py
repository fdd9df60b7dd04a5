"""The laboratory: data with a known hierarchy, scores that agree with numbers worked out by hand."""

import itertools
import json
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import saelab
from saelab.scoring import assign, score_rows
from saelab.settings import SettingsError
from saelab.synthetic import World, build_world, sample_split

ROOT = Path(__file__).parents[1]
SETTINGS = saelab.load_settings(ROOT, {})
SETTINGS = replace(SETTINGS, data=replace(SETTINGS.synthetic, train_rows=4096, eval_rows=4096))


# --- data ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def train():
    return sample_split(SETTINGS, "train", "")


def test_a_child_fires_only_with_its_parent_and_without_its_siblings(train):
    fires = train[0] > 0
    world = build_world(SETTINGS, "")
    assert sorted(set(world.level)) == [0, 1, 2]
    for parent in world.parents:
        children = fires[:, world.parent == parent]
        assert children.sum(axis=1).max() == 1
        assert not (children.any(axis=1) & ~fires[:, parent]).any()
        share = children.any(axis=1).sum() / fires[:, parent].sum()
        assert share == pytest.approx(SETTINGS.synthetic.child_share, abs=0.1)


def test_features_are_frequent_in_the_order_of_their_rank(train):
    world = build_world(SETTINGS, "")
    frequency = (train[0] > 0).mean(axis=0)
    roots = frequency[world.level == 0]
    assert roots.sum() == pytest.approx(SETTINGS.synthetic.active_roots, rel=0.05)
    assert roots[0] > 2 * roots[-1]
    assert (frequency > 0).all()


def test_directions_are_unit_vectors_and_children_lean_to_their_parents():
    world = build_world(SETTINGS, "")
    assert np.allclose(np.linalg.norm(world.directions, axis=1), 1, atol=1e-6)
    cosines = world.directions @ world.directions.T
    children = np.flatnonzero(world.parent >= 0)
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    assert cosines[children, world.parent[children]].mean() == pytest.approx(SETTINGS.synthetic.kinship, abs=0.07)
    assert abs(others.mean()) < 0.1
    assert len(world.directions) > SETTINGS.d_in


def test_an_activation_is_the_sum_of_what_fires(train):
    magnitudes, x = train
    noise = x - magnitudes @ build_world(SETTINGS, "").directions
    assert noise.std() == pytest.approx(SETTINGS.synthetic.noise, rel=0.05)
    assert np.log(magnitudes[magnitudes > 0]).std() == pytest.approx(0.2, rel=0.05)


def test_evaluation_rows_are_other_rows_of_the_same_world(train):
    x, held_out = train[1], sample_split(SETTINGS, "eval", "")[1]
    assert x.shape == held_out.shape
    assert not (set(map(bytes, x)) & set(map(bytes, held_out)))
    assert np.allclose(x.mean(axis=0), held_out.mean(axis=0), atol=0.1)
    with pytest.raises(ValueError, match="expected train or eval"):
        sample_split(SETTINGS, "test", "")


def test_data_belong_to_the_profile_and_not_to_the_seed(train):
    assert (sample_split(replace(SETTINGS, seed=7), "train", "")[1] == train[1]).all()
    assert (sample_split(replace(SETTINGS, data=replace(SETTINGS.synthetic, data_seed=7)), "train", "")[1] != train[1]).all()


def batches(settings):
    return list(saelab.activations(settings))


def test_every_step_gets_a_batch_and_a_pass_repeats_no_row(train):
    settings = replace(SETTINGS, steps=12, batch_size=1000)
    got = batches(settings)
    assert [tuple(x.shape) for x in got] == [(1000, SETTINGS.d_in)] * 12
    known = set(map(bytes, train[1]))
    for first in (0, 4, 8):
        rows = [bytes(row) for x in got[first : first + 4] for row in x.numpy()]
        assert len(set(rows)) == 4000
        assert set(rows) <= known
    assert not torch.equal(got[0], got[4])


def test_the_seed_decides_the_order_of_the_batches():
    settings = replace(SETTINGS, steps=3, batch_size=64)
    assert all(map(torch.equal, batches(settings), batches(settings)))
    assert not torch.equal(batches(settings)[0], batches(replace(settings, seed=1))[0])


# --- scores --------------------------------------------------------------------------------------------------------------


class Linear:
    """An SAE with given directions, codes as `codes_of` says."""

    def __init__(self, directions, codes_of, bias=0.0):
        self.W = np.asarray(directions, dtype=np.float32)
        self.codes_of, self.bias = codes_of, bias

    def encode(self, x):
        return np.asarray(self.codes_of(x), dtype=np.float32)

    def decode(self, f):
        return f @ self.W + self.bias


def small_world():
    """Features along the axes of 4 dimensions: 0 with children 1 and 2; 3 alone."""
    zeros = np.zeros(4, dtype=np.float32)
    parent, level = np.array([-1, 0, 0, -1]), np.array([0, 1, 1, 0])
    return World(np.eye(4, dtype=np.float32), parent, level, zeros, zeros, 0.0)


ROWS = np.array(
    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 2], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    dtype=np.float32,
)


def scored(sae):
    return score_rows(sae, small_world(), ROWS, ROWS @ np.eye(4, dtype=np.float32))


def test_the_true_dictionary_has_perfect_scores():
    got = scored(Linear(np.eye(4), lambda x: x))
    perfect = {"explained_variance": 1, "mse": 0, "dead_latents": 0, "mcc": 1, "uniqueness": 1, "f1": 1, "absorption": 0}
    nothing = {"bought_by_negligible_codes": 0, "negligible_share": 0}
    assert got == pytest.approx({**perfect, **nothing, "cosine": 7 / 8, "l0": 12 / 8, "hierarchy_quality": 1})


def test_duplicates_of_a_feature_are_not_unique():
    assert scored(Linear(np.eye(4)[[0, 0, 0, 3]], lambda x: x))["uniqueness"] == 2 / 4
    assert scored(Linear(-np.eye(4), np.zeros_like))["uniqueness"] == 1


def test_the_order_and_the_scale_of_latents_do_not_matter():
    order, scale = [2, 0, 3, 1], np.array([[0.1], [3.0], [1.0], [20.0]])
    directions = np.eye(4)[order] * scale
    sae = Linear(directions, lambda x: x[:, order] / scale[:, 0])
    assert scored(sae) == pytest.approx(scored(Linear(np.eye(4), lambda x: x)), abs=1e-6)


def test_a_latents_direction_is_without_the_decoders_bias():
    plain, shifted = (scored(Linear(ABSORBING, absorbing, bias=bias)) for bias in (0.0, np.array([9.0, -9, 5, 1])))
    for name in ("mcc", "f1", "absorption", "hierarchy_quality"):
        assert shifted[name] == pytest.approx(plain[name], abs=1e-6)


def absorbing(x):
    """The latent of feature 1 stands for 0 and 1 together; then the latent of 0 is silent."""
    codes = x.copy()
    codes[x[:, 1] > 0, 0] = 0
    return codes


ABSORBING = [[1, 0, 0, 0], [0.8, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_absorption_is_the_share_worked_out_by_hand():
    got = scored(Linear(ABSORBING, absorbing))
    # Feature 0 fires in five rows; in two of them its latent is silent and that of feature 1 carries 0.8 of it.
    assert got["absorption"] == pytest.approx(2 / 5)
    # Of the pairs (1, 0) and (2, 0), the child's latent never and always fires with the parent's.
    assert got["hierarchy_quality"] == pytest.approx(1 / 2)
    # Feature 0: 3 hits of 5; the three others are found without a mistake.
    assert got["f1"] == pytest.approx((2 * 3 / (3 + 5) + 3) / 4)
    assert got["mcc"] == pytest.approx((3 + 1 / np.hypot(0.8, 1)) / 4)


@pytest.mark.parametrize("code", [1e-6, 0.03])
def test_codes_that_do_nothing_are_found_however_many_there_are(code):
    def hidden(x):
        codes = absorbing(x)
        codes[:, 0] = np.maximum(codes[:, 0], code)  # in every row, so that a mean over rows would follow
        return codes

    got = scored(Linear(ABSORBING, hidden))
    assert got["absorption"] == 0
    assert got["bought_by_negligible_codes"] == pytest.approx(2 / 5)
    assert got["negligible_share"] == pytest.approx(5 / 15)


@pytest.mark.parametrize("code", [1e-6, 1e-4])
def test_a_latent_that_never_does_anything_is_found_too(code):
    """It has the parent's direction, and is its own latent, in place of one that is absorbed and a little off."""

    def decoy(x):
        codes = np.pad(absorbing(x), ((0, 0), (0, 1)))
        codes[:, 4] = code
        return codes

    directions = [[1, 0.1, 0, 0], *ABSORBING[1:], [1, 0, 0, 0]]
    got = scored(Linear(directions, decoy))
    assert got["absorption"] == 0
    assert got["bought_by_negligible_codes"] >= 2 / 5
    assert got["negligible_share"] == pytest.approx(8 / 18)


def test_duplicates_and_small_latents_are_not_negligible():
    got = scored(Linear(np.eye(4) * 1e4, lambda x: x * 1e-4))
    assert (got["bought_by_negligible_codes"], got["negligible_share"]) == (0, 0)


@pytest.mark.parametrize(("carried", "absorbed"), [(0.39, 0), (0.41, 2 / 5), (-0.8, 0)])
def test_what_carries_less_than_40_percent_of_the_parent_does_not_absorb(carried, absorbed):
    directions = [[1, 0, 0, 0], [carried, 1, 0, 0], *ABSORBING[2:]]
    assert scored(Linear(directions, absorbing))["absorption"] == pytest.approx(absorbed)


def test_a_parent_that_is_missed_is_not_absorbed():
    assert scored(Linear(np.eye(4), absorbing))["absorption"] == 0


def test_a_parent_whose_own_latent_fires_is_not_absorbed():
    assert scored(Linear(ABSORBING, lambda x: x))["absorption"] == 0


def test_a_parent_without_a_latent_is_absorbed_by_its_childrens():
    codes = Linear([[0, 0, 0, 0], [0.8, 1, 0, 0], [0.8, 0, 1, 0], [0, 0, 0, 1]], lambda x: x)
    assert scored(codes)["absorption"] == pytest.approx(4 / 5)


def test_another_tree_does_not_absorb():
    directions = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.8, 0, 0, 1]]
    silent = Linear(directions, lambda x: np.where(np.arange(4) == 0, 0.0, x))
    assert scored(silent)["absorption"] == 0


def test_a_grandchild_absorbs_both_above_it():
    zeros = np.zeros(3, dtype=np.float32)
    world = World(np.eye(3, dtype=np.float32), np.array([-1, 0, 1]), np.arange(3), zeros, zeros, 0.0)
    rows = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]], dtype=np.float32)
    directions = [[1, 0, 0], [0, 1, 0], [0.7, 0.7, 1]]

    def codes(x):
        return np.where(x[:, 2:] > 0, [0.0, 0.0, 1.0], x)

    # Feature 0 in two of four rows, feature 1 in two of three.
    assert score_rows(Linear(directions, codes), world, rows, rows)["absorption"] == pytest.approx((2 / 4 + 2 / 3) / 2)


def test_likeness_of_true_directions_is_no_absorption():
    world = build_world(SETTINGS, "")
    magnitudes, x = sample_split(SETTINGS, "eval", "")
    silent_parents = magnitudes * (world.level == 2)
    assert score_rows(Linear(world.directions, lambda _: silent_parents), world, magnitudes, x)["absorption"] == 0
    truth = Linear(world.directions, lambda _: magnitudes)
    got = score_rows(truth, world, magnitudes, x)
    assert (got["mcc"], got["f1"], got["absorption"], got["hierarchy_quality"]) == pytest.approx((1, 1, 0, 1))
    assert 0.9 < got["explained_variance"] < 1


def test_an_sae_that_never_fires_has_the_scores_of_nothing():
    mean = ROWS.mean(axis=0)
    got = scored(Linear(np.eye(4), np.zeros_like, bias=mean))
    nothing = {"l0": 0, "dead_latents": 1, "f1": 0, "absorption": 0, "hierarchy_quality": 0, "explained_variance": 0}
    assert {name: got[name] for name in nothing} == pytest.approx(nothing)


def test_a_zero_reconstruction_has_cosine_0():
    assert scored(Linear(np.zeros((4, 4)), lambda x: x))["cosine"] == 0


def test_a_dense_sae_shows_in_l0_and_f1():
    got = scored(Linear(np.eye(4), lambda x: x + 0.01))
    assert got["l0"] == 4
    assert got["absorption"] == 0
    assert got["hierarchy_quality"] == 1
    assert got["f1"] < 0.75


@pytest.mark.parametrize("n_latents", [2, 7])
def test_any_number_of_latents_can_be_scored(n_latents):
    directions = np.vstack([np.eye(4), np.eye(4)])[:n_latents]
    sae = Linear(directions, lambda x: np.hstack([x, np.zeros_like(x)])[:, :n_latents])
    got = scored(sae)
    assert got["mcc"] == pytest.approx(1)
    assert got["f1"] == pytest.approx(min(n_latents, 4) / 4)


@pytest.mark.parametrize(
    ("sae", "words"),
    [
        (Linear(np.eye(4), lambda x: x * float("nan")), "codes hold NaN"),
        (Linear(np.eye(4), lambda x: x[0]), "encode: expected codes of shape"),
        (Linear(np.eye(4), lambda x: x[:3]), "encode: expected codes of shape"),
        (Linear(np.eye(4)[:, :3], lambda x: x), "decode: expected shape"),
        (Linear(np.full((4, 4), np.inf), lambda x: x + 1), "the reconstruction holds NaN"),
    ],
)
def test_what_cannot_be_scored_is_refused(sae, words):
    with pytest.raises(ValueError, match=words):
        scored(sae)


@pytest.mark.parametrize("shape", [(5, 5), (4, 6), (6, 4), (1, 3)])
def test_an_assignment_is_the_best_of_all(shape):
    rng = np.random.default_rng(3)
    for _ in range(20):
        gain = np.round(rng.normal(size=shape), 1)  # rounded, so that there are ties
        assigned = assign(gain)
        matched = np.flatnonzero(assigned >= 0)
        assert len(set(assigned[matched])) == len(matched) == min(shape)
        wide = gain if shape[0] <= shape[1] else gain.T
        best = max(
            sum(wide[row, column] for row, column in enumerate(columns))
            for columns in itertools.permutations(range(wide.shape[1]), wide.shape[0])
        )
        assert gain[matched, assigned[matched]].sum() == pytest.approx(best)


# --- settings and files --------------------------------------------------------------------------------------------------


def load(**environment):
    return saelab.load_settings(ROOT, environment)


def test_the_environment_decides_profile_seed_and_overrides():
    got = load(HARNESS_PROFILE="synthetic", HARNESS_SEED="5", HARNESS_OVERRIDES='{"k": 3, "lr": 1}')
    assert (got.seed, got.k, got.lr, got.smoke) == (5, 3, 1.0, False)
    assert load().k != 3


def test_a_smoke_test_is_small_and_keeps_the_shapes():
    full, smoke = load(), load(HARNESS_SMOKE="1")
    assert smoke.steps < 10
    assert smoke.data.rows * 10 < full.data.rows
    assert (smoke.k, smoke.dict_size, smoke.d_in) == (full.k, full.dict_size, full.d_in)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"HARNESS_OVERRIDES": '{"kk": 3, "depth": 2}'}, "unknown setting kk, depth"),
        ({"HARNESS_OVERRIDES": '{"k": "3"}'}, "k: expected int, found '3'"),
        ({"HARNESS_OVERRIDES": '{"k": 3.5}'}, "k: expected int"),
        ({"HARNESS_OVERRIDES": '{"k": true}'}, "k: expected int, found True"),
        ({"HARNESS_OVERRIDES": '{"lr": null}'}, "lr: expected float"),
        ({"HARNESS_OVERRIDES": '{"lr": NaN}'}, "lr nan"),
        ({"HARNESS_OVERRIDES": '{"steps": 0}'}, "steps 0"),
        ({"HARNESS_OVERRIDES": '{"k": 1000}'}, "k 1000: larger than dict_size"),
        ({"HARNESS_OVERRIDES": '{"batch_size": 10000000}'}, "batch_size 10000000: larger than train_rows"),
        ({"HARNESS_OVERRIDES": '{"architecture": "relu"}'}, "expected topk, batchtopk, matryoshka, standard"),
        ({"HARNESS_OVERRIDES": '{"seed": 3}'}, "seed: not a setting of a profile"),
        (
            {"HARNESS_PROFILE": "tiny-lm", "HARNESS_OVERRIDES": '{"layer": "0 1 1"}'},
            "layer '0 1 1': expected a number, or several different ones as in '12 19'",
        ),
        ({"HARNESS_OVERRIDES": "{"}, "HARNESS_OVERRIDES: not JSON"),
        ({"HARNESS_OVERRIDES": "[1]"}, "expected a JSON object"),
        (
            {"HARNESS_PROFILE": "gemma"},
            "HARNESS_PROFILE gemma: experiment.toml has synthetic, synthsae, synthsaebench-16k, tiny-lm",
        ),
        ({"HARNESS_SEED": "one"}, "HARNESS_SEED 'one'"),
        ({"HARNESS_SEED": "-1"}, "HARNESS_SEED '-1'"),
    ],
)
def test_a_setting_that_is_wrong_is_named(environment, words):
    with pytest.raises(SettingsError, match=words):
        saelab.load_settings(ROOT, environment)


def test_a_profile_must_have_every_setting(tmp_path):
    (tmp_path / "experiment.toml").write_text('default_profile = "p"\n[profiles.p.settings]\nk = 3\n')
    with pytest.raises(SettingsError, match="missing setting architecture"):
        saelab.load_settings(tmp_path, {})


def test_the_training_log_has_its_steps_and_always_the_last(tmp_path):
    settings = replace(SETTINGS, steps=7, log_every=3)
    with saelab.TrainingLog(tmp_path, settings) as log:
        for step in range(7):
            log.step(loss=torch.tensor(float(step)), l0=2)
    lines = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 3, 6, 7]
    assert lines[-1] == {"step": 7, "loss": 6.0, "l0": 2.0}
    assert log.steps == 7


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(tmp_path, capsys, monkeypatch):
    def shown():
        with saelab.TrainingLog(tmp_path, replace(SETTINGS, steps=4, log_every=2)) as log:
            for _ in range(4):
                log.step(loss=1.5, l0=5, dead=0.25)
        return capsys.readouterr().out

    lines = shown().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["step 1/4", "step 4/4"]
    assert all("tokens/s  loss 1.5  l0 5  dead 0.25" in line for line in lines)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    bars = shown().split("\r\x1b[K")[1:]
    assert [bar.count("━") for bar in bars] == [6, 12, 24]
    assert [bar.endswith("\n") for bar in bars] == [False, False, True]


def test_settings_are_documented_in_one_place():
    profiles = tomllib.loads((ROOT / "experiment.toml").read_text())["profiles"]
    for name, profile in profiles.items():
        settings = load(HARNESS_PROFILE=name)
        parts = [part for part in (settings, settings.data, settings.evals) if part is not None]
        known = [field.name for part in parts for field in fields(part) if field.name not in ("data", "evals")]
        known += ["evals"] if settings.evals else []
        assert sorted([*profile["settings"], "profile", "seed", "smoke"]) == sorted(known)
