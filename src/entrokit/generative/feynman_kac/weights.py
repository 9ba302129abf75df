"""How particles move, and what their weights gain, so that they keep to a combination of diffusion models.

Reverse time τ runs from noise to data; every model's own law obeys ``dx = f dt + g dW`` with ``f = a(t) x``. With
scores ``s_i``, exponents ``b_i``, ``S = Σ b_i s_i``, ``B = Σ b_i`` and a reward ``r`` of strength ``λ(t)``, the law
``p ∝ Π q_i^{b_i} exp(λ r)`` is that of particles which obey, for any ``c >= 0``::

    dx        = (-f + ½ g² (1 + c) S + ½ c g² λ ∇r) dτ + √c g dB
    d log W   = ((B - 1) ∇·f + ½ g² (‖S‖² - Σ b_i ‖s_i‖²) + <λ ∇r, ½ g² S - f> + r dλ/dτ) dτ

The paper has this for single combinations (annealing, product, guidance, reward tilt), c of 1 or 1 / B; the common form
follows from the Fokker-Planck equations of the ``q_i``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from entrokit.groups import widest

from ..checks import check_tensors

__all__ = ["fkc_drift", "fkc_weight", "mixed_score", "tilt_weight"]


def mixed_score(scores: Sequence[Tensor], exponents: Sequence[float]) -> Tensor:
    """``S = Σ b_i s_i``, ``[K, *]``, of ``scores`` ``[K, *]`` each.

    Raises:
        TypeError: a score that is no tensor.
        ValueError: no score, as many exponents as there are not scores, or scores of different shapes.
    """
    if not scores or len(scores) != len(exponents):
        raise ValueError(
            f"one exponent a score is expected; there are {len(scores)} scores, {len(exponents)} exponents"
        )
    for i, score in enumerate(scores):
        check_tensors(**{f"score {i}": score})
        if score.ndim < 1 or score.shape != scores[0].shape:
            shapes = f"{list(score.shape)}, the first {list(scores[0].shape)}"
            raise ValueError(f"scores must be [K, *] and of one shape; score {i} has shape {shapes}")
    mixed = exponents[0] * scores[0]
    for exponent, score in zip(exponents[1:], scores[1:], strict=True):
        mixed = mixed + exponent * score
    return mixed


def fkc_weight(scores: Sequence[Tensor], exponents: Sequence[float], div_f: float, g2: float) -> Tensor:
    """What a particle's log-weight gains a unit of reverse time, ``[K]`` in nats, without a reward.

    ``(B - 1) div_f + ½ g² (‖S‖² - Σ b_i ‖s_i‖²)``. It does not depend on ``c``, the noise that particles move with.

    Args:
        scores: ``[K, *]`` each, of the models at the particles' places.
        exponents: ``b_i``, one a score.
        div_f: divergence of the noising drift: ``a(t)`` times the number of dimensions.
        g2: squared diffusion ``g(t) ** 2``.

    Raises:
        ValueError: as `mixed_score`.

    Source: Feynman-Kac Correctors (arXiv 2503.02819), its propositions on annealing, products and guidance in one.
    """
    check_tensors(**{f"score {i}": score for i, score in enumerate(scores)})
    # Differences of squares decide: of many dimensions float32 leaves too little.
    wide = [score.to(widest(score)) for score in scores]
    spread = _square(mixed_score(wide, exponents))
    for exponent, score in zip(exponents, wide, strict=True):
        spread = spread - exponent * _square(score)
    return (sum(exponents) - 1) * div_f + 0.5 * g2 * spread


def fkc_drift(mixed: Tensor, forward: Tensor, g2: float, c: float, pull: Tensor | None = None) -> Tensor:
    """The drift of particles in reverse time, ``[K, *]``; their noise is ``√c g``.

    Args:
        mixed: ``S``, of `mixed_score`. forward: ``f = a(t) x``. g2: ``g(t) ** 2``.
        c: at least 0. 1 is the paper's target-score SDE; 1 / B its tempered noise; 0 has no noise.
        pull: ``λ ∇r`` ``[K, *]``, of a reward; None without one.
    """
    drift = 0.5 * g2 * (1 + c) * mixed - forward
    return drift if pull is None else drift + 0.5 * c * g2 * pull


def tilt_weight(mixed: Tensor, forward: Tensor, g2: float, pull: Tensor) -> Tensor:
    """What a reward adds to `fkc_weight`, ``[K]``, but for ``r dλ/dτ``: ``<λ ∇r, ½ g² S - f>``; see `fkc_drift`."""
    return (pull * (0.5 * g2 * mixed - forward)).flatten(1).sum(1, dtype=widest(pull))


def _square(score: Tensor) -> Tensor:
    return score.flatten(1).square().sum(1)
