"""What a name in a log means, and whose name it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from ..quantities import QUANTITIES, is_key
from .close import close_to
from .engine_file import EngineFile, parse
from .forms import Forms, forms_of
from .index import Hit, Index
from .tells import engine_of

__all__ = ["Meaning", "Names"]

GENERIC, _USER = "generic", "user"
_CACHED = 400_000
# A rank is the place in a file, behind all places of files that come before it.
_STAGE, _OTHERS, _LOOSE = 10_000, 5, 6


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a name means.

    Attributes:
        key: the quantity (`quantities`). scale, offset: value * scale + offset is in the quantity's unit.
        rank: lower is preferred, where several names of a log are the same quantity.
        engine: whose name it is; ``generic``, or ``user`` where it was named by hand. pattern: the entry that fits.
    """

    key: str
    scale: float
    rank: int
    engine: str
    pattern: str
    offset: float = 0.0

    def of(self, value: float) -> float:
        """A value as it was written, in the quantity's unit."""
        return value * self.scale + self.offset


class Names:
    """The names of all engines. `Names.load()` reads them once."""

    def __init__(self, files: Iterable[EngineFile], user: Mapping[str, str] | None = None) -> None:
        """From files of names, one of them ``generic``, and metrics named by hand, by quantity."""
        self._files = tuple(files)
        self._indices = {file.engine: Index(file) for file in self._files}
        self._user: dict[str, Meaning] = {}
        for key, name in (user or {}).items():
            self._user[name] = self._user[name.lower()] = Meaning(key, 1.0, -1, _USER, name)
        self._chains = {file.engine: self._chain(file) for file in self._files}
        indices = self._indices.values()
        self._literals = frozenset(name for index in indices for name in index.literals)
        self._folded = frozenset(name for index in indices for name in index.folded)
        self._heads = frozenset(head for index in indices for head in index.heads)
        self._headless = [index for index in indices if index.has_headless]
        self._cache: dict[tuple[str, str | None], Meaning | None] = {}
        self._known: dict[str, bool] = {}

    @classmethod
    def load(cls) -> Names:
        """The names that come with entrokit; read once in a process."""
        return _load()

    @property
    def engines(self) -> dict[str, EngineFile]:
        """The files of names, by engine, without ``generic``."""
        return {file.engine: file for file in self._files if file.engine != GENERIC}

    def title(self, engine: str | None) -> str | None:
        """An engine's name for print; None where there is none."""
        return self._indices[engine].file.title if engine in self._indices and engine != GENERIC else None

    def meaning(self, name: str, engine: str | None = None) -> Meaning | None:
        """What a name means in the log of an engine; None for a name that means nothing known.

        What was named by hand counts first, then the engine's own names and those of what it is a fork of, then plain
        names, then those of all other engines where these agree. Names of evaluations are never quantities of
        training, unless the engine's own file says so.
        """
        asked = (name, engine)
        try:
            return self._cache[asked]
        except KeyError:
            pass
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        found = self._cache[asked] = self._look_up(name, engine)
        return found

    def by_hand(self, name: str) -> bool:
        """Whether a name is one of those that were named by hand."""
        meant = self.meaning(name)
        return meant is not None and meant.engine == _USER

    def known(self, name: str) -> bool:
        """Whether a name may mean something in the log of some engine."""
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            forms = forms_of(name)
            known = self._known[name] = self._by_hand(name, forms) is not None or (
                forms is not None
                and self._may_be_known(forms)
                and any(self._look_up(name, engine) for engine in (None, *self._indices))
            )
        return known

    def engine_of(self, written: Iterable[str]) -> str | None:
        """The engine that wrote these names; None where they do not tell."""
        return engine_of(written, self.engines, self._indices)

    def step_names(self, engine: str | None) -> list[str]:
        """Names of the step, best first: the engine's own, then plain ones."""
        own = [s for e in self._chains.get(engine or "", ()) for s in self._indices[e].file.step]
        return list(dict.fromkeys([*own, *self._indices[GENERIC].file.step]))

    def all_step_names(self) -> list[str]:
        """Names of the step of any engine."""
        return list(dict.fromkeys(s for file in self._files for s in file.step))

    def close_to(self, unknown: Iterable[str], quantity: str) -> list[str]:
        """Those of some names that look like a quantity's, the closest first; five at most."""
        known = [name for index in self._indices.values() for name in index.names_of(quantity)]
        return close_to(unknown, quantity, known)

    def with_user(self, names: Mapping[str, str]) -> Names:
        """The same with metrics named by hand: quantity to name as it is written in the log.

        Raises:
            ValueError: a quantity does not exist, a name is empty, or one name is given to two quantities.
        """
        for key, name in names.items():
            if not is_key(key):
                raise ValueError(
                    f"no quantity {key!r}; there are {', '.join(QUANTITIES)}, with .std, .min, .max or .median behind "
                    "them, and reward/<family>, entropy/<family>, validation/<family>, reward.part/<function>"
                )
            if not name.strip():
                raise ValueError(f"{key}: the name of its metric is empty; expected {key}=<name in the log>")
        twice = [name for name in names.values() if list(names.values()).count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]!r} was given to more than one quantity")
        return Names(self._files, names)

    def _chain(self, file: EngineFile) -> tuple[str, ...]:
        return (file.engine, *(base for base in file.fork_of if base in self._indices))

    def _by_hand(self, name: str, forms: Forms | None) -> Meaning | None:
        for form in (name, *(forms.strict if forms is not None else ())) if self._user else ():
            if (named := self._user.get(form) or self._user.get(form.lower())) is not None:
                return named
        return None

    def _look_up(self, name: str, engine: str | None) -> Meaning | None:
        forms = forms_of(name)
        if (named := self._by_hand(name, forms)) is not None or forms is None:
            return named
        if not self._may_be_known(forms):
            return None
        chain = self._chains.get(engine or "", ())
        # A tracker that may not write "/" writes "_" or "."; a name with "/" in it was not changed so.
        for stage, own in enumerate(chain):
            hit = self._indices[own].strict(forms) or (self._indices[own].loose(forms) if forms.flat else None)
            if hit is not None and (hit.metric is None or _allowed(hit, forms, own=True)):
                return _meaning(hit, own, stage)
        hit = self._indices[GENERIC].strict(forms)
        if hit is not None and _allowed(hit, forms):
            return _meaning(hit, GENERIC, len(chain))
        if (found := self._of_others(forms, chain)) is not None:
            return found
        for stage, own in enumerate((*chain, GENERIC)):
            hit = self._indices[own].loose(forms)
            if hit is not None and _allowed(hit, forms):
                return _meaning(hit, own, _LOOSE + stage)
        # The names of files that TensorBoard exports have "_" for "/", and a log of one name tells no engine.
        return self._of_others(forms, chain, loose=True) if forms.flat and engine is None else None

    def _of_others(self, forms: Forms, tried: tuple[str, ...], *, loose: bool = False) -> Meaning | None:
        """What other engines say of a name, where they do not contradict each other."""
        said: list[Meaning] = []
        for other, index in self._indices.items():
            if other in tried or other == GENERIC or index.file.own_only:
                continue
            hit = index.loose(forms) if loose else index.strict(forms)
            if hit is not None and not hit.wide and _allowed(hit, forms):
                said += [meant for meant in (_meaning(hit, other, _OTHERS + 2 * loose),) if meant is not None]
        if len({(m.key, m.scale, m.offset) for m in said}) != 1:
            return None
        return said[0]

    def _may_be_known(self, forms: Forms) -> bool:
        """Whether any file can have a name: most names of a log are in none, and this is told at once."""
        if not self._literals.isdisjoint(form.lower() for form in forms.strict) or forms.folded in self._folded:
            return True
        if not self._heads.isdisjoint(form.partition("/")[0].lower() for form in forms.strict):
            return True
        return any(index.headless(forms) for index in self._headless)


def _allowed(hit: Hit, forms: Forms, *, own: bool = False) -> bool:
    return not forms.held_out or own or hit.metric is None or hit.key.startswith(("validation", "eval_loss"))


def _meaning(hit: Hit, engine: str, stage: int) -> Meaning | None:
    if hit.metric is None:
        return None
    metric = hit.metric
    return Meaning(hit.key, metric.scale, stage * _STAGE + hit.place, engine, metric.pattern, metric.offset)


@lru_cache(maxsize=1)
def _load() -> Names:
    found = sorted(
        (entry for entry in resources.files(__package__).iterdir() if entry.name.endswith(".yaml")),
        key=lambda entry: entry.name,
    )
    return Names(parse(entry.read_text(encoding="utf-8"), entry.name) for entry in found)
