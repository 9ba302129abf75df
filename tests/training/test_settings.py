"""Settings by keyword, by file and by option are one thing."""

from dataclasses import fields

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from entrokit.cli.app import app
from entrokit.cli.options import OPTIONS
from entrokit.training.settings import TrainSettings, settings_in


def test_every_setting_is_an_option_with_the_same_default():
    settings = {f.name: f.default for f in fields(TrainSettings) if f.name not in ("recipe", "out")}
    assert {name: default for name, (_, default) in OPTIONS.items()} == settings


@pytest.mark.parametrize(
    ("options", "rate"),
    [
        ({}, 1e-4),
        ({"model": "some/model"}, 1e-5),
        ({"model": "some/model", "lora": 1}, 1e-4),
        ({"model": "some/model", "lora": 8}, 1e-4),
        ({"model": "some/model", "learning_rate": 3e-6}, 3e-6),
    ],
)
def test_the_rate_fits_what_is_trained(options, rate):
    settings = TrainSettings("grpo", "x", **options)
    assert settings.rate == rate
    assert settings.resolved().learning_rate == rate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float8"}, r"dtype: must be one of \['float32', 'bfloat16', 'float16', 'auto'\], got 'float8'"),
        ({"answer": "json"}, "answer: must be one of"),
        ({"lora": -1}, "lora: must be at least 0, got -1"),
        ({"account_rows": -1}, "account_rows: must be at least 0"),
        ({"account_every": -1}, "account_every: must be at least 0"),
        ({"radius_every": -1}, "radius_every: must be at least 0"),
        ({"radius_rows": -1}, "radius_rows: must be at least 0"),
        ({"radius_clip": 0.0, "radius_every": 1}, "radius_clip: must be above 0 and finite, got 0.0"),
        ({"radius_clip": 1.0}, "radius_clip: needs every step measured, radius_every=1, got 0"),
        ({"radius_clip": 1.0, "radius_every": 2}, "radius_clip: needs every step measured, radius_every=1, got 2"),
        ({"save_every": -1}, "save_every: must be at least 0"),
        ({"seed": -1}, "seed: must be at least 0, got -1"),
        ({"seed": 2**32}, "seed: must be at most 4294967295, got 4294967296"),
        ({"evaluation_prompts": -1}, "evaluation_prompts: must be at least 0"),
        ({"max_completion_length": 0}, "max_completion_length: must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate: must be above 0 and finite, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate: must be above 0 and finite, got nan"),
        ({"learning_rate": float("inf")}, "learning_rate: must be above 0 and finite, got inf"),
        ({"learning_rate": 10**400}, "learning_rate: must be above 0 and finite, got 1000"),
        ({"temperature": 0.0}, "temperature: must be above 0 and finite, got 0.0"),
        ({"top_p": 1.5}, r"top_p: must be in \(0, 1\], got 1.5"),
        ({"top_p": float("nan")}, r"top_p: must be in \(0, 1\], got nan"),
        ({"steps": 2.5}, "steps: expected a whole number, got 2.5"),
        ({"steps": "many"}, "steps: expected a whole number, got 'many'"),
        ({"lora": True}, "lora: expected a whole number, got True"),
        ({"learning_rate": "fast"}, "learning_rate: expected a number, got 'fast'"),
        ({"task": 3}, "task: expected text, got 3"),
        ({"task": None}, "task: expected text, got None"),
        ({"task": [3]}, "task: expected text, got list"),
        ({"vllm": "yes"}, "vllm: expected true or false, got 'yes'"),
    ],
)
def test_what_is_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings("grpo", "x", **options)


def test_the_largest_seed_is_numpys():
    assert TrainSettings("grpo", "x", seed=2**32 - 1).seed == 2**32 - 1
    np.random.seed(2**32 - 1)
    with pytest.raises(ValueError, match="Seed must be between"):
        np.random.seed(2**32)


def written(tmp_path, content):
    file = tmp_path / "run.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return file


def test_a_file_of_settings(tmp_path):
    file = written(tmp_path, {"recipe": "dapo", "out": "x", "learning-rate": 1e-5, "lora": 4, "base": "dapo"})
    assert TrainSettings(**settings_in(file)) == TrainSettings("dapo", "x", learning_rate=1e-5, lora=4)


def test_numbers_are_written_as_everybody_writes_them(tmp_path):
    """YAML 1.1 takes ``1e-5`` for text, since it has no dot."""
    content = "learning_rate: 1e-5\nseed: 0\nsteps: +60\ntop_p: 0.5\ntemperature: 1\n"
    found = settings_in(written(tmp_path, content))
    assert found == {"learning_rate": 1e-5, "seed": 0, "steps": 60, "top_p": 0.5, "temperature": 1}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.5", 0.5), (".5", 0.5), ("5.", 5.0), ("+1.5", 1.5), ("05.5", 5.5), ("1e3", 1e3), ("1.E3", 1e3),
        ("1.5e+3", 1.5e3), (".5e3", 500.0), (".5e-3", 5e-4), ("-0", 0), ("7", 7), ("10", 10),
    ],
)  # fmt: skip
def test_a_number_is_a_number(tmp_path, text, number):
    (found,) = settings_in(written(tmp_path, f"temperature: {text}\n")).values()
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize("text", ["1:30.5", "1_0.5", "1_0", "0x10", "0b1", "010", "1:30", "e5", "."])
def test_what_only_yaml_takes_for_a_number_is_none(tmp_path, text):
    with pytest.raises(ValueError, match=f"temperature: expected a number, got '{text}'"):
        settings_in(written(tmp_path, f"temperature: {text}\n"))


def test_a_list_that_holds_itself_many_times_over_is_not_printed(tmp_path):
    lists = [f"&a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    with pytest.raises(ValueError, match="steps: expected a whole number, got list$"):
        settings_in(written(tmp_path, f"steps: [&a0 [z], {', '.join(lists)}]\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"learning_rat": 1}, "no setting 'learning_rat'; did you mean 'learning_rate'"),
        ("- a\n- b\n", "expected lines of 'setting: value', got list"),
        ("", "expected lines of 'setting: value', got NoneType"),
        ("a: [", "cannot be read as YAML"),
        ("steps: 5\nsteps: 6\n", "cannot be read as YAML: .*'steps' stands twice"),
        ("steps: 010\n", "steps: expected a whole number, got '010'"),
        ("steps: 1:30\n", "steps: expected a whole number, got '1:30'"),
        ("steps: !!int ''\n", "cannot be read as YAML"),
        ("steps: !!int many\n", "cannot be read as YAML: invalid literal"),
        ("learning-rate: 1\nlearning_rate: 2\n", "'learning_rate' stands twice"),
        ("? [a, b]\n: 3\n", "cannot be read as YAML: .*unhashable key"),
    ],
)
def test_a_file_that_is_none(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        settings_in(written(tmp_path, content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="none.yaml: cannot be read as YAML: No such file"):
        settings_in(tmp_path / "none.yaml")


@pytest.fixture
def asked(monkeypatch):
    """The settings that the command line comes to, instead of a run."""
    found = []
    monkeypatch.setattr("entrokit.cli.show.warm_pocket", lambda console, task: None)

    def train(settings, *args, **kwargs):
        found.append(settings)
        raise ValueError("seen")

    monkeypatch.setattr("entrokit.training.session.train", train)
    return found


def test_options_of_the_command_line_win_over_the_file(asked, tmp_path):
    given = {"recipe": "dapo", "model": "m", "steps": 8, "lora": 4, "vllm": True, "system": "Be brief."}
    file = written(tmp_path, given)
    CliRunner().invoke(app, ["train", "--config", str(file), "--steps", "12", "--task", "sums"])
    assert asked == [TrainSettings(out="runs/dapo-seed0", task="sums", **given | {"steps": 12})]


@pytest.mark.parametrize("command", [["train"], ["compare", "grpo", "dapo"]])
def test_the_pocket_policy_refuses_a_system_message_before_its_warm_up(monkeypatch, command):
    monkeypatch.setattr("entrokit.cli.show.warm_pocket", lambda console, task: pytest.fail("warmed up"))
    result = CliRunner().invoke(app, [*command, "--system", "Be brief."])
    assert "has no chat template, so it takes no system message" in str(result.exception)


def test_the_recipe_of_the_command_line_wins_too(asked, tmp_path):
    CliRunner().invoke(app, ["train", "grpo+steer", "--config", str(written(tmp_path, {"recipe": "dapo"}))])
    assert asked[0].recipe == "grpo+steer"


def test_a_flag_of_the_file_can_be_undone(asked, tmp_path):
    file = written(tmp_path, {"vllm": True, "gradient_checkpointing": True})
    CliRunner().invoke(app, ["train", "--config", str(file), "--no-vllm", "--no-gradient-checkpointing"])
    assert (asked[0].vllm, asked[0].gradient_checkpointing) == (False, False)


def test_no_file_gives_leave_to_run_a_models_code(asked, tmp_path):
    """A run's folder from elsewhere names a model of its own beside it (SECURITY.md)."""
    file = tmp_path / "run.yaml"
    for name in ("trust_remote_code", "trust-remote-code"):
        file.write_text(f"{name}: true\nsteps: 8\n")
        assert settings_in(file) == {"steps": 8}
        CliRunner().invoke(app, ["train", "--config", str(file)])
    CliRunner().invoke(app, ["train", "--config", str(file), "--trust-remote-code"])
    assert [settings.trust_remote_code for settings in asked] == [False, False, True]


def test_a_bad_file_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["train", "--config", str(written(tmp_path, {"stepz": 1}))])
    assert "no setting 'stepz'; did you mean 'steps'" in str(result.exception)
    result = CliRunner().invoke(app, ["train", "--config", str(written(tmp_path, {"steps": "abc"}))])
    assert "steps: expected a whole number, got 'abc'" in str(result.exception)


def test_a_runs_own_config_is_such_a_file(asked, tmp_path):
    from dataclasses import asdict

    settings = TrainSettings("dapo", "x", lora=2, model="some/model").resolved()
    file = written(tmp_path, asdict(settings) | {"base": "dapo", "decodes": [], "versions": {"trl": "1"}})
    CliRunner().invoke(app, ["train", "--config", str(file)])
    assert asked == [settings]


def test_what_a_command_does_not_take_is_said(monkeypatch, tmp_path):
    """A comparison names its recipes itself and keeps no checkpoints."""

    def compare(recipes, seeds, shared, *args):
        assert (recipes, shared.steps) == (["grpo", "dapo"], 8)
        raise ValueError("seen")

    monkeypatch.setattr("entrokit.cli.show.warm_pocket", lambda console, task: None)
    monkeypatch.setattr("entrokit.bench.compare", compare)
    file = written(tmp_path, {"recipe": "rloo", "steps": 8, "save_every": 4})
    result = CliRunner().invoke(app, ["compare", "grpo", "dapo", "--config", str(file)])
    assert str(result.exception) == "seen"
    assert result.stderr == f"{file}: `compare` takes no recipe and no save_every; left out\n"
