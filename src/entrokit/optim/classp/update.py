"""One step of CLASSP on tensors: the rule of a param group, tensor by tensor and by `torch._foreach`.

With gradient g, history S and M = 1[g² > θ] (arXiv 2405.09637, pseudo-code):

    S ← S + M |g|^p
    w ← w - M α g / (ε + S)^{1/p}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

# Where `torch._foreach` has kernels of its own; elsewhere it is a loop.
FOREACH_DEVICES = ("cuda", "xpu")
# Below any |g|: every entry is touched.
_OPEN = -1.0


@dataclass(frozen=True)
class Rule:
    """What a param group makes of a gradient.

    Attributes:
        lr: α, negative where the objective is maximised. eps: ε.
        gate: an entry is touched where ``|g| > gate``. It is √θ: squares of small gradients underflow.
        power: of |g| in the history. root: 1/p, of the history in the step.
        scaled: whether the history divides the step. released: the order of operations of the released code.
    """

    lr: float
    eps: float
    gate: float
    power: float
    root: float
    scaled: bool
    released: bool

    @classmethod
    def of(cls, group: Mapping[str, Any]) -> Rule:
        """The rule that a param group's hyper-parameters say."""
        lr, power, threshold = float(group["lr"]), float(group["power"]), float(group["threshold"])
        released = group["mode"] == "reference"
        if released:
            # It compares "is any square above zero", 0 or 1, with the threshold. Where no square is, the open gate
            # changes nothing either.
            gate = _OPEN if threshold < 1.0 else math.inf
        else:
            gate = math.sqrt(threshold) if threshold >= 0.0 else _OPEN
        return cls(
            lr=-lr if group["maximize"] else lr,
            eps=float(group["eps"]),
            gate=gate,
            power=1.0 if released else power,
            root=1.0 / power,
            scaled=bool(group["apply_scaling"]),
            released=released,
        )

    def touched(self, grad: Tensor) -> Tensor:
        """M g: the gradient, zeros where it does not pass the gate. ``grad`` itself where all of it passes."""
        # At gate 0 what does not pass is 0 already, and a step of 0 and a history of 0 change nothing.
        return grad if self.gate <= 0.0 else hardshrink(grad, self.gate)


class Bucket(NamedTuple):
    """Tensors of one device and dtype: parameters, their gradients, their histories S (float32 or wider)."""

    params: list[Tensor]
    grads: list[Tensor]
    histories: list[Tensor]


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Of sums over time: in half precision those of small numbers stand still, and squares underflow."""
    return torch.promote_types(dtype, torch.float32)


def update_each(rule: Rule, bucket: Bucket) -> None:
    """The step, in place, one tensor after another: temporary memory of two tensors at most."""
    for param, grad, history in zip(*bucket, strict=True):
        touched = rule.touched(grad.to(history.dtype))
        if rule.power == 2.0:
            history.addcmul_(touched, touched)
        elif rule.power == 1.0:
            history.add_(touched.abs())
        else:
            history.add_(touched.abs().pow_(rule.power))
        if not rule.scaled:
            # With alpha the product is fused into the sum, and rounded once less than in the released code.
            param.add_(touched * -rule.lr) if rule.released else param.add_(touched, alpha=-rule.lr)
            continue
        root = history + rule.eps
        if rule.root == 0.5:
            root.sqrt_()
        elif rule.root != 1.0:
            root.pow_(rule.root)
        if rule.released:
            # -(α / root) g, whose last bit is not always that of -(α g) / root.
            param.add_(root.reciprocal_().mul_(-rule.lr).mul_(touched))
        else:
            param.addcdiv_(touched, root, value=-rule.lr)


def update_foreach(rule: Rule, bucket: Bucket) -> None:
    """The step, in place, one operation on all tensors after another: few kernel launches, more temporary memory."""
    params, grads, histories = bucket
    touched = [rule.touched(grad.to(history.dtype)) for grad, history in zip(grads, histories, strict=True)]
    if rule.power == 2.0:
        torch._foreach_addcmul_(histories, touched, touched)
    else:
        sizes = torch._foreach_abs(touched)
        if rule.power != 1.0:
            torch._foreach_pow_(sizes, rule.power)
        torch._foreach_add_(histories, sizes)
        # Before the roots are taken: so that no more than one copy of the gradients is held.
        del sizes
    if not rule.scaled:
        if rule.released:
            torch._foreach_add_(params, torch._foreach_mul(touched, -rule.lr))
        else:
            torch._foreach_add_(params, touched, alpha=-rule.lr)
        return
    roots = torch._foreach_add(histories, rule.eps)
    if rule.root == 0.5:
        torch._foreach_sqrt_(roots)
    elif rule.root != 1.0:
        torch._foreach_pow_(roots, rule.root)
    if rule.released:
        torch._foreach_reciprocal_(roots)
        torch._foreach_mul_(roots, -rule.lr)
        torch._foreach_mul_(roots, touched)
        torch._foreach_add_(params, roots)
    else:
        torch._foreach_addcdiv_(params, touched, roots, value=-rule.lr)
