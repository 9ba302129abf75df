"""The step's length in radii of its Taylor series (`entrokit.optim.radius`), in a TRL run: logged, and clipped.

A trained token is a sample, its policy's logits over the sampling temperature are what must not leave the disc. Of a
step some completions are looked at, drawn by lot: one forward with derivatives, the head in chunks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from transformers import TrainerCallback

from entrokit.evaluation import evaluating
from entrokit.optim.radius import StepMeter, StepRadius, linear_logit_spread, slope_spread
from entrokit.optim.radius.radii import worst_spread
from entrokit.optim.radius.slopes import Parameters, check_method, slopes_along

from .forward import PolicyForward
from .head import KEYWORD, HeadRequest, bare, cap_and_scale, head_parameters

_KEPT = 10_000


@dataclass(frozen=True)
class RadiusOptions:
    """How a run's steps are measured.

    Attributes:
        every: one step of so many is measured; clipping needs 1.
        rows: completions of a step that are looked at; None for all.
        clip: the largest r that a step may have, see `RadiusClip`; an update that is NaN or infinite ends the run then.
            None measures and changes nothing, and such an update has an infinite r.
        reduction: over the rows, of each its worst token, see `worst_spread`; a quantile is no bound.
        method: see `entrokit.optim.radius.slopes.slopes_along`.

    Raises:
        ValueError: an option out of range.
    """

    every: int = 1
    rows: int | None = 8
    clip: float | None = None
    reduction: str | float = "max"
    method: str = "auto"

    def __post_init__(self) -> None:
        if self.every < 1 or (self.rows is not None and self.rows < 1):
            raise ValueError(f"RadiusOptions: every and rows must be at least 1, got {self.every} and {self.rows}")
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f"RadiusOptions: clip must be above 0 and finite, or None, got {self.clip}")
        if self.clip is not None and self.every > 1:
            raise ValueError(f"RadiusOptions: clip={self.clip} needs every=1, got {self.every}")
        worst_spread(torch.zeros(1), self.reduction)
        check_method(self.method)


class RadiusCallback(TrainerCallback):  # type: ignore[misc]
    """Measures the steps of a trainer; `EntropyGRPOTrainer(radius=...)` adds one.

    To the log go means over the measured steps: ``radius/r``, as the optimiser proposed the step; ``radius/scale``,
    what it was multiplied by; ``radius/beyond`` and ``radius/shortfall``, the error of having looked at some rows alone
    (see `StepRadius`). ``history`` holds pairs of a step and its `StepRadius`.

    Raises:
        ValueError: FSDP or DeepSpeed, which hold parameters in pieces.
    """

    def __init__(self, trainer: Any, options: RadiusOptions, forward: PolicyForward) -> None:
        if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
            raise ValueError("radius: DeepSpeed and FSDP hold parameters in pieces; leave it out here")
        self._trainer, self._forward = trainer, forward
        self.options = options
        self.history: deque[tuple[int, StepRadius]] = deque(maxlen=_KEPT)
        self._meter = StepMeter(math.inf if options.clip is None else options.clip, reduction=options.reduction)
        self._batches: list[Mapping[str, Any]] | None = None

    def saw(self, inputs: Mapping[str, Any]) -> None:
        """Shown every micro-batch that a loss of training is computed of."""
        if self._batches is not None:
            self._batches.append(inputs)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._batches = [] if state.global_step % self.options.every == 0 else None

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._batches is not None:
            groups = kwargs["optimizer"].param_groups
            self._meter.begin(self._model, [p for group in groups for p in group["params"]])

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._batches is None:
            return
        batches, self._batches = self._batches, None
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + state.global_step)
        found = self._meter.end(lambda before, update: self._spreads(batches, before, update, generator))
        self.history.append((state.global_step, found))
        for name in ("r", "scale", "beyond", "shortfall"):
            self._trainer._metrics["train"][f"radius/{name}"].append(getattr(found, name))

    @property
    def _model(self) -> Any:
        return bare(self._trainer.accelerator.unwrap_model(self._trainer.model))

    def _spreads(
        self,
        batches: Sequence[Mapping[str, Any]],
        before: Parameters,
        update: Parameters,
        generator: torch.Generator,
    ) -> tuple[Tensor, int]:
        """Δ of the worst trained token of every row that is drawn, ``[m]``, and how many rows there are."""
        trained = [_trained(batch) for batch in batches]
        places = [(n, row) for n, own in enumerate(trained) for row in own.any(1).nonzero()[:, 0].tolist()]
        # Rows without a trained token are no samples: the step is not judged by them.
        chosen = torch.randperm(len(places), generator=generator)[: self.options.rows].tolist()
        parts = []
        for n, batch in enumerate(batches):
            rows = [places[i][1] for i in sorted(chosen) if places[i][0] == n]
            if rows:
                index = torch.tensor(rows, device=trained[n].device)
                spread = self._of_rows(batch, index, before, update)
                parts.append(torch.where(trained[n][index], spread, 0.0).amax(1))
        return (torch.cat(parts) if parts else torch.zeros(0)), len(places)

    def _of_rows(self, batch: Mapping[str, Any], index: Tensor, before: Parameters, update: Parameters) -> Tensor:
        """Δ of every completion token of some rows, ``[m, T]``."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)[index]
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)[index]
        length = batch["completion_ids"].shape[1]
        model, forward = self._model, self._forward
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": attention, "use_cache": False}
        request = _HiddenRequest(ids[:, -length:], attention[:, -length:].bool(), forward.temperature, frozenset())
        direct = forward.head_unknown is None

        def outputs(own: Parameters) -> Sequence[Tensor]:
            if direct:
                answer: tuple[Tensor, ...] = functional_call(model, dict(own), (), inputs | {KEYWORD: request})
                return answer
            logits: Tensor = functional_call(model, dict(own), (), inputs).logits
            return (logits[:, -length - 1 : -1],)

        with evaluating(model), forward.autocast():
            values, slopes = slopes_along(outputs, before, update, method=self.options.method)
        if not direct:
            return slope_spread(slopes[0].float(), values[0]) / forward.temperature
        cap, scale = cap_and_scale(model.config.get_text_config())
        bias, bias_slope = (values[2], slopes[2]) if len(values) > 2 else (None, None)
        return linear_logit_spread(
            values[0],
            slopes[0],
            values[1],
            slopes[1],
            bias=bias,
            bias_slope=bias_slope,
            temperature=forward.temperature / scale,
            softcap=None if cap is None else cap / scale,
        )


class _HiddenRequest(HeadRequest):
    """Answers with the hidden states that predict the tokens, ``[B, T, d]``, and the head's weight and bias."""

    def answer(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, ...]:  # type: ignore[override]
        length = self.tokens.shape[1]
        hidden = model.base_model(*args, **kwargs).last_hidden_state[:, -length - 1 : -1]
        weight, bias = head_parameters(model.get_output_embeddings())
        return (hidden, weight) if bias is None else (hidden, weight, bias)


def _trained(batch: Mapping[str, Any]) -> Tensor:
    mask: Tensor = batch["completion_mask"].bool()
    return mask if batch.get("tool_mask") is None else mask & batch["tool_mask"].bool()
