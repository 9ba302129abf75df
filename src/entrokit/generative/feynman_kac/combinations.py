"""Which law is wanted: exponents of the models, and a reward."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["RewardTilt", "anneal", "cfg", "product", "reward_tilt"]


def anneal(beta: float) -> tuple[float]:
    """``q ** beta``: one model at a temperature of ``1 / beta``.

    Raises:
        ValueError: beta is not finite and above 0, or changes with time: its weights then need ``log q``, which a score
            does not give.
    """
    return (_exponent(beta),)


def product(n: int, beta: float = 1.0) -> tuple[float, ...]:
    """``(q_1 ... q_n) ** beta``, of n models. Raises as `anneal` does, and for n below 1."""
    if n < 1:
        raise ValueError(f"a product is of n >= 1 models; n is {n}")
    return (_exponent(beta),) * n


def cfg(beta: float) -> tuple[float, float]:
    """``q_uncond ** (1 - beta) * q_cond ** beta``: guidance of scale ``beta``, the unconditional model first.

    Raises:
        ValueError: beta is not a finite number.
    """
    if callable(beta) or not math.isfinite(beta):
        raise ValueError(f"the guidance scale must be a finite number; it is {beta!r}")
    return (1.0 - float(beta), float(beta))


@dataclass(frozen=True)
class RewardTilt:
    """``exp(strength(t) * reward(x))`` as a factor of the law.

    Attributes:
        reward: particles ``[K, *]`` to ``[K]``, differentiable.
        strength: of the time t, from 1 (noise) to 0 (data), in units of 1 / reward.
    """

    reward: Callable[[Tensor], Tensor]
    strength: Callable[[float], float]

    def strength_at(self, t: float) -> float:
        """``strength(t)`` as a number.

        Raises:
            ValueError: it is NaN or infinite.
        """
        found = float(self.strength(t))
        if not math.isfinite(found):
            raise ValueError(f"the strength of a reward must be finite; at t = {t:.4g} it is {found}")
        return found

    def at(self, x: Tensor, when: str) -> tuple[Tensor, Tensor]:
        """The reward ``[K]`` and its gradient ``[K, *]``, both detached; ``when`` is for errors.

        Raises:
            TypeError: a reward that is no tensor.
            ValueError: a reward of another shape than ``[K]``, that does not depend on the particles, or that is NaN or
                infinite, or has such a gradient.
        """
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            value = self.reward(leaf)
            if not isinstance(value, Tensor):
                raise TypeError(f"{when}: a reward is a tensor [{len(x)}]; it is a {type(value).__name__}")
            if value.shape != x.shape[:1]:
                raise ValueError(f"{when}: a reward is [{len(x)}], one a particle; its shape is {list(value.shape)}")
            gradient = None
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True)
        if gradient is None:
            raise ValueError(
                f"{when}: the reward has no gradient in the particles; it must be made of them by functions of torch "
                f"that can be differentiated, without .detach(), .item() or torch.no_grad"
            )
        check_particles(value, f"{when}: the reward is")
        check_particles(gradient, f"{when}: the reward's gradient is")
        return value.detach(), gradient


def reward_tilt(r: Callable[[Tensor], Tensor], schedule: Callable[[float], float] | float) -> RewardTilt:
    """``q * exp(schedule(t) * r(x))``; a number rises in a straight line from 0 at t = 1 to itself at t = 0.

    Raises:
        ValueError: a number that is not finite.
    """
    if callable(schedule):
        return RewardTilt(r, schedule)
    if not math.isfinite(schedule):
        raise ValueError(f"the strength of a reward must be finite; it is {schedule}")
    end = float(schedule)
    return RewardTilt(r, lambda t: end * (1 - t))


def check_particles(values: Tensor, what: str) -> None:
    """Raises: ValueError: some of ``[K, *]`` is NaN or infinite; how many particles, and the first."""
    wrong = ~values.isfinite().reshape(len(values), -1).all(1)
    count = int(wrong.sum())
    if count:
        first = int(wrong.nonzero()[0])
        raise ValueError(f"{what} NaN or infinite at {count} of {len(values)} particles, the first of them {first}")


def _exponent(beta: float) -> float:
    if callable(beta):
        raise ValueError("an exponent that changes with time needs log q for its weights: take a constant one")
    if not 0 < beta < math.inf:
        raise ValueError(f"an exponent must be finite and above 0; it is {beta}")
    return float(beta)
