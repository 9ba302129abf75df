import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from entrokit.distributions import entropy, nucleus, nucleus_entropy

WORKED = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0], dtype=torch.float64)


def by_sorting(logits, top_p, inclusive=True):
    """The definition: sort, sum, cut, renormalise."""
    p, order = torch.softmax(logits.double(), -1).sort(-1, descending=True)
    size = (p.cumsum(-1) < top_p - 1e-12).sum(-1, keepdim=True) + (1 if inclusive else 0)
    inside = torch.arange(p.shape[-1]) < size
    kept = torch.where(inside, logits.double().gather(-1, order), -math.inf)
    q = torch.nan_to_num(torch.softmax(kept, -1))
    return -torch.where(q > 0, q * q.log(), 0.0).sum(-1)


@pytest.mark.parametrize(
    ("top_p", "inclusive", "expected"),
    [
        (0.5, True, 0.0),
        (0.8, True, 0.905959),
        (0.9, True, 1.109767),
        (1.0, True, 1.206489),
        (0.5, False, 0.0),
        (0.8, False, 0.582203),
        (0.9, False, 0.905959),
        (1.0, False, 1.109767),
    ],
)
def test_worked_numbers(top_p, inclusive, expected):
    assert nucleus_entropy(WORKED, top_p, inclusive=inclusive).item() == pytest.approx(expected, abs=1e-6)


def test_worked_gradient():
    z = WORKED.clone().requires_grad_()
    nucleus_entropy(z, 0.8).backward()
    assert z.grad.tolist() == pytest.approx([-0.2776, 0.1291, 0.1484, 0.0, 0.0], abs=1e-4)
    assert z.grad[3:].tolist() == [0.0, 0.0]
    assert z.grad.sum().item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("inclusive", [True, False])
def test_gradcheck(inclusive):
    z = (torch.randn(3, 2, 12, dtype=torch.float64) * 2).requires_grad_()
    mask = torch.tensor([[True, True], [False, True], [True, False]])
    assert torch.autograd.gradcheck(
        lambda x: nucleus_entropy(x, 0.7, temperature=0.8, inclusive=inclusive, mask=mask), (z,)
    )


@given(
    st.integers(1, 4), st.integers(2, 300), st.floats(0.02, 1.0), st.floats(0.05, 8), st.booleans(), st.booleans(),
    st.integers(0, 2**31),
)  # fmt: skip
def test_selection_and_counting_are_sorting(rows, vocabulary, top_p, scale, inclusive, count, seed):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocabulary, generator=g, dtype=torch.float64) * scale
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nucleus, "_CANDIDATES", 1 if count else 1000)
        got = nucleus_entropy(logits, top_p, inclusive=inclusive)
    torch.testing.assert_close(got, by_sorting(logits, top_p, inclusive), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("candidates", [1, 64, 3000])
def test_rounded_logits_tie_and_ties_are_counted(dtype, candidates, monkeypatch):
    monkeypatch.setattr(nucleus, "_CANDIDATES", candidates)
    logits = torch.randn(6, 3000).to(dtype)
    for top_p in (0.3, 0.8, 0.97):
        ours, exact = nucleus_entropy(logits, top_p), by_sorting(logits, top_p)
        torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("vocabulary", [2, 17, 1000, 151_936])
def test_uniform_rows_take_the_fraction_of_tokens(vocabulary):
    got = nucleus_entropy(torch.full((2, vocabulary), 1.5), 0.8)
    assert got[0].item() == pytest.approx(math.log(math.ceil(0.8 * vocabulary - 1e-6)), rel=1e-4)


@given(st.floats(0, 50), st.integers(0, 2**31))
def test_logits_outside_the_nucleus_do_not_matter(drop, seed):
    z = torch.randn(20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z[10:] -= 6.0
    lower = z.clone()
    lower[10:] -= drop
    # What is outside still has its share of the sum: where the nucleus is full by less than that, it is another one.
    full = [(x.softmax(-1).sort(descending=True).values.cumsum(-1) < 0.5).sum() for x in (z, lower)]
    assume(full[0] == full[1])
    torch.testing.assert_close(nucleus_entropy(lower, 0.5), nucleus_entropy(z, 0.5), atol=1e-12, rtol=0)


def test_the_whole_distribution_has_its_entropy():
    logits = torch.randn(4, 5000)
    torch.testing.assert_close(nucleus_entropy(logits, 1.0), entropy(logits, from_logits=True), rtol=1e-5, atol=1e-5)


def test_forbidden_and_extreme_logits():
    logits = torch.tensor([[0.0, -math.inf, -math.inf], [1e4, -1e4, 0.0], [1.0, 1.0, -math.inf]])
    for top_p in (0.5, 0.8, 1.0):
        got = nucleus_entropy(logits.clone().requires_grad_(), top_p)
        assert got[:2].tolist() == [0.0, 0.0]
        assert not torch.signbit(got.detach()).any()
        (g,) = torch.autograd.grad(got.sum(), [x := logits.clone().requires_grad_()], allow_unused=True)
        assert g is None
        nucleus_entropy(x, top_p).sum().backward()
        assert torch.isfinite(x.grad).all()
    assert nucleus_entropy(logits, 0.8)[2].item() == pytest.approx(math.log(2), rel=1e-6)


def test_masked_rows_are_not_read_and_empty_batches_are_empty():
    logits = torch.randn(3, 10)
    logits[1] = math.nan
    logits.requires_grad_()
    got = nucleus_entropy(logits, mask=torch.tensor([True, False, True]))
    got.sum().backward()
    assert got[1] == 0.0
    assert logits.grad[1].tolist() == [0.0] * 10
    assert nucleus_entropy(torch.zeros(0, 10)).shape == (0,)


@pytest.mark.parametrize(
    ("logits", "options", "message"),
    [
        (torch.zeros(2, 3), {"top_p": 0.0}, r"top_p: must lie in \(0, 1\], got 0.0"),
        (torch.zeros(2, 3), {"temperature": 0.0}, "temperature: must be > 0"),
        (torch.zeros(2, 3), {"mask": torch.ones(3, dtype=torch.bool)}, r"mask: expected bool of shape \(2,\)"),
        (torch.tensor([[0.0, 1.0], [0.0, math.nan]]), {}, r"logits: NaN.*first at \[1\]"),
        (torch.tensor([[-math.inf, -math.inf]]), {}, "nothing but -inf"),
    ],
)
def test_bad_input_names_what_and_where(logits, options, message):
    with pytest.raises(ValueError, match=message):
        nucleus_entropy(logits, **options)


def test_a_statistic_of_the_one_pass_forms():
    from entrokit.distributions import (
        linear_nucleus_entropy,
        linear_token_loss,
        linear_token_statistics,
        nucleus_statistic,
        token_statistics,
    )

    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 5, 4, generator=g, dtype=torch.float64).requires_grad_()
    weight = torch.randn(30, 4, generator=g, dtype=torch.float64).requires_grad_()
    bias = torch.randn(30, generator=g, dtype=torch.float64).requires_grad_()
    tokens = torch.randint(30, (2, 5), generator=g)
    mask = torch.rand(2, 5, generator=g) < 0.7
    options = {"temperature": 0.8, "mask": mask, "need": {"entropy", nucleus_statistic(0.9)}}
    capped = 3.0 * torch.tanh((hidden @ weight.T + bias) / 3.0)
    expected = token_statistics(capped, tokens, **options)
    found = linear_token_statistics(hidden, weight, tokens, bias=bias, softcap=3.0, **options)
    for name in ("logp", "entropy", "nucleus_entropy"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))
    leaves = (hidden, weight, bias)
    weights = torch.randn(2, 5, generator=g, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((s.nucleus_entropy * weights).sum(), leaves) for s in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    nothing = linear_nucleus_entropy(hidden, weight, mask=torch.zeros_like(mask))
    assert not nothing.any()
    assert not torch.autograd.grad(nothing.sum(), hidden)[0].any()
    with pytest.raises(ValueError, match="one nucleus at a time"):
        token_statistics(capped, tokens, need={nucleus_statistic(0.9), nucleus_statistic(0.8)})
    with pytest.raises(ValueError, match="not one of linear_token_loss"):
        linear_token_loss(hidden, weight, tokens, lambda s: s.logp.sum(), need={nucleus_statistic(0.9)})
    with pytest.raises(ValueError, match=r"top_p: must lie in \(0, 1\]"):
        token_statistics(capped, tokens, need={nucleus_statistic(1.5)})


def test_chunks_of_rows_change_nothing(monkeypatch):
    from entrokit.distributions import linear_nucleus_entropy

    hidden, weight = torch.randn(7, 4), torch.randn(30, 4)
    whole = linear_nucleus_entropy(hidden, weight)
    monkeypatch.setattr("entrokit.distributions.linear_nucleus._CHUNK_ELEMENTS", 60)
    torch.testing.assert_close(linear_nucleus_entropy(hidden, weight), whole)
