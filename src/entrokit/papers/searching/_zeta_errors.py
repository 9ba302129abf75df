"""How far ζ, Z and θ in double precision are from mpmath's."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from entrokit.search.zeta import hardy_z, riemann_siegel_theta, zeta

WINDOWS = (50, 100, 300, 1000, 3000, 9999)
POINTS = 20


def errors(seed: int) -> dict[str, list[float]]:
    """The largest of each up to each height: of ζ in 0 ≤ σ ≤ 1 in units of max(1, |ζ|); of Z and θ as they are."""
    mpmath = reference()
    with mpmath.workdps(30):
        return _errors(mpmath, seed)


def zeros(count: int) -> list[float]:
    """Heights of the first zeros, by mpmath."""
    mpmath = reference()
    return [float(mpmath.zetazero(i + 1).imag) for i in range(count)]


def _errors(mpmath: Any, seed: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"ζ": [], "Z": [], "θ": []}
    for height in WINDOWS:
        g = torch.Generator().manual_seed(seed)
        sigma, share = torch.rand(2, POINTS, generator=g, dtype=torch.float64)
        t = height * (0.7 + 0.3 * share)
        s = torch.complex(sigma, t)
        exact = [mpmath.zeta(mpmath.mpc(x.real, x.imag)) for x in s.tolist()]
        own = [mpmath.mpc(x.real, x.imag) for x in zeta(s).tolist()]
        found["ζ"].append(max(float(abs(a - b) / max(1, abs(b))) for a, b in zip(own, exact, strict=True)))
        for name, ours, theirs in (
            ("Z", hardy_z(t), mpmath.siegelz),
            ("θ", riemann_siegel_theta(t), mpmath.siegeltheta),
        ):
            pairs = zip(ours.tolist(), t.tolist(), strict=True)
            found[name].append(max(float(abs(mpmath.mpf(a) - theirs(mpmath.mpf(x)))) for a, x in pairs))
    return found


def reference() -> Any:
    """mpmath.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        mpmath: Any = importlib.import_module("mpmath")
    except ImportError:
        raise RuntimeError("the reference is mpmath: pip install mpmath") from None
    return mpmath
