"""Makes a picture of a page: a chart of a paper's result, drawn by a headless browser.

python scripts/pictures.py lion-k                          # lists the charts that were drawn of lion-k
python scripts/pictures.py lion-k 2 docs/img/lion-k.png    # draws the second
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from entrokit.papers.results import MEASURED, load_all
from entrokit.report.chart import figure

# Narrower than the page's column in a wide window, so that a phone can be read.
WIDTH, DENSITY = 520, 1.4


def find_browser() -> str:
    """A browser that can draw without a window.

    Raises:
        RuntimeError: there is none.
    """
    found = next((at for name in ("chromium", "chromium-browser", "google-chrome") if (at := shutil.which(name))), None)
    if found is None:
        raise RuntimeError("pictures need a browser: chromium or google-chrome")
    return found


def shoot(figure: Any, file: Path, browser: str, folder: Path) -> None:
    """A figure as a PNG, by a headless browser.

    Raises:
        RuntimeError: the browser wrote no picture.
    """
    from plotly.offline import get_plotlyjs

    script = folder / "plotly.js"
    if not script.exists():
        script.write_text(get_plotlyjs(), encoding="utf-8")
    body = figure.to_html(full_html=False, include_plotlyjs=False, config={"staticPlot": True})
    page = folder / "page.html"
    head = '<meta charset="utf-8"><style>body{margin:0;background:#fff}</style><script src="plotly.js"></script>'
    page.write_text(f"<!doctype html>{head}{body}", encoding="utf-8")
    shoot_page(page.as_uri(), file, browser, folder, WIDTH, figure.layout.height)


def shoot_page(url: str, file: Path, browser: str, folder: Path, width: int, height: int) -> None:
    """The first ``height`` pixels of a page as a PNG; ``folder`` takes the browser's profile.

    Raises:
        RuntimeError: the browser wrote no picture.
    """
    file.unlink(missing_ok=True)
    subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=4000",
            f"--force-device-scale-factor={DENSITY}", f"--window-size={width},{height}",
            f"--screenshot={file}", url,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    if not file.exists():
        raise RuntimeError(f"{browser} wrote no picture to {file}")


def main(arguments: list[str]) -> None:
    """Lists or draws."""
    if len(arguments) not in (1, 3):
        sys.exit(__doc__)
    found, _ = load_all(MEASURED)
    if arguments[0] not in found:
        sys.exit(f"no result of {arguments[0]!r} in {MEASURED}")
    charts = [chart for result in found[arguments[0]].experiments.values() for chart in result.charts]
    if len(arguments) == 1:
        print("\n".join(f"{i} {chart.title}" for i, chart in enumerate(charts, 1)))
        return
    if not arguments[1].isdigit() or not 1 <= int(arguments[1]) <= len(charts):
        sys.exit(f"a chart's number is 1 to {len(charts)}, got {arguments[1]!r}")
    drawn = figure(charts[int(arguments[1]) - 1])
    drawn.update_layout(width=WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        shoot(drawn, Path(arguments[2]).resolve(), find_browser(), Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
