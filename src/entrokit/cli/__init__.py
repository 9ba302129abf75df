"""Floor 11: the command line. Parses, calls, prints."""

from .app import main

__all__ = ["main"]
