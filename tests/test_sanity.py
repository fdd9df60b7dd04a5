"""The shipped rules catch each broken result that was recorded, accept each good one, and say what they saw."""

import pytest

from harness.campaign.contract import Contract
from harness.results.sanity import broken_rules, check_sanity, missing_metrics

from .recorded import ALL_ZERO, K40, K320, RELU, RUN_1, RUN_2, ZERO_STEPS, contract, left, recorded


def check(rule: dict, values: dict, **settings) -> list[str]:
    return broken_rules(Contract.model_validate({"sanity": [{"value": "x", **rule}]}), values, settings)


# --- the recorded results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "profile"), [(K40, "gemma-2-2b"), (K320, "gemma-2-2b"), (RUN_1, "core"), (RUN_2, "core")])
def test_good_recorded_results_are_valid(tmp_path, name, profile):
    assert check_sanity(contract(), profile, recorded(tmp_path, name)) == []


def test_zero_steps_are_no_evidence(tmp_path):
    problems = check_sanity(contract(), "core", recorded(tmp_path, ZERO_STEPS))
    assert (
        "training_steps is 0, less than 1: nothing was trained, so every number is that of the initial weights" in problems
    )


def test_a_loss_of_null_is_no_evidence(tmp_path):
    problems = check_sanity(contract(), "core", recorded(tmp_path, ZERO_STEPS))
    assert "final_info.json: final_loss: null, not a number: no loss was ever computed, or it diverged" in problems


def test_zero_steps_and_null_are_caught_inside_blocks_too(tmp_path):
    summary = {"training_steps": 0, "final_loss": None}
    found = left(tmp_path, {"training results for layer 19": {"config": {}, "final_info": summary}})
    problems = check_sanity(contract(), "core", found)
    assert any(problem.startswith("training.training_steps is 0, less than 1") for problem in problems)
    assert any("final_info.final_loss: null" in problem for problem in problems)


def test_an_all_zero_sae_is_no_evidence(tmp_path):
    found = recorded(tmp_path, ZERO_STEPS, ALL_ZERO)
    problems = broken_rules(contract(), found.numbers, found.settings)
    assert "core.l0 is 0, not above 0: no latent ever fires: the SAE's output is its bias" in problems
    assert "core.l2_norm_out is 0, not above 0: the SAE's output is all zeros" in problems
    assert any(problem.startswith("core.cossim is -1, not above 0") for problem in problems)


def test_a_dense_relu_sae_is_no_evidence(tmp_path):
    (problem,) = check_sanity(contract(), "gemma-2-2b", recorded(tmp_path, RELU))
    assert problem.startswith("core.l0 is 8896, not below 0.5 x dict_size (8192): most latents fire on every token")


def test_an_evaluation_that_did_not_run_is_missing_where_the_profile_has_it(tmp_path):
    found = recorded(tmp_path, RUN_2)
    assert missing_metrics(contract(), "core", found) == []
    assert missing_metrics(contract(), "gemma-2-2b", found) == [
        "absorption.mean_absorption_score",
        "sparse_probing.sae_top_1_test_accuracy",
        "unlearning.unlearning_score",
    ]
    problems = check_sanity(contract(), "gemma-2-2b", found)
    assert any(
        text.startswith("unlearning.unlearning_score is missing: no result file has it; there are ") for text in problems
    )


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"above": 0}, 0.1, 0),
        ({"below": 1}, 0.9, 1),
        ({"at_least": 1}, 1, 0.9),
        ({"at_most": 1}, 1, 1.1),
        ({"above": "y"}, 4.1, 4),
        ({"below": "y", "times": 0.5}, 1.9, 2),
        ({"finite": True}, 0, float("nan")),
        ({"finite": True}, 0, float("inf")),
        ({"above": 0}, 1, float("nan")),
        ({"below": 0}, -1, float("-inf")),
    ],
)
def test_a_rule_holds_on_one_side_of_its_bound(rule, good, bad):
    assert check(rule, {"x": good}, y=4) == []
    assert len(check(rule, {"x": bad}, y=4)) == 1


def test_a_broken_rule_says_value_bound_and_meaning():
    assert check({"above": "y", "times": 2, "why": "too dense"}, {"x": 3.25, "y": 2}) == [
        "x is 3.25, not above 2 x y (4): too dense"
    ]


def test_an_absent_value_breaks_only_a_rule_that_wants_it_present():
    assert check({"finite": True, "above": 0}, {}) == []
    assert check({"present": True, "above": 0, "why": "no SAE"}, {}) == ["x is missing: no SAE"]
    assert check({"present": True}, {}, x=None) == ["x is missing"]
    assert check({"present": True}, {}, x="topk") == []


def test_an_absent_bound_breaks_only_a_rule_that_wants_presence():
    assert check({"below": "y"}, {"x": 1}) == []
    assert len(check({"below": "y", "present": True}, {"x": 1})) == 1


def test_a_value_or_bound_that_is_text_cannot_meet_a_bound():
    assert check({"above": 0}, {}, x="5") == ["x is 5, not a finite number"]
    assert check({"above": 0}, {}, x=True) == ["x is true, not a finite number"]
    assert check({"above": "y"}, {"x": 1}, y="0") == ["x cannot be checked: its bound y is 0"]


def test_a_rule_is_limited_to_the_settings_it_is_for():
    rule = {"at_most": 1, "when": {"architecture": "topk"}}
    assert check(rule, {"x": 2}, architecture="relu") == check(rule, {"x": 2}) == []
    assert len(check(rule, {"x": 2}, architecture="topk")) == 1
    rule["when"] = {"architecture": ["topk", "batchtopk"]}
    assert check(rule, {"x": 2}, architecture="relu") == check(rule, {"x": 2}) == []
    assert len(check(rule, {"x": 2}, architecture="batchtopk")) == len(check(rule, {"x": 2}, architecture="topk")) == 1


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_a_metric_outside_of_what_it_can_be_is_no_evidence():
    bounded = Contract.model_validate({"metric": [{"name": "mcc", "minimum": 0, "maximum": 1}]})
    assert broken_rules(bounded, {"mcc": 0.0}, {}) == broken_rules(bounded, {"mcc": 1.0}, {}) == []
    assert broken_rules(bounded, {"mcc": -0.25}, {}) == ["mcc is -0.25 and can be no less than 0"]
    assert broken_rules(bounded, {"mcc": 1.5}, {}) == ["mcc is 1.5 and can be no more than 1"]


def test_a_missing_metric_is_told_with_the_name_that_is_there(tmp_path):
    named = Contract.model_validate({"metric": [{"name": "absorption.mean_absorption_score"}]})
    new = {
        "eval_type_id": "absorption_first_letter",
        "eval_result_metrics": {"mean": {"mean_absorption_fraction_score": 0.1}},
    }
    problems = check_sanity(named, "", left(tmp_path, new, "eval_results/a.json"))
    assert problems == [
        "absorption.mean_absorption_score is missing: no result file has it; there is absorption.mean_absorption_fraction_score"
    ]


METRICS = [
    {"name": "mcc"},
    {"name": "absorption", "required": False, "primary": True, "better": "lower"},
    {"name": "f1", "required": False},
]


@pytest.mark.parametrize(("name", "matters"), [("mcc", True), ("absorption", True), ("f1", False), ("other", False)])
def test_a_number_that_is_none_matters_where_the_contract_needs_it(tmp_path, name, matters):
    values = {"mcc": 0.5, "absorption": 0.25, "f1": 0.75} | {name: float("nan")}
    problems = check_sanity(
        Contract.model_validate({"metric": METRICS}), "", left(tmp_path, {"settings": {}, "metrics": values})
    )
    assert problems == ([f"final_info.json: metrics.{name}: NaN, not a number"] if matters else [])


@pytest.mark.parametrize("use", [{"comparable": ["dict_size"]}, {"sanity": [{"value": "l0", "below": "dict_size"}]}])
def test_a_contradiction_about_scale_is_no_evidence(tmp_path, use):
    left(tmp_path, {"settings": {"dict_size": 512}, "metrics": {"l0": 4}})
    block = {"eval_type_id": "x", "eval_result_metrics": {"all": {"score": 0.5}}, "sae_cfg_dict": {"d_sae": 256}}
    found = left(tmp_path, block, "eval_results/x.json")
    (problem,) = check_sanity(Contract.model_validate(use), "", found)
    assert "256 here, 512 in final_info.json" in problem


def test_results_without_a_number_are_no_evidence_under_any_contract(tmp_path):
    problems = check_sanity(Contract(), "", left(tmp_path, {"loss": None}))
    assert problems == ["no number was read: final_info.json: loss: null, not a number"]
    decides = Contract.model_validate({"metric": [{"name": "error", "better": "lower", "primary": True}]})
    problems = check_sanity(decides, "", left(tmp_path, {"loss": None}))
    assert problems == ["no number was read, and error must be there: final_info.json: loss: null, not a number"]
    assert check_sanity(Contract(), "", left(tmp_path, {"loss": 0.5})) == []
