"""Slopes by forward mode and by differences: whichever, of a model in evaluation mode."""

import pytest
import torch
from torch import nn

from entrokit.optim.radius import logit_spread
from entrokit.optim.radius.slopes import slopes_along

from .directions import direction_of, network, normal, t, values_of


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.tanh()


class Opaque(nn.Module):
    def forward(self, x):
        return NoForwardMode.apply(x)


def test_without_a_forward_mode_derivative_differences_are_taken():
    model, x = network(activation=Opaque()), normal(5, 4)
    v = direction_of(model)
    expected = logit_spread(network(), values_of(model), x, v, method="jvp")
    torch.testing.assert_close(logit_spread(model, values_of(model), x, v), expected, rtol=1e-6, atol=0)
    with pytest.raises(NotImplementedError):
        logit_spread(model, values_of(model), x, v, method="jvp")


def test_differences_step_by_what_outputs_do_however_long_the_parameters_are():
    """Of a large model a direction chooses few of many: a share of all their length is a long way for those."""
    parameters = {"w": t(0.3, -1.1, 2.0), "ballast": torch.full((10,), 1e6, dtype=torch.float64)}
    direction = {"w": t(1.0, -2.0, 0.5), "ballast": torch.zeros(10, dtype=torch.float64)}
    found = {
        m: slopes_along(lambda p: (2.0 + torch.sin(p["w"]),), parameters, direction, method=m)[1][0]
        for m in ("jvp", "difference")
    }
    # An entry moves by 0.025 of about 2 at most, and w by four times that (cosines are 0.4 at least): squared, over 6.
    torch.testing.assert_close(found["difference"], found["jvp"], rtol=7e-3, atol=0)


def test_differences_of_outputs_that_are_zero_have_a_slope():
    parameters, direction = {"w": torch.zeros(3, dtype=torch.float64)}, {"w": t(1.0, -2.0, 0.5)}
    _, slopes = slopes_along(lambda p: (p["w"], p["w"][:0]), parameters, direction, method="difference")
    torch.testing.assert_close(slopes[0], direction["w"], rtol=1e-9, atol=0)


def test_single_precision_differences_keep_four_digits():
    model, x = network(dtype=torch.float32), normal(5, 4).float()
    v = direction_of(model)
    exact = logit_spread(model, values_of(model), x, v, method="jvp")
    # The central difference loses eps^(2/3) = 2.4e-5, times the third derivative's size against the first.
    torch.testing.assert_close(
        logit_spread(model, values_of(model), x, v, method="difference"), exact, rtol=3e-3, atol=0
    )


def test_the_model_is_looked_at_in_evaluation_mode_and_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).double()
    model[2].eval()
    before, state = {n: b.clone() for n, b in model.named_buffers()}, torch.get_rng_state()
    x, v = normal(5, 4), direction_of(model)
    first = logit_spread(model, values_of(model), x, v)
    assert torch.equal(first, logit_spread(model, values_of(model), x, v))
    assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in model] == [True, True, False, True]
