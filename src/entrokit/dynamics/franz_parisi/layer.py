"""A linear layer whose weights are ±1, trained through the law that they have (arXiv 2212.02846)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .binary_weights import check_beta, weight_entropy, weight_kl, weight_mean, weight_variance


class BinaryVariationalLinear(nn.Module):
    """Weights w = ±1 of law e^{βθw}/(2 cosh βθ); the parameter is the field θ, ``[out_features, in_features]``.

    By the central limit a pre-activation is Gaussian, and is drawn as such (local reparametrisation), so that
    gradients reach θ:

        z = (1/√N) m a + v ε,    v² = (1/N) σ² a²,    N = in_features

    In evaluation mode it is the mean, z = (1/√N) m a. There is no bias. ``beta`` may be set at any time
    (`beta_schedule`) and is part of the state. Half precision is computed in float32: sums over N leave float16.

    Args:
        in_features, out_features: sizes, at least 1. beta: slope of tanh, above 0.
        generator: of the first fields, which are standard normal.
        device, dtype: of the fields, as `torch.nn.Linear` has them.

    Raises:
        ValueError: a size or beta out of range.
    """

    theta: nn.Parameter

    def __init__(
        self,
        in_features: int,
        out_features: int,
        beta: float = 1.0,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(f"BinaryVariationalLinear: sizes must be at least 1, got {in_features} and {out_features}")
        self.in_features, self.out_features = in_features, out_features
        self.beta = beta
        drawn_on = device if generator is None else generator.device
        fields = torch.randn(out_features, in_features, generator=generator, device=drawn_on, dtype=dtype)
        self.theta = nn.Parameter(fields.to(device) if device is not None else fields)

    @property
    def beta(self) -> float:
        """Slope of tanh: how certain a field of size 1 makes its weight."""
        return self._beta

    @beta.setter
    def beta(self, value: float) -> None:
        self._beta = check_beta(value)

    def forward(self, a: Tensor, sample: bool | None = None, *, noise: Tensor | None = None) -> Tensor:
        """Pre-activations ``[..., out_features]`` of inputs ``[..., in_features]``.

        Args:
            sample: draw z, or give its mean; by default draw in training mode, and where there is noise.
            noise: ε ``[..., out_features]``, instead of torch's standard normal draws.

        Raises:
            ValueError: inputs of another last dimension, or noise of another shape than the result.
        """
        if not a.dim() or a.shape[-1] != self.in_features:
            raise ValueError(f"BinaryVariationalLinear: expected inputs [..., {self.in_features}], got {list(a.shape)}")
        dtype = torch.promote_types(a.dtype, self.theta.dtype)
        wide = torch.promote_types(dtype, torch.float32)
        a = a.to(wide)
        mean = nn.functional.linear(a, self.mean().to(wide)) / math.sqrt(self.in_features)
        if not (self.training or noise is not None if sample is None else sample):
            return mean.to(dtype)
        if noise is None:
            noise = torch.randn_like(mean)
        elif noise.shape != mean.shape:
            raise ValueError(f"BinaryVariationalLinear: noise {list(noise.shape)} for a result {list(mean.shape)}")
        variance = nn.functional.linear(a.square(), self.variance().to(wide)) / self.in_features
        # The slope of the root is infinite at 0, which inputs of 0 and certain weights reach: no noise, no gradient.
        some = variance > 0
        return (mean + torch.where(some, variance, 1.0).sqrt() * torch.where(some, noise, 0.0)).to(dtype)

    def mean(self) -> Tensor:
        """m, ``[out_features, in_features]``, -1 to 1."""
        return weight_mean(self.theta, self.beta)

    def variance(self) -> Tensor:
        """σ², ``[out_features, in_features]``, 0 to 1."""
        return weight_variance(self.theta, self.beta)

    def entropy(self) -> Tensor:
        """Of all weights together, nats, 0 to ln 2 each; 0-dim, differentiable."""
        return weight_entropy(self.theta, self.beta)

    def kl(self, reference_theta: Tensor) -> Tensor:
        """KL to the law at fields ``[out_features, in_features]`` and the same β, nats; 0-dim, differentiable."""
        return weight_kl(self.theta, reference_theta, self.beta)

    @torch.no_grad()
    def sample_weights(self, generator: torch.Generator | None = None) -> Tensor:
        """±1, ``[out_features, in_features]``, drawn from the law.

        Raises:
            ValueError: NaN in θ, which is no law.
        """
        self._check_fields()
        device = self.theta.device if generator is None else generator.device
        drawn = torch.rand(self.theta.shape, generator=generator, device=device).to(self.theta.device)
        up = drawn < torch.sigmoid(2.0 * self.beta * self.theta.float())
        return torch.where(up, 1.0, -1.0).to(self.theta.dtype)

    @torch.no_grad()
    def likely_weights(self) -> Tensor:
        """sgn θ, ``[out_features, in_features]``, the network to deploy; +1 where θ is 0. Inputs are divided by √N.

        Raises:
            ValueError: NaN in θ, which has no sign.
        """
        self._check_fields()
        return torch.where(self.theta < 0, -1.0, 1.0).to(self.theta.dtype)

    def _check_fields(self) -> None:
        if bad := int(self.theta.isnan().sum()):
            raise ValueError(
                f"BinaryVariationalLinear: {bad} of {self.theta.numel()} fields are NaN and give no weight; go back to "
                "a checkpoint before the loss became NaN"
            )

    def snapshot(self) -> Tensor:
        """A copy of θ, to be a reference of `kl`."""
        return self.theta.detach().clone()

    def get_extra_state(self) -> Tensor:
        """β; it is in ``state_dict``."""
        return torch.tensor(self.beta, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes β from a ``state_dict``."""
        self.beta = float(state)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, beta={self.beta:g}"
