"""Δ of a model's samples along a direction of its parameters: one Jacobian-vector product (arXiv 2603.13552)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from .inputs import Call
from .language import is_language_model, token_logit_spread
from .radii import slope_spread, worst_spread
from .slopes import Parameters, evaluating, slopes_along

LogitFunction = Callable[[dict[str, Tensor], Any], Tensor]


def logit_spread(
    model: nn.Module | LogitFunction,
    parameters: Parameters,
    inputs: Any,
    direction: Parameters,
    *,
    method: str = "auto",
) -> Tensor:
    """``Δ(x) = max_k a_k - min_k a_k`` with ``a = J_z(x) direction``, of every sample.

    Args:
        model: a module, looked at in evaluation mode, that gives logits ``[..., K]`` or has them as its output's
            ``logits``; a causal language model of `transformers`, whose head is read in chunks; or a function
            ``model(parameters, inputs) -> logits [..., K]``.
        parameters: by name, those at which the derivative is taken. direction: by name; what is left out does not
            move. Its length counts: of a unit vector, Δ is per unit of distance; of an update, per update.
        inputs: one argument, a tuple of them, or a mapping of keywords.
        method: "jvp", "difference" or "auto", see `slopes_along`.

    Returns:
        ``[...]``: a sample's, or of every position ``[B, T]``, 0 where none is predicted. Classes at ``-inf`` do not
        count.

    Raises:
        TypeError: an output without logits. ValueError: see `slopes_along`.
    """
    if not isinstance(model, nn.Module):
        function = model
        values, slopes = slopes_along(lambda own: (function(dict(own), inputs),), parameters, direction, method=method)
        return slope_spread(slopes[0], values[0])
    call, module = Call.of(inputs), bare(model)
    with evaluating(module):
        if is_language_model(module):
            return token_logit_spread(module, parameters, call, direction, method=method)
        kwargs = {name: value for name, value in call.kwargs.items() if name != "labels"}

        def outputs(own: Parameters) -> tuple[Tensor]:
            return (logits_of(functional_call(module, dict(own), call.args, kwargs)),)

        values, slopes = slopes_along(outputs, parameters, direction, method=method)
    return slope_spread(slopes[0], values[0])


def normalized_step(
    model: nn.Module, inputs: Any, update: Mapping[str, Tensor], *, reduction: str | float = "max", method: str = "auto"
) -> float:
    """``r = ‖update‖ / ρ``, the length of an update in units of the radius along it: ``max_x Δ(update) / π``.

    Args:
        model: as for `logit_spread`, at its own parameters. update: by parameter name; what is left out does not move.
        reduction: see `worst_spread`.

    Returns:
        At least 0. Below 1 the loss is inside of its Taylor series' disc all along the update.

    Raises:
        TypeError, ValueError: see `logit_spread`.
    """
    parameters = {name: p.detach() for name, p in bare(model).named_parameters()}
    return worst_spread(logit_spread(model, parameters, inputs, update, method=method), reduction) / math.pi


def logits_of(output: Any) -> Tensor:
    """The logits of a module's output: the output itself, or its ``logits``."""
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or not logits.dim():
        raise TypeError(
            f"logit_spread: the model returns {type(output).__name__}, neither logits [..., K] nor something with "
            "`.logits`; give a function from parameters and inputs to logits"
        )
    return logits


def bare(model: Any) -> Any:
    """The model under the wrappers of data parallelism, compilation and PEFT."""
    while True:
        if isinstance(getattr(model, "module", None), nn.Module):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod
        elif hasattr(model, "get_base_model"):
            return model.get_base_model()
        else:
            return model
