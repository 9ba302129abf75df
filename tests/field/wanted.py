"""What must be said of a log: its verdict, words that must fall and words that must not."""

from dataclasses import dataclass
from pathlib import Path

from entrokit.diagnose import Diagnosis


@dataclass(frozen=True)
class Wanted:
    """What a user needs to hear of one input.

    Attributes:
        file: in the folder of inputs. verdict: the one that comes first. engine: whose names they are.
        said: words that must fall. never: words that must not.
        steps: first and last step of what was judged (entropy, else reward, else loss).
        also, not_also: verdicts that must, and must not, be told beside the first.
    """

    file: str
    verdict: str
    engine: str | None = None
    said: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    steps: tuple[float, float] | None = None
    also: tuple[str, ...] = ()
    not_also: tuple[str, ...] = ()


def words(d: Diagnosis) -> str:
    """All that is printed of a diagnosis."""
    lines = [line for f in d.findings for line in (f.cause, *f.evidence, *map(str, f.remedies))]
    return "\n".join([*lines, *(f"{o.run}: {o.verdict}" for o in d.others), *d.notes, *d.missing])


def span(d: Diagnosis) -> tuple[float, float]:
    """First and last step of entropy, else of the reward, else of the loss."""
    series = next(s for key in ("entropy", "reward", "loss") if (s := d.facts.log.get(key)) is not None)
    return float(series.steps[0]), float(series.steps[-1])


def check(d: Diagnosis, wanted: Wanted) -> None:
    """Raises AssertionError where something else was said."""
    text, beside = words(d), [f.verdict for f in d.findings[1:]]
    assert d.verdict == wanted.verdict, text
    assert d.facts.log.engine == wanted.engine
    assert [w for w in wanted.said if w not in text] == [], text
    assert [w for w in wanted.never if w in text] == [], text
    assert [v for v in wanted.also if v not in beside] == [], text
    assert [v for v in wanted.not_also if v in beside] == [], text
    assert wanted.steps is None or span(d) == wanted.steps


def inputs(folder: Path) -> set[str]:
    """Names of the inputs in a folder."""
    return {path.name for path in folder.iterdir()}
