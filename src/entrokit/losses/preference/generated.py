"""What `generate` of transformers returned, held against what is said of it."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# As many equal tokens at the end of an output look like padding.
_RUN = 3


@dataclass(frozen=True)
class Generated:
    """Generated tokens ``[rows, length]``; which belong to an output, and which end one, both bool of that shape; the
    logits of every step; and the row of them that chose each token (-1 behind the end), None where it is its own."""

    tokens: Tensor
    inside: Tensor
    ended: Tensor
    steps: Sequence[Tensor]
    beams: Tensor | None


def read_generated(
    output: Any, prompts: int, prompt_length: int, end: int | Sequence[int] | None, of: str
) -> Generated:
    """Looked at once; arguments as of `candidate_lists`.

    Raises:
        TypeError, ValueError: see `candidate_lists`.

    Warns:
        RuntimeWarning: outputs seem to have ended by another token than ``end``.
    """
    steps = _steps(output, of)
    for name, value, least in (("prompts", prompts, 1), ("prompt_length", prompt_length, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            got = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"{value!r:.60}"
            raise ValueError(
                f"candidate_lists: {name} must be a whole number of at least {least}, got {got}; of input_ids it is "
                f"{'their number, len(input_ids)' if name == 'prompts' else 'their length, input_ids.shape[1]'}"
            )
    tokens = output.sequences[:, prompt_length:].long()
    rows, length = tokens.shape
    beams = _beams(output, rows, length, len(steps[0]))
    # Beams may have searched beyond the longest that they return.
    if not 0 < length <= len(steps) or (beams is None and length < len(steps)):
        raise ValueError(
            f"candidate_lists: {length} tokens are left behind a prompt of {prompt_length}, but {len(steps)} were "
            "generated; prompt_length must be that of the padded prompts (1 for an encoder-decoder model)"
        )
    _check_prompts(output.sequences, prompts, prompt_length)
    ended = torch.isin(tokens, tokens.new_tensor(_ends(end, steps[0].shape[-1])))
    # The first end is of the output, what follows is padding.
    inside = ended.cumsum(1) - ended.long() == 0
    _warn_of_other_ends(tokens, ended, beams, end)
    if beams is not None:
        inside &= beams >= 0
    return Generated(tokens, inside, ended, steps, beams)


def _steps(output: Any, of: str) -> Sequence[Tensor]:
    if of not in ("logits", "scores"):
        raise ValueError(f"candidate_lists: of must be logits or scores, got {of!r}")
    asked = f"call it with return_dict_in_generate=True, output_{of}=True"
    if not isinstance(getattr(output, "sequences", None), Tensor):
        raise TypeError(f"candidate_lists: output must be what generate returns, got {type(output).__name__}; {asked}")
    steps = getattr(output, of, None)
    if not isinstance(steps, (tuple, list)) or not steps:
        raise ValueError(f"candidate_lists: generate returned no {of}; {asked}")
    return steps


def _check_prompts(sequences: Tensor, prompts: int, prompt_length: int) -> None:
    """That the rows of each share begin alike, and those of neighbouring shares do not."""
    rows = len(sequences)
    if not rows or rows % prompts:
        raise ValueError(f"candidate_lists: {rows} sequences cannot be of {prompts} prompts, equally many each")
    heads = sequences[:, :prompt_length].reshape(prompts, rows // prompts, -1)
    apart = (heads != heads[:, :1]).any(-1).flatten()
    if bool(apart.any()):
        row = int(apart.nonzero()[0])
        first = row - row % (rows // prompts)
        raise ValueError(
            f"candidate_lists: rows {first} and {row} hold different prompts, but of {prompts} prompts they would be "
            "one's; prompts must be how many were given to generate"
        )
    same = (heads[1:, 0] == heads[:-1, 0]).all(-1)
    # One token may be what every output of an encoder-decoder model begins with.
    if prompt_length > 1 and bool(same.any()):
        one = int(same.nonzero()[0])
        warnings.warn(
            f"candidate_lists: prompts {one} and {one + 1} are the same tokens; if they are one, prompts is too large "
            "and its candidates are in several lists",
            RuntimeWarning,
            stacklevel=4,
        )


def _ends(end: int | Sequence[int] | None, vocabulary: int) -> list[int]:
    if end is None:
        return []
    try:
        found = [operator.index(one) for one in ([end] if isinstance(end, int) else end)]
    except TypeError as error:
        raise TypeError(f"candidate_lists: end must be a token, several or None, got {end!r:.60}") from error
    if not found:
        raise ValueError("candidate_lists: end holds no token; None says that no token ends an output")
    for one in found:
        if isinstance(end, bool) or not 0 <= one < vocabulary:
            raise ValueError(
                f"candidate_lists: end {one} lies outside of the vocabulary [0, {vocabulary}); it must be what ends an "
                "output, model.generation_config.eos_token_id"
            )
    return found


def _beams(output: Any, rows: int, length: int, of_steps: int) -> Tensor | None:
    if not hasattr(output, "beam_indices"):
        if of_steps != rows:
            raise ValueError(f"candidate_lists: {rows} sequences, but {of_steps} rows of logits a step")
        return None
    if output.beam_indices is None:
        raise ValueError(
            "candidate_lists: generate returned beams without their indices; call it with output_scores=True as well"
        )
    beams: Tensor = output.beam_indices[:, :length]
    return beams


def _warn_of_other_ends(tokens: Tensor, ended: Tensor, beams: Tensor | None, end: int | Sequence[int] | None) -> None:
    """If no output ends by ``end``, and some look as if they had ended before others."""
    if bool(ended.any()):
        return
    if beams is not None:
        early = (beams < 0).any(1)
    else:
        run = (tokens == tokens[:, -1:]).flip(1).long().cumprod(1).sum(1)
        early = run >= _RUN
        # One row at least was generated to the last step.
        if bool(early.all()):
            return
    if bool(early.any()):
        row = int(early.nonzero()[0])
        warnings.warn(
            f"candidate_lists: no output ends by end={end}, but row {row} seems to have ended before others, by "
            f"padding of token {int(tokens[row, -1])}; end must be what ends an output, "
            "model.generation_config.eos_token_id",
            RuntimeWarning,
            stacklevel=4,
        )
