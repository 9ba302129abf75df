"""Elastic weight consolidation: Fisher information in closed form, the penalty and its gradient."""

import copy
import io
import math
from functools import partial
from types import SimpleNamespace

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
    own, penalty = torch.ones(1, 2, dtype=torch.float64), ewc.penalty().item()
    ewc.consolidate({"weight": own})
    own.fill_(9.0)
    with torch.no_grad():
        model.weight.add_(1.0)
    assert ewc.penalty().item() == pytest.approx(1.5 * (0.5 * 0 + 2.0 * 1 + 1.0 * 4 + 2.0), abs=1e-12), "copies"
    assert penalty == pytest.approx(1.5 * (0.5 * 1 + 1.0 * 9), abs=1e-12)


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


def test_springs_survive_saving():
    model = classifier()
    ewc = EWC(model, strength=2.0)
    for shift in (0.0, 0.3):
        with torch.no_grad():
            model[0].weight.add_(shift)
        ewc.consolidate(diagonal_fisher(model, X))
    file = io.BytesIO()
    torch.save(ewc.state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        model[2].weight.sub_(0.1)
    again = copy.deepcopy(model)
    other = EWC(again, strength=7.0)
    saved = torch.load(file, weights_only=True)
    other.load_state_dict(saved)
    assert torch.equal(other.penalty(), ewc.penalty())
    assert ewc.penalty() > 0.0
    for mine, its in zip(
        *(torch.autograd.grad(e.penalty(), list(m.parameters())) for e, m in ((ewc, model), (other, again))),
        strict=True,
    ):
        assert torch.equal(mine, its)
    saved["tasks"][0]["weights"]["0.weight"].zero_()
    assert torch.equal(other.penalty(), ewc.penalty()), "copies"
    other.consolidate(diagonal_fisher(again, X))
    assert (len(other.tasks), other.strength) == (3, 2.0)
    single = EWC(copy.deepcopy(model).float(), 1.0)
    single.load_state_dict(ewc.state_dict())
    assert {part[name].dtype for task in single.tasks for part in task for name in part} == {torch.float32}


def test_a_state_that_is_not_of_these_springs_is_refused_and_nothing_loaded():
    model = nn.Linear(3, 4).double()
    ewc = EWC(model, strength=2.0)
    ewc.consolidate(diagonal_fisher(model, X))
    good = ewc.state_dict()
    fisher, weights = good["tasks"][0]["fisher"], good["tasks"][0]["weights"]

    def task(**parts):
        return {"strength": 1.0, "tasks": [good["tasks"][0], {"fisher": fisher, "weights": weights, **parts}]}

    bias = {"bias": weights["bias"]}
    for state, message in (
        ({"strength": 1.0}, "no state of an EWC; it lacks tasks"),
        ({"strength": -1.0, "tasks": []}, "strength must be finite and at least 0"),
        ({"strength": 1.0, "tasks": [{"fisher": fisher}]}, "task 0 lacks weights"),
        (task(fisher=bias), r"task 1: needs the Fisher .* differs at \['weight'\]"),
        (task(fisher={**fisher, "bias": -torch.ones(4)}), "task 1: bias needs finite values"),
        (task(weights=bias), r"task 1: weights need .* differ at \['weight'\]"),
        (task(weights={**weights, "bias": torch.zeros(3)}), r"differ at \['bias'\]"),
        (task(weights={**weights, "bias": torch.full((4,), math.nan)}), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            ewc.load_state_dict(state)
        assert (ewc.strength, len(ewc.tasks)) == (2.0, 1)


def test_rows_do_not_depend_on_others_and_modes_are_as_before():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 4)).double()
    model(X)
    wanted = diagonal_fisher(copy.deepcopy(model).eval(), X)
    model[2].eval()
    mean = model[1].running_mean.clone()
    for labels in (None, torch.zeros(7, dtype=torch.int32)):
        found = diagonal_fisher(model, X, labels)
        assert [module.training for module in model] == [True, True, False, True]
        assert torch.equal(model[1].running_mean, mean)
        if labels is None:
            assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    with pytest.raises(ValueError, match="labels lie"):
        diagonal_fisher(model, X, torch.full((7,), 4))
    assert model[1].training


def test_logits_of_an_output_object_are_taken():
    class Output(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return SimpleNamespace(logits=self.inner(x), loss=None)

    inner = nn.Linear(3, 4).double()
    found, wanted = diagonal_fisher(Output(inner), X), diagonal_fisher(inner, X)
    assert torch.equal(found["inner.weight"], wanted["weight"])


def test_a_classifier_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=4,
        patch_size=2,
        num_labels=3,
        attn_implementation="eager",
    )
    model = transformers.ViTForImageClassification(config)
    x, y = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2])
    found = diagonal_fisher(model, x, y)["classifier.bias"]
    p = model.eval()(x).logits.softmax(-1).detach()
    # Of the bias ∂ log p_y / ∂b = 1[y = c] - p_c.
    torch.testing.assert_close(found, (nn.functional.one_hot(y, 3) - p).square().mean(0))


def test_a_model_that_torch_func_cannot_run_is_named():
    class Branching(nn.Linear):
        def forward(self, x):
            return super().forward(x if bool(x.sum() > 0) else -x)

    with pytest.raises(RuntimeError, match="diagonal_fisher: torch.func cannot run this model input by input"):
        diagonal_fisher(Branching(3, 4).double(), X)


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
        (lambda m: diagonal_fisher(m, X, torch.zeros(7)), "labels are whole numbers, 0 to 3, got torch.float32"),
        (lambda m: diagonal_fisher(m, X, torch.arange(7)), "labels lie from 0 to 3, and 3 of 7 do not; the first is 4"),
        (lambda m: diagonal_fisher(m, X, torch.arange(7) - 7), "7 of 7 do not; the first is -7"),
        (lambda m: diagonal_fisher(m, X, torch.zeros(7, 1).long()), r"as many labels, got \[7, 1\]"),
        (lambda m: diagonal_fisher(nn.LSTM(3, 4).double(), X), "returns tuple, which is no tensor and has no logits"),
        (lambda m: diagonal_fisher(m, X * math.inf), "the information of weight, bias is NaN or infinite"),
        (lambda m: EWC(m, -1.0), "strength must be finite and at least 0, got -1"),
        (lambda m: EWC(m, math.nan), "strength"),
        (lambda m: EWC(nn.Flatten(), 1.0), "no trainable parameters"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": torch.zeros(4, 3)}), r"differs at \['bias'\]"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": torch.zeros(4, 3), "bias": torch.zeros(3)}), "bias needs finite"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": -torch.ones(4, 3), "bias": torch.zeros(4)}), "weight needs"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": math.inf * torch.ones(4, 3), "bias": torch.ones(4)}), "weight"),
        (lambda m: EWC(m, 1.0).consolidate({"weight": math.nan * torch.ones(4, 3), "bias": torch.ones(4)}), "weight"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        partial(call, nn.Linear(3, 4).double())()
