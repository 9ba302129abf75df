"""What tensors must be before anything is computed from them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["check_finite", "check_noising", "check_tensors"]


def check_tensors(**named: object) -> None:
    """Raises a TypeError that names the first argument that is no tensor."""
    for name, value in named.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, as torch.as_tensor makes; it is a {type(value).__name__}")


def check_finite(name: str, x: Tensor) -> None:
    """Raises a ValueError that says how many of the samples ``x`` ``[B, ...]`` hold NaN or infinity."""
    bad = ~torch.isfinite(x).reshape(len(x), -1).all(1) if len(x) else torch.zeros(0, dtype=torch.bool)
    if bool(bad.any()):
        raise ValueError(
            f"{name} is NaN or infinite in {int(bad.sum())} of {len(x)} samples, first in {int(bad.nonzero()[0, 0])}"
        )


def check_noising(sde: object, name: str = "sde") -> None:
    """Raises a TypeError unless ``sde`` has what a `Noising` has."""
    lacking = [of for of in ("alpha", "sigma", "drift", "squared_diffusion") if not callable(getattr(sde, of, None))]
    if isinstance(sde, type) or lacking:
        kind = f"the class {sde.__name__} itself" if isinstance(sde, type) else f"a {type(sde).__name__}"
        hint = ": feynman_kac.scheduler_noising makes one of it" if hasattr(sde, "timesteps") else ""
        raise TypeError(f"{name} must be a process of noising, such as VariancePreserving(); it is {kind}{hint}")
