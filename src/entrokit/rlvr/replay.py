"""What a replay trains on, and a compact memory of completions that it draws from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .rollouts import Rollouts
from .stats import PolicyStats

# Columns of a saved memory; its keys are those of checkpoints of before 0.2, too.
_SAVED = {"prompt": "prompt", "tokens": "tokens", "train": "trained", "logp": "logp"}


@dataclass(frozen=True)
class Trajectory:
    """One completion as it is kept: no padding, no logits, no graph, on the CPU.

    Attributes:
        prompt, tokens: token ids, int32. trained: bool, one a token. logp: float32, of the policy that sampled.
        reward: of the completion. step: when it was sampled.
    """

    prompt: Tensor
    tokens: Tensor
    trained: Tensor
    logp: Tensor
    reward: float
    step: int

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(x.nbytes for x in (self.prompt, self.tokens, self.trained, self.logp))


@dataclass
class TrajectoryBuffer:
    """Trajectories in order of arrival; beyond ``most`` the oldest go."""

    most: int
    entries: list[Trajectory] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors held."""
        return sum(e.nbytes for e in self.entries)

    @property
    def rewards(self) -> Tensor:
        """``[N]`` float."""
        return torch.tensor([e.reward for e in self.entries])

    def add(self, rollouts: Rollouts, keep: Tensor, step: int) -> None:
        """Takes the rows where ``keep [B]`` (bool) holds.

        Raises:
            ValueError: the engine handed over no prompts.
        """
        if rollouts.prompt is None:
            raise ValueError("replay: the engine handed over no prompts (Rollouts.prompt)")
        columns = [rollouts.prompt, rollouts.tokens, rollouts.real, rollouts.trained, rollouts.behaviour.logp]
        prompt, tokens, attention, train, logp = (x.detach().cpu() for x in columns)
        for row in keep.cpu().nonzero()[:, 0].tolist():
            real = attention[row]
            self.entries.append(
                Trajectory(
                    prompt[row][prompt[row] >= 0].int(),
                    tokens[row][real].int(),
                    train[row][real],
                    logp[row][real].float(),
                    float(rollouts.reward[row]),
                    step,
                )
            )
        del self.entries[: max(0, len(self.entries) - self.most)]

    def drop_before(self, step: int) -> None:
        """Forgets what was sampled before a step."""
        self.entries = [e for e in self.entries if e.step >= step]

    def rollouts(self, chosen: Sequence[int]) -> Rollouts:
        """The chosen entries as a batch; each is a group of its own."""
        own = [self.entries[i] for i in chosen]
        tokens, train, logp = (_right_padded([getattr(e, name) for e in own]) for name in ("tokens", "trained", "logp"))
        attention = _right_padded([torch.ones_like(e.trained) for e in own])
        width = max(len(e.prompt) for e in own)
        prompt = torch.stack(
            [torch.nn.functional.pad(e.prompt.long(), (width - len(e.prompt), 0), value=-1) for e in own]
        )
        return Rollouts(
            tokens=tokens.long(),
            real=attention,
            trained=train,
            group=torch.arange(len(own)),
            reward=torch.tensor([e.reward for e in own]),
            behaviour=PolicyStats(logp=logp),
            prompt=prompt,
        )

    def check_fits(self, vocabulary: int, longest: int) -> None:
        """Refuses entries that a model cannot read.

        Args:
            vocabulary: number of token ids. longest: tokens of a prompt and its completion together.

        Raises:
            ValueError: names the first such entry.
        """
        for i, e in enumerate(self.entries):
            largest = int(torch.cat([e.prompt, e.tokens]).max()) if len(e.prompt) + len(e.tokens) else 0
            length = len(e.prompt) + len(e.tokens)
            if largest >= vocabulary or length > longest:
                what = (
                    f"token {largest} is none of the tokenizer's {vocabulary}"
                    if largest >= vocabulary
                    else f"its {length} tokens exceed the context of {longest}"
                )
                raise ValueError(
                    f"replay buffer: entry {i}, sampled at update {e.step}, does not fit this model: {what}; it comes "
                    "from a run with another tokenizer or model, so start without that state"
                )

    def state_dict(self) -> dict[str, Any]:
        """Flat tensors and lengths: a handful of arrays however many entries."""
        flat = {
            key: torch.cat([getattr(e, name) for e in self.entries]) if self.entries else torch.zeros(0)
            for key, name in _SAVED.items()
        }
        return flat | {
            "prompt_lengths": [len(e.prompt) for e in self.entries],
            "lengths": [len(e.tokens) for e in self.entries],
            "rewards": [e.reward for e in self.entries],
            "steps": [e.step for e in self.entries],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        def cut(name: str, dtype: torch.dtype, lengths: Sequence[int]) -> list[Tensor]:
            ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
            flat = torch.as_tensor(state[name]).to("cpu", dtype)
            return [flat[start:end].clone() for start, end in pairwise(ends)]

        prompts = cut("prompt", torch.int32, state["prompt_lengths"])
        tokens = cut("tokens", torch.int32, state["lengths"])
        train = cut("train", torch.bool, state["lengths"])
        logp = cut("logp", torch.float32, state["lengths"])
        rows = zip(prompts, tokens, train, logp, state["rewards"], state["steps"], strict=True)
        self.entries = [Trajectory(p, t, m, x, float(reward), int(step)) for p, t, m, x, reward, step in rows]


def _right_padded(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
