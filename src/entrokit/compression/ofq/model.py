"""A model whose layers are quantised: by which weights, and what it is once training is over."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ..arguments import check_model
from .attention import QKReparamAttention
from .grid import check_bits
from .names import matching
from .quantizers import METHODS, WeightQuantizer

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight that a model multiplies by in low bits.

    Attributes:
        quantizer: that does it. parameter: what is trained; None of a product of query and key weights.
    """

    quantizer: WeightQuantizer
    parameter: nn.Parameter | None
    attention: QKReparamAttention | None = None

    def latent(self) -> Tensor:
        """The weight before it is quantised, detached."""
        with torch.no_grad():
            if self.attention is not None:
                return self.attention.latent_products()
            assert self.parameter is not None
            return self.parameter.detach()

    def codes(self) -> Tensor:
        """k, int8 in the shape of the weight."""
        return self.quantizer.codes(self.latent())


def quantize_model(
    model: nn.Module,
    bits: int,
    *,
    method: str = "statsq",
    layers: str | Sequence[str] = "*",
    skip: str | Sequence[str] = (),
) -> dict[str, WeightQuantizer]:
    """Quantises the weights of linear and convolutional layers, and of `MultiheadAttention`, in place.

    A parametrisation (`torch.nn.utils.parametrize`): ``layer.weight`` is quantised from now on, and what is trained is
    the parameter that it was, the very same, under ``layer.parametrizations.weight.original``. An optimiser that has
    it need not be made anew, but for LSQ: its steps are new parameters, which no older optimiser trains. Biases, norms,
    embeddings and recurrent layers stay as they are; activations too (see `ActivationQuantizer`). The paper leaves the
    first layer and the head at 8 bits: two calls.

    A parameter in several layers (a tied weight) has one quantiser, and stays tied; if one of its uses would stay in
    float, as the embedding of a tied language model does, it is refused: no tied model could hold both.

    Args:
        bits: 2 to 8. method: ``statsq``, ``lsq`` or ``ste`` (`StatsQuantizer`, `LearnedStepQuantizer`, `MaxQuantizer`).
        layers, skip: names or patterns (``blocks.*.fc1``) of layers or of their weights, as `named_modules` has them.

    Returns:
        Quantisers by the names of their weights, ``blocks.0.fc1.weight``.

    Raises:
        ValueError: bits, a method or a pattern that fits nothing; no layer left; a layer that is quantised or otherwise
            parametrised already, or whose weight has inputs first, as a transposed convolution's and that of GPT-2's
            ``Conv1D``; a tied weight of which one use is left out; weights that `stats_scale` refuses. TypeError: as
            `stats_scale`, or no model. Names the layer, and nothing has been changed then.
    """
    check_model("quantize_model", model)
    check_bits("quantize_model", bits)
    if method not in METHODS:
        raise ValueError(f"quantize_model: method is one of {', '.join(METHODS)}, got {method!r}")
    chosen = _chosen(model, layers, skip)
    _check_ties(model, chosen)
    shared: dict[int, WeightQuantizer] = {}
    made = []
    for module, tensor, name in chosen:
        own = id(getattr(module, tensor))
        if own not in shared:
            shared[own] = _quantizer(module, tensor, name, bits, method)
        made.append((module, tensor, name, shared[own]))
    done: list[tuple[nn.Module, str]] = []
    try:
        for module, tensor, _, quantizer in made:
            parametrize.register_parametrization(module, tensor, quantizer)
            done.append((module, tensor))
    except BaseException:
        for module, tensor in done:
            parametrize.remove_parametrizations(module, tensor, leave_parametrized=False)
        raise
    for module, _, _, quantizer in made:
        quantizer.train(module.training)
    return {name: quantizer for _, _, name, quantizer in made}


def quantized_weights(model: nn.Module) -> dict[str, QuantizedWeight]:
    """What a model has in low bits, by name and in its order; of a `QKReparamAttention` its products, ``attn.qk``.

    Raises:
        ValueError: it has nothing. TypeError: no model.
    """
    check_model("quantized weights", model)
    found = quantized_places(model, every=False)
    if not found:
        raise ValueError("the model has no quantised weights; call quantize_model(model, bits) first")
    return found


def quantized_places(model: nn.Module, *, every: bool) -> dict[str, QuantizedWeight]:
    """As `quantized_weights`, and nothing of a model without; ``every``: also under a layer's second name."""
    found = {}
    for name, module in model.named_modules(remove_duplicate=not every):
        for tensor, quantizer, parameter in _parametrised(module):
            found[_joined(name, tensor)] = QuantizedWeight(quantizer, parameter)
        if isinstance(module, QKReparamAttention):
            found[_joined(name, "qk")] = QuantizedWeight(module.quantizer, None, module)
    return found


def dequantized(model: nn.Module) -> nn.Module:
    """A copy with plain parameters at the values that the model multiplies by; it computes the same.

    Names are those of the model before it was quantised; a `QKReparamAttention` becomes a `ProductAttention`. What is
    tied stays tied.

    Raises:
        ValueError: a weight that was tied after it was quantised, to one in float or of another quantiser; names both.
            TypeError: no model.
    """
    check_model("dequantized", model)
    plain = copy.deepcopy(model)
    # The latents are held so that no other takes the id of one.
    tied: dict[int, tuple[str, WeightQuantizer, nn.Parameter, nn.Parameter]] = {}
    weights = {
        id(p): name
        for name, p in plain.named_parameters(remove_duplicate=False)
        if ".parametrizations." not in f".{name}"
    }
    for place, module in list(plain.named_modules()):
        for tensor, quantizer, latent in _parametrised(module):
            name = _joined(place, tensor)
            before = tied.get(id(latent))
            first = weights.get(id(latent)) if before is None else before[0]
            if first is not None and (before is None or before[1] is not quantizer):
                raise ValueError(
                    f"dequantized: {name} is one parameter with {first}, but not of one quantiser; it was tied "
                    "after it was quantised: untie it, or quantise the tied model"
                )
            if before is None:
                with torch.no_grad():
                    values = nn.Parameter(getattr(module, tensor).clone(), requires_grad=latent.requires_grad)
                before = tied[id(latent)] = name, quantizer, values, latent
            # The copy shares the class that holds the property, and would take it from the original too.
            own = type(module)
            module.__class__ = type(own.__name__, own.__bases__, dict(own.__dict__))
            parametrize.remove_parametrizations(module, tensor, leave_parametrized=False)
            setattr(module, tensor, before[2])
    deployed: dict[nn.Module, nn.Module] = {}
    for module in list(plain.modules()):
        # named_children leaves out a module's second place.
        for name, child in list(module._modules.items()):
            if isinstance(child, QKReparamAttention):
                if child not in deployed:
                    deployed[child] = child.deployed()
                setattr(module, name, deployed[child])
    return plain.deployed() if isinstance(plain, QKReparamAttention) else plain


def _chosen(
    model: nn.Module, layers: str | Sequence[str], skip: str | Sequence[str]
) -> list[tuple[nn.Module, str, str]]:
    there: list[tuple[nn.Module, str, str]] = []
    for name, module in model.named_modules():
        if isinstance(module, _LAYERS) or _inputs_first(module):
            there.append((module, "weight", name))
        elif isinstance(module, nn.MultiheadAttention):
            if module.in_proj_weight is None:
                tensors = ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
            else:
                tensors = ["in_proj_weight"]
            there += [(module, tensor, name) for tensor in tensors]
    names = [(name, _joined(name, tensor)) for _, tensor, name in there]
    known = {name for _, _, name in there}
    others = {
        name: f"of class {type(module).__name__}"
        for name, module in model.named_modules()
        if name and name not in known and not parametrize.is_parametrized(module)
    }
    taken = matching("quantize_model: layers", names, layers, others)
    taken -= matching("quantize_model: skip", names, skip, others)
    if not taken:
        raise ValueError("quantize_model: no layer is left; skip takes all that layers chose")
    return [(module, tensor, _joined(name, tensor)) for i, (module, tensor, name) in enumerate(there) if i in taken]


def _check_ties(model: nn.Module, chosen: Sequence[tuple[nn.Module, str, str]]) -> None:
    taken = {(id(module), tensor) for module, tensor, _ in chosen}
    names = {id(getattr(module, tensor)): name for module, tensor, name in reversed(chosen)}
    for place, module in model.named_modules():
        for tensor, parameter in module._parameters.items():
            if id(parameter) in names and (id(module), tensor) not in taken:
                name = names[id(parameter)]
                raise ValueError(
                    f"quantize_model: {name} is one parameter with {_joined(place, tensor)}, which would stay as it "
                    f"is, and no tied model could hold both; leave it in float by skip={name!r}, or untie it first by "
                    "a parameter of its own (and tie_word_embeddings=False in the config of transformers)"
                )


def _quantizer(module: nn.Module, tensor: str, name: str, bits: int, method: str) -> WeightQuantizer:
    if _inputs_first(module):
        instead = "skip it" if isinstance(module, _TRANSPOSED) else "put a Linear in its place, or skip it"
        raise ValueError(
            f"quantize_model: {name} of a {type(module).__name__} has inputs first, and scales are for every output; "
            f"{instead}"
        )
    if parametrize.is_parametrized(module, tensor):
        raise ValueError(f"quantize_model: {name} is quantised or otherwise parametrised already; skip it")
    weight = getattr(module, tensor)
    if is_lazy(weight):
        raise ValueError(f"quantize_model: {name} has no shape yet; run the model once, then quantise it")
    try:
        quantizer = METHODS[method](bits, weight)
        with torch.no_grad():
            quantizer(weight)
    except (ValueError, TypeError) as error:
        raise type(error)(f"quantize_model: {name}: {error}") from error
    return quantizer.to(weight.device)


def _inputs_first(module: nn.Module) -> bool:
    """Transposed convolutions, and the ``Conv1D`` of transformers, a Linear whose weight is transposed."""
    kinds = [(kind.__module__, kind.__name__) for kind in type(module).__mro__]
    return isinstance(module, _TRANSPOSED) or ("transformers.pytorch_utils", "Conv1D") in kinds


def _parametrised(module: nn.Module) -> Iterator[tuple[str, WeightQuantizer, nn.Parameter]]:
    if not parametrize.is_parametrized(module):
        return
    for tensor, every in list(module.parametrizations.items()):  # type: ignore[union-attr, operator]
        if len(every) == 1 and isinstance(every[0], WeightQuantizer):
            yield tensor, every[0], every.original


def _joined(module: str, tensor: str) -> str:
    return f"{module}.{tensor}" if module else tensor
