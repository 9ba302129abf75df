"""What the README says is run."""

import re
import shlex
from pathlib import Path

import pytest

from entrokit.rlvr import recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def commands():
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.S))
    return [shlex.split(line, comments=True) for line in shell.splitlines() if line.startswith("entrokit ")]


def test_every_command_is_one_that_the_command_line_knows(tmp_path, monkeypatch):
    typer = pytest.importorskip("typer")
    from entrokit.cli.app import app

    (settings,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "real-models.md").read_text(), flags=re.S)
    (tmp_path / "run.yaml").write_text(settings)
    monkeypatch.chdir(tmp_path)

    known = typer.main.get_command(app).commands
    assert len(commands()) >= 4
    for _, name, *rest in commands():
        context = known[name].make_context(name, rest)
        given = context.params.get("recipes") or [context.params.get("recipe")]
        for spec in given:
            if spec is not None:
                recipe(spec)


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target


def test_the_trl_example_runs(tmp_path, monkeypatch):
    trl = pytest.importorskip("trl")

    from entrokit.rlvr.tasks import countdown
    from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model

    fresh_model(PocketConfig(width=32, layers=1, heads=2)).save_pretrained(tmp_path)
    character_tokenizer().save_pretrained(tmp_path)
    code = next(b for b in BLOCKS if "EntropyGRPOTrainer" in b)
    task = countdown(train_size=64, eval_size=4)
    original = trl.GRPOConfig
    small = {"max_steps": 2, "max_completion_length": 8, "report_to": [], "use_cpu": True, "bf16": False}

    def config(output_dir, **options):
        return original(str(tmp_path / output_dir), gradient_checkpointing=False, **(options | small))

    monkeypatch.setattr(trl, "GRPOConfig", config)
    scope = {"my_reward": task.reward, "my_dataset": task.train}
    exec(compile(code.replace("Qwen/Qwen2.5-0.5B-Instruct", str(tmp_path)), "README.md", "exec"), scope)
    assert scope["trainer"].state.global_step == 2
    assert str(scope["trainer"].recipe) == "grpo+steer"


def test_the_library_example_runs(capsys):
    exec(compile(next(b for b in BLOCKS if "token_statistics" in b), "README.md", "exec"), {})
    assert "entropy" in capsys.readouterr().out
