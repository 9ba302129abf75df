"""The first inputs of every surface, and all that ever failed; `experiments/fuzz.py` tries 100 000 of each."""

import json
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="the tasks and pages need entrokit[all]")

from .surfaces import CANARY, SURFACES, tried

FAILED_ONCE = json.loads(Path(__file__).with_name("seeds.json").read_text())
FIRST = 200


@pytest.mark.parametrize("surface", SURFACES)
def test_the_first_inputs(surface):
    assert {seed: problem for seed in range(FIRST) if (problem := tried(surface, seed)) is not None} == {}


@pytest.mark.parametrize(("surface", "seed"), [(s, seed) for s, seeds in FAILED_ONCE.items() for seed in seeds])
def test_what_failed_once(surface, seed):
    assert tried(surface, seed) is None


def test_a_surface_that_runs_code_or_raises_is_noticed(monkeypatch):
    monkeypatch.setitem(SURFACES, "broken", lambda seed: 1 / (seed - 1))
    assert tried("broken", 1) == "ZeroDivisionError: division by zero"
    monkeypatch.setitem(SURFACES, "running", lambda seed: CANARY.touch())
    assert tried("running", 0) == "an input was run as code"
    assert not CANARY.exists()
