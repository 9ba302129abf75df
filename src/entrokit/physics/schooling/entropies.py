"""Seven normalised entropies of a school, each of another kind of disorder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import get_args

import torch
from torch import Tensor

from ..arguments import as_count
from .checked import Array, Still, checked_box, checked_inside, checked_vectors, directions
from .headings import ALIGNMENTS, AZIMUTHAL, POLAR, SolidAngle, alignment_counts, heading_weights
from .histogram import Correction, histogram, normalised_entropy
from .index import oceanic_schooling_index
from .neighbors import neighbor_distances
from .order import angular_momenta, from_centroid

__all__ = ["SchoolEntropies", "polarization_entropy", "school_entropies"]


@dataclass(frozen=True)
class SchoolEntropies:
    """Entropies over the largest that their bins allow, each ``(...)`` in [0, 1] and float64; 0 is order.

    Named as the released code names them.

    Attributes:
        school_cohesion_entropy: of distances to the nearest neighbour, 25 bins of [0, box / 2].
        polarization_entropy: of headings on the sphere, 12 by 24 bins; 0 where all swim one way, where the order
            parameter `polarization` is 1.
        depth_stratification_entropy: of z, 15 bins of [0, box].
        angular_momentum_entropy: of |r̂ × u|, 20 bins of [0, 1]: which way round is lost, and it is 0 for a perfect
            mill and for a school that swims straight outwards alike.
        nearest_neighbor_entropy: of the variation (standard deviation over mean) of k nearest distances, 20 bins of
            [0, 2].
        velocity_correlation_entropy: of u_i · u_j over all pairs, however far apart, 20 bins of [-1, 1].
        school_shape_entropy: no histogram, but that of the three principal variances over their sum.
        dropped: share of values outside of their range, which are not counted, of ``school_cohesion_entropy`` and
            ``nearest_neighbor_entropy``, each ``(...)``; the other ranges hold whatever there can be.
    """

    school_cohesion_entropy: Tensor
    polarization_entropy: Tensor
    depth_stratification_entropy: Tensor
    angular_momentum_entropy: Tensor
    nearest_neighbor_entropy: Tensor
    velocity_correlation_entropy: Tensor
    school_shape_entropy: Tensor
    dropped: Mapping[str, Tensor]

    def as_dict(self) -> dict[str, Tensor]:
        """The seven by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "dropped"}

    def index(self, weights: Mapping[str, float] | None = None) -> Tensor:
        """Their weighted sum, `oceanic_schooling_index`, ``(...)``."""
        return oceanic_schooling_index(self.as_dict(), weights)


def school_entropies(
    positions: Array,
    velocities: Array,
    box: float,
    *,
    k: int = 5,
    solid_angle: SolidAngle = "official",
    periodic: bool = True,
    periodic_centroid: bool = False,
    correction: Correction = "none",
    still: Still = "error",
    undefined: float = 0.5,
) -> SchoolEntropies:
    """The entropies of dewi-kadita (arXiv 2602.07948, version 0.0.4) of one school, or of many at once.

    A whole trajectory is one call. Time is N ln N + N² / 2 a frame, for neighbours and pairs of headings; memory is
    bounded beyond what is given and N k a frame. Histograms pass no gradients; the shape does.

    Args:
        positions, velocities: ``(..., N, 3)``, tensors or arrays; positions in [0, box]. Speeds do not matter.
        box: side of the cube, in the unit of the positions.
        k: neighbours whose distances vary.
        solid_angle: of the bins of headings. ``official`` reproduces the released code, whose value of isotropic
            headings tends to 0.946; ``none`` tends to 0.976, ``equal_area`` to 1 (`heading_weights`).
        periodic: False: walls, distances do not pass through them.
        periodic_centroid: momenta and shape from the centroid of `centroid(positions, box=box)`. By default, as
            released, from the mean position: wrong for a school across the edge of a periodic box.
        correction: ``miller_madow`` adds its correction of small samples to each histogram's entropy, which may pass 1
            then. Pairs are taken as independent, which they are not. Not with ``solid_angle="official"``, whose bins
            hold no counts.
        still: see `directions`.
        undefined: value where nothing falls into the range, or there are too few agents: 2 for neighbours and pairs,
            k + 1 for their variation, 3 for momenta, 4 for the shape.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, positions outside of the box, agents without
            a heading, options that are none.
    """
    k = as_count("k", k)
    _check_options(solid_angle, periodic, periodic_centroid, correction)
    side = checked_box(box)
    x = checked_inside(checked_vectors("positions", positions), side).double().clamp(max=side)
    # Headings of float32 are longer than 1 by a rounding, and a mill's momenta then fall outside of [0, 1].
    v = checked_vectors("velocities", velocities).double()
    u = directions(v, still=still)
    if x.shape != u.shape:
        raise ValueError(f"positions and velocities: one shape, got {tuple(x.shape)} and {tuple(u.shape)}")
    *leading, agents, _ = x.shape
    x, u = x.reshape(-1, agents, 3), u.to(x.device).reshape(-1, agents, 3)
    apart = from_centroid(x, box=side if periodic_centroid else None)
    nothing = x.new_full((len(x),), undefined)

    def entropy(weights: Tensor, bins: int) -> Tensor:
        return normalised_entropy(weights, bins, correction=correction, undefined=undefined)

    near = neighbor_distances(x, side if periodic else None, min(k, agents - 1)) if agents > 1 else None
    cohesion = variation = alignment = momentum = shape = nothing
    dropped = {name: torch.ones_like(nothing) for name in ("school_cohesion_entropy", "nearest_neighbor_entropy")}
    if near is not None:
        counts = histogram(near[..., 0], 0.0, side / 2.0, 25)
        cohesion, dropped["school_cohesion_entropy"] = entropy(counts.counts, 25), counts.dropped
        alignment = entropy(alignment_counts(u), ALIGNMENTS)
    if near is not None and agents > k:
        counts = histogram(near.std(-1, correction=0) / (near.mean(-1) + 1e-10), 0.0, 2.0, 20)
        variation, dropped["nearest_neighbor_entropy"] = entropy(counts.counts, 20), counts.dropped
    if agents >= 3:
        lengths = angular_momenta(apart, u).norm(dim=-1)
        momentum = entropy(histogram(lengths.detach(), 0.0, 1.0, 20).counts, 20)
    if agents >= 4:
        shape = _shape_entropy(apart)
    found = {
        "school_cohesion_entropy": cohesion,
        "polarization_entropy": entropy(heading_weights(u.detach(), solid_angle), POLAR * AZIMUTHAL),
        "depth_stratification_entropy": entropy(histogram(x[..., 2].detach(), 0.0, side, 15).counts, 15),
        "angular_momentum_entropy": momentum,
        "nearest_neighbor_entropy": variation,
        "velocity_correlation_entropy": alignment,
        "school_shape_entropy": shape,
    }
    return SchoolEntropies(
        **{name: value.reshape(leading) for name, value in found.items()},
        dropped={name: value.reshape(leading) for name, value in dropped.items()},
    )


def lacking_agents(agents: int, k: int) -> list[str]:
    """Entropies of `school_entropies` that so few agents have not, which are ``undefined`` then."""
    least = {
        "school_cohesion_entropy": 2,
        "angular_momentum_entropy": 3,
        "nearest_neighbor_entropy": k + 1,
        "velocity_correlation_entropy": 2,
        "school_shape_entropy": 4,
    }
    return [name for name, enough in least.items() if agents < enough]


def polarization_entropy(
    velocities: Array,
    *,
    solid_angle: SolidAngle = "official",
    correction: Correction = "none",
    still: Still = "error",
) -> Tensor:
    """The entropy of headings alone, `SchoolEntropies.polarization_entropy` of ``(..., N, 3)``: linear in N, ``(...)``.

    Raises:
        ValueError: as `school_entropies`.
    """
    _check_bins(solid_angle, correction)
    u = directions(checked_vectors("velocities", velocities).double(), still=still).detach()
    weights = heading_weights(u.reshape(-1, *u.shape[-2:]), solid_angle)
    found = normalised_entropy(weights, POLAR * AZIMUTHAL, correction=correction, undefined=0.5)
    return found.reshape(u.shape[:-2])


def _shape_entropy(apart: Tensor) -> Tensor:
    centred = apart - apart.mean(-2, keepdim=True)
    variances = torch.linalg.eigvalsh(centred.mT @ centred / (apart.shape[-2] - 1)).clamp(min=1e-10)
    share = variances / variances.sum(-1, keepdim=True)
    nats: Tensor = -torch.special.xlogy(share, share).sum(-1)
    return nats / math.log(3.0)


def _check_options(solid_angle: str, periodic: bool, periodic_centroid: bool, correction: str) -> None:
    _check_bins(solid_angle, correction)
    if periodic_centroid and not periodic:
        raise ValueError("periodic_centroid: a box with walls (periodic=False) has no edge to look across")


def _check_bins(solid_angle: str, correction: str) -> None:
    for name, value, known in (
        ("solid_angle", solid_angle, get_args(SolidAngle)),
        ("correction", correction, get_args(Correction)),
    ):
        if value not in known:
            raise ValueError(f"{name}: one of {', '.join(known)}, got {value!r}")
    if correction == "miller_madow" and solid_angle == "official":
        raise ValueError(
            "correction='miller_madow' is of counts, and solid_angle='official' weighs them: give 'none' or "
            "'equal_area'"
        )
