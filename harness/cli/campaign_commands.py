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
    recorded,
)
from .terminal import width

NOTIFY = click.option(
    "--notify",
    envvar="HARNESS_NOTIFY",
    metavar="COMMAND",
    help="When it has ended, cannot go on or waits: give its state (JSON) to a command, or POST it to a http(s) address.",
)


PATIENCE = click.option(
    "--patience", type=click.IntRange(min=1), metavar="N", help="End after N runs in a row of which none was accepted."
)


WIDTH = click.option(
    "--width",
    type=click.IntRange(min=1),
    metavar="W",
    help="Proposals from one parent before the first is judged (1); as many as there are slots, up to 8, is recommended.",
)


@click.command(short_help="Take each idea through the experiment.")
@IDEAS_AND_EXPERIMENT
@click.option("--agent", metavar="NAME", help="aider, claude, codex, replay, search:tpe, …; see `harness agents`.")
@click.option("--model", metavar="M", help="Model of the agent, in the agent's own names.")
@click.option("--architect", metavar="M", help="Model that plans, where --model then edits (aider).")
@click.option("--reviewer", metavar="M", help="Model that comments on each run.")
@click.option("--edit-format", metavar="FORMAT", help="aider's edit format (diff).")
@click.option(
    "--agent-config",
    is_flag=True,
    default=None,
    help="Give claude, codex, gemini or opencode all of your configuration: instructions, hooks, MCP servers.",
)
@click.option("--session", type=click.Path(path_type=Path), metavar="FILE", help="Recorded session to replay.")
@click.option(
    "--control", type=click.Choice(["tpe", "random"]), help="Beside it, a search without a model with as many runs."
)
@click.option(
    "--search-seed",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of a search: with the same seed it proposes the same after the same results (drawn, and recorded).",
)
@WIDTH
@PATIENCE
@MEMORY
@TRACK
@click.option("--max-cost", type=Finite(min=0, min_open=True), metavar="USD", help="Budget in dollars.")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Budget in tokens, sent and received.")
@click.option("--max-hours", type=Finite(min=0, min_open=True), metavar="H", help="Budget in hours.")
@click.option("--max-gpu-hours", type=Finite(min=0, min_open=True), metavar="H", help="Budget in GPU-hours of executions.")
@AGENT_LIMITS
@EXECUTOR
@BASELINE_AND_CONTROLS
@click.option(
    "--no-holdout",
    "holdout",
    is_flag=True,
    flag_value=False,
    default=None,
    help="No held-out evaluation of the selected run at the end; an improvement is then not confirmed.",
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
    """Take each idea through the experiment, a campaign each, several at once.

    With no model configured a recorded session of the idea is replayed, which needs no key. Ctrl-C ends the step in hand
    and stops; a second one stops at once; `harness resume` goes on either way.

    \b
    Example:
      harness run ideas/hierarchy.json --max-runs 10 --model sonnet --max-cost 5

    Exit codes: 0 ended as it should (the runs are spent, the agent said ALL_COMPLETED, or a recorded session has no further
    turn), 2 wrong input, 3 a budget ended it, 4 it could not go on, 130 stopped; of several campaigns the worst. Next:
    `harness log latest`, `harness notes latest`.
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
@click.option("--max-runs", type=click.IntRange(min=1), metavar="N", help="Runs besides the baseline, those done included.")
@click.option("--max-cost", type=Finite(min=0), metavar="USD", help="New budget in dollars; 0 drops it.")
@click.option("--max-tokens", type=click.IntRange(min=0), metavar="N", help="New budget in tokens; 0 drops it.")
@click.option("--max-hours", type=Finite(min=0), metavar="H", help="New budget in hours; 0 drops it.")
@click.option("--max-gpu-hours", type=Finite(min=0), metavar="H", help="New budget in GPU-hours; 0 drops it.")
@WIDTH
@PATIENCE
@AGENT_LIMITS
@EXECUTOR
@click.option("--model", metavar="M", help="Another model; after a replayed session, the model that goes on.")
@click.option(
    "--controls/--no-controls",
    "controls",
    default=None,
    help="From here on: execute the baseline at a run's settings where these are others, or never.",
)
@click.option("--holdout/--no-holdout", default=None, help="At the end: evaluate the selected run on what is held out.")
@click.option(
    "--agent-config/--no-agent-config",
    default=None,
    help="From here on: give a command-line agent all of your configuration, or your login and provider only.",
)
@click.option(
    "--baseline", type=click.Choice(["given", "own"]), help="Where the baseline failed: begin with results, or execute it."
)
@NOTIFY
@MACHINE
@click.option("--force", is_flag=True, help="Send the last rejected change of the run in hand through; recorded as forced.")
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

    No completed run is repeated. What you edited in the campaign's experiment.py meanwhile is recorded as yours.

    \b
    Example:
      harness resume latest --max-cost 10

    Exit codes as of `harness run`. Next: `harness status`, `harness log latest`.
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


@click.command(short_help="More seeds for a recorded run; judge it again.")
@CAMPAIGN
@click.argument("run")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True, help="Seeds in all.")
@click.option("--yes", is_flag=True, help="Do not ask, however long it will take.")
@MACHINE
def confirm(campaign: str, run: str, seeds: int, yes: bool, jobs: int | None) -> None:
    """Execute a recorded run with more seeds, and judge it again.

    For a run that is inconclusive, or whose effect somebody wants to be sure of. RUN 0 is the baseline. Where the profile
    has final seeds, fresh ones are added, at which baseline and parent are executed too. What it will take is said before
    it begins, and above 10 minutes you are asked at a terminal. Ctrl-C stops it, and what was executed stays.

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


@click.command(short_help="Other evals for a recorded run.")
@CAMPAIGN
@click.argument("run", type=click.IntRange(min=0))
@click.option("--evals", required=True, metavar="NAMES", help="Names of evals, separated by spaces.")
def score(campaign: str, run: int, evals: str) -> None:
    """Score a recorded run by other evals than each run gets.

    Nothing is trained: the scores are of what the run handed over, and go into its record. The verdict stays. RUN 0 is the
    baseline; score it too where the runs shall have something beside them.

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
    """Say something to the agent: it goes into the next brief and stays in the record.

    \b
    Example:
      harness tell latest "Try a smaller penalty first."

    Next: `harness brief latest` shows it in its place; a campaign that has ended needs `harness resume`.
    """
    import secrets
    import time

    from ..agents.listing import is_search
    from ..agents.outside import OUTSIDE
    from ..campaign.campaign import Campaign
    from ..campaign.files import write_atomically
    from ..campaign.layout import find_layout
    from ..campaign.text import encodable

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
        raise CannotGoOn(f"{problem} Mend it, then say it again.") from error
    gets = "Whoever makes the next change" if agent == OUTSIDE else "The agent"
    click.echo(f"{gets} gets it with the next brief of {layout.name}.")
