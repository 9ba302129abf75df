"""What names mean: in whose log, in which form, and when by hand."""

import pytest

from entrokit.runs.names import Names
from tests.runs.names.field import CASES

NAMES = Names.load()


def key(name: str, engine: str | None = None) -> str | None:
    found = NAMES.meaning(name, engine)
    return None if found is None else found.key


@pytest.mark.parametrize("case", CASES)
def test_field_cases(case: str) -> None:
    engine, names = CASES[case]
    assert NAMES.engine_of(names) == engine
    assert {name: key(name, engine) for name in names} == names
    assert all(NAMES.known(name) for name, meant in names.items() if meant)


STATISTICS = ["std", "min", "max", "median", "p10", "p90", "avg_raw_reward", "mean_positive_reward", "num_zero", "var"]


@pytest.mark.parametrize("engine", [None, *sorted(NAMES.engines)])
@pytest.mark.parametrize(
    "statistic", [*STATISTICS, "count", "all", "avg_pass_at_8", "zero_std_frac", "pass@8", "scale"]
)
def test_a_statistic_is_never_a_family_nor_a_reward_function(statistic: str, engine: str | None) -> None:
    for name in (f"reward/{statistic}", f"entropy/{statistic}", f"train/reward/{statistic}", f"rewards/{statistic}"):
        assert "/" not in (key(name, engine) or ""), name


@pytest.mark.parametrize("family", ["maths", "code", "openai/gsm8k", "stdlib", "maximum-cut", "meander"])
def test_a_family_is_one(family: str) -> None:
    assert key(f"reward/{family}") == f"reward/{family}"
    assert key(f"train/entropy/{family}") == f"entropy/{family}"
    assert key(f"env/{family}/reward", "trl") == f"reward/{family}"


@pytest.mark.parametrize(
    ("name", "engine", "expected"),
    [
        ("Actor/Entropy", "verl", "entropy"),
        ("train/metrics/actor/entropy", "verl", "entropy"),
        ("global/actor/entropy", "verl", "entropy"),
        ("my - other - run - actor/entropy", None, "entropy"),
        ("actor.entropy", "verl", "entropy"),
        ("actor_entropy", "verl", "entropy"),
        ("actor / entropy", None, "entropy"),
        ("train_reward", None, "reward"),
        ("train.completions.mean_length", "trl", "length"),
        ("policy_loss", "openrlhf", "loss"),
        ("  entropy  ", None, "entropy"),
        ("gradient norm", None, "grad_norm"),
        ("entropy_coef", None, None),
        ("cross_entropy", None, None),
        ("reward/format", None, "reward.part/format"),
    ],
)
def test_forms_of_a_name(name: str, engine: str | None, expected: str | None) -> None:
    assert key(name, engine) == expected


@pytest.mark.parametrize(
    "prefix", ["eval_", "eval/", "val/", "validation/", "test/", "test_", "evaluation/", "run - eval/"]
)
@pytest.mark.parametrize("engine", [None, "trl", "verl", "prime-rl", "slime", "stable-baselines3"])
def test_names_of_evaluations_are_no_quantities_of_training(prefix: str, engine: str | None) -> None:
    for name in (
        "entropy",
        "reward",
        "kl",
        "loss",
        "grad_norm",
        "completions/clipped_ratio",
        "actor/entropy",
        "reward/maths",
    ):
        found = key(prefix + name, engine)
        assert found is None or found.startswith(("validation", "eval_loss")), prefix + name
    assert key("eval_loss", engine) == "eval_loss"
    assert key("value_loss", engine) == "value_loss"


def test_an_engines_own_file_may_call_training_val() -> None:
    assert key("val/sequence_lengths", "open-instruct") == "length"
    assert key("val/sequence_lengths") is None


def test_the_engines_own_meaning_comes_first() -> None:
    assert key("reward_std", "trl") == "reward.group_std"
    assert key("reward_std") == "reward.std"
    assert key("reward/std", "trl") == "reward.std"
    assert key("accuracy", "llamafactory") is None
    assert key("accuracy") == "accuracy"


@pytest.mark.parametrize("engine", [None, "slime", "trl"])
def test_slimes_rollout_entropy_is_the_trainers(engine: str | None) -> None:
    assert key("rollout/entropy", engine) == "entropy"


def test_the_better_name_has_the_lower_rank() -> None:
    def rank(name: str, engine: str) -> int:
        found = NAMES.meaning(name, engine)
        assert found is not None
        return found.rank

    assert rank("critic/score/mean", "verl") < rank("critic/rewards/mean", "verl") < rank("reward", "verl")
    assert rank("train/entropy_loss", "slime") < rank("rollout/entropy", "slime")
    assert rank("entropy", "trl") < rank("policy_entropy", "trl") < rank("actor/entropy", "trl")
    assert rank("reward/overall", "easyr1") < rank("critic/score/mean", "easyr1")


def test_scales_and_offsets() -> None:
    def value(name: str, engine: str | None, written: float) -> float:
        found = NAMES.meaning(name, engine)
        assert found is not None
        return found.of(written)

    assert value("completions/clipped_pct", None, 25.0) == 0.25
    assert value("val/stop_rate", "open-instruct", 0.9) == pytest.approx(0.1)
    assert value("env/all/by_group/frac_mixed", "tinker-cookbook", 0.3) == pytest.approx(0.7)
    assert value("train/token_mult_prob_error", "nemo-rl", 1.02) == pytest.approx(0.02)
    assert value("rollout_corr/training_log_ppl", "verl", 0.4) == -0.4
    assert value("actor/entropy", "verl", 0.4) == 0.4


def test_engines_that_contradict_each_other_say_nothing() -> None:
    assert key("train/explained_variance") is None
    assert key("losses/entropy") is None
    assert key("losses/entropy", "cleanrl") == "entropy"


def test_close_names() -> None:
    found = NAMES.close_to(
        ["lr", "my_entropie", "policy/ent", "foo/entr_avg", "eval/entr", "my/entropy/std"], "entropy"
    )
    assert set(found) == {"my_entropie", "policy/ent", "foo/entr_avg"}
    assert NAMES.close_to(["rewrd", "team_score", "R", "episode_return", "loss", "score/p10"], "reward") == [
        "rewrd",
        "team_score",
        "episode_return",
    ]
    assert NAMES.close_to(["gradient_norms", "xyz"], "grad_norm") == ["gradient_norms"]
    assert NAMES.close_to([], "entropy") == []
    assert len(NAMES.close_to([f"score_{i}" for i in range(50)], "reward")) == 5


def test_names_by_hand_come_first() -> None:
    names = NAMES.with_user({"entropy": "my/metric", "reward/maths": "eval/maths", "truncated": "actor/entropy"})
    for written in ("my/metric", "My/Metric", "train/my/metric", "run 3 - my/metric"):
        found = names.meaning(written, "verl")
        assert found is not None
        assert (found.key, found.engine) == ("entropy", "user")
        assert found.rank < 0
    assert names.known("my/metric")
    assert not NAMES.known("my/metric")
    maths, cut = names.meaning("eval/maths"), names.meaning("actor/entropy", "verl")
    assert maths is not None
    assert cut is not None
    assert (maths.key, cut.key) == ("reward/maths", "truncated")
    assert NAMES.meaning("my/metric") is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"entropie": "x"}, "no quantity 'entropie'; there are entropy, "),
        ({"": "x"}, "no quantity ''"),
        ({"entropy": "  "}, "entropy: the name of its metric is empty"),
        ({"entropy": "x", "reward": "x"}, "'x' was given to more than one"),
    ],
)
def test_names_by_hand_that_cannot_be(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NAMES.with_user(given)


def test_step_names() -> None:
    assert NAMES.step_names("open-instruct")[0] == "training_step"
    assert NAMES.step_names("ms-swift")[0] == "global_step/max_steps"
    assert NAMES.step_names(None)[0] == "step"
    assert NAMES.step_names(None)[-1] == "_step"
    assert NAMES.step_names("nobody") == NAMES.step_names(None)
    assert set(NAMES.step_names("verl")) <= set(NAMES.all_step_names())


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "/",
        "." * 50,
        "x" * 100_000,
        "reward/" + "a/" * 50_000,
        "entropy/" * 37,
        "a\x00b",
        "reward/\n",
        "reward/\x1b[31m",
        "(a+)+$",
        "[reward",
        "reward/(?P<x>",
        "{family}",
        "reward/{family}",
        " - ",
        "a - ",
        "train/",
        "train/train/train/",
        "\ud800",
        "reward/‮maths",
    ],
)
def test_hostile_names(name: str) -> None:
    for engine in (None, "trl", "prime-rl", "no such engine"):
        found = NAMES.meaning(name, engine)
        assert found is None or len(found.key) <= 300
    assert NAMES.known(name) in (True, False)
    assert NAMES.engine_of([name] * 3) is None
    assert len(NAMES.close_to([name], "reward")) <= 1


def test_nothing_tells_no_engine() -> None:
    assert NAMES.engine_of([]) is None
    assert NAMES.engine_of(["step", "reward", "entropy", "loss"]) is None
    assert NAMES.title("verl") == "verl"
    assert NAMES.title("generic") is None
    assert NAMES.title(None) is None


def test_names_of_two_engines_that_are_no_kin_are_not_told_by_one_of_each() -> None:
    assert NAMES.engine_of(["actor/pg_loss", "completions/mean_length"]) is None


def test_a_fork_is_told_although_its_model_wrote_more() -> None:
    assert NAMES.engine_of(["actor/pg_loss", "actor/ppo_kl", "critic/score/mean", "reward/overall"]) == "easyr1"
    assert NAMES.engine_of(["actor/pg_loss", "actor/ppo_kl", "critic/score/mean"]) == "verl"


def test_a_family_of_validation_is_none_of_training() -> None:
    assert key("val-core/openai/gsm8k/acc/mean@8") == "validation/openai/gsm8k"
    assert key("train/reward/maths") == "reward/maths"
    assert key("env/maze/reward") == "reward/maze"
