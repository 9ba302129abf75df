"""PLD against KD at a vocabulary of 151 936, and of SmolLM2's head in chunks: processor seconds and peak memory.

    python benchmarks/pld.py [--quick] [--kind head]      # writes runs/bench/pld.json; about two minutes

Loss and gradient of float32 logits, on one core, in turns that rotate with every round. ``plain PLD`` is the paper's
listing (a sort, a gather, a reversed logcumsumexp) left to autograd. Peaks are of a process of its own each: what a
call needs beyond its inputs, the gradients that it leaves included.

The head: real text through SmolLM2-135M (fetch it by `experiments/smollm2.py`; random hidden states where it is not
there) as the teacher, and through its first half as the student. Whole logits are made from the same hidden states.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from turns import saved, timed

from entrokit.losses.pld import (
    TeacherHead,
    TopKTeacher,
    dist_loss,
    dkd_loss,
    kd_loss,
    linear_pld_loss,
    pld_loss,
    teacher_optimal_permutation,
    topk_pld_loss,
)

VOCABULARY, ROWS, K = 151_936, 32, 32
# Peaks of the head are of more rows than are there at once; to time as many would take long.
HEAD_ROWS, HEAD_PEAK_ROWS = 128, 768
CACHE = Path("~/.cache/entrokit").expanduser()
TEXT = Path(__file__).parents[1] / "CONTRIBUTING.md"

Call = Callable[[], Tensor]
"""Forms the loss and its gradients, which it leaves where they belong."""


def plain_pld(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """The paper's listing, the order of its steps ours: everything is left to autograd."""
    q = teacher.softmax(1)
    order = teacher.scatter(1, target[:, None], torch.inf).argsort(1, descending=True)
    chosen = student.gather(1, order)
    suffix = chosen.flip(1).logcumsumexp(1).flip(1)
    return ((suffix - chosen) * q.gather(1, order)).sum(1).mean()


def logits(rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Peaked ones, as language models have: the likeliest of a row has about half of its mass."""
    g = torch.Generator().manual_seed(0)
    teacher = 2.5 * torch.randn(rows, VOCABULARY, generator=g)
    student = 0.7 * teacher + torch.randn(rows, VOCABULARY, generator=g)
    target = torch.multinomial(teacher.softmax(1), 1, generator=g).squeeze(1)
    return student.requires_grad_(), teacher, target


def of_logits(rows: int) -> dict[str, Call]:
    student, teacher, target = logits(rows)
    top = TopKTeacher.of(teacher, K, target)
    losses: dict[str, Callable[[], Tensor]] = {
        "KD": lambda: kd_loss(student, teacher, target),
        "DKD": lambda: dkd_loss(student, teacher, target),
        "DIST": lambda: dist_loss(student, teacher, target),
        "plain PLD": lambda: plain_pld(student, teacher, target),
        "PLD": lambda: pld_loss(student, teacher, target),
        f"PLD, top {K}": lambda: topk_pld_loss(student, top, target),
    }
    return {name: _both(loss, [student]) for name, loss in losses.items()}


def of_head(rows: int) -> dict[str, Call]:
    hidden, theirs, weight, target = hidden_states()
    hidden, theirs, target = hidden[:rows].clone().requires_grad_(), theirs[:rows], target[:rows]
    head = weight.clone().requires_grad_()
    top = TopKTeacher.of(theirs @ weight.T, K, target)
    losses: dict[str, Callable[[], Tensor]] = {
        "KD, whole": lambda: kd_loss(hidden @ head.T, theirs @ weight.T, target),
        "PLD, whole": lambda: pld_loss(hidden @ head.T, theirs @ weight.T, target),
        "PLD, chunks": lambda: linear_pld_loss(hidden, head, TeacherHead(theirs, weight), target),
        f"PLD, top {K}, chunks": lambda: linear_pld_loss(hidden, head, top, target),
    }
    return {name: _both(loss, [hidden, head]) for name, loss in losses.items()}


def _both(loss: Callable[[], Tensor], leaves: list[Tensor]) -> Call:
    def call() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        value = loss()
        value.backward()
        return value.detach()

    return call


@cache
@torch.no_grad()
def hidden_states(rows: int = HEAD_PEAK_ROWS) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the student and the teacher ``[rows, d]``, their head ``[V, d]``, and the tokens that come next."""
    folders = sorted(CACHE.glob("smollm2-135m-instruct-*"))
    if not folders:
        g = torch.Generator().manual_seed(0)
        drawn = [torch.randn(n, 576, generator=g) for n in (rows, rows, 49_152)]
        return drawn[0], drawn[1], drawn[2].div_(24.0), torch.randint(49_152, (rows,), generator=g)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folders[-1])
    text = TEXT.read_text(encoding="utf-8")
    tokens = AutoTokenizer.from_pretrained(folders[-1])(text, return_tensors="pt").input_ids[:, : rows + 1]
    states = model.model(tokens[:, :-1], output_hidden_states=True).hidden_states
    half = model.model.norm(states[len(states) // 2])
    return half[0].clone(), states[-1][0].clone(), model.lm_head.weight.detach().clone(), tokens[0, 1:]


KINDS: dict[str, tuple[Callable[[int], dict[str, Call]], int, int]] = {
    "logits": (of_logits, ROWS, ROWS),
    "head": (of_head, HEAD_ROWS, HEAD_PEAK_ROWS),
}
"""By kind: how many rows are timed, and of how many the peaks are."""


def resident(field: str) -> int:
    """Bytes, of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status says no {field}")


def peak(call: Call) -> float:
    """Megabytes that a call needs beyond what is there, in a child of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        # From here on the most is counted anew.
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        call()
        os.write(writer, str((resident("VmHWM") - before) / 1e6).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as found:
        return float(found.read())


def precision() -> dict[str, float]:
    """By how much losses are off, against sums in extended precision: at most, as a share, over rows."""
    student, teacher, target = (x.detach() for x in logits(8))
    found: dict[str, float] = {}
    for i in range(len(target)):
        single = student[i : i + 1], teacher[i : i + 1], target[i : i + 1]
        double = single[0].double(), single[1].double(), single[2]
        exact = extended(*double)
        for name, loss in (("plain PLD", plain_pld), ("PLD", pld_loss)):
            for dtype, row in (("float32", single), ("float64", double)):
                off = abs(float(loss(*row)) / exact - 1.0)
                found[f"{name}, {dtype}"] = max(off, found.get(f"{name}, {dtype}", 0.0))
    return found


def extended(student: Tensor, teacher: Tensor, target: Tensor) -> float:
    """The loss of one row, in numpy's long double."""
    order = teacher_optimal_permutation(teacher, target)
    a, t = (x.gather(1, order).squeeze(0).numpy().astype(np.longdouble) for x in (student, teacher))
    q = np.exp(t - t.max())
    suffix = np.log(np.cumsum(np.exp(a - a.max())[::-1])[::-1]) + a.max()
    return float((q / q.sum() * (suffix - a)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="an eighth of the rows, one round")
    parser.add_argument("--kind", choices=KINDS, help="one part alone")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 1 if arguments.quick else arguments.rounds
    summary: dict[str, Any] = {"vocabulary": VOCABULARY, "k": K, "torch": torch.__version__}
    for kind, (of, *full) in KINDS.items():
        if arguments.kind not in (None, kind):
            continue
        rows, peak_rows = (n // 8 for n in full) if arguments.quick else full
        # Before anything has run in this process, so that a child inherits no memory that was freed.
        megabytes = {name: peak(call) for name, call in of(peak_rows).items()}
        calls = of(rows)
        spent = timed(calls, rounds)
        values = {name: float(call()) for name, call in calls.items()}
        base = spent[next(iter(spent))]
        print(f"\n{kind}: {rows} rows, peaks of {peak_rows}")
        print(f"{'':22} {'seconds':>8} {'':16} {'ratio':>6} {'':14} {'peak MB':>8} {'loss':>9}")
        summary[kind] = {
            "rows": rows,
            "peak_rows": peak_rows,
            "seconds": spent,
            "megabytes": megabytes,
            "losses": values,
        }
        for name, own in spent.items():
            ratios = sorted(a / b for a, b in zip(own, base, strict=True))
            print(
                f"{name:22} {statistics.median(own):8.2f} [{min(own):6.2f}, {max(own):6.2f}] "
                f"{statistics.median(ratios):6.2f} [{ratios[0]:5.2f}, {ratios[-1]:5.2f}] {megabytes[name]:8.0f} "
                f"{values[name]:9.4f}",
                flush=True,
            )
    if arguments.kind != "head":
        summary["off"] = precision()
        for name, share in summary["off"].items():
            print(f"{name}: off by a share of {share:.1e} at most")
    saved("pld", summary)


if __name__ == "__main__":
    main()
