"""The loop behind ``model.generate(..., custom_generate=PathTopP(...))``, for decoder-only models of transformers 5.

`generate` prepares inputs, cache, logits processors and stopping criteria, and calls this in the place of its own loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from .state import Moved, PathState

_TRUNCATING = ("TopK", "TopP", "TopH", "MinP", "Typical", "Epsilon", "Eta")
_CACHES = ("past_key_values", "cache_params")


@dataclass(frozen=True, eq=False)
class PathOutput:
    """What `PathTopP` gives ``model.generate`` with ``return_dict_in_generate=True``.

    Attributes:
        sequences: the path of the largest score of each prompt, prompt and padding included, ``[B, T]``.
        paths: all, by falling score ``[B, k, T]``. log_probs: theirs ``[B, k]`` nats, -inf where there is no path.
        lengths: tokens behind the prompt ``[B, k]``. finished: ``[B, k]``.
        path_entropy: H(w) before each step ``[B, S]`` nats. token_entropy: Σ w H(p) ``[B, S]``. Both are NaN once all
            of a prompt's paths have ended.
    """

    sequences: Tensor
    paths: Tensor
    log_probs: Tensor
    lengths: Tensor
    finished: Tensor
    path_entropy: Tensor
    token_entropy: Tensor

    @property
    def effective_paths(self) -> Tensor:
        """exp(H(w)) ``[B, S]``."""
        return self.path_entropy.exp()


class Decoder(Protocol):
    """What the loop asks of a `PathTopP`."""

    @property
    def k(self) -> int: ...

    def step(
        self, state: PathState, logits: Tensor, *, pad: int = 0, generator: torch.Generator | None = None
    ) -> Moved: ...

    def ranked(self, state: PathState) -> Tensor: ...


def generate_paths(
    decoder: Decoder,
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    config: Any,
    generator: torch.Generator | None,
    model_kwargs: dict[str, Any],
) -> Tensor | PathOutput:
    """See `PathTopP.__call__`."""
    _check_model(model, config)
    _warn_of_truncation(logits_processor)
    rows, k, use_cache = len(input_ids), decoder.k, model_kwargs.get("use_cache", True)
    outputs = model._prefill(input_ids, config, model_kwargs)
    model_kwargs = model._update_model_kwargs_for_generation(outputs, model_kwargs)
    logits = outputs.logits[:, -1].repeat_interleave(k, 0)
    input_ids, model_kwargs = model._expand_inputs_for_generation(expand_size=k, input_ids=input_ids, **model_kwargs)
    cache = next((model_kwargs[name] for name in _CACHES if model_kwargs.get(name) is not None), None)
    if cache is not None and k > 1:
        _check_cache(model, cache)
        cache.batch_repeat_interleave(k)
    pad = 0 if config._pad_token_tensor is None else int(config._pad_token_tensor)
    state = PathState.start(rows, k, input_ids.device)
    first = (torch.arange(rows, device=input_ids.device) * k)[:, None]
    path_entropy, token_entropy = [], []
    while True:
        # A processor may write into what it is given.
        scores = logits_processor(input_ids, logits.to(torch.float32, copy=True))
        done = ~state.ongoing.any(1)
        moved = decoder.step(state, scores.view(rows, k, -1), pad=pad, generator=generator)
        path_entropy.append(moved.path_entropy.masked_fill(done, torch.nan))
        token_entropy.append(moved.token_entropy.masked_fill(done, torch.nan))
        came_from = (first + moved.parent).flatten()
        input_ids = torch.cat([input_ids[came_from], moved.token.flatten()[:, None]], 1)
        ended = stopping_criteria(input_ids, None).view(rows, k)
        state = PathState(moved.state.log_prob, moved.state.length, moved.state.finished | ended)
        if not bool(state.ongoing.any()):
            break
        if cache is not None and k > 1:
            cache.reorder_cache(came_from)
        inputs = model.prepare_inputs_for_generation(
            input_ids, next_sequence_length=1 if use_cache else None, **model_kwargs
        )
        outputs = model(**inputs, return_dict=True)
        model_kwargs = model._update_model_kwargs_for_generation(outputs, model_kwargs)
        logits = outputs.logits[:, -1]
    order = decoder.ranked(state)
    paths = input_ids.view(rows, k, -1)
    paths = paths.gather(1, order[..., None].expand_as(paths))
    if not config.return_dict_in_generate:
        return paths[:, 0]
    log_prob, length, finished = (of.gather(1, order) for of in (state.log_prob, state.length, state.finished))
    entropies = torch.stack(path_entropy, 1), torch.stack(token_entropy, 1)
    return PathOutput(paths[:, 0], paths, log_prob, length, finished, *entropies)


def _check_model(model: Any, config: Any) -> None:
    if model.config.is_encoder_decoder:
        raise ValueError("PathTopP: models with an encoder are not supported")
    if config.num_beams > 1:
        raise ValueError(f"PathTopP: its paths are its k; leave num_beams at 1, got {config.num_beams}")


def _check_cache(model: Any, cache: Any) -> None:
    if not (hasattr(cache, "reorder_cache") and hasattr(cache, "batch_repeat_interleave")):
        raise ValueError(f"PathTopP: the cache of {type(model).__name__}, {type(cache).__name__}, cannot be reordered")


def _warn_of_truncation(processors: Iterable[Any]) -> None:
    names = [type(processor).__name__ for processor in processors]
    cutting = [name for name in names if name.startswith(_TRUNCATING)]
    if cutting:
        warnings.warn(
            f"PathTopP: {', '.join(cutting)} cut every path's tokens before the nucleus of all, and path probabilities "
            "are those of what is left; give do_sample=False to leave them out",
            stacklevel=4,
        )
