"""Liger-Kernel's fused linear log-probability and entropy, through its public function."""

from __future__ import annotations

import torch
from torch import Tensor

from .statistics import TokenStatistics

_IGNORED = -100


def linear_logp_and_entropy(
    hidden: Tensor, weight: Tensor, tokens: Tensor, mask: Tensor | None, temperature: float, wanted: frozenset[str]
) -> TokenStatistics:
    """``logp`` and ``entropy`` of `linear_token_statistics`; arguments are already checked.

    Raises:
        ValueError: a position whose result is not finite.
    """
    from liger_kernel.ops import LigerFusedLinearScaledCrossEntropyFunction

    shape = tokens.shape
    if shape.numel() == 0:  # Liger refuses empty input; a product keeps the result attached to the graph
        nothing = (hidden @ weight[:1].T).squeeze(-1).float()
        return TokenStatistics(logp=nothing, entropy=nothing if "entropy" in wanted else None)
    target = tokens if mask is None else tokens.masked_fill(~mask, _IGNORED)
    result = LigerFusedLinearScaledCrossEntropyFunction.apply(
        hidden.reshape(-1, hidden.shape[-1]),
        weight,
        target.reshape(-1),
        temperature,
        _IGNORED,
        return_entropy="entropy" in wanted,
    )
    nll, entropy = result if isinstance(result, tuple) else (result, None)
    finite = torch.isfinite(nll)
    if not bool(finite.all()):
        first = torch.unravel_index((~finite).nonzero()[0, 0], shape)
        raise ValueError(f"logits: Liger's log-probability is not finite, first at {[int(i) for i in first]}")
    return TokenStatistics(
        logp=-nll.view(shape), entropy=None if entropy is None else entropy.view(shape).float().clamp(min=0.0)
    )
