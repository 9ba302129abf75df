"""An average of the policy's past, which `AWMLoss` may hold it to."""

from __future__ import annotations

import torch
from torch import nn

from ..checks import check_numbers

__all__ = ["trust_region_decay", "update_average"]


def trust_region_decay(step: int) -> float:
    """``min(0.3, 0.001 step)``: how much of itself the policy's average keeps at this step, as in the released code."""
    if step < 0:
        raise ValueError(f"steps count from 0; this is {step}")
    return min(0.3, 0.001 * step)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """``average <- decay average + (1 - decay) model``, parameters in place; buffers are copied.

    Raises:
        TypeError: what is no module, as a ``state_dict``.
        ValueError: a decay outside [0, 1), one module as both, a frozen model beside an average that is trainable
            (swapped), or modules whose parameters or buffers are not the same;
            nothing is changed.
    """
    for name, module in (("average", average), ("model", model)):
        if not isinstance(module, nn.Module):
            raise TypeError(f"{name} must be a torch.nn.Module; it is a {type(module).__name__}")
    if average is model:
        raise ValueError("the average is the model itself, and would pull nowhere: start from copy.deepcopy(model)")
    trained, frozen = ([p.requires_grad for p in of.parameters()] for of in (average, model))
    if any(trained) and frozen and not any(frozen):
        raise ValueError("the model is frozen and the average trainable: they are swapped, the average comes first")
    check_numbers(decay=decay)
    if not 0 <= decay < 1:
        raise ValueError(f"decay lies in [0, 1); it is {decay}")
    own, others = dict(average.named_parameters()), dict(model.named_parameters())
    kept, buffers = dict(average.named_buffers()), dict(model.named_buffers())
    for mine, theirs in ((own, others), (kept, buffers)):
        unlike = sorted(mine.keys() ^ theirs.keys()) or [n for n in mine if mine[n].shape != theirs[n].shape]
        if unlike:
            raise ValueError(
                f"the average and the model differ in {', '.join(unlike[:5])}; of a wrapper (AveragedModel, DDP) hand "
                "over its .module"
            )
    for name, parameter in own.items():
        parameter.lerp_(others[name].to(parameter), 1 - decay)
    for name, buffer in kept.items():
        buffer.copy_(buffers[name])
