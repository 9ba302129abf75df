"""Paths as they stand, and one step of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.distributions import entropy

from .checks import check_count, check_tensor
from .nucleus import Scope, draw_continuations, path_nucleus

# Weights that were rounded to half precision still sum to 1 within this.
_SUM_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class PathState:
    """Paths of B prompts, k each, all ``[B, k]``.

    Attributes:
        log_prob: L, of a path's tokens so far, float64 nats; -inf where there is no path. length: tokens so far,
            without what follows the end. finished: whether it has ended.
    """

    log_prob: Tensor
    length: Tensor
    finished: Tensor

    @classmethod
    def start(cls, prompts: int, k: int, device: torch.device | str = "cpu") -> PathState:
        """One path without tokens a prompt, and room for k.

        Raises:
            ValueError: k below 1. TypeError: k that is not whole.
        """
        check_count(k, "PathState.start: k")
        log_prob = torch.full((prompts, k), -torch.inf, dtype=torch.float64, device=device)
        log_prob[:, 0] = 0.0
        length = torch.zeros(prompts, k, dtype=torch.long, device=device)
        return cls(log_prob, length, torch.zeros_like(length, dtype=torch.bool))

    @property
    def there(self) -> Tensor:
        """Where there is a path, ``[B, k]``."""
        return self.log_prob > -torch.inf

    @property
    def ongoing(self) -> Tensor:
        """Paths that take another token, ``[B, k]``."""
        return self.there & ~self.finished

    def scores(self, length_power: float = 0.0) -> Tensor:
        """L / length^a ``[B, k]``; -inf where there is no path."""
        return self.log_prob / self.length.clamp(min=1) ** length_power

    def weights(self, path_temperature: float = 1.0, length_power: float = 0.0) -> Tensor:
        """w = softmax(L / (length^a τ)) ``[B, k]``."""
        return torch.softmax(self.scores(length_power) / path_temperature, -1)


def effective_paths(weights: Tensor) -> Tensor:
    """exp(H(w)) ``[B]``: how many paths of equal weight these ``[B, k]`` are worth; 1 where one has it all.

    Args:
        weights: `PathState.weights`: they sum to 1 a row, and are no logarithms.

    Raises:
        ValueError: a negative weight, as a logarithm is; NaN; a row that does not sum to 1. TypeError: no tensor.
    """
    check_tensor(weights, "effective_paths: weights")
    wrong = weights < 0
    if bool(wrong.any()):
        at = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"effective_paths: weight {at} is {float(weights[tuple(at)]):.4g}: these are log-weights; give their "
            "softmax, as PathState.weights() does"
        )
    total = weights.sum(-1)
    wrong = (total - 1.0).abs() > _SUM_TOLERANCE
    if bool(wrong.any()):
        row = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"effective_paths: the weights of row {row} sum to {float(total[tuple(row)]):.4g} and not to 1; of "
            "log-weights give the softmax, as PathState.weights() does"
        )
    return entropy(weights, from_logits=False).exp()


@dataclass(frozen=True, eq=False)
class Moved:
    """A step: the paths after it, and where they come from.

    Attributes:
        parent, token: ``[B, k]``: the path that each goes on from, and its token.
        path_entropy: H(w) ``[B]`` nats, before the step. token_entropy: Σ w_i H(p_i) ``[B]`` nats. Their sum is the
            entropy of paths and tokens together.
    """

    state: PathState
    parent: Tensor
    token: Tensor
    path_entropy: Tensor
    token_entropy: Tensor


def advance(
    state: PathState,
    logits: Tensor,
    *,
    p: float,
    temperature: float,
    path_temperature: float,
    length_power: float,
    scope: Scope,
    do_sample: bool,
    pad: int,
    generator: torch.Generator | None,
) -> Moved:
    """One step with next-token logits ``[B, k, V]``; of paths that are there not, or ended, they may be anything.

    A path that has ended has one continuation, ``pad``, of probability 1; which new paths have ended is the caller's.

    Raises:
        ValueError: logits of another shape, or that `path_nucleus` refuses. TypeError: logits that are no tensor.
    """
    check_tensor(logits, "PathTopP: logits")
    rows, k = state.log_prob.shape
    if logits.ndim != 3 or logits.shape[:2] != (rows, k):
        raise ValueError(
            f"PathTopP: {k} paths of {rows} prompts need logits [{rows}, {k}, V], got {list(logits.shape)}"
        )
    ongoing = state.ongoing
    # What ended goes on in column 0: a padding token may lie beyond the vocabulary.
    only = logits.new_full(logits.shape[-1:], -torch.inf, dtype=torch.float64)
    only[0] = 0.0
    scaled = torch.where(ongoing[..., None], logits.double() / temperature, only)
    # Of a path without a next token the softmax is NaN, which would be named instead.
    stuck = scaled.amax(-1, keepdim=True) == -torch.inf
    logp = torch.log_softmax(scaled, -1).masked_fill(stuck, -torch.inf)
    scores = state.scores(length_power) / path_temperature
    drawn = draw_continuations(path_nucleus(scores, logp, p, scope), k, do_sample=do_sample, generator=generator)
    gained = logp.flatten(1).gather(1, drawn.parent * logp.shape[-1] + drawn.token)
    log_prob = torch.where(drawn.there, state.log_prob.gather(1, drawn.parent) + gained, -torch.inf)
    went_on = ongoing.gather(1, drawn.parent)
    grown = state.length.gather(1, drawn.parent) + went_on
    finished = state.finished.gather(1, drawn.parent)
    weights = torch.softmax(scores, -1)
    return Moved(
        PathState(log_prob, grown, finished),
        drawn.parent,
        torch.where(drawn.there & went_on, drawn.token, pad),
        entropy(weights, from_logits=False),
        (weights * entropy(logp, from_logits=True)).sum(-1),
    )
