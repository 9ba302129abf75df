"""Codes that go back and forth: which weights of a model do, and how often.

As Nagel et al. measure it (Overcoming Oscillations in Quantization-Aware Training, arXiv 2203.11086), and the code of
arXiv 2302.02210 after them. A change of code that goes the other way than the last change is an oscillation, o_t = 1:

    f_t = m o_t + (1 - m) f_{t-1},   f_0 = 0
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import check_count
from .model import QuantizedWeight, quantized_weights

_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class OscillationTracker:
    """Follows the codes of one weight; nothing of it is the weight's, so that training is as it was.

    Attributes:
        frequency: f, float32 in the shape of the codes; None before the first ones. total: how often each oscillated,
            int32. updates: how many pairs of successive codes were seen. changed: codes that changed in the last one.
        codes, direction: the last codes, and the direction, 1 or -1, of each one's last change; 0 where there was none.

    Args:
        momentum: m, above 0 and at most 1; the paper's 0.01.

    Raises:
        ValueError: another momentum.
    """

    def __init__(self, momentum: float = 0.01) -> None:
        number = isinstance(momentum, int | float) and not isinstance(momentum, bool)
        if not number or not 0 < momentum <= 1:
            raise ValueError(f"OscillationTracker: momentum is above 0 and at most 1, got {momentum!r}")
        self.momentum = float(momentum)
        self.frequency: Tensor | None = None
        self.total: Tensor | None = None
        self.updates = 0
        self.changed = 0
        self.codes: Tensor | None = None
        self.direction: Tensor | None = None

    @torch.no_grad()
    def update(self, codes: Tensor) -> Tensor:
        """Takes the next codes; gives o, which of them oscillated (none of the first).

        Raises:
            TypeError: no tensor of integers. ValueError: of another shape than before.
        """
        if not isinstance(codes, Tensor) or codes.dtype not in _INTEGERS:
            kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
            raise TypeError(f"OscillationTracker.update: expected a tensor of integer codes, got {kind}")
        if self.codes is None or self.direction is None or self.frequency is None or self.total is None:
            self.codes = codes.detach().clone()
            self.direction = torch.zeros_like(codes, dtype=torch.int8)
            self.frequency = torch.zeros(codes.shape, device=codes.device)
            self.total = torch.zeros_like(codes, dtype=torch.int32)
            return torch.zeros_like(codes, dtype=torch.bool)
        if codes.shape != self.codes.shape:
            raise ValueError(
                f"OscillationTracker.update: codes were of shape {list(self.codes.shape)}, and are now of "
                f"{list(codes.shape)}; a weight needs a tracker of its own"
            )
        direction = (codes > self.codes).to(torch.int8) - (codes < self.codes).to(torch.int8)
        oscillated = direction * self.direction == -1
        self.changed = int((direction != 0).sum())
        self.frequency.lerp_(oscillated.float(), self.momentum)
        self.total += oscillated
        self.direction = torch.where(direction != 0, direction, self.direction)
        self.codes = codes.detach().clone()
        self.updates += 1
        return oscillated

    def share(self, threshold: float = 0.005) -> float:
        """Share of weights that oscillate: f above ``threshold``; NaN before the first update."""
        if self.frequency is None or not self.updates or not self.frequency.numel():
            return float("nan")
        return float((self.frequency > threshold).double().mean())

    def state_dict(self) -> dict[str, Any]:
        """All that it knows; copies."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        copies = {name: None if t is None else t.clone() for name, t in tensors.items()}
        return {"momentum": self.momentum, "updates": self.updates, "changed": self.changed, **copies}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state.

        Raises:
            ValueError: what is no such state; nothing has been changed then.
        """
        if not isinstance(state, dict) or set(state) != {"momentum", "updates", "changed", *_TENSORS}:
            raise ValueError("OscillationTracker.load_state_dict: no state of an OscillationTracker")
        OscillationTracker(state["momentum"])
        for name in ("updates", "changed"):
            check_count(f"OscillationTracker.load_state_dict: {name}", state[name], 0)
        wrong = [name for name in _TENSORS if not isinstance(state[name], Tensor | None)]
        if wrong:
            raise ValueError(f"OscillationTracker.load_state_dict: {wrong[0]} is a {type(state[wrong[0]]).__name__}")
        shapes = {None if state[name] is None else tuple(state[name].shape) for name in _TENSORS}
        if len(shapes) != 1:
            raise ValueError(f"OscillationTracker.load_state_dict: tensors of different shapes {shapes}")
        self.momentum, self.updates, self.changed = state["momentum"], state["updates"], state["changed"]
        for name in _TENSORS:
            setattr(self, name, None if state[name] is None else state[name].clone())


_TENSORS = ("frequency", "total", "codes", "direction")


class OscillationMonitor:
    """A tracker for every quantised weight of a model; ``update`` after each step of the optimiser gives metrics.

    Attributes:
        trackers: by names as `quantized_weights` has them.

    Args:
        model: see `quantize_model`. momentum: see `OscillationTracker`.

    Raises:
        ValueError: a model without quantised weights, or a momentum that is none.
    """

    # Parameters are looked up anew: load_state_dict(assign=True) puts others in their places.

    def __init__(self, model: nn.Module, momentum: float = 0.01) -> None:
        self._model = model
        self.trackers = {name: OscillationTracker(momentum) for name in quantized_weights(model)}

    def update(self) -> dict[str, float]:
        """Over all weights: shares whose code ``changed`` and ``oscillated`` in this step (0 at the first).

        Raises:
            ValueError: weights that became NaN or inf, or are no longer quantised; names them, and no tracker has
                moved.
        """
        changed, oscillated, weights = 0, 0, 0
        for name, codes in self._codes().items():
            own = self.trackers[name].update(codes)
            changed += self.trackers[name].changed
            oscillated += int(own.sum())
            weights += own.numel()
        return {"changed": changed / weights, "oscillated": oscillated / weights}

    def _codes(self) -> dict[str, Tensor]:
        found = {}
        for name, weight in self._followed().items():
            try:
                found[name] = weight.codes()
            except ValueError as error:
                raise ValueError(f"OscillationMonitor: {name}: {error}") from error
        return found

    def _followed(self) -> dict[str, QuantizedWeight]:
        there = quantized_weights(self._model)
        gone = sorted(set(self.trackers) - set(there))
        if gone:
            raise ValueError(f"OscillationMonitor: {', '.join(gone[:5])} are no longer quantised; make it anew")
        return {name: there[name] for name in self.trackers}

    def share(self, threshold: float = 0.005) -> float:
        """Share of all weights that oscillate: f above ``threshold``; NaN before the second update."""
        frequencies = [t.frequency for t in self.trackers.values() if t.frequency is not None and t.updates]
        if not frequencies:
            return float("nan")
        return float((torch.cat([f.flatten() for f in frequencies]) > threshold).double().mean())

    def state_dict(self) -> dict[str, Any]:
        """Of every tracker, by name."""
        return {name: tracker.state_dict() for name, tracker in self.trackers.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises: ValueError: of other weights, or what is no such state; nothing has been changed then."""
        if not isinstance(state, dict):
            raise ValueError("OscillationMonitor.load_state_dict: no state of an OscillationMonitor")
        if set(state) != set(self.trackers):
            raise ValueError(
                "OscillationMonitor.load_state_dict: a state of other weights; only one of both has "
                f"{sorted(set(state) ^ set(self.trackers))[:5]}"
            )
        fresh = {name: OscillationTracker() for name in self.trackers}
        for name, tracker in fresh.items():
            tracker.load_state_dict(state[name])
        for name, weight in self._followed().items():
            codes, shape = fresh[name].codes, weight.latent().shape
            if codes is not None and codes.shape != shape:
                raise ValueError(
                    f"OscillationMonitor.load_state_dict: {name} has codes of shape {list(codes.shape)}, and a weight "
                    f"of {list(shape)}"
                )
        self.trackers = fresh
