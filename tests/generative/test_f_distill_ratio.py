"""Ratios evened out by noise level."""

import math
import warnings

import pytest
import torch
import torch.distributed
from hypothesis import given
from hypothesis import strategies as st

from entrokit.generative.f_distill import RatioNormalizer, f_weight

from .f_distill_cases import LOGITS, exactly

RATIO, T = LOGITS[:, 0].exp(), torch.tensor([0.2, 0.4, 0.7])
MANY = torch.linspace(0.0, 1.0, 40)


def test_check_4():
    normalizer = RatioNormalizer(0.0, 1.0, bin_num=2, ema_rate=0.5)
    with pytest.warns(UserWarning, match=r"1\.5 samples a bin with ema_rate 0\.5: .* reverse KL") as caught:
        ratio = normalizer(RATIO, T)
    assert caught[0].filename == __file__
    assert normalizer.bins.tolist() == pytest.approx([0.841970, 1.859140], abs=1e-6)
    assert ratio.tolist() == pytest.approx([0.436927, 1.187690, 1.462117], abs=1e-6)
    h = f_weight(ratio, "js")
    assert (h / (h.mean() + 1e-6)).tolist() == pytest.approx([0.633121, 1.130395, 1.236478], abs=2e-6)


@given(st.lists(st.floats(0.1, 20.0), min_size=8, max_size=30), st.integers(1, 4), st.floats(0.01, 100.0))
def test_a_factor_of_every_noise_level_goes(drawn, bins, factor):
    """With ema_rate 0 ratios have mean 1 in every bin, whatever the discriminator is wrong by there."""
    ratio = torch.tensor(drawn, dtype=torch.float64)
    t = torch.arange(len(drawn), dtype=torch.float64) / len(drawn)
    wrong = torch.where(t < 1 / bins, factor, 1.0)
    one, other = (RatioNormalizer(0.0, 1.0, bin_num=bins).double().train() for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        even, same = one(ratio, t), other(ratio * wrong, t)
    # 1e-6 is added to counts and to means, of which the smallest is 0.1 * 0.01.
    torch.testing.assert_close(even, same, rtol=2.1e-3, atol=0)
    assert float(even[t < 1 / bins].mean()) == pytest.approx(1.0, abs=1e-4)


def test_a_bin_without_samples_stays_and_edges_belong_to_the_last():
    normalizer = RatioNormalizer(2.0, 4.0, bin_num=4)
    normalizer(torch.full((8,), 3.0), torch.tensor([2.0] * 4 + [4.0] * 4))
    assert normalizer.bins.tolist() == pytest.approx([3.0, 1.0, 1.0, 3.0], rel=1e-6)
    normalizer(torch.full((4,), 5.0), torch.full((4,), 2.5))
    assert normalizer.bins.tolist() == pytest.approx([3.0, 5.0, 1.0, 3.0], rel=1e-6)


def test_state_goes_through_a_state_dict_and_a_resumed_run_is_the_same():
    one = RatioNormalizer(0.0, 1.0, ema_rate=0.5)
    one(1 + MANY, MANY)
    assert list(one.state_dict()) == ["bins"]
    other = RatioNormalizer(0.0, 1.0, ema_rate=0.5)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(2 - MANY, MANY), other(2 - MANY, MANY))
    assert torch.equal(one.bins, other.bins)


def test_in_eval_mode_the_means_stay():
    normalizer = RatioNormalizer(0.0, 1.0, bin_num=2)
    normalizer.bins.copy_(torch.tensor([2.0, 4.0]))
    found = normalizer.eval()(torch.tensor([1.0, 1.0]), torch.tensor([0.1, 0.9]))
    assert found.tolist() == pytest.approx([0.5, 0.25], rel=1e-5)
    assert normalizer.bins.tolist() == [2.0, 4.0]


def test_sums_are_those_of_all_workers(monkeypatch):
    """Two workers of one batch each have the means of both batches."""
    ratio, t = torch.stack([1 + MANY, 3 - MANY]), torch.stack([MANY, MANY.flip(0)])
    whole = RatioNormalizer(0.0, 1.0)
    expected = whole(ratio.flatten(), t.flatten())
    index = (t[1] * 10).long().clamp(max=9)
    theirs = [torch.bincount(index, minlength=10).float(), torch.bincount(index, ratio[1], minlength=10).float()]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.add_(theirs.pop(0)))
    normalizer = RatioNormalizer(0.0, 1.0)
    torch.testing.assert_close(normalizer(ratio[0], t[0]), expected[:40])
    torch.testing.assert_close(normalizer.bins, whole.bins)
    assert not theirs


@pytest.mark.parametrize(
    ("rows", "rate", "warns"), [(30, 0.0, True), (40, 0.0, False), (20, 0.5, False), (19, 0.5, True)]
)
def test_it_warns_where_a_sample_is_most_of_its_mean(rows, rate, warns):
    normalizer = RatioNormalizer(0.0, 1.0, ema_rate=rate)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        normalizer(torch.ones(rows), (torch.arange(rows) % 10) / 10 + 0.05)
    assert bool(caught) == warns


@pytest.mark.filterwarnings("error")
def test_bins_without_samples_are_not_counted():
    normalised = RatioNormalizer(0.0, 1.0)(torch.ones(4), torch.full((4,), 0.35))
    assert normalised.tolist() == pytest.approx([1.0] * 4, rel=1e-6)


def test_few_samples_and_no_running_mean_give_reverse_kl():
    """What the warning says: each bin's mean is its sample, and every weight is the same."""
    with pytest.warns(UserWarning, match="1 samples a bin"):
        ratio = RatioNormalizer(0.0, 1.0, bin_num=3)(RATIO, T)
    assert f_weight(ratio, "kl").tolist() == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)


def test_half_precision():
    """Ratios and means stay in float32, and times rounded up beyond the end are the last bin's."""
    normalizer = RatioNormalizer().to(torch.bfloat16)
    found = normalizer(torch.full((8,), 1.5).bfloat16(), torch.full((8,), 0.999).bfloat16())
    assert found.dtype == torch.float32
    assert normalizer.bins.dtype == torch.float32
    assert normalizer.bins[-1].item() == pytest.approx(1.5, rel=1e-6)
    assert found.tolist() == pytest.approx([1.0] * 8, abs=1e-5)


@pytest.mark.parametrize(
    ("ratio", "t", "message"),
    [
        ([1.0, math.nan], [0.1, 0.2], r"ratios: 1 of 2 are NaN.*at \[1\]"),
        ([1.0, math.inf], [0.1, 0.2], "clip them first"),
        ([1.0, -1.0], [0.1, 0.2], r"none may be negative, got -1 at \[1\]; clip"),
        ([1.0, 1.0], [0.1, math.nan], "times: 1 of 2 are NaN"),
        ([1.0, 1.0], [0.1], r"times: shape \[2\]"),
        ([[1.0], [1.0]], [0.1, 0.2], r"ratios \[B\]"),
        ([], [], r"ratios \[B\]"),
        ([1.0, 1.0], [0.1, 80.0], r"lie in \[0, 1\], got 80 at \[1\]; give t_min and t_max"),
        ([1.0, 1.0], [-0.1, 0.5], r"got -0\.1 at \[0\]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_changes_nothing(ratio, t, message):
    normalizer = RatioNormalizer(0.0, 1.0)
    with pytest.raises(ValueError, match=message):
        normalizer(torch.tensor(ratio), torch.tensor(t))
    assert normalizer.bins.tolist() == [1.0] * 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_min": 1.0}, "t_min < t_max"), ({"t_max": math.inf}, "t_min < t_max"),
        ({"t_min": math.nan}, "t_min < t_max"),
        ({"bin_num": 0}, "bin_num"), ({"bin_num": True}, "bin_num"),
        ({"ema_rate": 1.0}, "ema_rate"), ({"ema_rate": -0.1}, "ema_rate"), ({"ema_rate": math.nan}, "ema_rate"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        RatioNormalizer(**options)


def test_integers_are_no_ratios():
    with pytest.raises(TypeError, match="floating point"):
        RatioNormalizer()(torch.tensor([1, 2]), exactly(0.1, 0.2))
