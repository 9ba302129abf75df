import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.distributions import (
    STATISTICS,
    chunked,
    linear_loss,
    linear_token_loss,
    linear_token_statistics,
)
from entrokit.distributions.tiles import Tiles


@pytest.fixture(autouse=True)
def unfilled_memory_is_nan():
    """What is read before it was written is found, whatever lay there."""
    torch.use_deterministic_algorithms(True)  # fills what `torch.empty` makes
    yield
    torch.use_deterministic_algorithms(False)


def separable(stats):
    """Each position's gradient depends on its own statistics, not linearly."""
    return sum(
        ((i + 1.0) * getattr(stats, name).square()).sum()
        for i, name in enumerate(STATISTICS)
        if getattr(stats, name) is not None
    )


@given(
    st.integers(1, 9), st.integers(2, 30), st.integers(1, 60), st.booleans(), st.booleans(), st.booleans(),
    st.integers(0, 2**31),
)  # fmt: skip
def test_any_chunking_is_the_loss_of_the_statistics(rows, vocabulary, kept, with_bias, with_cap, with_mask, seed):
    torch.manual_seed(seed)
    hidden = torch.randn(rows, 3, dtype=torch.float64).requires_grad_()
    weight = torch.randn(vocabulary, 3, dtype=torch.float64).requires_grad_()
    bias = torch.randn(vocabulary, dtype=torch.float64).requires_grad_() if with_bias else None
    tokens = torch.randint(vocabulary, (rows,))
    mask = torch.rand(rows) < 0.7 if with_mask else None
    options = {"bias": bias, "softcap": 4.0 if with_cap else None, "temperature": 0.7, "mask": mask}
    leaves = [x for x in (hidden, weight, bias) if x is not None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_loss, "KEPT_ELEMENTS", kept * vocabulary // 2)
        patch.setattr(chunked, "TILE_ROWS", 2)
        patch.setattr(chunked, "TILE_COLUMNS", 4)
        value, stats = linear_token_loss(hidden, weight, tokens, separable, **options)
        ours = torch.autograd.grad(2.5 * value, leaves)
    expected = linear_token_statistics(hidden, weight, tokens, **options)
    for name in STATISTICS:
        torch.testing.assert_close(getattr(stats, name), getattr(expected, name))
        assert not getattr(stats, name).requires_grad
    torch.testing.assert_close(value, separable(expected))
    torch.testing.assert_close(ours, torch.autograd.grad(2.5 * separable(expected), leaves))


def head():
    hidden = torch.randn(2, 3, 8).requires_grad_()
    weight = torch.randn(20, 8).requires_grad_()
    return hidden, weight, torch.randint(20, (2, 3))


def test_shapes_are_those_of_the_tokens_and_only_what_is_needed_is_there():
    hidden, weight, tokens = head()
    _, stats = linear_token_loss(hidden, weight, tokens, lambda s: s.entropy.sum(), need={"entropy", "top_token"})
    assert stats.entropy.shape == (2, 3)
    assert stats.top_token.shape == (2, 3)
    assert stats.collision is None


def test_a_loss_of_other_things_has_gradient_zero_here():
    hidden, weight, tokens = head()
    value, _ = linear_token_loss(hidden, weight, tokens, lambda s: torch.tensor(3.0))
    assert value == 3.0
    value.backward()
    assert (hidden.grad == 0).all()
    assert (weight.grad == 0).all()


def test_a_loss_may_have_no_gradient_in_the_first_chunk(monkeypatch):
    hidden, weight, tokens = head()
    monkeypatch.setattr(linear_loss, "KEPT_ELEMENTS", 2 * 20)
    calls = []

    def later(stats):
        calls.append(stats)
        return stats.entropy.sum().detach() if len(calls) == 1 else stats.entropy.sum()

    value, _ = linear_token_loss(hidden, weight, tokens, later)
    assert len(calls) == 4  # three chunks of two positions, and everything
    expected = linear_token_statistics(hidden, weight, tokens).entropy.view(-1)[2:].sum()
    torch.testing.assert_close(torch.autograd.grad(value, [weight]), torch.autograd.grad(expected, [weight]))


def test_frozen_parts_get_no_gradient():
    hidden, weight, tokens = head()
    value, _ = linear_token_loss(hidden, weight.detach(), tokens, separable)
    (alone,) = torch.autograd.grad(value, [hidden])
    value, _ = linear_token_loss(hidden, weight, tokens, separable)
    torch.testing.assert_close(alone, torch.autograd.grad(value, [hidden])[0])


def test_frozen_parts_cost_no_memory(monkeypatch):
    hidden, weight, tokens = head()
    bias, sums, plain = torch.randn(20), [], Tiles.add_gradient

    def add_gradient(self, g, rows, part, *wanted, **options):
        sums.append([x is not None for x in wanted])
        plain(self, g, rows, part, *wanted, **options)

    monkeypatch.setattr(Tiles, "add_gradient", add_gradient)
    frozen = hidden.detach(), weight.detach(), bias
    for i in range(3):
        ours, head_of, shift = (x.clone().requires_grad_(i == j) for j, x in enumerate(frozen))
        linear_token_loss(ours, head_of, tokens, separable, bias=shift)
        assert sums.pop() == [i == j for j in range(3)]


def test_without_gradients_it_is_the_loss_alone():
    hidden, weight, tokens = head()
    with torch.no_grad():
        value, stats = linear_token_loss(hidden, weight, tokens, separable)
    assert not value.requires_grad
    torch.testing.assert_close(value, separable(stats))


def test_an_empty_batch_and_an_empty_mask():
    weight = torch.randn(20, 8).requires_grad_()
    for rows, mask in ((0, None), (3, torch.zeros(3, dtype=torch.bool))):
        hidden = torch.randn(rows, 8).requires_grad_()
        tokens = torch.zeros(rows, dtype=torch.long)
        value, _ = linear_token_loss(hidden, weight, tokens, separable, mask=mask)
        assert value == 0.0
        assert (torch.autograd.grad(value, [weight])[0] == 0).all()


def test_backward_twice_is_refused():
    hidden, weight, tokens = head()
    value, _ = linear_token_loss(hidden, weight, tokens, separable)
    value.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward ran before"):
        value.backward()


def test_half_precision():
    hidden, weight, tokens = (x.detach() for x in head())
    hidden, weight = hidden.bfloat16().requires_grad_(), weight.bfloat16().requires_grad_()
    value, _ = linear_token_loss(hidden, weight, tokens, separable)
    value.backward()
    assert (value.dtype, hidden.grad.dtype, weight.grad.dtype) == (torch.float32, torch.bfloat16, torch.bfloat16)


def test_bad_input_names_what_and_where(monkeypatch):
    hidden, weight, tokens = head()
    with pytest.raises(ValueError, match=r"loss: must return a scalar, got shape \(2, 3\)"):
        linear_token_loss(hidden, weight, tokens, lambda s: s.entropy)
    with pytest.raises(ValueError, match=r"first at \[0, 0\]"):
        linear_token_loss(hidden + torch.inf, weight, tokens, separable)
    monkeypatch.setattr(linear_loss, "KEPT_ELEMENTS", 2 * 20)
    broken = hidden.detach().clone()
    broken[1, 2] = torch.nan
    for mask in (None, torch.tensor([[True, False, True], [False, True, True]])):
        with pytest.raises(ValueError, match=r"first at \[1, 2\]"):
            linear_token_loss(broken.clone().requires_grad_(), weight, tokens, separable, mask=mask)
    with pytest.raises(ValueError, match="softcap: must be > 0"):
        linear_token_loss(hidden, weight, tokens, separable, softcap=-1.0)
