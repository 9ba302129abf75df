"""The entry's world: paired over matchers, laws as they are said to be, and a few steps that go the right way."""

import math

import numpy as np
import pytest
import torch

from entrokit.generative.weighted_flow import WeightedConditionalFlowMatcher
from entrokit.papers import Budget
from entrokit.papers.evidence import Finding, checked
from entrokit.papers.generative import _weighted_flow_steps as steps
from entrokit.papers.generative import _weighted_flows as flows
from entrokit.papers.generative import w_cfm

LAWS = flows.Laws(flows.gaussian, flows.circle(4.0, 0.3))


def test_equal_seeds_learn_the_same_whoever_matches_without_weights():
    """So that what differs between arms of a seed is how they match."""
    plain, ours = (
        flows.train(sample, LAWS, 3, 4)
        for sample in (flows.peer("ConditionalFlowMatcher"), WeightedConditionalFlowMatcher(math.inf).sample)
    )
    weighted = flows.train(WeightedConditionalFlowMatcher(0.5).sample, LAWS, 3, 4)
    assert all(map(torch.equal, plain.parameters(), ours.parameters()))
    assert not all(map(torch.equal, plain.parameters(), weighted.parameters()))


def test_training_leaves_the_global_generators_as_they_were():
    before, ours = np.random.get_state()[1].copy(), torch.get_rng_state()
    flows.train(flows.peer("ExactOptimalTransportConditionalFlowMatcher"), LAWS, 0, 1)
    assert (np.random.get_state()[1] == before).all()
    assert torch.equal(torch.get_rng_state(), ours)


def test_moons_have_the_moments_of_two_half_circles():
    x = (flows.moons(20_000, torch.Generator().manual_seed(0)) + 1) / 3
    # By symmetry about (0.5, 0.25); deviations are below 1.
    assert x.mean(0).tolist() == pytest.approx([0.5, 0.25], abs=5 / math.sqrt(20_000))
    # Of cos² and sin² 1/2, of sin 2/π on half a circle, and noise of 0.04; fourth moments are below 3.
    expected = [1.04, 0.625 - 1 / math.pi + 0.04]
    assert x.square().mean(0).tolist() == pytest.approx(expected, abs=5 * math.sqrt(3 / 20_000))


def test_shares_are_of_the_nearest_mode():
    points = torch.tensor([[4.0, 0.1], [4.0, -0.1], [-2.0, 0.0], [0.0, -9.0]])
    assert w_cfm._shares(points) == [0.5, 0, 0, 0, 0.25, 0, 0.25, 0]


def test_every_experiment_gives_verdicts_with_their_numbers_after_two_steps(monkeypatch):
    for name, value in {"STEPS": 2, "MOON_STEPS": 2, "REFERENCE": 40, "LOOKED_AT": 80}.items():
        monkeypatch.setattr(w_cfm, name, value)
    for name, value in {"APART": 30, "COMPARED": 30, "FLOWN": 40}.items():
        monkeypatch.setattr(flows, name, value)
    monkeypatch.setattr(steps, "BATCHES", (16, 32))
    monkeypatch.setattr(steps, "PAIRS", 32)
    for name, count in {"gaussians": 7, "moons": 5, "cost": 2}.items():
        shown = list(w_cfm.PAPER.experiments[name].run(Budget((0, 1))))
        assert sum(isinstance(given, Finding) for given in shown) == count
        assert all(checked(given).raw for given in shown if isinstance(given, Finding))
        assert len(shown) == count + 1
