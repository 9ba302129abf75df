"""docs/tinker.md can be pasted, and its table of what is refused is what is refused."""

import re

import pytest

pytest.importorskip("tinker", reason="the SDK of Tinker is not installed")

import torch

from entrokit.engines.tinker import TinkerRecipe
from entrokit.rlvr.cards import methods

from ...processes import ROOT
from .made import Reference, group, once
from .standin import VOCABULARY, Service

PAGE = (ROOT / "docs" / "tinker.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
GOOD = 3


def test_the_run_learns(capsys):
    rewards = []

    def sample_groups(logits, batch):
        """One token after each of two prompts; a token of ``GOOD`` is rewarded."""
        g = torch.Generator().manual_seed(batch)
        groups = []
        for prompt in (1, 2):
            logp = logits[prompt].log_softmax(-1)
            drawn = torch.multinomial(logp.exp(), 8, replacement=True, generator=g).tolist()
            groups.append(group(*(once([prompt], [t], [float(logp[t])], float(t == GOOD)) for t in drawn)))
        rewards.append(sum(sum(each.get_total_rewards()) for each in groups) / 16)
        return groups

    names = {}
    exec(CODE, names)
    state = names["train"](Service(), "a model", sample_groups, batches=25)
    assert state["steps"] == 50
    assert sum(rewards[:3]) / 3 < 3 / VOCABULARY
    assert sum(rewards[-3:]) / 3 > 0.9
    assert "kl-cov/" in capsys.readouterr().out


def test_the_table_of_what_is_refused():
    table = PAGE.split("## What is refused")[1].split("## What was run")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `") and "without" not in line.split("|")[1]]
    told = {name for line in rows for name in re.findall(r"`([a-z-]+)`", line.split("|")[1])}
    refused = set()
    for name, method in methods().items():
        try:
            TinkerRecipe(method.card.examples[0], reference=Reference(), max_length=8)
        except ValueError:
            refused.add(name)
    assert told == refused
    TinkerRecipe("grpo+canon(metric='length')")
