"""Degenerate and hostile input: named by field and place, or without effect where it must have none."""

import math
from types import SimpleNamespace

import pytest
import torch

from entrokit.engines.prime_rl import loss_of

from .contract import CUTS, batch, gradients, step
from .methods import PrimeDefault, Squared

pytestmark = pytest.mark.filterwarnings("ignore:recipe .*advantages are those of prime-rl")


@pytest.fixture(scope="module")
def loss():
    return loss_of("dr_grpo", aggregation="token-mean")


def with_field(name, value):
    own = batch()[0]
    setattr(own, name, value)
    return own


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["trainer_logprobs", "inference_logprobs", "advantages", "loss_weights"])
def test_what_is_not_finite_is_named_by_field_and_place(loss, name, value):
    own = batch()[0]
    own.loss_weights = torch.full((10,), 0.5, dtype=torch.float64)
    spoilt = getattr(own, name).detach().clone()
    spoilt[4] = value
    setattr(own, name, spoilt)
    with pytest.raises(ValueError, match=rf"LossInputs\.{name}: is NaN or infinite .* position 4 of the sequence's 10"):
        loss(own)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300])
def test_what_lies_outside_the_mask_has_no_effect(loss, value):
    clean, spoilt = batch(), batch()
    for own in spoilt:
        outside = ~own.loss_mask
        for name in ("trainer_logprobs", "inference_logprobs", "advantages"):
            field = getattr(own, name).detach().clone()
            field[outside] = value
            setattr(own, name, field.requires_grad_() if name == "trainer_logprobs" else field)
    whole, same = step(clean, loss, cuts=CUTS[1])[0], sum(loss(own).loss for own in spoilt) / 24
    torch.testing.assert_close(same, whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(gradients(same, spoilt), gradients(whole, clean), rtol=0, atol=1e-15)


def test_a_sequence_without_members_is_0_with_a_graph_and_says_nothing(loss):
    own = batch()[2]
    out = loss(own)
    assert out.loss.item() == 0.0
    assert out.metrics == {}
    (slope,) = torch.autograd.grad(out.loss, [own.trainer_logprobs])
    assert (slope == 0).all()
    own.trainer_logprobs = torch.full((4,), math.nan, requires_grad=True)
    assert loss(own).loss.item() == 0.0


def test_a_step_without_members_is_0(loss):
    sequences = batch()
    for own in sequences:
        own.loss_mask[:] = False
    total, metrics = step(sequences, loss, cuts=CUTS[2])
    assert total.item() == 0.0
    assert metrics == {}
    assert (gradients(total, sequences) == 0).all()


@pytest.mark.parametrize("name", ["trainer_logprobs", "inference_logprobs", "advantages", "loss_mask"])
def test_a_missing_field_names_the_contract(loss, name):
    fields = {**vars(batch()[0])}
    del fields[name]
    with pytest.raises(ValueError, match=rf"LossInputs has no {name}; entrokit knows the loss contract of prime-rl"):
        loss(SimpleNamespace(**fields))


def test_the_contract_of_before_07_has_what_is_read(loss):
    """prime-rl 0.6 called the reference's `teacher_logprobs`, and had no weights."""
    fields = {**vars(batch()[0]), "teacher_logprobs": None}
    del fields["ref_logprobs"], fields["loss_weights"]
    torch.testing.assert_close(loss(SimpleNamespace(**fields)).loss, loss(batch()[0]).loss)


@pytest.mark.parametrize("name", ["inference_logprobs", "advantages", "loss_mask", "loss_weights"])
def test_a_wrong_shape_is_named(loss, name):
    value = torch.ones(9, dtype=torch.bool if name == "loss_mask" else torch.float64)
    with pytest.raises(ValueError, match=rf"LossInputs\.{name}: expected the shape of .*, \[10\], got \[9\]"):
        loss(with_field(name, value))


def test_a_batch_in_the_place_of_a_sequence_is_named(loss):
    own = batch()[0]
    for name, value in vars(own).items():
        if isinstance(value, torch.Tensor):
            setattr(own, name, value[None])
    with pytest.raises(ValueError, match=r"trainer_logprobs: expected shape \[seq\], got \[1, 10\]"):
        loss(own)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("loss_mask", torch.ones(10), "bool"),
        ("loss_mask", torch.ones(10, dtype=torch.long), "bool"),
        ("advantages", torch.ones(10, dtype=torch.long), "float"),
        ("trainer_logprobs", torch.ones(10, dtype=torch.bool), "float"),
        ("loss_weights", torch.ones(10, dtype=torch.bool), "float"),
    ],
)
def test_a_wrong_dtype_is_named(loss, name, value, wanted):
    with pytest.raises(ValueError, match=rf"LossInputs\.{name}: expected a {wanted} tensor, got torch\."):
        loss(with_field(name, value))


@pytest.mark.parametrize("value", [[0.0] * 10, 1.0, "logprobs"])
def test_what_is_no_tensor_is_named(loss, value):
    with pytest.raises(ValueError, match=r"LossInputs\.advantages: expected a tensor, got "):
        loss(with_field("advantages", value))


@pytest.mark.parametrize("name", ["trainer_logprobs", "inference_logprobs"])
def test_probabilities_in_the_place_of_log_probabilities_are_named(loss, name):
    with pytest.raises(
        ValueError, match=rf"LossInputs\.{name}: is above 0, .* natural log-probabilities.* position 3 of"
    ):
        loss(with_field(name, torch.rand(10, dtype=torch.float64) + 0.1))


@pytest.mark.parametrize(
    ("name", "dtype", "rounding"),
    [
        ("trainer_logprobs", torch.float32, 1e-4),
        ("trainer_logprobs", torch.bfloat16, 0.0625),
        ("inference_logprobs", torch.float32, 1e-4),
    ],
)
def test_a_log_probability_that_rounding_lifts_above_0_is_taken(loss, name, dtype, rounding):
    """bfloat16 has steps of 1/16 from 8 to 16 on: a logit less a sum of exponentials of that size is off by one."""
    own = batch(dtype=torch.float32)[0]
    lifted = getattr(own, name).detach().clone().to(dtype)
    lifted[4] = rounding
    setattr(own, name, lifted)
    assert torch.isfinite(loss(own).loss)
    lifted[4] = 0.2
    with pytest.raises(ValueError, match=r"is above 0.* position 4 of"):
        loss(own)


def test_what_is_above_0_outside_the_mask_is_not_read(loss):
    own = batch()[0]
    spoilt = own.trainer_logprobs.detach().clone()
    spoilt[0] = 3.0
    own.trainer_logprobs = spoilt.requires_grad_()
    assert torch.equal(loss(own).loss, loss(batch()[0]).loss)


def test_weights_below_0_are_named(loss):
    with pytest.raises(ValueError, match=r"LossInputs\.loss_weights: is below 0 .* position 3 of"):
        loss(with_field("loss_weights", torch.full((10,), -1.0, dtype=torch.float64)))


def test_weights_beside_a_penalty_are_refused_and_ones_are_not():
    penalised = loss_of("dr_grpo", PrimeDefault(), aggregation="token-mean")
    ones = with_field("loss_weights", torch.ones(10, dtype=torch.float64))
    assert torch.equal(penalised(ones).loss, penalised(batch()[0]).loss)
    with pytest.raises(ValueError, match=r"prime-default adds a loss of its own that such weights cannot reach"):
        penalised(with_field("loss_weights", torch.full((10,), 0.5, dtype=torch.float64)))


def test_a_policy_far_from_the_sampler_stays_finite(loss):
    own = batch()[0]
    own.trainer_logprobs = torch.full((10,), -1e-4, dtype=torch.float64, requires_grad=True)
    own.inference_logprobs = torch.full((10,), -900.0, dtype=torch.float64)
    out = loss(own)
    assert torch.isfinite(out.loss)
    assert torch.isfinite(torch.autograd.grad(out.loss, [own.trainer_logprobs])[0]).all()


def test_half_precision_is_computed_in_float32():
    loss = loss_of("dr_grpo", Squared(), aggregation="token-mean")
    half, wide = batch(dtype=torch.float32)[0], batch(dtype=torch.float32)[0]
    half.trainer_logprobs = half.trainer_logprobs.detach().bfloat16().requires_grad_()
    wide.trainer_logprobs = half.trainer_logprobs.detach().float().requires_grad_()
    assert torch.equal(loss(half).loss, loss(wide).loss)
    assert torch.autograd.grad(loss(half).loss, [half.trainer_logprobs])[0].dtype == torch.bfloat16


def test_weights_in_half_precision_are_those_numbers():
    loss = loss_of("dr_grpo", aggregation="token-mean")
    half, wide = (batch(dtype=torch.float32)[0] for _ in range(2))
    half.loss_weights = torch.full((10,), 0.3, dtype=torch.float16)
    wide.loss_weights = half.loss_weights.float()
    assert torch.equal(loss(half).loss, loss(wide).loss)


def test_the_policy_alone_gets_a_gradient(loss):
    own = batch()[0]
    own.loss_weights = torch.full((10,), 0.5, dtype=torch.float64)
    for name in ("inference_logprobs", "advantages", "loss_weights"):
        setattr(own, name, getattr(own, name).clone().requires_grad_())
    loss(own).loss.backward()
    assert own.trainer_logprobs.grad is not None
    assert own.inference_logprobs.grad is own.advantages.grad is own.loss_weights.grad is None


def test_inputs_are_left_as_they_were(loss):
    own, before = batch()[1], batch()[1]
    loss(own)
    for name, value in vars(before).items():
        assert value is None or torch.equal(getattr(own, name), value)
