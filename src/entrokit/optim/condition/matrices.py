"""Which parameters of a model are matrices, and as what matrix each is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

Include = Callable[[str, nn.Parameter], bool]
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Matrix:
    """A parameter as matrices ``[count, rows, columns]``; views wherever its memory allows."""

    name: str
    parameter: nn.Parameter
    stack: Tensor


def matrices(
    model: nn.Module, *, max_dim: int | None = None, include: Include | None = None, flatten_conv: bool = True
) -> Iterator[Matrix]:
    """Every parameter of at least two dimensions, in the model's order; a tied one once, by its first name.

    Two dimensions are a matrix. Kernels of convolutions are ``[first, all others]``, which is (out, in·kh·kw); those of
    transposed and grouped ones are read the same way. More dimensions elsewhere are a stack of matrices, as fused
    experts ``[experts, rows, columns]`` are. Empty parameters are passed over, biases and norms too.

    Args:
        max_dim: parameters with a longer dimension are passed over (of a stack: with longer rows or columns).
        include: asked with name and parameter; what it refuses is passed over before anything else is looked at.
        flatten_conv: False passes over convolutions.

    Raises:
        ValueError: a parameter without values: on the meta device, of a lazy module.
        TypeError: numbers that are no real floats as they are: quantised, complex; or a sharded tensor; or
            ``include`` is no function.
    """
    if include is not None and not callable(include):
        raise TypeError(
            f"include: expected a function of name and parameter, got {include!r}; e.g. "
            "include=lambda name, p: name.startswith('layers.')"
        )
    for name, parameter in model.named_parameters():
        if include is not None and not include(name, parameter):
            continue
        if is_lazy(parameter):
            raise ValueError(f"{name}: has no shape yet; run the model once, then measure it")
        if parameter.ndim < 2 or not parameter.numel():
            continue
        owner = model.get_submodule(name.rpartition(".")[0])
        convolution = isinstance(owner, _CONVOLUTIONS)
        if convolution and not flatten_conv:
            continue
        dimensions = parameter.shape if convolution else parameter.shape[-2:]
        if max_dim is not None and max(dimensions) > max_dim:
            continue
        _check(name, parameter)
        values = parameter.detach()
        stack = values.flatten(1)[None] if convolution else values.reshape(-1, *values.shape[-2:])
        yield Matrix(name, parameter, stack)


def _check(name: str, parameter: nn.Parameter) -> None:
    leave_out = "or leave it out by include="
    if parameter.is_meta:
        raise ValueError(f"{name}: is on the meta device and has no values; load the weights first, {leave_out}")
    dtype = parameter.dtype
    if not dtype.is_floating_point or dtype.itemsize < 2:
        raise TypeError(
            f"{name}: {dtype} is not measured, since its numbers are quantised or complex; dequantise it, {leave_out}"
        )
    kind = type(parameter.data)
    if kind is not Tensor:
        raise TypeError(
            f"{name}: is a {kind.__name__}; measure the model before it is sharded or wrapped (of a DTensor: "
            f"full_tensor()), {leave_out}"
        )
