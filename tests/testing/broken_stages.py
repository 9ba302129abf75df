"""Methods whose stages or state are wrong, each in one way, and the check that catches it."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import numpy as np
import torch

from entrokit.rlvr import Intervention, Weighting
from entrokit.rlvr.card import Card

from .tether import Tether


class WeighsWithGradient(Tether):
    def weight(self, update, clip, prepared):
        return Weighting(weight=self.weights(self.gap(update, prepared).abs(), update), metrics={})


class PenaltyWithoutGradient(Tether):
    def penalty(self, update, prepared):
        return super().penalty(update, prepared).detach()


class RewardsTokens(Tether):
    def reward(self, rollouts, rewards, context):
        return rewards[:, None] - self.toll * rollouts.trained


class RewardsInFloat32(Tether):
    def reward(self, rollouts, rewards, context):
        return rewards.float()


class LogsTokens(Tether):
    def weight(self, update, clip, prepared):
        gap = self.gap(update, prepared).detach()
        return Weighting(weight=self.weights(gap.abs(), update), metrics={"gap": gap})


class DividesZeros(Tether):
    def weights(self, gap, update):
        return gap / gap


class ScalesAdvantagesInPlace(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages.mul_(2)


class ClearsRewardsInPlace(Tether):
    def prepare(self, rollouts, advantages, context):
        rollouts.reward.zero_()
        return super().prepare(rollouts, advantages, context)


class DrawsFromTheProcess(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages * torch.rand(())


class DrawsFromNumpy(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages * np.random.rand()


class ReadsCollision(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages * rollouts.behaviour.require("collision", self.name)


class ReadsReference(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages if rollouts.reference_logp is None else 2 * advantages


class NeedsAList(Tether):
    needs: ClassVar[list[str]] = ["entropy"]


class NeedsWhatIsNone(Tether):
    needs: ClassVar[frozenset[str]] = frozenset({"entropy", "entropie"})


class ObservesInEvaluation(Tether):
    def prepare(self, rollouts, advantages, context):
        self.mean = 0.0 if self.mean is None else self.mean + 0.1
        return super().prepare(rollouts, advantages, context)


@dataclass
class CountsLosses(Tether):
    """Hides what it has seen from its state."""

    losses: int = field(default=0, init=False, compare=False)

    def weights(self, gap, update):
        self.losses += 1
        return super().weights(gap, update) / self.losses


@dataclass
class DoublesItsKnob(Tether):
    """Its knob is not what it was given."""

    def __post_init__(self):
        self.pull *= 2


class ForgetsItsMean(Tether):
    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class RoundsItsMean(Tether):
    def load_state_dict(self, state):
        self.mean = None if state["mean"] is None else round(state["mean"], 6)


class SavesAnObject(Tether):
    def state_dict(self):
        return {"mean": Fraction(0 if self.mean is None else self.mean)}

    def load_state_dict(self, state):
        self.mean = float(state["mean"])


class SharesItsState(Tether):
    def state_dict(self):
        shared = self.__dict__.setdefault("shared", {})
        shared["mean"] = self.mean
        return shared


class TakesAnyState(Tether):
    def load_state_dict(self, state):
        self.mean = state.get("mean", self.mean)


class LoadsHalfOfIt(Tether):
    def load_state_dict(self, state):
        self.mean = None
        self.mean = state["mean"]


@dataclass
class KeepsEverything(Tether):
    """Remembers every entropy."""

    seen: list[torch.Tensor] = field(default_factory=list, init=False, compare=False)

    def remember(self, rollouts, advantages, context):
        self.seen.append(rollouts.behaviour.entropy)

    def state_dict(self):
        return {"mean": self.mean, "seen": list(self.seen)}


@dataclass
class KeepsEverythingToItself(Tether):
    """Remembers every entropy, beside its state."""

    def remember(self, rollouts, advantages, context):
        self.__dict__.setdefault("seen", []).append(rollouts.behaviour.entropy)


@dataclass
class KeepsEverythingWithoutState(Intervention):
    """Remembers every entropy, and saves nothing (0000.00000)."""

    name: ClassVar[str] = "tether"
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+tether",), not_ranked="exists for tests")

    def remember(self, rollouts, advantages, context):
        self.__dict__.setdefault("seen", []).append(rollouts.behaviour.entropy.numpy())


class CountsNoBytes(Tether):
    memory_bytes: ClassVar[int] = 0

    def state_dict(self):
        return {"mean": None if self.mean is None else torch.tensor(self.mean, dtype=torch.float64)}


# Which check catches whom, and what it says that it found.
BROKEN = [
    ("stage_results", WeighsWithGradient, r"tether.weight.weight carries a gradient"),
    ("stage_results", PenaltyWithoutGradient, r"tether.penalty.loss has no gradient"),
    ("stage_results", RewardsTokens, r"tether.reward has the shape \[8, 6\], not \[8\]"),
    ("stage_results", RewardsInFloat32, r"tether.reward is torch.float32, not torch.float64"),
    ("stage_results", LogsTokens, r"tether.weight.metrics\['gap'\] has the shape \[8, 6\], not \[\]"),
    ("masked_results", DividesZeros, "tether.weight.weight is NaN or infinite"),
    ("inputs_kept", ScalesAdvantagesInPlace, r"tether.advantage changed its argument\[1\] in place"),
    ("inputs_kept", ClearsRewardsInPlace, r"tether.prepare changed its argument\[0\].reward in place"),
    ("generator", DrawsFromTheProcess, "draws from the generator of torch"),
    ("generator", DrawsFromNumpy, "draws from the generator of numpy"),
    ("needs", ReadsCollision, "needs the statistic 'collision'"),
    ("needs", ReadsReference, "with nothing but what it asks for: the loss"),
    ("needs", NeedsAList, "tether.needs is a list, not a frozenset"),
    ("needs", NeedsWhatIsNone, r"tether needs \['entropie'\], which are no statistics"),
    ("evaluation", ObservesInEvaluation, "after an evaluation: the state"),
    ("evaluation", CountsLosses, "evaluated twice: the loss"),
    ("string", DoublesItsKnob, "its string is"),
    ("resume", ForgetsItsMean, "saved after 3 steps: step 3"),
    ("resume", CountsLosses, "saved after 3 steps: step 3"),
    ("resume", RoundsItsMean, "saved after 3 steps: the state"),
    ("resume", SavesAnObject, "UnpicklingError"),
    ("saved_state", SharesItsState, "a state taken after 0 steps, one step later"),
    ("foreign_state", TakesAnyState, "took the state {'of another method': 1.0}"),
    ("foreign_state", LoadsHalfOfIt, "the state after a refusal"),
    ("memory", KeepsEverything, "a batch of 1024 completions adds .* bytes in the long run"),
    ("memory", KeepsEverythingToItself, "bytes in the long run to tether.seen, an attribute"),
    ("memory", KeepsEverythingWithoutState, "bytes in the long run to tether.seen, an attribute"),
    ("memory", CountsNoBytes, "memory_bytes is 0"),
]
