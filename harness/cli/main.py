"""The command line: the group of all commands, and what their errors become."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, NoReturn

import click

from .. import __version__
from ..campaign.errors import OUTCOMES, HarnessError, Interrupted
from . import campaign_commands, code_commands, document_commands, outside_commands, reading_commands, setup_commands
from .options import DIFFERS, DIFFERS_KEY, print_json

_AS_JSON = "harness.json"


class _Commands(click.Group):
    """The commands in the order in which they are used, and what their errors become: a line and an exit code, and with
    `--json` an object."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_AS_JSON] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            ctx.color = False
        try:
            super().invoke(ctx)
            sys.stdout.flush()
            if ctx.meta.get(DIFFERS_KEY):
                ctx.exit(DIFFERS)
        except HarnessError as error:
            _end(ctx, error.exit_code, str(error))
        except (KeyboardInterrupt, click.Abort):
            _end(ctx, Interrupted.exit_code, "stopped.")
        except BrokenPipeError:
            # The reader has seen enough (head). What is still buffered would fail again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except click.ClickException as error:
            _say_in_json(ctx, error.exit_code, error.format_message())
            raise
        except (click.exceptions.Exit, SystemExit):
            raise
        except Exception as error:
            from .crash import crash_message

            _end(ctx, 4, crash_message(error))


def _say_in_json(ctx: click.Context, code: int, message: str) -> None:
    """The object of a command that has none of its own to print."""
    if ctx.meta[_AS_JSON]:
        print_json({"outcome": OUTCOMES.get(code, "cannot_go_on"), "exit_code": code, "message": message})


def _end(ctx: click.Context, code: int, message: str) -> NoReturn:
    from ..campaign.text import clean

    _say_in_json(ctx, code, message)
    click.echo(f"harness: {clean(message)}", err=True)
    sys.exit(code)


def main() -> None:
    """The command `harness`."""
    # Of a thousand runs there are so many events and records that to look again and again for cycles, which are none, takes
    # a tenth of the time of a command.
    gc.set_threshold(100_000)
    for stream in (sys.stdout, sys.stderr):
        # A locale that cannot write a letter is no reason to fail; the C locale says nothing about the terminal.
        encoding = "utf-8" if stream.encoding.lower() in ("ascii", "ansi_x3.4-1968", "us-ascii") else stream.encoding
        stream.reconfigure(encoding=encoding, errors="replace")  # type: ignore[union-attr]
    cli(prog_name="harness")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="harness %(version)s")
def cli() -> None:
    """Take an idea through a real experiment, run by run, and leave a record that can be believed.

    A coding agent edits experiment.py; the harness executes it, measures, judges, and writes down what happened. A campaign
    is named by its path, by its folder's name in ./runs, or by `latest`.

    \b
    To begin:
      harness init my-experiment        an experiment that runs
      harness doctor                    what could be wrong
      harness run ideas/hierarchy.json  a campaign
    """


for _command in (
    campaign_commands.run,
    campaign_commands.resume,
    campaign_commands.confirm,
    campaign_commands.score,
    outside_commands.open_,
    outside_commands.try_,
    outside_commands.end,
    outside_commands.skill,
    outside_commands.observe,
    reading_commands.status,
    reading_commands.log,
    reading_commands.show,
    code_commands.diff,
    reading_commands.compare,
    code_commands.adopt,
    reading_commands.notes,
    reading_commands.brief,
    reading_commands.check,
    document_commands.report,
    document_commands.writeup,
    campaign_commands.tell,
    setup_commands.agents,
    setup_commands.doctor,
    setup_commands.init,
    setup_commands.schema,
    setup_commands.clean,
    setup_commands.cache,
):
    cli.add_command(_command)
