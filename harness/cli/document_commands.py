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
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File to write (default: beside the campaign's folder).",
)
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
@click.option("--watch", is_flag=True, help="Keep writing it anew while a campaign runs.")
def report(campaigns: tuple[str, ...], out: Path | None, opens: bool, watch: bool) -> None:
    """One HTML file to look at: verdicts, figures, all runs with their diffs, and how to reproduce each number.

    The page needs no network and no server. It is made from records alone, also while a campaign runs. Without a name it is
    the latest campaign; several names make one page of them.

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
    help="Format of the paper.",
)
@click.option("--prose", metavar="MODEL", help="Model that writes introduction, discussion and conclusion.")
@click.option("--file", "text", metavar="TEXT", help="Fill in the references in a text of yours instead.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File to write (default: beside the campaign's folder).",
)
def writeup(campaign: str, form: Any, prose: str | None, text: str | None, out: Path | None) -> None:
    """A campaign as a paper: idea, method, results with intervals, every run, threats to validity, cost, reproduction.

    Every sentence and number comes from the records; your own section of the notes is included. With --prose a model writes
    the text between the tables. In place of numbers and verdicts it writes references, {{run 2: absorption}} and {{run 2 vs
    baseline: absorption}}, which the harness fills in with noise, interval and verdict. A sentence with a typed number or
    verdict goes back to the model twice, then it is left out and listed.

    The PDF takes letters such as Chinese from the fonts of this machine; in the .tex they stand as their numbers, [U+6F22].

    \b
    Example:
      harness writeup latest --format pdf
      harness writeup latest --format tex --prose sonnet
      harness writeup latest --file talk.md

    Next: `harness check latest --file TEXT` compares an edited paper with the records.
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
