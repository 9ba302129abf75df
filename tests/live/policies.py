"""Policies small enough for every engine, on disk as engines want them."""

import torch

from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model

from ..engines.options import PLAIN

# vLLM's attention on a CPU wants heads of 32 at the least.
SMALL = PocketConfig(width=64, layers=2, heads=2)
WITH_VLLM = PLAIN | {"num_generations": 4, "max_completion_length": 8, "use_vllm": True}


def policy(folder, *, tied):
    """A random policy, sharp enough that its entropies differ from token to token, and its tokenizer."""
    model = fresh_model(SMALL)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2.0)
    if not tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return str(folder)
