"""A recipe's logits processors inside TRL's call of `generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor


@contextmanager
def sampling_with(model: Any, processors: Sequence[Callable[[Tensor, Tensor], Tensor]]) -> Iterator[None]:
    """`model.generate` applies the processors, before its temperature, top-p and top-k, as long as this is open.

    TRL hands `generate` a generation config alone, which cannot carry processors.
    """
    if not processors:
        yield
        return
    from transformers import LogitsProcessorList

    model.generate = partial(model.generate, logits_processor=LogitsProcessorList(processors))
    try:
        yield
    finally:
        del model.generate
