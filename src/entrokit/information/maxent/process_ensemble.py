"""Maximum caliber: the law of paths that knows a reference kinetics, averages of jumps, and nothing else.

Information Theory and Statistical Mechanics Revisited (arXiv 1105.5662) and its companion 1105.5619. With a reference
kernel W, observables f_t of each step and driving u_t, in nats:

    global   P(Γ) = π0 Π W exp(Σ u_t f_t) / Z[u],           ∂² ln Z/∂u_t∂u_s = Cov(f_t, f_s), symmetric
    causal   K_t(x'|x) = W(x'|x) exp(u_t f_t) / Z_t(x),      ∂<f_t>/∂u_s = <f_t (f_s - E[f_s | x_s])>, 0 for t < s

Both are exact, arbitrarily far from equilibrium. Which one the paper means cannot be told from its abstract: the global
one is what conditioning on averages gives (changing a late u changes early averages), the causal one is driving.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._arrays import Floats

MODES = ("causal", "global")


@dataclass(frozen=True)
class ProcessEnsemble:
    """A law of paths x_0 … x_T.

    Attributes:
        kernel: W ``[X, X]``, rows sum to 1; zeros are forbidden. start: π0 ``[X]``.
        f: ``[T, X, X]`` or ``[X, X]``, of every step from row to column. u: ``[T]``. mode: `causal` or `global`.
    """

    kernel: Floats
    start: Floats
    f: Floats
    u: Floats
    mode: str = "causal"

    def __post_init__(self) -> None:
        W, start, f, u = (np.asarray(getattr(self, n), np.float64) for n in ("kernel", "start", "f", "u"))
        if W.ndim != 2 or W.shape[0] != W.shape[1] or (W < 0).any() or np.abs(W.sum(1) - 1).max() > 1e-9:
            raise ValueError("ProcessEnsemble.kernel: expected [X, X] with rows that sum to 1")
        if start.shape != W.shape[:1] or (start < 0).any() or abs(start.sum() - 1) > 1e-9:
            raise ValueError(f"ProcessEnsemble.start: expected a law over {len(W)} states")
        if u.ndim != 1 or not len(u) or f.shape not in (W.shape, (len(u), *W.shape)):
            raise ValueError(f"ProcessEnsemble: expected u [T] and f [X, X] or [T, X, X], got {u.shape} and {f.shape}")
        if self.mode not in MODES:
            raise ValueError(f"ProcessEnsemble.mode: must be one of {list(MODES)}, got {self.mode!r}")
        for name, value in (("kernel", W), ("start", start), ("f", np.broadcast_to(f, (len(u), *W.shape))), ("u", u)):
            object.__setattr__(self, name, value)

    @cached_property
    def _tilted(self) -> Floats:
        """``W exp(u f)``, ``[T, X, X]``; forbidden steps stay 0 whatever f is there."""
        allowed = self.kernel > 0
        return np.where(allowed, self.kernel * np.exp(np.where(allowed, self.u[:, None, None] * self.f, 0.0)), 0.0)

    @cached_property
    def kernels(self) -> Floats:
        """The law of each step given where it starts, ``[T, X, X]``."""
        if self.mode == "causal":
            sums = self._tilted.sum(2, keepdims=True)
            return np.asarray(self._tilted / sums)
        weighted = self._tilted * self._later[1:, None, :]
        sums = weighted.sum(2, keepdims=True)
        return np.asarray(np.divide(weighted, sums, out=np.zeros_like(weighted), where=sums > 0))

    @cached_property
    def _later(self) -> Floats:
        """Weight of all that follows, from every state, ``[T + 1, X]``; each row scaled, for the global law."""
        later = np.ones((len(self.u) + 1, len(self.kernel)))
        for t in range(len(self.u) - 1, -1, -1):
            later[t] = self._tilted[t] @ later[t + 1]
            later[t] /= later[t].max()
        return later

    @cached_property
    def marginals(self) -> Floats:
        """Law of every x_t, ``[T + 1, X]``."""
        first = self.start if self.mode == "causal" else self.start * self._later[0]
        laws = [first / first.sum()]
        for K in self.kernels:
            laws.append(laws[-1] @ K)
        return np.array(laws)

    def log_z(self) -> float:
        """ln Z[u], of the global law, by a forward recursion; minus the process free energy."""
        alpha, total = self.start, 0.0
        for step in self._tilted:
            alpha = alpha @ step
            total += float(np.log(alpha.sum()))
            alpha = alpha / alpha.sum()
        return total

    def mean_f(self) -> Floats:
        """``<f_t>``, ``[T]``."""
        return np.asarray(np.einsum("tx,txy,txy->t", self.marginals[:-1], self.kernels, self.f))

    def response(self) -> Floats:
        """``∂<f_t>/∂u_s``, ``[T, T]`` by t and s."""
        return self._correlations(centred=True) if self.mode == "causal" else self.covariance()

    def covariance(self) -> Floats:
        """``Cov(f_t, f_s)`` over paths, ``[T, T]``."""
        joint = self._correlations(centred=False)
        joint = np.tril(joint) + np.tril(joint, -1).T
        mean = self.mean_f()
        return np.asarray(joint - np.outer(mean, mean))

    def _correlations(self, *, centred: bool) -> Floats:
        """``<f_t g_s>`` for t >= s, where g_s is f_s, or f_s minus its mean given x_s."""
        steps = len(self.u)
        found = np.zeros((steps, steps))
        expected = np.einsum("txy,txy->tx", self.kernels, self.f)
        for s in range(steps):
            g = self.f[s] - expected[s][:, None] if centred else self.f[s]
            flow = self.marginals[s][:, None] * self.kernels[s] * g
            found[s, s] = float((flow * self.f[s]).sum())
            carried = flow.sum(0)
            for t in range(s + 1, steps):
                found[t, s] = float(carried @ expected[t])
                carried = carried @ self.kernels[t]
        return found

    def caliber(self) -> float:
        """``-Σ P ln(P / P_ref)`` over paths, in nats; 0 without driving, else below."""
        if self.mode == "global":
            return self.log_z() - float(self.u @ self.mean_f())
        log_sums = np.log(self._tilted.sum(2))
        return float((self.marginals[:-1] * log_sums).sum() - self.u @ self.mean_f())

    def sample(self, paths: int, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Paths drawn from the law, ``[paths, T + 1]``."""
        x = rng.choice(len(self.start), size=paths, p=self.marginals[0])
        drawn = [x]
        for K in self.kernels:
            x = (K[x].cumsum(1) < rng.random(paths)[:, None]).sum(1).clip(max=len(K) - 1)
            drawn.append(x)
        return np.stack(drawn, 1)

    def entropy_production(self) -> Floats:
        """Information lost in each step against its reverse by the same kernel, ``[T]``; inf without a way back."""
        return np.array([entropy_production(p, K) for p, K in zip(self.marginals[:-1], self.kernels, strict=True)])


def entropy_production(p: Floats, kernel: Floats, reversed_kernel: Floats | None = None) -> float:
    """``Σ p K ln[p K / (p' K̃ᵀ)]`` of one step in nats, at least 0, with p' = p K; inf where a step has no reverse.

    Args:
        p: ``[X]``, before the step. kernel: K ``[X, X]``. reversed_kernel: K̃ of the reversed protocol; K by default.
    """
    back = kernel if reversed_kernel is None else reversed_kernel
    forward = np.asarray(p)[:, None] * kernel
    reverse = (np.asarray(p) @ kernel)[None, :] * np.asarray(back).T
    if ((forward > 0) & (reverse == 0)).any():
        return float("inf")
    used = forward > 0
    return max(0.0, float((forward[used] * np.log(forward[used] / reverse[used])).sum()))
