"""Entropies that cannot be: what is written is another number, and the usual way it came about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from entrokit.runs import Series

Kind = Literal["negative", "summed", "too large", "zero", "constant"]
# Float noise around 0: 1e-7 below it is rounding.
_ROUNDING = 1e-4
# Share of the points that must lie outside.
_SHARE = 0.1
# Room above ln V: entropies are rounded, and padded vocabularies are larger than the tokenizer's.
_ROOM = 1.02


@dataclass(frozen=True)
class Impossible:
    """What is wrong with a series of entropies.

    Attributes:
        kind: how. said: the numbers, with the first step at which it shows. usual: how this usually comes about.
        onset: that step. usable: whether the rules can go on with the series.
    """

    kind: Kind
    said: str
    usual: str
    onset: float

    @property
    def usable(self) -> bool:
        """A course that never moves is odd, and yet no impossible number."""
        return self.kind == "constant"


def impossible(
    entropy: Series, length: Series | None, config: Mapping[str, Any], limit: float, min_points: int
) -> Impossible | None:
    """Whether a series can be entropies in nats per token.

    Args:
        entropy: the series. length: mean length of the completions in tokens, at the same steps where there are any.
        config: of the run; its ``vocab_size`` bounds entropy by ln V. limit: of entropy where V is not known, nats.
        min_points: below which a course of zeros or constants says nothing.
    """
    steps, values = entropy.steps, entropy.values
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    below = values < -_ROUNDING
    if below.mean() >= _SHARE:
        return Impossible(
            "negative",
            f"entropy is below 0 at {below.sum()} of {len(values)} points, {_nats(low)} at the lowest",
            "its negative was written (the term of a loss), or padding was averaged in",
            float(steps[below.argmax()]),
        )
    size = config.get("vocab_size")
    known = isinstance(size, (int, float)) and not isinstance(size, bool) and 2 <= size < 1e9
    top = math.log(size) * _ROOM if known and isinstance(size, (int, float)) else limit
    above = values > top
    if above.mean() >= _SHARE:
        bound = f"ln of its {size} tokens is {_nats(math.log(size))}" if known and size else f"{limit:g} nats"
        said = f"entropy is {_nats(float(values[0]))} to {_nats(float(values[-1]))}; no vocabulary allows it ({bound})"
        onset = float(steps[above.argmax()])
        grows, per_token = _with_length(entropy, length)
        if grows:
            return Impossible(
                "summed",
                f"{said}, and it grows with the length of the completions (about {_nats(per_token)} a token)",
                "it is summed over the tokens of a completion where a mean over tokens is meant",
                onset,
            )
        return Impossible(
            "too large", said, "it is summed over tokens, or it is in other units or of other logits", onset
        )
    if len(values) >= min_points and max(abs(low), abs(high)) <= 1e-9:
        return Impossible(
            "zero",
            f"entropy is 0 at all {len(values)} points",
            "it is not computed (the metric is switched off), or printed with too few digits",
            float(steps[0]),
        )
    if len(values) >= 2 * min_points and high == low:
        return Impossible(
            "constant",
            f"entropy is {high:g} at all {len(values)} points, to the last digit",
            "it was computed once, or of something that is not trained",
            float(steps[0]),
        )
    return None


def _with_length(entropy: Series, length: Series | None) -> tuple[bool, float]:
    """Whether entropy goes up and down with the length, and entropy per token."""
    if length is None:
        return False, math.nan
    _, own, other = np.intersect1d(entropy.steps, length.steps, return_indices=True)
    h, n = entropy.values[own], length.values[other]
    if len(h) < 3 or float(np.ptp(n)) == 0.0 or float(np.ptp(h)) == 0.0:
        return False, math.nan
    return float(np.corrcoef(h, n)[0, 1]) > 0.5, float(np.median(h / np.maximum(n, 1.0)))


def _nats(value: float) -> str:
    return f"{value:.3g} nats"
