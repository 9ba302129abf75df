"""Batteries that anybody can run on their own method, under any test runner."""

from .checks import Check, CheckFailed, Report, Skipped
from .optimizer import check_optimizer, optimizer_checks

__all__ = ["Check", "CheckFailed", "Report", "Skipped", "check_optimizer", "optimizer_checks"]
