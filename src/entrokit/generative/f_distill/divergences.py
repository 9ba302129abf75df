"""f-divergences, and the weight that each puts on the difference of scores: all of them from one table.

``D_f(p ‖ q) = ∫ q f(p/q) dx`` in nats, r = p/q the ratio of teacher to student, and ``h(r) = r² f''(r)`` (f-distill,
arXiv 2502.15681, Table 1). ``neyman`` is in the official code alone, and ``pearson`` in neither: it is the weight of
``neyman`` with teacher and student exchanged, as ``kl`` is that of ``rkl`` (exchanged, h becomes ``r h(1/r)``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from .checks import check_finite, widened

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Divergence:
    """An f-divergence.

    Attributes:
        words: its name, and what is odd about it. f: of ratios. log_weight: ``log h`` of log-ratios, up to a constant.
        scale: what the weight must be multiplied by to be ``r² f''(r)`` of this very f.
    """

    words: str
    f: Function
    log_weight: Function
    scale: float = 1.0


def _jensen_shannon(r: Tensor) -> Tensor:
    return torch.xlogy(r, r) - (1 + r) * ((1 + r) / 2).log()


def _level(log_r: Tensor) -> Tensor:
    # Not zeros_like, which has no gradient instead of one of 0.
    return torch.where(log_r.isnan(), log_r, 0.0)


DIVERGENCES: Mapping[str, Divergence] = MappingProxyType(
    {
        "rkl": Divergence("reverse KL, KL(q ‖ p): mode seeking; plain DMD", lambda r: -r.log(), _level),
        "sf": Divergence(
            "softened reverse KL, 2 KL(½(p + q) ‖ p): mode seeking, low variance",
            lambda r: (1 + r) * (0.5 + 0.5 / r).log(),
            lambda log_r: logsigmoid(-log_r),
        ),
        "js": Divergence("twice the Jensen-Shannon divergence: in between, low variance", _jensen_shannon, logsigmoid),
        "sh": Divergence(
            "squared Hellinger, 1 - ∫ √(pq): in between, low variance",
            lambda r: 1 - r.sqrt(),
            lambda log_r: 0.5 * log_r,
            0.25,
        ),
        "kl": Divergence(
            "forward KL, KL(p ‖ q): mode covering, high variance",
            lambda r: torch.xlogy(r, r),
            lambda log_r: log_r,
        ),
        "jf": Divergence(
            "Jeffreys, KL(p ‖ q) + KL(q ‖ p): mode covering, high variance", lambda r: (r - 1) * r.log(), softplus
        ),
        "neyman": Divergence(
            "half of Neyman's χ², ½ ∫ (p - q)²/p: of the official code, not in the paper; strongly mode seeking",
            lambda r: (1 - r).square() / (2 * r),
            lambda log_r: -log_r,
        ),
        "pearson": Divergence(
            "half of Pearson's χ², ½ ∫ (p - q)²/q: of this library, not in the paper; strongly mode covering, the "
            "highest variance",
            lambda r: 0.5 * (r - 1).square(),
            lambda log_r: 2 * log_r,
        ),
    }
)


def divergence_of(key: str, what: str) -> Divergence:
    """An entry of `DIVERGENCES`.

    Raises:
        ValueError: there is none of this key; lists those that there are. TypeError: it is no string.
    """
    if not isinstance(key, str):
        raise TypeError(f"{what}: divergence must be a key of DIVERGENCES, such as 'js', got a {type(key).__name__}")
    if key not in DIVERGENCES:
        raise ValueError(f"{what}: no divergence {key!r}; there are {', '.join(DIVERGENCES)}")
    return DIVERGENCES[key]


def f_weight(ratio: Tensor, divergence: str) -> Tensor:
    """The weight ``h(r)`` of ratios of teacher to student, of their shape, as the official code has it.

    That is ``r² f''(r)``, for ``sh`` four times that. Computed through log r, in float32 at least. At 0 and infinity
    it is the limit.

    Args:
        ratio: not negative, of any shape. divergence: a key of `DIVERGENCES`.

    Raises:
        ValueError: no such divergence; a ratio that is negative or NaN; a weight that is infinite, at 0 (``neyman``),
            at infinity (``sh``, ``kl``, ``jf``, ``pearson``) or for a number too large for the dtype.
        TypeError: ratios that are no floats, a divergence that is no string.
    """
    law = divergence_of(divergence, "f_weight")
    weight = law.log_weight(_check_ratio(ratio, "f_weight").log()).exp()
    if bool(weight.isinf().any()):
        at = tuple(int(i) for i in weight.isinf().nonzero()[0])
        raise ValueError(
            f"f_weight: the weight of {divergence} is infinite at ratio {float(ratio[at])}, index {list(at)}; clip "
            "ratios first, as f_distill_loss does"
        )
    return weight


def f_divergence_gradient_weight(divergence: str) -> tuple[Function, Function]:
    """f and h of a divergence, both of ratios and differentiable where these are above 0, with ``h(r) = r² f''(r)``.

    Of ``D_f = ∫ q f(p/q)`` and samples x = G(z) of q the gradient is ``-E[h(r) (∇ log p - ∇ log q)ᵀ ∂G]``. f takes
    finite ratios, at 0 its limit, which may be infinite; h is `f_weight`, for ``sh`` a quarter of it.

    Args:
        divergence: a key of `DIVERGENCES`.

    Raises:
        ValueError: there is none of this key; lists those that there are. TypeError: it is no string.
    """
    law = divergence_of(divergence, "f_divergence_gradient_weight")

    def f(ratio: Tensor) -> Tensor:
        what = f"f of {divergence}: ratios"
        return law.f(_check_ratio(check_finite(ratio, what, "f is needed where both densities are above 0"), what))

    def h(ratio: Tensor) -> Tensor:
        return law.scale * f_weight(ratio, divergence)

    return f, h


def _check_ratio(ratio: Tensor, what: str) -> Tensor:
    ratio = widened(ratio, what)
    bad = ~(ratio >= 0)
    if bool(bad.any()):
        at = tuple(int(i) for i in bad.nonzero()[0])
        raise ValueError(f"{what}: ratios of densities are not negative, got {float(ratio[at])} at {list(at)}")
    # -0 is 0, and its reciprocal must not be minus infinity.
    return ratio + 0.0
