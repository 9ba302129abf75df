"""Arguments of attention as `torch.nn.MultiheadAttention` takes them, and a softmax that survives its masks."""

from __future__ import annotations

import torch
from torch import Tensor


def logit_masks(
    what: str, attention: Tensor | None, padding: Tensor | None, batch: int, heads: int, tokens: int
) -> list[Tensor]:
    """What is added to logits ``[B, H, N, N]``: floats, -inf where a bool says that nothing is attended to.

    Args:
        what: for errors. attention: ``[N, N]`` or ``[B·H, N, N]``. padding: ``[B, N]``, over keys.

    Raises:
        ValueError: a mask of another shape. TypeError: of neither bools nor floats.
    """
    masks = []
    if attention is not None:
        _check(what, "attn_mask", attention, [[tokens, tokens], [batch * heads, tokens, tokens]])
        masks.append(attention if attention.ndim == 2 else attention.reshape(batch, heads, tokens, tokens))
    if padding is not None:
        _check(what, "key_padding_mask", padding, [[batch, tokens]])
        masks.append(padding[:, None, None])
    return [_added(mask) for mask in masks]


def called_as_torch_s(
    what: str, x: Tensor, key: Tensor | None, value: Tensor | None, need_weights: bool, maskless: bool
) -> bool:
    """Whether self-attention was called with key and value, and so is to give two.

    Args:
        what: for errors. maskless: a causal mask is meant, and there is none.

    Raises:
        ValueError: keys or values of their own, weights that are asked for, or no mask.
    """
    given = key is not None or value is not None
    wrong = [
        *(
            ["its scores are of one input: key and value are x itself"]
            if given and (key is not x or value is not x)
            else []
        ),
        *(["it gives no weights (need_weights=False)"] if need_weights else []),
        *(["is_causal is a hint about attn_mask, which is not given"] if maskless else []),
    ]
    if wrong:
        raise ValueError(f"{what}: {'; '.join(wrong)}. Call it as attn(x, attn_mask=...)")
    return given


def masked_softmax(logits: Tensor, masks: list[Tensor]) -> Tensor:
    """Over keys; zeros of a query that may attend to none, whose softmax is 0/0."""
    if not masks:
        return logits.softmax(-1)
    for mask in masks:
        logits = logits + mask.to(logits.dtype)
    nothing = (logits == -torch.inf).all(-1, keepdim=True)
    return logits.masked_fill(nothing, 0.0).softmax(-1).masked_fill(nothing, 0.0)


def _check(what: str, name: str, mask: Tensor, shapes: list[list[int]]) -> None:
    if not isinstance(mask, Tensor) or not (mask.dtype == torch.bool or mask.is_floating_point()):
        kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{what}: {name} is of bools, True for what is not attended to, or of floats; got {kind}")
    if list(mask.shape) not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ValueError(f"{what}: {name} is of shape {wanted} here, got {list(mask.shape)}")


def _added(mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=torch.float32).masked_fill(mask, -torch.inf)
