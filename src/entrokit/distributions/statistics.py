"""Per-token statistics of a language model's next-token distribution: their names and their container."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

STATISTICS = ("logp", "entropy", "collision", "weighted_surprise", "varentropy")


@dataclass(frozen=True)
class TokenStatistics:
    """Statistics of the next-token distribution at each position, in nats; ``None`` where not asked for.

    Attributes:
        logp: ``log π(token)``, in [-inf, 0].
        entropy: ``-Σ π log π`` over the whole vocabulary, in [0, log V].
        collision: ``Σ π²``, in [1/V, 1].
        weighted_surprise: ``Σ π² log π``, in [-1/e, 0].
        varentropy: ``Σ π (log π)² - entropy²``, >= 0: minus the derivative of entropy in log-inverse-temperature.
        top_token: the most likely token, int64; without gradient.
    """

    logp: Tensor
    entropy: Tensor | None = None
    collision: Tensor | None = None
    weighted_surprise: Tensor | None = None
    varentropy: Tensor | None = None
    top_token: Tensor | None = None


def check_request(tokens: Tensor, shape: torch.Size, temperature: float, need: Collection[str]) -> None:
    """Raises `ValueError` for names, shapes, tokens or temperatures that no form can serve."""
    known = {*STATISTICS, "top_token"}
    unknown = sorted(set(need) - known)
    if unknown:
        raise ValueError(f"need: unknown statistics {unknown}; valid names are {[*STATISTICS, 'top_token']}")
    if not temperature > 0:
        raise ValueError(f"temperature: must be > 0, got {temperature}")
    if shape != tokens.shape:
        raise ValueError(f"tokens: expected one token per row, shape {tuple(shape)}, got {tuple(tokens.shape)}")


def check_tokens(tokens: Tensor, vocabulary: int) -> None:
    """Raises `ValueError` with the first token outside the vocabulary."""
    outside = (tokens < 0) | (tokens >= vocabulary)
    if bool(outside.any()):
        first = outside.nonzero()[0].tolist()
        raise ValueError(
            f"tokens: {int(tokens[tuple(first)])} at {first} lies outside the vocabulary [0, {vocabulary})"
        )


def refuse_broken_rows(log_norm: Tensor, index: Tensor | None, shape: torch.Size) -> None:
    """Raises `ValueError` with the first position whose logits are no distribution.

    The normaliser (one a row) is finite exactly when the row holds no NaN, no +inf and at least one finite logit.
    ``index`` says which of the flattened positions the rows are, where only some were computed.
    """
    finite = torch.isfinite(log_norm)
    if not bool(finite.all()):
        row = (~finite).nonzero()[0, 0]
        first = torch.unravel_index(row if index is None else index[row], shape)
        raise ValueError(
            f"logits: NaN, +inf, or nothing but -inf in {int((~finite).sum())} of {finite.numel()} positions, first at "
            f"{[int(i) for i in first]}; look for an overflow in the model, a learning rate that is too high, or a "
            "logits processor that forbids every token"
        )
