"""Asymmetric round-to-nearest of weights, a scale and a zero point for every group of neighbours along the input.

Of a group w, with M = 2^bits - 1: δ = (max - min) / M, zero = clamp(-round(min/δ), 0, M), code = clamp(round(w/δ) +
zero, 0, M), and the weight becomes (code - zero) δ. The range is extended to hold 0 first. The released code of AWQ and
of QuantLRM does not extend it: a group of one sign is then cut to [-M δ, 0] or [0, M δ].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..arguments import check_flag

# The released code's least range of a group; smaller ones are rounded as if they were as wide.
_OFFICIAL_FLOOR = 1e-5


@dataclass(frozen=True)
class GroupCodes:
    """A weight as integers.

    Attributes:
        codes: uint8 ``[out, in]``, 0 to 2^bits - 1. scale: δ, ``[out, groups]``, float32 (of a float64 weight float64).
        zero: uint8 ``[out, groups]``, the code of 0. bits: 2 to 8.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int

    def dequantize(self) -> Tensor:
        """The weight that the codes stand for, ``[out, in]``, in the dtype of the scale."""
        groups = self.codes.reshape(*self.scale.shape, -1).to(self.scale.dtype)
        steps: Tensor = groups - self.zero[..., None].to(self.scale.dtype)
        return (steps * self.scale[..., None]).flatten(1)


def quantize_groups(
    weight: Tensor,
    bits: int,
    group_size: int | None = 128,
    *,
    include_zero: bool = True,
    limit: Tensor | None = None,
) -> GroupCodes:
    """Codes of a weight, of which each is the nearest; computed in float32, or in float64 where the weight is.

    Args:
        weight: floats ``[out, in]``. bits: 2 to 8. group_size: divides ``in``; None is the whole row.
        include_zero: False is the released quantiser: no group of one sign is extended to 0, no range is below 1e-5.
        limit: ``[out, groups]``; weights are cut to ±limit first, see `search_clip`.

    Raises:
        ValueError: bits or group size out of range; no matrix; NaN, infinity, or a range that overflows.
        TypeError: no floats.
    """
    check_bits("quantize_groups", bits)
    check_flag("quantize_groups: include_zero", include_zero)
    # What is not finite shows in the scales, unless it is cut away first.
    check_weight("quantize_groups", weight, finite=limit is not None)
    groups = _grouped(weight, check_group_size("quantize_groups", weight.shape[1], group_size))
    if limit is not None:
        groups = _clipped(groups, limit)
    codes, scale, zero = _affine(groups, bits, include_zero)
    if not torch.isfinite(scale).all():
        check_weight("quantize_groups", weight)
        raise ValueError("quantize_groups: the range of a group is too large for its dtype; scale the weight down")
    return GroupCodes(codes.to(torch.uint8).flatten(1), scale.squeeze(2), zero.squeeze(2).to(torch.uint8), bits)


def rounded(
    weight: Tensor, bits: int, group_size: int, include_zero: bool = True, limit: Tensor | None = None
) -> Tensor:
    """What `quantize_groups` and back makes of a weight, without checks and without codes; for the searches."""
    groups = _grouped(weight, group_size)
    if limit is not None:
        groups = _clipped(groups, limit)
    codes, scale, zero = _affine(groups, bits, include_zero)
    return codes.sub_(zero).mul_(scale).flatten(1)


def check_bits(what: str, bits: int) -> None:
    """Raises ValueError unless bits are an integer from 2 to 8."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise ValueError(f"{what}: bits are an integer from 2 to 8, got {bits!r}")


def check_group_size(what: str, in_features: int, group_size: int | None) -> int:
    """The group size in numbers.

    Raises:
        ValueError: it does not divide the input's channels; says what would.
    """
    if group_size is None:
        return in_features
    if isinstance(group_size, bool) or not isinstance(group_size, int) or group_size < 1:
        raise ValueError(f"{what}: group_size is a positive integer or None for the whole row, got {group_size!r}")
    if in_features % group_size:
        fitting = [size for size in range(1, in_features + 1) if in_features % size == 0]
        below = max(size for size in fitting if size < group_size)
        near = {in_features & -in_features, below, min((size for size in fitting if size > group_size), default=below)}
        raise ValueError(
            f"{what}: {in_features} input channels are no multiple of group_size {group_size}; "
            f"{', '.join(map(str, sorted(near)))} or None (the whole row) would do"
        )
    return group_size


def check_weight(what: str, weight: Tensor, *, finite: bool = True) -> None:
    """Raises ValueError or TypeError unless a weight is a matrix of floats, and of finite ones."""
    if not isinstance(weight, Tensor) or not weight.dtype.is_floating_point:
        kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
        raise TypeError(f"{what}: a weight is a tensor of floats, got {kind}")
    if weight.ndim != 2 or not weight.numel():
        raise ValueError(f"{what}: a weight is [out, in], got {list(weight.shape)}")
    wrong = weight.numel() - int(torch.isfinite(weight).sum()) if finite else 0
    if wrong:
        raise ValueError(f"{what}: {wrong} of {weight.numel()} weights are NaN or infinite")


def _grouped(weight: Tensor, group_size: int) -> Tensor:
    """``[out, groups, group size]``."""
    values = weight.detach()
    return (values if values.dtype == torch.float64 else values.float()).reshape(len(values), -1, group_size)


def _clipped(groups: Tensor, limit: Tensor) -> Tensor:
    limit = limit.to(groups.dtype)[..., None]
    return torch.minimum(torch.maximum(groups, -limit), limit)


def _affine(groups: Tensor, bits: int, include_zero: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Codes as floats, δ and zero of the last dimension's groups."""
    largest = float((1 << bits) - 1)
    # Several times faster than `aminmax` along short groups.
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    if include_zero:
        low, high = low.clamp_max(0.0), high.clamp_min(0.0)
    # A group of zeros alone has no range; any δ whose M-th part is not 0 itself leaves it exact.
    floor = 256.0 * torch.finfo(groups.dtype).tiny if include_zero else _OFFICIAL_FLOOR
    scale = (high - low).clamp_min(floor) / largest
    zero = (-(low / scale).round()).clamp(0.0, largest)
    codes = (groups / scale).round_().add_(zero).clamp_(0.0, largest)
    return codes, scale, zero
