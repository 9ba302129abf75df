"""PLD of a language model's head: what the loss of whole logits gives, in chunks of rows."""

import math

import pytest
import torch

from entrokit.losses.pld import TeacherHead, TopKTeacher, linear_pld_loss, pld_loss, topk_pld_loss

from ..rounding import assert_within, bound
from .ranked import Largest, gradient_of

N, D, V = 6, 5, 11


def model(seed, dtype=torch.float64, width=D):
    g = torch.Generator().manual_seed(seed)
    shapes = ((2, N // 2, width), (V, width), (V,))
    return tuple(torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for shape in shapes)


def labels():
    return torch.tensor([[0, 10, -100], [3, 3, 7]])


def capped(hidden, weight, bias=None, softcap=None):
    z = hidden @ weight.T + (0 if bias is None else bias)
    return z if softcap is None else softcap * torch.tanh(z / softcap)


TEACHER = model(1, width=7)


@pytest.fixture(params=["one chunk", "chunks of two rows"])
def _cut(request, monkeypatch):
    if request.param != "one chunk":
        monkeypatch.setattr("entrokit.losses.pld.head.KEPT_ELEMENTS", 2 * V)
        monkeypatch.setattr("entrokit.losses.pld.full.ELEMENTS", V)
        monkeypatch.setattr("entrokit.distributions.chunked.TILE_COLUMNS", 4)


@pytest.mark.usefixtures("_cut")
class TestParity:
    @pytest.mark.parametrize("softcap", [None, 2.0])
    @pytest.mark.parametrize("options", [{}, {"temperature": 2.0, "reduction": "sum"}, {"weights": "uniform"}])
    def test_with_a_teacher_s_head(self, softcap, options):
        hidden, weight, bias = model(0)
        teacher = TeacherHead(*TEACHER, softcap=3.0)
        whole = capped(*TEACHER, softcap=3.0)

        def ours(h, w, b):
            return linear_pld_loss(h, w, teacher, labels(), bias=b, softcap=softcap, **options)

        def plain(h, w, b):
            return pld_loss(capped(h, w, b, softcap), whole, labels(), **options)

        self.same(ours, plain, hidden, weight, bias)

    @pytest.mark.parametrize("softcap", [None, 2.0])
    def test_with_a_top_k(self, softcap):
        hidden, weight, bias = model(0)
        teacher = TopKTeacher.of(capped(*TEACHER), 3, labels())
        self.same(
            lambda h, w, b: linear_pld_loss(h, w, teacher, labels(), bias=b, softcap=softcap),
            lambda h, w, b: topk_pld_loss(capped(h, w, b, softcap), teacher, labels()),
            hidden,
            weight,
            bias,
        )

    def same(self, ours, plain, *leaves):
        torch.testing.assert_close(ours(*leaves), plain(*leaves), rtol=1e-9, atol=0)
        for own, exact in zip(gradient_of(ours, *leaves), gradient_of(plain, *leaves), strict=True):
            torch.testing.assert_close(own, exact, rtol=1e-9, atol=1e-12)

    def test_a_frozen_head_and_no_bias(self):
        hidden, weight, _ = model(0)
        teacher = TeacherHead(*TEACHER)
        (own,) = gradient_of(lambda h: linear_pld_loss(h, weight, teacher, labels()), hidden)
        (exact,) = gradient_of(lambda h: pld_loss(h @ weight.T, capped(*TEACHER), labels()), hidden)
        torch.testing.assert_close(own, exact, rtol=1e-9, atol=1e-12)
        (own,) = gradient_of(lambda w: linear_pld_loss(hidden, w, teacher, labels()), weight)
        (exact,) = gradient_of(lambda w: pld_loss(hidden @ w.T, capped(*TEACHER), labels()), weight)
        torch.testing.assert_close(own, exact, rtol=1e-9, atol=1e-12)
        with torch.no_grad():
            loss = linear_pld_loss(hidden.requires_grad_(), weight, teacher, labels())
        assert not loss.requires_grad


def test_micro_batches_add_up():
    hidden, weight, _ = model(0)
    teacher, y = TeacherHead(*TEACHER), labels()
    count = int((y != -100).sum())
    parts = [
        linear_pld_loss(hidden[i], weight, TeacherHead(TEACHER[0][i], *TEACHER[1:]), y[i], reduction="sum") / count
        for i in (0, 1)
    ]
    torch.testing.assert_close(sum(parts), linear_pld_loss(hidden, weight, teacher, y), rtol=1e-12, atol=0)


def test_half_precision_counts_as_single():
    dtype = torch.bfloat16
    hidden, weight, bias = model(0, dtype)
    teacher = TeacherHead(*model(1, dtype))
    loss = linear_pld_loss(hidden, weight, teacher, labels(), bias=bias)
    floats = [x.float() for x in (hidden, weight, bias)]
    expected = linear_pld_loss(
        *floats[:2], TeacherHead(*(x.float() for x in model(1, dtype))), labels(), bias=floats[2]
    )
    assert torch.equal(loss, expected)
    found = gradient_of(lambda h, w: linear_pld_loss(h, w, teacher, labels(), bias=bias), hidden, weight)
    exact = gradient_of(lambda h, w: linear_pld_loss(h, w, teacher, labels(), bias=floats[2]), *floats[:2])
    for own, double in zip(found, exact, strict=True):
        assert own.dtype == dtype
        # The sums are the same numbers in single precision, and rounded once.
        assert_within(own, double, bound(double.abs().double(), 1, dtype))


def test_no_more_than_a_few_rows_of_logits_are_there(monkeypatch):
    monkeypatch.setattr("entrokit.losses.pld.head.KEPT_ELEMENTS", 4 * 300)
    monkeypatch.setattr("entrokit.distributions.chunked.TILE_COLUMNS", 64)
    monkeypatch.setattr("entrokit.distributions.chunked.TILE_ROWS", 4)
    g = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(40, 3, generator=g), torch.randn(300, 3, generator=g)
    y = torch.randint(300, (40,), generator=g)
    for teacher in (TeacherHead(hidden, weight), TopKTeacher.of(hidden @ weight.T, 4, y)):
        with Largest() as largest:
            gradient_of(lambda h, w, t=teacher: linear_pld_loss(h, w, t, y), hidden, weight)
        assert largest.elements == 4 * 300


def test_nothing_to_learn_is_0_with_a_graph():
    hidden, weight, bias = model(0)
    nobody = torch.full((2, 3), -100)

    def nothing(h, w, b):
        return linear_pld_loss(h, w, TeacherHead(*TEACHER), nobody, bias=b)

    assert float(nothing(hidden * math.nan, weight, bias)) == 0
    assert not any(g.any() for g in gradient_of(nothing, hidden, weight, bias))
    empty = linear_pld_loss(hidden[:0], weight, TeacherHead(TEACHER[0][:0], TEACHER[1]), nobody[:0])
    assert float(empty) == 0


def test_gradients_are_handed_out_once():
    hidden, weight, _ = model(0)
    loss = linear_pld_loss(hidden.requires_grad_(), weight, TeacherHead(*TEACHER), labels())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward ran before"):
        loss.backward()


class Sharded(torch.Tensor):
    """As DTensor is: its parts lie elsewhere."""

    def full_tensor(self):
        return self.as_subclass(torch.Tensor)


HIDDEN, WEIGHT, _ = model(0)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"reduction": "none"}, ValueError, "reduction: is one of mean, sum; got 'none'"),
        ({"teacher": TEACHER[0]}, TypeError, "teacher: a TeacherHead or a TopKTeacher, got Tensor"),
        ({"teacher": TeacherHead(TEACHER[0], TEACHER[1][:-1])}, ValueError, r"teacher: expected hidden \[2, 3, d\]"),
        ({"teacher": TeacherHead(TEACHER[0][:1], TEACHER[1])}, ValueError, "teacher: expected hidden"),
        ({"teacher": TeacherHead(TEACHER[0], WEIGHT)}, ValueError, r"weight: expected shape \[V, 7\]"),
        ({"hidden": HIDDEN.long()}, TypeError, "hidden: expected floating point"),
        ({"weight": WEIGHT[0]}, ValueError, r"hidden, weight: expected shapes \[..., d\] and \[V, d\]"),
        ({"weight": WEIGHT[:0]}, ValueError, "hidden, weight: expected shapes"),
        ({"weight": WEIGHT.as_subclass(Sharded)}, ValueError, r"weight: is sharded; pass its full_tensor\(\)"),
        ({"target": labels()[0]}, ValueError, r"target: expected shape \[2, 3\], got \[3\]"),
        ({"target": labels() + 1}, ValueError, r"target: 11 at position \[0, 1\] lies outside the classes"),
        ({"softcap": 0.0}, ValueError, "softcap: must be > 0"),
        ({"temperature": -1.0}, ValueError, "temperature: must be a number above 0"),
        ({"weights": torch.ones(2, 3, V)}, ValueError, r"weights: expected shape \[11\]"),
        ({"hidden": HIDDEN * math.nan}, ValueError, r"student_logits: NaN, .* position \[0, 0\]"),
        ({"teacher": TeacherHead(TEACHER[0] * math.inf, TEACHER[1])}, ValueError, r"teacher_logits: NaN, .* \[0, 0\]"),
    ],
)
def test_what_does_not_fit_is_named(changed, error, message):
    given = {"hidden": HIDDEN, "weight": WEIGHT, "teacher": TeacherHead(*TEACHER), "target": labels()} | changed
    with pytest.raises(error, match=message):
        linear_pld_loss(**given)


def test_a_top_k_has_its_own_temperature():
    teacher = TopKTeacher.of(capped(*TEACHER), 2, labels())
    for options in ({"temperature": 2.0}, {"weights": "uniform"}):
        with pytest.raises(ValueError, match="a top k comes at its own temperature, with its own weights"):
            linear_pld_loss(HIDDEN, WEIGHT, teacher, labels(), **options)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"hidden": torch.zeros(2, 6, 3)},
            r"expected shape \[2, 6\], got \[2, 5\]; .*drop the last position of hidden",
        ),
        ({"target": torch.zeros(2, 6).long()}, r"got \[2, 6\]; .* the next ones are target\[\.\.\., 1:\]"),
        (
            {"hidden": torch.zeros(2, 5, 4)},
            r"^hidden: \[2, 5, 4\] has the 4 classes of weight \[4, 3\] last, as logits",
        ),
        ({"teacher": TeacherHead(torch.zeros(2, 5, 4), torch.zeros(4, 3))}, r"^teacher.hidden: \[2, 5, 4\] has the 4"),
        (
            {"teacher": TeacherHead(torch.zeros(2, 6, 3), torch.zeros(4, 3))},
            r"expected hidden \[2, 5, d\] and weight \[4, d\]",
        ),
        (
            {"teacher": TopKTeacher(torch.zeros(2, 5), torch.zeros(2, 5).long())},
            r"^index: expected shape \[2, 5, K\] with",
        ),
    ],
)
def test_what_was_shifted_or_went_through_the_head_is_told_apart(changed, message):
    hidden, weight = torch.zeros(2, 5, 3), torch.zeros(4, 3)
    given = {"hidden": hidden, "weight": weight, "teacher": TeacherHead(hidden, weight)}
    with pytest.raises(ValueError, match=message):
        linear_pld_loss(**given | {"target": torch.zeros(2, 5).long()} | changed)
