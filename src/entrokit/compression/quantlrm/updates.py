"""What fine-tuning did to every weight: its magnitudes, and their least, largest and median over a whole model."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..arguments import check_flag
from .ranks import order_statistics


class UpdateStats(NamedTuple):
    """Of all strictly positive updates together: least, largest, median."""

    x_min: float
    x_max: float
    x_mid: float


def update_magnitudes(
    base_state: Mapping[str, Tensor], tuned_state: Mapping[str, Tensor], names: Iterable[str]
) -> dict[str, Tensor]:
    """``|tuned - base|`` by name (QuantLRM, arXiv 2602.02581, step 1); both states are only read.

    Computed in the dtype of the tensors, or in the one that holds both where they differ, so that what is equal stays
    exactly 0. Zeros count: float32 weights that were rounded to bfloat16 first have many more of them. A warning tells
    of dtypes that differ: unless tuning began at the rounded values, most of what is found is that rounding.

    Args:
        base_state, tuned_state: as of ``state_dict()``; any mapping from names to tensors of floats.
        names: of the tensors to compare, e.g. ``model.layers.0.self_attn.q_proj.weight``.

    Raises:
        ValueError: no names; a tensor that one of both lacks or has in another shape, each named; both in one memory;
            NaN or infinity. TypeError: no tensors of floats, or a model in the place of its state.
    """
    names = list(names)
    check_states(base_state, tuned_state, names)
    return {name: update_magnitude(base_state[name], tuned_state[name], name) for name in names}


def update_stats(mats: Iterable[Tensor], *, official_compat: bool = False) -> UpdateStats:
    """Least, largest and median strictly positive entry of all matrices together; exact, whatever their number.

    The median of an even number of entries is the mean of the middle two. Entries are looked at three times, one matrix
    in memory at a time (of float64 five times); what `LazyUpdates` gives is computed anew each time.

    Args:
        mats: magnitudes, all at least 0, of any shapes; a list, a dict's values, or `LazyUpdates`.
        official_compat: for the median, takes what the released code takes: the middle in the order of storage, since
            it throws away what its partition returns.

    Raises:
        ValueError: no positive entry, as of identical checkpoints; a negative one, NaN or infinity.
        TypeError: something that can be iterated over only once.
    """
    check_flag("update_stats: official_compat", official_compat)
    if iter(mats) is mats:
        raise TypeError("update_stats: the matrices are looked at several times, and a generator gives them once")
    count, x_min, x_max, dtype = 0, float("inf"), 0.0, torch.float32
    for matrix in mats:
        _check_magnitudes("update_stats", matrix)
        positive = matrix[matrix > 0]
        if not positive.numel():
            continue
        count += positive.numel()
        x_min, x_max = min(x_min, float(positive.min())), max(x_max, float(positive.max()))
        dtype = torch.promote_types(dtype, matrix.dtype)
    if not count:
        raise ValueError(
            "update_stats: no weight was updated, so there is nothing to measure importance by; base and tuned model "
            "are the same (without a tuned one, see pseudo_fine_tune)"
        )
    middle = ((count - 1) // 2, count // 2)
    low, high = _in_storage_order(mats, middle) if official_compat else order_statistics(mats, middle, dtype)
    return UpdateStats(x_min, x_max, low + (high - low) / 2.0)


class LazyUpdates(Iterable[Tensor]):
    """Update magnitudes that are computed whenever they are asked for, so that none is kept; as often as one likes.

    Arguments and errors are those of `update_magnitudes`.
    """

    def __init__(
        self, base_state: Mapping[str, Tensor], tuned_state: Mapping[str, Tensor], names: Iterable[str]
    ) -> None:
        self._base, self._tuned, self._names = base_state, tuned_state, list(names)
        check_states(base_state, tuned_state, self._names)

    def __iter__(self) -> Iterator[Tensor]:
        return (self.of(name) for name in self._names)

    def of(self, name: str) -> Tensor:
        """``|tuned - base|`` of one tensor."""
        return update_magnitude(self._base[name], self._tuned[name], name)


def update_magnitude(base: Tensor, tuned: Tensor, name: str) -> Tensor:
    """``|tuned - base|`` of one tensor; one that is not finite is an error that says in which of both."""
    for which, values in (("base", base), ("tuned", tuned)):
        wrong = values.numel() - int(torch.isfinite(values).sum())
        if wrong:
            raise ValueError(f"{name}: {wrong} of {values.numel()} weights of the {which} model are NaN or infinite")
    dtype = torch.promote_types(base.dtype, tuned.dtype)
    updates = (tuned.detach().to(dtype) - base.detach().to(tuned.device, dtype)).abs()
    if not torch.isfinite(updates).all():
        raise ValueError(f"{name}: an update is too large for {dtype}; give both models in float32")
    return updates


def check_states(base_state: Mapping[str, Tensor], tuned_state: Mapping[str, Tensor], names: Sequence[str]) -> None:
    """That both have every tensor, in one shape, of floats; warns of dtypes that differ.

    Raises:
        ValueError, TypeError: see `update_magnitudes`.
    """
    for which, state in (("base", base_state), ("tuned", tuned_state)):
        if isinstance(state, nn.Module) or not isinstance(state, Mapping):
            raise TypeError(
                f"updates: of the {which} model a mapping from names to tensors is expected, its state_dict(); got "
                f"{type(state).__name__}"
            )
    if not names:
        raise ValueError("updates: no names of tensors to compare")
    wrong, unlike, shared = [], [], 0
    for name in names:
        lacking = [which for which, state in (("base", base_state), ("tuned", tuned_state)) if state.get(name) is None]
        if lacking:
            wrong.append(f"{name} (not in the {' nor the '.join(lacking)} model)")
            continue
        base, tuned = base_state[name], tuned_state[name]
        for which, values in (("base", base), ("tuned", tuned)):
            if not isinstance(values, Tensor) or not values.dtype.is_floating_point or values.dtype.itemsize < 2:
                kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
                raise TypeError(f"{name}: of the {which} model is {kind}, and floats are compared; dequantise it")
        if base.shape != tuned.shape:
            wrong.append(f"{name} (base {list(base.shape)}, tuned {list(tuned.shape)})")
        if base.dtype != tuned.dtype:
            unlike.append(f"{name} (base {base.dtype}, tuned {tuned.dtype})")
        shared += _same_memory(base, tuned)
    if wrong:
        absent = next((name for name in names if base_state.get(name) is None), None)
        raise ValueError(
            f"base and tuned model do not match in {len(wrong)} tensors: {_few(wrong)}"
            f"{'' if absent is None else _own_names(base_state, absent)}"
        )
    if shared == len(names):
        raise ValueError(
            f"base and tuned model share their memory in all of {len(names)} tensors, {names[0]} the first, so that "
            "tuning changed both: state_dict() gives the model's own tensors. Take a copy before tuning, "
            "copy.deepcopy(model.state_dict())"
        )
    if unlike:
        warnings.warn(
            f"base and tuned model differ in precision in {len(unlike)} tensors: {_few(unlike)}. Unless "
            "tuning began at just these values of the base, what rounding did to it counts as updates: give both as "
            "they were tuned, in one dtype",
            stacklevel=3,
        )


def _few(said: Sequence[str]) -> str:
    return f"{', '.join(said[:5])}{f' and {len(said) - 5} more' if len(said) > 5 else ''}"


def _own_names(state: Mapping[str, Tensor], absent: str) -> str:
    """What a state does have: what ends as a name that it lacks (under a prefix), else what is like it, else anything.

    A model with adapters (PEFT) has ``base_model.model.`` before its names.
    """
    ends = [name for name in state if name.endswith(f".{absent}")]
    near = ends or get_close_matches(absent, list(state), n=2) or list(islice(state, 2))
    return f"; the base has names such as {', '.join(near[:2])}" if near else "; the base has no tensors"


def _same_memory(base: Tensor, tuned: Tensor) -> bool:
    if base.is_meta or tuned.is_meta or base.device != tuned.device or not base.numel():
        return False
    return base is tuned or (base.data_ptr() == tuned.data_ptr() and base.stride() == tuned.stride())


def _check_magnitudes(what: str, matrix: Tensor) -> None:
    if not isinstance(matrix, Tensor) or not matrix.dtype.is_floating_point:
        kind = matrix.dtype if isinstance(matrix, Tensor) else type(matrix).__name__
        raise TypeError(f"{what}: update magnitudes are tensors of floats, got {kind}")
    wrong = int((~(matrix >= 0) | matrix.isinf()).sum())
    if wrong:
        raise ValueError(f"{what}: update magnitudes are finite and at least 0; {wrong} of {matrix.numel()} are not")


def _in_storage_order(matrices: Iterable[Tensor], positions: tuple[int, int]) -> tuple[float, float]:
    found: dict[int, float] = {}
    passed = 0
    for matrix in matrices:
        positive = matrix[matrix > 0]
        found |= {at: float(positive[at - passed]) for at in positions if passed <= at < passed + positive.numel()}
        passed += positive.numel()
    return found[positions[0]], found[positions[1]]
