"""Pruning, retraining, SAM, regimes and their diagram: the sheet's numbers, the published grid, and what is refused."""

import copy
import math

import numpy as np
import pytest
import torch

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
)
from entrokit.papers.dynamics import _three_regime_grid as published

from .pruning_network import LOADER, X, network, steps


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
    assert RegimeDiagram([5, 40], [0.05, 0.2, 0.8], lmc, cka, tau_s=0.03).labels()[1][1] == "II-B"


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
