"""What comes in by mistake or in another dtype: named where it is of the wrong kind, and taken where it is meant so."""

import math
import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput

from entrokit.generative.f_distill import (
    DIVERGENCES,
    RatioNormalizer,
    approximate_r1,
    f_distill_loss,
    f_divergence_gradient_weight,
    f_weight,
    gan_discriminator_loss,
    gan_generator_loss,
    is_student_step,
    student_loss,
    vsd_loss,
)

from .f_distill_cases import LOGITS

X = torch.arange(24.0).view(3, 1, 2, 4) / 24
T = torch.tensor([0.2, 0.5, 0.7])


def wide():
    return RatioNormalizer(0.0, 1.0, bin_num=1, ema_rate=0.5)


def loss_of(**change):
    given = {"gen": X, "teacher_x0": X + 1, "fake_x0": X.flip(0), "logits": LOGITS, "t": T}
    return f_distill_loss(**{**given, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher_x0": UNet2DOutput(sample=X)}, r"teacher_x0: a tensor.*got UNet2DOutput, in which \.sample is one"),
        ({"fake_x0": (X, None)}, r"fake_x0: .*got tuple, in which \[0\] is one"),
        ({"gen": OrderedDict(a=X, b=X)}, r"gen: .*got OrderedDict, in which \['a'\], \['b'\] are tensors"),
        ({"gen": X.numpy()}, r"gen: .*got ndarray; torch\.as_tensor"),
        ({"gen": X.to(torch.uint8)}, r"gen: .*got torch\.uint8"),
        ({"gen": X + 0j}, r"gen: .*got torch\.complex64"),
        ({"teacher_x0": None}, "teacher_x0: .*got None$"),
        ({"logits": LOGITS.numpy()}, "logits: .*got ndarray"),
        ({"logits": None}, "logits: .*got None$"),
        ({"logits": [LOGITS, LOGITS]}, r"a list of 2 tensors; torch\.cat\(\[x\.flatten\(1\) for x in logits\], 1\)"),
        ({"logits": LOGITS.long()}, r"logits: .*got torch\.int64"),
        ({"t": 0.5}, r"t: a tensor \[3\].*torch\.full\(\(3,\), 0\.5\)"),
        ({"t": torch.ones(3, dtype=torch.bool)}, r"t: .*got torch\.bool"),
        ({"divergence": ["kl"]}, "divergence must be a key of DIVERGENCES, such as 'js', got a list"),
        ({"divergence": DIVERGENCES["kl"]}, "got a Divergence"),
        ({"normalizer": RatioNormalizer}, r"one RatioNormalizer\(t_min, t_max\).*got the class RatioNormalizer"),
        ({"normalizer": True}, "got a bool"),
        ({"time_weight": T}, "time_weight must be a function of t.*got a Tensor"),
        ({"time_weight": lambda t: 1.0}, r"time_weight\(t\): a tensor \[3\]"),
        ({"time_weight": lambda t: None}, r"time_weight\(t\): .*got None"),
        ({"ratio_bounds": None}, r"a pair \(low, high\), got None; \(0, math\.inf\) leaves that of logits alone, 10"),
        ({"ratio_bounds": (0.1, 1.0, 20.0)}, r"a pair \(low, high\)"),
        ({"ratio_bounds": 20.0}, r"a pair \(low, high\)"),
        ({"ratio_bounds": (None, 20.0)}, "a bound of ratio_bounds must be a number, got NoneType"),
    ],
)  # fmt: skip
def test_what_the_loss_cannot_take_is_named(change, message):
    with pytest.raises(TypeError, match=message):
        loss_of(**change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: student_loss(loss_of(), LOGITS), r"distillation: .*got tuple, in which \[0\] is one"),
        (lambda: student_loss(1.0, LOGITS), "distillation: .*got float"),
        (lambda: student_loss(torch.tensor(1.0), 1e-3, LOGITS), r"gan_weight, which comes behind.*shape \[3, 1\]"),
        (lambda: student_loss(torch.tensor(1.0), LOGITS, None), "gan_weight.*must be a number, got NoneType"),
        (lambda: student_loss(torch.tensor(1.0), LOGITS, True), "gan_weight.*must be a number, got bool"),
        (lambda: student_loss(torch.tensor(1.0), LOGITS, torch.tensor(1j)), "gan_weight.*must be a number"),
        (lambda: student_loss(torch.tensor(1.0), None), "logits: .*got None"),
        (lambda: vsd_loss(X, X, X, 2.0), r"weight: a tensor \[3\] is expected.*torch\.full\(\(3,\), 2\.0\)"),
        (lambda: vsd_loss(X.numpy(), X, X), "vsd_loss: gen: .*got ndarray"),
        (lambda: vsd_loss(X, X, X.long()), r"vsd_loss: fake_x0: .*got torch\.int64"),
        (lambda: f_weight("kl", torch.ones(2)), "divergence must be a key.*got a Tensor"),
        (lambda: f_weight([1.0], "kl"), "got list"),
        (lambda: f_divergence_gradient_weight(None), "divergence must be a key.*got a NoneType"),
        (lambda: gan_discriminator_loss(LOGITS.numpy(), LOGITS), "real: logits: .*got ndarray"),
        (lambda: approximate_r1(LOGITS, None), "perturbed: logits: .*got None"),
        (lambda: RatioNormalizer(None), "t_min must be a number, got NoneType"),
        (lambda: RatioNormalizer(0.0, torch.ones(2)), r"t_max must be a number, got Tensor of shape \[2\]"),
        (lambda: RatioNormalizer(ema_rate="0.5"), "ema_rate must be a number, got str"),
        (lambda: RatioNormalizer(bin_num=2.5), r"bin_num must be an integer, got 2\.5"),
        (lambda: RatioNormalizer()([1.0], T), "ratios: .*got list"),
        (lambda: wide()(T, None), "times: .*got None"),
        (lambda: is_student_step(None), "iteration must be an integer, got None"),
        (lambda: is_student_step(5, 2.5), r"every must be an integer, got 2\.5"),
    ],
)  # fmt: skip
def test_what_the_others_cannot_take_is_named(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_numbers_of_other_libraries_are_numbers():
    normalizer = RatioNormalizer(np.float32(0.0), torch.tensor(2.0), bin_num=np.int64(4), ema_rate=np.float64(0.5))
    assert repr(normalizer) == "RatioNormalizer(0, 2, bin_num=4, ema_rate=0.5)"
    assert is_student_step(np.int64(10))
    assert is_student_step(torch.tensor(10))
    bounds = (np.float64(0.1), np.float64(20.0))
    assert torch.equal(loss_of(ratio_bounds=bounds)[0], loss_of()[0])
    distillation = torch.tensor(2.0)
    weight = torch.tensor(0.5, requires_grad=True)
    found = student_loss(distillation, LOGITS, weight)
    assert found.item() == pytest.approx(2.0 + 0.5 * gan_generator_loss(LOGITS).item(), rel=1e-6)
    assert not found.requires_grad


def test_integers_are_times_of_the_normalizer_and_of_the_weight():
    """As timesteps of diffusers, by which a table of the schedule is read."""
    steps, table = torch.tensor([0, 400, 999]), torch.linspace(1.0, 2.0, 1000)
    with pytest.warns(UserWarning, match="samples a bin"):
        loss, found = loss_of(t=steps, normalizer=RatioNormalizer(0, 999), time_weight=lambda t: table[t])
    with pytest.warns(UserWarning, match="samples a bin"):
        same, expected = loss_of(t=steps.float(), normalizer=RatioNormalizer(0, 999), time_weight=lambda t: 1 + t / 999)
    torch.testing.assert_close(loss, same)
    assert torch.equal(found["ratio"], expected["ratio"])


def test_a_weight_of_time_may_be_whole_and_zero():
    none, _ = loss_of(time_weight=lambda t: (t * 0).long())
    assert none.item() == 0
    assert loss_of(time_weight=lambda t: (t * 0).long() + 2)[0].item() == pytest.approx(
        4 * loss_of()[0].item(), rel=1e-6
    )


def test_a_weight_of_time_may_leave_torch():
    times = T.clone().requires_grad_()
    loss, _ = loss_of(t=times, time_weight=lambda t: torch.from_numpy(np.sqrt(t.numpy())))
    assert torch.equal(loss, loss_of(time_weight=torch.sqrt)[0])


def test_a_weight_of_time_is_computed_in_float32():
    """1e-3 squared has the reciprocal 1e6, which float16 has not."""
    loss, _ = loss_of(t=torch.full((3,), 1e-3).half(), time_weight=lambda t: t**-2)
    assert loss.item() == pytest.approx(1e12 * loss_of()[0].item(), rel=1e-2)


@pytest.mark.parametrize(
    ("dtype", "t", "fits"),
    [
        (torch.float32, 1.0, True), (torch.float32, 1.0 + 2**-22, True), (torch.float32, 1.001, False),
        (torch.float32, -1e-5, False), (torch.float64, 1.0 + 2**-22, False),
        (torch.bfloat16, 1.0078125, True), (torch.bfloat16, 1.0625, False), (torch.float16, 1.0078125, False),
    ],
)  # fmt: skip
def test_times_beyond_the_ends_are_taken_to_rounding_alone(dtype, t, fits):
    times = torch.full((8,), t, dtype=dtype)
    if fits:
        assert wide()(torch.ones(8), times).shape == (8,)
        assert loss_of(t=times[:3], normalizer=wide())[0].isfinite()
    else:
        with pytest.raises(ValueError, match=r"lie in \[0, 1\]"):
            loss_of(t=times[:3], normalizer=wide())


def test_an_integer_time_beyond_the_end_is_named():
    normalizer = RatioNormalizer(0, 999, bin_num=1)
    assert normalizer(torch.ones(4), torch.full((4,), 999)).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    for step in (1000, -1):
        with pytest.raises(ValueError, match=rf"lie in \[0, 999\], got {step} at"):
            normalizer(torch.ones(4), torch.full((4,), step))


def test_means_that_move_by_little_move_in_a_module_of_half_precision():
    """A mean that comes from 1 to 1.3 by hundredths: in bfloat16 each step is less than half a spacing."""
    normalizer = RatioNormalizer(0.0, 1.0, bin_num=1, ema_rate=0.99)
    normalizer.bins.fill_(1.001)
    normalizer.to(torch.bfloat16)
    assert normalizer.bins.item() == pytest.approx(1.001, rel=1e-6)
    for _ in range(100):
        normalizer(torch.full((4,), 1.3), torch.full((4,), 0.5))
    assert normalizer.bins.item() == pytest.approx(1.3 - 0.299 * 0.99**100, abs=1e-5)
    assert normalizer.double().bins.dtype == torch.float64


def test_a_batch_of_one_is_reverse_kl_and_is_told():
    one = {"gen": X[:1], "teacher_x0": X[:1] + 1, "fake_x0": X[1:2], "logits": LOGITS[:1], "t": T[:1]}
    with pytest.warns(UserWarning, match="in a batch of one sample h is divided by itself, so that kl is") as caught:
        loss, _ = f_distill_loss(**one, divergence="kl")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain, _ = f_distill_loss(**one, divergence="rkl")
    # h / (h + 1e-6) with h above 0.3.
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)


@pytest.mark.filterwarnings("error")
def test_one_sample_a_worker_is_no_batch_of_one(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.add_(torch.tensor([1.0, 1.0])))
    _, found = f_distill_loss(X[:1], X[:1] + 1, X[1:2], LOGITS[:1], T[:1], divergence="kl")
    ratio = math.exp(-1)
    assert found["h"].item() == pytest.approx(ratio / ((ratio + 1) / 2 + 1e-6), rel=1e-6)


def test_a_loss_that_overflows_is_named():
    with pytest.raises(ValueError, match=r"f_distill_loss: the loss is inf: .* too large for torch\.float32"):
        loss_of(time_weight=lambda t: 1e30 / t, sample_norm="none")
    with pytest.raises(ValueError, match="vsd_loss: the loss is inf"):
        vsd_loss(X, 1e25 * X, X, sample_norm="none")


@pytest.mark.parametrize("name", ["teacher_x0", "fake_x0", "logits", "t"])
def test_the_loss_is_of_the_student_s_dtype(name):
    given = {"teacher_x0": X + 1, "fake_x0": X.flip(0), "logits": LOGITS, "t": T}
    assert loss_of(**{name: given[name].double()})[0].dtype == torch.float32
    assert loss_of(gen=X.double())[0].dtype == torch.float64


def test_nothing_that_was_given_changes_and_no_random_number_is_drawn():
    given = {"gen": X.clone(), "teacher_x0": X + 1, "fake_x0": X.flip(0), "logits": LOGITS.clone(), "t": T.clone()}
    before, state = {name: x.clone() for name, x in given.items()}, torch.get_rng_state()
    f_distill_loss(**given, normalizer=wide(), time_weight=lambda t: 1 / t)
    assert all(torch.equal(given[name], before[name]) for name in given)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("key", list(DIVERGENCES))
def test_weights_have_derivatives_and_minus_zero_is_zero(key):
    f, h = f_divergence_gradient_weight(key)
    r = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(h(r).sum(), r)
    step = 1e-6
    expected = (h(r.detach() + step) - h(r.detach() - step)) / (2 * step)
    # Third derivatives are below 100, values below 10.
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-8)
    assert f(torch.tensor(-0.0)).item() == f(torch.tensor(0.0)).item()
