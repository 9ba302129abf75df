"""Flows of the dysts package, by what they have and without the package."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from entrokit.physics.chaos import from_dysts, lyapunov_spectrum


@dataclass
class LikeDysts:
    """What a flow of dysts has, without the package."""

    name = "LikeDysts"
    ic = np.array([1.0, 2.0])
    period = 2.0
    own: bool = True

    def rhs(self, state, t):
        x, y = state
        return (x * y, np.sin(x))

    def has_jacobian(self):
        return self.own

    def jac(self, state, t):
        x, y = state
        return ([y, x], [np.cos(x), 0])

    def _postprocessing(self, x, y):
        return np.sin(x), y


@pytest.mark.parametrize("own", [True, False])
def test_a_flow_of_dysts_is_taken_as_it_is(own):
    flow = from_dysts(LikeDysts(own))
    x = torch.tensor([[0.3, -0.2], [1.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(flow(x), torch.stack([x[:, 0] * x[:, 1], x[:, 0].sin()], 1))
    expected = torch.tensor([[[-0.2, 0.3], [math.cos(0.3), 0]], [[0.5, 1], [math.cos(1), 0]]]).double()
    torch.testing.assert_close(flow.jacobian(x), expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(flow.observe(x)[:, 0], x[:, 0].sin())
    assert flow.start == (1.0, 2.0)
    assert lyapunov_spectrum(flow, flow.start, 0.01, 5).shape == (2,)


def delayed():
    system = LikeDysts()
    system.delayed_rhs = None
    return system


def unlike():
    system = LikeDysts()
    system.period = None
    return system


@pytest.mark.parametrize(("system", "message"), [(delayed, "has a delay"), (unlike, "lacks period")])
def test_what_is_no_flow_of_dysts_is_named(system, message):
    with pytest.raises(ValueError, match=message):
        from_dysts(system())
