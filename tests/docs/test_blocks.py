"""Every block of code in the docs is run, followed by a test that is named here, or says in itself what it needs."""

import json
import re
import shlex
import shutil
import tomllib

import pytest
import yaml

from ..plugin import ROOT

POCKET = ROOT / "tests" / "diagnose" / "pocket"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages whose Python is a whole that is followed elsewhere, and where.
FOLLOWED = {
    "CONTRIBUTING.md": "tests/docs/test_contributing.py",
    "docs/episodes.md": "tests/engines/test_episodes.py",
    "docs/own-loop.md": "tests/docs/test_own_loop.py",
    "docs/prime-rl.md": "tests/docs/test_prime_rl.py",
    "docs/tinker.md": "tests/engines/tinker/test_page.py",
    "docs/tutorials/intervention.md": "tests/docs/test_tutorials.py",
    "docs/tutorials/trl.md": "tests/docs/test_tutorials.py",
    "docs/tutorials/verl.md": "tests/parity/test_verl_docs.py",
}
# Single blocks that are, by what they hold.
FOLLOWED_BLOCKS = {
    "EntropyGRPOTrainer(": "tests/test_readme.py",
    "verl.trainer.main_ppo": "tests/parity/test_verl_docs.py",
}
# Pages whose blocks plug something in, and print nothing.
SILENT = {"README.md", "docs/diagnose.md", "docs/live.md"}
NEEDS = re.compile(r"^# needs (GPUs|a GPU|a hub|several machines)\b", flags=re.MULTILINE)
LANGUAGES = {"python", "sh", "bash", "text", "json", "yaml", "toml"}


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks_of(page):
    """Language and text of each block."""
    return re.findall(r"^```([\w-]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def all_blocks(*languages):
    return [
        pytest.param(name_of(page), block, id=f"{name_of(page).removesuffix('.md').removeprefix('docs/')}-{i}")
        for page in PAGES
        for i, (language, block) in enumerate(blocks_of(page))
        if language in languages
    ]


def is_followed(page, block):
    return page in FOLLOWED or any(mark in block for mark in FOLLOWED_BLOCKS)


@pytest.fixture
def in_a_folder_with_runs(tmp_path, monkeypatch):
    """Where the paths that pages name are runs."""
    too_fast, noisy = POCKET / "learning-rate-too-high", POCKET / "entropy-bonus-too-large"
    for path in ("run-a", "path/to/run", "path/to/your/run", "A", "PATH"):
        shutil.copytree(too_fast, tmp_path / path)
    for path in ("run-b", "B"):
        shutil.copytree(noisy, tmp_path / path)
    shutil.copy(too_fast / "metrics.jsonl", tmp_path / "path" / "to" / "train.log")
    shutil.copy(ROOT / "docs" / "tutorials" / "verl-file-logger.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_trainer(folder):
    """A trainer of TRL's own, not started."""
    trl = pytest.importorskip("trl", reason="the block is plugged into a trainer")
    from entrokit.rlvr.tasks import countdown
    from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model

    task = countdown(train_size=8, eval_size=4)
    options = {"per_device_train_batch_size": 8, "report_to": [], "use_cpu": True, "bf16": False}
    return trl.GRPOTrainer(
        model=fresh_model(PocketConfig(width=16, layers=1, heads=1)),
        reward_funcs=task.reward,
        args=trl.GRPOConfig(str(folder / "trained"), **options),
        train_dataset=task.train,
        processing_class=character_tokenizer(),
    )


def a_batch():
    """What a loop of one's own holds, by the names that the README gives it."""
    import torch

    logp = -torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(4, 6, dtype=torch.bool)
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
    return {"logp": logp.requires_grad_(), "old_logp": logp.detach(), "advantages": advantages, "mask": mask}


@pytest.mark.parametrize(("page", "code"), [p for p in all_blocks("python") if not is_followed(*p.values)])
def test_a_block_of_python_runs(page, code, capsys, in_a_folder_with_runs):
    scope = a_batch() if page == "README.md" else {}
    if "trainer.add_callback" in code:
        scope["trainer"] = a_trainer(in_a_folder_with_runs)
    if "train_step()" in code:
        scope["train_step"] = lambda: {"entropy": 0.5, "reward": 0.5, "grad_norm": float("nan")}
    exec(compile(code, page, "exec"), scope)
    assert capsys.readouterr().out.strip() or page in SILENT


@pytest.mark.parametrize(("page", "test"), [*FOLLOWED.items(), *(("README.md", t) for t in FOLLOWED_BLOCKS.values())])
def test_what_is_followed_is_read_by_the_test_that_is_named(page, test):
    read = (ROOT / test).read_text(encoding="utf-8")
    named = page.rpartition("/")[2]
    assert named in read or f'"{named.removesuffix(".md")}"' in read or "verl" in test


@pytest.mark.parametrize(("page", "block"), all_blocks("sh", "bash"))
def test_a_command_is_one_that_there_is(page, block, in_a_folder_with_runs):
    if NEEDS.search(block):
        return
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            del words[0]
        if words and not is_followed(page, block):
            check(words, page)


def check(words, page):
    """One command: that its program, file, target or extra is there, and that its options are known."""
    program, *rest = words
    if program == "entrokit":
        parsed(rest)
    elif program == "make":
        targets = [word for word in rest if "=" not in word]
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^(\S+ )*{t}( \S+)*:", makefile, flags=re.MULTILINE) for t in targets), words
    elif program == "python" and rest[0].endswith(".py"):
        assert (ROOT / rest[0]).exists(), words
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        named = re.findall(r"entrokit\[([\w,]+)\]", " ".join(rest))
        assert set(",".join(named).split(",")) - {""} <= set(extras), words
    else:
        raise AssertionError(
            f"{page}: {shlex.join(words)!r} is not checked: say in its block `# needs a GPU`, or check it"
        )


def parsed(words):
    """A command of ours, read by the command line; recipes in it are recipes."""
    typer = pytest.importorskip("typer")
    from entrokit.cli.app import app
    from entrokit.rlvr import recipe

    name, *rest = words
    if name.startswith("--"):
        typer.main.get_command(app).make_context("entrokit", words, resilient_parsing=True)
        assert name in {option for p in typer.main.get_command(app).params for option in p.opts}
        return
    (settings,) = (block for language, block in blocks_of(ROOT / "docs" / "real-models.md") if language == "yaml")
    with open("run.yaml", "w", encoding="utf-8") as file:
        file.write(settings)
    command = typer.main.get_command(app).commands[name]
    context = command.make_context(name, [word for word in rest if word != "…"])
    for spec in context.params.get("recipes") or [context.params.get("recipe")]:
        if spec is not None:
            recipe(spec)


@pytest.mark.parametrize("command", ["diagnose", "explain", "papers"])
def test_quick_commands_run(command, in_a_folder_with_runs):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from entrokit.cli.app import app

    lines = {line for p in all_blocks("sh", "bash") if not is_followed(*p.values) for line in p.values[1].splitlines()}
    ran = [shlex.split(line, comments=True)[1:] for line in sorted(lines) if line.startswith(f"entrokit {command} ")]
    assert ran
    for words in ran:
        answer = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
        assert answer.exit_code == 0 or (answer.exit_code == 11 and "--fail-on" in words), (words, answer.output)
        assert answer.stdout.strip()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_name_their_language_fit_the_page_and_hold_data_that_can_be_read(page):
    readers = {"json": json.loads, "yaml": yaml.safe_load, "toml": tomllib.loads}
    for language, block in blocks_of(page):
        assert language in LANGUAGES, block
        # As wide as the site's column in a window of 1280 pixels (`docs/site.css`).
        if name_of(page).startswith("docs/") and language != "text":
            assert max(map(len, block.splitlines())) <= 120, block
        if language in readers:
            assert readers[language](block)


def test_a_command_that_nobody_checks_is_seen():
    with pytest.raises(AssertionError, match="is not checked"):
        check(["accelerate", "launch", "train.py"], "docs/new.md")
    with pytest.raises(AssertionError):
        check(["pip", "install", "entrokit[none]"], "docs/new.md")
    with pytest.raises(AssertionError):
        check(["make", "nothing"], "docs/new.md")
    with pytest.raises(AssertionError):
        check(["python", "experiments/nothing.py"], "docs/new.md")
