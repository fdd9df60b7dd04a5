"""The command line. What is heavy is imported only in the commands that use it, so that the others answer at once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from . import __version__
from .errors import HarnessError, InputError, Interrupted

PIPE_WIDTH = 120
"""Columns of a table that goes to a file or another program."""


class _Commands(click.Group):
    """The commands in the order in which they are used, and what their errors become: a line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except HarnessError as error:
            _end(error.exit_code, str(error))
        except (KeyboardInterrupt, click.Abort):
            _end(Interrupted.exit_code, "stopped.")
        except BrokenPipeError:
            # The reader has seen enough (head). What is still buffered would fail again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except (click.ClickException, click.exceptions.Exit, SystemExit):
            raise
        except Exception as error:
            from .crash import crash_message

            _end(4, crash_message(error))


def _end(code: int, message: str) -> NoReturn:
    from .text import clean

    click.echo(f"harness: {clean(message)}", err=True)
    sys.exit(code)


def main() -> None:
    """The command `harness`."""
    for stream in (sys.stdout, sys.stderr):
        # A locale that cannot write a letter is no reason to fail; the C locale says nothing about the terminal.
        encoding = "utf-8" if stream.encoding.lower() in ("ascii", "ansi_x3.4-1968", "us-ascii") else stream.encoding
        stream.reconfigure(encoding=encoding, errors="replace")  # type: ignore[union-attr]
    cli(prog_name="harness")


CAMPAIGN = click.argument("campaign")
JSON = click.option("--json", "as_json", is_flag=True, help="The same facts for programs.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="harness %(version)s")
def cli() -> None:
    """Take an idea through a real experiment, run by run, and leave a record that can be believed.

    A coding agent edits experiment.py; the harness executes it, measures, judges, and writes down what happened. A campaign
    is named by its path, by its folder's name in ./runs, or by `latest`.

    \b
    To begin:
      harness init my-experiment          an experiment that runs
      harness doctor                      what could be wrong, before any money is spent
      harness run ideas/hierarchy.json    a campaign
    """


@cli.command()
@click.argument("ideas", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IDEA.json...")
@click.option("--idea", "names", multiple=True, metavar="NAME", help="Of a file with several ideas, this one.")
@click.option("--max-runs", type=click.IntRange(min=1), metavar="N", help="Runs besides the baseline (5).")
@click.option("--profile", metavar="P", help="Scale and data of the experiment; its contract names them.")
@click.option(
    "--experiment",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Folder with experiment.py (.).",
)
@click.option("--python", metavar="PATH", help="Python that executes the experiment (the one that runs the harness).")
@click.option("--agent", metavar="NAME", help="aider, claude, codex, gemini, opencode or replay; see `harness agents`.")
@click.option("--model", metavar="M", help="Model of the agent, in the agent's own names.")
@click.option("--architect", metavar="M", help="Model that plans, where --model then edits (aider).")
@click.option("--reviewer", metavar="M", help="Model that comments on each run.")
@click.option("--edit-format", metavar="FORMAT", help="aider's edit format (diff).")
@click.option("--session", type=click.Path(path_type=Path), metavar="FILE", help="Recorded session to replay.")
@click.option("--max-cost", type=click.FloatRange(min=0, min_open=True), metavar="USD", help="Budget in dollars.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Budget in tokens, sent and received.")
@click.option("--max-hours", type=click.FloatRange(min=0, min_open=True), metavar="H", help="Budget in hours.")
@click.option(
    "--no-controls",
    "controls",
    is_flag=True,
    flag_value=False,
    default=None,
    help="Never execute the baseline at a run's settings; a run at others is then not comparable.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Replace a setting of the profile.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), metavar="DIR", help="Campaigns' folder (runs)."
)
def run(
    ideas: tuple[Path, ...],
    names: tuple[str, ...],
    experiment: Path,
    python: str | None,
    agent: str | None,
    model: str | None,
    session: Path | None,
    settings: tuple[str, ...],
    out: Path,
    **options: Any,
) -> None:
    """Take each idea through the experiment, a campaign each.

    With no model configured a recorded session of the idea is replayed, which needs no key. Ctrl-C ends the step in hand
    and stops; a second one stops at once; `harness resume` goes on either way.

    \b
    Example:
      harness run ideas/hierarchy.json --max-runs 10 --model sonnet --max-cost 5

    Exit codes: 0 ended as it should, 2 wrong input, 3 a budget ended it, 4 it could not go on, 130 stopped. Next:
    `harness log latest`, `harness notes latest`.
    """
    from .running import Request, parse_setting
    from .running import run as run_campaigns

    given = {key: value for key, value in options.items() if value is not None}
    given["overrides"] = dict(parse_setting(text) for text in settings)
    request = Request(ideas, names, experiment, out, python, agent, model, session, given)
    sys.exit(run_campaigns(request, _width()))


@cli.command()
@CAMPAIGN
@click.option(
    "--max-runs", type=click.IntRange(min=1), metavar="N", help="Runs besides the baseline, those done included."
)
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD", help="New budget in dollars; 0 drops it.")
@click.option("--max-tokens", type=click.IntRange(min=0), metavar="N", help="New budget in tokens; 0 drops it.")
@click.option("--max-hours", type=click.FloatRange(min=0), metavar="H", help="New budget in hours; 0 drops it.")
@click.option("--model", metavar="M", help="Another model; after a replayed session, the model that goes on.")
@click.option("--force", is_flag=True, help="Send the last refused change through; recorded as forced.")
def resume(campaign: str, force: bool, **options: Any) -> None:
    """Go on after a crash, Ctrl-C, or a spent budget.

    No completed run is repeated. What a person edited in the campaign's experiment.py meanwhile is recorded as theirs.

    \b
    Example:
      harness resume latest --max-cost 10

    Next: `harness status`, `harness log latest`.
    """
    from .campaign import Campaign
    from .layout import find_layout
    from .running import resume as resume_campaign

    changes = {key: value or None for key, value in options.items() if value is not None}
    sys.exit(resume_campaign(Campaign(find_layout(campaign).root.absolute()), changes, force, _width()))


@cli.command()
@CAMPAIGN
@click.argument("run", type=click.IntRange(min=0))
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True, help="Seeds in all.")
def confirm(campaign: str, run: int, seeds: int) -> None:
    """Execute a recorded run with more seeds, and judge it again.

    For a run that is undecided, or whose effect somebody wants to be sure of. RUN 0 is the baseline. How long it will take
    is said before it begins; Ctrl-C stops it and what was executed stays.

    \b
    Example:
      harness confirm latest 3 --seeds 10

    Next: `harness show latest 3`.
    """
    from .campaign import Campaign
    from .layout import find_layout
    from .running import take_on
    from .stop import Stop

    sys.exit(take_on(Campaign(find_layout(campaign).root.absolute()), Stop(), _width(), confirm=(run, seeds)))


@cli.command()
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
    from . import show
    from .layout import RUNS, find_layout, layouts
    from .standing import stand

    if every:
        found = [(layout, stand(layout)) for layout in layouts()]
        if as_json:
            _print_json([show.status_facts(standing) for _, standing in found])
        elif not found:
            click.echo(f"{RUNS}: no campaign yet. `harness run IDEA.json` starts one.")
        else:
            click.echo("\n".join(show.overview([standing for _, standing in found], _width())))
        return
    layout = find_layout(campaign)
    standing = stand(layout)
    if as_json:
        _print_json(show.status_facts(standing))
    else:
        click.echo(show.status(standing, show.typed(layout), _width()))


@cli.command()
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
    from . import show
    from .layout import find_layout
    from .standing import stand

    standing = stand(find_layout(campaign))
    if as_json:
        _print_json(show.log_facts(standing))
    else:
        click.echo(show.log(standing, _width()))


@cli.command()
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
    from . import show as rendering
    from .layout import find_layout, read_json

    layout = find_layout(campaign)
    record = read_json(layout.record_file(_recorded(layout, run)))
    if as_json:
        _print_json(record)
    else:
        click.echo(rendering.record(record, _width()))


@cli.command()
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
    from .campaign import Campaign
    from .layout import find_layout, read_json
    from .repository import Repository
    from .show import diff as rendered

    layout = find_layout(campaign)
    first = read_json(layout.record_file(_recorded(layout, a)))
    if b is not None:
        old, new = first["commit"], read_json(layout.record_file(_recorded(layout, b)))["commit"]
        where = f"between run {first['run']} and run {b.removeprefix('run_')}"
    elif first["parent"] is None:
        raise InputError("run 0 is the untouched experiment, so it has no change.")
    else:
        old, new = read_json(layout.record_file(first["parent"]))["commit"], first["commit"]
        where = f"from run {first['parent']} to run {first['run']}"
    place = Campaign(layout.root.absolute())
    text = Repository(place.root, place.local).diff(old, new, place.code)
    click.echo(rendered(text) if text else f"No difference {where}.")


@cli.command()
@CAMPAIGN
def notes(campaign: str) -> None:
    """The notes: what was tested, with which numbers, and what the agent and people said.

    \b
    Example:
      harness notes latest

    Next: write your own part at the end of notes.txt; it survives every rendering.
    """
    from .layout import find_layout
    from .text import clean

    layout = find_layout(campaign)
    try:
        click.echo(clean(layout.notes.read_text(encoding="utf-8", errors="replace")), nl=False)
    except FileNotFoundError:
        raise InputError(f"{layout.notes}: no notes yet; they are written with the first record.") from None


@cli.command()
@CAMPAIGN
def brief(campaign: str) -> None:
    """Exactly what the agent would be told next; its number of tokens goes to standard error.

    \b
    Example:
      harness brief latest

    Next: `harness tell latest "..."` adds a person's word to it.
    """
    from .agents.aider import count_tokens
    from .campaign import Campaign
    from .layout import find_layout
    from .loop import next_brief

    place = Campaign(find_layout(campaign).root.absolute())
    text = next_brief(place)
    click.echo(text)
    count = count_tokens(text, place.options().model)
    said = f"{count:,} tokens" if count is not None else f"about {len(text) // 4:,} tokens (four characters each)"
    click.echo(said, err=True)


@cli.command()
@CAMPAIGN
def check(campaign: str) -> None:
    """The agent's words beside the records: which numbers and claims match, contradict, or have no source.

    Exit code 4 where something contradicts.

    \b
    Example:
      harness check latest

    Next: `harness notes latest`, where what contradicts is marked.
    """
    from .campaign import Campaign
    from .check import check as check_words
    from .check import contradictions, render
    from .layout import find_layout

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


@cli.command()
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
    from .layout import find_layout
    from .review.report import default_file, write_report
    from .review.report import watch as keep_writing

    layouts = [find_layout(name) for name in campaigns or ("latest",)]
    file = out or default_file(layouts)
    write_report(layouts, file, watched=watch)
    click.echo(file)
    if opens:
        click.launch(str(file))
    if watch:
        keep_writing(layouts, file)


@cli.command()
@CAMPAIGN
@click.argument("words", nargs=-1, required=True)
def tell(campaign: str, words: tuple[str, ...]) -> None:
    """Say something to the agent: it goes into the next brief and stays in the record.

    \b
    Example:
      harness tell latest "Try a smaller penalty before you change the architecture."

    Next: `harness brief latest` shows it in its place; a campaign that has ended needs `harness resume`.
    """
    import secrets
    import time

    from .campaign import Campaign
    from .layout import find_layout
    from .record import write_atomically

    text = " ".join(words).strip()
    if not text:
        raise InputError("tell: nothing was said.")
    layout = find_layout(campaign)
    inbox = Campaign(layout.root).inbox
    try:
        inbox.mkdir(parents=True, exist_ok=True)
        # Named by the time, so that several are given in the order in which they were said.
        write_atomically(inbox / f"{time.time_ns():020d}-{secrets.token_hex(4)}.txt", text + "\n")
    except OSError as error:
        from .errors import CannotGoOn

        raise CannotGoOn(f"{error.filename or inbox}: cannot be written: {error.strerror}.") from error
    click.echo(f"The agent gets it with the next brief of {layout.name}.")


@cli.group(invoke_without_command=True)
@click.pass_context
def agents(context: click.Context) -> None:
    """Which agents there are and which are installed; `harness agents install aider` installs one.

    \b
    Example:
      harness agents
      harness agents install aider

    Next: `harness run IDEA.json --agent NAME`.
    """
    if context.invoked_subcommand is not None:
        return
    from .agents.listing import agents as listed

    every = listed()
    wide = max(len(agent.name) for agent in every)
    for agent in every:
        state = click.style("installed", fg="green") if agent.place else "missing  "
        where = agent.place or f"to install: {agent.how}"
        click.echo(f"{agent.name:<{wide}}  {state}  {agent.about}; {where}")


@agents.command("install")
@click.argument("name")
def install_agent(name: str) -> None:
    """Install an agent; aider gets an environment of its own, about 700 MB.

    \b
    Example:
      harness agents install aider

    Next: `harness doctor`.
    """
    from .agents.listing import install

    click.echo(f"{name}: {install(name, click.echo)}")


@cli.command()
@click.option("--experiment", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Its folder (.).")
@click.option("--profile", metavar="P", help="Scale and data of the experiment.")
@click.option("--python", metavar="PATH", help="Python that executes the experiment.")
@click.option("--agent", metavar="NAME", help="The agent (aider).")
@click.option("--model", metavar="M", help="Model of the agent; it is asked once.")
@click.option("--architect", metavar="M", help="Model that plans; it is asked once.")
@click.option("--reviewer", metavar="M", help="Model that comments; it is asked once.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Replace a setting of the profile.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs"), metavar="DIR", help="Campaigns' folder.")
def doctor(
    experiment: Path,
    profile: str | None,
    python: str | None,
    agent: str | None,
    model: str | None,
    architect: str | None,
    reviewer: str | None,
    settings: tuple[str, ...],
    out: Path,
) -> None:
    """Everything that can be wrong is looked at before any money is spent.

    Takes the options of `harness run`. A model is asked only when it is named, with a few tokens. Exit code 4 when
    something would end a campaign.

    \b
    Example:
      harness doctor --model sonnet

    Next: `harness run IDEA.json`.
    """
    from .doctor import diagnose
    from .running import experiment_python, parse_setting
    from .show import wrap
    from .text import clean

    failed = False
    for check in diagnose(
        experiment=experiment,
        profile=profile,
        model=model,
        architect=architect,
        reviewer=reviewer,
        agent=agent,
        python=experiment_python(python),
        runs=out,
        overrides=dict(parse_setting(text) for text in settings),
    ):
        failed = failed or check.state == "fail"
        colour = {"ok": "green", "warning": "yellow", "fail": "red"}[check.state]
        first, *more = clean(check.detail).split("\n")
        click.echo(f"{click.style(f'{check.state:<8}', fg=colour)} {check.name:<12} {first}")
        for each in more:
            click.echo(f"{'':22}{each}")
        if check.todo:
            click.echo("\n".join(wrap(clean(check.todo), _width(), " " * 9 + "-> ", " " * 12)))
    sys.exit(4 if failed else 0)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def init(folder: Path) -> None:
    """A new experiment folder that runs: experiment.py, experiment.toml, an idea and a recorded session for it.

    \b
    Example:
      harness init my-experiment

    Next: `harness run` in that folder; it says which idea.
    """
    import shlex

    from .starter import create_experiment

    files = create_experiment(folder)
    for file in files:
        click.echo(folder / file)
    ideas = [file for file in files if file.parts[0] == "ideas"]
    there = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"next: {there}harness run {' '.join(map(str, ideas))}")


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(names: tuple[str, ...], yes: bool) -> None:
    """What campaigns, working copies and caches take on disk; removes what is named, after asking.

    \b
    Example:
      harness clean
      harness clean hierarchy-2 tree:copies

    Next: `harness status --all` lists the campaigns that are left.
    """
    from .clean import ABOUT, remove, usage
    from .text import line

    items = {f"{item.name}:copies" if item.kind == "working copies" else item.name: item for item in usage()}
    if not items:
        click.echo("Nothing in ./runs or the cache.")
        return
    for name in names:
        if name not in items:
            raise InputError(f"clean {name}: there is no such thing. There is: {', '.join(items)}.")
    wide = max(map(len, items))
    for name, item in items.items():
        if not names or name in names:
            used = f"; in use: {line(item.in_use)}" if item.in_use else ""
            click.echo(f"{name:<{wide}}  {item.size / 1e6:9.1f} MB  {item.kind}  {item.path}{used}")
    if not names:
        click.echo("`harness clean NAME` removes one.")
        return
    for kind in dict.fromkeys(items[name].kind for name in names):
        click.echo(f"{kind}: {ABOUT[kind]}.")
    if not yes:
        click.confirm("Remove?", abort=True)
    for name in dict.fromkeys(names):
        remove(items[name])
        click.echo(f"removed {name}")


def _print_json(facts: Any) -> None:
    import json

    click.echo(json.dumps(facts, ensure_ascii=False, indent=1))


def _recorded(layout: Any, run: str) -> int:
    """The number of a run that has a record: `2` or `run_2`. Raises InputError."""
    count = len(layout.records())
    text = run.removeprefix("run_")
    if text.isdecimal() and int(text) < count:
        return int(text)
    known = f"0 to {count - 1}" if count else "none yet; `harness status` says what is in hand"
    raise InputError(f"run {run}: no record of it in {layout.name}. Recorded: {known}.")


def _width() -> int:
    return shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
