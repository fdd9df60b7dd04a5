"""The contract that is shipped, on results as a language model's profile leaves them: real ones of Gemma-2-2B, broken ones
among them, in the files that the experiment and its scorer write."""

import json
import tomllib
from pathlib import Path

import pytest

import saelab
from harness.agents.search import check_search
from harness.campaign.campaign import Options
from harness.campaign.contract import Contract
from harness.campaign.contract_file import load_contract
from harness.campaign.record import Record, VerdictRecord
from harness.results.reading import FINAL_INFO, Results
from harness.results.run_results import read_run
from harness.results.sanity import broken_rules, check_sanity
from harness.statistics.comparability import compare_metrics, compare_settings
from harness.statistics.judge import Judge
from harness.statistics.references import MeasuredRun

from .recorded import ALL_ZERO, K40, K320, RELU, RUN_1, RUN_2, ZERO_STEPS, source

ROOT = Path(__file__).parents[1]
CONTRACT = load_contract(ROOT)
PROFILE = "gemma-2-2b"
PLANNED = 2441
LANGUAGE_MODELS = [name for name, spec in CONTRACT.profiles.items() if "model" in spec.settings]


LAYER_19 = {"layer": 19, "dict_size": 2304}


def numbers_of(name: str) -> dict:
    """The blocks of a recorded file by name: of the training, and of each evaluation."""
    content = json.loads(source(name).read_text())
    if "training_steps" in content:
        return {"training": {"final_info": content}}
    return {"core": content} if "eval_type_id" in content else content


def run(folder: Path, blocks: dict, planned: int = PLANNED, **settings) -> Results:
    """What a run leaves whose training and evaluations gave the numbers of these recorded blocks."""
    trained = next((block for key, block in blocks.items() if key.startswith("training")), {})
    config, summary = trained.get("config", {}), trained.get("final_info", {})
    profile = CONTRACT.profiles[PROFILE].settings
    used = {
        **{name: profile[name] for name in ("d_in", "dict_size", "batch_size", "data_seed", *MODEL_AND_TEXT)},
        "architecture": "topk" if "k" in config else "standard",
        "k": config.get("k"),
        "steps": summary.get("training_steps", planned),
        "planned_steps": planned,
        **settings,
    }
    used["train_tokens"] = used["steps"] * used["batch_size"]
    (folder / "eval_results").mkdir(parents=True)
    metrics = {"final_loss": summary.get("final_loss", 1.0), "train_seconds": 1.0, "step_ms": 1.0}
    (folder / FINAL_INFO).write_text(json.dumps({"settings": used, "metrics": metrics}))
    for key, block in blocks.items():
        if block is not trained:
            (folder / "eval_results" / f"{key.split()[0]}.json").write_text(json.dumps(block))
    return read_run(folder, CONTRACT)


MODEL_AND_TEXT = ("model", "layer", "dataset", "context", "harvest_tokens", "eval_dataset", "eval_tokens", "loss_tokens")


def judged(found: Results, baseline: Results) -> VerdictRecord:
    record = Record(
        run=0,
        status="completed",
        verdict=VerdictRecord(kind="baseline"),
        commit="c0ffee",
        settings=compare_settings(baseline, None),
        metrics=compare_metrics([baseline], None),
    )
    case = MeasuredRun(run=1, parent=record, by_seed={42: found})
    return Judge(CONTRACT, PROFILE, 5, [record]).judge(case)


# --- the recorded results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [K40, K320])
def test_good_recorded_results_are_evidence(tmp_path, name):
    assert check_sanity(CONTRACT, PROFILE, run(tmp_path / "1", numbers_of(name))) == []


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([ZERO_STEPS], "steps is 0, not above 0"),
        ([ZERO_STEPS], "final_loss: null, not a number: training diverged"),
        ([ALL_ZERO], "l0 is 0, not above 0: no latent fires at all"),
        ([ALL_ZERO], "cosine is -1, not above 0"),
        ([ZERO_STEPS, ALL_ZERO], "steps is 0, not above 0"),
        ([RELU], "l0 is 8896, more than 0.25 x dict_size (4096): dense codes are no sparse code"),
    ],
)
def test_broken_recorded_results_are_invalid(tmp_path, names, says):
    blocks = {key: block for name in names for key, block in numbers_of(name).items()}
    place = {} if RELU in names else LAYER_19
    verdict = judged(run(tmp_path / "1", blocks, **place), run(tmp_path / "0", numbers_of(K40)))
    assert verdict.kind == "invalid"
    assert says in verdict.why


def test_the_recorded_run_that_changed_nothing_is_no_effect(tmp_path):
    """It was scored by core alone, which is no evidence by itself; with the scores that the same SAE has it is no effect."""
    baseline = run(tmp_path / "0", numbers_of(K40))
    as_left = judged(run(tmp_path / "1", numbers_of(RUN_2)), baseline)
    assert as_left.kind == "invalid"
    assert as_left.why.startswith("absorption is missing: no result file has it; there are core.")
    in_full = judged(run(tmp_path / "2", numbers_of(K40) | numbers_of(RUN_2)), baseline)
    assert (in_full.kind, in_full.why) == (
        "no_effect",
        "metrics identical to run 0: the change was not executed, or no metric depends on it",
    )


@pytest.mark.parametrize(
    ("name", "planned", "other", "says"),
    [(RUN_2, PLANNED, K320, "k 40 against 320 (run 0)"), (RUN_1, 488, K40, "steps 488 against 2441")],
    ids=["run 2 against k=320", "run 1 against more steps"],
)
def test_a_recorded_run_at_another_scale_is_not_comparable(tmp_path, name, planned, other, says):
    blocks = numbers_of(K40) | numbers_of(name)
    verdict = judged(run(tmp_path / "1", blocks, planned), run(tmp_path / "0", numbers_of(other)))
    assert verdict.kind == "not_comparable"
    assert says in verdict.why


# --- what decides scale where there is a language model ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("model", "google/gemma-2-9b"),
        ("layer", 13),
        ("dataset", "docstrings"),
        ("context", 1024),
        ("harvest_tokens", 1),
        ("eval_dataset", "docstrings"),
        ("eval_tokens", 2000),
        ("loss_tokens", 2000),
    ],
)
def test_another_model_layer_or_text_is_another_scale(tmp_path, name, other):
    worse = json.loads(json.dumps(numbers_of(K40)).replace("0.142915", "0.152915"))
    verdict = judged(run(tmp_path / "1", numbers_of(K40), **{name: other}), run(tmp_path / "0", worse))
    assert verdict.kind == "not_comparable"
    assert f"{name} {other} against" in verdict.why


@pytest.mark.parametrize("profile", LANGUAGE_MODELS)
def test_a_profile_on_a_language_model_reports_all_that_decides_scale(profile):
    settings = saelab.load_settings(ROOT, {"HARNESS_PROFILE": profile})
    ours = {name for name in CONTRACT.comparable_of(profile) if name not in CONTRACT.comparable_of("synthetic")}
    assert ours == set(MODEL_AND_TEXT)
    own = CONTRACT.profiles[profile].settings
    assert settings.data.scale | settings.evals.scale == {name: own[name] for name in (*MODEL_AND_TEXT, "data_seed")}


def test_known_features_have_no_model_and_no_text_to_compare():
    settings = saelab.load_settings(ROOT, {"HARNESS_PROFILE": "synthetic"})
    assert settings.data.scale == {"world": "public", "data_seed": 20}
    assert set(MODEL_AND_TEXT).isdisjoint(CONTRACT.comparable_of("synthetic"))


# --- guards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", LANGUAGE_MODELS)
def test_a_language_model_is_guarded_by_what_its_loss_recovers_too(profile):
    guards = {metric.name for metric in CONTRACT.metrics_of(profile) if metric.guard is not None}
    assert guards == {"explained_variance", "ce_recovered"}
    assert {metric.name for metric in CONTRACT.metrics_of("synthetic") if metric.guard is not None} == {"explained_variance"}


def test_saebenchs_two_absorption_scores_are_two_metrics(tmp_path):
    mean = {"mean_absorption_fraction_score": 0.31, "mean_full_absorption_score": 0.12}
    blocks = numbers_of(K40) | {
        "absorption": {"eval_type_id": "absorption_first_letter", "eval_result_metrics": {"mean": mean}}
    }
    numbers = run(tmp_path / "1", blocks).numbers
    assert (numbers["absorption"], numbers["absorption_fraction"]) == (0.12, 0.31)


GUARDS = "uniqueness = 0.05, mcc = 0.05"


def by_f1(guards: str) -> Contract:
    """The shipped contract, with F1 deciding under `synthetic`."""
    toml = (ROOT / "experiment.toml").read_text()
    head = "[profiles.synthetic]\n"
    added = f'{head}primary = "f1"\nguards = {{ {guards} }}\n'
    found = Contract.model_validate(tomllib.loads(toml.replace(head, added)))
    return found.of_profile("synthetic")


def features(folder: Path, seed: int, shift: float = 0, **changed: float) -> Results:
    """What a seed leaves where features are known: F1 scatters by 0.01."""
    scores = {"absorption": 0.2, "explained_variance": 0.9, "l0": 5, "cosine": 0.9, "mse": 0.01, "dead_latents": 0.05}
    scores |= {"f1": 0.5 + 0.01 * (seed % 3) + shift, "mcc": 0.7, "uniqueness": 0.7, "hierarchy_quality": 0.3} | changed
    profile = CONTRACT.profiles["synthetic"].settings
    used = {name: profile[name] for name in ("architecture", "k", "dict_size", "d_in", "steps", "batch_size", "data_seed")}
    used |= {"planned_steps": used["steps"], "train_tokens": used["steps"] * used["batch_size"], "world": "public"}
    (folder / "eval_results").mkdir(parents=True)
    metrics = {"final_loss": 0.5 + seed / 1000, "train_seconds": 1.0, "step_ms": 1.0}
    (folder / FINAL_INFO).write_text(json.dumps({"settings": used, "metrics": metrics}))
    block = {"eval_type_id": "synthetic", "eval_result_metrics": {"scores": scores}}
    (folder / "eval_results" / "synthetic.json").write_text(json.dumps(block))
    return read_run(folder, CONTRACT)


@pytest.mark.parametrize(
    ("guards", "change", "kind"),
    [
        (GUARDS, {}, "improved"),
        (GUARDS, {"uniqueness": 0.4}, "trade_off"),
        (GUARDS, {"mcc": 0.6}, "trade_off"),
        ("", {"uniqueness": 0.4, "mcc": 0.6}, "improved"),
    ],
)
def test_an_f1_that_is_bought_by_duplicates_of_features_is_a_trade_off(tmp_path, guards, change, kind):
    contract = by_f1(guards)
    assert [metric.name for metric in contract.metric if metric.primary] == ["f1"]
    seeds = range(10)
    baseline = [features(tmp_path / f"0/{seed}", seed) for seed in seeds]
    record = Record(
        run=0,
        status="completed",
        verdict=VerdictRecord(kind="baseline"),
        commit="c0ffee",
        seeds=list(seeds),
        settings=compare_settings(baseline[0], None),
        metrics=compare_metrics(baseline, None),
    )
    found = {seed: features(tmp_path / f"1/{seed}", seed, 0.2 + seed / 1000, **change) for seed in seeds}
    verdict = Judge(contract, "synthetic", 5, [record]).judge(MeasuredRun(1, record, {0: found[0]}, final=found))
    assert verdict.kind == kind, verdict.why


@pytest.mark.parametrize("source", ["synthetic", "synthsae", "core", "absorption"])
@pytest.mark.parametrize(
    ("architecture", "bought", "share", "wrong"),
    [
        ("topk", 0.0099, 0.049, []),
        ("topk", 0.081, 0, ["bought_by_negligible_codes"]),
        ("matryoshka", 0, 0.051, ["negligible_share"]),
        ("standard", 0.0099, 0.119, []),  # a ReLU has no least code
        ("standard", 0, 0.121, ["negligible_share"]),
        ("of its own", 0.011, 0.3, ["bought_by_negligible_codes", "negligible_share"]),
    ],
)
def test_a_score_or_an_l0_that_is_bought_by_codes_that_do_nothing_is_invalid(source, architecture, bought, share, wrong):
    """1e-6 where a child fires and its parent's own latent is silent."""
    scores = {f"{source}.bought_by_negligible_codes": bought, f"{source}.negligible_share": share}
    about = {"core": wrong[-1:] if "negligible_share" in wrong else [], "absorption": wrong[:1] if bought > 0.01 else []}
    rules = [rule for rule in CONTRACT.sanity if "negligible" in rule.value]
    found = broken_rules(CONTRACT.model_copy(update={"sanity": rules}), scores, {"architecture": architecture})
    assert {problem.partition(" is ")[0] for problem in found} == {f"{source}.{name}" for name in about.get(source, wrong)}
    assert all("codes too small to do anything" in problem for problem in found)


def test_what_a_scoring_may_take_fits_its_profile():
    limits = {name: CONTRACT.limits_of(name) for name in CONTRACT.profiles}
    assert (limits["synthetic"].scoring_time, limits["synthetic"].scoring_memory) == (60, 2 * 10**9)
    for name in LANGUAGE_MODELS:  # the language model is loaded besides what training had
        assert limits[name].scoring_time > limits[name].time
        assert limits[name].scoring_memory == limits[name].memory >= 8 * 10**9


@pytest.mark.parametrize("profile", CONTRACT.profiles)
def test_no_execution_is_given_rows_that_its_plan_does_not_read(profile):
    """What is beyond the plan can only be another pass over the same rows, and shows in compute; or rows are handed out one
    by one, and counted."""
    settings = CONTRACT.profiles[profile].settings
    given = settings.get("harvest_tokens") or settings["train_rows"]
    read = settings["steps"] * settings["batch_size"]
    assert given < read + settings["batch_size"] or CONTRACT.profiles[profile].feed


def test_the_shipped_profiles_decide_by_absorption_and_synthsae_by_f1():
    found = {name: CONTRACT.of_profile(name).primary.name for name in CONTRACT.profiles}
    assert found == {name: "f1" if name.startswith("synthsae") else "absorption" for name in CONTRACT.profiles}


def test_recovered_loss_is_read_from_core(tmp_path):
    assert run(tmp_path / "1", numbers_of(K40)).numbers["ce_recovered"] == pytest.approx(0.9589, abs=1e-4)


def test_a_setting_that_the_scorer_used_is_not_called_the_experiments(tmp_path):
    (tmp_path / FINAL_INFO).write_text(json.dumps({"settings": {"k": 40, "lr": 1e-4}, "metrics": {}}))
    scores = tmp_path / "eval_results"
    scores.mkdir()
    core = {"eval_type_id": "core", "eval_config": {"context_size": 128}, "eval_result_metrics": {"sparsity": {"l0": 40.0}}}
    (scores / "core.json").write_text(json.dumps(core))
    (scores / "facts.json").write_text(json.dumps({"verified": {"k": 40}}))
    settings = compare_settings(read_run(tmp_path, CONTRACT), None)
    found = {name: settings[name].source for name in ("k", "lr", "core.context_size")}
    assert found == {"k": "artifact", "lr": "reported", "core.context_size": "scorer"}
    assert list(settings)[:2] == ["k", "lr"], "the experiment's own come first"


@pytest.mark.parametrize("profile", [*CONTRACT.profiles])
def test_every_profile_has_a_space_that_a_search_can_begin_in(profile):
    searched = check_search(ROOT, Options(profile=profile), "search:tpe")
    assert "TrainerConfig.decay_share (0.0 to 0.8; now 0.2), " in searched
