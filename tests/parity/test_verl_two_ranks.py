"""Two ranks of verl's actor (FSDP2 over gloo) train as one, for every recipe that verl carries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl needs its own environment: make test-parity")

from .test_verl_engine import SPECS
from .verl_actor import tiny_model

ROOT = Path(__file__).parents[2]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(20000 + os.getpid() % 20000)]
# A draw among candidates follows their order, which differs between one rank and two: here all of them are taken.
ALL = {**SPECS, "clip-cov": "dapo+clip-cov(ratio=1.0, low=0.0, high=9.0)"}


def run(launcher, folder, out):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.parity.verl_two_ranks", folder, str(out), *ALL.values()],
        capture_output=True,
        text=True,
        env=environment,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    tiny_model(folder / "model")
    one = run([], str(folder / "model"), folder / "one.json")
    return one, run(TORCHRUN, str(folder / "model"), folder / "two.json")


@pytest.mark.parametrize("spec", ALL.values(), ids=ALL.keys())
def test_losses_and_weights_agree(runs, spec):
    one, two = (r[spec] for r in runs)
    assert len(one["losses"]) == 4
    assert any(abs(x) > 1e-3 for x in one["losses"])
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["weights"] == pytest.approx(one["weights"], abs=1e-5)
