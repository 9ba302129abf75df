"""Learnable temperatures in the attention of a `transformers` model."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from .blocks import with_block
from .passes import Pass, following
from .taps import Call, Include, attention_layers, listening
from .tempered import TemperedSoftmax


class _Temper:
    def __init__(self, softmax: TemperedSoftmax, whole: Pass) -> None:
        self._softmax, self._pass = softmax, whole

    def before(self, call: Call) -> Tensor:
        # It would run again in the backward pass, without temperatures if that is outside of the block.
        self._pass.refuse_reentrant("temper_attention", call.name)
        query, keys = call.logits.query, call.logits.key.shape[2]
        if call.positions is None and query.shape[2] != keys:
            raise ValueError(
                f"temper_attention: {call.name} does not say which positions its {query.shape[2]} queries have; "
                "give position_ids to the model, or run it without a cache (use_cache=False)"
            )
        return self._softmax.divide(query, call.positions)

    def after(self, call: Call, output: Tensor) -> None:
        pass


@with_block("with temper_attention(model, context) as temperatures: ...")
def temper_attention(
    model: nn.Module, context: int, *, init: float = 1.0, include: Include | None = None
) -> Iterator[nn.ModuleList]:
    """While the block runs, every attention layer of ``model`` has a `TemperedSoftmax`; afterwards none has.

    Yields the temperatures, one module a layer, in the model's order and on its device, for an optimizer; they are no
    part of the model, so save them yourself. Queries are divided on their way to the kernel, whichever it is; at t = 1
    the model computes what it did, bit for bit. Additive biases of positions are not divided. Call backward inside of
    the block: checkpointed layers run again in it, and outside of it torch tells that they are others. Reentrant
    checkpoints, of which nobody would tell, are refused. A model that was compiled before goes by its temperatures.

    Args:
        model: of `transformers`, eager or sdpa. context: the most positions. init: t. include: see `watch_attention`,
            which sees the tempered queries where its block is inside of this one.

    Raises:
        ValueError: see `attention_layers` and `TemperedSoftmax`; layers whose weights are on the meta device; in a
            forward pass, positions beyond the context, or unknown behind a cache.
        TypeError: no model, or an include that is no function. RuntimeError: reentrant checkpointing.
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
        if parameter is not None and parameter.is_meta:
            raise ValueError(f"temper_attention: {name} is on the meta device; load the model's weights first")
        if parameter is not None:
            softmaxes[name].to(parameter.device)
    # Whichever of them is called, a checkpoint is between it and the layer.
    around = [part for part in model.modules() if not set(layers.values()).isdisjoint(part.modules())]
    with following(around) as whole, listening(layers, lambda name: _Temper(softmaxes[name], whole)):
        yield nn.ModuleList(softmaxes.values())
