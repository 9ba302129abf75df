"""The condition of every matrix of a model (KappaTune, arXiv 2506.16289)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from .cache import Spectrum, SpectrumCache
from .matrices import Include, Matrix, matrices
from .spectrum import check_floor, is_singular, ratio, singular_values
from .volumes import flatness


@dataclass(frozen=True)
class MatrixCondition:
    """What the singular values of a parameter say; of a stack of matrices, means over them.

    Attributes:
        kappa: s_1 / s_k, 1 to infinity. log_volume: Σ ln s_i in nats, -inf of a singular one.
        normalized_log_volume: ν in nats, at most 0, the same for every multiple. For more than two rows or columns κ
            does not determine it.
        shape: rows and columns. count: of matrices in a stack, else 1. numel: of the parameter.
        method: ``gram`` or ``svd``; of a stack ``svd`` if any needed it.
        resolution: 1/eps of the stored precision. A κ beyond it cannot be told from that of a singular matrix which
            was rounded: 128 in bfloat16, 1024 in float16, 8.4e6 in float32.
    """

    kappa: float
    log_volume: float
    normalized_log_volume: float
    shape: tuple[int, int]
    count: int
    numel: int
    method: str
    resolution: float


def measure_matrices(
    model: nn.Module,
    *,
    max_dim: int | None = None,
    floor: float | None = None,
    flatten_conv: bool = True,
    include: Include | None = None,
    rtol: float = 1e-4,
    cache: SpectrumCache | None = None,
) -> dict[str, MatrixCondition]:
    """Every matrix of a model by its parameter's name, in the model's order; weights are only read.

    Args:
        max_dim: leaves out parameters with a longer dimension, as embeddings. flatten_conv, include: see `matrices`.
        floor: added to s_k (PEFT: 1e-8); by default singular matrices are infinite instead.
        rtol: accuracy of κ, see `singular_values`.
        cache: spectra of the same values are taken from there, new ones kept; see `SpectrumCache`.

    Raises:
        ValueError: no matrix is left, or one holds NaN or inf or has no values. TypeError: see `matrices`;
            or ``cache`` is no `SpectrumCache`.
    """
    check_floor(floor)
    if cache is not None and not isinstance(cache, SpectrumCache):
        raise TypeError(
            f"cache: expected a SpectrumCache, got {type(cache).__name__}; for a file give cache=SpectrumCache(file)"
        )
    found = {}
    for matrix in matrices(model, max_dim=max_dim, include=include, flatten_conv=flatten_conv):
        spectra = cache.get(matrix.stack, rtol) if cache is not None else None
        if spectra is None:
            spectra = [_spectrum(matrix.name, one, rtol) for one in matrix.stack]
            if cache is not None:
                cache.put(matrix.stack, rtol, spectra)
        found[matrix.name] = _condition(matrix, spectra, floor)
    if cache is not None:
        cache.save()
    if not found:
        raise ValueError(
            "no matrix is left to measure: max_dim, include and flatten_conv leave out every parameter of two "
            "dimensions, or the model is sharded into flat ones and must be measured before"
        )
    return found


P = ParamSpec("P")
Result = TypeVar("Result")


def _called_as(other: Callable[P, object]) -> Callable[[Callable[..., Result]], Callable[P, Result]]:
    """The arguments of another function, for type checkers and `help`."""

    def decorate(function: Callable[..., Result]) -> Callable[P, Result]:
        own = inspect.signature(function).return_annotation
        function.__signature__ = inspect.signature(other).replace(return_annotation=own)  # type: ignore[attr-defined]
        return function

    return decorate


@_called_as(measure_matrices)
def condition_numbers(model: nn.Module, **options: Any) -> dict[str, float]:
    """κ of every matrix by its parameter's name: `measure_matrices` without the rest, with its arguments and errors."""
    return {name: one.kappa for name, one in measure_matrices(model, **options).items()}


def _spectrum(name: str, matrix: Tensor, rtol: float) -> Spectrum:
    try:
        values, method = singular_values(matrix, rtol=rtol)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not values[-1]:
        return Spectrum(float(values[0]), 0.0, -math.inf, -math.inf, method)
    return Spectrum(float(values[0]), float(values[-1]), float(values.log().sum()), float(flatness(values)), method)


def _condition(matrix: Matrix, spectra: list[Spectrum], floor: float | None) -> MatrixCondition:
    count, rows, columns = matrix.stack.shape
    dtype, shape = matrix.stack.dtype, (rows, columns)
    singular = any(is_singular(one.largest, one.smallest, shape, dtype) for one in spectra)
    return MatrixCondition(
        kappa=fmean(ratio(one.largest, one.smallest, shape, dtype, floor) for one in spectra),
        log_volume=-math.inf if singular else fmean(one.log_volume for one in spectra),
        # Rounding alone could lift that of an orthogonal matrix above 0.
        normalized_log_volume=-math.inf if singular else min(0.0, fmean(one.normalized for one in spectra)),
        shape=shape,
        count=count,
        numel=matrix.parameter.numel(),
        method="svd" if any(one.method == "svd" for one in spectra) else "gram",
        resolution=1.0 / torch.finfo(dtype).eps,
    )
