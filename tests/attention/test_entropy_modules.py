"""Tempered softmax, attention with it, and the scaled linear FFN."""

import math

import pytest
import torch
from torch import nn

from entrokit.attention.entropy import (
    ScaledLinearFFN,
    TemperedAttention,
    TemperedSoftmax,
    attention_entropy,
    attention_entropy_qk,
    swapped_modules,
)

from ..rounding import assert_within
from .attention_cases import drawn

LOGITS = [1.0, 0.2, -0.5, 0.0]


def tempered(value, heads=1, context=1):
    softmax = TemperedSoftmax(heads, context, init=value).double()
    with torch.no_grad():
        softmax.log_temperature.fill_(math.log(value))
    return softmax


class TestSoftmax:
    @pytest.mark.parametrize(
        ("value", "entropy", "slope"),
        [
            (0.25, 0.265636, 2.843696),
            (0.5, 0.862886, 1.597956),
            (1.0, 1.233636, 0.296363),
            (2.0, 1.348019, 0.038723),
            (10.0, 1.384815, 0.000298),
        ],
    )
    def test_check_4_worked_temperatures(self, value, entropy, slope):
        softmax = tempered(value)
        logits = torch.tensor(LOGITS, dtype=torch.float64).view(1, 1, 1, 4)
        weights = softmax(logits)
        found = attention_entropy(weights, 0.0)
        found.backward()
        weights = weights.detach()
        assert found.item() == pytest.approx(entropy, abs=1e-6)
        # By t itself: the parameter is log t.
        assert float(softmax.log_temperature.grad) / value == pytest.approx(slope, abs=1e-6)
        u = logits / value
        mean = (weights * u).sum()
        assert float((weights * (u - mean).square()).sum() / value) == pytest.approx(slope, abs=1e-6)

    def test_a_fused_kernel_of_divided_queries_is_the_tempered_softmax(self):
        softmax = TemperedSoftmax(3, 6).double()
        with torch.no_grad():
            softmax.log_temperature.copy_(drawn(3, 6))
        query, key = drawn(2, 3, 5, 4, seed=1), drawn(2, 3, 5, 4, seed=2)
        weights = softmax(query @ key.mT * 0.5)
        assert_within(attention_entropy_qk(softmax.divide(query), key), attention_entropy(weights, 0.0), 1e-9)

    def test_positions(self):
        softmax = TemperedSoftmax(2, 4).double()
        with torch.no_grad():
            softmax.log_temperature.copy_(drawn(2, 4))
        query = drawn(2, 2, 3, 4)
        t = softmax.temperature
        positions = torch.tensor([[0, 1, 2], [3, 1, 0]])
        found = softmax.divide(query, positions)
        assert torch.equal(found[1, 0, 0], query[1, 0, 0] / t[0, 3])
        assert torch.equal(found[0, 1, 2], query[0, 1, 2] / t[1, 2])
        assert torch.equal(softmax.divide(query, torch.tensor([1, 2, 3]))[:, :, 0], query[:, :, 0] / t[:, 1, None])
        assert torch.equal(softmax.divide(query, positions[:1]), softmax.divide(query))

    def test_at_one_it_changes_nothing_and_rows_without_a_key_are_zero(self):
        softmax = TemperedSoftmax(2, 3)
        query = drawn(1, 2, 3, 4, dtype=torch.bfloat16)
        assert torch.equal(softmax.divide(query), query)
        assert softmax.divide(query).dtype == torch.bfloat16
        logits = torch.zeros(1, 2, 3, 2)
        logits[:, :, 1] = -math.inf
        assert softmax(logits)[:, :, 1].tolist() == [[[0.0, 0.0], [0.0, 0.0]]]

    @pytest.mark.parametrize("init", [1e-2, 0.1, 1.0, 7.0])
    def test_it_starts_where_it_is_told_and_stays_positive(self, init):
        softmax = TemperedSoftmax(2, 3, init=init)
        assert torch.allclose(softmax.temperature, torch.full((2, 3), init), rtol=1e-6)
        optimizer = torch.optim.SGD(softmax.parameters(), lr=1.0)
        (100.0 * softmax.log_temperature).sum().backward()
        optimizer.step()
        assert (softmax.temperature >= 0.0).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"init": 0.0}, "a number above 0"),
            ({"init": math.nan}, "init must be a finite number, got nan"),
            ({"init": "1"}, "init must be a finite number, got '1'"),
            ({"heads": True}, "heads must be a whole number"),
            ({"context": 14.5}, "context must be a whole number of at least 1, got 14.5"),
            ({"heads": 0}, "at least 1"),
            ({"context": 0}, "at least 1"),
        ],
    )
    def test_bad_options_are_named(self, options, message):
        with pytest.raises(ValueError, match=message):
            TemperedSoftmax(**({"heads": 2, "context": 3} | options))

    def test_what_is_beyond_the_context_is_named(self):
        softmax = TemperedSoftmax(2, 3)
        with pytest.raises(ValueError, match="4 positions, but temperatures for 3.*context=4"):
            softmax(torch.zeros(1, 2, 4, 4))
        with pytest.raises(ValueError, match="positions 2 to 3, but temperatures for 3"):
            softmax.divide(torch.zeros(1, 2, 2, 4), torch.tensor([2, 3]))
        with pytest.raises(ValueError, match=r"expected \[B, 2, T, ...\], got \[1, 5, 3, 3\]"):
            softmax(torch.zeros(1, 5, 3, 3))
        with pytest.raises(ValueError, match=r"positions must be \[T\] or \[B, T\] with T = 3"):
            softmax(torch.zeros(1, 2, 3, 3), torch.zeros(1, 2).long())


class TestAttention:
    def attention(self, **options):
        torch.manual_seed(0)
        made = TemperedAttention(8, 2, 6, **options).double()
        with torch.no_grad():
            made.softmax.log_temperature.copy_(0.5 * drawn(2, 6))
        return made

    @pytest.mark.parametrize("causal", [True, False])
    def test_it_is_attention_with_tempered_weights(self, causal):
        made, x = self.attention(causal=causal), drawn(2, 5, 8)
        query, key, value = (
            part.view(2, 5, 2, 4).transpose(1, 2) for part in (x @ made.enter.weight.T + made.enter.bias).chunk(3, -1)
        )
        logits = query @ key.mT / 2.0
        if causal:
            logits = logits.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf)
        weights = (logits / made.softmax.temperature[:, :5, None]).softmax(-1)
        expected = (weights @ value).transpose(1, 2).flatten(2) @ made.leave.weight.T + made.leave.bias
        assert_within(made(x), expected, 1e-9)
        assert_within(made.entropy(x), attention_entropy(weights, 0.0), 1e-9)

    @pytest.mark.parametrize("causal", [True, False])
    @pytest.mark.parametrize("first", [True, False])
    def test_padding_is_neither_seen_nor_nan(self, causal, first):
        made, x = self.attention(causal=causal), drawn(2, 5, 8).requires_grad_()
        real = torch.ones(2, 5, dtype=torch.bool)
        real[1, slice(0, 2) if first else slice(3, 5)] = False
        out, own = made(x, real), made.entropy(x, real)
        assert torch.equal(out[1][~real[1]], made.leave.bias.expand(2, -1))
        assert (own[1][:, ~real[1]] == 0.0).all()
        (out.square().sum() + own.sum()).backward()
        assert x.grad.isfinite().all()
        assert (x.grad[1][~real[1]] == 0.0).all()
        changed = x.detach().clone()
        changed[1][~real[1]] = 9.0
        assert_within(made(changed, real), out, 1e-9)

    @pytest.mark.parametrize("causal", [True, False])
    def test_where_all_are_real_padding_changes_nothing(self, causal):
        made, x, real = self.attention(causal=causal), drawn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
        assert_within(made(x, real), made(x), 1e-9)
        assert_within(made.entropy(x, real), made.entropy(x), 1e-9)

    def test_one_token_and_what_does_not_fit(self):
        made = self.attention()
        assert made.entropy(drawn(1, 1, 8)).tolist() == [[[0.0], [0.0]]]
        with pytest.raises(ValueError, match="7 positions, but temperatures for 6"):
            made(drawn(1, 7, 8))
        with pytest.raises(ValueError, match=r"expected \[B, T, 8\], got \[1, 3, 7\]"):
            made(drawn(1, 3, 7))
        with pytest.raises(ValueError, match=r"real must be \[B, T\] = \[1, 3\]"):
            made(drawn(1, 3, 8), torch.ones(1, 4).bool())
        with pytest.raises(ValueError, match="heads must divide dim, got 3 and 8"):
            TemperedAttention(8, 3, 6)


class TestFFN:
    def test_it_is_what_the_paper_says(self):
        made, x = ScaledLinearFFN(3).double(), drawn(2, 4, 3)
        with torch.no_grad():
            made.alpha.fill_(2.0)
            made.beta.fill_(0.7)
        mapped = x @ made.linear.weight.T + made.linear.bias
        assert_within(made(x), 0.7 * x + mapped / 2.0, 1e-9)
        made.branch = True
        assert_within(x + made(x), 0.7 * x + mapped / 2.0, 1e-9)

    @pytest.mark.parametrize("bias", [(True, True), (True, False), (False, True), (False, False)])
    def test_two_maps_become_one(self, bias):
        torch.manual_seed(0)
        up, down = nn.Linear(3, 7, bias=bias[0]).double(), nn.Linear(7, 3, bias=bias[1]).double()
        x = drawn(5, 3)
        assert_within(ScaledLinearFFN.fused(up, down)(x), x + down(up(x)), 1e-9)

    def test_what_does_not_fit_is_named(self):
        with pytest.raises(ValueError, match="expected maps d → h and h → d, got 3 → 7 and 7 → 4"):
            ScaledLinearFFN.fused(nn.Linear(3, 7), nn.Linear(7, 4))
        with pytest.raises(ValueError, match="dim must be a whole number of at least 1"):
            ScaledLinearFFN(0)


class TestSwapping:
    def test_modules_come_back_even_after_an_error(self):
        model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.LayerNorm(2), nn.ReLU()))
        before, order = list(model.modules()), list(model.state_dict())

        def stumbles():
            with swapped_modules(model, {"1.0": nn.Identity(), "1.1": nn.Identity()}) as taken:
                assert [type(m) for m in taken.values()] == [nn.LayerNorm, nn.ReLU]
                assert torch.equal(model(x := torch.ones(1, 2)), model[0](x))
                raise KeyError("inside")

        with pytest.raises(KeyError, match="inside"):
            stumbles()
        assert all(a is b for a, b in zip(model.modules(), before, strict=True))
        assert list(model.state_dict()) == order

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["2"], r"no modules \['2'\]"),
            ([""], "no modules"),
            ([], "at least one"),
            (["1", "1.0"], "inside of others"),
        ],
    )
    def test_bad_names_change_nothing(self, names, message):
        model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.LayerNorm(2)))
        before = list(model.modules())
        with pytest.raises(ValueError, match=message), swapped_modules(model, {n: nn.Identity() for n in names}):
            pass
        assert all(a is b for a, b in zip(model.modules(), before, strict=True))
