"""Slurm's own commands, called as a program calls them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

PATIENCE = 60.0
"""Seconds for an answer; a controller that is busy takes many."""
_NO_ANSWER = (
    *("Unable to contact slurm controller", "Socket timed out", "Connection refused", "Connection timed out"),
    *("Zero Bytes were transmitted", "Unexpected message received", "Slurm temporarily unable to accept"),
    *("Slurm backup controller in standby", "Address family not supported", "Unable to establish"),
)
_TOO_MANY = (
    "submit limit",
    "SubmitJobLimit",
    "Slurm's job limit",
    "Job limit",
    "slurm_submit_batch_job: Resource temporarily",
)
_PASSED_ON = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "HOME",
    "USER",
    "LOGNAME",
    "LD_LIBRARY_PATH",
    "SLURM_CONF",
    "SLURM_CLUSTERS",
)


class NoAnswer(Exception):
    """Slurm does not answer, or takes no more jobs just now: later it may."""


class Refused(Exception):
    """Slurm answers, and does not do what it was asked for; its own words."""


def environment() -> dict[str, str]:
    """What Slurm's commands get, and what a job inherits of it: no key is in it, and nothing of a job that the harness may
    be running in itself."""
    return {name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("SBATCH_")}


def ask(command: Sequence[str], *, text: str = "", more: Mapping[str, str] | None = None) -> str:
    """What a command prints that is given `text`, with `more` in its environment. Raises NoAnswer and Refused."""
    program = shutil.which(command[0])
    if program is None:
        raise Refused(f"{command[0]} is not on PATH")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            input=text,
            env=environment() | dict(more or {}),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            cwd="/",
        )
    except subprocess.TimeoutExpired as error:
        raise NoAnswer(f"{command[0]}: no answer within {PATIENCE:.0f} s") from error
    except OSError as error:
        raise Refused(f"{command[0]}: {error.strerror}") from error
    if done.returncode == 0:
        return done.stdout
    said = " ".join(line.partition("error: ")[2] or line for line in done.stderr.splitlines()).strip()
    if any(words in done.stderr for words in (*_NO_ANSWER, *_TOO_MANY)):
        raise NoAnswer(said)
    raise Refused(said or f"{command[0]}: exit code {done.returncode}")
