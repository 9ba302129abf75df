"""Lion-K: momentum through the gradient of a convex K, with weight decay: a constrained or regularised optimum."""

from .convex import ConvexK
from .family import FAMILY, convex
from .lyapunov import Coefficients, feasibility, flow_lyapunov, kkt_gap, lionk_lyapunov, lyapunov_coefficients
from .monitor import LionKMonitor, LionKRecord, lionk_callback
from .nuclear import EXACT, MUON, newton_schulz
from .optimizer import LionK

__all__ = [
    "EXACT",
    "FAMILY",
    "MUON",
    "Coefficients",
    "ConvexK",
    "LionK",
    "LionKMonitor",
    "LionKRecord",
    "convex",
    "feasibility",
    "flow_lyapunov",
    "kkt_gap",
    "lionk_callback",
    "lionk_lyapunov",
    "lyapunov_coefficients",
    "newton_schulz",
]
