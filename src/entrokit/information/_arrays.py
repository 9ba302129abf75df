"""The array type that the topics share."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
