"""Schools that need no random numbers."""

import math

import torch

# Real root of g⁴ = g + 1.
G = 1.2207440846057596


def scattered(agents, side):
    """A sequence of low discrepancy in a cube."""
    n = torch.arange(1, agents + 1, dtype=torch.float64)[:, None]
    return side * torch.remainder(0.5 + n * torch.tensor([G**-1, G**-2, G**-3], dtype=torch.float64), 1.0)


def fibonacci(agents):
    """Headings that are even over the sphere."""
    i = torch.arange(agents, dtype=torch.float64)
    z, phi = 1 - (2 * i + 1) / agents, math.pi * (1 + math.sqrt(5)) * (i + 0.5)
    r = (1 - z * z).sqrt()
    return torch.stack([r * phi.cos(), r * phi.sin(), z], 1)


def ring(agents=40, radius=2.0, middle=5.0):
    """A perfect mill."""
    angle = 2 * math.pi * torch.arange(agents, dtype=torch.float64) / agents
    nothing = torch.zeros_like(angle)
    x = middle + radius * torch.stack([angle.cos(), angle.sin(), nothing], 1)
    return x, torch.stack([-angle.sin(), angle.cos(), nothing], 1)


def school(*shape, side=10.0, seed=0):
    """Positions and velocities without any order, ``(*shape, 3)``."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(*shape, 3, generator=g, dtype=torch.float64) * side
    return x, torch.randn(*shape, 3, generator=g, dtype=torch.float64)
