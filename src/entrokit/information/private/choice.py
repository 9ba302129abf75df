"""The oracles by name, and which of them errs least."""

from __future__ import annotations

import math

from .local_hashing import OLH
from .oracles import KRR, OUE, FrequencyOracle

ORACLES: dict[str, type[FrequencyOracle]] = {"krr": KRR, "oue": OUE, "olh": OLH}


def best_oracle(d: int, epsilon: float) -> str:
    """The oracle of least variance on d items: "krr" below ``3 e^ε + 2``, else "oue"."""
    return "krr" if d < 3.0 * math.exp(min(epsilon, 50.0)) + 2.0 else "oue"
