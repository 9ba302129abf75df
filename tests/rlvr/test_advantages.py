"""Worked numbers of the entropy-mechanism sheet, check 5, and the estimators' properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.rlvr import (
    PolicyStats,
    Rollouts,
    dr_grpo_advantages,
    grpo_advantages,
    recipe,
    reinforce_plus_plus_advantages,
    reinforce_plus_plus_baseline_advantages,
    rloo_advantages,
)

REWARD = torch.tensor([1.0, 0, 0, 1, 0.5, 0.2], dtype=torch.float64)
GROUP = torch.tensor([0, 0, 0, 1, 1, 2])


def close(a, b):
    torch.testing.assert_close(a, torch.tensor(b, dtype=a.dtype), atol=2e-6, rtol=0)


def test_check_5_grpo_and_dr_grpo():
    close(grpo_advantages(REWARD, GROUP), [1.154699, -0.577349, -0.577349, 0.707105, -0.707105, 0.2])
    close(dr_grpo_advantages(REWARD, GROUP), [2 / 3, -1 / 3, -1 / 3, 0.25, -0.25, 0.2])


def test_check_5_rloo_and_its_warning_for_a_group_of_one():
    with pytest.warns(UserWarning, match="a group of one"):
        close(rloo_advantages(REWARD, GROUP), [1, -0.5, -0.5, 0.5, -0.5, 0])


def test_reinforce_plus_plus_by_hand():
    train = torch.tensor([[True, True, True], [True, False, False]])
    reward = torch.tensor([1.0, -1.0], dtype=torch.float64)
    # Four tokens of return 1, 1, 1, -1: mean 0.5, unbiased variance 1.
    close(reinforce_plus_plus_advantages(reward, train)[train], [0.5, 0.5, 0.5, -1.5])
    discounted = reinforce_plus_plus_advantages(reward, train, gamma=0.5)
    raw = torch.tensor([0.25, 0.5, 1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(discounted[train], (raw - raw.mean()) / (raw.var() + 1e-8).sqrt())
    assert discounted[~train].abs().max() == 0


def test_reinforce_plus_plus_baseline_subtracts_the_group_mean_first():
    train = torch.ones(4, 2, dtype=torch.bool)
    reward = torch.tensor([1.0, 0.0, 5.0, 4.0], dtype=torch.float64)
    a = reinforce_plus_plus_baseline_advantages(reward, torch.tensor([0, 0, 1, 1]), train)
    torch.testing.assert_close(a[0], a[2])
    torch.testing.assert_close(a[0], -a[1])


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=12),
    st.floats(-3, 3),
    st.floats(0.1, 10),
    st.integers(0, 99),
)
def test_invariances_within_groups(rewards, shift, scale, seed):
    reward = torch.tensor(rewards, dtype=torch.float64).repeat(2)
    group = torch.arange(2).repeat_interleave(len(rewards))
    order = torch.randperm(len(reward), generator=torch.Generator().manual_seed(seed))
    for f in (grpo_advantages, dr_grpo_advantages, rloo_advantages):
        a = f(reward, group)
        torch.testing.assert_close(f(reward + shift, group), a, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(f(reward[order], group[order] + 7), a[order], atol=1e-9, rtol=1e-9)
        assert a.view(2, -1).sum(-1).abs().max() < 1e-6
    torch.testing.assert_close(
        dr_grpo_advantages(scale * reward, group),
        scale * dr_grpo_advantages(reward, group),
        atol=1e-9,
        rtol=1e-9,
    )
    torch.testing.assert_close(
        grpo_advantages(scale * reward, group, std_eps=1e-12),
        grpo_advantages(reward, group, std_eps=1e-12),
        atol=1e-4,
        rtol=1e-4,
    )


@given(st.floats(-5, 5, width=32), st.integers(2, 40), st.sampled_from([torch.float32, torch.float64]))
def test_equal_rewards_are_worth_nothing(value, size, dtype):
    """Exactly: a mean that rounding moved would be divided by a deviation as small."""
    reward, group = torch.full((2 * size,), value, dtype=dtype), torch.arange(2).repeat_interleave(size)
    for f in (grpo_advantages, dr_grpo_advantages, rloo_advantages):
        assert f(reward, group).tolist() == [0.0] * (2 * size)
    if size > 2:  # a completion alone keeps its reward
        reward[0] = math.nan
        assert grpo_advantages(reward, group).tolist() == [0.0] * (2 * size)


def test_unscored_completions_count_in_no_baseline():
    reward = torch.tensor([1.0, 0.0, math.nan, 0.0])
    group = torch.zeros(4, dtype=torch.long)
    rest = torch.tensor([True, True, False, True])
    for f in (grpo_advantages, dr_grpo_advantages, rloo_advantages):
        a = f(reward, group)
        assert a[2] == 0
        torch.testing.assert_close(a[rest], f(reward[rest], group[rest]))
    train = torch.ones(4, 2, dtype=torch.bool)
    a = reinforce_plus_plus_advantages(reward, train)
    assert a[2].abs().max() == 0
    torch.testing.assert_close(a[rest], reinforce_plus_plus_advantages(reward[rest], train[rest]))


@pytest.mark.parametrize(
    ("name", "function"),
    [("grpo", grpo_advantages), ("dr_grpo", dr_grpo_advantages), ("rloo", rloo_advantages)],
)
def test_a_recipe_broadcasts_its_estimator_over_trained_tokens(name, function):
    train = torch.tensor([[True, True], [True, False], [True, True], [False, False]])
    batch = Rollouts(
        tokens=torch.zeros(4, 2, dtype=torch.long),
        real=train,
        trained=train,
        group=torch.tensor([0, 0, 1, 1]),
        reward=torch.tensor([1.0, 0.0, 0.5, 0.0]),
        behaviour=PolicyStats(logp=torch.zeros(4, 2)),
    )
    a = recipe(name).advantages(batch)
    assert a[~train].abs().max() == 0
    torch.testing.assert_close(a[:, 0][:3], function(batch.reward, batch.group)[:3])
