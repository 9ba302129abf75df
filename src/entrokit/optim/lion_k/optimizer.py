"""Lion-K as an optimiser of PyTorch.

Lion Secretly Solves Constrained Optimization (arXiv 2310.05898). The momentum m follows MINUS the gradient g:

    m̃ = β1 m − (1−β1) g,    m ← β2 m − (1−β2) g
    explicit decay:  x ← (1 − ελ) x + ε ∇K(m̃)
    implicit decay:  x ← (x + ε ∇K(m̃)) / (1 + ελ)

Both minimise f(x) + K*(λx)/λ. Departs from released Lions in the sign of m, which matters where K is not even
(logsumexp), and in that gradients which are not finite are refused: sign would make steps of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from .convex import ConvexK, check_members
from .family import convex, named
from .finite import refuse_non_finite
from .update import SCHEMES, Moving, Rule, update


class LionK(Optimizer):
    """Momentum through ∇K, with decoupled weight decay: f(x) + K*(λx)/λ is what it minimises.

    Memory beyond parameters and gradients is one buffer of their size and dtype, `state[p]["momentum"]`; what a step
    needs besides is bounded (`update`), for a K of whole tensors by the largest of these.

    Args:
        params: real, dense. A group may have any of the following to itself; weight decay bounds biases and norms
            too, unless they are in a group without it.
        lr: ε ≥ 0. Steps of different K differ in length: √d for l1, 1 for l2, √rank for nuclear.
        betas: β1 of the direction, β2 of the momentum, in [0, 1); the theory needs β1 ≤ β2.
        weight_decay: λ ≥ 0; with most K the bound on x is 1/λ. Explicit steps need ελ ≤ 1.
        K: a name of `FAMILY`, or an object with all six members of `ConvexK`; of whole tensors, one parameter is one
            block.
        K_kwargs: options of a named K (see `convex`).
        scheme: explicit, as Lion was released, or implicit, as its discrete theorem has it. Explicit steps with
            ε/(1 + ελ) are implicit steps with ε.
        foreach: lists of tensors at a time; by default where K acts on entries. maximize: f instead of −f.

    A K of one's own is known to `state_dict` by the name of its class: load into an optimiser that was given it too. If
    its ``grad`` raises in the middle of a step, the parameters before that one have moved, and those after it have not.

    Raises:
        ValueError: a knob out of range, an unknown K, an object that lacks a member of `ConvexK`, or parameters that
            are complex or that K does not take. From `step`: a knob that was set out of range since, explicit steps
            with ελ > 1, or a gradient that is sparse or not finite; no parameter has moved then.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        K: str | ConvexK = "l1",
        K_kwargs: Mapping[str, object] | None = None,
        scheme: str = "explicit",
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        self._own: dict[str, ConvexK] = {}
        name, options = self._known(K, K_kwargs)
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "K": name,
            "K_kwargs": options,
            "scheme": scheme,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As every optimiser's; a group's own K brings its own options.

        Raises:
            ValueError: as the class; the group is not added.
        """
        group = dict(param_group)
        if "K" in group:
            group["K"], group["K_kwargs"] = self._known(group["K"], group.get("K_kwargs"))
        _check({**self.defaults, **group})
        super().add_param_group(group)
        try:
            self._check_params(self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; returns what the closure does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # Schedulers and hands change knobs between steps.
        rules = [self._rule(group, index) for index, group in enumerate(self.param_groups)]
        moving = [[p for p in group["params"] if p.grad is not None and p.numel()] for group in self.param_groups]
        refuse_non_finite(self.param_groups)
        for rule, params in zip(rules, moving, strict=True):
            update(rule, [self._moved(p) for p in params])
        return loss

    def convex(self, group: Mapping[str, Any]) -> ConvexK:
        """The K of a param group.

        Raises:
            ValueError: a name that is neither of the family nor of a K that this optimiser was given.
        """
        if group["K"] in self._own:
            return self._own[group["K"]]
        return convex(group["K"], **group["K_kwargs"])

    def momentum(self, param: Tensor) -> Tensor:
        """m of a parameter: minus the running mean of its gradient; zeros before its first step."""
        found: Tensor | None = self.state.get(param, {}).get("momentum")
        if found is not None:
            return found
        return torch.zeros_like(param, memory_format=torch.preserve_format)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As every optimiser's.

        Raises:
            ValueError: groups that do not match, a knob out of range, or the state of another optimiser, with what it
                lacks; nothing was loaded.
        """
        another = "LionK.load_state_dict: this is no LionK's state"
        lacking = sorted({"state", "param_groups"} - state_dict.keys())
        if lacking:
            raise ValueError(f"{another}; it lacks {', '.join(lacking)}")
        for index, group in enumerate(state_dict["param_groups"]):
            lacking = sorted(self.defaults.keys() - group.keys())
            if lacking:
                raise ValueError(f"{another}; group {index} lacks {', '.join(lacking)}")
            _check(group)
        for key, state in state_dict["state"].items():
            if state and "momentum" not in state:
                raise ValueError(f"{another}; parameter {key} lacks momentum, and has {', '.join(map(str, state))}")
        super().load_state_dict(state_dict)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_own": self._own}

    def _known(self, K: str | ConvexK, options: Mapping[str, object] | None) -> tuple[str, dict[str, object]]:
        """Name and options by which param groups, and so state_dict, know a K."""
        if isinstance(K, str):
            return K, dict(options or {})
        if options:
            raise ValueError(f"LionK: K_kwargs are for a K given by name, got {dict(options)} beside {K!r}")
        check_members(K)
        of_family = named(K)
        if of_family:
            return of_family
        same = next((name for name, own in self._own.items() if own is K), None)
        if same is None:
            plain = type(K).__qualname__
            same = plain if plain not in self._own else f"{plain}-{len(self._own) + 1}"
            self._own[same] = K
        return same, {}

    def _check_params(self, group: Mapping[str, Any]) -> None:
        check_shape = getattr(self.convex(group), "check_shape", None)
        for param in group["params"]:
            if param.is_complex():
                raise ValueError(f"LionK: complex parameters are not supported, got one of shape {list(param.shape)}")
            if check_shape is not None:
                check_shape(param.shape)

    def _rule(self, group: Mapping[str, Any], index: int) -> Rule:
        _check(group)
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        implicit = group["scheme"] == "implicit"
        if not implicit and lr * decay > 1.0:
            raise ValueError(
                f"LionK: lr {lr:g} times weight_decay {decay:g} is above 1 in group {index}: explicit decay would take "
                'weights beyond 0; lower one of them, or use scheme="implicit"'
            )
        K = self.convex(group)
        return Rule(
            K=K,
            rate=lr / (1.0 + lr * decay) if implicit else lr,
            shrink=1.0 / (1.0 + lr * decay) if implicit else 1.0 - lr * decay,
            betas=group["betas"],
            maximize=group["maximize"],
            foreach=K.elementwise if group["foreach"] is None else group["foreach"],
        )

    def _moved(self, param: Tensor) -> Moving:
        if "momentum" not in self.state[param]:
            self.state[param]["momentum"] = self.momentum(param)
        assert param.grad is not None
        return Moving(param, param.grad, self.state[param]["momentum"])


def _check(knobs: Mapping[str, Any]) -> None:
    lr, betas, decay = knobs["lr"], knobs["betas"], knobs["weight_decay"]
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError(f"LionK: lr is one number, got a tensor of shape {list(lr.shape)}")
    for name, value in (("lr", lr), ("weight_decay", decay)):
        if not isinstance(value, Real | Tensor) or not 0.0 <= float(value) < math.inf:
            raise ValueError(f"LionK: {name} must be a number of at least 0, got {value}")
    pair = betas if isinstance(betas, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(beta, Real | Tensor) and 0.0 <= float(beta) < 1.0 for beta in pair):
        raise ValueError(f"LionK: betas are two numbers in [0, 1), got {betas}")
    if knobs["scheme"] not in SCHEMES:
        raise ValueError(f"LionK: scheme is one of {', '.join(SCHEMES)}, got {knobs['scheme']!r}")
