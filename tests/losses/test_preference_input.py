"""Utility-probability duality (arXiv 2305.14859), reconstructed: what is no tensor, or not the right one."""

import warnings
from types import SimpleNamespace

import pytest
import torch

from entrokit.losses.preference import (
    UtilityToProbability,
    argmax_decision,
    candidate_lists,
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

from .preference_cases import END, at, rows, written

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


def test_probabilities_given_as_utilities_are_warned_of():
    u, target = rows(50, 4)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        with pytest.warns(
            RuntimeWarning, match=r"sums to 1, as probabilities do, .* logits or log-probabilities, u.log"
        ):
            UtilityToProbability().fit(u.softmax(-1).to(dtype), target)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "UtilityToProbability: a temperature stays")
        warnings.filterwarnings("error", "UtilityToProbability: every row")
        for utilities in (u, u.log_softmax(-1), u.softmax(-1) - 0.25, 2.0 * u.softmax(-1)):
            UtilityToProbability().fit(utilities, target)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mbr_decision(U[0], GAIN), "^mbr_decision: the row is no distribution: .* sum of 0; utilities become"),
        (lambda: mbr_decision(U, GAIN), r"^mbr_decision: row \[0\] is no distribution"),
        (lambda: mbr_decision(PROBS[0], GAIN[:, :2]), r"^mbr_decision: expected a gain matrix \[D, 3\]"),
        (lambda: mbr_decision(PROBS[0], GAIN, allowed=PROBS[0] > 1), "^mbr_decision: the row allows no decision"),
        (lambda: argmax_decision(U[0] / 0), "^argmax_decision: 1 of 1 rows hold NaN, .* first the row; -inf forbids"),
        (lambda: preference_loss(U[0], torch.tensor(3)), "target 3 of the row lies outside of the 3 candidates"),
        (lambda: sequence_utility(LOGITS, TOKENS, TOKENS + 1), r"mask must be bool, got torch.int64; pass mask.bool\("),
    ],
)
def test_the_call_and_the_row_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_gain_before_its_outputs():
    with pytest.raises(
        TypeError, match=r"^gain_matrix: outputs must be a list .* function; .* gain_matrix\(outputs, ga"
    ):
        gain_matrix(lambda decided, true: 1.0, ["a", "b"])


def test_a_tokenizer_and_its_tokens_are_told_from_what_is_read_of_them():
    class Tokenizer:
        def __call__(self, text):
            raise AssertionError("asked")

        def decode(self, tokens):
            return " ".join(map(str, tokens))

    tokens = torch.arange(600).view(2, 300)
    output, given = written([[1, 2, 3, END], [1, 2, 4, END]]), {"prompts": 1, "prompt_length": 2, "end": END}
    assert len(candidate_lists(output, **given, read=Tokenizer().decode)[0]) == 2
    with pytest.raises(
        TypeError, match=r"read must be .*, got Tokenizer; pass its decode, lambda .*tokenizer.decode\("
    ):
        candidate_lists(output, **given, read=Tokenizer())
    with pytest.raises(ValueError, match=r"prompts must be .*, got a tensor of shape \[2, 300\]; .* len\(input_ids\)"):
        candidate_lists(output, **given | {"prompts": tokens})
    with pytest.raises(ValueError, match=r"prompt_length must be .*, got \[\[0.{0,60}; .* input_ids.shape\[1\]"):
        candidate_lists(output, **given | {"prompt_length": tokens.tolist()})
