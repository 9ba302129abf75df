import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.distributions import STATISTICS, chunked, token_statistics
from entrokit.distributions import token_statistics as module_function

from ..rounding import assert_within
from .implementations import reference, tolerances


def check_against_reference(logits, tokens, temperature=1.0):
    got = token_statistics(logits, tokens, temperature=temperature)
    allowed = tolerances(logits, tokens, temperature)
    for name, value in reference(logits, tokens, temperature).items():
        assert_within(getattr(got, name), value, allowed[name], name)


@pytest.mark.parametrize("vocabulary", [2, 17, 1000, 50_257])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_values_against_definitions(vocabulary, dtype):
    logits = (torch.randn(3, 5, vocabulary) * 4).to(dtype)
    check_against_reference(logits, torch.randint(vocabulary, (3, 5)), temperature=0.7)


@given(st.integers(1, 7), st.integers(2, 40), st.floats(0.1, 30), st.integers(0, 2**31))
def test_values_for_any_shape_scale_and_chunk(rows, vocabulary, scale, seed):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocabulary, generator=g) * scale
    check_against_reference(logits, torch.randint(vocabulary, (rows,), generator=g))


def test_extreme_rows_are_exact():
    logits = torch.tensor([[1e4, -1e4, 0.0], [0.0, -math.inf, -math.inf], [7.0, 7.0, 7.0]])
    got = token_statistics(logits, torch.tensor([0, 0, 1]))
    assert got.entropy[:2].tolist() == [0.0, 0.0]
    assert not torch.signbit(got.entropy).any()
    assert got.entropy[2].item() == pytest.approx(math.log(3), rel=1e-6)
    assert got.collision[2].item() == pytest.approx(1 / 3)
    assert got.varentropy[2].item() == pytest.approx(0.0, abs=1e-6)
    assert token_statistics(logits, torch.tensor([0, 1, 1])).logp[1].item() == -math.inf


def test_chunking_does_not_change_values_or_gradients(monkeypatch):
    tokens = torch.randint(11, (4, 9))
    results = []
    for elements in (1 << 22, 11 * 5, 1):
        monkeypatch.setattr(chunked, "CHUNK_ELEMENTS", elements)
        logits = torch.randn(4, 9, 11, generator=torch.Generator().manual_seed(1)).requires_grad_()
        stats = token_statistics(logits, tokens)
        sum(getattr(stats, n).sum() for n in STATISTICS).backward()
        results.append((stats.entropy.detach(), logits.grad))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_gradcheck_of_each_statistic(name, temperature):
    tokens = torch.randint(6, (2, 3))
    logits = (torch.randn(2, 3, 6, dtype=torch.float64) * 2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: getattr(module_function(z, tokens, temperature=temperature), name), (logits,)
    )


def test_gradient_with_forbidden_tokens_is_that_of_the_allowed_ones():
    full = torch.tensor([[1.0, -math.inf, 0.3, -0.4]], dtype=torch.float64, requires_grad=True)
    part = full.detach()[:, [0, 2, 3]].requires_grad_()
    for logits, token in ((full, 2), (part, 1)):
        stats = token_statistics(logits, torch.tensor([token]))
        sum(getattr(stats, n).sum() for n in STATISTICS).backward()
    torch.testing.assert_close(full.grad[:, [0, 2, 3]], part.grad)
    assert full.grad[0, 1] == 0.0


def test_gradient_keeps_the_dtype_of_the_logits_and_non_contiguous_input_works():
    logits = torch.randn(5, 3, 8).bfloat16().transpose(0, 1).requires_grad_()
    stats = token_statistics(logits, torch.randint(8, (3, 5)))
    assert stats.logp.dtype == torch.float32
    (stats.logp + stats.entropy).sum().backward()
    assert logits.grad.dtype == torch.bfloat16


def test_only_what_is_needed_is_returned():
    stats = token_statistics(torch.randn(2, 4), torch.tensor([0, 1]), need={"entropy"})
    assert stats.entropy is not None
    assert stats.collision is None
    assert stats.varentropy is None


def test_empty_batch():
    logits = torch.zeros(0, 5, requires_grad=True)
    stats = token_statistics(logits, torch.zeros(0, dtype=torch.long))
    assert stats.entropy.shape == (0,)
    stats.entropy.sum().backward()
    assert logits.grad.shape == (0, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda z, t: (z.index_fill(0, torch.tensor([1]), math.nan), t),
            r"logits: NaN.*1 of 2 positions, first at \[1\]",
        ),
        (lambda z, t: (z.index_fill(0, torch.tensor([0]), -math.inf), t), r"first at \[0\]"),
        (lambda z, t: (z + math.inf, t), "2 of 2 positions"),
        (lambda z, t: (z, t + 9), r"tokens: 9 at \[0\] lies outside the vocabulary \[0, 4\)"),
        (lambda z, t: (z, t[:1]), r"expected one token per row, shape \(2,\), got \(1,\)"),
    ],
)
def test_bad_input_names_what_and_where(change, message):
    logits, tokens = change(torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=message):
        token_statistics(logits, tokens)


def test_bad_options():
    with pytest.raises(ValueError, match=r"unknown statistics \['entrpy'\]; valid names"):
        token_statistics(torch.zeros(1, 2), torch.tensor([0]), need={"entrpy"})
    with pytest.raises(ValueError, match="temperature: must be > 0"):
        token_statistics(torch.zeros(1, 2), torch.tensor([0]), temperature=0.0)
