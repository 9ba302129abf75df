"""Makes the pocket policy that comes with the package, or checks that its recipe gives it again.

    python scripts/warm_policy.py            # minutes: warms it up, writes the weights and the recipe
    python scripts/warm_policy.py --check    # warms it up, writes nothing; leaves with 1 where it is another policy

One thread, so that sums are added in one order: on one kind of processor the weights come out again bit for bit. On
another one they do not, and the check is of what the policy does: it is the same one if its entropy is within 0.02 nats
of the file's, and its accuracy within three standard errors, on 2 048 sampled completions.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from entrokit.rlvr.tasks.countdown import solved_puzzle, verify
from entrokit.training import warmed
from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model, warm_up, warm_up_batch

FOLDER = Path(warmed.__file__).parent
NAME = "countdown"
PREFIX = 12
PROMPTS, COMPLETIONS = 128, 16
# Of puzzles and samples that nothing was trained on.
_SEED = 1000
# Nats.
NEAR = 0.02


def main(check: bool) -> int:
    torch.set_num_threads(1)
    config = PocketConfig()
    weights = file, recipe = FOLDER / f"{NAME}.safetensors", FOLDER / f"{NAME}.json"
    made = warmed_up(config)
    if check:
        return compared(config, made, load_file(file), json.loads(recipe.read_text(encoding="utf-8")))
    save_file(made, file)
    content = {
        "key": config.key,
        "settings": asdict(config) | {"task": type(config.demonstrations).__name__},
        "made": {
            "command": "python scripts/warm_policy.py",
            "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
            "vectors": torch.backends.cpu.get_cpu_capability(),
        },
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "prefix": prefix(config),
        "held_out": measured(config, made),
    }
    recipe.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{' and '.join(str(path) for path in weights)}: {file.stat().st_size / 1e6:.2f} MB; {content['held_out']}")
    return 0


def warmed_up(config: PocketConfig) -> dict[str, Tensor]:
    """The whole warm-up; parameters as the file keeps them."""
    model, began = fresh_model(config), time.monotonic()
    for step, loss in enumerate(warm_up(model, character_tokenizer(config.demonstrations.alphabet), config), 1):
        if step % 200 == 0:
            print(f"step {step} of {config.steps}: loss {loss:.3f}, {time.monotonic() - began:.0f} s", flush=True)
    return {name: parameter.detach().half() for name, parameter in model.named_parameters()}


def prefix(config: PocketConfig) -> dict[str, Any]:
    """Losses of the first steps in float64, and the norm of all parameters after them."""
    model = fresh_model(config).double()
    losses = [
        x.item() for x in islice(warm_up(model, character_tokenizer(config.demonstrations.alphabet), config), PREFIX)
    ]
    return {"losses": losses, "norm": math.sqrt(sum(p.detach().square().sum().item() for p in model.parameters()))}


def measured(config: PocketConfig, weights: dict[str, Tensor]) -> dict[str, float]:
    """Loss of new demonstrations and entropy of new completions (nats a token), and how many of these are right."""
    model, tokenizer = fresh_model(config).eval(), character_tokenizer(config.demonstrations.alphabet)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
        rng = random.Random(_SEED)
        inputs, labels = warm_up_batch(PocketConfig(batch=1024), rng, tokenizer)
        loss = model(input_ids=inputs, attention_mask=(inputs != tokenizer.pad_token_id).long(), labels=labels).loss
        puzzles = [puzzle for _ in range(PROMPTS) for puzzle in [solved_puzzle(rng)[0]] * COMPLETIONS]
        asked = tokenizer([puzzle.prompt for puzzle in puzzles], padding=True, return_tensors="pt")
        torch.manual_seed(_SEED)
        answer = model.generate(
            input_ids=asked["input_ids"],
            attention_mask=asked["attention_mask"],
            do_sample=True,
            top_k=0,
            max_new_tokens=16,
            output_logits=True,
            return_dict_in_generate=True,
        )
    tokens = answer.sequences[:, asked["input_ids"].shape[1] :]
    log_p = torch.stack(answer.logits, 1).double().log_softmax(-1)
    real = (tokens == tokenizer.eos_token_id).cumsum(1).roll(1, 1) == 0
    real[:, 0] = True
    entropy = -(log_p.exp() * log_p).sum(-1)[real]
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    right = [verify(text, p.numbers, p.target) for text, p in zip(texts, puzzles, strict=True)]
    return {"loss": loss.item(), "entropy": entropy.mean().item(), "accuracy": sum(right) / len(right)}


def compared(config: PocketConfig, made: dict[str, Tensor], kept: dict[str, Tensor], recipe: dict[str, Any]) -> int:
    if recipe["key"] != config.key:
        print(f"the file is of another warm-up ({recipe['key']}, now {config.key}): make it anew")
        return 1
    if made.keys() == kept.keys() and all(torch.equal(made[name], kept[name]) for name in kept):
        print("the same weights, bit for bit")
        return 0
    gap = max((made[name].float() - kept[name].float()).abs().max().item() for name in kept)
    new, old = measured(config, made), measured(config, kept)
    print(f"largest difference of a weight: {gap:.2g}")
    for name in old:
        print(f"{name}: {old[name]:.4f} in the file, {new[name]:.4f} now, difference {new[name] - old[name]:+.4f}")
    # Samples of the same prompts: the error of their difference is at most that of independent ones.
    error = math.sqrt(2 * old["accuracy"] * (1 - old["accuracy"]) / (PROMPTS * COMPLETIONS))
    same = abs(new["entropy"] - old["entropy"]) <= NEAR and abs(new["accuracy"] - old["accuracy"]) <= 3 * error
    print("the same policy, as far as samples tell" if same else "another policy")
    return 0 if same else 1


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    sys.exit(main("--check" in sys.argv))
