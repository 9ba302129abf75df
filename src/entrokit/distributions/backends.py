"""Which code reads the logits: `backend` says, for given tensors, which one will run and why.

``torch`` (chunks of rows, tiles of the head) runs everywhere; ``triton`` on CUDA; ``liger`` is Liger-Kernel's fused
linear kernel, for logp and entropy alone. The environment variable ``ENTROKIT_BACKEND`` names one to be used instead;
it raises where that one cannot serve.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .moments import Coefficients, Moments
from .statistics import STATISTICS

BACKENDS = ("liger", "triton", "torch")
VARIABLE = "ENTROKIT_BACKEND"


@dataclass(frozen=True)
class Backend:
    """A back end's name and why it was chosen."""

    name: str
    reason: str


class Engine(Protocol):
    """What a back end does; `chunked` is the reference. All of it is in terms of `Moments` and `Coefficients`.

    Attributes:
        ACCUMULATOR: dtype of running moments.
        SCRATCH: how many buffers beside a tile it wants.
        TILE_ROWS, TILE_COLUMNS: the largest tile of the linear form.
    """

    ACCUMULATOR: torch.dtype
    SCRATCH: int
    TILE_ROWS: int
    TILE_COLUMNS: int

    def reduce_rows(
        self,
        logits: Tensor,
        tokens: Tensor,
        index: Tensor | None,
        temperature: float,
        dtype: torch.dtype,
        wanted: frozenset[str],
    ) -> Moments: ...

    def gradient_rows(
        self,
        logits: Tensor,
        tokens: Tensor,
        index: Tensor | None,
        temperature: float,
        log_norm: Tensor,
        coefficients: Coefficients,
    ) -> Tensor: ...

    def add_tile(
        self, moments: Moments, z: Tensor, scratch: Tensor, tokens: Tensor, rows: slice, offset: int
    ) -> None: ...

    def gradient_tile(
        self,
        coefficients: Coefficients,
        z: Tensor,
        log_norm: Tensor,
        scratch: Tensor,
        tokens: Tensor,
        offset: int,
        dtype: torch.dtype,
    ) -> Tensor: ...


def backend(
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    form: str = "logits",
    need: Collection[str] = STATISTICS,
    plain_head: bool = True,
) -> Backend:
    """The back end that statistics of tensors like these will use.

    Args:
        device, dtype: of the logits or hidden states; by default CUDA where there is one.
        form: ``"logits"`` for `token_statistics`, ``"linear"`` for `linear_token_statistics`.
        need: the statistics asked for.
        plain_head: linear form: no bias, no softcap, and weight in the dtype of the hidden states.

    Raises:
        ValueError: an unknown form; ``ENTROKIT_BACKEND`` names a back end that is unknown or cannot serve this.
    """
    if form not in ("logits", "linear"):
        raise ValueError(f"form: must be 'logits' or 'linear', got {form!r}")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    forced = os.environ.get(VARIABLE)
    if forced:
        if forced not in BACKENDS:
            raise ValueError(f"{VARIABLE}={forced}: unknown; back ends are {sorted(BACKENDS)}")
        obstacle = _obstacle(forced, device, dtype, form, need, plain_head)
        if obstacle is not None:
            raise ValueError(f"{VARIABLE}={forced}: {obstacle}; unset {VARIABLE} to choose automatically")
        return Backend(forced, f"{VARIABLE} asks for it")
    if device.type != "cuda":
        return Backend("torch", f"{device.type} tensors")
    if _obstacle("liger", device, dtype, form, need, plain_head) is None and _has_its_fast_kernel(device, dtype):
        return Backend("liger", "only logp and entropy are needed, and Liger's kernel for this GPU is installed")
    obstacle = _obstacle("triton", device, dtype, form, need, plain_head)
    if obstacle is None:
        return Backend("triton", "CUDA tensors")
    if dtype != torch.float64:
        _warn_once(f"entrokit: {obstacle}: token statistics on this GPU run chunked torch, several times slower")
    return Backend("torch", obstacle)


def engine(name: str) -> Engine:
    """The functions of a back end that works on tiles."""
    if name == "triton":
        from . import triton_kernels

        return triton_kernels
    from . import chunked

    return chunked


def _obstacle(
    name: str, device: torch.device, dtype: torch.dtype, form: str, need: Collection[str], plain_head: bool
) -> str | None:
    """Why a back end cannot serve; None if it can."""
    if name == "torch":
        return None
    package = {"triton": "triton", "liger": "liger_kernel"}[name]
    if not _is_installed(package):
        return f"{package.replace('_', '-')} is not installed (pip install {package.replace('_', '-')})"
    if dtype == torch.float64:
        return f"{name} has no float64"
    if name == "triton":
        interpreted = os.environ.get("TRITON_INTERPRET") == "1"
        return (
            None if device.type == "cuda" or interpreted else f"triton needs CUDA tensors, these are on {device.type}"
        )
    extra = sorted(set(need) - {"logp", "entropy"})
    if form != "linear":
        return "liger serves the linear form only"
    if extra:
        return f"liger has no {', '.join(extra)}"
    return None if plain_head else "liger takes no bias, no softcap, and a weight of the hidden states' dtype"


@functools.cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@functools.cache
def _has_its_fast_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Liger's fused kernel is for Hopper, bfloat16 and CUTLASS; elsewhere Liger holds chunks of whole float32 rows."""
    hopper = torch.cuda.get_device_capability(device) == (9, 0)
    return hopper and dtype == torch.bfloat16 and _is_installed("cutlass")


@functools.cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
