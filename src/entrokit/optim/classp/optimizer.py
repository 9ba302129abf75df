"""CLASSP: weights that have learned much move less, and weights that hardly matter now are left for later tasks."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..checked import CheckedOptimizer
from .checks import check_knobs, largest_gradients, refuse_sparse, unusable, usable, with_gradient
from .update import FOREACH_DEVICES, Bucket, Rule, at_least_float32, update_each, update_foreach

_HISTORY = "consolidation"


class CLASSP(CheckedOptimizer):
    """Continual learning by adjustment suppression and sparsity promotion (arXiv 2405.09637).

    Per entry, with gradient g and the sum S of what it has received, over all tasks:

        M = 1[g² > θ],    S ← S + M |g|^p,    w ← w - M α g / (ε + S)^{1/p}

    S is the memory of the method: save it with the model, and do not make a new optimizer between tasks. At p = 2 and
    θ < 0 this is `torch.optim.Adagrad` with ``initial_accumulator_value=eps`` and ``eps=0``.

        optimizer = CLASSP(model.parameters(), lr=0.05, threshold=1e-5, eps=1e-4)

    Args:
        params: as for any optimizer; every knob but ``foreach`` may differ between groups.
        lr: α. At p = 1 an entry's first step is about α whatever its gradient: choose it small beside weights, such as
            0.01. The default, 0.2, is that of the released vision run, which learns its first task by plain steps
            (``apply_scaling=False``); with scaling from the start it is too large for most networks.
        threshold: θ, of squared gradients: it depends on the scale of the loss. `update_density` says what it lets
            through; below 0 all, 0 all that is not exactly 0. In mode "reference", see there.
        eps: ε, inside the root. power: p.
        apply_scaling: False for plain steps of α g that only record S, as the released vision run learns its first
            task. It may be set in ``param_groups`` between tasks, as all knobs; a step looks at them again.
        mode: "paper", or "reference" for the numbers of the released code, whose threshold is no gate (below 1 all
            is touched, from 1 on nothing) and whose S is Σ|g| whatever p.
        foreach: all tensors of a kind in one operation; by default on GPUs. maximize: ascend.

    S is float32 for parameters in half precision, and as wide as the parameter for others. Gradients must be unscaled
    (`torch.amp.GradScaler` does it in ``scaler.step``).

    Raises:
        ValueError: a knob out of range, or a parameter that is complex (the paper says nothing of them), expanded, or
            on the meta device.
    """

    _buffer = _HISTORY
    # Of the class, since pickling an optimizer drops what is no state.
    _has_warned = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.2,
        threshold: float = 0.0,
        eps: float = 1e-5,
        power: float = 1.0,
        apply_scaling: bool = True,
        mode: str = "paper",
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "threshold": threshold,
            "eps": eps,
            "power": power,
            "apply_scaling": apply_scaling,
            "mode": mode,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step along the gradients that the parameters hold; parameters without one stay.

        Warns where gradients are there and none passes the threshold, once: batches that are known by heart are such.

        Returns:
            What ``closure`` returned, None without one.

        Raises:
            RuntimeError: a gradient that is sparse, not finite, or whose p-th power is not; nothing was changed.
            ValueError: a knob that was set out of range since; nothing was changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # All is looked at before anything is changed: what enters S stays there.
        rules = self._rules()
        self._check_gradients(rules)
        for rule, group in zip(rules, self.param_groups, strict=True):
            for bucket in self._buckets(group["params"]):
                foreach = group["foreach"]
                if foreach is None:
                    foreach = bucket.params[0].device.type in FOREACH_DEVICES
                (update_foreach if foreach else update_each)(rule, bucket)
        return loss

    def consolidation(self) -> dict[Tensor, Tensor]:
        """S of every parameter that has been stepped: its shape, at least 0; the tensors themselves, no copies."""
        return {param: state[_HISTORY] for param, state in self.state.items() if state}

    @torch.no_grad()
    def update_density(self) -> float:
        """Share of entries that a step along the gradients held now touches, 0 to 1; 0 where there are none.

        NaN where a step would refuse them: one is NaN or infinite, or its p-th power is. Between ``step()`` and
        ``zero_grad()`` it is that of the step, and costs two passes over the gradients.

        Raises:
            RuntimeError: a sparse gradient.
            ValueError: a knob that was set out of range.
        """
        touched, entries = 0, 0
        for index, (rule, group) in enumerate(zip(self._rules(), self.param_groups, strict=True)):
            refuse_sparse(group["params"], index)
            if not all(usable(dtype, largest, rule.power) for dtype, largest in largest_gradients(group["params"])):
                return math.nan
            for param, grad in with_gradient(group["params"]):
                size = grad.to(at_least_float32(param.dtype)).abs()
                if rule.released:
                    touched += param.numel() * int(rule.gate < 0.0 and bool(size.any()))
                else:
                    touched += int((size > rule.gate).sum())
                entries += param.numel()
        return touched / entries if entries else 0.0

    def average_grad_sum(self) -> float:
        """Mean of S over the entries of parameters that have a gradient and have been stepped; 0 where there are none.

        The released code's diagnostic of how much has been consolidated.
        """
        total, entries = 0.0, 0
        for group in self.param_groups:
            for param, _ in with_gradient(group["params"]):
                if self.state.get(param):
                    total += float(self.state[param][_HISTORY].sum(dtype=torch.float64))
                    entries += param.numel()
        return total / entries if entries else 0.0

    @torch.no_grad()
    def decay_consolidation(self, factor: float = 0.0) -> None:
        """S ← factor S. S only grows, and after a long stream nothing moves any more; 0 forgets what is consolidated.

        Not of the paper, and never called by `step`.

        Raises:
            ValueError: a factor outside 0 to 1.
        """
        if not 0.0 <= factor <= 1.0:
            raise ValueError(f"decay_consolidation: factor must lie in 0 to 1, got {factor}")
        for history in self.consolidation().values():
            history.mul_(factor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimiser's, with S in its own dtype: torch casts state to that of the parameters.

        Raises:
            ValueError: groups that do not match, a knob out of range, the state of another optimiser, with what it
                lacks, or of other parameters; nothing was loaded.
        """
        super().load_state_dict(state_dict)
        for _, param, history in self._saved(state_dict):
            own = torch.zeros_like(param, dtype=at_least_float32(param.dtype), requires_grad=False)
            self.state[param][_HISTORY] = own.copy_(history)

    def _check_knobs(self, group: Mapping[str, Any], index: int) -> None:
        check_knobs(group, index)

    def _sound(self, buffer: Tensor) -> bool:
        return super()._sound(buffer) and bool((buffer >= 0.0).all())

    def _rules(self) -> list[Rule]:
        """What the groups ask for now; their knobs may have been set by hand since the last step."""
        for index, group in enumerate(self.param_groups):
            check_knobs(group, index)
        return [Rule.of(group) for group in self.param_groups]

    def _check_gradients(self, rules: Sequence[Rule]) -> None:
        largest_of_all, passes = 0.0, False
        for index, (rule, group) in enumerate(zip(rules, self.param_groups, strict=True)):
            refuse_sparse(group["params"], index)
            for dtype, largest in largest_gradients(group["params"]):
                if not usable(dtype, largest, rule.power):
                    raise RuntimeError(unusable(group["params"], index, rule.power))
                largest_of_all = max(largest_of_all, largest)
                passes = passes or largest > rule.gate
        if largest_of_all > 0.0 and not passes and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"CLASSP: no gradient passes the threshold, and nothing was touched; the largest |g| is "
                f"{largest_of_all:.3g}, its square {largest_of_all**2:.3g}. Choose `threshold` below that",
                stacklevel=5,
            )

    def _buckets(self, params: list[Tensor]) -> Iterator[Bucket]:
        """Parameters that have a gradient, by device and dtype, with their histories, which start here."""
        found: dict[tuple[torch.device, torch.dtype], Bucket] = {}
        for param, grad in with_gradient(params):
            bucket = found.setdefault((param.device, param.dtype), Bucket([], [], []))
            bucket.params.append(param)
            bucket.grads.append(grad)
            bucket.histories.append(self._held(param, at_least_float32(param.dtype)))
        yield from found.values()
