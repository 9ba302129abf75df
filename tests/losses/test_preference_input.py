"""Utility-probability duality (arXiv 2305.14859), reconstructed: what is no tensor, or not the right one."""

from types import SimpleNamespace

import pytest
import torch

from entrokit.losses.preference import (
    UtilityToProbability,
    argmax_decision,
    expected_gain,
    gain_matrix,
    mbr_decision,
    pad_utilities,
    pairwise_preference_accuracy,
    preference_gradient_weights,
    preference_loss,
    preference_margin,
    preference_rate,
    reliability,
    sample_decision,
    sampled_preference_loss,
    sequence_utility,
)

from .preference_cases import at

U, TARGET, PROBS, MASK = torch.zeros(2, 3), torch.tensor([0, 1]), torch.full((2, 3), 1 / 3), torch.ones(2) > 0
LOGITS, TOKENS = torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.long)
INSIDE, GAIN = TOKENS == 0, torch.eye(3)
CALLS = {
    "preference_loss": (preference_loss, U, TARGET),
    "preference_gradient_weights": (preference_gradient_weights, U, TARGET),
    "sampled_preference_loss": (sampled_preference_loss, U, TARGET),
    "preference_margin": (preference_margin, U, TARGET),
    "preference_rate": (preference_rate, U, TARGET),
    "pairwise_preference_accuracy": (pairwise_preference_accuracy, U, TARGET),
    "argmax_decision": (argmax_decision, U),
    "sample_decision": (sample_decision, PROBS),
    "expected_gain": (expected_gain, PROBS, GAIN),
    "mbr_decision": (lambda p, g, a: mbr_decision(p, g, allowed=a), PROBS, GAIN, MASK.new_ones(3)),
    "reliability": (reliability, PROBS[0], MASK.new_ones(3)),
    "sequence_utility": (sequence_utility, LOGITS, TOKENS, INSIDE),
    "pad_utilities": (lambda *lists: pad_utilities(lists), U[0], U[1]),
    "UtilityToProbability.fit": (UtilityToProbability().fit, torch.arange(6.0).view(2, 3), TARGET),
    "UtilityToProbability": (at(1.0).transform, U),
}
PLACES = [(name, place) for name, (_, *given) in CALLS.items() for place in range(len(given))]
OTHERS = {
    "numpy": (lambda one: one.numpy(), "ndarray; torch.as_tensor makes one of it"),
    "list": (lambda one: one.tolist(), "list; torch.tensor makes one of it"),
    "model output": (lambda one: SimpleNamespace(logits=one), "SimpleNamespace; pass its .logits"),
    "nothing": (lambda one: None, "NoneType$"),
}


@pytest.mark.filterwarnings("ignore:UtilityToProbability:RuntimeWarning")
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize(("name", "place"), PLACES)
def test_what_is_no_tensor_is_named_with_what_to_pass(name, place, other):
    function, *given = CALLS[name]
    function(*given)
    made, advice = OTHERS[other]
    given[place] = made(given[place])
    if name == "mbr_decision" and place == 2 and other == "nothing":
        return  # all decisions are allowed
    with pytest.raises(TypeError, match=rf"^\S*: .* must be .*, got {advice}"):
        function(*given)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_what_has_no_values_is_named(name, place):
    function, *given = CALLS[name]
    given[place] = given[place].to("meta")
    with pytest.raises(ValueError, match="is on the meta device and has no values"):
        function(*given)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_other_dtypes_are_named(name, place):
    function, *given = CALLS[name]
    given[place] = given[place].to(torch.complex64)
    with pytest.raises((TypeError, ValueError), match="got torch.complex64|must be bool"):
        function(*given)


def test_one_candidate_has_no_rival():
    with pytest.raises(ValueError, match="preference_margin: there is one candidate, and no rival"):
        preference_margin(torch.zeros(2, 1), torch.tensor([0, 0]))
    assert preference_rate(torch.zeros(2, 1), torch.tensor([0, 0])) == 1.0


def test_gains_that_are_no_function_or_no_number():
    with pytest.raises(TypeError, match="the gain must be a function of two outputs or a tensor, got list; torch.ten"):
        gain_matrix(["a"], [[1.0]])
    with pytest.raises(TypeError, match=r"gain of 'a' where 'a' is true is tensor\(\[0., 0.\]\), no number"):
        gain_matrix(["a"], lambda decided, true: torch.zeros(2))
    assert gain_matrix(["a"], lambda decided, true: torch.tensor(0.1, dtype=torch.float64)).tolist() == [[0.1]]
