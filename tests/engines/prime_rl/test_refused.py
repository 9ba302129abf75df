"""Every method of the catalogue is carried, or refused at the start: by name, with a reason and a way out."""

import pytest

from entrokit.engines.prime_rl import loss_of
from entrokit.engines.prime_rl.refusals import AGGREGATION
from entrokit.rlvr import BASES, recipe
from entrokit.rlvr.aggregation import AGGREGATIONS
from entrokit.rlvr.cards import methods

from .methods import (
    Broken,
    BrokenBelow,
    Forgetful,
    Keeper,
    OwnAdvice,
    OwnCard,
    PrimeDefault,
    Reader,
    Sampler,
    Unlikely,
    Watcher,
)

pytestmark = pytest.mark.filterwarnings("ignore:recipe .*advantages are those of prime-rl")

EXAMPLES = [(m.name, e) for m in methods().values() for e in m.card.examples]


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[e for _, e in EXAMPLES])
def test_a_method_is_carried_or_refused_by_name(name, example):
    try:
        loss = loss_of(example, aggregation=AGGREGATION)
    except ValueError as refusal:
        said = str(refusal)
        parts = [i.name for i in recipe(example).interventions] or [name]
        assert any(part in said for part in parts)
        assert "prime-rl" in said
        assert any(way in said for way in ("use it under TRL", "use correct='advantage'"))
    else:
        assert not loss.recipe.needs - {"logp"}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("dapo+steer", "needs entropy of every token"),
        ("dapo+entropy-bonus", "needs entropy of every token"),
        ("dapo+kl-cov", "numbers over a whole batch"),
        ("dapo+kl-cov(scope='micro')", "numbers over a whole batch"),
        ("dapo+clip-cov(scope='micro')", "numbers over a whole batch"),
        ("dapo+position-shaping", "it makes advantages"),
        ("dapo+weighted-grpo", "it makes advantages"),
        ("dapo+arm", "log-probabilities of prompts"),
        ("dapo+tool-reward", "it acts on rewards"),
        ("dapo+reference-kl", "the algorithms opd and opsd alone"),
        ("dapo+reward-kl", "the algorithms opd and opsd alone"),
        ("dapo+self-imitation", "updates of its own"),
        ("dapo+adaptive-temperature", "needs entropy"),
        ("dispo(correct='reward')", "which completions are right"),
    ],
)
def test_the_reason_is_the_right_one(spec, why):
    with pytest.raises(ValueError, match=why):
        loss_of(spec)


def test_what_to_write_instead_can_be_written():
    with pytest.raises(ValueError, match=r"leave it out: 'dapo\(clip_high=0.3\)'$"):
        loss_of("dapo(clip_high=0.3)+steer+kl-cov")
    loss_of("dapo(clip_high=0.3)")
    with pytest.raises(ValueError, match=r"""leave it out: 'grpo', with aggregation = "token-mean"$"""):
        loss_of("grpo+steer")
    loss_of("grpo", aggregation="token-mean")


def test_what_can_stay_stays_in_what_to_write_instead():
    with pytest.raises(ValueError, match=r"cannot carry own-card .* its card says so; .* 'dapo\+prime-default'$"):
        loss_of("dapo", OwnCard(), PrimeDefault())


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (OwnCard(), "its card says so; use it under TRL, or leave it out: 'dapo'"),
        (OwnAdvice(), "needs entropy of every token.*; write halved instead$"),
        (Forgetful(), "it has a memory"),
        (Reader(), "no token ids"),
        (Watcher(), "it learns from step to step"),
        (Keeper(), "it learns from step to step"),
        (Sampler(), "logits while sampling"),
        (Unlikely(), "keeps only some tokens.* weight of 0"),
        (Broken(), "its loss of a made-up sequence is"),
        (BrokenBelow(), "its loss of a made-up sequence is"),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_methods_that_the_engine_has_never_heard_of_are_judged_by_what_they_say(method, why):
    with pytest.raises(ValueError, match=why) as refusal:
        loss_of("dapo", method)
    assert method.name in str(refusal.value)


@pytest.mark.parametrize("base", BASES)
def test_a_base_is_exact_as_token_mean_and_refused_otherwise(base):
    mode = recipe(base).base.aggregation
    assert mode in AGGREGATIONS
    if mode == "token-mean":
        assert loss_of(base).recipe.base.aggregation == mode
        return
    with pytest.raises(ValueError, match=f"'{base}' means {mode}, and prime-rl divides") as refusal:
        loss_of(base)
    assert f'kwargs = {{ recipe = "{base}", aggregation = "token-mean" }}' in str(refusal.value)
    assert loss_of(base, aggregation="token-mean").recipe.base.aggregation == "token-mean"


@pytest.mark.parametrize("mode", ["seq-mean-token-mean", "mean", "", 1, True])
def test_no_other_aggregation_can_be_asked_for(mode):
    with pytest.raises(ValueError, match=r"aggregation must be 'token-mean'"):
        loss_of("dapo", aggregation=mode)
