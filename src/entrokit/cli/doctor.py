"""`entrokit doctor`: versions, back ends, and what works on this machine."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console()

_PARTS = {
    "": "entrokit itself",
    "trl": "training with TRL",
    "report": "pages and pictures",
    "tensorboard": "reading TensorBoard files",
    "tasks": "reasoning-gym and maths tasks",
    "verl": "verl's own functions, for parity tests",
}


def doctor() -> None:
    """Prints versions, back ends, and what works here; exit code 1 if an installed version is unsupported."""
    import torch

    from entrokit.distributions import backend
    from entrokit.engines.versions import installed

    packages = installed()
    table = Table(box=None, pad_edge=False)
    for head in ("package", "installed", "supported", "for"):
        table.add_column(head)
    for p in packages:
        style = "green" if p.fits else "dim" if p.version is None else "bold red"
        row = (p.package, p.version or "–", p.supported or "any", f"entrokit[{p.extra}]" if p.extra else "entrokit")
        table.add_row(*(Text(cell, style=style) for cell in row))
    console.print(table)
    for extra, what in _PARTS.items():
        own = [p for p in packages if p.extra == extra]
        lacking = [p.package for p in own if not p.fits]
        console.print(Text(f"{what}: {'works' if not lacking else 'lacks ' + ', '.join(lacking)}"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    console.print(Text(f"device: {device.type} ({name})"))
    for dtype in (torch.float32, torch.bfloat16):
        chosen = {form: backend(device, dtype, form=form).name for form in ("logits", "linear")}
        console.print(Text(f"statistics of {dtype}: {', '.join(f'{f} by {n}' for f, n in chosen.items())}"))
    wrong = [p for p in packages if p.version is not None and not p.fits]
    if wrong:
        raise typer.Exit(1)
