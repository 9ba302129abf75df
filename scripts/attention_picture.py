"""Draws every head's attention entropy, layers by heads, as `experiments/attention_heads.py` measured it.

python scripts/attention_picture.py      # writes docs/img/attention-heads.png with a headless browser
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import plotly.graph_objects as go
from pictures import WIDTH, find_browser, shoot

RESULTS = Path(__file__).parents[1] / "results"
OUT = RESULTS.parent / "docs" / "img" / "attention-heads.png"


def main() -> None:
    measured = json.loads((RESULTS / "tables" / "attention-heads.json").read_text(encoding="utf-8"))
    heads = list(zip(*measured["heads"], strict=True))
    drawn = go.Figure(
        go.Heatmap(
            z=heads, x=list(range(1, len(heads[0]) + 1)), y=list(range(1, len(heads) + 1)), zmin=0.0,
            colorscale="Viridis", colorbar={"title": "nats"},
        )
    )  # fmt: skip
    drawn.update_layout(
        width=WIDTH, height=300, margin={"l": 50, "r": 10, "t": 20, "b": 50}, plot_bgcolor="#fff",
        xaxis={"title": "layer"}, yaxis={"title": "head", "dtick": 1},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        shoot(drawn, OUT, find_browser(), Path(folder))


if __name__ == "__main__":
    main()
