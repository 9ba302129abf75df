"""Methods whose class, card or conduct under an engine is wrong, each in one way, and the check that catches it."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from entrokit.rlvr import Intervention, Weighting
from entrokit.rlvr.card import Card, OnBenches

from .tether import Tether


@dataclass
class Shouts(Tether):
    """A name that no recipe writes."""

    name: ClassVar[str] = "Tether_2"


class HasAKnobUnsaid(Tether):
    strength: float = 1.0


@dataclass
class KeepsAKnobToItself(Tether):
    """Knobs: `pull`, `damp`, `toll`, `late`, `scope`."""

    strength: float = 1.0


@dataclass(kw_only=True)
class WantsAKnob(Tether):
    """Knobs: `pull`, `damp`, `toll`, `late`, `scope`, `strength`."""

    strength: float


@dataclass
class TakesAnything(Tether):
    """Refuses no knob."""

    def __post_init__(self):
        pass


@dataclass
class RefusesWithoutName(Tether):
    """Says that something is wrong, not what."""

    def __post_init__(self):
        if self.pull != self.pull:
            raise ValueError("wrong")


class DividesByZero(Tether):
    def weights(self, gap, update):
        return gap * (1 / 0)


class WeighsWithATensor(Tether):
    def weight(self, update, clip, prepared):
        return super().weight(update, clip, prepared).weight


class PreparesAFloat(Tether):
    def prepare(self, rollouts, advantages, context):
        return super().prepare(rollouts, advantages, context) | {"mean": 0.5}


class ForgetsToReturn(Tether):
    def advantage(self, rollouts, advantages, context):
        advantages * 2


class HasAnExampleThatIsNone(Tether):
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+tether(pul=0.5)",), not_ranked="exists for tests")


class EndsTheProcess(Tether):
    def remember(self, rollouts, advantages, context):
        raise SystemExit(3)


class SkipsItsTest(Tether):
    def remember(self, rollouts, advantages, context):
        pytest.skip("not today")


class Obsrves(Tether):
    def obsrve(self, metrics, context):
        self.mean = 0.0


class Observes(Tether):
    def observes(self, metrics, context):
        self.mean = 0.0


class Prepared(Tether):
    def prepared(self, rollouts, advantages, context):
        return {}


class Seperable(Tether):
    seperable: ClassVar[bool] = False


@dataclass
class Weights(Intervention):
    """Nothing that anybody calls (0000.00000)."""

    name: ClassVar[str] = "tether"
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+tether",), not_ranked="exists for tests")

    def weights(self, update, clip, prepared):
        return Weighting(weight=torch.zeros_like(update.advantages))


@dataclass
class SavesWithoutLoading(Intervention):
    """Nothing (0000.00000)."""

    name: ClassVar[str] = "tether"
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+tether",), not_ranked="exists for tests")

    def state_dict(self):
        return {"mean": 1.0}


class HasNoCard(Tether):
    card = None


class ShowsAnother(Tether):
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+steer",), not_ranked="exists for tests")


class CitesAnother(Tether):
    card: ClassVar[Card] = Card("0000.00001", examples=("grpo+tether",), not_ranked="exists for tests")


class MisspellsATunedKnob(Tether):
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+tether",), benches=OnBenches(tuned="facter=0.2"))


class MisspellsAFixedKnob(Tether):
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+tether",), benches=OnBenches(fixed="scop='step'"))


class WeighsNaN(Tether):
    def weights(self, gap, update):
        return gap * torch.nan


class GivesInfiniteAdvantages(Tether):
    def advantage(self, rollouts, advantages, context):
        return advantages / 0


@dataclass
class WeighsNaNLater(Intervention):
    """Nothing at first (0000.00000)."""

    name: ClassVar[str] = "tether"
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+tether",), not_ranked="exists for tests")
    factor: float = field(default=1.0, init=False, compare=False)

    def weight(self, update, clip, prepared):
        return Weighting(weight=torch.full_like(update.advantages, self.factor))

    def remember(self, rollouts, advantages, context):
        self.factor = torch.nan


@dataclass
class DoesNothing(Intervention):
    """Nothing (0000.00000)."""

    name: ClassVar[str] = "tether"
    card: ClassVar[Card] = Card("0000.00000", examples=("grpo+tether",), not_ranked="exists for tests")


class KnowsNoSteps(Tether):
    def prepare(self, rollouts, advantages, context):
        return {} if self.scope == "step" else super().prepare(rollouts, advantages, context)


class NormalisesMicroBatches(Tether):
    """Over its micro-batch, by the knob; but it says that it is separable whatever the knob."""

    def weights(self, gap, update):
        weight = super().weights(gap, update)
        return weight / weight.mean() if self.scope == "micro" else weight


class LogsInfinity(Tether):
    def weight(self, update, clip, prepared):
        weighting = super().weight(update, clip, prepared)
        return Weighting(weight=weighting.weight, metrics={"gap": torch.tensor(torch.inf)})


class StopsTraining(Tether):
    def weights(self, gap, update):
        return torch.zeros_like(gap)

    def penalty(self, update, prepared):
        return None


# Which check catches whom, and what it says that it found.
BROKEN = [
    ("named_dataclass", Shouts, "its name is 'Tether_2'"),
    ("named_dataclass", HasAKnobUnsaid, "it is no dataclass"),
    ("documented_knobs", KeepsAKnobToItself, "does not say what strength does"),
    ("documented_knobs", WantsAKnob, "no default for strength"),
    ("refused_knobs", TakesAnything, "pull=nan is taken"),
    ("refused_knobs", RefusesWithoutName, "pull=nan is refused without being named"),
    ("runs", DividesByZero, "ZeroDivisionError: division by zero .in weights, .*broken_class.py:[0-9]+"),
    ("runs", WeighsWithATensor, "tether.weight must return a Weighting, got Tensor .*broken_class.py:[0-9]+"),
    ("runs", PreparesAFloat, "tether.prepare must return tensors by name, got float as 'mean'"),
    ("runs", ForgetsToReturn, "tether.advantage must return a Tensor, got None"),
    ("runs", HasAnExampleThatIsNone, "grpo[+]tether.pul=0.5.: ValueError: .*pul"),
    ("runs", EndsTheProcess, "SystemExit: 3 .in remember"),
    ("runs", SkipsItsTest, "Skipped: not today"),
    ("hooks", Obsrves, "Obsrves.obsrve is no hook of Intervention; observe is"),
    ("hooks", Observes, "Observes.observes is no hook of Intervention; observe is"),
    ("hooks", Prepared, "Prepared.prepared is no hook of Intervention; prepare is"),
    ("hooks", Seperable, "Seperable.seperable is no hook of Intervention; separable is"),
    ("hooks", Weights, "Weights.weights is no hook of Intervention; weight is"),
    ("hooks", SavesWithoutLoading, "it has state_dict without load_state_dict"),
    ("card", MisspellsATunedKnob, "on benches it is grpo[+]tether.facter=0.2.: ValueError: .*facter"),
    ("card", MisspellsAFixedKnob, "on benches it is grpo[+]tether.scop='step'.: ValueError: .*scop"),
    ("runs", WeighsNaN, "tether.weight.weight is NaN at tokens that are trained on"),
    ("runs", GivesInfiniteAdvantages, "tether.advantage is infinite at tokens that are trained on"),
    ("acts", WeighsNaNLater, "tether.weight.weight is NaN at tokens that are trained on"),
    ("card", HasNoCard, "its card is None"),
    ("card", ShowsAnother, "the example grpo[+]steer does not hold tether"),
    ("card", CitesAnother, "cites 0000.00001"),
    ("acts", DoesNothing, "tether changes nothing"),
    ("scopes", KnowsNoSteps, "was not prepared"),
    ("scopes", NormalisesMicroBatches, "with scope='micro': statistics of other tokens move the gradient"),
    ("trl", LogsInfinity, "tether/gap is logged as inf"),
    ("trl", StopsTraining, "no weight has moved"),
    ("verl", Tether, "a refusal that names none of its parts: not today"),
]
