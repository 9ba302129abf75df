"""The recorder measures what passes inside its block, in a model that trains as ever."""

import math

import pytest
import torch
from torch import nn

from entrokit.information.spectral import RepresentationRecorder, diffusion_spectral_entropy


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_it_records_each_layer_at_each_step_and_nothing_else():
    net, x = model(), torch.randn(30, 4)
    recorder = RepresentationRecorder(net, ["0", "1"], sigma=1.0, max_samples=20)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for step in range(3):
        with recorder.at(step):
            net(x[:15])
            net(x[15:])
        expected = float(diffusion_spectral_entropy(net[:2](x[:20]).detach(), sigma=1.0))
        assert recorder.history["1"][-1] == (step, pytest.approx(expected, abs=1e-6))
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    assert [step for step, _ in recorder.history["0"]] == [0, 1, 2]
    assert recorder.history["1"][0] != recorder.history["1"][2]
    assert not any(layer._forward_hooks for layer in net)
    again = RepresentationRecorder(net, ["0", "1"])
    again.load_state_dict(recorder.state_dict())
    assert again.history == recorder.history


def test_rows_and_measure_are_the_callers():
    net = nn.Sequential(nn.Conv2d(1, 3, 1))
    recorder = RepresentationRecorder(
        net,
        ["0"],
        rows=lambda output: output.movedim(1, -1).flatten(0, 2),
        measure=lambda points, factor: factor * torch.tensor(float(len(points))),
        factor=2.0,
    )
    with recorder.at(7):
        net(torch.randn(2, 1, 4, 5))
    assert recorder.history["0"] == [(7, 80.0)]


def test_mistakes_are_named():
    net = model()
    with pytest.raises(ValueError, match=r"no layer \['7'\] in the model; it has 0, 1, 2"):
        RepresentationRecorder(net, ["0", "7"])
    with pytest.raises(ValueError, match="max_samples"):
        RepresentationRecorder(net, ["0"], max_samples=0)
    recorder = RepresentationRecorder(net, ["0"])
    with pytest.raises(RuntimeError, match=r"nothing passed through \['0'\] at step 3"), recorder.at(3):
        pass
    with pytest.raises(ValueError, match="the state is of layers"):
        recorder.load_state_dict({"other": []})
    lstm = RepresentationRecorder(nn.Sequential(nn.LSTM(2, 2)), ["0"])
    with pytest.raises(RuntimeError, match="0 returns tuple, no tensor"), lstm.at(0):
        lstm._layers["0"](torch.randn(1, 2))
    with pytest.raises(ValueError, match="1 of 2 points hold NaN"), recorder.at(0):
        net[0](torch.tensor([[0.0] * 4, [math.nan] * 4]))
