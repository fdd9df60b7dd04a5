"""Words are held against the records: what contradicts them is found, and what is not certain is left alone."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from bench.words import WORDS, campaigns, measure
from harness.campaign.contract import Contract
from harness.campaign.protocols import Silent
from harness.campaign.record import AttemptRecord, MetricRecord, Record, SettingRecord, VerdictRecord
from harness.campaign.stop import Stop
from harness.claims.check import Finding, check, checked, marked, render, words_on
from harness.claims.prose import LIMIT
from harness.cli.main import cli
from harness.loop import go_on

CONTRACT = Contract.model_validate(
    {
        "metric": [
            {
                "name": "eval.mean_absorption_score",
                "label": "absorption",
                "better": "lower",
                "primary": True,
                "target": 0.01,
            },
            {"name": "explained_variance", "better": "higher"},
            {"name": "dead_latents", "better": "lower"},
        ]
    }
)


def record(run: int, absorption: float, variance: float, k: int = 40, verdict: str = "inconclusive", **facts) -> Record:
    values = {
        "eval.mean_absorption_score": absorption,
        "explained_variance": variance,
        "dead_latents": 0.05,
        "cossim": 0.875,
    }
    return Record(
        run=run,
        status="completed",
        verdict=VerdictRecord(kind="baseline" if run == 0 else verdict, why="one seed each"),
        commit="c0ffee",
        parent=run - 1 if run else None,
        seed=0,
        settings={
            "k": SettingRecord(value=k, baseline=40, source="reported"),
            "dict_size": SettingRecord(value=16384, baseline=16384, source="reported"),
        },
        metrics={name: MetricRecord(value=value, file="final_info.json") for name, value in values.items()},
        **facts,
    )


def failed(run: int) -> Record:
    attempts = [AttemptRecord(number=1, status="crashed")]
    verdict = VerdictRecord(kind="failed")
    return Record(run=run, status="failed", verdict=verdict, commit="c0ffee", parent=0, attempts=attempts)


RECORDS = [record(0, 0.1429, 0.609), record(1, 0.112, 0.527), record(2, 0.0296, 0.746, k=320), failed(3)]


def findings(text: str, about: int | None = 1, records: list[Record] = RECORDS) -> list[Finding]:
    return check(text, records, CONTRACT, about=about)


def verdicts(text: str, about: int | None = 1, records: list[Record] = RECORDS) -> set[str]:
    return {finding.verdict for finding in findings(text, about, records)}


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Absorption", "The mean absorption score", "`eval.mean_absorption_score`", "mean_absorption_score"]
)
def test_a_metric_is_known_by_its_name_its_last_part_and_its_label(name):
    assert verdicts(f"{name} is 0.112.") == {"matches"}
    assert verdicts(f"{name} is 0.212.") == {"contradicts"}


@pytest.mark.parametrize("name", ["variance explained", "EV", "Explained variance", "explained_variance"])
def test_a_name_is_known_turned_around_and_by_its_initials(name):
    assert verdicts(f"We get {name} of 0.527.") == {"matches"}
    assert verdicts(f"We get {name} of 0.627.") == {"contradicts"}


def test_a_name_that_is_run_together_is_known_in_full():
    assert verdicts("Cosine similarity is 0.875.") == {"matches"}
    assert verdicts("The dictionary size is 32768.") == {"contradicts"}


def test_a_contradiction_names_the_record_the_value_and_the_file():
    (wrong,) = findings("Absorption is 0.26 in run 2.")
    assert wrong.why == "run_2: eval.mean_absorption_score is 0.0296 (run_2/final_info.json)"
    assert (wrong.claim, wrong.sentence) == ("0.26", "Absorption is 0.26 in run 2.")


@pytest.mark.parametrize("text", ["0.53", "0.527", "52.7%", "53%", "about 0.55", "below 0.6", "more than 0.5"])
def test_rounding_units_and_bounds_are_understood(text):
    assert verdicts(f"Explained variance is {text}.") == {"matches"}


@pytest.mark.parametrize("text", ["0.52", "0.528", "54%", "about 0.75", "below 0.5", "more than 0.6"])
def test_a_number_that_is_rounded_wrongly_contradicts(text):
    assert verdicts(f"Explained variance is {text}.") == {"contradicts"}


def test_points_are_no_percent():
    assert verdicts("Explained variance fell by 8.2 points.") == {"matches"}
    assert verdicts("Explained variance fell by 13%.") == {"matches"}
    assert "contradicts" in verdicts("Explained variance fell by 8.2%.")
    assert "contradicts" in verdicts("Explained variance fell by 13 percentage points.")


def test_the_run_that_a_number_belongs_to_is_found():
    right = "Absorption is 0.112, against 0.143 in the baseline and 0.0296 in run 2."
    assert verdicts(right) == {"matches"}
    assert "contradicts" in verdicts(right.replace("run 2", "run 1"))
    assert "contradicts" in verdicts("Absorption is 0.143 in this run.")
    assert verdicts("Absorption is 0.0296.", about=2) == {"matches"}


def test_a_setting_that_the_run_did_not_use_contradicts():
    assert verdicts("Run 2 used k = 320.") == {"matches"}
    assert verdicts("Run 2 used k = 64.") == {"contradicts"}


def test_a_value_of_a_failed_run_contradicts():
    assert verdicts("Run 3 reaches an absorption of 0.01.") == {"contradicts"}
    assert verdicts("Run 3 failed.") == {"matches"}
    assert verdicts("Run 1 failed.") == {"contradicts"}


def test_seeds_are_counted():
    several = [record(0, 0.14, 0.6, seeds=[0, 1, 2]), record(1, 0.11, 0.5, seeds=[0])]
    assert verdicts("Explained variance is 0.5 with 3 seeds of the baseline.", records=several) == {"matches"}
    assert "contradicts" in verdicts("The numbers are means over 5 seeds.", records=several)
    assert "contradicts" not in verdicts(
        "Absorption is 0.14 in the baseline (3 seeds) and 0.11 in run 1 (1 seed).", 1, several
    )


def test_the_value_of_one_seed_matches_where_seeds_are_spoken_of():
    base = record(1, 0.11, 0.5)
    metrics = base.metrics | {"explained_variance": MetricRecord(value=0.5, values=[0.45, 0.55])}
    records = [RECORDS[0], base.model_copy(update={"metrics": metrics})]
    assert verdicts("Explained variance is 0.45 at one seed.", records=records) == {"matches"}
    assert verdicts("Explained variance was 0.45 and 0.55.", records=records) == {"matches"}
    assert verdicts("Explained variance is 0.48 at one seed.", records=records) == {"contradicts"}
    assert verdicts("Explained variance is 0.45.", records=records) == {"contradicts"}


def test_the_target_is_that_of_the_contract():
    assert verdicts("The target of absorption is 0.01.") == {"matches"}
    assert verdicts("The target of absorption is 0.05.") == {"contradicts"}


# --- directions and verdicts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Absorption fell compared with the baseline.", "matches"),
        ("Absorption rose compared with the baseline.", "contradicts"),
        ("Explained variance is lower than in run 2.", "matches"),
        ("Explained variance is higher than in run 2.", "contradicts"),
        ("Run 2 has the lowest absorption so far.", "matches"),
        ("Run 1 has the lowest absorption of all runs.", "contradicts"),
        ("Dead latents did not change.", "matches"),
        ("Explained variance did not change.", "contradicts"),
        ("Explained variance did not fall.", "contradicts"),
    ],
)
def test_directions_are_those_of_the_values(text, verdict):
    assert verdicts(text, about=2 if "Run" in text else 1) == {verdict}


def test_an_improvement_is_what_the_verdict_says_it_is():
    text = "Run 1 improved on the baseline."
    for kind in ("improved", "trade_off"):
        assert verdicts(text, records=[RECORDS[0], record(1, 0.11, 0.5, verdict=kind)]) == {"matches"}
    for kind in ("inconclusive", "not_significant", "worse", "not_comparable", "invalid", "no_effect"):
        records = [RECORDS[0], record(1, 0.11, 0.5, verdict=kind)]
        (wrong,) = findings(text, records=records)
        assert wrong.verdict == "contradicts" and wrong.why.startswith(f"run_1: the verdict is {kind.replace('_', ' ')}")
        assert verdicts("Run 1 did not improve on the baseline.", records=records) == {"matches"}


def test_a_sentence_that_says_itself_that_nothing_is_proven_may_speak_of_improvement():
    assert verdicts("Absorption improved against the baseline, but with one seed each.") == {"matches"}


# --- what is no claim -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1. Raise the weight to 3\n2. Try 5 layers",
        "Next I will try k = 80 and expect absorption below 0.05.",
        "If absorption falls to 0.01, we stop.",
        "A penalty of weight 0.1 with τ = 0.5 is added in line 18.",
        "Smith et al. (2024) report 0.05.",
        "Lower absorption is better.",
        "The penalty lowers absorption by making children fire less.",
        "The SAE of gemma-2-2b uses layer12 and python 3.11.2.",
        "Absorption on the letter c is 0.39.",
        "```\nabsorption = 0.9\n```",
        "| absorption | 0.9 |",
        "Runs 1 and 2 were quick.",
    ],
)
def test_what_is_no_claim_contradicts_nothing(text):
    assert "contradicts" not in verdicts(text)


def test_a_number_that_is_nowhere_has_no_source():
    (unknown,) = findings("A weight of 0.37 was used.")
    assert unknown.verdict == "no_source"


def test_without_a_run_in_hand_nothing_is_guessed():
    assert verdicts("Absorption is 0.5.", about=None) == {"no_source"}
    assert verdicts("Absorption is 0.5 in run 1.", about=None) == {"contradicts"}


# --- what was written before the run ----------------------------------------------------------------------------------


def forecast(text: str, run: int = 2) -> set[str]:
    """What is said of the hypothesis of a run that does not exist yet."""
    return {finding.verdict for finding in check(text, RECORDS[:run], CONTRACT, about=run, forecast=True)}


@pytest.mark.parametrize(
    "text",
    [
        "Absorption falls to 0.05.",
        "Absorption should fall to 0.1, and explained variance stays above 0.7.",
        "Absorption falls from the baseline to 0.1.",
        "We reach an absorption of 0.1 with run 1's schedule.",
        "With the k of run 1 absorption drops to 0.09 and dead latents to 0.01.",
        "This run has an absorption of 0.02.",
        "Run 2 has an absorption of 0.02, lower than run 1.",
        "Absorption improves on run 1 and falls below 0.05.",
        "Absorption is 0.06 on the code of run 1.",
        "Absorption is 0.06 in run 1's setting at k = 80.",
    ],
)
def test_a_forecast_is_no_claim(text):
    assert forecast(text) <= {"no_source"}


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Absorption falls below the 0.112 of run 1.", "0.112", "0.121"),
        ("Absorption falls to 0.05 (run 1: 0.112).", "0.112", "0.12"),
        ("The baseline's absorption is 0.143, and it should fall to 0.05.", "0.143", "0.153"),
        ("Run 1 has an explained variance of 0.527; more sparsity costs less, so it rises to 0.6.", "0.527", "0.572"),
        ("Explained variance was 0.609 in the baseline and rises again.", "0.609", "0.906"),
    ],
)
def test_what_a_hypothesis_says_of_an_earlier_run_is_one(text, right, wrong):
    assert forecast(text) == {"matches"}
    assert "contradicts" in forecast(text.replace(right, wrong))


def test_plan_and_hypothesis_are_older_than_their_run():
    told = record(1, 0.112, 0.527, plan="1. Run 1 has an absorption of 0.2.", hypothesis="The baseline's absorption is 0.2.")
    found = words_on(told, [RECORDS[0], told], CONTRACT)
    assert [finding.verdict for finding in found["plan"]] == ["no_source"]
    assert [finding.verdict for finding in found["hypothesis"]] == ["contradicts"]
    assert "[contradicts run_0: " in checked([RECORDS[0], told], CONTRACT)[1].hypothesis


# --- what is done with it ---------------------------------------------------------------------------------------------


def test_the_mark_stands_behind_the_sentence():
    text = "Intro. Absorption is 0.26. Explained variance is 0.527.\n\n- Absorption is 0.3\nand more"
    shown = marked(text, findings(text))
    assert shown.startswith("Intro. Absorption is 0.26. [contradicts run_1: eval.mean_absorption_score is 0.112 (")
    assert "527.\n" in shown and "and more [contradicts run_1:" in shown
    assert marked("Explained variance is 0.527.", findings("Explained variance is 0.527.")) == "Explained variance is 0.527."


def test_the_list_for_a_person_has_contradictions_and_numbers_without_a_source():
    shown = render(findings("Absorption is 0.26. Explained variance is 0.527. The weight is 0.37."))
    assert shown.split("\n") == [
        "  contradicted: Absorption is 0.26.",
        "    - 0.26: run_1: eval.mean_absorption_score is 0.112 (run_1/final_info.json)",
        "  no source: 0.37: it is not said of which metric or setting",
        "  1 of 3 claims match, 1 contradicted, 1 without a source",
    ]


@pytest.mark.parametrize(
    "piece",
    [
        "run 1 and run 2, 3 ",
        "(0.1 ",
        "up from 1 to 2 than run 1 ",
        "1,",
        "-",
        "k=3 absorption of ",
        "a_",
        "will next, if ",
        "1-1-",
        "a.   \n ",
    ],
)
def test_hostile_text_of_any_size_is_read_to_a_limit_that_is_said(piece):
    text = piece * (10_000_000 // len(piece))
    last = findings(text)[-1]
    assert (last.verdict, last.span) == ("no_source", (LIMIT, len(text))) and "not looked at" in last.why


def test_a_reason_is_one_line_of_bounded_length():
    why = "bad\nline\x1b[31m" + "x" * 10_000
    base = record(1, 0.11, 0.5)
    records = [RECORDS[0], base.model_copy(update={"verdict": VerdictRecord(kind="invalid", why=why)})]
    (wrong,) = findings("Run 1 improved on the baseline.", records=records)
    assert "\n" not in wrong.why and "\x1b" not in wrong.why and len(wrong.why) < 500


def test_a_text_that_a_person_edited_is_read_in_place_of_the_agents_words(make_campaign, tmp_path):
    campaign = make_campaign({}, max_runs=1)
    go_on(campaign, view=Silent(), stop=Stop())
    (tmp_path / "paper.md").write_text("# Results\n\nThe rate of the baseline is 0.05.\n\nThe baseline used 30 steps.\n")

    def ask(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["check", str(campaign.root), *words])
        return done.exit_code, done.output

    code, said = ask("--file", str(tmp_path / "paper.md"))
    assert code == 4
    assert "contradicted: The baseline used 30 steps." in said
    assert "1 of 2 claims match, 1 contradicted" in said
    assert ask() == (0, "0 contradictions with the records.\n")
    code, said = ask("--file", str(tmp_path / "no.md"))
    assert code == 2
    assert "no.md: cannot be read: No such file or directory." in said


def test_contradictions_go_back_to_the_agent_once(make_campaign):
    """In the first brief of the run that follows, and not again where a person's edit begins that run anew."""
    wrong = "The final loss of this run is 77.125."
    faster = ["experiment.py", '"rate": 0.05', '"rate": 0.1']
    campaign = make_campaign(
        {
            "run 1, attempt 1": {"text": f"HYPOTHESIS: a loss below 1.\nNOTES: {wrong}", "edits": [faster]},
            "run 2, attempt 1": {"text": "ALL_COMPLETED"},
            "run 2, attempt 2": {"text": "INTERPRETATION: it fell.", "edits": [["experiment.py", "2 * x", "3 * x"]]},
            "run 3, attempt 1": {"text": "ALL_COMPLETED"},
        },
        max_runs=3,
    )
    go_on(campaign, view=Silent(), stop=Stop())
    campaign.inbox.mkdir()
    (campaign.inbox / "1.txt").write_text("Try a steeper gradient.")
    code = campaign.root / "experiment.py"
    code.write_text(code.read_text().replace("x = 5.0", "x = 4.0"))
    go_on(campaign, view=Silent(), stop=Stop())
    told = "Your words on run 1 contradict the record: 77.125: run_1: loss is"
    briefs = [campaign.attempt_folder(run, n) / "brief.md" for run, n in ((1, 1), (2, 1), (2, 2), (3, 1))]
    assert ["# Where the campaign stands" in brief.read_text() for brief in briefs] == [True] * 4
    assert [told in brief.read_text() for brief in briefs] == [False, True, False, False]


# --- as measured ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", ["tune", "held_out"])
def test_sentences_about_real_records_are_judged_as_well_as_the_benchmark_says(half, tmp_path):
    words = json.loads(WORDS.read_text(encoding="utf-8"))
    sentences = [sentence for sentence in words["sentences"] if sentence["split"] == half]
    assert len(sentences) >= 60
    figures, _ = measure(campaigns(tmp_path, words), sentences)
    assert figures.precision > 0.95 and figures.recall > 0.95


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("not_significant", ["not significant", "within noise", "within the noise"]),
        ("trade_off", ["trade-off", "trade off", "traded off", "a trade-off"]),
        ("inconclusive", ["inconclusive", "undecided"]),
        ("invalid", ["invalid", "unhealthy"]),
        ("improved", ["improved"]),
        ("worse", ["worse"]),
    ],
)
def test_a_verdict_is_known_by_the_words_of_records_and_of_earlier_versions(kind, said):
    records = [record(0, 0.143, 0.823), record(1, 0.112, 0.741, verdict=kind)]
    other = [record(0, 0.143, 0.823), record(1, 0.112, 0.741, verdict="no_effect")]
    for words in said:
        assert verdicts(f"The verdict on run 1 is {words}.", records=records) == {"matches"}, words
        assert verdicts(f"The verdict on run 1 is {words}.", records=other) == {"contradicts"}, words
