"""Logits of attention, a block of queries at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .checks import check_floats, check_number
from .masks import check_mask, hidden


@dataclass(frozen=True)
class Logits:
    """What logits are made of; see `attention_entropy_qk`."""

    query: Tensor
    key: Tensor
    mask: Tensor | None = None
    causal: bool = False
    scaling: float | None = None
    softcap: float | None = None

    @property
    def scale(self) -> float:
        """Of the products, 1/√d by default."""
        return self.query.shape[-1] ** -0.5 if self.scaling is None else self.scaling

    def checked(self, who: str) -> Logits:
        """The same with a mask of four dimensions.

        Raises:
            ValueError, TypeError: as `attention_entropy_qk` says.
        """
        query, key = check_floats(self.query, who, "queries"), check_floats(self.key, who, "keys")
        if query.dim() != 4 or key.dim() != 4:
            raise ValueError(f"{who}: expected [B, heads, length, d], got {list(query.shape)} and {list(key.shape)}")
        batch, heads, queries, width = query.shape
        groups, keys = key.shape[1], key.shape[2]
        alike = key.shape[0] == batch and key.shape[3] == width
        if not alike or not groups or heads % groups or not (queries and keys and width):
            raise ValueError(
                f"{who}: query {list(query.shape)} and key {list(key.shape)} need the same batch and d, at least one "
                "query and key, and a number of key heads that divides that of query heads"
            )
        if self.softcap is not None and not check_number(self.softcap, who, "softcap") > 0.0:
            raise ValueError(f"{who}: softcap must be above 0, got {self.softcap}; None for none")
        mask = None if self.mask is None else check_mask(self.mask, (batch, heads, queries, keys), who)
        if self.scaling is not None:
            check_number(self.scaling, who, "scaling")
        return replace(self, mask=mask)


class Blocks:
    """Checked logits of ``rows`` queries; heads that share a key are rows of one product: no key is repeated."""

    def __init__(self, logits: Logits, rows: int) -> None:
        self.of, self.rows = logits, rows
        query, key = logits.query, logits.key
        self.dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), torch.float32)
        self.key = key.to(self.dtype)
        self.keys, self.groups = key.shape[2], key.shape[1]
        self.starts = range(0, query.shape[2], rows)

    def end(self, first: int) -> int:
        """Keys beyond it are seen by no query of the block."""
        return min(self.keys, first + self.rows) if self.of.causal else self.keys

    def folded(self, first: int) -> Tensor:
        """The block's queries, ``[B, K, (H / K) rows, d]``."""
        block = self.of.query[:, :, first : first + self.rows].to(self.dtype)
        batch, heads, rows, width = block.shape
        return block.reshape(batch, self.groups, heads // self.groups * rows, width)

    def logits(self, first: int) -> tuple[Tensor, Tensor | None]:
        """``[B, H, rows, keys]``, -inf where hidden; and with a softcap the slope of the logits in the products."""
        batch, heads, length, _ = self.of.query.shape
        rows, end = min(self.rows, length - first), self.end(first)
        products = (self.folded(first) @ self.key[:, :, :end].mT).view(batch, heads, rows, end)
        logits = products.mul_(self.of.scale)
        slope = None
        if self.of.softcap is not None:
            bent = torch.tanh(logits / self.of.softcap)
            logits, slope = bent * self.of.softcap, 1.0 - bent.square()
        mask = self.part(self.of.mask, first)
        if mask is not None:
            if mask.dtype != torch.bool:
                logits = logits + mask.to(self.dtype)
            logits = logits.masked_fill_(hidden(mask), -torch.inf)
        if self.of.causal:
            logits = logits.masked_fill_(self.later(first), -torch.inf)
        return logits, slope

    def later(self, first: int) -> Tensor:
        """Keys behind their query, ``[rows, keys]``."""
        rows = min(self.rows, self.of.query.shape[2] - first)
        own = torch.arange(first, first + rows, device=self.key.device)
        return torch.arange(self.end(first), device=self.key.device) > own[:, None]

    def seen(self, first: int) -> Tensor | None:
        """Which rows see a key, ``[b, h, rows]``; None where all do."""
        mask = self.part(self.of.mask, first)
        if mask is None:
            return None
        unseen = hidden(mask) | self.later(first) if self.of.causal else hidden(mask)
        return ~unseen.all(-1)

    def part(self, whole: Tensor | None, first: int) -> Tensor | None:
        """What belongs to the block of a tensor that is laid out as the mask."""
        if whole is None:
            return None
        part = whole[..., : self.end(first)]
        return part[:, :, first : first + self.rows] if part.shape[2] > 1 else part
