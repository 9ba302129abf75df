"""What `two_processes.py` trains, once more with plain PyTorch: no trainer, no engine, the model's own logits."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from entrokit.distributions import token_statistics
from entrokit.rlvr import Context, PolicyStats, Rollouts, StepMeans, Totals, recipe

from .two_processes import GROUP, LENGTH, ROWS, SEED, STEPS, STEPS_PER_GENERATION, completion, in_steps, reward

MAX_GRAD_NORM = 1.0


def padded(rows, left):
    longest = max(len(r) for r in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), None) if left else slice(0, len(row))
        ids[i, place], mask[i, place] = torch.tensor(row), True
    return ids, mask


def log_softmax(model, prompt, completion):
    ids, mask = torch.cat([prompt[0], completion[0]], 1), torch.cat([prompt[1], completion[1]], 1)
    return model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits


def statistics(model, prompt, completion, need):
    logits = log_softmax(model, prompt, completion)[:, prompt[0].shape[1] - 1 : -1]
    return PolicyStats.of(token_statistics(logits, completion[0], mask=completion[1], need=need))


def prompt_logp(model, prompt):
    ids, mask = prompt
    logits = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits.log_softmax(-1)
    predicted = mask[:, 1:] & mask[:, :-1]
    return torch.where(predicted, logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0], 0.0), predicted


def rollouts_of(model, tokenizer, prompts, completions, need, reference):
    texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
    rewards = torch.tensor(reward(texts))
    prompt, own = padded([tokenizer.encode(p) for p in prompts], left=True), padded(completions, left=False)
    with torch.no_grad():
        behaviour = statistics(model, prompt, own, need).masked(own[1])
        logp, predicted = prompt_logp(model, prompt)
        frozen = statistics(reference, prompt, own, frozenset({"logp"})).logp
    rollouts = Rollouts(
        tokens=own[0],
        real=own[1],
        trained=own[1],
        group=torch.arange(ROWS) // GROUP,
        reward=rewards,
        behaviour=behaviour,
        rewards=rewards[:, None],
        correct=rewards > 0.5,
        truncated=torch.zeros(ROWS, dtype=torch.bool),
        reference_logp=torch.where(own[1], frozen, 0.0),
        prompt_logp=logp,
        prompt_mask=predicted,
    )
    return rollouts, prompt


def train_by_hand(checkpoint, spec, prompts, learning_rate):
    """Losses of every optimiser step and the weights at the end; ``prompts``: of every generation batch, one a row."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model, reference = (AutoModelForCausalLM.from_pretrained(checkpoint).eval() for _ in range(2))
    chosen = recipe(spec)
    chosen.bind(lambda text: tokenizer.encode(text, add_special_tokens=False))
    need = chosen.needs | {"entropy"}
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    losses = []
    for generation in range(STEPS // STEPS_PER_GENERATION):
        done = generation * STEPS_PER_GENERATION
        texts = [completion(done, row, tokenizer.eos_token_id) for row in range(ROWS)]
        rollouts, prompt = rollouts_of(model, tokenizer, prompts[generation], texts, need, reference)
        seeded = torch.Generator().manual_seed(SEED * 1_000_003 + done)
        context = Context(step=done, total_steps=STEPS, generator=seeded)
        rewarded = chosen.rewarded(rollouts, context)
        advantages = chosen.estimate(rewarded, context)
        prepared = chosen.prepare(rollouts, advantages, context)
        columns = {"advantages": advantages, "prompt": prompt[0], "real": prompt[1]}
        columns |= {f"rollouts/{n}": c for n, c in rollouts.columns().items()}
        columns = in_steps(columns | {f"prepared/{n}": p for n, p in prepared.items()})
        tokens = rollouts.trained.sum() / STEPS_PER_GENERATION
        for step in range(STEPS_PER_GENERATION):
            size = ROWS // STEPS_PER_GENERATION
            part = {n: c[step * size : (step + 1) * size] if c.dim() else c for n, c in columns.items()}
            own = Rollouts.from_columns(under("rollouts/", part))
            context = Context(step=done + step, total_steps=STEPS, generator=seeded)
            ready = chosen.prepare_step(own, part["advantages"], under("prepared/", part), context)
            current = statistics(model, (part["prompt"], part["real"]), (own.tokens, own.real), need)
            totals = Totals(tokens=tokens, rows=size, length=LENGTH)
            result = chosen.loss(current, own, part["advantages"], ready, totals)
            losses.append(stepped(model, optimizer, result))
            seen = StepMeans()
            seen.add(result, current, own)
            chosen.observe(seen.take(), context)
        chosen.remember(rewarded, advantages, context)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return {"losses": losses, "weights": weights}


def stepped(model, optimizer, result):
    """One step of the optimiser down a loss, with gradients clipped as TRL clips them; the loss before it."""
    optimizer.zero_grad()
    result.loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
    optimizer.step()
    return result.loss.item()


def under(prefix, columns):
    return {n.removeprefix(prefix): c for n, c in columns.items() if n.startswith(prefix)}
