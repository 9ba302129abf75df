"""The tracker: measures of a network against its start."""

import math

import pytest
import torch
from torch import nn

from entrokit.dynamics.laziness import (
    LazinessTracker,
    RateRNN,
    effective_rank,
    kernel_alignment,
    representation_alignment,
    sign_similarity,
    spectral_radius,
    tangent_kernel,
)

X = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, -1]], dtype=torch.float64)
W0 = torch.diag(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
BOTH = ["0.weight", "1.weight"]


def linear():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
    model.load_state_dict({"0.weight": W0, "1.weight": torch.tensor([[1.0, 0.0, -1.0]])})
    return model


@torch.no_grad()
def train(model):
    model[0].weight += 0.3
    model[1].weight *= 2


def test_check_2_a_worked_network():
    model = linear()
    tracker = LazinessTracker(model, X, "0.weight", hidden=model[:1], kernel_params=BOTH)
    first = tracker.snapshot()
    assert first["weight_change"] == 0.0
    assert first["kernel_alignment"] == pytest.approx(1.0, abs=1e-9)
    train(model)
    assert tracker.snapshot() == tracker.report() == tracker.history[1]
    found = tracker.report()
    assert found["weight_change"] == pytest.approx(0.9, abs=1e-9)
    assert found["relative_weight_change"] == pytest.approx(0.9 / math.sqrt(5.25), abs=1e-9)
    assert found["kernel_alignment"] == pytest.approx(0.992327, abs=1e-6)
    assert found["representation_alignment"] == pytest.approx(0.990137, abs=1e-6)
    assert found["rank_participation"] == pytest.approx(1.615385, abs=1e-6)
    assert found["rank_stable"] == pytest.approx(1.3125, abs=1e-6)
    assert found["rank_entropy"] == pytest.approx(2.600490, abs=1e-6)
    assert found["rank_abs_eig"] == pytest.approx(0.583333, abs=1e-6)
    assert found["spectral_radius"] == pytest.approx(2.0, abs=1e-9)
    assert found["final_rank_participation"] == pytest.approx(effective_rank(W0 + 0.3), abs=1e-9)
    assert found["final_spectral_radius"] == pytest.approx(spectral_radius(W0 + 0.3), abs=1e-9)
    assert found["sign_similarity"] == sign_similarity(X @ W0.T, X @ (W0 + 0.3).T) < 1.0


def test_every_snapshot_is_held_to_the_first_one():
    model = linear()
    tracker = LazinessTracker(model, X, "0.weight")
    for _ in range(3):
        tracker.snapshot()
        train(model)
    assert [found["weight_change"] for found in tracker.history] == pytest.approx([0.0, 0.9, 1.8])


def test_options_reach_the_measures():
    net = RateRNN(2, 6, 3, generator=torch.Generator().manual_seed(0))
    probes = torch.randn(8, 4, 2)
    plain, other = (
        LazinessTracker(net, probes, "W_rec", hidden=lambda x: net.activity(x)[:, -1], **options)
        for options in ({}, {"center": True, "kernel_probes": 5, "memory": 10_000, "vectorize": False})
    )
    K, H = (tangent_kernel(net, probes, ["W_rec"]), net.activity(probes)[:, -1])
    plain.snapshot()
    other.snapshot()
    with torch.no_grad():
        net.W_rec += 0.2 * torch.randn(6, 6)
    L, G = (tangent_kernel(net, probes, ["W_rec"]), net.activity(probes)[:, -1])
    found = plain.snapshot()
    # Both in float32, the same computation.
    assert found["kernel_alignment"] == kernel_alignment(K, L)
    assert found["representation_alignment"] == representation_alignment(H, G)
    found, first = other.snapshot(), slice(0, 5 * 12)
    assert found["representation_alignment"] == representation_alignment(H, G, center=True)
    # Entries of a kernel of 36 parameters are off by at most 1e-5 of the largest, whose ratio this is.
    assert found["kernel_alignment"] == pytest.approx(
        kernel_alignment(K[first, first], L[first, first], True), abs=1e-4
    )


def test_without_hidden_and_for_a_convolution_what_there_is_is_reported():
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten())
    tracker = LazinessTracker(model, torch.randn(2, 1, 3, 3), "0.weight")
    assert set(tracker.snapshot()) == {
        *("weight_change", "relative_weight_change", "kernel_alignment"),
        *(f"{when}rank_{kind}" for when in ("", "final_") for kind in ("participation", "stable", "entropy")),
    }


def test_a_checkpoint_goes_on():
    model = linear()
    tracker = LazinessTracker(model, X, "0.weight", hidden=model[:1])
    tracker.snapshot()
    state = tracker.state_dict()
    train(model)
    again = LazinessTracker(model, X, "0.weight", hidden=model[:1])
    again.load_state_dict(state)
    again.snapshot()
    tracker.snapshot()
    assert again.history == tracker.history
    assert len(state["history"]) == 1
    narrow = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 1)).double()
    with pytest.raises(ValueError, match=r"a state of a weight \[3, 3\], and 0.weight is \[2, 3\]"):
        LazinessTracker(narrow, X, "0.weight").load_state_dict(state)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"probes": X.flip(0)}, r"on other probes \(torch.float64 \[3, 3\] sha256 \w+, and here"),
        ({"probes": X[:2]}, r"on other probes .* \[2, 3\]"),
        ({"probes": X.T}, "on other probes"),
        ({"kernel_params": BOTH}, "on other kernel_params"),
        ({"kernel_probes": 2}, r"on other kernel_probes \(3, and here 2\)"),
        ({"hidden": None}, r"on other hidden \(True, and here False\)"),
        ({"center": True}, "on other center"),
        ({"weight_name": "1.weight"}, r"on other weight_name \(0.weight, and here 1.weight\)"),
    ],
)
def test_a_state_of_other_probes_is_refused(other, message, tmp_path):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    options = {"probes": X, "weight_name": "0.weight", "hidden": model[:1]}
    tracker = LazinessTracker(model, **options)
    tracker.snapshot()
    torch.save(tracker.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    again = LazinessTracker(model, **options | other)
    with pytest.raises(ValueError, match=message):
        again.load_state_dict(state)
    assert again.history == []
    with pytest.raises(ValueError, match="on other probes .None"):
        again.load_state_dict({name: state[name] for name in ("start", "history")})
    same = LazinessTracker(model, **options | {"probes": X.T.contiguous().T, "kernel_probes": 3})
    same.load_state_dict(state)
    assert same.snapshot()["kernel_alignment"] == pytest.approx(1.0, abs=1e-9)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    tracker = LazinessTracker(model, X.float(), "0.weight", hidden=model[:3])
    assert tracker.snapshot()["kernel_alignment"] == pytest.approx(1.0, abs=1e-9)
    assert tracker.snapshot()["representation_alignment"] == pytest.approx(1.0, abs=1e-9)
    assert model.training
    assert model[2].training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_dead_network_is_reported_as_nan():
    net = RateRNN(2, 3, 2)
    with torch.no_grad():
        net.W_in.zero_()
    tracker = LazinessTracker(net, torch.randn(4, 3, 2), "W_rec", hidden=net.activity)
    with pytest.warns(RuntimeWarning, match="zero on these probes"):
        found = tracker.snapshot()
    assert math.isnan(found["kernel_alignment"])
    assert math.isnan(found["representation_alignment"])


def test_a_snapshot_that_fails_records_nothing():
    model = linear()
    tracker = LazinessTracker(model, X, "0.weight")
    with torch.no_grad():
        model[1].weight[0, 0] = math.nan
    with pytest.raises(ValueError, match="entries are NaN or infinite"):
        tracker.snapshot()
    assert tracker.history == []
    assert tracker.state_dict().items() >= {"start": {}, "history": []}.items()
    with pytest.raises(RuntimeError, match="0 snapshots; take one before training"):
        tracker.report()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_name": "2.weight"}, "no matrix '2.weight' in the model; it has 0.weight, 1.weight"),
        ({"weight_name": "0.bias"}, "no matrix '0.bias'"),
        ({"probes": X[:0]}, r"probes \[n, ...\]"),
        ({"kernel_probes": 0}, "at least one for the kernel"),
    ],
)
def test_bad_input_is_named(options, message):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1)).double()
    with pytest.raises(ValueError, match=message):
        LazinessTracker(model, **{"probes": X, "weight_name": "0.weight"} | options)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [(lambda x: (x, x), "for 3 probes, got tuple"), (lambda x: x[:2], r"for 3 probes, got \[2, 3\]")],
)
def test_activity_that_is_not_of_the_probes_is_refused(hidden, message):
    tracker = LazinessTracker(linear(), X, "0.weight", hidden=hidden)
    with pytest.raises(ValueError, match=message):
        tracker.snapshot()
    assert tracker.history == []
