"""Scores of particles: symmetries, any number of particles, derivatives, and what they cannot see."""

import pytest
import torch

from entrokit.physics.active_matter import (
    ActiveOrnsteinUhlenbeck,
    ParticleScore,
    ParticleScoreTransformer,
    SoftRepulsion,
    denoising_loss,
    epr_by_coordinate,
    jacobian_diagonal,
    score_matching_loss,
    stationary_residual,
    wrap,
)

from .active_matter_cases import crowd, float64, normal, seeded, small_net, small_score

REACHES = pytest.mark.parametrize("reach", [None, 3.5], ids=["nearest", "reach"])


@REACHES
def test_check_6_permutations_and_translations(reach):
    system, z = crowd()
    score = small_score(system, reach=reach)
    order = torch.randperm(12, generator=seeded(3))
    torch.testing.assert_close(score(z[:, order]), score(z)[:, order])
    shifted = torch.cat([wrap(z[..., :2] + float64([3.1, -1.7]), 4.0), z[..., 2:]], -1)
    torch.testing.assert_close(score(shifted), score(z))
    sigma = epr_by_coordinate(z, system, score, system.diffusion)
    torch.testing.assert_close(epr_by_coordinate(z[:, order], system, score, system.diffusion), sigma[:, order])
    assert not torch.allclose(sigma, sigma[:, order])


@REACHES
def test_derivatives_of_a_few_passes_are_those_of_all(reach):
    system, z = crowd(7)
    score = small_score(system, n_neighbors=6 if reach else 4, reach=reach)
    value, diagonal = score.with_diagonal(z)
    slow_value, slow = jacobian_diagonal(lambda at: score(at), z)
    torch.testing.assert_close(value, slow_value)
    torch.testing.assert_close(diagonal, slow)
    with torch.no_grad():
        torch.testing.assert_close(torch.stack(score.with_diagonal(z)), torch.stack([value, diagonal]).detach())
        torch.testing.assert_close(score(z), value.detach())
    with torch.inference_mode():
        torch.testing.assert_close(torch.stack(score.with_diagonal(z.clone())), torch.stack([value, diagonal]))


def test_derivatives_are_those_of_differences():
    system, z = crowd()
    score = small_score(system)
    diagonal = score.with_diagonal(z)[1]
    for particle, coordinate in ((0, 0), (3, 1), (7, 2), (11, 3)):
        step = torch.zeros_like(z)
        step[:, particle, coordinate] = 1e-6
        moved = (score(z + step) - score(z - step))[:, particle, coordinate] / 2e-6
        torch.testing.assert_close(moved, diagonal[:, particle, coordinate], rtol=1e-6, atol=1e-7)


def test_networks_see_neighbours_alone():
    """In a box that is copied beside itself every particle sees what it saw."""
    net, z = small_net(6, reach=None), normal(1, 7, 4, seed=5)
    x, g = wrap(z[..., :2], 4.0), z[..., 2:]
    wide = net.in_box(8.0)
    copies = [x - 4.0 + 8.0 * float64([a, b]) for a in (0, 1) for b in (0, 1)]
    tiled = wide(wrap(torch.cat(copies, 1), 8.0), g.repeat(1, 4, 1))
    # The four that stand nearest are the same ones where no particle sees half across the box.
    near = net.neighborhoods(x, g).away.norm(dim=-1).view(7, 7)[:, :4].max(1).values < 4.0
    small = small_net(3, reach=None)
    assert near.any()
    once, four = small(x, g), small.in_box(8.0)(wrap(torch.cat(copies, 1), 8.0), g.repeat(1, 4, 1))
    torch.testing.assert_close(four[:, :7][:, near], once[:, near])
    assert tiled.shape == (1, 28, 2)


def test_one_network_for_any_number_of_particles():
    net = small_net(5, reach=None)
    for n in (6, 20, 40):
        x = 4 * (2 * torch.rand(2, n, 2, dtype=torch.float64, generator=seeded(n)) - 1)
        found = net(x, normal(2, n, 2))
        assert found.shape == (2, n, 2)
        some = torch.tensor([4, 0])
        torch.testing.assert_close(net(x, normal(2, n, 2), some), found[:, some])


def test_with_a_reach_scores_do_not_jump():
    """A particle that comes within reach, or into the set of the nearest, moves the score of another smoothly."""
    x = float64([[[0.0, 0.0], [1.0, 0.0], [-1.2, 0.5], [0.0, 3.5]]])
    g = normal(1, 4, 2)
    step = float64([0.0, 1e-6])

    def jump(net, place):
        ends = []
        for sign in (-1, 1):
            at = x.clone()
            at[0, 3] = place + sign * step
            ends.append(net(at, g)[0, 0])
        return (ends[1] - ends[0]).abs().max().item()

    assert jump(small_net(3), float64([0.0, 3.5])) < 1e-5
    # At 1.3 from the first the fourth takes the third's place among two.
    swap = float64([0.0, 1.3])
    assert jump(small_net(2, reach=None), swap) > 1e-3
    assert jump(small_net(2, reach=1.25), swap) < 1e-5


def test_with_a_reach_derivatives_do_not_jump_either():
    """A token's weight, (1 - r² / reach²)², leaves without a slope: what a divergence sees is continuous."""
    net, g = small_net(3), normal(1, 4, 2)

    def slope(far):
        x = float64([[[0.0, 0.0], [1.0, 0.0], [-1.2, 0.5], [0.0, far]]]).requires_grad_()
        return torch.autograd.grad(net(x, g)[0, 0].sum(), x)[0][0, 3, 1].abs().item()

    # It falls as 1 - r² / 3.5² does, which is 1e-4 there, and 0.5 here.
    assert slope(3.5 - 1.75e-4) < 1e-2 * slope(2.5)


def test_what_is_beyond_reach_is_not_seen():
    net, g = small_net(3, reach=2.0), normal(1, 4, 2)
    x = float64([[[0.0, 0.0], [1.0, 0.0], [-1.2, 0.5], [0.0, 2.1]]])
    moved = x.clone()
    moved[0, 3] = float64([0.7, 3.0])
    torch.testing.assert_close(net(moved, g)[0, 0], net(x, g)[0, 0], rtol=0, atol=1e-12)
    x[0, 3, 1] = 1.5
    assert not torch.allclose(net(moved, g)[0, 0], net(x, g)[0, 0])


def test_what_is_not_to_be_learnt_is_right_from_the_start():
    """With networks of 0: the law of equilibrium, and that of free particles."""

    class Zero(ParticleScoreTransformer):
        def local(self, near):
            return super().local(near) * 0

    for v0, stiffness in ((0.0, 2.5), (0.7, 0.0)):
        system = ActiveOrnsteinUhlenbeck(
            half_width=4.0, v0=v0, gamma=0.1, epsilon=0.1, repulsion=SoftRepulsion(stiffness, cutoff=3.0)
        )
        z = system.wrapped(normal(3, 12, 4))
        nets = [Zero(11, 4.0, embed_dim=4, layers=1, heads=1, mlp_layers=1).double() for _ in range(2)]
        score = ParticleScore(system, *nets)
        residual = stationary_residual(score, z, system, system.diffusion)
        torch.testing.assert_close(residual, torch.zeros_like(residual), rtol=0, atol=1e-8)
        sigma = epr_by_coordinate(z, system, score, system.diffusion)
        torch.testing.assert_close(sigma[..., :2], v0**2 / 0.1 * z[..., 2:] ** 2)


def test_without_noise_of_positions_there_is_no_score_of_them():
    system, z = crowd(epsilon=0.0)
    score = small_score(system)
    value, diagonal = score.with_diagonal(z)
    assert value[..., :2].abs().max() == diagonal[..., :2].abs().max() == 0
    torch.testing.assert_close(value, score(z))
    part = epr_by_coordinate(z, system, score, system.diffusion, noisy_only=True)
    torch.testing.assert_close(part[..., 2:], 0.1 * (z[..., 2:] + value[..., 2:]) ** 2)


def test_another_box_shares_the_weights():
    system, z = crowd()
    score = small_score(system)
    other = score.on(crowd(half_width=6.0)[0])
    before = other(z)
    with torch.no_grad():
        for weight in score.parameters():
            weight.mul_(1.5)
    assert not torch.allclose(other(z), before)


def test_denoising_of_some_particles():
    system, z = crowd()
    score = small_score(system)
    some = torch.tensor([2, 9, 4])
    delta = float64([0.0, 0.0, 0.1, 0.1])
    part = denoising_loss(score, z, delta, particles=some, wrap=system.wrapped, generator=seeded())
    each = [
        denoising_loss(score, z, delta, particles=some[k : k + 1], wrap=system.wrapped, generator=seeded())
        for k in range(3)
    ]
    torch.testing.assert_close(part, sum(each))
    moved = denoising_loss(score, z, 0.5, wrap=system.wrapped, generator=seeded())
    assert moved.isfinite()


BOX, STATES = crowd()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small_score(BOX, 12)(STATES), "1 to N - 1 = 11 of 12 particles; 12"),
        (lambda: small_score(BOX, 2)(STATES), "more than 2 neighbours within the reach 3.5.*take more neighbours"),
        (lambda: small_score(BOX, reach=2.5), r"the force reaches to 3, outside of the neighbours of net_g, .* 2\.5"),
        (lambda: ParticleScore(BOX, small_net(), None), "net_x is needed"),
        (lambda: ParticleScore(crowd(epsilon=0.0)[0], small_net(), small_net()), "for none, give None"),
        (lambda: small_score(crowd(trap=0.2)[0]), "cannot see where a trap is; it is 0.2"),
        (lambda: small_score(BOX)(5 * STATES), "outside of the box"),
        (lambda: small_score(BOX)(STATES[..., :3]), r"states \[B, N, 4\]"),
        (lambda: small_net()(STATES[..., :2], STATES[..., :1]), "the propulsion has its points' shape"),
        (lambda: ParticleScoreTransformer(4, 1.0, embed_dim=6, heads=4), "multiple of heads = 4; it is 6"),
        (lambda: ParticleScoreTransformer(0, 1.0), "n_neighbors must be at least 1"),
        (lambda: ParticleScoreTransformer(4, 1.0, dimensions=3)(STATES[..., :2], STATES[..., 2:]), r"\[B, N, 3\]"),
        (lambda: ParticleScore(BOX, ParticleScoreTransformer(4, 1.0, dimensions=3), small_net()), "3 dimensions"),
        (lambda: small_net().in_box(0.0), "half_width must be above 0"),
        (lambda: small_score(BOX).float()(STATES), r"weights of torch\.float32, positions are torch\.float64"),
        (lambda: denoising_loss(lambda z: -z, STATES, -1.0), "delta is at least 0 and finite; it has -1.0"),
    ],
    ids=[
        "too-few", "reach", "force", "needed", "not-needed", "trap", "outside", "width", "propulsion", "heads", "none",
        "dimensions", "other-dimensions", "box", "dtype", "delta",
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_weights_that_are_lost_are_named():
    score = small_score(BOX)
    with torch.no_grad():
        score.net_g.decode[0].weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="a network's vector is not finite"):
        score_matching_loss(score, STATES)
