"""Two ranks of verl's actor (FSDP2 over gloo) train as one, for every recipe that verl carries."""

import pytest

pytest.importorskip("verl.trainer.ppo.core_algos", reason="verl needs its own environment: make test-parity")

from ..processes import TORCHRUN
from .specs import ALL, trained
from .verl_actor import tiny_model


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


@pytest.mark.parametrize("spec", ALL.values(), ids=ALL.keys())
def test_what_is_logged_agrees(runs, spec):
    one, two = (r[spec]["logged"] for r in runs)
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert two[name] == pytest.approx(values, abs=1e-5), name
