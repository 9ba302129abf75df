"""The diagonal of the Fisher information of a classifier, without a backward pass for every input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from entrokit.evaluation import evaluating

from .update import at_least_float32


def diagonal_fisher(
    model: nn.Module, inputs: Tensor, labels: Tensor | None = None, *, chunk: int = 64
) -> dict[str, Tensor]:
    """E_x E_{y ~ p(y|x)} (∂ log p(y|x) / ∂w)², of a classifier: a tensor of the parameter's shape each, at least 0.

    Of parameters in half precision it is float32: squares of their gradients would underflow.

    Args:
        model: gives logits ``[N, C]``, or an object with such ``logits``, as transformers' classifiers do. It is run in
            eval mode, so that a row depends on its own input alone, and is in its own modes afterwards.
        inputs: ``[N, ...]``. labels: whole numbers ``[N]`` from 0 to C−1, instead of the expectation over all C
            classes: those that were drawn from the model (an unbiased estimate at 1/C of the cost), or those of the
            data (the "empirical Fisher").
        chunk: inputs at a time; so many gradients of all parameters are held.

    Raises:
        ValueError: no inputs, labels of another number or that are no classes, logits of another shape, no trainable
            parameters, a chunk below 1, or a result that is NaN or infinite.
        RuntimeError: `torch.func` cannot run the model input by input.
    """
    if not len(inputs) or chunk < 1:
        raise ValueError(f"diagonal_fisher: needs inputs and chunk >= 1, got {len(inputs)} and {chunk}")
    params = {name: param.detach() for name, param in model.named_parameters() if param.requires_grad}
    if not params:
        raise ValueError("diagonal_fisher: the model has no trainable parameters")

    def log_likelihood(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits = _logits(functional_call(model, values, (x[None],)), 1)
        return logits.log_softmax(-1)[0].gather(-1, y[None])[0]

    scores = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    fisher = {name: torch.zeros_like(param, dtype=at_least_float32(param.dtype)) for name, param in params.items()}

    def add(x: Tensor, y: Tensor, weight: Tensor) -> None:
        try:
            found = scores(params, x, y)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                f"diagonal_fisher: torch.func cannot run this model input by input ({error}); write its forward "
                "without in-place changes, branches on values of tensors, and state of its own"
            ) from error
        for name, score in found.items():
            wide = score.to(fisher[name].dtype)
            fisher[name] += torch.tensordot(weight.to(wide.dtype), wide.square(), 1) / len(inputs)

    with evaluating(model):
        with torch.no_grad():
            classes = _logits(model(inputs[:chunk]), len(inputs[:chunk])).shape[1]
        if labels is not None:
            labels = _classes(labels, len(inputs), classes).to(inputs.device)
        for rows in torch.split(torch.arange(len(inputs), device=inputs.device), chunk):
            x = inputs[rows]
            if labels is not None:
                add(x, labels[rows], torch.ones_like(rows, dtype=torch.float32))
                continue
            with torch.no_grad():
                logits = _logits(model(x), len(x))
            for c, weight in enumerate(logits.softmax(-1).unbind(-1)):
                add(x, torch.full_like(rows, c), weight)
    broken = [name for name, value in fisher.items() if not bool(value.isfinite().all())]
    if broken:
        raise ValueError(
            f"diagonal_fisher: the information of {', '.join(broken[:5])} is NaN or infinite; look for NaN in the "
            "inputs and weights, and for functions without a derivative"
        )
    return fisher


def _logits(out: object, number: int) -> Tensor:
    """``[number, C]`` of what a model returned."""
    logits = out if isinstance(out, Tensor) else getattr(out, "logits", None)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"diagonal_fisher: the model returns {type(out).__qualname__}, which is no tensor and has no logits; wrap "
            "it in a module that returns logits"
        )
    if logits.dim() != 2 or len(logits) != number:
        raise ValueError(f"diagonal_fisher: logits must be [{number}, classes], got {list(logits.shape)}")
    return logits


def _classes(labels: Tensor, number: int, classes: int) -> Tensor:
    if labels.shape != (number,):
        raise ValueError(f"diagonal_fisher: {number} inputs need as many labels, got {list(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"diagonal_fisher: labels are whole numbers, 0 to {classes - 1}, got {labels.dtype}")
    labels = labels.long()
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise ValueError(
            f"diagonal_fisher: labels lie from 0 to {classes - 1}, and {len(outside)} of {number} do not; the first is "
            f"{int(outside[0])}"
        )
    return labels
