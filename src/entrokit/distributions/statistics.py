"""Per-token statistics of a language model's next-token distribution: their names and their container."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

STATISTICS = ("logp", "entropy", "collision", "weighted_surprise", "varentropy")


@dataclass(frozen=True)
class TokenStatistics:
    """Statistics of the next-token distribution at each position, in nats; ``None`` where not asked for.

    Attributes:
        logp: ``log π(token)``, in [-inf, 0].
        entropy: ``-Σ π log π`` over the whole vocabulary, in [0, log V].
        collision: ``Σ π²``, in [1/V, 1].
        weighted_surprise: ``Σ π² log π``, in [-1/e, 0].
        varentropy: ``Σ π (log π)² - entropy²``, >= 0: minus the derivative of entropy in log-inverse-temperature.
        top_token: the most likely token, int64; without gradient.
        nucleus_entropy: entropy of the renormalised top-p set, as `nucleus_statistic` names it.
    """

    logp: Tensor
    entropy: Tensor | None = None
    collision: Tensor | None = None
    weighted_surprise: Tensor | None = None
    varentropy: Tensor | None = None
    top_token: Tensor | None = None
    nucleus_entropy: Tensor | None = None


@dataclass(frozen=True)
class Nucleus:
    """Which top-p set: the smallest of mass at least ``top_p``; not ``inclusive`` leaves its last token out."""

    top_p: float
    inclusive: bool = True


_NUCLEUS = re.compile(r"nucleus_entropy@([0-9.eE+-]+?)(-exclusive)?")


def nucleus_statistic(top_p: float, *, inclusive: bool = True) -> str:
    """The name under which ``need`` asks for the entropy of a top-p set, ``top_p`` in (0, 1]."""
    return f"nucleus_entropy@{top_p!r}{'' if inclusive else '-exclusive'}"


def split_nucleus(need: Collection[str]) -> tuple[frozenset[str], Nucleus | None]:
    """The other names of ``need``, and the top-p set that it asks for.

    Raises:
        ValueError: two different sets.
    """
    named = {name: match for name in need if (match := _NUCLEUS.fullmatch(name))}
    if len(named) > 1:
        raise ValueError(f"need: one nucleus at a time, got {sorted(named)}")
    nucleus = next((Nucleus(float(m[1]), m[2] is None) for m in named.values()), None)
    return frozenset(need) - named.keys(), nucleus


def check_request(tokens: Tensor, shape: torch.Size, temperature: float, need: Collection[str]) -> None:
    """Raises `ValueError` for names, shapes, tokens or temperatures that no form can serve."""
    known = {*STATISTICS, "top_token"}
    unknown = sorted(split_nucleus(need)[0] - known)
    if unknown:
        raise ValueError(f"need: unknown statistics {unknown}; valid names are {[*STATISTICS, 'top_token']}")
    if not temperature > 0:
        raise ValueError(f"temperature: must be > 0, got {temperature}")
    if shape != tokens.shape:
        raise ValueError(f"tokens: expected one token per row, shape {tuple(shape)}, got {tuple(tokens.shape)}")


def check_tokens(tokens: Tensor, vocabulary: int) -> None:
    """Raises `ValueError` with the first token outside the vocabulary."""
    outside = (tokens < 0) | (tokens >= vocabulary)
    if bool(outside.any()):
        first = outside.nonzero()[0].tolist()
        raise ValueError(
            f"tokens: {int(tokens[tuple(first)])} at {first} lies outside the vocabulary [0, {vocabulary})"
        )


def refuse_broken_rows(log_norm: Tensor, index: Tensor | None, shape: torch.Size) -> None:
    """Raises `ValueError` with the first position whose logits are no distribution.

    The normaliser (one a row) is finite exactly when the row holds no NaN, no +inf and at least one finite logit.
    ``index`` says which of the flattened positions the rows are, where only some were computed.
    """
    finite = torch.isfinite(log_norm)
    if not bool(finite.all()):
        row = (~finite).nonzero()[0, 0]
        first = torch.unravel_index(row if index is None else index[row], shape)
        raise ValueError(
            f"logits: NaN, +inf, or nothing but -inf in {int((~finite).sum())} of {finite.numel()} positions, first at "
            f"{[int(i) for i in first]}; look for an overflow in the model, a learning rate that is too high, or a "
            "logits processor that forbids every token"
        )


def positions(mask: Tensor | None, tokens: Tensor) -> Tensor | None:
    """Flat indices of the positions inside a mask, or None for all.

    Raises:
        ValueError: a mask of another shape or dtype.
    """
    if mask is None:
        return None
    if mask.shape != tokens.shape or mask.dtype != torch.bool:
        raise ValueError(f"mask: expected bool of shape {tuple(tokens.shape)}, got {mask.dtype} of {tuple(mask.shape)}")
    return mask.reshape(-1).nonzero().squeeze(1)


def working_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
