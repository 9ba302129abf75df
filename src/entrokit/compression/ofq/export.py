"""A trained low-bit model as what it takes: codes of b bits, a step for every row, and the rest as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..packing import pack_codes, packed_size, unpack_codes
from .grid import check_bits, in_precision
from .model import dequantized, quantized_places, quantized_weights
from .quantizers import WeightQuantizer

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_PARTS = (":codes", ":steps", ":layout")


@dataclass(frozen=True)
class PackedWeight:
    """A weight Δ (k + offset) as its codes k, dense.

    Attributes:
        codes: k + 2^(bits - 1) of every row, uint8 ``[rows, ceil(columns bits / 8)]``, see `pack_codes`.
        steps: Δ, ``[rows]``, float32, or float64 for such weights. bits: 2 to 8. offset: 1/2 or 0.
        shape: of the weight, rows first. dtype: of the weight.

    Raises:
        ValueError: parts that do not belong together: shapes, bits, an offset, a dtype; or steps that are not finite.
    """

    codes: Tensor
    steps: Tensor
    bits: int
    offset: float
    shape: tuple[int, ...]
    dtype: torch.dtype

    def __post_init__(self) -> None:
        check_bits("PackedWeight", self.bits)
        if len(self.shape) < 2 or min(self.shape) < 1 or self.offset not in (0.0, 0.5) or self.dtype not in _DTYPES:
            raise ValueError(
                f"PackedWeight: no weight is of shape {list(self.shape)}, offset {self.offset} and {self.dtype}"
            )
        rows, columns = self.shape[0], math.prod(self.shape[1:])
        if self.steps.shape != (rows,) or not self.steps.is_floating_point():
            raise ValueError(
                f"PackedWeight: a weight of shape {list(self.shape)} has {rows} steps, one a row; got "
                f"{self.steps.dtype} of shape {list(self.steps.shape)}"
            )
        if not bool(torch.isfinite(self.steps).all()):
            raise ValueError("PackedWeight: steps are NaN or inf")
        needed = (rows, packed_size(columns, self.bits))
        if self.codes.shape != needed or self.codes.dtype != torch.uint8:
            raise ValueError(
                f"PackedWeight: a weight of shape {list(self.shape)} in {self.bits} bits is uint8 of shape "
                f"{list(needed)}; got {self.codes.dtype} of shape {list(self.codes.shape)}"
            )

    @property
    def nbytes(self) -> int:
        """Bytes of codes and steps."""
        return self.codes.nbytes + self.steps.nbytes

    def unpack(self) -> Tensor:
        """The weight, equal bit for bit to what the quantiser gave.

        Raises:
            ValueError: levels that the weight's precision has not, which no quantiser of ours gives.
        """
        indices = unpack_codes(self.codes, self.bits, math.prod(self.shape[1:]))
        levels = indices.to(self.steps.dtype) - ((1 << self.bits - 1) - self.offset)
        return in_precision("PackedWeight", (self.steps[:, None] * levels).view(self.shape), self.dtype)


def pack_weight(weight: Tensor, quantizer: WeightQuantizer) -> PackedWeight:
    """Packs a weight by its quantiser.

    Raises:
        ValueError, TypeError: what the quantiser refuses.
    """
    steps, place = quantizer.grid(weight)
    in_precision("pack_weight", steps * (place.round() + quantizer.offset), weight.dtype)
    indices = (place.round() + (1 << quantizer.bits - 1)).to(torch.uint8).flatten(1)
    return PackedWeight(
        pack_codes(indices, quantizer.bits),
        steps.flatten(),
        quantizer.bits,
        quantizer.offset,
        tuple(weight.shape),
        weight.dtype,
    )


def packed_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state of a quantised model in low bits: tensors alone, for `torch.save` or safetensors.

    Of a quantised ``name`` it holds ``name:codes``, ``name:steps`` and ``name:layout``; all else is under the name that
    it has in `dequantized`. What has several names, as a tied weight or a layer in two places, is there by each, in
    memory of its own, which safetensors asks for.

    Raises:
        ValueError: a model without quantised weights, or weights that are NaN or inf; ties that `dequantized` refuses;
            names them.
    """
    quantized_weights(model)
    packed = {}
    for name, weight in quantized_places(model, every=True).items():
        try:
            packed[name] = pack_weight(weight.latent(), weight.quantizer)
        except ValueError as error:
            raise ValueError(f"packed_state_dict: {name}: {error}") from error
    state: dict[str, Tensor] = {}
    held: set[int] = set()
    for name, value in dequantized(model).state_dict().items():
        if name in packed:
            state |= _parts(name, packed[name])
        else:
            state[name] = value.clone() if value.data_ptr() in held else value
            held.add(value.data_ptr())
    return state


def unpacked_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed_state_dict` packed, as floats: the state of `dequantized`, equal bit for bit.

    The float model that was quantised loads it; where attention was reparametrised, one with `ProductAttention`.

    Raises:
        ValueError: a part is missing, or parts do not belong together, names the weight; or nothing is packed, as in
            the ``state_dict()`` of a model.
    """
    if not any(key.endswith(_PARTS) for key in state):
        trained = next((key for key in state if ".parametrizations." in f".{key}"), None)
        instead = "is of no packed model" if trained is None else f"has {trained}, as a quantised model in training has"
        raise ValueError(
            f"unpacked_state_dict: no weight of this state is packed (none has {', '.join(_PARTS)}); it {instead}. "
            "Give what packed_state_dict(model) gave"
        )
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        name, colon, part = key.rpartition(":")
        if not colon or f":{part}" not in _PARTS:
            plain[key] = value
        elif name not in plain:
            plain[name] = _unpacked(name, state)
    return plain


def _parts(name: str, packed: PackedWeight) -> dict[str, Tensor]:
    layout = [packed.bits, int(2 * packed.offset), _DTYPES.index(packed.dtype), *packed.shape]
    return dict(zip((name + part for part in _PARTS), (packed.codes, packed.steps, torch.tensor(layout)), strict=True))


def _unpacked(name: str, state: Mapping[str, Tensor]) -> Tensor:
    missing = [part for part in _PARTS if name + part not in state]
    if missing:
        raise ValueError(f"unpacked_state_dict: {name} lacks {', '.join(name + part for part in missing)}")
    codes, steps, layout = (state[name + part] for part in _PARTS)
    if layout.is_floating_point() or layout.ndim != 1 or len(layout) < 5 or not 0 <= int(layout[2]) < len(_DTYPES):
        raise ValueError(f"unpacked_state_dict: {name}:layout is none")
    bits, offset, dtype, *shape = layout.tolist()
    try:
        return PackedWeight(codes, steps, bits, offset / 2, tuple(shape), _DTYPES[dtype]).unpack()
    except ValueError as error:
        raise ValueError(f"unpacked_state_dict: {name}: {error}") from error
