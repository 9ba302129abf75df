"""Trains recipes on injected completions and prints losses, advantages and weights, for one process or several.

Run alone or under ``torchrun``: `test_two_processes.py` compares what they print. Every optimiser step takes the same
rows in both cases: process r of n has a contiguous share of the generation batch and the r-th part of each step.
"""

import gc
import json
import os
import sys

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
from accelerate import DistributedType, PartialState
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig
from trl.trainer import grpo_trainer

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr.tasks import countdown
from tests.engines.options import PLAIN

ROWS, STEPS_PER_GENERATION, STEPS, GROUP, SHARES = 24, 2, 6, 8, 2
LENGTH, SEED, LEARNING_RATE = 9, PLAIN["seed"], PLAIN["learning_rate"]
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def in_steps(batch):
    """The order in which one process takes the rows that ``SHARES`` processes take together; theirs is as it is."""
    if WORLD > 1:
        return batch
    part = ROWS // SHARES // STEPS_PER_GENERATION
    order = torch.arange(ROWS).view(SHARES, STEPS_PER_GENERATION, part).transpose(0, 1).reshape(-1)
    return {k: v[order] if torch.is_tensor(v) and v.dim() and len(v) == ROWS else v for k, v in batch.items()}


def completion(step, row, eos):
    """Random tokens that depend on the row's place in the generation batch of all processes, and on the step."""
    g = torch.Generator().manual_seed(1000 * step + row)
    length = int(torch.randint(2, LENGTH, (1,), generator=g))
    return [*torch.randint(2, 20, (length,), generator=g).tolist(), eos]


def completions(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
    first = self.accelerator.process_index * len(prompt_ids)
    rows = range(first, first + len(prompt_ids))
    return [completion(self.state.global_step, row, self.processing_class.eos_token_id) for row in rows], None


def reward(completions, **kwargs):
    return [float(sum(map(ord, c)) % 3 == 0) for c in completions]


def train(checkpoint, spec, folder):
    args = GRPOConfig(
        folder,
        per_device_train_batch_size=ROWS // STEPS_PER_GENERATION // WORLD,
        steps_per_generation=STEPS_PER_GENERATION,
        num_generations=GROUP,
        max_completion_length=LENGTH,
        max_steps=STEPS,
        **PLAIN,
    )
    if os.environ.get("ACCELERATE_USE_FSDP"):
        let_accelerate_shard()
    advantages, prompts = [], []

    def listen(batch):
        advantages.append(trainer.accelerator.gather(batch.advantages[:, 0]).tolist())
        prompts.append(batch.prompts)

    trainer = EntropyGRPOTrainer(
        AutoModelForCausalLM.from_pretrained(checkpoint),
        reward_funcs=reward,
        args=args,
        train_dataset=countdown(train_size=64, eval_size=8).train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        recipe=spec,
        on_generation=listen,
    )
    trainer.train()
    logged = [row for row in trainer.state.log_history if "loss" in row]
    parameters = trainer.accelerator.unwrap_model(trainer.model).parameters()
    whole = [p.full_tensor() if isinstance(p, DTensor) else p for p in parameters]
    weights = torch.cat([p.detach().flatten() for p in whole])
    everyones = trainer.accelerator.gather(weights.sum()[None].cpu())
    return {
        "ranks_apart": float(everyones.max() - everyones.min()),
        "losses": [row["loss"] for row in logged],
        "grad_norms": [row["grad_norm"] for row in logged],
        "entropy": [row["entropy"] for row in logged],
        "advantages": advantages,
        "prompts": prompts,
        "weights": weights.tolist(),
        "sharded": any(isinstance(p, DTensor) for p in trainer.model.parameters()),
        "processes": trainer.accelerator.num_processes,
        "state": {k: as_json(v) for k, v in trainer.recipe.state_dict().items() if v},
    }


def as_json(state):
    if isinstance(state, dict):
        return {k: as_json(v) for k, v in state.items()}
    if isinstance(state, list):
        return [as_json(v) for v in state]
    return state.tolist() if torch.is_tensor(state) else state


def let_accelerate_shard():
    """accelerate shards on accelerators only: tells it that this CPU is one. The sharding is torch's own (FSDP2)."""
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_NPU


def main():
    checkpoint, folder, out, *specs = sys.argv[1:]
    torch.set_num_threads(1)
    gc.freeze()  # what was imported is no garbage, and every trainer collects
    grpo_trainer.shuffle_sequence_dict = in_steps
    EntropyGRPOTrainer._generate_single_turn = completions
    results = {spec: train(checkpoint, spec, folder) for spec in specs}
    if RANK == 0:
        with open(out, "w") as file:
            json.dump(results, file)


if __name__ == "__main__":
    main()
