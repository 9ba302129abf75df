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
    rows: Tensor | float | None = None
    length: int | None = None


def aggregate(loss: Tensor, mask: Tensor, mode: str, totals: Totals | None = None) -> Tensor:
    """Scalar loss from ``loss [B, T]`` over the tokens where ``mask [B, T]`` (bool) holds.

    - ``token-mean``: ``Σ ℓ m / tokens`` (DAPO, CISPO);
    - ``seq-mean-token-mean``: mean over rows of each row's mean (GRPO, GSPO);
    - ``seq-mean-token-sum``: ``Σ ℓ m / rows``;
    - ``seq-mean-token-sum-norm``: ``Σ ℓ m / (rows · length)`` (Dr.GRPO).

    Rows are those with a token in the mask, as in verl, where `Totals` name no other number. An empty mask gives 0 with
    a graph. Masked entries may hold NaN.

    Raises:
        ValueError: unknown ``mode``.
    """
    totals = totals or Totals()
    masked = torch.where(mask, loss, 0.0)
    tokens = _divisor(mask.sum() if totals.tokens is None else totals.tokens, loss)
    rows = _divisor(mask.any(-1).sum() if totals.rows is None else totals.rows, loss)
    if mode == "token-mean":
        return masked.sum() / tokens
    if mode == "seq-mean-token-mean":
        return (masked.sum(-1) / mask.sum(-1).clamp(min=1)).sum() / rows
    if mode == "seq-mean-token-sum":
        return masked.sum() / rows
    if mode == "seq-mean-token-sum-norm":
        return masked.sum() / (rows * (totals.length or loss.shape[1] or 1))
    raise ValueError(f"aggregation: unknown mode {mode!r}; valid names are {list(AGGREGATIONS)}")


def _divisor(count: Tensor | float, loss: Tensor) -> Tensor:
    """A count in at least float32, 1 where there is nothing to divide; a rank's share of a count may be below 1."""
    x = torch.as_tensor(count, device=loss.device).to(torch.promote_types(loss.dtype, torch.float32))
    return torch.where(x > 0, x, 1.0)
