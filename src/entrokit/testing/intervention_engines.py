"""Checks of a method: that engines carry it, or say by name why they cannot. Skipped where they are not installed."""

from __future__ import annotations

import io
import math
import tempfile
import warnings
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from entrokit.rlvr import Recipe

from .checks import Skipped
from .intervention_trial import Example

# One token a character; the closing markers of thinking that recipes on sums name are among them.
_CHARACTERS = "0123456789+-*=()"
_PAD, _EOS = "<pad>", "<eos>"
# Two on the first generation batch, and one on the second, which sees what was remembered of it.
_STEPS = 3


def trl(example: Example) -> None:
    """Under TRL a tiny model trains a few steps with it: weights move, and whatever it logs is finite; or it is
    refused in the words of its card.
    """
    engine = _installed("trl", "entrokit.engines.trl")
    chosen = example.build()
    reasons = [reason for i in chosen.interventions if (reason := i.refused_by("trl")) is not None]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # What trainer and transformers say of such a small run.
        warnings.simplefilter("ignore")
        try:
            trainer = _trainer(engine, chosen, folder)
        except ValueError as refusal:
            if any(reason in str(refusal) for reason in reasons):
                raise Skipped(str(refusal)) from refusal
            raise
        if reasons:
            raise AssertionError(f"it was to be refused: {reasons[0]}")
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        trainer.train()
    if all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters()):
        raise AssertionError(f"no weight has moved in {_STEPS} steps")
    logged = [(key, value) for row in trainer.state.log_history for key, value in row.items()]
    _expect_logged(chosen, logged)


def verl(example: Example) -> None:
    """verl's plug-in takes the recipe, or refuses it by a ValueError that names the part."""
    config = _installed("verl", "entrokit.engines.verl.config")
    chosen = example.build()
    try:
        config.refuse(chosen, SimpleNamespace(use_kl_loss=True, strategy="fsdp"))
    except ValueError as refusal:
        _expect_named(chosen, refusal)


def _installed(package: str, module: str) -> ModuleType:
    if find_spec(package) is None:
        raise Skipped(f"{package} is not installed")
    try:
        return import_module(module)
    except ImportError as error:
        raise Skipped(f"{package} cannot be used here: {error}") from error


def _expect_named(chosen: Recipe, refusal: ValueError) -> None:
    if not any(i.name in str(refusal) for i in chosen.interventions):
        raise AssertionError(f"a refusal that names none of its parts: {refusal}") from refusal


def _expect_logged(chosen: Recipe, logged: list[tuple[str, Any]]) -> None:
    numbers = [(key, value) for key, value in logged if isinstance(value, (int, float))]
    for part in chosen.interventions:
        own = [(key, value) for key, value in numbers if key.startswith(f"{part.name}/")]
        for key, value in own:
            if not math.isfinite(value):
                raise AssertionError(f"{key} is logged as {value}")
    entropies = [value for key, value in numbers if key == "entropy"]
    if not entropies or not all(0 < value < math.log(len(_CHARACTERS) + 2) for value in entropies):
        raise AssertionError(f"the entropies that are logged are {entropies}")


def _trainer(engine: ModuleType, chosen: Recipe, folder: str) -> Any:
    from datasets import Dataset
    from trl import GRPOConfig

    options: dict[str, Any] = {
        "output_dir": folder,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "steps_per_generation": 2,
        "max_completion_length": 8,
        "learning_rate": 1e-3,
        "max_steps": _STEPS,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "seed": 3,
    }
    return engine.EntropyGRPOTrainer(
        _model(),
        reward_funcs=_odd_beginning,
        args=GRPOConfig(**options),
        train_dataset=Dataset.from_list([{"prompt": f"{a}+{b}="} for a in range(4) for b in range(4)]),
        processing_class=_tokenizer(),
        recipe=chosen,
    )


def _odd_beginning(completions: list[str], **columns: Any) -> list[float]:
    """1 and 0 at random text: advantages are then not all zero."""
    return [float(len(text) > 0 and ord(text[0]) % 2) for text in completions]


@cache
def _tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate([_PAD, _EOS, *_CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=_PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_EOS, padding_side="left", model_max_length=64
    )


def _model() -> Any:
    """A transformer of one layer, sharp enough that its entropies differ from token to token."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(_CHARACTERS) + 2,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=64,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model


CHECKS = (trl, verl)
