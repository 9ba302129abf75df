"""f-divergences: f, and the weights that follow from it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.distributions.divergences import (
    jeffreys_divergence,
    jensen_shannon_divergence,
    kl_divergence,
    renyi_divergence,
)
from entrokit.generative.f_distill import DIVERGENCES, f_divergence_gradient_weight, f_weight

from .f_distill_cases import MOMENTS, TEACHER, divergence_of_gaussian, exactly, gradient, log_normal

KEYS = list(DIVERGENCES)
ratios = st.floats(1e-3, 1e3).map(lambda r: exactly(r))


def test_the_sheet_s_seven_and_pearson_s():
    assert sorted(KEYS) == sorted(["rkl", "sf", "js", "sh", "kl", "jf", "neyman", "pearson"])


@pytest.mark.parametrize("key", KEYS)
def test_check_1_weights_are_second_derivatives(key):
    f, h = f_divergence_gradient_weight(key)
    r = exactly(0.3, 0.9, 1.0, 2.5).requires_grad_()
    (first,) = torch.autograd.grad(f(r).sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    torch.testing.assert_close(h(r), r**2 * second, rtol=1e-12, atol=0)
    constant = 4.0 if key == "sh" else 1.0
    torch.testing.assert_close(f_weight(r, key), constant * h(r), rtol=1e-12, atol=0)


def test_check_1_numbers():
    assert f_weight(exactly(0.3, 0.9, 1.0, 2.5), "js").tolist() == pytest.approx(
        [0.230769, 0.473684, 0.5, 0.714286], abs=5e-7
    )


@pytest.mark.parametrize(
    ("key", "weight"),
    [
        ("rkl", lambda r: 0 * r + 1), ("sf", lambda r: 1 / (1 + r)), ("js", lambda r: 1 - 1 / (1 + r)),
        ("sh", torch.sqrt), ("kl", lambda r: r), ("jf", lambda r: 1 + r), ("neyman", lambda r: 1 / r),
        ("pearson", lambda r: r * r),
    ],
)  # fmt: skip
def test_weights_are_the_official_code_s(key, weight):
    r = torch.logspace(-6, 6, 200, dtype=torch.float64)
    torch.testing.assert_close(f_weight(r, key), weight(r), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("key", "value", "by_mean", "by_std"),
    [
        ("rkl", 0.282678, 0.700000, 0.366667), ("kl", 0.199683, 0.486111, -0.028935),
        ("js", 0.108434, 0.252883, 0.028735), ("sh", 0.227172 / 4, 0.541184 / 4, 0.097168 / 4),
        ("neyman", 0.835680, 3.339200, 6.757905),
    ],
)  # fmt: skip
def test_check_2_the_gradient_is_that_of_the_divergence(key, value, by_mean, by_std):
    # Neyman's integrand q²/p has a standard deviation of 1.59.
    grid = torch.linspace(-14.0, 20.0, 20001, dtype=torch.float64)
    assert divergence_of_gaussian(key, 0.7, 1.2, grid) == pytest.approx(value, abs=5e-7)
    found = gradient(key, 0.7, 1.2, -grid, log_normal(grid, 0.0, 1.0), grid)
    assert found == pytest.approx([by_mean, by_std], abs=5e-7)


@pytest.mark.parametrize("key", KEYS)
def test_the_gradient_equals_differences_of_the_divergence(key):
    grid, step = torch.linspace(-14.0, 20.0, 8001, dtype=torch.float64), 1e-5
    found = gradient(key, 0.7, 1.2, -grid, log_normal(grid, 0.0, 1.0), grid)
    for by, (mean, std) in zip(found, [(step, 0.0), (0.0, step)], strict=True):
        up = divergence_of_gaussian(key, 0.7 + mean, 1.2 + std, grid)
        down = divergence_of_gaussian(key, 0.7 - mean, 1.2 - std, grid)
        # Third derivatives are below 1e3 here (Neyman's), so the difference's error is below 1e3 step² / 6.
        assert by == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_divergences_are_the_house_s():
    generator = torch.Generator().manual_seed(0)
    p, q = torch.rand(2, 6, dtype=torch.float64, generator=generator).softmax(-1)
    middle = 0.5 * (p + q)
    expected = {
        "rkl": kl_divergence(q, p),
        "sf": 2 * kl_divergence(middle, p),
        "js": 2 * jensen_shannon_divergence(p, q),
        "sh": 1 - (-0.5 * renyi_divergence(p, q, 0.5)).exp(),
        "kl": kl_divergence(p, q),
        "jf": jeffreys_divergence(p, q),
        "neyman": 0.5 * renyi_divergence(q, p, 2.0).expm1(),
        "pearson": 0.5 * renyi_divergence(p, q, 2.0).expm1(),
    }
    for key in KEYS:
        found = (q * f_divergence_gradient_weight(key)[0](p / q)).sum()
        torch.testing.assert_close(found, expected[key], rtol=1e-11, atol=1e-14)


@given(ratios)
def test_exchanging_teacher_and_student_exchanges_the_weights(r):
    """The weight of D_f(q ‖ p) is r h(1/r): the mirrors are rkl and kl, neyman and pearson, and three are their own."""
    for key, mirror in (("rkl", "kl"), ("neyman", "pearson"), ("js", "js"), ("sh", "sh"), ("jf", "jf")):
        for one, other in ((key, mirror), (mirror, key)):
            torch.testing.assert_close(f_weight(r, one), r * f_weight(1 / r, other), rtol=1e-11, atol=0)


@given(ratios, st.floats(1.001, 10.0))
def test_what_covers_weighs_the_student_s_gaps_more(r, more):
    """kl, jf, js, sh and pearson rise with p/q, sf and neyman fall, rkl is level."""
    for key in KEYS:
        change = float(f_weight(r * more, key) - f_weight(r, key))
        assert {"rkl": change == 0, "sf": change < 0, "neyman": change < 0}.get(key, change > 0)


@pytest.mark.parametrize("key", KEYS)
def test_f_is_0_at_1_and_not_below_its_tangent(key):
    f, _ = f_divergence_gradient_weight(key)
    one = exactly(1.0).requires_grad_()
    (slope,) = torch.autograd.grad(f(one).sum(), one)
    assert f(one).item() == 0
    r = torch.logspace(-3, 3, 100, dtype=torch.float64)
    assert bool((f(r) - slope * (r - 1) >= -1e-12).all())


AT_0 = {"rkl": 1.0, "sf": 1.0, "js": 0.0, "sh": 0.0, "kl": 0.0, "jf": 1.0, "neyman": None, "pearson": 0.0}
AT_INFINITY = {"rkl": 1.0, "sf": 0.0, "js": 1.0, "neyman": 0.0}
F_AT_0 = {"js": math.log(2), "sh": 1.0, "kl": 0.0, "pearson": 0.5}


@pytest.mark.parametrize("key", KEYS)
def test_ratios_of_0_and_infinity_have_their_limit_or_are_named(key):
    for r, limit in ((0.0, AT_0[key]), (math.inf, AT_INFINITY.get(key))):
        given = torch.tensor([1.0, r])
        if limit is None:
            with pytest.raises(ValueError, match=rf"weight of {key} is infinite at ratio {r}, index \[1\]; clip"):
                f_weight(given, key)
        else:
            assert f_weight(given, key)[1].item() == limit
    f, _ = f_divergence_gradient_weight(key)
    assert f(exactly(0.0)).item() == pytest.approx(F_AT_0.get(key, math.inf), abs=1e-15)
    with pytest.raises(ValueError, match=rf"f of {key}: ratios.*inf at \[1\]"):
        f(torch.tensor([1.0, math.inf]))


def test_a_weight_that_overflows_is_named():
    with pytest.raises(ValueError, match="pearson is infinite at ratio 1.*e.30"):
        f_weight(torch.tensor([1e30]), "pearson")


def test_half_precision_is_computed_in_float32():
    ratio = torch.tensor([300.0, 0.004], dtype=torch.float16)
    found = f_weight(ratio, "pearson")
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([9e4, float(ratio[1]) ** 2], rel=1e-5)


def test_what_is_no_ratio_or_no_divergence_is_named():
    for call in (lambda key: f_weight(torch.ones(2), key), f_divergence_gradient_weight):
        with pytest.raises(ValueError, match="no divergence 'tv'; there are rkl, sf, js, sh, kl, jf, neyman, pearson"):
            call("tv")
    with pytest.raises(ValueError, match=r"not negative, got -0\.5 at \[1, 0\]"):
        f_weight(torch.tensor([[1.0], [-0.5]]), "kl")
    with pytest.raises(ValueError, match=r"got nan at \[0\]"):
        f_weight(torch.tensor([math.nan]), "js")
    with pytest.raises(TypeError, match="floating point"):
        f_weight(torch.tensor([1, 2]), "kl")
    with pytest.raises(TypeError):
        DIVERGENCES["tv"] = DIVERGENCES["kl"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("rkl", (-2.0, 0.5)), ("kl", (-0.8, 1.9)), ("js", (-0.849, 1.857)), ("sh", (-0.843, 1.822)),
    ],
)  # fmt: skip
def test_check_7_reverse_kl_seeks_a_mode_and_the_others_cover(key, expected):
    """Gradient steps in mean and log std from (0.5, 1): the fixed points have the sheet's three places."""
    grid = torch.linspace(-14.0, 14.0, 801, dtype=torch.float64)
    log_p, score_p = TEACHER.log_prob(grid[:, None]), TEACHER.score(grid[:, None])[:, 0]
    mean, log_std = 0.5, 0.0
    # The sheet takes 6000 steps of 0.02; of 0.1 these are as long a way, for sh the factor 4 beside.
    for _ in range(1200 if key != "sh" else 2400):
        std = math.exp(log_std)
        by_mean, by_std = gradient(key, mean, std, score_p, log_p, grid)
        rate = 0.1 if key != "sh" else 0.2
        mean, log_std = mean - rate * by_mean, log_std - rate * by_std * std
    assert (mean, math.exp(log_std)) == pytest.approx(expected, abs=6e-4)
    if key == "kl":
        assert (mean, math.exp(log_std)) == pytest.approx(MOMENTS, abs=1e-6)
