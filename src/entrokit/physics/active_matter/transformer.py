"""A score that sees each particle's neighbours alone: trained at one number of particles, it is one at every number.

arXiv 2309.12991. Particle i's tokens are itself and its nearest others, [MLP_g(g_j), MLP_x(x_i - x_j)]; encoder layers
with norms behind (Vaswani et al. 2017); what the own token became is decoded. Permuting particles permutes what comes
out, and translating all of them changes nothing.

Departs from it in one option: the set of the nearest changes by jumps, at which no derivative is seen. With ``reach`` a
token counts by a smooth weight that ends at that distance, so the score is continuous.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from .box import nearest_neighbors, wrap
from .checks import check_above, check_field, check_points

__all__ = ["Neighborhoods", "ParticleScoreTransformer"]


class Neighborhoods(NamedTuple):
    """M particles with their own tokens first: differences x_i - x_j and propulsions g_j, each ``[M, 1 + K, d]``."""

    away: Tensor
    g: Tensor


class ParticleScoreTransformer(nn.Module):
    """Vectors ``[B, N, d]`` of positions and propulsions ``[B, N, d]``, of any N above ``n_neighbors``.

    Args:
        n_neighbors: K, others that a particle sees. half_width: L of the box; `in_box`: the same network in another.
        dimensions: d. embed_dim: of a token, half of it each of g and of positions. layers, heads: of the encoder.
        feed_forward: width of its MLPs; ``embed_dim`` by default. mlp_layers: hidden ones of what encodes and decodes.
        reach: weights of tokens end smoothly at this distance; the paper has none.
        chunk: particles at a time where no gradients are recorded.

    Raises:
        ValueError: sizes that are none, or an ``embed_dim`` that neither halves nor ``heads`` divide.
    """

    def __init__(
        self,
        n_neighbors: int,
        half_width: float,
        *,
        dimensions: int = 2,
        embed_dim: int = 256,
        layers: int = 4,
        heads: int = 4,
        feed_forward: int | None = None,
        mlp_layers: int = 4,
        reach: float | None = None,
        chunk: int = 4096,
    ) -> None:
        super().__init__()
        check_above(half_width=half_width, reach=1.0 if reach is None else reach)
        sizes = {"n_neighbors": n_neighbors, "dimensions": dimensions, "embed_dim": embed_dim, "layers": layers}
        for name, size in (sizes | {"heads": heads, "mlp_layers": mlp_layers, "chunk": chunk}).items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1; it is {size}")
        if embed_dim % 2 or embed_dim % heads:
            raise ValueError(f"embed_dim is even and a multiple of heads = {heads}; it is {embed_dim}")
        self.n_neighbors, self.half_width, self.reach, self.chunk = n_neighbors, half_width, reach, chunk
        self.dimensions = dimensions
        half = embed_dim // 2
        self.encode_g = _mlp(dimensions, half, embed_dim, mlp_layers)
        self.encode_x = _mlp(dimensions, half, embed_dim, mlp_layers)
        wide = embed_dim if feed_forward is None else feed_forward
        self.layers = nn.ModuleList(_Layer(embed_dim, heads, wide) for _ in range(layers))
        self.decode = _mlp(embed_dim, dimensions, embed_dim, mlp_layers)

    def in_box(self, half_width: float, n_neighbors: int | None = None) -> ParticleScoreTransformer:
        """The same network, its weights shared, in a box of another half width.

        Args:
            n_neighbors: as many as before by default. With a ``reach`` any number is right that holds all within it.
        """
        check_above(half_width=half_width, n_neighbors=1 if n_neighbors is None else n_neighbors)
        other = copy.copy(self)
        other.half_width = half_width
        other.n_neighbors = self.n_neighbors if n_neighbors is None else n_neighbors
        return other

    def forward(self, x: Tensor, g: Tensor, particles: Tensor | None = None) -> Tensor:
        """Of every particle, ``[B, N, d]``; with ``particles`` ``[M]`` of those numbers alone, ``[B, M, d]``.

        Raises:
            TypeError, ValueError: of another shape, not finite, outside of the box, too few for their neighbours, or
                with neighbours that end within ``reach``.
        """
        near = self.neighborhoods(x, g, particles)
        batch = x.shape[0]
        if torch.is_grad_enabled():
            return self.local(near).view(batch, -1, self.dimensions)
        parts = zip(torch.split(near.away, self.chunk), torch.split(near.g, self.chunk), strict=True)
        return torch.cat([self.local(Neighborhoods(*part)) for part in parts]).view(batch, -1, self.dimensions)

    def neighborhoods(self, x: Tensor, g: Tensor, particles: Tensor | None = None) -> Neighborhoods:
        """What each particle sees, in the order of the rows of ``[B · N, d]``; errors as `forward`."""
        check_points(x)
        check_field(g, "the propulsion", x)
        if x.shape[-1] != self.dimensions:
            raise ValueError(f"positions [B, N, {self.dimensions}] are expected; their shape is {list(x.shape)}")
        weights = next(self.parameters()).dtype
        if x.dtype != weights or g.dtype != weights:
            raise ValueError(
                f"the network has weights of {weights}, positions are {x.dtype} and propulsions {g.dtype}: give it "
                f"states.to({weights}), or network.to({x.dtype})"
            )
        number, distance = nearest_neighbors(x, self.half_width, self.n_neighbors)
        self._check_reach(distance)
        batch, n, d = x.shape
        own = torch.arange(n, device=x.device).expand(batch, n)[..., None]
        number = torch.cat([own, number], -1)
        if particles is not None:
            number = number[:, particles]
        seen = number + torch.arange(batch, device=x.device)[:, None, None] * n
        seen = seen.flatten(0, 1)
        x, g = x.reshape(-1, d), g.reshape(-1, d)
        return Neighborhoods(wrap(x[seen[:, :1]] - x[seen], self.half_width), g[seen])

    def local(self, near: Neighborhoods) -> Tensor:
        """Of M particles by their neighbourhoods, ``[M, d]``."""
        token = torch.cat([self.encode_g(near.g), self.encode_x(near.away)], -1)
        weight = self._log_weight(near.away)
        for layer in self.layers[:-1]:
            token = layer(token, token, weight)
        # Of the last layer only the own token is read.
        own = self.layers[-1](token[:, :1], token, weight)
        decoded: Tensor = self.decode(own[:, 0])
        return decoded

    def _log_weight(self, away: Tensor) -> Tensor | None:
        """log (1 - r² / reach²)² of every token, ``[M, 1 + K]``; the own one has 0."""
        if self.reach is None:
            return None
        left = (1 - away.square().sum(-1) / self.reach**2).clamp(min=1e-12)
        return 2 * left.log()

    def _check_reach(self, distance: Tensor) -> None:
        if self.reach is None or self.n_neighbors == distance.shape[1] - 1:
            return
        short = distance[..., -1] < self.reach
        if bool(short.any()):
            row, particle = (int(i) for i in short.nonzero()[0])
            raise ValueError(
                f"{int(short.sum())} particles have more than {self.n_neighbors} neighbours within the reach "
                f"{self.reach:g}, the first is number {particle} of row {row}, whose last is at "
                f"{float(distance[row, particle, -1]):.4g}; take more neighbours, or a shorter reach"
            )


class _Layer(nn.Module):
    """Attention and an MLP, each added and then normed. Attention is written out: it is differentiated twice."""

    def __init__(self, width: int, heads: int, wide: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, wide), nn.Linear(wide, width)

    def forward(self, query: Tensor, tokens: Tensor, log_weight: Tensor | None) -> Tensor:
        """``[M, Q, width]`` of queries ``[M, Q, width]``, tokens ``[M, T, width]`` and weights ``[M, T]``."""
        q = self._split(self.query(query))
        k, v = (self._split(part) for part in self.key_value(tokens).chunk(2, -1))
        fit = q @ k.mT / math.sqrt(q.shape[-1])
        if log_weight is not None:
            fit = fit + log_weight[:, None, None]
        mixed = (fit.softmax(-1) @ v).transpose(1, 2).flatten(2)
        token = self.first_norm(query + self.out(mixed))
        normed: Tensor = self.second_norm(token + self.narrow(gelu(self.widen(token))))
        return normed

    def _split(self, token: Tensor) -> Tensor:
        return token.view(*token.shape[:2], self.heads, -1).transpose(1, 2)


def _mlp(inputs: int, outputs: int, width: int, hidden: int) -> nn.Sequential:
    sizes = [inputs, *[width] * hidden]
    layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(*layers, nn.Linear(width, outputs))
