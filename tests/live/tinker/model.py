"""A tiny Qwen3 with random weights and a tokenizer of one token a character, as a folder."""

import string
from pathlib import Path

CHARACTERS = string.digits + "+=? "
PAD, END = 0, 1
FIRST = 2


def save_model(folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    vocabulary = {"<pad>": PAD, "<end>": END} | {c: FIRST + i for i, c in enumerate(CHARACTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>").save_pretrained(folder)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=32,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=256,
            tie_word_embeddings=False,
            eos_token_id=END,
            pad_token_id=PAD,
        )
    )
    model.save_pretrained(folder)


def encode(text: str) -> list[int]:
    return [FIRST + CHARACTERS.index(c) for c in text]
