"""The entry's worlds: what they are made of, and that their arms run."""

import math

import pytest
import torch

from entrokit.papers.generative import _energy_toy as toy
from entrokit.papers.generative import _energy_training as training
from entrokit.papers.generative import _mueller_brown as mb
from entrokit.papers.generative import _mueller_brown_arms as arms


def test_mueller_browns_energies():
    """Sheet scoremd, check 7."""
    x = torch.tensor([[-0.558, 1.442], [0.623, 0.028], [-0.05, 0.467], [0.0, 0.0]], dtype=torch.float64)
    expected = [-146.699489, -108.166650, -80.767749, -48.401274]
    assert mb.energy(x).tolist() == pytest.approx(expected, abs=5e-7)
    step = torch.tensor([0.0, 1e-5], dtype=torch.float64)
    by_hand = (mb.energy(x - step) - mb.energy(x + step)) / 2e-5
    torch.testing.assert_close(mb.force(x)[:, 1], by_hand, rtol=1e-6, atol=1e-6)


def test_the_domain_holds_the_law():
    """The most that lies outside: by the same quadrature of a domain that is a half wider on every side."""
    axes = [
        torch.linspace(low - 0.5, high + 0.5, 801, dtype=torch.float64)
        for low, high in zip(mb.LOW, mb.HIGH, strict=True)
    ]
    wide = torch.cartesian_prod(*axes)
    inside = ((wide > torch.tensor(mb.LOW)) & (wide < torch.tensor(mb.HIGH))).all(1)
    assert float((-mb.energy(wide) / mb.KT).softmax(0)[~inside].sum()) < 1e-6


def test_samples_are_the_laws():
    count = 20_000
    x = mb.draw(count, torch.Generator().manual_seed(0))
    at, p = mb.centres(mb.CELLS), mb.law()
    mean = (p[:, None] * at).sum(0)
    std = ((p[:, None] * (at - mean) ** 2).sum(0) / count).sqrt()
    assert ((x.mean(0) - mean).abs() < 5 * std).all()
    shares = mb.histogram(x)
    assert shares.sum().item() == pytest.approx(1.0)
    assert shares[-1] == 0
    # At most ln 2 / 2 of the sum of (h - p)² / (h + p), of which a bin has at most 2 p and at most 1 / n on the mean.
    chance = 0.5 * math.log(2) * float((2 * mb.binned(p)).clamp(max=1 / count).sum())
    assert 0 < mb.js_of_samples(x) < chance


def test_divergences_are_0_for_the_law_and_ln_2_outside():
    assert mb.js_of_energy(lambda x: -mb.energy(x) / mb.KT + 3) == pytest.approx(0.0, abs=1e-7)
    assert mb.js_of_samples(torch.full((10, 2), 50.0)) == pytest.approx(math.log(2))
    assert float(mb.histogram(torch.tensor([[mb.LOW[0] + 1e-4, mb.HIGH[1] - 1e-4]]))[mb.BINS - 1]) == 1.0


def test_times_are_drawn_where_a_model_is_trained():
    for _, _, (low, high), times in arms.EXPERTS:
        t = times.drawn(1000, torch.Generator().manual_seed(0))
        assert times.low <= t.min()
        assert t.max() <= times.high
        assert times.weight(t).mean().item() == pytest.approx(1.0, abs=0.25)
        assert low <= times.midpoint <= high


def test_training_lowers_the_loss_and_the_same_seed_is_the_same_run():
    def run(steps):
        model, _ = training.trained(training.started((16, 16), (0.0, 1.0), 0), toy.LAW.sample, steps, 1)
        return toy.measures(model, 0)

    once, again, longer = run(2), run(2), run(60)
    assert once == again
    assert longer["error"] < once["error"]


def test_the_average_is_of_the_weights_before(monkeypatch):
    """0.995 of itself and 0.005 of the new ones, not the other way round."""

    def weights(decay):
        monkeypatch.setattr(training, "DECAY", decay)
        model, _ = training.trained(training.started((8,), (0.0, 1.0), 0), toy.LAW.sample, 2, 1)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    first, second, mixed = weights(1.0), weights(0.0), weights(0.995)
    assert (first != second).any()
    torch.testing.assert_close(mixed, 0.995 * first + 0.005 * second)


def test_arms_of_the_toy(monkeypatch):
    monkeypatch.setattr(toy, "STEPS", 2)
    found = toy.toy_arms(0)
    assert set(found) == set(toy.ARMS)
    assert all(set(own) == {"seconds", "js", "mass", "squares", "error"} for own in found.values())
    assert found["plain"]["js"] != found["weak"]["js"] != found["shared"]["js"]


def test_arms_of_mueller_brown(monkeypatch):
    for name, value in (("STEPS", 6), ("SAMPLES", 50), ("SAMPLE_STEPS", 2), ("CHAINS", 5), ("CHAIN_STEPS", 20)):
        monkeypatch.setattr(arms, name, value)
    found = arms.mueller_brown_arms(0)
    assert set(found) == {"plain", "plain, its best t", "FP", "experts", "both", "exact"}
    for arm in ("plain", "FP", "experts", "both"):
        assert set(found[arm]) == {"seconds", "samples", "simulation", "energy"}
    assert found["plain, its best t"]["energy"] <= found["plain"]["energy"]
    assert found["exact"]["simulation"] < found["plain"]["simulation"]
