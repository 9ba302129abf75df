"""The loop of importance sampling in miniature: a small network learns one coordinate of a flow, round after round."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entrokit.physics.chaos import hard_series, importance_weights, sample_flow, smape, smooth_errors
from entrokit.physics.chaos.flow import Flow

# The paper's: points a period, of the reference, of it for the test, lags; rounds, series a round, epochs a round.
PER_PERIOD, POINTS, TEST, LAGS = 100, 1200, 200, 50
ROUNDS, EPOCHS, REFERENCE_EPOCHS = 5, 30, 400
BATCH = 256
# Standard deviations to which a forecast that feeds on itself is held.
_WIDEST = 10.0


class _Next(nn.Module):
    """The next point out of the last ones; a network of 64 and 64, in place of the paper's LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(LAGS, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, past: Tensor) -> Tensor:
        after: Tensor = past[..., -1] + self.net(past)[..., 0]
        return after


@dataclass(frozen=True)
class Reference:
    """A trajectory, its first coordinate standardised by the part that is learnt from."""

    flow: Flow
    states: Tensor
    centre: float
    scale: float

    @classmethod
    def of(cls, flow: Flow, start: Tensor) -> Reference:
        states = sample_flow(flow, POINTS, PER_PERIOD, start=start, transient=0)
        learnt = states[: POINTS - TEST, 0]
        return cls(flow, states, float(learnt.mean()), float(learnt.std()))

    def scaled(self, states: Tensor) -> Tensor:
        return ((states[..., 0] - self.centre) / self.scale).float()


def trained_on_reference(reference: Reference, seed: int) -> float:
    """sMAPE of the test part after 400 epochs on the rest."""
    net, optimizer, g = _fresh(seed)
    _learn(net, optimizer, reference.scaled(reference.states[None, : POINTS - TEST]), REFERENCE_EPOCHS, g)
    return _test(net, reference)


def trained_by_rounds(reference: Reference, seed: int, power: float) -> float:
    """sMAPE of the test part after five rounds of new series from where errors are large, to a power; 0 is uniform."""
    net, optimizer, g = _fresh(seed)
    states = reference.states[: POINTS - TEST]
    series = reference.scaled(states)
    weights = torch.ones(len(series) - LAGS)
    for _ in range(ROUNDS):
        made = hard_series(reference.flow, states[LAGS:], weights, g, points_per_period=PER_PERIOD)
        _learn(net, optimizer, reference.scaled(made.states), EPOCHS, g)
        with torch.no_grad():
            errors = (net(series.unfold(0, LAGS, 1)[:-1]) - series[LAGS:]).square()
        weights = importance_weights(smooth_errors(errors), power)
    return _test(net, reference)


def _fresh(seed: int) -> tuple[_Next, torch.optim.Optimizer, torch.Generator]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _Next()
    return net, torch.optim.Adam(net.parameters(), 1e-3), torch.Generator().manual_seed(seed)


def _learn(net: _Next, optimizer: torch.optim.Optimizer, series: Tensor, epochs: int, g: torch.Generator) -> None:
    windows = series.unfold(1, LAGS + 1, 1).flatten(0, 1)
    for _ in range(epochs):
        for batch in torch.split(windows[torch.randperm(len(windows), generator=g)], BATCH):
            loss = (net(batch[:, :-1]) - batch[:, -1]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def _test(net: _Next, reference: Reference) -> float:
    points = list(reference.scaled(reference.states[POINTS - TEST - LAGS : POINTS - TEST]).unbind())
    for _ in range(TEST):
        points.append(net(torch.stack(points[-LAGS:])).clamp(-_WIDEST, _WIDEST))
    forecast = torch.stack(points[LAGS:]).double() * reference.scale + reference.centre
    return smape(reference.states[POINTS - TEST :, 0], forecast)
