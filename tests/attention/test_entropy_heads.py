"""Heads by quarters, and the band that the regulariser holds them in."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.attention.entropy import (
    EntropyRegularizer,
    attention_entropy,
    attention_entropy_qk,
    entropic_overload,
    entropy_collapse,
    head_entropy,
    head_entropy_histogram,
)

from ..rounding import bound
from .attention_cases import drawn, maps

# Worked numbers are of maps that nothing is learnt through.
pytestmark = pytest.mark.filterwarnings("ignore:EntropyRegularizer. entropies have no graph")


def regularizer(granularity="query", gamma=0.2, **options):
    """Check 2: thresholds .5 and .3 in both layers, λ = 1, T = 4."""
    start = torch.tensor([[0.5, 0.3], [0.5, 0.3]])
    made = EntropyRegularizer(2, 2, 4, gamma=gamma, weight=1.0, granularity=granularity, init=start, **options)
    return made.double()


def entropies():
    return [attention_entropy(layer) for layer in maps()]


class TestHeads:
    def test_check_3_means(self):
        found = torch.stack([head_entropy(own) for own in entropies()])
        assert found.flatten().tolist() == pytest.approx([0.777274, 0.476141, 0.760441, 0.083901], abs=1e-6)
        assert found.dtype == torch.float64

    def test_padding_is_left_out(self):
        own = torch.tensor([[[1.0, 2.0, 9.0]], [[3.0, 9.0, 9.0]]])
        real = torch.tensor([[True, True, False], [True, False, False]])
        assert head_entropy(own, real[:, None]).tolist() == [2.0]
        with pytest.raises(ValueError, match="no query is left"):
            head_entropy(own, torch.zeros(2, 1, 3, dtype=torch.bool))
        with pytest.raises(ValueError, match=r"of \[B, T\] give queries\[:, None\]"):
            head_entropy(own.expand(2, 4, 3), real)
        with pytest.raises(ValueError, match=r"expected entropies \[B, H, T\]"):
            head_entropy(torch.zeros(3))

    def test_quarters_are_half_open_and_the_last_is_closed(self):
        heads = torch.tensor([[0.0, 0.99, 1.0], [2.0, 3.0, 4.0]])
        assert head_entropy_histogram(heads).tolist() == [2 / 6, 1 / 6, 1 / 6, 2 / 6]
        assert (entropy_collapse(heads), entropic_overload(heads)) == (2 / 6, 2 / 6)
        assert head_entropy_histogram(heads, maximum=8.0).tolist() == [3 / 6, 2 / 6, 1 / 6, 0.0]
        assert entropic_overload(heads, maximum=2.0) == 0.5

    def test_heads_that_collapsed_alike_are_only_seen_against_the_largest_possible(self):
        heads = torch.full((3, 4), 0.01)
        assert (entropic_overload(heads), entropy_collapse(heads)) == (1.0, 0.0)
        assert entropy_collapse(heads, maximum=math.log(64)) == 1.0

    def test_nothing_but_zeros_is_collapse(self):
        assert head_entropy_histogram(torch.zeros(2, 2)).tolist() == [1.0, 0.0, 0.0, 0.0]

    @given(st.lists(st.floats(1e-3, 10.0), min_size=1, max_size=30))
    @settings(max_examples=40, deadline=None)
    def test_shares_sum_to_one_and_the_largest_is_in_the_top(self, values):
        found = head_entropy_histogram(torch.tensor(values, dtype=torch.float64))
        assert float(found.sum()) == pytest.approx(1.0)
        assert found[3] > 0.0

    @pytest.mark.parametrize(
        ("heads", "maximum", "message"),
        [
            ([1.0, math.nan], None, "1 of 2 entropies are below 0 or not finite, the first at 1"),
            ([-0.1], None, "below 0"),
            ([math.inf], 3.0, "not finite"),
            ([], None, "no heads"),
            ([1.0], 0.0, "maximum must be a number above 0, got 0.0"),
            ([1.0], math.nan, "maximum"),
        ],
    )
    def test_what_is_no_entropy_is_named(self, heads, maximum, message):
        with pytest.raises(ValueError, match=message):
            head_entropy_histogram(torch.tensor(heads), maximum=maximum)


class TestRegularizer:
    @pytest.mark.parametrize(("gamma", "loss"), [(0.0, 0.754624), (0.1, 0.752462), (0.2, 0.724614)])
    def test_check_2_by_query(self, gamma, loss):
        assert regularizer(gamma=gamma)(entropies()).item() == pytest.approx(loss, abs=1e-6)

    def test_check_2_at_the_edge_of_the_band(self):
        """Rows of one key are .3 log 4 below their threshold: in float32, as by hand, not more than γ = .3 allows."""
        own = [attention_entropy(layer.float()) for layer in maps()]
        assert regularizer(gamma=0.3).float()(own).item() == pytest.approx(0.515187, abs=1e-6 + bound(1.0, 40))

    @pytest.mark.parametrize(("gamma", "loss"), [(0.0, 0.031363), (0.1, 0.027554), (0.2, 0.027554), (0.3, 0.0)])
    def test_check_2_by_head(self, gamma, loss):
        assert regularizer("head", gamma)(entropies()).item() == pytest.approx(loss, abs=1e-6)

    @pytest.mark.parametrize(("gamma", "slopes"), [(0.2, [-0.433784, 0.673108]), (0.0, [-0.419827, 0.753409])])
    def test_check_2_gradients_of_thresholds(self, gamma, slopes):
        made = regularizer(gamma=gamma)
        made(entropies()).backward()
        assert made.thresholds.grad.sum(0).tolist() == pytest.approx(slopes, abs=1e-6)
        assert (made.thresholds.grad[0] != made.thresholds.grad[1]).all(), "one a layer and head"

    @pytest.mark.parametrize("granularity", ["query", "head"])
    @pytest.mark.parametrize("options", [{}, {"side": "upper"}, {"causal_max": True}], ids=str)
    def test_gradients_are_those_of_differences(self, granularity, options):
        made = regularizer(granularity, 0.05, **options)
        logits = [drawn(2, 2, 4, 4, seed=i) for i in range(2)]
        given = [*(one.requires_grad_() for one in logits), made.thresholds.detach().requires_grad_()]

        def loss(first, second, thresholds):
            values = [attention_entropy(one.softmax(-1)) for one in (first, second)]
            return torch.func.functional_call(made, {"thresholds": thresholds}, (values,))

        assert torch.autograd.gradcheck(loss, given)
        assert loss(*given).item() > 0.0

    @pytest.mark.parametrize("granularity", ["query", "head"])
    def test_check_5_the_dead_zone(self, granularity):
        made = EntropyRegularizer(1, 1, 16, weight=1.0, granularity=granularity).double()
        largest, edge = math.log(16), 0.2 * math.log(16)
        for off, expected in ((0.999, 0.0), (-0.999, 0.0), (1.001, edge**2), (-1.001, edge**2)):
            own = torch.full((1, 1, 1), 0.5 * largest + off * edge, dtype=torch.float64, requires_grad=True)
            made.zero_grad()
            loss = made([own])
            loss.backward()
            assert loss.detach().item() == pytest.approx(expected, rel=3e-3)
            inside = abs(off) < 1.0
            assert (loss.detach().item() == 0.0) == inside
            assert (float(own.grad) == 0.0) == inside
            assert (float(made.thresholds.grad) == 0.0) == inside

    def test_check_6_heads_may_change_places_with_their_thresholds(self):
        made, own = regularizer(), entropies()
        swapped = regularizer()
        with torch.no_grad():
            swapped.thresholds.copy_(made.thresholds.flip(1))
        assert swapped([one.flip(1) for one in own]).item() == pytest.approx(made(own).item(), abs=1e-12)
        assert made([one.flip(1) for one in own]).item() != pytest.approx(made(own).item(), abs=1e-3)

    def test_check_7_the_band(self):
        made = EntropyRegularizer(1, 4, 16, weight=1.0, granularity="head", learnable=False)
        logits = drawn(1, 4, 16, 16, scale=1e-2, dtype=torch.float32).requires_grad_()
        optimizer = torch.optim.Adam([logits], lr=0.05)
        for _ in range(500):
            optimizer.zero_grad()
            loss = made([attention_entropy(logits.softmax(-1))])
            loss.backward()
            optimizer.step()
        share = head_entropy(attention_entropy(logits.detach().softmax(-1))) / math.log(16)
        assert ((share > 0.3) & (share < 0.7)).all()
        assert loss.detach().item() == 0.0
        assert (logits.grad == 0.0).all()
        assert made.thresholds.grad is None

    def test_the_two_granularities_differ_by_the_number_of_rows_where_rows_are_alike(self):
        own = [torch.full((3, 2, 4), 1.2, dtype=torch.float64)] * 2
        by_query, by_head = (regularizer(g, 0.0)(own).item() for g in ("query", "head"))
        assert by_query == pytest.approx(3 * 4 * by_head, rel=1e-12)

    @pytest.mark.parametrize(("granularity", "by_batch"), [("query", 3.0), ("head", 1.0)])
    def test_it_is_a_mean_over_layers_and_heads_and_by_query_a_sum_over_the_batch(self, granularity, by_batch):
        own, start = entropies(), torch.tensor([[0.5, 0.3], [0.5, 0.3]])

        def of(values, thresholds):
            made = EntropyRegularizer(
                *thresholds.shape, 4, gamma=0.1, weight=1.0, granularity=granularity, init=thresholds
            )
            return made.double()(values).item()

        once = of(own, start)
        assert once > 0.0
        assert of(own * 3, start.repeat(3, 1)) == pytest.approx(once, rel=1e-12)
        assert of([one.repeat(1, 3, 1) for one in own], start.repeat(1, 3)) == pytest.approx(once, rel=1e-12)
        assert of([one.repeat(3, 1, 1) for one in own], start) == pytest.approx(by_batch * once, rel=1e-12)

    @pytest.mark.parametrize("granularity", ["query", "head"])
    def test_padding_changes_nothing(self, granularity):
        own = entropies()
        padded = [torch.cat([torch.full((1, 2, 2), 7.0, dtype=torch.float64), one], 2)[:, :, :6] for one in own]
        real = torch.tensor([[False, False, True, True, True, True]])
        made = regularizer(granularity, 0.1)
        wide = EntropyRegularizer(2, 2, 6, gamma=0.1, weight=1.0, granularity=granularity, init=made.thresholds)
        plain = EntropyRegularizer(2, 2, 6, gamma=0.1, weight=1.0, granularity=granularity, init=made.thresholds)
        expected = plain.double()(own).item()
        assert wide.double()(padded, real).item() == pytest.approx(expected, abs=1e-12)
        extra = [torch.cat([one, torch.full_like(one, 7.0)]) for one in padded]
        both = torch.cat([real, torch.zeros_like(real)])
        assert wide(extra, both).item() == pytest.approx(expected, abs=1e-12), "a sequence of padding alone"
        assert wide(extra, torch.zeros_like(both)).item() == 0.0

    @pytest.mark.parametrize("granularity", ["query", "head"])
    def test_padding_is_no_part_of_a_causal_largest(self, granularity):
        own, behind = entropies(), torch.full((1, 2, 2), 7.0, dtype=torch.float64)
        real = torch.tensor([[True, True, True, True, False, False]])
        made = regularizer(granularity, 0.05, causal_max=True)
        made.context_size = 6
        expected = made(own).item()
        assert made([torch.cat([one, behind], 2) for one in own], real).item() == pytest.approx(expected, rel=1e-12)
        assert expected > 0.0

    @pytest.mark.parametrize("granularity", ["query", "head"])
    def test_a_query_that_sees_no_key_is_at_its_causal_largest(self, granularity):
        made = EntropyRegularizer(1, 1, 3, weight=1.0, gamma=0.0, granularity=granularity, causal_max=True, init=1.0)
        own = torch.tensor([[[0.0, 0.0, math.log(2.0)]]], dtype=torch.float64)
        assert made.double()([own], visible=torch.tensor([0, 1, 2])).item() == 0.0

    def test_one_side(self):
        low, high = (torch.full((1, 2, 4), value, dtype=torch.float64) for value in (0.01, 1.3))
        both, upper = regularizer(), regularizer(side="upper")
        assert both([low, low]).item() > 0.0
        assert upper([low, low]).item() == 0.0
        assert upper([high, high]).item() == both([high, high]).item() > 0.0

    def test_the_first_queries_pull_thresholds_down_unless_the_largest_is_causal(self):
        """A query that sees i keys uniformly is at its own largest entropy, and far from log T."""
        query = torch.zeros(1, 1, 64, 2, dtype=torch.float64)
        own = [attention_entropy_qk(query, query, causal=True)]
        made = {c: EntropyRegularizer(1, 1, 64, weight=1.0, causal_max=c, init=1.0).double() for c in (False, True)}
        for one in made.values():
            one(own).backward()
        assert float(made[False].thresholds.grad) > 1.0
        assert made[True](own).item() == 0.0
        assert made[True](own, visible=torch.arange(1, 65)).item() == 0.0
        assert made[True](own, visible=[torch.full((1, 1, 64), 64)]).item() == made[False](own).item()

    def test_it_is_silent_in_evaluation_and_keeps_its_weight(self):
        made = regularizer()
        half = EntropyRegularizer(2, 2, 4, weight=0.5, init=made.thresholds.detach()).double()
        assert half(entropies()).item() == pytest.approx(0.5 * made(entropies()).item(), rel=1e-12)
        assert made.eval()(entropies()).item() == 0.0

    def test_half_precision_and_a_context_of_one(self):
        made = regularizer()
        found = made([one.bfloat16() for one in entropies()])
        assert found.dtype == torch.float64
        one = EntropyRegularizer(1, 2, 1, weight=1.0)
        assert one([torch.zeros(3, 2, 1)]).item() == 0.0

    @pytest.mark.parametrize(
        ("given", "queries", "message"),
        [
            (lambda e: e[:1], None, "entropies of 1 layers, .* thresholds of 2: .* num_layers=1, .*include="),
            (lambda e: [e[0], e[1][:, :1]], None, r"layer 1: .*\[B, 2, T\], got \[1, 1, 4\]; .* num_heads=1$"),
            (lambda e: maps(), None, r"layer 0: .*got \[1, 2, 4, 4\]; of attention weights"),
            (lambda e: [torch.cat([x, x], 2) for x in e], None, "8 queries, but context_size is 4.*context_size=8"),
            (lambda e: e, torch.ones(1, 3).bool(), r"queries must be \[B, T\] = \[1, 4\], got \[1, 3\]"),
            (lambda e: [e[0], e[1] * math.nan], None, "layer 1: entropies hold NaN"),
        ],
    )
    def test_what_does_not_fit_is_named(self, given, queries, message):
        with pytest.raises(ValueError, match=message):
            regularizer()(given(entropies()), queries)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"init": torch.ones(2)}, r"\[layers, heads\] = \[3, 2\] of finite numbers, .*got shape \[2\]"),
            ({"init": torch.ones(2, 3)}, r"got shape \[2, 3\]"),
            ({"init": math.nan}, "finite"),
            ({"gamma": -0.1}, "gamma must be at least 0, got -0.1"),
            ({"gamma": 1.0}, "gamma is a share of log T below 1, got 1.0"),
            ({"weight": -1e-9}, "weight must be at least 0"),
            ({"weight": True}, "weight must be a finite number, got True"),
            ({"init": 2.0}, "shares of log T from 0 to 1, got .* 2 to 2"),
            ({"init": torch.tensor([[0.5, 0.5], [0.5, -0.1], [0.5, 0.5]])}, "-0.1 to 0.5"),
            ({"init": "half"}, "init must be a finite number, got 'half'"),
            ({"context_size": 14.5}, "context_size must be a whole number of at least 1, got 14.5"),
            ({"weight": math.inf}, "weight must be a finite number"),
            ({"granularity": "row"}, "'query' or 'head' and side"),
            ({"side": "lower"}, "'lower'"),
            ({"context_size": 0}, "at least 1"),
        ],
    )
    def test_bad_options_are_named(self, options, message):
        with pytest.raises(ValueError, match=message):
            EntropyRegularizer(3, 2, options.pop("context_size", 8), **options)

    def test_thresholds_of_another_shape_are_not_loaded(self):
        made = EntropyRegularizer(2, 3, 8)
        with pytest.raises(RuntimeError, match="size mismatch for thresholds"):
            made.load_state_dict(EntropyRegularizer(3, 2, 8).state_dict())
        again = EntropyRegularizer(2, 3, 8, init=0.1)
        again.load_state_dict(made.state_dict())
        assert torch.equal(again.thresholds, made.thresholds)
