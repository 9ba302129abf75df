"""Continual learning by posteriors that become priors, as a penalty for anybody's own loop (arXiv 2212.02846)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .binary_weights import weight_kl
from .layer import BinaryVariationalLinear

When = Literal["previous_task", "previous_step"]


class PosteriorPrior:
    """γ KL of a model's binary layers to their own law at an earlier time.

        prior = PosteriorPrior(model)
        for task in tasks:
            for x, y in task:
                loss = cross_entropy(model(x), y) + prior.penalty(1 / len(task.dataset))
                optimizer.zero_grad(); loss.backward(); optimizer.step()
                prior.after_step()
            prior.end_task()

    Args:
        model: with `BinaryVariationalLinear` layers somewhere.
        when: "previous_task", the variational principle: the law when the last task ended, with the β of that time,
            and no penalty before; "previous_step", as the released deep networks: the fields before the last optimiser
            step, at the present β. That one holds back the step, whatever the task, and remembers nothing.
        gamma: γ, at least 0.

    Raises:
        ValueError: another ``when``, gamma out of range, or a model without binary layers.
    """

    def __init__(self, model: nn.Module, when: When = "previous_task", gamma: float = 1.0) -> None:
        if when not in ("previous_task", "previous_step"):
            raise ValueError(f"PosteriorPrior: when is 'previous_task' or 'previous_step', got {when!r}")
        if not 0.0 <= gamma < math.inf:
            raise ValueError(f"PosteriorPrior: gamma must be at least 0 and finite, got {gamma}")
        # Once each, also where layers are shared.
        self._layers = {n: m for n, m in model.named_modules() if isinstance(m, BinaryVariationalLinear)}
        if not self._layers:
            raise ValueError(f"PosteriorPrior: {type(model).__name__} has no BinaryVariationalLinear")
        self.when, self.gamma = when, gamma
        self._reference: dict[str, Tensor] | None = None
        self._latest = self._snapshot()

    def penalty(self, share: float = 1.0) -> Tensor:
        """γ · share · KL in nats, 0-dim, differentiable; 0 while there is no reference.

        Args:
            share: B/P beside a loss summed over a batch of B of the task's P samples, 1/P beside a mean.

        Raises:
            ValueError: share negative or not finite.
        """
        if not 0.0 <= share < math.inf:
            raise ValueError(f"PosteriorPrior: share must be at least 0 and finite, got {share}")
        if self._reference is None or not self.gamma:
            return next(iter(self._layers.values())).theta.new_zeros(())
        kl = [self._kl(layer, self._reference[name]) for name, layer in self._layers.items()]
        return self.gamma * share * torch.stack(kl).sum()

    def after_step(self) -> None:
        """To be called after every optimiser step; only "previous_step" does anything."""
        if self.when == "previous_step":
            self._reference, self._latest = self._latest, self._snapshot()

    def end_task(self) -> None:
        """The law as it is now is the next task's prior."""
        if self.when == "previous_task":
            self._reference = self._snapshot()

    def state_dict(self) -> dict[str, Any]:
        """The references, and of which kind they are."""
        return {
            "when": self.when,
            "reference": None if self._reference is None else {n: t.clone() for n, t in self._reference.items()},
            "latest": {n: t.clone() for n, t in self._latest.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from references.

        Raises:
            ValueError: they are of other layers or shapes, or of another ``when``; nothing is taken then.
        """
        if state.get("when", self.when) != self.when:
            raise ValueError(f"PosteriorPrior: the state is of when={state['when']!r}, and this prior of {self.when!r}")
        taken: dict[str, dict[str, Tensor] | None] = {}
        for kind in ("reference", "latest"):
            given = state.get(kind)
            if given is not None:
                shapes = {n: tuple(t.shape) for n, t in given.items()}
                own = {n: tuple(layer.theta.shape) for n, layer in self._layers.items()}
                if shapes != own:
                    raise ValueError(f"PosteriorPrior: the state is of layers {shapes}, the model has {own}")
                given = {n: t.detach().to(self._layers[n].theta).clone() for n, t in given.items()}
            taken[kind] = given
        self._reference = taken["reference"]
        self._latest = taken["latest"] or self._snapshot()

    def _kl(self, layer: BinaryVariationalLinear, reference: Tensor) -> Tensor:
        if self.when == "previous_step":
            return layer.kl(reference)
        return weight_kl(layer.beta * layer.theta, reference, 1.0)

    def _snapshot(self) -> dict[str, Tensor]:
        """θ before a step; of a task βθ, which is its law, whatever β becomes."""
        scale = {n: 1.0 if self.when == "previous_step" else layer.beta for n, layer in self._layers.items()}
        return {name: scale[name] * layer.snapshot() for name, layer in self._layers.items()}


def beta_schedule(epoch: int, epochs: int, slope: float = 2.0) -> float:
    """β at an epoch, counted from 0, of all epochs of all tasks: 10 tanh(0.1 + slope (epoch + 1)/epochs).

    β grows, weights become certain, and learning stops: with too few ``epochs`` later tasks are not learnt.

    Args:
        slope: 2 in the released run of permuted digits, 1 in that of two tasks.

    Raises:
        ValueError: an epoch that is not one of them, or a negative slope.
    """
    if not 0 <= epoch < epochs or not 0.0 <= slope < math.inf:
        raise ValueError(f"beta_schedule: needs 0 <= epoch < epochs and slope >= 0, got {epoch}, {epochs}, {slope}")
    return 10.0 * math.tanh(0.1 + slope * (epoch + 1) / epochs)
