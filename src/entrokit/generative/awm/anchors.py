"""What a loss can tell of its models: which of them moves, and which stand still."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["check_apart", "check_trained"]


def check_apart(model: object, other: object, name: str) -> None:
    """Raises a ValueError for an anchor that moves with the model: its pull is 0 at every step."""
    shared = other is model
    if isinstance(model, nn.Module) and isinstance(other, nn.Module):
        held = {id(parameter) for parameter in other.parameters()}
        shared = shared or any(p.requires_grad and id(p) in held for p in model.parameters())
    if shared:
        raise ValueError(
            f"{name} is the model itself, or shares parameters that it trains, and would pull nowhere: take "
            "copy.deepcopy(model).requires_grad_(False) before training. A model with its adapters switched off is "
            "handed over as a function"
        )


def check_trained(velocity: Tensor, model: object, *others: object) -> None:
    """Raises a ValueError where nothing is trained and a module shows that something was meant to be."""
    if velocity.requires_grad or not torch.is_grad_enabled():
        return
    frozen = isinstance(model, nn.Module) and any(True for _ in model.parameters())
    trainable = any(isinstance(of, nn.Module) and any(p.requires_grad for p in of.parameters()) for of in others)
    if frozen or trainable:
        raise ValueError(
            "the model's velocity has no gradient: it is frozen, or the model and ref_model are swapped (the model "
            "comes first). For numbers alone call under torch.no_grad()"
        )
