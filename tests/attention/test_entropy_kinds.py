"""What is given in the wrong kind is named, with what to give; and a penalty that cannot teach attention says so."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from entrokit.attention.entropy import (
    AttentionWatch,
    EntropyRegularizer,
    ScaledLinearFFN,
    TemperedAttention,
    TemperedSoftmax,
    attention_entropy,
    attention_entropy_qk,
    head_entropy,
    head_entropy_histogram,
    swapped_modules,
    temper_attention,
    visible_keys,
    watch_attention,
)

from .attention_cases import gpt2, llama, state, tokens

ONE = torch.full((1, 2, 3, 3), 1 / 3)
ROWS = ONE[..., 0]
META = ONE.to("meta")


class TestTensors:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ((ONE, ONE), r"a tuple of 2; give its layers one at a time: \[attention_entropy\(a\) for a in"),
            ([ONE], "a list of 1; give its layers"),
            ({"attentions": (ONE,)}, "dict; of a model's outputs give the attentions of output_attentions=True"),
            (np.eye(3), r"ndarray; give torch.as_tensor\(it\)"),
            (None, "NoneType; only eager attention returns weights: watch_attention"),
            ("eager", "got str"),
            (ONE.to(torch.complex64), "in floating point, got torch.complex64"),
        ],
        ids=["tuple", "list", "outputs", "numpy", "none", "text", "complex"],
    )
    def test_weights(self, given, message):
        with pytest.raises(TypeError, match=f"attention_entropy: expected weights of one layer .*{message}"):
            attention_entropy(given)

    @pytest.mark.parametrize("make", [llama, gpt2])
    def test_outputs_of_a_model(self, make):
        out = make("eager")(tokens(), output_attentions=True)
        with pytest.raises(TypeError, match="of a model's outputs give the attentions"):
            attention_entropy(out)
        with pytest.raises(TypeError, match="a tuple of 2; give its layers"):
            attention_entropy(out.attentions)
        assert all(attention_entropy(layer).shape == (2, 4, 7) for layer in out.attentions)

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: attention_entropy(META), "attention_entropy: weights of one layer"),
            (lambda: attention_entropy_qk(META, META), "attention_entropy_qk: queries"),
            (lambda: attention_entropy_qk(ONE, META), "attention_entropy_qk: keys"),
            (lambda: head_entropy(META[0]), "head_entropy: entropies of one layer"),
            (lambda: head_entropy_histogram(META), "head_entropy_histogram: entropies of heads"),
            (lambda: EntropyRegularizer(1, 2, 3)([META[..., 0]]), "EntropyRegularizer: layer 0: entropies"),
        ],
        ids=["weights", "queries", "keys", "heads", "histogram", "regulariser"],
    )
    def test_the_meta_device_has_no_values(self, call, message):
        with pytest.raises(ValueError, match=f"{message} on the meta device have no values"):
            call()

    @pytest.mark.parametrize(
        "call",
        [
            lambda: attention_entropy_qk(np.zeros((1, 1, 2, 2)), ONE),
            lambda: attention_entropy_qk(ONE, ONE.long()),
            lambda: attention_entropy_qk(ONE, ONE, mask=np.ones((3, 3), bool)),
            lambda: visible_keys([[True]], queries=1, keys=1),
            lambda: head_entropy([ROWS]),
            lambda: head_entropy_histogram([1.0, 2.0]),
            lambda: EntropyRegularizer(1, 2, 3)([np.zeros((1, 2, 3))]),
            lambda: EntropyRegularizer(1, 2, 3)([torch.zeros(1, 2, 3).long()]),
            lambda: TemperedSoftmax(2, 3)(ONE.long()),
            lambda: TemperedSoftmax(2, 3)(ONE, torch.arange(3.0)),
            lambda: swapped_modules([nn.ReLU()], {"0": nn.Identity()}).__enter__(),
            lambda: swapped_modules(nn.Sequential(nn.ReLU()), ["0"]).__enter__(),
            lambda: swapped_modules(nn.Sequential(nn.ReLU()), {"0": "Identity"}).__enter__(),
        ],
        ids=[
            "queries", "keys", "mask", "visible", "heads", "histogram", "layers", "whole", "logits", "positions",
            "model", "names", "module",
        ],
    )  # fmt: skip
    def test_other_kinds(self, call):
        with pytest.raises(TypeError, match=r"^\w+: .*(expected|must be|is no)"):
            call()

    @pytest.mark.parametrize(
        "leave",
        [
            lambda flags: head_entropy(ROWS, flags[:, None]),
            lambda flags: EntropyRegularizer(1, 2, 3)([ROWS], flags),
            lambda flags: TemperedAttention(4, 2, 3)(torch.zeros(1, 3, 4), flags),
        ],
        ids=["heads", "regulariser", "attention"],
    )
    def test_flags_are_not_what_is_added_to_logits(self, leave):
        """Of an additive mask 0 is seen, as booleans False."""
        with pytest.raises(TypeError, match="as a boolean tensor, False of what is left out, got a tensor of torch.f"):
            leave(torch.zeros(1, 3))
        with pytest.raises(ValueError, match="True and False, or 1 and 0, got other numbers"):
            leave(torch.tensor([[1, 2, 0]]))
        whole = torch.tensor([[0, 1, 1]])
        with torch.no_grad():
            torch.manual_seed(0)
            found = leave(whole)
            torch.manual_seed(0)
            assert torch.equal(found, leave(whole.bool()))

    def test_sizes_and_scalings(self):
        for call, name in (
            (lambda: EntropyRegularizer(1.0, 2, 3), "num_layers"),
            (lambda: EntropyRegularizer(1, True, 3), "num_heads"),
            (lambda: TemperedAttention(8.0, 2, 3), "dim"),
            (lambda: TemperedAttention(8, 0, 3), "heads"),
            (lambda: ScaledLinearFFN(2.5), "dim"),
            (lambda: visible_keys(None, queries=2.5, keys=2), "queries"),
            (lambda: attention_entropy_qk(ONE, ONE, block=1.5), "block"),
        ):
            with pytest.raises(ValueError, match=f": {name} must be a whole number of at least"):
                call()
        for scaling in (float("nan"), float("inf"), torch.ones(2), "1"):
            with pytest.raises(ValueError, match="attention_entropy_qk: scaling must be a finite number"):
                attention_entropy_qk(ONE, ONE, scaling=scaling)
        assert TemperedSoftmax(np.int64(2), 3).log_temperature.shape == (2, 3)

    def test_positions_of_another_batch(self):
        with pytest.raises(ValueError, match=r"got \[3, 3\]; of a batch of 1"):
            TemperedSoftmax(2, 3)(ONE, torch.zeros(3, 3).long())

    @pytest.mark.parametrize("visible", [torch.ones(5), torch.ones(2, 2, 3), torch.ones(1, 1, 2, 3)])
    def test_visible_keys_that_do_not_fit(self, visible):
        made = EntropyRegularizer(1, 2, 3, causal_max=True)
        with pytest.raises(ValueError, match=r"layer 0: visible must broadcast to \[B, H, T\] = \[1, 2, 3\], got"):
            made([ROWS], visible=[visible])
        with pytest.raises(ValueError, match="visible keys of 2, thresholds of 1 layers: give visible=watch.visible"):
            made([ROWS], visible=[torch.ones(3)] * 2)


class TestGraph:
    @pytest.mark.parametrize("grad", [False, True])
    def test_a_watch_or_outputs_in_the_place_of_entropies(self, grad):
        made = EntropyRegularizer(1, 2, 3)
        for given in (AttentionWatch(["0"], grad=grad, block=None), {"attentions": (ONE,)}):
            with pytest.raises(TypeError, match=rf"expected entropies, .*got {type(given).__name__}; pass watch.entro"):
                made(given)

    def test_a_penalty_that_reaches_no_attention_warns_and_names_grad(self):
        pytest.importorskip("transformers")
        model, made = llama(), EntropyRegularizer(2, 4, 16)
        with watch_attention(model) as watch:
            model(tokens())
            with pytest.warns(UserWarning, match=r"no gradient reaches .*watch_attention\(model, grad=True\)") as seen:
                made(watch.entropies, watch.queries)
        assert seen[0].filename == __file__

    @pytest.mark.filterwarnings("error")
    def test_it_is_silent_where_nothing_is_lost(self):
        plain, graph = ROWS, ROWS.clone().requires_grad_()
        assert EntropyRegularizer(2, 2, 3)([plain, graph]).requires_grad
        assert EntropyRegularizer(1, 2, 3, weight=0.0)([plain]) == 0.0
        expected = EntropyRegularizer(1, 2, 3).eval()([plain]).detach()
        with torch.no_grad():
            assert EntropyRegularizer(1, 2, 3)([plain]) == expected


class TestModels:
    @pytest.fixture(autouse=True)
    def needed(self):
        pytest.importorskip("transformers")

    @pytest.mark.parametrize("enter", [watch_attention, lambda m, **k: temper_attention(m, 8, **k)])
    def test_include_and_model(self, enter):
        model = llama()
        before = state(model)
        for include in ("self_attn", ["self_attn"]):
            with pytest.raises(TypeError, match=rf"include is a function of a name .*got {re.escape(repr(include))}"):
                enter(model, include=include).__enter__()
        with pytest.raises(ValueError, match="include= leaves out every attention layer of LlamaForCausalLM"):
            enter(model, include=lambda name, module: False).__enter__()
        with pytest.raises(TypeError, match="expected a model of transformers, a torch.nn.Module, got str"):
            enter("gpt2").__enter__()
        assert state(model) == before

    def test_a_block_is_looked_at_before_the_model_runs(self):
        with pytest.raises(ValueError, match="watch_attention: block must be a whole number of at least 1, got 2.5"):
            watch_attention(llama(), block=2.5).__enter__()

    def test_a_mask_that_leaves_no_query(self):
        model = llama()
        with torch.no_grad(), watch_attention(model) as watch:
            model(tokens(), attention_mask=torch.zeros(2, 7, dtype=torch.long))
            with pytest.raises(RuntimeError, match=r"seen without a query that counts: all are padding"):
                watch.head_entropy()
            assert not watch.queries.any()
            model(tokens())
            assert watch.head_entropy().shape == (2, 4)

    def test_a_part_that_is_called_by_itself(self):
        model = llama()
        with torch.no_grad(), watch_attention(model) as watch:
            model.model(tokens())
            for read in (watch.head_entropy, lambda: watch.entropies):
                with pytest.raises(RuntimeError, match=r"outside of a pass .*watch_attention\(model\.model\)"):
                    read()
        with torch.no_grad(), watch_attention(model.model) as inner:
            model(tokens())
        with torch.no_grad(), watch_attention(model) as whole:
            model(tokens())
        assert torch.equal(inner.head_entropy(), whole.head_entropy())

    def test_models_on_the_meta_device(self):
        with torch.device("meta"):
            model = llama()
        with pytest.raises(ValueError, match=r"layers\.0\.self_attn is on the meta device; load the model's weights"):
            temper_attention(model, 8).__enter__()
        with watch_attention(model), pytest.raises(ValueError, match="queries on the meta device have no values"):
            model(tokens().to("meta"))


class TestBlocks:
    @pytest.mark.parametrize(
        ("made", "read", "use"),
        [
            (lambda: watch_attention(llama()), "entropies", "with watch_attention(model) as watch:"),
            (lambda: temper_attention(llama(), 8), "parameters", "with temper_attention(model, context) as temper"),
            (lambda: swapped_modules(nn.Sequential(), {}), "items", "with swapped_modules(model, modules) as taken:"),
        ],
        ids=["watch", "temper", "swap"],
    )
    def test_what_is_used_without_its_block_shows_the_block(self, made, read, use):
        with pytest.raises(AttributeError, match=re.escape(f"no {read} before the block is entered: {use}")):
            getattr(made(), read)
