"""Commands that take a campaign on, and your word into it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..campaign.errors import InputError
from .options import (
    AGENT_LIMITS,
    BASELINE_AND_CONTROLS,
    CAMPAIGN,
    EXECUTOR,
    IDEAS_AND_EXPERIMENT,
    JSON,
    MACHINE,
    MEMORY,
    SETTINGS_AND_OUT,
    TRACK,
    Finite,
    Whole,
    recorded,
)
from .terminal import width

NOTIFY = click.option(
    "--notify",
    envvar="HARNESS_NOTIFY",
    metavar="COMMAND",
    help="Command that gets the campaign's state as JSON on its standard input, or http(s) address that it is posted to, "
    "when the campaign has ended, cannot go on, or waits.",
)


PATIENCE = click.option(
    "--patience",
    type=Whole(min=1),
    metavar="N",
    help="End after N runs in a row of which none was accepted (improved on baseline and parent).",
)


WIDTH = click.option(
    "--width",
    type=Whole(min=1),
    metavar="W",
    help="Changes that the agent proposes from one parent before the first of them is judged, a round (default: 1; "
    "recommended: as many as are executed at once, up to 8).",
)


@click.command(short_help="Take each idea through the experiment.")
@IDEAS_AND_EXPERIMENT
@click.option(
    "--agent",
    metavar="NAME",
    help="aider (the default), claude, codex, gemini, opencode, replay, search:tpe, search:random, or an import path; "
    "`harness agents` says what each is.",
)
@click.option("--model", metavar="M", help="Model of the agent, by the agent's own name for it, such as sonnet.")
@click.option("--architect", metavar="M", help="aider only: model that plans the change which --model then writes.")
@click.option("--reviewer", metavar="M", help="Model that comments on each run; the agent is told what it said.")
@click.option(
    "--edit-format",
    metavar="FORMAT",
    help="aider only: how the model writes its edits (default: diff; whole suits models that fail at that).",
)
@click.option(
    "--agent-config",
    is_flag=True,
    default=None,
    help="Let claude, codex, gemini or opencode read all of your own configuration: instructions, hooks, MCP servers.",
)
@click.option(
    "--session", type=click.Path(path_type=Path), metavar="FILE", help="Recorded session to replay in place of a model."
)
@click.option(
    "--control",
    type=click.Choice(["tpe", "random"]),
    help="Compare with a search without a model: Optuna's TPE or random values, in a campaign of its own with as many runs.",
)
@click.option(
    "--search-seed",
    type=Whole(min=0),
    metavar="N",
    help="Seed of a search without a model, to repeat one: after the same results it proposes the same (default: drawn, and "
    "recorded).",
)
@WIDTH
@PATIENCE
@MEMORY
@TRACK
@click.option("--max-cost", type=Finite(min=0, min_open=True), metavar="USD", help="End when it has cost this many dollars.")
@click.option("--max-tokens", type=Whole(min=1), metavar="N", help="End after this many tokens, sent and received.")
@click.option(
    "--max-hours", type=Finite(min=0, min_open=True), metavar="H", help="End after this many hours of agent and executions."
)
@click.option(
    "--max-gpu-hours", type=Finite(min=0, min_open=True), metavar="H", help="End after this many GPU-hours of executions."
)
@AGENT_LIMITS
@EXECUTOR
@BASELINE_AND_CONTROLS
@click.option(
    "--no-holdout",
    "holdout",
    is_flag=True,
    flag_value=False,
    default=None,
    help="Skip the held-out evaluation of the selected run at the end; an improvement is then not confirmed.",
)
@NOTIFY
@MACHINE
@SETTINGS_AND_OUT
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
    notify: str | None,
    jobs: int | None,
    executor: str | None,
    slurm: tuple[str, ...],
    memory: str | None,
    **options: Any,
) -> None:
    """Take each idea through the experiment: a campaign for each, several campaigns at once.

    Without a model or a key a recorded session of the idea is replayed. Ctrl-C stops after the step in hand, a second one
    at once; `harness resume` goes on after either.

    \b
    Example:
      harness run ideas/hierarchy.json --max-runs 10 --model sonnet --max-cost 5

    Exit codes: 0 finished (no run is left, the agent said ALL_COMPLETED, or the recorded session is over), 2 wrong input,
    3 a budget is spent, 4 it could not go on, 130 stopped by Ctrl-C; the worst of several campaigns.

    Next: `harness log latest`, `harness notes latest`.
    """
    from .executor_choice import chosen
    from .running import Request, parse_setting
    from .running import run as run_campaigns

    given = {key: value for key, value in options.items() if value is not None}
    given["overrides"] = dict(parse_setting(text) for text in settings)
    given |= chosen(executor, slurm)
    request = Request(ideas, names, experiment, out, python, agent, model, session, given, notify, jobs, memory)
    sys.exit(run_campaigns(request, width()))


@click.command(short_help="Go on after a crash, Ctrl-C, or a spent budget.")
@CAMPAIGN
@click.option(
    "--max-runs", type=Whole(min=1), metavar="N", help="Runs besides the baseline in all, completed ones included."
)
@click.option("--max-cost", type=Finite(min=0), metavar="USD", help="New budget in dollars; 0: none.")
@click.option("--max-tokens", type=Whole(min=0), metavar="N", help="New budget in tokens; 0: none.")
@click.option("--max-hours", type=Finite(min=0), metavar="H", help="New budget in hours; 0: none.")
@click.option("--max-gpu-hours", type=Finite(min=0), metavar="H", help="New budget in GPU-hours; 0: none.")
@WIDTH
@PATIENCE
@AGENT_LIMITS
@EXECUTOR
@click.option(
    "--model", metavar="M", help="Model from here on; after a replayed session, the one that goes on in its place."
)
@click.option(
    "--controls/--no-controls",
    "controls",
    default=None,
    help="From here on: execute matched controls (the baseline rerun with a run's hyperparameters), or none.",
)
@click.option(
    "--holdout/--no-holdout",
    default=None,
    help="Evaluate the selected run on held-out worlds, layers or seeds at the end, or not.",
)
@click.option(
    "--agent-config/--no-agent-config",
    default=None,
    help="From here on: let a command-line agent read all of your configuration, or your login and provider only.",
)
@click.option(
    "--baseline",
    type=click.Choice(["given", "own"]),
    help="Where the baseline failed: begin with its recorded results, or execute it.",
)
@NOTIFY
@MACHINE
@click.option(
    "--force",
    is_flag=True,
    help="Execute the last change that the pre-check or the smoke test rejected, as it is; the record says that it was "
    "forced.",
)
@JSON
def resume(
    campaign: str,
    force: bool,
    as_json: bool,
    notify: str | None,
    jobs: int | None,
    executor: str | None,
    slurm: tuple[str, ...],
    **options: Any,
) -> None:
    """Go on after a crash, Ctrl-C, or a spent budget.

    No completed run is repeated. If you edited the campaign's experiment.py meanwhile, that change is recorded as yours.

    \b
    Example:
      harness resume latest --max-cost 10

    Exit codes: those of `harness run`. Next: `harness status`, `harness log latest`.
    """
    from ..campaign.campaign import Campaign
    from ..campaign.layout import find_layout
    from .executor_choice import chosen
    from .outside import resume_as_json
    from .running import resume as resume_campaign

    given = {key: value for key, value in options.items() if value is not None}
    changes = {key: value if isinstance(value, bool) else value or None for key, value in given.items()}
    place = Campaign(find_layout(campaign).root.absolute())
    changes |= chosen(executor, slurm, place.options())
    go_on = resume_as_json if as_json else resume_campaign
    sys.exit(go_on(place, changes, force, width(), notify, jobs))


@click.command(short_help="Execute a recorded run with more seeds, judge again.")
@CAMPAIGN
@click.argument("run")
@click.option("--seeds", type=Whole(min=2), default=10, show_default=True, metavar="N", help="Seeds of the run in all.")
@click.option("--yes", is_flag=True, help="Do not ask before a long execution.")
@MACHINE
def confirm(campaign: str, run: str, seeds: int, yes: bool, jobs: int | None) -> None:
    """Execute a recorded run with more seeds, and judge it again.

    Use it where a run is inconclusive, or where you want to be surer of an effect. RUN 0 is the baseline. Where the profile
    has final seeds, fresh ones are added, and baseline and parent are executed at these too. The expected time is printed
    first; above 10 minutes a terminal asks you. Ctrl-C stops it, and what was executed stays.

    \b
    Example:
      harness confirm latest 3 --seeds 10

    Next: `harness show latest 3`.
    """
    from ..campaign.campaign import Campaign
    from ..campaign.journal import read_events
    from ..campaign.layout import find_layout
    from ..campaign.record import Record
    from ..campaign.stop import Stop
    from ..statistics.judge import tests_at_final_seeds
    from .forecast import ASK_ABOVE, forecast
    from .running import take_on

    layout = find_layout(campaign)
    number = recorded(layout, run)
    place = Campaign(layout.root.absolute())
    record = layout.record(number)
    final = number > 0 and tests_at_final_seeds(place.spec(place.options().profile), Record.of(layout.record(0)))
    expected = forecast(read_events(layout.journal), record, place.seeds(seeds), final=final)
    click.echo(f"Run {number} with {seeds} seeds: {expected}.")
    is_long = expected.total is not None and expected.total > ASK_ABOVE
    if is_long and not yes and sys.stdin.isatty() and sys.stdout.isatty():
        click.confirm("Go on?", abort=True)
    sys.exit(take_on(place, Stop(), width(), confirm=(number, seeds), jobs=jobs))


@click.command(short_help="Score a recorded run by other evals.")
@CAMPAIGN
@click.argument("run", type=Whole(min=0))
@click.option("--evals", required=True, metavar="NAMES", help="Names of evals, separated by spaces.")
def score(campaign: str, run: int, evals: str) -> None:
    """Score a recorded run by evals that the campaign does not execute for each run.

    Nothing is trained again: the artifact that the run left (its SAE) is scored, and the scores are added to its record. The
    verdict stays. RUN 0 is the baseline; score it too, to have something to compare with.

    \b
    Example:
      harness score latest 3 --evals "core absorption sparse_probing unlearning"

    Next: `harness show latest 3`.
    """
    from ..campaign.campaign import Campaign
    from ..campaign.layout import find_layout
    from ..campaign.stop import Stop
    from .running import take_on

    layout = find_layout(campaign)
    sys.exit(take_on(Campaign(layout.root.absolute()), Stop(), width(), score=(run, " ".join(evals.split()))))


@click.command(short_help="Say something to the agent.")
@CAMPAIGN
@click.argument("words", nargs=-1, required=True)
def tell(campaign: str, words: tuple[str, ...]) -> None:
    """Say something to the agent: your words go into the next brief and into the record.

    \b
    Example:
      harness tell latest "Try a smaller penalty first."

    Next: `harness brief latest` shows where your words stand; a campaign that has ended needs `harness resume latest`.
    """
    import secrets
    import time

    from ..agents.listing import is_search
    from ..agents.outside import OUTSIDE
    from ..campaign.campaign import Campaign
    from ..campaign.files import write_atomically
    from ..campaign.layout import find_layout
    from ..campaign.text import encodable
    from ..report.terminal.status import read_status
    from ..report.terminal.status_page import typed

    text = encodable(" ".join(words)).strip()
    if not text:
        raise InputError("tell: nothing was said.")
    layout = find_layout(campaign)
    addressed = Campaign(layout.root)
    addressed.check_can_go_on()
    if is_search(agent := addressed.options().agent):
        raise InputError(f"{layout.name}: {agent} goes by results alone, so nobody would read it. Write it into notes.txt.")
    inbox = addressed.inbox
    try:
        inbox.mkdir(parents=True, exist_ok=True)
        # Named by the time, so that several are given in the order in which they were said.
        write_atomically(inbox / f"{time.time_ns():020d}-{secrets.token_hex(4)}.txt", text + "\n")
    except OSError as error:
        from ..campaign.errors import CannotGoOn

        problem = f"{error.filename or inbox}: cannot be written: {error.strerror}."
        raise CannotGoOn(f"{problem} Fix it, then say it again.") from error
    gets = "Whoever makes the next change" if agent == OUTSIDE else "The agent"
    ended = read_status(layout).state == "ended"
    how = f" The campaign has ended: `harness status {typed(layout)}` says how it goes on." if ended else ""
    click.echo(f"{gets} gets it with the next brief of {layout.name}.{how}")
