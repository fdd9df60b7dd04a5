"""Which parts of a sandbox this system has, and what is not guaranteed without the others."""

from __future__ import annotations

import os
from dataclasses import dataclass

from . import bubblewrap, landlock

FORCED = "HARNESS_SANDBOX"
"""Names a mechanism (bubblewrap, landlock, none) in the tests, which try each."""
_MISSING = {
    "mount": "it shares /tmp, /dev/shm and the devices with other programs",
    "pid": "it sees the other processes, and what leaves its process tree is found by a mark in its environment only",
    "ipc": "it shares System V IPC with other programs",
    "syscalls": "it reads the keys of your session's keyring and leaves others there (a filter of system calls refuses it)",
    "sockets": "it could connect to abstract sockets of other programs (Linux 6.12 refuses it)",
    "net": "it keeps the network where the contract takes it away",
}
_WITH_LANDLOCK = {
    "truncate": "it could empty files outside its folders (Linux 6.2 refuses it)",
    "syscalls": "it could end your processes by limits or starve them, and it keeps the network where the contract takes it "
    "away (a filter of system calls refuses it)",
    "signal": "it could send signals to your processes (Linux 6.12 refuses them)",
}


@dataclass(frozen=True)
class Parts:
    """The mechanism of this system, and what of it `held` when it was tried."""

    mechanism: str
    """`bubblewrap`, `landlock` or `none`."""
    version: str
    held: tuple[str, ...]
    why: str = ""
    """Why it is not bubblewrap, or not all of it."""

    @property
    def namespaces(self) -> bool:
        return self.mechanism == "bubblewrap"

    @property
    def confined(self) -> bool:
        """Whether nothing outside its folders can be written."""
        return self.namespaces or (self.mechanism == "landlock" and "truncate" in self.held)

    @property
    def not_guaranteed(self) -> tuple[str, ...]:
        """What an experiment, or an agent, could do without the parts that are missing."""
        if self.mechanism == "none":
            return ("it can read and write whatever you can",)
        if self.namespaces:
            held = {*self.held, *(["net"] if "syscalls" in self.held else [])}
            return tuple(said for name, said in _MISSING.items() if name not in held)
        return (
            *(said for name, said in _WITH_LANDLOCK.items() if name not in self.held),
            *(_MISSING[name] for name in ("mount", "pid", "ipc")),
            "it could change modes and times of files that are yours",
        )

    @property
    def sentence(self) -> str:
        """Which parts held, and what is then not guaranteed: the same in `doctor`, record, report and paper."""
        if not self.not_guaranteed:
            return f"{self}: an experiment can write to its working copy only"
        held = f"{self}" if self.held else "no sandbox"
        return f"{held} ({self.why}). Not guaranteed of an experiment: {'; '.join(self.not_guaranteed)}"

    def __str__(self) -> str:
        if self.mechanism == "none":
            return "none"
        missing = [] if not self.namespaces else [name for name in bubblewrap.PARTS if name not in self.held]
        said = f"{self.version}: {', '.join(self.held)}"
        return said + (f" (without {', '.join(missing)})" if missing else "")


def available(mechanism: str = "") -> Parts:
    """What this system has, of this mechanism where one is named; tried once in a process."""
    forced = mechanism or os.environ.get(FORCED, "")
    why = "it was not asked for"
    if forced in ("", "bubblewrap"):
        probed = bubblewrap.probed()
        if not isinstance(probed, str):
            return Parts("bubblewrap", bubblewrap.version(), probed)
        why = probed
    if forced in ("", "landlock"):
        held = landlock.probed()
        if held:
            return Parts("landlock", f"Landlock ABI {landlock.landlock_abi()}", held, why)
    return Parts("none", "", (), why)
