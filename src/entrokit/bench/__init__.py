"""Floor 7: recipes side by side on the pocket policy (or any other), over seeds."""

from .compare import compare, folder_name

__all__ = ["compare", "folder_name"]
