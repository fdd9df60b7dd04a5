"""Scores of an SAE against the ground truth, on rows that no training sees.

An SAE is anything with `encode` and `decode` on arrays; the scorer's is made of an artifact's graphs. Notation: n rows x
[n, d_in]; F features with unit directions D [F, d_in] and true magnitudes y [n, F] (a feature fires where y > 0); codes
z = encode(x) [n, L] (a latent fires where z > 0); x_hat = decode(z) [n, d_in].

The direction of a latent is what it adds to the output at one unit of activation, W[l] = decode(e_l) - decode(0), so that
no attribute of the SAE has to be believed. Every feature gets one latent at most, and every latent one feature, by the
assignment with the largest sum of cosines between W[l] and D[i]. That latent is the feature's **own** when the cosine is at
least 0.5; otherwise the feature is not recovered and has none.

The metrics:

- `explained_variance` = 1 - sum |x - x_hat|^2 / sum |x - mean(x)|^2, at most 1; 0 is as good as the mean.
- `mse` = mean over rows and coordinates of (x - x_hat)^2; `cosine` = mean over rows of cos(x, x_hat), 0 for a zero row.
- `l0` = mean over rows of the number of codes that are not 0, in [0, L].
- `dead_latents` = share of latents that fire in no row, in [0, 1].
- `mcc` = mean cosine over the min(F, L) assigned pairs, in [-1, 1]; 1 for the true dictionary.
- `uniqueness` = of L latents, the share of different features among those that they are most like (by |cosine|), in (0, 1]:
  the more latents stand for the same features, the lower. As in `sae_lens.synthetic`.
- `f1` = mean over all features of 2 TP / (2 TP + FP + FN), own latent fires against feature fires; 0 without an own latent.
- `absorption`, in [0, 1], lower is better: for each feature p that has children, of the rows where p fires, the share that
  is absorbed; then the mean over these features. A row is absorbed when p's own latent is silent (or p has none) and latents
  of p's descendants put its direction back in its place, at least 40 % of it:
      sum over latents l of a descendant of p of z[l] b[l, p]  >=  0.4 y[p].
  A latent is of the feature that it was assigned to (an unassigned one: of the feature with the largest cosine). b[l, .] are
  the coefficients, negative ones as 0, of the least-squares fit of W[l] by the directions of l's feature and of all its
  ancestors: a latent with just its own direction has b = 0 for each ancestor, however alike the directions are. Likewise in
  SAEBench's full absorption the main latents are silent and another carries at least 40 % of the probe's projection.
- `hierarchy_quality`, in [0, 1], higher is better: for each feature c with a parent p, the share of the rows in which c's
  own latent fires that have p's own latent firing too; 0 where one of the two has none or c's never fires; the mean over all
  such pairs. A dense SAE gets 1: read it beside `l0` and `f1`.

A code of 1e-6 fires as one of 1 does, so codes that do nothing could buy a score. The same scores are measured again without
the codes that are **negligible**: below 1/32 of sum z^2 |z| / sum z^2 of their latent, a mean in which codes weigh by their
energy, so that no number of small ones moves it; or, for a latent of which all are small, those that add less than a
thousandth of what rows scatter, |z W[l]| < 0.001 sqrt(mean |x - mean(x)|^2). Two more numbers say what hung on them:

- `bought_by_negligible_codes`: by how much `absorption` would be higher or `f1` lower without them, whichever is more.
- `negligible_share`: the share of the codes in `l0` that are negligible.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from .synthetic import Floats, Ints, World

OWN_COSINE = 0.5
ABSORBED_SHARE = 0.4  # SAEBench's threshold for full absorption
NEGLIGIBLE = 1 / 32
"""Without codes below a 25th, a third of honest ReLU SAEs of the profile `synthetic` would lose more than 0.01 of F1."""
NO_EFFECT = 0.001
TINY = np.finfo(np.float64).tiny

Cosines = npt.NDArray[np.float64]
Moments = npt.NDArray[np.float64]


class SAE(Protocol):
    """What is scored: rows [n, d_in] to codes [n, L] and back."""

    def encode(self, x: Floats) -> Floats: ...

    def decode(self, f: Floats) -> Floats: ...


def score_rows(sae: SAE, world: World, magnitudes: Floats, activations: Floats) -> dict[str, float]:
    """The metrics of `sae` on rows of `world`: magnitudes [n, F] and activations [n, d_in]. Raises ValueError for codes that
    cannot be scored."""
    codes, reconstruction, latents = _run(sae, activations)
    cosines = _unit_rows(world.directions) @ _unit_rows(latents).T  # [F, L]
    assigned = assign(cosines)  # [F], -1 for a feature that got no latent
    own = np.where((assigned >= 0) & (cosines[np.arange(len(assigned)), assigned] >= OWN_COSINE), assigned, -1)
    carried = _carried(world, latents, cosines, assigned)
    scores = _of_codes(codes, world, magnitudes, own, carried)
    without = _of_codes(without_negligible(codes, latents, activations), world, magnitudes, own, carried)
    pairs = assigned >= 0
    return {
        **fidelity(activations, reconstruction),
        **scores,
        "dead_latents": float(1 - (codes > 0).any(axis=0).mean()),
        "mcc": float(cosines[pairs, assigned[pairs]].mean()),
        "uniqueness": len(np.unique(np.abs(cosines).argmax(axis=0))) / len(latents),
        "bought_by_negligible_codes": max(0.0, without["absorption"] - scores["absorption"], scores["f1"] - without["f1"]),
        "negligible_share": 1 - without["l0"] / scores["l0"] if scores["l0"] else 0.0,
    }


def _of_codes(codes: Floats, world: World, magnitudes: Floats, own: Ints, carried: Floats) -> dict[str, float]:
    """The metrics that depend on which latents fire."""
    own_fires = np.where(own >= 0, codes[:, own] > 0, False)  # [n, F]
    return {
        "l0": float((codes != 0).sum(axis=1).mean()),
        "f1": _f1(own_fires, magnitudes > 0),
        "absorption": _absorption(world, magnitudes, codes, own_fires, carried),
        "hierarchy_quality": _hierarchy_quality(world, own_fires),
    }


def without_negligible(codes: Floats, latents: Floats, x: Floats) -> Floats:
    """Codes [n, L] of rows x with 0 in place of those that are too small to do anything."""
    sizes = np.abs(codes).astype(np.float64)
    scatter = float(((x - x.mean(axis=0)).astype(np.float64) ** 2).sum(axis=1).mean())
    least = least_codes((sizes**2).sum(axis=0), (sizes**3).sum(axis=0), latents, scatter)
    large: Floats = np.where(sizes < least, np.float32(0), codes)
    return large


def least_codes(
    squares: Moments,
    cubes: Moments,
    latents: Floats,
    scatter: float,
    negligible: float = NEGLIGIBLE,
    no_effect: float = NO_EFFECT,
) -> Moments:
    """The smallest code of each latent [L] that is not negligible, of sums of their powers [L], and the mean squared
    distance of rows from their mean."""
    adds: Moments = np.linalg.norm(latents.astype(np.float64), axis=1)
    of_its_latent: Moments = negligible * cubes / np.maximum(squares, TINY)
    of_rows: Moments = no_effect * scatter**0.5 / np.maximum(adds, TINY)
    return np.maximum(of_its_latent, of_rows)


def _run(sae: SAE, x: Floats) -> tuple[Floats, Floats, Floats]:
    """Codes [n, L], reconstruction [n, d_in] and latents' directions [L, d_in] of an SAE, checked."""
    codes = sae.encode(x)
    if codes.ndim != 2 or len(codes) != len(x):
        raise ValueError(f"encode: expected codes of shape [{len(x)}, d_sae], found {list(codes.shape)}")
    if not np.isfinite(codes).all():
        raise ValueError("encode: codes hold NaN or infinity; the SAE cannot be scored")
    reconstruction = sae.decode(codes)
    if reconstruction.shape != x.shape:
        raise ValueError(f"decode: expected shape {list(x.shape)}, found {list(reconstruction.shape)}")
    unit = np.eye(codes.shape[1], dtype=np.float32)
    latents = sae.decode(unit) - sae.decode(np.zeros_like(unit[:1]))
    if not (np.isfinite(reconstruction).all() and np.isfinite(latents).all()):
        raise ValueError("decode: the reconstruction holds NaN or infinity; the SAE cannot be scored")
    return codes, reconstruction, latents


def fidelity(x: Floats, x_hat: Floats) -> dict[str, float]:
    """How far rows x and their reconstructions agree."""
    error = ((x - x_hat).astype(np.float64) ** 2).sum()
    total = ((x - x.mean(axis=0)).astype(np.float64) ** 2).sum()
    return {
        "explained_variance": float(1 - error / total),
        "mse": float(error / x.size),
        "cosine": float((_unit_rows(x) * _unit_rows(x_hat)).sum(axis=1).mean()),
    }


def _f1(own_fires: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    hits = (own_fires & truth).sum(axis=0)
    return float((2 * hits / np.maximum(own_fires.sum(axis=0) + truth.sum(axis=0), 1)).mean())


def _carried(world: World, latents: Floats, cosines: Cosines, assigned: npt.NDArray[np.int64]) -> Floats:
    """b [L, F]: how much of each proper ancestor's direction a latent carries beside its own feature's."""
    feature_of = cosines.argmax(axis=0)
    features = np.flatnonzero(assigned >= 0)
    feature_of[assigned[features]] = features
    carried = np.zeros((len(latents), len(world.parent)), dtype=np.float32)
    for latent, feature in enumerate(feature_of):
        ancestors = world.ancestors(feature)
        if ancestors:
            basis = world.directions[[feature, *ancestors]].T  # [d_in, 1 + ancestors]
            fit = np.linalg.lstsq(basis, latents[latent], rcond=None)[0]
            carried[latent, ancestors] = np.maximum(fit[1:], 0)
    return carried


def _absorption(world: World, magnitudes: Floats, codes: Floats, own_fires: npt.NDArray[np.bool_], carried: Floats) -> float:
    parents = world.parents
    in_its_place = codes @ carried[:, parents] >= ABSORBED_SHARE * magnitudes[:, parents]  # [n, parents]
    parent_fires = magnitudes[:, parents] > 0
    absorbed = parent_fires & ~own_fires[:, parents] & in_its_place
    seen = parent_fires.any(axis=0)
    return float((absorbed.sum(axis=0)[seen] / parent_fires.sum(axis=0)[seen]).mean())


def _hierarchy_quality(world: World, own_fires: npt.NDArray[np.bool_]) -> float:
    children = np.flatnonzero(world.parent >= 0)
    child, parent = own_fires[:, children], own_fires[:, world.parent[children]]
    return float(((child & parent).sum(axis=0) / np.maximum(child.sum(axis=0), 1)).mean())


def assign(gain: Cosines) -> npt.NDArray[np.int64]:
    """The one-to-one assignment of rows to columns with the largest total gain: the column of each row, -1 for none.

    The Hungarian algorithm by shortest augmenting paths with potentials, O(rows^2 columns) at worst. `gain` [rows, columns].
    """
    if gain.shape[0] > gain.shape[1]:
        rows = assign(gain.T)
        columns = np.full(gain.shape[0], -1)
        columns[rows] = np.arange(gain.shape[1])
        return columns
    n_rows, n_columns = gain.shape
    cost = -gain.astype(np.float64)
    row_potential, column_potential = np.zeros(n_rows), np.zeros(n_columns)
    row_of = np.full(n_columns, -1)
    for start in range(n_rows):
        distance = np.full(n_columns, np.inf)
        previous = np.full(n_columns, -1)
        done = np.zeros(n_columns, dtype=bool)
        row, column, reached = start, -1, 0.0
        while row >= 0:  # until the path ends in a free column
            through = reached + cost[row] - row_potential[row] - column_potential
            shorter = ~done & (through < distance)
            distance[shorter], previous[shorter] = through[shorter], column
            column = int(np.where(done, np.inf, distance).argmin())
            reached = float(distance[column])
            done[column] = True
            row = int(row_of[column])
        visited = np.flatnonzero(done)
        slack = reached - distance[visited]
        column_potential[visited] -= slack
        row_potential[start] += reached
        matched = row_of[visited] >= 0
        row_potential[row_of[visited[matched]]] += slack[matched]
        while column >= 0:  # flip the path
            before = int(previous[column])
            row_of[column] = row_of[before] if before >= 0 else start
            column = before
    assigned = np.full(n_rows, -1)
    taken = np.flatnonzero(row_of >= 0)
    assigned[row_of[taken]] = taken
    return assigned


def _unit_rows(matrix: Floats) -> Cosines:
    norm = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    unit: Cosines = matrix / np.where(norm > 0, norm, 1)
    return unit
