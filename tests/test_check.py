"""Typed numbers are held against the records where metric, run and number are certain; elsewhere nothing is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import words
from harness.campaign.contract import Contract
from harness.campaign.protocols import Silent
from harness.campaign.record import MetricRecord, Record, VerdictRecord
from harness.campaign.stop import Stop
from harness.claims.check import Finding, check, words_on
from harness.claims.prose import LIMIT
from harness.cli.main import cli
from harness.continuation import go_on

CONTRACT = Contract.model_validate(
    {
        "metric": [
            {"name": "eval.mean_absorption_score", "label": "absorption", "better": "lower", "primary": True},
            {"name": "explained_variance", "better": "higher"},
            {"name": "dead_latents", "better": "lower"},
        ]
    }
)


def record(run: int, values: dict[str, float], keys: dict[str, str] | None = None, **facts) -> Record:
    return Record(
        run=run,
        status="completed",
        verdict=VerdictRecord(kind="inconclusive" if run else "baseline"),
        commit="c0ffee",
        parent=run - 1 if run else None,
        seed=0,
        metrics={n: MetricRecord(value=v, file="final_info.json", key=(keys or {}).get(n, n)) for n, v in values.items()},
        **facts,
    )


def sae(run: int, absorption: float, variance: float, **facts) -> Record:
    names = {"eval.mean_absorption_score": absorption, "explained_variance": variance, "dead_latents": 0.05, "ce": 0.916}
    return record(run, names, {"ce": "eval_result_metrics.mean.ce_loss_score"}, **facts)


RECORDS = [sae(0, 0.1429, 0.609), sae(1, 0.112, 0.527), sae(2, 0.0296, 0.746)]
# Names as AI-Scientist's templates have them.
FOREIGN = [
    record(
        run,
        {
            "dino.kl_divergence": 0.989 + run / 10,
            "moons.kl_divergence": 0.0896 + run / 10,
            "x_div_y.step_val_acc_99_mean": 4200 - 900 * run,
            "permutation.final_val_acc_mean": 0.0359 + 0.3 * run,
        },
    )
    for run in range(3)
]


def findings(text: str, about: int | None = 1, records: list[Record] = RECORDS) -> list[Finding]:
    return check(text, records, CONTRACT if records is not FOREIGN else Contract(), about=about)


def verdicts(text: str, about: int | None = 1, records: list[Record] = RECORDS) -> list[tuple[str, str, int]]:
    return [(finding.claim, finding.verdict, finding.run) for finding in findings(text, about, records)]


@pytest.mark.parametrize(
    "name", ["Absorption", "The mean absorption score", "`eval.mean_absorption_score`", "mean_absorption_score"]
)
def test_a_metric_is_known_by_its_name_and_its_label(name: str) -> None:
    assert verdicts(f"{name} is 0.112.") == [("0.112", "matches", 1)]
    assert verdicts(f"{name} is 0.212.") == [("0.212", "contradicts", 1)]


def test_a_metric_is_known_by_the_name_that_saebench_gives_it() -> None:
    assert verdicts("- CE loss score: 0.916") == [("0.916", "matches", 1)]
    assert verdicts("- CE loss: 0.3") == []


@pytest.mark.parametrize(
    "text",
    [
        "The KL divergence on moons was {}.",
        "The moons KL divergence was {}.",
        "- KL divergence (moons): {}",
        "- moons: KL divergence of {}",
        "moons.kl_divergence: {}",
        "KL divergence was {} on moons.",
        "Results: {{'dino': {{'kl_divergence': 1.089}}, 'moons': {{'kl_divergence': {}}}}}",
    ],
)
def test_a_data_set_is_found_before_and_behind_the_metric(text: str) -> None:
    assert ("0.19", "matches", 1) in verdicts(text.format("0.19"), records=FOREIGN)
    assert ("0.88", "contradicts", 1) in verdicts(text.format("0.88"), records=FOREIGN)


def test_without_a_data_set_nothing_is_said_of_a_metric_that_several_have() -> None:
    assert verdicts("The KL divergence was 0.19.", records=FOREIGN) == []


def test_a_contradiction_names_the_record_the_value_and_the_file() -> None:
    text = "Well. Absorption is 0.26 in run 2."
    (wrong,) = findings(text)
    assert wrong.why == "run_2: eval.mean_absorption_score is 0.0296 (run_2/final_info.json)"
    assert (wrong.claim, wrong.sentence, text[slice(*wrong.span)]) == ("0.26", "Absorption is 0.26 in run 2.", "0.26")


@pytest.mark.parametrize("text", ["0.53", "0.527", "52.7%", "53%", "0.527 ± 0.01"])
def test_rounding_and_percent_are_understood(text: str) -> None:
    assert [found.verdict for found in findings(f"Explained variance is {text}.")] == ["matches"]


@pytest.mark.parametrize("text", ["0.55", "54%", "0.547 ± 0.01"])
def test_a_number_that_is_another_contradicts(text: str) -> None:
    assert [found.verdict for found in findings(f"Explained variance is {text}.")] == ["contradicts"]


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("Run 2 reaches an absorption of 0.9.", 2),
        ("In run_2, absorption is 0.9.", 2),
        ("The baseline's absorption is 0.9.", 0),
        ("Absorption is 0.9 in run 2, lower than in the baseline.", 2),
        ("Absorption (run 2): 0.9", 2),
        ("Absorption is 0.9, against 0.143 in the baseline and 0.0296 in run 2.", 1),
        ("Absorption dropped slightly from 0.143 (baseline) to 0.9.", 1),
        ("- absorption: 0.9 (vs baseline 0.143)", 1),
        ("## Run 2: a penalty\nNotes.\n\n### Analysis\n- absorption: 0.9", 2),
        ("**Run 2**:\n\n- absorption: 0.9", 2),
        ("Run 2 Results:\n- absorption: 0.9", 2),
    ],
)
def test_the_run_is_the_one_that_the_sentence_or_its_heading_names(text: str, run: int) -> None:
    assert verdicts(text) == [("0.9", "contradicts", run)]


def test_results_of_an_earlier_run_under_its_heading_match_it() -> None:
    text = "**Run 2**: as planned\n\n**Results**:\n- absorption: 0.0296\n- explained variance: 0.746\n"
    assert verdicts(text, about=0) == [("0.0296", "matches", 2), ("0.746", "matches", 2)]


def test_words_written_before_a_run_are_about_the_run_before() -> None:
    told = sae(
        2, 0.0296, 0.746, description="- absorption: 0.112", hypothesis="Absorption: 0.05.", plan="Run 1 had absorption 0.9."
    )
    found = words_on(told, [*RECORDS[:2], told], CONTRACT)
    assert [(each.run, each.verdict) for each in found["description"]] == [(1, "matches")]
    assert found["hypothesis"] == []
    assert [(each.run, each.verdict) for each in found["plan"]] == [(1, "contradicts")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Absorption fell from 0.112 to 0.0296.", []),
        ("Absorption went down to 0.0296.", []),
        ("Absorption is 0.0296 now.", []),
        ("This run has absorption 0.0296.", []),
        ("Run 1 had 0.112; absorption is 0.0296.", []),
        ("Absorption fell from 0.143 in the baseline to 0.05.", []),
        ("Run 1 had absorption 0.9.", [(1, "contradicts")]),
    ],
)
def test_a_description_is_not_contradicted_where_a_number_may_be_of_the_run_itself(
    text: str, said: list[tuple[int, str]]
) -> None:
    told = sae(2, 0.0296, 0.746, description=text)
    found = words_on(told, [*RECORDS[:2], told], CONTRACT)["description"]
    assert [(each.run, each.verdict) for each in found] == said


@pytest.mark.parametrize(
    "text",
    [
        "1. Raise the weight to 3\n2. Try 5 layers",
        "Next I will try k = 80 and expect absorption of 0.9.",
        "If absorption is 0.9, we stop.",
        "Smith et al. report absorption of 0.9.",
        "The target of absorption is 0.9.",
        "Absorption reaches the target of 0.9.",
        "Absorption on the letter c is 0.9.",
        "Absorption is 0.9 for the letter c.",
        "Full absorption is 0.9.",
        "Absorption fell by 0.9.",
        "Absorption is 0.9 lower.",
        "Absorption is below 0.9.",
        "Absorption is about 0.9.",
        "Absorption is +0.9, explained variance -0.9.",
        "Absorption: 0.9, 0.8 and 0.7 at the three seeds.",
        "Absorption of 0.9 to 0.95.",
        "Absorption is 0.9x that of the baseline.",
        "Absorption: 0.96 → 0.9",
        "Explained variance is 0.52.",
        "Runs 1 and 2 have absorption 0.9.",
        "In the previous run absorption was 0.9.",
        "The k=320 baseline has absorption 0.9.",
        "With run 1 and run 2, absorption is 0.9.",
        "Absorption is 0.143.",
        "reached 99% explained variance after 1443 steps",
        "Run 1 improved on the baseline, twice as good.",
        "```\nabsorption = 0.9\n```",
        "| absorption | 0.9 |",
        "## Run 2\n\n# Plots\n\nabsorption: 0.9",
        "Dead latents: 40",
    ],
)
def test_where_it_is_not_certain_nothing_is_said(text: str) -> None:
    assert findings(text) == []


def test_what_a_loop_that_was_observed_says_of_a_run_is_about_that_run() -> None:
    records = [RECORDS[0], RECORDS[1].model_copy(update={"given": True, "description": "Absorption is 0.112."})]
    found = words_on(records[1], records, CONTRACT)["description"]
    assert [(each.run, each.verdict) for each in found] == [(1, "matches")]


def test_the_value_of_a_seed_is_no_contradiction() -> None:
    metrics = RECORDS[1].metrics | {"explained_variance": MetricRecord(value=0.5, values=[0.45, 0.55])}
    records = [RECORDS[0], RECORDS[1].model_copy(update={"metrics": metrics})]
    assert verdicts("Explained variance is 0.45.", records=records) == []


@pytest.mark.parametrize(
    "piece", ["run 1 and run 2, 3 ", "(0.1 ", "k=3 absorption of ", "a_", "will, if ", "1-1-", "a.   \n ", "{'"]
)
def test_hostile_text_of_any_size_is_read_to_a_limit(piece: str) -> None:
    assert findings(piece * (10_000_000 // len(piece)) + ". Absorption is 0.9.") == []
    assert LIMIT < 100_000


def test_a_text_that_a_user_edited_is_read_in_place_of_the_agents_words(make_campaign, tmp_path) -> None:
    campaign = make_campaign({}, max_runs=1)
    go_on(campaign, view=Silent(), stop=Stop())
    paper = tmp_path / "paper.md"

    def ask(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["check", str(campaign.root), *words])
        return done.exit_code, done.output

    paper.write_text(
        "# Results\n\nThe loss of the baseline is 7.5.\n\nIt took 1234 tries, and the loss is {{baseline: loss}}.\n"
    )
    code, said = ask("--file", str(paper))
    assert code == 4
    assert "contradicted: The loss of the baseline is 7.5." in said
    assert "unverified, line 5: 1234\n" in said
    assert ask() == (0, "Nothing to compare: no number certainly belongs to one metric and one run.\n")
    paper.write_text("{{run 7: loss}} and {{baseline: lss}}\n")
    code, said = ask("--file", str(paper))
    assert code == 2 and "there is no run 7" in said and "no metric lss; it has loss" in said


def test_the_benchmark_of_the_check_counts_what_a_reader_judged_and_says_where_that_is_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "## Run 1: Dropout\nResults: {'dino': {'kl': 1.5}, 'line': {'kl': 0.25}}\nThe dino KL was 2.5.\n"
    for run, value in enumerate((2.0, 1.5)):
        folder = tmp_path / "a" / f"run_{run}"
        folder.mkdir(parents=True)
        results = {"dino": {"means": {"kl": value}}, "line": {"means": {"kl": 0.25}}}
        (folder / "final_info.json").write_text(json.dumps(results))
    (tmp_path / "a" / "notes.txt").write_text(text)
    (tmp_path / "judgements.json").write_text(
        json.dumps({"a": {str(text.index("1.5")): True, str(text.index("2.5")): True}})
    )
    monkeypatch.setattr("sys.argv", ["words.py", str(tmp_path), "--open"])
    assert words.main() == 0
    said = capsys.readouterr().out
    assert f"a {text.index('0.25')}: 0.25 matches: run_1: line.kl is 0.25" in said
    assert "2 judged numbers (1 match, 1 contradict), 2 rightly judged\ntoo few to tell: 150 are needed" in said


def test_what_reads_typed_words_has_five_hundred_lines_at_most() -> None:
    """A grammar of free prose has no end: where it would take more, nothing is said."""
    room = Path(words.__file__).parents[1] / "harness" / "claims"
    assert sum(len(path.read_text().splitlines()) for path in room.glob("*.py")) <= 500
