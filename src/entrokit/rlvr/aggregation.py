"""From a loss per token to the scalar that is minimised.

The names are verl's. Each aggregation is a sum divided by a total. A micro-batch that knows the totals of its whole
optimiser step contributes its part of that step's mean, so parts add up however the step was cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

AGGREGATIONS = ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm")


@dataclass(frozen=True)
class Totals:
    """What a loss is divided by; ``None`` takes the count of the tensors passed in.

    Attributes:
        tokens: trained tokens of the optimiser step (this rank's share).
        rows: completions of the optimiser step (this rank's share).
        length: constant length of ``seq-mean-token-sum-norm``: the longest completion allowed.
    """

    tokens: Tensor | float | None = None
    rows: float | None = None
    length: int | None = None


def aggregate(loss: Tensor, mask: Tensor, mode: str, totals: Totals | None = None) -> Tensor:
    """Scalar loss from ``loss [B, T]`` over the tokens where ``mask [B, T]`` (bool) holds.

    - ``token-mean``: ``Σ ℓ m / tokens`` (DAPO, CISPO);
    - ``seq-mean-token-mean``: mean over rows of each row's mean (GRPO, GSPO); a row without tokens counts as 0;
    - ``seq-mean-token-sum``: ``Σ ℓ m / rows``;
    - ``seq-mean-token-sum-norm``: ``Σ ℓ m / (rows · length)`` (Dr.GRPO).

    An empty mask gives 0 with a graph. Masked entries may hold NaN.

    Raises:
        ValueError: unknown ``mode``.
    """
    totals = totals or Totals()
    masked = torch.where(mask, loss, 0.0)
    rows = max(1, loss.shape[0]) if totals.rows is None else totals.rows
    if mode == "token-mean":
        tokens = mask.sum() if totals.tokens is None else totals.tokens
        return masked.sum() / torch.as_tensor(tokens, device=loss.device).clamp(min=1.0)
    if mode == "seq-mean-token-mean":
        return (masked.sum(-1) / mask.sum(-1).clamp(min=1)).sum() / rows
    if mode == "seq-mean-token-sum":
        return masked.sum() / rows
    if mode == "seq-mean-token-sum-norm":
        return masked.sum() / (rows * (totals.length or loss.shape[1] or 1))
    raise ValueError(f"aggregation: unknown mode {mode!r}; valid names are {list(AGGREGATIONS)}")
