"""PLD by a teacher's top k: the first terms of the whole, in whatever form an API gives them."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.losses.pld import TopKTeacher, pld_loss, topk_pld_loss

from .ranked import Largest, S, T, Y, differences, gradient_of, ranking

LOG_Q = T.log_softmax(1)


def first_terms(student, teacher, label, k):
    """Of the loss with the whole teacher: those of the label and of the k likeliest classes."""
    order = ranking(teacher.tolist(), int(label))
    kept = {int(label), *teacher.topk(k).indices.tolist()}
    q = torch.softmax(teacher, 0)
    return sum(q[c] * (student[order[i:]].logsumexp(0) - student[c]) for i, c in enumerate(order) if c in kept)


def random_batch(seed, n=4, c=9):
    g = torch.Generator().manual_seed(seed)
    s, t = (2 * torch.randn(n, c, generator=g, dtype=torch.float64) for _ in range(2))
    return s, t, torch.randint(c, (n,), generator=g)


@given(st.integers(0, 10**6), st.integers(1, 9))
def test_it_is_the_first_terms_of_the_whole(seed, k):
    s, t, y = random_batch(seed)
    teacher = TopKTeacher.of(t, k, y)
    expected = torch.stack([first_terms(a, b, c, k) for a, b, c in zip(s, t, y, strict=True)])
    found = topk_pld_loss(s, teacher, y, "none")
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    (own,) = gradient_of(lambda x: topk_pld_loss(x, teacher, y, "sum"), s)
    (exact,) = gradient_of(lambda x: sum(first_terms(a, b, c, k) for a, b, c in zip(x, t, y, strict=True)), s)
    torch.testing.assert_close(own, exact, rtol=1e-9, atol=1e-12)
    whole = pld_loss(s, t, y, reduction="none")
    assert bool((found <= whole + 1e-12).all())
    if k == 9:
        torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-12)


def test_its_gradient_is_the_slope():
    s, t, y = random_batch(3)
    teacher = TopKTeacher.of(t, 3, y)
    (found,) = gradient_of(lambda x: topk_pld_loss(x, teacher, y), s)
    # See the whole loss's test: h² and eps / h.
    torch.testing.assert_close(found, differences(lambda x: topk_pld_loss(x, teacher, y), s), rtol=0, atol=1e-8)


def test_at_a_temperature_of_the_teacher():
    s, t, y = random_batch(4)
    found = topk_pld_loss(s, TopKTeacher.of(t, 9, y, temperature=3.0), y)
    torch.testing.assert_close(found, pld_loss(s, t, y, 3.0), rtol=1e-9, atol=0)


class TestFormsOfAnAnswer:
    """Rows of the sheet: the label is second of the first row's classes, and first of the second's."""

    index = torch.tensor([[0, 1], [3, 1]])
    log_probs = LOG_Q.gather(1, index)
    expected = topk_pld_loss(S, TopKTeacher(log_probs, index), Y, "none")

    def test_the_sheet_s_rows(self):
        exact = torch.stack([first_terms(s, t, y, 2) for s, t, y in zip(S, T, Y, strict=True)])
        torch.testing.assert_close(self.expected, exact, rtol=1e-9, atol=0)

    def test_columns_come_in_any_order(self):
        turned = TopKTeacher(self.log_probs.flip(1), self.index.flip(1))
        assert torch.equal(topk_pld_loss(S, turned, Y, "none"), self.expected)

    def test_ragged_rows_are_filled_with_minus_one(self):
        index = torch.tensor([[0, -1, 1, -1], [-1, 3, -1, 1]])
        log_probs = torch.full((2, 4), math.nan, dtype=torch.float64)
        log_probs[index >= 0] = LOG_Q.gather(1, index.clamp(0))[index >= 0]
        found = topk_pld_loss(S, TopKTeacher(log_probs, index), Y, "none")
        torch.testing.assert_close(found, self.expected, rtol=1e-12, atol=0)
        (own,) = gradient_of(lambda s: topk_pld_loss(s, TopKTeacher(log_probs, index), Y), S)
        (exact,) = gradient_of(lambda s: topk_pld_loss(s, TopKTeacher(self.log_probs, self.index), Y), S)
        torch.testing.assert_close(own, exact, rtol=1e-12, atol=1e-15)

    def test_a_label_that_is_not_listed_is_first_by_its_own_log_probability(self):
        y = torch.tensor([2, 2])
        own = LOG_Q[:, 2]
        found = topk_pld_loss(S, TopKTeacher(self.log_probs, self.index, own), y, "none")
        listed = torch.cat([self.index, y[:, None]], 1)
        expected = topk_pld_loss(S, TopKTeacher(LOG_Q.gather(1, listed), listed), y, "none")
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)

    def test_where_it_is_listed_its_own_is_not_read(self):
        own = torch.full((2,), math.nan, dtype=torch.float64)
        assert torch.equal(topk_pld_loss(S, TopKTeacher(self.log_probs, self.index, own), Y, "none"), self.expected)

    def test_an_api_s_way_to_say_impossible(self):
        index = torch.cat([self.index, torch.tensor([[2], [0]])], 1)
        log_probs = torch.cat([self.log_probs, torch.full((2, 1), -9999.0)], 1)
        found = topk_pld_loss(S, TopKTeacher(log_probs, index), Y, "none")
        torch.testing.assert_close(found, self.expected, rtol=1e-12, atol=0)

    def test_ignored_positions_may_hold_anything(self):
        s = torch.cat([S, torch.full((1, 4), math.nan)])
        index = torch.cat([self.index, torch.tensor([[77, 77]])])
        log_probs = torch.cat([self.log_probs, torch.full((1, 2), math.nan)])
        y = torch.tensor([1, 3, -100])
        teacher = TopKTeacher(log_probs, index)
        assert topk_pld_loss(s, teacher, y, "none").tolist() == [*self.expected.tolist(), 0.0]
        torch.testing.assert_close(topk_pld_loss(s, teacher, y), self.expected.mean(), rtol=1e-12, atol=0)
        (found,) = gradient_of(lambda x: topk_pld_loss(x, teacher, y), s)
        assert not found[2].any()

    def test_of_nothing_it_is_0(self):
        ignored = torch.tensor([-100, -100])
        found = topk_pld_loss(S.clone().requires_grad_(), TopKTeacher(self.log_probs, self.index), ignored)
        assert float(found.detach()) == 0
        assert found.requires_grad


def test_a_student_that_is_sure_of_the_top_k():
    """What all other classes have in common is far below every number of float32."""
    s = torch.full((1, 50), -800.0)
    s[0, :3] = torch.tensor([5.0, 3.0, 1.0])
    t = torch.linspace(3.0, 0.0, 50)[None]
    y = torch.tensor([0])
    exact = first_terms(s[0].double(), t[0].double(), 0, 3)
    found = topk_pld_loss(s.double(), TopKTeacher.of(t.double(), 3, y), y)
    torch.testing.assert_close(found, exact, rtol=1e-9, atol=0)
    (gradient,) = gradient_of(lambda x: topk_pld_loss(x, TopKTeacher.of(t, 3, y), y), s)
    assert torch.isfinite(gradient).all()


def test_nothing_is_sorted_but_the_top_k():
    s, t, y = random_batch(5, n=3, c=500)
    teacher = TopKTeacher.of(t, 4, y)
    with Largest() as largest:
        gradient_of(lambda x: topk_pld_loss(x, teacher, y), s)
    assert largest.elements == s.numel()


@pytest.mark.parametrize(
    ("index", "log_probs", "error", "message"),
    [
        ([[0, 2], [3, 1]], None, ValueError, r"index: the teacher's classes lack the label, and .* position \[0\]"),
        ([[0, 1], [3, 4]], None, ValueError, r"index: a class that is neither in \[0, 4\) nor -1.* position \[1\]"),
        ([[0, 1], [3, 3]], None, ValueError, r"index: a class that is named twice, first at position \[1\]"),
        (
            [[0, 1], [3, 1]],
            T[:, :2],
            ValueError,
            r"log_probs: 2 is no log-probability.* their log_softmax, .* position \[0\]",
        ),
        (
            [[0, 1], [3, 1]],
            torch.full((2, 2), -0.1),
            ValueError,
            r"log_probs: probabilities that sum to 1.81, above 1; round",
        ),
        ([[0, 1], [3, 1]], torch.full((2, 2), math.nan), ValueError, r"log_probs: NaN where index names a class"),
        ([[0, 1], [3, 1]], torch.tensor([[-1.0, -math.inf], [-1.0, -2]]), ValueError, r"log_probs: -inf for the label"),
        ([[0, 1]], torch.full((1, 2), -1.0), ValueError, r"index: expected shape \[2, K\] with K >= 1, got \[1, 2\]"),
        ([[0, 1], [3, 1]], torch.full((2, 1), -1.0), ValueError, r"log_probs: expected the shape of index"),
        ([[0.0, 1.0], [3.0, 1.0]], torch.full((2, 2), -1.0), TypeError, "index: expected integer classes"),
        ([[0, 1], [3, 1]], torch.zeros(2, 2).long(), TypeError, "log_probs: expected floating point"),
    ],
)
def test_answers_that_are_none(index, log_probs, error, message):
    index = torch.tensor(index)
    if log_probs is None:
        log_probs = torch.full(index.shape, -1.0)
    with pytest.raises(error, match=message):
        topk_pld_loss(S, TopKTeacher(log_probs, index), Y)


def test_labels_own_log_probabilities_that_are_none():
    index, log_probs = torch.tensor([[0], [1]]), torch.full((2, 1), -1.0)
    with pytest.raises(ValueError, match=r"target_log_probs: expected shape \[2\], got \[2, 1\]"):
        topk_pld_loss(S, TopKTeacher(log_probs, index, log_probs), Y)
    with pytest.raises(ValueError, match=r"log_probs: -inf for the label, .* position \[1\]"):
        topk_pld_loss(S, TopKTeacher(log_probs, index, torch.tensor([-1.0, -math.inf])), Y)
    with pytest.raises(TypeError, match="target_log_probs: expected floating point"):
        topk_pld_loss(S, TopKTeacher(log_probs, index, Y), Y)


def test_making_a_top_k_of_logits():
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k must be 1 to 4, the classes there are; got {k}"):
            TopKTeacher.of(T, k, Y)
    with pytest.raises(ValueError, match=r"target: expected shape \[2\]"):
        TopKTeacher.of(T, 2, Y[:1])
    with pytest.raises(TypeError, match="k is an integer, got float"):
        TopKTeacher.of(T, 2.0, Y)
    made = TopKTeacher.of(T.bfloat16(), 2, torch.tensor([1, -100]))
    assert made.log_probs.dtype == torch.float32
    assert made.index.tolist() == [[0, 1], [3, 1]]


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (Y.double(), TypeError, r"target: expected integer labels, got torch.float64; .*target.long\(\)"),
        (Y > 1, TypeError, "target: expected integer labels, got torch.bool; a mask is no label"),
        (torch.tensor([1, 4]), ValueError, r"target: 4 at position \[1\] lies outside the classes \[0, 4\) and is not"),
        (torch.tensor([-100, 4]), ValueError, "target: 4 at position"),
        ([1, 3], TypeError, "target: expected a tensor, got list"),
    ],
)
def test_labels_of_a_top_k_are_those_of_the_losses(target, error, message):
    with pytest.raises(error, match=message):
        TopKTeacher.of(T, 2, target)


def test_a_top_k_ignores_what_the_losses_ignore():
    t = torch.cat([T, torch.full((1, 4), math.nan, dtype=torch.float64)])
    y = torch.tensor([1, 3, 255])
    s = torch.cat([S, S[:1]])
    found = topk_pld_loss(s, TopKTeacher.of(t, 4, y, ignore_index=255), y, ignore_index=255)
    torch.testing.assert_close(found, pld_loss(S, T, Y), rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="lies outside the classes"):
        TopKTeacher.of(t, 4, y)
    with pytest.raises(ValueError, match=r"teacher_logits: NaN, .* first at position \[2\]"):
        TopKTeacher.of(t, 4, torch.tensor([1, 3, 0]))


def test_log_probabilities_of_two_decimals_are_taken_and_of_one_are_named():
    """Rounding to d decimals moves a logarithm by half of the last, and a sum of 1 by that share of it."""
    index, y = torch.arange(4)[None], torch.tensor([0])
    worst = torch.full((1, 4), math.log(0.25) + 0.005)
    assert math.isfinite(topk_pld_loss(S[:1], TopKTeacher(worst, index), y))
    rounded = torch.tensor([[-1.3, -1.3, -1.4, -1.4]])
    with pytest.raises(ValueError, match="probabilities that sum to 1.038, above 1; rounding to one decimal"):
        topk_pld_loss(S[:1], TopKTeacher(rounded, index), y)


def test_student_logits_are_checked_as_in_the_whole():
    teacher = TopKTeacher.of(T, 2, Y)
    s = S.clone()
    s[1, 2] = math.nan
    with pytest.raises(ValueError, match=r"student_logits: NaN, .* first at position \[1\]"):
        topk_pld_loss(s, teacher, Y)
    s = S.clone()
    s[1, 3] = -math.inf
    with pytest.raises(ValueError, match=r"student_logits: -inf for a class .* first at position \[1\]"):
        topk_pld_loss(s, teacher, Y)
    with pytest.raises(ValueError, match="reduction"):
        topk_pld_loss(S, teacher, Y, "median")


def test_equal_log_probabilities_stand_in_order_of_class():
    t = torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]], dtype=torch.float64)
    s, y = torch.linspace(-1.0, 2.0, 5, dtype=torch.float64)[None], torch.tensor([3])
    index = torch.tensor([[4, 3, 1, 0, 2]])
    found = topk_pld_loss(s, TopKTeacher(t.log_softmax(1).gather(1, index), index), y)
    torch.testing.assert_close(found, pld_loss(s, t, y), rtol=1e-12, atol=0)


def test_a_top_k_that_was_renormalised_is_named():
    g = torch.Generator().manual_seed(0)
    s, t, y = torch.randn(6, 20, generator=g), torch.randn(6, 20, generator=g), torch.arange(6)
    whole = TopKTeacher.of(t, 5, y)
    cut = whole.log_probs.log_softmax(-1)
    label_in = whole.index[:, 2]
    with pytest.warns(
        RuntimeWarning, match="the 5 probabilities sum to 1, and there are 20 classes: .* over the k"
    ) as by:
        topk_pld_loss(s, TopKTeacher(cut, whole.index), label_in)
    assert by[0].filename == __file__
    behind = (t - 100 * torch.nn.functional.one_hot(y, 20)).log_softmax(-1).topk(5, -1)
    own = torch.full((6,), math.log(0.05))
    with pytest.raises(
        ValueError, match=r"sum to 1\.05, above 1; without the label's own it is 1, .* renormalised over"
    ):
        topk_pld_loss(s, TopKTeacher(behind.values.log_softmax(-1), behind.indices, own), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        topk_pld_loss(s, whole, y)
        topk_pld_loss(s, TopKTeacher.of(100 * t, 5, t.argmax(-1)), t.argmax(-1))
        topk_pld_loss(s, TopKTeacher.of(t, 20, y), y)
        topk_pld_loss(s, TopKTeacher(torch.zeros(6, 1), y[:, None]), y)
