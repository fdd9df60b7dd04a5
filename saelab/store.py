"""Harvested activations on disk: blocks of raw bfloat16 rows in random order, and a manifest.

A harvest is a folder: `block-00000.bf16` and so on, each rows x width bfloat16 numbers, little-endian, and `manifest.json`,
which says what they are, how many rows each block has, and its checksum (CRC-32, against damage and not against a forger: an
experiment cannot write here). One random permutation decided the order of all rows, so a block is a random part of them.

Writing takes memory for two blocks and 24 bytes a row, whatever the size of the harvest; reading maps a block.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .cache import MANIFEST
from .errors import CannotPrepare

if TYPE_CHECKING:
    import torch

BLOCK_BYTES = 2**28
_READ_BYTES = 2**22

Bits = npt.NDArray[np.uint16]
"""bfloat16 numbers, which numpy does not have, as they lie in memory."""


@dataclass(frozen=True)
class Block:
    file: str
    rows: int
    checksum: int


@dataclass(frozen=True)
class Harvest:
    """A finished harvest."""

    folder: Path
    width: int
    blocks: tuple[Block, ...]
    facts: Mapping[str, Any]
    """What else the manifest says: what was harvested, when, and what was left out."""

    @property
    def rows(self) -> int:
        return sum(block.rows for block in self.blocks)

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return 2 * self.rows * self.width

    def damage(self) -> list[str]:
        """What of it is missing or is not what was written; reads all of it."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            found = zip(self.blocks, pool.map(self._damage_of, self.blocks), strict=True)
            return [f"{self.folder / block.file} {said}" for block, said in found if said]

    def _damage_of(self, block: Block) -> str:
        try:
            with (self.folder / block.file).open("rb") as file:
                size, checksum = os.fstat(file.fileno()).st_size, 0
                if size != 2 * block.rows * self.width:
                    return f"has {size} bytes instead of {2 * block.rows * self.width}"
                while part := file.read(_READ_BYTES):
                    checksum = zlib.crc32(part, checksum)
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        return "" if checksum == block.checksum else "is not what was written (checksum)"

    def batches(self, batch_size: int, seed: int, device: torch.device, dtype: torch.dtype) -> Iterator[torch.Tensor]:
        """Batches [batch_size, width] without end; a pass goes over the rows once, and leaves out what fills no batch.

        The order depends on `seed` and differs from pass to pass: blocks in random order, rows at random in each. While a
        block is used the next ones are read and their checksums compared; up to three blocks lie in a GPU's memory. Raises
        CannotPrepare for a damaged block, and where the rows fill no batch.
        """
        import torch

        if self.rows < batch_size:
            raise CannotPrepare(
                f"batch_size {batch_size}: {self.folder} has {self.rows} rows. --set batch_size={self.rows}."
            )
        order = torch.Generator().manual_seed(seed)
        # A checksum takes longer than a GPU trains on a block, so there two are read at once.
        at_once = 2 if device.type == "cuda" else 1
        with ThreadPoolExecutor(at_once) as ahead:
            while True:
                waiting = torch.randperm(len(self.blocks), generator=order).tolist()
                coming: deque[Future[torch.Tensor]] = deque()
                pieces: list[torch.Tensor] = []
                missing = batch_size
                while waiting or coming:
                    while waiting and len(coming) <= at_once:
                        coming.append(ahead.submit(self._load, waiting.pop(), device))
                    rows = coming.popleft().result()
                    chosen = torch.randperm(len(rows), generator=order).to(device)
                    while len(chosen):
                        pieces.append(rows[chosen[:missing]].to(dtype))
                        chosen = chosen[missing:]
                        missing -= len(pieces[-1])
                        if not missing:
                            yield torch.cat(pieces) if len(pieces) > 1 else pieces[0]
                            pieces, missing = [], batch_size

    def _load(self, number: int, device: torch.device) -> torch.Tensor:
        import torch

        block = self.blocks[number]
        path = self.folder / block.file
        if said := self._damage_of(block):
            raise CannotPrepare(f"{path} {said}. `python -m saelab.prepare` harvests it again.")
        rows = torch.from_file(str(path), shared=False, size=block.rows * self.width, dtype=torch.bfloat16)
        return rows.view(block.rows, self.width).to(device)


def open_harvest(folder: Path) -> Harvest | None:
    """The harvest in `folder`, None where there is none or its manifest cannot be read."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        blocks = tuple(Block(**block) for block in manifest.pop("blocks"))
        return Harvest(folder, manifest.pop("width"), blocks, manifest)
    except (OSError, ValueError, TypeError, KeyError):
        return None


class Writer:
    """Writes rows that come in any number, in an order that `seed` decides, into a folder.

    At most `rows` are taken; what comes after them is left. With fewer the order is as random, and blocks differ in length.
    """

    def __init__(self, folder: Path, rows: int, width: int, seed: int, block_bytes: int = BLOCK_BYTES) -> None:
        if sys.byteorder != "little":
            raise RuntimeError("harvests are little-endian files, and this machine is big-endian")
        self.written = 0
        self._folder, self._width = folder, width
        per_block = min(rows, max(1, block_bytes // (2 * width)))
        # A row's place in the whole: the block is its quotient, the place in the block its remainder.
        self._block, self._place = np.divmod(np.random.default_rng(seed).permutation(rows), per_block)

    def add(self, rows: Bits) -> None:
        """Take rows [n, width]."""
        rows = rows[: len(self._block) - self.written]
        block = self._block[self.written : self.written + len(rows)]
        order = np.argsort(block, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(block[order])) + 1) if len(rows) else ():
            with self._arrived(int(block[group[0]])).open("ab") as file:
                file.write(np.ascontiguousarray(rows[group]).tobytes())
        self.written += len(rows)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Bring the rows of each block into their order, and write the manifest."""
        blocks = []
        for number in range(int(self._block.max()) + 1):
            arrived = self._arrived(number)
            if not arrived.exists():
                continue
            rows = np.fromfile(arrived, dtype=np.uint16).reshape(-1, self._width)
            places = self._place[: self.written][self._block[: self.written] == number]
            content = np.ascontiguousarray(rows[np.argsort(places)]).data
            name = f"block-{number:05d}.bf16"
            (self._folder / name).write_bytes(content)
            arrived.unlink()
            blocks.append(Block(name, len(rows), zlib.crc32(content)))
        manifest = {**facts, "width": self._width, "blocks": [asdict(block) for block in blocks]}
        (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    def _arrived(self, block: int) -> Path:
        return self._folder / f"arrived-{block:05d}"
