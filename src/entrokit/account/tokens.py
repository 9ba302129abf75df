"""Which tokens' updates changed the entropy in one optimiser step, and by how much.

With the loss's gradient ``g = Σ_t c_t ∇log π_t`` and the optimiser's next move ``Δθ = -P g + memory + decay``
(`next_step`), the first-order change of the mean entropy H over the sampled states is

    ⟨∇H, Δθ⟩ = Σ_t -c_t ⟨P ∇H, ∇log π_t⟩ + ⟨∇H, memory⟩ + ⟨∇H, decay⟩.

The term of token t is its share. One directional derivative of all log-probabilities along ``P ∇H`` gives every share.
Parameters are shared between states, so a token changes the entropy of other states too; the law of
arXiv 2602.03392 (Theorem 3.3), which takes each state's logits as free, stands beside it as `free_logit_change`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from entrokit.runs.step_account import (
    LIKELY_DOWN,
    LIKELY_UP,
    NO_ADVANTAGE,
    UNLIKELY_DOWN,
    UNLIKELY_UP,
    Part,
)

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
