"""What every user's privacy has cost so far."""

from __future__ import annotations

import numpy as np

from .._arrays import Floats
from .randomness import Ints


class PrivacyError(RuntimeError):
    """A report would spend more than a user's budget."""


class PrivacyLedger:
    """Counts what users spend, and refuses what they do not have.

    Args:
        sizes: users of each party. epsilon: each one's budget.

    Attributes:
        spent: of each party, ``[n_i]``.
    """

    def __init__(self, sizes: list[int], epsilon: float) -> None:
        self.epsilon = epsilon
        self.spent: list[Floats] = [np.zeros(n) for n in sizes]

    def charge(self, party: int, users: Ints, epsilon: float) -> None:
        """Books one report of each user.

        Raises:
            PrivacyError: one of them would exceed the budget; nothing is booked then.
        """
        if len(np.unique(users)) < len(users) or (self.spent[party][users] + epsilon > self.epsilon + 1e-12).any():
            raise PrivacyError(f"party {party}: a user would spend more than its budget of ε = {self.epsilon}")
        self.spent[party][users] += epsilon

    @property
    def most(self) -> float:
        """The largest ε that a user has spent."""
        return max((float(s.max()) for s in self.spent if len(s)), default=0.0)
