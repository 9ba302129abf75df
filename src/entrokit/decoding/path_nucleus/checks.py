"""What is taken for a number, a tensor, a generator and token ids, and what is refused by name."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor


def check_number(value: Any, what: str) -> None:
    """Raises a TypeError unless ``value`` is a real number, a ValueError where it is not finite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{what} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{what} must be finite, got {value!r}")


def check_mass(p: Any, what: str) -> None:
    """Raises a TypeError or a ValueError unless ``p`` is a number in (0, 1]."""
    check_number(p, what)
    if not 0.0 < p <= 1.0:
        raise ValueError(f"{what} must lie in (0, 1], got {p!r}")


def check_count(value: Any, what: str) -> None:
    """Raises a TypeError unless ``value`` is a whole number, a ValueError where it is below 1."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be a whole number, got {value!r}")
    if operator.index(value) < 1:
        raise ValueError(f"{what} must be at least 1, got {value!r}")


def check_tensor(value: Any, what: str) -> None:
    """Raises a TypeError unless ``value`` is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{what} must be a tensor, got {type(value).__name__}; torch.as_tensor makes one")


def check_generator(generator: Any) -> None:
    """Raises a TypeError unless ``generator`` is one of PyTorch's, or None."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            "generator must be a torch.Generator, as torch.Generator().manual_seed(0) is, or None; "
            f"got {type(generator).__name__}"
        )


def token_ids(value: Any, what: str) -> list[int]:
    """One token or several.

    Raises:
        TypeError: what is none.
    """
    try:
        return [operator.index(each) for each in ([value] if np.ndim(value) == 0 else value)]
    except TypeError:
        raise TypeError(f"{what} must be a token id, or a sequence of them, got {value!r}") from None


def next_logits(found: Any, paths: int, what: str) -> Tensor:
    """Next-token logits ``[paths, V]`` on the CPU, out of what a user's function returned: a tensor or an array.

    Raises:
        TypeError: no real numbers. ValueError: another shape.
    """
    if isinstance(found, Tensor):
        given = found.cpu()
        real = not given.is_complex() and given.dtype != torch.bool
    else:
        array = np.asarray(found)
        real = array.dtype.kind in "iuf"
        # A copy, in C order and in this machine's bytes, for torch takes nothing else.
        given = torch.from_numpy(array.astype(np.float64, order="C")) if real else torch.empty(0)
    if not real:
        got = str(found.dtype) if isinstance(found, Tensor | np.ndarray) else type(found).__name__
        raise TypeError(f"{what} must return next-token logits [{paths}, V], a tensor or array of reals; it gave {got}")
    if given.ndim != 2 or len(given) != paths or given.shape[1] == 0:
        raise ValueError(
            f"{what} was given {paths} paths and returns logits [{paths}, V]; it returned {list(given.shape)}"
        )
    return given
