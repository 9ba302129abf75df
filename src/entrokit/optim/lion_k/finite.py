"""Gradients that are not finite, found with one look at each device, and named."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    for i, j, gradient in _gradients(groups):
        if gradient.layout != torch.strided:
            raise ValueError(f"LionK: the gradient of {_name(groups, i, j)} is sparse; only dense ones are supported")
        sums.setdefault(gradient.device, []).append(gradient.sum(dtype=torch.float32))
    if all(math.isfinite(float(torch.stack(own).sum())) for own in sums.values()):
        return
    for i, j, gradient in _gradients(groups):
        bad = int((~gradient.isfinite()).sum())
        if bad:
            raise ValueError(
                f"LionK: {bad} of {gradient.numel()} values in the gradient of {_name(groups, i, j)} are NaN or "
                "infinite; nothing has moved. Leave this step out, or find what made them: "
                "torch.autograd.set_detect_anomaly"
            )


def _gradients(groups: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int, Tensor]]:
    for i, group in enumerate(groups):
        for j, param in enumerate(group["params"]):
            if param.grad is not None:
                yield i, j, param.grad


def _name(groups: Sequence[Mapping[str, Any]], i: int, j: int) -> str:
    names = groups[i].get("param_names")
    name = repr(names[j]) if names else f"parameter {j} of group {i}"
    return f"{name}, shape {list(groups[i]['params'][j].shape)},"
