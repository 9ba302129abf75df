"""Moments of groups: exact where rewards are equal, whatever the number."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from entrokit.groups import group_moments
from entrokit.rlvr import (
    Context,
    dr_grpo_advantages,
    grpo_advantages,
    reinforce_plus_plus_advantages,
    reinforce_plus_plus_baseline_advantages,
    rloo_advantages,
)
from entrokit.rlvr.interventions.arm import arm_advantage
from entrokit.rlvr.interventions.canon import canon_advantage
from entrokit.rlvr.interventions.hapo import token_group_advantages
from entrokit.rlvr.interventions.weighted_grpo import weighted_grpo_advantage


def of_groups(reward, group):
    mask = torch.ones(len(reward), 3, dtype=torch.bool)
    conf = torch.full_like(reward, 0.5)
    return {
        "grpo": grpo_advantages(reward, group),
        "dr_grpo": dr_grpo_advantages(reward, group),
        "rloo": rloo_advantages(reward, group),
        "reinforce++ baseline": reinforce_plus_plus_baseline_advantages(reward, group, mask),
        "hapo": token_group_advantages(reward, group, mask),
        "arm": arm_advantage(reward, conf, conf, group),
        "canon": canon_advantage(reward, torch.arange(len(reward)).to(reward.dtype), group),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(st.sampled_from([2, 3, 7, 8, 16, 24]), st.floats(-1e3, 1e3))
@example(24, 0.7)
def test_equal_rewards_are_worth_exactly_nothing(dtype, size, reward):
    rewards, group = torch.full((2 * size,), reward, dtype=dtype), torch.arange(2).repeat_interleave(size)
    for name, advantage in of_groups(rewards, group).items():
        if name == "canon" and dtype == torch.float64:
            continue  # a difference of two sums, which nothing is divided by
        assert not advantage.any(), name
    whole = reinforce_plus_plus_advantages(rewards, torch.ones(2 * size, 2, dtype=torch.bool))
    assert not whole.any()


def test_a_flat_group_beside_a_mixed_one_stays_at_nothing():
    reward = torch.tensor([0.7] * 16 + [0.0, 1.0] * 8)
    group = torch.arange(2).repeat_interleave(16)
    for name, advantage in of_groups(reward, group).items():
        if name != "reinforce++ baseline":  # whitened over both
            assert not advantage[:16].any(), name
        assert advantage[16:].abs().max() > 0.1


def test_reinforce_plus_plus_whitens_rewards_that_differ_across_ranks_alone():
    """Equal here, but not there: no rank may take its own for all."""
    reward, mask = torch.tensor([1.0, 1.0]), torch.ones(2, 1, dtype=torch.bool)
    sums = iter([torch.tensor([2.0, 4.0]).double(), torch.tensor(1.0).double()])
    other = torch.tensor([[0.0, 0.0]]).double()
    ranks = Context(reduce=lambda x: next(sums), gather=lambda x: torch.cat([x, other]))
    found = reinforce_plus_plus_advantages(reward, mask, context=ranks)
    assert found[:, 0].tolist() == pytest.approx([0.5 / math.sqrt(1 / 3)] * 2, rel=1e-6)


def test_weighted_moments_by_hand():
    x = torch.tensor([1.0, 2.0, 4.0, math.nan, 9.0, 5.0])
    weight = torch.tensor([1, 2, 1, 3, 0, 2])
    group = torch.tensor([3, 3, 3, 3, 3, 8])
    m = group_moments(x, group, weight=weight, ddof=0)
    assert m.count.tolist() == [4] * 5 + [2]
    assert m.mean.tolist() == [2.25] * 5 + [5.0]
    assert m.centred.tolist() == [-1.25, -0.25, 1.75, 0.0, 0.0, 0.0]
    assert m.std.tolist() == pytest.approx([math.sqrt((1.25**2 + 2 * 0.25**2 + 1.75**2) / 4)] * 5 + [0.0])
    assert m.mean.dtype == torch.float64
    empty = group_moments(x[:0], group[:0])
    assert empty.mean.shape == (0,)
    nothing = group_moments(torch.full((2,), math.nan), torch.zeros(2, dtype=torch.long))
    assert nothing.centred.tolist() == [0.0, 0.0]
    assert nothing.count.tolist() == [0.0, 0.0]


def test_reinforce_plus_plus_baseline_of_a_singleton_is_verl_s():
    """A group of one has mean 0: its raw reward goes into the whitening."""
    reward, group = torch.tensor([1, 0, 0, 1, 0.5, 0.2]), torch.tensor([0, 0, 0, 1, 1, 2])
    mask = torch.ones(6, 3, dtype=torch.bool)
    mask[1, 2] = False
    found = reinforce_plus_plus_baseline_advantages(reward, group, mask)
    expected = [1.602212, -1.016788, -1.016788, 0.510962, -0.798538, 0.380012]
    assert found[:, 0].tolist() == pytest.approx(expected, abs=1e-6)
    assert found[1, 2] == 0


def test_weighted_grpo_of_answers_that_are_all_wrong_is_exactly_nothing_and_of_the_input_s_dtype():
    group = torch.zeros(7, dtype=torch.long)
    wrong = weighted_grpo_advantage(torch.zeros(7, dtype=torch.bool), group, lambda_neg=0.7, eps=0.0)
    assert not wrong.any()
    mixed = torch.tensor([1.0, 0, 0, 0, 0, 0, 0], dtype=torch.float64)
    assert weighted_grpo_advantage(mixed, group).dtype == torch.float64
    by_bools = weighted_grpo_advantage(mixed.bool(), group, dtype=torch.float64)
    torch.testing.assert_close(weighted_grpo_advantage(mixed, group), by_bools)


def test_whole_numbers_are_rewards_too():
    whole, group = torch.tensor([1, 0, 0, 1, 3, 3]), torch.tensor([0, 0, 0, 1, 1, 2])
    for name, advantage in of_groups(whole, group).items():
        torch.testing.assert_close(advantage, of_groups(whole.float(), group)[name], msg=name)
        assert advantage.any()
    m = torch.ones(6, 2, dtype=torch.bool)
    torch.testing.assert_close(
        reinforce_plus_plus_advantages(whole, m), reinforce_plus_plus_advantages(whole.float(), m)
    )


def test_weights_below_one_are_weights():
    m = group_moments(torch.tensor([1.0, 3.0]), torch.zeros(2), weight=torch.tensor([0.25, 0.25]), ddof=0)
    assert m.mean.tolist() == [2.0, 2.0]


def test_a_completion_that_was_not_scored_has_no_advantage_and_is_in_no_baseline():
    reward = torch.tensor([1.0, 0.0, math.nan, 0.5, math.nan])
    group, mask = torch.tensor([0, 0, 0, 1, 2]), torch.ones(5, 2, dtype=torch.bool)
    scored = ~torch.isnan(reward)
    found = reinforce_plus_plus_baseline_advantages(reward, group, mask)
    assert not found[~scored].any()
    torch.testing.assert_close(
        found[scored], reinforce_plus_plus_baseline_advantages(reward[scored], group[scored], mask[scored])
    )
    correct = torch.tensor([True, False, False, True, False])
    unscored = weighted_grpo_advantage(correct[:3], group[:3], scored=scored[:3])
    torch.testing.assert_close(unscored[:2], weighted_grpo_advantage(correct[:2], group[:2]))
    assert unscored[2] == 0


def test_ranks_whose_own_rewards_are_all_alike_are_whitened_over_both():
    """This rank has ones alone, the other zeros alone."""

    def summed(x):
        return 2 * x if x.dim() == 0 else x + torch.tensor([0.0, 2.0], dtype=x.dtype)

    ranks = Context(gather=lambda x: torch.cat([x, torch.zeros_like(x)]), reduce=summed)
    found = reinforce_plus_plus_advantages(torch.ones(2), torch.ones(2, 1, dtype=torch.bool), context=ranks)
    assert found.min() > 0.5
