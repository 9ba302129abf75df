"""The entry's worlds: laws as they are said to be, and trainings that run and repeat."""

import math

import pytest
import torch

from entrokit.papers.physics import _active_crowds as crowds
from entrokit.papers.physics import _active_particles as particles
from entrokit.papers.physics import _active_ring as ring
from entrokit.papers.physics import _active_scores as scores
from entrokit.physics.active_matter import jacobian_diagonal


def test_the_laws_are_the_sheet_s():
    exact = {name: system.exact().epr for name, system in scores.LINEAR.items()}
    assert exact == pytest.approx({"trap": 5 / 3, "rotation": 8.0, "three": 0.540986}, abs=5e-7)


def test_a_few_steps_go_the_right_way_and_repeat(monkeypatch):
    for name, value in (("HELD_OUT", 2000), ("SAMPLES", 2000), ("BATCH", 64)):
        monkeypatch.setattr(scores, name, value)
    system = scores.LINEAR["trap"]
    monkeypatch.setitem(scores.LINEAR, "trap", scores.Linear(system.A, system.D, 12))
    once, again, other = (scores.linear("trap", seed) for seed in (0, 0, 1))
    assert once == again
    assert once != other
    # A score of 0 gives E[b·b / D], which is 1.5 more than the exact rate.
    assert abs(once.rate - 5 / 3) < 1.5
    assert sum(once.parts) == pytest.approx(once.rate)


def test_the_double_well_is_learnt_with_either_weight(monkeypatch):
    for name, value in (("SAMPLES", 2000), ("WELL_HELD_OUT", 2000), ("WELL_STEPS", 20)):
        monkeypatch.setattr(scores, name, value)
    plain, held = (scores.double_well(0, lam) for lam in (0.0, 1.0))
    assert plain != held
    assert 0 < plain.error < 1
    assert plain.correlation > 0


def test_two_swimmers_feel_one_another(monkeypatch):
    pair = ring.Swimmers(0.7)
    z = torch.tensor([[1.5, 0.2], [-1.5, 0.2], [3.9, -1.0]], dtype=torch.float64)
    drift, diagonal = jacobian_diagonal(pair.drift, z)
    strength = 2.5 * math.log1p(math.exp(1.5)) / 3
    assert drift[:2, 0].tolist() == pytest.approx([strength + 0.14, -strength + 0.14])
    assert drift[:, 1].tolist() == pytest.approx([-0.2, -0.2, 1.0])
    assert diagonal[0, 0].item() == pytest.approx(-2.5 / (1 + math.exp(-1.5)))
    for name, value in (("RUNS", 64), ("SETTLE", 20), ("EVERY", 10), ("FRAMES", 3), ("STEPS", 3)):
        monkeypatch.setattr(ring, name, value)
    data = pair.sample(0)
    assert data.shape == (192, 2)
    assert data[:, 0].abs().max() <= 4
    found = ring.swimmers(0.7, 0)
    assert found.rate == ring.swimmers(0.7, 0).rate
    assert len(found.by_place) == 32


def test_a_network_of_few_particles_serves_many(monkeypatch):
    monkeypatch.setattr(crowds, "STEPS", 2)
    few = crowds.crowd(crowds.COUNT)
    z = few.start(4, crowds.COUNT, torch.Generator().manual_seed(0)).float()
    score = crowds.learnt(z, 0)
    many = crowds.crowd(30)
    wide = many.start(2, 30, torch.Generator().manual_seed(1)).float()
    found = crowds.rates(score.on(many, 29), wide)
    assert found.local.shape == (2, 30)
    assert found.learnt == pytest.approx(found.local.double().mean().item())


def test_what_is_drawn_holds_every_particle():
    z = torch.rand(10, 4)
    chart = particles.parts_of(torch.arange(10.0), z)
    assert sum(len(s.x) for s in chart.series) == 10
    assert "mean 1.00" in chart.series[0].name
