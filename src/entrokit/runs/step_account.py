"""The entropy account of one optimiser step, as a run holds it (`entrokit.account` makes it)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

LIKELY_UP, LIKELY_DOWN = "likely, advantage > 0", "likely, advantage < 0"
UNLIKELY_UP, UNLIKELY_DOWN = "unlikely, advantage > 0", "unlikely, advantage < 0"
NO_ADVANTAGE = "advantage 0"
QUADRANTS = (LIKELY_UP, UNLIKELY_DOWN, LIKELY_DOWN, UNLIKELY_UP, NO_ADVANTAGE)
"""A token is likely where ``log π > -H``. With free logits the first two shrink entropy and the next two raise it."""


@dataclass(frozen=True)
class Part:
    """Estimated share (nats) of some of a step's tokens, and how many tokens they are."""

    share: float
    tokens: float


@dataclass(frozen=True)
class StepAccount:
    """The account of one optimiser step. All changes are of the mean entropy over the step's states, in nats.

    Attributes:
        step: optimiser steps taken before it. every: steps that it stands for.
        rows, sampled: completions of the step, and those looked at.
        entropy: mean over all trained tokens, before.
        predicted: ``⟨∇H, Δθ⟩`` on the sampled states. measured: what the step did to the entropy of the same states,
            also through what the model computes under ``torch.no_grad()``, where ∇H does not reach.
        gradient: the part of this step's gradient, as if its norm had not been clipped. clipping: what clipping took
            away, so that `kept` times a share is what the optimiser got of it. memory: momentum's part. decay: weight
            decay's. These four add up to ``predicted``.
        tokens: sum of the sampled tokens' shares, scaled up to the step; an unbiased estimate of ``gradient``, and
            equal to it where every row was sampled, the loss has no other terms, and training drops nothing out.
        free: the same sum of the free-logit law, per unit of step size: only its sign and its course mean something.
        free_correlation: over the sampled tokens, of the free-logit law with the shares; NaN if either is constant.
        splits: the tokens' sum split by ``quadrant``, ``clipped``, ``turn``, ``phase``, ``position``, ``prompt`` and
            ``token``; of many texts the largest are kept by name.
    """

    step: int
    every: int
    rows: int
    sampled: int
    entropy: float
    predicted: float
    measured: float
    gradient: float
    clipping: float
    memory: float
    decay: float
    tokens: float
    free: float
    free_correlation: float
    splits: Mapping[str, Mapping[str, Part]] = field(default_factory=dict)

    @property
    def kept(self) -> float:
        """What clipping of the norm left of the gradient, in (0, 1]; 1 where it had nothing to clip."""
        return 1.0 + self.clipping / self.gradient if self.gradient else 1.0

    def to_json(self) -> str:
        """One line; NaN becomes null."""
        return json.dumps({k: None if v != v else v for k, v in asdict(self).items()}, ensure_ascii=True)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> StepAccount:
        """Inverse of `to_json`, after ``json.loads``.

        Raises:
            ValueError: a field that is missing or of another type.
        """
        try:
            numbers = {
                name: math.nan if row[name] is None else (int if name in _WHOLE else float)(row[name])
                for name in cls.__dataclass_fields__
                if name != "splits"
            }
            splits = {
                str(by): {str(key): Part(float(p["share"]), float(p["tokens"])) for key, p in parts.items()}
                for by, parts in row["splits"].items()
            }
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ValueError(f"not a line of an entropy account: {type(error).__name__}: {error}") from error
        return cls(**numbers, splits=splits)  # type: ignore[arg-type]


_WHOLE = ("step", "every", "rows", "sampled")


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's; NaN for fewer than two pairs, or where one side is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
