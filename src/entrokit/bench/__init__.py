"""Floor 8: recipes side by side, on the pocket policy (or any other) and on a tabular one, over seeds."""

from .benches import Bench, PocketBench, TabularBench
from .compare import Progress, compare, folder_name
from .tabular import TabularSettings, improve, train_tabular

__all__ = [
    "Bench",
    "PocketBench",
    "Progress",
    "TabularBench",
    "TabularSettings",
    "compare",
    "folder_name",
    "improve",
    "train_tabular",
]
