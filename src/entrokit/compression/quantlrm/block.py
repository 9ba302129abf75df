"""One block: scales of its groups found, folded into a copy, clipped, and every linear layer of it rounded."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .calibration import recording
from .calls import Call, inputs
from .clip_search import search_clip
from .folding import (
    ScaleGroup,
    divided_weight,
    fold_exactly,
    fold_scale,
    linear_in,
    mean_over_shared_heads,
    shared_heads,
)
from .group_quantizer import quantize_groups
from .packed_linear import PackedLinear
from .scale_search import search_channel_scale

Score = Callable[[str, Tensor], Tensor]
"""Importance ``[in]`` of a linear layer, by its name in the block and its inputs ``[tokens, in]``."""


@dataclass(frozen=True)
class Rounding:
    """How weights are rounded, and how scales are searched for; see `QuantLRM`."""

    bits: int
    group_size: int | None
    n_grid: int
    include_zero: bool
    clip: bool
    grouped_heads: str


@dataclass(frozen=True)
class GroupResult:
    """What was found for layers that share their input.

    Attributes:
        linears: their names. alpha: exponent of the importance, 0 for plain rounding. error: mean squared error of the
            output on the calibration text. plain_error: of plain rounding. history: of every exponent. scale: ``[in]``.
    """

    linears: tuple[str, ...]
    alpha: float
    error: float
    plain_error: float
    history: tuple[float, ...]
    scale: Tensor


@dataclass(frozen=True)
class BlockResult:
    """layers: by name in the block. values: parameters that folding changed. outputs: of the block as it was."""

    layers: dict[str, PackedLinear]
    values: dict[str, Tensor]
    groups: list[GroupResult]
    skipped: list[str]
    outputs: list[Tensor]

    def without_outputs(self) -> BlockResult:
        return replace(self, outputs=[])


@torch.no_grad()
def quantize_block(
    block: nn.Module, calls: Sequence[Call], groups: Sequence[ScaleGroup], score: Score, how: Rounding, strict: bool
) -> BlockResult:
    """Everything about one block; the block itself stays as it is.

    Args:
        calls: of the block, a batch each, hidden states first. groups: by names in the block.
        strict: a group that cannot be folded is an error; else it is passed over and said.

    Raises:
        ValueError: see `search_channel_scale`, `search_clip` and `fold_scale`; names the layers.
    """
    linears = {name: m for name, m in block.named_modules() if isinstance(m, nn.Linear)}
    wanted = {name: block.get_submodule(name) for name in {*linears, *(group.inspected for group in groups)}}
    seen: dict[str, list[Call]] = {}
    outputs = []
    for call in calls:
        with recording(wanted, call.keep, seen):
            found = block(*call.args, **call.kwargs)
        found = found[0] if isinstance(found, tuple) else found
        if not isinstance(found, Tensor):
            raise ValueError(
                f"gives a {type(found).__name__}, and hidden states are expected, alone or first of a tuple"
            )
        if not torch.isfinite(found if call.keep is None else found[call.keep]).all():
            raise ValueError("gives NaN or infinity on the calibration text")
        outputs.append(found)
    first = calls[0]
    exact = outputs[0] if first.keep is None else outputs[0][first.keep]
    problems = [_unfoldable(block, group, seen, how) for group in groups]
    sound = [group for group, problem in zip(groups, problems, strict=True) if problem is None]
    together = fold_exactly(block, sound, first, exact)
    trial = copy.deepcopy(block)
    results: list[GroupResult] = []
    skipped: list[str] = []
    scales: dict[str, Tensor] = {}
    for group, problem in zip(groups, problems, strict=True):
        if problem is None and not together and not fold_exactly(block, [group], first, exact):
            problem = (
                f"not scaled, dividing {group.before} changes what the block gives: others take its output too, or its "
                "weight is no plain factor"
            )
        if problem is not None:
            if strict:
                raise ValueError(f"{', '.join(group.linears)}: {problem}")
            skipped.append(f"{', '.join(group.linears)}: {problem}")
            continue
        result = _searched(block, group, seen, score, how)
        results.append(result)
        scales |= dict.fromkeys(group.linears, result.scale)
        scaled = [linear_in(trial, name) for name in group.linears]
        fold_scale(trial.get_submodule(group.before), scaled, result.scale, head_dim=group.head_dim)
    layers = {}
    for name in linears:
        limit = None
        if how.clip and name in seen and not _is_query_or_key(name):
            x = inputs(seen[name])
            x = x / scales[name] if name in scales else x
            with naming(name):
                limit = search_clip(
                    linear_in(trial, name).weight, x, how.bits, how.group_size, include_zero=how.include_zero
                )
        with naming(name):
            layers[name] = rounded_layer(linear_in(trial, name), how, limit)
    weights = {f"{name}.weight" for name in linears}
    before = dict(block.named_parameters())
    values = {
        name: p.detach()
        for name, p in trial.named_parameters()
        if name not in weights and not torch.equal(p, before[name])
    }
    return BlockResult(layers, values, results, skipped, outputs)


def _unfoldable(block: nn.Module, group: ScaleGroup, seen: dict[str, list[Call]], how: Rounding) -> str | None:
    """Why a group can have no scales, by its shapes; None if it can."""
    weight = divided_weight(block.get_submodule(group.before))
    if weight is None:
        return f"not scaled, {group.before} has no weight to divide"
    takes = linear_in(block, group.linears[0]).in_features
    if len(weight) != takes:
        if how.grouped_heads == "skip":
            return (
                f"not scaled, {group.before} gives {len(weight)} channels and {takes} are taken: query heads share "
                "those of values (grouped_heads='mean' gives sharers one scale)"
            )
        try:
            shared_heads(len(weight), takes, group.head_dim)
        except ValueError as error:
            return f"not scaled, {error}"
    if group.inspected not in seen or any(name not in seen for name in group.linears):
        return "not scaled, no token of the calibration text came by"
    return None


def _searched(
    block: nn.Module, group: ScaleGroup, seen: dict[str, list[Call]], score: Score, how: Rounding
) -> GroupResult:
    layers = [linear_in(block, name) for name in group.linears]
    weight = divided_weight(block.get_submodule(group.before))
    with naming(", ".join(group.linears)):
        importance = score(group.linears[0], inputs(seen[group.linears[0]]))
        if weight is not None and len(weight) != layers[0].in_features:
            importance = mean_over_shared_heads(importance, len(weight), group.head_dim)
        found = search_channel_scale(
            block.get_submodule(group.inspected),
            layers,
            seen[group.inspected],
            importance,
            how.bits,
            how.group_size,
            how.n_grid,
            include_zero=how.include_zero,
        )
    return GroupResult(
        group.linears, found.alpha, min(found.history), found.history[0], tuple(found.history), found.scale
    )


def rounded_layer(linear: nn.Linear, how: Rounding, limit: Tensor | None = None) -> PackedLinear:
    """A layer's weight as packed codes, and its bias.

    Raises:
        ValueError: see `quantize_groups`; a code stands for more than the layer's dtype has.
    """
    codes = quantize_groups(linear.weight, how.bits, how.group_size, include_zero=how.include_zero, limit=limit)
    if linear.weight.dtype.itemsize < 4 and not torch.isfinite(codes.dequantize().to(linear.weight.dtype)).all():
        raise ValueError(
            f"weights are rounded to more than {linear.weight.dtype} has; keep the model in bfloat16 or float32, or "
            "take more bits or smaller groups"
        )
    return PackedLinear(codes, linear.bias)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Puts a name before what a ValueError says."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _is_query_or_key(name: str) -> bool:
    """What is cut from q and k meets in a product, which errors of their outputs say little about (AWQ).

    By name, as AWQ has it, and fused layers too: q_proj, k_proj, query, key, query_key_value, Wqkv, qkv_proj, c_attn.
    """
    own = name.rpartition(".")[2].lower()
    return own.startswith(("q_", "k_", "query", "key", "qkv", "wqkv", "in_proj")) or own in ("q", "k", "c_attn")
