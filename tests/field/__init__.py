"""Logs as people posted them, and what `diagnose` must say of each."""
