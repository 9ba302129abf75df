"""Decoding whole sequences: over any function of logits, and inside `generate` of transformers."""

import itertools
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from entrokit.decoding.path_nucleus import PathState, PathTopP, effective_paths

END, VOCABULARY = 3, 20
GARDEN = {
    (): [0.55, 0.45, 0, 0, 0, 0],
    (0,): [0, 0, 0.25, 0.25, 0.25, 0.25],
    (1,): [0, 0, 0.97, 0.01, 0.01, 0.01],
}


def garden(tokens):
    return torch.tensor([GARDEN[tuple(row[1:])] for row in tokens.tolist()], dtype=torch.float64).log()


def chain(seed, size=5):
    table = 2 * torch.randn(size + 1, size, generator=torch.Generator().manual_seed(seed)).double()
    return lambda tokens: table[tokens[:, -1]]


def transformers():
    import transformers

    return transformers


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_check_9_a_garden_path():
    greedy = PathTopP(1, 1e-9).generate(garden, 0, 2)
    assert [path.tokens for path in greedy] == [(0, 2)]
    assert math.exp(greedy[0].log_prob) == pytest.approx(0.1375)
    two = PathTopP(2, 1.0, do_sample=False).generate(garden, 0, 2)
    assert two[0].tokens == (1, 2)
    assert math.exp(two[0].log_prob) == pytest.approx(0.4365)


@pytest.mark.parametrize("seed", range(4))
def test_the_most_probable_pairs_without_a_nucleus_are_beam_search(seed):
    step_fn, beams = chain(seed), [((), 0.0)]
    for _ in range(6):
        grown = []
        for tokens, log_prob in beams:
            logp = step_fn(torch.tensor([[5, *tokens]])).log_softmax(-1)[0]
            grown += [((*tokens, v), log_prob + float(logp[v])) for v in range(5)]
        beams = sorted(grown, key=lambda beam: -beam[1])[:3]
    found = PathTopP(3, 1.0, do_sample=False).generate(step_fn, 5, 6)
    assert [path.tokens for path in found] == [tokens for tokens, _ in beams]
    assert [path.log_prob for path in found] == pytest.approx([log_prob for _, log_prob in beams])


def test_one_path_without_a_nucleus_samples_the_model():
    step_fn, g, rows = chain(1), generator(), 5000
    decoder, state, tokens = PathTopP(1, 1.0), PathState.start(rows, 1), torch.full((rows, 1), 5)
    for _ in range(2):
        moved = decoder.step(state, step_fn(tokens)[:, None], generator=g)
        state, tokens = moved.state, torch.cat([tokens, moved.token], 1)
    first = step_fn(torch.tensor([[5]])).softmax(-1)[0]
    then = step_fn(torch.arange(5)[:, None]).softmax(-1)
    shares = torch.bincount(5 * tokens[:, 1] + tokens[:, 2], minlength=25).double() / rows
    for a, b in itertools.product(range(5), range(5)):
        p = float(first[a] * then[a, b])
        assert abs(float(shares[5 * a + b]) - p) < 6 * math.sqrt(max(p, 1e-3) / rows)


@pytest.mark.parametrize("scope", ["joint", "path"])
def test_log_probabilities_are_the_model_s_own(scope):
    """Of the law before it was cut to the nucleus, at the decoder's temperature."""
    step_fn, decoder = chain(2), PathTopP(4, 0.7, temperature=1.3, scope=scope)
    for path in decoder.generate(step_fn, [2, 5], 7, generator=generator()):
        tokens = [2, 5, *path.tokens]
        logp = (step_fn(torch.tensor(tokens)[:, None]) / 1.3).log_softmax(-1)
        own = sum(float(logp[i - 1, tokens[i]]) for i in range(2, len(tokens)))
        assert path.log_prob == pytest.approx(own)


def test_paths_differ_and_come_by_falling_score():
    found = PathTopP(4, 0.95).generate(chain(3), 5, 8, generator=generator())
    assert len({path.tokens for path in found}) == len(found) > 1
    assert [p.log_prob for p in found] == sorted((p.log_prob for p in found), reverse=True)
    mean = PathTopP(4, 0.95, length_power=1.0).generate(chain(3), 5, 8, eos=1, generator=generator())
    scores = [p.log_prob / len(p.tokens) for p in mean]
    assert scores == sorted(scores, reverse=True)


def test_a_path_that_ends_stays_as_it_is():
    seen = []

    def step_fn(tokens):
        seen.append(len(tokens))
        return torch.log(torch.tensor([0.5, 0.5 - 1e-6, 1e-6])).expand(len(tokens), 3)

    found = PathTopP(2, 1.0, do_sample=False).generate(step_fn, 0, 4, eos=[1])
    ended = [path for path in found if path.finished]
    assert [path.tokens for path in ended] == [(1,)] or all(path.tokens[-1] == 1 for path in ended)
    assert all(path.tokens.count(1) == 1 for path in ended)
    assert ended[0].log_prob == pytest.approx(math.log(0.5 - 1e-6), abs=1e-5)
    assert seen[0] == 1, "one path at first"


def test_it_stops_when_all_have_ended():
    calls = []

    def step_fn(tokens):
        calls.append(tokens.shape)
        return torch.tensor([[0.0, 50.0]]).expand(len(tokens), 2)

    found = PathTopP(3, 0.9).generate(step_fn, 0, 10, eos=1, generator=generator())
    assert [(path.tokens, path.finished) for path in found] == [((1,), True)]
    assert calls == [(1, 1)]


def test_paths_drawn_together_keep_their_weights_and_lose_their_differences():
    """Four independent samples end with one that has most of the weight; four paths with one stem."""
    rows, length, g = 8, 40, generator()
    tables = 2 * torch.randn(rows, 21, 20, generator=g).double()
    each, start = torch.arange(rows)[:, None], torch.full((rows, 4, 1), 20)
    joint, tokens = PathState.start(rows, 4), start
    for _ in range(length):
        moved = PathTopP(4, 0.9).step(joint, tables[each, tokens[..., -1]], generator=g)
        came_from = moved.parent[..., None].expand_as(tokens)
        joint, tokens = moved.state, torch.cat([tokens.gather(1, came_from), moved.token[..., None]], -1)
    alone, apart = PathState.start(4 * rows, 1), start.view(-1, 1)
    for _ in range(length):
        moved = PathTopP(1, 0.9).step(
            alone, tables.repeat_interleave(4, 0)[torch.arange(4 * rows), apart[:, -1]][:, None], generator=g
        )
        alone, apart = moved.state, torch.cat([apart, moved.token], 1)
    independent = effective_paths(torch.softmax(alone.log_prob.view(rows, 4), -1)).mean()
    assert independent < 1.8 < 2.2 < effective_paths(joint.weights()).mean()
    for row in range(rows):
        alive = tokens[row][joint.there[row], 1:]
        assert (alive == alive[0]).all(0)[: length // 2].all()


def test_what_step_fn_may_not_return():
    with pytest.raises(ValueError, match=r"given 1 paths and returns logits \[1, V\]; it returned \[3\]"):
        PathTopP(2).generate(lambda tokens: torch.zeros(3), 0, 2)
    with pytest.raises(ValueError, match="row 0 has a logp of NaN"):
        PathTopP(2).generate(lambda tokens: torch.full((len(tokens), 3), torch.nan), 0, 2)
    with pytest.raises(ValueError, match=r"returns logits \[1, V\]; it returned \[1, 0\]"):
        PathTopP(2).generate(lambda tokens: torch.zeros(len(tokens), 0), 0, 2)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "it gave NoneType"),
        (np.array([["a"]]), "it gave <U1"),
        (np.array([[True, False]]), "it gave bool"),
        (torch.tensor([[True, False]]), "it gave torch.bool"),
        (torch.tensor([[1j, 0.0]]), "it gave torch.complex64"),
    ],
    ids=["none", "text", "array-of-bools", "bools", "complex"],
)
def test_what_is_no_logits_is_named(found, said):
    with pytest.raises(TypeError, match=rf"step_fn must return next-token logits \[1, V\], .* {said}"):
        PathTopP(2).generate(lambda tokens: found, 0, 2)


def test_prompts_ends_and_lengths_that_are_none_are_named():
    step_fn, decoder = chain(0), PathTopP(2)
    with pytest.raises(ValueError, match="needs a prompt of at least one token, got none"):
        decoder.generate(step_fn, [], 2)
    with pytest.raises(ValueError, match="max_len must be at least 1, got 0"):
        decoder.generate(step_fn, 5, 0)
    with pytest.raises(TypeError, match="max_len must be a whole number, got 2.0"):
        decoder.generate(step_fn, 5, 2.0)
    for bos in ("a", 0.5, [0.5], None):
        with pytest.raises(TypeError, match="bos must be a token id, or a sequence of them"):
            decoder.generate(step_fn, bos, 2)
    with pytest.raises(TypeError, match="eos must be a token id, or a sequence of them, got None"):
        decoder.generate(step_fn, 5, 2, eos=None)
    with pytest.raises(TypeError, match="generator must be a torch.Generator"):
        decoder.generate(step_fn, 5, 2, generator=0)


@pytest.mark.parametrize(
    "bos", [np.int64(5), torch.tensor(5), torch.tensor([5]), np.array([5]), [torch.tensor(5)]], ids=range(5)
)
def test_tokens_of_numpy_and_of_torch_are_tokens(bos):
    expected = PathTopP(2).generate(chain(0), 5, 3, eos=1, generator=generator())
    assert PathTopP(2).generate(chain(0), bos, 3, eos=np.array([1]), generator=generator()) == expected


@pytest.fixture(scope="module")
def model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=END,
        pad_token_id=0,
        bos_token_id=1,
    )
    made = LlamaForCausalLM(config).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3)
    return made


PROMPTS = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]])
MASK = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])


def generated(model, decoder, **options):
    given = {"input_ids": PROMPTS, "attention_mask": MASK, "max_new_tokens": 8, "return_dict_in_generate": True}
    return model.generate(custom_generate=decoder, **(given | options))


@pytest.mark.parametrize("k", [1, 3])
def test_generate_gives_what_the_plain_loop_gives(model, k):
    """A row with padding, one without, against `PathTopP.generate` that reads every sequence anew."""
    decoder = PathTopP(k, 1.0, do_sample=False)
    out = generated(model, decoder)
    for row, prompt in enumerate(([5, 6], [7, 8, 9, 10])):
        paths = decoder.generate(lambda tokens: model(tokens).logits[:, -1], prompt, 8, eos=END)
        assert len(paths) == int((out.log_probs[row] > -torch.inf).sum())
        for i, path in enumerate(paths):
            assert out.paths[row, i, 4 : 4 + int(out.lengths[row, i])].tolist() == list(path.tokens)
            assert float(out.log_probs[row, i]) == pytest.approx(path.log_prob, abs=1e-5)
            assert bool(out.finished[row, i]) == (path.tokens[-1] == END or len(path.tokens) == 8)


def test_most_probable_pairs_are_transformers_own_beam_search(model):
    beams = model.generate(
        input_ids=PROMPTS,
        attention_mask=MASK,
        num_beams=4,
        max_new_tokens=8,
        do_sample=False,
        length_penalty=0.0,
        suppress_tokens=[END],
        return_dict_in_generate=True,
        output_scores=True,
    )
    out = generated(model, PathTopP(4, 1.0, do_sample=False), suppress_tokens=[END])
    assert torch.equal(out.sequences, beams.sequences)
    # Suppressing is after the softmax there and before it here, so that scores differ, and the order not.
    assert out.log_probs.shape == (2, 4)


@pytest.mark.parametrize("options", [{}, {"use_cache": False}], ids=["cache", "no-cache"])
def test_draws_are_the_generator_s(model, options):
    decoder = PathTopP(3, 0.9)
    out = generated(model, decoder, generator=generator(5), **options)
    again = generated(model, decoder, generator=generator(5))
    assert torch.equal(out.paths, again.paths)
    torch.testing.assert_close(out.log_probs, again.log_probs, atol=1e-5, rtol=0)
    torch.manual_seed(1)
    free = generated(model, decoder)
    torch.manual_seed(1)
    assert torch.equal(free.paths, generated(model, decoder).paths)


def test_log_probabilities_are_those_of_reading_the_path(model):
    out = generated(model, PathTopP(3, 0.8), generator=generator())
    for row, prompt in enumerate(([5, 6], [7, 8, 9, 10])):
        for i in range(3):
            if out.log_probs[row, i] == -torch.inf:
                continue
            tokens = [*prompt, *out.paths[row, i, 4 : 4 + int(out.lengths[row, i])].tolist()]
            with torch.no_grad():
                logp = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
            own = sum(float(logp[j - 1, tokens[j]]) for j in range(len(prompt), len(tokens)))
            assert float(out.log_probs[row, i]) == pytest.approx(own, abs=1e-5)


def test_what_generate_returns(model):
    out = generated(model, PathTopP(3, 0.9), generator=generator(2))
    assert torch.equal(out.sequences, out.paths[:, 0])
    assert torch.equal(out.sequences[:, :4], PROMPTS)
    assert (out.log_probs[:, 1:] <= out.log_probs[:, :-1]).all()
    assert out.path_entropy.shape == out.token_entropy.shape == out.effective_paths.shape
    assert out.effective_paths[:, 0].tolist() == [1.0, 1.0]
    plain = generated(model, PathTopP(3, 0.9), generator=generator(2), return_dict_in_generate=False)
    assert torch.equal(plain, out.sequences)
    for row, path in enumerate(out.paths.flatten(0, 1)):
        assert (path[4 + int(out.lengths.flatten()[row]) :] == 0).all(), "padding behind the end"


def test_a_prompt_whose_paths_have_ended_waits_for_the_others(model):
    """The end is forced at once in the first row alone; its entropies are NaN from then on."""

    def ends_first(input_ids, scores):
        forced = torch.full_like(scores, -torch.inf)
        forced[:, END] = 0.0
        rows = torch.arange(len(scores)) < len(scores) // 2
        return torch.where(rows[:, None], forced, scores)

    out = generated(model, PathTopP(2, 0.9), generator=generator(), logits_processor=[ends_first])
    assert out.paths[0, 0, 4:].tolist()[0] == END
    assert out.log_probs[0].tolist() == [0.0, -torch.inf]
    assert out.path_entropy[0, 1:].isnan().all()
    assert out.token_entropy[0, 1:].isnan().all()
    assert not out.token_entropy[:, 0].isnan().any()
    assert not out.path_entropy[1].isnan().any() or bool(out.finished[1].all())


def test_several_answers_a_prompt_are_runs_of_their_own(model):
    options = {"num_return_sequences": 3, "do_sample": True, "top_k": 0}
    out = generated(model, PathTopP(2, 0.95), generator=generator(), **options)
    assert out.paths.shape[:2] == (6, 2)
    assert torch.equal(out.sequences[:3, :4], PROMPTS[:1].expand(3, 4))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("TopKLogitsWarper", {"top_k": 2}),
        ("TopHLogitsWarper", {"top_h": 0.5}),
        ("MinPLogitsWarper", {"min_p": 0.1}),
        ("TypicalLogitsWarper", {"mass": 0.5}),
        ("EpsilonLogitsWarper", {"epsilon": 0.1}),
        ("EtaLogitsWarper", {"epsilon": 0.1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_processor_that_cuts_is_named(model, name, options):
    with pytest.warns(UserWarning, match=f"PathTopP: {name} cut every path's tokens"):
        generated(model, PathTopP(2, 0.9), logits_processor=[getattr(transformers(), name)(**options)])


def test_paths_that_have_ended_go_on_with_the_model_s_padding(model):
    out = generated(model, PathTopP(3, 0.9), generator=generator(2), pad_token_id=17)
    plain = generated(model, PathTopP(3, 0.9), generator=generator(2))
    assert torch.equal(out.log_probs, plain.log_probs)
    for row, path in zip(out.paths.flatten(0, 1), plain.paths.flatten(0, 1), strict=True):
        behind = row != path
        assert (row[behind] == 17).all()
        assert (path[behind] == 0).all()
    assert (out.paths != plain.paths).any()


def test_an_encoder_is_refused():
    encoder = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=True))
    with pytest.raises(ValueError, match="models with an encoder are not supported"):
        PathTopP(2)(encoder, PROMPTS, [], [], SimpleNamespace(num_beams=1))


def test_a_cache_that_cannot_be_reordered_is_refused_but_for_one_path(model, monkeypatch):
    def stays(*_):
        raise AssertionError("one path comes from itself")

    monkeypatch.setattr(transformers().DynamicCache, "reorder_cache", stays)
    assert generated(model, PathTopP(1, 0.9), generator=generator()).paths.shape[1] == 1
    monkeypatch.undo()
    monkeypatch.setattr("entrokit.decoding.path_nucleus.custom_generate._CACHES", ("attention_mask",))
    with pytest.raises(ValueError, match="the cache of LlamaForCausalLM, Tensor, cannot be reordered"):
        generated(model, PathTopP(2, 0.9))


def test_what_would_be_cut_twice_is_warned_of(model):
    with pytest.warns(UserWarning, match=r"TopPLogitsWarper cut every path's tokens before .* do_sample=False"):
        generated(model, PathTopP(2, 0.9), do_sample=True, top_p=0.5, top_k=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generated(model, PathTopP(2, 0.9))


def test_the_class_in_the_place_of_a_decoder_is_named(model):
    with pytest.raises(TypeError, match=r"takes a decoder, not its class: custom_generate=PathTopP\(k=4, p=0.9\)"):
        generated(model, PathTopP)


def test_a_seed_in_the_place_of_a_generator_is_named(model):
    with pytest.raises(TypeError, match="generator must be a torch.Generator, as .* got int"):
        generated(model, PathTopP(2), generator=0)


def test_beams_are_refused(model):
    with pytest.raises(ValueError, match="leave num_beams at 1, got 3"):
        generated(model, PathTopP(2, 0.9), num_beams=3)


@pytest.mark.parametrize(
    "to_array",
    [
        lambda law: law,
        lambda law: law[:, ::-1].copy()[:, ::-1],
        lambda law: law.astype(">f8"),
        lambda law: law.tolist(),
    ],
    ids=["plain", "reversed", "other-bytes", "list"],
)
def test_logits_may_be_arrays(to_array):
    with_arrays = PathTopP(2).generate(lambda tokens: to_array(garden(tokens).numpy()), 0, 2, generator=generator())
    assert with_arrays == PathTopP(2).generate(garden, 0, 2, generator=generator())


def test_logits_may_be_whole_numbers():
    step_fn = lambda tokens: torch.tensor([[0, 3, 1]]).expand(len(tokens), 3)  # noqa: E731
    assert PathTopP(1, do_sample=False).generate(step_fn, 0, 1)[0].tokens == (1,)
