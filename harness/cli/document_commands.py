"""Commands that write what is read away from the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..campaign.errors import InputError
from ..campaign.files import read_text, write_atomically
from .options import CAMPAIGN, find_campaign

if TYPE_CHECKING:
    from ..report.campaign_data import CampaignData


@click.command(short_help="One HTML file with verdicts, figures, diffs.")
@click.argument("campaigns", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Where to write it.")
@click.option("--open", "opens", is_flag=True, help="Show it in the browser.")
@click.option("--watch", is_flag=True, help="Write it again while a campaign runs.")
def report(campaigns: tuple[str, ...], out: Path | None, opens: bool, watch: bool) -> None:
    """One HTML file to look at: verdicts, figures, all runs with their diffs, and how to reproduce each number.

    It needs no network and no server. Made from records alone, also of a campaign that still runs (the latest by default).

    \b
    Example:
      harness report latest --open

    Next: `harness show latest RUN` and `harness diff latest RUN` for the runs that it names.
    """
    from ..report.html.report import default_file, write_report
    from ..report.html.report import watch as keep_writing

    layouts = [find_campaign(name) for name in campaigns or ("latest",)]
    file = out or default_file(layouts)
    write_report(layouts, file, watched=watch)
    click.echo(file)
    if opens:
        click.launch(str(file))
    if watch:
        keep_writing(layouts, file)


@click.command(short_help="A campaign as a paper: md, tex, pdf, html.")
@CAMPAIGN
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "tex", "pdf", "html"]),
    default="pdf",
    show_default=True,
    help="Of the file.",
)
@click.option("--prose", metavar="MODEL", help="A model that writes introduction, discussion and conclusion.")
@click.option("--file", "text", metavar="TEXT", help="A text of yours instead: its references are filled in.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Where to write it.")
def writeup(campaign: str, form: Any, prose: str | None, text: str | None, out: Path | None) -> None:
    """A campaign as a paper: idea, method, results with intervals, every run, doubts, cost, reproduction.

    Every sentence and number is rendered from records; your own section of the notes goes along. With --prose a model writes
    the text between the tables. It types no number and no verdict but references, {{run 2: absorption}} and {{run 2 vs
    baseline: absorption}}, which are filled in with noise, interval and verdict; a sentence in which it does is sent back
    twice, then left out and listed. With --file the references in a text of yours are filled in.

    The PDF takes letters such as Chinese from the fonts of this machine; in the .tex they stand as their numbers, [U+6F22].

    \b
    Example:
      harness writeup latest --format pdf
      harness writeup latest --format tex --prose sonnet
      harness writeup latest --file talk.md

    Next: `harness notes latest`, whose section of yours is part of it.
    """
    from ..campaign.bibliography import read_works, unknown
    from ..campaign.text import clean
    from ..report.campaign_data import read_campaign_data
    from ..report.paper.publication import default_file, publish
    from ..report.paper.writeup import compose, read_person

    layout = find_campaign(campaign)
    data, person = read_campaign_data(layout), read_person(layout)
    if text is not None:
        if prose:
            raise InputError("--file fills in a text of yours, and --prose has a model write: give one of them.")
        click.echo(_filled(data, Path(text), out or layout.root.resolve().parent / f"{layout.name}-{Path(text).name}"))
        return
    if missing := unknown(data.idea, *layout.bibliographies):
        click.echo(clean(missing), err=True)
    works = read_works(*layout.bibliographies)
    document = compose(data, person, works=works)
    if prose:
        from ..report.paper.prose import write

        written = write(data, document, prose, lambda said: click.echo(clean(said), err=True))
        document = compose(data, person, written, works)
        for each in written.dropped:
            click.echo(clean(f"left out: {each}"), err=True)
    for file in publish(document, form, out or default_file(layout, form)):
        click.echo(file)


def _filled(data: CampaignData, file: Path, out: Path) -> Path:
    """The text in `file` with its references filled in, written to `out`."""
    from ..report.estimates import Estimates
    from ..report.number_references import NumberReferences

    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--file {file}: cannot be read: {error}.") from error
    content = NumberReferences(data, Estimates(data)).fill(text, f"--file {file}")
    try:
        write_atomically(out, content)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}. --out FILE names another place.") from error
    return out
