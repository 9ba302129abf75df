"""The student's loss and what is trained beside it."""

import math
import warnings

import pytest
import torch
from torch.nn.functional import softplus

from entrokit.generative.f_distill import (
    DIVERGENCES,
    RatioNormalizer,
    approximate_r1,
    f_distill_loss,
    f_weight,
    gan_discriminator_loss,
    gan_generator_loss,
    is_student_step,
    student_loss,
    vsd_loss,
)

from .f_distill_cases import LOGITS

G, TEACHER_X0, FAKE_X0 = (torch.tensor(x) for x in ([[2.0, 0.0]], [[1.0, 0.5]], [[0.5, 0.25]]))
NAN = math.nan


def batch(rows=3, dims=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(rows, dims, dtype=dtype, generator=generator) for _ in range(3))


def loss_of(divergence, logits=LOGITS, **options):
    return f_distill_loss(
        *batch(len(logits)), logits, torch.linspace(0.2, 0.8, len(logits)), divergence=divergence, **options
    )


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("kl", [0.270092, 0.734185, 1.995721]), ("js", [0.537882, 0.999998, 1.462114]),
        ("sh", [0.558971, 0.921587, 1.519440]), ("rkl", [1.0, 1.0, 1.0]),
    ],
)  # fmt: skip
def test_check_3(key, expected):
    _, found = loss_of(key)
    assert found["h"].tolist() == pytest.approx(expected, abs=2e-6)


def test_check_5():
    gen = G.clone().requires_grad_()
    loss = vsd_loss(gen, TEACHER_X0, FAKE_X0, torch.tensor([2.0]))
    loss.backward()
    assert loss.item() == pytest.approx(0.555554, abs=1e-6)
    assert gen.grad.tolist()[0] == pytest.approx([-0.666666, -0.333333], abs=1e-6)


@pytest.mark.parametrize("key", list(DIVERGENCES))
def test_check_6_weights_have_mean_1(key):
    _, found = loss_of(key, 3 * torch.randn(64, 2, generator=torch.Generator().manual_seed(1)))
    # 1e-6 is added to the mean, which is above 0.1.
    assert float(found["h"].mean()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("factor", [0.25, 40.0])
def test_check_6_a_factor_of_f_changes_nothing(factor, monkeypatch):
    logits = torch.randn(64, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = loss_of("js", logits)[1]["h"]
    monkeypatch.setattr("entrokit.generative.f_distill.loss.f_weight", lambda r, key: factor * f_weight(r, key))
    torch.testing.assert_close(loss_of("js", logits)[1]["h"], before, rtol=1e-5, atol=0)


def test_reverse_kl_is_plain_score_distillation_bit_for_bit():
    for norm in ("dmd", "none"):
        loss, _ = loss_of("rkl", sample_norm=norm)
        assert loss.item() == vsd_loss(*batch(), sample_norm=norm).item()


@pytest.mark.parametrize("key", list(DIVERGENCES))
def test_gradients_reach_the_student_alone(key):
    gen, teacher, fake = (x.requires_grad_() for x in batch())
    logits = LOGITS.double().requires_grad_()
    t = torch.tensor([0.2, 0.4, 0.7], requires_grad=True)
    loss, found = f_distill_loss(gen, teacher, fake, logits, t, divergence=key, time_weight=lambda t: 1 + t)
    loss.backward()
    assert teacher.grad is fake.grad is logits.grad is t.grad is None
    assert not any(value.requires_grad for value in found.values())
    weight = found["h"] * (1 + t.detach()) / ((gen - teacher).abs().mean(1).detach() + 1e-6)
    expected = weight[:, None] * (fake - teacher).detach() / gen.numel()
    torch.testing.assert_close(gen.grad, expected, rtol=1e-12, atol=0)


def test_with_no_norm_and_its_time_weight_the_step_is_the_difference_of_scores():
    """s_T - s_F = α (x̂_T - x̂_F) / σ²."""
    alpha, sigma = 0.8, torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    gen, teacher, fake = batch()
    gen.requires_grad_()
    loss, _ = f_distill_loss(
        gen, teacher, fake, LOGITS, sigma, divergence="rkl", sample_norm="none", time_weight=lambda s: alpha / s**2
    )
    loss.backward()
    noised = torch.randn_like(teacher)
    scores = [(alpha * x - noised) / sigma[:, None] ** 2 for x in (teacher, fake)]
    torch.testing.assert_close(gen.grad * gen.numel(), scores[1] - scores[0], rtol=1e-11, atol=1e-11)


def test_the_ratio_is_of_the_mean_head_clipped_and_then_normalised():
    logits = torch.tensor([[-1.0, -3.0], [50.0, 50.0], [-30.0, -20.0], [0.5, 0.0]])
    _, found = loss_of("kl", logits)
    assert found["ratio"].tolist() == pytest.approx([math.exp(-2), 20.0, 0.1, math.exp(0.25)], rel=1e-6)
    _, found = loss_of("kl", logits, ratio_bounds=(0.0, math.inf))
    assert found["ratio"].tolist() == pytest.approx([math.exp(x) for x in (-2, 10, -10, 0.25)], rel=1e-6)
    with pytest.warns(UserWarning, match="samples a bin"):
        _, found = loss_of("kl", logits, normalizer=RatioNormalizer(0.0, 1.0, bin_num=2))
    mean = (20 + math.exp(-2)) / 2
    assert found["ratio"].tolist()[:2] == pytest.approx([math.exp(-2) / mean, 20 / mean], rel=1e-5)


def test_inverted_labels_exchange_kl_and_neyman():
    torch.testing.assert_close(loss_of("kl", -LOGITS)[1]["h"], loss_of("neyman")[1]["h"], rtol=1e-5, atol=0)


def test_h_has_the_mean_of_all_workers(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 8, 1, generator=generator)
    expected = loss_of("kl", logits.flatten(0, 1))[1]["h"]
    theirs = torch.stack([logits[1].exp().sum(), torch.tensor(8.0)])
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.add_(theirs))
    torch.testing.assert_close(loss_of("kl", logits[0])[1]["h"], expected[:8])


def test_images_are_summed_over_all_their_dimensions():
    gen, teacher, fake = batch(3, 12)
    flat = vsd_loss(gen, teacher, fake)
    images = vsd_loss(*(x.view(3, 3, 2, 2) for x in (gen, teacher, fake)))
    assert images.item() == pytest.approx(flat.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    """Logits whose exponential has no float16, and a step that would vanish beside its sample."""
    gen = torch.full((2, 4), 8.0, dtype=dtype, requires_grad=True)
    teacher, fake = torch.full((2, 4), 7.0, dtype=dtype), torch.full((2, 4), 7.03125, dtype=dtype)
    logits = torch.tensor([[60000.0], [-60000.0]]).to(dtype)
    loss, found = f_distill_loss(gen, teacher, fake, logits, torch.full((2,), 0.5, dtype=dtype), divergence="kl")
    assert loss.dtype == found["h"].dtype == torch.float32
    assert found["ratio"].tolist() == pytest.approx([20.0, 0.1])
    loss.backward()
    moved = float(fake[0, 0] - teacher[0, 0])
    assert gen.grad.dtype == dtype
    # Gradients are rounded to the student's dtype, of 8 bits at least.
    assert gen.grad[:, 0].tolist() == pytest.approx([h * moved / 8 for h in found["h"].tolist()], rel=2**-8)


def test_a_small_step_is_not_lost_beside_its_sample():
    """1e-4 is less than half of float32's spacing at 1e4."""
    gen = torch.full((1, 2), 1e4, requires_grad=True)
    teacher, fake = torch.zeros(1, 2), torch.full((1, 2), 1e-4)
    vsd_loss(gen, teacher, fake, sample_norm="none").backward()
    assert torch.equal(gen.grad, fake / 2)


@pytest.mark.parametrize(("logits", "key", "warns"), [
    (torch.zeros(4, 1), "js", True), (torch.full((4, 1), -9.0), "kl", True), (torch.zeros(4, 1), "rkl", False),
    (torch.tensor([[0.0], [0.1]]), "js", False),
])  # fmt: skip
def test_it_warns_where_all_ratios_are_one(logits, key, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loss_of(key, logits)
    assert [f"so that {key} is reverse KL here" in str(w.message) for w in caught] == [True] * warns
    assert {w.filename for w in caught} <= {__file__}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gen": torch.ones(2, 4)}, r"one shape \[B, \*\]"),
        ({"gen": torch.ones(3)}, r"one shape \[B, \*\]"),
        ({"gen": torch.full((3, 4), NAN)}, r"gen: 12 of 12 are NaN.*at \[0, 0\]; the student has diverged"),
        ({"teacher_x0": torch.full((3, 4), math.inf)}, "teacher_x0: 12 of 12"),
        ({"fake_x0": torch.full((3, 4), NAN)}, "fake score net has diverged"),
        ({"logits": torch.tensor([[0.0], [NAN], [0.0]])}, r"logits: 1 of 3 are NaN.*at \[1, 0\]; the discriminator"),
        ({"logits": torch.tensor([[0.0], [math.inf], [0.0]])}, "logits: 1 of 3"),
        ({"logits": torch.zeros(3)}, r"logits \[B, heads\].*logits\[:, None\]"),
        ({"logits": torch.zeros(3, 0)}, r"logits \[B, heads\]"),
        ({"logits": torch.zeros(2, 1)}, "logits of 3 samples"),
        ({"t": torch.zeros(3, 1)}, r"t: shape \[3\]"),
        ({"t": torch.tensor([0.1, NAN, 0.2])}, "t: 1 of 3 are NaN"),
        ({"divergence": "tv"}, "no divergence 'tv'; there are rkl"),
        ({"sample_norm": "mean"}, "'dmd' or 'none', got 'mean'"),
        ({"time_weight": lambda t: 1 / (t - 0.5)}, r"time_weight\(t\): 1 of 3"),
        ({"time_weight": lambda t: t[:, None]}, r"time_weight\(t\): shape \[3\].*write \.flatten\(\)"),
        ({"time_weight": lambda t: 0.3 - t}, r"time_weight\(t\): none may be negative, got -0\.2.* at \[1\]"),
        ({"t": torch.tensor(0.5)}, r"t: shape \[3\].*got \[\]; write \.expand\(3\)"),
        ({"logits": torch.zeros(3, 1, 4, 4)}, r"write logits\.flatten\(1\), a head a patch"),
        ({"ratio_bounds": (2.0, 1.0)}, "low < high"),
        ({"ratio_bounds": (-1.0, 1.0)}, "low < high"),
        ({"ratio_bounds": (NAN, 1.0)}, "low < high"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_changes_nothing(change, message):
    gen, teacher, fake = batch()
    given = {"gen": gen, "teacher_x0": teacher, "fake_x0": fake, "logits": LOGITS, "t": torch.tensor([0.2, 0.5, 0.7])}
    normalizer = RatioNormalizer(0.0, 1.0)
    with pytest.raises(ValueError, match=message):
        f_distill_loss(**{**given, **change}, normalizer=normalizer)
    assert normalizer.bins.tolist() == [1.0] * 10


def test_weights_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"weight: shape \[3\]"):
        vsd_loss(*batch(), torch.ones(3, 1))
    with pytest.raises(ValueError, match="weight: 1 of 3 are NaN"):
        vsd_loss(*batch(), torch.tensor([1.0, NAN, 1.0]))
    with pytest.raises(ValueError, match=r"weight: none may be negative, got -1 at \[1\]"):
        vsd_loss(*batch(), torch.tensor([1.0, -1.0, 1.0]))


def test_the_discriminator_s_least_loss_is_at_the_log_ratio():
    """Over a grid with p and q known, the gradient in every logit is 0 at log p/q, and not beside it."""
    p, q = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], dtype=torch.float64)
    counts_p, counts_q = (10 * p).round().long(), (10 * q).round().long()
    for shift in (0.0, 0.3):
        logit = ((p / q).log() + shift).requires_grad_()
        real, fake = (torch.repeat_interleave(logit, counts)[:, None] for counts in (counts_p, counts_q))
        (slope,) = torch.autograd.grad(gan_discriminator_loss(real, fake), logit)
        assert bool((slope.abs() < 1e-12).all() if not shift else (slope > 1e-3).all())


def test_losses_of_logits():
    real, fake = torch.tensor([[0.3, -1.0]]), torch.tensor([[2.0, 0.5], [-1.0, 0.0]])
    assert gan_discriminator_loss(real, fake).item() == pytest.approx(
        float(softplus(fake).mean() + softplus(-real).mean()), rel=1e-6
    )
    assert gan_generator_loss(fake).item() == pytest.approx(float(softplus(-fake).mean()), rel=1e-6)
    assert gan_generator_loss(torch.zeros(2, 1)).item() == pytest.approx(math.log(2), rel=1e-6)
    assert approximate_r1(real, real + 0.1).item() == pytest.approx(0.01, rel=1e-5)
    assert gan_generator_loss(torch.full((1, 1), -3e4).half()).item() == 3e4


def test_the_regulariser_teaches_by_both_logits():
    real, perturbed = LOGITS.clone().requires_grad_(), (LOGITS + 0.1).requires_grad_()
    approximate_r1(real, perturbed).backward()
    torch.testing.assert_close(perturbed.grad, torch.full((3, 1), 0.2 / 3), rtol=1e-5, atol=0)
    assert torch.equal(real.grad, -perturbed.grad)


def test_the_gan_term_pulls_the_student_to_what_looks_real():
    logits = torch.tensor([[0.5]], requires_grad=True)
    gan_generator_loss(logits).backward()
    assert logits.grad.item() == pytest.approx(-1 / (1 + math.exp(0.5)), rel=1e-6)


def test_the_student_s_loss_adds_the_gan_term_and_refuses_to_go_without_a_discriminator():
    distillation, logits = torch.tensor(2.0), torch.tensor([[1.0], [3.0]])
    found = student_loss(distillation, logits, 0.5)
    assert found.item() == pytest.approx(2.0 + 0.5 * float(gan_generator_loss(logits)), rel=1e-6)
    assert student_loss(distillation, logits).item() == pytest.approx(2.0 + 1e-3 * float(gan_generator_loss(logits)))
    with pytest.raises(ValueError, match="gan_weight is 0, and the ratio needs a discriminator"):
        student_loss(distillation, logits, 0.0)
    assert student_loss(distillation, logits, 0.0, discriminator_trained=True).item() == 2.0
    with pytest.raises(ValueError, match="fake_logits have no graph"):
        student_loss(distillation.clone().requires_grad_(), logits)
    with pytest.raises(ValueError, match="distillation has no graph"):
        student_loss(distillation, logits.clone().requires_grad_())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: student_loss(torch.tensor(1.0), LOGITS, -0.1), "at least 0, got -0.1"),
        (lambda: student_loss(torch.tensor(1.0), LOGITS, NAN), "at least 0, got nan"),
        (lambda: student_loss(torch.ones(2), LOGITS), "0-dim"),
        (lambda: student_loss(torch.tensor(NAN), LOGITS), "distillation: 1 of 1"),
        (lambda: student_loss(torch.tensor(1.0), NAN * LOGITS), "gan_generator_loss: logits: 3 of 3"),
        (lambda: gan_discriminator_loss(NAN * LOGITS, LOGITS), "real: logits: 3 of 3"),
        (lambda: gan_discriminator_loss(LOGITS, LOGITS[:, 0]), "fake: logits"),
        (lambda: approximate_r1(LOGITS, LOGITS[:2]), r"shapes \[3, 1\] and \[2, 1\]"),
        (lambda: gan_discriminator_loss(LOGITS, torch.zeros(3, 2)), r"same heads.*\[3, 1\] and \[3, 2\]"),
        (lambda: gan_generator_loss(torch.zeros(3, 1, 4, 4)), r"flatten\(1\)"),
        (lambda: is_student_step(-1), "iteration must be an integer of at least 0, got -1"),
        (lambda: is_student_step(3, 1), "every must be an integer of at least 2, got 1"),
        (lambda: is_student_step(3, True), "every must be an integer of at least 2, got True"),
    ],
)  # fmt: skip
def test_what_the_critic_is_given_wrongly_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_whose_turn_it_is():
    assert [n for n in range(11) if is_student_step(n)] == [0, 5, 10]
    assert [n for n in range(5) if is_student_step(n, 2)] == [0, 2, 4]
