"""PLD's gradients in training: once, under a loss scale, and by a teacher that is more exact than the student."""

import gc
import weakref

import pytest
import torch

from entrokit.losses.pld import TeacherHead, TopKTeacher, linear_pld_loss, pld_loss, topk_pld_loss

from ..rounding import assert_within, bound
from .ranked import S, T, Y, gradient_of, term_by_term

G = torch.Generator().manual_seed(0)
HIDDEN, THEIRS = (torch.randn(2, 3, generator=G, dtype=torch.float64) for _ in range(2))
WEIGHT, THEIR_WEIGHT = (torch.randn(4, 3, generator=G, dtype=torch.float64) for _ in range(2))

LOSSES = {
    "pld_loss": (S, lambda s: pld_loss(s, T, Y)),
    "topk_pld_loss": (S, lambda s: topk_pld_loss(s, TopKTeacher.of(T, 2, Y), Y)),
    "linear_pld_loss": (HIDDEN, lambda h: linear_pld_loss(h, WEIGHT, TeacherHead(THEIRS, THEIR_WEIGHT), Y)),
    "of a head, by a top k": (HIDDEN, lambda h: linear_pld_loss(h, WEIGHT, TopKTeacher.of(T, 2, Y), Y)),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("squared", [False, True])
def test_a_gradient_penalty_is_refused_and_not_0(name, squared):
    """The loss's own gradient has a graph where it is squared, and none where it is a mean."""
    x, loss = LOSSES[name]
    x = x.clone().requires_grad_()
    value = loss(x).square() if squared else loss(x)
    (slope,) = torch.autograd.grad(value, x, create_graph=True)
    plain = loss(x)
    (expected,) = torch.autograd.grad(plain.square() if squared else plain, x)
    assert torch.equal(slope.detach(), expected)
    with pytest.raises(NotImplementedError, match=r"(PLD's loss|linear_pld_loss) is differentiable once; second"):
        (slope.square().sum() + x.sum()).backward()


def test_logits_are_not_held_until_the_backward_pass():
    """What they may be differentiated in is remembered without them."""
    for x, loss in LOSSES.values():
        leaf = x.clone().requires_grad_()
        made = leaf + 0.0
        gone = weakref.ref(made)
        value = loss(made)
        del made
        gc.collect()
        assert gone() is None
        value.backward()
        assert bool(leaf.grad.any())


@pytest.mark.parametrize("scale", [65536.0, 1 / 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
class TestALossScale:
    """65536 is no float16, and what a scale is there for are gradients that are none either."""

    def test_of_whole_logits(self, dtype, scale):
        # Of the class that both think unlikely the gradient is about 1e-8 in the first row, its weight as small.
        s = (S + torch.tensor([[0.0, 8.0, 0.0, -18.0], [0.0, 0.0, 0.0, 8.0]])).to(dtype)
        t = T + torch.tensor([[0.0, 0.0, 0.0, -20.0], [0.0, 0.0, 0.0, 0.0]])
        for labels in (Y, torch.tensor([1, -100])):
            (found,) = gradient_of(lambda x, y=labels: scale * pld_loss(x, t, y, reduction="sum"), s)
            (exact,) = gradient_of(lambda x, y=labels: scale * pld_loss(x, t, y, reduction="sum"), s.float())
            self.near(found, exact, dtype)
            if dtype == torch.float16 and scale > 1:
                assert bool((((exact / scale).to(dtype) == 0) & (found != 0)).any())
                assert torch.isfinite(found).all()

    @pytest.mark.parametrize("small", [1.0, 1e-5])
    def test_of_a_head(self, dtype, scale, small):
        """Gradients in hidden states are as small as the head, and those in the head as small as they."""
        leaves = (small * HIDDEN).to(dtype), (small * WEIGHT).to(dtype), (9 * WEIGHT[:, 0]).to(dtype)

        def loss(h, w, b):
            return scale * linear_pld_loss(h, w, TeacherHead(THEIRS, THEIR_WEIGHT), Y, bias=b, reduction="sum")

        found, exact = gradient_of(loss, *leaves), gradient_of(loss, *(x.float() for x in leaves))
        for own, single in zip(found, exact, strict=True):
            self.near(own, single, dtype)

    def near(self, found, exact, dtype):
        assert found.dtype == dtype
        # float16's are kept in single precision and rounded once; bfloat16 has room for them, and rounds again.
        roundings = 1 if dtype == torch.float16 else 2
        largest = torch.finfo(dtype).max
        exact = torch.where(exact.abs() > largest, exact.sign() * torch.inf, exact)
        assert_within(found, exact, bound(exact.abs().double(), roundings, dtype) + torch.finfo(dtype).smallest_normal)


def test_gradients_of_ignored_positions_are_written():
    torch.use_deterministic_algorithms(True)  # fills what `torch.empty` makes with NaN
    try:
        (found,) = gradient_of(lambda s: pld_loss(s, T, torch.tensor([1, -100])), S)
    finally:
        torch.use_deterministic_algorithms(False)
    assert found[1].tolist() == [0.0] * 4


def test_a_gradient_scaler_s_step_is_the_step_without_it():
    """float16 hidden states of a float32 head, as under autocast: nothing overflows, and no step is skipped."""
    weights = {}
    for scale in (1.0, 65536.0):
        weight = WEIGHT.float().clone().requires_grad_()
        optimizer = torch.optim.SGD([weight], lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        loss = linear_pld_loss(HIDDEN.half(), weight, TeacherHead(THEIRS, THEIR_WEIGHT), Y, reduction="sum")
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == scale
        weights[scale] = weight.detach()
    # A power of two scales without rounding.
    assert torch.equal(weights[1.0], weights[65536.0])


@pytest.mark.parametrize("student", [torch.float16, torch.float32, torch.float64])
def test_ranks_are_the_teacher_s_in_its_own_dtype(student):
    """Two classes that no float32 tells apart: as equals they would stand in order of class."""
    t = T.clone()
    t[0, 2], t[0, 3] = 0.5, 0.5 + 1e-12
    s = S.to(student)
    exact = torch.stack([term_by_term(a, b, c) for a, b, c in zip(s.double(), t, Y, strict=True)])
    equals = t.float().double()
    other = torch.stack([term_by_term(a, b, c) for a, b, c in zip(s.double(), equals, Y, strict=True)])
    found = pld_loss(s, t, Y, reduction="none")
    assert found.dtype == (torch.float64 if student == torch.float64 else torch.float32)
    assert_within(found, exact, bound(exact, 1, found.dtype) + 1e-12)
    assert abs(float(exact[0] - other[0])) > 1e-3


def test_a_teacher_less_exact_than_the_student():
    assert torch.equal(pld_loss(S, T.float(), Y), pld_loss(S, T.float().double(), Y))
