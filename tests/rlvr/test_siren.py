"""SIREN: the sheet's mask and term, the anchor, and what never reaches the result."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.distributions import nucleus_entropy, nucleus_statistic, token_statistics
from entrokit.rlvr import Context, PolicyStats, recipe
from entrokit.rlvr.interventions.siren import SelfAnchoredEntropyLoss, Siren, peak_entropy_mask

from .cases import batch

NAN = float("nan")
D = torch.float64
H = torch.tensor([[0.05, 1.2, 0, 0.3, 0.9, 0.1, 0.02, 0.6, 0, 0.4], [0.5, 0.1, 0.2, 0.9, 0] + [NAN] * 5], dtype=D)
MASK = torch.arange(10)[None] < torch.tensor([[10], [5]])


def test_peaks_of_the_paper():
    keep = peak_entropy_mask(H, MASK)
    assert [row.nonzero()[:, 0].tolist() for row in keep] == [[1, 4], [3]]
    again = peak_entropy_mask(torch.where(keep, H, 0.0), MASK)
    assert torch.equal(again, keep)
    assert torch.equal(peak_entropy_mask(torch.where(MASK, H, 1e9), MASK), keep)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=12), st.floats(0, 1))
def test_the_threshold_is_torch_s_quantile(values, q):
    x = torch.tensor([values], dtype=D)
    wide = torch.cat([x, torch.full((1, 3), NAN, dtype=D)], 1)
    mask = torch.arange(wide.shape[1])[None] < len(values)
    found = peak_entropy_mask(wide, mask, q)[0, : len(values)]
    threshold = torch.quantile(x, q)
    clear = (x[0] - threshold).abs() > 1e-9
    assert torch.equal(found[clear], (x[0] > threshold)[clear])


def test_equal_entropies_and_empty_rows_have_no_peak():
    flat = torch.zeros(2, 4, dtype=D)
    assert not peak_entropy_mask(flat, torch.ones(2, 4, dtype=torch.bool)).any()
    assert not peak_entropy_mask(flat, torch.zeros(2, 4, dtype=torch.bool)).any()
    assert peak_entropy_mask(flat[:, :0], torch.zeros(2, 0, dtype=torch.bool)).shape == (2, 0)


def stats(nucleus):
    zeros = torch.zeros_like(nucleus)
    return PolicyStats(logp=zeros - 1, entropy=zeros + 0.5, nucleus_entropy=nucleus)


def of_sheet(nucleus):
    b = batch(2, 10)
    behaviour = stats(nucleus.detach()).masked(MASK)
    return replace(b, real=MASK, trained=MASK, behaviour=behaviour, reference_logp=None)


def test_the_term_of_the_paper():
    """Mean of the peaks 0.975, anchor 1, β 0.005: dL/dH = -6.25e-5 for the peaks of row 0 and -1.25e-4 for row 1."""
    nucleus = H.nan_to_num().requires_grad_()
    b = of_sheet(nucleus)
    for scope in ("generation", "micro"):
        chosen = recipe("grpo", Siren(anchor=1.0, scope=scope))
        a = torch.zeros_like(H)
        result = chosen.loss(stats(nucleus), b, a, chosen.prepare(b, a))
        assert float((result.metrics | result.scalars)["siren/mean"]) == pytest.approx(0.975)
        assert float(result.metrics["siren/penalty"]) == pytest.approx(0.005 * 0.025**2), "the square, not its slope"
        (gradient,) = torch.autograd.grad(result.loss, nucleus)
        expected = torch.zeros_like(H)
        expected[0, [1, 4]], expected[1, 3] = -6.25e-5, -1.25e-4
        torch.testing.assert_close(gradient, expected)


def test_the_module_s_value_anchor_and_state():
    logits = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(0), dtype=D)
    term = SelfAnchoredEntropyLoss()
    z = logits.clone().requires_grad_()
    first = term(z, MASK)
    assert first.item() == 0
    assert not torch.autograd.grad(first, z)[0].any()
    sharper = term(1.5 * logits, MASK)
    keep = peak_entropy_mask(nucleus_entropy(1.5 * logits, 0.8), MASK)
    rows = torch.where(keep, nucleus_entropy(1.5 * logits, 0.8), 0.0).sum(1) / keep.sum(1)
    assert float(sharper) == pytest.approx(0.005 * float(rows.mean() - term.anchor) ** 2)
    other = SelfAnchoredEntropyLoss().half()
    other.load_state_dict(term.state_dict())
    assert float(other(1.5 * logits, MASK)) == float(sharper)
    assert float(SelfAnchoredEntropyLoss(anchor=0.3).anchor) == pytest.approx(0.3)


def test_gradient_against_finite_differences():
    logits = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(1), dtype=D).requires_grad_()
    term = SelfAnchoredEntropyLoss(anchor=0.2, coef=1.0, quantile=0.5).double()
    mask = torch.ones(1, 4, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda z: term(z, mask), logits, eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("below", [True, False])
def test_a_step_on_the_term_alone_moves_entropy_to_the_anchor(below):
    logits = torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(2), dtype=D).requires_grad_()
    mask = torch.ones(3, 8, dtype=torch.bool)
    mean = float(_mean(logits))
    term = SelfAnchoredEntropyLoss(anchor=mean + (0.3 if below else -0.3)).double()
    (gradient,) = torch.autograd.grad(term(logits, mask), logits)
    moved = float(_mean(logits - 1.0 * gradient))
    assert moved > mean if below else moved < mean


def _mean(logits):
    h = nucleus_entropy(logits, 0.8).detach()
    keep = peak_entropy_mask(h, torch.ones(h.shape, dtype=torch.bool))
    return (torch.where(keep, h, 0.0).sum(1) / keep.sum(1)).mean()


def test_the_anchor_is_the_first_training_batch_s_and_survives_a_restart():
    nucleus = H.nan_to_num()
    b, a = of_sheet(nucleus), torch.zeros_like(H)
    chosen = recipe("grpo+siren(coef=1.0)")
    for _ in range(2):  # an evaluation prepares a batch too, and sets nothing
        prepared = chosen.prepare(b, a)
        current = nucleus.clone().requires_grad_()
        result = chosen.loss(stats(current), b, a, prepared)
        assert not torch.autograd.grad(result.loss, current)[0].any()
    chosen.observe({"siren/mean": 0.975, "siren/anchor": 0.975}, Context())
    again = recipe("grpo+siren(coef=1.0)")
    again.load_state_dict(chosen.state_dict())
    later = of_sheet(2 * nucleus)
    for r in (chosen, again):
        assert float(
            r.loss(stats(2 * nucleus), later, a, r.prepare(later, a)).metrics["siren/anchor"]
        ) == pytest.approx(0.975)
    chosen.observe({"siren/mean": 5.0}, Context())
    assert chosen.state_dict() == again.state_dict()


def test_switches():
    nucleus = H.nan_to_num().requires_grad_()
    b, a = of_sheet(nucleus), torch.zeros_like(H)
    for siren, slope in ((Siren(anchored=False, quantile=None), -0.005), (Siren(anchor=0.0, quantile=None), None)):
        chosen = recipe("grpo", siren)
        result = chosen.loss(stats(nucleus), b, a, chosen.prepare(b, a))
        (gradient,) = torch.autograd.grad(result.loss, nucleus)
        assert bool((gradient[MASK] != 0).all())
        if slope is not None:
            torch.testing.assert_close(gradient[0], torch.full((10,), slope / 20, dtype=D))
    full = recipe("grpo", Siren(select="full", anchor=0.0))
    result = full.loss(stats(nucleus), b, a, full.prepare(b, a))
    assert float(result.scalars["siren/mean"]) == 0, "all full entropies are equal here, so no position is a peak"
    with pytest.raises(ValueError, match=r"top_p must be a number in \(0, 1\]"):
        Siren(top_p=0.0)


def test_what_it_needs_is_computed():
    chosen = recipe("grpo+siren(top_p=0.9, inclusive=False)")
    logits = torch.randn(2, 3, 9, dtype=D)
    found = token_statistics(logits, torch.zeros(2, 3, dtype=torch.long), temperature=0.7, need=chosen.needs)
    expected = nucleus_entropy(logits, 0.9, temperature=0.7, inclusive=False)
    torch.testing.assert_close(found.nucleus_entropy, expected)
    assert nucleus_statistic(0.9, inclusive=False) in chosen.needs
