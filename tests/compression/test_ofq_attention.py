"""QKR: the same attention as before, the gradient that it is for, and what it has no place for."""

import copy

import pytest
import torch
from torch import nn

from entrokit.compression.ofq import (
    ActivationQuantizer,
    ProductAttention,
    QKReparamAttention,
    dequantized,
    packed_state_dict,
    quantize_model,
    quantized_weights,
    stats_quantize,
    unpacked_state_dict,
)

from .ofq_cases import FusedAttention


def unquantised(attention):
    """With M as it is trained."""
    attention.quantizer = nn.Identity()
    return attention


def test_check_5_scores_are_those_of_attention():
    float_one, x = FusedAttention().double(), torch.randn(2, 7, 12, dtype=torch.float64)
    ours = unquantised(QKReparamAttention.from_attention(float_one, 4))
    torch.testing.assert_close(ours.scores(x), float_one.logits(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours(x), float_one(x), rtol=0, atol=1e-12)


def test_check_5_the_gradient_of_keys_goes_through_real_queries():
    attention, x = QKReparamAttention(12, 3, 2).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    found = attention.products()
    found.retain_grad()
    attention.products = lambda: found
    attention(x).square().sum().backward()
    heads = found.grad.view(3, 12, 12)
    q, k = (w.detach().view(3, 4, 12) for w in (attention.q_weight, attention.k_weight))
    torch.testing.assert_close(attention.k_weight.grad.view(3, 4, 12), q @ heads, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(attention.q_weight.grad.view(3, 4, 12), k @ heads.mT, rtol=1e-9, atol=1e-12)


def test_gradients_against_differences():
    attention = unquantised(QKReparamAttention(4, 2, 2).double())
    names = ("q_weight", "k_weight")
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)

    def scores(x, *weights):
        return torch.func.functional_call(attention, dict(zip(names, weights, strict=True)), (x,))

    weights = [getattr(attention, name).detach().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(scores, (x, *weights))


def test_every_row_of_every_head_has_its_scale():
    attention = QKReparamAttention(12, 3, 3)
    M = [attention.q_weight[4 * h : 4 * h + 4].T @ attention.k_weight[4 * h : 4 * h + 4] for h in range(3)]
    torch.testing.assert_close(attention.latent_products(), torch.cat(M))
    torch.testing.assert_close(attention.products(), stats_quantize(attention.latent_products(), 3))
    assert attention.products().shape == (36, 12)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_torch_s_own_attention(dropout):
    theirs = nn.MultiheadAttention(12, 3, dropout=dropout, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_bias[12:].normal_()
        theirs.out_proj.bias.normal_()
    ours = unquantised(QKReparamAttention.from_attention(theirs, 2))
    assert ours.dropout == dropout
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    ours.eval(), theirs.eval()
    expected, _ = theirs(x, x, x)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-9)


def test_a_bias_of_the_keys_goes_without_a_trace_and_one_of_the_queries_is_refused():
    module, x = FusedAttention(qkv_bias=True).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    with torch.no_grad():
        module.qkv.bias.normal_()
        module.qkv.bias[:12] = 0.0
    ours = unquantised(QKReparamAttention.from_attention(module, 2))
    torch.testing.assert_close(ours(x), module(x), rtol=0, atol=1e-12)
    with torch.no_grad():
        module.qkv.bias[3] = 1.0
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ValueError, match=r"queries have a bias that is not 0.*qkv_bias=False"):
        QKReparamAttention.from_attention(module, 2)
    dropped = unquantised(QKReparamAttention.from_attention(module, 2, drop_query_bias=True))
    torch.testing.assert_close(dropped(x), ours(x), rtol=0, atol=1e-12)
    assert not torch.allclose(module(x), dropped(x), atol=1e-3), "what the official code loses without a word"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_model_with_it_is_deployed_and_packed():
    model = nn.Sequential(QKReparamAttention.from_attention(FusedAttention(), 3), nn.Linear(12, 4))
    quantize_model(model, 2, skip="1")
    assert list(quantized_weights(model)) == ["0.qk", "0.v.weight", "0.proj.weight"]
    x = torch.randn(2, 5, 12)
    plain = dequantized(model)
    assert type(plain[0]) is ProductAttention
    assert torch.equal(plain(x), model(x))
    assert type(dequantized(model[0])) is ProductAttention
    loaded = nn.Sequential(ProductAttention(12, 3), nn.Linear(12, 4))
    loaded.load_state_dict(unpacked_state_dict(packed_state_dict(model)))
    assert torch.equal(loaded(x), model(x))


def test_activations_in_few_bits():
    attention = QKReparamAttention.from_attention(FusedAttention(), 4, activation_bits=3, tokens=5)
    model, x = nn.Sequential(attention), torch.randn(2, 5, 12)
    found = attention(x)
    assert torch.equal(dequantized(model)(x), found)
    assert len(attention.input(x).detach().sub(attention.input.after).unique()) <= 5 * 8
    found.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in attention.parameters())
    state = attention.state_dict()
    again = QKReparamAttention(12, 3, 4, activation_bits=3, tokens=5)
    again.load_state_dict(state)
    assert torch.equal(again(x), found)
    with pytest.raises(ValueError, match="expected 5 at dimension -2"):
        attention(torch.randn(2, 6, 12))


def test_every_place_of_activations_has_its_quantiser():
    attention = QKReparamAttention(12, 3, 4, activation_bits=3, tokens=5)
    attention(torch.randn(2, 5, 12))
    steps = {name: len(part.step) for name, part in attention.named_children() if isinstance(part, ActivationQuantizer)}
    assert steps == {"input": 5, "keys": 15, "values": 12, "attention": 5, "output": 5}
    assert all(getattr(attention, name).started for name in steps)
    assert not attention.attention.signed


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_dropout_are_kept(training):
    theirs = nn.MultiheadAttention(12, 3, dropout=0.25, bias=False).train(training)
    ours = QKReparamAttention.from_attention(theirs, 2)
    assert ours.training is training
    assert ours.deployed().training is training
    assert ours.deployed().dropout == 0.25


def test_dropout_is_of_training_alone():
    attention, x = QKReparamAttention(8, 2, 2, dropout=0.5), torch.randn(2, 6, 8)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


def with_(**changes):
    module = FusedAttention()
    for name, value in changes.items():
        setattr(module, name, value)
    return module


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (lambda: nn.Linear(4, 4), TypeError, "a Linear is no MultiheadAttention and has no layers qkv and proj"),
        (lambda: with_(num_heads=None), TypeError, "beside num_heads"),
        (lambda: with_(q_norm=nn.LayerNorm(4)), ValueError, "q_norm stands between queries and keys"),
        (lambda: with_(k_norm=nn.LayerNorm(4)), ValueError, "k_norm stands"),
        (lambda: with_(proj_drop=nn.Dropout(0.1)), ValueError, "proj_drop"),
        (lambda: with_(qkv=nn.Linear(12, 24)), ValueError, r"\[24, 12\] and \[12, 12\]"),
        (lambda: with_(proj=nn.Linear(12, 6)), ValueError, r"\[36, 12\] and \[6, 12\]"),
        (lambda: with_(num_heads=5), ValueError, "5 heads do not divide 12 features"),
        (lambda: nn.MultiheadAttention(12, 3, kdim=8), ValueError, "of other sizes than queries"),
        (lambda: nn.MultiheadAttention(12, 3, add_bias_kv=True), ValueError, "bias_k"),
        (lambda: nn.MultiheadAttention(12, 3, add_zero_attn=True), ValueError, "add_zero_attn"),
    ],
)
def test_what_it_has_no_place_for_is_named(module, error, message):
    with pytest.raises(error, match=message):
        QKReparamAttention.from_attention(module(), 2)


def test_attention_that_is_quantised_already_is_refused():
    module = FusedAttention()
    quantize_model(module, 2)
    with pytest.raises(ValueError, match="quantised already"):
        QKReparamAttention.from_attention(module, 2)


def test_other_bad_input_is_named():
    for bits in (1, 9):
        with pytest.raises(ValueError, match="from 2 to 8"):
            QKReparamAttention(8, 2, bits)
    for given in ({"activation_bits": 2}, {"tokens": 4}):
        with pytest.raises(ValueError, match="belong together"):
            QKReparamAttention(8, 2, 2, **given)
    for dim, heads in ((8, 3), (8, 0), (0, 1)):
        with pytest.raises(ValueError, match="do not divide"):
            ProductAttention(dim, heads)
    for shape in ((2, 8), (2, 3, 4), (1, 2, 3, 8)):
        with pytest.raises(ValueError, match=r"expected \[B, N, 8\]"):
            QKReparamAttention(8, 2, 2)(torch.zeros(shape))


class TestAsTorchHasIt:
    """Masks and layouts, held to `torch.nn.MultiheadAttention` of the same weights."""

    def pair(self, batch_first=True):
        theirs = nn.MultiheadAttention(12, 3, bias=False, batch_first=batch_first).double().eval()
        return theirs, unquantised(QKReparamAttention.from_attention(theirs, 2))

    def masks(self):
        causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
        padding = torch.tensor([[False] * 5, [False, False, False, True, True]])
        per_head = torch.randn(6, 5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        additive = torch.zeros(5, 5, dtype=torch.float64).masked_fill(causal, -torch.inf)
        return [
            {"attn_mask": causal},
            {"key_padding_mask": padding},
            {"attn_mask": causal, "key_padding_mask": padding},
            {"attn_mask": per_head},
            {"attn_mask": per_head > 1.0},
            {"attn_mask": additive},
            {"key_padding_mask": torch.zeros(2, 5, dtype=torch.float64).masked_fill(padding, -torch.inf)},
        ]

    @pytest.mark.parametrize("case", range(7))
    @pytest.mark.parametrize("batch_first", [True, False])
    def test_masks(self, case, batch_first):
        (theirs, ours), given = self.pair(batch_first), self.masks()[case]
        x = torch.randn(2, 5, 12, dtype=torch.float64)
        x = x if batch_first else x.transpose(0, 1)
        expected, _ = theirs(x, x, x, **given)
        torch.testing.assert_close(ours(x, **given), expected, rtol=0, atol=1e-9)
        assert not torch.allclose(ours(x), expected, atol=1e-3), "a mask that masks nothing"
        ours.quantizer = QKReparamAttention(12, 3, 2).quantizer
        assert torch.equal(dequantized(ours)(x, **given), ours(x, **given))

    @pytest.mark.parametrize("training", [True, False])
    def test_in_an_encoder_layer_of_torch_s(self, training):
        layer = nn.TransformerEncoderLayer(12, 2, 8, dropout=0.0, batch_first=True).double().train(training)
        nn.init.zeros_(layer.self_attn.in_proj_bias)
        x, (mask, *_) = torch.randn(2, 5, 12, dtype=torch.float64), self.masks()
        expected = layer(x, mask["attn_mask"], is_causal=True)
        layer.self_attn = unquantised(QKReparamAttention.from_attention(layer.self_attn, 2))
        torch.testing.assert_close(layer(x, mask["attn_mask"], is_causal=True), expected, rtol=0, atol=1e-9)
        found = layer.self_attn(x, x, x)
        assert torch.equal(found[0], layer.self_attn(x))
        assert found[1] is None

    def test_tokens_first_is_torch_s_default_and_kept(self):
        theirs = nn.MultiheadAttention(12, 3, bias=False).double()
        ours, x = unquantised(QKReparamAttention.from_attention(theirs, 2)), torch.randn(7, 2, 12, dtype=torch.float64)
        assert not ours.batch_first
        torch.testing.assert_close(ours(x), theirs(x, x, x)[0], rtol=0, atol=1e-9)
        assert QKReparamAttention.from_attention(FusedAttention(), 2).batch_first
        with pytest.raises(ValueError, match=r"expected \[N, B, 12\], got shape \[2, 12\]"):
            ours(x[0])

    def test_a_token_that_may_attend_to_nothing_gets_no_values(self):
        _, ours = self.pair()
        x = torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
        causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
        left = torch.tensor([[True, True, False, False, False], [False] * 5])
        found = ours(x, attn_mask=causal, key_padding_mask=left)
        assert torch.equal(found[0, :2], ours.proj.bias.expand(2, 12))
        alone = ours(x[:1, 2:], attn_mask=causal[2:, 2:])
        torch.testing.assert_close(found[:1, 2:], alone, rtol=0, atol=1e-12)
        found.sum().backward()
        assert x.grad.isfinite().all()

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            (
                {"attn_mask": torch.ones(4, 5, dtype=torch.bool)},
                ValueError,
                r"\[5, 5\] or \[6, 5, 5\] here, got \[4, 5\]",
            ),
            ({"attn_mask": torch.ones(2, 5, 5)}, ValueError, r"got \[2, 5, 5\]"),
            ({"key_padding_mask": torch.ones(5, dtype=torch.bool)}, ValueError, r"\[2, 5\] here, got \[5\]"),
            ({"key_padding_mask": torch.ones(2, 5).long()}, TypeError, "of bools, .* or of floats; got torch.int64"),
            ({"attn_mask": [[True]]}, TypeError, "attn_mask is of bools.*got list"),
        ],
    )
    def test_masks_that_do_not_fit_are_named(self, given, error, message):
        with pytest.raises(error, match=message):
            QKReparamAttention(12, 3, 2)(torch.randn(2, 5, 12), **given)
