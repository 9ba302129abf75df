"""The Policy Cliff (sheet `policy-cliff`): its worked numbers, bounds and degenerate cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.choice.reward_map import (
    PRECISION,
    _fixed_point,
    action_gap,
    argmax_sets,
    effective_reward,
    greedy_policy,
    incomplete_reward_witness,
    inverse_bellman,
    optimal_q,
    policy_sensitivity,
    soft_optimal,
    stability_radius,
    tie_breaker,
    tv_lipschitz_bound,
)

GAMMA = 0.9
R = np.array([[0.0, 0.0], [1.0, 0.2], [1.0, 0.5]])
P = np.zeros((3, 2, 3))
P[0, 0, 1] = P[0, 1, 2] = P[1, 0, 1] = P[1, 1, 0] = P[2, 0, 2] = 1.0
P[2, 1, 0] = P[2, 1, 1] = 0.5


def tv(p, q):
    return 0.5 * np.abs(p - q).sum(1)


def random_problem(seed, states=4, actions=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(states, actions)), rng.dirichlet(np.ones(states), size=(states, actions)), rng


def test_check_1_values_ties_and_gaps():
    q = optimal_q(R, P, GAMMA)
    np.testing.assert_allclose(q, [[9, 9], [10, 8.3], [10, 9.05]], atol=1e-8)
    assert argmax_sets(q).tolist() == [[True, True], [True, False], [True, False]]
    np.testing.assert_allclose(action_gap(q), [0, 1.7, 0.95], atol=1e-8)


def test_check_2_a_cliff():
    bumped = tie_breaker(R, P, GAMMA, 0, 1, 0.01)
    np.testing.assert_allclose(bumped, [[0, 0.005263], [1, 0.195263], [1, 0.497632]], atol=1e-6)
    assert np.abs(bumped - R).max() == pytest.approx(0.005263, abs=1e-6)
    q = optimal_q(bumped, P, GAMMA)
    np.testing.assert_allclose(q[0], [9, 9.005263], atol=1e-6)
    np.testing.assert_allclose(tv(greedy_policy(q), greedy_policy(optimal_q(R, P, GAMMA))), [0.5, 0, 0])
    with pytest.raises(ValueError, match="action 1 is not optimal at state 1"):
        tie_breaker(R, P, GAMMA, 1, 1, 0.01)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("eps", [1e-2, 1e-5, 1e-7, 1e-8, 1e-9])
def test_a_broken_tie_is_none(eps, unit):
    """Whatever `tie_breaker` returns, values, policies and gaps see no tie; in any units of the reward."""
    bumped = tie_breaker(unit * R, P, GAMMA, 0, 1, unit * eps)
    assert np.abs(bumped - unit * R).max() <= unit * eps
    q = optimal_q(bumped, P, GAMMA)
    assert argmax_sets(q)[0].tolist() == [False, True]
    assert greedy_policy(q)[0].tolist() == [0.0, 1.0]
    assert action_gap(q)[0] > 0
    assert stability_radius(q, GAMMA) > 0


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_a_tie_that_values_cannot_break_is_said_with_what_would(unit):
    with pytest.raises(ValueError, match=r"does not break the tie at state 0") as refused:
        tie_breaker(unit * R, P, GAMMA, 0, 1, unit * 1e-10)
    needed = float(str(refused.value).rpartition(" ")[2])
    tie_breaker(unit * R, P, GAMMA, 0, 1, 1.01 * needed)
    with pytest.raises(ValueError, match="does not break"):
        tie_breaker(unit * R, P, GAMMA, 0, 1, 0.99 * needed)
    q = optimal_q(unit * R, P, GAMMA)
    assert argmax_sets(q)[0].all()
    assert action_gap(q)[0] == 0.0
    # A gap that no value can be told by is a tie for all of them.
    q[0, 1] += 1e-11 * np.abs(q).max()
    assert greedy_policy(q)[0].tolist() == [0.5, 0.5]
    assert action_gap(q)[0] == stability_radius(q, GAMMA) == 0.0


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.9, 0.999]), st.sampled_from([1e-6, 1.0, 1e6]))
@settings(deadline=None)
def test_values_are_exact_to_the_tolerance(seed, gamma, unit):
    """Against the greedy policy's own values, by a linear system."""
    reward, kernel, _ = random_problem(seed)
    reward = unit * reward
    q = optimal_q(reward, kernel, gamma)
    best, states = q.argmax(1), np.arange(len(q))
    V = np.linalg.solve(np.eye(len(q)) - gamma * kernel[states, best], reward[states, best])
    # The solver's own rounding besides.
    error = np.abs(q - (reward + gamma * kernel @ V)).max()
    assert error <= (PRECISION + 1e-14 / (1.0 - gamma)) * np.abs(q).max()


@pytest.mark.parametrize("tol", [0.0, 1e-16, float("nan")])
def test_a_tolerance_beyond_rounding_is_refused(tol):
    reward, kernel, _ = random_problem(0)
    for solve in (optimal_q, lambda *a, tol: soft_optimal(*a, 1.0, tol=tol)):
        with pytest.raises(ValueError, match="is beyond rounding; at gamma=0.99 it must be at least 4.4e-14"):
            solve(reward, kernel, 0.99, tol=tol)


def test_values_that_never_settle_are_an_error():
    reward, kernel, rng = random_problem(0)
    with pytest.raises(ValueError, match=r"no convergence to tol=1e-11 in \d+ sweeps"):
        _fixed_point(reward, kernel, 0.9, PRECISION, lambda q: q.max(1) + 1e-9 * rng.normal(size=len(q)))


@given(st.integers(0, 1000))
def test_check_3_inverse_bellman_is_exact(seed):
    reward, kernel, rng = random_problem(seed)
    np.testing.assert_allclose(inverse_bellman(optimal_q(reward, kernel, 0.8), kernel, 0.8), reward, atol=1e-8)
    q = rng.normal(size=reward.shape)
    np.testing.assert_allclose(optimal_q(inverse_bellman(q, kernel, 0.8), kernel, 0.8), q, atol=1e-8)


def test_check_4_soft_values():
    q, pi = soft_optimal(R, P, GAMMA, 1.0)
    expected = [[11.455456, 11.788545], [12.455456, 11.296057], [12.788545, 11.775756]]
    np.testing.assert_allclose(q, expected, atol=1e-6)
    for alpha, p in ((1.0, 0.417489), (0.1, 0.499770), (0.01, 0.500000)):
        assert soft_optimal(R, P, GAMMA, alpha)[1][0, 0] == pytest.approx(p, abs=1e-6)
    assert pi.sum(1) == pytest.approx([1, 1, 1])


def test_check_5_the_bound_on_a_jump():
    bumped = tie_breaker(R, P, GAMMA, 0, 1, 0.01)
    for alpha, moved, bound in ((1.0, 0.001378, 0.026316), (0.1, 0.013152, 0.263158), (0.01, 0.128623, 2.631579)):
        d = tv(soft_optimal(R, P, GAMMA, alpha)[1], soft_optimal(bumped, P, GAMMA, alpha)[1])[0]
        assert d == pytest.approx(moved, abs=1e-6)
        assert tv_lipschitz_bound(np.abs(bumped - R).max(), alpha, GAMMA) == pytest.approx(bound, abs=1e-5)


def test_check_6_price_of_smoothness():
    best = optimal_q(R, P, GAMMA).max(1)
    for alpha in (1.0, 0.1):
        pi = soft_optimal(R, P, GAMMA, alpha)[1]
        step = np.einsum("sa,sat->st", pi, P)
        loss = best - np.linalg.solve(np.eye(3) - GAMMA * step, (pi * R).sum(1))
        assert (loss >= -1e-9).all()
        assert (loss <= alpha * np.log(2) / (1 - GAMMA)).all()
        if alpha == 1.0:
            np.testing.assert_allclose(loss, [2.575037, 3.046352, 2.728418], atol=1e-6)
        else:
            assert (loss < 0.001).all()


def test_check_7_bandit():
    kernel = np.ones((1, 2, 1))
    for eps, alpha, moved in ((0.01, 0.1, 0.049958), (0.1, 0.1, 0.462117), (0.5, 0.1, 0.986614)):
        one = soft_optimal([[eps / 2, -eps / 2]], kernel, 0.0, alpha)[1]
        other = soft_optimal([[-eps / 2, eps / 2]], kernel, 0.0, alpha)[1]
        assert tv(one, other)[0] == pytest.approx(moved, abs=1e-6)
        assert moved <= tv_lipschitz_bound(eps, alpha, 0.0)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.9]), st.sampled_from([0.1, 1.0]))
def test_check_8_bounds_on_random_problems(seed, gamma, alpha):
    reward, kernel, rng = random_problem(seed)
    moved = reward + 0.1 * rng.normal(size=reward.shape)
    size = np.abs(moved - reward).max()
    gap = np.abs(optimal_q(reward, kernel, gamma) - optimal_q(moved, kernel, gamma)).max()
    assert gap <= size / (1 - gamma) + 1e-6
    if gamma == 0.0:
        assert gap == pytest.approx(size)
    jump = tv(soft_optimal(reward, kernel, gamma, alpha)[1], soft_optimal(moved, kernel, gamma, alpha)[1]).max()
    assert jump <= tv_lipschitz_bound(size, alpha, gamma) + 1e-6


def test_check_9_sizes_of_ties_and_the_stability_radius():
    for m, jump in ((2, 0.5), (3, 0.666667), (5, 0.8)):
        reward, kernel = np.zeros((1, m)), np.ones((1, m, 1))
        bumped = tie_breaker(reward, kernel, 0.0, 0, m - 1, 1e-6)
        assert tv(greedy_policy(optimal_q(bumped, kernel, 0.0)), greedy_policy(reward))[0] == pytest.approx(
            jump, abs=1e-6
        )
    lowered = R.copy()
    lowered[0, 1] = -0.3
    q = optimal_q(lowered, P, GAMMA)
    np.testing.assert_allclose(q, [[9, 8.7], [10, 8.3], [10, 9.05]], atol=1e-8)
    assert stability_radius(q, GAMMA) == pytest.approx(0.015)
    rng = np.random.default_rng(0)
    directions = rng.uniform(-1, 1, size=(100, 3, 2))
    assert policy_sensitivity(lowered, P, GAMMA, directions, [0.0149]).distance == (0.0,)
    assert policy_sensitivity(lowered, P, GAMMA, np.sign(directions), [0.2]).distance[0] == 1.0


def test_check_10_the_hard_policy_jumps_and_the_soft_one_glides():
    direction = np.random.default_rng(1).uniform(-1, 1, size=(1, 3, 2))
    direction /= np.abs(direction).max()
    scales = np.logspace(-6, 0, 7)
    hard = policy_sensitivity(R, P, GAMMA, direction, scales).distance
    soft = policy_sensitivity(R, P, GAMMA, direction, scales, alpha=0.1).distance
    assert hard[0] in (0.5, 1.0)
    slope = np.polyfit(np.log(scales[:4]), np.log(soft[:4]), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.05)


def test_several_rewards_and_their_weights():
    rewards, weights = np.stack([R, 2 * R]), np.tile([0.25, 0.75], (3, 1))
    np.testing.assert_allclose(effective_reward(rewards, weights), 1.75 * R)
    with pytest.raises(ValueError, match="sum to 1"):
        effective_reward(rewards, np.ones((3, 2)))


def test_an_incomplete_reward_is_witnessed():
    missing = np.zeros((3, 2))
    missing[0, 1] = 0.5
    ((state, action, advantage),) = incomplete_reward_witness(R, missing, P, GAMMA)
    assert (state, action) == (0, 1)
    assert advantage == pytest.approx(0.5)
    assert incomplete_reward_witness(R, -missing, P, GAMMA) == []
    ((state, action, advantage),) = incomplete_reward_witness(1e-9 * R, 1e-14 * missing, P, GAMMA)
    assert (state, action, advantage) == (0, 1, pytest.approx(5e-15, rel=1e-9))
    # The same everywhere: no action is better for it, but for rounding.
    assert incomplete_reward_witness(R, np.full_like(R, 1e6 / 3), P, GAMMA) == []


def test_what_is_no_problem_is_refused():
    for arguments, message in (
        ((R, P[:2], GAMMA), r"expected R \[S, A\] and P"),
        ((R, 2 * P, GAMMA), "must be a law"),
        ((R, P, 1.0), "gamma must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            optimal_q(*arguments)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        soft_optimal(R, P, GAMMA, 0.0)
    with pytest.raises(ValueError, match="no second best"):
        action_gap([[1.0]])
