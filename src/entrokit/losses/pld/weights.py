"""How much each place of a ranking counts, where it is not the teacher's probability of the class there."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_tensor

NAMED = ("uniform", "plistmle")


def place_weights(weights: str | Tensor, shape: torch.Size, device: torch.device) -> Tensor:
    """α of the places, ``[C]`` or ``[positions, C]`` float64.

    ``uniform`` is 1/C (ListMLE over C), ``plistmle`` (2^(C-k) - 1) normalised to a sum of 1 (position-aware ListMLE);
    a tensor ``[C]`` or of the logits' shape is taken as it is.

    Args:
        shape: of the logits, ``[..., C]``.

    Raises:
        TypeError, ValueError: as `check_weights`; a tensor of another shape.
    """
    check_weights(weights)
    classes = shape[-1]
    if isinstance(weights, str):
        if weights == "uniform":
            return torch.full((classes,), 1.0 / classes, dtype=torch.float64, device=device)
        return _position_aware(classes, device)
    if weights.shape not in ((classes,), shape):
        raise ValueError(f"weights: expected shape [{classes}] or {list(shape)}, got {list(weights.shape)}")
    given = weights.detach().to(device, torch.float64)
    return given if given.dim() == 1 else given.reshape(-1, classes)


def check_weights(weights: str | Tensor) -> None:
    """What can be said of weights before there are logits.

    Raises:
        TypeError: neither a name nor a tensor of real numbers.
        ValueError: another name, a negative number or one that is not finite.
    """
    if isinstance(weights, str):
        if weights not in NAMED:
            raise ValueError(f"weights: is None, one of {', '.join(NAMED)}, or a tensor; got {weights!r}")
        return
    check_tensor("weights", weights)
    if weights.dtype.is_complex:
        raise TypeError(f"weights: expected real numbers, got {weights.dtype}")
    bad = ~((weights >= 0) & torch.isfinite(weights))
    if bool(bad.any()):
        first = bad.nonzero()[0].tolist()
        raise ValueError(f"weights: must be finite and >= 0, got {float(weights[tuple(first)])} at {first}")


def _position_aware(classes: int, device: torch.device) -> Tensor:
    # All over 2^(C-1): 2^(C-k) overflows from C = 1025 on.
    k = torch.arange(1, classes + 1, dtype=torch.float64, device=device)
    falling = torch.exp2(1.0 - k) - 2.0 ** (1 - classes)
    return falling / falling.sum().clamp(min=torch.finfo(torch.float64).tiny)
