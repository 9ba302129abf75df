"""How outputs of a model move along a direction of its parameters: forward-mode differentiation, or differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

METHODS = ("auto", "jvp", "difference")

# Of differences: how far an entry may move, as a share of its output's root mean square, for an error of the square of
# that; how far it moves where the step is shortened, which float32 still resolves; and how often it is.
_FAR, _NEAR, _TRIES = 0.025, 0.005, 8

Parameters = Mapping[str, Tensor]
Outputs = Callable[[Parameters], Sequence[Tensor]]


def slopes_along(
    outputs: Outputs, parameters: Parameters, direction: Parameters, *, method: str = "auto"
) -> tuple[list[Tensor], list[Tensor]]:
    """Values of ``outputs(parameters)`` and their derivatives along ``direction``, both detached.

    Args:
        outputs: tensors of parameters by name; called once, or for differences three times, and twice more for each
            time that a step proves too long.
        direction: by name, of the parameters' shapes; what is left out does not move. Its length counts.
        method: "jvp"; "difference", the central one, at ``eps^(1/3)`` of the length of the parameters that move, and
            shorter where an entry of an output would move by more than 0.025 of the output's root mean square; "auto",
            the first, and the second where an operation has no forward-mode derivative.

    Raises:
        ValueError: another method; names or shapes that the parameters do not have; a direction that is not finite;
            differences in half precision, whose digits they would cancel.
        NotImplementedError: method "jvp", and an operation without a forward-mode derivative.
    """
    check_method(method)
    check_direction(parameters, direction)
    if method != "difference":
        try:
            return _jvp(outputs, parameters, direction)
        except NotImplementedError:
            if method == "jvp":
                raise
    return _difference(outputs, parameters, direction)


def check_method(method: str) -> None:
    """Raises `ValueError` for a method that is none."""
    if method not in METHODS:
        raise ValueError(f"method: must be one of {list(METHODS)}, got {method!r}")


def check_direction(parameters: Parameters, direction: Parameters) -> None:
    """Raises `ValueError` for a direction that does not fit the parameters or is not finite."""
    for name, along in direction.items():
        if name not in parameters:
            raise ValueError(f"direction: the model has no parameter {name!r}")
        if along.shape != parameters[name].shape:
            raise ValueError(f"direction[{name!r}]: expected {list(parameters[name].shape)}, got {list(along.shape)}")
        if not bool(torch.isfinite(along).all()):
            raise ValueError(f"direction[{name!r}]: holds NaN or infinite entries")


def length_of(tensors: Mapping[str, Tensor]) -> float:
    """The Euclidean length of tensors taken together."""
    return math.hypot(*(float(torch.linalg.vector_norm(t.detach(), dtype=_wide(t))) for t in tensors.values()))


def _jvp(outputs: Outputs, parameters: Parameters, direction: Parameters) -> tuple[list[Tensor], list[Tensor]]:
    # Attention by its formula: its fused kernels have no forward-mode derivative; and no compiled module has.
    with (
        torch.no_grad(),
        torch.compiler.set_stance("force_eager"),
        sdpa_kernel(SDPBackend.MATH),
        forward_ad.dual_level(),
    ):
        dual = {
            name: forward_ad.make_dual(p.detach(), direction[name].to(p.dtype)) if name in direction else p.detach()  # type: ignore[no-untyped-call]
            for name, p in parameters.items()
        }
        values, slopes = [], []
        for output in outputs(dual):
            value, slope = forward_ad.unpack_dual(output)  # type: ignore[no-untyped-call]
            values.append(value)
            slopes.append(torch.zeros_like(value) if slope is None else slope)
    return values, slopes


@torch.no_grad()
def _difference(outputs: Outputs, parameters: Parameters, direction: Parameters) -> tuple[list[Tensor], list[Tensor]]:
    kinds = {p.dtype for name, p in parameters.items() if name in direction}
    half = [k for k in kinds if torch.finfo(k).bits < 32]
    if half:
        raise ValueError(f"method='difference': {half[0]} has too few digits; use 'jvp', or float32 weights")
    values = [output.detach() for output in outputs(parameters)]
    length = length_of(direction)
    if not length:
        return values, [torch.zeros_like(value) for value in values]
    epsilon = max(torch.finfo(kind).eps for kind in kinds)
    moving = length_of({name: parameters[name] for name in direction})
    step = epsilon ** (1 / 3) * (moving or 1.0) / length
    # Of many parameters a direction may choose the few that matter: their step is judged by what it does to outputs.
    for _ in range(_TRIES):
        slopes = _over(outputs, parameters, direction, step)
        moved = max(_share(step * slope, value) for slope, value in zip(slopes, values, strict=True))
        if not moved > _FAR:
            break
        # Beyond its own size an output no longer tells how far it is from there.
        step *= _NEAR / min(moved, 1.0)
    return values, slopes


def _over(outputs: Outputs, parameters: Parameters, direction: Parameters, step: float) -> list[Tensor]:
    """Central differences over a step either way, in units of the direction."""
    ends = []
    for sign in (1.0, -1.0):
        moved = {
            name: p.detach() + sign * step * direction[name].to(p.dtype) if name in direction else p.detach()
            for name, p in parameters.items()
        }
        ends.append([output.detach() for output in outputs(moved)])
    return [(ahead - behind) / (2.0 * step) for ahead, behind in zip(*ends, strict=True)]


def _share(change: Tensor, value: Tensor) -> float:
    """The largest change of an entry, over the root mean square of all; 0 where they are zeros, and have no size."""
    if not value.numel():
        return 0.0
    size = float(torch.linalg.vector_norm(value, dtype=_wide(value))) / math.sqrt(value.numel())
    return float(change.abs().amax()) / size if size else 0.0


def _wide(t: Tensor) -> torch.dtype:
    return torch.promote_types(t.dtype, torch.float32)
