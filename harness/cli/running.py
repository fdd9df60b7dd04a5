"""`run` and `resume`: from what a person asked for to campaigns that end."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..agents.aider import EDIT_FORMATS
from ..agents.chat_history import read_session
from ..agents.listing import SEARCH, find_agent, is_search
from ..agents.outside import OUTSIDE
from ..agents.search import check_no_model, check_search
from ..agents.unread_constants import unread_constants
from ..campaign import bibliography
from ..campaign.campaign import Campaign, Options, create_campaign, inventory_of
from ..campaign.contract import Setting
from ..campaign.contract_file import load_contract
from ..campaign.errors import CannotGoOn, HarnessError, InputError, Interrupted
from ..campaign.idea import Idea, load_ideas
from ..campaign.layout import BIBLIOGRAPHY, Layout, find_control
from ..campaign.numbers import counted
from ..campaign.paths import absolute, near
from ..campaign.stop import Stop
from ..campaign.temporary import remove_left
from ..campaign.text import clean, line
from ..continuation import go_on
from ..execution.executors.machine import default_jobs, this_machine
from ..execution.feed import check_executor
from ..execution.seed_variable import not_named
from ..execution.shares import share
from ..execution.visible import interpreter
from ..loop import Ending
from ..report.control import control_line
from ..report.terminal.columns import wrap
from ..report.terminal.held_out import sentences
from ..report.terminal.run_table import naming, table_and_rest, two_verdicts
from ..report.terminal.status import Primary, Row, primary_metric, read_status, rows
from ..report.terminal.status_page import next_lines, next_steps, typed
from ..statistics.power import smallest_effect_in_words
from ..trackers.tracking import find_tracker
from .control import create_control, seeded
from .crash import crash_message
from .memory import check_memory, remember_others
from .model_choice import Choice, choose
from .notify import WaitsView, notify, state
from .several import run_several

if TYPE_CHECKING:
    from ..report.terminal.live_view import LiveView
    from ..report.terminal.plain_view import PlainView

_ON_A_CLUSTER = 32
"""Executions in hand at once where another machine's queue has them wait."""
SEVERITY = (0, InputError.exit_code, 3, CannotGoOn.exit_code, Interrupted.exit_code)
"""Exit codes from good to bad: the worst campaign's is that of the command."""


@dataclass(frozen=True)
class Request:
    """What a person asked of `run`."""

    files: Sequence[Path]
    names: Sequence[str]
    """Of the ideas to take from files that hold several."""
    experiment: Path
    out: Path
    python: str | None
    agent: str | None
    model: str | None
    session: Path | None
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Options`, those that were given."""
    notify: str | None = None
    """A command or an address that is told how each campaign ended."""
    jobs: int | None = None
    """Executions at once."""
    memory: str | None = None
    """The folder of campaigns that the agent is told of, by default that of the new ones; `none`: of none."""


@dataclass(frozen=True)
class _Planned:
    idea: Idea
    bibliography: Path | None
    choice: Choice
    options: Options


def run(request: Request, width: int) -> int:
    """A campaign for each idea, several at once. Returns the worst exit code; raises HarnessError before the first one
    begins."""
    campaigns, codes = create(request)
    if len(campaigns) == 1:
        codes.append(take_on_beside_control(campaigns[0], Stop(), width, request.notify, jobs=request.jobs))
    elif campaigns:
        at_once = request.jobs or _at_once(campaigns[0], campaigns[0].options(), None, click.echo)
        codes += run_several(campaigns, at_once, request.jobs, request.notify, width)
    return reduce(worse, codes)


def create(request: Request) -> tuple[list[Campaign], list[int]]:
    """A campaign for each idea, not begun yet, and the exit codes of those that could not be made, of which it is said why.
    Raises HarnessError for what is in the way of all, and for the only one."""
    ideas = _ideas(request.files, request.names)
    python = experiment_python(request.python)
    _check_experiment(request)
    check_memory(request.memory)
    planned = [_plan(request, idea, file) for file, idea in ideas]
    codes, said = [0], set[str]()
    campaigns: list[Campaign] = []
    for each in planned:
        if each.choice.why not in said:
            click.echo(each.choice.why)
        try:
            campaign = create_campaign(
                # What is above a link is not what its name says, and git takes the name's word.
                request.out.resolve() if ".." in request.out.parts else request.out.absolute(),
                each.idea,
                request.experiment,
                each.options,
                python=python,
                session=each.choice.session,
                bibliography=each.bibliography,
                say=click.echo,
            )
            remember_others(campaign, request.memory)
            if each.options.control:
                create_control(campaign, each.idea, request.experiment, each.options, python)
        except HarnessError as error:
            if request.notify:
                notify(request.notify, {"name": each.idea.Name, "message": str(error), "exit_code": error.exit_code})
            if len(planned) == 1:
                raise
            codes.append(_fail(error))
            continue
        made = campaign.options()
        if made.width > made.max_runs:
            runs = counted(made.max_runs, "run")
            click.echo(f"--width {made.width}: a round has at most the {runs} of the campaign (--max-runs).")
        spec = campaign.spec(made.profile)
        profile = _profile_in_words(campaign, made.profile)
        if profile and profile not in said:
            click.echo(profile)
        effect = smallest_effect_in_words(campaign.contract, spec, campaign.planned_runs)
        files = inventory_of(campaign.root, campaign.contract).files if effect else []
        effect = effect and (not_named(campaign.contract, campaign.root, files) or effect)
        if effect and effect not in said:
            click.echo(f"Seeds: {effect}.")
        said |= {each.choice.why, profile, effect}
        click.echo(f"Campaign: {near(campaign.root)}")
        campaigns.append(campaign)
    return campaigns, codes


def resume(
    campaign: Campaign, changes: Mapping[str, Any], force: bool, width: int, tell: str | None = None, jobs: int | None = None
) -> int:
    """Go on with a campaign. `changes` are fields of `Options`. Returns the exit code."""
    changed = changed_on_resuming(campaign, changes)
    return take_on_beside_control(campaign, Stop(), width, tell, changes=changed, force=force, jobs=jobs)


def _profile_in_words(campaign: Campaign, name: str) -> str:
    """Which profile of the contract applies, and which others there are."""
    known = campaign.contract.profiles
    if name not in known:
        return ""
    about = f" ({line(known[name].description)})" if known[name].description else ""
    others = [each for each in known if each != name]
    return f"Profile: {name}{about}" + (f"; --profile takes {', '.join(others)}, too." if others else ".")


def changed_on_resuming(campaign: Campaign, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What of `changes`, fields of `Options`, is another than it was. Raises InputError for what cannot be changed."""
    options = campaign.options()
    new = dict(changes)
    if is_search(options.agent):
        check_no_model(options.agent, new.get("model"))
    if "baseline" in new and campaign.record_file(0).exists():
        raise InputError(
            f"--baseline {new['baseline']}: run 0 is recorded, and what it is stays. `harness run` begins anew."
        )
    if new.get("model") and options.agent in ("replay", OUTSIDE):
        new["agent"] = "aider"  # a model goes on from where the recorded session, or you, led
    return {k: v for k, v in new.items() if getattr(options, k) != v}


def take_on_beside_control(
    campaign: Campaign, stop: Stop, width: int, tell: str | None = None, *, jobs: int | None = None, **how: Any
) -> int:
    """`take_on`, then the campaign's control where it has one. Returns the worst exit code."""
    return take_on(campaign, stop, width, tell, jobs=jobs, **how) or take_on_control(campaign, stop, width, tell, jobs)


def take_on_control(campaign: Campaign, stop: Stop, width: int, tell: str | None, jobs: int | None) -> int:
    """`take_on` the control of a campaign that has ended, where it has one, with as many runs. Returns the exit code."""
    layout = find_control(campaign)
    runs = len(campaign.records()) - 1
    if layout is None or runs < 1:
        return 0
    control = Campaign(layout.root.absolute())
    click.echo(f"\nControl: {near(control.root)}, {counted(runs, 'run')}")
    changes = {} if control.options().max_runs == runs else {"max_runs": runs}
    code = take_on(control, stop, width, tell, changes=changes, jobs=jobs)
    if code == 0:
        drive(campaign, stop, conclude=True)
        click.echo("\n" + control_line(campaign, campaign.contract, campaign.read_records()))
    return code


def take_on(campaign: Campaign, stop: Stop, width: int, tell: str | None = None, **how: Any) -> int:
    """Run `campaign` until it ends, say how it ended, and `tell` who is to be told. `how` is as of `loop.go_on`. Returns the
    exit code."""
    code = _take_on(campaign, stop, width, tell, **how)
    if tell:
        notify(tell, state(Layout(campaign.root), code))
    return code


def _take_on(campaign: Campaign, stop: Stop, width: int, tell: str | None, **how: Any) -> int:
    try:
        ending = drive(campaign, stop, tell=tell, **how)
    except HarnessError as error:
        return _fail(error)
    say_ending(Layout(campaign.root), ending.message, width)
    return ending.exit_code


def drive(
    campaign: Campaign, stop: Stop, quiet: bool = False, jobs: int | None = None, tell: str | None = None, **how: Any
) -> Ending:
    """Run `campaign` until it ends, with up to `jobs` executions at once, and show it; `quiet` leaves standard output to who
    called, and `tell` is told where it waits. Raises HarnessError for what is in the way, whatever it was."""
    layout = Layout(campaign.root)
    remove_left()
    try:
        facts = layout.facts()
        primary = primary_metric(facts)
        view = _view(primary, rows(layout.records(), [], primary), quiet)
        seen = WaitsView(view, lambda: notify(tell, state(layout, None))) if tell else view
        with stop.listen(view.notice), view:
            changed = campaign.options().model_copy(update=how.get("changes"))
            return go_on(campaign, view=seen, stop=stop, jobs=_at_once(campaign, changed, jobs, view.say), **how)
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped. `harness resume {typed(layout)}` goes on.") from None
    except HarnessError:
        raise
    except OSError as error:
        problem = f"{error.filename or campaign.root}: {error.strerror or error}."
        raise CannotGoOn(f"{problem} Fix it, then `harness resume {typed(layout)}`.") from error
    except Exception as error:
        raise CannotGoOn(crash_message(error, campaign.local)) from error


def _at_once(campaign: Campaign, options: Options, asked: int | None, say: Callable[[str], None]) -> int:
    """How many executions may be in hand at once; what that rests on is said."""
    if options.executor != "local":
        return asked or _ON_A_CLUSTER
    machine = this_machine()
    if machine is None:
        return asked or 1
    one = share(campaign, options, os.environ)
    fit = machine.room(one)
    jobs = asked or default_jobs(machine, one, campaign.contract.limits_of(options.profile).memory)
    if jobs > fit:
        say(f"--jobs {jobs}: {fit} at once, the others wait ({machine.said(one)})")
    elif jobs > 1:
        say(f"up to {jobs} executions at once ({machine.said(one)})")
    return jobs


def worse(one: int, other: int) -> int:
    return max(one, other, key=SEVERITY.index)


def parse_setting(text: str) -> tuple[str, Setting]:
    """`KEY=VALUE` of `--set`: a JSON value where it is one, else text; a path is made absolute. Raises InputError."""
    import json

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--set {text}: expected KEY=VALUE, such as --set lr=0.001.")
    try:
        parsed = json.loads(value, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return key, absolute(value)
    if isinstance(parsed, (list, dict)):
        raise InputError(f"--set {text}: a setting is a number, a text, true, false or null.")
    if isinstance(parsed, float) and not math.isfinite(parsed):
        raise InputError(f"--set {text}: not a finite number.")
    return key, absolute(parsed) if isinstance(parsed, str) else parsed


def experiment_python(chosen: str | None) -> str:
    """The Python that executes an experiment: that of `--python`, else the one that runs the harness. Raises InputError."""
    if chosen is None:
        return sys.executable
    found = shutil.which(chosen)
    if found is None:
        raise InputError(
            f"--python {chosen}: no such program. Give the Python of the environment with the experiment's packages."
        )
    # Not resolved: an environment's Python is a link, and what it links to does not have its packages. But asked: a shim
    # (pyenv's, asdf's) finds the one that it starts by files that an execution does not see.
    return interpreter(str(Path(found).absolute())).program


def _ideas(files: Sequence[Path], names: Sequence[str]) -> list[tuple[Path, Idea]]:
    """The ideas to take on, in order; a file with several needs `names`."""
    held = [load_ideas(file) for file in files]
    if not names:
        return [(each.path, each.choose(None)) for each in held]
    for name in names:
        if not any(each.alike(name) for each in held):
            known = ", ".join(known for each in held for known in each.names)
            raise InputError(f"--idea {name}: no such idea in {', '.join(map(str, files))}, which hold: {known}.")
    asked = [(each, name) for each in held for name in dict.fromkeys(names) if each.alike(name)]
    return [(each.path, each.choose(name)) for each, name in asked]


def _check_experiment(request: Request) -> None:
    folder = request.experiment
    profile, spec = load_contract(folder, request.out).profile(request.options.get("profile"))
    check_executor(spec, profile, request.options.get("executor", "local"))


def _plan(request: Request, idea: Idea, file: Path) -> _Planned:
    files = (file.with_suffix(".bib"), request.experiment / BIBLIOGRAPHY)
    if missing := bibliography.unknown(idea.model_dump(), *files):
        click.echo(missing)
    choice = choose(idea.Name, file, os.environ, agent=request.agent, model=request.model, session=request.session)
    options = Options(**seeded(request.options, choice.agent), agent=choice.agent, model=choice.model)
    if options.architect and choice.agent != "aider":
        raise InputError(f"--architect {options.architect}: only aider has an architect, and it needs a model (--model M).")
    if choice.agent in ("aider", "replay") and options.edit_format not in EDIT_FORMATS:
        raise InputError(f"--edit-format {options.edit_format}: unknown. Known: {', '.join(EDIT_FORMATS)}.")
    find_agent(choice.agent)
    if choice.agent == "replay" and choice.session:
        read_session(choice.session)
    if is_search(choice.agent):
        check_search(request.experiment, options, choice.agent, request.out)
    if options.control and is_search(choice.agent):
        raise InputError(f"--control {options.control}: {choice.agent} asks no model either; leave --control out.")
    if options.control:
        check_search(request.experiment, options, f"{SEARCH}{options.control}", request.out)
    searches = options.control or is_search(choice.agent)
    if unread := unread_constants(request.experiment, options, request.out) if searches else "":
        click.echo(unread)
    if options.track is not None:
        find_tracker(options.track)().check()
    return _Planned(idea, files[0] if files[0].is_file() else None, choice, options)


def _view(primary: Primary | None, recorded: Sequence[Row], quiet: bool) -> LiveView | PlainView:
    if not quiet and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from rich.console import Console

        from ..report.terminal.live_view import LiveView

        return LiveView(primary, recorded, Console(highlight=False))
    from ..report.terminal.plain_view import PlainView

    return PlainView(primary, partial(click.echo, err=quiet))


def _fail(error: HarnessError) -> int:
    click.echo(f"harness: {clean(str(error))}", err=True)
    return error.exit_code


def say_ending(layout: Layout, message: str, width: int) -> None:
    """How it ended, the table of runs, where everything is, and what can be typed next."""
    name = typed(layout)
    status = read_status(layout)
    runs = [row for row in status.rows if row.attempt is None]
    lines = ["", clean(message).rstrip()]
    if runs:
        found, unseen = table_and_rest(runs, status.primary, width, name)
        lines += ["", *found]
        lines += naming(runs, width) if status.primary is None else []
        for said in filter(None, (two_verdicts(runs), unseen)):
            lines += ["", *wrap(said, width, "", "")]
    for sentence in sentences(status.held_out, status.primary.name if status.primary else ""):
        lines += ["", *wrap(sentence, width, "", "")]
    for sentence in status.remedies:
        lines += ["", *wrap(sentence, width, "", "")]
    lines += ["", f"campaign  {near(layout.root)}", "next"]
    lines += [f"  {each}" for each in next_lines(next_steps(status, name), width - 2)]
    click.echo("\n".join(lines))
