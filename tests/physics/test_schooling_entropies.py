"""Worked numbers of the seven entropies, and what must not change them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.physics.schooling import (
    INDEX_WEIGHTS,
    oceanic_schooling_index,
    polarization,
    polarization_entropy,
    rotation,
    school_entropies,
    spread,
)
from entrokit.physics.schooling import headings as heading_bins
from entrokit.physics.schooling.histogram import histogram, normalised_entropy

from .schooling_cases import fibonacci, ring, scattered, school

# Half of the last digit of the sheet's numbers.
DIGITS = 5.1e-7


def expect(found, **numbers):
    for name, number in numbers.items():
        assert float(found.as_dict()[name]) == pytest.approx(number, abs=DIGITS), name


def test_scattered_agents_with_even_headings():
    x, v = scattered(64, 10.0), fibonacci(64)
    torch.testing.assert_close(
        x[0], torch.tensor([3.191725, 1.710436, 0.497005], dtype=torch.float64), atol=1e-6, rtol=0
    )
    found = school_entropies(x, v, 10.0)
    expect(
        found,
        school_cohesion_entropy=0.251654,
        polarization_entropy=0.725970,
        depth_stratification_entropy=0.982560,
        angular_momentum_entropy=0.688360,
        nearest_neighbor_entropy=0.144672,
        velocity_correlation_entropy=0.994266,
        school_shape_entropy=0.997622,
    )
    assert float(found.index()) == pytest.approx(0.675440, abs=DIGITS)
    assert float(polarization(v)) == pytest.approx(0.001590, abs=DIGITS)
    assert float(rotation(x, v)) == pytest.approx(0.068346, abs=DIGITS)
    assert float(spread(x)) == pytest.approx(5.041961, abs=DIGITS)


@pytest.mark.parametrize("way", [(1, 0, 0), (1, 1, 1), (1, 2, 3), (0.3, -0.7, 0.2), (-1, 0, 0), (0, 0, -1)], ids=str)
def test_one_common_heading_is_no_disorder(way):
    x = scattered(64, 10.0)
    found = school_entropies(x, torch.tensor(way, dtype=torch.float64).expand(64, 3), 10.0)
    for entropy in (found.polarization_entropy, found.velocity_correlation_entropy):
        assert float(entropy) == 0.0
        assert not torch.signbit(entropy)
    if way == (1, 0, 0):
        expect(found, angular_momentum_entropy=0.762721)
        assert float(found.index()) == pytest.approx(0.299150, abs=DIGITS)


def test_a_perfect_mill():
    x, v = ring()
    found = school_entropies(x, v, 10.0)
    assert float(rotation(x, v)) == pytest.approx(1.0, abs=1e-12)
    assert float(polarization(v)) == pytest.approx(0.0, abs=1e-12)
    zeros = {"school_cohesion_entropy": 0.0, "angular_momentum_entropy": 0.0, "nearest_neighbor_entropy": 0.0}
    expect(found, **zeros, polarization_entropy=0.553485, school_shape_entropy=math.log(2) / math.log(3))


def test_pairs_on_an_edge_lie_in_the_bin_above_it():
    """Of 40 on a ring, 40 pairs are at right angles: their products are 0, up to a rounding, and 0 is an edge."""
    _, v = ring()
    counts = [0] * 20
    for apart in range(1, 21):
        product = 0.0 if apart == 10 else math.cos(math.radians(9 * apart))
        counts[min(int(10 * (product + 1)), 19)] += 40 if apart < 20 else 20
    assert heading_bins.alignment_counts(v[None])[0].tolist() == counts
    share = np.array(counts) / sum(counts)
    exact = -(share[share > 0] * np.log(share[share > 0])).sum() / math.log(20)
    assert exact == pytest.approx(0.881142, abs=DIGITS)
    assert float(school_entropies(*ring(), 10.0).velocity_correlation_entropy) == pytest.approx(exact, abs=1e-12)


def test_four_agents():
    x = torch.tensor([[1, 1, 1], [1, 1, 2], [5, 5, 5], [5, 5, 7]])
    v = torch.tensor([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1]])
    expect(
        school_entropies(x, v, 10.0),
        school_cohesion_entropy=math.log(2) / math.log(25),
        depth_stratification_entropy=0.511916,
        school_shape_entropy=0.114447,
        nearest_neighbor_entropy=0.5,
        polarization_entropy=0.216636,
        velocity_correlation_entropy=0.150401,
    )


def test_variations_are_of_all_the_k_nearest_and_by_their_number():
    x, v = school(60)
    apart = (x[:, None] - x).numpy()
    near = np.sort(np.linalg.norm(apart - 10.0 * np.round(apart / 10.0), axis=-1), 1)[:, 1:8]

    def entropy(ddof):
        share = np.histogram(near.std(1, ddof=ddof) / near.mean(1), 20, (0.0, 2.0))[0] / 60
        return -(share[share > 0] * np.log(share[share > 0])).sum() / math.log(20)

    found = float(school_entropies(x, v, 10.0, k=7).nearest_neighbor_entropy)
    assert found == pytest.approx(entropy(0), abs=1e-12)
    assert abs(entropy(1) - entropy(0)) > 0.01


@settings(max_examples=25, deadline=None)
@given(agents=st.integers(1, 40), seed=st.integers(0, 10_000))
def test_speeds_order_and_units_do_not_matter(agents, seed):
    x, v = school(agents, seed=seed)
    g = torch.Generator().manual_seed(seed)
    found = school_entropies(x, v, 10.0).as_dict()
    factor = 0.1 + 3 * torch.rand(agents, 1, generator=g, dtype=torch.float64)
    order = torch.randperm(agents, generator=g)
    others = (
        school_entropies(x, factor * v, 10.0),
        school_entropies(x[order], v[order], 10.0),
        # A power of two, so that no value moves over an edge.
        school_entropies(4 * x, v, 40.0),
    )
    for other in others:
        for name, value in other.as_dict().items():
            torch.testing.assert_close(value, found[name], atol=1e-9, rtol=0)
            assert 0.0 <= float(value) <= 1.0 + 1e-12


def test_a_trajectory_is_one_call(monkeypatch):
    x, v = school(3, 2, 30)
    whole = school_entropies(x, v, 10.0)
    monkeypatch.setattr(heading_bins, "AT_ONCE", 100)
    for i in range(3):
        for j in range(2):
            one = school_entropies(x[i, j], v[i, j], 10.0)
            for name, value in one.as_dict().items():
                assert whole.as_dict()[name].shape == (3, 2)
                torch.testing.assert_close(whole.as_dict()[name][i, j], value, atol=1e-12, rtol=0)


@pytest.mark.parametrize("rows", [1, 64, 1000, 2**16], ids=str)
def test_pairs_are_counted_once_however_they_are_cut(rows, monkeypatch):
    _, v = school(2, 50)
    monkeypatch.setattr(heading_bins, "AT_ONCE", rows)
    u = v / v.norm(dim=-1, keepdim=True)
    counts = heading_bins.alignment_counts(u)
    assert counts.sum(1).tolist() == [50 * 49 // 2] * 2
    i, j = torch.triu_indices(50, 50, 1)
    for own, frame in zip(counts, u, strict=True):
        products = (frame[i] * frame[j]).sum(-1)
        assert own.tolist() == torch.histc(products, 20, -1.0, 1.0).tolist()


def test_histograms_close_both_ends_and_tell_what_falls_outside():
    found = histogram(torch.tensor([[0.0, 0.25, 1.0, 1.0 + 1e-15, 1.5, -0.2]], dtype=torch.float64), 0.0, 1.0, 4)
    assert found.counts.tolist() == [[1, 1, 0, 2]]
    assert found.dropped.item() == pytest.approx(2 / 6)


def test_what_nothing_falls_into_is_undefined_and_said():
    x = torch.tensor([[0.0, 0, 0], [5, 5, 5]])
    found = school_entropies(x, torch.ones(2, 3), 10.0)
    # The diagonal is 8.7, beyond half of the box.
    assert found.dropped["school_cohesion_entropy"].item() == 1.0
    assert found.school_cohesion_entropy.item() == 0.5
    assert math.isnan(school_entropies(x, torch.ones(2, 3), 10.0, undefined=math.nan).school_cohesion_entropy)


def test_all_agents_at_one_point():
    found = school_entropies(torch.full((10, 3), 5.0), fibonacci(10), 10.0)
    assert found.school_cohesion_entropy.item() == 0.0
    assert found.school_shape_entropy.item() == pytest.approx(1.0)


def test_isotropic_headings_tend_to_three_limits():
    v = fibonacci(400_000)
    for angle, limit in (("official", 0.946000), ("none", 0.976117), ("equal_area", 1.0)):
        assert float(polarization_entropy(v, solid_angle=angle)) == pytest.approx(limit, abs=5e-4), angle


def test_momenta_of_isotropic_headings_tend_to_a_limit_and_those_of_a_radial_school_have_none():
    z = fibonacci(400_000)[:, 2]
    found = histogram((1 - z * z).sqrt()[None], 0.0, 1.0, 20)
    entropy = normalised_entropy(found.counts, 20, correction="none", undefined=0.5)
    assert float(entropy) == pytest.approx(0.802117, abs=5e-4)
    u = fibonacci(50)
    assert school_entropies(5 + 2 * u, u, 10.0).angular_momentum_entropy.item() == 0.0


def test_walls_and_periodic_boxes_differ_by_the_way_through_the_edge():
    x = torch.tensor([[0.2, 5, 5], [9.8, 5, 5], [3.1, 5, 5], [6.9, 5, 5]])
    v = torch.ones(4, 3)
    # Distances to the nearest: 0.4, 0.4, 2.9, 2.9 through the edge; 2.9 for all with walls.
    assert float(school_entropies(x, v, 10.0).school_cohesion_entropy) == pytest.approx(
        -(0.5 * math.log(0.5) * 2) / math.log(25), abs=1e-6
    )
    assert float(school_entropies(x, v, 10.0, periodic=False).school_cohesion_entropy) == 0.0


def test_miller_madow_adds_bins_over_twice_the_count():
    weights = torch.tensor([[4.0, 4.0, 0.0]])
    plain, mended = (
        float(normalised_entropy(weights, 3, correction=c, undefined=0.5)) for c in ("none", "miller_madow")
    )
    assert plain == pytest.approx(math.log(2) / math.log(3))
    assert mended - plain == pytest.approx(1 / 16 / math.log(3))


def test_the_index_is_a_weighted_sum():
    assert sum(INDEX_WEIGHTS.values()) == pytest.approx(1.0)
    found = school_entropies(*school(20), 10.0)
    by_hand = sum(w * float(found.as_dict()[name]) for name, w in INDEX_WEIGHTS.items())
    assert float(found.index()) == pytest.approx(by_hand, abs=1e-12)
    assert float(found.index({"polarization_entropy": 1.0})) == pytest.approx(float(found.polarization_entropy))
    for weights in (
        {},
        {"speed": 1.0},
        {"polarization_entropy": 0.7},
        {"polarization_entropy": 2.0, "school_shape_entropy": -1.0},
    ):
        with pytest.raises(ValueError, match="weights"):
            oceanic_schooling_index(found.as_dict(), weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_momenta_of_a_mill_stay_in_their_range_in_float32(dtype):
    x, round_ = ring(200)
    outwards = (x - 5.0) / 2.0
    half = torch.where((torch.arange(200) % 2 == 0)[:, None], round_, outwards)
    # Half of the momenta are 1 and half 0, at the ends of the range.
    found = school_entropies(x.to(dtype), half.to(dtype), 10.0)
    assert float(found.angular_momentum_entropy) == pytest.approx(math.log(2) / math.log(20), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_speeds_beyond_the_dtype_are_named_and_make_no_disorder(dtype):
    v = torch.ones(4, 3, dtype=dtype)
    v[2] = torch.finfo(dtype).max
    with pytest.raises(ValueError, match=r"velocities: 1 are longer than .* holds, the first is that of agent 2"):
        polarization(v)
