"""TEA: the sheet's numbers, invariances, empty rows, and where gradients go."""

import pytest
import torch

from entrokit.rlvr import recipe
from entrokit.rlvr.interventions.light_if import TokenEntropyAdaptive, tea_coefficients, tea_entropy_loss, tea_means

from .cases import batch

NAN = float("nan")
LOGP = torch.tensor([[-0.1, -2, -0.5, -0.05], [-1, -0.2, -3, NAN]], dtype=torch.float64)
ADV = torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, NAN]], dtype=torch.float64)
H = torch.tensor([[0.2, 1.5, 0.8, 0.1], [1, 0.4, 1.2, NAN]], dtype=torch.float64)
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]], dtype=torch.bool)


def test_the_paper_s_batch():
    logp_mean, adv_mean = tea_means(LOGP, ADV, MASK)
    covariance = (ADV - adv_mean) * (LOGP - logp_mean)
    expected = [0.753061, -0.875510, 0.410204, 0.795918, 0.024490, -0.889796, 2.310204]
    assert covariance[MASK].tolist() == pytest.approx(expected, abs=1e-6)
    w = tea_coefficients(LOGP, ADV, MASK)
    assert w[0].tolist() == pytest.approx([3.390132, 0.665177, 2.406111, 3.538581], abs=1e-6)
    assert w[1].tolist() == pytest.approx([0.890194, 0.356792, 5.0, 0.0], abs=1e-6)
    assert float(tea_entropy_loss(LOGP, ADV, H, MASK)) == pytest.approx(-1.569635, abs=1e-6)
    assert tea_coefficients(LOGP, ADV, MASK, 2.0).sum(1).tolist() == pytest.approx([2.0, 2.0])
    assert float(tea_entropy_loss(LOGP, ADV, H, MASK, 2.0)) == pytest.approx(-0.442602, abs=1e-6)


def test_invariances():
    w = tea_coefficients(LOGP, ADV, MASK)
    torch.testing.assert_close(tea_coefficients(LOGP - 3, ADV + 2, MASK), w)
    flat = tea_coefficients(LOGP, torch.ones_like(ADV), MASK, cap=99.0)
    torch.testing.assert_close(flat[0], torch.full((4,), 2.5, dtype=torch.float64))
    torch.testing.assert_close(flat[1, :3], torch.full((3,), 10 / 3, dtype=torch.float64))
    means = torch.stack([H[0].mean(), H[1, :3].mean()]).mean()
    loss = tea_entropy_loss(LOGP, torch.ones_like(ADV), H, MASK, cap=99.0)
    assert float(loss) == pytest.approx(float(-10 * 2 * means / 7))
    scaled = tea_coefficients(LOGP, ADV, MASK, 0.1, length_scaled=True)
    torch.testing.assert_close(scaled[0], 0.04 * w[0], atol=1e-6, rtol=1e-6)


def test_gradients():
    logp, h = LOGP.nan_to_num().requires_grad_(), H.nan_to_num().requires_grad_()
    loss = tea_entropy_loss(logp, ADV, h, MASK)
    grad_h, grad_logp = torch.autograd.grad(loss, (h, logp), allow_unused=True)
    torch.testing.assert_close(grad_h, -tea_coefficients(LOGP, ADV, MASK) / 7)
    assert grad_logp is None
    attached = tea_entropy_loss(logp, ADV, h, MASK, cap=99.0, detach=False)
    (grad_logp,) = torch.autograd.grad(attached, logp)
    assert torch.isfinite(grad_logp).all()
    assert grad_logp.any()


def test_an_empty_row_and_an_empty_batch():
    mask = MASK.clone()
    mask[1] = False
    assert not tea_coefficients(LOGP, ADV, mask)[1].any()
    h = H.nan_to_num().requires_grad_()
    loss = tea_entropy_loss(LOGP, ADV, h, torch.zeros_like(MASK))
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, h)[0].any()


def test_in_a_recipe_it_is_added_to_the_policy_s_loss():
    b = batch()
    chosen, base = recipe("dapo+tea(scope='micro')"), recipe("dapo")
    a = base.advantages(b)
    expected = base.loss(b.behaviour, b, a).loss + tea_entropy_loss(b.behaviour.logp, a, b.behaviour.entropy, b.trained)
    torch.testing.assert_close(chosen.loss(b.behaviour, b, a).loss, expected)
    wide = recipe("grpo+tea")
    torch.testing.assert_close(
        wide.loss(b.behaviour, b, a, wide.prepare(b, a)).loss - recipe("grpo").loss(b.behaviour, b, a).loss,
        tea_entropy_loss(b.behaviour.logp, a, b.behaviour.entropy, b.trained),
    )
    with pytest.raises(ValueError, match="detach must be True or False"):
        TokenEntropyAdaptive(detach=1)
