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
    (code,) = [block for block in blocks if "class DistilTrainer" in block]
    names = {}
    exec(code.partition("data = ")[0], names)
    return names


def rows():
    """Of four lengths, so that micro-batches have different numbers of labels."""
    g = torch.Generator().manual_seed(0)
    found = []
    for missing in (0, 3, 5, 6):
        tokens = torch.randint(50, (9,), generator=g)
        labels = tokens.clone()
        labels[9 - missing :] = -100
        found.append({"input_ids": tokens, "labels": labels})
    return found


def a_step(shown, folder, **options):
    """A trainer before its one step, and the mean loss of the whole batch by whole logits."""
    from transformers import TrainingArguments

    student, teacher = shown["model"](16, 0).double(), shown["model"](24, 1).double()
    batch = {name: torch.stack([row[name] for row in rows()]) for name in ("input_ids", "labels")}
    with torch.no_grad():
        theirs = teacher(batch["input_ids"]).logits
    expected = pld_loss(student(batch["input_ids"]).logits[:, :-1], theirs[:, :-1], batch["labels"][:, 1:])
    args = TrainingArguments(
        str(folder), max_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=2, use_cpu=True,
        optim="sgd", learning_rate=1.0, lr_scheduler_type="constant", max_grad_norm=0.0, logging_steps=1,
        disable_tqdm=True, **options,
    )  # fmt: skip
    return shown["DistilTrainer"](student, args, train_dataset=rows(), teacher=teacher), batch, expected


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_moves_by_the_gradient_of_the_whole_batch(shown, tmp_path, checkpointing):
    trainer, _, expected = a_step(shown, tmp_path, gradient_checkpointing=checkpointing, save_strategy="no")
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    gradients = torch.autograd.grad(expected, list(trainer.model.parameters()))
    trainer.train()
    assert trainer.model.is_gradient_checkpointing is checkpointing
    assert trainer.state.log_history[0]["loss"] == pytest.approx(float(expected.detach()), rel=1e-4)
    for (name, after), gradient in zip(trainer.model.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(before[name] - after.detach(), gradient, rtol=1e-9, atol=1e-12)


def test_a_student_with_tied_embeddings_is_saved_by_the_defaults_and_its_teacher_is_not(shown, tmp_path):
    trainer, *_ = a_step(shown, tmp_path)
    kept = [p.detach().clone() for p in trainer.teacher.parameters()]
    trainer.train()
    again = type(trainer.model).from_pretrained(tmp_path / "checkpoint-1", dtype=torch.float64)
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert again.state_dict().keys() == trainer.model.state_dict().keys()
    for name, saved in again.state_dict().items():
        assert torch.equal(saved, trainer.model.state_dict()[name])
    assert all(torch.equal(p, own) for p, own in zip(trainer.teacher.parameters(), kept, strict=True))


def test_without_a_count_of_labels_it_is_the_mean_of_the_batch(shown, tmp_path):
    trainer, batch, expected = a_step(shown, tmp_path)
    loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert outputs.logits.shape == (4, 1, 50)
    batch["labels"] = torch.full_like(batch["labels"], -100)
    assert trainer.compute_loss(trainer.model, batch) == 0
