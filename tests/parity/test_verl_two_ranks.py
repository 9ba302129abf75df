"""Two ranks of verl's actor (FSDP2 over gloo) train as one, for every recipe that verl carries."""

import pytest

pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl needs its own environment: make test-parity")

from ..processes import TORCHRUN, run
from .test_verl_engine import SPECS
from .verl_actor import tiny_model

# A draw among candidates follows their order, which differs between one rank and two: here all of them are taken.
ALL = {**SPECS, "clip-cov": "dapo+clip-cov(ratio=1.0, low=0.0, high=9.0)"}


def trained(launcher, folder, out):
    return run([*launcher, "-m", "tests.parity.verl_two_ranks", folder, str(out), *ALL.values()], out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    tiny_model(folder / "model")
    one = trained([], str(folder / "model"), folder / "one.json")
    return one, trained(TORCHRUN, str(folder / "model"), folder / "two.json")


@pytest.mark.parametrize("spec", ALL.values(), ids=ALL.keys())
def test_losses_and_weights_agree(runs, spec):
    one, two = (r[spec] for r in runs)
    assert len(one["losses"]) == 4
    assert any(abs(x) > 1e-3 for x in one["losses"])
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert two["weights"] == pytest.approx(one["weights"], abs=1e-5)
