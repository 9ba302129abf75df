"""Numbers as evidence prints them."""

from __future__ import annotations

from .trend import Trend


def nats(value: float) -> str:
    """``0.44``, and ``0.0004`` where two places would print 0.00."""
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0.0 else f"{value:.2g}"


def course_of_entropy(h: Trend) -> str:
    """``from 0.90 to 0.03 nats (3% of its start)``, without the share where it began at nothing."""
    share = f" ({share_of(h.ratio)} of its start)" if h.start > 1e-9 else ""
    return f"from {nats(h.start)} to {nats(h.end)} nats{share}"


def share_of(part: float) -> str:
    """``4%``, and ``0.3%`` where no place would print 0%."""
    return f"{part:.1%}" if 0.0 < part < 0.01 else f"{part:.0%}"


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def at(step: float | None) -> str:
    """``, from step 40 on``; nothing where the step is not known."""
    return "" if step is None else f", from step {step:g} on"
