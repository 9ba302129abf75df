"""The three ways in: by the import path, by kwargs, by a module of one's own; and what comes back."""

import sys
import types
import warnings
from importlib.util import find_spec

import pytest
import torch

from entrokit.engines import prime_rl
from entrokit.engines.prime_rl import contract, loss_of, recipe_loss, recipes

from .contract import CUTS, LossOutputs, batch, imported, step

PATH = "entrokit.engines.prime_rl"


@pytest.fixture(autouse=True)
def _forgotten():
    """Which class comes back is asked once a process; no prime-rl is loaded before a test, nor is a test's after it."""
    contract.outputs_class.cache_clear()
    real = {n: sys.modules.pop(n) for n in list(sys.modules) if n.partition(".")[0] == "prime_rl"}
    yield
    contract.outputs_class.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == "prime_rl"]:
        del sys.modules[name]
    sys.modules.update(real)


@pytest.fixture
def installed():
    """A module in prime-rl's place."""
    module = types.ModuleType("prime_rl.trainer.rl.loss")
    module.LossOutputs = LossOutputs
    for name in ("prime_rl", "prime_rl.trainer", "prime_rl.trainer.rl"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[module.__name__] = module


@pytest.mark.filterwarnings("ignore:recipe .*advantages are those of prime-rl")
def test_all_ways_give_the_same_loss():
    sequences = batch()
    door = imported(f"{PATH}.recipe_loss")
    with pytest.warns(UserWarning, match=r"not the base's own \(group mean and std\)"):
        by_path = imported(f"{PATH}.recipes.dapo")
    with pytest.warns(UserWarning, match="advantages are those of prime-rl"):
        own = loss_of("dapo")
    losses = [step(sequences, f, cuts=CUTS[2])[0] for f in (by_path, own, lambda s: door(s, recipe="dapo"))]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2])


def test_a_whole_recipe_string_can_stand_in_the_path():
    with pytest.raises(AttributeError, match="dr_grpo.* means seq-mean-token-sum-norm"):
        imported(f"{PATH}.recipes.dr-grpo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert imported(f"{PATH}.recipes.dapo(dual_clip=None)").recipe.surrogate.dual_clip is None


def test_the_path_refuses_when_it_is_imported():
    with pytest.raises(AttributeError, match="cannot carry steer of recipe 'dapo.steer'"):
        imported(f"{PATH}.recipes.dapo+steer")
    with pytest.raises(AttributeError, match="unknown base 'dapoo'; did you mean 'dapo'"):
        imported(f"{PATH}.recipes.dapoo")


def test_names_that_python_itself_asks_for_are_no_recipes():
    assert not hasattr(recipes, "__path__")
    assert not hasattr(recipes, "__wrapped__")


def test_kwargs_refuse_with_the_first_sequence():
    own = batch()[0]
    with pytest.raises(ValueError, match="cannot carry steer"):
        recipe_loss(own, recipe="dapo+steer")
    with pytest.raises(ValueError, match="means seq-mean-token-mean"):
        recipe_loss(own, recipe="grpo")
    with pytest.warns(UserWarning, match="advantages are those of prime-rl"):
        assert recipe_loss(own, recipe="grpo", aggregation="token-mean").loss.requires_grad


@pytest.mark.parametrize("wrong", [None, 3, ["dapo"], {"name": "dapo"}, b"dapo"])
def test_kwargs_without_a_recipe_string_say_so(wrong):
    with pytest.raises(ValueError, match=r"kwargs\.recipe must be a recipe string such as 'dapo', got "):
        recipe_loss(batch()[0], recipe=wrong)


@pytest.mark.parametrize("wrong", [3, True, ["token-mean"], {}, "mean"])
def test_kwargs_with_another_aggregation_say_so(wrong):
    with pytest.raises(ValueError, match="aggregation must be 'token-mean'"):
        recipe_loss(batch()[0], recipe="dapo", aggregation=wrong)


def test_kwargs_build_a_recipe_once_a_run():
    own = batch()[0]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(3):
            recipe_loss(own, recipe="dapo(clip_high=0.31)")
    assert len(said) == 1


def test_a_base_whose_advantages_are_prime_rls_own_says_nothing():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        loss_of("dr_grpo", aggregation="token-mean")
    assert said == []


@pytest.mark.usefixtures("installed")
def test_prime_rls_own_class_comes_back_where_it_is_installed():
    loss = loss_of("dr_grpo", aggregation="token-mean")
    assert all(type(loss(own)) is LossOutputs for own in batch())


@pytest.mark.skipif(find_spec("prime_rl") is not None, reason="prime-rl is installed")
def test_ours_has_its_fields_where_it_is_not():
    out = loss_of("dr_grpo", aggregation="token-mean")(batch()[0])
    assert type(out) is prime_rl.LossOutputs
    assert set(vars(out)) == {"loss", "metrics"}


def test_the_configs_of_prime_rl_without_its_trainer_do_not_count():
    sys.modules["prime_rl"] = types.ModuleType("prime_rl")
    assert contract.outputs_class() is prime_rl.LossOutputs


def test_a_prime_rl_that_cannot_be_imported_is_not_hidden(monkeypatch, tmp_path):
    folder = tmp_path / "prime_rl" / "trainer" / "rl"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "loss.py").write_text("import beartype_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="beartype_that_is_not_there"):
        contract.outputs_class()


@pytest.mark.filterwarnings("ignore:recipe .*advantages are those of prime-rl")
def test_metrics_are_what_prime_rl_stacks_and_gathers():
    for out in map(loss_of("dispo"), batch()):
        assert all(v.dim() == 0 and v.dtype == torch.float32 and not v.requires_grad for v in out.metrics.values())
        assert all(name.startswith("recipe/") for name in out.metrics)
    assert "recipe/DISPO/right_above_clipped" in loss_of("dispo")(batch()[0]).metrics
