"""Calibration batches, and what a model's blocks are called with while it reads them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .calls import Call

Batch = Tensor | Mapping[str, Any]
"""Token ids ``[batch, positions]``, or keyword arguments of the model, among them ``input_ids``."""


class _EnoughError(Exception):
    """The last block was reached; what comes behind it need not be computed."""


def checked_batches(batches: Iterable[Batch], model: nn.Module) -> list[dict[str, Any]]:
    """Batches as keyword arguments of a model.

    Raises:
        ValueError: no batch; ids that are no ``[batch, positions]`` or not in the vocabulary; no sequence of two
            tokens: one alone attends to itself, and no error could come from q and k; a cache of keys and values.
            TypeError: no integers, or what is no batch.
    """
    if isinstance(batches, (Tensor, Mapping)):
        raise TypeError("calib_batches: an iterable of batches is expected, e.g. [input_ids]; got one batch")
    found, longest = [], 0
    embedding = getattr(model, "get_input_embeddings", lambda: None)()
    vocabulary = getattr(embedding, "num_embeddings", None)
    for i, batch in enumerate(batches):
        if not isinstance(batch, Tensor | Mapping):
            raise TypeError(
                f"calib_batches[{i}]: a batch is a tensor of token ids or a mapping with input_ids, got "
                f"{type(batch).__name__}"
            )
        given = {"input_ids": batch} if isinstance(batch, Tensor) else dict(batch)
        if given.get("past_key_values") is not None:
            raise ValueError(
                f"calib_batches[{i}]: past_key_values would grow with every call of a block; give the whole text"
            )
        ids = given.get("input_ids")
        if not isinstance(ids, Tensor) or ids.dtype not in (torch.int64, torch.int32):
            kind = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
            raise TypeError(f"calib_batches[{i}]: input_ids are integers [batch, positions], got {kind}")
        if ids.ndim != 2:
            raise ValueError(f"calib_batches[{i}]: input_ids are [batch, positions], got {list(ids.shape)}")
        if not ids.numel():
            continue
        if vocabulary is not None and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
            raise ValueError(
                f"calib_batches[{i}]: ids from {int(ids.min())} to {int(ids.max())}, and the vocabulary has "
                f"{vocabulary}"
            )
        keep = real_tokens(given)
        longest = max(longest, ids.shape[1] if keep is None else int(keep.sum(1).max()))
        found.append(given)
    if not found:
        raise ValueError("calib_batches: no calibration text; give at least one batch of token ids")
    if longest < 2:
        raise ValueError(
            "calib_batches: every sequence is one token, which attends to nothing but itself; give whole sentences"
        )
    return found


def real_tokens(batch: Mapping[str, Any]) -> Tensor | None:
    """Which tokens are no padding, bool ``[batch, positions]``; None where all are real.

    Raises:
        ValueError: a mask of another shape than the ids. TypeError: no tensor.
    """
    mask = batch.get("attention_mask")
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise TypeError(f"calib_batches: attention_mask is a tensor [batch, positions], got {type(mask).__name__}")
    if mask.shape != batch["input_ids"].shape:
        raise ValueError(
            f"calib_batches: attention_mask {list(mask.shape)} and input_ids {list(batch['input_ids'].shape)} differ"
        )
    keep = mask.bool()
    return None if bool(keep.all()) else keep


@dataclass(frozen=True)
class Trace:
    """How the blocks of a model are called with a batch.

    Attributes:
        hidden: states that enter the first block. calls: of every block, without its hidden states. sizes: mean
            absolute hidden state that enters each.
    """

    hidden: Tensor
    calls: list[Call]
    sizes: list[float]

    @property
    def tokens(self) -> int:
        """Without padding."""
        keep = self.calls[0].keep
        return self.hidden[..., 0].numel() if keep is None else int(keep.sum())


def trace(model: nn.Module, blocks: Sequence[nn.Module], batch: Mapping[str, Any]) -> Trace:
    """Runs a model up to its last block, without a cache.

    Raises:
        ValueError: blocks that are called in another order, or more than once.
    """
    device = next(model.parameters()).device
    given = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
    if "use_cache" in inspect.signature(model.forward).parameters:
        given["use_cache"] = False
    keep = real_tokens(given)
    first: list[Tensor] = []
    calls: list[Call] = []
    sizes: list[float] = []
    order = {id(block): i for i, block in enumerate(blocks)}

    def note(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if order[id(block)] != len(calls):
            raise ValueError("blocks are not called one after the other, each once; name those that are by blocks=")
        call = Call(args, kwargs, keep)
        if not calls:
            first.append(hidden_states(call))
        sizes.append(size(hidden_states(call), keep))
        calls.append(with_hidden_states(call, None))
        if len(calls) == len(blocks):
            raise _EnoughError

    handles = [block.register_forward_pre_hook(note, with_kwargs=True) for block in blocks]
    try:
        with torch.no_grad():
            model(given.pop("input_ids"), **given)
    except _EnoughError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if len(calls) < len(blocks):
        raise ValueError(f"{len(blocks) - len(calls)} of {len(blocks)} blocks are not called; name others by blocks=")
    return Trace(first[0], calls, sizes)


def size(hidden: Tensor, keep: Tensor | None) -> float:
    """Mean absolute value of tokens that count, in float32."""
    return float((hidden if keep is None else hidden[keep]).float().abs().mean())


def hidden_states(call: Call) -> Tensor:
    """The first argument of a block."""
    found = call.args[0] if call.args else call.kwargs.get("hidden_states")
    if not isinstance(found, Tensor):
        raise ValueError(f"a block is called with {type(found).__name__} first, and hidden states are expected")
    return found


def with_hidden_states(call: Call, hidden: Tensor | None) -> Call:
    """The same call with these hidden states, as its first positional argument."""
    rest = call.args[1:] if call.args else ()
    kwargs = {k: v for k, v in call.kwargs.items() if k != "hidden_states"}
    return replace(call, args=(hidden, *rest), kwargs=kwargs)


@contextmanager
def recording(modules: Mapping[str, nn.Module], keep: Tensor | None, into: dict[str, list[Call]]) -> Iterator[None]:
    """While the block runs, every call of these modules is added to those of its name; tensors are not copied."""

    def hook(name: str) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = Call(args, kwargs)
            # Experts are given their own tokens as rows, of which nothing says any more which were padding.
            fits = keep is not None and hidden_states(call).shape[:-1] == keep.shape
            into.setdefault(name, []).append(replace(call, keep=keep) if fits else call)

        return note

    handles = [m.register_forward_pre_hook(hook(name), with_kwargs=True) for name, m in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
