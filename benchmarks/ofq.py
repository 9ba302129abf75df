"""A training step with quantised weights against the float one, annealed or not; and what packed weights take.

One block of a vision transformer (attention and MLP, DeiT-T's and DeiT-S's sizes; batch of 8 images of 197 tokens),
forward, backward and AdamW, in turns: float, torch's own fused per-channel fake quantisation behind the same
parametrisation (`torch.fake_quantize_per_channel_affine`, scale by the maximum), plain STE, LSQ, StatsQ, StatsQ with
CGA, and StatsQ with QKR. Seconds of one core; the ratio is to the float step of the same round. Activations stay float.

Then bytes of the block's weights, and the time to pack and unpack them beside numpy's `packbits` of the same bits.
Prints tables, writes runs/bench/ofq.json. Takes about four minutes.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from entrokit.compression.ofq import (
    ConfidenceGuidedAnnealing,
    QKReparamAttention,
    dequantized,
    packed_state_dict,
    quantize_model,
    quantized_weights,
)
from entrokit.compression.packing import pack_codes, unpack_codes

SIZES = {"DeiT-T": (192, 3), "DeiT-S": (384, 6)}
IMAGES, TOKENS, COLUMNS = 8, 197, 384


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.num_heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        attention = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attn = nn.LayerNorm(dim), nn.LayerNorm(dim), Attention(dim, heads)
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class FakeQuantized(nn.Module):
    """torch's own, by the maximum of every row, at integer levels."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.n = 1 << bits - 1

    def forward(self, weight: Tensor) -> Tensor:
        steps = weight.detach().abs().amax(1) / (self.n - 1)
        zero = torch.zeros(len(weight), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, steps, zero, 0, -self.n, self.n - 1)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(model(x).square().mean())
    optimizer.step()


def contestants(dim: int, heads: int, bits: int, stack: ExitStack) -> dict[str, Callable[[Tensor], None]]:
    torch.manual_seed(0)
    block, made = Block(dim, heads), {}
    for name in ("float", "torch", "ste", "lsq", "statsq", "statsq+cga", "qkr"):
        model = copy.deepcopy(block)
        if name == "torch":
            for layer in (model.attn.qkv, model.attn.proj, model.fc1, model.fc2):
                parametrize.register_parametrization(layer, "weight", FakeQuantized(bits))
        elif name == "qkr":
            model.attn = QKReparamAttention.from_attention(model.attn, bits)
        if name not in ("float", "torch"):
            quantize_model(model, bits, method=name if name in ("ste", "lsq") else "statsq")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
        if name == "statsq+cga":
            stack.enter_context(ConfidenceGuidedAnnealing(model, optimizer))
        made[name] = partial(step, model, optimizer)
    return made


def seconds(call: Callable[[], object]) -> float:
    """Of the one thread's own time, so that what else runs on the machine counts little."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def steps(bits: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for size, (dim, heads) in SIZES.items():
        x = torch.randn(IMAGES, TOKENS, dim)
        with ExitStack() as stack:
            calls = contestants(dim, heads, bits, stack)
            times: dict[str, list[float]] = {name: [] for name in calls}
            for call in calls.values():
                call(x)
            for turn in range(rounds):
                for name in list(calls)[:: 1 if turn % 2 else -1]:
                    times[name].append(seconds(partial(calls[name], x)))
        found[size] = times
        print(f"{size}: {dim} features, {heads} heads, {IMAGES} × {TOKENS} tokens, {bits} bits")
        for name, own in times.items():
            ratios = sorted(a / b for a, b in zip(own, times["float"], strict=True))
            print(
                f"  {name:>11}  {1e3 * statistics.median(own):7.1f} ms   ratio {statistics.median(ratios):5.2f} "
                f"[{ratios[len(ratios) // 10]:.2f}, {ratios[-1 - len(ratios) // 10]:.2f}]"
            )
    return found


def packing(rounds: int) -> list[dict[str, float]]:
    rows = []
    print("packing DeiT-S's block: bytes, and million codes a second beside numpy's packbits and unpackbits")
    for bits in (2, 3, 4, 8):
        torch.manual_seed(0)
        model = Block(*SIZES["DeiT-S"])
        quantize_model(model, bits)
        weights, plain = quantized_weights(model), dequantized(model).state_dict()
        low = sum(t.nbytes for name, t in packed_state_dict(model).items() if ":" in name)
        wide = sum(plain[name].nbytes for name in weights)
        flat = torch.cat([w.codes().flatten() for w in weights.values()]).to(torch.int16)
        codes = (flat + (1 << bits - 1)).to(torch.uint8).view(-1, COLUMNS)
        packed = pack_codes(codes, bits)
        calls: dict[str, Callable[[], Any]] = {
            "pack": partial(pack_codes, codes, bits),
            "numpy pack": partial(numpy_pack, codes.numpy(), bits),
            "unpack": partial(unpack_codes, packed, bits, COLUMNS),
            "numpy unpack": partial(numpy_unpack, packed.numpy(), bits),
        }
        assert (calls["numpy pack"]() == packed.numpy()).all()
        assert (calls["numpy unpack"]() == codes.numpy()).all()
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                times[name].append(seconds(call))
        rate = {name: codes.numel() / statistics.median(own) / 1e6 for name, own in times.items()}
        rows.append({"bits": bits, "bytes": low, "float bytes": wide, **rate})
        print(
            f"  {bits} bits: {low:,} bytes of {wide:,} ({low / wide:.3f}); "
            + ", ".join(f"{name} {own:.0f}" for name, own in rate.items())
        )
    return rows


def numpy_pack(codes: np.ndarray, bits: int) -> np.ndarray:
    wide = np.unpackbits(codes[..., None], axis=-1, count=bits, bitorder="little")
    return np.packbits(wide.reshape(len(codes), -1), axis=-1, bitorder="little")


def numpy_unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    wide = np.unpackbits(packed, axis=-1, bitorder="little")[:, : COLUMNS * bits]
    return np.packbits(wide.reshape(len(packed), COLUMNS, bits), axis=-1, bitorder="little")[..., 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, default=2, help="of the weights in training steps")
    parser.add_argument("--rounds", type=int, default=15, help="timings of each, in turns")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    summary = {"steps": steps(arguments.bits, arguments.rounds), "packing": packing(arguments.rounds)}
    file = Path("runs/bench/ofq.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
