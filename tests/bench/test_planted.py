"""What is planted is what it says, and the confusion table counts verdicts."""

from dataclasses import replace

import pytest

pytest.importorskip("trl", reason="training needs the extra 'trl'")

from entrokit.bench import planted
from entrokit.bench.planted import HEALTHY, PLANTED, Planted, broken_family, confusion, constant_reward, two_prompts
from entrokit.diagnose import VERDICTS
from entrokit.rlvr.tasks import countdown
from entrokit.training.settings import TrainSettings
from tests.diagnose.cases import CASES, table


@pytest.fixture(scope="module")
def task():
    return countdown(train_size=40, eval_size=4)


def test_every_cause_has_a_verdict_and_settings_that_exist():
    assert len({p.name for p in PLANTED}) == len(PLANTED) >= 8
    for cause in (*PLANTED, HEALTHY):
        assert cause.verdict in VERDICTS
        replace(TrainSettings("grpo", "x"), **cause.changes)


def test_a_constant_reward_and_two_prompts(task):
    assert set(constant_reward(task).reward(completions=["1", "2+3"], prompts=[""] * 2)) == {0.5}
    few = two_prompts(task).train
    assert len(few) == 40
    assert len(set(few["prompt"])) == 2


def test_a_family_breaks_in_the_middle_of_the_run(task, monkeypatch):
    monkeypatch.setattr(planted, "_BREAKS_AFTER", 2)
    right = {"completions": ["3+4+5", "1+1+1"], "numbers": [[3, 4, 5], [1, 1, 1]], "target": [12, 3]}
    right["family"] = ["target 10 to 24", "target below 10"]
    reward = broken_family(task).reward
    assert [reward(**right) for _ in range(4)] == [[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]


def test_the_table_counts_verdicts_and_trains_only_what_is_missing(tmp_path, monkeypatch):
    trained = []

    def train(self, seed, out):
        trained.append((self.name, seed))
        out.mkdir(parents=True)
        name = "explosion" if self.name == "bonus" and seed == 0 else "collapse" if self.name == "bonus" else "healthy"
        table(out, **CASES[name])

    monkeypatch.setattr(Planted, "train", train)
    monkeypatch.setattr(planted, "PLANTED", (Planted("bonus", "explosion"),))
    found = confusion(tmp_path, [0, 1], [5, 6, 7])
    assert found.counts == {"bonus": {"explosion": 1, "collapse": 1}, "healthy": {"healthy": 3}}
    assert (found.share_right, found.false_alarms) == (0.5, 0.0)
    assert len(trained) == 5
    confusion(tmp_path, [0, 1], [5, 6, 7])
    assert len(trained) == 5
