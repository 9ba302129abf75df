"""Every format, from a tiny example of it, and what is done with examples that are damaged or hostile."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrokit.runs import RunReadError, RunWriter, Series, read_log, read_logs
from entrokit.runs.readers.completions import completions_of
from entrokit.runs.readers.top_k import entropy_bounds
from entrokit.runs.shapes import text as texts

from .cases import CHAT, columns, jsonl, write

CSV = "step,reward,entropy\n0,0.1,0.9\n4,0.2,0.8\n8,0.4,0.5\n"
VERL_METRICS = [
    {"step": 1, "data": {"actor/entropy": 1.5, "critic/score/mean": 0.25, "response_length/clip_ratio": 0.0}},
    {"step": 2, "data": {"actor/entropy": 1.25, "critic/score/mean": 0.5, "response_length/clip_ratio": 0.125}},
]
VERL_CONSOLE = (
    "(TaskRunner pid=77) Training Progress:   0%|\n"
    "(TaskRunner pid=77) step:1 - actor/pg_loss:0.125 - actor/entropy:np.float32(1.5) - critic/score/mean:0.25\n"
    "\x1b[36m(TaskRunner pid=77)\x1b[0m step:2 - actor/entropy:1.25e+00 - critic/score/mean:np.float64(0.5)\n"
)
VERL_ROLLOUT = {"input": "1+1=", "output": "2", "gts": "2", "score": 1.0, "step": 1, "uid": "ab12_0_0"}


def values(log, name):
    series = log.get(name)
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def test_a_plain_table(tmp_path):
    for name, text in (("a.csv", CSV), ("b.tsv", CSV.replace(",", "\t")), ("c.csv", "\ufeff" + CSV.replace(",", ";"))):
        log = read_log(write(tmp_path / name, text))
        assert log.source == "table"
        assert values(log, "entropy") == [(0.0, 0.9), (4.0, 0.8), (8.0, 0.5)]
        assert values(log, "reward")[-1] == (8.0, 0.4)
        assert log.notes.lines() == []


def test_a_table_keeps_what_it_can(tmp_path):
    text = "step,reward,entropy,comment\n0,0.1,0.9,fine\n1,oops,0.8,\n2,0.3\n3,nan,0.7,x,y\n4,0.4,inf,\n"
    log = read_log(write(tmp_path / "t.csv", text))
    assert values(log, "reward") == [(0.0, 0.1), (2.0, 0.3), (4.0, 0.4)]
    assert values(log, "entropy") == [(0.0, 0.9), (1.0, 0.8), (3.0, 0.7)]
    notes = "\n".join(log.notes.lines())
    assert "'reward' holds something that is no number: 'oops' (t.csv:3)" in notes
    assert "comment" not in notes
    assert "a row has 2 cells under 4 columns (t.csv, row 4)" in notes


def test_without_steps_rows_are_counted(tmp_path):
    assert values(read_log(write(tmp_path / "t.csv", "entropy\n0.5\n0.4\n")), "entropy") == [(0.0, 0.5), (1.0, 0.4)]


def test_metrics_in_jsonl_and_their_aliases(tmp_path):
    rows = [{"global_step": 3, "actor/entropy": 0.5, "entropy": 0.4, "pass@1": 0.1}, {"global_step": 4, "entropy": 0.3}]
    log = read_log(jsonl(tmp_path / "m.jsonl", rows))
    assert values(log, "entropy") == [(3.0, 0.4), (4.0, 0.3)]
    assert values(log, "accuracy") == [(3.0, 0.1)]


def test_verl_writes_three_things(tmp_path):
    for log in (
        read_log(jsonl(tmp_path / "exp.jsonl", VERL_METRICS)),
        read_log(write(tmp_path / "run.log", VERL_CONSOLE)),
    ):
        assert values(log, "entropy") == [(1.0, 1.5), (2.0, 1.25)]
        assert values(log, "reward") == [(1.0, 0.25), (2.0, 0.5)]
    dumps = tmp_path / "rollouts"
    dumps.mkdir()
    for step in (10, 2):
        jsonl(dumps / f"{step}.jsonl", [VERL_ROLLOUT | {"step": step, "data_source": "gsm8k"}] * 2)
    log = read_log(dumps)
    found = list(log.completions())
    assert log.source == "verl rollouts"
    assert [(c.step, c.prompt, c.text, c.reward, c.family) for c in found[::2]] == [
        (2.0, "1+1=", "2", 1.0, "gsm8k"),
        (10.0, "1+1=", "2", 1.0, "gsm8k"),
    ]
    assert len(list(log.completions())) == 4


def test_a_run_of_our_own(tmp_path):
    w = RunWriter(tmp_path / "run", {"recipe": "grpo"})
    w.metrics(4, {"entropy": 0.5, "reward": 0.25, "truncated": 0.5, "reward/easy": 0.75})
    w.metrics(4, {"eval_entropy": 9.0})
    w.rollouts(4, columns() | {"family": ["easy", None], "reward": [1.0, None]})
    log = read_log(tmp_path / "run")
    assert (log.source, log.config) == ("entrokit run", {"recipe": "grpo"})
    assert values(log, "entropy") == [(4.0, 0.5)]
    assert values(log, "reward/easy") == [(4.0, 0.75)]
    first, second = log.completions()
    assert (first.family, first.reward, first.truncated) == ("easy", 1.0, False)
    assert (second.family, second.reward, second.step) == (None, None, 4.0)
    np.testing.assert_allclose(first.entropy, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(second.logp, [-0.1, -0.2, -0.3])


def test_a_trl_run(tmp_path):
    pd = pytest.importorskip("pandas")
    history = [{"step": 1, "loss": 0.1, "entropy": 0.9, "reward": 0.2, "completions/clipped_ratio": 0.5}]
    history += [{"step": 2, "eval_entropy": 3.0}, {"step": 2, "train_runtime": 1.0}, {"step": 2, "entropy": 0.8}]
    (tmp_path / "checkpoint-2").mkdir()
    write(tmp_path / "checkpoint-2" / "trainer_state.json", json.dumps({"log_history": history}))
    (tmp_path / "completions").mkdir()
    table = {"step": [2, 2], "prompt": ["p", "q"], "completion": ["c", "d"], "accuracy_reward": [1.0, 0.0]}
    table |= {"format_reward": [0.5, math.nan], "advantage": [0.7, -0.7]}
    pd.DataFrame(table).to_parquet(tmp_path / "completions" / "completions_00002.parquet")
    log = read_log(tmp_path)
    assert log.source == "TRL run and completions in parquet"
    assert values(log, "entropy") == [(1.0, 0.9), (2.0, 0.8)]
    assert values(log, "truncated") == [(1.0, 0.5)]
    assert [(c.step, c.reward, c.advantage) for c in log.completions()] == [(2.0, 1.5, 0.7), (2.0, 0.0, -0.7)]


def test_tensorboard_files(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "runs") as writer:
        for step in range(3):
            writer.add_scalar("train/entropy", 1.0 - step / 4, step)
            writer.add_scalar("train/reward", step / 8, step)
            writer.add_text("note", "<b>", step)
    log = read_log(tmp_path)
    assert log.source == "TensorBoard's event files"
    assert values(log, "entropy") == [(0.0, 1.0), (1.0, 0.75), (2.0, 0.5)]
    file = next((tmp_path / "runs").iterdir())
    file.write_bytes(file.read_bytes()[:-40])
    assert len(read_log(file).get("entropy")) >= 2


def test_a_truncated_top_k_is_a_bound(tmp_path):
    log = read_log(jsonl(tmp_path / "vllm.jsonl", [CHAT | {"step": 7, "prompt": "6*7=", "reward": 1.0}]))
    (c,) = log.completions()
    assert (c.step, c.prompt, c.text, c.reward, c.truncated) == (7.0, "6*7=", "4 2", 1.0, True)
    np.testing.assert_allclose(c.sampler_logp, [-0.1, -4.0])
    assert c.entropy is None
    assert c.entropy_bounds.shape == (2, 2)
    assert (c.entropy_bounds[:, 0] < c.entropy_bounds[:, 1]).all()
    old = {"choices": [{"text": "ab", "logprobs": {"tokens": ["a", "b"], "token_logprobs": [None, -0.5]}}]}
    old["choices"][0]["logprobs"]["top_logprobs"] = [None, {"b": -0.5, "c": -1.5}]
    (c,) = completions_of(old)
    assert c.entropy_bounds.shape == (1, 2)


def test_vllm_s_own_objects():
    places = [
        {"7": {"logprob": -0.1, "rank": 1, "decoded_token": "a"}, "9": {"logprob": -3.0, "rank": 2}},
        {"1": {"logprob": -0.3, "rank": 1}, "2": {"logprob": -2.0, "rank": 2}, "5": {"logprob": -6.0, "rank": 40}},
    ]
    output = {"text": "ab", "token_ids": [7, 5], "logprobs": places, "finish_reason": "stop"}
    (c,) = completions_of({"prompt": "p", "step": 3, "outputs": [output]})
    np.testing.assert_allclose(c.sampler_logp, [-0.1, -6.0])
    assert (c.prompt, c.text, c.truncated) == ("p", "ab", False)
    # The least likely token of the first place may be the k-th or the sampled one: either way the bound holds.
    np.testing.assert_allclose(c.entropy_bounds[0], entropy_bounds([-0.1, -3.0]))
    np.testing.assert_allclose(c.entropy_bounds[1], entropy_bounds([-0.3, -2.0], beside=-6.0))


@given(st.lists(st.floats(-8, 8), min_size=2, max_size=40), st.integers(1, 40))
def test_bounds_hold_the_entropy(logits, k):
    z = np.array(logits)
    logp = z - np.log(np.exp(z).sum())
    entropy = -(np.exp(logp) * logp).sum()
    ordered = np.sort(logp)[::-1]
    low, high = entropy_bounds(ordered[: min(k, len(z))], vocabulary=len(z))
    assert low - 1e-9 <= entropy <= high + 1e-9
    if k >= len(z):
        assert high - low < 1e-6
    if k + 1 < len(z):
        again = entropy_bounds(ordered[:k], vocabulary=len(z), beside=ordered[-1])
        assert low - 1e-9 <= again[0] <= entropy + 1e-9
        assert entropy - 1e-9 <= again[1] <= high + 1e-9


def test_bounds_of_a_case_by_hand():
    # 0.5 and 0.3 are known; 0.2 is left, at most 0.3 a token: all on one token, or spread over two of four.
    seen = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3))
    low, high = entropy_bounds(np.log([0.5, 0.3]), vocabulary=4)
    assert low == pytest.approx(seen - 0.2 * math.log(0.2))
    assert high == pytest.approx(seen - 0.2 * math.log(0.1))
    assert entropy_bounds([0.0], vocabulary=9) == (0.0, 0.0)
    for bad in ([], [0.5], [math.nan], [-1.0] * 5):
        with pytest.raises(ValueError, match="entropy_bounds: needs 1 to 4 log-probabilities"):
            entropy_bounds(bad, vocabulary=4)


def test_damaged_files_give_what_is_whole(tmp_path):
    text = json.dumps({"step": 1, "entropy": 0.5}) + "\n[1]\n\n{broken\n" + '{"step": 2, "entropy": 0.25'
    log = read_log(write(tmp_path / "m.jsonl", text))
    assert values(log, "entropy") == [(1.0, 0.5)]
    assert any("is not JSON (cut off while it was written?)" in n and "and 1 more" in n for n in log.notes.lines())
    assert any("a JSON list, not an object" in n for n in log.notes.lines())
    (tmp_path / "n.csv").write_bytes(b"step,entropy,\xff\xfe\n0,0.5,\xe9\n")
    log = read_log(tmp_path / "n.csv")
    assert values(log, "entropy") == [(0.0, 0.5)]
    assert any("not UTF-8 and was read as cp1252 (n.csv:1, and 1 more)" in n for n in log.notes.lines())
    run = tmp_path / "run"
    w = RunWriter(run, {"recipe": "grpo"})
    w.metrics(1, {"entropy": 0.5})
    w.rollouts(1, columns())
    (run / "rollouts" / "step-000002.parquet").write_bytes(b"PAR1 no")
    log = read_log(run)
    assert len(list(log.completions())) == 2
    assert any("a parquet file cannot be read" in n and "step-000002" in n for n in log.notes.lines())


def test_what_is_nothing_is_said(tmp_path):
    with pytest.raises(RunReadError, match="does not exist"):
        read_log(tmp_path / "no")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunReadError, match="no run was found in it. Readable are the logs"):
        read_log(tmp_path / "empty")
    with pytest.raises(RunReadError, match=r"e\.csv: no run was found in it. it holds no text .* empty"):
        read_log(write(tmp_path / "e.csv", "\n\n"))
    with pytest.raises(RunReadError, match=r"Names of metrics that were found: my_entr, x.* --name entropy=my_entr"):
        read_log(write(tmp_path / "f.csv", "my_entr,x\n1,2\n"))
    with pytest.raises(RunReadError, match="no run was found in it.* it cannot be read: JSONDecodeError"):
        read_log(write(tmp_path / "trainer_state.json", '{"log_history": ['))
    with pytest.raises(RunReadError, match="Names of metrics that were found: a/b"):
        read_log(write(tmp_path / "g.jsonl", '{"a": {"b": 1}}\n'))
    for name in "ba":
        RunWriter(tmp_path / "several" / name, {"recipe": "grpo"})
    assert [log.run for log in read_logs(tmp_path / "several")] == ["a", "b"]
    for i in range(25):
        RunWriter(tmp_path / "many" / str(i), {"recipe": "grpo"})
    with pytest.raises(RunReadError, match="25 folders below it look like runs; name"):
        read_log(tmp_path / "many")
    write(tmp_path / "config.yaml", "[1, 2]")
    with pytest.raises(RunReadError, match="expected a mapping, got list"):
        read_log(tmp_path)


def test_an_endless_line_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "LONGEST_LINE", 64)
    monkeypatch.setattr(texts, "_BLOCK", 16)
    rows = json.dumps({"step": 1, "entropy": 0.5, "x": "y" * 500}) + "\n" + json.dumps({"step": 2, "entropy": 0.25})
    log = read_log(write(tmp_path / "m.jsonl", rows + "\n"))
    assert values(log, "entropy") == [(2.0, 0.25)]
    assert any("a line is longer than" in n for n in log.notes.lines())


def test_hostile_lines_cost_neither_time_nor_memory(tmp_path):
    """Notes are bounded, and a console line is read in time that grows with its length."""
    rows = [{"step": i, "choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-1.0],
             "top_logprobs": [{"a": 1.0 + i}]}}]} for i in range(200)]  # fmt: skip
    log = read_log(jsonl(tmp_path / "r.jsonl", [VERL_ROLLOUT, *rows]))
    assert len(list(log.completions())) == 1
    assert len(log.notes.lines()) <= 41
    write(tmp_path / "c.log", "step:1 - actor/entropy:0.5" + " - a" * 300_000 + "\n")
    assert values(read_log(tmp_path / "c.log"), "entropy") == [(1.0, 0.5)]


def test_an_event_file_is_read_without_its_neighbours(tmp_path):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    from torch.utils.tensorboard import SummaryWriter

    for name, value in (("a", 1.0), ("b", 2.0)):
        with SummaryWriter(tmp_path / name) as writer:
            writer.add_scalar("entropy", value, 0)
    file = next((tmp_path / "b").iterdir()).rename(tmp_path / "a" / "z.tfevents.1")
    assert values(read_log(file), "entropy") == [(0.0, 2.0)]


def test_two_files_of_the_same_metrics_are_not_mixed(tmp_path):
    write(tmp_path / "a.csv", CSV)
    write(tmp_path / "b.csv", "step,entropy\n100,7.0\n")
    first, second = read_logs(tmp_path)
    assert len(first.get("entropy")) == 3
    assert values(second, "entropy") == [(100.0, 7.0)]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("bytes")
    for name in ("x.csv", "x.jsonl", "x.log", "trainer_state.json", "1.jsonl", "x.parquet"):
        (folder / name).write_bytes(data)
        try:
            log = read_log(folder / name)
            list(log.completions())
        except RunReadError:
            continue
        assert all(np.isfinite(s.values).all() for s in log.series.values())


@given(st.lists(st.tuples(st.floats(allow_nan=True, allow_infinity=True), st.floats()), max_size=20))
def test_series_are_ordered_and_finite(points):
    series = Series.of(points)
    assert (np.diff(series.steps) > 0).all()
    assert np.isfinite(series.values).all()
