"""verl's `TensorDict` of a worker as `Rollouts`, and our columns in it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from entrokit.rlvr import PolicyStats, Rollouts

COLUMN = "entrokit_rollouts/"
PREPARED = "entrokit_prepared/"
ADVANTAGES = "entrokit_advantages"

# verl's names of a completion's score, the last one before any penalty: of its old trainer and of its new one.
_REWARDS = ("token_level_rewards", "token_level_scores", "rm_scores")
_SCORES = ("token_level_scores", "rm_scores")


def rollouts_of(
    data: Any,
    *,
    correct: Tensor | None = None,
    entropy: Tensor | None = None,
    prompt_logp: Tensor | None = None,
    eos_token_ids: list[int],
) -> Rollouts:
    """The completions of this worker, right-padded to its longest.

    Args:
        data: verl's batch in either layout, padded (its old trainer) or nested (its new one).
        correct: ``[B]`` bool, as `truths` or `scores` say.
        entropy: of the policy that sampled, ``[B, T]``. prompt_logp: ``[B, P]``, NaN at padding.
        eos_token_ids: what ends a completion; one that ends otherwise was truncated.

    Raises:
        ValueError: a column that verl did not send; says which.
    """
    tokens, attention = padded(data["responses"]), real_tokens(data)
    train = padded(data["response_mask"]).bool() & attention
    reward = _total(data, _REWARDS)
    behaviour = {"logp": padded(data["old_log_probs"]).float()}
    if entropy is not None:
        behaviour["entropy"] = entropy.float()
    reference, weight = data.get("ref_log_prob", None), data.get("rollout_is_weights", None)
    last = tokens.gather(1, (attention.sum(1, keepdim=True) - 1).clamp(min=0))[:, 0]
    return Rollouts(
        tokens=tokens,
        real=attention,
        trained=train,
        group=group_ids(data["uid"]).to(tokens.device),
        # A row that verl added to fill up a batch has no token to train on, and must count in no baseline.
        reward=torch.where(train.any(1), reward, math.nan),
        behaviour=PolicyStats(**behaviour).masked(attention),
        correct=None if correct is None else correct & train.any(1),
        truncated=~torch.isin(last, torch.tensor(eos_token_ids, device=last.device)),
        reference_logp=None if reference is None else padded(reference).float(),
        prompt_logp=None if prompt_logp is None else prompt_logp.nan_to_num(nan=0.0),
        prompt_mask=None if prompt_logp is None else ~torch.isnan(prompt_logp),
        sampler_weight=None if weight is None else padded(weight).float(),
    )


def scores(data: Any) -> Tensor:
    """What the completions are worth before any penalty, ``[B]``; NaN at rows that verl added to fill up a batch."""
    score = _total(data, _SCORES if any(name in data for name in _SCORES) else _REWARDS)
    return torch.where(padded(data["response_mask"]).bool().any(1), score, math.nan)


def truths(data: Any, name: str) -> Tensor:
    """Who is right by a column of verl's batch, ``[B]`` bool.

    Raises:
        ValueError: there is no such column, or it holds something else than truths (or 0 and 1).
    """
    if name not in data:
        raise ValueError(
            f"policy_loss.correct={name}: verl's batch has no such column, only {sorted(data.keys())}; it must be a "
            "key of what the reward function returns beside its score"
        )
    column = data[name]
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    for i, value in enumerate(values):
        if value is not None and value not in (0, 1):
            raise ValueError(f"policy_loss.correct={name}: row {i} holds {value!r}; expected True or False (1 or 0)")
    return torch.tensor([bool(value) for value in values], device=padded(data["responses"]).device)


def bare_rollouts(
    train: Tensor,
    logp: Tensor,
    *,
    reward: Tensor | None = None,
    group: Tensor | None = None,
    weight: Tensor | None = None,
) -> Rollouts:
    """Completions of which verl shows little: tokens are unknown, and what is not given is 0, or a group of one.

    Args:
        train: ``[B, T]`` bool. logp: of the policy that sampled, ``[B, T]``. reward, group: ``[B]``.
        weight: ``[B, T]``, as `Rollouts.sampler_weight`.
    """
    rows = torch.arange(len(train), device=train.device)
    attention = train.flip(-1).cumsum(-1).flip(-1) > 0
    return Rollouts(
        tokens=torch.zeros_like(train, dtype=torch.long),
        real=attention,
        trained=train,
        group=rows if group is None else group,
        reward=torch.zeros(len(train), device=train.device) if reward is None else reward,
        behaviour=PolicyStats(logp=torch.where(attention, logp, 0.0)),
        sampler_weight=weight,
    )


def prompt_log_probs(log_probs: Tensor, data: Any) -> Tensor:
    """Log-probabilities of the prompts' tokens but the first, ``[B, P - 1]`` with NaN at padding.

    ``log_probs``: what verl's engine gives for whole sequences, nested, each entry of the token after it.
    """
    lengths = _prompt_lengths(data)
    rows = [row[: int(n) - 1].float() for row, n in zip(log_probs.unbind(), lengths, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=math.nan)


def padded(x: Tensor) -> Tensor:
    """A nested or padded column as a padded one, zeros at padding."""
    return x.to_padded_tensor(0) if x.is_nested else x


def real_tokens(data: Any) -> Tensor:
    """Where the completions have tokens, ``[B, T]`` bool."""
    responses: Tensor = data["responses"]
    if responses.is_nested:
        lengths = _lengths(responses)
        return torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
    mask: Tensor = data["attention_mask"]
    return mask[:, -responses.shape[1] :].bool()


def group_ids(uids: Any) -> Tensor:
    """One integer a prompt from verl's ``uid`` of each row, alike on every rank, ``[B]``."""
    digests = (hashlib.blake2b(str(uid).encode(), digest_size=7).digest() for uid in uids)
    return torch.tensor([int.from_bytes(digest, "little") for digest in digests])


def attach(data: Any, rollouts: Rollouts, advantages: Tensor) -> None:
    """Adds what the loss will need to verl's batch, to be shuffled and split with its rows."""
    data[ADVANTAGES] = advantages
    for name, value in rollouts.columns().items():
        data[COLUMN + name] = value


def attach_prepared(data: Any, prepared: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adds the columns among what a recipe prepared; returns the rest, numbers of the whole batch."""
    for name, value in prepared.items():
        if value.dim():
            data[PREPARED + name] = value
    return {name: value for name, value in prepared.items() if not value.dim()}


def attached(data: Any, length: int | None = None) -> tuple[Rollouts, Tensor, dict[str, Tensor]]:
    """What was attached, for the rows of ``data`` and the first ``length`` tokens of their completions."""
    advantages = data[ADVANTAGES]
    width = advantages.shape[1]

    def cut(name: str, value: Tensor) -> Tensor:
        per_token = value.dim() == 2 and not name.startswith("prompt_") and value.shape[1] == width
        return value[:, :length] if per_token else value

    columns, prepared = ({n: cut(n, v) for n, v in _under(data, prefix).items()} for prefix in (COLUMN, PREPARED))
    return Rollouts.from_columns(columns), advantages[:, :length], prepared


def _under(data: Any, prefix: str) -> dict[str, Tensor]:
    # A TensorDict iterates over its rows, not its names.
    names = [name for name in data.keys() if name.startswith(prefix)]  # noqa: SIM118
    return {name.removeprefix(prefix): data[name] for name in names}


def _total(data: Any, names: tuple[str, ...]) -> Tensor:
    for name in names:
        if name in data:
            return padded(data[name]).float().sum(1)
    raise ValueError(f"verl's batch has none of {list(names)}, so a recipe cannot know what completions are worth")


def _prompt_lengths(data: Any) -> Tensor:
    prompts: Tensor = data["prompts"]
    if prompts.is_nested:
        return _lengths(prompts)
    mask: Tensor = data["attention_mask"]
    return mask[:, : prompts.shape[1]].sum(1)


def _lengths(nested: Any) -> Tensor:
    lengths: Tensor = nested.offsets().diff()
    return lengths
