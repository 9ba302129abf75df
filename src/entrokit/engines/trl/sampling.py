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

    # accelerate may have put one of its own there (FSDP2).
    own = vars(model).get("generate")
    generate, before = model.generate, []
    if isinstance(own, partial) and "logits_processor" in own.keywords:
        generate, before = own.func, own.keywords["logits_processor"]
    model.generate = partial(generate, logits_processor=LogitsProcessorList([*before, *processors]))
    try:
        yield
    finally:
        if own is None:
            del model.generate
        else:
            model.generate = own
