"""What TRL trains on rollouts of vLLM, once more in plain PyTorch: the model's own logits, SGD, no trainer."""

from dataclasses import dataclass, field

import torch
from transformers import AutoModelForCausalLM

from entrokit.rlvr import Context, Rollouts, StepMeans, Totals, recipe

from ..engines.by_hand import padded, prompt_logp, statistics, stepped


@dataclass
class Seen:
    """What vLLM returned and what rewards followed, of every generation batch of a run."""

    prompts: list = field(default_factory=list)
    completions: list = field(default_factory=list)
    sampler_logp: list = field(default_factory=list)
    rewards: list = field(default_factory=list)

    def watch(self, trainer):
        generate, reward = trainer.vllm_generation.generate, trainer._calculate_rewards

        def generating(*args, **kwargs):
            out = generate(*args, **kwargs)
            if trainer.model.training:
                self.prompts.append(out[0])
                self.completions.append(out[1])
                self.sampler_logp.append([[token[0] for token in row] for row in out[2]])
            return out

        def rewarding(*args, **kwargs):
            table = reward(*args, **kwargs)
            if trainer.model.training:
                self.rewards.append(table.clone())
            return table

        trainer.vllm_generation.generate, trainer._calculate_rewards = generating, rewarding


def correction(mode, cap, logp, sampler, mask):
    """TRL's weights for the mismatch between sampler and trainer, ``[B, T]``, by its documentation."""
    if mode is None:
        return None
    log_ratio = torch.where(mask, logp - sampler, 0.0)
    if mode.startswith("sequence"):
        ratio = log_ratio.sum(1, keepdim=True).exp().expand_as(log_ratio)
    else:
        ratio = log_ratio.exp()
    return ratio.clamp(max=cap) if mode.endswith("truncate") else torch.where(ratio > cap, 0.0, ratio)


def trained(checkpoint, spec, seen, args, encode, mode=None, cap=3.0):
    """Losses of all steps and the weights at the end; one optimiser step a generation batch."""
    model, reference = (AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval() for _ in range(2))
    chosen = recipe(spec)
    chosen.bind(encode)
    need = chosen.needs | {"entropy"}
    optimizer = torch.optim.SGD(model.parameters(), lr=args.learning_rate)
    losses, group = [], args.num_generations
    for step, completions in enumerate(seen.completions):
        prompt, own = padded(seen.prompts[step], left=True), padded(completions, left=False)
        sampler = torch.zeros(own[1].shape)
        for row, logps in enumerate(seen.sampler_logp[step]):
            sampler[row, : len(logps)] = torch.tensor(logps)
        table = seen.rewards[step]
        with torch.no_grad():
            behaviour = statistics(model, prompt, own, need).masked(own[1])
            logp, predicted = prompt_logp(model, prompt)
            frozen = statistics(reference, prompt, own, frozenset({"logp"})).logp
        rollouts = Rollouts(
            tokens=own[0],
            real=own[1],
            trained=own[1],
            group=torch.arange(len(completions)) // group,
            reward=table.sum(1),
            behaviour=behaviour,
            rewards=table,
            truncated=torch.tensor([row[-1] != model.config.eos_token_id for row in completions]),
            reference_logp=torch.where(own[1], frozen, 0.0),
            prompt_logp=logp,
            prompt_mask=predicted,
            sampler_weight=correction(mode, cap, behaviour.logp, sampler, own[1]),
        )
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        context = Context(step=step, total_steps=args.max_steps, generator=generator)
        rewarded = chosen.rewarded(rollouts, context)
        advantages = chosen.estimate(rewarded, context)
        prepared = chosen.prepare(rollouts, advantages, context)
        current = statistics(model, prompt, own, need)
        totals = Totals(tokens=own[1].sum(), rows=len(completions), length=args.max_completion_length)
        result = chosen.loss(current, rollouts, advantages, prepared, totals)
        losses.append(stepped(model, optimizer, result))
        means = StepMeans()
        means.add(result, current, rollouts)
        chosen.observe(means.take(), context)
        chosen.remember(rewarded, advantages, context)
    return losses, dict(model.named_parameters())
