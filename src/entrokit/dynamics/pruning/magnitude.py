"""Unstructured magnitude pruning to a density, with masks of `torch.nn.utils.prune`.

A Three-regime Model of Network Pruning (arXiv 2305.18383): convolutions (here linear layers too) lose their smallest
|w|, either as many in every layer (uniform) or by one threshold over all layers (global); the classifier and biases
stay dense.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Collection
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import prune

_LAYERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_from_mask: Callable[[nn.Module, str, Tensor], object] = prune.custom_from_mask


def prune_magnitude(
    model: nn.Module,
    density: float,
    scope: Literal["uniform", "global"] = "uniform",
    skip: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Prunes linear layers and convolutions of a model in place, and gives the masks, bool, by ``layer.weight``.

    Pruned weights are exactly 0 from now on, whatever trains ``weight_orig``: with momentum and weight decay too.
    ``torch.nn.utils.prune.remove(layer, "weight")`` makes it permanent. A model that was pruned before is pruned
    further, to a density of all its weights.

    Args:
        density: share of the weights that stay, in (0, 1]; exact to one weight a layer (``"global"``: to one in all).
        scope: ``"uniform"``, this density in every layer; ``"global"``, the largest of all layers stay.
        skip: names of layers that stay dense; None: the last linear layer, which is taken for the classifier.

    Raises:
        ValueError: a density or scope that is none, a name in ``skip`` that is no layer, nothing to prune, a weight
            that is tied, computed from others or not finite, a layer that would keep no weight (uniform), or one that
            is sparser already. The model is then as it was.
    """
    if not 0 < density <= 1:
        raise ValueError(f"prune_magnitude: density is the share of weights that stay, in (0, 1], got {density}")
    if scope not in ("uniform", "global"):
        raise ValueError(f"prune_magnitude: scope is 'uniform' or 'global', got {scope!r}")
    layers = _layers(model, skip)
    _check_weights(model, layers)
    before = {name: _mask(layer) for name, layer in layers.items()}
    together = [list(layers)] if scope == "global" else [[name] for name in layers]
    counts = [_to_keep(names, before, density) for names in together]
    for names, count in zip(together, counts, strict=True):
        _keep_largest([layers[name] for name in names], count)
    masks = {f"{name}.weight": _mask(layer) for name, layer in layers.items()}
    if emptied := [name for name, mask in masks.items() if not bool(mask.any())]:
        warnings.warn(f"prune_magnitude: nothing is left of {', '.join(emptied)}", RuntimeWarning, stacklevel=2)
    return masks


def density_of(model: nn.Module) -> float:
    """Share of weights that stay, over the pruned layers of a model together: in [0, 1].

    Raises:
        ValueError: no layer of the model is pruned.
    """
    masks = [_mask(layer) for layer in model.modules() if isinstance(layer, _LAYERS) and hasattr(layer, "weight_mask")]
    if not masks:
        raise ValueError("density_of: no layer has a mask; prune the model first (prune_magnitude)")
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def _layers(model: nn.Module, skip: Collection[str] | None) -> dict[str, nn.Module]:
    every: dict[str, nn.Module] = {name: m for name, m in model.named_modules() if isinstance(m, _LAYERS)}
    if skip is None:
        skip = [name for name, module in every.items() if isinstance(module, nn.Linear)][-1:]
    skip = [skip] if isinstance(skip, str) else skip
    if unknown := sorted(set(skip) - every.keys()):
        raise ValueError(f"prune_magnitude: skip names {unknown[0]!r}, which is none of {', '.join(every)}")
    layers = {name: module for name, module in every.items() if name not in set(skip)}
    if not layers:
        raise ValueError(
            f"prune_magnitude: no layer to prune; without {', '.join(skip) or 'any'} there is no linear layer or "
            "convolution (skip=() takes all)"
        )
    return layers


def _check_weights(model: nn.Module, layers: dict[str, nn.Module]) -> None:
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    for name, layer in layers.items():
        weight = layer._parameters.get("weight_orig" if hasattr(layer, "weight_mask") else "weight")
        if weight is None:
            raise ValueError(
                f"prune_magnitude: the weight of {name} is computed from others (a parametrization); remove that, or "
                "skip it"
            )
        if is_lazy(weight) or not weight.numel():
            raise ValueError(f"prune_magnitude: {name} has no weights yet; run the model once, or skip it")
        if uses[id(weight)] > 1:
            raise ValueError(f"prune_magnitude: the weight of {name} is tied to another; skip it")
        if not bool(weight.isfinite().all()):
            raise ValueError(f"prune_magnitude: the weight of {name} holds NaN or inf")


def _weight(layer: nn.Module) -> Tensor:
    """What the optimizer trains."""
    weight = getattr(layer, "weight_orig", layer.weight)
    assert isinstance(weight, Tensor)
    return weight


def _keep_largest(layers: list[nn.Module], count: int) -> None:
    # Not `prune.global_unstructured`, which takes the weights of the last forward pass for those that the optimizer
    # left, and cannot flatten channels-last ones.
    left = [_mask(layer) for layer in layers]
    sizes = torch.cat(
        [_weight(layer).detach()[mask].abs().to(left[0].device) for layer, mask in zip(layers, left, strict=True)]
    )
    stays = torch.zeros_like(sizes, dtype=torch.bool)
    stays[sizes.topk(count).indices] = True
    parts = torch.split(stays, [int(mask.sum()) for mask in left])
    for layer, mask, part in zip(layers, left, parts, strict=True):
        _from_mask(layer, "weight", mask.masked_scatter(mask, part.to(mask.device)))


def _mask(layer: nn.Module) -> Tensor:
    mask = getattr(layer, "weight_mask", None)
    return mask.bool() if isinstance(mask, Tensor) else torch.ones_like(_weight(layer), dtype=torch.bool)


def _to_keep(names: list[str], masks: dict[str, Tensor], density: float) -> int:
    """How many weights stay, of some layers together."""
    size = sum(masks[name].numel() for name in names)
    left, keep = sum(int(masks[name].sum()) for name in names), round(density * size)
    if not keep:
        raise ValueError(f"prune_magnitude: at density {density} none of the {size} weights of {names[0]} stays")
    if left < keep:
        raise ValueError(
            f"prune_magnitude: of {', '.join(names)} {left} of {size} weights are left, fewer than {density} keeps"
        )
    return keep
