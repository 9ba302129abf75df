"""The pocket policy: a small language model that needs no download.

A Qwen3-architecture `transformers` model is made from a config with a character tokenizer and warmed up by a short
supervised phase on a task's demonstrations: well-formed attempts, of which a known share is right. It so starts an RL
run as a base model does: with honest entropy and low accuracy. The default, countdown's, comes with the package
(`entrokit.training.warmed`); others are made when they are first asked for, and cached.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr.tasks import Demonstrations
from entrokit.rlvr.tasks.countdown import CountdownDemonstrations

from . import warmed

logger = logging.getLogger(__name__)

_PAD, _EOS = "<pad>", "<eos>"
# Raise it when `fresh_model` or `warm_up` gives other weights: no file of before is then taken for what it makes.
_VERSION = 1
_LOOKED_AT = 64


@dataclass(frozen=True)
class PocketConfig:
    """Architecture, warm-up and seed of a pocket policy; equal configs give equal weights on equal software.

    Attributes:
        width, layers, heads: the transformer.
        demonstrations: what it is warmed up on, which gives its alphabet too; countdown by default.
        steps, batch, learning_rate: the supervised phase.
    """

    width: int = 128
    layers: int = 3
    heads: int = 4
    demonstrations: Demonstrations = field(default_factory=CountdownDemonstrations)
    steps: int = 2200
    batch: int = 32
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"PocketConfig.width={self.width} must be a multiple of heads={self.heads}")

    @property
    def key(self) -> str:
        """Of all that decides about the weights: settings, the first demonstrations, the version of the warm-up."""
        rng, own = random.Random(self.seed), self.demonstrations
        decides = asdict(self) | {
            "task": type(own).__name__,
            "alphabet": own.alphabet,
            "first": [own.sample(rng) for _ in range(_LOOKED_AT)],
            "version": _VERSION,
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where warmed-up policies are kept: ``$ENTROKIT_CACHE``, else the user's cache folder."""
    root = os.environ.get("ENTROKIT_CACHE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "entrokit"


def character_tokenizer(alphabet: str = CountdownDemonstrations.alphabet) -> Any:
    """A `transformers` tokenizer with one token a character of ``alphabet``, and pad and eos."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate([_PAD, _EOS, *alphabet])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_EOS, padding_side="left", model_max_length=64
    )


def fresh_model(config: PocketConfig) -> Any:
    """The untrained model of a config."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(config.seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(config.demonstrations.alphabet) + 2,
            hidden_size=config.width,
            intermediate_size=2 * config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            head_dim=config.width // config.heads,
            max_position_embeddings=64,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            attn_implementation="sdpa",
        )
    )


def pocket_policy(
    config: PocketConfig | None = None, progress: Callable[[int, int, float], None] | None = None
) -> tuple[Any, Any]:
    """The warmed-up pocket policy and its tokenizer: the package's own, a cached one, or made now (minutes).

    Args:
        config: settings; the default is the demo's.
        progress: called as ``progress(step, steps, loss)`` during warm-up.

    Returns:
        ``(model, tokenizer)``, ready for `EntropyGRPOTrainer`.

    A cache entry that cannot be read is reported by a warning, set aside as ``<entry>.corrupt`` and made again.
    """
    config = config or PocketConfig()
    tokenizer = character_tokenizer(config.demonstrations.alphabet)
    shipped = warmed.weights_of(config.key)
    if shipped is not None:
        return _load(shipped, config), tokenizer
    folder = _cached(config)
    if folder.exists():
        try:
            return _load(folder / "model.safetensors", config), tokenizer
        except Exception as error:  # whatever a damaged file makes the loaders raise
            aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.corrupt-", dir=folder.parent))
            os.replace(folder, aside)
            logger.warning(
                "pocket policy: the cached copy %s cannot be read (%s: %s); it was moved to %s and is made again",
                folder, type(error).__name__, error, aside,
            )  # fmt: skip
    model = fresh_model(config)
    for step, loss in enumerate(warm_up(model, tokenizer, config), 1):
        if progress is not None:
            progress(step, config.steps, loss.item())
    _save(model, tokenizer, folder)
    return model, tokenizer


def at_hand(config: PocketConfig) -> bool:
    """Whether `pocket_policy` has it without a warm-up."""
    return warmed.weights_of(config.key) is not None or _cached(config).exists()


def _cached(config: PocketConfig) -> Path:
    return cache_folder() / f"pocket-{config.key}"


def _load(file: Path, config: PocketConfig) -> Any:
    from safetensors.torch import load_model

    model = fresh_model(config)
    load_model(model, file)
    bad = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    if bad:
        raise ValueError(f"parameter {bad[0]} holds NaN or infinite values")
    return model.eval()


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Written beside the entry and renamed, so that a reader or a crash never sees half an entry."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        os.replace(partial, folder)
    except OSError:
        # Another process finished first, or the disk is full: the policy in memory is good either way.
        shutil.rmtree(partial, ignore_errors=True)
        if not folder.exists():
            logger.warning("pocket policy: could not cache it under %s; the next run makes it again", folder)


def warm_up(model: Any, tokenizer: Any, config: PocketConfig) -> Iterator[Tensor]:
    """Trains ``model`` in place, a step for every loss (a scalar) asked for; evaluation mode after the last."""
    rng = random.Random(config.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.learning_rate, total_steps=config.steps, pct_start=0.1
    )
    model.train()
    for _ in range(config.steps):
        inputs, labels = warm_up_batch(config, rng, tokenizer)
        loss = model(input_ids=inputs, attention_mask=(inputs != tokenizer.pad_token_id).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        yield loss.detach()
    model.eval()


def warm_up_batch(config: PocketConfig, rng: random.Random, tokenizer: Any) -> tuple[Tensor, Tensor]:
    """Left-padded token ids ``[B, L]`` of prompt, attempt and eos, and labels that are -100 on prompt and padding."""
    texts = [config.demonstrations.sample(rng) for _ in range(config.batch)]
    rows = [tokenizer(p + s)["input_ids"] + [tokenizer.eos_token_id] for p, s in texts]
    length = max(map(len, rows))
    inputs = torch.full((len(rows), length), tokenizer.pad_token_id)
    labels = torch.full_like(inputs, -100)
    for i, (row, (prompt, _)) in enumerate(zip(rows, texts, strict=True)):
        inputs[i, length - len(row) :] = torch.tensor(row)
        labels[i, length - len(row) + len(prompt) :] = torch.tensor(row[len(prompt) :])
    return inputs, labels
