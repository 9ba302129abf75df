"""Langevin samples of a posterior, and the mixture that they make: averages of probabilities, never of logits.

The Universality Lens (arXiv 2506.07661). With U = -Σ ln P_θ(y|x) - ln w(θ) over all of the data:

    θ ← θ - h/2 ∇U(θ) + sqrt(h) ξ,    Q(y|x) = (1/K) Σ_k P_θk(y|x)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class LangevinSampler(torch.optim.Optimizer):
    """Unadjusted Langevin steps as an optimizer; ``lr`` is h.

    The gradients must be those of U over all of the data: with minibatches, scale the likelihood's part by n / batch.
    A constant h leaves a bias of order h (a Gaussian's variance v becomes ``v / (1 - h / (4 v))``); schedulers lower
    it. There is neither momentum nor preconditioning: both would change what is sampled.

    Args:
        params: as of any optimizer. lr: h, above 0. generator: of the noise.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, generator: torch.Generator | None = None) -> None:
        if not lr > 0:
            raise ValueError(f"LangevinSampler: lr must be above 0, got {lr}")
        super().__init__(params, {"lr": lr})
        self._generator = generator

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of every parameter with a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                device = p.device if self._generator is None else self._generator.device
                noise = torch.randn(p.shape, generator=self._generator, device=device, dtype=p.dtype).to(p.device)
                p.add_(p.grad, alpha=-0.5 * group["lr"]).add_(noise, alpha=math.sqrt(group["lr"]))
        return loss


class PosteriorEnsemble(nn.Module):
    """Samples of a classifier's posterior as one predictor. The oldest go beyond ``most``."""

    def __init__(self, most: int = 50) -> None:
        super().__init__()
        if most < 1:
            raise ValueError(f"PosteriorEnsemble: most must be at least 1, got {most}")
        self.most = most
        self.members = nn.ModuleList()

    def add(self, model: nn.Module) -> None:
        """Keeps a copy of a model as it is now."""
        self.members.append(copy.deepcopy(model).requires_grad_(False).eval())
        if len(self.members) > self.most:
            self.members = nn.ModuleList(list(self.members)[-self.most :])

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Log-probabilities of the averaged law, of the shape of a member's logits (classes last).

        Raises:
            ValueError: nothing has been added.
        """
        if not len(self.members):
            raise ValueError("PosteriorEnsemble: add a model first")
        each = torch.stack([torch.log_softmax(m(*args, **kwargs), -1) for m in self.members])
        return torch.logsumexp(each, 0) - math.log(len(self.members))
