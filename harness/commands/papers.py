"""Commands that write what is read away from the terminal."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
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
    from ..layout import find_layout
    from ..review.report import default_file, write_report
    from ..review.report import watch as keep_writing

    layouts = [find_layout(name) for name in campaigns or ("latest",)]
    file = out or default_file(layouts)
    write_report(layouts, file, watched=watch)
    click.echo(file)
    if opens:
        click.launch(str(file))
    if watch:
        keep_writing(layouts, file)
