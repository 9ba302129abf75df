"""Charges of a training run, and how well SGD keeps their law.

Noether's Learning Dynamics (arXiv 2105.02716). With q̇_n = (q_{n+1} − q_n)/η_n, SGD v ← βv + g + kq, q ← q − ηv gives
for each symmetry with generator G the charge C = ⟨q̇, G⟩ and, exactly and at any learning rate,

    C_n = β (C_{n−1} + η_{n−1} E_{n−1}) − k ⟨q_n, G_n⟩ − ⟨g_n, G_n⟩

with E = ⟨q̇, A q̇⟩ where G = A q, and 0 of translations. The last term is 0 where the symmetry holds: it is the residual.
To first order in η this is the paper's m Ċ + μC = m⟨q̇, Ġ⟩ − k⟨q, G⟩.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .finder import find_symmetries
from .law import Balance, Tracked, Watched, carried, move
from .symmetry import Symmetry


class NoetherMonitor:
    """Charges and residuals of a model that `torch.optim.SGD` trains.

    Call `step` in the place of ``optimizer.step``, or `after_step` behind it and before a scheduler changes the rates.
    Each costs a few passes over the monitored parameters in float64, and one copy of them is held. It may start, or
    start again, in the middle of a run. Parameters must be whole: a sharded one (FSDP, ZeRO) is not.

    A hook of the optimizer looks at the parameters before each of its steps. Where others have moved them since the
    monitor looked last (a step without `after_step`, ``load_state_dict``, a projection), the law starts anew from where
    they are, and the gradients of that step, which may have been taken elsewhere, are not held against the symmetries
    whose parameters moved. What moves them between a step and `after_step` enters the residual. A second hook holds the
    gradients of a step against the symmetries once it is taken: a step that a scaler skips tests nothing.

    Args:
        model, optimizer: what is trained; an optimizer may be wrapped as `accelerate` does.
        groups: symmetries; `find_symmetries` of the model by default.
        tolerance: a symmetry with a `breaking` above it is `broken`, and left out of charges and residuals; by default
            1e-3, or √ε of its dtype where that is more (0.031 in float16, 0.088 in bfloat16): a gradient is rounded to
            about ε of its usual size, which is √ε of the smallest one that `symmetry_breaking` measures against
            itself. Autocast rounds gradients of float32 parameters, which do not tell: give the tolerance then.

    Attributes:
        left_out: symmetries that the optimizer does not train as a whole, and why.
        steps: seen so far.
        restarts: of these, before how many others had moved a monitored parameter.

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
        self.steps = self.restarts = 0
        self._moved: set[str] = set()
        self._stepped = False
        self._parameters = dict(model.named_parameters())
        trained = _groups(self._optimizer)
        self._tracked: list[Tracked] = []
        self._before: dict[str, Tensor] = {}
        for symmetry in find_symmetries(model) if groups is None else groups:
            if reason := self._why_not(symmetry, trained):
                self.left_out[symmetry.name] = reason
            else:
                parameters = [self._parameters[part.name] for part in symmetry.parts]
                watched = [Watched(part, p) for part, p in zip(symmetry.parts, parameters, strict=True)]
                none = torch.zeros(symmetry.parts[0].blocks, dtype=torch.float64, device=parameters[0].device)
                self._tracked.append(Tracked(symmetry, watched, none, none))
                self._before |= {one.part.name: torch.empty_like(one.parameter).detach() for one in watched}
        if not self._tracked:
            raise ValueError(
                f"NoetherMonitor: no symmetry to monitor; left out: {self.left_out or 'none was found, give groups'}"
            )
        self._keep()
        self._listen()

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
        """Reads what the step did."""
        if not self._stepped:  # a scaler skipped it: what has moved since was moved by others
            self._start()
        self.steps += 1
        self.restarts += bool(self._moved)
        # Anew at each step: a state that is loaded brings the optimizer new groups.
        groups = _groups(self._optimizer)
        for tracked in self._tracked:
            device = tracked.along.device
            steps = [
                move(tracked.symmetry, one, groups[id(one.parameter)], self._before[one.part.name])
                for one in tracked.watched
            ]
            quantity, charge, kinetic, residual = (
                torch.stack([getattr(b, name).to(device) for b in steps]).sum(0) for name in Balance.__annotations__
            )
            tracked.balance = Balance(quantity, charge, kinetic, residual)
        self._keep()
        self._moved, self._stepped = set(), False

    def reset(self) -> None:
        """Forgets what was seen, verdicts too; the law starts anew from the parameters as they are."""
        self.steps = self.restarts = 0
        for tracked in self._tracked:
            tracked.along, tracked.size = torch.zeros_like(tracked.along), torch.zeros_like(tracked.size)
            tracked.balance = None
        self._keep()
        self._moved, self._stepped = set(), False

    def state_dict(self) -> dict[str, Any]:
        """What was seen, for a checkpoint, beside the states of model and optimizer: numbers and tensors alone."""
        return {
            "steps": self.steps,
            "restarts": self.restarts,
            "symmetries": {t.symmetry.name: t.state_dict() for t in self._tracked},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on exactly from a state, once the model's and the optimizer's are loaded.

        Raises:
            ValueError: it is of other symmetries or blocks; nothing is taken then.
        """
        blocks = {name: len(one["along"]) for name, one in state["symmetries"].items()}
        own = {t.symmetry.name: len(t.along) for t in self._tracked}
        if blocks != own:
            raise ValueError(
                f"NoetherMonitor: the state is of symmetries and blocks {blocks}, and those monitored are {own}"
            )
        self.reset()
        self.steps, self.restarts = int(state["steps"]), int(state["restarts"])
        for tracked in self._tracked:
            tracked.load_state_dict(state["symmetries"][tracked.symmetry.name])

    def balances(self) -> dict[str, Balance]:
        """Every symmetry that holds so far, at the latest step; none before the first."""
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
        """Symmetries that gradients contradict, with the largest `breaking` of their blocks."""
        worst = {t.symmetry.name: (float(t.breaking.max()), self._limit(t)) for t in self._tracked}
        return {name: seen for name, (seen, limit) in worst.items() if seen > limit}

    def breaking(self) -> dict[str, Tensor]:
        """Σ |⟨∇f, G⟩| / Σ |∇f| |G| over steps, ``[blocks]``, of all symmetries; 0 at first.

        It is the mean of `symmetry_breaking`, weighted by the gradient: where contributions of a batch cancel, what is
        left is mostly rounding, and counts for little.
        """
        return {t.symmetry.name: t.breaking for t in self._tracked}

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

    def _listen(self) -> None:
        # The optimizer must not keep the monitor alive.
        own = weakref.ref(self)

        def start(*_: object) -> None:
            if (monitor := own()) is not None:
                monitor._start()

        def test(*_: object) -> None:
            if (monitor := own()) is not None:
                monitor._test()

        for handle in (
            self._optimizer.register_step_pre_hook(start),
            self._optimizer.register_step_post_hook(test),
        ):
            weakref.finalize(self, handle.remove)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A copy has a copy of the optimizer, which hooks do not come along with.
        self.__dict__.update(state)
        self._listen()

    @torch.no_grad()
    def _start(self) -> None:
        """A step begins: whatever is elsewhere than the monitor left it was moved by others."""
        self._moved |= {
            name for name, kept in self._before.items() if not torch.equal(kept, self._parameters[name].detach())
        }
        self._keep()
        self._stepped = True

    @torch.no_grad()
    def _test(self) -> None:
        """A step was taken, with the gradients that are there."""
        for tracked in self._tracked:
            if not any(one.part.name in self._moved for one in tracked.watched):
                tracked.test(self._before)

    def _keep(self) -> None:
        """What the next step is measured from."""
        for tracked in self._tracked:
            for one in tracked.watched:
                self._before[one.part.name].copy_(one.parameter.detach())
                buffer = self._buffer(one.parameter)
                one.started = buffer is not None
                one.carried = carried(tracked.symmetry, one, buffer)

    def _buffer(self, parameter: nn.Parameter) -> Tensor | None:
        buffer: Tensor | None = self._optimizer.state.get(parameter, {}).get("momentum_buffer")
        return buffer

    def _limit(self, tracked: Tracked) -> float:
        if self._tolerance is not None:
            return self._tolerance
        return max(1e-3, *(math.sqrt(torch.finfo(one.parameter.dtype).eps) for one in tracked.watched))


def _groups(optimizer: torch.optim.SGD) -> dict[int, dict[str, Any]]:
    """The group of every parameter, by its id."""
    return {id(p): group for group in optimizer.param_groups for p in group["params"]}


def _sgd(optimizer: torch.optim.Optimizer) -> torch.optim.SGD:
    inner = optimizer
    while not isinstance(inner, torch.optim.SGD):
        wrapped = getattr(inner, "optimizer", None)
        if wrapped is None:
            raise TypeError(
                f"NoetherMonitor: the law is that of torch.optim.SGD, and {type(inner).__name__} moves by another "
                "one; find_symmetries and symmetry_breaking need no optimizer"
            )
        inner = wrapped
    if any(group["nesterov"] for group in inner.param_groups):
        raise ValueError("NoetherMonitor: Nesterov's momentum obeys another law; use nesterov=False")
    return inner
