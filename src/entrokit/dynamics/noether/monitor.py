"""Charges of a training run, and how well SGD keeps their law.

Noether's Learning Dynamics (arXiv 2105.02716). With q̇_n = (q_{n+1} − q_n)/η_n, SGD v ← βv + g + kq, q ← q − ηv gives
for each symmetry with generator G the charge C = ⟨q̇, G⟩ and, exactly and at any learning rate,

    C_n = β (C_{n−1} + η_{n−1} E_{n−1}) − k ⟨q_n, G_n⟩ − ⟨g_n, G_n⟩

with E = ⟨q̇, A q̇⟩ where G = A q, and 0 of translations. The last term is 0 where the symmetry holds: it is the residual.
To first order in η this is the paper's m Ċ + μC = m⟨q̇, Ġ⟩ − k⟨q, G⟩.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .finder import find_symmetries
from .symmetry import Part, Symmetry, symmetry_breaking


@dataclass(frozen=True)
class Balance:
    """One symmetry at the latest step, ``[blocks]`` float64 each.

    Attributes:
        quantity: what gradient flow would keep, before the step: |q|², |q_1|² − |q_2|², or the sum of q.
        charge: C = ⟨q̇, G⟩; half the quantity's velocity, of translations all of it, up to η E.
        kinetic: E, by which the kinetic energy breaks the symmetry: |q̇|², |q̇_1|² − |q̇_2|², or 0.
        residual: what is left of the law, −⟨g, G⟩ and whatever else moved the parameters; NaN where some of them stood
            still (no gradient, learning rate 0, a step that a scaler skipped), so that there is no law to keep.
    """

    quantity: Tensor
    charge: Tensor
    kinetic: Tensor
    residual: Tensor


@dataclass
class _Watched:
    """A part: its parameter, and what the next step carries on of C + ηE; ``started``, whether there is a buffer."""

    part: Part
    parameter: nn.Parameter
    group: dict[str, Any]
    carried: Tensor = field(default_factory=lambda: torch.zeros(()))
    started: bool = False


@dataclass
class _Tracked:
    symmetry: Symmetry
    watched: list[_Watched]
    worst: Tensor
    balance: Balance | None = field(default=None)


class NoetherMonitor:
    """Charges and residuals of a model that `torch.optim.SGD` trains.

    Call `step` in the place of ``optimizer.step``, or `after_step` behind it and before a scheduler changes the rates.
    Each costs a few passes over the monitored parameters in float64, and one copy of them is held. It may start, or
    start again, in the middle of a run. Parameters must be whole: a sharded one (FSDP, ZeRO) is not.

    Args:
        model, optimizer: what is trained; an optimizer may be wrapped as `accelerate` does.
        groups: symmetries; `find_symmetries` of the model by default.
        tolerance: a symmetry whose breaking was ever above it is `broken`, and left out of charges and residuals; by
            default 1e-3, or ε of its dtype where that is more.

    Attributes:
        left_out: symmetries that the optimizer does not train as a whole, and why.
        steps: seen so far.

    Raises:
        TypeError: another optimizer: its kinetic energy is another one. ValueError: Nesterov's momentum, nothing to
            monitor, or a group that the parameters do not have.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        groups: Sequence[Symmetry] | None = None,
        *,
        tolerance: float | None = None,
    ) -> None:
        self._optimizer = _sgd(optimizer)
        self._tolerance = tolerance
        self.left_out: dict[str, str] = {}
        self.steps = 0
        self._parameters = dict(model.named_parameters())
        trained = {id(p): group for group in self._optimizer.param_groups for p in group["params"]}
        self._tracked: list[_Tracked] = []
        self._before: dict[str, Tensor] = {}
        for symmetry in find_symmetries(model) if groups is None else groups:
            if reason := self._why_not(symmetry, trained):
                self.left_out[symmetry.name] = reason
            else:
                parameters = [self._parameters[part.name] for part in symmetry.parts]
                watched = [
                    _Watched(part, p, trained[id(p)]) for part, p in zip(symmetry.parts, parameters, strict=True)
                ]
                worst = torch.zeros(symmetry.parts[0].blocks, dtype=torch.float64, device=parameters[0].device)
                self._tracked.append(_Tracked(symmetry, watched, worst))
                self._before |= {one.part.name: torch.empty_like(one.parameter).detach() for one in watched}
        if not self._tracked:
            raise ValueError(
                f"NoetherMonitor: no symmetry to monitor; left out: {self.left_out or 'none was found, give groups'}"
            )
        self._keep()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Forwards to ``optimizer.step``, then `after_step`. With a closure gradients are not looked at beforehand.

        Raises:
            ValueError: NaN or inf in a monitored gradient; nothing was moved.
        """
        if closure is None:
            for tracked in self._tracked:
                for one in tracked.watched:
                    if one.parameter.grad is not None and not bool(torch.isfinite(one.parameter.grad).all()):
                        raise ValueError(
                            f"{one.part.name}: its gradient holds NaN or inf; the step was not taken. Skip this batch, "
                            "or look for what makes the loss overflow"
                        )
        loss: float | None = self._optimizer.step(closure)
        self.after_step()
        return loss

    @torch.no_grad()
    def after_step(self) -> None:
        """Reads what the step did. Gradients that are still there are held against the symmetries."""
        self.steps += 1
        for tracked in self._tracked:
            gradients = {one.part.name: one.parameter.grad for one in tracked.watched}
            present = {name: grad for name, grad in gradients.items() if grad is not None}
            if len(present) == len(gradients):
                tracked.worst = tracked.worst.fmax(symmetry_breaking(tracked.symmetry, self._before, present))
            moved = [self._move(tracked.symmetry, one) for one in tracked.watched]
            device = tracked.worst.device
            quantity, charge, kinetic, residual = (
                torch.stack([getattr(b, name).to(device) for b in moved]).sum(0) for name in Balance.__annotations__
            )
            tracked.balance = Balance(quantity, charge, kinetic, residual)
        self._keep()

    def balances(self) -> dict[str, Balance]:
        """Every symmetry that holds so far at the latest step; none before the first."""
        broken = self.broken()
        return {
            t.symmetry.name: t.balance for t in self._tracked if t.balance is not None and t.symmetry.name not in broken
        }

    def charges(self) -> dict[str, Tensor]:
        """C of every symmetry that holds, ``[blocks]``."""
        return {name: balance.charge for name, balance in self.balances().items()}

    def residuals(self) -> dict[str, Tensor]:
        """What is left of the law of every symmetry that holds, ``[blocks]``; see `Balance`.

        Rounding of a parameter enters as ε|q|²/η: about 1e-7 |q|²/η in float32.
        """
        return {name: balance.residual for name, balance in self.balances().items()}

    def broken(self) -> dict[str, float]:
        """Symmetries that gradients contradict, with the largest `symmetry_breaking` so far."""
        worst = {t.symmetry.name: (float(t.worst.max()), self._limit(t)) for t in self._tracked}
        return {name: seen for name, (seen, limit) in worst.items() if seen > limit}

    def breaking(self) -> dict[str, Tensor]:
        """The largest `symmetry_breaking` of every block so far, ``[blocks]``, of all symmetries; 0 at first."""
        return {t.symmetry.name: t.worst for t in self._tracked}

    def summary(self) -> dict[str, float]:
        """The latest step in few numbers for a tracker: means over blocks, and of the residual the largest."""
        found: dict[str, float] = {}
        for name, balance in self.balances().items():
            found |= {
                f"noether/{name}/quantity": float(balance.quantity.mean()),
                f"noether/{name}/charge": float(balance.charge.mean()),
                f"noether/{name}/kinetic": float(balance.kinetic.mean()),
                f"noether/{name}/residual": float(balance.residual.abs().max()),
            }
        return found | {f"noether/{name}/broken": worst for name, worst in self.broken().items()}

    def _why_not(self, symmetry: Symmetry, trained: dict[int, dict[str, Any]]) -> str | None:
        for part in symmetry.parts:
            if part.name not in self._parameters:
                raise ValueError(f"{symmetry.name}: the model has no parameter {part.name!r}")
            parameter = self._parameters[part.name]
            part.rows(parameter.detach())
            if not parameter.requires_grad or id(parameter) not in trained:
                return f"{part.name} is not trained by this optimizer"
        return None

    def _keep(self) -> None:
        """What the next step is measured from."""
        for tracked in self._tracked:
            for one in tracked.watched:
                self._before[one.part.name].copy_(one.parameter.detach())
                buffer = self._buffer(one.parameter)
                one.started = buffer is not None
                one.carried = self._carried(tracked.symmetry, one, buffer)

    def _move(self, symmetry: Symmetry, one: _Watched) -> Balance:
        lr, group = float(one.group["lr"]), one.group
        before = self._before[one.part.name]
        was = one.part.rows(before).double()
        change = one.part.rows(one.parameter.detach()).double() - was
        generator = symmetry.generator(one.part, before)
        inner = (was * generator).sum(1)
        velocity = change / lr if lr else torch.full_like(change, torch.nan)
        charge = (velocity * generator).sum(1)
        kinetic = torch.zeros_like(charge)
        if symmetry.kind != "translation":
            kinetic = one.part.sign * velocity.square().sum(1)
        # torch's first momentum buffer is the gradient itself, without dampening.
        damped = 1 - group["dampening"] if group["momentum"] and one.started else 1.0
        residual = charge - group["momentum"] * one.carried + damped * group["weight_decay"] * inner
        return Balance(inner, charge, kinetic, torch.where((change == 0).all(), torch.nan, residual))

    def _carried(self, symmetry: Symmetry, one: _Watched, buffer: Tensor | None) -> Tensor:
        """⟨q̇_{n−1}, G_n⟩, which is C + ηE of the step before, from the optimizer's own velocity −v.

        So a rate of 0, a step that is skipped, or a move from outside makes no difference to the step behind it.
        """
        generator = symmetry.generator(one.part, one.parameter)
        if buffer is None:
            return torch.zeros_like(generator[:, 0])
        return -(one.part.rows(buffer).double() * generator).sum(1)

    def _buffer(self, parameter: nn.Parameter) -> Tensor | None:
        buffer: Tensor | None = self._optimizer.state.get(parameter, {}).get("momentum_buffer")
        return buffer

    def _limit(self, tracked: _Tracked) -> float:
        if self._tolerance is not None:
            return self._tolerance
        return max(1e-3, *(torch.finfo(one.parameter.dtype).eps for one in tracked.watched))


def _sgd(optimizer: torch.optim.Optimizer) -> torch.optim.SGD:
    inner = optimizer
    while not isinstance(inner, torch.optim.SGD):
        wrapped = getattr(inner, "optimizer", None)
        if wrapped is None:
            raise TypeError(
                f"NoetherMonitor: the law is that of torch.optim.SGD, and {type(optimizer).__name__} moves by another "
                "one; find_symmetries and symmetry_breaking need no optimizer"
            )
        inner = wrapped
    if any(group["nesterov"] for group in inner.param_groups):
        raise ValueError("NoetherMonitor: Nesterov's momentum obeys another law; use nesterov=False")
    return inner
