"""Where a recipe costs a forward more than verl makes (docs/scale.md), counted at the model itself."""

import pytest
import torch

pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl needs its own environment: make test-parity")

from . import verl_actor as v

STEER, ARM = "grpo+steer(min_weight=0.3)", "grpo+arm(low_frac=0.4)"


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize(
    ("spec", "entropies_there", "added"),
    [
        ("grpo", False, 0),
        ("grpo+kl-cov(ratio=0.2)", False, 0),
        ("grpo+entropy-bonus(coef=0.01)", False, 1),
        (STEER, False, 1),
        (STEER, True, 0),
        # Prompts' log-probabilities are in no batch of verl's, and come out of the same forward as the entropies.
        (ARM, False, 1),
        (ARM, True, 1),
    ],
)
def test_one_forward_a_generation_batch_where_the_batch_lacks_something(tmp_path, spec, entropies_there, added, epochs):
    model, columns = v.tiny_model(tmp_path), v.completions()
    with torch.no_grad():
        given = {"entropy": v.statistics(model, columns, frozenset({"entropy"})).entropy} if entropies_there else {}
    worker = v.actor(str(tmp_path), *v.of_recipe(spec))
    rows = {"without gradient": 0, "with gradient": 0}

    def count(module, args, kwargs):
        rows["with gradient" if torch.is_grad_enabled() else "without gradient"] += len(kwargs["input_ids"])

    worker.actor.engine.module.register_forward_pre_hook(count, with_kwargs=True)
    zeros, old = torch.zeros(v.ROWS, v.LENGTH), v.old_log_probs(model, columns)
    worker.update_actor(v.update_batch(columns, zeros, old, mini_batch=v.MINI, epochs=epochs, **given))
    assert rows == {"without gradient": added * v.ROWS, "with gradient": epochs * v.ROWS}
