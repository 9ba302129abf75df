"""Every engine's words: whole, pasteable, and made of options that its source has."""

import ast
import json
import shlex
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from entrokit.diagnose import diagnose
from entrokit.diagnose.levers import LEVERS, SUPERVISED_LEVERS, Advice, Levers, engines_with_levers
from entrokit.runs import read_log

from .written import options

# Lines that set what verl does anyway: for runs that had it otherwise.
AS_BY_DEFAULT = {
    "actor_rollout_ref.rollout.temperature=1.0 actor_rollout_ref.rollout.top_p=1 actor_rollout_ref.rollout.top_k=-1",
    "actor_rollout_ref.actor.clip_ratio_low=0.2 actor_rollout_ref.actor.clip_ratio_high=0.2",
    "actor_rollout_ref.actor.entropy_coeff=0",
    "actor_rollout_ref.actor.loss_agg_mode=token-mean",
    "actor_rollout_ref.rollout.calculate_log_probs=True",
    "trainer.v1.trainer_mode=sync",
    "engine.model_dtype=fp32",
}
ENGINES = sorted(engines_with_levers())
TABLES = [
    (engine, supervised)
    for engine in ENGINES
    for supervised in (False, True)
    if Levers.of(engine, supervised=supervised).entries
]
NAMES = [f"{engine}{' supervised' if s else ''}" for engine, s in TABLES]


def lines(engine: str, supervised: bool, value: float = 2.0) -> dict[str, str]:
    """What each lever of an engine pastes."""
    levers = Levers.of(engine, supervised=supervised)
    said = {lever: levers.say(lever, value=value).write for lever in levers.entries}
    return {lever: write for lever, write in said.items() if write}


def test_the_engines_of_the_list_are_there():
    wanted = {"trl", "verl", "openrlhf", "prime-rl", "slime", "ms-swift"}
    assert wanted | {"nemo-rl", "skyrl", "open-instruct", "areal", "easyr1", "unsloth", "entrokit"} <= set(ENGINES)


@pytest.mark.parametrize(("engine", "supervised"), TABLES, ids=NAMES)
def test_a_table_is_whole(engine, supervised):
    levers = Levers.of(engine, supervised=supervised)
    assert set(levers.entries) == set(SUPERVISED_LEVERS if supervised else LEVERS)
    assert all((levers.title, levers.version, levers.where, levers.sources))
    assert levers.form in ("python", "overrides", "flags", "yaml")
    for lever, entry in levers.entries.items():
        assert set(entry) <= {"write", "note", "none", "default"}, lever
        assert "write" in entry or "none" in entry, lever
        assert "default" not in entry or "{value}" in entry["write"], lever


@pytest.mark.parametrize(("engine", "supervised"), TABLES, ids=NAMES)
def test_what_is_pasted_parses(engine, supervised):
    levers = Levers.of(engine, supervised=supervised)
    for line in lines(engine, supervised).values():
        assert "{value}" not in line
        assert levers.form == "yaml" or "\n" not in line
        assert options(levers.form, line)


@pytest.mark.parametrize("engine", ENGINES)
def test_nobody_is_told_another_engine_s_option(engine):
    """Short names are everybody's (`lr`), and so are those of engines that are built on one another."""
    families = ({"trl", "entrokit-trl", "unsloth", "ms-swift"}, {"verl", "easyr1"})
    kin = next((family for family in families if engine in family), {engine})
    own = {o for s in (False, True) for w in lines(engine, s).values() for o in options(Levers.of(engine).form, w)}
    for other in set(ENGINES) - kin:
        form = Levers.of(other).form
        theirs = {o for s in (False, True) for w in lines(other, s).values() for o in options(form, w)}
        foreign = {o for o in theirs - own if len(o) > 12}
        for supervised in (False, True):
            for lever, entry in Levers.of(engine, supervised=supervised).entries.items():
                words = set(" ".join(str(v) for v in entry.values()).replace("`", " ").replace("=", " ").split())
                assert not words & ({f"--{o}" for o in foreign} | foreign), (lever, other)


def test_files_are_named_after_their_engine():
    for file in resources.files("entrokit.diagnose.levers").iterdir():
        if file.name.endswith(".yaml"):
            assert yaml.safe_load(file.read_text("utf-8"))["engine"] == file.name.removesuffix(".yaml")


@pytest.mark.parametrize(
    ("engine", "supervised", "config"),
    [("trl", False, "GRPOConfig"), ("trl", True, "SFTConfig"), ("entrokit-trl", False, "GRPOConfig")],
)
def test_trl_s_arguments_are_taken_by_trl(engine, supervised, config, tmp_path):
    trl = pytest.importorskip("trl")
    for lever, line in lines(engine, supervised, 4).items():
        call = ast.parse(f"Config({line})", mode="eval").body
        assert isinstance(call, ast.Call)
        arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        # A machine without bfloat16 refuses it; 16 rows hold a group of any size that is asked for.
        here = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 16}
        taken = getattr(trl, config)(output_dir=str(tmp_path), **{**here, **arguments, "bf16": False})
        for name, value in arguments.items():
            assert name in type(taken).__dataclass_fields__, lever
            assert name == "bf16" or value is None or getattr(taken, name) == value, lever
        if engine == "entrokit-trl":
            from entrokit.engines.trl.options import resolve

            resolve(taken, "grpo")  # which refuses what a recipe would override


@pytest.mark.parametrize(("supervised", "config"), [(False, "ppo_trainer"), (True, "sft_trainer_engine")])
def test_verl_s_overrides_are_taken_by_its_config(supervised, config):
    """Of the version that the file was read from; others may spell them otherwise."""
    if find_spec("verl") is None:
        pytest.skip("verl is not installed: make test-parity has it")
    import verl
    from hydra import compose, initialize_config_dir
    from hydra.errors import ConfigCompositionException

    if verl.__version__ != Levers.of("verl").version:
        pytest.skip(f"the levers are of verl {Levers.of('verl').version}, here is {verl.__version__}")
    folder = Path(verl.__file__).parent / "trainer" / "config"
    with initialize_config_dir(str(folder), version_base=None):
        for lever, line in lines("verl", supervised).items():
            assert compose(config, shlex.split(line)) != compose(config, []) or line in AS_BY_DEFAULT, lever
        with pytest.raises(ConfigCompositionException, match="clip_ratio_hihg"):
            compose(config, ["actor_rollout_ref.actor.clip_ratio_hihg=0.28"])


def test_a_number_is_filled_in_or_the_option_named():
    trl = Levers.of("trl")
    assert trl.say("raise_length_limit", value=2048.0) == Advice("max_completion_length=2048")
    assert trl.say("raise_length_limit") == Advice(None, "`max_completion_length` of TRL")
    assert trl.say("raise_length_limit", value=None) == Advice(None, "`max_completion_length` of TRL")
    assert trl.say("clip_gradient") == Advice("max_grad_norm=0.5")
    assert trl.say("lower_learning_rate", value=1e-6).write == "learning_rate=1e-06"
    assert Levers.of("openrlhf").say("raise_length_limit").note == (
        "`--rollout.max_new_tokens` of OpenRLHF; --data.max_len bounds prompt and response together"
    )
    yaml_line = Levers.of("llamafactory", supervised=True).say("lower_learning_rate", value=1e-6).write
    assert yaml.safe_load(yaml_line or "") == {"learning_rate": 1e-6}


def test_what_is_missing_is_said_with_what_is_closest():
    advice = Levers.of("trl").say("dynamic_sampling")
    assert advice.write == "num_generations=16"
    assert advice.note == "TRL 1.16.0: no such option; the closest is more completions a prompt"
    assert not Levers.of("trl").has("dynamic_sampling")
    assert Levers.of("ms-swift").has("dynamic_sampling")


@pytest.mark.parametrize("engine", [None, "", "rllm", "../trl", "trl.yaml", "x" * 10_000, "\x1b[31m"])
def test_an_unknown_engine_has_no_words(engine):
    assert Levers.of(engine).say("clip_higher") == Advice()
    assert Levers.of(engine).current("lower_learning_rate", {"learning_rate": 1e-5}) == 1e-5


def test_keys_are_forgiving():
    assert Levers.of("Prime_RL").engine == Levers.of(" prime-rl ").engine == "prime-rl"


def test_a_lever_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no lever is called 'clip_heigher'; there are"):
        Levers.of("trl").say("clip_heigher")


@pytest.mark.parametrize(
    ("engine", "config"),
    [
        ("verl", {"actor_rollout_ref": {"actor": {"optim": {"lr": 1e-5}}}}),
        ("verl", {"actor_rollout_ref/actor/optim/lr": 1e-5}),
        ("verl", {"actor_rollout_ref.actor.optim.lr": "1e-5"}),
        ("slime", {"lr": 1e-5}),
        ("prime-rl", {"trainer": {"optim": {"lr": 1e-5}}}),
        (None, {"learning_rate": 1e-5}),
        ("trl", {"learning_rate": 1e-5}),
    ],
)
def test_the_run_s_own_number_is_found_however_it_was_logged(engine, config):
    assert Levers.of(engine).current("lower_learning_rate", config) == 1e-5


@pytest.mark.parametrize("bad", [None, True, "high", float("nan"), float("inf"), -1, 0, [1], {}, 10**400, "\x1b[2J"])
def test_what_is_no_number_above_0_is_none(bad):
    assert Levers.of("trl").current("lower_learning_rate", {"learning_rate": bad}) is None
    assert Levers.of("verl").current("lower_learning_rate", {"actor_rollout_ref": bad}) is None


@pytest.mark.parametrize(
    ("own", "engine", "option"),
    [
        ({"sampled/surprise": 1.0, "sampled/entropy": 1.0}, "entrokit-trl", "max_completion_length"),
        ({"sampled/entropy": 1.0}, "entrokit-trl", "max_completion_length"),
        ({"rewards/length/std": 0.5, "sampling/importance_sampling_ratio/min": 1.0}, "trl", "max_completion_length"),
    ],
)
def test_a_users_trl_run_with_our_trainer_is_told_trl_s_options(own, engine, option, tmp_path):
    """Not those of `entrokit train`, which makes folders of its own."""
    rows = [
        {
            "step": i,
            "entropy": 1.0,
            "reward": 0.01 * i,
            "reward_std": 0.4,
            "rewards/length/mean": 0.01 * i,
            "frac_reward_zero_std": 0.1,
            "completions/clipped_ratio": 0.9,
            "completions/mean_length": 60.0,
            **own,
        }
        for i in range(40)
    ]
    (tmp_path / "checkpoint-40").mkdir()
    (tmp_path / "checkpoint-40" / "trainer_state.json").write_text(json.dumps({"log_history": rows}))
    found = diagnose(tmp_path)
    said = " ".join(str(remedy) for finding in found.findings for remedy in finding.remedies)
    assert found.verdict == "truncation"
    assert read_log(tmp_path).engine == engine
    assert option in said
    assert "--" not in said
