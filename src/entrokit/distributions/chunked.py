"""The torch back end: chunks and tiles of logits in the working dtype, in buffers that stay in a CPU's caches.

Accumulators are float64: what a tile sums in float32 is rounded once, however many tiles there are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .moments import Coefficients, Moments

ACCUMULATOR = torch.float64
SCRATCH = 3
# Elements of a chunk: with its scratch buffers it stays in a CPU's caches.
CHUNK_ELEMENTS = 1 << 19
CUDA_CHUNK_ELEMENTS = 1 << 26
# A tile of the linear form: wide enough for matrix products near their peak, small enough for the last cache.
TILE_ROWS, TILE_COLUMNS = 512, 1024

# exp of anything below is 0 in float32 and float64 alike; -inf itself would give 0 * inf.
_NEVER = -1e4


def reduce_rows(
    logits: Tensor, tokens: Tensor, index: Tensor | None, temperature: float, dtype: torch.dtype, wanted: frozenset[str]
) -> Moments:
    """Moments of ``logits [N, V] / temperature``, of the rows ``index`` where given."""
    count = len(logits) if index is None else len(index)
    moments = Moments.empty(count, ACCUMULATOR, logits.device, wanted)
    for part, z, scratch in chunks(logits, index, temperature, dtype):
        add_tile(moments, z, scratch, select(tokens, part, index), part, 0)
    return moments


def gradient_rows(
    logits: Tensor,
    tokens: Tensor,
    index: Tensor | None,
    temperature: float,
    log_norm: Tensor,
    coefficients: Coefficients,
) -> Tensor:
    """Gradient ``[N, V]`` in the logits' dtype; rows outside ``index`` are 0."""
    fill = torch.empty_like if index is None else torch.zeros_like
    result = fill(logits, memory_format=torch.contiguous_format)
    for part, z, scratch in chunks(logits, index, temperature, log_norm.dtype):
        taken = select(tokens, part, index)
        chunk = gradient_tile(coefficients.rows(part), z, log_norm[part], scratch, taken, 0, z.dtype)
        if temperature != 1.0:
            chunk.div_(temperature)
        if index is None:
            result[part] = chunk
        else:
            result[index[part]] = chunk.to(result.dtype)
    return result


def add_tile(moments: Moments, z: Tensor, scratch: Tensor, tokens: Tensor, rows: slice, offset: int) -> None:
    """Adds logits ``z [n, v]`` of ``rows`` for the vocabulary from ``offset``, which stay as they are.

    Overwrites ``scratch [3, n, v]``; ``tokens [n]`` are the tokens taken, wherever in the vocabulary they lie.
    """
    local = tokens - offset
    inside = (local >= 0) & (local < z.shape[1])
    picked = z.gather(1, local.clamp(0, z.shape[1] - 1)[:, None]).squeeze(1).to(ACCUMULATOR)
    moments.taken[rows] = torch.where(inside, picked, moments.taken[rows])
    maximum = _raise_maximum(moments, z, rows, offset)
    # A row of which nothing but -inf was seen yet has no maximum to subtract.
    subtracted = maximum.masked_fill(maximum == -torch.inf, 0.0).to(z.dtype)[:, None]
    x = torch.sub(z, subtracted, out=scratch[0]).clamp_(min=_NEVER)
    e = torch.exp(x, out=scratch[1])
    moments.s0[rows] += e.sum(1)
    if moments.wants_squares:
        moments.q0[rows] += torch.linalg.vector_norm(e, dim=1).square_()
    if moments.wants_first or moments.wants_weighted:
        y = torch.mul(x, e, out=scratch[2])
        moments.s1[rows] += y.sum(1)
        # Products go where a factor lay that is not needed any more: a new tile each time costs page faults.
        if moments.wants_second:
            moments.s2[rows] += x.mul_(y).sum(1)
        if moments.wants_weighted:
            moments.q1[rows] += e.mul_(y).sum(1)


def gradient_tile(
    coefficients: Coefficients,
    z: Tensor,
    log_norm: Tensor,
    scratch: Tensor,
    tokens: Tensor,
    offset: int,
    dtype: torch.dtype,
) -> Tensor:
    """Gradient in the logits ``z [n, v]`` of a tile. Overwrites ``z`` and ``scratch [3, n, v]``, where it may lie."""
    c = coefficients
    columns = (None if k is None else k[:, None] for k in (c.alpha, c.beta, c.gamma, c.delta, c.epsilon))
    alpha, beta, gamma, delta, epsilon = columns
    assert alpha is not None
    s = z.sub_(log_norm[:, None]).clamp_(min=_NEVER)
    p, f = torch.exp(s, out=scratch[0]), scratch[1]
    # One factor a row at a time: torch vectorises that, and not addcmul of two columns.
    if gamma is not None:
        assert beta is not None
        torch.mul(s, gamma, out=f).add_(beta).mul_(s).add_(alpha)
    elif beta is not None:
        torch.mul(s, beta, out=f).add_(alpha)
    else:
        f.copy_(alpha.expand_as(f))
    if delta is not None:
        inner = s.copy_(delta.expand_as(s)) if epsilon is None else s.mul_(epsilon).add_(delta)
        f.addcmul_(p, inner)
    p.mul_(f)
    if c.logp is not None:
        local = tokens - offset
        row = ((local >= 0) & (local < p.shape[1])).nonzero().squeeze(1)
        p[row, local[row]] += c.logp[row]
    return p.to(dtype)


def _raise_maximum(moments: Moments, z: Tensor, rows: slice, offset: int) -> Tensor:
    m = moments
    old = m.maximum[rows]
    here = z.amax(1).to(ACCUMULATOR)
    if m.wants_top:
        # Positions cost ten times what a maximum does, and the maximum of few rows rises at a later tile.
        raised = (here > old).nonzero().squeeze(1)
        m.top[rows.start + raised] = z[raised].argmax(1) + offset
    new = torch.maximum(old, here)
    delta = torch.where(old == -torch.inf, 0.0, old - new)
    scale = delta.exp()
    s0, s1, q0 = m.s0[rows], m.s1[rows], m.q0[rows]
    m.s2[rows] = scale * (m.s2[rows] + 2 * delta * s1 + delta.square() * s0)
    m.s1[rows] = scale * (s1 + delta * s0)
    m.s0[rows] = scale * s0
    m.q1[rows] = scale.square() * (m.q1[rows] + delta * q0)
    m.q0[rows] = scale.square() * q0
    m.maximum[rows] = new
    return new


def select(x: Tensor, part: slice, index: Tensor | None) -> Tensor:
    return x[part] if index is None else x[index[part]]


def chunks(
    rows: Tensor, index: Tensor | None, temperature: float, dtype: torch.dtype
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Chunks of rows (those in ``index``, where given) in the working dtype, divided by the temperature.

    Each is a slice of what is computed, ``[n, V]`` logits and scratch ``[3, n, V]``; the next overwrites both.
    """
    vocabulary = rows.shape[1]
    count = len(rows) if index is None else len(index)
    elements = CUDA_CHUNK_ELEMENTS if rows.is_cuda else CHUNK_ELEMENTS
    size = min(max(1, elements // max(1, vocabulary)), max(1, count))
    buffer = torch.empty(1 + SCRATCH, size, vocabulary, dtype=dtype, device=rows.device)
    for start in range(0, count, size):
        part = slice(start, min(start + size, count))
        n = part.stop - part.start
        z = buffer[0, :n].copy_(select(rows, part, index))
        if temperature != 1.0:
            z.div_(temperature)
        yield part, z, buffer[1:, :n]
