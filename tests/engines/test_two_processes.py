"""Two real processes (gloo) train as one does, on identical completions and slices, with DDP and with FSDP2."""

from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_leaves

from entrokit.rlvr import BASES, INTERVENTIONS, recipe

from ..processes import TORCHRUN, run
from ..rounding import bound
from .by_hand import train_by_hand
from .two_processes import LEARNING_RATE

SCRIPT = Path(__file__).with_name("two_processes.py")
# Every base and every intervention of the catalogue, at knobs at which it acts on short completions.
SPECS = [
    "grpo",
    "cispo",
    "gspo",
    "rloo+clip-b(mu=0.2, side='both')",
    "reinforce_plus_plus+clip-v(mu=0.2, max_frac=0.3)",
    "reinforce_plus_plus_baseline+reference-kl(beta=0.1)",
    "dispo(correct='reward')",
    "grpo+clip-cov(ratio=0.2, low=0.0, high=9.0)",
    "dapo+kl-cov(ratio=0.2)",
    "dr_grpo+canon(mu=0.7)",
    "grpo+arm",
    "grpo+perplexity-shaping(alpha=0.3)+position-shaping",
    "grpo+weighted-grpo(normalize='pair')",
    "grpo+pear(end_of_thinking='+')",
    "dr_grpo+siren(coef=0.5, anchor=0.5)",
    "dapo+siren(coef=0.5, scope='step')",
    "dapo+tea",
    "grpo+entropy-bonus(coef=0.01)",
    "rloo_sequence+reward-kl(beta=0.1)",
    "grpo+empg+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01)",
    "grpo+epo-official(coef=0.1)",
    "grpo+recap(temperature=0.1)",
    "dr_grpo+tool-reward",
    "dapo+aepo-reward(window=2, quantile=0.5)+aepo-kl(beta=0.1, window=2)",
    "grpo+aepo-reward(variant='paper', window=2)+aepo-kl(beta=0.1, variant='paper', window=2, quantile=0.5)",
    # A share whose threshold no token's entropy comes near: first tokens of a group tie, and rounding would split them.
    "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.28)",
    "dapo+adaptive-temperature+token-group-average+adaptive-clip(pivot=0.5)+redistribute-advantage(pivot=0.5)",
]

# Another cut of the batch rounds an entropy (at most log 22 nats, behind products of width 32 and a sum over 22 tokens)
# otherwise; advantages that follow entropies divide that by their spread, a tenth of a nat, and ten steps of 0.05 times
# a gradient clipped to 1 move weights by no more than as large a share.
DRIFT = 10 * bound(3.1, 32 + 22)

# As `accelerate launch --use_fsdp --fsdp_version 2` sets it.
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "Qwen3DecoderLayer",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


def trained(launcher, checkpoint, folder, name, **environment):
    out = folder / f"{name}.json"
    return run([*launcher, str(SCRIPT), checkpoint, str(folder / name), str(out), *SPECS], out, **environment)


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
    # What each process replays, it draws from its own memory: test_replay.py holds that to its word.
    assert {part.name for r in used for part in r.interventions} == set(INTERVENTIONS) - {"self-imitation"}
    assert {r.base_part.name for r in used} == set(BASES)


@pytest.mark.parametrize("spec", SPECS)
def test_losses_advantages_and_weights_agree(runs, spec):
    one, two = (r[spec] for r in runs)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(one["losses"]) == 10
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
