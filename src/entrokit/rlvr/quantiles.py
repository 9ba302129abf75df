"""Quantiles over a batch's tokens."""

from __future__ import annotations

from torch import Tensor


def masked_quantile(values: Tensor, q: float) -> Tensor:
    """Quantile ``q`` in [0, 1] of a non-empty 1-D tensor, linear interpolation, as `torch.quantile` defines it.

    By order statistics, so that it also serves batches above the 2^24 elements at which `torch.quantile` gives up.
    """
    position = q * (values.numel() - 1)
    lower = int(position)
    at = values.kthvalue(lower + 1).values
    fraction = position - lower
    if fraction == 0.0:
        return at
    return at + fraction * (values.kthvalue(lower + 2).values - at)
