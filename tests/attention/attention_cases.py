"""The sheet's attention rows, a plain reference in float64, and small models of transformers."""

import math

import torch

ROWS = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0.2, 0.3, 0.5, 0], [0.25] * 4]
MAPS = [
    [ROWS, [[1, 0, 0, 0], [0.9, 0.1, 0, 0], [0.1, 0.8, 0.1, 0], [0.7, 0.1, 0.1, 0.1]]],
    [
        [[1, 0, 0, 0], [0.6, 0.4, 0, 0], [0.4, 0.3, 0.3, 0], [0.1, 0.2, 0.3, 0.4]],
        [[1, 0, 0, 0], [0.99, 0.01, 0, 0], [0.98, 0.01, 0.01, 0], [0.97, 0.01, 0.01, 0.01]],
    ],
]


def maps():
    """Check 2: two layers, ``[1, 2, 4, 4]`` each, float64."""
    return [torch.tensor([layer], dtype=torch.float64) for layer in MAPS]


def drawn(*shape, seed=0, scale=1.0, dtype=torch.float64):
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def plain(query, key, mask=None, causal=False, scaling=None, softcap=None):
    """Entropies in the way that holds every weight, in float64 of whatever is given."""
    query, key = query.double(), key.double()
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    if mask is not None:
        logits = logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask.double()
    if causal:
        logits = logits.masked_fill(torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1), -math.inf)
    weights = logits.softmax(-1)
    return torch.special.entr(torch.where((logits == -math.inf).all(-1, keepdim=True), 0.0, weights)).sum(-1)


def llama(attention="sdpa", layers=2, **options):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, attn_implementation=attention, initializer_range=0.4,
        **options,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def gpt2(attention="sdpa", **options):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=23, n_embd=16, n_layer=2, n_head=4, n_positions=32, attn_implementation=attention,
        initializer_range=0.4, **options,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def tokens(batch=2, length=7, seed=0):
    return torch.randint(23, (batch, length), generator=torch.Generator().manual_seed(seed))


def state(model):
    """What a hook could leave behind: attributes, hooks and modules of every module, by name."""
    kept = ("_forward_pre_hooks", "_forward_hooks", "_forward_hooks_always_called", "_backward_hooks", "_modules")
    return {
        name: ({k: len(v) if isinstance(v, dict) else id(v) for k, v in vars(module).items()},
               {k: dict(getattr(module, k)) for k in kept})
        for name, module in model.named_modules()
    }  # fmt: skip
