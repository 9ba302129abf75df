"""One batch of completions, validated once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from entrokit.moved import renamed

from .stats import PolicyStats

_BEHAVIOUR = "behaviour_"
# As checkpoints of before 0.2 name them.
_BEFORE = {"attention": "real", "train": "trained"}

# Kernels that sum a vocabulary in another order than they normalise it round by far less than this, in nats.
_LOGP_ROUNDING = 1e-3
_ABOVE_0 = "is above 0; these are natural log-probabilities, log π, not probabilities or losses"


@dataclass(frozen=True)
class Rollouts:
    """Completions of a generation batch (or a slice of one), right-padded.

    Attributes:
        tokens: ``[B, T]`` int64, the completions' token ids.
        real: ``[B, T]`` bool, tokens that are there, not padding (a prefix of each row).
        trained: ``[B, T]`` bool, the tokens that the policy chose; tool and environment tokens are attended to, never
            trained on.
        group: ``[B]`` int64, which prompt a completion answers.
        reward: ``[B]`` float, NaN where no reward function could score the completion.
        behaviour: statistics of the trainer's policy as it was when it sampled, zeros outside ``real``.
        rewards: ``[B, K]`` float, what each of several reward functions gave, NaN where it does not apply.
        correct: ``[B]`` bool, completions whose answer is right.
        truncated: ``[B]`` bool, completions cut off by the length limit.
        reference_logp: ``[B, T]`` float, log-probabilities under a reference policy.
        prompt_logp: ``[B, P]`` float, log-probabilities of the prompts' tokens. prompt_mask: ``[B, P]`` bool, those
            that something was predicted for.
        prompt: ``[B, P]`` int64, the prompts' token ids, left-padded with -1, where the recipe replays.
        trajectory: ``[B]`` int64, which episode a row belongs to, where an engine cuts episodes into rows.
        turn: ``[B, T]`` int64, which turn of its episode a trained token belongs to, from 0 on along a row; by default
            every run of trained tokens is a turn (`Turns`).
        tool_calls: ``[B]`` int64, calls of tools in a completion; by default its turns that something answered
            (`tool_calls`).
        sampler_weight: ``[B, T]`` float, importance weight of the trainer's policy against the engine that really
            sampled (vLLM's numerics differ); multiplies the policy loss.

    Raises:
        ValueError: at construction; names the field, its shape or dtype and the first bad index.
    """

    tokens: Tensor
    real: Tensor
    trained: Tensor
    group: Tensor
    reward: Tensor
    behaviour: PolicyStats
    rewards: Tensor | None = None
    correct: Tensor | None = None
    truncated: Tensor | None = None
    reference_logp: Tensor | None = None
    prompt_logp: Tensor | None = None
    prompt_mask: Tensor | None = None
    prompt: Tensor | None = None
    trajectory: Tensor | None = None
    turn: Tensor | None = None
    tool_calls: Tensor | None = None
    sampler_weight: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tokens.dim() != 2:
            raise ValueError(f"Rollouts.tokens: expected shape [B, T], got {tuple(self.tokens.shape)}")
        per_token, per_row = tuple(self.tokens.shape), tuple(self.tokens.shape[:1])
        _check("tokens", self.tokens, per_token, "integer")
        _check("real", self.real, per_token, "bool")
        _check("trained", self.trained, per_token, "bool")
        _check("group", self.group, per_row, "integer")
        _check("reward", self.reward, per_row, "float")
        for name, value in self.behaviour.columns().items():
            _check(f"behaviour.{name}", value, per_token, "float")
            _refuse(
                f"behaviour.{name}",
                ~torch.isfinite(value) & self.real,
                "is NaN or infinite at a real token",
            )
        _refuse("behaviour.logp", (self.behaviour.logp > _LOGP_ROUNDING) & self.real, _ABOVE_0)
        if self.rewards is not None:
            _check_wide("rewards", self.rewards, per_row, "K", "float")
            _refuse("rewards", torch.isinf(self.rewards), "is infinite")
        if self.correct is not None:
            _check("correct", self.correct, per_row, "bool")
        if self.truncated is not None:
            _check("truncated", self.truncated, per_row, "bool")
        if self.reference_logp is not None:
            _check("reference_logp", self.reference_logp, per_token, "float")
            bad = ~torch.isfinite(self.reference_logp) & self.trained
            _refuse("reference_logp", bad, "is NaN or infinite at a trained token")
            _refuse("reference_logp", (self.reference_logp > _LOGP_ROUNDING) & self.trained, _ABOVE_0)
        if (self.prompt_logp is None) != (self.prompt_mask is None):
            raise ValueError("Rollouts: prompt_logp and prompt_mask come together")
        if self.prompt_logp is not None and self.prompt_mask is not None:
            _check_wide("prompt_mask", self.prompt_mask, per_row, "P", "bool")
            _check("prompt_logp", self.prompt_logp, tuple(self.prompt_mask.shape), "float")
            _refuse(
                "prompt_logp", ~torch.isfinite(self.prompt_logp) & self.prompt_mask, "is NaN or infinite at a token"
            )
            _refuse("prompt_logp", (self.prompt_logp > _LOGP_ROUNDING) & self.prompt_mask, _ABOVE_0)
        if self.prompt is not None:
            _check_wide("prompt", self.prompt, per_row, "P", "integer")
            _refuse("prompt", (self.prompt[:, :-1] >= 0) & (self.prompt[:, 1:] < 0), "is padded on the right")
        if self.trajectory is not None:
            _check("trajectory", self.trajectory, per_row, "integer")
        if self.turn is not None:
            _check("turn", self.turn, per_token, "integer")
            _refuse("turn", (self.turn < 0) & self.trained, "is below 0 at a trained token")
            so_far = torch.where(self.trained, self.turn, 0).cummax(1).values
            _refuse("turn", (self.turn < so_far) & self.trained, "goes back to an earlier turn")
        if self.tool_calls is not None:
            _check("tool_calls", self.tool_calls, per_row, "integer")
            _refuse("tool_calls", self.tool_calls < 0, "is below 0")
        if self.sampler_weight is not None:
            _check("sampler_weight", self.sampler_weight, per_token, "float")
            usable = torch.isfinite(self.sampler_weight) & (self.sampler_weight >= 0)
            _refuse("sampler_weight", ~usable & self.trained, "is NaN, infinite or below 0 at a trained token")
        _refuse("reward", torch.isinf(self.reward), "is infinite")
        _refuse(
            "trained",
            self.trained & ~self.real,
            "marks padding as trained; it must be a subset of real",
        )
        gap = torch.zeros_like(self.real)
        gap[:, 1:] = self.real[:, 1:] & ~self.real[:, :-1]
        _refuse("real", gap, "follows padding; completions must be right-padded")

    def __len__(self) -> int:
        return int(self.trained.shape[0])

    @property
    def train(self) -> Tensor:
        """`trained`, under its name of before 0.2."""
        return renamed("Rollouts.train", "trained", self.trained)

    @property
    def attention(self) -> Tensor:
        """`real`, under its name of before 0.2."""
        return renamed("Rollouts.attention", "real", self.real)

    def require_correct(self, who: str) -> Tensor:
        """``correct``, or a `ValueError` that tells ``who`` asks for it how to say what is right."""
        if self.correct is None:
            raise ValueError(
                f"{who} needs to know which completions are right, which several reward functions, or a graded one, do "
                "not say: name it (TRL: EntropyGRPOTrainer(correct='accuracy_reward'); verl: policy_loss.correct=acc; "
                "in a loop of your own: correct=...)"
            )
        return self.correct

    def columns(self) -> dict[str, Tensor]:
        """Flat dict of tensors whose first dimension is B, as engines shuffle, split and gather them."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "behaviour"}
        flat = {name: value for name, value in plain.items() if value is not None}
        return flat | {_BEHAVIOUR + name: value for name, value in self.behaviour.columns().items()}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Tensor]) -> Rollouts:
        """Inverse of `columns`, for any selection or order of rows. Unknown names are a `TypeError`."""
        behaviour = {k.removeprefix(_BEHAVIOUR): v for k, v in columns.items() if k.startswith(_BEHAVIOUR)}
        plain = {k: v for k, v in columns.items() if not k.startswith(_BEHAVIOUR)}
        twice = [new for old, new in _BEFORE.items() if old in plain and new in plain]
        if twice:
            raise ValueError(f"Rollouts.from_columns: {twice[0]} stands there under its old name, too")
        plain = {_BEFORE.get(k, k): v for k, v in plain.items()}
        return cls(behaviour=PolicyStats(**behaviour), **plain)


def _check(name: str, value: Tensor, shape: tuple[int, ...], kind: str) -> None:
    if tuple(value.shape) != shape:
        raise ValueError(f"Rollouts.{name}: expected shape {list(shape)}, got {list(value.shape)}")
    right = {
        "bool": value.dtype == torch.bool,
        "float": value.dtype.is_floating_point,
        "integer": not value.dtype.is_floating_point and value.dtype != torch.bool,
    }[kind]
    if not right:
        raise ValueError(f"Rollouts.{name}: expected a {kind} tensor, got {value.dtype}")


def _check_wide(name: str, value: Tensor, per_row: tuple[int, ...], width: str, kind: str) -> None:
    if value.dim() != 2:
        raise ValueError(f"Rollouts.{name}: expected shape [{per_row[0]}, {width}], got {list(value.shape)}")
    _check(name, value, (*per_row, value.shape[1]), kind)


def _refuse(name: str, bad: Tensor, what: str) -> None:
    if bool(bad.any()):
        raise ValueError(f"Rollouts.{name}: {what}, first at index {bad.nonzero()[0].tolist()}")
