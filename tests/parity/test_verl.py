"""Parity with verl's registered policy losses and advantage estimators, on random batches.

verl's pins clash with TRL's, so these run in an environment of their own: ``make test-parity``.
"""

import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl needs its own environment: make test-parity")

from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_policy_loss_fn
from verl.workers.config import ActorConfig, PolicyLossConfig

from entrokit.rlvr import (
    PolicyStats,
    Rollouts,
    Totals,
    recipe,
    reinforce_plus_plus_baseline_advantages,
    rloo_advantages,
)

ROWS, LENGTH = 12, 9
AGGREGATIONS = {
    "token-mean": "dapo",
    "seq-mean-token-mean": "grpo",
}


def batch(seed):
    """Rows of unequal length, ratios up to e, groups of three."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(LENGTH) < torch.randint(1, LENGTH + 1, (ROWS,), generator=g)[:, None]
    old = -3 * torch.rand(ROWS, LENGTH, generator=g, dtype=torch.float64) - 0.02
    new = (old + 2 * torch.rand(ROWS, LENGTH, generator=g, dtype=torch.float64) - 1).clamp(max=-1e-3)
    rollouts = Rollouts(
        tokens=torch.zeros(ROWS, LENGTH, dtype=torch.long),
        real=mask,
        trained=mask,
        group=torch.arange(ROWS) // 3,
        reward=torch.randn(ROWS, generator=g, dtype=torch.float64),
        behaviour=PolicyStats(logp=old * mask),
    )
    advantages = torch.randn(ROWS, 1, generator=g, dtype=torch.float64).expand(ROWS, LENGTH) * mask
    return rollouts, new, advantages


def ours(spec, rollouts, new, advantages):
    r, x = recipe(spec), new.clone().requires_grad_()
    result = r.loss(PolicyStats(logp=x), rollouts, advantages, r.prepare(rollouts, advantages), Totals(length=LENGTH))
    return result.loss.detach(), torch.autograd.grad(result.loss, x)[0]


def theirs(name, rollouts, new, advantages, aggregation, **options):
    covariance = {k: options.pop(k) for k in list(options) if "cov" in k or k == "ppo_kl_coef"}
    config = ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        policy_loss=PolicyLossConfig(loss_mode=name, **covariance),
        **options,
    )
    x = new.clone().requires_grad_()
    loss, _ = get_policy_loss_fn(name)(
        old_log_prob=rollouts.behaviour.logp,
        log_prob=x,
        advantages=advantages,
        response_mask=rollouts.trained.to(torch.float64),
        loss_agg_mode=aggregation,
        config=config,
    )
    return loss.detach(), torch.autograd.grad(loss, x)[0]


def assert_same(a, b):
    # verl adds 1e-8 to a row's count of tokens.
    torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-7)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("aggregation", "base"), AGGREGATIONS.items())
def test_vanilla(aggregation, base, seed):
    b = batch(seed)
    spec = f"{base}(clip_low=0.2, clip_high=0.28, dual_clip=1.5)"
    options = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28, "clip_ratio_c": 1.5}
    assert_same(ours(spec, *b), theirs("vanilla", *b, aggregation, **options))


@pytest.mark.parametrize("seed", range(5))
def test_cispo(seed):
    b = batch(seed)
    options = {"clip_ratio_low": 0.3, "clip_ratio_high": 0.4}
    assert_same(ours("cispo(clip_low=0.3, clip_high=0.4)", *b), theirs("cispo", *b, "token-mean", **options))


@pytest.mark.parametrize("seed", range(5))
def test_gspo(seed):
    b = batch(seed)
    options = {"clip_ratio_low": 0.1, "clip_ratio_high": 0.15}
    expected = theirs("gspo", *b, "seq-mean-token-mean", **options)
    assert expected[1].abs().max() > 0
    assert_same(ours("gspo(clip_low=0.1, clip_high=0.15)", *b), expected)


@pytest.mark.parametrize("seed", range(5))
def test_kl_cov(seed):
    b = batch(seed)
    spec = "dapo+kl-cov(ratio=0.2, coef=0.7, scope='micro')"
    assert_same(ours(spec, *b), theirs("kl_cov", *b, "token-mean", kl_cov_ratio=0.2, ppo_kl_coef=0.7))


@pytest.mark.parametrize("seed", range(5))
def test_clip_cov_where_every_candidate_is_taken(seed):
    """Both draw at random; with room for all candidates there is nothing to draw."""
    b = batch(seed)
    spec = "dapo(clip_low=0.2, clip_high=0.28, dual_clip=None)+clip-cov(ratio=1.0, low=0.1, high=2.0, scope='micro')"
    options = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28}
    expected = theirs("clip_cov", *b, "token-mean", clip_cov_ratio=1.0, clip_cov_lb=0.1, clip_cov_ub=2.0, **options)
    assert_same(ours(spec, *b), expected)
    plain = ours("dapo(clip_low=0.2, clip_high=0.28, dual_clip=None)", *b)
    assert (plain[1] - expected[1]).abs().max() > 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_clip_cov_draws_as_many(seed):
    b = batch(seed)
    open_clip = "clip_low=1.0, clip_high=9.0, dual_clip=None"
    spec = f"dapo({open_clip})+clip-cov(ratio=0.1, low=0.0, high=9.0, scope='micro')"
    options = {"clip_ratio_low": 1.0, "clip_ratio_high": 9.0}
    found = theirs("clip_cov", *b, "token-mean", clip_cov_ratio=0.1, clip_cov_lb=0.0, clip_cov_ub=9.0, **options)
    silenced = [int((g[b[0].trained] == 0).sum()) for _, g in (ours(spec, *b), found)]
    assert silenced[0] == silenced[1] == int(0.1 * int(b[0].trained.sum()))


@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-mean"])
def test_the_aggregations_agree_on_an_unequal_batch(mode):
    b = batch(11)
    open_clip = {"clip_ratio_low": 1.0, "clip_ratio_high": 9.0, "clip_ratio_c": 1e9}
    spec = f"{AGGREGATIONS[mode]}(clip_low=1.0, clip_high=9.0, dual_clip=None)"
    assert_same(ours(spec, *b), theirs("vanilla", *b, mode, **open_clip))


def test_the_aggregation_of_dr_grpo():
    """verl counts the rows that have tokens, we (as TRL) count all: the same where no row is empty."""
    b = batch(12)
    open_clip = {"clip_ratio_low": 1.0, "clip_ratio_high": 9.0, "clip_ratio_c": 1e9}
    spec = "dr_grpo(clip_low=1.0, clip_high=9.0, dual_clip=None)"
    assert_same(ours(spec, *b), theirs("vanilla", *b, "seq-mean-token-sum-norm", **open_clip))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "base", "options"),
    [
        ("grpo", "grpo", {}),
        ("grpo_vectorized", "grpo", {}),
        ("grpo", "dr_grpo", {"norm_adv_by_std_in_grpo": False}),
        ("rloo", "rloo", {}),
        ("rloo_vectorized", "rloo", {}),
        ("reinforce_plus_plus", "reinforce_plus_plus", {}),
        ("reinforce_plus_plus_baseline", "reinforce_plus_plus_baseline", {}),
    ],
)
def test_advantage_estimators(name, base, options, seed):
    rollouts, _, _ = batch(seed)
    last = rollouts.trained.sum(1) - 1
    rewards = torch.zeros(ROWS, LENGTH, dtype=torch.float64)
    rewards[torch.arange(ROWS), last] = rollouts.reward

    class Config(dict):
        gamma = 1.0

    found, _ = get_adv_estimator_fn(name)(
        token_level_rewards=rewards,
        response_mask=rollouts.trained.to(torch.float64),
        index=np.array([str(g) for g in rollouts.group.tolist()], dtype=object),
        config=Config(),
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine = recipe(base).advantages(rollouts)
    torch.testing.assert_close(mine, found * rollouts.trained, atol=1e-6, rtol=1e-6)


def test_an_empty_row_leaves_verl_s_denominator_and_not_ours():
    rollouts, new, advantages = batch(12)
    train = rollouts.trained.clone()
    train[0] = False
    rollouts = Rollouts.from_columns(rollouts.columns() | {"trained": train})
    options = {"clip_ratio_low": 1.0, "clip_ratio_high": 9.0, "clip_ratio_c": 1e9}
    b = (rollouts, new, advantages * train)
    loss, gradient = ours("dr_grpo(clip_low=1.0, clip_high=9.0, dual_clip=None)", *b)
    their_loss, their_gradient = theirs("vanilla", *b, "seq-mean-token-sum-norm", **options)
    assert_same((loss * ROWS, gradient * ROWS), (their_loss * (ROWS - 1), their_gradient * (ROWS - 1)))


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_one_under_reinforce_plus_plus_baseline(seed):
    """Their raw reward goes into the whitening, as verl has it."""
    g = torch.Generator().manual_seed(seed)
    group = torch.tensor([0, 0, 0, 1, 2, 2, 3, 4, 4, 4])
    reward = torch.rand(10, generator=g, dtype=torch.float64)
    mask = torch.arange(6) < torch.randint(1, 7, (10, 1), generator=g)
    rewards = torch.zeros(10, 6, dtype=torch.float64)
    rewards[torch.arange(10), mask.sum(1) - 1] = reward
    estimator = get_adv_estimator_fn("reinforce_plus_plus_baseline")
    theirs, _ = estimator(token_level_rewards=rewards, response_mask=mask.double(), index=group.numpy(), config={})
    found = reinforce_plus_plus_baseline_advantages(reward, group, mask)
    torch.testing.assert_close(found, theirs, atol=1e-9, rtol=1e-9)


def test_a_group_of_one_under_rloo():
    reward, mask = torch.tensor([[0.0, 0.7]], dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    index = np.array(["0"], dtype=object)
    loop, vectorised = (
        get_adv_estimator_fn(name)(token_level_rewards=reward, response_mask=mask, index=index, config={})[0]
        for name in ("rloo", "rloo_vectorized")
    )
    assert loop[0, 0].item() == pytest.approx(0.7)
    assert vectorised[0, 0].item() == pytest.approx(0.0)
    with pytest.warns(UserWarning, match="a group of one"):
        assert rloo_advantages(reward.sum(1), torch.zeros(1, dtype=torch.long)).item() == 0
