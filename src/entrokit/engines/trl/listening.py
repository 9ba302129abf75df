"""Listens to a TRL trainer's loss: which tokens it saw, and its derivatives in their statistics.

Nothing is computed twice and nothing is changed: hooks on the statistics keep what the backward pass brings anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import PolicyStats

from .trainer import EntropyGRPOTrainer


@dataclass
class Captured:
    """A micro-batch of the step, and the derivatives of the loss in its tokens' statistics, all ``[B, T]``."""

    ids: Tensor
    real: Tensor
    prompt: Tensor
    tokens: Tensor
    trained: Tensor
    advantages: Tensor
    logp: Tensor | None = None
    entropy: Tensor | None = None
    coefficients: dict[str, Tensor] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    @property
    def active(self) -> Tensor:
        """``[B, T]`` bool: the loss takes a gradient from them."""
        found = torch.zeros_like(self.trained)
        for coefficient in self.coefficients.values():
            found |= coefficient != 0
        return found

    def _keep(self, name: str, derivative: Tensor) -> None:
        self.coefficients[name] = derivative.detach()

    def watch(self, name: str, value: Tensor) -> None:
        """Keeps a statistic, and its derivative once it is known; the last one counts."""
        if name == "logp":
            self.logp = value.detach()
        elif name == "entropy":
            self.entropy = value.detach()
        if value.requires_grad:
            value.register_hook(partial(self._keep, name))  # type: ignore[no-untyped-call]

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> Captured:
        """From the batch that TRL hands to its loss."""
        prompt, completion = inputs["prompt_ids"], inputs["completion_ids"]
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        train = inputs["completion_mask"].bool()
        if inputs.get("tool_mask") is not None:
            train = train & inputs["tool_mask"].bool()
        advantages = inputs["advantages"]
        advantages = advantages[:, None].expand(train.shape) if advantages.dim() == 1 else advantages
        return cls(
            ids=torch.cat([prompt, completion], 1),
            real=attention,
            prompt=prompt.masked_fill(inputs["prompt_mask"] == 0, -1),
            tokens=completion,
            trained=train,
            advantages=advantages.detach(),
        )


class LossListener:
    """Wraps a trainer's loss. Between `begin` and `end` it keeps the micro-batches of training.

    Attributes:
        batches: of the step that is listened to; None outside.
        norm: of the last gradient before it was clipped; NaN where it never is.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self.batches: list[Captured] | None = None
        self.norm = math.nan
        self._listen()

    def begin(self) -> None:
        self.batches = []

    def end(self) -> None:
        self.batches = None

    @property
    def kept_by_clipping(self) -> float:
        """The factor that clipping has multiplied the gradient by."""
        limit = self._trainer.args.max_grad_norm
        if not limit or not math.isfinite(self.norm):
            return 1.0
        return min(1.0, float(limit) / (self.norm + 1e-6))

    def _listen(self) -> None:
        """Wraps the trainer's loss and the function that gives it log-probabilities."""
        trainer, compute_loss = self._trainer, self._trainer._compute_loss

        def listening(model: Any, inputs: Mapping[str, Any]) -> Any:
            if self.batches is None or not trainer.model.training:
                return compute_loss(model, inputs)
            batch = Captured.of(inputs)
            self.batches.append(batch)
            with self._watching(batch):
                return compute_loss(model, inputs)

        trainer._compute_loss = listening
        clip = trainer._clip_grad_norm

        def clipping(model: Any) -> Any:
            norm = clip(model)
            self.norm = float(norm)
            return norm

        trainer._clip_grad_norm = clipping

    @contextmanager
    def _watching(self, batch: Captured) -> Iterator[None]:
        """While a loss is computed: shows its statistics to the batch, and to whoever else is watching."""
        trainer = self._trainer
        own = "on_statistics" if isinstance(trainer, EntropyGRPOTrainer) else "_get_per_token_logps_and_entropies"
        before = getattr(trainer, own)

        def on_statistics(stats: PolicyStats) -> None:
            if before is not None:
                before(stats)
            for name, value in stats.columns().items():
                batch.watch(name, value)

        def log_probabilities(*args: Any, **kwargs: Any) -> Any:
            logp, entropy, rest = before(*args, **kwargs)
            for name, value in (("logp", logp), ("entropy", entropy)):
                if value is not None:
                    batch.watch(name, value)
            return logp, entropy, rest

        setattr(trainer, own, on_statistics if own == "on_statistics" else log_probabilities)
        try:
            yield
        finally:
            setattr(trainer, own, before)


def turns_of(train: Tensor) -> Tensor:
    """How many stretches of trained tokens lie before each trained token, ``[B, T]`` int64; -1 before the first.

    Tokens of tools and environments are not trained on, so a stretch is one turn of the policy.
    """
    starts = train & ~torch.nn.functional.pad(train, (1, 0))[:, :-1]
    turns: Tensor = starts.cumsum(1) - 1
    return turns


def draw(
    batches: Sequence[Captured], among: Sequence[Tensor], rows: int | None, generator: torch.Generator
) -> list[tuple[Captured, Tensor]]:
    """Rows of the step, uniformly and without replacement, by the micro-batch in which they lie.

    Args:
        among: for each micro-batch ``[B]`` bool, the rows that may be drawn.
    """
    places = torch.cat([torch.stack([torch.full_like(i := a.nonzero()[:, 0], n), i], 1) for n, a in enumerate(among)])
    chosen = places[torch.randperm(len(places), generator=generator)[:rows].sort().values]
    drawn = []
    for n, batch in enumerate(batches):
        own = chosen[chosen[:, 0] == n, 1]
        if len(own):
            drawn.append((batch, own.to(batch.tokens.device)))
    return drawn
