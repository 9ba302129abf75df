"""Scales that cost nothing when the model runs: what comes before a linear layer is divided by them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..arguments import check_count
from .calls import Call, output


@dataclass(frozen=True)
class ScaleGroup:
    """Linear layers of a block that share their input, and so its scales; names are those within the block.

    Attributes:
        linears: the first one's updates speak for all. before: norm or linear layer whose output they take.
        inspect: module whose output error counts; by default the layer itself, where there is but one.
        head_dim: of attention, where ``before`` has fewer output channels than there are inputs, since query heads
            share those of keys and values.
    """

    linears: tuple[str, ...]
    before: str
    inspect: str | None = None
    head_dim: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.linears, str) or not self.linears:
            raise ValueError(f"ScaleGroup.linears: a tuple of names, got {self.linears!r}")
        if self.head_dim is not None:
            check_count("ScaleGroup.head_dim", self.head_dim)
        if self.inspect is None and len(self.linears) > 1:
            raise ValueError(f"ScaleGroup: {len(self.linears)} layers need inspect, the module whose output counts")

    @property
    def inspected(self) -> str:
        return self.linears[0] if self.inspect is None else self.inspect


def llama_groups(block: nn.Module) -> list[ScaleGroup]:
    """The groups of a block that names its parts as Llama's does; those of which it has all parts.

    Norm → q, k, v; v → o; norm → gate, up; up → down. A block without a norm before its attention (Olmo 2 and 3 have
    theirs behind) has no first and no third.
    """
    known = dict(block.named_modules())
    norm_first = "input_layernorm" in known
    mlp_norm = "pre_feedforward_layernorm" if "pre_feedforward_layernorm" in known else "post_attention_layernorm"
    attention = known.get("self_attn")
    head_dim = getattr(attention, "head_dim", None)
    q, k, v, o = (f"self_attn.{name}_proj" for name in "qkvo")
    gate, up, down = (f"mlp.{name}_proj" for name in ("gate", "up", "down"))
    found = [
        *([ScaleGroup((q, k, v), "input_layernorm", "self_attn")] if norm_first else []),
        ScaleGroup((o,), v, head_dim=head_dim),
        *([ScaleGroup((gate, up), mlp_norm, "mlp")] if norm_first else []),
        ScaleGroup((down,), up),
    ]
    return [one for one in found if {*one.linears, one.before, one.inspected} <= known.keys()]


@torch.no_grad()
def fold_scale(before: nn.Module, linears: Sequence[nn.Linear], scale: Tensor, *, head_dim: int | None = None) -> None:
    """Multiplies the layers' columns by ``scale`` and divides what comes before by it, in place; the output stays.

    Args:
        before: a norm with one weight a channel (and bias, if it has one), or a linear layer.
        scale: ``[in]``, above 0. head_dim: see `ScaleGroup`; scales of query heads that share are equal then.

    Raises:
        ValueError: shapes that do not fit, scales that differ where heads share, or are not above 0; nothing was
            changed then.
    """
    if not (torch.isfinite(scale) & (scale > 0)).all():
        raise ValueError("fold_scale: scales are finite and above 0")
    wrong = [linear.in_features for linear in linears if scale.shape != (linear.in_features,)]
    if wrong:
        raise ValueError(f"fold_scale: {list(scale.shape)} scales, and a layer with {wrong[0]} input channels")
    weight = divided_weight(before)
    if weight is None:
        raise ValueError(f"fold_scale: a {type(before).__name__} without weight cannot be divided by anything")
    divisor = scale
    if len(weight) != len(scale):
        repeats = shared_heads(len(weight), len(scale), head_dim)
        by_head = scale.reshape(-1, repeats, head_dim or 1)
        if not torch.equal(by_head, by_head[:, :1].expand_as(by_head)):
            raise ValueError(f"fold_scale: {repeats} query heads share each head of values, and must share scales")
        divisor = by_head[:, 0].flatten()
    for linear in linears:
        linear.weight.copy_(linear.weight * scale)
    weight.copy_(weight / (divisor if weight.ndim == 1 else divisor[:, None]))
    bias = getattr(before, "bias", None)
    if bias is not None:
        bias.copy_(bias / divisor)


def shared_heads(channels: int, inputs: int, head_dim: int | None) -> int:
    """How many query heads take each head of ``channels`` values, where a layer takes ``inputs``.

    Raises:
        ValueError: the shapes are no heads'.
    """
    if head_dim is None or channels % head_dim or inputs % channels:
        raise ValueError(
            f"{channels} channels come before a layer that takes {inputs}: scales cannot be folded (heads of "
            f"{head_dim})"
        )
    return inputs // channels


def mean_over_shared_heads(importance: Tensor, channels: int, head_dim: int | None) -> Tensor:
    """Importance ``[in]`` in which query heads that share a head of values have their mean."""
    repeats = shared_heads(channels, len(importance), head_dim)
    by_head = importance.reshape(-1, repeats, head_dim or 1)
    return by_head.mean(1, keepdim=True).expand(by_head.shape).flatten()


def linear_in(block: nn.Module, name: str) -> nn.Linear:
    """The linear layer of that name.

    Raises:
        ValueError: it is none.
    """
    found = block.get_submodule(name)
    if not isinstance(found, nn.Linear):
        raise ValueError(f"{name} is no linear layer")
    return found


def divided_weight(before: nn.Module) -> Tensor | None:
    """What is divided where scales are folded into a module; None where it has nothing."""
    weight = getattr(before, "weight", None)
    return weight if isinstance(weight, Tensor) else None


@torch.no_grad()
def fold_exactly(block: nn.Module, groups: Sequence[ScaleGroup], call: Call, exact: Tensor, seed: int = 0) -> bool:
    """Whether a block gives the same with scales folded into these groups; tried on a copy, with powers of two.

    They round nothing, so what is left is another function: a norm that adds 1 to its weight, or an input that other
    layers take too. It is held to what the block adds to its input, by medians, since a few entries of a residual
    stream may be a thousand times the others.

    Args:
        call: of the block, its first argument the hidden states. exact: what the block gives, tokens that count.
    """
    trial = copy.deepcopy(block)
    generator = torch.Generator().manual_seed(seed)
    for group in groups:
        layers = [linear_in(trial, name) for name in group.linears]
        before = trial.get_submodule(group.before)
        weight = divided_weight(before)
        inputs, channels = layers[0].in_features, 0 if weight is None else len(weight)
        exponents = torch.randint(0, 4, (min(inputs, channels),), generator=generator).float()
        if channels != inputs:
            repeats = shared_heads(channels, inputs, group.head_dim)
            heads = exponents.reshape(-1, 1, group.head_dim or 1)
            exponents = heads.expand(-1, repeats, -1).flatten()
        fold_scale(before, layers, (2.0**exponents).to(layers[0].weight.device), head_dim=group.head_dim)
    folded = output(trial, call).float()
    hidden = call.args[0] if call.keep is None else call.args[0][call.keep]
    return bool((exact.float() - folded).abs().median() <= 1e-3 * (exact.float() - hidden.float()).abs().median())
