"""Whether this machine has what any campaign needs: Python, git, space to write, a sandbox."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from ..execution.executors import cgroup
from ..execution.executors.sandbox import available
from .doctor_check import Check, output

PYTHON, GIT = (3, 11), (2, 28)
"""The oldest versions that work."""
MIN_FREE, LOW_FREE = 0.5e9, 5e9
"""Bytes on a disk below which a campaign cannot go on, and below which it may fill up overnight."""
_MORE_CONFINEMENT = (
    "Install bubblewrap (Debian and Ubuntu: `sudo apt install bubblewrap`). On Ubuntu 24.04 it also needs an AppArmor "
    "profile that allows /usr/bin/bwrap `userns,`; in a container or on a cluster the administrator decides whether you "
    "may have namespaces."
)
_CGROUP = "`systemd-run --user --scope -p Delegate=yes harness run …` has each execution in a cgroup of its own."


def own_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON:
        return Check("python", "fail", f"{version}, too old", "Install Python 3.11 or newer.")
    return Check("python", "ok", f"{version} ({sys.executable})")


def git() -> Check:
    todo = f"Install git {GIT[0]}.{GIT[1]} or newer, so that it is on PATH."
    try:
        said = output(["git", "--version"])
    except OSError as error:
        return Check("git", "fail", f"cannot be started: {error.strerror}", todo)
    found = re.search(r"(\d+)\.(\d+)\S*", said)
    if found is None:
        return Check("git", "fail", f"says {said.strip()!r}, not its version", todo)
    old = (int(found[1]), int(found[2])) < GIT
    return Check("git", "fail", f"{found[0]}, too old", todo) if old else Check("git", "ok", found[0])


def folder(name: str, path: Path) -> Check:
    """Whether `path`, or the folder that it would be made in, can be written, and how much is free there."""
    place = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    is_cache = name == "cache"
    other = "HARNESS_CACHE names another folder." if is_cache else "--out names another folder."
    shows = f"`harness {'cache' if is_cache else 'clean'}` shows what can go."
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        return Check(name, "fail", f"{place}: cannot be written: {error.strerror}", other)
    free = shutil.disk_usage(place).free
    detail = f"{path}: {free / 1e9:.1f} GB free"
    if free < MIN_FREE:
        return Check(name, "fail", detail, f"{shows} {other}")
    if free < LOW_FREE:
        return Check(name, "warning", detail, f"It may fill up: {shows} {other}")
    return Check(name, "ok", detail)


def confinement() -> Check:
    parts = available()
    if not parts.not_guaranteed:
        return Check("confinement", "ok", parts.sentence)
    return Check("confinement", "warning", parts.sentence, _MORE_CONFINEMENT)


def limits() -> Check:
    """How those of an execution are held."""
    # Where systemd manages this user's programs.
    is_managed = cgroup.available() is None and Path(f"/run/user/{os.getuid()}/systemd").exists()
    return Check("limits", "ok", cgroup.sentence(), _CGROUP if is_managed else "")
