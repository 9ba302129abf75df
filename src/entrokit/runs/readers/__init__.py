"""Readers of what engines write, one file per format; all give parts of a `TrainingLog`."""
