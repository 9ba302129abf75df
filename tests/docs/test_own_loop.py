"""docs/own-loop.md can be typed in as it stands."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from entrokit.rlvr import Context, PolicyStats, Rollouts, policy_loss, recipe

PAGE = (Path(__file__).parents[2] / "docs" / "own-loop.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(11, 11)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=self.table(input_ids))


def batch():
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(11, (4, 9), generator=g)
    mask = torch.arange(6) < torch.tensor([6, 3, 5, 1])[:, None]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "tokens": ids[:, 3:],
        "mask": mask,
        "old_logp": -torch.rand(4, 6, generator=g),
        "advantages": torch.tensor([1.0, -1.0, 0.5, -0.5]),
    }


def test_the_update_moves_the_policy_where_the_advantages_point():
    torch.manual_seed(0)
    scope, own, model = {}, batch(), Model()
    exec(CODE[0], scope)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def logp():
        return (
            model(own["input_ids"], None).logits[:, 2:-1].log_softmax(-1).gather(-1, own["tokens"][..., None])[..., 0]
        )

    own["old_logp"] = logp().detach()
    metrics = scope["update"](model, optimizer, own)
    assert metrics["clip-cov/chosen_fraction"] >= 0
    gained = ((logp() - own["old_logp"]) * own["advantages"][:, None])[own["mask"]].mean()
    assert gained > 0


def test_the_stages_one_by_one_are_the_loss_in_one_call():
    scope, own = {}, batch()
    exec(CODE[1], scope)
    exec(CODE[2], scope)
    rollouts = Rollouts(
        tokens=own["tokens"],
        real=own["mask"],
        trained=own["mask"],
        group=torch.tensor([0, 0, 1, 1]),
        reward=torch.tensor([1.0, 0.0, 0.0, 1.0]),
        behaviour=PolicyStats(logp=torch.where(own["mask"], own["old_logp"], 0.0)),
    )
    chosen, context = recipe("dapo"), Context()
    rows = [slice(0, 1), slice(1, 4)]
    found = sum(scope["losses"](chosen, rollouts, context, rows, lambda part: part.behaviour))
    given = chosen.base.advantage(rollouts, context)
    in_one = policy_loss(
        "dapo", logp=own["old_logp"], old_logp=own["old_logp"], advantages=given, mask=own["mask"]
    ).loss
    torch.testing.assert_close(found, in_one)


@pytest.mark.parametrize("row", re.findall(r"^\| (`.*?) \| (.*?) \|$", PAGE, flags=re.MULTILINE))
def test_what_the_table_says_a_recipe_needs_is_what_an_error_asks_for(row):
    names = re.findall(r"`([a-z-]+)(?:\(([^`]*)\))?`", row[0])
    arguments = re.findall(r"`(\w+)=", row[1])
    own = batch()
    given = {k: own[k] for k in ("old_logp", "advantages", "mask")} | {"logp": own["old_logp"]}
    for name, knobs in names:
        spec = f"{name}({knobs})" if name == "dispo" else f"grpo+{name}({knobs})"
        asked = complete(spec, given)
        assert set(arguments) <= set(asked), (spec, asked)


def complete(spec, given):
    """The arguments that errors ask for, one after the other, until the loss is there."""
    own = batch()
    have = {
        "entropy": own["old_logp"].abs(),
        "group": torch.tensor([0, 0, 1, 1]),
        "reward": torch.tensor([1.0, 0.0, 0.0, 1.0]),
        "correct": torch.tensor([True, False, False, True]),
        "reference_logp": own["old_logp"],
        "prompt_logp": own["old_logp"],
        "prompt_mask": own["mask"],
    }
    others = ("collision", "weighted_surprise", "varentropy", "nucleus_entropy")
    given, asked = dict(given), []
    for _ in range(10):
        try:
            policy_loss(recipe(spec), **given)
            return asked
        except ValueError as error:
            words = re.findall(r"\w+", str(error))
            for name in (n for n in (*have, *others) if n in words):
                if name in others:
                    asked.append("statistics")
                    given["statistics"] = given.get("statistics", {}) | {name: own["old_logp"].abs()}
                else:
                    asked.append(name)
                    given[name] = have[name]
            if "steps" in words:
                asked.append("context")
                given["context"] = Context(step=1, total_steps=9)
    raise AssertionError(f"{spec} never had enough: {asked}")
