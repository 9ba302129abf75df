"""What `RecipeWorker` saw in a run, one file a rank and generation batch: its rows, weights before and after, losses.

A test applies the recipe to them by hand. Nothing of the training changes: weights are read, tensors copied.
"""

import os
from functools import wraps
from pathlib import Path

import torch
from verl.utils import tensordict_utils as tu

from entrokit.engines.verl.plugin import _when_imported

COLUMNS = (
    "prompts",
    "responses",
    "response_mask",
    "old_log_probs",
    "rollout_log_probs",
    "rm_scores",
    "advantages",
    "ref_log_prob",
    "rollout_is_weights",
)
CONSTANTS = ("mini_batch_size", "epochs", "seed", "temperature")
ROW = "entrokit_tests/row"
# Of the generation batch that is being trained on: the rows of every optimiser step, and log π of their tokens.
_STEPS = []


def record_into(folder):
    """From when the worker's module is imported, in this process."""
    _when_imported("entrokit.engines.verl.worker", lambda module: _watch(module, Path(folder)))
    _when_imported("entrokit.engines.verl.losses", _watch_losses)


def _watch(module, folder):
    worker_class = module.RecipeWorker
    train, step, load = worker_class.train_mini_batch, worker_class.train_batch, worker_class.load_checkpoint

    @wraps(train)
    def train_mini_batch(self, data):
        seen = {"pid": os.getpid(), "rank": self.rank, "before": _weights(self), "state": _state(self)}
        seen |= {"rows": _rows(data), "uid": list(data["uid"]), "step": self._steps}
        seen |= {name: tu.get_non_tensor_data(data, name, None) for name in CONSTANTS}
        data[ROW] = torch.arange(len(data))
        _STEPS.clear()
        output = train(self, data)
        seen |= {"after": _weights(self), "state_after": _state(self), "steps": list(_STEPS)}
        _write(folder, f"batch{_next(folder, self.rank)}-rank{self.rank}.pt", seen)
        return output

    @wraps(step)
    def train_batch(self, data):
        _STEPS.append({"rows": data[ROW].tolist(), "log_probs": {}})
        return step(self, data)

    @wraps(load)
    def load_checkpoint(self, *args, **kwargs):
        done = load(self, *args, **kwargs)
        _write(folder, f"loaded-rank{self.rank}.pt", {"weights": _weights(self), "state": _state(self)})
        return done

    worker_class.train_mini_batch, worker_class.train_batch = train_mini_batch, train_batch
    worker_class.load_checkpoint = load_checkpoint


def _watch_losses(module):
    """What verl's `ppo_loss` hands to ours, which is replaced before it is put into verl's registry."""
    loss = module.recipe_policy_loss

    @wraps(loss)
    def recipe_policy_loss(old_log_prob, log_prob, *args, **kwargs):
        rows = module._IN_FORCE.get().data[ROW].tolist()
        _STEPS[-1]["log_probs"] |= dict(zip(rows, log_prob.detach().clone(), strict=True))
        return loss(old_log_prob, log_prob, *args, **kwargs)

    module.recipe_policy_loss = recipe_policy_loss


def _weights(worker):
    named = worker.engine.module.named_parameters()
    return {n: (p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone() for n, p in named}


def _state(worker):
    return None if worker._recipe is None else worker._recipe.state_dict()


def _rows(data):
    return {n: [row.clone() for row in data[n].unbind()] for n in COLUMNS if n in data}


def _next(folder, rank):
    return 1 + len(list(folder.glob(f"batch*-rank{rank}.pt")))


def _write(folder, name, value):
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial"
    torch.save(value, partial)
    partial.replace(folder / name)
