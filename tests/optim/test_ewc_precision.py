"""Fisher information and springs of weights in half precision, and of several precisions."""

import pytest
import torch
from torch import nn

from entrokit.optim.classp import EWC, diagonal_fisher


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_half_precision_squares_neither_underflow_nor_stand_still(dtype):
    model = nn.Linear(3, 4, dtype=dtype)
    nn.init.zeros_(model.weight)
    x = 1e-3 * torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    p = model(x).float().softmax(-1).detach()
    for labels in (None, torch.zeros(12, dtype=torch.long)):
        found = diagonal_fisher(model, x, labels, chunk=5)
        assert {value.dtype for value in found.values()} == {torch.float32}
        scores = p * (1 - p) if labels is None else (nn.functional.one_hot(labels, 4) - p).square()
        wanted = scores.T @ x.float().square() / len(x)
        # Logits, scores and their products are rounded to the dtype, a dozen times in all, and some are squared.
        torch.testing.assert_close(found["weight"], wanted, rtol=24 * torch.finfo(dtype).eps, atol=0)
    ewc = EWC(model, 2.0)
    ewc.consolidate(found)
    with torch.no_grad():
        model.weight.add_(2**-13)
    # The square is below what float16 holds.
    assert ewc.penalty().item() == pytest.approx(2**-26 * float(found["weight"].sum()), rel=1e-5, abs=0)
    again = EWC(model, 1.0)
    again.load_state_dict(ewc.state_dict())
    assert torch.equal(again.tasks[0][0]["weight"], found["weight"])
    assert again.tasks[0][1]["weight"].dtype == dtype


def test_a_model_of_several_precisions():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2).bfloat16())
    model[1].register_forward_pre_hook(lambda module, args: (args[0].bfloat16(),))
    found = diagonal_fisher(model, torch.linspace(-1, 1, 21).view(7, 3))
    assert all(bool(value.isfinite().all()) and bool(value.any()) for value in found.values())
    EWC(model, 1.0).consolidate(found)
