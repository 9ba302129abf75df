"""An optimiser that looks at param groups, and at a saved state, before it takes anything of them over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer


class CheckedOptimizer(Optimizer):
    """Adds a param group, or loads a state, whole or not at all.

    A subclass keeps one buffer of each parameter's shape, ``state[param][_buffer]``, and refuses knobs in
    `_check_knobs`.
    """

    _buffer: ClassVar[str]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, its missing knobs from the defaults.

        Raises:
            ValueError: a knob out of range, or a parameter that no step can be made of; the group is not added.
        """
        index = len(self.param_groups)
        self._check_knobs({**self.defaults, **param_group}, index)
        super().add_param_group(param_group)
        try:
            self._check_params(self.param_groups[-1], index)
        except BaseException:
            self.param_groups.pop()
            raise

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As every optimiser's.

        Raises:
            ValueError: groups that do not match, a knob out of range, the state of another optimiser, with what it
                lacks, or of other parameters; nothing was loaded.
        """
        where = f"{type(self).__name__}.load_state_dict"
        another = f"{where}: this is another optimiser's state"
        lacking = sorted({"state", "param_groups"} - state_dict.keys())
        if lacking:
            raise ValueError(f"{another}; it lacks {', '.join(lacking)}")
        for index, group in enumerate(state_dict["param_groups"]):
            # torch adds it to the defaults of whoever has been loaded or unpickled, and to no group.
            lacking = sorted(self.defaults.keys() - {"differentiable"} - group.keys())
            if lacking:
                raise ValueError(f"{another}; group {index} lacks {', '.join(lacking)}")
            self._check_knobs(group, index)
        for key, state in state_dict["state"].items():
            if state and self._buffer not in state:
                found = ", ".join(map(str, state))
                raise ValueError(f"{another}; parameter {key} lacks {self._buffer}, and has {found}")
        for key, param, buffer in self._saved(state_dict):
            if buffer.shape != param.shape:
                raise ValueError(
                    f"{where}: {self._buffer} of parameter {key} has shape {list(buffer.shape)}, and the parameter "
                    f"{list(param.shape)}; load into the model that it was saved with"
                )
            if not self._sound(buffer):
                raise ValueError(f"{where}: {self._buffer} of parameter {key} is not finite, or out of its range")
        super().load_state_dict(state_dict)

    def _saved(self, state_dict: Mapping[str, Any]) -> list[tuple[Any, Tensor, Tensor]]:
        """Key, parameter and saved buffer of those that have one; nothing where the groups do not match."""
        saved, held = (
            [group["params"] for group in groups] for groups in (state_dict["param_groups"], self.param_groups)
        )
        if [*map(len, saved)] != [*map(len, held)]:
            return []
        pairs = zip(chain.from_iterable(saved), chain.from_iterable(held), strict=True)
        return [(key, param, state[self._buffer]) for key, param in pairs if (state := state_dict["state"].get(key))]

    def _check_knobs(self, group: Mapping[str, Any], index: int) -> None:
        """Raises ValueError for knobs out of range."""
        raise NotImplementedError

    def _check_params(self, group: Mapping[str, Any], index: int) -> None:
        for place, param in enumerate(group["params"]):
            if is_lazy(param):
                continue
            what = f"{type(self).__name__}: parameter {place} of group {index}, shape {list(param.shape)},"
            if param.is_complex():
                raise ValueError(f"{what} is complex, which is not supported; optimise its real view")
            if param.is_meta:
                raise ValueError(f"{what} is on the meta device and has no values; load the weights first")
            if any(size > 1 and not stride for size, stride in zip(param.shape, param.stride(), strict=True)):
                raise ValueError(f"{what} is expanded: its entries share memory and cannot be told apart; clone it")

    def _sound(self, buffer: Tensor) -> bool:
        """Whether steps can go on from a saved buffer."""
        return bool(buffer.isfinite().all())

    def _held(self, param: Tensor, dtype: torch.dtype) -> Tensor:
        """The buffer of a parameter, which begins as zeros."""
        state = self.state[param]
        if self._buffer not in state:
            # What is made in inference mode cannot be written to outside of it.
            with torch.inference_mode(False):
                state[self._buffer] = torch.zeros_like(param, dtype=dtype, requires_grad=False)
        buffer: Tensor = state[self._buffer]
        return buffer


def number(value: object) -> float:
    """A knob as a number; NaN, which lies in no range, of what is none."""
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 and not value.is_complex() else math.nan
    return float(value) if isinstance(value, Real) else math.nan
