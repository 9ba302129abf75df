"""Entropy-SFT: the sheet's numbers, exact gradients, accumulation, and TRL's own trainer."""

import pytest
import torch

from entrokit.losses.entropy_sft import EntropySFTLoss, surprising_tokens

LOGITS = torch.tensor(
    [[3, 1.7, -1, -1], [1, 1, 1, 0.8], [2, 1, 0, -1], [0, 4, 0, 0], [4, 0, 0, 0]], dtype=torch.float64
)
LABELS = torch.tensor([1, 3, 1, 1, 0])


def shifted(logits=LOGITS, labels=LABELS):
    """As a causal model has them: one more position at the end, one ignored label in front."""
    logits = torch.cat([logits, logits.new_full((1, 4), 9.0)])[None]
    return logits, torch.cat([torch.tensor([-100]), labels])[None]


def nll_and_entropy():
    log_p = LOGITS.log_softmax(-1)
    return -log_p.gather(1, LABELS[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)


def test_the_paper_s_tokens():
    nll, h = nll_and_entropy()
    assert nll.tolist() == pytest.approx([1.569388, 1.539918, 1.440190, 0.053490, 0.053490], abs=1e-6)
    assert h.tolist() == pytest.approx([0.651935, 1.382798, 0.947537, 0.261830, 0.261830], abs=1e-6)
    for rho, coef, chosen, loss in (
        (0.4, 0.0, {0, 1}, 1.554653),
        (0.4, 0.8, {0, 2}, 1.504789),
        (0.2, 0.8, {0}, 1.569388),
        (0.6, 0.8, {0, 1, 2}, 1.516499),
        (1.0, 0.8, {0, 1, 2, 3, 4}, 0.931295),
        (1.0, 0.0, {0, 1, 2, 3, 4}, 0.931295),
    ):
        assert set(surprising_tokens(nll, h, rho, coef).nonzero()[:, 0].tolist()) == chosen
        assert float(EntropySFTLoss(rho, coef)(*shifted())) == pytest.approx(loss, abs=1e-6)


def test_gradient_is_that_of_cross_entropy_at_the_chosen_and_exactly_0_elsewhere():
    logits, labels = shifted()
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(EntropySFTLoss(0.4, 0.8)(logits, labels), logits)
    p = LOGITS.softmax(-1)
    expected = torch.zeros(6, 4, dtype=torch.float64)
    for i in (0, 2):
        expected[i] = (p[i] - torch.nn.functional.one_hot(LABELS[i], 4)) / 2
    torch.testing.assert_close(gradient[0], expected)
    assert not gradient[0, [1, 3, 4, 5]].any()


def test_surprise_has_mean_0_under_the_model_s_own_distribution():
    log_p = LOGITS.log_softmax(-1)
    p = log_p.exp()
    entropy = -(p * log_p).sum(-1)
    torch.testing.assert_close((p * (-log_p - entropy[:, None])).sum(-1), torch.zeros(5, dtype=torch.float64))


def test_accumulated_parts_are_divided_by_the_share_of_all_tokens():
    logits, labels = shifted()
    alone = EntropySFTLoss(0.4, 0.8)(logits, labels)
    assert float(EntropySFTLoss(0.4, 0.8)(logits, labels, 20)) == pytest.approx(float(alone) * 2 / 8)
    assert float(EntropySFTLoss(0.29)(logits, labels, torch.tensor(100))) == pytest.approx(1.569388 / 29, abs=1e-6)


def test_one_token_none_and_bad_input():
    logits, labels = shifted(LOGITS[:1], LABELS[:1])
    assert float(EntropySFTLoss(0.1)(logits, labels)) == pytest.approx(1.569388, abs=1e-6)
    logits.requires_grad_()
    empty = EntropySFTLoss()(logits, torch.full_like(labels, -100))
    assert empty.item() == 0
    assert not torch.autograd.grad(empty, logits)[0].any()
    tied = surprising_tokens(torch.ones(10), torch.zeros(10), 0.3)
    assert tied.nonzero()[:, 0].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"token_ratio must lie in \(0, 1\]"):
        EntropySFTLoss(0.0)
    with pytest.raises(ValueError, match="entropy_coef must be at least 0"):
        EntropySFTLoss(entropy_coef=-1)
    with pytest.raises(ValueError, match=r"expected logits \[B, L, V\]"):
        EntropySFTLoss()(logits[0], labels)
    with pytest.raises(ValueError, match="outside the vocabulary"):
        EntropySFTLoss()(logits, torch.full_like(labels, 4))


def test_extreme_logits_stay_finite():
    logits = torch.tensor([[[1e4, 0, 0, 0], [0, 1e4, 0, 0], [0.0] * 4]], requires_grad=True)
    loss = EntropySFTLoss()(logits, torch.tensor([[-100, 1, 1]]))
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, logits)[0]).all()


def test_trl_trains_with_it(tmp_path, character_checkpoint):
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = [{"prompt": f"{a} {b}={a + b}:", "completion": f"{a}+{b}"} for a in range(1, 5) for b in range(1, 5)]
    seen = []

    class Watched(EntropySFTLoss):
        def compute_loss_func(self, outputs, labels, num_items_in_batch=None):
            loss = super().compute_loss_func(outputs, labels, num_items_in_batch)
            seen.append((float(loss.detach()), int(num_items_in_batch)))
            return loss

    args = trl.SFTConfig(
        str(tmp_path), max_steps=2, per_device_train_batch_size=4, gradient_accumulation_steps=2, report_to=[],
        use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no", logging_steps=1, disable_tqdm=True,
    )  # fmt: skip
    trainer = trl.SFTTrainer(
        AutoModelForCausalLM.from_pretrained(character_checkpoint),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(character_checkpoint),
        compute_loss_func=Watched(0.5).compute_loss_func,
    )
    trainer.train()
    assert len(seen) == 4
    first_step = sum(loss for loss, _ in seen[:2])
    assert trainer.state.log_history[0]["loss"] == pytest.approx(first_step, rel=1e-3)
    assert seen[0][1] == seen[1][1] > 0
