"""docs/cli.md is what the command line is."""

import importlib.util
from pathlib import Path

import pytest

from entrokit.cli.app import MANUALS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def commands():
    spec = importlib.util.spec_from_file_location("commands", ROOT / "scripts" / "commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date(commands):
    assert commands.page() == PAGE, "run python scripts/commands.py"


@pytest.mark.parametrize("name", MANUALS)
def test_every_command_has_its_section(name):
    (section,) = [part for part in PAGE.split("\n## ") if part.startswith(f"`entrokit {name}`\n")]
    assert f"```sh\n{MANUALS[name].example}\n```" in section
    assert all(f"| {code} | {meaning} |" in section for code, meaning in MANUALS[name].codes.items())
