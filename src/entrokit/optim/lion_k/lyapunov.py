"""What must fall while Lion-K runs, and what tells that it has arrived.

Lion Secretly Solves Constrained Optimization (arXiv 2310.05898). The constants with weight decay were re-derived, and
are checked numerically, since the paper's typography was not available to us. Everywhere ``x``, ``m`` and ``grad`` are
a tensor or a sequence of tensors, each a block of its own, with m following MINUS the gradient; ``K`` is a `ConvexK` or
a name of `FAMILY` that needs no options. Empty blocks count nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from .convex import ConvexK, inside, rounding, wide
from .family import resolved
from .update import SCHEMES

Blocks = Tensor | Sequence[Tensor]


class Coefficients(NamedTuple):
    """Of the discrete function and of its descent; see `lionk_lyapunov`. b is NaN where β1 > β2: there is no theory."""

    c: float
    a: float
    b: float


def lyapunov_coefficients(
    lr: float, betas: tuple[float, float], weight_decay: float, *, scheme: str = "explicit"
) -> Coefficients:
    """Constants of the discrete Lyapunov function.

    With ε of the implicit scheme, c = ε β1/(ελ(1−β1) + (1−β2)), a = 1 + cλ, b = c (1−β2)/(ε (β2−β1)). An explicit step
    of ε is an implicit one of ε/(1−ελ). At β1 = β2 what b weighs is 0, and so is b here. ``scheme`` is explicit by
    default, as that of `LionK`.

    Raises:
        ValueError: lr not above 0, betas outside [0, 1), λ < 0, an unknown scheme, or explicit steps with ελ ≥ 1.
    """
    beta1, beta2 = betas
    if not (0.0 < lr < math.inf and 0.0 <= weight_decay < math.inf and 0.0 <= beta1 < 1.0 and 0.0 <= beta2 < 1.0):
        raise ValueError(
            f"lyapunov_coefficients: needs lr > 0, weight_decay >= 0 and betas in [0, 1), got {lr}, {weight_decay}, "
            f"{betas}"
        )
    if scheme not in SCHEMES:
        raise ValueError(f"lyapunov_coefficients: scheme is one of {', '.join(SCHEMES)}, got {scheme!r}")
    if scheme == "explicit":
        if lr * weight_decay >= 1.0:
            raise ValueError(
                f"lyapunov_coefficients: explicit steps need lr * weight_decay < 1, got {lr * weight_decay}"
            )
        lr = lr / (1.0 - lr * weight_decay)
    c = lr * beta1 / (lr * weight_decay * (1.0 - beta1) + (1.0 - beta2))
    b = math.nan if beta1 > beta2 else 0.0
    if beta1 < beta2:
        b = c * (1.0 - beta2) / (lr * (beta2 - beta1))
    return Coefficients(c=c, a=1.0 + c * weight_decay, b=b)


def lionk_lyapunov(
    f_value: float,
    x: Blocks,
    m: Blocks,
    K: ConvexK | str,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    *,
    scheme: str = "explicit",
) -> float:
    """H(x, m) = f(x) + K*(λx)/λ + c [K*(λx) + K(m) − λ⟨m, x⟩]; without weight decay f(x) + c K(m).

    Where f is L-smooth and gradients are of all data, a step from x to x + ε u changes it by
    ``−ε (a Δ1 + b Δ2) + L ε²/2 ‖u‖²`` at most, Δ1, Δ2 ≥ 0 (`lyapunov_coefficients` for a, b, c), although f may rise.

    Args:
        f_value: f(x). x, m: parameters, and momenta before the step that uses their gradient. lr: ε.
        scheme: of the steps, explicit by default, as that of `LionK`.

    Returns:
        Infinity where λx is outside of dom K* (`feasibility` says how far) by more than rounding leaves (`kkt_gap`);
        NaN where x, m or f hold it.

    Raises:
        ValueError: as `lyapunov_coefficients`; unlike shapes; λ = 0 and a K that is not least at 0.
    """
    c = lyapunov_coefficients(lr, betas, weight_decay, scheme=scheme).c
    return f_value + lyapunov_excess(x, m, resolved(K), c, lr, weight_decay)


def lyapunov_excess(x: Blocks, m: Blocks, K: ConvexK, c: float, lr: float, weight_decay: float) -> float:
    """H − f of `lionk_lyapunov`."""
    if weight_decay == 0.0:
        _check_least_at_zero(K)
        return c * _value(m, K)
    conjugate, coupling = _coupled(x, m, K, weight_decay, lr)
    return conjugate / weight_decay + (c * coupling if c else 0.0)


def flow_lyapunov(
    f_value: float,
    x: Blocks,
    m: Blocks,
    K: ConvexK | str,
    *,
    alpha: float,
    gamma: float,
    e: float,
    weight_decay: float,
) -> float:
    """The same in continuous time: ṁ = −α∇f − γm, ẋ = ∇K(m + e ṁ) − λx.

    αf + (γ/λ) K*(λx) + (1−eγ)/(1+eλ) [K*(λx) + K(m) − λ⟨m, x⟩], and without weight decay αf + K((1−eγ)m)/(1−eγ). Its
    slope is −(λ+γ)/(1+eλ) Δ1 − (1−eγ)/(1+eλ) Δ2; the theorem is for differentiable K. A discrete step of ε has
    α = γ = (1−β2)/ε and e = ε(1−β1)/(1−β2).

    Raises:
        ValueError: a constant below 0 or not finite, eγ > 1 (eγ ≥ 1 without decay), unlike shapes, or as
            `lionk_lyapunov` at λ = 0.
    """
    finite = all(0.0 <= constant < math.inf for constant in (alpha, gamma, e, weight_decay))
    if not finite or e * gamma > 1.0 or (weight_decay == 0.0 and e * gamma == 1.0):
        raise ValueError(
            "flow_lyapunov: needs constants of at least 0 and e * gamma <= 1, without weight decay < 1, got "
            f"alpha={alpha}, gamma={gamma}, e={e}, weight_decay={weight_decay}"
        )
    K = resolved(K)
    rest = 1.0 - e * gamma
    if weight_decay > 0.0:
        conjugate, coupling = _coupled(x, m, K, weight_decay)
        return alpha * f_value + gamma / weight_decay * conjugate + rest / (1.0 + e * weight_decay) * coupling
    _check_least_at_zero(K)
    return alpha * f_value + _value([rest * own for own in _blocks(m)], K) / rest


def kkt_gap(x: Blocks, grad: Blocks, K: ConvexK | str, weight_decay: float, *, lr: float | None = None) -> float:
    """K(−∇f) + K*(λx) + λ⟨x, ∇f⟩: at least 0, and 0 exactly at the stationary points of f + K*(λx)/λ.

    For l1 and feasible x it is ‖∇f‖_1 + λ⟨x, ∇f⟩; without weight decay K(−∇f) − min K.

    Args:
        lr: ε of the steps that lead here. They come to the border from outside, and stand still before it, where they
            are rounded away: by up to about eps/(ελ), relative to the bound, with eps of the dtype. So near, λx is
            taken to be the point of dom K* beside it. Without ``lr`` only a few eps, or 1e-6, are forgiven.

    Returns:
        Infinity where λx is outside of dom K*; NaN where x or grad hold it.

    Raises:
        ValueError: unlike shapes, λ < 0 or lr < 0.
    """
    K = resolved(K)
    _check_decay(weight_decay)
    if lr is not None and not 0.0 <= lr < math.inf:
        raise ValueError(f"kkt_gap: lr must be a number of at least 0, got {lr}")
    total = 0.0
    for own, slope in _paired(x, grad, "grad"):
        y, conjugate = _feasible(own, K, weight_decay, lr)
        total += float(K.value(-slope)) + conjugate + float((y * wide(slope)).sum())
    return total


def feasibility(x: Blocks, K: ConvexK | str, weight_decay: float) -> float:
    """Distance from λx to dom K*, that of the farthest block; 0 where x is feasible.

    Every step shrinks it, by 1 − ελ (explicit) or 1/(1 + ελ) (implicit) at least, but for rounding: in float32 it may
    stop near 1.2e-7/(ελ), in bfloat16 near 8e-3/(ελ), and never become 0.

    Raises:
        ValueError: λ < 0.
    """
    K = resolved(K)
    _check_decay(weight_decay)
    distances = [float(K.distance(weight_decay * own)) for own in _blocks(x)]
    return math.nan if any(map(math.isnan, distances)) else max(distances, default=0.0)


def _value(z: Blocks, K: ConvexK) -> float:
    return sum(float(K.value(own)) for own in _blocks(z))


def _coupled(x: Blocks, m: Blocks, K: ConvexK, weight_decay: float, lr: float | None = None) -> tuple[float, float]:
    """K*(λx), and K*(λx) + K(m) − λ⟨m, x⟩, which is at least 0."""
    conjugates, coupling = 0.0, 0.0
    for own, momentum in _paired(x, m, "m"):
        y, conjugate = _feasible(own, K, weight_decay, lr)
        conjugates += conjugate
        coupling += conjugate + float(K.value(momentum)) - float((y * wide(momentum)).sum())
    return conjugates, coupling


def _feasible(own: Tensor, K: ConvexK, weight_decay: float, lr: float | None) -> tuple[Tensor, float]:
    """λx and K* of it; of the point of dom K* beside it where steps of ``lr`` are rounded away on the way there."""
    y = weight_decay * own
    conjugate = float(K.conjugate(y))
    if conjugate == math.inf and lr is not None and float(K.distance(y)) < rounding(own.dtype, lr, weight_decay):
        y = inside(K, y)
        return y, float(K.conjugate(y))
    return weight_decay * wide(own), conjugate


def _blocks(x: Blocks) -> list[Tensor]:
    every = [x] if isinstance(x, Tensor) else list(x)
    return [one.detach() for one in every if one.numel()]


def _paired(x: Blocks, other: Blocks, name: str) -> Iterator[tuple[Tensor, Tensor]]:
    ours, theirs = _blocks(x), _blocks(other)
    if [one.shape for one in ours] != [one.shape for one in theirs]:
        shapes = [[list(one.shape) for one in many] for many in (ours, theirs)]
        raise ValueError(f"x and {name} must be blocks of the same shapes, got {shapes[0]} and {shapes[1]}")
    return zip(ours, theirs, strict=True)


def _check_decay(weight_decay: float) -> None:
    if not 0.0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be a number of at least 0, got {weight_decay}")


def _check_least_at_zero(K: ConvexK) -> None:
    if not K.least_at_zero:
        raise ValueError(
            "without weight decay there is a Lyapunov function only where K(0) = 0 = min K, and "
            f"{type(K).__qualname__} is not least at 0; use weight_decay > 0"
        )
