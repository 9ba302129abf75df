"""A periodic box: images, neighbours and pairs, against all pairs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.physics.active_matter import (
    box_half_width,
    nearest_neighbors,
    pairs_within,
    wrap,
)

from .active_matter_cases import float64, scattered


def distances(x, half_width):
    apart = wrap(x[:, :, None] - x[:, None], half_width).norm(dim=-1)
    return apart + torch.eye(x.shape[1]) * 1e9


def test_check_5_wrapping():
    assert wrap(float64([-4.8, 3.9, -9.0]), 4.0).tolist() == pytest.approx([3.2, 3.9, -1.0])
    assert box_half_width(64, 0.5) == pytest.approx(0.5 * math.sqrt(64 * math.pi / 0.5))


@settings(max_examples=15)
@given(st.integers(2, 40), st.integers(1, 3), st.floats(0.3, 5.0), st.integers(0, 1000))
def test_neighbours_are_those_of_all_pairs(n, dimensions, half_width, seed):
    x = scattered(2, n, half_width, dimensions, seed)
    apart, count = distances(x, half_width), min(5, n - 1)
    number, found = nearest_neighbors(x, half_width, count)
    torch.testing.assert_close(found, apart.sort(-1).values[..., :count])
    torch.testing.assert_close(apart.gather(-1, number), found)
    reach = 0.7 * half_width
    first, second = pairs_within(x, half_width, reach)
    expected = {(b * n + i, b * n + j) for b, i, j in (apart < reach).nonzero().tolist() if i < j}
    assert {(min(p), max(p)) for p in zip(first.tolist(), second.tolist(), strict=True)} == expected


def test_neighbours_of_particles_at_one_place_leave_out_the_particle():
    x = torch.zeros(1, 6, 2, dtype=torch.float64)
    number, distance = nearest_neighbors(x, 1.0, 3)
    assert (number != torch.arange(6)[None, :, None]).all()
    assert distance.abs().max() == 0


def test_positions_at_the_border_are_neighbours_across_it():
    edge = float64([[[-4.0, 0.0], [4.0, 0.1], [np.nextafter(-4.0, -5.0), 0.2]]])
    number, distance = nearest_neighbors(edge, 4.0, 1)
    assert distance.max() < 0.11
    assert number.flatten().tolist() == [1, 0, 1] or number.flatten().tolist() == [1, 2, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("half_width", [3.7, 4.0, 0.1])
def test_what_is_wrapped_is_inside(dtype, half_width):
    x = (half_width * torch.tensor([1.0, -1.0, 3.0, 101.0, -7.0, 999.0, 0.3])).to(dtype).view(1, -1, 1)
    x = torch.cat([x, torch.nextafter(x, x * 2), torch.nextafter(x, x * 0)], 1)
    near = wrap(x, half_width)
    assert float(near.abs().max()) <= float(torch.tensor(half_width, dtype=dtype))
    for placed in (near, near.double() if dtype == torch.float32 else near):
        nearest_neighbors(placed, half_width, 1)
        pairs_within(placed, half_width, half_width)
