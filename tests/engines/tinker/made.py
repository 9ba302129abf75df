"""Trajectories as the cookbook has them, without the cookbook: the same attributes, other classes."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import tinker
import torch


@dataclass
class Action:
    tokens: list[int]
    maybe_logprobs: list[float] | None
    stop_reason: str = "stop"


@dataclass
class Transition:
    ob: tinker.ModelInput
    ac: Action
    reward: float = 0.0
    episode_done: bool = False
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Trajectory:
    transitions: list[Transition]
    stop_reason: str | None = None


@dataclass
class Group:
    trajectories_G: list[Trajectory]  # noqa: N815
    final_rewards_G: list[float]  # noqa: N815

    def get_total_rewards(self):
        pairs = zip(self.trajectories_G, self.final_rewards_G, strict=True)
        return [sum(t.reward for t in trajectory.transitions) + final for trajectory, final in pairs]


def text(*tokens):
    return tinker.ModelInput.from_ints(list(tokens))


def once(prompt, tokens, logp, reward, **metrics):
    """A trajectory of one turn."""
    return Trajectory([Transition(text(*prompt), Action(list(tokens), list(logp)), reward, True, metrics)])


def group(*trajectories):
    return Group(list(trajectories), [0.0] * len(trajectories))


def two_groups():
    """Two prompts, three attempts each, of one to four tokens; rewards of 0 and 1."""
    g = torch.Generator().manual_seed(5)
    groups = []
    for p, rewards in enumerate([(1.0, 0.0, 0.0), (1.0, 1.0, 0.0)]):
        attempts = []
        for i, reward in enumerate(rewards):
            n = 1 + (p + i) % 4
            tokens = torch.randint(2, 30, (n,), generator=g).tolist()
            logp = (-0.2 - 2 * torch.rand(n, generator=g)).tolist()
            attempts.append(once([3, 4, 5 + p], tokens, logp, reward))
        groups.append(group(*attempts))
    return groups


def moved(groups, data, by=0.3, dtype=torch.float64):
    """Log-probabilities of a policy that has moved a little, as the SDK hands them over: leaves, one a datum."""
    sampled = [logp for gr in groups for t in gr.trajectories_G for logp in [t.transitions[0].ac.maybe_logprobs]]
    g = torch.Generator().manual_seed(7)
    leaves = []
    for datum, logp in zip(data, sampled, strict=True):
        n = datum.model_input.length
        full = torch.full((n,), -1.0, dtype=dtype)
        full[n - len(logp) :] = torch.tensor(logp, dtype=dtype)
        noise = by * torch.randn(n, generator=g, dtype=torch.float64).to(dtype)
        leaves.append((full + noise).clamp(max=-0.01).requires_grad_())
    return leaves


class Reference:
    """A sampling client that knows log-probabilities: -1/token each, the first token has none."""

    def compute_logprobs(self, model_input):
        values = [-1.0 / (1 + t) for t in model_input.to_ints()]
        return SimpleNamespace(result=lambda: [None, *values[1:]])
