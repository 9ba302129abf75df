"""EMPG: the sheet's worked numbers, identities and limits."""

from dataclasses import replace

import pytest
import torch

from entrokit.distributions import token_statistics
from entrokit.rlvr import Context, PolicyStats, Rollouts, recipe
from entrokit.rlvr.interventions.empg import empg_advantages

H = torch.tensor([0.2, 0.8, 0.5, 1.1, 0.3, 0.2, 0.2, 1.4, 0.6], dtype=torch.float64)
A = torch.tensor([1.0, 1, 1, -1, -1, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
WHO = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
PLACE = torch.tensor([0, 1, 2, 0, 1, 0, 1, 2, 3])
WORKED = [0.953983, 0.455159, 0.603218, -0.945735, -1.624888, 0.337560, 0.274347, -0.105314, 0.051669]


def score_norm_sq(probs):
    """Expected squared norm of the score of softmax laws, from the statistic that an engine computes."""
    return 1 - token_statistics(probs.log(), torch.zeros(probs.shape[:-1]).long(), need={"collision"}).collision


def test_check_1_and_2_the_score_norm_is_renyi_2_not_shannon():
    laws = [[0.7, 0.2, 0.1], [0.55, 0.45], [0.8, *[0.01] * 20]]
    assert [float(score_norm_sq(torch.tensor(p))) for p in laws] == pytest.approx([0.46, 0.495, 0.358], abs=1e-6)
    p = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625])
    assert float(score_norm_sq(p)) == pytest.approx(0.664063, abs=1e-6)
    z = p.log().requires_grad_()
    squares = [torch.autograd.grad(z.log_softmax(-1)[a], z)[0].square().sum() for a in range(5)]
    assert float((p * torch.stack(squares)).sum()) == pytest.approx(0.664063, abs=1e-6)


def test_check_3_the_worked_example():
    assert empg_advantages(H, A, WHO, PLACE).tolist() == pytest.approx(WORKED, abs=1e-6)


def test_check_4_other_knobs():
    found = empg_advantages(H, A, WHO, PLACE, k=2.0, k_future=0.5, zeta=0.05)
    expected = [1.200126, 0.205959, 0.539130, -0.724564, -1.758012, 0.420710, 0.401037, -0.270462, -0.013922]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_check_5_identities():
    found = empg_advantages(H, A, WHO, PLACE)
    assert float(found.mean()) == pytest.approx(0.0, abs=1e-12)
    plain = empg_advantages(H, A, WHO, PLACE, k=0.0, zeta=0.0)
    torch.testing.assert_close(plain, A - A.mean())
    torch.testing.assert_close(empg_advantages(3 * H + 2, A, WHO, PLACE), found, atol=1e-6, rtol=0)
    order = torch.tensor([5, 2, 7, 0, 8, 4, 1, 3, 6])
    torch.testing.assert_close(empg_advantages(H[order], A[order], WHO[order], PLACE[order]), found[order])


def test_check_6_equal_entropies_penalise_last_turns_alone():
    found = empg_advantages(
        torch.full((3,), 0.5), torch.tensor([1.0, 1.0, -1.0]), torch.tensor([0, 0, 1]), PLACE[[0, 1, 0]]
    )
    assert found.tolist() == pytest.approx([0.733333, 0.633333, -1.366667], abs=1e-6)


def test_check_7_sizes_of_gradients_are_evened_out():
    laws = torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.7, 0.1, 0.1, 0.1], [0.25] * 4], dtype=torch.float64)
    entropy, size = -(laws * laws.log()).sum(-1), score_norm_sq(laws).sqrt()
    ratios = {}
    for k in (0.0, 1.0, 2.0):
        scaled = (entropy - entropy.min()) / (entropy.max() - entropy.min() + 1e-8)
        g = torch.exp(-k * scaled) / torch.exp(-k * scaled).mean()
        ratios[k] = float((size * g).max() / (size * g).min())
    assert [ratios[k] for k in (0.0, 1.0, 2.0)] == pytest.approx([3.571429, 1.515419, 2.068936], abs=1e-6)
    ones = torch.ones(3, dtype=torch.float64)
    who, place = torch.arange(3), torch.zeros(3, dtype=torch.long)
    modulated = empg_advantages(entropy, ones, who, place, zeta=0.0)
    assert float((size * (modulated + 1)).max() / (size * (modulated + 1)).min()) == pytest.approx(
        ratios[1.0], abs=1e-6
    )


def test_a_batch_of_one_turn_or_none_gives_zero():
    one = torch.tensor([0.7])
    assert empg_advantages(one, one, PLACE[:1], PLACE[:1]).tolist() == pytest.approx([0.0], abs=1e-7)
    assert empg_advantages(one[:0], one[:0], PLACE[:0], PLACE[:0]).shape == (0,)


def episodes():
    """The worked example as rows of tokens: turns of one or two tokens with an answer of the environment between."""
    train = torch.zeros(3, 12, dtype=torch.bool)
    entropy = torch.zeros(3, 12)
    for i, (who, place) in enumerate(zip(WHO.tolist(), PLACE.tolist(), strict=True)):
        at = 3 * place
        train[who, at : at + 2] = True
        entropy[who, at], entropy[who, at + 1] = H[i] + 0.1, H[i] - 0.1
    attention = train.flip(-1).cumsum(-1).flip(-1) > 0
    return Rollouts(
        tokens=torch.zeros(3, 12, dtype=torch.long),
        real=attention,
        trained=train,
        group=torch.tensor([0, 0, 1]),
        reward=torch.zeros(3),
        behaviour=PolicyStats(logp=torch.zeros(3, 12), entropy=entropy * attention),
    )


def test_turns_of_tokens_get_the_worked_advantages():
    rollouts = episodes()
    given = torch.tensor([1.0, -1.0, 0.5])[:, None] * rollouts.trained
    empg = recipe("grpo+empg").interventions[0]
    found = empg.advantage(rollouts, given, Context())
    for i, (who, place) in enumerate(zip(WHO.tolist(), PLACE.tolist(), strict=True)):
        assert found[who, 3 * place : 3 * place + 2].tolist() == pytest.approx([WORKED[i]] * 2, abs=1e-6)
    assert not found[~rollouts.trained].any()


def test_an_episode_cut_into_rows_is_one_episode():
    whole = episodes()
    given = torch.tensor([1.0, -1.0, 0.5])[:, None] * whole.trained
    empg = recipe("grpo+empg").interventions[0]
    expected = empg.advantage(whole, given, Context())
    turn = torch.arange(12).div(3, rounding_mode="floor").expand(3, 12)
    split = replace(whole, turn=turn, trajectory=torch.arange(3))
    torch.testing.assert_close(empg.advantage(split, given, Context()), expected)
