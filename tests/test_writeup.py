"""The write-up: what is in it, from which records, and that every format shows every character as what it is."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typst
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt
from pypdf import PdfReader

from harness.agents.aider_environment import aider_python
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.contract import SanityRule
from harness.campaign.errors import CannotGoOn, InputError
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal, locked
from harness.campaign.layout import Layout
from harness.campaign.protocols import Failure, Reply, Silent
from harness.campaign.record import ComparisonRecord, Record, VerdictKind
from harness.campaign.stop import Stop
from harness.campaign.text import line
from harness.campaign.usage import Usage
from harness.claims.check import check, contradictions
from harness.cli.main import cli
from harness.continuation import go_on
from harness.report.campaign_data import CampaignData, read_campaign_data
from harness.report.estimates import Estimates, compared, signed, with_error
from harness.report.html.report import render, write_report
from harness.report.number_references import NumberReferences
from harness.report.paper import prose
from harness.report.paper.document import COLUMNS, Code, Document, Items, Paragraph, Pictures, Quote, Section, Table
from harness.report.paper.publication import default_file, make_pdf, publish
from harness.report.paper.render_html import render_html
from harness.report.paper.render_md import render_md
from harness.report.paper.render_tex import render_tex
from harness.report.paper.render_typst import escape as escape_typst
from harness.report.paper.render_typst import render_typst
from harness.report.paper.writeup import Prose, compose, read_person
from tests.model_server import ModelServer
from tests.synthetic import HOSTILE, fill

SMALL = Path(__file__).parent / "small"
SIGNS = r" a $%&#_{}~^\<>*`[]|'' -- ,, ?` 1. \input{x} #eval(1) www.a.b x@y.z ÄßŁ τ ≤ ± 😀 漢字 אב العربية " + "x" * 90
NASTY = HOSTILE.encode("utf-8", "replace").decode() + SIGNS
PERSON = "I doubt run 1.\n    - it was *hot* that day {&}\n"
TITLES = [
    "Idea and hypothesis",
    "Method",
    "Results",
    "Every run: ablations and what did not work",
    "Threats to validity",
    "Notes of the user",
]
APPENDICES = [
    "Details of the method",
    "Every run in full",
    "The change that improved on the baseline",
    "All numbers",
    "Cost",
    "Reproduction",
]
PDFLATEX = shutil.which("pdflatex")


def new(folder: Path, script: dict[str, Any] | None = None, title: str = "A small idea", **options: Any) -> Campaign:
    """A campaign of the small experiment, noisy, with three seeds of the baseline."""
    experiment = Path(shutil.copytree(SMALL, folder / "experiment", ignore=shutil.ignore_patterns("__pycache__")))
    code = (experiment / "experiment.py").read_text().replace('{"loss": x * x', '{"loss": loss')
    code = code.replace('print("done", x * x)', "loss = 1.0 + rng.gauss(0, 0.02)\nprint('done', loss)")
    (experiment / "experiment.py").write_text(code)
    contract = (experiment / "experiment.toml").read_text() + "baseline_seeds = 3\nrun_seeds = [1, 2]\nfinal_seeds = 0\n"
    (experiment / "experiment.toml").write_text(contract + '\n[[metric]]\nname = "width"\nrequired = false\n')
    session = folder / "script.json"
    session.write_text(json.dumps(script or {}))
    return create_campaign(
        folder / "runs",
        Idea(Name="small", Title=title, Experiment="Make the loss smaller.", Abstract="Losses fall."),
        experiment,
        Options(agent="tests.scripted:ScriptedAgent", **{"max_runs": 3} | options),
        python=sys.executable,
        session=session,
    )


def edit(old: str, after: str, text: str) -> dict[str, Any]:
    return {"text": text, "edits": [["experiment.py", old, after]]}


SCRIPT = {
    "run 1, attempt 1": edit("x = 5.0", "x = 5.0  # five", "HYPOTHESIS: words help."),
    "run 1, attempt 2": edit("loss = 1.0 +", "loss = 0.8 +", "HYPOTHESIS: the loss falls."),
    "run 2, attempt 1": edit(
        "loss = 0.8 +", "rng.random()\nloss = 0.8 +", "INTERPRETATION: the loss is 0.3.\nHYPOTHESIS: nothing happens."
    ),
    "run 3, attempt 1": {"text": "INTERPRETATION: as expected.\nALL_COMPLETED"},
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Two runs that were really executed, a refused change, an agent that is wrong, and a person's words."""
    folder = tmp_path_factory.mktemp("executed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        campaign = new(folder, SCRIPT)
        assert go_on(campaign, view=Silent(), stop=Stop()).exit_code == 0
    notes = campaign.notes.read_text()
    mark = "=== End of your notes"
    campaign.notes.write_text(notes.replace(mark, f"{PERSON}{mark}", 1))
    return campaign


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Campaign]:
    """Campaigns of records alone, each made once."""
    made: dict[str, Campaign] = {}

    def make(runs: int, *, title: str = "A small idea", **how: Any) -> Campaign:
        key = repr((runs, how))
        if key not in made:
            made[key] = new(tmp_path_factory.mktemp("synthetic"), title=title, max_runs=max(runs, 1))
            if runs >= 0:
                fill(made[key], runs, **how)
        return made[key]

    return make


@pytest.fixture(scope="module")
def hostile(synthetic: Callable[..., Campaign]) -> Document:
    return written(synthetic(4, hostile=NASTY, title=f"T {NASTY}"))


def data_of(campaign: Campaign) -> CampaignData:
    return read_campaign_data(Layout(campaign.root))


@pytest.fixture(scope="module")
def paper(executed: Campaign) -> Document:
    """On that campaign, without a model."""
    return written(executed)


def written(campaign: Campaign, by_model: Prose | None = None) -> Document:
    return compose(data_of(campaign), read_person(Layout(campaign.root)), by_model)


def many(found: CampaignData) -> CampaignData:
    """The same campaign with its runs again and again, sixty of them."""
    baseline, *runs = found.runs
    again = [runs[number % len(runs)] for number in range(60)]
    copies = [replace(run, record=run.record.model_copy(update={"run": number})) for number, run in enumerate(again, 1)]
    return replace(found, runs=(baseline, *copies))


def section(document: Document, title: str) -> Section:
    found = [each for each in (*document.sections, *document.appendices) if each.title.startswith(title)]
    return next((each for each in found if each.title == title), found[0])


def sentences(document: Document) -> list[str]:
    """All that the harness itself says in it."""
    found: list[str] = []
    for block in document.walk():
        match block:
            case Paragraph(text, lead):
                found.append(f"{lead} {text}")
            case Items(items):
                found += items
            case Table():
                found.append(block.caption)
            case Pictures(plots):
                found += [plot.legend for plot in plots]
    return found


def text_of_pdf(data: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(data)).pages)


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_the_standard_error_of_a_single_seed_is_said_to_be_pooled_wherever_it_stands(executed: Campaign) -> None:
    name, said = str(executed.root), "of a single seed it is from the pooled spread between seeds"
    pages = {
        command[0]: CliRunner().invoke(cli, [*command[:1], name, *command[1:]]).output
        for command in (["log"], ["show", "2"], ["compare"], ["notes"])
    }
    data = read_campaign_data(executed)
    paper = render_md(compose(data, ""), "figures")
    pages |= {"paper": paper, "report": render([data])}
    for page, text in pages.items():
        assert "±" in text and said in " ".join(text.split()), page
    assert paper.count(said) > 2


def test_it_is_a_paper_without_any_model(paper: Document) -> None:
    assert paper.title == "A small idea"
    assert [each.title for each in paper.sections] == TITLES
    assert [each.title for each in paper.appendices] == APPENDICES
    abstract = " ".join(block.text for block in paper.abstract if isinstance(block, Paragraph))
    assert re.search(
        r"Supported: run 1 improves loss, 0\.\d+ ± 0\.0\d+ against \d\.\d+ ± 0\.0\d+ of the baseline \(diff", abstract
    )
    assert abstract.count("± 0.") <= 4 and "1 rejected" in abstract


def test_every_run_is_told_and_every_rejected_change(paper: Document) -> None:
    (table,) = section(paper, "Every run").blocks
    assert isinstance(table, Table)
    assert table.rows[0] == ("1", "the loss falls.", "2: 1 rejected", "improved")
    runs = section(paper, "Every run in full")
    assert [each.title for each in runs.sections] == ["Run 1: improved", "Run 2: improved"]
    first = runs.sections[0].blocks
    assert Quote("the loss falls.", "The agent’s hypothesis, before the run (unverified)") in first
    refused = next(block for block in first if isinstance(block, Items))
    assert refused.items[0].startswith("Attempt 1, rejected: Only comments")
    assert "2 lines added, 2 removed" in first[0].text  # type: ignore[union-attr]


def test_words_of_the_agent_are_quoted_as_they_are_and_unverified(paper: Document) -> None:
    quotes = [block for block in paper.walk() if isinstance(block, Quote)]
    assert Quote("the loss is 0.3.", "The agent’s interpretation, after the run (unverified)") in quotes
    assert not any("contradict" in text for text in [*sentences(paper), *(quote.text for quote in quotes)])


def test_the_results_hold_intervals_and_numbers_end_where_their_noise_begins(paper: Document) -> None:
    overview, beside = (block for block in section(paper, "Results").blocks if isinstance(block, Table))
    assert [column.title for column in overview.columns] == [
        *("Run", "Seeds", "loss", "Baseline", "Difference", "90 % CI", "Adjusted p", "Verdict", "Parent", "Against it")
    ]
    first, second = overview.rows[1:]
    assert re.fullmatch(r"0\.\d{2,3} ± 0\.0\d{1,2}", first[2])
    assert re.fullmatch(r"−0\.\d+", first[4]) and re.fullmatch(r"−0\.\d+ to −0\.\d+", first[5])
    assert re.fullmatch(r"\d\.\d+ ± 0\.\d+", first[3])
    assert first[7:] == ("improved", "0", "–") and second[7:] == ("improved", "1", "not significant")
    assert [row[0] for row in beside.rows] == ["loss", "distance"]


def test_numbers_are_rounded_by_their_noise() -> None:
    assert with_error(0.11241873, 0.0083) == "0.112 ± 0.008"
    assert with_error(-0.0004, 0.02) == "0.000 ± 0.020"
    assert with_error(1234.5, 25.0) == "1234 ± 25"
    assert with_error(0.11241873, None) == "0.1124"
    assert with_error(1e300, 2e299) == "1e+300 ± 2e+299"
    assert signed(-0.5) == "−0.5"
    assert compared(None) == ("–", "–", "–")


def test_no_sentence_of_it_contradicts_a_record(executed: Campaign, synthetic: Callable[..., Campaign]) -> None:
    few = data_of(synthetic(4, seeds=5))
    for found in (data_of(executed), few, many(few)):
        records = [run.record for run in found.runs]
        findings = [each for text in sentences(compose(found, "")) for each in check(text, records, found.contract)]
        assert contradictions(findings) == []


@pytest.mark.parametrize("form", ["md", "tex", "html", "report"])
def test_an_unedited_paper_and_report_have_a_source_for_every_number(
    executed: Campaign, paper: Document, tmp_path: Path, form: Any
) -> None:
    file = tmp_path / f"paper.{form.replace('report', 'html')}"
    if form == "report":
        write_report([Layout(executed.root)], file)
    else:
        publish(paper, form, file)
    done = CliRunner().invoke(cli, ["check", str(executed.root), "--file", str(file)])
    assert done.exit_code == 0, done.output
    assert "unverified" not in done.output and done.output.endswith("0 contradictions with the records.\n")
    if form == "md":
        file.write_text(re.sub(r"\| 0\.8\d* ±", "| 0.41 ±", file.read_text(), count=1))
        assert "0.41" in CliRunner().invoke(cli, ["check", str(executed.root), "--file", str(file)]).output


def test_the_accepted_change_is_the_whole_one_against_the_baseline(paper: Document) -> None:
    appendix = section(paper, "The change that improved")
    code = next(block for block in appendix.blocks if isinstance(block, Code))
    assert ("-", "-loss = 1.0 + rng.gauss(0, 0.02)") in code.lines
    assert ("+", "+loss = 0.8 + rng.gauss(0, 0.02)") in code.lines


def test_a_persons_words_are_taken_over_and_marked_as_theirs(paper: Document, synthetic: Callable[..., Campaign]) -> None:
    theirs = section(paper, "Notes of the user")
    assert theirs.blocks == (Quote(PERSON.strip("\n"), "The user’s section of the notes"),)
    assert "Notes of the user" not in [each.title for each in written(synthetic(4, seeds=5)).sections]


def test_what_was_used_and_how_to_make_it_again(executed: Campaign, paper: Document) -> None:
    cost = next(block for block in section(paper, "Cost").blocks if isinstance(block, Table))
    assert [row[:2] for row in cost.rows[:3]] == [("baseline", "–"), ("1", "2"), ("2", "1")]
    reproduction = section(paper, "Reproduction").blocks
    record = Record.read(executed.run_folder(1))
    where = next(block for block in reproduction if isinstance(block, Table))
    assert where.rows[1][:3] == ("1", record.commit[:12], "0, 1")
    assert any(isinstance(block, Code) and f"git checkout --quiet {record.commit}" in block.text for block in reproduction)


@pytest.mark.parametrize("last", [Usage(5_000, 200, 0.25, 4.0), Usage(5_000, 200, None, 4.0), Usage()])
def test_the_rows_of_the_cost_add_up_with_the_last_turn_and_the_held_out_evaluation(
    synthetic: Callable[..., Campaign], last: Usage
) -> None:
    found = data_of(synthetic(4, seeds=5))
    runs = sum((run.record.usage for run in found.runs), Usage())
    seconds = sum(run.record.seconds for run in found.runs)
    held_out = 90.0 if last.tokens else 0.0
    whole = runs + last
    status = replace(found.status, usage=whole, seconds=seconds + held_out + whole.seconds)
    (table,) = (
        each for each in section(compose(replace(found, status=status), ""), "Cost").blocks if isinstance(each, Table)
    )
    *parts, total = table.rows
    assert ([row[0] for row in parts][-1] == "besides") == bool(last.tokens)
    for column, counted in ((2, whole.sent), (3, whole.received)):
        assert sum(int(row[column].replace(",", "")) for row in parts) == counted == int(total[column].replace(",", ""))
    if whole.cost is not None:
        assert sum(float(row[4].removeprefix("$")) for row in parts) == pytest.approx(whole.cost, abs=0.01 * len(parts))
    else:
        assert (parts[-1][4], total[4]) == ("unknown", f"at least ${runs.cost:.2f}")
    assert not last.tokens or parts[-1][-1] == "90 s"


def test_doubts_are_told(synthetic: Callable[..., Campaign]) -> None:
    campaign = synthetic(2, lines=3)
    folder = campaign.run_folder(1)
    record = Record.read(folder)
    attempts = [record.attempts[0].model_copy(update={"by_person": True, "forced": True})]
    changes = {"warnings": ["the GPU was hot"], "attempts": attempts, "environment": {"python": "3.12"}}
    record.model_copy(update=changes).write(folder)
    base = Record.read(campaign.run_folder(0))
    base.model_copy(update={"given": True}).write(campaign.run_folder(0))
    broken = Record.read(campaign.run_folder(2))
    verdict = broken.verdict.model_copy(
        update={"kind": "invalid", "why": "loss is NaN, not a number", "against_baseline": None}
    )
    broken.model_copy(update={"verdict": verdict}).write(campaign.run_folder(2))
    said = " ".join(sentences(written(campaign)))
    for doubt in (
        "Invalid: run 2; the results cannot be used; loss is NaN, not a number.",
        "The campaign has not come to its end",
        "The baseline was given",
        "Inconclusive: run 1; no verdict could be given.",
        "Every run has one seed, so the noise is unknown",
        "The user changed the code of run 1.",
        "The user forced a change past the pre-check in run 1.",
        "Warning of run 1: the GPU was hot.",
        "Executed with another machine, package or model than the first: run 1.",
        "The settings are what the experiment reports",
    ):
        assert doubt in said, doubt


def test_the_reference_of_a_run_is_named_where_it_is_not_the_baseline(synthetic: Callable[..., Campaign]) -> None:
    campaign = synthetic(2, lines=4, seeds=3)
    record = Record.read(campaign.run_folder(1))
    found = ComparisonRecord(
        reference="frontier at l0 4, between control k=3 and run_0",
        mean=0.79,
        reference_mean=0.9,
        seeds=3,
        reference_seeds=8,
        difference=-0.11,
        low=-0.2,
        high=-0.02,
        p_adjusted=0.004,
        sd=0.02,
        reference_sd=0.03,
    )
    verdict = record.verdict.model_copy(update={"kind": "improved", "against_baseline": found})
    record.model_copy(update={"verdict": verdict}).write(campaign.run_folder(1))
    document, place = written(campaign), "frontier at l0 4, between control k=3 and run 0"
    assert (
        f"Supported: run 1 improves loss, 0.790 ± 0.012 against 0.900 ± 0.011 of the {place} (difference −0.110,"
        in " ".join(sentences(document))
    )
    overview, beside = (block for block in section(document, "Results").blocks if isinstance(block, Table))
    assert overview.rows[1][2:8] == ("0.790 ± 0.012", place, "0.900 ± 0.011", "−0.110", "−0.200 to −0.020", "0.004")
    assert beside.rows[0][2:] == ("0.900 ± 0.011", "0.790 ± 0.012", "−0.110 ± 0.016")
    assert f"beside the {place}. Only" in beside.caption


# --- campaigns of all sizes -------------------------------------------------------------------------------------------


def test_a_campaign_that_is_not_begun_has_a_write_up(synthetic: Callable[..., Campaign]) -> None:
    document = written(synthetic(-1))
    said = " ".join(sentences(document))
    assert "No run is recorded yet, not even the baseline." in said
    assert [each.title for each in document.appendices] == ["Details of the method", "Cost", "Reproduction"]
    assert make_pdf(document).startswith(b"%PDF")


def test_a_campaign_with_the_baseline_alone_has_a_write_up(synthetic: Callable[..., Campaign]) -> None:
    document = written(synthetic(0))
    said = " ".join(sentences(document))
    assert "Only the baseline is recorded so far: loss 1." in said
    assert "Make the loss smaller." in render_md(document, "figures")


def test_a_running_campaign_says_how_far_it_is(synthetic: Callable[..., Campaign]) -> None:
    campaign = synthetic(1, lines=2)
    Journal(campaign.journal).append("started", step="run_2/attempt_1/execute")
    with locked(campaign.lock):
        document = written(campaign)
    assert "Running, at run 2 of 1, attempt 1: execution" in document.about
    assert "The campaign still runs" in " ".join(sentences(document))


@pytest.mark.slow
def test_sixty_runs_have_a_write_up(synthetic: Callable[..., Campaign]) -> None:
    document = compose(many(data_of(synthetic(4, seeds=5))), "")
    assert len(section(document, "Every run in full").sections) == 60
    overview = next(block for block in section(document, "Results").blocks if isinstance(block, Table))
    assert len(overview.rows) == 61 and not overview.is_short
    assert len(make_pdf(document)) < 1_000_000


def test_rules_of_evals_and_architectures_that_no_run_has_are_not_listed(synthetic: Callable[..., Campaign]) -> None:
    found = data_of(synthetic(1))
    rules = [
        *({"value": name, "above": 0} for name in ("loss", "synthsae.share", "steps")),
        {"value": "other_loss", "present": True},
        *({"value": "loss", "below": limit, "when": {"mode": mode}} for limit, mode in ((7, "plain"), (8, "dense"))),
    ]
    contract = found.contract.model_copy(update={"sanity": [SanityRule.model_validate(rule) for rule in rules]})
    details = section(compose(replace(found, contract=contract), ""), "Details of the method")
    (table,) = (each for each in details.blocks if isinstance(each, Table) and "Sanity" in each.caption)
    assert dict(table.rows) == {"loss": "> 0, < 7 where mode = plain", "steps": "> 0", "other loss": "is there"}


def test_a_campaign_without_a_primary_metric_has_a_write_up(tmp_path: Path) -> None:
    campaign = new(tmp_path)
    facts = json.loads(campaign.options_file.read_text())
    for metric in facts["contract"]["metric"]:
        metric["primary"] = False
    campaign.options_file.write_text(json.dumps(facts))
    fill(campaign, 2)
    said = " ".join(sentences(written(campaign)))
    assert "no hypothesis could be tested" in said and "No primary metric is named" in said


# --- every character in every format ----------------------------------------------------------------------------------


def test_markdown_shows_every_character(hostile: Document) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(render_md(hostile, "figures"))
    inline = [child for token in tokens for child in token.children or ()]
    kinds = {token.type for token in tokens} | {child.type for child in inline}
    assert not kinds & {"html_block", "html_inline", "link_open", "code_block"}
    assert all(child.attrs["src"].startswith("figures/") for child in inline if child.type == "image")
    title = "".join(child.content for child in tokens[1].children or ())
    whole, kept = line(f"T {NASTY}"), title.partition(" [cut: ")[0]
    assert title == f"{kept} [cut: {len(whole) - len(kept)} characters more]" and len(title) > 250
    assert whole.startswith(kept + " ") and len(kept + whole[len(kept) :].split()[0]) >= 300, (
        "it ends at the last word that fits"
    )
    shown = " ".join(child.content for child in inline)
    assert shown.count("<script>window.pwned = 1</script></style></pre>") > 20
    assert line(SIGNS) in shown


def test_html_shows_every_character(hostile: Document) -> None:
    from tests.test_report import Page

    html = render_html(hostile)
    page = Page(html)
    assert {tag for tag, _ in page.elements} & {"script", "img", "iframe", "object", "input"} == set()
    for _, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("style", "src") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert "default-src 'none'" in html
    assert line(SIGNS)[:60] in page.text


def test_a_long_key_breaks_in_the_column_that_it_stands_in() -> None:
    key = escape_typst("synthetic.bought_by_negligible_codes")
    source = f"#context [#metadata(measure(block(width: 60pt, {key})).height / 1pt) <high> ]"
    [high] = json.loads(typst.query(source.encode(), "<high>", field="value"))
    assert high > 30  # three lines and more, of 11 pt letters


def test_typst_reads_no_character_as_markup(hostile: Document) -> None:
    source = render_typst(hostile)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", source)
    without_strings = re.sub(r'"(?:[^"\\]|\\.)*"', '""', source)
    assert "pwned" not in without_strings and "eval(1)" not in without_strings
    text = "".join(text_of_pdf(make_pdf(hostile)).split())
    assert "<script>window.pwned=1</script>" in text
    for piece in (r"$%&#_{}~^\<>*`[]|", r"\input{x}#eval(1)", "ÄßŁτ≤±😀"):
        assert piece in text, piece
    assert "😀漢字" in text or "😀\0\0" in text, "a box for each letter that no font of this machine has"


def test_no_number_of_a_wide_table_goes_on_in_a_second_line() -> None:
    from harness.report.paper.document import Column

    numbers = {
        "Seeds": "10",
        "absorption": "0.085 ± 0.038",
        "Baseline": "0.096 ± 0.008",
        "Difference": "−0.011",
        "90 % CI": "−0.103 to +0.080",
        "Adjusted p": "0.0105",
    }
    words = {"Verdict": "not significant", "Parent": "12", "Against it": "not significant"}
    columns = (Column("Run"), *(Column(each, "numbers") for each in numbers), *map(Column, words))
    row = ("1", *numbers.values(), *words.values())
    table = Table("All runs.", columns, (row, row))
    text = text_of_pdf(make_pdf(Document("T", "about", "2026-11-20T08:00:00Z", (), (Section("Results", (table,)),))))
    assert " ".join(row) in [" ".join(each.split()) for each in text.splitlines()]


def test_latex_reads_no_character_as_markup(hostile: Document) -> None:
    source = render_tex(hostile, "figures")
    body = source[source.index("\\begin{document}") :]
    assert r"\input" not in body.replace(r"\textbackslash{}input", "")
    assert r"\textbackslash{}input\{x\} \#eval(1)" in body.replace("\\allowbreak{}", "")
    assert not re.search(r"(?<!\\)[$#]|(?<!\\)%", body)
    assert r"\DeclareUnicodeCharacter{1F600}{\unicodenumber{1F600}}" in source


@pytest.mark.skipif(not PDFLATEX, reason="pdflatex is not installed")
def test_the_latex_compiles(hostile: Document, executed: Campaign, paper: Document, tmp_path: Path) -> None:
    for name, document in (("hostile", hostile), ("executed", paper)):
        folder = tmp_path / name
        folder.mkdir()
        *figures, file = publish(document, "tex", folder / "paper.tex")
        assert file.exists() and all(each.suffix == ".pdf" for each in figures)
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", file.name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
        assert (folder / "paper.pdf").read_bytes().startswith(b"%PDF")
        assert name == "hostile" or "Overfull" not in done.stdout
    assert r"\toprule" in file.read_text() and r"\usepackage{array,booktabs" in file.read_text()


def test_the_pdf_holds_the_numbers_and_is_the_same_each_time(executed: Campaign) -> None:
    document = written(executed)
    data = make_pdf(document)
    assert data.startswith(b"%PDF")
    assert make_pdf(written(executed)) == data
    overview = next(block for block in section(document, "Results").blocks if isinstance(block, Table))
    text = " ".join(text_of_pdf(data).split())
    for row in overview.rows:
        assert all(cell in text for cell in row), row


def test_long_lines_of_code_go_on_below_and_what_hides_is_shown() -> None:
    code = Code("x = '" + "漢" * 200 + "\u202e'", "Code:")
    assert all(len(text) <= COLUMNS for _, text in code.folded) and len(code.folded) == 4
    assert all(text.startswith("    ↪ ") for _, text in code.folded[1:])
    assert r"\u202e" in code.folded[-1][1]


def as_tried(found: CampaignData, kind: VerdictKind) -> CampaignData:
    """The campaign, each of its runs completed and `kind`, with as much text as agents write."""
    baseline, *runs = found.runs
    whole = next(run for run in runs if run.record.metrics)
    text = "The first latents then serve the parent, so absorption falls while explained variance holds. " * 3
    told = {"hypothesis": text, "interpretation": text, "status": "completed", "metrics": whole.record.metrics}
    verdict = whole.record.verdict.model_copy(update={"kind": kind, "why": "loss 0.79 ± 0.01 against 1.00 ± 0.01"})
    tried = [
        replace(whole, record=run.record.model_copy(update=told | {"run": run.record.run, "verdict": verdict}))
        for run in runs
    ]
    idea = found.idea | {"Abstract": text * 2, "Experiment": [text] * 4}
    return replace(found, runs=(baseline, *tried), idea=idea)


@pytest.mark.parametrize(("kind", "most"), [("not_significant", 4), ("improved", 6)])
def test_ten_runs_are_a_paper_of_few_pages_with_the_results_on_the_second(
    synthetic: Callable[..., Campaign], kind: VerdictKind, most: int
) -> None:
    document = compose(as_tried(data_of(synthetic(10, seeds=5)), kind), "")
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(make_pdf(document))).pages]
    appendix = next(place for place, text in enumerate(pages) if "A Details of the method" in text)
    results = next(place for place, text in enumerate(pages) if "3 Results" in text)
    assert appendix <= most and results <= 1


# --- files ------------------------------------------------------------------------------------------------------------


def test_figures_stand_beside_the_formats_that_cannot_hold_them(executed: Campaign, paper: Document, tmp_path: Path) -> None:
    for form, kind in (("md", "svg"), ("html", None)):
        folder = tmp_path / form
        folder.mkdir()
        *figures, file = publish(paper, form, folder / f"paper.{form}")  # type: ignore[arg-type]
        assert {each.suffix for each in figures} == ({f".{kind}"} if kind else set())
        assert {each.name for each in folder.iterdir()} == {file.name} | ({"paper-figures"} if kind else set())
        for figure in figures:
            assert f"paper-figures/{figure.name}" in file.read_text()
    assert "<svg" in file.read_text()
    assert default_file(Layout(executed.root), "pdf") == executed.root.parent / "small-writeup.pdf"
    with pytest.raises(InputError, match="--out FILE"):
        publish(paper, "html", tmp_path / "no" / "such" / "paper.html")


# --- a model's text ---------------------------------------------------------------------------------------------------

GOOD = """Here it is.

## Introduction
The idea is to make the loss smaller. It could work for reasons of $x & *more*.

## 4. Results
Run 1 has a loss of {{run 1: loss}}, and its difference from the baseline is {{run 1 vs baseline: loss}}. The loss fell to 0.8.

It says so.
## Conclusion
Another seed would help.
"""
WRONG = "## Results\nThe loss is 0.3. Nothing else is said. Run 1 improves the loss. It has {{run 1: lss}}.\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    aider_python(lambda line: None)
    with ModelServer() as running:
        yield running


def typed(campaign: Campaign, file: Path, form: str, model: str = "openai/unheard-of") -> Result:
    return CliRunner().invoke(cli, ["writeup", str(campaign.root), "--format", form, "--prose", model, "--out", str(file)])


def test_a_models_text_stands_between_the_tables(
    executed: Campaign, server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-very-secret-key")
    server.says(GOOD, "1: The difference stands in Table 1.")
    done = typed(executed, tmp_path / "paper.md", "md")
    assert done.exit_code == 0, done.output
    assert "left out" not in done.output
    text = (tmp_path / "paper.md").read_text()
    assert "> The idea is to make the loss smaller. It could work for reasons of \\$x \\& \\*more\\*." in text
    assert text.index("## 1. Introduction") < text.index("## 4. Results") < text.index("> It says so.")
    assert re.search(
        r"Run 1 has a loss of 0\.\d+ ± 0\.0\d+, and its difference from the baseline is −0\.\d+ \(90 % sim", text
    )
    assert "improved; adjusted p" in text and "The difference stands in Table 1." in text and "fell to 0.8" not in text
    assert "written by openai/unheard-of" in text and "Here it is" not in text
    assert "in this document took 2,200 tokens, cost unknown" in text
    first, second = (request["messages"][-1]["content"] for request in server.requests[:2])
    assert "## Introduction\nwhat the idea is" in first and "Supported: run 1 improves loss" in first
    assert "{{run 1 vs baseline: loss}} = −0." in first and "{{baseline: loss}} = " in first
    assert "1: The loss fell to 0.8.\n   refused: the number 0.8 is typed" in second


class Answers:
    """An agent whose model gives these answers, and then the last one again."""

    replies: Sequence[Reply] = ()
    asked: ClassVar[list[str]] = []

    def __init__(self, config: Any) -> None:
        self.config = config

    def check(self) -> str:
        return ""

    def complete(self, model: str, system: str, user: str) -> Reply:
        self.asked.append(user)
        return self.replies[min(len(self.asked), len(self.replies)) - 1]

    def close(self) -> None:
        pass


def saying(*replies: Reply) -> type[Answers]:
    return type("Saying", (Answers,), {"replies": list(replies), "asked": []})


def test_what_a_model_types_is_sent_back_twice_then_left_out_and_listed(
    executed: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = saying(
        Reply(WRONG, Usage()),
        Reply("1: The loss is {{run 1: loss}}.\n2: Run 1 has the best loss.\n3: x", Usage()),
        Reply("1: Run 1 has a loss of less than 1.", Usage()),
    )
    monkeypatch.setattr(prose, "AiderAgent", agent)
    done = typed(executed, tmp_path / "paper.md", "md")
    assert done.exit_code == 0 and len(agent.asked) == 3
    assert "refused: {{run 1: lss}}: run 1 has no metric lss; it has loss" in agent.asked[1]
    assert "left out: Run 1 has a loss of less than 1. (the number 1 is typed" in done.output
    text = (tmp_path / "paper.md").read_text()
    assert re.search(r"> The loss is 0\.\d+ ± 0\.\d+\. Nothing else is said\. x\n", text)


def test_where_nothing_of_a_models_text_can_stand_nothing_is_written(
    executed: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prose, "AiderAgent", saying(Reply("## Results\nThe loss is 0.3.\n", Usage())))
    done = typed(executed, tmp_path / "paper.md", "md")
    assert done.exit_code == 4 and "The loss is 0.3. (the number 0.3 is typed" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("Run 2 has a loss of {{run 2: loss}}, as Table 3 and the runs 1 and 2 of GPT-2 with L0, F1 and top-1 show.", ""),
        ("A penalty on children that fire more strongly is added to the objective.", ""),
        ("The penalty could make the loss smaller.", ""),
        ("The seed of run 2 is the same as before.", ""),
        ("The loss is 0.8.", "the number 0.8 is typed"),
        ("About 80% of it is noise-free.", "the number 80 is typed"),
        ("It took 3 runs.", "the number 3 is typed"),
        ("It fell by ½.", "the number ½ is typed"),
        ("The loss halved.", "“halved”"),
        ("The loss is lower in run 2.", "“lower”"),
        ("Run 2 is higher than run 1.", "“higher”"),
        ("The method significantly outperforms everything.", "“significantly”"),
        ("Run 2 could be called better.", "“better”"),
        ("See {{run 9: loss}}.", "there is no run 9"),
        ("See {{loss}}.", "no reference"),
    ],
)
def test_a_sentence_types_no_number_and_no_verdict(executed: Campaign, sentence: str, why: str) -> None:
    found = data_of(executed)
    said = prose.refusal(sentence, NumberReferences(found, Estimates(found)))
    assert why in said if why else said == ""


def test_references_in_a_text_of_the_users_are_filled_in(executed: Campaign, tmp_path: Path) -> None:
    text, out = tmp_path / "talk.tex", tmp_path / "filled.tex"
    text.write_text(
        "{{\\bf Loss}}: {{run 1: loss}}, {{run_1 vs. baseline: loss}}; {{run 2 vs parent: loss}}; "
        "{{run 2 vs run 1: distance}}; {{run 2: verdict}}, {{baseline: seeds}} seeds.\n"
    )
    asked = ["writeup", str(executed.root), "--file", str(text)]
    done = CliRunner().invoke(cli, [*asked, "--out", str(out)])
    assert (done.exit_code, done.output) == (0, f"{out}\n")
    number, limits = r"[−+]?\d+\.?\d*", r"90 % simultaneous CI [^;]* to [^;]*"
    assert re.fullmatch(
        rf"{{{{\\bf Loss}}}}: {number} ± {number}, −{number} \({limits}; improved; adjusted p [=<] {number}\); "
        rf"{number} \({limits}; not significant; adjusted p [=<] {number}\); [^;]* \(not tested\); "
        r"(improved|not significant|inconclusive), 3 seeds\.\n",
        out.read_text(),
    ), out.read_text()
    text.write_text("{{run 1: speed}} {{run 7: loss}}")
    done = CliRunner().invoke(cli, asked)
    assert done.exit_code == 2 and "run 1 has no metric speed; it has loss" in done.output and "no run 7" in done.output


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply("", Usage(), failure=Failure("auth", "the key is refused.")), "the key is refused. Nothing was written."),
        (Reply("I would rather not.", Usage()), "none of the headings ## Introduction.* I would rather not"),
    ],
)
def test_a_model_that_gives_no_text_ends_it(
    executed: Campaign, paper: Document, monkeypatch: pytest.MonkeyPatch, reply: Reply, said: str
) -> None:
    monkeypatch.setattr(prose, "AiderAgent", saying(reply))
    with pytest.raises(CannotGoOn, match=said):
        prose.write(data_of(executed), paper, "a/b", print)


def test_a_models_text_is_text_in_every_format(executed: Campaign, tmp_path: Path) -> None:
    by_model = Prose("a/b", {"Introduction": (NASTY,), "Every run": ("Fine.",)}, Usage(), ())
    document = written(executed, by_model)
    assert document.sections[0].title == "Introduction"
    assert "in the sections Introduction and Every run were written by a/b" in " ".join(sentences(document))
    assert "<script>" not in render_html(document)
    assert "\\input" not in render_tex(document, "f").split("\\begin{document}")[1].replace("\\textbackslash{}input", "")
    assert make_pdf(document).startswith(b"%PDF")
