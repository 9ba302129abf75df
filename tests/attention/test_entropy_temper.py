"""Temperatures in layers that run again in the backward pass."""

import pytest
import torch

from entrokit.attention.entropy import temper_attention

from .attention_cases import gpt2, llama, tokens

pytest.importorskip("transformers")


def made(make, reentrant=None):
    model = make().train()
    if reentrant is not None:
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    return model


def drawn_temperatures(temperatures):
    with torch.no_grad():
        for softmax in temperatures:
            softmax.log_temperature.normal_(generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "make", [llama, lambda: gpt2(attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)], ids=["llama", "gpt2"]
)
class TestCheckpoints:
    def test_inside_of_the_block_gradients_are_those_without_checkpoints(self, make):
        grads = []
        for reentrant in (None, False):
            model = made(make, reentrant)
            with temper_attention(model, 8) as temperatures:
                drawn_temperatures(temperatures)
                model(tokens(), use_cache=False).logits.square().sum().backward()
            grads.append([p.grad for p in (*model.parameters(), *temperatures.parameters())])
        assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
        assert all(softmax.log_temperature.grad[:, :7].abs().sum() > 0.0 for softmax in temperatures)

    @pytest.mark.parametrize("learnt", [True, False])
    def test_outside_of_the_block_torch_tells(self, make, learnt):
        model = made(make, False)
        with temper_attention(model, 8, init=2.0) as temperatures:
            temperatures.requires_grad_(learnt)
            loss = model(tokens(), use_cache=False).logits.sum()
        with pytest.raises(torch.utils.checkpoint.CheckpointError, match="different number of tensors"):
            loss.backward()

    @pytest.mark.parametrize("part", [False, True])
    def test_reentrant_ones_are_refused_whichever_part_is_called(self, make, part):
        model = made(make, True)
        called = model.base_model if part else model
        model.enable_input_require_grads()
        with temper_attention(model, 8):
            with pytest.raises(
                RuntimeError, match=r"temper_attention: .*\.0\.\w+ runs without .*use_reentrant': False"
            ):
                called(tokens(), use_cache=False)
            with torch.no_grad():
                assert called(tokens(), use_cache=False)[0].isfinite().all()
        called(tokens(), use_cache=False)[0].sum().backward()

    def test_a_part_that_is_called_by_itself_is_tempered(self, make):
        model = made(make)
        with temper_attention(model, 8, init=2.0), torch.no_grad():
            tempered = model.base_model(tokens())[0]
        with torch.no_grad():
            assert not torch.equal(model.base_model(tokens())[0], tempered)
