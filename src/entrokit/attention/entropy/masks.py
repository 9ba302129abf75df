"""Which keys a query sees, as fused kernels and transformers say it."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_count


def hidden(mask: Tensor) -> Tensor:
    """True where a mask hides a key: False of a boolean mask; -inf of an additive one, or near its dtype's minimum.

    Models that add the minimum instead of -inf mean the same by it.
    """
    if mask.dtype == torch.bool:
        return ~mask
    return mask <= 0.5 * torch.finfo(mask.dtype).min


def visible_keys(
    mask: Tensor | None, *, queries: int, keys: int, causal: bool = False, device: torch.device | None = None
) -> Tensor:
    """How many keys each query sees: int64, ``[T]`` without a mask, else ``[b, h, T]`` with the mask's own b and h.

    Args:
        mask: see `attention_entropy_qk`. queries, keys: T and S. causal: query i sees the keys up to i only.

    Raises:
        ValueError: a mask whose shape does not fit, or sizes that are none.
        TypeError: the mask is no tensor of booleans or floats.
    """
    for name, size in (("queries", queries), ("keys", keys)):
        check_count(size, "visible_keys", name, 0)
    limit = torch.arange(1, queries + 1, device=device).clamp(max=keys) if causal else None
    if mask is None:
        return limit if limit is not None else torch.full((queries,), keys, device=device)
    batch, heads = mask.shape[:2] if isinstance(mask, Tensor) and mask.dim() == 4 else (1, 1)
    mask = check_mask(mask, (batch, heads, queries, keys), "visible_keys")
    counts = []
    # By blocks: a comparison of the whole mask would take as much memory again.
    for first in range(0, queries, 256):
        seen = ~hidden(mask[..., first : first + 256, :] if mask.shape[-2] > 1 else mask)
        seen = seen.expand(*seen.shape[:2], min(256, queries - first), keys)
        if limit is not None:
            at = torch.arange(keys, device=mask.device)
            seen = seen & (at < limit[first : first + 256, None].to(mask.device))
        counts.append(seen.sum(-1))
    return torch.cat(counts, -1)


def check_mask(mask: Tensor, shape: tuple[int, int, int, int], who: str) -> Tensor:
    """The mask with four dimensions.

    Raises:
        ValueError: it does not broadcast to ``[B, H, T, S]``.
        TypeError: it is no tensor of booleans or floats.
    """
    if not isinstance(mask, Tensor):
        raise TypeError(f"{who}: expected a mask as a tensor, got {type(mask).__name__}")
    if mask.dtype != torch.bool and not mask.dtype.is_floating_point:
        raise TypeError(
            f"{who}: a mask is boolean (True: is seen) or added to the logits; got {mask.dtype}, of which neither is "
            "clear: give mask.bool()"
        )
    given = list(mask.shape)
    if mask.dim() == 2:
        mask = mask[None, None]
    if mask.dim() != 4 or any(own not in (1, full) for own, full in zip(mask.shape, shape, strict=True)):
        raise ValueError(f"{who}: a mask must broadcast to [B, H, T, S] = {list(shape)}, got {given}")
    return mask.expand(-1, -1, -1, shape[3])
