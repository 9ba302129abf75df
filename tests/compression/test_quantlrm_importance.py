"""QuantLRM: updates of fine-tuning, their statistics, and the importance of channels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.compression.quantlrm import (
    LazyUpdates,
    UpdateStats,
    activation_importance,
    both_ends_score,
    channel_importance,
    update_importances,
    update_magnitudes,
    update_stats,
)

from ..rounding import assert_within, bound

D1 = torch.tensor([[0, 0.002, 0.010, 0.001], [0, 0.004, 0, 0.030], [0.006, 0, 0.003, 0.050]], dtype=torch.float64)
D2 = torch.tensor([[0.005, 0, 0.100, 0.007], [0.008, 0, 0, 0.009], [0, 0, 0.020, 0]], dtype=torch.float64)
STATS = UpdateStats(0.001, 0.1, 0.0075)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


class TestCheck1:
    def test_statistics(self):
        assert update_stats([D1, D2]) == pytest.approx(STATS, rel=1e-12)
        assert update_stats({"a": D1, "b": D2}.values()) == pytest.approx(STATS, rel=1e-12)

    def test_the_released_median_is_the_middle_in_the_order_of_storage(self):
        assert update_stats([D1, D2], official_compat=True).x_mid == pytest.approx(0.0265, rel=1e-12)
        assert update_stats([D2, D1], official_compat=True).x_mid == pytest.approx((0.002 + 0.010) / 2, rel=1e-12)

    def test_scores(self):
        expected = tensor([1, 7.443787, 1.006574, 10], [1, 3.609467, 1, 1.532505], [1.479290, 1, 5.313609, 2.899927])
        assert_within(both_ends_score(D1, STATS), expected, 5e-7)

    def test_importances(self):
        assert_within(channel_importance(D1, STATS), tensor(3.479290, 8.035503, 4.880122, 4.810811), 5e-7)
        assert_within(channel_importance(D2, STATS), tensor(2.887749, 4, 8.109569, 2.037081), 5e-7)

    def test_importances_without_zeros_in_the_mean(self):
        found = channel_importance(D1, STATS, zero_in_mean=False)
        assert_within(found, tensor(4.437870, 11.053254, 6.320184, 4.810811), 5e-7)
        assert channel_importance(D2, STATS, zero_in_mean=False)[1] == 4.0, "a column of zeros alone has a mean of 1"

    def test_float32(self):
        exact = channel_importance(D1, STATS)
        found = channel_importance(D1.float(), STATS)
        # Six operations a score, of which z is squared; of at most 10, times at most 3.
        assert found.dtype == torch.float32
        assert_within(found, exact, bound(30.0, 20))


class TestScore:
    def test_check_2_ends_and_middle(self):
        x = tensor(STATS.x_min, STATS.x_mid, STATS.x_max, 0.0)
        assert_within(both_ends_score(x, STATS), tensor(10, 1, 10, 1), 1e-12)
        assert_within(both_ends_score(x, STATS, peak=3.0), tensor(3, 1, 3, 1), 1e-12)
        assert torch.equal(both_ends_score(D1, STATS, peak=1.0), torch.ones_like(D1))
        zeros = (D1 == 0).sum(0)
        assert torch.equal(channel_importance(D1, STATS, peak=1.0), 1.0 + zeros)

    def test_what_lies_outside_of_the_statistics_is_cut(self):
        assert both_ends_score(tensor(1e-9, 5.0), STATS).tolist() == pytest.approx([10.0, 10.0])

    def test_statistics_that_fall_together(self):
        assert both_ends_score(tensor(1.0, 2.0), UpdateStats(1.0, 2.0, 1.0)).tolist() == [1.0, 10.0]
        assert both_ends_score(tensor(1.0, 2.0), UpdateStats(1.0, 2.0, 2.0)).tolist() == [10.0, 1.0]
        assert both_ends_score(tensor(1.0, 0.5, 2.0), UpdateStats(1.0, 1.0, 1.0)).tolist() == [1.0, 10.0, 10.0]

    @pytest.mark.parametrize(
        ("x", "stats", "peak", "message"),
        [
            (tensor(-1.0), STATS, 10.0, "1 of 1 are not"),
            (tensor(math.nan, 1.0), STATS, 10.0, "1 of 2 are not"),
            (tensor(math.inf), STATS, 10.0, "finite and at least 0"),
            (tensor(1.0), (0.0, 1.0, 0.5), 10.0, "0 < least <= median <= largest"),
            (tensor(1.0), (1.0, 2.0, 3.0), 10.0, "0 < least <= median <= largest"),
            (tensor(1.0), (1.0, math.inf, 3.0), 10.0, "0 < least <= median <= largest"),
            (tensor(1.0), STATS, 0.5, "peak must be at least 1"),
        ],
    )
    def test_bad_input_is_named(self, x, stats, peak, message):
        with pytest.raises(ValueError, match=message):
            both_ends_score(x, stats, peak)


class TestCheck3:
    """What importance must not depend on."""

    def states(self):
        generator = torch.Generator().manual_seed(0)
        base = torch.randn(6, 5, generator=generator, dtype=torch.float64)
        moved = torch.randn(6, 5, generator=generator, dtype=torch.float64)
        return base, moved * (torch.rand(6, 5, generator=generator) > 0.3)

    def importance(self, base, tuned):
        return update_importances({"w": base}, {"w": tuned}, ["w"])["w"]

    def test_the_size_of_all_updates_does_not_matter(self):
        base, moved = self.states()
        once = self.importance(torch.zeros_like(base), moved)
        assert_within(self.importance(torch.zeros_like(base), 1e-3 * moved), once, 1e-9)

    def test_base_and_tuned_can_be_swapped(self):
        base, moved = self.states()
        assert torch.equal(self.importance(base, base + moved), self.importance(base + moved, base))

    def test_rows_can_be_permuted_and_columns_permute_it(self):
        base, moved = self.states()
        zero, order = torch.zeros_like(base), torch.tensor([3, 0, 4, 1, 2])
        once = self.importance(zero, moved)
        assert_within(self.importance(zero, moved[[5, 2, 0, 1, 4, 3]]), once, 1e-12)
        assert_within(self.importance(zero, moved[:, order]), once[order], 1e-12)


def test_importances_of_a_model_are_those_of_its_statistics():
    base, tuned = {"a": torch.zeros_like(D1), "b": D2}, {"a": D1, "b": torch.zeros_like(D2)}
    for flag in (False, True):
        stats = update_stats([D1, D2], official_compat=flag)
        found = update_importances(base, tuned, ["a", "b"], official_compat=flag, zero_in_mean=flag, peak=5.0)
        for name, updates in (("a", D1), ("b", D2)):
            assert torch.equal(found[name], channel_importance(updates, stats, zero_in_mean=flag, peak=5.0))


class TestStatistics:
    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(st.floats(0.0, 2.0**100, width=32), min_size=1, max_size=40).filter(any),
        st.integers(0, 40),
        st.sampled_from([torch.float32, torch.float64]),
    )
    def test_they_are_those_of_all_positive_entries_in_order(self, values, cut, dtype):
        entries = torch.tensor(values, dtype=dtype)
        found = update_stats([entries[:cut], entries[cut:].flip(0)])
        ordered = sorted(v for v in entries.tolist() if v > 0)
        low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
        assert found == (ordered[0], ordered[-1], low + (high - low) / 2)

    def test_of_many_bits_all_count(self):
        entries = 1.0 + torch.arange(1001, dtype=torch.float64) * torch.finfo(torch.float64).eps
        assert update_stats([entries[torch.randperm(1001)]]).x_mid == float(entries[500])

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_and_float64_together(self, dtype):
        assert update_stats([torch.tensor([1.0, 2.0], dtype=dtype), tensor(1e-300)]) == (1e-300, 2.0, 1.0)

    @pytest.mark.parametrize(
        ("matrices", "error", "message"),
        [
            ([torch.zeros(3)], ValueError, "no weight was updated.*pseudo_fine_tune"),
            ([], ValueError, "no weight was updated"),
            ([tensor(1.0, math.nan)], ValueError, "1 of 2 are not"),
            ([tensor(-1.0)], ValueError, "at least 0"),
            ([tensor(math.inf)], ValueError, "finite"),
            ([torch.tensor([1])], TypeError, "int64"),
            ((d for d in [D1]), TypeError, "a generator gives them once"),
        ],
    )
    def test_bad_input_is_named(self, matrices, error, message):
        with pytest.raises(error, match=message):
            update_stats(matrices)


class TestMagnitudes:
    def test_they_are_lazy_or_kept(self):
        base, tuned = {"a": torch.ones(2, 2), "b": torch.ones(3)}, {"a": torch.full((2, 2), 0.5), "b": torch.ones(3)}
        found = update_magnitudes(base, tuned, ["a", "b"])
        assert found["a"].eq(0.5).all()
        assert found["b"].eq(0).all()
        lazy = LazyUpdates(base, tuned, ["a", "b"])
        assert all(torch.equal(one, found[name]) for one, name in zip(lazy, "ab", strict=True))
        assert len(list(lazy)) == len(list(lazy)) == 2

    def test_zeros_are_those_of_the_stored_precision(self):
        base = torch.full((1, 2), 0.5)
        tuned = base + torch.tensor([[1e-5, 0.1]])
        names = ["w"]
        assert update_magnitudes({"w": base}, {"w": tuned}, names)["w"].gt(0).all()
        half = update_magnitudes({"w": base.bfloat16()}, {"w": tuned.bfloat16()}, names)["w"]
        assert half.dtype == torch.bfloat16
        assert half[0].gt(0).tolist() == [False, True]
        with pytest.warns(
            UserWarning, match=r"differ in precision in 1 tensors: w \(base torch.bfloat16, tuned torch.fl"
        ):
            mixed = update_magnitudes({"w": base.bfloat16()}, {"w": tuned}, names)["w"]
        assert mixed.dtype == torch.float32

    def test_models_that_do_not_match_are_named(self):
        base = {"a": torch.ones(2, 2), "b": torch.ones(3)}
        tuned = {"b": torch.ones(4), "c": torch.ones(1)}
        message = r"3 tensors: a \(not in the tuned model\), b \(base \[3\], tuned \[4\]\), d \(not in the base nor the"
        with pytest.raises(ValueError, match=message):
            update_magnitudes(base, tuned, ["a", "b", "d"])
        with pytest.raises(ValueError, match="in 8 tensors.* and 3 more"):
            LazyUpdates({}, {}, [str(i) for i in range(8)])
        with pytest.raises(ValueError, match="no names"):
            update_magnitudes(base, tuned, [])

    def test_numbers_that_are_none_are_named(self):
        one, nan = {"w": torch.ones(2)}, {"w": torch.tensor([1.0, math.nan])}
        with pytest.raises(ValueError, match="w: 1 of 2 weights of the base model are NaN"):
            update_magnitudes(nan, one, ["w"])
        with pytest.raises(ValueError, match="w: 1 of 2 weights of the tuned model are NaN"):
            update_magnitudes(one, nan, ["w"])
        with pytest.raises(TypeError, match="w: of the base model is torch.int8.*dequantise"):
            update_magnitudes({"w": torch.ones(2, dtype=torch.int8)}, one, ["w"])
        huge = {"w": torch.full((2,), 6e4, dtype=torch.float16)}
        with pytest.raises(ValueError, match="w: an update is too large for torch.float16"):
            update_magnitudes(huge, {"w": -huge["w"]}, ["w"])


class TestChannels:
    def test_many_zeros_overflow_no_half_precision(self):
        updates = torch.zeros(8000, 2, dtype=torch.float16)
        updates[0, 0] = 1.0
        found = channel_importance(updates, UpdateStats(0.5, 1.0, 0.75))
        assert_within(found, tensor(8000 * (7999 + 10) / 8000, 8001.0), bound(8009.0, 8003))
        mean = torch.tensor(9.0, dtype=torch.float16)
        assert (mean * torch.tensor(8000, dtype=torch.float16)).isinf(), "as in the released code"

    def test_an_update_that_float16_has_not_is_no_zero(self):
        updates = torch.tensor([[2e-8, 1e-3], [1e-3, 1e-3]])
        found = channel_importance(updates, UpdateStats(2e-8, 1e-3, 1e-3))
        assert found[0] == pytest.approx(5.5)
        assert int((updates.half() == 0).sum()) == 1, "as the released code counts"

    def test_shapes(self):
        for wrong in (torch.ones(3), torch.ones(0, 3)):
            with pytest.raises(ValueError, match=r"\[out, in\], got"):
                channel_importance(wrong, STATS)

    def test_activations(self):
        x = torch.tensor([[[1.0, -2.0], [3.0, 0.0]]])
        assert activation_importance(x).tolist() == [2.0, 1.0]
        assert activation_importance(x.half()).dtype == torch.float32
        for wrong, message in ((x[:, :0], "at least one row"), (x / 0.0, "NaN or infinite")):
            with pytest.raises(ValueError, match=message):
                activation_importance(wrong)


@pytest.mark.parametrize("finer", ["base", "tuned"])
def test_precisions_that_differ_are_compared_in_the_finer_one(finer):
    fine, coarse = torch.tensor([[1.0009765625]]), torch.tensor([[1.0]], dtype=torch.bfloat16)
    base, tuned = ({"w": fine}, {"w": coarse}) if finer == "base" else ({"w": coarse}, {"w": fine})
    with pytest.warns(UserWarning, match="as they were tuned, in one dtype"):
        found = update_magnitudes(base, tuned, ["w"])["w"]
    assert found.dtype == torch.float32
    assert found.tolist() == [[2.0**-10]]
