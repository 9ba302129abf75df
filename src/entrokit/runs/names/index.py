"""One engine's names, so that a name is found without trying them one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .engine_file import EngineFile, Metric
from .forms import Forms, folded, is_statistic, stripped

__all__ = ["Hit", "Index"]

_PIECES = r"[^/]+(?:/[^/]+)*?"
_WIDE = re.compile(r"[^/{]+/\{\w+\}")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Hit:
    """What an engine's file says of a name.

    Attributes:
        metric: its entry; None where the file says that the name is none of ours.
        key: the quantity, with its family or part. place: of the entry in the file.
    """

    metric: Metric | None
    key: str
    place: int

    @property
    def wide(self) -> bool:
        """Whether its entry says little more than one piece of the name, as ``eval/{family}`` does: it tells nothing of
        another engine's log."""
        return self.metric is not None and _WIDE.fullmatch(self.metric.pattern) is not None


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    metric: Metric | None
    place: int

    def hit(self, name: str) -> Hit | None:
        found = self.regex.fullmatch(name)
        if found is None:
            return None
        key = "" if self.metric is None else self.metric.key
        for field, captured in found.groupdict().items():
            if is_statistic(captured, last=found.end(field) == len(name)):
                return None
            key = key.replace(f"{{{field}}}", captured)
        return Hit(self.metric, key, self.place)


class Index:
    """Finds names in one engine's file."""

    def __init__(self, file: EngineFile) -> None:
        self.file = file
        self._exact: dict[str, Hit] = {}
        self._lower: dict[str, Hit] = {}
        self._folded: dict[str, Hit | None] = {}
        self._patterns: dict[str, list[_Pattern]] = {}
        entries: list[tuple[str, Metric | None]] = [(name, None) for name in file.ignored]
        entries += [(metric.pattern, metric) for metric in file.metrics]
        for place, (name, metric) in enumerate(entries):
            if "{" in name:
                self._add_pattern(name, metric, place)
            else:
                self._add_name(name, Hit(metric, "" if metric is None else metric.key, place))
        headless = [_PLACEHOLDER.split(n.lower()) for n, _ in entries if "{" in n.partition("/")[0]]
        self._bounds = {(stripped(pieces[0]), pieces[-1]) for pieces in headless}
        # A console writes `policy_loss` where a tracker is told `train/policy_loss`; the file has the latter.
        for name, hit in list(self._lower.items()):
            self._lower.setdefault(stripped(name), hit)

    def _add_name(self, name: str, hit: Hit) -> None:
        self._exact.setdefault(name, hit)
        self._lower.setdefault(name.lower(), hit)
        short = folded(stripped(name))
        other = self._folded.setdefault(short, hit)
        if other is not None and other.metric is not hit.metric and _said(other) != _said(hit):
            self._folded[short] = None

    def _add_pattern(self, name: str, metric: Metric | None, place: int) -> None:
        written = _PLACEHOLDER.split(name)
        regex = re.escape(written[0])
        for field, text in zip(written[1::2], written[2::2], strict=True):
            regex += (_PIECES if field == "_" else f"(?P<{field}>{_PIECES})") + re.escape(text)
        for start in {name, stripped(name)}:
            body = regex if start == name else regex[len(re.escape(name[: len(name) - len(start)])) :]
            # Patterns lie by their first piece, which most names do not share.
            head = start.partition("/")[0].lower()
            self._patterns.setdefault("" if "{" in head else head, []).append(
                _Pattern(re.compile(body, re.IGNORECASE), metric, place)
            )

    def strict(self, forms: Forms) -> Hit | None:
        """What is said of a name as written, in any case, or without prefixes."""
        for name in forms.strict:
            lower = name.lower()
            hit = self._exact.get(name) or self._lower.get(lower)
            if hit is not None:
                return hit
            for head in (lower.partition("/")[0], ""):
                for pattern in self._patterns.get(head, ()):
                    if (hit := pattern.hit(name)) is not None:
                        return hit
        return None

    def loose(self, forms: Forms) -> Hit | None:
        """What is said of a name whose pieces stand together in another way."""
        return self._folded.get(forms.folded)

    @property
    def has_headless(self) -> bool:
        """Whether there are patterns that `headless` asks for."""
        return bool(self._bounds)

    def headless(self, forms: Forms) -> bool:
        """Whether a pattern that begins with a placeholder, or has one in its first piece, may fit."""
        return any(
            form.startswith(start) and form.endswith(end)
            for start, end in self._bounds
            for form in map(str.lower, forms.strict)
        )

    @property
    def literals(self) -> Iterable[str]:
        """All names without placeholders, in lower case."""
        return self._lower

    @property
    def folded(self) -> Iterable[str]:
        """The same in their folded form."""
        return self._folded

    @property
    def heads(self) -> Iterable[str]:
        """First pieces of the patterns that have one."""
        return (head for head in self._patterns if head)

    def names_of(self, key: str) -> list[str]:
        """Names, or patterns, of a quantity."""
        return [metric.pattern for metric in self.file.metrics if metric.key == key]


def _said(hit: Hit) -> tuple[str, float, float]:
    return (hit.key, 1.0, 0.0) if hit.metric is None else (hit.key, hit.metric.scale, hit.metric.offset)
