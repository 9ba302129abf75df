"""The outputs that a language model proposes for a prompt, out of what `generate` of transformers returns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from entrokit.distributions import token_statistics

from .generated import read_generated
from .sequences import pad_utilities

Read = Callable[[list[int]], Hashable]


@dataclass(frozen=True)
class Candidates:
    """Different outputs for one prompt, in the order in which they first came.

    Attributes:
        outputs: what they are: texts, or whatever ``read`` made of the tokens.
        utility: ``[K]`` float64, log-probability of each (nats); of token sequences that read the same, of all of them.
        counts: ``[K]`` int64, how often each came.
        finished: ``[K]`` bool, whether it ended by itself. One that was cut stands for everything that begins so.
    """

    outputs: tuple[Hashable, ...]
    utility: Tensor
    counts: Tensor
    finished: Tensor

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def mass(self) -> float:
        """Probability, by the model, that its output is in the list, in [0, 1].

        Probabilities over the list are conditional on it: of what the model thinks they are about this share.
        """
        return min(float(self.utility.exp().sum()), 1.0)


def candidate_lists(
    output: Any,
    *,
    prompts: int,
    prompt_length: int,
    end: int | Sequence[int] | None,
    read: Read | None = None,
    of: Literal["logits", "scores"] = "logits",
) -> list[Candidates]:
    """The candidates of every prompt, duplicates merged.

    Token sequences that are equal count once; different ones that ``read`` makes equal are merged too, and their
    probabilities add up.

    Args:
        output: of ``model.generate(..., return_dict_in_generate=True, output_logits=True)``, with
            ``num_return_sequences`` for more than one candidate. Sampled, greedy or by beams (these need
            ``output_scores=True`` as well in some versions, for the beams' indices).
        prompts: how many prompts were given. prompt_length: tokens of each, padding included,
            ``inputs["input_ids"].shape[1]``; of an encoder-decoder model 1.
        end: the tokens that end an output, ``model.generation_config.eos_token_id``; None if none does.
        read: from generated tokens, the ending one included, to what counts as one output; say
            ``lambda ids: tokenizer.decode(ids, skip_special_tokens=True)``. A tuple of the tokens by default.
        of: ``"logits"``, the model's own probabilities; or ``"scores"``, those that were sampled from, after
            temperature, top-k (50 by default in transformers), top-p and penalties: needs ``output_scores=True``.

    Raises:
        TypeError: ``output`` is not what generate returns, ``end`` no token, ``read`` no function or one of lists.
        ValueError: what is needed was not returned; sizes do not fit; rows that would be of one prompt begin
            differently; ``end`` is empty or outside of the vocabulary; a token that cannot have been drawn.

    Warns:
        RuntimeWarning: neighbouring prompts are the same tokens; no output ends by ``end``, and some look padded.
    """
    given = read_generated(output, prompts, prompt_length, end, of)
    if hasattr(read, "decode"):
        raise TypeError(
            f"candidate_lists: read must be a function of a list of tokens, got {type(read).__name__}; pass its "
            "decode, lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True)"
        )
    if read is not None and not callable(read):
        raise TypeError(f"candidate_lists: read must be a function of a list of tokens, got {type(read).__name__}")
    tokens, inside, rows = given.tokens, given.inside, len(given.tokens)
    utility = torch.zeros(rows, dtype=torch.float64, device=tokens.device)
    for t in range(tokens.shape[1]):
        logits = given.steps[t] if given.beams is None else given.steps[t][given.beams[:, t].clamp(min=0)]
        own = token_statistics(
            logits, tokens[:, t].to(logits.device), mask=inside[:, t].to(logits.device), need={"logp"}
        )
        utility += own.logp.to(utility.device).double()
    if given.beams is None:
        _check_drawn(utility, of)
    written = [ids[kept].tolist() for ids, kept in zip(tokens, inside, strict=True)]
    finished = (given.ended & inside).any(1).tolist()
    share, values = rows // prompts, utility.tolist()
    return [
        _merged(written[i : i + share], values[i : i + share], finished[i : i + share], read or tuple)
        for i in range(0, rows, share)
    ]


def stack_candidates(lists: Sequence[Candidates]) -> Tensor:
    """Utilities of several lists as rows ``[B, K]`` for `UtilityToProbability`, shorter ones filled up by -inf.

    Raises:
        ValueError: no lists.
    """
    return pad_utilities([one.utility for one in lists])


def _check_drawn(utility: Tensor, of: str) -> None:
    impossible = utility == -torch.inf
    if bool(impossible.any()):
        raise ValueError(
            f"candidate_lists: a token of row {int(impossible.nonzero()[0])} has probability 0 by the {of}, and was "
            "not generated by them; if it is padding, end must be what ended the output, "
            "model.generation_config.eos_token_id"
        )


def _merged(written: list[list[int]], utility: list[float], finished: list[bool], read: Read) -> Candidates:
    groups: dict[Hashable, dict[tuple[int, ...], tuple[float, bool]]] = {}
    counts: dict[Hashable, int] = {}
    for tokens, value, ended in zip(written, utility, finished, strict=True):
        key = read(tokens)
        # A tensor's hash is its place in memory.
        if not isinstance(key, Hashable) or isinstance(key, Tensor):
            raise TypeError(
                f"candidate_lists: read must give what can be compared, a text say, got {type(key).__name__}"
            )
        # The same tokens in another row differ by rounding at most: the first counts.
        groups.setdefault(key, {}).setdefault(tuple(tokens), (value, ended))
        counts[key] = counts.get(key, 0) + 1
    return Candidates(
        outputs=tuple(groups),
        utility=torch.stack(
            [torch.tensor([v for v, _ in own.values()], dtype=torch.float64).logsumexp(0) for own in groups.values()]
        ),
        counts=torch.tensor(list(counts.values())),
        finished=torch.tensor([all(ended for _, ended in own.values()) for own in groups.values()]),
    )
