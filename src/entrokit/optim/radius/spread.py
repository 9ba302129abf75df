"""Δ of a model's samples along a direction of its parameters: one Jacobian-vector product (arXiv 2603.13552)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from entrokit.evaluation import evaluating

from .inputs import Call
from .language import is_language_model, token_logit_spread
from .radii import slope_spread, worst_spread
from .slopes import Parameters, slopes_along

LogitFunction = Callable[[dict[str, Tensor], Any], Tensor]


def logit_spread(
    model: nn.Module | LogitFunction,
    parameters: Parameters,
    inputs: Any,
    direction: Parameters,
    *,
    method: str = "auto",
    class_dim: int | None = -1,
) -> Tensor:
    """``Δ(x) = max_k a_k - min_k a_k`` with ``a = J_z(x) direction``, of every sample.

    Args:
        model: a module, looked at in evaluation mode, that gives logits ``[N, ..., K]`` or has them as its output's
            ``logits``; a causal language model of `transformers`, whose head is read in chunks and whose classes are
            its vocabulary; or a function ``model(parameters, inputs) -> logits [..., K]``.
        parameters: by name, those at which the derivative is taken. direction: by name; what is left out does not
            move. Its length counts: of a unit vector, Δ is per unit of distance; of an update, per update.
        inputs: one argument, a tuple of them, or a mapping of keywords.
        method: "jvp", "difference" or "auto", see `slopes_along`.
        class_dim: the dimension of the logits over which the loss takes its softmax. torch's `cross_entropy` takes
            dimension 1: say 1 for ``[N, K, H, W]`` or ``[N, K, T]``. One class alone is the logit z of a sigmoid, the
            softmax of (0, z): its Δ is ``|a|``. None: every entry is the logit of a sigmoid of its own
            (`binary_cross_entropy_with_logits` on ``[N]`` or ``[N, L]``).

    Returns:
        The logits' shape without ``class_dim``: a sample's, or of every position ``[B, T]``, 0 where none is predicted.
        Classes at ``-inf`` do not count.

    Raises:
        TypeError: an output without logits. ValueError: a ``class_dim`` that the logits do not have, or that is the
            first dimension of a module's output, the samples'; see `slopes_along`.
    """
    if not isinstance(model, nn.Module):
        function = model
        values, slopes = slopes_along(lambda own: (function(dict(own), inputs),), parameters, direction, method=method)
        return spread_of_logits(slopes[0], values[0], class_dim)
    call, module = Call.of(inputs), bare(model)
    with evaluating(module):
        if is_language_model(module):
            return token_logit_spread(module, parameters, call, direction, method=method)
        kwargs = {name: value for name, value in call.kwargs.items() if name != "labels"}

        def outputs(own: Parameters) -> tuple[Tensor]:
            return (logits_of(functional_call(module, dict(own), call.args, kwargs)),)

        values, slopes = slopes_along(outputs, parameters, direction, method=method)
    shape = list(values[0].shape)
    if class_dim is not None and class_dim % len(shape) == 0 and -len(shape) <= class_dim < len(shape):
        raise ValueError(
            f"logit_spread: the model gives logits {shape}, whose dimension {class_dim} is that of the samples; give "
            "[N, K], or class_dim=None where every number is the logit of a sigmoid"
        )
    return spread_of_logits(slopes[0], values[0], class_dim)


def check_class_dim(class_dim: int | None) -> None:
    """Raises `ValueError` for the dimension of the samples."""
    if class_dim == 0:
        raise ValueError("class_dim: dimension 0 is that of the samples; 1 is torch's, -1 the last, None for sigmoids")


def spread_of_logits(slopes: Tensor, logits: Tensor, class_dim: int | None) -> Tensor:
    """`slope_spread` over one dimension, where a single logit z is the pair (0, z); see `logit_spread`."""
    if class_dim is None:
        slopes, logits, class_dim = slopes[..., None], logits[..., None], -1
    if not -slopes.dim() <= class_dim < slopes.dim():
        raise ValueError(f"class_dim: logits {list(logits.shape)} have no dimension {class_dim}")
    slopes, logits = slopes.movedim(class_dim, -1), logits.movedim(class_dim, -1)
    if slopes.shape[-1] == 1:
        slopes, logits = (torch.cat([torch.zeros_like(x), x], -1) for x in (slopes, logits))
    return slope_spread(slopes, logits)


def normalized_step(
    model: nn.Module,
    inputs: Any,
    update: Mapping[str, Tensor],
    *,
    reduction: str | float = "max",
    method: str = "auto",
    class_dim: int | None = -1,
) -> float:
    """``r = ‖update‖ / ρ``, the length of an update in units of the radius along it: ``max_x Δ(update) / π``.

    Args:
        model: as for `logit_spread`, at its own parameters. update: by parameter name; what is left out does not move.
        reduction: see `worst_spread`. method, class_dim: see `logit_spread`.

    Returns:
        At least 0. Below 1 the loss is inside of its Taylor series' disc all along the update.

    Raises:
        TypeError, ValueError: see `logit_spread`.
    """
    parameters = {name: p.detach() for name, p in bare(model).named_parameters()}
    spread = logit_spread(model, parameters, inputs, update, method=method, class_dim=class_dim)
    return worst_spread(spread, reduction) / math.pi


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
