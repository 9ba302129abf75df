"""What to do about a curve that is not there: a column that looks like it, or how the engine is told to write it."""

from __future__ import annotations

from entrokit.runs import TrainingLog
from entrokit.runs.names import Names

from .levers import Levers

_SHOWN, _MOST = 3, 8
_LEVERS = {"entropy": "log_entropy"}


def hint(log: TrainingLog, quantity: str) -> str:
    """What to add to the word that a quantity was not written; nothing where nothing is known."""
    said = ""
    unknown = [column.name for column in log.columns if column.key is None and column.points]
    if close := Names.load().close_to(unknown, quantity)[:_SHOWN]:
        said += f"; what looks like it: {', '.join(close)} (take it with --name {quantity}={close[0]})"
    elif unknown and log.engine is None:
        said += f"; not taken for anything: {', '.join(unknown[:_MOST])} (--name {quantity}=… says what one is)"
    lever = _LEVERS.get(quantity)
    if lever is not None and log.engine is not None:
        advice = Levers.of(log.engine).say(lever)
        if advice.write and not advice.note:
            said += f"; {Levers.of(log.engine).title} writes it with {advice.write}"
    return said
