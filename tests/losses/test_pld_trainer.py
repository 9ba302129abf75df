"""PLD under transformers' trainer, as the page has it: the gradient of whole logits over a whole accumulated batch."""

import re
from pathlib import Path

import pytest
import torch

from entrokit.losses.pld import pld_loss

PAGE = Path(__file__).parents[2] / "docs" / "losses" / "pld.md"


@pytest.fixture(scope="module")
def shown():
    """What the page's example defines."""
    pytest.importorskip("transformers")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    (code,) = [block for block in blocks if "class Distilled" in block]
    names = {}
    exec(code.partition("trainer = ")[0], names)
    return names


def rows():
    """Of four lengths, so that micro-batches have different numbers of labels."""
    g = torch.Generator().manual_seed(0)
    found = []
    for missing in (0, 3, 5, 6):
        tokens = torch.randint(50, (9,), generator=g)
        labels = tokens[1:].clone()
        labels[8 - missing :] = -100
        found.append({"input_ids": tokens[:-1], "labels": labels})
    return found


def test_a_step_moves_by_the_gradient_of_the_whole_batch(shown, tmp_path):
    from transformers import Trainer, TrainingArguments

    student, teacher = shown["model"](16, 0).double(), shown["model"](24, 1).double()
    before = {name: p.detach().clone() for name, p in student.named_parameters()}
    batch = {name: torch.stack([row[name] for row in rows()]) for name in ("input_ids", "labels")}
    with torch.no_grad():
        theirs = teacher(batch["input_ids"]).logits
    expected = pld_loss(student(batch["input_ids"]).logits, theirs, batch["labels"])
    gradients = torch.autograd.grad(expected, list(student.parameters()))
    args = TrainingArguments(
        str(tmp_path), max_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=2, report_to=[],
        use_cpu=True, optim="sgd", learning_rate=1.0, lr_scheduler_type="constant", max_grad_norm=0.0,
        save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(shown["Distilled"](student, teacher), args, train_dataset=rows())
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(float(expected.detach()), rel=1e-4)
    for (name, after), gradient in zip(student.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(before[name] - after.detach(), gradient, rtol=1e-9, atol=1e-12)


def test_the_teacher_is_neither_trained_nor_saved(shown):
    both = shown["Distilled"](shown["model"](16, 0), shown["model"](24, 1))
    assert all(name.startswith("student.") for name, _ in both.named_parameters())
    assert all(name.startswith("student.") for name in both.state_dict())
