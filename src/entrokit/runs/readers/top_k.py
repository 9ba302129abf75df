"""Entropy from the k most likely tokens alone: a lower and an upper bound, never a point value.

With the mass m of the k tokens that a server reports, the rest r = 1 - m lies on tokens none of which is more likely
than the least of them. It is the least uncertain when it fills as few tokens as that allows, and the most when it
spreads over the whole vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..series import Floats

# Larger than any vocabulary in use: the upper bound holds for a tokenizer that is not named.
LARGEST_VOCABULARY = 1 << 19


def entropy_bounds(
    top_logp: ArrayLike, vocabulary: int = LARGEST_VOCABULARY, *, beside: float | None = None
) -> tuple[float, float]:
    """Lowest and highest entropy (nats) of a next-token law of which only ``top_logp`` is known.

    Args:
        top_logp: log-probabilities of the k most likely tokens, in any order. vocabulary: number of tokens.
        beside: log-probability of the sampled token, where it is not among the k.

    Raises:
        ValueError: no log-probability, one above 0 by more than rounding, NaN, or more than ``vocabulary`` of them.
    """
    known = np.asarray(top_logp, dtype=np.float64)
    if known.ndim != 1 or not len(known) or np.isnan(known).any() or known.max() > 1e-3 or len(known) > vocabulary:
        raise ValueError(
            f"entropy_bounds: needs 1 to {vocabulary} log-probabilities, none above 0, got {known.tolist()}"
        )
    least = float(np.exp(known.min()))
    taken = known if beside is None else np.append(known, beside)
    p = np.exp(np.minimum(taken, 0.0))
    seen = float(-(p[p > 0] * np.log(p[p > 0])).sum())
    rest, left = 1.0 - float(p.sum()), vocabulary - len(p)
    if rest <= 1e-9 or left < 1:
        return seen, seen
    full = int(rest // least) if least > 0 else 0
    if least <= 0 or full >= left:
        spread = _spread(rest, left)
        return seen + spread, seen + spread
    over = rest - full * least
    low = full * least * -np.log(least) + (-over * np.log(over) if over > 1e-15 else 0.0)
    return seen + float(low), seen + max(float(low), _spread(rest, left))


def _spread(mass: float, tokens: int) -> float:
    return float(-mass * np.log(mass / tokens))


def bounds_of(
    positions: list[list[float]], sampled: list[float | None], vocabulary: int = LARGEST_VOCABULARY
) -> Floats:
    """`entropy_bounds` of every position, ``[T, 2]``.

    Args:
        positions: the k log-probabilities of each. sampled: that of the sampled token where it is not among them.
    """
    pairs = [entropy_bounds(top, vocabulary, beside=own) for top, own in zip(positions, sampled, strict=True)]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)
