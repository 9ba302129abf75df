"""Checks of a method: its gradient, and numbers at the edges of what a run meets."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from entrokit.rlvr import PolicyStats, Recipe, Rollouts

from .intervention_trial import Example, during, expect_finite
from .rollouts_trial import (
    context_of,
    evaluate,
    perturbed,
    plan,
    random_batch,
    rows_of,
    take_step,
    totals_of,
    with_idle_row,
)
from .stop_gradients import StopGradients

Loss = Callable[[dict[str, Tensor]], Tensor]

# Half the width of a central difference. Its error is 1e-12 of third derivatives, and of rounding 1e-16 / 1e-6 of the
# loss's size, a few hundred roundings deep.
_WIDTH, _ROUNDING, _RELATIVE = 1e-6, 1e-7, 1e-5
# In float32 a number of the size of 1 is known to 1e-7, and after some thousand operations to a thousandth at worst.
_FLOAT32 = 1e-3
# Nats: a token that was all but impossible.
_UNLIKELY = -60.0


def gradient(example: Example) -> None:
    """The gradient in each statistic is that of float64 differences, where what the loss detaches (weights, thresholds,
    the ratios of CISPO) is held at the point.
    """
    chosen = example.build()
    for number in range(2):
        # The second step knows the first: controllers act.
        batch = with_idle_row(random_batch(seed=number))
        values = perturbed(batch)
        _expect_differences(_loss_of(chosen, batch, number), values)
        take_step(chosen, batch, values, context=context_of(number))


def _loss_of(chosen: Recipe, batch: Rollouts, number: int) -> Loss:
    """The loss of a batch as a function of the current statistics."""
    advantages, prepared = plan(chosen, batch, context_of(number))

    def loss(values: dict[str, Tensor]) -> Tensor:
        return chosen.loss(PolicyStats(**values), batch, advantages, prepared, totals_of(batch)).loss

    return loss


def _expect_differences(loss: Loss, values: dict[str, Tensor]) -> None:
    held = StopGradients()
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    found = torch.autograd.grad(held.at(partial(loss, leaves)), list(leaves.values()), allow_unused=True)
    draws = torch.Generator().manual_seed(6)
    for (name, value), own in zip(values.items(), found, strict=True):
        direction = torch.randn(value.shape, generator=draws, dtype=value.dtype)
        slope = torch.zeros_like(value) if own is None else own
        expected = float((slope * direction).sum())
        ends = []
        for sign in (1.0, -1.0):
            moved = {**leaves, name: value + sign * _WIDTH * direction}
            ends.append(float(held.at(partial(loss, moved)).detach()))
        measured = (ends[0] - ends[1]) / (2 * _WIDTH)
        allowed = _ROUNDING + _RELATIVE * float((slope * direction).abs().sum())
        if not abs(measured - expected) <= allowed:
            raise AssertionError(
                f"along a direction in {name} the loss changes by {measured:.8g}, and its gradient says {expected:.8g}"
            )


def float32(example: Example) -> None:
    """A batch in float32, as engines hand it over, gives a loss in float32, near that of float64."""
    batch = with_idle_row(random_batch())
    values = perturbed(batch)
    wanted = take_step(example.build(), batch, values)
    found = take_step(example.build(), single(batch), {name: x.float() for name, x in values.items()})
    if found.loss.dtype != torch.float32:
        raise AssertionError(f"the loss of a batch in float32 is {found.loss.dtype}")
    expect_finite(found)
    parts = {"the loss": (found.loss, wanted.loss)}
    parts |= {f"the gradient in {name}": (found.gradient[name], g) for name, g in wanted.gradient.items()}
    for part, (one, other) in parts.items():
        gap = float((one.double() - other).abs().max())
        if gap > _FLOAT32 * (1.0 + float(other.abs().max())):
            raise AssertionError(f"{part} in float32 is off by up to {gap:.3g}")


def nothing_trained(example: Example) -> None:
    """Where nothing is trained on, loss and gradient are zero, and the steps after it give finite numbers."""
    batch = random_batch()
    idle = replace(batch, trained=torch.zeros_like(batch.trained))
    found = take_step(example.build(), idle, perturbed(batch))
    if float(found.loss) != 0.0:
        raise AssertionError(f"the loss of no token is {float(found.loss)}")
    for name, gradient_in in found.gradient.items():
        if not bool((gradient_in == 0).all()):
            raise AssertionError(f"the gradient of no token in {name} is not zero")
    # What was left behind must not spoil the steps that follow.
    chosen = example.build()
    for number, one in enumerate((idle, batch, batch)):
        with during(f"step {number}, of which the first trains on nothing"):
            expect_finite(take_step(chosen, one, perturbed(one), context=context_of(number)))


def small_batches(example: Example) -> None:
    """A single row, a single token, completions of one token and groups of one give finite numbers, and so do the
    steps after them.
    """
    batch = random_batch()
    short = random_batch(length=1)
    several = {
        "a single row": rows_of(batch, torch.tensor([0])),
        "a single token": rows_of(short, torch.tensor([0])),
        "completions of one token": short,
        "groups of one": replace(batch, group=torch.arange(len(batch))),
    }
    for what, one in several.items():
        _expect_finite_steps(example, one, what)


def unusual_rewards(example: Example) -> None:
    """Equal rewards, missing ones (NaN) and none at all give finite numbers, and so do the steps after them."""
    batch = random_batch()
    assert batch.rewards is not None
    assert batch.correct is not None
    none = torch.full_like(batch.reward, math.nan)
    some, table = batch.reward.clone(), batch.rewards.clone()
    some[[1, 4, 5, 6, 7]] = math.nan
    table[1:, 0] = math.nan
    table[4:] = math.nan
    several = {
        "every completion wrong": _graded(batch, 0.0),
        "every completion right": _graded(batch, 1.0),
        "rewards of some completions missing": replace(batch, reward=some, rewards=table),
        "all rewards missing": replace(batch, reward=none, rewards=torch.full_like(table, math.nan)),
    }
    for what, one in several.items():
        _expect_finite_steps(example, one, what)


def extreme_statistics(example: Example) -> None:
    """A policy that is sure of every token, one that is at a loss over a vocabulary, and one that has moved between
    the two since it sampled, give finite numbers in float32.
    """
    batch = single(random_batch())
    sure = {"logp": 0.0, "entropy": 0.0, "collision": 1.0, "weighted_surprise": 0.0, "varentropy": 0.0}
    lost = {"logp": _UNLIKELY, "entropy": 12.0, "collision": 6e-6, "weighted_surprise": -7e-5, "varentropy": 0.0}
    for policy in (sure, lost):
        policy["nucleus_entropy"] = policy["entropy"]
    for what, before, now in (
        ("a policy that is sure", sure, sure),
        ("a policy at a loss", lost, lost),
        ("a policy that has become sure", lost, sure),
        ("a policy that has lost all", sure, lost),
    ):
        behaviour = PolicyStats(**{name: torch.full_like(batch.behaviour.logp, x) for name, x in before.items()})
        one = replace(batch, behaviour=behaviour.masked(batch.real))
        values = {name: torch.full_like(batch.behaviour.logp, x) for name, x in now.items()}
        chosen = example.build()
        for number in range(2):
            with during(what):
                expect_finite(take_step(chosen, one, values, context=context_of(number)))


def single(batch: Rollouts) -> Rollouts:
    """The batch in float32."""
    columns = batch.columns()
    return Rollouts.from_columns({k: x.float() if x.dtype.is_floating_point else x for k, x in columns.items()})


def _graded(batch: Rollouts, grade: float) -> Rollouts:
    assert batch.rewards is not None
    reward, table = torch.full_like(batch.reward, grade), torch.full_like(batch.rewards, grade)
    return replace(batch, reward=reward, rewards=table, correct=reward > 0)


def _expect_finite_steps(example: Example, unusual: Rollouts, what: str) -> None:
    usual = random_batch(seed=9)
    chosen = example.build()
    with warnings.catch_warnings():
        # A method may say that such a batch teaches it nothing.
        warnings.simplefilter("ignore")
        for number, (batch, then) in enumerate(((unusual, what), (unusual, what), (usual, f"a step after {what}"))):
            with during(then):
                expect_finite(take_step(chosen, batch, perturbed(batch), context=context_of(number)))
        if not math.isfinite(float(evaluate(chosen, unusual, perturbed(unusual)))):
            raise AssertionError(f"{what}: the loss in evaluation is not finite")


CHECKS = (gradient, float32, nothing_trained, small_batches, unusual_rewards, extreme_statistics)
