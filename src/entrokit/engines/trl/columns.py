"""Our columns in the dicts that TRL shuffles, splits into micro-batches and hands back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import Context, Recipe, Rollouts

COLUMN = "entrokit_rollouts/"
PREPARED = "entrokit_prepared/"


def named(prefix: str, columns: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Columns as they travel in TRL's batch; `of_name` is the inverse."""
    return {prefix + name: value for name, value in columns.items()}


def of_name(inputs: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The columns under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in inputs.items() if name.startswith(prefix)}


def prepare_steps(recipe: Recipe, parts: Sequence[dict[str, Any]], size: int, context: Context) -> None:
    """Adds to the micro-batches of every optimiser step what the recipe takes over that step's rows.

    Args:
        parts: micro-batches of one generation batch, in order; they gain the new columns.
        size: micro-batches of an optimiser step. A step that spans generation batches is taken apart at their border:
            its later completions do not exist yet.
    """
    for start in range(0, len(parts), size):
        step = parts[start : start + size]
        before = _joined(step, PREPARED)
        advantages = torch.cat([part["advantages"] for part in step])
        prepared = recipe.prepare_step(Rollouts.from_columns(_joined(step, COLUMN)), advantages, before, context)
        sizes = [len(part["advantages"]) for part in step]
        for name in prepared.keys() - before.keys():
            value = prepared[name]
            pieces = torch.split(value, sizes) if value.dim() else [value] * len(step)
            for part, piece in zip(step, pieces, strict=True):
                part[PREPARED + name] = piece


def _joined(parts: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, Tensor]:
    """Columns concatenated; scalars are the same in every part."""
    tables = [of_name(part, prefix) for part in parts]
    return {name: torch.cat([t[name] for t in tables]) if v.dim() else v for name, v in tables[0].items()}
