"""Commands that look at campaigns. They write nothing, so the folder may be of another machine, and read-only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..campaign.errors import HarnessError, InputError
from ..campaign.files import read_text
from ..campaign.numbers import counted
from .options import CAMPAIGN, CSV, JSON, differs, find_campaign, only_one, print_csv, print_json, recorded, said_to_differ
from .terminal import width

if TYPE_CHECKING:
    from ..campaign.layout import Layout
    from ..claims.check import Finding
    from ..report.terminal.status import CampaignStatus


@click.command(short_help="Where a campaign stands, also while it runs.")
@click.argument("campaign", required=False)
@click.option("--all", "every", is_flag=True, help="Print only a line for each campaign in ./runs.")
@JSON
def status(campaign: str | None, every: bool, as_json: bool) -> None:
    """Where a campaign stands, also while another process runs it.

    Without a name it is the latest campaign; where there are several, a line for each stands above it.

    \b
    Example:
      harness status hierarchy

    Next: one of the commands below `next`.
    """
    from ..campaign.layout import RUNS, layouts
    from ..report.terminal import status_page as show
    from ..report.terminal.status import read_status

    places = layouts()
    if every or (campaign is None and not as_json and len(places) > 1):
        found = [status for layout in places if (status := _readable(layout))]
        if as_json:
            print_json([show.status_facts(status) for status in found])
        elif not places:
            click.echo(f"{RUNS}: no campaign yet. `harness run IDEA.json` starts one.")
        elif found:
            click.echo("\n".join(show.overview(found, width())))
        if every:
            return
        click.echo()
    layout = find_campaign(campaign or "latest")
    status = read_status(layout)
    if as_json:
        print_json(show.status_facts(status))
    else:
        click.echo(show.status(status, show.typed(layout), width()))


def _readable(layout: Layout) -> CampaignStatus | None:
    """Where a campaign stands; None for one that cannot be read, of which it is said why: it hides no other."""
    from ..report.terminal.status import read_status

    try:
        return read_status(said_to_differ(layout))
    except HarnessError as error:
        differs(str(error))
        return None


@click.command(short_help="One line a run.")
@CAMPAIGN
@JSON
@CSV
def log(campaign: str, as_json: bool, as_csv: bool) -> None:
    """One line a run: verdict, primary metric, difference from the baseline with its noise, cost, time, hypothesis.

    A line 2.1 is attempt 1 at run 2: it was rejected, or failed, or the agent said ALL_COMPLETED. Columns for which the
    terminal is too narrow are left out; --json and --csv have all of them, and each value that a search without a model
    tried.

    \b
    Example:
      harness log latest

    Next: `harness show latest 2`, `harness diff latest 2`.
    """
    from ..report.terminal import run_table
    from ..report.terminal.status import read_status

    only_one(as_json, as_csv)
    status = read_status(find_campaign(campaign))
    if as_json:
        print_json(run_table.log_facts(status))
    elif as_csv:
        print_csv(run_table.log_columns(status), run_table.log_records(status))
    else:
        click.echo(run_table.log(status, width()))


@click.command(short_help="The whole record of one run.")
@CAMPAIGN
@click.argument("run")
@JSON
@CSV
def show(campaign: str, run: str, as_json: bool, as_csv: bool) -> None:
    """The whole record of one run: each metric beside the baseline's, with the noise between seeds.

    --json prints the record as its file has it, --csv its table of metrics.

    \b
    Example:
      harness show latest 2

    Next: `harness diff latest 2` is its change of the code.
    """
    from ..report.terminal import record_page

    only_one(as_json, as_csv)
    layout = find_campaign(campaign)
    record = layout.record(recorded(layout, run))
    if as_json:
        print_json(record)
        return
    facts = record, layout.record(0), layout.facts()["contract"]
    if as_csv:
        print_csv(record_page.CSV, record_page.record_rows(*facts))
    else:
        click.echo(record_page.record(*facts, width()))


@click.command(short_help="Runs of several campaigns side by side.")
@click.argument("campaigns", nargs=-1, required=True, metavar="CAMPAIGN...")
@click.option(
    "--metric", metavar="M", help="Metric to compare (default: the primary metric of the first campaign's contract)."
)
@JSON
@CSV
def compare(campaigns: tuple[str, ...], metric: str | None, as_json: bool, as_csv: bool) -> None:
    """Runs of one or several campaigns side by side: verdicts, seeds, noise, and the settings that differ.

    Campaigns that are not comparable with the first are named with the reason: another contract, profile, scale, baseline
    code or environment.

    \b
    Example:
      harness compare hierarchy hierarchy-2
      harness compare hierarchy --metric explained_variance --csv

    Next: `harness show CAMPAIGN RUN` for one of them.
    """
    from ..report.terminal import compare as comparison

    only_one(as_json, as_csv)
    found = comparison.compare([find_campaign(name) for name in campaigns], metric)
    if as_json:
        print_json(comparison.facts(found))
    elif as_csv:
        print_csv(comparison.CSV, comparison.records(found))
    else:
        click.echo(comparison.render(found, width()))


@click.command(short_help="What was tested, and what came of it.")
@CAMPAIGN
def notes(campaign: str) -> None:
    """The notes: what was tested, with which results, and what the agent and you said.

    \b
    Example:
      harness notes latest

    Next: write your own notes between the two marked lines of notes.txt; they stay when the rest is written anew.
    """
    from ..campaign.text import clean, decoded

    layout = find_campaign(campaign)
    try:
        click.echo(clean(decoded(layout.all_notes(), "replace").replace("\r\n", "\n")), nl=False)
    except FileNotFoundError:
        raise InputError(f"{layout.notes}: no notes yet; they are written with the first record.") from None


@click.command(short_help="Exactly what the agent would be told next.")
@CAMPAIGN
@JSON
def brief(campaign: str, as_json: bool) -> None:
    """Exactly what the agent would be told next; its number of tokens goes to standard error.

    For a search without a model it is the next proposal, and the results that it rests on.

    --json is for a coding agent that drives a campaign (`harness open`): the brief, the folder and the files to edit, which
    run's code they have, how long an execution takes, and what is left.
    While a try runs, after the end, and once a budget is spent, `brief` is null.

    \b
    Example:
      harness brief latest

    Next: `harness tell latest "..."` adds words of yours to it.
    """
    from ..agents.aider import count_tokens
    from ..agents.listing import is_search
    from ..campaign.campaign import Campaign
    from ..campaign.errors import BudgetSpent
    from ..campaign.text import clean
    from ..continuation import NothingToTell, next_brief

    place = Campaign(find_campaign(campaign).root.absolute())
    if as_json:
        from ..report.terminal.outcome import standing

        try:
            told: dict[str, str | None] = {"brief": clean(next_brief(place))}
        except (NothingToTell, BudgetSpent) as nothing:  # where it stands is told all the same
            told = {"brief": None, "message": str(nothing)}
        print_json({"campaign": place.name, **standing(place), **told})
        return
    text = next_brief(place)
    click.echo(clean(text))
    if is_search(place.options().agent):
        return
    counted = count_tokens(text, model=place.options().model)
    said = f"{counted[0]:,} tokens" if counted else f"about {len(text) // 4:,} tokens (four characters each)"
    click.echo(said, err=True)


@click.command(short_help="Compare numbers in the agent's words with the records.")
@CAMPAIGN
@click.option(
    "--file", "text", metavar="TEXT", help="Check this file, such as an edited paper, in place of the agent's words."
)
def check(campaign: str, text: str | None) -> None:
    """Compare the numbers in the agent's words, or in a text of yours, with the records.

    A number is compared where it is certain which metric and which run it is about; nothing else is checked. A sentence that
    was written before a run is compared only with the runs that it names. In a text of yours the references, such as
    {{run 2: absorption}}, are filled in first. Exit code 4: a number contradicts a record.

    \b
    Example:
      harness check latest
      harness check latest --file paper.md

    Next: `harness writeup latest --file paper.md` fills in the references of a text.
    """
    from ..campaign.campaign import Campaign
    from ..campaign.text import item
    from ..claims.check import contradictions, words_on
    from ..report.terminal.columns import wrap

    layout = find_campaign(campaign)
    if text is not None:
        from ..report.unedited import held

        findings, unverified = held(_read(text), layout, text)
        spoken = [(text, findings)]
        for number, typed in unverified:
            click.echo(item(", ".join(typed), f"unverified, line {number}: ", "    "))
    else:
        place = Campaign(layout.root.absolute())
        records = place.read_records()
        spoken = [
            (f"run {record.run}, {name}", found)
            for record in records
            for name, found in words_on(record, records, place.contract).items()
        ]
    wrong = 0
    for title, found in spoken:
        wrong += len(contradictions(found))
        if found:
            click.echo(f"{title}:\n{_findings(found)}\n")
    if text is not None or any(found for _, found in spoken):
        click.echo(f"{counted(wrong, 'contradiction')} with the records.")
    else:
        said = "Nothing to compare: no number certainly belongs to one metric and one run."
        click.echo("\n".join(wrap(said, width(), "", "")))
    if wrong:
        sys.exit(4)


def _findings(findings: Sequence[Finding]) -> str:
    """What contradicts a record, with its sentence, and how many match."""
    from ..campaign.text import item
    from ..claims.check import contradictions

    wrong = contradictions(findings)
    rows: list[str] = []
    for sentence in dict.fromkeys(finding.sentence for finding in wrong):
        rows.append(item(sentence, "  contradicted: ", "    "))
        rows += [item(f"{f.claim}: {f.why}", "    - ", "      ") for f in wrong if f.sentence == sentence]
    rows.append(f"  {len(findings) - len(wrong)} of {len(findings)} checked numbers match, {len(wrong)} contradict a record")
    return "\n".join(rows)


def _read(name: str) -> str:
    try:
        return read_text(Path(name), "replace")
    except OSError as error:
        raise InputError(f"--file {name}: cannot be read: {error.strerror}.") from error
