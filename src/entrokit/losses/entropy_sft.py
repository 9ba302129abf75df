"""Entropy-SFT (Light-IF): supervised training on the labels that surprise the model more than it expects.

Light-IF: Endowing LLMs with Generalizable Reasoning via Preview and Self-Checking for Complex Instruction Following
(arXiv 2508.03178). Per supervised token, with entropies and negative log-likelihoods in nats:

    Δ = NLL - λ H        loss = mean NLL over the ⌊ρ N⌋ tokens with the largest Δ

Where the model is undecided and the label is one of its plausible choices, training would only sharpen it: those tokens
are left out. No gradient flows through H or the choice.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from entrokit.distributions import token_statistics

__all__ = ["EntropySFTLoss", "surprising_tokens"]


def surprising_tokens(nll: Tensor, entropy: Tensor, token_ratio: float = 0.8, entropy_coef: float = 0.8) -> Tensor:
    """The ⌊token_ratio N⌋ tokens (at least one) with the largest ``nll - entropy_coef · entropy``, ``[N]`` bool.

    Args:
        nll, entropy: ``[N]`` nats. Ties go by position.
    """
    score = (nll - entropy_coef * entropy).detach()
    chosen = torch.zeros_like(score, dtype=torch.bool)
    order = torch.sort(score, descending=True, stable=True).indices
    chosen[order[: max(_floor(token_ratio, len(score)), 1)]] = True
    return chosen


class EntropySFTLoss(nn.Module):
    """Cross-entropy of a causal language model over the tokens of `surprising_tokens`.

    Args:
        token_ratio: ρ, in (0, 1]; 1 is plain cross-entropy. entropy_coef: λ, >= 0.
        ignore_index: labels that are not supervised (prompt, padding).

    Raises:
        ValueError: an argument out of its range.

    `compute_loss_func` is what TRL's `SFTTrainer` and transformers' `Trainer` call.
    """

    def __init__(self, token_ratio: float = 0.8, entropy_coef: float = 0.8, ignore_index: int = -100) -> None:
        super().__init__()
        if not 0.0 < token_ratio <= 1.0:
            raise ValueError(f"EntropySFTLoss: token_ratio must lie in (0, 1], got {token_ratio}")
        if not entropy_coef >= 0.0:
            raise ValueError(f"EntropySFTLoss: entropy_coef must be at least 0, got {entropy_coef}")
        self.token_ratio, self.entropy_coef, self.ignore_index = token_ratio, entropy_coef, ignore_index

    def forward(self, logits: Tensor, labels: Tensor, num_items: int | Tensor | None = None) -> Tensor:
        """The loss, 0-dim; 0 with a graph if no token is supervised.

        Args:
            logits: ``[B, L, V]``. labels: ``[B, L]``, not shifted: position t is predicted by the logits of t - 1.
            num_items: supervised tokens of the whole gradient accumulation, whose ⌊ρ N⌋ the sum is then divided by;
                this batch's own choice by default.

        Raises:
            ValueError: shapes that do not fit, or a label outside the vocabulary.
        """
        if logits.dim() != 3 or labels.shape != logits.shape[:2]:
            raise ValueError(
                f"EntropySFTLoss: expected logits [B, L, V] and labels [B, L], got {list(logits.shape)} and "
                f"{list(labels.shape)}"
            )
        labels = labels[:, 1:].to(logits.device)
        supervised = labels != self.ignore_index
        if not bool(supervised.any()):
            return logits.sum() * 0.0
        tokens = torch.where(supervised, labels, 0)
        stats = token_statistics(logits[:, :-1], tokens, mask=supervised, need={"entropy"})
        assert stats.entropy is not None
        nll = -stats.logp[supervised]
        chosen = surprising_tokens(nll, stats.entropy[supervised], self.token_ratio, self.entropy_coef)
        count = int(chosen.sum()) if num_items is None else max(_floor(self.token_ratio, int(num_items)), 1)
        return torch.where(chosen, nll, 0.0).sum() / count

    def compute_loss_func(self, outputs: Any, labels: Tensor, num_items_in_batch: int | Tensor | None = None) -> Tensor:
        """``SFTTrainer(..., compute_loss_func=EntropySFTLoss().compute_loss_func)``."""
        loss: Tensor = self(outputs.logits, labels, num_items_in_batch)
        return loss


def _floor(ratio: float, count: int) -> int:
    # 0.29 · 100 is 28.999999999999996 in binary.
    return math.floor(ratio * count + 1e-9)
