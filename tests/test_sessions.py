"""The recorded sessions: each edit fits the experiment as it is, and each run is what the idea says."""

import numpy as np
import pytest
import torch

import saelab
from harness.execution.precheck import reject
from harness.results.run_results import read_run
from harness.results.sanity import check_sanity

from .training import CONTRACT, ROOT, SOURCE, execute, load, quick_settings, train, turns

__all__ = ["execute"]

SESSIONS = sorted(path.stem for path in (ROOT / "sessions").glob("*.md"))
FAILING = {"hierarchy": {"run 2, attempt 1": "Only comments", "run 3, attempt 1": "must match the size of tensor"}}
"""What goes back to the agent on purpose."""
ASKS_FOR = {"synthsae": {"architecture": "matryoshka", "steps": 160}}
"""Settings of the profile that a session is for, where its edits need them."""

FIRST_ROUND = {"": ["run 1, attempt 1"], "training": [f"run {i}, attempt 1" for i in range(1, 5)]}
"""Turns that are taken before there is a result to interpret."""


def labelled(session):
    return {turn.label: turn for turn in turns(session)}


def test_each_idea_has_a_session():
    assert sorted(path.stem for path in (ROOT / "ideas").glob("*.json")) == SESSIONS


@pytest.mark.parametrize("session", SESSIONS)
def test_each_edit_of_a_session_fits_and_passes_the_pre_check(session):
    refused = {}
    for turn in turns(session):
        if turn.answer.all_completed:
            assert turn.code == turn.before
            continue
        after, parent = {"experiment.py": turn.code.encode()}, {"experiment.py": turn.parent.encode()}
        why = reject(after, parent, None, CONTRACT)
        if why is not None:
            refused[turn.label] = why
        assert len(turn.code.splitlines()) <= 420, "a file that goes along in every turn"
    expected = {label: why for label, why in FAILING.get(session, {}).items() if why == "Only comments"}
    assert refused.keys() == expected.keys()
    assert all(refused[label].startswith(why) for label, why in expected.items())
    assert turn.answer.all_completed


@pytest.mark.parametrize("session", SESSIONS)
def test_each_first_answer_of_a_run_has_its_parts(session):
    for turn in turns(session):
        if turn.label.endswith("attempt 1") and not turn.answer.all_completed:
            assert turn.answer.plan, turn.label
            assert turn.answer.description, turn.label
            assert any(metric.name in turn.answer.hypothesis for metric in CONTRACT.metric), turn.label
        if turn.label.endswith("attempt 1") and turn.label not in FIRST_ROUND.get(session, FIRST_ROUND[""]):
            assert turn.answer.interpretation, turn.label


@pytest.mark.parametrize("session", SESSIONS)
def test_each_turn_of_a_session_runs_or_crashes_as_it_is_meant_to(execute, session):
    for turn in turns(session):
        why = FAILING.get(session, {}).get(turn.label)
        if why and why != "Only comments":
            with pytest.raises(RuntimeError, match=why):
                execute(ASKS_FOR.get(session), smoke=True, source=turn.code)
        elif turn.code != turn.before:
            settings, _ = execute(ASKS_FOR.get(session), smoke=True, source=turn.code)
            assert settings.keys() >= set(CONTRACT.comparable_of("synthetic"))


# --- synthsae ------------------------------------------------------------------------------------------------------------


def test_each_claim_is_evidence_and_differs_from_all_others(execute):
    seen = [execute(ASKS_FOR["synthsae"])]
    for turn in turns("synthsae"):
        if not turn.answer.all_completed:
            settings, metrics = execute(ASKS_FOR["synthsae"], source=turn.code)
            assert check_sanity(CONTRACT, "synthetic", read_run(execute.out_dir, CONTRACT)) == []
            assert all(settings[name] == seen[0][0][name] for name in CONTRACT.comparable_of("synthetic"))
            assert all(metrics["f1"] != other["f1"] for _, other in seen)
            seen.append((settings, metrics))
    assert len(seen) == 7


# --- training: a round ---------------------------------------------------------------------------------------------------


def test_the_proposals_of_the_round_are_independent_of_each_other_and_change_the_results(execute):
    seen = [execute({"steps": 160})]
    for turn in turns("training"):
        if not turn.answer.all_completed:
            assert turn.parent == SOURCE and turn.answer.start_from == "baseline"
            seen.append(execute({"steps": 160}, source=turn.code))
    found = [metrics["explained_variance"] for _, metrics in seen]
    assert len({*found}) == len(found) == 5


# --- hierarchy -----------------------------------------------------------------------------------------------------------


def test_each_run_of_the_hierarchy_is_evidence_and_differs_from_all_others(execute):
    long_enough = {"steps": 160}  # for parents to be found under run 4's interval of 50
    seen = [execute(long_enough)]
    for label in ("run 1, attempt 1", "run 2, attempt 2", "run 3, attempt 2", "run 4, attempt 1"):
        settings, metrics = execute(long_enough, source=labelled("hierarchy")[label].code)
        assert check_sanity(CONTRACT, "synthetic", read_run(execute.out_dir, CONTRACT)) == []
        assert all(settings[name] == seen[0][0][name] for name in CONTRACT.comparable_of("synthetic"))
        assert all(metrics["explained_variance"] != other["explained_variance"] for _, other in seen)
        assert metrics["latents_with_parent"] > 0 or label == "run 4, attempt 1"
        seen.append((settings, metrics))


def test_parents_are_found_in_every_normalisation_and_only_at_intervals_in_run_4(tmp_path):
    moved = {}
    for label in ("run 1, attempt 1", "run 4, attempt 1"):
        sae = load(labelled("hierarchy")[label].code, tmp_path / label[4]).AutoEncoderTopK(8, 16, 3)
        before = sae.parent_similarity.clone()
        sae.firing_rate = torch.arange(16.0)
        sae.W_dec.data = torch.randn(16, 8)
        sae.set_decoder_norm_to_unit_norm()
        moved[label] = not torch.equal(before, sae.parent_similarity)
    assert moved == {"run 1, attempt 1": True, "run 4, attempt 1": False}


def trained(session, label, tmp_path, steps=40):
    """A trainer of a session's code after some steps, the batch of the next, and its codes in double precision."""
    settings = quick_settings()
    trainer = load(labelled(session)[label].code, tmp_path).build(settings)
    train(trainer, steps)
    x = next(iter(saelab.activations(settings)))[:20]
    return trainer, x, trainer.sae.encode(x).detach()


def test_the_penalty_of_the_hierarchy_is_that_of_the_idea(tmp_path):
    trainer, _, f = trained("hierarchy", "run 1, attempt 1", tmp_path)
    directions, tau = trainer.sae.W_dec.detach().double().numpy(), 0.5
    similarity = directions @ directions.T
    np.fill_diagonal(similarity, 0)
    expected = 0.0
    for row in f.double().numpy():
        for child in range(len(directions)):
            parent = similarity[child].argmax()
            if similarity[child, parent] > 0.5:
                expected += similarity[child, parent] / tau * max(row[child] - row[parent], 0) / len(f)
    assert expected > 0
    assert trainer.hierarchy_penalty(f).item() == pytest.approx(expected, rel=1e-4)


# --- tree ----------------------------------------------------------------------------------------------------------------


def test_the_tree_is_that_of_the_idea(tmp_path):
    trainer, x, f = trained("tree", "run 1, attempt 1", tmp_path)
    sae = trainer.sae
    n, above = sae.n, [0, 0, sae.n[0]]
    assert n[0] < n[1] < n[2] and sum(n) == len(sae.W_dec) and sum(sae.level_k) == sae.k
    assert sae.level_k[0] / n[0] > sae.level_k[1] / n[1] > sae.level_k[2] / n[2]
    own, directions = sae.own.detach().double(), sae.W_dec.double()
    latent, expected = 0, 0.0
    for level in range(3):
        fires = (f[:, latent : latent + n[level]] > 0).sum(dim=1)
        assert fires.max() <= sae.level_k[level]
        for j in range(n[level]):
            direction = own[latent]
            if level:
                parent = above[level] + j * n[level - 1] // n[level]
                assert sae.parent[latent] == parent
                direction = direction + sae.projections[level - 1].detach().double() @ directions[parent]
            assert torch.allclose(directions[latent], direction / direction.norm(), atol=1e-5)
            latent += 1
    for level in (0, 1):
        parents = f[:, sae.levels[level]].double()
        sums = torch.zeros_like(parents)
        for j in range(n[level + 1]):
            sums[:, j * n[level] // n[level + 1]] += f[:, sae.levels[level + 1]][:, j]
        p, q = parents.softmax(dim=1), sums.softmax(dim=1)
        expected += float((p * (p / q).log() + (p - q) ** 2).sum() / len(f))
    assert trainer.consistency_loss(f).item() == pytest.approx(expected, rel=1e-4)
    assert all(0 <= value <= 1 for value in trainer.tree_metrics(x).values())


def test_in_an_enforced_tree_no_latent_fires_without_its_parent(tmp_path):
    trainer, _, f = trained("tree", "run 4, attempt 1", tmp_path)
    below = slice(trainer.sae.n[0], None)
    fires = f > 0
    assert fires[:, below].any()
    assert not (fires[:, below] & ~fires[:, trainer.sae.parent[below]]).any()


# --- orthogonality -------------------------------------------------------------------------------------------------------


def test_the_penalty_on_overlap_is_that_of_the_idea(tmp_path):
    trainer, _, f = trained("orthogonality", "run 1, attempt 1", tmp_path)
    fires = (f > 0).double().numpy()
    counts = 0.99 * trainer.together.double().numpy() + 0.01 * fires.T @ fires
    directions = trainer.sae.W_dec.detach().double().numpy()
    progress = 0.5
    trainer.step = int(progress * trainer.settings.steps)
    threshold, expected = 0.2 * (1 - progress), 0.0
    for i in range(len(directions)):
        for j in range(len(directions)):
            if i != j and counts[i, i] > 0 and counts[j, j] > 0:
                together = counts[i, j] / np.sqrt(counts[i, i] * counts[j, j])
                weight = min(max((together - threshold) / threshold, 0), 1)
                expected += weight * abs(directions[i] @ directions[j])
    assert expected > 0
    assert trainer.overlap_penalty(f).item() == pytest.approx(0.1 * (1 - progress) ** 2 * expected, rel=1e-4)
    trainer.step = trainer.settings.steps
    assert trainer.overlap_penalty(f).item() == 0.0
