"""Symmetries that a model's structure gives its loss, found in a trace of its forward pass.

Noether's Learning Dynamics (arXiv 2105.02716). Structure proposes, gradients decide: `symmetry_breaking` and
`check_symmetry` say whether a proposal holds, and `NoetherMonitor` leaves out those that do not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor, fx, nn

from .graph import Graph, Read, channels_last, forgets_bias, is_linear, is_norm, normalised_groups, own_parameters
from .symmetry import Kind, Part, Symmetry

_SOFTMAX_FUNCTIONS = ("softmax", "log_softmax")


def find_symmetries(model: nn.Module, kinds: Iterable[Kind] = ("scale", "rescale", "translation")) -> list[Symmetry]:
    """Symmetries that the structure of a model proposes, each parameter by the name that the model has for it.

    - ``scale``: rows of a linear layer or convolution before BatchNorm or InstanceNorm (without the bias, which these
      subtract), groups of rows before GroupNorm, whole layers before LayerNorm or RMSNorm.
    - ``rescale``: channels between two linear layers or convolutions, or between a norm's affine weights and a layer,
      where only homogeneous functions (ReLU, pooling, dropout, a product with something else) stand between. Several
      readers, as the query, key and value layers behind one norm, share the other side.
    - ``translation``: columns and bias of a linear layer before LayerNorm, and of the last one, whose output a softmax
      is taken of: where the loss has no softmax, the gradient says so.

    A model that `torch.fx` cannot trace is taken apart, and each part is traced by itself: what crosses parts is then
    not found. Parameters that are tied, or used twice, are left out.

    Raises:
        ValueError: an unknown kind.
    """
    wanted = set(kinds)
    if unknown := wanted - {"scale", "rescale", "translation"}:
        raise ValueError(f"find_symmetries: kinds are scale, rescale and translation, got {sorted(unknown)}")
    # A compiled model names its parameters after the model inside.
    inner = getattr(model, "_orig_mod", model)
    names = {id(p): name for name, p in model.named_parameters()}
    shared = _shared(model)
    found = [s for s in _search(inner, whole=True, names=names, shared=shared) if s.kind in wanted]
    return list(dict.fromkeys([*found, *(_of_head(model, names, shared) if "translation" in wanted else [])]))


def _search(model: nn.Module, *, whole: bool, names: dict[int, str], shared: set[int]) -> Iterator[Symmetry]:
    try:
        graph = Graph(model)
    except Exception:  # a trace runs the model's own code on stand-ins for tensors, and may fail in any way
        for child in model.children():
            if next(child.children(), None) is not None:
                yield from _search(child, whole=False, names=names, shared=shared)
        return
    finder = _Finder(graph, names, shared)
    for node, module in graph.layers():
        if is_linear(module):
            yield from finder.scale(node, module)
            yield from finder.translation(node, module, whole)
        if is_linear(module) or is_norm(module):
            yield from finder.rescale(node, module)


class _Finder:
    def __init__(self, graph: Graph, names: dict[int, str], shared: set[int]) -> None:
        self._graph, self._names, self._shared = graph, names, shared

    def scale(self, node: fx.Node, layer: nn.Module) -> Iterator[Symmetry]:
        reads = self._graph.readers(node)
        norms = [read.module for read in reads if read.module is not None and is_norm(read.module)]
        if not reads or len(norms) != len(reads):
            return
        channels = len(own_parameters(layer)[0])
        # What is common to all norms: a factor for as many rows as the coarsest of them takes together.
        blocks = math.gcd(*(normalised_groups(norm, channels) for norm in norms))
        free = all(read.direct and forgets_bias(norm, channels) for read, norm in zip(reads, norms, strict=True))
        parameters = own_parameters(layer)[:1] if free else own_parameters(layer)
        yield from self._symmetry("scale", [(p, blocks, 0, 1) for p in parameters])

    def translation(self, node: fx.Node, layer: nn.Module, whole: bool) -> Iterator[Symmetry]:
        reads = self._graph.readers(node)
        if isinstance(layer, nn.Linear) and layer.out_features > 1 and reads:
            width = layer.out_features
            if all(read.direct and (_subtracts_mean(read, width) or (whole and _is_logits(read))) for read in reads):
                yield from self._columns(layer)

    def rescale(self, node: fx.Node, layer: nn.Module) -> Iterator[Symmetry]:
        above = [p for p in own_parameters(layer) if p.dim() == 1 or is_linear(layer)]
        if not above:
            return
        channels = len(above[0])
        below = [_columns_of(read.module, channels, channels_last(layer)) for read in self._graph.readers(node)]
        if below and None not in below:
            sides = [(p, channels, 0, 1) for p in above]
            yield from self._symmetry("rescale", [*sides, *((p, channels, 1, -1) for p in below if p is not None)])

    def _columns(self, layer: nn.Linear) -> Iterator[Symmetry]:
        yield from self._symmetry("translation", [(layer.weight, layer.in_features, 1, 1)])
        if layer.bias is not None:
            yield from self._symmetry("translation", [(layer.bias, 1, 0, 1)])

    def _symmetry(self, kind: Kind, parts: Sequence[tuple[Tensor, int, int, int]]) -> Iterator[Symmetry]:
        if all(self._graph.once(p) and id(p) not in self._shared and p.numel() for p, *_ in parts):
            yield Symmetry(kind, tuple(Part(self._names[id(p)], *where) for p, *where in parts))


def _of_head(model: nn.Module, names: dict[int, str], shared: set[int]) -> Iterator[Symmetry]:
    """Logits of a language model of `transformers`, which says itself which layer gives them."""
    ask = getattr(model, "get_output_embeddings", None)
    head = ask() if callable(ask) else None
    if isinstance(head, nn.Linear) and id(head.weight) not in shared and id(head.weight) in names:
        yield Symmetry("translation", (Part(names[id(head.weight)], head.in_features, 1),))
        if head.bias is not None:
            yield Symmetry("translation", (Part(names[id(head.bias)]),))


def _columns_of(reader: nn.Module | None, channels: int, last: bool) -> Tensor | None:
    """The weight of a layer whose axis 1 is made of so many input channels; of a grouped convolution it never is.

    Channels that come ``last`` must be all of it: of several places they would lie side by side, in no blocks.
    """
    if reader is None or not is_linear(reader):
        return None
    weight = own_parameters(reader)[0]
    fits = weight.numel() and (weight.shape[1] == channels or (not last and weight.shape[1] % channels == 0))
    return weight if fits else None


def _subtracts_mean(read: Read, width: int) -> bool:
    return isinstance(read.module, nn.LayerNorm) and tuple(read.module.normalized_shape) == (width,)


def _is_logits(read: Read) -> bool:
    """The model's own output, or a softmax of the last axis."""
    if isinstance(read.module, (nn.Softmax, nn.LogSoftmax)):
        return read.module.dim in (-1, None)
    target = getattr(read.node.target, "__name__", read.node.target)
    return read.node.op == "output" or target in _SOFTMAX_FUNCTIONS


def _shared(model: nn.Module) -> set[int]:
    """Parameters that the model has under several names."""
    times = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    return {one for one, count in times.items() if count > 1}
