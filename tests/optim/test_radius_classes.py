"""Which dimension of a model's logits holds the classes, and what a sigmoid is."""

import math

import pytest
import torch
from torch import nn

from entrokit.optim.radius import binary_radius, logit_spread, normalized_step, taylor_radius

from .directions import direction_of, normal, t, values_of


class Shaped(nn.Module):
    """Logits of another shape."""

    def __init__(self, out, shape):
        super().__init__()
        self.linear, self.shape = nn.Linear(4, out).double(), shape

    def forward(self, x):
        return self.shape(self.linear(x))


def test_classes_may_stand_in_any_dimension():
    # [N, K, H, W], as torch's cross_entropy takes them: another spread than that of the last dimension.
    last = Shaped(12, lambda z: z.view(-1, 2, 2, 3))
    first = Shaped(12, lambda z: z.view(-1, 2, 2, 3).movedim(-1, 1))
    first.linear = last.linear
    x, v = normal(5, 4), direction_of(last)
    own = logit_spread(last, values_of(last), x, v)
    assert own.shape == (5, 2, 2)
    for dim in (1, -3):
        torch.testing.assert_close(logit_spread(first, values_of(first), x, v, class_dim=dim), own, rtol=1e-12, atol=0)
    assert normalized_step(first, x, v, class_dim=1) == pytest.approx(normalized_step(last, x, v), rel=1e-12)
    assert normalized_step(first, x, v) != pytest.approx(normalized_step(last, x, v), rel=0.01)
    assert logit_spread(lambda p, z: z @ p["w"], {"w": t(1, 2)}, normal(3, 2), {"w": t(1, 0)}, class_dim=0).dim() == 0


def test_one_logit_is_a_pair():
    one, x = nn.Linear(4, 1).double(), normal(5, 4)
    v = direction_of(one)
    slopes = (x @ v["weight"].T + v["bias"])[:, 0]
    torch.testing.assert_close(logit_spread(one, values_of(one), x, v), slopes.abs(), rtol=1e-12, atol=0)
    # Where the logit is 0 the bound is the radius itself: the zero of 1 + exp(a t) at iπ / a.
    centred = {name: torch.zeros_like(p) for name, p in values_of(one).items()}
    bound = [taylor_radius(s) for s in logit_spread(one, centred, x, v)]
    torch.testing.assert_close(t(*bound), binary_radius(torch.zeros_like(slopes), slopes), rtol=1e-12, atol=0)


def test_every_logit_may_be_a_sigmoid_of_its_own():
    many, x = nn.Linear(4, 3).double(), normal(5, 4)
    v = direction_of(many)
    slopes = x @ v["weight"].T + v["bias"]
    torch.testing.assert_close(logit_spread(many, values_of(many), x, v, class_dim=None), slopes.abs())
    flat = Shaped(1, lambda z: z.squeeze(-1))
    v = direction_of(flat)
    own = logit_spread(flat, values_of(flat), x, v, class_dim=None)
    torch.testing.assert_close(
        own, logit_spread(flat.linear, values_of(flat.linear), x, {n[7:]: d for n, d in v.items()})
    )


@pytest.mark.parametrize(
    ("model", "dim", "says"),
    [
        (
            Shaped(1, lambda z: z.squeeze(-1)),
            -1,
            r"logits \[5\], whose dimension -1 is that of the samples.*class_dim=None",
        ),
        (Shaped(3, lambda z: z), 0, "is that of the samples"),
        (Shaped(3, lambda z: z), -2, "is that of the samples"),
        (Shaped(3, lambda z: z), 2, r"class_dim: logits \[5, 3\] have no dimension 2"),
        (Shaped(3, lambda z: z), -4, "have no dimension -4"),
    ],
)
def test_samples_are_no_classes(model, dim, says):
    with pytest.raises(ValueError, match=says):
        logit_spread(model, values_of(model), normal(5, 4), direction_of(model), class_dim=dim)


def test_batch_normalisation_is_looked_at_with_its_running_statistics():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).double().train()
    x, v = normal(5, 4), {"2.weight": normal(3, 8)}
    model[1].running_var.fill_(4.0), model[1].running_mean.fill_(1.0)
    inside = (model[0](x) - 1.0) / math.sqrt(4.0 + model[1].eps)
    slopes = (inside @ v["2.weight"].T).detach()
    torch.testing.assert_close(logit_spread(model, values_of(model), x, v), slopes.amax(1) - slopes.amin(1))
