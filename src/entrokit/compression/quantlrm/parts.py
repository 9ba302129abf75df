"""The blocks of a model and their linear layers: what there is to quantise, and whether it can be."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .folding import ScaleGroup, llama_groups
from .group_quantizer import check_group_size


@dataclass(frozen=True)
class Parts:
    """blocks: by name, in order. linears: by name, of every block."""

    blocks: dict[str, nn.Module]
    linears: dict[str, nn.Linear]

    @property
    def weights(self) -> dict[str, Tensor]:
        """By their names in ``state_dict()``."""
        return {f"{name}.weight": linear.weight for name, linear in self.linears.items()}

    def in_float(self, block: str) -> list[str]:
        """Matrices of a block that are of no linear layer, by their names in it: experts in one tensor, kernels."""
        owned = {id(weight) for weight in self.weights.values()}
        return [name for name, p in self.blocks[block].named_parameters() if p.ndim > 1 and id(p) not in owned]


def find_parts(model: nn.Module, blocks: str | None) -> Parts:
    """Blocks are the elements of the list that holds the most weights in linear layers; or of the one that is named.

    Raises:
        ValueError: there is none, or there are two, neither within the other.
    """
    if hasattr(model, "peft_config"):
        raise ValueError("the model has adapters; merge them first (merge_and_unload())")
    lists = {
        name: sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))
        for name, module in model.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential) if blocks is not None else nn.ModuleList)
    }
    lists = {name: held for name, held in lists.items() if held}
    if blocks is not None and blocks not in lists:
        raise ValueError(f"blocks={blocks!r} is no list of modules with linear layers; there are {sorted(lists)}")
    if not lists:
        said = {
            "Conv1D": "; a Conv1D of transformers, as GPT-2 has, has inputs first: put a Linear in the place of each",
            "PackedLinear": "; it has PackedLinear, and is quantised already",
        }
        kinds = {type(module).__name__ for module in model.modules()}
        why = "".join(text for kind, text in said.items() if kind in kinds)
        raise ValueError(f"the model has no list of blocks with linear layers (nn.ModuleList){why}")
    chosen = max(lists, key=lambda name: lists[name]) if blocks is None else blocks
    others = [name for name in lists if not _within(name, chosen) and not _within(chosen, name)]
    if blocks is None and others:
        raise ValueError(f"the model has several lists of blocks, {sorted([chosen, *others])}; name one by blocks=")
    found = {f"{chosen}.{i}" if chosen else str(i): m for i, m in model.get_submodule(chosen).named_children()}
    linears = {
        f"{name}.{own}" if own else name: module
        for name, block in found.items()
        for own, module in block.named_modules()
        if isinstance(module, nn.Linear)
    }
    return Parts(found, linears)


def check_parts(model: nn.Module, parts: Parts, group_size: int | None, pack: bool) -> None:
    """That every linear layer of the blocks can be quantised.

    Raises:
        ValueError: a parameter of a block has a second name; a weight that is no parameter of its own but computed; a
            layer to be packed whose weight another module reads; a tensor of the model without values; a weight with
            NaN or infinity, or with channels that the group size does not divide; names the first. TypeError: weights
            that are no plain floats.
    """
    for name, linear in parts.linears.items():
        if "weight" not in linear._parameters:
            raise ValueError(
                f"{name}.weight: is computed (a parametrisation, as weight norm or quantize_model make one), and plain "
                "parameters are quantised; remove it first"
            )
    if pack:
        for name, module in model.named_modules():
            taken = f"{name}.out_proj" if name else "out_proj"
            if isinstance(module, nn.MultiheadAttention) and taken in parts.linears:
                raise ValueError(
                    f"{taken}: its MultiheadAttention reads the weight without calling the layer, and packed codes "
                    "have none; take pack=False"
                )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ValueError(f"{name}: is on the meta device and has no values; load the weights first")
    names: defaultdict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    for block in parts.blocks.values():
        for parameter in block.parameters():
            if len(names[id(parameter)]) > 1:
                raise ValueError(
                    f"{' and '.join(names[id(parameter)])} are one tensor, and each would get scales of its own: "
                    "untie them first"
                )
    for name, weight in parts.weights.items():
        kind = type(weight.data)
        if kind is not Tensor or not weight.dtype.is_floating_point or weight.dtype.itemsize < 2:
            what = kind.__name__ if kind is not Tensor else weight.dtype
            raise TypeError(f"{name}: is {what}, and plain floats are quantised; dequantise or gather it first")
        wrong = weight.numel() - int(torch.isfinite(weight).sum())
        if wrong:
            raise ValueError(f"{name}: {wrong} of {weight.numel()} weights are NaN or infinite")
        check_group_size(name, weight.shape[1], group_size)


def check_groups(parts: Parts, groups: Sequence[ScaleGroup] | None) -> None:
    """That groups are there; warns where none is given and no block has Llama's.

    Raises:
        ValueError: a layer in two groups, a group that no block has, or one of what is no linear layer.
    """
    if groups is None and not any(llama_groups(block) for block in parts.blocks.values()):
        first, block = next(iter(parts.blocks.items()))
        own = [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]
        warnings.warn(
            "QuantLRM.quantize: no group of layers to scale is found, and all are rounded without scales: no block has "
            f"names as Llama's ({first} has {', '.join(own[:4])}{', ...' if len(own) > 4 else ''}). Describe them by "
            "groups=[ScaleGroup(...)]",
            stacklevel=3,
        )
    every = [name for group in groups or () for name in group.linears]
    twice = [name for name, count in Counter(every).items() if count > 1]
    if twice:
        raise ValueError(f"groups: {twice[0]} is in two groups, and a layer has one scale a channel")
    for group in groups or ():
        if not any(present_groups(block, [group]) for block in parts.blocks.values()):
            needed = dict.fromkeys((*group.linears, group.before, group.inspected))
            raise ValueError(f"groups: no block has all of {', '.join(needed)}; names are those within a block")
        wrong = [
            name
            for block in parts.blocks.values()
            if present_groups(block, [group])
            for name in group.linears
            if not isinstance(block.get_submodule(name), nn.Linear)
        ]
        if wrong:
            raise ValueError(f"groups: {wrong[0]} is no linear layer")


def present_groups(block: nn.Module, groups: Sequence[ScaleGroup]) -> list[ScaleGroup]:
    """Those of which a block has all parts."""
    known = {name for name, _ in block.named_modules()}
    return [group for group in groups if {*group.linears, group.before, group.inspected} <= known]


def _within(name: str, outer: str) -> bool:
    return not outer or name == outer or name.startswith(f"{outer}.")
