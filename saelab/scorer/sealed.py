"""A run's SAE as the scorer has it: two graphs, weights and settings, and checks on whatever they compute.

- Codes are at least 0, and the code of a row depends on that row alone: most graphs show it by what they are made of
  (`row_independence`); of others many rows of each batch are encoded again, in other company.
- The decoder's graph is asked for what each latent adds by itself, and for what is there without any. Rows are reconstructed
  from these, so a latent's direction means what scores take it for; of each batch some rows are compared with the graph.
- Codes are counted here: how many latents fire, and the most in one row.
- The same rows give the same codes twice.

Which rows are looked at depends on the content of the files and on a secret, where the scorer was given one: an experiment
that knows its own files can neither choose nor foresee them, and each scoring takes the same.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import wire
from ..artifact_files import DECODE, ENCODE, NOT_EXPORTED, SETTINGS, WEIGHTS
from .graph import WIDEST, Function, Graph, Refused, read_bytes, read_model
from .rows import Floats, Rows, firing, is_finite, joined, largest, to_array
from .served import Served, connect

LOOKED_AT = 256
"""Rows of each batch that are encoded again in other company: a twentieth of the work of a whole batch."""
_COMPANY = 8
"""Rows of such a company: few, of codes that are alike, so that it has another mean, maximum and order than the batch."""
DECODED = 4
"""Rows of each batch that are decoded again by the graph."""
AGREES = 1e-3
"""The largest difference that rounding explains, as a share of the largest value of a latent (of a row, where rows are
compared that were decoded)."""
_ENCODES_ALIKE = 1e-5
"""The same for codes of one row in two companies, where a latent's contribution is of the size of the row. Seen were 0 with
onnxruntime and 3e-6 with torch."""
ROUNDS = 1e-6
"""The share of a number that is lost where another of its size is subtracted: some of float32's last places."""
MAY_DIFFER = 0.002
"""The share of the rows looked at that may differ for another reason than a tie."""
MAY_TIE = 0.05
"""The share that may differ where latents tie for the last place of a row, so that rounding decides who fires."""
L0_AGREES = 1.5
"""The largest ratio of two L0 that different rows explain: evals look at different texts, some without first tokens."""
MEAN_K = ("batchtopk", "matryoshka")
"""Architectures that fire k latents a row on average: their threshold comes from training, and L0 agrees with k as L0_AGREES
says."""
_PROBES = 64
_TRIES, _ENOUGH, _LEAST = 5, 64, 2.0**-20
"""How often a larger code is tried for a latent that adds little, until it adds a 64th of what is there without any; less
than the third share of that is rounding."""
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
    """Of the rows looked at, those that got another code in other company."""
    tied: int = 0
    """Those in which latents that tie took each other's place."""
    objections: list[str] = field(default_factory=list)

    @property
    def l0(self) -> float:
        return self.fired / max(self.rows, 1)


class Sealed:
    """Rows [n, d_in] to codes [n, d_sae] and back."""

    def __init__(
        self, folder: Path, *, threads: int, torch_on: str = "", secret: bytes = b"", server: Path | None = None
    ) -> None:
        """The artifact in `folder`. `torch_on` is the device on which torch executes its graphs; without one onnxruntime
        does, on the CPU. `server` is the folder of a process that serves what of it is no data. Raises Refused, with file
        and reason."""
        self.settings = _settings(read_bytes(folder / SETTINGS))
        weights = read_bytes(folder / WEIGHTS)
        self.weights = _weights(weights)
        self.remarks: list[str] = []
        self._encode: Function
        self._decode: Function
        if server and (folder / NOT_EXPORTED).exists():
            why = read_bytes(folder / NOT_EXPORTED).decode(errors="replace")
            self.remarks.append(f"scored with the agent's code, which can remember what it was asked: {why[:300]}")
            content = weights
            self._encode, self._decode = self._served(server)
        else:
            encode, decode = read_bytes(folder / ENCODE), read_bytes(folder / DECODE)
            content = encode + decode
            self._encode = load_graph(encode, ENCODE, threads=threads, torch_on=torch_on)
            self._decode = load_graph(decode, DECODE, threads=threads, torch_on=torch_on)
        self.d_in, self.d_sae = self._encode.width_in, self._encode.width_out
        if (self._decode.width_in, self._decode.width_out) != (self.d_sae, self.d_in):
            raise Refused(
                f"{DECODE}: takes rows of {self._decode.width_in} and gives {self._decode.width_out}; "
                f"{ENCODE} takes {self.d_in} and gives {self.d_sae}."
            )
        graphs = self._encode, self._decode
        self.remarks += [graph.remark for graph in graphs if graph.remark]
        self.costs = [graph.cost for graph in graphs if graph.cost]
        """What it costs that a graph is executed otherwise than was asked: sentences for the log."""
        self.count = Count()
        self._chance = np.random.default_rng(list(hashlib.sha256(secret + content).digest()))
        self.b_dec: Floats = self._decode.run(np.zeros((1, self.d_sae), dtype=np.float32))[0]
        self.W_dec = self._directions()
        self.W_enc: Floats | None = self._named("W_enc", self.d_in, self.d_sae)
        self.b_enc: Floats | None = self._named("b_enc", self.d_sae)
        """What the weights say, None where the codes do not obey it."""
        self._look_twice()

    def encode(self, x: Rows) -> Rows:
        """Codes [n, d_sae] of rows [n, d_in], counted and looked at. A tensor's stay on its device. Raises Refused."""
        codes = self._encode.run(x)
        self.look_at_codes(codes, x)
        return codes

    def decode(self, f: Floats) -> Floats:
        """Rows [n, d_in] of codes [n, d_sae]. Raises Refused."""
        rows: Floats = f @ self.W_dec + self.b_dec
        some = self.some(len(f))
        self.look_at_rows(rows[some], f[some], is_finite(rows))
        return rows

    def look_at_codes(self, codes: Rows, x: Rows) -> None:
        """Count `codes`, and compare some of them with what their rows of `x` give by themselves. Raises Refused."""
        if not len(codes):
            return
        if codes.min() < 0:
            self.object(
                f"{ENCODE}: codes must be >= 0: a latent fires where its code is above 0. Negate the latent's direction "
                "instead, or end encode with a relu."
            )
        fires = firing(codes)
        self.count.rows += len(codes)
        self.count.fired += int(fires.sum())
        self.count.most = max(self.count.most, int(fires.max()))
        if self._encode.is_row_independent:
            return
        some: Any = self.some(len(codes), LOOKED_AT)
        scale = np.maximum(largest(codes), 1e-30)
        some[3:] = some[3:][np.argsort((to_array(codes[some[3:]]) / scale).sum(axis=1))]
        # By themselves and in small company: a graph that looks at how many rows there are has no size left to hide in.
        companies = np.split(some, [1, 3, *range(3 + _COMPANY, len(some), _COMPANY)])
        again = to_array(joined([self._encode.run(x[part]) for part in companies if len(part)]))
        scale = np.maximum(scale, again.max(axis=0))
        self.count.looked_at += len(some)
        differ, tie = _compare(to_array(codes[some]), again, self._within(to_array(x[some]), scale))
        self.count.apart += differ
        self.count.tied += tie
        looked_at = self.count.looked_at
        if self.count.apart > 1 + MAY_DIFFER * looked_at or self.count.tied > 2 + MAY_TIE * looked_at:
            others = f"{self.count.apart + self.count.tied} of {looked_at} rows get another code in other company"
            self.object(
                f"{ENCODE}: the code of a row depends on the other rows of its batch ({others}). "
                "Encode each row by a rule of its own."
            )

    def _within(self, x: Floats, scale: Floats) -> Floats:
        """By how much rounding alone may change a code of each latent [d_sae] that is at most `scale`, for rows `x`: what is
        lost of their size is more where a latent adds little, or a mean is large."""
        adds = np.linalg.norm(self.W_dec, axis=1) * scale
        lost = ROUNDS * float(np.linalg.norm(x, axis=1).max()) / np.maximum(adds, 1e-30)
        within: Floats = np.clip(lost, _ENCODES_ALIKE, AGREES) * scale
        return within

    def look_at_rows(self, rows: Floats, f: Floats, finite: bool) -> None:
        """Compare some reconstructed `rows` with what the graph makes of their codes; `finite` is all. Raises Refused."""
        self._decode.check(rows.shape, len(f), finite)
        # What codes add is compared, without what is there anyway: a language model's mean may be far above its scatter.
        if not _agree(self._decode.run(f) - self.b_dec, rows - self.b_dec, rounding=float(np.abs(self.b_dec).max())):
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
            is_number = math.isfinite(k) and k == int(k)
            is_mean = self.settings.get("architecture") in MEAN_K
            fires = math.ceil(self.count.l0 / L0_AGREES) if is_mean else self.count.most
            found["k"] = int(k) if is_number and fires <= k else fires
        return found

    def compare_l0(self, measured: float) -> None:
        """Remark it where an eval has found another L0 than was counted here, over all rows of all evals."""
        counted = self.count.l0
        if not counted / L0_AGREES <= measured <= counted * L0_AGREES:
            self.remarks.append(f"L0 {measured:.4g} was measured; the scorer counted {counted:.4g} latents a row.")

    def some(self, rows: int, number: int = DECODED) -> Any:
        return self._chance.choice(rows, min(number, rows), replace=False)

    def _served(self, server: Path) -> tuple[Function, Function]:
        widths = [self.settings.get(name) for name in ("d_in", "dict_size")]
        d_in, d_sae = (width if type(width) is int and 0 < width <= WIDEST else 0 for width in widths)
        if not (d_in and d_sae):
            raise Refused(f"{SETTINGS}: d_in {widths[0]!r}, dict_size {widths[1]!r}: expected the widths of rows and codes.")
        end = connect(server)
        return Served(end, wire.ENCODE, "encode", d_in, d_sae), Served(end, wire.DECODE, "decode", d_sae, d_in)

    def _directions(self) -> Floats:
        """W_dec [d_sae, d_in], what each latent adds by itself: by a code with which that is not small beside what is there
        without any, so that the difference is not mostly rounding."""
        found = np.empty((self.d_sae, self.d_in), dtype=np.float32)
        there = float(np.abs(self.b_dec).max())
        for start in range(0, self.d_sae, 1024):
            part = found[start : start + 1024]
            codes = np.full((len(part), 1), 2.0 ** math.ceil(math.log2(max(there, 1.0))), dtype=np.float32)
            for _ in range(_TRIES):
                added = self._decode.run(codes * np.eye(len(part), self.d_sae, start, dtype=np.float32)) - self.b_dec
                part[:] = added / codes
                short = there / np.maximum(np.abs(added).max(axis=1, keepdims=True), _LEAST * there + 1e-30)
                if short.max() <= _ENOUGH:
                    break
                codes = np.where(short > _ENOUGH, codes * np.exp2(np.ceil(np.log2(np.maximum(short, 1)))), codes)
                codes = codes.astype(np.float32)
        return found

    def _named(self, name: str, *shape: int) -> Floats | None:
        found = self.weights.get(name)
        return found if found is not None and found.shape == shape else None

    def _codes(self) -> Floats:
        """Sparse codes to try decode with."""
        codes = self._chance.random((_PROBES, self.d_sae), dtype=np.float32)
        codes[self._chance.random(codes.shape) > min(0.5, 16 / self.d_sae)] = 0
        return codes

    def _look_twice(self) -> None:
        """Both graphs must give the same twice, and decode must be affine. What the weights say is compared with them."""
        codes = self._codes()
        x: Floats = codes @ self.W_dec + self.b_dec
        self.look_at_rows(x, codes, is_finite(x))
        x += self._chance.standard_normal(x.shape, dtype=np.float32) * x.std()
        for graph, rows in ((self._encode, x), (self._decode, codes)):
            if not _agree(graph.run(rows), graph.run(rows)):
                self.object(f"{graph.name}: gives different results for the same rows.")
        self._compare_weights(x, self.encode(x))
        self.count = Count()

    def _compare_weights(self, x: Floats, codes: Floats) -> None:
        named = {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self._named("W_dec", self.d_sae, self.d_in)}
        if absent := [name for name, value in named.items() if value is None]:
            self.remarks.append(f"{', '.join(absent)}: not in {WEIGHTS} with the shapes of the SAE.")
        decoder = named["W_dec"]
        if decoder is not None and not _agree(decoder, self.W_dec):
            self.remarks.append(f"W_dec of {WEIGHTS} is not what {DECODE} decodes with; the latter counts.")
        if self.W_enc is None or self.b_enc is None:
            self.W_enc = self.b_enc = None
            return
        fires = codes > 0
        if not any(_agree((rows @ self.W_enc + self.b_enc)[fires], codes[fires]) for rows in (x - self.b_dec, x)):
            self.W_enc = self.b_enc = None
            self.remarks.append(
                f"W_enc and b_enc of {WEIGHTS} are not what {ENCODE} encodes with; nothing that rests on them is measured."
            )


def load_graph(content: bytes, name: str, *, threads: int, torch_on: str = "") -> Function:
    """The graph in `content` of the file `name`, executed by torch on the device `torch_on`, or by onnxruntime. Raises
    Refused."""
    model = read_model(content, name)
    graph = Graph(model, name, threads=threads)
    if not torch_on:
        return graph
    from .torch_backend.graph import on_torch

    return on_torch(model, graph, torch_on)


def _agree(one: Floats, other: Floats, rounding: float = 0.0) -> bool:
    """Whether two computations agree, relative to the largest value; `rounding` is the size of what was subtracted."""
    within = AGREES * max(float(np.abs(other).max(initial=0)), 1e-6) + ROUNDS * rounding
    return bool(np.abs(one - other).max(initial=0) <= within)


def _compare(one: Floats, other: Floats, within: Floats) -> tuple[int, int]:
    """In how many rows [n] two computations of the same codes [n, d_sae] differ by more than `within` [d_sae]; and in how
    many more only in which of the row's smallest latents fire, of some that tie."""
    apart = np.abs(one - other) > within
    rows = np.flatnonzero(apart.any(axis=1))
    ties = 0
    for row in rows:
        largest, changed = np.maximum(one[row], other[row]), apart[row]
        fired, fires = (one[row] > 0)[changed], (other[row] > 0)[changed]
        took_turns = (fired != fires).all() and fired.sum() == fires.sum()  # as many as before, or a place was left empty
        tied, others = largest[changed], largest[~changed & (largest > 0)]
        are_last = tied.max() <= others.min(initial=np.inf) * (1 + AGREES)
        ties += bool(took_turns and are_last and tied.max() - tied.min() <= AGREES * tied.max())
    return len(rows) - ties, ties


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
