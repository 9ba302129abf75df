"""The page's loop: taken up from its checkpoint it is the run that was not interrupted."""

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "generative" / "scoremd.md"


def shown():
    """What the block defines, without the run at its end."""
    (block,) = re.findall(r"```python\n((?:(?!```).)*?def train\(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    defined = {}
    exec(block[: block.index("\ndata = ")], defined)
    return defined


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_run_taken_up_is_the_run_that_was_not_interrupted(tmp_path, capsys):
    block, data = shown(), torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = block["train"](data, tmp_path / "whole", steps=12, every=4)
    loss, calls = block["training_loss"], []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return loss(*args, **kwargs)

    block["training_loss"] = interrupted
    with pytest.raises(KeyboardInterrupt):
        block["train"](data, tmp_path / "cut", steps=12, every=4)
    assert [file.name for file in (tmp_path / "cut").iterdir()] == ["last.pt"]
    capsys.readouterr()
    again = block["train"](data, tmp_path / "cut", steps=12, every=4)
    # From the fifth step on, in a world whose global generator is elsewhere.
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["8", "12"]
    assert len(calls) == 7 + 8
    assert torch.equal(weights(again), weights(whole))
    assert torch.equal(weights(block["train"](data, tmp_path / "cut", steps=12, every=4)), weights(whole))
    (tmp_path / "other").mkdir()
    other = block["train"](data, tmp_path / "other", steps=12, every=4, seed=1)
    assert not torch.equal(weights(other), weights(whole))
