"""verl's `main_ppo` on a Ray cluster of its own, with vLLM's server, FSDP2, the agent loop and TransferQueue.

Starting takes most of a run's time, so that two runs carry all tests here: verl's own loss, and `entrokit-steer`.
"""

import json
import tempfile

import pytest

from entrokit.diagnose import diagnose
from entrokit.runs import read_log

from ..processes import checkout_path
from . import verl_by_hand as by_hand
from . import verl_run as v
from .ray_cluster import cluster

STEER = "grpo+steer"
# As few as a verdict needs.
STEERED = 10
UPDATES = v.PROMPTS // v.MINI


@pytest.fixture(scope="module")
def plain(verl_cluster, verl_made, verl_runs):
    """verl as it is: three steps, validation before and after them, a checkpoint at the end."""
    return v.Run(
        verl_cluster,
        verl_made,
        verl_runs / "plain",
        "trainer.n_gpus_per_node=1",
        "trainer.total_training_steps=3",
        "trainer.val_before_train=True",
        "trainer.test_freq=3",
        "trainer.save_freq=3",
        f"trainer.validation_data_dir={verl_runs}/plain/validation",
        record=verl_runs / "plain-seen",
    ).finished()


@pytest.fixture(scope="module")
def steered(verl_cluster, verl_made, verl_runs):
    """One method by name, for as long as a diagnosis needs; what `watch` says of it half-way."""
    run = v.Run(
        verl_cluster,
        verl_made,
        verl_runs / "steered",
        f"{v.LOSS}.loss_mode=entrokit-steer",
        "trainer.n_gpus_per_node=1",
        f"trainer.total_training_steps={STEERED}",
        "trainer.val_before_train=False",
        record=verl_runs / "steered-seen",
    )
    run.until(lambda: 4 in run.steps())
    run.watched = v.entrokit("watch", "--once", str(run.folder))
    return run.finished()


@pytest.mark.quick
def test_verls_own_loss_is_left_alone(plain, verl_made, verl_runs, record_property):
    """Ray, one rank: three steps of verl's own loss through our worker, with a checkpoint"""
    batches = v.recorded(verl_runs / "plain-seen")
    assert len(batches) == 3
    assert all(batch[0]["state"] is None for batch in batches)
    hands = by_hand.applied(batches, lambda batch: by_hand.upon_verls("grpo", batch), verl_made, 3 * UPDATES)
    record_property("apart", by_hand.agree(plain.steps(), 1, batches, hands))
    saved = plain.folder / "checkpoints" / "global_step_3" / "actor"
    assert (saved / "model_world_size_1_rank_0.pt").exists()
    assert not list(saved.glob("entrokit*"))


@pytest.mark.quick
def test_validation_stands_in_the_log(plain):
    """the same run: validation before the first step and after the last one"""
    rows = plain.steps()
    assert sorted(rows) == [0, 1, 2, 3]
    assert [step for step, row in rows.items() if "val-core/live/acc/mean@1" in row] == [0, 3]
    assert sorted(p.name for p in (plain.folder / "validation").iterdir()) == ["0.jsonl", "3.jsonl"]


@pytest.mark.quick
def test_three_steps_are_too_few_for_a_verdict(plain):
    """`entrokit diagnose` on its folder, rollouts and validation in folders beside the logs"""
    found = diagnose(plain.folder)
    assert (found.verdict, found.others) == ("insufficient-data", ())
    assert "3 points of entropy" in found.findings[0].evidence[0]


def test_a_method_by_name_is_the_method_by_hand(steered, verl_made, verl_runs, record_property):
    """Ray, one rank: ten steps of one method by name, upon verl's clip and advantages"""
    batches = v.recorded(verl_runs / "steered-seen")
    assert len(batches) == STEERED
    hands = by_hand.applied(batches, lambda batch: by_hand.upon_verls(STEER, batch), verl_made, STEERED * UPDATES)
    record_property("recipes", ["entrokit-steer"])
    record_property("apart", by_hand.agree(steered.steps(), 1, batches, hands))
    rows = steered.steps()
    for step, hand in enumerate(hands, 1):
        means = by_hand.means_over_steps(hand)
        for name in ("steer/weight_mean", "steer/entropy_change"):
            assert rows[step][f"actor/{name}"] == pytest.approx(means[name], abs=by_hand.TIGHT), (step, name)
    assert min(row["actor/steer/weight_mean"] for row in rows.values()) < 0.99


def test_what_verl_leaves_is_one_run_and_is_judged(steered):
    """`entrokit diagnose`: console, file log and rollouts are one run, and judged"""
    log = read_log(steered.folder)
    rows = steered.steps()
    assert log.get("entropy").values.tolist() == [rows[step]["actor/entropy"] for step in range(1, STEERED + 1)]
    completions = list(log.completions())
    assert len(completions) == STEERED * v.PROMPTS * v.GROUP
    assert {c.step for c in completions} == set(range(1, STEERED + 1))
    found = v.entrokit("diagnose", "--json", str(steered.folder))
    judged = json.loads(found.stdout)
    assert (judged["verdict"], judged["others"]) == ("truncation", [])
    assert "several" not in found.stdout + found.stderr
    assert "data.max_response_length" in json.dumps(judged["remedies"])


def test_watch_follows_a_run_that_is_being_written(steered):
    """`entrokit watch` in the middle of the run, and at its end"""
    assert steered.watched.returncode == 0, steered.watched.stderr
    assert "insufficient-data" in steered.watched.stdout
    assert "truncation" in v.entrokit("watch", "--once", str(steered.folder)).stdout


def test_a_port_that_is_taken_is_named_and_whoever_has_it_is_left_alone(verl_cluster):
    """a busy port of Ray's is named, and the cluster there left alone"""
    port = int(verl_cluster.address.rpartition(":")[2])
    with (
        pytest.raises(RuntimeError, match=rf"port {port} of 127.0.0.1 is taken.*give another port"),
        cluster({}, port=port),
    ):
        pass
    assert verl_cluster.head.poll() is None


def test_a_folder_too_deep_for_rays_sockets_is_named(tmp_path, monkeypatch):
    """a temporary folder with a long name is refused before Ray is started"""
    deep = tmp_path / ("d" * 40)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(RuntimeError, match=r"d/ray-.*set TMPDIR to a shorter folder"), cluster({}):
        pass
    assert list(deep.iterdir()) == []


def test_doctor_asks_a_cluster_for_the_plug_in(verl_cluster):
    """`entrokit doctor --ray`, also where the workers are told to load no plug-ins"""
    said = v.entrokit("doctor", "--ray", verl_cluster.address, environment=verl_cluster.environment)
    assert said.returncode == 0, said.stdout + said.stderr
    with cluster({**v.ENVIRONMENT, "PYTHONPATH": checkout_path(), "VERL_USE_EXTERNAL_PLUGINS": "none"}) as other:
        said = v.entrokit("doctor", "--ray", other.address, environment=other.environment)
    assert said.returncode == 1
    assert "VERL_USE_EXTERNAL_PLUGINS" in said.stdout
