"""Markov chains as language models whose every probability is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from entrokit.decoding.path_nucleus import PathState, PathTopP, effective_paths

TOKENS, LENGTH, WORLDS, K, MASS = 20, 48, 10, 4, 0.9
JOINT, PER_PATH = "paths, joint", "paths, one nucleus each"
SAMPLES, BEAM = "top-p, best of 4", "beam search"
DECODERS = {
    JOINT: PathTopP(K, MASS),
    PER_PATH: PathTopP(K, MASS, scope="path"),
    BEAM: PathTopP(K, 1.0, do_sample=False),
}
ARMS = (*DECODERS, SAMPLES)


@dataclass(frozen=True)
class Decoded:
    """Means over a seed's chains: log-probability of the sequence that is given (nats), the share of it that all four
    begin with, exp(H(w)) by step."""

    log_prob: float
    shared: float
    effective: tuple[float, ...]


def decode(arm: str, seed: int) -> Decoded:
    g = torch.Generator().manual_seed(300 + seed)
    worlds = [torch.log_softmax(2.0 * torch.randn(TOKENS + 1, TOKENS, generator=g), -1) for _ in range(WORLDS)]
    draws = torch.Generator().manual_seed(seed)
    runs = [_independent(w, draws) if arm == SAMPLES else _together(w, DECODERS[arm], draws) for w in worlds]
    effective = torch.tensor([run.effective for run in runs]).mean(0).tolist()
    return Decoded(
        sum(run.log_prob for run in runs) / WORLDS, sum(run.shared for run in runs) / WORLDS, tuple(effective)
    )


def garden_path(tokens: Tensor) -> Tensor:
    """Logits ``[m, 6]``: the likelier first token, 0, leads to four alike; the other, 1, to one that is nearly sure."""
    laws = {(): [0.55, 0.45, 0, 0, 0, 0], (0,): [0, 0, 0.25, 0.25, 0.25, 0.25], (1,): [0, 0, 0.97, 0.01, 0.01, 0.01]}
    return torch.tensor([laws[tuple(row[1:])] for row in tokens.tolist()], dtype=torch.float64).log()


def probability(decoder: PathTopP, step_fn: Callable[[Tensor], Tensor], length: int) -> float:
    """Of the path that a decoder gives."""
    return math.exp(decoder.generate(step_fn, 0, length)[0].log_prob)


def _together(world: Tensor, decoder: PathTopP, generator: torch.Generator) -> Decoded:
    state, tokens = PathState.start(1, K), torch.full((K, 1), TOKENS)
    effective = []
    for _ in range(LENGTH):
        moved = decoder.step(state, world[tokens[:, -1]][None], generator=generator)
        state = moved.state
        tokens = torch.cat([tokens[moved.parent[0]], moved.token[0][:, None]], 1)
        effective.append(float(effective_paths(state.weights())[0]))
    alive = state.there[0]
    return Decoded(float(state.log_prob.max()), _shared(tokens[alive, 1:]), tuple(effective))


def _independent(world: Tensor, generator: torch.Generator) -> Decoded:
    """Four nucleus samples that know nothing of one another; w = softmax of their log-probabilities, as of paths."""
    single = PathTopP(1, MASS)
    state, tokens = PathState.start(K, 1), torch.full((K, 1), TOKENS)
    effective = []
    for _ in range(LENGTH):
        moved = single.step(state, world[tokens[:, -1]][:, None], generator=generator)
        state = moved.state
        tokens = torch.cat([tokens, moved.token], 1)
        effective.append(float(effective_paths(torch.softmax(state.log_prob.T, -1))[0]))
    return Decoded(float(state.log_prob.max()), _shared(tokens[:, 1:]), tuple(effective))


def _shared(tokens: Tensor) -> float:
    """How much of these ``[k, T]`` all begin with."""
    alike = (tokens == tokens[:1]).all(0)
    return float(alike.long().cumprod(0).double().mean())
