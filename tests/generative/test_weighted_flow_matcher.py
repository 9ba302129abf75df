"""The matcher, beside torchcfm's own."""

import inspect
import math
import pickle

import pytest
import torch
from torchcfm.conditional_flow_matching import ConditionalFlowMatcher

from entrokit.generative.weighted_flow import WeightedConditionalFlowMatcher, gibbs_weights, sinkhorn_potentials

from .weighted_flow_cases import X, Y, normal

SHAPES = [(6,), (6, 2), (6, 3, 4, 4)]


@pytest.mark.parametrize("shape", SHAPES, ids=["numbers", "plane", "images"])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_paths_velocities_and_draws_are_torchcfm_s_bit_for_bit(shape, sigma):
    x0, x1 = normal(*shape, dtype=torch.float32), normal(*shape, seed=1, dtype=torch.float32)
    for options in ({}, {"return_noise": True}, {"t": torch.linspace(0, 1, 6)}):
        both = []
        for matcher in (ConditionalFlowMatcher(sigma), WeightedConditionalFlowMatcher(0.7, sigma=sigma)):
            torch.manual_seed(3)
            both.append(matcher.sample_location_and_conditional_flow(x0, x1, **options))
        theirs, ours = both
        assert len(ours) == len(theirs)
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, theirs, strict=True))


def test_every_method_of_torchcfm_s_matcher_is_there_with_its_arguments():
    ours, theirs = WeightedConditionalFlowMatcher(1.0, sigma=0.5), ConditionalFlowMatcher(0.5)
    methods = [name for name, _ in inspect.getmembers(ConditionalFlowMatcher, inspect.isfunction) if name[0] != "_"]
    assert len(methods) == 7
    for name in methods:
        expected = list(inspect.signature(getattr(theirs, name)).parameters)
        assert list(inspect.signature(getattr(ours, name)).parameters) == expected, name
    x0, x1, t = normal(4, 2), normal(4, 2, seed=1), torch.linspace(0, 1, 4, dtype=torch.float64)
    assert torch.equal(ours.compute_mu_t(x0, x1, t), theirs.compute_mu_t(x0, x1, t))
    assert torch.equal(ours.sample_xt(x0, x1, t, x1), theirs.sample_xt(x0, x1, t, x1))
    assert ours.compute_sigma_t(t) == theirs.compute_sigma_t(t)
    assert ours.compute_lambda(t) == theirs.compute_lambda(t)


@pytest.mark.parametrize("eps", [1e9, math.inf])
def test_check_1_an_infinite_temperature_is_plain_flow_matching_bit_for_bit(eps):
    x0, x1 = normal(32, 2, dtype=torch.float32), normal(32, 2, seed=1, dtype=torch.float32) + 3
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)

    def velocity(t, x):
        return model(torch.cat([x, t[:, None]], 1))

    torch.manual_seed(1)
    t, xt, ut = ConditionalFlowMatcher().sample_location_and_conditional_flow(x0, x1)
    plain = (velocity(t, xt) - ut).square().sum(1).mean()
    expected = torch.autograd.grad(plain, model.parameters())
    torch.manual_seed(1)
    loss = WeightedConditionalFlowMatcher(eps).loss(velocity, x0, x1)
    assert torch.equal(loss, plain)
    assert all(map(torch.equal, torch.autograd.grad(loss, model.parameters()), expected))


def test_check_1_a_perfect_velocity_has_no_loss():
    x0, x1 = normal(5, 2), normal(5, 2, seed=1)
    assert float(WeightedConditionalFlowMatcher(0.5).loss(lambda t, x: x1 - x0, x0, x1)) == 0


def test_check_2_through_the_matcher():
    x0, x1 = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    t, v = torch.tensor([0.25, 0.5]), torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    matcher = WeightedConditionalFlowMatcher(2.0, normalize=None)
    seen = matcher.sample(x0, x1, t)
    assert seen[0] is t
    assert seen[1].tolist() == [[0.0, 0.25], [1.5, 0.0]]
    assert seen[2].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert seen[3].tolist() == pytest.approx([0.606531] * 2, abs=5e-7)
    assert float(matcher.loss(lambda t, x: v, x0, x1, t)) == pytest.approx(0.151633, abs=5e-7)
    assert float(WeightedConditionalFlowMatcher(2.0).loss(lambda t, x: v, x0, x1, t)) == 0.25


def test_its_weights_are_those_of_all_its_settings():
    x0, x1 = normal(4, 2), normal(4, 2, seed=1)
    plan = sinkhorn_potentials(X, Y, 1.5, "l1")
    matcher = WeightedConditionalFlowMatcher(1.5, "l1", 0.2, None, plan)
    expected = gibbs_weights(x0, x1, 1.5, "l1", None, plan)
    assert torch.equal(matcher.weights(x0, x1), expected)
    assert torch.equal(matcher.sample(x0, x1)[3], expected)
    assert torch.equal(pickle.loads(pickle.dumps(matcher)).weights(x0, x1), expected)


def test_latents_that_are_trained_get_gradients_by_the_path_alone():
    x0, x1 = normal(3, 2).requires_grad_(), normal(3, 2, seed=1)
    t = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    matcher = WeightedConditionalFlowMatcher(1.0)
    (gradient,) = torch.autograd.grad(matcher.loss(lambda t, x: torch.zeros_like(x), x0, x1, t), x0)
    weight = matcher.weights(x0, x1)
    torch.testing.assert_close(gradient, -2 * weight[:, None] * (x1 - x0).detach() / 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, "eps: must be above 0"),
        ({"eps": -2.0}, "eps: must be above 0"),
        ({"eps": 1.0, "sigma": -0.1}, "sigma: must be at least 0"),
        ({"eps": 1.0, "sigma": math.nan}, "sigma: must be"),
        ({"eps": 1.0, "sigma": math.inf}, "sigma: must be"),
        ({"eps": 1.0, "normalize": "mean"}, "normalize"),
        ({"eps": 1.0, "cost": "l3"}, "cost: is one of"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_settings_that_are_none_are_refused_when_it_is_made(options, message):
    with pytest.raises(ValueError, match=message):
        WeightedConditionalFlowMatcher(**options)


def test_batches_and_times_that_are_none_are_named():
    matcher, x = WeightedConditionalFlowMatcher(1.0), torch.zeros(3, 2)
    for call in (matcher.sample, matcher.sample_location_and_conditional_flow):
        with pytest.raises(ValueError, match=r"pairs need one shape; they have \[3, 2\] and \[2, 2\]"):
            call(x, x[:2])
        with pytest.raises(ValueError, match="x0: a floating dtype is expected, got torch.int64"):
            call(x.long(), x)
        with pytest.raises(ValueError, match=r"times lie in \[0, 1\], the source at 0; there is one of 500"):
            call(x, x, torch.tensor([0.5, 500.0, 1.0]))
        with pytest.raises(ValueError, match=r"t: a time a pair, \[3\], is expected; its shape is \[3, 1\]"):
            call(x, x, torch.zeros(3, 1))
        with pytest.raises(ValueError, match=r"one dtype and device; .* on cpu and .* on meta: take x1\.to\(x0\)"):
            call(x, x.to("meta"))
    with pytest.raises(ValueError, match="cost of pair 0 is nan"):
        matcher.loss(lambda t, x: x, x * math.nan, x)
    with pytest.raises(ValueError, match=r"the velocity has shape \[3, 1\]; \[3, 2\] is expected"):
        matcher.loss(lambda t, x: x[:, :1], x, x)
