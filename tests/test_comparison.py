"""What a difference between seeds means: by hand where it can be, by simulation where it cannot."""

import dataclasses
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from bench import verdicts
from harness.campaign.contract_file import load_contract
from harness.report import estimates
from harness.statistics.comparison import Comparison, Uncompared, compare, compare_paired, guard_violation
from harness.statistics.ledger import ALPHA, FinalSeeds, Ledger
from harness.statistics.noise import Noise, NoiseProfile, NoiseUnknown, decimals, pool, rounded, scatters_more, squares_of
from harness.statistics.wording import as_record, sentence
from tests.waiting import HANGS

ROOT = Path(__file__).resolve().parents[1]
SOME = (0.0, 0.5, 0.9)
TEN = [0.139, 0.147, 0.143, 0.150, 0.136, 0.145, 0.141, 0.148, 0.138, 0.143]  # mean 0.143


def compared(run, reference, better="lower", *, level=0.005, profile=None, bounds=(None, None)):
    noise = pool([run, reference], profile)
    return compare(run, reference, better=better, noise=noise, reference_noise=noise, level=level, alpha=0.05, bounds=bounds)


def won(gain, dof=30, skew=0.0):
    """Three seeds that are better than ten by `gain`."""
    noise = Noise(1.0, dof, skew)
    return Comparison("higher", gain, 0.0, 3, 10, noise, noise, 0.005, 0.05)


def by_seed(values):
    """The values as those of seeds 0, 1, …"""
    return dict(enumerate(values))


def ledger(better="lower", runs=10, **options):
    made = Ledger(better, runs, **{"stages": (1, 3, 10)} | options)
    made.measure("run_0", by_seed(TEN))
    return made


def judge(made, run, values, parent="run_0", **options):
    return made.judge(run, by_seed(values), parent=parent, baseline="run_0", **options)


def groups(seed, count=200):
    """Pairs of groups as they come: one to ten seeds, any unit, any difference."""
    rng = random.Random(seed)
    for _ in range(count):
        unit, far = 10 ** rng.uniform(-4, 4), rng.gauss(0, 3)
        sizes = rng.randint(2, 10), rng.randint(1, 10)
        yield tuple(
            [unit * (rng.gauss(0, 1) + shift) for _ in range(size)] for size, shift in zip(sizes, (far, 0), strict=True)
        )


class TestComparison:
    def test_a_small_case_agrees_with_the_calculation_by_hand(self):
        one = compared([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
        assert (one.difference, one.gain, one.noise.variance, one.noise.dof) == (-3.0, 3.0, 1.0, 4)
        assert one.error == pytest.approx(math.sqrt(2 / 3))
        assert one.p == pytest.approx(0.01066, abs=5e-6)  # t = 3.674 with 4 degrees of freedom
        assert one.p_adjusted == pytest.approx(0.1066, abs=5e-5)
        assert one.p_worse == pytest.approx(1 - one.p)
        assert one.interval == pytest.approx((-3 - 4.6041 * one.error, -3 + 4.6041 * one.error), abs=1e-4)

    def test_one_seed_against_many_is_judged_by_the_spread_of_the_many(self):
        one = compared([1.0], [0.0, 1.0, 2.0], "higher")
        assert one.noise == Noise(1.0, 2)
        assert one.error == pytest.approx(math.sqrt(1 + 1 / 3))
        assert one.p == pytest.approx(0.5)

    def test_unit_and_origin_of_the_metric_change_nothing(self):
        for run, reference in groups(1):
            one = compared(run, reference)
            other = compared([7 - 3 * value for value in run], [7 - 3 * value for value in reference], "higher")
            assert other.p == pytest.approx(one.p)
            assert other.interval == pytest.approx(tuple(-3 * limit for limit in reversed(one.interval)))
            assert other.estimate == pytest.approx(-3 * one.estimate, abs=1e-9 * one.error)

    def test_the_direction_that_is_better_decides_which_tail_counts(self):
        for run, reference in groups(2, 20):
            lower, higher = compared(run, reference), compared(run, reference, "higher")
            assert lower.p == pytest.approx(higher.p_worse)
            assert lower.is_better == higher.is_worse
            assert lower.interval == pytest.approx(higher.interval)

    @pytest.mark.parametrize("skew", [-1.5, 0.0, 0.3, 1.5])
    @pytest.mark.parametrize("better", ["lower", "higher"])
    def test_the_interval_leaves_zero_out_exactly_where_the_verdict_does(self, skew, better):
        verdicts_seen = set()
        for run, reference in groups(3):
            noise = dataclasses.replace(pool([run, reference]), skew=skew)
            one = compare(run, reference, better=better, noise=noise, reference_noise=noise, level=0.01, alpha=0.05)
            low, high = one.interval
            assert low <= one.difference <= high
            assert one.is_better == (high < 0 if better == "lower" else low > 0)
            assert one.is_worse == (low > 0 if better == "lower" else high < 0)
            verdicts_seen |= {"better"} if one.is_better else {"worse"} if one.is_worse else {"neither"}
        assert verdicts_seen == {"better", "worse", "neither"}

    def test_groups_that_scatter_differently_are_compared_as_welch_does(self):
        one = Comparison("higher", 1.0, 0.0, 3, 10, Noise(4.0, 2), Noise(1.0, 9), 0.005, 0.05)
        assert one.error == pytest.approx(math.sqrt(4 / 3 + 1 / 10))
        assert one.dof == pytest.approx((4 / 3 + 0.1) ** 2 / ((4 / 3) ** 2 / 2 + 0.1**2 / 9))

    def test_more_seeds_make_the_same_difference_surer(self):
        few, many = compared([1.0, 2.0], [3.0, 4.0]), compared([1.0, 2.0] * 4, [3.0, 4.0] * 4)
        assert many.p < few.p

    def test_skew_that_makes_lucky_runs_frequent_counts_and_one_that_makes_them_rare_is_not_relied_on(self):
        plain = won(2.0)
        lucky, rare = (won(2.0, skew=skew) for skew in (1.5, -1.5))
        assert lucky.p > 2 * plain.p
        assert rare.p == plain.p
        assert dataclasses.replace(lucky, n_reference=3).p == pytest.approx(
            dataclasses.replace(plain, n_reference=3).p
        )  # with as many seeds on both sides the skew cancels

    @pytest.mark.parametrize("values", [[], [math.nan], [0.1, math.inf], [0.1, 0.2, -math.inf]])
    def test_what_is_no_number_is_refused(self, values):
        for call in (
            lambda: compare(
                values, [1.0], better="lower", noise=Noise(1.0, 9), reference_noise=Noise(1.0, 9), level=0.01, alpha=0.05
            ),
            lambda: compare(
                [1.0], values, better="lower", noise=Noise(1.0, 9), reference_noise=Noise(1.0, 9), level=0.01, alpha=0.05
            ),
            lambda: pool([values]),
            lambda: NoiseProfile.of(values),
            lambda: ledger().measure("control", by_seed(values)),
        ):
            with pytest.raises(ValueError, match=r"finite"):
                call()


class TestNoiseUnknown:
    def test_one_seed_each_says_nothing(self):
        one = compared([0.1], [0.2])
        assert isinstance(one, Uncompared)
        assert (one.mean, one.reference, one.why) == (0.1, 0.2, "one seed each, so the noise is unknown")

    def test_one_seed_each_can_be_judged_with_a_stored_profile(self):
        one = compared([0.1], [0.2], profile=NoiseProfile(0.01, 60))
        assert one.error == pytest.approx(0.01 * math.sqrt(2))
        assert one.is_better

    def test_the_same_value_under_several_seeds_is_not_taken_for_small_noise(self):
        for run, reference, whose in (([0.1] * 3, TEN, "this run"), ([0.1, 0.11], [0.2] * 3, "the reference")):
            one = compared(run, reference)
            assert isinstance(one, Uncompared)
            assert f"seeds of {whose} gave" in one.why
        assert isinstance(pool([[0.1] * 3, [0.2]]), NoiseUnknown)

    def test_a_metric_at_its_bound_is_not_judged(self):
        for values, held in (([0.0, 0.0, 0.002], False), ([0.0], False), ([0.0, 0.001, 0.002], True)):
            one = compared(values, TEN, bounds=(0, 1))
            assert isinstance(one, Comparison) == held
        assert "bound (0) in 2 of 3 seeds" in compared([0.0, 0.0, 0.002], TEN, bounds=(0, 1)).why
        assert isinstance(compared([0.8, 0.9], [1.0, 1.0, 0.99], "higher", bounds=(None, 1)), Uncompared)


class TestPooling:
    def test_variance_is_pooled_over_groups_with_their_degrees_of_freedom(self):
        assert pool([[1.0, 3.0], [5.0, 6.0, 7.0], [100.0]]) == Noise((2 + 2) / 3, 3)

    def test_a_group_in_which_the_seed_did_nothing_does_not_make_noise_look_small(self):
        assert pool([[1.0, 3.0], [4.0] * 20]) == pool([[1.0, 3.0]])

    def test_a_stored_profile_counts_for_a_limited_number_of_seeds(self):
        noise = pool([[1.0, 3.0]], NoiseProfile(3.0, 1000))
        assert noise == Noise((2 + 20 * 9) / 21, 21, stored=True)
        assert pool([[1.0, 3.0]], NoiseProfile(3.0, 6)).dof == 6

    def test_a_profile_knows_spread_and_skew_of_its_seeds(self):
        rng = random.Random(4)
        skewed = NoiseProfile.of([rng.lognormvariate(0, 0.5) for _ in range(60)])
        assert skewed.seeds == 60
        assert 0.4 < skewed.sd < 0.9
        assert 0.6 < skewed.skew < 4
        assert NoiseProfile.of([1.0, 2.0, 3.0]) == NoiseProfile(1.0, 3, 0.0)
        with pytest.raises(ValueError, match="positive sd"):
            NoiseProfile.of([0.5] * 60)

    def test_a_profile_that_no_longer_fits_is_seen(self):
        profile = NoiseProfile(0.0045, 60)
        assert not profile.drifted(TEN)
        assert not profile.drifted([0.1])
        for factor in (4, 1 / 4):
            assert profile.drifted([factor * value for value in TEN])

    def test_drift_is_claimed_of_an_unchanged_noise_once_in_a_hundred(self):
        rng = random.Random(5)
        claims = 0
        for _ in range(3000):
            seeds = [rng.gauss(0, 1) for _ in range(70)]
            claims += NoiseProfile.of(seeds[:60]).drifted(seeds[60:])
        assert 12 <= claims <= 55

    def test_wild_groups_are_told_from_common_ones(self):
        assert scatters_more(squares_of([0.0, 10.0, 20.0]), Noise(1.0, 9), 0.001)
        assert not scatters_more(squares_of([0.0, 1.0, 2.0]), Noise(1.0, 9), 0.001)
        assert not scatters_more(squares_of([7.0]), Noise(1.0, 9), 0.001)


class TestPickedWinners:
    def test_shrinking_never_flips_the_sign_nor_adds_anything(self):
        picked = 0
        for run, reference in groups(6, 400):
            for better in ("lower", "higher"):
                one = compared(run, reference, better, level=0.02)
                picked += one.is_better
                assert abs(one.estimate) <= abs(one.difference)
                assert one.estimate * one.difference >= 0
                if not one.is_better:
                    assert one.estimate == one.difference
        assert picked > 100

    def test_a_narrow_win_is_shrunk_to_nothing_and_a_clear_one_hardly(self):
        narrow, clear = won(1.82), won(5.0)
        assert narrow.is_better
        assert narrow.estimate == 0
        assert 4.99 < clear.estimate <= 5

    def test_half_of_the_picked_come_out_larger_than_their_shrunk_estimate_says(self):
        rng, effect, lower, picked = random.Random(7), 2.5, 0, 0
        for _ in range(4000):
            x = rng.gauss(effect, math.sqrt(1 / 3 + 1 / 10))
            one = won(x, dof=10_000)
            if one.is_better:
                picked += 1
                lower += one.estimate < effect
        assert 0.46 < lower / picked < 0.54


class TestGuards:
    def test_a_fall_beyond_the_limit_is_named_with_both(self):
        fall = guard_violation("explained variance", [0.86, 0.88], [0.91, 0.91], 0.01, better="higher")
        assert str(fall) == "explained variance −0.040 (limit −0.01)"  # as its table has it, −0.040 ± 0.005 or so

    def test_a_fall_within_the_limit_and_a_rise_are_none(self):
        assert guard_violation("ev", [0.905], [0.91], 0.01, better="higher") is None
        assert guard_violation("ev", [0.95], [0.91], 0.01, better="higher") is None
        assert guard_violation("mse", [0.95], [0.91], 0.01, better="lower") is not None

    def test_a_metric_without_direction_may_move_neither_way(self):
        assert guard_violation("l0", [45.0], [40.0], 4.0, better=None).change == 5
        assert guard_violation("l0", [35.0], [40.0], 4.0, better=None).change == -5
        assert guard_violation("l0", [43.0], [40.0], 4.0, better=None) is None


class TestLedger:
    def test_a_run_gets_more_seeds_while_it_is_promising(self):
        made = ledger()
        for values, seeds_wanted in (
            ([], 1),
            ([0.140], 1),  # no better than the baseline at that seed, so no more of it
            ([0.138], 3),
            ([0.142, 0.141, 0.145], 3),
            ([0.138, 0.137, 0.139], 10),
            ([0.145, 0.148, 0.144], 3),  # neither at the same seeds nor as a group
            ([0.120] * 3, 3),  # the seed does nothing here, and more of them will not help
            ([0.138, 0.137, 0.139] + [0.138, 0.136] * 3 + [0.14], 10),
        ):
            assert made.seeds_wanted("run_1", by_seed(values), "run_0") == seeds_wanted

    def test_asking_how_many_seeds_are_wanted_changes_nothing(self):
        made, other = ledger(), ledger()
        made.seeds_wanted("run_1", by_seed([0.12, 0.05, 0.13]), "run_0")
        made.seeds_wanted("run_1", by_seed([0.138, 0.137, 0.139]), "run_0")
        assert made.noise() == other.noise()
        assert judge(made, "run_2", [0.131, 0.135, 0.133]) == judge(other, "run_2", [0.131, 0.135, 0.133])

    def test_what_gets_no_more_seeds_could_not_have_been_called_better(self):
        rng = random.Random(11)
        stopped = 0
        for _ in range(2000):
            made = ledger("higher")
            values = [rng.gauss(0.145, 0.006) for _ in range(rng.choice((1, 3)))]
            if made.seeds_wanted("run_1", by_seed(values), "run_0") == len(values):
                stopped += 1
                assert not judge(made, "run_1", values).accepted
        assert 200 < stopped < 1800

    def test_a_clear_improvement_is_accepted_and_a_clear_loss_is_worse(self):
        made = ledger()
        better, worse = judge(made, "run_1", [0.121, 0.125, 0.123]), judge(made, "run_2", [0.170])
        assert (better.kind, better.accepted) == ("improved", True)
        assert (worse.kind, worse.accepted) == ("worse", False)
        assert better.against_baseline is better.against_parent

    def test_a_run_that_adds_nothing_to_an_accepted_one_is_within_noise_however_good(self):
        made = ledger()
        judge(made, "run_1", [0.121, 0.125, 0.123])
        second = judge(made, "run_2", [0.122, 0.126, 0.120], parent="run_1")
        assert second.kind == "not_significant"
        assert second.against_baseline.is_better

    def test_a_guard_that_fell_makes_an_improvement_a_trade(self):
        made = ledger()
        fall = guard_violation("explained variance", [0.87], [0.91], 0.01, better="higher")
        one = judge(made, "run_1", [0.121, 0.125, 0.123], guard_violations=[fall])
        assert (one.kind, one.accepted, one.guard_violations) == ("trade_off", False, (fall,))
        assert judge(made, "run_2", [0.145], guard_violations=[fall]).kind == "not_significant"

    def test_one_seed_each_is_undecided_and_spends_nothing(self):
        made = Ledger("lower", 10)
        made.measure("run_0", by_seed([0.143]))
        assert judge(made, "run_1", [0.05]).kind == "inconclusive"
        made.measure("run_0", by_seed(TEN))
        assert judge(made, "run_1", [0.121, 0.125, 0.123]).against_parent.level == pytest.approx(0.0045)

    def test_better_in_a_single_seed_is_undecided_until_there_are_more(self):
        made = ledger()
        assert judge(made, "run_1", [0.136]).kind == "inconclusive"
        assert judge(made, "run_1", [0.136, 0.150, 0.146]).kind == "not_significant"

    def test_shares_of_the_error_never_add_up_to_more_than_alpha(self):
        rng = random.Random(9)
        for looks in (1, 2):
            made, spent = ledger(runs=4), []
            for run in range(1, 60):
                for _ in range(looks):
                    values = [rng.gauss(0.143, 0.005) for _ in range(3)]
                    spent.append(judge(made, f"run_{run}", values).against_parent.level)
            assert ALPHA * 0.9 < sum(spent) < ALPHA

    def test_a_second_look_is_paid_out_of_the_reserve_and_takes_nothing_from_planned_runs(self):
        made, values = ledger(runs=2), [0.136, 0.144, 0.143]
        levels = [judge(made, run, values).against_parent.level for run in ("run_1", "run_1", "run_2", "run_3")]
        assert levels == pytest.approx([0.0225, 0.0025, 0.0225, 0.005 / 6])

    def test_a_second_look_counts_no_seed_twice(self):
        made = ledger()
        judge(made, "run_1", [0.136, 0.144, 0.143])
        again = judge(made, "run_1", [0.136, 0.144, 0.143, 0.141])
        assert again.against_parent.noise == pool([TEN, [0.136, 0.144, 0.143, 0.141]]) == made.noise()

    def test_the_same_runs_in_the_same_order_give_the_same_answers(self):
        rng = random.Random(10)
        runs = [[rng.gauss(0.14, 0.005) for _ in range(rng.choice((1, 3)))] for _ in range(10)]
        first, second = ledger(), ledger()
        for number, values in enumerate(runs):
            assert judge(first, f"run_{number + 1}", values) == judge(second, f"run_{number + 1}", values)

    def test_a_run_that_scatters_wildly_does_not_hide_what_comes_after(self):
        made = ledger()
        judge(made, "run_1", [0.05, 0.14, 0.60])
        assert made.noise().sd < 0.006
        assert made.noise("run_1").sd > 0.2
        assert judge(made, "run_2", [0.121, 0.125, 0.123]).kind == "improved"

    def test_a_run_that_scatters_wildly_is_judged_by_its_own_scatter(self):
        one = judge(ledger(stages=(1, 3)), "run_1", [0.02, 0.10, 0.135])
        assert one.kind == "not_significant"
        assert one.against_parent.error == pytest.approx(0.034, abs=0.001)
        assert one.against_parent.dof == pytest.approx(2, abs=0.1)  # as good as its own two

    def test_a_run_that_scatters_far_less_than_the_others_does_not_show_its_noise(self):
        made = ledger()
        one = judge(made, "run_1", [0.12001, 0.12002, 0.12004])
        assert (one.kind, one.error_share) == ("inconclusive", 0.0)
        assert "the 3 seeds of run 1 scatter far less than others (sd 1.5e-05 against 0.0046)" in one.against_parent.why
        assert made.noise() == pool([TEN])  # and does not make the others look steady
        below = judge(made, "run_2", [0.11, 0.115, 0.105], parent="run_1")
        assert below.kind == "inconclusive"
        assert below.against_baseline.is_better
        again = judge(made, "run_1", [0.12001, 0.12002, 0.12004, 0.127, 0.114])
        assert (again.kind, again.error_share) == ("improved", pytest.approx(0.09))

    def test_a_reference_that_scatters_less_is_believed(self):
        made = ledger()
        made.measure("control", by_seed([0.12001, 0.12002, 0.12004]))
        assert judge(made, "run_1", [0.1, 0.104, 0.102], parent="control").kind == "improved"

    def test_honest_runs_hardly_ever_scatter_so_little(self):
        rng, few = random.Random(12), 0
        for _ in range(4000):
            made = ledger("higher")
            judged = judge(made, "run_1", [rng.gauss(0.15, 0.005) for _ in range(rng.choice((3, 10)))])
            few += isinstance(judged.against_parent, Uncompared)
        assert few <= 20

    def test_a_ledger_that_is_rebuilt_knows_what_was_spent(self):
        made, other = ledger(runs=2), ledger(runs=2)
        first = judge(made, "run_1", [0.136, 0.144, 0.143])
        again = judge(made, "run_1", [0.136, 0.144, 0.143, 0.121])
        assert first.error_share and again.error_share
        other.recall("run_1", by_seed([0.136, 0.144, 0.143, 0.121]), None, 2)
        shares = [judge(each, "run_1", [0.12, 0.13, 0.14, 0.121, 0.12]).error_share for each in (made, other)]
        assert shares == [pytest.approx(0.1 / 6)] * 2

    def test_a_stored_profile_decides_where_the_campaign_has_one_seed_each(self):
        made = Ledger("lower", 10, stages=(1,), profile=NoiseProfile(0.005, 60))
        made.measure("run_0", by_seed([0.143]))
        assert judge(made, "run_1", [0.138]).kind == "not_significant"
        assert judge(made, "run_2", [0.100]).kind == "improved"

    def test_a_profile_that_has_drifted_is_not_used(self):
        made = ledger(profile=NoiseProfile(0.0001, 60))
        assert made.drifted
        assert made.noise() == pool([TEN])
        assert not ledger(profile=NoiseProfile(0.005, 60)).drifted

    def test_a_parent_that_was_never_measured_is_refused(self):
        with pytest.raises(ValueError, match="run_7"):
            judge(ledger(), "run_8", [0.1], parent="run_7")


class TestSentence:
    def test_an_improvement(self):
        made = ledger(runs=6)
        one = judge(made, "run_1", [0.131, 0.135, 0.133])
        assert sentence("absorption", one, 6) == (
            "absorption 0.1330 ± 0.0024 against 0.1430 ± 0.0014 (baseline, 10 seeds; 3 here): "
            "improved, p 0.014 after correction for 6 runs"
        )

    def test_noise_says_how_far_it_reaches(self):
        one = judge(ledger(), "run_1", [0.145])
        assert sentence("absorption", one, 10) == (
            "absorption 0.1450 ± 0.0046 against 0.1430 ± 0.0014 (baseline, 10 seeds; 1 here): "
            "not significant (90 % CI half-width 0.016)"
        )

    def test_a_parent_is_named_and_a_trade_shows_what_fell(self):
        made = ledger()
        judge(made, "run_1", [0.121, 0.125, 0.123])
        fall = guard_violation("explained variance", [0.87], [0.91], 0.01, better="higher")
        said = sentence(
            "absorption", judge(made, "run_2", [0.10, 0.098, 0.099], parent="run_1", guard_violations=[fall]), 10
        )
        assert "against 0.1230 (run 1, 3 seeds; 3 here): trade-off, p " in said  # its ± stands with run_1 itself
        assert said.endswith("; explained variance −0.04 (limit −0.01)")

    def test_undecided_says_why(self):
        made = Ledger("lower", 10)
        made.measure("run_0", by_seed([0.143]))
        assert sentence("absorption", judge(made, "run_1", [0.112]), 10) == (
            "absorption 0.112 against 0.143 (baseline, 1 seed; 1 here): inconclusive, one seed each, so the noise is unknown"
        )
        better = sentence("absorption", judge(ledger(), "run_1", [0.138]), 10)
        assert better.endswith("inconclusive, better so far, in too few seeds to say so")

    def test_a_loss_has_a_p_of_its_own_and_the_same_on_every_page(self):
        one = judge(ledger(), "run_1", [0.17])
        said = sentence("absorption", one, 10)
        assert said.endswith("worse, p 0.0018 of a loss after correction for 10 runs")
        record = as_record(one.against_parent, "run_0")
        assert record.p_adjusted == 1.0 and record.p_worse_adjusted == pytest.approx(0.0018, abs=5e-5)
        assert estimates.compared(record)[2] == "0.0018 of a loss"

    @pytest.mark.parametrize(
        ("noise", "places"),
        [(0.008, 3), (0.012, 3), (0.047, 3), (0.0098, 3), (0.25, 2), (0.53, 1), (1.4, 1), (9.6, 0), (140.0, 0), (0.0, 4)],
    )
    def test_numbers_have_the_decimals_that_their_noise_leaves(self, noise, places):
        assert decimals(noise) == places

    @pytest.mark.parametrize(("value", "said"), [(-0.0035, "0.00"), (0.0035, "0.00"), (-0.006, "−0.01"), (0.02, "+0.02")])
    def test_what_is_rounded_to_nothing_has_no_sign(self, value, said):
        assert rounded(value, 2, "+") == said


class TestFinalSeeds:
    """A run that has passed its stages is judged at seeds that it shares with its references alone."""

    FRESH = tuple(range(1_000, 1_010))

    def judged(self, gain=0.005, *, beside=FRESH, noise=0.0005, values=None, made=None, parent="run_0"):
        made = made or ledger(stages=(1, 3), final=True)
        rng = random.Random(3)
        chance = {seed: rng.gauss(0.143, 0.005) for seed in self.FRESH}
        mine = values or {seed: value - gain + rng.gauss(0, noise) for seed, value in chance.items()}
        theirs = {"run_0": {seed: value for seed, value in chance.items() if seed in beside}}
        final = FinalSeeds(mine, theirs)
        return made.judge("run_1", by_seed([0.138, 0.137, 0.139]), parent=parent, baseline="run_0", final=final)

    def test_the_verdict_rests_on_the_differences_seed_by_seed(self):
        one = self.judged()
        assert (one.kind, one.against_parent.n, one.against_parent.dof) == ("improved", 10, 9)
        assert one.against_parent.error == pytest.approx(0.0005 / math.sqrt(10), rel=0.5)
        assert one.against_parent.reference == pytest.approx(0.143, abs=0.004)  # there, and not at the baseline's own seeds
        assert "paired t test" in one.against_parent.method
        assert "(baseline; 10 seeds, paired)" in sentence("absorption", one, 10)

    def test_what_the_stages_gave_decides_nothing(self):
        assert self.judged(0.0).kind == "not_significant"

    def test_below_six_shared_seeds_both_are_taken_for_groups(self):
        one = self.judged(beside=self.FRESH[:5])
        assert one.against_parent.paired is None
        assert one.against_parent.n_reference == 5
        assert self.judged(beside=self.FRESH[:6]).against_parent.n == 6

    def test_a_reference_that_was_not_executed_there_is_compared_as_it_was_measured(self):
        assert self.judged(beside=()).against_parent.n_reference == 10

    def test_only_a_run_that_reaches_them_spends_error(self):
        made = ledger(stages=(1, 3), final=True)
        stopped = [judge(made, f"run_{run}", [0.15]) for run in range(2, 9)]
        assert {each.error_share for each in stopped} == {0}
        assert {each.kind for each in stopped} == {"not_significant"}
        assert self.judged(made=made).error_share == pytest.approx(0.9 / 4)

    def test_a_run_that_passed_its_stages_and_has_no_final_seeds_is_inconclusive(self):
        assert judge(ledger(stages=(1, 3), final=True), "run_1", [0.121, 0.125, 0.123]).kind == "inconclusive"

    def test_equal_shares_for_a_third_of_the_planned_runs_and_then_the_reserve(self):
        made, spent = ledger(stages=(1, 3), final=True), []
        for run in range(1, 40):
            values = {seed: 0.14 + seed % 7 / 1000 for seed in self.FRESH}
            final = FinalSeeds(values, {"run_0": {seed: 0.141 + seed % 3 / 1000 for seed in self.FRESH}})
            spent.append(
                made.judge(f"run_{run}", by_seed([0.14]), parent="run_0", baseline="run_0", final=final).error_share
            )
        assert spent[:6] == pytest.approx([0.225] * 4 + [0.05, 0.1 / 6])
        assert sum(spent) < 1

    def test_a_part_with_a_fixed_seed_is_seen_at_the_final_seeds_too(self):
        steady = {seed: 0.12 + place / 1e6 for place, seed in enumerate(self.FRESH)}
        one = self.judged(values=steady)
        assert one.kind == "inconclusive"
        assert "scatter far less than others" in one.against_parent.why

    @pytest.mark.parametrize("unit", [1 / 1024, 0.001])  # the second is rounded, so that differences scatter by 1e-17
    def test_the_same_difference_at_each_seed_is_judged_as_groups(self, unit):
        rng = random.Random(5)
        chance = {seed: rng.randrange(130, 156) * unit for seed in self.FRESH}
        one = compare_paired(
            [value - 16 * unit for value in chance.values()], [*chance.values()], better="lower", level=0.01, alpha=0.05
        )
        assert isinstance(one, Uncompared)
        made = ledger(stages=(1, 3), final=True)
        final = FinalSeeds({seed: value - 16 * unit for seed, value in chance.items()}, {"run_0": chance})
        judged = made.judge("run_1", by_seed([0.12]), parent="run_0", baseline="run_0", final=final)
        assert isinstance(judged.against_parent, Comparison) and judged.against_parent.paired is None


class TestSimulation:
    @pytest.mark.parametrize(("kept", "correlation"), [(0.0, 0.0), (0.9, 0.5)])
    def test_an_agent_that_builds_on_lucky_runs_rarely_gets_one_called_improved(self, kept, correlation):
        kind = verdicts.Kind("gaussian", verdicts.gaussian, kept=kept, correlation=correlation)
        tally = verdicts.simulate(kind, "final", 250)
        assert tally.share_false < 0.06
        assert tally.older_false / tally.campaigns > 0.85
        assert tally.executions / tally.campaigns < 65

    def test_an_agent_that_proposes_four_from_the_best_looking_run_rarely_gets_one_called_improved(self):
        kind = verdicts.Kind("gaussian", verdicts.gaussian, kept=0.9, correlation=0.5, width=4)
        tally = verdicts.simulate(kind, "final", 250)
        assert tally.share_false < 0.06
        assert tally.tested > tally.campaigns / 3

    def test_shared_seeds_find_what_unpaired_seeds_do_not(self):
        kind = verdicts.Kind("gaussian", verdicts.gaussian, effect=1.0, kept=0.5, correlation=0.9)
        final, ten = (verdicts.simulate(kind, rule, 60) for rule in ("final", "ten"))
        assert final.found > 1.5 * ten.found

    def test_an_improvement_of_three_standard_deviations_is_found_and_reported_near_its_size(self):
        kind = verdicts.Kind("gaussian", verdicts.gaussian, effect=3.0, kept=0.5, better="lower")
        tally = verdicts.simulate(kind, "final", 120)
        assert tally.found / tally.campaigns > 0.88
        assert 2.5 < sum(tally.shrunk) / len(tally.shrunk) < sum(tally.reported) / len(tally.reported) < 3.4
        assert tally.covered / len(tally.reported) > 0.93

    def test_the_seeds_that_were_measured_are_many_and_differ(self):
        seeds = verdicts.measured_seeds()
        assert len(set(seeds.tolist())) >= 50
        assert ((seeds > 0) & (seeds < 1)).all()

    def test_the_noise_profile_that_is_shipped_is_that_of_the_seeds_that_were_measured(self):
        stored = load_contract(ROOT).profiles["synthetic"].noise[verdicts.METRIC]
        measured = NoiseProfile.of(verdicts.measured_seeds().tolist())
        assert (stored.sd, stored.seeds, stored.skew) == (round(measured.sd, 4), measured.seeds, measured.skew)

    def test_the_benchmark_ends_with_one_json_object(self):
        command = [sys.executable, "bench/verdicts.py", "--quick"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        assert figures["measured_seeds"] >= 50
        without_effect = [row for row in figures["rows"] if not row["effect"]]
        assert {(row["kept"], row["correlation"]) for row in without_effect} == {(a, b) for a in SOME for b in SOME}
        assert {row["width"] for row in without_effect} == {1, 4}
        assert {row["noise"] for row in without_effect} >= {"gaussian", "measured", "heavy-tailed", "widened"}
