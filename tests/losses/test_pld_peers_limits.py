"""KD, DIST and DKD where a formula as it is written gives NaN, infinity or a gradient of noise."""

import math

import pytest
import torch

from entrokit.losses.pld import dist_loss, dkd_loss, kd_loss

from ..rounding import assert_within, bound
from .ranked import S, T, Y, differences, gradient_of

LOSSES = pytest.mark.parametrize("loss", [kd_loss, dist_loss, dkd_loss], ids=lambda loss: loss.__name__)


def put(x, value, *at):
    x = x.clone()
    x[at] = value
    return x


@LOSSES
@pytest.mark.parametrize("at", [(0, 3), (1, 3)], ids=["another class", "the label"])
def test_a_class_that_the_teacher_rules_out_is_the_limit_of_one_that_it_thinks_unlikely(loss, at):
    found = loss(S, put(T, -math.inf, *at), Y)
    # e^(-4000 / 4) is 0 in float64.
    torch.testing.assert_close(found, loss(S, put(T, -4000.0, *at), Y), rtol=1e-12, atol=0)
    (slope,) = gradient_of(lambda s: loss(s, put(T, -math.inf, *at), Y), S)
    # See the losses' own test: h² times a third derivative, and eps / h.
    torch.testing.assert_close(slope, differences(lambda s: loss(s, put(T, -math.inf, *at), Y), S), rtol=0, atol=1e-7)


@LOSSES
def test_what_both_rule_out_is_finite_and_has_no_gradient(loss):
    s, t = put(S, -math.inf, 0, 3), put(T, -math.inf, 0, 3)
    assert torch.isfinite(loss(s, t, Y))
    (slope,) = gradient_of(lambda x: loss(x, t, Y), s)
    assert torch.isfinite(slope).all()
    assert float(slope[0, 3]) == 0.0


def test_kd_of_what_both_rule_out_is_as_if_it_were_not_there():
    s, t = (torch.cat([x[:, :2], torch.full((2, 1), -math.inf), x[:, 2:]], 1) for x in (S, T))
    y = torch.tensor([1, 4])
    for loss in (kd_loss, dkd_loss):
        torch.testing.assert_close(loss(s, t, y), loss(S, T, Y), rtol=1e-12, atol=0)


@LOSSES
@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (put(S, math.nan, 1, 0), T, r"student_logits: NaN, \+inf or nothing but -inf, first at position \[1\]"),
        (S, put(T, math.inf, 0, 2), "teacher_logits: NaN, .* position .0.$"),
        (S, put(T, -math.inf, 1), "teacher_logits: .* nothing but -inf, first at position .1.$"),
        (put(S, -math.inf, 0, 1), T, "student_logits: -inf for the label; its cross-entropy is infinite, .* .0.$"),
    ],
)
def test_logits_that_are_none(loss, student, teacher, message):
    with pytest.raises(ValueError, match=f"^{loss.__name__}: {message}"):
        loss(student, teacher, Y)


def test_an_infinite_divergence_is_named():
    for loss in (kd_loss, dkd_loss):
        with pytest.raises(ValueError, match=rf"^{loss.__name__}: student_logits: -inf for a class .* \[1\]$"):
            loss(put(S, -math.inf, 1, 0), T, Y)
    # A correlation is none.
    assert torch.isfinite(dist_loss(put(S, -math.inf, 1, 0), T, Y))


def test_dkd_needs_another_class_than_the_label():
    sure = torch.full((1, 4), -math.inf, dtype=torch.float64)
    sure[0, 1] = 0.0
    with pytest.raises(ValueError, match=r"^dkd_loss: teacher_logits: nothing but -inf beside the label, .* \[0\]$"):
        dkd_loss(S[:1], sure, Y[:1])
    # KD by a teacher that is sure is cross-entropy.
    found = kd_loss(S[:1], sure, Y[:1], temperature=1.0, ce_weight=0.0)
    torch.testing.assert_close(found, kd_loss(S[:1], sure, Y[:1], temperature=1.0, ce_weight=1.0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [3, 4, 100, 1000])
def test_a_student_that_knows_nothing_has_the_gradient_of_cross_entropy_alone(dtype, classes):
    """Its rows and classes are constant, up to rounding: a correlation with them is none, and has no slope."""
    g = torch.Generator().manual_seed(classes)
    t, y = torch.randn(5, classes, generator=g), torch.randint(classes, (5,), generator=g)
    for flat in (torch.zeros(5, classes), torch.full((5, classes), 7.3)):
        (found,) = gradient_of(lambda s: dist_loss(s, t, y), flat.to(dtype))
        (alone,) = gradient_of(lambda s: dist_loss(s, t, y, inter_weight=0.0, intra_weight=0.0), flat.to(dtype))
        assert torch.equal(found, alone)
        assert float(found.abs().max()) < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_no_correlation(dtype):
    """Logits of a constant that differ in their last bit: softened, in one unit of their probabilities."""
    flat = torch.full((5, 8), 7.3, dtype=dtype)
    flat[::2, ::3] = torch.nextafter(flat, torch.tensor(torch.inf, dtype=dtype))[::2, ::3]
    t, y = torch.arange(40.0).sin().view(5, 8), torch.arange(5)
    (found,) = gradient_of(lambda s: dist_loss(s, t, y), flat)
    (alone,) = gradient_of(lambda s: dist_loss(s, t, y, inter_weight=0.0, intra_weight=0.0), flat)
    assert torch.equal(found, alone)


def test_a_teacher_that_knows_nothing_teaches_dist_nothing():
    only = {"ce_weight": 0.0, "temperature": 1.0, "inter_weight": 1.0, "intra_weight": 1.0}
    (found,) = gradient_of(lambda s: dist_loss(s, torch.zeros_like(T), Y, **only), S)
    assert not found.any()
    assert float(dist_loss(S, torch.zeros_like(T), Y, **only)) == 2.0


def test_rows_that_differ_by_little_have_their_correlation():
    """1e-9 beside a float64 of 1/4 is no rounding: the formula's ρ, its 1e-8 included."""
    little = 1e-9 * T
    p, q = little.softmax(1), T.softmax(1)
    p, q = p - p.mean(1, keepdim=True), q - q.mean(1, keepdim=True)
    rho = (p * q).sum(1) / (p.norm(dim=1) * q.norm(dim=1) + 1e-8)
    only = {"ce_weight": 0.0, "temperature": 1.0, "inter_weight": 1.0, "intra_weight": 0.0}
    assert float(dist_loss(little, T, Y, **only)) == pytest.approx(1 - float(rho.mean()), abs=1e-6)
    assert float(rho.min()) > 1e-2


@LOSSES
def test_half_precision_is_computed_in_single(loss):
    for half in (torch.float16, torch.bfloat16):
        s, t = S.to(half), T.to(half)
        assert torch.equal(loss(s, t, Y), loss(s.float(), t.float(), Y))
        (found,) = gradient_of(lambda x, t=t: 2.0**16 * loss(x, t, Y), s / 8)
        (exact,) = gradient_of(lambda x, t=t: 2.0**16 * loss(x, t, Y), (s / 8).float())
        assert_within(
            found,
            torch.where(exact.abs() > torch.finfo(half).max, exact.sign() * torch.inf, exact),
            bound(exact.abs().double(), 1, half) + torch.finfo(half).smallest_normal,
        )


@LOSSES
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_of_terms_are_numbers(loss, value):
    with pytest.raises(ValueError, match=f"^{loss.__name__}: ce_weight must be a finite number, got {value}"):
        loss(S, T, Y, ce_weight=value)
    with pytest.raises(ValueError, match=f"^{loss.__name__}: temperature must be above 0 and finite, got {value}"):
        loss(S, T, Y, temperature=value)


def test_narrow_integers_are_labels():
    for loss in (kd_loss, dist_loss, dkd_loss):
        assert torch.equal(loss(S, T, Y.to(torch.uint8)), loss(S, T, Y))
