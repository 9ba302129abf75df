"""Attention entropy at a length of 4 096: `attention_entropy_qk` against eager attention that returns its weights.

The peer is what transformers offers: `eager_attention_forward` of its Llama, whose weights `[B, H, T, T]` are then
summed. Nine heads over three of keys, 64 wide, as of SmolLM2-135M; float32, causal, one core. Memory: the most that a
process of its own holds beyond its inputs (Linux). Time: seconds of the core, in turns, median and range of the rounds;
fused attention itself beside it. With gradient: the entropies' sum, down to queries and keys.

Prints a table, writes runs/bench/attention_entropy.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from entrokit.attention.entropy import attention_entropy_qk

HEADS, GROUPS, WIDTH = 9, 3, 64
Method = Callable[[Tensor, Tensor, Tensor], Tensor]


def chunked(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return attention_entropy_qk(query, key, causal=True)


def eager(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    from transformers.models.llama.modeling_llama import eager_attention_forward

    length = query.shape[2]
    mask = torch.full((1, 1, length, length), torch.finfo(query.dtype).min).triu(1)
    layer = SimpleNamespace(num_key_value_groups=HEADS // GROUPS, training=False)
    _, weights = eager_attention_forward(layer, query, key, value, mask, scaling=WIDTH**-0.5)
    entropies: Tensor = torch.special.entr(weights).sum(-1)
    return entropies


def fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)


METHODS: dict[str, Method] = {"chunked": chunked, "eager": eager, "fused attention": fused}


def inputs(length: int, grad: bool) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, length, WIDTH, generator=generator) for heads in (HEADS, GROUPS, GROUPS))
    return query.requires_grad_(grad), key.requires_grad_(grad), value


def run(name: str, length: int, grad: bool) -> Tensor:
    given = inputs(length, grad)
    with torch.set_grad_enabled(grad):
        out = METHODS[name](*given)
    if grad:
        out.sum().backward()
    return out.detach()


def megabytes(name: str, length: int, grad: bool) -> float:
    """Of a process of its own, beyond what its inputs and libraries take."""
    command = [sys.executable, __file__, "--memory-of", name, "--length", str(length), *(["--grad"] if grad else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def memory_of(name: str, length: int, grad: bool) -> float:
    run(name, 64, grad)
    given = inputs(length, grad)
    # The kernel of Linux forgets the peak so far; that of a child's `getrusage` would begin with its parent's.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    METHODS[name](*given).sum().backward() if grad else METHODS[name](*(t.detach() for t in given))
    return _peak() - before


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return next(float(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", choices=METHODS, help="prints the megabytes of one method, in this process")
    parser.add_argument("--grad", action="store_true", help="with --memory-of")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory_of:
        print(memory_of(arguments.memory_of, arguments.length, arguments.grad))
        return
    rows = []
    for grad in (False, True):
        spent: dict[str, list[float]] = {name: [] for name in METHODS}
        for turn in range(arguments.rounds):
            for name in list(METHODS)[:: 1 if turn % 2 else -1]:
                begin = time.process_time()
                run(name, arguments.length, grad)
                spent[name].append(time.process_time() - begin)
        for name, seconds in spent.items():
            row = {
                "method": name,
                "gradient": grad,
                "megabytes": megabytes(name, arguments.length, grad),
                "seconds": seconds,
                "ratio": statistics.median(a / b for a, b in zip(seconds, spent["eager"], strict=True)),
            }
            rows.append(row)
            print(
                f"{name:16} {'with' if grad else 'no':>4} gradient {row['megabytes']:8.0f} MB "
                f"{statistics.median(seconds):7.2f} s [{min(seconds):.2f}, {max(seconds):.2f}] {row['ratio']:6.2f}",
                flush=True,
            )
    apart = (run("chunked", 512, False) - run("eager", 512, False)).abs().max()
    print(f"largest difference of an entropy at 512: {float(apart):.1e} nats")
    file = Path("runs/bench/attention_entropy.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    summary = {"length": arguments.length, "rows": rows, "apart": float(apart)}
    file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
