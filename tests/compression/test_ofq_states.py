"""States of quantised models: resumed runs, states of another kind, and what evaluation must not touch."""

import math

import pytest
import torch
from torch import nn

from entrokit.compression.ofq import (
    ActivationQuantizer,
    ConfidenceGuidedAnnealing,
    OscillationMonitor,
    OscillationTracker,
    ProductAttention,
    QKReparamAttention,
    learned_step_quantize,
    quantize_model,
)

from .ofq_cases import FusedAttention, mlp


class Run:
    """A run with weights, products and activations in low bits, annealed in its last steps."""

    def __init__(self, method):
        torch.manual_seed(0)
        attention = QKReparamAttention.from_attention(FusedAttention(), 3, activation_bits=4, tokens=5)
        self.model = nn.Sequential(attention, nn.Linear(12, 3))
        quantize_model(self.model, 3, method=method)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.monitor = OscillationMonitor(self.model)

    def train(self, steps, annealed=False):
        annealing = ConfidenceGuidedAnnealing(self.model, self.optimizer, 0.05) if annealed else None
        for step in steps:
            x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(step))
            self.optimizer.zero_grad()
            self.model(x).square().mean().backward()
            self.optimizer.step()
            self.monitor.update()
        if annealing is not None:
            annealing.remove()

    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "monitor": self.monitor}


@pytest.mark.parametrize("method", ["statsq", "lsq", "ste"])
@pytest.mark.parametrize("annealed", [False, True])
def test_a_resumed_run_is_the_run_that_was_not_broken(method, annealed, tmp_path):
    whole, first, second = (Run(method) for _ in range(3))
    whole.train(range(3))
    whole.train(range(3, 6), annealed)
    first.train(range(3))
    torch.save({name: part.state_dict() for name, part in first.parts().items()}, tmp_path / "run.pt")
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    for name, part in second.parts().items():
        part.load_state_dict(state[name])
    second.train(range(3, 6), annealed)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert second.monitor.share() == whole.monitor.share()
    for name, tracker in whole.monitor.trackers.items():
        assert tracker.updates == 5
        assert torch.equal(second.monitor.trackers[name].frequency, tracker.frequency)


def of_kind(bits, method):
    model = mlp()
    quantize_model(model, bits, method=method)
    return model


@pytest.mark.parametrize(
    ("saved", "loaded", "message"),
    [
        ((4, "lsq"), (2, "lsq"), "LearnedStepQuantizer of 4 bits, and this is a LearnedStepQuantizer of 2 bits"),
        ((4, "statsq"), (2, "statsq"), "StatsQuantizer of 4 bits, and this is a StatsQuantizer of 2 bits"),
        ((3, "statsq"), (3, "ste"), "StatsQuantizer of 3 bits, and this is a MaxQuantizer of 3 bits"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"strict": False}, {"assign": True}])
def test_a_state_of_another_kind_is_refused_by_name(saved, loaded, message, options):
    model = of_kind(*loaded)
    kinds = [module.kind.clone() for module in model.modules() if hasattr(module, "kind")]
    with pytest.raises(RuntimeError, match=rf"0.parametrizations.weight.0: the state is of a {message}"):
        model.load_state_dict(of_kind(*saved).state_dict(), **options)
    now = [module.kind for module in model.modules() if hasattr(module, "kind")]
    assert len(now) == 3
    assert all(torch.equal(a, b) for a, b in zip(now, kinds, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 4}, "ActivationQuantizer of 4 bits, dim=-2, and this is a ActivationQuantizer of 2 bits, dim=-2"),
        ({"bits": 2, "signed": False}, "2 bits, unsigned, dim=-2"),
        ({"bits": 2, "dim": -1}, "2 bits, dim=-1"),
    ],
)
def test_so_are_activations_and_products(arguments, message):
    quantizer = ActivationQuantizer(2, 4)
    with pytest.raises(RuntimeError, match=f"the state is of a .*{message}"):
        quantizer.load_state_dict(ActivationQuantizer(steps=4, **arguments).state_dict())
    with pytest.raises(RuntimeError, match=r"quantizer: the state is of a StatsQuantizer of 3 bits"):
        QKReparamAttention(8, 2, 2).load_state_dict(QKReparamAttention(8, 2, 3).state_dict())
    state = quantizer.state_dict()
    with pytest.raises(RuntimeError, match="of a kind that is none"):
        quantizer.load_state_dict(state | {"kind": torch.zeros(2, dtype=torch.uint8)})
    del state["kind"]
    with pytest.raises(RuntimeError, match='Missing key.*"kind"'):
        quantizer.load_state_dict(state)


def test_a_state_without_values_has_no_kind_to_look_at():
    quantizer = ActivationQuantizer(2, 4)
    quantizer.load_state_dict(ActivationQuantizer(2, 4).to("meta").state_dict(), assign=True)
    assert quantizer.step.is_meta
    quantizer.load_state_dict(ActivationQuantizer(2, 4).state_dict(), assign=True)
    assert not quantizer.step.is_meta


def test_evaluation_starts_no_steps():
    quantizer, x = ActivationQuantizer(2, 4, 3).eval(), torch.randn(2, 4, 3)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    with pytest.raises(ValueError, match="no batch has started the steps, and evaluation does not"):
        quantizer(x)
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())
    found = quantizer.train()(x)
    assert torch.equal(quantizer.eval()(x), found)
    assert quantizer.eval()(x[:0]).shape == (0, 4, 3)


@pytest.mark.parametrize("shape", [(0, 4, 3), (0, 2, 4, 3)])
def test_an_empty_first_batch_is_named(shape):
    quantizer = ActivationQuantizer(2, 4, 3)
    with pytest.raises(ValueError, match=r"first batch is empty, of shape \[0, "):
        quantizer(torch.zeros(shape))
    assert not quantizer.started


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ActivationQuantizer(2, 2.0), "steps is an integer of at least 1, got 2.0"),
        (lambda: ActivationQuantizer(2, True), "steps is an integer of at least 1, got True"),
        (lambda: ActivationQuantizer(2, 2, 3.0), "features is an integer"),
        (lambda: ActivationQuantizer(2, 2, dim=-1.0), "dim is counted from the last, a negative integer, got -1.0"),
        (lambda: ActivationQuantizer(2, 2, signed=0), "signed is True or False, got 0"),
        (lambda: ProductAttention(8, 2.0), "num_heads is an integer"),
        (lambda: ProductAttention(8.0, 2), "dim is an integer"),
        (lambda: ProductAttention(8, 2, bias="no"), "bias is True or False, got 'no'"),
        (lambda: ProductAttention(8, 2, batch_first=1), "batch_first is True or False, got 1"),
        (lambda: ProductAttention(8, 2, dropout=1.5), "dropout is from 0 to 1, got 1.5"),
        (lambda: ProductAttention(8, 2, dropout="0.5"), "dropout is a finite number, got '0.5'"),
        (lambda: ProductAttention(8, 2, activation_bits=2, tokens=2.0), "steps is an integer"),
        (
            lambda: QKReparamAttention.from_attention(FusedAttention(), 2, drop_query_bias=1),
            "drop_query_bias is True or",
        ),
        (lambda: OscillationTracker("0.1"), "momentum is above 0 and at most 1, got '0.1'"),
        (lambda: OscillationTracker(True), "momentum is above 0 and at most 1, got True"),
        (lambda: learned_step_quantize(torch.ones(2), torch.ones(1), -2.0, 1), "low is a code, an integer, got -2.0"),
        (lambda: learned_step_quantize(torch.ones(2), torch.ones(1), -2, True), "high is a code, an integer"),
    ],
)
def test_what_only_looks_like_a_count_or_a_flag(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_so_in_annealing_and_in_states():
    model = of_kind(2, "statsq")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for options, message in (
        ({"mask_products": 0}, "mask_products is True or False, got 0"),
        ({"boundary_range": "0.1"}, "boundary_range is in quantisation steps, .* got '0.1'"),
        ({"boundary_range": True}, "boundary_range is in quantisation steps, .* got True"),
    ):
        with pytest.raises(ValueError, match=message):
            ConfidenceGuidedAnnealing(model, optimizer, **options)
    tracker = OscillationTracker()
    with pytest.raises(ValueError, match=r"updates is an integer of at least 0, got 1.5"):
        tracker.load_state_dict(tracker.state_dict() | {"updates": 1.5})
    for values in (torch.ones(2, 4, dtype=torch.long), torch.ones(2, 4, dtype=torch.int8)):
        with pytest.raises(TypeError, match="expected a tensor of floats"):
            learned_step_quantize(values, torch.ones(1), -2, 1)
        with pytest.raises(TypeError, match="expected floats, got torch.int"):
            ActivationQuantizer(2, 4, dim=-1)(values)


def test_products_need_a_finite_dropout():
    with pytest.raises(ValueError, match="dropout is a finite number, got nan"):
        ProductAttention(8, 2, dropout=math.nan)
