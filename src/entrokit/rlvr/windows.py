"""Windows of high entropy: places where a completion stays uncertain for several tokens, not for one.

ARES (arXiv 2510.08457, equation 4): the mean of w entropies from token t on; the official code takes the w tokens after
t, and the 95 % quantile of these means in each completion, then the median over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.groups import widest

from .context import Context

ALIGNMENTS = ("start", "following")
LEVELS = ("window", "token")


def window_entropy(H: Tensor, mask: Tensor, w: int = 4, align: str = "start") -> tuple[Tensor, Tensor]:
    """Mean of w entropies at every token, ``[B, T]`` (nats), and where it is defined (bool); zeros elsewhere.

    Args:
        H: ``[B, T]``. mask: ``[B, T]`` bool; a window lies wholly inside it. w: tokens of a window.
        align: ``start``: the window begins at the token; ``following``: at the next one.

    Raises:
        ValueError: w below 1, or an unknown alignment.
    """
    if w < 1 or align not in ALIGNMENTS:
        raise ValueError(
            f"window_entropy: w must be at least 1 and align one of {list(ALIGNMENTS)}, got {w}, {align!r}"
        )
    shift = align == "following"
    count = H.shape[1] - w + 1 - shift
    means, defined = torch.zeros_like(H), torch.zeros_like(mask)
    if count > 0:
        inside = torch.where(mask, H, 0.0).to(widest(H)).cumsum(1)
        before = torch.nn.functional.pad(inside, (1, 0))
        real = torch.nn.functional.pad(mask.long().cumsum(1), (1, 0))
        start = slice(int(shift), int(shift) + count)
        end = slice(start.start + w, start.start + w + count)
        whole = (real[:, end] - real[:, start] == w) & mask[:, :count]
        defined[:, :count] = whole
        means[:, :count] = torch.where(whole, (before[:, end] - before[:, start]) / w, 0.0).to(H.dtype)
    return means, defined


@dataclass(frozen=True)
class HighWindows:
    """Where windows of high entropy are.

    Attributes:
        mask: ``[B, T]`` bool. count: of them in each completion, ``[B]`` int64. threshold: nats, None without a window.
    """

    mask: Tensor
    count: Tensor
    threshold: float | None


def hwe_mask(
    H: Tensor,
    mask: Tensor,
    w: int = 4,
    q: float = 0.95,
    *,
    level: str = "window",
    align: str = "following",
    before: float | None = None,
    decay: float = 0.99,
    triggers: Tensor | None = None,
    context: Context | None = None,
) -> HighWindows:
    """Tokens whose window's mean reaches the batch's threshold.

    Args:
        H: ``[B, T]``, entropies of the policy that sampled. mask: ``[B, T]`` bool.
        q: quantile of each completion. level: ``window`` takes it of window means, and their median over completions
            (the official code); ``token`` of token entropies, and their mean (the paper; averaging removes peaks, so
            that hardly any window gets there).
        before: the threshold so far, of which ``decay`` stays; None takes the batch's own.
        triggers: ``[B, T]`` bool, tokens that may count at all.

    Completions without a window count 0 and are no part of the threshold.
    """
    if level not in LEVELS:
        raise ValueError(f"hwe_mask: level must be one of {list(LEVELS)}, got {level!r}")
    context = context or Context()
    H = H.detach()
    means, defined = window_entropy(H, mask, w, align)
    values, valid = (means, defined) if level == "window" else (H, mask & defined.any(1, keepdim=True))
    known = valid.any(1)
    own = H.new_zeros(0, dtype=torch.float32)
    if bool(known.any()):
        own = values[known].float().masked_fill(~valid[known], torch.nan).nanquantile(q, dim=1)
    quantiles = context.gather(own)
    if not len(quantiles):
        return HighWindows(torch.zeros_like(mask), torch.zeros(len(H), dtype=torch.long, device=H.device), before)
    found = float(quantiles.quantile(0.5) if level == "window" else quantiles.mean())
    threshold = found if before is None else decay * before + (1.0 - decay) * found
    high = defined & (means >= threshold)
    if triggers is not None:
        high &= triggers
    return HighWindows(high, high.sum(1), threshold)


def difficulty(right: Tensor, attempts: Tensor) -> Tensor:
    """How hard prompts are, int64: 0 easy (pass rate from 2/3 on), 1 medium (from 1/3 on), 2 hard.

    Args:
        right, attempts: whole numbers of any one shape, right answers of a prompt and all of them.
    """
    # Whole numbers: two thirds of 6 are 4, whatever rounding makes of them.
    right, attempts = right.round().long(), attempts.round().long()
    return 2 - (3 * right >= attempts).long() - (3 * right >= 2 * attempts).long()
