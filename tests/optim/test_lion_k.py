"""Lion-K as an optimiser: the sheet's steps, the battery, pieces, states, and input that must be refused."""

import copy
import io
import itertools
import pickle
from functools import partial

import pytest
import torch

from entrokit.optim.lion_k import LionK, convex
from entrokit.testing import optimizer_checks

from .lion_k_cases import OPTIONS, Smooth, draw, parameter

SUBJECTS = {
    "l1": partial(LionK, lr=0.01),
    "huber, implicit": partial(LionK, lr=0.01, K="huber", K_kwargs={"e": 0.5}, scheme="implicit"),
    "nuclear": partial(LionK, lr=0.01, K="nuclear"),
    "logsumexp": partial(LionK, lr=0.01, K="logsumexp", weight_decay=0.5),
}


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{check}")
        for name, subject in SUBJECTS.items()
        for check in optimizer_checks(subject)
    ],
)
def test_it_keeps_what_an_optimizer_promises(check):
    check()


def stepped(x, g, m=None, **knobs):
    """Parameter and momentum after one step from given ones."""
    p = parameter(x)
    optimizer = LionK([p], **knobs)
    if m is not None:
        optimizer.state[p]["momentum"] = torch.as_tensor(m, dtype=p.dtype).clone()
    p.grad = torch.as_tensor(g, dtype=p.dtype)
    optimizer.step()
    return p.detach(), optimizer.state[p]["momentum"]


def run(steps, *, seed=0, **knobs):
    """Where gradients that are drawn, and do not depend on the scheme, lead."""
    p = parameter(3.0 * draw(4, 5, seed=seed))
    optimizer = LionK([p], **knobs)
    for step in range(steps):
        p.grad = draw(4, 5, seed=1000 + step)
        optimizer.step()
    return p.detach()


@pytest.mark.parametrize(
    ("scheme", "wanted"),
    [("explicit", [0.5075, -2.0, -0.01, 1.204]), ("implicit", [0.507463, -2.0, -0.009950, 1.203980])],
)
def test_check_1_one_step(scheme, wanted):
    x, m = stepped(
        [0.5, -2.0, 0.0, 1.2],
        [-0.3, 0.4, 0.5, -0.6],
        [0.1, -0.2, 0.05, 0.0],
        betas=(0.9, 0.99),
        lr=0.01,
        weight_decay=0.5,
        scheme=scheme,
    )
    torch.testing.assert_close(x, torch.tensor(wanted, dtype=torch.float64), atol=5e-7, rtol=0)
    torch.testing.assert_close(m, torch.tensor([0.102, -0.202, 0.0445, 0.006]).double(), atol=1e-8, rtol=0)


def test_check_1_the_direction_uses_the_old_momentum_and_follows_minus_the_gradient():
    # With K = ‖z‖²/2 the step is the blend itself.
    blend, _ = stepped([0.0] * 4, [-0.3, 0.4, 0.5, -0.6], [0.1, -0.2, 0.05, 0.0], K="half-square", lr=1.0)
    torch.testing.assert_close(blend, torch.tensor([0.12, -0.22, -0.005, 0.06]).double(), atol=1e-8, rtol=0)


def test_check_5_the_distance_to_the_box_shrinks():
    p, weight_decay, lr = parameter(5.0 * draw(6)), 0.5, 0.1
    optimizer = LionK([p], lr, weight_decay=weight_decay, scheme="implicit")
    distance = [float((p.detach().abs().max() - 2.0).clamp(min=0))]
    for step in range(60):
        p.grad = draw(6, seed=step)
        optimizer.step()
        distance.append(float((p.detach().abs().max() - 2.0).clamp(min=0)))
    assert distance[0] > 1.0
    for before, after in itertools.pairwise(distance):
        assert after <= before / (1 + lr * weight_decay) + 1e-12
    p = parameter([3.0, -4.0])
    optimizer = LionK([p], lr, weight_decay=weight_decay, scheme="implicit")
    for _ in range(5):
        outside = p.detach().abs() - 2.0
        p.grad = -p.detach().sign()
        optimizer.step()
        torch.testing.assert_close(
            (p.detach().abs() - 2.0) / outside, torch.full((2,), 0.952381).double(), atol=5e-7, rtol=0
        )


@pytest.mark.parametrize("name", OPTIONS)
def test_check_6_both_schemes_are_one(name):
    lr, weight_decay = 0.05, 0.8
    knobs = {"K": name, "K_kwargs": OPTIONS[name], "weight_decay": weight_decay}
    implicit = run(100, lr=lr, scheme="implicit", **knobs)
    explicit = run(100, lr=lr / (1 + lr * weight_decay), **knobs)
    torch.testing.assert_close(explicit, implicit, atol=1e-12, rtol=0)
    assert not torch.allclose(implicit, run(100, lr=lr, **knobs), atol=1e-6)


def test_a_coordinate_without_direction_only_decays():
    x, m = stepped([1.0, 1.0], [0.0, 0.5], lr=0.1, weight_decay=0.5)
    torch.testing.assert_close(x, torch.tensor([0.95, 0.85], dtype=torch.float64), atol=1e-12, rtol=0)
    assert m.tolist() == pytest.approx([0.0, -0.005])


def test_the_sign_of_the_momentum_matters_where_k_is_not_even():
    """Softmax of MINUS the gradient's average; released Lions keep plus, and subtract."""
    g = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    x, _ = stepped([0.0] * 3, g, K="logsumexp", lr=1.0, betas=(0.0, 0.99))
    torch.testing.assert_close(x, torch.softmax(-g, 0), atol=1e-12, rtol=0)
    assert float((x + torch.softmax(g, 0)).abs().max()) > 0.1


def test_tied_weights_are_one_parameter():
    first = torch.nn.Linear(4, 4, bias=False)
    model = torch.nn.Sequential(first, torch.nn.ReLU(), first)
    start = first.weight.detach().clone()
    optimizer = LionK(model.parameters(), 0.01)
    model(draw(2, 4, dtype=torch.float32)).sum().backward()
    expected = start - 0.01 * first.weight.grad.sign()
    optimizer.step()
    assert torch.equal(first.weight.detach(), expected)


def test_a_group_has_a_k_to_itself():
    matrix, bias, other = parameter(draw(3, 3)), parameter(draw(3)), parameter(draw(3))
    optimizer = LionK(
        [{"params": [matrix]}, {"params": [bias], "K": "l1"}, {"params": [other], "K": convex("huber", e=0.5)}],
        0.1,
        K="nuclear",
        K_kwargs={"newton_schulz": 5},
    )
    assert [(group["K"], group["K_kwargs"]) for group in optimizer.param_groups] == [
        ("nuclear", {"newton_schulz": 5}),
        ("l1", {}),
        ("huber", {"e": 0.5}),
    ]
    start = bias.detach().clone()
    for p in (matrix, bias, other):
        p.grad = torch.ones_like(p)
    optimizer.step()
    torch.testing.assert_close(bias.detach(), start - 0.1)


def test_a_k_of_ones_own_is_known_by_name_and_its_state_is_plain():
    p = parameter(draw(4))
    own, second = Smooth(), Smooth()
    optimizer = LionK([{"params": [p]}, {"params": [parameter(draw(2))], "K": second}], 0.1, K=own)
    assert [group["K"] for group in optimizer.param_groups] == ["Smooth", "Smooth-2"]
    assert [optimizer.convex(group) for group in optimizer.param_groups] == [own, second]
    p.grad = draw(4, seed=1)
    start = p.detach().clone()
    optimizer.step()
    direction = Smooth().grad(-0.1 * p.grad)
    torch.testing.assert_close(p.detach(), start + 0.1 * direction, atol=1e-12, rtol=0)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert isinstance(twin.convex(twin.param_groups[1]), Smooth)
    stranger = LionK([{"params": [p]}, {"params": [parameter(draw(2))]}], 0.1)
    stranger.load_state_dict(saved)
    before = p.detach().clone()
    with pytest.raises(ValueError, match="'Smooth' is none of l1"):
        stranger.step()
    assert torch.equal(p.detach(), before)


def test_a_momentum_that_was_only_asked_for_leaves_no_state():
    p = parameter(draw(3))
    optimizer = LionK([p])
    assert torch.equal(optimizer.momentum(p), torch.zeros_like(p))
    assert not optimizer.state


def test_a_released_lion_s_average_is_minus_the_momentum():
    """The recipe of the docs page: a run of x ← (1 − ελ)x − ε sign(β1 m + (1−β1) g) goes on as it was."""
    x, average = draw(4), 0.1 * draw(4, seed=1)
    p = parameter(x)
    optimizer = LionK([p], 0.01, weight_decay=0.1)
    optimizer.state[p]["momentum"] = -average
    for step in range(5):
        g = draw(4, seed=10 + step)
        x = 0.999 * x - 0.01 * (0.9 * average + 0.1 * g).sign()
        average = 0.99 * average + 0.01 * g
        p.grad = g
        optimizer.step()
    torch.testing.assert_close(p.detach(), x, atol=1e-12, rtol=0)
    torch.testing.assert_close(optimizer.state[p]["momentum"], -average, atol=1e-12, rtol=0)
