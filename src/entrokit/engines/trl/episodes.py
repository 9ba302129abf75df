"""Episodes of many turns under TRL: an environment's answers, forced into one call of `generate`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr.tasks import Environment, Episode

from .sampling import sampling_with

TOOL_CALLS = "tool_calls"
"""The column in which a ``rollout_func`` says how many tools each completion called (`Rollouts.tool_calls`)."""


@dataclass(frozen=True)
class EpisodeRollout:
    """TRL's ``rollout_func`` for an `Environment`: the policy speaks, the environment answers, until it is over.

    All episodes of a batch are played side by side in one `generate`, in which the environment's tokens are forced: the
    cache of keys and values lives through the whole episode, and temperature, top-p and a recipe's own processors act
    as ever. Returns ``env_mask`` (1 on what the policy chose), and as columns for the reward functions ``solved`` and
    ``tool_calls`` of each episode.

    Raises:
        ValueError: vLLM samples; what it says cannot be forced.
    """

    environment: Environment

    def __call__(self, prompts: list[Any], trainer: Any) -> dict[str, Any]:
        if trainer.use_vllm:
            raise ValueError(
                "EpisodeRollout plays inside transformers' generate; with use_vllm=True give a rollout_func of your "
                "own, or TRL's environment_factory"
            )
        prompt_ids, images, fields = trainer._tokenize_prompts(prompts)
        episodes = [self.environment.start(_text(p)) for p in prompts]
        turns = EnvironmentTurns(self.environment, episodes, trainer._tokenizer, trainer.eos_token_ids)
        with sampling_with(trainer.accelerator.unwrap_model(trainer.model_wrapped), [turns]):
            completion_ids, _ = trainer._generate_single_turn(prompt_ids, images, fields, 1)
        for row, ids in enumerate(completion_ids):
            turns.hear_last(row, ids)
        return {
            "prompt_ids": prompt_ids,
            "completion_ids": completion_ids,
            "logprobs": None,
            "env_mask": [turns.mask(i, len(ids)) for i, ids in enumerate(completion_ids)],
            "solved": [e.solved for e in episodes],
            TOOL_CALLS: turns.tool_calls,
        }


@dataclass
class EnvironmentTurns:
    """A logits processor that listens to what each row says and forces what its environment answers.

    Args:
        ends: token ids at which `generate` ends a row; the tokenizer's end-of-sequence token always is one.

    When an episode is over the end-of-sequence token is forced; a policy that says it itself gives up. Neither hears
    anything after it: `generate` pads a row that has ended for as long as others go on.
    """

    environment: Environment
    episodes: list[Episode]
    tokenizer: Any
    ends: Collection[int] = ()
    tool_calls: list[int] = field(init=False)
    _turns: list[list[int]] = field(init=False)
    _queues: list[list[int]] = field(init=False)
    _chosen: list[list[bool]] = field(init=False)
    _over: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self.tool_calls = [0] * len(self.episodes)
        self._turns = [[] for _ in self.episodes]
        self._queues = [[] for _ in self.episodes]
        self._chosen = [[] for _ in self.episodes]
        self._over = [False] * len(self.episodes)
        self.ends = {*self.ends, self.tokenizer.eos_token_id}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        forced = torch.full((len(scores),), -1)
        last = input_ids[:, -1].tolist()
        for row, said in enumerate(last):
            chosen, queue = self._chosen[row], self._queues[row]
            if self._over[row]:
                continue
            if chosen and said in self.ends:
                self._over[row] = True
                continue
            if chosen and chosen[-1]:
                self._listen(row, said)
            chosen.append(not queue)
            if queue:
                forced[row] = queue.pop(0)
        rows = (forced >= 0).nonzero()[:, 0]
        if len(rows):
            scores = scores.clone()
            scores[rows] = -torch.inf
            scores[rows, forced[rows].to(scores.device)] = 0.0
        return scores

    def mask(self, row: int, length: int) -> list[int]:
        """1 on the tokens of a completion of ``length`` that the policy chose, 0 on the environment's."""
        return [int(c) for c in self._chosen[row][:length]]

    def hear_last(self, row: int, completion: Sequence[int]) -> None:
        """Listens to the last token of a completion that the length limit cut off: `generate` shows it to nobody."""
        chosen = self._chosen[row]
        if not self._over[row] and len(chosen) == len(completion) and chosen and chosen[-1]:
            if completion[-1] not in self.ends:
                self._listen(row, completion[-1])
            self._over[row] = True

    def _listen(self, row: int, said: int) -> None:
        turn = self._turns[row]
        turn.append(said)
        text = self.tokenizer.decode(turn)
        ended = text != "" and text[-1] in self.environment.turn_ends
        if not ended and len(turn) < self.environment.longest_turn:
            return
        turn.clear()
        answer = self.episodes[row].step(text)
        self.tool_calls[row] += answer.tool
        self._queues[row] += self.tokenizer.encode(answer.text, add_special_tokens=False)
        self._queues[row] += [self.tokenizer.eos_token_id] if answer.over else []


def _text(prompt: Any) -> str:
    """A prompt's text: itself, or what the user said last."""
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
