"""entrokit measures, explains and controls entropy in learning systems."""

from .extras import guard

__version__ = "0.2.0"

guard()
