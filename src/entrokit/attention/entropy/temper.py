"""Learnable temperatures in the attention of a `transformers` model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from .taps import Call, Include, attention_layers, listening
from .tempered import TemperedSoftmax


class _Temper:
    def __init__(self, softmax: TemperedSoftmax) -> None:
        self._softmax = softmax

    def before(self, call: Call) -> Tensor:
        if call.positions is None and call.query.shape[2] != call.key.shape[2]:
            raise ValueError(
                f"temper_attention: {call.name} does not say which positions its {call.query.shape[2]} queries have; "
                "give position_ids to the model, or run it without a cache (use_cache=False)"
            )
        return self._softmax.divide(call.query, call.positions)

    def after(self, call: Call, output: Tensor) -> None:
        pass


@contextmanager
def temper_attention(
    model: nn.Module, context: int, *, init: float = 1.0, include: Include | None = None
) -> Iterator[nn.ModuleList]:
    """While the block runs, every attention layer of ``model`` has a `TemperedSoftmax`; afterwards none has.

    Yields the temperatures, one module a layer, in the model's order and on its device, for an optimizer; they are no
    part of the model, so save them yourself. Queries are divided on their way to the kernel, whichever it is; at t = 1
    the model computes what it did, bit for bit. Additive biases of positions are not divided. Call backward inside of
    the block: checkpointed layers run again in it. A model that was compiled before goes by its temperatures.

    Args:
        model: of `transformers`, eager or sdpa. context: the most positions. init: t. include: see `watch_attention`,
            which sees the tempered queries where its block is inside of this one.

    Raises:
        ValueError: see `attention_layers` and `TemperedSoftmax`; in a forward pass, positions beyond the context, or
            unknown behind a cache.
        MissingExtraError: `transformers` is not installed.
    """
    layers = attention_layers(model, "temper_attention", include)
    softmaxes = {}
    for name, module in layers.items():
        config = getattr(module, "config", None)
        heads = getattr(config, "num_attention_heads", None)
        if not isinstance(heads, int):
            raise ValueError(
                f"temper_attention: {name}: its config has no num_attention_heads; leave it out by include="
            )
        softmaxes[name] = TemperedSoftmax(heads, context, init=init)
        parameter = next(module.parameters(), None)
        if parameter is not None:
            softmaxes[name].to(parameter.device)
    with listening(layers, lambda name: _Temper(softmaxes[name])):
        yield nn.ModuleList(softmaxes.values())
