"""A method that touches every stage, by whose subclasses the checks are tested: right as it stands."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from entrokit.rlvr import Intervention, Weighting
from entrokit.rlvr.card import Card
from entrokit.rlvr.intervention import SCOPES
from entrokit.rlvr.knobs import check_bool, check_choice, check_range


@dataclass
class Tether(Intervention):
    """Ties entropy to its running mean (no paper: 0000.00000). Knobs: `pull` (coefficient of the squared gap), `damp`
    (of weights that fall with the gap), `toll` (reward that a token costs), `late` (late tokens count more), `scope`.
    """

    name: ClassVar[str] = "tether"
    card: ClassVar[Card] = Card(
        "0000.00000",
        examples=("grpo+tether(pull=0.5)", "cispo+tether(damp=0.5, scope='step')"),
        not_ranked="exists for tests",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"entropy"})
    separable: ClassVar[bool] = True
    pull: float = 0.1
    damp: float = 0.2
    toll: float = 0.01
    late: bool = True
    scope: str = "generation"
    mean: float | None = field(default=None, init=False, compare=False)

    def __post_init__(self):
        for name in ("pull", "damp", "toll"):
            check_range(self, name, 0.0)
        check_bool(self, "late")
        check_choice(self, "scope", SCOPES)

    def reward(self, rollouts, rewards, context):
        return rewards - self.toll * rollouts.trained.sum(1)

    def advantage(self, rollouts, advantages, context):
        place = rollouts.trained.cumsum(1).to(advantages.dtype)
        return advantages * (1 + 0.01 * place) if self.late else advantages

    def prepare(self, rollouts, advantages, context):
        mean = self.batch_mean(rollouts.behaviour.entropy, rollouts.trained, context)
        return {"mean": mean, "anchor": mean if self.mean is None else mean.new_tensor(self.mean)}

    def batch_mean(self, entropy, trained, context):
        total, count = context.reduce(torch.stack([entropy[trained].sum(), trained.sum().to(entropy.dtype)]))
        return total / count.clamp(min=1)

    def gap(self, update, prepared):
        return torch.where(update.trained, update.current.entropy - prepared["anchor"], 0.0)

    def weight(self, update, clip, prepared):
        gap = self.gap(update, prepared).detach().abs()
        return Weighting(weight=self.weights(gap, update), metrics={"gap": update.mean(gap)})

    def weights(self, gap, update):
        return torch.exp(-self.damp * gap)

    def penalty(self, update, prepared):
        return self.pull * self.gap(update, prepared).square()

    def observe(self, metrics, context):
        seen = metrics["tether/mean"] + 0.1 * metrics["tether/gap"]
        self.mean = seen if self.mean is None else 0.9 * self.mean + 0.1 * seen

    def state_dict(self):
        return {"mean": self.mean}

    def load_state_dict(self, state):
        self.mean = state["mean"]
