"""Two real processes (gloo) train as one does, on identical completions and slices, for recipes of every stage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("two_processes.py")
SPECS = [
    "grpo",
    "dr_grpo+canon(mu=0.7)",
    "grpo+arm",
    "grpo+perplexity-shaping(alpha=0.3)+position-shaping",
    "grpo+weighted-grpo(normalize='pair')",
    "grpo+pear(end_of_thinking='+')",
    "dr_grpo+siren(coef=0.5, anchor=0.5)",
    "dapo+siren(coef=0.5, scope='step')",
    "dapo+tea",
    "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.3)",
]


def run(command, checkpoint, folder, name):
    out = folder / f"{name}.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [*command, str(SCRIPT), checkpoint, str(folder / name), str(out), *SPECS],
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def runs(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    port = 20000 + os.getpid() % 20000
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    one = run([sys.executable], checkpoint, folder, "one")
    two = run([sys.executable, *torchrun], checkpoint, folder, "two")
    return one, two


@pytest.mark.parametrize("spec", SPECS)
def test_losses_advantages_and_weights_agree(runs, spec):
    one, two = (r[spec] for r in runs)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(one["losses"]) == 6
    assert any(abs(x) > 1e-4 for x in one["grad_norms"])
    for name in ("losses", "entropy", "weights"):
        assert two[name] == pytest.approx(one[name], abs=1e-5), name
    assert two["grad_norms"] == pytest.approx(one["grad_norms"], rel=1e-4)
    for a, b in zip(one["advantages"], two["advantages"], strict=True):
        assert b == pytest.approx(a, abs=1e-5)
    assert two["state"].keys() == one["state"].keys()
    for part, state in one["state"].items():
        for name, value in state.items():
            assert two["state"][part][name] == (value if value is None else pytest.approx(value, rel=1e-5))
