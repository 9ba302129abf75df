"""Methods of nobody's, for what the catalogue has no example of."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from entrokit.rlvr import Intervention, Weighting
from entrokit.rlvr.card import Card


@dataclass
class PrimeDefault(Intervention):
    """What prime-rl's default loss adds to the importance-weighted policy gradient: a mask of tokens whose probability
    went too far the way of their advantage, and the square of the log-ratio. Knobs: `low`, `high`, `tau`.
    """

    name: ClassVar[str] = "prime-default"
    low: float = 0.2
    high: float = 0.2
    tau: float = 1e-3

    def weight(self, update, clip, prepared):
        moved = (update.current.logp.exp() - update.behaviour.logp.exp()).detach()
        too_far = torch.where(update.advantages > 0, moved > self.high, moved < -self.low)
        return Weighting(weight=(~too_far).to(moved.dtype), metrics={"masked": update.mean(too_far.to(moved.dtype))})

    def penalty(self, update, prepared):
        return self.tau * (update.current.logp - update.behaviour.logp) ** 2


@dataclass
class Halved(Intervention):
    name: ClassVar[str] = "halved"

    def weight(self, update, clip, prepared):
        return Weighting(weight=torch.full_like(update.advantages, 0.5))


@dataclass
class Unlikely(Intervention):
    name: ClassVar[str] = "unlikely"

    def weight(self, update, clip, prepared):
        return Weighting(keep=update.behaviour.logp < -1.0)


@dataclass
class OwnCard(Intervention):
    name: ClassVar[str] = "own-card"
    card: ClassVar[Card] = Card(
        "2501.00001", examples=("dapo",), not_ranked="a test", refused_by={"prime-rl": "its card says so"}
    )


@dataclass
class OwnAdvice(Intervention):
    name: ClassVar[str] = "own-advice"
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    card: ClassVar[Card] = Card(
        "2501.00001", examples=("dapo",), not_ranked="a test", instead={"prime-rl": "write halved instead"}
    )


@dataclass
class Forgetful(Intervention):
    name: ClassVar[str] = "forgetful"

    def state_dict(self):
        return {"seen": 3}


@dataclass
class Reader(Intervention):
    name: ClassVar[str] = "reader"

    def bind(self, encode):
        pass


@dataclass
class Watcher(Intervention):
    name: ClassVar[str] = "watcher"

    def observe(self, metrics, context):
        pass


@dataclass
class Keeper(Intervention):
    name: ClassVar[str] = "keeper"

    def remember(self, rollouts, advantages, context):
        pass


@dataclass
class Sampler(Intervention):
    name: ClassVar[str] = "sampler"

    def decode(self):
        return None


@dataclass
class Squared(Intervention):
    name: ClassVar[str] = "squared"

    def penalty(self, update, prepared):
        return update.current.logp**2


@dataclass
class Broken(Intervention):
    name: ClassVar[str] = "broken"

    def penalty(self, update, prepared):
        return update.current.logp * float("inf")


@dataclass
class BrokenBelow(Intervention):
    """Of sequences with a negative advantage alone."""

    name: ClassVar[str] = "broken-below"

    def penalty(self, update, prepared):
        return torch.where(update.advantages < 0, float("inf"), 0.0) + update.current.logp
