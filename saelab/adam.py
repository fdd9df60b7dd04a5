"""Adam, as torch.optim has it, without what torch.optim loads.

Making any optimizer of torch.optim imports the compiler, which takes as long as `import torch` itself: half of what a short
run takes to start. The numbers are those of `torch.optim.Adam(params, lr, betas, eps)` but for rounding. One pass over each
parameter, by the kernel that torch.optim.Adam(fused=True) calls: a third of the default one's time on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Adam:
    """Kingma and Ba's Adam without weight decay. `lr` may be set before each step."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.parameters = list(parameters)
        self.lr, self.betas, self.eps = lr, betas, eps
        self._steps = [torch.zeros(()) for _ in self.parameters]
        self._mean = [torch.zeros_like(p) for p in self.parameters]
        self._square = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, max_norm: float | None = None) -> None:
        """Change each parameter that has a gradient.

        With `max_norm` the gradients count as scaled down to that norm, taken over all of them, where theirs is larger: what
        torch.nn.utils.clip_grad_norm_ before the step does, without its pass over memory. They are scaled when it returns.
        """
        moved = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        if not moved:
            return
        for i in moved:
            parameter = self.parameters[i]
            parameter.grad = _laid_out_as(parameter, parameter.grad)
            self._mean[i] = _laid_out_as(parameter, self._mean[i])
            self._square[i] = _laid_out_as(parameter, self._square[i])
            self._steps[i] = self._steps[i].to(parameter.device) + 1
        grads = [_as_row(self.parameters[i].grad) for i in moved]
        divisor = None
        if max_norm is not None:
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
            divisor = ((norm + 1e-6) / max_norm).clamp_min(1.0).float()
        torch._fused_adam_(
            [_as_row(self.parameters[i]) for i in moved],
            grads,
            [_as_row(self._mean[i]) for i in moved],
            [_as_row(self._square[i]) for i in moved],
            [],
            [self._steps[i] for i in moved],
            lr=self.lr,
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=0.0,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
            grad_scale=divisor,
        )

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def _laid_out_as(parameter: Tensor, tensor: Tensor | None) -> Tensor:
    """The numbers of `tensor` where, and in the order in which, those of `parameter` lie in memory."""
    assert tensor is not None
    if tensor.stride() == parameter.stride() and tensor.device == parameter.device:
        return tensor
    return torch.empty_like(parameter).copy_(tensor)


def _as_row(tensor: Tensor | None) -> Tensor:
    """A contiguous tensor or any transpose of one as a row: of others the kernel makes a copy, which doubles its time."""
    assert tensor is not None
    row = tensor.detach().as_strided((tensor.numel(),), (1,))
    if tensor.numel() != 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        raise ValueError(f"Adam: a parameter of shape {list(tensor.shape)} is part of another tensor; make it .contiguous()")
    return row
