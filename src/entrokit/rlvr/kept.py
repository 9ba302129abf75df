"""What a recipe's loss is divided by where interventions keep only some of the tokens.

The shares that the behaviour policy keeps of a step's tokens and rows are known before the step: divided by them, its
micro-batches add up.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from entrokit.groups import widest

from .aggregation import Totals
from .context import Context

TOKENS, ROWS = "kept/tokens", "kept/rows"
"""Names of the shares among what is prepared."""


def kept_shares(keep: Tensor, trained: Tensor, context: Context) -> dict[str, Tensor]:
    """Shares of the trained tokens ``[B, T]``, and of the rows with any, that are kept; over all processes."""
    kept, whole = context.reduce(torch.stack([_tokens_and_rows(keep), _tokens_and_rows(trained)]))
    tokens, rows = (kept / whole.clamp(min=1)).unbind()
    return {TOKENS: tokens, ROWS: rows}


def _tokens_and_rows(mask: Tensor) -> Tensor:
    """Tokens in a mask ``[B, T]``, and rows that have any: ``[2]``."""
    counts = torch.stack([mask.sum(), mask.any(-1).sum()])
    return counts.to(widest(counts))


def kept_totals(totals: Totals, prepared: Mapping[str, Tensor], keep: Tensor, trained: Tensor) -> Totals:
    """What is left of the totals when only ``keep`` of the tokens ``trained`` count, and rows without any leave."""
    tokens = trained.sum() if totals.tokens is None else totals.tokens
    rows = len(trained) if totals.rows is None else totals.rows
    if keep is trained:
        return Totals(tokens, rows, totals.length)
    of_tokens, of_rows = _tokens_and_rows(keep) / _tokens_and_rows(trained).clamp(min=1)
    # A step's shares must be known before it; a micro-batch on its own has its own.
    of_tokens = of_tokens if totals.tokens is None else prepared.get(TOKENS, of_tokens)
    of_rows = of_rows if totals.rows is None else prepared.get(ROWS, of_rows)
    return Totals(tokens * of_tokens, rows * of_rows, totals.length)
