"""LSQ: steps that are learnt; for weights as the peer that StatsQ is held to, for activations as the paper has them.

Learned Step Size Quantization (arXiv 1902.08153), as the code of arXiv 2302.02210 uses it. With codes from -Q_N to Q_P
and N numbers to a step,

    Q = s round(clamp(x / s, -Q_N, Q_P)),   dQ/dx = 1 inside of the clamp, 0 outside
    dQ/ds = g (round(v) - v) inside, g times the end outside; v = x / s, g = 1 / √(Q_P N)

s starts at 2 mean|x| / √Q_P, of unsigned activations at twice that, and counts as 1e-5 where it is less.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..arguments import check_count, check_flag
from .grid import check_bits
from .recognised import Recognised

FLOOR = 1e-5


def learned_step_quantize(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """Q in the shape and precision of ``x``, with LSQ's gradients for ``x`` and ``step``.

    Args:
        x: real floats. step: broadcasts to ``x``; as many numbers share a step as it broadcasts over.
        low, high: first and last code, -Q_N <= 0 and Q_P >= 1.

    Raises:
        ValueError: a step whose shape does not broadcast to that of ``x``, or codes that are none. TypeError: ``x`` is
            no tensor of floats, and would be cut to whole numbers.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"learned_step_quantize: expected a tensor of floats, got {kind}")
    for name, end in (("low", low), ("high", high)):
        if isinstance(end, bool) or not isinstance(end, int):
            raise ValueError(f"learned_step_quantize: {name} is a code, an integer, got {end!r}")
    if not low <= 0 < high:
        raise ValueError(f"learned_step_quantize: codes go from low <= 0 to high >= 1, got {low} to {high}")
    sizes = zip(reversed(x.shape), reversed(step.shape), strict=False)
    if step.ndim > x.ndim or not all(own in (1, size) for size, own in sizes):
        raise ValueError(
            f"learned_step_quantize: steps of shape {list(step.shape)} do not broadcast to {list(x.shape)}"
        )
    values, step = (t.float() if t.dtype.itemsize < 4 else t for t in (x, step))
    g = 1.0 / math.sqrt(high * max(1, x.numel() // step.numel()))
    s = step.detach().clamp_min(FLOOR) + (step - step.detach()) * g
    v = (values / s).clamp(low, high)
    return ((v.round() - v).detach() + v).mul(s).to(x.dtype)


def first_step(x: Tensor, dims: list[int], high: int, factor: float = 2.0) -> Tensor:
    """Where steps start: ``factor`` mean|x| over ``dims``, kept as dimensions of 1, over √Q_P."""
    values = x.detach()
    values = values.float() if values.dtype.itemsize < 4 else values
    return factor * values.abs().mean(dims, keepdim=True) / math.sqrt(high)


class ActivationQuantizer(Recognised):
    """LSQ of activations: a step for every index of one dimension, and a bias that is learnt before and after.

    The steps take their start from the first batch that passes in training; a state dict holds that they did. In
    evaluation nothing of it changes, and without a start there is nothing to round by.

    Args:
        bits: 2 to 8. steps: how many there are, that is the size of ``dim``, as tokens.
        features: size of the last dimension, which biases are for; None for no biases.
        dim: which dimension has the steps, counted from the last one: -2, tokens of ``[..., tokens, features]``.
        signed: codes from -2^(bits - 1) to 2^(bits - 1) - 1, else from 0 to 2^bits - 1 (softmax).

    Raises:
        ValueError: bits outside 2 to 8, steps or features that are no integers of at least 1, a dim that is no negative
            integer, or a sign that is neither True nor False.
    """

    started: Tensor

    def __init__(
        self, bits: int, steps: int, features: int | None = None, *, dim: int = -2, signed: bool = True
    ) -> None:
        super().__init__()
        check_bits("ActivationQuantizer", bits)
        check_count("ActivationQuantizer: steps", steps)
        if features is not None:
            check_count("ActivationQuantizer: features", features)
        if isinstance(dim, bool) or not isinstance(dim, int) or not -255 <= dim < 0:
            raise ValueError(f"ActivationQuantizer: dim is counted from the last, a negative integer, got {dim!r}")
        check_flag("ActivationQuantizer: signed", signed)
        self.bits, self.dim, self.signed = bits, dim, signed
        self.low, self.high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        self.step = nn.Parameter(torch.ones(steps))
        self.before, self.after = (
            nn.Parameter(torch.zeros(features)) if features is not None else None for _ in range(2)
        )
        self.register_buffer("started", torch.tensor(False))
        self._recognise(bits, signed=signed, dim=dim)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., steps, ..., features]`` on 2^bits levels.

        Raises:
            ValueError: another number of steps or features; a batch that steps cannot start from, for it is empty or
                holds NaN or inf; or, in evaluation, steps that no batch has started. TypeError: no floats.
        """
        if x.ndim < -self.dim or x.shape[self.dim] != len(self.step):
            raise ValueError(
                f"ActivationQuantizer: expected {len(self.step)} at dimension {self.dim}, got shape {list(x.shape)}"
            )
        if not x.is_floating_point():
            raise TypeError(f"ActivationQuantizer: expected floats, got {x.dtype}")
        if self.before is not None:
            if x.shape[-1] != len(self.before):
                raise ValueError(
                    f"ActivationQuantizer: biases are for {len(self.before)} features, got shape {list(x.shape)}"
                )
            x = x + self.before
        if not self.started:
            self._start(x)
        shape = [1] * (-self.dim - 1)
        x = learned_step_quantize(x, self.step.view(-1, *shape), self.low, self.high)
        return x if self.after is None else x + self.after

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        if not self.training:
            raise ValueError(
                "ActivationQuantizer: no batch has started the steps, and evaluation does not; pass one in training, "
                "or load a state"
            )
        if not x.numel():
            raise ValueError(
                f"ActivationQuantizer: the first batch is empty, of shape {list(x.shape)}; steps cannot start from it"
            )
        dims = [d for d in range(x.ndim) if d != x.ndim + self.dim]
        first = first_step(x, dims, self.high, 2.0 if self.signed else 4.0).flatten()
        if not bool(torch.isfinite(first).all()):
            raise ValueError("ActivationQuantizer: the first batch holds NaN or inf, and steps cannot start from it")
        self.step.copy_(first)
        self.started.fill_(True)

    def extra_repr(self) -> str:
        return f"bits={self.bits}, steps={len(self.step)}, dim={self.dim}, signed={self.signed}"
