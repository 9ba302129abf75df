"""The residual's square, and the score that denoising wants, of one pass.

Departs from the weak form of arXiv 2506.17139 in what costs and does not carry information: only the divergence needs
a random step, so |s|², <x, s> and ∂_t log q are those at x itself, and the product of two estimates stays unbiased; of
a step that is as likely as its opposite, v·(s(x + v) - s(x)) / sigma² has the divergence as its mean as well as the
symmetric difference has, but for O(sigma²); ∂_t log q comes out of the pass backward that gives the score; and the
steps' entries are -sigma and sigma, of which the estimate varies least.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..noising import Noising, check_noising
from .checks import as_times, check_finite, check_points, check_step
from .model import EnergyModel, log_q_gradients
from .residual import check_digits, check_inside, default_step, residual_of, signs_like

__all__ = ["fp_residual_shared", "score_and_residuals"]


def fp_residual_shared(
    model: EnergyModel,
    x: Tensor,
    t: Tensor | float,
    sde: Noising,
    *,
    sigma: float | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Two estimates of the residual, ``[B]`` each, independent given the points, of three evaluations a point.

    Their product has the square of the residual as its mean, but for O(sigma²).

    Args:
        x: points ``[B, *]``. t: their times ``[B]``, or one of all.
        sigma: of steps; by default 1e-4 in float64 and 1e-3 in float32.

    Raises:
        TypeError: a model without energy.
        ValueError: points, times or a ``sigma`` that are none, and what is not finite, and where.

    Warns:
        UserWarning: a ``sigma`` below 16 roundings of the largest coordinate.
    """
    check_points(x)
    _, first, second = score_and_residuals(model, x, t, sde, rows=x.shape[0], sigma=sigma, generator=generator)
    return first, second


def score_and_residuals(
    model: EnergyModel,
    x: Tensor,
    t: Tensor | float,
    sde: Noising,
    *,
    rows: int,
    sigma: float | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The score of all points ``[B, *]``, and `fp_residual_shared` of the first ``rows``, in one call of the model."""
    check_noising("sde", sde)
    times = as_times(t, check_digits(x))
    step = default_step(x) if sigma is None else sigma
    if not 1 <= rows <= x.shape[0]:
        raise ValueError(f"rows are 1 to {x.shape[0]} of the batch; got {rows}")
    near, at = x[:rows], times[:rows]
    check_step(near, step)
    check_inside(model, at, 0.0, 0.0)
    steps = step * torch.cat([signs_like(near, generator), signs_like(near, generator)])
    _, scores, moved = log_q_gradients(
        model,
        torch.cat([x, near.repeat(2, *[1] * (x.ndim - 1)) + steps]),
        torch.cat([times, at, at]),
        create_graph=torch.is_grad_enabled(),
        in_time=True,
    )
    score, stepped = scores[: x.shape[0]], scores[x.shape[0] :]
    here = score[:rows]
    changes = steps * (stepped - torch.cat([here, here])) / step**2
    both = changes.flatten(1).sum(1).chunk(2)
    first, second = (residual_of(near, at, sde, here, one, moved[:rows]) for one in both)
    check_finite(first + second, "the residual", near, at)
    return score, first, second
