"""Arguments and options that several commands take, and what they print for programs."""

from __future__ import annotations

import math
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from ..campaign.errors import InputError
from ..campaign.layout import Layout, find_layout

CAMPAIGN = click.argument("campaign")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
CSV = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for programs: full precision, one header line.")

SET = "Replace a setting of the profile, such as lr=0.001; may be given more than once."

DIFFERS = 5
"""Exit code of a command that looked at a campaign of which something was lost or edited."""
DIFFERS_KEY = "harness.differs"
_MOST_SAID = 10
_FORMULA = ("=", "+", "-", "@")


class Whole(click.IntRange):
    """A whole number from `min` on."""

    def _describe_range(self) -> str:
        return f"{self.min} or more"


class Finite(click.FloatRange):
    """A number in a range, which "nan" and "inf" are not."""

    def _describe_range(self) -> str:
        return f"more than {self.min}" if self.min_open else f"{self.min} or more"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number.", param, ctx)


class Price(click.ParamType[tuple[float, float]]):
    """`IN,OUT`: dollars per million tokens sent and received."""

    name = "price"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            sent, received = (float(each) for each in value.split(","))
        except ValueError:
            return self.fail(f"{value}: expected IN,OUT, such as --price 3,15.", param, ctx)
        if not all(math.isfinite(each) and each >= 0 for each in (sent, received)):
            return self.fail(f"{value}: two prices of 0 dollars or more are expected.", param, ctx)
        return sent, received


class Duration(click.ParamType[float]):
    """`90s`, `30m`, `2h`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        units = {"s": 1, "m": 60, "h": 3600}
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", value)
        if not match or not float(match[1]):
            return self.fail(f"{value}: expected a time such as 90s, 30m or 2h.", param, ctx)
        return float(match[1]) * units[match[2]]


_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _together(*options: _Decorator) -> _Decorator:
    """Several options as one decorator; `--help` lists them in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _choose_gpus(context: click.Context, option: click.Parameter, named: str | None) -> None:
    if named is not None:
        from ..execution.executors.machine import choose_gpus

        choose_gpus(named)


PYTHON = click.option(
    "--python", metavar="PATH", help="Python that executes the experiment (default: the one that runs the harness)."
)
OUT = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    metavar="DIR",
    help="Folder of campaigns (default: runs).",
)
MEMORY = click.option(
    "--memory",
    metavar="FOLDER",
    help="Folder whose campaigns of this experiment the agent is told about (default: that of --out), or none.",
)
TRACK = click.option(
    "--track", metavar="NAME", help="Log each run to a tracker: wandb, or an import path (package.module:Class)."
)

IDEAS_AND_EXPERIMENT = _together(
    click.argument("ideas", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IDEA.json..."),
    click.option(
        "--idea",
        "names",
        multiple=True,
        metavar="NAME",
        help="Idea to take from a file with several; may be given more than once.",
    ),
    click.option(
        "--max-runs",
        type=Whole(min=1),
        metavar="N",
        help="Runs besides the baseline (default: the profile's max_runs, else 5).",
    ),
    click.option(
        "--time",
        type=Duration(),
        metavar="30m",
        help="Time limit of each execution, without scoring: 90s, 30m, 2h (default: the contract's).",
    ),
    click.option(
        "--profile",
        metavar="P",
        help="Profile of the contract: scale and data of the experiment (default: its default_profile).",
    ),
    click.option(
        "--experiment",
        type=click.Path(path_type=Path),
        default=Path(),
        metavar="DIR",
        help="Folder with experiment.py (default: the current one).",
    ),
    PYTHON,
)
"""What a new campaign is about."""

BASELINE_AND_CONTROLS = _together(
    click.option(
        "--baseline",
        type=click.Choice(["own", "given"]),
        help="own: execute the unmodified experiment; given: begin with its recorded results (run_0/), as context, so that "
        "no run is called improved (default: own; without a contract, a run_0/ that is there).",
    ),
    click.option(
        "--no-controls",
        "controls",
        is_flag=True,
        flag_value=False,
        default=None,
        help="Execute no matched control (the baseline rerun with a run's hyperparameters): a run at another scale is then "
        "not comparable.",
    ),
)
"""What the runs of a new campaign are compared with."""

SETTINGS_AND_OUT = _together(click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=SET), OUT)
"""A new campaign's own settings and its place."""

AGENT_LIMITS = _together(
    click.option(
        "--price",
        type=Price(),
        metavar="IN,OUT",
        help="Dollars per million tokens sent and received, such as 3,15, for an agent that reports no cost.",
    ),
    click.option(
        "--turn-timeout",
        type=Finite(min=0, min_open=True),
        metavar="MINUTES",
        help="Time limit of a turn of the agent (default: 60); what it has edited by then is tried. A single request of "
        "aider may take a third of it.",
    ),
    click.option(
        "--wait-for-limits/--no-wait-for-limits",
        default=None,
        help="Wait until a provider's rate or session limit ends, however long. --max-hours does not count the wait.",
    ),
)
"""What the agent may take."""

GPUS = click.option(
    "--gpus",
    metavar="0,2,3",
    callback=_choose_gpus,
    expose_value=False,
    help="GPUs to use, as nvidia-smi numbers them (default: those that are idle).",
)

MACHINE = _together(
    GPUS,
    click.option(
        "--jobs",
        type=Whole(min=1),
        metavar="N",
        help="Executions at once, of all ideas together (default: one on each idle GPU; without GPUs as many as fit on the "
        "cores; 1 on a login node).",
    ),
)
"""How much is executed at once on this machine."""

EXECUTOR = _together(
    click.option(
        "--executor",
        metavar="NAME",
        help="Where experiments are executed: local, slurm, or an import path (default: local).",
    ),
    click.option(
        "--slurm",
        multiple=True,
        metavar="KEY=VALUE",
        help="What a job asks Slurm for: partition, account, qos, gres, constraint, cpus or extra=--OPTION; may be given "
        "more than once (default: [executor.slurm] of ~/.config/harness/config.toml).",
    ),
)
"""Where is executed."""


def print_json(facts: Any) -> None:
    """What `--json` prints."""
    import json

    from ..campaign.text import in_json

    click.echo(in_json(json.dumps(facts, ensure_ascii=False, indent=1)))


def print_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """What `--csv` prints: numbers as they are, nothing for what is unknown, a line a row whatever its texts hold, and a
    text that a spreadsheet would take for a formula behind an apostrophe."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_plain(cell) for cell in row])


def _plain(cell: Any) -> Any:
    from ..campaign.text import line

    if isinstance(cell, bool):
        return str(cell).lower()
    if not isinstance(cell, str):
        return cell
    text = line(cell)
    # Wide forms of the signs, such as U+FF1D, begin a formula too where a spreadsheet is set to East Asian text.
    begins = unicodedata.normalize("NFKC", text.lstrip("\"' ")[:1])
    return f"'{text}" if begins in _FORMULA and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def find_campaign(name: str) -> Layout:
    """The campaign that `name` means, for a command that looks at it. What of it was lost or edited is said, and the command
    then ends with exit code DIFFERS."""
    return said_to_differ(find_layout(name))


def said_to_differ(layout: Layout) -> Layout:
    """`layout`, after what of it was lost or edited is said."""
    found = layout.differences()
    for each in found[:_MOST_SAID]:
        differs(f"{layout.name}: {each}")
    if found[_MOST_SAID:]:
        differs(f"{layout.name}: and {len(found) - _MOST_SAID} more.")
    return layout


def differs(sentence: str) -> None:
    """Say what of a campaign is lost or was edited; the command ends with exit code DIFFERS."""
    click.echo(sentence, err=True)
    click.get_current_context().find_root().meta[DIFFERS_KEY] = True


def only_one(as_json: bool, as_csv: bool) -> None:
    """Raises InputError where both were asked for."""
    if as_json and as_csv:
        raise InputError("--json and --csv: choose one.")


ATTEMPT = re.compile(r"(run_)?\d+\.\d+")
"""An attempt as `harness log` names it."""


def recorded(layout: Layout, run: str) -> int:
    """The number of a run that has a record: `2` or `run_2`. Raises InputError."""
    count = len(layout.records())
    text = run.removeprefix("run_")
    if text.isdecimal() and int(text) < count:
        return int(text)
    from ..report.terminal.status_page import typed

    if ATTEMPT.fullmatch(run):
        raise InputError(
            f"run {run}: an attempt has no record of its own. `harness diff {typed(layout)} {run}` shows its change."
        )
    known = f"0 to {count - 1}" if count else "none yet; `harness status` says what is in hand"
    tried = f" `harness log {typed(layout)}` lists attempts without a record, such as {count}.1." if count else ""
    raise InputError(f"run {run}: no record of it in {layout.name}. Recorded: {known}.{tried}")
