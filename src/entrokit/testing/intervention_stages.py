"""Checks of a method: what its stages give, and what they leave alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from entrokit.distributions.statistics import split_nucleus
from entrokit.rlvr import AGGREGATIONS, Intervention, Penalty, PolicyStats, Recipe, Weighting

from .intervention_trial import Example, expect_close, expect_close_numbers, expect_same_step
from .rollouts_trial import context_of, evaluate, perturbed, random_batch, take_step, with_idle_row
from .stage_results import Listener, listen, put, tensors_in

_WATCHED = ("reward", "advantage", "prepare", "weight", "penalty", "observe", "remember")


def stage_results(example: Example) -> None:
    """Every stage gives what it is asked for: a number a row or a token, in the batch's dtype, or numbers without a
    dimension to log; weights and rewards without a gradient, a penalty with one.
    """
    _listen(example.build(), _expect_result)


def masked_results(example: Example) -> None:
    """What stages give is finite also at tokens that are not trained on: no NaN waits there to be multiplied by 0."""

    def finite(intervention: Intervention, stage: str, arguments: tuple[Any, ...], result: Any) -> None:
        for name, value in tensors_in(result):
            if value.dtype.is_floating_point and not bool(torch.isfinite(value).all()):
                raise AssertionError(f"{intervention.name}.{stage}{name} is NaN or infinite at some token")

    _listen(example.build(), finite)


def inputs_kept(example: Example) -> None:
    """Stages leave the tensors that they are given as they found them: rollouts, rewards, advantages, statistics."""
    chosen = example.build()
    for intervention in chosen.interventions:
        for stage in _WATCHED:
            put(intervention, stage, _keeping(intervention, stage, getattr(intervention, stage)))
    batch = with_idle_row(random_batch())
    for number in range(2):
        take_step(chosen, batch, perturbed(batch), 3, context_of(number))


def generator(example: Example) -> None:
    """Every draw comes from the context's generator: other ones decide nothing and are left as they were."""
    batch = with_idle_row(random_batch())
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = _process_generators()
        found.append(take_step(example.build(), batch, perturbed(batch)))
        drawn = [name for name, state in _process_generators().items() if state != before[name]]
        if drawn:
            raise AssertionError(f"a step draws from the generator of {drawn[0]} for the whole process")
    expect_same_step(found[0], found[1], "two steps with the same generator in the context")


def _process_generators() -> dict[str, object]:
    of_numpy = np.random.get_state(legacy=False)
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "random": random.getstate(),
        "numpy": str(of_numpy["state"]["pos"]) + str(of_numpy["state"]["key"].tobytes()),
    }


def needs(example: Example) -> None:
    """It reads what it asks for alone: statistics by `needs`, a reference policy, prompts."""
    chosen = example.build()
    for intervention in chosen.interventions:
        asked = intervention.needs
        if not isinstance(asked, frozenset):
            raise AssertionError(f"{intervention.name}.needs is a {type(asked).__name__}, not a frozenset")
        unknown = sorted(split_nucleus(asked)[0] - {f.name for f in fields(PolicyStats)})
        if unknown:
            raise AssertionError(f"{intervention.name} needs {unknown}, which are no statistics")
    batch = with_idle_row(random_batch())
    values = perturbed(batch)
    wanted = take_step(chosen, batch, values)
    named = {name.partition("@")[0] for name in chosen.needs}
    behaviour = {name: x for name, x in batch.behaviour.columns().items() if name in named}
    bare = replace(batch, behaviour=PolicyStats(**behaviour))
    if not any(i.needs_reference for i in chosen.interventions):
        bare = replace(bare, reference_logp=None)
    if not chosen.needs_prompts:
        bare = replace(bare, prompt_logp=None, prompt_mask=None)
    if not chosen.replays:
        bare = replace(bare, prompt=None)
    found = take_step(example.build(), bare, {name: x for name, x in values.items() if name in named})
    expect_close(found.loss, wanted.loss, "with nothing but what it asks for: the loss")
    for name, gradient in wanted.gradient.items():
        bare_gradient = found.gradient.get(name, torch.zeros_like(gradient))
        expect_close(bare_gradient, gradient, f"with nothing but what it asks for: the gradient in {name}")


def evaluation(example: Example) -> None:
    """An evaluation moves nothing: the state, the loss of the same batch a second time, and the training after it."""
    batch, other = with_idle_row(random_batch()), random_batch(seed=7)
    watched, plain = example.build(), example.build()
    for chosen in (watched, plain):
        take_step(chosen, batch, perturbed(batch))
    state = plain.state_dict()
    first, second = (evaluate(watched, other, perturbed(other), context_of(1)) for _ in range(2))
    expect_close_numbers(watched.state_dict(), state, "after an evaluation: the state", 0.0)
    expect_close(second, first, "the same batch evaluated twice: the loss", 0.0)
    after = random_batch(seed=8)
    found, wanted = (take_step(chosen, after, perturbed(after), context=context_of(1)) for chosen in (watched, plain))
    expect_same_step(found, wanted, "a step after an evaluation against one without")


def _listen(chosen: Recipe, listener: Listener) -> None:
    """Two steps of training, in one micro-batch and in three, with an ear at every stage that a method has."""
    listen(chosen, listener)
    for number, parts in enumerate((1, 3)):
        batch = with_idle_row(random_batch(seed=number))
        take_step(chosen, batch, perturbed(batch), parts, context_of(number))


def _keeping(intervention: Intervention, stage: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def called(*arguments: Any) -> Any:
        given = [(name, x, x.detach().clone()) for name, x in tensors_in(arguments)]
        result = original(*arguments)
        for name, value, before in given:
            if not torch.equal(value.nan_to_num(), before.nan_to_num()):
                raise AssertionError(f"{intervention.name}.{stage} changed its argument{name} in place")
        return result

    return called


def _expect_result(intervention: Intervention, stage: str, arguments: tuple[Any, ...], result: Any) -> None:
    where = f"{intervention.name}.{stage}"
    if stage in ("reward", "advantage"):
        _expect_tensor(where, result, arguments[1].shape, arguments[1].dtype)
    elif stage == "prepare":
        for key, value in result.items():
            shape = value.shape if not value.dim() or len(value) == len(arguments[0]) else arguments[0].reward.shape
            _expect_tensor(f"{where}[{key!r}]", value, shape)
    elif stage == "weight":
        _expect_weighting(where, result, arguments[0].trained)
    elif stage == "penalty" and result is not None:
        _expect_penalty(where, result, arguments[0].trained)


def _expect_weighting(where: str, result: Weighting, trained: Tensor) -> None:
    if result.weight is not None:
        _expect_tensor(f"{where}.weight", result.weight, trained.shape)
    if result.keep is not None:
        _expect_tensor(f"{where}.keep", result.keep, trained.shape, torch.bool)
    for key, value in (result.metrics or {}).items():
        _expect_tensor(f"{where}.metrics[{key!r}]", value, torch.Size())


def _expect_penalty(where: str, result: Any, trained: Tensor) -> None:
    penalty = result if isinstance(result, Penalty) else Penalty(result)
    _expect_tensor(f"{where}.loss", penalty.loss, trained.shape, gradient=True)
    if penalty.keep is not None:
        _expect_tensor(f"{where}.keep", penalty.keep, trained.shape, torch.bool)
    if penalty.aggregation is not None and penalty.aggregation not in AGGREGATIONS:
        raise AssertionError(f"{where}.aggregation is {penalty.aggregation!r}, none of {list(AGGREGATIONS)}")


def _expect_tensor(
    where: str, value: Any, shape: torch.Size, dtype: torch.dtype | None = None, *, gradient: bool = False
) -> None:
    if not isinstance(value, Tensor):
        raise AssertionError(f"{where} is {value!r}, not a tensor")
    if value.shape != shape:
        raise AssertionError(f"{where} has the shape {list(value.shape)}, not {list(shape)}")
    if dtype is not None and value.dtype != dtype:
        raise AssertionError(f"{where} is {value.dtype}, not {dtype}")
    if value.requires_grad != gradient:
        raise AssertionError(f"{where} {'has no' if gradient else 'carries a'} gradient")


CHECKS = (stage_results, masked_results, inputs_kept, generator, needs, evaluation)
