"""Per-token statistics: time and peak memory of both forms as ratios to named peers.

    python benchmarks/token_statistics.py [--quick] [--form logits|linear|nucleus] [--rounds N] [--out FILE]
    python benchmarks/token_statistics.py --accuracy

Contenders take turns in one process (their order drawn anew every round), forward alone and forward with backward;
the table gives medians, quartiles and ratios. Peak memory beyond the inputs is measured in a process of its own for
each contender. On two CPU cores float32, about a quarter of an hour (``--quick``: two minutes); on a GPU bfloat16, and
two shares more: of the card's copy bandwidth (logits form) and of its matmul peak (linear form). ``--accuracy``
measures no time, but how far each contender is from the definitions in float64.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import torch
from torch import Tensor

from entrokit.distributions import (
    STATISTICS,
    backend,
    linear_token_loss,
    linear_token_statistics,
    nucleus_entropy,
    token_statistics,
)

CUDA = torch.cuda.is_available()
DEVICE, DTYPE = ("cuda", torch.bfloat16) if CUDA else ("cpu", torch.float32)
TWO = ("logp", "entropy")

# (tokens, vocabulary) and (tokens, width, vocabulary)
LOGITS = [(8192, 32_000), (8192, 151_936)] if CUDA else [(512, 32_000), (4096, 32_000), (512, 151_936)]
LINEAR = (
    [(8192, 2048, 151_936), (8192, 4096, 151_936)]
    if CUDA
    else [(1024, 512, 32_000), (4096, 512, 32_000), (512, 1536, 151_936)]
)
NUCLEUS = [(64, 151_936, spread) for spread in (10, 3, 1)]
QUICK = {"logits": LOGITS[:1], "linear": LINEAR[:1], "nucleus": NUCLEUS[:1]}
YARDSTICKS = {"logits": "naive, five", "linear": "bare products", "nucleus": "sort"}
SIZES = {"logits": "TV", "linear": "TdV", "nucleus": "TVσ"}

Loss = Callable[[], Tensor]


def logits_contenders(tokens: int, vocabulary: int) -> dict[str, tuple[Loss, list[Tensor]]]:
    z = (torch.randn(tokens, vocabulary, device=DEVICE) * 2).to(DTYPE).requires_grad_()
    taken = torch.randint(vocabulary, (tokens,), device=DEVICE)

    def naive(count: int) -> Tensor:
        log_p = torch.log_softmax(z.float(), -1)
        p = log_p.exp()
        entropy = -(p * log_p).sum(-1)
        values = [log_p.gather(-1, taken[:, None]).squeeze(-1), entropy]
        if count == 5:
            values += [(p * p).sum(-1), (p * p * log_p).sum(-1), (p * log_p * log_p).sum(-1) - entropy.square()]
        return total(values)

    found: dict[str, Loss] = {
        "naive, five": lambda: naive(5),
        "naive, two": lambda: naive(2),
        "entrokit, five": lambda: total_of(token_statistics(z, taken)),
        "entrokit, two": lambda: total_of(token_statistics(z, taken, need=TWO)),
    }
    if has("trl"):
        from trl.trainer.utils import selective_log_softmax_and_entropy

        found["TRL, two"] = lambda: total(selective_log_softmax_and_entropy(z, taken))
    if has("verl"):
        from verl.utils.torch_functional import entropy_from_logits, logprobs_from_logits

        found["verl, two"] = lambda: total([logprobs_from_logits(z, taken), entropy_from_logits(z)])
    return {name: (loss, [z]) for name, loss in found.items()}


def linear_contenders(tokens: int, width: int, vocabulary: int) -> dict[str, tuple[Loss, list[Tensor]]]:
    hidden = (torch.randn(tokens, width, device=DEVICE) * 0.5).to(DTYPE).requires_grad_()
    weight = (torch.randn(vocabulary, width, device=DEVICE) * 0.05).to(DTYPE).requires_grad_()
    taken = torch.randint(vocabulary, (tokens,), device=DEVICE)
    both, frozen = [hidden, weight], weight.detach()

    def naive() -> Tensor:
        log_p = torch.log_softmax((hidden @ weight.T).float(), -1)
        return total([log_p.gather(-1, taken[:, None]).squeeze(-1), -(log_p.exp() * log_p).sum(-1)])

    def five() -> Tensor:
        return total_of(linear_token_statistics(hidden, weight, taken))

    found: dict[str, tuple[Loss, list[Tensor]]] = {
        YARDSTICKS["linear"]: (lambda: _Products.apply(hidden, weight), both),
        "naive, two": (naive, both),
        "entrokit, five": (five, both),
        "entrokit, two": (lambda: total_of(linear_token_statistics(hidden, weight, taken, need=TWO)), both),
        "entrokit, five, separable loss": (lambda: linear_token_loss(hidden, weight, taken, total_of)[0], both),
        "entrokit, five, head frozen": (lambda: total_of(linear_token_statistics(hidden, frozen, taken)), [hidden]),
    }
    if has("trl"):
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE, _ChunkedLogProbFunction

        def trl() -> Tensor:
            arguments = (taken, 1.0, _CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0, ("entropy",))
            return total(_ChunkedLogProbFunction.apply(hidden, weight, None, *arguments)[:2])

        found["TRL chunked, two"] = (trl, both)
    if has("liger_kernel"):
        from liger_kernel.ops import LigerFusedLinearScaledCrossEntropyFunction as Liger

        found["Liger, two"] = (lambda: total(Liger.apply(hidden, weight, taken, 1.0, -100, 1, True)), both)
    if CUDA and has("verl"):
        from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy

        found["verl fused, two"] = (lambda: total(linear_cross_entropy(hidden, weight, taken)), both)
    if CUDA and has("cut_cross_entropy"):
        from cut_cross_entropy import linear_cross_entropy as cut

        found["cut-cross-entropy, logp"] = (lambda: cut(hidden, weight, taken, reduction="none").mean(), both)
    return found


def nucleus_contenders(tokens: int, vocabulary: int, spread: float) -> dict[str, tuple[Loss, list[Tensor]]]:
    """Logits of normal distribution: a spread of 1 gives nuclei of half the vocabulary, of 10 a few tokens."""
    z = (torch.randn(tokens, vocabulary, device=DEVICE) * spread).to(DTYPE).requires_grad_()

    def by(select: Callable[[Tensor], Any]) -> Tensor:
        values = select(torch.log_softmax(z.float(), -1)).values
        p = values.exp()
        inside = p.cumsum(-1) - p < 0.8
        q = torch.where(inside, values, -torch.inf).log_softmax(-1)
        return -torch.where(inside, q.exp() * q, 0.0).sum(-1).mean()

    found: dict[str, Loss] = {
        "sort": lambda: by(lambda x: x.sort(-1, descending=True)),
        "top 10 000 (official code)": lambda: by(lambda x: x.topk(10_000, -1)),
        "entrokit": lambda: nucleus_entropy(z, 0.8).mean(),
    }
    return {name: (loss, [z]) for name, loss in found.items()}


class _Products(torch.autograd.Function):
    """The four matrix products that no exact method with a trained head avoids: logits, again, and two gradients."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        return (hidden @ weight.T)[0, 0].float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        hidden, weight = ctx.saved_tensors
        z = hidden @ weight.T
        return z @ weight, z.T @ hidden


def accuracy(vocabulary: int, rows: int = 64) -> None:
    """Prints the largest errors of logp and entropy over rows of float32 logits N(0, 6²), in nats."""
    z = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(0)).mul_(6.0).to(DEVICE)
    taken = torch.randint(vocabulary, (rows,), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    hidden, weight = torch.eye(rows, device=DEVICE), z.T.contiguous()  # a product with ones and zeros is exact
    s = torch.log_softmax(z.double(), -1)
    exact = s.gather(-1, taken[:, None]).squeeze(-1), -(s.exp() * s).sum(-1)

    def two(stats: Any) -> tuple[Tensor, Tensor]:
        return stats.logp, stats.entropy

    def naive() -> tuple[Tensor, Tensor]:
        log_p = torch.log_softmax(z, -1)
        return log_p.gather(-1, taken[:, None]).squeeze(-1), -(log_p.exp() * log_p).sum(-1)

    found: dict[str, Callable[[], Any]] = {
        "naive": naive,
        "entrokit, logits": lambda: two(token_statistics(z, taken, need=TWO)),
        "entrokit, linear": lambda: two(linear_token_statistics(hidden, weight, taken, need=TWO)),
    }
    if has("trl"):
        from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE, _ChunkedLogProbFunction

        arguments = (taken, 1.0, _CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0, ("entropy",))
        found["TRL chunked"] = lambda: _ChunkedLogProbFunction.apply(hidden, weight, None, *arguments)[:2]
    if has("liger_kernel"):
        from liger_kernel.ops import LigerFusedLinearScaledCrossEntropyFunction as Liger

        def liger() -> tuple[Tensor, Tensor]:
            nll, entropy = Liger.apply(hidden, weight, taken, 1.0, -100, 1, True)
            return -nll, entropy

        found["Liger"] = liger
    print(f"\naccuracy, V {f'{vocabulary:,}'.replace(',', ' ')}; largest error of {rows} rows in nats")
    print(f"{'':30}{'logp':>10}{'entropy':>10}")
    for name, compute in found.items():
        with torch.no_grad():
            logp, entropy = ((a.double() - b).abs().max().item() for a, b in zip(compute(), exact, strict=True))
        print(f"{name:30}{logp:>10.1e}{entropy:>10.1e}")


def total(values: Any) -> Tensor:
    """A loss in which every statistic has a gradient of its own size."""
    return torch.stack([(i + 1) * value.float().mean() for i, value in enumerate(values)]).sum()


def total_of(stats: Any) -> Tensor:
    return total([v for v in (getattr(stats, name) for name in STATISTICS) if v is not None])


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


FORMS: dict[str, Callable[..., dict[str, tuple[Loss, list[Tensor]]]]] = {
    "logits": logits_contenders,
    "linear": linear_contenders,
    "nucleus": nucleus_contenders,
}


def run(loss: Loss, leaves: list[Tensor], backward: bool) -> float:
    for leaf in leaves:
        leaf.grad = None
    synchronise()
    start = time.perf_counter()
    with torch.set_grad_enabled(backward):
        value = loss()
    if backward:
        torch.autograd.grad(value, leaves)
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    if CUDA:
        torch.cuda.synchronize()


def timings(form: str, shape: tuple[int, ...], rounds: int) -> dict[str, dict[str, list[float]]]:
    contenders = FORMS[form](*shape)
    seconds: dict[str, dict[str, list[float]]] = {name: {"forward": [], "both": []} for name in contenders}
    for turn in range(rounds + 1):
        for name in random.sample(list(contenders), len(contenders)):
            for what in ("forward", "both"):
                taken = run(*contenders[name], backward=what == "both")
                if turn > 0:  # the first warms up
                    seconds[name][what].append(taken)
    return seconds


def peak_memory(form: str, shape: tuple[int, ...], name: str) -> float:
    """MiB beyond inputs of one forward and backward, in a fresh process."""
    request = json.dumps([form, shape, name])
    result = subprocess.run(
        [sys.executable, __file__, "--memory-of", request], capture_output=True, text=True, check=True
    )
    return float(result.stdout.split()[-1])


def measure_memory(form: str, shape: tuple[int, ...], name: str) -> float:
    small = {"linear": (8, 16, 64), "logits": (8, 64), "nucleus": (8, 20_000, 1)}[form]
    run(*FORMS[form](*small)[name], backward=True)  # libraries load what they need
    loss, leaves = FORMS[form](*shape)[name]
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(loss, leaves, backward=True)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = status("VmRSS")
    run(loss, leaves, backward=True)
    return (status("VmHWM") - before) / 2**10


def status(field: str) -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return float(line.split()[1])


def peaks_of_this_card() -> dict[str, float]:
    """Copy bandwidth in bytes/s and bf16 matmul rate in FLOP/s, as measured here."""
    source = torch.empty(2**30, dtype=torch.uint8, device=DEVICE)
    copy = statistics.median(run(lambda: source.clone()[:1].float().sum(), [], False) for _ in range(10))
    square = torch.randn(8192, 8192, device=DEVICE, dtype=DTYPE)
    matmul = statistics.median(run(lambda: (square @ square)[0, 0], [], False) for _ in range(10))
    return {"copy": 2 * source.numel() / copy, "matmul": 2 * 8192**3 / matmul}


def report(form: str, shape: tuple[int, ...], rounds: int, peaks: dict[str, float]) -> list[dict[str, Any]]:
    described = ", ".join(f"{s} {n:,}".replace(",", " ") for s, n in zip(SIZES[form], shape, strict=True))
    yardstick = YARDSTICKS[form]
    code = "" if form == "nucleus" else f"; back end {backend(DEVICE, DTYPE, form=form).name}"
    print(f"\n{form}, {described}{code}; ratios to {yardstick}")
    print(f"{'':30}{'forward':>10}{'fwd+bwd':>10}  {'[quartiles]':16}{'ratio':>7}{'peak MiB':>10}{'ratio':>7}")
    seconds = timings(form, shape, rounds)
    memory = {name: peak_memory(form, shape, name) for name in seconds}
    rows = []
    base = statistics.median(seconds[yardstick]["both"])
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles(times["both"], n=4)
        row = {
            "form": form,
            "shape": shape,
            "contender": name,
            "forward_s": statistics.median(times["forward"]),
            "both_s": middle,
            "both_quartiles_s": [low, high],
            "ratio": middle / base,
            "peak_MiB": memory[name],
            "memory_ratio": memory[name] / memory[yardstick],
            "seconds": times,
        }
        share = ""
        if CUDA and form == "logits":
            moved = 3 * shape[0] * shape[1] * DTYPE.itemsize  # read, read again, written
            row["copy_share"] = moved / middle / peaks["copy"]
            share = f"  {row['copy_share']:.0%} of copy bandwidth"
        elif CUDA and form == "linear":
            row["matmul_share"] = 4 * 2 * shape[0] * shape[1] * shape[2] / middle / peaks["matmul"]
            share = f"  {row['matmul_share']:.0%} of matmul peak, as four products"
        spread = f"[{low * 1e3:.0f}, {high * 1e3:.0f}]"
        print(
            f"{name:30}{row['forward_s'] * 1e3:>10.0f}{middle * 1e3:>10.0f}  {spread:16}{row['ratio']:>7.2f}"
            f"{row['peak_MiB']:>10.0f}{row['memory_ratio']:>7.2f}{share}",
            flush=True,
        )
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one shape a form")
    parser.add_argument("--form", choices=FORMS, help="this form alone")
    parser.add_argument("--accuracy", action="store_true", help="errors against float64 instead of times")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/token_statistics.json"))
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.manual_seed(0)
    if options.memory_of:
        print(measure_memory(*json.loads(options.memory_of)))
        return
    peaks = peaks_of_this_card() if CUDA and not options.accuracy else {}
    device = torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads"
    what = "float32" if options.accuracy else f"{DTYPE}; times in ms; {options.rounds} rounds"
    print(f"{device}, torch {torch.__version__}, {what}")
    absent = [p for p in ("trl", "verl", "liger_kernel", "cut_cross_entropy") if not has(p)]
    if absent:
        print(f"not installed, so not measured: {', '.join(absent)}")
    if options.accuracy:
        for vocabulary in (32_000, 151_936, 262_144):
            accuracy(vocabulary)
        return
    cases: dict[str, Any] = QUICK if options.quick else {"logits": LOGITS, "linear": LINEAR, "nucleus": NUCLEUS}
    if options.form:
        cases = {options.form: cases[options.form]}
    rows = [
        row for form, shapes in cases.items() for shape in shapes for row in report(form, shape, options.rounds, peaks)
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"device": device, "torch": torch.__version__, "peaks": peaks, "rows": rows}))
    print(f"\nwritten to {options.out}")


if __name__ == "__main__":
    main()
