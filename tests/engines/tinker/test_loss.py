"""The loss that Tinker differentiates is the paper's, by plain formulas in double precision."""

import pytest

pytest.importorskip("tinker", reason="the SDK of Tinker is not installed")

import torch

from entrokit.engines.tinker import TinkerRecipe

from .made import group, moved, once, two_groups

SAME = 1e-12  # of sums of a few dozen numbers of size 1 in double


def _rows(groups):
    """Prompt length, log-probabilities when sampled and reward of every trajectory."""
    return [
        (t.transitions[0].ob.length, torch.tensor(t.transitions[0].ac.maybe_logprobs, dtype=torch.float64), r)
        for g in groups
        for t, r in zip(g.trajectories_G, g.get_total_rewards(), strict=True)
    ]


def _grpo_advantages(groups):
    found = []
    for g in groups:
        rewards = torch.tensor(g.get_total_rewards(), dtype=torch.float64)
        found += ((rewards - rewards.mean()) / (rewards.std() + 1e-6)).tolist()
    return found


def _clipped(logp, old, advantage):
    ratio = (logp - old).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)


def test_grpo_by_hand():
    groups = two_groups()
    live = TinkerRecipe("grpo")
    data = live.data(groups)
    leaves = moved(groups, data)
    loss, metrics = live.loss(data, leaves)
    loss.backward()
    own = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    terms = []
    for leaf, (prompt, old, _), advantage in zip(own, _rows(groups), _grpo_advantages(groups), strict=True):
        terms.append(_clipped(leaf[prompt - 1 :], old, advantage).mean())
    hand = torch.stack(terms).mean()
    hand.backward()
    assert loss.dtype == torch.float64
    assert abs(float(loss.detach()) - float(hand.detach())) < SAME
    for a, b in zip(leaves, own, strict=True):
        assert (a.grad - b.grad).abs().max() < SAME
    assert metrics["sampled/surprise"] == pytest.approx(-float(torch.cat([old for _, old, _ in _rows(groups)]).mean()))
    assert all(isinstance(value, float) for value in metrics.values())


def test_kl_cov_by_hand_over_the_whole_batch():
    """The tokens of largest covariance are those of the batch, however it is cut into optimiser steps."""
    groups = two_groups()
    live = TinkerRecipe("grpo+kl-cov(ratio=0.3, coef=0.5)", updates_per_batch=2)
    data = live.data(groups)
    leaves = moved(groups, data)
    rows, advantages = _rows(groups), _grpo_advantages(groups)
    old = torch.cat([o for _, o, _ in rows])
    each = torch.cat([torch.full_like(o, a) for (_, o, _), a in zip(rows, advantages, strict=True)])
    covariance = (old - old.mean()) * (each - each.mean())
    chosen = torch.zeros(len(old), dtype=torch.bool)
    chosen[covariance.topk(max(1, int(0.3 * len(old)))).indices] = True
    parts = chosen.split([len(o) for _, o, _ in rows])
    own = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    means = []
    for leaf, (prompt, o, _), a, kl in zip(own, rows, advantages, parts, strict=True):
        now = leaf[prompt - 1 :]
        # KL-Cov clips nothing, and charges these for moving.
        terms = -(now - o).exp() * a + torch.where(kl, 0.5 * (now - o).abs(), 0.0)
        means.append(terms.mean())
    for cut in ([0, 1, 2], [3, 4, 5]):
        loss, _ = live.loss([data[i] for i in cut], [leaves[i] for i in cut])
        hand = torch.stack([means[i] for i in cut]).mean()
        assert abs(float(loss.detach()) - float(hand.detach())) < SAME
        for a, b in zip(
            torch.autograd.grad(loss, [leaves[i] for i in cut]),
            torch.autograd.grad(hand, [own[i] for i in cut], retain_graph=True),
            strict=True,
        ):
            assert (a - b).abs().max() < SAME


def test_weights_that_the_sdk_sends_give_the_gradient_of_the_loss():
    """The SDK sends -dloss/dlogp as weights of a cross-entropy: in a model, that is the loss's own gradient."""
    torch.manual_seed(0)
    model = torch.nn.Embedding(31, 31).double()
    groups = two_groups()
    live = TinkerRecipe("dapo")
    data = live.data(groups)

    def logp(datum):
        inputs, targets = torch.tensor(datum.model_input.to_ints()), datum.loss_fn_inputs["target_tokens"].to_torch()
        return model(inputs).log_softmax(-1).gather(-1, targets[:, None])[:, 0]

    leaves = [logp(datum).detach().requires_grad_() for datum in data]
    loss, _ = live.loss(data, leaves)
    loss.backward()
    weights = [-leaf.grad for leaf in leaves]
    surrogate = sum((-w * logp(datum)).sum() for datum, w in zip(data, weights, strict=True))
    (sent,) = torch.autograd.grad(surrogate, [model.weight])
    through, _ = live.loss(data, [logp(datum) for datum in data])
    (whole,) = torch.autograd.grad(through, [model.weight])
    assert whole.abs().max() > 0
    assert (sent - whole).abs().max() < SAME


def test_the_data_may_come_in_any_order():
    groups = two_groups()
    live = TinkerRecipe("grpo+token-group-average")
    data = live.data(groups)
    leaves = moved(groups, data)
    straight, _ = live.loss(data, leaves)
    turned, _ = live.loss(data[::-1], leaves[::-1])
    assert float(straight.detach()) == pytest.approx(float(turned.detach()), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradients_reach_every_leaf_in_its_own_dtype(dtype):
    groups = two_groups()
    live = TinkerRecipe("grpo")
    data = live.data(groups)
    leaves = moved(groups, data, dtype=dtype)
    loss, _ = live.loss(data, leaves)
    loss.backward()
    assert all(leaf.grad is not None and leaf.grad.dtype == dtype for leaf in leaves)
    prompt = groups[0].trajectories_G[0].transitions[0].ob.length
    assert all(not leaf.grad[: prompt - 1].any() for leaf in leaves)


def test_groups_with_equal_rewards_are_there_and_move_nothing():
    solved = group(once([3], [4], [-1.0], 1.0), once([3], [5, 6], [-1.0, -2.0], 1.0))
    mixed = two_groups()[0]
    alone, both = TinkerRecipe("dapo"), TinkerRecipe("dapo")
    data = both.data([solved, mixed])
    leaves = moved([solved, mixed], data)
    loss, _ = both.loss(data, leaves)
    loss.backward()
    assert not leaves[0].grad.any()
    assert not leaves[1].grad.any()
    less = alone.data([mixed])
    fewer, _ = alone.loss(less, [leaf.detach().requires_grad_() for leaf in leaves[2:]])
    # Its tokens count in dapo's mean over tokens.
    tokens = sum(len(t.transitions[0].ac.tokens) for t in mixed.trajectories_G)
    assert float(loss.detach()) * (tokens + 3) == pytest.approx(float(fewer.detach()) * tokens, rel=1e-9)


def test_dr_grpo_divides_by_the_length_allowed():
    groups = two_groups()
    losses = []
    for length in (10, 20):
        live = TinkerRecipe("dr_grpo", max_length=length)
        data = live.data(groups)
        losses.append(float(live.loss(data, moved(groups, data))[0].detach()))
    assert losses[0] == pytest.approx(2 * losses[1], rel=1e-12)
    assert losses[0] != 0
