"""The binary perceptron: the sheet's numbers, gradients that survive certainty, and short runs of both tasks."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.dynamics.franz_parisi import (
    PerceptronTraining,
    binary_perceptron_loss,
    fit_perceptron,
    generalization_error,
    perceptron_task,
    related_teacher,
    weight_kl,
    weight_mean,
    weight_variance,
)
from entrokit.dynamics.franz_parisi.probit import log_tail

THETA = torch.tensor([0.5, -1.0, 0.2, 1.5], dtype=torch.float64)
REFERENCE = torch.tensor([0.3, -0.5, 0.0, 1.0], dtype=torch.float64)
X = torch.tensor([[1, 1, -1, 1], [-1, 1, 1, 1], [1, -1, -1, -1]], dtype=torch.float64)
Y = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("beta", "loss", "gradient", "kl", "kl_gradient"),
    [
        (
            1.0,
            1.766479,
            [-1.139166, 0.274942, 1.314358, 0.081374],
            0.134302,
            [0.157290, -0.209987, 0.192209, 0.090353],
        ),
        (
            2.0,
            1.410169,
            [-1.585985, 0.136617, 2.396820, 0.002566],
            0.198553,
            [0.335979, -0.141302, 0.684511, 0.019732],
        ),
    ],
)
def test_check_1_loss_kl_and_gradients(beta, loss, gradient, kl, kl_gradient):
    for function, expected, slope in (
        (lambda t: binary_perceptron_loss(t, X, Y, beta), loss, gradient),
        (lambda t: weight_kl(t, REFERENCE, beta), kl, kl_gradient),
    ):
        theta = THETA.clone().requires_grad_()
        found = function(theta)
        found.backward()
        assert float(found.detach()) == pytest.approx(expected, abs=1e-6)
        torch.testing.assert_close(theta.grad, torch.tensor(slope, dtype=torch.float64), atol=1e-6, rtol=0)


@given(st.lists(st.floats(-3.0, 3.0), min_size=4, max_size=4), st.sampled_from([0.5, 1.0, 2.0]))
def test_the_gradient_is_the_paper_s_formula(values, beta):
    theta = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    binary_perceptron_loss(theta, X, Y, beta).backward()
    m, variance = weight_mean(theta, beta).detach(), weight_variance(theta, beta).detach()
    S, field = variance.sum(), X @ m
    u = -Y * field / S.sqrt()
    hazard = -torch.exp(-0.5 * u * u) / math.sqrt(2 * math.pi) / (0.5 * torch.erfc(u / math.sqrt(2)))
    slope = Y[:, None] * beta * variance * (X * S + m * field[:, None]) * S**-1.5
    torch.testing.assert_close(theta.grad, (slope * hazard[:, None]).sum(0), atol=1e-9, rtol=1e-9)


def test_the_gradient_by_differences():
    theta = THETA.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: binary_perceptron_loss(t, X, Y, 1.5), (theta,))
    assert torch.autograd.gradgradcheck(lambda t: binary_perceptron_loss(t, X, Y, 1.5), (theta,))


@pytest.mark.parametrize("u", [-50.0, 0.0, 2000.0, 1e6])
def test_the_slope_of_ln_h_is_right_in_float32(u):
    # -u - 1/u + 2/u³ where u is large; torch's own gradient of log_ndtr is 14 % off at 2000 and 0 at 1e6.
    exact = {-50.0: 0.0, 0.0: -math.sqrt(2 / math.pi)}[u] if u <= 0 else -u - 1 / u
    at = torch.tensor(u, requires_grad=True)
    log_tail(at).backward()
    assert float(at.grad) == pytest.approx(exact, rel=1e-6, abs=1e-30)


def test_what_is_certainly_wrong_has_a_finite_loss_and_gradient():
    # u = 6e5: H underflows from 38 on; -ln H is u²/2 + ln u + ln √2π there.
    theta = torch.full((4,), 14.0, dtype=torch.float64, requires_grad=True)
    loss = binary_perceptron_loss(theta, torch.ones(1, 4).double(), -torch.ones(1).double(), 1.0)
    loss.backward()
    u = 4.0 / math.sqrt(16 * math.exp(-28.0))
    assert float(loss.detach()) == pytest.approx(u * u / 2 + math.log(u) + 0.5 * math.log(2 * math.pi), rel=1e-9)
    # d(u²/2)/dθ at u² = 16/S: 8/S² · 2 m σ², of each of four weights.
    assert theta.grad.tolist() == pytest.approx([8 / (16 * math.exp(-28.0)) ** 2 * 8 * math.exp(-28.0)] * 4, rel=1e-6)


def test_teachers_and_their_patterns():
    teacher = related_teacher(torch.ones(4000), 0.0, seeded())
    assert set(teacher.tolist()) == {-1.0, 1.0}
    for r0 in (-1.0, -0.5, 0.5, 1.0):
        overlap = float((related_teacher(teacher, r0, seeded(1)) * teacher).mean())
        assert abs(overlap - r0) <= 5 * math.sqrt((1 - r0**2) / 4000)
    task = perceptron_task(teacher[:101], 0.3, seeded(2))
    assert task.x.shape == (30, 101)
    assert set(task.x.unique().tolist()) == {-1.0, 1.0}
    assert torch.equal(task.y, torch.sign(task.x @ teacher[:101]))


def test_the_error_is_the_share_of_inputs_on_which_they_disagree():
    theta, teacher = torch.tensor([0.0, 1.0, -2.0, 0.5]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    assert generalization_error(theta, teacher) == pytest.approx(math.acos(0.5) / math.pi)
    assert generalization_error(teacher, teacher) == 0.0
    assert generalization_error(-teacher, teacher) == 1.0
    teacher = related_teacher(torch.ones(501), 0.0, seeded())
    theta = related_teacher(teacher, 0.6, seeded(1))
    x = 2.0 * torch.randint(2, (8_000, 501), generator=seeded(2)).float() - 1.0
    share = float((torch.sign(x @ theta) != torch.sign(x @ teacher)).double().mean())
    assert generalization_error(theta, teacher) == pytest.approx(share, abs=5 * math.sqrt(0.25 / 8_000))


def test_two_tasks_in_small_and_the_kl_protects_the_first():
    teacher = related_teacher(torch.ones(101), 0.0, seeded())
    task = perceptron_task(teacher, 2.0, seeded(1))
    first = fit_perceptron(task, PerceptronTraining(lr=0.02, epochs=60, batch=50), generator=seeded(2))
    assert generalization_error(first, teacher) < 0.3
    other = perceptron_task(related_teacher(teacher, 0.0, seeded(3)), 2.0, seeded(4))
    how = {"lr": 0.02, "weight_decay": 1e-3, "epochs": 120, "batch": None}
    held, free = (fit_perceptron(other, PerceptronTraining(gamma=g, **how), theta=first) for g in (1.0, 0.0))
    assert generalization_error(held, teacher) < generalization_error(free, teacher) - 0.05
    assert generalization_error(held, other.teacher) > generalization_error(free, other.teacher)
    still = fit_perceptron(other, PerceptronTraining(gamma=1e4, **how), theta=first)
    assert float(weight_kl(still, first, 1.0)) < 0.1 * float(weight_kl(held, first, 1.0))


def test_minibatches_carry_their_share_of_the_kl(monkeypatch):
    from entrokit.dynamics.franz_parisi import perceptron

    shares = []

    class Watched(torch.optim.SGD):
        def __init__(self, params, lr, weight_decay):
            super().__init__(params, lr=0.0)

        def step(self):
            shares.append(self.param_groups[0]["params"][0].grad.clone())

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    monkeypatch.setattr(perceptron, "weight_kl", lambda theta, start, beta: theta.sum())
    monkeypatch.setattr(perceptron, "binary_perceptron_loss", lambda theta, x, y, beta: 0.0 * theta.sum())
    task = perceptron_task(torch.ones(10), 1.0, seeded())
    fit_perceptron(task, PerceptronTraining(epochs=1, batch=4, gamma=0.5), theta=torch.zeros(10))
    assert [float(g[0]) for g in shares] == pytest.approx([0.2, 0.2, 0.1])
    shares.clear()
    fit_perceptron(task, PerceptronTraining(epochs=1, batch=4, gamma=0.5), generator=seeded())
    assert [float(g[0]) for g in shares] == [0.0, 0.0, 0.0]


def test_a_run_is_the_same_again_and_leaves_what_it_was_given():
    task = perceptron_task(torch.ones(20), 1.0, seeded())
    training = PerceptronTraining(epochs=2, batch=7)
    start = torch.randn(20, generator=seeded(1))
    given_start = start.clone()
    a, b = (fit_perceptron(task, training, theta=start, generator=seeded(2)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(start, given_start)
    assert not a.requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binary_perceptron_loss(THETA, X[:, :3], Y, 1.0), r"got \[4\], \[3, 3\], \[3\]"),
        (lambda: binary_perceptron_loss(THETA, X, Y[:2], 1.0), r"y \[P\]"),
        (lambda: binary_perceptron_loss(THETA, X, Y, 0.0), "slope of tanh"),
        (lambda: binary_perceptron_loss(THETA, X, (Y + 1) / 2, 1.0), "labels must be 1 or -1"),
        (lambda: generalization_error(THETA * math.nan, THETA), "4 of 4 fields are NaN"),
        (lambda: perceptron_task(torch.ones(3), math.nan), "is no pattern"),
        (lambda: perceptron_task(torch.ones(3), math.inf), "is no pattern"),
        (lambda: binary_perceptron_loss(THETA + math.nan, X, Y, 1.0), "no weight has a variance"),
        (lambda: binary_perceptron_loss(torch.full((4,), 1e4).double(), X, Y, 1.0), "no weight has a variance"),
        (lambda: related_teacher(torch.ones(3), 1.5), "r0 is an overlap"),
        (lambda: perceptron_task(torch.ones(3), 0.1), "is no pattern"),
        (lambda: generalization_error(torch.ones(3), torch.ones(2)), r"fields \[3\] for a teacher \[2\]"),
        (lambda: PerceptronTraining(epochs=0), "epochs and batch are at least 1, got 0"),
        (lambda: PerceptronTraining(batch=0), "got 800 and 0"),
        (lambda: PerceptronTraining(gamma=math.nan), "gamma"),
        (lambda: PerceptronTraining(beta=0.0), "slope of tanh"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_tasks_are_compared_by_identity():
    one, other = (perceptron_task(torch.ones(10), 1.0, seeded()) for _ in range(2))
    assert one != other
