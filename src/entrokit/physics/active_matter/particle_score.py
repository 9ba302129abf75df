"""The score of active Ornstein-Uhlenbeck particles by networks of neighbours, and its derivatives in a few passes.

arXiv 2309.12991, by the departure from what is known: s_x = net_x + F / epsilon and s_g = net_g - g. Without
propulsion, or without contacts, the networks have nothing to learn. A particle's score is a function of copies of its
neighbours of its own, so ∂s_i / ∂z_i of all particles takes a pass backward a coordinate of one particle, not of all.

Departs from the paper, where it is net_x + (v0 g + F) / epsilon: a free particle's network has to take v0 g / epsilon
away again, which is large.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .checks import check_finite
from .particles import ActiveOrnsteinUhlenbeck
from .transformer import Neighborhoods, ParticleScoreTransformer

__all__ = ["ParticleScore"]


class ParticleScore(nn.Module):
    """The score ``[B, N, 2d]`` of states ``[B, N, 2d]``: of positions, then of propulsions.

    Without noise of positions (epsilon = 0) the score of positions is in no equation: ``net_x`` is None, and it counts
    as 0.

    Args:
        system: its box, its drift and its noise. net_g, net_x: networks of their own, in whatever box.

    Raises:
        ValueError: ``net_x`` is given and not needed, or the reverse; a trap, which networks of differences cannot see;
            other dimensions; or a force that reaches further than a network does.
    """

    def __init__(
        self, system: ActiveOrnsteinUhlenbeck, net_g: ParticleScoreTransformer, net_x: ParticleScoreTransformer | None
    ) -> None:
        super().__init__()
        if (net_x is None) != (system.epsilon == 0):
            raise ValueError(
                f"positions have noise epsilon = {system.epsilon:g}: net_x is "
                + ("needed" if system.epsilon else "for none, give None")
            )
        if system.trap:
            raise ValueError(f"networks of differences cannot see where a trap is; it is {system.trap:g}, make it 0")
        force = system.repulsion.reach_in(system.half_width) if system.repulsion.stiffness else 0.0
        for name, net in (("net_g", net_g), ("net_x", net_x)):
            if net is not None and net.dimensions != system.dimensions:
                raise ValueError(f"{name} has {net.dimensions} dimensions, the system {system.dimensions}")
            if net is not None and net.reach is not None and net.reach < force:
                raise ValueError(
                    f"the force reaches to {force:.4g}, outside of the neighbours of {name}, which end at "
                    f"{net.reach:.4g}; give it a longer reach, or the force a shorter cutoff"
                )
        self.system = system
        self.net_g = net_g.in_box(system.half_width)
        self.net_x = None if net_x is None else net_x.in_box(system.half_width)

    def on(self, system: ActiveOrnsteinUhlenbeck, n_neighbors: int | None = None) -> ParticleScore:
        """The same networks on another system: of more particles, in another box. What was learnt is not checked.

        Args:
            n_neighbors: as many as before by default; see `ParticleScoreTransformer.in_box`.
        """
        net_x = None if self.net_x is None else self.net_x.in_box(system.half_width, n_neighbors)
        return ParticleScore(system, self.net_g.in_box(system.half_width, n_neighbors), net_x)

    def forward(self, z: Tensor, particles: Tensor | None = None) -> Tensor:
        """``[B, N, 2d]``; with ``particles`` ``[M]`` of those numbers alone, ``[B, M, 2d]``.

        Raises:
            TypeError, ValueError: states of another shape, not finite, outside of the box, or too few.
        """
        x, g = self.system.positions(z), z[..., self.system.dimensions :]
        kept = slice(None) if particles is None else particles
        s_g = self.net_g(x, g, particles) - g[:, kept]
        if self.net_x is None:
            return torch.cat([torch.zeros_like(s_g), s_g], -1)
        force = (self.system(z)[..., : self.system.dimensions] - self.system.v0 * g)[:, kept]
        return torch.cat([self.net_x(x, g, particles) + force / self.system.epsilon, s_g], -1)

    def with_diagonal(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The score and its derivative of every coordinate along itself, ``[B, N, 2d]`` each; errors as `forward`."""
        d = self.system.dimensions
        x, g = self.system.positions(z), z[..., d:]
        near = self.net_g.neighborhoods(x, g)
        s_g, ds_g = (part.view_as(g) for part in _along(self.net_g, near, of_x=False))
        s_g, ds_g = s_g - g, ds_g - 1
        if self.net_x is None:
            still = torch.zeros_like(s_g)
            return torch.cat([still, s_g], -1), torch.cat([still, ds_g], -1)
        if self.net_x.n_neighbors != self.net_g.n_neighbors:
            near = self.net_x.neighborhoods(x, g)
        s_x, ds_x = (part.view_as(x) for part in _along(self.net_x, near, of_x=True))
        force, slope = (part[..., :d] for part in self.system.with_diagonal(z))
        force = force - self.system.v0 * g
        return (
            torch.cat([s_x + force / self.system.epsilon, s_g], -1),
            torch.cat([ds_x + slope / self.system.epsilon, ds_g], -1),
        )


def _along(net: ParticleScoreTransformer, near: Neighborhoods, *, of_x: bool) -> tuple[Tensor, Tensor]:
    """A network's vectors ``[M, d]`` and their derivatives along the particle's own x or g."""
    recorded = torch.is_grad_enabled()
    if recorded:
        return _along_part(net, near, of_x, recorded)
    parts = zip(torch.split(near.away, net.chunk), torch.split(near.g, net.chunk), strict=True)
    found = [_along_part(net, Neighborhoods(*part), of_x, recorded) for part in parts]
    return torch.cat([value for value, _ in found]), torch.cat([diagonal for _, diagonal in found])


def _along_part(
    net: ParticleScoreTransformer, near: Neighborhoods, of_x: bool, recorded: bool
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.enable_grad():
        near = Neighborhoods(*(part.clone() if part.is_inference() else part for part in near))
        shift = torch.zeros_like(near.g[:, 0], requires_grad=True)
        if of_x:
            # A particle that moves is further from all others, not from itself.
            near = Neighborhoods(torch.cat([near.away[:, :1], near.away[:, 1:] + shift[:, None]], 1), near.g)
        else:
            near = Neighborhoods(near.away, torch.cat([near.g[:, :1] + shift[:, None], near.g[:, 1:]], 1))
        value = net.local(near)
        columns = [
            torch.autograd.grad(value[:, a].sum(), shift, create_graph=recorded, retain_graph=True)[0][:, a]
            for a in range(value.shape[1])
        ]
        diagonal = torch.stack(columns, 1)
    check_finite(value, "a network's vector", near.g)
    return (value, diagonal) if recorded else (value.detach(), diagonal.detach())
