"""From a trainer's events to a run's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from entrokit.runs import RunWriter

if TYPE_CHECKING:
    from entrokit.engines.trl import GenerationBatch


class Recorder:
    """Listens to an `EntropyGRPOTrainer` and writes what it hears.

    Args:
        writer: of the run. tokenizer: tells the tokens' texts.
        every: optimiser steps from one written batch of completions to the next.
        on_metrics: called with the step and the metrics, after they were written.
    """

    def __init__(
        self,
        writer: RunWriter,
        tokenizer: Any,
        every: int,
        on_metrics: Callable[[int, Mapping[str, float]], None] | None = None,
    ) -> None:
        self._writer, self._tokenizer, self._every, self._on_metrics = writer, tokenizer, every, on_metrics
        self._evaluation: tuple[int, dict[str, list[Any]]] | None = None

    def on_generation(self, batch: GenerationBatch) -> None:
        if batch.evaluation:
            # Evaluations arrive in parts, one a device batch; their groups are numbered on.
            step, whole = self._evaluation or (batch.step, {})
            columns = _columns(batch, self._tokenizer, first_group=1 + max(whole.get("group", [-1])))
            self._evaluation = (step, {k: whole.get(k, []) + v for k, v in columns.items()})
        elif batch.step % self._every == 0:
            self._writer.rollouts(batch.step, _columns(batch, self._tokenizer))

    def callback(self) -> Any:
        """For the trainer's `callbacks`."""
        from transformers import TrainerCallback

        recorder = self

        class Record(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                # The last generation batch may have fewer steps than stand between two lines of metrics.
                if state.global_step == state.max_steps:
                    control.should_log = True

            def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
                recorder._on_log(state.global_step, logs)

        return Record()

    def _on_log(self, step: int, logs: Mapping[str, Any]) -> None:
        numbers = {}
        for name, value in logs.items():
            try:
                numbers[name] = float(value)
            except (TypeError, ValueError):
                continue
        if "train_runtime" in numbers:
            return
        if any(name.startswith("eval_") for name in numbers):
            # First, so that whoever is told of an evaluation finds it whole, and may stop the run there.
            self._write_evaluation()
        self._writer.metrics(step, numbers)
        if self._on_metrics is not None:
            self._on_metrics(step, numbers)

    def _write_evaluation(self) -> None:
        if self._evaluation is not None:
            step, columns = self._evaluation
            self._writer.rollouts(step, columns, evaluation=True)
            self._evaluation = None


def _columns(batch: GenerationBatch, tokenizer: Any, first_group: int = 0) -> dict[str, list[Any]]:
    """A generation batch as `runs.layout.ROLLOUT_COLUMNS`."""
    r = batch.rollouts
    lengths = r.real.sum(1).tolist()
    rows = range(len(r))
    trained = r.trained.sum(1).clamp(min=1)
    entropy = r.behaviour.require("entropy", "recording rollouts")

    def per_token(x: Any) -> list[list[float]]:
        return [x[i, : lengths[i]].float().tolist() for i in rows]

    def text(prompt: Any) -> str:
        return prompt if isinstance(prompt, str) else "\n".join(str(m.get("content", "")) for m in prompt)

    return {
        "group": (r.group + first_group).tolist(),
        "prompt": [text(p) for p in batch.prompts],
        "family": batch.families or [None] * len(r),
        "completion": list(batch.completions),
        "reward": [None if x != x else x for x in r.reward.tolist()],
        "advantage": ((batch.advantages * r.trained).sum(1) / trained).tolist(),
        "truncated": (r.real.new_zeros(len(r)) if r.truncated is None else r.truncated).tolist(),
        "tokens": [[tokenizer.decode([t]) for t in r.tokens[i, : lengths[i]].tolist()] for i in rows],
        "entropy": per_token(entropy),
        "logp": per_token(r.behaviour.logp),
    }
