"""From a discriminator's logits to ratios of teacher to student, and those evened out by noise level."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .checks import check_column, check_count, check_logits, check_number, check_weight
from .workers import summed

# Beyond these a logit says no more than "surely"; the official code's.
_LOGIT_BOUND = 10.0
_EPSILON = 1e-6


def density_ratio(logits: Tensor, bounds: tuple[float, float], what: str) -> Tensor:
    """``exp`` of the mean logit over heads, clipped, ``[B]``, detached: an optimal discriminator's logit is log p/q.

    Args:
        logits: ``[B, heads]``, of teacher's (real) against student's (fake). bounds: of the ratio.

    Raises:
        TypeError, ValueError: logits that are no finite floats ``[B, heads]``, or bounds that are none.
    """
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(
            f"{what}: ratio_bounds must be a pair (low, high), got {bounds!r}; (0, math.inf) leaves "
            f"that of logits alone, {_LOGIT_BOUND:g} either way"
        )
    low, high = (check_number(bound, f"{what}: a bound of ratio_bounds") for bound in bounds)
    if not 0 <= low < high:
        raise ValueError(f"{what}: ratio_bounds must be 0 <= low < high, got {bounds}")
    log_ratio = check_logits(logits, what).detach().mean(1).clamp(-_LOGIT_BOUND, _LOGIT_BOUND)
    return log_ratio.exp().clamp(low, high)


class RatioNormalizer(nn.Module):
    """Divides ratios by their running mean at their noise level (stage 1 of arXiv 2502.15681).

    A true ratio has mean 1 over the student's samples at every level, so this takes out what a discriminator is wrong
    by as a whole. Sums are over all workers of `torch.distributed` where it runs. In `eval` mode the means stay as
    they are.

    Args:
        t_min, t_max: ends of the times, in the unit in which they come. bin_num: equal bins between them.
        ema_rate: ρ in [0, 1): a bin's mean becomes ρ mean + (1 - ρ) mean of this batch. 0, the default, is this batch
            alone.

    Attributes:
        bins: ``[bin_num]`` means, a buffer, so that `state_dict` has it; from 1. In at least float32 whatever the
            module is cast to.

    Raises:
        ValueError: an argument out of its range. TypeError: one that is no number.
    """

    bins: Tensor

    def __init__(self, t_min: float = 0.001, t_max: float = 0.999, *, bin_num: int = 10, ema_rate: float = 0.0) -> None:
        super().__init__()
        t_min, t_max = check_number(t_min, "RatioNormalizer: t_min"), check_number(t_max, "RatioNormalizer: t_max")
        bin_num = check_count(bin_num, 1, "RatioNormalizer: bin_num")
        ema_rate = check_number(ema_rate, "RatioNormalizer: ema_rate")
        if not -math.inf < t_min < t_max < math.inf:
            raise ValueError(f"RatioNormalizer: finite t_min < t_max are expected, got {t_min} and {t_max}")
        if not 0 <= ema_rate < 1:
            raise ValueError(f"RatioNormalizer: ema_rate must lie in [0, 1), got {ema_rate}")
        self.t_min, self.t_max, self.bin_num, self.ema_rate = t_min, t_max, bin_num, ema_rate
        self.register_buffer("bins", torch.ones(bin_num))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RatioNormalizer:
        before = self.bins
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # In half precision a mean that moves by little would not move at all.
        if self.bins.dtype.itemsize < 4:
            self.bins = before.to(self.bins.device)
        return self

    @torch.no_grad()
    def forward(self, ratio: Tensor, t: Tensor) -> Tensor:
        """Ratios over the means of their bins, ``[B]``, detached; the means are updated first.

        Warns where a sample makes up more than a quarter of its bin's mean on average: its ratio over that mean then
        tends to 1, and the weights to those of reverse KL.

        Args:
            ratio: ``[B]``, finite and not negative. t: ``[B]``, floats or integers, from t_min to t_max; floats may be
                out by a few roundings of their own dtype.

        Raises:
            TypeError, ValueError: either is not; the means are then as they were.
        """
        if isinstance(ratio, Tensor) and (ratio.ndim != 1 or not len(ratio)):
            raise ValueError(f"RatioNormalizer: ratios [B] are expected, got shape {list(ratio.shape)}")
        ratio = check_weight(ratio, len(ratio), "RatioNormalizer: ratios", "clip them first")
        index = self._bin_of(t, len(ratio))
        bins = self.bins.to(ratio.dtype)
        if self.training:
            count = summed(torch.bincount(index, minlength=self.bin_num).to(ratio.dtype))
            total = summed(torch.zeros_like(bins).index_add_(0, index, ratio))
            mean = total / (count + _EPSILON)
            bins = torch.where(count > 0, self.ema_rate * bins + (1 - self.ema_rate) * mean, bins)
            self._warn_of_few(count)
            self.bins.copy_(bins)
        return ratio / (bins[index] + _EPSILON)

    def _bin_of(self, t: Tensor, rows: int) -> Tensor:
        times = check_column(t, rows, "RatioNormalizer: times", "they come from the schedule", integers=True)
        # What was drawn in its dtype, or is the logarithm of such, is out by no more than that.
        rounding = 4 * torch.finfo(t.dtype).eps if t.dtype.is_floating_point else 0.0
        slack = rounding * max(abs(self.t_min), abs(self.t_max))
        outside = (times < self.t_min - slack) | (times > self.t_max + slack)
        if bool(outside.any()):
            at = int(outside.nonzero()[0])
            raise ValueError(
                f"RatioNormalizer: times lie in [{self.t_min:g}, {self.t_max:g}], got {float(times[at]):g} at [{at}]; "
                "give t_min and t_max of your schedule, in the unit of t"
            )
        width = (self.t_max - self.t_min) / self.bin_num
        return ((times - self.t_min) / width).floor().long().clamp(0, self.bin_num - 1)

    def _warn_of_few(self, count: Tensor) -> None:
        average = float(count.sum() / (count > 0).sum())
        if average / (1 - self.ema_rate) < 4:
            warnings.warn(
                f"RatioNormalizer: {average:.2g} samples a bin with ema_rate {self.ema_rate:g}: each makes up more "
                "than a quarter of its own bin's mean, and the weights tend to those of reverse KL; take larger "
                "batches, fewer bins or a higher ema_rate",
                stacklevel=6,
            )

    def extra_repr(self) -> str:
        return f"{self.t_min:g}, {self.t_max:g}, bin_num={self.bin_num}, ema_rate={self.ema_rate:g}"
