"""Chosen parameters as what PEFT's ``LoraConfig`` takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

_ADAPTED = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class PeftTargets:
    """``LoraConfig(target_modules=..., target_parameters=...)``.

    Attributes:
        target_modules: names of modules; one regular expression of them where a list would match others too, since PEFT
            compares the ends of names: ``0`` is also ``blocks.0``.
        target_parameters: parameters of modules that PEFT adapts one by one, as fused experts; None if there are none.
    """

    target_modules: list[str] | str
    target_parameters: list[str] | None


def peft_targets(model: nn.Module, names: Sequence[str]) -> PeftTargets:
    """Targets of exactly the parameters ``names`` (of `named_parameters`), in their order. Needs no PEFT.

    The weight of a linear layer, an embedding or a convolution is its module; anything else a parameter, which PEFT
    (0.17 on) adapts if it has two or three dimensions.

    Raises:
        ValueError: no names, one that the model does not have, a tied weight (an adapter would reach one of its uses
            only), or a parameter that PEFT cannot tell from another.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"peft_targets: needs a list of names of parameters, got {names!r}")
    known = dict(model.named_parameters(remove_duplicate=False))
    modules: list[str] = []
    parameters: list[str] = []
    for name in dict.fromkeys(names):
        if name not in known:
            raise ValueError(f"peft_targets: the model has no parameter {name!r}")
        tied = [other for other, p in known.items() if p is known[name]]
        if len(tied) > 1:
            raise ValueError(
                f"peft_targets: {' and '.join(tied)} are one weight, and an adapter would reach one of its uses only; "
                "leave it out by include=, or train it itself with freeze_except"
            )
        owner, _, own = name.rpartition(".")
        if not owner:
            raise ValueError(
                f"peft_targets: {name} is of the model itself, which PEFT cannot adapt; put it in a module"
            )
        if own == "weight" and _is_adapted(model.get_submodule(owner)):
            modules.append(owner)
        else:
            parameters.append(name)
    also = [n for n in _ending_in(parameters, known) if n not in parameters]
    if also:
        raise ValueError(f"peft_targets: PEFT compares the ends of names, and would adapt {also[:5]} too; rename them")
    targets: list[str] | str = modules
    if set(_ending_in(modules, dict(model.named_modules()))) != set(modules):
        targets = "|".join(map(re.escape, modules))
    return PeftTargets(targets, parameters or None)


def _is_adapted(module: nn.Module) -> bool:
    # transformers' Conv1D is a linear layer with its weight transposed, by which GPT-2 is written.
    return isinstance(module, _ADAPTED) or type(module).__name__ == "Conv1D"


def _ending_in(targets: Sequence[str], names: Iterable[str]) -> list[str]:
    ends = tuple(f".{target}" for target in targets)
    return [name for name in names if name in targets or name.endswith(ends)]
