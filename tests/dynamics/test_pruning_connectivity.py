"""Linear mode connectivity: worked paths, batch norms estimated anew, masks, dead ends, and what is refused."""

import copy
import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from entrokit.dynamics.pruning import (
    linear_mode_connectivity,
    path_connectivity,
    prune_magnitude,
    refresh_batch_norm,
)

from .normed_networks import LOADER, X, Y, normed, seeded, trained


class Constant(nn.Module):
    """Gives its parameter for every example."""

    def __init__(self, *values):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self, x):
        return self.w.expand(len(x), -1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.02, 0.05, 0.20, 0.45, 0.50, 0.52, 0.50, 0.44, 0.21, 0.06, 0.03], -0.495),
        ([0.3, 0.28, 0.25, 0.22, 0.2, 0.19, 0.2, 0.22, 0.25, 0.28, 0.3], 0.11),
        ([0.02] * 11, 0.0),
    ],
)
def test_check_1_worked_paths(values, expected):
    assert path_connectivity(values) == pytest.approx(expected, abs=1e-12)


def test_a_path_that_only_falls_has_no_barrier_whichever_end_is_first():
    for values in ([0.1, 0.4], [0.1, 0.2, 0.3, 0.4]):
        assert path_connectivity(values) == path_connectivity(values[::-1]) == pytest.approx(0.15, abs=1e-12)


def test_check_1_a_double_well():
    path = linear_mode_connectivity(
        Constant(-1.0), Constant(1.0), LOADER, metric=lambda w, y: (w[:, 0].square() - 1).square()
    )
    assert path.lmc == pytest.approx(-1.0, abs=1e-12)
    assert path.ts[path.values.index(max(path.values))] == 0.5
    assert path.values == pytest.approx([((2 * t - 1) ** 2 - 1) ** 2 for t in path.ts], abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.floats(0, 1))
def test_lmc_turns_with_the_path_and_does_not_see_a_shift(values, shift):
    found = path_connectivity(values)
    assert abs(found) <= 1.0
    assert path_connectivity(values[::-1]) == found
    assert abs(path_connectivity([v + shift for v in values])) == pytest.approx(abs(found), abs=1e-9)
    assert abs(path_connectivity([-v for v in values])) == pytest.approx(abs(found), abs=1e-9)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, math.nan], [0.0, math.inf]])
def test_a_path_without_two_finite_values_is_refused(values):
    with pytest.raises(ValueError, match="two finite values"):
        path_connectivity(values)


def test_points_and_ends_of_the_path():
    a, b = normed(0).eval(), normed(1).eval()
    path = linear_mode_connectivity(a, b, LOADER, points=5, metric="loss", refresh_bn=False)
    assert path.ts == [0.0, 0.25, 0.5, 0.75, 1.0]
    for model, value in ((a, path.values[0]), (b, path.values[-1])):
        with torch.no_grad():
            assert value == pytest.approx(float(functional.cross_entropy(model(X).float(), Y)), rel=1e-5)
    middle = copy.deepcopy(a)
    middle.load_state_dict(
        {k: v if not v.is_floating_point() else (v + b.state_dict()[k]) / 2 for k, v in a.state_dict().items()}
    )
    with torch.no_grad():
        expected = float(functional.cross_entropy(middle(X).float(), Y))
    assert path.values[2] == pytest.approx(expected, rel=1e-5)


def test_with_statistics_anew_every_point_is_a_network_that_was_refreshed():
    a, b = trained(0), trained(1)
    path = linear_mode_connectivity(a, b, LOADER, points=3)
    expected = []
    for t in (0.0, 0.5, 1.0):
        between = copy.deepcopy(a)
        with torch.no_grad():
            for p, p_a, p_b in zip(between.parameters(), a.parameters(), b.parameters(), strict=True):
                p.copy_(torch.lerp(p_a, p_b, t))
        refresh_batch_norm(between, LOADER)
        with torch.no_grad():
            expected.append(float((between.eval()(X).argmax(1) != Y).double().mean()))
    assert path.values == pytest.approx(expected, abs=1e-12)


def test_without_the_refresh_a_barrier_is_overstated():
    """Two units of variance 1 that are independent: their mean has 1/2, which only new statistics bring back to 1."""
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).double()
    loader = [(x, torch.zeros(4, dtype=torch.long))]

    def unit(*weights):
        model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1, eps=1e-30)).double()
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([weights]))
        return model

    fresh, stale = (
        linear_mode_connectivity(
            unit(1.0, 0.0), unit(0.0, 1.0), loader, 3, lambda output, y: output[:, 0].square(), refresh_bn=refresh
        )
        for refresh in (True, False)
    )
    # Running variances have the unbiased estimate, 4/3 of that of the batch.
    assert fresh.values == pytest.approx([0.75, 0.75, 0.75], abs=1e-9)
    assert stale.values == pytest.approx([1.0, 0.5, 1.0], abs=1e-9)
    assert (fresh.lmc, stale.lmc) == pytest.approx((0.0, 0.5), abs=1e-9)


def test_models_and_modes_stay_as_they_were():
    a, b = trained(0), trained(1)
    b[1].eval()
    before = [copy.deepcopy(m.state_dict()) for m in (a, b)]
    linear_mode_connectivity(a, b, LOADER)
    for model, state in zip((a, b), before, strict=True):
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert a.training
    assert a[1].training
    assert not b[1].training


def test_pruned_networks_are_taken_with_their_masks_also_where_these_differ():
    a, b = trained(0), trained(1)
    plain = []
    for model in (a, b):
        prune_magnitude(model, 0.5)
        with torch.no_grad():
            model[0].weight_orig.add_(1.0)
        twin = normed(0)
        twin.load_state_dict(
            {
                name.removesuffix("_orig"): value * model[0].weight_mask if name.endswith("_orig") else value
                for name, value in model.state_dict().items()
                if not name.endswith("_mask")
            }
        )
        plain.append(twin)
    assert not torch.equal(a[0].weight_mask, b[0].weight_mask)
    found = linear_mode_connectivity(a, b, LOADER, metric="loss")
    assert found.values == linear_mode_connectivity(*plain, LOADER, metric="loss").values


def test_a_network_and_itself_are_connected():
    path = linear_mode_connectivity(*[trained(0)] * 2, LOADER)
    assert path.lmc == 0.0
    assert len(path.ts) == 11


def test_dead_ends_are_not_connected_but_nothing():
    dead, alive = Constant(1.0, 0.0, 0.0), Constant(1.0, 0.0, 0.0)
    with pytest.warns(RuntimeWarning, match="learnt nothing"):
        assert math.isnan(linear_mode_connectivity(dead, alive, LOADER).lmc)
    model = trained(0)
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken[3].weight.zero_()
    with pytest.warns(RuntimeWarning, match="at least one of them"):
        assert math.isnan(linear_mode_connectivity(model, broken, LOADER).lmc)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_mode_connectivity(model, broken, LOADER, metric="loss")


def test_data_of_a_single_label_has_no_chance_to_compare_with():
    one = [(X, torch.zeros(60, dtype=torch.long))]
    assert linear_mode_connectivity(Constant(1.0, 0.0), Constant(2.0, 0.0), one).lmc == 0.0


def test_tied_weights_and_half_precision():
    def tied(seed):
        model = seeded(lambda: nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5)), seed).bfloat16()
        model[2].weight = model[0].weight
        return model

    loader = [(X.bfloat16(), Y)]
    path = linear_mode_connectivity(tied(0), tied(1), loader, points=3, metric="loss")
    middle = tied(0)
    with torch.no_grad():
        for p, q in zip(middle.parameters(), tied(1).parameters(), strict=True):
            p.copy_(0.5 * p + 0.5 * q)
        expected = float(functional.cross_entropy(middle(X.bfloat16()).float(), Y))
    assert path.values[1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"points": 1}, ValueError, "two points"),
        ({"metric": "accuracy"}, ValueError, "metric must be"),
        ({"metric": lambda output, y: output.mean()}, ValueError, "one number for each of 25"),
        ({"loader": []}, ValueError, "no example"),
        ({"loader": iter(LOADER)}, TypeError, "not an iterator"),
        ({"model_b": nn.Linear(5, 3).double()}, ValueError, "in one network alone"),
        (
            {"model_b": nn.Sequential(nn.Linear(5, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 3)).double()},
            ValueError,
            "0.weight has shapes",
        ),
    ],
)
def test_what_is_refused(options, error, message):
    given = {"model_a": normed(0), "model_b": normed(1), "loader": LOADER} | options
    with pytest.raises(error, match=message):
        linear_mode_connectivity(**given)


def test_outputs_that_are_not_finite_are_refused():
    model = normed(0)
    with torch.no_grad():
        model[3].bias[0] = math.nan
    with pytest.raises(ValueError, match="outputs at t = 0 hold NaN or inf"):
        linear_mode_connectivity(normed(1), model, LOADER)


def test_buffers_that_are_infinite_and_alike_stay():
    class Masked(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.layer = seeded(lambda: nn.Linear(5, 3).double(), seed)
            self.register_buffer("mask", torch.tensor([0.0, -math.inf, 0.0], dtype=torch.float64))

        def forward(self, x):
            return self.layer(x) + self.mask.clamp(min=-50.0)

    path = linear_mode_connectivity(Masked(0), Masked(1), LOADER, points=3, metric="loss")
    assert all(math.isfinite(value) for value in path.values)


def test_a_loader_is_gone_through_no_oftener_than_needed():
    class Counting:
        times = 0

        def __iter__(self):
            self.times += 1
            return iter(LOADER)

    loader = Counting()
    linear_mode_connectivity(trained(0), trained(1), loader, points=3)
    # Twice a point, and once for the commonest label.
    assert loader.times == 7


def test_chance_is_the_commonest_label():
    """One answer for all errs in a tenth of these examples, and has learnt nothing."""
    rare = [(X, (torch.arange(60) % 10 == 0).long())]
    with pytest.warns(RuntimeWarning, match="the ends err in 0.10 and 0.10"):
        assert math.isnan(linear_mode_connectivity(Constant(1.0, 0.0), Constant(2.0, 0.0), rare, points=2).lmc)
