"""How a score is trained: Adam warmed up and on a cosine, clipped gradients, averaged weights; resumed bit for bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from ..arguments import as_count
from .checks import check_above, check_points

__all__ = ["ScoreTrainer"]

Score = TypeVar("Score", bound=nn.Module)
Loss = Callable[[Any, Tensor, torch.Generator], Tensor]


class ScoreTrainer(Generic[Score]):
    """Trains a score on rows of data; its `state_dict` holds all that the next step depends on.

    Args:
        score: trained in place. loss: of the score, a batch ``[batch, *]`` and a generator; a scalar.
        steps: in all; the learning rate falls to 0 on half a cosine until then. lr: its largest. batch: rows a step,
            drawn with replacement. warmup: steps on which it rises. clip: of the gradient's norm.
        ema: share of the average of weights that a step leaves; 0 for none. At step n it is at most (1 + n) / (10 + n),
            or the average would remember where training began.
        seed: of batches, and of the loss's own draws.

    Raises:
        TypeError, ValueError: knobs that are none.
    """

    def __init__(
        self,
        score: Score,
        loss: Loss,
        *,
        steps: int,
        lr: float = 1e-3,
        batch: int = 512,
        warmup: int = 0,
        clip: float = 1.0,
        ema: float = 0.999,
        seed: int = 0,
    ) -> None:
        steps, batch, warmup = as_count("steps", steps), as_count("batch", batch), as_count("warmup", warmup, 0)
        check_above(lr=lr, clip=clip)
        if not 0 <= ema < 1:
            raise ValueError(f"ema lies in [0, 1); it is {ema}")
        self.score, self.loss, self.steps, self.batch, self.clip = score, loss, steps, batch, clip
        self.optimizer = torch.optim.Adam(score.parameters(), lr)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda at: _rate(at, warmup, steps))
        self._average = AveragedModel(score, multi_avg_fn=partial(_average, ema))
        self.generator = torch.Generator().manual_seed(as_count("seed", seed, 0))
        self.step = 0

    @property
    def averaged(self) -> Score:
        """A copy of the score with the average of its weights, for evaluation."""
        return cast(Score, copy.deepcopy(self._average.module).eval().requires_grad_(False))

    def fit(self, data: Tensor, steps: int | None = None) -> list[float]:
        """Losses of the next ``steps`` steps; of all that are left by default.

        Args:
            data: rows ``[R, *]`` of the stationary law.

        Raises:
            TypeError, ValueError: data that are none; no steps left; a loss that is not finite, or a gradient, and at
                which step.
        """
        check_points(data)
        left = self.steps - self.step
        count = left if steps is None else as_count("steps", steps)
        if not 1 <= count <= left:
            raise ValueError(f"{left} of {self.steps} steps are left; {count} are asked for")
        losses = []
        self.score.train()
        for _ in range(count):
            rows = torch.randint(len(data), (self.batch,), generator=self.generator)
            loss = self.loss(self.score, data[rows.to(data.device)], self.generator)
            if not bool(loss.detach().isfinite().all()):
                raise ValueError(f"at step {self.step + 1} the loss is {loss.item()}; lower lr, or look at the data")
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            norm = nn.utils.clip_grad_norm_(self.score.parameters(), self.clip)
            if not bool(norm.isfinite()):
                raise ValueError(f"at step {self.step + 1} the gradient is not finite; lower lr, or look at the data")
            self.optimizer.step()
            self.schedule.step()
            self._average.update_parameters(self.score)
            self.step += 1
            losses.append(loss.item())
        return losses

    def state_dict(self) -> dict[str, Any]:
        """For `torch.save`; `load_state_dict` of a trainer with the same arguments goes on bit for bit."""
        return {
            "step": self.step,
            "score": self.score.state_dict(),
            "average": self._average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises KeyError and RuntimeError, as torch does, where the state is of another trainer."""
        self.score.load_state_dict(state["score"])
        self._average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.generator.set_state(state["generator"])
        self.step = state["step"]


def _average(ema: float, averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
    n = int(count)
    kept = min(ema, (1 + n) / (10 + n))
    for own, new in zip(averaged, current, strict=True):
        own.lerp_(new, 1 - kept)


def _rate(at: int, warmup: int, steps: int) -> float:
    rising = min(1.0, (at + 1) / (warmup + 1))
    return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, at / steps)))
