"""A linear layer whose weight lies in memory as packed codes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear

from ..packing import pack_codes, packed_size, unpack_codes
from .group_quantizer import GroupCodes


class PackedLinear(nn.Module):
    """What `nn.Linear` is, of 2 to 8 bits a weight; unpacked anew at each call, which saves memory and no time.

    A state of other bits or groups is refused by ``load_state_dict``, which names the layer and both.

    Attributes:
        packed: uint8 ``[out, ceil(in bits / 8)]``. scale, zero: as of `GroupCodes`. bias: as of `nn.Linear`; frozen
            where the parameter that is given is.
    """

    packed: Tensor
    scale: Tensor
    zero: Tensor

    def __init__(self, codes: GroupCodes, bias: Tensor | None = None) -> None:
        super().__init__()
        self.bits = codes.bits
        self.out_features, self.in_features = codes.codes.shape
        self.register_buffer("packed", pack_codes(codes.codes, codes.bits))
        self.register_buffer("scale", codes.scale.clone())
        self.register_buffer("zero", codes.zero.clone())
        trained = not isinstance(bias, nn.Parameter) or bias.requires_grad
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=trained)

    @property
    def bits_per_weight(self) -> float:
        """Of codes, scales and zeros."""
        held = sum(one.numel() * one.element_size() for one in (self.packed, self.scale, self.zero))
        return 8.0 * held / (self.out_features * self.in_features)

    @property
    def group_size(self) -> int:
        return self.in_features // self.scale.shape[1]

    def dequantize(self) -> Tensor:
        """The weight, ``[out, in]``, in the dtype of the scale."""
        codes = unpack_codes(self.packed, self.bits, self.in_features)
        return GroupCodes(codes, self.scale, self.zero, self.bits).dequantize()

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.dequantize().to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}, "
            f"group_size={self.group_size}, bias={self.bias is not None}"
        )

    def _apply(self, fn: Any, recurse: bool = True) -> PackedLinear:
        """``half()`` and ``to(dtype)`` leave the scales in their own precision: the weight would become another."""
        kept = self.scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.scale.dtype != kept.dtype:
            self.scale = kept.to(self.scale.device)
        return self

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
        found = self._packed_as(state_dict.get(f"{prefix}packed"), state_dict.get(f"{prefix}scale"))
        own = self.bits, self.group_size
        if found is not None and found != own:
            said, here = (f"{bits} bits in groups of {size}" for bits, size in (found, own))
            error_msgs.append(
                f"{prefix.rstrip('.') or 'PackedLinear'}: the state is of {said}, and this is of {here}; pack the "
                "model as it was when it was saved"
            )
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _packed_as(self, packed: Any, scale: Any) -> tuple[int, int] | None:
        """Bits and group size of a state of such a layer, told by its shapes; None of what is none."""
        if not isinstance(packed, Tensor) or not isinstance(scale, Tensor) or packed.ndim != 2 or scale.ndim != 2:
            return None
        if not scale.numel() or {len(packed), len(scale)} != {self.out_features}:
            return None
        if self.in_features % scale.shape[1]:
            return None
        # A row of few codes may take the same bytes in several widths: then its own is believed.
        widths = [bits for bits in range(2, 9) if packed_size(self.in_features, bits) == packed.shape[1]]
        if not widths:
            return None
        return self.bits if self.bits in widths else widths[0], self.in_features // scale.shape[1]


def swap_linear(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Puts a layer into the place of the one of that name."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)
