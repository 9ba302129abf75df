"""Checks of a method: on what its numbers must not depend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial

import torch
from torch import Tensor

from entrokit.rlvr import PolicyStats, Recipe, Rollouts

from .checks import Skipped
from .intervention_trial import (
    STATE_APART,
    Example,
    expect_close,
    expect_close_numbers,
    expect_same_step,
    numbers,
)
from .rollouts_trial import (
    VOCABULARY,
    Step,
    context_of,
    of_episodes,
    perturbed,
    plan,
    random_batch,
    rows_of,
    take_step,
    totals_of,
    with_idle_row,
)
from .two_ranks import RANKS, Ranks, shares


def cut(example: Example) -> None:
    """Loss, gradient, metrics and state are those of the step, however it is cut into micro-batches."""
    _skip_micro(example.build())
    whole = _run(example.build(), parts=1)
    for parts in (2, 3, 8):
        for number, (found, wanted) in enumerate(zip(_run(example.build(), parts), whole, strict=True)):
            expect_same_step(found, wanted, f"step {number} in {parts} micro-batches against 1")


def untrained_tokens(example: Example) -> None:
    """Tokens that the policy did not choose count nowhere: NaN of the current policy there, or other numbers of the
    policy that sampled, change nothing, and gradients there are exact zeros.
    """
    batch = with_idle_row(random_batch())
    values = perturbed(batch)
    wanted = take_step(example.build(), batch, values)
    for name, gradient in wanted.gradient.items():
        if bool(gradient[~batch.trained].any()):
            raise AssertionError(f"the gradient in {name} is not zero at tokens that are not trained on")
    poisoned = {name: torch.where(batch.trained, value, torch.nan) for name, value in values.items()}
    found = take_step(example.build(), batch, poisoned)
    expect_same_step(_without_nan(found), wanted, "with NaN at tokens that are not trained on")
    assert batch.reference_logp is not None
    behaviour = {name: torch.where(batch.trained, x, 0.5 * x) for name, x in batch.behaviour.columns().items()}
    reference = torch.where(batch.trained, batch.reference_logp, torch.nan)
    other = replace(batch, behaviour=PolicyStats(**behaviour), reference_logp=reference)
    # A memory of completions holds what their environment said, too.
    expect_same_step(
        take_step(example.build(), other, values), wanted, "with other statistics at environment tokens", state=False
    )


def padding(example: Example) -> None:
    """More padding, whatever tokens stand in it, changes nothing."""
    batch = of_episodes(with_idle_row(random_batch()))
    values = perturbed(batch)
    wanted = take_step(example.build(), batch, values)
    wider = _padded(batch, 3)
    found = take_step(example.build(), wider, {name: _pad(x, 3) for name, x in values.items()}, totals=totals_of(batch))
    length = batch.tokens.shape[1]
    for name, gradient in found.gradient.items():
        if bool(gradient[:, length:].any()):
            raise AssertionError(f"the gradient in {name} is not zero at padding")
    narrowed = {name: gradient[:, :length] for name, gradient in found.gradient.items()}
    expect_same_step(replace(found, gradient=narrowed), wanted, "with three more columns of padding")


def order(example: Example) -> None:
    """The order of rows, and the numbers that groups go by, change nothing."""
    batch = with_idle_row(random_batch())
    values = perturbed(batch)
    context = context_of()
    assert context.generator is not None
    before = context.generator.get_state()
    wanted = take_step(example.build(), batch, values, context=context)
    if not torch.equal(context.generator.get_state(), before):
        raise Skipped("it draws, and what falls to a row depends on its place")
    moved = torch.tensor([3, 0, 7, 5, 1, 6, 2, 4])
    batch = replace(batch, group=17 - 3 * batch.group)
    found = take_step(example.build(), rows_of(batch, moved), {name: x[moved] for name, x in values.items()})
    expected = replace(wanted, gradient={name: gradient[moved] for name, gradient in wanted.gradient.items()})
    expect_same_step(found, expected, "with rows in another order", state=False)
    # A memory may hold completions in the order in which they came.
    kept, other = (torch.tensor(sorted(numbers(step.state))) for step in (found, wanted))
    expect_close(kept, other, "with rows in another order: the sorted numbers of the state", STATE_APART)


def ranks(example: Example) -> None:
    """Spread over two ranks, with unequal shares or nothing to train on one, a batch gives the numbers of one process:
    advantages, what is prepared, the mean of losses and gradients, metrics and state.
    """
    micro = any(i.scope == "micro" for i in example.build().interventions)
    group, alone = Ranks(), example.build()
    of_ranks = [example.build() for _ in range(RANKS)]
    plain, *episodes = with_idle_row(random_batch()), *(of_episodes(random_batch(seed=seed)) for seed in (1, 2))
    for number, batch in enumerate((plain, episodes[0], _idle_rank(episodes[1]))):
        values = perturbed(batch)
        wanted = take_step(alone, batch, values, context=context_of(number))
        found = group.together(partial(_on_rank, group, of_ranks, batch, values, number))
        what = f"step {number} on two ranks"
        with _advising_collectives():
            expect_close(torch.cat([step.advantages for step in found]), wanted.advantages, f"{what}: advantages")
            for name, value in wanted.prepared.items():
                own = [step.prepared[name] for step in found]
                for part in [torch.cat(own)] if value.dim() else own:
                    expect_close(part, value, f"{what}: prepared {name}")
            # With scope="micro" a rank's rows are a micro-batch on their own.
            if not micro:
                # Whoever replays remembers its own completions on each rank.
                _expect_mean_over_ranks(found, wanted, what, state=not alone.replays)


@contextmanager
def _advising_collectives() -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        raise AssertionError(
            f"{error}; numbers over the batch are those of all ranks: take them through context.gather or "
            "context.reduce, see Context"
        ) from error


def _on_rank(
    group: Ranks, of_ranks: Sequence[Recipe], batch: Rollouts, values: Mapping[str, Tensor], number: int, rank: int
) -> Step:
    own = shares(len(batch))[rank]
    current = {name: value[own] for name, value in values.items()}
    context = group.context(rank, context_of(number))
    return take_step(of_ranks[rank], rows_of(batch, own), current, context=context, totals=totals_of(batch, RANKS))


def _expect_mean_over_ranks(found: Sequence[Step], wanted: Step, what: str, *, state: bool) -> None:
    expect_close(torch.stack([step.loss for step in found]).mean(), wanted.loss, f"{what}: the loss")
    for name, gradient in wanted.gradient.items():
        both = torch.cat([step.gradient[name] for step in found]) / RANKS
        expect_close(both, gradient, f"{what}: the gradient in {name}")
    for rank, step in enumerate(found):
        expect_close_numbers(step.metrics, wanted.metrics, f"{what}: metrics of rank {rank}")
        if state:
            expect_close_numbers(step.state, wanted.state, f"{what}: state of rank {rank}", STATE_APART)


def separable(example: Example) -> None:
    """Where `separable` is True, the gradient at a token depends on the current statistics of no other token."""
    if not example.build().separable:
        raise Skipped("it does not say that it is separable")
    expect_separable(example.build())


def expect_separable(chosen: Recipe) -> None:
    """Raises an `AssertionError` that says how far it is from being so."""
    influence = influence_of_other_tokens(chosen)
    if influence > 1e-12:
        raise AssertionError(
            f"statistics of other tokens move the gradient at a token by up to {influence:.3g}, and it is `separable`"
        )


def influence_of_other_tokens(chosen: Recipe, draws: int = 24) -> float:
    """The largest change of the gradient at a token when the current statistics of most others change."""
    batch = random_batch()
    ours = perturbed(batch)
    generator = torch.Generator().manual_seed(3)
    plain = _gradient(chosen, batch, ours)
    largest = 0.0
    for number in range(draws):
        others = perturbed(batch, seed=2 + number)
        for name in ("entropy", "nucleus_entropy"):
            others[name] = 2 * torch.rand(batch.tokens.shape, generator=generator, dtype=torch.float64)
        kept = (torch.rand(batch.tokens.shape, generator=generator) < 0.15) & batch.trained
        mixed = {name: torch.where(kept, value, others[name]) for name, value in ours.items()}
        for name, gradient in _gradient(chosen, batch, mixed).items():
            largest = max([largest, *(gradient - plain[name]).abs()[kept].tolist()])
    return largest


def _gradient(chosen: Recipe, batch: Rollouts, values: dict[str, Tensor]) -> dict[str, Tensor]:
    context = context_of()
    advantages, prepared = plan(chosen, batch, context)
    leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
    loss = chosen.loss(PolicyStats(**leaves), batch, advantages, prepared, totals_of(batch)).loss
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}


def _run(chosen: Recipe, parts: int, steps: int = 2) -> list[Step]:
    found = []
    for number in range(steps):
        batch = with_idle_row(random_batch(seed=number))
        batch = of_episodes(batch) if number else batch
        found.append(take_step(chosen, batch, perturbed(batch), parts, context_of(number)))
    return found


def _skip_micro(chosen: Recipe) -> None:
    micro = [i.name for i in chosen.interventions if i.scope == "micro"]
    if micro:
        raise Skipped(f"{micro[0]} takes its numbers from each micro-batch (scope='micro')")


def _idle_rank(batch: Rollouts) -> Rollouts:
    trained = batch.trained.clone()
    trained[shares(len(batch))[1]] = False
    return replace(batch, trained=trained)


def _without_nan(step: Step) -> Step:
    return replace(step, gradient={name: gradient.nan_to_num() for name, gradient in step.gradient.items()})


def _padded(batch: Rollouts, columns: int) -> Rollouts:
    """With more columns of padding, and other tokens in all of it."""
    names = {f.name for f in fields(batch) if not f.name.startswith("prompt")}
    wider = {
        name: _pad(column, columns) if column.shape == batch.tokens.shape and name in names else column
        for name, column in batch.columns().items()
    }
    wider |= {f"behaviour_{name}": _pad(column, columns) for name, column in batch.behaviour.columns().items()}
    anything = torch.randint(VOCABULARY, batch.tokens.shape, generator=torch.Generator().manual_seed(4))
    tokens = torch.cat([torch.where(batch.real, batch.tokens, anything), anything[:, :columns]], 1)
    return Rollouts.from_columns(wider | {"tokens": tokens})


def _pad(x: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, columns))


CHECKS = (cut, untrained_tokens, padding, order, ranks, separable)
