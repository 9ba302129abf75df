"""The nucleus over paths and tokens: worked numbers, limits, draws, and what is refused."""

import copy
import dataclasses
import inspect
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from entrokit.decoding.path_nucleus import PathState, PathTopP, draw_continuations, effective_paths, path_nucleus
from entrokit.distributions import entropy

WEIGHTS = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
LAWS = torch.tensor([[[0.6, 0.3, 0.1, 0.0], [0.05, 0.9, 0.03, 0.02], [0.25] * 4]], dtype=torch.float64)


def kept(p, scope="joint"):
    return path_nucleus(WEIGHTS.log(), LAWS.log(), p, scope).exp()[0]


def some(seed, rows=2, k=3, vocabulary=7):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, k, generator=g).double(), 2 * torch.randn(rows, k, vocabulary, generator=g).double()


def test_check_8_a_nucleus_of_half():
    expected = torch.zeros(3, 4, dtype=torch.float64)
    expected[0, 0], expected[1, 1] = 0.526316, 0.473684
    torch.testing.assert_close(kept(0.5), expected, atol=1e-6, rtol=0)


def test_check_8_a_nucleus_of_four_fifths():
    expected = torch.zeros(3, 4, dtype=torch.float64)
    expected[0, :3] = torch.tensor([0.365854, 0.182927, 0.060976])
    expected[1, 1], expected[2, 0] = 0.329268, 0.060976
    found = kept(0.8)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    marginal = torch.tensor([0.426829, 0.512195, 0.060976, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found.sum(0), marginal, atol=1e-6, rtol=0)
    assert int((kept(0.9) > 0).sum()) == 7


def test_check_8_the_entropy_of_pairs_is_that_of_paths_and_of_tokens():
    state = PathState(WEIGHTS.log(), torch.ones(1, 3, dtype=torch.long), torch.zeros(1, 3, dtype=torch.bool))
    moved = PathTopP(3).step(state, LAWS.log(), generator=torch.Generator().manual_seed(0))
    assert float(moved.path_entropy) == pytest.approx(1.029653, abs=1e-6)
    assert float(moved.token_entropy) == pytest.approx(0.854646, abs=1e-6)
    joint = entropy((WEIGHTS[..., None] * LAWS).flatten(1))
    torch.testing.assert_close(moved.path_entropy + moved.token_entropy, joint)
    assert float(joint) == pytest.approx(1.884299, abs=1e-6)


@given(seed=st.integers(0, 100), p=st.floats(0.01, 1.0))
def test_a_nucleus_is_the_shortest_prefix_that_has_the_mass(seed, p):
    logw, logits = some(seed)
    logq = path_nucleus(logw, logits, p)
    joint = (logw.softmax(-1)[..., None] * logits.softmax(-1)).flatten(1)
    for row, q in zip(joint, logq.flatten(1).exp(), strict=True):
        inside = q > 0
        assert float(q.sum()) == pytest.approx(1.0)
        assert float(row[inside].sum()) >= p - 1e-12
        assert float(row[inside].sum() - row[inside].min()) < p - 1e-12 or int(inside.sum()) == 1
        assert not inside.all() or p > 0.5
        if not inside.all():
            assert row[inside].min() >= row[~inside].max()
        torch.testing.assert_close(q[inside], row[inside] / row[inside].sum())


@given(seed=st.integers(0, 100))
def test_weights_may_be_off_by_a_constant_and_laws_may_be_logits(seed):
    logw, logits = some(seed)
    expected = path_nucleus(logw.log_softmax(-1), logits.log_softmax(-1), 0.7)
    torch.testing.assert_close(path_nucleus(logw - 300.0, logits + 50.0, 0.7), expected)


def test_one_path_is_nucleus_sampling_of_transformers():
    from transformers import TopPLogitsWarper

    _, logits = some(3, rows=5, k=1, vocabulary=40)
    expected = TopPLogitsWarper(0.8)(None, logits[:, 0]).log_softmax(-1)
    torch.testing.assert_close(path_nucleus(torch.zeros(5, 1), logits, 0.8)[:, 0], expected)


def test_p_of_1_keeps_all_and_a_small_p_one():
    torch.testing.assert_close(kept(1.0), (WEIGHTS[..., None] * LAWS)[0])
    assert kept(1e-9).nonzero().tolist() == [[0, 0]]


def test_the_mass_is_met_within_rounding():
    """0.6 + 0.3 + 0.1 is below 1 in doubles by a rounding; the fourth token is not needed for it."""
    law = torch.tensor([[[0.1] * 7 + [0.3]]], dtype=torch.float64)
    found = path_nucleus(torch.zeros(1, 1), law.log(), 0.6)
    assert int((found > -torch.inf).sum()) == 4


def test_ties_go_to_the_lower_index_also_in_a_large_vocabulary():
    for size in (10, 5000):
        found = path_nucleus(torch.zeros(1, 2), torch.zeros(1, 2, size), 0.25)
        inside = (found[0].flatten() > -torch.inf).nonzero()[:, 0]
        assert inside.tolist() == list(range(size // 2))


@given(seed=st.integers(0, 30), p=st.sampled_from([0.3, 0.9, 0.999]))
def test_looking_at_the_largest_first_changes_nothing(seed, p):
    logw, logits = some(seed, 1, 2, 2000)
    fast = path_nucleus(logw, logits, p)
    joint = (logw.softmax(-1)[..., None] * logits.softmax(-1)).flatten()
    order = joint.argsort(descending=True, stable=True)
    count = int((joint[order].cumsum(0) < p - 1e-12).sum()) + 1
    assert (fast.flatten() > -torch.inf).nonzero()[:, 0].tolist() == sorted(order[:count].tolist())


def test_a_nucleus_a_path_does_not_depend_on_the_weights():
    found = kept(0.8, "path")
    assert (found > 0).sum(1).tolist() == [2, 1, 4]
    torch.testing.assert_close(found.sum(1), WEIGHTS[0])


def test_places_without_a_path_may_hold_anything():
    logw = torch.tensor([[0.0, -torch.inf]])
    logits = torch.tensor([[[0.0, 1.0, 2.0], [torch.nan] * 3]])
    for scope in ("joint", "path"):
        found = path_nucleus(logw, logits, 0.9, scope)
        assert not found.isnan().any()
        assert (found[0, 1] == -torch.inf).all()


def test_draws_differ_and_come_as_often_as_they_are_likely():
    logq = kept(0.8).log().expand(20_000, 3, 4)
    drawn = draw_continuations(logq, 3, generator=torch.Generator().manual_seed(0))
    pairs = drawn.parent * 4 + drawn.token
    assert drawn.there.all()
    assert all(len(set(row)) == 3 for row in pairs[:200].tolist())
    first = torch.bincount(pairs[:, 0], minlength=12).double() / 20_000
    # Six standard errors of a share.
    assert (first - kept(0.8).flatten()).abs().max() < 6 * math.sqrt(0.25 / 20_000)
    second = (pairs[:, 1] == 5).double().mean()
    q = kept(0.8).flatten()
    expected = sum(float(q[i] * q[5] / (1 - q[i])) for i in range(12) if i != 5)
    assert float(second) == pytest.approx(expected, abs=6 * math.sqrt(0.25 / 20_000))


def test_fewer_pairs_than_paths_leave_places_empty():
    drawn = draw_continuations(kept(0.5).log()[None], 4, generator=torch.Generator().manual_seed(0))
    assert drawn.there.tolist() == [[True, True, False, False]]
    best = draw_continuations(kept(0.8).log()[None], 2, do_sample=False)
    assert list(zip(best.parent[0].tolist(), best.token[0].tolist(), strict=True)) == [(0, 0), (1, 1)]


def test_effective_paths():
    weights = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0]], dtype=torch.float64)
    assert effective_paths(weights).tolist() == pytest.approx([4.0, 1.0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_it_is_computed_in_double_precision(dtype):
    logw, logits = some(1)
    found = path_nucleus(logw.to(dtype), logits.to(dtype), 0.9)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, path_nucleus(logw.to(dtype).double(), logits.to(dtype).double(), 0.9))


def test_no_rows():
    assert path_nucleus(torch.zeros(0, 2), torch.zeros(0, 2, 5)).shape == (0, 2, 5)


NAN = torch.tensor([[[0.0, torch.nan]]])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((torch.zeros(2), torch.zeros(2, 3)), r"needs logw \[B, k\] and logp \[B, k, V\]"),
        ((torch.zeros(1, 3), torch.zeros(1, 2, 4)), r"got \[1, 3\] and \[1, 2, 4\]"),
        ((torch.zeros(1, 1), torch.zeros(1, 1, 2), 0.0), r"p must lie in \(0, 1\]"),
        ((torch.zeros(1, 1), torch.zeros(1, 1, 2), 0.9, "both"), "scope is 'joint' or 'path'"),
        ((torch.zeros(1, 1), NAN), "row 0 has a logp of NaN"),
        ((torch.zeros(1, 1), torch.tensor([[[0.0, torch.inf]]])), "row 0 has a logp of NaN or .inf"),
        ((torch.tensor([[0.0, torch.inf]]), torch.zeros(1, 2, 2)), "row 0 has a logw of NaN or .inf"),
        ((torch.tensor([[torch.nan]]), torch.zeros(1, 1, 2)), "row 0 has a logw of NaN"),
        ((torch.tensor([[-torch.inf]]), torch.zeros(1, 1, 2)), "row 0 has no path"),
        ((torch.zeros(1, 1), torch.full((1, 1, 2), -torch.inf)), "row 0 has a path without a next token"),
    ],
    ids=["flat", "paths", "p", "scope", "nan", "inf", "weight-inf", "weight-nan", "no-path", "no-token"],
)
def test_what_cannot_be_is_named(given, said):
    with pytest.raises(ValueError, match=said):
        path_nucleus(*given)


@pytest.mark.parametrize(
    "options",
    [
        {"k": 0},
        {"p": 1.5},
        {"p": math.nan},
        {"temperature": 0.0},
        {"temperature": math.inf},
        {"path_temperature": -1.0},
        {"path_temperature": 0.0},
        {"path_temperature": math.inf},
        {"length_power": -0.1},
        {"scope": "x"},
    ],
    ids=lambda options: "-".join(map(str, *options.items())),
)
def test_a_decoder_that_cannot_be(options):
    with pytest.raises(ValueError, match=f"PathTopP: .*{next(iter(options))}"):
        PathTopP(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": True}, "k must be a whole number, got True"),
        ({"k": 2.0}, "k must be a whole number, got 2.0"),
        ({"p": "a"}, "p must be a number, got 'a'"),
        ({"p": True}, "p must be a number, got True"),
        ({"p": torch.tensor(0.5)}, "p must be a number, got tensor"),
        ({"temperature": None}, "temperature must be a number, got None"),
        ({"path_temperature": "a"}, "path_temperature must be a number"),
        ({"length_power": "a"}, "length_power must be a number"),
        ({"do_sample": "no"}, "do_sample must be True or False, got 'no'"),
    ],
    ids=["k-bool", "k-float", "p-text", "p-bool", "p-tensor", "none", "path-temperature", "length-power", "do-sample"],
)
def test_an_attribute_of_another_type_is_named(options, said):
    with pytest.raises(TypeError, match=f"PathTopP: {said}"):
        PathTopP(**options)


def test_numbers_of_numpy_are_numbers():
    decoder = PathTopP(np.int64(2), np.float32(0.5), do_sample=False)
    moved = decoder.step(PathState.start(1, 2), torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))
    assert moved.token[0, 0] == 1


def test_the_attributes_are_what_help_shows():
    assert list(inspect.signature(PathTopP).parameters) == [field.name for field in dataclasses.fields(PathTopP)]
    decoder = PathTopP(3, length_power=1.0)
    assert copy.deepcopy(decoder) == pickle.loads(pickle.dumps(decoder)) == dataclasses.replace(decoder, p=0.9)


def test_numpy_is_not_taken_for_tensors():
    law = np.zeros((1, 2, 3))
    with pytest.raises(TypeError, match="path_nucleus: logw must be a tensor, got ndarray; torch.as_tensor"):
        path_nucleus(law[0], law)
    with pytest.raises(TypeError, match="path_nucleus: logp must be a tensor, got ndarray"):
        path_nucleus(torch.zeros(1, 2), law)
    with pytest.raises(TypeError, match="PathTopP: logits must be a tensor, got ndarray"):
        PathTopP(2).step(PathState.start(1, 2), law)
    with pytest.raises(TypeError, match="draw_continuations: logq must be a tensor, got ndarray"):
        draw_continuations(law, 2)
    with pytest.raises(TypeError, match="effective_paths: weights must be a tensor, got ndarray"):
        effective_paths(law[0])


def test_a_draw_that_cannot_be_is_named():
    law = kept(0.8).log()[None]
    with pytest.raises(ValueError, match=r"needs logq \[B, k, V\], got \[3, 4\]"):
        draw_continuations(law[0], 2)
    with pytest.raises(ValueError, match="m must be at least 1, got 0"):
        draw_continuations(law, 0)
    with pytest.raises(TypeError, match="m must be a whole number, got 2.0"):
        draw_continuations(law, 2.0)
    with pytest.raises(TypeError, match=r"generator must be a torch.Generator, as .* got int"):
        draw_continuations(law, 2, generator=0)
    with pytest.raises(ValueError, match="PathState.start: k must be at least 1, got 0"):
        PathState.start(1, 0)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([[0.5, 0.5], [math.log(0.5)] * 2], r"weight \[1, 0\] is -0.6931: these are log-weights; give their softmax"),
        ([[0.0, -math.inf]], r"weight \[0, 1\] is -inf: these are log-weights"),
        ([[0.0]], r"weights of row \[0\] sum to 0 and not to 1; of log-weights give the softmax"),
        ([[0.5, 0.5], [0.5, 0.2]], r"weights of row \[1\] sum to 0.7 and not to 1"),
    ],
    ids=["logs", "no-path", "one-path", "unnormalised"],
)
def test_logarithms_are_not_taken_for_weights(weights, said):
    with pytest.raises(ValueError, match=said):
        effective_paths(torch.tensor(weights, dtype=torch.float64))


def test_scores_are_log_probabilities_a_power_of_the_length():
    state = PathState(
        torch.tensor([[-6.0, 0.0, -torch.inf]], dtype=torch.float64),
        torch.tensor([[4, 0, 2]]),
        torch.zeros(1, 3, dtype=torch.bool),
    )
    assert state.scores().tolist() == [[-6.0, 0.0, -math.inf]]
    assert state.scores(1.0).tolist() == [[-1.5, 0.0, -math.inf]]
    assert state.scores(0.5).tolist() == [[-3.0, 0.0, -math.inf]]
    expected = [math.exp(-0.75) / (1 + math.exp(-0.75)), 1 / (1 + math.exp(-0.75)), 0.0]
    assert state.weights(2.0, 1.0)[0].tolist() == pytest.approx(expected, abs=1e-12)
    assert PathTopP(3, length_power=1.0).ranked(state).tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (4, 5), (1, 2, 5)], ids=str)
def test_logits_that_would_be_spread_over_prompts_are_refused(shape):
    """Two prompts and two paths: [2, 5] would stand for either."""
    with pytest.raises(ValueError, match=r"2 paths of 2 prompts need logits \[2, 2, V\], got"):
        PathTopP(2).step(PathState.start(2, 2), torch.zeros(shape))


@pytest.mark.parametrize("pad", [-100, 4, 9])
def test_a_padding_token_may_lie_beyond_the_vocabulary(pad):
    ended = torch.tensor([[True, False]])
    state = PathState(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.long), ended)
    moved = PathTopP(2, 1.0, do_sample=False).step(state, torch.tensor([[[9.0] * 4, [0.0, 9.0, 0.0, 0.0]]]), pad=pad)
    assert moved.parent.tolist() == [[0, 1]]
    assert moved.token.tolist() == [[pad, 1]]
    assert moved.state.log_prob[0, 0] == 0.0
    assert moved.state.length.tolist() == [[1, 2]]


def test_a_path_that_cannot_go_on_is_said_to_have_no_next_token():
    with pytest.raises(ValueError, match="row 0 has a path without a next token"):
        PathTopP(2).step(PathState.start(1, 2), torch.full((1, 2, 4), -torch.inf))


def test_no_prompts_make_no_paths():
    assert PathTopP(3).step(PathState.start(0, 3), torch.zeros(0, 3, 5)).token.shape == (0, 3)


def test_p_of_1_keeps_what_is_hardly_possible():
    logp = torch.tensor([[[0.0, -40.0]]], dtype=torch.float64)
    assert path_nucleus(torch.zeros(1, 1), logp, 1.0)[0, 0, 1] == pytest.approx(-40.0)


def test_no_more_pairs_are_drawn_than_there_are():
    drawn = draw_continuations(kept(0.8).log()[None], 20, do_sample=False)
    assert drawn.token.shape == (1, 12)
    assert drawn.there.sum() == 5


def some_paths():
    return PathState(
        torch.tensor([[-5.0, -1.0, -6.0]], dtype=torch.float64),
        torch.tensor([[2, 1, 4]]),
        torch.tensor([[True, False, False]]),
    )


def test_a_step_weighs_paths_as_its_state_does():
    logits = torch.zeros(1, 3, 2)
    for options in (
        {},
        {"path_temperature": 3.0},
        {"length_power": 1.0},
        {"path_temperature": 0.5, "length_power": 0.5},
    ):
        moved = PathTopP(3, **options).step(some_paths(), logits, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(moved.path_entropy, entropy(some_paths().weights(**options), from_logits=False))


def test_a_path_that_has_ended_is_followed_to_its_new_place():
    moved = PathTopP(3, 1.0, do_sample=False).step(some_paths(), torch.tensor([[[0.0, 0.0]] * 3]), pad=9)
    assert moved.parent.tolist() == [[1, 1, 0]]
    assert moved.token.tolist() == [[0, 1, 9]]
    assert moved.state.finished.tolist() == [[False, False, True]]
    assert moved.state.length.tolist() == [[2, 2, 2]]
    expected = [-1 - math.log(2), -1 - math.log(2), -5.0]
    assert moved.state.log_prob[0].tolist() == pytest.approx(expected, abs=1e-12)


def test_a_place_without_a_path_takes_the_padding():
    """One pair is in the nucleus: the other place is empty, whichever path it would have gone on from."""
    state = PathState(
        torch.tensor([[0.0, -1.0]], dtype=torch.float64),
        torch.ones(1, 2, dtype=torch.long),
        torch.zeros(1, 2, dtype=torch.bool),
    )
    moved = PathTopP(2, 1e-9).step(state, torch.tensor([[[9.0, 0.0], [0.0, 0.0]]]), pad=7)
    assert moved.token.tolist() == [[0, 7]]
    assert moved.state.there.tolist() == [[True, False]]


def test_the_scope_is_the_decoder_s():
    """The second path has a thousandth of the weight: none of its tokens is in the nucleus of all pairs."""
    state = PathState(
        torch.tensor([[0.0, math.log(1e-3)]], dtype=torch.float64),
        torch.ones(1, 2, dtype=torch.long),
        torch.zeros(1, 2, dtype=torch.bool),
    )
    logits = torch.tensor([[[9.0, 0.0], [9.0, 0.0]]])
    there = {
        scope: PathTopP(2, 0.5, scope=scope, do_sample=False).step(state, logits).state.there.tolist()
        for scope in ("joint", "path")
    }
    assert there == {"joint": [[True, False]], "path": [[True, True]]}


def test_probabilities_in_place_of_their_logs_are_told():
    with pytest.warns(UserWarning, match="look like probabilities") as caught:
        path_nucleus(WEIGHTS.log(), LAWS)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path_nucleus(WEIGHTS.log(), LAWS.log())
        path_nucleus(WEIGHTS.log(), 2 * LAWS)
