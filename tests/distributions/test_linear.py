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
    token_statistics,
)


def head(rows=5, width=4, vocabulary=9, dtype=torch.float64):
    hidden = torch.randn(rows, width, dtype=dtype).requires_grad_()
    weight = torch.randn(vocabulary, width, dtype=dtype).requires_grad_()
    bias = torch.randn(vocabulary, dtype=dtype).requires_grad_()
    return hidden, weight, bias, torch.randint(vocabulary, (rows,))


def logits_of(hidden, weight, bias, softcap):
    z = hidden @ weight.T
    z = z if bias is None else z + bias
    return z if softcap is None else softcap * torch.tanh(z / softcap)


def everything(stats):
    return sum((i + 1.0) * getattr(stats, name).sum() for i, name in enumerate(STATISTICS))


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_gradcheck_of_each_statistic_in_all_three_tensors(name, softcap, monkeypatch):
    monkeypatch.setattr(chunked, "TILE_ROWS", 2)
    monkeypatch.setattr(chunked, "TILE_COLUMNS", 4)
    hidden, weight, bias, tokens = head()
    mask = torch.tensor([True, True, False, True, True])

    def value(h, w, b):
        stats = linear_token_statistics(h, w, tokens, bias=b, temperature=0.8, softcap=softcap, mask=mask)
        return getattr(stats, name)

    assert torch.autograd.gradcheck(value, (hidden, weight, bias))


@given(
    st.integers(1, 9), st.integers(2, 30), st.integers(1, 12), st.integers(1, 40), st.booleans(), st.booleans(),
    st.integers(0, 2**31),
)  # fmt: skip
def test_any_tiling_is_the_logits_form(rows, vocabulary, tile_rows, tile_columns, with_bias, with_cap, seed):
    torch.manual_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked, "TILE_ROWS", tile_rows)
        patch.setattr(chunked, "TILE_COLUMNS", tile_columns)
        hidden, weight, bias, tokens = head(rows, 3, vocabulary)
        bias, softcap = bias if with_bias else None, 4.0 if with_cap else None
        leaves = [x for x in (hidden, weight, bias) if x is not None]
        one = linear_token_statistics(hidden, weight, tokens, bias=bias, softcap=softcap, temperature=1.3)
        other = token_statistics(logits_of(hidden, weight, bias, softcap), tokens, temperature=1.3)
        for name in STATISTICS:
            torch.testing.assert_close(getattr(one, name), getattr(other, name))
        ours = torch.autograd.grad(everything(one), leaves)
        torch.testing.assert_close(ours, torch.autograd.grad(everything(other), leaves))


@pytest.mark.parametrize("form", ["linear", "loss", "logits"])
def test_the_top_token_of_any_tiling_is_the_first_of_the_largest(form, monkeypatch):
    """Whole numbers are multiplied exactly, so that ties are ties: within a tile, and from one to a later one."""
    monkeypatch.setattr(chunked, "TILE_ROWS", 2)
    monkeypatch.setattr(chunked, "TILE_COLUMNS", 4)
    monkeypatch.setattr(chunked, "CHUNK_ELEMENTS", 2 * 11)
    monkeypatch.setattr(linear_loss, "KEPT_ELEMENTS", 3 * 11)
    hidden = torch.randint(-2, 3, (40, 3), dtype=torch.float64).requires_grad_()
    weight = torch.randint(-2, 3, (11, 3), dtype=torch.float64)
    logits = (hidden @ weight.T).detach()
    largest = logits == logits.amax(1, keepdim=True)
    first = torch.arange(11).expand(40, 11).masked_fill(~largest, 11).amin(1)
    assert (largest.sum(1) > 1).any()
    assert (first // 4).unique().tolist() == [0, 1, 2]
    tokens, need = torch.zeros(40, dtype=torch.long), {"top_token"}
    if form == "linear":
        found = linear_token_statistics(hidden, weight, tokens, need=need)
    elif form == "loss":
        _, found = linear_token_loss(hidden, weight, tokens, lambda s: s.logp.sum(), need=need)
    else:
        found = token_statistics(logits, tokens, need=need)
    assert found.top_token.tolist() == first.tolist()


def test_a_logit_scale_is_a_temperature_and_a_cap():
    hidden, weight, _, tokens = head()
    scaled = token_statistics(5.0 * torch.tanh(0.25 * (hidden @ weight.T) / 5.0), tokens, temperature=0.7)
    ours = linear_token_statistics(hidden, weight, tokens, temperature=0.7 / 0.25, softcap=5.0 / 0.25)
    torch.testing.assert_close(ours.entropy, scaled.entropy)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_heads_are_multiplied_and_summed_in_float32(dtype):
    hidden, weight, _, tokens = head(6, 64, 3000, torch.float32)
    hidden, weight = hidden.detach().to(dtype).requires_grad_(), (weight.detach() * 0.3).to(dtype).requires_grad_()
    ours = linear_token_statistics(hidden, weight, tokens)
    exact = token_statistics(hidden.detach().double() @ weight.detach().double().T, tokens)
    for name in STATISTICS:
        torch.testing.assert_close(getattr(ours, name).double(), getattr(exact, name), rtol=1e-5, atol=2e-6)
    everything(ours).backward()
    assert (hidden.grad.dtype, weight.grad.dtype) == (dtype, dtype)


def test_a_head_of_another_dtype_than_the_hidden_states():
    hidden, weight, bias, tokens = head(dtype=torch.float32)
    half = hidden.detach().bfloat16().requires_grad_()
    stats = linear_token_statistics(half, weight, tokens, bias=bias)
    everything(stats).backward()
    assert half.grad.dtype == torch.bfloat16
    assert weight.grad.dtype == torch.float32
    exact = token_statistics(half.detach().float() @ weight.T + bias, tokens)
    torch.testing.assert_close(stats.entropy, exact.entropy)


def test_a_frozen_head_gets_no_gradient_and_hidden_states_the_same():
    hidden, weight, _, tokens = head()
    both = torch.autograd.grad(everything(linear_token_statistics(hidden, weight, tokens)), (hidden, weight))
    (alone,) = torch.autograd.grad(everything(linear_token_statistics(hidden, weight.detach(), tokens)), (hidden,))
    torch.testing.assert_close(alone, both[0])


def test_tied_embeddings_receive_both_gradients():
    weight = torch.randn(7, 4, dtype=torch.float64).requires_grad_()
    tokens = torch.tensor([1, 3, 3])

    def loss(form):
        hidden = torch.tanh(weight[tokens])
        stats = (
            linear_token_statistics(hidden, weight, tokens)
            if form == "linear"
            else token_statistics(hidden @ weight.T, tokens)
        )
        return everything(stats)

    ours, theirs = (torch.autograd.grad(loss(form), weight) for form in ("linear", "logits"))
    torch.testing.assert_close(ours, theirs)


def test_masked_hidden_states_are_not_read():
    hidden, weight, _, tokens = head(dtype=torch.float32)
    hidden = hidden.detach()
    hidden[2] = float("nan")
    mask = torch.arange(5) != 2
    hidden.requires_grad_()
    stats = linear_token_statistics(hidden, weight, tokens, mask=mask)
    everything(stats).backward()
    assert stats.entropy[2] == 0.0
    assert hidden.grad[2].tolist() == [0.0] * 4
    assert torch.isfinite(weight.grad).all()


def test_what_is_not_needed_is_not_computed_and_gradients_of_the_rest_stay_right():
    hidden, weight, _, tokens = head()
    some = linear_token_statistics(hidden, weight, tokens, need={"varentropy"})
    assert (some.entropy, some.collision, some.weighted_surprise) == (None, None, None)
    full = linear_token_statistics(hidden, weight, tokens)
    ours = torch.autograd.grad(some.varentropy.sum() + some.logp.sum(), weight)
    torch.testing.assert_close(ours, torch.autograd.grad(full.varentropy.sum() + full.logp.sum(), weight))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(9, 3)}, r"weight: expected shape \[V, 4\] to fit hidden \(5, 4\), got \(9, 3\)"),
        ({"bias": torch.zeros(3)}, r"bias: expected shape \(9,\), got \(3,\)"),
        ({"softcap": 0.0}, "softcap: must be > 0, got 0.0"),
        ({"temperature": -1.0}, "temperature: must be > 0"),
        ({"tokens": torch.zeros(4, dtype=torch.long)}, r"tokens: expected one token per row, shape \(5,\), got \(4,\)"),
        ({"tokens": torch.full((5,), 9)}, r"tokens: 9 at \[0\] lies outside the vocabulary \[0, 9\)"),
        ({"mask": torch.ones(5)}, r"mask: expected bool of shape \(5,\), got torch.float32 of \(5,\)"),
        ({"hidden": torch.full((5, 4), float("inf"))}, r"logits: NaN, \+inf.* in 5 of 5 positions, first at \[0\]"),
        ({"need": {"entropy", "perplexity"}}, r"unknown statistics \['perplexity'\]"),
    ],
)
def test_bad_input_names_what_and_where(change, message):
    hidden, weight, _, tokens = head(dtype=torch.float32)
    arguments = {"hidden": hidden, "weight": weight, "tokens": tokens} | change
    with pytest.raises(ValueError, match=message):
        linear_token_statistics(**arguments)
