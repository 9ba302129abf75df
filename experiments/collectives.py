"""What a recipe puts on the wire: collectives of two training processes, counted.

    python experiments/collectives.py trl    # in an environment with entrokit[trl,dev]
    python experiments/collectives.py verl   # in one with entrokit[verl,dev]; then python scripts/pages.py

Each writes its part of results/tables/collectives.json. Two gloo processes train a tiny policy on made-up completions
of several lengths; calls are counted with the bytes that this rank puts into them, in generation batches (advantages,
prepared numbers) and in optimiser steps apart. How the bytes of a generation batch grow with a rank's completions and
tokens are whole numbers of bytes for each, but for draws among candidates.

Under TRL every call of torch.distributed from Python is counted, and what is written is the excess of
`EntropyGRPOTrainer` over `GRPOTrainer`; DDP's own sums of gradients are made in C++ and not counted. Under verl the
calls of entrokit's own worker are counted, all of which come on top of verl's.
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
# Under verl also how many optimiser steps it makes of them.
VERL_SHAPES = ((6, 7, 2), (12, 7, 4), (12, 20, 4))
CALLS = ("all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", "reduce_scatter_tensor", "gather")
OBJECTS = ("all_gather_object", "broadcast_object_list", "gather_object")


class Wire:
    """Counts calls by phase; ``bytes`` are those of tensors that this process puts in."""

    def __init__(self):
        self.phase, self.calls, self.bytes, self.objects = "step", Counter(), Counter(), Counter()

    def listen(self, module, names=(*CALLS, *OBJECTS)):
        """To a module's functions, where others look them up by name."""
        for name in names:
            call = getattr(module, name)
            setattr(module, name, self._object(call) if name in OBJECTS else self._counted(call, name))

    def seen(self, phase):
        return {"calls": self.calls[phase], "bytes": self.bytes[phase], "objects": self.objects[phase]}

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
            before, wire.phase = wire.seen("generation"), "generation"
            try:
                return super()._generate_and_score_completions(inputs)
            finally:
                wire.phase = "step"
                batches.append(less(wire.seen("generation"), before))

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
    before = wire.seen("step")
    t.train()
    sizes = [{"rows": rows, "tokens": tokens} for rows, tokens in seen]
    return {
        "batches": [batch | size for batch, size in zip(batches, sizes, strict=True)],
        "step": per_step(less(wire.seen("step"), before), STEPS),
    }


def trl_worker(checkpoint, folder):
    import torch

    wire = Wire()
    wire.listen(torch.distributed)
    return {str(spec): [train(checkpoint, folder, spec, *shape, wire) for shape in SHAPES] for spec in (None, *SPECS)}


def update(v, worker, wire, seed, rows, length, steps):
    """Of one generation batch under verl; ``v``: the module of the tests that makes workers and batches."""
    import torch

    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    columns = v.completions(seed, world * rows, length)
    own = torch.arange(rank, world * rows, world)
    most = max(int(columns["response_mask"][r::world].sum()) for r in range(world))
    mine = v.rows_of(columns, own) | {"uid": [columns["uid"][i] for i in own]}
    # Where all are alike no token covaries with its advantage, and a draw has no candidates.
    old = (-0.1 - torch.rand(world * rows, length, generator=torch.Generator().manual_seed(seed)))[own]
    old = old * mine["response_mask"]
    before = wire.seen("generation"), wire.seen("step")
    mini_batch = world * rows // steps
    worker.update_actor(v.update_batch(mine, torch.zeros(rows, length), old, mini_batch=mini_batch))
    batch, step = (less(wire.seen(name), b) for name, b in zip(("generation", "step"), before, strict=True))
    return batch | {"rows": rows, "tokens": most}, per_step(step, steps)


def verl_worker(checkpoint, folder):
    """The recipes that verl carries, as its own worker of an actor trains them."""
    import torch
    from tests.parity import verl_actor as v
    from tests.parity.specs import carried

    from entrokit.engines.verl import RecipeWorker, collectives

    torch.distributed.init_process_group("gloo")
    wire, train_batch = Wire(), RecipeWorker.train_batch
    wire.phase = "generation"
    wire.listen(collectives, ("all_reduce", "all_gather"))

    def one_step(self, data):
        wire.phase = "step"
        try:
            return train_batch(self, data)
        finally:
            wire.phase = "generation"

    RecipeWorker.train_batch = one_step
    found = {}
    for spec in filter(carried, SPECS):
        worker = v.actor(checkpoint, *v.of_recipe(spec), "actor_rollout_ref.actor.optim.total_training_steps=9")
        runs = [[update(v, worker, wire, seed, *shape) for seed in range(4)] for shape in VERL_SHAPES]
        found[spec] = [{"batches": [batch for batch, _ in run], "step": run[-1][1]} for run in runs]
    return found


WORKERS = {"trl": trl_worker, "verl": verl_worker}


def less(a, b):
    return {name: a[name] - b[name] for name in a}


def per_step(counts, steps):
    return {name: count / steps for name, count in counts.items()}


def fitted(own, others=None):
    """Calls and bytes beyond those of others: of a batch, bytes as a + b · completions + c · tokens; of a step.

    ``tokens`` are those of the rank that has most of them: shorter ones are padded before they are gathered.
    """
    import numpy as np

    nothing = dict.fromkeys(("calls", "bytes", "objects"), 0)
    others = others or [{"batches": [nothing] * len(run["batches"]), "step": nothing} for run in own]
    pairs = list(zip(own, others, strict=True))
    sizes = [(batch["rows"], batch["tokens"]) for run in own for batch in run["batches"]]
    extra = [
        less({name: a[name] for name in nothing}, b)
        for mine, theirs in pairs
        for a, b in zip(mine["batches"], theirs["batches"], strict=True)
    ]
    inputs = np.array([[1, *size] for size in sizes], float)
    wanted = np.array([e["bytes"] for e in extra], float)
    solved, *_ = np.linalg.lstsq(inputs, wanted, rcond=None)
    # No -0.0 among them.
    named = zip(("batch", "completion", "token"), (solved.round(2) + 0.0).tolist(), strict=True)
    steps = [less(mine["step"], theirs["step"]) for mine, theirs in pairs]
    return {
        "calls": max(e["calls"] for e in extra),
        "objects": max(e["objects"] for e in extra),
        "bytes": dict(named),
        "unexplained": round(float(np.abs(inputs @ solved - wanted).max()), 2),
        **{f"step_{name}": max(step[name] for step in steps) for name in nothing},
    }


def policy(engine, folder):
    if engine == "trl":
        from tests.engines.conftest import tiny_policy

        return tiny_policy(folder)
    from tests.parity.verl_actor import tiny_model

    tiny_model(folder)
    return str(folder)


def main(engine):
    from tests.processes import TORCHRUN, run

    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), Path(name) / "out.json"
        checkpoint = policy(engine, folder / "policy")
        found = run([*TORCHRUN, __file__, "--worker", engine, checkpoint, str(folder / "run"), str(out)], out)
    others = found.pop("None", None)
    table = json.loads(OUT.read_text()) if OUT.exists() else {}
    table[engine] = {spec: fitted(own, others) for spec, own in found.items()}
    OUT.write_text(json.dumps({name: table[name] for name in WORKERS if name in table}, indent=1) + "\n")
    print(f"{OUT.name}: {len(found)} recipes under {engine}")


def worker(engine, checkpoint, folder, out):
    import torch

    torch.set_num_threads(1)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    found = WORKERS[engine](checkpoint, folder)
    if int(os.environ["RANK"]) == 0:
        Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    elif sys.argv[1:] in ([name] for name in WORKERS):
        main(sys.argv[1])
    else:
        sys.exit(__doc__)
