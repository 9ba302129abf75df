"""A symmetry of a loss: which parameters it moves, along which generator, and whether it holds.

Noether's Learning Dynamics (arXiv 2105.02716). With G = ∂_s Q(q, s) at s = 0, f(Q(q, s)) = f(q) makes ⟨∇f, G⟩ = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["scale", "rescale", "translation"]


@dataclass(frozen=True)
class Part:
    """What a symmetry moves of one parameter: blocks of equal size along an axis.

    Attributes:
        name: of the parameter, as ``model.named_parameters()`` has it.
        blocks: how many; each is moved on its own. 1 moves the whole parameter at once.
        axis: along which they lie, in order. sign: -1 for the side of a rescaling that is divided.
    """

    name: str
    blocks: int = 1
    axis: int = 0
    sign: int = 1

    def rows(self, tensor: Tensor) -> Tensor:
        """The parameter, or anything of its shape, as ``[blocks, size of a block]``.

        Raises:
            ValueError: the axis is not there, or its length is no multiple of ``blocks``.
        """
        if not -tensor.dim() <= self.axis < tensor.dim() or not tensor.numel() or self.blocks < 1:
            raise ValueError(
                f"{self.name}: a parameter of shape {list(tensor.shape)} has no blocks on axis {self.axis}"
            )
        if tensor.shape[self.axis] % self.blocks:
            raise ValueError(
                f"{self.name}: axis {self.axis} of shape {list(tensor.shape)} is not {self.blocks} blocks of one size"
            )
        return tensor.movedim(self.axis, 0).reshape(self.blocks, -1)


@dataclass(frozen=True)
class Symmetry:
    """A group that moves parameters and, it is claimed, not the loss; once for every block.

    ``scale``: q → e^s q, of weights before a normalisation. ``rescale``: q_1 → e^s q_1 and q_2 → e^{−s} q_2, of layers
    with a homogeneous function between them. ``translation``: q → q + s, of logits before a softmax.

    Raises:
        ValueError: no part, another kind, parts of different numbers of blocks, or signs that the kind does not have.
    """

    kind: Kind
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        signs = {part.sign for part in self.parts}
        if self.kind not in ("scale", "rescale", "translation"):
            raise ValueError(f"a symmetry is of kind scale, rescale or translation, got {self.kind!r}")
        if len({part.blocks for part in self.parts}) != 1:
            raise ValueError(f"{self.kind}: needs parts of one number of blocks, got {[p.blocks for p in self.parts]}")
        if signs != ({1, -1} if self.kind == "rescale" else {1}):
            raise ValueError(f"{self.kind}: signs of parts are +1, of a rescaling +1 and -1, got {sorted(signs)}")

    @property
    def name(self) -> str:
        """Kind and parameters, e.g. ``rescale(0.weight, 0.bias / 2.weight)``."""
        sides = (", ".join(p.name for p in self.parts if p.sign == sign) for sign in (1, -1))
        return f"{self.kind}({' / '.join(side for side in sides if side)})"

    def generator(self, part: Part, parameter: Tensor) -> Tensor:
        """G of a part, ``[blocks, size]`` float64."""
        rows = part.rows(parameter.detach()).double()
        return torch.ones_like(rows) if self.kind == "translation" else part.sign * rows


def symmetry_breaking(symmetry: Symmetry, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Tensor:
    """|⟨∇f, G⟩| / (|∇f| |G|) of every block, ``[blocks]`` float64 in [0, 1]; 0 where the symmetry holds.

    Blocks with far less gradient than others are measured against √ε of the mean |∇f|, ε of their dtype: what is left
    of them is rounding. A block without gradient, or without length, gives 0; one with NaN or inf gives NaN.

    Args:
        parameters, gradients: by name; those of the symmetry's parts are read.

    Raises:
        KeyError: a parameter or its gradient is not there. ValueError: see `Part.rows`.
    """
    along, size = along_gradient(symmetry, parameters, gradients)
    return torch.where(size == 0, 0.0, along / size)


def along_gradient(
    symmetry: Symmetry, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """|⟨∇f, G⟩| and |∇f| |G| of every block, ``[blocks]`` float64: what `symmetry_breaking` is the quotient of."""
    device = parameters[symmetry.parts[0].name].device
    generators, slopes, eps = [], [], 0.0
    for part in symmetry.parts:
        gradient = gradients[part.name].detach()
        generators.append(symmetry.generator(part, parameters[part.name]).to(device))
        slopes.append(part.rows(gradient).double().to(device))
        eps = max(eps, torch.finfo(gradient.dtype).eps)
    generator, slope = torch.cat(generators, 1), torch.cat(slopes, 1)
    slope_norm = slope.norm(dim=1)
    # What overflowed says nothing of how large the others usually are.
    finite = torch.isfinite(slope_norm)
    usual = torch.where(finite, slope_norm, 0.0).sum() / finite.sum().clamp(min=1)
    size = slope_norm.maximum(math.sqrt(eps) * usual) * generator.norm(dim=1)
    return (generator * slope).sum(1).abs(), size


@torch.no_grad()
def check_symmetry(
    loss_fn: Callable[[], Tensor], symmetry: Symmetry, parameters: Mapping[str, Tensor], s: float = 1e-3
) -> float:
    """How much the loss changes when every block is moved by s: |f(Q(q, s)) − f(q)|, in the loss' units.

    The gradient condition (`symmetry_breaking`) sees the first order; this one sees any, at a finite s. Parameters are
    as they were afterwards, bit for bit, also when ``loss_fn`` fails.

    Args:
        loss_fn: gives the loss with the parameters as they are, the same one each time (no dropout, one batch).
        parameters: by name, e.g. ``dict(model.named_parameters())``. s: of the group, not 0.

    Raises:
        KeyError: a parameter is not there. ValueError: s is 0 or not finite, or so small that rounding leaves a
            parameter where it was; or see `Part.rows`.
    """
    if not math.isfinite(s) or s == 0:
        raise ValueError(f"check_symmetry: s must be finite and not 0, got {s}")
    moved = [(part, parameters[part.name]) for part in symmetry.parts]
    for part, parameter in moved:
        part.rows(parameter)
    kept = [parameter.detach().clone() for _, parameter in moved]
    before = float(loss_fn())
    try:
        for (part, parameter), own in zip(moved, kept, strict=True):
            parameter.copy_(parameter + s if symmetry.kind == "translation" else parameter * math.exp(part.sign * s))
            if torch.equal(parameter, own) and bool(symmetry.generator(part, own).any()):
                raise ValueError(
                    f"check_symmetry: {part.name} is {parameter.dtype}, in which a move by s={s} is rounded away; give "
                    "a larger one"
                )
        return abs(float(loss_fn()) - before)
    finally:
        for (_, parameter), own in zip(moved, kept, strict=True):
            parameter.copy_(own)
