"""Trains a run with a checkpoint at every step, or goes on from them, under ``torchrun``; prints what came out.

torchrun --nproc_per_node 2 resumed.py POLICY FOLDER OUT.json STEP...
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr.tasks import countdown

RANK = int(os.environ.get("RANK", 0))
RECIPE = "dapo+siren(coef=0.5)+clip-cov(ratio=0.2, low=0.0, high=9.0)"


def reward(completions, **kwargs):
    return [(sum(map(ord, c)) % 7) / 7 for c in completions]


def train(policy, folder, resume=None):
    args = GRPOConfig(
        str(folder),
        per_device_train_batch_size=4,
        steps_per_generation=4,
        num_generations=4,
        max_completion_length=8,
        learning_rate=1e-3,
        max_steps=11,
        logging_steps=3,
        save_strategy="steps",
        save_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        seed=3,
    )
    trainer = EntropyGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(policy),
        reward_funcs=reward,
        args=args,
        train_dataset=countdown(train_size=16, eval_size=8).train,
        processing_class=AutoTokenizer.from_pretrained(policy, padding_side="left"),
        recipe=RECIPE,
    )
    trainer.train(resume_from_checkpoint=resume)
    model = trainer.accelerator.unwrap_model(trainer.model)
    log = [row for row in trainer.state.log_history if "train_runtime" not in row]
    return {
        "log": [{k: v for k, v in row.items() if "time" not in k and "per_second" not in k} for row in log],
        "weights": torch.cat([p.detach().flatten() for p in model.parameters()]).tolist(),
        "processes": trainer.accelerator.num_processes,
        "state": trainer.recipe.state_dict(),
    }


def main():
    policy, folder, out, *steps = sys.argv[1:]
    torch.set_num_threads(1)
    whole = Path(folder) / "whole"
    results = {"whole": train(policy, whole)}
    for step in steps:
        again = Path(folder) / f"from{step}"
        if RANK == 0:
            shutil.copytree(whole / f"checkpoint-{step}", again / f"checkpoint-{step}")
        torch.distributed.barrier()
        results[step] = train(policy, again, resume=True)
    if RANK == 0:
        Path(out).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
