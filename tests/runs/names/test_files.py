"""The files of names: that each says what it may say, and that its names tell it from the others."""

import re
from importlib import resources
from pathlib import Path

import pytest

from entrokit.runs.names import EngineFile, Names
from entrokit.runs.names.engine_file import parse
from entrokit.runs.quantities import QUANTITIES, is_key

ENGINES = sorted(Names.load().engines)
EXPECTED = (
    "areal cleanrl easyr1 entrokit-trl llamafactory mlx-lm ms-swift nemo-rl open-instruct openrlhf prime-rl rllm roll "
    "skyrl slime stable-baselines3 tinker-cookbook torchtitan trl unsloth verl"
)
SOURCE = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+/blob/(?:[0-9a-f]{40}|v[\d.]+)/\S+\.py|src/entrokit/\S+\.py")


def file_of(engine: str) -> EngineFile:
    return Names.load().engines[engine]


def written(engine: str) -> list[str]:
    """All names of an engine as a log would have them."""
    return [re.sub(r"\{\w+\}", "maths", metric.pattern) for metric in file_of(engine).metrics]


def test_every_engine_that_is_promised_has_a_file() -> None:
    assert EXPECTED.split() == ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_names_version_sources_and_steps(engine: str) -> None:
    file = file_of(engine)
    assert file.version
    assert file.step
    assert file.known_by
    assert file.sources
    assert all(SOURCE.fullmatch(source) for source in file.sources)
    assert set(file.fork_of) <= set(ENGINES)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_name_is_found_with_the_quantity_that_stands_there(engine: str) -> None:
    for metric, name in zip(file_of(engine).metrics, written(engine), strict=True):
        key = re.sub(r"\{\w+\}", "maths", metric.key)
        assert is_key(key)
        found = Names.load().meaning(name, engine)
        assert found is not None, name
        assert (found.key, found.engine, found.scale, found.offset) == (key, engine, metric.scale, metric.offset), name


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_ignored_is_no_metric(engine: str) -> None:
    for name in file_of(engine).ignored:
        assert name not in {metric.pattern for metric in file_of(engine).metrics}
        assert Names.load().meaning(name.replace("{_}", "8"), engine) is None


@pytest.mark.parametrize("engine", ENGINES)
def test_its_names_tell_the_engine(engine: str) -> None:
    names = Names.load()
    # LLaMA-Factory is told by its step alone: all its metrics are plain names.
    everything = [*written(engine), *(name for together in file_of(engine).known_by for name in together)]
    if engine == "trl":
        # No version of TRL has the length under both of its names; Unsloth does.
        everything = [name for name in everything if name != "completion_length"]
    assert names.engine_of(everything) == engine
    assert names.engine_of([f"my-run - {name}" for name in everything]) == engine
    for together in file_of(engine).known_by:
        told = names.engine_of(together)
        assert told is not None
        assert told == engine or engine in file_of(told).fork_of


@pytest.mark.parametrize("engine", ["trl", "verl", "openrlhf", "prime-rl", "slime", "nemo-rl", "skyrl", "areal"])
def test_without_a_name_of_its_own_the_share_tells_or_nothing_does(engine: str) -> None:
    own = {name for together in file_of(engine).known_by for name in together}
    assert Names.load().engine_of([n for n in written(engine) if n not in own]) in (engine, None)


def test_a_source_that_was_not_checked_says_so() -> None:
    for entry in resources.files("entrokit.runs.names").iterdir():
        if entry.name.endswith(".yaml"):
            marks = [line for line in entry.read_text("utf-8").splitlines() if "recalled" in line]
            assert all(line.endswith("# recalled, not checked") for line in marks), entry.name


def test_entropy_is_negative_in_stable_baselines_alone() -> None:
    names = Names.load()
    meant = names.meaning("train/entropy_loss", "stable-baselines3")
    assert meant is not None
    assert meant.of(-1.2) == 1.2
    for engine in ("openrlhf", "slime", None):
        other = names.meaning("train/entropy_loss", engine)
        assert other is not None
        assert (other.key, other.scale) == ("entropy", 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "expected a mapping"),
        ("a: [", "no YAML"),
        ("engine: x\nmetrics: {}", "metrics: expected"),
        ("engine: X\nmetrics: {a: entropy}", "lower case"),
        ("engine: x\nmetrics: {a: entropie}", "no quantity 'entropie'"),
        ("engine: x\nmetrics: {a: {quantity: entropy, scale: much}}", "are numbers"),
        ("engine: x\nmetrics: {a: {quantity: entropy, scale: 0}}", "not 0"),
        ("engine: x\nmetrics: {a: {quantity: entropy, factor: 2}}", "unknown fields"),
        ("engine: x\nmetrics: {'a/{family}': entropy}", "same {family}"),
        ("engine: x\nmetrics: {'a/{thing}': 'entropy/{thing}'}", "same {family}"),
        ("engine: x\nsource: []\nmetrics: {a: entropy}", "unknown fields"),
        ("engine: x\nstep: step\nmetrics: {a: entropy}", "step: expected a list"),
    ],
)
def test_a_bad_file_says_what_is_wrong_and_where(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        parse(text, "x.yaml")
    assert "x.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("entropy", True),
        ("length.max", True),
        ("clip_share.low", True),
        ("sampler_logp_gap.max", True),
        ("reward/maths", True),
        ("validation/openai/gsm8k", True),
        ("reward.part/format", True),
        ("reward/", False),
        ("reward.part/", False),
        ("length/maths", False),
        ("reward.p10", False),
        ("std", False),
        (".max", False),
        ("", False),
    ],
)
def test_keys(key: str, right: bool) -> None:
    assert is_key(key) is right


def test_every_quantity_has_a_unit_and_a_sentence() -> None:
    assert all(q.unit and q.about.endswith(".") for q in QUANTITIES.values())


def test_the_page_lists_what_was_read() -> None:
    page = (Path(__file__).parents[3] / "docs" / "names.md").read_text("utf-8")
    folder = resources.files("entrokit.runs.names")
    for engine, file in Names.load().engines.items():
        recalled = (folder / f"{engine}.yaml").read_text("utf-8").count("# recalled, not checked")
        counts = f"{len(file.sources)} | {recalled} |" if recalled else f"{len(file.sources)} | |"
        row = rf"\| {re.escape(file.title)} \| `{re.escape(engine)}` \| [^|]+ \| {re.escape(counts)}"
        assert re.search(row, page), f"{engine}: {len(file.sources)} sources, {recalled} recalled"
