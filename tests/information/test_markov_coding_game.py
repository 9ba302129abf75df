"""The Markov coding game: the sheet's policy, actions that follow it whatever is hidden, and a receiver that agrees."""

import numpy as np
import pytest

from entrokit.information.coupling.grid_world import MOVES, GridWorld, soft_policy, soft_q
from entrokit.information.coupling.markov_coding_game import MarkovCodingGame, play

BETA = float(np.exp(-6))


@pytest.fixture(scope="module")
def policy():
    return soft_policy(soft_q(GridWorld(), BETA), BETA)


def test_check_7_soft_q(policy):
    world = GridWorld()
    start = world.index((5, 4))
    assert soft_q(world, BETA)[start].tolist() == pytest.approx([0.325850, 0.321995, 0.313568, 0.340550], abs=1e-6)
    assert policy[start].tolist() == pytest.approx([0.002648, 0.000559, 0.000019, 0.996774], abs=1e-6)
    warm = float(np.exp(-3))
    # The sheet's four quarters, to 2e-5, are those of 100 sweeps, which have not converged.
    assert soft_policy(soft_q(world, warm), warm)[start].tolist() == pytest.approx([0.25] * 4, abs=2e-4)


@pytest.mark.parametrize("beta", [BETA, float(np.exp(-3)), 1.0, 50.0])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.95, 0.99])
def test_soft_values_have_converged(beta, gamma):
    """Against the exact values of their own policy, by a linear system: at the fixed point they are the same."""
    world, tol = GridWorld(), 1e-9
    Q = soft_q(world, beta, gamma, tol)
    T, r, over = world.transitions(), world.rewards, world.terminal
    log_pi = Q / beta - np.logaddexp.reduce(Q / beta, axis=1, keepdims=True)
    pi = np.exp(log_pi)
    step = np.where(over[:, None], 0.0, gamma * np.einsum("sa,sat->st", pi, T))
    V = np.linalg.solve(np.eye(len(r)) - step, r - beta * (pi * log_pi).sum(1))
    exact = r[:, None] + np.where(over[:, None], 0.0, gamma * T @ V)
    # The values of a policy that is greedy for Q are nearer to the best than gamma / (1 - gamma) times twice Q's error.
    allowed = tol * np.abs(Q).max() * (1.0 + 2.0 * gamma / (1.0 - gamma))
    np.testing.assert_allclose(Q, exact, atol=allowed + 1e-13 * np.abs(Q).max() / (1.0 - gamma), rtol=0)


@pytest.mark.parametrize("tol", [0.0, 1e-16, float("nan")])
def test_a_tolerance_beyond_rounding_is_refused(tol):
    with pytest.raises(ValueError, match="is beyond rounding; at gamma=0.95 it must be at least 8.9e-15"):
        soft_q(GridWorld(), 0.05, tol=tol)
    assert np.isfinite(soft_q(GridWorld(), 0.05, tol=9e-15)).all()


def test_transitions_are_laws_and_obstacles_hold():
    world = GridWorld()
    T = world.transitions()
    np.testing.assert_allclose(T.sum(2), 1.0)
    start, left = world.index((5, 4)), MOVES.index((0, -1))
    assert T[start, left, world.index((5, 3))] == pytest.approx(0.8)
    assert T[start, left, start] == pytest.approx(0.1)  # up bumps into (4, 4)
    assert not T[:, :, [world.index(o) for o in world.obstacles]].sum(axis=(0, 1))[0] > 7 * 4
    with pytest.raises(ValueError, match="no free cell"):
        GridWorld(start=(1, 1))
    with pytest.raises(ValueError, match=r"slip: must lie in"):
        GridWorld(slip=0.6)
    with pytest.raises(ValueError, match="beta > 0"):
        soft_q(world, 0.0)


@pytest.mark.parametrize("encoder", ["greedy", "quantize", "refine"])
def test_actions_averaged_over_messages_follow_the_policy_exactly(policy, encoder):
    rng = np.random.default_rng(0)
    game = MarkovCodingGame(policy, 1.5, encoder)
    for state in rng.integers(64, size=20):
        belief = rng.dirichlet(np.ones(6))
        joint = game.coupling(belief, int(state))
        np.testing.assert_allclose(joint.sum(1), policy[state], atol=1e-11)
        np.testing.assert_allclose(joint.sum(0), belief, atol=1e-11)
        laws = np.array([game.action_law(belief, int(state), m) for m in range(6)])
        np.testing.assert_allclose(belief @ laws, policy[state], atol=1e-9)


def test_the_receiver_ends_where_the_sender_is_and_repeats_its_arithmetic(policy):
    world, prior = GridWorld(), np.full(4, 0.25)
    game = MarkovCodingGame(policy, 2.0)
    seen = []
    episode = play(world, game, 2, prior, np.random.default_rng(1), on_step=lambda s, a: seen.append((s, a)))
    belief = prior
    for state, action in seen:
        if belief.max() < 1 - 1e-9:
            belief = game.update(belief, state, action)
    np.testing.assert_allclose(belief, episode.belief, atol=1e-9)
    assert episode.decoded == int(belief.argmax())
    assert episode.steps == len(seen)


def test_a_belief_that_rounding_drove_to_nothing_can_still_be_sent(policy):
    game = MarkovCodingGame(policy, 1.0)
    law = game.action_law([1.0, 0.0], 44, 1)
    assert np.isfinite(law).all()
    assert law.sum() == pytest.approx(1.0)
    assert np.isfinite(game.update([1.0, 0.0], 44, 0)).all()


def test_an_episode_that_never_ends_is_cut(policy):
    still = MarkovCodingGame(np.full_like(policy, 0.25), 1.0)
    assert play(GridWorld(), still, 0, [0.5, 0.5], np.random.default_rng(0), most=3).steps == 3
