"""What verl's workers trained on, once more in plain PyTorch: the model's own logits, one process, no engine.

It starts from the weights and the recipe's state that a worker had before a generation batch, and takes its tokens,
rewards and old log-probabilities. Entropies, advantages, numbers of the batch, losses and gradients are its own.
"""

from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM

from entrokit.distributions import token_statistics
from entrokit.rlvr import Base, Context, PolicyStats, Rollouts, StepMeans, Totals, recipe
from entrokit.rlvr.advantages import GivenAdvantages
from entrokit.rlvr.surrogates import PPOClip

from .verl_run import LEARNING_RATE, LENGTH

MAX_GRAD_NORM = 1.0
# float32 of another order of sums, over one generation batch; measured 1e-7 for weights, 5e-7 for losses.
TIGHT = 1e-5


@dataclass
class Trained:
    """Losses and means over tokens of every optimiser step, and where it ended; ``drift``: how far the recorded
    log-probabilities lie from those of plain PyTorch.
    """

    losses: list
    means: list
    weights: dict
    state: dict
    drift: float


def trained(batch, chosen, made, total_steps):
    """The updates of one generation batch.

    Args:
        batch: one record a rank. chosen: the recipe. made: where the policy lies. total_steps: of the run's optimiser.
    """
    model = _model(made, batch[0]["before"])
    if batch[0]["state"] is not None:
        chosen.load_state_dict(batch[0]["state"])
    seen = columns(batch)
    step = batch[0]["step"]
    context = Context(step, total_steps, torch.Generator().manual_seed(batch[0]["seed"] * 1_000_003 + step))
    with torch.no_grad():
        own = statistics(model, seen, slice(None), chosen.needs | {"entropy"})
    rollouts = Rollouts(
        tokens=seen["responses"],
        real=seen["mask"],
        trained=seen["trained"],
        group=seen["group"],
        # Rows that verl adds to fill up a batch have nothing to train on, and count in no baseline.
        reward=torch.where(seen["trained"].any(1), seen["reward"], torch.nan),
        behaviour=PolicyStats(logp=seen["old"], entropy=own.entropy).masked(seen["mask"]),
        correct=(seen["reward"] > 0.5) & seen["trained"].any(1),
        truncated=seen["last"] != model.config.eos_token_id,
        reference_logp=seen.get("reference"),
        sampler_weight=seen.get("weight"),
    )
    drift = float(torch.where(seen["trained"], own.logp - seen["old"], 0.0).abs().max())
    rewarded = chosen.rewarded(rollouts, context)
    advantages = chosen.estimate(rewarded, context)
    prepared = chosen.prepare(rollouts, advantages, context)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses, means = [], []
    for at, (rows, recorded) in enumerate(mini_batches(batch)):
        context = Context(step + at, total_steps)
        current = statistics(model, seen, rows, chosen.needs | {"entropy"})
        # Where log π is log π_old up to rounding, rounding decides the sign of log π/π_old, and KL-Cov takes its
        # absolute value: the value is the worker's, the gradient that of plain PyTorch.
        part = Rollouts.from_columns({n: _of(x, rows) for n, x in rollouts.columns().items()})
        if recorded is not None:
            worker = torch.where(part.trained, recorded - current.logp.detach(), 0.0)
            drift = max(drift, float(worker.abs().max()))
            current = PolicyStats(logp=current.logp + worker, entropy=current.entropy)
        of_rows = {n: _of(x, rows) for n, x in prepared.items()}
        totals = Totals(tokens=part.trained.sum(), rows=len(rows), length=LENGTH)
        result = chosen.loss(current, part, advantages[rows], of_rows, totals)
        optimizer.zero_grad()
        result.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        losses.append(result.loss.item())
        step_means = StepMeans()
        step_means.add(result, current, part)
        means.append(step_means.take())
        chosen.observe(means[-1], context)
    chosen.remember(rewarded, advantages, context)
    return Trained(losses, means, dict(model.named_parameters()), chosen.state_dict(), drift)


def upon_verls(spec, batch):
    """A recipe's interventions upon verl's clip, aggregation and advantages, all at verl's defaults."""
    chosen = recipe(spec)
    base = Base(GivenAdvantages(columns(batch)["advantages"]), PPOClip(0.2, 0.2, 3.0), "token-mean")
    return replace(chosen, base=base)


def columns(batch):
    """Rows of all ranks, padded: prompts to the left, completions to the right."""
    rows = {name: [row for rank in batch for row in rank["rows"][name]] for name in batch[0]["rows"]}
    uids = [uid for rank in batch for uid in rank["uid"]]
    lengths = torch.tensor([len(r) for r in rows["responses"]])
    before = max(len(p) for p in rows["prompts"])
    responses = pad_sequence(rows["responses"], batch_first=True)
    prompts = torch.stack([pad(p, (before - len(p), 0)) for p in rows["prompts"]])
    prompted = torch.arange(before) >= before - torch.tensor([len(p) for p in rows["prompts"]])[:, None]
    mask = torch.arange(responses.shape[1]) < lengths[:, None]
    attention = torch.cat([prompted, mask], 1)
    optional = {"reference": "ref_log_prob", "weight": "rollout_is_weights"}
    found = {name: pad_sequence(rows[n], batch_first=True).float() for name, n in optional.items() if n in rows}
    return found | {
        "ids": torch.cat([prompts, responses], 1),
        "attention": attention,
        "positions": (attention.cumsum(1) - 1).clamp(min=0),
        "prompt": before,
        "responses": responses,
        "mask": mask,
        "trained": pad_sequence(rows["response_mask"], batch_first=True).bool() & mask,
        "last": responses.gather(1, lengths[:, None] - 1)[:, 0],
        "old": pad_sequence(rows["old_log_probs"], batch_first=True).float(),
        "advantages": pad_sequence(rows["advantages"], batch_first=True).float(),
        "reward": torch.stack([r.float().sum() for r in rows["rm_scores"]]),
        "group": torch.tensor([sorted(set(uids)).index(uid) for uid in uids]),
    }


def mini_batches(batch):
    """Of every optimiser step: its rows among those of all ranks, and log π of their tokens as the workers had it."""
    first = [0, *accumulate(len(rank["uid"]) for rank in batch)]
    width = max(len(r) for rank in batch for r in rank["rows"]["responses"])
    for parts in zip(*(rank["steps"] for rank in batch), strict=True):
        rows = [first[r] + row for r, part in enumerate(parts) for row in part["rows"]]
        log_probs = [part["log_probs"][row] for part in parts if part["log_probs"] for row in part["rows"]]
        # A loss of verl's own was not watched.
        yield rows, torch.stack([pad(x, (0, width - len(x))) for x in log_probs]) if log_probs else None


def statistics(model, seen, rows, need):
    logits = model(
        input_ids=seen["ids"][rows],
        attention_mask=seen["attention"][rows].long(),
        position_ids=seen["positions"][rows],
        use_cache=False,
    ).logits[:, seen["prompt"] - 1 : -1]
    mask = seen["mask"][rows]
    return PolicyStats.of(token_statistics(logits, seen["responses"][rows], mask=mask, need=need))


def _model(made, weights):
    model = AutoModelForCausalLM.from_pretrained(made / "policy", dtype=torch.float32, attn_implementation="eager")
    # verl's names are those of the same class; a tied head appears once.
    left = model.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys
    assert set(left.missing_keys) <= {"lm_head.weight"}
    return model.eval()


def _of(x, rows):
    return x[rows] if torch.is_tensor(x) and x.dim() else x


def apart(a, b):
    """The largest difference of two sets of weights."""
    return max(float((a[name] - value).abs().max()) for name, value in b.items())


def applied(batches, chosen_for, made, total_steps):
    """Each batch by itself, from where its workers began."""
    return [trained(batch, chosen_for(batch), made, total_steps) for batch in batches]


def agree(logged, first, batches, hands, moved=1e-4):
    """Asserts that weights, and losses logged from step ``first`` on, are those by hand, and that vLLM was in step.

    Returns the largest difference of any loss or weight.
    """
    differences = []
    for step, (batch, hand) in enumerate(zip(batches, hands, strict=True), first):
        for rank in batch:
            differences.append(apart(rank["after"], hand.weights))
            assert all(torch.equal(w, batch[0]["after"][n]) for n, w in rank["after"].items())
        differences.append(abs(logged[step]["actor/loss"] - sum(hand.losses) / len(hand.losses)))
        assert hand.drift < TIGHT
        assert logged[step]["training/rollout_probs_diff_max"] < TIGHT
    assert max(differences) < TIGHT
    assert apart(batches[-1][0]["after"], batches[0][0]["before"]) > moved
    return max(differences)


def means_over_steps(hand):
    """What verl logs of a generation batch: the mean of its optimiser steps."""
    return {name: sum(m[name] for m in hand.means) / len(hand.means) for name in hand.means[0]}
