"""Per-token statistics of a language model's next-token distribution, in one chunked pass over the vocabulary.

With ``s_j = log p_j`` (``p = softmax(logits / temperature)``) and sampled token ``a``, per token:

    logp = s_a                              entropy = H = -Σ p s
    collision = C = Σ p²                    weighted_surprise = W = Σ p² s
    varentropy = V = Σ p s² - H²

Backward, written by hand so that only the logits are kept for it (times 1/temperature):

    ∂logp/∂z_j = [j = a] - p_j              ∂H/∂z_j = -p_j (s_j + H)
    ∂C/∂z_j    = 2 p_j (p_j - C)            ∂W/∂z_j = p_j (2 p_j s_j + p_j - 2W - C)
    ∂V/∂z_j    = p_j ((s_j + H)² + 2 (s_j + H) - V)

Work is done in float32 (float64 for float64 logits) on one chunk of tokens at a time, so no float32 copy of the logits
ever exists as a whole.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

STATISTICS = ("logp", "entropy", "collision", "weighted_surprise", "varentropy")

# Elements of logits held in float32 at a time: 16 MiB, within a CPU's caches' reach and small beside any model.
_CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class TokenStatistics:
    """Statistics of the next-token distribution at each position, in nats; ``None`` where not asked for.

    Attributes:
        logp: ``log π(token)``, in [-inf, 0].
        entropy: ``-Σ π log π`` over the whole vocabulary, in [0, log V].
        collision: ``Σ π²``, in [1/V, 1].
        weighted_surprise: ``Σ π² log π``, in [-1/e, 0].
        varentropy: ``Σ π (log π)² - entropy²``, >= 0: minus the derivative of entropy in log-inverse-temperature.
    """

    logp: Tensor
    entropy: Tensor | None = None
    collision: Tensor | None = None
    weighted_surprise: Tensor | None = None
    varentropy: Tensor | None = None


def token_statistics(
    logits: Tensor, tokens: Tensor, *, temperature: float = 1.0, need: Collection[str] = STATISTICS
) -> TokenStatistics:
    """Statistics of ``softmax(logits / temperature)`` at every position, differentiable in the logits.

    Args:
        logits: ``[..., V]``, any floating dtype; ``-inf`` marks a forbidden token.
        tokens: ``[...]``, the token taken at each position, in [0, V).
        temperature: sampling temperature, > 0.
        need: which of `STATISTICS` to compute; ``logp`` always is.

    Returns:
        Tensors of shape ``[...]``, float32 (float64 for float64 logits).

    Raises:
        ValueError: unknown names in ``need``; shapes that differ; a token outside the vocabulary; a temperature that
            is not positive; NaN, ``+inf`` or a whole row of ``-inf`` among the logits (with the first position).
    """
    unknown = sorted(set(need) - set(STATISTICS))
    if unknown:
        raise ValueError(f"need: unknown statistics {unknown}; valid names are {list(STATISTICS)}")
    if not temperature > 0:
        raise ValueError(f"temperature: must be > 0, got {temperature}")
    if logits.shape[:-1] != tokens.shape:
        raise ValueError(
            f"tokens: expected one token per row of logits, shape {tuple(logits.shape[:-1])}, got {tuple(tokens.shape)}"
        )
    vocabulary = logits.shape[-1]
    if tokens.numel() and not bool(((tokens >= 0) & (tokens < vocabulary)).all()):
        first = ((tokens < 0) | (tokens >= vocabulary)).nonzero()[0].tolist()
        raise ValueError(
            f"tokens: {int(tokens[tuple(first)])} at {first} lies outside the vocabulary [0, {vocabulary})"
        )
    wanted = tuple(name in need for name in STATISTICS[1:])
    values: tuple[Tensor, ...] = _OnePass.apply(logits, tokens, float(temperature), wanted)  # type: ignore[no-untyped-call]
    return TokenStatistics(
        values[0], *(value if asked else None for value, asked in zip(values[1:], wanted, strict=True))
    )


class _OnePass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor, temperature: float, wanted: tuple[bool, ...]
    ) -> tuple[Tensor, ...]:
        rows = logits.reshape(-1, logits.shape[-1])
        index = tokens.reshape(-1)
        out = torch.zeros(5, rows.shape[0], dtype=_working_dtype(logits), device=logits.device)
        norm = torch.empty(2, rows.shape[0], dtype=out.dtype, device=logits.device)
        for part in _chunks(rows):
            _chunk_forward(rows[part], index[part], temperature, wanted, out[:, part], norm[:, part])
        _refuse_broken_rows(norm.sum(0), tokens.shape)
        ctx.save_for_backward(logits, tokens, norm, out)
        ctx.temperature = temperature
        return tuple(row.view(tokens.shape) for row in out.unbind(0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        logits, tokens, norm, out = ctx.saved_tensors
        rows, index = logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1)
        g = torch.stack([grad.reshape(-1).to(out.dtype) for grad in grads]) / ctx.temperature
        grad_rows = torch.empty_like(rows, memory_format=torch.contiguous_format)
        for part in _chunks(rows):
            top, log_sum = norm[:, part, None]
            s = (rows[part].to(out.dtype) / ctx.temperature).sub_(top).sub_(log_sum)
            grad_rows[part] = _chunk_backward(s, index[part], out[:, part, None], g[:, part, None])
        return grad_rows.view(logits.shape), None, None, None


def _chunk_forward(
    rows: Tensor, index: Tensor, temperature: float, wanted: tuple[bool, ...], out: Tensor, norm: Tensor
) -> None:
    """Fills ``out`` (5, n) and ``norm`` (2, n) for one chunk of rows (n, V).

    The normaliser is kept as maximum and log of the remaining sum: added up, a large logit would round away the
    digits of a small log-probability.
    """
    z = rows.to(out.dtype) / temperature
    norm[0] = z.amax(-1)
    z.sub_(norm[0, :, None])
    norm[1] = torch.logsumexp(z, -1)
    s = z.sub_(norm[1, :, None])
    out[0] = s.gather(-1, index[:, None]).squeeze(-1)
    entropy, collision, surprise, varentropy = wanted
    if not any(wanted):
        return
    p = s.exp()
    s = s.masked_fill_(s == -torch.inf, 0.0)
    ps = p * s
    # Subtracted from 0 so that a one-hot row gives 0.0, not -0.0.
    H = (0.0 - ps.sum(-1)).clamp_(min=0.0)
    if entropy:
        out[1] = H
    if collision:
        out[2] = p.square().sum(-1)
    if surprise:
        out[3] = (p * ps).sum(-1)
    if varentropy:
        # Around the mean, so that it does not cancel: Σ p s² - H² loses all digits when p is nearly one-hot.
        out[4] = (p * (s + H[:, None]).square()).sum(-1)


def _chunk_backward(s: Tensor, index: Tensor, out: Tensor, g: Tensor) -> Tensor:
    """Gradient in the scaled logits for one chunk: s (n, V), out and g (5, n, 1)."""
    _, H, C, W, V = out
    g_logp, g_entropy, g_collision, g_surprise, g_varentropy = g
    p = s.exp()
    s = s.masked_fill_(s == -torch.inf, 0.0)
    factor = -g_logp.expand_as(p)
    if g_entropy.any():
        factor = factor - g_entropy * (s + H)
    if g_collision.any():
        factor = factor + 2.0 * g_collision * (p - C)
    if g_surprise.any():
        factor = factor + g_surprise * (p * (2.0 * s + 1.0) - 2.0 * W - C)
    if g_varentropy.any():
        d = s + H
        factor = factor + g_varentropy * (d * (d + 2.0) - V)
    grad = p.mul_(factor)
    return grad.scatter_add_(-1, index[:, None], g_logp)


def _chunks(rows: Tensor) -> list[slice]:
    size = max(1, _CHUNK_ELEMENTS // max(1, rows.shape[-1]))
    return [slice(start, start + size) for start in range(0, rows.shape[0], size)]


def _working_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _refuse_broken_rows(log_norm: Tensor, shape: torch.Size) -> None:
    """The normaliser is finite exactly when the row holds no NaN, no +inf and at least one finite logit."""
    finite = torch.isfinite(log_norm)
    if not bool(finite.all()):
        first = torch.unravel_index((~finite).nonzero()[0, 0], shape)
        raise ValueError(
            f"logits: NaN, +inf, or nothing but -inf in {int((~finite).sum())} of {finite.numel()} positions, first at "
            f"{[int(i) for i in first]}; look for an overflow in the model, a learning rate that is too high, or a "
            "logits processor that forbids every token"
        )
