"""What engines call the quantities of a run: a file of names an engine, and how a name is looked up in them.

The page `docs/names.md` says how to add one.
"""

from .engine_file import EngineFile
from .lookup import Meaning, Names

__all__ = ["EngineFile", "Meaning", "Names"]
