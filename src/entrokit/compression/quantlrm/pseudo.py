"""A short fine-tuning run for a model that has no tuned counterpart, so that there are updates to go by."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import check_number
from .calibration import Batch, checked_batches


def pseudo_fine_tune(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    learning_rate: float = 1e-5,
    loss: Callable[[nn.Module, dict[str, Any]], Tensor] | None = None,
) -> dict[str, Tensor]:
    """Weights of a model's linear layers after one step of AdamW a batch, by their names in ``state_dict()``.

    The model stays as it is: a copy is trained, in float32, and rounded to the model's own dtype at the end, which
    makes small updates of half precision zeros, as in checkpoints that are stored so. What comes out serves as
    ``base_state`` of `QuantLRM.quantize`, for the updates are the same from either end.

    Args:
        model: of `transformers`, unless ``loss`` is given. batches: as calibration batches; each is one step.
        learning_rate: of AdamW, without weight decay. loss: of the model in training mode and a batch as keyword
            arguments; by default that of predicting each next token, padding left out.

    Raises:
        ValueError: no batches, a learning rate that is not above 0, a model whose linear layers are all frozen, or a
            loss that is not finite. TypeError: see `QuantLRM.quantize`.
    """
    check_number("pseudo_fine_tune: learning_rate", learning_rate)
    if not learning_rate > 0.0:
        raise ValueError(f"pseudo_fine_tune: learning_rate must be above 0, got {learning_rate}")
    if not any(m.weight.requires_grad for m in model.modules() if isinstance(m, nn.Linear)):
        raise ValueError(
            "pseudo_fine_tune: no weight of a linear layer requires gradients, and none would move; call "
            "model.requires_grad_(True) first"
        )
    checked = checked_batches(batches, model)
    tuned = copy.deepcopy(model).float().train()
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=learning_rate, weight_decay=0.0)
    device = next(tuned.parameters()).device
    for step, batch in enumerate(checked):
        given = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        found = _next_token_loss(tuned, given) if loss is None else loss(tuned, given)
        if not torch.isfinite(found):
            raise ValueError(
                f"pseudo_fine_tune: the loss of step {step} is {found.item()}; take a smaller learning rate"
            )
        optimizer.zero_grad()
        torch.autograd.backward(found)
        optimizer.step()
    own = dict(model.named_modules())
    return {
        f"{name}.weight": module.weight.detach().to(own[name].weight.dtype)
        for name, module in tuned.named_modules()
        if isinstance(module, nn.Linear)
    }


def _next_token_loss(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    labels = batch["input_ids"]
    mask = batch.get("attention_mask")
    labels = labels if mask is None else labels.masked_fill(mask == 0, -100)
    found: Tensor = model(**{**batch, "labels": labels}).loss
    return found
