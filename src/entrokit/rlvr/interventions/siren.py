"""SIREN: the entropy that means something is pulled back to where it began.

Rethinking Entropy Regularization in Large Reasoning Models (arXiv 2509.25133). H^S is the entropy of a position's
nucleus (top-p set, renormalised); w marks the positions of a completion above its own quantile of H^S; then

    H̄ = mean over completions of (Σ w H^S / Σ w)           penalty = β (H̄ - anchor)²,  anchor = H̄ of the first batch

so entropy is raised below the anchor and lowered above it, never among meaningless tokens. The square belongs to the
optimiser step as a whole: its slope 2β (H̄ - anchor) is taken once per scope from the behaviour policy, and the
gradient of H̄ from the current one. ``scope="micro"`` squares every micro-batch, as the official code does, which also
punishes spread between them. The code's nucleus leaves out its last token (``inclusive=False``). A completion of which
nothing is trained on (truncated ones, say) is none that H̄ is a mean over; in the code it counts as entropy 0, and so
moves the anchor with the share of such rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from entrokit.distributions import nucleus_entropy, nucleus_statistic
from entrokit.groups import widest

from ..aggregation import Totals, aggregate
from ..card import Card, OnBenches
from ..context import Context
from ..intervention import SCOPES, Penalty, ScopedIntervention, Weighting
from ..knobs import check_bool, check_choice, check_range
from ..rollouts import Rollouts
from ..surrogates import Clip
from ..update import Update

__all__ = ["SelfAnchoredEntropyLoss", "Siren", "peak_entropy_mask"]

SELECTIONS = ("nucleus", "full")


def peak_entropy_mask(entropy: Tensor, mask: Tensor, quantile: float = 0.8) -> Tensor:
    """Tokens strictly above their row's quantile of entropy, ``[B, T]`` bool.

    Args:
        entropy: ``[B, T]``; entries outside ``mask`` are not read. mask: ``[B, T]`` bool.
        quantile: in [0, 1], with linear interpolation as `torch.quantile`.
    """
    # Two columns beyond all data: rows without tokens, and upper neighbours of the largest, point there.
    values = torch.nn.functional.pad(torch.where(mask, entropy.detach(), torch.inf), (0, 2), value=torch.inf)
    values = values.sort(1).values
    position = quantile * (mask.sum(1).to(widest(values)) - 1).clamp(min=0)
    lower = position.floor().long()
    share = (position - lower).to(values.dtype)
    at = values.gather(1, lower[:, None])[:, 0]
    above = values.gather(1, lower[:, None] + 1)[:, 0]
    threshold = torch.where(share > 0, at + share * (above - at), at)
    return mask & (entropy.detach() > threshold[:, None])


@dataclass
class Siren(ScopedIntervention):
    """SIREN. Knobs: `coef` (β), `top_p`, `quantile` (τ; None for every position), `inclusive`, `select` (positions by
    the nucleus's entropy or the full one), `anchored` (False: a plain bonus, penalty = -β H̄), `anchor` (nats; the first
    batch's by default), `scope`.
    """

    name: ClassVar[str] = "siren"
    card: ClassVar[Card] = Card(
        "2509.25133",
        examples=(
            "dr_grpo+siren(coef=0.5, quantile=0.5, anchor=0.3)",
            "dapo+siren(anchored=False)",
            "grpo+siren(anchored=False, scope='step')",
        ),
        benches=OnBenches(tuned="coef=1.0"),
        instead={
            "verl": "use entropy-bonus or tea, or siren under TRL",
            "tinker": "use clip-cov or kl-cov against a loss of entropy, or siren under TRL",
        },
    )
    coef: float = 0.005
    top_p: float = 0.8
    quantile: float | None = 0.8
    inclusive: bool = True
    select: str = "nucleus"
    anchored: bool = True
    anchor: float | None = None
    scope: str = "generation"
    found: float | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        check_range(self, "coef", 0.0)
        check_range(self, "top_p", 0.0, 1.0, above=True)
        check_range(self, "quantile", 0.0, 1.0, optional=True)
        check_range(self, "anchor", 0.0, optional=True)
        check_bool(self, "inclusive")
        check_bool(self, "anchored")
        check_choice(self, "select", SELECTIONS)
        check_choice(self, "scope", SCOPES)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"entropy", nucleus_statistic(self.top_p, inclusive=self.inclusive)})

    @property
    def separable(self) -> bool:
        # The quantile ties the tokens of a completion.
        return False

    def batch_wide(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> dict[str, Tensor]:
        stats = rollouts.behaviour
        nucleus, entropy = stats.require("nucleus_entropy", self.name), stats.require("entropy", self.name)
        keep = self._positions(nucleus, entropy, rollouts.trained)
        means = _row_means(nucleus, keep)
        sums = [means.sum(), rollouts.trained.any(1).sum(), torch.tensor(len(rollouts), device=means.device)]
        total, trained, rows = context.reduce(torch.stack([x.to(means.dtype) for x in sums]))
        return {"mean": total / trained.clamp(min=1), "trained_rows": trained / rows.clamp(min=1)}

    def penalty(self, update: Update, prepared: Mapping[str, Tensor]) -> Penalty:
        nucleus = update.current.require("nucleus_entropy", self.name)
        keep = self._positions(nucleus, update.current.require("entropy", self.name), update.trained)
        mean, trained_rows = self._mean(nucleus, keep, update, prepared)
        gap = mean - self._anchor(mean)
        slope = 2.0 * self.coef * gap if self.anchored else -self.coef
        logged = self.coef * gap.square() if self.anchored else -self.coef * mean
        # A penalty is divided by all rows of the step, and H̄ by the trained ones.
        return Penalty(slope * nucleus / trained_rows, keep, "seq-mean-token-mean", logged=logged)

    def weight(self, update: Update, clip: Clip, prepared: Mapping[str, Tensor]) -> Weighting:
        nucleus = update.current.require("nucleus_entropy", self.name).detach()
        keep = self._positions(nucleus, update.current.require("entropy", self.name), update.trained)
        mean, _ = self._mean(nucleus, keep, update, prepared)
        metrics = {"anchor": torch.as_tensor(self._anchor(mean), dtype=mean.dtype, device=mean.device)}
        return Weighting(metrics=metrics | ({"mean": mean} if self.scope == "micro" else {}))

    def observe(self, metrics: Mapping[str, float], context: Context) -> None:
        if self.anchored and self._fixed is None:
            self.found = metrics[f"{self.name}/mean"]

    def state_dict(self) -> dict[str, Any]:
        return {"anchor": self.found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        found = state["anchor"]
        self.found = None if found is None else float(found)

    @property
    def _fixed(self) -> float | None:
        return self.anchor if self.anchor is not None else self.found

    def _anchor(self, mean: Tensor) -> float | Tensor:
        """Until the first step of training is over, the anchor is the batch itself."""
        return mean if self._fixed is None else self._fixed

    def _mean(
        self, nucleus: Tensor, keep: Tensor, update: Update, prepared: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """H̄, detached, and the share of rows that it is a mean over (1 where there is none)."""
        if self.scope != "micro":
            mean, trained_rows = prepared["mean"], prepared["trained_rows"]
        else:
            trained = update.trained.any(1).sum()
            mean = _row_means(nucleus.detach(), keep).sum() / trained.clamp(min=1)
            trained_rows = trained / max(1, len(keep))
        return mean, torch.where(trained_rows > 0, trained_rows, 1.0)

    def _positions(self, nucleus: Tensor, entropy: Tensor, train: Tensor) -> Tensor:
        if self.quantile is None:
            return train
        return peak_entropy_mask(nucleus if self.select == "nucleus" else entropy, train, self.quantile)


class SelfAnchoredEntropyLoss(nn.Module):
    """SIREN's term for a loop of one's own: ``β (H̄ - anchor)²`` of a batch of logits.

    Args:
        coef: β. top_p: of the nucleus, in (0, 1]. quantile: τ. inclusive: as `nucleus_entropy`.
        anchor: nats; by default the first batch's own H̄, kept in the module's state.
    """

    def __init__(
        self,
        coef: float = 0.005,
        top_p: float = 0.8,
        quantile: float = 0.8,
        anchor: float | None = None,
        inclusive: bool = True,
    ) -> None:
        super().__init__()
        self.coef, self.top_p, self.quantile, self.inclusive = coef, top_p, quantile, inclusive
        # A plain number: a buffer would be rounded with the module's parameters, and miss its own batch.
        self.anchor = anchor

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """The term for ``logits [B, T, V]`` (divided by the sampling temperature) and ``mask [B, T]`` bool, 0-dim."""
        entropy = nucleus_entropy(logits, self.top_p, inclusive=self.inclusive, mask=mask)
        peaks = peak_entropy_mask(entropy, mask, self.quantile)
        mean = aggregate(entropy, peaks, "seq-mean-token-mean", Totals(rows=mask.any(1).sum()))
        if self.anchor is None:
            self.anchor = float(mean.detach())
        return self.coef * (mean - self.anchor).square()

    def get_extra_state(self) -> Tensor:
        return torch.tensor(math.nan if self.anchor is None else self.anchor, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        anchor = float(state)
        self.anchor = None if math.isnan(anchor) else anchor


def _row_means(nucleus: Tensor, keep: Tensor) -> Tensor:
    return torch.where(keep, nucleus, 0.0).sum(1) / keep.sum(1).clamp(min=1)
