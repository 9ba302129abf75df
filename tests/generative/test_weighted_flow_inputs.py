"""What users hand over by mistake: other kinds, other dtypes, NaN; and what must stay as it was."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from entrokit.generative import transport
from entrokit.generative.transport import integrate, wasserstein2
from entrokit.generative.weighted_flow import (
    WeightedConditionalFlowMatcher,
    cost_matrix,
    costs,
    effective_share,
    epsilon_within,
    gibbs_weights,
    pair_costs,
    select_epsilon,
    sinkhorn_potentials,
    tilt,
    tilt_diagnostics,
    weighted_flow_loss,
    weights,
)

from .weighted_flow_cases import X, Y, normal

A, B = normal(6, 2), normal(6, 2, seed=1)
MATCHER = WeightedConditionalFlowMatcher(2.0)

DOORS = {
    "x of gibbs_weights": ("x", lambda bad: gibbs_weights(bad, B, 1.0)),
    "y of gibbs_weights": ("y", lambda bad: gibbs_weights(A, bad, 1.0)),
    "pair_costs": ("y", lambda bad: pair_costs(A, bad)),
    "cost_matrix": ("x", lambda bad: cost_matrix(bad, B)),
    "velocity": ("velocity", lambda bad: weighted_flow_loss(bad, B, torch.ones(6))),
    "target": ("target", lambda bad: weighted_flow_loss(A, bad, torch.ones(6))),
    "weight": ("weight", lambda bad: weighted_flow_loss(A, B, bad)),
    "effective_share": ("weight", effective_share),
    "tilt_diagnostics": ("y", lambda bad: tilt_diagnostics(A, bad, 1.0)),
    "select_epsilon": ("x", lambda bad: select_epsilon(bad, B, [1.0, 2.0, 4.0])),
    "epsilon_within": ("y", lambda bad: epsilon_within(A, bad, [1.0])),
    "sinkhorn_potentials": ("x", lambda bad: sinkhorn_potentials(bad, B, 1.0)),
    "a factor": ("x", lambda bad: sinkhorn_potentials(A, B, 1.0).source(bad)),
    "weights": ("x0", lambda bad: MATCHER.weights(bad, B)),
    "sample": ("x1", lambda bad: MATCHER.sample(A, bad)),
    "loss": ("x1", lambda bad: MATCHER.loss(lambda t, x: x, A, bad)),
    "location": ("x0", lambda bad: MATCHER.sample_location_and_conditional_flow(bad, B)),
    "integrate": ("x", lambda bad: integrate(lambda t, x: x, bad)),
    "wasserstein2": ("y", lambda bad: wasserstein2(A, bad)),
}


@pytest.mark.parametrize(("name", "call"), DOORS.values(), ids=DOORS)
@pytest.mark.parametrize("bad", [A.numpy(), None, (A,)], ids=["numpy", "none", "tuple"])
def test_what_is_no_tensor_is_named_at_every_door(name, call, bad):
    with pytest.raises(TypeError, match=f"^{name} must be a torch.Tensor.*it is a {type(bad).__name__}"):
        call(bad)


@pytest.mark.parametrize("t", [0.5, np.full(6, 0.5)], ids=["number", "numpy"])
def test_a_time_that_is_no_tensor_is_named(t):
    with pytest.raises(TypeError, match="t must be a torch.Tensor"):
        MATCHER.sample(A, B, t)


class Output:
    """As diffusers' models return."""

    def __init__(self, sample):
        self.sample = sample


@pytest.mark.parametrize("wrap", [Output, lambda v: (v,), lambda v: None, lambda v: v.numpy()])
@pytest.mark.parametrize("use", [lambda f: MATCHER.loss(f, A, B), lambda f: integrate(f, A)], ids=["loss", "integrate"])
def test_a_model_s_output_object_is_named_with_what_to_write(wrap, use):
    with pytest.raises(TypeError, match=r"the velocity.*must be a torch.Tensor; the model returned a .*\.sample"):
        use(lambda t, x: wrap(x))


@pytest.mark.parametrize("use", [lambda f: MATCHER.loss(f, A, B), lambda f: integrate(f, A)], ids=["loss", "integrate"])
def test_a_model_that_takes_points_first_is_told_of_the_order(use):
    def other(x, t):
        assert x.ndim == 2, "the model's own words"
        return x

    with pytest.raises(AssertionError, match="the model's own words") as caught:
        use(other)
    assert "gets the time first" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match=r"must be a callable, \w+\(t \[B\], xt? \[B, \*\]\).*a NoneType"):
        use(None)


@pytest.mark.parametrize("eps", ["2", None, torch.tensor(2.0), [2.0]], ids=["text", "none", "tensor", "list"])
def test_a_temperature_that_is_no_number_is_named(eps):
    calls = [
        lambda: WeightedConditionalFlowMatcher(eps),
        lambda: gibbs_weights(A, B, eps),
        lambda: tilt_diagnostics(X, Y, eps),
        lambda: sinkhorn_potentials(X, Y, eps),
        lambda: epsilon_within(X, Y, [1.0, eps]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=f"^eps must be a number; it is a {type(eps).__name__}"):
            call()


def test_other_settings_that_are_no_numbers_are_named():
    with pytest.raises(TypeError, match="sigma must be a number"):
        WeightedConditionalFlowMatcher(1.0, sigma="0.1")
    for options in ({"iterations": 1e3}, {"iterations": 0}, {"tolerance": math.nan}):
        with pytest.raises(ValueError, match=f"tolerance above 0 and a whole number.*{next(iter(options.values()))}"):
            sinkhorn_potentials(X, Y, 1.0, **options)
    with pytest.raises(TypeError, match="tolerance must be a number"):
        sinkhorn_potentials(X, Y, 1.0, tolerance="1e-6")
    with pytest.raises(TypeError, match="variance must be a number"):
        epsilon_within(X, Y, [1.0], variance=None)
    with pytest.raises(ValueError, match="steps: a whole number of at least 1 is expected; it is 50.0"):
        integrate(lambda t, x: x, A, 50.0)
    with pytest.raises(ValueError, match="normalize: is 'batch'"):
        gibbs_weights(A, B, 1.0, normalize=torch.tensor(1.0))


def test_numbers_of_numpy_are_numbers():
    expected = gibbs_weights(A, B, 2.0, normalize=-1.5)
    torch.testing.assert_close(gibbs_weights(A, B, np.float32(2), normalize=np.float32(-1.5)), expected)
    torch.testing.assert_close(integrate(lambda t, x: x, A, np.int64(3)).points, integrate(lambda t, x: x, A, 3).points)


@pytest.mark.parametrize("eps", [5e-324, 1e-320, 1e-40])
def test_a_temperature_that_float32_has_not_is_refused_before_it_is_nan(eps):
    for call in (lambda: gibbs_weights(A, B, eps), lambda: tilt_diagnostics(A, B, eps)):
        with pytest.raises(ValueError, match=r"eps: .* is 0 in float32"):
            call()


def test_weights_stay_numbers_at_the_smallest_temperature():
    """Quotients overflow float32 there, of all pairs but the nearest."""
    for x, y in ((A, B), (1000 * A.float(), 1000 * B.float())):
        weight = gibbs_weights(x, y, 1.2e-38)
        assert weight.tolist() == [6.0 * (i == int(pair_costs(x, y).argmin())) for i in range(6)]
    far = torch.tensor([[1e200]], dtype=torch.float64)
    with pytest.raises(ValueError, match="eps: costs of up to inf over 1 overflow"):
        tilt_diagnostics(far, -far, 1.0, "sqeuclidean")


def test_nan_of_a_model_of_data_or_of_weights_is_named_in_the_loss():
    broken, weight = A.clone(), torch.ones(6)
    broken[2, 1] = math.nan
    for values, words in (
        ((broken, B, weight), "loss is nan: the model's velocity is NaN or infinite in 1 of 6 samples, first in 2"),
        ((A, broken, weight), "loss is nan: the target is NaN or infinite in 1 of 6 samples, first in 2"),
        ((A, B, weight * math.inf), "loss is inf: the weight is NaN or infinite in 6 of 6 samples, first in 0"),
        ((A.float() * 1e20, B.float(), weight), r"loss is inf: squares overflow; the largest velocity is \d\.\d*e\+20"),
    ):
        with pytest.raises(ValueError, match=words):
            weighted_flow_loss(*values)
    with pytest.raises(ValueError, match="velocity is NaN or infinite in 1 of 6 samples, first in 2; it diverged"):
        MATCHER.loss(lambda t, x: torch.where(broken.isnan(), broken, x), A, B)
    with pytest.raises(ValueError, match="target: points .* at least one"):
        weighted_flow_loss(A[:0], A[:0], weight[:0])


@pytest.mark.parametrize("at", [0.0, 0.25])
def test_one_step_s_nan_does_not_hide_behind_the_next(at):
    """A velocity that is finite wherever it is asked hides that a half step before it was infinite."""

    def velocity(t, x):
        return torch.where(t[:, None] == at, math.inf, 1.0) * torch.ones_like(x)

    with pytest.raises(ValueError, match=f"the velocity at t = {at:g} is NaN or infinite in 6 of 6"):
        integrate(velocity, A, 2)
    with pytest.raises(ValueError, match="x is NaN or infinite in 1 of 2 samples, first in 1"):
        integrate(velocity, torch.tensor([1.0, math.nan]))


def test_points_that_leave_for_infinity_are_named():
    with pytest.raises(ValueError, match="x at t = 1 is NaN or infinite in 6 of 6"):
        integrate(lambda t, x: torch.full_like(x, 6e4), A.half() + 1e4, 1, "euler")


def test_halves_of_another_dtype_are_named():
    for call in (MATCHER.weights, MATCHER.sample_location_and_conditional_flow, gibbs_weights):
        options = {"eps": 1.0} if call is gibbs_weights else {}
        with pytest.raises(
            ValueError, match=r"one dtype and device; they have torch.float32 .* torch.float64 .*\.to\("
        ):
            call(A.float(), B, **options)


@pytest.mark.parametrize("method", ["euler", "midpoint"])
def test_a_hundred_small_steps_in_bfloat16_arrive(method):
    """Of its eight bits each step of 0.02 would leave nothing at 8, where numbers are 1/16 apart."""
    x = torch.full((2, 3), 8.0, dtype=torch.bfloat16)
    seen = []

    def velocity(t, x):
        seen.append((t.dtype, x.dtype))
        return torch.full_like(x, 2.0)

    points, energy = integrate(velocity, x, 100, method)
    assert (points.dtype, points.tolist()) == (torch.bfloat16, [[10.0] * 3] * 2)
    assert energy == pytest.approx(12.0, rel=1e-12)
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)}


def test_where_there_is_no_float64_nothing_asks_for_it(monkeypatch):
    """Apple's GPUs: a mode that refuses to make one stands in for them."""

    class NoDouble(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            assert not (isinstance(found, torch.Tensor) and found.dtype == torch.float64), func
            return found

    for module in (costs, tilt, transport, weights):
        monkeypatch.setattr(module, "widest", lambda x: torch.float32)
    x, y = A.float(), B.float()
    with NoDouble():
        plan = sinkhorn_potentials(x, y, 4.0, tolerance=1e-5)
        matcher = WeightedConditionalFlowMatcher(4.0, potentials=plan)
        matcher.loss(lambda t, x: x, x, y)
        tilt_diagnostics(x, y, 64.0, lambda a, b: (a - b).norm(dim=1), (lambda p: p[:, 0] / 64, lambda p: p[:, 1] / 64))
        select_epsilon(x, y, [4.0, 8.0, 16.0, 64.0])
        integrate(lambda t, x: x, x, 2)


def test_a_velocity_of_another_dtype_does_not_change_the_points_own():
    seen = []

    def velocity(t, x):
        seen.append(x.dtype)
        return x.double()

    assert integrate(velocity, A.float(), 3).points.dtype == torch.float32
    assert set(seen) == {torch.float32}


def test_a_factor_s_answer_and_pairs_of_factors_that_are_none_are_named():
    plan = sinkhorn_potentials(X, Y, 1.0)
    for bad in (plan.source, (X, Y), (plan.source,), {"source": plan.source}):
        for call in (
            lambda bad=bad: gibbs_weights(A, B, 1.0, potentials=bad),
            lambda bad=bad: WeightedConditionalFlowMatcher(1.0, potentials=bad),
            lambda bad=bad: tilt_diagnostics(A, B, 1.0, potentials=bad),
        ):
            with pytest.raises(TypeError, match="potentials: two callables are expected"):
                call()
    with pytest.raises(ValueError, match="was made with eps = 1.0, and 2.0"):
        WeightedConditionalFlowMatcher(2.0, potentials=plan)
    with pytest.raises(TypeError, match="potentials, target: what it returns must be a torch.Tensor"):
        gibbs_weights(A, B, 1.0, potentials=(lambda p: p[:, 0], lambda p: p[:, 0].numpy()))
    with pytest.raises(TypeError, match="what the cost returns must be a torch.Tensor.*ndarray"):
        gibbs_weights(A, B, 1.0, lambda a, b: (a - b).norm(dim=1).numpy())
    for factor, words in ((lambda p: p[:, :1], r"shape \[6, 1\]"), (lambda p: p[:, 0] * math.nan, "not all finite")):
        with pytest.raises(ValueError, match=f"potentials, target: .*{words}"):
            tilt_diagnostics(A, B, 1.0, potentials=(lambda p: p[:, 0], factor))


def test_factors_keep_their_reference_when_a_buffer_is_filled_anew():
    x, y = A.clone(), B.clone()
    plan = sinkhorn_potentials(x, y, 1.0)
    before = plan.source(X), plan.target(Y)
    x.zero_()
    y.zero_()
    assert torch.equal(plan.source(X), before[0])
    assert torch.equal(plan.target(Y), before[1])


def test_matchers_with_plans_can_be_compared_and_copied():
    one, other = (WeightedConditionalFlowMatcher(1.0, potentials=sinkhorn_potentials(A, B, 1.0)) for _ in range(2))
    assert one == one
    assert one != other
    assert WeightedConditionalFlowMatcher(1.0) == WeightedConditionalFlowMatcher(1.0)
    assert torch.equal(copy.deepcopy(one).weights(A, B), one.weights(A, B))


def test_nothing_that_is_handed_over_is_changed_and_only_the_path_draws():
    x, y, weight = A.clone().requires_grad_(), B.clone(), torch.ones(6)
    state = torch.get_rng_state()
    plan = sinkhorn_potentials(x, y, 2.0)
    tilt_diagnostics(x, y, 2.0, potentials=plan)
    select_epsilon(x, y, [4.0, 8.0, 16.0, 64.0])
    weights = WeightedConditionalFlowMatcher(2.0, potentials=plan).weights(x, y)
    weighted_flow_loss(x, y, weight).backward()
    integrate(lambda t, x: x.mul_(1.0), x, 2)
    wasserstein2(x, y)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, A)
    assert torch.equal(y, B)
    assert not weights.requires_grad
    assert not plan.source(x).requires_grad
