"""Lion-K as an optimiser: the sheet's steps, the battery, pieces, states, and input that must be refused."""

import copy
import io
import itertools
import math
import pickle
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from entrokit.optim.lion_k import LionK, convex
from entrokit.optim.lion_k import update as pieces
from entrokit.testing import optimizer_checks

from .lion_k_cases import OPTIONS, Smooth, draw, parameter

SUBJECTS = {
    "l1": partial(LionK, lr=0.01),
    "huber, implicit": partial(LionK, lr=0.01, K="huber", K_kwargs={"e": 0.5}, scheme="implicit"),
    "nuclear": partial(LionK, lr=0.01, K="nuclear"),
    "logsumexp": partial(LionK, lr=0.01, K="logsumexp", weight_decay=0.5),
    "own": lambda params, lr=0.01, **knobs: LionK(params, lr, K=Smooth(), **knobs),
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


def test_memory_is_one_buffer_of_the_parameters_dtype():
    params = [parameter(draw(3, 4), dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16)]
    optimizer = LionK(params)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    for p in params:
        assert optimizer.state[p].keys() == {"momentum"}
        assert optimizer.state[p]["momentum"].dtype == p.dtype
        assert optimizer.state[p]["momentum"].shape == p.shape


class Allocations(TorchDispatchMode):
    """The largest result, in elements, that an operation made new memory for."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage().data_ptr() for t in tensors_in((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            if tensor.untyped_storage().data_ptr() not in given:
                self.largest = max(self.largest, tensor.numel())
        return result


def tensors_in(tree):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("K", ["l1", "dead-zone", "huber", "half-square"])
def test_large_tensors_go_through_in_pieces_and_come_out_the_same(K, monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE_ON_CPU", 64)
    results = []
    for foreach in (True, False):
        params = [parameter(draw(*shape, seed=i)) for i, shape in enumerate([(30, 30), (3,), (5, 5), (9, 8), (2,)])]
        params.append(parameter(draw(100, 2, seed=7), torch.float32))
        optimizer = LionK(params, 0.01, weight_decay=0.1, K=K, K_kwargs=OPTIONS[K], foreach=foreach)
        for step in range(2):
            for i, p in enumerate(params):
                p.grad = draw(*p.shape, seed=10 * step + i, dtype=p.dtype)
            with Allocations() as made:
                optimizer.step()
        results.append([p.detach().clone() for p in params])
        assert (made.largest <= 64) == foreach, "momenta are there since the first step"
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_pieces_are_of_one_dtype_and_never_too_large(monkeypatch):
    sizes = [(torch.float64, 10), (torch.float64, 50), (torch.float32, 4), (torch.float32, 200), (torch.float64, 1)]
    moving = [pieces.Moving(*(torch.zeros(n, dtype=dtype) for _ in range(3))) for dtype, n in sizes]
    found = list(pieces._pieces(moving, elementwise=True))
    assert all(len({part.x.dtype for part in piece}) == 1 for piece in found)
    assert sum(part.x.numel() for piece in found for part in piece) == 265
    assert [len(piece) for piece in found] == [2, 2, 1]
    monkeypatch.setattr(pieces, "_PIECE_ON_CPU", 55)
    found = [[part.x.numel() for part in piece] for piece in pieces._pieces(moving, elementwise=True)]
    assert found == [[10], [50], [4], [55], [55], [55], [35], [1]]
    assert [len(piece) for piece in pieces._pieces(moving, elementwise=False)] == [1] * 5


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


def test_a_k_of_ones_own_that_gives_another_shape_is_named():
    class Flat(Smooth):
        def grad(self, z):
            return z.flatten()

    p = parameter(draw(2, 2))
    start, p.grad = p.detach().clone(), draw(2, 2)
    with pytest.raises(ValueError, match=r"Flat.grad gave shape \[4\] for a tensor of \[2, 2\]"):
        LionK([p], K=Flat()).step()
    assert torch.equal(p.detach(), start)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_gradient_that_is_not_finite_is_refused_before_anything_moves(value, dtype):
    first, second = parameter(draw(3), dtype), parameter(draw(2, 3), dtype)
    optimizer = LionK([{"params": [first]}, {"params": [parameter(draw(2)), second]}], 0.1, weight_decay=0.1)
    for p in (first, second):
        p.grad = torch.ones_like(p)
    optimizer.step()
    start = [p.detach().clone() for p in (first, second)]
    held = copy.deepcopy(optimizer.state_dict()["state"])
    second.grad[1, 2] = value
    with pytest.raises(ValueError, match=r"1 of 6 values in the gradient of parameter 1 of group 1, shape \[2, 3\]"):
        optimizer.step()
    assert all(torch.equal(p.detach(), s) for p, s in zip((first, second), start, strict=True))
    for index, state in optimizer.state_dict()["state"].items():
        assert torch.equal(state["momentum"], held[index]["momentum"])


def test_a_refused_first_step_leaves_no_state():
    p = parameter(draw(2))
    optimizer = LionK([("head.weight", p)])
    p.grad = torch.tensor([math.nan, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"1 of 2 values in the gradient of 'head.weight', shape \[2\]"):
        optimizer.step()
    assert not optimizer.state


@pytest.mark.parametrize(("dtype", "large"), [(torch.float16, 6e4), (torch.float32, 3e38), (torch.float64, 1e300)])
def test_large_gradients_whose_sum_overflows_are_fine(dtype, large):
    p = parameter(torch.zeros(4), dtype)
    p.grad = torch.full_like(p, large)
    LionK([p], 0.5).step()
    assert p.tolist() == [-0.5] * 4


def test_sparse_gradients_are_refused_before_anything_moves():
    first, table = parameter(draw(3)), parameter(draw(4, 2))
    first.grad, table.grad = torch.ones(3, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64).to_sparse()
    start = first.detach().clone()
    with pytest.raises(ValueError, match="parameter 1 of group 0.* is sparse"):
        LionK([first, table]).step()
    assert torch.equal(first.detach(), start)


def test_empty_groups_and_empty_tensors_are_passed_over():
    empty, p = parameter(torch.zeros(0, 3)), parameter(draw(2))
    for K in ("l1", "l2", "nuclear", "logsumexp"):
        optimizer = LionK([{"params": []}, {"params": [empty]}, {"params": [p], "K": "l1"}], 0.1, K=K)
        empty.grad, p.grad = torch.zeros_like(empty), torch.ones_like(p)
        optimizer.step()
        assert list(optimizer.state) == [p]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"lr": -1.0}, "lr must be a number of at least 0, got -1.0"),
        ({"lr": math.nan}, "lr must be"),
        ({"lr": torch.ones(2)}, r"lr is one number, got a tensor of shape \[2\]"),
        ({"weight_decay": math.inf}, "weight_decay must be a number of at least 0, got inf"),
        ({"betas": (0.9, 1.0)}, r"betas are two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ({"betas": (0.9,)}, "betas are two numbers"),
        ({"betas": 0.9}, r"betas are two numbers in \[0, 1\), got 0.9"),
        ({"betas": "99"}, "betas are two numbers"),
        ({"lr": None}, "lr must be a number of at least 0, got None"),
        ({"K": 1}, "1 lacks elementwise, least_at_zero, value, grad, distance"),
        ({"K": None}, "None lacks elementwise"),
        ({"K": Smooth}, "Smooth is a class; make one of it"),
        ({"scheme": "semi"}, "scheme is one of explicit, implicit, got 'semi'"),
        ({"K": "sign"}, "'sign' is none of l1"),
        ({"K": "huber"}, "'huber' with options"),
        ({"K": Smooth(), "K_kwargs": {"e": 1.0}}, "K_kwargs are for a K given by name"),
        ({"K": "nuclear"}, r"shape \[3\]"),
    ],
)
def test_bad_knobs_are_named(knobs, message):
    with pytest.raises(ValueError, match=message):
        LionK([parameter(draw(3))], **knobs)


def test_a_group_that_is_refused_is_not_added():
    optimizer = LionK([parameter(draw(2, 2))], K="nuclear")
    for group in ({"params": [parameter(draw(3))]}, {"params": [parameter(draw(2, 2))], "betas": (1.0, 1.0)}):
        with pytest.raises(ValueError, match=r"shape \[3\]|betas"):
            optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("member", ["elementwise", "least_at_zero", "value", "grad", "conjugate", "distance"])
def test_a_k_of_ones_own_that_lacks_a_member_is_refused_by_name(member):
    lacking = type("Partial", (Smooth,), {member: None})()
    with pytest.raises(ValueError, match=f"lacks {member}$"):
        LionK([parameter(draw(3))], K=lacking)
    optimizer = LionK([parameter(draw(3))])
    with pytest.raises(ValueError, match=f"lacks {member}$"):
        optimizer.add_param_group({"params": [parameter(draw(3))], "K": lacking})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("peer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
@pytest.mark.parametrize("steps", [0, 1])
def test_another_optimizer_s_state_is_refused_with_what_it_lacks(peer, steps):
    p = parameter(draw(3))
    p.grad = torch.ones_like(p)
    other, optimizer = peer([p], lr=0.7), LionK([p], 0.1)
    for _ in range(steps):
        other.step()
    optimizer.step()
    held = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=r"no LionK's state; group 0 lacks .*K, K_kwargs, .*scheme"):
        optimizer.load_state_dict(other.state_dict())
    broken = copy.deepcopy(held)
    broken["state"][0] = {"exp_avg": torch.zeros(3)}
    with pytest.raises(ValueError, match="parameter 0 lacks momentum, and has exp_avg"):
        optimizer.load_state_dict(broken)
    broken["param_groups"][0]["betas"] = 0.9
    with pytest.raises(ValueError, match="betas are two numbers"):
        optimizer.load_state_dict(broken)
    with pytest.raises(ValueError, match="lacks param_groups, state"):
        optimizer.load_state_dict({"weight": p})
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert torch.equal(optimizer.state[p]["momentum"], held["state"][0]["momentum"])


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


def test_explicit_decay_beyond_zero_is_refused_before_anything_moves():
    first, second = parameter(draw(3)), parameter(draw(2))
    optimizer = LionK([{"params": [first]}, {"params": [second], "weight_decay": 3.0}], 1.0)
    first.grad, second.grad = torch.ones_like(first), torch.ones_like(second)
    start = [first.detach().clone(), second.detach().clone()]
    with pytest.raises(ValueError, match="lr 1 times weight_decay 3 is above 1 in group 1.*implicit"):
        optimizer.step()
    optimizer.param_groups[1].update(weight_decay=0.0, betas=0.9)
    with pytest.raises(ValueError, match="betas are two numbers"):
        optimizer.step()
    assert all(torch.equal(p.detach(), s) for p, s in zip((first, second), start, strict=True))
    assert not optimizer.state
    # As a scheduler does, whose lr is within bounds when it is time to step; and where nothing turns around.
    optimizer.param_groups[1].update(lr=1 / 3, weight_decay=3.0, betas=(0.9, 0.99))
    optimizer.step()
    optimizer.param_groups[1].update(lr=1.0, scheme="implicit")
    optimizer.step()
    assert bool(second.detach().abs().max() <= 1 / 3 + 1e-12)
