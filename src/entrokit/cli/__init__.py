"""Floor 9: the command line. Parses, calls, prints."""

from .app import main

__all__ = ["main"]
