"""Controllers are fed the same numbers however an optimiser step is cut, and whatever part of it is not trained on."""

import pytest
import torch
from transformers import AutoTokenizer

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr import StepMeans, recipe

from .conftest import length_reward

ROWS = 16
CONTROLLERS = [
    "grpo+siren(coef=0.5)",
    "grpo+siren(coef=0.5, scope='micro')",
    "grpo+recap(temperature=0.5)",
    "grpo+adaptive-temperature",
    "grpo+epo(coef=0.1)",
    "dapo+epo-official(coef=0.1)",
    "grpo+aepo-reward(window=2, quantile=0.5)+aepo-kl(window=2, quantile=0.5, beta=0.1)",
    "dr_grpo+tool-reward",
    "dr_grpo+self-imitation(size=8, tools_only=False)",
]


def unlike_reward(completions, **columns):
    """A second reward function, which applies to some completions alone."""
    return [None if len(c) % 3 == 0 else float(len(c) % 2) for c in completions]


def trained(checkpoint, config, task, spec, micro_batches):
    """One optimiser step over 16 completions, of which those that were cut off are not trained on."""
    seen = []
    options = {
        "per_device_train_batch_size": ROWS // micro_batches,
        "gradient_accumulation_steps": micro_batches,
        "mask_truncated_completions": True,
        "max_completion_length": 12,
        "max_steps": 2,
        "learning_rate": 0.0,
    }
    t = EntropyGRPOTrainer(
        checkpoint,
        reward_funcs=[length_reward, unlike_reward],
        args=config(**options),
        train_dataset=task.train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        recipe=spec,
        correct="unlike_reward",
        on_generation=seen.append,
    )
    t.train()
    return t, seen


def numbers(x):
    """All numbers of a state, in order."""
    if isinstance(x, dict):
        return [n for v in x.values() for n in numbers(v)]
    if isinstance(x, (list, tuple)):
        return [n for v in x for n in numbers(v)]
    if isinstance(x, torch.Tensor):
        return x.flatten().tolist()
    return [] if x is None else [float(x)]


@pytest.mark.parametrize("spec", CONTROLLERS)
def test_a_state_does_not_depend_on_how_a_step_was_cut(checkpoint, config, task, spec):
    whole, seen = trained(checkpoint, config, task, spec, 1)
    expected = numbers(whole.recipe.state_dict())
    assert any(expected)
    empty = [~batch.rollouts.trained.any(1) for batch in seen]
    assert all(0 < int(e.sum()) < ROWS for e in empty), "some completions were cut off, and some were not"
    for micro_batches in (2, 4, ROWS):
        if "micro" in spec:
            continue  # parity with code that depends on the cut
        cut, _ = trained(checkpoint, config, task, spec, micro_batches)
        # Sums of at most 200 float32 numbers of the size of 1, in another order.
        assert numbers(cut.recipe.state_dict()) == pytest.approx(expected, rel=1e-4, abs=1e-5), micro_batches
        ours, theirs = ([r for r in t.state.log_history if "entropy" in r] for t in (cut, whole))
        for a, b in zip(ours, theirs, strict=True):
            names = {n for n in b if "/" in n or n in ("entropy", "kl")} - {"step_time"}
            for name in sorted(n for n in names if not n.startswith(("completions/", "rewards/", "replay/"))):
                assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-5), (micro_batches, name)


@pytest.mark.parametrize("spec", CONTROLLERS)
def test_it_is_the_state_of_the_recipe_by_hand(checkpoint, config, task, spec):
    """Nothing is learnt (the rate is 0), so the statistics of the policy that sampled are the current ones."""
    t, seen = trained(checkpoint, config, task, spec, ROWS if "micro" not in spec else 1)
    by_hand = recipe(spec)
    for step, batch in enumerate(seen):
        context = t._context()
        context = type(context)(step=step, total_steps=2, generator=torch.Generator().manual_seed(0))
        rewarded = by_hand.rewarded(batch.rollouts, context)
        prepared = by_hand.prepare(batch.rollouts, batch.advantages, context)
        means, current = StepMeans(), batch.rollouts.behaviour
        result = by_hand.loss(current, batch.rollouts, batch.advantages, prepared)
        means.add(result, current, batch.rollouts)
        by_hand.observe(means.take(), context)
        columns = rewarded.columns() | {"prompt": torch.zeros(ROWS, 1, dtype=torch.long)}
        by_hand.remember(type(rewarded).from_columns(columns), batch.advantages, context)
    ours, theirs = (numbers(r.state_dict()) for r in (t.recipe, by_hand))
    if "self-imitation" in spec:
        ours, theirs = (numbers([b[0] for b in r.interventions[0].baseline]) for r in (t.recipe, by_hand))
    assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)


def test_a_step_of_which_nothing_is_trained_on_is_not_observed(checkpoint, config, task):
    """Every completion counts as cut off, so all are masked."""
    t = EntropyGRPOTrainer(
        checkpoint,
        reward_funcs=length_reward,
        args=config(mask_truncated_completions=True, max_completion_length=1, max_steps=1),
        train_dataset=task.train.select(range(2)),
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        recipe="grpo+siren(coef=0.5)+epo(coef=0.1)",
    )
    t.eos_token_ids = [10**6]
    t.train()
    siren, epo = t.recipe.interventions
    assert siren.found is None
    assert epo.seen == (0.0, 0)
    assert not any("siren/mean" in row for row in t.state.log_history)


def test_draws_differ_from_step_to_step(checkpoint, config, task):
    t = EntropyGRPOTrainer(checkpoint, reward_funcs=length_reward, args=config(), train_dataset=task.train)
    drawn = []
    for step in range(3):
        t._step = step
        drawn.append(tuple(torch.rand(4, generator=t._context().generator).tolist()))
    assert len(set(drawn)) == 3
