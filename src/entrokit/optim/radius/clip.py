"""`RadiusClip`: any optimiser, whose steps stay inside the disc in which the loss has a Taylor series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .inputs import Call, LastInputs
from .meter import StepMeter, StepRadius, step_spreads
from .slopes import check_method


class RadiusClip(Optimizer):
    """Lets another optimiser step, and takes back of the step what is longer than ``target_r`` radii.

        optimizer = RadiusClip(torch.optim.AdamW(model.parameters(), lr=1e-3), model)
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        print(optimizer.last.r)

    The step p is the whole one, momentum, preconditioner and weight decay included: ``s p`` with ``s = min(1,
    target_r / r)`` and ``r = ‖p‖ / ρ``, ``ρ = π / max_x Δ_a(x)`` along p (arXiv 2603.13552). The inner optimiser's
    state is what it would be without. Groups, state and state_dict are its own, so that learning-rate schedulers and
    `accelerate` work as on any optimiser, and a state_dict can be loaded with or without this wrapper.

    A step costs a Jacobian-vector product on at most ``max_samples`` rows, and two copies of the parameters while it
    lasts. In a process group the largest r of all ranks counts; parameters in pieces (FSDP, ZeRO) are not supported.

    Args:
        optimizer: the one that steps. model: gives logits, see `logit_spread`; may have more parameters.
        target_r: the largest r; 1 is the theorem's, 0.5 conservative, 2 was tolerated and 4 harmful in the paper.
            ``math.inf`` measures and changes nothing.
        exactly: every step gets ``target_r``, whatever the learning rate.
        max_samples: rows drawn by lot of those of the step; None for all. reduction: over them, see `worst_spread`.
        method: see `slopes_along`.
        samples: a batch on which every step is measured, instead of what the model was trained on since the last step.
        seed: of the draws.

    Attributes:
        last: the `StepRadius` of the last step; None before the first.

    Raises:
        ValueError: an option out of range.
        TypeError: no optimiser or no model.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        target_r: float = 1.0,
        *,
        exactly: bool = False,
        max_samples: int | None = 256,
        reduction: str | float = "max",
        method: str = "auto",
        samples: Any = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(optimizer, Optimizer) or not isinstance(model, nn.Module):
            raise TypeError(
                f"RadiusClip: expected an optimiser and a module, got {type(optimizer).__name__} and "
                f"{type(model).__name__}"
            )
        if max_samples is not None and max_samples < 1:
            raise ValueError(f"RadiusClip: max_samples must be at least 1, or None for all, got {max_samples}")
        check_method(method)
        self._meter = StepMeter(target_r, exactly=exactly, reduction=reduction)
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer = optimizer
        self.model, self.max_samples, self.method, self.seed = model, max_samples, method, seed
        self.last: StepRadius | None = None
        self._steps = 0
        self._samples = None if samples is None else Call.of(samples)
        self._seen = LastInputs()
        if samples is None:
            model.register_forward_pre_hook(self._seen, with_kwargs=True)
        self._share()

    def _share(self) -> None:
        """Groups and state are the inner optimiser's own objects."""
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state

    def step(self, closure: Any = None, *, inputs: Any = None) -> Any:
        """A step of the inner optimiser, shortened to ``target_r`` radii; returns what that returns.

        Args:
            closure: as of any optimiser. inputs: what the model was trained on, where it was not called itself.

        Raises:
            RuntimeError: nothing is known of the model's inputs.
            FloatingPointError: a gradient, an update or the logits' slopes are NaN or infinite. Parameters stay as they
                were; without a closure so does the inner optimiser's state.
        """
        parameters = [p for group in self.param_groups for p in group["params"]]
        if closure is None:
            _refuse_broken(parameters)
            self._calls(inputs, parameters)
        self._meter.begin(self.model, parameters)
        # Most optimisers take a closure that is None; one without the argument is not asked to.
        loss = self.optimizer.step() if closure is None else self.optimizer.step(closure)

        def spreads(before: Any, update: Any) -> tuple[Tensor, int]:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self._steps)
            calls = self._calls(inputs, parameters)
            return step_spreads(self.model, calls, self.max_samples, method=self.method, generator=generator)(
                before, update
            )

        try:
            self.last = self._meter.end(spreads)
        finally:
            self._seen.clear()
        self._steps += 1
        return loss

    def _calls(self, inputs: Any, parameters: Sequence[Tensor]) -> list[Call]:
        if inputs is not None:
            return [Call.of(inputs)]
        if self._samples is not None:
            return [self._samples]
        if not self._seen.calls and any(p.grad is not None for p in parameters):
            raise RuntimeError(
                "RadiusClip: the model was not called in training mode since the last step; call the model that "
                "RadiusClip was given, or say step(inputs=...) or RadiusClip(..., samples=...)"
            )
        return list(self._seen.calls)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group to the inner optimiser, which gives it its defaults."""
        if "optimizer" in self.__dict__:
            self.optimizer.add_param_group(param_group)
        else:  # while the groups of the inner one are taken over
            super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The inner optimiser's, and under ``radius`` how many steps were taken, which decides the draws of rows."""
        return self.optimizer.state_dict() | {"radius": {"steps": self._steps}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads its own `state_dict`, or that of a bare inner optimiser."""
        inner = dict(state_dict)
        self._steps = int(inner.pop("radius", {"steps": 0})["steps"])
        self.optimizer.load_state_dict(inner)
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        names = ("defaults", "state", "param_groups", "optimizer", "model", "max_samples", "method", "seed", "last")
        return {name: self.__dict__[name] for name in (*names, "_steps", "_samples", "_seen", "_meter")}


def _refuse_broken(parameters: Sequence[Tensor]) -> None:
    gradients = [g.coalesce().values() if g.is_sparse else g for p in parameters if (g := p.grad) is not None]
    if gradients and not bool(torch.stack([torch.isfinite(g).all().to(gradients[0].device) for g in gradients]).all()):
        raise FloatingPointError("RadiusClip: a gradient is NaN or infinite; nothing was changed")
