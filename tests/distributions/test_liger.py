"""Our door to Liger's kernel: shapes, masks, temperatures and refusals.

How accurate Liger is, is Liger's affair (`benchmarks/token_statistics.py --accuracy` measures it). Here it is held
to what any float32 code of its formula keeps, so that a wrong argument of ours shows and a rounding of theirs does not.
"""

import math

import pytest
import torch

from entrokit.distributions.backends import VARIABLE

from ..rounding import assert_within, bound, unit
from .implementations import gradient_tolerance, linear_form, reference, tolerances

pytest.importorskip("liger_kernel")

TWO = ("logp", "entropy")


@pytest.fixture(autouse=True)
def _forced(monkeypatch):
    monkeypatch.setenv(VARIABLE, "liger")


def compute(logits, tokens, **options):
    return linear_form(logits, tokens, need=TWO, **options)


def entropy_tolerance(logits, temperature):
    """`logsumexp(z) - Σ p z` is a difference of two numbers of the logits' size, and errs by a share of their sum."""
    z = logits.double() / temperature
    size = torch.logsumexp(z, -1).abs() + (torch.softmax(z, -1) * z.abs()).sum(-1)
    relative = bound(1.0, z.shape[-1] + 8) + 4 * unit() * z.abs().amax(-1)
    return relative * (1 + size)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("vocabulary", [2, 17, 1000, 151_936])
def test_values_and_gradient_are_those_of_the_definitions(vocabulary, temperature):
    logits, tokens = torch.randn(3, vocabulary) * 4, torch.randint(vocabulary, (3,))
    ours, theirs = logits.clone().requires_grad_(), logits.double().clone().requires_grad_()
    got, expected = compute(ours, tokens, temperature=temperature), reference(theirs, tokens, temperature)
    allowed = entropy_tolerance(logits, temperature)
    assert_within(got.logp, expected["logp"], tolerances(logits, tokens, temperature)["logp"], "logp")
    assert_within(got.entropy, expected["entropy"], allowed, "entropy")
    (got.logp - 0.5 * got.entropy).sum().backward()
    (expected["logp"] - 0.5 * expected["entropy"]).sum().backward()
    through = 0.5 * torch.softmax(logits.double() / temperature, -1) * allowed[:, None] / temperature
    assert_within(ours.grad, theirs.grad, gradient_tolerance(logits, tokens, temperature, 1.5) + through, "gradient")


def test_a_uniform_row_has_entropy_log_v():
    got = compute(torch.full((1, 1000), 3.5), torch.tensor([1]))
    assert_within(got.entropy, torch.tensor([math.log(1000)]), entropy_tolerance(torch.full((1, 1000), 3.5), 1.0))
    assert not torch.signbit(got.entropy).any()


def test_masked_positions_are_zero_and_have_no_gradient():
    logits = torch.randn(2, 3, 11).requires_grad_()
    tokens = torch.randint(11, (2, 3))
    mask = torch.tensor([[True, False, True], [False, False, False]])
    got = compute(logits, tokens.masked_fill(~mask, -100), mask=mask)
    full = compute(logits.detach(), tokens)
    allowed = tolerances(logits.detach(), tokens)["logp"] + entropy_tolerance(logits.detach(), 1.0)
    for name in TWO:
        assert (getattr(got, name)[~mask] == 0).all()
        assert_within(getattr(got, name)[mask], getattr(full, name)[mask], 2 * allowed[mask], name)
    sum(getattr(got, n).sum() for n in TWO).backward()
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask] != 0).any()


def test_everything_masked():
    logits = torch.randn(2, 5).requires_grad_()
    got = compute(logits, torch.zeros(2, dtype=torch.long), mask=torch.zeros(2, dtype=torch.bool))
    assert got.entropy.tolist() == [0.0, 0.0]
    got.entropy.sum().backward()
    assert (logits.grad == 0).all()


def test_empty_batch():
    logits = torch.zeros(0, 5, requires_grad=True)
    got = compute(logits, torch.zeros(0, dtype=torch.long))
    assert got.entropy.shape == (0,)
    got.entropy.sum().backward()
    assert logits.grad.shape == (0, 5)


def test_nan_is_an_error_not_a_number():
    logits = torch.randn(3, 2000)
    logits[1, 1999] = math.nan
    with pytest.raises(ValueError, match="logits: Liger"):
        compute(logits, torch.zeros(3, dtype=torch.long))
