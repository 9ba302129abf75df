"""What a recipe puts on the wire: collectives of two training processes, counted, beside GRPOTrainer's own.

    python experiments/collectives.py        # writes results/tables/collectives.json; then python scripts/pages.py

Two gloo processes train a tiny policy on injected completions of two lengths, once with `GRPOTrainer` and once with
`EntropyGRPOTrainer` under each recipe. Every call of torch.distributed from Python is counted, with the bytes that this
rank puts into it: in generation batches (advantages, prepared numbers) and in optimiser steps apart. What is written is
the excess over `GRPOTrainer`, and how the bytes of a generation batch grow with a rank's completions and tokens: whole
numbers of bytes for each, but for draws among candidates. DDP's own sums of gradients are made in C++ and not counted.
"""

import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "results" / "tables" / "collectives.json"
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
os.environ["ACCELERATE_USE_CPU"] = "true"

SPECS = (
    "grpo",
    "dapo",
    "gspo",
    "rloo",
    "reinforce_plus_plus",
    "grpo+entropy-bonus(coef=0.01)",
    "grpo+steer(min_weight=0.3)",
    "grpo+forking-tokens(rho=0.28)",
    "dapo+kl-cov(ratio=0.1)",
    "dapo+clip-cov(ratio=0.2, low=0.0, high=9.0)",
    "grpo+clip-b(mu=0.2)",
    "grpo+siren(coef=0.5)",
    "grpo+empg",
    "grpo+epo(coef=0.1)",
    "dr_grpo+canon(mu=0.7)",
    "grpo+perplexity-shaping",
)
# Rows of a process's generation batch, and the longest completions.
SHAPES, STEPS = ((4, 9), (8, 9), (8, 30)), 4
CALLS = ("all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", "reduce_scatter_tensor", "gather")
OBJECTS = ("all_gather_object", "broadcast_object_list", "gather_object")


class Wire:
    """Counts calls by phase; ``bytes`` are those that this process puts in."""

    def __init__(self):
        self.phase, self.calls, self.bytes, self.objects = "step", Counter(), Counter(), Counter()

    def listen(self):
        import torch

        for name in CALLS:
            setattr(torch.distributed, name, self._counted(getattr(torch.distributed, name), name))
        for name in OBJECTS:
            setattr(torch.distributed, name, self._object(getattr(torch.distributed, name)))

    def _counted(self, call, name):
        # Of what is gathered the second argument is one's own.
        own = 1 if name.startswith(("all_gather", "reduce_scatter")) else 0

        def counted(*args, **kwargs):
            tensor = args[own] if len(args) > own else kwargs.get("input_tensor", kwargs.get("tensor"))
            self.calls[self.phase] += 1
            self.bytes[self.phase] += tensor.numel() * tensor.element_size()
            return call(*args, **kwargs)

        return counted

    def _object(self, call):
        def counted(*args, **kwargs):
            self.objects[self.phase] += 1
            return call(*args, **kwargs)

        return counted


def completion(step, row, length, eos):
    import torch

    g = torch.Generator().manual_seed(1000 * step + row)
    n = int(torch.randint(2, length, (1,), generator=g))
    return [*torch.randint(2, 20, (n,), generator=g).tolist(), eos]


def train(checkpoint, folder, spec, rows, length, wire):
    """Per generation batch: calls, bytes, tokens and longest completion of this process; and per optimiser step."""
    import torch
    from tests.engines.options import PLAIN
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    from entrokit.engines.trl import EntropyGRPOTrainer
    from entrokit.rlvr.tasks import countdown

    kind = GRPOTrainer if spec is None else EntropyGRPOTrainer
    seen, batches = [], []

    class Trainer(kind):
        def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
            first = self.accelerator.process_index * len(prompt_ids)
            own = [
                completion(self.state.global_step, row, length, self.processing_class.eos_token_id)
                for row in range(first, first + len(prompt_ids))
            ]
            everyones = [
                sum(len(completion(self.state.global_step, r * len(own) + i, length, 0)) for i in range(len(own)))
                for r in range(self.accelerator.num_processes)
            ]
            seen.append((len(own), max(everyones)))
            return own, None

        def _generate_and_score_completions(self, inputs):
            before = wire.calls.copy(), wire.bytes.copy()
            wire.phase = "generation"
            try:
                return super()._generate_and_score_completions(inputs)
            finally:
                wire.phase = "step"
                batches.append(
                    (
                        wire.calls["generation"] - before[0]["generation"],
                        wire.bytes["generation"] - before[1]["generation"],
                    )
                )

    args = GRPOConfig(
        folder,
        per_device_train_batch_size=rows // 2,
        steps_per_generation=2,
        num_generations=4,
        max_completion_length=length,
        max_steps=STEPS,
        **PLAIN,
    )
    t = Trainer(
        AutoModelForCausalLM.from_pretrained(checkpoint),
        reward_funcs=lambda completions, **_: [float(sum(map(ord, c)) % 3 == 0) for c in completions],
        args=args,
        train_dataset=countdown(train_size=64, eval_size=8).train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        **({} if spec is None else {"recipe": spec}),
    )
    torch.manual_seed(0)
    before = wire.calls["step"], wire.bytes["step"]
    t.train()
    return {
        "batches": [
            {"calls": c, "bytes": b, "rows": r, "tokens": n} for (c, b), (r, n) in zip(batches, seen, strict=True)
        ],
        "step_calls": (wire.calls["step"] - before[0]) / STEPS,
        "step_bytes": (wire.bytes["step"] - before[1]) / STEPS,
    }


def worker(checkpoint, folder, out):
    import torch

    torch.set_num_threads(1)
    wire = Wire()
    wire.listen()
    found = {str(spec): [train(checkpoint, folder, spec, *shape, wire) for shape in SHAPES] for spec in (None, *SPECS)}
    if int(os.environ["RANK"]) == 0:
        Path(out).write_text(json.dumps(found))


def fitted(own, trls):
    """Calls and bytes beyond TRL's: of a batch, bytes as a + b · completions + c · tokens; of a step.

    ``tokens`` are those of the rank that has most of them: shorter ones are padded before they are gathered.
    """
    import numpy as np

    points = [
        (o, t)
        for mine, theirs in zip(own, trls, strict=True)
        for o, t in zip(mine["batches"], theirs["batches"], strict=True)
    ]
    inputs = np.array([[1, o["rows"], o["tokens"]] for o, _ in points], float)
    extra = np.array([o["bytes"] - t["bytes"] for o, t in points], float)
    solved, *_ = np.linalg.lstsq(inputs, extra, rcond=None)
    apart = float(np.abs(inputs @ solved - extra).max())
    return {
        "calls": max(o["calls"] - t["calls"] for o, t in points),
        "bytes": {name: round(float(x), 2) for name, x in zip(("batch", "completion", "token"), solved, strict=True)},
        "unexplained": round(apart, 2),
        "step_calls": max(m["step_calls"] - t["step_calls"] for m, t in zip(own, trls, strict=True)),
        "step_bytes": max(m["step_bytes"] - t["step_bytes"] for m, t in zip(own, trls, strict=True)),
    }


def main():
    from tests.engines.conftest import tiny_policy
    from tests.processes import TORCHRUN, run

    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), Path(name) / "out.json"
        checkpoint = tiny_policy(folder / "policy")
        found = run([*TORCHRUN, __file__, "--worker", checkpoint, str(folder / "run"), str(out)], out)
    trls = found.pop("None")
    table = {spec: fitted(own, trls) for spec, own in found.items()}
    OUT.write_text(json.dumps(table, indent=1) + "\n")
    print(f"{OUT.name}: {len(table)} recipes")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
