"""What a map from utilities to probabilities does for a real model: next tokens of docstrings, and answers to sums.

tokens: SmolLM2-135M-Instruct reads docstrings of Python's standard library, one half of which a map is fitted to; on
the other half, how likely the next token was, how often the most probable one was right and how sure it was, and how
often one that is drawn would be. sequences: questions of `words:arithmetic`, eight answers sampled through `generate`
each, merged by the number that they end in; on questions that the map was not fitted to, answers are decided by argmax,
by drawing, and by the largest expected closeness (minimum Bayes risk).

The criteria, written before the first run. tokens: in every seed a fitted temperature lowers the test NLL and the
calibration error. sequences: in every seed it changes no argmax and raises the accuracy of a drawn answer, and over
seeds it does not lower the mean closeness that decisions by expected closeness bring. (The shape was cut down before
any result to what a crowded machine has room for.)
"""

from __future__ import annotations

import ast
import random
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from real_model_runs import kept
from torch import Tensor

from entrokit.losses.preference import (
    Candidates,
    UtilityToProbability,
    candidate_lists,
    gain_matrix,
    mbr_decision,
    reliability,
    stack_candidates,
)
from entrokit.rlvr.tasks.words import arithmetic

# Positions before CONTEXT have seen too little to be judged.
LENGTH, CONTEXT, PIECES = 256, 32, 3
QUESTIONS, ANSWERS, MOST_TOKENS, TOGETHER = 24, 8, 12, 8
SYSTEM = "Answer with the number alone."
# What a decided number is worth that is this far from the right one, or farther.
WORTHLESS = 10
_NUMBER = re.compile(r"-?\d+")


def utility(model: Path, seeds: int) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    for seed in range(seeds):
        kept(f"utility-tokens-seed{seed}", lambda folder, seed=seed: tokens(network, tokenizer, seed))
        kept(f"utility-sequences-seed{seed}", lambda folder, seed=seed: sequences(network, tokenizer, seed))


def docstrings() -> Iterator[str]:
    """Of the standard library's modules, in the order of their files; those of less than a few lines are left out."""
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node)
                if text and len(text) > 200:
                    yield text


@torch.no_grad()
def tokens(network: Any, tokenizer: Any, seed: int) -> dict[str, Any]:
    texts = list(dict.fromkeys(docstrings()))
    random.Random(seed).shuffle(texts)
    half = len(texts) // 2
    found = {}
    data = [_next_tokens(network, tokenizer, part) for part in (texts[:half], texts[half:])]
    (u, y), (test, target) = data
    for name, mapping in _maps():
        if mapping is not None:
            mapping.fit(u, y)
        probs = torch.softmax(test, -1) if mapping is None else mapping.transform(test)
        own = probs.gather(-1, target[:, None])[:, 0].double()
        confidence, decision = probs.max(-1)
        picture = reliability(confidence, decision == target)
        found[name] = {
            "taus": [1.0] if mapping is None else [1.0 / slope for slope in mapping.slopes_],
            "breaks": [0.0] if mapping is None else list(mapping.breaks_),
            "nll": float(-own.log().mean()),
            "argmax": float((decision == target).double().mean()),
            "drawn": float(own.mean()),
            "calibration error": picture.expected_calibration_error,
            "overconfidence": picture.overconfidence,
            "picture": asdict(picture),
        }
    return {"python": sys.version.split()[0], "texts": len(texts), "rows": [len(y), len(target)], "maps": found}


def _maps() -> Iterator[tuple[str, UtilityToProbability | None]]:
    yield "as it is", None
    yield "temperature", UtilityToProbability()
    yield "monotone", UtilityToProbability("monotone")


def _next_tokens(network: Any, tokenizer: Any, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Logits ``[N, V]`` and what came, of the first pieces of these texts."""
    ids = tokenizer("\n\n".join(texts[: PIECES * 8]))["input_ids"][: PIECES * LENGTH]
    if len(ids) < PIECES * LENGTH:
        raise SystemExit("the standard library's docstrings are too few")
    pieces = torch.tensor(ids).view(PIECES, LENGTH)
    logits = torch.cat(
        [network(piece[None].to(network.device)).logits[0, CONTEXT:-1].float().cpu() for piece in pieces]
    )
    return logits, pieces[:, CONTEXT + 1 :].reshape(-1)


@torch.no_grad()
def sequences(network: Any, tokenizer: Any, seed: int) -> dict[str, Any]:
    rows = arithmetic(train_size=1, eval_size=2 * QUESTIONS, seed=1000 + seed).evaluation
    torch.manual_seed(seed)
    lists: list[Candidates] = []
    for begin in range(0, len(rows), TOGETHER):
        lists += _answers(network, tokenizer, rows[begin : begin + TOGETHER]["prompt"])
    right = [str(number) for number in rows["number"]]
    held_out = [i for i in range(QUESTIONS) if right[i] in lists[i].outputs]
    u = stack_candidates([lists[i] for i in held_out])
    target = torch.tensor([lists[i].outputs.index(right[i]) for i in held_out])
    test = list(range(QUESTIONS, 2 * QUESTIONS))
    fitted = UtilityToProbability().fit(u, target)
    ways = {
        "as it is": [torch.softmax(lists[i].utility, -1) for i in test],
        "temperature": [fitted.transform(lists[i].utility) for i in test],
        "counted": [lists[i].counts.double() / lists[i].counts.sum() for i in test],
    }
    return {
        "tau": fitted.tau_,
        "at bound": fitted.at_bound_,
        "held out": len(held_out),
        "test": len(test),
        "right in the list": sum(right[i] in lists[i].outputs for i in test) / len(test),
        "answers a question": sum(len(lists[i]) for i in test) / len(test),
        "mass": sum(lists[i].mass for i in test) / len(test),
        "ways": {
            name: _decided([lists[i] for i in test], probs, [right[i] for i in test]) for name, probs in ways.items()
        },
    }


def _answers(network: Any, tokenizer: Any, questions: list[str]) -> list[Candidates]:
    messages = [
        [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}] for question in questions
    ]
    texts = [tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=True) for m in messages]
    given = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    given = given.to(network.device)
    output = network.generate(
        **given,
        do_sample=True,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
        max_new_tokens=MOST_TOKENS,
        num_return_sequences=ANSWERS,
        output_logits=True,
        return_dict_in_generate=True,
    )
    ends = {network.generation_config.eos_token_id, tokenizer.eos_token_id} - {None}
    return candidate_lists(
        output,
        prompts=len(questions),
        prompt_length=given["input_ids"].shape[1],
        end=sorted(ends),
        read=lambda ids: _number(tokenizer.decode(ids, skip_special_tokens=True)),
    )


def _number(text: str) -> str:
    """The last number of an answer, or nothing."""
    found = _NUMBER.findall(text)
    return str(int(found[-1])) if found and len(found[-1]) < 16 else ""


def closeness(decided: str, true: str) -> float:
    """1 for the number itself, falling to 0 at a distance of WORTHLESS."""
    if not decided or not true:
        return 0.0
    return max(0.0, 1.0 - abs(int(decided) - int(true)) / WORTHLESS)


def _decided(lists: list[Candidates], probs: list[Tensor], right: list[str]) -> dict[str, Any]:
    """Accuracy and closeness of three ways to decide, means over questions; of drawing in expectation."""
    sums = {f"{rule}, {what}": 0.0 for rule in ("argmax", "drawn", "closeness") for what in ("right", "close")}
    argmaxes, sure = [], []
    for own, p, number in zip(lists, probs, right, strict=True):
        hit = torch.tensor([float(o == number) for o in own.outputs], dtype=p.dtype)
        close = torch.tensor([closeness(str(o), number) for o in own.outputs], dtype=p.dtype)
        best = int(p.argmax())
        decided = int(mbr_decision(p, gain_matrix(own.outputs, closeness)))
        for what, worth in (("right", hit), ("close", close)):
            sums[f"argmax, {what}"] += float(worth[best])
            sums[f"drawn, {what}"] += float(p @ worth)
            sums[f"closeness, {what}"] += float(worth[decided])
        argmaxes.append(best)
        sure.append(float(p[best]))
    hits = torch.tensor([o.outputs[i] == r for o, i, r in zip(lists, argmaxes, right, strict=True)])
    picture = reliability(torch.tensor(sure), hits, bins=5)
    means = {name: value / len(lists) for name, value in sums.items()}
    return means | {
        "argmaxes": argmaxes,
        "calibration error": picture.expected_calibration_error,
        "overconfidence": picture.overconfidence,
    }
