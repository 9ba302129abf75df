"""Diffusion spectral entropy of chosen layers, recorded while a model trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .diffusion_entropy import diffusion_spectral_entropy


class RepresentationRecorder:
    """Measures what passes through layers inside ``with recorder.at(step):``, and nothing outside of it.

        recorder = RepresentationRecorder(model, ["encoder", "encoder.4"], sigma="sqrt_dim")
        for epoch in range(epochs):
            train_one_epoch(model)
            with recorder.at(epoch):
                evaluate(model)
        recorder.history["encoder"]  # [(epoch, bits), ...]

    Activations are kept, detached and on the CPU, up to ``max_samples`` a layer: what comes first of a pass counts.

    Args:
        model: any module. layers: names as in ``model.named_modules()``.
        max_samples: rows a layer.
        rows: makes points ``[N, D]`` of a layer's output; by default each sample is flattened.
        measure: of the points, 0-dim; ``options`` go to it. By default `diffusion_spectral_entropy`.

    Raises:
        ValueError: no layer, or a name that the model does not have.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        max_samples: int = 1000,
        rows: Callable[[Tensor], Tensor] | None = None,
        measure: Callable[..., Tensor] = diffusion_spectral_entropy,
        **options: Any,
    ) -> None:
        known = dict(model.named_modules())
        unknown = [name for name in layers if name not in known]
        if unknown or not layers:
            some = ", ".join(list(known)[1:9])
            raise ValueError(f"RepresentationRecorder: no layer {unknown or ''} in the model; it has {some}, ...")
        if max_samples < 1:
            raise ValueError(f"RepresentationRecorder: max_samples must be at least 1, got {max_samples}")
        self._layers = {name: known[name] for name in layers}
        self._max_samples, self._measure, self._options = max_samples, measure, options
        self._rows = rows if rows is not None else lambda output: output.flatten(1)
        self.history: dict[str, list[tuple[int, float]]] = {name: [] for name in layers}

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Collects while the block runs, then appends ``(step, value)`` to each layer's history.

        Raises:
            RuntimeError: nothing passed through a layer, or its output is no tensor.
        """
        seen: dict[str, list[Tensor]] = {name: [] for name in self._layers}
        handles = [layer.register_forward_hook(self._keep(name, seen[name])) for name, layer in self._layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        empty = [name for name, parts in seen.items() if not parts]
        if empty:
            raise RuntimeError(f"RepresentationRecorder: nothing passed through {empty} at step {step}")
        for name, parts in seen.items():
            self.history[name].append((step, float(self._measure(torch.cat(parts), **self._options))))

    def _keep(self, name: str, parts: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise RuntimeError(
                    f"RepresentationRecorder: {name} returns {type(output).__name__}, no tensor; choose a layer inside"
                )
            room = self._max_samples - sum(map(len, parts))
            if room > 0:
                parts.append(self._rows(output.detach())[:room].cpu())

        return hook

    def state_dict(self) -> dict[str, Any]:
        """The history, for a checkpoint."""
        return {name: list(values) for name, values in self.history.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a history."""
        if state.keys() != self.history.keys():
            raise ValueError(f"RepresentationRecorder: the state is of layers {list(state)}, not {list(self.history)}")
        self.history = {name: [(int(s), float(v)) for s, v in values] for name, values in state.items()}
