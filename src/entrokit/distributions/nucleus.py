"""Entropy of the nucleus (top-p set) of a distribution, without sorting the vocabulary.

The nucleus of a row is given by its smallest logit and by how many tokens tie there. A language model's nucleus nearly
always lies within the few largest logits, so these are selected first; in rows for which they are not enough the
threshold is found digit by digit, from histograms of mass. SIREN (arXiv 2509.25133) regularises this entropy; its
official code sorts the 10 000 largest logits and cuts the nucleus there.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .chunked import chunks
from .once import differentiable_once, remember_inputs
from .statistics import positions, refuse_broken_rows, working_dtype

# How many of the largest logits are looked at before a row's mass is counted.
_CANDIDATES = 128


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
        NotImplementedError: the gradient is differentiated.
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
        remember_inputs(ctx, logits)
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
    @differentiable_once("nucleus_entropy")
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
    k = min(_CANDIDATES, y.shape[1])
    target = top_p * weight.sum(1, dtype=torch.float64)
    top = y.topk(k, 1, largest=False).values
    short = torch.exp(-top).cumsum(1, dtype=torch.float64) < target[:, None]
    last = short.sum(1, keepdim=True).clamp(max=k - 1)
    depth = top.gather(1, last).squeeze(1)
    ties = ((top == depth[:, None]) & (torch.arange(k, device=y.device) <= last)).sum(1)
    deeper = short[:, -1].nonzero().squeeze(1)
    if len(deeper):
        depth[deeper], ties[deeper] = _radix_threshold(y[deeper], weight[deeper], target[deeper])
    return depth, ties


def _radix_threshold(y: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """As `_threshold`, digit by digit of the depth's bit pattern: those of non-negative floats are in order.

    Each digit's histogram of mass tells in which of 2¹⁶ buckets the target is reached.
    """
    integers, shifts = (torch.int64, (48, 32, 16, 0)) if y.dtype == torch.float64 else (torch.int32, (16, 0))
    bits = y.view(integers)
    inside = weight.double()
    above, pattern = torch.zeros_like(target), torch.zeros_like(target, dtype=torch.int64)
    for shift in shifts:
        digit = ((bits >> shift) & 0xFFFF).to(torch.int64)
        histogram = inside.new_zeros(len(y), 1 << 16).scatter_add_(1, digit, inside)
        reached = above[:, None] + histogram.cumsum(1)
        # Where rounding left the sum short of the target, the nucleus is everything.
        deepest = torch.where(inside > 0, digit, 0).amax(1)
        chosen = torch.minimum((reached < target[:, None]).sum(1), deepest)[:, None]
        above = (reached - histogram).gather(1, chosen).squeeze(1)
        inside = torch.where(digit == chosen, inside, 0.0)
        pattern |= chosen.squeeze(1) << shift
    depth = pattern.to(integers).view(y.dtype)
    ties = ((target - above) / torch.exp(-depth).double()).ceil().to(torch.int64)
    return depth, torch.minimum(ties.clamp(min=1), (y == depth[:, None]).sum(1))
