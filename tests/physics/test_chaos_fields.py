"""Functions of users: written as for one state, of NumPy, detached, classes, Jacobians of another shape."""

import math
import re
import warnings

import numpy as np
import pytest
import torch

from entrokit.physics.chaos import (
    FunctionFlow,
    Lorenz,
    henon,
    lyapunov_spectrum,
    map_lyapunov_spectrum,
    rk4,
    sample_flow,
)

ALONE = [1.0, 2.0, 3.0]
BATCH = [[1.0, 2.0, 3.0], [-2.0, 0.5, 1.0], [0.3, 4.0, -1.0]]
SAME = [ALONE] * 3
LORENZ = Lorenz(sigma=10, rho=28, beta=2)


def by_first_index(s):
    return torch.stack([10 * (s[1] - s[0]), s[0] * (28 - s[2]) - s[1], s[0] * s[1] - 2 * s[2]])


def by_unpacking(s):
    x, y, z = s
    return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 2 * z], -1)


def by_columns(s):
    return torch.stack(
        [10 * (s[:, 1] - s[:, 0]), s[:, 0] * (28 - s[:, 2]) - s[:, 1], s[:, 0] * s[:, 1] - 2 * s[:, 2]], 1
    )


def by_a_mean_of_all(s):
    return s.sin().mean() - s


def of_numpy_inside(s):
    return torch.from_numpy(LORENZ.of_arrays(np.moveaxis(s.numpy(), -1, 0))).movedim(0, -1)


def of_numpy(s):
    return of_numpy_inside(s).numpy()


def detached(s):
    return LORENZ(s.detach())


@pytest.mark.parametrize("start", [ALONE, BATCH, BATCH[:2], SAME], ids=["alone", "batch", "two", "same"])
@pytest.mark.parametrize("field", [by_first_index, by_unpacking], ids=lambda f: f.__name__)
def test_a_field_of_one_state_is_named_by_exponents(field, start):
    with pytest.raises(ValueError, match=rf"{field.__name__}: .*s\[\.\.\., 0\] is the first coordinate of every state"):
        lyapunov_spectrum(field, start, 0.01, 3)


@pytest.mark.parametrize("start", [BATCH, BATCH[:2], SAME], ids=["batch", "two", "same"])
@pytest.mark.parametrize("field", [by_first_index, by_unpacking], ids=lambda f: f.__name__)
def test_a_field_of_one_state_is_named_by_trajectories_of_many(field, start):
    with pytest.raises(ValueError, match=rf"{field.__name__}: .*s\[0\] the first state"):
        rk4(field, start, 0.01, 3)
    flow = FunctionFlow(label="mine", field=field, period=1.0, start=ALONE)
    for method in ("rk4", "radau"):
        with pytest.raises(ValueError, match=r"mine: .*s\[0\] the first state"):
            sample_flow(flow, 2, 2, start=start, transient=0, method=method)


def test_a_trajectory_of_one_state_takes_a_field_of_one_state():
    expected = rk4(LORENZ, ALONE, 0.01, 3)
    for field in (by_first_index, by_unpacking):
        torch.testing.assert_close(rk4(field, ALONE, 0.01, 3), expected, rtol=1e-12, atol=0)


def test_a_trajectory_of_a_batch_takes_a_field_of_batches_alone():
    torch.testing.assert_close(rk4(by_columns, BATCH, 0.01, 3), rk4(LORENZ, BATCH, 0.01, 3), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"by_columns: of states \[3\] it raised IndexError: too many indices"):
        rk4(by_columns, ALONE, 0.01, 3)
    with pytest.raises(ValueError, match=r"by_columns: of states \[3, 1, 3\]"):
        lyapunov_spectrum(by_columns, BATCH, 0.01, 3)


@pytest.mark.parametrize("start", [ALONE, BATCH, SAME], ids=["alone", "batch", "same"])
def test_a_state_that_goes_elsewhere_among_others_is_named(start):
    message = r"by_a_mean_of_all: gives \[.*\] for a state among others, and \[.*\] for the same state alone"
    with pytest.raises(ValueError, match=message):
        lyapunov_spectrum(by_a_mean_of_all, start, 0.01, 3)


def test_rounding_at_a_fixed_point_is_no_difference():
    """There a field is nothing but what its sums are rounded by, and products of other sizes round otherwise."""
    point = torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = lyapunov_spectrum(lambda x: x - point + len(x) * 2.0**-52, point.expand(9, 2), 0.1, 3)
    # exp(0.1) in the four terms of the Runge-Kutta step.
    step = sum(0.1**k / math.factorial(k) for k in range(5))
    torch.testing.assert_close(found, torch.full_like(found, 10 * math.log(step)), rtol=1e-9, atol=0)


def test_what_numpy_computes_needs_a_jacobian():
    message = "of_numpy_inside: torch.func cannot differentiate it .* or give its Jacobian"
    for call in (lyapunov_spectrum, map_lyapunov_spectrum):
        with pytest.raises(ValueError, match=message):
            call(of_numpy_inside, ALONE, *([0.01, 3] if call is lyapunov_spectrum else [3]))
    found = lyapunov_spectrum(of_numpy_inside, BATCH, 0.01, 3, LORENZ.jacobian)
    torch.testing.assert_close(found, lyapunov_spectrum(LORENZ, BATCH, 0.01, 3), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"of_numpy: gives ndarray for states \[3\], and not a torch.Tensor"):
        lyapunov_spectrum(of_numpy, ALONE, 0.01, 3)
    with pytest.raises(ValueError, match=r"jac: gives ndarray for states \[1, 3\], and not a torch.Tensor"):
        lyapunov_spectrum(LORENZ, ALONE, 0.01, 3, lambda s: np.eye(3))
    with pytest.raises(ValueError, match="a tensor of torch.complex128"):
        rk4(lambda x: x * 1j, ALONE, 0.01, 3)


@pytest.mark.parametrize(
    ("field", "jac"),
    [(detached, None), (LORENZ, lambda s: LORENZ.jacobian(s).mT), (LORENZ, lambda s: -LORENZ.jacobian(s))],
    ids=["detached", "transposed", "sign"],
)
def test_a_jacobian_of_something_else_is_named(field, jac):
    with pytest.raises(ValueError, match=r"jac: at the states that were given it is \[\[.* differences of the field"):
        lyapunov_spectrum(field, BATCH, 0.01, 3, jac)


def test_a_transposed_jacobian_with_the_same_sums_is_named():
    shift = torch.eye(3, dtype=torch.float64).roll(1, 1)
    lyapunov_spectrum(lambda x: x.roll(-1, -1), [0.1, 0.2, 0.3], 0.01, 3, lambda _: shift)
    with pytest.raises(ValueError, match="jac: at the states that were given it is"):
        lyapunov_spectrum(lambda x: x.roll(-1, -1), [0.1, 0.2, 0.3], 0.01, 3, lambda _: shift.T)


def jacobian_of_one_state(s):
    none, one = torch.zeros_like(s[0]), torch.ones_like(s[0])
    rows = [[-10 * one, 10 * one, none], [28 - s[2], -one, -s[0]], [s[1], s[0], -2 * one]]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


@pytest.mark.parametrize(
    ("jac", "message"),
    [
        (jacobian_of_one_state, r"jac: of states \[1, 3\] it raised IndexError"),
        (lambda s: torch.tensor([-10.0, -1.0, -2.0]), r"jac: gives \[3\] for states \[1, 3\]; \[\.\.\., D\] goes to"),
        (lambda s: torch.tensor(1.0), r"jac: gives \[\] for states"),
        (lambda s: torch.eye(3).expand(4, 1, 3, 3), r"jac: gives \[4, 1, 3, 3\]"),
    ],
    ids=["one-state", "diagonal", "number", "more"],
)
def test_jacobians_of_another_shape_are_named(jac, message):
    with pytest.raises(ValueError, match=message):
        lyapunov_spectrum(LORENZ, ALONE, 0.01, 3, jac)


@pytest.mark.parametrize("starts", [[1.0, 1.0], [[1.0, 1.0], [0.5, -2.0]], [[[1.0, 1.0]] * 3] * 2], ids=len)
def test_one_matrix_may_stand_for_the_jacobian_of_a_flow(starts):
    pull = torch.tensor([[-0.5, 0.3], [0.0, -2.0]])
    found = lyapunov_spectrum(lambda x: x @ pull.double().T, starts, 0.1, 40, lambda _: pull)
    expected = lyapunov_spectrum(lambda x: x @ pull.double().T, starts, 0.1, 40)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lyapunov_spectrum(Lorenz, ALONE, 0.01, 3), "Lorenz: is a class; Lorenz() makes a flow of it"),
        (lambda: rk4(Lorenz, ALONE, 0.01, 3), "Lorenz: is a class"),
        (lambda: rk4(torch.eye(3), ALONE, 0.01, 3), "f: a flow or a function of states is expected; got Tensor"),
        (
            lambda: lyapunov_spectrum(LORENZ, ALONE, 0.01, 3, np.eye(3)),
            "jac: a function that returns the Jacobian of states is expected; got a nda",
        ),
        (lambda: map_lyapunov_spectrum(henon(), [0.1, 0.1], 3, np.eye(2)), "jac: a function that returns"),
    ],
)
def test_what_is_no_function_is_named(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


def test_a_flow_that_says_nothing_says_so():
    from entrokit.physics.chaos import Flow

    with pytest.raises(NotImplementedError, match="`FunctionFlow` takes a function"):
        rk4(Flow(period=1.0, start=(1.0,)), [1.0], 0.1, 3)


@pytest.mark.parametrize("f", [lambda x: 1 - (1 - 2 * x).abs(), lambda x: (2 * x) % 1.0], ids=["tent", "doubling"])
def test_an_orbit_that_floating_point_collapsed_is_told(f):
    with pytest.warns(
        RuntimeWarning, match=r"1 of 1 orbits collapsed in floating point: .* \[0\.0\], which repels"
    ) as caught:
        map_lyapunov_spectrum(f, [0.1234567], 2000)
    assert caught[0].filename == __file__


def test_orbits_that_end_where_they_should_are_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of a fixed point that attracts, of a start on one that repels, of a superstable one, and of chaos.
        map_lyapunov_spectrum(lambda x: 2.5 * x * (1 - x), [0.3], 500)
        map_lyapunov_spectrum(lambda x: 4.0 * x * (1 - x), [0.0], 10)
        assert float(map_lyapunov_spectrum(lambda x: 2.0 * x * (1 - x), [0.3], 50)) < -1
        map_lyapunov_spectrum(henon(), [0.1, 0.1], 500)
