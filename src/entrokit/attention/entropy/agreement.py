"""Whether logits as they are read here are those that a kernel used."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .chunked import row_weights
from .logits import Logits
from .taps import Call


def check_agreement(call: Call, output: Tensor) -> None:
    """Holds the kernel's output of the last query to what its queries, keys, mask and scaling give.

    With M = scaling · max |q| · max |k|, rounding to u moves a logit, a sum of d products, by about √d u M, weights by
    that share, and outputs by that share of max |v|; 16 such are allowed. Half precision rounds too much for it to tell
    anything, and dropout leaves weights out: these are passed over.

    Raises:
        ValueError: they differ; names the layer.
    """
    if call.dropout or output.dtype not in (torch.float32, torch.float64) or output.dtype != call.logits.query.dtype:
        return
    with torch.no_grad():
        logits = call.logits
        key = logits.key[:, :, : logits.query.shape[2]] if logits.causal else logits.key
        query, mask = logits.query[:, :, -1:], _last_row(logits)
        weights = row_weights(replace(logits, query=query, key=key, mask=mask, causal=False))
        value = call.value[:, :, : weights.shape[-1]]
        batch, heads, _, keys = weights.shape
        folded = weights.view(batch, value.shape[1], heads // value.shape[1], keys)
        own = (folded @ value.to(weights.dtype)).view(batch, heads, -1)
        apart = (own - output[:, -1]).abs().amax(-1)
        seen = weights.sum((2, 3)) > 0.0
        largest = logits.scale * logits.query.norm(dim=-1).max() * logits.key.norm(dim=-1).max()
        unit = torch.finfo(output.dtype).eps
        allowed = 16.0 * logits.query.shape[-1] ** 0.5 * unit * (1.0 + largest) * call.value.abs().max()
        # NaN is no disagreement: it is counted where entropies are.
        if bool((seen & (apart > allowed)).any()):
            raise ValueError(
                f"{call.name}: its kernel gives another output than its queries, keys, mask and scaling do (apart by "
                f"{float(apart[seen].max()):.3g}), so that its logits have a term that is not seen here; leave it out "
                "by include="
            )


def _last_row(logits: Logits) -> Tensor | None:
    if logits.mask is None:
        return None
    row = logits.mask[..., -1:, :]
    return row[..., : logits.query.shape[2]] if logits.causal and row.shape[-1] > 1 else row
