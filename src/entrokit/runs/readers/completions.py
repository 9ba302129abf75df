"""A row of a rollout file, of whatever engine, as a `Completion`. The keys by which each is known:

- entrokit: step, prompt, completion, reward, family, truncated, advantage, logp ``[T]``, entropy ``[T]``;
- TRL (parquet): step, prompt, completion, one column a reward function, advantage;
- verl (JSONL): input, output, gts, score, step, uid;
- servers: a completion or chat completion (OpenAI, vLLM) with ``logprobs`` of the top k, beside any of step, prompt and
  reward;
- vLLM: a ``RequestOutput`` with ``outputs``, whose ``logprobs`` are one mapping of token ids a position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..columns import number_of
from ..series import Floats
from ..training_log import Completion
from .top_k import LARGEST_VOCABULARY, bounds_of

_PROMPT = ("prompt", "input", "question", "messages")
_TEXT = ("completion", "output", "response", "text")
PLAIN_REWARDS = ("reward", "score", "rewards")
_FAMILY = ("family", "data_source", "task", "env_name", "environment", "env", "domain", "ability")
_SAMPLER = ("sampler_logp", "rollout_log_probs", "rollout_logp", "sampling_logps")
_FLAGS = ("correct", "is_correct", "acc", "accuracy", "passed", "success", "solved")


def completions_of(row: Mapping[str, Any], step: float | None = None) -> Iterator[Completion]:
    """The completions that a row holds: one, or one a choice of a server's answer; none if it is no rollout.

    Args:
        step: for rows that do not say theirs.

    Raises:
        ValueError: log-probabilities that are none.
    """
    own = number_of(row.get("step", row.get("global_step")))
    at = own if own is not None else step if step is not None else 0.0
    answer = row.get("response") if isinstance(row.get("response"), dict) else row
    choices = answer.get("choices", answer.get("outputs")) if isinstance(answer, dict) else None
    if isinstance(choices, Sequence) and not isinstance(choices, str):
        for choice in choices:
            if isinstance(choice, dict):
                yield _choice(choice, row, at)
        return
    text = next((row[name] for name in _TEXT if row.get(name) is not None), None)
    if text is None:
        return
    yield Completion(
        step=at,
        prompt=_text(next((row[name] for name in _PROMPT if row.get(name) is not None), "")),
        text=_text(text),
        family=_family(row),
        reward=_reward(row),
        truncated=_truncated(row),
        advantage=number_of(row.get("advantage", row.get("advantages"))),
        logp=_floats(row.get("logp")),
        entropy=_floats(row.get("entropy")),
        sampler_logp=next((x for name in _SAMPLER if (x := _floats(row.get(name))) is not None), None),
    )


def _choice(choice: Mapping[str, Any], row: Mapping[str, Any], step: float) -> Completion:
    message = choice.get("message")
    content = message.get("content") if isinstance(message, dict) else choice.get("text")
    top, sampled, logp = _top_logprobs(choice.get("logprobs"), choice.get("token_ids"))
    size = number_of(row.get("vocab_size"))
    return Completion(
        step=step,
        prompt=_text(next((row[name] for name in _PROMPT if row.get(name) is not None), "")),
        text=_text(content or ""),
        family=_family(row),
        reward=_reward(row) if _reward(row) is not None else number_of(choice.get("reward")),
        truncated=_truncated(choice),
        sampler_logp=_floats(logp) if logp else None,
        entropy_bounds=bounds_of(top, sampled, int(size) if size else LARGEST_VOCABULARY) if top else None,
    )


def _top_logprobs(logprobs: Any, token_ids: Any) -> tuple[list[list[float]], list[float | None], list[float]]:
    """Of each position: the k log-probabilities, the sampled token's if it is beside them, and the sampled token's."""
    top: list[list[float]] = []
    beside: list[float | None] = []
    sampled: list[float] = []
    if isinstance(logprobs, list) and isinstance(token_ids, list):  # vLLM's own objects
        for place, taken in zip(logprobs, token_ids, strict=False):
            own = float(place[str(taken)]["logprob"])
            others = [float(t["logprob"]) for token, t in place.items() if token != str(taken)]
            sampled.append(own)
            # vLLM adds the sampled token to the k most likely: it stands beside them if all others are likelier.
            outside = bool(others) and own < min(others)
            top.append(others if outside else [*others, own])
            beside.append(own if outside else None)
        return top, beside, sampled
    if not isinstance(logprobs, dict):
        return top, beside, sampled
    content = logprobs.get("content")
    if isinstance(content, list):  # chat completions
        for place in content:
            own, listed = float(place["logprob"]), place.get("top_logprobs") or []
            sampled.append(own)
            if listed:
                top.append([float(t["logprob"]) for t in listed])
                beside.append(None if any(t["token"] == place["token"] for t in listed) else own)
    elif isinstance(logprobs.get("token_logprobs"), list):  # completions
        taken = zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs.get("top_logprobs") or [], strict=False)
        sampled = [float(x) for x in logprobs["token_logprobs"] if x is not None]
        for token, own, listed in taken:
            if listed and own is not None:
                top.append([float(x) for x in listed.values()])
                beside.append(None if token in listed else float(own))
    if top and len(top) != len(sampled):
        return [], [], sampled
    return top, beside, sampled


def reward_column(row: Mapping[str, Any]) -> tuple[float | None, str]:
    """A completion's reward, and the names it was taken from; None and nothing where no name says that it is one.

    First a reward by name, then the sum of everything called a reward, then the columns of TRL's tables between the
    completion and its advantage (one a reward function; nothing is written of their weights), then a flag of rightness.
    """
    for name in PLAIN_REWARDS:
        if (number := number_of(row.get(name))) is not None:
            return number, name
    called = [name for name in row if "reward" in name.lower()]
    names = list(row)
    if not called and "completion" in names and "advantage" in names:
        called = names[names.index("completion") + 1 : names.index("advantage")]
    numbers = {n: v for n in called if isinstance(row[n], (int, float)) and (v := number_of(row[n])) is not None}
    known = {name: v for name, v in numbers.items() if v == v}
    if known:
        return sum(known.values()), " + ".join(known)
    flag = next((name for name in _FLAGS if number_of(row.get(name)) is not None), None)
    return (number_of(row[flag]), flag) if flag is not None else (None, "")


def _reward(row: Mapping[str, Any]) -> float | None:
    return reward_column(row)[0]


def _truncated(row: Mapping[str, Any]) -> bool | None:
    if row.get("truncated") is not None:
        return bool(row["truncated"])
    return None if row.get("finish_reason") is None else row["finish_reason"] == "length"


def _family(row: Mapping[str, Any]) -> str | None:
    return next((str(row[name]) for name in _FAMILY if isinstance(row.get(name), (str, int))), None)


def _floats(value: Any) -> Floats | None:
    if value is None or isinstance(value, (str, bytes, dict)) or not np.ndim(value):
        return None
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.ndim == 1 and np.isfinite(found).all() else None


def _text(value: Any) -> str:
    """A text, or the contents of chat messages one below the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, np.ndarray)):
        return "\n".join(_text(m.get("content") or "") if isinstance(m, dict) else str(m) for m in value)
    return str(value)
