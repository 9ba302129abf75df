"""Taylor radii: the sheet's numbers, what they are made of, and Δ of models along a direction."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entrokit.distributions import kl_divergence
from entrokit.optim.radius import (
    GaussGLU,
    activation_radius,
    binary_radius,
    exact_radius,
    kl_step_bounds,
    linear_logit_spread,
    logit_spread,
    normalized_step,
    ria,
    slope_spread,
    taylor_radius,
    top_two_radius,
)
from entrokit.optim.radius.meter import sample_error

from .directions import direction_of, network, normal, t, values_of

seeds = st.integers(0, 10**6)


@pytest.mark.parametrize(("gap", "spread", "expected"), [(2, 1, 3.724192), (5, 2, 2.952525), (10, 1, 10.481870)])
def test_check_1_two_classes(gap, spread, expected):
    assert float(binary_radius(t(gap), t(spread))) == pytest.approx(expected, abs=1e-6)
    assert exact_radius(t(gap, 0), t(spread, 0)) == pytest.approx(math.hypot(gap, math.pi) / spread, rel=1e-12)


CASES = [
    ((1, 0, -1), (0, 1, 2), 1.570796, 2.320881),
    ((3, 0, -2, 0.5), (0, 1, 3, 2), 1.047198, 1.958267),
    ((0, 0, 0), (0, 1, 2), 1.570796, 2.094395),
]


@pytest.mark.parametrize(("z", "a", "bound", "exact"), CASES)
def test_check_2_more_classes(z, a, bound, exact):
    assert taylor_radius(slope_spread(t(*a))) == pytest.approx(bound, abs=1e-6)
    assert exact_radius(t(*z), t(*a)) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_whole_slopes_agree_with_the_roots_of_a_polynomial(seed):
    z, a = normal(4, seed=seed) * 2, t(0, 1, 2, 3)
    roots = torch.linalg.eigvals(_companion(z.exp()))
    expected = float(roots.log().abs().min())  # the principal branch is the smallest
    assert exact_radius(z, a) == pytest.approx(expected, rel=1e-10)
    assert exact_radius(z, -2.5 * a) == pytest.approx(expected / 2.5, rel=1e-10)


def _companion(coefficients):
    n = len(coefficients) - 1
    matrix = torch.diag(torch.ones(n - 1, dtype=torch.float64), -1)
    matrix[:, -1] = -coefficients[:-1] / coefficients[-1]
    return matrix


@given(seeds, st.integers(2, 12))
@settings(max_examples=10)
def test_the_bound_is_a_bound_and_what_it_does_not_depend_on(seed, k):
    z, a = 3 * normal(k, seed=seed), normal(k, seed=seed + 1)
    exact, bound = exact_radius(z, a), taylor_radius(slope_spread(a))
    assert exact >= bound * (1 - 1e-12)
    # Numbers below 8 are rounded to 1e-15, which nearly equal slopes make larger.
    rounding = 1e-9 + 1e-14 / float(a.max() - a.min())
    assert exact_radius(z + 7, a - 3) == pytest.approx(exact, rel=rounding)
    assert exact_radius(z, -a) == pytest.approx(exact, rel=1e-9)
    assert taylor_radius(slope_spread(a - 3)) == pytest.approx(bound, rel=rounding)


@pytest.mark.parametrize("gap", [1e3, 1e5])
def test_the_exact_radius_finds_zeros_far_away(gap):
    assert exact_radius(t(0, -gap), t(0, 1)) == pytest.approx(math.hypot(gap, math.pi), rel=1e-12)


def test_check_3_the_series_converges_inside_and_only_inside():
    """The sheet's series of log F by the recursion of Σ n c_n F_{k-n} = k F_k."""
    z, a, order = t(1, 0, -1), t(0, 1, 2), 40
    moments = [float((z.exp() * a**n).sum()) / math.factorial(n) for n in range(order + 1)]
    c = [math.log(moments[0])]
    for k in range(1, order + 1):
        c.append((k * moments[k] - sum(n * c[n] * moments[k - n] for n in range(1, k))) / (k * moments[0]))
    assert c[:6] == pytest.approx([1.407606, 0.424790, 0.212202, 0.057912, 0.002600, -0.004961], abs=1e-6)
    for share, error in ((0.8, 5.3e-6), (1.05, 0.33), (1.3, 1.8e3)):
        tau = share * exact_radius(z, a)
        series = sum(value * tau**n for n, value in enumerate(c))
        assert abs(series - float(torch.logsumexp(z + tau * a, 0))) == pytest.approx(error, rel=0.02)


def both_kl(z, a, tau):
    q = z + tau * a
    return tuple(float(kl_divergence(*pair, from_logits=True)) for pair in ((z, q), (q, z)))


def test_check_4_the_divergence_of_a_step():
    z, a = t(1, 0.2, -0.5, 0), t(0.7, -1.1, 0.4, 2)
    for tau, reverse, forward, quadratic in ((0.5, 0.108381, 0.116381, 0.123765), (1.0, 0.368581, 0.433137, 0.495062)):
        assert both_kl(z, a, tau) == pytest.approx((forward, reverse), abs=1e-6)
        assert float(kl_step_bounds(z, a, tau).quadratic) == pytest.approx(quadratic, abs=1e-6)
    found = kl_step_bounds(z, a, 0.5)
    assert float(found.bound_reverse) == pytest.approx(0.119443, abs=1e-6)
    assert float(found.bound_forward) == pytest.approx(0.059722, abs=1e-6)


def test_the_divergence_never_leaves_its_bounds_and_nearly_reaches_them():
    z, a = 3 * normal(100_000, 3), normal(100_000, 3, seed=1)
    tau = 0.3 * normal(100_000, seed=2)
    q = z + tau[:, None] * a
    quadratic, forward, reverse = kl_step_bounds(z, a, tau)
    # Differences of numbers near quadratic, each rounded a few times.
    rounding = 1e-14 * (1 + quadratic)
    assert bool(((kl_divergence(z, q, from_logits=True) - quadratic).abs() <= forward + rounding).all())
    assert bool(((kl_divergence(q, z, from_logits=True) - quadratic).abs() <= reverse + rounding).all())
    # The worst law has two points with p = (3 ± √3) / 6.
    high = (3 + math.sqrt(3)) / 6
    z, a, small = t(math.log(high), math.log(1 - high)), t(0, 1), 1e-2
    own = kl_step_bounds(z, a, small)
    for kl, bound in zip(both_kl(z, a, small), own[1:], strict=True):
        assert 0.98 < abs(kl - float(own.quadratic)) / float(bound) <= 1.0


def test_check_5_forward_mode_agrees_with_differences():
    model, x = network(), normal(5, 4)
    v = direction_of(model)
    found = {m: logit_spread(model, values_of(model), x, v, method=m) for m in ("jvp", "difference", "auto")}
    torch.testing.assert_close(found["difference"], found["jvp"], rtol=1e-6, atol=0)
    assert torch.equal(found["auto"], found["jvp"])
    _, slopes = torch.func.jvp(lambda p: torch.func.functional_call(model, p, (x,)), (values_of(model),), (v,))
    torch.testing.assert_close(found["jvp"], slopes.amax(1) - slopes.amin(1), rtol=1e-12, atol=0)


def test_check_5_scales_and_symmetries():
    model, x = network(), normal(5, 4)
    v = {n: d for n, d in direction_of(model).items() if n.startswith("0.")}
    own = logit_spread(model, values_of(model), x, v)
    torch.testing.assert_close(logit_spread(model, values_of(model), x, {n: -3 * d for n, d in v.items()}), 3 * own)
    for factor, name in ((2.0, "2.weight"), (1.0, "2.bias")):
        changed = values_of(model)
        changed[name] = 2.0 * changed[name] if factor == 2.0 else changed[name] + 5.0
        torch.testing.assert_close(logit_spread(model, changed, x, v), factor * own)

    def cold(parameters, inputs):
        return torch.func.functional_call(model, parameters, (inputs,)) / 4.0

    assert taylor_radius(logit_spread(cold, values_of(model), x, v)) == pytest.approx(4 * taylor_radius(own))


@pytest.mark.parametrize(("x", "beta", "expected"), [(0, 1, 0.398942), (2, 1, 2.008491), (0.5, 4, 0.502123)])
def test_check_6_a_relu_without_a_kink(x, beta, expected):
    assert float(ria(t(x), beta)) == pytest.approx(expected, abs=1e-6)
    # Its derivative is the gate of `GaussGLU`.
    layer = GaussGLU(1, 1, beta=beta).double()
    nn.init.ones_(layer.value.weight)
    nn.init.ones_(layer.gate.weight)
    slope = torch.func.grad(lambda u: ria(u, beta))(t(x)[0])
    torch.testing.assert_close(slope * x, layer(t(x))[0])
    nn.init.constant_(layer.value.weight, 3.0)
    nn.init.constant_(layer.gate.weight, 2.0)
    torch.testing.assert_close(layer(t(x)), 3 * x * torch.special.ndtr(2 * beta * t(x)))


def loss_ratios(x, y, steps):
    """Loss after a step of r along -∇L over the loss before it, for a linear softmax model after some training."""
    model = nn.Linear(x.shape[1], 3).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    loss = nn.functional.cross_entropy(model(x), y)
    gradient = dict(zip(values_of(model), torch.autograd.grad(loss, list(model.parameters())), strict=True))
    full = normalized_step(model, x, gradient)
    ratios = []
    for r in (0.01, 0.1, 0.5, 0.9):
        moved = {n: p - r / full * gradient[n] for n, p in values_of(model).items()}
        after = nn.functional.cross_entropy(torch.func.functional_call(model, moved, (x,)), y)
        ratios.append(after.item() / loss.item())
    return ratios


def test_check_8_below_one_the_loss_does_not_grow_where_it_can_still_fall():
    x, y = normal(60, 5), torch.arange(60) % 3
    separable = x + 6 * torch.eye(5, dtype=torch.float64)[y]
    assert max(loss_ratios(separable, y, 50)) <= 1.0


def test_a_step_below_one_can_pass_the_minimum():
    """At the optimum of labels that x does not tell, a gradient of any size scaled up to r overshoots."""
    assert loss_ratios(normal(60, 5), torch.arange(60) % 3, 500)[-1] > 1.0


def test_a_step_of_r_one_is_as_long_as_the_radius():
    model, x = network(), normal(6, 4)
    v = direction_of(model)
    norm = math.sqrt(sum(float(d.square().sum()) for d in v.values()))
    unit = {n: d / norm for n, d in v.items()}
    radius = taylor_radius(logit_spread(model, values_of(model), x, unit))
    assert normalized_step(model, x, {n: radius * d for n, d in unit.items()}) == pytest.approx(1.0, rel=1e-12)
    assert normalized_step(model, x, v) == pytest.approx(norm / radius, rel=1e-12)


def test_reductions_and_neutral_results():
    spread = t(1, 2, 4)
    assert taylor_radius(spread) == pytest.approx(math.pi / 4)
    assert taylor_radius(spread, 0.5) == pytest.approx(math.pi / 2)
    assert taylor_radius(t(0, 0)) == taylor_radius(torch.zeros(0)) == math.inf
    assert slope_spread(torch.zeros(2, 0)).tolist() == [0, 0]
    assert slope_spread(t(5)).item() == 0.0
    model = network()
    assert normalized_step(model, normal(2, 4), {}) == 0.0
    assert normalized_step(model, normal(0, 4), direction_of(model)) == 0.0


def test_masked_classes_do_not_count():
    z, a = (
        torch.tensor([[0.0, -math.inf, 1.0], [-math.inf] * 3]),
        torch.tensor([[-1.0, math.nan, -3.0], [math.nan] * 3]),
    )
    assert slope_spread(a, z).tolist() == [2.0, 0.0]
    assert exact_radius(t(2, -math.inf, 0), t(1, 50, 0)) == pytest.approx(3.724192, abs=1e-6)
    with_mask = kl_step_bounds(t(1, 0.2, -math.inf), t(0.7, -1.1, math.nan), 0.5)
    torch.testing.assert_close(with_mask, kl_step_bounds(t(1, 0.2), t(0.7, -1.1), 0.5))
    nothing = kl_step_bounds(z.double(), a.double())
    assert [value[1].item() for value in nothing] == [0.0, 0.0, 0.0]
    assert nothing.quadratic[0] > 0.0


def test_top_two_is_exact_for_two_classes_and_looks_at_the_label():
    z, a = t(2, 0)[None], t(1, 0)[None]
    torch.testing.assert_close(top_two_radius(z, a), binary_radius(t(2), t(1)))
    z, a = t(2, 1.5, -9)[None], t(0, 1, 40)[None]
    torch.testing.assert_close(top_two_radius(z, a), binary_radius(t(0.5), t(1)))
    torch.testing.assert_close(top_two_radius(z, a, torch.tensor([2])), binary_radius(t(11), t(40)))


@pytest.mark.parametrize(
    ("activation", "height"), [("relu", 0.0), ("silu", math.pi), ("softplus", math.pi), ("tanh", math.pi / 2)]
)
def test_activation_radii(activation, height):
    found = activation_radius(t(3, -3, 0), t(2, -2, 0), activation)
    assert found.tolist() == pytest.approx([math.hypot(3, height) / 2] * 2 + [math.inf])
    assert activation_radius(t(3), t(2), "gelu").item() == math.inf


@given(seeds, st.sampled_from([None, 2.5]), st.booleans())
@settings(max_examples=15)
def test_a_head_in_chunks_equals_its_logits(seed, cap, biased):
    h, dh, w, dw = normal(2, 3, 5, seed=seed), normal(2, 3, 5, seed=seed + 1), *normal(2, 13, 5, seed=seed + 2)
    b, db = normal(2, 13, seed=seed + 3) if biased else (torch.zeros(13).double(), torch.zeros(13).double())

    def logits(h, w, b):
        z = h @ w.T + b
        return (z if cap is None else cap * torch.tanh(z / cap)) / 0.7

    _, slopes = torch.func.jvp(logits, (h, w, b), (dh, dw, db))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("entrokit.optim.radius.language._TILE", 24)
        found = linear_logit_spread(h, dh, w, dw, bias=b, bias_slope=db, temperature=0.7, softcap=cap)
    torch.testing.assert_close(found, slope_spread(slopes), rtol=1e-9, atol=0)


def test_a_head_in_half_precision_and_one_of_no_class():
    h, dh, w = normal(2, 5), normal(2, 5, seed=1), normal(3, 5, seed=2)
    half = linear_logit_spread(*(x.bfloat16() for x in (h, dh, w)))
    assert half.dtype == torch.float32
    assert linear_logit_spread(h, dh, w).dtype == torch.float64
    # Three factors are rounded; sums and products are not.
    wide = linear_logit_spread(*(x.bfloat16().double() for x in (h, dh, w)))
    torch.testing.assert_close(half.double(), wide, rtol=1e-5, atol=0)
    assert linear_logit_spread(h, dh, w[:0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("m", "of"), [(1, 5), (2, 9), (5, 6), (6, 100)])
def test_the_error_of_a_subsample_is_that_of_all_its_halves(m, of):
    values = normal(m, seed=m).abs()
    beyond, shortfall = sample_error(values, of)
    assert beyond == 1 / (m + 1)
    if m == 1:
        assert math.isnan(shortfall)
    else:
        halves = [float(values[list(c)].max()) for c in combinations(range(m), m // 2)]
        assert shortfall == pytest.approx(1 - sum(halves) / len(halves) / float(values.max()), rel=1e-12)
    assert sample_error(values, m) == (0.0, 0.0)
