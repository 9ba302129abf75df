"""The entropy account on a real model: how well it predicts, what it costs, and what the rule for padding rows does.

The criterion, written before the run: at the lower rate, full and with adapters, r >= 0.95 over all steps but the first
(Adam's first moves every parameter by the rate) and a slope in [0.8, 1.25] in every seed, and r above that of the
free-logit law.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from real_model_runs import kept, run

from entrokit.diagnose import accounts_of
from entrokit.runs import Notes
from entrokit.runs.layout import ACCOUNT

STEPS = 30
# Rank of the adapters (0: the whole model) and learning rate.
MOVES = ((0, 1e-5), (0, 3e-5), (8, 1e-4), (8, 3e-4))
# Completions that an account looks at, of the eight of a step; 0 for all.
ROWS = (0, 1, 2, 4)
SHAPE = {
    "task": "words:mention",
    "prompts": 4,
    "completions": 4,
    "updates": 4,
    "max_completion_length": 16,
    "system": "Write one short sentence.",  # the model's own is twice as long as the prompt
    "evaluation_prompts": 0,
}


def account(model: Path, seeds: int) -> None:
    for seed in range(seeds):
        for lora, rate in MOVES:
            _accounted(model, lora, rate, seed)
    for lora in (0, 8):
        kept(f"cost-lora{lora}", lambda folder, lora=lora: _cost(model, folder, lora))
    kept("padding", lambda folder: _padding(model, folder))
    for rows in ROWS:
        kept(f"rows-{rows}", lambda folder, rows=rows: _rows(model, folder, rows))


def _accounted(model: Path, lora: int, rate: float, seed: int) -> None:
    def made(folder: Path) -> object:
        clock = run(
            model,
            folder,
            SHAPE | {"lora": lora, "learning_rate": rate, "seed": seed, "steps": STEPS, "account_every": 1},
        )
        names = ("step", "entropy", "predicted", "measured", "gradient", "clipping", "memory", "tokens", "free", "kept")
        found = accounts_of(folder / ACCOUNT, Notes())
        rows = [{n: getattr(a, n) for n in names} | {"r_free_tokens": a.free_correlation} for a in found]
        return {"seconds a step": clock.per_step(4), "steps": rows}

    kept(f"account-lora{lora}-lr{rate:g}-seed{seed}", made)


def _cost(model: Path, folder: Path, lora: int) -> object:
    """CPU seconds of a step without accounts and with one of all of its four rows, on the same prompts."""
    found = {}
    for every in (0, 1):
        clock = run(model, folder / str(every), SHAPE | {"lora": lora, "steps": 16, "account_every": every})
        found["with" if every else "without"] = clock.per_step(4)
    return found


def _rows(model: Path, folder: Path, rows: int) -> object:
    """Accounts of one and the same run that look at so many of a step's rows: an account changes nothing of it."""
    options = {"lora": 8, "learning_rate": 3e-4, "updates": 2, "steps": 6, "account_every": 1, "account_rows": rows}
    run(model, folder, SHAPE | options)
    names = ("step", "rows", "sampled", "predicted", "measured", "tokens")
    return {"steps": [{n: getattr(a, n) for n in names} for a in accounts_of(folder / ACCOUNT, Notes())]}


def _padding(model: Path, folder: Path) -> object:
    """Sum of shares and the gradient's part, with the rule for padding rows and without it."""
    rows = {}
    for name, rule in (("with", True), ("without", False)):
        with _padding_rule(rule):
            run(model, folder / name, SHAPE | {"steps": 8, "account_every": 1})
        found = accounts_of(folder / name / ACCOUNT, Notes())
        rows[name] = [{n: getattr(a, n) for n in ("gradient", "tokens", "predicted", "measured")} for a in found]
    return rows


@contextmanager
def _padding_rule(heeded: bool) -> Iterator[None]:
    """Takes back what `engines.trl.paths` does about padding rows: forward mode follows them, ∇H leaves them out."""
    from entrokit.engines.trl import account, directional, paths

    if heeded:
        yield
        return

    @contextmanager
    def plain():
        with torch.compiler.set_stance("force_eager"), torch.no_grad():
            yield

    @contextmanager
    def nothing():
        yield

    account.through_padding, directional.as_backward = nothing, plain
    try:
        yield
    finally:
        account.through_padding, directional.as_backward = paths.through_padding, paths.as_backward
