"""Entropy of attention: worked numbers, from weights and from queries and keys, and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.attention.entropy import attention_entropy, attention_entropy_qk, visible_keys

from ..rounding import assert_within, bound, unit
from .attention_cases import ROWS, drawn, plain

EXACT = [0.0, 0.693147, 1.029653, 1.386294]


class TestWeights:
    def test_check_1_worked_rows(self):
        found = attention_entropy(torch.tensor(ROWS, dtype=torch.float64))
        assert found.tolist() == pytest.approx(EXACT, abs=1e-6)
        assert attention_entropy(torch.tensor(ROWS, dtype=torch.float64), 0.0).tolist() == pytest.approx(
            [0.0, math.log(2), 1.0296530140645737, math.log(4)], abs=1e-12
        )

    def test_epsilon_biases_by_at_most_itself_a_key(self):
        weights = drawn(2, 3, 5, 7, scale=4.0).softmax(-1)
        apart = attention_entropy(weights) - attention_entropy(weights, 0.0)
        assert apart.abs().max() <= 7e-9 + 1e-12
        assert apart.abs().max() > 1e-9

    def test_half_precision_is_computed_in_float32(self):
        weights = torch.tensor(ROWS, dtype=torch.float16)
        found = attention_entropy(weights)
        assert found.dtype == torch.float32
        # What rounding .2 and .3 to half did: |log a| + 1 times the rounding of a.
        assert found.tolist() == pytest.approx(EXACT, abs=3 * 2.7 * 0.5 * unit(torch.float16))
        assert attention_entropy(weights[:1]).isfinite().all()

    def test_a_row_without_a_key_has_zero(self):
        assert attention_entropy(torch.zeros(1, 1, 2, 3)).tolist() == [[[0.0, 0.0]]]

    def test_the_gradient(self):
        weights = drawn(1, 2, 3, 4).softmax(-1).requires_grad_()
        assert torch.autograd.gradcheck(lambda a: attention_entropy(a / a.sum(-1, keepdim=True)), weights)

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            (torch.tensor([[0.5, 0.5], [math.nan, 0.5]]), r"1 of 2 rows are no distribution, first \[1\].*nan"),
            (torch.tensor([[0.5, 0.6]]), r"first \[0\], whose sum is 1.1;.*model.eval\(\)"),
            (torch.tensor([[1.5, -0.5]]), "no distribution"),
            (torch.tensor([[math.inf, 0.5]]), "no distribution"),
            (torch.tensor([1.0]), r"expected weights \[\.\.\., T, S\], got shape \[1\]"),
        ],
    )
    def test_what_is_no_attention_is_named(self, weights, message):
        with pytest.raises(ValueError, match=message):
            attention_entropy(weights)

    def test_weights_behind_dropout_are_refused(self):
        weights = torch.nn.functional.dropout(drawn(1, 2, 8, 8, dtype=torch.float32).softmax(-1), 0.1)
        with pytest.raises(ValueError, match="switch dropout off"):
            attention_entropy(weights)

    def test_whole_numbers_are_refused(self):
        with pytest.raises(TypeError, match="torch.int64"):
            attention_entropy(torch.ones(2, 2, dtype=torch.int64))


MASKS = {
    "none": None,
    "boolean": drawn(2, 1, 6, 9, seed=5) > -0.5,
    "two dimensions": drawn(6, 9, seed=5) > -0.5,
    "of heads": drawn(1, 4, 6, 9, seed=6),
    "a row for all": drawn(2, 1, 1, 9, seed=7) > -0.5,
}


class TestQueriesAndKeys:
    @pytest.mark.parametrize("mask", MASKS, ids=str)
    @pytest.mark.parametrize("causal", [False, True])
    @pytest.mark.parametrize("block", [1, 4, None])
    def test_it_is_the_entropy_of_the_weights(self, mask, causal, block):
        query, key, mask = drawn(2, 4, 6, 5), drawn(2, 2, 9, 5, seed=1), MASKS[mask]
        found = attention_entropy_qk(query, key, mask=mask, causal=causal, block=block)
        assert_within(found, plain(query, key, mask, causal), 1e-9)
        capped = attention_entropy_qk(query, key, mask=mask, causal=causal, block=block, softcap=0.7, scaling=1.3)
        assert_within(capped, plain(query, key, mask, causal, 1.3, 0.7), 1e-9)

    @pytest.mark.parametrize("mask", ["none", "boolean", "of heads", "a row for all"])
    @pytest.mark.parametrize("softcap", [None, 0.7])
    def test_the_gradient_is_that_of_differences(self, mask, softcap):
        query, key = drawn(1, 4, 4, 2), drawn(1, 2, 5, 2, seed=1)
        mask = MASKS[mask] if MASKS[mask] is None else MASKS[mask][:1, :, :4, :5]
        inputs = [query.requires_grad_(), key.requires_grad_()]
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.clone().requires_grad_()
            inputs.append(mask)
        weights = drawn(1, 4, 4, seed=9)

        def total(query, key, mask=mask):
            return (weights * attention_entropy_qk(query, key, mask=mask, causal=True, softcap=softcap, block=3)).sum()

        assert torch.autograd.gradcheck(total, inputs)

    @given(st.integers(0, 10**6), st.sampled_from([1, 2, 4]), st.integers(1, 7), st.booleans())
    @settings(max_examples=25, deadline=None)
    def test_order_of_keys_and_size_of_blocks_do_not_matter(self, seed, groups, block, causal):
        query, key = drawn(1, 4, 7, 3, seed=seed, scale=2.0), drawn(1, groups, 7, 3, seed=seed + 1, scale=2.0)
        found = attention_entropy_qk(query, key, causal=causal, block=block)
        assert_within(found, attention_entropy_qk(query, key, causal=causal), 1e-9)
        assert (found >= 0.0).all()
        reached = torch.arange(1.0, 8.0).log() if causal else torch.full((7,), math.log(7.0))
        assert (found <= reached + 1e-9).all()
        if not causal:
            order = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
            assert_within(attention_entropy_qk(query, key[:, :, order]), found, 1e-9)

    def test_large_logits_lose_no_digits(self):
        query, key = torch.full((1, 1, 1, 1), 1e4), torch.tensor([[[[1.0], [1.0], [0.9]]]])
        assert attention_entropy_qk(query, key, scaling=1.0).item() == pytest.approx(math.log(2.0), abs=4 * unit())

    def test_half_precision_and_autocast_are_computed_in_float32(self):
        query, key = drawn(1, 4, 8, 16, dtype=torch.bfloat16), drawn(1, 2, 8, 16, seed=1, dtype=torch.bfloat16)
        exact = plain(query, key, causal=True)
        # Logits are sums of 16 products within |q| |k| / 4; each moves e by at most twice its share of (log 8 + 4) σ.
        size = float(query.double().norm(dim=-1).max() * key.double().norm(dim=-1).max()) / 4.0
        allowed = 2.0 * bound(size, 18) * (math.log(8.0) + size) + bound(math.log(8.0), 32)
        assert_within(attention_entropy_qk(query, key, causal=True), exact, allowed)
        with torch.autocast("cpu", torch.bfloat16):
            assert_within(attention_entropy_qk(query.float(), key.float(), causal=True), exact, allowed)
            grown = query.float().requires_grad_()
            attention_entropy_qk(grown, key.float(), causal=True).sum().backward()
        outside = query.float().requires_grad_()
        attention_entropy_qk(outside, key.float(), causal=True).sum().backward()
        assert torch.equal(grown.grad, outside.grad)
        half = query.clone().requires_grad_()
        attention_entropy_qk(half, key, causal=True).sum().backward()
        assert half.grad.dtype == torch.bfloat16

    @pytest.mark.parametrize("lowest", [-math.inf, torch.finfo(torch.float64).min])
    def test_a_query_that_sees_no_key_has_zero_and_no_gradient(self, lowest):
        mask = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
        mask[..., 1, :] = lowest
        query, key = drawn(1, 2, 3, 2).requires_grad_(), drawn(1, 2, 4, 2, seed=1).requires_grad_()
        found = attention_entropy_qk(query, key, mask=mask)
        assert (found[..., 1] == 0.0).all()
        assert (found[..., 0] > 0.0).all()
        found.sum().backward()
        assert (query.grad[:, :, 1] == 0.0).all()
        assert key.grad.isfinite().all()

    def test_one_key_and_one_query(self):
        assert attention_entropy_qk(drawn(1, 2, 1, 3), drawn(1, 2, 1, 3)).tolist() == [[[0.0], [0.0]]]

    def test_it_holds_one_block_at_a_time(self):
        """Of 512 queries and keys no tensor is as large as 512 x 512, forward or backward."""
        from torch.utils._python_dispatch import TorchDispatchMode

        class Largest(TorchDispatchMode):
            most = 0

            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                given = function(*args, **(kwargs or {}))
                for tensor in given if isinstance(given, (tuple, list)) else (given,):
                    if isinstance(tensor, torch.Tensor):
                        self.most = max(self.most, tensor.numel())
                return given

        query, key = drawn(1, 2, 512, 4).requires_grad_(), drawn(1, 2, 512, 4, seed=1).requires_grad_()
        with Largest() as seen:
            attention_entropy_qk(query, key, causal=True, block=16).sum().backward()
        assert seen.most == 2 * 16 * 512

    def test_nan_is_named(self):
        query = drawn(2, 2, 3, 2)
        query[1, 0, 2] = math.nan
        with pytest.raises(ValueError, match=r"1 of 12 rows are NaN, first \[batch, head, query\] \[1, 0, 2\]"):
            attention_entropy_qk(query, drawn(2, 2, 3, 2))
        with pytest.raises(ValueError, match="12 of 12 rows are NaN"):
            attention_entropy_qk(drawn(2, 2, 3, 2), torch.full((2, 2, 3, 2), math.inf))

    @pytest.mark.parametrize(
        ("shapes", "options", "message"),
        [
            (((1, 4, 3, 2), (1, 3, 3, 2)), {}, "a number of key heads that divides"),
            (((1, 4, 3, 2), (1, 4, 3, 5)), {}, r"\[1, 4, 3, 2\] and key \[1, 4, 3, 5\]"),
            (((1, 4, 3, 2), (1, 4, 0, 2)), {}, "at least one query and key"),
            (((4, 3, 2), (4, 3, 2)), {}, r"expected \[B, heads, length, d\]"),
            (((1, 4, 3, 2), (1, 4, 3, 2)), {"block": 0}, "block must be a whole number of at least 1, got 0"),
            (((1, 4, 3, 2), (1, 4, 3, 2)), {"mask": torch.ones(1, 1, 3, 2) > 0}, r"\[1, 4, 3, 3\], got \[1, 1, 3, 2\]"),
            (((1, 4, 3, 2), (1, 4, 3, 2)), {"mask": torch.ones(1, 3, 3) > 0}, "must broadcast"),
        ],
    )
    def test_shapes_that_do_not_fit_are_named(self, shapes, options, message):
        with pytest.raises(ValueError, match=message):
            attention_entropy_qk(*(torch.zeros(shape) for shape in shapes), **options)

    def test_masks_of_whole_numbers_are_refused(self):
        with pytest.raises(TypeError, match="give mask.bool()"):
            attention_entropy_qk(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), mask=torch.ones(2, 2).long())


class TestVisibleKeys:
    def test_with_and_without_a_mask(self):
        assert visible_keys(None, queries=3, keys=4).tolist() == [4, 4, 4]
        assert visible_keys(None, queries=3, keys=2, causal=True).tolist() == [1, 2, 2]
        mask = torch.tensor([[True, False, True], [False, False, False]])[:, None, None]
        assert visible_keys(mask, queries=2, keys=3).tolist() == [[[2, 2]], [[0, 0]]]
        assert visible_keys(mask, queries=3, keys=3, causal=True).tolist() == [[[1, 1, 2]], [[0, 0, 0]]]

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_additive_masks_hide_by_what_is_near_their_minimum(self, dtype):
        least = torch.finfo(dtype).min
        mask = torch.tensor([[0.0, -3.0, least, -math.inf, least * 0.75]], dtype=dtype)[None, None]
        assert visible_keys(mask, queries=1, keys=5).tolist() == [[[2]]]

    def test_long_masks_go_by_blocks(self):
        mask = torch.ones(600, 600, dtype=torch.bool).tril()[None, None]
        assert torch.equal(visible_keys(mask, queries=600, keys=600)[0, 0], torch.arange(1, 601))
