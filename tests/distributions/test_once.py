"""Gradients formed by hand: once, in the precision of their parts, and of what they may depend on they hold nothing."""

import gc
import weakref

import pytest
import torch

from entrokit.distributions import (
    linear_nucleus_entropy,
    linear_token_loss,
    linear_token_statistics,
    nucleus_entropy,
    token_statistics,
)
from entrokit.distributions.backends import VARIABLE

from ..rounding import assert_within, bound

ROWS, WIDTH, VOCABULARY = 4, 3, 11
TOKENS = torch.tensor([0, 3, 10, 7])
NEED = ("entropy",)


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def of_head(function):
    return lambda x: function(x, drawn(VOCABULARY, WIDTH, seed=1))


FORMS = {
    "token_statistics": (VOCABULARY, lambda x: token_statistics(x, TOKENS, need=NEED).entropy.mean()),
    "nucleus_entropy": (VOCABULARY, lambda x: nucleus_entropy(x).mean()),
    "linear_token_statistics": (
        WIDTH,
        of_head(lambda x, w: linear_token_statistics(x, w, TOKENS, need=NEED).entropy.mean()),
    ),
    "linear_token_loss": (
        WIDTH,
        of_head(lambda x, w: linear_token_loss(x, w, TOKENS, lambda s: s.entropy.mean(), need=NEED)[0]),
    ),
    "linear_nucleus_entropy": (WIDTH, of_head(lambda x, w: linear_nucleus_entropy(x, w).mean())),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("squared", [False, True])
class TestSecondDerivatives:
    def test_a_gradient_penalty_is_refused_and_not_0(self, name, squared):
        """The loss's own gradient has a graph where it is squared, and none where it is a mean."""
        width, loss = FORMS[name]
        x = drawn(ROWS, width).requires_grad_()
        value = loss(x).square() if squared else loss(x)
        (slope,) = torch.autograd.grad(value, x, create_graph=True)
        said = "nucleus_entropy" if "nucleus" in name else name
        with pytest.raises(NotImplementedError, match=f"{said} is differentiable once"):
            (value.detach() + slope.square().sum() + x.sum()).backward()

    def test_the_gradient_with_a_graph_is_the_gradient(self, name, squared):
        width, loss = FORMS[name]
        x = drawn(ROWS, width).requires_grad_()
        found = []
        for create_graph in (True, False):
            value = loss(x * 1.0)
            found += torch.autograd.grad(value.square() if squared else value, x, create_graph=create_graph)
        assert torch.equal(*found)
        assert bool(found[0].any())


@pytest.mark.parametrize("which", [0, 1, 2])
def test_whichever_of_a_head_s_tensors_is_differentiated(which):
    given = [drawn(ROWS, WIDTH), drawn(VOCABULARY, WIDTH, seed=1), drawn(VOCABULARY, seed=2)]
    x = given[which].requires_grad_()
    for loss in (
        linear_token_statistics(*given[:2], TOKENS, bias=given[2], need=NEED).entropy.sum(),
        linear_token_loss(*given[:2], TOKENS, lambda s: s.entropy.sum(), bias=given[2], need=NEED)[0],
    ):
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        with pytest.raises(NotImplementedError, match="differentiable once"):
            slope.sum().backward()


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_of_every_back_end(backend, monkeypatch):
    if backend == "triton":
        pytest.importorskip("triton")
    monkeypatch.setenv(VARIABLE, backend)
    logits = drawn(ROWS, VOCABULARY, dtype=torch.float32).requires_grad_()
    (slope,) = torch.autograd.grad(token_statistics(logits, TOKENS).logp.sum(), logits, create_graph=True)
    with pytest.raises(NotImplementedError, match="token_statistics"):
        slope.sum().backward()


def test_hidden_states_are_not_held_until_the_backward_pass():
    leaf, weight = drawn(ROWS, WIDTH).requires_grad_(), drawn(VOCABULARY, WIDTH, seed=1)
    hidden = leaf + 1.0
    gone = weakref.ref(hidden)
    loss, _ = linear_token_loss(hidden, weight, TOKENS, lambda s: s.entropy.mean(), need=NEED)
    del hidden
    gc.collect()
    assert gone() is None
    loss.backward()
    assert bool(leaf.grad.any())


@pytest.mark.parametrize("small", [1.0, 1e-5])
@pytest.mark.parametrize("scale", [65536.0, 1 / 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_loss_scale_meets_gradients_before_they_are_rounded(dtype, scale, small):
    """65536 is no float16, and what it is there for are gradients that are none either."""
    hidden, weight = ((small * drawn(n, WIDTH, seed=n)).to(dtype) for n in (ROWS, VOCABULARY))
    bias = (8 * drawn(VOCABULARY, seed=2)).to(dtype)

    def gradients(*leaves):
        leaves = [x.detach().clone().requires_grad_() for x in leaves]
        loss, _ = linear_token_loss(*leaves[:2], TOKENS, lambda s: 1e-3 * s.entropy.mean(), bias=leaves[2], need=NEED)
        return torch.autograd.grad(loss * scale, leaves)

    found = gradients(hidden, weight, bias)
    exact = gradients(hidden.float(), weight.float(), bias.float())
    for own, single in zip(found, exact, strict=True):
        assert own.dtype == dtype
        # bfloat16 has room enough for what is kept, and rounds it; the product is rounded.
        roundings = 1 if dtype == torch.float16 else 2
        assert_within(own, single, bound(single.abs().double(), roundings, dtype) + torch.finfo(dtype).smallest_normal)
    if dtype == torch.float16 and scale > 1:
        lost = (exact[2] / scale).to(dtype) == 0
        assert bool((lost & (found[2] != 0)).any())
