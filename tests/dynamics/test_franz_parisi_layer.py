"""Binary variational weights: the sheet's numbers, exact gradients, what saturates, and priors in a loop."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Bernoulli, kl_divergence

from entrokit.dynamics.franz_parisi import (
    BinaryVariationalLinear,
    PosteriorPrior,
    beta_schedule,
    weight_entropy,
    weight_kl,
    weight_mean,
    weight_variance,
)

from ..rounding import bound
from .binary_layer import THETA, layer

REFERENCE = torch.tensor([[0.4, -0.9, 0.0], [0.3, 0.5, -0.6]], dtype=torch.float64)

# Columns of the sheet are samples.
INPUTS = torch.tensor([[1.0, 0.3, -2.0], [-0.5, 0.7, 0.4]], dtype=torch.float64)

NOISE = torch.tensor([[0.4, 0.9], [-1.2, 0.3]], dtype=torch.float64)

fields = st.lists(st.floats(-30.0, 30.0), min_size=1, max_size=5).map(lambda v: torch.tensor(v, dtype=torch.float64))


def expect(found, expected, atol=1e-6):
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=atol, rtol=0)


def test_check_2_the_layer_s_numbers_and_its_gradient_by_formula():
    made, beta, N = layer(), 1.5, 3
    z = made(INPUTS, noise=NOISE)
    mean = made(INPUTS, sample=False)
    v = (z - mean) / NOISE
    expect(mean.T, [[-0.126452, -0.481887], [1.057462, 0.128516]])
    expect(v.T, [[1.193510, 0.357824], [0.992128, 0.396579]])
    loss = nn.functional.cross_entropy(z, torch.tensor([0, 1]), reduction="sum")
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2.056401, abs=1e-6)
    expect(made.theta.grad, [[-0.400769, -0.047046, 1.560155], [0.754012, 0.024378, -0.220530]])

    delta = torch.softmax(z, -1) - torch.eye(2, dtype=torch.float64)
    through_noise = (NOISE * delta / v).T @ INPUTS**2 * made.mean()
    formula = (beta / math.sqrt(N) * delta.T @ INPUTS - beta / N * through_noise) * made.variance()
    torch.testing.assert_close(made.theta.grad, formula.detach(), atol=1e-12, rtol=0)


def test_check_3_entropy_and_kl():
    made = layer()
    assert float(made.entropy().detach()) == pytest.approx(2.692793, abs=1e-6)
    assert float(made.kl(REFERENCE).detach()) == pytest.approx(0.134278, abs=1e-6)


@given(fields, st.sampled_from([0.3, 1.0, 10.0]), st.randoms(use_true_random=False))
def test_check_8_kl_is_what_torch_says_and_its_gradient_is_exact(theta, beta, random):
    reference = torch.tensor([t + random.uniform(-1, 1) for t in theta.tolist()], dtype=torch.float64)
    theta.requires_grad_()
    kl = weight_kl(theta, reference, beta)
    kl.backward()
    own, other = Bernoulli(logits=2 * beta * theta), Bernoulli(logits=2 * beta * reference)
    assert float(kl.detach()) == pytest.approx(float(kl_divergence(own, other).sum().detach()), rel=1e-9, abs=1e-9)
    assert float(weight_entropy(theta, beta).detach()) == pytest.approx(
        float(own.entropy().sum().detach()), rel=1e-9, abs=1e-9
    )
    # Rounding of the two halves that cancel: 1e-16 of numbers as large as beta² σ² |θ|.
    exact = beta**2 * (theta - reference) * weight_variance(theta, beta)
    torch.testing.assert_close(theta.grad, exact.detach(), atol=1e-11, rtol=1e-9)
    assert float(kl.detach()) >= -1e-12
    assert abs(float(weight_kl(theta, theta, beta).detach())) < 1e-12


@pytest.mark.parametrize("theta", [-1.2, 0.0, 0.7])
@pytest.mark.parametrize("shift", [-0.01, 0.002, 0.01])
def test_check_8_second_order(theta, shift):
    a, b = (torch.tensor([t], dtype=torch.float64) for t in (theta + shift, theta))
    second = 0.5 * shift**2 * float(weight_variance(b, 1.0))
    assert float(weight_kl(a, b, 1.0)) == pytest.approx(second, rel=0.02)
    assert float(weight_kl(a, b, 1.0)) > 0


def test_kl_in_means_and_gradients_by_differences():
    m, m0 = weight_mean(THETA, 1.5), weight_mean(REFERENCE, 1.5)
    up, down = (1 + m) / 2 * torch.log((1 + m) / (1 + m0)), (1 - m) / 2 * torch.log((1 - m) / (1 - m0))
    assert float(weight_kl(THETA, REFERENCE, 1.5)) == pytest.approx(float((up + down).sum()), abs=1e-12)
    theta, reference = THETA.clone().requires_grad_(), REFERENCE.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: weight_kl(a, b, 1.5), (theta, reference))
    assert torch.autograd.gradcheck(lambda a: weight_entropy(a, 1.5), (theta,))
    made, inputs = layer(), INPUTS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a: made(a, noise=NOISE), (inputs,))


def test_what_is_certain_keeps_its_numbers():
    # 1 - tanh² is 0 from 9 on in float32; e^-40 is not. The entropy there is (2|x| + 1) e^-2|x|.
    theta = torch.tensor([20.0, -20.0])
    assert weight_variance(theta, 1.0).tolist() == pytest.approx([4 * math.exp(-40.0)] * 2, rel=1e-5)
    assert float(weight_entropy(theta, 1.0)) == pytest.approx(2 * 41 * math.exp(-40.0), rel=1e-5)
    assert float(weight_kl(theta, -theta, 1.0)) == pytest.approx(80.0, rel=1e-6)
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    (weight_kl(far, torch.zeros(2), 1.0) + weight_entropy(far, 1.0)).backward()
    assert far.grad.tolist() == [0.0, 0.0]
    assert float(weight_kl(far.detach(), torch.zeros(2), 1.0)) == pytest.approx(2 * math.log(2))


def test_no_noise_and_no_gradient_where_there_is_no_variance():
    made = BinaryVariationalLinear(3, 2)
    zeros = torch.zeros(4, 3, requires_grad=True)
    z = made(zeros)
    assert z.abs().max() == 0
    z.square().sum().backward()
    assert torch.isfinite(zeros.grad).all()
    assert made.theta.grad.abs().max() == 0
    made.theta.data.fill_(1e3)
    made.theta.grad = None
    z = made(torch.ones(4, 3))
    torch.testing.assert_close(z, torch.full((4, 2), math.sqrt(3)))
    z.sum().backward()
    assert made.theta.grad.abs().max() == 0


def test_the_pre_activation_has_the_moments_of_drawn_weights():
    made = layer(theta=THETA)
    g = torch.Generator().manual_seed(0)
    drawn = torch.stack([made.sample_weights(g) for _ in range(4000)])
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    z = INPUTS @ drawn.transpose(1, 2) / math.sqrt(3)
    mean = made(INPUTS, sample=False)
    sd = made(INPUTS, noise=torch.ones_like(mean)) - mean
    assert ((z.mean(0) - mean).abs() < 5 * sd / math.sqrt(4000)).all()
    # The variance of a variance of bounded variables is below that of normal ones, 2 sd⁴/n.
    assert ((z.var(0) - sd**2).abs() < 5 * sd**2 * math.sqrt(2 / 4000)).all()


def test_samples_have_the_noise_that_is_said():
    made = BinaryVariationalLinear(5, 4).double()
    a = torch.randn(2, 3, 5, dtype=torch.float64)
    torch.manual_seed(3)
    drawn = made(a)
    torch.manual_seed(3)
    assert torch.equal(drawn, made(a, noise=torch.randn(2, 3, 4, dtype=torch.float64)))
    turned = made(a.transpose(0, 1), sample=False)
    torch.testing.assert_close(turned, made(a, sample=False).transpose(0, 1), atol=1e-12, rtol=0)


def test_likely_weights_and_empty_batches():
    made = layer(theta=torch.tensor([[0.0, -0.0, -1e-30, 2.0]], dtype=torch.float64))
    assert made.likely_weights().tolist() == [[1.0, 1.0, -1.0, 1.0]]
    assert made(torch.empty(0, 4, dtype=torch.float64)).shape == (0, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    made = BinaryVariationalLinear(512, 256).to(dtype)
    z = made(torch.randn(8, 512, dtype=dtype))
    assert z.dtype == dtype
    z.float().square().mean().backward()
    assert torch.isfinite(made.theta.grad).all()
    # Summed in float32: 131 072 weights of up to ln 2 nats are beyond float16's largest number.
    assert made.entropy().dtype == torch.float32
    exact = float(weight_entropy(made.theta.detach().double(), 1.0))
    # Some ten operations a weight, all of one sign.
    assert float(made.entropy().detach()) == pytest.approx(exact, abs=bound(exact, 10 + 256 * 512))


def test_evaluation_is_the_mean_unless_something_else_is_said():
    made = layer()
    mean = made(INPUTS, sample=False)
    assert not torch.equal(made(INPUTS), made(INPUTS))
    model = nn.Sequential(made).eval()
    assert torch.equal(model(INPUTS), mean)
    torch.testing.assert_close(mean, INPUTS @ made.mean().T / math.sqrt(3), atol=1e-12, rtol=0)
    assert not torch.equal(made(INPUTS, sample=True), mean)
    assert torch.equal(made(INPUTS, noise=NOISE), made.train()(INPUTS, noise=NOISE))
    assert torch.equal(made(INPUTS, sample=False), mean)


def test_it_is_made_as_a_linear_layer_is():
    made = BinaryVariationalLinear(in_features=3, out_features=2, device="meta", dtype=torch.bfloat16)
    assert (made.in_features, made.out_features) == (3, 2)
    assert (made.theta.shape, made.theta.device.type, made.theta.dtype) == ((2, 3), "meta", torch.bfloat16)
    a, b = (BinaryVariationalLinear(3, 2, generator=torch.Generator().manual_seed(1), device=d) for d in (None, "cpu"))
    assert torch.equal(a.theta, b.theta)
    assert torch.equal(a.theta.detach(), torch.randn(2, 3, generator=torch.Generator().manual_seed(1)))
    assert "in_features=3, out_features=2" in repr(a)


def test_beta_is_part_of_the_state():
    a, b = BinaryVariationalLinear(3, 2, beta=2.5), BinaryVariationalLinear(3, 2)
    b.load_state_dict(a.state_dict())
    assert b.beta == 2.5
    assert torch.equal(a.theta, b.theta)
    assert "beta=2.5" in repr(b)
    with pytest.raises(ValueError, match="slope of tanh"):
        b.beta = 0.0
    assert b.beta == 2.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BinaryVariationalLinear(0, 2), "sizes must be at least 1, got 0 and 2"),
        (lambda: BinaryVariationalLinear(2, 2, beta=-1.0), "slope of tanh"),
        (lambda: BinaryVariationalLinear(2, 2, beta=math.nan), "slope of tanh"),
        (lambda: layer()(torch.ones(2, 4).double()), r"expected inputs \[..., 3\], got \[2, 4\]"),
        (lambda: layer()(torch.tensor(1.0)), r"expected inputs \[..., 3\], got \[\]"),
        (lambda: layer()(INPUTS, noise=torch.ones(2)), r"noise \[2\] for a result \[2, 2\]"),
        (lambda: weight_kl(THETA, THETA[0], 1.0), r"shape \[2, 3\], its reference \[3\]"),
        (lambda: weight_kl(THETA, THETA, math.inf), "slope of tanh"),
        (lambda: weight_entropy(torch.ones(2, dtype=torch.long), 1.0), "theta: fields are real numbers"),
        (lambda: PosteriorPrior(nn.Linear(2, 2)), "Linear has no BinaryVariationalLinear"),
        (lambda: PosteriorPrior(layer(), when="never"), "'never'"),
        (lambda: PosteriorPrior(layer(), gamma=-1.0), "gamma must be at least 0"),
        (lambda: PosteriorPrior(layer()).penalty(-1.0), "share must be at least 0 and finite, got -1.0"),
        (lambda: PosteriorPrior(layer()).penalty(math.nan), "share must be at least 0 and finite, got nan"),
        (lambda: PosteriorPrior(layer(), gamma=0.0).penalty(math.inf), "share must be at least 0"),
        (lambda: layer(theta=THETA * math.nan).likely_weights(), "6 of 6 fields are NaN"),
        (lambda: layer(theta=THETA * math.nan).sample_weights(), "6 of 6 fields are NaN"),
        (lambda: beta_schedule(5, 5), "0 <= epoch < epochs"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_sums_of_half_precision_do_not_leave_its_range():
    made = BinaryVariationalLinear(512, 4).half()
    a, noise = torch.full((2, 512), 300.0).half(), torch.randn(2, 4).half()
    exact = layer(1.0, made.theta.detach().double())(a.double(), noise=noise.double())
    # Fields are rounded as they are; what is left is the rounding of means, variances and the result.
    found = made(a, noise=noise)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.double(), exact, rtol=2e-3, atol=2e-3 * 300 * math.sqrt(512))
    assert made(torch.ones(1, 512, dtype=torch.long), sample=False).dtype == torch.float16
