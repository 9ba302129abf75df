"""QuantLRM: a causal language model in 3 or 4 bits, its important channels told by what fine-tuning did to them.

QuantLRM: Quantization of Large Reasoning Models via Fine-Tuning Signals (arXiv 2602.02581). Updates D = |W_tuned -
W_base|; score f(D), high at both ends of their range; importance of an input channel = mean f · (1 + zeros); scales
s = importance^α, α by the output's error, folded into what comes before; then asymmetric rounding by groups.

Departs from the released code: the median is one (`update_stats`); importance is computed in float32
(`channel_importance`); ranges hold 0 (`quantize_groups`); a fold is tried out before it is used. Where query heads
share those of values, either importance has their mean before α is searched for, and not scales after it, so that the
scale that was tried is the one that is folded; or o has no scales. See docs/errata.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from entrokit.evaluation import evaluating

from ..arguments import check_count, check_flag, check_model, check_number
from .block import BlockResult, GroupResult, Rounding, Score, naming, quantize_block, rounded_layer
from .calibration import Batch, checked_batches, size, trace, with_hidden_states
from .folding import ScaleGroup, llama_groups
from .group_quantizer import check_bits
from .importance import activation_importance, channel_importance
from .packed_linear import PackedLinear, swap_linear
from .parts import Parts, check_groups, check_parts, find_parts, present_groups
from .scale_search import check_importance
from .updates import LazyUpdates, UpdateStats, update_stats


@dataclass(frozen=True)
class QuantizationReport:
    """What was done to a model.

    Attributes:
        groups: of every block, by the layers' names in the model. skipped: layers without scales, matrices in
            float, and why. stats: of all updates; None where importance was given or came from activations.
        tokens: of calibration text, without padding. bits_per_weight: of the layers, scales and zeros included.
    """

    groups: tuple[GroupResult, ...]
    skipped: tuple[str, ...]
    stats: UpdateStats | None
    tokens: int
    bits_per_weight: float


@dataclass(frozen=True)
class QuantLRM:
    """Settings of a quantisation; `quantize` carries it out.

    Attributes:
        bits: 2 to 8; the paper's are 3 and 4. group_size: weights that share a scale; None for whole rows.
        n_grid: exponents tried, i / n_grid. peak, zero_in_mean: see `channel_importance`.
        include_zero: see `quantize_groups`. clip: whether outermost weights may be cut, see `search_clip`.
        grouped_heads: what becomes of o where query heads share heads of values: ``skip`` gives it no scales, ``mean``
            gives sharers the mean of their importance.
        official_compat: the released code's median, see `update_stats`.
        pack: replaces layers by `PackedLinear`, which need less memory; else weights become what their codes stand for.

    Raises:
        ValueError: one of them is out of range.
    """

    bits: int = 3
    group_size: int | None = 128
    n_grid: int = 20
    peak: float = 10.0
    zero_in_mean: bool = True
    include_zero: bool = True
    clip: bool = True
    grouped_heads: Literal["skip", "mean"] = "skip"
    official_compat: bool = False
    pack: bool = False

    def __post_init__(self) -> None:
        check_bits("QuantLRM", self.bits)
        check_count("QuantLRM.n_grid", self.n_grid)
        check_count("QuantLRM.group_size", 1 if self.group_size is None else self.group_size)
        for name in ("zero_in_mean", "include_zero", "clip", "official_compat", "pack"):
            check_flag(f"QuantLRM.{name}", getattr(self, name))
        check_number("QuantLRM.peak", self.peak)
        if not 1.0 <= self.peak < float("inf"):
            raise ValueError(f"QuantLRM.peak: at least 1, the score of the median; got {self.peak!r}")
        if self.grouped_heads not in ("skip", "mean"):
            raise ValueError(f"QuantLRM.grouped_heads: skip or mean, got {self.grouped_heads!r}")

    def quantize(
        self,
        model: nn.Module,
        base_state: Mapping[str, Tensor] | None,
        calib_batches: Iterable[Batch],
        *,
        importance: Mapping[str, Tensor] | Literal["activations"] | None = None,
        groups: Sequence[ScaleGroup] | None = None,
        blocks: str | None = None,
    ) -> QuantizationReport:
        """Quantises the linear layers of a model's blocks, in place; embeddings and head stay.

        Block by block, each with the inputs that it has in the model as it was. Beside the model there are a copy of a
        block, its activations of the calibration text, and the packed codes of those before. Nothing is changed until
        all are done, so that an error leaves the model as it was.

        Args:
            model: of `transformers`, or one whose blocks are called one after the other with hidden states first.
            base_state: of the model before it was fine-tuned (``state_dict()``, or any mapping of its names), or what
                `pseudo_fine_tune` gives where there is none.
            calib_batches: token ids ``[batch, positions]``, or keyword arguments of the model.
            importance: in the place of ``base_state`` (which is None then): ``activations`` as in AWQ, or ``[in]`` of
                the weights that speak for their groups, as of `update_importances`.
            groups: of a block, by names in it; those that `llama_groups` finds by default. Where it finds none in any
                block, nothing is scaled, and a warning says so.
            blocks: name of the list of blocks, where it is not the largest.

        Raises:
            ValueError: models that do not match, by tensors; nothing was fine-tuned; no calibration text, or none of
                two tokens; a cache among it; a group size that does not divide a layer's inputs; tied or parametrised
                weights; tensors on the meta device; NaN, or codes that half precision has not; layers that cannot be
                packed; groups that are not there, or cannot be folded. TypeError: no floats, or no model.
        """
        check_model("QuantLRM.quantize", model)
        parts = find_parts(model, blocks)
        check_parts(model, parts, self.group_size, self.pack)
        batches = checked_batches(calib_batches, model)
        check_groups(parts, groups)
        source = _Source(self, parts, base_state, importance)
        with evaluating(model):
            results, tokens = self._results(model, parts, batches, groups, source)
        _put_in(model, results, self.pack)
        return QuantizationReport(
            tuple(_renamed(block, group) for block, result in results.items() for group in result.groups),
            tuple(f"{block}: {said}" for block, result in results.items() for said in result.skipped),
            source.stats,
            tokens,
            _bits_per_weight([layer for result in results.values() for layer in result.layers.values()]),
        )

    def _results(
        self,
        model: nn.Module,
        parts: Parts,
        batches: list[dict[str, Any]],
        groups: Sequence[ScaleGroup] | None,
        source: _Source,
    ) -> tuple[dict[str, BlockResult], int]:
        """Of every block, by name, with nothing changed; and how many tokens were looked at."""
        how = Rounding(self.bits, self.group_size, self.n_grid, self.include_zero, self.clip, self.grouped_heads)
        traces = [trace(model, list(parts.blocks.values()), batch) for batch in batches]
        hidden = [one.hidden for one in traces]
        results = {}
        for i, (name, block) in enumerate(parts.blocks.items()):
            for one, states in zip(traces, hidden, strict=True):
                if not math.isclose(size(states, one.calls[i].keep), one.sizes[i], rel_tol=1e-2):
                    raise ValueError(
                        f"{name}: is not given what the block before it gives; such models are not supported"
                    )
            here = [with_hidden_states(one.calls[i], states) for one, states in zip(traces, hidden, strict=True)]
            templates = llama_groups(block) if groups is None else present_groups(block, groups)
            with naming(name):
                result = quantize_block(block, here, templates, source.of(name), how, strict=groups is not None)
            plain = [one for one in _linears(block) if all(one not in group.linears for group in templates)]
            if plain:
                result.skipped.append(f"{', '.join(plain)}: not scaled, in no group")
            if left := parts.in_float(name):
                result.skipped.append(f"{', '.join(left)}: not quantised, of no linear layer")
            hidden = result.outputs
            results[name] = result.without_outputs()
        return results, sum(one.tokens for one in traces)


def round_to_nearest(
    model: nn.Module,
    bits: int = 3,
    group_size: int | None = 128,
    *,
    include_zero: bool = True,
    pack: bool = False,
    blocks: str | None = None,
) -> float:
    """Plain rounding of the linear layers that `QuantLRM` would quantise, in place, without any calibration text.

    Returns:
        Bits per weight, scales and zeros included.

    Raises:
        ValueError, TypeError: as `QuantLRM.quantize`; the model is as it was.
    """
    check_model("round_to_nearest", model)
    check_bits("round_to_nearest", bits)
    check_flag("round_to_nearest: include_zero", include_zero)
    check_flag("round_to_nearest: pack", pack)
    parts = find_parts(model, blocks)
    check_parts(model, parts, group_size, pack)
    how = Rounding(bits, group_size, 1, include_zero, False, "skip")
    results = {}
    for name, block in parts.blocks.items():
        layers = {}
        for own, linear in _linears(block).items():
            with naming(f"{name}.{own}" if own else name):
                layers[own] = rounded_layer(linear, how)
        results[name] = BlockResult(layers, {}, [], [], [])
    _put_in(model, results, pack)
    return _bits_per_weight([layer for result in results.values() for layer in result.layers.values()])


class _Source:
    """Importance of a layer's channels, from whichever of the three places it comes."""

    def __init__(
        self,
        settings: QuantLRM,
        parts: Parts,
        base_state: Mapping[str, Tensor] | None,
        importance: Mapping[str, Tensor] | str | None,
    ) -> None:
        if (base_state is None) == (importance is None):
            raise ValueError(
                "QuantLRM.quantize: give base_state, the model before fine-tuning (without one, what pseudo_fine_tune "
                "gives), or importance; one of both"
            )
        self._settings, self._importance = settings, importance
        self._updates, self.stats = None, None
        if isinstance(importance, str) and importance != "activations":
            raise ValueError(f"QuantLRM.quantize: importance is 'activations' or tensors by name, got {importance!r}")
        if base_state is not None:
            self._updates = LazyUpdates(base_state, parts.weights, parts.weights)
            self.stats = update_stats(self._updates, official_compat=settings.official_compat)

    def of(self, block: str) -> Score:
        """Of the layers of a block."""

        def score(layer: str, x: Tensor) -> Tensor:
            name = f"{block}.{layer}.weight"
            if self._updates is not None and self.stats is not None:
                peak, zero_in_mean = self._settings.peak, self._settings.zero_in_mean
                return channel_importance(self._updates.of(name), self.stats, peak=peak, zero_in_mean=zero_in_mean)
            if not isinstance(self._importance, Mapping):
                return activation_importance(x)
            if name not in self._importance:
                raise ValueError(f"no importance is given of {name}")
            check_importance(name, self._importance[name], x.shape[1])
            return self._importance[name].to(x.device)

        return score


def _linears(block: nn.Module) -> dict[str, nn.Linear]:
    return {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}


@torch.no_grad()
def _put_in(model: nn.Module, results: Mapping[str, BlockResult], pack: bool) -> None:
    for block_name, result in results.items():
        block = model.get_submodule(block_name)
        for name, value in result.values.items():
            block.get_parameter(name).copy_(value)
        for name, layer in result.layers.items():
            if pack:
                swap_linear(block, name, layer.train(block.training))
            else:
                block.get_parameter(f"{name}.weight").copy_(layer.dequantize())


def _renamed(block: str, group: GroupResult) -> GroupResult:
    return replace(group, linears=tuple(f"{block}.{name}" for name in group.linears))


def _bits_per_weight(layers: Sequence[PackedLinear]) -> float:
    weights = [layer.in_features * layer.out_features for layer in layers]
    held = sum(layer.bits_per_weight * count for layer, count in zip(layers, weights, strict=True))
    return held / sum(weights)
