"""The critical line, rectangles, and the search by sampling."""

import math

import mpmath
import pytest
import torch

from entrokit.search.zeta import (
    MissedZerosError,
    ZeroOnBoundaryError,
    count_zeros,
    find_critical_zeros,
    hardy_z,
    riemann_siegel_theta,
    search_zero,
    smooth_count,
    zeta,
)
from entrokit.search.zeta.line import _brackets
from entrokit.search.zeta.sampled import _modulus

FIRST = 14.134725141734695


def test_check_4_z_and_theta():
    assert hardy_z([10.0, 17.0, 20.0]).tolist() == pytest.approx([-1.549195, 2.142712, 1.147842], abs=1e-6)
    assert float(riemann_siegel_theta(20.0)) == pytest.approx(1.186895, abs=1e-6)


def test_z_and_theta_agree_with_mpmath():
    t = torch.linspace(-200.0, 200.0, 41, dtype=torch.float64)
    theta = torch.tensor([float(mpmath.siegeltheta(x)) for x in t.tolist()], dtype=torch.float64)
    # θ is a difference of terms as large as (t/2) ln t.
    assert (riemann_siegel_theta(t) - theta).abs().max() < 1e-12
    z = torch.tensor([float(mpmath.siegelz(x)) for x in t.tolist()], dtype=torch.float64)
    assert (hardy_z(t) - z).abs().max() < 1e-12


def test_symmetries():
    t = torch.linspace(0.0, 60.0, 31, dtype=torch.float64)
    assert torch.equal(riemann_siegel_theta(-t), -riemann_siegel_theta(t))
    torch.testing.assert_close(hardy_z(-t), hardy_z(t), atol=1e-13, rtol=0)
    line = zeta(torch.complex(torch.full_like(t, 0.5), t))
    torch.testing.assert_close(hardy_z(t).abs(), line.abs(), atol=1e-13, rtol=0)


@pytest.mark.parametrize(
    ("height", "signs", "smooth"),
    [(20.0, 1, 1.377800), (30.0, 3, 3.564877), (50.0, 10, 9.422914), (100.0, 29, 29.002410)],
    ids=["20", "30", "50", "100"],
)
def test_check_5_changes_of_sign(height, signs, smooth):
    grid = hardy_z(torch.linspace(1.0, height, round((height - 1.0) / 0.05) + 1, dtype=torch.float64))
    assert int((grid[1:].sign() != grid[:-1].sign()).sum()) == signs
    assert float(smooth_count(height)) == pytest.approx(smooth, abs=1e-6)
    assert abs(signs - smooth) < 1


def test_zeros_up_to_a_hundred():
    found = find_critical_zeros(1.0, 100.0)
    exact = torch.tensor([float(mpmath.zetazero(i + 1).imag) for i in range(29)], dtype=torch.float64)
    assert len(found) == 29
    assert (found - exact).abs().max() < 1e-12
    assert len(find_critical_zeros(3.0, 12.0)) == 0


def test_a_window_narrower_than_a_step():
    assert find_critical_zeros(FIRST - 0.01, FIRST + 0.01).tolist() == pytest.approx([FIRST], abs=1e-12)
    assert len(find_critical_zeros(14.15, 14.16)) == 0


def test_a_coarse_grid_is_refined_until_the_count_agrees():
    """Zeros 48.005 and 49.774 lie in one step of 4."""
    assert torch.equal(find_critical_zeros(46.0, 50.0, step=4.0), find_critical_zeros(46.0, 50.0))


@pytest.mark.parametrize(("step", "width"), [(0.5, 0.5), (0.3, 8 / 27), (8.0, 8.0), (9.0, 8.0)])
def test_a_grid_is_as_fine_as_its_step(step, width):
    low, high = _brackets(10.0, 18.0, step)
    assert low < FIRST < high
    assert float(high - low) == pytest.approx(width, rel=1e-12)


def test_a_grid_may_have_many_points():
    assert len(find_critical_zeros(14.15, 14.16, step=9.5e-8)) == 0


def test_a_grid_is_halved_six_times():
    """In steps of 4 from 10 on each of three zeros has its own, and 256 is 64 times as much."""
    assert len(find_critical_zeros(10.0, 26.0, step=256.0)) == 3
    with pytest.raises(MissedZerosError, match="1 times .* on a grid of 8, and the argument principle counts 3"):
        find_critical_zeros(10.0, 26.0, step=512.0)


def test_zeros_closer_than_the_finest_grid_are_missed_and_said(monkeypatch):
    monkeypatch.setattr("entrokit.search.zeta.line._HALVINGS", 0)
    with pytest.raises(MissedZerosError, match="changes its sign 0 times .* counts 2 zeros: give a smaller step"):
        find_critical_zeros(46.0, 50.0, step=4.0)


@pytest.mark.parametrize(
    ("sigma", "t", "zeros"),
    [
        ((0.0, 1.0), (10.0, 30.0), 3),
        ((0.6, 1.0), (10.0, 30.0), 0),
        ((0.4, 0.6), (10.0, 30.0), 3),
        ((0.0, 1.0), (10.0, 50.0), 10),
        ((0.0, 1.0), (3.0, 12.0), 0),
        ((0.0, 1.5), (-15.0, 15.0), 2),
        ((0.5, 2.0), (-1.0, 1.0), 0),
        ((0.4999, 0.5001), (FIRST - 1e-4, FIRST + 1e-4), 1),
        ((0.0, 1.0 - 1e-5), (-1.0, 1.0), 0),
        ((0.0, 2.0), (-1e-5, 1.0), 0),
    ],
    ids=[
        "30",
        "right-of-it",
        "around-it",
        "50",
        "before-the-first",
        "both-signs",
        "pole",
        "tiny",
        "by-the-pole",
        "over",
    ],
)
def test_check_6_rectangles(sigma, t, zeros):
    assert count_zeros(sigma, t) == zeros


@pytest.mark.parametrize("start", [7004.5062, 7004.5066, 7004.507], ids=["below", "middle", "above"])
def test_a_close_pair_of_zeros_is_not_stepped_over(start):
    """Lehmer's pair, 0.0377 apart: a step of 0.05 past both, symmetric, leaves ζ nearly as it was, a turn further."""
    assert count_zeros((0.0, 0.499), (start, start + 1.0)) == 0
    assert count_zeros((0.499, 1.0), (start, start + 1.0)) == 2


@pytest.mark.parametrize(
    ("sigma", "t", "where"),
    [
        ((0.0, 0.5), (10.0, 20.0), r"near 0\.500000\+14\.134725j: move that side"),
        ((0.0, 1.0), (FIRST, 20.0), r"near 0\.500000\+14\.134725j: move that side"),
        ((0.0, 0.5 + 1e-9), (10.0, 20.0), r"near 0\.500000\+14\.134725j"),
        ((0.0, 1.0), (-1.0, 5.0), "the pole s = 1"),
        ((0.0, 2.0), (0.0, 5.0), "the pole s = 1"),
        ((0.0, 1.0 - 1e-9), (-1.0, 5.0), "the pole s = 1 lies on the boundary .* or within 1e-07"),
        ((0.0, 1.0 + 1e-9), (-1.0, 5.0), "the pole s = 1"),
        ((0.0, 2.0), (1e-9, 5.0), "the pole s = 1"),
    ],
    ids=["side", "bottom", "beside", "pole-side", "pole-bottom", "pole-left", "pole-right", "pole-above"],
)
def test_a_zero_on_the_boundary_is_named(sigma, t, where):
    with pytest.raises(ZeroOnBoundaryError, match=where):
        count_zeros(sigma, t)


@pytest.mark.parametrize(
    ("window", "zero"),
    [((10.0, 18.0), FIRST), ((18.0, 23.0), 21.022039638771555), ((23.0, 28.0), 25.010857580145688)],
    ids=["first", "second", "third"],
)
def test_check_7_sampling_ends_on_the_zero(window, zero):
    found = search_zero(*window, generator=torch.Generator().manual_seed(0))
    assert found.accepted
    assert found.zeros_around == 1
    assert abs(found.s.real - 0.5) < 1e-8
    assert abs(found.s.imag - zero) < 1e-6
    assert 25 <= len(found.history) <= 37


def test_check_7_where_there_is_no_zero_it_is_refused():
    found = search_zero(3.0, 12.0, generator=torch.Generator().manual_seed(0))
    assert not found.accepted
    assert found.s == 3j
    assert found.modulus == pytest.approx(0.440794, abs=1e-6)
    assert found.zeros_around is None
    assert "is no zero" in found.why


def test_of_two_zeros_a_run_finds_one():
    assert count_zeros((0.0, 1.0), (20.0, 26.0)) == 2
    found = search_zero(20.0, 26.0, generator=torch.Generator().manual_seed(0))
    assert found.accepted
    assert min(abs(found.s.imag - 21.022039638771555), abs(found.s.imag - 25.010857580145688)) < 1e-6


def test_the_pole_is_no_minimum():
    """Its window holds no zero, and the sampler may draw s = 1 itself."""
    found = search_zero(0.0, 3.0, generator=torch.Generator().manual_seed(0), start=(1.0, 1e-300))
    assert math.isfinite(found.modulus)
    assert not found.accepted


@pytest.mark.parametrize(
    "call",
    [
        lambda: count_zeros((1.0, 0.0), (1.0, 2.0)),
        lambda: count_zeros((0.5, 0.5), (1.0, 2.0)),
        lambda: count_zeros((-0.5, 1.0), (1.0, 2.0)),
        lambda: count_zeros((0.0, math.inf), (1.0, 2.0)),
        lambda: find_critical_zeros(5.0, 5.0),
        lambda: find_critical_zeros(-1.0, 5.0),
        lambda: find_critical_zeros(1.0, 5.0, step=0.0),
        lambda: search_zero(5.0, 4.0, generator=torch.Generator()),
        lambda: hardy_z(math.nan),
        lambda: hardy_z(20_000.0),
        lambda: count_zeros((0.0, 1.0), (1.0, 1e300)),
        lambda: count_zeros((0.0, 1.0), (-10_001.0, 1.0)),
        lambda: find_critical_zeros(1.0, 1e300),
        lambda: find_critical_zeros(1.0, 2.0, step=1e-300),
        lambda: find_critical_zeros(1.0, 2.0, step=math.nan),
        lambda: search_zero(1.0, 10_001.0, generator=torch.Generator()),
        lambda: riemann_siegel_theta(1e308),
        lambda: smooth_count([1.0, -1.1e150]),
    ],
    ids=[
        "reversed",
        "flat",
        "left-of-0",
        "infinite",
        "empty",
        "below-0",
        "step",
        "window",
        "nan",
        "high",
        "box-high",
        "box-low",
        "endless",
        "step-tiny",
        "step-nan",
        "window-high",
        "theta-high",
        "count-low",
    ],
)
def test_what_cannot_be_is_refused(call):
    with pytest.raises(ValueError, match=r"needs|NaN|finite|above|step"):
        call()


def test_single_precision_is_refused():
    with pytest.raises(TypeError, match="double precision"):
        hardy_z(torch.tensor(20.0))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: count_zeros(0.5, (1.0, 2.0)), r"sigma must be a pair \(low, high\), got 0\.5"),
        (lambda: count_zeros((0.0, 1.0), (1.0, "2")), "t's high must be a number, got '2'"),
        (lambda: find_critical_zeros([1.0], 5.0), r"t0 must be a number, got \[1\.0\]"),
        (lambda: search_zero(1.0, 5.0, generator=0), "generator must be a torch.Generator"),
        (lambda: search_zero(1.0, 5.0, generator=torch.Generator(), start=0.7), "start is"),
        (lambda: hardy_z("17"), "t takes numbers, got '17'"),
        (lambda: hardy_z(17.0 + 1j), "t takes real numbers"),
        (lambda: hardy_z(torch.tensor(17.0, dtype=torch.complex128)), "t takes real numbers"),
    ],
    ids=["pair", "text", "list", "generator", "start", "z-text", "z-complex", "z-complex-dtype"],
)
def test_what_is_no_number_is_named(call, said):
    with pytest.raises(TypeError, match=said):
        call()


def test_a_rectangle_may_be_as_wide_as_one_likes():
    """Where σ > 1 there is no zero, so that 1e9 is no farther than 2, and as quick."""
    assert count_zeros((0.0, 1e9), (10.0, 30.0)) == 3
    assert count_zeros((0.5, 1e300), (-1.0, 1.0)) == 0, "the pole counts as none"
    assert count_zeros((2.0, 1e9), (10.0, 30.0)) == 0
    assert count_zeros((1.5, 2.5), (10.0, 30.0)) == 0
    assert count_zeros((2.0, 3.0), (-10_000.0, 10_000.0)) == 0


@pytest.mark.parametrize("t", [1e5, 1e14, 1e100, 1e150])
def test_theta_is_right_as_far_as_it_goes(t):
    """To the rounding of a few terms, each as large as itself."""
    with mpmath.workdps(180):
        exact = mpmath.siegeltheta(t)
    assert float(riemann_siegel_theta(t)) == pytest.approx(float(exact), rel=8 * 2.0**-53)
    assert float(riemann_siegel_theta(-t)) == -float(riemann_siegel_theta(t))


def seeded():
    return torch.Generator().manual_seed(0)


def test_settings_of_a_search_reach_the_sampler():
    found = search_zero(10.0, 18.0, generator=seeded(), n=50, elite=0.2, max_iter=3)
    assert [step.elite for step in found.history] == [10, 10, 10]
    slow = search_zero(10.0, 18.0, generator=seeded(), n=50, elite=0.2, max_iter=3, smoothing=0.1)
    assert slow.history[1].spread > found.history[1].spread
    # Of 400 draws a standard deviation is known to a twenty-eighth; six of them.
    narrow = search_zero(10.0, 10.004, generator=seeded(), start=(0.5, 0.01), max_iter=1)
    assert narrow.history[0].spread == pytest.approx(0.01, rel=6 / 28)
    high = search_zero(10.0, 18.0, generator=seeded(), start=(0.5, 0.01), max_iter=1)
    assert high.history[0].spread == pytest.approx(2.0, rel=6 / 28)


def test_a_search_stays_in_the_strip(monkeypatch):
    """Whatever is looked for lies to the right, or to the left, where the rectangle around it is cut off at 0."""
    monkeypatch.setattr("entrokit.search.zeta.sampled._modulus", lambda x: 2.0 - x[:, 0])
    assert search_zero(10.0, 18.0, generator=seeded()).s.real == 1.0
    monkeypatch.setattr("entrokit.search.zeta.sampled._modulus", lambda x: x[:, 0])
    left = search_zero(10.0, 18.0, generator=seeded())
    assert left.s.real == 0.0
    assert (left.zeros_around, left.accepted, left.why) == (0, False, "0 zeros around it")


def test_a_zero_is_accepted_for_one_zero_around_it_alone(monkeypatch):
    monkeypatch.setattr("entrokit.search.zeta.sampled.count_zeros", lambda sigma, t: 2)
    found = search_zero(10.0, 18.0, generator=seeded())
    assert (found.zeros_around, found.accepted, found.why) == (2, False, "2 zeros around it")

    def on_it(sigma, t):
        raise ZeroOnBoundaryError("zeta is 0 on the boundary")

    monkeypatch.setattr("entrokit.search.zeta.sampled.count_zeros", on_it)
    found = search_zero(10.0, 18.0, generator=seeded())
    assert (found.zeros_around, found.accepted, found.why) == (None, False, "zeta is 0 on the boundary")


def test_a_small_modulus_is_no_zero(monkeypatch):
    monkeypatch.setattr("entrokit.search.zeta.sampled._modulus", lambda x: 2e-8 + 0.0 * x[:, 0])
    found = search_zero(9_999.0, 10_000.0, generator=seeded(), max_iter=1)
    assert (found.zeros_around, found.accepted) == (None, False)
    assert "|zeta| = 2e-08 is no zero" in found.why


def test_the_pole_has_no_modulus():
    points = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.5, 0.0]], dtype=torch.float64)
    assert _modulus(points).tolist() == pytest.approx([math.inf, math.pi**2 / 6, 1.460354508809587])


def test_zeros_may_be_sought_from_0_on():
    assert find_critical_zeros(0, 30).tolist() == find_critical_zeros(1.0, 30.0).tolist()
    assert len(find_critical_zeros(0.0, 0.5)) == 0


def test_what_is_printed_of_a_search_has_not_every_iteration():
    assert "history" not in repr(search_zero(10, 18, generator=torch.Generator().manual_seed(0), max_iter=2))
