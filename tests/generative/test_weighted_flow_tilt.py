"""What weights do to the marginals, Sinkhorn's factors against it, and the flow that is learnt."""

import math
import warnings

import pytest
import torch

from entrokit.generative.transport import integrate
from entrokit.generative.weighted_flow import (
    WeightedConditionalFlowMatcher,
    cost_matrix,
    gibbs_weights,
    sinkhorn_potentials,
    tilt_diagnostics,
)

from .weighted_flow_cases import X, Y, every_pair, normal


def test_check_3_a_discrete_coupling():
    tilt = tilt_diagnostics(X, Y, 1.0)
    x, y = every_pair()
    kernel = gibbs_weights(x, y, 1.0, normalize=None)
    assert kernel.tolist() == pytest.approx([0.367879, 0.135335, 0.243117, 0.243117, 0.367879, 0.106878], abs=5e-7)
    assert tilt["Z"] == pytest.approx(0.244034, abs=5e-7)
    assert tilt["f"].tolist() == pytest.approx([0.248777, 0.239291], abs=5e-7)
    assert tilt["g"].tolist() == pytest.approx([0.305498, 0.251607, 0.174997], abs=5e-7)
    assert tilt["source"].tolist() == pytest.approx([0.509718, 0.490282], abs=5e-7)
    assert tilt["target"].tolist() == pytest.approx([0.417289, 0.343678, 0.239034], abs=5e-7)
    assert (tilt["rv_f"], tilt["rv_g"], tilt["ess"]) == pytest.approx((0.000378, 0.048144, 0.853556), abs=5e-7)
    assert tilt["log_Z"] == pytest.approx(math.log(tilt["Z"]), abs=1e-12)
    torch.testing.assert_close(tilt["log_f"].exp(), tilt["f"])
    torch.testing.assert_close(tilt["log_g"].exp(), tilt["g"])


def test_check_3_the_weighted_pairs_are_the_entropic_plan_of_the_tilted_marginals_by_pot():
    ot = pytest.importorskip("ot")
    tilt = tilt_diagnostics(X, Y, 1.0)
    costs = cost_matrix(X, Y)
    weighted = gibbs_weights(*every_pair(), 1.0).reshape(2, 3) / 6
    theirs = ot.sinkhorn(tilt["source"].numpy(), tilt["target"].numpy(), costs.numpy(), 1.0, stopThr=1e-14)
    assert abs(theirs - weighted.numpy()).max() < 1e-12


def test_check_3b_sinkhorn_s_potentials_leave_both_marginals_alone():
    plan = sinkhorn_potentials(X, Y, 1.0, tolerance=1e-13)
    f, g = plan.source(X).exp(), plan.target(Y).exp()
    assert (f / f[0]).tolist() == pytest.approx([1, 1.106306], abs=5e-7)
    assert (g / g[0]).tolist() == pytest.approx([1, 1.174285, 1.762362], abs=5e-7)
    for weight in (
        gibbs_weights(*every_pair(), 1.0, potentials=plan),
        gibbs_weights(*every_pair(), 1.0, normalize=None, potentials=plan),
    ):
        coupling = weight.reshape(2, 3) / 6
        assert coupling.flatten().tolist() == pytest.approx(
            [0.192554, 0.083183, 0.224263, 0.140779, 0.250151, 0.109070], abs=5e-7
        )
        assert coupling.sum(1).tolist() == pytest.approx([1 / 2] * 2, abs=1e-12)
        assert coupling.sum(0).tolist() == pytest.approx([1 / 3] * 3, abs=1e-12)
    tilt = tilt_diagnostics(X, Y, 1.0, potentials=plan)
    assert (tilt["Z"], tilt["rv_f"], tilt["rv_g"]) == pytest.approx((1, 0, 0), abs=1e-12)


def test_check_4_a_larger_temperature():
    tilt = tilt_diagnostics(X, Y, 5.0)
    assert tilt["Z"] == pytest.approx(0.742411, abs=5e-7)
    assert tilt["target"].tolist() == pytest.approx([0.352987, 0.334283, 0.312730], abs=5e-7)
    assert (tilt["rv_g"], tilt["ess"]) == pytest.approx((0.002435, 0.991691), abs=5e-7)


# Check 5: means and covariance of q, exact: the precision of (x, y) is that of the laws plus the cost's.
MEAN = torch.tensor([0.461538, 1.384615], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.692308, 0.076923], [0.076923, 0.230769]], dtype=torch.float64)


def best_velocity(t, x):
    """``E[Y - X | X_t = x]`` under q."""
    path, apart = torch.stack([1 - t, t], -1), torch.tensor([-1.0, 1.0], dtype=torch.float64)
    slope = (path @ COVARIANCE @ apart) / (path @ COVARIANCE * path).sum(-1)
    return (apart @ MEAN) + slope[:, None] * (x - (path @ MEAN)[:, None])


def test_check_5_a_gaussian_in_closed_form():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1_000_000, 1, dtype=torch.float64, generator=g)
    y = 1.5 + 0.5 * torch.randn(1_000_000, 1, dtype=torch.float64, generator=g)
    matcher = WeightedConditionalFlowMatcher(4.0, "sqeuclidean")
    _, xt, ut, w = matcher.sample(x, y, torch.full((len(x),), 0.5, dtype=torch.float64))
    pairs = torch.cat([x, y], 1)
    mean = (w[:, None] * pairs).mean(0)
    covariance = (w[:, None] * (pairs - mean)).T @ (pairs - mean) / len(x)
    # Deviations are below 1, an effective share above 0.5: five standard errors are below 0.01.
    torch.testing.assert_close(mean, MEAN, rtol=0, atol=0.01)
    torch.testing.assert_close(covariance, COVARIANCE, rtol=0, atol=0.01)
    for weight, slope, intercept in ((w, -0.857143, 1.714286), (torch.ones_like(w), -1.2, 2.4)):
        columns = torch.cat([xt, torch.ones_like(xt)], 1)
        normal_matrix = (weight[:, None] * columns).T @ columns
        found = torch.linalg.solve(normal_matrix, (weight[:, None] * columns).T @ ut)
        assert found.flatten().tolist() == pytest.approx([slope, intercept], abs=0.02)


def test_from_tilted_starts_the_flow_ends_in_the_tilted_target():
    """Its flow in one dimension carries mean and deviation of the tilted source to those of the tilted target."""
    half = torch.tensor([0.0, 0.5], dtype=torch.float64)
    assert best_velocity(half[1:], half[:1, None]).item() == pytest.approx(1.714286, abs=2e-5)
    start = MEAN[0] + COVARIANCE[0, 0].sqrt() * torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    end = MEAN[1] + COVARIANCE[1, 1].sqrt() * torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    # Midpoint steps of 0.005 are off by their square times third derivatives below 10.
    torch.testing.assert_close(integrate(best_velocity, start, 200).points, end, rtol=0, atol=3e-4)


def test_diagnostics_do_not_underflow_where_weights_do():
    x, y = normal(20, 3000), normal(30, 3000, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tilt = tilt_diagnostics(x, y, 0.05)
    assert tilt["Z"] == 0
    assert tilt["log_Z"] < -1400
    assert float(tilt["source"].sum()) == pytest.approx(1)
    assert float(tilt["target"].sum()) == pytest.approx(1)
    assert 0 < tilt["ess"] < 0.3
    assert math.isfinite(tilt["rv_f"])


def test_a_mean_weight_beyond_float64_has_a_logarithm_still():
    """A callable cost may be below 0: exp(750) is no float64."""
    tilt = tilt_diagnostics(X, Y, 1.0, lambda a, b: torch.full_like(a[:, 0], -750.0))
    assert (tilt["Z"], tilt["log_Z"]) == (math.inf, pytest.approx(750, rel=1e-12))
    assert (tilt["rv_f"], tilt["rv_g"], tilt["ess"]) == pytest.approx((0, 0, 1), abs=1e-12)


def test_a_tilt_that_is_alike_everywhere_is_none():
    """Either law on the corners of a square: rotations carry every point to every other."""
    corners = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
    tilt = tilt_diagnostics(corners, 2 * corners, 1.0)
    assert (tilt["rv_f"], tilt["rv_g"]) == pytest.approx((0, 0), abs=1e-14)


@pytest.mark.parametrize(
    ("x", "y", "eps", "said"),
    [
        (X[:1], Y, 0.5, ["the target is tilted"]),
        (Y, X[:1], 0.5, ["the source is tilted"]),
        (10 * X, 10 * X, 1.0, []),
        (torch.eye(5) * 100, torch.eye(5) * 100, 1.0, ["most pairs count for nothing"]),
    ],
    ids=["target", "source", "neither", "few"],
)
def test_a_large_tilt_and_few_pairs_are_warned_of_where_the_caller_stands(x, y, eps, said):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tilt_diagnostics(x, y, eps)
    assert len(caught) == bool(said)
    for warning in caught:
        assert warning.filename == __file__
        assert all(words in str(warning.message) for words in said)
        assert str(warning.message).count(">") + str(warning.message).count("<") == len(said)


def test_factors_that_were_saved_are_the_same(tmp_path):
    plan = sinkhorn_potentials(X, Y, 2.0)
    torch.save(plan, tmp_path / "plan.pt")
    again = torch.load(tmp_path / "plan.pt", weights_only=False)
    assert torch.equal(again.source(normal(5, 2)), plan.source(normal(5, 2)))
    assert torch.equal(again.target(normal(5, 2)), plan.target(normal(5, 2)))


def test_what_is_advised_is_of_use():
    """Factors undo a tilt. Where each point has one neighbour only, they leave the few pairs that there are."""

    def advice(x, y, potentials=None):
        with pytest.warns(UserWarning, match="at eps 1 ") as caught:
            tilt_diagnostics(x, y, 1.0, potentials=potentials)
        return str(caught[0].message).rpartition("raise eps, or take ")[2]

    apart = 100 * torch.eye(5, dtype=torch.float64)
    assert advice(X[:1], 10 * Y) == "sinkhorn_potentials"
    assert advice(apart, apart) == "larger batches"
    assert advice(apart, apart, sinkhorn_potentials(apart, apart, 1.0)) == "larger batches"
    other = sinkhorn_potentials(10 * X + 5, Y, 1.0)
    assert advice(X[:1], 10 * Y, other) == "potentials of a larger reference"


def test_potentials_of_one_sample_leave_little_tilt_on_another():
    """Off the reference the tilt that is left is the reference's own noise, and falls as it grows."""
    x, y = normal(400, 2), normal(400, 2, seed=1).abs() * 2 + 1
    fresh = normal(400, 2, seed=2), normal(400, 2, seed=3).abs() * 2 + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bare = tilt_diagnostics(*fresh, 1.0)
        few, many = (
            tilt_diagnostics(*fresh, 1.0, potentials=sinkhorn_potentials(x[:n], y[:n], 1.0)) for n in (25, 400)
        )
    assert many["rv_f"] + many["rv_g"] < few["rv_f"] + few["rv_g"] < bare["rv_f"] + bare["rv_g"]


def test_an_asymmetric_cost_keeps_its_order_in_potentials():
    def lopsided(a, b):
        return (a - 2 * b).flatten(1).norm(dim=1)

    plan = sinkhorn_potentials(X, Y, 1.0, lopsided, tolerance=1e-13)
    coupling = gibbs_weights(*every_pair(), 1.0, lopsided, None, plan).reshape(2, 3) / 6
    assert coupling.sum(1).tolist() == pytest.approx([1 / 2] * 2, abs=1e-12)
    assert coupling.sum(0).tolist() == pytest.approx([1 / 3] * 3, abs=1e-12)


def test_sinkhorn_that_did_not_get_there_says_how_far_it_is():
    with pytest.warns(UserWarning, match="after 2 iterations a row of the plan is off by a share of") as caught:
        sinkhorn_potentials(X, Y, 0.05, tolerance=1e-12, iterations=2)
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="tolerance above 0"):
        sinkhorn_potentials(X, Y, 1.0, tolerance=0.0)
    with pytest.raises(ValueError, match="eps: must be above 0"):
        sinkhorn_potentials(X, Y, 0.0)
    with pytest.raises(ValueError, match="eps: must be above 0"):
        tilt_diagnostics(X, Y, -1.0)


@pytest.mark.parametrize(
    ("eps", "cost", "swapped", "message"),
    [
        (0.5, "l2", False, r"source was made with eps = 1.5, and 0.5 is asked for"),
        (1.5, "l1", False, r"source was made with cost = 'l2', and 'l1'"),
        (1.5, "l2", True, r"source was made with of_source = False"),
    ],
)
def test_factors_of_another_plan_are_named(eps, cost, swapped, message):
    plan = sinkhorn_potentials(X, Y, 1.5)
    plan = plan[::-1] if swapped else plan
    with pytest.raises(ValueError, match=message):
        gibbs_weights(X[:2], Y[:2], eps, cost, potentials=plan)
    with pytest.raises(ValueError, match=message):
        tilt_diagnostics(X, Y, eps, cost, potentials=plan)
