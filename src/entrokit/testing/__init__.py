"""Batteries that anybody can run on their own method, under any test runner."""

from .checks import Check, CheckFailed, Report, Skipped
from .intervention import check_intervention, check_recipe, intervention_checks, recipe_checks
from .optimizer import check_optimizer, optimizer_checks

__all__ = [
    "Check",
    "CheckFailed",
    "Report",
    "Skipped",
    "check_intervention",
    "check_optimizer",
    "check_recipe",
    "intervention_checks",
    "optimizer_checks",
    "recipe_checks",
]
