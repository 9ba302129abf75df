"""What is advised: never empty, in the engine's own words, and with our recipes where they can be carried."""

import inspect

import pytest

from entrokit.diagnose import remedies
from entrokit.diagnose.levers import Levers, engines_with_levers
from entrokit.diagnose.remedies import RunWords
from entrokit.rlvr import recipe
from entrokit.runs.step_account import LIKELY_UP, UNLIKELY_DOWN

from .written import options

ARGUMENTS = {
    "against_loss": [({LIKELY_UP: -1.0},), ({UNLIKELY_DOWN: -1.0},), ({},)],
    "against_plateau": [({LIKELY_UP: -1.0},), ({UNLIKELY_DOWN: -1.0},)],
    "against_local_failure": [("code",)],
    "against_no_learning": [("floor",), ("ceiling",), ("flat",)],
    "against_reward_hacking": [(None,), ("'format'",)],
    "against_reward_imbalance": [("'format'",)],
    "against_broken_numbers": [(), (7.0, "grad_norm"), (7.0, "reward.part/x"), (None, "kl"), (1e6, None)],
    "against_impossible_entropy": [(k,) for k in ("negative", "summed", "too large", "zero", "constant", "?")],
}
CALLS = [
    (name, arguments)
    for name in remedies.__all__
    if name.startswith("against_")
    for arguments in ARGUMENTS.get(name, [()])
]
CONFIGS = (
    {},
    {"recipe": "dapo(clip_high=0.5)+entropy-bonus(coef=0.3)", "learning_rate": 1e-3, "max_completion_length": 64},
    {"learning_rate": "\x1b[2J", "max_completion_length": None, "top_p": True, "recipe": ["x"]},
)
CARRY = (None, "trl", "verl", "entrokit", "entrokit-trl")


def advice(name, arguments, run):
    return getattr(remedies, name)(run, *arguments)


@pytest.mark.parametrize("engine", [None, "rllm", *sorted(engines_with_levers())])
@pytest.mark.parametrize("supervised", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
def test_every_cause_gets_one_to_three_remedies(engine, supervised, config):
    run = RunWords(engine, config, supervised)
    for name, arguments in CALLS:
        given = advice(name, arguments, run)
        assert 1 <= len(given) <= 3, name
        assert len({str(r) for r in given}) == len(given), name
        for r in given:
            assert r.text
            assert not {"\n", "\x1b"} & set(r.text)
            if r.recipe:
                recipe(r.recipe)
                assert engine in CARRY
                assert not supervised
            if r.write:
                assert options(Levers.of(engine).form, r.write)


def test_recipes_are_for_engines_that_carry_them():
    for name in ("against_loss", "against_explosion", "against_crash"):
        arguments = ({},) if name == "against_loss" else ()
        for engine in CARRY:
            assert any(r.recipe for r in advice(name, arguments, RunWords(engine))), engine
        for engine in ("openrlhf", "prime-rl", "slime", "ms-swift", "rllm"):
            assert not any(r.recipe for r in advice(name, arguments, RunWords(engine))), engine


def test_six_engines_are_told_what_to_paste():
    for engine in ("trl", "verl", "openrlhf", "prime-rl", "slime", "ms-swift"):
        for name, arguments in CALLS:
            if name == "against_few_prompts":
                continue
            run = RunWords(engine, {"learning_rate": 1e-5}, supervised=name == "against_overfitting")
            given = advice(name, arguments, run)
            title = Levers.of(engine).title
            assert any(r.write or r.recipe or title in r.text for r in given), (engine, name)


def test_the_run_s_numbers_are_used():
    run = RunWords("verl", {"actor_rollout_ref": {"actor": {"optim": {"lr": 1e-5}}, "rollout": {"top_p": 0.8}}})
    crash = remedies.against_crash(run)
    assert crash[0].write == "actor_rollout_ref.actor.optim.lr=1e-06"
    assert "(it was 1e-05; try 1e-06)" in crash[0].text
    assert "(top_p was 0.8)" in remedies.against_mismatch(run)[0].text
    assert "top_p was" not in remedies.against_mismatch(RunWords("verl", {"top_p": 1.0}))[0].text
    longer = remedies.against_truncation(RunWords("slime", {"rollout_max_response_len": 1024}))[0]
    assert longer.write == "--rollout-max-response-len 2048"


@pytest.mark.parametrize("engine", ["trl", "entrokit-trl", "unsloth"])
def test_trl_takes_a_weight_a_reward_function(engine):
    found = remedies.against_reward_hacking(RunWords(engine), "'right'", ["format", "right"])
    assert "reward_weights=[0.5, 1.0]" in [remedy.write for remedy in found]
    assert all("reward_weights" not in str(r.write) for r in remedies.against_reward_hacking(RunWords(engine)))


def test_a_bonus_for_entropy_is_taken_out_where_there_is_one():
    for config in (
        {"recipe": "grpo+entropy-bonus(coef=0.3)"},
        {"actor_rollout_ref": {"actor": {"entropy_coeff": 0.01}}},
        {"entropy_coef": 0.01},
    ):
        assert (
            remedies.against_explosion(RunWords("verl", config))[0].write == "actor_rollout_ref.actor.entropy_coeff=0"
        )
    assert "no entropy bonus" in remedies.against_explosion(RunWords("verl", {"entropy_coef": 0}))[0].text


def test_what_turned_first_decides():
    for first, word in (("reward", "division by 0"), ("kl", "float32"), ("grad_norm", "clip"), (None, "clip")):
        assert word in remedies.against_broken_numbers(RunWords("slime"), 12, first)[1].text
    assert "before step 12" in remedies.against_broken_numbers(RunWords("slime"), 12)[0].text


def test_old_weights_and_coarse_numbers_are_told_apart():
    stale, coarse = (f(RunWords("prime-rl")) for f in (remedies.against_stale_weights, remedies.against_precision_gap))
    assert stale[0].write == "--orchestrator.max-off-policy-steps 1"
    assert coarse[0].write == "--inference.enable-fp32-lm-head"


def test_a_supervised_run_gets_no_words_of_rl():
    run = RunWords("trl", {"learning_rate": 2e-5}, supervised=True)
    assert remedies.against_explosion(run) == remedies.against_supervised_divergence(run)
    assert remedies.against_supervised_divergence(run)[0].write == "learning_rate=2e-06"
    assert remedies.against_overfitting(run)[0].write == "num_train_epochs=1"


def test_the_same_line_is_not_pasted_twice():
    for engine in sorted(engines_with_levers()):
        for name in ("against_truncation", "against_loss", "against_plateau"):
            arguments = () if name == "against_truncation" else ({UNLIKELY_DOWN: -1.0},)
            written = [r.write for r in advice(name, arguments, RunWords(engine)) if r.write]
            assert len(set(written)) == len(written), (engine, name)


def test_every_function_is_called_here():
    named = {n for n, f in vars(remedies).items() if n.startswith("against_") and inspect.isfunction(f)}
    assert named == {name for name, _ in CALLS}
