"""A quantiser's state says of what kind it is, so that no other one takes it for its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Recognised(nn.Module):
    """A module whose ``state_dict`` holds its kind: a buffer ``kind``, uint8 of bits, sign, dimension and class name.

    A state of another kind is refused by ``load_state_dict``, which names the module; as torch has it, a RuntimeError
    that comes after what fits elsewhere was loaded.
    """

    kind: Tensor

    def _recognise(self, bits: int, *, signed: bool = True, dim: int = 0) -> None:
        self._kind = [bits, int(signed), -dim, *type(self).__name__.encode()]
        self.register_buffer("kind", torch.tensor(self._kind, dtype=torch.uint8))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        found = state_dict.get(f"{prefix}kind")
        if isinstance(found, Tensor) and not found.is_meta and found.flatten().tolist() != self._kind:
            error_msgs.append(
                f"{prefix.rstrip('.') or type(self).__name__}: the state is of a {_said(found.flatten().tolist())}, "
                f"and this is a {_said(self._kind)}; quantise the model as it was when it was saved"
            )
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _said(kind: list[int]) -> str:
    if len(kind) < 4:
        return "kind that is none"
    bits, signed, dim, *name = kind
    sign, where = "" if signed else ", unsigned", f", dim={-dim}" if dim else ""
    return f"{bytes(int(c) % 128 for c in name).decode()} of {bits} bits{sign}{where}"
