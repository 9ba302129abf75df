"""The nucleus of paths and next tokens together, and continuations drawn from it.

    J(i, v) = w_i p_i(v),   q = J on the shortest prefix of its values in descending order that sums to at least p

with w = softmax of the paths' log-probabilities. k = 1 is nucleus sampling; p = 1 and the k largest is beam search.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .checks import check_count, check_generator, check_mass, check_tensor

Scope = Literal["joint", "path"]

# Of a cumulative sum: without it one more token enters by rounding.
_ROUNDING = 1e-12
# So many are looked at first: sorting k · V values costs more than finding these.
_FIRST = 1024
# Within which a row of probabilities in single precision sums to 1.
_SUM = 1e-4


def path_nucleus(logw: Tensor, logp: Tensor, p: float = 0.9, scope: Scope = "joint") -> Tensor:
    """Log-law over paths and next tokens within the nucleus, ``[B, k, V]`` float64, -inf outside; sums to 1 a row.

    Args:
        logw: log-weights of the paths ``[B, k]``, nats up to a constant; -inf where there is no path.
        logp: log-probabilities or logits of their next tokens ``[B, k, V]``; -inf for what cannot come.
        p: mass to keep, in (0, 1]; at least one pair is kept, and of equal ones those of the lower index.
        scope: ``joint``: one nucleus of all pairs, so that an unlikely path has few tokens in it or none; ``path``: one
            a path, which the weights do not change.

    Warns:
        UserWarning: every row of ``logp`` is at least 0 and sums to 1, as probabilities do.

    Raises:
        ValueError: shapes that do not fit, ``p`` or ``scope`` that are none, NaN, a row without a path, a path
            without a next token. TypeError: no tensors, a ``p`` that is no number.
    """
    check_tensor(logw, "path_nucleus: logw")
    check_tensor(logp, "path_nucleus: logp")
    if logw.ndim != 2 or logp.ndim != 3 or logp.shape[:2] != logw.shape:
        raise ValueError(
            f"path_nucleus: needs logw [B, k] and logp [B, k, V], got {list(logw.shape)} and {list(logp.shape)}"
        )
    check_mass(p, "path_nucleus: p")
    if scope not in ("joint", "path"):
        raise ValueError(f"path_nucleus: scope is 'joint' or 'path', got {scope!r}")
    logw, logp = logw.double(), logp.double()
    there = _present(logw, logp)
    # What stands where there is no path may be anything.
    _warn_of_probabilities(logp[there])
    conditional = torch.log_softmax(torch.where(there[..., None], logp, 0.0), -1)
    weights = torch.log_softmax(logw, -1)[..., None]
    if scope == "path":
        return weights + _truncated(conditional, p)
    joint = weights + conditional
    return _truncated(joint.flatten(1), p).view_as(joint)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Continuations ``[B, m]``: the path that each goes on from, its next token, and whether it is one.

    Where fewer pairs than m are in the nucleus, the last ones are none.
    """

    parent: Tensor
    token: Tensor
    there: Tensor


def draw_continuations(
    logq: Tensor, m: int, *, do_sample: bool = True, generator: torch.Generator | None = None
) -> Drawn:
    """``m`` different pairs of ``logq`` ``[B, k, V]``: drawn without replacement, or the most probable ones.

    A draw without replacement is the m largest of ln q plus Gumbel noise.

    Args:
        do_sample: False for the most probable. generator: PyTorch's own where it is None.

    Raises:
        ValueError: a law of another shape, ``m`` below 1. TypeError: ``m`` that is not whole, another generator.
    """
    check_tensor(logq, "draw_continuations: logq")
    if logq.ndim != 3:
        raise ValueError(f"draw_continuations: needs logq [B, k, V], got {list(logq.shape)}")
    check_count(m, "draw_continuations: m")
    check_generator(generator)
    flat = logq.flatten(1)
    keys = flat
    if do_sample:
        keys = flat - torch.empty_like(flat).exponential_(generator=generator).log()
    top = keys.topk(min(m, flat.shape[1]), dim=1)
    vocabulary = logq.shape[-1]
    return Drawn(top.indices // vocabulary, top.indices % vocabulary, top.values > -torch.inf)


def _present(logw: Tensor, logp: Tensor) -> Tensor:
    """Where there is a path, ``[B, k]``."""
    there = logw != -torch.inf
    for wrong, what in (
        (~there.any(1), "has no path: every logw is -inf"),
        (((logw.isnan() | (logw == torch.inf)) & there).any(1), "has a logw of NaN or +inf"),
        (((logp.isnan() | (logp == torch.inf)).any(-1) & there).any(1), "has a logp of NaN or +inf"),
        (((logp == -torch.inf).all(-1) & there).any(1), "has a path without a next token: every logp is -inf"),
    ):
        if bool(wrong.any()):
            raise ValueError(f"path_nucleus: row {int(wrong.nonzero()[0, 0])} {what}")
    return there


def _warn_of_probabilities(rows: Tensor) -> None:
    """Of rows ``[N, V]``."""
    if len(rows) and bool((rows >= 0.0).all()) and bool(((rows.sum(-1) - 1.0).abs() <= _SUM).all()):
        warnings.warn(
            "path_nucleus: every row of logp is at least 0 and sums to 1: these look like probabilities, and are taken "
            "for logits; give their log",
            stacklevel=3,
        )


def _truncated(log_law: Tensor, p: float) -> Tensor:
    """The nucleus of laws in the last dimension, renormalised."""
    if p == 1.0:
        return log_law
    rows = log_law.flatten(0, -2)
    kept = torch.zeros_like(rows, dtype=torch.bool)
    for i, row in enumerate(rows):
        kept[i] = _kept(row.detach(), p)
    kept = kept.view_as(log_law)
    return torch.log_softmax(torch.where(kept, log_law, -torch.inf), -1)


def _kept(log_law: Tensor, p: float) -> Tensor:
    """Which of ``[N]`` are in the nucleus."""
    candidates = torch.arange(len(log_law), device=log_law.device)
    if len(log_law) > _FIRST:
        # `topk` leaves out some of those that tie with its last, in any order: all of them are candidates.
        largest = (log_law >= log_law.topk(_FIRST).values[-1]).nonzero()[:, 0]
        if float(log_law[largest].exp().sum()) >= p:
            candidates = largest
    values, order = log_law[candidates].sort(descending=True, stable=True)
    before = values.exp().cumsum(0) - values.exp()
    kept = torch.zeros_like(log_law, dtype=torch.bool)
    kept[candidates[order[before < p - _ROUNDING]]] = True
    return kept
