"""The Triton back end: one kernel that folds logits into running moments, one that turns them into their gradient.

A program reads one row (a whole row of logits, or of a tile of the linear form). Sums are float32 vectors, a lane each,
rescaled only when the maximum moves; they are reduced, and merged with the moments of earlier tiles, at the end. Under
``TRITON_INTERPRET=1`` the same code runs on the CPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .moments import Coefficients, Moments

ACCUMULATOR = torch.float32
SCRATCH = 0
# A tile is written once and read once by a kernel; it must keep the matrix products busy.
TILE_ROWS, TILE_COLUMNS = 4096, 8192

_LARGEST_BLOCK = 4096
_NEVER = tl.constexpr(-1e4)


def reduce_rows(
    logits: Tensor, tokens: Tensor, index: Tensor | None, temperature: float, dtype: torch.dtype, wanted: frozenset[str]
) -> Moments:
    """As `chunked.reduce_rows`; the logits are read once, in their own dtype."""
    rows = len(logits) if index is None else len(index)
    moments = Moments.empty(rows, ACCUMULATOR, logits.device, wanted)
    _launch_reduce(moments, _unit_stride(logits), tokens, index, slice(0, rows), 0, 1.0 / temperature)
    return moments


def gradient_rows(
    logits: Tensor,
    tokens: Tensor,
    index: Tensor | None,
    temperature: float,
    log_norm: Tensor,
    coefficients: Coefficients,
) -> Tensor:
    """As `chunked.gradient_rows`."""
    fill = torch.empty if index is None else torch.zeros
    result = fill(logits.shape, dtype=logits.dtype, device=logits.device)
    _launch_gradient(coefficients, _unit_stride(logits), tokens, index, log_norm, 0, 1.0 / temperature, result)
    return result


def add_tile(moments: Moments, z: Tensor, scratch: Tensor, tokens: Tensor, rows: slice, offset: int) -> None:
    """As `chunked.add_tile`."""
    _launch_reduce(moments, z, tokens, None, rows, offset, 1.0)


def gradient_tile(
    coefficients: Coefficients,
    z: Tensor,
    log_norm: Tensor,
    scratch: Tensor,
    tokens: Tensor,
    offset: int,
    dtype: torch.dtype,
) -> Tensor:
    """As `chunked.gradient_tile`; the tile is left as it was."""
    out = torch.empty_like(z, dtype=dtype)
    _launch_gradient(coefficients, z, tokens, None, log_norm, offset, 1.0, out)
    return out


def _unit_stride(logits: Tensor) -> Tensor:
    return logits if logits.stride(-1) == 1 else logits.contiguous()


def _block(columns: int) -> dict[str, int]:
    block = min(_LARGEST_BLOCK, triton.next_power_of_2(columns))
    return {"BLOCK": block, "num_warps": max(1, min(8, block // 256))}


def _launch_reduce(
    m: Moments, z: Tensor, tokens: Tensor, index: Tensor | None, rows: slice, offset: int, scale: float
) -> None:
    count, columns = rows.stop - rows.start, z.shape[1]
    if count == 0:
        return
    state = (m.maximum, m.taken, m.s0, m.s1, m.s2, m.q0, m.q1, m.top)
    _reduce[(count,)](
        z,
        z.stride(0),
        tokens.contiguous(),
        tokens if index is None else index,
        *(field[rows] for field in state),
        columns,
        offset,
        scale,
        HAS_INDEX=index is not None,
        FIRST=m.wants_first or m.wants_weighted,
        SECOND=m.wants_second,
        SQUARES=m.wants_squares,
        WEIGHTED=m.wants_weighted,
        TOP=m.wants_top,
        **_block(columns),
    )


def _launch_gradient(
    c: Coefficients,
    z: Tensor,
    tokens: Tensor,
    index: Tensor | None,
    log_norm: Tensor,
    offset: int,
    scale: float,
    out: Tensor,
) -> None:
    count, columns = len(log_norm), z.shape[1]
    if count == 0:
        return
    fields = {"LOGP": c.logp, "BETA": c.beta, "GAMMA": c.gamma, "DELTA": c.delta, "EPSILON": c.epsilon}
    # An expanded gradient, as `.sum()` gives, has stride 0.
    alpha = c.alpha.contiguous()
    pointers = [alpha if field is None else field.contiguous() for field in fields.values()]
    blocks = _block(columns)
    _gradient[(count, triton.cdiv(columns, blocks["BLOCK"]))](
        z,
        z.stride(0),
        out,
        out.stride(0),
        tokens.contiguous(),
        tokens if index is None else index,
        log_norm,
        alpha,
        *pointers,
        columns,
        offset,
        scale,
        HAS_INDEX=index is not None,
        **{f"HAS_{name}": field is not None for name, field in fields.items()},
        **blocks,
    )


@triton.jit  # type: ignore[untyped-decorator]
def _reduce(  # type: ignore[no-untyped-def]
    z_ptr,
    stride,
    tokens_ptr,
    index_ptr,
    maximum_ptr,
    taken_ptr,
    s0_ptr,
    s1_ptr,
    s2_ptr,
    q0_ptr,
    q1_ptr,
    top_ptr,
    columns,
    offset,
    scale,
    HAS_INDEX: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    SQUARES: tl.constexpr,
    WEIGHTED: tl.constexpr,
    TOP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0)
    row = tl.load(index_ptr + i) if HAS_INDEX else i.to(tl.int64)
    z_ptr += row * stride
    before = tl.load(maximum_ptr + i)
    m = before
    lanes = tl.arange(0, BLOCK)
    s0 = tl.zeros([BLOCK], tl.float32)
    s1 = tl.zeros([BLOCK], tl.float32)
    s2 = tl.zeros([BLOCK], tl.float32)
    q0 = tl.zeros([BLOCK], tl.float32)
    q1 = tl.zeros([BLOCK], tl.float32)
    for start in range(0, columns, BLOCK):
        inside = start + lanes < columns
        z = tl.load(z_ptr + start + lanes, mask=inside, other=-float("inf")).to(tl.float32) * scale
        here = tl.max(z, 0)
        if here > m:
            if TOP:
                tl.store(top_ptr + i, (offset + start + tl.argmax(z, 0)).to(tl.int64))
            if m > -float("inf"):
                d = m - here
                r = tl.exp(d)
                if SECOND:
                    s2 = r * (s2 + 2.0 * d * s1 + d * d * s0)
                if FIRST:
                    s1 = r * (s1 + d * s0)
                s0 = r * s0
                if WEIGHTED:
                    q1 = r * r * (q1 + d * q0)
                if SQUARES:
                    q0 = r * r * q0
            m = here
        # A row of which nothing but -inf was seen yet has no maximum to subtract. The comparison lets NaN through.
        x = z - tl.where(m > -float("inf"), m, 0.0)
        x = tl.where(x < _NEVER, _NEVER, x)
        e = tl.exp(x)
        s0 += e
        if FIRST:
            s1 += x * e
        if SECOND:
            s2 += x * x * e
        if SQUARES:
            q0 += e * e
        if WEIGHTED:
            q1 += x * e * e
    seen = before > -float("inf")
    d = tl.where(seen, before - m, 0.0)
    r = tl.where(seen, tl.exp(d), 0.0)
    old0 = tl.load(s0_ptr + i)
    old1 = tl.load(s1_ptr + i)
    tl.store(maximum_ptr + i, m)
    tl.store(s0_ptr + i, r * old0 + tl.sum(s0, 0))
    if FIRST:
        tl.store(s1_ptr + i, r * (old1 + d * old0) + tl.sum(s1, 0))
    if SECOND:
        tl.store(s2_ptr + i, r * (tl.load(s2_ptr + i) + 2.0 * d * old1 + d * d * old0) + tl.sum(s2, 0))
    if SQUARES:
        old = tl.load(q0_ptr + i)
        tl.store(q0_ptr + i, r * r * old + tl.sum(q0, 0))
        if WEIGHTED:
            tl.store(q1_ptr + i, r * r * (tl.load(q1_ptr + i) + d * old) + tl.sum(q1, 0))
    token = tl.load(tokens_ptr + row) - offset
    if (token >= 0) & (token < columns):
        tl.store(taken_ptr + i, tl.load(z_ptr + token).to(tl.float32) * scale)


@triton.jit  # type: ignore[untyped-decorator]
def _gradient(  # type: ignore[no-untyped-def]
    z_ptr,
    stride,
    out_ptr,
    out_stride,
    tokens_ptr,
    index_ptr,
    log_norm_ptr,
    alpha_ptr,
    logp_ptr,
    beta_ptr,
    gamma_ptr,
    delta_ptr,
    epsilon_ptr,
    columns,
    offset,
    scale,
    HAS_INDEX: tl.constexpr,
    HAS_LOGP: tl.constexpr,
    HAS_BETA: tl.constexpr,
    HAS_GAMMA: tl.constexpr,
    HAS_DELTA: tl.constexpr,
    HAS_EPSILON: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0)
    row = tl.load(index_ptr + i) if HAS_INDEX else i.to(tl.int64)
    lanes = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = lanes < columns
    z = tl.load(z_ptr + row * stride + lanes, mask=inside, other=-float("inf")).to(tl.float32) * scale
    s = z - tl.load(log_norm_ptr + i)
    s = tl.where(s < _NEVER, _NEVER, s)
    p = tl.exp(s)
    f = tl.load(alpha_ptr + i)
    if HAS_BETA:
        slope = tl.load(beta_ptr + i)
        if HAS_GAMMA:
            slope += tl.load(gamma_ptr + i) * s
        f += slope * s
    if HAS_DELTA:
        inner = tl.load(delta_ptr + i)
        if HAS_EPSILON:
            inner += tl.load(epsilon_ptr + i) * s
        f += inner * p
    g = p * f
    if HAS_LOGP:
        token = tl.load(tokens_ptr + row) - offset
        g += tl.where(lanes == token, tl.load(logp_ptr + i), 0.0)
    tl.store(out_ptr + row * out_stride + lanes, (g * scale).to(out_ptr.dtype.element_ty), mask=inside)
