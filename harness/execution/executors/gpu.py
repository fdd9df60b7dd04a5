"""The GPUs of this machine, as nvidia-smi tells them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .sandbox.plan import DEV, TMP

_QUERY = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.free,memory.total", "--format=csv,noheader,nounits")

VISIBLE = "CUDA_VISIBLE_DEVICES"
_PIPES = "CUDA_MPS_PIPE_DIRECTORY"
_TOUCH = "import ctypes; ctypes.CDLL('libcuda.so.1').cuInit(0)"


@dataclass(frozen=True)
class Card:
    """One GPU. Memory in MiB, None where it is not told (memory that it shares with the processor)."""

    index: str
    uuid: str
    name: str
    free: int | None
    total: int | None

    @property
    def is_busy(self) -> bool:
        """Whether less than half of its memory is free."""
        return self.free is not None and self.total is not None and self.free < self.total / 2

    def __str__(self) -> str:
        if self.free is None or self.total is None:
            return f"{self.index}: {self.name}"
        return f"{self.index}: {self.name}, {self.free / 1024:.0f} of {self.total / 1024:.0f} GiB free"


def visible_cards(visible: str | None) -> list[Card]:
    """The GPUs that a process with `visible` as its CUDA_VISIBLE_DEVICES gets (None: not set, so all). Empty where
    there is none, or no driver that works. A partition of a GPU is not told apart from the GPU."""
    try:
        done = subprocess.run(_QUERY, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    cards = [_card(*cells) for row in done.stdout.splitlines() if len(cells := row.split(",")) == 5]
    if visible is None:
        return cards
    if "MIG-" in visible:
        return cards
    chosen = [each.strip() for each in visible.split(",")]
    return [card for card in cards if any(_is_meant(card, each) for each in chosen)]


def models(visible: str | None) -> tuple[str, ...] | None:
    """Of the GPUs that a process with `visible` gets, None where nobody tells; asked once, for they do not change."""
    return _models(visible) if shutil.which(_QUERY[0]) else None


@cache
def _models(visible: str | None) -> tuple[str, ...]:
    return tuple(card.name for card in visible_cards(visible))


def _card(index: str, uuid: str, name: str, free: str, total: str) -> Card:
    memory = [int(text) if text.strip().isdecimal() else None for text in (free, total)]
    return Card(index.strip(), uuid.strip(), name.strip(), memory[0], memory[1])


def _is_meant(card: Card, name: str) -> bool:
    """CUDA takes an index, or the beginning of a UUID."""
    return name == card.index or (name.startswith("GPU-") and card.uuid.startswith(name))


def in_use() -> set[str]:
    """The UUIDs of GPUs on which somebody computes, or of whose memory somebody has more than half."""
    query = ["nvidia-smi", "--query-compute-apps=gpu_uuid", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        said = ""
    return {each.strip() for each in said.splitlines()} | {card.uuid for card in visible_cards(None) if card.is_busy}


def make_devices() -> None:
    """Have CUDA touched once outside of any sandbox: its driver makes some of its devices at the first use, by a program
    with root's rights, which nothing in a sandbox may start."""
    if not (DEV / "nvidiactl").exists() or (DEV / "nvidia-uvm").exists():
        return
    with suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            [sys.executable, "-c", _TOUCH], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )


def mps(environment: Mapping[str, str]) -> Path | None:
    """The folder by which a process with this environment finds the daemon of CUDA's Multi-Process Service, where one runs:
    several processes then share a GPU."""
    folder = Path(environment.get(_PIPES) or TMP / "nvidia-mps")
    return folder if (folder / "control").exists() else None
