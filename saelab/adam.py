"""Adam, as torch.optim has it, without what torch.optim loads.

Making any optimizer of torch.optim imports the compiler, which takes as long as `import torch` itself: half of what a short
run takes to start. The numbers are those of `torch.optim.Adam(params, lr, betas, eps)` but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch


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
        self.steps = 0
        self._mean = [torch.zeros_like(p) for p in self.parameters]
        self._square = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Change each parameter that has a gradient."""
        self.steps += 1
        first, second = self.betas
        scale = (1 - second**self.steps) ** 0.5
        for parameter, mean, square in zip(self.parameters, self._mean, self._square, strict=True):
            if parameter.grad is None:
                continue
            mean.lerp_(parameter.grad, 1 - first)
            square.mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)
            denominator = square.sqrt().div_(scale).add_(self.eps)
            parameter.addcdiv_(mean, denominator, value=-self.lr / (1 - first**self.steps))

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
