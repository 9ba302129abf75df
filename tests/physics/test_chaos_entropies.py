"""Sample and multiscale entropy: the sheet's numbers, all pairs compared, and what entropy does not depend on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.physics.chaos import box_pairs, kernel_pairs, multiscale_entropy, sample_entropy
from entrokit.physics.chaos.box_pairs import count_close_pairs
from entrokit.physics.chaos.kernel_pairs import sum_of_similarities


def chirp():
    k = torch.arange(240, dtype=torch.float64)
    return torch.sin(0.3 * k) + 0.5 * torch.sin(0.71 * k + 0.001 * k**2)


def all_pairs(points, tolerance):
    """Close pairs and summed similarities of ``[S, n, m]``, one pair after the other."""
    centred = points - points.mean(-1, keepdim=True)
    close, similar = [], []
    for own, mine, radius in zip(points, centred, tolerance, strict=True):
        i, j = torch.triu_indices(len(own), len(own), 1)
        close.append(int(((own[i] - own[j]).abs().amax(-1) <= radius).sum()))
        similar.append(float((-(mine[i] - mine[j]).abs().amax(-1) / radius).exp().sum()))
    return torch.tensor(close), torch.tensor(similar, dtype=torch.float64)


def test_check_4_the_sheets_sample_entropies():
    assert float(sample_entropy(chirp())) == pytest.approx(0.935796, abs=1e-6)
    assert float(sample_entropy(chirp(), fuzzy=True)) == pytest.approx(0.909279, abs=1e-6)


def test_check_4_the_sheets_multiscale_entropies():
    padded, dropped = multiscale_entropy(chirp()), multiscale_entropy(chirp(), edge="drop")
    first = torch.tensor([0.909279, 1.364842, 1.405021, 1.484082, 1.500346], dtype=torch.float64)
    assert padded.scales == tuple(range(1, 20))
    assert float(padded.index) == pytest.approx(0.873379, abs=1e-6)
    torch.testing.assert_close(padded.values[:5], first, atol=1e-6, rtol=0)
    assert float(dropped.index) == pytest.approx(0.844889, abs=1e-6)


def test_check_5_gaussian_noise(generator):
    x = torch.randn(4000, dtype=torch.float64, generator=generator)
    # Two points lie within r with probability p = erf(r / 2), whatever came before: the entropy is -ln p. Its standard
    # error is some sqrt((1 - p) / p / pairs) = 0.01, pairs (n p)² / 2 of them; 0.05 is the sheet's.
    assert float(sample_entropy(x)) == pytest.approx(-math.log(math.erf(0.1)), abs=0.05)


@pytest.mark.parametrize("fuzzy", [False, True])
def test_scale_and_offset_do_not_matter(fuzzy):
    x = chirp()
    torch.testing.assert_close(sample_entropy(-3 * x + 7, fuzzy=fuzzy), sample_entropy(x, fuzzy=fuzzy))


@pytest.mark.parametrize("kind", ["continuous", "ties"])
@pytest.mark.parametrize("n", [2, 3, 16, 17, 61, 130])
def test_trees_find_what_all_pairs_give(n, kind, generator, monkeypatch):
    monkeypatch.setattr(box_pairs, "_FEW", 1)
    monkeypatch.setattr(kernel_pairs, "_FEW", 1)
    tolerance = torch.tensor([0.25, 1.0, 2.0], dtype=torch.float64)
    for m in (1, 2, 3):
        if kind == "ties":
            points = torch.randint(0, 4, (3, n, m), generator=generator).double()
        else:
            points = torch.randn(3, n, m, generator=generator, dtype=torch.float64)
        close, similar = all_pairs(points, tolerance)
        assert count_close_pairs(points, tolerance).equal(close)
        torch.testing.assert_close(sum_of_similarities(points, tolerance), similar, rtol=1e-12, atol=0)


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.integers(-5, 5), min_size=6, max_size=40), tolerance=st.integers(1, 4), m=st.integers(1, 3))
def test_any_series_of_whole_numbers(values, tolerance, m):
    x = torch.tensor(values, dtype=torch.float64)
    radius = torch.tensor([float(tolerance)], dtype=torch.float64)
    points = x.unfold(0, m, 1)[None]
    before = box_pairs._FEW, kernel_pairs._FEW
    box_pairs._FEW = kernel_pairs._FEW = 1
    try:
        close, similar = count_close_pairs(points, radius), sum_of_similarities(points, radius)
    finally:
        box_pairs._FEW, kernel_pairs._FEW = before
    expected, summed = all_pairs(points, radius)
    assert close.equal(expected)
    torch.testing.assert_close(similar, summed, rtol=1e-12, atol=0)


def test_rounding_of_a_sum_puts_no_pair_into_two_kinds():
    g = torch.Generator().manual_seed(0)
    # Single units of rounding, so that sums of two coordinates tie where both of them fall.
    v = 0.3 + torch.randint(0, 7, (60,), generator=g).double() * 2.0**-54
    w = 0.9 + torch.randint(0, 7, (60,), generator=g).double() * 2.0**-53
    centred = torch.stack([v, -v - w, w], -1)
    for order in (torch.arange(60), v.argsort(), v.argsort(descending=True)):
        assert float(kernel_pairs._in_a_plane(centred[order][None])) == pytest.approx(60 * 59 / 2, rel=1e-12)


def test_pairs_far_apart_neither_overflow_nor_vanish(monkeypatch):
    monkeypatch.setattr(kernel_pairs, "_FEW", 1)
    points = torch.tensor([[[0.0, 0, 1], [5e5, -3e5, 1e5], [5e5, -3e5, 1e5 + 0.3], [-1e6, 2e6, 0]]]).double()
    radius = torch.tensor([0.1], dtype=torch.float64)
    _, expected = all_pairs(points, radius)
    # A running sum is kept as a logarithm of up to 3e7, so that it is known to 3e7 units of rounding.
    torch.testing.assert_close(sum_of_similarities(points, radius), expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize("fuzzy", [False, True])
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_every_length_of_template_against_the_definition(m, fuzzy, generator):
    x = torch.randn(2, 80, generator=generator, dtype=torch.float64).cumsum(1)
    tolerance = torch.tensor([1.5, 2.5], dtype=torch.float64)
    windows = x.unfold(1, m + 1, 1)
    which = 1 if fuzzy else 0
    a, b = (all_pairs(points, tolerance)[which].double() for points in (windows[..., :m], windows))
    torch.testing.assert_close(sample_entropy(x, m, tolerance, fuzzy=fuzzy), -(b / a).log(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("fuzzy", [False, True])
def test_a_long_series_goes_through_the_trees(fuzzy, generator):
    x = torch.randn(2, 700, generator=generator, dtype=torch.float64)
    radius = 0.2 * x.std(1)
    windows = x.unfold(1, 3, 1)
    which = 1 if fuzzy else 0
    a, b = (all_pairs(points, radius)[which].double() for points in (windows[..., :2], windows))
    torch.testing.assert_close(sample_entropy(x, fuzzy=fuzzy), -(b / a).log(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("fuzzy", [False, True])
def test_long_templates_of_a_long_series(fuzzy, generator, monkeypatch):
    """By SciPy's tree, or over all pairs in chunks, of which there are several here."""
    monkeypatch.setattr(kernel_pairs, "_ENTRIES", 200_000)
    x = torch.randn(1, 600, generator=generator, dtype=torch.float64)
    radius = 0.8 * x.std(1)
    windows = x.unfold(1, 4, 1)
    which = 1 if fuzzy else 0
    a, b = (all_pairs(points, radius)[which].double() for points in (windows[..., :3], windows))
    torch.testing.assert_close(sample_entropy(x, 3, radius, fuzzy=fuzzy), -(b / a).log(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("options", [{}, {"fuzzy": False}, {"edge": "drop"}, {"composite": False}], ids=str)
def test_a_batch_is_its_series(options, generator):
    x = torch.randn(2, 3, 60, generator=generator, dtype=torch.float64)
    tolerance = torch.linspace(0.8, 1.6, 6, dtype=torch.float64).view(2, 3)
    together = multiscale_entropy(x, scales=4, tolerance=tolerance, **options)
    for i in range(2):
        for j in range(3):
            alone = multiscale_entropy(x[i, j], scales=4, tolerance=tolerance[i, j], **options)
            torch.testing.assert_close(together.values[i, j], alone.values)
            torch.testing.assert_close(together.index[i, j], alone.index)


@pytest.mark.parametrize("edge", ["pad", "drop"])
def test_scales_are_means_over_offsets_of_blocks(edge):
    x, scale = chirp()[:50], 4
    tolerance = 0.2 * x.std()
    entropies = []
    for k in range(scale):
        tail = x[k:]
        if edge == "pad":
            tail = torch.cat([tail, tail[-1:].repeat(-len(tail) % scale)])
        blocks = tail[: len(tail) // scale * scale].view(-1, scale).mean(1)[: 50 // scale]
        entropies.append(sample_entropy(blocks, tolerance=tolerance, fuzzy=True))
    found = multiscale_entropy(x, scales=[1, scale], edge=edge)
    torch.testing.assert_close(found.values[1], torch.stack(entropies).mean())
    torch.testing.assert_close(found.values[0], sample_entropy(x, fuzzy=True))


def test_one_offset_is_the_plain_kind():
    x = chirp()
    found = multiscale_entropy(x, scales=[1, 3], composite=False, fuzzy=False)
    expected = sample_entropy(x.view(-1, 3).mean(1), tolerance=0.2 * x.std())
    torch.testing.assert_close(found.values[1], expected)


def test_undefined_scales_are_dropped_and_counted():
    found = multiscale_entropy(chirp(), scales=15, tolerance=0.05, fuzzy=False, composite=False)
    defined = found.values[found.values.isfinite()]
    assert int(found.dropped) == 15 - len(defined) > 0
    assert float(found.values[~found.values.isfinite()].amin()) == math.inf
    assert float(found.index) == pytest.approx(float(torch.trapezoid(defined)) / len(defined))


def test_arrays_and_other_dtypes_are_taken():
    x = chirp()
    expected = sample_entropy(x)
    assert float(sample_entropy(x.numpy())) == float(expected)
    assert float(sample_entropy(x.tolist())) == float(expected)
    single = sample_entropy(x.float())
    assert single.dtype == torch.float64
    assert float(single) == float(sample_entropy(x.float().double()))
    assert float(sample_entropy(np.arange(200) % 7)) == pytest.approx(0.0, abs=0.02)


def test_nothing_like_it_one_point_longer_is_infinite():
    assert float(sample_entropy([0.0, 0.0, 5.0, 0.0, 0.0, 9.0, 20.0], tolerance=0.1)) == math.inf


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        ([1.0, 2.0, 3.0], {}, "at least 4 points"),
        ([], {}, "at least 4 points"),
        (2.0, {}, "at least 4 points"),
        ([1.0] * 9, {}, "is constant"),
        ([[1.0, 2, 1, 2, 1], [3.0] * 5], {}, r"series at \[1\] is constant"),
        ([1.0, math.nan, 2.0, 3.0, 1.0], {}, r"nan at index \[1\]"),
        ([1.0, math.inf, 2.0, 3.0, 1.0], {}, r"inf at index \[1\]"),
        ([1e200, -1e200, 1e200, 0.0, 1.0], {}, "beyond what float64 holds"),
        ([1e-200, 0.0, 2e-200, 0.0, 1e-200], {"fuzzy": True}, "beyond what float64 holds"),
        ([True, False] * 5, {}, "real numbers"),
        (["a", "b"], {}, "array of numbers"),
        ([1.0, 2, 1, 2, 1, 3], {"m": 0}, "m: a whole number"),
        ([1.0, 2, 1, 2, 1, 3], {"m": 1.5}, "m: a whole number"),
        ([1.0, 2, 1, 2, 1, 3], {"tolerance": 0.0}, "above 0"),
        ([1.0, 2, 1, 2, 1, 3], {"tolerance": [0.1, 0.2]}, "one number or one a series"),
        ([1.0, 2, 4, 8, 16, 32], {"tolerance": 0.01}, "undefined; a longer series"),
    ],
)
def test_bad_series_are_named(x, options, message):
    with pytest.raises(ValueError, match=message):
        sample_entropy(x, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": 1}, "two of them"),
        ({"scales": [1, 70]}, "blocks of 70 leave less than 4"),
        ({"scales": [1, 60], "edge": "drop"}, "blocks of 60"),
        ({"scales": [0, 2]}, "scales: a whole number"),
        ({"edge": "wrap"}, "pad or drop"),
        ({"tolerance": 1e-9, "fuzzy": False, "scales": 3}, "no pair of templates is alike"),
    ],
    ids=str,
)
def test_bad_scales_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        multiscale_entropy(chirp(), **options)


def test_too_short_for_default_scales():
    with pytest.raises(ValueError, match="no two default scales; at least 36"):
        multiscale_entropy(chirp()[:35])
    assert multiscale_entropy(chirp()[:36]).scales == (1, 2)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
