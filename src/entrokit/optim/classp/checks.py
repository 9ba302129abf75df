"""What CLASSP looks at before it changes anything: the knobs of a group, and the gradients of a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..checked import number
from .update import FOREACH_DEVICES, at_least_float32


def with_gradient(params: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Those parameters that hold a gradient, and it."""
    return [(param, param.grad) for param in params if param.grad is not None]


def largest_gradients(params: list[Tensor]) -> Iterator[tuple[torch.dtype, float]]:
    """Of every device and dtype: the largest |g|, NaN where a gradient is."""
    grads: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for param, grad in with_gradient(params):
        if param.numel():
            grads.setdefault((param.device, param.dtype), []).append(grad)
    for (device, dtype), own in grads.items():
        if device.type in FOREACH_DEVICES:
            largest = torch.stack(torch._foreach_norm(own, math.inf)).max()
        else:
            # The norm is no vector code on the CPU: it takes 25 times as long.
            ends = torch.stack([end for grad in own for end in torch.aminmax(grad)])
            largest = ends.abs().max()
        yield dtype, float(largest)


def usable(dtype: torch.dtype, largest: float, power: float) -> bool:
    """Whether the largest |g| of parameters of a dtype, and its p-th power in the history, are finite."""
    # NaN is at most nothing.
    most: float = torch.finfo(at_least_float32(dtype)).max ** min(1.0, 1.0 / power)
    return largest <= most


def refuse_sparse(params: list[Tensor], group: int) -> None:
    """Raises RuntimeError where a gradient is sparse."""
    if any(grad.is_sparse for _, grad in with_gradient(params)):
        raise RuntimeError(
            f"CLASSP does not take sparse gradients, and a parameter of group {group} has one; "
            "build the embedding with sparse=False"
        )


def unusable(params: list[Tensor], group: int, power: float) -> str:
    """What is wrong with the gradients of a group, and where."""
    for index, param in enumerate(params):
        if param.grad is not None and (bad := int((~param.grad.isfinite()).sum())):
            return (
                f"CLASSP: parameter {index} of group {group}, shape {list(param.shape)}: {bad} of {param.numel()} "
                "entries of its gradient are NaN or infinite. Nothing was changed; skip this step"
            )
    return f"CLASSP: gradients of group {group} to the power of {power:g} overflow. Nothing was changed; clip them"


def check_knobs(group: Mapping[str, Any], index: int) -> None:
    """Refuses knobs out of range.

    Raises:
        ValueError: names the group and the knob.
    """
    where = f"CLASSP, group {index}"
    lr, eps, power = (number(group[name]) for name in ("lr", "eps", "power"))
    if not 0.0 <= lr < math.inf:
        raise ValueError(f"{where}: lr must be a finite number of at least 0, got {group['lr']}")
    if not 0.0 < power < math.inf:
        raise ValueError(f"{where}: power must be a finite number above 0, got {group['power']}")
    if not 0.0 < eps < math.inf:
        raise ValueError(f"{where}: eps must be a finite number above 0, got {group['eps']}")
    if math.isnan(number(group["threshold"])):
        raise ValueError(f"{where}: threshold must be a number, got {group['threshold']}")
    if group["mode"] not in ("paper", "reference"):
        raise ValueError(f"{where}: mode must be 'paper' or 'reference', got {group['mode']!r}")
    # What divides the first step of an entry, in float32: at 0 an untouched entry would become 0 / 0.
    if math.log(eps) / power < math.log(torch.finfo(torch.float32).tiny) or eps < torch.finfo(torch.float32).tiny:
        raise ValueError(f"{where}: eps ** (1 / power) = {eps:g} ** (1 / {power:g}) is 0 in float32; raise eps")
