"""Linear mode connectivity: what lies on the straight line between two networks.

A Three-regime Model of Network Pruning (arXiv 2305.18383). With m the mean of the errors at both ends and t* where the
path is farthest from it, LMC = m − err(t*): below 0 there is a barrier, about 0 the ends are connected, above 0 the
path is better than they are. Batch-norm statistics are estimated anew at every point; an average of two networks'
statistics belongs to neither their activations nor those between them.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from entrokit.evaluation import evaluating

from .networks import Batches, batches_for, copy_model, without_masks

Metric = Literal["error", "loss"] | Callable[[Tensor, Tensor], Tensor]

# An end whose error is above this share of what the commonest label gives has learnt nothing.
_DEAD = 0.9


class Path(NamedTuple):
    """A straight line between two networks: its connectivity, positions in [0, 1], and the metric at each."""

    lmc: float
    ts: list[float]
    values: list[float]


def path_connectivity(values: Sequence[float]) -> float:
    """LMC of the metric at points of a path, both ends among them; in the metric's unit.

    Where two points are equally far from the mean of the ends, the better one counts: a path that only falls from one
    end to the other has half of their difference, whichever is first.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    if len(values) < 2 or not all(math.isfinite(v) for v in values):
        raise ValueError(f"path_connectivity: needs two finite values or more, got {list(values)}")
    # As a sum of two differences the ends are equally far to the last bit.
    below = [((values[0] - v) + (values[-1] - v)) / 2 for v in values]
    return max(below, key=lambda d: (abs(d), d))


@torch.no_grad()
def linear_mode_connectivity(
    model_a: nn.Module,
    model_b: nn.Module,
    loader: Batches,
    points: int = 11,
    metric: Metric = "error",
    refresh_bn: bool = True,
) -> Path:
    """Linear mode connectivity of two networks on the examples of a loader; neither is changed.

    Pruned layers are taken with their masks on. Where an end errs almost as often as the commonest label would (0.9
    of it), nothing is left that could be connected: LMC is then NaN, with a warning. Of two such ends it would be 0.

    Args:
        model_a, model_b: of one architecture; in evaluation mode they give logits ``[N, classes]``.
        loader: training batches (x, y) without augmentation, gone through twice for every point.
        points: positions on the line, evenly spaced, both ends among them.
        metric: ``"error"``, the share of wrong answers; ``"loss"``, cross-entropy in nats, for which the thresholds of
            `classify_regime` mean nothing; or a function (outputs, y) → one number for each example.
        refresh_bn: estimate batch-norm statistics at every point (`refresh_batch_norm`); otherwise they are
            interpolated as parameters are, which overstates barriers. Without batch norm it changes nothing.

    Raises:
        ValueError: fewer than two points, parameters that do not correspond, a loader without examples, or outputs
            that are not finite. TypeError: the loader is an iterator.
    """
    if points < 2:
        raise ValueError(f"linear_mode_connectivity: a path has two points or more, got points={points}")
    ends = without_masks(model_a), without_masks(model_b)
    _check_same(*(_movable(end) for end in ends))
    between = copy_model(ends[0])
    moved = [(own, *(_movable(end)[name] for end in ends)) for name, own in _movable(between).items()]
    ts, values = [i / (points - 1) for i in range(points)], []
    for t in ts:
        for own, a, b in moved:
            other = b.to(a.device)
            # What is alike stays: a mask of −∞ has no mean.
            own.copy_(torch.where(a == other, a, (1 - t) * a + t * other))
        if refresh_bn:
            refresh_batch_norm(between, loader)
        values.append(_mean_metric(between, loader, metric, t))
    lmc = path_connectivity(values)
    if metric == "error" and max(values[0], values[-1]) >= _DEAD * _chance(between, loader) > 0:
        warnings.warn(
            f"linear_mode_connectivity: the ends err in {values[0]:.2f} and {values[-1]:.2f} of cases, at least one "
            "of them as often as chance; it has learnt nothing, and LMC is NaN",
            RuntimeWarning,
            stacklevel=2,
        )
        lmc = math.nan
    return Path(lmc, ts, values)


@torch.no_grad()
def refresh_batch_norm(model: nn.Module, loader: Batches) -> None:
    """Estimates running means and variances of batch norms anew, as averages over the examples of a loader.

    Only batch norms are in training mode meanwhile: dropout stays off, unlike in `torch.optim.swa_utils.update_bn`, and
    batches count by their size. A batch of one example has no variance and is passed over.

    Raises:
        ValueError: the loader holds no batch of two examples. TypeError: it is an iterator. Statistics are as they were
            then, and where the model fails.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    momenta, seen = [norm.momentum for norm in norms], 0
    kept = [{name: b.clone() for name, b in norm.named_buffers(recurse=False)} for norm in norms]
    with evaluating(model):
        try:
            for x, _ in batches_for(model, loader, "refresh_batch_norm"):
                if len(x) < 2:
                    continue
                if not seen:
                    for norm in norms:
                        norm.reset_running_stats()
                        norm.train()
                seen += len(x)
                for norm in norms:
                    norm.momentum = len(x) / seen
                model(x)
        except BaseException:
            for norm, buffers in zip(norms, kept, strict=True):
                for name, value in buffers.items():
                    norm.get_buffer(name).copy_(value)
            raise
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    if not seen:
        raise ValueError("refresh_batch_norm: loader has no batch of two examples, and one alone has no variance")


def _movable(model: nn.Module) -> dict[str, Tensor]:
    """What lies on a line between two networks: parameters, tied ones once, and buffers of floating point."""
    buffers = {name: b for name, b in model.named_buffers() if b.is_floating_point()}
    return dict(model.named_parameters()) | buffers


def _check_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    if unlike := sorted(a.keys() ^ b.keys()):
        raise ValueError(f"linear_mode_connectivity: {unlike[0]} is in one network alone; give two of one architecture")
    for name, own in a.items():
        if own.shape != b[name].shape:
            raise ValueError(
                f"linear_mode_connectivity: {name} has shapes {list(own.shape)} and {list(b[name].shape)}; give two "
                "networks of one architecture"
            )


def _mean_metric(model: nn.Module, loader: Batches, metric: Metric, t: float) -> float:
    total, count = 0.0, 0
    with evaluating(model):
        for x, y in batches_for(model, loader, "linear_mode_connectivity"):
            output = model(x)
            if not bool(output.isfinite().all()):
                raise ValueError(f"linear_mode_connectivity: outputs at t = {t:g} hold NaN or inf")
            each = _each(output, y, metric)
            if each.shape != y.shape[:1]:
                raise ValueError(f"metric: gives one number for each of {len(y)} examples, got {list(each.shape)}")
            total, count = total + float(each.double().sum()), count + len(y)
    return total / count


def _each(output: Tensor, y: Tensor, metric: Metric) -> Tensor:
    if metric == "error":
        return output.argmax(-1) != y
    if metric == "loss":
        return functional.cross_entropy(output.float(), y, reduction="none")
    if callable(metric):
        return metric(output, y)
    raise ValueError(f"metric must be 'error', 'loss' or a function, got {metric!r}")


def _chance(model: nn.Module, loader: Batches) -> float:
    """Error of always giving the commonest label."""
    counts = Counter(label for _, y in batches_for(model, loader, "linear_mode_connectivity") for label in y.tolist())
    return 1 - max(counts.values()) / counts.total()
