"""Entropies in odd company: transposed gradients, second derivatives, static caches, threads."""

import math
import threading

import pytest
import torch
from torch import nn

from entrokit.attention.entropy import attention_entropy, attention_entropy_qk, taps, visible_keys, watch_attention
from entrokit.attention.entropy.passes import following

from ..rounding import assert_within
from .attention_cases import drawn, llama, plain, tokens


class TestFunctions:
    def test_a_transposed_gradient_from_above(self):
        weights, found = drawn(2, 6, 4, seed=3), []
        for function in (attention_entropy_qk, plain):
            query, key = drawn(2, 4, 6, 3).requires_grad_(), drawn(2, 2, 6, 3, seed=1).requires_grad_()
            (weights * function(query, key).transpose(1, 2)).sum().backward()
            found.append((query.grad, key.grad))
        for own, expected in zip(*found, strict=True):
            assert_within(own, expected, 1e-9)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_a_second_derivative_is_refused_and_no_constant(self, weighted):
        query = drawn(1, 2, 3, 2).requires_grad_()
        found = attention_entropy_qk(query, drawn(1, 2, 3, 2, seed=1))
        above = torch.ones_like(found).requires_grad_(weighted)
        (slope,) = torch.autograd.grad(found, query, above, create_graph=True)
        with pytest.raises(NotImplementedError, match="differentiable once"):
            (slope.square().sum() + query.sum()).backward()

    def test_a_batch_of_none(self):
        query = torch.zeros(0, 4, 3, 2, requires_grad=True)
        found = attention_entropy_qk(query, torch.zeros(0, 2, 5, 2))
        assert found.shape == (0, 4, 3)
        found.sum().backward()
        assert query.grad.shape == query.shape

    @pytest.mark.parametrize("softcap", [0.0, -1.0, math.nan, math.inf, "2"])
    def test_a_softcap_that_is_none(self, softcap):
        with pytest.raises(ValueError, match="softcap must be (above 0|a finite number)"):
            attention_entropy_qk(drawn(1, 1, 2, 2), drawn(1, 1, 2, 2), softcap=softcap)

    @pytest.mark.parametrize("eps", [-1.0, math.nan, math.inf, "0"])
    def test_an_epsilon_that_is_none(self, eps):
        with pytest.raises(ValueError, match="eps must be (at least 0|a finite number)"):
            attention_entropy(torch.eye(2), eps)

    def test_visible_keys_of_a_mask_of_two_dimensions(self):
        mask = torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])
        assert visible_keys(mask, queries=3, keys=4).tolist() == [[[3, 0, 4]]]
        assert visible_keys(mask, queries=3, keys=4, causal=True).tolist() == [[[1, 0, 3]]]
        with pytest.raises(ValueError, match=r"visible_keys: a mask must broadcast .* got \[3, 4\]"):
            visible_keys(mask, queries=3, keys=5)
        with pytest.raises(TypeError, match="visible_keys: a mask is boolean"):
            visible_keys(mask.long(), queries=3, keys=4)


class Adds(nn.Module):
    """Looks at a pass while it runs, as an attention layer under watch does."""

    def forward(self, x):
        return x + LOOKED_AT[0].running


LOOKED_AT = []


def test_a_compiled_module_is_followed_as_it_is_traced():
    torch._dynamo.reset()
    compiled = torch.compile(Adds(), backend="eager")
    with following([compiled]) as whole:
        LOOKED_AT[:] = [whole]
        assert compiled(torch.zeros(2)).tolist() == [1.0, 1.0]
        assert not whole.running


class TestWatching:
    @pytest.mark.parametrize("first", [True, False])
    def test_backward_of_checkpointed_layers_after_the_block_is_refused(self, first):
        pytest.importorskip("transformers")
        model, ids = llama().train(), tokens()
        for checkpointed in (False, True):
            if checkpointed:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            with watch_attention(model, grad=True) as watch:
                logits = model(ids, use_cache=False).logits
                loss = watch.entropies[0].sum() + logits.sum() if first else logits.sum() + watch.entropies[0].sum()
                if checkpointed:
                    loss.backward(retain_graph=True)
            if not checkpointed:
                loss.backward()
        with pytest.raises(RuntimeError, match=r"backward after the block has ended.*super\(\)\.training_step"):
            loss.backward()

    @pytest.mark.parametrize("left", [True, False])
    def test_padding_before_a_static_cache(self, left):
        transformers = pytest.importorskip("transformers")
        model, ids = llama(), tokens(2, 6)
        real = torch.ones(2, 6, dtype=torch.long)
        real[1, slice(0, 2) if left else slice(4, 6)] = 0
        found = []
        for static in (False, True):
            cache = {"past_key_values": transformers.StaticCache(config=model.config, max_cache_len=10)}
            with torch.no_grad(), watch_attention(model) as watch:
                model(ids, attention_mask=real, **(cache if static else {}))
            found.append(watch.head_entropy())
            assert torch.equal(watch.queries, real.bool())
            assert watch.summary()["attention/hidden_rows"] == 0.0
        assert_within(*found, 1e-5)

    def test_a_block_that_ends_in_one_thread_as_another_begins(self, monkeypatch):
        pytest.importorskip("transformers")
        model, ending, ends = llama(layers=1), watch_attention(llama(layers=1)), []
        ending.__enter__()
        install = taps._install

        def interrupted():
            install()
            if not ends:
                ends.append(threading.Thread(target=ending.__exit__, args=(None, None, None)))
                ends[0].start()
                ends[0].join(0.2)

        monkeypatch.setattr(taps, "_install", interrupted)
        with torch.no_grad(), watch_attention(model) as watch:
            ends[0].join()
            model(tokens())
        assert watch.head_entropy().shape == (1, 4)
        assert not taps._INSTALLED
