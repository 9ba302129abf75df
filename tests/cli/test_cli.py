"""The command line as a user runs it: in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from entrokit.runs import Run

from ..processes import PATIENCE

pytest.importorskip("trl", reason="training needs the extra 'trl'")
pytest.importorskip("plotly", reason="reports need the extra 'report'")

SMALL = ["--steps", "4", "--updates", "2", "--prompts", "4", "--completions", "4"]


def entrokit(*args, cwd, check=True, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "entrokit", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"} | environment,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def bpe_checkpoint(tmp_path_factory):
    """A checkpoint folder as anybody's: a Llama model and a byte-level BPE tokenizer with a chat template."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bpe")
    bpe = ByteLevelBPETokenizer()
    text = [
        "State the final answer to the following arithmetic problem: 1663 - 5242 + 93 =",
        "user assistant 0123456789",
    ]
    bpe.train_from_iterator(text * 20, vocab_size=400, special_tokens=["<s>", "</s>", "<pad>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant {% endif %}"
    )
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_train_on_a_local_bpe_checkpoint_and_a_reasoning_gym_task(bpe_checkpoint, tmp_path):
    pytest.importorskip("reasoning_gym")
    done = entrokit(
        "train", "dapo+steer", "--model", bpe_checkpoint, "--task", "reasoning-gym:chain_sum", "--out", "run",
        "--max-completion-length", "8", *SMALL, cwd=tmp_path,
    )  # fmt: skip
    assert "Report: run/report.html" in done.stdout
    run = Run.load(tmp_path / "run")
    assert run.config["recipe"] == "dapo+steer"
    assert run.series("entropy")[0] == [2, 4]
    assert run.series("steer/weight_mean")[1]
    assert run.rollout_steps() == [0]
    assert run.rollout_steps(evaluation=True) == [0, 4]
    assert "arithmetic problem" in run.rollouts(0)[0]["prompt"]
    assert (tmp_path / "run" / "report.html").exists()
    files = {f.name for f in (tmp_path / "run" / "checkpoint").iterdir()}
    assert "model.safetensors" in files
    assert not any(f.endswith((".bin", ".pt")) for f in files)
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "checkpoint")


def test_compare_writes_one_run_each_and_one_report(character_checkpoint, tmp_path):
    recipes = ["grpo", "grpo+forking-tokens(rho=0.3)"]
    done = entrokit(
        "compare", *recipes, "--seeds", "1", "--model", character_checkpoint, "--out", "c", *SMALL,
        "--matched-accuracy", "0.01", "--matched-accuracy", "0.9", cwd=tmp_path,
    )  # fmt: skip
    assert "at 0.90: not reached" in done.stdout
    assert "pass@4" in done.stdout
    assert "One seed: an illustration" in done.stdout
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "grpo+forking-tokens_rho=0.3-seed0",
        "grpo-seed0",
        "report.html",
    ]
    again = entrokit(
        "compare", *recipes, "--model", character_checkpoint, "--out", "c", *SMALL, cwd=tmp_path, check=False
    )
    assert again.returncode == 1
    assert "already exists; choose another folder" in again.stderr
    # Paired seeds: before any update, both recipes have sampled the same completions.
    first, second = (Run.load(tmp_path / "c" / n) for n in ("grpo-seed0", "grpo+forking-tokens_rho=0.3-seed0"))
    assert [r["completion"] for r in first.rollouts(0)] == [r["completion"] for r in second.rollouts(0)]


@contextmanager
def started(*args, cwd):
    """A process that hears Ctrl-C, even where the suite itself runs in the background, and never outlives it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "entrokit", *args],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_for_lines(metrics, process, lines=4):
    deadline = time.monotonic() + PATIENCE
    while not (metrics.exists() and metrics.read_text().count("\n") >= lines):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.2)


def test_ctrl_c_leaves_a_readable_run(character_checkpoint, tmp_path):
    options = ["--model", character_checkpoint, "--steps", "100000", "--prompts", "4", "--completions", "4"]
    with started("train", "grpo", "--out", "run", *options, cwd=tmp_path) as process:
        wait_for_lines(tmp_path / "run" / "metrics.jsonl", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "Stopped after" in out
    run = Run.load(tmp_path / "run")
    assert len(run.series("entropy")[1]) >= 2
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").exists()
    assert (tmp_path / "run" / "report.html").exists()


def test_a_killed_run_is_resumed(character_checkpoint, tmp_path):
    options = ["--model", character_checkpoint, "--steps", "120", "--prompts", "4", "--completions", "4"]
    with started("train", "grpo", "--out", "run", "--save-every", "3", *options, cwd=tmp_path) as process:
        wait_for_lines(tmp_path / "run" / "metrics.jsonl", process)
        process.kill()
        process.communicate(timeout=PATIENCE)
    done = entrokit("resume", "run", cwd=tmp_path)
    assert "Report: run/report.html" in done.stdout
    run = Run.load(tmp_path / "run")
    assert run.series("entropy")[0] == list(range(4, 121, 4))
    assert run.series("eval_entropy")[0] == [0, 120]


def test_ctrl_c_ends_a_comparison_and_starts_no_further_run(character_checkpoint, tmp_path):
    options = ["--model", character_checkpoint, "--steps", "100000", "--prompts", "4", "--completions", "4"]
    recipes = ["grpo", "dapo", "cispo"]
    with started("compare", *recipes, "--seeds", "1", "--jobs", "1", "--out", "c", *options, cwd=tmp_path) as process:
        wait_for_lines(tmp_path / "c" / "grpo-seed0" / "metrics.jsonl", process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers hear it too
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "Stopped; the runs begun in c are whole" in out
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["grpo-seed0"]
    assert (tmp_path / "c" / "grpo-seed0" / "checkpoint" / "model.safetensors").exists()
    assert entrokit("report", "c", cwd=tmp_path).returncode == 0


def test_explain(tmp_path):
    done = entrokit("explain", "grpo+kl-cov(ratio=0.1)+steer(form='exact')", "--updates", "1", cwd=tmp_path)
    for text in ("replaced by kl-cov", "prepare", "penalty", "collision", "cannot act with one update per rollout"):
        assert text in done.stdout
    assert "cannot act" not in entrokit("explain", "grpo+kl-cov", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "grpo+ster"], "unknown intervention 'ster'; did you mean 'steer'"),
        (["explain", "grpo+steer(min_weight=2)"], "min_weight must be a number in (0, 1], got 2"),
        (["train", "grpo", "--completions", "1"], "a group needs at least 2"),
        (["train", "grpo", "--updates", "7"], "updates=7 must divide"),
        (["train", "grpo", "--task", "sudoku"], "unknown task 'sudoku'"),
        (["report", "nowhere"], "holds no runs"),
    ],
)
def test_what_a_user_can_mend_is_one_line(args, message, tmp_path):
    done = entrokit(*args, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_catalogue_is_listed_searched_and_shown(tmp_path):
    listed = entrokit("papers", cwd=tmp_path).stdout
    assert "2510.10150" in listed
    assert "forking-tokens" in listed
    found = entrokit("papers", "--search", "clip covary", cwd=tmp_path).stdout
    assert "entropy-mechanism" in found
    assert "steer" not in found
    assert entrokit("papers", "--search", "nonsense", cwd=tmp_path, check=False).returncode == 1
    assert "entrokit.rlvr.interventions.steer.Steer" in entrokit("papers", "steer", cwd=tmp_path).stdout
    unknown = entrokit("papers", "ster", cwd=tmp_path, check=False)
    assert unknown.returncode == 1
    assert "no paper 'ster' in the catalogue" in unknown.stderr


def test_reproduce_prints_claim_beside_measurement_and_keeps_it_as_data(tmp_path):
    from entrokit.papers.results import load

    first = entrokit("reproduce", "recap", "--seeds", "2", "--out", "r", cwd=tmp_path)
    assert "recap: miniature, 2 seeds from 0" in first.stdout
    assert "0 of 1 claims failed. Page: r/reproduce.html" in first.stdout
    assert "Claims, run in miniature" in (tmp_path / "r" / "reproduce.html").read_text(encoding="utf-8")
    kept = load(tmp_path / "r" / "results" / "recap.json").experiments["miniature"]
    assert kept.seeds == (0, 1)
    assert kept.findings[0].measured in " ".join(first.stdout.split())
    other = entrokit("reproduce", "recap", "--experiment", "pocket", cwd=tmp_path, check=False)
    assert other.returncode == 1
    assert "recap has no experiment 'pocket'; it has miniature" in other.stderr
    none = entrokit("reproduce", cwd=tmp_path, check=False)
    assert "name a paper (`entrokit papers` lists them), or write --all" in none.stderr


@pytest.fixture
def made_up(monkeypatch):
    """Two papers in the catalogue's place, how often their experiments ran, and the command."""
    from typer.testing import CliRunner

    from entrokit.cli.app import app
    from entrokit.discovery import Found
    from entrokit.papers import CATALOGUE, Experiment, Finding, Paper

    ran = []

    def experiment(name, passed, **options):
        def run(budget):
            ran.append(name)
            yield Finding(f"claim of {name}", "rule", "measured", passed, raw={"x": [0.0] * len(budget.seeds)})

        return Experiment(run, seeds=2, minutes=options.pop("minutes", 0.1), criterion="it is so", **options)

    experiments = {
        "one": {"quick": experiment("quick", True), "slow": experiment("slow", True, minutes=9)},
        "two": {"bad": experiment("bad", False), "grand": experiment("grand", True, needs=("no-such-package",))},
    }
    papers = {
        slug: Found(Paper(slug, slug, "2501.00001", 2025, "tests", "a claim", (), (), own), "here")
        for slug, own in experiments.items()
    }
    monkeypatch.setattr(type(CATALOGUE), "_all", lambda self: papers)
    monkeypatch.setattr("entrokit.cli.reproduction.commit_of_checkout", lambda: "abc")
    monkeypatch.setattr(sys.modules["entrokit.papers.run"], "commit_of_checkout", lambda: "abc")
    return ran, lambda *words: CliRunner().invoke(app, ["reproduce", *words], env={"COLUMNS": "200"})


def test_a_failed_claim_is_exit_code_1(made_up, tmp_path):
    _, reproduce = made_up
    done = reproduce("two", "--out", str(tmp_path))
    assert done.exit_code == 1
    assert "failed claim of bad" in done.stdout
    assert "1 of 1 claims failed" in done.stdout


def test_all_takes_quick_ones_first_goes_on_where_it_was_and_names_what_it_passes_over(made_up, tmp_path):
    ran, reproduce = made_up
    done = reproduce("--all", "--out", str(tmp_path))
    assert ran == ["quick", "bad", "slow"]
    assert "two: grand, 2 seeds from 0\npassed over: needs no-such-package" in done.stdout
    assert "about 9 minutes on two cores" in done.stdout
    again = reproduce("--all", "--out", str(tmp_path))
    assert ran == ["quick", "bad", "slow"], "nothing is measured twice"
    assert again.stdout.count("--again measures it anew") == 3
    assert "1 of 3 claims failed" in again.stdout
    reproduce("one", "--again", "--out", str(tmp_path))
    assert ran[3:] == ["quick"]
    reproduce("one", "--seed", "5", "--out", str(tmp_path))
    assert ran[4:] == ["quick"], "other seeds are another result"


def test_a_result_that_cannot_be_read_is_named_and_replaced(made_up, tmp_path):
    ran, reproduce = made_up
    file = tmp_path / "results" / "one.json"
    for text, what in (("{", "cut off or no JSON"), ('{"format": 9}', "of format 9, and this version reads 1")):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        done = reproduce("one", "--out", str(tmp_path))
        assert what in done.stdout
        assert "one.json" in done.stdout
        assert done.exit_code == 0
    assert ran == ["quick", "quick"]
