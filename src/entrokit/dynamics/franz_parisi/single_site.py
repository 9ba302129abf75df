"""The law of one weight's mean m in an effective field, and its moments.

    p(m | f) ∝ exp[ curvature m² + f m + pull h(m) ] on (-1, 1),   h(m) the entropy (nats) of a weight ±1 of mean m

A KL to a reference of mean m₁ is -h(m) - ½ ln((1 - m₁²)/4) - m artanh m₁: its strength is the pull, and the reference
shifts the field.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .quadrature import field_grid

_ROWS = 8192
_SOFT = 10.0


class Moments(NamedTuple):
    """Of fields ``[F]``: ln ∫dm/2 exp[...], ⟨m⟩, ⟨m²⟩ and ⟨sgn m⟩, each ``[F]``."""

    log_z: Tensor
    mean: Tensor
    square: Tensor
    sign: Tensor


def moments(field: Tensor, curvature: float, pull: float, nodes: int) -> Moments:
    """Moments of m at fields ``[F]``."""
    _, m, log_base = _base(curvature, pull, nodes)
    functions = torch.stack([torch.ones_like(m), m, m * m, torch.sign(m)], 1)
    found = []
    for rows in torch.split(field, _ROWS):  # bounded memory
        exponent = torch.addmm(log_base, rows[:, None], m[None])
        top = exponent.amax(1, keepdim=True)
        sums = exponent.sub_(top).exp_() @ functions
        found.append(torch.cat([sums[:, :1].log() + top, sums[:, 1:] / sums[:, :1]], 1))
    return Moments(*torch.cat(found).unbind(1))


def density(field: Tensor, weight: Tensor, curvature: float, nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes artanh m and probabilities, ``[M]`` each, averaged over fields ``[F]`` of weight ``[F]``; no pull."""
    t, m, log_base = _base(curvature, 0.0, nodes)
    return t, weight @ torch.softmax(torch.addmm(log_base, field[:, None], m[None]), 1)


def _base(curvature: float, pull: float, nodes: int) -> tuple[Tensor, Tensor, Tensor]:
    # Of a stiff law the width in t is 1/√stiffness.
    stiffness = pull - 2.0 * curvature
    t, weight = field_grid(math.ceil(nodes * math.sqrt(max(1.0, stiffness / _SOFT))))
    m = torch.tanh(t)
    entropy = torch.special.entr(torch.sigmoid(2.0 * t)) + torch.special.entr(torch.sigmoid(-2.0 * t))
    return t, m, weight.log() + curvature * m * m + pull * entropy
