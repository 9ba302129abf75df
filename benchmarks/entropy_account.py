"""What an entropy account costs: training with `EntropyAccountCallback` against the same training without it.

On the pocket policy and on a model twenty times larger (random weights, longer completions). Interleaved: in every
round both trainers take one turn of twenty optimiser steps, in which two steps are accounted for, in an order that
alternates; all turns of a round start from one seed, so they sample the same completions. Prints the median ratio
with its quartiles and writes ``runs/bench/entropy_account.json``. Takes about eight minutes.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from trainer_overhead import Turns
from transformers import PrinterCallback, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig

from entrokit.engines.trl import EntropyAccountCallback, EntropyGRPOTrainer
from entrokit.rlvr.tasks import countdown
from entrokit.training.pocket import character_tokenizer, pocket_policy

STEPS = 20
# Name: rounds, completions of an optimiser step, tokens of a completion, optimiser steps of a generation batch.
CASES = {"pocket": (25, 64, 16, 4), "larger": (4, 16, 24, 4)}


def larger() -> tuple[Any, Any]:
    torch.manual_seed(0)
    tokenizer = character_tokenizer()
    config = Qwen3Config(
        vocab_size=4096,
        hidden_size=384,
        intermediate_size=1152,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=64,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config), tokenizer


def build(case: str, account: bool) -> tuple[Any, Turns]:
    rounds, rows, length, updates = CASES[case]
    task = countdown(train_size=4096)
    model, tokenizer = pocket_policy() if case == "pocket" else larger()
    turns = Turns(STEPS)
    args = GRPOConfig(
        output_dir=f"runs/bench/account-{case}",
        per_device_train_batch_size=rows,
        steps_per_generation=updates,
        num_generations=16,
        max_completion_length=length,
        learning_rate=1e-6,
        max_steps=STEPS * (rounds + 1),
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = EntropyGRPOTrainer(
        model,
        reward_funcs=reward,
        args=args,
        train_dataset=task.train,
        processing_class=tokenizer,
        callbacks=[turns],
        recipe="grpo",
    )
    trainer.remove_callback(PrinterCallback)
    if account:
        trainer.add_callback(EntropyAccountCallback(trainer, every=10))
    return trainer, turns


def reward(completions: list[str], **columns: Any) -> list[float]:
    """Of random text too some completions are worth more: no group is without a gradient."""
    return [(sum(map(ord, c)) % 7) / 7 for c in completions]


def main() -> None:
    torch.set_num_threads(1)
    rows = {}
    for case, (rounds, *_) in CASES.items():
        trainers = {name: build(case, name == "account") for name in ("without", "account")}
        parameters = sum(p.numel() for p in trainers["account"][0].model.parameters())
        for turn in range(rounds + 1):
            for name in sorted(trainers, reverse=bool(turn % 2)):
                torch.manual_seed(turn)
                trainers[name][0].train()
        # The first turn warms up.
        own, base = (trainers[name][1].seconds[1:] for name in ("account", "without"))
        low, ratio, high = statistics.quantiles([a / b for a, b in zip(own, base, strict=True)], n=4)
        rows[case] = {"parameters": parameters, "ratio": ratio, "quartiles": [low, high], "rounds": len(own)}
        rows[case] |= {"median_s": statistics.median(own), "median_without_s": statistics.median(base)}
        print(
            f"{case:8} {parameters / 1e6:5.1f} M parameters, {STEPS} steps: {statistics.median(base):6.2f} s without, "
            f"{statistics.median(own):6.2f} s with two accounts: ratio {ratio:.3f} [{low:.3f}, {high:.3f}]"
        )
    out = Path("runs/bench/entropy_account.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
