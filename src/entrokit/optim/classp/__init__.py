"""Learning one task after another: CLASSP, elastic weight consolidation beside it, and what was kept."""

from .ewc import EWC
from .fisher import diagonal_fisher
from .optimizer import CLASSP
from .transfer import accuracy_matrix, average_accuracy, backward_transfer, forgetting, forward_transfer

__all__ = [
    "CLASSP",
    "EWC",
    "accuracy_matrix",
    "average_accuracy",
    "backward_transfer",
    "diagonal_fisher",
    "forgetting",
    "forward_transfer",
]
