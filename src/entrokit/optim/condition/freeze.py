"""Trains a few parameters of a model and nothing else, for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


@contextmanager
def freeze_except(model: nn.Module, names: Sequence[str]) -> Iterator[list[nn.Parameter]]:
    """While the block runs, only these parameters require gradients; afterwards each does what it did before.

    Yields them, for the optimiser, each once. Every other one is frozen, biases and norms included, and loses the
    gradient it may hold, so that an optimiser over all parameters passes it over too.

    Args:
        names: of `Module.named_parameters`; any of its names for a tied one.

    Raises:
        ValueError: no names, one that the model does not have, or a parameter that cannot have gradients. Nothing has
            been changed then.
    """
    if isinstance(names, str) or not names:
        raise ValueError(f"freeze_except: needs a list of names of parameters, got {names!r}")
    names = list(names)
    known = dict(model.named_parameters(remove_duplicate=False))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"freeze_except: the model has no parameters {unknown[:5]}; names are those of named_parameters()"
        )
    whole = [name for name in names if not known[name].dtype.is_floating_point]
    if whole:
        raise ValueError(f"freeze_except: {whole[:5]} hold no floats and cannot be trained; dequantise them")
    chosen = list({id(known[name]): known[name] for name in names}.values())
    before = {id(p): (p, p.requires_grad) for p in known.values()}
    try:
        for p, _ in before.values():
            if all(p is not one for one in chosen):
                p.grad = None
                p.requires_grad_(False)
        for p in chosen:
            p.requires_grad_(True)
        yield chosen
    finally:
        for p, required in before.values():
            p.requires_grad_(required)
