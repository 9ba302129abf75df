"""Two real processes (gloo) train as one does, on identical completions and slices, with DDP and with FSDP2."""

import pytest
import torch
from torch.utils._pytree import tree_leaves

from entrokit.rlvr import BASES, INTERVENTIONS, recipe

from ..processes import TORCHRUN
from ..rounding import bound
from .by_hand import train_by_hand
from .launch import FSDP2, LEFT_OUT, SPECS, trained
from .two_processes import LEARNING_RATE, STEPS

# Another cut of the batch rounds an entropy (at most log 22 nats, behind products of width 32 and a sum over 22 tokens)
# otherwise; advantages that follow entropies divide that by their spread, a tenth of a nat, and steps of 0.05 times
# a gradient clipped to 1 move weights by no more than as large a share each.
DRIFT = STEPS * bound(3.1, 32 + 22)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def one_process(checkpoint, folder):
    return trained([], checkpoint, folder, "one")


@pytest.fixture(scope="module", params=["ddp", "fsdp2"])
def runs(request, one_process, checkpoint, folder):
    setting = FSDP2 if request.param == "fsdp2" else {}
    two = trained(TORCHRUN, checkpoint, folder, request.param, **setting)
    assert all(result["sharded"] == (request.param == "fsdp2") for result in two.values())
    return one_process, two


def test_every_base_and_intervention_is_among_them():
    used = [recipe(spec) for spec in SPECS]
    assert {part.name for r in used for part in r.interventions} == set(INTERVENTIONS) - LEFT_OUT
    assert {r.base_part.name for r in used} == set(BASES)


@pytest.mark.parametrize("spec", SPECS)
def test_losses_advantages_and_weights_agree(runs, spec):
    one, two = (r[spec] for r in runs)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(one["losses"]) == STEPS
    assert any(abs(x) > 1e-4 for x in one["grad_norms"])
    for name in ("losses", "entropy", "weights"):
        torch.testing.assert_close(torch.tensor(two[name]), torch.tensor(one[name]), atol=DRIFT, rtol=0, msg=name)
    assert two["grad_norms"] == pytest.approx(one["grad_norms"], rel=DRIFT)
    for a, b in zip(one["advantages"], two["advantages"], strict=True):
        assert b == pytest.approx(a, rel=DRIFT, abs=DRIFT)
    assert two["state"].keys() == one["state"].keys()
    for part, state in one["state"].items():
        for name, value in state.items():
            found, expected = (dict(enumerate(tree_leaves(v))) for v in (two["state"][part][name], value))
            numbers = {i: x for i, x in expected.items() if x is not None}
            assert found.keys() == expected.keys()
            assert {i: x for i, x in found.items() if x is not None} == pytest.approx(numbers, rel=DRIFT, abs=DRIFT), (
                name
            )


@pytest.mark.parametrize("spec", SPECS)
def test_one_process_is_the_recipe_by_hand(one_process, checkpoint, spec):
    one = one_process[spec]
    expected = train_by_hand(checkpoint, spec, one["prompts"], LEARNING_RATE)
    assert one["losses"] == pytest.approx(expected["losses"], abs=DRIFT)
    torch.testing.assert_close(torch.tensor(one["weights"]), expected["weights"], atol=DRIFT, rtol=0)
