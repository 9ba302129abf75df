"""Pruning, retraining, SAM, regimes and their diagram: the sheet's numbers, the published grid, and what is refused."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from entrokit.dynamics.pruning import (
    RegimeDiagram,
    advise_temperature,
    agreement,
    choose_dense,
    classify_regime,
    density_of,
    linear_cka,
    linear_mode_connectivity,
    mean_jensen_shannon,
    probe_pruning,
    prune_magnitude,
    sam_step,
)
from entrokit.papers.dynamics import _three_regime_grid as published

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = X[:, :3].argmax(1)
LOADER = [(X[:32], Y[:32]), (X[32:], Y[32:])]


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))


def steps(model, seed=0, count=10, **options):
    optimizer = torch.optim.SGD(model.parameters(), **({"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1} | options))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        rows = torch.randperm(64, generator=generator)[:16]
        optimizer.zero_grad()
        functional.cross_entropy(model(X[rows]), Y[rows]).backward()
        optimizer.step()


# Check 3: sharpness-aware minimisation.


def bowl(start):
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.1)
    at = []

    def closure():
        optimizer.zero_grad()
        at.append(w.detach().clone())
        loss = (w[0] ** 2 + 4 * w[1] ** 2) / 2
        loss.backward()
        return loss

    return w, optimizer, closure, at


def test_check_3_a_step_of_sam():
    w, optimizer, closure, at = bowl([1.0, 2.0])
    assert float(sam_step(optimizer, closure, rho=0.1).detach()) == 8.5
    torch.testing.assert_close(at[1] - at[0], torch.tensor([0.012403, 0.099228]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(w.grad, torch.tensor([1.012403, 8.396911]).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(w.detach(), torch.tensor([0.898760, 1.160309]).double(), atol=1e-6, rtol=0)


def test_without_a_radius_or_a_gradient_it_is_the_plain_step():
    w, optimizer, closure, _ = bowl([1.0, 2.0])
    sam_step(optimizer, closure, rho=0.0)
    torch.testing.assert_close(w.detach(), torch.tensor([0.9, 1.2], dtype=torch.float64), rtol=1e-12, atol=0)
    w, optimizer, closure, at = bowl([0.0, 0.0])
    sam_step(optimizer, closure, rho=0.1)
    assert torch.equal(w.detach(), torch.zeros(2).double())
    assert torch.equal(at[0], at[1])


def test_the_norm_is_over_all_groups_and_parameters_without_gradient_are_left():
    a, b, idle = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(3))
    optimizer = torch.optim.SGD([{"params": [a]}, {"params": [b, idle]}], lr=0.1)
    seen = []

    def closure():
        optimizer.zero_grad()
        seen.append((a.item(), b.item()))
        loss = 3 * a.sum() + 4 * b.sum()
        loss.backward()
        return loss

    sam_step(optimizer, closure, rho=0.5)
    assert seen[1] == pytest.approx((1.3, 1.4), abs=1e-9)
    assert (a.item(), b.item(), idle.item()) == pytest.approx((0.7, 0.6, 1.0), abs=1e-9)


@pytest.mark.parametrize("at", [1, 2])
def test_a_gradient_that_is_not_finite_moves_nothing(at):
    w, optimizer, closure, seen = bowl([1.0, 2.0])

    def poisoned():
        loss = closure()
        if len(seen) == at:
            w.grad[0] = math.nan
        return loss

    with pytest.raises(ValueError, match="no step was taken"):
        sam_step(optimizer, poisoned, rho=0.1)
    assert w.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("rho", [-0.1, math.nan, math.inf])
def test_a_radius_that_is_none_is_refused(rho):
    w, optimizer, closure, seen = bowl([1.0, 2.0])
    with pytest.raises(ValueError, match="rho"):
        sam_step(optimizer, closure, rho=rho)
    assert not seen
    assert w.tolist() == [1.0, 2.0]


# Check 4: pruning.


@given(st.floats(0.03, 1.0))
def test_check_4_density_is_exact_to_a_weight(density):
    layers = {"0.weight": 54, "3.weight": 63}
    model = network()
    masks = prune_magnitude(model, density)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {n: round(density * k) for n, k in layers.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a layer may be emptied
        together = prune_magnitude(other := network(), density, "global")
    assert sum(int(mask.sum()) for mask in together.values()) == round(density * 117)
    assert density_of(other) == round(density * 117) / 117
    assert not hasattr(model[5], "weight_mask")


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_the_largest_weights_stay(scope):
    model = network()
    before = {f"{i}.weight": model[i].weight.detach().abs().clone() for i in (0, 3)}
    masks = prune_magnitude(model, 0.3, scope)
    together = [list(masks)] if scope == "global" else [[name] for name in masks]
    for names in together:
        stay = torch.cat([before[n][masks[n]] for n in names])
        go = torch.cat([before[n][~masks[n]] for n in names])
        assert float(stay.min()) > float(go.max())
    for i in (0, 3):
        assert torch.equal(model[i].weight != 0, masks[f"{i}.weight"])


def test_check_4_both_scopes_agree_for_one_layer():
    a, b = (prune_magnitude(network(), 0.4, scope, skip=("0", "5"))["3.weight"] for scope in ("uniform", "global"))
    assert torch.equal(a, b)
    layer = network()
    prune.l1_unstructured(layer[3], "weight", 63 - round(0.4 * 63))
    assert torch.equal(a, layer[3].weight_mask.bool())


def test_check_4_masked_weights_stay_zero_with_momentum_and_decay():
    model = network()
    masks = prune_magnitude(model, 0.2)
    start = model[0].weight_orig.detach().clone()
    steps(model)
    model(X)
    for name, mask in masks.items():
        weight = model.get_submodule(name.split(".")[0]).weight
        assert bool((weight[~mask] == 0).all())
        assert bool((weight[mask] != 0).all())
    assert not torch.equal(model[0].weight_orig.detach(), start)
    prune.remove(model[0], "weight")
    assert torch.equal(model[0].weight != 0, masks["0.weight"])


def test_pruning_goes_on_from_what_the_optimizer_left():
    model = network()
    first = prune_magnitude(model, 0.5)["0.weight"].clone()
    with torch.no_grad():
        model[0].weight_orig.copy_(torch.arange(54.0).view(9, 6) + 1)  # `weight` is still that of the last forward
    second = prune_magnitude(model, 0.25)["0.weight"]
    assert int(second.sum()) == round(0.25 * 54)
    assert not bool((second & ~first).any())
    kept = model[0].weight_orig.detach()
    assert float(kept[second].min()) > float(kept[first & ~second].max())
    assert density_of(model) == (round(0.25 * 54) + round(0.25 * 63)) / 117


def test_convolutions_half_precision_and_strides():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 2, 3), nn.Flatten(), nn.Linear(8, 3)
    ).half()
    model[0].weight = nn.Parameter(model[0].weight.detach().permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0))
    masks = prune_magnitude(model, 0.5)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"0.weight": 18, "2.weight": 36}


def test_a_layer_that_global_pruning_empties_is_named():
    model = network()
    with torch.no_grad():
        model[3].weight.mul_(1e-6)
    with pytest.warns(RuntimeWarning, match=r"nothing is left of 3\.weight"):
        prune_magnitude(model, 0.3, "global")


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    return model


def poisoned():
    model = network()
    with torch.no_grad():
        model[3].weight[0, 0] = math.nan
    return model


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (network, {"density": 0.0}, "density is the share"),
        (network, {"density": 1.01}, "density is the share"),
        (network, {"density": math.nan}, "density is the share"),
        (network, {"density": 0.5, "scope": "local"}, "scope is"),
        (network, {"density": 0.5, "skip": ["4"]}, "skip names '4'"),
        (network, {"density": 0.001}, "none of the 54 weights of 0 stays"),
        (lambda: nn.Linear(4, 2), {"density": 0.5}, "no layer to prune"),
        (nn.ReLU, {"density": 0.5}, "no layer to prune"),
        (tied, {"density": 0.5}, "the weight of 0 is tied"),
        (poisoned, {"density": 0.5}, "the weight of 3 holds NaN"),
        (lambda: nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)), {"density": 0.5}, "0 has no weights yet"),
        (lambda: nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 2)), {"density": 0.5}, "0 has no weights yet"),
    ],
)
def test_what_cannot_be_pruned_is_refused_and_left(model, options, message):
    model = model()
    with pytest.raises(ValueError, match=message):
        prune_magnitude(model, **options)
    assert not any(name.endswith("_mask") for name, _ in model.named_buffers())


def test_what_is_sparser_already_is_refused():
    model = network()
    prune_magnitude(model, 0.2)
    with pytest.raises(ValueError, match="of 0 11 of 54 weights are left"):
        prune_magnitude(model, 0.5)
    with pytest.raises(ValueError, match="no layer has a mask"):
        density_of(network())


# A cell of the diagram.


def test_a_probe_is_its_parts_put_together():
    dense = network()
    steps(dense, count=30, weight_decay=0.0)
    state = copy.deepcopy(dense.state_dict())
    seen = []

    def retrain(model, seed):
        assert all(
            torch.equal(p, q) for p, q in zip(model.parameters(), seen[0] if seen else model.parameters(), strict=True)
        )
        seen.append([p.detach().clone() for p in model.parameters()])
        steps(model, seed, lr=0.05)

    found = probe_pruning(dense, retrain, LOADER, 0.5, seeds=(3, 1, 2))
    assert all(torch.equal(state[name], value) for name, value in dense.state_dict().items())
    assert [density_of(n) for n in found.networks] == [(27 + 32) / 117] * 3
    assert len(seen) == 3
    a, b, c = found.networks
    for i, (left, right) in enumerate(((a, b), (a, c), (b, c))):
        with torch.no_grad():
            p, q = left.eval()(X), right.eval()(X)
        assert found.lmc[i] == linear_mode_connectivity(left, right, LOADER).lmc
        assert found.cka[i] == pytest.approx(linear_cka(p.softmax(1), q.softmax(1)), abs=1e-5)
        assert found.jsd[i] == pytest.approx(mean_jensen_shannon(p, q), abs=1e-5)
        assert found.agreement[i] == agreement(p, q)
    assert found.means()["cka"] == pytest.approx(sum(found.cka) / 3, abs=1e-12)
    assert set(found.means()) == {"lmc", "cka", "jsd", "agreement"}


def test_logits_have_another_cka_and_diverged_copies_are_named():
    dense = network()
    steps(dense, count=30)
    softmax, logits = (
        probe_pruning(dense, steps, LOADER, 0.5, seeds=(0, 1), of=of).cka[0] for of in ("softmax", "logits")
    )
    assert softmax != pytest.approx(logits, abs=1e-6)

    def diverge(model, seed):
        with torch.no_grad():
            model[5].bias.fill_(math.nan if seed else 0.0)

    with pytest.raises(ValueError, match="network 1 hold NaN or inf"):
        probe_pruning(dense, diverge, LOADER, 0.5, seeds=(0, 1))
    with pytest.raises(ValueError, match="two or more different seeds"):
        probe_pruning(dense, steps, LOADER, 0.5, seeds=(1, 1))
    with pytest.raises(ValueError, match="of is"):
        probe_pruning(dense, steps, LOADER, 0.5, of="probabilities")


# Regimes.


@pytest.mark.parametrize(
    ("lmc", "cka", "options", "expected"),
    [
        (-0.2, 0.999, {}, "I"),
        (-0.2, math.nan, {}, "I"),
        (-0.1, 0.995, {}, "II-B"),
        (-0.1, 0.994, {}, "II-A"),
        (0.2, 0.5, {}, "II-A"),
        (0.0, 0.956, {"cka_reference": 0.96}, "II-B"),
        (0.0, 0.954, {"cka_reference": 0.96}, "II-A"),
        (0.0, 0.9, {"cka_reference": 0.9, "tau_s": 0}, "II-B"),
        (-0.11, 0.9, {"tau_c": 0.12, "cka_reference": 0.9}, "II-B"),
    ],
)
def test_regimes(lmc, cka, options, expected):
    assert classify_regime(lmc, cka, **options) == expected


def test_advice():
    assert [advise_temperature(r) for r in ("I", "II-A", "II-B")] == [1, -1, 0]
    with pytest.raises(ValueError, match="a regime is one of"):
        advise_temperature("II")


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"lmc": math.nan, "cka": 1.0}, "learnt nothing"),
        ({"lmc": 0.0, "cka": math.nan}, "finite cka"),
        ({"lmc": 0.0, "cka": 1.0, "cka_reference": math.inf}, "finite cka"),
        ({"lmc": 0.0, "cka": 1.0, "tau_c": -0.1}, "thresholds"),
        ({"lmc": 0.0, "cka": 1.0, "tau_s": math.nan}, "thresholds"),
    ],
)
def test_what_is_in_no_regime(given_, message):
    with pytest.raises(ValueError, match=message):
        classify_regime(**given_)


def test_a_diagram_judges_similarity_within_a_column():
    lmc = np.array([[-0.3, 0.0, 0.0], [-0.05, 0.0, math.nan]])
    cka = np.array([[0.99, 0.97, 0.99], [0.90, 0.95, 0.99]])
    diagram = RegimeDiagram([5, 40], [0.05, 0.2, 0.8], lmc, cka)
    # A cell of regime I counts for the reference of its column too.
    assert diagram.labels() == [["I", "II-B", "II-B"], ["II-A", "II-A", ""]]
    assert diagram.advice() == [[1, 0, 0], [-1, -1, 0]]
    assert RegimeDiagram([5, 40], [0.05, 0.2, 0.8], lmc).labels() == [["I", "II", "II"], ["II", "II", ""]]
    cka[1, 0] = math.nan
    assert RegimeDiagram([5, 40], [0.05, 0.2, 0.8], lmc.tolist(), cka).labels()[1][0] == "II"
    assert RegimeDiagram([5, 40], [0.05, 0.2, 0.8], lmc, cka, tau_c=0.4).labels()[0][0] == "II-B"


@pytest.mark.parametrize(
    "wrong",
    [
        {"lmc": np.zeros((2, 2))},
        {"cka": np.zeros(2)},
        {"lmc": np.array([[math.inf, 0.0]])},
        {"densities": [5, 20]},
        {"temps": [], "lmc": np.zeros((0, 2))},
    ],
)
def test_a_grid_that_does_not_fit_is_refused(wrong):
    with pytest.raises(ValueError, match="RegimeDiagram: "):
        RegimeDiagram(**({"temps": [1], "densities": [0.05, 0.2], "lmc": np.zeros((1, 2))} | wrong))


def test_a_dense_network_is_chosen_among_the_connected():
    assert choose_dense([-0.3, -0.05, -0.1, 0.0], [0.99, 0.95, 0.97, 0.96]) == 2
    assert choose_dense([-0.3, -0.05, -0.1, 0.0], [0.99, 0.95, 0.97, 0.96], tau_c=0.06) == 3
    assert choose_dense([0.0, math.nan, 0.0], [math.nan, 0.99, 0.9]) == 2
    assert choose_dense([-0.3, -0.2], [0.99, 0.95]) is None
    for lmc, cka in (([], []), ([0.0], [0.9, 0.8])):
        with pytest.raises(ValueError, match="each candidate"):
            choose_dense(lmc, cka)


# Check 5: the published grid.


def test_check_5_regime_one_of_the_published_grid():
    labels = RegimeDiagram(published.EPOCHS, published.DENSITIES, published.lmc_or_floor()).labels()
    cells = [(i, j) for i, row in enumerate(labels) for j, label in enumerate(row) if label == "I"]
    assert len(cells) == 42
    assert max(published.DENSITIES[j] for _, j in cells) == 0.10
    error = published.TEST_ERROR
    hotter = [any(error[k, j] < error[i, j] for k in range(i)) for i, j in cells]
    assert sum(hotter) == 37


def test_check_5_the_transition_of_the_published_grid():
    rho = [published.rank_correlation(published.EPOCHS[3:], column) for column in published.TEST_ERROR[3:].T]
    expected = [0.881, 0.837, 0.862, 0.791, None, 0.048, -0.576, -0.875, -0.782]
    assert [r for r, e in zip(rho, expected, strict=True) if e is not None] == pytest.approx(
        [e for e in expected if e is not None], abs=5e-4
    )


def test_check_5_the_best_number_of_epochs_grows_with_density():
    best = [published.EPOCHS[i] for i in published.TEST_ERROR.argmin(0)]
    # Where three digits leave a tie the sheet, which had more, has one of the others.
    for density, own in zip(published.DENSITIES, [60, 80, 80, 80, 70, 80, 90, 110, 150], strict=True):
        column = published.TEST_ERROR[:, published.DENSITIES.index(density)]
        assert column[published.EPOCHS.index(own)] == column.min()
    assert best[0] < best[-1]
