"""CGA: a last phase in which only weights near a threshold may move, until their codes stand still (2302.02210).

Every step: U = [distance to the nearest threshold <= boundary range] of weights and scales as they are now; gradients
count where U; and after the optimiser's step every weight outside of U is what it was, bit for bit, whatever momentum
and weight decay made of it. A weight that leaves the band stays where it is then.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from ..arguments import check_flag
from .attention import QKReparamAttention
from .grid import check_boundary_range
from .model import QuantizedWeight, quantized_weights
from .names import matching


class ConfidenceGuidedAnnealing:
    """Freezes quantised weights that are far from a threshold, at every step of an optimiser, until it is removed.

    It hangs on the optimiser's own hooks: the training loop, a trainer or a `GradScaler` need not know of it. The
    learning rate should be the last, smallest one. As a context manager it ends with the block:

        with ConfidenceGuidedAnnealing(model, optimizer):
            train(model, optimizer, epochs=30)

    Biases, norms, steps of LSQ and activations train on. Products of query and key weights are no parameters and
    cannot be held: with ``mask_products`` the gradient reaches W_q and W_k through entries of M near a threshold
    alone, and still every entry moves with them. The official code means this, but it has no effect there.

    It acts from when it is made until `remove`, whether or not it is entered. Each of several optimisers needs one of
    its own, for the weights that it trains; two on one optimiser must have other layers each. A closure's
    gradients are masked as it gives them. Steps of LSQ that the optimiser lacks, as one that was made before
    `quantize_model` does, would stay where they are: a warning names them.

    Args:
        model: with quantised weights, see `quantize_model`. optimizer: over any of them; those of groups that are added
            later are frozen too, and products masked from the next pass on.
        boundary_range: half the width of the band that may move, in quantisation steps; the paper's 0.005. It should
            be of the order of what one optimiser step moves a weight by.
        layers: names or patterns of weights, as `quantized_weights` has them; the paper leaves out first and last.
        mask_products: see above; False is the official code.

    Raises:
        ValueError: a boundary range below 0 or not finite, a pattern that fits nothing, or an optimiser that has none
            of the weights; weights or products that are annealed already; in a step, of weights that became NaN or inf
            (names them). TypeError: no model, or no optimiser, as a state is none.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        boundary_range: float = 0.005,
        *,
        layers: str | Sequence[str] = "*",
        mask_products: bool = True,
    ) -> None:
        check_boundary_range("ConfidenceGuidedAnnealing", boundary_range)
        check_flag("ConfidenceGuidedAnnealing: mask_products", mask_products)
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"ConfidenceGuidedAnnealing: a torch.optim.Optimizer is expected, got {type(optimizer).__name__}"
            )
        every = quantized_weights(model)
        names = list(every)
        taken = matching("ConfidenceGuidedAnnealing: layers", [(n, n.rpartition(".")[0]) for n in names], layers)
        self._optimizer = optimizer
        self._chosen = {names[i]: every[names[i]] for i in sorted(taken)}
        every_product = {
            name: weight.attention
            for name, weight in self._chosen.items()
            if weight.attention is not None and mask_products
        }
        products = {name: attention.quantizer for name, attention in every_product.items() if self._trains(attention)}
        if not self._held() and not products:
            raise ValueError(
                "ConfidenceGuidedAnnealing: the optimizer has none of the quantised weights; make it of "
                "model.parameters(), after quantize_model"
            )
        _check_others(optimizer, self._chosen)
        for name, quantizer in products.items():
            if quantizer.boundary_range is not None:
                raise ValueError(
                    f"ConfidenceGuidedAnnealing: {name} is annealed already, or has a boundary_range of its own; "
                    "remove that first, or leave products out by mask_products=False"
                )
        self._warn_of_steps(model)
        self._products = list(products.values())
        self.boundary_range = float(boundary_range)
        self._kept: list[tuple[nn.Parameter, Tensor, Tensor]] = []
        for quantizer in self._products:
            quantizer.boundary_range = self.boundary_range
        self._hooks = [
            optimizer.register_step_pre_hook(self._freeze),
            optimizer.register_step_post_hook(self._restore),
            *(self._joining(attention) for name, attention in every_product.items() if name not in products),
        ]

    def masks(self) -> dict[str, Tensor]:
        """Which weights may move, by name, as weights and scales are now."""
        return {name: self._mask(name, weight) for name, weight in self._held().items()}

    def free_share(self) -> float:
        """Share of the weights that may move now."""
        masks = self.masks().values()
        return sum(int(m.sum()) for m in masks) / max(1, sum(m.numel() for m in masks))

    @torch.no_grad()
    def mask_gradients(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Gradients of frozen weights become 0. A step does so itself; call it before gradients are clipped by norm.

        Returns:
            Parameters, each once, and which of their weights may move.
        """
        free: dict[int, tuple[nn.Parameter, Tensor]] = {}
        for name, mask in self.masks().items():
            parameter = self._chosen[name].parameter
            assert parameter is not None
            # The uses of a tied weight have one quantiser, and so one mask.
            free[id(parameter)] = parameter, mask
        return _mask_gradients(free.values())

    def remove(self) -> None:
        """Ends it: all weights may move again. What was frozen is as it is."""
        for hook in self._hooks:
            hook.remove()
        for quantizer in self._products:
            quantizer.boundary_range = None
        self._hooks, self._products = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _trains(self, attention: QKReparamAttention) -> bool:
        return not self._trained().isdisjoint({id(attention.q_weight), id(attention.k_weight)})

    def _joining(self, attention: QKReparamAttention) -> RemovableHandle:
        """Masks a product from the pass on before which one of its weights joined the optimiser."""
        quantizer = attention.quantizer

        # A function of its own: a copy of the model would copy the whole of a bound one, optimiser and all.
        def join(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if quantizer.boundary_range is None and self._trains(attention):
                quantizer.boundary_range = self.boundary_range
                self._products.append(quantizer)

        return quantizer.register_forward_pre_hook(join)

    def _trained(self) -> set[int]:
        return {id(p) for group in self._optimizer.param_groups for p in group["params"]}

    def _held(self) -> dict[str, QuantizedWeight]:
        trained = self._trained()
        return {n: w for n, w in self._chosen.items() if w.parameter is not None and id(w.parameter) in trained}

    def _warn_of_steps(self, model: nn.Module) -> None:
        trained, names = self._trained(), {id(p): name for name, p in model.named_parameters()}
        every = [p for weight in self._held().values() for p in weight.quantizer.parameters() if p.requires_grad]
        left = [names[id(p)] for p in dict.fromkeys(every) if id(p) not in trained]
        if left:
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            warnings.warn(
                f"ConfidenceGuidedAnnealing: the optimizer trains weights but not their steps, {', '.join(left[:5])}"
                f"{more}, which stay as they are unless another optimizer has them; make it of model.parameters() "
                "after quantize_model, or give it the steps by add_param_group",
                stacklevel=3,
            )

    def _mask(self, name: str, weight: QuantizedWeight) -> Tensor:
        try:
            return weight.quantizer.distance(weight.latent()) <= self.boundary_range
        except ValueError as error:
            raise ValueError(f"ConfidenceGuidedAnnealing: {name}: {error}") from error

    @torch.no_grad()
    def _freeze(
        self, optimizer: Optimizer, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        free = self.mask_gradients()
        self._kept = [(parameter, mask, parameter.detach().clone()) for parameter, mask in free]
        # Arguments begin with the optimiser itself.
        given = {"closure": arguments[1], **options} if len(arguments) > 1 else options
        closure = given.get("closure")
        if closure is None:
            return None

        def masked() -> Any:
            loss = closure()
            _mask_gradients(free)
            return loss

        return (arguments[0], *arguments[2:]), {**given, "closure": masked}

    @torch.no_grad()
    def _restore(self, optimizer: Optimizer, *arguments: Any) -> None:
        for parameter, mask, before in self._kept:
            parameter.copy_(torch.where(mask, parameter, before))
        self._kept = []


def _check_others(optimizer: Optimizer, chosen: Mapping[str, QuantizedWeight]) -> None:
    """That no other annealing holds one of these weights on this optimiser."""
    others = (getattr(hook, "__self__", None) for hook in optimizer._optimizer_step_pre_hooks.values())
    held = {
        id(weight.parameter)
        for other in others
        if isinstance(other, ConfidenceGuidedAnnealing)
        for weight in other._chosen.values()
        if weight.parameter is not None
    }
    twice = [name for name, weight in chosen.items() if id(weight.parameter) in held]
    if twice:
        raise ValueError(
            f"ConfidenceGuidedAnnealing: {twice[0]} is annealed already on this optimizer, by one that acts from when "
            "it was made until it is removed; remove() that first, or name other layers"
        )


@torch.no_grad()
def _mask_gradients(free: Iterable[tuple[nn.Parameter, Tensor]]) -> list[tuple[nn.Parameter, Tensor]]:
    every = list(free)
    for parameter, mask in every:
        if parameter.grad is not None:
            parameter.grad.masked_fill_(~mask, 0.0)
    return every
