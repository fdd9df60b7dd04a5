"""What an idea cites: from a BibTeX file beside it to the list of references of the paper."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.campaign.bibliography import read_works, with_citations
from harness.campaign.campaign import Campaign, Options, create_campaign
from harness.campaign.contract_file import load_contract
from harness.campaign.errors import InputError
from harness.campaign.idea import Idea, load_ideas
from harness.campaign.layout import Layout
from harness.cli.main import cli
from tests.synthetic import fill

ROOT = Path(__file__).parents[1]
SMALL = Path(__file__).parent / "small"
IDEA = {
    "Name": "cites",
    "Title": "An idea that cites",
    "Abstract": r"As in [@gao; @chanin], unlike \cite{gao,nobody}.",
    "Experiment": ["Lower the loss [@own]."],
    "Remarks": r"Twice: \citep[p. 3]{gao}.",
}
WORKS = r"""
@article{gao, title = {Scaling {SAEs}}, author = {Gao, Leo and Dupr{\'e} la Tour, Tom and others}, journal = {ICLR}, year = 2025}
@misc{own, title = {My own notes}, year = {2026}}
"""


def campaign(folder: Path, works: str = WORKS) -> Campaign:
    experiment = Path(shutil.copytree(SMALL, folder / "experiment", ignore=shutil.ignore_patterns("__pycache__")))
    (experiment / "experiment.bib").write_text(
        "@misc{chanin, title={A is for Absorption}, doi={10.1/2}}\n@misc{own, title={Theirs}}"
    )
    (folder / "idea.bib").write_text(works)
    made = create_campaign(
        folder / "runs",
        Idea(**IDEA),
        experiment,
        Options(agent="tests.scripted:ScriptedAgent"),
        python=sys.executable,
        bibliography=folder / "idea.bib",
    )
    fill(made, 1)
    return made


def paper(made: Campaign, form: str = "md") -> tuple[str, str]:
    file = made.root.parent / f"paper.{form}"
    done = CliRunner().invoke(cli, ["writeup", str(made.root), "--format", form, "--out", str(file)])
    assert done.exit_code == 0, done.output
    return file.read_text(), done.stderr


def test_a_paper_lists_what_its_idea_cites_in_the_order_of_citation(tmp_path: Path) -> None:
    text, said = paper(campaign(tmp_path))
    assert r"As in \[1, 2\], unlike \\cite{gao,nobody}" in text and r"Twice: \[1\]." in text
    references = text.partition("References\n")[2].partition("\n## ")[0]
    assert [row for row in references.split("\n") if row] == [
        r"**\[1\]** Leo Gao, Tom Dupré la Tour et al. Scaling SAEs. ICLR, 2025.",
        r"**\[2\]** A is for Absorption. https\://doi.org/10.1/2",
        r"**\[3\]** My own notes. 2026.",
    ]
    assert "The idea cites nobody, which neither" in said and "in the paper it stays as it is written" in said


@pytest.mark.parametrize("form", ["md", "tex", "html"])
def test_every_format_has_the_references_and_they_are_no_numbers_of_somebodys(tmp_path: Path, form: str) -> None:
    made = campaign(tmp_path)
    assert "Scaling SAEs" in paper(made, form)[0]
    done = CliRunner().invoke(cli, ["check", str(made.root), "--file", str(made.root.parent / f"paper.{form}")])
    assert (done.exit_code, "unverified" in done.output) == (0, False), done.output


def test_the_campaign_keeps_what_it_cites(tmp_path: Path) -> None:
    made = campaign(tmp_path)
    shutil.rmtree(tmp_path / "experiment")
    (tmp_path / "idea.bib").unlink()
    assert list(read_works(*Layout(made.root).bibliographies)) == ["chanin", "own", "gao"]


def test_a_paper_that_cites_nothing_has_no_references(tmp_path: Path) -> None:
    made = campaign(tmp_path)
    made.idea_file.write_text(json.dumps({**IDEA, "Abstract": "x", "Experiment": "y", "Remarks": "mail [a@b.c]"}))
    assert "References" not in paper(made)[0]


@pytest.mark.parametrize(
    ("works", "why"), [("@misc{gao, title = {", "line 1: not BibTeX:"), ("@misc{gao}\n@misc{gao}", "repeated")]
)
def test_a_file_that_is_no_bibtex_is_refused_before_anything_is_spent(tmp_path: Path, works: str, why: str) -> None:
    (tmp_path / "cites.json").write_text(json.dumps(IDEA))
    (tmp_path / "cites.bib").write_text(works)
    typed = ["run", str(tmp_path / "cites.json"), "--experiment", str(SMALL), "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(cli, [*typed, "--agent", "tests.scripted:ScriptedAgent"])
    assert done.exit_code == 2 and f"{tmp_path}/cites.bib: " in done.output and why in done.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a [@x].", "a [1]."),
        (r"a~\citet{x,y}", "a~ [1, 2]"),
        ("[@x, @y] and [@x]", " [1, 2] and [1]"),
        ("a [@x; @z]", "a [@x; @z]"),
        ("write me@x.y or [see @x]", "write me@x.y or [see @x]"),
        ("[@]", "[@]"),
    ],
)
def test_citations_are_numbered(text: str, shown: str) -> None:
    assert with_citations(text, {"x": "1", "y": "2"}.get) == shown


@pytest.mark.parametrize(
    "field", ["title = {T}", "title = {T}, year = {2020}, author = {A}, note = {}", "editor={E and F}", ""]
)
def test_an_entry_may_lack_any_field(tmp_path: Path, field: str) -> None:
    (tmp_path / "a.bib").write_text(f"@unheardof{{k, {field}}}")
    assert read_works(tmp_path / "a.bib")["k"].text.strip()


def test_shipped_ideas_and_contract_cite_only_what_is_there() -> None:
    from harness.campaign.bibliography import unknown

    description = load_contract(ROOT).description
    files = [*(ROOT / "ideas").glob("*.json")]
    assert "[@" in description and not unknown({"description": description}, ROOT / "experiment.bib")
    for file in files:
        assert unknown(load_ideas(file).choose(None).model_dump(), file.with_suffix(".bib"), ROOT / "experiment.bib") == ""


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.bib").write_bytes(b"@misc{k, title={\xff}}")
    with pytest.raises(InputError, match=r"a\.bib: not UTF-8 text \(byte 16\)"):
        read_works(tmp_path / "a.bib")
