"""`RadiusClip`: the battery, the step that is left, what it is measured on, and what it refuses."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from entrokit.optim.radius import RadiusClip, normalized_step
from entrokit.testing import optimizer_checks

from .radius_network import X, Y, adamw, backward, moved, network, values


class Loose(nn.Module):
    """Logits made of parameters of any shape and dtype."""

    def __init__(self, params):
        super().__init__()
        for i, p in enumerate(params):
            self._parameters[f"p{i}"] = p

    def forward(self, x):
        real = [torch.view_as_real(p) if p.is_complex() else p for p in self._parameters.values()]
        logits = torch.stack([torch.zeros((), dtype=torch.float64), *(p.double().sum() for p in real)])
        return x[:, None] * logits


def loose(params, lr=0.1, momentum=0.9, weight_decay=0.0, foreach=None, maximize=False):
    """So small a target that steps of the battery are shortened, on samples that are drawn."""
    options = {"momentum": momentum, "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize}
    inner = torch.optim.SGD(params, lr=lr, **options)
    model = Loose([p for group in inner.param_groups for p in group["params"]])
    samples = torch.linspace(0.5, 1, 4, dtype=torch.float64)
    return RadiusClip(inner, model, 0.05, samples=samples, max_samples=2)


@pytest.mark.parametrize("check", optimizer_checks(loose), ids=str)
def test_it_keeps_what_an_optimizer_promises(check):
    check()


def test_a_long_step_is_the_same_step_at_r_one():
    plain, clipped = network(), network()
    before = values(plain)
    free, optimizer = adamw(plain, 30.0), RadiusClip(adamw(clipped, 30.0), clipped)
    backward(plain), backward(clipped)
    free.step(), optimizer.step()
    p, s = moved(plain, before), moved(clipped, before)
    evaluated = network()
    assert optimizer.last.r == pytest.approx(normalized_step(evaluated, X, p), rel=1e-12)
    assert optimizer.last.r > 10
    assert normalized_step(evaluated, X, s) == pytest.approx(1.0, rel=1e-9)
    assert optimizer.last.scale == pytest.approx(1 / optimizer.last.r)
    norm = math.sqrt(sum(float(u.square().sum()) for u in p.values()))
    assert optimizer.last.norm == pytest.approx(norm, rel=1e-12)
    assert optimizer.last.radius == pytest.approx(norm / optimizer.last.r, rel=1e-12)
    for name in p:
        torch.testing.assert_close(s[name], optimizer.last.scale * p[name], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("target", [1.0, math.inf])
def test_a_short_step_is_left_bit_for_bit(target):
    plain, clipped = network(), network()
    free, optimizer = adamw(plain, 1e-3), RadiusClip(adamw(clipped, 1e-3), clipped, target)
    for _ in range(3):
        for model, own in ((plain, free), (clipped, optimizer)):
            own.zero_grad()
            backward(model)
            own.step()
        assert 0 < optimizer.last.r < 1
        assert optimizer.last.scale == 1.0
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), clipped.parameters(), strict=True))


def test_an_infinite_target_measures_alone():
    model = network()
    optimizer = RadiusClip(adamw(model, 30.0), model, math.inf)
    backward(model)
    optimizer.step()
    assert optimizer.last.r > 10
    assert optimizer.last.scale == 1.0


@pytest.mark.parametrize("lr", [1e-4, 30.0])
def test_exactly_sets_the_step_whatever_the_rate(lr):
    model = network()
    before, optimizer = values(model), RadiusClip(torch.optim.SGD(model.parameters(), lr=lr), model, 0.5, exactly=True)
    backward(model)
    optimizer.step()
    assert normalized_step(network(), X, moved(model, before)) == pytest.approx(0.5, rel=1e-6)


def test_all_micro_batches_of_a_step_count_and_only_training():
    model = network()
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=1.0), model)
    backward(model, X[:2]), backward(model, 9 * X[:3])
    model.eval()(1e6 * X)
    with torch.no_grad():
        model.train()(1e6 * X)
    before, copied = values(model), copy.deepcopy(model)
    optimizer.step()
    assert (optimizer.last.rows, optimizer.last.of) == (5, 5)
    p = {n: u / optimizer.last.scale for n, u in moved(model, before).items()}
    worst = max(normalized_step(copied, X[:2], p), normalized_step(copied, 9 * X[:3], p))
    assert optimizer.last.r == pytest.approx(worst, rel=1e-9)
    with pytest.raises(RuntimeError, match="not called in training mode since the last step"):
        optimizer.step()


def test_rows_are_drawn_anew_and_the_error_is_told():
    model = network()
    # Steps so short that only the draw tells them apart.
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=1e-9), model, max_samples=2)
    found = set()
    for _ in range(8):
        optimizer.zero_grad()
        backward(model)
        optimizer.step()
        assert (optimizer.last.rows, optimizer.last.of, optimizer.last.beyond) == (2, 6, 1 / 3)
        assert 0.0 <= optimizer.last.shortfall < 1.0
        found.add(round(optimizer.last.shortfall, 4))
    assert len(found) > 1


def test_inputs_may_be_given():
    model = network()
    for inputs in (X, (X,), {"input": X}):
        optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=1.0), model, samples=inputs)
        backward(model)
        optimizer.step()
        fixed = optimizer.last.of
        backward(model)
        optimizer.step(inputs=X[:2])
        assert (fixed, optimizer.last.of) == (6, 2)


def test_lbfgs_steps_by_its_closure():
    model = network()
    optimizer = RadiusClip(torch.optim.LBFGS(model.parameters(), lr=30.0, max_iter=4), model, 0.5)

    def closure():
        optimizer.zero_grad()
        return backward(model)

    before, first = values(model), network()
    optimizer.step(closure)
    assert optimizer.last.r > 0.5
    assert normalized_step(first, X, moved(model, before)) <= 0.5 * (1 + 1e-9)


def test_a_state_goes_from_and_to_the_bare_optimizer():
    model, other = network(), network()
    optimizer = RadiusClip(adamw(model, 0.1), model)
    backward(model)
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    bare = adamw(other, 5.0)
    bare.load_state_dict(state)
    assert bare.param_groups[0]["lr"] == 0.1
    assert len(bare.state) == 4
    again = RadiusClip(adamw(other, 5.0), other)
    again.load_state_dict(bare.state_dict())
    assert again.param_groups is again.optimizer.param_groups
    assert again.state is again.optimizer.state
    assert again.state_dict()["radius"] == {"steps": 0}
    assert optimizer.state_dict()["radius"] == {"steps": 1}


def test_accelerate_prepares_it_and_a_scheduler_drives_it():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = network(torch.float32)
    optimizer = RadiusClip(adamw(model, 30.0), model)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (1 + step))
    model, prepared, scheduler = accelerator.prepare(model, optimizer, scheduler)
    for step in range(3):
        prepared.zero_grad()
        loss = nn.functional.cross_entropy(model(X.float()), Y)
        accelerator.backward(loss)
        prepared.step()
        scheduler.step()
        assert optimizer.optimizer.param_groups[0]["lr"] == pytest.approx(30.0 / (2 + step))
        assert optimizer.last.r > 1.0 > optimizer.last.scale
    prepared.load_state_dict(prepared.state_dict())
    assert optimizer.state_dict()["radius"] == {"steps": 3}


def test_all_ranks_shorten_alike(monkeypatch):
    """Another rank's r is the larger one."""
    model = network()
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=1e-3), model)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x, op: x.fill_(8 * math.pi))
    backward(model)
    optimizer.step()
    assert optimizer.last.r == pytest.approx(8.0, rel=1e-6)
    assert optimizer.last.scale == pytest.approx(0.125, rel=1e-6)


def test_half_precision_is_measured_forward():
    model, exact = network(torch.bfloat16), network()
    exact.load_state_dict({n: p.double() for n, p in model.state_dict().items()})
    before = values(model)
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=0.1), model, math.inf)
    backward(model)
    optimizer.step()
    p = {n: u.double() for n, u in moved(model, before).items()}
    # Two layers of sums of up to 8 products, rounded to 8 binary digits.
    assert optimizer.last.r == pytest.approx(normalized_step(exact, X.bfloat16().double(), p), rel=16 * 2**-8)
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=0.1), model, method="difference")
    before = values(model)
    backward(model)
    with pytest.raises(ValueError, match="too few digits"):
        optimizer.step()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_a_segmentation_is_clipped_over_its_classes():
    torch.manual_seed(0)
    model = nn.Conv2d(1, 3, 3, padding=1).double()
    x, y = torch.randn(2, 1, 5, 7, dtype=torch.float64), torch.randint(3, (2, 5, 7))
    before = values(model)
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=100.0), model, class_dim=1)
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    p = moved(model, before)
    slopes = nn.functional.conv2d(x, p["weight"], p["bias"], padding=1)
    assert float((slopes.amax(1) - slopes.amin(1)).max()) == pytest.approx(math.pi, rel=1e-9)
    assert optimizer.last.r > 1.0
    assert (optimizer.last.rows, optimizer.last.of) == (2, 2)


@pytest.mark.parametrize("flat", [False, True])
def test_a_sigmoid_is_clipped(flat):
    torch.manual_seed(0)
    linear = nn.Linear(4, 1).double()
    model = nn.Sequential(linear, nn.Flatten(0)) if flat else linear
    before = values(linear)
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=100.0), model, class_dim=None if flat else -1)
    z = model(X)
    nn.functional.binary_cross_entropy_with_logits(z, (Y > 0).double().view_as(z)).backward()
    optimizer.step()
    p = moved(linear, before)
    assert float((X @ p["weight"].T + p["bias"]).abs().max()) == pytest.approx(math.pi, rel=1e-9)
    assert optimizer.last.r > 1.0


def test_a_flat_output_is_refused_and_nothing_moved():
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)).double()
    optimizer = RadiusClip(torch.optim.SGD(model.parameters(), lr=1.0), model)
    before = values(model)
    model(X).sum().backward()
    with pytest.raises(ValueError, match=r"logits \[6\], whose dimension -1 is that of the samples"):
        optimizer.step()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target_r": 0.0}, "target_r: must be above 0"),
        ({"target_r": math.nan}, "target_r: must be above 0"),
        ({"target_r": math.inf, "exactly": True}, "finite"),
        ({"max_samples": 0}, "max_samples must be at least 1"),
        ({"method": "hessian"}, "method: must be one of"),
        ({"reduction": "mean"}, "reduction: must be"),
        ({"class_dim": 0}, "class_dim: dimension 0 is that of the samples"),
    ],
)
def test_options_out_of_range_are_named(options, says):
    model = network()
    with pytest.raises(ValueError, match=says):
        RadiusClip(adamw(model, 0.1), model, **options)


def test_what_is_no_optimizer_or_of_another_model_is_refused():
    model, other = network(), network()
    with pytest.raises(TypeError, match="expected an optimiser and a module, got Sequential"):
        RadiusClip(model, model)
    optimizer = RadiusClip(adamw(model, 0.1), other, samples=X)
    backward(model)
    with pytest.raises(ValueError, match="none of the optimiser's parameters is one of the model's"):
        optimizer.step()
