"""How far training has moved a network: weights, representation and tangent kernel against the start."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entrokit.evaluation import evaluating

from .alignment import kernel_alignment, representation_alignment, sign_similarity
from .kernel import MEMORY, tangent_kernel
from .ranks import effective_rank, spectral_radius


class LazinessTracker:
    """The laziness measures of arXiv 2310.08513 on fixed probes: high alignment and a small change of weight are lazy.

        tracker = LazinessTracker(model, probes, "0.weight", hidden=model[:2])
        tracker.snapshot()  # the start
        train(model)
        tracker.snapshot()
        tracker.report()  # {"weight_change": ..., "kernel_alignment": ..., ...}

    Only the start is kept, and the measures of every snapshot, in ``history``.

    Args:
        model: gives a tensor ``[n, ...]`` for probes ``[n, ...]``; in eval mode while it is measured.
        probes: ``[n, ...]``. weight_name: the weight that is studied, with two dimensions or more.
        hidden: gives the representation ``[n, ...]`` of probes, as ``model[:2]`` of an `nn.Sequential` does. Without it
            representations are left out.
        kernel_params: parameters of the tangent kernel; by default the studied weight alone, as in the paper.
        kernel_probes: how many of the probes the kernel takes, the first ones; all by default.
        center: see `kernel_alignment`. chunk, memory, vectorize: see `tangent_kernel`.

    Raises:
        ValueError: an unknown weight, one with fewer dimensions, or no probes.
    """

    def __init__(
        self,
        model: nn.Module,
        probes: Tensor,
        weight_name: str,
        *,
        hidden: Callable[[Tensor], Tensor] | None = None,
        kernel_params: Sequence[str] | None = None,
        kernel_probes: int | None = None,
        center: bool = False,
        chunk: int | None = None,
        memory: int = MEMORY,
        vectorize: bool = True,
    ) -> None:
        every = dict(model.named_parameters(remove_duplicate=False))
        if weight_name not in every or every[weight_name].dim() < 2:
            matrices = ", ".join([name for name, value in every.items() if value.dim() > 1][:8])
            raise ValueError(f"LazinessTracker: no matrix {weight_name!r} in the model; it has {matrices or 'none'}")
        if not probes.dim() or not len(probes) or (kernel_probes is not None and kernel_probes < 1):
            raise ValueError(
                f"LazinessTracker: probes [n, ...] and at least one for the kernel, got {list(probes.shape)} and "
                f"{kernel_probes}"
            )
        self._model, self._probes, self._name, self._hidden = model, probes, weight_name, hidden
        self._params = [weight_name] if kernel_params is None else list(kernel_params)
        self._kernel_probes, self._center = kernel_probes, center
        self._chunk, self._memory, self._vectorize = chunk, memory, vectorize
        self._start: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def snapshot(self) -> dict[str, float]:
        """Measures the model as it is now against the first snapshot, which this may be; see `report`.

        Raises:
            ValueError: activity or derivatives are not finite, or ``hidden`` gives no tensor ``[n, ...]``. Nothing is
                recorded then.
        """
        now = self._measure()
        start = self._start or now
        found = self._compare(start, now)
        self._start = start
        self.history.append(found)
        return found

    def report(self) -> dict[str, float]:
        """The last snapshot against the first.

        Returns:
            ``weight_change`` (Frobenius norm) and ``relative_weight_change`` (NaN of a weight that began as 0);
            ``kernel_alignment``; with ``hidden``,
            ``representation_alignment`` and ``sign_similarity``; effective ranks ``rank_...`` of the weight at the
            start and ``final_rank_...``; of a square one, ``spectral_radius`` and ``final_spectral_radius``.

        Raises:
            RuntimeError: fewer than two snapshots.
        """
        if len(self.history) < 2:
            raise RuntimeError(
                f"LazinessTracker: {len(self.history)} snapshots; take one before training and one after, then report"
            )
        return dict(self.history[-1])

    def state_dict(self) -> dict[str, Any]:
        """The start, the history and what they were measured on, for a checkpoint."""
        return {
            "start": dict(self._start),
            "history": [dict(found) for found in self.history],
            "measured": self._measured(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a state of the same weight, probes and options.

        Raises:
            ValueError: a state of another weight's shape, of other probes, or of another kernel or representation, of
                which alignments would compare what is not alike; or one that does not tell. Nothing is taken then.
        """
        start = {name: value.clone() for name, value in state["start"].items()}
        shape = dict(self._model.named_parameters(remove_duplicate=False))[self._name].shape
        if start and start["weight"].shape != shape:
            raise ValueError(
                f"LazinessTracker: a state of a weight {list(start['weight'].shape)}, and {self._name} is {list(shape)}"
            )
        own, given = self._measured(), state.get("measured", {})
        differ = [f"{key} ({given.get(key)}, and here {own[key]})" for key in own if given.get(key) != own[key]]
        if start and differ:
            raise ValueError(
                f"LazinessTracker: the state was measured on other {'; '.join(differ)}; give the tracker what it "
                "had, or take the start anew"
            )
        self._start, self.history = start, [dict(found) for found in state["history"]]

    def _measured(self) -> dict[str, Any]:
        """What two snapshots must have in common to be compared."""
        values = self._probes.detach().cpu().contiguous()
        digest = hashlib.sha256(values.flatten().view(torch.uint8).numpy().tobytes())
        return {
            "probes": f"{values.dtype} {list(values.shape)} sha256 {digest.hexdigest()[:16]}",
            "weight_name": self._name,
            "kernel_params": list(self._params),
            "kernel_probes": len(self._probes[: self._kernel_probes]),
            "hidden": self._hidden is not None,
            "center": self._center,
        }

    def _measure(self) -> dict[str, Tensor]:
        weight = dict(self._model.named_parameters(remove_duplicate=False))[self._name]
        found = {"weight": weight.detach().clone()}
        if self._hidden is not None:
            with evaluating(self._model), torch.no_grad():
                activity = self._hidden(self._probes)
            if not isinstance(activity, Tensor) or activity.shape[:1] != self._probes.shape[:1]:
                what = list(activity.shape) if isinstance(activity, Tensor) else type(activity).__name__
                raise ValueError(
                    f"LazinessTracker: hidden must give a tensor [n, ...] for {len(self._probes)} probes, got {what}"
                )
            found["hidden"] = activity.detach().clone()
        found["kernel"] = tangent_kernel(
            self._model,
            self._probes[: self._kernel_probes],
            self._params,
            self._chunk,
            memory=self._memory,
            vectorize=self._vectorize,
        )
        return found

    def _compare(self, start: dict[str, Tensor], now: dict[str, Tensor]) -> dict[str, float]:
        W0, W = (each["weight"].double() for each in (start, now))
        change = float((W - W0).norm())
        size = float(W0.norm())
        found = {
            "weight_change": change,
            "relative_weight_change": change / size if size > 0 else float("nan"),
            "kernel_alignment": kernel_alignment(start["kernel"], now["kernel"], self._center),
        }
        if self._hidden is not None:
            found["representation_alignment"] = representation_alignment(start["hidden"], now["hidden"], self._center)
            found["sign_similarity"] = sign_similarity(start["hidden"], now["hidden"])
        return found | _spectrum(W0.flatten(1), "") | _spectrum(W.flatten(1), "final_")


def _spectrum(W: Tensor, when: str) -> dict[str, float]:
    found = {
        f"{when}rank_participation": effective_rank(W),
        f"{when}rank_stable": effective_rank(W, "stable"),
        f"{when}rank_entropy": effective_rank(W, "entropy"),
    }
    if W.shape[0] == W.shape[1]:
        found[f"{when}rank_abs_eig"] = effective_rank(W, "abs_eig")
        found[f"{when}spectral_radius"] = spectral_radius(W)
    return found
