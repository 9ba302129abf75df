"""What the evidence says of where the entropy went."""

import pytest

from entrokit.diagnose import diagnose
from entrokit.runs import QUADRANTS, Part, RunWriter, StepAccount
from entrokit.runs.layout import ACCOUNT

WORDS = {
    "likely, advantage > 0": "likely tokens with positive advantage",
    "unlikely, advantage < 0": "unlikely tokens with negative advantage",
    "likely, advantage < 0": "likely tokens with negative advantage",
    "unlikely, advantage > 0": "unlikely tokens with positive advantage",
    "advantage 0": "tokens with advantage 0",
    "of another version": "of another version",
}


def collapsed(folder, loser):
    """A run whose entropy fell to nothing; by its accounts two thirds of the loss came from one quadrant."""
    writer = RunWriter(folder, {"recipe": "grpo"})
    other = next(q for q in QUADRANTS if q != loser)
    lines = []
    for step in range(30):
        writer.metrics(step, {"entropy": 1.0 if step < 3 else 0.05, "reward": 0.2 + 0.01 * step})
        quadrants = {q: Part(0.001, 1.0) for q in QUADRANTS} | {loser: Part(-0.02, 1.0), other: Part(-0.01, 1.0)}
        lines.append(
            StepAccount(step, 1, 64, 12, 0.5, *[-1e-3] * 3, 0.0, 1e-3, 0.0, -1e-3, 0.1, 0.5, {"quadrant": quadrants})
        )
    (folder / ACCOUNT).write_text("".join(account.to_json() + "\n" for account in lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize("quadrant", WORDS)
def test_the_tokens_that_lost_most_are_told_in_words(quadrant, tmp_path):
    assert set(QUADRANTS) < set(WORDS)
    found = diagnose(collapsed(tmp_path, quadrant)).findings[0]
    assert found.cause == "entropy was spent"
    (told,) = [line for line in found.evidence if "came from" in line]
    assert told == (
        f"67% of the tokens' loss of entropy in the first 4 steps came from {WORDS[quadrant]} (by the accounts of "
        "5 steps)"
    )
