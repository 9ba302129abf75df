"""What entropies of attention cannot be: differentiated twice, tempered by no cap, of a mask that does not fit."""

import math

import pytest
import torch

from entrokit.attention.entropy import attention_entropy, attention_entropy_qk, visible_keys

from .attention_cases import drawn


def test_a_gradient_that_is_differentiated_is_refused_and_not_taken_for_a_constant():
    query, key = drawn(1, 2, 3, 4).requires_grad_(), drawn(1, 2, 5, 4)
    (gradient,) = torch.autograd.grad(attention_entropy_qk(query, key).sum(), query, create_graph=True)
    with pytest.raises(NotImplementedError, match="differentiable once"):
        torch.autograd.grad(gradient.square().sum(), query)


def test_an_upstream_gradient_may_be_laid_out_otherwise():
    query, key = drawn(2, 4, 6, 4).requires_grad_(), drawn(2, 2, 6, 4)
    weight = drawn(6, 4, 2)
    found = torch.autograd.grad((attention_entropy_qk(query, key, block=2).permute(2, 1, 0) * weight).sum(), query)[0]
    plain = (attention_entropy_qk(query, key, block=2) * weight.permute(2, 1, 0).contiguous()).sum()
    assert torch.equal(found, torch.autograd.grad(plain, query)[0])


@pytest.mark.parametrize("softcap", [0.0, -1.0, math.nan])
def test_a_softcap_is_above_zero(softcap):
    with pytest.raises(ValueError, match="softcap must be above 0"):
        attention_entropy_qk(drawn(1, 1, 2, 4), drawn(1, 1, 2, 4), softcap=softcap)


@pytest.mark.parametrize("eps", [-1e-9, math.inf, math.nan])
def test_an_epsilon_is_finite_and_at_least_zero(eps):
    with pytest.raises(ValueError, match="eps must be at least 0 and finite"):
        attention_entropy(torch.ones(1, 1), eps)


def test_a_mask_that_does_not_fit_has_no_visible_keys():
    with pytest.raises(ValueError, match="visible_keys"):
        visible_keys(
            torch.ones(1, 1, 3, 4, dtype=torch.bool), queries=3, keys=5, causal=False, device=torch.device("cpu")
        )
    with pytest.raises(TypeError, match="visible_keys"):
        visible_keys(
            torch.ones(1, 1, 3, 5, dtype=torch.long), queries=3, keys=5, causal=False, device=torch.device("cpu")
        )
