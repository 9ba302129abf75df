import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.distributions import (
    cross_entropy,
    entropy,
    jeffreys_divergence,
    jensen_shannon_divergence,
    kl_divergence,
    renyi_divergence,
    renyi_entropy,
)

P = torch.tensor([0.6, 0.25, 0.1, 0.05], dtype=torch.float64)
Q = torch.tensor([0.25, 0.25, 0.25, 0.25], dtype=torch.float64)
PAIRS = [cross_entropy, kl_divergence, jeffreys_divergence, jensen_shannon_divergence]

logits = st.lists(st.floats(-30, 30), min_size=2, max_size=6).map(lambda v: torch.tensor(v, dtype=torch.float64))


def test_values_worked_by_hand():
    # Sheet steer, check 4: H = 1.033114 for this p.
    assert entropy(P).item() == pytest.approx(1.033114, abs=1e-6)
    assert kl_divergence(P, Q).item() == pytest.approx(math.log(4) - 1.033114, abs=1e-6)
    assert cross_entropy(P, Q).item() == pytest.approx(math.log(4))
    assert renyi_entropy(P, 2.0).item() == pytest.approx(-math.log(0.36 + 0.0625 + 0.01 + 0.0025))
    assert renyi_entropy(P, math.inf).item() == pytest.approx(-math.log(0.6))
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert jensen_shannon_divergence(one, other).item() == pytest.approx(math.log(2))


def test_impossible_events_are_exact():
    p = torch.tensor([0.5, 0.5, 0.0])
    q = torch.tensor([1.0, 0.0, 0.0])
    assert entropy(torch.tensor([1.0, 0.0, 0.0])).item() == 0.0
    assert math.copysign(1, entropy(torch.tensor([1.0, 0.0])).item()) == 1  # not -0.0
    assert kl_divergence(p, q).item() == math.inf
    assert kl_divergence(q, p).item() == pytest.approx(math.log(2))
    assert cross_entropy(p, q).item() == math.inf
    assert renyi_divergence(p, q, 2.0).item() == math.inf
    assert renyi_divergence(p, q, 0.5).item() == pytest.approx(math.log(2))
    assert renyi_entropy(p, 0.0).item() == pytest.approx(math.log(2))


@given(logits, st.floats(-50, 50))
def test_logits_and_probabilities_agree_and_shifts_do_not_matter(z, shift):
    p = torch.softmax(z, -1)
    q = torch.softmax(z.flip(-1), -1)
    for f in PAIRS:
        torch.testing.assert_close(f(z, z.flip(-1), from_logits=True), f(p, q), rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(
            f(z + shift, z.flip(-1), from_logits=True),
            f(z, z.flip(-1), from_logits=True),
            rtol=1e-7,
            atol=1e-9,
        )
    torch.testing.assert_close(entropy(z, from_logits=True), entropy(p), rtol=1e-7, atol=1e-9)


@given(logits)
def test_bounds_symmetries_and_limits(z):
    w = z.flip(-1)
    n = len(z)
    h = entropy(z, from_logits=True)
    assert 0 <= h <= math.log(n) + 1e-12
    assert kl_divergence(z, w, from_logits=True) >= -1e-12
    js = jensen_shannon_divergence(z, w, from_logits=True)
    assert -1e-12 <= js <= math.log(2) + 1e-12
    torch.testing.assert_close(js, jensen_shannon_divergence(w, z, from_logits=True))
    torch.testing.assert_close(
        jeffreys_divergence(z, w, from_logits=True),
        kl_divergence(z, w, from_logits=True) + kl_divergence(w, z, from_logits=True),
    )
    torch.testing.assert_close(renyi_entropy(z, 1 + 1e-7, from_logits=True), h, atol=1e-4, rtol=1e-4)
    orders = [renyi_entropy(z, a, from_logits=True).item() for a in (0.0, 0.5, 1.0, 2.0, math.inf)]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(orders))
    kls = [renyi_divergence(z, w, a, from_logits=True).item() for a in (0.5, 1.0, 2.0)]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(kls))


@pytest.mark.parametrize(
    "f",
    [
        lambda z: entropy(z, from_logits=True),
        lambda z: renyi_entropy(z, 0.5, from_logits=True),
        lambda z: renyi_entropy(z, 2.0, from_logits=True),
        *[lambda z, f=f: f(z, z.flip(-1) * 0.5, from_logits=True) for f in PAIRS],
        lambda z: renyi_divergence(z, z.flip(-1) * 0.5, 0.7, from_logits=True),
    ],
)
def test_gradients_against_finite_differences(f):
    z = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(f, (z,))


def test_gradient_is_zero_for_impossible_events_and_right_for_the_rest():
    z = torch.tensor([1.0, -math.inf, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    w = torch.tensor([0.2, -math.inf, 0.1, 0.4], dtype=torch.float64, requires_grad=True)
    for f in PAIRS:
        grads = torch.autograd.grad(f(z, w, from_logits=True), (z, w))
        small = [x.detach()[[0, 2, 3]].requires_grad_() for x in (z, w)]
        expected = torch.autograd.grad(f(*small, from_logits=True), small)
        for g, e in zip(grads, expected, strict=True):
            assert g[1] == 0.0
            torch.testing.assert_close(g[[0, 2, 3]], e)
    # The whole chain through a softmax that underflows to exact zeros stays finite.
    x = torch.tensor([0.0, 1000.0, -1000.0], requires_grad=True)
    entropy(torch.softmax(x, -1)).backward()
    assert torch.isfinite(x.grad).all()


def test_gradient_of_cross_entropy_in_p_at_zero_is_finite_and_right():
    p = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.25, 0.75], dtype=torch.float64)
    cross_entropy(p, q).backward()
    torch.testing.assert_close(p.grad, -q.log())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: entropy(torch.tensor([0.5, -0.1, 0.6])), r"p: .*>= 0.*index \[1\]"),
        (lambda: entropy(torch.tensor([0.5, math.nan])), r"p: .*not NaN.*index \[1\]"),
        (
            lambda: entropy(torch.tensor([[0.5, 0.5], [2.0, 3.0]])),
            r"p: .*sum to 1.*row \[1\] sums to 5.*from_logits",
        ),
        (lambda: kl_divergence(P, torch.tensor([1.0, 1, 1, 1])), r"q: .*sum to 1"),
        (lambda: entropy(torch.tensor([0.0, math.nan]), from_logits=True), "logits hold NaN"),
        (lambda: entropy(torch.full((2, 3), -math.inf), from_logits=True), r"first seen at index \[0, 0\]"),
        (lambda: renyi_entropy(P, -1.0), "alpha: the order must be >= 0"),
        (lambda: entropy(torch.zeros(3, 0)), "no classes"),
    ],
)
def test_bad_input_names_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
