"""How the small networks of this shelf are trained: fresh batches, Adam down a cosine, an average of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

RATE, DECAY = 2e-3, 0.999
Network = TypeVar("Network", bound=nn.Module)


def fitted(model: Network, loss: Callable[[], Tensor], updates: int) -> Network:
    """The average of its weights, frozen; ``loss`` is that of ``model`` on a batch that it draws itself."""
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))  # type: ignore[no-untyped-call]
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        value = loss()
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
    return cast(Network, average.module.requires_grad_(False))
