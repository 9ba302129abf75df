"""Markov coding game: a message hidden in the actions of an agent, whose behaviour stays what it was.

Minimum Entropy Coupling with Bottleneck (arXiv 2410.21666). At every step the sender compresses what the receiver
believes about the message into a code of at most R bits, couples the code with the policy's actions, and acts; the
receiver, who sees the actions and knows the policy, does the same arithmetic and narrows its belief. Averaged over
messages the actions follow the policy exactly, so that rewards lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import Floats
from .bottleneck import bottleneck_coupling
from .grid_world import GridWorld
from .pmf import entropy_bits, pmf

# A belief that rounding drove to 0 could never come back.
_FLOOR = 1e-300


@dataclass(frozen=True)
class MarkovCodingGame:
    """The arithmetic that sender and receiver share.

    Attributes:
        policy: ``[S, A]``, the law of actions in every state. rate_bits: R, of every step's code.
        encoder: of `bottleneck_coupling`; ties are broken alike on both sides.
    """

    policy: Floats
    rate_bits: float
    encoder: str = "greedy"

    def coupling(self, belief: ArrayLike, state: int) -> Floats:
        """The joint law of action and message, ``[A, M]``; its marginals are the policy and the belief."""
        return bottleneck_coupling(belief, self.policy[state], self.rate_bits, self.encoder).xy.T

    def action_law(self, belief: ArrayLike, state: int, message: int) -> Floats:
        """What the sender draws its action from, ``[A]``."""
        given = self.coupling(belief, state)[:, message].clip(min=_FLOOR)
        return np.asarray(given / given.sum())

    def update(self, belief: ArrayLike, state: int, action: int) -> Floats:
        """The receiver's belief after an action, ``[M]``."""
        seen = self.coupling(belief, state)[action].clip(min=_FLOOR)
        return np.asarray(seen / seen.sum())


@dataclass(frozen=True)
class Episode:
    """How a game went: what the receiver took the message for, the discounted reward, and the steps.

    belief: ``[M]``, at the end.
    """

    decoded: int
    reward: float
    steps: int
    belief: Floats


def play(
    world: GridWorld,
    game: MarkovCodingGame,
    message: int,
    prior: ArrayLike,
    rng: np.random.Generator,
    *,
    gamma: float = 0.95,
    most: int = 1000,
    on_step: Callable[[int, int], None] | None = None,
) -> Episode:
    """Plays one episode. ``on_step``: told of every state and action. ``most``: steps after which it ends anyway.

    Once the belief is certain, the policy alone acts.
    """
    belief = pmf(prior, "play: prior")
    T, r, terminal = _tables(world)
    state, total, steps = world.index(world.start), 0.0, 0
    while steps < most and not terminal[state]:
        certain = entropy_bits(belief) < 1e-9
        law = game.policy[state] if certain else game.action_law(belief, state, message)
        action = int(rng.choice(len(law), p=law))
        if on_step is not None:
            on_step(state, action)
        if not certain:
            belief = game.update(belief, state, action)
        state = int(rng.choice(len(r), p=T[state, action]))
        steps += 1
        total += gamma**steps * float(r[state])
    return Episode(int(np.argmax(belief)), total, steps, belief)


@lru_cache(maxsize=8)
def _tables(world: GridWorld) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    return world.transitions(), world.rewards, world.terminal
