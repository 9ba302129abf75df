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
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..checked import CheckedOptimizer, number
from .convex import ConvexK, check_members
from .family import convex, named
from .finite import refuse_non_finite
from .update import SCHEMES, Moving, Rule, update


class LionK(CheckedOptimizer):
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
            are complex, expanded, on the meta device, or that K does not take. From `step`: a knob that was set out of
            range since, explicit steps with ελ > 1, or a gradient that is sparse or not finite; no parameter has moved
            then.
    """

    _buffer = "momentum"

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
        group, own = dict(param_group), dict(self._own)
        if "K" in group:
            group["K"], group["K_kwargs"] = self._known(group["K"], group.get("K_kwargs"))
        try:
            super().add_param_group(group)
        except BaseException:
            self._own = own
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

    def _check_knobs(self, group: Mapping[str, Any], index: int) -> None:
        where = f"LionK, group {index}"
        for name in ("lr", "weight_decay"):
            if not 0.0 <= number(group[name]) < math.inf:
                raise ValueError(f"{where}: {name} must be a number of at least 0, got {group[name]}")
        betas = group["betas"]
        pair = betas if isinstance(betas, Sequence) else ()
        if len(pair) != 2 or not all(0.0 <= number(beta) < 1.0 for beta in pair):
            raise ValueError(f"{where}: betas are two numbers in [0, 1), got {betas}")
        if group["scheme"] not in SCHEMES:
            raise ValueError(f"{where}: scheme is one of {', '.join(SCHEMES)}, got {group['scheme']!r}")
        if group["K"] in self._own and group["K_kwargs"]:
            raise ValueError(
                f"{where}: K_kwargs are for a K given by name, got {group['K_kwargs']} beside {group['K']}"
            )

    def _check_params(self, group: Mapping[str, Any], index: int) -> None:
        super()._check_params(group, index)
        self._check_shapes(self.convex(group), group["params"])

    def _check_shapes(self, K: ConvexK, params: Sequence[Tensor]) -> None:
        check_shape = getattr(K, "check_shape", None)
        if check_shape is not None:
            for param in params:
                check_shape(param.shape)

    def _rule(self, group: Mapping[str, Any], index: int) -> Rule:
        self._check_knobs(group, index)
        lr, decay = float(group["lr"]), float(group["weight_decay"])
        implicit = group["scheme"] == "implicit"
        if not implicit and lr * decay > 1.0:
            raise ValueError(
                f"LionK: lr {lr:g} times weight_decay {decay:g} is above 1 in group {index}: explicit decay would take "
                'weights beyond 0; lower one of them, or use scheme="implicit"'
            )
        K = self.convex(group)
        self._check_shapes(K, group["params"])
        beta1, beta2 = map(float, group["betas"])
        return Rule(
            K=K,
            rate=lr / (1.0 + lr * decay) if implicit else lr,
            shrink=1.0 / (1.0 + lr * decay) if implicit else 1.0 - lr * decay,
            betas=(beta1, beta2),
            maximize=group["maximize"],
            foreach=K.elementwise if group["foreach"] is None else group["foreach"],
        )

    def _moved(self, param: Tensor) -> Moving:
        assert param.grad is not None
        return Moving(param, param.grad.to(param.dtype), self._held(param, param.dtype))
