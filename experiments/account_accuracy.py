"""How well is a step's change of entropy predicted, and how does that decay with learning rate and inner updates?

    python experiments/account_accuracy.py runs/accuracy --seeds 3

On the pocket policy (AdamW): the parameter form of the account and the free-logit law, each against the measured change
over 128 optimiser steps. On the tabular bench, where logits are free (gradient descent): the free-logit law. Writes
``accuracy.json`` and ``accuracy.html`` into the folder and prints a table; runs that are there are not trained again.
About 20 minutes for three seeds on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path

import numpy as np
import torch

from entrokit.bench.tabular import TabularSettings, train_tabular
from entrokit.diagnose import accounts_of
from entrokit.report import Chart, Series, document, embed, figure
from entrokit.runs import Notes, StepAccount, correlation
from entrokit.runs.layout import ACCOUNT
from entrokit.training.session import train
from entrokit.training.settings import TrainSettings

RATES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3)
UPDATES = (1, 4, 16)
STEPS = 128
TABULAR_RATES = (1.0, 5.0, 19.2, 60.0)


def pocket(folder: Path, rate: float, updates: int, seed: int) -> dict[str, float]:
    out = folder / f"lr{rate:g}-updates{updates}-seed{seed}"
    if not out.exists():
        settings = TrainSettings("grpo", str(out), steps=STEPS, seed=seed, updates=updates, learning_rate=rate)
        train(TrainSettings(**vars(settings) | {"account_every": 1}))
    accounts = list(accounts_of(out / ACCOUNT, Notes()))
    predicted, measured = column(accounts, "predicted"), column(accounts, "measured")
    return {
        "parameter": correlation(predicted, measured),
        "slope": float(np.polyfit(predicted, measured, 1)[0]),
        "free": correlation(column(accounts, "free"), measured),
        "step": float(np.mean(np.abs(measured))),
    }


def column(accounts: list[StepAccount], name: str) -> list[float]:
    return [getattr(a, name) for a in accounts]


def tabular(rate: float, updates: int, seed: int) -> dict[str, float]:
    pairs: list[tuple[float, float]] = []
    settings = TabularSettings(learning_rate=rate, updates=updates, steps=320 // updates)
    train_tabular("grpo", seed, settings, lambda *pair: pairs.append(pair))
    predicted, measured = ([p[i] for p in pairs] for i in (0, 1))
    return {"free": correlation(predicted, measured), "slope": float(np.polyfit(predicted, measured, 1)[0])}


def chart(title: str, x: str, table: dict[tuple[float, int], list[dict[str, float]]], name: str) -> Chart:
    series = []
    for updates in UPDATES:
        rows = [(rate, [r[name] for r in own]) for (rate, u), own in table.items() if u == updates]
        rates, values = [f"{r:g}" for r, _ in rows], [v for _, v in rows]
        middle = [float(np.median(v)) for v in values]
        label = f"{updates} update{'s' if updates > 1 else ''} per batch"
        series.append(Series(label, rates, middle, low=[min(v) for v in values], high=[max(v) for v in values]))
    return Chart(title, x, "correlation with the measured change", tuple(series))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="runs/accuracy")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    folder, seeds = Path(arguments.folder), range(arguments.seeds)
    on_pocket = {(r, u): [pocket(folder, r, u, s) for s in seeds] for r in RATES for u in UPDATES}
    on_table = {(r, u): [tabular(r, u, s) for s in range(8)] for r in TABULAR_RATES for u in UPDATES}
    print("| bench | learning rate | updates | parameter form r | slope | free-logit r | mean change, nats a step |")
    print("|---|---|---|---|---|---|---|")
    for (r, u), rows in on_pocket.items():
        print(
            f"| pocket | {r:g} | {u} | {' | '.join(spread(rows, n) for n in ('parameter', 'slope', 'free', 'step'))} |"
        )
    for (r, u), rows in on_table.items():
        print(f"| tabular | {r:g} | {u} | – | {spread(rows, 'slope')} | {spread(rows, 'free')} | – |")
    text = {
        name: [[*key, rows] for key, rows in t.items()] for name, t in (("pocket", on_pocket), ("tabular", on_table))
    }
    (folder / "accuracy.json").write_text(json.dumps(text, indent=1), encoding="utf-8")
    charts = (
        chart("Pocket policy: the account", "learning rate (AdamW)", on_pocket, "parameter"),
        chart("Pocket policy: free logits", "learning rate (AdamW)", on_pocket, "free"),
        chart("Tabular bench: free logits", "learning rate (gradient descent)", on_table, "free"),
    )
    body = "".join(embed(figure(c)) for c in charts)
    page = document("accuracy of the account", f'<section class="charts">{body}</section>')
    (folder / "accuracy.html").write_text(page, encoding="utf-8")


def spread(rows: list[dict[str, float]], name: str) -> str:
    values = [row[name] for row in rows]
    return f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
