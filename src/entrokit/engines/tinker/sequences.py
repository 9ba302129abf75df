"""One trajectory as the sequences that a Tinker server is sent, and as one row of `Rollouts`.

Turns whose observation repeats everything before them share a sequence, as in the cookbook's `trajectory_to_data`;
where an environment rewrites the history, a new sequence begins. However many there are, the trajectory is one row:
what the policy chose is trained on, what the environment said between is there and is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tinker

# The cookbook's metric of a turn whose malformed answer is not to be trained on (`rl/types.py`, 0.6.1).
_MASKED = "parse_error_masked"
_CUT_OFF = frozenset({"max_tokens", "max_sampled_tokens", "context_overflow", "rollout_timeout"})
# Of what stands in an observation and is no token (a piece of a picture).
NO_TOKEN = -1


@dataclass
class Sequence:
    """What becomes a `tinker.Datum`, one entry a token; ``columns`` says where in the row the chosen ones lie.

    ``flat`` holds tokens and, once each, chunks that are none.
    """

    flat: list[Any] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    chosen: list[bool] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)

    def add(self, pieces: list[Any], logp: list[float] | None, chosen: bool, column: int) -> None:
        tokens = list(_tokens(pieces))
        self.flat += pieces
        self.tokens += tokens
        self.logp += [0.0] * len(tokens) if logp is None else logp
        self.chosen += [chosen] * len(tokens)
        self.columns += range(column, column + len(tokens))

    def model_input(self) -> tinker.ModelInput:
        """All but the last token, which nothing comes after."""
        chunks: list[Any] = []
        run: list[int] = []
        for piece in self.flat[:-1]:
            if isinstance(piece, int):
                run.append(piece)
                continue
            if run:
                chunks.append(tinker.EncodedTextChunk(tokens=run))
            chunks.append(piece)
            run = []
        if run:
            chunks.append(tinker.EncodedTextChunk(tokens=run))
        return tinker.ModelInput(chunks=chunks)


@dataclass
class Row:
    """A trajectory's completion: what came after its first observation.

    Attributes:
        tokens, logp, chosen, turn: one entry a token. logp: the sampler's; 0 where it is not ``chosen``.
        sequences: those with something to train on.
    """

    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    chosen: list[bool] = field(default_factory=list)
    turn: list[int] = field(default_factory=list)
    sequences: list[Sequence] = field(default_factory=list)

    def add(self, tokens: list[int], logp: list[float] | None, chosen: bool, turn: int) -> None:
        self.tokens += tokens
        self.logp += [0.0] * len(tokens) if logp is None else logp
        self.chosen += [chosen] * len(tokens)
        self.turn += [turn] * len(tokens)


def row_of(trajectory: Any, where: str) -> Row:
    """Reads a trajectory of the cookbook.

    Args:
        trajectory: ``transitions``, each with ``ob``, ``ac`` (``tokens``, ``maybe_logprobs``) and ``metrics``.
        where: which one it is, for messages.

    Raises:
        ValueError: sampled tokens without a log-probability each, one that is no log-probability, or an answer to
            nothing; says where.
    """
    row, sequence = Row(), Sequence()
    for n, transition in enumerate(trajectory.transitions):
        here = f"{where}, transition {n}"
        tokens, logp = list(transition.ac.tokens), _log_probs(transition.ac, here)
        if not tokens:
            # A rollout that ended before its first answer, say; its reward counts all the same.
            continue
        observed = list(_flatten(transition.ob))
        extends = sequence.flat and observed[: len(sequence.flat)] == sequence.flat
        if sequence.flat and not extends:
            _close(sequence, row)
            sequence = Sequence()
        new = observed[len(sequence.flat) :]
        if not sequence.flat and not new:
            raise ValueError(f"{here}: there is no observation, so nothing predicts the first token")
        between = list(_tokens(new))
        first = not row.tokens
        # The first observation is the prompt, which is no part of the completion.
        sequence.add(new, None, False, 0 if first else len(row.tokens))
        if not first:
            row.add(between, None, False, n)
        masked = float(transition.metrics.get(_MASKED, 0.0)) >= 1.0
        sequence.add(tokens, None if masked else logp, not masked, len(row.tokens))
        row.add(tokens, None if masked else logp, not masked, n)
    _close(sequence, row)
    return row


def cut_off(trajectory: Any) -> bool:
    """Whether a limit ended it, rather than the policy or its environment."""
    reason = getattr(trajectory, "stop_reason", None)
    if reason is not None:
        return str(reason) in _CUT_OFF
    transitions = trajectory.transitions
    return bool(transitions) and str(getattr(transitions[-1].ac, "stop_reason", "stop")) == "length"


def _close(sequence: Sequence, row: Row) -> None:
    # One without a token to train on would be a pass for nothing.
    if any(sequence.chosen):
        row.sequences.append(sequence)


def _log_probs(action: Any, here: str) -> list[float]:
    tokens, found = action.tokens, action.maybe_logprobs
    if found is None:
        raise ValueError(f"{here}: sampled tokens without log-probabilities; a recipe weighs against the sampler's")
    if len(found) != len(tokens):
        raise ValueError(f"{here}: {len(tokens)} tokens and {len(found)} log-probabilities")
    for i, value in enumerate(found):
        if not math.isfinite(value) or value > 1e-3:
            raise ValueError(f"{here}: the log-probability of token {i} is {value}; expected a finite one, at most 0")
    return [float(value) for value in found]


def _flatten(observation: Any) -> Iterator[Any]:
    for chunk in observation.chunks:
        if isinstance(chunk, tinker.EncodedTextChunk):
            yield from chunk.tokens
        else:
            yield chunk


def _tokens(pieces: list[Any]) -> Iterator[int]:
    for piece in pieces:
        if isinstance(piece, int):
            yield piece
        else:
            yield from [NO_TOKEN] * piece.length
