"""Peak memory of one loss call and its backward pass, by the length of the completions.

    python benchmarks/loss_memory.py [--quick | --long]    # --long writes results/tables/loss_memory.json

Vocabulary 151 936 (Qwen2.5's), one recipe of every kind: a separable one, whose gradients are formed a chunk of logits
at a time, and one that is not, for which logits are made twice. What is counted is what a call needs beyond hidden
states, head and their gradients, in a process of its own each: it should be a constant (a chunk) and something that
grows with the number of tokens, never with tokens times vocabulary. The peer holds whole logits, as TRL's trainer does
without its fused head; it is run as long as it fits. ``--long`` does all of it in float32 and in bfloat16, and
`scripts/pages.py` makes the table of docs/scale.md of it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from entrokit.distributions import linear_token_loss, linear_token_statistics
from entrokit.rlvr import PolicyStats, Rollouts, recipe

VOCABULARY, WIDTH = 151_936, 64 if "--long" in sys.argv else 256
LENGTHS, PEER_LENGTHS = (1024, 4096, 16_384), (1024, 2048)
# Of long completions; the peer at the longest that fits into a small machine.
LONG, PEER_LONG = (8192, 16_384, 32_768, 65_536), (1024, 2048)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
OUT = Path(__file__).parents[1] / "results" / "tables" / "loss_memory.json"
SPECS = {"separable": "grpo+steer(min_weight=0.7)", "not separable": "gspo+forking-tokens(rho=0.2)"}


def batch(length: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Rollouts, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    # In place, and of this type from the start: a copy of the head made on the way would hide the peak of the call.
    hidden = torch.randn(1, length, WIDTH, generator=g, dtype=dtype).requires_grad_()
    weight = torch.randn(VOCABULARY, WIDTH, generator=g, dtype=dtype).div_(WIDTH**0.5).requires_grad_()
    tokens = torch.randint(VOCABULARY, (1, length), generator=g)
    everything = torch.ones(1, length, dtype=torch.bool)
    behaviour = PolicyStats(logp=torch.full((1, length), -12.0), entropy=torch.rand(1, length, generator=g))
    rollouts = Rollouts(tokens, everything, everything, torch.zeros(1, dtype=torch.long), torch.ones(1), behaviour)
    return hidden, weight, tokens, rollouts, torch.randn(1, length, generator=g)


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def call(kind: str, length: int, dtype: torch.dtype) -> dict[str, float]:
    """Runs in a process of its own: megabytes beyond inputs and gradients, and seconds."""
    hidden, weight, tokens, rollouts, advantages = batch(length, dtype)
    chosen = recipe(SPECS["separable" if kind == "whole logits" else kind])
    prepared = chosen.prepare(rollouts, advantages)

    def loss_of(stats: PolicyStats) -> torch.Tensor:
        return chosen.loss(PolicyStats.of(stats), rollouts, advantages, prepared).loss

    # The floor: what a call of next to nothing needs, threads and libraries included.
    warm = slice(0, 8)
    linear_token_statistics(hidden.detach()[:, warm], weight.detach(), tokens[:, warm])
    before, start = resident(), time.perf_counter()
    if kind == "separable":
        loss, _ = linear_token_loss(hidden, weight, tokens, loss_of, need=chosen.needs)
    elif kind == "not separable":
        loss = loss_of(linear_token_statistics(hidden, weight, tokens, need=chosen.needs))
    else:
        log_p = torch.log_softmax(hidden @ weight.T, -1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        loss = loss_of(PolicyStats(logp=log_p.gather(-1, tokens[..., None])[..., 0], entropy=entropy))
    loss.backward()
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gradients = hidden.element_size() * (hidden.numel() + weight.numel())
    return {"megabytes": (peak - before - gradients) / 1e6, "seconds": time.perf_counter() - start}


def measured(kind: str, length: int, dtype: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--call", kind, str(length), dtype, *(o for o in sys.argv if o == "--long")],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    if sys.argv[1:2] == ["--call"]:
        print(json.dumps(call(sys.argv[2], int(sys.argv[3]), DTYPES[sys.argv[4]])))
        return
    quick, long = "--quick" in sys.argv, "--long" in sys.argv
    own, peers = (LONG, PEER_LONG) if long else (LENGTHS, PEER_LENGTHS)
    whole = 16_384 * VOCABULARY * 4 / 1e6
    print(f"V = {VOCABULARY}, d = {WIDTH}; one copy of the logits of 16 384 tokens in float32: {whole:.0f} MB")
    print(f"{'':9} {'':16} {'tokens':>7} {'peak MB':>9} {'seconds':>8}")
    found: dict[str, dict[str, dict[int, float]]] = {}
    for dtype in DTYPES if long else ["float32"]:
        for kind, lengths in {**dict.fromkeys(SPECS, own), "whole logits": peers}.items():
            for length in lengths[:1] if quick else lengths:
                result = measured(kind, length, dtype)
                found.setdefault(dtype, {}).setdefault(kind, {})[length] = result["megabytes"]
                print(f"{dtype:9} {kind:16} {length:7} {result['megabytes']:9.1f} {result['seconds']:8.1f}", flush=True)
    for dtype, kinds in found.items():
        for kind, peaks in kinds.items():
            if len(peaks) > 1:
                (first, low), *_, (last, high) = peaks.items()
                print(f"{dtype}, {kind}: {(high - low) * 1e6 / (last - first):.0f} bytes more for every token more")
    if long and not quick:
        megabytes = {
            d: {k: {n: round(x, 1) for n, x in p.items()} for k, p in kinds.items()} for d, kinds in found.items()
        }
        written = {"vocabulary": VOCABULARY, "width": WIDTH, "torch": torch.__version__, "megabytes": megabytes}
        OUT.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.exit(__doc__)
    main()
