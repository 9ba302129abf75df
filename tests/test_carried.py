"""What each engine is said to carry is what its own check lets through."""

import importlib.util
from types import SimpleNamespace

import pytest

from entrokit.engines.carried import carried_by
from entrokit.engines.prime_rl import refusals
from entrokit.rlvr import recipe
from entrokit.rlvr.cards import examples


def passes(check, *arguments, **options):
    try:
        check(*arguments, **options)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("spec", examples())
def test_prime_rl(spec):
    chosen = recipe(spec)
    # How a step is divided is the user's to say there.
    lets = all(refusals._reason(i) is None for i in chosen.interventions)
    assert ("prime-rl" in carried_by(chosen)) == lets


@pytest.mark.parametrize("spec", examples())
def test_tinker(spec):
    pytest.importorskip("tinker")
    from entrokit.engines.tinker.carried import refuse

    chosen = recipe(spec)
    assert ("tinker" in carried_by(chosen)) == passes(refuse, chosen, reference=True, max_length=8)


@pytest.mark.parametrize("spec", examples())
def test_trl(spec):
    pytest.importorskip("trl")
    from entrokit.engines.trl.options import refuse_what_cannot_be_carried

    chosen = recipe(spec)
    assert ("trl" in carried_by(chosen)) == passes(refuse_what_cannot_be_carried, chosen)


@pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="needs verl")
@pytest.mark.parametrize("spec", examples())
def test_verl(spec):
    from entrokit.engines.verl.config import refuse

    chosen = recipe(spec)
    config = SimpleNamespace(use_kl_loss=True, strategy="fsdp")
    assert ("verl" in carried_by(chosen)) == passes(refuse, chosen, config)


def test_only_trl_lets_a_method_act_while_sampling():
    """Also where verl, which says so itself, is not installed."""
    assert carried_by(recipe("grpo+adaptive-temperature")) == ("trl",)


def test_an_engine_carries_what_all_its_parts_allow():
    assert carried_by(recipe("grpo")) == ("trl", "verl", "tinker", "prime-rl")
    assert "tinker" not in carried_by(recipe("grpo+steer")), "it needs more of a token than its log-probability"
    assert carried_by(recipe("grpo+kl-cov(ratio=0.1)+steer")) == carried_by(recipe("grpo+steer"))
