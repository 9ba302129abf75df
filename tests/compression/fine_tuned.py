"""A small model, what it was before it was fine-tuned, and text for it."""

import copy

import torch

from entrokit.papers.compression._character_lm import CharacterLM


def pair(seed=0, *, heads=2, kv_heads=None, bias=False, dtype=torch.float32):
    """Base and tuned model, of 16 channels in two blocks; a third of the weights were not touched."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        base = CharacterLM(width=16, heads=heads, kv_heads=kv_heads, context=12, bias=bias).to(dtype)
    tuned = copy.deepcopy(base)
    with torch.no_grad():
        for p in tuned.parameters():
            moved = 1e-3 * torch.randn(p.shape, generator=generator) * (torch.rand(p.shape, generator=generator) > 0.33)
            p += moved.to(dtype)
    return base, tuned


def text(batch=2, length=10, seed=0):
    return torch.randint(128, (batch, length), generator=torch.Generator().manual_seed(seed))


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, before):
    """Whether every tensor is, bit for bit, what it was."""
    now = model.state_dict()
    return now.keys() == before.keys() and all(torch.equal(now[name], before[name]) for name in before)
