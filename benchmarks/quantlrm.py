"""QuantLRM on 135 M parameters: time and memory of a whole model; rounding by groups beside torchao's.

Rounding: every matrix of the blocks by `quantize_groups` and by torchao's `choose_qparams_affine` and
`quantize_affine`, one after the other, in an order that turns with every matrix and round: seconds of the core over
all, their ratio, and how many codes differ (torchao multiplies by 1/δ where we divide, so that a tie may fall to the
other side). Passed over where torchao is not installed: pip install --no-deps torchao.

Whole model: seconds of the core for `QuantLRM(3, 64, pack=True)`, and by how much memory grows meanwhile at its peak
(Linux). The base is the model with noise, in bfloat16: where its weights come from makes no difference to either.

Takes SmolLM2-135M-Instruct where `experiments/smollm2.py` has brought it, else random weights of its shapes. Prints
tables, writes runs/bench/quantlrm.json. Takes about three minutes of a core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from entrokit.compression.quantlrm import QuantLRM, quantize_groups

CACHE = Path("~/.cache/entrokit").expanduser()
GROUP = 64


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Of the one thread's own time, so that what else runs on the machine counts little; and what came out."""
    begin = time.process_time()
    found = call()
    return time.process_time() - begin, found


def model_of(folder: Path | None) -> tuple[str, nn.Module]:
    """The model in float32, and where its weights are from."""
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    if folder is not None:
        return folder.name, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    return "random weights of its shapes", LlamaForCausalLM(config)


def rounding(matrices: list[Tensor], bits: int, rounds: int) -> dict[str, Any]:
    """Seconds of both over all matrices, a round each; codes that differ, and the largest relative gap of scales."""
    from torchao.quantization.quant_primitives import MappingType, choose_qparams_affine, quantize_affine

    block, most = (1, GROUP), 2**bits - 1

    def theirs(weight: Tensor) -> tuple[Tensor, Tensor]:
        scale, zero = choose_qparams_affine(weight, MappingType.ASYMMETRIC, block, torch.uint8, 0, most, eps=1e-12)
        return quantize_affine(weight, block, scale, zero, torch.uint8, 0, most), scale

    def ours(weight: Tensor) -> tuple[Tensor, Tensor]:
        found = quantize_groups(weight, bits, GROUP)
        return found.codes, found.scale

    calls = {"ours": ours, "torchao": theirs}
    times: dict[str, list[float]] = {name: [] for name in calls}
    differ, gap = 0, 0.0
    for turn in range(rounds):
        spent = dict.fromkeys(calls, 0.0)
        for i, weight in enumerate(matrices):
            made = {}
            for name in list(calls)[:: 1 if (i + turn) % 2 else -1]:
                own, made[name] = seconds(lambda name=name, weight=weight: calls[name](weight))
                spent[name] += own
            if not turn:
                differ += int((made["ours"][0] != made["torchao"][0]).sum())
                scales = made["torchao"][1].reshape_as(made["ours"][1])
                gap = max(gap, float(((made["ours"][1] - scales) / scales).abs().max()))
        for name, total in spent.items():
            times[name].append(total)
    return {"seconds": times, "differ": differ, "codes": sum(w.numel() for w in matrices), "scale gap": gap}


def memory(peak: bool) -> float:
    """GB that this process holds, or held at most since `forget_peak`."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(wanted)) / 1e6


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def whole(model: nn.Module, tokens: int, grid: int, clip: bool) -> dict[str, Any]:
    """Quantises the model, packed: seconds, memory, and what there was to hold."""
    generator = torch.Generator().manual_seed(0)
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layers." in n}
    base = {
        f"{n}.weight": (m.weight.detach() + 1e-4 * torch.randn(m.weight.shape, generator=generator)).bfloat16()
        for n, m in linears.items()
    }
    ids = torch.randint(49152, (max(1, tokens // 128), min(tokens, 128)), generator=generator)
    weights = sum(m.weight.numel() for m in linears.values())
    forget_peak()
    before = memory(peak=False)
    how = QuantLRM(3, GROUP, n_grid=grid, clip=clip, grouped_heads="mean", pack=True)
    spent, report = seconds(lambda: how.quantize(model, base, [ids]))
    return {
        "weights": weights,
        "tokens": report.tokens,
        "seconds": spent,
        "model and base, GB": before,
        "more at the peak, GB": memory(peak=True) - before,
        "packed, GB": report.bits_per_weight * weights / 8e9,
        "bits a weight": report.bits_per_weight,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder with SmolLM2-135M's safetensors")
    parser.add_argument("--random", action="store_true", help="random weights even where the model is in the cache")
    parser.add_argument("--rounds", type=int, default=3, help="timings of rounding, in turns; 0 for none")
    parser.add_argument("--tokens", type=int, default=256, help="of calibration text; 0: no whole model")
    parser.add_argument("--grid", type=int, default=20, help="exponents tried")
    parser.add_argument("--no-clip", action="store_true", help="without the search for what to cut")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    torch.set_num_threads(1)
    cached = sorted(CACHE.glob("smollm2-135m-instruct-*"), key=lambda folder: folder.stat().st_mtime)
    folder = arguments.model or (cached[-1] if cached and not arguments.random else None)
    source, model = model_of(folder)
    print(f"{source}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    summary: dict[str, Any] = {"source": source}
    if find_spec("torchao") is None:
        print("torchao is not installed; rounding is passed over")
    elif arguments.rounds:
        matrices = [m.weight.detach() for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layers." in n]
        for bits in (3, 4):
            found = summary[f"rounding, {bits} bits"] = rounding(matrices, bits, arguments.rounds)
            times = found["seconds"]
            ratios = sorted(a / b for a, b in zip(times["ours"], times["torchao"], strict=True))
            for name, spent in times.items():
                print(f"{bits} bits {name:>8}  {statistics.median(spent):6.2f} s  [{min(spent):.2f}, {max(spent):.2f}]")
            print(f"{bits} bits    ratio  {statistics.median(ratios):6.2f}    [{ratios[0]:.2f}, {ratios[-1]:.2f}]")
            print(
                f"{bits} bits: {found['differ']} of {found['codes']:,} codes differ, "
                f"scales by {found['scale gap']:.1e} at most"
            )
    if arguments.tokens:
        found = summary["whole"] = whole(model, arguments.tokens, arguments.grid, not arguments.no_clip)
        for what, value in found.items():
            print(f"{what:>24}  {value:,.3f}" if isinstance(value, float) else f"{what:>24}  {value:,}")
    file = Path("runs/bench/quantlrm.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
