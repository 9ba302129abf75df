"""One line of each logger, and lines that look like one and are none."""

import math

import pytest

from entrokit.runs.shapes.lines import counts_steps, parse_line


def fields(line):
    row = parse_line(line)
    return None if row is None else dict(row.fields)


@pytest.mark.parametrize(
    ("line", "step", "expected"),
    [
        (
            "\x1b[36m(TaskRunner pid=47)\x1b[0m step:3 - actor/entropy:0.41 - actor/lr:1e-06",
            3,
            {"actor/entropy": 0.41, "actor/lr": 1e-06},
        ),
        ("step:3 - a/b:np.float64(0.5) - c:np.int64(4)", 3, {"a/b": 0.5, "c": 4}),
        ("step:3 - a:tensor(0.5, device='cuda:0') - b:-1.5", 3, {"a": 0.5, "b": -1.5}),
        ("step:3 - val-core/openai/gsm8k/acc/mean@1:0.5 [repeated 2x across cluster]", 3, None),
        ("  2%|▎ | 1/50 [00:10<2:35, 19.00s/it]{'loss': '0.5', 'epoch': 0.3}", None, {"loss": "0.5", "epoch": 0.3}),
        (
            "(R pid=9) [2026-04-15 07:00] data.py:402 - rollout 7: {'rollout/raw_reward': 0.34, 'train/step': 7}",
            7,
            {"rollout/raw_reward": 0.34, "train/step": 7},
        ),
        (
            "✨ Global step 5: {'kl': tensor(0.5, device='cuda:0'), 'reward': np.float64(1.0)}",
            5,
            {"kl": 0.5, "reward": 1},
        ),
        ('INFO {"loss": 0.5, "actor": {"entropy": 0.25, "lr": [1e-6]}}', None, None),
        (
            " [2026-03-03 16:01:36] iteration     7/  624 | elapsed time: 3m 8s | loss: 2.5E-01 | grad norm: 7.5 |",
            7,
            {"elapsed time": "3m 8s", "loss": 0.25, "grad norm": 7.5},
        ),
        (
            "16:01 SUCCESS Step 3 |  12.31s | Loss 0.5 | Entropy 0.25 | Mismatch KL 0.125 | MFU 50.0% | Peak 2.5 GiB",
            3,
            {"Loss": 0.5, "Entropy": 0.25, "Mismatch KL": 0.125, "MFU": 0.5, "Peak": 2.5},
        ),
        ("Step 3 | Time: 12.5s | Reward: 0.5 | Entropy: 0.25", 3, {"Time": 12.5, "Reward": 0.5, "Entropy": 0.25}),
        ("Evaluated aime (Step 3) | Policy v2 | 4.2s | Reward 0.5", 3, {"eval/aime/Reward": 0.5}),
        (
            "Training: 12%|█▏ | 12/100 [00:10<01:20, 19.00s/it, loss=0.5, entropy=0.25]",
            12,
            {"loss": 0.5, "entropy": 0.25},
        ),
        ("Train epoch [1/1]: 12%|█▏ | 12/100 [00:10<01:20, 1.1it/s, loss=0.5]", None, {"loss": 0.5}),
        (
            'level=info msg="step done" step=3 loss=0.5',
            3,
            {"level": "info", "msg": "step done", "step": 3, "loss": 0.5},
        ),
        (
            "Iter 10: Train loss 2.5, Learning Rate 1.000e-05, It/sec 0.5, Peak mem 4.5 GB",
            10,
            {"Train loss": 2.5, "Learning Rate": 1e-05, "It/sec": 0.5, "Peak mem": 4.5},
        ),
        (
            "[titan] - INFO - \x1b[31mstep: 10  \x1b[32mloss:  8.25  memory:  1.50GiB(1.08%)  tps: 1,024  mfu: 50.0%",
            10,
            {"loss": 8.25, "memory": 1.5, "tps": 1024, "mfu": 0.5},
        ),
        ("validate step: 10  loss:  8.25  tps: 1,024", 10, {"validate/loss": 8.25, "validate/tps": 1024}),
        ("Train | Step:  5  loss/mean: 0.5  reward/_mean: 1.25", 5, {"loss/mean": 0.5, "reward/_mean": 1.25}),
        ("INFO:trainer:step 3 reward 0.5 kl 0.25", 3, {"reward": 0.5, "kl": 0.25}),
        ("epoch:1 step:3 loss:0.5 reward:0.25", 3, {"loss": 0.5, "reward": 0.25}),
        ("Step 10/100 - loss: 0.5 - reward: -0.25", 10, {"loss": 0.5, "reward": -0.25}),
        ("Episode 3: reward=0.5, entropy=0.25", 3, {"reward": 0.5, "entropy": 0.25}),
        ("[step 3] loss: 0.5, reward: 0.25", 3, {"loss": 0.5, "reward": 0.25}),
    ],
)
def test_a_line_of_each_logger(line, step, expected):
    row = parse_line(line, 8)
    assert (row.step, row.number) == (step, 8)
    if expected is not None:
        assert row.fields == expected


def test_names_keep_what_belongs_to_them():
    assert fields("step:3 - val-core/openai/gsm8k/acc/mean@1:0.5 [repeated 2x across cluster]") == {
        "val-core/openai/gsm8k/acc/mean@1": 0.5
    }
    assert fields('INFO {"loss": 0.5, "actor": {"entropy": 0.25, "lr": [1e-6]}}') == {
        "loss": 0.5,
        "actor/entropy": 0.25,
        "actor/lr": 1e-6,
    }


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "NaN", "Infinity"])
@pytest.mark.parametrize(
    "line",
    [
        "step:3 - kl:{} - b:1",
        "step:3 - b:1 - kl:np.float64({})",
        "{{'kl': {}, 'b': 1}}",
        "step 3: {{'kl': '{}', 'b': 1}}",
        "iteration 3/ 9 | kl: {} | b: 1 |",
        "Step 3 | kl {} | b 1",
        "step=3, kl={}, b=1",
        "step: 3  kl: {}  b: 1",
    ],
)
def test_what_is_not_finite_is_a_value(line, word):
    found = float(fields(line.format(word))["kl"])
    expected = float(word)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


@pytest.mark.parametrize(
    "line",
    [
        "",
        'GET /x?step=3&loss=4 HTTP/1.1" 200 1234',
        "Micro Step 1/4 | Loss 0.1 | Entropy 0.2",
        "step 3 of 5 completed in 12 seconds",
        "+ python3 -m verl.trainer.main_ppo data.max_response_length=3072 trainer.total_steps=100",
        "(T pid=1) {'actor_rollout_ref': {'actor': {'strategy': 'fsdp'}}, 'trainer': {'n_gpus': 8, 'name': 'x'}}",
        '{"level": "info", "message": "started", "host": "a"}',
        "Filter 12 of the water | pressure high",
        "wandb:  actor/entropy_loss 0.0398",
        "step:3",
        "{" * 50_000,
        "{'a': " * 50_000,
        "[" * 70_000 + "'a'",
        "{'a': [" + "[" * 65_000,
    ],
)
def test_a_line_of_something_else(line):
    assert parse_line(line) is None


def test_a_dict_is_never_evaluated(tmp_path):
    touched = tmp_path / "touched"
    parse_line(f"step 3: {{'loss': __import__('pathlib').Path('{touched}').touch(), 'b': 1.0}}")
    assert not touched.exists()


def test_a_number_that_no_float_holds_is_infinite_rather_than_an_error():
    assert fields("step 3: {'a': " + "9" * 5000 + ", 'b': 1}") == {"a": math.inf, "b": 1}


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("step: 3", True),
        ("Iter 10:", True),
        ("iteration        7/", True),
        ("a step forward", False),
        ("filter=step HTTP", False),
    ],
)
def test_the_cheap_test_for_steps(line, counts):
    assert counts_steps(line) is counts
