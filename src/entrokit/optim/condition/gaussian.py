"""What κ a matrix of independent Gaussians of a shape has: most of a ranking by κ is a ranking by shape.

For k and N = the smaller and larger of rows and columns, κ tends to (1 + √q) / (1 - √q) with q = k/N; of square ones it
has no limit but a heavy tail, P(κ <= N x) → exp(-2/x - 2/x²) (Edelman, SIAM J. Matrix Anal. Appl. 9, 1988), with median
3.67 N.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import torch

from .measure import MatrixCondition
from .spectrum import condition_number


def gaussian_condition_number(rows: int, columns: int, *, draws: int = 9, seed: int = 0) -> float:
    """Median κ of ``draws`` matrices of standard Gaussians; the same for the transposed shape, and for the same seed.

    Raises:
        ValueError: rows, columns or draws below 1.
    """
    if min(rows, columns, draws) < 1:
        raise ValueError(
            f"gaussian_condition_number: rows, columns and draws must be at least 1, got {rows}, {columns}, {draws}"
        )
    narrow, wide = sorted((rows, columns))
    generator = torch.Generator().manual_seed(seed)
    return median(condition_number(torch.randn(narrow, wide, generator=generator)) for _ in range(draws))


def relative_to_gaussian(measured: Mapping[str, MatrixCondition], *, draws: int = 9, seed: int = 0) -> dict[str, float]:
    """κ over the median κ of Gaussian matrices of the same shape, by name; for the selectors in place of κ itself.

    Above 1 a matrix is more uneven than chance, whatever its shape. Each shape costs ``draws`` measurements.

    Raises:
        ValueError: draws below 1. TypeError: κ alone, whose shapes are not known.
    """
    if not all(isinstance(one, MatrixCondition) for one in measured.values()):
        raise TypeError("relative_to_gaussian: needs what measure_matrices(model) gives, for the shapes")
    shapes = {(min(one.shape), max(one.shape)) for one in measured.values()}
    usual = {shape: gaussian_condition_number(*shape, draws=draws, seed=seed) for shape in sorted(shapes)}
    return {name: one.kappa / usual[min(one.shape), max(one.shape)] for name, one in measured.items()}
