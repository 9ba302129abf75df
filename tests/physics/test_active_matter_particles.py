"""Forces and simulations, against all pairs and against steps by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from entrokit.physics.active_matter import (
    ActiveBrownian,
    ActiveOrnsteinUhlenbeck,
    SoftRepulsion,
    box_half_width,
    jacobian_diagonal,
    local_epr,
    nearest_neighbors,
    pairs_within,
    simulate,
    wrap,
)

from .active_matter_cases import crowd, float64, normal, scattered, seeded

SOFT = SoftRepulsion(2.5)


def test_check_5_forces():
    strengths = SOFT.strength(float64([1.5, 2.0, 2.3]))
    assert strengths.tolist() == pytest.approx([1.257748, 0.231049, 0.033402], abs=5e-7)
    pair = SOFT.along(float64([[1.0, 0.6]]))
    assert pair.force[0].tolist() == pytest.approx([1.788014, 1.072808], abs=5e-7)
    assert pair.diagonal.sum().item() == pytest.approx(-0.707186, abs=5e-7)


def test_check_5_a_step_of_propulsion():
    system = ActiveOrnsteinUhlenbeck(half_width=4.0, v0=0.3, gamma=0.1)
    z = normal(1, 1, 4)
    noise = torch.randn(1, 1, 2, dtype=torch.float64, generator=seeded(2))
    g = system.step(z, 0.5, seeded(2))[..., 2:]
    torch.testing.assert_close(g, 0.951229 * z[..., 2:] + 0.308484 * noise, rtol=0, atol=1e-6 * 4)


def test_forces_are_those_of_all_pairs_and_their_diagonal_that_of_autograd():
    system, z = crowd()
    x = z[..., :2]
    apart = wrap(x[:, :, None] - x[:, None], 4.0)
    r = apart.norm(dim=-1, keepdim=True)
    each = torch.where((r > 0) & (r < 3.0), system.repulsion.strength(r) * apart / r.clamp(min=1e-9), 0.0)
    drift, diagonal = system.with_diagonal(z)
    torch.testing.assert_close(drift[..., :2], each.sum(2) + 0.5 * z[..., 2:])
    torch.testing.assert_close(drift[..., 2:], -0.1 * z[..., 2:])
    torch.testing.assert_close(diagonal, jacobian_diagonal(lambda at: system(at), z)[1])
    # Of the two particles of a pair the forces cancel.
    torch.testing.assert_close(each.sum((1, 2)), torch.zeros(2, 2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_default_cutoff_ends_at_the_half_width():
    soft, x = SoftRepulsion(), scattered(2, 6, 3.0)
    assert soft.reach > 3.0 == soft.reach_in(3.0)
    apart = wrap(x[:, :, None] - x[:, None], 3.0)
    r = apart.norm(dim=-1, keepdim=True)
    each = torch.where((r > 0) & (r < 3.0), soft.strength(r) * apart / r.clamp(min=1e-9), 0.0)
    torch.testing.assert_close(soft(x, 3.0).force, each.sum(2))


def test_a_trap_pulls_to_the_middle():
    (system, z), (free, _) = crowd(trap=0.3), crowd()
    moved = system(z) - free(z)
    torch.testing.assert_close(moved[..., :2], -0.3 * z[..., :2])
    torch.testing.assert_close(system.with_diagonal(z)[1][..., :2], free.with_diagonal(z)[1][..., :2] - 0.3)


def test_permuting_and_translating_particles():
    """Sheet check 6, of the drift."""
    system, z = crowd()
    order = torch.randperm(12, generator=seeded(3))
    torch.testing.assert_close(system(z[:, order]), system(z)[:, order])
    shifted = torch.cat([wrap(z[..., :2] + float64([3.1, -1.7]), 4.0), z[..., 2:]], -1)
    torch.testing.assert_close(system(shifted), system(z))


def test_a_list_with_a_skin_gives_the_same_run():
    system, z = crowd(40, half_width=8.0)
    g, by_hand = seeded(7), z
    frames = simulate(system, z, 40, 0.02, every=20, generator=seeded(7))
    for step in range(1, 41):
        by_hand = system.step(by_hand, 0.02, g)
        if step % 20 == 0:
            # Forces are added in another order, and a repulsion forgets: 40 steps of rounding at 1e-16.
            torch.testing.assert_close(frames[step // 20 - 1], by_hand, rtol=0, atol=1e-9)
    assert frames.shape == (2, 2, 40, 4)
    assert frames[..., :2].abs().max() <= 8.0


def test_a_step_by_hand():
    system, z = crowd()
    g = seeded(4)
    noise = torch.randn(2, 12, 2, dtype=torch.float64, generator=g)
    kick = torch.randn(2, 12, 2, dtype=torch.float64, generator=g)
    after = system.step(z, 0.05, seeded(4))
    expected = z[..., :2] + 0.05 * system(z)[..., :2] + math.sqrt(2 * 0.1 * 0.05) * noise
    torch.testing.assert_close(after[..., :2], wrap(expected, 4.0))
    kept = math.exp(-0.1 * 0.05)
    torch.testing.assert_close(after[..., 2:], kept * z[..., 2:] + math.sqrt(1 - kept**2) * kick)


def test_brownian_particles():
    system = ActiveBrownian(half_width=5.0, v0=0.8, gamma=0.2, epsilon=0.05, repulsion=SoftRepulsion(0.0))
    z = system.start(3, 4, seeded())
    assert z.shape == (3, 4, 3)
    drift, diagonal = system.with_diagonal(z)
    heading = torch.stack([z[..., 2].cos(), z[..., 2].sin()], -1)
    torch.testing.assert_close(drift, torch.cat([0.8 * heading, torch.zeros(3, 4, 1)], -1))
    torch.testing.assert_close(diagonal, jacobian_diagonal(lambda at: system(at), z)[1])
    # Alone its law is uniform, so the score is 0.
    sigma = local_epr(z, system, torch.zeros_like, system.diffusion)
    torch.testing.assert_close(sigma, torch.full_like(sigma, 4 * 0.8**2 / 0.05))
    after = system.step(z, 0.3, seeded(1))
    g = seeded(1)
    torch.randn(3, 4, 2, dtype=torch.float64, generator=g)
    turn = torch.randn(3, 4, 1, dtype=torch.float64, generator=g)
    torch.testing.assert_close(after[..., 2:], wrap(z[..., 2:] + math.sqrt(2 * 0.2 * 0.3) * turn, math.pi))


def test_free_particles_make_what_their_propulsion_does():
    system = ActiveOrnsteinUhlenbeck(half_width=5.0, v0=0.8, gamma=0.2, epsilon=0.05, repulsion=SoftRepulsion(0.0))
    z = system.start(20_000, 2, seeded())

    def score(z):
        return torch.cat([torch.zeros_like(z[..., :2]), -z[..., 2:]], -1)

    sigma = local_epr(z, system, score, system.diffusion)
    torch.testing.assert_close(sigma, 0.8**2 / 0.05 * z[..., 2:].square().sum((1, 2)))
    expected = 2 * 2 * 0.8**2 / 0.05
    # A χ² of four degrees of freedom has a relative spread of √(2 / 4).
    assert sigma.mean().item() == pytest.approx(expected, rel=5 * math.sqrt(0.5 / 20_000))


@pytest.mark.parametrize("packing", [0.1, 0.5])
def test_where_simulations_begin(packing):
    n = 400
    system = ActiveOrnsteinUhlenbeck(half_width=box_half_width(n, packing), v0=0.1, gamma=0.1)
    assert system.packing(n) == pytest.approx(packing)
    x = system.start(1250, n, seeded())[..., :2] / system.half_width
    assert x.abs().max() <= 1
    # E cos(πx / L) is 0 of what is uniform, and e^(-π²/2) = 0.0072 of a wrapped normal cloud: ten standard errors more.
    expected = 0.0 if packing < 0.25 else math.exp(-(math.pi**2) / 2)
    assert (math.pi * x).cos().mean().item() == pytest.approx(expected, abs=5 * math.sqrt(0.5 / x.numel()))


def outside():
    z = normal(2, 3, 4)
    z[1, 2, 0] = 4.5
    return z


BOX = ActiveOrnsteinUhlenbeck(half_width=4.0, v0=0.3, gamma=0.1, repulsion=SoftRepulsion(cutoff=3.0))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: BOX(outside()), ValueError, r"outside of the box \[-4, 4\].* number 2 of row 1, at \(4.5"),
        (lambda: BOX(normal(2, 3, 5)), ValueError, r"states \[B, N, 4\] are expected; their shape is \[2, 3, 5\]"),
        (lambda: BOX(normal(3, 4)), ValueError, r"states \[B, N, 4\]"),
        (lambda: BOX(normal(2, 3, 4).numpy()), TypeError, "torch.Tensor"),
        (lambda: BOX(normal(2, 3, 4) * math.nan), ValueError, "a point is not finite"),
        (lambda: BOX(torch.zeros(1, 2, 4)), ValueError, "at the same place"),
        (lambda: nearest_neighbors(scattered(1, 5, 4.0), 4.0, 5), ValueError, "1 to N - 1 = 4 of 5 particles; 5"),
        (lambda: nearest_neighbors(scattered(1, 1, 4.0), 4.0, 1), ValueError, "N - 1 = 0"),
        (lambda: pairs_within(scattered(1, 5, 4.0), 4.0, 4.1), ValueError, "at most the half width 4"),
        (lambda: ActiveOrnsteinUhlenbeck(half_width=2.5, v0=1.0, gamma=1.0, repulsion=SoftRepulsion(cutoff=3.0)),
         ValueError, "reaches to 3, beyond the half width 2.5"),
        (lambda: ActiveOrnsteinUhlenbeck(half_width=4.0, v0=-1.0, gamma=1.0), ValueError, "v0 must be at least 0"),
        (lambda: ActiveBrownian(half_width=4.0, v0=1.0, gamma=0.0), ValueError, "gamma must be above 0"),
        (lambda: SoftRepulsion(cutoff=1.5), ValueError, "beyond contact, at 2; it is 1.5"),
        (lambda: SoftRepulsion(beta=0.0), ValueError, "beta must be above 0"),
        (lambda: box_half_width(10, 0.0), ValueError, "packing must be above 0"),
        (lambda: simulate(BOX, normal(2, 3, 4), 0, 0.1), ValueError, "steps: at least 1"),
        (lambda: simulate(BOX, normal(2, 3, 4), 2.5, 0.1), ValueError, "steps: a whole number .* got 2.5"),
        (lambda: simulate(BOX, normal(2, 3, 4), 5, 0.1, every=6), ValueError, "every is at most steps"),
        (lambda: simulate(BOX, normal(2, 3, 4), 5, 0.1, every="1"), TypeError, "every: a whole number"),
        (lambda: simulate(BOX, normal(2, 3, 4), 5, 0.1, generator=0), TypeError, "torch.Generator, .* got 0"),
        (lambda: BOX.step(normal(2, 3, 4), 0.1, np.random.default_rng(0)), TypeError, "generator: a torch.Generator"),
        (lambda: BOX.step(normal(2, 3, 4), -0.1), ValueError, "dt must be above 0"),
        (lambda: BOX.start(2, 3.5), ValueError, "n: a whole number"),
        (lambda: BOX.start(2, 3, 0), TypeError, "generator: a torch.Generator"),
        (lambda: nearest_neighbors(scattered(1, 5, 4.0), 4.0, 1.5), ValueError, "count: a whole number"),
        (lambda: simulate(BOX, normal(2, 3, 4), 5, math.nan), ValueError, "dt must be above 0"),
    ],
    ids=[
        "outside", "width", "flat", "numpy", "nan", "one-place", "neighbours", "alone", "reach", "small-box", "speed",
        "turning", "contact", "hardness", "packing", "no-steps", "half-a-step", "every", "text", "seed", "numpy-rng",
        "back", "half-a-particle", "seeded-start", "half-a-neighbour", "dt",
    ],
)  # fmt: skip
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_run_that_leaves_finite_numbers_says_at_which_step():
    class Runaway(ActiveOrnsteinUhlenbeck):
        def turned(self, z, dt, generator):
            return z[..., 2:] * 1e200

    system = Runaway(half_width=4.0, v0=0.0, gamma=0.1)
    with pytest.raises(ValueError, match="at step 2 states left finite numbers"):
        simulate(system, system.start(1, 3, seeded()), 5, 0.01)


def test_a_step_over_more_than_half_of_the_box_is_named():
    """Wrapped, it would look like a short one, and the list of pairs would be kept."""
    system, z = ActiveOrnsteinUhlenbeck(half_width=4.0, v0=1.0, gamma=0.1), torch.zeros(2, 3, 4, dtype=torch.float64)
    z[..., :2] = scattered(2, 3, 4.0)
    z[1, 2, 3] = 50.0
    free = replace(system, repulsion=SoftRepulsion(0.0))
    assert free.step(z, 0.0799).isfinite().all()
    said = (
        r"1 particles cross more than half of the box \[-4, 4\] in a step of dt = 0\.081.* number 2 of row 1, by 4\.05;"
    )
    for call in (lambda: free.step(z, 0.081), lambda: simulate(free, z, 3, 0.081)):
        with pytest.raises(ValueError, match=said):
            call()


def test_counts_may_be_whole_floats():
    system, z = crowd()
    runs = [simulate(system, z, steps, 0.01, every=every, generator=seeded()) for steps, every in ((4, 2), (4.0, 2.0))]
    assert torch.equal(*runs)
