"""What it costs to know a step's Taylor radius, and what looking at some rows alone leaves out.

    python benchmarks/radius.py
    python benchmarks/radius.py --model PATH     # a causal language model instead of SmolLM2-135M or its shapes

- RLVR on the pocket policy (64 rows a step): seconds of forward-mode and of central differences on 4, 8, 16 and all
  rows, as shares of the step that they measure, with and without its part of sampling. The arms take turns from step to
  step of one run. And r of so many rows over r of all, as drawn by lot from the same steps.
- Fine-tuning a language model of 135 M parameters (AdamW, 4 rows of 64 tokens), arms in turns from step to step: the
  whole optimiser step of `RadiusClip` against that of AdamW.

One thread. Prints tables: medians and quartiles. Writes ``runs/bench/radius.json``. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from entrokit.engines.trl import RadiusOptions
from entrokit.engines.trl import radius as engine
from entrokit.optim.radius import RadiusClip
from entrokit.papers.optim._radius_account import pocket_trainer
from entrokit.rlvr.tasks import load_task

METHODS, ROWS = ("jvp", "difference"), (4, 8, 16, None)
ARMS = [(method, rows) for rows in ROWS for method in METHODS]
POCKET_STEPS, BATCH, DRAWS = 64, 64, 200
LARGE_ROUNDS, LARGE_BATCH, LARGE_LENGTH = 3, 4, 64
SMOLLM2_135M = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


class Timed(engine.RadiusCallback):  # type: ignore[misc]
    """Takes the arms in turns, keeps how long each took and a step in all, and on the way Δ of every row."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seconds: dict[Any, list[float]] = defaultdict(list)
        self.steps: list[tuple[float, float]] = []
        self.values: list[list[float]] = []
        self._spent = self._begun = self._trained = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._arm = ARMS[state.global_step % len(ARMS)]
        self.options = RadiusOptions(rows=self._arm[1], method=self._arm[0])
        self._begun = time.perf_counter()
        super().on_step_begin(args, state, control, **kwargs)

    def saw(self, inputs: Any) -> None:
        self._trained = time.perf_counter()
        super().saw(inputs)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        begin = time.perf_counter()
        super().on_pre_optimizer_step(args, state, control, **kwargs)
        self._spent = time.perf_counter() - begin

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        begin = time.perf_counter()
        super().on_optimizer_step(args, state, control, **kwargs)
        self._spent += time.perf_counter() - begin

    def _spreads(self, *arguments: Any) -> Any:
        found = super()._spreads(*arguments)
        if self._arm == ("jvp", None):
            self.values.append(found[0].tolist())
        return found

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        end = time.perf_counter()
        if state.global_step > len(ARMS):  # what is slow once is no cost of a step
            self.seconds[self._arm].append(self._spent)
            self.steps.append((end - self._begun - self._spent, end - self._trained - self._spent))


def pocket() -> dict[str, Any]:
    task = load_task("countdown", train_size=1024, eval_size=8)
    with tempfile.TemporaryDirectory() as folder:
        options = {"learning_rate": 1e-4, "max_steps": POCKET_STEPS + len(ARMS)}
        trainer = pocket_trainer(folder, task, RadiusOptions(), rows=BATCH, **options)
        trainer.remove_callback(trainer.radius)
        timed = Timed(trainer, RadiusOptions(), trainer._forward)
        trainer.radius = timed
        trainer.add_callback(timed)
        trainer.train()
    # A generation batch is sampled every fourth step: its time belongs to all four.
    whole, update = (float(np.mean([s[i] for s in timed.steps])) for i in (0, 1))
    rows = []
    print(f"pocket policy: {1000 * whole:.0f} ms a step with its part of sampling, {1000 * update:.0f} ms without")
    print("| method | rows | ms [quartiles] | share of a step | of the update alone |\n|---|---|---|---|---|")
    for method, count in ARMS:
        middle, low, high = quartiles(timed.seconds[method, count])
        rows.append({"method": method, "rows": count, "seconds": timed.seconds[method, count]})
        print(
            f"| {method} | {count or BATCH} | {1000 * middle:.1f} [{1000 * low:.1f}, {1000 * high:.1f}] | "
            f"{middle / whole:.0%} | {middle / update:.0%} |"
        )
    errors = subsample(timed.values)
    return {"whole": whole, "update": update, "arms": rows, "subsample": errors}


def subsample(values: list[list[float]]) -> dict[str, list[float]]:
    """r of some rows over r of all, by lot from the rows of every step."""
    rng, found = np.random.default_rng(0), {}
    print("| rows | r over r of all rows: median | 10 % | least |\n|---|---|---|---|")
    for count in (4, 8, 16, 32):
        ratios = [
            max(rng.choice(own, min(count, len(own)), replace=False)) / max(own)
            for own in values
            for _ in range(DRAWS)
            if max(own) > 0
        ]
        found[str(count)] = [float(x) for x in np.quantile(ratios, (0.5, 0.1, 0.0))]
        print(f"| {count} | {' | '.join(f'{x:.2f}' for x in found[str(count)])} |")
    return found


def large(path: str | None) -> dict[str, Any]:
    stored = sorted((Path.home() / ".cache" / "entrokit").glob("smollm2-135m-instruct-*/config.json"))
    where = path or (str(stored[0].parent) if stored else None)
    torch.manual_seed(0)
    try:
        model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32) if where else None
    except OSError:
        model = None
    name = "SmolLM2-135M-Instruct" if model is not None and path is None else path or "random weights, its shapes"
    if model is None:
        model = LlamaForCausalLM(LlamaConfig(**SMOLLM2_135M))
    model.train()
    inner = torch.optim.AdamW(model.parameters(), lr=1e-5)
    arms = [None, ("jvp", 1), ("difference", 1), ("jvp", LARGE_BATCH), ("difference", LARGE_BATCH)]
    seconds: dict[Any, list[float]] = defaultdict(list)
    ratios: dict[Any, list[float]] = defaultdict(list)
    r: dict[Any, list[float]] = defaultdict(list)
    generator = torch.Generator().manual_seed(0)
    for turn in range(LARGE_ROUNDS + 1):
        own: dict[Any, float] = {}
        for arm in arms[turn % len(arms) :] + arms[: turn % len(arms)]:
            ids = torch.randint(1000, 40000, (LARGE_BATCH, LARGE_LENGTH), generator=generator)
            if arm is not None:
                options = {"method": arm[0], "max_samples": arm[1], "samples": {"input_ids": ids, "labels": ids}}
                optimizer: Any = RadiusClip(inner, model, math.inf, **options)
            else:
                optimizer = inner
            begin = time.perf_counter()
            optimizer.zero_grad()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            own[arm] = time.perf_counter() - begin
            if arm is not None and turn:
                r[arm].append(optimizer.last.r)
        if turn:  # the first makes the optimiser's state
            for arm in arms:
                seconds[arm].append(own[arm])
                ratios[arm].append(own[arm] / own[None])
    print(f"{name}: AdamW {quartiles(seconds[None])[0]:.2f} s a step of {LARGE_BATCH} x {LARGE_LENGTH} tokens")
    print("| method | rows | step over AdamW's [quartiles] | median r |\n|---|---|---|---|")
    for arm in arms[1:]:
        middle, low, high = quartiles(ratios[arm])
        print(f"| {arm[0]} | {arm[1]} | {middle:.2f} [{low:.2f}, {high:.2f}] | {np.median(r[arm]):.3f} |")
    agreement = {}
    ids = torch.randint(1000, 40000, (LARGE_BATCH, LARGE_LENGTH), generator=generator)
    for method in METHODS:
        torch.manual_seed(0)
        state = {n: p.detach().clone() for n, p in model.named_parameters()}
        held = RadiusClip(
            torch.optim.SGD(model.parameters(), lr=1e-3), model, math.inf, method=method, max_samples=None
        )
        held.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        held.step()
        with torch.no_grad():
            for n, p in model.named_parameters():
                p.copy_(state[n])
        agreement[method] = held.last.r if held.last else math.nan
        held.close()
    print(f"r of one SGD step: {', '.join(f'{m} {v:.5f}' for m, v in agreement.items())}")
    label = {arm: "AdamW" if arm is None else f"{arm[0]} {arm[1]}" for arm in arms}
    return {
        "model": name,
        "seconds": {label[a]: v for a, v in seconds.items()},
        "ratios": {label[a]: v for a, v in ratios.items()},
        "agreement": agreement,
    }


def quartiles(values: list[float]) -> tuple[float, float, float]:
    middle, low, high = np.quantile(values, (0.5, 0.25, 0.75))
    return float(middle), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a causal language model")
    parser.add_argument("--only", choices=("pocket", "large"), help="one of the two parts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    file = Path("runs/bench/radius.json")
    found = json.loads(file.read_text()) if file.exists() else {}
    if arguments.only != "large":
        found["pocket"] = pocket()
    if arguments.only != "pocket":
        found["large"] = large(arguments.model)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
