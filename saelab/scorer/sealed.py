"""A run's SAE as the scorer has it: two graphs, weights and settings, and checks on whatever they compute.

- The code of a row depends on that row alone: of each batch some rows are encoded again by themselves.
- decode is affine, decode(f) = f W_dec + b: of each batch some rows are looked at, on the codes that really occur. So a
  latent's direction means what scores take it for.
- Codes are counted here: how many latents fire, and the most in one row.
- The same rows give the same codes twice.

Which rows are looked at depends on the content of the files, so nobody can choose them, and each scoring takes the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact_files import DECODE, ENCODE, SETTINGS, WEIGHTS
from .graph import Floats, Graph, Refused, read_bytes

ALONE = 4
"""Rows of each batch that are encoded again by themselves."""
AGREES = 1e-3
"""The largest difference that rounding explains, as a share of the largest value."""
MAY_TIE = 0.05
"""The share of the rows looked at that may differ by more: where latents tie for the last place, rounding decides."""
_PROBES = 64
_LARGEST_SETTINGS = 1_000_000  # bytes


@dataclass
class Count:
    """What was seen of the codes in all rows so far."""

    rows: int = 0
    fired: int = 0
    most: int = 0
    """Latents that fired in one row."""
    looked_at: int = 0
    apart: int = 0
    """Of the rows looked at, those that depended on the others."""
    objections: list[str] = field(default_factory=list)


class Sealed:
    """Rows [n, d_in] to codes [n, d_sae] and back, in numpy."""

    def __init__(self, folder: Path, *, threads: int, cuda: bool = False) -> None:
        """The artifact in `folder`. Raises Refused, with file and reason."""
        encode, decode = read_bytes(folder / ENCODE), read_bytes(folder / DECODE)
        self.settings = _settings(read_bytes(folder / SETTINGS))
        self.weights = _weights(read_bytes(folder / WEIGHTS))
        self._encode = Graph(encode, ENCODE, threads=threads, cuda=cuda)
        self._decode = Graph(decode, DECODE, threads=threads, cuda=cuda)
        self.d_in, self.d_sae = self._encode.width_in, self._encode.width_out
        if (self._decode.width_in, self._decode.width_out) != (self.d_sae, self.d_in):
            raise Refused(
                f"{DECODE}: takes rows of {self._decode.width_in} and gives {self._decode.width_out}; "
                f"{ENCODE} takes {self.d_in} and gives {self.d_sae}."
            )
        self.on_gpu = self._encode.on_gpu
        self.count = Count()
        self._chance = np.random.default_rng(list(hashlib.sha256(encode + decode).digest()))
        self.remarks: list[str] = []
        self.b_dec: Floats = self._decode.run(np.zeros((1, self.d_sae), dtype=np.float32))[0]
        self.W_dec = self._directions()
        self._look_twice()

    def encode(self, x: Floats) -> Floats:
        """Codes [n, d_sae] of rows [n, d_in], counted and looked at. Raises Refused."""
        codes = self._encode.run(x)
        self.look_at_codes(codes, x)
        return codes

    def decode(self, f: Floats) -> Floats:
        """Rows [n, d_in] of codes [n, d_sae]. Raises Refused."""
        rows = self._decode.run(f)
        self.look_at_rows(rows, f)
        return rows

    def look_at_codes(self, codes: Floats, x: Floats) -> None:
        """Count `codes`, and compare some of them with what their rows of `x` give by themselves."""
        fires = np.count_nonzero(codes, axis=1)
        self.count.rows += len(codes)
        self.count.fired += int(fires.sum())
        self.count.most = max(self.count.most, int(fires.max(initial=0)))
        for row in self._some(len(codes)):
            alone = self._encode.run(x[row : row + 1])[0]
            self.count.looked_at += 1
            self.count.apart += not _agree(alone, codes[row])
        if self.count.apart > 2 + MAY_TIE * self.count.looked_at:
            self.object(
                f"{ENCODE}: the code of a row depends on the other rows of its batch ({self.count.apart} of "
                f"{self.count.looked_at} rows get another code by themselves). Encode each row by a rule of its own."
            )

    def look_at_rows(self, rows: Floats, f: Floats) -> None:
        """Compare some of the reconstructed `rows` with what the directions of the latents add up to."""
        some = self._some(len(f))
        if not _agree(f[some] @ self.W_dec + self.b_dec, rows[some]):
            self.object(
                f"{DECODE}: not affine: decode(f) is not the sum of f[l] times the direction of latent l, plus a constant. "
                "Then a latent has no direction, and nothing that rests on directions can be scored."
            )

    def object(self, why: str) -> None:
        """Refuse, and keep it: a library in between may swallow the exception."""
        self.count.objections.append(why)
        raise Refused(why)

    def verified(self) -> dict[str, int]:
        """Settings as the artifact has them, whatever is reported."""
        found = {"d_in": self.d_in, "dict_size": self.d_sae}
        k = self.settings.get("k")
        if isinstance(k, int | float) and not isinstance(k, bool):
            found["k"] = int(k) if self.count.most <= k == int(k) else self.count.most
        return found

    def _some(self, rows: int) -> Any:
        return self._chance.choice(rows, min(ALONE, rows), replace=False)

    def _directions(self) -> Floats:
        """W_dec [d_sae, d_in]: that of the weights where the graph decodes with it, else the graph's own."""
        named = self.weights.get("W_dec")
        codes = self._codes()
        rows = self._decode.run(codes)
        if named is not None and named.shape == (self.d_sae, self.d_in) and _agree(codes @ named + self.b_dec, rows):
            return named
        if named is not None:
            self.remarks.append(f"W_dec of {WEIGHTS} is not what {DECODE} decodes with; the latter counts.")
        found = np.empty((self.d_sae, self.d_in), dtype=np.float32)
        for start in range(0, self.d_sae, 1024):
            part = found[start : start + 1024]
            part[:] = self._decode.run(np.eye(len(part), self.d_sae, start, dtype=np.float32)) - self.b_dec
        return found

    def _codes(self) -> Floats:
        """Sparse codes to try decode with."""
        codes = self._chance.random((_PROBES, self.d_sae), dtype=np.float32)
        codes[self._chance.random(codes.shape) > min(0.5, 16 / self.d_sae)] = 0
        return codes

    def _look_twice(self) -> None:
        """Both graphs must give the same twice, and decode must be affine."""
        codes = self._codes()
        x = self.decode(codes)
        x += self._chance.standard_normal(x.shape, dtype=np.float32) * x.std()
        for graph, rows in ((self._encode, x), (self._decode, codes)):
            if not _agree(graph.run(rows), graph.run(rows)):
                self.object(f"{graph.name}: gives different results for the same rows.")
        self.encode(x)
        self.count = Count()


def _agree(one: Floats, other: Floats) -> bool:
    return bool(np.abs(one - other).max(initial=0) <= AGREES * max(float(np.abs(other).max(initial=0)), 1e-6))


def _settings(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content[:_LARGEST_SETTINGS])
    except (ValueError, RecursionError) as error:
        raise Refused(f"{SETTINGS}: not JSON of at most 1 MB.") from error
    if not isinstance(found, dict):
        raise Refused(f"{SETTINGS}: expected an object.")
    return found


def _weights(content: bytes) -> dict[str, Floats]:
    """The arrays of float32 in a safetensors file, by name."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{WEIGHTS}: not a safetensors file of float32: {error}") from error
    return {name: value for name, value in found.items() if value.dtype == np.float32}
