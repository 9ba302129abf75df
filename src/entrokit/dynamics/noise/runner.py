"""SGD to the last fitted point, over α, T and P: many runs as one stack of models.

Dissecting the Effects of SGD Noise (arXiv 2301.13703). Runs of different α, T, P and seed share their shapes, so that
one batched step moves them all; a run leaves the stack when it has ended. None depends on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .loss import Kind, check_labels, learning_rate
from .observables import kernel_change, tangent_gram
from .records import Checkpoint, Condition, Run, Status
from .stack import POINTS, Stack, flat


class NoiseRegimeRunner:
    """Trains a model at every condition asked for, by plain SGD of batches drawn anew each step.

    A batch has no point twice; one of P points is the whole set. η = T B h, see `temperature`.

    Args:
        model_fn: a model of a seeded generator, of ``[n, ...]`` to one number a point, ``[n]`` or ``[n, 1]``. Batch
            norm, dropout and buffers are refused; biases change what the paper's laws say. What requires no gradient
            stays as it starts.
        data, test: points ``[N, ...]`` and labels ±1 ``[N]``.
        width: h, by which the last layer is divided. kind: of the loss, see `scaled_hinge`.
        max_steps: from here on a run is censored. growth: ratio of the steps of two looks at the whole training set,
            > 1; the nearer to 1, the sharper t*, and the dearer.
        kernel_points: training points, the first of each run, on which the tangent kernel is compared; 0: not at all.

    Raises:
        ValueError: data that do not fit or are not finite, labels other than ±1, numbers out of range.
    """

    def __init__(
        self,
        model_fn: Callable[[torch.Generator], nn.Module],
        data: tuple[Tensor, Tensor],
        *,
        batch_size: int,
        test: tuple[Tensor, Tensor] | None = None,
        width: int = 1,
        kind: Kind = "hinge",
        max_steps: int = 100_000,
        growth: float = 1.2,
        kernel_points: int = 0,
    ) -> None:
        for name, given in (("data", data), ("test", test)):
            if given is not None:
                _check_data(name, *given)
        if max_steps < 1 or kernel_points < 0 or not 1 < growth < math.inf:
            raise ValueError(
                f"max_steps must be at least 1, kernel_points at least 0, growth above 1 and finite; got {max_steps}, "
                f"{kernel_points}, {growth}"
            )
        learning_rate(1.0, batch_size, width)
        self._model_fn, self._data, self._test = model_fn, data, test
        self._batch, self._width, self._kind = batch_size, width, kind
        self._max_steps, self._growth, self._kernel_points = max_steps, growth, kernel_points

    def run(self, conditions: Sequence[Condition]) -> list[Run]:
        """One result a condition, in their order.

        Raises:
            ValueError: no conditions, α or T that are not positive and finite, a P below the batch size or above the
                number of points, a model that is refused, that nothing of is trained, or that gives another shape.
        """
        self._check(conditions)
        models = [self._model_fn(torch.Generator().manual_seed(c.seed)) for c in conditions]
        for name, module in models[0].named_modules():
            _check_module(name, module)
        if not any(p.requires_grad for p in models[0].parameters()):
            raise ValueError("the model has no parameter that requires a gradient, and there is nothing to train")
        stack = Stack(self._data, conditions, models, self._batch, self._width, self._kind)
        ended: dict[int, Run] = {}
        with torch.no_grad():
            before = stack.look()
        histories: list[list[Checkpoint]] = [[look] for look in before]
        steps, due = 0, 1
        while len(stack.alive):
            for _ in range(due - steps):
                stack.step()
            spacing, steps = due - steps, due
            due = min(self._max_steps, max(steps + 1, math.ceil(steps * self._growth)))
            with torch.no_grad():
                self._end(stack, histories, ended, spacing, models)
        return [ended[i] for i in range(len(conditions))]

    def _end(
        self,
        stack: Stack,
        histories: list[list[Checkpoint]],
        ended: dict[int, Run],
        spacing: int,
        models: list[nn.Module],
    ) -> None:
        stay = []
        for k, (i, look) in enumerate(zip(stack.alive, stack.look(), strict=True)):
            histories[i].append(look)
            status: Status | None = None
            if not math.isfinite(look.margin):
                status = "diverged"
            elif look.unfitted == 0:
                status = "fitted"
            elif look.steps >= self._max_steps:
                status = "censored"
            if status is None:
                stay.append(k)
                continue
            error = kernel = None
            if status != "diverged":
                error, kernel = self._evaluate(stack, k, models[i])
            change = _relative(sum(look.change_sq.values()), sum(histories[i][0].norm_sq.values()))
            rate = look.time / look.steps
            ended[i] = Run(
                stack.conditions[k],
                status,
                look.steps,
                look.time,
                rate * spacing,
                change,
                error,
                kernel,
                tuple(histories[i]),
            )
        if len(stay) < len(stack.alive):
            stack.keep(stay)

    def _evaluate(self, stack: Stack, k: int, model: nn.Module) -> tuple[float | None, float | None]:
        now, start = ({name: p[k].detach() for name, p in params.items()} for params in (stack.params, stack.start))
        error = kernel = None
        if self._test is not None:
            x, y = self._test
            wrong = 0
            for points, labels in zip(torch.split(x, POINTS), torch.split(y, POINTS), strict=True):
                o, o_0 = (flat(functional_call(model, p, (points,)), len(points)) for p in (now, start))
                wrong += int((~((o.double() - o_0.double()) * labels > 0)).sum())
            error = wrong / len(x)
        if self._kernel_points:
            points = self._data[0][stack.rows[k, : min(self._kernel_points, stack.conditions[k].size)]]
            kernel = float(kernel_change(tangent_gram(model, start, points), tangent_gram(model, now, points)))
        return error, kernel

    def _check(self, conditions: Sequence[Condition]) -> None:
        if not conditions:
            raise ValueError("there is no condition to run")
        for c in conditions:
            if not (math.isfinite(c.alpha) and c.alpha > 0):
                raise ValueError(f"alpha must be positive and finite, got {c}")
            learning_rate(c.temp, self._batch, self._width)
            if not self._batch <= c.size <= len(self._data[0]):
                raise ValueError(
                    f"P must be at least the batch size {self._batch}, of which T is made, and at most the "
                    f"{len(self._data[0])} points given; got {c}"
                )


def _relative(moved_sq: float, start_sq: float) -> float:
    """‖w − w_0‖/‖w_0‖; inf where w_0 is 0 and w is not."""
    return math.sqrt(moved_sq / start_sq if start_sq else moved_sq and moved_sq * math.inf)


def _check_module(name: str, module: nn.Module) -> None:
    if isinstance(module, nn.modules.batchnorm._BatchNorm) or any(True for _ in module.buffers(recurse=False)):
        raise ValueError(
            f"{name or 'the model'} ({type(module).__name__}) has buffers or batch statistics, which a stack has not"
        )
    if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
        raise ValueError(
            f"{name or 'the model'} ({type(module).__name__}) draws noise of its own, beside that of SGD; set p to 0"
        )


def _check_data(name: str, x: Tensor, y: Tensor) -> None:
    if x.dim() < 1 or not len(x) or y.shape != x.shape[:1]:
        raise ValueError(f"{name} must be points [N, ...] and labels [N], got {list(x.shape)} and {list(y.shape)}")
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{name} holds NaN or inf; leave those points out")
    check_labels(y)
