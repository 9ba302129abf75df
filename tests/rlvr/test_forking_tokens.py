"""Worked numbers of the forking-tokens sheet, checks 1 to 5, 8 and 9."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.decoding.forks import fork_temperature
from entrokit.distributions import entropy
from entrokit.rlvr import recipe
from entrokit.rlvr.interventions.forking_tokens import entropy_threshold, high_entropy_mask

from .fixture_a import ENTROPY, MASK, loss_and_gradient, tensor

BASE = "dapo(clip_low=0.2, clip_high=0.28, dual_clip=10.0)"


def kept(rho, rule="quantile"):
    return high_entropy_mask(tensor(ENTROPY), MASK, rho=rho, rule=rule).nonzero().tolist()


def test_check_1_kept_tokens():
    assert entropy_threshold(tensor(ENTROPY), MASK, rho=0.2).item() == pytest.approx(1.66)
    assert entropy_threshold(tensor(ENTROPY), MASK, rho=0.3).item() == pytest.approx(1.24)
    assert entropy_threshold(tensor(ENTROPY), MASK, rho=0.5).item() == pytest.approx(0.9)
    for rule in ("quantile", "topk"):
        assert kept(0.2, rule) == [[0, 1], [1, 1]]
        assert len(kept(0.5, rule)) == 4
        assert len(kept(1.0, rule)) == 7
    assert kept(0.3) == [[0, 1], [1, 1]]
    assert kept(0.3, "topk") == [[0, 1], [0, 3], [1, 1]]


def test_check_1_rho_one_is_dapo_bit_for_bit():
    loss, g = loss_and_gradient(recipe(BASE + "+forking-tokens(rho=1.0)"))
    plain_loss, plain_g = loss_and_gradient(recipe(BASE))
    assert loss == plain_loss
    assert torch.equal(g, plain_g)


@pytest.mark.parametrize("scope", ["generation", "micro"])
def test_check_2_losses(scope):
    def run(knobs):
        return loss_and_gradient(recipe(f"{BASE}+forking-tokens({knobs}, scope={scope!r})"))

    loss, g = run("rho=0.2")
    assert loss == pytest.approx(0.183673, abs=1e-6)
    assert g.nonzero().tolist() == [[0, 1]]
    assert g[0, 1].item() == pytest.approx(-0.296327, abs=1e-6)
    assert run("rho=0.2, normalize='all'")[0] == pytest.approx(0.052478, abs=1e-6)
    assert run("rho=0.5")[0] == pytest.approx(-0.364164, abs=1e-6)
    if scope == "micro":
        assert run("rho=0.3, rule='topk'")[0] == pytest.approx(-0.218885, abs=1e-6)


def test_check_3_dropped_tokens_get_no_gradient():
    _, g = loss_and_gradient(recipe(BASE + "+forking-tokens(rho=0.5)"))
    dropped = MASK & ~high_entropy_mask(tensor(ENTROPY), MASK, rho=0.5)
    assert g[dropped].abs().max() == 0
    assert g[MASK & ~dropped].abs().max() > 0


def test_check_4_ties():
    same, all_valid = torch.full((1, 10), 0.5), torch.ones(1, 10, dtype=torch.bool)
    assert high_entropy_mask(same, all_valid, rho=0.2).sum() == 10
    assert high_entropy_mask(same, all_valid, rho=0.2, rule="topk").nonzero().tolist() == [[0, 0], [0, 1]]


def test_check_5_fork_temperature():
    logits = torch.tensor([[0.0, 0.5, 1.0, -1.0], [6.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    h = entropy(logits, from_logits=True)
    torch.testing.assert_close(h, torch.tensor([1.192979, 0.051697], dtype=torch.float64), atol=1e-6, rtol=0)
    expected = [[0.220299, 0.282870, 0.363212, 0.133618], [0.992619, 0.002460, 0.002460, 0.002460]]
    torch.testing.assert_close(fork_temperature(logits, high=2.0), tensor(expected), atol=1e-6, rtol=0)


def test_check_8_overlap():
    a = torch.tensor([[0.1, 0.9, 0.4, 0.8, 0.2, 0.7, 0.3, 0.6, 0.5, 1.0]])
    b = torch.tensor([[0.2, 0.3, 0.4, 0.9, 0.1, 0.8, 0.5, 0.6, 0.7, 1.1]])
    mask = torch.ones_like(a, dtype=torch.bool)

    def overlap(one, other, rho):
        """Share of one model's top tokens that are also another's."""
        tops = [high_entropy_mask(x, mask, rho=rho, rule="topk") for x in (one, other)]
        return float((tops[0] & tops[1]).sum() / tops[0].sum())

    assert overlap(a, b, 0.3) == pytest.approx(2 / 3)
    assert overlap(a, a, 0.3) == 1
    assert overlap(a, b, 1.0) == 1


@given(st.integers(0, 500), st.floats(0.05, 1.0))
def test_check_9_invariances(seed, rho):
    g = torch.Generator().manual_seed(seed)
    h = torch.rand(4, 6, generator=g, dtype=torch.float64) + 0.01
    mask = torch.rand(4, 6, generator=g) < 0.8
    keep = high_entropy_mask(h, mask, rho=rho, rule="topk")
    assert torch.equal(high_entropy_mask(h.log(), mask, rho=rho, rule="topk"), keep)
    assert torch.equal(high_entropy_mask(h / 0.6931, mask, rho=rho, rule="topk"), keep)
    by_quantile = high_entropy_mask(h, mask, rho=rho)
    assert (high_entropy_mask(h.log(), mask, rho=rho) ^ by_quantile).sum() <= 1
    order = torch.randperm(4, generator=g)
    assert torch.equal(high_entropy_mask(h[order], mask[order], rho=rho), by_quantile[order])
    inverted = high_entropy_mask(h, mask, rho=rho, invert=True)
    assert torch.equal(inverted, mask & ~by_quantile)


@given(st.integers(1, 200), st.floats(0.0, 1.0), st.integers(0, 99))
def test_quantile_is_torch_quantile(n, q, seed):
    from entrokit.rlvr.quantiles import masked_quantile

    x = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(masked_quantile(x, q), torch.quantile(x, q))


def test_degenerate_batches():
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    for rule in ("quantile", "topk"):
        assert not high_entropy_mask(torch.rand(2, 3), nothing, rule=rule).any()
        one = nothing.clone()
        one[0, 1] = True
        assert torch.equal(high_entropy_mask(torch.rand(2, 3), one, rule=rule), one)
    broken = torch.tensor([[float("nan"), 0.5, 0.9]])
    assert high_entropy_mask(broken, torch.ones(1, 3) > 0, rho=1.0).tolist() == [[False, True, True]]


def test_knobs_out_of_range():
    with pytest.raises(ValueError, match=r"forking-tokens: rho must be a number in \(0, 1\], got 1.5"):
        recipe("grpo+forking-tokens(rho=1.5)")
    with pytest.raises(ValueError, match="add scope='micro'"):
        recipe("grpo+forking-tokens(rule='topk')")
