"""Which tensor goes where in a model: a trace of its forward pass, and what layers do to the scale of a channel."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

# f(a x) = a f(x) for a > 0, channel by channel.
_HOMOGENEOUS = (
    nn.Identity, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Flatten,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.Upsample, nn.ZeroPad2d,
)  # fmt: skip
_FUNCTIONS = {
    torch.relu, torch.flatten, functional.relu, functional.leaky_relu, functional.dropout, functional.interpolate,
    functional.max_pool1d, functional.max_pool2d, functional.avg_pool1d, functional.avg_pool2d,
    functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d,
}  # fmt: skip
_METHODS = {"relu", "flatten", "view", "reshape", "contiguous"}
_PRODUCTS = {operator.mul, torch.mul}
_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip


def own_parameters(layer: nn.Module) -> list[nn.Parameter]:
    """Weight and bias, where they are parameters: neither computed from others nor without a shape as yet."""
    found = (getattr(layer, name, None) for name in ("weight", "bias"))
    return [p for p in found if isinstance(p, nn.Parameter) and not is_lazy(p)]


def is_linear(module: nn.Module) -> bool:
    """A linear layer or a convolution with a weight of its own, whose axis 0 are its output channels."""
    return isinstance(module, _LINEAR) and bool(own_parameters(module)) and own_parameters(module)[0] is module.weight


def is_rms_norm(module: nn.Module) -> bool:
    """An RMSNorm of torch, or another of that name with one vector as weight."""
    weight = getattr(module, "weight", None)
    return type(module).__name__.endswith("RMSNorm") and (weight is None or weight.dim() == 1)


def is_norm(module: nn.Module) -> bool:
    """A layer whose output does not see the scale of its input."""
    return isinstance(module, (*_BATCH_NORMS, nn.GroupNorm, nn.LayerNorm)) or is_rms_norm(module)


def normalised_groups(norm: nn.Module, channels: int) -> int:
    """Into how many groups of consecutive channels a norm's input falls, each with a scale of its own."""
    if isinstance(norm, nn.GroupNorm):
        return norm.num_groups if norm.num_channels == channels else 1
    return channels if forgets_bias(norm, channels) else 1


def forgets_bias(norm: nn.Module, channels: int) -> bool:
    """Whether a norm subtracts the mean of every channel, and with it whatever was added to the channel.

    One of another number of channels lies along another axis, as BatchNorm over the T of ``[N, T, channels]``.
    """
    return isinstance(norm, _BATCH_NORMS) and norm.num_features == channels


def channels_last(layer: nn.Module) -> bool:
    """Whether a layer has its channels on the last axis, where flattening puts those of all places together."""
    return isinstance(layer, (nn.Linear, nn.LayerNorm)) or is_rms_norm(layer)


@dataclass(frozen=True)
class Read:
    """A consumer of a layer's output: its module (None where it is none) and whether nothing stands between."""

    module: nn.Module | None
    node: fx.Node
    direct: bool


class Graph:
    """A trace of a model: its layers, and who reads their output.

    Raises:
        Whatever `torch.fx` does where it cannot trace the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._graph = _Tracer().trace(model)
        self._modules = dict(model.named_modules())
        self._uses = Counter(id(p) for node in self._graph.nodes for p in self._parameters(model, node))

    def layers(self) -> Iterator[tuple[fx.Node, nn.Module]]:
        """Calls of modules, in order."""
        for node in self._graph.nodes:
            if (module := self.module(node)) is not None:
                yield node, module

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls."""
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def once(self, parameter: Tensor) -> bool:
        """Whether a parameter is used in one place: what is tied, or called twice, moves in several at once."""
        return self._uses[id(parameter)] == 1

    def readers(self, node: fx.Node) -> list[Read]:
        """Who reads a node's output, through everything that passes the scale of its channels on."""
        downstream = _descendants(node)
        found: list[Read] = []

        def follow(at: fx.Node, direct: bool) -> None:
            for user in at.users:
                if _reads_shape(user):
                    continue
                if self._passes_scale(user, at, downstream):
                    follow(user, direct and isinstance(self.module(user), nn.Identity))
                else:
                    found.append(Read(self.module(user), user, direct))

        follow(node, True)
        return found

    def _passes_scale(self, user: fx.Node, source: fx.Node, downstream: set[fx.Node]) -> bool:
        if user.op == "call_module":
            return isinstance(self._modules[str(user.target)], _HOMOGENEOUS)
        if user.op == "call_function" and user.target in _PRODUCTS:
            # A product with something that the layer does not reach is linear in it.
            return all(node is source or node not in downstream for node in user.all_input_nodes) and (
                [argument for argument in user.args if argument is source] == [source]
            )
        return (user.op == "call_function" and user.target in _FUNCTIONS) or (
            user.op == "call_method" and user.target in _METHODS and user.args[0] is source
        )

    def _parameters(self, model: nn.Module, node: fx.Node) -> list[nn.Parameter]:
        if node.op == "call_module":
            return list(self._modules[str(node.target)].parameters())
        return [model.get_parameter(str(node.target))] if node.op == "get_attr" and _is_parameter(model, node) else []


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # Not of its weight: while a trace runs, to look at a parameter is to record it.
        return type(m).__name__.endswith("RMSNorm") or super().is_leaf_module(m, module_qualified_name)


def _is_parameter(model: nn.Module, node: fx.Node) -> bool:
    return str(node.target) in dict(model.named_parameters(remove_duplicate=False))


def _descendants(node: fx.Node) -> set[fx.Node]:
    found, todo = {node}, [node]
    while todo:
        new = [user for user in todo.pop().users if user not in found]
        found.update(new)
        todo += new
    return found


def _reads_shape(node: fx.Node) -> bool:
    return (node.op == "call_method" and node.target in ("size", "dim")) or (
        node.op == "call_function" and node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device")
    )
