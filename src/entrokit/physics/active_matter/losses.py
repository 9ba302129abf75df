"""How a score of a stationary law is learnt: score matching, denoising, and what the Fokker-Planck equation leaves.

arXiv 2309.12991. The stationary equation ∇·(ρ v) = 0 is ∇·v + v·s = 0 at every point, and is what ``lam_pde`` weighs.
The authors' public code adds ∇·v to it only with another weight above 0, which their scripts leave at 0: then the term
is E[(v·s)²], and that is not 0 for the right score. Here it is whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arguments import check_generator
from .checks import Field, as_diffusion, check_above, check_at_least, check_field, check_points
from .divergence import Method, jacobian_diagonal

__all__ = ["denoising_loss", "score_matching_loss", "stationary_residual"]


def score_matching_loss(
    score: Field,
    x: Tensor,
    drift: Field | None = None,
    diffusion: Tensor | float | None = None,
    lam_pde: float = 0.0,
    *,
    method: Method = "exact",
    generator: torch.Generator | None = None,
) -> Tensor:
    """E[|s|² + 2 ∇·s] + lam_pde · E[(∇·v + v·s)²] over points ``[B, *]``, a scalar to minimise.

    Up to a number that does not depend on s, the first term is E|s - ∇log ρ|² (Hyvärinen 2005).

    Args:
        drift, diffusion: needed with ``lam_pde`` above 0; D's diagonal is a number or broadcasts to ``[*]``.
        method: with ``hutchinson`` the square is a product of two estimates from probes of their own, so it has no
            bias, and may be negative.

    Raises:
        TypeError, ValueError: points, weights or what the fields give is none, of a wrong shape or not finite.
    """
    check_points(x)
    check_at_least(lam_pde=lam_pde)
    if lam_pde and (drift is None or diffusion is None):
        raise ValueError("lam_pde weighs the stationary equation, which has a drift and a diffusion; give both")
    s, ds = jacobian_diagonal(score, x, method=method, generator=generator)
    loss = (s.square() + 2 * ds).flatten(1).sum(1).mean()
    if not lam_pde or drift is None or diffusion is None:
        return loss
    first = _residual(x, drift, diffusion, s, ds, method, generator)
    second = first
    if method == "hutchinson" and not hasattr(score, "with_diagonal"):
        second = stationary_residual(score, x, drift, diffusion, method=method, generator=generator)
    return loss + lam_pde * (first * second).mean()


def stationary_residual(
    score: Field,
    x: Tensor,
    drift: Field,
    diffusion: Tensor | float,
    *,
    method: Method = "exact",
    generator: torch.Generator | None = None,
) -> Tensor:
    """∇·v + v·s at points ``[B, *]``, shape ``[B]``, per unit of time; 0 for the score of the stationary law."""
    s, ds = jacobian_diagonal(score, x, method=method, generator=generator)
    return _residual(x, drift, diffusion, s, ds, method, generator)


def denoising_loss(
    score: Any,
    x: Tensor,
    delta: Tensor | float,
    *,
    particles: Tensor | None = None,
    wrap: Field | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """E over ± of |s(x ± δζ)|² ± 2 s(x ± δζ)·ζ/δ, ζ normal: one pair of opposite steps a row, no derivative.

    As δ goes to 0 it is the loss of `score_matching_loss`; what it learns is the score of the law smoothed by δ, which
    is off by O(δ²). The pair takes away a noise of order 1/δ that one step has.

    Args:
        score: called with points ``[B, *]`` and, where ``particles`` are given, with them.
        x: points ``[B, *]``; of particles ``[B, N, c]``.
        delta: a number, or what broadcasts to ``[*]``; coordinates of which it is 0 are neither moved nor learnt.
        particles: numbers ``[M]`` of those that the loss is of, out of N that are all moved; the score is then
            ``[B, M, c]``.
        wrap: what brings moved points back to where the score is asked, as `ActiveParticles.wrapped` does.

    Raises:
        TypeError, ValueError: points, ``delta`` or a generator that are none; scores of another shape or not finite.
    """
    check_generator(generator)
    step = as_diffusion(delta, check_points(x), "delta")
    moved = step > 0
    if not bool(moved.any()):
        check_above(delta=float(step.max()))
    zeta = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
    target = torch.where(moved, zeta / torch.where(moved, step, 1.0), 0.0)
    if particles is not None:
        target, moved = target[:, particles], moved[particles]
    total = x.new_zeros(())
    for sign in (1.0, -1.0):
        near = x + sign * step * zeta
        near = near if wrap is None else wrap(near)
        s = score(near) if particles is None else score(near, particles)
        s = torch.where(moved, check_field(s, "the score", near if particles is None else near[:, particles]), 0.0)
        total = total + (s.square() + 2 * sign * s * target).flatten(1).sum(1).mean()
    return total / 2


def _residual(
    x: Tensor,
    drift: Field,
    diffusion: Tensor | float,
    s: Tensor,
    ds: Tensor,
    method: Method,
    generator: torch.Generator | None,
) -> Tensor:
    spread = as_diffusion(diffusion, x)
    with torch.no_grad():
        b, db = jacobian_diagonal(drift, x, method=method, generator=generator)
    return (db - spread * ds + (b - spread * s) * s).flatten(1).sum(1)
