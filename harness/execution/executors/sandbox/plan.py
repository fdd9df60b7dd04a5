"""What a process and all that it starts see of this machine: pure data, and the mounts that make it so."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import translate
from pathlib import Path
from typing import Literal, NamedTuple

TMP, DEV, SHARED_MEMORY = Path("/tmp"), Path("/dev"), Path("/dev/shm")
ACCELERATORS = ("nvidia*", "dri", "kfd", "dxg", "infiniband", "accel")
"""Below /dev."""
_ACCELERATOR = re.compile("|".join(map(translate, ACCELERATORS)))
_RUN = Path("/run")
_CONTROL = (
    *("user", "dbus", "docker.sock", "podman", "containerd", "crio", "libvirt", "munge", "snapd.socket", "systemd/private"),
)
"""Where programs listen that start others, or hold keys, for whoever may connect; hidden before they listen too."""
_NAME_SERVICES = ("nscd", "systemd/resolve", "systemd/userdb", "avahi-daemon", "nvidia-persistenced", "nvidia-fabricmanager")
"""Of programs that answer what names and cards there are, and start nothing."""
_SWITCHES = ("acpi", "asound", "bus", "driver", "fs", "irq", "mtrr", "scsi", "sys", "sysrq-trigger", "tty")
"""Of /proc."""

Kind = Literal["writable", "readable", "hidden"]


class Mount(NamedTuple):
    """One step towards the plan; `source` is what is seen at `target`, or what a link there says."""

    kind: Literal["writable", "readable", "empty", "unreadable", "link"]
    target: Path
    source: Path


@dataclass(frozen=True)
class MountPlan:
    """Everything is there to read. What is `writable` can be written too; what is `hidden` is an empty folder or a file that
    cannot be opened; `readable` is what is there all the same. Where two of these hold a path, the longer one decides.

    What is not there is left out. `tmp` is a folder that is seen as /tmp: short, and the place of TMPDIR.
    """

    folder: Path
    """The working directory."""
    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    tmp: Path | None = None
    network: bool = True
    shared_memory: int | None = None
    """Bytes that /dev/shm holds; None is what the system gives, half of this machine's memory."""

    def resolved(self) -> MountPlan:
        """With real paths: a readable link keeps its own name, and what it leads to has to be named as well; of one that is
        hidden what it leads to is."""
        return replace(
            self,
            folder=self.folder.resolve(),
            writable=_real(self.writable),
            readable=_real(self.readable),
            hidden=tuple(path.resolve() for path in self.hidden),
            tmp=self.tmp.resolve() if self.tmp else None,
        )

    @property
    def kinds(self) -> Mapping[Path, Kind]:
        """What is said of which path, parents first; who is named twice can be written rather than read rather than not."""
        said: dict[Path, Kind] = dict.fromkeys(self.hidden, "hidden")
        said |= dict.fromkeys(self.readable, "readable")
        said |= dict.fromkeys(self.writable, "writable")
        return {path: said[path] for path in sorted(said, key=lambda path: len(path.parts))}

    def mounts(self) -> Iterator[Mount]:
        """In order, on top of a root that is read-only and a /dev, /proc and /dev/shm of its own."""
        kinds = dict(self.kinds)
        if self.tmp:
            yield Mount("writable", TMP, self.tmp)
            kinds = {TMP: "writable", **kinds}
        for path in DEV.iterdir() if self.tmp is not None else ():
            if _ACCELERATOR.fullmatch(path.name):
                yield Mount("writable", path, path)
        for path, kind in kinds.items():
            if path == TMP and self.tmp:
                continue
            around = next((parent for parent in path.parents if parent in kinds), None)
            if kind == "readable" and path.is_symlink():
                if around is not None and kinds[around] != "readable":
                    yield Mount("link", path, path.readlink())
            elif not path.exists():
                continue
            elif kind == "hidden" and (around == TMP or (around is not None and kinds[around] == "hidden")):
                continue  # it is not even there
            elif kind == "hidden":
                yield Mount("empty", path, path) if path.is_dir() else Mount("unreadable", path, path)
            elif kind == "writable":
                yield Mount("writable", path, path)
            elif around is not None and kinds[around] != "readable":
                yield Mount("readable", path, path)


def control_sockets() -> tuple[Path, ...]:
    """Where other programs listen in /run, or will, and could be told to start something."""
    known = {_RUN / name for name in _CONTROL}
    harmless = {_RUN / name for name in _NAME_SERVICES}
    found, folders = sorted(known), [_RUN]
    for folder in folders:
        try:
            members = list(os.scandir(folder))
        except OSError:
            continue
        for each in members:
            path = Path(each.path)
            if path in known or path in harmless:
                continue
            if each.is_dir(follow_symlinks=False):
                folders.append(path)
            elif not each.is_symlink() and not each.is_file() and stat.S_ISSOCK(path.lstat().st_mode):
                found.append(path)
    return tuple(found)


def kernel_switches() -> list[Path]:
    """What of /proc changes the machine for whoever has root's number, without any capability."""
    return [path for name in _SWITCHES if (path := Path("/proc", name)).exists()] if os.geteuid() == 0 else []


def _real(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(path.parent.resolve() / path.name if path.is_symlink() else path.resolve() for path in paths)
