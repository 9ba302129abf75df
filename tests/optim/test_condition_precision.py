"""KappaTune: where the precisions of floats end, and what is singular in each."""

import math

import pytest
import torch

from entrokit.optim.condition import condition_number

FLOAT64 = torch.float64
UNIT = torch.finfo(FLOAT64).eps / 2


@pytest.mark.parametrize("exponent", [-1070, 1023])
def test_the_ends_of_double_precision(exponent):
    W = torch.diag(torch.tensor([1.0, 0.5, 0.25], dtype=FLOAT64)) * 2.0**exponent
    assert condition_number(W) == 4.0


def test_float32_holds_condition_numbers_up_to_its_own_eps():
    assert condition_number(torch.diag(torch.tensor([1.0, 2e-7]))) == pytest.approx(5e6, rel=1e-6)
    assert condition_number(torch.diag(torch.tensor([1.0, 1e-7]))) == math.inf
    assert condition_number(torch.diag(torch.tensor([1.0, 1e-7], dtype=FLOAT64))) == pytest.approx(1e7, rel=1e-6)
    assert condition_number(torch.diag(torch.tensor([1.0, 1e-3]).bfloat16())) == pytest.approx(1e3, rel=1e-2)


def test_in_double_precision_the_longer_side_counts():
    W = torch.zeros(2, 200, dtype=FLOAT64)
    W[0, 0] = 1.0
    for smallest, kappa in ((0.9, math.inf), (1.1, 1 / (1.1 * 400 * UNIT))):
        W[1, 1] = smallest * 200 * 2 * UNIT
        assert condition_number(W) == pytest.approx(kappa, rel=1e-9)
