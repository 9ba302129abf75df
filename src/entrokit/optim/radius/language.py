"""The spread of the logits' slopes for language models: a position a sample, and never the logits of all at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .inputs import Call
from .slopes import Parameters, slopes_along

# Entries of a tile of slopes: 16 MiB in float32.
_TILE = 1 << 22
_CAPS = ("final_logit_softcapping", "logits_soft_cap")
_SCALED = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


@torch.no_grad()
def linear_logit_spread(
    hidden: Tensor,
    hidden_slope: Tensor,
    weight: Tensor,
    weight_slope: Tensor | None = None,
    *,
    bias: Tensor | None = None,
    bias_slope: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> Tensor:
    """Δ of ``cap(hidden @ weight.T + bias) / temperature`` when hidden states and head move, a tile at a time.

    A model that multiplies its logits by s before the cap has ``temperature / s`` and ``softcap / s``.

    Args:
        hidden, hidden_slope: ``[..., d]``. weight, weight_slope: ``[V, d]``; None for a head that stays.
        bias, bias_slope: ``[V]``.
        temperature: above 0. softcap: ``cap(z) = softcap tanh(z / softcap)``, above 0; None for none.

    Returns:
        ``[...]`` float32, float64 for float64 hidden states.

    Raises:
        ValueError: shapes that do not fit, a temperature or softcap not above 0.
    """
    if weight.dim() != 2 or hidden.shape[-1:] != weight.shape[1:] or hidden.shape != hidden_slope.shape:
        raise ValueError(
            f"linear_logit_spread: expected hidden and hidden_slope [..., d] and weight [V, d], got "
            f"{list(hidden.shape)}, {list(hidden_slope.shape)} and {list(weight.shape)}"
        )
    for what, given, shape in (
        ("weight_slope", weight_slope, weight.shape),
        ("bias", bias, weight.shape[:1]),
        ("bias_slope", bias_slope, weight.shape[:1]),
    ):
        if given is not None and given.shape != shape:
            raise ValueError(f"linear_logit_spread: expected {what} {list(shape)}, got {list(given.shape)}")
    if not temperature > 0 or (softcap is not None and not softcap > 0):
        raise ValueError(f"linear_logit_spread: temperature and softcap must be above 0, got {temperature}, {softcap}")
    kind = torch.promote_types(hidden.dtype, torch.float32)
    states, moves = (x.reshape(-1, x.shape[-1]).to(kind) for x in (hidden, hidden_slope))
    size = max(1, _TILE // max(1, len(states)))
    high = states.new_full((len(states),), -torch.inf)
    low = -high
    for start in range(0, len(weight), size):
        own = slice(start, start + size)
        part = weight[own].to(kind)
        slopes = moves @ part.T
        if weight_slope is not None:
            slopes.addmm_(states, weight_slope[own].to(kind).T)
        if bias_slope is not None:
            slopes += bias_slope[own]
        if softcap is not None:
            logits = states @ part.T + (0.0 if bias is None else bias[own].to(kind))
            slopes *= 1.0 - torch.tanh(logits / softcap).square()
        high, low = torch.maximum(high, slopes.amax(-1)), torch.minimum(low, slopes.amin(-1))
    spread = (high - low) / temperature if len(weight) else torch.zeros_like(high)
    return spread.view(hidden.shape[:-1])


class HiddenStates(nn.Module):
    """A causal language model of `transformers` up to its head: hidden states, and the head's weight and bias."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        hidden: Tensor = self.model.base_model(*args, **kwargs).last_hidden_state
        head = self.model.get_output_embeddings()
        return (hidden, head.weight) if head.bias is None else (hidden, head.weight, head.bias)


def is_language_model(model: Any) -> bool:
    """Whether a model has a backbone and a linear head that `token_logit_spread` reads."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return type(head) is nn.Linear and getattr(model, "base_model", model) is not model


def token_logit_spread(
    model: Any, parameters: Parameters, call: Call, direction: Parameters, *, method: str = "auto"
) -> Tensor:
    """Δ of every position of a causal language model, ``[B, T]``; 0 where nothing is predicted.

    Args:
        model: of `transformers`, in the mode in which it is to be looked at.
        parameters, direction: by the model's names.
        call: ``input_ids [B, T]`` and, by keyword, ``attention_mask`` and ``labels``: with labels, positions count
            whose next label is not -100, else those inside the mask.

    Raises:
        ValueError: a model that scales its logits in a way that the head alone does not tell; see `slopes_along`.
    """
    cap = _softcap(model)
    kwargs = {k: v for k, v in call.kwargs.items() if k in ("input_ids", "attention_mask", "position_ids")}
    inside = HiddenStates(model)

    def outputs(own: Parameters) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = functional_call(
            inside, {f"model.{n}": p for n, p in own.items()}, call.args, kwargs | {"use_cache": False}
        )
        return found

    values, slopes = slopes_along(outputs, parameters, direction, method=method)
    bias, bias_slope = (values[2], slopes[2]) if len(values) > 2 else (None, None)
    spread = linear_logit_spread(
        values[0], slopes[0], values[1], slopes[1], bias=bias, bias_slope=bias_slope, softcap=cap
    )
    return torch.where(_predicting(call, spread), spread, 0.0)


def _predicting(call: Call, like: Tensor) -> Tensor:
    labels, mask = call.kwargs.get("labels"), call.kwargs.get("attention_mask")
    if labels is not None:
        return nn.functional.pad(labels[:, 1:] != -100, (0, 1))
    return torch.ones_like(like, dtype=torch.bool) if mask is None or mask.dim() != 2 else mask.bool()


def _softcap(model: Any) -> float | None:
    config = model.config.get_text_config()
    scaled = [name for name in _SCALED if getattr(config, name, None) not in (None, 1, 1.0)]
    if scaled:
        raise ValueError(
            f"token_logit_spread: {type(model).__name__} scales its logits ({scaled[0]}); give `logit_spread` a "
            "function from parameters and inputs to logits"
        )
    return next((float(cap) for name in _CAPS if (cap := getattr(config, name, None)) is not None), None)
