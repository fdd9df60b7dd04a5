"""Commands that look at campaigns. They write nothing, so the folder may be of another machine, and read-only."""

from __future__ import annotations

import sys

import click

from ..errors import InputError
from ..terminal import width
from .parts import CAMPAIGN, JSON, print_json, recorded


@click.command()
@click.argument("campaign", default="latest")
@click.option("--all", "every", is_flag=True, help="A line for each campaign in ./runs.")
@JSON
def status(campaign: str, every: bool, as_json: bool) -> None:
    """Where a campaign stands (the latest), also while another process runs it.

    \b
    Example:
      harness status hierarchy

    Next: what the line `next` says.
    """
    from .. import show
    from ..layout import RUNS, find_layout, layouts
    from ..standing import stand

    if every:
        found = [(layout, stand(layout)) for layout in layouts()]
        if as_json:
            print_json([show.status_facts(standing) for _, standing in found])
        elif not found:
            click.echo(f"{RUNS}: no campaign yet. `harness run IDEA.json` starts one.")
        else:
            click.echo("\n".join(show.overview([standing for _, standing in found], width())))
        return
    layout = find_layout(campaign)
    standing = stand(layout)
    if as_json:
        print_json(show.status_facts(standing))
    else:
        click.echo(show.status(standing, show.typed(layout), width()))


@click.command()
@CAMPAIGN
@JSON
def log(campaign: str, as_json: bool) -> None:
    """One line a run and attempt: status, verdict, primary metric, tokens, cost, time, hypothesis.

    2.1 is the first attempt at run 2. Columns that do not fit the terminal are left out.

    \b
    Example:
      harness log latest

    Next: `harness show latest 2`, `harness diff latest 2`.
    """
    from .. import show
    from ..layout import find_layout
    from ..standing import stand

    standing = stand(find_layout(campaign))
    if as_json:
        print_json(show.log_facts(standing))
    else:
        click.echo(show.log(standing, width()))


@click.command()
@CAMPAIGN
@click.argument("run")
@JSON
def show(campaign: str, run: str, as_json: bool) -> None:
    """The whole record of one run.

    \b
    Example:
      harness show latest 2

    Next: `harness diff latest 2` is its change of the code.
    """
    from .. import show as rendering
    from ..layout import find_layout, read_json

    layout = find_layout(campaign)
    record = read_json(layout.record_file(recorded(layout, run)))
    if as_json:
        print_json(record)
    else:
        click.echo(rendering.record(record, width()))


@click.command()
@CAMPAIGN
@click.argument("a")
@click.argument("b", required=False)
def diff(campaign: str, a: str, b: str | None) -> None:
    """The code change of run A against the run that it started from, or between runs A and B.

    \b
    Example:
      harness diff latest 3
      harness diff latest 1 3

    Next: `harness show latest 3`.
    """
    from ..campaign import Campaign
    from ..layout import find_layout, read_json
    from ..repository import Repository
    from ..show import diff as rendered

    layout = find_layout(campaign)
    first = read_json(layout.record_file(recorded(layout, a)))
    if b is not None:
        old, new = first["commit"], read_json(layout.record_file(recorded(layout, b)))["commit"]
        where = f"between run {first['run']} and run {b.removeprefix('run_')}"
    elif first["parent"] is None:
        raise InputError("run 0 is the untouched experiment, so it has no change.")
    else:
        old, new = read_json(layout.record_file(first["parent"]))["commit"], first["commit"]
        where = f"from run {first['parent']} to run {first['run']}"
    place = Campaign(layout.root.absolute())
    text = Repository(place.root, place.local).diff(old, new, place.code)
    click.echo(rendered(text) if text else f"No difference {where}.")


@click.command()
@CAMPAIGN
def notes(campaign: str) -> None:
    """The notes: what was tested, with which numbers, and what the agent and people said.

    \b
    Example:
      harness notes latest

    Next: write your own part at the end of notes.txt; it survives every rendering.
    """
    from ..layout import find_layout
    from ..text import clean

    layout = find_layout(campaign)
    try:
        click.echo(clean(layout.notes.read_text(encoding="utf-8", errors="replace")), nl=False)
    except FileNotFoundError:
        raise InputError(f"{layout.notes}: no notes yet; they are written with the first record.") from None


@click.command()
@CAMPAIGN
def brief(campaign: str) -> None:
    """Exactly what the agent would be told next; its number of tokens goes to standard error.

    \b
    Example:
      harness brief latest

    Next: `harness tell latest "..."` adds a person's word to it.
    """
    from ..agents.aider import count_tokens
    from ..campaign import Campaign
    from ..layout import find_layout
    from ..loop import next_brief

    place = Campaign(find_layout(campaign).root.absolute())
    text = next_brief(place)
    click.echo(text)
    count = count_tokens(text, place.options().model)
    said = f"{count:,} tokens" if count is not None else f"about {len(text) // 4:,} tokens (four characters each)"
    click.echo(said, err=True)


@click.command()
@CAMPAIGN
def check(campaign: str) -> None:
    """The agent's words beside the records: which numbers and claims match, contradict, or have no source.

    Exit code 4 where something contradicts.

    \b
    Example:
      harness check latest

    Next: `harness notes latest`, where what contradicts is marked.
    """
    from ..campaign import Campaign
    from ..check import check as check_words
    from ..check import contradictions, render
    from ..layout import find_layout

    place = Campaign(find_layout(campaign).root.absolute())
    records, wrong = place.read_records(), 0
    for record in records:
        for name in ("description", "interpretation"):
            found = check_words(getattr(record, name), records[: record.run + 1], place.contract, about=record.run)
            wrong += len(contradictions(found))
            if found:
                click.echo(f"run {record.run}, {name}:\n{render(found)}\n")
    click.echo(f"{wrong} contradiction{'' if wrong == 1 else 's'} with the records.")
    sys.exit(4 if wrong else 0)
