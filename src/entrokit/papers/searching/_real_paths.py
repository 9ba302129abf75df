"""Four paths a prompt on SmolLM2-135M-Instruct: nucleus over paths, independent nucleus samples, beam search."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from entrokit.decoding.path_nucleus import PathOutput, PathTopP
from entrokit.extras import require
from entrokit.rlvr.tasks import load_task
from entrokit.training.pocket import cache_folder

K, MASS, TOKENS, PROMPTS = 4, 0.9, 24, 3
TASKS = ("words:mention", "words:arithmetic")
JOINT = "paths, joint"
SAMPLES, BEAM = "top-p, best of 4", "beam search"
DECODERS = {JOINT: PathTopP(K, MASS)}
ARMS = (*DECODERS, SAMPLES, BEAM)


@dataclass(frozen=True)
class Answered:
    """Means over the prompts of a seed.

    Attributes:
        right: of the answer that is given. right_each: of all four. log_prob: of the answer that is given, nats.
        distinct: different texts among the four. shared: of the longest path's length, how much all of its paths have
            in common. effective: exp(H(w)) by step, over prompts whose paths still go on; only of paths.
        tokens: that the model read a prompt, each row of each forward pass.
    """

    right: float
    right_each: float
    log_prob: float
    distinct: float
    shared: float
    effective: tuple[float, ...]
    tokens: float


def load() -> tuple[Any, Any]:
    """The model and its tokenizer.

    Raises:
        MissingExtraError: transformers is not installed. RuntimeError: the model is not in the cache.
    """
    require("a real model", "trl")
    found = sorted(Path(cache_folder()).glob("smollm2-135m-instruct-*"))
    if not found:
        raise RuntimeError(
            f"no SmolLM2-135M-Instruct in {cache_folder()}: python experiments/smollm2.py fetches it (93 MB)"
        )
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(found[0], dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(found[0])


def answer(model: Any, tokenizer: Any, arm: str, seed: int) -> Answered:
    """Held-out prompts of both tasks; equal seeds have the same prompts, whoever answers."""
    rows: list[_Row] = []
    spent = 0
    for task_name in TASKS:
        task = load_task(task_name, train_size=1, eval_size=PROMPTS, seed=5000 + seed)
        columns = {name: list(task.evaluation[name]) for name in task.evaluation.column_names}
        chats = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
            )
            for prompt in columns["prompt"]
        ]
        given = tokenizer(chats, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
        with _tokens_read(model) as read:
            found = _generated(model, given, arm, seed)
        spent += sum(read)
        reward: Callable[..., Any] = task.reward
        for i, own in enumerate(found):
            texts = [tokenizer.decode(path, skip_special_tokens=True).strip() for path in own.paths]
            same = {name: [values[i]] * len(texts) for name, values in columns.items()}
            right = [float(r >= 1.0) for r in reward(completions=texts, **same)]
            rows.append(_Row(right, texts, own))
    steps = max(len(row.found.effective) for row in rows)
    by_step = [[e[t] for row in rows if t < len(e := row.found.effective)] for t in range(steps)]
    return Answered(
        right=_mean([row.right[0] for row in rows]),
        right_each=_mean([_mean(row.right) for row in rows]),
        log_prob=_mean([row.found.log_probs[0] for row in rows]),
        distinct=_mean([float(len(set(row.texts))) for row in rows]),
        shared=_mean([_shared(row.found.paths) for row in rows]),
        effective=tuple(_mean(own) for own in by_step),
        tokens=spent / len(rows),
    )


@dataclass(frozen=True)
class _Found:
    """What a prompt was answered with, the answer that is given first: tokens behind the prompt, with the end."""

    paths: list[list[int]]
    log_probs: list[float]
    effective: list[float]


@dataclass(frozen=True)
class _Row:
    right: list[float]
    texts: list[str]
    found: _Found


def _generated(model: Any, given: Mapping[str, Tensor], arm: str, seed: int) -> list[_Found]:
    prompt = given["input_ids"].shape[1]
    end = int(model.generation_config.eos_token_id)
    common: dict[str, Any] = {"max_new_tokens": TOKENS, "return_dict_in_generate": True}
    if arm in DECODERS:
        paths_made: PathOutput = model.generate(
            **given,
            custom_generate=DECODERS[arm],
            generator=torch.Generator().manual_seed(seed),
            do_sample=False,
            **common,
        )
        return [_of_paths(paths_made, i, prompt) for i in range(len(paths_made.paths))]
    made: Any
    if arm == BEAM:
        made = model.generate(
            **given,
            num_beams=K,
            num_return_sequences=K,
            do_sample=False,
            length_penalty=0.0,
            output_scores=True,
            **common,
        )
        log_probs = made.sequences_scores.double().tolist()
    else:
        torch.manual_seed(seed)
        made = model.generate(
            **given,
            do_sample=True,
            top_p=MASS,
            top_k=0,
            temperature=1.0,
            num_return_sequences=K,
            output_logits=True,
            **common,
        )
        log_probs = _log_probs(made.logits, made.sequences[:, prompt:], end)
    own = [_until_end(row, end) for row in made.sequences[:, prompt:].tolist()]
    groups = [sorted(range(i, i + K), key=lambda j: -log_probs[j]) for i in range(0, len(own), K)]
    return [_Found([own[j] for j in group], [log_probs[j] for j in group], []) for group in groups]


def _of_paths(made: PathOutput, i: int, prompt: int) -> _Found:
    """The paths of prompt ``i`` that there are."""
    there = [j for j in range(K) if made.log_probs[i, j] > -torch.inf]
    paths = [made.paths[i, j, prompt : prompt + int(made.lengths[i, j])].tolist() for j in there]
    effective = made.effective_paths[i]
    return _Found(paths, [float(made.log_probs[i, j]) for j in there], effective[~effective.isnan()].tolist())


def _log_probs(logits: tuple[Tensor, ...], tokens: Tensor, end: int) -> list[float]:
    """The model's own, of each row ``[R, S]`` up to its end."""
    each = torch.stack(
        [torch.log_softmax(step, -1).gather(1, tokens[:, t : t + 1])[:, 0].double() for t, step in enumerate(logits)],
        1,
    )
    counted = torch.tensor([len(_until_end(row, end)) for row in tokens.tolist()])
    return (each * (torch.arange(each.shape[1]) < counted[:, None])).sum(1).tolist()


def _until_end(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def _shared(paths: list[list[int]]) -> float:
    """How much of the longest path all of them begin with."""
    common = 0
    for column in zip(*paths, strict=False):
        if len(set(column)) > 1:
            break
        common += 1
    return common / max(len(path) for path in paths)


@contextmanager
def _tokens_read(model: Any) -> Iterator[list[int]]:
    """Adds the tokens of every forward pass to a list."""
    read: list[int] = []

    def count(module: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        read.append(kwargs["input_ids"].numel())

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield read
    finally:
        hook.remove()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
