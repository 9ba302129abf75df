"""`RadiusClip`: any optimiser, whose steps stay inside the disc in which the loss has a Taylor series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .inputs import Call, LastInputs
from .meter import StepMeter, StepRadius, step_spreads
from .slopes import check_method
from .spread import check_class_dim


class RadiusClip(Optimizer):
    """Lets another optimiser step, and takes back of the step what is longer than ``target_r`` radii.

        optimizer = RadiusClip(torch.optim.AdamW(model.parameters(), lr=1e-3), model)
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        print(optimizer.last.r)

    The step p is the whole one, momentum, preconditioner and weight decay included: ``s p`` with ``s = min(1,
    target_r / r)`` and ``r = ‖p‖ / ρ``, ``ρ = π / max_x Δ_a(x)`` along p (arXiv 2603.13552). The loss is a
    cross-entropy, of softmax or sigmoid. The inner optimiser's state is what it would be without. Groups, state and
    state_dict are its own, so that learning-rate schedulers and `accelerate` work as on any optimiser, and a state_dict
    can be loaded with or without this wrapper.

    What the model is called with in training mode is kept until the step, or until `zero_grad` after a backward pass
    whose step was skipped, as by a gradient scaler (the model's own ``zero_grad`` is not seen). `close` ends that, and
    so does garbage collection.

    A step costs a Jacobian-vector product on at most ``max_samples`` rows, and two copies of the parameters while it
    lasts. In a process group the largest r of all ranks counts; parameters in pieces (FSDP, ZeRO) are not supported.

    Args:
        optimizer: the one that steps. model: gives logits, see `logit_spread`; may have more parameters.
        target_r: the largest r; 1 is the theorem's, 0.5 conservative, 2 was tolerated and 4 harmful in the paper.
            ``math.inf`` measures, changes nothing, and refuses no step: r of one that is NaN or infinite is infinite.
        exactly: every step gets ``target_r``, whatever the learning rate.
        max_samples: rows drawn by lot of those of the step; None for all. reduction: over them, see `worst_spread`.
        method: see `slopes_along`. class_dim: over which the loss takes its softmax, see `logit_spread`: the last one
            unless you say so, where torch's `cross_entropy` takes dimension 1; None for sigmoids.
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
        class_dim: int | None = -1,
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
        check_class_dim(class_dim)
        self._meter = StepMeter(target_r, exactly=exactly, reduction=reduction)
        super().__init__(optimizer.param_groups, optimizer.defaults)
        self.optimizer = optimizer
        self.model, self.max_samples, self.seed = model, max_samples, seed
        self.method, self.class_dim = method, class_dim
        self.last: StepRadius | None = None
        self._steps = 0
        self._samples = None if samples is None else Call.of(samples)
        self._closed = False
        self._watch()
        self._share()

    def _watch(self) -> None:
        self._seen = LastInputs()
        if self._samples is None and not self._closed:
            self._seen.attach(self.model, self._parameters())

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def close(self) -> None:
        """Removes the hooks from the model and forgets its inputs; a step afterwards must be told ``inputs``."""
        self._closed = True
        self._seen.detach()

    def __del__(self) -> None:
        if "_seen" in self.__dict__:
            self._seen.detach()

    def _share(self) -> None:
        """Groups and state are the inner optimiser's own objects."""
        self.param_groups, self.state = self.optimizer.param_groups, self.optimizer.state

    def step(self, closure: Any = None, *, inputs: Any = None) -> Any:
        """A step of the inner optimiser, shortened to ``target_r`` radii; returns what that returns.

        Args:
            closure: as of any optimiser. inputs: what the model was trained on, where it was not called itself.

        Raises:
            RuntimeError: nothing is known of the model's inputs.
            FloatingPointError: a gradient, an update or the logits' slopes are NaN or infinite, and ``target_r`` is
                finite.

        Whatever is raised, the parameters stay as they were. A NaN gradient and unknown inputs are found before the
        inner optimiser steps, and leave its state as it was too, unless there is a closure. All else is found after:
        its state has the refused step in it, and is best loaded from before.
        """
        parameters = self._parameters()
        if closure is None:
            if self._meter.target_r < math.inf:
                _refuse_broken(parameters)
            self._calls(inputs, parameters)
        self._meter.begin(self.model, parameters)
        # Most optimisers take a closure that is None; one without the argument is not asked to.
        try:
            loss = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        except BaseException:
            self._meter.put_back()
            raise

        def spreads(before: Any, update: Any) -> tuple[Tensor, int]:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self._steps)
            calls = self._calls(inputs, parameters)
            options: Any = {"method": self.method, "class_dim": self.class_dim, "generator": generator}
            return step_spreads(self.model, calls, self.max_samples, **options)(before, update)

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
            what = "it was closed" if self._closed else "the model was not called in training mode since the last step"
            raise RuntimeError(
                f"RadiusClip: {what}; call the model that RadiusClip was given, or say step(inputs=...) or "
                "RadiusClip(..., samples=...)"
            )
        return list(self._seen.calls)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """The inner optimiser's; inputs whose gradients are thrown away are forgotten."""
        self.optimizer.zero_grad(set_to_none)
        self._seen.drop_learned()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group to the inner optimiser, which gives it its defaults."""
        if "optimizer" in self.__dict__:
            self.optimizer.add_param_group(param_group)
            if not self._closed and self._samples is None:
                self._seen.follow(self.param_groups[-1]["params"])
        else:  # while the groups of the inner one are taken over
            super().add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The inner optimiser's, and under ``radius`` how many steps were taken, which decides the draws of rows."""
        return self.optimizer.state_dict() | {"radius": {"steps": self._steps}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads its own `state_dict`, or that of a bare inner optimiser."""
        inner = dict(state_dict)
        steps = int(inner.pop("radius", {"steps": 0})["steps"])
        self.optimizer.load_state_dict(inner)
        self._steps = steps
        self._share()

    def __getstate__(self) -> dict[str, Any]:
        names = (
            "defaults",
            "state",
            "param_groups",
            "optimizer",
            "model",
            "max_samples",
            "method",
            "class_dim",
            "seed",
        )
        return {name: self.__dict__[name] for name in (*names, "last", "_steps", "_samples", "_closed", "_meter")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._watch()


def _refuse_broken(parameters: Sequence[Tensor]) -> None:
    gradients = [g.coalesce().values() if g.is_sparse else g for p in parameters if (g := p.grad) is not None]
    if gradients and not bool(torch.stack([torch.isfinite(g).all().to(gradients[0].device) for g in gradients]).all()):
        raise FloatingPointError("RadiusClip: a gradient is NaN or infinite; nothing was changed")
