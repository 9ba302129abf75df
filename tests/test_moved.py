"""Old import paths work, warn, and say where the name is now."""

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import entrokit.decoding
import entrokit.diagnose
import entrokit.information
import entrokit.losses
from entrokit.moved import by_name

PACKAGES = (entrokit.decoding, entrokit.diagnose, entrokit.information, entrokit.losses)
NAMES = [(p.__name__, name, home) for p in PACKAGES for name, home in by_name(p._BEFORE).items()]


@pytest.mark.parametrize(("package", "name", "home"), NAMES, ids=lambda x: x.rpartition(".")[2])
def test_a_name_that_moved_is_the_one_that_stands_there_now(package, name, home):
    with pytest.warns(DeprecationWarning, match=rf"{package}\.{name} is now {home}\.{name}") as told:
        found = getattr(importlib.import_module(package), name)
    assert found is getattr(importlib.import_module(home), name)
    assert Path(told[0].filename) == Path(__file__), "the warning points at whoever asks"


def test_modules_that_moved():
    pytest.importorskip("trl")
    for old, new, name in (
        ("entrokit.engines.session", "entrokit.training.session", "TrainSettings"),
        ("entrokit.engines.pocket", "entrokit.training.pocket", "pocket_policy"),
    ):
        module = importlib.import_module(old)
        with pytest.warns(DeprecationWarning, match=f"{old} is now {new}"):
            assert getattr(module, name) is getattr(importlib.import_module(new), name)


def test_a_name_that_never_was_is_an_attribute_error():
    for module in PACKAGES:
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nothing'"):
            _ = module.nothing
    with pytest.raises(AttributeError):
        _ = entrokit.rlvr.nothing
    with pytest.raises(ImportError):
        exec("from entrokit.rlvr import nothing")


def test_public_names_of_methods_are_had_from_where_they_were():
    from entrokit import rlvr
    from entrokit.rlvr import interventions
    from entrokit.rlvr.bases import dispo
    from entrokit.rlvr.interventions import siren, steer

    assert rlvr.Steer is interventions.Steer is steer.Steer
    assert interventions.steer_weights is steer.steer_weights
    assert rlvr.SelfAnchoredEntropyLoss is siren.SelfAnchoredEntropyLoss
    assert rlvr.dispo_loss is dispo.dispo_loss
    assert "Steer" in dir(interventions)


def test_a_hook_under_its_old_name_still_acts():
    from dataclasses import dataclass
    from typing import ClassVar

    from entrokit.rlvr import Intervention, Weighting, stages_of

    with pytest.warns(DeprecationWarning, match=r"Old\.weigh is called weight now"):

        @dataclass
        class Old(Intervention):
            name: ClassVar[str] = "old"

            def weigh(self, update, clip, prepared):
                return Weighting()

    assert stages_of(Old()) == ["weight"]


def a_method(**body):
    from entrokit.rlvr import Intervention

    return type("Made", (*body.pop("parents", ()), Intervention), {"name": "made", **body})


def test_an_old_hook_of_a_mixin_acts_and_of_two_names_the_new_one_does():
    from entrokit.rlvr import Intervention, stages_of

    mixin = type("Mixin", (), {"weigh": lambda self: "mixin"})
    with pytest.warns(DeprecationWarning, match="weigh is called weight now"):
        inherited = a_method(parents=(mixin,))
    assert stages_of(inherited()) == ["weight"]
    assert inherited().weight() == "mixin"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both = a_method(weigh=lambda self: "old", weight=lambda self: "new")
        child = type("Child", (inherited,), {"weight": lambda self: "child"})
        grandchild = type("Grandchild", (child,), {})
    assert both().weight() == "new"
    assert (child().weight(), grandchild().weight()) == ("child", "child")
    with pytest.warns(DeprecationWarning, match="Again"):
        again = type("Again", (child,), {"weigh": lambda self: "again"})
    assert again().weight() == "again"
    assert issubclass(again, Intervention)


def test_a_knob_cannot_be_called_as_a_stage_is():
    with pytest.raises(TypeError, match="Made: a knob cannot be called weight, as a stage is"):
        a_method(__annotations__={"weight": float}, weight=0.5)


def test_fields_under_their_old_names_can_be_read():
    from entrokit.rlvr import Rollouts

    from .rlvr.cases import batch

    b = batch()
    with pytest.warns(DeprecationWarning, match=r"Rollouts\.train is called trained now") as told:
        assert b.train is b.trained
    assert Path(told[0].filename) == Path(__file__)
    with pytest.warns(DeprecationWarning, match="attention is called real now"):
        assert b.attention is b.real
    with pytest.raises(ValueError, match="trained stands there under its old name, too"):
        Rollouts.from_columns(b.columns() | {"train": b.trained})


def test_nothing_of_ours_takes_an_old_path():
    code = "import entrokit.papers, entrokit.report, entrokit.bench, entrokit.papers as p; list(p.CATALOGUE)"
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:entrokit", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        importlib.reload(importlib.import_module("entrokit.bench.contestants"))
