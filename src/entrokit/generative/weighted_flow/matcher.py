"""The matcher: pairs as they come, their path and velocity as `torchcfm` has them, and a weight for each."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..checks import check_callable, check_number, check_tensors
from ..velocities import flow_velocity
from .costs import Cost, check_cost, check_eps, check_pairs
from .sides import SWAPPED, are_swapped
from .watch import Watch, levels_to_the_caller
from .weights import Normalize, Potentials, check_normalize, check_potentials, gibbs_weights, weighted_flow_loss


@dataclass(frozen=True)
class WeightedConditionalFlowMatcher:
    """Weighted conditional flow matching (arXiv 2507.22270): ``ConditionalFlowMatcher`` of torchcfm, with weights.

    The constructor is not torchcfm's, whose first argument is sigma: here that is eps, and ``sigma=`` is by keyword.
    Methods, their arguments, returns and draws of random numbers are torchcfm's (1.0.7): from the same seed
    `sample_location_and_conditional_flow` gives the same tensors bit for bit. **The weights are not in them:** a loop
    that only changes its matcher is plain flow matching. Take `loss`, or `sample`, which returns the weights too, or
    add ``weights(x0, x1)`` to a loop that stays as it is.

    Nothing is solved and no batch is paired anew: a step costs what plain flow matching costs, O(B d).

    Args:
        eps: temperature in units of the cost. In d dimensions κ √d (``sqeuclidean``: κ d), κ by `select_epsilon`; the
            paper has 5.0 for CIFAR-10, κ = 0.09. Too small tilts the marginals: look at `tilt_diagnostics`.
        cost, normalize, potentials: as `gibbs_weights` takes them.
        sigma: noise around the path, at least 0.

    Raises:
        TypeError: eps or sigma that are no numbers, potentials that are no two callables.
        ValueError: eps that is not above 0, sigma below 0 or not finite, a cost or normalize that is none, potentials
            that were made for another eps or cost.

    Warns:
        UserWarning: once a matcher, that one pair of a batch holds more than half of its weight, and less than 0.3 of
            its pairs count: eps is too small. Looked at are the first batch, the second, the fourth, the eighth, ...
            In the first batch, that the points are like the other side's of the plan that potentials are of.
    """

    eps: float
    cost: Cost = "l2"
    sigma: float = 0.0
    normalize: Normalize = "batch"
    potentials: Potentials | tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None
    _watch: Watch = field(default_factory=Watch, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_eps(self.eps)
        check_cost(self.cost)
        check_normalize(self.normalize)
        check_number("sigma", self.sigma)
        if self.potentials is not None:
            check_potentials(self.potentials, self.eps, self.cost)
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"sigma: must be at least 0 and finite; it is {self.sigma}")

    def weights(self, x0: Tensor, x1: Tensor) -> Tensor:
        """`gibbs_weights` of pairs ``[B, *]``: ``[B]``."""
        check_pairs(x0, x1, ("x0", "x1"))
        weight = gibbs_weights(x0, x1, self.eps, self.cost, self.normalize, self.potentials)
        if not self._watch.seen and are_swapped(self.potentials, x0, x1):
            warnings.warn(SWAPPED, stacklevel=levels_to_the_caller())
        self._watch.look(weight, self.eps)
        return weight

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``t [B]``, ``xt [B, *]``, ``ut [B, *]`` and the weights ``[B]``."""
        weight = self.weights(x0, x1)
        t, xt, ut = self.sample_location_and_conditional_flow(x0, x1, t)[:3]
        return t, xt, ut, weight

    def loss(
        self, model: Callable[[Tensor, Tensor], Tensor], x0: Tensor, x1: Tensor, t: Tensor | None = None
    ) -> Tensor:
        """The weighted loss of a batch, a scalar; ``model(t [B], xt [B, *]) -> [B, *]``.

        **Squares are summed over a point's elements**, as `weighted_flow_loss` says; torchcfm's line takes their mean.

        A model of diffusers takes points first and returns an object: ``lambda t, x: unet(x, 1000 * t).sample``.

        Raises:
            TypeError: a model that cannot be called, or returns no tensor.
            ValueError: as `gibbs_weights` and `weighted_flow_loss` do; a velocity of another shape, NaN in it.
        """
        check_callable("model", model, "model(t [B], xt [B, *]) -> [B, *]")
        t, xt, ut, weight = self.sample(x0, x1, t)
        return weighted_flow_loss(flow_velocity(model, t, xt, "the velocity"), ut, weight)

    def sample_location_and_conditional_flow(
        self, x0: Tensor, x1: Tensor, t: Tensor | None = None, return_noise: bool = False
    ) -> tuple[Tensor, ...]:
        """``t [B]``, ``xt``, ``ut``, and with ``return_noise`` the noise, as torchcfm gives them: without weights.

        Args:
            x0: ``[B, *]``, of the source. x1: the same shape, of the target. t: ``[B]``, uniform where it is not given.

        Raises:
            TypeError: points or times that are no tensors.
            ValueError: shapes, dtypes or devices that differ, integers, times of another shape or outside [0, 1].
        """
        check_pairs(x0, x1, ("x0", "x1"))
        if t is None:
            t = torch.rand(len(x0)).type_as(x0)
        check_tensors(t=t)
        if t.shape != x0.shape[:1]:
            raise ValueError(f"t: a time a pair, [{len(x0)}], is expected; its shape is {list(t.shape)}")
        if not bool(((t >= 0) & (t <= 1)).all()):
            wrong = t[~((t >= 0) & (t <= 1))]
            raise ValueError(
                f"t: times lie in [0, 1], the source at 0; there is one of {float(wrong[0]):g}: divide steps of a "
                f"schedule by their number"
            )
        noise = self.sample_noise_like(x0)
        xt = self.sample_xt(x0, x1, t, noise)
        ut = self.compute_conditional_flow(x0, x1, t, xt)
        return (t, xt, ut, noise) if return_noise else (t, xt, ut)

    def compute_mu_t(self, x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        """The path's mean, ``t x1 + (1 - t) x0``."""
        t = t.reshape(-1, *[1] * (x0.ndim - 1))
        return t * x1 + (1 - t) * x0

    def compute_sigma_t(self, t: Tensor) -> float:
        """The noise around the path, ``sigma`` at every time."""
        return self.sigma

    def sample_xt(self, x0: Tensor, x1: Tensor, t: Tensor, epsilon: Tensor) -> Tensor:
        """The path's mean and noise around it."""
        return self.compute_mu_t(x0, x1, t) + self.compute_sigma_t(t) * epsilon

    def compute_conditional_flow(self, x0: Tensor, x1: Tensor, t: Tensor, xt: Tensor) -> Tensor:
        """``x1 - x0``."""
        return x1 - x0

    def sample_noise_like(self, x: Tensor) -> Tensor:
        """Standard normal, of the shape of x."""
        return torch.randn_like(x)

    def compute_lambda(self, t: Tensor) -> float:
        """torchcfm's weight of a score loss, ``2 sigma / (sigma² + 1e-8)``."""
        return 2 * self.compute_sigma_t(t) / (self.sigma**2 + 1e-8)
