"""Commands about the code that a run changed: to look at, and to take over."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..campaign.errors import InputError
from ..campaign.layout import Layout
from ..campaign.text import in_words
from .options import ATTEMPT, CAMPAIGN, find_campaign, only_one, print_csv, print_json, recorded
from .terminal import has_colours, show_paged, width


@click.command(short_help="The code change of a run.")
@CAMPAIGN
@click.argument("a")
@click.argument("b", required=False)
@click.option("--stat", is_flag=True, help="Print how many lines of which files changed, not the change itself.")
@click.option("--word-diff", "words", is_flag=True, help="Mark changed words in the line: [-removed-] and {+added+}.")
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Colour syntax and change; auto: on a terminal.",
)
@click.option(
    "--no-pager", is_flag=True, help="Print without a pager (by default a terminal shows it in the pager that git uses)."
)
@click.option("--json", "as_json", is_flag=True, help="With --stat: print JSON, for programs.")
@click.option("--csv", "as_csv", is_flag=True, help="With --stat: print CSV, for programs.")
def diff(
    campaign: str, a: str, b: str | None, stat: bool, words: bool, color: str, no_pager: bool, as_json: bool, as_csv: bool
) -> None:
    """The code change of run A against the run that it started from, or between runs A and B.

    `1.2` is attempt 2 at run 1, as `harness log` numbers it. In a file or a pipe it is a patch that `git apply` takes.

    \b
    Example:
      harness diff latest 3
      harness diff latest 1 3 --stat
      harness diff latest 0 3 > change.patch

    Next: `harness adopt latest 3` brings the change into your own experiment.py.
    """
    from dataclasses import asdict

    from ..campaign.campaign import Campaign
    from ..campaign.repository import Repository
    from ..report.terminal import diff as patch

    only_one(as_json, as_csv)
    if (as_json or as_csv) and not stat:
        raise InputError("diff: --json and --csv are of the table that --stat shows.")
    if stat and words:
        raise InputError("diff: --stat and --word-diff: choose one.")
    layout = find_campaign(campaign)
    old, start, new = _code_of(layout, a)
    if b is not None:
        old, (*_, new) = new, _code_of(layout, b)
        where = f"between run {a.removeprefix('run_')} and run {b.removeprefix('run_')}"
    elif not old:
        raise InputError("run 0 is the unmodified experiment, so it has no change.")
    else:
        where = f"from {start} to run {a.removeprefix('run_')}"
    place = Campaign(layout.root.absolute())
    option = ["--numstat", "-z"] if stat else ["--word-diff=porcelain"] if words else []
    repository = Repository(place.root, place.local)
    text = repository.diff(old, new, place.code, *option)
    coloured = color == "always" or (color == "auto" and has_colours())
    files = patch.changes(text) if stat else []
    if as_json:
        print_json([asdict(each) for each in files])
    elif as_csv:
        print_csv(patch.CSV, [tuple(asdict(each).values()) for each in files])
    elif not text:
        click.echo(f"No difference {where}.")
    elif not (stat or words or coloured or sys.stdout.isatty()):
        sys.stdout.buffer.write(repository.patch_in_letters(old, new, place.code))  # git applies it
    else:
        if stat:
            shown = patch.stat(files, width())
        else:
            shown = patch.words_in_colours(text) if words else patch.in_colours(text)
        show_paged(shown if coloured else click.unstyle(shown), coloured, pager=not no_pager)


def _code_of(layout: Layout, text: str) -> tuple[str, str, str]:
    """The commit of what a run or attempt (`1.2`) started from ("" for the baseline), what that is, and the commit of its
    own code. Raises InputError."""
    from ..report.terminal.status_page import typed

    if not ATTEMPT.fullmatch(text):
        record = layout.record(recorded(layout, text))
        parent = record["parent"]
        return "" if parent is None else layout.record(parent)["commit"], f"run {parent}", record["commit"]
    run, _, attempt = text.removeprefix("run_").partition(".")
    done = {e["step"]: e["result"] for e in layout.events() if e["event"] == "done"}
    turn = done.get(f"run_{run}/attempt_{attempt}/turn")
    if turn is None or not turn["commit"]:
        why = "no such attempt" if turn is None else "that attempt left no code that git holds"
        raise InputError(f"{text}: {why}. `harness log {typed(layout)}` has all attempts.")
    return done[f"run_{run}/attempt_1/turn"]["base"], f"what run {run} started from", turn["commit"]


@click.command(short_help="Bring a run's code into your experiment.")
@CAMPAIGN
@click.argument("run")
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Your experiment's folder (default: the current one).",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def adopt(campaign: str, run: str, into: Path, yes: bool) -> None:
    """Bring the code of a run into your own experiment: shown as a patch first, then applied cleanly or not at all.

    The patch has what the run changed in the unmodified experiment, in the files that the agent may edit. If you edited
    your file meanwhile, the two are merged; where both change the same lines, nothing is written.

    \b
    Example:
      harness adopt latest 3
      harness adopt runs/hierarchy 3 --into ../my-experiment --yes

    Next: `harness run IDEA.json` begins from your experiment as it is then.
    """
    from ..campaign.text import line, shown
    from ..report.terminal.columns import wrap
    from ..report.terminal.diff import in_colours
    from ..report.terminal.run_table import against_baseline
    from ..report.terminal.status import parent_verdict, primary_metric, row
    from .adopt import adopt as adoption_of

    layout = find_campaign(campaign)
    number = recorded(layout, run)
    adoption = adoption_of(layout, number, into)
    record = layout.record(number)
    verdict, primary = record["verdict"], primary_metric(layout.facts())
    against = f" against run {record['parent']}" if parent_verdict(verdict) else ""
    said = f"Run {number} of {layout.name}: {in_words(verdict['kind'])}{against}. {line(verdict['why'])}"
    click.echo("\n".join(wrap(said, width(), "", "  ")))
    if worth := against_baseline(row(record, primary), primary):
        click.echo("\n".join(wrap(worth, width(), "", "  ")))
    names = ", ".join(shown(file.path) for file in adoption.changed)
    if not names:
        click.echo("Your files have this change already; there is nothing to do.")
        return
    show_paged("\n" + in_colours(adoption.patch().decode(errors="replace")) + "\n", has_colours())
    merged = [shown(file.path) for file in adoption.changed if file.merged]
    if merged:
        said = f"{', '.join(merged)}: not the campaign's unmodified version any more; the change is merged with yours."
        click.echo("\n".join(wrap(said, width(), "", "  ")))
    if not yes:
        click.confirm(f"Change {names} in {into.resolve()}?", abort=True)
    adoption.write()
    click.echo(f"Changed: {', '.join(shown(str(into / file.path)) for file in adoption.changed)}")
