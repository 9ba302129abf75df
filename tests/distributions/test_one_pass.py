"""One correctness suite for every back end and form of ours."""

import importlib.util
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from entrokit.distributions.backends import VARIABLE

from ..rounding import assert_within, bound, unit
from .implementations import FORMS, IMPLEMENTATIONS, gradient_tolerance, reference, tolerances


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request, monkeypatch):
    """A function ``(logits, tokens, **options) -> TokenStatistics`` and the names of what it computes."""
    name, form, statistics, longest = IMPLEMENTATIONS[request.param]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setenv(VARIABLE, name)

    def compute(logits, tokens, **options):
        return FORMS[form](logits, tokens, need=statistics, **options)

    compute.name, compute.form, compute.statistics, compute.longest = request.param, form, statistics, longest
    return compute


def assert_as_defined(compute, logits, tokens, temperature=1.0):
    """Values and the gradient of a weighted sum of all of them, against the definitions in float64."""
    ours = logits.clone().requires_grad_()
    theirs = logits.double().clone().requires_grad_()
    got = compute(ours, tokens, temperature=temperature)
    expected = reference(theirs, tokens, temperature)
    allowed = tolerances(logits, tokens, temperature, compute.longest)
    for name in compute.statistics:
        assert getattr(got, name).dtype == torch.promote_types(logits.dtype, torch.float32)
        assert_within(getattr(got, name), expected[name], allowed[name], name)
    weights = torch.rand(len(compute.statistics), *tokens.shape) + 0.5
    sum((w * getattr(got, n)).sum() for w, n in zip(weights, compute.statistics, strict=True)).backward()
    sum((w * expected[n]).sum() for w, n in zip(weights, compute.statistics, strict=True)).backward()
    assert ours.grad.dtype == logits.dtype
    total = weights.double().sum(0)[..., None]
    assert_within(ours.grad, theirs.grad, gradient_tolerance(logits, tokens, temperature, total), "gradient")


@pytest.mark.parametrize(
    ("rows", "vocabulary"), [(4, 2), (5, 17), (5, 1000), (3, 4097), (2, 50_257), (1, 151_936), (1, 262_144)]
)
def test_every_vocabulary(implementation, rows, vocabulary):
    assert_as_defined(implementation, torch.randn(rows, vocabulary) * 4, torch.randint(vocabulary, (rows,)), 0.7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_and_summed_in_full(implementation, dtype):
    assert_as_defined(implementation, (torch.randn(3, 257) * 4).to(dtype), torch.randint(257, (3,)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.integers(1, 7), st.integers(2, 40), st.floats(0.1, 30), st.floats(0.2, 3), st.integers(0, 2**31))
def test_any_shape_scale_and_temperature(implementation, rows, vocabulary, scale, temperature, seed):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, vocabulary, generator=g) * scale
    tokens = torch.randint(vocabulary, (rows,), generator=g)
    assert_as_defined(implementation, logits, tokens, temperature)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(st.floats(-300, 300), st.integers(0, 2**31))
def test_a_constant_added_to_a_row_changes_nothing(implementation, constant, seed):
    g = torch.Generator().manual_seed(seed)
    logits, tokens = torch.randn(3, 30, generator=g), torch.tensor([0, 7, 29])
    one, other = implementation(logits, tokens), implementation(logits + constant, tokens)
    # What the sum with the constant rounds away is of the size of the larger logits, which the second of these counts.
    allowed, more = tolerances(logits, tokens), tolerances(logits + constant, tokens)
    for name in implementation.statistics:
        assert_within(getattr(other, name), getattr(one, name), allowed[name] + more[name], name)


def test_extreme_rows_are_exact(implementation):
    logits = torch.tensor([[1e4, -1e4, 0.0], [7.0, 7.0, 7.0], [1e4, 1e4, -1e4], [1e4 + 1, 1e4, 1e4]])
    tokens = torch.tensor([0, 1, 2, 0])
    got = implementation(logits, tokens)
    assert got.entropy[0].item() == 0.0
    assert not torch.signbit(got.entropy).any()
    # The differences of these logits are exact, so what is left are the few operations of three terms.
    few = bound(1.0, 16)
    assert got.entropy[1].item() == pytest.approx(math.log(3), rel=few)
    assert got.entropy[2].item() == pytest.approx(math.log(2), rel=few)
    assert got.logp.tolist()[:3] == pytest.approx([0.0, -math.log(3), -2e4 - math.log(2)], rel=few)
    for name, value in reference(logits, tokens).items():
        if name in implementation.statistics:
            assert_within(getattr(got, name), value, few * (1 + value.abs()), name)


@pytest.mark.parametrize("vocabulary", [2, 1000, 151_936])
def test_a_uniform_row_has_entropy_log_v(implementation, vocabulary):
    got = implementation(torch.full((1, vocabulary), 3.5), torch.tensor([1]))
    # A sum of ones is exact up to 2²⁴ of them, in any order: only the last rounding is left.
    last = 2 * unit()
    assert got.entropy.item() == pytest.approx(math.log(vocabulary), rel=last)
    assert got.logp.item() == pytest.approx(-math.log(vocabulary), rel=last)
    assert got.collision.item() == pytest.approx(1 / vocabulary, rel=last)
    assert got.varentropy.item() == 0.0


def test_forbidden_tokens_are_as_if_they_were_not_there(implementation):
    full = torch.randn(2, 9)
    full[:, [1, 4, 8]] = -math.inf
    kept = [0, 2, 3, 5, 6, 7]
    whole, part = full.clone().requires_grad_(), full[:, kept].clone().requires_grad_()
    one, other = implementation(whole, torch.tensor([2, 7])), implementation(part, torch.tensor([1, 5]))
    allowed = tolerances(full, torch.tensor([2, 7]))  # of all nine: the order of a sum may change with its length
    for name in implementation.statistics:
        assert_within(getattr(one, name), getattr(other, name), 2 * allowed[name], name)
    for stats in (one, other):
        sum(getattr(stats, n).sum() for n in implementation.statistics).backward()
    if implementation.form == "logits":
        assert (whole.grad[:, [1, 4, 8]] == 0).all()
    every = gradient_tolerance(full, torch.tensor([2, 7]), weight=len(implementation.statistics))[:, kept]
    assert_within(whole.grad[:, kept], part.grad, 2 * every, "gradient")
    assert (implementation(full, torch.tensor([1, 4])).logp == -math.inf).all()


def test_one_allowed_token_has_entropy_zero(implementation):
    logits = torch.full((2, 2000), -math.inf)
    logits[:, 1999] = 0.3
    got = implementation(logits, torch.tensor([1999, 1999]))
    assert got.entropy.tolist() == [0.0, 0.0]
    assert not torch.signbit(got.entropy).any()
    assert got.collision.tolist() == [1.0, 1.0]
    assert got.logp.tolist() == [0.0, 0.0]


def test_masked_positions_are_zero_and_have_no_gradient(implementation):
    logits = torch.randn(2, 3, 11).requires_grad_()
    tokens = torch.randint(11, (2, 3))
    mask = torch.tensor([[True, False, True], [False, False, False]])
    got = implementation(logits, tokens.masked_fill(~mask, -100), mask=mask)
    full, allowed = implementation(logits.detach(), tokens), tolerances(logits.detach(), tokens)
    for name in implementation.statistics:
        assert (getattr(got, name)[~mask] == 0).all()
        assert_within(getattr(got, name)[mask], getattr(full, name)[mask], 2 * allowed[name][mask], name)
    sum(getattr(got, n).sum() for n in implementation.statistics).backward()
    assert (logits.grad[~mask] == 0).all()
    assert (logits.grad[mask] != 0).any()


def test_everything_masked(implementation):
    logits = torch.randn(2, 5).requires_grad_()
    got = implementation(logits, torch.zeros(2, dtype=torch.long), mask=torch.zeros(2, dtype=torch.bool))
    assert got.entropy.tolist() == [0.0, 0.0]
    got.entropy.sum().backward()
    assert (logits.grad == 0).all()


def test_empty_batch(implementation):
    logits = torch.zeros(0, 5, requires_grad=True)
    got = implementation(logits, torch.zeros(0, dtype=torch.long))
    assert got.entropy.shape == (0,)
    got.entropy.sum().backward()
    assert logits.grad.shape == (0, 5)


def test_non_contiguous_and_three_dimensional(implementation):
    logits = torch.randn(5, 3, 16)[:, :, ::2].transpose(0, 1)
    tokens = torch.randint(8, (5, 3)).T
    assert_as_defined(implementation, logits, tokens)


def test_each_statistic_alone_has_its_own_gradient(implementation):
    """What is not differentiated leaves no trace in the gradient of what is."""
    tokens = torch.randint(30, (4,))
    logits = torch.randn(4, 30) * 2
    for name in implementation.statistics:
        ours, theirs = logits.clone().requires_grad_(), logits.double().clone().requires_grad_()
        getattr(implementation(ours, tokens), name).sum().backward()
        reference(theirs, tokens)[name].sum().backward()
        assert_within(ours.grad, theirs.grad, gradient_tolerance(logits, tokens), name)


def test_nan_is_an_error_not_a_number(implementation):
    logits = torch.randn(3, 2000)
    logits[1, 1999] = math.nan
    with pytest.raises(ValueError, match="logits: "):
        implementation(logits, torch.zeros(3, dtype=torch.long))


def test_top_token(implementation):
    name = implementation.name.split("-")[1]
    logits = torch.randn(4, 5000)
    got = FORMS[name](logits, torch.zeros(4, dtype=torch.long), need={"top_token"})
    assert got.top_token.tolist() == logits.argmax(1).tolist()
    assert not got.top_token.requires_grad
