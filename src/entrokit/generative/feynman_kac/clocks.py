"""Birth-death clocks: particles are replaced one by one as their time comes, instead of all at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from entrokit.groups import widest

from .resampling import look_up

__all__ = ["BirthDeathClocks"]


class BirthDeathClocks:
    """A clock a particle, ``[groups, K]``, that runs while the particle gains less than its group's mean.

    A particle dies once its clock has passed a threshold drawn from Exp(1), and becomes a copy of one drawn by how much
    more than the mean particles gained since the group's last replacement. Dying sets its clock to 0 and draws a new
    threshold.

    Args:
        groups, count: their number, and of particles in each.
        generator: of torch; also used by every `step`.

    Source: Feynman-Kac Correctors (arXiv 2503.02819), released code. There what particles gained is added up over all
    time, so that one may be copied for where it once was; here a group's gains are spent by a replacement.
    """

    def __init__(
        self, groups: int, count: int, generator: torch.Generator | None = None, device: torch.device | None = None
    ) -> None:
        self._generator = generator
        clock = torch.zeros(groups, count, device=device)
        self.clock = clock.to(widest(clock))
        self.gained = torch.zeros_like(self.clock)
        self.threshold = self._exponential()

    def step(self, increment: Tensor) -> Tensor:
        """What particles become, indices ``[groups, K]`` into the group, after increments ``[groups, K]`` in nats.

        Raises:
            ValueError: increments of another shape, or that are not finite.
        """
        if increment.shape != self.clock.shape or not bool(increment.isfinite().all()):
            raise ValueError(f"finite increments {list(self.clock.shape)} are expected; shape {list(increment.shape)}")
        wide = increment.to(self.clock.dtype)
        excess = wide - wide.mean(-1, keepdim=True)
        self.clock += (-excess).clamp_min(0)
        self.gained += excess.clamp_min(0)
        dead = (self.clock >= self.threshold) & (self.gained.sum(-1, keepdim=True) > 0)
        stay = torch.arange(self.clock.shape[-1], device=self.clock.device).expand_as(dead)
        if not bool(dead.any()):
            return stay
        places = torch.rand(dead.shape, dtype=wide.dtype, device=dead.device, generator=self._generator)
        indices = torch.where(dead, look_up(self.gained, places), stay)
        self.clock = torch.where(dead, 0.0, self.clock)
        self.threshold = torch.where(dead, self._exponential(), self.threshold)
        self.gained = torch.where(dead.any(-1, keepdim=True), 0.0, self.gained)
        return indices

    def state_dict(self) -> dict[str, Any]:
        """Clocks, gains and thresholds, as copies that later steps leave alone; not the generator's state."""
        return {name: getattr(self, name).clone() for name in ("clock", "gained", "threshold")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises: ValueError: a part is missing, or of another number of groups or particles."""
        missing = [name for name in self.state_dict() if name not in state]
        if missing:
            raise ValueError(f"a state of clocks has {', '.join(self.state_dict())}; there is no {', '.join(missing)}")
        for name in self.state_dict():
            if state[name].shape != self.clock.shape:
                raise ValueError(f"{name} has shape {list(state[name].shape)}; these clocks {list(self.clock.shape)}")
        for name in self.state_dict():
            setattr(self, name, state[name].to(self.clock, copy=True))

    def _exponential(self) -> Tensor:
        uniform = torch.rand(
            self.clock.shape, dtype=self.clock.dtype, device=self.clock.device, generator=self._generator
        )
        return -torch.log1p(-uniform)
