"""Networks as this topic handles them: copies of pruned ones, batches on their device, outputs example by example."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from entrokit.evaluation import evaluating

Batches = Iterable[tuple[Tensor, Tensor]]
"""Inputs and labels, a batch at a time; may be gone through again and again, as a `DataLoader`."""

_remove: Callable[[nn.Module, str], object] = prune.remove


def copy_model(model: nn.Module) -> nn.Module:
    """A copy that shares nothing, also of a model with pruned layers, which `copy.deepcopy` alone refuses.

    What a reparametrisation computed (``weight`` of a pruned layer) has a gradient's history; the copy holds its values
    and computes it anew in its own forward pass.
    """
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, computed)


def without_masks(model: nn.Module) -> nn.Module:
    """A copy whose pruned layers hold their masked weights as plain parameters."""
    plain = copy_model(model)
    for module in plain.modules():
        for name in [n.removesuffix("_mask") for n, _ in module.named_buffers(recurse=False) if n.endswith("_mask")]:
            if hasattr(module, f"{name}_orig"):
                _remove(module, name)
    return plain


def batches_for(model: nn.Module, loader: Batches, what: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches on the model's device.

    Raises:
        TypeError: the loader is an iterator, which a second pass would find empty. ValueError: it has no batch.
    """
    if isinstance(loader, Iterator):
        raise TypeError(f"{what}: loader is gone through several times; give a DataLoader or a list, not an iterator")
    parameter, empty = next(model.parameters(), None), True
    for x, y in loader:
        empty = empty and not len(x)
        yield (x, y) if parameter is None else (x.to(parameter.device), y.to(parameter.device))
    if empty:
        raise ValueError(f"{what}: loader holds no example")


@torch.no_grad()
def outputs_of(models: Sequence[nn.Module], loader: Batches, what: str) -> list[Tensor]:
    """Outputs ``[N, classes]`` of every model, in evaluation mode, on the same examples in one pass.

    Raises:
        ValueError: NaN or inf among them; see also `batches_for`.
    """
    found: list[list[Tensor]] = [[] for _ in models]
    with evaluating(*models):
        for x, _ in batches_for(models[0], loader, what):
            for own, model in zip(found, models, strict=True):
                own.append(model(x))
    joined = [torch.cat(own) for own in found]
    for i, output in enumerate(joined):
        if not bool(output.isfinite().all()):
            raise ValueError(f"{what}: the outputs of network {i} hold NaN or inf; its training diverged")
    return joined
