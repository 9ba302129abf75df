"""Elastic weight consolidation: Fisher information in closed form, the penalty and its gradient."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from entrokit.optim.classp import EWC, diagonal_fisher

X = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def classifier(classes=4):
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, classes)).double()


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_the_fisher_information_of_a_softmax_regression(chunk):
    model = nn.Linear(3, 4).double()
    p = model(X).softmax(-1).detach()
    found = diagonal_fisher(model, X, chunk=chunk)
    # ∂ log p_y / ∂ w_cd = (1[y = c] - p_c) x_d, whose square is p_c (1 - p_c) x_d² on average.
    torch.testing.assert_close(found["bias"], (p * (1 - p)).mean(0), atol=1e-12, rtol=0)
    torch.testing.assert_close(found["weight"], (p * (1 - p)).T @ X.square() / len(X), atol=1e-12, rtol=0)


def test_labels_give_their_own_scores_and_on_average_the_expectation():
    model = classifier()
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    wanted = {name: torch.zeros_like(param) for name, param in model.named_parameters()}
    for x, y in zip(X, labels, strict=True):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[None]), y[None]).backward()
        for name, param in model.named_parameters():
            wanted[name] += param.grad.square() / len(X)
    model.zero_grad()
    found = diagonal_fisher(model, X, labels, chunk=2)
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=1e-12, rtol=0)
    p = model(X).softmax(-1).detach()
    mean = sum(
        p[i, c] / len(X) * diagonal_fisher(model, X[i : i + 1], torch.tensor([c]))["0.weight"]
        for i in range(len(X))
        for c in range(4)
    )
    torch.testing.assert_close(diagonal_fisher(model, X)["0.weight"], mean, atol=1e-12, rtol=0)
    assert all(param.grad is None for param in model.parameters())


def test_the_fisher_information_is_the_curvature_of_the_divergence_from_the_model():
    model, step = nn.Linear(3, 4).double(), 1e-4
    fisher = diagonal_fisher(model, X)["weight"][1, 2]
    old = model(X).log_softmax(-1).detach()

    def divergence(shift):
        with torch.no_grad():
            model.weight[1, 2] += shift
            kl = nn.functional.kl_div(model(X).log_softmax(-1), old, log_target=True, reduction="batchmean")
            model.weight[1, 2] -= shift
        return float(kl)

    curvature = (divergence(step) + divergence(-step)) / step**2
    # Rounding of the divergences, 1e-16 each, over the square of the step.
    assert curvature == pytest.approx(float(fisher), abs=1e-7)


def test_squares_of_batch_gradients_as_the_released_baseline_takes_them_are_too_small():
    model, batch = classifier(), 4
    x, y = X[:1].expand(3 * batch, 3), torch.full((3 * batch,), 2)
    released = torch.zeros_like(model[0].weight)
    for rows in torch.arange(len(x)).split(batch):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        released += model[0].weight.grad.square() / len(x)
    torch.testing.assert_close(diagonal_fisher(model, x, y)["0.weight"], batch * released, atol=1e-12, rtol=0)


def test_the_penalty_is_a_spring_for_every_task():
    model = nn.Linear(2, 1, bias=False).double()
    ewc = EWC(model, strength=3.0)
    assert ewc.penalty().item() == 0.0
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0]]))
    ewc.consolidate({"weight": torch.tensor([[0.5, 2.0]], dtype=torch.float64)})
    assert ewc.penalty().item() == 0.0
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 1.0]]))
    assert ewc.penalty().item() == pytest.approx(1.5 * (0.5 * 4 + 2.0 * 1), abs=1e-12)
    ewc.consolidate({"weight": torch.tensor([[1.0, 0.0]], dtype=torch.float64)})
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 2.0]]))
    assert ewc.penalty().item() == pytest.approx(1.5 * (0.5 * 1 + 1.0 * 9), abs=1e-12)
    ewc.penalty().backward()
    torch.testing.assert_close(model.weight.grad, torch.tensor([[3.0 * (-0.5 - 3.0), 0.0]], dtype=torch.float64))
    assert [set(part) for part in ewc.tasks[0]] == [{"weight"}, {"weight"}]


def test_the_gradient_of_the_penalty_is_its_difference():
    model = classifier()
    ewc = EWC(model, strength=2.0)
    ewc.consolidate(diagonal_fisher(model, X))
    weight = model[0].weight
    with torch.no_grad():
        weight.add_(0.3)
    (gradient,) = torch.autograd.grad(ewc.penalty(), weight)
    with torch.no_grad():
        # The penalty is quadratic: central differences are exact.
        weight[2, 1] += 0.1
        above = ewc.penalty()
        weight[2, 1] -= 0.2
        below = ewc.penalty()
    assert float(above - below) / 0.2 == pytest.approx(float(gradient[2, 1]), abs=1e-9)


def test_tied_and_frozen_weights():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).double()
    model[1].weight = model[0].weight
    model[0].bias.requires_grad_(False)
    assert set(diagonal_fisher(model, X)) == {"0.weight", "1.bias"}
    EWC(model, 1.0).consolidate(diagonal_fisher(model, X))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: diagonal_fisher(m, X[:0]), "needs inputs"),
        (lambda m: diagonal_fisher(m, X, chunk=0), "chunk >= 1"),
        (lambda m: diagonal_fisher(m, X, torch.zeros(3, dtype=torch.long)), r"7 inputs need as many labels, got \[3\]"),
        (lambda m: diagonal_fisher(nn.Flatten(0), X), "no trainable parameters"),
        (lambda m: diagonal_fisher(nn.Sequential(m, nn.Flatten(0)), X), r"logits must be \[7, classes\], got \[28\]"),
        (lambda m: EWC(m, -1.0), "strength must be finite and at least 0, got -1"),
        (lambda m: EWC(m, math.nan), "strength"),
        (lambda m: EWC(nn.Flatten(), 1.0), "no trainable parameters"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": torch.zeros(4, 3)}), r"differs at \['bias'\]"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": torch.zeros(4, 3), "bias": torch.zeros(3)}), "bias needs finite"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": -torch.ones(4, 3), "bias": torch.zeros(4)}), "weight needs"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": math.nan * torch.ones(4, 3), "bias": torch.ones(4)}), "weight"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        partial(call, nn.Linear(3, 4).double())()
