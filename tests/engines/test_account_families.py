"""The account on a tiny random model of every family of `transformers` that users bring: its shares add up."""

import pytest
import torch
import transformers as t

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.training.pocket import character_tokenizer

from .accounted import PAD, trained

SIZES = {
    "vocab_size": len(character_tokenizer()),
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "tie_word_embeddings": True,
    "experts_implementation": "eager",  # the grouped product knows no float64
}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
UNDROPPED = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
# Caps of the size of the logits themselves, so that they bend them.
CAPS = {"final_logit_softcapping": 2.0, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 8, "sliding_window": 8}
FAMILIES = {
    "llama": (t.LlamaForCausalLM, t.LlamaConfig, {}),
    "llama, untied": (t.LlamaForCausalLM, t.LlamaConfig, {"tie_word_embeddings": False}),
    "qwen2": (t.Qwen2ForCausalLM, t.Qwen2Config, {}),
    "qwen3": (t.Qwen3ForCausalLM, t.Qwen3Config, {}),
    "gemma2": (t.Gemma2ForCausalLM, t.Gemma2Config, CAPS),
    "gemma3": (t.Gemma3ForCausalLM, t.Gemma3TextConfig, {"query_pre_attn_scalar": 8, "sliding_window": 8}),
    "phi": (t.PhiForCausalLM, t.PhiConfig, {"tie_word_embeddings": False, "num_key_value_heads": 2} | UNDROPPED),
    "phi3": (t.Phi3ForCausalLM, t.Phi3Config, UNDROPPED),
    "gpt2": (t.GPT2LMHeadModel, t.GPT2Config, GPT2 | UNDROPPED),
    "olmo2": (t.Olmo2ForCausalLM, t.Olmo2Config, {}),
    "qwen3 moe": (
        t.Qwen3MoeForCausalLM,
        t.Qwen3MoeConfig,
        {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "mixtral": (t.MixtralForCausalLM, t.MixtralConfig, {"num_local_experts": 4}),
}
# In float64 its masks overflow: a padded position becomes NaN. So no model of float64 is there to compare with.
SINGLE = ("gemma2",)


def tiny(family):
    model, config, more = FAMILIES[family]
    torch.manual_seed(0)
    made = model(config(**SIZES | more)).to(torch.float32 if family in SINGLE else torch.float64).eval()
    with torch.no_grad():
        # A row of zeros, as padding has it at first, is where a normalised model is steepest.
        made.get_input_embeddings().weight[PAD].normal_(0.0, 0.3)
    return made


@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 1e-3}], ids=["", "clipped norm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_shares_add_up_and_the_prediction_comes_true(family, options, config, task):
    found = trained(EntropyGRPOTrainer, tiny(family), config, task, max_steps=2, learning_rate=1e-5, **options)
    assert len(found) == 2
    # Whatever a model's own precision, its normalisations are made in float32.
    rounding = 4 * torch.finfo(torch.float32).eps
    for a, size in found:
        assert abs(a.tokens - a.gradient) <= rounding * size
        moved = abs(a.gradient + a.clipping) + abs(a.memory)
        assert abs(a.kept * a.tokens - (a.gradient + a.clipping)) <= rounding * a.kept * size
        assert (a.kept == 1.0) == ("max_grad_norm" not in options)
        # The second order of a step of this rate is a hundredth of its first.
        assert abs(a.measured - a.predicted) <= 0.05 * moved + rounding * a.entropy
