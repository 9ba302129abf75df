"""What the entropies see besides order: the bins of headings, how few agents there are, the edge of the box."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping

import torch

from entrokit.papers.told import spread
from entrokit.physics.schooling import PRESETS, SolidAngle, polarization_entropy, rotation, school_entropies

from ..entry import Shown
from ..evidence import Budget, Finding

ISOTROPIC = 200_000
LIMITS: Mapping[SolidAngle, float] = {"official": 0.946000, "none": 0.976117, "equal_area": 1.0}
SMALL = (64, 150, 250)
SHIFTS = 20


def headings(budget: Budget) -> Iterator[Shown]:
    isotropic: dict[str, list[float]] = {str(angle): [] for angle in LIMITS}
    turned: dict[str, list[float]] = {}
    small: dict[str, list[float]] = {}
    for seed in budget.seeds:
        g = torch.Generator().manual_seed(seed)
        v = torch.randn(ISOTROPIC, 3, generator=g, dtype=torch.float64)
        for angle in LIMITS:
            isotropic[angle].append(float(polarization_entropy(v, solid_angle=angle)))
        jitter = 0.05 * torch.randn(250, 3, generator=g, dtype=torch.float64)
        for angle in LIMITS:
            along = [
                polarization_entropy(jitter + torch.eye(3, dtype=torch.float64)[i], solid_angle=angle) for i in (2, 0)
            ]
            turned.setdefault(angle, []).append(float(along[0] - along[1]))
        for n in SMALL:
            plain = polarization_entropy(v[:n], solid_angle="equal_area")
            mended = polarization_entropy(v[:n], solid_angle="equal_area", correction="miller_madow")
            small.setdefault(f"{n} agents, as counted", []).append(float(plain))
            small.setdefault(f"{n} agents, Miller-Madow", []).append(float(mended))
    yield Finding(
        "Sines of the polar angle stand twice in the released entropy of headings.",
        f"{ISOTROPIC:,} isotropic headings, every seed within 0.002 of: "
        + ", ".join(f"{angle} {limit:.4f}" for angle, limit in LIMITS.items()),
        "; ".join(f"{angle} {spread(values, '.4f')}" for angle, values in isotropic.items()),
        all(abs(value - limit) <= 0.002 for angle, limit in LIMITS.items() for value in isotropic[angle]),
        "limits by quadrature: 0.946000, 0.976117, 1",
        isotropic,
    )
    yield Finding(
        "It depends on which way an aligned school swims.",
        "250 headings of one cone, released bins: along z at least 0.1 more than along x, every seed",
        "; ".join(f"{angle} {spread(values)}" for angle, values in turned.items()),
        min(turned["official"]) >= 0.1,
        "independent check of another cone: 0.651 along z, 0.376 along x",
        turned,
    )
    yield Finding(
        "Few agents look ordered; Miller and Madow's correction takes a part of it back.",
        "isotropic headings, bins of equal area, 64 to 250 agents, every seed: nearer to 1 with it",
        "; ".join(f"{name} {spread(values)}" for name, values in small.items()),
        all(
            abs(1 - mended) < abs(1 - plain)
            for n in SMALL
            for plain, mended in zip(small[f"{n} agents, as counted"], small[f"{n} agents, Miller-Madow"], strict=True)
        ),
        "",
        small,
    )


def edge(budget: Budget) -> Iterator[Shown]:
    model = PRESETS["torus"].model
    g = torch.Generator().manual_seed(budget.seeds[0])
    x, v = model.mill(len(budget.seeds), 200, radius=3.0, generator=g)
    shift = torch.rand(SHIFTS, len(budget.seeds), 1, 3, generator=g, dtype=torch.float64) * model.box
    moved, swum = torch.remainder(x + shift, model.box), v.expand(SHIFTS, *v.shape)
    kinds = {"released": None, "periodic centroid": model.box}
    still = rotation(x, v)
    turning = {name: rotation(moved, swum, box=box) for name, box in kinds.items()}
    index = {
        name: school_entropies(moved, swum, model.box, solid_angle="none", periodic_centroid=box is not None).index()
        for name, box in kinds.items()
    }
    least = (turning["released"].amin(0) / still).tolist()
    off = (turning["periodic centroid"] - still).abs().amax(0).tolist()
    yield Finding(
        "Across the edge of a periodic box the released M is wrong, and with a periodic centroid it is not.",
        f"a mill of radius 3 in a box of 25, {SHIFTS} shifts, every seed: the least M over that in the middle is at "
        "most 0.5 as released; with the periodic centroid M is that of the middle within 1e-9",
        f"least over middle {spread(least)}; off by at most {max(off):.1e}",
        max(least) <= 0.5 and max(off) <= 1e-9,
        "",
        {"least M over that in the middle": least, "off, periodic centroid": off},
    )
    spans = {name: (value.amax(0) - value.amin(0)).tolist() for name, value in index.items()}
    yield Finding(
        "The index moves with the school, too.",
        "largest minus least index over the shifts, mean over seeds: as released at least twice that with the periodic "
        "centroid, which depth, in fixed bins, still moves",
        "; ".join(f"{name} {spread(values)}" for name, values in spans.items()),
        statistics.fmean(spans["released"]) >= 2 * statistics.fmean(spans["periodic centroid"]),
        "",
        spans,
    )
