"""What an entry gives to paste: it runs at a prompt, line by line, and shows what it says."""

import ast
import inspect
import re
import warnings
from codeop import compile_command
from dataclasses import replace

import pytest
import torch

from entrokit.extras import MissingExtraError
from entrokit.papers import CATALOGUE, paper
from entrokit.rlvr import recipe

from .made_up import entry

OWN = [entry for entry in CATALOGUE.values() if entry.example]
DERIVED = [entry for entry in CATALOGUE.values() if not entry.example]


def slug(entry):
    return entry.slug


def pasted(text):
    """The statements that a prompt makes of it: one that is open at the end of a line only inside of brackets."""
    held = ""
    for line in text.split("\n"):
        held += f"\n{line}" if held else line
        statement = compile_command(held, "<pasted>", "single")
        if statement is not None:
            yield statement
            held = ""
    assert not held, f"a prompt waits for more after {held!r}"


@pytest.fixture
def run(capsys):
    """Runs lines on one core: what they defined, and what was printed; a warning of ours or of torch is an error."""

    def run(text):
        defined = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                for statement in pasted(text):
                    exec(statement, defined)
        except MissingExtraError as error:
            pytest.skip(str(error))
        return defined, capsys.readouterr().out

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield run
    torch.set_num_threads(threads)


def test_methods_of_rlvr_are_used_by_their_recipes_and_all_others_have_an_example():
    assert {CATALOGUE.where(own.slug).split(".")[2] for own in DERIVED if own.slug in CATALOGUE.own} == {"rlvr"}
    assert not [own.slug for own in OWN if CATALOGUE.where(own.slug).startswith("entrokit.papers.rlvr.")]
    assert len(OWN) > 30


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=slug)
def test_they_are_few_and_short(entry):
    lines = entry.lines.split("\n")
    assert 2 <= len(lines) <= 5
    assert all(line.strip() == line.rstrip() or line.startswith(" " * 4) for line in lines)
    assert max(map(len, lines)) <= 88
    assert any(" import " in line and "entrokit" in line for line in lines)


@pytest.mark.parametrize("entry", OWN, ids=slug)
def test_an_example_runs_and_ends_in_what_it_prints(entry, run):
    _, out = run(entry.example)
    assert out.strip()
    last = ast.parse(entry.example).body[-1]
    assert isinstance(last, ast.Expr), "the last line shows something"


@pytest.mark.parametrize("entry", OWN, ids=slug)
def test_an_example_uses_the_package_that_the_entry_names(entry):
    packages = {name.rpartition(".")[0] for name in entry.names}
    imported = {node.module for node in ast.walk(ast.parse(entry.example)) if isinstance(node, ast.ImportFrom)}
    assert packages & imported


def first(out):
    """The first number with a point that was printed."""
    return float(re.search(r"\d+\.\d+", out)[0])


def hot_alone(runs):
    """Whether the norm of the weights grows from the second temperature to the third, and not before."""
    cold, warm, hot = (float(run.w.norm()) for run in runs)
    return abs(warm / cold - 1) < 0.1 and hot > 2 * warm


# What comments and labels in the examples promise, of the names that these define and of what is printed.
PROMISED = {
    # Standard error of a std: 0.5 / sqrt(2 * 100), of 100 effective particles or more.
    "feynman-kac-correctors": lambda own, out: abs(own["x"].std() - 0.5) < 4 * 0.5 / 200**0.5,
    # A distance of 1/2 shrinks by 1 - 0.01 * 2 a step: after 400 steps to 1.5e-4.
    "lion-k": lambda own, out: torch.allclose(own["x"], torch.tensor([-0.5, 0.5]), atol=2e-4),
    "classp": lambda own, out: own["w"][0] > 0.2 and own["w"][1] == 0,
    "facility-location": lambda own, out: out.endswith("nearer by 0.222\nNone\n"),
    "three-regime-pruning": lambda own, out: out == "['I', 'II-A', 'II-B']\n",
    # The mean of |x|² over 10,000 samples, whose std is 2: five standard errors.
    "active-matter-epr": lambda own, out: abs(first(out) - 2) < 0.1,
    # 2,000 rows, in each of which utilities / 3 vary by about 1: a standard error of 3 / sqrt(2000), five of them.
    "utility-probability": lambda own, out: abs(first(out) - 3) < 0.34,
    "sgd-noise-regimes": lambda own, out: hot_alone(own["runs"]),
    "cross-entropy-riemann": lambda own, out: out.startswith("tensor([14.1347, 21.0220, 25.0109]"),
}


@pytest.mark.parametrize("slug", sorted(PROMISED))
def test_an_example_keeps_what_its_comments_promise(slug, run):
    own, out = run(paper(slug).example)
    assert PROMISED[slug](own, out), out


def call_of(entry):
    """The call that makes the trainer."""
    return next(node for node in ast.walk(ast.parse(entry.lines)) if getattr(node, "keywords", None))


@pytest.mark.parametrize("entry", DERIVED, ids=slug)
def test_derived_lines_name_the_first_recipe(entry):
    assert len(list(pasted(entry.lines))) == 3
    (named,) = [ast.literal_eval(word.value) for word in call_of(entry).keywords if word.arg == "recipe"]
    assert named == entry.recipes[0]
    recipe(named)


def test_derived_lines_call_the_trainer_as_it_is():
    pytest.importorskip("trl")
    from trl import GRPOTrainer

    from entrokit.engines.trl import EntropyGRPOTrainer

    call = call_of(DERIVED[0])
    words = {word.arg: None for word in call.keywords}
    assert words.pop("recipe", "lacking") is None
    assert "recipe" in inspect.signature(EntropyGRPOTrainer).parameters
    bound = inspect.signature(GRPOTrainer).bind(*(word.id for word in call.args), **words).arguments
    assert bound == dict.fromkeys(("model", "reward_funcs", "args", "train_dataset"))
    assert call.args == []


def test_an_entry_of_others_gives_what_it_has():
    bare = entry(print)
    assert bare.lines == ""
    assert replace(bare, names=("own.loss", "own.other")).lines == "from own import loss"
    assert replace(bare, names=("own",)).lines == "import own"
    assert 'recipe="grpo+x(end=\'\\"\\n\')"' in replace(bare, recipes=("grpo+x(end='\"\n')",)).lines
    assert replace(bare, recipes=("grpo",), example="print(1)").lines == "print(1)"


def test_an_example_that_is_no_python_is_refused():
    with pytest.raises(ValueError, match=r"^made-up: Paper.example, line 2: "):
        replace(entry(print), example="import torch\nprint(")
