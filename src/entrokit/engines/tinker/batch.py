"""Trajectory groups as `Rollouts`, as `tinker.Datum`s, and back from the log-probabilities of these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tinker
import torch
from torch import Tensor

from entrokit.rlvr import PolicyStats, Rollouts

from .sequences import Row, cut_off, row_of
from .sequences import Sequence as TokenSequence


@dataclass(frozen=True)
class Place:
    """Where a datum's targets lie: ``row`` and, for the targets ``[N]`` that are trained on, ``columns [N]``."""

    row: int
    targets: Tensor
    columns: Tensor
    length: int


def read_groups(groups: Sequence[Any], correct: str | None) -> tuple[list[Row], Rollouts]:
    """The trajectories of all groups, one row each.

    Args:
        groups: the cookbook's `TrajectoryGroup`s, or what has their attributes.
        correct: metric of a trajectory's transitions that says who is right, the last one that has it.

    Raises:
        ValueError: nothing to train on, or numbers that do not fit; says which group and trajectory.
    """
    rows, group, reward, right, truncated = [], [], [], [], []
    for g, of_prompt in enumerate(groups):
        totals = list(of_prompt.get_total_rewards())
        if len(totals) != len(of_prompt.trajectories_G):
            raise ValueError(f"group {g}: {len(of_prompt.trajectories_G)} trajectories and {len(totals)} rewards")
        for t, (trajectory, total) in enumerate(zip(of_prompt.trajectories_G, totals, strict=True)):
            where = f"group {g}, trajectory {t}"
            if not math.isfinite(total):
                raise ValueError(f"{where}: its reward is {total}; leave out what was not scored")
            rows.append(row_of(trajectory, where))
            group.append(g)
            reward.append(float(total))
            truncated.append(cut_off(trajectory))
            if correct is not None:
                right.append(_truth(trajectory, correct, where))
    if not any(row.sequences for row in rows):
        raise ValueError(f"TinkerRecipe.data: {len(groups)} trajectory groups without a token to train on")
    real = _padded([[True] * len(row.tokens) for row in rows], torch.bool)
    rollouts = Rollouts(
        tokens=_padded([row.tokens for row in rows], torch.long),
        real=real,
        trained=_padded([row.chosen for row in rows], torch.bool),
        group=torch.tensor(group),
        reward=torch.tensor(reward, dtype=torch.float64),
        behaviour=PolicyStats(logp=_padded([row.logp for row in rows], torch.float64)),
        correct=torch.tensor(right) if correct is not None else None,
        truncated=torch.tensor(truncated),
        turn=_padded([row.turn for row in rows], torch.long),
    )
    return rows, rollouts


def make_data(rows: list[Row]) -> tuple[list[tinker.Datum], list[Place]]:
    """The datums of a batch in the order of its trajectories.

    They hold targets alone: SDKs of 0.20 refuse further inputs in `forward_backward_custom`, and later ones send none.
    """
    data, places = [], []
    for r, row in enumerate(rows):
        for sequence in row.sequences:
            # What is no token is never a target that counts.
            targets = tinker.TensorData.from_torch(torch.tensor(sequence.tokens[1:]).clamp(min=0))
            data.append(tinker.Datum(model_input=sequence.model_input(), loss_fn_inputs={"target_tokens": targets}))
            places.append(_place(r, sequence))
    return data, places


def with_reference(rollouts: Rollouts, rows: list[Row], places: list[Place], reference: Any) -> Rollouts:
    """The rollouts with the log-probabilities that a `tinker.SamplingClient` gives to what was chosen."""
    sequences = [sequence for row in rows for sequence in row.sequences]
    futures = [reference.compute_logprobs(_whole(sequence)) for sequence in sequences]
    logp = torch.zeros_like(rollouts.behaviour.logp)
    for n, (place, future) in enumerate(zip(places, futures, strict=True)):
        found = future.result()
        if len(found) != place.length + 1:
            raise ValueError(
                f"reference: {len(found)} log-probabilities of the {place.length + 1} tokens of datum {n}; expected "
                "one a token (the first may be None)"
            )
        values = torch.tensor([math.nan if x is None else x for x in found[1:]], dtype=torch.float64)
        logp[place.row, place.columns] = values[place.targets]
    return replace(rollouts, reference_logp=logp)


def taken(
    data: Sequence[Any], logprobs: Sequence[Any], known: Sequence[tinker.Datum], places: list[Place]
) -> list[Place]:
    """The places of the datums of one optimiser step.

    Args:
        data, logprobs: as the SDK hands them over. known: the batch's data, of which they must be, each at its place.

    Raises:
        ValueError: data of another batch, twice the same, only a part of a trajectory, or log-probabilities that do not
            fit them; says which.
    """
    if not data or len(data) != len(logprobs):
        raise ValueError(f"recipe.loss: {len(data)} data and log-probabilities of {len(logprobs)}")
    # By identity: completions that are equal need not be worth the same.
    number_of = {id(datum): n for n, datum in enumerate(known)}
    strange = next((i for i, datum in enumerate(data) if id(datum) not in number_of), None)
    if strange is not None:
        raise ValueError(
            f"recipe.loss: data[{strange}] is none of those that TinkerRecipe.data gave last; hand these over as they "
            "are, not copies and not the cookbook's, and train on a batch before the next one is prepared"
        )
    numbers = [number_of[id(datum)] for datum in data]
    if len(set(numbers)) < len(numbers):
        twice = next(i for i, n in enumerate(numbers) if n in numbers[:i])
        raise ValueError(f"recipe.loss: data[{twice}] is there twice; an optimiser step takes each datum once")
    rows = {places[n].row for n in numbers}
    for n, place in enumerate(places):
        if place.row in rows and n not in numbers:
            raise ValueError(
                f"recipe.loss: a trajectory of several data is cut: its datum {n} of this batch is missing; keep those "
                "of a trajectory in one optimiser step"
            )
    found = [places[n] for n in numbers]
    for i, (place, logp) in enumerate(zip(found, logprobs, strict=True)):
        if tuple(logp.shape) != (place.length,):
            raise ValueError(
                f"recipe.loss: log-probabilities of data[{i}] have shape {list(logp.shape)}, its targets "
                f"[{place.length}]"
            )
        chosen = logp.detach()[place.targets]
        if not bool(torch.isfinite(chosen).all()):
            at = int(place.targets[~torch.isfinite(chosen)][0])
            raise ValueError(
                f"recipe.loss: the log-probability of data[{i}] at target {at} is {float(logp.detach()[at])}; the "
                "model has broken down, or the token cannot be sampled by it"
            )
    return found


def current_logp(places: list[Place], logprobs: Sequence[Tensor], like: Tensor, rows: Tensor) -> Tensor:
    """Log-probabilities of the policy being updated at ``rows [b]``, ``[b, T]`` with gradient; zeros elsewhere."""
    number = {int(r): i for i, r in enumerate(rows)}
    at = torch.cat([torch.full_like(place.columns, number[place.row]) for place in places])
    values = torch.cat([logp[place.targets] for place, logp in zip(places, logprobs, strict=True)])
    columns = torch.cat([place.columns for place in places])
    # In double, as the other numbers: the ratio to the sampler's is what a clip compares.
    empty = torch.zeros(len(rows), like.shape[1], dtype=like.dtype)
    return empty.index_put((at, columns), values.to(like.dtype))


def at_rows(columns: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Columns of some rows; numbers of the batch as a whole stay."""
    return {name: value[rows] if value.dim() else value for name, value in columns.items()}


def _place(row: int, sequence: TokenSequence) -> Place:
    chosen = torch.tensor(sequence.chosen[1:])
    targets = chosen.nonzero()[:, 0]
    return Place(row, targets, torch.tensor(sequence.columns[1:])[targets], len(chosen))


def _whole(sequence: TokenSequence) -> tinker.ModelInput:
    known = sequence.model_input()
    return tinker.ModelInput(chunks=[*known.chunks, tinker.EncodedTextChunk(tokens=[sequence.tokens[-1]])])


def _truth(trajectory: Any, name: str, where: str) -> bool:
    for transition in reversed(list(trajectory.transitions)):
        if name in transition.metrics:
            value = transition.metrics[name]
            if value not in (0, 1):
                raise ValueError(f"{where}: correct={name!r} holds {value!r}; expected 1 or 0")
            return bool(value)
    raise ValueError(f"{where}: correct={name!r} is no metric of its transitions")


def _padded(rows: list[list[Any]], dtype: torch.dtype) -> Tensor:
    width = max(map(len, rows), default=0)
    out = torch.zeros(len(rows), width, dtype=dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row, dtype=dtype)
    return out
