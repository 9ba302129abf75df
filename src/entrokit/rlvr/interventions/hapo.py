"""HAPO: the entropy of a token steers sampling, advantage, redistribution and clipping; each part usable alone.

From Uniform to Heterogeneous: Tailoring Policy Optimization to Every Token's Nature (arXiv 2509.16591). ĥ in [-1, 1] is
the normalised log-entropy of `entrokit.decoding.adaptive_temperature.EntropyScale`, here of the behaviour policy over
the scope's tokens.

- adaptive temperature (ATS): sample at ``T (1 + tau ĥ)``, by the scale of the batch before;
- token-level group average (TLGA): ``A = (R - μ) / (σ + 1e-6)`` with μ and population σ over the group's *tokens*; a
  group where some |A| >= 5 takes GRPO's advantages;
- asymmetric adaptive clipping (AAC): ``ε_low (1 - alpha ĥ)`` where ĥ <= 0, ``ε_high (1 + alpha ĥ)`` where ĥ > 0;
- differential advantage redistribution (DAR), after it: ``A (1 + beta ĥ)`` where ĥ > 0 and the ratio lies outside the
  neutral band ``(1 - ε_low/2, 1 + ε_high/2)``, or where ĥ <= 0 and it lies inside.

Departures from the official code: its ĥ loses the sign of certain tokens, against the paper's text and figure
(``legacy_sign=True``); ĥ spans the generation batch (``scope="micro"``: each micro-batch, by the current entropies).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from entrokit.decoding.adaptive_temperature import EntropyScale, EntropyTemperature, entropy_scale
from entrokit.groups import as_float, group_moments, group_sum

from ..advantages import grpo_advantages
from ..card import Card, OnBenches, Preset
from ..context import Context
from ..intervention import SCOPES, Intervention, LogitsProcessor, ScopedIntervention, Weighting
from ..knobs import check_bool, check_choice, check_range
from ..rollouts import Rollouts
from ..surrogates import Clip, PPOClip, Surrogate, clipped_loss, outside
from ..update import Update

__all__ = ["HAPO", "AdaptiveClip", "AdaptiveTemperature", "RedistributeAdvantage", "TokenGroupAverage"]

_STD_EPS = 1e-6


def normalized_log_entropy(
    entropy: Tensor,
    mask: Tensor,
    *,
    pivot: float = 0.8,
    floor: float = 1e-8,
    legacy_sign: bool = False,
    scale: EntropyScale | None = None,
    context: Context | None = None,
) -> tuple[Tensor, EntropyScale]:
    """ĥ of every token, and the scale it was measured by.

    Args:
        entropy: ``[B, T]`` nats. mask: ``[B, T]`` bool. scale: of another batch, instead of this one's.
        context: its collectives make the scale span all ranks.

    Returns:
        ``[B, T]`` in [-1, 1], zeros outside the mask.
    """
    if scale is None:
        values, _ = (context or Context()).gathered_with_own_part(entropy.detach()[mask])
        scale = entropy_scale(values, pivot=pivot, floor=floor)
    h = scale.normalise(entropy, floor=floor, legacy_sign=legacy_sign)
    return torch.where(mask, h, 0.0), scale


def token_group_advantages(
    rewards: Tensor, group_ids: Tensor, mask: Tensor, *, fallback: float = 5.0, context: Context | None = None
) -> Tensor:
    """TLGA advantages ``[B, T]``: they sum to 0 over the tokens of every group. Zeros outside the mask.

    Args:
        rewards: ``[B]``, NaN counts nowhere. group_ids: ``[B]``. mask: ``[B, T]`` bool.
        fallback: a group in which some token's \\|A\\| reaches it takes `grpo_advantages`.
    """
    context = context or Context()
    reward, own = context.gathered_with_own_part(as_float(rewards))
    group, tokens = context.gather(group_ids), context.gather(mask.sum(1))
    of_group = group_moments(reward, group, weight=tokens, ddof=0)
    advantage = (of_group.centred / (of_group.std + _STD_EPS)).to(reward.dtype)
    extreme = (advantage.abs() >= fallback).to(reward.dtype)
    falls_back = group_sum(extreme, group) > 0
    advantage = torch.where(falls_back, grpo_advantages(reward, group), advantage)
    return torch.where(mask, advantage[own][:, None], 0.0)


def adaptive_clip(h_hat: Tensor, low: float = 0.2, high: float = 0.2, alpha: float = 1.0) -> tuple[Tensor, Tensor]:
    """AAC's bounds (ε_low, ε_high) of every token, same shape as ``h_hat``."""
    return low * (1.0 - alpha * h_hat.clamp(max=0.0)), high * (1.0 + alpha * h_hat.clamp(min=0.0))


def redistribution_weights(
    h_hat: Tensor, ratio: Tensor, low: Tensor | float, high: Tensor | float, beta: float = 1.0
) -> Tensor:
    """What DAR multiplies the advantages by, ``[B, T]`` in [1 - beta, 1 + beta], detached."""
    ratio = ratio.detach()
    inside = (ratio > 1.0 - low / 2) & (ratio < 1.0 + high / 2)
    return torch.where((h_hat > 0) ^ inside, 1.0 + beta * h_hat, 1.0)


class _Heterogeneous(ScopedIntervention):
    """What needs ĥ: prepared once per scope by the behaviour policy, or in every micro-batch by the current one."""

    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    pivot: float
    floor: float
    legacy_sign: bool

    def __post_init__(self) -> None:
        check_range(self, "pivot", 0.0, 1.0)
        check_range(self, "floor", 0.0, above=True)
        check_bool(self, "legacy_sign")
        check_choice(self, "scope", SCOPES)

    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        return {"h": self._normalised(rollouts.behaviour.require("entropy", self.name), rollouts.trained, context)}

    def h(self, update: Update) -> Tensor:
        """ĥ of these tokens, ``[B, T]``."""
        if self.scope == "micro":
            return self._normalised(update.current.require("entropy", self.name), update.trained, Context())
        return update.prepared[f"{self.name}/h"]

    def _normalised(self, entropy: Tensor, mask: Tensor, context: Context) -> Tensor:
        options: dict[str, Any] = {"pivot": self.pivot, "floor": self.floor, "legacy_sign": self.legacy_sign}
        return normalized_log_entropy(entropy, mask, context=context, **options)[0]


@dataclass
class AdaptiveClip(_Heterogeneous):
    """HAPO's asymmetric adaptive clipping of the base's PPO clip. Knobs: `alpha` (α), `pivot` (q), `floor` (nats),
    `legacy_sign`, `scope` (of ĥ).
    """

    name: ClassVar[str] = "adaptive-clip"
    card: ClassVar[Card] = Card(
        "2509.16591",
        examples=("grpo+adaptive-clip(pivot=0.5)", "dapo+adaptive-clip(pivot=0.5, legacy_sign=True)"),
        benches=OnBenches(tuned="alpha=2.0"),
        instead={
            "tinker": "use token-group-average, the part of hapo without entropies, or this one under TRL or verl"
        },
    )
    alpha: float = 1.0
    pivot: float = 0.8
    floor: float = 1e-8
    legacy_sign: bool = False
    scope: str = "generation"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "alpha", 0.0)

    def refuse(self, surrogate: Surrogate) -> str | None:
        if not isinstance(surrogate, PPOClip):
            return f"adaptive-clip moves the bounds of a PPO clip, and the base's surrogate is {surrogate.name}"
        if surrogate.clip_low * (1.0 + self.alpha) >= 1.0:
            return (
                f"adaptive-clip(alpha={self.alpha}) would widen clip_low={surrogate.clip_low} to "
                f"{surrogate.clip_low * (1.0 + self.alpha):g}; it must stay below 1"
            )
        return None

    def surrogate(self, surrogate: Surrogate) -> Surrogate:
        return _AdaptivePPOClip(surrogate, self) if isinstance(surrogate, PPOClip) else surrogate


@dataclass(frozen=True)
class _AdaptivePPOClip:
    """A PPO clip whose bounds follow ĥ."""

    name: ClassVar[str] = "PPO clip, adaptive"
    clip_of_base: PPOClip
    owner: AdaptiveClip

    @property
    def separable(self) -> bool:
        return self.owner.separable

    def loss(self, update: Update) -> Tensor:
        return clipped_loss(update.ratio, update.advantages, *self._bounds(update), self.clip_of_base.dual_clip)

    def clip(self, update: Update) -> Clip:
        low, high = self._bounds(update)
        return Clip(outside(update.ratio, update.advantages, low, high), low, high)

    def _bounds(self, update: Update) -> tuple[Tensor, Tensor]:
        h = self.owner.h(update)
        return adaptive_clip(h, self.clip_of_base.clip_low, self.clip_of_base.clip_high, self.owner.alpha)


@dataclass
class RedistributeAdvantage(_Heterogeneous):
    """HAPO's differential advantage redistribution, by the bounds of the clip in force. Knobs: `beta` (β), `pivot` (q),
    `floor` (nats), `legacy_sign`, `scope` (of ĥ).
    """

    name: ClassVar[str] = "redistribute-advantage"
    card: ClassVar[Card] = Card(
        "2509.16591",
        examples=("dapo+redistribute-advantage(pivot=0.5)",),
        benches=OnBenches(),
        instead={
            "tinker": "use token-group-average, the part of hapo without entropies, or this one under TRL or verl"
        },
    )
    beta: float = 1.0
    pivot: float = 0.8
    floor: float = 1e-8
    legacy_sign: bool = False
    scope: str = "generation"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "beta", 0.0, 1.0)

    def refuse(self, surrogate: Surrogate) -> str | None:
        if isinstance(surrogate, PPOClip | _AdaptivePPOClip):
            return None
        return f"redistribute-advantage needs the bounds of a PPO clip, and the surrogate is {surrogate.name}"

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        assert clip.low is not None
        assert clip.high is not None
        # The loss is linear in positive multiples of the advantage, so a weight on it is a weight on the advantage.
        weight = redistribution_weights(self.h(update), update.ratio, clip.low, clip.high, self.beta)
        return Weighting(weight=weight, metrics={"weight_mean": update.mean(weight)})


@dataclass
class TokenGroupAverage(Intervention):
    """HAPO's token-level group average, instead of the base's advantages. Knob: `fallback`."""

    name: ClassVar[str] = "token-group-average"
    card: ClassVar[Card] = Card(
        "2509.16591",
        examples=("grpo+token-group-average",),
        benches=OnBenches(),
    )
    replaces: ClassVar[str | None] = "advantage"
    fallback: float = 5.0

    def __post_init__(self) -> None:
        check_range(self, "fallback", 0.0, above=True)

    @property
    def separable(self) -> bool:
        return True

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        return token_group_advantages(
            rollouts.reward, rollouts.group, rollouts.trained, fallback=self.fallback, context=context
        )


@dataclass
class AdaptiveTemperature(Intervention):
    """HAPO's adaptive temperature sampling, by the scale of the training batch before; the first batch is sampled as
    usual. Log-probabilities in training stay at the plain temperature, as in the paper. Knobs: `tau` (τ), `pivot` (q),
    `floor` (nats), `legacy_sign`.
    """

    name: ClassVar[str] = "adaptive-temperature"
    card: ClassVar[Card] = Card(
        "2509.16591",
        examples=("grpo+adaptive-temperature",),
        benches=OnBenches(tuned="tau=0.2", impossible_on={"tabular": "acts while a language model samples"}),
        instead={"tinker": "drop it, or use it under TRL with transformers' own generate"},
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    tau: float = 0.05
    pivot: float = 0.8
    floor: float = 1e-8
    legacy_sign: bool = False
    last: tuple[float, float, float] | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        check_range(self, "tau", 0.0, 0.99)
        check_range(self, "pivot", 0.0, 1.0)
        check_range(self, "floor", 0.0, above=True)
        check_bool(self, "legacy_sign")

    @property
    def separable(self) -> bool:
        return True

    def decode(self) -> LogitsProcessor | None:
        if self.last is None:
            return None
        scale = EntropyScale(*(torch.tensor(x) for x in self.last))
        return EntropyTemperature(scale, self.tau, self.legacy_sign)

    def prepare(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        entropy = rollouts.behaviour.require("entropy", self.name)
        _, scale = normalized_log_entropy(
            entropy, rollouts.trained, pivot=self.pivot, floor=self.floor, context=context
        )
        return {"pivot": scale.pivot, "above": scale.above, "below": scale.below}

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        pivot, above, below = (metrics[f"{self.name}/{key}"] for key in ("pivot", "above", "below"))
        # Entropies that are all alike have no spread to measure others by.
        if above > 0 and below > 0:
            self.last = (pivot, above, below)

    def state_dict(self) -> dict[str, Any]:
        return {"last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        last = state["last"]
        self.last = None if last is None else (float(last[0]), float(last[1]), float(last[2]))


HAPO = Preset(
    "hapo",
    "dapo(clip_high=0.2, dual_clip=10.0)+adaptive-temperature+token-group-average+adaptive-clip+redistribute-advantage",
    Card(
        "2509.16591",
        examples=("hapo",),
        benches=OnBenches(impossible_on={"tabular": "acts while a language model samples"}),
    ),
)
