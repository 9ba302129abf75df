"""Langevin dynamics, and sampling by a score: exact laws give their own."""

import math

import pytest
import torch

from entrokit.generative.energy import EnergyScore, force_of, langevin_simulate, sample_flow, sample_sde
from entrokit.generative.mixtures import GaussianMixture
from entrokit.generative.noising import VarianceExploding

from .energy_cases import VP, ExactEnergy, float64

LAW = GaussianMixture(*float64([0.3, 0.7], [[-2.0], [1.0]], [0.4, 0.7]))


class Exact(ExactEnergy):
    def score(self, x, t):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.log_q(x, t).sum(), x)[0]


def normal(count, dimensions=1, seed=0):
    return torch.randn(count, dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moments(law):
    mean = float((law.weights * law.means[:, 0]).sum())
    return mean, float((law.weights * (law.means[:, 0] ** 2 + law.stds**2)).sum())


def test_steps_are_the_sheets():
    (x0, v0) = float64([[1.0, -2.0]], [[0.3, 0.1]])
    generator = torch.Generator().manual_seed(3)
    found = langevin_simulate(
        lambda x: -3 * x, x0, 2, 0.1, 0.7, 2.0, 0.5, velocity=v0, generator=torch.Generator().manual_seed(3)
    )
    x, v, a = x0, v0, math.exp(-0.07)
    for frame in found:
        noise = torch.randn(1, 2, dtype=torch.float64, generator=generator)
        v = a * v + (1 - a) / 0.7 * (-3 * x) / 0.5 + math.sqrt(2.0 * (1 - a**2) / 0.5) * noise
        x = x + 0.1 * v
        torch.testing.assert_close(frame, x, rtol=1e-12, atol=1e-12)


def test_frames_are_every_so_many_steps():
    x0 = normal(3)
    every, all_ = (
        langevin_simulate(lambda x: -x, x0, 7, 0.1, 1.0, 1.0, 1.0, every=n, generator=torch.Generator().manual_seed(0))
        for n in (3, 1)
    )
    assert every.shape == (2, 3, 1)
    assert torch.equal(every, all_[[2, 5]])


def test_a_spring_has_its_temperatures_variance():
    """kT / k, less O(dt²): 4000 chains of ten correlation times."""
    found = langevin_simulate(
        lambda x: -4 * x, normal(4000), 200, 0.05, 2.0, 1.5, 1.0, every=200, generator=torch.Generator().manual_seed(1)
    )
    variance = 1.5 / 4
    # One chain in 4000: relative standard error √(2 / 4000), five of them, and k dt² / 4m of the integrator.
    assert found.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / 4000) + 4 * 0.05**2)


def test_velocities_begin_at_their_temperature():
    """After one short step of a free particle of little friction its velocity is what it began with."""
    x0 = torch.zeros(20_000, 1, dtype=torch.float64)
    found = langevin_simulate(torch.zeros_like, x0, 1, 0.01, 0.0, 3.0, 0.5, generator=torch.Generator().manual_seed(2))
    assert (found[0] / 0.01).var().item() == pytest.approx(3.0 / 0.5, rel=5 * math.sqrt(2 / 20_000))


def test_without_friction_energy_is_kept():
    (x0, v0) = float64([[1.0]], [[0.0]])
    found = langevin_simulate(lambda x: -x, x0, 2000, 0.01, 0.0, 1.0, 1.0, velocity=v0).flatten()
    # Symplectic Euler keeps x² + v² - dt x v.
    assert found.abs().max().item() == pytest.approx(1.0, abs=0.01)
    assert found[-300:].abs().max().item() == pytest.approx(1.0, abs=0.01)


def test_a_force_is_kt_times_the_score_at_the_datas_time():
    energy, x = Exact(LAW), normal(5)
    torch.testing.assert_close(force_of(energy, 2.5)(x), 2.5 * LAW.score(x), rtol=1e-3, atol=1e-3)
    at = torch.full((5,), 0.3, dtype=torch.float64)
    torch.testing.assert_close(force_of(energy, 2.5, 0.3)(x), 2.5 * energy.score(x, at))


def test_a_number_of_each_time_leaves_forces_and_samples():
    """Sheet scoremd, check 6."""
    torch.manual_seed(0)
    model = EnergyScore.mlp(2, (8, 8)).double()

    class Shifted(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x, features):
            return self.network(x, features) + 7 * features[:, 0] + 2

    other, x = EnergyScore(Shifted(model.network)), normal(4, 2)
    assert torch.equal(force_of(model, 1.0)(x), force_of(other, 1.0)(x))
    own, theirs = (sample_sde(m, x, VP, steps=5, generator=torch.Generator().manual_seed(1)) for m in (model, other))
    assert torch.equal(own, theirs)


@pytest.mark.parametrize("sde", [VP, VarianceExploding(0.02, 20.0)], ids=["vp", "ve"])
def test_samples_have_the_laws_moments(sde):
    count = 2000
    mean, second = moments(LAW)
    model, noise = Exact(LAW, sde), normal(count)
    spread = math.sqrt((second - mean**2) / count)
    by_sde = sample_sde(model, noise, sde, steps=200, generator=torch.Generator().manual_seed(4))
    by_flow = sample_flow(model, noise, sde, steps=200)
    for x in (by_sde, by_flow):
        # Five standard errors and what a step of 1/200 leaves, of the order of the largest change a step: 20 / 200 / 2.
        assert x.mean().item() == pytest.approx(mean, abs=5 * spread + 0.05)
        assert x.square().mean().item() == pytest.approx(second, rel=0.1)


def test_the_flow_is_as_good_as_its_steps():
    """A Gaussian's flow is a linear map: x / √variance(t) stays."""
    law = GaussianMixture(*float64([1.0], [[0.0]], [0.5]))
    noise = normal(6)
    alpha, sigma = (float(f(torch.tensor(1.0, dtype=torch.float64))) for f in (VP.alpha, VP.sigma))
    exact = noise * sigma / math.sqrt(alpha**2 * 0.25 + sigma**2) * 0.5
    errors = [
        float((sample_flow(Exact(law), noise, VP, steps=n) - exact).abs().max() / exact.abs().max()) for n in (100, 200)
    ]
    assert errors[1] < 0.6 * errors[0]
    assert errors[1] < 0.1


def test_scores_are_asked_for_from_noise_to_the_end():
    seen = []

    def score(x, t):
        seen.append(t[0].item())
        return -x

    sample_flow(score, normal(2), VP, steps=4, end=0.2)
    assert seen == pytest.approx([1.0, 0.8, 0.6, 0.4])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"dt": 0.0}, "dt"), ({"dt": math.nan}, "dt"), ({"mass": -1.0}, "mass"), ({"gamma": -0.1}, "gamma"),
        ({"kT": -1.0}, "kT"), ({"steps": 0}, "every <= steps"), ({"every": 0}, "every <= steps"),
        ({"every": 11}, "every <= steps"), ({"velocity": torch.zeros(2)}, "velocities"),
    ],
)  # fmt: skip
def test_knobs_out_of_range_are_named(knobs, message):
    own = {"steps": 10, "dt": 0.1, "gamma": 1.0, "kT": 1.0, "mass": 1.0} | knobs
    with pytest.raises(ValueError, match=message):
        langevin_simulate(lambda x: -x, normal(2), **own)


def test_chains_that_leave_finite_numbers_are_named():
    with pytest.raises(ValueError, match=r"at step \d+ 1 of 2 chains, the first number 1, left finite.*shorten dt"):
        langevin_simulate(
            lambda x: x**3, torch.tensor([[0.0], [50.0]]), 50, 0.5, 0.0, 0.0, 1.0, velocity=torch.zeros(2, 1)
        )


def test_forces_and_scores_that_are_none_are_named():
    with pytest.raises(ValueError, match=r"a force has its points' shape, \[2, 1\]"):
        langevin_simulate(lambda x: x[:, 0], normal(2), 1, 0.1, 1.0, 1.0, 1.0)

    def corner(x, t):
        return torch.where(x > 0.5, math.nan, -x)

    x = torch.tensor([[0.0], [0.7]])
    with pytest.raises(ValueError, match=r"the score is not finite at 1 of 2 points; the first is row 1, x = \[0\.7\]"):
        force_of(corner, 1.0)(x)
    with pytest.raises(ValueError, match=r"the score is not finite"):
        sample_sde(corner, x, VP)
    with pytest.raises(ValueError, match=r"its points' shape"):
        sample_flow(lambda x, t: x[:, :0], x, VP)
    with pytest.raises(ValueError, match=r"times lie in \[0, 1\].*1\.5"):
        force_of(lambda x, t: -x, 1.0, 1.5)(x)


@pytest.mark.parametrize(("steps", "end"), [(0, 1e-5), (10, 1.0), (10, -0.1), (10, math.nan)])
def test_grids_that_are_none_are_refused(steps, end):
    for sample in (sample_sde, sample_flow):
        with pytest.raises(ValueError, match="at least one step"):
            sample(lambda x, t: -x, normal(2), VP, steps=steps, end=end)
    with pytest.raises(ValueError, match=r"points \[B, \*\]"):
        sample_sde(lambda x, t: -x, normal(2)[:, 0], VP)


@pytest.mark.parametrize("sample", [sample_sde, sample_flow])
def test_sampling_names_arguments_of_another_kind(sample):
    x = normal(2)
    for wrong in (x.numpy(), None):
        with pytest.raises(TypeError, match=r"noise must be a torch\.Tensor"):
            sample(lambda x, t: -x, wrong, VP)
    with pytest.raises(TypeError, match=r"sde must be a noising process"):
        sample(lambda x, t: -x, x, lambda t: t)
    with pytest.raises(TypeError, match=r"a score\(x, t\) is expected; NoneType"):
        sample(None, x, VP)
    with pytest.raises(TypeError, match=r"a score is a tensor; the model gave a tuple"):
        sample(lambda x, t: (-x,), x, VP)
    with pytest.raises(TypeError, match=r"steps is a whole number, such as int\(1e5\); it is 100\.0"):
        sample(lambda x, t: -x, x, VP, steps=1e2)


def test_forces_of_no_temperature_time_or_score_are_named():
    with pytest.raises(TypeError, match="kT is a number; it is 'a'"):
        force_of(lambda x, t: -x, kT="a")
    for kT in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="kT must be above 0 and finite"):
            force_of(lambda x, t: -x, kT)
    for t in (2.0, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"times lie in \[0, 1\]"):
            force_of(lambda x, t: -x, 1.0, t)
    with pytest.raises(TypeError, match=r"a score\(x, t\) is expected"):
        force_of(None, 1.0)


class Alone(torch.nn.Module):
    def forward(self, x):
        return -x


class Scored(torch.nn.Module):
    def forward(self, x, t):
        return -x


@pytest.mark.parametrize(
    "force", [EnergyScore.mlp(1, (4,)), Scored(), lambda x, t: -x, None, torch.zeros(2, 1)],
    ids=["energy", "score", "function of two", "none", "tensor"],
)  # fmt: skip
def test_what_is_no_force_is_named(force):
    own = {"steps": 1, "dt": 0.1, "gamma": 1.0, "kT": 1.0, "mass": 1.0}
    with pytest.raises(TypeError, match=r"force is a function of points.*force_of\(model, kT\) makes one"):
        langevin_simulate(force, normal(2), **own)
    for fine in (Alone(), torch.neg, lambda x, scale=1.0: -scale * x):
        assert langevin_simulate(fine, normal(2), **own).shape == (1, 2, 1)


def test_simulation_names_arguments_of_another_kind():
    own = {"steps": 1, "dt": 0.1, "gamma": 1.0, "kT": 1.0, "mass": 1.0}
    x0 = normal(2)
    for wrong in (x0.numpy(), None):
        with pytest.raises(TypeError, match=r"x0 must be a torch\.Tensor"):
            langevin_simulate(lambda x: -x, wrong, **own)
        with pytest.raises(TypeError, match=r"what force gives must be a torch\.Tensor"):
            langevin_simulate(lambda x, out=wrong: out, x0, **own)
    with pytest.raises(TypeError, match=r"velocity must be a torch\.Tensor"):
        langevin_simulate(lambda x: -x, x0, velocity=x0.numpy(), **own)
    for name, value in (("steps", 1e3), ("every", 1.0)):
        with pytest.raises(TypeError, match=f"{name} is a whole number"):
            langevin_simulate(lambda x: -x, x0, **own | {name: value})
    with pytest.raises(TypeError, match="mass is a number"):
        langevin_simulate(lambda x: -x, x0, **own | {"mass": torch.ones(2)})


def test_beginnings_that_are_not_finite_are_named():
    """Not laid to dt, which would be the force's fault."""
    own = {"steps": 1, "dt": 0.1, "gamma": 1.0, "kT": 1.0, "mass": 1.0}
    bad = torch.tensor([[0.0], [math.nan]])
    with pytest.raises(ValueError, match="x0 is NaN or infinite in 1 of 2"):
        langevin_simulate(lambda x: -x, bad, **own)
    with pytest.raises(ValueError, match="velocity is NaN or infinite in 1 of 2"):
        langevin_simulate(lambda x: -x, torch.zeros(2, 1), velocity=bad, **own)


def test_no_chains_and_no_samples_keep_their_shape():
    none = torch.zeros(0, 3)
    for sample in (sample_sde, sample_flow):
        assert sample(lambda x, t: -x, none, VP, steps=2).shape == (0, 3)
    assert langevin_simulate(lambda x: -x, none, 4, 0.1, 1.0, 1.0, 1.0, every=2).shape == (2, 0, 3)
