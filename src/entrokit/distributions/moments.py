"""The one pass: running moments under a moving maximum, and the gradient of every statistic as one polynomial.

The page `docs/one-pass.md` derives both. For logits z of a row, with m the largest seen so far and ``x = z - m``:

    S0 = Σ eˣ    S1 = Σ x eˣ    S2 = Σ x² eˣ    Q0 = Σ e²ˣ    Q1 = Σ x e²ˣ

When the maximum grows by δ, every old x shrinks by δ. At the end, with ``L = log S0`` and ``μ = S1 / S0``:

    log Z = m + L    H = L - μ    C = Q0 / S0²    W = Q1 / S0² - L C    V = S2 / S0 - μ²

Backward, with ``s = log p``, the gradient of any sum of statistics in z_j is

    [j = a] g_logp + p_j (α + β s_j + γ s_j² + p_j (δ + ε s_j))

with five coefficients a row, linear in the incoming gradients (`Coefficients.of`). Both are plain numbers a row: what
reads the logits is a back end (`backends.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Moments:
    """Running moments of n rows; each field is ``[n]``. A back end adds tiles of logits to them, in place.

    ``maximum`` and ``taken`` (the logit of the token taken) are -inf until seen.
    """

    maximum: Tensor
    taken: Tensor
    s0: Tensor
    s1: Tensor
    s2: Tensor
    q0: Tensor
    q1: Tensor
    top: Tensor
    wanted: frozenset[str]

    @classmethod
    def empty(cls, rows: int, dtype: torch.dtype, device: torch.device, wanted: frozenset[str]) -> Moments:
        """Moments of rows of which nothing was seen, for the statistics ``wanted``."""

        def full(value: float) -> Tensor:
            return torch.full((rows,), value, dtype=dtype, device=device)

        return cls(
            maximum=full(-torch.inf),
            taken=full(-torch.inf),
            s0=full(0.0),
            s1=full(0.0),
            s2=full(0.0),
            q0=full(0.0),
            q1=full(0.0),
            top=torch.zeros(rows, dtype=torch.int64, device=device),
            wanted=wanted,
        )

    @property
    def wants_first(self) -> bool:
        """Σ x eˣ is needed."""
        return bool(self.wanted & {"entropy", "varentropy"})

    @property
    def wants_second(self) -> bool:
        """Σ x² eˣ is needed."""
        return "varentropy" in self.wanted

    @property
    def wants_squares(self) -> bool:
        """Σ e²ˣ is needed."""
        return bool(self.wanted & {"collision", "weighted_surprise"})

    @property
    def wants_weighted(self) -> bool:
        """Σ x e²ˣ is needed."""
        return "weighted_surprise" in self.wanted

    @property
    def wants_top(self) -> bool:
        """The position of the maximum is needed."""
        return "top_token" in self.wanted

    @property
    def log_norm(self) -> Tensor:
        """``log Z`` of every row; NaN or infinite where the logits are no distribution."""
        return self.maximum.double() + self.s0.double().log()

    def statistics(self) -> dict[str, Tensor]:
        """Every statistic by name, float64; those not wanted are meaningless."""
        s0, s1, s2, q0, q1 = (m.double() for m in (self.s0, self.s1, self.s2, self.q0, self.q1))
        log_s0, mu = s0.log(), s1 / s0
        collision = q0 / s0.square()
        return {
            "logp": (self.taken.double() - self.maximum.double()) - log_s0,
            "entropy": (log_s0 - mu).clamp(min=0.0) + 0.0,  # + 0.0: a one-hot row's entropy is 0.0, not -0.0
            "collision": collision,
            "weighted_surprise": q1 / s0.square() - log_s0 * collision,
            "varentropy": (s2 / s0 - mu.square()).clamp(min=0.0),
            "top_token": self.top,
        }


@dataclass(frozen=True)
class Coefficients:
    """Per row ``[n]``: the gradient is ``p (α + β s + γ s² + p (δ + ε s))``, and ``logp`` more at the token taken.

    ``None``: the term is absent for every row, and is not computed.
    """

    logp: Tensor | None
    alpha: Tensor
    beta: Tensor | None
    gamma: Tensor | None
    delta: Tensor | None
    epsilon: Tensor | None

    @classmethod
    def of(cls, grads: dict[str, Tensor], values: dict[str, Tensor]) -> Coefficients:
        """From incoming gradients and values of the statistics by name, each ``[n]``; absent ones have no gradient."""
        alpha = torch.zeros_like(next(iter(grads.values())))
        beta = gamma = delta = epsilon = None
        if (g := grads.get("logp")) is not None:
            alpha = alpha - g
        if (g := grads.get("entropy")) is not None:
            alpha = alpha - g * values["entropy"]
            beta = -g
        if (g := grads.get("collision")) is not None:
            alpha = alpha - 2 * g * values["collision"]
            delta = 2 * g
        if (g := grads.get("weighted_surprise")) is not None:
            alpha = alpha - g * (2 * values["weighted_surprise"] + values["collision"])
            delta = g if delta is None else delta + g
            epsilon = 2 * g
        if (g := grads.get("varentropy")) is not None:
            H = values["entropy"]
            alpha = alpha + g * (H.square() + 2 * H - values["varentropy"])
            slope = g * (2 * H + 2)
            beta = slope if beta is None else beta + slope
            gamma = g
        return cls(grads.get("logp"), alpha, beta, gamma, delta, epsilon)

    def rows(self, part: slice) -> Coefficients:
        """The coefficients of some of the rows."""
        fields = (self.logp, self.alpha, self.beta, self.gamma, self.delta, self.epsilon)
        return Coefficients(*(None if c is None else c[part] for c in fields))  # type: ignore[arg-type]


def closure(wanted: frozenset[str]) -> frozenset[str]:
    """What must be computed so that everything wanted can also be differentiated."""
    more = {"varentropy": {"entropy"}, "weighted_surprise": {"collision"}}
    return wanted.union(*(more.get(name, set()) for name in wanted))
