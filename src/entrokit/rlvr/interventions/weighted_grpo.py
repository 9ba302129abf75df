"""Weighted GRPO on pairs of prompts: a rare success of a hard one and a rare failure of an easy one weigh most.

Beyond Variance: Prompt-Efficient RLVR via Rare-Event Amplification and Bidirectional Pairing (arXiv 2602.03452;
abstract and a note only, the rest is a reconstruction). Right is worth +1, wrong -λ; advantages are normalised

    prompt: (r - mean) / std in each prompt's group; λ cancels exactly, since the map {right, wrong} → {1, -λ} is affine
    center: r - mean
    pair:   (r - mean) / std over both prompts of a pair; a balanced pair then gets ±1 everywhere, no amplification

``w_pos`` and ``w_neg`` weigh advantages after that, which λ cannot do. `select_pair` chooses the pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from entrokit.groups import group_moments

from ..card import Card, OnBenches
from ..context import Context
from ..intervention import Intervention
from ..knobs import check_choice, check_range
from ..rollouts import Rollouts

__all__ = ["WeightedGRPO", "select_pair"]

NORMALIZERS = ("prompt", "center", "pair")


def weighted_grpo_advantage(
    correct: Tensor,
    group: Tensor,
    lambda_neg: float = 1.0,
    normalize: str = "prompt",
    pair: Tensor | None = None,
    ddof: int = 0,
    eps: float = 1e-6,
    w_pos: float = 1.0,
    w_neg: float = 1.0,
    *,
    scored: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Weighted GRPO's advantages ``[B]``; exact zeros in a group without both outcomes, and where not ``scored``.

    Args:
        correct: ``[B]`` bool, or float verdicts (1 right, 0 wrong). group: ``[B]`` int.
        lambda_neg: a wrong answer is worth ``-lambda_neg``.
        normalize: one of prompt, center, pair. pair: ``[B]`` int, which pair a prompt belongs to (for ``pair``).
        ddof: 0 for the population's standard deviation. w_pos, w_neg: factors of positive and negative advantages.
        scored: ``[B]`` bool, completions that count. dtype: of the result; that of float verdicts, or torch's default.

    Raises:
        ValueError: ``normalize="pair"`` without ``pair``, or an unknown name.
    """
    if normalize not in NORMALIZERS:
        raise ValueError(f"weighted-grpo: unknown normalize {normalize!r}; valid names are {list(NORMALIZERS)}")
    if normalize == "pair" and pair is None:
        raise ValueError("weighted-grpo: normalize='pair' needs to know which prompts are a pair (pair)")
    if dtype is None:
        dtype = correct.dtype if correct.dtype.is_floating_point else torch.get_default_dtype()
    value = torch.where(correct.bool(), 1.0, -lambda_neg).to(dtype)
    together = group if pair is None or normalize != "pair" else pair
    weight = torch.ones_like(value) if scored is None else scored.to(dtype)
    of_group = group_moments(value, together, weight=weight, ddof=ddof)
    scale = torch.where(of_group.std > 0, of_group.std + eps, 1.0)
    advantage = of_group.centred if normalize == "center" else of_group.centred / scale
    return torch.where(advantage > 0, w_pos * advantage, w_neg * advantage).to(dtype)


def select_pair(
    success_counts_easy: Sequence[int], success_counts_hard: Sequence[int], G: int, width: int = 2
) -> tuple[int, int]:
    """Indices ``(i_minus, i_plus)``: the easy prompt with fewest failures and the hard one with fewest successes.

    Args:
        success_counts_easy, success_counts_hard: right answers among ``G`` of each prompt.
        width: most failures, or successes, that still count as rare (c).

    Prompts that always or never succeed are not eligible. Ties go to the lowest index.

    Raises:
        ValueError: no eligible prompt in a pool, with the counts that were found.
    """
    return (
        _rarest([G - k for k in success_counts_easy], G, width, "easy", "failures"),
        _rarest(list(success_counts_hard), G, width, "hard", "successes"),
    )


def _rarest(events: list[int], G: int, width: int, pool: str, what: str) -> int:
    eligible = [i for i, n in enumerate(events) if 1 <= n <= min(width, G - 1)]
    if not eligible:
        raise ValueError(
            f"select_pair: no eligible prompt in the {pool} pool of {len(events)}: none has 1 to {width} {what} out of "
            f"{G}; probe more prompts, or widen width"
        )
    return min(eligible, key=lambda i: events[i])


@dataclass
class WeightedGRPO(Intervention):
    """Weighted GRPO's advantages instead of the base's. Knobs: `lambda_neg` (λ), `normalize` (prompt, center, pair: the
    prompts of a generation batch pair up in their order), `w_pos`, `w_neg`, `ddof`.
    """

    name: ClassVar[str] = "weighted-grpo"
    card: ClassVar[Card] = Card(
        "2602.03452",
        examples=("grpo+weighted-grpo", "grpo+weighted-grpo(normalize='pair')"),
        benches=OnBenches(tuned="w_neg=0.5"),
    )
    replaces: ClassVar[str | None] = "advantage"
    reads_rewards: ClassVar[bool] = False
    lambda_neg: float = 1.0
    normalize: str = "prompt"
    w_pos: float = 1.0
    w_neg: float = 1.0
    ddof: int = 0

    def __post_init__(self) -> None:
        check_range(self, "lambda_neg", 0.0)
        check_choice(self, "normalize", NORMALIZERS)
        check_range(self, "w_pos", 0.0)
        check_range(self, "w_neg", 0.0)
        if self.ddof not in (0, 1):
            raise ValueError(f"weighted-grpo: ddof must be 0 or 1, got {self.ddof!r}")

    @property
    def separable(self) -> bool:
        return True

    def advantage(self, rollouts: Rollouts, advantages: Tensor, context: Context) -> Tensor:
        correct, own = context.gathered_with_own_part(rollouts.require_correct(self.name))
        group = context.gather(rollouts.group)
        _, index = torch.unique(group, return_inverse=True)
        values = weighted_grpo_advantage(
            correct,
            group,
            self.lambda_neg,
            self.normalize,
            index // 2,
            self.ddof,
            w_pos=self.w_pos,
            w_neg=self.w_neg,
            scored=context.gather(~torch.isnan(rollouts.reward)),
            dtype=advantages.dtype,
        )
        return values[own][:, None].expand_as(advantages)

    def refused_by(self, engine: str) -> str | None:
        if engine == "verl" and self.normalize == "pair":
            return (
                "normalize='pair' pairs prompts in their order, and verl reorders them: use normalize='prompt', or "
                "pairs under TRL"
            )
        return super().refused_by(engine)
