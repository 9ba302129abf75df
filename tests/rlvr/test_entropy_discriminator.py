"""Worked numbers of the entropy-dynamics-rft sheet, checks 1 to 6, and properties of Clip_B and Clip_V."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.distributions import entropy, token_statistics
from entrokit.rlvr import recipe
from entrokit.rlvr.interventions.entropy_discriminator import (
    clip_b_mask,
    clip_v_mask,
    entropy_discriminator,
    expected_discriminator,
    predicted_entropy_change,
)

from .fixture_a import tensor

P = [0.6, 0.25, 0.1, 0.05]
ALL = {"entropy", "collision", "weighted_surprise"}
LOGITS = tensor(
    [
        [[2, 0, -1, 0.5], [0.2, 0.1, 0, -0.3], [3, 1, -2, 0], [1, 1, 0, -4]],
        [[0, 0, 0, 0], [4, 0, -1, -1], [1.5, -0.5, 0.5, 2], [0.3, 2.2, -1.1, 0.4]],
    ]
)
TOKENS = torch.tensor([[0, 2, 1, 3], [1, 2, 3, 0]])
MASK = torch.tensor([[True] * 4, [True, True, True, False]])


def s_and_n(logits, tokens):
    t = token_statistics(logits, tokens, need=ALL)
    return entropy_discriminator(t.logp, t.entropy), expected_discriminator(t.entropy, t.collision, t.weighted_surprise)


def rows(first, second):
    return tensor([[first] * 4, [second] * 4])


def dropped(keep):
    return [tuple(i) for i in (MASK & ~keep).nonzero().tolist()]


@pytest.mark.parametrize(("p", "H", "S"), [(0.9, 0.325083, 0.197750), (0.5, 0.693147, 0.0), (0.1, 0.325083, -0.197750)])
def test_check_1_two_tokens(p, H, S):
    logits = tensor([p, 1 - p]).log()
    assert entropy(logits, from_logits=True).item() == pytest.approx(H, abs=1e-6)
    assert s_and_n(logits[None], torch.tensor([0]))[0].item() == pytest.approx(S, abs=1e-6)


def test_check_2_every_token_and_their_mean():
    S, N = s_and_n(tensor(P).log().expand(4, 4), torch.arange(4))
    torch.testing.assert_close(S, tensor([0.313373, -0.088295, -0.126947, -0.098131]), atol=1e-6, rtol=0)
    assert S.sum().abs() < 1e-12
    torch.testing.assert_close(N, torch.full_like(N, 0.148349), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("step", "value"), [(0.1, -0.0321842), (0.01, -0.00314256), (0.001, -0.000313462)])
def test_check_3_one_logit_moves(step, value):
    logits = tensor(P).log()
    moved = logits + step * tensor([1, 0, 0, 0])
    change = entropy(moved, from_logits=True) - entropy(logits, from_logits=True)
    assert change.item() == pytest.approx(value, abs=1e-7)
    S, _ = s_and_n(logits[None], torch.tensor([0]))
    assert (change + step * S).abs().item() < 0.09 * step**2


@pytest.mark.parametrize(
    ("A", "r", "k", "law", "measured"),
    [
        (1, 1.1, 0, -0.181527, -0.181572),
        (1, 1.1, 3, 0.271128, 0.271154),
        (-1, 0.9, 0, 0.148522, 0.148492),
        (-1, 0.9, 3, -0.221832, -0.221814),
    ],
)
def test_check_4_a_grpo_step(A, r, k, law, measured):
    eta, logits = 1e-3, tensor(P).log()
    predicted = predicted_entropy_change(logits, torch.tensor(k), eta * A * r) / eta
    assert predicted.item() == pytest.approx(law, abs=1e-6)
    moved = logits + eta * A * r * (torch.eye(4, dtype=torch.float64)[k] - tensor(P))
    change = entropy(moved, from_logits=True) - entropy(logits, from_logits=True)
    assert change.item() / eta == pytest.approx(measured, abs=1e-6)


def test_check_5_its_mean_is_the_covariance_theorem():
    p, A = tensor(P), tensor([0.7, -1.3, 0.2, -2.3])
    S, N = s_and_n(p.log().expand(4, 4), torch.arange(4))
    assert (p * A * (S - N)).sum().item() == pytest.approx(0.169059, abs=1e-6)


def test_check_6_fixture_l():
    S, N = s_and_n(LOGITS, TOKENS)
    expected_s = tensor([[0.380565, -0.008012, -0.183873, -0.013708], [0, -0.031762, 0.230705, 0]])
    expected_n = tensor([[0.229435, 0.007070, 0.242390, 0.040000], [0, 0.126406, 0.096522, 0]])
    torch.testing.assert_close(S[MASK], expected_s[MASK], atol=1e-6, rtol=0)
    torch.testing.assert_close(N[MASK], expected_n[MASK], atol=1e-6, rtol=0)
    assert S[MASK].mean().item() == pytest.approx(0.053417, abs=1e-6)
    assert S[MASK].std(correction=0).item() == pytest.approx(0.174500, abs=1e-6)
    assert (N - S)[MASK].std(correction=0).item() == pytest.approx(0.181792, abs=1e-6)


@pytest.mark.parametrize(
    ("mu", "signs", "expected"),
    [
        (0.5, (1, -1), []),
        (0.2, (1, -1), [(1, 0), (1, 1)]),
        (1.0, (-1, 1), [(0, 2)]),
        (0.2, (-1, 1), [(0, 1), (0, 2), (0, 3)]),
    ],
)
def test_check_6_clip_b(mu, signs, expected):
    S, _ = s_and_n(LOGITS, TOKENS)
    assert dropped(clip_b_mask(S, rows(*signs), MASK, mu=mu)) == expected


@pytest.mark.parametrize(
    ("mu", "max_frac", "signs", "expected"),
    [
        (0.5, 1.0, (1, -1), [(1, 1)]),
        (0.0, 1.0, (-1, 1), [(0, 1), (0, 2), (0, 3)]),
        (0.0, 1e-4, (-1, 1), [(0, 2)]),
    ],
)
def test_check_6_clip_v(mu, max_frac, signs, expected):
    S, N = s_and_n(LOGITS, TOKENS)
    assert dropped(clip_v_mask(S, N, rows(*signs), MASK, mu=mu, max_frac=max_frac)) == expected


def test_legacy_clip_v_counts_tokens_without_an_advantage():
    S, N = s_and_n(LOGITS, TOKENS)
    A = rows(0, -1)
    plain = clip_v_mask(S, N, A, MASK, mu=0.0, max_frac=1.0)
    legacy = clip_v_mask(S, N, A, MASK, mu=0.0, max_frac=1.0, legacy=True)
    assert not (~plain & MASK & (A == 0)).any()
    assert dropped(legacy) == [(0, 1), (0, 2), (0, 3), (1, 1)]
    # They also use up the share: one candidate of seven is under the cap, four are not.
    share = 1.5 / 7
    assert dropped(clip_v_mask(S, N, A, MASK, mu=0.0, max_frac=share)) == [(1, 1)]
    assert dropped(clip_v_mask(S, N, A, MASK, mu=0.0, max_frac=share, legacy=True)) == [(1, 1)]


@given(st.integers(0, 9999), st.sampled_from(["negative", "positive", "both"]))
def test_what_is_dropped_would_shrink_entropy_and_has_the_side_s_sign(seed, side):
    g = torch.Generator().manual_seed(seed)
    S, N = s_and_n(2 * torch.randn(3, 5, 6, generator=g, dtype=torch.float64), torch.randint(6, (3, 5), generator=g))
    A, mask = torch.randn(3, 5, generator=g, dtype=torch.float64), torch.rand(3, 5, generator=g) < 0.8
    keep = clip_v_mask(S, N, A, mask, mu=0.3, max_frac=1.0, side=side)
    gone = mask & ~keep
    assert not (keep & ~mask).any()
    assert (-A * (S - N))[gone].lt(0).all()
    signs = {"negative": A < 0, "positive": A > 0, "both": A != 0}[side]
    assert signs[gone].all()
    parts = [clip_v_mask(S, N, A, mask, mu=0.3, max_frac=1.0, side=s) for s in ("negative", "positive")]
    assert torch.equal(clip_v_mask(S, N, A, mask, mu=0.3, max_frac=1.0, side="both"), parts[0] & parts[1])


def test_degenerate_batches():
    S, A = torch.randn(2, 3), torch.randn(2, 3)
    nothing, everything = torch.zeros(2, 3, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    assert not clip_b_mask(S, A, nothing).any()
    assert not clip_v_mask(S, -S, A, nothing).any()
    assert clip_b_mask(torch.full((2, 3), 0.3), -A.abs(), everything, mu=0.0).all()
    assert clip_b_mask(S, torch.zeros(2, 3), everything, mu=0.0).all()
    rare = entropy_discriminator(torch.tensor([-1e4, 0.0]), torch.tensor([2.0, 0.0]))
    assert torch.isfinite(rare).all()
    assert rare[0] <= 0
    with pytest.raises(ValueError, match="clip-b: side must be one of"):
        recipe("grpo+clip-b(side='left')")
    with pytest.raises(ValueError, match=r"clip-v: max_frac must be a number in \[0, 1\]"):
        recipe("grpo+clip-v(max_frac=2)")
