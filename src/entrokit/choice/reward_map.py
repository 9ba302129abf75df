"""How the optimal policy answers to small changes of the reward, on finite decision problems.

The Policy Cliff: A Theoretical Analysis of Reward-Policy Maps in Large Language Models (arXiv 2507.20150). Optimal
values move smoothly with the reward; optimal policies jump wherever actions tie. Entropy regularisation of
temperature α makes the map Lipschitz (Proposition 4.5):

    d_TV(π_{R1,α}(·|s), π_{R2,α}(·|s)) <= ‖R1 - R2‖∞ / (2 α (1 - γ))

Shapes: rewards and Q ``[S, A]``, kernel ``P [S, A, S]``, discount γ in [0, 1). Values are known to `PRECISION` of the
largest, and actions tie where that cannot tell them apart (`argmax_sets`): all functions here mean the same by a tie,
in whatever units the reward is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "argmax_sets",
    "greedy_policy",
    "optimal_q",
    "policy_sensitivity",
    "soft_optimal",
    "tie_breaker",
    "tv_lipschitz_bound",
]

Floats = NDArray[np.float64]

PRECISION = 1e-11
"""Of the largest ``|Q|``: how well values are known by default. Two that are equal differ by at most twice this."""


def optimal_q(R: ArrayLike, P: ArrayLike, gamma: float, tol: float = PRECISION) -> Floats:
    """Q* of the hard Bellman equation, to ``tol max|Q|`` in the sup norm.

    Raises:
        ValueError: shapes that do not fit, rows of P that are no laws, γ outside [0, 1), or a ``tol`` that rounding
            does not allow (below 4e-16 / (1 - γ)).
    """
    reward, kernel = _problem(R, P, gamma)
    return _fixed_point(reward, kernel, gamma, tol, lambda q: q.max(1))


def soft_optimal(
    R: ArrayLike, P: ArrayLike, gamma: float, alpha: float, tol: float = PRECISION
) -> tuple[Floats, Floats]:
    """Q and policy ``[S, A]`` that maximise reward plus α times entropy (nats); Q to ``tol max|Q|``.

    Raises:
        ValueError: as `optimal_q`, and at α <= 0.
    """
    reward, kernel = _problem(R, P, gamma)
    if not alpha > 0:
        raise ValueError(f"soft_optimal: alpha must be above 0, got {alpha}")
    q = _fixed_point(reward, kernel, gamma, tol, lambda q: alpha * np.logaddexp.reduce(q / alpha, axis=1))
    return q, np.asarray(np.exp(q / alpha - np.logaddexp.reduce(q / alpha, axis=1, keepdims=True)))


def argmax_sets(Q: ArrayLike, atol: float = 0.0, rtol: float = 2.0 * PRECISION) -> NDArray[np.bool_]:
    """Actions that tie for the best of their state, within ``atol + rtol max|Q|`` of it, ``[S, A]``.

    The default is what values from `optimal_q` cannot tell apart; of values that are known less well, pass twice their
    error.
    """
    q = np.asarray(Q, dtype=np.float64)
    return np.asarray(q >= q.max(1, keepdims=True) - (atol + rtol * np.abs(q).max()))


def action_gap(Q: ArrayLike) -> Floats:
    """Best minus second best of every state, ``[S]``; 0 at a tie (`argmax_sets`).

    Raises:
        ValueError: a single action.
    """
    q = np.sort(np.asarray(Q, dtype=np.float64), axis=1)
    if q.shape[1] < 2:
        raise ValueError("action_gap: a single action has no second best")
    return np.where(argmax_sets(q)[:, -2], 0.0, q[:, -1] - q[:, -2])


def stability_radius(Q: ArrayLike, gamma: float) -> float:
    """Changes of the reward below this (sup norm) leave the greedy policy as it is: ``(1 - γ) min gap / 2``."""
    return (1.0 - gamma) * float(action_gap(Q).min()) / 2.0


def inverse_bellman(Q: ArrayLike, P: ArrayLike, gamma: float) -> Floats:
    """The reward whose optimal Q is the given one."""
    q, kernel = np.asarray(Q, dtype=np.float64), np.asarray(P, dtype=np.float64)
    return np.asarray(q - gamma * kernel @ q.max(1))


def tie_breaker(R: ArrayLike, P: ArrayLike, gamma: float, state: int, action: int, eps: float) -> Floats:
    """A reward within ``eps`` of R under which ``action`` is the only optimum at ``state`` (Propositions 2.4 and 3.2).

    `argmax_sets` and `greedy_policy` of that reward's `optimal_q` see no tie there either.

    Raises:
        ValueError: an action that is not among the optimal ones there, or an ``eps`` too small to break the tie at the
            precision of values; the message says what would do.
    """
    q = optimal_q(R, P, gamma)
    if not argmax_sets(q)[state, action]:
        raise ValueError(f"tie_breaker: action {action} is not optimal at state {state}")
    others = np.delete(q[state], action)
    before = q[state, action]
    q[state, action] += eps / (1.0 + gamma)
    # A tie's width, and the error of two values that are worked out anew.
    least = 4.0 * PRECISION * float(np.abs(q).max())
    if len(others) and not q[state, action] - others.max() > least:
        needed = (1.0 + gamma) * (least + float(others.max() - before))
        raise ValueError(
            f"tie_breaker: eps={eps:g} does not break the tie at state {state}, of values up to {np.abs(q).max():.3g}; "
            f"needs eps above {needed:.3g}"
        )
    return inverse_bellman(q, P, gamma)


def effective_reward(R_k: ArrayLike, w: ArrayLike) -> Floats:
    """Several rewards ``[K, S, A]`` under weights of each state, ``w [S, K]``, as one ``[S, A]``.

    Raises:
        ValueError: weights below 0, or that do not sum to 1.
    """
    rewards, weights = np.asarray(R_k, dtype=np.float64), np.asarray(w, dtype=np.float64)
    if (weights < 0).any() or not np.allclose(weights.sum(1), 1.0):
        raise ValueError("effective_reward: the weights of every state must be at least 0 and sum to 1")
    return np.asarray(np.einsum("sk,ksa->sa", weights, rewards))


def tv_lipschitz_bound(delta_R: float, alpha: float, gamma: float) -> float:
    """Proposition 4.5's bound on how far the soft policy moves (total variation); above 1 it says nothing."""
    return delta_R / (2.0 * alpha * (1.0 - gamma))


def greedy_policy(Q: ArrayLike) -> Floats:
    """The uniform law over the optimal actions, ``[S, A]``."""
    ties = argmax_sets(Q).astype(np.float64)
    return np.asarray(ties / ties.sum(1, keepdims=True))


@dataclass(frozen=True)
class Sensitivity:
    """How far (total variation, largest over states) the policy moves for changes of these sizes: each ``[K]``."""

    scales: tuple[float, ...]
    distance: tuple[float, ...]


def policy_sensitivity(
    R: ArrayLike,
    P: ArrayLike,
    gamma: float,
    directions: ArrayLike,
    scales: Sequence[float],
    alpha: float | None = None,
) -> Sensitivity:
    """Moves the reward by ``scale * direction`` and sees how far the optimal policy goes, the farthest over directions.

    Args:
        directions: ``[D, S, A]``, each of sup norm 1. alpha: temperature; None for the hard policy.
    """
    reward = np.asarray(R, dtype=np.float64)

    def policy(r: Floats) -> Floats:
        return greedy_policy(optimal_q(r, P, gamma)) if alpha is None else soft_optimal(r, P, gamma, alpha)[1]

    start = policy(reward)
    moved = [
        max(float(0.5 * np.abs(policy(reward + s * d) - start).sum(1).max()) for d in np.asarray(directions))
        for s in scales
    ]
    return Sensitivity(tuple(float(s) for s in scales), tuple(moved))


def incomplete_reward_witness(
    R_train: ArrayLike, R_missing: ArrayLike, P: ArrayLike, gamma: float, start: int = 0
) -> list[tuple[int, int, float]]:
    """Where a policy that is optimal for ``R_train`` is not for ``R_train + R_missing`` (Proposition 3.1).

    Returns:
        ``(state, action, advantage)`` of actions that tie for ``R_train`` at a state reachable from ``start`` and have
        positive advantage under ``R_missing`` for the trained policy (the first optimal action).
    """
    kernel, missing = np.asarray(P, dtype=np.float64), np.asarray(R_missing, dtype=np.float64)
    ties = argmax_sets(optimal_q(R_train, kernel, gamma))
    chosen, states = ties.argmax(1), np.arange(len(ties))
    step = kernel[states, chosen]
    value = np.linalg.solve(np.eye(len(ties)) - gamma * step, missing[states, chosen])
    advantage = missing + gamma * kernel @ value - value[:, None]
    rounding = PRECISION * float(np.abs(missing).max()) / (1.0 - gamma)
    reached, frontier = {start}, [start]
    while frontier:
        following = np.flatnonzero(step[frontier.pop()] > 0).tolist()
        frontier += [s for s in following if s not in reached]
        reached |= set(following)
    return [
        (int(s), int(a), float(advantage[s, a]))
        for s, a in zip(*np.nonzero(ties & (advantage > rounding)), strict=True)
        if s in reached
    ]


def _problem(R: ArrayLike, P: ArrayLike, gamma: float) -> tuple[Floats, Floats]:
    reward, kernel = np.asarray(R, dtype=np.float64), np.asarray(P, dtype=np.float64)
    if reward.ndim != 2 or kernel.shape != (*reward.shape, reward.shape[0]):
        raise ValueError(f"reward map: expected R [S, A] and P [S, A, S], got {reward.shape} and {kernel.shape}")
    if (kernel < 0).any() or not np.allclose(kernel.sum(-1), 1.0):
        raise ValueError("reward map: every P[s, a] must be a law over states")
    if not 0.0 <= gamma < 1.0:
        raise ValueError(f"reward map: gamma must lie in [0, 1), got {gamma}")
    return reward, kernel


def _fixed_point(reward: Floats, kernel: Floats, gamma: float, tol: float, value: Callable[[Floats], Floats]) -> Floats:
    # Two roundings a sweep, of values and of their sum, are added up over 1 / (1 - gamma) sweeps.
    least = 2.0 * float(np.finfo(np.float64).eps) / (1.0 - gamma)
    if not tol >= least:
        raise ValueError(
            f"reward map: tol={tol:g} is beyond rounding; at gamma={gamma} it must be at least {least:.2g}"
        )
    q, first, sweeps = np.zeros_like(reward), 0.0, 0
    while True:
        following: Floats = reward + gamma * kernel @ value(q)
        change, q = float(np.abs(following - q).max()), following
        first, sweeps = first if sweeps else change, sweeps + 1
        # The remaining error is the last change times gamma / (1 - gamma), at most.
        allowed = tol * float(np.abs(q).max()) * (1.0 - gamma)
        if change * gamma <= allowed:
            return q
        # Changes shrink by gamma a sweep: had rounding not at least doubled it, this one would be small enough.
        if gamma ** (sweeps - 1) * first * gamma <= 0.5 * allowed:
            raise ValueError(
                f"reward map: no convergence to tol={tol:g} in {sweeps} sweeps, which is beyond the rounding of these "
                f"values; the last sweep moved one by {change:.2g}"
            )
