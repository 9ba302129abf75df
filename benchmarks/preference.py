"""Preferences beside their peers: a temperature beside scikit-learn's, the preference loss beside cross-entropy.

    python benchmarks/preference.py            # about two minutes

- ``temperature``: `UtilityToProbability` and scikit-learn's temperature scaling, 4000 rows of 100 classes in float64;
  and by how much the temperatures differ.
- ``loss``: `preference_loss` and `sampled_preference_loss` (one rival) beside `torch.nn.functional.cross_entropy`,
  forward and backward, 512 rows of 49 152 logits in float32.

Contestants take turns, in an order that turns with every round; CPU seconds of one thread, medians with the least and
the largest, ratios of the same round. Prints a table and writes ``runs/bench/preference.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from turns import saved, shown, timed

from entrokit.losses.preference import UtilityToProbability, preference_loss, sampled_preference_loss


def temperature() -> tuple[dict[str, Callable[[], Any]], str]:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    generator = torch.Generator().manual_seed(0)
    u = 2.0 * torch.randn(4000, 100, dtype=torch.float64, generator=generator)
    target = torch.multinomial(torch.softmax(0.6 * u, -1), 1, generator=generator)[:, 0]

    class Given(ClassifierMixin, BaseEstimator):
        """A classifier whose utilities are its input."""

        def fit(self, x: Any, y: Any) -> Given:
            self.classes_, self.n_features_in_ = torch.arange(100).numpy(), 100
            return self

        def decision_function(self, x: Any) -> Any:
            return x

        def predict(self, x: Any) -> Any:
            return x.argmax(1)

    x, y = u.numpy(), target.numpy()

    def peer() -> Any:
        return CalibratedClassifierCV(FrozenEstimator(Given().fit(None, None)), method="temperature").fit(x, y)

    def ours() -> UtilityToProbability:
        return UtilityToProbability().fit(u, target)

    beta = float(peer().calibrated_classifiers_[0].calibrators[0].beta_)
    apart = f"temperatures {ours().tau_:.9f} and {1.0 / beta:.9f}"
    return {"scikit-learn": peer, "UtilityToProbability": ours}, apart


def loss() -> tuple[dict[str, Callable[[], Any]], str]:
    generator = torch.Generator().manual_seed(0)
    u = (3.0 * torch.randn(512, 49_152, generator=generator)).requires_grad_()
    target = torch.randint(49_152, (512,), generator=generator)

    def of(function: Callable[..., torch.Tensor]) -> Callable[[], torch.Tensor]:
        return lambda: torch.autograd.grad(function(u, target), u)[0]

    calls = {
        "cross_entropy": of(cross_entropy),
        "preference_loss": of(preference_loss),
        "sampled_preference_loss": of(sampled_preference_loss),
    }
    apart = float((calls["cross_entropy"]() - calls["preference_loss"]()).abs().max())
    return calls, f"gradients apart by {apart:.1e} at most, of {float(calls['cross_entropy']().abs().max()):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    written: dict[str, Any] = {}
    for title, made in (("temperature", temperature), ("loss", loss)):
        calls, said = made()
        spent = timed(calls, arguments.rounds)
        shown(f"{title}: {said}", spent)
        written[title] = {"seconds": spent, "said": said}
    saved("preference", written)


if __name__ == "__main__":
    main()
