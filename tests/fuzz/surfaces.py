"""Hostile input, drawn from a seed: one function for each surface, which fails where entrokit does what it must not.

Allowed is an answer that is finite, or the documented error. Not allowed: any other exception, NaN out of finite input,
code that runs, a file written outside the folder that was given, markup that was not escaped, minutes for a short text.
A failure is named by its surface and seed, which give the input again.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import string
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import torch
import yaml

from entrokit.diagnose import VERDICTS, diagnose
from entrokit.report.completions import completion as completion_html
from entrokit.report.page import render
from entrokit.rlvr import BASES, INTERVENTIONS, PRESETS, PolicyStats, Recipe, Rollouts, recipe
from entrokit.rlvr.tasks import Task, countdown, instructions, reasoning_gym_task, sums
from entrokit.rlvr.tasks.constraints import CONSTRAINTS
from entrokit.rlvr.tasks.instructions import all_or_nothing
from entrokit.rlvr.tasks.math import reward as math_reward
from entrokit.runs import Run, RunReadError, RunWriter
from entrokit.runs.names import Names

from .shapes import SHAPES

# A process's own, so that one worker's canary is not another's alarm; of one length, so that a seed stays one input.
CANARY = Path(tempfile.gettempdir()) / f"entrokit-fz-{os.getpid():08d}"
# Expressions that would leave the canary behind if anything evaluated them.
TOUCH = [
    f"__import__('pathlib').Path({str(CANARY)!r}).touch()",
    f"open({str(CANARY)!r}, 'w')",
    f"{{{{__import__('os').system('touch {CANARY}')}}}}",
    f"!!python/object/apply:os.system ['touch {CANARY}']",
]
WORDS = [
    *("nan", "inf", "-inf", "1e999", "-1", "0", "1", "0.5", "1e-300", "9" * 40, "None", "True", "[]", "{}", "()", "''"),
    *("\x00", "\u202e", "\ud83d", "\U0001f600", "\ufeff", "\r\n", "\t", "٣", "½", "é", "<b>", "&amp;", "</script>"),
    *("../../x", "/etc/passwd", "..\\..\\x", "CON", "a/b", ".", ""),
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "${jndi:ldap://x}", "%s%n"),
    *TOUCH,
]
SECONDS = 20.0


def text(r: random.Random, longest: int = 40) -> str:
    """A few characters, hostile words among them."""
    alphabet = r.choice([string.printable, string.ascii_letters, "()+-*/=,.0123456789 ", "\x00\x1b\u202e\u2028<>&\"'`"])
    parts = [r.choice(WORDS) if r.random() < 0.3 else r.choice(alphabet) for _ in range(r.randrange(longest))]
    return "".join(parts)


def mutated(r: random.Random, good: str) -> str:
    """A well-formed text with a few pieces cut out, doubled, swapped or replaced."""
    for _ in range(r.randrange(5)):
        i, j = sorted((r.randrange(len(good) + 1), r.randrange(len(good) + 1)))
        kind = r.randrange(4)
        middle = {0: "", 1: good[i:j] * 2, 2: r.choice(WORDS), 3: good[i:j][::-1]}[kind]
        good = good[:i] + middle + good[j:]
    return good


def recipe_string(seed: int) -> None:
    """A recipe string builds a recipe that its own string builds again, or is a `ValueError`; it runs nothing."""
    r = random.Random(seed)
    value = r.choice([text(r, 8), repr(r.uniform(-2, 2)), r.choice(WORDS), repr(text(r, 4)), "(" * r.randrange(3000)])
    parts = [r.choice([*BASES, *PRESETS])]
    for _ in range(r.randrange(4)):
        name = r.choice(list(INTERVENTIONS))
        knobs = list(INTERVENTIONS[name].__dataclass_fields__)
        given = [
            f"{r.choice(knobs)}={r.choice([value, '0.5', 'True', '3', repr('micro')])}" for _ in range(r.randrange(3))
        ]
        parts.append(f"{name}({', '.join(given)})" if given else name)
    spec = r.choice(["+".join(parts), mutated(r, "+".join(parts)), text(r)])
    try:
        built = recipe(spec)
    except ValueError as error:
        assert str(error).strip(), spec
        return
    assert isinstance(built, Recipe)
    again = recipe(str(built))
    assert str(again) == str(built), (spec, str(built))
    assert again.interventions == built.interventions, spec


RECIPES = [
    *BASES,
    *(f"grpo+{name}" for name in INTERVENTIONS if name not in ("siren", "clip-v", "epo", "recap")),
    "grpo+epo(total_steps=9)",
    "dapo+steer(form='exact', scope='micro')",
    "dapo+steer(mapping='linear', form='released')",
    "grpo+clip-v(mu=0.2)",
    "dapo+forking-tokens(rho=0.3)+clip-b(mu=0.2)",
    "dapo+kl-cov(ratio=0.3, scope='micro')+tea",
]


def number(r: random.Random, low: float, high: float) -> float:
    """Between the bounds: mostly ordinary, sometimes at one of them or tiny."""
    return r.choice(
        [r.uniform(low, high), r.uniform(low, high), low, high, 0.0 if low <= 0 <= high else low, low / 1e6]
    )


def rollouts(seed: int) -> None:
    """Rollouts validate themselves; valid ones give finite advantages, losses and gradients under any recipe."""
    r = random.Random(seed)
    torch.manual_seed(seed)
    rows, length = r.randrange(1, 7), r.randrange(0, 7)
    ends = torch.tensor([r.randrange(length + 1) for _ in range(rows)])
    attention = torch.arange(length) < ends[:, None]
    train = attention & (torch.rand(rows, length) < r.choice([1.0, 1.0, 0.5, 0.0]))
    scale = r.choice([1.0, 1.0, 1e3, 1e-6, 1e6])
    reward = torch.tensor([r.choice([0.0, 1.0, scale, -scale, math.nan, r.gauss(0, scale)]) for _ in range(rows)])

    def per_token(low: float, high: float) -> torch.Tensor:
        values = [[number(r, low, high) for _ in range(length)] for _ in range(rows)]
        return torch.tensor(values).reshape(rows, length) * attention

    stats = {
        "logp": per_token(-r.choice([1.0, 40.0, 1e4]), 0.0),
        "entropy": per_token(0.0, r.choice([1e-6, 2.0, 12.0])),
        "collision": per_token(0.0, 1.0),
        "weighted_surprise": per_token(-0.4, 0.0),
    }
    fields = {
        "tokens": torch.randint(0, 9, (rows, length)),
        "real": attention,
        "trained": train,
        "group": torch.tensor([r.randrange(3) for _ in range(rows)]),
        "reward": reward,
        "correct": reward > 0.5,
        "truncated": torch.rand(rows) < 0.5,
        "reference_logp": per_token(-30.0, 0.0),
        "prompt_logp": -torch.rand(rows, 3),
        "prompt_mask": torch.rand(rows, 3) < 0.7,
        "sampler_weight": torch.rand(rows, length),
    }
    broken = r.random() < 0.3
    if broken:
        name = r.choice([*fields, "behaviour"])
        kind = r.randrange(5)
        target = stats["logp"] if name == "behaviour" else fields[name]
        target = {
            0: lambda t: t[:, :-1] if t.dim() == 2 else t[:-1],
            1: lambda t: t.to(r.choice([torch.float64, torch.int32, torch.bool, torch.float16])),
            2: lambda t: t.unsqueeze(0),
            3: lambda t: torch.full(t.shape, r.choice([math.nan, math.inf])),
            4: lambda t: torch.ones(t.shape, dtype=t.dtype),
        }[kind](target)
        if name == "behaviour":
            stats["logp"] = target
        else:
            fields[name] = target
    try:
        own = Rollouts(behaviour=PolicyStats(**stats), **fields)
    except ValueError as error:
        assert broken or not bool(torch.isfinite(stats["logp"]).all()), error
        assert "Rollouts" in str(error), error
        return
    finite = all(bool(torch.isfinite(v).all()) for v in [*stats.values(), own.reference_logp, own.sampler_weight])
    chosen = recipe(r.choice(RECIPES))
    chosen.bind(lambda text: [1, 2])
    current = {
        n: (v + r.choice([0.0, 0.0, 0.1]) * torch.randn(rows, length)).requires_grad_() for n, v in stats.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        advantages = chosen.advantages(own)
        prepared = chosen.prepare_step(own, advantages, chosen.prepare(own, advantages))
        result = chosen.loss(PolicyStats(**current), own, advantages, prepared)
    if not finite:
        return
    assert bool(torch.isfinite(advantages).all()), (str(chosen), "advantages")
    assert not bool(torch.isnan(result.loss)), (str(chosen), "loss")
    for name, metric in result.metrics.items():
        assert not bool(torch.isnan(metric)), (str(chosen), name)
    if bool(torch.isfinite(result.loss)) and result.loss.requires_grad:
        for name, gradient in zip(
            current, torch.autograd.grad(result.loss, list(current.values()), allow_unused=True), strict=True
        ):
            assert gradient is None or not bool(torch.isnan(gradient).any()), (str(chosen), name)


NAMES = [
    *(m.pattern for file in Names.load().engines.values() for m in file.metrics if m.key in ("entropy", "reward")),
    *("entropy", "reward", "accuracy", "truncated", "rollout_entropy", "loss", "kl", "grad_norm"),
    *("step", "data", "prompt", "completion", "output", "input", "response", "choices", "logprobs", "top_logprobs"),
    *(
        "advantage",
        "logp",
        "family",
        "reward/a",
        "finish_reason",
        "content",
        "tokens",
        "uid",
        "recipe",
        "learning_rate",
    ),
]


def value(r: random.Random, depth: int = 0) -> object:
    """Anything that JSON can say, and NaN."""
    kind = r.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return r.choice([None, True, False])
    if kind in (1, 2):
        return r.choice([r.uniform(-2, 2), r.gauss(0, 1e6), math.nan, math.inf, 1e308, -0.0])
    if kind == 3:
        return r.choice([r.randrange(-5, 50), 10**30, -(10**400)])
    if kind in (4, 5):
        return text(r, 6).encode("utf-8", "replace").decode()
    if kind == 6:
        return [value(r, depth + 1) for _ in range(r.randrange(4))]
    return {r.choice(NAMES): value(r, depth + 1) for _ in range(r.randrange(4))}


def lines(r: random.Random) -> bytes:
    """JSON lines of a run, ordinary ones and others, some cut or overwritten."""
    rows: list[dict[str, object]] = [
        {"step": i, "entropy": 0.5 + i / 10, "reward": 1 / (i + 1)} for i in range(r.choice([0, 3, 25]))
    ]
    rows += [{r.choice(NAMES): value(r) for _ in range(r.randrange(6))} for _ in range(r.randrange(6))]
    data = bytearray("".join(json.dumps(row) + "\n" for row in rows).encode())
    for _ in range(r.choice([0, 0, 1, 5])):
        if data:
            data[r.randrange(len(data))] = r.randrange(256)
    return bytes(data[: r.randrange(len(data) + 1)]) if r.random() < 0.2 else bytes(data)


def run_folder(seed: int) -> None:
    """A run is diagnosed and shown, or is a `RunReadError`; nothing is written or run by reading it."""
    r = random.Random(seed)
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        folder = root / "run"
        folder.mkdir()
        config = {r.choice(NAMES): value(r) for _ in range(r.randrange(5))}
        given = (
            yaml.safe_dump(config).encode()
            if r.random() < 0.7
            else mutated(r, yaml.safe_dump(config)).encode("utf-8", "replace")
        )
        given = r.choice(TOUCH).encode() if r.random() < 0.1 else given
        files = {
            "config.yaml": given,
            "metrics.jsonl": lines(r),
            "entropy_account.jsonl": lines(r),
            "trainer_state.json": json.dumps({"log_history": value(r)}).encode() if r.random() < 0.5 else lines(r),
            "run.csv": text(r, 200).encode("utf-8", "replace"),
            "verl.log": f"step:{r.randrange(9)} - actor/entropy:{text(r, 5)} - a:np.float32({r.random()})\n".encode(
                "utf-8", "replace"
            ),
            "1.jsonl": lines(r),
            "events.out.tfevents.1": r.randbytes(r.randrange(60)),
            "step.parquet": b"PAR1" + r.randbytes(r.randrange(60)) + b"PAR1",
        }
        chosen = r.sample(list(files), r.randrange(1, 5))
        for name in chosen:
            (folder / name).write_bytes(files[name])
        before = {f: f.read_bytes() for f in root.rglob("*") if f.is_file()}
        where = folder if r.random() < 0.6 else folder / chosen[0]
        try:
            found = diagnose(where)
            json.loads(found.to_json(), parse_constant=_no_constant)
            assert found.verdict in VERDICTS
        except RunReadError as error:
            assert str(error)
        assert {f: f.read_bytes() for f in root.rglob("*") if f.is_file()} == before, "reading wrote"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _no_constant(name: str) -> object:
    raise AssertionError(f"{name} in JSON")


def verifier(seed: int) -> None:
    """Every verifier gives a number in [0, 1] (or None) for any text, in a moment, and runs nothing."""
    r = random.Random(seed)
    good = r.choice(["(3+4)*2", "12+7=19", "<answer>5</answer>", "word " * 5, "- a\n- b", "\\boxed{4}", '{"a": 1}'])
    said = r.choice([text(r, 60), mutated(r, good), "(" * r.randrange(5000) + good, good * r.randrange(400), "9**9**9"])
    said = r.choice([said, f"{r.choice(['9', '1'])}{'*9' * r.randrange(400)}"])
    completions = [r.choice([said, [{"role": "assistant", "content": said}]])]
    start = time.process_time()  # other people's load is not a verifier's
    scores = {name: reward(completions, **columns)[0] for name, (reward, columns) in VERIFIERS.items()}
    # The slow ones, which are other packages' own and stop themselves after five seconds: one input in 200.
    if seed % 200 == 0:
        scores |= {name: reward(completions, **columns)[0] for name, (reward, columns) in slow_verifiers().items()}
    assert time.process_time() - start < SECONDS, said[:200]
    # Right answers to instructions earn extra credit.
    assert all(s is None or 0.0 <= s <= (3.0 if n == "instructions" else 1.0) for n, s in scores.items()), scores


class _Page(HTMLParser):
    """Tags and attributes of a page, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def report_text(seed: int) -> None:
    """Whatever stands in a run is text on its page: no element, no script, no handler that a run brought with it."""
    r = random.Random(seed)
    tokens = [text(r, 12) for _ in range(r.randrange(6))]
    row = {"tokens": tokens, "entropy": [r.uniform(0, 3) for _ in tokens], "reward": r.choice([None, 0.5, 1e300])}
    page = _Page()
    page.feed(completion_html(row))
    assert set(page.tags) <= {"div", "b", "code", "span"}, page.tags
    assert not page.handlers
    shown = "".join(page.text[1:])
    assert shown.replace("\r\n", "\n").replace("\r", "\n") == "".join(tokens).replace("\r\n", "\n").replace("\r", "\n")
    if seed % 50:
        return
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        config = {"recipe": text(r), "task": text(r), "model": text(r), "seed": text(r, 3)}
        config = {k: v.encode("utf-8", "replace").decode() for k, v in config.items()}
        writer = RunWriter(root / "run", config)
        for step in range(3):
            writer.metrics(step, {"entropy": r.random(), "reward": r.random()})
        html = render([Run.load(root / "run")])
        body = html[html.rindex("</head>") :]
        page = _Page()
        page.feed(body)
        assert not {"img", "iframe", "object", "svg"} & set(page.tags), config
        assert not page.handlers, config
        assert sorted(f.name for f in root.iterdir()) == ["run"]
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _first_row(task: Task) -> tuple[Callable[..., list[float | None]], dict[str, list[object]]]:
    row = task.train[0]
    return task.reward, {name: [value] for name, value in row.items() if name != "prompt"}


VERIFIERS = {
    task.name: _first_row(task)
    for task in (make(train_size=2, eval_size=1) for make in (countdown, sums, instructions))
}
_OPTIONS = {"keyword-count": {"keyword": "a"}, "letter-count": {"letter": "b"}, "titled": {}}
_OPTIONS |= {"starts-with": {"phrase": "("}, "ends-with": {"phrase": "."}}
_EVERY_KIND = [
    {"kind": kind, **_OPTIONS.get(kind, {}), **({"at_least": 1} if kind.endswith("-count") else {})}
    for kind in CONSTRAINTS
]
VERIFIERS["all constraints"] = (all_or_nothing, {"constraints": [_EVERY_KIND]})


@cache
def slow_verifiers() -> dict[str, tuple[Callable[..., list[float | None]], dict[str, list[object]]]]:
    """Those of `math-verify` and `reasoning-gym`."""
    return {
        "math": (math_reward, {"answer": ["4"]}),
        "reasoning-gym": _first_row(reasoning_gym_task("chain_sum", train_size=2, eval_size=1)),
    }


SURFACES: dict[str, Callable[[int], None]] = {
    "recipe strings": recipe_string,
    "rollouts": rollouts,
    "run folders": run_folder,
    "task verifiers": verifier,
    "report text": report_text,
    **SHAPES,
}


def tried(surface: str, seed: int) -> str | None:
    """What went wrong with an input; None if nothing did."""
    try:
        SURFACES[surface](seed)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if CANARY.exists():
        CANARY.unlink()
        return "an input was run as code"
    return None
