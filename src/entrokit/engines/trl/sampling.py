"""Logits processors inside TRL's call of `generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor


@contextmanager
def sampling_with(model: Any, processors: Sequence[Callable[[Tensor, Tensor], Tensor]]) -> Iterator[None]:
    """`model.generate` applies the processors, before its temperature, top-p and top-k, as long as this is open.

    TRL hands `generate` a generation config alone, which cannot carry processors. Of two that are open, the outer one's
    come first.
    """
    if not processors:
        yield
        return
    from transformers import LogitsProcessorList

    outer = vars(model).get("generate")
    before = outer.keywords["logits_processor"] if outer is not None else []
    generate = outer.func if outer is not None else model.generate
    model.generate = partial(generate, logits_processor=LogitsProcessorList([*before, *processors]))
    try:
        yield
    finally:
        if outer is None:
            del model.generate
        else:
            model.generate = outer
