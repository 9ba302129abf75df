"""Models of transformers under watch: the same entropies on every kernel, the same outputs, nothing left behind."""

import copy
import math

import pytest
import torch
from torch import nn

from entrokit.attention.entropy import (
    EntropyRegularizer,
    ScaledLinearFFN,
    attention_entropy,
    entropic_overload,
    swapped_modules,
    temper_attention,
    watch_attention,
)

from ..rounding import assert_within
from .attention_cases import gpt2, llama, state, tokens

pytest.importorskip("transformers")

# Of float32 logits of a few units between rounding and e: sums of 4 products, 4 layers of float32 before them.
CLOSE = 1e-4


@pytest.mark.parametrize("make", [llama, gpt2])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
class TestBothKernels:
    def test_entropies_are_those_of_the_weights_that_eager_returns(self, make, attention):
        ids = tokens()
        weights = make("eager")(ids, output_attentions=True).attentions
        model = make(attention)
        with torch.no_grad(), watch_attention(model) as watch:
            model(ids)
        assert len(watch.entropies) == 2
        for own, layer in zip(watch.entropies, weights, strict=True):
            assert_within(own, attention_entropy(layer, 0.0), CLOSE)
        means = torch.stack([attention_entropy(layer, 0.0).mean((0, 2)) for layer in weights])
        assert_within(watch.head_entropy(), means, CLOSE)
        for visible in watch.visible:
            assert torch.equal(visible.expand(2, 1, 7)[1, 0], torch.arange(1, 8))

    def test_outputs_and_gradients_are_the_same_bit_for_bit(self, make, attention):
        ids, results = tokens(), []
        for watched in (False, True):
            model = make(attention).train()
            torch.manual_seed(1)
            if watched:
                with watch_attention(model, grad=True):
                    out = model(ids, labels=ids)
                    out.loss.backward()
            else:
                out = model(ids, labels=ids)
                out.loss.backward()
            results.append([out.logits, *(p.grad for p in model.parameters())])
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))

    def test_nothing_is_left_on_the_model_nor_on_transformers(self, make, attention):
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

        model = make(attention)
        before, lookup = state(model), AttentionInterface.get_interface
        config, kernels = model.config.to_dict(), dict(ALL_ATTENTION_FUNCTIONS)
        with watch_attention(model), temper_attention(model, 16):
            model(tokens())
            assert AttentionInterface.get_interface is not lookup
        with pytest.raises(KeyError), watch_attention(model):
            raise KeyError
        assert state(model) == before
        assert AttentionInterface.get_interface is lookup
        assert model.config.to_dict() == config
        assert dict(ALL_ATTENTION_FUNCTIONS) == kernels

    @pytest.mark.parametrize("left", [True, False])
    def test_padding_is_left_out_of_means(self, make, attention, left):
        model, ids = make(attention), tokens(1, 5)
        with torch.no_grad(), watch_attention(model) as watch:
            model(ids)
        alone = watch.head_entropy()
        pad = torch.zeros(1, 2, dtype=torch.long)
        padded = torch.cat([pad, ids] if left else [ids, pad], 1)
        real = torch.tensor([[0, 0, 1, 1, 1, 1, 1] if left else [1, 1, 1, 1, 1, 0, 0]])
        for args, kwargs in (((padded,), {"attention_mask": real}), ((padded, None, real), {})):
            if make is llama and not kwargs:
                args = (padded, real)
            positions = (real.cumsum(1) - 1).clamp_min(0)
            with torch.no_grad(), watch_attention(model) as watch:
                model(*args, **kwargs, position_ids=positions)
            assert_within(watch.head_entropy(), alone, CLOSE)
            assert torch.equal(watch.queries, real.bool())

    def test_temperatures(self, make, attention):
        model, ids = make(attention), tokens()
        plain = model(ids).logits
        with watch_attention(model) as watch:
            model(ids)
        before = watch.head_entropy()
        with temper_attention(model, 16) as temperatures:
            assert torch.equal(model(ids).logits, plain), "at 1"
            with torch.no_grad():
                for softmax in temperatures:
                    softmax.log_temperature.fill_(math.log(1e4))
            with watch_attention(model) as watch:
                model(ids).logits.sum().backward()
            uniform = torch.arange(1.0, 8.0).log()
            assert all(torch.allclose(own, uniform.expand_as(own), atol=1e-3) for own in watch.entropies)
            assert all(softmax.log_temperature.grad[:, :7].abs().sum() > 0.0 for softmax in temperatures)
        assert (before < uniform.mean() - 0.01).any()
        assert torch.equal(model(ids).logits, plain)

    def test_the_regulariser_reaches_the_model_through_the_watch(self, make, attention):
        ids, grads = tokens(), []
        for watched in (True, False):
            model = make(attention if watched else "eager")
            regularizer = EntropyRegularizer(2, 4, 16, weight=1.0, gamma=0.0)
            if watched:
                with watch_attention(model, grad=True, block=2) as watch:
                    model(ids)
                    regularizer(watch.entropies, watch.queries).backward()
            else:
                weights = model(ids, output_attentions=True).attentions
                regularizer([attention_entropy(layer, 0.0) for layer in weights]).backward()
            named = {**dict(model.named_parameters()), "thresholds": regularizer.thresholds}
            grads.append({name: p.grad for name, p in named.items() if p.grad is not None})
        assert grads[0].keys() == grads[1].keys() >= {"thresholds"}
        # float32 sums through two layers; the penalty has no edge at γ = 0.
        for name, grad in grads[0].items():
            assert_within(grad, grads[1][name], 1e-4 * float(grads[1][name].norm()) + 1e-4, name)
        assert sum(float(grad.norm()) > 1e-2 for grad in grads[0].values()) > 5


class TestWatching:
    def test_a_head_that_sees_all_and_one_that_sees_itself(self):
        model = llama(layers=1)
        attention = model.model.layers[0].self_attn
        with torch.no_grad():
            attention.q_proj.weight[:8] = 0.0
        with torch.no_grad(), watch_attention(model) as watch:
            model(tokens())
        heads = watch.head_entropy()[0]
        assert heads[:2].tolist() == pytest.approx([float(torch.arange(1.0, 8.0).log().mean())] * 2, abs=1e-6)
        assert watch.summary()["attention/largest"] == pytest.approx(float(heads.max()))
        assert watch.summary()["attention/overloaded"] == entropic_overload(heads)

    def test_rows_add_up_over_passes_until_reset(self):
        model, parts = llama(), [tokens(3, 7), tokens(1, 4, seed=1)]
        with torch.no_grad(), watch_attention(model) as watch:
            means = []
            for ids in parts:
                model(ids)
                means.append(watch.head_entropy())
                watch.reset()
            for ids in parts:
                model(ids)
            assert_within(watch.head_entropy(), (21 * means[0] + 4 * means[1]) / 25, 1e-6)
            watch.active = False
            model(parts[1])
            assert_within(watch.head_entropy(), (21 * means[0] + 4 * means[1]) / 25, 1e-6)

    def test_a_cache_a_single_token_and_generation(self):
        model, ids = llama(), tokens(1, 6)
        with torch.no_grad(), watch_attention(model) as watch:
            model(ids)
            whole = watch.entropies
            watch.reset()
            past = model(ids[:, :5], use_cache=True).past_key_values
            model(ids[:, 5:], past_key_values=past)
            for own, expected in zip(watch.entropies, whole, strict=True):
                assert_within(own, expected[:, :, 5:], CLOSE)
            model(ids[:, :1])
            assert all((own == 0.0).all() for own in watch.entropies)
            model.generate(ids, max_new_tokens=2, do_sample=False, pad_token_id=0)
            assert watch.entropies[0].shape == (1, 4, 1)

    @pytest.mark.parametrize(("attention", "seen"), [("eager", [3, 3, 3]), ("sdpa", [1, 2, 3])])
    def test_without_a_mask_eager_is_not_causal(self, attention, seen):
        layer = llama(attention, layers=1).model.layers[0].self_attn
        x = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), watch_attention(layer) as watch:
            layer(x, (torch.ones(1, 3, 4), torch.zeros(1, 3, 4)), None)
        assert watch.visible[0].tolist() == seen

    def test_padding_behind_a_cache(self):
        model, ids = llama(), tokens(2, 6)
        real = torch.ones(2, 6, dtype=torch.long)
        real[1, :2] = 0
        positions = (real.cumsum(1) - 1).clamp_min(0)
        with torch.no_grad(), watch_attention(model) as watch:
            past = model(ids[:, :5], attention_mask=real[:, :5], position_ids=positions[:, :5]).past_key_values
            assert watch.queries.tolist() == real[:, :5].bool().tolist()
            model(ids[:, 5:], attention_mask=real, position_ids=positions[:, 5:], past_key_values=past)
            assert watch.queries.tolist() == [[True], [True]]
            assert [own.flatten()[-1].item() for own in watch.visible] == [4, 4]

    @pytest.mark.parametrize("make", [llama, gpt2])
    def test_temperatures_behind_a_cache_go_by_positions(self, make):
        model, ids = make(), tokens(1, 6)
        with torch.no_grad(), temper_attention(model, 8) as temperatures:
            for softmax in temperatures:
                softmax.log_temperature.normal_(generator=torch.Generator().manual_seed(0))
            whole = model(ids).logits[:, 5:]
            past = model(ids[:, :5], use_cache=True).past_key_values
            assert_within(model(ids[:, 5:], past_key_values=past).logits, whole, CLOSE)
            with pytest.raises(ValueError, match="positions 0 to 8, but temperatures for 8"):
                model(tokens(1, 9))

    def test_temperatures_of_queries_without_positions_are_refused(self):
        from transformers import DynamicCache

        model = llama(layers=1)
        attention, past, x = model.model.layers[0].self_attn, DynamicCache(), torch.zeros(1, 2, 16)
        angles = (torch.ones(1, 2, 4), torch.zeros(1, 2, 4))
        with temper_attention(model, 8):
            attention(x, angles, past_key_values=past)
            with pytest.raises(
                ValueError, match=r"layers\.0\.self_attn does not say which positions its 2 queries have"
            ):
                attention(x, angles, past_key_values=past)

    def test_nan_is_counted_and_does_not_stop_the_model(self):
        model = llama(layers=1)
        with torch.no_grad():
            model.model.layers[0].self_attn.q_proj.weight[:4] = math.nan
        with torch.no_grad(), watch_attention(model) as watch:
            model(tokens())
        found = watch.summary()
        assert found["attention/broken"] == 0.25
        assert found["attention/nan_rows"] == 2 * 7
        assert math.isfinite(found["attention/mean"])
        quarters = [found[f"attention/{name}"] for name in ("collapsed", "low", "high", "overloaded")]
        assert sum(quarters) == pytest.approx(0.75)
        assert watch.head_entropy()[0].isnan().tolist() == [True, False, False, False]

    def test_rows_that_see_no_key_are_counted_apart(self):
        model, mask = llama(), torch.ones(1, 1, 4, 4, dtype=torch.bool).tril()
        mask[..., 2, :] = False
        with torch.no_grad(), watch_attention(model) as watch:
            model(tokens(1, 4), attention_mask=mask)
        assert watch.summary()["attention/hidden_rows"] == 2 * 4
        assert all((own[..., 2] == 0.0).all() for own in watch.entropies)
        expected = torch.stack([own[..., [0, 1, 3]].mean((0, 2)) for own in watch.entropies])
        assert_within(watch.head_entropy(), expected, 1e-6)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, dtype):
        model = llama().to(dtype)
        with torch.no_grad(), watch_attention(model) as watch:
            out = model(tokens()).logits
        assert out.dtype == dtype
        assert all(own.dtype == torch.float32 and own.isfinite().all() for own in watch.entropies)

    def test_checkpointed_layers_have_their_gradients_and_are_counted_once(self):
        ids, found = tokens(), []
        for checkpointed in (False, True):
            model = llama().train()
            if checkpointed:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            with watch_attention(model, grad=True) as watch:
                model(ids, use_cache=False)
                sum(own.sum() for own in watch.entropies).backward()
                # Rows that were counted twice would weigh more beside those of another pass.
                model(tokens(1, 3, seed=1), use_cache=False)
                rows = watch.head_entropy()
            found.append([rows, *(p.grad for p in model.parameters() if p.grad is not None)])
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
        model.gradient_checkpointing_enable({"use_reentrant": True})
        with pytest.raises(RuntimeError, match="use_reentrant': False"), watch_attention(model, grad=True):
            model(ids, use_cache=False)

    def test_softmax_only_on_a_users_model(self):
        model, ids = gpt2(), tokens()
        names = [f"transformer.h.{i}" for i in range(2)]
        parts = {f"{n}.{norm}": nn.Identity() for n in names for norm in ("ln_1", "ln_2")}
        parts |= {f"{n}.mlp": ScaledLinearFFN(16, branch=True) for n in names}
        before, plain = copy.deepcopy(model.state_dict()), model(ids).logits
        with swapped_modules(model, parts), watch_attention(model) as watch:
            block = model.transformer.h[0]
            x = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0))
            attended = x + block.attn(x)[0]
            scaled = attended + block.mlp.linear(attended)
            assert_within(block(x)[0] if isinstance(block(x), tuple) else block(x), scaled, 1e-5)
            model(ids)
        assert watch.head_entropy().shape == (2, 4)
        assert torch.equal(model(ids).logits, plain)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
