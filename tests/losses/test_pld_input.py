"""PLD: what it refuses, and that it says what, where and what to do."""

import math

import pytest
import torch

from entrokit.losses.pld import PLDLoss, pld_loss, teacher_optimal_permutation

from .ranked import S, T, Y


def put(x, value, *at):
    x = x.clone()
    x[at] = value
    return x


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (put(S, math.nan, 1, 2), T, r"student_logits: NaN, \+inf or nothing but -inf, first at position \[1\]"),
        (put(S, math.inf, 0, 2), T, r"student_logits: NaN, .* first at position \[0\]"),
        (put(S, -math.inf, 1), T, r"student_logits: .*nothing but -inf, first at position \[1\]"),
        (S, put(T, math.nan, 0, 3), r"teacher_logits: NaN, .* first at position \[0\]"),
        (S, put(T, math.inf, 1, 0), r"teacher_logits: NaN, .* first at position \[1\]"),
        (S, put(T, -math.inf, 1), r"teacher_logits: .*nothing but -inf, first at position \[1\]"),
        (S, put(T, -math.inf, 1, 3), r"teacher_logits: -inf for the label, .* first at position \[1\]"),
        (put(S, -math.inf, 1, 0), T, r"student_logits: -inf for a class to which .* first at position \[1\]"),
    ],
)
def test_logits_that_are_none(student, teacher, message):
    student = student.clone().requires_grad_()
    with pytest.raises(ValueError, match=message):
        pld_loss(student, teacher, Y)


def test_a_position_is_named_among_all_of_them():
    s, t = (x.repeat(3, 1).view(3, 2, 4) for x in (S, T))
    y = Y.repeat(3).view(3, 2)
    y[0, 0] = y[1, 1] = -100
    with pytest.raises(ValueError, match=r"student_logits: .* first at position \[2, 1\]"):
        pld_loss(put(s, math.nan, 2, 1, 0), t, y)


def test_a_label_that_the_teacher_rules_out_has_a_place_all_the_same_where_places_have_weights():
    t = put(T, -math.inf, 1, 3)
    assert torch.equal(pld_loss(S, t, Y, weights="uniform"), pld_loss(S, T, Y, weights="uniform"))


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (torch.tensor([1, 4]), ValueError, r"target: 4 at position \[1\] lies outside the classes \[0, 4\) and is not"),
        (torch.tensor([-1, 1]), ValueError, r"target: -1 at position \[0\] lies outside"),
        (torch.softmax(T, 1), TypeError, "integer labels, got torch.float64; soft labels"),
        (torch.tensor([1.0, 3.0]), TypeError, "soft labels"),
        (torch.tensor([True, False]), TypeError, "integer labels, got torch.bool"),
        (torch.eye(4).long()[Y], ValueError, r"target: expected shape \[2\], got \[2, 4\]; one label a position"),
        (torch.tensor([1, 3, 0]), ValueError, r"target: expected shape \[2\], got \[3\]"),
        (torch.tensor(1), ValueError, r"target: expected shape \[2\], got \[\]"),
    ],
)
def test_labels_that_are_none(target, error, message):
    with pytest.raises(error, match=message):
        pld_loss(S, T, target)


def test_images_have_their_classes_last():
    s = torch.randn(2, 5, 3, 4)
    y = torch.zeros(2, 3, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"logits \[N, C, H, W\] go in as logits.movedim\(1, -1\)"):
        pld_loss(s, s, y)
    assert pld_loss(s.movedim(1, -1), s.movedim(1, -1), y, reduction="none").shape == (2, 3, 4)


@pytest.mark.parametrize("ignore_index", [-100, 255, 2])
def test_an_ignored_label_may_be_any_number(ignore_index):
    losses = pld_loss(S, T, torch.tensor([1, ignore_index]), reduction="none", ignore_index=ignore_index)
    assert losses.tolist() == [float(pld_loss(S[:1], T[:1], Y[:1])), 0.0]


@pytest.mark.parametrize(
    ("student", "teacher", "error", "message"),
    [
        (S.long(), T, TypeError, "student_logits: expected floating point logits, got torch.int64"),
        (S, T.long(), TypeError, "teacher_logits: expected floating point logits"),
        (S, T[:, :3], ValueError, r"teacher_logits: expected the student's shape \[2, 4\], got \[2, 3\]"),
        (S[:, :0], T[:, :0], ValueError, r"student_logits: .*at least one class, got \[2, 0\]"),
        (torch.tensor(1.0), torch.tensor(1.0), ValueError, r"student_logits: expected shape \[..., C\]"),
        (S, T.to("meta"), ValueError, "teacher_logits: is on meta, and the student on cpu"),
    ],
)
def test_logits_that_do_not_fit(student, teacher, error, message):
    with pytest.raises(error, match=message):
        pld_loss(student, teacher, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature: must be a number above 0, got 0.0"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"reduction": "batchmean"}, "reduction: is one of mean, sum, none; got 'batchmean'"),
        ({"weights": "listmle"}, "weights: is None, one of uniform, plistmle, or a tensor; got 'listmle'"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        pld_loss(S, T, Y, **options)
    with pytest.raises(ValueError, match=message):
        PLDLoss(**options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(3), r"weights: expected shape \[4\] or \[2, 4\], got \[3\]"),
        (torch.tensor([1.0, 0.0, -0.5, 0.0]), r"weights: must be finite and >= 0, got -0.5 at \[2\]"),
        (torch.full((2, 4), math.nan), r"weights: must be finite and >= 0, got nan at \[0, 0\]"),
        (torch.tensor([1.0, 0.0, 0.0, math.inf]), r"weights: must be finite and >= 0, got inf at \[3\]"),
    ],
)
def test_weights_that_are_none(weights, message):
    with pytest.raises(ValueError, match=message):
        pld_loss(S, T, Y, weights=weights)


def test_named_weights_of_very_many_classes():
    """2^(C-k) overflows; what is left are halves."""
    s, t, y = torch.randn(1, 3000).double(), torch.randn(1, 3000), torch.tensor([7])
    halves = torch.exp2(-torch.arange(1.0, 3001.0, dtype=torch.float64))
    torch.testing.assert_close(
        pld_loss(s, t.double(), y, weights="plistmle"), pld_loss(s, t.double(), y, weights=halves), rtol=1e-9, atol=0
    )


def test_rankings_refuse_what_the_loss_refuses():
    with pytest.raises(ValueError, match="teacher_logits: NaN"):
        teacher_optimal_permutation(put(T, math.nan, 0, 0), Y)
    with pytest.raises(ValueError, match=r"target: -100 at position \[0\] lies outside the classes \[0, 4\)$"):
        teacher_optimal_permutation(T, torch.tensor([-100, 0]))
    with pytest.raises(TypeError, match="soft labels"):
        teacher_optimal_permutation(T, T[:, 0])


def test_narrow_integers_are_labels_of_many_classes():
    """In uint8 -100 is 156, and 300 classes are 44."""
    s, y = torch.linspace(-1.0, 1.0, 900).view(3, 300), torch.tensor([1, 156, 200])
    exact = pld_loss(s, s.flip(1), y, reduction="none")
    assert torch.equal(pld_loss(s, s.flip(1), y.to(torch.uint8), reduction="none"), exact)


def test_a_tiny_temperature_is_one_hot():
    found = pld_loss(1e3 * S, 1e3 * T, torch.tensor([0, 3]), 1e-308)
    first = pld_loss(1e3 * S, 1e3 * T, torch.tensor([0, 3]), weights=torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(found, first, rtol=1e-12, atol=0)
