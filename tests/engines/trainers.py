"""An `EntropyGRPOTrainer` on the tiny policy, its weights, and a controller whose state can be looked at."""

import math
from dataclasses import dataclass
from typing import ClassVar

from transformers import AutoTokenizer

from entrokit.engines.trl import EntropyGRPOTrainer
from entrokit.rlvr import Intervention

from .conftest import length_reward


def trainer(checkpoint, config, task, spec="grpo", reward=length_reward, model=None, options=None, **kwargs):
    return EntropyGRPOTrainer(
        model if model is not None else checkpoint,
        reward_funcs=reward,
        args=config(**(options or {})),
        train_dataset=task.train,
        processing_class=AutoTokenizer.from_pretrained(checkpoint, padding_side="left"),
        recipe=spec,
        **({"correct": "length_reward"} if reward is length_reward else {}) | kwargs,
    )


def weights(t):
    return {n: p.detach().clone() for n, p in t.model.named_parameters()}


@dataclass
class Counter(Intervention):
    """A controller that remembers how often it was shown a step."""

    name: ClassVar[str] = "counter"
    seen: int = 0

    def observe(self, metrics, context):
        assert math.isfinite(metrics["entropy"])
        self.seen += 1

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]
