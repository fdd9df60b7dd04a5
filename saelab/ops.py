"""What an SAE variant composes: plain functions on tensors, fast where codes are sparse.

    pre = ops.encoder(x, W_enc, b_enc, b_dec)               # [n, d_sae]
    values, indices = ops.top_k(pre, k)                     # [n, k] each
    x_hat = ops.sparse_decode(values, indices, W_dec) + b_dec
    f = ops.dense(values, indices, pre)                     # [n, d_sae], where an idea wants all codes

Shapes: x [n, d_in]; W_enc [d_in, d_sae]; W_dec [d_sae, d_in]; values and indices [n, k], in no particular order.
All compose with each other and with any other torch code, on any device, and gradients are exact: `top_k` of an `encoder`'s
output hands its gradient back as the n k numbers that it is, so that of W_enc costs 2 n k d_in operations in place of
2 n d_in d_sae; whatever else an idea does with `pre` adds an ordinary dense gradient. Where more fires than `SPARSE_FROM`
says, dense products are faster and are taken. Without gradients `encoder`, `top_k` and `dense` are ordinary torch operations
and nothing else. Gradients of gradients are not offered by `encoder` and `top_k`.

A W_enc whose transpose is contiguous (`torch.empty(d_sae, d_in).T`) is faster: one latent's weights then lie together.
"""

# ruff: noqa: N803, N806  (the weights have the names that the field gives them)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SPARSE_FROM = 24
"""The d_sae / k from which sparse sums are faster than dense products, on a CPU and at widths of 64 and more."""

__all__ = ["autocast", "dense", "encoder", "firing", "normalize_", "remove_parallel_", "sparse_decode", "top_k"]


def encoder(x: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor) -> Tensor:
    """The pre-activations (x - b_dec) @ W_enc + b_enc, [n, d_sae]."""
    if torch.is_grad_enabled():
        pre: Tensor = _Encoder.apply(x, W_enc, b_enc, b_dec)  # type: ignore[no-untyped-call]
        return pre
    return (x - b_dec) @ W_enc + b_enc


def top_k(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest pre-activations of each row, those below 0 as 0: values [n, k] (float32 at least) and indices [n, k].

    Exact; of equal ones any may be kept.
    """
    if torch.is_grad_enabled():
        sparse = isinstance(pre.grad_fn, _Encoder._backward_cls) and pre.shape[1] >= SPARSE_FROM * k
        values, indices = _TopK.apply(pre, k, sparse)  # type: ignore[no-untyped-call]
    else:
        values, indices = pre.topk(k, dim=1, sorted=False)
    return torch.relu(values), indices


def dense(values: Tensor, indices: Tensor, like: Tensor) -> Tensor:
    """The codes of the shape of `like`, [n, d_sae], which are 0 but at `indices`."""
    return torch.zeros_like(like, dtype=values.dtype).scatter(1, indices, values)


def sparse_decode(values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    """sum_j values[:, j] * W_dec[indices[:, j]], [n, d_in]: `dense(values, indices, ...) @ W_dec` in 2 n k d_in operations.

    The gradient of W_dec is summed over what fires only.
    """
    if len(W_dec) < SPARSE_FROM * values.shape[1]:
        return values.new_zeros(len(values), len(W_dec)).scatter(1, indices, values) @ W_dec
    decoded: Tensor = functional.embedding_bag(indices, W_dec, mode="sum", per_sample_weights=values)
    return decoded


@torch.no_grad()
def firing(values: Tensor, indices: Tensor, d_sae: int) -> Tensor:
    """In how many rows each latent fires, [d_sae]."""
    return torch.bincount(indices[values > 0], minlength=d_sae)


@torch.no_grad()
def normalize_(W_dec: Tensor) -> None:
    """Give each row of W_dec unit norm, in place."""
    W_dec /= torch.linalg.vector_norm(W_dec, dim=1, keepdim=True).clamp_min(1e-8)


@torch.no_grad()
def remove_parallel_(grad: Tensor, W_dec: Tensor) -> None:
    """Take from each row of `grad`, in place, its part along the same row of W_dec, which has unit norm.

    A normalisation after the step would undo that part, and Adam's second moments would hold it all the same.
    """
    along = torch.linalg.vecdot(grad, W_dec)
    grad.addcmul_(along[:, None], W_dec, value=-1)


def autocast(x: Tensor, enabled: bool) -> torch.autocast:
    """A context in which matrix products take bfloat16, on the device of x; weights, gradients and sums stay as they are.

    In a TopK SAE that is the encoder's product alone. It pays where the processor has units for bfloat16 (AMX, a GPU) and is
    several times slower than float32 without them.
    """
    return torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=enabled)


# --- gradients -----------------------------------------------------------------------------------------------------------


class _Encoder(torch.autograd.Function):
    """(x - b_dec) @ W_enc + b_enc, whose gradient may come as a sparse tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, b_dec: Tensor) -> Tensor:
        centred = x - b_dec
        ctx.save_for_backward(centred, W_enc)
        return functional.linear(centred, W_enc.T, b_enc)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor | None]:
        centred, W_enc = ctx.saved_tensors
        by_latent = _by_latent(grad, centred) if grad.is_sparse else grad.T @ centred.to(grad.dtype)  # [d_sae, d_in]
        # Of b_dec's gradient, -(grad @ W_enc.T).sum(rows), only the sum is wanted: a product with a vector.
        summed = torch.zeros_like(W_enc[0])
        if grad.is_sparse:
            summed.index_add_(0, grad._indices()[1], grad._values().to(summed.dtype))
        else:
            summed = grad.sum(dim=0, dtype=summed.dtype)
        grad_x = (grad.to(W_enc.dtype) @ W_enc.T).to(centred.dtype) if ctx.needs_input_grad[0] else None
        grad_b_dec = -(W_enc @ summed) if ctx.needs_input_grad[3] else None
        return grad_x, by_latent.T.to(W_enc.dtype), summed, grad_b_dec


def _by_latent(grad: Tensor, rows: Tensor) -> Tensor:
    """grad.T @ rows for a sparse `grad` [n, d_sae] and rows [n, d_in]: [d_sae, d_in]."""
    row, latent = grad._indices()
    # With the entries in the order of their latents each latent's sum is one pass over its rows.
    ordered, order = latent.int().sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(grad.shape[1], dtype=ordered.dtype, device=ordered.device))
    weights = grad._values()[order].to(rows.dtype)
    summed: Tensor = functional.embedding_bag(row[order], rows, starts, mode="sum", per_sample_weights=weights)
    return summed


class _TopK(torch.autograd.Function):
    """The k largest of each row, and where they are."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, k: int, sparse: bool) -> tuple[Tensor, Tensor]:
        values, indices = _largest(pre, k)
        ctx.save_for_backward(indices)
        ctx.mark_non_differentiable(indices)
        ctx.shape, ctx.sparse = pre.shape, sparse
        return values.to(torch.promote_types(values.dtype, torch.float32)), indices

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        (indices,) = ctx.saved_tensors
        if not ctx.sparse:
            return grad.new_zeros(ctx.shape).scatter_(1, indices, grad), None, None
        rows = torch.arange(len(indices), device=indices.device)[:, None].expand_as(indices)
        where = torch.stack([rows.reshape(-1), indices.reshape(-1)])
        return torch.sparse_coo_tensor(where, grad.reshape(-1), ctx.shape, check_invariants=False), None, None


def _largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `pre.topk(k)`, faster for many latents on a CPU.

    The latents fall into groups, and the k largest lie in the k groups with the largest maxima: so one fast pass for the
    maxima leaves few to choose among.
    """
    n, d_sae = pre.shape
    size = next((s for s in (16, 8, 4) if d_sae % s == 0 and s * s * k <= d_sae), 0)
    if not size or d_sae < 256 or pre.device.type != "cpu":
        return pre.topk(k, dim=1, sorted=False)
    stride = d_sae // size  # group g holds the latents g, g + stride, g + 2 stride, ...
    grouped = pre.view(n, size, stride)
    groups = grouped.amax(dim=1).topk(k, dim=1, sorted=False).indices
    candidates = grouped.gather(2, groups[:, None, :].expand(-1, size, -1)).view(n, size * k)
    values, chosen = candidates.topk(k, dim=1, sorted=False)
    return values, chosen // k * stride + groups.gather(1, chosen % k)
