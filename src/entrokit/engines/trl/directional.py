"""Directional derivatives of per-token statistics in the parameters, by forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from entrokit.rlvr import PolicyStats

from .forward import PolicyForward
from .head import KEYWORD, HeadRequest, cap_and_scale, head_parameters
from .paths import as_backward

# Logits held at once, with their derivatives: 64 MiB each in float32.
_KEPT_ELEMENTS = 1 << 24


def token_derivatives(
    model: Any,
    direction: Mapping[str, Tensor],
    input_ids: Tensor,
    attention_mask: Tensor,
    length: int,
    forward: PolicyForward,
) -> tuple[PolicyStats, dict[str, Tensor]]:
    """Statistics of the last ``length`` tokens and their derivatives along ``direction``, all ``[B, length]``.

    Args:
        model: unwrapped. direction: by parameter name; parameters left out do not move.
        input_ids, attention_mask: ``[B, L]``. forward: how the policy's statistics are computed.

    The derivatives are the transpose of the backward pass, ``⟨c, J v⟩ = ⟨Jᵀc, v⟩``, also where that leaves paths out
    (`paths`). Attention and experts run through their plain formulas, the only ones with forward-mode derivatives.
    """
    tokens = input_ids[:, -length:]
    mask = attention_mask[:, -length:].bool()
    request = _DualRequest(tokens, mask, forward.temperature, frozenset())
    with as_backward(), forward_ad.dual_level(), _plainly(model), forward.autocast():
        dual = {
            name: forward_ad.make_dual(p.detach(), direction[name].to(p.dtype))  # type: ignore[no-untyped-call]
            for name, p in model.named_parameters()
            if name in direction
        }
        inputs: dict[str, Any] = {"input_ids": input_ids, "attention_mask": attention_mask, "use_cache": False}
        if forward.head_unknown is None:
            answer = functional_call(model, dual, (), inputs | {KEYWORD: request})
        else:
            logits = functional_call(model, dual, (), inputs).logits[:, -length - 1 : -1]
            answer = _unpacked(_statistics(_exact(logits) / forward.temperature, tokens))
    values = {name: torch.where(mask, value, 0.0) for name, (value, _) in answer.items()}
    return PolicyStats(**values), {name: torch.where(mask, slope, 0.0) for name, (_, slope) in answer.items()}


class _DualRequest(HeadRequest):
    """Answers with values and derivatives, by plain operations on a few positions' logits at a time."""

    def answer(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:  # type: ignore[override]
        length = self.tokens.shape[1]
        hidden = model.base_model(*args, **kwargs).last_hidden_state[:, -length - 1 : -1]
        weight, bias = head_parameters(model.get_output_embeddings())
        cap, scale = cap_and_scale(model.config.get_text_config())
        flat, tokens = hidden.flatten(0, 1), self.tokens.flatten()
        size = max(1, _KEPT_ELEMENTS // len(weight))
        parts = []
        for start in range(0, len(flat), size):
            rows = slice(start, start + size)
            product = _exact(torch.nn.functional.linear(flat[rows], weight.to(flat.dtype), bias)) * scale
            if cap is not None:
                product = cap * torch.tanh(product / cap)
            parts.append(_unpacked(_statistics(product / self.temperature, tokens[rows])))
        shape = self.tokens.shape
        return {
            name: (
                torch.cat([p[name][0] for p in parts]).view(shape),
                torch.cat([p[name][1] for p in parts]).view(shape),
            )
            for name in parts[0]
        }


@contextmanager
def _plainly(model: Any) -> Iterator[None]:
    """Attention by its formula, and experts one by one, not in the grouped product of `transformers`."""
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    before = [(c, c._experts_implementation) for c in configs.values() if getattr(c, "_experts_implementation", None)]
    for config, _ in before:
        config._experts_implementation = "eager"
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for config, implementation in before:
            config._experts_implementation = implementation


def _statistics(logits: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """By name, from ``logits [..., V]``; plain operations only, so that forward-mode derivatives pass through."""
    log_p = torch.log_softmax(logits, -1)
    p = log_p.exp()
    weighted = p * log_p
    entropy = -weighted.sum(-1)
    return {
        "logp": log_p.gather(-1, tokens[..., None]).squeeze(-1),
        "entropy": entropy,
        "collision": p.square().sum(-1),
        "weighted_surprise": (p * weighted).sum(-1),
        "varentropy": (weighted * log_p).sum(-1) - entropy.square(),
    }


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _unpacked(duals: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    answer = {}
    for name, dual in duals.items():
        value, slope = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
        answer[name] = (value, torch.zeros_like(value) if slope is None else slope)
    return answer
