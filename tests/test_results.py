"""The reader of results: every shape gives the same flat names, and nothing is believed for being in a file."""

import codecs
import json
import os
import subprocess
import sys

import pytest

from harness.campaign.contract import Contract
from harness.results import result_files, values
from harness.results.reading import FINAL_INFO, Results, read_results
from harness.results.run_results import read_run
from harness.results.sanity import check_sanity, missing_metrics, no_number, without
from harness.results.values import Value
from harness.statistics.comparability import differences_of_scale

from .recorded import ALL_ZERO, K40, K320, RELU, RUN_1, RUN_2, ZERO_STEPS, left, recorded, source
from .unprivileged import unprivileged

LR = "lr: 0.0002, beside learning_rate 0.0003: which one was used is not certain"


def problems(found: Results) -> list[str]:
    return [str(finding) for finding in found.findings]


def core(**changed: object) -> dict:
    """A core result as SAEBench 0.6.0 writes it."""
    quality = {"explained_variance": 0.7, "explained_variance_legacy": 0.6, "cossim": 0.9, "mse": 2.5} | changed
    return {
        "eval_type_id": "core",
        "eval_config": {"context_size": 128},
        "eval_result_metrics": {"reconstruction_quality": quality},
    }


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_own_shape_keeps_its_names(tmp_path):
    found = left(
        tmp_path,
        {"settings": {"k": 6, "architecture": "topk", "tied": False, "limit": None}, "metrics": {"mcc": 0.5, "l0": 6}},
    )
    assert found.numbers == {"mcc": 0.5, "l0": 6.0}
    assert found.settings == {"k": 6, "architecture": "topk", "tied": False, "limit": None}
    assert found.metrics["mcc"] == Value("mcc", 0.5, FINAL_INFO, "metrics.mcc")
    assert problems(found) == []


def test_flat_summary_keeps_its_names(tmp_path):
    found = left(tmp_path, {"accuracy": 0.91, "training_steps": 100, "lr": 0.1, "model": "resnet"})
    assert found.numbers == {"accuracy": 0.91, "training_steps": 100.0}
    assert found.settings == {"lr": 0.1, "model": "resnet", "steps": 100}
    assert problems(found) == []


def test_one_setting_under_two_names_with_two_values_is_a_finding(tmp_path):
    found = left(tmp_path, {"settings": {"lr": 2e-4, "learning_rate": 3e-4}, "metrics": {"mcc": 0.5}})
    assert problems(found) == [LR]
    same = left(tmp_path / "same", {"settings": {"lr": 2e-4, "learning_rate": 2e-4}, "metrics": {"mcc": 0.5}})
    assert problems(same) == []


def test_data_sets_of_ai_scientist_are_told_apart(tmp_path):
    block = {"means": {"loss_mean": 1.5}, "stderrs": {"loss_stderr": 0.1}, "final_info_dict": {"loss": [1.4, 1.6]}}
    found = left(tmp_path, {"enwik8": block, "text8": {"means": {"loss_mean": 1.1}}})
    assert found.numbers == {"enwik8.loss_mean": 1.5, "text8.loss_mean": 1.1}
    details = found.table().query("eval == 'enwik8' and metric != 'enwik8.loss_mean'")
    assert dict(zip(details["key"], details["value"], strict=True)) == {
        "enwik8.stderrs.loss_stderr": 0.1,
        "enwik8.final_info_dict.loss[0]": 1.4,
        "enwik8.final_info_dict.loss[1]": 1.6,
    }
    assert problems(found) == []


@pytest.mark.parametrize("name", [RELU, RUN_1, RUN_2, K40, K320])
def test_recorded_results_read_the_same_wherever_they_lie(tmp_path, name):
    content = source(name).read_bytes()
    in_summary = left(tmp_path / "a", content)
    in_evaluations = left(tmp_path / "b", content, "eval_results/all.json")
    beside = left(tmp_path / "c", content, "results.json")
    assert in_summary.numbers == in_evaluations.numbers == beside.numbers
    assert in_summary.settings == in_evaluations.settings == beside.settings
    told = [] if name == RELU else [LR]
    assert [problems(found) for found in (in_summary, in_evaluations, beside)] == [told] * 3


def test_recorded_results_have_flat_names(tmp_path):
    found = recorded(tmp_path, K40)
    expected = {
        "training.training_steps": 2441,
        "training.final_loss": 4357.5732421875,
        "absorption.mean_absorption_score": 0.1429159584016188,
        "core.ce_loss_score": 0.9588815789473685,
        "core.l0": 40,
        "sparse_probing.sae_top_1_test_accuracy": 0.75075625,
        "unlearning.unlearning_score": 0.026217222213745117,
    }
    assert {name: found.numbers[name] for name in expected} == expected
    assert found.metrics["core.l0"].key == "core evaluation results.metrics.sparsity.l0"
    settings = {"k": 40, "dict_size": 16384, "steps": 2441, "layer": 12, "lm_name": "google/gemma-2-2b", "seed": 42}
    assert {name: found.settings[name] for name in settings} == settings
    assert found.settings["core.total_tokens_eval_sparsity_variance"] == 4096000
    assert not any("total_tokens" in name for name in found.numbers)


def test_a_setting_under_two_names_stays_two_settings(tmp_path):
    settings = recorded(tmp_path, K40).settings
    assert (settings["lr"], settings["learning_rate"]) == (0.0002, 0.0003)


def test_steps_of_a_summary_are_a_setting_where_the_configuration_has_none(tmp_path):
    assert recorded(tmp_path / "relu", RELU).settings["steps"] == 2441
    assert recorded(tmp_path / "none", ZERO_STEPS).settings["steps"] == 0
    stopped_early = {"config": {"steps": 500}, "final_info": {"training_steps": 20, "final_loss": 0.5}}
    found = left(tmp_path / "early", {"training results for layer 3": stopped_early})
    assert (found.settings["steps"], found.numbers["training.training_steps"], problems(found)) == (500, 20, [])


def test_older_and_newer_core_results_have_the_same_names(tmp_path):
    older = recorded(tmp_path / "older", RUN_1)
    newer = recorded(tmp_path / "newer", ZERO_STEPS, ALL_ZERO)
    of_older = {name for name in older.numbers if name.startswith("core.")}
    of_newer = {name for name in newer.numbers if name.startswith("core.")}
    assert of_older - of_newer == {"core.relative_reconstruction_bias"}  # NaN in the broken one
    assert of_newer <= of_older


def test_scores_with_a_new_definition_keep_another_name(tmp_path):
    new = {"mean_absorption_fraction_score": 0.1, "mean_full_absorption_score": 0.2}
    found = left(
        tmp_path, {"eval_type_id": "absorption_first_letter", "eval_result_metrics": {"mean": new}}, "eval_results/a.json"
    )
    assert found.numbers == {"absorption.mean_absorption_fraction_score": 0.1, "absorption.mean_full_absorption_score": 0.2}


def test_explained_variance_of_before_march_2025_is_the_legacy_one(tmp_path):
    assert recorded(tmp_path / "old", K40).numbers["core.explained_variance_legacy"] == 0.609375
    assert "core.explained_variance" not in recorded(tmp_path / "old", K40).numbers
    new = left(tmp_path / "new", core(), "eval_results/core.json").numbers
    assert (new["core.explained_variance"], new["core.explained_variance_legacy"]) == (0.7, 0.6)


def test_details_are_in_the_table_only(tmp_path):
    found = recorded(tmp_path, K40)
    letters = found.table().query("metric == 'absorption.absorption_rate'")
    assert list(found.table().columns) == ["file", "eval", "key", "metric", "value"]
    assert len(letters) == 25 and "absorption.absorption_rate" not in found.numbers
    assert letters.iloc[0]["key"] == "absorption evaluation results.eval_result_details[a].absorption_rate"


def test_a_k_that_was_not_asked_for_is_no_finding(tmp_path):
    found = recorded(tmp_path, K40)
    assert "sparse_probing.sae_top_100_test_accuracy" not in found.numbers and problems(found) == [LR]


def test_reading_results_does_not_import_pandas():
    code = "import sys, harness.results.reading, harness.statistics.comparability; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_order_depends_on_names_alone(tmp_path):
    for folder, order in (("a", "pqrstuvwxyz"), ("b", "zyxwvutsrqp"), ("c", "uvwxyzpqrst")):
        for name in order:
            left(tmp_path / folder, core(mse=float(ord(name))), f"{name}.json")
            left(tmp_path / folder, core(mse=float(ord(name) + 1)), f"eval_results/{name}.json")
    one, *others = (read_results(tmp_path / folder) for folder in "abc")
    assert all(list(one.metrics.items()) == list(other.metrics.items()) for other in others)
    assert all(one.findings == other.findings and one.rows == other.rows for other in others)
    assert next(iter(one.metrics.values())).file == "eval_results/p.json"
    assert len({name for name in one.metrics if name.endswith(".mse")}) == 22
    files = list(dict.fromkeys(row.file for row in one.rows))
    assert files == [*(f"eval_results/{name}.json" for name in "pqrstuvwxyz"), *(f"{name}.json" for name in "pqrstuvwxyz")]


def test_other_json_beside_the_summary_is_left_alone(tmp_path):
    left(tmp_path, {"loss": 1.0})
    found = left(tmp_path, {"loss": 2.0, "value": float("nan")}, "record.json")
    assert found.numbers == {"loss": 1.0} and problems(found) == []


def test_means_at_the_top_are_read_like_those_of_a_data_set(tmp_path):
    block = {
        "means": {"loss_mean": 2.0, "acc": 0.5},
        "stderrs": {"loss_stderr": 0.1},
        "final_info_dict": {"loss": [1, 2, 3]},
    }
    found = left(tmp_path, block)
    assert found.numbers == {"loss_mean": 2.0, "acc": 0.5} and problems(found) == []
    assert found.metrics["loss_mean"].key == "means.loss_mean"


def test_numbers_of_data_sets_without_means_are_read(tmp_path):
    found = left(tmp_path, {"cifar": {"loss": 0.5, "acc": 0.9, "model": "resnet"}, "svhn": {"test": {"loss": 0.25}}})
    assert found.numbers == {"cifar.loss": 0.5, "cifar.acc": 0.9, "svhn.test.loss": 0.25}
    assert found.settings == {"cifar.model": "resnet"} and problems(found) == []


@pytest.mark.parametrize("group", ["settings", "config", "args"])
def test_a_group_of_settings_beside_flat_numbers_holds_no_metrics(tmp_path, group):
    found = left(tmp_path, {group: {"lr": 0.1, "layers": [1, 2]}, "loss": 0.5})
    assert (found.numbers, found.settings, problems(found)) == ({"loss": 0.5}, {"lr": 0.1, "layers": "1, 2"}, [])


def test_a_list_of_runs_is_read_as_the_experiments_own_seeds(tmp_path):
    found = left(tmp_path, [{"loss": 1.0, "d": {"means": {"acc": 0.5}}, "seed": i, "model": "mlp"} for i in range(2)])
    assert found.numbers == {"loss": 1.0, "d.acc": 0.5} and found.settings == {"model": "mlp"} and problems(found) == []
    found = left(tmp_path, [{"loss": 1.0, "acc": 1}, {"loss": 2.0, "acc": None}, {"loss": 6.0}])
    assert found.metrics["loss"].value == 3.0 and found.metrics["loss"].seeds == (1.0, 2.0, 6.0)
    assert problems(found) == ["final_info.json: acc: in 2 of the 3 runs of the list only"]
    assert "null, not a number" in problems(left(tmp_path, [{"loss": 1.0}, {"loss": None}]))[0]


def test_a_list_of_values_belongs_to_its_mean_and_a_standard_error_alone_is_kept_apart(tmp_path):
    block = {
        "means": {"acc_mean": 0.5, "steps_mean": 3.0, "odd_mean": 9.0, "best": 0.25},
        "stderrs": {"acc_stderr": 0.1, "best_stderr": 0.05},
        "final_info_dict": {"acc": [0.25, 0.75], "steps": [3], "odd": [1.0, 2.0]},
    }
    found = left(tmp_path, {"x_div_y": block})
    value = found.metrics["x_div_y.acc_mean"]
    assert (value.seeds, value.error) == ((0.25, 0.75), None)
    assert (found.metrics["x_div_y.best"].seeds, found.metrics["x_div_y.best"].error) == ((), 0.05)
    assert found.metrics["x_div_y.steps_mean"].seeds == () and found.metrics["x_div_y.odd_mean"].seeds == ()
    assert problems(found) == [
        "final_info.json: x_div_y.means.odd_mean: 9.0, which is not the mean of its 2 values; they are not used"
    ]


@pytest.mark.parametrize("name", ["results.json", "metrics.json", "x/final_info.json"])
def test_a_summary_under_another_name_or_one_folder_off_is_read_where_it_is_the_only_one(tmp_path, name):
    left(tmp_path, {"lr": 3, "depth": 2}, "config.json")
    found = left(tmp_path, {"d": {"means": {"loss": 0.5}}}, name)
    assert found.numbers == {"d.loss": 0.5} and found.metrics["d.loss"].file == name and problems(found) == []


def test_of_several_files_that_could_be_the_summary_none_is_guessed(tmp_path):
    left(tmp_path, {"loss": 0.5}, "results.json")
    found = left(tmp_path, {"loss": 0.25}, "metrics.json")
    assert found.numbers == {}
    assert problems(found) == [
        "final_info.json: missing: the experiment did not write it, and metrics.json and results.json could each be meant for it"
    ]
    left(tmp_path, {"loss": 0.125})
    assert read_results(tmp_path).numbers == {"loss": 0.125}


def test_a_byte_order_mark_and_the_line_ends_of_windows_are_no_error(tmp_path):
    core = {"eval_type_id": "core", "eval_result_metrics": {"sparsity": {"l0": 3.5}}}
    (tmp_path / "eval_results").mkdir()
    for name, content in {FINAL_INFO: {"loss": 0.5}, "eval_results/core.json": core}.items():
        text = json.dumps(content, indent=1).replace("\n", "\r\n")
        (tmp_path / name).write_bytes(codecs.BOM_UTF8 + text.encode())
    found = read_results(tmp_path)
    assert (found.findings, found.numbers) == ([], {"loss": 0.5, "core.l0": 3.5})


def test_what_was_left_in_place_of_a_summary_is_named(tmp_path):
    found = left(tmp_path, {"loss": 0.5}, "log.json")
    assert problems(found) == ["final_info.json: missing: the experiment did not write it; it left log.json"]
    for name in ("a.log", "b.log", "r/results.json", "metrics.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    (found,) = problems(read_results(tmp_path))
    assert found.endswith("it left log.json, metrics.jsonl, r/results.json and others")
    (deep := tmp_path / "deep" / "lightning_logs" / "version_0").mkdir(parents=True)
    (deep / "metrics.csv").write_text("epoch,val_loss\n0,0.5\n")
    (found,) = problems(read_results(tmp_path / "deep"))
    assert found.endswith("it left lightning_logs/version_0/metrics.csv")


MEAN = Contract.model_validate(
    {"metric": [{"name": "kl", "sources": ["*.kl_divergence"], "better": "lower", "primary": True}]}
)


def four(**changed):
    numbers = {"circle": 1.0, "dino": 2.0, "line": 3.0, "moons": 6.0} | changed
    return {name: {"means": {"kl_divergence": value, "time": 3.5}} for name, value in numbers.items() if value != "gone"}


def test_a_metric_may_be_the_mean_over_data_sets(tmp_path):
    left(tmp_path, four())
    found = read_run(tmp_path, MEAN)
    assert found.numbers["kl"] == 3.0 and found.numbers["dino.kl_divergence"] == 2.0
    assert missing_metrics(MEAN, "", found) == [] and check_sanity(MEAN, "", found) == []


def test_a_mean_over_other_data_sets_is_not_comparable(tmp_path):
    left(tmp_path / "0", four())
    left(tmp_path / "1", four(moons="gone"))
    baseline, run = (read_run(tmp_path / name, MEAN).settings for name in "01")
    (why,) = differences_of_scale(MEAN, run, baseline).values()
    assert why.startswith("kl.over circle.kl_divergence, dino.kl_divergence, line.kl_divergence against circle")


def test_a_mean_of_which_a_data_set_has_no_number_is_no_evidence(tmp_path):
    left(tmp_path, four(dino=float("nan")))
    assert check_sanity(MEAN, "", read_run(tmp_path, MEAN)) == [
        "final_info.json: dino.means.kl_divergence: NaN, not a number"
    ]


def test_a_wrong_name_of_a_metric_is_told_with_those_that_there_are(tmp_path):
    contract = Contract.model_validate({"metric": [{"name": "best_val_los"}]})
    left(tmp_path, {"d": {"means": {"best_val_loss_mean": 1.5, "time": 3.0}}})
    assert without(["best_val_los"], read_run(tmp_path, contract)) == (
        "no result file has a number for best_val_los; there are d.best_val_loss_mean, d.time"
    )


@pytest.mark.parametrize("content", ['{"loss": [1, 2]}', '[{"loss": [1, 2]}]', '{"d": [{"loss": 1}]}'])
def test_a_list_in_the_place_of_a_number_is_told_with_the_shape_that_is_wanted(tmp_path, content):
    found = left(tmp_path, content)
    for said in (no_number(found), without([found.findings[0].name], found)):
        assert "a list, not a number" in said and '"final_info_dict": {"loss": [0.11, 0.13]}' in said


@pytest.mark.parametrize("content", ["[1, 2]", "3", "{}", "[]"])
def test_what_has_no_known_shape_is_told_with_the_one_that_is_wanted(tmp_path, content):
    said = no_number(left(tmp_path, content))
    assert "holds no results in a known shape: it is a" in said and '{"loss": 0.12}' in said


# --- values that are not numbers --------------------------------------------------------------------------------------

NOT_NUMBERS = {
    "null": "null",
    "true": "true",
    "NaN": "NaN",
    "Infinity": "infinite",
    "-Infinity": "infinite",
    "1e999": "infinite",
    '"0.93"': "the text '0.93'",
    '"nan"': "the text 'nan'",
    "[1]": "a list",
    "{}": "an object",
    "1" + "0" * 400: "too large",
}


@pytest.mark.parametrize("text", NOT_NUMBERS)
@pytest.mark.parametrize(
    ("around", "key", "name"),
    [
        ('{"loss": %s, "accuracy": 0.5}', "loss", "loss"),
        ('{"settings": {}, "metrics": {"loss": %s, "accuracy": 0.5}}', "metrics.loss", "loss"),
        ('{"text8": {"means": {"loss": %s}}, "accuracy": 0.5}', "text8.means.loss", "text8.loss"),
        ('{"training results for layer 3": {"final_info": {"loss": %s}}, "accuracy": 0.5}', "training results for layer 3.final_info.loss", "training.loss"),
        ('{"core evaluation results": {"unique_id": 1, "metrics": {"all": {"loss": %s}}}, "accuracy": 0.5}', "core evaluation results.metrics.all.loss", "core.loss"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_a_finding_with_file_and_key(tmp_path, text, around, key, name):
    found = left(tmp_path, around.replace("%s", text))
    assert found.numbers == {"accuracy": 0.5}
    (finding,) = found.findings
    assert (finding.file, finding.key, finding.name) == (FINAL_INFO, key, name)
    assert finding.problem.startswith(NOT_NUMBERS[text])


@pytest.mark.parametrize("key", ["explained_variance", "mse", "explained_variance_legacy"])
def test_minus_one_of_core_is_a_nan(tmp_path, key):
    found = left(tmp_path, core(**{key: -1.0}), "eval_results/core.json")
    assert f"core.{key}" not in found.numbers
    assert any(
        f"reconstruction_quality.{key}: -1, which SAEBench writes in place of NaN" in text for text in problems(found)
    )


def test_minus_one_stays_where_it_can_be(tmp_path):
    assert left(tmp_path / "a", core(cossim=-1.0), "eval_results/core.json").numbers["core.cossim"] == -1
    assert left(tmp_path / "b", {"reward": -1}).numbers == {"reward": -1}
    scr = {"eval_type_id": "scr", "eval_result_metrics": {"scr_metrics": {"scr_metric_threshold_2": -1.0}}}
    assert left(tmp_path / "d", scr, "eval_results/scr.json").numbers == {"scr.scr_metric_threshold_2": -1}
    assert (
        left(tmp_path / "c", core(explained_variance=-0.5), "eval_results/core.json").numbers["core.explained_variance"]
        == -0.5
    )


@pytest.mark.parametrize("block", [{}, {"final_info": None}, {"final_info": {}}, {"final_info": [0.5]}])
def test_a_training_block_without_a_summary_is_a_finding(tmp_path, block):
    found = left(tmp_path, {"training results for layer 3": block | {"config": {"k": 4}}})
    assert found.settings == {"k": 4} and found.numbers == {}
    assert problems(found) == ["final_info.json: training results for layer 3.final_info: holds no results of the training"]


def test_a_nan_among_details_is_one_finding(tmp_path):
    block = core() | {"eval_result_details": [{"name": "a", "rate": 0.5}, {"name": "b", "rate": float("nan")}]}
    found = left(tmp_path, block, "eval_results/core.json")
    assert "eval_results/core.json: eval_result_details: 1 numbers are NaN or infinite" in problems(found)
    assert list(found.table().query("metric == 'core.rate'")["value"]) == [0.5]


@pytest.mark.parametrize("value", ["[1]", "{}", "NaN", '"' + "x" * 501 + '"'])
def test_a_setting_is_a_scalar(tmp_path, value):
    found = left(tmp_path, '{"settings": {"k": ' + value + ', "lr": 0.1}, "metrics": {"loss": 1.5}}')
    assert found.settings == {"lr": 0.1}
    assert [(finding.key, finding.name) for finding in found.findings] == [("settings.k", "k")]


def test_a_key_that_is_there_twice_is_not_believed(tmp_path):
    found = left(tmp_path, '{"loss": 0.1, "loss": 0.1, "accuracy": 0.5, "lr": 1, "lr": 2}')
    assert found.numbers == {"accuracy": 0.5} and found.settings == {}
    assert [finding.key for finding in found.findings] == ["loss", "lr"]
    assert all("more than once" in finding.problem for finding in found.findings)


def test_a_block_that_is_there_twice_is_not_believed(tmp_path):
    found = left(tmp_path, '{"metrics": {"loss": 0.1}, "metrics": {"loss": 0.2}}')
    assert found.numbers == {} and problems(found) == [
        "final_info.json: metrics: there more than once, and which was meant is unknown"
    ]


def test_a_setting_reported_with_two_values_is_a_finding(tmp_path):
    left(tmp_path, {"settings": {"dict_size": 512}, "metrics": {"loss": 1.5}})
    found = left(tmp_path, core() | {"sae_cfg_dict": {"d_sae": 256, "hook_layer": 3}}, "eval_results/core.json")
    assert found.settings["dict_size"] == 512 and found.settings["layer"] == 3
    assert problems(found) == [
        "eval_results/core.json: sae_cfg_dict.d_sae: 256 here, 512 in final_info.json at settings.dict_size"
    ]
    assert found.findings[0].name == "dict_size"


def test_a_metric_reported_with_two_values_is_a_finding(tmp_path):
    left(tmp_path, {"core.mse": 1.5})
    found = left(tmp_path, core(mse=1.25), "eval_results/b.json")
    assert [(finding.file, finding.name) for finding in found.findings] == [("eval_results/b.json", "core.mse")]
    assert "1.25 here, 1.5 in final_info.json" in problems(found)[0]


def test_trainings_on_several_layers_in_one_run_are_all_kept(tmp_path):
    """As a loop over layers leaves them; settings that all share are those of the run."""
    trained = {
        f"training results for layer {layer}": {
            "config": {"lr": 2e-4, "k": 40, "layer": layer},
            "final_info": {"training_steps": steps, "final_loss": loss, "layer": layer},
        }
        for layer, steps, loss in ((12, 2441, 5.0), (19, 488, 7.0))
    }
    found = left(tmp_path, trained)
    assert {name: value for name, value in found.numbers.items() if name.endswith("loss")} == {
        "training.layer_12.final_loss": 5,
        "training.layer_19.final_loss": 7,
    }
    of_each = {f"training.layer_{layer}.{name}" for layer in (12, 19) for name in ("layer", "steps")}
    assert set(found.settings) == {"lr", "k"} | of_each
    assert (found.settings["training.layer_19.layer"], found.settings["training.layer_19.steps"]) == (19, 488)
    assert problems(found) == []


def test_results_of_several_layers_are_all_kept_under_names_of_their_own(tmp_path):
    for layer, error in ((12, 1.5), (19, 1.25)):
        left(tmp_path, core(mse=error) | {"sae_cfg_dict": {"hook_layer": layer}}, f"eval_results/sae_{layer}.json")
    found = left(tmp_path, {"loss": 0.5})
    assert {name: value for name, value in found.numbers.items() if name.endswith("mse")} == {
        "core.layer_12.mse": 1.5,
        "core.layer_19.mse": 1.25,
    }
    assert (found.settings["core.layer_12.layer"], found.settings["core.layer_19.layer"]) == (12, 19)
    assert problems(found) == []


def test_results_of_a_kind_that_name_no_layer_are_told_apart_by_their_files(tmp_path):
    left(tmp_path, core(mse=1.5), "eval_results/a.json")
    left(tmp_path, core(mse=1.25), "eval_results/b.json")
    found = left(tmp_path, {"loss": 0.5})
    assert (found.numbers["core.a.mse"], found.numbers["core.b.mse"], problems(found)) == (1.5, 1.25, [])


def test_the_same_result_in_two_files_is_one(tmp_path):
    left(tmp_path, core(), "eval_results/a.json")
    found = left(tmp_path, {"core evaluation results": core()})
    assert found.numbers["core.mse"] == 2.5 and problems(found) == []


# --- files that are not results ---------------------------------------------------------------------------------------


def test_a_missing_summary_is_a_finding(tmp_path):
    assert problems(read_results(tmp_path)) == ["final_info.json: missing: the experiment did not write it"]
    assert "cannot be read: No such file or directory" in problems(read_results(tmp_path / "none"))[1]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not JSON"),
        (b"{'loss': 1}", "not JSON"),
        (b'{"loss": 1}}', "not JSON"),
        (b'{"loss": "\xff"}', "not UTF-8 (byte 10)"),
        (b"[" * 10_000 + b"]" * 10_000, "nested too deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deep"),
        (b'{"loss": ' + b"1" * 5000 + b"}", "cannot be read"),
        (b"[1, 2]", "holds no results"),
        (b"null", "holds no results"),
        (b"{}", "holds no results"),
        (b'{"eval_type_id": 7}', "does not name an evaluation"),
        (b'{"eval_type_id": "core"}', "the core evaluation left no metrics"),
        (b'{"eval_type_id": "core", "eval_result_metrics": []}', "the core evaluation left no metrics"),
    ],
)
@pytest.mark.parametrize("name", [FINAL_INFO, "eval_results/core/x.json"])
def test_a_broken_file_is_a_finding_and_no_exception(tmp_path, content, problem, name):
    found = left(tmp_path, content, name)
    assert found.numbers == {}
    assert any(finding.file == name and problem in finding.problem for finding in found.findings), problems(found)


def test_a_file_nested_as_deep_as_can_be_parsed_is_no_exception(tmp_path):
    for depth in range(900, 1000, 7):
        found = left(tmp_path, '{"loss": ' + "[" * depth + "]" * depth + "}")
        assert found.numbers == {} and found.findings


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / FINAL_INFO
    with path.open("wb") as file:
        file.truncate(result_files.MAX_BYTES + 1)  # a hole: it takes no disk
    assert problems(read_results(tmp_path)) == ["final_info.json: larger than 64 MB, the most that is read"]


def test_a_link_is_not_followed(tmp_path):
    left(tmp_path / "elsewhere", {"loss": 0.1})
    left(tmp_path / "elsewhere", core(), "eval_results/core.json")
    for name in (FINAL_INFO, "eval_results"):
        out_dir = tmp_path / f"run_{name}"
        out_dir.mkdir()
        (out_dir / name).symlink_to(tmp_path / "elsewhere" / name)
        found = read_results(out_dir)
        assert found.numbers == {} and f"{name}: a symbolic link, and links are not followed" in problems(found)


def test_a_link_to_a_folder_in_the_evaluations_is_not_followed(tmp_path):
    left(tmp_path / "elsewhere", core(), "core.json")
    left(tmp_path / "run_1", {"loss": 0.1}, FINAL_INFO)
    (tmp_path / "run_1" / "eval_results").mkdir()
    (tmp_path / "run_1" / "eval_results" / "core").symlink_to(tmp_path / "elsewhere")
    found = read_results(tmp_path / "run_1")
    assert found.numbers == {"loss": 0.1} and problems(found) == [
        "eval_results/core: a symbolic link, and links are not followed"
    ]


def test_a_named_pipe_and_a_folder_are_no_files(tmp_path):
    os.mkfifo(tmp_path / FINAL_INFO)
    (tmp_path / "folder.json").mkdir()
    assert problems(read_results(tmp_path)) == [
        "final_info.json: not a regular file",
        "folder.json: cannot be read: Is a directory",
    ]


def test_a_stale_file_is_not_believed(tmp_path):
    left(tmp_path, {"loss": 0.1})
    os.utime(tmp_path / FINAL_INFO, (1000.0, 1000.0))
    assert read_results(tmp_path, newer_than=999.0).numbers == {"loss": 0.1}
    assert read_results(tmp_path, newer_than=1001.0).numbers == {"loss": 0.1}  # clocks of file systems are coarse
    stale = read_results(tmp_path, newer_than=1010.0)
    assert stale.numbers == {} and problems(stale) == ["final_info.json: older than this run: something else wrote it"]


def test_a_file_without_permission_is_a_finding(tmp_path):
    left(tmp_path, {"loss": 0.1})
    (tmp_path / FINAL_INFO).chmod(0)

    def found():
        assert problems(read_results(tmp_path)) == ["final_info.json: cannot be read: Permission denied"]

    unprivileged(found)


def test_folders_without_end_are_not_walked(tmp_path):
    deep = "/".join(["d"] * 300)
    found = left(tmp_path, core(), f"eval_results/{deep}/core.json")
    assert found.numbers == {} and any("folders deep, not read" in text for text in problems(found))


def test_more_files_than_an_evaluation_writes_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(result_files, "MAX_FILES", 2)
    for name in "abc":
        left(tmp_path, core(), f"eval_results/{name}.json")
    found = left(tmp_path, {"loss": 0.1})
    assert {row.file for row in found.rows} == {FINAL_INFO, "eval_results/a.json"}
    assert "eval_results: 4 files; only the first 2 are read" in problems(found)


def test_more_values_than_a_record_can_hold_are_not_read(tmp_path):
    found = left(tmp_path, {f"m{i}": float("nan") if i % 2 else 0.5 for i in range(20_000)})
    assert len(found.metrics) + len(found.findings) == values.MAX_VALUES + 1
    assert "the rest is not read" in problems(found)[-1]


def test_names_and_texts_go_into_a_record_and_to_a_terminal(tmp_path):
    found = left(tmp_path, '{"\\ud800\\u001b[2Jloss": 0.5, "note": "\\ud800\\u001b[2J", "\\u0007": null, "größe": 1.5}')
    shown = [
        *found.metrics,
        *map(str, found.settings.values()),
        *problems(found),
        *(text for row in found.rows for text in row[:4]),
    ]
    assert all(text.isprintable() for text in shown)
    assert json.loads(json.dumps(shown).encode()) == shown and "größe" in shown


def test_a_folder_with_spaces_and_unicode_is_read(tmp_path):
    found = left(tmp_path / "mein Läufe 🙂", core(), "eval_results/ein Ordner/ü.json")
    assert found.metrics["core.mse"].file == "eval_results/ein Ordner/ü.json"
