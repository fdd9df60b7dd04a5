"""Commands about the place that campaigns need: agents, what could be wrong, a new experiment, the disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..campaign.errors import InputError
from .options import EXECUTOR, SET
from .terminal import width

if TYPE_CHECKING:
    from .clean import Item


@click.group(invoke_without_command=True, short_help="Which agents there are; install one.")
@click.pass_context
def agents(context: click.Context) -> None:
    """List the coding agents and say which are installed; `harness agents install aider` installs one.

    \b
    Example:
      harness agents
      harness agents install aider

    Next: `harness run IDEA.json --agent NAME`.
    """
    if context.invoked_subcommand is not None:
        return
    from ..agents.listing import agents as listed
    from ..report.terminal.columns import wrap

    every = listed()
    wide = max(len(agent.name) for agent in every) + 2
    for agent in every:
        state, margin = "installed" if agent.place else "missing", " " * (wide + 11)
        about, *more = wrap(agent.about, width(), f"{agent.name:<{wide}}{state:<11}", margin)
        about = about.replace(state, click.style(state, fg="green" if agent.place else None), 1)
        # What is typed to install it is not broken.
        click.echo("\n".join([about, *more, f"{margin}{agent.place or agent.how}"]))


@agents.command("install")
@click.argument("name")
def install_agent(name: str) -> None:
    """Install an agent; aider gets an environment of its own, about 700 MB.

    \b
    Example:
      harness agents install aider

    Next: `harness doctor`.
    """
    from ..agents.listing import install

    click.echo(f"{name}: {install(name, click.echo)}")


@click.command(short_help="What could be wrong, before money is spent.")
@click.option(
    "--experiment",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Folder with experiment.py (default: the current one).",
)
@click.option(
    "--profile",
    metavar="P",
    help="Profile of the contract: scale and data of the experiment (default: its default_profile).",
)
@click.option(
    "--python", metavar="PATH", help="Python that executes the experiment (default: the one that runs the harness)."
)
@click.option("--agent", metavar="NAME", help="Coding agent (default: aider); a command-line agent is asked one question.")
@click.option("--model", metavar="M", help="Model of the agent; it is asked one question.")
@click.option("--architect", metavar="M", help="aider only: model that plans; it is asked one question.")
@click.option("--reviewer", metavar="M", help="Model that comments on runs; it is asked one question.")
@EXECUTOR
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=SET)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    metavar="DIR",
    help="Folder of campaigns (default: runs).",
)
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
    executor: str | None,
    slurm: tuple[str, ...],
) -> None:
    """Check everything that could end a campaign, before any money is spent.

    Options mean what they mean for `harness run`. Only a model or a command-line agent that you name is asked: one tiny
    question, at the price of the agent's own instructions and a word. Exit code 4: something would end a campaign.

    \b
    Example:
      harness doctor --model sonnet

    Next: `harness run IDEA.json`.
    """
    from ..campaign.text import clean
    from ..report.terminal.columns import wrap
    from .doctor import diagnose
    from .executor_choice import chosen
    from .running import experiment_python, parse_setting

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
        executor=chosen(executor, slurm),
    ):
        failed = failed or check.state == "fail"
        colour = {"ok": "green", "warning": "yellow", "fail": "red"}[check.state]
        margin, (first, *more) = " " * 22, clean(check.detail).split("\n")
        lines = wrap(first, width(), f"{check.state:<8} {check.name:<12} ", margin)
        lines[0] = click.style(check.state, fg=colour) + lines[0].removeprefix(check.state)
        for each in more:
            lines += wrap(each, width(), margin, margin)
        if check.todo:
            lines += wrap(clean(check.todo), width(), " " * 9 + "-> ", " " * 12)
        click.echo("\n".join(lines))
    sys.exit(4 if failed else 0)


@click.command(short_help="A new experiment folder that runs.")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
def init(folder: Path) -> None:
    """Make a new experiment folder that runs: experiment.py, experiment.toml, an idea and a recorded session for it.

    \b
    Example:
      harness init my-experiment

    Next: the command that it prints.
    """
    import shlex

    from .init import create_experiment

    files = create_experiment(folder)
    for file in files:
        click.echo(folder / file)
    ideas = [file for file in files if file.parts[0] == "ideas"]
    there = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"next: {there}harness run {' '.join(map(str, ideas))}")


@click.command(short_help="JSON schemas for editors.")
@click.argument("what", type=click.Choice(["contract", "idea"]), default="contract")
def schema(what: str) -> None:
    """Print the JSON schema of `experiment.toml` (contract, the default) or of an idea file (idea).

    With it an editor completes, explains and checks keys. `harness init` writes both into `.schemas/` and refers to them. In
    files of your own write `#:schema .schemas/contract.json` as the first line of `experiment.toml` (for Even Better TOML or
    taplo), and `"$schema": "../.schemas/idea.json"` into an idea.

    \b
    Example:
      harness schema > .schemas/contract.json
      harness schema idea > .schemas/idea.json

    Next: `harness doctor` checks what a schema cannot.
    """
    import json

    from .schema import SCHEMAS

    click.echo(json.dumps(SCHEMAS[what](), indent=1, ensure_ascii=False))


@click.command(short_help="What campaigns take on disk; remove them.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(names: tuple[str, ...], yes: bool) -> None:
    """Say what campaigns and working copies take on disk, and remove those that you name, after asking.

    A campaign is named by its folder's name in ./runs or by its path; `NAME:copies` means its working copies alone.

    \b
    Example:
      harness clean
      harness clean hierarchy-2 out/tree:copies

    Next: `harness status --all` lists the campaigns that are left; `harness cache` is about the caches.
    """
    from ..report.terminal.columns import Cell, Column, table, wrap
    from .cache import cached
    from .clean import ABOUT, remove, usage

    items = {f"{item.name}:copies" if item.kind == "working copies" else item.name: item for item in usage()}
    for name in names:
        if name not in items:
            items |= _at_path(name)
        if name not in items:
            raise InputError(f"clean {name}: there is no such thing. There is: {', '.join(items) or 'nothing'}.")
    columns = [
        Column("name", "name"),
        Column("size", "MB", right=True),
        Column("kind", "what", drop=1),
        Column("place", "where", least=20, wraps=True, drop=2),
    ]
    rows = [
        {
            "name": Cell(name),
            "size": Cell(f"{item.size / 1e6:.1f}"),
            "kind": Cell(item.kind),
            "place": Cell(f"{item.path}{f'; in use: {item.in_use}' if item.in_use else ''}"),
        }
        for name, item in items.items()
        if not names or name in names
    ]
    if rows:
        click.echo("\n".join(table(columns, rows, width())))
    if not names:
        first = "`harness clean NAME` removes a campaign." if items else "Nothing in ./runs."
        caches = sum(item.size for item in cached()) / 1e6
        said = f"{first} The caches take {caches:,.1f} MB more; `harness cache` lists them."
        click.echo("\n".join(wrap(said, width(), "", "")))
        return
    for kind in dict.fromkeys(items[name].kind for name in names):
        click.echo(f"{kind}: {ABOUT[kind]}.")
    if not yes:
        click.confirm("Remove?", abort=True)
    for name in dict.fromkeys(names):
        remove(items[name])
        click.echo(f"removed {name}")


def _at_path(name: str) -> dict[str, Item]:
    """What `name` means where that is the path of a campaign, by that name."""
    from ..campaign.layout import Layout
    from .clean import items_of

    folder, copies = (name.removesuffix(":copies"), name.endswith(":copies"))
    if not Path(folder, "campaign.json").is_file():
        return {}
    kind = "working copies" if copies else "campaign"
    found = [item for item in items_of(Layout(Path(folder))) if item.kind == kind]
    return {name: found[0]} if found else {}


@click.command(short_help="What lies in the caches; remove it.")
@click.option("--remove", "names", multiple=True, metavar="NAME", help="Remove this entry; may be given more than once.")
@click.option("--all", "every", is_flag=True, help="Remove everything that can be made again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def cache(names: tuple[str, ...], every: bool, yes: bool) -> None:
    """List what lies in the caches, which all campaigns share, and remove what you name, after asking.

    It is harvested data, models, what scorers share, results of baselines, and agents' packages. What is removed is made
    again when it is needed, which may take long.

    \b
    Example:
      harness cache
      harness cache --remove NAME

    Next: `harness doctor --profile P` says what a profile would make again.
    """
    from ..report.terminal.columns import Cell, Column, table, wrap
    from .cache import age, cached, remove

    items = {item.name: item for item in cached()}
    for name in names:
        if name not in items:
            raise InputError(f"cache --remove {name}: there is no such thing. There is: {', '.join(items) or 'nothing'}.")
    chosen = [each for each in items.values() if each.name in names or (every and each.is_made_again)]
    shown = chosen if names or every else list(items.values())
    if not shown:
        click.echo("Nothing in the caches.")
        return
    columns = [
        Column("name", "name"),
        Column("size", "MB", right=True),
        Column("age", "age", right=True, drop=1),
        Column("what", "what", least=20, drop=2),
    ]
    rows = [
        {"name": Cell(each.name), "size": Cell(f"{each.size / 1e6:,.1f}"), "age": Cell(age(each)), "what": Cell(each.what)}
        for each in shown
    ]
    click.echo("\n".join(table(columns, rows, width())))
    total = sum(item.size for item in shown) / 1e9
    if not chosen:
        said = f"{total:.2f} GB. `harness cache --remove NAME` removes one entry, --all all that can be made again."
        click.echo("\n".join(wrap(said, width(), "", "")))
        return
    if not yes:
        click.confirm(f"Remove {total:.2f} GB?", abort=True)
    for item in chosen:
        remove(item)
        click.echo(f"removed {item.name}")
