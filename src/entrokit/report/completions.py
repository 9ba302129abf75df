"""Completions as HTML, each token shaded by the entropy of the policy that chose it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from entrokit.runs import Run

PROMPTS = 3
PER_PROMPT = 4

# Entropy at which the shade is full; a coin toss (0.69 nats) is then about half of it.
FULL_SHADE = 1.5


def early_and_late(run: Run) -> str:
    """The same held-out prompts at the first and at the last evaluation, side by side; empty without evaluations."""
    steps = run.rollout_steps(evaluation=True)
    if not steps:
        return ""
    moments = [steps[0]] if len(steps) == 1 else [steps[0], steps[-1]]
    tables = {step: _by_group(run.rollouts(step, evaluation=True)) for step in moments}
    groups = list(tables[moments[0]])[:PROMPTS]
    blocks = []
    for group in groups:
        columns = "".join(
            f"<div><h4>step {step}</h4>{''.join(map(completion, tables[step].get(group, [])[:PER_PROMPT]))}</div>"
            for step in moments
        )
        prompt = escape(str(tables[moments[0]][group][0]["prompt"]))
        blocks.append(f'<div class="prompt"><p><code>{prompt}</code></p><div class="moments">{columns}</div></div>')
    return "".join(blocks)


def completion(row: Mapping[str, Any]) -> str:
    """One completion; model text is escaped."""
    tokens = "".join(
        f'<span style="--h:{min(1.0, max(0.0, h) / FULL_SHADE):.2f}" title="{h:.2f} nats">{escape(text)}</span>'
        for text, h in zip(row["tokens"], row["entropy"], strict=True)
    )
    reward = row["reward"]
    mark = "–" if reward is None else f"{reward:.2g}"
    kind = "right" if reward is not None and reward >= 1 else "other"
    return f'<div class="completion"><b class="{kind}">{mark}</b><code>{tokens}</code></div>'


def _by_group(rows: Sequence[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return groups
