"""A score that is the gradient of a scalar: one network for sampling, for energies and for forces.

Consistent Sampling and Simulation (arXiv 2506.17139), its energy parameterisation and its features of time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..checks import check_tensors
from .checks import as_times, check_count, check_finite, check_points

__all__ = ["EnergyMLP", "EnergyModel", "EnergyScore", "log_q_gradients", "time_features"]

Range = tuple[float, float]


@runtime_checkable
class EnergyModel(Protocol):
    """What has a log-density up to a constant of each time.

    It may also have ``smooth_range(t) -> (low, high)``, ``[B]`` each: the times around each of ``t`` in which
    ``log_q`` is one smooth function of time. Without it, that is [0, 1].
    """

    def log_q(self, x: Tensor, t: Tensor) -> Tensor:
        """Nats, ``[B]``, of points ``[B, *]`` at times ``[B]``."""
        ...


def time_features(t: Tensor, time_range: Range = (0.0, 1.0)) -> Tensor:
    """Features ``[B, 4]`` of times ``[B]`` clipped to the range; ``[B, 7]`` where it begins above 0.

    t - (t1 - t0) / 2, cos 2πt, sin 2πt, -cos 4πt; and the last three of the time rescaled to the range.
    """
    low, high = time_range
    t = t.clamp(low, high)
    waves = [t - 0.5 * (high - low), *_waves(t)]
    if low > 0:
        waves += _waves((t - low) / (high - low))
    return torch.stack(waves, -1)


def _waves(t: Tensor) -> list[Tensor]:
    return [torch.cos(2 * math.pi * t), torch.sin(2 * math.pi * t), -torch.cos(4 * math.pi * t)]


class EnergyMLP(nn.Module):
    """Points ``[B, D]`` and features of time ``[B, F]`` to an energy ``[B]``, by layers with SiLU.

    Raises:
        TypeError: ``hidden`` is no sequence. ValueError: numbers that are not whole and at least 1.
    """

    def __init__(self, dimensions: int, features: int = 4, hidden: Sequence[int] = (92, 92, 92)) -> None:
        super().__init__()
        if not isinstance(hidden, Sequence) or isinstance(hidden, str):
            raise TypeError(f"hidden has a width a layer, as in (64, 64); it is {hidden!r}")
        for name, value in (("dimensions", dimensions), ("features", features), *(("hidden", h) for h in hidden)):
            if check_count(name, value) < 1:
                raise ValueError(f"{name}: at least 1 is expected; it is {value}")
        self.dimensions = dimensions
        widths = [dimensions + features, *hidden]
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths):
            layers += [nn.Linear(wide, narrow), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        check_points(x, self.dimensions)
        energy: Tensor = self.layers(torch.cat([x, features], -1))
        return energy.squeeze(-1)


class EnergyScore(nn.Module):
    """A log-density up to a constant of each time, and its score by automatic differentiation.

    Its ``state_dict`` is the network's: load it into a model of the same ``time_range``.

    Args:
        network: of points ``[B, *]`` and `time_features` ``[B, F]`` to energies ``[B]`` or ``[B, 1]``; `EnergyMLP`, or
            your own. Rows must not see each other, and it must be smooth: SiLU, not ReLU. Its attention is computed
            without fused kernels where gradients of the score are wanted, since those kernels have none.
        time_range: its times, (0, 1) unless it is one of `TimeExperts`; times outside it are clipped to it.

    Raises:
        TypeError: a network that is no module, a range that is no pair.
        ValueError: a range that is none; batch normalisation or dropout in the network.
    """

    def __init__(self, network: nn.Module, time_range: Range = (0.0, 1.0)) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(
                f"network must be a torch.nn.Module, whose parameters are trained; it is {network!r}. An energy "
                "without any needs no EnergyScore: residuals take every object with log_q(x, t)"
            )
        _check_network(network)
        self.network, self.time_range = network, _check_range(time_range)

    @classmethod
    def mlp(cls, dimensions: int, hidden: Sequence[int] = (92, 92, 92), time_range: Range = (0.0, 1.0)) -> EnergyScore:
        """With an `EnergyMLP`; the paper's toy network by default."""
        low, _ = _check_range(time_range)
        return cls(EnergyMLP(dimensions, 7 if low > 0 else 4, hidden), time_range)

    def log_q(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Log-density in nats up to a constant of each time, ``[B]``, of points ``[B, *]`` at times ``[B]``.

        Raises:
            TypeError: the network gives something else than a tensor.
            ValueError: points or times that are none, points of another dtype than the network, energies of another
                shape.
        """
        times = as_times(t, check_points(x))
        features = time_features(times, self.time_range)
        try:
            energy: Tensor = self.network(x, features)
        except (AssertionError, RuntimeError, TypeError) as error:
            _check_dtypes(self.network, x, error)
            error.add_note(
                f"EnergyScore calls network(x {list(x.shape)}, time_features {list(features.shape)}) and wants an "
                "energy a point; wrap a network of other arguments in a module that is called so"
            )
            raise
        if not isinstance(energy, Tensor):
            raise TypeError(
                f"the network gives an energy a point, a tensor [{x.shape[0]}]; it gave a {type(energy).__name__}: "
                "wrap it in a module that makes one number a point of it"
            )
        if energy.shape not in (x.shape[:1], (x.shape[0], 1)):
            raise ValueError(
                f"the network gives an energy a point, [{x.shape[0]}]; the shape of its output is {list(energy.shape)}"
            )
        return -energy.reshape(x.shape[0])

    def log_q_and_score(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """``[B]`` and ``[B, *]``; with a graph to the parameters unless gradients are off."""
        log_q, score, _ = log_q_gradients(self, x, t, create_graph=torch.is_grad_enabled())
        return (log_q, score) if torch.is_grad_enabled() else (log_q.detach(), score.detach())

    def score(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The gradient of ``log_q`` in x, ``[B, *]``; with a graph to the parameters unless gradients are off."""
        return self.log_q_and_score(x, t)[1]

    def forward(self, x: Tensor, t: Tensor | float) -> Tensor:
        """The score."""
        return self.score(x, t)

    def smooth_range(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Where ``log_q`` is one smooth function of time, ``[B]`` each."""
        low, high = self.time_range
        return torch.full_like(t, low), torch.full_like(t, high)


def log_q_gradients(
    model: EnergyModel, x: Tensor, t: Tensor | float, *, create_graph: bool, in_time: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """``log_q`` ``[B]``, its gradient in x ``[B, *]``, and that in t ``[B]`` of the same pass backward.

    Args:
        create_graph: whether the gradients are to be differentiated; attention is then that of
            ``SDPBackend.MATH``, the only one that has second derivatives.
        in_time: whether the one in t is wanted; zeros otherwise.

    Raises:
        TypeError: a model without energy.
        ValueError: points or times that are none, energies that no gradient reaches, or what is not finite, and where.
    """
    if not isinstance(model, EnergyModel):
        raise TypeError(
            f"{type(model).__name__} has no energy: log_q(x, t) -> [B] is needed, since a score alone tells neither a "
            "density nor its derivative in time; wrap a scalar network in EnergyScore, or take the .module of a wrapper"
        )
    times = as_times(t, check_points(x))
    # Gradients are wanted where the caller has switched them off, too.
    with torch.inference_mode(False), torch.enable_grad():
        x, times = (v.clone() if v.is_inference() else v for v in (x, times))
        x = x if x.requires_grad else x.detach().requires_grad_()
        if in_time:
            times = times if times.requires_grad else times.detach().clone().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH) if create_graph else nullcontext():
            log_q = model.log_q(x, times)
        check_tensors(log_q=log_q)
        if log_q.shape != x.shape[:1]:
            raise ValueError(f"log_q gives a number a point, [{x.shape[0]}]; its shape is {list(log_q.shape)}")
        if log_q.dtype != x.dtype:
            raise ValueError(
                f"log_q comes as {log_q.dtype} of points of {x.dtype}; its derivatives need all digits, so keep it out "
                "of autocast and the network in the points' dtype"
            )
        check_finite(log_q, "log_q", x, times)
        if not log_q.requires_grad:
            raise ValueError("no gradient reaches x through log_q; is it computed under no_grad, or detached?")
        wanted = (x, times) if in_time else (x,)
        found = torch.autograd.grad(log_q.sum(), wanted, create_graph=create_graph, allow_unused=True)
    score = found[0] if found[0] is not None else torch.zeros_like(x)
    check_finite(score, "the score", x, times)
    moved = found[1] if in_time and found[1] is not None else torch.zeros_like(times)
    return log_q, score, moved


def _check_dtypes(network: nn.Module, x: Tensor, error: Exception) -> None:
    dtypes = {parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()}
    if dtypes and x.dtype not in dtypes:
        own = " and ".join(sorted(map(str, dtypes)))
        raise ValueError(
            f"the points are of {x.dtype} and the network of {own}; convert one, as with x.to(...)"
        ) from error


def _check_range(time_range: Range) -> Range:
    if not isinstance(time_range, Sequence) or len(time_range) != 2:
        raise TypeError(f"time_range is a pair (low, high); it is {time_range!r}")
    low, high = time_range
    if not 0 <= low < high <= 1:
        raise ValueError(f"time_range: 0 <= low < high <= 1 is expected; it is {time_range}")
    return float(low), float(high)


def _check_network(network: nn.Module) -> None:
    for name, part in network.named_modules():
        where = f"the network's {name or 'whole'} is a {type(part).__name__}"
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"{where}: rows that see each other have no energy of their own; use LayerNorm")
        # MultiheadAttention draws by a number of its own.
        drawn = isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0
        if drawn or (isinstance(part, nn.MultiheadAttention) and part.dropout > 0):
            raise ValueError(f"{where}: an energy that is drawn anew each time has no derivatives; leave it out")
        if isinstance(part, (nn.ReLU, nn.LeakyReLU, nn.Hardtanh)):
            warnings.warn(
                f"{where}: an energy that is linear in pieces has a score that is constant in pieces, of divergence 0; "
                "use SiLU, softplus or tanh",
                UserWarning,
                stacklevel=3,
            )
