"""What the cross-entropy method asks of a family of samplers, and of the user's function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

import torch
from torch import Tensor


class Sampler(Protocol):
    """One law of a parametric family. Events have any shape ``[*E]``, a single number's being ``[]``."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` independent draws, ``[n, *E]``."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density or log-mass of ``x`` ``[n, *E]``: ``[n]`` nats."""
        ...

    def fit(self, x: Tensor, log_weights: Tensor, smoothing: float = 1.0) -> Self:
        """The law of the family that maximises ``Σ exp(log_weights) log_prob(x)``, mixed with this one.

        Args:
            x: ``[n, *E]``. log_weights: ``[n]`` nats, up to a common constant; -inf leaves a draw out. At least one is
                finite.
            smoothing: how far to go there in the family's parameters: 1 all the way, 0 nowhere.
        """
        ...


class EmptyEliteError(RuntimeError):
    """No draw is left to refit the sampler to."""


def normalised(log_weights: Tensor) -> Tensor:
    """Weights ``[n]`` that sum to 1.

    Raises:
        EmptyEliteError: all are -inf. ValueError: a weight of NaN or +inf.
    """
    if bool((log_weights.isnan() | (log_weights == torch.inf)).any()):
        raise ValueError("log_weights are NaN or +inf: a log_prob of the sampler is, or of the law it is compared with")
    if bool((log_weights == -torch.inf).all()):
        raise EmptyEliteError("no draw has a weight: every log_weight is -inf")
    return torch.softmax(log_weights, 0)


def weighted_mean(x: Tensor, weights: Tensor) -> Tensor:
    """``Σ w x`` over draws ``[n, *E]``: ``[*E]``."""
    mean: Tensor = torch.tensordot(weights.to(x.dtype), x, dims=1)
    return mean


def evaluate(name: str, function: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """What a user's function gives for draws ``x`` ``[n, *E]``: ``[n]``, without a gradient.

    It may be a tensor, an array or a list; a list's numbers are float64.

    Raises:
        ValueError: another shape, or NaN; says for which draw.
    """
    # A copy, for a function that works in place must not change what was drawn.
    given = function(x.clone())
    dtype = None if hasattr(given, "dtype") else torch.float64
    values = torch.as_tensor(given, dtype=dtype, device=x.device).detach()
    if values.shape != (len(x),):
        raise ValueError(
            f"{name} takes all {len(x)} draws at once, {list(x.shape)}, and returns one number each, [{len(x)}]; "
            f"it returned {list(values.shape)}"
        )
    if bool(values.isnan().any()):
        first = int(values.isnan().nonzero()[0, 0])
        raise ValueError(
            f"{name} is NaN in {int(values.isnan().sum())} of {len(x)} draws, first at {x[first].tolist()}"
        )
    return values


def check_sampler(name: str, value: Any) -> None:
    """Raises a TypeError unless ``value`` has the three methods of a `Sampler`."""
    missing = [method for method in ("sample", "log_prob", "fit") if not callable(getattr(value, method, None))]
    if missing or isinstance(value, type):
        raise TypeError(
            f"{name} must be a sampler, with methods sample, log_prob and fit, such as Exponential(1.0); "
            f"{value!r} " + (f"has no {' and no '.join(missing)}" if missing else "is a class, and no law of it")
        )


def check_function(name: str, value: Any) -> None:
    """Raises a TypeError unless ``value`` can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function of draws [n, ...], got {value!r}")


def parameter(name: str, value: Any) -> Tensor:
    """A parameter as a floating tensor, float64 where it was given as Python's numbers or numpy's.

    Raises:
        TypeError: no numbers, or lists of unequal lengths. ValueError: NaN or infinity in it.
    """
    try:
        given = value.detach() if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be numbers of a regular shape, got {value!r}") from None
    given = given if given.is_floating_point() else given.double()
    if not bool(given.isfinite().all()):
        raise ValueError(f"{name} must be finite, got {value}")
    return given


def mixed(old: Tensor, new: Tensor, smoothing: float) -> Tensor:
    """``smoothing · new + (1 - smoothing) · old``."""
    return smoothing * new + (1.0 - smoothing) * old
