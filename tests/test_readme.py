"""What the README and CONTRIBUTING say is run."""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest

from entrokit.rlvr import INTERVENTIONS, PRESETS, recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.S)


def commands():
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", README, flags=re.S))
    return [shlex.split(line, comments=True) for line in shell.splitlines() if line.startswith("entrokit ")]


def test_every_command_is_one_that_the_command_line_knows():
    typer = pytest.importorskip("typer")
    from entrokit.cli.app import app

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


def test_the_interventions_of_the_table_exist():
    table = README.split("| method | paper | recipe |")[1].split("\n\n")[0]
    named = re.findall(r"`([a-z-]+)`", table)
    assert set(named) - set(PRESETS) == set(INTERVENTIONS)


def test_contributings_intervention_works(tmp_path, monkeypatch):
    import torch

    from entrokit import rlvr

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, flags=re.S)[1]
    assert len(code.splitlines()) <= 45
    module = types.ModuleType("entrokit.rlvr.interventions.quiet_certainty")
    module.__package__ = "entrokit.rlvr.interventions"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    r = rlvr.recipe("grpo", module.QuietCertainty(factor=0.2))
    mask = torch.ones(1, 2, dtype=torch.bool)
    weights = module.certainty_weights(torch.tensor([[0.05, 0.5]]), mask, factor=0.2)
    torch.testing.assert_close(weights, torch.tensor([[0.2, 1.0]]))
    assert r.needs == {"logp", "entropy"}
