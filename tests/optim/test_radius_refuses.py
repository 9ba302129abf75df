"""What radii are not of: shapes, options and numbers that are refused, and lengths that overflow."""

import math

import pytest
import torch
from torch import nn

from entrokit.optim.radius import (
    GaussGLU,
    activation_radius,
    exact_radius,
    kl_step_bounds,
    linear_logit_spread,
    logit_spread,
    ria,
    slope_spread,
    taylor_radius,
    top_two_radius,
)
from entrokit.optim.radius.slopes import length_of, slopes_along

from .directions import direction_of, network, normal, t, values_of

HEAD = (normal(4, 2), normal(4, 2), normal(3, 2))


def nan_direction(model):
    v = direction_of(model)
    v["0.bias"][0] = math.nan
    return v


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, x: logit_spread(m, values_of(m), x, nan_direction(m)), r"direction\['0.bias'\]: holds NaN"),
        (lambda m, x: logit_spread(m, values_of(m), x, {"3.bias": t(1)}), "no parameter '3.bias'"),
        (lambda m, x: logit_spread(m, values_of(m), x, {"0.bias": t(1)}), r"expected \[8\], got \[1\]"),
        (lambda m, x: logit_spread(m, values_of(m), x, direction_of(m), method="exact"), "method: must be one of"),
        (
            lambda m, x: slopes_along(lambda p: (), {"w": t(1).bfloat16()}, {"w": t(1)}, method="difference"),
            "few digits",
        ),
        (lambda m, x: taylor_radius(t(1, math.nan)), "1 of 2 samples are NaN or negative"),
        (lambda m, x: taylor_radius(t(-1)), "negative"),
        (lambda m, x: taylor_radius(t(1), "mean"), "reduction: must be"),
        (lambda m, x: taylor_radius(t(1), 1.5), "reduction: must be"),
        (lambda m, x: slope_spread(t(1, 2), t(1)), "of one shape"),
        (lambda m, x: exact_radius(t(1, 2), t(1)), "of one shape"),
        (lambda m, x: exact_radius(t(1, math.nan), t(1, 2)), "finite or -inf"),
        (lambda m, x: top_two_radius(t(1), t(1)), "K at least 2"),
        (lambda m, x: activation_radius(t(1), t(1), "swish"), "must be one of"),
        (lambda m, x: ria(t(1), 0.0), "beta must be above 0"),
        (lambda m, x: ria(t(0), math.inf), "beta must be above 0 and finite, got inf"),
        (lambda m, x: GaussGLU(1, 1, beta=-1.0), "beta must be above 0"),
        (lambda m, x: GaussGLU(1, 1, beta=math.inf), "beta must be above 0 and finite"),
        (lambda m, x: linear_logit_spread(t(1, 2), t(1), t(1, 2)[None]), "expected hidden and hidden_slope"),
        (lambda m, x: linear_logit_spread(t(1), t(1), t(1)[None], temperature=0.0), "must be above 0"),
        (lambda m, x: linear_logit_spread(t(1), t(1), t(1)[None], softcap=0.0), "must be above 0"),
        (lambda m, x: linear_logit_spread(*HEAD, normal(1, 2)), r"expected weight_slope \[3, 2\], got \[1, 2\]"),
        (lambda m, x: linear_logit_spread(*HEAD, bias=t(1)), r"expected bias \[3\], got \[1\]"),
        (lambda m, x: linear_logit_spread(*HEAD, bias_slope=t(1)), r"expected bias_slope \[3\], got \[1\]"),
        (lambda m, x: kl_step_bounds(t(1, 2), t(1)), "of one shape"),
    ],
)
def test_what_does_not_fit_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call(network(), normal(2, 4))


def test_a_model_without_logits_is_refused():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x, self.weight

    with pytest.raises(TypeError, match="returns tuple, neither logits"):
        logit_spread(Pair(), values_of(Pair()), normal(2, 2), {"weight": torch.ones(2)})


def test_lengths_do_not_overflow():
    assert length_of({"a": t(3e200), "b": t(4e200)}) == pytest.approx(5e200)
    assert math.isinf(length_of({"a": t(math.inf), "b": t(1)}))
    assert length_of({}) == 0.0
