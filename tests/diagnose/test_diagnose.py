import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.diagnose import EntropyRewardLaw, fit_entropy_reward_law, pass_at_k
from entrokit.distributions import entropy
from entrokit.dynamics.first_order import entropy_change

H = [1.2, 0.8, 0.5, 0.3, 0.15, 0.05]
R = [-0.210029, 0.063615, 0.207820, 0.282535, 0.329541, 0.357182]
NOISY = np.add(R, [0.004, -0.003, 0.002, -0.001, 0.003, -0.002]).tolist()


def test_law_check_7():
    law = EntropyRewardLaw(0.25, 0.62, 1.0)
    np.testing.assert_allclose(law.predict(H), R, atol=1e-6)
    assert law.ceiling == pytest.approx(0.37)
    fit = fit_entropy_reward_law(H, NOISY)
    assert (fit.a, fit.b, fit.r2) == pytest.approx((0.248764, 0.618283, 0.999843), abs=1e-6)
    first = fit_entropy_reward_law(H[:3], NOISY[:3])
    assert (first.a, first.b) == pytest.approx((0.248122, 0.616497), abs=1e-6)


@given(st.floats(0.01, 1), st.floats(-1, 1))
def test_law_recovers_its_own_points(a, b):
    fit = fit_entropy_reward_law(H, EntropyRewardLaw(a, b, 1.0).predict(H).tolist())
    assert (fit.a, fit.b) == pytest.approx((a, b), abs=1e-6)


def test_law_refuses_what_it_cannot_fit():
    with pytest.raises(ValueError, match="at least three finite points"):
        fit_entropy_reward_law([1.0, 0.5, float("nan")], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="different entropies"):
        fit_entropy_reward_law([1.0] * 4, [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="of one length"):
        fit_entropy_reward_law([1.0, 2.0], [0.1])


def test_first_order_check_6():
    p = torch.tensor([0.6, 0.25, 0.1, 0.05], dtype=torch.float64)
    A = torch.tensor([0.7, -1.3, 0.2, -2.3], dtype=torch.float64)
    eta = 1e-4
    for delta, predicted, measured in ((p * A, -0.169059, -0.169063), (A, -0.534456, -0.534480)):
        assert entropy_change(p.log(), delta).item() == pytest.approx(predicted, abs=1e-6)
        change = (entropy(p.log() + eta * delta, from_logits=True) - entropy(p)).item() / eta
        assert change == pytest.approx(measured, abs=1e-6)


@given(st.integers(0, 1000))
def test_first_order_is_the_derivative_and_ignores_shifts(seed):
    g = torch.Generator().manual_seed(seed)
    z, d = (torch.randn(3, 7, generator=g, dtype=torch.float64) for _ in range(2))
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(entropy(z, from_logits=True).sum(), z)
    torch.testing.assert_close(entropy_change(z, d), (gradient * d).sum(-1))
    torch.testing.assert_close(entropy_change(z, d + 3.0), entropy_change(z, d))


def test_pass_at_k():
    assert pass_at_k([0, 4], 4, 1) == pytest.approx(0.5)
    assert pass_at_k([1], 4, 2) == pytest.approx(0.5)
    assert pass_at_k([1, 0], 4, 4) == pytest.approx(0.5)
    values = [pass_at_k([3, 0, 16, 1], 16, k) for k in (1, 4, 16)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(20 / 64)
    with pytest.raises(ValueError, match="k must be in"):
        pass_at_k([1], 4, 5)
    with pytest.raises(ValueError, match=r"counts in \[0, 4\]"):
        pass_at_k([5], 4, 1)
