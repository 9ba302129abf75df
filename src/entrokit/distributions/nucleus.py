"""Entropy of the nucleus (top-p set) of a distribution, without sorting the vocabulary.

The nucleus of a row is given by its smallest logit and by how many tokens tie there. A language model's nucleus nearly
always lies within the few largest logits, so these are selected first; rows for which they are not enough are bisected
on the threshold, bit by bit. SIREN (arXiv 2509.25133) regularises this entropy; its official code sorts the 10 000
largest logits and cuts the nucleus there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .chunked import chunks
from .statistics import refuse_broken_rows
from .token_statistics import positions, working_dtype

# How many of the largest logits are looked at before a row is bisected.
_CANDIDATES = (128, 2048)


def nucleus_entropy(
    logits: Tensor,
    top_p: float = 0.8,
    *,
    temperature: float = 1.0,
    inclusive: bool = True,
    mask: Tensor | None = None,
) -> Tensor:
    """Entropy of ``softmax(logits / temperature)`` restricted to its nucleus and renormalised, in nats.

    The nucleus is the smallest set of most likely tokens whose mass is at least ``top_p``; ties are taken in no
    particular order, which the entropy does not see. Membership is a constant to the gradient, which is 0 outside.

    Args:
        logits: ``[..., V]``, any floating dtype; ``-inf`` marks a forbidden token.
        top_p: in (0, 1]; 1 gives the entropy of the whole distribution.
        temperature: > 0.
        inclusive: False leaves out the least likely token of the nucleus, as SIREN's official code does.
        mask: ``[...]`` bool; positions outside it are not read, have value 0 and gradient 0.

    Returns:
        ``[...]``, in [0, log V]; 0 for an empty or one-token nucleus; float32 (float64 for float64 logits).

    Raises:
        ValueError: ``top_p`` or ``temperature`` out of range; a mask that does not fit; NaN, ``+inf`` or a whole row of
            ``-inf`` among the logits.
    """
    if not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p: must lie in (0, 1], got {top_p}")
    if not temperature > 0:
        raise ValueError(f"temperature: must be > 0, got {temperature}")
    index = positions(mask, logits[..., 0])
    result: Tensor = _NucleusEntropy.apply(  # type: ignore[no-untyped-call]
        logits, index, float(top_p), float(temperature), inclusive
    )
    return result


class _NucleusEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, index: Tensor | None, top_p: float, temperature: float, inclusive: bool
    ) -> Tensor:
        rows, shape = logits.reshape(-1, logits.shape[-1]), logits.shape[:-1]
        count = len(rows) if index is None else len(index)
        dtype = working_dtype(logits)
        depth, log_mass, entropy, log_norm = (torch.zeros(count, dtype=dtype, device=logits.device) for _ in range(4))
        ties = torch.zeros(count, dtype=torch.int64, device=logits.device)
        for part, z, scratch in chunks(rows, index, temperature, dtype):
            y, log_norm[part] = _depths(z, scratch)
            if not bool(torch.isfinite(log_norm[part]).all()):
                break
            weight = torch.exp(-y, out=scratch[1])
            depth[part], ties[part] = _threshold(y, weight, top_p)
            if not inclusive:
                ties[part] -= 1
            inside = weight.mul_(_members(y, depth[part], ties[part]))
            mass = inside.sum(1)
            log_mass[part] = mass.log()
            mean = torch.linalg.vecdot(y.masked_fill_(inside == 0, 0.0), inside) / mass
            entropy[part] = torch.where(mass > 0, log_mass[part] + mean, 0.0).clamp(min=0.0) + 0.0
        refuse_broken_rows(log_norm, index, shape)
        ctx.save_for_backward(logits, index, depth, ties, log_mass, entropy)
        ctx.temperature = temperature
        result = entropy if index is None else entropy.new_zeros(shape.numel()).index_copy_(0, index, entropy)
        return result.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, index, depth, ties, log_mass, entropy = ctx.saved_tensors
        rows = logits.reshape(-1, logits.shape[-1])
        grad = grad.reshape(-1) if index is None else grad.reshape(-1)[index]
        result = torch.zeros_like(rows, memory_format=torch.contiguous_format)
        for part, z, scratch in chunks(rows, index, ctx.temperature, depth.dtype):
            y, _ = _depths(z, scratch)
            members = _members(y, depth[part], ties[part])
            # -q (log q + H), with log q = -y - log mass
            log_q = torch.where(members, -y - log_mass[part, None], -math.inf)
            slope = torch.where(members, log_q + entropy[part, None], 0.0)
            gradient = log_q.exp_().mul_(slope).mul_(-grad[part, None] / ctx.temperature)
            result[part if index is None else index[part]] = gradient.to(result.dtype)
        return result.view(logits.shape), None, None, None, None


def _depths(z: Tensor, scratch: Tensor) -> tuple[Tensor, Tensor]:
    """How far below the largest logit each lies, in ``[0, inf]`` (in place of ``z``), and ``log Z``."""
    maximum = z.amax(1, keepdim=True)
    y = torch.sub(maximum, z, out=z)
    log_norm = maximum.squeeze(1) + torch.neg(y, out=scratch[0]).exp_().sum(1).log()
    return y, log_norm


def _members(y: Tensor, depth: Tensor, ties: Tensor) -> Tensor:
    """Tokens above the threshold and the first ``ties`` at it, as bool ``[n, V]``."""
    members = y < depth[:, None]
    tied = y == depth[:, None]
    if bool((tied.sum(1) > ties).any()):
        tied &= tied.cumsum(1) <= ties[:, None]
    return members | tied


def _threshold(y: Tensor, weight: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Depth of the last token of each row's nucleus, and how many tokens at that depth belong to it."""
    n, vocabulary = y.shape
    target = top_p * weight.sum(1, dtype=torch.float64)
    depth, ties = torch.zeros_like(y[:, 0]), torch.ones(n, dtype=torch.int64, device=y.device)
    pending = torch.arange(n, device=y.device)
    for k in _CANDIDATES:
        # With every token in sight a sum that rounding left short of the target is the whole.
        k = min(k, vocabulary)
        top = y[pending].topk(k, 1, largest=False).values
        mass = torch.exp(-top).cumsum(1, dtype=torch.float64)
        short = mass < target[pending, None]
        found = ~short[:, -1] if k < vocabulary else torch.ones_like(short[:, 0])
        last = short.sum(1).clamp(max=k - 1)
        if k == vocabulary:
            last = torch.minimum(last, (torch.isfinite(top).sum(1) - 1).clamp(min=0))
        at = top.gather(1, last[:, None])
        among = (top == at) & (torch.arange(k, device=y.device) <= last[:, None])
        depth[pending[found]], ties[pending[found]] = at[found, 0], among.sum(1)[found]
        pending = pending[~found]
        if not len(pending):
            return depth, ties
    depth[pending], ties[pending] = _bisect(y[pending], weight[pending], target[pending])
    return depth, ties


def _bisect(y: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """As `_threshold`, by halving the range of bit patterns: those of non-negative floats are in order."""
    bits = torch.int64 if y.dtype == torch.float64 else torch.int32
    finite = y.masked_fill(torch.isinf(y), 0.0).amax(1)
    low = torch.full_like(target, -1, dtype=torch.int64)  # mass up to here falls short
    high = finite.view(bits).to(torch.int64)  # mass up to here reaches the target, or is the whole
    while bool((high - low > 1).any()):
        middle = (low + torch.div(high - low, 2, rounding_mode="floor")).clamp(min=0)
        at = middle.to(bits).view(y.dtype)
        mass = torch.where(y <= at[:, None], weight, 0.0).sum(1, dtype=torch.float64)
        reached = mass >= target
        high, low = torch.where(reached, middle, high), torch.where(reached, low, middle)
    depth = high.to(bits).view(y.dtype)
    above = torch.where(y < depth[:, None], weight, 0.0).sum(1, dtype=torch.float64)
    each = torch.exp(-depth).double()
    count = (y == depth[:, None]).sum(1)
    ties = ((target - above) / each).ceil().to(torch.int64)
    return depth, torch.minimum(ties.clamp(min=1), count)
