"""What the arguments must be; errors say what was wrong, where, and what to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor, nn

REDUCTIONS = ("mean", "sum", "none")


@dataclass(frozen=True)
class Places:
    """Where the rows that are computed lie among all positions: those whose label is not ignored.

    Attributes:
        shape: of the positions. index: ``[n]``, flat; None where every position is computed.
    """

    shape: torch.Size
    index: Tensor | None

    @property
    def count(self) -> int:
        return self.shape.numel() if self.index is None else len(self.index)

    def take(self, x: Tensor, part: slice) -> Tensor:
        """Rows ``part`` of those computed, out of ``[positions, ...]``; a view where it can be."""
        return x[part] if self.index is None else x[self.index[part]]

    def name(self, row: int) -> list[int]:
        """The position of a row of those computed."""
        flat = torch.tensor(row) if self.index is None else self.index[row].cpu()
        return [int(i) for i in torch.unravel_index(flat, self.shape)]

    def refuse(self, broken: Tensor, first_row: int, name: str, words: str) -> None:
        """Raises `ValueError` with the first of ``broken [n]``, whose first row is ``first_row`` of those computed."""
        if bool(broken.any()):
            at = self.name(first_row + int(broken.nonzero()[0, 0]))
            raise ValueError(f"{name}: {words}, first at position {at}")


def check_logits(name: str, logits: Tensor, like: Tensor | None = None) -> None:
    """Raises: TypeError: no tensor, no floats. ValueError: no class; on the meta device, or elsewhere than ``like``."""
    check_tensor(name, logits, like)
    if not logits.dtype.is_floating_point:
        raise TypeError(f"{name}: expected floating point logits, got {logits.dtype}")
    if logits.dim() < 1 or not logits.shape[-1]:
        raise ValueError(f"{name}: expected shape [..., C] with at least one class, got {list(logits.shape)}")


def check_teacher(student: Tensor, teacher: Tensor) -> None:
    """Raises `ValueError` for logits of another shape or device than the student's; `TypeError` for no floats."""
    check_logits("teacher_logits", teacher, student)
    if teacher.shape != student.shape:
        raise ValueError(
            f"teacher_logits: expected the student's shape {list(student.shape)}, got {list(teacher.shape)}; both need "
            "one class order"
        )


def check_tensor(name: str, x: object, like: Tensor | None = None) -> None:
    """Raises: TypeError: no dense tensor. ValueError: elsewhere than ``like``, or on the meta device."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}{_instead(name, x)}")
    if x.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got layout {x.layout}; pass its to_dense() or padded form")
    if like is not None and x.device != like.device:
        raise ValueError(f"{name}: is on {x.device}, and the student on {like.device}; move it there")
    if like is None and x.is_meta:
        raise ValueError(f"{name}: is on meta, where there are no numbers; load the model's weights first")


def _instead(name: str, x: object) -> str:
    field = name.rpartition(".")[2].rpartition(" ")[2]
    if isinstance(x, nn.Module):
        return f"; pass its {field}, as lm_head.{field}" if field in ("weight", "bias") else "; pass what it returns"
    if field == "hidden" and (hasattr(x, "logits") or hasattr(x, "last_hidden_state")):
        return "; pass the last_hidden_state of the model without its head"
    if hasattr(x, "logits"):
        return "; pass its logits, as outputs.logits"
    if hasattr(x, "last_hidden_state"):
        return "; the model has no head: pass logits, or its last_hidden_state to linear_pld_loss"
    if hasattr(x, "log_probs"):
        return "; topk_pld_loss takes it"
    if hasattr(x, "softcap"):
        return "; linear_pld_loss takes it"
    if hasattr(x, "__array__") or isinstance(x, (list, tuple, int, float)):
        return "; torch.as_tensor makes one of it"
    return ""


def written(*shape: int | str) -> str:
    """A shape, of which some sizes are free and have a name."""
    return f"[{', '.join(map(str, shape))}]"


def check_labels(name: str, target: Tensor, like: Tensor) -> None:
    """Raises: TypeError: no tensor, or labels that are no integers. ValueError: elsewhere than ``like``."""
    check_tensor(name, target, like)
    if target.dtype == torch.bool:
        raise TypeError(
            f"{name}: expected integer labels, got torch.bool; a mask is no label: where it is False, give the labels "
            "ignore_index, or leave the position out"
        )
    if target.dtype.is_floating_point or target.dtype.is_complex:
        raise TypeError(
            f"{name}: expected integer labels, got {target.dtype}; soft labels (mixup, label smoothing) name no class "
            "that could be ranked first, and hard ones are target.long()"
        )


def labelled(
    target: Tensor, shape: torch.Size, classes: int, ignore_index: int | None, like: Tensor, of: str = "logits"
) -> Places:
    """The positions that have a label.

    Args:
        target: ``[...]`` of integers. shape: what its shape must be. classes: C. ignore_index: None for no such label.
        like: is where the labels must be. of: what has that shape, for the error.

    Raises:
        TypeError: labels that are no integers. ValueError: another shape or device, or a label outside [0, C).
    """
    check_labels("target", target, like)
    if ignore_index is not None and not isinstance(ignore_index, Integral):
        raise TypeError(f"ignore_index: expected an integer, got {type(ignore_index).__name__}")
    if target.shape != shape:
        hint = _other_shape(target.shape, shape, classes, of)
        raise ValueError(f"target: expected shape {list(shape)}, got {list(target.shape)}{hint}")
    # Narrow integers would compare with C and ignore_index wrapped around.
    target = target.long()
    kept = torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index
    outside = kept & ((target < 0) | (target >= classes))
    if bool(outside.any()):
        first = outside.nonzero()[0].tolist()
        raise ValueError(
            f"target: {int(target[tuple(first)])} at position {first} lies outside the classes [0, {classes})"
            + ("" if ignore_index is None else f" and is not ignore_index ({ignore_index})")
        )
    return Places(shape, None if bool(kept.all()) else kept.reshape(-1).nonzero().squeeze(1))


def _other_shape(got: torch.Size, shape: torch.Size, classes: int, of: str) -> str:
    """What labels of that shape look like."""
    if got == (*shape, classes):
        return "; one label a position, not one number a class"
    if len(got) == len(shape) > 0 and got[:-1] == shape[:-1]:
        if got[-1] == shape[-1] - 1:
            return f"; if they are next tokens, drop the last position of {of}, which has none"
        if got[-1] == shape[-1] + 1:
            return "; if they are the tokens themselves, the next ones are target[..., 1:]"
    if len(shape) > 1 and got == (shape[0], *shape[2:], classes):
        return "; classes are the last dimension: logits [N, C, H, W] go in as logits.movedim(1, -1)"
    return ""


def check_options(temperature: float, reduction: str, reductions: tuple[str, ...] = REDUCTIONS) -> None:
    """Raises: TypeError: a temperature that is no number. ValueError: one not above 0, or an unknown reduction."""
    if not isinstance(temperature, Real):
        raise TypeError(f"temperature: expected a number, got {type(temperature).__name__}; it has no gradient here")
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"temperature: must be a number above 0, got {temperature}")
    if reduction not in reductions:
        raise ValueError(f"reduction: is one of {', '.join(reductions)}; got {reduction!r}")


def refuse_broken(logits: Tensor, name: str, places: Places, first_row: int) -> None:
    """Raises `ValueError` with the first row of ``[n, C]`` that is no distribution's logits."""
    broken = ~torch.isfinite(logits.amax(1))
    places.refuse(broken, first_row, name, "NaN, +inf or nothing but -inf")


def refuse_forbidden(a: Tensor, alpha: Tensor, places: Places, first_row: int) -> None:
    """Raises `ValueError` where the student forbids (-inf) a class of weight above 0: its loss would be infinite."""
    forbidden = a == -math.inf
    if bool(forbidden.any()):
        words = "-inf for a class to which the ranking gives weight; its loss is infinite"
        places.refuse((forbidden & (alpha > 0)).any(1), first_row, "student_logits", words)
