"""How much a channel matters: by both ends of its updates (QuantLRM, arXiv 2602.02581), or by its activations (AWQ)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..arguments import check_flag
from .updates import LazyUpdates, UpdateStats, update_stats

# Floor of the released code, for least, median and largest update that fall together.
_NARROWEST = 1e-30


def both_ends_score(x: Tensor, stats: UpdateStats, peak: float = 10.0) -> Tensor:
    """Score of update magnitudes: 1 at the median, ``peak`` at the least and at the largest; 1 where x is 0.

    1 + (peak - 1) z², with z = (x_mid - x) / (x_mid - x_min) up to the median and (x - x_mid) / (x_max - x_mid) beyond,
    both cut to [-1, 1]. float64 stays float64, everything else is scored in float32. Where two of the statistics are
    equal, whatever differs from the median on that side scores ``peak``.

    Raises:
        ValueError: a magnitude below 0, infinite or NaN, statistics out of order, or a peak below 1.
    """
    x_min, x_max, x_mid = stats
    if not 0 < x_min <= x_max < float("inf") or not x_min <= x_mid <= x_max:
        raise ValueError(
            f"both_ends_score: statistics are 0 < least <= median <= largest, all finite; got {tuple(stats)}"
        )
    if not 1.0 <= peak < float("inf"):
        raise ValueError(f"both_ends_score: peak must be at least 1, the score of the median; got {peak}")
    wrong = int((~(x >= 0) | x.isinf()).sum())
    if wrong:
        raise ValueError(f"both_ends_score: magnitudes are finite and at least 0; {wrong} of {x.numel()} are not")
    x = x if x.dtype == torch.float64 else x.float()
    left = (x_mid - x) / max(x_mid - x_min, _NARROWEST)
    right = (x - x_mid) / max(x_max - x_mid, _NARROWEST)
    z = torch.where(x <= x_mid, left, right).clamp(-1.0, 1.0)
    return torch.where(x == 0, 1.0, 1.0 + (peak - 1.0) * z.square())


def channel_importance(D: Tensor, stats: UpdateStats, *, peak: float = 10.0, zero_in_mean: bool = True) -> Tensor:
    """Importance of input channels, ``[in]``: mean score of a column times 1 + how many of its updates are exactly 0.

    At least 1. Computed in float32 (of float64 in float64) whatever D's dtype: in float16, as the released code does
    it, a column of some 6,500 zeros overflows.

    Args:
        D: update magnitudes of a weight, ``[out, in]``. stats: of the whole model, see `update_stats`.
        zero_in_mean: zeros count as a score of 1 (released code); or the mean is over positive updates alone, and 1 for
            a column without any.

    Raises:
        ValueError: D has not two dimensions, or no rows; see `both_ends_score`.
    """
    if D.ndim != 2 or not len(D):
        raise ValueError(f"channel_importance: updates of a weight are [out, in], got {list(D.shape)}")
    check_flag("channel_importance: zero_in_mean", zero_in_mean)
    score, zero = both_ends_score(D, stats, peak), D == 0
    if zero_in_mean:
        mean = score.mean(0)
    else:
        positive = (~zero).sum(0)
        mean = torch.where(positive > 0, score.masked_fill(zero, 0.0).sum(0) / positive.clamp_min(1), 1.0)
    return mean * (1 + zero.sum(0))


def update_importances(
    base_state: Mapping[str, Tensor],
    tuned_state: Mapping[str, Tensor],
    names: Iterable[str],
    *,
    peak: float = 10.0,
    zero_in_mean: bool = True,
    official_compat: bool = False,
) -> dict[str, Tensor]:
    """`channel_importance` of every named weight by the statistics of all of them; one matrix in memory at a time.

    Args:
        base_state, tuned_state, names: see `update_magnitudes`. official_compat: see `update_stats`.

    Raises:
        ValueError, TypeError: see `update_magnitudes`, `update_stats` and `channel_importance`.
    """
    names = list(names)
    updates = LazyUpdates(base_state, tuned_state, names)
    stats = update_stats(updates, official_compat=official_compat)
    return {name: channel_importance(updates.of(name), stats, peak=peak, zero_in_mean=zero_in_mean) for name in names}


def activation_importance(x: Tensor) -> Tensor:
    """AWQ's importance (arXiv 2306.00978): mean absolute input of every channel, ``[..., in]`` to ``[in]``, in float32.

    AWQ divides its scales by √(largest · smallest) too. That multiplies every weight by one number, which group
    quantisation does not see, and is left out.

    Raises:
        ValueError: no inputs, NaN or infinity.
    """
    if x.ndim < 2 or not x.numel():
        raise ValueError(f"activation_importance: inputs are [..., in] with at least one row, got {list(x.shape)}")
    found = (x if x.dtype == torch.float64 else x.float()).abs().flatten(0, -2).mean(0)
    if not torch.isfinite(found).all():
        raise ValueError("activation_importance: an input is NaN or infinite")
    return found
