"""An update of verl's actor, once more with plain PyTorch: no worker, no engine, the model's own logits."""

import copy
from dataclasses import replace

import pytest
import torch

from entrokit.rlvr import Context, Rollouts, StepMeans, Totals, recipe

from . import verl_actor as v
from .verl_actor import LEARNING_RATE, MINI, actor, of_recipe, old_log_probs, statistics


def rollouts_by_hand(model, columns, chosen, old, reference):
    mask = columns["response_mask"].bool()
    with torch.no_grad():
        behaviour = replace(statistics(model, columns, chosen.needs | {"entropy"}).masked(mask), logp=old)
        whole = model(
            input_ids=columns["input_ids"],
            attention_mask=columns["attention_mask"],
            position_ids=columns["position_ids"],
        ).logits.log_softmax(-1)
    logp = whole[:, : v.PROMPT - 1].gather(-1, columns["prompts"][:, 1:, None])[..., 0]
    real = columns["attention_mask"][:, : v.PROMPT].bool()
    predicted = real[:, 1:] & real[:, :-1]
    reward = columns["token_level_scores"].sum(1)
    there = columns["attention_mask"][:, v.PROMPT :].bool()
    last = columns["responses"].gather(1, there.sum(1, keepdim=True) - 1)[:, 0]
    return Rollouts(
        tokens=columns["responses"],
        real=there,
        trained=mask,
        group=torch.arange(v.ROWS) // v.GROUP,
        reward=torch.where(mask.any(1), reward, torch.nan),
        behaviour=behaviour,
        correct=(reward > 0.5) & mask.any(1),
        truncated=last != v.EOS,
        reference_logp=reference,
        prompt_logp=torch.where(predicted, logp, 0.0),
        prompt_mask=predicted,
    )


def trained_by_hand(model, columns, chosen, old, epochs, reference=None, given=None):
    """Plain PyTorch: statistics of all rows, a recipe, one SGD step for each mini-batch."""
    model = copy.deepcopy(model)
    rollouts = rollouts_by_hand(model, columns, chosen, old, reference)
    generator = torch.Generator().manual_seed(42 * 1_000_003)
    context = Context(generator=generator)
    advantages = chosen.advantages(rollouts, context) if given is None else given
    prepared = chosen.prepare(rollouts, advantages, context)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(epochs):
        for start in range(0, v.ROWS, MINI):
            rows = slice(start, start + MINI)
            part = Rollouts.from_columns(v.rows_of(rollouts.columns(), rows))
            own = chosen.prepare_step(part, advantages[rows], v.rows_of(prepared, rows), Context())
            current = statistics(model, v.rows_of(columns, rows), chosen.needs | {"entropy"})
            totals = Totals(tokens=part.trained.sum(), rows=MINI, length=v.LENGTH)
            result = chosen.loss(current, part, advantages[rows], own, totals)
            loss, seen = result.loss, StepMeans()
            seen.add(result, current, part)
            chosen.observe(seen.take(), context)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    chosen.remember(chosen.rewarded(rollouts, context), advantages, context)
    return losses, dict(model.named_parameters())


def numbers(x):
    """All numbers of a state, in order."""
    if isinstance(x, dict):
        return [n for value in x.values() for n in numbers(value)]
    if isinstance(x, (list, tuple)):
        return [n for value in x for n in numbers(value)]
    return [] if x is None else [float(x)]


def truncated(columns):
    """Of the first micro-batch nothing is trained on, as of completions that were cut off and masked."""
    mask = columns["response_mask"].clone()
    mask[:3] = 0
    return columns | {"response_mask": mask}


def deviation(spec, folder, model, layout, epochs=2, cut=lambda columns: columns):
    """Largest differences of losses and weights from the recipe by hand, and how far the weights moved at all; its
    state, once controllers have observed and memories remembered, is that of the recipe by hand too.
    """
    columns, chosen = cut(v.completions()), recipe(spec)
    old = old_log_probs(model, columns)
    reference = old_log_probs(model, columns, noise=0.3) if "-kl(" in spec else None
    worker = actor(folder, *of_recipe(spec))
    chosen.bind(lambda text: worker.actor.model_config.tokenizer.encode(text, add_special_tokens=False))
    before = v.parameters(worker)
    data = v.update_batch(
        columns,
        torch.full((v.ROWS, v.LENGTH), 7.0),  # the recipe's own advantages count
        old,
        mini_batch=MINI,
        epochs=epochs,
        **({} if reference is None else {"ref_log_prob": reference}),
    )
    output = worker.update_actor(v.as_new_trainer(data) if layout == "new" else data)
    losses, weights = trained_by_hand(model, columns, chosen, old, epochs, reference)
    assert numbers(worker.actor._recipe.state_dict()) == pytest.approx(numbers(chosen.state_dict()), rel=1e-4, abs=1e-6)
    after = v.parameters(worker)
    return (
        max(abs(a - b) for a, b in zip(output["metrics"]["loss"], losses, strict=True)),
        max(float((after[n] - w).abs().max()) for n, w in weights.items()),
        max(float((after[n] - before[n]).abs().max()) for n in after),
    )
