"""Utility-probability duality (arXiv 2305.14859), reconstructed: what is said wrongly of generated outputs."""

import warnings

import pytest
import torch

from entrokit.losses.preference import candidate_lists

from .preference_cases import END, FLOAT64, PAD, written

# Two prompts, three outputs each; the first of each has ended before the others.
ROWS = [
    [1, 2, 3, END, PAD, PAD, PAD],
    [1, 2, 4, 5, 6, 3, 4],
    [1, 2, 4, 5, END, PAD, PAD],
    [3, 2, 8, END, PAD, PAD, PAD],
    [3, 2, 8, 5, 6, 3, 5],
    [3, 2, 4, 4, 4, END, PAD],
]
TRUE = {"prompts": 2, "prompt_length": 2, "end": END}


def lists(change=None, **options):
    output = written(ROWS)
    vars(output).update(change or {})
    return candidate_lists(output, **(TRUE | options))


def test_what_is_said_rightly_is_neither_refused_nor_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [one.outputs[0] for one in lists()] == [(3, END), (8, END)]
        for end in ([END], (END, 8), {END}, torch.tensor([END]), torch.tensor(END)[None].int()):
            assert [len(one) for one in lists(end=end)] == [3, 3 if len(end) == 1 else 2]


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        ({"logits": None}, {}, ValueError, "generate returned no logits; .*output_logits=True"),
        ({}, {"of": "scores"}, ValueError, "generate returned no scores; .*output_scores=True"),
        ({}, {"of": "probs"}, ValueError, "of must be logits or scores, got 'probs'"),
        ({}, {"prompts": 4}, ValueError, "6 sequences cannot be of 4 prompts"),
        ({}, {"prompts": 0}, ValueError, "prompts must be a whole number of at least 1, got 0"),
        ({}, {"prompts": 2.0}, ValueError, "prompts must be a whole number of at least 1, got 2.0"),
        ({}, {"prompts": 1}, ValueError, "rows 0 and 3 hold different prompts, but of 1 prompts they would be one's"),
        ({}, {"prompt_length": 1}, ValueError, "6 tokens are left behind a prompt of 1, but 5 were generated"),
        ({}, {"prompt_length": 3}, ValueError, "4 tokens are left behind a prompt of 3, but 5 were generated"),
        ({}, {"prompt_length": 7}, ValueError, "0 tokens are left"),
        ({}, {"prompt_length": -5}, ValueError, "prompt_length must be a whole number of at least 0, got -5"),
        ({}, {"end": -1}, ValueError, r"end -1 lies outside of the vocabulary \[0, 9\).*eos_token_id"),
        ({}, {"end": [END, 9]}, ValueError, r"end 9 lies outside of the vocabulary \[0, 9\)"),
        ({}, {"end": True}, ValueError, "end 1 lies outside"),
        ({}, {"end": []}, ValueError, "end holds no token; None says"),
        ({}, {"end": "</s>"}, TypeError, "end must be a token, several or None, got '</s>'"),
        ({}, {"end": 7.0}, TypeError, "end must be a token, several or None, got 7.0"),
        ({}, {"read": "text"}, TypeError, "read must be a function of a list of tokens, got str"),
        ({}, {"read": lambda ids: ids}, TypeError, "read must give what can be compared, a text say, got list"),
        ({}, {"read": torch.tensor}, TypeError, "a text say, got Tensor"),
        ({"beam_indices": None}, {}, ValueError, "beams without their indices; .*output_scores=True"),
        ({"logits": (torch.zeros(4, 9),) * 5}, {}, ValueError, "6 sequences, but 4 rows of logits a step"),
    ],
)
def test_what_is_wrong_is_named(change, options, error, message):
    with pytest.raises(error, match=message):
        lists(change, **options)


def test_what_generate_does_not_return():
    for output in (torch.tensor(ROWS), ROWS, None):
        with pytest.raises(TypeError, match="must be what generate returns, got .*; call it with return_dict_in_gener"):
            candidate_lists(output, **TRUE)
    with pytest.raises(ValueError, match="0 sequences cannot be of 2 prompts"):
        lists({"sequences": torch.zeros(0, 7, dtype=torch.long), "logits": (torch.zeros(0, 9),) * 5})


def test_too_many_prompts_split_lists_and_are_warned_of():
    with pytest.warns(RuntimeWarning, match="prompts 0 and 1 are the same tokens; if they are one, prompts is too lar"):
        assert len(lists(prompts=6)) == 6
    # Of an encoder-decoder model all outputs begin with the same token.
    output = written([[0, 3, 4], [0, 5, END]], prompt_length=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(candidate_lists(output, prompts=2, prompt_length=1, end=END)) == 2


@pytest.mark.parametrize("end", [None, 1])
def test_outputs_that_look_padded_are_warned_of(end):
    with pytest.warns(
        RuntimeWarning, match=f"no output ends by end={end}, but row 0 seems .* padding of token 0"
    ) as said:
        lists(end=end)
    assert said[0].filename == __file__
    output = written([[1, 3, 4], [1, 5, 6], [1, 3, 3]], prompt_length=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        candidate_lists(output, prompts=1, prompt_length=1, end=end)
        # All of one length: nothing was padded.
        alone = written([[1, 3, 3, 3]], prompt_length=1)
        candidate_lists(alone, prompts=1, prompt_length=1, end=end)


def test_beams_know_where_they_ended():
    own = torch.tensor([[0, 0, -1], [1, 1, 1]])
    output = written([[1, 3, END, PAD], [1, 5, 6, 4]], prompt_length=1, beam_indices=own)
    with pytest.warns(RuntimeWarning, match="no output ends by end=None, but row 0"):
        (found,) = candidate_lists(output, prompts=1, prompt_length=1, end=None)
    assert found.outputs == ((3, END), (5, 6, 4)), "utilities are right all the same"
    # Beams may have searched further than what they return.
    output.logits = (*output.logits, torch.zeros(2, 9, dtype=FLOAT64))
    assert len(candidate_lists(output, prompts=1, prompt_length=1, end=END)[0]) == 2


def test_a_beam_may_have_probability_0():
    """Where a search has fewer ways to go on than beams."""
    output = written([[1, 3, END], [1, 5, END]], prompt_length=1, beam_indices=torch.tensor([[0, 0], [1, 1]]))
    output.logits[0][1, 5] = -torch.inf
    (found,) = candidate_lists(output, prompts=1, prompt_length=1, end=END)
    assert found.utility[1] == -torch.inf
    assert found.mass == pytest.approx(float(found.utility[0].exp()))


def test_what_cannot_have_been_drawn_is_refused():
    output = written([[1, 3, END, PAD], [1, 5, 6, 4]], prompt_length=1)
    output.logits[2][0, PAD] = -torch.inf
    assert len(candidate_lists(output, prompts=1, prompt_length=1, end=END)[0]) == 2
    with pytest.raises(ValueError, match="a token of row 0 has probability 0 by the logits.*if it is padding, end"):
        candidate_lists(output, prompts=1, prompt_length=1, end=None)
