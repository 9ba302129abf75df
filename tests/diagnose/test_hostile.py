"""Whatever stands in a run's files: a diagnosis, or the documented error; never another exception, never bad JSON."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from entrokit.cli.diagnosis import shown
from entrokit.diagnose import VERDICTS, diagnose
from entrokit.runs import RunReadError
from entrokit.runs.names import Names

NAMES = [
    *(m.pattern for file in Names.load().engines.values() for m in file.metrics if m.key in ("entropy", "reward")),
    *("entropy", "reward", "accuracy", "truncated", "rollout_entropy", "loss", "kl", "grad_norm"),
    *("step", "data", "prompt", "completion", "output", "input", "response", "choices", "outputs", "logprobs"),
    *("advantage", "logp", "rollout_log_probs", "family", "reward/a", "entropy/b", "finish_reason", "message"),
    *("token_ids", "content", "top_logprobs", "logprob", "tokens", "token_logprobs", "vocab_size", "uid"),
    *("recipe", "learning_rate", "top_p", "max_completion_length"),
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**30), 10**30) | st.text(max_size=6) | st.just("length"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8), max_size=12)


def verdict_of(path):
    """The verdict, once the diagnosis has been through JSON and the terminal; None where the file was refused."""
    try:
        d = diagnose(path)
    except RunReadError:
        return None
    shown(d)
    return json.loads(d.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))["verdict"]


@given(ROWS)
@settings(max_examples=100)
def test_any_json_lines(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("rows") / "r.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert verdict_of(file) in (None, *VERDICTS)


@given(ROWS, st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
@settings(max_examples=60)
def test_any_run_of_our_own(tmp_path_factory, rows, config):
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    ordinary = [{"step": i, "entropy": 0.5 + i / 10, "reward": 1 / (i + 1)} for i in range(25)]
    lines = "".join(json.dumps(row) + "\n" for row in [*ordinary, *rows])
    (folder / "metrics.jsonl").write_text(lines, encoding="utf-8")
    (folder / "entropy_account.jsonl").write_text(lines, encoding="utf-8")
    assert verdict_of(folder) in VERDICTS
