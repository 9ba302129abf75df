"""The page of a paper: what an entry and its results say stays in its line, its code and its cell."""

import importlib.util
from dataclasses import replace

import pytest

from entrokit.papers import PaperResults

from ..plugin import ROOT
from .made_up import entry, finding, result


@pytest.fixture(scope="module")
def pages():
    file = ROOT / "scripts" / "pages.py"
    if not file.exists():
        pytest.skip("the repository's scripts are not here")
    spec = importlib.util.spec_from_file_location("pages_of_papers", file)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(file.parent))
        spec.loader.exec_module(module)
    return module


def test_nothing_breaks_out_of_its_line(pages):
    own = entry(print, criterion="H rises\n\n# and `falls")
    own = replace(own, title="Title\n# another", claim="a\nclaim.", recipes=("grpo+`x`", "grpo\n+y"))
    waiting = pages.paper_page(own, None)
    assert waiting.startswith("# Title # another\n\n[arXiv 2501.00001]")
    assert "tests. a claim.\n" in waiting
    assert "\n- `` grpo+`x` ``\n- `grpo +y`\n" in waiting
    assert "\nShown if H rises # and \\`falls.\n" in waiting
    assert "Not measured yet: `entrokit reproduce made-up --experiment own` (about 0.1 min)." in waiting
    kept = result(finding("a | b\nc"), note="by\n# hand")
    measured = pages.paper_page(own, PaperResults("made-up", {"own": kept}))
    assert "| made-up | own, 2 | a \\| b c |" in measured
    assert "commit abc. by # hand\n" in measured


def test_a_page_gives_what_to_paste_and_says_what_is_the_reader_s(pages):
    own = entry(print)
    assert "```python" not in pages.paper_page(own, None)
    shown = pages.paper_page(replace(own, recipes=("grpo",), example="import own\nprint(own)"), None)
    assert "\n\n```python\nimport own\nprint(own)\n```\n\n```sh\nentrokit reproduce made-up\n```\n" in shown
    assert "of yours" not in shown
    derived = replace(own, recipes=("grpo",))
    assert f"a dataset `data` of yours:\n\n```python\n{derived.lines}\n```\n" in pages.paper_page(derived, None)
