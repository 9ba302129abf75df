"""Floor 10: the shelf as a page. Every paper a card: what it claims, what was measured, and the lines that run it."""

from .cards import Card, Headline, cards, chart_of, gathered
from .pictures import write_pictures
from .site import write_gallery

__all__ = ["Card", "Headline", "cards", "chart_of", "gathered", "write_gallery", "write_pictures"]
