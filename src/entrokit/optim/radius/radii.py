"""How far a step may go before the loss has no Taylor series: radii in closed form.

Ghosts of Softmax: Complex Singularities That Limit Safe Step Sizes in Cross-Entropy (arXiv 2603.13552). Along a step
the logits move with slopes ``a``; the partition sum ``F(t) = Σ_k exp(z_k + a_k t)`` has no zero on the real line but
some in the complex plane, and the nearest caps the radius of convergence of ``log F``, and so of the cross-entropy.
With ``Δ = max a - min a`` all terms lie in an open half-plane while ``|Im t| < π / Δ``, so that the radius is at least
π / Δ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ACTIVATIONS = ("relu", "sigmoid", "softplus", "silu", "tanh", "gelu_tanh", "gelu")


def slope_spread(slopes: Tensor, logits: Tensor | None = None) -> Tensor:
    """``Δ``, the largest slope less the smallest, over the last dimension: ``[..., K]`` to ``[...]``.

    Args:
        slopes: how fast every logit moves. logits: of the same shape; classes at ``-inf`` have no weight and are left
            out, whatever their slopes.

    Returns:
        0 where fewer than two classes are left. NaN stays NaN.

    Raises:
        ValueError: shapes that differ, or no dimension of classes.
    """
    if slopes.dim() == 0 or (logits is not None and logits.shape != slopes.shape):
        other = "" if logits is None else f" and logits {list(logits.shape)}"
        raise ValueError(f"slope_spread: expected slopes [..., K]{other} of one shape, got {list(slopes.shape)}")
    if slopes.shape[-1] == 0:
        return slopes.new_zeros(slopes.shape[:-1])
    if logits is None:
        return slopes.amax(-1) - slopes.amin(-1)
    gone = logits == -torch.inf
    spread = slopes.masked_fill(gone, -torch.inf).amax(-1) - slopes.masked_fill(gone, torch.inf).amin(-1)
    return spread.masked_fill(gone.all(-1), 0.0)


def worst_spread(spread: Tensor, reduction: str | float = "max") -> float:
    """One Δ for many samples: the largest, or a quantile of them; 0 for no sample.

    Args:
        spread: of any shape. reduction: "max", or a quantile in (0, 1].

    Raises:
        ValueError: another reduction; a spread that is NaN or negative.
    """
    level = 1.0 if reduction == "max" else reduction
    if isinstance(level, str) or not 0.0 < level <= 1.0:
        raise ValueError(f"reduction: must be 'max' or a quantile in (0, 1], got {reduction!r}")
    flat = spread.detach().flatten().double()
    if not bool((flat >= 0).all()):
        raise ValueError(f"spread: {int((~(flat >= 0)).sum())} of {len(flat)} samples are NaN or negative")
    if not len(flat):
        return 0.0
    return float(flat.max() if level == 1.0 else torch.quantile(flat, level))


def taylor_radius(spread: Tensor, reduction: str | float = "max") -> float:
    """π / Δ: no step shorter than this along the direction leaves the disc in which the loss has a Taylor series.

    The unit is that of the direction: the radius is a distance where Δ belongs to a direction of length 1, and the
    step's ``1 / r`` where Δ belongs to the step itself. Loss on ``z / T`` has T times the radius.

    Args:
        spread: Δ of the samples, of any shape. reduction: see `worst_spread`; a quantile is no bound.

    Returns:
        Above 0; infinite where no logit moves against another, and for no sample.

    Raises:
        ValueError: see `worst_spread`.
    """
    worst = worst_spread(spread, reduction)
    return math.pi / worst if worst else math.inf


def binary_radius(gap: Tensor, spread: Tensor) -> Tensor:
    """``sqrt(gap² + π²) / spread``, exact for two classes whose logits differ by ``gap``; infinite at a spread of 0.

    Args:
        gap, spread: shapes that broadcast.
    """
    return torch.hypot(gap, gap.new_tensor(math.pi)) / spread.abs()


def top_two_radius(logits: Tensor, slopes: Tensor, labels: Tensor | None = None) -> Tensor:
    """`binary_radius` of the label and its strongest competitor: a guess, and for more than two classes no bound.

    Args:
        logits, slopes: ``[..., K]``, K at least 2. labels: ``[...]`` int64; the largest logit where none are given.

    Returns:
        ``[...]``.

    Raises:
        ValueError: shapes that do not fit.
    """
    if logits.shape != slopes.shape or logits.dim() == 0 or logits.shape[-1] < 2:
        raise ValueError(
            f"top_two_radius: logits and slopes are [..., K] with K at least 2, got {list(logits.shape)} and "
            f"{list(slopes.shape)}"
        )
    own = (logits.argmax(-1) if labels is None else labels)[..., None]
    other = logits.scatter(-1, own, -torch.inf).argmax(-1, keepdim=True)
    gap, apart = (x.gather(-1, own) - x.gather(-1, other) for x in (logits, slopes))
    return binary_radius(gap, apart).squeeze(-1)


def activation_radius(values: Tensor, slopes: Tensor, activation: str) -> Tensor:
    """How far each unit is from its activation's nearest singular point, at the speed at which its input moves.

    ReLU has a kink at 0 (no analytic function passes through it: an indicator, no theorem), sigmoid, softplus and SiLU
    have poles or branch points at ±iπ, tanh at ±iπ/2. The exact GELU is entire: infinite.

    Args:
        values: inputs of the activation; for "gelu_tanh" of its inner tanh. slopes: their derivatives, of that shape.
        activation: one of `ACTIVATIONS`.

    Raises:
        ValueError: another activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation: must be one of {list(ACTIVATIONS)}, got {activation!r}")
    if activation == "gelu":
        return torch.full_like(values, torch.inf)
    height = {"relu": 0.0, "tanh": math.pi / 2, "gelu_tanh": math.pi / 2}.get(activation, math.pi)
    distance = torch.hypot(values, values.new_tensor(height))
    # A unit that stays where it is never gets there, not even from the singular point itself.
    return torch.where(slopes == 0, torch.inf, distance / slopes.abs())
