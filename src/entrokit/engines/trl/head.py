"""The LM head as entrokit reads it: hidden states, weight, bias and cap instead of logits.

`attach_head` wraps a model's ``forward`` so that it answers a `HeadRequest` with per-token statistics. The call still
goes through ``model(...)``, so the hooks of DDP, FSDP and PEFT run; without a request the forward is the original one.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from trl.trainer import grpo_trainer

from entrokit.distributions import TokenStatistics, linear_token_loss, linear_token_statistics

KEYWORD = "entrokit_head"
_MARK = "answers_head_requests"
_INSTEAD = "_forward_beneath_entrokit_head"

# How models name what they do to the product of hidden states and head.
_CAPS = ("final_logit_softcapping", "logits_soft_cap")
_SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_DIVIDING = "logits_scaling"
_MULTIPLIES_BY_IT = ("hyperclovax",)


class UnknownHeadError(ValueError):
    """A head of which weight and bias alone do not say what it computes."""


@dataclass(frozen=True)
class HeadRequest:
    """Statistics of the tokens that the last positions predict.

    Attributes:
        tokens: ``[B, T]``, the last T input tokens. mask: ``[B, T]`` bool, those that are real.
        temperature: sampling temperature. need: names of statistics.
        loss: makes the answer that of `linear_token_loss`.
    """

    tokens: Tensor
    mask: Tensor
    temperature: float
    need: frozenset[str]
    loss: Callable[[TokenStatistics], Tensor] | None = None

    def answer(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Tensor]:
        """Statistics by name, ``[B, T]``, and ``loss`` where one was given."""
        kwargs = {k: v for k, v in kwargs.items() if k not in ("labels", "logits_to_keep")} | {"use_cache": False}
        length = self.tokens.shape[1]
        hidden = model.base_model(*args, **kwargs).last_hidden_state[:, -length - 1 : -1]
        weight, bias = head_parameters(model.get_output_embeddings())
        cap, scale = cap_and_scale(model.config.get_text_config())
        options: dict[str, Any] = {
            "bias": bias,
            "temperature": self.temperature / scale,
            "softcap": None if cap is None else cap / scale,
            "mask": self.mask.to(weight.device),
            "need": self.need,
        }
        # A model split over devices may end on another one than the head's.
        arguments = (hidden.to(weight.device), weight, self.tokens.to(weight.device))
        if self.loss is None:
            return _present(linear_token_statistics(*arguments, **options))
        loss, statistics = linear_token_loss(*arguments, self.loss, **options)
        return _present(statistics) | {"loss": loss}


def attach_head(model: Any) -> None:
    """Lets ``model(..., entrokit_head=HeadRequest(...))`` answer; everything else stays as it was.

    What is put in the place of ``forward`` holds no model: a copy of one takes it along, and must then compute with its
    own weights. What somebody else had put there (accelerate, Liger) stays with the model, to be copied with it.
    """
    base = bare(model)
    instead = vars(base).get("forward")
    if _is_ours(instead):
        return
    fused = _trls_fused_head(instead)
    if fused is not None:
        instead = inspect.getclosurevars(fused).nonlocals["original_forward"]
    place = None
    if instead is not None and getattr(instead, "__func__", None) is not type(base).forward:
        # One place for each time: what is beneath may call an earlier forward of ours.
        place = f"{_INSTEAD}_{sum(name.startswith(_INSTEAD) for name in vars(base))}"
        vars(base)[place] = instead
    base.forward = types.MethodType(_with_head(type(base), fused, place), base)


def _is_ours(forward: Any) -> bool:
    return hasattr(getattr(forward, "__func__", None), _MARK)


def _with_head(cls: Any, fused: Callable[..., Any] | None, place: str | None) -> Callable[..., Any]:
    """A model's forward that also answers a `HeadRequest`, and TRL's requests by ``fused``.

    Args:
        place: the model's attribute that holds what somebody else had put in the place of the class's forward.
    """

    @functools.wraps(cls.forward)  # generation looks at the signature
    def forward(self: Any, *args: Any, entrokit_head: HeadRequest | None = None, **kwargs: Any) -> Any:
        if entrokit_head is not None:
            return entrokit_head.answer(self, args, kwargs)
        if fused is not None and kwargs.pop("fused_lm_head", False):
            return fused(self, *args, fused_lm_head=True, **kwargs)
        instead = None if place is None else vars(self)[place]
        return cls.forward(self, *args, **kwargs) if instead is None else instead(*args, **kwargs)

    setattr(forward, _MARK, True)
    return forward


def _trls_fused_head(forward: Any) -> Callable[..., Any] | None:
    """The function that TRL puts in the place of a policy's forward, for its own head, whoever has wrapped it since.

    Asked for that head it uses the model that it is called with; asked for anything else, the one that it was made for.
    """
    function = getattr(forward, "__func__", forward)
    while function is not None and getattr(getattr(function, "__code__", None), "co_name", "") != "_fused_forward":
        function = getattr(function, "__wrapped__", None)
    found: Callable[..., Any] | None = function
    return found


@contextmanager
def adapters_on_head_allowed() -> Iterator[None]:
    """While `GRPOTrainer` is built: it refuses a PEFT adapter on the LM head, which its own head would ignore.

    The only place where TRL asks is an ``isinstance`` of this name in its module; `head_parameters` adds the adapter.
    """
    if not hasattr(grpo_trainer, "BaseTunerLayer"):  # peft is not installed, or TRL has stopped asking
        yield
        return
    asked = grpo_trainer.BaseTunerLayer
    grpo_trainer.BaseTunerLayer = ()
    try:
        yield
    finally:
        grpo_trainer.BaseTunerLayer = asked


def bare(model: Any) -> Any:
    """The model under the wrappers of DDP and PEFT."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def cap_and_scale(config: Any) -> tuple[float | None, float]:
    """``(cap, scale)`` of ``logits = cap tanh(scale product / cap)``, by the names that `transformers` gives them."""
    cap = next((value for name in _CAPS if (value := getattr(config, name, None)) is not None), None)
    scale = next((value for name in _SCALES if (value := getattr(config, name, None)) is not None), None)
    if scale is None:
        divisor = getattr(config, _DIVIDING, None) or 1.0
        scale = divisor if config.model_type in _MULTIPLIES_BY_IT else 1.0 / divisor
    return cap, float(scale)


def head_parameters(head: Any) -> tuple[Tensor, Tensor | None]:
    """Weight ``[V, d]`` and bias ``[V]`` that an output layer multiplies with, adapters included.

    A LoRA adapter's product is added to the weight: the method needs the whole weight, not the two factors.

    Raises:
        UnknownHeadError: anything but a linear layer, plain, copied by PEFT's ``modules_to_save``, or with plain LoRA.
    """
    if hasattr(head, "base_layer"):
        frozen, frozen_bias = head_parameters(head.base_layer)
        return (frozen if head.disable_adapters or head.merged else frozen + _lora_delta(head)), frozen_bias
    weight, bias = getattr(head, "weight", None), getattr(head, "bias", None)  # ModulesToSaveWrapper forwards both
    if not isinstance(weight, Tensor) or weight.dim() != 2:
        raise UnknownHeadError(f"its output layer is a {type(head).__name__} without a weight [V, d]")
    if hasattr(weight, "ds_id"):
        raise UnknownHeadError("DeepSpeed ZeRO-3 has its weight in pieces")
    if isinstance(weight, DTensor):  # FSDP2 hands out shards
        weight = weight.full_tensor()
        bias = bias.full_tensor() if isinstance(bias, DTensor) else bias
    return weight, bias


def _lora_delta(head: Any) -> Tensor:
    deltas = []
    for adapter in head.active_adapters:
        if adapter not in getattr(head, "lora_A", {}):
            raise UnknownHeadError(f"its output layer is a {type(head).__name__}, an adapter other than LoRA")
        if adapter in head.lora_variant or head.lora_B[adapter].bias is not None:
            raise UnknownHeadError("the LoRA adapter of its output layer is not a plain product (DoRA or a bias)")
        if not isinstance(head.lora_dropout[adapter], nn.Identity):
            raise UnknownHeadError("the LoRA adapter of its output layer drops out hidden states (lora_dropout > 0)")
        deltas.append(head.get_delta_weight(adapter))
    return torch.stack(deltas).sum(0)


def _present(statistics: TokenStatistics) -> dict[str, Tensor]:
    fields = TokenStatistics.__dataclass_fields__
    return {name: value for name in fields if (value := getattr(statistics, name)) is not None}
