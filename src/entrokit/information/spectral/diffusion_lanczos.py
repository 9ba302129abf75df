"""The diffusion spectrum of very many points: block Lanczos on tiles of the kernel, which is never held whole.

For the operator of arXiv 2312.04823. A random orthonormal block of b vectors is multiplied k times; the Ritz values
then stand for the spectrum, each as often as its share of the block says (Gauss quadrature). Two facts take the noise
out of that: converged Ritz pairs are single eigenvalues, so they count once; and the trace is known exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .diffusion_entropy import spectral_entropy
from .diffusion_operator import bandwidth, points

_TILE = 2048
# Residual, relative to the Ritz value, below which a pair counts as an eigenpair.
_CONVERGED = 0.01


@dataclass(frozen=True)
class SpectrumEstimate:
    """A spectrum in few numbers.

    Attributes:
        eigenvalues: ``[M]`` float64, descending. weights: ``[M]``, how many eigenvalues each stands for.
        certain: how many of them are eigenvalues, each counted once.
    """

    eigenvalues: Tensor
    weights: Tensor
    certain: int

    def entropy(self, t: float = 1.0, *, base: float = 2.0) -> Tensor:
        """Diffusion spectral entropy, in bits by default."""
        return spectral_entropy(self.eigenvalues, t, base=base, weights=self.weights)


def estimate_diffusion_spectrum(
    x: Tensor,
    *,
    sigma: float | str = 10.0,
    alpha: float = 0.0,
    block: int = 64,
    steps: int = 8,
    generator: torch.Generator | None = None,
) -> SpectrumEstimate:
    """What `diffusion_eigenvalues` says, for points ``[N, D]`` whose matrix would not fit.

    Takes O(N² D) time for each of ``steps + 1`` passes (one more with alpha) and O(N (D + block · steps)) memory.
    `benchmarks/spectral_entropy.py` holds it to the exact entropy.

    Args:
        sigma, alpha: as for `diffusion_eigenvalues`. block: b. steps: k. Up to N = b the result is exact.
        generator: of the first block.

    Raises:
        ValueError: see `points`, `bandwidth`; or block or steps below 1.
    """
    if block < 1 or steps < 1:
        raise ValueError(f"estimate_diffusion_spectrum: block and steps must be at least 1, got {block}, {steps}")
    with torch.no_grad():
        operator = _TiledOperator(x, sigma, alpha)
        ritz, share, residual = _block_lanczos(operator, min(block, len(x)), steps, generator)
        return _weighed(ritz, share, residual, len(x), min(block, len(x)), operator.trace)


class _TiledOperator:
    """K = diag(s) G diag(s) of points, by tiles above the diagonal."""

    def __init__(self, x: Tensor, sigma: float | str, alpha: float) -> None:
        x = points(x)
        x = x / bandwidth(x, sigma)
        # In float32 a squared distance is off by about 1e-7 of the squared norms; that must stay far below 1.
        coarse = float(x.square().sum(1).max()) < 1e3
        self._x = x.float() if coarse else x
        self._half = 0.5 * self._x.square().sum(1)
        ones = self._x.new_ones(len(x), 1)
        self._scale = ones
        q = self._apply(ones)
        weight = q**-alpha if alpha else ones
        d = weight * self._apply(weight) if alpha else q
        self._scale = weight * d.rsqrt()
        self.trace = float(self._scale.double().square().sum())

    def __len__(self) -> int:
        return len(self._x)

    @property
    def device(self) -> torch.device:
        return self._x.device

    def __matmul__(self, v: Tensor) -> Tensor:
        return (self._scale * self._apply(self._scale * v.to(self._scale.dtype))).double()

    def _apply(self, v: Tensor) -> Tensor:
        out = torch.zeros_like(v)
        for rows, columns, G in self._tiles():
            out[rows] += G @ v[columns]
            if rows != columns:
                out[columns] += G.T @ v[rows]
        return out

    def _tiles(self) -> Iterator[tuple[slice, slice, Tensor]]:
        cuts = [slice(i, i + _TILE) for i in range(0, len(self._x), _TILE)]
        for i, rows in enumerate(cuts):
            for columns in cuts[i:]:
                G = torch.addmm(-self._half[rows, None] - self._half[columns], self._x[rows], self._x[columns].T)
                yield rows, columns, G.clamp_(max=0.0).exp_()


def _block_lanczos(
    operator: _TiledOperator, block: int, steps: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz values, their shares of the first block, and residuals, ``[M]`` each."""
    n = len(operator)
    start = torch.randn(
        n, block, generator=generator, dtype=torch.float64, device=generator.device if generator else None
    )
    basis = torch.linalg.qr(start.to(operator.device))[0]
    columns, last = [], basis
    while True:
        image = operator @ last
        columns.append(image)
        rest = image
        for _ in range(2):
            rest = rest - basis @ (basis.T @ rest)
        following, link = torch.linalg.qr(rest)
        if len(columns) == steps or basis.shape[1] + block > n or float(link.abs().max()) < 1e-9:
            break
        # Of a block that is almost spent, qr makes directions from rounding: they too must be orthogonal.
        following = torch.linalg.qr(following - basis @ (basis.T @ following))[0]
        basis, last = torch.cat([basis, following], 1), following
    T = basis.T @ torch.cat(columns, 1)
    ritz, vectors = torch.linalg.eigh(0.5 * (T + T.T))
    residual = (link @ vectors[-block:]).norm(dim=0)
    return ritz.flip(0), vectors[:block].square().sum(0).flip(0), residual.flip(0)


def _weighed(ritz: Tensor, share: Tensor, residual: Tensor, n: int, block: int, trace: float) -> SpectrumEstimate:
    converged = int((residual <= _CONVERGED * ritz.abs()).long().cumprod(0).sum())
    count = torch.arange(1, converged + 1, device=ritz.device)
    # A single eigenvector's share is that of a random direction; where many lie close together, a Ritz vector stands
    # for several of them and its share is larger.
    single = (share[:converged].cumsum(0) * n / block - count).abs() <= 4.0 * (2.0 * count / block).sqrt()
    certain = int(single.long().cumprod(0).sum()) if len(ritz) < n else n
    weights = torch.ones_like(ritz)
    rest, values = trace - float(ritz[:certain].sum()), ritz.abs()
    mass = float((share[certain:] * values[certain:]).sum())
    weights[certain:] = share[certain:] * (max(rest, 0.0) / mass if mass > 0 else 0.0)
    return SpectrumEstimate(values, weights, certain)
