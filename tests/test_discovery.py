"""What is found in our packages and in other people's, and that what is broken harms nothing else."""

import types

import pytest

from entrokit.discovery import Discovered, DuplicateError, Found, by_name
from entrokit.rlvr import BASES, INTERVENTIONS, PRESETS, recipe
from entrokit.rlvr.card import Card, OnBenches
from entrokit.rlvr.cards import examples, methods
from entrokit.rlvr.interventions import _accept, _checked

from .plugin import METHOD, package, python


def test_every_method_has_a_card_that_names_it_and_builds():
    assert set(methods()) == {*BASES, *INTERVENTIONS, *PRESETS}
    for method in methods().values():
        for example in method.card.examples:
            assert method.name in example, method
            recipe(example)
    assert len(examples()) == len(set(examples()))


def test_a_card_without_an_example_or_a_place_is_named():
    with pytest.raises(
        ValueError, match=r"Card of 2501\.00001: examples must be a tuple of recipes, at least one; got \(\)"
    ):
        Card("2501.00001", examples=(), benches=OnBenches())
    with pytest.raises(ValueError, match="examples must be a tuple .* got 'grpo'"):
        Card("2501.00001", examples="grpo", benches=OnBenches())
    for both in ({}, {"benches": OnBenches(), "not_ranked": "why"}):
        with pytest.raises(ValueError, match="give benches, or say in not_ranked why"):
            Card("2501.00001", examples=("grpo",), **both)


def test_two_of_one_name_are_told_with_both_files():
    with pytest.raises(DuplicateError, match=r"the name 'steer' stands in one\.py and in other\.py"):
        by_name(iter([("steer", Found(1, "one.py")), ("steer", Found(2, "other.py"))]))


def test_a_class_without_a_card_and_what_is_no_method_are_named():
    from dataclasses import dataclass
    from typing import ClassVar

    from entrokit.rlvr import Intervention

    @dataclass
    class Bare(Intervention):
        name: ClassVar[str] = "bare"

    with pytest.raises(TypeError, match=r"test_discovery\..*Bare: has no card"):
        _checked(Bare)
    assert str(recipe("grpo", Bare())) == "grpo+bare", "an object needs none"
    with pytest.raises(TypeError, match="is no Intervention with a name|neither an Intervention"):
        _accept(3)
    with pytest.raises(TypeError, match="the module empty holds neither"):
        _accept(types.ModuleType("empty"))


def test_what_is_found_is_looked_for_once_and_again_when_asked():
    calls = []
    found = Discovered(lambda: calls.append(1) or {"a": Found(1, "here")})
    assert (found["a"], len(found), list(found), found.where("a"), found.own) == (1, 1, ["a"], "here", ["a"])
    assert len(calls) == 2, "`own` asks anew"
    found.refresh()
    assert "a" in found
    assert len(calls) == 3
    with pytest.raises(KeyError):
        found["b"]


ASK = """
import json, sys
from entrokit.rlvr import INTERVENTIONS, PRESETS, recipe
from entrokit.papers import CATALOGUE
def said(spec):
    try:
        return str(recipe(spec))
    except ValueError as error:
        return str(error)
print(json.dumps({
    "recipes": [said(spec) for spec in sys.argv[1:]],
    "broken": [str(b) for b in (*INTERVENTIONS.broken, *PRESETS.broken)],
    "papers": [str(b) for b in CATALOGUE.broken],
    "ours": ["steer" in INTERVENTIONS, "steer" in CATALOGUE, len(INTERVENTIONS)],
}))
"""


def ask(folder, *specs):
    import json

    done = python(folder, ASK, *specs)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_method_of_an_installed_package_is_one_of_ours(tmp_path):
    package(tmp_path, "theirs", {"entrokit.interventions": {"half": "half_method:Half"}}, half_method=METHOD)
    found = ask(tmp_path, "grpo+half", "dapo+half(share=0.25)+steer")
    assert found["recipes"] == ["grpo+half", "dapo+half(share=0.25)+steer"]
    assert found["broken"] == []
    shown = python(tmp_path, "", "-m", "entrokit", "explain", "grpo+half")
    assert shown.returncode == 0, shown.stderr
    assert "half" in shown.stdout


def test_broken_packages_are_named_and_harm_nothing_else(tmp_path):
    points = {
        "explodes": "explodes:Method",
        "exits": "exits:Method",
        "absent": "nowhere:Method",
        "nothing": "nothing:VALUE",
        "taken": "taken:Steer",
        "half": "half_method:Half",
        "half-again": "half_again:Half",
    }
    package(
        tmp_path,
        "theirs",
        {
            "entrokit.interventions": points,
            "entrokit.papers": {"explodes": "explodes:PAPER", "nothing": "nothing:VALUE"},
        },
        explodes="raise OSError('no disk')",
        exits="raise SystemExit(3)",
        nothing="VALUE = 3",
        taken=METHOD.replace('"half"', '"steer"')
        .replace("class Half", "class Steer")
        .replace("grpo+half", "grpo+steer"),
        half_method=METHOD,
        half_again=METHOD,
    )
    found = ask(tmp_path, "grpo+half", "grpo+steer", "grpo+explodes")
    assert found["recipes"][:2] == ["grpo+half", "grpo+steer"]
    assert (
        "'explodes' is a plug-in that could not be loaded: explodes = explodes:Method of theirs: OSError: no disk"
        in (found["recipes"][2])
    )
    assert found["ours"][:2] == [True, True]
    told = {line.split(" = ")[0]: line for line in found["broken"]}
    assert set(told) == set(points) - {"half"}
    assert "SystemExit: 3" in told["exits"]
    assert "ModuleNotFoundError" in told["absent"]
    assert "neither an Intervention with a name, nor a Preset" in told["nothing"]
    assert "the name 'steer' of taken.Steer is taken by entrokit.rlvr.interventions.steer.Steer" in told["taken"]
    assert "the name 'half' of half_again.Half is taken by half_method.Half" in told["half-again"]
    assert ["no disk" in found["papers"][0], "neither a Paper" in found["papers"][1]] == [True, True]


def test_one_name_is_one_method_over_bases_interventions_and_presets(tmp_path):
    """A plug-in that stands in front of a base would change every recipe without a word."""
    method = "from entrokit.rlvr.card import Card, Preset\nCARD = Card('1', examples=('x',), not_ranked='a test')\n"
    points = {f"p{i}": f"presets:P{i}" for i in range(6)} | {"dapo": "method:Dapo", "ares": "method:Ares"}
    presets = {0: "'grpo', 'rloo'", 1: "'steer', 'rloo'", 2: "'loop', 'loop+steer'", 3: "'good', 'rloo+steer'"}
    presets |= {4: "'bad_name', 'grpo'", 5: "'dr-grpo', 'grpo'"}
    package(
        tmp_path,
        "theirs",
        {"entrokit.interventions": points},
        presets=method + "".join(f"P{i} = Preset({words}, CARD)\n" for i, words in presets.items()),
        method=METHOD.replace("half", "dapo").replace("Half", "Dapo")
        + METHOD.replace("half", "ares").replace("Half", "Ares"),
    )
    found = ask(tmp_path, "grpo", "good", "loop", "dapo", "ares")
    assert found["recipes"][0] == "grpo"
    assert found["recipes"][1] == "rloo+steer"
    assert "unknown base 'loop'" in found["recipes"][2]
    assert found["recipes"][3:] == ["dapo", "dapo(clip_high=0.3)+aepo-reward+aepo-kl"]
    told = {line.split(" = ")[0]: line for line in found["broken"]}
    assert set(told) == {"p0", "p1", "p2", "p4", "p5", "dapo", "ares"}
    assert "the name 'grpo' of the preset for 'rloo' is taken by entrokit.rlvr.bases.grpo" in told["p0"]
    assert "taken by entrokit.rlvr.interventions.steer.Steer" in told["p1"]
    assert "begins with no base: 'loop+steer'" in told["p2"]
    assert "lower-case words joined by hyphens, got 'bad_name'" in told["p4"]
    assert "taken by entrokit.rlvr.bases.dapo" in told["dapo"]
    assert "taken by entrokit.rlvr.interventions.ares" in told["ares"]


def test_whatever_a_package_raises_those_after_it_are_found(tmp_path):
    silent = "class Mute(Exception):\n    def __str__(self): raise RuntimeError('no words')\nraise Mute"
    package(
        tmp_path,
        "theirs",
        {"entrokit.interventions": {"a": "skips:X", "b": "mute:X", "half": "half_method:Half", "again": "half_method"}},
        skips="import unittest\nclass Skipped(BaseException): pass\nraise Skipped('not here')",
        mute=silent,
        half_method=METHOD,
    )
    found = ask(tmp_path, "grpo+half", "grpo+half")
    assert found["recipes"] == ["grpo+half"] * 2
    assert sorted(line.split(": ", 1)[1] for line in set(found["broken"])) == ["Mute", "Skipped: not here"]


def test_a_module_that_builds_a_recipe_while_it_is_imported_is_found_afterwards(tmp_path):
    text = METHOD.replace(
        "@dataclass", "from entrokit.rlvr import recipe\nBASELINE = recipe('grpo+steer')\n\n@dataclass"
    )
    package(tmp_path, "theirs", {"entrokit.interventions": {"half": "half_method:Half"}}, half_method=text)
    for code in ("import half_method", "pass"):
        show = "from entrokit.rlvr import recipe, INTERVENTIONS\nprint(recipe('grpo+half'), INTERVENTIONS.broken)"
        done = python(tmp_path, f"{code}\n{show}")
        assert done.stdout.split() == ["grpo+half", "()"], done.stderr


def test_a_package_that_passes_its_methods_on_lists_them(tmp_path):
    for listed in ("", "__all__ = ['Half']\n"):
        folder = tmp_path / (listed[:3] or "none")
        package(
            folder,
            "theirs",
            {"entrokit.interventions": {"half": "front"}},
            front=f"from half_method import Half\n{listed}",
            half_method=METHOD,
        )
        found = ask(folder, "grpo+half")
        assert ("grpo+half" in found["recipes"]) == bool(listed)
        assert ("holds neither" in str(found["broken"])) != bool(listed)


def test_a_base_s_file_without_a_card_is_named(monkeypatch):
    from entrokit.rlvr import bases

    empty = types.ModuleType("entrokit.rlvr.bases.empty")
    empty.empty = lambda: None
    monkeypatch.setattr(bases, "modules_of", lambda package: [empty])
    with pytest.raises(
        TypeError, match=r"entrokit\.rlvr\.bases\.empty: a base's file holds a function 'empty' and a CARD"
    ):
        bases._own()


def test_a_module_s_classes_are_those_with_a_name_and_a_card_of_their_own(tmp_path):
    text = METHOD + "\n\nclass Variant(Half):\n    pass\n"
    card = "Card('1', ('x',), not_ranked='y')"
    preset = f"from entrokit.rlvr.card import Card, Preset\nP = Preset('theirs', 'grpo+steer', {card})\n"
    odd = (
        METHOD.replace("half", "odd").replace("Half", "Odd").replace("= Card(", "= str(").replace(", examples", ") # ")
    )
    points = {"half": "half_method", "preset": "preset_module", "my_method": "odd_method:Odd"}
    package(tmp_path, "t", {"entrokit.interventions": points}, half_method=text, preset_module=preset, odd_method=odd)
    found = ask(tmp_path, "grpo+half", "theirs", "grpo+my-method")
    assert found["recipes"][:2] == ["grpo+half", "grpo+steer"]
    assert "Odd: has no card" in found["recipes"][2], "the name of an entry point, however it is written"
    assert len(found["broken"]) == 1
