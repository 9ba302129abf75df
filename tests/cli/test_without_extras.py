"""`pip install entrokit` alone: what it brings is enough to diagnose, and everything else names the extra it lacks."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from entrokit.diagnose import diagnose
from entrokit.runs import QUADRANTS, Part, RunWriter, StepAccount
from entrokit.runs.layout import ACCOUNT
from tests.diagnose.cases import CASES, falling, table
from tests.processes import ROOT, checkout_path
from tests.runs.cases import columns, jsonl, write
from tests.without import EVERY_EXTRA, run_without

H, R = falling(0.9, 0.03, 40), falling(0.2, 0.4, 40)
TRL = "torch, trl, transformers, datasets, safetensors, tokenizers"


def entrokit(*arguments, cwd, without=EVERY_EXTRA):
    return run_without(without, ["-m", "entrokit", *arguments], cwd)


def csv(folder):
    return table(folder, **CASES["collapse"])


def run_of_our_own(folder):
    w = RunWriter(folder / "run", {"recipe": "dapo(clip_high=0.3)+steer", "learning_rate": 1e-4})
    splits = {"quadrant": {q: Part(-0.002 * i, 3.0) for i, q in enumerate(QUADRANTS)}}
    accounts = []
    for i, (h, r) in enumerate(zip(H, R, strict=True)):
        w.metrics(4 * i, {"entropy": h, "reward": r, "truncated": 0.02})
        w.rollouts(4 * i, columns(4) | {"prompt": [f"p{i}", f"q{i}"] * 2, "reward": [0.0, 1.0, 1.0, 0.0]})
        sums = (-1e-3, -1.1e-3, -1e-3, 0.0, 1e-3, 0.0, -1e-3, 0.1, 0.5)
        accounts.append(StepAccount(4 * i, 4, 64, 12, h, *sums, splits))
    for step in (0, 160):
        w.rollouts(step, columns(8), evaluation=True)
    write(folder / "run" / ACCOUNT, "".join(a.to_json() + "\n" for a in accounts))
    return folder / "run"


def run_of_trl(folder):
    history = [{"step": i, "entropy": h, "reward": r} for i, (h, r) in enumerate(zip(H, R, strict=True))]
    (folder / "checkpoint-40").mkdir()
    write(folder / "checkpoint-40" / "trainer_state.json", json.dumps({"log_history": history}))
    (folder / "completions").mkdir()
    rows = {"step": [2, 2], "prompt": ["p", "q"], "completion": ["c", "d"], "accuracy_reward": [1.0, 0.0]}
    pq.write_table(pa.table(rows | {"advantage": [0.7, -0.7]}), folder / "completions" / "completions_00002.parquet")
    return folder


def run_of_verl(folder):
    data = [{"actor/entropy": h, "critic/score/mean": r} for h, r in zip(H, R, strict=True)]
    jsonl(folder / "exp.jsonl", [{"step": i, "data": row} for i, row in enumerate(data)])
    for step in (10, 20):
        rows = [{"input": f"{step}+1=", "output": "2", "score": score, "step": step} for score in (0.0, 1.0)]
        jsonl(folder / f"{step}.jsonl", rows)
    return folder


@pytest.mark.parametrize("make", [csv, run_of_our_own, run_of_trl, run_of_verl])
def test_a_diagnosis_needs_no_extra_and_is_the_same(make, tmp_path):
    path = make(tmp_path)
    done = entrokit("diagnose", path, "--json", cwd=tmp_path)
    assert done.stderr == ""
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found == json.loads(diagnose(path).to_json())
    assert found["verdict"] == "collapse"
    assert entrokit("diagnose", path, cwd=tmp_path).stdout.startswith("collapse: ")


@pytest.mark.parametrize(
    ("arguments", "lacks", "extras"),
    [
        (["train"], f"{TRL}, plotly", "trl,report"),
        (["resume", "run"], f"{TRL}, plotly", "trl,report"),
        (["compare", "grpo", "dapo"], f"{TRL}, plotly", "trl,report"),
        (["explain", "grpo"], "torch", "torch"),
        (["papers"], "torch", "torch"),
        (["reproduce", "steer"], "torch, plotly", "torch,report"),
        (["scoreboard"], "torch, plotly", "torch,report"),
        (["report", "."], "plotly", "report"),
        (["school", "tracks.csv", "--box", "25"], "torch, scipy", "physics"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_names_what_it_lacks_in_one_line_and_leaves_nothing_behind(arguments, lacks, extras, tmp_path):
    done = entrokit(*arguments, cwd=tmp_path)
    assert done.stderr == f"error: entrokit {arguments[0]} needs {lacks}: pip install 'entrokit[{extras}]'\n"
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_a_page_of_a_diagnosis_is_refused_before_the_run_is_read(tmp_path):
    done = entrokit("diagnose", "nowhere.csv", "--out", "page.html", cwd=tmp_path)
    assert done.stderr == "error: entrokit diagnose --out needs plotly: pip install 'entrokit[report]'\n"


def test_event_files_name_their_extra(tmp_path):
    write(tmp_path / "events.out.tfevents.1", "")
    done = entrokit("diagnose", tmp_path, cwd=tmp_path)
    assert "reading it needs tensorboard: pip install 'entrokit[tensorboard]'" in done.stderr
    assert done.returncode == 1


def test_what_is_there_is_not_asked_for(tmp_path):
    pytest.importorskip("trl", reason="needs the extra 'trl'")
    done = entrokit("train", cwd=tmp_path, without=["plotly"])
    assert done.stderr == "error: entrokit train needs plotly: pip install 'entrokit[report]'\n"
    done = entrokit("train", cwd=tmp_path, without=["torch"])
    assert done.stderr == "error: entrokit train needs torch: pip install 'entrokit[torch]'\n"


def test_help_needs_no_extra(tmp_path):
    whole = entrokit("--help", cwd=tmp_path)
    assert whole.returncode == 0
    for name in ("train", "diagnose", "papers", "scoreboard"):
        assert name in whole.stdout
        own = entrokit(name, "--help", cwd=tmp_path)
        assert own.returncode == 0, own.stderr
    assert "--task" in entrokit("train", "--help", cwd=tmp_path).stdout


def test_the_doctor_says_how_to_get_what_is_lacking(tmp_path):
    done = entrokit("doctor", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "entrokit itself: works",
        "methods and their statistics: lacks torch: pip install 'entrokit[torch]'",
        f"training with TRL: lacks {TRL}: pip install 'entrokit[trl]'",
        "pages and pictures: lacks plotly: pip install 'entrokit[report]'",
    ):
        assert f"{line}\n" in done.stdout
    assert "device" not in done.stdout


IMPORT_ALL = """
import importlib, json, sys
failed = {}
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except Exception as error:
        failed[module] = f"{type(error).__name__}: {error}"
print(json.dumps(failed))
"""


def test_every_module_can_be_imported_or_names_its_extra(tmp_path):
    files = [f.relative_to(ROOT / "src") for f in sorted((ROOT / "src" / "entrokit").rglob("*.py"))]
    names = [".".join(f.with_suffix("").parts).removesuffix(".__init__") for f in files if f.stem != "__main__"]
    done = run_without(EVERY_EXTRA, ["-c", IMPORT_ALL, *names], tmp_path)
    failed = json.loads(done.stdout)
    assert {module: said for module, said in failed.items() if "pip install 'entrokit[" not in said} == {}
    light = ("entrokit.diagnose", "entrokit.runs", "entrokit.extras", "entrokit.engines.versions")
    assert [name for name in failed if name.startswith(light)] == []
    assert {"entrokit", "entrokit.cli", "entrokit.cli.app", "entrokit.report"}.isdisjoint(failed)
    said = "needs torch: pip install 'entrokit[torch]'"
    for package in ("entrokit.rlvr", "entrokit.distributions", "entrokit.training"):
        assert failed[package] == f"MissingExtraError: {package} {said}"
    assert failed["entrokit.engines.trl"].endswith(f"needs {TRL}: pip install 'entrokit[trl]'")


WHAT_IS_IMPORTED = """
import sys
from entrokit.cli import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["diagnose", "run.csv"]], ids=lambda a: a[0])
def test_what_takes_long_to_import_is_not_imported(arguments, tmp_path):
    """Where everything is installed."""
    csv(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_IMPORTED, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": checkout_path()},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    slow = {
        "torch",
        "transformers",
        "trl",
        "datasets",
        "scipy",
        "sklearn",
        "pandas",
        "plotly",
        "pyarrow",
        "tensorboard",
    }
    if arguments == ["--help"]:
        slow |= {"numpy", "yaml"}
    assert slow.intersection(done.stderr.split()) == set()
    assert "entrokit" in done.stderr.split()
