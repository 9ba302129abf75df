"""How counts of calls and bytes become rows of docs/scale.md."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "experiments" / "collectives.py"
SIZES = [[(4, 10), (4, 17)], [(8, 31), (8, 40)]]


@pytest.fixture(scope="module")
def collectives():
    spec = importlib.util.spec_from_file_location("collectives", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def counted(batch, completion, token, calls, step, objects=0):
    """Runs of two batches each, whose bytes grow as said."""
    return [
        {
            "batches": [
                {
                    "calls": calls,
                    "objects": objects,
                    "bytes": batch + completion * rows + token * tokens,
                    "rows": rows,
                    "tokens": tokens,
                }
                for rows, tokens in sizes
            ],
            "step": {"calls": step, "bytes": 8.0 * step, "objects": 0.0},
        }
        for sizes in SIZES
    ]


def test_how_bytes_grow_is_found(collectives):
    found = collectives.fitted(counted(92, 25, 4, calls=23, step=2.0))
    assert found["bytes"] == {"batch": 92.0, "completion": 25.0, "token": 4.0}
    assert (found["unexplained"], found["calls"], found["objects"]) == (0.0, 23, 0)
    assert (found["step_calls"], found["step_bytes"], found["step_objects"]) == (2.0, 16.0, 0.0)


def test_what_others_send_is_taken_off(collectives):
    found = collectives.fitted(
        counted(92, 25, 4, calls=23, step=2.0, objects=3), counted(50, 5, 4, calls=20, step=5.0, objects=2)
    )
    assert found["bytes"] == {"batch": 42.0, "completion": 20.0, "token": 0.0}
    assert (found["calls"], found["objects"], found["step_calls"], found["step_bytes"]) == (3, 1, -3.0, -24.0)


def test_bytes_that_do_not_grow_so_are_told(collectives):
    runs = counted(92, 25, 4, calls=23, step=2.0)
    runs[0]["batches"][0]["bytes"] += 8
    assert collectives.fitted(runs)["unexplained"] > 1.0


def test_calls_are_counted_where_they_are_looked_up(collectives):
    wire, sent = collectives.Wire(), []
    module = SimpleNamespace(
        all_reduce=lambda x: sent.append(x), all_gather=lambda parts, x: None, gather_object=lambda x: None
    )
    wire.listen(module, ("all_reduce", "all_gather", "gather_object"))
    module.all_reduce(torch.zeros(3))
    wire.phase = "generation"
    module.all_gather([torch.zeros(9)] * 2, torch.zeros(5, dtype=torch.int64))
    module.gather_object({})
    assert wire.seen("step") == {"calls": 1, "bytes": 12, "objects": 0}
    assert wire.seen("generation") == {"calls": 1, "bytes": 40, "objects": 1}
    assert len(sent) == 1
