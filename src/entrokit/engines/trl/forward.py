"""Per-token statistics from a model's own logits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from entrokit.distributions import TokenStatistics, token_statistics
from entrokit.rlvr import PolicyStats


def policy_stats(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    length: int,
    *,
    temperature: float,
    need: frozenset[str],
    autocast: Callable[[], AbstractContextManager[Any]],
    batch_size: int | None = None,
) -> PolicyStats:
    """Statistics of the last ``length`` tokens of ``input_ids [B, L]``, ``batch_size`` rows at a time: ``[B, length]``.

    Always through ``model(...)`` itself, so that the hooks of DDP, FSDP and PEFT run.
    """
    parts = []
    size = batch_size or max(1, len(input_ids))
    for start in range(0, len(input_ids), size):
        rows = slice(start, start + size)
        with autocast():
            logits = _last_logits(model, input_ids[rows], attention_mask[rows], length + 1)[:, :-1]
        tokens = input_ids[rows, input_ids.shape[1] - length :]
        parts.append(token_statistics(logits, tokens, temperature=temperature, need=need))
    names = [n for n in TokenStatistics.__dataclass_fields__ if getattr(parts[0], n) is not None]
    return PolicyStats(**{n: torch.cat([getattr(p, n) for p in parts]) for n in names})


def check_statistics(
    model: Any,
    *,
    temperature: float,
    autocast: Callable[[], AbstractContextManager[Any]],
    tolerance: float = 1e-2,
) -> None:
    """Compares `policy_stats` with a plain log-softmax of the model's whole logits on a few tokens.

    Raises:
        ValueError: they differ by more than ``tolerance`` nats; the model then ignores ``logits_to_keep`` or shifts its
            output, and training on it would be silently wrong.
    """
    embeddings = model.get_input_embeddings().weight
    ids = torch.randint(embeddings.shape[0], (2, 8), generator=torch.Generator().manual_seed(0)).to(embeddings.device)
    everything = torch.ones_like(ids)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            with autocast():
                native = model(input_ids=ids, attention_mask=everything, use_cache=False).logits
            need = frozenset({"logp"})
            ours = policy_stats(model, ids, everything, 5, temperature=temperature, need=need, autocast=autocast).logp
    finally:
        model.train(was_training)
    expected = torch.log_softmax(native.double() / temperature, -1)[:, 2:-1]
    gap = float((ours.double() - expected.gather(-1, ids[:, 3:, None]).squeeze(-1)).abs().max())
    if not gap <= tolerance:
        raise ValueError(
            f"{type(model).__name__}: log-probabilities from its last logits differ from those of its whole output by "
            f"{gap:.3g} nats; this architecture is not supported by EntropyGRPOTrainer"
        )


def _last_logits(model: Any, input_ids: Tensor, attention_mask: Tensor, last: int) -> Tensor:
    bare = model.module if hasattr(model, "module") else model
    base = bare.get_base_model() if hasattr(bare, "get_base_model") else bare
    keep = {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(base.forward).parameters else {}
    logits: Tensor = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **keep).logits
    return logits[:, -last:]
