"""docs/which-method.md: its tables are the boards', and what it says in words is so."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "which-method.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("tinker", reason="what Tinker refuses is asked of its adapter")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        yield importlib.import_module("which_method")
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def between_marks(name):
    _, _, rest = PAGE.partition(f"<!-- table: {name} -->\n")
    return rest.partition("<!-- end -->")[0]


def told(script, bench, wish):
    board = script.boards()[bench]
    found = {spec: script.told(board, script.WISHES[wish], spec) for spec in script.recipes(board)}
    return {spec: own for spec, own in found.items() if own is not None}


def test_its_tables_are_what_the_boards_say(script):
    assert between_marks("which-told") == script.told_table(), "run python scripts/pages.py"
    for wish in script.WISHES:
        assert between_marks(f"which-{wish}") == script.wish_table(wish), "run python scripts/pages.py"


def test_what_it_says_of_the_pocket_board_is_so(script):
    every = [told(script, "pocket", wish) for wish in script.WISHES]
    assert not any(own.side > 0 and own.at_once for found in every for own in found.values())
    accuracy = every[1]
    assert not any(own.side > 0 for own in accuracy.values())
    smallest = max(own.gap.mean for own in accuracy.values() if own.side < 0)
    assert f"losses of accuracy of {-smallest:.3f}" in PAGE
    for spec, coverage, cost in (("grpo+reward-kl", "+0.14", "0.06"), ("grpo+clip-b(mu=0.5)", "+0.15", "0.12")):
        assert f"{every[2][spec].gap.mean:+.2f}" == coverage
        assert f"{-accuracy[spec].gap.mean:.2f}" == cost
        assert coverage in PAGE
        assert cost in PAGE


def test_what_it_recommends_is_what_it_says_of_it(script):
    bonus, kl_cov, average = "grpo+entropy-bonus(coef=0.02)", "grpo+kl-cov(ratio=0.1)", "grpo+token-group-average"
    held = {bench: told(script, bench, "entropy") for bench in script.BENCHES}
    assert all(min(held[bench][bonus].gap.values) > 0 for bench in script.BENCHES)
    assert held["pocket"][bonus].side == held["pocket"][kl_cov].side == 0
    assert f"{held['pocket'][bonus].gap.mean:+.3f} nats on the pocket board" in PAGE
    tabular = told(script, "tabular", "accuracy")
    without_loss = {s: own.gap.mean for s, own in held["tabular"].items() if own.side > 0 and tabular[s].side >= 0}
    assert max(without_loss, key=without_loss.get) == kl_cov
    both = [
        spec
        for wish in script.WISHES
        for spec, own in told(script, "tabular", wish).items()
        if own.side > 0 and (other := told(script, "pocket", wish).get(spec)) and other.side > 0
    ]
    assert both == [average]
    assert f"one of {len(told(script, 'pocket', 'coverage'))} recipes" in PAGE
    assert script.carried_by("grpo+kl-cov") == ["TRL", "verl", "Tinker"]
    assert "prime-rl" in script.carried_by("dispo")
    assert script.carried_by("grpo+siren") == ["TRL"]


def test_a_tie_is_named_and_a_bound_for_all_at_once_is_wider(script, monkeypatch):
    """Two recipes that are told from the baseline and not from each other, and one that is told from neither."""
    board = script.boards()["tabular"]
    other = script.recipes(board)[:3]
    score = board.of("grpo")
    values = {"grpo": [0.0] * 4, other[0]: [1.0, 1.1, 1.0, 1.1], other[1]: [1.1, 1.0, 1.1, 0.9]}
    values[other[2]] = [0.1, -0.1, 0.1, -0.1]
    scores = tuple(
        type(score[0])(**vars(score[0]) | {"recipe": spec, "seed": seed, "accuracy": value})
        for spec, own in values.items()
        for seed, value in enumerate(own)
    )
    made_up = type(board)("tabular", {}, (0, 1, 2, 3), scores)
    wish = script.WISHES["accuracy"]
    assert [script.told(made_up, wish, spec).side for spec in other] == [1, 1, 0]
    assert script.told(made_up, wish, other[0]).at_once
    # Mean 0.1, standard error 0.03: 3.3 of them, between Student's bounds of three degrees of freedom at 95 % (3.2)
    # and at 97.5 % (4.2), which is Bonferroni's for the two recipes that are left.
    close = tuple(
        type(s)(**vars(s) | {"accuracy": value})
        for s, value in zip([s for s in scores if s.recipe == other[0]], [0.04, 0.14, 0.06, 0.16], strict=True)
    )
    narrow = type(board)("tabular", {}, (0, 1, 2, 3), tuple(s for s in scores if s.recipe != other[0]) + close)
    assert script.told(narrow, wish, other[0]).side == 1
    assert not script.told(narrow, wish, other[0]).at_once
    assert script._ties(made_up, wish).endswith(f"`{other[0]}`; not told from it: `{other[1]}`.")
