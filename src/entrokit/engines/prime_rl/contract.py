"""What prime-rl hands to a custom loss and takes back: `LossInputs`, `LossOutputs` of its ``trainer/rl/loss.py``.

As of prime-rl 0.7.0 to 0.8.0 (commit 559b447): one sequence a call, prompt included, on the trainer's device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

_READ = "prime-rl 0.7.0 to 0.8.0"
# Nats above 0 that rounding can make of a log-probability: sums of kernels in float32, and a trainer's half precision.
_ROUNDING, _HALF_ROUNDING = 1e-3, 0.1
_PER_TOKEN = ("trainer_logprobs", "inference_logprobs", "advantages", "loss_mask")


@dataclass
class LossOutputs:
    """The fields of prime-rl's own `LossOutputs`, where prime-rl is not installed.

    Attributes:
        loss: 0-dim, a sum over the sequence's tokens; prime-rl divides the sum over sequences.
        metrics: 0-dim float tensors; prime-rl logs mean, median, std, min and max over sequences.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


@dataclass(frozen=True)
class Sequence:
    """One sequence from its first token that trains to its last, as a batch of one row: everything ``[1, T]``.

    Attributes:
        logp: of the policy being trained, nats, with gradient, at least float32. old_logp: of the inference engine.
        trained: bool, tokens of the loss. weight: multiplies each token's loss; None where it is 1 at all of them.
    """

    logp: Tensor
    old_logp: Tensor
    advantages: Tensor
    trained: Tensor
    weight: Tensor | None


@cache
def outputs_class() -> type[Any]:
    """prime-rl's own `LossOutputs` where it is installed, and ours where it is not."""
    try:
        theirs: type[Any] = import_module("prime_rl.trainer.rl.loss").LossOutputs
    except ModuleNotFoundError as error:
        # `prime_rl` is a namespace that prime-rl-configs shares: the trainer may be missing alone.
        if (error.name or "").partition(".")[0] != "prime_rl":
            raise
        return LossOutputs
    return theirs


def sequence_of(inputs: Any) -> Sequence | None:
    """What prime-rl handed over, checked; None where no token of the sequence trains.

    Raises:
        ValueError: a field that is missing, of another shape or dtype, or not finite at a token that trains, or a
            log-probability above 0 there.
    """
    fields = {name: _field(inputs, name) for name in _PER_TOKEN}
    logp, mask = fields["trainer_logprobs"], fields["loss_mask"]
    weight = getattr(inputs, "loss_weights", None)
    if weight is not None:
        fields["loss_weights"] = _field(inputs, "loss_weights")
    if logp.dim() != 1:
        raise ValueError(f"LossInputs.trainer_logprobs: expected shape [seq], got {list(logp.shape)}")
    for name, value in fields.items():
        if value.shape != logp.shape:
            raise ValueError(
                f"LossInputs.{name}: expected the shape of trainer_logprobs, {list(logp.shape)}, got "
                f"{list(value.shape)}"
            )
        if (value.dtype == torch.bool) != (name == "loss_mask") or (
            name != "loss_mask" and not value.is_floating_point()
        ):
            wanted = "bool" if name == "loss_mask" else "float"
            raise ValueError(f"LossInputs.{name}: expected a {wanted} tensor, got {value.dtype}")
    places = mask.nonzero()[:, 0]
    if not len(places):
        return None
    _refuse_numbers({name: value.detach() for name, value in fields.items() if name != "loss_mask"}, mask)
    if weight is not None and bool((weight[places] == 1).all()):
        weight = None
    first, last = places[[0, -1]].tolist()
    span = slice(first, last + 1)
    wide = torch.promote_types(logp.dtype, torch.float32)

    def row(value: Tensor) -> Tensor:
        return value[None, span]

    return Sequence(
        logp=row(logp).to(wide),
        old_logp=row(fields["inference_logprobs"]).detach().to(wide),
        advantages=row(fields["advantages"]).detach().to(wide),
        trained=row(mask),
        weight=None if weight is None else row(weight).detach().to(wide),
    )


def _field(inputs: Any, name: str) -> Tensor:
    value = getattr(inputs, name, None)
    if value is None:
        raise ValueError(
            f"LossInputs has no {name}; entrokit knows the loss contract of {_READ}, and this is a "
            f"{type(inputs).__module__}.{type(inputs).__name__}"
        )
    if not isinstance(value, Tensor):
        raise ValueError(f"LossInputs.{name}: expected a tensor, got {type(value).__name__}")
    return value


def _refuse_numbers(fields: Mapping[str, Tensor], mask: Tensor) -> None:
    bad = {(name, "is NaN or infinite"): ~torch.isfinite(value) & mask for name, value in fields.items()}
    half = fields["trainer_logprobs"].dtype not in (torch.float32, torch.float64)
    for name, allowed in (
        ("trainer_logprobs", _HALF_ROUNDING if half else _ROUNDING),
        ("inference_logprobs", _ROUNDING),
    ):
        bad[name, "is above 0, and these are natural log-probabilities, log π,"] = (fields[name] > allowed) & mask
    if "loss_weights" in fields:
        bad["loss_weights", "is below 0"] = (fields["loss_weights"] < 0) & mask
    # One answer from the device for all of them, which waits for it.
    if not bool(torch.stack(list(bad.values())).any()):
        return
    (name, what), where = next((key, value) for key, value in bad.items() if bool(value.any()))
    raise ValueError(
        f"LossInputs.{name}: {what} at a token that trains, first at position {int(where.nonzero()[0])} of the "
        f"sequence's {len(mask)}"
    )
