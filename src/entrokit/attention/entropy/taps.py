"""What attention layers of a `transformers` model give to their kernels, eager or SDPA, seen or changed on the way.

A layer asks `AttentionInterface.get_interface(name, its own eager function)` for its kernel. While somebody listens,
the answer is that very kernel behind a function that shows the call to listeners. Registering a kernel under a new name
would not do: the name decides which masks a model makes, and a layer's own eager function is in no registry.
"""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from entrokit.extras import require

from .logits import Logits

Include = Callable[[str, nn.Module], bool]
KERNELS = (None, "eager", "sdpa")


@dataclass(frozen=True)
class Call:
    """One call of a kernel: the layer's name, what its logits are made of, and the rest that it got."""

    name: str
    logits: Logits
    value: Tensor
    dropout: float
    positions: Tensor | None


class Listener(Protocol):
    """Sees the calls of one layer."""

    def before(self, call: Call) -> Tensor:
        """The queries for the kernel; those of ``call.logits`` to change nothing."""

    def after(self, call: Call, output: Tensor) -> None:
        """Sees what the kernel gave, ``[B, T, H, d]``."""


@dataclass(frozen=True)
class _Ear:
    name: str
    listener: Listener


_EARS: WeakKeyDictionary[nn.Module, tuple[_Ear, ...]] = WeakKeyDictionary()
_INSTALLED: list[tuple[Any, Any]] = []
# Otherwise the last block of one thread takes away what one that begins in another has just found in place.
_LOCK = threading.Lock()


def check_include(include: Any, who: str) -> None:
    """Raises TypeError of what is neither None nor a function."""
    if include is not None and not callable(include):
        raise TypeError(
            f"{who}: include is a function of a name and a module that says whether to take the layer, got "
            f"{include!r}; as include=lambda name, module: 'layers.0.' in name"
        )


def attention_layers(model: nn.Module, who: str, include: Include | None = None) -> dict[str, nn.Module]:
    """The layers that ask `transformers` for their kernel, by name, in the model's order.

    Raises:
        ValueError: there is none; one runs a kernel that does not tell its logits; or a module is attention by its
            name and asks for no kernel, so that it cannot be seen. Each message says what to do.
        TypeError: the model is no module, or include no function.
        MissingExtraError: `transformers` is not installed.
    """
    check_include(include, who)
    if not isinstance(model, nn.Module):
        raise TypeError(f"{who}: expected a model of transformers, a torch.nn.Module, got {type(model).__name__}")
    require(who, "trl")
    every = {n: m for n, m in model.named_modules() if include is None or include(n, m)}
    found = {name: module for name, module in every.items() if _asks(module)}
    blind = [
        name
        for name, module in every.items()
        if "attention" in type(module).__name__.lower()
        and not any(_asks(inner) for inner in module.modules())
        and not any(name.startswith(f"{outer}.") for outer in found)
    ]
    if blind:
        kind = type(every[blind[0]]).__name__
        raise ValueError(
            f"{who}: {blind[0]} ({kind}) computes its attention by itself and cannot be seen"
            f"{f', as {len(blind) - 1} others' if len(blind) > 1 else ''}; leave it out by include=, or give its "
            "queries and keys to attention_entropy_qk"
        )
    if not found and include is not None and any(_asks(module) for module in model.modules()):
        raise ValueError(f"{who}: include= leaves out every attention layer of {type(model).__name__}")
    if not found:
        raise ValueError(
            f"{who}: {type(model).__name__} has no attention layer of transformers; give a model's queries and keys to "
            "attention_entropy_qk, or its weights to attention_entropy"
        )
    for name, module in found.items():
        _check_kernel(getattr(getattr(module, "config", None), "_attn_implementation", None), name, who)
    return found


@contextmanager
def listening(layers: Mapping[str, nn.Module], listener: Callable[[str], Listener]) -> Iterator[None]:
    """Shows the layers' calls to a listener of each; nested ones see them in the order in which they came."""
    ears = {module: _Ear(name, listener(name)) for name, module in layers.items()}
    with _LOCK:
        _install()
        for module, ear in ears.items():
            _EARS[module] = (*_EARS.get(module, ()), ear)
    try:
        yield
    finally:
        with _LOCK:
            for module, ear in ears.items():
                left = tuple(other for other in _EARS.get(module, ()) if other is not ear)
                if left:
                    _EARS[module] = left
                else:
                    _EARS.pop(module, None)
            _uninstall()


def _asks(module: nn.Module) -> bool:
    functions = (f for kind in type(module).__mro__ for f in vars(kind).values() if inspect.isfunction(f))
    return any("get_interface" in inspect.unwrap(f).__code__.co_names for f in functions)


def _check_kernel(kernel: str | None, name: str, who: str) -> None:
    if kernel not in KERNELS:
        raise ValueError(
            f"{who}: {name} runs the kernel {kernel!r}, and only eager and sdpa tell their logits; "
            "model.set_attn_implementation('sdpa') gives the same attention"
        )


def _install() -> None:
    if _INSTALLED:
        return
    from transformers import modeling_utils

    interface: Any = getattr(modeling_utils, "AttentionInterface", None)
    if not hasattr(interface, "get_interface"):
        raise RuntimeError("this version of transformers has no AttentionInterface.get_interface; needs 5.10 or later")
    plain = interface.get_interface

    def get_interface(self: Any, attn_implementation: str | None, default: Callable[..., Any]) -> Callable[..., Any]:
        return _tapped(attn_implementation, plain(self, attn_implementation, default))

    interface.get_interface = get_interface
    _INSTALLED.append((plain, get_interface))


def _uninstall() -> None:
    if _EARS:
        return
    from transformers.modeling_utils import AttentionInterface

    plain, ours = _INSTALLED[0]
    # Where somebody else has wrapped it since, ours stays beneath: without ears it changes nothing.
    if AttentionInterface.get_interface is ours:
        AttentionInterface.get_interface = plain
        _INSTALLED.clear()


def _tapped(implementation: str | None, kernel: Callable[..., Any]) -> Callable[..., Any]:
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None, **options: Any
    ) -> Any:
        ears = _EARS.get(module, ())
        if not ears:
            return kernel(module, query, key, value, attention_mask, **options)
        call = _read(ears[0].name, implementation, module, (query, key, value, attention_mask), options)
        for ear in ears:
            call = replace(call, logits=replace(call.logits, query=ear.listener.before(call)))
        given = kernel(module, call.logits.query, key, value, attention_mask, **options)
        for ear in ears:
            ear.listener.after(replace(call, name=ear.name), given[0])
        return given

    return attend


def _read(
    name: str,
    implementation: str | None,
    module: nn.Module,
    tensors: tuple[Tensor, Tensor, Tensor, Any],
    options: Mapping[str, Any],
) -> Call:
    query, key, value, mask = tensors
    _check_kernel(implementation, name, "attention of transformers")
    if options.get("s_aux") is not None:
        raise ValueError(
            f"{name}: has attention sinks, so that its rows do not sum to 1; leave it out by include=, or append the "
            "sinks to the logits and give their softmax to attention_entropy"
        )
    bias = options.get("position_bias")
    given = options.get("is_causal")
    causal = bool(getattr(module, "is_causal", True) if given is None else given)
    causal = causal and implementation == "sdpa" and query.shape[2] > 1 and mask is None
    if bias is not None:
        mask = bias if mask is None else torch.where(mask, bias, -math.inf) if mask.dtype == torch.bool else bias + mask
    positions = options.get("position_ids")
    scaling = options.get("scaling")
    return Call(
        name,
        Logits(query, key, mask, causal, None if scaling is None else float(scaling), options.get("softcap")),
        value,
        float(options.get("dropout") or 0.0),
        positions if isinstance(positions, Tensor) and positions.dim() == 2 else None,
    )
