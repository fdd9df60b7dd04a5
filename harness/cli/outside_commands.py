"""Commands by which you, or a coding agent of yours, drive a campaign: open, try, end, and what teaches an agent to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..campaign.errors import InputError
from .options import (
    BASELINE_AND_CONTROLS,
    CAMPAIGN,
    EXECUTOR,
    GPUS,
    IDEAS_AND_EXPERIMENT,
    JSON,
    MACHINE,
    MEMORY,
    OUT,
    PYTHON,
    SETTINGS_AND_OUT,
    TRACK,
    Finite,
    Whole,
)
from .terminal import width


@click.command("open", short_help="Begin a campaign that you drive: measure the baseline.")
@IDEAS_AND_EXPERIMENT
@MEMORY
@TRACK
@click.option(
    "--max-cost",
    type=Finite(min=0, min_open=True),
    metavar="USD",
    help="End when it has cost this many dollars, as --usage of the tries says.",
)
@click.option(
    "--max-tokens", type=Whole(min=1), metavar="N", help="End after this many tokens, as --usage of the tries says."
)
@click.option("--max-hours", type=Finite(min=0, min_open=True), metavar="H", help="End after this many hours of executions.")
@click.option(
    "--max-gpu-hours", type=Finite(min=0, min_open=True), metavar="H", help="End after this many GPU-hours of executions."
)
@EXECUTOR
@BASELINE_AND_CONTROLS
@SETTINGS_AND_OUT
@MACHINE
@JSON
def open_(
    ideas: tuple[Path, ...],
    names: tuple[str, ...],
    experiment: Path,
    python: str | None,
    settings: tuple[str, ...],
    out: Path,
    executor: str | None,
    slurm: tuple[str, ...],
    jobs: int | None,
    memory: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Begin a campaign whose changes you make, or a coding agent of yours, and measure its baseline. No agent is asked.

    \b
    Example:
      harness open ideas/hierarchy.json
      $EDITOR runs/hierarchy/experiment.py
      harness try hierarchy --hypothesis "A smaller penalty lowers absorption."

    Exit codes: those of `harness run`. Next: edit the experiment in the campaign's folder, then `harness try`.
    """
    from ..agents.outside import OUTSIDE
    from . import outside
    from .executor_choice import chosen
    from .running import Request, parse_setting
    from .running import run as run_campaigns

    given = {key: value for key, value in options.items() if value is not None}
    given["overrides"] = dict(parse_setting(text) for text in settings)
    given |= chosen(executor, slurm)
    request = Request(ideas, names, experiment, out, python, OUTSIDE, None, None, given, None, jobs, memory)
    sys.exit(outside.open_as_json(request) if as_json else run_campaigns(request, width()))


@click.command("try", short_help="Hand in a change: it is executed and judged.")
@CAMPAIGN
@click.option(
    "--hypothesis", metavar="TEXT", default="", help="What the change tests, and the effect that you expect (needed)."
)
@click.option("--notes", metavar="TEXT", default="", help="What you changed, for the paper's method section.")
@click.option("--notes-file", type=click.Path(path_type=Path), metavar="FILE", help="File to take --notes from.")
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Take the edited files from this folder, not from the campaign's.",
)
@click.option(
    "--patch", type=click.Path(path_type=Path), metavar="FILE", help="Take the change from a patch; - is standard input."
)
@click.option(
    "--start-from",
    metavar="RUN",
    help="Code that the next try starts from: best (the default), baseline, or the number of a run.",
)
@click.option(
    "--varies",
    multiple=True,
    metavar="SETTING",
    help="Setting of `comparable` that you vary on purpose; may be given more than once.",
)
@click.option(
    "--usage",
    metavar="JSON",
    help='What your agent used: {"sent": 12000, "received": 800, "cost": 0.1}; without it: unknown.',
)
@click.option("--by", "driver", metavar="NAME", default="", help="Who made the change, for the record: a name, a model.")
@GPUS
@click.option(
    "--jobs",
    type=Whole(min=1),
    metavar="N",
    help="Executions at once, as for `harness run`. While another try is under way, a change of --from or --patch joins it: "
    "it starts from the same code and is executed beside it, in a round of up to N.",
)
@JSON
def try_(
    campaign: str,
    hypothesis: str,
    notes: str,
    notes_file: Path | None,
    folder: Path | None,
    patch: Path | None,
    start_from: str | None,
    varies: tuple[str, ...],
    usage: str | None,
    driver: str,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Hand in what you edited as the next change: pre-check, smoke test, executions, verdict, record, commit.

    The change is what you edited in the campaign's folder, in DIR (--from), or what a patch changes (--patch). A rejected
    change costs an attempt and no run, and stays in place for you to fix. Afterwards the campaign's folder has the code
    that the next try starts from. A try waits for another one that is under way, or joins it (--jobs). Ctrl-C stops after
    the step in hand; the same command, or `harness resume`, goes on.

    \b
    Example:
      harness try latest --hypothesis "A smaller penalty lowers absorption."

    Exit codes: 0 judged, 2 wrong input or nothing edited, 3 a budget is spent or no run is left, 4 it could not go on, 6
    rejected by the pre-check or the smoke test, 7 executed and failed, 130 stopped by Ctrl-C.

    Next: `harness show latest 1`, `harness brief latest`.
    """
    from ..agents.submission import Source, Words
    from . import outside

    if folder is not None and patch is not None:
        raise InputError("--from and --patch: choose one.")
    if not hypothesis.strip():
        raise InputError('--hypothesis "...": say what the change tests, and the effect that you expect.')
    words = Words(
        hypothesis=outside.text_of(hypothesis, None, ""),
        notes=outside.text_of(notes, notes_file, "--notes-file"),
        start_from=outside.start_from(start_from),
        varies=varies,
        usage=outside.usage_of(usage),
        driver=outside.text_of(driver, None, ""),
    )
    source = Source(words, folder, outside.read_patch(patch), jobs or 1)
    sys.exit(outside.hand_in(campaign, source, as_json, width(), jobs))


@click.command("end", short_help="End a campaign that you drive.")
@CAMPAIGN
@JSON
def end(campaign: str, as_json: bool) -> None:
    """End a campaign that you drive: held-out evaluation of the selected run, and the conclusion in the notes.

    While runs are left, another `harness try` goes on with it all the same.

    \b
    Example:
      harness end latest

    Exit codes: those of `harness run`. Next: `harness notes latest`, `harness report latest --open`.
    """
    from . import outside

    sys.exit(outside.end(campaign, as_json, width()))


@click.command("skill", short_help="Teach a coding agent to drive a campaign.")
@click.argument("agent", type=click.Choice(["claude", "codex", "agents"]), default="agents")
@click.option("--install", is_flag=True, help="Write it into the current folder, where the agent looks for it.")
def skill(agent: str, install: bool) -> None:
    """Teach a coding agent to drive a campaign: open, brief, edit, try, end, and how to read a verdict.

    Prints the text, or with --install writes it into the current folder: `.claude/skills/harness/SKILL.md` for Claude Code,
    `.agents/skills/harness/SKILL.md` for Codex, a section of `AGENTS.md` (agents) for all others.

    \b
    Example:
      harness skill claude --install

    Next: start the agent in that folder, and tell it the idea.
    """
    from . import skill as skills

    if install:
        click.echo(skills.install(agent, Path()))
    else:
        click.echo(skills.skill(agent), nl=False)


@click.command("observe", short_help="Make a campaign of what another system left.")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="FOLDER")
@click.option("--metric", metavar="NAME", help="The metric that decides (default: the contract's, or that of results.tsv).")
@click.option("--lower", is_flag=True, help="Lower is better.")
@click.option("--higher", is_flag=True, help="Higher is better.")
@click.option(
    "--execute-baseline",
    is_flag=True,
    help="Execute the baseline with its seeds, to see which kept changes are within its spread.",
)
@click.option(
    "--confirm-best", is_flag=True, help="Execute baseline and claimed best with seeds, and judge the claimed best."
)
@click.option(
    "--experiment",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with the baseline's code and an experiment.toml; needed to execute anything.",
)
@PYTHON
@OUT
@JSON
def observe(
    folder: Path,
    metric: str | None,
    lower: bool,
    higher: bool,
    execute_baseline: bool,
    confirm_best: bool,
    experiment: Path | None,
    python: str | None,
    out: Path,
    as_json: bool,
) -> None:
    """Make a campaign of what another system left: a results folder of AI-Scientist, or an autoresearch repository.

    Its runs become records that are marked as given, not executed, on every page. It names runs that have the code or the
    numbers of an earlier one, and the claimed best. --execute-baseline executes the baseline of --experiment with its
    seeds, and says how many of the kept changes are within their spread. --confirm-best executes the claimed best as well,
    and judges it like any change.

    \b
    Example:
      harness observe results/grokking/20240801_idea --metric val_loss --lower

    Exit codes: 0; with --confirm-best those of `harness try`. Next: the same with --confirm-best --experiment DIR.
    """
    from . import observe as observing
    from .options import print_json

    if lower and higher:
        raise InputError("--lower and --higher: choose one.")
    better = "lower" if lower else "higher" if higher else None
    wanted = observing.Wanted(folder, experiment, metric, better, execute_baseline, confirm_best, out, python)
    facts, code = observing.look(wanted)
    if as_json:
        print_json(facts)
    else:
        click.echo(observing.page(facts, width()))
    sys.exit(code)
