"""Utility-probability duality (arXiv 2305.14859), reconstructed: utilities and candidates of sequences."""

import math

import pytest
import torch

from entrokit.losses.preference import (
    Candidates,
    UtilityToProbability,
    candidate_lists,
    gain_matrix,
    mbr_decision,
    pad_utilities,
    sequence_utility,
    stack_candidates,
)

from ..rounding import bound
from .preference_cases import END, FLOAT64, PAD, written

INF = torch.inf


def drawn(batch=3, length=4, vocabulary=5):
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, length, vocabulary, dtype=FLOAT64, generator=g)
    tokens = torch.randint(vocabulary, (batch, length), generator=g)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [False, True, False, True]])[:batch]
    return logits, tokens, mask


class TestUtility:
    def test_it_is_the_sum_over_the_mask(self):
        logits, tokens, mask = drawn()
        taken = logits.gather(-1, tokens[..., None])[..., 0]
        logp = torch.log_softmax(logits, -1).gather(-1, tokens[..., None])[..., 0]
        for kind, own in (("logprob", logp), ("logit", taken)):
            torch.testing.assert_close(sequence_utility(logits, tokens, mask, kind), (own * mask).sum(-1))
        colder = torch.log_softmax(logits / 0.5, -1).gather(-1, tokens[..., None])[..., 0]
        torch.testing.assert_close(sequence_utility(logits, tokens, mask, temperature=0.5), (colder * mask).sum(-1))
        torch.testing.assert_close(
            sequence_utility(logits, tokens, mask, "logit", temperature=0.5), (2 * taken * mask).sum(-1)
        )

    def test_offsets_of_positions_count_for_logits_alone(self):
        logits, tokens, mask = drawn()
        moved = logits + torch.arange(4.0, dtype=FLOAT64)[:, None]
        torch.testing.assert_close(sequence_utility(moved, tokens, mask), sequence_utility(logits, tokens, mask))
        apart = sequence_utility(moved, tokens, mask, "logit") - sequence_utility(logits, tokens, mask, "logit")
        assert apart.tolist() == pytest.approx([6.0, 1.0, 4.0])

    def test_a_length_exponent_changes_the_order(self):
        logits = torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 0.0]]], dtype=FLOAT64)
        tokens, mask = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[True, True], [True, False]])
        plain, mean = (sequence_utility(logits, tokens, mask, length_exponent=a) for a in (0.0, 1.0))
        torch.testing.assert_close(mean, plain / torch.tensor([2, 1]))
        assert plain[0] < plain[1]
        assert mean[0] > mean[1]

    def test_a_length_exponent_of_float64_is_float64(self):
        """A power of whole numbers is float32 whatever is divided."""
        logits, tokens, mask = drawn(1)
        plain, found = (float(sequence_utility(logits, tokens, mask, length_exponent=a)) for a in (0.0, 1 / 3))
        # The root, the quotient and the sum of four have a unit of float64 or two each.
        assert found == pytest.approx(plain / 4 ** (1 / 3), rel=8 * 2.0**-53)

    @pytest.mark.parametrize("kind", ["logprob", "logit"])
    def test_narrow_integers_are_tokens_of_a_large_vocabulary(self, kind):
        logits, tokens = torch.linspace(-1.0, 1.0, 900, dtype=FLOAT64).view(3, 300), torch.tensor([1, 100, 255])
        mask = torch.ones(3, dtype=torch.bool)
        expected = sequence_utility(logits, tokens, mask, kind)
        for dtype in (torch.uint8, torch.int16, torch.int32):
            assert sequence_utility(logits, tokens.to(dtype), mask, kind) == expected

    def test_what_is_outside_of_the_mask_is_not_read(self):
        logits, tokens, mask = drawn()
        logits[~mask], tokens[~mask] = torch.nan, -100
        logits = logits.requires_grad_()
        for kind in ("logprob", "logit"):
            (gradient,) = torch.autograd.grad(sequence_utility(logits, tokens, mask, kind).sum(), logits)
            assert (gradient[~mask] == 0).all()
            assert torch.isfinite(gradient).all()

    def test_a_forbidden_token_has_utility_minus_infinity(self):
        logits, tokens, mask = drawn()
        logits[0, 1, tokens[0, 1]] = -INF
        for kind in ("logprob", "logit"):
            found = sequence_utility(logits, tokens, mask, kind)
            assert found[0] == -INF
            assert torch.isfinite(found[1:]).all()

    def test_gradients(self):
        logits, tokens, mask = drawn()
        for kind in ("logprob", "logit"):

            def utility(logits, kind=kind):
                return sequence_utility(logits, tokens, mask, kind, length_exponent=0.5)

            assert torch.autograd.gradcheck(utility, (logits.requires_grad_(),))

    def test_half_precision(self):
        logits, tokens, mask = drawn()
        half = logits.bfloat16()
        found = sequence_utility(half, tokens, mask)
        assert found.dtype == torch.float32
        exact = sequence_utility(half.double(), tokens, mask)
        # Four log-probabilities of up to 8 nats, each of some ten operations.
        assert (found.double() - exact).abs().max() <= bound(32.0, 40)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"mask": torch.zeros(3, 4, dtype=torch.bool)}, r"3 of 3 sequences have no token .* first \[0\]"),
            ({"mask": torch.ones(3, 4)}, "mask must be bool"),
            ({"mask": torch.ones(3, 3, dtype=torch.bool)}, r"expected token_logits \[..., T, V\]"),
            ({"tokens": torch.zeros(3, 5, dtype=torch.long)}, "expected token_logits"),
            ({"tokens": torch.full((3, 4), 5)}, r"tokens: 5 at \[0, 0\] lies outside the vocabulary"),
            ({"token_logits": torch.full((3, 4, 5), -INF)}, "nothing but -inf"),
            ({"kind": "probability"}, "kind must be logprob or logit"),
            ({"temperature": 0.0}, "temperature: must be > 0"),
            ({"length_exponent": -1.0}, "length_exponent must be at least 0"),
            ({"length_exponent": math.nan}, "length_exponent must be at least 0"),
        ],
    )
    def test_bad_input(self, change, message):
        logits, tokens, mask = drawn()
        with pytest.raises(ValueError, match=message):
            sequence_utility(**({"token_logits": logits, "tokens": tokens, "mask": mask} | change))


class TestCandidates:
    def test_duplicates_are_merged_and_the_mass_is_told(self):
        output = written([[1, 1, 3, END, PAD], [1, 1, 4, 5, 6], [1, 1, 3, END, PAD], [1, 1, 5, 5, END]])
        (found,) = candidate_lists(output, prompts=1, prompt_length=2, end=END)
        assert found.outputs == ((3, END), (4, 5, 6), (5, 5, END))
        assert found.counts.tolist() == [2, 1, 1]
        assert found.finished.tolist() == [True, False, True]
        logp = [torch.log_softmax(step, -1) for step in output.logits]
        assert float(found.utility[0]) == pytest.approx(float(logp[0][0, 3] + logp[1][0, END]), abs=1e-12)
        assert float(found.utility[1]) == pytest.approx(float(logp[0][1, 4] + logp[1][1, 5] + logp[2][1, 6]), abs=1e-12)
        assert found.mass == pytest.approx(float(found.utility.exp().sum()))
        assert len(found) == 3

    def test_what_reads_the_same_adds_up(self):
        output = written([[1, 1, 3, END], [1, 1, 4, END], [1, 1, 4, END], [1, 1, 5, 6]])
        plain, read = (
            candidate_lists(output, prompts=1, prompt_length=2, end=[END, 8], read=how)[0]
            for how in (None, lambda ids: "even" if sum(ids) % 2 == 0 else "odd")
        )
        assert read.outputs == ("even", "odd")
        assert read.counts.tolist() == [1, 3]
        assert read.finished.tolist() == [True, False]
        assert float(read.utility[1]) == pytest.approx(float(plain.utility[1:].logsumexp(0)), abs=1e-12)
        assert read.mass == pytest.approx(plain.mass)

    def test_prompts_have_lists_of_their_own(self):
        output = written([[1, 1, 3, 4], [1, 1, 3, 4], [2, 2, 5, 6], [2, 2, 6, 6]])
        first, second = candidate_lists(output, prompts=2, prompt_length=2, end=None)
        assert (len(first), len(second)) == (1, 2)
        u = stack_candidates([first, second])
        assert u.shape == (2, 2)
        assert u[0, 1] == -INF
        with pytest.warns(RuntimeWarning, match="all wrong"), pytest.warns(RuntimeWarning, match="fit on more"):
            probs = UtilityToProbability().fit(u, torch.tensor([0, 1 - int(u[1].argmax())])).transform(u)
        assert probs[0].tolist() == [1.0, 0.0]

    def test_lists_of_nothing(self):
        for lists in ([], [torch.zeros(0)], [torch.zeros(1, 2)]):
            with pytest.raises(ValueError, match="pad_utilities"):
                pad_utilities(lists)

    @pytest.mark.parametrize("first", [torch.float16, torch.float32])
    def test_lists_are_not_narrowed_to_the_first(self, first):
        fine = torch.tensor([-1.0 - 2.0**-40], dtype=FLOAT64)
        found = pad_utilities([torch.zeros(2, dtype=first), fine])
        assert found.dtype == FLOAT64
        assert found.tolist() == [[0.0, 0.0], [float(fine), -INF]]


@pytest.fixture(scope="module")
def model():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=9,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return transformers.LlamaForCausalLM(config).eval()


PROMPTS = torch.tensor([[2, 3, 4], [5, 6, 2]])
HOW = {
    "sampled": {"do_sample": True, "top_k": 0, "num_return_sequences": 8},
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 5, "num_return_sequences": 4},
}


def generated(model, **how):
    torch.manual_seed(0)
    asked = {"output_logits": True, "output_scores": True, "return_dict_in_generate": True}
    return model.generate(PROMPTS, attention_mask=torch.ones_like(PROMPTS), max_new_tokens=5, **asked, **how)


@pytest.mark.parametrize("how", HOW)
def test_utilities_are_the_model_s_own_log_probabilities(model, how):
    output = generated(model, **HOW[how])
    lists = candidate_lists(output, prompts=2, prompt_length=3, end=END)
    assert len(lists) == 2
    seen = 0
    for prompt, found in zip(PROMPTS, lists, strict=True):
        assert 0.0 < found.mass <= 1.0
        for tokens, utility in zip(found.outputs, found.utility, strict=True):
            whole = torch.cat([prompt, torch.tensor(tokens)])[None]
            with torch.no_grad():
                logp = model(whole).logits[0, 2:-1].log_softmax(-1)
            exact = logp.gather(-1, torch.tensor(tokens)[:, None]).double().sum()
            # A layer of width 16 in float32: products of a few hundred terms of size 1.
            assert float(utility) == pytest.approx(float(exact), abs=bound(100.0, 1000))
            assert END not in tokens[:-1]
            seen += 1
    assert seen == sum(map(len, lists))
    assert sum(int(found.counts.sum()) for found in lists) == len(output.sequences)


@pytest.mark.parametrize("how", HOW)
def test_they_are_what_transformers_computes_of_scores(model, how):
    output = generated(model, **HOW[how])
    lists = candidate_lists(output, prompts=2, prompt_length=3, end=END, of="scores")
    beams = getattr(output, "beam_indices", None)
    steps = model.compute_transition_scores(output.sequences, output.scores, beams, normalize_logits=True)
    rows = iter(zip(output.sequences[:, 3:], steps, strict=True))
    for found in lists:
        own = dict(zip(found.outputs, found.utility.tolist(), strict=True))
        for _ in range(int(found.counts.sum())):
            tokens, scores = next(rows)
            tokens = tokens.tolist()
            length = tokens.index(END) + 1 if END in tokens else len(tokens)
            total = float(scores[:length].double().sum())
            assert own[tuple(tokens[:length])] == pytest.approx(total, abs=bound(50.0, 100))


def test_scores_are_after_top_k_and_logits_before(model):
    output = generated(model, do_sample=True, top_k=2, temperature=0.5, num_return_sequences=4)
    before, after = (
        candidate_lists(output, prompts=2, prompt_length=3, end=END, of=of)[0] for of in ("logits", "scores")
    )
    assert before.outputs == after.outputs
    assert (after.utility > before.utility).all()


def test_from_generate_to_a_decision(model):
    output = generated(model, **HOW["sampled"])
    lists = candidate_lists(output, prompts=2, prompt_length=3, end=END, read=lambda ids: " ".join(map(str, ids)))
    u = stack_candidates(lists)
    target = u.argsort(-1, descending=True)[:, 1]
    probs = UtilityToProbability(bracket=(0.01, 100.0)).fit(u, torch.stack([u[0].argmax(), target[1]])).transform(u)

    def overlap(decided, true):
        return len(set(decided.split()) & set(true.split())) / len(set(decided.split()) | set(true.split()))

    for own, found in zip(probs, lists, strict=True):
        best = int(mbr_decision(own[: len(found)], gain_matrix(found.outputs, overlap)))
        assert isinstance(found.outputs[best], str)
        assert float(own[len(found) :].sum()) == 0.0


def test_candidates_hold_what_they_are_given():
    made = Candidates(("a",), torch.tensor([0.1], dtype=FLOAT64), torch.tensor([1]), torch.tensor([True]))
    assert made.mass == 1.0, "rounding above 1 is 1"
