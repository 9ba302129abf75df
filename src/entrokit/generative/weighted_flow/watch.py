"""Says once that a batch has come down to a pair or so: eps is too small for it."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from .tilt import SMALL_SAMPLE
from .weights import effective_share

# Of the weight of a batch, one pair's.
LARGE_SHARE = 0.5


@dataclass
class Watch:
    """Looks at the first batch, the second, the fourth, the eighth and so on, until it has warned.

    A look waits for the device, and so rarely that it costs nothing; a temperature that is too small shows in nearly
    every batch.
    """

    seen: int = 0
    warned: bool = False

    def look(self, weight: Tensor, eps: float) -> None:
        """Warns, where a caller outside of this package stands, of a pair with more than half of all weight."""
        self.seen += 1
        if self.warned or self.seen & (self.seen - 1):
            return
        share, ess = torch.stack([weight.max() / weight.sum(), effective_share(weight)]).tolist()
        # In a batch of two or three one pair may well be half.
        if share > LARGE_SHARE and ess < SMALL_SAMPLE:
            self.warned = True
            warnings.warn(
                f"at eps {eps:g} one pair of {len(weight)} holds {share:.0%} of the weight, and the batch counts as "
                f"{ess * len(weight):.1f} pairs (ess {ess:.2g} < {SMALL_SAMPLE:g}): raise eps (epsilon_within chooses "
                "one from samples) or the batch; effective_share of the weights is this number for logs",
                stacklevel=levels_to_the_caller(),
            )


def levels_to_the_caller() -> int:
    """As `warnings.warn` counts them where this is called: `loss`, `sample` and `weights` are one inside the other."""
    package, level, frame = __name__.rpartition(".")[0], 0, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(package):
        level, frame = level + 1, frame.f_back
    return level + 1
