"""Divergences: exact, probed, of fields that know theirs, and of fields that have none."""

import math

import pytest
import torch
from torch import nn

from entrokit.physics.active_matter import (
    divergence,
    epr_without_score,
    jacobian_diagonal,
    score_matching_loss,
    stationarity,
)

from .active_matter_cases import MATRIX, cubic, float64, linear, normal, seeded


def test_a_diagonal_is_every_coordinate_s_own_derivative():
    x = normal(6, 2, 3)
    value, diagonal = jacobian_diagonal(cubic, x)
    torch.testing.assert_close(value, cubic(x))
    # The flip leaves the middle of three where it is.
    torch.testing.assert_close(diagonal, 3 * x**2 + float64([0.0, 1.0, 0.0]))
    torch.testing.assert_close(divergence(cubic, x), diagonal.sum((1, 2)))
    assert divergence(torch.ones_like, x).tolist() == [0.0] * 6
    with torch.no_grad():
        assert not divergence(cubic, x).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(divergence(cubic, x), diagonal.sum((1, 2)))


def test_one_probe_is_off_by_what_is_beside_the_diagonal():
    """z·Jz of a matrix in the plane is its trace, and its two other entries with a sign: their mean is the trace."""
    plane = MATRIX[:2, :2]
    off = float(plane[0, 1] + plane[1, 0])
    found = divergence(lambda x: x @ plane.mT, normal(400, 2), method="hutchinson", generator=seeded())
    signs = (found - plane.trace()) / off
    torch.testing.assert_close(signs.abs(), torch.ones_like(signs))
    # The mean of 400 fair signs: five standard errors.
    assert abs(signs.mean().item()) < 5 / math.sqrt(400)
    many = divergence(lambda x: x @ plane.mT, normal(400, 2), method="hutchinson", probes=16, generator=seeded())
    assert (many - plane.trace()).std() < found.std() / 3


def test_a_field_that_knows_its_diagonal_is_asked():
    class Knows:
        with_diagonal = staticmethod(lambda x: (linear(x), MATRIX.diagonal().expand_as(x)))

    for method in ("exact", "hutchinson"):
        torch.testing.assert_close(divergence(Knows(), normal(4, 3), method=method), MATRIX.trace().expand(4))


def test_a_field_that_records_no_gradient_is_named_unless_it_is_the_same_everywhere():
    x = normal(5, 3)
    with pytest.raises(ValueError, match=r"records no gradient, so it has no derivative: look for torch\.no_grad"):
        divergence(torch.no_grad()(lambda x: -x), x)
    assert divergence(lambda x: torch.full_like(x, 2.0), x).eq(0).all()


def pairs(x):
    """Of two rows each, and what goes out adds up to nothing over coordinates."""
    return torch.stack([x[:, 0] + x.roll(1, 0)[:, 1], -x.roll(1, 0)[:, 1]], 1)


@pytest.mark.parametrize(
    ("field", "others"),
    [
        (lambda x: x - x.mean(0), 4),
        (lambda x: x / x.norm(), 4),
        (lambda x: nn.functional.batch_norm(x, None, None, training=True), 4),
        (pairs, 1),
    ],
    ids=["mean", "norm", "batch-norm", "cancels"],
)
@pytest.mark.parametrize("method", ["exact", "hutchinson"])
def test_a_field_that_couples_rows_is_named(field, others, method):
    x, first = normal(5, 2), 4 if others == 1 else 1
    said = f"couples rows of its batch: what it gives for row 0 depends on {others} others, the first is row {first}"
    for call in (
        lambda: divergence(field, x, method=method),
        lambda: score_matching_loss(field, x, method=method),
        lambda: epr_without_score(x, field, 1.0, method=method),
        lambda: stationarity(x, field, torch.neg, 1.0, method=method),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_a_field_may_hold_something_for_each_row_or_be_random_or_fix_its_statistics():
    x, held = normal(5, 2), normal(5, 2, seed=1)
    torch.testing.assert_close(divergence(lambda x: x * held, x), held.sum(1))
    torch.testing.assert_close(divergence(lambda x: (x - x.detach().mean(0)) ** 2, x), 2 * (x - x.mean(0)).sum(1))
    dropped = nn.Dropout(0.5)
    assert set(divergence(dropped, x.expand(200, 5, 2)[:, 0]).tolist()) == {0.0, 2.0, 4.0}
    score = lambda x: torch.autograd.grad(-x.square().sum(), x, create_graph=True)[0]  # noqa: E731
    assert divergence(score, x).tolist() == [-4.0] * 5
