"""Per-token numbers of a policy on a batch of completions."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from entrokit.distributions import TokenStatistics


@dataclass(frozen=True)
class PolicyStats(TokenStatistics):
    """`TokenStatistics` of a policy on completions, every tensor ``[B, T]``; zeros outside real tokens."""

    @classmethod
    def of(cls, statistics: TokenStatistics) -> PolicyStats:
        """What `token_statistics` computed, as a policy's statistics."""
        return cls(**{f.name: getattr(statistics, f.name) for f in fields(statistics)})

    def require(self, name: str, who: str) -> Tensor:
        """The statistic ``name``, or a `ValueError` that says who needs it and how to get it."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise ValueError(
                f"{who} needs the statistic '{name}', which was not computed; an engine computes what "
                f"`Recipe.needs` lists, so compute it with token_statistics(..., need=recipe.needs) and hand it over "
                f"(policy_loss: {'entropy=' if name == 'entropy' else 'statistics='})"
            )
        return value

    def columns(self) -> dict[str, Tensor]:
        """The statistics that are present, by name."""
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}

    def detach(self) -> PolicyStats:
        return PolicyStats(**{name: value.detach() for name, value in self.columns().items()})

    def masked(self, mask: Tensor) -> PolicyStats:
        """Exact zeros where ``mask`` (bool [B, T]) is false, with no gradient there even if the value was NaN."""
        return PolicyStats(**{name: torch.where(mask, value, 0.0) for name, value in self.columns().items()})
