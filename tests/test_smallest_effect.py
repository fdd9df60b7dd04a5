"""The smallest effect that a profile's seeds can find is said before anything is spent."""

from __future__ import annotations

import random

import pytest

from harness.campaign.contract import Contract, Profile
from harness.statistics.ledger import FinalSeeds, Ledger
from harness.statistics.power import smallest_effect, smallest_effect_in_words

CONTRACT = Contract.model_validate({"metric": [{"name": "loss", "better": "lower", "primary": True}]})


def profile(**facts: object) -> Profile:
    return Profile.model_validate({"baseline_seeds": 10, "run_seeds": [1, 3]} | facts)


def test_an_effect_of_the_size_that_is_said_is_found_in_four_of_five_cases() -> None:
    rng, found, effect = random.Random(1), 0, smallest_effect(profile(), 10, "loss")
    assert effect is not None
    for _ in range(300):
        ledger = Ledger("lower", 10, final=True)
        ledger.measure("run_0", {seed: rng.gauss(0, 1) for seed in range(10)})
        here, there = ({seed: rng.gauss(0, 1) - gain for seed in range(1000, 1010)} for gain in (effect, 0.0))
        judged = ledger.judge("run_1", {0: -9.0}, parent="run_0", baseline="run_0", final=FinalSeeds(here, {"run_0": there}))
        found += judged.kind == "improved"
    assert 0.74 < found / 300 < 0.86


def test_it_is_said_in_the_metrics_unit_where_the_noise_is_known() -> None:
    said = smallest_effect_in_words(CONTRACT, profile(noise={"loss": {"sd": 0.02, "seeds": 60}}), 10)
    assert said.endswith("of cases, with 10 final seeds and 10 planned runs: about 0.033")
    assert smallest_effect_in_words(CONTRACT, profile(), 10).endswith("about 1.6 standard deviations between seeds")
    assert smallest_effect_in_words(CONTRACT, profile(), 10, [0.1, 0.14]).endswith("about 0.046")


def test_few_seeds_find_large_effects_alone_and_one_seed_each_none() -> None:
    few = smallest_effect(profile(baseline_seeds=3, final_seeds=0), 10, "loss")
    assert few == pytest.approx(4.9, abs=0.1)
    said = smallest_effect_in_words(CONTRACT, profile(baseline_seeds=3, final_seeds=0), 10)
    assert said.endswith(
        "about 4.9 standard deviations between seeds; final_seeds = 10 in the profile would find 1.6 standard deviations "
        "between seeds"
    )
    said = smallest_effect_in_words(CONTRACT, profile(baseline_seeds=3, run_seeds=[2]), 10, [0.1, 0.2])
    assert "; run_seeds = [1, 3] and final_seeds = 10 in the profile would find " in said
    said = smallest_effect_in_words(CONTRACT, profile(baseline_seeds=1, run_seeds=[1]), 10)
    assert said.startswith("one each, so no run can be called improved in loss unless")
