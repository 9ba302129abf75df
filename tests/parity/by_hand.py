"""An update of verl's actor, once more with plain PyTorch: no worker, no engine, the model's own logits."""

import copy
from dataclasses import replace

import torch

from entrokit.rlvr import Context, Rollouts, Totals, recipe

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
    last = columns["responses"].gather(1, mask.sum(1, keepdim=True) - 1)[:, 0]
    return Rollouts(
        tokens=columns["responses"],
        attention=mask,
        train=mask,
        group=torch.arange(v.ROWS) // v.GROUP,
        reward=reward,
        behaviour=behaviour,
        correct=reward > 0.5,
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
            totals = Totals(tokens=part.train.sum(), rows=MINI, length=v.LENGTH)
            loss = chosen.loss(current, part, advantages[rows], own, totals).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, dict(model.named_parameters())


def deviation(spec, folder, model, layout, epochs=2):
    """Largest differences of losses and weights from the recipe by hand, and how far the weights moved at all."""
    columns, chosen = v.completions(), recipe(spec)
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
    after = v.parameters(worker)
    return (
        max(abs(a - b) for a, b in zip(output["metrics"]["loss"], losses, strict=True)),
        max(float((after[n] - w).abs().max()) for n, w in weights.items()),
        max(float((after[n] - before[n]).abs().max()) for n in after),
    )
