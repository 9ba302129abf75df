"""What a comparison of two runs holds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..diagnosis import Diagnosis
from .aligned import Pair

ComparisonVerdict = Literal["apart", "not-apart", "identical", "too-short", "nothing-in-common"]


@dataclass(frozen=True)
class Apart:
    """A metric in which two runs went apart.

    Attributes:
        key: its name in `TrainingLog.series`. step: from which on.
        sigmas: of the stretch that says so most clearly, in standard errors; None where there is no noise at all.
        a, b: means over that stretch. lasting: whether the runs differ at their common end too.
    """

    key: str
    step: float
    sigmas: float | None
    a: float
    b: float
    lasting: bool = True

    def words(self) -> str:
        """``6.2 standard errors: 0.3 against 2.1``."""
        by = "no noise" if self.sigmas is None else f"{self.sigmas:.1f} standard errors"
        return f"{by}: {self.a:.4g} against {self.b:.4g}" + ("" if self.lasting else ", for a while")


@dataclass(frozen=True)
class OneBroken:
    """A metric that turned NaN or infinite in one run first.

    Attributes:
        step, kind: of the first such value (``nan`` or ``inf``). run: whose it is, 0 for ``a`` and 1 for ``b``.
        other: step at which the other run followed; None where it did not.
    """

    key: str
    step: float
    run: int
    kind: str
    other: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side; ``a`` comes first in every pair.

    Attributes:
        names: what the runs are called. verdict: in a word. sentence: what happened, in one.
        apart: in order of onset. broken: what turned NaN or infinite in one run only.
        pairs: both courses of every common series, on common steps. only: series that one run alone has.
        left_out: common series that are not compared, and why. same_until: last step up to which all numbers agree;
            None where they differ from the first one on. configs: settings with different values.
        notes: what bears on the comparison. diagnoses: of either run.
    """

    names: tuple[str, str]
    verdict: ComparisonVerdict
    sentence: str
    apart: tuple[Apart, ...]
    broken: tuple[OneBroken, ...]
    pairs: Mapping[str, Pair]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    left_out: Mapping[str, str]
    same_until: float | None
    configs: Mapping[str, tuple[Any, Any]]
    notes: tuple[str, ...]
    diagnoses: tuple[Diagnosis, Diagnosis]

    @property
    def ends(self) -> dict[str, tuple[float, float]]:
        """Entropy, reward and accuracy of both runs at their common end, where both have them: means over the last
        tenth of the points."""
        found = {}
        for key in ("entropy", "reward", "accuracy"):
            if key in self.pairs:
                pair = self.pairs[key]
                last = max(len(pair) // 10, 1)
                found[key] = float(pair.a[-last:].mean()), float(pair.b[-last:].mean())
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is not finite, or no value of JSON, is written as a text."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "names": list(self.names),
            "apart": [asdict(x) for x in self.apart],
            "broken": [asdict(x) | {"run": self.names[x.run]} for x in self.broken],
            "compared": {k: {"points": len(p), "by": p.how} for k, p in self.pairs.items()},
            "ends": {k: [_plain(v) for v in both] for k, both in self.ends.items()},
            "only": [list(keys) for keys in self.only],
            "left_out": dict(self.left_out),
            "same_until": self.same_until,
            "configs": {k: [_plain(v) for v in both] for k, both in self.configs.items()},
            "notes": list(self.notes),
            "runs": [{"verdict": d.verdict, "cause": d.findings[0].cause} for d in self.diagnoses],
        }

    def to_json(self) -> str:
        """`to_dict` as JSON of ASCII characters only."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=True)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (str, int)) else str(value)
