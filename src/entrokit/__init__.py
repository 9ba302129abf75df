"""entrokit measures, explains and controls entropy in learning systems."""

__version__ = "0.1.0"
