"""Condition numbers of a 135 M model's 210 matrices: `measure_matrices` against `torch.linalg.svdvals`, on one core.

The peer is what PEFT's `KappaTuneSelector` calls on every weight, in float32. Each matrix is measured by both, one
after the other, in an order that turns with every matrix and round: seconds of the core over all 210, and their ratio.
Then how far off κ is of both, by an SVD in float64; and by kinds of matrices, which of them the lowest 42 (a fifth)
are, by κ and by κ over that of Gaussian matrices of the shape.

Takes SmolLM2-135M-Instruct where `experiments/smollm2.py` has brought it, else random weights of its shapes. That model
was quantised to four bits before, and condition numbers are those of what was left. Prints tables, writes
runs/bench/condition.json. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from entrokit.optim.condition import (
    MatrixCondition,
    measure_matrices,
    relative_to_gaussian,
    select_by_condition,
)

CACHE = Path("~/.cache/entrokit").expanduser()
LAYERS = 30
SHAPES = {
    "self_attn.q_proj": (576, 576),
    "self_attn.k_proj": (192, 576),
    "self_attn.v_proj": (192, 576),
    "self_attn.o_proj": (576, 576),
    "mlp.gate_proj": (1536, 576),
    "mlp.up_proj": (1536, 576),
    "mlp.down_proj": (576, 1536),
}
LOWEST = 42


def weights(folder: Path | None) -> tuple[str, dict[str, Tensor]]:
    """Where the 210 matrices are from, and they by ``layers.<i>.<kind>``, as they are stored."""
    names = [f"layers.{i}.{kind}" for i in range(LAYERS) for kind in SHAPES]
    if folder is None:
        generator = torch.Generator().manual_seed(0)
        drawn = {n: 0.02 * torch.randn(SHAPES[_kind(n)], generator=generator) for n in names}
        return "random weights of its shapes", drawn
    from safetensors.torch import load_file

    stored: dict[str, Tensor] = {}
    for file in sorted(folder.rglob("*.safetensors")):
        stored |= load_file(file)
    return folder.name, {n: stored[f"model.{n}.weight"] for n in names}


def _kind(name: str) -> str:
    return name.split(".", 2)[2]


def seconds(call: Callable[[], Any]) -> float:
    """Of the one thread's own time, so that what else runs on the machine counts little."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def timed(matrices: dict[str, Tensor], rounds: int) -> tuple[dict[str, list[float]], dict[str, MatrixCondition]]:
    """Seconds for all matrices, a round each, of ``ours`` and ``svdvals``; and what ours measured."""
    found: dict[str, MatrixCondition] = {}
    times: dict[str, list[float]] = {"ours": [], "svdvals": []}
    for turn in range(rounds):
        spent = dict.fromkeys(times, 0.0)
        for i, (name, weight) in enumerate(matrices.items()):
            holder = nn.ParameterDict({"weight": nn.Parameter(weight)})

            def ours(name: str = name, holder: nn.Module = holder) -> None:
                found[name] = measure_matrices(holder)["weight"]

            def svdvals(weight: Tensor = weight) -> None:
                torch.linalg.svdvals(weight.float())

            calls = {"ours": ours, "svdvals": svdvals}
            for method in list(calls)[:: 1 if (i + turn) % 2 else -1]:
                spent[method] += seconds(calls[method])
        for method, total in spent.items():
            times[method].append(total)
    return times, found


def errors(matrices: dict[str, Tensor], found: dict[str, MatrixCondition]) -> dict[str, list[float]]:
    """Shares by which κ is off, a matrix each: ours, and a float32 SVD."""
    off: dict[str, list[float]] = {"ours": [], "svdvals": []}
    for name, weight in matrices.items():
        exact, single = (torch.linalg.svdvals(weight.to(kind)) for kind in (torch.float64, torch.float32))
        kappa = float(exact[0] / exact[-1])
        off["ours"].append(abs(found[name].kappa / kappa - 1.0))
        off["svdvals"].append(abs(float(single[0].double() / single[-1].double()) / kappa - 1.0))
    return off


def kinds(found: dict[str, MatrixCondition]) -> list[dict[str, Any]]:
    """By kind: spread of κ, how many needed an SVD, and how many are in both lowest fifths."""
    relative = relative_to_gaussian(found)
    kappas = {name: one.kappa for name, one in found.items()}
    chosen = [Counter(map(_kind, select_by_condition(by, num=LOWEST))) for by in (kappas, relative)]
    rows = []
    for kind, shape in SHAPES.items():
        own = [name for name in found if _kind(name) == kind]
        ordered = sorted(kappas[name] for name in own)
        rows.append(
            {
                "kind": kind,
                "shape": shape,
                "kappa": [ordered[0], statistics.median(ordered), ordered[-1]],
                "over_gaussian": statistics.median(relative[name] for name in own),
                "volume": statistics.median(found[name].normalized_log_volume for name in own),
                "svd": sum(found[name].method == "svd" for name in own),
                "lowest": chosen[0][kind],
                "lowest_over_gaussian": chosen[1][kind],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder with SmolLM2-135M's safetensors")
    parser.add_argument("--random", action="store_true", help="random weights even where the model is in the cache")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, in turns")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cached = sorted(CACHE.glob("smollm2-135m-instruct-*"), key=lambda folder: folder.stat().st_mtime)
    folder = arguments.model or (cached[-1] if cached and not arguments.random else None)
    source, matrices = weights(folder)
    dtype = next(iter(matrices.values())).dtype
    print(f"{len(matrices)} matrices, {sum(w.numel() for w in matrices.values()):,} weights, {dtype}: {source}")
    times, found = timed(matrices, arguments.rounds)
    ratios = sorted(a / b for a, b in zip(times["ours"], times["svdvals"], strict=True))
    for method, spent in times.items():
        print(f"{method:>8}  {statistics.median(spent):6.1f} s  [{min(spent):.1f}, {max(spent):.1f}]")
    print(f"   ratio  {statistics.median(ratios):6.2f}    [{ratios[0]:.2f}, {ratios[-1]:.2f}]")
    off = errors(matrices, found)
    for method, shares in off.items():
        print(f"{method:>8}  κ off by a share of {statistics.median(shares):.1e} (median), {max(shares):.1e} (most)")
    rows = kinds(found)
    print(
        f"{'kind':18} {'shape':>12} {'κ: least, median, most':>32} {'/ Gaussian':>10} {'median ν':>9} {'by SVD':>6} "
        f"{'lowest':>6} {'lowest / Gaussian':>17}"
    )
    for row in rows:
        least, middle, most = row["kappa"]
        print(
            f"{row['kind']:18} {row['shape'][0]:>5} x {row['shape'][1]:<4} {least:10.2f} {middle:10.2f} {most:10.1f} "
            f"{row['over_gaussian']:10.2f} {row['volume']:9.3f} {row['svd']:6} "
            f"{row['lowest']:6} {row['lowest_over_gaussian']:17}"
        )
    file = Path("runs/bench/condition.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    summary = {"source": source, "dtype": str(dtype), "seconds": times, "errors": off, "kinds": rows}
    file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
