"""The linear form at the heads of real models: ratios to the bare products and to TRL, by tokens, threads, allocator.

    python benchmarks/linear_heads.py [--rounds N] [--threads 1 2] [--shape WIDTH VOCABULARY TOKENS] [--out FILE]

Forward and backward with a trained head, float32, on a CPU. Every combination of threads and allocator runs in a
process of its own; within it the contenders take turns, their order drawn anew every round. The allocator that keeps
its memory is glibc's own with thresholds that never give a page back: without them part of every contender's time goes
into page faults. About twenty minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from random import sample

import torch
import trl
from token_statistics import YARDSTICKS, linear_contenders, run, total
from torch import Tensor

SMALL = ((512, 32_000), (576, 49_152))
WIDE = (1536, 151_936)
TOKENS = (256, 512, 1024)
# Thresholds beyond which glibc gives memory back, or never takes it by the page.
KEEPING = {
    "MALLOC_TOP_PAD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
}
ALLOCATORS: dict[str, dict[str, str]] = {"default": {}, "keeping": KEEPING}
OURS = ("entrokit, five", "entrokit, two", "entrokit, five, separable loss")


def contenders(tokens: int, width: int, vocabulary: int) -> dict[str, tuple[Callable[[], Tensor], list[Tensor]]]:
    made = linear_contenders(tokens, width, vocabulary)
    found = {name: made[name] for name in (YARDSTICKS["linear"], *OURS)}
    function, leaves = trl_head(), made[YARDSTICKS["linear"]][1]
    taken = torch.randint(vocabulary, (tokens,))
    for size in trl_chunk_sizes():

        def chunked(size: int = size) -> Tensor:
            return total(function.apply(*leaves, None, taken, 1.0, size, None, 1.0, ("entropy",))[:2])

        found[f"TRL, two, chunk {size}"] = (chunked, leaves)
    return found


def trl_head() -> type[torch.autograd.Function]:
    from trl.trainer.utils import _ChunkedLogProbFunction

    return _ChunkedLogProbFunction


def trl_chunk_sizes() -> tuple[int, int]:
    """TRL's own number of columns at a time, and one that stays in a CPU's caches."""
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    return _CHUNKED_LOGPROB_CHUNK_SIZE, 2048


def shapes_of(threads: int, allocator: str) -> list[tuple[int, int, int]]:
    """Width, vocabulary and tokens. The widest head takes most of all time, so it is measured once."""
    if allocator == "keeping":
        return [(*head, 512) for head in SMALL]
    shapes = [(*head, tokens) for head in SMALL for tokens in TOKENS]
    return [*shapes, (*WIDE, 512)] if threads == 1 else shapes


def measure(shapes: Iterable[tuple[int, int, int]], rounds: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for width, vocabulary, count in shapes:
        torch.manual_seed(0)
        found = contenders(count, width, vocabulary)
        seconds: dict[str, list[float]] = {name: [] for name in found}
        for turn in range(rounds + 1):
            for name in sample(list(found), len(found)):
                taken = run(*found[name], backward=True)
                if turn > 0:  # the first warms up
                    seconds[name].append(taken)
        rows.append({"width": width, "vocabulary": vocabulary, "tokens": count, "seconds": seconds})
        base = statistics.median(seconds[YARDSTICKS["linear"]])
        said = ", ".join(f"{name} {statistics.median(times) / base:.2f}" for name, times in seconds.items())
        print(f"V {vocabulary} d {width} T {count}: {said}", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--allocators", nargs="+", choices=ALLOCATORS, default=list(ALLOCATORS))
    parser.add_argument("--shape", nargs=3, type=int, metavar=("WIDTH", "VOCABULARY", "TOKENS"), help="this one alone")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/linear_heads.json"))
    parser.add_argument("--process", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error("--rounds: spread needs at least 2")
    if options.process:
        print(json.dumps(measure(json.loads(options.process), options.rounds)))
        return
    rows: list[dict[str, object]] = []
    for allocator, threads in product(options.allocators, options.threads):
        print(f"{threads} threads, allocator {allocator}", file=sys.stderr, flush=True)
        environment = os.environ | ALLOCATORS[allocator] | {"OMP_NUM_THREADS": str(threads)}
        shapes = json.dumps([options.shape] if options.shape else shapes_of(threads, allocator))
        command = [sys.executable, __file__, "--process", shapes, "--rounds", str(options.rounds)]
        made = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        rows += [{"threads": threads, "allocator": allocator} | row for row in json.loads(made)]
    facts = {"torch": torch.__version__, "trl": trl.__version__, "processor": torch.backends.cpu.get_cpu_capability()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
