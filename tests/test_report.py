"""The report: what is in it, from which records, and that nothing in it can be anything but shown."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.campaign.campaign import Campaign
from harness.campaign.errors import InputError
from harness.campaign.idea import Idea
from harness.campaign.journal import Journal, locked
from harness.campaign.layout import Layout
from harness.campaign.metric_names import as_written
from harness.campaign.numbers import titled
from harness.campaign.protocols import Silent
from harness.campaign.record import (
    ComparisonRecord,
    ControlRecord,
    FrontierRecord,
    MetricRecord,
    PointRecord,
    Record,
    SettingRecord,
    VerdictRecord,
)
from harness.campaign.stop import Stop
from harness.campaign.usage import Usage
from harness.cli.machine_check import confinement, limits
from harness.cli.main import cli
from harness.continuation import go_on
from harness.report import figures
from harness.report.campaign_data import CampaignData, read_campaign_data
from harness.report.code import MAX_COLUMNS, diff_html, output_html
from harness.report.conclusion import NOTHING_HELD_OUT
from harness.report.drawing import Plot
from harness.report.estimates import Estimates
from harness.report.figures import plots
from harness.report.html.report import default_file, render, watch, write_report
from harness.report.html.statements import statement_html
from harness.report.notes import render_notes
from harness.report.paper.outcome import behind_means
from harness.report.paper.publication import make_pdf
from harness.report.paper.render_md import render_md
from harness.report.paper.writeup import compose
from harness.report.summary import summarize
from harness.results.curves import read_curves
from tests.synthetic import HOSTILE, fill, forget

Make = Callable[..., Campaign]
CONTEXT = '\n[[metric]]\nname = "width"\nrequired = false\n'
TWO_MEGABYTES = 2_000_000


class Page(HTMLParser):
    """Elements, attributes and text of a page, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "nav"} & set(self._open):
            self.words.append(data)
        for tag in set(self._open):
            self.inside.setdefault(tag, []).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def drawn() -> None:
    """Figures are drawn, which takes most of a page's time."""


@pytest.fixture(autouse=True)
def drawn_where_asked(request: pytest.FixtureRequest) -> None:
    if "drawn" not in request.fixturenames:
        request.getfixturevalue("undrawn")


@pytest.fixture
def recorded(make_campaign: Make, experiment: Path) -> Callable[..., Campaign]:
    def make(runs: int, max_runs: int = 10, **how: Any) -> Campaign:
        contract = experiment / "experiment.toml"
        contract.write_text(contract.read_text() + CONTEXT)
        campaign = make_campaign({}, max_runs=max_runs)
        fill(campaign, runs, **how)
        return campaign

    return make


def data_of(campaign: Campaign) -> CampaignData:
    return read_campaign_data(Layout(campaign.root))


def page(campaign: Campaign) -> Page:
    return Page(render([data_of(campaign)]))


def executed(make_campaign: Make, script: dict[str, Any], **options: Any) -> Campaign:
    campaign = make_campaign(script, **options)
    go_on(campaign, view=Silent(), stop=Stop())
    return campaign


FASTER = {"text": "HYPOTHESIS: it is faster.", "edits": [["experiment.py", '"rate": 0.05', '"rate": 0.1']]}
COMMENT = {"text": "HYPOTHESIS: words.", "edits": [["experiment.py", "x = 5.0", "x = 5.0  # five"]]}
CRASH = {"text": "HYPOTHESIS: no.", "edits": [["experiment.py", "steps = 0", "steps = 0\nraise RuntimeError('too bold')"]]}


def test_the_conclusion_comes_first_and_names_the_best_run(recorded: Callable[..., Campaign]) -> None:
    text = page(recorded(5)).text
    said = "Supported: run 2 improves loss, 0.88 against 1 of the baseline (difference −0.12"
    assert said in text
    assert text.index(said) < text.index("Figures ") < text.index("All runs ") < text.index("Each run ")
    assert "The target, loss below 0.0001, is reached by no run." in text


def test_doctor_record_report_and_paper_say_in_one_sentence_what_of_the_sandbox_held_and_what_is_not_guaranteed(
    sandboxed: str, make_campaign: Make
) -> None:
    data = data_of(executed(make_campaign, {"run 1, attempt 1": {"text": "ALL_COMPLETED"}}, max_runs=1))
    sentence = confinement().detail
    assert ("modes and times of files" in sentence) == (sandboxed == "landlock")
    assert data.environment["sandbox"] == sentence
    assert data.environment["limits"] == limits().detail
    assert all(said in unescape(render([data])) for said in (sentence, limits().detail))
    assert sentence.replace("'", "’") in str(compose(data, "")).replace("\\'", "'").replace("'", "’")


def test_a_run_that_improved_stands_before_one_with_a_better_number(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    first = Record.read(campaign.run_folder(2))
    first.model_copy(update={"verdict": first.verdict.model_copy(update={"kind": "improved"})}).write(campaign.run_folder(2))
    assert (
        "Supported: run 2 improves loss, 0.88 against 1 of the baseline (difference −0.120, 90 % sim" in page(campaign).text
    )


def test_no_run_below_the_baseline_is_not_called_the_best(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    record = Record.read(campaign.run_folder(1))
    worse = record.metrics["loss"].model_copy(update={"value": 1.5, "difference": 0.5})
    record.model_copy(update={"metrics": record.metrics | {"loss": worse}}).write(campaign.run_folder(1))
    text = page(campaign).text
    assert "Inconclusive: run 1 has loss 1.5 against 1 of the baseline, but" in text


@pytest.mark.usefixtures("drawn")
def test_nothing_from_an_agent_or_an_experiment_is_markup(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(8, hostile=HOSTILE, lines=20)
    html = render([data_of(campaign)])
    found = Page(html)
    known = set(re.findall(r"<([a-z][a-z0-9]*)", _templates())) | {
        "svg",
        "g",
        "path",
        "use",
        "text",
        "clippath",
        "rect",
        "tspan",
    }
    assert {tag for tag, _ in found.elements} - {"defs", "i", "sub", "sup"} <= known
    assert len(found.all("script")) == len(found.all("style")) == 1
    assert "pwned" not in "".join(found.inside["script"]) + "".join(found.inside["style"])
    for tag, attributes in found.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("style", "src", "srcdoc", "action", "formaction"), (tag, name)
            assert name != "href" or re.fullmatch(r"#[\w.-]+", value), (tag, value)
    assert found.text.count("<script>window.pwned = 1</script></style></pre>") > 50
    assert "{{ 7 * 7 }}" in found.text


@pytest.mark.usefixtures("drawn")
def test_no_character_that_hides_or_reorders_reaches_the_page(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(4, hostile=f"{HOSTILE} hid\u200bden \U000e0041 \u061c")
    Record.read(campaign.run_folder(1)).model_copy(update={"started": "\u202eat night"}).write(campaign.run_folder(1))
    html = render([data_of(campaign)])
    assert "at night" in html
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff\ud800-\udfff]",
        html,
    )
    assert r"\u202e" in html  # in a diff they are shown as what they are
    assert r"hid\u200bden \U000e0041" in html  # and in prose what shows nothing


def test_code_that_looks_like_a_diff_is_a_line_of_code() -> None:
    text = "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n--- a/y.py\n-old\n+++ b/y.py\n+new\n\\ No newline at end of file\n"
    done = diff_html(text, 100, 10_000)
    assert (done.added, done.removed, done.left_out) == (2, 2, 0)
    assert done.html.count('class="i"') == done.html.count('class="d"') == 2
    assert "++ b/y.py" in done.html.striptags()


def test_colours_do_not_change_code() -> None:
    lines = [
        "def f(x):",
        '    """One',
        "    two <b> & 'three'",
        '    """',
        "    return 'a' + \"b\"  # c",
        "\tx = 1",
        "",
        " ",
    ]
    text = f"+++ b/x.py\n@@ -0,0 +1,{len(lines)} @@\n" + "".join(f"+{line}\n" for line in lines)
    html = diff_html(text, 100, 100_000).html
    shown = [re.sub(r"<[^>]+>", "", row) for row in html.split("\n</span>")]
    plain = [
        row.replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'").replace("&#34;", '"').replace("&amp;", "&")
        for row in shown
    ]
    assert plain[2:-1] == [f"+{line.expandtabs(4)}" for line in lines]
    assert '<i class="k">def</i>' in html


def test_a_line_of_a_million_columns_is_cut_with_a_note() -> None:
    long = "x" * 1_000_000
    for html in (
        output_html(f"{long}\ndone", 10).html,
        diff_html(f"+++ b/x.py\n@@ -0,0 +1,1 @@\n+{long}\n", 100, 100_000).html,
    ):
        assert len(html) < 2 * MAX_COLUMNS
        assert "[cut: 999,700 characters more]" in html


@pytest.mark.usefixtures("drawn")
def test_ten_runs_with_much_of_everything_stay_below_two_megabytes(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(10, hostile=HOSTILE, lines=1500)
    with (campaign.run_folder(1) / "log.txt").open("a") as log:
        log.write("y" * 1_000_000)
    html = render([data_of(campaign)])
    assert len(html.encode()) < TWO_MEGABYTES
    assert "lines are left out here" in html


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("letter", ["漢", pytest.param('"', marks=pytest.mark.slow)], ids=["cjk", "quotes"])
def test_letters_that_take_many_bytes_get_no_more_room(recorded: Callable[..., Campaign], letter: str) -> None:
    campaign = recorded(10, hostile=letter * 280, lines=1500)
    for run in range(11):
        record = Record.read(campaign.run_folder(run))
        settings = {
            f"{letter * 90} {i}": SettingRecord(value=letter * 200, baseline=None, source="reported") for i in range(300)
        }
        metrics = {f"{letter * 90} {i}": MetricRecord(value=i, file=letter * 99, key=letter * 99) for i in range(200)}
        texts = dict.fromkeys(("hypothesis", "plan", "description", "interpretation"), letter * 20_000)
        more = {"warnings": [letter * 2000] * 50, "messages": [letter * 9000] * 5, "settings": settings}
        record.model_copy(update={**texts, **more, "metrics": record.metrics | metrics}).write(campaign.run_folder(run))
        (campaign.run_folder(run) / "log.txt").write_text(f"{letter * 1000}\n" * 100)
    html = render([data_of(campaign)])
    assert len(html.encode()) < TWO_MEGABYTES
    assert "characters more]" in html and "lines are left out here" in html
    assert "metrics more that the contract does not name are in the record" in html


def test_what_is_left_out_of_a_diff_or_an_output_is_said_with_where_it_is(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2, lines=1500)
    commits = [Record.read(campaign.run_folder(run)).commit[:12] for run in range(3)]
    text = page(campaign).text
    assert f"lines are left out here; git diff {commits[0]} {commits[2]} in the campaign's folder has them." in text
    assert "The 1470 lines before are left out here; run_1/log.txt has them." in text


@pytest.mark.usefixtures("drawn")
def test_the_page_may_run_only_its_own_script_and_style_and_fetch_nothing(recorded: Callable[..., Campaign]) -> None:
    html = render([data_of(recorded(3))])
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy and policy[1].startswith("default-src 'none'")
    for element in ("style", "script"):
        body = re.search(rf"<{element}>(.*?)</{element}>", html, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'")
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"<pre.*?</pre>", "", html, flags=re.DOTALL))


@pytest.mark.usefixtures("drawn")
def test_noise_is_drawn_where_there_are_seeds_and_missed_where_not(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(3, seeds=5)
    primary = plots(data_of(campaign))[0]
    assert "one standard deviation of the baseline's 5 seeds" in primary.caption
    band = next(patch for patch in primary.figure.axes[0].patches)
    low, high = band.get_extents().transformed(primary.figure.axes[0].transData.inverted()).intervaly
    assert (low + high) / 2 == pytest.approx(1.0)
    assert (high - low) / 2 == pytest.approx(0.0316, abs=1e-3)
    assert "1.000 ± 0.014" in page(campaign).text, "the standard error, as everywhere else"


@pytest.mark.usefixtures("drawn")
def test_one_seed_has_no_noise_band(recorded: Callable[..., Campaign]) -> None:
    primary = plots(data_of(recorded(3)))[0]
    assert "There is no noise band" in primary.caption
    assert not primary.figure.axes[0].patches


def test_frontiers_are_drawn_against_what_the_contract_names_first(recorded: Callable[..., Campaign]) -> None:
    titles = [plot.title for plot in plots(data_of(recorded(5)))]
    assert titles[:3] == ["loss over the runs (lower is better)", "loss against width", "loss against distance"]
    names = ("explained_variance", "l0", "mnist.val_loss", "dead_latents", "f1")
    assert [as_written(each) for each in names] == ["explained variance", "L0", "mnist.val loss", "dead latents", "F1"]


@pytest.mark.usefixtures("drawn")
def test_the_frontier_joins_runs_that_no_other_beats_in_both(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(9)

    def frontier() -> Plot:
        return next(plot for plot in plots(data_of(campaign)) if plot.name == "frontier-lower")

    assert not frontier().figure.axes[0].lines and "No frontier is drawn" in frontier().caption, "nothing joins noise"
    record = Record.read(campaign.run_folder(1))
    record.model_copy(update={"verdict": VerdictRecord(kind="improved", why="")}).write(campaign.run_folder(1))
    line = next(line for line in frontier().figure.axes[0].lines if line.get_label() == "frontier")
    # The baseline and run 1; run 4 is no evidence, though its loss is lower.
    assert list(line.get_xdata()) == pytest.approx([0.5, 0.65])
    assert list(line.get_ydata()) == pytest.approx([1.0, 0.79])


@pytest.mark.usefixtures("drawn")
def test_a_frontier_has_the_baselines_code_at_other_settings(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    points = {"control k=3": (3.0, 1.4), "control k=9": (9.0, 0.9)}
    controls = [
        ControlRecord(name=name, overrides={"k": x}, run=1, seeds=[0], metrics={"width": [x], "loss": [y]})
        for name, (x, y) in points.items()
    ]
    broken = ControlRecord(
        name="control k=0", overrides={"k": 0}, run=1, metrics={"width": [0], "loss": [0]}, why_none="it diverged"
    )
    record = Record.read(campaign.run_folder(1))
    record.model_copy(update={"control": broken, "frontier": controls}).write(campaign.run_folder(1))
    plot = next(plot for plot in plots(data_of(campaign)) if plot.name == "frontier-context")
    drawn = {each.get_label(): each.get_offsets().tolist() for each in plot.figure.axes[0].collections}
    assert drawn["baseline elsewhere"] == [[3.0, 1.4], [9.0, 0.9]]
    assert [list(line.get_xdata()) for line in plot.figure.axes[0].lines] == [[3.0, 5.0, 9.0]], "with the baseline between"
    assert "the baseline elsewhere at 3, 1.4" in plot.alt and "Open diamonds" in plot.caption
    assert "width has no direction in the contract" in plot.caption and "constraint" not in plot.caption, (
        "nothing names it one"
    )


@pytest.mark.usefixtures("drawn")
def test_numbers_that_no_axis_holds_are_passed_over_or_said(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    rows = [
        {"step": step, "loss": value, "tiny": small} for step, value, small in ((1, 1, 5e-324), (2, 1e300, 1), (3, 2.5, 2))
    ]
    (campaign.run_folder(1) / "train_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert data_of(campaign).runs[1].curves["loss"].values == (1.0, 2.5)
    record = Record.read(campaign.run_folder(2))
    huge = record.metrics["loss"].model_copy(update={"value": 1e308})
    record.model_copy(update={"metrics": record.metrics | {"loss": huge}}).write(campaign.run_folder(2))
    titles = [plot.title for plot in plots(data_of(campaign))]
    assert "loss while training" in titles and "tiny while training" in titles
    assert "loss over the runs (lower is better)" in page(campaign).text
    assert make_pdf(compose(data_of(campaign), "")).startswith(b"%PDF")


@pytest.mark.usefixtures("drawn")
def test_a_figure_that_cannot_be_drawn_is_a_sentence(
    recorded: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = recorded(1)

    def fail(*_: Any) -> None:
        raise ValueError("no such scale")

    monkeypatch.setattr(figures, "_over_runs", fail)
    assert "It cannot be drawn: no such scale." in page(campaign).text
    assert "loss against width" in page(campaign).text


@pytest.mark.usefixtures("drawn")
def test_figures_say_in_words_what_they_show_and_are_always_the_same(recorded: Callable[..., Campaign]) -> None:
    facts = data_of(recorded(3))
    first, again = plots(facts), plots(facts)
    assert "run 0 1; run 1 0.79; run 2 0.88" in first[0].alt
    assert [plot.inline("p") for plot in first] == [plot.inline("p") for plot in again]
    assert 'role="img"' in first[0].inline("p") and first[0].alt in first[0].inline("p")


@pytest.mark.usefixtures("drawn")
def test_no_identifier_stands_twice_in_a_page(recorded: Callable[..., Campaign]) -> None:
    facts = data_of(recorded(5, seeds=3))
    identities = re.findall(r'\bid="([^"]+)"', render([facts, facts]))
    assert len(identities) == len(set(identities)) > 20


@pytest.mark.usefixtures("drawn")
def test_every_part_of_a_figure_that_another_names_is_in_the_page(recorded: Callable[..., Campaign]) -> None:
    html = render([data_of(recorded(5, seeds=3))])
    named = set(re.findall(r'(?:url\(#|<use [^>]*href="#)([^)"]+)', html))
    assert len(named) > 10 and named <= set(re.findall(r'\bid="([^"]+)"', html))


def test_every_link_leads_somewhere_in_the_page(recorded: Callable[..., Campaign]) -> None:
    facts = data_of(recorded(5))
    for html in (render([facts]), render([facts, facts])):
        found = Page(html)
        identities = {attributes["id"] for _, attributes in found.elements if "id" in attributes}
        links = {attributes["href"] for _, attributes in found.elements if "href" in attributes}
        assert {link.removeprefix("#") for link in links} <= identities


@pytest.mark.usefixtures("drawn")
def test_a_unit_stands_in_heads_and_on_axes(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    facts = json.loads(campaign.options_file.read_text())
    facts["contract"]["metric"][0]["unit"] = "nats"
    campaign.options_file.write_text(json.dumps(facts))
    assert plots(data_of(campaign))[0].figure.axes[0].get_ylabel() == "loss (nats)"
    html = render([data_of(campaign)])
    assert html.count("loss (nats)</th>") >= 4
    assert [titled(*each) for each in (("step ms", "ms"), ("step_ms", "ms"), ("items", "ms"))] == [
        "step (ms)",
        "step_ms",
        "items (ms)",
    ]


def answered(campaign: Campaign, run: int, control: ControlRecord | None, **found: Any) -> None:
    """Record what the run was held against: means 0.79 ± 0.01 here, and as `found` says."""
    record = Record.read(campaign.run_folder(run))
    numbers = {"mean": 0.79, "seeds": 4, "reference_seeds": 4, "sd": 0.02, "reference_sd": 0.02} | found
    compared = ComparisonRecord(**{"reference": control.name if control else "run_0"} | numbers)
    verdict = record.verdict.model_copy(update={"against_baseline": compared})
    record.model_copy(update={"control": control, "verdict": verdict}).write(campaign.run_folder(run))


CONTROL = ControlRecord(
    name="control steps=80", overrides={"steps": 80}, run=1, seeds=[0, 1, 2, 3],
    metrics={"loss": [0.57, 0.59, 0.61, 0.63], "distance": [0.1, 0.1, 0.1, 0.1], "width": [7.0, 7.0, 7.0, 7.0]},
)  # fmt: skip


def test_a_run_at_other_settings_is_held_against_its_control_everywhere(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1, seeds=4)
    answered(campaign, 1, CONTROL, reference_mean=0.6, difference=0.19, low=0.1, high=0.28)
    text = page(campaign).text
    assert "significantly improve loss; run 1 has 0.790 ± 0.010 against" in text
    assert "against 0.600 ± 0.010 of the control steps=80" in text
    assert "loss 0.790 ± 0.010 0.600 ± 0.010 +0.190 ± 0.014 worse lower (primary)" in text
    assert "0.790 ± 0.010 0.600 ± 0.010 control steps=80 +0.190 ± 0.014 worse" in text, "in the table of all runs"
    assert "Metrics beside the control steps=80." in text
    assert "control steps=80 steps = 80 4 0.600 ± 0.013" in text, "what was executed for it"
    assert "better" not in text.partition("All runs Runs in order")[2].partition("Hypothesis 0 ")[2].partition("Each run")[0]


@pytest.mark.usefixtures("drawn")
def test_a_baseline_executed_once_more_at_final_seeds_is_said_to_be_that_wherever_its_number_stands(
    recorded: Callable[..., Campaign],
) -> None:
    campaign = recorded(2, seeds=4)
    answered(campaign, 1, None, reference_mean=0.81, difference=-0.02)
    record = Record.read(campaign.run_folder(1))
    final = CONTROL.model_copy(update={"name": "run_0", "seeds": [7, 8, 9, 10]})
    record.model_copy(update={"final_references": [final]}).write(campaign.run_folder(1))
    found = data_of(campaign)
    assert "1 0.790 ± 0.010 0.810 ± 0.010 baseline, final seeds −0.020" in page(campaign).text
    assert "beside the baseline at the same final seeds" in page(campaign).text
    drawn = {each.get_label(): each for each in plots(found)[0].figure.axes[0].collections}
    assert [list(point) for point in drawn["its reference"].get_offsets()] == [[0.8, 0.81]], "beside the run, not below it"
    assert "are against the baseline, for run 1 executed at the final seeds;" in render_md(compose(found, ""), "figures")
    rows = render_notes(
        Idea.model_validate(found.idea), found.contract, "", [run.record for run in found.runs], used=Usage(), person=""
    )
    assert re.search(r"run +loss +reference +verdict", rows) and re.search(r"1 +0\.790 ± 0\.010 +0\.810 ± 0\.010", rows)


def test_commands_are_folded_and_a_column_that_is_the_same_everywhere_is_left_out(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    for run in (0, 1):
        record = Record.read(campaign.run_folder(run))
        width = record.metrics["width"].model_copy(update={"value": 5.0 + run / 100})
        record.model_copy(update={"metrics": {**record.metrics, "width": width}}).write(campaign.run_folder(run))
    shown = Page(render([data_of(campaign)]))
    assert ("details", {"class": "commands", "id": "run-1-commands"}) in shown.elements
    table = shown.text.partition("All runs Runs in order")[2].partition("Each run")[0]
    assert "distance" in table and "width" not in table


def test_a_key_that_no_contract_names_stays_as_it_is_written_in_the_results(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    record = Record.read(campaign.run_folder(1))
    metrics = {**record.metrics, "probe.share_of_rows": record.metrics["loss"]}
    record.model_copy(update={"metrics": metrics}).write(campaign.run_folder(1))
    assert "probe.share_of_rows 0." in page(campaign).text
    assert "probe.share_of_rows" in render_md(compose(data_of(campaign), ""), "figures").replace("\\", "")


def test_the_best_run_is_the_best_beside_its_reference(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2, seeds=4)
    answered(campaign, 1, CONTROL, reference_mean=0.6)
    answered(campaign, 2, None, mean=0.88, reference_mean=1.0, low=-0.2, high=-0.04, difference=-0.12)
    found = data_of(campaign)
    assert found.best is found.runs[2], "though the number of run 1 is lower"
    assert (
        "none of 2 valid runs significantly improves loss; the best valid run, run 2, has 0.880 ± 0.010 against 1.000 ± 0.010 of the "
        "baseline (difference −0.120, 90 % simultaneous CI" in page(campaign).text
    )


def test_a_place_on_the_frontier_answers_for_the_primary_metric_alone(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1, seeds=4)
    place = "frontier at width 6, between run_0 and control k=9"
    points = [
        PointRecord(name=name, at=at, variance=0.0, mean=1.0, seeds=4) for name, at in (("run_0", 5.0), ("control k=9", 9.0))
    ]
    frontier = FrontierRecord(metric="width", at=6.0, variance=0.0, points=points)
    answered(
        campaign, 1, None, reference=place, reference_mean=0.95, low=-0.3, high=-0.02, difference=-0.16, frontier=frontier
    )
    record = Record.read(campaign.run_folder(1))
    record.model_copy(update={"verdict": record.verdict.model_copy(update={"kind": "improved"})}).write(
        campaign.run_folder(1)
    )
    text, place = page(campaign).text, place.replace("run_0", "run 0")
    assert f"Supported: run 1 improves loss, 0.790 ± 0.010 against 0.950 ± 0.010 of the {place} (difference" in text
    assert "loss 0.790 ± 0.010 0.950 ± 0.010 −0.160 ± 0.014 better lower (primary)" in text
    assert f"Metrics beside the {place}, for loss alone." in text
    assert "distance 0.650 ± 0.013 – – lower" in text, "nothing was measured there"


def test_all_improved_runs_are_named(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    for run in (1, 2):
        record = Record.read(campaign.run_folder(run))
        verdict = record.verdict.model_copy(update={"kind": "improved"})
        record.model_copy(update={"verdict": verdict}).write(campaign.run_folder(run))
    found = data_of(campaign)
    said = r"Supported: run 1 improves loss, 0\.79 against 1 of the baseline[^;]*; so does run 2, 0\.8+ against 1 of the baseline"
    assert len(re.findall(said, Page(render([found, found])).text)) == 4, "twice in the table of campaigns"


def test_each_verdict_stands_beside_the_numbers_that_it_rests_on(recorded: Callable[..., Campaign]) -> None:
    """A run that adds nothing to its parent, which improved on the baseline at a price, as one of the shipped sessions does."""
    campaign = recorded(2, seeds=4)
    beside = ComparisonRecord(reference="run_1", mean=0.88, reference_mean=0.79, seeds=4, reference_seeds=4, difference=0.09)
    better = {"difference": -0.12, "low": -0.2, "high": -0.04, "p_adjusted": 0.005}
    for run, kind in ((1, "trade_off"), (2, "not_significant")):
        answered(campaign, run, None, mean=0.88 if run == 2 else 0.79, reference_mean=1.0, **better)
        record = Record.read(campaign.run_folder(run))
        facts = {"kind": kind, "why": "loss 0.88 against 0.79 (run 1)", "guard_violations": ["speed −1 (limit −0.5)"]}
        parent = beside if run == 2 else record.verdict.against_baseline
        verdict = record.verdict.model_copy(update=facts | {"against_parent": parent})
        record.model_copy(update={"verdict": verdict, "parent": run - 1}).write(campaign.run_folder(run))
    found = data_of(campaign)
    headline = "Trade-off: run 1 improves loss, 0.790 ± 0.010 against 1.000 ± 0.010 of the baseline (difference −0.120, 90 % simultaneous"
    text = page(campaign).text
    assert headline in text and text.count("0.790 ± 0.010 against 1.000 ± 0.010 of the baseline") == 1
    assert "Trade-off against the baseline. Not significant against run 1: loss 0.88 against 0.79 (run 1)" in text
    assert re.search(r"0\.880 ± 0\.010 1\.000 ± 0\.010 −0\.120 ± 0\.014 better trade-off run 1: not significant", text)
    paper = " ".join(render_md(compose(found, ""), "figures").split())
    assert headline in paper and paper.count("Trade-off: run 1 improves") == 2, "abstract and results"
    assert re.search(
        r"\| 0\.880 ± 0\.010 \| 1\.000 ± 0\.010 \| −0\.120 \| [^|]+ \| 0\.005 \| trade-off \| 1 \| not significant \|", paper
    )
    assert (
        "**Verdict against run 1:** loss 0.88 against 0.79" in paper
        and "**Verdict against the baseline:** trade-off" in paper
    )
    wide = {"COLUMNS": "120"}
    shown = {each: CliRunner(env=wide).invoke(cli, [*each.split(), str(campaign.root)]).output for each in ("log", "status")}
    row = next(row for row in shown["log"].split("\n") if row.startswith("2 "))
    assert re.search(r"trade-off .*0\.880 ± 0\.010 +−0\.120 ± 0\.014 better +1: not significant", row)
    assert re.search(r"best so far +run 1: loss 0\.790 ± 0\.010, baseline 1\.000 ± 0\.010 .*;\s+trade-off", shown["status"])
    said = CliRunner().invoke(cli, ["show", str(campaign.root), "2"]).output
    assert "trade-off against the baseline, not significant against run 1:" in said
    records = [run.record for run in found.runs]
    notes = " ".join(render_notes(campaign.idea, found.contract, "", records, used=Usage(), person="").split())
    assert "Verdict against the baseline: trade-off. loss: difference −0.120, −0.200 to −0.040, adjusted p 0.005" in notes
    assert "Verdict against run 1: not significant. loss 0.88 against 0.79 (run 1)" in notes


@pytest.mark.parametrize("kind", ["invalid", "not_comparable", "no_effect"])
def test_what_is_no_evidence_is_called_neither_better_nor_worse(recorded: Callable[..., Campaign], kind: str) -> None:
    campaign = recorded(1, seeds=3)
    record = Record.read(campaign.run_folder(1))
    verdict = record.verdict.model_copy(update={"kind": kind})
    record.model_copy(update={"verdict": verdict}).write(campaign.run_folder(1))
    assert 'class="direction' not in render([data_of(campaign)])


def test_advice_of_the_harness_is_shown_as_no_evidence(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    Record.read(campaign.run_folder(1)).model_copy(update={"advice": ["the GPU <b> was shared"]}).write(
        campaign.run_folder(1)
    )
    assert "(not tested): the GPU <b> was shared" in page(campaign).text
    said = [getattr(block, "items", ()) for block in compose(data_of(campaign), "").walk()]
    assert ("the GPU <b> was shared",) in said


def test_settings_that_differ_come_before_the_two_hundredth(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    record = Record.read(campaign.run_folder(1))
    same = {f"same_{i}": SettingRecord(value=1, baseline=1, source="reported") for i in range(500)}
    other = {"last": SettingRecord(value=7, baseline=8, source="reported")}
    record.model_copy(update={"settings": same | other}).write(campaign.run_folder(1))
    text = page(campaign).text
    assert "last 7 8 self-reported" in text and "300 settings more are in the record." in text


def test_refused_and_failed_attempts_are_folded_in_with_their_diffs(make_campaign: Make) -> None:
    script = {"run 1, attempt 1": COMMENT, "run 1, attempt 2": CRASH, "run 1, attempt 3": FASTER}
    html = render([data_of(executed(make_campaign, script, max_runs=1))])
    assert "Attempt 1: rejected" in html and "# five" in Page(html).text
    assert "Attempt 2: smoke test failed" in html and "raise RuntimeError(" in Page(html).text
    assert html.count("too bold") >= 2  # in the change, and at the end of the output


def test_a_campaign_that_is_not_begun_has_a_page(make_campaign: Make) -> None:
    text = page(make_campaign({})).text
    assert "No run is recorded yet, not even the baseline." in text
    assert "Not begun." in text and "Make the loss smaller." in text


def test_a_campaign_with_the_baseline_alone_has_a_page(recorded: Callable[..., Campaign]) -> None:
    assert "Only the baseline is recorded so far: loss 1." in page(recorded(0)).text


@pytest.mark.usefixtures("drawn")
def test_a_campaign_whose_runs_all_failed_has_a_page(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    for run in (1, 2):
        record = Record.read(campaign.run_folder(run))
        failed = {"status": "failed", "metrics": {}, "verdict": record.verdict.model_copy(update={"kind": "failed"})}
        record.model_copy(update=failed).write(campaign.run_folder(run))
    text = page(campaign).text
    assert "Inconclusive: no valid, comparable run." in text
    assert "A cross at the bottom is a run without a value (runs 1, 2)." in text


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
def test_sixty_runs_have_a_page(recorded: Callable[..., Campaign]) -> None:
    found = page(recorded(60, max_runs=60))
    assert len([a for a in found.all("details") if a.get("class") == "run"]) == 61
    assert len([a for a in found.all("details") if "open" in a]) < 5


def test_a_campaign_without_any_metric_in_its_contract_has_a_page(make_campaign: Make, experiment: Path) -> None:
    (experiment / "experiment.toml").unlink()
    campaign = make_campaign({})
    fill(campaign, 2)
    text = page(campaign).text
    assert text.count("no primary metric is named") == 1 + text.count("to draw: no primary metric is named")
    assert "A difference is from" not in text, "there is none"


def test_a_running_campaign_shows_what_it_is_at(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    Journal(campaign.journal).append("started", step="run_3/attempt_1/execute")
    output = Layout(campaign.root).output("run_3/attempt_1/execute")
    output.parent.mkdir(parents=True)
    output.write_text("step 30 of 40\n")
    with locked(campaign.lock):
        html = render([data_of(campaign)], watched=True)
    assert "Running, at run 3 of 10, attempt 1: execution" in html
    assert "step 30 of 40" in html
    assert 'data-refresh="5"' in html
    assert 'data-refresh="5"' not in render([data_of(campaign)], watched=True)  # nothing runs any more


def test_attempts_of_the_run_in_hand_are_shown(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    shutil.rmtree(campaign.run_folder(2) / "attempts")
    forget(campaign, 2)
    journal = Journal(campaign.journal)
    more = {"all_completed": False, "no_answer": "", "hypothesis": "it helps"}
    lines = [json.loads(line) for line in campaign.journal.read_text().splitlines()]
    for line in lines:
        if line["event"] == "done" and line["step"].startswith("run_2/attempt"):
            line["result"] |= more
    campaign.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal.append("done", step="run_2/attempt_1/pre_check", seconds=0, result={"rejected": "nothing changed"})
    text = page(campaign).text
    assert "Run 2, without a record so far" in text
    assert "Attempt 1: rejected. nothing changed" in text
    assert "# run 2, attempt 1" in text


def test_the_run_in_hand_is_shown_while_its_seeds_are_executed(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    folder = campaign.run_folder(2)
    (folder / "record.json").unlink()
    lines = [json.loads(line) for line in campaign.journal.read_text().splitlines()]
    lines = [line for line in lines if line.get("step") != "run_2/record"]
    for line in lines:
        if line["event"] == "done" and line["step"].startswith("run_2/attempt"):
            line["result"] |= {"all_completed": False, "no_answer": "", "hypothesis": "a smaller step helps"}
    campaign.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "log.txt").write_text("it was executed\n")
    journal = Journal(campaign.journal)
    journal.append("done", step="run_2/attempt_1/pre_check", seconds=0, result={"rejected": "nothing changed"})
    executed = {"failure": None, "outcome": {"seconds": 2.0}, "warnings": []}
    journal.append("done", step="run_2/attempt_2/execute", seconds=2, result=executed)
    journal.append("started", step="run_2/seed_1")
    with locked(campaign.lock):
        text = page(campaign).text
    assert "Running, at run 2 of 10: seed" in text
    _, _, shown = text.partition("Run 2, without a record so far")
    assert "Attempt 1: rejected. nothing changed" in shown
    second = shown.partition("Attempt 2: completed")[2]
    assert "a smaller step helps" in second and "# run 2, attempt 2" in second and "it was executed" in second


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('raise SystemExit("no <b>disk</b> left")', "it crashed: exit code 1"),
        ('print("no <b>disk</b> left"); x = 9', "the baseline is invalid, so nothing could be compared with it: "),
    ],
)
def test_a_baseline_that_failed_is_the_headline_with_the_end_of_its_output(
    make_campaign: Make, experiment: Path, line: str, why: str
) -> None:
    code = experiment / "experiment.py"
    code.write_text(code.read_text().replace('print("done"', f'{line}\nprint("done"'))
    campaign = make_campaign({})
    assert go_on(campaign, view=Silent(), stop=Stop()).reason == "baseline_failed"
    found = data_of(campaign)
    text = Page(render([found])).text
    assert f"The baseline failed: {why}" in text
    assert text.count("no <b>disk</b> left") >= 1 and "The end of the baseline’s output" in text
    said = [getattr(block, "text", "") for block in compose(found, "").walk()]
    assert any(each.startswith(f"The baseline failed: {why}") for each in said)
    assert any("no <b>disk</b> left" in each for each in said)
    assert make_pdf(compose(found, "")).startswith(b"%PDF")


@pytest.mark.usefixtures("drawn")
def test_a_copy_on_another_machine_is_read_and_left_as_it_was(make_campaign: Make, tmp_path: Path) -> None:
    campaign = executed(make_campaign, {"run 1, attempt 1": FASTER}, max_runs=1)
    copy = Path(shutil.copytree(campaign.root, tmp_path / "elsewhere", ignore=shutil.ignore_patterns(".harness")))
    shutil.rmtree(campaign.root)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    html = render([read_campaign_data(Layout(copy))])
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before
    assert str(tmp_path) not in html
    assert "0.1" in html and 'class="i"' in html
    assert "1 line added, 1 removed." in Page(html).text


def test_a_copy_without_its_repository_says_that_it_has_no_diffs(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(2)
    shutil.rmtree(campaign.root / ".git")
    assert "git repository is not in this copy" in page(campaign).text


def test_a_machine_without_git_says_so(recorded: Callable[..., Campaign], monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = recorded(2)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "git is not installed or not on PATH" in page(campaign).text


def test_what_is_no_training_log_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "train_log.jsonl"
    log.write_text(
        '{"step": 1, "loss": 2}\nnonsense\n[1]\n{"step": 2, "loss": NaN}\n{"loss": 1.5, "on": true}\n{"loss": 1e999}\n{"loss"'
    )
    curve = read_curves(log)["loss"]
    assert (curve.steps, curve.values) == ((1.0, 5.0), (2.0, 1.5))
    log.unlink()
    os.mkfifo(log)
    assert read_curves(log) == {}


def test_what_lies_behind_a_mean_is_shown_beside_the_baseline(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    for run, scores in ((0, (0.5, 0.6)), (1, (0.25, 0.75))):
        folder = campaign.run_folder(run) / "eval_results"
        folder.mkdir()
        details = [{"letter": letter, "score": score} for letter, score in zip("ab", scores, strict=True)]
        block = {"eval_type_id": "letters", "eval_result_metrics": {"mean": {"score": 0.5}}, "eval_result_details": details}
        (folder / "letters.json").write_text(json.dumps(block))
    text = page(campaign).text
    assert "Behind the means of letters" in text
    assert "a 0.25 (0.5) b 0.75 (0.6)" in text
    (table,) = behind_means(data_of(campaign))  # in the paper's appendix
    assert table.caption == "Behind the means of letters, Run 1; in brackets the baseline."
    assert table.rows == (("a", "0.25 (0.5)"), ("b", "0.75 (0.6)"))


def test_what_a_run_logs_and_the_baseline_does_not_is_drawn(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    for run in (0, 1):
        lines = [{"step": step, "loss": step + run, "l0": step * 2 + run, "dead": step * 3 + run} for step in range(3)]
        if run:
            lines = [line | {"tau": 1 / (1 + line["step"])} for line in lines]
        (campaign.run_folder(run) / "train_log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text = page(campaign).text
    assert "tau while training" in text and "dead while training" not in text


def test_what_an_experiment_writes_itself_is_not_behind_the_means_of_a_scorer(
    recorded: Callable[..., Campaign], experiment: Path
) -> None:
    contract = experiment / "experiment.toml"
    scorer = 'scorer = ["python", "score.py", "{out_dir}", "{scores}"]\n'
    contract.write_text(scorer + contract.read_text())
    campaign = recorded(1)
    forged = {
        "eval_type_id": "letters",
        "eval_result_metrics": {"mean": {"score": 0.99}},
        "eval_result_details": [{"letter": "a", "score": 0.99}],
    }
    folder = campaign.run_folder(1)
    (folder / "final_info.json").write_text(json.dumps(forged))
    assert "Behind the means of" not in page(campaign).text
    (folder / "eval_results").mkdir()
    true = forged | {"eval_result_details": [{"letter": "a", "score": 0.25} | {f"other_{i:02}": i for i in range(20)}]}
    (folder / "eval_results" / "letters.json").write_text(json.dumps(true))
    text = page(campaign).text
    assert "Behind the means of letters" in text and "a 0.25" in text and "0.99" not in text
    assert "9 columns more in the result file" in text


def test_details_of_several_seeds_are_those_of_the_first(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1, seeds=3)
    (campaign.run_folder(1) / "eval_results").mkdir()
    block = {
        "eval_type_id": "letters",
        "eval_result_metrics": {"mean": {"score": 1}},
        "eval_result_details": [{"letter": "a", "score": 1}],
    }
    (campaign.run_folder(1) / "eval_results" / "letters.json").write_text(json.dumps(block))
    assert "letters of the first seed; the baseline's number in brackets" in page(campaign).text


def test_certain_numbers_in_the_agents_words_are_marked_where_they_stand(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    record = Record.read(campaign.run_folder(1))
    words = "The loss is 0.79, and x is 12. In run_0 the loss was 3.21. <b>"
    record.model_copy(update={"interpretation": words}).write(campaign.run_folder(1))
    found = data_of(campaign)
    html = statement_html(words, found, found.runs[1].record, "interpretation")
    assert re.findall(r'<span class="checked (\w+)" title="[^"]*">([^<]*)<sup>', html) == [
        ("matches", "0.79"),
        ("contradicts", "3.21"),
    ]
    assert "3.21<sup>✗</sup></span> <span class=" in html and "[contradicts run_0: loss is 1" in html
    assert "&lt;b&gt;" in html and html in render([found])


def test_an_unknown_cost_is_not_zero(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(1)
    record = Record.read(campaign.run_folder(1))
    record.model_copy(update={"usage": replace(record.usage, cost=None)}).write(campaign.run_folder(1))
    assert '<td class="number" data-value="">unknown</td>' in render([data_of(campaign)])


def test_several_campaigns_share_a_page(recorded: Callable[..., Campaign]) -> None:
    facts = data_of(recorded(2))
    text = Page(render([facts, facts])).text
    assert "Report of 2 campaigns" in text and text.count("Supported: run 2 improves loss, 0.88") == 4


def test_a_report_is_written_beside_the_campaigns(recorded: Callable[..., Campaign], tmp_path: Path) -> None:
    layout = Layout(recorded(0).root)
    assert default_file([layout]) == layout.root.parent / "small-report.html"
    assert default_file([layout, layout]) == layout.root.parent / "report.html"
    with pytest.raises(InputError, match="--out FILE"):
        write_report([layout], tmp_path / "no" / "such" / "folder.html")


def test_watching_writes_when_something_happened_and_ends_with_the_campaign(
    recorded: Callable[..., Campaign], tmp_path: Path
) -> None:
    campaign = recorded(1)
    file = tmp_path / "report.html"
    waits: list[str] = []
    lock = locked(campaign.lock)
    lock.__enter__()

    def wait() -> None:
        waits.append(file.read_text())
        if len(waits) == 1:
            Journal(campaign.journal).append("started", step="run_2/attempt_1/turn")
        else:
            lock.__exit__(None, None, None)

    watch([Layout(campaign.root)], file, wait=wait)
    assert len(waits) == 2
    assert "run 2 of 10" not in waits[0] and "run 2 of 10, attempt 1: agent" in waits[1]
    assert "data-refresh" in waits[1] and "data-refresh" not in file.read_text().split("<script>")[0]


def _templates() -> str:
    return (
        "".join(path.read_text() for path in (Path(__file__).parents[1] / "templates" / "report").glob("*.j2"))
        + "<h2<h3<h4<h5"
    )


def test_of_many_improved_runs_the_best_has_its_numbers_and_some_are_named(recorded: Callable[..., Campaign]) -> None:
    campaign = recorded(14)
    for run in range(1, 15):
        record = Record.read(campaign.run_folder(run))
        verdict = record.verdict.model_copy(update={"kind": "improved", "guard_violations": [], "caveats": []})
        record.model_copy(update={"verdict": verdict, "status": "completed"}).write(campaign.run_folder(run))
    said = summarize(data_of(campaign), Estimates(data_of(campaign))).headline
    assert re.fullmatch(
        rf"Supported: run \d+ improves loss, [^;]*; so do runs (\d+, ){{8}}and \d more\. {re.escape(NOTHING_HELD_OUT)}",
        said.replace(" and", ", and"),
    ), said
