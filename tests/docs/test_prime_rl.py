"""docs/prime-rl.md: its TOML and its module load as prime-rl loads them, and what it says of recipes is so."""

import re
import tomllib
from pathlib import Path

import pytest

from entrokit.engines.prime_rl import loss_of
from entrokit.rlvr import BASES, recipe
from tests.engines.prime_rl.contract import batch, imported

PAGE = (Path(__file__).parents[2] / "docs" / "prime-rl.md").read_text(encoding="utf-8")
TOML = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)]
(MODULE,) = re.findall(r"```python\n# my_loss.py\n(.*?)```", PAGE, flags=re.DOTALL)

pytestmark = pytest.mark.filterwarnings("ignore:recipe .*advantages are those of prime-rl")


def rows():
    table = PAGE[PAGE.index("| recipe | why | instead |") :].split("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def test_the_page_says_at_its_top_that_it_was_not_run():
    assert PAGE.split("\n\n")[1].startswith("**Not run.**")
    assert "559b447" in PAGE.split("\n\n")[1]


def test_what_to_paste_loads_and_gives_a_loss(tmp_path, monkeypatch):
    (tmp_path / "my_loss.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    losses = []
    for table in (block["trainer"]["loss"] for block in TOML):
        assert set(table) <= {"type", "import_path", "kwargs"}
        assert table["type"] == "custom"
        losses.append(imported(table["import_path"])(batch()[0], **table.get("kwargs", {})).loss.item())
    default, knobs, module = losses
    assert knobs == module
    assert default != knobs


def test_what_the_table_refuses_is_refused():
    named = [name for row in rows() for name in re.findall(r"`([^`]+)`", row)]
    assert len(named) > 15
    for name in named:
        spec = name if name.startswith("dispo") else f"dapo+{name}"
        with pytest.raises(ValueError, match="prime-rl cannot carry"):
            loss_of(spec, aggregation="token-mean")


def test_the_bases_of_the_page_mean_what_it_says():
    said = re.search(r"`token-mean`, exactly.*?mean something else", PAGE, flags=re.DOTALL).group()
    exact, others = said.split("mean that.")
    exact, others = (set(re.findall(r"`(\w+)`", part)) & set(BASES) for part in (exact, others))
    assert all(recipe(base).base.aggregation == "token-mean" for base in exact)
    assert all(recipe(base).base.aggregation != "token-mean" for base in others)
    assert {b for b in BASES if recipe(b).base.aggregation != "token-mean"} == others
