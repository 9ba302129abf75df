"""CLASSP's memory: saved, loaded, copied, averaged and let go."""

import copy
import io

import pytest
import torch
from torch import nn

from entrokit.optim.classp import CLASSP

from .classp_stream import GRADIENTS, W0, history, trained

pytestmark = pytest.mark.filterwarnings("ignore:CLASSP")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_check_7_the_memory_survives_saving(dtype):
    start = nn.Parameter(W0.to(dtype, copy=True))
    optimizer = CLASSP([start], lr=0.1, threshold=0.01)
    steps = torch.cat([GRADIENTS, GRADIENTS.flip(0)]).to(dtype)
    for gradient in steps[:5]:
        start.grad = gradient
        optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = copy.deepcopy(start)
    other = CLASSP([again], lr=7.0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for gradient in steps[5:]:
        for param, own in ((start, optimizer), (again, other)):
            param.grad = gradient
            own.step()
    assert torch.equal(start, again)
    assert torch.equal(history(optimizer), history(other))
    assert history(other).dtype == torch.promote_types(dtype, torch.float32)


def test_what_was_received_is_never_negative():
    _, optimizer = trained()
    held, saved = history(optimizer).clone(), copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["consolidation"][1] = -1e-3
    with pytest.raises(ValueError, match="consolidation of parameter 0 is not finite, or out of its range"):
        optimizer.load_state_dict(saved)
    assert torch.equal(history(optimizer), held)


def test_the_average_of_what_was_received():
    _, optimizer = trained(threshold=0.1)
    assert optimizer.average_grad_sum() == pytest.approx((1.9 + 1.8 + 0.5 + 1.0) / 4, abs=1e-12)
    late = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer.add_param_group({"params": [late]})
    assert optimizer.average_grad_sum() == pytest.approx(1.3, abs=1e-12)
    late.grad = torch.zeros(4, dtype=torch.float64)
    assert optimizer.average_grad_sum() == pytest.approx(1.3, abs=1e-12)
    optimizer.zero_grad()
    assert optimizer.average_grad_sum() == 0.0


def test_what_is_consolidated_can_be_let_go():
    _, optimizer = trained()
    held = history(optimizer).clone()
    optimizer.decay_consolidation(0.25)
    assert torch.equal(history(optimizer), 0.25 * held)
    optimizer.decay_consolidation()
    assert torch.equal(history(optimizer), torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ValueError, match="0 to 1, got 1.5"):
        optimizer.decay_consolidation(1.5)
