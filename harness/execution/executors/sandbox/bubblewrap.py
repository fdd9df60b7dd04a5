"""bubblewrap: a plan as a command line of `bwrap`, and which parts of it this system lets a user have.

Only options that version 0.3 has are used, and --size where it is known: no --overlay, no --disable-userns.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path

from . import reach
from .plan import DEV, SHARED_MEMORY, MountPlan, kernel_switches

PARTS = {
    "user": ["--unshare-user"],
    "pid": ["--unshare-pid", "--proc", "/proc"],
    "ipc": ["--unshare-ipc"],
    "uts": ["--unshare-uts"],
    "net": ["--unshare-net"],
}
"""What may be had besides mounts of one's own, each by itself."""
_ALWAYS = ["--new-session", "--die-with-parent", "--cap-drop", "ALL"]
_ROOT = ["--ro-bind", "/", "/", "--dev", str(DEV)]
_SHARED_MEMORY = ["--tmpfs", str(SHARED_MEMORY)]
_ANSWERS_WITHIN = 20.0


@cache
def program() -> str | None:
    found = shutil.which("bwrap")
    # Where PATH has relative folders: it is started in a folder that somebody else fills.
    return os.path.abspath(found) if found else None  # noqa: PTH100


@cache
def probed() -> tuple[str, ...] | str:
    """`mount` and those of PARTS and of `reach` that can be had, tried with the real command; else why there are none."""
    if program() is None:
        return "bubblewrap is not installed"
    all_at_once = [option for part in PARTS.values() for option in part]
    beyond = reach.available()
    if not _fails(all_at_once, lambda: _must(reach.enter(beyond))):
        return ("mount", *PARTS, *beyond)
    if why := _fails([]):
        return f"bubblewrap: {why}"
    # One that has its rights from its file's owner loses them to what `reach` does.
    beyond = () if _fails([], lambda: _must(reach.enter(beyond))) else beyond
    return ("mount", *(name for name, options in PARTS.items() if not _fails(options)), *beyond)


@cache
def limits_shared_memory() -> bool:
    """Whether this bubblewrap (0.7) knows how much a file system in memory may hold."""
    return program() is not None and not _fails(["--size", "4096", *_SHARED_MEMORY])


@cache
def version() -> str:
    """`bubblewrap 0.8.0`."""
    said = subprocess.run([program() or "bwrap", "--version"], capture_output=True, text=True, check=False).stdout
    return said.strip() or "bubblewrap"


def command(plan: MountPlan, parts: Collection[str], status: int | None, refused: int | None) -> list[str]:
    """What stands before a command that is executed so. To the descriptor `status` bwrap writes whether it was, and how it
    ended, as JSON; from `refused` it reads a filter of system calls."""
    descriptors = {"--json-status-fd": status, "--seccomp": refused}
    options = [word for name, each in descriptors.items() if each is not None for word in (name, str(each))]
    return [*_prefix(plan, parts), *options, "--"]


def _prefix(plan: MountPlan, parts: Collection[str]) -> Iterator[str]:
    yield program() or "bwrap"
    yield from _ALWAYS
    yield from _ROOT
    if plan.shared_memory is not None and limits_shared_memory():
        yield from ("--size", str(plan.shared_memory))
    yield from _SHARED_MEMORY
    for name, options in PARTS.items():
        if name in parts and (name != "net" or not plan.network):
            yield from options
    for path in kernel_switches() if "pid" in parts else ():
        yield from ("--ro-bind", str(path), str(path))
    # Without a network nobody answers for this machine's own name; this one stands in /etc/hosts.
    if not plan.network and {"net", "uts"}.issubset(parts):
        yield from ("--hostname", "localhost")
    empty: list[str] = []
    for mount in plan.mounts():
        target, source = str(mount.target), str(mount.source)
        if mount.kind == "link":
            yield from ("--symlink", source, target)
        elif mount.kind == "empty":
            yield from ("--tmpfs", target)
            empty.append(target)
        elif mount.kind == "unreadable":
            # A device opens nowhere but in /dev.
            yield from ("--ro-bind", "/dev/null", target)
        elif DEV in mount.target.parents:
            yield from ("--dev-bind", source, target)
        else:
            yield from ("--bind" if mount.kind == "writable" else "--ro-bind", source, target)
    # After the folders in them have been made.
    for target in empty:
        yield from ("--remount-ro", target)
    yield from ("--chdir", str(plan.folder))


def _must(done: bool) -> None:
    if not done:
        raise OSError("the kernel does not enforce it")


def _fails(options: list[str], before: Callable[[], object] | None = None) -> str:
    """What bwrap says against them, "" where it does what it is told, though its process does something `before`."""
    bwrap = program() or "bwrap"
    try:
        done = subprocess.run(
            [bwrap, *_ALWAYS, *_ROOT, *_SHARED_MEMORY, *options, "--", bwrap, "--version"],
            cwd=Path("/"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWERS_WITHIN,
            check=False,
            preexec_fn=before,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1].removeprefix("bwrap: ") if lines else f"exit code {done.returncode}"
