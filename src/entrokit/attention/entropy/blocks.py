"""Functions that are meant for `with`, and say so to whoever uses them without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import TracebackType
from typing import Generic, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Block(Generic[T]):
    """A context manager of one use; of anything else that is asked of it the error shows the `with`."""

    def __init__(self, inner: AbstractContextManager[T], use: str) -> None:
        self._inner, self._use = inner, use

    def __enter__(self) -> T:
        return self._inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._inner.__exit__(kind, error, trace)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"no {name} before the block is entered: {self._use}")


def with_block(use: str) -> Callable[[Callable[P, Iterator[T]]], Callable[P, Block[T]]]:
    """`contextlib.contextmanager`, whose result without `with` answers by ``use``."""

    def decorate(function: Callable[P, Iterator[T]]) -> Callable[P, Block[T]]:
        manager = contextmanager(function)

        @wraps(function)
        def make(*args: P.args, **kwargs: P.kwargs) -> Block[T]:
            return Block(manager(*args, **kwargs), use)

        return make

    return decorate
