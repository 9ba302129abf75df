"""The command line as a user runs it: in a process of its own where that matters, else as that process would begin."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from entrokit.runs import Run

from ..processes import PATIENCE, started
from .command import called

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
    again = called(
        "compare", *recipes, "--model", character_checkpoint, "--out", "c", *SMALL, cwd=tmp_path, check=False
    )
    assert again.returncode == 1
    assert "already exists; choose another folder" in again.stderr
    # Paired seeds: before any update, both recipes have sampled the same completions.
    first, second = (Run.load(tmp_path / "c" / n) for n in ("grpo-seed0", "grpo+forking-tokens_rho=0.3-seed0"))
    assert [r["completion"] for r in first.rollouts(0)] == [r["completion"] for r in second.rollouts(0)]


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
    assert called("report", "c", cwd=tmp_path).returncode == 0


def test_explain(tmp_path):
    done = called("explain", "grpo+kl-cov(ratio=0.1)+steer(form='exact')", "--updates", "1", cwd=tmp_path)
    for text in ("replaced by kl-cov", "prepare", "penalty", "collision", "cannot act with one update per rollout"):
        assert text in done.stdout
    assert "cannot act" not in called("explain", "grpo+kl-cov", cwd=tmp_path).stdout


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
    done = called(*args, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_catalogue_is_listed_searched_and_shown(tmp_path):
    listed = called("papers", cwd=tmp_path).stdout
    assert "2510.10150" in listed
    assert "forking-tokens" in listed
    found = called("papers", "--search", "clip covary", cwd=tmp_path).stdout
    assert "entropy-mechanism" in found
    assert "steer" not in found
    nothing = called("papers", "--search", "[/foo]", cwd=tmp_path, check=False)
    assert (nothing.returncode, nothing.stdout) == (1, "No paper holds all of: [/foo]\n")
    steer = called("papers", "steer", cwd=tmp_path, columns=60).stdout
    assert "entrokit.rlvr.interventions.steer.Steer" in steer
    assert '\ntrainer = EntropyGRPOTrainer(recipe="grpo+steer",\n    model=model, reward_funcs=reward,' in steer
    unknown = called("papers", "ster", cwd=tmp_path, check=False)
    assert unknown.returncode == 1
    assert "no paper 'ster' in the catalogue; did you mean 'steer'?" in unknown.stderr


def test_reproduce_prints_claim_beside_measurement_and_keeps_it_as_data(tmp_path):
    from entrokit.papers.results import load

    first = entrokit("reproduce", "recap", "--seeds", "2", "--out", "r", cwd=tmp_path)
    assert "recap: miniature, 2 seeds from 0\n2 seeds instead of 8: an illustration" in first.stdout
    assert "0 of 1 claims failed. Page: r/reproduce.html" in first.stdout
    assert "Claims, run in miniature" in (tmp_path / "r" / "reproduce.html").read_text(encoding="utf-8")
    kept = load(tmp_path / "r" / "results" / "recap.json").experiments["miniature"]
    assert kept.seeds == (0, 1)
    assert kept.findings[0].measured in " ".join(first.stdout.split())
    other = called("reproduce", "recap", "--experiment", "pocket", cwd=tmp_path, check=False)
    assert other.returncode == 1
    assert "recap has no experiment 'pocket'; it has miniature" in other.stderr
    none = called("reproduce", cwd=tmp_path, check=False)
    assert "name a paper (`entrokit papers` lists them), or write --all" in none.stderr


@pytest.fixture
def made_up(monkeypatch):
    """Two papers in the catalogue's place, how often their experiments ran, the command, and what breaks them."""
    from typer.testing import CliRunner

    from entrokit.cli.app import app
    from entrokit.discovery import Found
    from entrokit.papers import CATALOGUE, Experiment, Finding, Paper

    ran, broken = [], {}

    def experiment(name, passed, **options):
        def run(budget):
            ran.append(name)
            if name in broken:
                yield from broken[name]()
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

    def reproduce(*words, **environment):
        return CliRunner().invoke(app, ["reproduce", *words], env={"COLUMNS": "200", **environment})

    reproduce.broken = broken
    return ran, reproduce


def test_an_experiment_that_needs_trl_and_trains_nothing_makes_no_policy(made_up, monkeypatch, tmp_path):
    from entrokit.papers import paper

    _, reproduce = made_up
    experiments = paper("one").experiments
    experiments["quick"] = replace(experiments["quick"], needs=("trl",))
    monkeypatch.setattr("entrokit.training.models.pocket_policy", lambda *_: pytest.fail("made a policy"))
    monkeypatch.setattr("entrokit.training.models.at_hand", lambda config: False)
    assert "0 of 1 claims failed" in reproduce("one", "--out", str(tmp_path)).output


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
    assert done.stdout.startswith("4 experiments, about 9 minutes on two cores if none is measured yet\n")
    assert "two: grand, 2 seeds from 0\npassed over: needs no-such-package; run it on a machine with it" in done.stdout
    assert "1 of 3 claims failed. 1 experiment passed over. Page: " in done.stdout
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
        assert "what could not be read is now " in done.stdout
        assert done.exit_code == 0
    assert ran == ["quick", "quick"]
    assert [(file.parent / f"one.json.unreadable{n}").read_text() for n in ("", "-2")] == ["{", '{"format": 9}']


def dies():
    raise RuntimeError("it [/all]\nwent wrong")


def gives(*things):
    return lambda: iter(things)


def test_an_experiment_that_breaks_down_ends_no_other(made_up, tmp_path):
    from entrokit.papers.results import known

    ran, reproduce = made_up
    reproduce.broken["quick"] = dies
    done = reproduce("--all", "--out", str(tmp_path))
    assert ran == ["quick", "bad", "slow"]
    told = "could not be carried out: one, experiment quick: RuntimeError: it [/all] went wrong"
    assert told in done.stdout.splitlines()
    assert "Traceback" not in done.output
    assert "1 of 2 claims failed. 1 experiment could not be carried out. 1 experiment passed over." in done.stdout
    assert done.exit_code == 1
    assert list(known("one", tmp_path / "results").experiments) == ["slow"]
    reproduce.broken.clear()
    reproduce("--all", "--out", str(tmp_path))
    assert ran[3:] == ["quick"], "the same command goes on with it"


def test_what_came_before_the_break_stays_on_screen_and_is_not_kept(made_up, tmp_path):
    from entrokit.papers import Finding
    from entrokit.report import Chart, Series

    _, reproduce = made_up
    before = Finding("came before", "rule", "measured", True, raw={"x": [1.0]})
    bad_picture = Chart("t", "x", "y", (Series("a", [0.0, 1.0], [0.0, 1.0], low=[0.0], high=[1.0]),))
    for what, why in (
        (gives(before, 3), "gave 3, which is neither a Finding nor a Chart"),
        (gives(before, Finding("bare", "rule", "measured", True)), "the finding 'bare' has no raw numbers"),
        (gives(before, bad_picture), "the picture 't': series 'a': low is not as long as x"),
    ):
        reproduce.broken["quick"] = what
        done = reproduce("one", "--out", str(tmp_path))
        assert done.exit_code == 1
        assert "holds came before" in done.stdout
        assert why in done.stdout
        assert "Nothing was measured. 1 experiment could not be carried out." in done.stdout
        assert not list((tmp_path / "results").iterdir())
        assert not (tmp_path / "reproduce.html").exists()
    reproduce.broken["quick"] = dies
    assert "Traceback" in reproduce("one", "--out", str(tmp_path), ENTROKIT_TRACEBACK="1").output


def test_what_is_not_there_is_refused_before_anything_runs(made_up, tmp_path):
    ran, reproduce = made_up
    out = ("--out", str(tmp_path / "new"))
    unknown = reproduce("one", "two", "--experiment", "slow", *out)
    assert str(unknown.exception) == "two has no experiment 'slow'; it has bad, grand"
    nobody = reproduce("--all", "--experiment", "nope", *out)
    assert str(nobody.exception) == ("none of these papers has an experiment 'nope'; they have bad, grand, quick, slow")
    (tmp_path / "file").write_text("")
    for words in (("--out", str(tmp_path / "file")), (*out, "--results", str(tmp_path / "file"))):
        assert "file: a file is in the way of a folder" in str(reproduce("one", *words).exception)
    assert ran == []
    reproduce("--all", "--experiment", "slow", *out)
    assert ran == ["slow"]


def test_who_asks_for_what_cannot_run_here_is_told_by_the_exit_code(made_up, tmp_path):
    _, reproduce = made_up
    out = ("--out", str(tmp_path))
    assert reproduce("one", "--all", *out).exit_code == 0
    for words in (("two", "--experiment", "grand"), ("--all", "--experiment", "grand")):
        done = reproduce(*words, *out)
        assert "Nothing was measured. 1 experiment passed over." in done.stdout
        assert done.exit_code == 1


def test_what_is_passed_over_for_lack_of_an_extra_is_no_failure_of_all(made_up, tmp_path, monkeypatch):
    _, reproduce = made_up
    monkeypatch.setattr("entrokit.cli.reproduction.lacking", lambda own: ["trl"] if own.minutes == 9 else [])
    done = reproduce("one", "--all", "--out", str(tmp_path))
    assert "passed over: needs trl; pip install 'entrokit[trl]'" in done.stdout
    assert done.exit_code == 0
    assert reproduce("one", "--experiment", "slow", "--out", str(tmp_path)).exit_code == 1


def test_a_stop_says_that_the_same_command_goes_on(made_up, tmp_path):
    def stop():
        raise KeyboardInterrupt

    ran, reproduce = made_up
    reproduce.broken["slow"] = stop
    done = reproduce("--all", "--out", str(tmp_path))
    assert done.exit_code == 130
    assert done.stdout.endswith("Stopped; the same command goes on where it was.\n")
    assert (tmp_path / "reproduce.html").exists()
    again = reproduce("one", "--experiment", "slow", "--again", "--out", str(tmp_path))
    assert again.stdout.endswith("Stopped; the same command without --again goes on where it was.\n")
    reproduce.broken.clear()
    reproduce("--all", "--out", str(tmp_path))
    assert ran == ["quick", "bad", "slow", "slow", "slow"]


def test_few_seeds_are_an_illustration(made_up, tmp_path):
    _, reproduce = made_up
    assert "illustration" not in reproduce("one", "--out", str(tmp_path)).stdout
    assert "illustration" not in reproduce("one", "--seeds", "3", "--out", str(tmp_path)).stdout
