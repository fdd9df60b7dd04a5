"""The laboratory's operations: what they give and their gradients are those of dense double precision."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from saelab import Adam, ops

N, D_IN, D_SAE, K = 40, 16, 512, 4  # d_sae / k is above SPARSE_FROM, and large enough for top_k's groups


def parameters(d_sae=D_SAE, dtype=torch.float32, device="cpu"):
    """W_enc, b_enc, b_dec, W_dec, the same numbers whatever the type."""
    chance = torch.Generator().manual_seed(3)
    shapes = ((d_sae, D_IN), (d_sae,), (D_IN,), (d_sae, D_IN))
    W_enc, b_enc, b_dec, W_dec = (  # noqa: N806
        (torch.randn(shape, generator=chance) / 4).to(device=device, dtype=dtype) for shape in shapes
    )
    return [nn.Parameter(tensor) for tensor in (W_enc.T, b_enc, b_dec, W_dec)]


def rows(n=N, dtype=torch.float32, seed=1):
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(seed)).to(dtype)


def by_ops(x, W_enc, b_enc, b_dec, W_dec, k=K):  # noqa: N803
    """Reconstruction, dense codes, and pre-activations."""
    pre = ops.encoder(x, W_enc, b_enc, b_dec)
    values, indices = ops.top_k(pre, k)
    return ops.sparse_decode(values, indices, W_dec) + b_dec, ops.dense(values, indices, pre), pre


def by_torch(x, W_enc, b_enc, b_dec, W_dec, k=K):  # noqa: N803
    pre = (x - b_dec) @ W_enc + b_enc
    post = torch.relu(pre)
    values, indices = post.topk(k, dim=1)
    f = torch.zeros_like(post).scatter(1, indices, values)
    return f @ W_dec + b_dec, f, pre


def reconstruction(x, x_hat, f, pre):
    return (x - x_hat).pow(2).sum(dim=1).mean()


def with_dense_codes(x, x_hat, f, pre):
    """As an idea does it: a penalty on pairs of codes."""
    return reconstruction(x, x_hat, f, pre) + 0.1 * torch.relu(f - f.roll(1, dims=1)).sum(dim=1).mean()


def with_dense_pre_activations(x, x_hat, f, pre):
    return reconstruction(x, x_hat, f, pre) + 0.01 * pre.pow(2).sum(dim=1).mean()


def gradients(step, loss, dtype, **options):
    weights = parameters(dtype=dtype)
    x = rows(dtype=dtype).requires_grad_()
    value = loss(x, *step(x, *weights, **options))
    value.backward()
    return [value.detach(), x.grad, *(weight.grad for weight in weights)]


def assert_equal(found, expected, rounding):
    for got, wanted in zip(found, expected, strict=True):
        assert (got.double() - wanted).abs().max() <= rounding * wanted.abs().max()


@pytest.mark.parametrize("loss", [reconstruction, with_dense_codes, with_dense_pre_activations])
@pytest.mark.parametrize("k", [K, D_SAE // 8], ids=["sparse", "dense"])
def test_gradients_are_those_of_dense_double_precision(loss, k):
    expected = gradients(by_torch, loss, torch.float64, k=k)
    assert_equal(gradients(by_ops, loss, torch.float32, k=k), expected, 2e-6)
    assert_equal(gradients(by_ops, loss, torch.float64, k=k), expected, 1e-14)


def test_gradients_are_those_of_finite_differences():
    weights = [weight.detach().requires_grad_() for weight in parameters(d_sae=60, dtype=torch.float64)]
    x = rows(3, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda *inputs: by_ops(*inputs, k=2), (x, *weights), eps=1e-7, atol=1e-6, fast_mode=True)


def test_the_gradient_of_what_was_kept_stays_sparse_until_an_idea_adds_a_dense_one():
    def layout(loss):
        found = []
        x, weights = rows(), parameters()
        x_hat, f, pre = by_ops(x, *weights)
        pre.register_hook(lambda grad: found.append(grad.is_sparse))
        loss(x, x_hat, f, pre).backward()
        return found

    assert layout(reconstruction) == layout(with_dense_codes) == [True]
    assert layout(with_dense_pre_activations) == [False]


def test_pre_activations_can_be_changed_before_and_chosen_from_twice():
    def twice(kept):
        def loss(x, W_enc, b_enc, b_dec, W_dec):  # noqa: N803
            pre = kept.pre(x, W_enc, b_enc, b_dec)
            total = 0.0
            for some, k in ((pre, 2), (pre, 5), (pre * 0.5, 3), (pre[:, 7:99], 1)):
                values, indices = kept.top_k(some, k)
                total = total + (values * (indices + 1)).sum()
            return total

        weights = parameters(dtype=torch.float64)
        total = loss(rows(dtype=torch.float64), *weights)
        total.backward()
        return [total.detach(), *(weight.grad for weight in weights[:3])]

    class Ours:
        pre, top_k = staticmethod(ops.encoder), staticmethod(ops.top_k)

    class Torchs:
        @staticmethod
        def pre(x, W_enc, b_enc, b_dec):  # noqa: N803
            return (x - b_dec) @ W_enc + b_enc

        @staticmethod
        def top_k(pre, k):
            values, indices = pre.topk(k, dim=1)
            return torch.relu(values), indices

    assert_equal(twice(Ours), twice(Torchs), 1e-14)


@pytest.mark.parametrize(("d_sae", "k"), [(96, 5), (512, 4), (1024, 16), (1000, 3), (4096, 8), (8192, 32), (12, 12)])
def test_the_k_largest_are_kept_exactly(d_sae, k):
    pre = torch.randn(50, d_sae, generator=torch.Generator().manual_seed(d_sae))
    pre[3] = -1.0  # nothing fires
    pre[4] = 0.5  # all are equal
    values, indices = ops.top_k(pre.requires_grad_(), k)
    assert indices.sort().values.diff().min() > 0 if k > 1 else True
    assert torch.equal(values, torch.relu(pre.gather(1, indices)))
    assert torch.equal(values.sort().values, torch.relu(pre).topk(k).values.flip(1))
    f = ops.dense(values, indices, pre)
    assert torch.equal(ops.firing(values, indices, d_sae), (f > 0).sum(dim=0))
    assert torch.allclose(f @ torch.ones(d_sae), values.sum(dim=1))


class Names(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_without_gradients_encoding_is_a_handful_of_ordinary_operations():
    x, weights = rows(), parameters()
    with torch.no_grad(), Names() as names:
        pre = ops.encoder(x, *weights[:3])
        f = ops.dense(*ops.top_k(pre, K), pre)
    assert names.seen <= {"sub", "mm", "add", "topk", "relu", "zeros_like", "scatter", "detach"}
    assert torch.equal(f, by_ops(x, *weights)[1])


def test_the_decoder_is_normalised_and_the_parallel_gradient_removed():
    W_dec, grad = torch.randn(30, 7), torch.randn(30, 7)  # noqa: N806
    W_dec[4] = 0.0
    before = grad.clone()
    ops.normalize_(W_dec)
    assert torch.allclose(W_dec.norm(dim=1), (torch.arange(30) != 4).float())
    ops.remove_parallel_(grad, W_dec)
    assert (grad * W_dec).sum(dim=1).abs().max() < 1e-6
    assert torch.allclose(grad, before - (before * W_dec).sum(dim=1, keepdim=True) * W_dec, atol=1e-6)


# --- sixty steps ---------------------------------------------------------------------------------------------------------


def curve(step, make, autocast=False):
    """The losses of sixty steps on sparse combinations of directions."""
    weights = parameters()
    W_dec = weights[3]  # noqa: N806
    ops.normalize_(W_dec.detach())
    directions = torch.randn(64, D_IN, generator=torch.Generator().manual_seed(5))
    chance, losses = torch.Generator().manual_seed(6), []
    optimizer = make(weights)
    for _ in range(60):
        x = torch.relu(torch.randn(256, 64, generator=chance) - 1.5) @ directions
        with ops.autocast(x, autocast):
            loss = reconstruction(x, *step(x, *weights))
        loss.backward()
        ops.remove_parallel_(W_dec.grad, W_dec)
        if isinstance(optimizer, Adam):
            optimizer.step(max_norm=1.0)
        else:
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
        optimizer.zero_grad()
        ops.normalize_(W_dec.detach())
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def test_sixty_steps_have_the_loss_curve_of_the_dense_path():
    dense = curve(by_torch, lambda weights: torch.optim.Adam(weights, lr=3e-3))
    sparse = curve(by_ops, lambda weights: Adam(weights, lr=3e-3))
    assert dense[-1] < 0.5 * dense[0]
    assert ((sparse - dense) / dense).abs().max() < 1e-5
    fast = curve(by_ops, lambda weights: Adam(weights, lr=3e-3), autocast=True)
    assert 1e-5 < ((fast - dense) / dense).abs().mean() < 1e-2  # bfloat16 has three digits


# --- Adam ----------------------------------------------------------------------------------------------------------------


def descend(make, step):
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(3, 5).T), nn.Parameter(torch.randn(3)), nn.Parameter(torch.ones(2))]
    matrix, offset, _ = weights
    optimizer = make(weights)
    for _ in range(30):
        (matrix.sin().sum() + (matrix @ offset).pow(2).sum()).backward()
        step(optimizer, weights)
        optimizer.zero_grad()
        if matrix.stride() == (1, 5):
            matrix.data = matrix.data.contiguous()  # as code may do that assigns weights
    return torch.cat([weight.detach().flatten() for weight in weights])


@pytest.mark.parametrize("max_norm", [None, 0.7])
def test_adam_takes_the_steps_of_torchs_wherever_its_parameters_lie(max_norm):
    def step_torchs(optimizer, weights):
        if max_norm is not None:
            nn.utils.clip_grad_norm_(weights, max_norm)
        optimizer.step()

    ours = descend(lambda weights: Adam(weights, lr=0.05), lambda optimizer, _: optimizer.step(max_norm))
    theirs = descend(lambda weights: torch.optim.Adam(weights, lr=0.05), step_torchs)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_adam_refuses_a_parameter_that_is_part_of_another_tensor():
    part = nn.Parameter(torch.ones(4, 6)[:, :3])
    part.sum().backward()
    with pytest.raises(ValueError, match=r"\[4, 3\] is part of another tensor"):
        Adam([part], lr=0.1).step()


# --- on a GPU ------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_a_gpu_gives_the_same_gradients():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    expected = gradients(by_torch, with_dense_codes, torch.float64)
    weights = parameters(device="cuda")
    x = rows().cuda().requires_grad_()
    loss = with_dense_codes(x, *by_ops(x, *weights))
    loss.backward()
    found = [loss.detach(), x.grad, *(weight.grad for weight in weights)]
    assert_equal([tensor.cpu() for tensor in found], expected, 2e-3)  # products in TF32 at worst
    optimizer = Adam(weights, lr=1e-3)
    optimizer.step(max_norm=1.0)
    ops.remove_parallel_(weights[3].grad, weights[3])
    ops.normalize_(weights[3].detach())
    assert all(weight.isfinite().all() for weight in weights)
