"""Holds every head's entropy in a band around a share of log T that it learns: Algorithm 1 of arXiv 2501.03489."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence, Sized
from typing import Literal

import torch
from torch import Tensor, nn

from .checks import check_count, check_flags, check_floats, check_number

WHO = "EntropyRegularizer"


class EntropyRegularizer(nn.Module):
    """weight · mean over layers and heads of δ² 1(|δ| > γ E_max), δ = E - θ E_max, with a learnable θ a layer and head.

        loss = cross_entropy + regularizer([attention_entropy(a) for a in attentions])

    Where every δ is within the band, loss and gradients are exactly 0; just outside the penalty is (γ E_max)², a jump
    on purpose. Gradients reach the attention and θ. Leave ``thresholds`` out of weight decay.

    Args:
        num_layers, num_heads: L and H; ``thresholds`` are ``[L, H]``.
        context_size: T of E_max = log T. Explicit, since E_max of a shorter batch would move every threshold; a longer
            batch is refused. At 1 the penalty is 0.
        gamma: γ, half the band's width as a share of E_max.
        weight: λ. It belongs to the granularity: see there.
        granularity: ``query`` (the official code) penalises every query row and sums over batch and queries; ``head``
            (Algorithm 1) penalises each sequence's mean over queries, and takes the mean over the batch, so that it
            needs a λ larger by about B·T. Both are means over layers and heads. The paper's 1e-5 is for ``query``.
        side: ``both``, or ``upper`` to penalise δ > γ E_max only.
        causal_max: E_max of query i is the log of the keys that it sees, not log T. Under a causal mask the first
            queries cannot reach log T; without this they pull θ down.
        init: θ at the start, 0 to 1, a number or ``[L, H]``; the paper does not say, and trained ones were .20 to .52.
        learnable: False keeps θ as it is.

    Raises:
        ValueError: sizes that are no whole numbers of at least 1, a γ outside [0, 1), a λ below 0, an unknown word, or
            an init of another shape or outside [0, 1].
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        context_size: int,
        *,
        gamma: float = 0.2,
        weight: float = 1e-5,
        granularity: Literal["query", "head"] = "query",
        side: Literal["both", "upper"] = "both",
        causal_max: bool = False,
        init: float | Tensor = 0.5,
        learnable: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"num_layers": num_layers, "num_heads": num_heads, "context_size": context_size}
        for name, size in sizes.items():
            check_count(size, WHO, name)
        for name, number in (("gamma", gamma), ("weight", weight)):
            if not check_number(number, WHO, name) >= 0.0:
                raise ValueError(f"{WHO}: {name} must be at least 0, got {number}")
        if gamma >= 1.0:
            raise ValueError(f"{WHO}: gamma is a share of log T below 1, got {gamma}; no entropy is so far off")
        if granularity not in ("query", "head") or side not in ("both", "upper"):
            raise ValueError(
                f"{WHO}: granularity is 'query' or 'head' and side 'both' or 'upper', got {granularity!r} and {side!r}"
            )
        start = torch.as_tensor(init if isinstance(init, Tensor) else check_number(init, WHO, "init")).detach().float()
        if start.shape not in ((), (num_layers, num_heads)) or not bool(((start >= 0.0) & (start <= 1.0)).all()):
            raise ValueError(
                f"{WHO}: init must be one number or [layers, heads] = [{num_layers}, {num_heads}] of finite numbers, "
                f"shares of log T from 0 to 1, got shape {list(start.shape)} and {start.min():g} to {start.max():g}"
            )
        self.context_size, self.gamma, self.weight = context_size, gamma, weight
        self.granularity, self.side, self.causal_max = granularity, side, causal_max
        thresholds = start.expand(num_layers, num_heads).clone()
        self.thresholds = nn.Parameter(thresholds, requires_grad=learnable)

    def forward(
        self,
        entropies: Sequence[Tensor],
        queries: Tensor | None = None,
        visible: Tensor | Sequence[Tensor] | None = None,
    ) -> Tensor:
        """The penalty, 0-dim; 0 in evaluation mode, and of a batch without a query.

        Warns where gradients are taken and the entropies have no graph: θ alone would learn then.

        Args:
            entropies: of every layer, ``[B, H, T]``, as `attention_entropy` or `attention_entropy_qk` gives them.
            queries: bool ``[B, T]``, False of padding.
            visible: with ``causal_max``: how many keys queries see, broadcasts to ``[B, H, T]``, for all layers or one
                of each; see `visible_keys`. By default those of a causal mask.

        Raises:
            ValueError: other layers, heads or lengths than it was made for, or NaN; the message names the layer.
            TypeError: no tensors of real floats, as a watch or a model's outputs, or queries that are not boolean.
        """
        layers, _ = self.thresholds.shape
        if isinstance(entropies, Mapping) or not isinstance(entropies, Sized):
            raise TypeError(
                f"{WHO}: expected entropies, a tensor [B, H, T] of every layer, got {type(entropies).__name__}; pass "
                "watch.entropies of `with watch_attention(model, grad=True) as watch`, or of attentions that are at "
                "hand [attention_entropy(a) for a in outputs.attentions]"
            )
        each = [visible] * layers if visible is None or isinstance(visible, Tensor) else list(visible)
        if len(entropies) != layers:
            raise ValueError(
                f"{WHO}: entropies of {len(entropies)} layers, and thresholds of {layers}: make it with "
                f"num_layers={len(entropies)}, or watch those layers alone that it is for, by include="
            )
        if len(each) != layers:
            raise ValueError(
                f"{WHO}: visible keys of {len(each)}, thresholds of {layers} layers: give visible=watch.visible, or "
                "one tensor for all"
            )
        queries = None if queries is None else check_flags(queries, WHO, "queries")
        for layer, own in enumerate(entropies):
            self._check(layer, own, queries, each[layer])
        if not self.training:
            return self.thresholds.new_zeros(())
        if self.weight and torch.is_grad_enabled() and not any(own.requires_grad for own in entropies):
            warnings.warn(
                f"{WHO}: entropies have no graph, so that no gradient reaches the attention: take them with "
                "watch_attention(model, grad=True), and not under torch.no_grad(); for the number alone call the "
                "regularizer under torch.no_grad()",
                stacklevel=4,
            )
        total = self.thresholds.new_zeros(())
        for layer, own in enumerate(entropies):
            total = total + self._layer(layer, own, queries, each[layer])
        return self.weight * total / layers

    def _layer(self, layer: int, entropies: Tensor, queries: Tensor | None, visible: Tensor | None) -> Tensor:
        values = entropies.to(torch.promote_types(entropies.dtype, torch.float32))
        largest = self._largest(values, visible)
        counted = torch.ones_like(values[:, :1]) if queries is None else queries[:, None].to(values.dtype)
        if self.granularity == "head":
            # Sequences of padding alone have no mean, and do not count.
            length = counted.sum(-1)
            values = (values * counted).sum(-1) / length.clamp_min(1.0)
            largest = (largest * counted).sum(-1) / length.clamp_min(1.0)
            counted = (length > 0).to(values.dtype)
        deviation = values - self.thresholds[layer].view(-1, *[1] * (values.dim() - 2)) * largest
        size = deviation if self.side == "upper" else deviation.abs()
        penalty = deviation.square() * (size > self.gamma * largest) * counted
        per_head = penalty.sum() / values.shape[1]
        return per_head / counted.sum().clamp_min(1.0) if self.granularity == "head" else per_head

    def _largest(self, values: Tensor, visible: Tensor | None) -> Tensor:
        """E_max, broadcast to ``[B, H, T]``."""
        if not self.causal_max:
            return torch.full_like(values, math.log(self.context_size))
        if visible is None:
            visible = torch.arange(1, values.shape[2] + 1, device=values.device)
        return visible.to(values.dtype).clamp_min(1.0).log().expand(values.shape)

    def _check(self, layer: int, entropies: Tensor, queries: Tensor | None, visible: Tensor | None) -> None:
        heads = self.thresholds.shape[1]
        check_floats(entropies, f"{WHO}: layer {layer}", "entropies")
        if entropies.dim() != 3 or entropies.shape[1] != heads:
            raise ValueError(
                f"{WHO}: layer {layer}: expected entropies [B, {heads}, T], got {list(entropies.shape)}; "
                + (
                    f"make it with num_heads={entropies.shape[1]}"
                    if entropies.dim() == 3
                    else "of attention weights [B, H, T, S] give attention_entropy(weights)"
                )
            )
        batch, _, length = entropies.shape
        if length > self.context_size:
            raise ValueError(
                f"{WHO}: layer {layer}: {length} queries, but context_size is {self.context_size}; their "
                f"entropies may exceed its logarithm: make the regularizer with context_size={length}"
            )
        if queries is not None and queries.shape != (batch, length):
            raise ValueError(f"{WHO}: queries must be [B, T] = {[batch, length]}, got {list(queries.shape)}")
        if visible is not None:
            given = list(visible.shape)
            padded = [1] * (3 - len(given)) + given
            if len(padded) != 3 or any(own not in (1, full) for own, full in zip(padded, entropies.shape, strict=True)):
                raise ValueError(
                    f"{WHO}: layer {layer}: visible must broadcast to [B, H, T] = {list(entropies.shape)}, got {given}"
                )
        if bool(entropies.detach().isnan().any()):
            raise ValueError(f"{WHO}: layer {layer}: entropies hold NaN; look at the model's activations")
