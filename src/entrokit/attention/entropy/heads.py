"""What the entropies of a model's heads say: how many have collapsed, how many see everything alike."""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import check_flags, check_floats, check_number


def head_entropy(entropies: Tensor, queries: Tensor | None = None) -> Tensor:
    """Mean over batch and queries: ``[B, H, T]`` gives ``[H]``, in float64.

    Args:
        queries: bool, broadcasts to ``[B, H, T]``, as ``[B, 1, T]``: False, as of padding, is left out.

    Raises:
        ValueError: no query is left, shapes that do not fit, or tensors on the meta device.
        TypeError: no tensor of real floats, or queries that are not boolean.
    """
    check_floats(entropies, "head_entropy", "entropies of one layer")
    if entropies.dim() != 3:
        raise ValueError(f"head_entropy: expected entropies [B, H, T], got {list(entropies.shape)}")
    if queries is None:
        queries = torch.ones((), dtype=torch.bool, device=entropies.device)
    try:
        counted = check_flags(queries, "head_entropy", "queries").expand(entropies.shape)
    except RuntimeError:
        raise ValueError(
            f"head_entropy: queries {list(queries.shape)} do not broadcast to entropies {list(entropies.shape)}; of "
            "[B, T] give queries[:, None]"
        ) from None
    count = counted.sum((0, 2))
    if bool((count == 0).any()):
        raise ValueError("head_entropy: no query is left of some head; queries is False everywhere")
    return torch.where(counted, entropies.double(), 0.0).sum((0, 2)) / count


def head_entropy_histogram(entropies: Tensor, *, maximum: float | None = None) -> Tensor:
    """Shares of heads in the quarters [0, m/4), [m/4, m/2), [m/2, 3m/4), [3m/4, m]: ``[4]``, float64, sum 1.

    m is the largest entropy observed, as in Entropy-Guided Attention (arXiv 2501.03489). So measured, heads that have
    all collapsed alike are in the top quarter: give ``maximum=log(T)`` to see them.

    Args:
        entropies: of heads, nats, of any shape, as ``[L, H]``. maximum: m; heads above it are in the top quarter.

    Raises:
        ValueError: no heads, an entropy below 0 or NaN, or a maximum that is no positive number. Where nothing else is
            observed but 0, all heads are in the bottom quarter.
        TypeError: no tensor of real floats.
    """
    values = check_floats(entropies, "head_entropy_histogram", "entropies of heads").detach().double().flatten()
    if not values.numel():
        raise ValueError("head_entropy_histogram: no heads")
    wrong = ~((values >= 0.0) & values.isfinite())
    if bool(wrong.any()):
        raise ValueError(
            f"head_entropy_histogram: {int(wrong.sum())} of {values.numel()} entropies are below 0 or not finite, the "
            f"first at {int(wrong.nonzero()[0])} of the flattened heads"
        )
    top = float(values.max()) if maximum is None else check_number(maximum, "head_entropy_histogram", "maximum")
    if maximum is not None and not top > 0.0:
        raise ValueError(f"head_entropy_histogram: maximum must be a number above 0, got {maximum}")
    if top == 0.0:
        return torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    quarter = (values * (4.0 / top)).floor().clamp(max=3.0).long()
    return torch.bincount(quarter, minlength=4).double().cpu() / values.numel()


def entropic_overload(entropies: Tensor, *, maximum: float | None = None) -> float:
    """Share of heads in the top quarter, 0 to 1; see `head_entropy_histogram`, also for what it raises."""
    return float(head_entropy_histogram(entropies, maximum=maximum)[3])


def entropy_collapse(entropies: Tensor, *, maximum: float | None = None) -> float:
    """Share of heads in the bottom quarter, 0 to 1; see `head_entropy_histogram`, also for what it raises."""
    return float(head_entropy_histogram(entropies, maximum=maximum)[0])
