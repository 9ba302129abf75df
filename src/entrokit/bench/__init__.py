"""Floor 7: recipes side by side, on the pocket policy (or any other) and on a tabular one, over seeds."""

from .compare import compare, folder_name
from .tabular import TabularSettings, train_tabular

__all__ = ["TabularSettings", "compare", "folder_name", "train_tabular"]
