"""Clip_B and Clip_V: leave out the few tokens whose update would shrink entropy most.

On the Entropy Dynamics in Reinforcement Fine-Tuning of Large Language Models (arXiv 2602.03392). With p the probability
of the sampled token and H the entropy at its position, in nats,

    S = p (H + log p),        N = Σ_i p_i² (H + log p_i) = H Σ p² + Σ p² log p

an update that moves the logits by α (e - p) changes entropy by -α (S - N) + O(α²) (Theorem 3.3).

- Clip_B: with m and σ of S over the batch's tokens, drop a token if ``A < 0`` and ``S - m < -mu σ``.
- Clip_V: with D = N - S and σ its standard deviation, drop it if ``A < 0`` and ``D > mu σ`` (not centred: the
  expectation of D is 0); at most the share ``max_frac`` of the batch, those with the largest D.

Dropped tokens leave the mask and so the denominator. Choices are made once, by the policy that sampled.

Departures from the official code: the trainer's own log-probabilities serve both rules; in Clip_V tokens with A = 0
(which have no gradient, but would use up the share and leave the denominator) are no candidates (``legacy=True`` makes
them so). ``side="positive"`` and ``"both"`` mirror the rules to A > 0; the theory is symmetric, the code is not.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from entrokit.distributions import token_statistics

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import SCOPES, ScopedIntervention, Weighting
from ..knobs import check_bool, check_choice, check_range
from ..rollouts import Rollouts
from ..stats import PolicyStats
from ..surrogates import Clip
from ..update import Update

__all__ = ["ClipB", "ClipV", "entropy_discriminator", "predicted_entropy_change"]

SIDES = ("negative", "positive", "both")
_NO_SPREAD = 1e-12


def entropy_discriminator(log_prob: Tensor, entropy: Tensor) -> Tensor:
    """S = p (H + log p), detached, same shape; positive where the sampled token is likelier than ``e^-H``."""
    log_prob = log_prob.detach().clamp(min=-100.0)
    return log_prob.exp() * (entropy.detach() + log_prob)


def expected_discriminator(entropy: Tensor, collision: Tensor, weighted_surprise: Tensor) -> Tensor:
    """N, the mean of S over the policy's own tokens, detached; from statistics that `token_statistics` computes."""
    return (entropy * collision + weighted_surprise).detach()


def predicted_entropy_change(logits: Tensor, tokens: Tensor, alpha: Tensor | float) -> Tensor:
    """``-α (S - N)``: first-order change of entropy when logits move by ``α (e_token - p)``.

    Args:
        logits: ``[..., V]``. tokens: ``[...]``. alpha: learning rate × ratio × advantage, broadcasts to ``[...]``.

    Returns:
        ``[...]``, nats.
    """
    stats = PolicyStats.of(token_statistics(logits, tokens, need={"entropy", "collision", "weighted_surprise"}))
    return -alpha * (_discriminator(stats) - _expected(stats))


def clip_b_mask(
    S: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    mu: float = 2.5,
    side: str = "negative",
    context: Context | None = None,
) -> Tensor:
    """Tokens that Clip_B keeps, bool ``[B, T]``, a subset of the mask.

    Args:
        S, advantages: ``[B, T]``. mask: ``[B, T]`` bool. side: which signs of the advantage are clipped.
        context: its collectives make mean and standard deviation span all ranks.

    A batch whose S all agree (σ < 1e-12) keeps everything.
    """
    mean, std = _moments(S, mask, context or Context())
    dropped = _low(S - mean, advantages, mu * std, side) & (std >= _NO_SPREAD)
    return mask & ~dropped


def clip_v_mask(
    S: Tensor,
    N: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    mu: float = 8.5,
    max_frac: float = 1e-4,
    side: str = "negative",
    legacy: bool = False,
    context: Context | None = None,
) -> Tensor:
    """Tokens that Clip_V keeps, bool ``[B, T]``, a subset of the mask. Arguments as `clip_b_mask`.

    Args:
        N: ``[B, T]``, `expected_discriminator`.
        max_frac: largest share of the batch's tokens to drop, but never fewer than one token.
        legacy: tokens with advantage 0 are candidates too, as in the official code.
    """
    context = context or Context()
    _, std = _moments(S - N, mask, context)
    dropped = _low(S - N, advantages, mu * std, side) & mask
    idle = torch.zeros_like(mask)
    if legacy:
        idle = mask & (advantages == 0) & (mu * std < N - S)
    count, candidates = context.reduce(torch.stack([mask.sum(), (dropped | idle).sum()])).tolist()
    if candidates <= max_frac * count:
        return mask & ~dropped & ~idle
    sizes, own = context.gathered_with_own_part((S - N).abs()[dropped])
    largest = torch.zeros(len(sizes), dtype=torch.bool, device=mask.device)
    largest[sizes.topk(min(max(int(max_frac * count), 1), len(sizes))).indices] = True
    capped = torch.zeros_like(mask)
    capped[dropped] = largest[own]
    return mask & ~capped


def _low(deviation: Tensor, advantages: Tensor, threshold: Tensor, side: str) -> Tensor:
    """Where an update would shrink entropy by more than a threshold."""
    if side not in SIDES:
        raise ValueError(f"entropy discriminator: unknown side {side!r}; valid names are {list(SIDES)}")
    unlikely = (advantages < 0) & (deviation < -threshold)
    likely = (advantages > 0) & (deviation > threshold)
    return {"negative": unlikely, "positive": likely, "both": unlikely | likely}[side]


def _moments(x: Tensor, mask: Tensor, context: Context) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation over masked tokens of all ranks, 0-dim."""
    x = torch.where(mask, x, 0.0)
    total, count = context.reduce(torch.stack([x.sum(), mask.sum().to(x.dtype)]))
    count = count.clamp(min=1)
    mean = total / count
    variance = context.reduce(torch.where(mask, x - mean, 0.0).square().sum()) / count
    return mean, variance.sqrt()


def _discriminator(stats: PolicyStats) -> Tensor:
    return entropy_discriminator(stats.logp, stats.require("entropy", "entropy discriminator"))


def _expected(stats: PolicyStats) -> Tensor:
    names = ("entropy", "collision", "weighted_surprise")
    return expected_discriminator(*(stats.require(name, "clip-v") for name in names))


_UNDER_TINKER = "use clip-cov or kl-cov, which ask for log-probabilities alone, or this one under TRL"


class _Discriminating(ScopedIntervention):
    """Keeps chosen by the behaviour policy once per scope, or by the current one in every micro-batch."""

    @abstractmethod
    def _keep(self, stats: PolicyStats, advantages: Tensor, mask: Tensor, context: Context) -> Tensor:
        """The tokens that stay, ``[B, T]`` bool."""

    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        return {"keep": self._keep(rollouts.behaviour, advantages, rollouts.trained, context)}

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        if self.scope == "micro":
            keep = self._keep(update.current, update.advantages, update.trained, Context())
        else:
            keep = prepared["keep"]
        return Weighting(keep=keep, metrics={"dropped_fraction": update.mean((update.trained & ~keep).float())})


@dataclass
class ClipB(_Discriminating):
    """Clip_B. Knobs: `mu` (μ), `side`, `scope` (of mean and standard deviation: generation, step or micro)."""

    name: ClassVar[str] = "clip-b"
    card: ClassVar[Card] = Card(
        "2602.03392",
        examples=("grpo+clip-b(mu=0.2, side='both')", "dapo+clip-b(mu=0.2)"),
        benches=OnBenches(tuned="mu=0.5"),
        instead={"tinker": _UNDER_TINKER},
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    mu: float = 2.5
    side: str = "negative"
    scope: str = "generation"

    def __post_init__(self) -> None:
        check_range(self, "mu", 0.0)
        check_choice(self, "side", SIDES)
        check_choice(self, "scope", SCOPES)

    def _keep(self, stats: PolicyStats, advantages: Tensor, mask: Tensor, context: Context) -> Tensor:
        return clip_b_mask(_discriminator(stats), advantages, mask, mu=self.mu, side=self.side, context=context)


@dataclass
class ClipV(_Discriminating):
    """Clip_V. Knobs: `mu` (μ), `max_frac`, `side`, `legacy` (A = 0 counts), `scope` (of σ and the share)."""

    name: ClassVar[str] = "clip-v"
    card: ClassVar[Card] = Card(
        "2602.03392",
        examples=("dapo+clip-v(mu=0.2, max_frac=0.2)", "dapo+clip-v(mu=0.1, max_frac=1.0, side='both', legacy=True)"),
        benches=OnBenches(tuned="mu=0.5, max_frac=1.0"),
        instead={"verl": "use clip-b, its form for sampled tokens", "tinker": _UNDER_TINKER},
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy", "collision", "weighted_surprise"})
    mu: float = 8.5
    max_frac: float = 1e-4
    side: str = "negative"
    legacy: bool = False
    scope: str = "generation"

    def __post_init__(self) -> None:
        check_range(self, "mu", 0.0)
        check_range(self, "max_frac", 0.0, 1.0)
        check_choice(self, "side", SIDES)
        check_bool(self, "legacy")
        check_choice(self, "scope", SCOPES)

    def _keep(self, stats: PolicyStats, advantages: Tensor, mask: Tensor, context: Context) -> Tensor:
        return clip_v_mask(
            _discriminator(stats),
            _expected(stats),
            advantages,
            mask,
            mu=self.mu,
            max_frac=self.max_frac,
            side=self.side,
            legacy=self.legacy,
            context=context,
        )
