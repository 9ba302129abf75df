"""Entropies of a `transformers` model's attention while it runs, on the kernel that it runs on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .agreement import check_agreement
from .blocks import with_block
from .checks import check_count
from .chunked import entropy_rows
from .heads import head_entropy_histogram
from .masks import visible_keys
from .passes import Pass, checkpointed, following, held
from .taps import Call, Include, attention_layers, listening

WHO = "watch_attention"
QUARTERS = ("collapsed", "low", "high", "overloaded")


class AttentionWatch:
    """What `watch_attention` yields.

    Attributes:
        names: of the layers, in the model's order. active: False lets forward passes go by unseen.
        queries: bool ``[B, T]`` of the last pass, False of padding, from the model's ``attention_mask``; None without.
    """

    def __init__(self, names: list[str], *, grad: bool, block: int | None) -> None:
        self.names, self.active = names, True
        self.queries: Tensor | None = None
        self._grad, self._block = grad, block
        self._pass = Pass()
        self._outside: set[str] = set()
        self._again: set[str] = set()
        self._padding: Tensor | None = None
        self._checked: set[str] = set()
        self._last: dict[str, tuple[Tensor, Tensor]] = {}
        self.reset()

    @property
    def entropies(self) -> list[Tensor]:
        """Of the last forward pass, ``[B, H, T]`` a layer; with gradient where ``grad=True``.

        Raises:
            RuntimeError: a layer was not seen in it; says which and why that may be. In the backward pass: the block
                has ended, and the layer was checkpointed.
        """
        each = {name: self._of(name)[0] for name in self.names}
        return [held(own, self._pass, WHO) if name in self._again else own for name, own in each.items()]

    @property
    def visible(self) -> list[Tensor]:
        """How many keys the queries of the last pass saw, a layer: ``[T]`` or ``[B or 1, H or 1, T]``.

        Raises:
            RuntimeError: as `entropies`.
        """
        return [self._of(name)[1] for name in self.names]

    def head_entropy(self) -> Tensor:
        """Mean over all rows since the last `reset`, ``[L, H]``, float64, nats; NaN of a head with a row of NaN.

        Padded queries and rows that see no key are no rows.

        Raises:
            RuntimeError: a layer that was not seen, or of which no row counts; or layers of different numbers of heads.
        """
        for name in self.names:
            if name not in self._sums:
                raise RuntimeError(self._unseen(name))
            if not bool((self._sums[name][1] > 0).all()):
                raise RuntimeError(
                    f"watch_attention: {name} was seen without a query that counts: all are padding by the model's "
                    "attention_mask, or see no key"
                )
        means = [self._sums[name][0] / self._sums[name][1] for name in self.names]
        if len({len(own) for own in means}) > 1:
            raise RuntimeError(
                "watch_attention: layers have different numbers of heads, "
                f"{sorted({len(own) for own in means})}; watch those of one number, by include="
            )
        return torch.stack([own.cpu() for own in means])

    def summary(self, *, maximum: float | None = None) -> dict[str, float]:
        """What a monitor logs, of all rows since the last `reset`.

        Shares of all heads in quarters of the largest (``attention/collapsed``, ``low``, ``high``, ``overloaded``) and
        ``attention/broken``, those with NaN, sum to 1; then the ``mean`` and ``largest`` entropy of heads that are not
        broken (nats), and the number of ``nan_rows`` and of ``hidden_rows``, which see no key.

        Args:
            maximum: see `head_entropy_histogram`.

        Raises:
            RuntimeError: as `head_entropy`.
        """
        heads = self.head_entropy().flatten()
        whole = heads[heads.isfinite()]
        share = len(whole) / len(heads)
        found = dict.fromkeys(QUARTERS, 0.0) | {"broken": 1.0 - share}
        if len(whole):
            quarters = head_entropy_histogram(whole, maximum=maximum)
            found |= {name: share * float(q) for name, q in zip(QUARTERS, quarters, strict=True)}
        found["mean"] = float(whole.mean()) if len(whole) else float("nan")
        found["largest"] = float(whole.max()) if len(whole) else float("nan")
        for i, name in enumerate(("nan_rows", "hidden_rows"), 2):
            found[name] = float(sum(int(sums[i]) for sums in self._sums.values()))
        return {f"attention/{name}": value for name, value in found.items()}

    def reset(self) -> None:
        """Forgets all rows so far."""
        self._sums: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def before(self, call: Call) -> Tensor:
        return call.logits.query

    def after(self, call: Call, output: Tensor) -> None:
        # A checkpointed layer runs again in the backward pass, and must save the same tensors there as before.
        if not self._pass.running:
            self._outside.add(call.name)
        if not self.active or not (self._pass.running or self._grad):
            return
        if self._grad:
            self._pass.refuse_reentrant(WHO, call.name)
        with torch.set_grad_enabled(self._grad and torch.is_grad_enabled()):
            entropies = entropy_rows(call.logits, self._block)
        if not self._pass.running:
            return
        if call.name not in self._checked:
            check_agreement(call, output)
            self._checked.add(call.name)
        self._record(call, entropies)

    def _record(self, call: Call, entropies: Tensor) -> None:
        logits = call.logits
        queries, keys, device = logits.query.shape[2], logits.key.shape[2], logits.query.device
        visible = visible_keys(logits.mask, queries=queries, keys=keys, causal=logits.causal, device=device)
        self._last[call.name] = (entropies, visible)
        if entropies.requires_grad and checkpointed():
            self._again.add(call.name)
        counted = torch.ones((), dtype=torch.bool, device=device)
        # It is of these queries, or of the keys that they are the last of; a static cache has more keys than it.
        # Elsewhere, as in a vision tower, the model's mask says nothing.
        batch, width = (-1, -1) if self._padding is None else self._padding.shape
        if self._padding is not None and batch == len(logits.query) and (width == queries or width == keys >= queries):
            self.queries = self._padding[:, width - queries :].to(device)
            counted = self.queries[:, None]
        hidden = ((visible == 0) & counted).expand(entropies.shape)
        counted = ((visible > 0) & counted).expand(entropies.shape)
        values = entropies.detach()
        new = (
            torch.where(counted, values.double(), 0.0).sum((0, 2)),
            counted.sum((0, 2)),
            (counted & values.isnan()).sum(),
            hidden.sum(),
        )
        old = self._sums.get(call.name)
        self._sums[call.name] = new if old is None else tuple(a + b for a, b in zip(old, new, strict=True))  # type: ignore[assignment]

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.active:
            return
        self._last, self._again, self.queries = {}, set(), None
        given = kwargs.get("attention_mask")
        if given is None and args:
            given = inspect.signature(model.forward).bind_partial(*args).arguments.get("attention_mask")
        self._padding = given.bool() if isinstance(given, Tensor) and given.dim() == 2 else None

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        if name not in self._last:
            raise RuntimeError(self._unseen(name))
        return self._last[name]

    def _unseen(self, name: str) -> str:
        if name in self._outside:
            return (
                f"watch_attention: {name} was not seen: it ran outside of a pass of the watched model, as by a call of "
                "one of its parts (model.model(ids)); watch that part, watch_attention(model.model), or call the whole"
            )
        return (
            f"watch_attention: {name} was not seen: run the watched model itself (not one that wraps it) inside of the "
            "block, compiled there or not at all; or the layer took no part or has a kernel of its own "
            "(reorder_and_upcast_attn of GPT-2 does so): leave it out by include="
        )


@with_block("with watch_attention(model) as watch: ...")
def watch_attention(
    model: nn.Module, *, grad: bool = False, include: Include | None = None, block: int | None = None
) -> Iterator[AttentionWatch]:
    """While the block runs, every forward pass of ``model`` leaves the entropies of its attention in the watch.

        with watch_attention(model) as watch:
            model(**batch)
        watch.head_entropy()  # [L, H]

    The kernel gets what it would get and its output is passed on as it is, bit for bit; entropies are computed beside
    it from its queries, keys, mask and scaling (`attention_entropy_qk`). The first time, the last query's output is
    computed too and held to the kernel's (float32 and float64, without dropout), so that a layer whose logits have
    a term that is not seen here is refused. Afterwards nothing is left on the model.

    Args:
        model: of `transformers`, with ``attn_implementation`` eager or sdpa; of an encoder with a decoder, one of both.
        grad: keeps the graph, for `EntropyRegularizer`. Call backward inside of the block: checkpointed layers run
            again in it.
        include: asked with name and module; False leaves a layer out. block: see `attention_entropy_qk`.

    Raises:
        ValueError: a block below 1; a model or layer that cannot be watched, see `attention_layers`. In a forward pass:
            a layer that turns out so. TypeError: no model, or an include that is no function.
        MissingExtraError: `transformers` is not installed.
    """
    layers = attention_layers(model, WHO, include)
    if "decoder_attention_mask" in inspect.signature(model.forward).parameters:
        raise ValueError(
            "watch_attention: an encoder and a decoder have masks of their own; watch model.get_encoder() or "
            "model.get_decoder(), and run the whole model"
        )
    if block is not None:
        check_count(block, WHO, "block")
    watch = AttentionWatch(list(layers), grad=grad, block=block)
    with following([model]) as watch._pass, listening(layers, partial(_same, watch)):
        hook = model.register_forward_pre_hook(watch._begin, with_kwargs=True)
        try:
            yield watch
        finally:
            hook.remove()


def _same(watch: AttentionWatch, name: str) -> AttentionWatch:
    return watch
