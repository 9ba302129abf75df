"""The entropy account of one optimiser step: which tokens' updates changed the entropy, and by how much.

With the loss's gradient ``g = Σ_t c_t ∇log π_t`` and the optimiser's next move ``Δθ = -P g + memory + decay``
(`next_step`), the first-order change of the mean entropy H over the sampled states is

    ⟨∇H, Δθ⟩ = Σ_t -c_t ⟨P ∇H, ∇log π_t⟩ + ⟨∇H, memory⟩ + ⟨∇H, decay⟩.

The term of token t is its share. One directional derivative of all log-probabilities along ``P ∇H`` gives every share.
Parameters are shared between states, so a token changes the entropy of other states too; the law of
arXiv 2602.03392 (Theorem 3.3), which takes each state's logits as free, stands beside it as `free_logit_change`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

LIKELY_UP, LIKELY_DOWN = "likely, advantage > 0", "likely, advantage < 0"
UNLIKELY_UP, UNLIKELY_DOWN = "unlikely, advantage > 0", "unlikely, advantage < 0"
NO_ADVANTAGE = "advantage 0"
QUADRANTS = (LIKELY_UP, UNLIKELY_DOWN, LIKELY_DOWN, UNLIKELY_UP, NO_ADVANTAGE)
"""A token is likely where ``log π > -H``. With free logits the first two shrink entropy and the next two raise it."""

OTHERS = "(others)"
_KEPT_KEYS = 40


def free_logit_change(
    coefficient: Tensor, logp: Tensor, entropy: Tensor, collision: Tensor, weighted_surprise: Tensor
) -> Tensor:
    """Change of entropy per unit of step size if each state's logits were free: ``c (S - E_π[S])``, any shape.

    ``S = π(log π + H)``, ``E_π[S] = H Σπ² + Σπ² log π`` (arXiv 2602.03392, Theorem 3.3 with ``α = -c`` times the step).

    Args:
        coefficient: derivative of the loss in ``logp``. others: statistics of the token and its state.
    """
    own = logp.exp() * (logp.clamp(min=-100.0) + entropy)
    return coefficient * (own - (entropy * collision + weighted_surprise))


def quadrant(advantage: float, logp: float, entropy: float) -> str:
    """Which of `QUADRANTS` a token is in."""
    if advantage == 0.0:
        return NO_ADVANTAGE
    if logp > -entropy:
        return LIKELY_UP if advantage > 0 else LIKELY_DOWN
    return UNLIKELY_UP if advantage > 0 else UNLIKELY_DOWN


@dataclass(frozen=True)
class TokenShare:
    """One trained token of a step, and its share of the predicted change of the mean entropy (nats).

    Attributes:
        share: of the prediction, through the shared parameters. free: `free_logit_change`, per unit of step size.
        advantage, logp, entropy: of the token and its state, before the step.
        clipped: it has an advantage, and the loss takes no gradient from it.
        position: index in the completion. turn: how many stretches of trained tokens lie before it. phase: ``thinking``
            or ``answer``, or empty.
        prompt, token: texts.
    """

    share: float
    free: float
    advantage: float
    logp: float
    entropy: float
    clipped: bool
    position: int
    turn: int
    phase: str
    prompt: str
    token: str


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
        gradient: the part of this step's gradient, as if it had not been clipped. clipping: what clipping its norm took
            away. memory: momentum's part. decay: weight decay's. These four add up to ``predicted``.
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


def split(tokens: Sequence[TokenShare], scale: float) -> dict[str, dict[str, Part]]:
    """The shares summed by every question that the account answers, each sum times ``scale``."""
    keys: dict[str, Callable[[TokenShare], str]] = {
        "quadrant": lambda t: quadrant(t.advantage, t.logp, t.entropy),
        "clipped": lambda t: "clipped" if t.clipped else "not clipped",
        "turn": lambda t: str(t.turn),
        "phase": lambda t: t.phase or "(no phases)",
        "position": lambda t: _span(t.position),
        "prompt": lambda t: t.prompt,
        "token": lambda t: t.token,
    }
    result = {}
    for name, key in keys.items():
        sums: dict[str, list[float]] = {}
        for token in tokens:
            total = sums.setdefault(key(token), [0.0, 0.0])
            total[0] += token.share * scale
            total[1] += scale
        result[name] = _largest({k: Part(*v) for k, v in sums.items()})
    return result


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's; NaN for fewer than two pairs, or where one side is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _span(position: int) -> str:
    """Positions in spans that double, so that long completions stay readable: 0-3, 4-7, 8-15, 16-31, …"""
    if position < 4:
        return "0-3"
    low = 1 << (position.bit_length() - 1)
    return f"{low}-{2 * low - 1}"


def _largest(parts: dict[str, Part]) -> dict[str, Part]:
    if len(parts) <= _KEPT_KEYS:
        return parts
    ordered = sorted(parts.items(), key=lambda item: -abs(item[1].share))
    rest = [part for _, part in ordered[_KEPT_KEYS:]]
    kept = dict(ordered[:_KEPT_KEYS])
    before = kept.pop(OTHERS, Part(0.0, 0.0))
    total = Part(before.share + sum(p.share for p in rest), before.tokens + sum(p.tokens for p in rest))
    return kept | {OTHERS: total}
