"""A random batch, and one optimiser step on it under a recipe; the recipes that every invariance is tested on."""

import copy

import torch

from entrokit.rlvr import Context, PolicyStats, Rollouts, StepMeans, Totals, recipe
from entrokit.rlvr.cards import examples

# Every method at its own examples, and some that meet in one recipe.
EVERY = [
    *examples(),
    "dapo+aepo-reward(window=2, quantile=0.5)+aepo-kl(window=2, quantile=0.5)",
    "dispo(pos_high=0.1, neg_low=0.1)+steer(min_weight=0.3)",
    "dapo+adaptive-clip(legacy_sign=True)+redistribute-advantage(pivot=0.5)+token-group-average+adaptive-temperature",
    "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.4)+clip-b(mu=0.2)",
    "dapo+steer(min_weight=0.3)+forking-tokens(rho=0.5)+reference-kl(beta=0.1, estimator='k2')",
]


def batch(rows=8, length=6, seed=0):
    g = torch.Generator().manual_seed(seed)

    other = torch.Generator().manual_seed(seed + 100)

    def rand(source=g):
        return torch.rand(rows, length, generator=source, dtype=torch.float64)

    lengths = torch.randint(1, length + 1, (rows,), generator=g)
    attention = torch.arange(length) < lengths[:, None]
    stats = PolicyStats(
        logp=-2 * rand() - 0.05,
        entropy=2 * rand(),
        collision=rand(),
        weighted_surprise=-rand() / 3,
        varentropy=rand(),
        nucleus_entropy=rand(other),
    )
    return Rollouts(
        tokens=torch.randint(4, (rows, length), generator=other),
        real=attention,
        trained=attention & (rand() < 0.9),
        group=torch.arange(rows) // 4,
        reward=torch.randn(rows, generator=g, dtype=torch.float64),
        behaviour=stats.masked(attention),
        rewards=torch.rand(rows, 2, generator=other, dtype=torch.float64),
        reference_logp=-rand(),
        correct=torch.rand(rows, generator=other) < 0.5,
        prompt_logp=-rand(other),
        prompt_mask=rand(other) < 0.8,
        prompt=torch.arange(rows)[:, None],
    )


def built(spec):
    """A recipe whose closing marker is token 3."""
    r = recipe(spec)
    r.bind(lambda text: [3])
    return r


def gradient_of(loss, current):
    """Gradient of a loss in every statistic, ``[S, B, T]``; zeros where the loss does not use one."""
    leaves = list(current.columns().values())
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return torch.stack([torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)])


def perturbed(b, seed=1):
    """Current statistics with ratios in [0.5, 2]."""
    g = torch.Generator().manual_seed(seed)
    shift = (torch.rand(b.tokens.shape, generator=g, dtype=torch.float64) * 2 - 1) * 0.69
    values = {k: v.clone() for k, v in b.behaviour.columns().items()}
    values["logp"] = (values["logp"] + shift).clamp(max=-1e-3)
    values["entropy"] = values["entropy"] * (1 + 0.1 * shift)
    values["nucleus_entropy"] = values["nucleus_entropy"] * (1 + 0.1 * shift)
    return values


def run(r, b, values, parts):
    """Loss and gradient in every statistic of one optimiser step, cut into ``parts`` micro-batches."""
    loss, gradient, _, _ = step(r, b, values, parts)
    return loss, gradient


def step(r, b, values, parts):
    """`run`, the numbers of the step, and the recipe's state once it has seen them and the batch: on a copy of it."""
    r = copy.deepcopy(r)
    leaves = {k: v.clone().requires_grad_() for k, v in values.items()}
    advantages = r.advantages(b)
    context = Context(generator=torch.Generator().manual_seed(5))
    prepared = r.prepare_step(b, advantages, r.prepare(b, advantages, context), context)
    totals = Totals(tokens=b.trained.sum(), rows=len(b), length=b.tokens.shape[1])
    total, seen = torch.zeros((), dtype=torch.float64), StepMeans()
    for rows in torch.arange(len(b)).chunk(parts):
        current = PolicyStats(**{k: v[rows] for k, v in leaves.items()})
        part = Rollouts.from_columns({k: v[rows] for k, v in b.columns().items()})
        own = {k: v[rows] if v.dim() and len(v) == len(b) else v for k, v in prepared.items()}
        result = r.loss(current, part, advantages[rows], own, totals)
        total = total + result.loss
        seen.add(result, current, part)
    metrics = seen.take()
    if metrics:
        r.observe(metrics, context)
    r.remember(r.rewarded(b, context), advantages, context)
    return total.detach(), gradient_of(total, PolicyStats(**leaves)), metrics, r.state_dict()
