"""Gradients that are not finite, found with one look at each device, and named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def refuse_non_finite(groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse gradients of param groups that no step can be made of.

    A sum is finite only if all of its terms are: that much is asked of every gradient, in one transfer a device. Who
    fails is looked at closely, since a sum of large finite terms may overflow too.

    Raises:
        ValueError: a gradient is sparse, or holds NaN or infinity; says of which parameter, how many, and what to do.
    """
    sums: dict[torch.device, list[Tensor]] = {}
    for where, gradient in _gradients(groups):
        if gradient.layout != torch.strided:
            raise ValueError(f"LionK: the gradient of {where} is sparse; only dense ones are supported")
        sums.setdefault(gradient.device, []).append(gradient.sum(dtype=torch.float32))
    if all(bool(torch.stack(own).isfinite().all()) for own in sums.values()):
        return
    for where, gradient in _gradients(groups):
        bad = int((~gradient.isfinite()).sum())
        if bad:
            raise ValueError(
                f"LionK: {bad} of {gradient.numel()} values in the gradient of {where} are NaN or infinite; nothing "
                "has moved. Leave this step out, or find what made them (torch.autograd.set_detect_anomaly)"
            )


def _gradients(groups: Sequence[Mapping[str, Any]]) -> list[tuple[str, Tensor]]:
    found = []
    for i, group in enumerate(groups):
        names = group.get("param_names")
        for j, param in enumerate(group["params"]):
            if param.grad is not None:
                name = f"{names[j]!r}" if names else f"parameter {j} of group {i}"
                found.append((f"{name}, shape {list(param.shape)},", param.grad))
    return found
